//! `<runtime>/registry`: what is registered, and its changes, in the spellings of the seed
//! `p2p-connection-messages`.

use super::bench::{ALICE, BOB, Bench, RUNTIME, message};
use super::kept::{kept, restored};
use crate::input::{Input, LinkId};
use crate::limits::{CHANGES_MS, CLAIMS_PER_APP};
use protocol::frame::flags;
use protocol::message::MessageType;
use serde_json::{Value, json};

const CAROL: &str = "hyperty://home.example/carol";
const ROOM: &str = "comm://home.example/room";

fn changes() -> String {
    format!("{RUNTIME}/registry/changes")
}

impl Bench {
    /// Sends a request to the registry; code and body of the answer.
    fn registry(
        &mut self,
        link: LinkId,
        from: &str,
        kind: MessageType,
        body: &Value,
    ) -> (u16, Value) {
        let to = format!("{RUNTIME}/registry");
        let body: &'static str = Box::leak(body.to_string().into_boxed_str());
        let frame = message(kind, "3", from, &to).flag(flags::REPLY | flags::ID_NUM);
        self.send(link, frame.body(body.as_bytes()));
        let frame = self.hear(link).expect("an answer");
        let view = frame.view().unwrap();
        assert_eq!((view.id(), view.from(), view.to()), ("3", to.as_str(), from));
        (view.header.code, serde_json::from_slice(view.body()).unwrap())
    }

    fn asks_for_changes(&mut self, link: LinkId, from: &str) -> (u16, Value) {
        self.registry(link, from, MessageType::Subscribe, &json!({"subscribe": [changes()]}))
    }

    /// The next update of the registry; `null` without one.
    fn update(&mut self, link: LinkId) -> Value {
        let Some(frame) = self.hear(link) else { return Value::Null };
        let view = frame.view().unwrap();
        assert_eq!(view.header.mtype, MessageType::Update.as_u8());
        assert_eq!((view.from(), view.to()), (&*format!("{RUNTIME}/registry"), &*changes()));
        serde_json::from_slice(view.body()).unwrap()
    }
}

#[test]
fn whoever_subscribes_gets_all_that_is_registered_and_then_what_comes_and_goes() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE, ROOM]);
    let bob = bench.app(&[BOB]);
    bench.stub("far.example");
    let all = json!({"code": 200, "value": [ROOM, ALICE, BOB]});
    assert_eq!(bench.asks_for_changes(alice, ALICE), (200, all));
    let carol = bench.app(&[CAROL]);
    assert_eq!(bench.update(alice), Value::Null, "it is told a little later");
    bench.pass(CHANGES_MS);
    assert_eq!(bench.update(alice), json!({"value": [CAROL]}));
    bench.input(Input::AppLeft { link: bob, unsent: Vec::new() });
    bench.input(Input::AppLeft { link: carol, unsent: Vec::new() });
    bench.pass(CHANGES_MS);
    assert_eq!(bench.update(alice), json!({"value": [], "removed": [BOB, CAROL]}));
    // What came and went in between is as it was.
    let carol = bench.app(&[CAROL]);
    bench.input(Input::AppLeft { link: carol, unsent: Vec::new() });
    bench.pass(CHANGES_MS);
    assert_eq!(bench.update(alice), Value::Null);
    let leave = json!({"unsubscribe": [changes()]});
    assert_eq!(bench.registry(alice, ALICE, MessageType::Unsubscribe, &leave).0, 200);
    bench.app(&[CAROL]);
    bench.pass(CHANGES_MS);
    assert_eq!(bench.update(alice), Value::Null);
}

#[test]
fn a_list_that_is_too_long_for_one_answer_goes_on_after_its_last() {
    let mut bench = Bench::new();
    let pad = "x".repeat(900);
    let mut want = Vec::new();
    for app in 0..12 {
        let texts: Vec<String> = (0..CLAIMS_PER_APP)
            .map(|n| format!("hyperty://home.example/{app:02}/{n:02}/{pad}"))
            .collect();
        bench.app(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        want.extend(texts);
    }
    let alice = bench.app(&[ALICE]);
    want.push(ALICE.to_owned());
    let (mut found, mut answers, mut body) = (Vec::new(), 0, json!({"subscribe": changes()}));
    loop {
        let (code, answer) = bench.registry(alice, ALICE, MessageType::Subscribe, &body);
        assert_eq!(code, 200);
        answers += 1;
        let list: Vec<String> = serde_json::from_value(answer["value"].clone()).unwrap();
        found.extend(list);
        let Some(next) = answer["next"].as_str() else { break };
        body["after"] = json!(next);
    }
    assert_eq!((found, answers), (want, 2));
}

#[test]
fn escape_047_a_stub_is_not_told_who_is_connected_and_nobody_gets_another_resource_there() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let (_, stub, url) = bench.stub("far.example");
    for resource in [changes(), format!("{RUNTIME}/registry"), format!("{ALICE}/status")] {
        let body = json!({"subscribe": [resource]});
        let (code, answer) = bench.registry(stub, &url, MessageType::Subscribe, &body);
        assert!(code == 403 || code == 501, "{answer}");
        assert!(!answer.to_string().contains(ALICE), "{answer}");
    }
    let body = json!({"subscribe": [changes(), format!("{ALICE}/status")]});
    assert_eq!(bench.registry(alice, ALICE, MessageType::Subscribe, &body).0, 501);
    bench.app(&[CAROL]);
    bench.pass(CHANGES_MS);
    assert_eq!((bench.update(alice), bench.hear(stub)), (Value::Null, None));
}

#[test]
fn a_subscription_to_the_changes_outlives_a_restart_as_any_other_does() {
    let mut first = Bench::new();
    let alice = first.app(&[ALICE]);
    assert_eq!(first.asks_for_changes(alice, ALICE).0, 200);
    let mut bench = restored(kept(&first));
    let alice = bench.app(&[ALICE]);
    bench.pass(CHANGES_MS);
    while bench.hear(alice).is_some() {}
    bench.app(&[BOB]);
    bench.pass(CHANGES_MS);
    assert_eq!(bench.update(alice), json!({"value": [BOB]}));
}

#[test]
fn what_any_stub_says_of_itself_is_heard_at_the_runtimes_own_status() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let status = format!("{RUNTIME}/status");
    let body = json!({"resources": [status]}).to_string();
    let at = format!("{RUNTIME}/subscriptions");
    let subscribe = message(MessageType::Subscribe, "1", ALICE, &at).flag(flags::REPLY);
    bench.send(alice, subscribe.body(body.as_bytes()));
    assert_eq!(bench.ids(alice), ["1"]);
    let (_, stub, url) = bench.stub("far.example");
    let own = format!("{url}/status");
    let update = message(MessageType::Update, "9", &url, &own);
    bench.send(stub, update.body(br#"{"value":"LIVE","desc":"here"}"#));
    let frame = bench.hear(alice).unwrap();
    let view = frame.view().unwrap();
    assert_eq!((view.from(), view.to()), (RUNTIME, status.as_str()));
    let body: Value = serde_json::from_slice(view.body()).unwrap();
    assert_eq!(body, json!({"value": "live", "resource": url, "desc": "here"}));
}
