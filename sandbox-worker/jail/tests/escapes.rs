//! The escape matrix from native code: each row's attempts are made by a worker in a throw-away
//! jail, as root and as an ordinary user, for every profile, and where the kernel has no Landlock
//! or makes no namespaces. After each, the spawner is alive and still sees a confined worker, and
//! another stub answers at once.
//!
//! Row 68 (reading clocks and the processor's kind) is accepted, and documented only. What a row
//! asks of the daemon or of scripts is tested there.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end")]

#[path = "../probe/attempts.rs"]
#[allow(dead_code, reason = "the program's")]
mod attempts;
#[path = "../probe/escapes.rs"]
mod escapes;
#[path = "escapes/jails.rs"]
mod jails;
#[path = "../probe/scene.rs"]
mod scene;

use jails::Place::WithoutNamespaces;
use jails::{JAILS, in_every_jail, made, row};
use scene::skip::skipped;
use scene::{Scene, Who, each};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

/// Nobody has come.
fn nobody_came(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    let came = listener.accept().map(|(_, peer)| peer).map_err(|error| error.kind());
    assert_eq!(came, Err(std::io::ErrorKind::WouldBlock));
}

/// A row of a worker to which an open connection was handed, and which is not to get any farther.
fn row_with_connection(number: u8) {
    let (served, trap) = (local(), local());
    let port = trap.local_addr().unwrap().port().to_string();
    in_every_jail(|scene, role, of| {
        let connected = TcpStream::connect(served.local_addr().unwrap()).unwrap();
        scene.hand(&connected, "time");
        assert_eq!(scene.outcome("time"), "true", "{of}");
        made(scene, number, role, &port, of);
    });
    nobody_came(&trap);
}

fn local() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).unwrap()
}

#[test]
fn escape_001_no_file_of_the_host_is_read() {
    row(1);
}

#[test]
fn escape_002_no_way_leads_up_from_the_root() {
    row(2);
}

#[test]
fn escape_003_a_folder_that_was_left_open_is_not_inherited() {
    row(3);
}

#[test]
fn escape_004_no_file_is_opened_by_handle() {
    row(4);
}

#[test]
fn escape_005_nothing_is_written_anywhere() {
    row(5);
}

#[test]
fn escape_006_the_root_cannot_be_filled_or_enlarged() {
    row(6);
}

#[test]
fn escape_007_there_is_no_proc() {
    row(7);
}

#[test]
fn escape_008_nobody_is_traced() {
    row(8);
}

#[test]
fn escape_009_nobodys_memory_is_copied() {
    row(9);
}

#[test]
fn escape_010_nobody_is_killed() {
    row(10);
}

#[test]
fn escape_011_no_number_that_is_guessed_gets_a_signal() {
    row(11);
}

#[test]
fn escape_012_no_descriptor_is_taken_from_anybody() {
    row(12);
}

