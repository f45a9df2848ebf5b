//! A token bucket in whole milliseconds.

use crate::input::Time;

/// So many a second, and so many at once.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    per_second: u32,
    burst: u32,
    /// Thousandths of a token.
    tokens: u64,
    filled: Time,
}

impl Bucket {
    /// Full; as many at once as in a second.
    pub(crate) fn new(per_second: u32, now: Time) -> Self {
        Self::with_burst(per_second, per_second, now)
    }

    /// Full.
    pub(crate) fn with_burst(per_second: u32, burst: u32, now: Time) -> Self {
        let tokens = u64::from(burst).saturating_mul(1_000);
        Self { per_second, burst, tokens, filled: now }
    }

    /// Takes one token, if there is one.
    pub(crate) fn take(&mut self, now: Time) -> bool {
        if now > self.filled {
            self.tokens = self.tokens_at(now);
            self.filled = now;
        }
        match self.tokens.checked_sub(1_000) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }

    /// When there is one, as far as is known now.
    pub(crate) fn next(&self) -> Time {
        let lacking = 1_000_u64.saturating_sub(self.tokens);
        let wait = lacking.div_ceil(u64::from(self.per_second).max(1));
        Time(self.filled.0.saturating_add(wait))
    }

    /// Whether nothing was taken for so long that it is as good as new.
    pub(crate) fn is_full(&self, now: Time) -> bool {
        self.tokens_at(now) == u64::from(self.burst).saturating_mul(1_000)
    }

    fn tokens_at(&self, now: Time) -> u64 {
        let passed = now.0.saturating_sub(self.filled.0);
        let gained = passed.saturating_mul(u64::from(self.per_second));
        self.tokens.saturating_add(gained).min(u64::from(self.burst).saturating_mul(1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::Bucket;
    use crate::input::Time;

    #[test]
    fn a_burst_is_taken_and_then_the_rate() {
        let mut bucket = Bucket::new(10, Time(0));
        assert_eq!((0..20).filter(|_| bucket.take(Time(0))).count(), 10);
        assert!(!bucket.take(Time(99)));
        assert_eq!((bucket.next(), bucket.is_full(Time(999))), (Time(100), false));
        assert!(bucket.take(Time(100)));
        assert!(!bucket.take(Time(100)));
        assert!(bucket.is_full(Time(1_100)));
        assert_eq!((0..20).filter(|_| bucket.take(Time(60_000))).count(), 10);
        let mut bucket = Bucket::with_burst(10, 30, Time(0));
        assert_eq!((0..40).filter(|_| bucket.take(Time(0))).count(), 30);
        assert_eq!((0..40).filter(|_| bucket.take(Time(1_000))).count(), 10);
        assert_eq!((0..40).filter(|_| bucket.take(Time(60_000))).count(), 30);
    }
}
