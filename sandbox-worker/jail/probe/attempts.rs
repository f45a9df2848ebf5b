//! The attempts, each harmless when it succeeds.

#![expect(unsafe_code, reason = "the walls are tried with raw system calls")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "one attempt is one thought")]

use nix::errno::Errno;
use std::ffi::{CStr, c_long};
use std::ptr::null;

pub(crate) const KEY: &CStr = c"jail-probe-secret";

/// Ids of the process, its parent, group and session, and its host name, as it sees them.
pub(crate) fn identity() -> String {
    use nix::unistd::{getpgrp, getpid, getppid, getsid, getuid};
    let parameters = [getpid(), getppid(), getpgrp(), getsid(None).unwrap()];
    let [pid, parent, group, session] = parameters.map(nix::unistd::Pid::as_raw);
    format!("identity pid={pid} parent={parent} group={group} session={session} uid={}", getuid())
}

fn outcome(result: c_long) -> String {
    if result < 0 { format!("{:?}", Errno::last()) } else { "ok".to_owned() }
}

/// The name of the key that a worker plants.
pub(crate) const EVIL_KEY: &CStr = c"jail-probe-planted";

fn add_key(name: &CStr) -> c_long {
    let (kind, data) = (c"user".as_ptr(), c"x".as_ptr());
    let keyring = libc::KEY_SPEC_SESSION_KEYRING;
    // SAFETY: the strings end with zero; the data is one byte long.
    unsafe { libc::syscall(libc::SYS_add_key, kind, name.as_ptr(), data, 1, keyring) }
}

pub(crate) fn plant_key() {
    assert!(add_key(KEY) > 0, "{}", Errno::last());
}

fn plant_own_key() -> String {
    outcome(add_key(EVIL_KEY))
}

#[cfg(feature = "breach")]
/// Leaves a segment of shared memory, which ends with the IPC namespace of this process.
pub(crate) fn plant_segment() {
    // SAFETY: three integers.
    let segment = unsafe { libc::shmget(libc::IPC_PRIVATE, 4_096, 0o600) };
    assert!(segment >= 0, "{}", Errno::last());
}

pub(crate) fn find_key(name: &CStr) -> String {
    let (kind, keyring) = (c"user".as_ptr(), libc::KEY_SPEC_SESSION_KEYRING);
    // SAFETY: the strings end with zero; nothing is written.
    outcome(unsafe {
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SEARCH, keyring, kind, name.as_ptr(), 0)
    })
}

/// Makes the attempt called `name`; `ok`, or the errno.
pub(crate) fn attempt(name: &str) -> String {
    raw(name).map_or_else(|| special(name), outcome)
}

