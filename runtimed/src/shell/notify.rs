//! Tells systemd how the daemon is; without systemd nothing happens.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::Instant;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// The sockets are open.
pub(super) fn ready(runtime: &str) {
    let status = format!("serving {runtime}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The configuration is read again. [`reloaded`] follows.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the time of a reload is not known"),
    }
}

/// The configuration was read again, with this outcome.
pub(super) fn reloaded(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// How the store is.
pub(super) fn store(runtime: &str, trouble: Option<&str>) {
    let status = match trouble {
        None => format!("serving {runtime}"),
        Some(text) => format!("serving {runtime}; store degraded: {text}"),
    };
    tell(&[NotifyState::Status(&status)]);
}

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Tells systemd that the daemon lives, and only after a turn of the core: one that hangs is
/// silent, however well its other tasks are.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// Half of the time in which systemd wants to hear; `None` if it does not ask.
    every: Option<Duration>,
    fed: Instant,
}

impl Watchdog {
    /// As the service manager asked for it.
    pub(super) fn from_environment() -> Self {
        Self::new(sd_notify::watchdog_enabled())
    }

    fn new(within: Option<Duration>) -> Self {
        let every = within.and_then(|within| within.checked_div(2)).filter(|half| !half.is_zero());
        Self { every, fed: Instant::now() }
    }

    /// When there must have been another turn.
    pub(super) fn due(&self) -> Option<Instant> {
        self.fed.checked_add(self.every?)
    }

    /// A turn of the core has ended.
    pub(super) fn turned(&mut self) {
        if self.due().is_some_and(|due| due <= Instant::now()) {
            self.fed = Instant::now();
            tell(&[NotifyState::Watchdog]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Watchdog;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn the_watchdog_is_fed_at_half_of_its_time_by_a_turn() {
        let mut watchdog = Watchdog::new(Some(Duration::from_secs(20)));
        let start = watchdog.fed;
        assert_eq!(watchdog.due(), start.checked_add(Duration::from_secs(10)));
        watchdog.turned();
        assert_eq!(watchdog.fed, start, "not before");
        watchdog.fed = Instant::now().checked_sub(Duration::from_secs(11)).unwrap();
        let late = watchdog.fed;
        watchdog.turned();
        assert!(watchdog.fed > late);
    }

    #[test]
    fn without_a_watchdog_nothing_is_due() {
        assert_eq!(Watchdog::new(None).due(), None);
        assert_eq!(Watchdog::new(Some(Duration::ZERO)).due(), None);
    }
}
