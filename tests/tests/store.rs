//! What the daemon keeps: over kills, over damaged files, over a clean end.

use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config};
use system_tests::{Daemon, wait_for};

const ALICE: &str = "hyperty://localhost/alice";

fn runtime(daemon: &Daemon) -> String {
    daemon.ctl_json(&["status"])["runtime"].as_str().unwrap().to_owned()
}

fn store(daemon: &Daemon) -> String {
    daemon.ctl_json(&["status"])["store"]["state"].as_str().unwrap().to_owned()
}

#[test]
fn fault_022_store_a_killed_daemon_comes_back_as_the_same_runtime_with_the_addresses_it_gave() {
    let mut daemon = Daemon::start("");
    let first = runtime(&daemon);
    let mut bob = App::connect(&daemon.bus(), "bob", &[]);
    for round in 0..3 {
        let name = format!("hyperty://localhost/alice-{round}");
        bob.refused("read", &name, 404, "unknown-address");
        let alice = App::connect(&daemon.bus(), "alice", &[ALICE, &name]);
        wait_for("the claim is in the log", || {
            let log = fs::read(daemon.root().join("state/registry.db-wal")).ok()?;
            log.windows(name.len()).any(|part| part == name.as_bytes()).then_some(())
        });
        assert_eq!(store(&daemon), "ok");
        drop(bob);
        daemon.restart(Signal::SIGKILL);
        drop(alice);
        assert_eq!(runtime(&daemon), first);
        assert_eq!(store(&daemon), "ok");
        bob = App::connect(&daemon.bus(), "bob", &[]);
        bob.refused("read", ALICE, 503, "receiver-gone");
    }
}

#[test]
fn fault_022_store_a_stub_has_its_address_after_a_kill_and_the_next_message_starts_it() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let mut daemon = Daemon::start(&config(&catalogue.url()));
    let mut url = None;
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL] {
        let mut alice =
            App::connect(&daemon.bus(), "alice", &[ALICE.replace("alice", "a").as_str()]);
        let answer = alice.call("read", "hyperty://example.com/bob", &json!({}));
        assert_eq!(answer["body"]["code"], 200, "{answer}");
        let row = daemon.row("example.com").unwrap();
        assert_eq!(*url.get_or_insert(row["url"].clone()), row["url"]);
        let text = row["url"].as_str().unwrap().to_owned();
        wait_for("the stub is in the log or the file", || {
            let has = |file: &str| {
                let bytes = fs::read(daemon.root().join(file)).unwrap_or_default();
                bytes.windows(text.len()).any(|part| part == text.as_bytes())
            };
            (has("state/registry.db-wal") || has("state/registry.db")).then_some(())
        });
        daemon.restart(signal);
        let row = daemon.row("example.com").unwrap();
        assert_eq!((&row["state"], &row["url"]), (&json!("dormant"), url.as_ref().unwrap()));
        assert_eq!(row["pid"], json!(null));
    }
}

#[test]
fn a_clean_end_leaves_one_whole_file_and_every_address() {
    let mut daemon = Daemon::start("");
    let alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    drop(alice);
    daemon.restart(Signal::SIGTERM);
    let mut bob = App::connect(&daemon.bus(), "bob", &[]);
    bob.refused("read", ALICE, 503, "receiver-gone");
    drop(bob);
    assert!(daemon.stop(Signal::SIGTERM).success());
    let state = daemon.root().join("state");
    let mut left: Vec<_> = fs::read_dir(&state).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["registry.db", "runtime.json"]);
}

#[test]
fn a_damaged_file_is_left_alone_and_the_daemon_serves_without_it() {
    let mut daemon = Daemon::start("");
    let first = runtime(&daemon);
    daemon.stop(Signal::SIGTERM);
    let path = daemon.root().join("state/registry.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&path, &bytes).unwrap();
    daemon.start_again();
    let status = daemon.ctl_json(&["status"]);
    assert_eq!(status["runtime"], json!(first));
    assert_eq!(status["store"]["state"], "degraded");
    assert!(
        status["store"]["detail"].as_str().unwrap().contains("registry.db is damaged"),
        "{status}"
    );
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    alice.refused("read", "hyperty://localhost/nobody", 404, "unknown-address");
    daemon.stop(Signal::SIGTERM);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    // The file is moved away, as the sentence says: the same runtime, and a store that works.
    fs::rename(&path, daemon.root().join("state/old.db")).unwrap();
    daemon.start_again();
    assert_eq!((runtime(&daemon), store(&daemon)), (first.clone(), "ok".to_owned()));
    // And the other way round: the store knows who the runtime is.
    daemon.stop(Signal::SIGKILL);
    fs::remove_file(daemon.root().join("state/runtime.json")).unwrap();
    daemon.start_again();
    assert_eq!(runtime(&daemon), first);
}
