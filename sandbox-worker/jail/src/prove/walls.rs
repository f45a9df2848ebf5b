//! What must hold without the filter: each wall is tried where nothing but it is in the way.
//!
//! A wall is only tried where it was reported to stand. Where no harmless attack would show it, the
//! fact itself is looked at.

use super::Arg::{Int, Text};
use super::{NONE, NULL, Probe, Proof, opens, probe};
use crate::limits::{DESCRIPTORS_PROBED, FIRST_FREE_FD, HOST_NAME, OPEN_FILES_NET};
use crate::raw;
use libc::{AT_FDCWD, O_DIRECTORY, O_PATH, O_RDONLY, SYS_openat};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, connect, socket,
};
use nix::unistd::{getgid, gethostname, getpgrp, getpid, getppid, getsid, getuid};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd as _;
use std::time::Instant;

/// What stands in front of an attack.
enum Test {
    /// The call is answered with one of these.
    Refused(Probe, &'static [Errno]),
    /// This is so.
    Fact(&'static str, fn() -> bool),
}

use Test::{Fact, Refused};

const HERE: super::Arg = Int(AT_FDCWD);
const READ: super::Arg = Int(O_RDONLY);
/// Any port: a datagram socket that connects sends nothing.
const PORT: u16 = 9;
/// Landlock is in front of the empty root, and says so instead.
const ABSENT: &[Errno] = &[Errno::ENOENT, Errno::EACCES];
const CLOSED: &[Errno] = &[Errno::EROFS, Errno::EACCES];
const POWERLESS: &[Errno] = &[Errno::EPERM];
const NOBODY: &[Errno] = &[Errno::ESRCH];

const ROOT: &[Test] = &[
    Refused(opens("root-passwd", SYS_openat, &[HERE, Text(c"/etc/passwd"), READ]), ABSENT),
    Refused(opens("root-parent", SYS_openat, &[HERE, Text(c"../../../etc"), READ]), ABSENT),
    Refused(opens("root-null", SYS_openat, &[HERE, Text(c"/dev/null"), READ]), ABSENT),
    Refused(opens("root-proc", SYS_openat, &[HERE, Text(c"/proc/self/status"), READ]), ABSENT),
    Refused(opens("root-proc-path", SYS_openat, &[HERE, Text(c"/proc"), Int(O_PATH)]), ABSENT),
    Refused(opens("root-system", SYS_openat, &[HERE, Text(c"/sys/kernel"), Int(O_PATH)]), ABSENT),
    Refused(opens("root-run", SYS_openat, &[HERE, Text(c"/run"), Int(O_PATH)]), ABSENT),
    Refused(opens("root-programs", SYS_openat, &[HERE, Text(c"/usr"), Int(O_PATH)]), ABSENT),
    Refused(probe("root-writable", libc::SYS_faccessat, &[HERE, Text(c"/"), Int(2)]), CLOSED),
];

const CAPS: &[Test] = &[
    Fact("caps-left", || raw::has_no_capabilities() == Ok(true)),
    Refused(probe("caps-host-name", libc::SYS_sethostname, &[NULL, NONE]), POWERLESS),
    Refused(probe("caps-chroot", libc::SYS_chroot, &[Text(c"/")]), POWERLESS),
    Refused(probe("caps-domain-name", libc::SYS_setdomainname, &[NULL, NONE]), POWERLESS),
];

/// In a user namespace of its own it had the right to these, and to give them up.
const CAPS_OF_NAMESPACE: &[Test] = &[
    Fact("caps-bounding", raw::bounding_set_is_empty),
    Fact("caps-ambient", raw::ambient_set_is_empty),
    Fact("caps-securebits", raw::securebits_are_locked),
];

const PRIVILEGES: &[Test] = &[Fact("new-privileges", || prctl::get_no_new_privs() == Ok(true))];
const DUMPABLE: &[Test] = &[Fact("dumpable", || prctl::get_dumpable() == Ok(false))];
const PARENT: &[Test] =
    &[Fact("outlive-parent", || prctl::get_pdeathsig() == Ok(Some(Signal::SIGKILL)))];

const SESSION: &[Test] = &[
    Fact("session-other", || getsid(None) == Ok(getpid())),
    Fact("session-group", || getpgrp() == getpid()),
];

/// An inherited keyring holds at least what was put there at login; a new one holds nothing.
const KEYRING: &[Test] = &[Fact("keyring-inherited", || raw::session_keys() == Ok(0))];

const USER_NS: &[Test] = &[Fact("user-id", || getuid().is_root() && getgid().as_raw() == 0)];

const PID_NS: &[Test] = &[
    Fact("pid-first", || getpid().as_raw() == 1),
    Fact("pid-parent", || getppid().as_raw() == 0),
    Refused(probe("pid-signal", libc::SYS_kill, &[Int(2), Int(0)]), NOBODY),
    Refused(probe("pid-signal-all", libc::SYS_kill, &[NONE, Int(0)]), NOBODY),
    Refused(probe("pid-thread", libc::SYS_tkill, &[Int(2), Int(0)]), NOBODY),
    Refused(opens("pid-descriptor", libc::SYS_pidfd_open, &[Int(2), Int(0)]), NOBODY),
];

const NET_NS: &[Test] = &[
    Fact("net-loopback", || {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT);
        is_unreachable(AddressFamily::Inet, &SockaddrIn::from(address))
    }),
    Fact("net-loopback6", || {
        let address = SocketAddrV6::new(Ipv6Addr::LOCALHOST, PORT, 0, 0);
        is_unreachable(AddressFamily::Inet6, &SockaddrIn6::from(address))
    }),
    Fact("net-out", || {
        let address = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), PORT);
        is_unreachable(AddressFamily::Inet, &SockaddrIn::from(address))
    }),
];

