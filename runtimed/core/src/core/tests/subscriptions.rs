//! Subscriptions: here and at the message nodes of other domains, through loss and return.

use super::bench::{ALICE, BOB, Bench, REMOTE, RUNTIME, message};
use super::home::with_home_stub;
use super::kept::{kept, restored};
use crate::effect::Effect;
use crate::input::{Input, LinkId, SandboxId};
use crate::limits::NODE_RETRY_MS;
use crate::store::{Change, Record, SubscriptionRow, Table};
use protocol::control::Command;
use protocol::frame::{ExtTag, flags};
use protocol::message::MessageType;
use serde_json::{Value, json};

const CHAT: &str = "comm://far.example/chat/changes";
const OTHER: &str = "comm://far.example/other/changes";
const NODE: &str = "domain://msg-node.far.example/sm";

impl Bench {
    fn at(&mut self, link: LinkId, kind: MessageType, from: &str, body: &Value) {
        let to = format!("{RUNTIME}/subscriptions");
        let id = format!("s{}", self.now);
        let body: &'static str = Box::leak(body.to_string().into_boxed_str());
        let frame = message(kind, &id, from, &to).flag(flags::REPLY).body(body.as_bytes());
        self.send(link, frame);
    }

    /// Code of the next response, or 0.
    fn answered(&mut self, link: LinkId) -> u16 {
        let Some(frame) = self.hear(link) else { return 0 };
        let view = frame.view().unwrap();
        assert_eq!(view.header.mtype, MessageType::Response.as_u8());
        view.header.code
    }

    fn subscribes(&mut self, link: LinkId, from: &str, resource: &str) -> u16 {
        self.at(link, MessageType::Subscribe, from, &json!({"resources": [resource]}));
        self.answered(link)
    }

    fn unsubscribes(&mut self, link: LinkId, from: &str, resource: &str) -> u16 {
        self.at(link, MessageType::Unsubscribe, from, &json!({"resource": resource}));
        self.answered(link)
    }

    /// What the node of a stub is told next, and its answer if it gives one.
    fn node(&mut self, stub: LinkId, code: Option<u16>) -> Told {
        let Some(frame) = self.hear(stub) else { return nothing() };
        let view = frame.view().unwrap();
        assert!(view.to().ends_with("/sm"), "{}", view.to());
        let body: Value = serde_json::from_slice(view.body()).unwrap();
        let list = |name: &str| -> Vec<String> {
            serde_json::from_value(body[name].clone()).unwrap_or_default()
        };
        let resources = list("resources");
        assert!([list("subscribe"), list("unsubscribe")].contains(&resources), "both spellings");
        assert_eq!(body["source"], view.from());
        assert_eq!(view.ext().find(ExtTag::Source), Some(view.from().as_bytes()));
        if let Some(code) = code {
            let answer = message(MessageType::Response, view.id(), view.to(), view.from());
            self.send(stub, answer.code(code));
        }
        (view.header.mtype, resources)
    }

    /// Rows that the store was told: new ones and ended ones.
    fn stored(&mut self) -> Vec<(bool, String, String)> {
        let mut rows = Vec::new();
        for effect in std::mem::take(&mut self.others) {
            let Effect::Persist(change) = effect else { continue };
            match *change {
                Change::Put(Record::Subscription(row)) => {
                    rows.push((true, row.resource, row.subscriber));
                }
                Change::Delete(key) if key.table == Table::Subscription => {
                    rows.push((false, key.first, key.second));
                }
                _ => {}
            }
        }
        rows
    }

    fn publishes(&mut self, link: LinkId, id: &str, from: &str, resource: &str) {
        self.send(link, message(MessageType::Update, id, from, resource).body(b"{\"n\":1}"));
    }
}

/// Type of a message to a node, and what it names.
type Told = (u8, Vec<String>);

fn joined(resources: &[&str]) -> Told {
    let resources = resources.iter().map(|text| (*text).to_owned()).collect();
    (MessageType::Subscribe.as_u8(), resources)
}

fn left(resource: &str) -> Told {
    (MessageType::Unsubscribe.as_u8(), vec![resource.to_owned()])
}

const fn nothing() -> Told {
    (0, Vec::new())
}

/// Alice is subscribed to the chat of another domain.
fn world() -> (Bench, LinkId, (SandboxId, LinkId)) {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    assert_eq!(bench.subscribes(alice, ALICE, CHAT), 0, "the node is yet to agree");
    let (sandbox, stub, _) = bench.youngest();
    assert_eq!(bench.node(stub, Some(200)), joined(&[CHAT]));
    assert_eq!(bench.answered(alice), 200);
    (bench, alice, (sandbox, stub))
}

