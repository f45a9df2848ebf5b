//! Faults of a stub on its way to life: killed at each stage of its deploy, or speaking a version
//! that nobody speaks.

use serde_json::{Value, json};
use system_tests::Daemon;
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config};
use system_tests::chaos::ledger::Ledger;
use system_tests::chaos::process::Victim;
use system_tests::chaos::worker::{ALWAYS, Programs};
use system_tests::facts::{events, is_owned, settled, wait_events};

const ALICE: &str = "hyperty://localhost/alice";
const REMOTE: &str = "hyperty://example.com/bob";
const NAME: &str = "example.com";

/// A daemon whose stubs stand still at this stage, until they are killed from outside.
fn stalling(stage: &str, times: u32) -> (tempfile::TempDir, Programs, Daemon) {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let programs = Programs::faulty(stage, "stall", times);
    let daemon = Daemon::start_from(programs.folder(), &config(&catalogue.url()));
    (folder, programs, daemon)
}

/// Kills so many processes of the component, each as soon as it is faulty.
fn kill_each(daemon: &Daemon, programs: &Programs, times: usize) {
    let mut before = 0;
    for turn in 1..=times {
        let victim = Victim::next_of(daemon, NAME, before);
        system_tests::wait_for("it reached the stage", || (programs.turns() >= turn).then_some(()));
        assert!(victim.kill());
        before = victim.pid;
        victim.wait_gone();
    }
}

/// Asserts that the request has exactly one answer, and what it is.
fn refused_once(alice: &mut App, id: u64, code: u16, reason: &str, stage: &str) -> Value {
    let response = alice.response(id);
    let body = &response["body"];
    assert_eq!(
        (&body["code"], &body["reason"], &body["stage"]),
        (&json!(code), &json!(reason), &json!(stage)),
        "{response}"
    );
    alice.ask("update", ALICE, &json!({"mark": id}));
    assert_eq!(alice.read().unwrap()["body"]["mark"], id, "one answer and no more");
    body.clone()
}

/// A worker that dies before it has read code is replaced up to three times, then the deploy fails.
fn dies_before_code(stage: &str) {
    let (_folder, programs, daemon) = stalling(stage, ALWAYS);
    let before = Ledger::at_rest(&daemon);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let id = alice.ask("read", REMOTE, &json!({}));
    kill_each(&daemon, &programs, 4);
    let body = refused_once(&mut alice, id, 503, "sandbox-unavailable", "sandbox");
    assert!(body["retryAfter"].as_u64() > Some(0), "{body}");
    let exits = events(&daemon, "exited", NAME);
    assert_eq!(exits.len(), 4, "the first and three more: {exits:#?}");
    assert!(exits.iter().all(|exit| exit["reason"] == "crash"), "{exits:#?}");
    let row = daemon.row(NAME).unwrap();
    assert_eq!((&row["state"], &row["pid"]), (&json!("failed"), &Value::Null), "{row}");
    assert!(!is_owned(&daemon, row["url"].as_str().unwrap()), "its address is released");
    drop(alice);
    before.wait_restored(&daemon);
    settled(&daemon);
}

#[test]
fn fault_001_a_stub_killed_before_hello_is_replaced_and_then_the_deploy_fails() {
    dies_before_code("born");
}

#[test]
fn fault_001_a_stub_killed_twice_before_hello_answers_all_the_same() {
    let (_folder, programs, daemon) = stalling("confined", 2);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let id = alice.ask("read", REMOTE, &json!({}));
    kill_each(&daemon, &programs, 2);
    let response = alice.response(id);
    assert_eq!(response["body"]["code"], 200, "{response}");
    assert_eq!(daemon.row(NAME).unwrap()["restarts"], 0, "it never lived before");
    settled(&daemon);
}

#[test]
fn fault_001_a_stub_that_dies_while_it_is_checked_from_outside_is_replaced_not_refused() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    for fault in ["abort", "exit"] {
        let programs = Programs::faulty("confined", fault, 3);
        let daemon = Daemon::start_from(programs.folder(), &config(&catalogue.url()));
        let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        let response = alice.call("read", REMOTE, &json!({}));
        assert_eq!(response["body"]["code"], 200, "{fault}: {response}");
        assert!(events(&daemon, "sandbox-refused", NAME).is_empty());
        settled(&daemon);
    }
}

#[test]
fn fault_002_a_stub_killed_after_hello_and_before_code_is_replaced_and_then_the_deploy_fails() {
    // The catalogue keeps the code back, so that the sandbox is ready and waits.
    let domain = system_tests::domain::Domain::start(NAME);
    let slow = peers::catalogue::Behaviour::Delay(std::time::Duration::from_secs(2));
    domain.answer(
        peers::catalogue::Response::json(&system_tests::catalogue::descriptor(ECHO_STUB))
            .sent(slow),
    );
    let daemon = Daemon::start(&domain.config());
    let before = Ledger::at_rest(&daemon);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let id = alice.ask("read", REMOTE, &json!({}));
    let mut pid = 0;
    for _ in 0..4 {
        let victim = Victim::next_of(&daemon, NAME, pid);
        let sandbox = daemon.row(NAME).unwrap()["sandbox"]["id"].clone();
        system_tests::wait_for("its sandbox is proved", || {
            let proved = events(&daemon, "sandbox-proved", NAME);
            proved.iter().any(|event| event["sandbox"] == sandbox).then_some(())
        });
        assert!(victim.kill());
        pid = victim.pid;
        victim.wait_gone();
    }
    refused_once(&mut alice, id, 503, "sandbox-unavailable", "sandbox");
    assert!(!is_owned(&daemon, daemon.row(NAME).unwrap()["url"].as_str().unwrap()));
    drop(alice);
    // The net role was started for the catalogue.
    before.and_the_net_role(&daemon).wait_restored(&daemon);
    settled(&daemon);
}

