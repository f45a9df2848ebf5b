//! The deploy seeds with real processes: the order of the steps, the addresses that are allocated,
//! and their one message, letter by letter.

use serde_json::{Value, json};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config};
use system_tests::{Daemon, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const SIP_BOB: &str = "sip://bob@example.com";

/// Says what the seeds print when it is asked, and is silent before.
const SEED_STUB: &str = r#"
export default function activate(url, bus, config) {
  bus.addListener('*', function (message) {
    bus.postMessage({
      "id" : "1",
      "type" : "UPDATE",
      "from" : url,
      "to" : url + "/status",

      "body" : { "value" : "LIVE" }
    });
    bus.postMessage({ id: message.id, type: 'response', from: message.to, to: message.from, body: { code: 200 } });
  });
  return { name: 'SeedStub', instance: {} };
}
"#;

fn world(code: &str) -> (tempfile::TempDir, Daemon, App) {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(code);
    let daemon = Daemon::start(&config(&catalogue.url()));
    let alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    (folder, daemon, alice)
}

#[test]
fn a_stub_is_deployed_in_the_order_of_the_seeds() {
    let (_folder, daemon, _alice) = world(ECHO_STUB);
    assert!(daemon.ctl(&["deploy", "example.com", "--wait=live"]).status.success());
    let events = daemon.ctl_json(&["events"]);
    let of_stub: Vec<(String, String)> = events
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["name"] == "example.com")
        .map(|row| {
            let text = |member: &str| row[member].as_str().unwrap_or_default().to_owned();
            (text("event"), text("detail"))
        })
        .collect();
    let mut last = None;
    for (steps, event, detail) in [
        ("1-3", "deploy-started", ""),
        ("4-5", "deploy-stage", "descriptor: file://"),
        ("6-7", "deploy-stage", "source: sha256:"),
        ("8-11", "deploy-stage", "register: hyperty-runtime://example.com/protostub/"),
        ("16", "deploy-stage", "assign"),
        ("17", "deploy-stage", "load"),
        ("18", "deploy-stage", "activate: EchoStub"),
        ("19", "deploy-stage", "listener"),
        ("21-22", "stub-status", "live"),
    ] {
        let at = of_stub.iter().position(|(e, d)| e == event && d.starts_with(detail));
        // A status may overtake the last stages: it comes by another way.
        let late = event == "stub-status" || at > last;
        assert!(at.is_some() && late, "steps {steps}: {event} {detail} in {of_stub:#?}");
        last = at.max(last);
    }
    // Steps 12-15: the sandbox is proved before code goes into it.
    let place = |event: &str, start: &str| {
        of_stub.iter().position(|(e, d)| e == event && d.starts_with(start))
    };
    assert!(place("sandbox-proved", "") < place("deploy-stage", "assign"), "{of_stub:#?}");
}

#[test]
fn a_sandbox_has_its_address_as_long_as_it_lives() {
    let (_folder, daemon, alice) = world(ECHO_STUB);
    assert!(daemon.ctl(&["deploy", "example.com", "--wait"]).status.success());
    let id = daemon.row("example.com").unwrap()["sandbox"]["id"].clone();
    let runtime = alice.welcome["welcome"]["runtime"].as_str().unwrap();
    let address = format!("{runtime}/sandbox/{id}");
    assert_eq!(daemon.ctl_json(&["resolve", &address])["decision"], "deliver");
    assert!(daemon.ctl(&["undeploy", "example.com"]).status.success());
    wait_for("the address is gone", || {
        (daemon.ctl_json(&["resolve", &address])["decision"] == "refuse").then_some(())
    });
}

#[test]
fn the_status_message_of_the_seeds_is_taken_letter_by_letter() {
    for (target, name) in [("example.com", "example.com"), (SIP_BOB, "sip.example.com")] {
        let (_folder, daemon, mut alice) = world(SEED_STUB);
        assert!(daemon.ctl(&["deploy", target, "--wait"]).status.success());
        let row = daemon.row(name).unwrap();
        assert_eq!(row["status"], "none", "it said nothing yet");
        let url = row["url"].as_str().unwrap().to_owned();
        let runtime = alice.welcome["welcome"]["runtime"].as_str().unwrap().to_owned();
        let status = format!("{url}/status");
        let subscribed = alice.call(
            "subscribe",
            &format!("{runtime}/subscriptions"),
            &json!({"subscribe": [status]}),
        );
        assert_eq!(subscribed["body"]["code"], 200, "{subscribed}");
        let to = if target == SIP_BOB { SIP_BOB } else { "hyperty://example.com/bob" };
        alice.ask("read", to, &json!({}));
        let event: Value = alice.read().unwrap();
        assert_eq!(
            (&event["type"], &event["from"], &event["to"], &event["body"]["value"]),
            (&json!("update"), &json!(url), &json!(status), &json!("live")),
            "{event}"
        );
        assert_eq!(daemon.row(name).unwrap()["status"], "live", "and the registry knows");
        daemon.assert_conserved();
    }
}

#[test]
fn a_legacy_address_finds_its_interworking_stub() {
    let (_folder, daemon, mut alice) = world(ECHO_STUB);
    let response = alice.call("read", SIP_BOB, &json!({"sdp": "v=0"}));
    assert_eq!(response["from"], SIP_BOB, "{response}");
    assert_eq!(response["body"]["value"]["echo"]["sdp"], "v=0", "{response}");
    let row = daemon.row("sip.example.com").expect("a row");
    assert_eq!(row["kind"], "interworking");
    assert_eq!(row["url"], response["body"]["value"]["by"]);
    daemon.assert_conserved();
}

#[test]
fn an_application_asks_for_a_stub_is_told_its_runtime_url_and_ends_it_again() {
    let (_folder, daemon, mut alice) = world(SEED_STUB);
    let runtime = alice.welcome["welcome"]["runtime"].as_str().unwrap().to_owned();
    let wanted = json!({"value": {"type": "protostub", "domain": "example.com"}});
    let ua = format!("{runtime}/ua");
    let mut urls = Vec::new();
    for _life in 0..2 {
        let answer = alice.call("create", &ua, &wanted);
        assert_eq!(answer["body"]["code"], 200, "{answer}");
        let value = answer["body"]["value"].clone();
        let row = daemon.row("example.com").unwrap();
        assert_eq!((&row["state"], &row["url"]), (&json!("active"), &value["runtimeURL"]));
        assert!(value["status"].is_string(), "{value}");
        urls.push(value["runtimeURL"].clone());
        let answer = alice.call("delete", &ua, &wanted);
        assert_eq!(answer["body"]["code"], 200, "{answer}");
        let row = daemon.row("example.com").unwrap();
        assert_eq!((&row["state"], &row["pid"]), (&json!("dormant"), &json!(null)));
    }
    assert_eq!(urls[0], urls[1], "its address is its own");
    assert_eq!(alice.call("read", "hyperty://example.com/bob", &json!({}))["body"]["code"], 200);
    daemon.assert_conserved();
}