#[test]
fn the_first_subscriber_is_told_to_the_node_and_the_last_one_that_leaves() {
    let (mut bench, alice, (_, stub)) = world();
    let bob = bench.app(&[BOB]);
    assert_eq!(bench.subscribes(bob, BOB, CHAT), 200, "the node knows already");
    assert_eq!(bench.subscribes(alice, ALICE, CHAT), 200, "twice is once");
    assert_eq!(bench.unsubscribes(alice, ALICE, CHAT), 200);
    assert_eq!(bench.node(stub, None), nothing());
    assert_eq!(bench.unsubscribes(bob, BOB, CHAT), 200);
    assert_eq!(bench.node(stub, Some(200)), left(CHAT));
    assert_eq!(bench.unsubscribes(bob, BOB, CHAT), 200, "twice is no mistake");
    assert_eq!(bench.node(stub, None), nothing());
}

#[test]
fn what_the_domain_publishes_reaches_every_subscriber_in_one_frame_and_marked_as_foreign() {
    let (mut bench, alice, (_, stub)) = world();
    let bob = bench.app(&[BOB]);
    assert_eq!(bench.subscribes(bob, BOB, CHAT), 200);
    let mut frame = message(MessageType::Update, "9", REMOTE, CHAT).body(b"{}").build().unwrap();
    let input = Input::Frame { link: stub, frame: frame.bytes_mut() };
    let effects = bench.core.handle(crate::Time(bench.now), input);
    let [Effect::Publish { links, frame }] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(links, &[alice, bob]);
    let view = frame.view().unwrap();
    assert_eq!((view.from(), view.to(), view.id()), (REMOTE, CHAT, "9"));
    assert!(view.has(flags::INBOUND));
    // Nobody is subscribed to this, so it goes nowhere.
    bench.publishes(stub, "10", REMOTE, OTHER);
    assert_eq!((bench.hear(alice), bench.hear(bob)), (None, None));
}

#[test]
fn a_stub_publishes_in_its_own_domain_only() {
    let (mut bench, alice, _) = world();
    let (_, near, _) = bench.stub("near.example");
    bench.publishes(near, "1", "hyperty://near.example/x", CHAT);
    assert_eq!(bench.hear(alice), None);
    bench.publishes(near, "1", REMOTE, CHAT);
    assert_eq!(bench.hear(alice), None);
    bench.at(near, MessageType::Subscribe, "hyperty://near.example/x", &json!({"resource": CHAT}));
    assert_eq!(bench.refusal(near).unwrap().2, "policy", "a stub causes no subscription");
}

