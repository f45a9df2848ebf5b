//! Faults of processes: killed, stopped, gone on.

use super::Subject;
use nix::libc;
use protocol::sys::{pidfd_open, pidfd_send_signal};
use std::os::fd::{AsFd as _, OwnedFd};

/// A process that belongs to a daemon, and stays that process however numbers are used again.
#[derive(Debug)]
pub struct Victim {
    /// Its number, as long as it lives.
    pub pid: i32,
    pidfd: OwnedFd,
}

impl Victim {
    /// The process with this number, if it is the daemon's.
    pub fn new(daemon: &dyn Subject, pid: i32) -> Option<Self> {
        let pidfd = pidfd_open(pid).ok()?;
        // Asked once the descriptor holds the process: a number used again would be seen here.
        let is_ours =
            pid == i32::try_from(daemon.pid()).ok()? || descendants(daemon).contains(&pid);
        is_ours.then_some(Self { pid, pidfd })
    }

    /// The process of a component, once there is one.
    pub fn of(daemon: &dyn Subject, name: &str) -> Self {
        crate::wait_for(&format!("{name} has a process"), || {
            Self::new(daemon, daemon.pid_of(name)?)
        })
    }

    /// The process of a component that is not this one any more.
    pub fn next_of(daemon: &dyn Subject, name: &str, before: i32) -> Self {
        crate::wait_for(&format!("{name} has another process"), || {
            let pid = daemon.pid_of(name)?;
            if pid == before { None } else { Self::new(daemon, pid) }
        })
    }

    /// The process that plays this role (`spawner`, `net`), once there is one.
    pub fn role(daemon: &dyn Subject, role: &str) -> Self {
        crate::wait_for(&format!("somebody plays {role}"), || {
            Self::new(daemon, with_role(daemon, role).into_iter().next()?)
        })
    }

    /// Sends a signal; false if it is gone.
    pub fn signal(&self, signal: i32) -> bool {
        pidfd_send_signal(self.pidfd.as_fd(), signal).is_ok()
    }

    /// SIGKILL.
    pub fn kill(&self) -> bool {
        self.signal(libc::SIGKILL)
    }

    /// SIGSTOP, and waits until it stands still.
    pub fn stop(&self) -> bool {
        let sent = self.signal(libc::SIGSTOP);
        if sent {
            crate::wait_for("it stands still", || {
                matches!(state(self.pid), Some('T') | None).then_some(())
            });
        }
        sent
    }

    /// SIGCONT.
    pub fn go_on(&self) -> bool {
        self.signal(libc::SIGCONT)
    }

    /// Waits until it is gone, and no zombie of it is left.
    pub fn wait_gone(&self) {
        crate::wait_for("the process and its remains are gone", || {
            state(self.pid).is_none().then_some(())
        });
    }
}

/// All living processes below a daemon.
pub fn descendants(daemon: &dyn Subject) -> Vec<i32> {
    let mut found = Vec::new();
    let mut parents = vec![i32::try_from(daemon.pid()).expect("a pid")];
    while let Some(parent) = parents.pop() {
        for (pid, of) in crate::processes() {
            if of == parent && !found.contains(&pid) {
                found.push(pid);
                parents.push(pid);
            }
        }
    }
    found
}

/// Living processes of a daemon that play this role.
pub fn with_role(daemon: &dyn Subject, role: &str) -> Vec<i32> {
    let plays = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == role.as_bytes())
    };
    descendants(daemon).into_iter().filter(plays).collect()
}

/// The state of a process as the kernel prints it; `None` if there is none, not even a zombie.
pub fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}
