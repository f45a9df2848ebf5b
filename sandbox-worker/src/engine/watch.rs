//! The deadline of the engine's turn, looked at by its interrupt.

use nix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::time::Duration;

/// Processor time that this thread has used. What a turn may take is counted in it: on a busy machine
/// a component is not to blame for the time that others took. How long it stays silent on the wall's
/// clock is the supervisor's to judge.
pub(super) fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// One deadline, and whether the turn that had it was cut short.
#[derive(Debug, Default)]
pub(super) struct Watch {
    until: Cell<Option<Duration>>,
    limit: Cell<Duration>,
    tripped: Cell<bool>,
}

impl Watch {
    /// A new turn.
    pub(super) fn begin(&self, limit: Duration) {
        self.tripped.set(false);
        self.go_on(limit);
    }

    /// Another part of the same turn, with time of its own.
    pub(super) fn go_on(&self, limit: Duration) {
        self.limit.set(limit);
        self.until.set(used().checked_add(limit));
    }

    /// The turn is over.
    pub(super) fn end(&self) {
        self.until.set(None);
    }

    /// Asked by the engine every few thousand operations.
    pub(super) fn is_over(&self) -> bool {
        let over = self.until.get().is_some_and(|until| used() >= until);
        if over {
            self.tripped.set(true);
        }
        over
    }

    /// Whether the turn was cut short.
    pub(super) fn tripped(&self) -> bool {
        self.tripped.get()
    }

    /// What is said of it.
    pub(super) fn complaint(&self) -> String {
        format!("interrupted: the turn took longer than {} ms", self.limit.get().as_millis())
    }
}
