//! Messages to other domains: parked, released, refused, and what a dying stub leaves.

use super::bench::{ALICE, BOB, Bench, REMOTE, message, request, response, settings};
use crate::input::Input;
use crate::settings::DomainSettings;
use protocol::ctl::{FetchError, Role};
use protocol::frame::{ExtTag, Frame, flags};
use protocol::message::MessageType;

#[test]
fn parked_messages_go_out_in_order_before_newer_ones_and_one_deploy_serves_all() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    bench.willing = false;
    for (link, id, from) in [(alice, "1", ALICE), (bob, "2", BOB), (alice, "3", ALICE)] {
        bench.send(link, request(id, from, REMOTE));
    }
    bench.send(alice, message(MessageType::Update, "4", ALICE, "hyperty://far.example/dora"));
    assert_eq!(bench.core.waiting(), (3, 4));
    bench.willing = true;
    bench.work();
    bench.send(alice, request("5", ALICE, REMOTE));
    let (_, stub, _) = bench.youngest();
    let first = bench.heard[&stub][0].clone();
    assert_eq!(bench.ids(stub), ["1", "2", "3", "4", "5"]);
    assert_eq!(first.view().unwrap().header.origin, u64::from(alice.0));
    assert_eq!(bench.spawned.iter().filter(|spawn| spawn.1 == Role::Stub).count(), 1);
    bench.send(stub, response("2", REMOTE, BOB, 200));
    assert_eq!(bench.ids(bob), ["2"]);
    assert!(bench.core.counters().queued > 0);
}

#[test]
fn a_failed_deploy_answers_every_parked_request_with_its_stage() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    bench.fetch_fails = Some(FetchError::Unusable);
    bench.willing = false;
    bench.send(alice, request("1", ALICE, REMOTE));
    bench.send(alice, message(MessageType::Update, "2", ALICE, REMOTE));
    bench.willing = true;
    bench.work();
    let frame = bench.hear(alice).unwrap();
    let body: serde_json::Value = serde_json::from_slice(frame.view().unwrap().body()).unwrap();
    assert_eq!(body["reason"], "descriptor-unusable");
    assert!(body["stage"].is_string() && body["retryAfter"].is_number(), "{body}");
    assert_eq!(frame.view().unwrap().from(), REMOTE);
    assert_eq!((bench.hear(alice), bench.core.waiting()), (None, (0, 0)));
    assert_eq!(bench.core.counters().refused, 2);
    // The next one is told the same at once.
    bench.send(alice, request("3", ALICE, REMOTE));
    assert_eq!(bench.refusal(alice).unwrap().2, "descriptor-unusable");
}

#[test]
fn what_a_stub_never_took_waits_for_the_next_one_and_what_it_took_is_lost_with_notice() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let (sandbox, stub, _) = bench.stub("far.example");
    for id in ["1", "2", "3"] {
        bench.send(alice, request(id, ALICE, REMOTE));
    }
    bench.send(alice, message(MessageType::Update, "4", ALICE, REMOTE));
    let all: Vec<Frame> = bench.heard.remove(&stub).unwrap().into();
    bench.input(Input::Disposed { link: stub, frames: 1, bytes: 0 });
    bench.willing = false;
    bench.exits(sandbox, all[2..].to_vec());
    let died = |id: &str| Some((id.to_owned(), 503, "stub-died".to_owned()));
    assert_eq!(bench.refusal(alice), died("1"));
    assert_eq!(bench.refusal(alice), died("2"));
    assert_eq!(bench.core.waiting(), (1, 2));
    assert_eq!(bench.core.counters().delivered, 2);
    bench.send(alice, request("5", ALICE, REMOTE));
    bench.willing = true;
    bench.pass(2_000);
    let (_, next, _) = bench.youngest();
    assert_ne!(next, stub);
    assert_eq!(bench.ids(next), ["3", "4", "5"]);
    bench.send(next, response("3", REMOTE, ALICE, 200));
    assert_eq!(bench.ids(alice), ["3"]);
}

#[test]
fn a_parked_message_expires_at_its_own_deadline() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    bench.willing = false;
    bench.send(alice, request("1", ALICE, REMOTE).ext(ExtTag::Deadline, &100_u32.to_le_bytes()));
    let short = 50_u32.to_le_bytes();
    let update = message(MessageType::Update, "2", ALICE, REMOTE);
    bench.send(alice, update.ext(ExtTag::Deadline, &short));
    bench.pass(50);
    assert_eq!((bench.core.waiting(), bench.core.counters().expired), ((1, 1), 1));
    bench.pass(50);
    assert_eq!(bench.refusal(alice), Some(("1".to_owned(), 408, "deadline".to_owned())));
    assert_eq!((bench.core.waiting(), bench.core.counters().expired), ((0, 0), 2));
}

