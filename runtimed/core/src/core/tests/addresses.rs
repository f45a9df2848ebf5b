//! Who may have and speak as which address.

use super::bench::{ALICE, BOB, Bench, RUNTIME, message, request};
use crate::input::Input;
use protocol::frame::{ExtTag, flags};
use protocol::message::MessageType;

#[test]
fn an_application_claims_hyperty_and_data_object_addresses_of_the_home_domain() {
    let mut bench = Bench::new();
    for address in [
        "hyperty://home.example/a",
        "HYPERTY://Home.Example/b/",
        "comm://home.example/c",
        "resource://home.example/d/e",
        "context://home.example/f",
    ] {
        assert_eq!(bench.join(1, &[address]).1, None, "{address}");
    }
}

#[test]
fn thirty_claims_are_refused() {
    let mut bench = Bench::new();
    bench.app(&["hyperty://home.example/taken/here"]);
    let many: Vec<String> = (0..65).map(|n| format!("hyperty://home.example/n{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(bench.join(1, &many).1.as_deref(), Some("too-many-addresses"));
    let table = [
        ("hyperty://home.example", "not-claimable"),
        ("hyperty://home.example/", "not-claimable"),
        ("hyperty://other.example/a", "not-claimable"),
        ("hyperty://sub.home.example/a", "not-claimable"),
        ("hyperty://registry.home.example/a", "not-claimable"),
        ("hyperty://msg-node.home.example/a", "not-claimable"),
        ("hyperty://home.example:8080/a", "not-claimable"),
        ("runtime://home.example/rt", "not-claimable"),
        ("hyperty-runtime://home.example/rt", "not-claimable"),
        ("hyperty-runtime://home.example/rt/registry/changes", "not-claimable"),
        ("hyperty-runtime://home.example/other", "not-claimable"),
        ("domain://registry.home.example", "not-claimable"),
        ("domain://msg-node.home.example/sm", "not-claimable"),
        ("domain-idp://home.example/a", "not-claimable"),
        ("global://registry", "not-claimable"),
        ("user://home.example/alice", "not-claimable"),
        ("user-guid://home.example/a", "not-claimable"),
        ("acct://home.example/a", "not-claimable"),
        ("mn://home.example/session", "not-claimable"),
        ("sip:alice@home.example", "not-claimable"),
        ("xmpp://alice@home.example", "not-claimable"),
        ("https://home.example/a", "not-claimable"),
        ("hyperty://home.example/taken", "address-taken"),
        ("hyperty://home.example/taken/here", "address-taken"),
        ("hyperty://home.example/taken/here/below", "address-taken"),
        ("HYPERTY://HOME.example/taken/here/", "address-taken"),
        ("*", "bad-address"),
        ("home.example/a", "bad-address"),
        ("hyperty://home.example/../a", "bad-address"),
        ("hyperty://home.example//a", "bad-address"),
        ("hyperty://home.example./a", "bad-address"),
        ("hyperty://home.example/%61", "bad-address"),
    ];
    for (address, reason) in table {
        let refused = bench.join(1, &["hyperty://home.example/fine", address]).1;
        assert_eq!(refused.as_deref(), Some(reason), "{address}");
    }
    assert_eq!(bench.join(1, &["hyperty://home.example/fine"]).1, None, "all or nothing");
}

#[test]
fn an_address_stays_with_its_user_and_answers_receiver_gone_until_it_is_claimed_again() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    bench.send(bob, request("1", BOB, ALICE));
    assert_eq!(bench.ids(alice), ["1"]);
    bench.input(Input::AppLeft { link: alice, unsent: Vec::new() });
    let gone = |id: &str| Some((id.to_owned(), 503, "receiver-gone".to_owned()));
    assert_eq!(bench.refusal(bob), gone("1"));
    bench.send(bob, request("2", BOB, ALICE));
    assert_eq!(bench.refusal(bob), gone("2"));
    assert_eq!(bench.join(2_000, &[ALICE]).1.as_deref(), Some("address-taken"));
    assert_eq!(
        bench.join(2_000, &["hyperty://home.example/alice/x"]).1.as_deref(),
        Some("address-taken")
    );
    let (again, refused) = bench.join(1_000, &[ALICE]);
    assert_eq!(refused, None);
    bench.send(bob, request("3", BOB, ALICE));
    assert_eq!(bench.ids(again), ["3"]);
}

#[test]
fn a_sender_speaks_as_what_it_owns_and_below_and_as_nothing_else() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    for from in ["hyperty://home.example/alice", "hyperty://home.example/alice/child/x"] {
        bench.send(alice, message(MessageType::Update, "1", from, BOB));
        assert_eq!(bench.ids(bob), ["1"], "{from}");
    }
    for from in [
        BOB,
        "hyperty://home.example/alicex",
        "hyperty://home.example",
        "hyperty://far.example/carol",
        RUNTIME,
        "hyperty-runtime://home.example/rt/ua",
        "domain://registry.home.example",
    ] {
        bench.send(alice, request("2", from, BOB));
        let refused = bench.refusal(alice);
        assert_eq!(refused, Some(("2".to_owned(), 403, "forged".to_owned())), "{from}");
        assert!(bench.ids(bob).is_empty());
    }
    for from in ["", "nonsense"] {
        bench.send(alice, request("3", from, BOB));
        assert_eq!(bench.refusal(alice).unwrap().2, "bad-address");
    }
}