#[test]
fn a_stub_that_comes_back_is_told_everything_again() {
    let (mut bench, alice, (sandbox, stub)) = world();
    assert_eq!(bench.subscribes(alice, ALICE, OTHER), 0);
    assert_eq!(bench.node(stub, Some(200)), joined(&[OTHER]));
    assert_eq!(bench.answered(alice), 200);
    bench.exits(sandbox, Vec::new());
    bench.pass(10);
    let (again, stub, url) = bench.youngest();
    assert_ne!(again, sandbox);
    assert_eq!(bench.node(stub, Some(200)), joined(&[CHAT, OTHER]));
    // Its connection was lost, and with it perhaps the node's memory. So soon after the last time
    // the node is told a moment later.
    let status = format!("{url}/status");
    for word in ["disconnected", "live"] {
        let body: &[u8] =
            if word == "live" { br#"{"value":"live"}"# } else { br#"{"value":"disconnected"}"# };
        bench.send(stub, message(MessageType::Update, "1", &url, &status).body(body));
    }
    bench.pass(crate::limits::RESTORE_JITTER_MS);
    assert_eq!(bench.node(stub, Some(200)), joined(&[CHAT, OTHER]));
    assert_eq!(bench.node(stub, None), nothing());
    assert_eq!(bench.hear(alice), None, "nobody here notices");
}

#[test]
fn a_node_that_is_lost_for_a_minute_costs_its_requests_their_deadline_and_no_subscription() {
    let (mut bench, alice, (_, stub)) = world();
    let (_, _, url) = bench.youngest();
    let status = format!("{url}/status");
    let says = |bench: &mut Bench, word: &str| {
        let body = format!(r#"{{"value":"{word}"}}"#);
        let said = message(MessageType::Update, "1", &url, &status);
        bench.send(stub, said.body(body.as_bytes()));
    };
    says(&mut bench, "disconnected");
    for second in 0..60 {
        let id = format!("q{second}");
        let request = message(MessageType::Read, &id, ALICE, REMOTE);
        bench.send(alice, request.flag(flags::REPLY));
        if second == 20 {
            bench.at(alice, MessageType::Subscribe, ALICE, &json!({"resources": [OTHER]}));
        }
        bench.pass(1_000);
        // The stub takes what it cannot pass on.
        let taken = bench.heard.remove(&stub).unwrap_or_default();
        let (frames, bytes) = (u32::try_from(taken.len()).unwrap(), 0);
        bench.input(Input::Disposed { link: stub, frames, bytes });
    }
    bench.pass(15_000);
    let answers = bench.heard.remove(&alice).unwrap_or_default();
    let codes: Vec<u16> = answers.iter().map(|frame| frame.view().unwrap().header.code).collect();
    assert_eq!((codes.len(), codes.iter().all(|code| *code == 408)), (61, true), "{codes:?}");
    assert_eq!(bench.core.waiting(), (0, 0));
    says(&mut bench, "live");
    assert_eq!(bench.node(stub, Some(200)), joined(&[CHAT]), "the other was refused to Alice");
    bench.publishes(stub, "p", "hyperty://far.example/carol", CHAT);
    assert_eq!(bench.ids(alice), ["p"]);
    assert_eq!(bench.subscribes(alice, ALICE, OTHER), 0);
    assert_eq!(bench.node(stub, Some(200)), joined(&[OTHER]));
    assert_eq!(bench.answered(alice), 200);
}

#[test]
fn a_node_that_refuses_is_told_to_who_asked_and_one_that_fails_later_is_asked_again() {
    let (mut bench, alice, (_, stub)) = world();
    assert_eq!(bench.subscribes(alice, ALICE, OTHER), 0);
    assert_eq!(bench.node(stub, Some(403)), joined(&[OTHER]));
    assert_eq!(bench.refusal(alice).unwrap().2, "node-refused");
    bench.pass(NODE_RETRY_MS[0] + 10);
    assert_eq!(bench.node(stub, None), nothing(), "it was taken back");
    let (_, _, url) = bench.youngest();
    let live = |bench: &mut Bench, word: &'static [u8]| {
        let status = format!("{url}/status");
        bench.send(stub, message(MessageType::Update, "1", &url, &status).body(word));
    };
    live(&mut bench, br#"{"value":"live"}"#);
    for wait in &NODE_RETRY_MS[..3] {
        assert_eq!(bench.node(stub, Some(500)), joined(&[CHAT]));
        bench.pass(wait - 1);
        assert_eq!(bench.node(stub, None), nothing());
        bench.pass(2);
    }
    assert_eq!(bench.node(stub, Some(200)), joined(&[CHAT]));
}

#[test]
fn a_request_that_the_node_does_not_answer_ends_by_its_deadline_once() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    assert_eq!(bench.subscribes(alice, ALICE, CHAT), 0);
    let (_, stub, _) = bench.youngest();
    assert_eq!(bench.node(stub, None), joined(&[CHAT]));
    bench.pass(15_000 + 10);
    assert_eq!(bench.refusal(alice).unwrap().1, 408);
    assert_eq!(bench.hear(alice), None);
    bench.pass(60_000);
    assert_eq!((bench.core.waiting(), bench.hear(alice)), ((0, 0), None));
}

#[test]
fn a_domain_whose_stub_cannot_be_had_answers_the_subscriber_with_the_stage() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    bench.fetch_fails = Some(protocol::ctl::FetchError::Unusable);
    assert_eq!(bench.subscribes(alice, ALICE, CHAT), 503);
    let told = bench.stored();
    assert_eq!(told.last().map(|row| row.0), Some(false), "nothing is left of it: {told:?}");
    bench.pass(600_000);
    assert_eq!(bench.spawned.len(), 2, "and nothing is tried again");
}

