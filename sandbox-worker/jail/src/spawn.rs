//! How a sandbox is born: `clone3` into new namespaces from a process with one thread, ids mapped
//! from outside, `exec` of the worker with nothing inherited but its log and its link.
//!
//! ```text
//! spawner ── clone3 ──▶ child: session, keyring, wait ──────▶ ids, limits, descriptors, exec
//!    └─ uid_map, gid_map, oom score ── go ──────┘                               │
//!    ◀──────────────── end of the pair (exec closed it), or step and errno ─────┘
//! ```
//!
//! The child belongs to the spawner's parent (`CLONE_PARENT`): the daemon waits for it, and its
//! death kills it.

mod child;
mod network;
mod plan;

pub use network::Networks;
pub use plan::Limits;

use crate::limits::{EXEC_WITHIN, HOST_UID_MIN, OOM_SCORE};
use crate::{Profile, breach};
use child::{FAILURE_BYTES, Step};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{getegid, geteuid};
use plan::Plan;
use std::ffi::CString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// What is to be born.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The worker's program, as a sealed memfd or a file.
    pub image: BorrowedFd<'a>,
    /// Its arguments, from the name of the program on.
    pub args: &'a [&'a str],
    /// Becomes descriptor 3.
    pub link: OwnedFd,
    /// Becomes descriptor 2.
    pub log: OwnedFd,
    /// What it is for: [`Profile::Net`] stays in the host's network.
    pub profile: Profile,
    /// Host id that its uid and gid 0 are mapped to; `None` is the caller's own.
    pub uid: Option<u32>,
    /// Its resource limits.
    pub limits: Limits,
    /// Directory of the cgroup (version 2) that it is born into.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// What was born.
