//! Rows 32, 38, 40, 70 and 73: code, memory, descriptors, and what is inherited as text.

use super::Arg::{Int, Room};
use super::{Attempt, Row, Way, call, named, outcome, outcomes, refused, system_call};
use libc::{c_int, c_long};
use nix::errno::Errno;

pub(super) const ROWS: &[Row] =
    &[(32, CODE), (38, MEMORY), (40, DESCRIPTORS), (70, ODD_MEMORY), (73, SECRETS)];

const READ: c_int = libc::PROT_READ;
const WRITE: c_int = libc::PROT_WRITE;
const EXEC: c_int = libc::PROT_EXEC;
const ANYWHERE: super::Arg = Int(0);
const PAGE: super::Arg = Int(4_096);
const OWN: super::Arg = Int((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as c_long);
const NO_FD: super::Arg = Int(-1);

const CODE: &[Attempt] = &[
    call(
        "map-all",
        libc::SYS_mmap,
        &[ANYWHERE, PAGE, Int((READ | WRITE | EXEC) as c_long), OWN, NO_FD],
    ),
    call("map-code", libc::SYS_mmap, &[ANYWHERE, PAGE, Int((READ | EXEC) as c_long), OWN, NO_FD]),
    call(
        "map-code-wide",
        libc::SYS_mmap,
        &[ANYWHERE, PAGE, Int((1 << 32) | EXEC as c_long), OWN, NO_FD],
    ),
    call(
        "map-file-code",
        libc::SYS_mmap,
        &[ANYWHERE, PAGE, Int((READ | EXEC) as c_long), Int(libc::MAP_PRIVATE as c_long), Int(0)],
    ),
    refused("own-page", Way::Do(|_| own_page(libc::SYS_mprotect))),
    refused("own-page-by-key", Way::Do(|_| own_page(libc::SYS_pkey_mprotect))),
    refused("own-code", Way::Do(|_| own_code())),
    call("memory-file", libc::SYS_memfd_create, &[super::Arg::Text(c"x"), Int(0)]),
    call("executable-memory-file", libc::SYS_memfd_create, &[super::Arg::Text(c"x"), Int(0x10)]),
    call("remap", libc::SYS_remap_file_pages, &[ANYWHERE, PAGE, Int(0), Int(0), Int(0)]),
];

/// Makes a page of its own executable.
fn own_page(number: c_long) -> String {
    let flags = c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let page = system_call(libc::SYS_mmap, [0, 4_096, c_long::from(READ | WRITE), flags, -1, 0]);
    if page <= 0 {
        return "no page".to_owned();
    }
    let said = system_call(number, [page, 4_096, c_long::from(READ | EXEC), -1, 0, 0]);
    outcome(said)
}

/// Makes code that is there writable and keeps it executable.
fn own_code() -> String {
    let code = own_code as fn() -> String as *const ();
    let page = super::address(code.expose_provenance()) & !4_095;
    outcome(system_call(
        libc::SYS_mprotect,
        [page, 4_096, c_long::from(READ | WRITE | EXEC), 0, 0, 0],
    ))
}

const MEMORY: &[Attempt] = &[
    refused("anonymous", Way::Do(|_| mapped(0))).passes(&["bounded"]).but_for(&["net"]),
    refused("not-reserved", Way::Do(|_| mapped(libc::MAP_NORESERVE)))
        .passes(&["bounded"])
        .but_for(&["net"]),
    refused("break", Way::Do(|_| broken())).passes(&["bounded"]).but_for(&["net"]),
    refused("memory-file-content", Way::Do(|_| filled()))
        .passes(&["EFBIG"])
        .but_for(&["stub", "net"]),
    call("pipe", libc::SYS_pipe2, &[Room, Int(0)]),
    call("pipe-size", libc::SYS_fcntl, &[Int(3), Int(libc::F_SETPIPE_SZ as c_long), Int(1 << 20)]),
    call(
        "socket-buffers",
        libc::SYS_setsockopt,
        &[
            Int(3),
            Int(libc::SOL_SOCKET as c_long),
            Int(libc::SO_SNDBUF as c_long),
            super::Arg::Bytes(b"\0\0\0\x40"),
            Int(4),
        ],
    ),
    call(
        "socket-pair",
        libc::SYS_socketpair,
        &[Int(libc::AF_UNIX as c_long), Int(libc::SOCK_DGRAM as c_long), Int(0), Room],
    ),
    call("memory-file-size", libc::SYS_ftruncate, &[Int(0), Int(1 << 40)]),
    call("secret-memory", libc::SYS_memfd_secret, &[Int(0)]),
];

/// A step of taking memory.
const STEP: c_long = 64 * 1_048_576;
/// Steps that are more than any worker may have: 1 GiB.
const STEPS: usize = 17;

/// Maps until it is refused, and gives everything back.
fn mapped(more: c_int) -> String {
    let flags = c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | more);
    let protection = c_long::from(READ | WRITE);
    let mut got = Vec::new();
    let mut refused = None;
    while refused.is_none() && got.len() < STEPS {
        match system_call(libc::SYS_mmap, [0, STEP, protection, flags, -1, 0]) {
            -1 => refused = Some(Errno::last()),
            place => got.push(place),
        }
    }
    for place in got {
        system_call(libc::SYS_munmap, [place, STEP, 0, 0, 0, 0]);
    }
    match refused {
        Some(Errno::ENOMEM) => "bounded".to_owned(),
        Some(other) => named(other),
        None => "unbounded".to_owned(),
    }
}

