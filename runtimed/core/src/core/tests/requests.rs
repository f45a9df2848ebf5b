//! Requests and their responses.

use super::bench::{ALICE, BOB, Bench, message, request, response};
use crate::effect::Effect;
use crate::input::{Input, Time};
use crate::limits::PROVISIONAL_MAX;
use protocol::frame::{ExtTag, flags};
use protocol::message::MessageType;

#[test]
fn a_message_between_applications_is_forwarded_from_the_buffer_it_came_in() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    for (id, from) in [("1", "first"), ("2", "remembered")] {
        let mut frame = request(id, ALICE, BOB).build().unwrap();
        let frame = frame.bytes_mut();
        let effects = bench.core.handle(Time(1), Input::Frame { link: alice, frame });
        assert_eq!(effects, [Effect::Forward { link: bob }], "{from}");
    }
    assert_eq!(bench.core.waiting(), (2, 0));
}

#[test]
fn a_response_comes_back_once_with_the_form_of_the_id() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    bench.send(alice, request("7", ALICE, BOB));
    bench.send(alice, message(MessageType::Read, "x", ALICE, BOB).flag(flags::REPLY));
    // Bob's edge says of both ids what it likes.
    bench.send(bob, response("7", BOB, ALICE, 200));
    bench.send(bob, response("x", BOB, ALICE, 200).flag(flags::ID_NUM));
    let number = bench.hear(alice).unwrap();
    assert!(number.view().unwrap().has(flags::ID_NUM));
    let text = bench.hear(alice).unwrap();
    assert!(!text.view().unwrap().has(flags::ID_NUM));
    bench.send(bob, response("7", BOB, ALICE, 200));
    assert_eq!(bench.hear(alice), None);
    let counters = bench.core.counters();
    assert_eq!((counters.late, counters.refused), (1, 1));
    assert_eq!(bench.core.waiting(), (0, 0));
}

#[test]
fn only_who_was_asked_answers() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    let mallory = bench.app(&["hyperty://home.example/mallory"]);
    bench.send(alice, request("1", ALICE, BOB));
    bench.send(mallory, response("1", "hyperty://home.example/mallory", ALICE, 200));
    bench.send(mallory, response("1", BOB, ALICE, 200));
    assert_eq!(bench.hear(alice), None);
    assert_eq!(bench.core.counters().refused, 2);
    // Through the link that was asked, as another of its addresses.
    bench.send(bob, response("1", "hyperty://home.example/bob/worker", ALICE, 200));
    assert_eq!(bench.ids(alice), ["1"]);
}

#[test]
fn provisional_responses_keep_the_request_open_up_to_their_bound() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    bench.send(alice, request("1", ALICE, BOB));
    for _ in 0..=PROVISIONAL_MAX {
        bench.send(bob, response("1", BOB, ALICE, 199));
    }
    assert_eq!(bench.ids(alice).len(), usize::from(PROVISIONAL_MAX));
    assert_eq!(bench.core.counters().refused, 1);
    // One without a code ends it.
    bench.send(bob, response("1", BOB, ALICE, 0));
    assert_eq!(bench.ids(alice), ["1"]);
    assert_eq!(bench.core.waiting(), (0, 0));
}

#[test]
fn an_id_is_used_once_at_a_time_by_one_address() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE, "hyperty://home.example/alias"]);
    let bob = bench.app(&[BOB]);
    for from in [ALICE, "hyperty://home.example/alias", "hyperty://home.example/alice/x"] {
        bench.send(alice, request("1", from, BOB));
        assert_eq!(bench.hear(alice), None);
        bench.send(alice, request("1", from, BOB));
        let refused = Some(("1".to_owned(), 400, "duplicate-id".to_owned()));
        assert_eq!(bench.refusal(alice), refused, "{from}");
    }
    bench.send(bob, response("1", BOB, ALICE, 200));
    assert_eq!(bench.ids(alice), ["1"]);
    bench.send(alice, request("1", ALICE, BOB));
    assert_eq!(bench.ids(bob).len(), 4);
    bench.send(alice, request("", ALICE, BOB));
    assert_eq!(bench.refusal(alice).unwrap().2, "malformed");
}

#[test]
fn a_request_without_answer_gets_408_from_the_address_that_was_asked() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    bench.send(alice, request("1", ALICE, BOB).ext(ExtTag::Deadline, &500_u32.to_le_bytes()));
    bench.send(alice, request("2", ALICE, BOB));
    let week = 604_800_000_u32;
    bench.send(alice, request("3", ALICE, BOB).ext(ExtTag::Deadline, &week.to_le_bytes()));
    bench.pass(499);
    assert_eq!(bench.hear(alice), None);
    bench.pass(1);
    let frame = bench.hear(alice).unwrap();
    let view = frame.view().unwrap();
    assert_eq!((view.id(), view.from(), view.to(), view.header.code), ("1", BOB, ALICE, 408));
    assert!(view.has(flags::SYNTH | flags::ID_NUM));
    bench.pass(14_499);
    assert_eq!(bench.hear(alice), None);
    bench.pass(1);
    assert_eq!(bench.refusal(alice), Some(("2".to_owned(), 408, "deadline".to_owned())));
    bench.pass(300_000 - 15_000);
    assert_eq!(bench.refusal(alice).unwrap().0, "3", "five minutes at most");
    bench.send(bob, response("1", BOB, ALICE, 200));
    assert_eq!((bench.hear(alice), bench.core.counters().late), (None, 1));
}

#[test]
fn types_that_nobody_knows_and_messages_in_a_loop_are_refused() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    let unknown = protocol::frame::FrameBuilder::msg(99, "1", ALICE, BOB).flag(flags::REPLY);
    bench.send(alice, unknown);
    assert_eq!(bench.refusal(alice), Some(("1".to_owned(), 400, "unknown-type".to_owned())));
    bench.send(alice, request("2", ALICE, BOB).hops(0));
    assert_eq!(bench.refusal(alice), Some(("2".to_owned(), 508, "loop".to_owned())));
    bench.send(alice, request("3", ALICE, BOB).hops(1));
    assert_eq!(bench.ids(bob), ["3"]);
}

#[test]
fn a_requester_that_leaves_is_forgotten_and_its_answer_is_late() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    bench.send(alice, request("1", ALICE, BOB));
    bench.input(Input::AppLeft { link: alice, unsent: Vec::new() });
    assert_eq!(bench.core.waiting(), (0, 0));
    bench.send(bob, response("1", BOB, ALICE, 200));
    assert_eq!(bench.core.counters().late, 1);
}

#[test]
fn stopping_answers_everything_and_refuses_what_comes() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let _bob = bench.app(&[BOB]);
    bench.willing = false;
    bench.send(alice, request("1", ALICE, BOB));
    bench.send(alice, request("2", ALICE, super::bench::REMOTE));
    bench.input(Input::Stop);
    bench.send(alice, request("3", ALICE, BOB));
    let mut answers: Vec<_> = (0..3).map(|_| bench.refusal(alice).unwrap()).collect();
    answers.sort();
    for (answer, id) in answers.iter().zip(["1", "2", "3"]) {
        assert_eq!((answer.0.as_str(), answer.1, answer.2.as_str()), (id, 503, "stopping"));
    }
    assert_eq!(bench.core.waiting(), (0, 0));
    assert_eq!(bench.join(1, &[]).1.as_deref(), Some("stopping"));
}
