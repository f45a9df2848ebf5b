//! What a daemon holds of the machine, so that a test can say that nothing is left.

use super::Subject;
use super::process::{descendants, with_role};
use crate::wait_for;
use std::fs;
use std::path::{Path, PathBuf};

/// What a daemon holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Living processes below it.
    pub processes: usize,
    /// Its descriptors; `None` where this user may not look.
    pub descriptors: Option<usize>,
    /// Memfds among them.
    pub memfds: Option<usize>,
    /// Cgroups that it made.
    pub cgroups: usize,
    /// Sockets, listening and connected, with a name below its root.
    pub sockets: usize,
    /// Files below its root, the log apart.
    pub files: Vec<PathBuf>,
}

impl Ledger {
    /// Looks, once no deploy's fetch worker is on its way out.
    pub fn at_rest(daemon: &dyn Subject) -> Self {
        wait_for("fetch workers have ended", || {
            with_role(daemon, "fetch").is_empty().then_some(())
        });
        Self::of(daemon)
    }

    /// Looks.
    pub fn of(daemon: &dyn Subject) -> Self {
        let links = descriptors(daemon.pid());
        let memfds = links.as_ref().map(|links| {
            links.iter().filter(|link| link.to_string_lossy().contains("memfd:")).count()
        });
        let mut files = Vec::new();
        walk(daemon.root(), &mut files);
        files.retain(|path| !path.ends_with("log"));
        files.sort();
        Self {
            processes: descendants(daemon).len(),
            descriptors: links.map(|links| links.len()),
            memfds,
            cgroups: cgroups(daemon).len(),
            sockets: sockets(daemon.root()),
            files,
        }
    }

    /// The same, and the net role, which is started once and stays: a process, its link, pidfd and
    /// log, and its cgroup in each tree.
    #[must_use]
    pub fn and_the_net_role(&self, daemon: &dyn Subject) -> Self {
        let descriptors = self.descriptors.map(|count| count + 3);
        let cgroups = self.cgroups + rooms(daemon).len();
        Self { processes: self.processes + 1, descriptors, cgroups, ..self.clone() }
    }

    /// Waits until the daemon holds no more than this again.
    pub fn wait_restored(&self, daemon: &dyn Subject) {
        wait_for(&format!("nothing is left beside {self:?}"), || {
            Self::of(daemon).is_within(self).then_some(())
        });
    }

    fn is_within(&self, before: &Self) -> bool {
        self.processes <= before.processes
            && self.descriptors <= before.descriptors
            && self.memfds <= before.memfds
            && self.cgroups <= before.cgroups
            && self.sockets <= before.sockets
            && self.files == before.files
    }
}

/// What the descriptors of a process lead to. The daemon is not dumpable, so that only root may
/// look at its own.
fn descriptors(pid: u32) -> Option<Vec<PathBuf>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    Some(entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect())
}

/// The cgroups that hold those of this daemon's sandboxes, one in each tree.
pub fn rooms(daemon: &dyn Subject) -> Vec<PathBuf> {
    let prefix = format!("runtimed-{}-", daemon.pid());
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for (name, path) in folders_in(&folder) {
            if name.starts_with(&prefix) { found.push(path) } else { folders.push(path) }
        }
    }
    found
}

/// The cgroups of this daemon's sandboxes.
pub fn cgroups(daemon: &dyn Subject) -> Vec<PathBuf> {
    let rooms = rooms(daemon);
    rooms.iter().flat_map(|room| folders_in(room)).map(|(_, path)| path).collect()
}

fn folders_in(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect()
}

/// A connection that was accepted has the name of the socket that it came in by.
fn sockets(root: &Path) -> usize {
    let all = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let below = format!("{}/", root.display());
    all.lines()
        .filter_map(|line| line.split_whitespace().nth(7))
        .filter(|path| path.starts_with(&below))
        .count()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}
