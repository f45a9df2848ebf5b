//! The links of workers: packets in until the socket is empty, packets out once a turn, the
//! handshake, heartbeats and acknowledgements.

mod reading;
#[cfg(test)]
mod tests;

use super::cgroup::Cgroup;
use super::hub::{Hub, WeakHub};
use super::ready::watched;
use super::watch;
use crate::limits::{CTL_UNTAKEN_MAX, WORKER_QUEUE_FRAMES_MAX};
use nix::fcntl::{FcntlArg, fcntl};
use protocol::ctl::{CtlDown, Level, Role};
use protocol::frame::{FrameBuilder, Kind, detach};
use protocol::limits::ACK_DELAY_MS;
use protocol::link::{Link, Side, State, Welcome};
use protocol::sys::{adopt, is_reset, pidfd_send_signal, sealed_memfd, send_packet};
use runtime_core::{Input, LinkId, SandboxId};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

pub(super) use reading::read_links;

/// Whether a worker is still listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hears {
    /// It is.
    On,
    /// It closed its end.
    Ended,
    /// It broke the link, and nothing it says counts any more.
    Breached,
}

/// A worker process and its link.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) sandbox: SandboxId,
    pub(super) role: Role,
    pub(super) pid: i32,
    /// Host uid of its own, if it has one.
    pub(super) uid: Option<u32>,
    /// Its cgroup, once it is in one.
    pub(super) cgroup: Option<Cgroup>,
    /// What it says of itself; the check from outside holds it to that.
    pub(super) level: Level,
    pub(super) pidfd: Rc<AsyncFd<OwnedFd>>,
    pub(super) fd: Rc<AsyncFd<OwnedFd>>,
    pub(super) link: Link,
    /// The check from outside passed, or the core has something for it.
    pub(super) accepted: bool,
    hears: Hears,
    dirty: bool,
    owing: bool,
    ping: Option<u64>,
    pings: u64,
    /// Makes heartbeats that nobody can answer without having read them.
    unforeseen: RandomState,
    stalled: Option<AbortHandle>,
}

impl Worker {
    /// A worker that was just started.
    pub(super) fn new(
        sandbox: SandboxId,
        (role, uid): (Role, Option<u32>),
        pid: i32,
        (pidfd, fd): (OwnedFd, OwnedFd),
    ) -> io::Result<Self> {
        Ok(Self {
            sandbox,
            role,
            pid,
            uid,
            cgroup: None,
            level: Level::None,
            pidfd: Rc::new(watched(pidfd, Interest::READABLE)?),
            // Readable only: each packet that the peer takes would wake us as writable.
            fd: Rc::new(watched(fd, Interest::READABLE)?),
            link: Link::new(Side::Daemon),
            accepted: false,
            hears: Hears::On,
            dirty: false,
            owing: false,
            ping: None,
            pings: 0,
            unforeseen: RandomState::new(),
            stalled: None,
        })
    }

    /// Sends a signal; a process that is gone already needs none.
    pub(super) fn signal(&self, signal: i32) {
        if let Err(error) = pidfd_send_signal(self.pidfd.get_ref().as_fd(), signal) {
            tracing::debug!(sandbox = self.sandbox.0, %error, "signal {signal} was not sent");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The task holds a copy of the descriptor, which would keep the link open.
        if let Some(stalled) = self.stalled.take() {
            stalled.abort();
        }
    }
}

impl Hub {
    /// The live worker of a sandbox.
    pub(super) fn worker_of(&mut self, sandbox: SandboxId) -> Option<(LinkId, &mut Worker)> {
        let link = *self.sandboxes.get(&sandbox)?;
        self.workers.get_mut(&link).map(|worker| (link, worker))
    }

    /// This link has something to write when the turn ends.
    pub(super) fn mark_dirty(&mut self, link: LinkId) {
        if let Some(worker) = self.workers.get_mut(&link).filter(|worker| !worker.dirty) {
            worker.dirty = true;
            self.dirty.push(link);
        }
    }

    /// Hands a message frame to a worker.
    pub(super) fn push_to_worker(&mut self, link: LinkId, frame: &[u8]) {
        let Some(worker) = self.workers.get_mut(&link) else { return };
        if worker.link.out.backlog() >= WORKER_QUEUE_FRAMES_MAX {
            tracing::error!(sandbox = worker.sandbox.0, "the core overruns a link");
        }
        worker.link.out.push(frame);
        self.mark_dirty(link);
    }

    /// Sends a control message.
    pub(super) fn send_ctl(&mut self, sandbox: SandboxId, down: &CtlDown, fds: Vec<OwnedFd>) {
        let frame = down
            .encode()
            .map_err(|error| error.to_string())
            .and_then(|body| FrameBuilder::ctl(&body).build().map_err(|error| error.to_string()));
        if let Some((_, worker)) = self.worker_of(sandbox) {
            worker.accepted = true;
        }
        self.welcome_worker(sandbox);
        let Some((link, worker)) = self.worker_of(sandbox) else { return };
        if worker.hears == Hears::Breached {
            return;
        }
        match frame {
            Ok(frame) => {
                worker.link.out.push_ctl(&frame, fds);
                // What the net role is asked for is counted by those who asked.
                let untaken =
                    worker.role != Role::Net && worker.link.out.untaken_ctl() > CTL_UNTAKEN_MAX;
                self.mark_dirty(link);
                if untaken && let Some(input) = self.broken(link, "does not take what it asked for")
                {
                    self.later(input);
                }
            }
            Err(error) => {
                // The stage has a deadline, which answers everybody who waits.
                tracing::error!(sandbox = sandbox.0, error, "a control message cannot be sent");
            }
        }
    }

