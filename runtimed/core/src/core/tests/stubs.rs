//! What applications ask of `<runtime>/ua`: a stub, and its end.

use super::bench::{ALICE, BOB, Bench, REMOTE, RUNTIME, message, request};
use crate::input::{LinkId, SandboxId};
use protocol::address::RouteKey;
use protocol::control::{Command, Reply};
use protocol::ctl::Role;
use protocol::frame::flags;
use protocol::message::MessageType;
use serde_json::{Value, json};

const UA: &str = "hyperty-runtime://home.example/rt/ua";

impl Bench {
    fn tells_ua(&mut self, link: LinkId, kind: MessageType, id: &str) {
        let from = self.core.bus.links[&link].addresses[0].to_string();
        let body = br#"{"value":{"type":"protostub","domain":"far.example"}}"#;
        self.send(link, message(kind, id, &from, UA).flag(flags::REPLY).body(body));
    }

    /// Id and body of the next response to it.
    fn said(&mut self, link: LinkId) -> Option<(String, Value)> {
        let frame = self.hear(link)?;
        let view = frame.view().unwrap();
        Some((view.id().to_owned(), serde_json::from_slice(view.body()).unwrap()))
    }

    fn reason(&mut self, link: LinkId) -> Option<String> {
        self.refusal(link).map(|(_, _, reason)| reason)
    }