#[test]
fn every_spelling_is_read_and_the_source_is_who_the_sender_may_speak_for() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE, "comm://home.example/mine"]);
    let bob = bench.app(&[BOB]);
    let mine = "comm://home.example/mine/changes";
    let child = format!("{ALICE}/child");
    let spellings = [
        (json!({"subscribe": [mine]}), 200),
        (json!({"resources": [mine]}), 200),
        (json!({"resource": mine}), 200),
        (json!({"subscribe": mine, "resources": [format!("{BOB}/status")]}), 200),
        (json!({"resources": [mine], "source": child}), 200),
        (json!({"resources": [mine], "subscriber": child}), 200),
        (json!({"resources": [mine], "source": null}), 200),
        (json!({"resources": [mine], "source": BOB}), 403),
        (json!({"resources": [mine], "source": REMOTE}), 403),
        (json!({"resources": [mine], "source": RUNTIME}), 403),
        (json!({"resources": []}), 400),
        (json!({"resources": [5]}), 400),
        (json!({"resources": ["nonsense"]}), 400),
        (json!({}), 400),
        (json!({"resources": [format!("{BOB}/anything")]}), 501),
        (json!({"resources": [format!("{RUNTIME}/anything")]}), 501),
        (json!({"resources": ["hyperty://home.example/nobody/status"]}), 404),
        (json!({"resources": ["sip:a@far.example"]}), 501),
        (json!({"resources": [NODE]}), 501),
    ];
    for (body, code) in spellings {
        bench.now += 1;
        bench.at(alice, MessageType::Subscribe, ALICE, &body);
        assert_eq!(bench.answered(alice), code, "{body}");
    }
    // One copy a connection, whatever it is called there.
    bench.publishes(alice, "7", "comm://home.example/mine", mine);
    assert_eq!(bench.ids(alice), ["7"]);
    bench.publishes(bob, "8", BOB, mine);
    assert_eq!(bench.hear(alice), None, "the object is not Bob's");
}

#[test]
fn a_subscription_waits_for_its_application_and_tells_how_much_was_missed() {
    let (mut bench, alice, (_, stub)) = world();
    let stored = bench.stored();
    assert_eq!(stored, [(true, CHAT.to_owned(), ALICE.to_owned())]);
    bench.input(Input::AppLeft { link: alice, unsent: Vec::new() });
    for id in ["1", "2"] {
        bench.publishes(stub, id, REMOTE, CHAT);
    }
    let alice = bench.app(&[ALICE]);
    assert_eq!((bench.stored(), bench.node(stub, None)), (vec![], nothing()));
    bench.publishes(stub, "3", REMOTE, CHAT);
    let frame = bench.hear(alice).unwrap();
    assert_eq!((frame.view().unwrap().id(), frame.view().unwrap().lagged()), ("3", 2));
    bench.publishes(stub, "4", REMOTE, CHAT);
    assert_eq!(bench.hear(alice).unwrap().view().unwrap().lagged(), 0);
    // What is not a claimed address ends with its connection.
    let own = format!("{RUNTIME}/app/{}", 1);
    let third = bench.app(&[]);
    let own = match bench.others.iter().rev().find(|e| matches!(e, Effect::Welcome { .. })) {
        Some(Effect::Welcome { address, .. }) => address.clone(),
        _ => own,
    };
    assert_eq!(bench.subscribes(third, &own, OTHER), 0);
    assert_eq!(bench.node(stub, Some(200)), joined(&[OTHER]));
    bench.input(Input::AppLeft { link: third, unsent: Vec::new() });
    assert_eq!(bench.node(stub, Some(200)), left(OTHER));
    assert_eq!(bench.stored(), []);
}

#[test]
fn what_was_kept_comes_back_with_its_claims_and_the_node_is_told_once() {
    let (mut first, alice, (_, stub)) = world();
    let bob = first.join(2_000, &[BOB]).0;
    assert_eq!(first.subscribes(bob, BOB, CHAT), 200);
    assert_eq!(first.subscribes(alice, ALICE, OTHER), 0);
    assert_eq!(first.node(stub, Some(200)), joined(&[OTHER]));
    let row = |resource: &str, subscriber: &str| {
        Record::Subscription(SubscriptionRow {
            resource: resource.to_owned(),
            subscriber: subscriber.to_owned(),
            domain: "far.example".to_owned(),
            identity: None,
            since_ms: 1,
        })
    };
    let mut rows = kept(&first);
    for odd in [row(CHAT, "hyperty://home.example/nobody"), row("nonsense", ALICE)] {
        rows.insert(odd.key(), odd);
    }
    let mut bench = restored(rows);
    assert_eq!(bench.stored(), [], "what is there already is nothing new");
    bench.pass(2_000);
    let (_, stub, _) = bench.youngest();
    assert_eq!(bench.node(stub, Some(200)), joined(&[CHAT, OTHER]));
    let alice = bench.app(&[ALICE]);
    bench.publishes(stub, "1", REMOTE, CHAT);
    assert_eq!(bench.ids(alice), ["1"]);
    assert_eq!(bench.unsubscribes(alice, ALICE, CHAT), 200);
    assert_eq!(bench.stored(), [(false, CHAT.to_owned(), ALICE.to_owned())]);
    assert_eq!(bench.node(stub, None), nothing(), "Bob still has it");
}