#[derive(Debug)]
pub struct Spawned {
    /// For its exit and its signals.
    pub pidfd: OwnedFd,
    /// Its number outside.
    pub pid: i32,
    /// Whether it has namespaces of its own.
    pub namespaces: bool,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum SpawnFault {
    /// Nothing below the kernel's uid 0 was given.
    #[error("no worker runs as root: a host uid of its own is needed")]
    Root,
    /// A host id that may be somebody's.
    #[error("no worker runs as host id {0}: its ids begin at {HOST_UID_MIN}")]
    Somebody(u32),
    /// An argument holds a zero byte.
    #[error("an argument cannot be passed on")]
    Argument,
    /// Something could not be prepared.
    #[error("{0}: {1}")]
    Prepare(&'static str, #[source] io::Error),
    /// The child said at which step it failed.
    #[error("the new process could not {0}: {1}")]
    Child(&'static str, Errno),
    /// It did not execute the worker in time.
    #[error("the new process did not execute the worker within {} s", EXEC_WITHIN.as_secs())]
    Late,
}

/// A failed birth. The process may exist, dead or dying, and be the caller's parent's to wait for.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
pub struct SpawnError {
    /// What went wrong.
    #[source]
    pub fault: SpawnFault,
    /// The process that is left to be waited for.
    pub remains: Option<OwnedFd>,
}

impl From<SpawnFault> for SpawnError {
    fn from(fault: SpawnFault) -> Self {
        Self { fault, remains: None }
    }
}

/// Makes the calling process a spawner: a session and a keyring of its own, no new privileges, and
/// an end with its parent's.
///
/// # Errors
/// One of them is refused. A missing keyring is none: the workers say whether they have theirs.
pub fn prepare() -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    match nix::unistd::setsid() {
        // It leads its process group already, and by that probably its session.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let _kept = crate::raw::new_session_keyring();
    if !breach::lacks("no-new-privs") {
        prctl::set_no_new_privs()?;
    }
    Ok(())
}

/// Makes the process. The caller has one thread, and may have a network ready for it.
///
/// Where the kernel refuses namespaces, the process has none and is only filtered; where it refuses
/// the cgroup, the process is born in the caller's: whether that is enough is the daemon's decision,
/// who looks from outside.
///
/// # Errors
/// It does not exist, or not for long; see [`SpawnError::remains`].
pub fn spawn(spawn: Spawn<'_>, networks: &mut Networks) -> Result<Spawned, SpawnError> {
    if spawn.uid.map_or_else(|| geteuid().is_root(), |uid| uid == 0) {
        return Err(SpawnFault::Root.into());
    }
    if let Some(uid) = spawn.uid.filter(|uid| *uid < HOST_UID_MIN) {
        return Err(SpawnFault::Somebody(uid).into());
    }
    let (ours, theirs) = sync_pair()?;
    let args: Vec<CString> = spawn
        .args
        .iter()
        .map(|arg| CString::new(*arg))
        .collect::<Result<_, _>>()
        .map_err(|_nul| SpawnFault::Argument)?;
    let uid = spawn.uid;
    let in_own_network =
        networks.enter(spawn.profile).map_err(|e| SpawnFault::Prepare("setns", e))?;
    let plan = Plan::new(spawn, &args, ours.as_fd(), theirs)?.in_own_network(in_own_network);
    let born = match born(&plan, true) {
        Err(Errno::EPERM | Errno::ENOSPC | Errno::EUSERS | Errno::EINVAL) => born(&plan, false),
        other => other,
    };
    let born = born.map_err(|errno| SpawnFault::Prepare("clone3", errno.into()))?;
    // The end of the pair is the news of a successful exec: only the child may hold it.
    drop(plan);
    match accompany(&born, ours, uid) {
        Ok(()) => Ok(born),
        Err(fault) => Err(SpawnError { fault, remains: Some(born.pidfd) }),
    }
}

/// In its cgroup, if there is one that takes it.
fn born(plan: &Plan, namespaces: bool) -> Result<Spawned, Errno> {
    match &plan.cgroup {
        Some(cgroup) => child::clone(plan, namespaces, Some(cgroup.as_raw_fd()))
            .or_else(|_refused| child::clone(plan, namespaces, None)),
        None => child::clone(plan, namespaces, None),
    }
}

fn sync_pair() -> Result<(OwnedFd, OwnedFd), SpawnFault> {
    socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| SpawnFault::Prepare("socketpair", errno.into()))
}

fn accompany(born: &Spawned, sync: OwnedFd, uid: Option<u32>) -> Result<(), SpawnFault> {
    let mapped = born.namespaces && !breach::lacks("user-ns");
    let told = if mapped { map_ids(born.pid, uid) } else { Ok(()) };
    let scored = fs::write(format!("/proc/{}/oom_score_adj", born.pid), OOM_SCORE);
    // Best effort: it only decides who is killed first when memory is short.
    drop(scored);
    let mut sync = UnixStream::from(sync);
    if told.is_ok() {
        sync.write_all(&[child::GO]).map_err(|e| SpawnFault::Prepare("sync", e))?;
    }
    // Without the word, the child ends at the end of the pair.
    told?;
    let late = PollTimeout::try_from(EXEC_WITHIN).unwrap_or(PollTimeout::MAX);
    let mut waiting = [PollFd::new(sync.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut waiting, late).map_err(|e| SpawnFault::Prepare("poll", e.into()))?;
    if ready == 0 {
        kill(born);
        return Err(SpawnFault::Late);
    }
    let mut failure = [0_u8; FAILURE_BYTES];
    match sync.read_exact(&mut failure) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(SpawnFault::Prepare("sync", error)),
        Ok(()) => {
            let [step, errno @ ..] = failure;
            let errno = Errno::from_raw(i32::from_le_bytes(errno));
            Err(SpawnFault::Child(Step::text(step), errno))
        }
    }
}

/// Maps the inside uid and gid 0 to one host id.
fn map_ids(pid: i32, uid: Option<u32>) -> Result<(), SpawnFault> {
    let write = |file: &'static str, text: String| {
        fs::write(format!("/proc/{pid}/{file}"), text).map_err(|e| SpawnFault::Prepare(file, e))
    };
    if uid.is_none() {
        // The kernel's condition for a map that is written without privilege.
        write("setgroups", "deny".to_owned())?;
    }
    write("uid_map", format!("0 {} 1", uid.unwrap_or_else(|| geteuid().as_raw())))?;
    write("gid_map", format!("0 {} 1", uid.unwrap_or_else(|| getegid().as_raw())))
}

fn kill(born: &Spawned) {
    // It may have ended by itself; the caller waits for it in either case.
    let _gone = child::kill(born.pidfd.as_raw_fd());
}
