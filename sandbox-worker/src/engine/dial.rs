//! When a connection is really tried: a host that failed is not tried again at once, however often
//! the component asks.

use super::limits::{DIAL_FIRST, DIAL_HOSTS_MAX, DIAL_LAST, DIAL_LASTING};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
struct Failing {
    delay: Duration,
    not_before: Duration,
}

#[derive(Debug)]
struct Open {
    host: String,
    since: Option<Duration>,
}

/// Attempts that wait, and what is remembered of hosts. `T` is the attempt.
#[derive(Debug)]
pub(crate) struct Dial<T> {
    failing: HashMap<String, Failing>,
    waiting: BTreeMap<(Duration, u32), T>,
    conns: HashMap<u32, Open>,
}

impl<T> Dial<T> {
    pub(crate) fn new() -> Self {
        Self { failing: HashMap::new(), waiting: BTreeMap::new(), conns: HashMap::new() }
    }

    /// Connections open, under way and waiting.
    pub(crate) fn count(&self) -> usize {
        self.conns.len()
    }

    /// Takes an attempt; it becomes due by [`Dial::due`], at once if its host is well.
    pub(crate) fn want(&mut self, now: Duration, conn: u32, host: String, attempt: T) {
        let at = self.failing.get(&host).map_or(now, |failing| failing.not_before.max(now));
        self.conns.insert(conn, Open { host, since: None });
        self.waiting.insert((at, conn), attempt);
    }

    /// The next attempt whose time has come.
    pub(crate) fn due(&mut self, now: Duration) -> Option<T> {
        let entry = self.waiting.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// When the next attempt is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|(key, _)| key.0)
    }

    /// Takes an attempt back that was not yet made; whether there was one.
    pub(crate) fn withdraw(&mut self, conn: u32) -> bool {
        let found = self.waiting.keys().find(|key| key.1 == conn).copied();
        if let Some(key) = found {
            self.waiting.remove(&key);
            self.conns.remove(&conn);
        }
        found.is_some()
    }

    /// A connection is there.
    pub(crate) fn opened(&mut self, now: Duration, conn: u32) {
        if let Some(open) = self.conns.get_mut(&conn) {
            open.since = Some(now);
        }
    }

    /// A connection ended that the other side was meant to keep. False: there is none.
    pub(crate) fn lost(&mut self, now: Duration, conn: u32) -> bool {
        let Some(open) = self.conns.remove(&conn) else { return false };
        let lasted = open.since.is_some_and(|since| now.saturating_sub(since) >= DIAL_LASTING);
        if lasted {
            self.failing.remove(&open.host);
            return true;
        }
        let delay = match self.failing.get(&open.host) {
            // Whoever stayed away for long begins anew.
            Some(before) if now.saturating_sub(before.not_before) < DIAL_LAST.saturating_mul(4) => {
                before.delay.saturating_mul(2).min(DIAL_LAST)
            }
            _ => DIAL_FIRST,
        };
        if self.failing.len() >= DIAL_HOSTS_MAX && !self.failing.contains_key(&open.host) {
            self.failing.retain(|_, failing| failing.not_before > now);
            if self.failing.len() >= DIAL_HOSTS_MAX {
                self.failing.clear();
            }
        }
        let not_before = now.saturating_add(delay);
        self.failing.insert(open.host, Failing { delay, not_before });
        true
    }

    /// A connection did what it was for.
    pub(crate) fn served(&mut self, conn: u32) {
        if let Some(open) = self.conns.remove(&conn) {
            self.failing.remove(&open.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Dial;
    use std::time::Duration;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_failing_host_is_tried_less_and_less_often_and_other_hosts_at_once() {
        let mut dial = Dial::new();
        let (mut now, mut times) = (ms(0), Vec::new());
        for conn in 1..=7 {
            dial.want(now, conn, "a:1".to_owned(), conn);
            now = dial.next().unwrap();
            assert_eq!(dial.due(now), Some(conn));
            times.push(now.as_millis());
            dial.lost(now, conn);
        }
        assert_eq!(times, [0, 250, 750, 1750, 3750, 7750, 12750]);
        dial.want(now, 8, "b:1".to_owned(), 8);
        assert_eq!(dial.due(now), Some(8));
    }

    #[test]
    fn a_connection_that_lasted_or_served_clears_its_host_and_a_short_one_does_not() {
        let mut dial = Dial::new();
        dial.want(ms(0), 1, "a:1".to_owned(), 1);
        dial.due(ms(0)).unwrap();
        dial.opened(ms(0), 1);
        dial.lost(ms(100), 1);
        dial.want(ms(100), 2, "a:1".to_owned(), 2);
        assert_eq!(dial.next(), Some(ms(350)));
        dial.due(ms(350)).unwrap();
        dial.opened(ms(350), 2);
        dial.lost(ms(6_000), 2);
        dial.want(ms(6_000), 3, "a:1".to_owned(), 3);
        assert_eq!(dial.next(), Some(ms(6_000)));
        assert!(dial.withdraw(3));
        assert!(!dial.withdraw(3));
        assert_eq!(dial.count(), 0);
    }
}
