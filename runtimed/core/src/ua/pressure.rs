//! Memory that is short: while too much of the last two seconds passed with somebody waiting for it
//! and little is left, nothing new is started. What runs goes on.

use super::{Happened, Refusal, Ua, UaOut};
use crate::input::{Memory, Time};
use crate::limits::{
    PRESSURE_BEGINS_PERCENT, PRESSURE_ENDS_PERCENT, PRESSURE_FREE_PERCENT, PRESSURE_RETRY_MS,
    PRESSURE_SAMPLES, PRESSURE_WINDOW_MS,
};
use protocol::reason::Reason;
use std::collections::VecDeque;

/// What the samples of the shell say: of the machine, and of our own cgroup.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    windows: [Window; 2],
    /// Since when memory is short.
    since: Option<Time>,
}

/// How it changed.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// By so many percent of the window.
    Begins(u64),
    /// After so many milliseconds.
    Ends(u64),
}

impl Pressure {
    fn take(&mut self, now: Time, seen: [Option<Memory>; 2]) -> Option<Change> {
        let windows = self.windows.iter_mut().zip(seen);
        // One that cannot be read any more says nothing.
        let percent = windows.filter_map(|(window, memory)| window.take(now, memory)).max();
        match (self.since, percent) {
            (None, Some(percent)) if percent > PRESSURE_BEGINS_PERCENT => {
                self.since = Some(now);
                Some(Change::Begins(percent))
            }
            (Some(since), percent) if percent.is_none_or(|p| p <= PRESSURE_ENDS_PERCENT) => {
                self.since = None;
                Some(Change::Ends(now.0.saturating_sub(since.0)))
            }
            _ => None,
        }
    }

    /// Why nothing new is started now.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.since?;
        let text = "memory is short on this machine: nothing new is started meanwhile";
        Some(Refusal::new(Reason::Overloaded, text).retry(PRESSURE_RETRY_MS))
    }
}

/// The samples of one gauge that reach back over the window, oldest first.
#[derive(Debug, Default)]
struct Window {
    samples: VecDeque<(Time, u64)>,
}

impl Window {
    /// Percent of the window in which somebody waited, once there is a whole one; none if there is
    /// memory enough.
    fn take(&mut self, now: Time, memory: Option<Memory>) -> Option<u64> {
        let Some(Memory { stalled_us: total_us, free_percent }) = memory else {
            self.samples.clear();
            return None;
        };
        self.samples.push_back((now, total_us));
        let age = |at: Time| now.0.saturating_sub(at.0);
        while self.samples.get(1).is_some_and(|(at, _)| age(*at) >= PRESSURE_WINDOW_MS)
            || self.samples.len() > PRESSURE_SAMPLES
        {
            self.samples.pop_front();
        }
        let (first, before_us) = self.samples.front()?;
        let ms = age(*first);
        // Thousandths of a millisecond, and hundredths of the whole.
        let percent = total_us.saturating_sub(*before_us).checked_div(ms.saturating_mul(10))?;
        // Where that cannot be seen, the waits alone decide.
        let short = free_percent.is_none_or(|free| free < PRESSURE_FREE_PERCENT);
        (ms >= PRESSURE_WINDOW_MS).then_some(if short { percent } else { 0 })
    }
}

impl Ua {
    /// The shell has looked at the memory.
    pub(crate) fn memory(&mut self, now: Time, seen: [Option<Memory>; 2], out: &mut Vec<UaOut>) {
        let (detail, reason) = match self.pressure.take(now, seen) {
            None => return,
            Some(Change::Begins(percent)) => (
                format!(
                    "memory is short: {percent} % of the last {} s somebody waited for it; \
                     nothing new is started until it is not",
                    PRESSURE_WINDOW_MS / 1_000
                ),
                Some(Reason::Overloaded.token()),
            ),
            Some(Change::Ends(ms)) => {
                (format!("memory is not short any more, after {ms} ms"), None)
            }
        };
        let what = Happened { reason, ..Happened::new("refused", "memory", &detail) };
        self.event(now, what, out);
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Pressure};
    use crate::input::{Memory, Time};

    const fn after(stalled_us: u64) -> Memory {
        Memory { stalled_us, free_percent: None }
    }

    /// Says what each second changes in which somebody waits for so many milliseconds.
    fn seconds(each: &[u64]) -> Vec<(usize, Change)> {
        let (mut pressure, mut total, mut now) = (Pressure::default(), 7_000_000_u64, 5_000_u64);
        let mut changes = Vec::new();
        for (second, wait) in each.iter().enumerate() {
            total = total.saturating_add(wait.saturating_mul(1_000));
            let change = pressure.take(Time(now), [None, Some(after(total))]);
            changes.extend(change.map(|what| (second, what)));
            now = now.saturating_add(1_000);
        }
        changes
    }

    #[test]
    fn more_than_fifteen_percent_of_two_seconds_is_short_and_five_are_not() {
        assert_eq!(seconds(&[900, 900]), [], "what was before the window does not count");
        assert_eq!(seconds(&[0, 0, 300, 10, 150, 160, 0]), [], "15 % are not more than 15 %");
        // Over the last two seconds: 16, 16, 13, 8 and 5 percent.
        let changes = seconds(&[0, 160, 170, 160, 100, 60, 40, 50, 60]);
        assert_eq!(changes, [(2, Change::Begins(16)), (6, Change::Ends(4_000))]);
    }

    #[test]
    fn each_gauge_counts_and_one_that_is_gone_does_not() {
        let mut pressure = Pressure::default();
        let at = |second: u64| Time(second * 1_000);
        assert_eq!(pressure.take(at(0), [Some(after(0)), Some(after(0))]), None);
        assert_eq!(pressure.take(at(1), [Some(after(0)), Some(after(500_000))]), None);
        assert_eq!(
            pressure.take(at(2), [Some(after(0)), Some(after(900_000))]),
            Some(Change::Begins(45))
        );
        assert!(pressure.refusal().is_some());
        assert_eq!(pressure.take(at(3), [Some(after(0)), None]), Some(Change::Ends(1_000)));
        assert!(pressure.refusal().is_none());
        // One that comes back begins anew, and a counter that begins anew says nothing.
        assert_eq!(pressure.take(at(4), [Some(after(0)), Some(after(9_900_000))]), None);
        assert_eq!(pressure.take(at(5), [None, Some(after(0))]), None);
        assert_eq!(pressure.take(at(6), [None, Some(after(0))]), None);
    }

    #[test]
    fn waits_are_no_shortage_while_a_tenth_is_free() {
        let mut pressure = Pressure::default();
        let mut at = |second: u64, free: u64| {
            let stalled_us = second.saturating_mul(900_000);
            let memory = Memory { stalled_us, free_percent: Some(free) };
            pressure.take(Time(second.saturating_mul(1_000)), [Some(memory), None])
        };
        assert_eq!([0, 1, 2, 3].map(|second| at(second, 10)), [None, None, None, None]);
        assert_eq!(at(4, 9), Some(Change::Begins(90)));
        assert_eq!(at(5, 9), None);
        assert_eq!(at(6, 10), Some(Change::Ends(2_000)));
    }

    #[test]
    fn a_clock_that_stood_still_is_no_pressure() {
        let mut pressure = Pressure::default();
        for total in 0..1_000 {
            assert_eq!(pressure.take(Time(0), [Some(after(total * 10_000)), None]), None);
        }
    }
}
