//! A message to an unknown domain finds, jails and runs that domain's stub, and gets its answer.

use serde_json::{Value, json};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config};
use system_tests::{Daemon, lives, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const REMOTE: &str = "hyperty://example.com/bob";

fn echo_daemon() -> (tempfile::TempDir, Daemon) {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let daemon = Daemon::start(&config(&catalogue.url()));
    (folder, daemon)
}

fn event_names(daemon: &Daemon) -> Vec<String> {
    let events = daemon.ctl_json(&["events"]);
    events.as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_unknown_domain_is_deployed_by_the_first_message_and_answers() {
    let (_folder, daemon) = echo_daemon();
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let response = alice.call("read", REMOTE, &json!({"question": 1}));
    assert_eq!(response["from"], REMOTE, "{response}");
    assert_eq!(response["body"]["code"], 200, "{response}");
    assert_eq!(response["body"]["value"]["echo"]["question"], 1);
    let row = daemon.row("example.com").expect("a row");
    assert_eq!(row["url"], response["body"]["value"]["by"]);
    assert_eq!(
        (&row["state"], &row["kind"], &row["engine"]),
        (&json!("active"), &json!("protostub"), &json!("js"))
    );
    assert_eq!(row["restarts"], 0);
    assert!(row["code"]["digest"].as_str().unwrap().starts_with("sha256"), "{row}");
    assert!(matches!(row["sandbox"]["level"].as_str(), Some("namespaces" | "full")), "{row}");
    wait_for("the status is live", || {
        (daemon.row("example.com")?["status"] == "live").then_some(())
    });
    let names = event_names(&daemon);
    for event in ["app-joined", "deploy-started", "deploy-stage", "sandbox-proved", "stub-status"] {
        assert!(names.iter().any(|name| name == event), "{event} is not in {names:?}");
    }
    let inspect = daemon.ctl_json(&["inspect", "example.com"]);
    assert!(!inspect["proof"].as_array().unwrap().is_empty(), "{inspect}");
    assert!(!inspect["stages"].as_array().unwrap().is_empty(), "{inspect}");
    assert!(inspect["attacks"]["made"].as_u64().unwrap() >= 60, "{inspect}");
    assert_eq!(inspect["attacks"]["made"], inspect["attacks"]["refused"], "{inspect}");
    daemon.assert_conserved();
}

#[test]
fn sandbox_prints_layers_and_proof() {
    let (_folder, daemon) = echo_daemon();
    assert!(daemon.ctl(&["deploy", "example.com", "--wait"]).status.success());
    let id = daemon.row("example.com").unwrap()["sandbox"]["id"].to_string();
    for name in [id.as_str(), "example.com"] {
        let sandbox = daemon.ctl_json(&["sandbox", name]);
        assert_eq!((&sandbox["role"], &sandbox["usable"]), (&json!("stub"), &json!(true)));
        let layers = sandbox["layers"].as_array().unwrap();
        let seen = sandbox["proof"].as_array().unwrap();
        for layer in ["seccomp", "caps", "no-new-privs", "session"] {
            assert!(layers.contains(&json!(layer)), "{layer} in {sandbox}");
            assert!(seen.contains(&json!(layer)), "{layer} from outside in {sandbox}");
        }
        let attacks = &sandbox["attacks"];
        assert!(attacks["made"].as_u64().unwrap() >= 60, "{sandbox}");
        assert_eq!((&attacks["made"], &attacks["got_through"]), (&attacks["refused"], &json!([])));
    }
    let shown = daemon.ctl(&["sandbox", &id]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("attacks on itself refused"), "{shown}");
    assert_eq!(daemon.ctl(&["sandbox", "4711"]).status.code(), Some(4));
    let events = daemon.ctl_json(&["events"]);
    let proved = |event: &Value| {
        let detail = event["detail"].as_str().unwrap();
        event["event"] == "sandbox-proved" && detail.contains(" attacks refused in ")
    };
    assert!(events.as_array().unwrap().iter().any(proved), "{events}");
}

#[test]
fn many_messages_cause_one_deploy_and_come_out_in_order() {
    let (_folder, daemon) = echo_daemon();
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    for number in 0..100 {
        alice.ask("read", REMOTE, &json!({"number": number}));
    }
    for number in 0..100 {
        let response = alice.read().unwrap();
        assert_eq!(response["body"]["value"]["echo"]["number"], number, "{response}");
    }
    let started = event_names(&daemon).iter().filter(|name| *name == "deploy-started").count();
    assert_eq!(started, 1);
}

#[test]
fn a_killed_stub_comes_back_and_answers_the_same() {
    let (_folder, daemon) = echo_daemon();
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let before = alice.call("read", REMOTE, &json!({}));
    let pid = daemon.row("example.com").unwrap()["pid"].as_i64().unwrap();
    assert!(daemon.ctl(&["kill", "example.com"]).status.success());
    wait_for("the process is gone", || (!lives(i32::try_from(pid).unwrap())).then_some(()));
    let after = wait_for("the answer comes again", || {
        let response = alice.call("read", REMOTE, &json!({}));
        (response["body"]["code"] == 200).then_some(response)
    });
    assert_eq!(before["body"], after["body"], "the same stub at the same address");
    let row = daemon.wait_state("example.com", "active");
    assert_eq!(row["restarts"], 1);
    assert_ne!(row["pid"].as_i64(), Some(pid));
    daemon.assert_conserved();
}

#[test]
fn every_request_has_one_answer_while_the_stub_is_killed_under_traffic() {
    let (_folder, daemon) = echo_daemon();
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    assert_eq!(alice.call("read", REMOTE, &json!({}))["body"]["code"], 200);
    for _ in 0..4 {
        // No more than one sender may have parked, in case the stub dies before it took any.
        let ids: Vec<u64> = (0..128).map(|n| alice.ask("read", REMOTE, &json!({"n": n}))).collect();
        let pid = daemon.row("example.com").unwrap()["pid"].clone();
        assert!(daemon.ctl(&["kill", "example.com"]).status.success());
        let mut open: std::collections::BTreeSet<u64> = ids.into_iter().collect();
        while !open.is_empty() {
            let response = alice.read().unwrap();
            assert!(open.remove(&response["id"].as_u64().unwrap()), "answered twice: {response}");
            let code = response["body"]["code"].as_u64().unwrap();
            assert!(code == 200 || response["body"]["reason"] == "stub-died", "{response}");
        }
        wait_for("another process is active", || {
            let row = daemon.row("example.com")?;
            (row["state"] == "active" && row["pid"] != pid).then_some(())
        });
    }
    // The worker acknowledges its last messages a moment after their answers.
    wait_for("nothing is queued", || (daemon.assert_conserved()["queued"] == 0).then_some(()));
}

#[test]
fn resolve_explains_before_and_after() {
    let (_folder, daemon) = echo_daemon();
    let before = daemon.ctl_json(&["resolve", REMOTE]);
    assert_eq!(before["decision"], "deploy", "{before}");
    assert!(daemon.ctl(&["deploy", "example.com", "--wait"]).status.success());
    let after = daemon.ctl_json(&["resolve", REMOTE]);
    assert_eq!(after["decision"], "deliver", "{after}");
    assert!(after["steps"].as_array().unwrap().len() > 1);
    let refused = daemon.ctl_json(&["resolve", "hyperty://localhost/nobody"]);
    assert_eq!((&refused["decision"], &refused["code"]), (&json!("refuse"), &json!(404)));
}

#[test]
fn undeploy_leaves_no_process_and_no_row() {
    let (_folder, daemon) = echo_daemon();
    assert!(daemon.ctl(&["deploy", "example.com", "--wait=live"]).status.success());
    let pid = i32::try_from(daemon.row("example.com").unwrap()["pid"].as_i64().unwrap()).unwrap();
    assert!(daemon.ctl(&["undeploy", "example.com"]).status.success());
    // The answer comes when it is done.
    assert!(!lives(pid));
    assert_eq!(daemon.row("example.com"), None);
    assert_eq!(daemon.ctl(&["inspect", "example.org"]).status.code(), Some(4));
}

#[test]
fn call_speaks_for_the_operator() {
    let (_folder, daemon) = echo_daemon();
    let document = daemon.ctl_json(&["call", REMOTE, r#"{"x":1}"#]);
    assert_eq!(
        (&document["code"], &document["body"]["value"]["echo"]["x"]),
        (&json!(200), &json!(1))
    );
    let output = daemon.ctl(&["call", "hyperty://localhost/nobody"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
}

#[test]
fn stopping_leaves_nothing_behind() {
    let (_folder, mut daemon) = echo_daemon();
    assert!(daemon.ctl(&["deploy", "example.com", "--wait"]).status.success());
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    assert_eq!(alice.call("read", REMOTE, &json!({}))["body"]["code"], 200);
    let descendants = daemon.descendants();
    assert!(descendants.len() >= 2, "a spawner and a stub: {descendants:?}");
    let status = daemon.stop(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    wait_for("no process is left", || descendants.iter().all(|pid| !lives(*pid)).then_some(()));
    let left: Vec<String> = std::fs::read_dir(daemon.root().join("run"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name != "lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn no_orphan_survives_a_daemon_that_is_killed() {
    let (_folder, mut daemon) = echo_daemon();
    assert!(daemon.ctl(&["deploy", "example.com", "--wait"]).status.success());
    let descendants = daemon.descendants();
    daemon.stop(nix::sys::signal::Signal::SIGKILL);
    wait_for("no process is left", || descendants.iter().all(|pid| !lives(*pid)).then_some(()));
}

#[test]
fn a_foreign_response_or_a_claim_of_a_local_address_by_the_stub_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(&ECHO_STUB.replace(
        "if (message.type === 'response') return;",
        "if (message.type === 'response') return;
         bus.postMessage({ type: 'update', from: 'hyperty://localhost/carol', to: message.from, body: { forged: 1 } });
         bus.postMessage({ type: 'update', from: 'hyperty://other.example/carol', to: message.from, body: { forged: 2 } });
         bus.postMessage({ id: 99, type: 'response', from: message.to, to: message.from, body: { code: 200, forged: 3 } });
         bus.postMessage({ type: 'read', from: message.to, to: 'hyperty://third.example/x', body: {} });",
    ));
    let daemon = Daemon::start(&config(&catalogue.url()));
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let _carol = App::connect(&daemon.bus(), "carol", &["hyperty://localhost/carol"]);
    alice.ask("read", REMOTE, &json!({}));
    let first: Value = alice.read().unwrap();
    assert_eq!(
        (&first["type"], &first["body"]["code"]),
        (&json!("response"), &json!(200)),
        "{first}"
    );
    assert!(first["body"].get("forged").is_none(), "{first}");
    wait_for("the refusals are events", || {
        event_names(&daemon).contains(&"refused".to_owned()).then_some(())
    });
    assert!(daemon.row("third.example").is_none(), "a bridge never causes a deploy");
    daemon.assert_conserved();
}
