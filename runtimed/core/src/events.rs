//! What happened, kept: the last events, for the operator who asks later.

use crate::input::{SandboxId, Time};
use crate::limits::EVENTS_KEPT;
use protocol::control::EventRow;
use protocol::text::is_hidden;
use std::collections::VecDeque;

/// Bytes of the sentence of an event.
const DETAIL_BYTES_MAX: usize = 1_024;

/// The last events.
#[derive(Debug)]
pub(crate) struct Events {
    epoch_ms: u64,
    last: u64,
    kept: VecDeque<EventRow>,
}

impl Events {
    pub(crate) const fn new(epoch_ms: u64) -> Self {
        Self { epoch_ms, last: 0, kept: VecDeque::new() }
    }

    /// The wall clock was set: what is recorded already keeps its stamps.
    pub(crate) const fn clock_is_set(&mut self, epoch_ms: u64) {
        self.epoch_ms = epoch_ms;
    }

    /// Milliseconds since the epoch.
    pub(crate) const fn wall(&self, now: Time) -> u64 {
        self.epoch_ms.saturating_add(now.0)
    }

    pub(crate) fn record(&mut self, now: Time, what: Happened<'_>) -> EventRow {
        self.last = self.last.saturating_add(1);
        let row = EventRow {
            time_ms: self.wall(now),
            seq: self.last,
            event: what.event.to_owned(),
            name: bounded(what.name, DETAIL_BYTES_MAX),
            sandbox: what.sandbox.map(|id| id.0),
            reason: what.reason.map(str::to_owned),
            detail: bounded(what.detail, DETAIL_BYTES_MAX),
        };
        if self.kept.len() >= EVENTS_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(row.clone());
        row
    }

    pub(crate) fn kept(&self) -> impl Iterator<Item = &EventRow> {
        self.kept.iter()
    }
}

/// Something for the record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Happened<'a> {
    /// Word of CONTRACT §8.
    pub(crate) event: &'static str,
    /// Component.
    pub(crate) name: &'a str,
    /// Sandbox.
    pub(crate) sandbox: Option<SandboxId>,
    /// Token.
    pub(crate) reason: Option<&'a str>,
    /// One sentence.
    pub(crate) detail: &'a str,
}

impl<'a> Happened<'a> {
    pub(crate) const fn new(event: &'static str, name: &'a str, detail: &'a str) -> Self {
        Self { event, name, sandbox: None, reason: None, detail }
    }

    pub(crate) const fn sandbox(mut self, id: SandboxId) -> Self {
        self.sandbox = Some(id);
        self
    }

    pub(crate) const fn reason(mut self, reason: &'a str) -> Self {
        self.reason = Some(reason);
        self
    }
}

/// Foreign text with a mark for each hidden character, and at most `max` bytes.
pub(crate) fn bounded(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let c = if is_hidden(c) { '\u{FFFD}' } else { c };
        if out.len().saturating_add(c.len_utf8()) > max {
            break;
        }
        out.push(c);
    }
    out
}
