//! Faults of the daemon itself and of whoever operates it: killed, told to stop, left alone by its
//! service manager, by an operator who goes or who does not listen.

use nix::sys::signal::Signal;
use protocol::control::Command;
use serde_json::{Value, json};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config, descriptor};
use system_tests::chaos::ledger::Ledger;
use system_tests::chaos::process::Victim;
use system_tests::chaos::worker::Programs;
use system_tests::domain::Domain;
use system_tests::facts::{settled, wait_events, watch_status};
use system_tests::operator::{Operator, asked};
use system_tests::{Daemon, PATIENCE, command, lives, program, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const REMOTE: &str = "hyperty://example.com/bob";
const NAME: &str = "example.com";

fn folder(stub: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(stub);
    let config = config(&catalogue.url());
    (folder, config)
}

/// Names in the folders of a root, the log apart.
fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for room in ["run", "state", "cache"] {
        let entries = std::fs::read_dir(root.join(room)).unwrap().flatten();
        found.extend(entries.map(|entry| format!("{room}/{}", entry.file_name().display())));
    }
    found.sort();
    found
}

#[test]
fn fault_022_a_killed_daemon_leaves_no_process_and_the_next_one_starts_as_if_it_had_ended() {
    let (_folder, config) = folder(ECHO_STUB);
    let other = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(other.path());
    catalogue.stub(ECHO_STUB);
    let both = format!("{config}[domain.\"other.example\"]\ncatalogue = \"{}\"\n", catalogue.url());
    let programs = Programs::obedient();
    let mut daemon = Daemon::start_from(programs.folder(), &both);
    let at_first = files(daemon.root());
    let runtime = daemon.ctl_json(&["status"])["runtime"].clone();
    for round in 0..3 {
        let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        let held: Vec<u64> =
            (0..50).map(|_| alice.ask("read", REMOTE, &json!({"hold": true}))).collect();
        assert_eq!(alice.call("read", REMOTE, &json!({}))["body"]["code"], 200, "{held:?}");
        assert_eq!(
            alice.call("read", "hyperty://other.example/x", &json!({}))["body"]["code"],
            200
        );
        // One that stands still cannot even hear that it is alone.
        assert!(Victim::of(&daemon, "other.example").stop());
        let family = daemon.descendants();
        assert!(family.len() >= 3, "spawner and two stubs: {family:?}");
        daemon.stop(Signal::SIGKILL);
        wait_for("no process is left", || (!family.iter().any(|pid| lives(*pid))).then_some(()));
        assert_eq!(alice.read(), None, "the connection ends, no answer is invented: {round}");
        daemon.start_again_by(programs.command(daemon.root()));
        assert_eq!(files(daemon.root()), at_first);
        assert_eq!(daemon.ctl_json(&["status"])["runtime"], runtime);
        let known = daemon.ctl_json(&["ps"]);
        let rests = |row: &Value| row["state"] == "dormant" && row["pid"].is_null();
        assert!(known.as_array().unwrap().iter().all(rests), "unasked, nothing runs: {known}");
    }
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    assert_eq!(alice.call("read", REMOTE, &json!({}))["body"]["code"], 200);
    settled(&daemon);
}

#[test]
fn fault_026_a_stop_answers_all_that_waits_refuses_what_is_new_and_ends_with_status_0() {
    let (_folder, config) = folder(ECHO_STUB);
    let programs = Programs::obedient();
    let manager = tempfile::tempdir().unwrap();
    let told = UnixDatagram::bind(manager.path().join("notify")).unwrap();
    told.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut daemon = Daemon::start_by(&config, |root| {
        let mut command = programs.command(root);
        command.env("NOTIFY_SOCKET", manager.path().join("notify"));
        command
    });
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let mut carol = App::connect(&daemon.bus(), "carol", &["hyperty://localhost/carol"]);
    let held: Vec<u64> =
        (0..20).map(|_| alice.ask("read", REMOTE, &json!({"hold": true}))).collect();
    // It will not go by itself, so that there is a while to look at.
    assert_eq!(alice.call("read", REMOTE, &json!({"fault": "deaf"}))["body"]["code"], 200);
    let url = daemon.row(NAME).unwrap()["url"].as_str().unwrap().to_owned();
    watch_status(&mut carol, &url);
    let begun = Instant::now();
    daemon.signal(Signal::SIGTERM);
    let mut said = String::new();
    while !said.contains("STOPPING=1") {
        let mut buffer = [0; 4096];
        let len = told.recv(&mut buffer).unwrap();
        said.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
    }
    for id in held {
        let body = alice.response(id)["body"].clone();
        assert_eq!((&body["code"], &body["reason"]), (&json!(503), &json!("stopping")), "{body}");
    }
    alice.refused("read", "hyperty://new.example/x", 503, "stopping");
    alice.refused("read", REMOTE, 503, "stopping");
    let update = carol.read().unwrap();
    assert_eq!((&update["from"], &update["body"]["value"]), (&json!(url), &json!("disconnected")));
    let status = daemon.ended();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(files(daemon.root()), ["run/lock", "state/registry.db", "state/runtime.json"]);
}

