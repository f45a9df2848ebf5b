//! For whom the runtimes at the other ends speak, and what they cause.

use super::*;

#[test]
fn attack_023_whoever_is_at_the_other_end_speaks_for_itself_and_for_what_is_of_its_domain_alone() {
    let mut bench = Bench::with(with_p2p(false, false));
    let handler = bench.handler();
    let bob = bench.app(&[BOB]);
    let gone = bench.app(&[ALICE]);
    bench.input(Input::AppLeft { link: gone, unsent: Vec::new() });
    let speaks = |bench: &mut Bench, from: &str| {
        bench.heard.clear();
        bench.send(handler.1, message(MessageType::Update, "1", from, BOB));
        let heard = bench.hear(bob);
        assert!(heard.as_ref().is_none_or(|f| f.view().unwrap().has(flags::INBOUND)), "{from}");
        heard.is_some()
    };
    assert!(!speaks(&mut bench, CAROL), "nobody is connected");
    bench.connected(handler, 1, FAR);
    let table = [
        (CAROL, true),
        ("comm://far.example/room", true),
        (FAR, true),
        (&format!("{FAR}/registry"), true),
        ("hyperty-runtime://far.example/another", false),
        ("hyperty-runtime://far.example/another/registry", false),
        ("hyperty-runtime://far.example/70", false),
        ("hyperty://high.example/x", false),
        ("hyperty://home.example/stranger", false),
        ("hyperty://registry.far.example/x", false),
        (BOB, false),
        (ALICE, false),
        (RUNTIME, false),
        (&format!("{RUNTIME}/registry"), false),
        ("domain://registry.far.example", false),
        ("domain://msg-node.far.example/sm", false),
        ("domain-idp://far.example", false),
        ("user://far.example/carol", false),
        ("sip:carol@far.example", false),
    ];
    for (from, may) in table {
        assert_eq!(speaks(&mut bench, from), may, "{from}");
    }
    // Another of the same domain has said that one of them is its own.
    bench.connected(handler, 2, "hyperty-runtime://far.example/8");
    let changes = "hyperty-runtime://far.example/8/registry/changes";
    let registry = "hyperty-runtime://far.example/8/registry";
    let update = message(MessageType::Update, "9", registry, changes);
    bench.send(handler.1, with_body(update, &json!({"value": [CAROL]})));
    let forged = message(MessageType::Update, "9", CAROL, changes);
    bench.send(handler.1, with_body(forged, &json!({"value": [], "removed": [CAROL]})));
    bench.handler_says(handler.0, CtlUp::Left { conn: 2, refused: None });
    bench.status(handler.1, HANDLER, "disconnected", "hyperty-runtime://far.example/8");
    assert!(speaks(&mut bench, CAROL), "it is free again");
    bench.handler_says(handler.0, CtlUp::Left { conn: 1, refused: None });
    assert!(!speaks(&mut bench, CAROL), "the last one of the domain has left");
    assert!(bench.core.counters().accepted > 0);
}

#[test]
fn attack_023_a_stub_claims_no_connection_with_whom_it_was_not_proved() {
    let mut bench = Bench::with(with_p2p(false, false));
    let handler = bench.handler();
    bench.comes(handler.0, 1, "far.example");
    for remote in [
        HIGH,
        RUNTIME,
        "hyperty-runtime://far.example",
        "hyperty-runtime://far.example/7/below",
        "hyperty://far.example/7",
        "nonsense",
    ] {
        bench.status(handler.1, HANDLER, "live", remote);
    }
    assert_eq!(bench.core.ua.door.refused, 6);
    assert!(bench.hear(handler.1).is_none(), "none is a connection");
    let alice = bench.app(&[ALICE]);
    let (_, link, url) = bench.requester(alice, "1", CAROL);
    bench.heard.clear();
    bench.status(link, &url, "live", HIGH);
    bench.status(link, &url, "live", &url);
    assert_eq!(bench.core.ua.door.refused, 7);
    assert_eq!(bench.hear(link), None, "it goes to its own domain alone");
}

#[test]
fn a_runtime_at_the_other_end_causes_nothing_and_reaches_only_who_is_here() {
    let mut bench = Bench::with(with_p2p(true, true));
    bench.input(Input::Tick);
    let handler = bench.components.iter().find(|(_, url)| *url == HANDLER).map(|(id, _)| *id);
    let handler = handler.expect("the handler");
    let link = bench.core.bus.sandboxes[&handler];
    bench.connected((handler, link), 1, FAR);
    let before = bench.spawned.len();
    for to in ["hyperty://high.example/x", "hyperty://other.example/x", "sip:a@b.example", HIGH] {
        bench.heard.clear();
        bench.send(link, request("1", CAROL, to));
        let refused = bench.heard.get_mut(&link).unwrap();
        refused.retain(|frame| frame.view().unwrap().id() == "1");
        assert_eq!(bench.refusal(link).unwrap().2, "no-route", "{to}");
    }
    assert_eq!(bench.spawned.len(), before);
}
