//! Attacks on memory and on the descriptors there are: code made at run time, memory shared with
//! others, pipes, and settings that last on what another holds, too.

use super::Arg::Int;
use super::{NONE, NULL, Probe, probe};
use crate::Profile::Fetch;
use libc::{MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE};

const PRIVATE: super::Arg = Int(MAP_PRIVATE | MAP_ANONYMOUS);

// Of no length, so that nothing is mapped where the filter is missing.
pub(super) const PROBES: &[Probe] = &[
    probe("map-code", libc::SYS_mmap, &[NULL, NULL, Int(PROT_READ | PROT_EXEC), PRIVATE, NONE]),
    probe("map-writable-code", libc::SYS_mmap, &[NULL, NULL, Int(7), PRIVATE, NONE]),
    probe(
        "map-shared",
        libc::SYS_mmap,
        &[NULL, NULL, Int(PROT_WRITE), Int(MAP_SHARED | MAP_ANONYMOUS), NONE],
    ),
    probe("map-file", libc::SYS_mmap, &[NULL, NULL, Int(PROT_READ), Int(MAP_PRIVATE), Int(3)]),
    probe("make-code", libc::SYS_mprotect, &[NULL, NULL, Int(PROT_READ | PROT_EXEC)]),
    probe("make-code-by-key", libc::SYS_pkey_mprotect, &[NULL, NULL, Int(PROT_EXEC), NONE]),
    probe("move-fixed", libc::SYS_mremap, &[NULL, NULL, NULL, Int(2), NULL]),
    probe("advise", libc::SYS_madvise, &[NULL, NULL, Int(9_999)]),
    probe("lock-memory", libc::SYS_mlock, &[NULL, NULL]),
    probe("lock-all-memory", libc::SYS_mlockall, &[Int(9_999)]),
    probe("memory-file", libc::SYS_memfd_create, &[NULL, NONE]),
    probe("memory-file-sealable", libc::SYS_memfd_create, &[NULL, Int(3)]).but_for(&[Fetch]),
    probe("secret-memory", libc::SYS_memfd_secret, &[NONE]),
    probe("memory-key", libc::SYS_pkey_alloc, &[NONE, NONE]),
    probe("pipe", libc::SYS_pipe2, &[NULL, NONE]),
    probe("replace-descriptor", libc::SYS_dup3, &[NONE, NONE, Int(0)]),
    probe("copy-descriptor", libc::SYS_dup, &[NONE]),
    probe("close-range", libc::SYS_close_range, &[Int(1), Int(0), Int(0)]),
    probe("seal", libc::SYS_fcntl, &[NONE, Int(libc::F_ADD_SEALS), Int(0)]).but_for(&[Fetch]),
    probe("owner", libc::SYS_fcntl, &[NONE, Int(libc::F_SETOWN), Int(0)]),
    probe("owner-signal", libc::SYS_fcntl, &[NONE, Int(10), Int(0)]),
    probe("pipe-size", libc::SYS_fcntl, &[NONE, Int(libc::F_SETPIPE_SZ), Int(0)]),
    probe("folder-news", libc::SYS_fcntl, &[NONE, Int(libc::F_NOTIFY), Int(0)]),
    probe("async-news", libc::SYS_fcntl, &[NONE, Int(libc::F_SETFL), Int(libc::O_ASYNC)]),
    probe("lock", libc::SYS_fcntl, &[NONE, Int(libc::F_SETLK), NULL]),
    probe("type-into-terminal", libc::SYS_ioctl, &[Int(0), Int(0x5412), NULL]),
    probe("take-terminal", libc::SYS_ioctl, &[NONE, Int(0x540E), NULL]),
];
