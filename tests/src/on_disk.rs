//! A daemon whose state is on a disk of its own.

use crate::chaos::disk::Disk;
use crate::{Daemon, command, program};

/// Its disk has to go before the daemon and its root: take it apart as `{ daemon, disk }`, because
/// the last one is dropped first.
#[derive(Debug)]
pub struct OnDisk {
    /// The disk.
    pub disk: Disk,
    /// The daemon.
    pub daemon: Daemon,
}

impl OnDisk {
    /// Starts it on a disk of this size (`256k`), in which `first` was done by a shell.
    pub fn start(size: &str, first: &str, config: &str) -> Self {
        let mut disk = None;
        let daemon = Daemon::start_by(config, |root| {
            disk = Some(Disk::mount(root, size, first));
            command(&program("runtimed"), root)
        });
        Self { disk: disk.expect("mounted"), daemon }
    }
}