#[test]
fn escape_013_no_abstract_socket_of_the_host_is_reached() {
    let name = format!("jail-probe-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    in_every_jail(|scene, role, of| made(scene, 13, role, &name, of));
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn escape_014_no_socket_of_the_daemon_is_reached() {
    let name = format!("jail-probe-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&path).unwrap();
    let text = path.to_str().unwrap();
    in_every_jail(|scene, role, of| made(scene, 14, role, text, of));
    listener.set_nonblocking(true).unwrap();
    let came = listener.accept().map(drop).map_err(|error| error.kind());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(came, Err(std::io::ErrorKind::WouldBlock));
}

#[test]
fn escape_015_no_family_has_a_socket() {
    row(15);
}

#[test]
fn escape_016_no_host_is_connected_to() {
    let trap = local();
    let port = trap.local_addr().unwrap().port().to_string();
    in_every_jail(|scene, role, of| made(scene, 16, role, &port, of));
    nobody_came(&trap);
}

#[test]
fn escape_017_a_connection_that_was_handed_over_is_not_connected_elsewhere() {
    row_with_connection(17);
}

#[test]
fn escape_018_no_descriptor_tells_of_interfaces() {
    row_with_connection(18);
}

#[test]
fn escape_019_a_connection_that_was_handed_over_does_not_listen() {
    row_with_connection(19);
}

#[test]
fn escape_020_no_datagram_leaves() {
    row_with_connection(20);
}

#[test]
fn escape_024_nothing_is_mounted() {
    row(24);
}

#[test]
fn escape_025_no_namespace_is_made() {
    row(25);
}

#[test]
fn escape_026_clone3_is_refused() {
    row(26);
}

#[test]
fn escape_027_no_namespace_is_entered() {
    row(27);
}

#[test]
fn escape_028_no_ring_program_fault_handler_or_counter_is_made() {
    row(28);
}

#[test]
fn escape_029_no_key_is_read_or_written() {
    row(29);
}

#[test]
fn escape_030_the_personality_stays() {
    row(30);
}

#[test]
fn escape_031_calls_of_other_architectures_are_refused_or_kill() {
    row(31);
    if cfg!(not(target_arch = "x86_64")) {
        return skipped("there are no 32-bit calls here");
    }
    each(|who| {
        for (place, role) in JAILS {
            let mut scene = place.scene(who, role);
            scene.ask("foreign");
            let signal = scene.killed_by();
            assert_eq!(signal, nix::sys::signal::Signal::SIGSYS, "{who:?} {place:?} {role}");
        }
    });
}

#[test]
fn escape_032_no_memory_becomes_code() {
    row(32);
}

#[test]
fn escape_033_nothing_is_executed() {
    row(33);
}

#[test]
fn escape_034_no_privilege_comes_back_and_the_daemons_death_still_kills() {
    row(34);
    each(|who| {
        let mut scene = Scene::below_a_daemon(who, "stub");
        assert!(scene.read().starts_with("report"));
        assert!(scene.read().starts_with("identity"));
        made(&mut scene, 34, "stub", "", &format!("{who:?}"));
        scene.kill_daemon();
        assert!(scene.link_ends(), "{who:?}: it lives on");
    });
}

#[test]
fn escape_035_no_second_filter_loosens_the_first() {
    row(35);
}

#[test]
fn escape_036_no_limit_is_raised() {
    row(36);
}

#[test]
fn escape_037_there_is_never_a_second_process_or_thread() {
    row(37);
}

#[test]
fn escape_038_memory_ends_at_the_limits_of_the_process() {
    row(38);
}

#[test]
fn escape_039_a_stub_that_spins_does_not_keep_another_from_answering() {
    const TRIES: usize = 21;
    const WITHIN: Duration = Duration::from_millis(100);
    each(|who| {
        let mut spinning = Scene::confined(who, "stub");
        spinning.ask("spin");
        let mut other = Scene::confined(who, "stub");
        let mut took: Vec<Duration> = (0..TRIES)
            .map(|_| {
                let asked = Instant::now();
                assert_eq!(other.attempt("time"), "true");
                asked.elapsed()
            })
            .collect();
        took.sort_unstable();
        assert!(took[TRIES / 2] < WITHIN, "{who:?}: {took:?}");
    });
}

#[test]
fn escape_040_descriptors_end_at_the_limit_here_and_on_the_way() {
    row(40);
    in_every_jail(|scene, role, of| {
        // Nothing is taken out of the link before it is full.
        scene.ask("flood-descriptors");
        scene.wait();
        scene.rests();
        let flood = scene.outcome("flood-descriptors");
        // The net role may have more descriptors than the flood is long.
        let ended = ["Some(ETOOMANYREFS)", "Some(EAGAIN)"].contains(&flood.as_str());
        assert!(ended || role == "net", "{of}: {flood}");
    });
}

#[test]
fn escape_061_the_link_has_no_name_and_no_peer_to_ask_for() {
    row(61);
}

#[test]
fn escape_062_the_supervisor_gets_no_signal() {
    row(62);
}

#[test]
fn escape_063_a_stub_does_not_stop_itself() {
    row(63);
}

#[test]
fn escape_064_a_stub_that_ignores_being_asked_is_killed_through_its_descriptor() {
    use nix::sys::signal::{Signal, kill};
    each(|who| {
        let mut scene = Scene::confined(who, "stub");
        // The first process of its numbers ignores what it has no handler for.
        kill(scene.worker.unwrap(), Signal::SIGTERM).unwrap();
        assert_eq!(scene.attempt("time"), "true", "{who:?}");
        let pidfd = pidfd(scene.worker.unwrap());
        assert_eq!(killed(pidfd), Ok(()), "{who:?}");
        assert_eq!(scene.killed_by(), Signal::SIGKILL, "{who:?}");
    });
}

#[test]
fn escape_065_nothing_is_born_to_outlive_the_stub() {
    row(65);
}

#[test]
fn escape_066_a_number_that_is_used_again_is_not_signalled() {
    each(|who| {
        let mut scene = Scene::confined(who, "stub");
        let pidfd = pidfd(scene.worker.unwrap());
        scene.ask("fault");
        let _signal = scene.killed_by();
        assert_eq!(killed(pidfd), Err(nix::errno::Errno::ESRCH), "{who:?}");
    });
}

/// A descriptor of a child of this process, which has not been waited for.
fn pidfd(child: nix::unistd::Pid) -> i64 {
    let number = i64::from(child.as_raw());
    escapes::system_call(libc::SYS_pidfd_open, [number, 0, 0, 0, 0, 0])
}

/// SIGKILL through a descriptor.
fn killed(pidfd: i64) -> Result<(), nix::errno::Errno> {
    let signal = i64::from(libc::SIGKILL);
    let sent = escapes::system_call(libc::SYS_pidfd_send_signal, [pidfd, signal, 0, 0, 0, 0]);
    if sent == 0 { Ok(()) } else { Err(nix::errno::Errno::last()) }
}

#[test]
fn escape_067_a_worker_that_forges_its_level_is_refused() {
    each(|who| {
        // One that has put up no wall, and says whatever is wanted.
        let mut scene = Scene::confined(who, "bare");
        for claim in ["namespaces", "filtered"] {
            assert!(scene.verdict(claim).starts_with("refused "), "{who:?} {claim}");
        }
        // One that has no namespaces and says so many.
        let mut scene = WithoutNamespaces.scene(who, "stub");
        assert!(scene.verdict("namespaces").starts_with("refused "), "{who:?}");
    });
}

#[test]
fn escape_069_no_terminal_is_typed_into() {
    row(69);
}

#[test]
fn escape_070_odd_memory_is_refused() {
    row(70);
}

#[test]
fn escape_071_no_shared_segment_or_queue_is_left_behind() {
    row(71);
    let key = escapes::LEFT_KEY.to_string();
    for kind in ["shm", "sem", "msg"] {
        let all = std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap();
        let left = |line: &str| line.split_whitespace().next() == Some(key.as_str());
        assert!(!all.lines().any(left), "{all}");
    }
}

#[test]
fn escape_072_a_stub_that_crashes_leaves_no_core() {
    use nix::sys::wait::{WaitStatus, waitpid};
    each(|who| {
        for (place, role) in JAILS {
            let mut scene = place.scene(who, role);
            scene.ask("fault");
            let ended = waitpid(scene.worker.take().unwrap(), None).unwrap();
            let WaitStatus::Signaled(_, _, dumped) = ended else { panic!("{ended:?}") };
            assert!(!dumped, "{who:?} {place:?} {role}");
        }
    });
}

#[test]
fn escape_073_no_secret_is_inherited_or_read_from_others() {
    row(73);
    each(|who| {
        let scene = Scene::confined(who, "stub");
        let file = format!("/proc/{}/environ", scene.worker.unwrap());
        let mut reader = std::process::Command::new("setpriv");
        if nix::unistd::geteuid().is_root() {
            reader.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        let output = reader.args(["cat", &file]).output().unwrap();
        assert!(output.stdout.is_empty(), "{who:?}: {output:?}");
        // A stub with an id of its own is closed to everybody else's.
        assert!(who == Who::User || !output.status.success(), "{who:?}: {output:?}");
    });
}

#[test]
#[cfg(target_arch = "x86_64")]
fn every_call_that_the_list_says_is_refused_is_refused_by_the_kernel() {
    in_every_jail(|scene, role, of| {
        assert_eq!(scene.attempt(&format!("calls {role}")), "EPERM", "{of}");
    });
}
