//! Attacks on what holds a daemon together: its sessions, what its workers inherit, its sockets, its
//! end. By the findings of the security review (`attack_…`).

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config, descriptor};
use system_tests::chaos::process::state;
use system_tests::chaos::worker::Programs;
use system_tests::evil::{EVIL, PUPPET, Scene};
use system_tests::skip::skipped;
use system_tests::trap::Trap;
use system_tests::{Daemon, lives, program, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const REMOTE: &str = "hyperty://example.com/bob";

/// Process group and session, and whether the process may be looked into.
fn leads_itself(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<i32> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .skip(2)
        .take(2)
        .map(|field| field.parse().unwrap())
        .collect();
    fields == [pid, pid]
}

#[test]
fn attack_001_every_process_of_a_daemon_leads_a_session_of_its_own() {
    let granted = Trap::set();
    let open = granted.port();
    let keys = format!("private = true\nconnect = [\"127.0.0.1:{open}\"]\n\n");
    let mut scene = Scene::with(&descriptor(PUPPET), &keys);
    scene.order(&format!("new WebSocket('ws://127.0.0.1:{open}/').onclose = () => {{}};"));
    wait_for("the net role is there", || (granted.visits() > 0).then_some(()));
    let family = scene.daemon.descendants();
    assert!(family.len() >= 4, "spawner, net, two stubs: {family:?}");
    for pid in family.into_iter().filter(|pid| state(*pid).is_some()) {
        assert!(leads_itself(pid), "{pid}");
    }
}

#[test]
fn attack_003_what_is_preloaded_into_the_daemon_does_not_reach_a_worker() {
    let mut scene = Scene::by(&descriptor(PUPPET), "", |root| {
        let mut command = system_tests::command(&program("runtimed"), root);
        command.env("LD_PRELOAD", "/nonexistent/evil.so").env("LD_LIBRARY_PATH", "/nonexistent");
        command
    });
    assert_eq!(scene.order("return 1 + 1;"), 2);
    for pid in scene.daemon.descendants() {
        // Where it can be seen at all.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        assert!(environment.is_empty(), "{pid}: {environment:?}");
    }
    assert!(!scene.daemon.row(EVIL).unwrap()["pid"].is_null());
    scene.stands();
}

#[test]
fn attack_003_the_programs_take_their_libraries_from_the_system_only() {
    for name in ["runtimed", "sandbox-worker", "runtimectl"] {
        let output = Command::new("readelf").arg("--dynamic").arg(program(name)).output();
        let Ok(output) = output else { return skipped("there is no readelf") };
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(!said.contains("RPATH") && !said.contains("RUNPATH"), "{name}: {said}");
        let needed = said.lines().filter(|line| line.contains("(NEEDED)"));
        for line in needed {
            let system = ["[libc.", "[libgcc_s.", "[libm.", "[ld-linux"];
            assert!(system.iter().any(|library| line.contains(library)), "{name}: {line}");
        }
    }
}

#[test]
fn attack_028_a_stub_that_does_not_hear_the_end_of_its_daemon_does_not_outlive_it() {
    for fault in ["spin", "deaf", "stall"] {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let folder = tempfile::tempdir().unwrap();
            let catalogue = Folder::new(folder.path());
            catalogue.stub(ECHO_STUB);
            let programs = Programs::obedient();
            let mut daemon = Daemon::start_from(programs.folder(), &config(&catalogue.url()));
            let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
            let answer = alice.call("read", REMOTE, &json!({"fault": fault}));
            assert_eq!(answer["body"]["code"], 200, "{answer}");
            let family = daemon.descendants();
            assert!(family.len() >= 2, "spawner and stub: {family:?}");
            let begun = Instant::now();
            let status = daemon.stop(signal);
            if signal == Signal::SIGTERM {
                assert_eq!(status.code(), Some(0), "{fault}");
                assert!(begun.elapsed() < Duration::from_secs(6), "{fault}: {:?}", begun.elapsed());
            }
            wait_for(&format!("nothing is left after {fault} and {signal}"), || {
                (!family.iter().any(|pid| lives(*pid))).then_some(())
            });
        }
    }
}

/// `runtimectl status` by the daemon's own user, in a user namespace of its own as sandboxes have.
fn from_a_namespace(daemon: &Daemon) -> Output {
    Command::new("unshare")
        .args(["--user", "--map-current-user"])
        .arg(program("runtimectl"))
        .arg("--root")
        .arg(daemon.root())
        .arg("status")
        .output()
        .unwrap()
}

/// What the application socket answers to hello, said by a process that this command line makes.
fn hello_by(daemon: &Daemon, before: &[&str]) -> Option<String> {
    let script = "import socket,sys\n\
        s=socket.socket(socket.AF_UNIX)\n\
        s.connect(sys.argv[1])\n\
        s.sendall(b'{\"hello\":{\"name\":\"x\",\"addresses\":[]}}\\n')\n\
        print(s.recv(4096).decode())";
    let mut words = before.to_vec();
    words.extend(["python3", "-c", script]);
    let bus = daemon.bus();
    let (first, rest) = words.split_first().unwrap();
    let output = Command::new(first).args(rest).arg(&bus).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("python3: ") || said.contains("No such file") {
        skipped("there is no python3");
        return None;
    }
    Some(format!("{}{said}", String::from_utf8_lossy(&output.stdout)))
}

#[test]
fn attack_030_a_peer_that_lives_in_a_user_namespace_is_let_in_by_neither_socket() {
    let daemon = Daemon::start("");
    // It is told why each time, whoever of the two is faster.
    for _ in 0..10 {
        let output = from_a_namespace(&daemon);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{said}");
        assert!(said.contains("sandbox"), "{said}");
    }
    assert!(daemon.log().contains("an operator was refused"), "{}", daemon.log());
    if let Some(said) = hello_by(&daemon, &["unshare", "--user", "--map-current-user"]) {
        assert!(said.contains("403") && !said.contains("welcome"), "{said}");
        let said = hello_by(&daemon, &["env"]).unwrap();
        assert!(said.contains("welcome"), "outside of one it is welcome: {said}");
    }
}

#[test]
fn attack_030_another_user_gets_neither_socket_and_the_modes_say_so() {
    let daemon = Daemon::start("");
    let mode = |name: &str| {
        fs::symlink_metadata(daemon.root().join(name)).unwrap().permissions().mode() & 0o7777
    };
    let modes = ["run", "run/control.sock", "run/bus.sock", "run/lock", "state", "cache"].map(mode);
    assert_eq!(modes, [0o750, 0o660, 0o660, 0o600, 0o700, 0o700]);
    for entry in fs::read_dir(daemon.root().join("state")).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
    if !geteuid().is_root() {
        return skipped("only root can be another user");
    }
    fs::set_permissions(daemon.root(), fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if let Some(said) = hello_by(&daemon, &nobody) {
        assert!(said.contains("ermission"), "{said}");
    }
}

#[test]
fn attack_030_a_root_that_others_may_write_to_is_refused() {
    for mode in [0o720, 0o702, 0o777, 0o1777] {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
        let output = system_tests::command(&program("runtimed"), &root).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{mode:o}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("can be written by others"), "{mode:o}: {said}");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "{mode:o}");
    }
}