/// One system call with arguments that can do nothing.
fn raw(name: &str) -> Option<c_long> {
    let nothing = null::<u8>();
    let minus_one: c_long = -1;
    // SAFETY: integers, zero-terminated strings, and pointers that are null: the kernel writes to
    // none of our memory.
    Some(unsafe {
        match name {
            "open" => libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY).into(),
            "open-root" => libc::open(c"/".as_ptr(), libc::O_RDONLY).into(),
            "open-resolv" => libc::open(c"/etc/resolv.conf".as_ptr(), libc::O_RDONLY).into(),
            "mkdir" => libc::mkdir(c"/jail-probe-no/such".as_ptr(), 0).into(),
            "inet" => libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0).into(),
            "inet6-udp" => libc::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0).into(),
            "inet-raw" => libc::socket(libc::AF_INET, libc::SOCK_RAW, 1).into(),
            "mptcp" => libc::socket(libc::AF_INET, libc::SOCK_STREAM, 262).into(),
            "unix" => libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).into(),
            "netlink" => libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0).into(),
            "bind" => libc::bind(-1, null(), 0).into(),
            "listen" => libc::listen(-1, 0).into(),
            "kill-group" => libc::kill(0, 0).into(),
            "kill-parent" => libc::kill(libc::getppid(), 0).into(),
            // By their numbers: libc has no names for them.
            "uretprobe" => libc::syscall(335),
            "uprobe" => libc::syscall(336),
            "renice-group" => libc::setpriority(libc::PRIO_PGRP, 0, 19).into(),
            "datagrams" => {
                libc::syscall(libc::SYS_socketpair, libc::AF_UNIX, libc::SOCK_DGRAM, 0, nothing)
            }
            "named-datagram" => {
                libc::syscall(libc::SYS_sendto, 3, c"x".as_ptr(), 1, 0, c"xx".as_ptr(), 2)
            }
            "priority" => libc::setpriority(libc::PRIO_PROCESS, 0, 0).into(),
            "ptrace" => libc::syscall(libc::SYS_ptrace, libc::PTRACE_DETACH, 0, 0, 0),
            "mount" => libc::syscall(libc::SYS_mount, nothing, nothing, nothing, 0, nothing),
            "unshare" => libc::syscall(libc::SYS_unshare, 0),
            "setns" => libc::syscall(libc::SYS_setns, -1, 0),
            "keyring" => libc::syscall(libc::SYS_keyctl, 0, libc::KEY_SPEC_SESSION_KEYRING, 0),
            "prctl" => libc::syscall(libc::SYS_prctl, libc::PR_GET_DUMPABLE, 0, 0, 0, 0),
            "exec" => libc::syscall(libc::SYS_execve, nothing, nothing, nothing),
            "memfd" => libc::syscall(libc::SYS_memfd_create, c"x".as_ptr(), 3),
            "memfd-hugetlb" => libc::syscall(libc::SYS_memfd_create, c"x".as_ptr(), 7),
            "io-uring" => libc::syscall(libc::SYS_io_uring_setup, 0, nothing),
            "bpf" => libc::syscall(libc::SYS_bpf, -1, nothing, 0),
            "userfaultfd" => libc::syscall(libc::SYS_userfaultfd, -1),
            "perf" => libc::syscall(libc::SYS_perf_event_open, nothing, 0, -1, -1, 0),
            "personality" => libc::syscall(libc::SYS_personality, 0xffff_ffff_u32),
            "setuid" => libc::syscall(libc::SYS_setresuid, -1, -1, -1),
            "setsid" => libc::syscall(libc::SYS_setsid),
            "inotify" => libc::syscall(libc::SYS_inotify_init1, -1),
            "pipe" => libc::syscall(libc::SYS_pipe2, nothing, -1),
            "sendmmsg" => libc::syscall(libc::SYS_sendmmsg, -1, nothing, 0, 0),
            "set-limit" => libc::syscall(libc::SYS_prlimit64, 0, 7, nothing, nothing),
            "x32" => libc::syscall(0x4000_0000 | libc::SYS_getpid),
            "pidfd" => libc::syscall(libc::SYS_pidfd_open, 1, 0),
            "seals" => libc::fcntl(0, libc::F_ADD_SEALS, 0).into(),
            "owner" => libc::fcntl(3, libc::F_SETOWN, 0).into(),
            "async" => libc::fcntl(3, libc::F_SETFL, libc::O_ASYNC).into(),
            "sockopt" => libc::syscall(libc::SYS_getsockopt, -1, 1, libc::SO_PEERCRED, nothing, 0),
            "exec-memory" => {
                let protection = libc::PROT_READ | libc::PROT_EXEC;
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                libc::syscall(libc::SYS_mmap, 0, 4096, protection, flags, minus_one, 0)
            }
            "shared-memory" => {
                let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
                libc::syscall(libc::SYS_mmap, 0, 4096, libc::PROT_READ, flags, minus_one, 0)
            }
            _ => return None,
        }
    })
}

