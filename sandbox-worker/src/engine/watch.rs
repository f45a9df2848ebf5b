//! The deadline of the engine's turn, looked at by its interrupt.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// One deadline, and whether the turn that had it was cut short.
#[derive(Debug, Default)]
pub(super) struct Watch {
    until: Cell<Option<Instant>>,
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
        self.until.set(Instant::now().checked_add(limit));
    }

    /// The turn is over.
    pub(super) fn end(&self) {
        self.until.set(None);
    }

    /// Asked by the engine every few thousand operations.
    pub(super) fn is_over(&self) -> bool {
        let over = self.until.get().is_some_and(|until| Instant::now() >= until);
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
