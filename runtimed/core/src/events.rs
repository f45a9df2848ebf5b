//! What happened, kept: the last events, for the operator who asks later.

use crate::input::Time;
use crate::limits::EVENTS_KEPT;
use crate::ua::{Happened, bounded};
use protocol::control::EventRow;
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
