//! A domain with a catalogue over HTTP and a message node: the stub of this repository, unmodified,
//! through death and silence.

use serde_json::{Value, json};
use std::time::Duration;
use system_tests::app::App;
use system_tests::domain::Domain;
use system_tests::{Daemon, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const BOB: &str = "hyperty://example.com/bob";

fn world() -> (Domain, Daemon, App) {
    let domain = Domain::start("example.com");
    let daemon = Daemon::start(&domain.config());
    let alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    (domain, daemon, alice)
}

fn asked(alice: &mut App) -> Value {
    let response = alice.call("read", BOB, &json!({"question": 1}));
    assert_eq!(response["body"]["code"], 200, "{response}");
    assert_eq!(response["body"]["value"]["domain"], "example.com", "{response}");
    response
}

#[test]
fn the_answer_of_a_remote_domain_comes_back_through_its_stub() {
    let (domain, daemon, mut alice) = world();
    asked(&mut alice);
    let row = daemon.wait_state("example.com", "active");
    assert_eq!(row["status"], "live");
    assert_eq!(row["code"]["source"], domain.catalogue.url().trim_end_matches("/.well-known"));
    assert_eq!(domain.node.stats().opened, 1);
    for _ in 0..20 {
        asked(&mut alice);
    }
    assert_eq!(domain.node.stats().opened, 1, "one session for all");
    daemon.assert_conserved();
}

#[test]
fn a_message_from_the_remote_domain_reaches_its_application_and_no_other() {
    let (domain, daemon, mut alice) = world();
    let mut carol = App::connect(&daemon.bus(), "carol", &["hyperty://localhost/carol"]);
    asked(&mut alice);
    let push = |from: &str, to: &str, mark: u32| {
        let message =
            json!({"id": mark, "type": "update", "from": from, "to": to, "body": {"mark": mark}});
        domain.run(domain.node.push(&message)).unwrap();
    };
    push("hyperty://localhost/carol", ALICE, 1);
    push("hyperty://other.example/bob", ALICE, 2);
    push("hyperty-runtime://localhost/x", ALICE, 3);
    push(BOB, "hyperty://unknown.example/x", 4);
    push(BOB, ALICE, 5);
    let got = alice.read().unwrap();
    assert_eq!(
        (&got["body"]["mark"], &got["from"]),
        (&json!(5), &json!(BOB)),
        "forged ones are not delivered"
    );
    carol.write(
        &json!({"id": 1, "type": "update", "to": "hyperty://localhost/carol", "body": {"own": 1}}),
    );
    assert_eq!(carol.read().unwrap()["body"]["own"], 1, "nothing came before");
    assert!(daemon.row("unknown.example").is_none());
    daemon.assert_conserved();
}

#[test]
fn a_killed_stub_opens_a_new_session_and_the_same_answer_comes() {
    let (domain, daemon, mut alice) = world();
    let before = asked(&mut alice);
    for round in 1..=3_u64 {
        assert!(daemon.ctl(&["kill", "example.com"]).status.success());
        wait_for("a new session", || (domain.node.stats().opened > round).then_some(()));
        daemon.wait_state("example.com", "active");
        let after = asked(&mut alice);
        assert_eq!(before["body"], after["body"]);
    }
    assert_eq!(daemon.row("example.com").unwrap()["restarts"], 3);
    daemon.assert_conserved();
}

#[test]
fn a_node_that_drops_its_connections_is_resumed_by_the_token() {
    let (domain, daemon, mut alice) = world();
    asked(&mut alice);
    domain.run(domain.node.drop_connections()).unwrap();
    let patience = Duration::from_secs(20);
    domain.run(domain.node.wait(patience, |stats| stats.reopened >= 1)).unwrap();
    asked(&mut alice);
    let row = daemon.row("example.com").unwrap();
    assert_eq!((&row["restarts"], &row["status"]), (&json!(0), &json!("live")));
}

#[test]
fn a_silent_node_costs_its_requester_the_deadline_and_nobody_else() {
    let (domain, daemon, mut alice) = world();
    asked(&mut alice);
    domain.run(domain.node.set_participant("bob", peers::node::Participant::Silent)).unwrap();
    alice.write(&json!({"id": 77, "type": "read", "to": BOB, "timeout": 300, "body": {}}));
    assert_eq!(alice.response(77)["body"]["reason"], "deadline");
    let response = alice.call("read", "hyperty://example.com/carol", &json!({}));
    assert_eq!(response["body"]["code"], 200, "{response}");
    daemon.assert_conserved();
}