const IPC_NS: &[Test] =
    &[Fact("ipc-segments", raw::no_shared_segments), Fact("ipc-queues", raw::no_message_queues)];

const UTS_NS: &[Test] = &[Fact("uts-name", || gethostname().is_ok_and(|name| name == HOST_NAME))];

const LANDLOCK: &[Test] = &[Refused(
    opens("landlock-root", SYS_openat, &[HERE, Text(c"/"), Int(O_RDONLY | O_DIRECTORY)]),
    &[Errno::EACCES],
)];

const DESCRIPTORS: &[Test] = &[Fact("descriptor-inherited", || {
    (FIRST_FREE_FD..DESCRIPTORS_PROBED).all(|fd| !raw::is_open(fd))
})];

const RLIMITS: &[Test] = &[
    Fact("limit-core", || is_limited(Resource::RLIMIT_CORE, 0)),
    Fact("limit-locked", || is_limited(Resource::RLIMIT_MEMLOCK, 0)),
    Fact("limit-queues", || is_limited(Resource::RLIMIT_MSGQUEUE, 0)),
    Fact("limit-files", || is_limited(Resource::RLIMIT_NOFILE, OPEN_FILES_NET)),
    Fact("limit-raised", || setrlimit(Resource::RLIMIT_CORE, 0, 1) == Err(Errno::EPERM)),
];

/// The walls by the names of their layers.
const WALLS: &[(&str, &[Test])] = &[
    ("descriptors", DESCRIPTORS),
    ("rlimits", RLIMITS),
    ("session", SESSION),
    ("keyring", KEYRING),
    ("user-ns", USER_NS),
    ("user-ns", CAPS_OF_NAMESPACE),
    ("pid-ns", PID_NS),
    ("net-ns", NET_NS),
    ("ipc-ns", IPC_NS),
    ("uts-ns", UTS_NS),
    ("root", ROOT),
    ("caps", CAPS),
    ("no-new-privs", PRIVILEGES),
    ("non-dumpable", DUMPABLE),
    ("parent-death", PARENT),
    ("landlock", LANDLOCK),
];

fn is_limited(resource: Resource, most: u64) -> bool {
    getrlimit(resource).is_ok_and(|(soft, hard)| soft <= most && hard <= most)
}

/// Whether nothing can be sent there. Where sockets are refused to all of us, that holds, too.
fn is_unreachable(family: AddressFamily, address: &dyn SockaddrLike) -> bool {
    let made = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
    let Ok(socket) = made else { return true };
    connect(socket.as_raw_fd(), address).is_err()
}

fn judge(probe: &Probe, expected: &[Errno]) -> Result<(), String> {
    match probe.answer() {
        // What is around all of us, a service's own filter, may be in front of the wall.
        Err(Errno::EPERM | Errno::ENOSYS) => Ok(()),
        Err(errno) if expected.contains(&errno) => Ok(()),
        Err(errno) => Err(format!("{errno:?}")),
        Ok(()) => Err("it worked".to_owned()),
    }
}

/// Tries the walls that stand, by the names of their `layers`. The filter is not up yet.
pub(crate) fn walls(layers: &[&str]) -> Proof {
    let begun = Instant::now();
    let mut proof = Proof::default();
    for (layer, tests) in WALLS.iter().filter(|(layer, _)| layers.contains(layer)) {
        for test in *tests {
            match test {
                Refused(probe, expected) => proof.note(layer, probe.name, judge(probe, expected)),
                Fact(name, holds) => {
                    let outcome = if holds() { Ok(()) } else { Err(format!("no {layer}")) };
                    proof.note(layer, name, outcome);
                }
            }
        }
    }
    proof.took = begun.elapsed();
    proof
}

#[cfg(test)]
mod tests {
    use super::{Test, WALLS, walls};
    use std::collections::BTreeSet;

    #[test]
    fn every_test_of_a_wall_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for test in WALLS.iter().flat_map(|(_, tests)| *tests) {
            let name = match test {
                Test::Refused(probe, _) => probe.name,
                Test::Fact(name, _) => name,
            };
            assert!(names.insert(name), "{name} twice");
        }
    }

    #[test]
    fn a_process_without_a_jail_fails_where_it_claims_walls() {
        // A test is neither the first of its processes nor without files.
        let proof = walls(&["root", "pid-ns", "net-ns", "uts-ns"]);
        assert!(proof.denied < proof.probes, "{proof:?}");
        for name in ["root-passwd: it worked", "pid-first: no pid-ns", "net-loopback: no net-ns"] {
            let said = |failure: &crate::Failure| failure.to_string() == name;
            assert!(proof.failures.iter().any(said), "{name}: {proof:?}");
        }
    }

    #[test]
    fn what_is_not_claimed_is_not_tried() {
        assert_eq!(walls(&[]).probes, 0);
    }
}
