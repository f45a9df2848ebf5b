//! Rows 1 to 7: files.

use super::Arg::{Bytes, Int, Room, Text};
use super::{Attempt, PLANTED_FD, Row, Way, call, outcome, refused, system_call};
use libc::{AT_FDCWD, O_CREAT, O_PATH, O_RDONLY, O_WRONLY, SYS_openat, c_long};

const HERE: super::Arg = Int(AT_FDCWD as c_long);
const READ: super::Arg = Int(O_RDONLY as c_long);
const MAKE: super::Arg = Int((O_CREAT | O_WRONLY) as c_long);
const PATH: super::Arg = Int(O_PATH as c_long);
const PLANTED: super::Arg = Int(PLANTED_FD as c_long);

/// The name is not there; Landlock may be in front of it.
const ABSENT: &[&str] = &["ENOENT", "EACCES"];
const CLOSED: &[&str] = &["EROFS", "EACCES"];
const NO_FD: &[&str] = &["EBADF"];

pub(super) const ROWS: &[Row] = &[
    (1, HOST_FILES),
    (2, WAYS_UP),
    (3, INHERITED),
    (4, HANDLES),
    (5, WRITING),
    (6, FILLING),
    (7, PROC),
];

const HOST_FILES: &[Attempt] = &[
    call("passwd", SYS_openat, &[HERE, Text(c"/etc/passwd"), READ]).or(ABSENT),
    call("shadow", SYS_openat, &[HERE, Text(c"/etc/shadow"), READ]).or(ABSENT),
    call("resolver", SYS_openat, &[HERE, Text(c"/etc/resolv.conf"), READ]).or(ABSENT),
    call("programs", SYS_openat, &[HERE, Text(c"/usr/bin"), PATH]).or(ABSENT),
    call("null", SYS_openat, &[HERE, Text(c"/dev/null"), READ]).or(ABSENT),
    #[cfg(target_arch = "x86_64")]
    call("old-open", libc::SYS_open, &[Text(c"/etc/passwd"), READ]).or(ABSENT),
    call("openat2", libc::SYS_openat2, &[HERE, Text(c"/etc/passwd"), Bytes(&[0; 24]), Int(24)])
        .or(ABSENT),
    call("stat", libc::SYS_newfstatat, &[HERE, Text(c"/etc/passwd"), Room, Int(0)]).or(ABSENT),
    call("readlink", libc::SYS_readlinkat, &[HERE, Text(c"/proc/self/exe"), Room, Int(64)])
        .or(ABSENT),
];

const WAYS_UP: &[Attempt] = &[
    call("climb", SYS_openat, &[HERE, Text(c"../../../../../../etc/passwd"), READ]).or(ABSENT),
    call("climb-from-0", SYS_openat, &[Int(0), Text(c"../etc/passwd"), READ]).or(&["ENOTDIR"]),
    call("climb-from-link", SYS_openat, &[Int(3), Text(c".."), PATH]).or(&["ENOTDIR"]),
    call("root-of-first", SYS_openat, &[HERE, Text(c"/proc/1/root/etc/passwd"), READ]).or(ABSENT),
    call("cwd-of-first", SYS_openat, &[HERE, Text(c"/proc/1/cwd/etc/passwd"), READ]).or(ABSENT),
    call("chdir", libc::SYS_chdir, &[Text(c"/proc/1/root")]).or(ABSENT),
    call("chdir-link", libc::SYS_fchdir, &[Int(3)]).or(&["ENOTDIR"]),
    refused("folders-held", Way::Do(folders_held)).passes(&["none"]),
];

const INHERITED: &[Attempt] = &[
    call("below-planted", SYS_openat, &[PLANTED, Text(c"etc/passwd"), READ]).or(NO_FD),
    call("chdir-planted", libc::SYS_fchdir, &[PLANTED]).or(NO_FD),
    call("list-planted", libc::SYS_getdents64, &[PLANTED, Room, Int(4_096)]).or(NO_FD),
    call("stat-planted", libc::SYS_fstat, &[PLANTED, Room]).passes(NO_FD),
    call("look-planted", libc::SYS_fcntl, &[PLANTED, Int(libc::F_GETFD as c_long)]).passes(NO_FD),
    call("copy-planted", libc::SYS_fcntl, &[PLANTED, Int(libc::F_DUPFD_CLOEXEC as c_long)])
        .passes(NO_FD),
];

/// A `file_handle` of 8 bytes and type 1.
const HANDLE: super::Arg = Bytes(b"\x08\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0");

