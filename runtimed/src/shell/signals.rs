//! The signals that tell the daemon to stop or to read its configuration again, read from a
//! descriptor.
//!
//! Not by tokio's own feature for it: one workspace build would switch that on in the worker, too,
//! whose event loop would then ask for a socket that no jail gives.

use super::ready::watched;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What the daemon is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The signals that the daemon listens to; from its making on they do nothing else.
#[derive(Debug)]
pub(super) struct Signals {
    source: SignalFd,
    ready: AsyncFd<OwnedFd>,
}

impl Signals {
    /// Blocks the signals for this, the only thread, and listens. What this process starts later
    /// gets an empty mask again from the standard library.
    ///
    /// # Errors
    /// No descriptors left.
    pub(super) fn listen() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        let source = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let ready = watched(source.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
        Ok(Self { source, ready })
    }

    /// Waits for SIGTERM or SIGINT.
    pub(super) async fn told_to_stop(&mut self) {
        while self.next().await != Told::Stop {}
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Told {
        loop {
            let Ok(mut ready) = self.ready.readable().await else {
                return std::future::pending().await;
            };
            match self.source.read_signal() {
                Ok(Some(info)) if info.ssi_signo == u32::from(HANGUP) => return Told::Reload,
                Ok(Some(_)) => return Told::Stop,
                Ok(None) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "signals cannot be read");
                    return std::future::pending().await;
                }
            }
        }
    }
}

/// Number of SIGHUP, the same on every Linux.
const HANGUP: u8 = 1;
