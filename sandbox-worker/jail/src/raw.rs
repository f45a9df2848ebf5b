//! System calls that nix has no safe form of, each as a small function.

#![expect(unsafe_code, reason = "nix has no safe form of these calls")]

use nix::errno::Errno;
use std::os::fd::RawFd;

/// Highest descriptor number, for ranges without an end.
const LAST_FD: libc::c_uint = libc::c_uint::MAX;
/// `_LINUX_CAPABILITY_VERSION_3`: 64 bits in two halves.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// `SECBIT_*` of capabilities(7) that are set, each with its lock: uid 0 means nothing, and no
/// capability comes back by a change of ids or as an ambient one. `KEEP_CAPS` is locked off.
const SECUREBITS: libc::c_int = 0xEF;

fn checked(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result == -1 { Err(Errno::last()) } else { Ok(result) }
}

fn prctl(option: libc::c_int, second: libc::c_int, third: libc::c_int) -> Result<(), Errno> {
    let (second, third) = (libc::c_long::from(second), libc::c_long::from(third));
    // SAFETY: the options used here take integers and touch no memory of ours.
    let result = unsafe { libc::prctl(option, second, third, 0_i64, 0_i64) };
    checked(result.into()).map(drop)
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: u32) -> Result<(), Errno> {
    close_range(first, 0)
}

/// Marks every descriptor from `first` on close-on-exec. Safe between `clone3` and `exec`.
pub(crate) fn cloexec_from(first: u32) -> Result<(), Errno> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, flags: libc::c_uint) -> Result<(), Errno> {
    // SAFETY: three integers. Callers own every descriptor in the range, or are about to exec.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, LAST_FD, flags) }).map(drop)
}

/// Puts a copy of `from` at the number `to`, kept over `exec`. Safe between `clone3` and `exec`.
pub(crate) fn place(from: RawFd, to: RawFd) -> Result<(), Errno> {
    // SAFETY: two integers; the caller gives up what was at `to`.
    checked(unsafe { libc::dup3(from, to, 0) }.into()).map(drop)
}

/// Joins a new, empty session keyring. Safe between `clone3` and `exec`.
pub(crate) fn new_session_keyring() -> Result<(), Errno> {
    let unnamed = std::ptr::null::<libc::c_char>();
    let join = libc::KEYCTL_JOIN_SESSION_KEYRING;
    // SAFETY: a null name asks for an anonymous keyring; nothing is read.
    checked(unsafe { libc::syscall(libc::SYS_keyctl, join, unnamed) }).map(drop)
}

/// Leaves all supplementary groups. The raw call: glibc's would wait for threads it knows of.
pub(crate) fn no_groups() -> Result<(), Errno> {
    let none = std::ptr::null::<libc::gid_t>();
    // SAFETY: no groups are read from a list of length 0.
    checked(unsafe { libc::syscall(libc::SYS_setgroups, 0, none) }).map(drop)
}

/// Sets all three group ids.
pub(crate) fn become_gid(id: u32) -> Result<(), Errno> {
    // SAFETY: three integers.
    checked(unsafe { libc::syscall(libc::SYS_setresgid, id, id, id) }).map(drop)
}

/// Sets all three user ids.
pub(crate) fn become_uid(id: u32) -> Result<(), Errno> {
    // SAFETY: three integers.
    checked(unsafe { libc::syscall(libc::SYS_setresuid, id, id, id) }).map(drop)
}

/// Removes every capability from the bounding set.
pub(crate) fn empty_bounding_set() -> Result<(), Errno> {
    for capability in 0..=63 {
        match prctl(libc::PR_CAPBSET_DROP, capability, 0) {
            Ok(()) => {}
            // The first number that the kernel does not know.
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Removes every ambient capability.
pub(crate) fn empty_ambient_set() -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)
}

/// Locks the rules by which a change of ids would give capabilities back.
pub(crate) fn lock_securebits() -> Result<(), Errno> {
    prctl(libc::PR_SET_SECUREBITS, SECUREBITS, 0)
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct CapabilityHalf {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const NO_CAPABILITIES: [CapabilityHalf; 2] =
    [CapabilityHalf { effective: 0, permitted: 0, inheritable: 0 }; 2];

/// Gives up the effective, permitted and inheritable capabilities.
pub(crate) fn drop_capabilities() -> Result<(), Errno> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let data = NO_CAPABILITIES;
    // SAFETY: both structures are the kernel's, and outlive the call.
    checked(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// Whether no capability is effective, permitted or inheritable.
pub(crate) fn has_no_capabilities() -> Result<bool, Errno> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapabilityHalf { effective: 1, permitted: 1, inheritable: 1 }; 2];
    let (header, halves) = (&raw mut header, data.as_mut_ptr());
    // SAFETY: both structures are the kernel's, with room for both halves of version 3.
    checked(unsafe { libc::syscall(libc::SYS_capget, header, halves) })?;
    Ok(data == NO_CAPABILITIES)
}

/// Asks for the parent's pid past the library, which could not say that it was refused.
pub(crate) fn parent() -> Result<libc::c_long, Errno> {
    // SAFETY: no arguments.
    checked(unsafe { libc::syscall(libc::SYS_getppid) })
}

/// The domain and type of a socket that is bound to no address family of the network.
pub(crate) fn socket_option(fd: RawFd, option: libc::c_int) -> Result<libc::c_int, Errno> {
    let mut value: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
    let (into, size) = ((&raw mut value).cast(), &raw mut length);
    // SAFETY: `into` has room for the `size` bytes of an integer option.
    checked(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, into, size) }.into())?;
    Ok(value)
}

