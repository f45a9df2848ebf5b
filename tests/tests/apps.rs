//! Applications on one machine: who may claim what, who hears what, and what is refused how.

use serde_json::{Value, json};
use system_tests::Daemon;
use system_tests::app::App;

const ALICE: &str = "hyperty://localhost/alice";
const BOB: &str = "hyperty://localhost/bob";

fn pair(daemon: &Daemon) -> (App, App) {
    (App::connect(&daemon.bus(), "alice", &[ALICE]), App::connect(&daemon.bus(), "bob", &[BOB]))
}

#[test]
fn two_applications_talk_and_nothing_is_lost() {
    let daemon = Daemon::start("");
    let (mut alice, mut bob) = pair(&daemon);
    for round in 0..50 {
        let id = alice.ask("read", BOB, &json!({"round": round}));
        let request = bob.read().unwrap();
        assert_eq!(
            request,
            json!({"id": id, "type": "read", "from": ALICE, "to": BOB, "body": {"round": round}})
        );
        bob.write(&json!({"id": id, "type": "response", "to": ALICE, "body": {"code": 200, "value": round}}));
        let response = alice.response(id);
        assert_eq!(response["body"], json!({"code": 200, "value": round}));
        assert_eq!(response["from"], BOB);
    }
    let messages = daemon.assert_conserved();
    assert!(messages["delivered"].as_u64() >= Some(100), "{messages}");
}

#[test]
fn ids_keep_their_json_form_and_provisional_answers_keep_the_request() {
    let daemon = Daemon::start("");
    let (mut alice, mut bob) = pair(&daemon);
    for id in [json!("text"), json!("7"), json!(7), json!(900_719_925_474_099_u64)] {
        alice.write(&json!({"id": id, "type": "READ", "to": BOB, "body": {}}));
        let request = bob.read().unwrap();
        assert_eq!((&request["id"], &request["type"]), (&id, &json!("read")));
        for code in [100, 183, 200] {
            bob.write(&json!({"id": id, "type": "response", "to": ALICE, "body": {"code": code}}));
            let response = alice.read().unwrap();
            assert_eq!((&response["id"], &response["body"]["code"]), (&id, &json!(code)));
        }
    }
    alice.write(&json!({"type": "read", "to": BOB, "body": {}}));
    let assigned = bob.read().unwrap()["id"].clone();
    assert!(!assigned.is_null());
    bob.write(&json!({"id": assigned, "type": "response", "to": ALICE, "body": {"code": 200}}));
    assert_eq!(alice.read().unwrap()["id"], assigned);
}

#[test]
fn a_response_without_a_body_ends_its_request() {
    let daemon = Daemon::start("");
    let (mut alice, mut bob) = pair(&daemon);
    let id = alice.ask("read", BOB, &json!({}));
    assert_eq!(bob.read().unwrap()["id"], id);
    bob.write(&json!({"id": id, "type": "response", "to": ALICE}));
    assert_eq!(alice.response(id)["from"], BOB);
    // It was the final one: another is too late, and alice hears only what comes after it.
    bob.write(&json!({"id": id, "type": "response", "to": ALICE, "body": {"code": 200}}));
    let next = alice.ask("read", BOB, &json!({}));
    assert_eq!(bob.read().unwrap()["id"], next);
    bob.write(&json!({"id": next, "type": "response", "to": ALICE, "body": {"code": 200}}));
    assert_eq!(alice.read().unwrap()["id"], next);
    daemon.assert_conserved();
}

#[test]
fn bad_lines_are_answered_and_the_connection_stays() {
    let daemon = Daemon::start("");
    let (mut alice, _bob) = pair(&daemon);
    let error =
        |answer: &Value| (answer["error"]["code"].clone(), answer["error"]["reason"].clone());
    for line in ["nonsense\n", "[]\n", "{\"type\":\n", "7\n", "{}\n"] {
        alice.write_raw(line.as_bytes());
        let answer = alice.read().unwrap();
        assert_eq!(error(&answer), (json!(400), json!("malformed")), "{line}: {answer}");
    }
    let deep = format!(
        "{{\"type\":\"update\",\"to\":\"{BOB}\",\"body\":{}{}}}\n",
        "[".repeat(100),
        "]".repeat(100)
    );
    alice.write_raw(deep.as_bytes());
    assert_eq!(error(&alice.read().unwrap()).0, json!(400));
    alice.write_raw(b"{\"id\":5,\"type\":\"read\",\"to\":5}\n");
    let response = alice.read().unwrap();
    assert_eq!(
        (&response["id"], &response["body"]["code"]),
        (&json!(5), &json!(400)),
        "{response}"
    );
    alice.refused("read", "not an address", 400, "bad-address");
    alice.refused("dance", BOB, 400, "unknown-type");
    daemon.assert_conserved();
}