/// Moves the end of its data up by more than it may have.
fn broken() -> String {
    let now = system_call(libc::SYS_brk, [0; 6]);
    let wanted = now + STEP * 17;
    let then = system_call(libc::SYS_brk, [wanted, 0, 0, 0, 0, 0]);
    if then == wanted { "unbounded".to_owned() } else { "bounded".to_owned() }
}

/// Fills a file in memory until it is refused.
fn filled() -> String {
    let name = super::address(c"x".as_ptr().expose_provenance());
    let file = system_call(libc::SYS_memfd_create, [name, 3, 0, 0, 0, 0]);
    if file < 0 {
        return outcome(file);
    }
    let block = vec![0_u8; 1_048_576];
    let place = super::address(block.as_ptr().expose_provenance());
    let most = outcomes(
        (0..STEPS)
            .map(|_| outcome(system_call(libc::SYS_write, [file, place, 1_048_576, 0, 0, 0]))),
    );
    system_call(libc::SYS_close, [file, 0, 0, 0, 0, 0]);
    // The first of them had room.
    most.replace("+ok", "")
}

const DESCRIPTORS: &[Attempt] = &[
    refused("events", Way::Do(|_| opened(libc::SYS_eventfd2, [0, 0, 0]))).passes(&["bounded"]),
    refused("polls", Way::Do(|_| opened(libc::SYS_epoll_create1, [0, 0, 0]))).passes(&["bounded"]),
    refused("copies", Way::Do(|_| copies())).passes(&["bounded"]),
    call(
        "more",
        libc::SYS_prlimit64,
        &[
            Int(0),
            Int(libc::RLIMIT_NOFILE as c_long),
            super::Arg::Bytes(b"\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0"),
            Int(0),
        ],
    )
    .or(&["EPERM"]),
];

fn copies() -> String {
    opened(libc::SYS_fcntl, [0, c_long::from(libc::F_DUPFD_CLOEXEC), 0])
}

/// More descriptors than any worker may have.
const DESCRIPTORS_BEYOND: usize = 4_097;

/// Opens until it is refused, and gives everything back.
fn opened(number: c_long, [a, b, c]: [c_long; 3]) -> String {
    let mut got = Vec::new();
    let mut refused = None;
    while refused.is_none() && got.len() < DESCRIPTORS_BEYOND {
        match system_call(number, [a, b, c, 0, 0, 0]) {
            -1 => refused = Some(Errno::last()),
            fd => got.push(fd),
        }
    }
    for fd in got {
        system_call(libc::SYS_close, [fd, 0, 0, 0, 0, 0]);
    }
    match refused {
        Some(Errno::EMFILE) => "bounded".to_owned(),
        Some(other) => named(other),
        None => "unbounded".to_owned(),
    }
}

const FIXED: super::Arg =
    Int((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as c_long);
const LOCKED: super::Arg =
    Int((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_LOCKED) as c_long);

const ODD_MEMORY: &[Attempt] = &[
    // The kernel itself keeps its first page.
    call(
        "page-zero",
        libc::SYS_mmap,
        &[ANYWHERE, PAGE, Int((READ | WRITE) as c_long), FIXED, NO_FD],
    )
    .passes(&["EPERM"]),
    call("move-to-zero", libc::SYS_mremap, &[Room, PAGE, PAGE, Int(3), Int(0)]),
    call("locked", libc::SYS_mmap, &[ANYWHERE, PAGE, Int((READ | WRITE) as c_long), LOCKED, NO_FD])
        .passes(&["EPERM", "EAGAIN"]),
    call("lock", libc::SYS_mlock, &[Room, PAGE]).or(&["EPERM", "ENOMEM"]),
    call("lock2", libc::SYS_mlock2, &[Room, PAGE, Int(1)]).or(&["EPERM", "ENOMEM"]),
    call("lock-all", libc::SYS_mlockall, &[Int(3)]).or(&["EPERM", "ENOMEM"]),
    refused("advise-each", Way::Do(|_| advised())),
];

/// Every advice but the three that an allocator gives.
fn advised() -> String {
    let advice = (0..32).filter(|advice| ![libc::MADV_NORMAL, 4, 8].contains(advice));
    outcomes(advice.map(|advice| {
        outcome(system_call(libc::SYS_madvise, [0, 0, c_long::from(advice), 0, 0, 0]))
    }))
}

const SECRETS: &[Attempt] = &[
    refused("environment", Way::Do(|_| std::env::vars_os().count().to_string())).passes(&["0"]),
    call(
        "environment-of-first",
        libc::SYS_openat,
        &[Int(libc::AT_FDCWD as c_long), super::Arg::Text(c"/proc/1/environ"), Int(0)],
    )
    .or(&["ENOENT"]),
    call(
        "arguments-of-others",
        libc::SYS_openat,
        &[Int(libc::AT_FDCWD as c_long), super::Arg::Text(c"/proc/2/cmdline"), Int(0)],
    )
    .or(&["ENOENT"]),
];