/// Makes any system call. What the arguments point to is only read.
pub(crate) fn attempt(call: libc::c_long, args: [libc::c_long; 6]) -> Result<libc::c_long, Errno> {
    let [first, second, third, fourth, fifth, sixth] = args;
    // SAFETY: the callers are the probes and the survey, whose arguments are integers that are no
    // addresses of ours, and addresses of constants that the calls they are given to only read.
    checked(unsafe { libc::syscall(call, first, second, third, fourth, fifth, sixth) })
}

/// Whether a filter may answer with this action.
pub(crate) fn filter_action(action: u32) -> Result<(), Errno> {
    let ask = libc::SECCOMP_GET_ACTION_AVAIL;
    // SAFETY: the kernel reads one number, which outlives the call.
    checked(unsafe { libc::syscall(libc::SYS_seccomp, ask, 0, &raw const action) }).map(drop)
}

/// Whether something keeps the clock right.
pub(crate) fn clock_is_synchronised() -> Result<bool, Errno> {
    // SAFETY: integers of which zero is a value; no modes ask for no change.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills in the structure, which is its own.
    let clock = unsafe { libc::adjtimex(&raw mut state) };
    checked(clock.into()).map(|_state| state.status & libc::STA_UNSYNC == 0)
}

/// Closes a descriptor that an attack brought.
pub(crate) fn give_back(fd: libc::c_long) {
    // SAFETY: the number was just returned as a new descriptor, and nobody else knows it.
    unsafe { libc::syscall(libc::SYS_close, fd) };
}

/// Whether there is a descriptor with this number.
pub(crate) fn is_open(fd: u32) -> bool {
    // SAFETY: only looks.
    checked(unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFD) }).is_ok()
}

/// Whether no capability can come back by an exec.
pub(crate) fn bounding_set_is_empty() -> bool {
    for capability in 0..=63 {
        match look(libc::PR_CAPBSET_READ, capability, 0) {
            Ok(0) => {}
            // The first number that the kernel does not know.
            Err(Errno::EINVAL) => return capability > 0,
            _ => return false,
        }
    }
    true
}

/// Whether no capability is ambient.
pub(crate) fn ambient_set_is_empty() -> bool {
    for capability in 0..=63 {
        match look(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET, capability) {
            Ok(0) => {}
            Err(Errno::EINVAL) => return capability > 0,
            _ => return false,
        }
    }
    true
}

/// Whether no change of ids gives capabilities back.
pub(crate) fn securebits_are_locked() -> bool {
    look(libc::PR_GET_SECUREBITS, 0, 0) == Ok(SECUREBITS)
}

fn look(
    option: libc::c_int,
    second: libc::c_int,
    third: libc::c_int,
) -> Result<libc::c_int, Errno> {
    let (second, third) = (libc::c_long::from(second), libc::c_long::from(third));
    // SAFETY: the options used here take integers and touch no memory of ours.
    let result = unsafe { libc::prctl(option, second, third, 0_i64, 0_i64) };
    if result == -1 { Err(Errno::last()) } else { Ok(result) }
}

/// Bytes of the list of what the session's keyring holds.
pub(crate) fn session_keys() -> Result<libc::c_long, Errno> {
    let (keyring, nowhere) = (libc::KEY_SPEC_SESSION_KEYRING, std::ptr::null_mut::<u8>());
    // SAFETY: with a null buffer of no length only the size is told.
    checked(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_READ, keyring, nowhere, 0) })
}

/// `SHM_INFO` of shmctl(2).
const SHM_INFO: libc::c_int = 14;
/// `MSG_INFO` of msgctl(2).
const MSG_INFO: libc::c_int = 12;

/// Whether the process sees no shared memory of anybody, or may not even look.
pub(crate) fn no_shared_segments() -> bool {
    // Larger than the kernel's `shm_info`, whose first number counts the segments.
    let mut info = [1_i32; 64];
    // SAFETY: the kernel writes less than the buffer has room for.
    let asked = unsafe { libc::syscall(libc::SYS_shmctl, 0, SHM_INFO, info.as_mut_ptr()) };
    asked == -1 || info.first() == Some(&0)
}

/// Whether the process sees no message queue of anybody, or may not even look.
pub(crate) fn no_message_queues() -> bool {
    // Larger than the kernel's `msginfo`, whose first number counts the queues.
    let mut info = [1_i32; 64];
    // SAFETY: the kernel writes less than the buffer has room for.
    let asked = unsafe { libc::syscall(libc::SYS_msgctl, 0, MSG_INFO, info.as_mut_ptr()) };
    asked == -1 || info.first() == Some(&0)
}
