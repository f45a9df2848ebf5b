//! What the runtime asks others itself: every question ends once, whatever becomes of it.

use super::bench::{ALICE, Bench, RUNTIME, message, settings};
use crate::bus::own::{Asking, Outcome, Part, Purpose};
use crate::input::{Input, LinkId, SandboxId};
use crate::limits::{OWN_ANSWER_BYTES, OWN_REQUESTS_MAX};
use crate::ua::UaOut;
use proptest::prelude::*;
use protocol::ctl::FetchError;
use protocol::frame::{ExtTag, Frame, flags};
use protocol::message::MessageType;
use protocol::reason::Reason;
use std::collections::BTreeSet;

const NODE: &str = "domain://msg-node.far.example/address-allocation";

fn question(number: u32, to: &str) -> Asking {
    Asking {
        from: Part::Registry,
        to: to.to_owned(),
        kind: MessageType::Create,
        body: r#"{"value":1}"#.to_owned(),
        source: None,
        within_ms: None,
        purpose: Purpose::Test(number),
    }
}

impl Bench {
    fn asks(&mut self, asking: Asking) {
        self.core.ua_out.push(UaOut::Ask(Box::new(asking)));
        self.input(Input::Tick);
    }

    /// What came of questions since this was asked last.
    fn outcomes(&mut self) -> Vec<(u32, Outcome)> {
        std::mem::take(&mut self.core.heard)
    }

    fn reasons(&mut self) -> Vec<(u32, Reason)> {
        let all = self.outcomes().into_iter();
        all.map(|(number, outcome)| match outcome {
            Outcome::Refused(refusal) => (number, refusal.reason),
            Outcome::Said { code, .. } => panic!("{number} was answered {code}"),
        })
        .collect()
    }

    fn answers(&mut self, stub: LinkId, question: &Frame, code: u16, body: &'static [u8]) {
        let view = question.view().unwrap();
        let answer = message(MessageType::Response, view.id(), view.to(), view.from());
        self.send(stub, answer.code(code).body(body));
    }
}

/// A stub that is there, and what it was told is forgotten.
fn world() -> (Bench, SandboxId, LinkId) {
    let mut bench = Bench::new();
    let (sandbox, stub, _) = bench.stub("far.example");
    bench.heard.clear();
    (bench, sandbox, stub)
}

#[test]
fn a_part_asks_from_its_address_and_hears_the_one_final_answer() {
    let (mut bench, _, stub) = world();
    let source = format!("{RUNTIME}/p2phandler/1");
    let asking = Asking {
        source: Some(source.clone()),
        within_ms: Some(2_000),
        from: Part::Ua,
        ..question(7, NODE)
    };
    bench.asks(asking);
    let frame = bench.hear(stub).unwrap();
    let view = frame.view().unwrap();
    assert_eq!((view.from(), view.to()), (format!("{RUNTIME}/ua").as_str(), NODE));
    assert_eq!(view.header.mtype, MessageType::Create.as_u8());
    assert!(view.has(flags::REPLY) && view.has(flags::ID_NUM));
    assert_eq!(view.ext().find(ExtTag::Source), Some(source.as_bytes()));
    assert_eq!(view.ext().find(ExtTag::Deadline), Some(2_000_u32.to_le_bytes().as_slice()));
    bench.answers(stub, &frame, 100, b"{}");
    assert!(bench.outcomes().is_empty(), "a provisional answer is none");
    bench.answers(stub, &frame, 404, b"{\"code\":404}");
    let said = Outcome::Said { code: 404, body: b"{\"code\":404}".to_vec() };
    assert_eq!(bench.outcomes(), [(7, said.clone())]);
    assert_eq!(said.agreed().unwrap_err().reason, Reason::NodeRefused);
    bench.answers(stub, &frame, 200, b"{}");
    assert!(bench.outcomes().is_empty(), "a second answer is late");
    bench.asks(question(8, NODE));
    let frame = bench.hear(stub).unwrap();
    bench.answers(stub, &frame, 0, b"{\"x\":1}");
    let (_, outcome) = bench.outcomes().remove(0);
    assert_eq!(outcome.agreed().unwrap(), b"{\"x\":1}", "no code is a good one");
    assert_eq!(bench.core.waiting(), (0, 0));
}