#[test]
fn a_refused_message_that_expects_nothing_is_counted_and_shown_but_not_answered() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let _bob = bench.app(&[BOB]);
    for _ in 0..5 {
        bench.send(alice, message(MessageType::Update, "1", BOB, ALICE));
    }
    assert_eq!(bench.hear(alice), None);
    assert_eq!(bench.core.counters().refused, 5);
    let events = bench.events("refused");
    assert_eq!(events.len(), 1, "equal ones of a second are one");
    assert_eq!(events[0].reason.as_deref(), Some("forged"));
    bench.pass(1_000);
    bench.send(alice, message(MessageType::Update, "1", BOB, ALICE));
    assert!(bench.events("refused")[1].detail.ends_with("(5 times)"));
}

#[test]
fn a_source_in_the_body_is_held_to_the_rule_of_from() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    let with = |source: &str| request("1", ALICE, BOB).ext(ExtTag::Source, source.as_bytes());
    bench.send(alice, with("hyperty://home.example/alice/x"));
    assert_eq!(bench.ids(bob), ["1"]);
    for source in [BOB, "hyperty://far.example/x", "nonsense", ""] {
        let mut message = with(source);
        if source == BOB {
            message = message.ext(ExtTag::Source, ALICE.as_bytes());
        }
        bench.send(alice, message);
        // The first one still waits for Bob: the source is looked at before the id.
        assert_eq!(bench.refusal(alice).unwrap().2, "forged-source", "{source}");
    }
}

#[test]
fn other_spellings_arrive_canonical_and_their_answers_find_back() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    let spelled = request("1", "HYPERTY://home.EXAMPLE/alice/", "Hyperty://Home.example/bob/");
    bench.send(alice, spelled.ext(ExtTag::Trace, &[7; 25]).body(b"{\"x\":1}"));
    let frame = bench.hear(bob).unwrap();
    let view = frame.view().unwrap();
    assert_eq!((view.from(), view.to(), view.body()), (ALICE, BOB, &b"{\"x\":1}"[..]));
    assert_eq!(view.ext().find(ExtTag::Trace), Some(&[7; 25][..]));
    bench.send(bob, super::bench::response("1", BOB, ALICE, 200));
    assert!(!bench.hear(alice).unwrap().view().unwrap().has(flags::SYNTH));
}

#[test]
fn what_only_the_daemon_may_say_is_taken_off_and_the_origin_is_written() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    let lies = flags::SYNTH | flags::INBOUND | flags::REDELIVERED | flags::LAGGED;
    for _ in 0..2 {
        bench.send(alice, message(MessageType::Update, "1", ALICE, BOB).flag(lies).hops(5));
        let frame = bench.hear(bob).unwrap();
        let view = frame.view().unwrap();
        assert_eq!(view.header.flags & flags::DAEMON_ONLY, 0);
        assert_eq!((view.header.origin, view.header.oseq), (u64::from(alice.0), 1));
        assert_eq!(view.header.hops, 4);
    }
}

#[test]
fn addresses_that_would_live_here_and_do_not_are_404_at_once() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    for to in [
        "hyperty://home.example/alice/nobody",
        "hyperty://home.example/stranger",
        "hyperty-runtime://home.example/rt/nothing",
        "hyperty-runtime://home.example/rt/sandbox/77",
        "domain://registry.home.example",
        "hyperty-runtime://home.example/another",
    ] {
        bench.send(alice, request("1", ALICE, to));
        let refused = Some(("1".to_owned(), 404, "unknown-address".to_owned()));
        assert_eq!(bench.refusal(alice), refused, "{to}");
    }
    bench.send(alice, request("1", ALICE, "nonsense://far.example/x"));
    assert_eq!(bench.refusal(alice).unwrap().2, "no-route");
    assert!(bench.spawned.iter().all(|spawn| spawn.2 == "net"), "{:?}", bench.spawned);
}
