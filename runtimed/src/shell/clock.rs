//! The clock of the core: monotonic milliseconds since the start, and what the wall clock shows at
//! them. Nothing waits by the wall clock; it is only for stamps, and looked at now and then, because
//! somebody may set it.

use super::hub::WeakHub;
use crate::limits::{CLOCK_EVERY, CLOCK_STEP_MS};
use runtime_core::{Input, Time};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Reads the time for the core.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
    started_ms: u64,
    epoch_ms: u64,
}

impl Clock {
    /// A clock that starts now.
    pub(super) fn start() -> Self {
        let started_ms = since_epoch(SystemTime::now());
        Self { start: Instant::now(), started_ms, epoch_ms: started_ms }
    }

    /// What the wall clock showed at the start, whatever it shows now: it names this life.
    pub(super) const fn started_ms(&self) -> u64 {
        self.started_ms
    }

    /// Milliseconds since the epoch at `Time(0)`, as the wall clock was last seen.
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

    /// Whether the wall clock shows something else than it would if nobody had set it.
    fn was_set(&mut self, wall: SystemTime, now: Time) -> bool {
        let epoch_ms = since_epoch(wall).saturating_sub(now.0);
        let moved = epoch_ms.abs_diff(self.epoch_ms) >= CLOCK_STEP_MS;
        if moved {
            self.epoch_ms = epoch_ms;
        }
        moved
    }
}

fn since_epoch(wall: SystemTime) -> u64 {
    millis(wall.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Tells the core when the wall clock was set; also after the machine slept, in which time the
/// monotonic clock stood still.
pub(super) async fn watch(hub: WeakHub) {
    loop {
        tokio::time::sleep(CLOCK_EVERY).await;
        let Some(hub) = hub.upgrade() else { return };
        let mut hub = hub.borrow_mut();
        let (before, now) = (hub.clock.epoch_ms, hub.clock.now());
        if hub.clock.was_set(SystemTime::now(), now) {
            let epoch_ms = hub.clock.epoch_ms;
            tracing::warn!(
                before_ms = before.saturating_add(now.0),
                now_ms = epoch_ms.saturating_add(now.0),
                "the wall clock was set; no timer of ours goes by it"
            );
            hub.turn(Input::Clock { epoch_ms });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Time};
    use std::time::{Duration, SystemTime};

    #[test]
    fn fault_051_a_step_of_the_wall_clock_is_seen_once_and_moves_only_stamps() {
        let mut clock = Clock::start();
        let (start, instant) = (clock.started_ms(), clock.instant(Time(5_000)));
        let day = Duration::from_hours(24);
        let at = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_millis(start))
            .and_then(|at| at.checked_add(Duration::from_mins(1)))
            .unwrap();
        let now = Time(60_000);
        assert!(!clock.was_set(at, now), "nobody set it");
        let a_little = at.checked_add(Duration::from_millis(900)).unwrap();
        assert!(!clock.was_set(a_little, now), "as little as the clocks may drift");
        let day_ms = u64::try_from(day.as_millis()).unwrap();
        for (wall, epoch_ms) in [
            (at.checked_add(day), start.checked_add(day_ms)),
            (at.checked_sub(day), start.checked_sub(day_ms)),
            (Some(SystemTime::UNIX_EPOCH), Some(0)),
        ] {
            assert!(clock.was_set(wall.unwrap(), now));
            assert_eq!(Some(clock.epoch_ms()), epoch_ms);
            assert!(!clock.was_set(wall.unwrap(), now), "once");
        }
        assert_eq!((clock.started_ms(), clock.instant(Time(5_000))), (start, instant));
    }
}