/// Once code was handed over, the death is the stub's own: no second try, and nothing left.
fn dies_with_code(stage: &str, reason: &str, told: &str) {
    let (_folder, programs, daemon) = stalling(stage, ALWAYS);
    let before = Ledger::at_rest(&daemon);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let id = alice.ask("read", REMOTE, &json!({}));
    wait_events(&daemon, "deploy-stage", NAME, 6);
    kill_each(&daemon, &programs, 1);
    refused_once(&mut alice, id, 502, reason, told);
    let row = daemon.row(NAME).unwrap();
    assert_eq!(row["state"], "failed", "{row}");
    assert!(!is_owned(&daemon, row["url"].as_str().unwrap()));
    assert_eq!(events(&daemon, "exited", NAME).len(), 1, "no second try");
    drop(alice);
    before.wait_restored(&daemon);
    settled(&daemon);
}

#[test]
fn fault_003_a_stub_killed_while_its_code_loads_fails_the_deploy_and_leaves_no_memfd() {
    dies_with_code("assigned", "load", "load");
}

#[test]
fn fault_004_a_stub_killed_between_its_registration_and_its_listener_leaves_neither() {
    dies_with_code("loaded", "activation", "activate");
}

#[test]
fn fault_019_a_worker_of_another_version_is_refused_with_both_versions_and_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let programs = Programs::faulty("confined", "version", ALWAYS);
    let daemon = Daemon::start_from(programs.folder(), &config(&catalogue.url()));
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let id = alice.ask("read", REMOTE, &json!({}));
    let body = refused_once(&mut alice, id, 503, "sandbox-unavailable", "sandbox");
    let desc = body["desc"].as_str().unwrap();
    assert!(desc.contains("versions 9 to 9, not 1"), "{desc}");
    let exits = wait_events(&daemon, "exited", NAME, 1);
    assert_eq!(exits.len(), 1, "no second try: {exits:#?}");
    assert_eq!(exits[0]["reason"], "incompatible", "{exits:#?}");
    settled(&daemon);
}

/// Role, stage and fault; and what the deploy comes to.
type Case = (&'static str, &'static str, &'static str, u16, &'static str, &'static str);

/// All deploys of a case go wrong at that stage: whoever waits has one answer, which names it, and
/// nothing is left.
fn goes_wrong((role, at, fault, code, reason, told): Case) {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let programs = Programs::faulty_as(role, at, fault);
    // Four workers one after the other have less than the time of a deploy.
    let daemon = Daemon::start_from(
        programs.folder(),
        &(config(&catalogue.url()) + "[sandbox]\nstart_timeout = \"2s\"\n"),
    );
    let before = Ledger::at_rest(&daemon);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let id = alice.ask("read", REMOTE, &json!({}));
    let body = refused_once(&mut alice, id, code, reason, told);
    assert!(body["desc"].as_str().is_some_and(|desc| desc.len() > 10), "{body}");
    let failed = events(&daemon, "deploy-failed", NAME);
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0]["reason"], reason, "{failed:#?}");
    let row = daemon.row(NAME).unwrap();
    assert_eq!((&row["state"], &row["pid"]), (&json!("failed"), &Value::Null), "{row}");
    assert!(!is_owned(&daemon, row["url"].as_str().unwrap()), "its address is released");
    drop(alice);
    before.wait_restored(&daemon);
    settled(&daemon);
}

/// All at the same time: most of it is waiting.
fn all_go_wrong(cases: &[Case]) {
    let started: Vec<_> = cases
        .iter()
        .map(|case| {
            let case = *case;
            let name = format!("{} {} {}", case.0, case.1, case.2);
            std::thread::Builder::new().name(name).spawn(move || goes_wrong(case)).unwrap()
        })
        .collect();
    let ended = started.into_iter().zip(cases).map(|(case, what)| (what, case.join().is_ok()));
    let wrong: Vec<_> = ended.filter(|(_, held)| !held).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_deploy_that_stalls_at_any_stage_is_answered_once_with_that_stage_and_leaves_nothing() {
    all_go_wrong(&[
        ("fetch", "born", "stall", 503, "sandbox-unavailable", "sandbox"),
        ("fetch", "asked", "stall", 503, "catalogue-slow", "descriptor"),
        ("fetch", "described", "stall", 503, "catalogue-slow", "source"),
        ("stub", "born", "stall", 503, "sandbox-unavailable", "sandbox"),
        ("stub", "confined", "stall", 503, "sandbox-unavailable", "sandbox"),
        ("stub", "assigned", "stall", 502, "load", "load"),
        ("stub", "loaded", "stall", 502, "activation", "activate"),
    ]);
}

#[test]
fn a_deploy_that_fails_at_any_stage_is_answered_once_with_that_stage_and_leaves_nothing() {
    all_go_wrong(&[
        ("fetch", "born", "fail", 503, "sandbox-unavailable", "sandbox"),
        ("fetch", "asked", "refuse", 503, "catalogue-down", "descriptor"),
        ("fetch", "asked", "abort", 503, "sandbox-unavailable", "descriptor"),
        ("fetch", "described", "refuse", 502, "decoding", "source"),
        ("fetch", "described", "abort", 503, "sandbox-unavailable", "source"),
        ("stub", "born", "fail", 503, "sandbox-unavailable", "sandbox"),
        ("stub", "confined", "fail", 503, "sandbox-unavailable", "sandbox"),
        ("stub", "assigned", "refuse", 502, "load", "load"),
        ("stub", "loaded", "refuse", 502, "activation", "activate"),
    ]);
}
