//! Watches a worker from outside its link: its end, and what it writes to stderr.

use super::cgroup::{self, Cgroup};
use super::hub::{Hub, WeakHub};
use super::ready::watched;
use crate::limits::{UNKILLABLE_AFTER, WORKER_LOG_BYTES_PER_SECOND};
use protocol::ctl::Role;
use protocol::limits::LOG_LINE_BYTES_MAX;
use protocol::sys::{Ended, pidfd_send_signal, reap};
use runtime_core::{Exit, Input, LinkId, SandboxId};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for the end of a process of ours, so that none stays behind as a zombie.
async fn ended(pidfd: &AsyncFd<OwnedFd>) -> Exit {
    loop {
        let Ok(mut ready) = pidfd.readable().await else { return Exit::Unknown };
        match reap(pidfd.get_ref().as_fd()) {
            Ok(Some(Ended::Code(code))) => return Exit::Code(code),
            Ok(Some(Ended::Signal(signal))) => return Exit::Signal(signal),
            Ok(None) => ready.clear_ready(),
            Err(error) => {
                tracing::debug!(%error, "a worker could not be waited for");
                return Exit::Unknown;
            }
        }
    }
}

/// Ends and reaps a process that was born and never became a worker: it is this daemon's child,
/// whoever made it.
pub(super) async fn remains(pidfd: OwnedFd) {
    // It may have ended already; it is reaped all the same.
    drop(pidfd_send_signal(pidfd.as_fd(), nix::libc::SIGKILL));
    if let Ok(pidfd) = watched(pidfd, Interest::READABLE) {
        let exit = ended(&pidfd).await;
        tracing::debug!(?exit, "a worker that never ran is reaped");
    }
}

/// Waits for the end of a worker, reads its last words and reports it.
pub(super) async fn exit(hub: WeakHub, link: LinkId, pidfd: Rc<AsyncFd<OwnedFd>>) {
    let exit = ended(&pidfd).await;
    if let Some(hub) = hub.upgrade() {
        hub.borrow_mut().worker_exited(link, exit);
    }
}

/// Some time after its SIGKILL, a worker that is still there counts as ended.
pub(super) async fn unkillable(hub: WeakHub, link: LinkId) {
    tokio::time::sleep(UNKILLABLE_AFTER).await;
    if let Some(hub) = hub.upgrade() {
        hub.borrow_mut().worker_exited(link, Exit::Unkillable);
    }
}

/// What a process holds of the machine until it has really ended.
#[derive(Debug)]
pub(super) struct Holding {
    uid: Option<u32>,
    cgroup: Option<Cgroup>,
}

impl Hub {
    fn let_go(&mut self, holding: Holding) {
        if let Some(cgroup) = holding.cgroup {
            tokio::task::spawn_local(cgroup::remove(cgroup));
        }
        self.spawner.release(holding.uid);
    }

    fn worker_exited(&mut self, link: LinkId, exit: Exit) {
        self.read_to_the_end(link);
        let Some(mut worker) = self.workers.remove(&link) else {
            if exit != Exit::Unkillable
                && let Some(holding) = self.unkillable.remove(&link)
            {
                tracing::warn!(?exit, "a worker that could not be killed has ended");
                self.let_go(holding);
            }
            return;
        };
        let exit = match (exit, &worker.cgroup) {
            (Exit::Signal(nix::libc::SIGKILL), Some(cgroup)) if cgroup.was_out_of_memory() => {
                Exit::OutOfMemory
            }
            _ => exit,
        };
        let sandbox = worker.sandbox;
        self.sandboxes.remove(&sandbox);
        let holding = Holding { uid: worker.uid, cgroup: worker.cgroup.take() };
        if exit == Exit::Unkillable {
            tracing::error!(sandbox = sandbox.0, pid = worker.pid, "a worker cannot be killed");
            self.unkillable.insert(link, holding);
        } else {
            self.let_go(holding);
        }
        let unsent = worker.link.out.unsent();
        tracing::debug!(sandbox = sandbox.0, ?exit, unsent = unsent.len(), "worker ended");
        self.turn(Input::Exited { sandbox, exit, unsent });
        if self.stopped && self.workers.is_empty() {
            self.ended.notify_one();
        }
    }
}

/// Logs what a worker writes to stderr, so many bytes a second and no more: then the pipe fills,
/// and the worker waits for itself.
pub(super) async fn stderr(sandbox: SandboxId, role: Role, pipe: OwnedFd) {
    let Ok(pipe) = watched(pipe, Interest::READABLE) else { return };
    let mut line = Vec::new();
    loop {
        let mut budget = WORKER_LOG_BYTES_PER_SECOND;
        while budget > 0 {
            let Ok(mut ready) = pipe.readable().await else { return };
            let mut bytes = [0_u8; 1_024];
            match nix::unistd::read(pipe.get_ref(), &mut bytes).map_err(io::Error::from) {
                Ok(0) => {
                    say(sandbox, role, &line);
                    return;
                }
                Ok(read) => {
                    budget = budget.saturating_sub(read);
                    for byte in bytes.get(..read).unwrap_or_default() {
                        if *byte == b'\n' || line.len() >= LOG_LINE_BYTES_MAX {
                            say(sandbox, role, &line);
                            line.clear();
                        }
                        if *byte != b'\n' {
                            line.push(*byte);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(_) => return,
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn say(sandbox: SandboxId, role: Role, line: &[u8]) {
    if !line.is_empty() {
        // Foreign bytes: what is no plain text is escaped.
        let text = line.escape_ascii();
        tracing::info!(sandbox = sandbox.0, role = role.name(), "stderr: {text}");
    }
}