    fn state(&mut self, token: u64) -> Option<String> {
        self.operator(token, Command::Ps { all: true });
        match self.replies(token).pop() {
            Some(Reply::Ps(rows)) => Some(rows.first()?.state.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// A stub that an application asked for, and no operator.
    fn asked_for(&mut self, link: LinkId) -> (SandboxId, LinkId, String) {
        self.tells_ua(link, MessageType::Create, "0");
        assert_eq!(self.said(link).unwrap().1["code"], 200);
        self.youngest()
    }

    fn fetches(&self) -> usize {
        self.spawned.iter().filter(|(_, role, _)| *role == Role::Fetch).count()
    }
}

fn far() -> RouteKey {
    RouteKey::Domain("far.example".to_owned())
}

#[test]
fn who_asks_for_a_stub_is_told_its_runtime_url_and_what_it_says_of_itself() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    bench.tells_ua(alice, MessageType::Create, "1");
    let (_, stub, url) = bench.youngest();
    let value = |status: &str| json!({"code": 200, "value": {"url": url, "runtimeURL": url, "status": status}});
    assert_eq!(bench.said(alice).unwrap(), ("1".to_owned(), value("none")));
    let update = message(MessageType::Update, "9", &url, &format!("{url}/status"));
    bench.send(stub, update.body(br#"{"value":"CONNECTED"}"#));
    bench.tells_ua(alice, MessageType::Create, "2");
    assert_eq!(bench.said(alice).unwrap(), ("2".to_owned(), value("live")));
}

#[test]
fn who_needs_a_stub_no_longer_ends_its_process_and_the_next_message_fetches_it_anew() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    bench.tells_ua(alice, MessageType::Delete, "1");
    assert_eq!(bench.reason(alice).as_deref(), Some("unknown-address"));
    let (_, _, url) = bench.asked_for(alice);
    bench.willing = false;
    bench.tells_ua(alice, MessageType::Delete, "2");
    assert_eq!(bench.said(alice), None, "not before it is gone");
    bench.willing = true;
    bench.work();
    let (id, body) = bench.said(alice).unwrap();
    assert_eq!((id.as_str(), &body["value"]["runtimeURL"]), ("2", &json!(url)));
    assert_eq!(body["value"]["status"], "disconnected");
    assert_eq!(bench.state(1).as_deref(), Some("dormant"));
    assert!(bench.core.ua.components[&far()].pin.is_some(), "what it may do was not forgotten");
    // Twice is no mistake.
    bench.tells_ua(alice, MessageType::Delete, "3");
    assert_eq!(bench.said(alice).unwrap().1["code"], 200);
    let before = bench.fetches();
    bench.send(alice, request("4", ALICE, REMOTE));
    let (_, stub, again) = bench.youngest();
    assert_eq!((bench.fetches(), &again), (before + 1, &url));
    assert_eq!(bench.ids(stub), ["4"]);
}

#[test]
fn a_stub_that_others_use_stays() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    let (_, stub, url) = bench.asked_for(alice);
    let refused = |bench: &mut Bench| {
        bench.tells_ua(alice, MessageType::Delete, "d");
        assert_eq!(bench.reason(alice).as_deref(), Some("policy"));
        assert_eq!(bench.state(bench.now).as_deref(), Some("active"));
    };
    // One waits for an answer.
    bench.send(bob, request("1", BOB, REMOTE));
    refused(&mut bench);
    bench.send(stub, message(MessageType::Response, "1", REMOTE, BOB).code(200));
    // One is subscribed.
    let to = format!("{RUNTIME}/subscriptions");
    let body = br#"{"resources":["comm://far.example/room"]}"#;
    bench.send(bob, message(MessageType::Subscribe, "2", BOB, &to).body(body));
    refused(&mut bench);
    bench.send(bob, message(MessageType::Unsubscribe, "3", BOB, &to).body(body));
    for frame in bench.heard.remove(&stub).unwrap() {
        let view = frame.view().unwrap();
        bench.send(
            stub,
            message(MessageType::Response, view.id(), view.to(), view.from()).code(200),
        );
    }
    for frame in bench.heard.remove(&stub).unwrap_or_default() {
        let view = frame.view().unwrap();
        bench.send(
            stub,
            message(MessageType::Response, view.id(), view.to(), view.from()).code(200),
        );
    }
    // One is asked through it, and it waits for the answer.
    bench.send(stub, request("7", REMOTE, BOB));
    refused(&mut bench);
    bench.send(bob, message(MessageType::Response, "7", BOB, REMOTE).code(200));
    assert_eq!(bench.ids(stub), ["7"]);
    // Another stub has nothing to say about it, nor has it itself.
    let ask = message(MessageType::Delete, "4", &url, UA).flag(flags::REPLY).body(b"{}");
    bench.send(stub, ask);
    assert_eq!(bench.reason(stub).as_deref(), Some("policy"));
    bench.tells_ua(alice, MessageType::Delete, "5");
    assert_eq!(bench.said(alice).unwrap().1["code"], 200);
    // An operator asked for it, and waits for it or no longer.
    let target = "far.example".to_owned();
    bench.operator(900, Command::Deploy { target, wait: true, live: true });
    refused(&mut bench);
    bench.pass(crate::limits::OPERATOR_WAIT_MS);
    refused(&mut bench);
}

#[test]
fn attack_the_session_of_a_legacy_service_is_ended_by_no_application() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let body = br#"{"value":{"type":"interworking","domain":"slack://x@slack.com"}}"#;
    for (kind, id) in [(MessageType::Create, "1"), (MessageType::Delete, "2")] {
        bench.send(alice, message(kind, id, ALICE, UA).flag(flags::REPLY).body(body));
        let (said, body) = bench.said(alice).unwrap();
        assert_eq!(said, id);
        assert_eq!(body["code"], if id == "1" { 200 } else { 403 });
    }
    assert_eq!(bench.state(1).as_deref(), Some("active"));
}

#[test]
fn attack_who_has_stubs_ended_in_a_loop_is_slowed_down_and_what_started_in_vain_rests() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let mut codes = Vec::new();
    for _ in 0..40 {
        bench.asked_for(alice);
        bench.tells_ua(alice, MessageType::Delete, "1");
        codes.push(bench.said(alice).unwrap().1["code"].as_u64().unwrap());
    }
    let ended = codes.iter().filter(|code| **code == 200).count();
    assert!(ended <= 16 && codes.last() == Some(&429), "{codes:?}");
    // One that is given up while it starts is started again when it has rested, and by a message.
    bench.pass(60_000);
    bench.tells_ua(alice, MessageType::Delete, "1");
    assert_eq!(bench.said(alice).unwrap().1["code"], 200);
    bench.willing = false;
    bench.tells_ua(alice, MessageType::Create, "2");
    bench.tells_ua(alice, MessageType::Delete, "3");
    assert_eq!(bench.reason(alice).as_deref(), Some("undeployed"));
    bench.willing = true;
    bench.work();
    assert_eq!(bench.said(alice).unwrap().0, "3");
    bench.send(alice, request("4", ALICE, REMOTE));
    assert_eq!(bench.reason(alice).as_deref(), Some("undeployed"));
    bench.pass(1_000);
    bench.send(alice, request("5", ALICE, REMOTE));
    let (_, stub, _) = bench.youngest();
    assert_eq!(bench.ids(stub), ["5"]);
}

