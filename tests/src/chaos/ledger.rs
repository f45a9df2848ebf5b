//! What a daemon holds of the machine, so that a test can say that nothing is left.

use crate::{Daemon, wait_for};
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
    /// Files below its root, the log apart.
    pub files: Vec<PathBuf>,
}

impl Ledger {
    /// Looks, once no deploy's fetch worker is on its way out.
    pub fn at_rest(daemon: &Daemon) -> Self {
        wait_for("fetch workers have ended", || {
            let is_fetch = |pid: &i32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.split(|byte| *byte == 0).any(|word| word == b"fetch")
            };
            (!daemon.descendants().iter().any(is_fetch)).then_some(())
        });
        Self::of(daemon)
    }

    /// Looks.
    pub fn of(daemon: &Daemon) -> Self {
        let links = descriptors(daemon.pid());
        let memfds = links.as_ref().map(|links| {
            links.iter().filter(|link| link.to_string_lossy().contains("memfd:")).count()
        });
        let mut files = Vec::new();
        walk(daemon.root(), &mut files);
        files.retain(|path| !path.ends_with("log"));
        files.sort();
        Self {
            processes: daemon.descendants().len(),
            descriptors: links.map(|links| links.len()),
            memfds,
            files,
        }
    }

    /// The same, and the net role, which is started once and stays: a process, and its link, pidfd
    /// and log.
    #[must_use]
    pub fn and_the_net_role(&self) -> Self {
        let descriptors = self.descriptors.map(|count| count + 3);
        Self { processes: self.processes + 1, descriptors, ..self.clone() }
    }

    /// Waits until the daemon holds no more than this again.
    pub fn wait_restored(&self, daemon: &Daemon) {
        wait_for(&format!("nothing is left beside {self:?}"), || {
            Self::of(daemon).is_within(self).then_some(())
        });
    }

    fn is_within(&self, before: &Self) -> bool {
        self.processes <= before.processes
            && self.descriptors <= before.descriptors
            && self.memfds <= before.memfds
            && self.files == before.files
    }
}

/// What the descriptors of a process lead to. The daemon is not dumpable, so that only root may
/// look at its own.
fn descriptors(pid: u32) -> Option<Vec<PathBuf>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    Some(entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect())
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
