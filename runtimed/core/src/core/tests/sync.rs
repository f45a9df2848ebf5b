//! `<runtime>/sm`: objects, who observes them, and who may not.

use super::bench::{ALICE, BOB, Bench, REMOTE, RUNTIME, message, response};
use super::home::with_home_stub;
use crate::input::{Input, LinkId};
use crate::limits::{OBJECTS_PER_LINK, OBJECTS_PER_UID};
use protocol::frame::{ExtTag, Frame, flags};
use protocol::message::MessageType;
use serde_json::{Value, json};

const EVE: &str = "hyperty://home.example/eve";
const SCHEMA: &str =
    "hyperty-catalogue://catalogue.home.example/.well-known/dataschema/Communication";

fn sm() -> String {
    format!("{RUNTIME}/sm")
}

fn body_of(frame: &Frame) -> Value {
    serde_json::from_slice(frame.view().unwrap().body()).unwrap()
}

/// Type, sender and receiver.
fn head(frame: &Frame) -> (MessageType, String, String) {
    let view = frame.view().unwrap();
    let kind = MessageType::from_u8(view.header.mtype).unwrap();
    (kind, view.from().to_owned(), view.to().to_owned())
}

impl Bench {
    fn sm(&mut self, link: LinkId, kind: MessageType, id: &str, from: &str, body: &Value) {
        let body: &'static str = Box::leak(body.to_string().into_boxed_str());
        let frame = message(kind, id, from, &sm()).flag(flags::REPLY | flags::ID_NUM);
        self.send(link, frame.body(body.as_bytes()));
    }

    fn creates(&mut self, link: LinkId, from: &str) -> String {
        let body = json!({"schema": SCHEMA, "value": {"name": "room"}});
        self.sm(link, MessageType::Create, "1", from, &body);
        let frame = self.hear(link).expect("an answer");
        assert_eq!(frame.view().unwrap().header.code, 200, "{}", body_of(&frame));
        body_of(&frame)["resource"].as_str().unwrap().to_owned()
    }

    fn says_yes(&mut self, link: LinkId, asked: &Frame, body: &'static str) {
        let view = asked.view().unwrap();
        let answer = response(view.id(), view.to(), view.from(), 200).body(body.as_bytes());
        self.send(link, answer);
    }

