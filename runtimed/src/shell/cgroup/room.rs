//! The daemon's own directory in one tree of cgroups, in which each sandbox gets one; and what
//! daemons that died have left there.
//!
//! A room is held by a lock on its directory, so that no daemon takes a living one for left over,
//! whatever it can or cannot see of the other's processes.

use super::Controller;
use super::find::{Place, Version};
use crate::limits::{CGROUP_PERIOD_MICROS, CGROUP_ROOMS_MAX};
use protocol::sys::{pidfd_open, pidfd_send_signal};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How all rooms are called, followed by the pid and a number.
const PREFIX: &str = "runtimed-";

/// A directory of ours.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) version: Version,
    pub(super) controllers: Vec<Controller>,
    pub(super) dir: PathBuf,
    /// Held as long as this lives.
    _lock: File,
}

impl Room {
    /// Makes and locks a room below our own cgroup.
    pub(super) fn take(place: Place) -> io::Result<Self> {
        for number in 0..CGROUP_ROOMS_MAX {
            let dir = place.dir.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match fs::create_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            // Before it was locked it may have been swept.
            if let Some(lock) = lock(&dir)? {
                let Place { version, controllers, .. } = place;
                return Ok(Self { version, controllers, dir, _lock: lock });
            }
        }
        Err(io::Error::other("every name for a cgroup is taken"))
    }

    /// Removes it, and what is left in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove_tree(&self.dir)
    }
}

/// Locks a room, unless it is another's or gone.
fn lock(dir: &Path) -> io::Result<Option<File>> {
    let file = match File::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if file.try_lock().is_err() {
        return Ok(None);
    }
    let same =
        fs::metadata(dir).is_ok_and(|now| file.metadata().is_ok_and(|m| m.ino() == now.ino()));
    Ok(same.then_some(file))
}

/// Writes into a file of the kernel, which is there already.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let written = OpenOptions::new().write(true).open(path).and_then(|mut file| {
        // One call: the kernel takes a write as one word.
        file.write_all(text.as_bytes())
    });
    written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Removes an empty cgroup; one that is gone already is as good.
pub(super) fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in children(dir) {
        remove_dir(&child)?;
    }
    remove_dir(dir)
}

/// The cgroups in a cgroup.
fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// Removes the rooms of daemons that are gone, with whatever still runs in them; how many are left
/// because the kernel still holds them.
pub(super) fn sweep(place: &Place) -> usize {
    let is_room = |dir: &PathBuf| {
        dir.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
    };
    let mut left = 0_usize;
    for dir in children(&place.dir).into_iter().filter(is_room) {
        let Ok(Some(_lock)) = lock(&dir) else { continue };
        for child in children(&dir) {
            empty(place.version, &child);
        }
        if remove_tree(&dir).is_err() {
            left = left.saturating_add(1);
        }
    }
    left
}

/// Kills what is in a cgroup that nobody answers for any more.
fn empty(version: Version, dir: &Path) {
    if version == Version::V2 {
        // Older kernels have no such file; the parent's death has killed them already.
        drop(write(&dir.join("cgroup.kill"), "1"));
        return;
    }
    let pids = || fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for line in pids().lines() {
        let Some(pidfd) = line.parse().ok().and_then(|pid| pidfd_open(pid).ok()) else { continue };
        // Only what is in it still, now that its number cannot become another's.
        if pids().lines().any(|now| now == line) {
            drop(pidfd_send_signal(pidfd.as_fd(), nix::libc::SIGKILL));
        }
    }
}

/// What the files of one controller are told.
pub(super) fn bound(
    dir: &Path,
    version: Version,
    controller: Controller,
    bounds: &super::Bounds,
) -> io::Result<()> {
    let file = |name: &str| dir.join(name);
    let memory = bounds.memory_bytes.to_string();
    match (controller, version) {
        (Controller::Memory, Version::V2) => {
            write(&file("memory.max"), &memory)?;
            // Not everywhere; without swap there is nothing to bound.
            drop(write(&file("memory.swap.max"), "0"));
            drop(write(&file("memory.oom.group"), "1"));
            Ok(())
        }
        (Controller::Memory, Version::V1) => {
            write(&file("memory.limit_in_bytes"), &memory)?;
            drop(write(&file("memory.memsw.limit_in_bytes"), &memory));
            Ok(())
        }
        (Controller::Pids, _) => write(&file("pids.max"), &bounds.processes.to_string()),
        (Controller::Cpu, _) => {
            let Some(percent) = bounds.cpu_percent else { return Ok(()) };
            let quota = u64::from(percent).saturating_mul(CGROUP_PERIOD_MICROS) / 100;
            match version {
                Version::V2 => write(&file("cpu.max"), &format!("{quota} {CGROUP_PERIOD_MICROS}")),
                Version::V1 => {
                    write(&file("cpu.cfs_period_us"), &CGROUP_PERIOD_MICROS.to_string())?;
                    write(&file("cpu.cfs_quota_us"), &quota.to_string())
                }
            }
        }
    }
}
