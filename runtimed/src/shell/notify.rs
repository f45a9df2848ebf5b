//! Tells systemd how the daemon is; without systemd nothing happens.

use sd_notify::NotifyState;

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

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}
