//! Between `clone3` and `exec`: only raw system calls, nothing allocated, nothing unwound.

#![expect(unsafe_code, reason = "nix has neither clone3 nor what its child may call")]

use super::Spawned;
use super::plan::Plan;
use crate::limits::FIRST_FREE_FD;
use crate::{breach, raw};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::setrlimit;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::{Mode, umask};
use std::ffi::{c_char, c_int};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// The word that the ids are mapped.
pub(super) const GO: u8 = b'g';
/// Bytes of a failure: the step, and the errno in little endian.
pub(super) const FAILURE_BYTES: usize = 5;
/// Exit status of a child that never was a worker.
const FAILED_STATUS: c_int = 127;
/// `CLONE_CLEAR_SIGHAND`, which libc has only for some targets.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// `CLONE_INTO_CGROUP`, likewise.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Where a child is, for the report of its failure.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Session = 1,
    Go,
    Groups,
    Gid,
    Uid,
    ParentDeath,
    Limits,
    Descriptors,
    Signals,
    Exec,
}

impl Step {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Session, "start a session"),
        (Self::Go, "wait for its ids"),
        (Self::Groups, "leave its groups"),
        (Self::Gid, "change its group"),
        (Self::Uid, "change its user"),
        (Self::ParentDeath, "bind its life to its parent's"),
        (Self::Limits, "limit its resources"),
        (Self::Descriptors, "arrange its descriptors"),
        (Self::Signals, "reset its signals"),
        (Self::Exec, "execute the worker"),
    ];

    const fn number(self) -> u8 {
        #[expect(clippy::as_conversions, reason = "an enum without fields is its number")]
        let number = self as u8;
        number
    }

    /// What the step with this number is about.
    pub(super) fn text(number: u8) -> &'static str {
        Self::ALL.iter().find(|(step, _)| step.number() == number).map_or("go on", |(_, text)| text)
    }
}

/// The namespaces of a jail, each with its flag.
const NAMESPACES: [(&str, c_int); 7] = [
    ("user-ns", libc::CLONE_NEWUSER),
    ("mount-ns", libc::CLONE_NEWNS),
    ("pid-ns", libc::CLONE_NEWPID),
    (NETWORK, libc::CLONE_NEWNET),
    ("ipc-ns", libc::CLONE_NEWIPC),
    ("uts-ns", libc::CLONE_NEWUTS),
    ("cgroup-ns", libc::CLONE_NEWCGROUP),
];
/// What the net role does not have, and what may be there before the process.
pub(super) const NETWORK: &str = "net-ns";

/// Flags of the namespaces that are made for the plan's process.
fn namespace_flags(plan: &Plan) -> c_int {
    let wanted = |layer| !breach::lacks(layer) && (layer != NETWORK || plan.makes_network);
    let flags = NAMESPACES.iter().filter(|(layer, _)| wanted(*layer));
    flags.fold(0, |all, (_, flag)| all | flag)
}

/// Makes the child, which runs its plan and never returns.
pub(super) fn clone(
    plan: &Plan,
    namespaces: bool,
    cgroup: Option<RawFd>,
) -> Result<Spawned, Errno> {
    let mut pidfd: RawFd = -1;
    let own = if namespaces { namespace_flags(plan) } else { 0 };
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD | own;
    let address =
        u64::try_from((&raw mut pidfd).expose_provenance()).map_err(|_e| Errno::EINVAL)?;
    let into_cgroup = if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 };
    let mut args = libc::clone_args {
        flags: u64::from(flags.cast_unsigned()) | CLONE_CLEAR_SIGHAND | into_cgroup,
        pidfd: address,
        child_tid: 0,
        parent_tid: 0,
        // With CLONE_PARENT the child takes the caller's own.
        exit_signal: 0,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.and_then(|fd| u64::try_from(fd).ok()).unwrap_or_default(),
    };
    // SAFETY: without CLONE_VM this is a fork. The caller has one thread, and the child only makes
    // system calls until it executes or exits. The kernel writes the pidfd before it returns.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match i32::try_from(pid) {
        Ok(0) => live(plan, namespaces),
        Ok(pid) if pid > 0 => {
            // SAFETY: the kernel just made this descriptor for us alone.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Spawned { pidfd, pid, namespaces })
        }
        _ => Err(Errno::last()),
    }
}

