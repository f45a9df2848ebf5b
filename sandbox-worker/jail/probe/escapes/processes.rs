//! Rows 8 to 12, 33 to 37, and 62, 63 and 65: others, itself, and processes of its own.

use super::Arg::{Bytes, Int, Room, Text};
use super::{Attempt, Row, Way, call, deadly, outcome, outcomes, refused, system_call};
use libc::{c_int, c_long};
use std::ffi::c_void;

/// Numbers that other processes of a small machine have.
const NUMBERS: std::ops::RangeInclusive<c_long> = 2..=32_768;
const NOBODY: &[&str] = &["ESRCH"];
const POWERLESS: &[&str] = &["EPERM"];
const ZERO: super::Arg = Int(0);
const NO_FD: super::Arg = Int(-1);

pub(super) const ROWS: &[Row] = &[
    (8, TRACING),
    (9, MEMORY_OF_OTHERS),
    (10, KILLING),
    (11, GUESSING),
    (12, DESCRIPTORS_OF_OTHERS),
    (33, EXECUTING),
    (34, PRIVILEGES),
    (35, FILTERS),
    (36, LIMITS),
    (37, MULTIPLYING),
    (62, SUPERVISOR),
    (63, STOPPING),
    (65, OUTLIVING),
];

/// `PTRACE_ATTACH` and `PTRACE_SEIZE`; the second stops nobody.
const ATTACH: c_long = 16;
const SEIZE: c_long = 0x4206;

const TRACING: &[Attempt] = &[
    call("be-traced", libc::SYS_ptrace, &[ZERO]),
    call("seize-neighbour", libc::SYS_ptrace, &[Int(SEIZE), Int(2)]).or(NOBODY),
    call("attach-neighbour", libc::SYS_ptrace, &[Int(ATTACH), Int(2)]).or(NOBODY),
    call("seize-itself", libc::SYS_ptrace, &[Int(SEIZE), Int(1)]).or(POWERLESS),
    refused(
        "seize-supervisor",
        Way::Do(|pid| outcome(system_call(libc::SYS_ptrace, [SEIZE, given(pid), 0, 0, 0, 0]))),
    )
    .or(NOBODY),
    refused(
        "seize-parent",
        Way::Do(|_| {
            let parent = system_call(libc::SYS_getppid, [0; 6]);
            outcome(system_call(libc::SYS_ptrace, [SEIZE, parent, 0, 0, 0, 0]))
        }),
    )
    .or(NOBODY),
];

/// The number that the test has said, of a process outside.
fn given(argument: &str) -> c_long {
    argument.parse().unwrap()
}

const MEMORY_OF_OTHERS: &[Attempt] = &[
    refused("read-each", Way::Do(|_| copied(libc::SYS_process_vm_readv))).or(NOBODY),
    refused("write-each", Way::Do(|_| copied(libc::SYS_process_vm_writev))).or(NOBODY),
];

/// Copies a byte between itself and each process there may be.
fn copied(number: c_long) -> String {
    let byte = [0_u8; 1].as_mut_ptr().cast::<c_void>();
    let (own, other) =
        (libc::iovec { iov_base: byte, iov_len: 1 }, libc::iovec { iov_base: byte, iov_len: 1 });
    let own = super::address((&raw const own).expose_provenance());
    let other = super::address((&raw const other).expose_provenance());
    outcomes(NUMBERS.map(|pid| outcome(system_call(number, [pid, own, 1, other, 1, 0]))))
}

const KILLING: &[Attempt] = &[
    refused("everybody", Way::Do(|_| killed(-1))).or(NOBODY),
    // The first process of its numbers is immune to itself.
    refused("own-group", Way::Do(|_| killed(0))).or(&["ok"]),
    refused("parent", Way::Do(|_| killed(system_call(libc::SYS_getppid, [0; 6]).max(0))))
        .or(&["ok"]),
    refused("supervisor", Way::Do(|pid| killed(given(pid)))).or(NOBODY),
    refused("group-of-supervisor", Way::Do(|pid| killed(-given(pid)))).or(NOBODY),
];

