//! How much of each kind a worker may say on its control channel: the worker is told to keep to less,
//! but a worker in foreign hands keeps to nothing.

use crate::bucket::Bucket;
use crate::input::Time;
use crate::limits::{
    CONNECTS_BURST, CONNECTS_PER_SECOND, LOG_LINES_BURST, LOG_LINES_PER_SECOND, WORKER_CTL_BURST,
    WORKER_CTL_PER_SECOND,
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
