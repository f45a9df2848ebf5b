//! The clock of the core: monotonic milliseconds since the start, with the wall time of that moment.

use runtime_core::Time;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Reads the time for the core.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
    epoch_ms: u64,
}

impl Clock {
    /// A clock that starts now.
    pub(super) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), epoch_ms: millis(since) }
    }

    /// Milliseconds since the epoch at `Time(0)`.
    pub(super) const fn epoch_ms(&self) -> u64 {
        self.epoch_ms
    }

    /// Now, for the core.
    pub(super) fn now(&self) -> Time {
        Time(millis(self.start.elapsed()))
    }

    /// Milliseconds since the epoch, by the monotonic clock.
    pub(super) fn wall_ms(&self) -> u64 {
        self.epoch_ms.saturating_add(self.now().0)
    }

    /// When `time` is, for a timer. Rounded up: a timer never fires before its time.
    pub(super) fn instant(&self, time: Time) -> Instant {
        let after = Duration::from_millis(time.0);
        // So far ahead that it never comes: sleep a day and look again.
        let never = || Instant::now().checked_add(Duration::from_hours(24));
        self.start.checked_add(after).or_else(never).unwrap_or(self.start)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
