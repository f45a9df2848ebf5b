//! The spawner: found, copied and started before there is a second thread, asked for each worker,
//! and started again when it has died.

mod rest;

use super::cgroup::{Bounds, Cgroups, Held, hold};
use super::hub::{Hub, WeakHub};
use super::ready::watched;
use super::watch;
use super::workers::{Worker, read_links};
use crate::limits::{BORN_WITHIN, SANDBOX_UIDS, SPAWNER_AWAITED, WORKER_BYTES_MAX};
use protocol::ctl::{Role, SpawnReply, SpawnRequest};
use protocol::limits::SPAWN_BYTES_MAX;
use protocol::sys::{
    is_reset, recv_packet, sealed_memfd, send_packet, set_cloexec, set_nonblocking,
    socketpair_seqpacket,
};
use rest::Rest;
use runtime_core::{Input, SandboxId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Where packages put the worker.
const PACKAGED: &str = "/usr/libexec/runtimed/sandbox-worker";

/// The worker binary, which nobody can change any more.
#[derive(Debug)]
pub(super) struct Image {
    fd: OwnedFd,
}

impl Image {
    /// Finds the worker beside this program or where packages put it, never through `PATH`, and
    /// copies it: a file replaced on disk does not mix versions in a running daemon.
    ///
    /// # Errors
    /// It is nowhere, or cannot be copied.
    pub(super) fn load() -> io::Result<Self> {
        let beside = std::env::current_exe()?.with_file_name("sandbox-worker");
        let (path, file) = open_first(&[&beside, Path::new(PACKAGED)])?;
        let mut bytes = Vec::new();
        file.take(WORKER_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > WORKER_BYTES_MAX {
            return Err(io::Error::other(format!("{} is too large", path.display())));
        }
        Ok(Self { fd: sealed_memfd("sandbox-worker", &bytes)? })
    }
}

fn open_first(places: &[&Path]) -> io::Result<(PathBuf, File)> {
    for place in places {
        match File::open(place) {
            Ok(file) => return Ok(((*place).to_owned(), file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(io::Error::other(format!("cannot open {}: {error}", place.display())));
            }
        }
    }
    let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    Err(io::Error::other(format!("sandbox-worker is not at {}", places.join(" nor at "))))
}

/// A spawner process.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    link: OwnedFd,
}

impl Process {
    /// Starts a spawner: the only place where the daemon makes a process. It gets its end of the
    /// link and the image, and no other descriptor.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(image: &Image) -> io::Result<Self> {
        let (ours, theirs) = socketpair_seqpacket()?;
        let image_fd = image.fd.as_raw_fd();
        set_cloexec(&theirs, false)?;
        set_cloexec(&image.fd, false)?;
        let child = Command::new(format!("/proc/self/fd/{image_fd}"))
            .arg0("sandbox-worker")
            .args(["--role", "spawner"])
            .args(["--link-fd", &theirs.as_raw_fd().to_string()])
            .args(["--image-fd", &image_fd.to_string()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        set_cloexec(&image.fd, true)?;
        Ok(Self { child: child?, link: ours })
    }
}

#[derive(Debug)]
struct Running {
    child: Child,
    link: Rc<AsyncFd<OwnedFd>>,
}

/// A worker that was asked for.
#[derive(Debug)]
struct Wanted {
    link: OwnedFd,
    log: OwnedFd,
    role: Role,
    uid: Option<u32>,
    cgroup: Held,
    killed: bool,
}

/// What asks the spawner, and what it was asked.
#[derive(Debug)]
pub(super) struct Spawner {
    image: Image,
    running: Option<Running>,
    rest: Rest,
    wanted: BTreeMap<SandboxId, Wanted>,
    uids: Uids,
    pub(super) cgroups: Cgroups,
    bounds: Bounds,
}

impl Spawner {
    /// With the spawner that was started before there was a second thread. `uid_base` gives each
    /// worker a uid of its own.
    ///
    /// # Errors
    /// The link cannot be watched.
    pub(super) fn new(
        image: Image,
        first: Process,
        uid_base: Option<u32>,
        (cgroups, bounds): (Cgroups, Bounds),
    ) -> io::Result<Self> {
        let running = Some(Running::new(first)?);
        let uids = Uids { base: uid_base, used: BTreeSet::new() };
        let wanted = BTreeMap::new();
        let mut rest = Rest::default();
        rest.started(Instant::now());
        let mut spawner = Self { image, running, rest, wanted, uids, cgroups, bounds };
        spawner.allow(bounds);
        Ok(spawner)
    }

    /// One that has nobody to ask.
    #[cfg(test)]
    pub(super) fn without_process() -> io::Result<Self> {
        let image = Image { fd: sealed_memfd("none", b"")? };
        let uids = Uids { base: None, used: BTreeSet::new() };
        let bounds =
            Bounds { open_files: 64, processes: 8, memory_bytes: 1 << 26, cpu_percent: None };
        let (wanted, cgroups) = (BTreeMap::new(), Cgroups::none("a test"));
        let rest = Rest::default();
        Ok(Self { image, running: None, rest, wanted, uids, cgroups, bounds })
    }

    /// A uid is free again.
    pub(super) fn release(&mut self, uid: Option<u32>) {
        if let Some(uid) = uid {
            self.uids.used.remove(&uid);
        }
    }

    /// What the workers that are born from now on may use.
    pub(super) fn allow(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        if let Some(key) = self.cgroups.without_effect(&bounds) {
            tracing::warn!(key, "this key has no effect without a cgroup");
        }
    }

    /// Nobody waits for this worker any more.
    fn forget(&mut self, sandbox: SandboxId) {
        if let Some(wanted) = self.wanted.remove(&sandbox) {
            self.release(wanted.uid);
            wanted.cgroup.abandon();
        }
    }

    fn mark_killed(&mut self, sandbox: SandboxId) -> bool {
        self.wanted.get_mut(&sandbox).map(|wanted| wanted.killed = true).is_some()
    }

    /// Ends the spawner; what was asked of it fails.
    pub(super) fn end(&mut self) {
        if let Some(running) = &mut self.running
            && let Err(error) = running.child.kill()
        {
            tracing::debug!(%error, "the spawner was not killed");
        }
    }

    /// Whether no spawner runs; its remains are taken away.
    pub(super) fn has_ended(&mut self) -> bool {
        self.running.as_mut().is_none_or(|running| !matches!(running.child.try_wait(), Ok(None)))
    }
}

impl Running {
    fn new(process: Process) -> io::Result<Self> {
        let link = watched(process.link, Interest::READABLE)?;
        Ok(Self { child: process.child, link: Rc::new(link) })
    }
}

/// Host uids that live workers have.
#[derive(Debug)]
struct Uids {
    base: Option<u32>,
    used: BTreeSet<u32>,
}

impl Uids {
    /// The uid of a new worker: its number from the base on, or the next that is free.
    fn take(&mut self, sandbox: SandboxId) -> Option<u32> {
        let base = self.base?;
        let free = (0..SANDBOX_UIDS)
            .map(|step| sandbox.0.wrapping_add(step).checked_rem(SANDBOX_UIDS).unwrap_or(0))
            .map(|offset| base.saturating_add(offset))
            .find(|uid| !self.used.contains(uid))?;
        self.used.insert(free);
        Some(free)
    }
}

impl Hub {
    /// Asks for a worker; answered by `Spawned` or `SpawnFailed`.
    pub(super) fn spawn_worker(&mut self, sandbox: SandboxId, role: Role, name: &str) {
        tracing::debug!(sandbox = sandbox.0, role = role.name(), name, "asking for a worker");
        self.ask_when_rested(sandbox, role);
    }

    fn ask_when_rested(&mut self, sandbox: SandboxId, role: Role) {
        match self.spawner.rest.left(Instant::now()) {
            Duration::ZERO => self.ask_for(sandbox, role),
            left if left <= SPAWNER_AWAITED => {
                self.spawner.rest.waiting.insert(sandbox, role);
            }
            left => {
                let text = format!("the spawner died too often and rests for {left:?}");
                self.fail_spawn(sandbox, text);
            }
        }
    }

    fn ask_for(&mut self, sandbox: SandboxId, role: Role) {
        match self.ask(sandbox, role) {
            Ok(()) => {}
            // It has just died, which nobody has noticed yet; this one was never asked.
            Err(error) if is_reset(&error) && self.spawner.running.is_some() => {
                self.spawner.forget(sandbox);
                self.spawner_died();
                self.ask_when_rested(sandbox, role);
            }
            Err(error) => {
                self.fail_spawn(sandbox, format!("the spawner cannot be asked: {error}"));
            }
        }
    }

    fn ask(&mut self, sandbox: SandboxId, role: Role) -> io::Result<()> {
        if self.spawner.running.is_none() {
            let process = Process::start(&self.spawner.image)?;
            self.spawner.running = Some(Running::new(process)?);
            self.spawner.rest.started(Instant::now());
            tracing::warn!("the spawner was started again");
            tokio::task::spawn_local(listen(self.me.clone()));
        }
        let (ours, theirs) = socketpair_seqpacket()?;
        let (log, log_end) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        set_nonblocking(&log)?;
        let uid = self.spawner.uids.take(sandbox);
        let bounds = match role {
            Role::Net => self.spawner.bounds.of_net(),
            Role::Spawner | Role::Fetch | Role::Stub => self.spawner.bounds,
        };
        let cgroup = Held::prepare(&self.spawner.cgroups, sandbox.0, bounds);
        let birthplace = cgroup.birthplace();
        let wanted = Wanted { link: ours, log, role, uid, cgroup, killed: false };
        self.spawner.wanted.insert(sandbox, wanted);
        let request = SpawnRequest {
            sandbox: sandbox.0,
            role,
            uid,
            open_files: bounds.open_files,
            processes: bounds.processes,
            cgroup: birthplace.is_some(),
            listen: self.listen.clone().filter(|_| role == Role::Net),
        };
        let bytes = request.encode().map_err(io::Error::other)?;
        let Some(running) = &self.spawner.running else { return Ok(()) };
        let mut fds = vec![theirs.as_fd(), log_end.as_fd()];
        fds.extend(birthplace.as_ref().map(|fd| fd.as_fd()));
        send_packet(running.link.get_ref().as_fd(), &bytes, &fds)
    }

    /// Kills a worker that is still being made as soon as it is there. A spawner that does not
    /// make it then is of no use, and is killed itself: the worker counts as failed.
    pub(super) fn kill_unborn(&mut self, sandbox: SandboxId) {
        if self.spawner.rest.waiting.remove(&sandbox).is_some() {
            return self.fail_spawn(sandbox, "the spawner rests".to_owned());
        }
        if !self.spawner.mark_killed(sandbox) {
            return;
        }
        let hub = self.me.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(BORN_WITHIN).await;
            let Some(hub) = hub.upgrade() else { return };
            let mut hub = hub.borrow_mut();
            if hub.spawner.wanted.contains_key(&sandbox) {
                hub.spawner.end();
            }
        });
    }

    fn fail_spawn(&mut self, sandbox: SandboxId, text: String) {
        self.spawner.forget(sandbox);
        self.later(Input::SpawnFailed { sandbox, text });
    }

    fn take_spawn_reply(&mut self, reply: SpawnReply, pidfd: Option<OwnedFd>) {
        match (reply, pidfd) {
            (SpawnReply::Failed { sandbox, text }, remains) => {
                if let Some(pidfd) = remains {
                    tokio::task::spawn_local(watch::remains(pidfd));
                }
                self.fail_spawn(SandboxId(sandbox), text);
            }
            (SpawnReply::Spawned { sandbox, .. }, None) => {
                self.fail_spawn(SandboxId(sandbox), "the spawner gave no pidfd".to_owned());
            }
            (SpawnReply::Spawned { sandbox, pid, namespaces }, Some(pidfd)) => {
                let sandbox = SandboxId(sandbox);
                if let Some(wanted) = self.spawner.wanted.remove(&sandbox) {
                    self.adopt_worker(sandbox, wanted, (pid, pidfd), namespaces);
                }
            }
        }
        self.end_turn();
    }

    fn adopt_worker(
        &mut self,
        sandbox: SandboxId,
        wanted: Wanted,
        (pid, pidfd): (i32, OwnedFd),
        namespaces: bool,
    ) {
        let Wanted { link: fd, log, role, uid, cgroup, killed } = wanted;
        let worker = match Worker::new(sandbox, (role, uid), pid, (pidfd, fd)) {
            Ok(worker) => worker,
            Err(error) => {
                // Without its link open, the process ends by itself.
                self.spawner.release(uid);
                cgroup.abandon();
                self.later(Input::SpawnFailed { sandbox, text: error.to_string() });
                return;
            }
        };
        let link = self.next_link();
        if killed {
            worker.signal(nix::libc::SIGKILL);
        }
        let pidfd = Rc::clone(&worker.pidfd);
        self.workers.insert(link, worker);
        self.sandboxes.insert(sandbox, link);
        tokio::task::spawn_local(read_links(self.me.clone(), link));
        let hub = self.me.clone();
        tokio::task::spawn_local(async move {
            hold(hub.clone(), link, pid, cgroup).await;
            watch::exit(hub, link, pidfd).await;
        });
        tokio::task::spawn_local(watch::stderr(sandbox, role, log));
        self.later(Input::Spawned { sandbox, link, pid, namespaces });
    }

    /// This link has ended, if it is not known already.
    fn spawner_gone(&mut self, link: &Rc<AsyncFd<OwnedFd>>) {
        let current = self.spawner.running.as_ref();
        if current.is_some_and(|running| Rc::ptr_eq(&running.link, link)) {
            self.spawner_died();
        }
        self.end_turn();
    }

    fn spawner_died(&mut self) {
        if let Some(mut running) = self.spawner.running.take() {
            // It closed its link: it is dead or of no use.
            let ended = running.child.kill().and_then(|()| running.child.wait());
            if self.stopped {
                tracing::debug!(?ended, "the spawner ended");
            } else {
                tracing::warn!(?ended, "the spawner ended");
            }
        }
        let rest = self.spawner.rest.died(Instant::now());
        tokio::task::spawn_local(ask_again(self.me.clone(), rest));
        let wanted: Vec<_> = self.spawner.wanted.keys().copied().collect();
        for sandbox in wanted {
            self.fail_spawn(sandbox, "the spawner died".to_owned());
        }
    }
}

/// Asks for the workers that waited while the spawner rested.
async fn ask_again(hub: WeakHub, rest: Duration) {
    tokio::time::sleep(rest).await;
    let Some(hub) = hub.upgrade() else { return };
    let mut hub = hub.borrow_mut();
    for (sandbox, role) in std::mem::take(&mut hub.spawner.rest.waiting) {
        hub.ask_for(sandbox, role);
    }
    hub.end_turn();
}

/// Takes what the spawner says while it lives.
pub(super) async fn listen(hub: WeakHub) {
    let link = hub.upgrade().and_then(|hub| {
        hub.borrow().spawner.running.as_ref().map(|running| Rc::clone(&running.link))
    });
    let Some(link) = link else { return };
    let mut buffer = [0_u8; SPAWN_BYTES_MAX];
    loop {
        let Ok(mut ready) = link.readable().await else { return };
        let received = recv_packet(link.get_ref().as_fd(), &mut buffer);
        let Some(hub) = hub.upgrade() else { return };
        let mut hub = hub.borrow_mut();
        match received {
            Ok(received) if received.len > 0 && !received.truncated => {
                let reply = SpawnReply::decode(buffer.get(..received.len).unwrap_or_default());
                match reply {
                    Ok(reply) => hub.take_spawn_reply(reply, received.fds.into_iter().next()),
                    Err(error) => tracing::error!(%error, "the spawner speaks another language"),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) if is_reset(&error) => {}
            Ok(_) | Err(_) => {
                hub.spawner_gone(&link);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SANDBOX_UIDS, Uids, open_first};
    use runtime_core::SandboxId;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_live_worker_has_a_uid_of_its_own() {
        let mut uids = Uids { base: Some(524_288), used: BTreeSet::new() };
        assert_eq!(uids.take(SandboxId(1)), Some(524_289));
        assert_eq!(uids.take(SandboxId(2)), Some(524_290));
        assert_eq!(uids.take(SandboxId(SANDBOX_UIDS + 1)), Some(524_291), "1 and 2 still live");
        uids.used.remove(&524_289);
        assert_eq!(uids.take(SandboxId(SANDBOX_UIDS + 1)), Some(524_289));
        assert_eq!(Uids { base: None, used: BTreeSet::new() }.take(SandboxId(1)), None);
    }

    #[test]
    fn a_worker_that_is_nowhere_is_said_so() {
        let error = open_first(&[Path::new("/nonexistent/a"), Path::new("/nonexistent/b")]);
        let text = error.unwrap_err().to_string();
        assert_eq!(text, "sandbox-worker is not at /nonexistent/a nor at /nonexistent/b");
    }
}
