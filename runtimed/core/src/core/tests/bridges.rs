//! What a stub may say, and to whom.

use super::bench::{ALICE, Bench, REMOTE, RUNTIME, message, request, response};
use crate::effect::Effect;
use crate::input::Input;
use protocol::frame::flags;
use protocol::message::MessageType;

#[test]
fn a_bridge_speaks_for_its_own_domain_and_itself_only() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let (sandbox, stub, url) = bench.stub("far.example");
    let sandbox = format!("{RUNTIME}/sandbox/{}", sandbox.0);
    let table = [
        (REMOTE, true),
        ("hyperty-runtime://far.example/their-runtime/registry", true),
        ("comm://far.example/object", true),
        ("domain://registry.far.example", true),
        ("domain://msg-node.far.example/sm", true),
        (url.as_str(), true),
        (&format!("{url}/below"), true),
        (sandbox.as_str(), true),
        (ALICE, false),
        ("hyperty://home.example/x", false),
        ("hyperty://other.example/x", false),
        ("hyperty://sub.far.example/x", false),
        ("hyperty://far.example:81/x", false),
        ("domain-idp://far.example", false),
        ("user://far.example/carol", false),
        ("user-guid://far.example", false),
        ("acct://far.example/x", false),
        ("mn://far.example/session", false),
        ("global://registry", false),
        ("sip://carol@far.example", false),
        ("unknown://far.example/x", false),
        (RUNTIME, false),
        ("hyperty-runtime://home.example/rt/sandbox", false),
    ];
    for (from, may) in table {
        bench.send(stub, message(MessageType::Update, "1", from, ALICE));
        assert_eq!(bench.ids(alice).len(), usize::from(may), "{from}");
    }
}

#[test]
fn only_what_comes_from_outside_is_marked_inbound() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let (_, stub, url) = bench.stub("far.example");
    for (from, inbound) in [(REMOTE, true), (url.as_str(), false)] {
        bench.send(stub, message(MessageType::Update, "1", from, ALICE));
        let frame = bench.hear(alice).unwrap();
        assert_eq!(frame.view().unwrap().has(flags::INBOUND), inbound, "{from}");
    }
}

#[test]
fn a_bridge_never_causes_a_resolve_a_park_or_a_deploy() {
    let mut bench = Bench::new();
    let _alice = bench.app(&[ALICE]);
    let (_, stub, url) = bench.stub("far.example");
    let _near = bench.stub("near.example");
    let before = bench.spawned.len();
    for to in ["hyperty://secret.evil.example/x", "hyperty://near.example/x", "sip:a@b.example"] {
        for from in [REMOTE, url.as_str()] {
            bench.send(stub, request("1", from, to));
            let refused = Some(("1".to_owned(), 404, "no-route".to_owned()));
            assert_eq!(bench.refusal(stub), refused, "{from} to {to}");
        }
    }
    assert_eq!((bench.spawned.len(), bench.core.waiting()), (before, (0, 0)));
}

#[test]
fn a_message_does_not_go_back_where_it_came_from() {
    let mut bench = Bench::new();
    let (_, stub, url) = bench.stub("far.example");
    for _ in 0..2 {
        bench.send(stub, request("1", REMOTE, &url));
        assert_eq!(bench.refusal(stub), Some(("1".to_owned(), 508, "loop".to_owned())));
    }
}

#[test]
fn a_bridge_answers_for_its_scope_and_no_other_requests() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let (_, far, _) = bench.stub("far.example");
    let (_, near, _) = bench.stub("near.example");
    bench.send(alice, request("1", ALICE, REMOTE));
    bench.send(near, response("1", "hyperty://near.example/x", ALICE, 200));
    bench.send(near, response("1", REMOTE, ALICE, 200));
    assert_eq!(bench.hear(alice), None);
    bench.send(far, response("1", "domain://msg-node.far.example/sm", ALICE, 200));
    assert_eq!(bench.ids(alice), ["1"]);
}

#[test]
fn a_flood_of_refused_messages_gets_429_and_the_stub_lives() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let (_, stub, _) = bench.stub("far.example");
    for _ in 0..1_500 {
        bench.send(stub, message(MessageType::Update, "1", ALICE, ALICE));
    }
    let counters = bench.core.counters();
    let count = |reason| counters.reasons.get(&reason).copied().unwrap_or_default();
    assert_eq!(count(protocol::reason::Reason::Forged), 1_000);
    assert_eq!(count(protocol::reason::Reason::Flood), 500);
    assert_eq!(bench.events("flood").len(), 1);
    bench.send(alice, request("1", ALICE, REMOTE));
    assert_eq!(bench.ids(stub), ["1"], "it is still there");
}

#[test]
fn a_status_reaches_its_subscribers_as_a_copy() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let (_, stub, url) = bench.stub("far.example");
    let at = format!("{RUNTIME}/subscriptions");
    let status = format!("{url}/status");
    let body = format!(r#"{{"resources":["{status}"]}}"#);
    let subscribe = |kind| {
        message(kind, "1", ALICE, &at).flag(flags::REPLY).body(body.as_bytes()).build().unwrap()
    };
    let send = |bench: &mut Bench, kind| {
        let frame = subscribe(kind);
        let view = frame.view().unwrap();
        let again = message(kind, view.id(), view.from(), view.to()).flag(flags::REPLY);
        bench.send(alice, again.body(view.body()));
        bench.hear(alice).unwrap().view().unwrap().header.code
    };
    assert_eq!(send(&mut bench, MessageType::Subscribe), 200);
    let live = || message(MessageType::Update, "9", &url, &status).body(br#"{"value":"LIVE"}"#);
    bench.send(stub, live());
    let frame = bench.hear(alice).unwrap();
    let view = frame.view().unwrap();
    assert_eq!((view.from(), view.to()), (url.as_str(), status.as_str()));
    assert!(String::from_utf8_lossy(view.body()).contains(r#""live""#));
    assert_eq!(send(&mut bench, MessageType::Unsubscribe), 200);
    bench.send(stub, live());
    assert_eq!(bench.hear(alice), None);
}

#[test]
fn a_frame_whose_texts_are_none_ends_the_worker_that_sent_it() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let (sandbox, stub, url) = bench.stub("far.example");
    let frame = message(MessageType::Update, "id", &url, ALICE).build().unwrap();
    let place = frame.bytes().windows(ALICE.len()).position(|part| part == ALICE.as_bytes());
    for byte in [0xFF, 0x00] {
        let mut bytes = frame.bytes().to_vec();
        bytes[place.unwrap()] = byte;
        let before = bench.core.counters();
        bench.input(Input::Frame { link: stub, frame: &mut bytes });
        let after = bench.core.counters();
        assert_eq!(after.accepted - before.accepted, after.refused - before.refused);
        assert_eq!(bench.hear(alice), None);
    }
    assert!(bench.others.contains(&Effect::Kill { sandbox }));
    let rows = bench.events("exited");
    let row = rows.iter().find(|row| row.sandbox == Some(sandbox.0)).expect("an event");
    assert_eq!(row.reason.as_deref(), Some("protocol"));
}
