//! Rows 24 to 31, 69 and 71: mounts, namespaces, the kernel's other doors, terminals, what stays.

use super::Arg::{Bytes, Int, Room, Text};
use super::{Attempt, Row, Way, call, outcome, outcomes, refused, system_call};
use libc::{AT_FDCWD, c_int, c_long};

const HERE: super::Arg = Int(AT_FDCWD as c_long);
const POWERLESS: &[&str] = &["EPERM"];
const NOTHING: super::Arg = Int(0);
const NO_FD: super::Arg = Int(-1);

pub(super) const ROWS: &[Row] = &[
    (24, MOUNTS),
    (25, NAMESPACES),
    (26, CLONE3),
    (27, ENTERING),
    (28, PROGRAMS),
    (29, KEYS),
    (30, PERSONALITY),
    (31, OTHER_NUMBERS),
    (69, TERMINALS),
    (71, LEFT_BEHIND),
];

const MOUNTS: &[Attempt] = &[
    call("mount", libc::SYS_mount, &[Text(c"none"), Text(c"/"), Text(c"tmpfs"), NOTHING, NOTHING])
        .or(POWERLESS),
    call(
        "mount-proc",
        libc::SYS_mount,
        &[Text(c"none"), Text(c"/"), Text(c"proc"), NOTHING, NOTHING],
    )
    .or(POWERLESS),
    call("unmount", libc::SYS_umount2, &[Text(c"/"), Int(libc::MNT_DETACH as c_long)])
        .or(POWERLESS),
    call("open-filesystem", libc::SYS_fsopen, &[Text(c"tmpfs"), NOTHING]).or(POWERLESS),
    call("clone-tree", libc::SYS_open_tree, &[HERE, Text(c"/"), Int(1)]).or(POWERLESS),
    call("move-mount", libc::SYS_move_mount, &[HERE, Text(c"/"), HERE, Text(c"/"), NOTHING])
        .or(POWERLESS),
    call("pivot-root", libc::SYS_pivot_root, &[Text(c"/"), Text(c"/")]).or(POWERLESS),
    call("chroot", libc::SYS_chroot, &[Text(c"/")]).or(POWERLESS),
];

const NAMESPACES: &[Attempt] = &[
    refused("unshare-each", Way::Do(|_| unshared(0))),
    refused("unshare-each-wide", Way::Do(|_| unshared(1 << 32))),
    refused("clone-each", Way::Do(|_| cloned())),
    call("unshare-mounts", libc::SYS_unshare, &[Int(libc::CLONE_NEWNS as c_long)]).or(POWERLESS),
    call("unshare-network", libc::SYS_unshare, &[Int(libc::CLONE_NEWNET as c_long)]).or(POWERLESS),
    call("unshare-processes", libc::SYS_unshare, &[Int(libc::CLONE_NEWPID as c_long)])
        .or(POWERLESS),
];

/// A flag for each kind of namespace.
const KINDS: [c_int; 8] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
    // CLONE_NEWTIME
    0x80,
];

fn unshared(more: c_long) -> String {
    let flags = KINDS.iter().map(|kind| c_long::from(*kind) | more);
    outcomes(flags.map(|flags| outcome(system_call(libc::SYS_unshare, [flags, 0, 0, 0, 0, 0]))))
}

fn cloned() -> String {
    let flags = KINDS.iter().map(|kind| c_long::from(*kind | libc::SIGCHLD));
    outcomes(flags.map(|flags| outcome(super::processes::child(libc::SYS_clone, flags))))
}

const CLONE3: &[Attempt] = &[
    call("clone3", libc::SYS_clone3, &[NOTHING, NOTHING]),
    call("clone3-namespaces", libc::SYS_clone3, &[Bytes(&[0xff; 88]), Int(88)]),
];

const ENTERING: &[Attempt] = &[
    call("enter-link", libc::SYS_setns, &[Int(3), NOTHING]).or(&["EINVAL"]),
    call("enter-null", libc::SYS_setns, &[Int(0), Int(libc::CLONE_NEWNET as c_long)])
        .or(&["EINVAL"]),
    call("enter-planted", libc::SYS_setns, &[Int(super::PLANTED_FD as c_long), NOTHING])
        .or(&["EBADF"]),
    call("open-network", libc::SYS_openat, &[HERE, Text(c"/proc/1/ns/net"), NOTHING])
        .or(&["ENOENT"]),
    call("enter-process", libc::SYS_setns, &[NO_FD, Int(libc::CLONE_NEWUSER as c_long)])
        .or(&["EBADF"]),
];

const PROGRAMS: &[Attempt] = &[
    call("bpf", libc::SYS_bpf, &[Int(0), Room, Int(48)]),
    call("perf", libc::SYS_perf_event_open, &[Room, NOTHING, NO_FD, NO_FD, NOTHING]),
    call("userfault", libc::SYS_userfaultfd, &[Int(1)]),
    call("ring-setup", libc::SYS_io_uring_setup, &[Int(1), Room]),
    call("ring-enter", libc::SYS_io_uring_enter, &[NO_FD, Int(1), Int(1), NOTHING, NOTHING]),
    call("ring-register", libc::SYS_io_uring_register, &[NO_FD, NOTHING, NOTHING, NOTHING]),
    call("kcmp", libc::SYS_kcmp, &[Int(1), Int(1), NOTHING, NOTHING, Int(1)]),
    call("load-module", libc::SYS_finit_module, &[NO_FD, Text(c""), NOTHING]),
];

