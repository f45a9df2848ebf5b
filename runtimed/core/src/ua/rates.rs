//! How much of each kind a worker may say on its control channel: the worker is told to keep to less,
//! but a worker in foreign hands keeps to nothing.

use crate::bucket::Bucket;
use crate::input::Time;
use crate::limits::{
    CONNECTS_BURST, CONNECTS_PER_SECOND, LOG_LINES_BURST, LOG_LINES_PER_SECOND,
    REFUSED_EVENT_MOST_MS, REFUSED_EVENT_MS, STATUS_EVENT_MS, STATUS_EVENTS_BURST,
    WORKER_CTL_BURST, WORKER_CTL_PER_SECOND,
};

/// The rates of one worker.
#[derive(Debug, Clone)]
pub(crate) struct Rates {
    /// Everything together.
    pub(crate) ctl: Bucket,
    /// Connections and files.
    pub(crate) connects: Bucket,
    lines: Bucket,
    lost_lines: u64,
}

impl Rates {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            ctl: Bucket::with_burst(WORKER_CTL_PER_SECOND, WORKER_CTL_BURST, now),
            connects: Bucket::with_burst(CONNECTS_PER_SECOND, CONNECTS_BURST, now),
            lines: Bucket::with_burst(LOG_LINES_PER_SECOND, LOG_LINES_BURST, now),
            lost_lines: 0,
        }
    }

    /// Whether a line is kept, and how many before it were not.
    pub(crate) fn line(&mut self, now: Time) -> Option<u64> {
        if self.lines.take(now) {
            return Some(std::mem::take(&mut self.lost_lines));
        }
        self.lost_lines = self.lost_lines.saturating_add(1);
        None
    }
}

/// Which of many of a kind are events: the first, then fewer the longer it goes on, each for all
/// that came since. What could be caused from outside would else wash the record away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seldom {
    /// When the next one may be told.
    until: Time,
    /// Milliseconds from the last one to that.
    every: u64,
    untold: u64,
}

impl Seldom {
    /// Of how many an event tells, if it is told now.
    pub(crate) fn take(&mut self, now: Time, count: u64) -> Option<u64> {
        self.take_within(now, count, REFUSED_EVENT_MOST_MS)
    }

    /// Likewise, where it is to be told every so many milliseconds at the least.
    pub(crate) fn take_within(&mut self, now: Time, count: u64, most_ms: u64) -> Option<u64> {
        self.untold = self.untold.saturating_add(count);
        if now < self.until {
            return None;
        }
        // Quiet for as long again: it is something new.
        let quiet = now.0 >= self.until.0.saturating_add(self.every);
        let every = if quiet { 0 } else { self.every.saturating_mul(2) };
        self.every = every.max(REFUSED_EVENT_MS).min(most_ms);
        self.until = Time(now.0.saturating_add(self.every));
        Some(std::mem::take(&mut self.untold))
    }
}

/// Which changes of a stub's own status are events: a few as they come, then one a second for all.
#[derive(Debug)]
pub(crate) struct Changes {
    bucket: Bucket,
    untold: u64,
    due: Option<Time>,
}

impl Changes {
    pub(crate) fn new(now: Time) -> Self {
        Self { bucket: Bucket::with_burst(1, STATUS_EVENTS_BURST, now), untold: 0, due: None }
    }

    /// Whether this change is an event of its own.
    pub(crate) fn take(&mut self, now: Time) -> bool {
        // What is untold comes first.
        if self.due.is_none() && self.bucket.take(now) {
            return true;
        }
        self.untold = self.untold.saturating_add(1);
        self.due.get_or_insert(Time(now.0.saturating_add(STATUS_EVENT_MS)));
        false
    }

    /// When [`Self::told`] is to be asked.
    pub(crate) const fn due(&self) -> Option<Time> {
        self.due
    }

    /// How many changes an event stands for, if it is time.
    pub(crate) fn told(&mut self, now: Time) -> Option<u64> {
        self.due.take_if(|due| *due <= now)?;
        self.bucket.take(now);
        Some(std::mem::take(&mut self.untold))
    }
}