#[test]
fn a_question_starts_the_stub_it_needs_and_ends_with_the_deploys_stage_if_that_fails() {
    let mut bench = Bench::new();
    bench.asks(question(1, NODE));
    let (_, stub, _) = bench.youngest();
    let frame = bench.hear(stub).unwrap();
    bench.answers(stub, &frame, 200, b"{}");
    assert_eq!(bench.outcomes().len(), 1);
    let mut bench = Bench::new();
    bench.fetch_fails = Some(FetchError::Absent);
    bench.asks(question(2, NODE));
    let (number, outcome) = bench.outcomes().remove(0);
    let refusal = outcome.agreed().unwrap_err();
    assert_eq!((number, refusal.reason), (2, Reason::CatalogueAbsent));
    assert_eq!(refusal.stage, Some("descriptor"));
}

#[test]
fn a_question_that_is_not_answered_ends_at_its_own_deadline() {
    let (mut bench, _, stub) = world();
    bench.asks(Asking { within_ms: Some(1_000), ..question(1, NODE) });
    bench.asks(question(2, NODE));
    bench.pass(999);
    assert!(bench.outcomes().is_empty());
    bench.pass(11);
    assert_eq!(bench.reasons(), [(1, Reason::Deadline)]);
    bench.pass(settings().default_deadline_ms);
    assert_eq!(bench.reasons(), [(2, Reason::Deadline)]);
    assert_eq!(bench.ids(stub).len(), 2);
}

#[test]
fn what_goes_nowhere_is_refused_at_once_and_a_stub_that_dies_with_it_is_named() {
    let (mut bench, sandbox, stub) = world();
    bench.asks(question(1, "hyperty://home.example/nobody"));
    bench.asks(question(2, "no address"));
    bench.asks(question(3, &format!("{RUNTIME}/registry")));
    let refused = [Reason::UnknownAddress, Reason::BadAddress, Reason::NotImplemented];
    assert_eq!(bench.reasons(), [(1, refused[0]), (2, refused[1]), (3, refused[2])]);
    bench.asks(question(4, NODE));
    assert!(bench.hear(stub).is_some());
    bench.exits(sandbox, Vec::new());
    assert_eq!(bench.reasons(), [(4, Reason::StubDied)]);
}

#[test]
fn refusals_of_many_questions_are_one_event_a_second() {
    let mut bench = Bench::new();
    bench.fetch_fails = Some(FetchError::Absent);
    for number in 0..100 {
        bench.asks(question(number, NODE));
    }
    assert_eq!((bench.reasons().len(), bench.events("refused").len()), (100, 1));
    bench.now += 1_000;
    bench.asks(question(100, "hyperty://home.example/nobody"));
    for number in [101, 102] {
        // The first one starts the deploy again, and that is an event of its own.
        bench.asks(question(number, NODE));
    }
    let told: Vec<String> = bench.events("refused").into_iter().map(|row| row.detail).collect();
    assert_eq!(told.len(), 3, "one more, and another reason: {told:?}");
    assert!(told[2].ends_with("(99 times)"), "{told:?}");
}

#[test]
fn a_question_that_was_not_taken_waits_for_the_next_stub() {
    let (mut bench, sandbox, stub) = world();
    bench.asks(question(1, NODE));
    let untaken = bench.hear(stub).unwrap();
    bench.exits(sandbox, vec![untaken]);
    bench.pass(1_000);
    let (_, again, _) = bench.youngest();
    let frame = bench.hear(again).unwrap();
    bench.answers(again, &frame, 200, b"{}");
    assert_eq!(bench.outcomes().len(), 1);
}

