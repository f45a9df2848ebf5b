//! Faults of a stub that lives and does not serve: stopped, spinning, slow.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder};
use system_tests::chaos::process::Victim;
use system_tests::chaos::worker::Programs;
use system_tests::facts::{events, exit_reason, settled};
use system_tests::{Daemon, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const BOB: &str = "hyperty://localhost/bob";
const REMOTE: &str = "hyperty://example.com/bob";
const OTHER: &str = "hyperty://other.example/bob";
const NAME: &str = "example.com";

/// A catalogue with this stub for both domains, and a configuration with this heartbeat.
fn world(stub: &str, heartbeat: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(stub);
    let mut config = format!("[supervision]\nheartbeat = \"{heartbeat}\"\n");
    for domain in [NAME, "other.example"] {
        writeln!(config, "[domain.\"{domain}\"]\ncatalogue = \"{}\"", catalogue.url()).unwrap();
    }
    (folder, config)
}

fn asked(app: &mut App, to: &str) -> Value {
    let response = app.call("read", to, &json!({}));
    assert_eq!(response["body"]["code"], 200, "{response}");
    response
}

fn log_has(daemon: &Daemon, line: &str) -> Option<()> {
    let logs = daemon.ctl(&["logs", NAME]);
    String::from_utf8(logs.stdout).unwrap().contains(line).then_some(())
}

#[test]
fn fault_011_a_stopped_stub_misses_two_heartbeats_and_is_killed_as_hung() {
    let (_folder, config) = world(ECHO_STUB, "500ms");
    let daemon = Daemon::start(&config);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    asked(&mut alice, REMOTE);
    let victim = Victim::of(&daemon, NAME);
    let begun = Instant::now();
    assert!(victim.stop());
    let id = alice.ask("read", REMOTE, &json!({}));
    victim.wait_gone();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    exit_reason(&daemon, NAME, "hang");
    assert_eq!(alice.response(id)["body"]["reason"], "stub-died");
    asked(&mut alice, REMOTE);
    assert_eq!(daemon.row(NAME).unwrap()["restarts"], 1);
    settled(&daemon);
}

#[test]
fn fault_012_a_stub_stopped_for_less_than_two_heartbeats_goes_on_and_the_lag_is_on_record() {
    let (_folder, config) = world(ECHO_STUB, "2s");
    let daemon = Daemon::start(&config);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    asked(&mut alice, REMOTE);
    let victim = Victim::of(&daemon, NAME);
    assert!(victim.stop());
    let id = alice.ask("read", REMOTE, &json!({}));
    wait_for("one heartbeat is missed", || {
        log_has(&daemon, "a heartbeat was not answered in time")
    });
    assert!(victim.go_on());
    assert_eq!(alice.response(id)["body"]["code"], 200, "nothing was lost");
    wait_for("it is heard again", || log_has(&daemon, "heartbeats are answered again"));
    let row = daemon.row(NAME).unwrap();
    assert_eq!((&row["pid"], &row["restarts"]), (&json!(victim.pid), &json!(0)));
    assert!(events(&daemon, "exited", NAME).is_empty());
    settled(&daemon);
}

#[test]
fn fault_013_a_handler_that_never_ends_costs_its_request_the_deadline_and_not_the_stub() {
    let spin = ECHO_STUB.replace(
        "if (message.type === 'response') return;",
        "if (message.type === 'response') return;
         if (message.body && message.body.spin) for (;;) {}",
    );
    let (_folder, config) = world(&spin, "5s");
    let daemon = Daemon::start(&config);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    asked(&mut alice, REMOTE);
    let pid = Victim::of(&daemon, NAME).pid;
    let spin =
        json!({"id": "spin", "type": "read", "to": REMOTE, "timeout": 500, "body": {"spin": true}});
    alice.write(&spin);
    let response = alice.read().unwrap();
    assert_eq!((&response["id"], &response["body"]["code"]), (&json!("spin"), &json!(408)));
    // The turn is bounded: the engine takes the handler's turn away and serves the next message.
    asked(&mut alice, REMOTE);
    assert_eq!(daemon.row(NAME).unwrap()["pid"], pid, "the same stub");
    settled(&daemon);
}

#[test]
fn fault_013_an_engine_that_cannot_be_interrupted_is_killed_as_hung() {
    let (_folder, config) = world(ECHO_STUB, "500ms");
    let programs = Programs::obedient();
    let daemon = Daemon::start_from(programs.folder(), &config);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    asked(&mut alice, REMOTE);
    let spin = json!({"id": "spin", "type": "read", "to": REMOTE, "timeout": 300,
        "body": {"hold": true, "fault": "spin"}});
    alice.write(&spin);
    let response = alice.read().unwrap();
    assert_eq!((&response["id"], &response["body"]["code"]), (&json!("spin"), &json!(408)));
    exit_reason(&daemon, NAME, "hang");
    asked(&mut alice, REMOTE);
    settled(&daemon);
}

#[test]
fn fault_020_a_stub_that_does_not_take_its_messages_costs_its_senders_an_answer_and_others_nothing()
{
    let (_folder, config) = world(ECHO_STUB, "20s");
    let programs = Programs::obedient();
    let daemon = Daemon::start_from(programs.folder(), &config);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let mut bob = App::connect(&daemon.bus(), "bob", &[BOB]);
    asked(&mut alice, REMOTE);
    asked(&mut bob, OTHER);
    let calm = slowest(&mut bob);
    let victim = Victim::of(&daemon, NAME);
    assert!(victim.stop());
    // One sender may have half of what fits; past that it is told at once.
    let fits = 1_024;
    for n in 0..fits + 200 {
        alice.ask("read", REMOTE, &json!({"n": n}));
    }
    let begun = Instant::now();
    for _ in 0..200 {
        let response = alice.read().unwrap();
        assert_eq!(response["body"]["reason"], "slow-consumer", "{response}");
        assert_eq!(response["body"]["code"], 503);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "at once: {:?}", begun.elapsed());
    let crowded = slowest(&mut bob);
    let bound = calm * 10 + Duration::from_millis(250);
    assert!(crowded < bound, "others wait {crowded:?}, before {calm:?}");
    assert!(victim.go_on());
    for _ in 0..fits {
        let response = alice.read().unwrap();
        assert_eq!(response["body"]["code"], 200, "what was accepted is answered: {response}");
    }
    let messages = settled(&daemon);
    assert!(messages["refused"].as_u64() >= Some(200), "{messages}");
    let told = events(&daemon, "refused", "app/alice");
    assert!(told.iter().any(|event| event["reason"] == "slow-consumer"), "{told:#?}");
}

/// The slowest of many round trips to the other stub.
fn slowest(app: &mut App) -> Duration {
    let trips = (0..200).map(|_| {
        let begun = Instant::now();
        asked(app, OTHER);
        begun.elapsed()
    });
    trips.max().unwrap()
}