const HANDLES: &[Attempt] = &[
    call("open-handle", libc::SYS_open_by_handle_at, &[HERE, HANDLE, READ])
        .or(&["EPERM", "ESTALE"]),
    call("open-handle-by-0", libc::SYS_open_by_handle_at, &[Int(0), HANDLE, READ])
        .or(&["EPERM", "ESTALE"]),
    call(
        "name-handle",
        libc::SYS_name_to_handle_at,
        &[HERE, Text(c"/etc/passwd"), Room, Room, Int(0)],
    )
    .or(ABSENT),
];

const WRITING: &[Attempt] = &[
    call("create", SYS_openat, &[HERE, Text(c"/x"), MAKE, Int(0o600)]).or(CLOSED),
    call("create-in-tmp", SYS_openat, &[HERE, Text(c"/tmp/x"), MAKE, Int(0o600)]).or(ABSENT),
    call("mkdir", libc::SYS_mkdirat, &[HERE, Text(c"/d"), Int(0o700)]).or(CLOSED),
    call("mkfifo", libc::SYS_mknodat, &[HERE, Text(c"/f"), Int(0o10_600), Int(0)]).or(CLOSED),
    call("symlink", libc::SYS_symlinkat, &[Text(c"/etc/passwd"), HERE, Text(c"/l")]).or(CLOSED),
    call("unlink", libc::SYS_unlinkat, &[HERE, Text(c"/etc/passwd"), Int(0)]).or(ABSENT),
    call("truncate", libc::SYS_truncate, &[Text(c"/etc/passwd"), Int(0)]).or(ABSENT),
    call("chmod", libc::SYS_fchmodat, &[HERE, Text(c"/"), Int(0o777)]).or(CLOSED),
    call(
        "unnamed",
        SYS_openat,
        &[HERE, Text(c"/"), Int((libc::O_TMPFILE | libc::O_RDWR) as c_long), Int(0o600)],
    )
    .or(CLOSED),
];

const FILLING: &[Attempt] = &[
    refused("inodes", Way::Do(inodes)).or(CLOSED),
    call(
        "writable-again",
        libc::SYS_mount,
        &[Int(0), Text(c"/"), Int(0), Int((libc::MS_REMOUNT | libc::MS_BIND) as c_long), Int(0)],
    )
    .or(&["EPERM"]),
    call(
        "larger",
        libc::SYS_mount,
        &[Int(0), Text(c"/"), Int(0), Int(libc::MS_REMOUNT as c_long), Text(c"size=1g")],
    )
    .or(&["EPERM"]),
];

const PROC: &[Attempt] = &[
    call("environ", SYS_openat, &[HERE, Text(c"/proc/1/environ"), READ]).or(ABSENT),
    call("memory", SYS_openat, &[HERE, Text(c"/proc/self/mem"), READ]).or(ABSENT),
    call("kernel-memory", SYS_openat, &[HERE, Text(c"/proc/kcore"), READ]).or(ABSENT),
    call("maps", SYS_openat, &[HERE, Text(c"/proc/self/maps"), READ]).or(ABSENT),
    call("descriptors", SYS_openat, &[HERE, Text(c"/proc/self/fd"), READ]).or(ABSENT),
    call("keys", SYS_openat, &[HERE, Text(c"/proc/keys"), READ]).or(ABSENT),
    call("system", SYS_openat, &[HERE, Text(c"/sys/kernel"), PATH]).or(ABSENT),
];

/// The descriptors that are folders.
fn folders_held(_: &str) -> String {
    let folders = (0..1_024).filter(|fd| {
        let mut kind = std::mem::MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: there is room for what the call writes.
        if unsafe { libc::fstat(*fd, kind.as_mut_ptr()) } != 0 {
            return false;
        }
        // SAFETY: the call has filled it.
        let kind = unsafe { kind.assume_init() };
        kind.st_mode & libc::S_IFMT == libc::S_IFDIR
    });
    let folders: Vec<String> = folders.map(|fd| fd.to_string()).collect();
    if folders.is_empty() { "none".to_owned() } else { folders.join(",") }
}

/// Makes folders until there is no room; the first refusal is said.
fn inodes(_: &str) -> String {
    let names = [c"/1", c"/2", c"/3", c"/4"];
    for name in names {
        let path = super::address(name.as_ptr().expose_provenance());
        let here = c_long::from(AT_FDCWD);
        let made = system_call(libc::SYS_mkdirat, [here, path, 0o700, 0, 0, 0]);
        if made < 0 {
            return outcome(made);
        }
    }
    "ok".to_owned()
}
