//! Workers that do not take their messages: on record, counted, and ended if they take none at all.

use super::Peer;
use crate::core::Core;
use crate::input::{LinkId, Time};
use crate::limits::SLOW_MS;
use crate::ua::{Happened, UaInput};
use protocol::reason::Reason;
use std::collections::BTreeMap;

/// A worker that had no room for a message.
#[derive(Debug, Clone, Copy, Default)]
struct Slow {
    /// It has taken nothing since.
    since: Option<Time>,
    /// When the last event was.
    told: Option<Time>,
    /// Messages that it had no room for since then.
    refused: u64,
}

/// The workers that had no room at some time.
#[derive(Debug, Default)]
pub(crate) struct SlowWorkers {
    by_link: BTreeMap<LinkId, Slow>,
}

impl SlowWorkers {
    /// It took something.
    pub(crate) fn took(&mut self, link: LinkId) {
        if let Some(slow) = self.by_link.get_mut(&link) {
            slow.since = None;
        }
    }

    /// The link ended.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.by_link.remove(&link);
    }

    /// When one of them is to be ended.
    pub(crate) fn earliest(&self) -> Option<Time> {
        self.by_link.values().filter_map(Slow::due).min()
    }

    /// Those whose time has come, with the number of messages that they had no room for.
    fn due(&mut self, now: Time) -> Vec<(LinkId, u64)> {
        let due =
            self.by_link.iter_mut().filter(|(_, slow)| slow.due().is_some_and(|at| at <= now));
        due.map(|(link, slow)| {
            slow.since = None;
            (*link, slow.refused)
        })
        .collect()
    }
}

impl Slow {
    fn due(&self) -> Option<Time> {
        self.since.map(|since| Time(since.0.saturating_add(SLOW_MS)))
    }
}

impl Core {
    /// The worker had no room for a message.
    pub(super) fn note_slow(&mut self, link: LinkId) {
        let peer = Peer::Link(link);
        if !self.bus.is_worker(peer) {
            return;
        }
        let now = self.bus.now;
        let slow = self.bus.slow.by_link.entry(link).or_default();
        slow.refused = slow.refused.saturating_add(1);
        slow.since.get_or_insert(now);
        // One that takes a message now and then is slow again and again.
        if slow.told.is_some_and(|told| now.0.saturating_sub(told.0) < SLOW_MS) {
            return;
        }
        let refused = std::mem::take(&mut slow.refused);
        slow.told = Some(now);
        let seconds = SLOW_MS / 1_000;
        let detail = format!(
            "it does not take its messages: {refused} found no room; \
             it is ended when it has taken none for {seconds} s"
        );
        let name = self.peer_name(peer);
        let mut happened =
            Happened::new("refused", &name, &detail).reason(Reason::SlowConsumer.token());
        happened.sandbox = self.bus.sandbox_of(link);
        self.ua.event(now, happened, &mut self.ua_out);
    }

    /// Ends the workers that have taken nothing for too long.
    pub(crate) fn cut_slow(&mut self) {
        for (link, refused) in self.bus.slow.due(self.bus.now) {
            if let Some(sandbox) = self.bus.sandbox_of(link) {
                let seconds = SLOW_MS / 1_000;
                let text =
                    format!("it took no message for {seconds} s, and {refused} more found no room");
                self.sandbox(UaInput::Exceeded { sandbox, text });
            }
        }
    }
}