#[test]
fn nobody_else_answers_a_question() {
    let (mut bench, _, stub) = world();
    let alice = bench.app(&[ALICE]);
    bench.asks(question(1, NODE));
    let frame = bench.hear(stub).unwrap();
    let view = frame.view().unwrap();
    bench.send(alice, message(MessageType::Response, view.id(), ALICE, view.from()).code(200));
    assert!(bench.outcomes().is_empty());
    bench.answers(stub, &frame, 200, b"{}");
    assert_eq!(bench.outcomes().len(), 1);
}

#[test]
fn questions_and_answers_have_their_bounds() {
    let (mut bench, _, stub) = world();
    bench.asks(Asking { body: "\"x\"".repeat(1 << 20), ..question(1, NODE) });
    assert_eq!(bench.reasons(), [(1, Reason::TooLarge)]);
    for (number, bytes) in [(2, OWN_ANSWER_BYTES), (3, OWN_ANSWER_BYTES + 1)] {
        bench.asks(question(number, NODE));
        let frame = bench.hear(stub).unwrap();
        bench.answers(stub, &frame, 200, Box::leak(vec![b'1'; bytes].into_boxed_slice()));
    }
    let ends: Vec<bool> = bench.outcomes().into_iter().map(|(_, o)| o.agreed().is_ok()).collect();
    assert_eq!(ends, [true, false], "what is too large is not read");
}

#[test]
fn the_runtime_has_so_many_questions_open_and_one_more_is_refused() {
    let mut bench = Bench::new();
    bench.willing = false;
    let many = u32::try_from(OWN_REQUESTS_MAX).unwrap();
    for number in 0..=many {
        let to = format!("domain://msg-node.far{}.example/sm", number % 32);
        bench.core.ua_out.push(UaOut::Ask(Box::new(question(number, &to))));
    }
    bench.input(Input::Tick);
    assert_eq!(bench.reasons(), [(many, Reason::Overloaded)]);
    assert_eq!(bench.core.bus.own.open(), OWN_REQUESTS_MAX);
    bench.input(Input::Stop);
    let ended = bench.reasons();
    assert!(ended.len() == OWN_REQUESTS_MAX && ended.iter().all(|(_, r)| *r == Reason::Stopping));
}

/// What may happen to questions.
#[derive(Debug, Clone)]
enum Doing {
    Ask(bool, u32),
    Answer(u16),
    Die(bool),
    Pass(u64),
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        4 => (any::<bool>(), 1..4_000_u32).prop_map(|(far, within)| Doing::Ask(far, within)),
        4 => prop_oneof![Just(0), Just(100), Just(200), Just(404)].prop_map(Doing::Answer),
        1 => any::<bool>().prop_map(Doing::Die),
        2 => (1..3_000_u64).prop_map(Doing::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_question_ends_exactly_once(all in prop::collection::vec(doing(), 1..60)) {
        let (mut bench, _, _) = world();
        let (mut asked, mut ended) = (0_u32, Vec::new());
        for what in all {
            let (sandbox, stub, _) = bench.youngest();
            match what {
                Doing::Ask(far, within) => {
                    let to = if far { NODE } else { "hyperty://home.example/nobody" };
                    bench.asks(Asking { within_ms: Some(within), ..question(asked, to) });
                    asked += 1;
                }
                Doing::Answer(code) => {
                    if let Some(frame) = bench.hear(stub) {
                        bench.answers(stub, &frame, code, b"{}");
                    }
                }
                Doing::Die(untaken) => {
                    let unsent = if untaken { bench.hear(stub) } else { None };
                    bench.exits(sandbox, unsent.into_iter().collect());
                }
                Doing::Pass(ms) => bench.pass(ms),
            }
            ended.extend(bench.outcomes().into_iter().map(|(number, _)| number));
        }
        bench.pass(60_000);
        ended.extend(bench.outcomes().into_iter().map(|(number, _)| number));
        let once: BTreeSet<u32> = ended.iter().copied().collect();
        prop_assert_eq!(once.len(), ended.len(), "a question ended twice");
        prop_assert_eq!(once, (0..asked).collect::<BTreeSet<u32>>());
        prop_assert_eq!(bench.core.waiting(), (0, 0));
    }
}
