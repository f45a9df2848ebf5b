//! What the home domain's own stub may bring in, and no other (ADR 0010; seed
//! `messaging-framework`: Alice reaches Bob over Bob's Messaging Service).

use super::bench::{ALICE, BOB, Bench, REMOTE, RUNTIME, message, request, response, settings};
use crate::input::{Input, LinkId};
use crate::settings::{DomainSettings, Settings};
use protocol::frame::{ExtTag, flags};
use protocol::message::MessageType;

/// Settings with a catalogue for the home domain.
pub(super) fn with_home_stub() -> Settings {
    let mut with = settings();
    let home = DomainSettings {
        catalogue: Some("https://home.example/.well-known".to_owned()),
        ..DomainSettings::default()
    };
    with.domains.insert("home.example".to_owned(), home);
    with
}

/// Bob here, the home domain's stub, and what it was told is forgotten.
fn world() -> (Bench, LinkId, LinkId) {
    let mut bench = Bench::with(with_home_stub());
    let bob = bench.app(&[BOB]);
    let (_, home, _) = bench.youngest();
    bench.heard.clear();
    (bench, bob, home)
}

#[test]
fn the_home_domains_stub_brings_in_strangers_who_may_neither_be_owned_nor_reserved_here() {
    let (mut bench, bob, home) = world();
    let alice = bench.app(&[ALICE]);
    bench.input(Input::AppLeft { link: alice, unsent: Vec::new() });
    let (_, _, far) = bench.stub("far.example");
    let table = [
        (REMOTE, true),
        ("hyperty://anybody.example/x", true),
        ("hyperty-runtime://far.example/their-runtime/registry", true),
        ("comm://far.example/object", true),
        ("sip:carol@far.example", true),
        ("hyperty://home.example/stranger", true),
        (BOB, false),
        (ALICE, false),
        (&format!("{ALICE}/below"), false),
        (RUNTIME, false),
        (far.as_str(), false),
        (&format!("{far}/status"), false),
        ("domain://registry.far.example", false),
        ("domain://msg-node.far.example/sm", false),
        ("domain-idp://far.example", false),
        ("user://far.example/carol", false),
        ("mn://far.example/session", false),
    ];
    bench.heard.clear();
    for (from, may) in table {
        bench.send(home, message(MessageType::Update, "1", from, BOB));
        let heard = bench.hear(bob);
        assert_eq!(heard.is_some(), may, "{from}");
        let inbound = heard.is_none_or(|frame| frame.view().unwrap().has(flags::INBOUND));
        assert!(inbound, "{from} is not marked");
    }
}

#[test]
fn no_other_stub_brings_in_strangers() {
    let (mut bench, bob, _) = world();
    let (_, far, _) = bench.stub("far.example");
    bench.heard.clear();
    for from in ["hyperty://other.example/x", "hyperty://home.example/stranger"] {
        bench.send(far, request("1", from, BOB));
        assert_eq!(bench.refusal(far).unwrap().2, "forged", "{from}");
    }
    // Without a catalogue the home domain has no stub of its own, whoever starts one.
    let mut bench = Bench::new();
    let bob_too = bench.app(&[BOB]);
    let (_, home, _) = bench.stub("home.example");
    bench.send(home, request("1", REMOTE, BOB));
    assert_eq!(bench.refusal(home).unwrap().2, "forged");
    assert_eq!((bench.hear(bob_too), bob.0), (None, bob.0));
}

#[test]
fn the_claims_of_a_body_are_held_to_the_same_rule() {
    let (mut bench, bob, home) = world();
    for (source, may) in [(REMOTE, true), ("hyperty://other.example/x", true), (BOB, false)] {
        let claims = message(MessageType::Update, "1", REMOTE, BOB);
        bench.send(home, claims.ext(ExtTag::Source, source.as_bytes()));
        assert_eq!(bench.hear(bob).is_some(), may, "{source}");
    }
}

#[test]
fn a_stranger_brought_in_never_causes_a_resolve_a_park_or_a_deploy() {
    let (mut bench, _, home) = world();
    let _near = bench.stub("near.example");
    let (before, waiting) = (bench.spawned.len(), bench.core.waiting());
    for to in ["hyperty://secret.evil.example/x", "hyperty://near.example/x", "sip:a@b.example"] {
        bench.send(home, request("1", REMOTE, to));
        let refused = Some(("1".to_owned(), 404, "no-route".to_owned()));
        assert_eq!(bench.refusal(home), refused, "{to}");
    }
    assert_eq!((bench.spawned.len(), bench.core.waiting()), (before, waiting));
}

#[test]
fn an_answer_goes_back_over_the_stub_that_brought_the_question_in() {
    let (mut bench, bob, home) = world();
    bench.send(home, request("7", REMOTE, BOB));
    assert_eq!(bench.ids(bob), ["7"]);
    bench.send(bob, response("7", BOB, REMOTE, 200));
    assert_eq!(bench.ids(home), ["7"]);
    assert!(bench.spawned.iter().all(|(_, _, name)| name != "far.example"));
}

#[test]
fn the_home_domains_node_does_not_answer_for_strangers() {
    let (mut bench, bob, home) = world();
    let (_, far, _) = bench.stub("far.example");
    bench.send(bob, request("1", BOB, REMOTE));
    assert_eq!(bench.ids(far), ["1"]);
    bench.heard.clear();
    bench.send(home, response("1", REMOTE, BOB, 200));
    assert_eq!(bench.hear(bob), None, "forged by the home node");
    bench.send(far, response("1", REMOTE, BOB, 200));
    assert_eq!(bench.ids(bob), ["1"]);
    // Not even what it was asked itself.
    let colleague = "hyperty://home.example/colleague";
    bench.send(bob, request("2", BOB, colleague));
    bench.send(home, response("2", REMOTE, BOB, 200));
    assert_eq!(bench.hear(bob), None);
    bench.send(home, response("2", colleague, BOB, 200));
    assert_eq!(bench.ids(bob), ["2"]);
}
