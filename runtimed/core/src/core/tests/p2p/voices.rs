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
        let said = message(MessageType::Update, "1", from, BOB);
        bench.send(handler.1, by("far.example", said));
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
    bench.send(handler.1, by("far.example", with_body(update, &json!({"value": [CAROL]}))));
    let forged = message(MessageType::Update, "9", CAROL, changes);
    let gone = json!({"value": [], "removed": [CAROL]});
    bench.send(handler.1, by("far.example", with_body(forged, &gone)));
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
        bench.send(link, by("far.example", request("1", CAROL, to)));
        let refused = bench.heard.get_mut(&link).unwrap();
        refused.retain(|frame| frame.view().unwrap().id() == "1");
        assert_eq!(bench.refusal(link).unwrap().2, "no-route", "{to}");
    }
    assert_eq!(bench.spawned.len(), before);
}

#[test]
fn attack_023_whoever_came_speaks_for_its_own_domain_whatever_the_handler_takes_it_for() {
    let mut bench = Bench::with(with_p2p(false, false));
    let handler = bench.handler();
    let bob = bench.app(&[BOB]);
    bench.connected(handler, 1, FAR);
    bench.connected(handler, 2, HIGH);
    let other = "hyperty://high.example/x";
    let speaks = |bench: &mut Bench, said: FrameBuilder<'_>| {
        bench.heard.clear();
        bench.send(handler.1, said);
        bench.hear(bob).is_some()
    };
    let said = |from: &str| message(MessageType::Update, "1", from, BOB);
    // The other way round first: what is remembered of a pair of addresses says nothing of who spoke.
    for (from, guest, may) in [
        (CAROL, "far.example", true),
        (other, "high.example", true),
        (CAROL, "high.example", false),
        (other, "far.example", false),
        (FAR, "high.example", false),
        (CAROL, "", false),
        (CAROL, "home.example", false),
        (HANDLER, "far.example", false),
        (HANDLER, "home.example", false),
        (CAROL, "far.example", true),
    ] {
        assert_eq!(speaks(&mut bench, by(guest, said(from))), may, "{from} by {guest}");
    }
    assert!(!speaks(&mut bench, said(CAROL)), "the handler does not say who spoke");
    assert!(speaks(&mut bench, said(HANDLER)), "but speaks for itself");
    let sourced = |source: &'static str| said(CAROL).ext(ExtTag::Source, source.as_bytes());
    assert!(speaks(&mut bench, by("far.example", sourced(CAROL))));
    assert!(!speaks(&mut bench, by("far.example", sourced(other))));
    // It answers for one, and nobody else does; what it cannot hand on it says by itself.
    for (answered_by, may) in
        [(Some("high.example"), false), (Some("far.example"), true), (None, true)]
    {
        bench.send(bob, request("5", BOB, CAROL));
        bench.heard.clear();
        let answer = response("5", CAROL, BOB, 200);
        let answer = match answered_by {
            Some(domain) => by(domain, answer),
            None => answer,
        };
        bench.send(handler.1, answer);
        assert_eq!(bench.hear(bob).is_some(), may, "{answered_by:?}");
        bench.send(handler.1, response("5", CAROL, BOB, 200));
    }
}

#[test]
fn attack_023_what_a_runtime_says_wrong_for_a_day_does_not_wash_the_record_away() {
    let mut bench = Bench::with(with_p2p(false, false));
    let handler = bench.handler();
    let _bob = bench.app(&[BOB]);
    bench.connected(handler, 1, FAR);
    let before = bench.events("refused").len();
    let (registry, changes) = (format!("{FAR}/registry"), format!("{FAR}/registry/changes"));
    for _ in 0..5_000 {
        bench.now += 1_000;
        let lists = message(MessageType::Update, "9", &registry, &changes);
        let lists = with_body(lists, &json!({"value": ["hyperty://high.example/x", BOB]}));
        bench.send(handler.1, by("far.example", lists));
        let forged = message(MessageType::Update, "1", "hyperty://high.example/x", BOB);
        bench.send(handler.1, by("far.example", forged));
    }
    let told = bench.events("refused").len() - before;
    assert!(told < 200, "{told} events");
    assert_eq!(bench.core.ua.door.refused, 10_000, "all are counted");
}