#[test]
fn a_sender_has_half_of_a_queue_and_the_rest_is_refused() {
    let mut settings = settings();
    settings.parked_messages = 4;
    let mut bench = Bench::with(settings);
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    bench.willing = false;
    for id in ["1", "2", "3"] {
        bench.send(alice, request(id, ALICE, REMOTE));
    }
    let full = |id: &str| Some((id.to_owned(), 503, "park-full".to_owned()));
    assert_eq!(bench.refusal(alice), full("3"));
    bench.send(bob, request("1", BOB, REMOTE));
    assert_eq!(bench.core.waiting(), (3, 3));
    // A megabyte a key, half of it a sender.
    let big = vec![b' '; 190_000];
    bench.send(bob, request("2", BOB, "hyperty://wide.example/x").body(&big));
    bench.send(bob, request("3", BOB, "hyperty://wide.example/x").body(&big));
    assert_eq!(bench.hear(bob), None);
    bench.send(alice, request("4", ALICE, "hyperty://wide.example/x").body(&big));
    bench.send(alice, request("5", ALICE, "hyperty://wide.example/x").body(&big));
    bench.send(bob, request("6", BOB, "hyperty://wide.example/x").body(b"{}"));
    assert_eq!(bench.refusal(bob), full("6"));
}

#[test]
fn a_body_in_a_descriptor_is_not_parked() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    bench.willing = false;
    bench.send(alice, request("1", ALICE, REMOTE).body_fd(300_000));
    assert_eq!(bench.refusal(alice), Some(("1".to_owned(), 413, "too-large".to_owned())));
}

#[test]
fn the_home_domain_has_a_stub_only_with_a_catalogue() {
    let stranger = "hyperty://home.example/stranger";
    let mut with = settings();
    let home = DomainSettings {
        catalogue: Some("https://home.example/.well-known".to_owned()),
        ..DomainSettings::default()
    };
    with.domains.insert("home.example".to_owned(), home);
    let mut bench = Bench::with(with);
    let alice = bench.app(&[ALICE]);
    bench.send(alice, request("1", ALICE, stranger));
    let (_, stub, _) = bench.youngest();
    let told = bench.hear(stub).unwrap();
    assert_eq!(told.view().unwrap().to(), "domain://msg-node.home.example/sm");
    assert_eq!(bench.ids(stub), ["1"]);
    // It speaks for the rest of the domain, and never for what is owned or reserved here.
    bench.send(stub, response("1", stranger, ALICE, 200));
    assert_eq!(bench.ids(alice), ["1"]);
    bench.send(stub, request("2", ALICE, ALICE));
    assert_eq!(bench.refusal(stub).unwrap().2, "forged");
    let bob = bench.app(&[BOB]);
    bench.input(Input::AppLeft { link: bob, unsent: Vec::new() });
    bench.send(stub, request("3", BOB, ALICE));
    assert_eq!(bench.refusal(stub).unwrap().2, "forged");
}

#[test]
fn an_application_asks_the_runtime_for_a_stub() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let ua = "hyperty-runtime://home.example/rt/ua";
    let body = br#"{"value":{"type":"protostub","domain":"far.example"}}"#;
    let ask = |id: &str| message(MessageType::Create, id, ALICE, ua).flag(flags::REPLY).body(body);
    bench.willing = false;
    bench.send(alice, ask("1"));
    assert_eq!(bench.core.waiting(), (1, 0));
    bench.willing = true;
    bench.work();
    bench.send(alice, ask("2"));
    let (_, stub, url) = bench.youngest();
    for id in ["1", "2"] {
        let frame = bench.hear(alice).unwrap();
        let view = frame.view().unwrap();
        assert_eq!((view.id(), view.header.code), (id, 200));
        assert!(String::from_utf8_lossy(view.body()).contains(&url));
    }
    let ask = message(MessageType::Create, "3", &url, ua).flag(flags::REPLY).body(body);
    bench.send(stub, ask);
    assert_eq!(bench.refusal(stub).unwrap().2, "policy");
    for to in ["registry", "address-allocation", "policy", "identity", "status", "ctl"] {
        let to = format!("hyperty-runtime://home.example/rt/{to}");
        bench.send(alice, request("4", ALICE, &to));
        assert_eq!(bench.refusal(alice).unwrap().1, 501, "{to}");
    }
}