#[test]
fn a_forged_sender_is_refused_at_its_own_link() {
    let daemon = Daemon::start("");
    let (mut alice, mut bob) = pair(&daemon);
    alice.write(&json!({"id": 1, "type": "read", "from": BOB, "to": BOB, "body": {}}));
    let response = alice.response(1);
    assert_eq!(
        (&response["body"]["code"], &response["body"]["reason"]),
        (&json!(403), &json!("forged"))
    );
    alice.write(&json!({"id": 2, "type": "read", "to": BOB, "body": {"source": "hyperty://localhost/carol"}}));
    assert_eq!(alice.response(2)["body"]["reason"], "forged-source");
    alice.ask("update", BOB, &json!({"first": true}));
    assert_eq!(bob.read().unwrap()["body"]["first"], true, "nothing forged came before");
    daemon.assert_conserved();
}

#[test]
fn what_would_live_here_and_does_not_is_404_at_once() {
    let daemon = Daemon::start("");
    let (mut alice, bob) = pair(&daemon);
    let runtime = alice.welcome["welcome"]["runtime"].as_str().unwrap().to_owned();
    alice.refused("read", &format!("{runtime}/nothing"), 404, "unknown-address");
    alice.refused("read", "hyperty://localhost/nobody", 404, "unknown-address");
    drop(bob);
    system_tests::wait_for("bob is gone", || {
        let response = alice.call("read", BOB, &json!({}));
        (response["body"]["reason"] == "receiver-gone").then_some(())
    });
    daemon.assert_conserved();
}

#[test]
fn claims_are_held_to_the_rules() {
    let daemon = Daemon::start("");
    let _alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    for (address, reason) in [
        (ALICE, "address-taken"),
        ("hyperty://localhost/alice/below", "address-taken"),
        ("hyperty://localhost", "not-claimable"),
        ("hyperty://other.example/alice", "not-claimable"),
        ("hyperty://msg-node.localhost/x", "not-claimable"),
        ("domain://localhost/x", "not-claimable"),
        ("hyperty-runtime://localhost/x", "not-claimable"),
        ("runtime://localhost/x", "not-claimable"),
        ("global://registry", "not-claimable"),
        ("sip://alice@localhost", "not-claimable"),
        ("nonsense", "bad-address"),
    ] {
        let mut other = App::silent(&daemon.bus());
        other.write(&json!({"hello": {"name": "other", "addresses": [address]}}));
        let answer = other.read().unwrap();
        assert_eq!(answer["error"]["reason"], reason, "{address}: {answer}");
        assert!(other.read().is_none(), "closed after the refusal");
    }
    let many: Vec<String> = (0..65).map(|n| format!("hyperty://localhost/many/{n}")).collect();
    let mut other = App::silent(&daemon.bus());
    other.write(&json!({"hello": {"name": "other", "addresses": many}}));
    assert_eq!(other.read().unwrap()["error"]["reason"], "too-many-addresses");
}

#[test]
fn a_line_over_the_bound_is_answered_and_ends_the_connection() {
    let daemon = Daemon::start("");
    let (mut alice, mut bob) = pair(&daemon);
    let body = "x".repeat(900_000);
    let id = alice.ask("update", BOB, &json!({"text": body}));
    assert_eq!(bob.read().unwrap()["body"]["text"].as_str().unwrap().len(), 900_000);
    assert!(id > 0);
    let long = vec![b'x'; 1_048_576 + 2];
    alice.write_raw(&long);
    assert_eq!(alice.read().unwrap()["error"]["code"], 413);
    assert!(alice.read().is_none());
}

#[test]
fn one_message_to_many_has_one_answer_each() {
    let daemon = Daemon::start("");
    let (mut alice, mut bob) = pair(&daemon);
    alice.write(
        &json!({"id": 9, "type": "read", "to": [BOB, "hyperty://localhost/nobody"], "body": {}}),
    );
    let request = bob.read().unwrap();
    bob.write(
        &json!({"id": request["id"], "type": "response", "to": ALICE, "body": {"code": 200}}),
    );
    let mut codes: Vec<(String, u64)> = (0..2)
        .map(|_| {
            let response = alice.response(9);
            (
                response["from"].as_str().unwrap().to_owned(),
                response["body"]["code"].as_u64().unwrap(),
            )
        })
        .collect();
    codes.sort();
    assert_eq!(codes, [(BOB.to_owned(), 200), ("hyperty://localhost/nobody".to_owned(), 404)]);
}

#[test]
fn a_request_that_nobody_answers_expires_with_notice() {
    let daemon = Daemon::start("");
    let (mut alice, mut bob) = pair(&daemon);
    alice.write(&json!({"id": 1, "type": "read", "to": BOB, "timeout": 200, "body": {}}));
    let request = bob.read().unwrap();
    let response = alice.response(1);
    assert_eq!(
        (&response["body"]["code"], &response["body"]["reason"]),
        (&json!(408), &json!("deadline"))
    );
    bob.write(
        &json!({"id": request["id"], "type": "response", "to": ALICE, "body": {"code": 200}}),
    );
    bob.ask("update", ALICE, &json!({"after": true}));
    assert_eq!(alice.read().unwrap()["body"]["after"], true, "the late answer was dropped");
    let messages = daemon.assert_conserved();
    assert_eq!(messages["late"], 1, "{messages}");
}
