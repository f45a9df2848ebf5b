//! What the kernel holds a sandbox to, and what is left of it: the ladder that was reached is
//! reported, a stub that grows too large is ended as `oom`, and no cgroup outlives its daemon.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, HOARDING_STUB, config};
use system_tests::chaos::ledger::rooms;
use system_tests::chaos::process::Victim;
use system_tests::chaos::worker::Programs;
use system_tests::facts::exit_reason;
use system_tests::skip::skipped;
use system_tests::{Daemon, lives, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const REMOTE: &str = "hyperty://example.com/bob";

/// Layers that a cgroup makes.
const LIMITS: [&str; 3] = ["cgroup-memory", "cgroup-pids", "cgroup-cpu"];

fn daemon(stub: &str, more: &str) -> (tempfile::TempDir, Daemon) {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(stub);
    let daemon = Daemon::start(&format!("{}{more}", config(&catalogue.url())));
    (folder, daemon)
}

fn strings(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten();
    texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// Layers of the stub's sandbox, once it is known whether a cgroup holds it; the reason if none.
fn settled(daemon: &Daemon) -> (Vec<String>, Option<String>) {
    wait_for("it is known what holds the sandbox", || {
        let row = daemon.row("example.com")?;
        let layers = strings(&row["sandbox"]["layers"]);
        let missing = strings(&daemon.ctl_json(&["inspect", "example.com"])["missing_layers"]);
        let why = missing.into_iter().find(|text| text.starts_with("cgroup: "));
        let held = |layer: &String| LIMITS.contains(&layer.as_str());
        let known = why.is_some() || layers.iter().any(held);
        known.then_some((layers, why))
    })
}

fn pid_of(daemon: &Daemon) -> i32 {
    let row = daemon.wait_state("example.com", "active");
    i32::try_from(row["pid"].as_i64().expect("a pid")).unwrap()
}

/// The directory of the stub's memory cgroup, or `None` and a word why the test cannot run.
fn memory_cgroup(daemon: &Daemon) -> Option<PathBuf> {
    let (layers, why) = settled(daemon);
    if !layers.iter().any(|layer| layer == "cgroup-memory") {
        skipped(&format!("no memory cgroup ({})", why.unwrap_or_default()));
        return None;
    }
    let id = daemon.row("example.com")?["sandbox"]["id"].as_u64()?.to_string();
    let dirs = rooms(daemon).into_iter().map(|room| room.join(&id));
    dirs.into_iter()
        .find(|dir| dir.join("memory.limit_in_bytes").exists() || dir.join("memory.max").exists())
}

#[test]
fn the_rung_that_was_reached_is_reported_and_the_level_agrees_with_it() {
    let (_folder, daemon) = daemon(ECHO_STUB, "");
    assert!(daemon.ctl(&["deploy", "example.com", "--wait"]).status.success());
    let (layers, why) = settled(&daemon);
    let has = |layer: &str| layers.iter().any(|found| found == layer);
    assert!(daemon.log().contains("sandboxes are held by "), "{}", daemon.log());
    let level = daemon.row("example.com").unwrap()["sandbox"]["level"].clone();
    let full = ["own-uid", "landlock", "cgroup-memory", "cgroup-pids"].into_iter().all(has);
    assert_eq!(level, if full { "full" } else { "namespaces" }, "{layers:?} {why:?}");
    let pid = pid_of(&daemon);
    let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let inside = memberships.contains(&format!("/runtimed-{}-", daemon.pid()));
    assert_eq!(inside, why.is_none(), "{memberships}");
    let events = daemon.ctl_json(&["events"]);
    let proved = events.as_array().unwrap().iter().filter(|e| e["event"] == "sandbox-proved");
    let told: Vec<&str> = proved.filter_map(|event| event["detail"].as_str()).collect();
    let words = if why.is_some() { &["no cgroup: "][..] } else { &LIMITS };
    let said = |detail: &&str| words.iter().any(|word| detail.contains(word));
    assert!(told.iter().any(said), "{told:?}");
}

#[test]
fn a_level_that_needs_a_cgroup_waits_for_it_before_any_code_and_is_refused_without() {
    let (_folder, daemon) = daemon(ECHO_STUB, "[sandbox]\nminimum = \"full\"\n");
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let response = alice.call("read", REMOTE, &json!({}));
    if response["body"]["code"] == 200 {
        assert_eq!(daemon.row("example.com").unwrap()["sandbox"]["level"], "full");
    } else {
        assert_eq!(response["body"]["reason"], "sandbox-refused", "{response}");
        let desc = response["body"]["desc"].as_str().unwrap();
        assert!(desc.contains("below the minimum full"), "{desc}");
    }
}

#[test]
fn a_stub_that_outgrows_its_memory_is_ended_as_oom_and_the_daemon_and_others_live_on() {
    let (_folder, daemon) = daemon(HOARDING_STUB, "");
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    assert_eq!(alice.call("read", REMOTE, &json!({"value": 1}))["body"]["code"], 200);
    let pid = pid_of(&daemon);
    let Some(dir) = memory_cgroup(&daemon) else { return };
    // Less than the engine's heap may become: as if the worker itself had grown.
    let file = ["memory.limit_in_bytes", "memory.max"].map(|name| dir.join(name));
    let file = file.iter().find(|file| file.exists()).unwrap();
    wait_for("the kernel takes the smaller bound", || fs::write(file, "16777216").ok());
    let response = alice.call("read", REMOTE, &json!({"value": 40 << 20}));
    assert_eq!(response["body"]["reason"], "stub-died", "{response}");
    let exited = wait_for("its end is known", || {
        let events = daemon.ctl_json(&["events"]);
        let mut exited = events.as_array()?.iter().filter(|event| event["event"] == "exited");
        exited.find(|event| event["name"] == "example.com").cloned()
    });
    assert_eq!(exited["reason"], "oom", "{exited}");
    assert!(exited["detail"].as_str().unwrap().contains("more memory"), "{exited}");
    assert_ne!(pid_of(&daemon), pid);
    assert_eq!(alice.call("read", REMOTE, &json!({"value": 1}))["body"]["code"], 200);
    wait_for("its cgroup is gone", || (!dir.exists()).then_some(()));
    daemon.assert_conserved();
}

#[test]
fn memory_that_the_engine_refuses_is_an_error_in_the_stub_and_ends_nobody() {
    let (_folder, daemon) = daemon(HOARDING_STUB, "[sandbox]\nmemory = \"16MiB\"\n");
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    assert_eq!(alice.call("read", REMOTE, &json!({"value": 1}))["body"]["code"], 200);
    let pid = pid_of(&daemon);
    let id = alice.ask("read", REMOTE, &json!({"value": 64 << 20}));
    let after = alice.call("read", REMOTE, &json!({"value": 1}));
    assert_eq!(after["body"]["code"], 200, "request {id} was thrown away by the stub: {after}");
    assert_eq!(pid_of(&daemon), pid);
}

#[test]
fn no_cgroup_outlives_a_daemon_that_stops_nor_one_that_is_killed() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let (_folder, mut daemon) = daemon(ECHO_STUB, "");
        assert!(daemon.ctl(&["deploy", "example.com", "--wait"]).status.success());
        let (_, why) = settled(&daemon);
        let before = rooms(&daemon);
        assert_eq!(before.is_empty(), why.is_some(), "{before:?} {why:?}");
        let family = daemon.descendants();
        daemon.stop(signal);
        wait_for("no process is left", || (!family.iter().any(|pid| lives(*pid))).then_some(()));
        // The next daemon removes what a killed one could not.
        let _next = Daemon::start("");
        wait_for("no cgroup is left", || before.iter().all(|dir| !dir.exists()).then_some(()));
    }
}