const SESSION: super::Arg = Int(libc::KEY_SPEC_SESSION_KEYRING as c_long);
const JOIN: super::Arg = Int(libc::KEYCTL_JOIN_SESSION_KEYRING as c_long);

const KEYS: &[Attempt] = &[
    call(
        "find-planted",
        libc::SYS_keyctl,
        &[
            Int(libc::KEYCTL_SEARCH as c_long),
            SESSION,
            Text(c"user"),
            Text(crate::attempts::KEY),
            NOTHING,
        ],
    )
    .or(&["ENOKEY"]),
    call(
        "read-session",
        libc::SYS_keyctl,
        &[Int(libc::KEYCTL_READ as c_long), SESSION, Room, Int(64)],
    ),
    call("join-session", libc::SYS_keyctl, &[JOIN, Text(c"_ses")]),
    call(
        "add",
        libc::SYS_add_key,
        &[Text(c"user"), Text(c"jail-probe-new"), Text(c"x"), Int(1), SESSION],
    ),
    call(
        "request",
        libc::SYS_request_key,
        &[Text(c"user"), Text(crate::attempts::KEY), NOTHING, SESSION],
    )
    .or(&["ENOKEY"]),
];

const PERSONALITY: &[Attempt] = &[
    call("read-implies-exec", libc::SYS_personality, &[Int(libc::READ_IMPLIES_EXEC as c_long)]),
    call("no-random-addresses", libc::SYS_personality, &[Int(libc::ADDR_NO_RANDOMIZE as c_long)]),
    call("ask", libc::SYS_personality, &[Int(0xffff_ffff)]),
];

/// The bit of the numbers of x32.
const X32: c_long = 0x4000_0000;

const OTHER_NUMBERS: &[Attempt] = &[
    call("x32-getpid", X32 | libc::SYS_getpid, &[]),
    call("x32-read", X32 | libc::SYS_read, &[Int(0), Room, Int(1)]),
    call("x32-own-numbers", X32 | 512, &[]),
    call("negative", -1, &[]),
    call("beyond", 0x3fff_ffff, &[]),
    refused("wide", Way::Do(|_| wide())),
];

/// A number whose lower half is that of an allowed call: the kernel itself looks at that half only.
fn wide() -> String {
    outcomes(
        [libc::SYS_openat, libc::SYS_socket, libc::SYS_execve]
            .into_iter()
            .map(|number| outcome(system_call(number | (1 << 40), [-1, 0, 0, 0, 0, 0]))),
    )
}

/// `TIOCSTI`, `TIOCSCTTY`, `TIOCLINUX`, `TCGETS`, `TIOCSETD`.
const COMMANDS: [c_long; 5] = [0x5412, 0x540E, 0x541C, 0x5401, 0x5423];

const TERMINALS: &[Attempt] = &[
    refused("each-command", Way::Do(|_| commanded(0))).or(&["EINVAL+ENOTTY", "ENOTTY"]),
    refused("each-command-wide", Way::Do(|_| commanded(1 << 32))).or(&["EINVAL+ENOTTY", "ENOTTY"]),
    call("own-terminal", libc::SYS_openat, &[HERE, Text(c"/dev/tty"), Int(2)])
        .or(&["ENOENT", "EACCES"]),
    call("owner-wide", libc::SYS_fcntl, &[Int(3), Int((1 << 32) | 8), NOTHING]),
    call("hang-up", libc::SYS_vhangup, &[]).or(POWERLESS),
];

fn commanded(more: c_long) -> String {
    let pairs = COMMANDS.iter().flat_map(|command| (0..4).map(move |fd| (fd, command | more)));
    outcomes(pairs.map(|(fd, command)| {
        let byte = super::address(c"x".as_ptr().expose_provenance());
        outcome(system_call(libc::SYS_ioctl, [fd, command, byte, 0, 0, 0]))
    }))
}

/// A key under which the test looks for what was left.
pub(crate) const LEFT_KEY: c_long = 0x7f_6a_61_69;
const CREATE: super::Arg = Int((libc::IPC_CREAT | 0o600) as c_long);

const LEFT_BEHIND: &[Attempt] = &[
    // Where they can be made, they are the jail's own, and go with it.
    call("segment", libc::SYS_shmget, &[Int(LEFT_KEY), Int(4_096), CREATE]).or(&["ok"]),
    call("semaphore", libc::SYS_semget, &[Int(LEFT_KEY), Int(1), CREATE]).or(&["ok"]),
    call("queue", libc::SYS_msgget, &[Int(LEFT_KEY), CREATE]).or(&["ok"]),
    call(
        "named-queue",
        libc::SYS_mq_open,
        &[Text(c"jail-probe"), Int((libc::O_CREAT | libc::O_RDWR) as c_long), Int(0o600), NOTHING],
    )
    .or(&["EMFILE", "EACCES", "EPERM"]),
];