#[test]
fn fault_057_an_operator_who_goes_in_the_middle_stops_no_deploy_and_leaves_nothing() {
    let domain = Domain::start(NAME);
    let slow = peers::catalogue::Behaviour::Delay(Duration::from_secs(1));
    domain.answer(peers::catalogue::Response::json(&descriptor(ECHO_STUB)).sent(slow));
    let daemon = Daemon::start(&domain.config());
    let before = Ledger::at_rest(&daemon);
    let mut ctl = std::process::Command::new(program("runtimectl"));
    ctl.arg("--root").arg(daemon.root()).args(["deploy", NAME, "--wait"]);
    let mut leaver = ctl.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_events(&daemon, "deploy-started", NAME, 1);
    leaver.kill().unwrap();
    leaver.wait().unwrap();
    daemon.wait_state(NAME, "active");
    // Followers that go are forgotten, too: more of them than there are places.
    for turn in 0..200 {
        let commands = [Command::Events { follow: true }, Command::Monitor { bodies: false }];
        let [events, monitor] = commands;
        drop(Operator::ask(&daemon, if turn % 2 == 0 { events } else { monitor }));
    }
    wait_for("there is a place again", || {
        daemon.ctl(&["undeploy", NAME]).status.success().then_some(())
    });
    wait_for("it is gone", || daemon.row(NAME).is_none().then_some(()));
    before.and_the_net_role(&daemon).wait_restored(&daemon);
    settled(&daemon);
}

#[test]
fn fault_058_an_operator_who_does_not_read_is_cut_off_and_others_are_answered_meanwhile() {
    let daemon = Daemon::start("");
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let begun = Instant::now();
    let mut deaf = Operator::ask(&daemon, Command::Monitor { bodies: true });
    let text = "x".repeat(20_000);
    wait_for("the deaf operator is cut off", || {
        for _ in 0..20 {
            alice.write(&json!({"type": "update", "to": ALICE, "body": {"text": text}}));
            assert_eq!(alice.read().unwrap()["type"], "update");
        }
        assert_eq!(asked(&daemon, Command::Status).len(), 1);
        deaf.is_cut().then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    settled(&daemon);
}

#[test]
fn fault_058_an_operator_who_takes_no_answer_at_all_does_not_keep_its_place() {
    let daemon = Daemon::start("");
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    // Few rows, too little for the bound on bytes, and too much for a socket.
    let mut deaf = Operator::ask(&daemon, Command::Monitor { bodies: true });
    let text = "x".repeat(50_000);
    for _ in 0..20 {
        alice.write(&json!({"type": "update", "to": ALICE, "body": {"text": text}}));
        assert_eq!(alice.read().unwrap()["type"], "update");
    }
    assert!(!deaf.is_cut());
    wait_for("its time is over", || deaf.is_cut().then_some(()));
    assert!(daemon.log().contains("an operator does not read"), "{}", daemon.log());
}

#[test]
fn fault_060_without_a_service_manager_that_listens_the_daemon_runs_all_the_same() {
    let (_folder, config) = folder(ECHO_STUB);
    let room = tempfile::tempdir().unwrap();
    let abandoned = room.path().join("abandoned");
    drop(UnixDatagram::bind(&abandoned).unwrap());
    let long = format!("/{}", "n".repeat(300));
    let sockets = ["", "no-path", "/nonexistent/notify", "@nobody-is-here", &long];
    for socket in sockets.into_iter().chain(abandoned.to_str()) {
        let mut daemon = Daemon::start_by(&config, |root| {
            let mut command = command(&program("runtimed"), root);
            command.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", "200000");
            command
        });
        let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        let answer = alice.call("read", REMOTE, &json!({}));
        assert_eq!(answer["body"]["code"], 200, "{socket}: {answer}");
        assert_eq!(daemon.stop(Signal::SIGTERM).code(), Some(0), "{socket}");
    }
}

#[test]
fn fault_060_a_wrong_word_of_the_service_manager_does_not_stop_the_start() {
    for (name, value) in [("WATCHDOG_USEC", "soon"), ("WATCHDOG_PID", "1"), ("LISTEN_PID", "1")] {
        let daemon = Daemon::start_by("", |root| {
            let mut command = command(&program("runtimed"), root);
            command.env(name, value);
            command
        });
        let status: Value = daemon.ctl_json(&["status"]);
        assert!(status["runtime"].is_string(), "{name}={value}: {status}");
    }
}