fn killed(pid: c_long) -> String {
    outcome(system_call(libc::SYS_kill, [pid, deadly(), 0, 0, 0, 0]))
}

const GUESSING: &[Attempt] = &[
    refused(
        "thread-each",
        Way::Do(|_| {
            outcomes(NUMBERS.map(|pid| outcome(system_call(libc::SYS_tkill, [pid, 0, 0, 0, 0, 0]))))
        }),
    )
    .or(NOBODY),
    refused(
        "thread-of-each",
        Way::Do(|_| {
            outcomes(
                NUMBERS.map(|pid| outcome(system_call(libc::SYS_tgkill, [pid, pid, 0, 0, 0, 0]))),
            )
        }),
    )
    .or(NOBODY),
    refused(
        "descriptor-each",
        Way::Do(|_| {
            outcomes(
                NUMBERS.map(|pid| outcome(system_call(libc::SYS_pidfd_open, [pid, 0, 0, 0, 0, 0]))),
            )
        }),
    )
    .or(NOBODY),
    call("by-descriptor", libc::SYS_pidfd_send_signal, &[NO_FD, ZERO, ZERO, ZERO]).or(&["EBADF"]),
    call("by-link", libc::SYS_pidfd_send_signal, &[Int(3), ZERO, ZERO, ZERO]).or(&["EBADF"]),
];

const DESCRIPTORS_OF_OTHERS: &[Attempt] = &[
    call("by-nothing", libc::SYS_pidfd_getfd, &[NO_FD, ZERO, ZERO]).or(&["EBADF"]),
    call("by-link", libc::SYS_pidfd_getfd, &[Int(3), ZERO, ZERO]).or(&["EBADF"]),
    call("pidfd-of-neighbour", libc::SYS_pidfd_open, &[Int(2), ZERO]).or(NOBODY),
];

const EXECUTING: &[Attempt] = &[
    call("shell", libc::SYS_execve, &[Text(c"/bin/sh"), ZERO, ZERO]).or(&["ENOENT", "EACCES"]),
    call("itself", libc::SYS_execve, &[Text(c"/proc/self/exe"), ZERO, ZERO])
        .or(&["ENOENT", "EACCES"]),
    call("link", libc::SYS_execveat, &[Int(3), Text(c""), ZERO, ZERO, Int(0x1000)]).or(&["EACCES"]),
    call("null", libc::SYS_execveat, &[Int(0), Text(c""), ZERO, ZERO, Int(0x1000)]).or(&["EACCES"]),
    refused(
        "memory-file",
        Way::Do(|_| {
            // A fetch worker may make one, as it is sealed; nobody may run it.
            let made = system_call(
                libc::SYS_memfd_create,
                [super::address(c"x".as_ptr().expose_provenance()), 3, 0, 0, 0, 0],
            );
            if made < 0 {
                return outcome(made);
            }
            let empty = super::address(c"".as_ptr().expose_provenance());
            outcome(system_call(libc::SYS_execveat, [made, empty, 0, 0, 0x1000, 0]))
        }),
    ),
];

/// A header of version 3 and 64 bits of every set.
const CAPABILITIES: super::Arg = Bytes(&[0xff; 24]);
const VERSION: super::Arg = Bytes(b"\x22\x05\x08\x20\0\0\0\0");

const fn option(name: &'static str, args: &'static [super::Arg]) -> Attempt {
    call(name, libc::SYS_prctl, args)
}