    /// Accepts the worker once it said hello and the core wants it.
    pub(super) fn welcome_worker(&mut self, sandbox: SandboxId) {
        let (ping_ms, wall_ms) = (self.heartbeat_ms, self.clock.wall_ms());
        let epoch = self.clock.started_ms();
        let Some((link, worker)) = self.worker_of(sandbox) else { return };
        if worker.link.state() == State::Hello && worker.accepted {
            let welcome = Welcome { sandbox: sandbox.0, incarnation: 1, ping_ms, wall_ms, epoch };
            worker.link.welcome(welcome);
            self.mark_dirty(link);
        }
    }

    /// SIGKILL, also for a process that is still being made.
    pub(super) fn kill(&mut self, sandbox: SandboxId) {
        match self.worker_of(sandbox) {
            Some((link, worker)) => {
                worker.signal(nix::libc::SIGKILL);
                tokio::task::spawn_local(watch::unkillable(self.me.clone(), link));
            }
            None => self.kill_unborn(sandbox),
        }
    }

    /// A signal that the operator asked for.
    pub(super) fn signal(&mut self, sandbox: SandboxId, signal: i32) {
        if let Some((_, worker)) = self.worker_of(sandbox) {
            worker.signal(signal);
        }
    }

    /// Sends a heartbeat, and reports when its time has passed.
    pub(super) fn ping(&mut self, sandbox: SandboxId, within_ms: u64) {
        let hub = self.me.clone();
        let Some((link, worker)) = self.worker_of(sandbox) else { return };
        worker.pings = worker.pings.saturating_add(1);
        let number = worker.unforeseen.hash_one(worker.pings);
        worker.ping = Some(number);
        worker.link.out.push_plain(Kind::Ping, &number.to_le_bytes());
        self.mark_dirty(link);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(within_ms)).await;
            let Some(hub) = hub.upgrade() else { return };
            let mut hub = hub.borrow_mut();
            let waiting = hub
                .workers
                .get_mut(&link)
                .is_some_and(|worker| worker.ping.take_if(|ping| *ping == number).is_some());
            if waiting {
                hub.turn(Input::Heartbeat { sandbox, answered: false });
            }
        });
    }

    /// Writes what waits for this link, as far as the socket takes it.
    pub(super) fn flush_worker(&mut self, link: LinkId) {
        let hub = self.me.clone();
        let Some(worker) = self.workers.get_mut(&link) else { return };
        worker.dirty = false;
        // Nor is a worker told that it may send more while it does not read that.
        if worker.stalled.is_some() {
            return;
        }
        worker.link.acknowledge(false);
        if worker.link.incoming.owes() && !worker.owing {
            worker.owing = true;
            self.owing.push(link);
            self.owes.notify_one();
        }
        while let Some(packet) = worker.link.out.next_packet() {
            let fds: Vec<_> = packet.fds.iter().map(|fd| fd.as_fd()).collect();
            let socket = worker.fd.get_ref().as_fd();
            let sent = match detach(&packet.bytes) {
                Some((head, body)) => sealed_memfd("body", body)
                    .and_then(|fd| send_packet(socket, &head, &[fd.as_fd()])),
                None => send_packet(socket, &packet.bytes, &fds),
            };
            match sent {
                Ok(()) => worker.link.out.recycle(packet.bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    worker.link.out.put_back(packet);
                    worker.stalled = wait_for_room(hub, link, worker.fd.get_ref());
                    return;
                }
                Err(error) => {
                    // It is gone, or about to be: what it did not get comes back with its exit.
                    worker.link.out.put_back(packet);
                    if !is_reset(&error) {
                        tracing::error!(sandbox = worker.sandbox.0, %error, "cannot send");
                        worker.signal(nix::libc::SIGKILL);
                    }
                    return;
                }
            }
        }
    }

    fn acknowledge_late(&mut self) {
        for link in std::mem::take(&mut self.owing) {
            if let Some(worker) = self.workers.get_mut(&link) {
                worker.owing = false;
                if worker.stalled.is_none() {
                    worker.link.acknowledge(true);
                }
                self.mark_dirty(link);
            }
        }
        self.end_turn();
    }
}

/// The socket is full: writes again when it has room. A copy of the descriptor, because one
/// descriptor is only once in an epoll, and the original waits for packets.
fn wait_for_room(hub: WeakHub, link: LinkId, fd: &OwnedFd) -> Option<AbortHandle> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3))
        .map_err(io::Error::from)
        .and_then(|raw| watched(adopt(raw), Interest::WRITABLE));
    let copy = match copy {
        Ok(copy) => copy,
        Err(error) => {
            tracing::error!(%error, "a full link cannot be waited for");
            return None;
        }
    };
    let task = tokio::task::spawn_local(async move {
        let writable = copy.writable().await.is_ok();
        drop(copy);
        let Some(hub) = hub.upgrade() else { return };
        let mut hub = hub.borrow_mut();
        if let Some(worker) = hub.workers.get_mut(&link) {
            worker.stalled = None;
            if writable {
                hub.mark_dirty(link);
                hub.end_turn();
            }
        }
    });
    Some(task.abort_handle())
}

/// Sends the acknowledgements that are owed after their delay. The timer runs only while one is.
pub(super) async fn acknowledge_in_time(hub: WeakHub) {
    let Some(owes) = hub.upgrade().map(|hub| Rc::clone(&hub.borrow().owes)) else { return };
    loop {
        owes.notified().await;
        tokio::time::sleep(Duration::from_millis(ACK_DELAY_MS)).await;
        let Some(hub) = hub.upgrade() else { return };
        hub.borrow_mut().acknowledge_late();
    }
}