fn live(plan: &Plan, namespaces: bool) -> ! {
    let (step, errno) = steps(plan, namespaces);
    #[expect(clippy::as_conversions, reason = "an enum whose values are the numbers of errno")]
    let [a, b, c, d] = i32::to_le_bytes(errno as i32);
    let failure = [step.number(), a, b, c, d];
    // SAFETY: the bytes live until the call returns; a spawner that is gone needs none of them.
    unsafe { libc::write(plan.sync.as_raw_fd(), failure.as_ptr().cast(), failure.len()) };
    // SAFETY: ends this process without running what belongs to the spawner.
    unsafe { libc::_exit(FAILED_STATUS) }
}

/// Runs the plan to its exec; what comes back is the step that failed.
fn steps(plan: &Plan, namespaces: bool) -> (Step, Errno) {
    let own_ids = namespaces && !breach::lacks("user-ns");
    let mut at = Step::Session;
    let mut walk = || -> Result<(), Errno> {
        // The process group of the daemon would cross the pid namespace.
        if !breach::lacks("session") {
            nix::unistd::setsid()?;
        }
        if !breach::lacks("keyring") {
            // Best effort here: the worker does it again, and reports it.
            let _kept = raw::new_session_keyring();
        }
        at = Step::Go;
        wait_for_word(plan)?;
        if let (Some(_), _) | (_, false) = (plan.uid, own_ids) {
            become_other(plan, own_ids, &mut at)?;
        } else {
            at = Step::Gid;
            raw::become_gid(0)?;
            at = Step::Uid;
            raw::become_uid(0)?;
        }
        at = Step::ParentDeath;
        // A change of ids clears it, an exec does not.
        if !breach::lacks("parent-death") {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
        }
        at = Step::Limits;
        if !breach::lacks("rlimits") {
            for (resource, most) in &plan.limits {
                setrlimit(*resource, *most, *most)?;
            }
        }
        at = Step::Descriptors;
        raw::place(plan.null.as_raw_fd(), 0)?;
        raw::place(plan.null.as_raw_fd(), 1)?;
        raw::place(plan.log.as_raw_fd(), 2)?;
        raw::place(plan.link.as_raw_fd(), 3)?;
        if !breach::lacks("descriptors") {
            raw::cloexec_from(FIRST_FREE_FD)?;
        }
        at = Step::Signals;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        umask(Mode::from_bits_truncate(0o077));
        at = Step::Exec;
        Err(exec(plan))
    };
    let errno = walk().err().unwrap_or(Errno::UnknownErrno);
    (at, errno)
}

/// Leaves the caller's groups and takes the ids that the sandbox has for itself, if it has some.
fn become_other(plan: &Plan, own_ids: bool, at: &mut Step) -> Result<(), Errno> {
    let Some(host) = plan.uid else { return Ok(()) };
    // Inside its namespace it is 0, which is the host's id; without one it is the host's id itself.
    let id = if own_ids { 0 } else { host };
    *at = Step::Groups;
    raw::no_groups()?;
    *at = Step::Gid;
    raw::become_gid(id)?;
    *at = Step::Uid;
    raw::become_uid(id)
}

fn wait_for_word(plan: &Plan) -> Result<(), Errno> {
    // SAFETY: the number is the spawner's end, of which this is a copy nobody else here uses.
    unsafe { libc::close(plan.other_end) };
    let mut word = [0_u8];
    // SAFETY: one byte has room for one byte.
    let read = unsafe { libc::read(plan.sync.as_raw_fd(), word.as_mut_ptr().cast(), 1) };
    match (read, word) {
        (1, [GO]) => Ok(()),
        (-1, _) => Err(Errno::last()),
        _ => Err(Errno::ECANCELED),
    }
}

fn exec(plan: &Plan) -> Errno {
    let environment: [*const c_char; 1] = [std::ptr::null()];
    let image = plan.image.as_raw_fd();
    let (argv, envp) = (plan.argv.as_ptr(), environment.as_ptr());
    // SAFETY: both lists end with a null pointer, and everything they point to outlives the call.
    unsafe {
        libc::syscall(libc::SYS_execveat, image, c"".as_ptr(), argv, envp, libc::AT_EMPTY_PATH)
    };
    Errno::last()
}

/// SIGKILL through a pidfd.
pub(super) fn kill(pidfd: RawFd) -> Result<(), Errno> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo means "as kill(2)"; the other arguments are integers.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, libc::SIGKILL, info, 0) };
    if sent == 0 { Ok(()) } else { Err(Errno::last()) }
}
