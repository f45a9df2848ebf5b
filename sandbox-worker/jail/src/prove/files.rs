//! Attacks on files: the host's, `/proc`, names of every kind, and descriptors used as names.

use super::Arg::{Int, Text};
use super::{NONE, NULL, Probe, opens, probe};
use libc::{AT_FDCWD, O_CREAT, O_DIRECTORY, O_PATH, O_RDONLY, O_WRONLY};

const HERE: super::Arg = Int(AT_FDCWD);
const READ: super::Arg = Int(O_RDONLY);
/// A name below a folder that cannot exist.
const NOWHERE: super::Arg = Text(c"/\x7fno-such-folder/x");

pub(super) const PROBES: &[Probe] = &[
    opens("open-passwd", libc::SYS_openat, &[HERE, Text(c"/etc/passwd"), READ]),
    opens("open-shadow", libc::SYS_openat, &[HERE, Text(c"/etc/shadow"), READ]),
    opens("open-root", libc::SYS_openat, &[HERE, Text(c"/"), Int(O_DIRECTORY)]),
    opens("open-root-path", libc::SYS_openat, &[HERE, Text(c"/"), Int(O_PATH)]),
    opens("open-parent", libc::SYS_openat, &[HERE, Text(c"../../.."), READ]),
    opens("open-null", libc::SYS_openat, &[HERE, Text(c"/dev/null"), READ]),
    opens("open-below-link", libc::SYS_openat, &[Int(3), Text(c"."), READ]),
    opens("create", libc::SYS_openat, &[HERE, NOWHERE, Int(O_CREAT | O_WRONLY), Int(0)]),
    opens("proc-environ", libc::SYS_openat, &[HERE, Text(c"/proc/1/environ"), READ]),
    opens("proc-memory", libc::SYS_openat, &[HERE, Text(c"/proc/self/mem"), READ]),
    opens("proc-kcore", libc::SYS_openat, &[HERE, Text(c"/proc/kcore"), READ]),
    opens("proc-root", libc::SYS_openat, &[HERE, Text(c"/proc/1/root"), Int(O_PATH)]),
    opens("proc-descriptor", libc::SYS_openat, &[HERE, Text(c"/proc/self/fd/3"), READ]),
    #[cfg(target_arch = "x86_64")]
    opens("open-old", libc::SYS_open, &[Text(c"/etc/passwd"), READ]),
    #[cfg(target_arch = "x86_64")]
    probe("stat-old", libc::SYS_stat, &[Text(c"/"), NULL]),
    #[cfg(target_arch = "x86_64")]
    probe("access-old", libc::SYS_access, &[Text(c"/"), Int(0)]),
    opens("openat2", libc::SYS_openat2, &[HERE, Text(c"/"), NULL, NULL]),
    opens("open-by-handle", libc::SYS_open_by_handle_at, &[NONE, NULL, READ]),
    probe("name-to-handle", libc::SYS_name_to_handle_at, &[NONE, NULL, NULL, NULL, NULL]),
    probe("stat", libc::SYS_newfstatat, &[HERE, Text(c"/etc/passwd"), NULL, Int(0)]),
    probe("statx", libc::SYS_statx, &[HERE, Text(c"/"), Int(0), Int(0), NULL]),
    probe("statfs", libc::SYS_statfs, &[Text(c"/"), NULL]),
    probe("access", libc::SYS_faccessat, &[HERE, Text(c"/"), Int(0)]),
    probe("readlink", libc::SYS_readlinkat, &[HERE, Text(c"/proc/self/exe"), NULL, NULL]),
    probe("list", libc::SYS_getdents64, &[NONE, NULL, NULL]),
    probe("working-folder", libc::SYS_getcwd, &[NULL, NULL]),
    probe("mkdir", libc::SYS_mkdirat, &[HERE, NOWHERE, Int(0)]),
    probe("mknod", libc::SYS_mknodat, &[HERE, NOWHERE, Int(0), Int(0)]),
    probe("unlink", libc::SYS_unlinkat, &[HERE, NOWHERE, Int(0)]),
    probe("rename", libc::SYS_renameat2, &[HERE, NOWHERE, HERE, NOWHERE, Int(0)]),
    probe("link", libc::SYS_linkat, &[HERE, NOWHERE, HERE, NOWHERE, Int(0)]),
    probe("symlink", libc::SYS_symlinkat, &[NOWHERE, HERE, NOWHERE]),
    probe("chmod", libc::SYS_fchmodat, &[HERE, NOWHERE, Int(0)]),
    probe("chmod-descriptor", libc::SYS_fchmod, &[NONE, Int(0)]),
    probe("chown", libc::SYS_fchownat, &[HERE, NOWHERE, NONE, NONE, Int(0)]),
    probe("chown-descriptor", libc::SYS_fchown, &[NONE, NONE, NONE]),
    probe("utimes", libc::SYS_utimensat, &[NONE, NULL, NULL, Int(0)]),
    probe("truncate", libc::SYS_truncate, &[NOWHERE, Int(0)]),
    probe("truncate-descriptor", libc::SYS_ftruncate, &[NONE, Int(0)]),
    probe("allocate", libc::SYS_fallocate, &[NONE, Int(0), Int(0), Int(0)]),
    probe("lock-file", libc::SYS_flock, &[NONE, Int(0)]),
    probe("set-attribute", libc::SYS_setxattr, &[NOWHERE, NULL, NULL, NULL, Int(0)]),
    probe("chdir", libc::SYS_chdir, &[NOWHERE]),
    probe("chdir-descriptor", libc::SYS_fchdir, &[NONE]),
    probe("chroot", libc::SYS_chroot, &[NOWHERE]),
    probe("watch-files", libc::SYS_inotify_init1, &[NONE]),
    probe("watch-mounts", libc::SYS_fanotify_init, &[NONE, NONE]),
    probe("splice", libc::SYS_splice, &[NONE, NULL, NONE, NULL, Int(1), Int(0)]),
    probe("tee", libc::SYS_tee, &[NONE, NONE, Int(1), Int(0)]),
    probe("vmsplice", libc::SYS_vmsplice, &[NONE, NULL, NULL, Int(0)]),
    probe("sendfile", libc::SYS_sendfile, &[NONE, NONE, NULL, Int(1)]),
    probe("copy-range", libc::SYS_copy_file_range, &[NONE, NULL, NONE, NULL, Int(1), Int(0)]),
];