    /// `observer` asks for the object, and its reporter agrees.
    fn lets_in(&mut self, url: &str, reporter: LinkId, observer: (LinkId, &str)) {
        self.sm(observer.0, MessageType::Subscribe, "7", observer.1, &json!({"resource": url}));
        let asked = self.hear(reporter).expect("the reporter is asked");
        self.says_yes(reporter, &asked, r#"{"code":200,"value":{"data":{}}}"#);
        let told = self.hear(observer.0).expect("the observer is told");
        assert_eq!(head(&told), (MessageType::Response, sm(), observer.1.to_owned()));
        assert_eq!((told.view().unwrap().id(), body_of(&told)["value"].is_object()), ("7", true));
    }

    fn changes(&mut self, link: LinkId, from: &str, to: &str) {
        let update = message(MessageType::Update, "9", from, to).body(b"{\"version\":1}");
        self.send(link, update);
    }

    fn refused(&mut self, link: LinkId) -> (u16, String) {
        let (_, code, reason) = self.refusal(link).expect("a refusal");
        (code, reason)
    }
}

#[test]
fn an_object_has_an_address_of_its_own_and_its_reporter_is_asked_who_may_observe_it() {
    let mut bench = Bench::new();
    let (alice, bob) = (bench.app(&[ALICE]), bench.app(&[BOB]));
    let url = bench.creates(alice, ALICE);
    assert!(url.starts_with("comm://home.example/") && url.len() == 20 + 32, "{url}");
    assert_ne!(bench.creates(alice, ALICE), url);
    bench.changes(alice, &url, &format!("{url}/changes"));
    assert!(bench.hear(bob).is_none(), "he does not observe it");
    let wanted =
        json!({"resource": url, "schema": SCHEMA, "identity": {"name": "bob"}, "source": BOB});
    bench.sm(bob, MessageType::Subscribe, "7", BOB, &wanted);
    let asked = bench.hear(alice).expect("she is asked");
    assert_eq!(
        head(&asked),
        (MessageType::Subscribe, BOB.to_owned(), format!("{url}/subscription"))
    );
    let expected =
        json!({"resource": url, "schema": SCHEMA, "identity": {"name": "bob"}, "subscriber": BOB});
    assert_eq!(body_of(&asked), expected);
    assert_eq!(asked.view().unwrap().ext().find(ExtTag::Source), Some(BOB.as_bytes()));
    bench.changes(alice, &url, &format!("{url}/changes"));
    assert!(bench.hear(bob).is_none(), "she has not agreed yet");
    bench.says_yes(alice, &asked, r#"{"code":200,"value":{}}"#);
    assert_eq!(head(&bench.hear(bob).unwrap()), (MessageType::Response, sm(), BOB.to_owned()));
    bench.changes(alice, &url, &format!("{url}/changes"));
    let copy = bench.hear(bob).expect("he observes it");
    assert_eq!(head(&copy), (MessageType::Update, url.clone(), format!("{url}/changes")));
    assert_eq!(bench.core.waiting(), (0, 0));
}

#[test]
fn whom_the_reporter_does_not_let_in_observes_nothing() {
    let mut bench = Bench::new();
    let (alice, eve) = (bench.app(&[ALICE]), bench.app(&[EVE]));
    let url = bench.creates(alice, ALICE);
    bench.sm(eve, MessageType::Subscribe, "7", EVE, &json!({"resource": url}));
    let asked = bench.hear(alice).unwrap();
    let view = asked.view().unwrap();
    bench.send(alice, response(view.id(), view.to(), view.from(), 403).body(b"{\"code\":403}"));
    assert_eq!(bench.hear(eve).unwrap().view().unwrap().header.code, 403);
    let around = message(MessageType::Subscribe, "8", EVE, &format!("{RUNTIME}/subscriptions"));
    let body: &'static str =
        Box::leak(json!({"resource": format!("{url}/changes")}).to_string().into_boxed_str());
    bench.send(eve, around.flag(flags::REPLY).body(body.as_bytes()));
    assert_eq!(bench.refused(eve), (403, "policy".to_owned()), "and there is no way around");
    bench.sm(eve, MessageType::Subscribe, "7", EVE, &json!({"resource": url}));
    let _asked = bench.hear(alice).unwrap();
    bench.pass(20_000);
    assert_eq!(bench.refused(eve).0, 408);
    for (from, to) in [(EVE, format!("{url}/children")), (EVE, format!("{url}/changes"))] {
        bench.send(eve, message(MessageType::Create, "9", from, &to).flag(flags::REPLY));
        assert_eq!(bench.refused(eve).0, 404, "{to}");
    }
    bench.send(
        eve,
        message(MessageType::Update, "9", &url, &format!("{url}/changes")).flag(flags::REPLY),
    );
    assert_eq!(bench.refused(eve), (403, "forged".to_owned()));
    bench.changes(alice, &url, &format!("{url}/changes"));
    assert!(bench.hear(eve).is_none() && bench.hear(alice).is_none());
}

#[test]
fn what_participants_add_reaches_all_others_and_the_reporter() {
    let mut bench = Bench::new();
    let (alice, bob, eve) = (bench.app(&[ALICE]), bench.app(&[BOB]), bench.app(&[EVE]));
    let url = bench.creates(alice, ALICE);
    bench.lets_in(&url, alice, (bob, BOB));
    bench.lets_in(&url, alice, (eve, EVE));
    let children = format!("{url}/children");
    for (link, from) in [(alice, ALICE), (bob, BOB)] {
        let create = message(MessageType::Create, "9", from, &children);
        bench.send(link, create.flag(flags::REPLY).body(b"{\"value\":{}}"));
        for (link, who) in [(alice, ALICE), (bob, BOB), (eve, EVE)] {
            let copy = bench.hear(link).expect("a copy");
            assert_eq!(
                head(&copy),
                (MessageType::Create, from.to_owned(), children.clone()),
                "{who}"
            );
        }
        assert_eq!(bench.hear(link).unwrap().view().unwrap().header.code, 200);
    }
}

#[test]
fn who_leaves_gets_nothing_more_and_the_reporter_is_told() {
    let mut bench = Bench::new();
    let (alice, bob) = (bench.app(&[ALICE]), bench.app(&[BOB]));
    let url = bench.creates(alice, ALICE);
    bench.lets_in(&url, alice, (bob, BOB));
    for _ in 0..2 {
        bench.sm(bob, MessageType::Unsubscribe, "8", BOB, &json!({"resource": url}));
        assert_eq!(bench.hear(bob).unwrap().view().unwrap().header.code, 200);
    }
    let told = bench.hear(alice).expect("she is told");
    assert_eq!(
        head(&told),
        (MessageType::Unsubscribe, BOB.to_owned(), format!("{url}/subscription"))
    );
    assert!(!told.view().unwrap().has(flags::REPLY) && bench.hear(alice).is_none(), "once");
    bench.changes(alice, &url, &format!("{url}/changes"));
    assert!(bench.hear(bob).is_none());
}

#[test]
fn an_object_is_taken_away_by_its_reporter_alone_and_ends_with_it() {
    let mut bench = Bench::new();
    let (alice, bob) = (bench.app(&[ALICE]), bench.app(&[BOB]));
    let (first, second) = (bench.creates(alice, ALICE), bench.creates(alice, ALICE));
    for url in [&first, &second] {
        bench.lets_in(url, alice, (bob, BOB));
        bench.sm(bob, MessageType::Delete, "8", BOB, &json!({"resource": url}));
        assert_eq!(bench.refused(bob), (403, "policy".to_owned()));
    }
    bench.sm(alice, MessageType::Delete, "8", ALICE, &json!({"resource": first}));
    assert_eq!(bench.hear(alice).unwrap().view().unwrap().header.code, 200);
    bench.input(Input::AppLeft { link: alice, unsent: Vec::new() });
    for url in [&first, &second] {
        let told = bench.hear(bob).expect("he is told");
        assert_eq!(head(&told), (MessageType::Delete, url.clone(), format!("{url}/changes")));
        assert_eq!(body_of(&told), json!({"resource": url}));
    }
    for url in [&first, &second] {
        bench.sm(bob, MessageType::Subscribe, "8", BOB, &json!({"resource": url}));
        assert_eq!(bench.refused(bob), (404, "unknown-address".to_owned()), "nor is it reserved");
    }
    assert_eq!(bench.core.bus.subscriptions.links().count(), 0);
}

#[test]
fn objects_are_registered_and_bounded_and_malformed_questions_are_refused() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let urls: Vec<String> = (0..OBJECTS_PER_LINK).map(|_| bench.creates(alice, ALICE)).collect();
    bench.sm(alice, MessageType::Create, "1", ALICE, &json!({"schema": SCHEMA}));
    assert_eq!(bench.refused(alice), (503, "overloaded".to_owned()));
    bench.sm(alice, MessageType::Delete, "1", ALICE, &json!({"resource": urls[0]}));
    assert!(bench.hear(alice).is_some());
    let body = json!({"subscribe": [format!("{RUNTIME}/registry/changes")]}).to_string();
    let body: &'static str = Box::leak(body.into_boxed_str());
    let ask = message(MessageType::Subscribe, "3", ALICE, &format!("{RUNTIME}/registry"));
    bench.send(alice, ask.flag(flags::REPLY).body(body.as_bytes()));
    let list = body_of(&bench.hear(alice).unwrap());
    let list: Vec<&str> =
        list["value"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(list.len(), OBJECTS_PER_LINK, "one less, and the application itself");
    assert!(list.contains(&urls[1].as_str()) && !list.contains(&urls[0].as_str()));
    for (kind, body, code) in [
        (MessageType::Subscribe, json!({}), 400),
        (MessageType::Subscribe, json!({"resource": 7}), 400),
        (MessageType::Subscribe, json!({"resource": "hyperty://home.example/alice"}), 400),
        (MessageType::Subscribe, json!({"resource": "comm://home.example/none"}), 404),
        (MessageType::Subscribe, json!({"resume": true}), 404),
        (MessageType::Create, json!({"resume": true}), 404),
        (MessageType::Read, json!({"resource": "comm://home.example/none"}), 404),
        (MessageType::Delete, json!({"resource": "comm://home.example/none"}), 404),
        (MessageType::Create, json!([]), 400),
        (MessageType::Handshake, json!({}), 501),
    ] {
        bench.sm(alice, kind, "5", ALICE, &body);
        assert_eq!(bench.refused(alice).0, code, "{kind:?} {body}");
    }
}

#[test]
fn a_stub_reports_and_observes_for_itself_and_for_nobody_outside() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let (_, stub, own) = bench.stub("far.example");
    bench.sm(stub, MessageType::Create, "5", REMOTE, &json!({"schema": SCHEMA}));
    assert_eq!(bench.refused(stub), (403, "policy".to_owned()));
    let url = bench.creates(stub, &own);
    bench.lets_in(&url, stub, (alice, ALICE));
    bench.changes(stub, &url, &format!("{url}/changes"));
    assert!(bench.hear(alice).is_some());
    let hers = bench.creates(alice, ALICE);
    bench.lets_in(&hers, alice, (stub, &own));
    bench.changes(alice, &hers, &format!("{hers}/changes"));
    assert!(bench.hear(stub).is_some());
    let before = bench.spawned.len();
    let elsewhere = json!({"resource": "comm://evil.example/o"});
    bench.sm(stub, MessageType::Subscribe, "5", &own, &elsewhere);
    assert_eq!(bench.refused(stub), (404, "no-route".to_owned()));
    assert_eq!(bench.spawned.len(), before, "and makes us fetch nothing");
}

#[test]
fn an_object_of_another_domain_is_observed_through_its_stub_and_node() {
    let mut bench = Bench::with(with_home_stub());
    let alice = bench.app(&[ALICE]);
    let (_, stub, _) = bench.stub("far.example");
    while bench.hear(stub).is_some() {}
    let url = "comm://far.example/o1";
    bench.sm(alice, MessageType::Subscribe, "7", ALICE, &json!({"resource": url}));
    let asked = bench.hear(stub).expect("it goes to the domain");
    assert_eq!(
        head(&asked),
        (MessageType::Subscribe, ALICE.to_owned(), format!("{url}/subscription"))
    );
    bench.says_yes(stub, &asked, r#"{"code":200,"value":{"data":{}}}"#);
    assert_eq!(head(&bench.hear(alice).unwrap()).1, sm());
    let told = bench.hear(stub).expect("the node is told");
    assert!(told.view().unwrap().to().ends_with("/sm"));
    let resources = &body_of(&told)["resources"];
    assert!(
        resources.as_array().unwrap().contains(&json!(format!("{url}/changes"))),
        "{resources}"
    );
    bench.changes(stub, url, &format!("{url}/changes"));
    assert_eq!(head(&bench.hear(alice).expect("a copy")).1, url);
}

/// What the generator of addresses gives next, from two numbers that it gave one after the other.
fn guess(url: &str) -> String {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let low = u64::from_str_radix(&url[url.len() - 16..], 16).unwrap();
    // Each step of the mixing can be undone.
    let undo = |z: u64, by: u32| {
        let mut x = z;
        for _ in 0..64 {
            x = z ^ (x >> by);
        }
        x
    };
    let inverse = |m: u64| {
        let mut x = m;
        for _ in 0..6 {
            x = x.wrapping_mul(2u64.wrapping_sub(m.wrapping_mul(x)));
        }
        x
    };
    let z = undo(low, 31).wrapping_mul(inverse(0x94D0_49BB_1331_11EB));
    let z = undo(z, 27).wrapping_mul(inverse(0xBF58_476D_1CE4_E5B9));
    let state = undo(z, 30);
    let mix = |s: u64| {
        let z = (s ^ (s >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let (high, low) =
        (mix(state.wrapping_add(STEP)), mix(state.wrapping_add(STEP).wrapping_add(STEP)));
    format!("comm://home.example/{high:016x}{low:016x}")
}

/// What would be the next address, for somebody who knows the secret.
fn foreseen(bench: &Bench) -> String {
    format!("comm://home.example/{}", bench.core.ua.guids.clone().next())
}

#[test]
fn attack_the_next_address_cannot_be_told_from_the_one_before() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let guessed = guess(&bench.creates(alice, ALICE));
    assert_ne!(bench.creates(alice, ALICE), guessed);
}

#[test]
fn attack_an_address_that_somebody_has_is_not_given_to_the_reporter_who_does_not_own_it() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    for below in ["", "/subscription", "/x/y"] {
        let claimed = foreseen(&bench);
        let (eve, _) = bench.join(7, &[&format!("{claimed}{below}")]);
        let url = bench.creates(alice, ALICE);
        assert_ne!(url, claimed, "{below}");
        for address in [url.clone(), format!("{url}/subscription")] {
            let owner = bench.core.bus.names.owner(&address);
            assert_eq!(owner, Some(crate::bus::Peer::Link(alice)), "not {eve:?}");
        }
    }
}

#[test]
fn attack_nobody_observes_an_object_by_having_subscribed_before_it_was_there() {
    let mut bench = Bench::with(with_home_stub());
    let (alice, eve) = (bench.app(&[ALICE]), bench.app(&[EVE]));
    let url = foreseen(&bench);
    let wanted = ["/changes", "/children", "/children/x"].map(|part| format!("{url}{part}"));
    let body: &'static str = Box::leak(json!({"resources": wanted}).to_string().into_boxed_str());
    let to: &'static str = Box::leak(format!("{RUNTIME}/subscriptions").into_boxed_str());
    let subscribe =
        message(MessageType::Subscribe, "3", EVE, to).flag(flags::REPLY | flags::ID_NUM);
    bench.send(eve, subscribe.body(body.as_bytes()));
    for resource in &wanted {
        assert!(bench.core.bus.subscriptions.is_subscribed(resource, EVE), "{resource}");
    }
    assert_eq!(bench.creates(alice, ALICE), url);
    for resource in &wanted {
        assert!(!bench.core.bus.subscriptions.is_subscribed(resource, EVE), "{resource}");
    }
    while bench.hear(eve).is_some() {}
    bench.changes(alice, &url, &format!("{url}/changes"));
    assert!(bench.hear(eve).is_none(), "she was not let in");
}

#[test]
fn the_applications_of_a_user_together_report_so_many_objects() {
    let mut bench = Bench::new();
    let body = json!({"schema": SCHEMA, "value": {}});
    for reporter in 0..OBJECTS_PER_UID / OBJECTS_PER_LINK {
        let link = bench.app(&[]);
        for object in 0..OBJECTS_PER_LINK {
            bench
                .core
                .bus
                .objects
                .insert(&format!("comm://home.example/{reporter}-{object}"), link);
        }
    }
    let alice = bench.app(&[ALICE]);
    bench.sm(alice, MessageType::Create, "1", ALICE, &body);
    assert_eq!(bench.refused(alice), (503, "overloaded".to_owned()));
    let (bob, _) = bench.join(2_000, &[BOB]);
    assert!(!bench.creates(bob, BOB).is_empty(), "another user's are counted by themselves");
}

#[test]
fn attack_a_foreign_stub_that_creates_objects_causes_no_deploy_and_tells_no_node() {
    let mut bench = Bench::with(with_home_stub());
    let alice = bench.app(&[ALICE]);
    bench.send(alice, message(MessageType::Update, "1", ALICE, REMOTE).body(b"{}"));
    let (_, stub, url) = bench.stub("far.example");
    bench.input(Input::AppLeft { link: alice, unsent: Vec::new() });
    bench.pass(1_000);
    bench.operator(5, protocol::control::Command::Undeploy { name: "home.example".to_owned() });
    bench.pass(5_000);
    let before: Vec<_> =
        bench.spawned.iter().map(|(_, role, name)| (*role, name.clone())).collect();
    bench.sm(stub, MessageType::Create, "1", &url, &json!({"schema": SCHEMA, "value": {}}));
    bench.pass(1_000);
    let after: Vec<_> = bench.spawned.iter().map(|(_, role, name)| (*role, name.clone())).collect();
    assert_eq!(before, after, "what came of a stub's message");
}