#[test]
fn fault_010_a_worker_that_takes_memory_without_end_is_ended_as_oom_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let programs = Programs::obedient();
    let daemon = Daemon::start_from(programs.folder(), &config(&catalogue.url()));
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    assert_eq!(alice.call("read", REMOTE, &json!({}))["body"]["code"], 200);
    if memory_cgroup(&daemon).is_none() {
        return;
    }
    let (daemon_pid, victim) = (daemon.pid(), Victim::of(&daemon, "example.com"));
    let id = alice.ask("read", REMOTE, &json!({"hold": true, "fault": "memory"}));
    victim.wait_gone();
    assert_eq!(alice.response(id)["body"]["reason"], "stub-died");
    exit_reason(&daemon, "example.com", "oom");
    assert_eq!(alice.call("read", REMOTE, &json!({}))["body"]["code"], 200);
    assert_eq!(daemon.ctl_json(&["status"])["pid"], daemon_pid);
    daemon.assert_conserved();
}

#[test]
fn a_spawner_that_dies_again_and_again_is_started_later_each_time_and_workers_wait_for_it() {
    let (_folder, daemon) = daemon(ECHO_STUB, "");
    assert!(daemon.ctl(&["deploy", "example.com", "--wait"]).status.success());
    let mut took = Vec::new();
    for _ in 0..3 {
        let stub = Victim::of(&daemon, "example.com");
        let victim = Victim::role(&daemon, "spawner");
        assert!(victim.kill());
        let begun = Instant::now();
        assert!(daemon.ctl(&["restart", "example.com"]).status.success());
        let next = Victim::next_of(&daemon, "example.com", stub.pid);
        daemon.wait_state("example.com", "active");
        took.push(begun.elapsed());
        assert!(lives(next.pid));
    }
    // It rests for nothing, 200 ms, 800 ms.
    assert!(took[1] >= Duration::from_millis(150), "{took:?}");
    assert!(took[2] >= Duration::from_millis(600), "{took:?}");
    assert_eq!(daemon.log().matches("the spawner was started again").count(), 3);
    let row = daemon.row("example.com").unwrap();
    assert_eq!(row["restarts"], 3, "no start failed: {row}");
}