#[test]
fn a_deploy_is_given_up_by_who_asked_for_it_and_by_nobody_else() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    bench.willing = false;
    bench.tells_ua(alice, MessageType::Create, "1");
    bench.send(alice, request("2", ALICE, REMOTE));
    bench.tells_ua(bob, MessageType::Delete, "3");
    assert_eq!(bench.reason(bob).as_deref(), Some("policy"));
    bench.tells_ua(alice, MessageType::Delete, "4");
    for id in ["2", "1"] {
        let undeployed = (id.to_owned(), 503, "undeployed".to_owned());
        assert_eq!(bench.refusal(alice), Some(undeployed));
    }
    bench.willing = true;
    bench.work();
    assert_eq!(bench.said(alice).unwrap().1["code"], 200);
    assert_eq!(bench.state(1).as_deref(), Some("dormant"));
}

#[test]
fn a_message_that_comes_while_it_ends_wakes_it_and_both_are_answered() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    bench.asked_for(alice);
    bench.willing = false;
    bench.tells_ua(alice, MessageType::Delete, "1");
    bench.send(alice, request("2", ALICE, REMOTE));
    bench.willing = true;
    bench.work();
    assert_eq!(bench.said(alice).unwrap().0, "1");
    let (_, stub, _) = bench.youngest();
    assert_eq!(bench.ids(stub), ["2"]);
    assert_eq!(bench.state(1).as_deref(), Some("active"));
}

#[test]
fn what_has_no_process_is_ended_at_once_and_a_rest_goes_on() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    bench.asked_for(alice);
    for wait in [0, 0] {
        let (sandbox, _, _) = bench.youngest();
        bench.exits(sandbox, Vec::new());
        bench.pass(wait);
    }
    assert_eq!(bench.state(1).as_deref(), Some("backoff"));
    bench.tells_ua(alice, MessageType::Delete, "1");
    assert_eq!(bench.said(alice).unwrap().1["code"], 200);
    bench.pass(70_000);
    assert_eq!(bench.state(2).as_deref(), Some("dormant"), "it does not come back by itself");
    bench.asked_for(alice);
    for wait in [100, 500, 2_000, 5_000, 20_000, 0] {
        let (sandbox, _, _) = bench.youngest();
        bench.exits(sandbox, Vec::new());
        bench.pass(wait);
    }
    bench.tells_ua(alice, MessageType::Delete, "2");
    assert_eq!(bench.said(alice).unwrap().1["code"], 200);
    assert_eq!(bench.state(3).as_deref(), Some("quarantined"));
}

#[test]
fn attack_an_application_cannot_have_a_catalogue_fetched_from_in_a_loop() {
    let mut bench = Bench::new();
    bench.willing = false;
    let alice = bench.app(&[ALICE]);
    for round in 0..200_u32 {
        let id: &'static str = Box::leak(round.to_string().into_boxed_str());
        bench.tells_ua(alice, MessageType::Create, id);
        let id: &'static str = Box::leak(format!("d{round}").into_boxed_str());
        bench.tells_ua(alice, MessageType::Delete, id);
        for (sandbox, _, _) in bench.spawned.clone() {
            bench.exits(sandbox, Vec::new());
        }
        bench.pass(10);
    }
    let (fetches, events) = (bench.fetches(), bench.events("deploy-started").len());
    assert!(fetches < 20, "{fetches} fetches and {events} deploys in two seconds");
}
