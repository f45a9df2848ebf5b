//! Receivers that do not keep up.

use super::bench::{ALICE, BOB, Bench, REMOTE, RUNTIME, message, request, response};
use crate::effect::Effect;
use crate::input::Input;
use crate::limits::{EGRESS_APP_FRAMES, EGRESS_WORKER_FRAMES, PENDING_PER_LINK, SLOW_MS};
use protocol::frame::{ExtTag, flags};
use protocol::message::MessageType;
use protocol::reason::Reason;

#[test]
fn a_slow_receiver_is_filled_by_one_sender_to_a_half_only() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    let carol = bench.app(&["hyperty://home.example/carol"]);
    let half = EGRESS_APP_FRAMES / 2;
    for _ in 0..half {
        bench.send(alice, message(MessageType::Update, "1", ALICE, BOB));
    }
    assert_eq!(bench.core.counters().queued, u64::from(half));
    bench.send(alice, request("2", ALICE, BOB));
    assert_eq!(bench.refusal(alice), Some(("2".to_owned(), 503, "slow-consumer".to_owned())));
    bench.send(carol, request("3", "hyperty://home.example/carol", BOB));
    assert_eq!(bench.hear(carol), None, "the others have room");
    bench.input(Input::Disposed { link: bob, frames: half, bytes: 0 });
    bench.send(alice, request("4", ALICE, BOB));
    assert_eq!(bench.hear(alice), None);
    assert_eq!(bench.core.counters().delivered, u64::from(half));
}

#[test]
fn responses_go_beyond_the_bound_and_past_twice_it_the_application_is_cut_off() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    let most = EGRESS_APP_FRAMES * 2;
    for n in 0..=most {
        bench.send(alice, request(&n.to_string(), ALICE, BOB));
        bench.input(Input::Disposed { link: bob, frames: 1, bytes: 0 });
        bench.send(bob, response(&n.to_string(), BOB, ALICE, 200));
    }
    assert_eq!(bench.ids(alice).len(), usize::try_from(most).unwrap());
    let closed = Effect::CloseApp { link: alice, reason: Reason::SlowConsumer };
    assert_eq!(bench.others.iter().filter(|effect| **effect == closed).count(), 1);
    bench.heard.remove(&bob);
    bench.send(bob, request("x", BOB, ALICE));
    assert_eq!(bench.refusal(bob).unwrap().2, "receiver-gone");
    bench.input(Input::AppLeft { link: alice, unsent: Vec::new() });
    assert_eq!(bench.core.counters().queued, 0);
}

#[test]
fn requests_without_end_are_refused() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    for n in 0..=PENDING_PER_LINK {
        bench.send(alice, request(&n.to_string(), ALICE, BOB));
        bench.input(Input::Disposed { link: bob, frames: 1, bytes: 0 });
    }
    let (id, _, reason) = bench.refusal(alice).unwrap();
    assert_eq!((id, reason.as_str()), (PENDING_PER_LINK.to_string(), "overloaded"));
}

#[test]
fn a_subscriber_that_missed_publications_is_told_how_many() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    let at = format!("{RUNTIME}/subscriptions");
    let body = br#"{"subscribe":["hyperty://home.example/bob/status"]}"#;
    let subscribe = message(MessageType::Subscribe, "1", ALICE, &at).flag(flags::REPLY);
    bench.send(alice, subscribe.body(body));
    assert_eq!(bench.ids(alice), ["1"]);
    bench.input(Input::Disposed { link: alice, frames: 1, bytes: 0 });
    let publish = || message(MessageType::Update, "2", BOB, "hyperty://home.example/bob/status");
    let half = EGRESS_APP_FRAMES / 2;
    for _ in 0..half + 3 {
        bench.send(bob, publish());
    }
    assert_eq!(bench.ids(alice).len(), usize::try_from(half).unwrap());
    bench.input(Input::Disposed { link: alice, frames: half, bytes: 0 });
    bench.send(bob, publish());
    let frame = bench.hear(alice).unwrap();
    let view = frame.view().unwrap();
    assert!(view.has(flags::LAGGED));
    assert_eq!(view.ext().find(ExtTag::Lagged), Some(&3_u32.to_le_bytes()[..]));
    let counters = bench.core.counters();
    assert_eq!(counters.reasons.get(&Reason::SlowConsumer), Some(&3));
}

#[test]
fn frames_that_an_application_did_not_take_are_accounted_for_when_it_leaves() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    for id in ["1", "2", "3"] {
        bench.send(alice, request(id, ALICE, BOB));
    }
    let unsent: Vec<_> = bench.heard.remove(&bob).unwrap().into_iter().skip(1).collect();
    bench.input(Input::AppLeft { link: bob, unsent });
    for id in ["1", "2", "3"] {
        let gone = Some((id.to_owned(), 503, "receiver-gone".to_owned()));
        assert_eq!(bench.refusal(alice), gone);
    }
    let counters = bench.core.counters();
    assert_eq!((counters.delivered, counters.refused, counters.queued), (1, 2, 0));
}

#[test]
fn fault_020_a_stub_without_room_is_on_record_and_ended_when_it_takes_nothing_for_ten_seconds() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let (_, stub, _) = bench.stub("far.example");
    let half = EGRESS_WORKER_FRAMES / 2;
    let update = || message(MessageType::Update, "1", ALICE, REMOTE);
    for _ in 0..half + 3 {
        bench.send(alice, update());
    }
    let told = |bench: &Bench| {
        let mut events = bench.events("refused");
        events.retain(|event| event.name == "far.example");
        events
    };
    assert_eq!(told(&bench).len(), 1);
    assert_eq!(told(&bench)[0].reason.as_deref(), Some("slow-consumer"));
    assert!(told(&bench)[0].sandbox.is_some());
    bench.pass(SLOW_MS - 1);
    // It takes one in the last moment, and has as long again.
    bench.input(Input::Disposed { link: stub, frames: 1, bytes: 0 });
    bench.send(alice, update());
    bench.send(alice, update());
    bench.pass(SLOW_MS - 1);
    assert_eq!(bench.events("exited").len(), 0);
    bench.pass(1);
    let exited = bench.events("exited");
    assert_eq!(exited.len(), 1, "{exited:#?}");
    assert_eq!(exited[0].reason.as_deref(), Some("quota"));
    assert!(exited[0].detail.contains("took no message for 10 s"), "{}", exited[0].detail);
    assert_eq!(told(&bench).len(), 1, "one event for all of it");
    let (_, again, _) = bench.youngest();
    assert_ne!(again, stub, "and it is started again");
}

#[test]
fn a_stub_that_takes_one_message_now_and_then_is_slow_and_lives() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let (_, stub, _) = bench.stub("far.example");
    for _ in 0..EGRESS_WORKER_FRAMES / 2 {
        bench.send(alice, message(MessageType::Update, "1", ALICE, REMOTE));
    }
    for _ in 0..100 {
        for _ in 0..3 {
            bench.send(alice, message(MessageType::Update, "1", ALICE, REMOTE));
        }
        bench.pass(SLOW_MS / 2);
        bench.input(Input::Disposed { link: stub, frames: 1, bytes: 0 });
    }
    assert_eq!(bench.events("exited").len(), 0);
    let mut told = bench.events("refused");
    told.retain(|event| event.name == "far.example");
    assert!((40..=51).contains(&told.len()), "no more than one in ten seconds: {}", told.len());
}