/// What is more than one call.
fn special(name: &str) -> String {
    match name {
        "key" => find_key(KEY),
        "plant-key" => plant_own_key(),
        "fork" => fork(),
        "thread" => match std::thread::Builder::new().spawn(|| ()) {
            Ok(thread) => format!("{:?}", thread.join().is_ok()),
            Err(error) => format!("{:?}", Errno::from_raw(error.raw_os_error().unwrap())),
        },
        "memory" => {
            let mut block = vec![7_u8; 9 * 1_048_576];
            block.resize(40 * 1_048_576, 8);
            let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
            drop(block);
            sum.to_string()
        }
        "panic" => panics(),
        "time" => {
            let slept = std::time::Instant::now();
            std::thread::park_timeout(std::time::Duration::from_millis(1));
            format!("{}", slept.elapsed().as_micros() > 0)
        }
        "rights" => rights(),
        #[cfg(target_arch = "x86_64")]
        "foreign" => foreign(),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "flood-descriptors" => flood_descriptors(),
        "multiply" => multiply(),
        "outlive" => outlive(),
        "abort" => std::process::abort(),
        "fault" => {
            // SAFETY: none; a fault is what is wanted.
            let byte =
                unsafe { std::ptr::read_volatile(std::ptr::dangling::<u8>().wrapping_add(8)) };
            byte.to_string()
        }
        _ => "unknown".to_owned(),
    }
}

fn fork() -> String {
    // SAFETY: the child ends at once.
    match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
        // SAFETY: ends the child.
        0 => unsafe { libc::_exit(0) },
        child => {
            if child > 0 {
                let _reaped = nix::sys::wait::wait();
            }
            outcome(child)
        }
    }
}

/// Sends a descriptor over the link, as the net role does.
fn rights() -> String {
    use nix::sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socketpair,
    };
    use std::os::fd::AsRawFd as _;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, flags);
    let Ok((one, _other)) = pair else { return format!("{:?}", pair.unwrap_err()) };
    let fds = [one.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let bytes = [std::io::IoSlice::new(b"rights")];
    match sendmsg::<UnixAddr>(3, &bytes, &rights, MsgFlags::empty(), None) {
        Ok(_) => "ok".to_owned(),
        Err(errno) => format!("{errno:?}"),
    }
}

/// Makes children that wait for ever, until it is refused: what it was, and their number.
fn multiply() -> String {
    for born in 0..64 {
        if born_waiting() < 0 {
            return format!("{:?} after {born}", Errno::last());
        }
    }
    "unbounded".to_owned()
}

fn born_waiting() -> c_long {
    // SAFETY: the child makes no call but `pause`.
    let born = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if born == 0 {
        loop {
            // SAFETY: no arguments.
            unsafe { libc::pause() };
        }
    }
    born
}

/// Leaves a grandchild behind, in a session of its own, that nobody waits for.
fn outlive() -> String {
    // SAFETY: the child makes no call but those below, and ends.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if child == 0 {
        let alone = nix::unistd::setsid().is_ok() && born_waiting() > 0;
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!alone)) };
    }
    format!("{:?}", nix::sys::wait::wait())
}

/// Sends copies of descriptor 0 over the link until it is refused.
fn flood_descriptors() -> String {
    use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
    let fds = [0; 64];
    let rights = [ControlMessage::ScmRights(&fds)];
    let bytes = [std::io::IoSlice::new(b"rights")];
    let refused = (0..8)
        .find_map(|_| sendmsg::<UnixAddr>(3, &bytes, &rights, MsgFlags::MSG_DONTWAIT, None).err());
    format!("{refused:?}")
}

/// `getpid` by the 32-bit door.
#[cfg(target_arch = "x86_64")]
fn foreign() -> String {
    let result: i32;
    // SAFETY: the call has no arguments and changes only eax.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("eax") 20_i32 => result);
    }
    result.to_string()
}

fn panics() -> String {
    #[expect(clippy::panic, reason = "a panic is what is tried")]
    let caught = std::panic::catch_unwind(|| panic!("on purpose"));
    caught.is_err().to_string()
}
