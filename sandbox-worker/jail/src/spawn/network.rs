//! Network namespaces made before they are needed: the kernel takes a third of a sandbox's birth to
//! make one, and longer while it takes others down.
//!
//! A spawner that may, moves into a new network after each birth. Nobody else is in it, so the next
//! sandbox takes it over by being born there, and the spawner moves on. The sandbox has even less
//! power over it than over one that it brought along: it belongs to the spawner's user namespace.

use super::child::NETWORK;
use crate::{Profile, breach};
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::OwnedFd;

/// Where the spawner is, and what is ready.
#[derive(Debug, Default)]
pub struct Networks {
    /// The network in which the spawner began; none before it has left.
    home: Option<OwnedFd>,
    /// Whether it is in a network in which nobody was born yet.
    ready: bool,
    /// Whether the kernel has said no: it is not asked again.
    refused: bool,
}

impl Networks {
    /// Makes the network of the next sandbox, if there is none and the kernel lets us.
    pub fn prepare(&mut self) {
        if self.ready || self.refused || breach::lacks(NETWORK) {
            return;
        }
        self.ready = self.leave().is_ok();
        self.refused = !self.ready;
    }

    fn leave(&mut self) -> io::Result<()> {
        if self.home.is_none() {
            let here = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let home = open("/proc/self/ns/net", here, Mode::empty())?;
            // Root of a container may leave a network that is not its own, and not come back.
            setns(&home, CloneFlags::CLONE_NEWNET)?;
            self.home = Some(home);
        }
        Ok(unshare(CloneFlags::CLONE_NEWNET)?)
    }

    /// Goes where a process of this profile is to be born; whether that is a network of its own.
    /// What is ready is used up by it, even if the birth fails.
    pub(super) fn enter(&mut self, profile: Profile) -> io::Result<bool> {
        if profile != Profile::Net {
            return Ok(std::mem::take(&mut self.ready));
        }
        if let Some(home) = &self.home {
            setns(home, CloneFlags::CLONE_NEWNET)?;
        }
        self.ready = false;
        Ok(false)
    }
}