const PRIVILEGES: &[Attempt] = &[
    call("user", libc::SYS_setresuid, &[Int(1), Int(1), Int(1)]).or(&["EINVAL", "EPERM"]),
    call("user-zero", libc::SYS_setuid, &[ZERO]),
    call("group", libc::SYS_setresgid, &[Int(1), Int(1), Int(1)]).or(&["EINVAL", "EPERM"]),
    call("groups", libc::SYS_setgroups, &[ZERO, ZERO]).or(POWERLESS),
    call("capabilities", libc::SYS_capset, &[VERSION, CAPABILITIES]).or(POWERLESS),
    option("securebits", &[Int(libc::PR_SET_SECUREBITS as c_long), ZERO]).or(POWERLESS),
    option("keep-capabilities", &[Int(libc::PR_SET_KEEPCAPS as c_long), Int(1)]).or(POWERLESS),
    option("ambient", &[Int(libc::PR_CAP_AMBIENT as c_long), Int(2), Int(21)]).or(POWERLESS),
    option("dumpable", &[Int(libc::PR_SET_DUMPABLE as c_long), Int(1)]),
    option("parent-death", &[Int(libc::PR_SET_PDEATHSIG as c_long), ZERO]),
    option("new-privileges", &[Int(libc::PR_SET_NO_NEW_PRIVS as c_long), ZERO]).or(&["EINVAL"]),
    option("reaper", &[Int(libc::PR_SET_CHILD_SUBREAPER as c_long), Int(1)]),
    option("tracer", &[Int(libc::PR_SET_PTRACER as c_long), Int(-1)]),
];

/// `SECCOMP_SET_MODE_FILTER` with a program that lets everything through.
const FILTERS: &[Attempt] = &[
    refused("looser", Way::Do(|_| looser(libc::SYS_seccomp, [1, 0]))),
    refused("looser-by-option", Way::Do(|_| looser(libc::SYS_prctl, [22, 2]))),
    call("strict", libc::SYS_seccomp, &[ZERO, ZERO, ZERO]),
    option("off", &[Int(libc::PR_SET_SECCOMP as c_long), ZERO]),
    call("listener", libc::SYS_seccomp, &[Int(1), Int(8), Room]),
    call("still-refused", libc::SYS_openat, &[Int(-100), Text(c"/"), ZERO]),
];

fn looser(number: c_long, [first, second]: [c_long; 2]) -> String {
    let mut allow = [libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0x7fff_0000 }];
    let program = libc::sock_fprog { len: 1, filter: allow.as_mut_ptr() };
    let program = super::address((&raw const program).expose_provenance());
    outcome(system_call(number, [first, second, program, 0, 0, 0]))
}

/// More of anything than any limit.
const MUCH: super::Arg = Bytes(b"\xff\xff\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x7f");

const fn raise(name: &'static str, args: &'static [super::Arg]) -> Attempt {
    call(name, libc::SYS_prlimit64, args).or(POWERLESS)
}

const LIMITS: &[Attempt] = &[
    raise("descriptors", &[ZERO, Int(libc::RLIMIT_NOFILE as c_long), MUCH, ZERO]),
    raise("core", &[ZERO, Int(libc::RLIMIT_CORE as c_long), MUCH, ZERO]),
    raise("locked", &[ZERO, Int(libc::RLIMIT_MEMLOCK as c_long), MUCH, ZERO]),
    raise("files", &[ZERO, Int(libc::RLIMIT_FSIZE as c_long), MUCH, ZERO]),
    raise("queues", &[ZERO, Int(libc::RLIMIT_MSGQUEUE as c_long), MUCH, ZERO]),
    call("old", libc::SYS_setrlimit, &[Int(libc::RLIMIT_CORE as c_long), MUCH]).or(POWERLESS),
    call("of-neighbour", libc::SYS_prlimit64, &[Int(2), Int(libc::RLIMIT_CORE as c_long), MUCH])
        .or(NOBODY),
    refused(
        "of-supervisor",
        Way::Do(|pid| {
            let core = c_long::from(libc::RLIMIT_CORE.cast_signed());
            outcome(system_call(libc::SYS_prlimit64, [given(pid), core, 0, 0, 0, 0]))
        }),
    )
    .or(NOBODY),
];