#[test]
fn a_kept_subscription_never_goes_to_another_user() {
    let mut bench = Bench::new();
    let status = format!("{BOB}/status");
    let bob = bench.app(&[BOB]);
    let alice = bench.app(&[ALICE]);
    assert_eq!(bench.subscribes(alice, ALICE, &status), 200);
    bench.input(Input::AppLeft { link: alice, unsent: Vec::new() });
    bench.core.bus.names.unreserve(ALICE);
    let (thief, refused) = bench.join(2_000, &[ALICE]);
    assert_eq!(refused, None);
    bench.publishes(bob, "1", BOB, &status);
    assert_eq!(bench.hear(thief), None);
}

#[test]
fn who_is_connected_is_told_to_the_home_domains_node_and_what_they_publish_goes_there() {
    let mut bench = Bench::with(with_home_stub());
    let object = "comm://home.example/chat";
    let bob = bench.app(&[BOB, object]);
    let (sandbox, home, _) = bench.youngest();
    let told = bench.node(home, Some(200));
    assert_eq!(told.0, MessageType::Subscribe.as_u8());
    let mut all = told.1;
    all.extend(bench.node(home, Some(200)).1);
    all.sort();
    assert_eq!(all, [object, BOB]);
    let changes = format!("{object}/changes");
    bench.publishes(bob, "5", BOB, &changes);
    bench.publishes(bob, "6", object, &changes);
    let frame = bench.hear(home).expect("Bob owns the object, whatever he speaks as");
    assert_eq!(frame.view().unwrap().id(), "5");
    assert_eq!(bench.ids(home), ["6"]);
    bench.exits(sandbox, Vec::new());
    bench.pass(10);
    let (_, home, _) = bench.youngest();
    assert_eq!(bench.node(home, Some(200)), joined(&[object, BOB]));
    bench.input(Input::AppLeft { link: bob, unsent: Vec::new() });
    let gone = bench.node(home, Some(200));
    assert_eq!(gone.0, MessageType::Unsubscribe.as_u8());
}

#[test]
fn a_stub_through_which_somebody_is_subscribed_is_not_idle() {
    let (mut bench, alice, (sandbox, _)) = world();
    bench.pass(3_600_000);
    assert!(bench.youngest().0 == sandbox && bench.events("exited").is_empty());
    assert_eq!(bench.unsubscribes(alice, ALICE, CHAT), 200);
    let (_, stub, _) = bench.youngest();
    assert_eq!(bench.node(stub, Some(200)), left(CHAT));
    bench.pass(1_200_000);
    assert!(!bench.events("exited").is_empty(), "now it is");
}

#[test]
fn an_operator_who_removes_a_stub_is_not_overruled_by_a_subscription() {
    let (mut bench, alice, _) = world();
    let spawned = bench.spawned.len();
    bench.operator(5, Command::Undeploy { name: "far.example".to_owned() });
    bench.pass(600_000);
    assert_eq!(bench.spawned.len(), spawned);
    // Whoever has a reason to be there brings it back, and everything is as it was.
    bench.send(alice, super::bench::request("1", ALICE, REMOTE));
    let (_, stub, _) = bench.youngest();
    assert_eq!(bench.ids(stub).len(), 2, "the request, and what the node is told");
}

#[test]
fn a_home_stub_that_is_configured_later_is_told_who_is_connected() {
    let mut bench = Bench::new();
    let _bob = bench.app(&[BOB]);
    assert!(bench.spawned.is_empty());
    bench.input(Input::Configured { settings: Box::new(with_home_stub()) });
    let (_, home, _) = bench.youngest();
    assert_eq!(bench.node(home, Some(200)), joined(&[BOB]));
    bench.input(Input::Configured { settings: Box::new(super::bench::settings()) });
    bench.pass(600_000);
    assert_eq!(bench.node(home, None), nothing(), "nothing leads there any more");
}
