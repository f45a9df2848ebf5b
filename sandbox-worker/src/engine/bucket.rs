//! A token bucket over the engine's own time.

use std::time::Duration;

/// Lets through a rate, and a burst above it.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: u32,
    burst: u32,
    /// Thousandths of a token.
    level: u64,
    at: Duration,
    dropped: u64,
}

impl Bucket {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let level = u64::from(burst).saturating_mul(1_000);
        Self { per_second, burst, level, at: Duration::ZERO, dropped: 0 }
    }

    fn most(&self) -> u64 {
        u64::from(self.burst).saturating_mul(1_000)
    }

    fn refill(&mut self, now: Duration) {
        let passed = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        if passed > 0 {
            let more = passed.saturating_mul(u64::from(self.per_second));
            self.level = self.level.saturating_add(more).min(self.most());
            self.at = now;
        }
    }

    /// Whether there is a token; takes none.
    pub(crate) fn has(&mut self, now: Duration) -> bool {
        self.refill(now);
        self.level >= 1_000
    }

    /// Whether nothing was taken for so long that it is as new.
    pub(crate) fn is_full(&mut self, now: Duration) -> bool {
        self.refill(now);
        self.level >= self.most()
    }

    /// Takes one token, or counts that there was none.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let has = self.has(now);
        if has {
            self.level = self.level.saturating_sub(1_000);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
        has
    }

    /// Allows one more.
    pub(crate) fn earn(&mut self) {
        self.level = self.level.saturating_add(1_000).min(self.most());
    }

    /// Counts one that was not even tried.
    pub(crate) fn miss(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    /// How many were not let through since this was last asked.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Whether any were not let through since [`Bucket::take_dropped`].
    pub(crate) const fn has_dropped(&self) -> bool {
        self.dropped > 0
    }
}

#[cfg(test)]
mod tests {
    use super::Bucket;
    use std::time::Duration;

    #[test]
    fn the_burst_passes_one_more_does_not_and_time_and_earning_refill() {
        let mut bucket = Bucket::new(10, 3);
        let now = Duration::from_secs(1);
        assert_eq!((0..5).filter(|_| bucket.take(now)).count(), 3);
        assert_eq!(bucket.take_dropped(), 2);
        assert_eq!(bucket.take_dropped(), 0);
        assert!(bucket.take(Duration::from_millis(1_100)));
        assert!(!bucket.take(Duration::from_millis(1_100)));
        bucket.earn();
        assert!(bucket.take(Duration::from_millis(1_100)));
        assert!(!bucket.is_full(Duration::from_millis(1_399)));
        assert!(bucket.is_full(Duration::from_millis(1_400)));
        for _ in 0..9 {
            bucket.earn();
        }
        assert_eq!((0..9).filter(|_| bucket.take(Duration::from_millis(1_400))).count(), 3);
    }
}