const MULTIPLYING: &[Attempt] = &[
    refused("clones", Way::Do(|_| bomb(libc::SYS_clone, libc::SIGCHLD))),
    refused(
        "clones-of-memory",
        Way::Do(|_| bomb(libc::SYS_clone, libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD)),
    ),
    #[cfg(target_arch = "x86_64")]
    refused("forks", Way::Do(|_| bomb(libc::SYS_fork, 0))),
    #[cfg(target_arch = "x86_64")]
    refused("vforks", Way::Do(|_| bomb(libc::SYS_vfork, 0))),
    refused(
        "threads",
        Way::Do(|_| {
            outcomes((0..20).map(|_| match std::thread::Builder::new().spawn(|| ()) {
                Ok(thread) => format!("{:?}", thread.join().is_ok()),
                Err(error) => {
                    super::named(nix::errno::Errno::from_raw(error.raw_os_error().unwrap()))
                }
            }))
        }),
    ),
];

fn bomb(number: c_long, flags: c_int) -> String {
    outcomes((0..20).map(|_| outcome(child(number, flags.into()))))
}

/// A child that ends at once, if it can be born.
pub(super) fn child(number: c_long, flags: c_long) -> c_long {
    match system_call(number, [flags, 0, 0, 0, 0, 0]) {
        // SAFETY: ends the child.
        0 => unsafe { libc::_exit(0) },
        born => {
            if born > 0 {
                let _waited = nix::sys::wait::wait();
            }
            born
        }
    }
}

const SUPERVISOR: &[Attempt] = &[
    refused("terminate", Way::Do(|pid| signalled(pid, libc::SIGTERM))).or(NOBODY),
    refused("stop", Way::Do(|pid| signalled(pid, libc::SIGSTOP))).or(NOBODY),
    refused("user", Way::Do(|pid| signalled(pid, libc::SIGUSR1))).or(NOBODY),
    refused(
        "queued",
        Way::Do(|pid| outcome(system_call(libc::SYS_rt_sigqueueinfo, [given(pid), 0, 0, 0, 0, 0]))),
    )
    .or(&["EFAULT", "ESRCH"]),
    call("by-link-owner", libc::SYS_fcntl, &[Int(3), Int(libc::F_SETOWN as c_long), Int(1)]),
    call("by-link-signal", libc::SYS_fcntl, &[Int(3), Int(10), Int(9)]),
];

/// A signal to a process outside; where its number means a process here, too, it only looks.
fn signalled(pid: &str, signal: c_int) -> String {
    let signal = if deadly() == 0 { 0 } else { c_long::from(signal) };
    outcome(system_call(libc::SYS_kill, [given(pid), signal, 0, 0, 0, 0]))
}

const STOPPING: &[Attempt] = &[
    // The first process of its numbers cannot stop itself.
    refused("itself", Way::Do(|_| stopped(libc::SYS_kill))).or(&["ok"]),
    refused("own-thread", Way::Do(|_| stopped(libc::SYS_tkill))).or(&["ok"]),
    refused(
        "stop-of-terminal",
        Way::Do(|_| {
            let own = c_long::from(std::process::id());
            outcome(system_call(libc::SYS_kill, [own, libc::SIGTSTP.into(), 0, 0, 0, 0]))
        }),
    )
    .or(&["ok"]),
];

fn stopped(number: c_long) -> String {
    let own = c_long::from(std::process::id());
    let signal = if deadly() == 0 { 0 } else { c_long::from(libc::SIGSTOP) };
    outcome(system_call(number, [own, signal, 0, 0, 0, 0]))
}

const OUTLIVING: &[Attempt] = &[
    refused("fork", Way::Do(|_| bomb(libc::SYS_clone, libc::SIGCHLD))),
    refused(
        "fork-of-parents",
        Way::Do(|_| bomb(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD)),
    ),
    call("session", libc::SYS_setsid, &[]).or(POWERLESS),
    call("group", libc::SYS_setpgid, &[ZERO, ZERO]).or(POWERLESS),
];
