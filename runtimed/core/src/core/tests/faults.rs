//! Rows of the fault matrix that are decided here, each in virtual time.

use super::bench::{ALICE, Bench, REMOTE, RUNTIME, message, request, response};
use crate::effect::Effect;
use crate::input::{Exit, Input};
use protocol::control::{Command, Reply};
use protocol::ctl::{CtlDown, CtlUp, Role};
use protocol::frame::Frame;
use protocol::message::MessageType;

impl Bench {
    /// The only component as `ps` shows it: its state and its address.
    fn component(&mut self) -> Option<(String, String)> {
        let token = self.now * 1_000 + self.others.len() as u64;
        self.operator(token, Command::Ps { all: true });
        match self.replies(token).pop() {
            Some(Reply::Ps(rows)) => rows.first().map(|row| (row.state.clone(), row.url.clone())),
            other => panic!("{other:?}"),
        }
    }

    fn owns(&self, address: &str) -> bool {
        self.core.bus.names.owner(address).is_some()
    }
}

#[test]
fn fault_004_at_no_moment_of_a_deploy_is_there_a_listener_without_its_component() {
    // Dies after so many things that its workers were told or asked.
    for steps in 0..40 {
        let mut bench = Bench::new();
        let alice = bench.app(&[ALICE]);
        bench.willing = false;
        bench.send(alice, request("1", ALICE, REMOTE));
        let done = (0..steps).any(|_| !bench.step());
        if let Some((state, url)) = bench.component() {
            assert_eq!(bench.owns(&url), state == "active", "after {steps}: {state}");
        }
        let stub = bench.spawned.iter().rev().find(|(_, role, _)| *role == Role::Stub);
        let sandbox = stub.expect("a stub is being started").0;
        bench.input(Input::Exited { sandbox, exit: Exit::Signal(9), unsent: Vec::<Frame>::new() });
        let (state, url) = bench.component().expect("a row");
        assert!(!bench.owns(&url), "after {steps}: {state}");
        bench.core.check().unwrap();
        if done {
            assert!(steps > 8, "a deploy has more steps than {steps}");
            return;
        }
    }
    panic!("a deploy never ends");
}

#[test]
fn messages_of_a_stub_that_is_killed_by_its_failed_deploy_are_all_accounted_for() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    bench.willing = false;
    bench.send(alice, request("1", ALICE, REMOTE));
    // Until it has its code: its address is its own, and it speaks before it is active.
    let assigned = |bench: &Bench| {
        bench.others.iter().find_map(|effect| match effect {
            Effect::Ctl { sandbox, down: CtlDown::Assign(assign), .. } => {
                Some((*sandbox, assign.component.clone()))
            }
            _ => None,
        })
    };
    while assigned(&bench).is_none() {
        assert!(bench.step(), "it is never given its code");
    }
    let (sandbox, url) = assigned(&bench).unwrap();
    let stub = bench.core.bus.sandboxes[&sandbox];
    bench.send(stub, message(MessageType::Update, "1", &url, ALICE));
    bench.send(stub, request("2", &url, ALICE));
    bench.send(stub, request("3", &url, ALICE));
    assert_eq!(bench.ids(alice), ["1", "2", "3"]);
    bench.send(alice, response("2", ALICE, &url, 200));
    bench.send(alice, request("4", ALICE, &format!("{RUNTIME}/sandbox/{}", sandbox.0)));
    bench.send(alice, message(MessageType::Update, "5", ALICE, REMOTE));
    let unsent: Vec<_> = bench.heard.remove(&stub).unwrap().into_iter().skip(1).collect();
    assert_eq!(unsent.len(), 1, "the answer was taken, the request not");
    let up = CtlUp::DeployFailed { stage: "load".to_owned(), text: "no".to_owned() };
    bench.input(Input::Ctl { sandbox, up, stream: None, code: None });
    let reasons = |bench: &mut Bench| {
        let answers = std::iter::from_fn(|| bench.refusal(alice));
        answers.map(|(id, _, reason)| (id, reason)).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&mut bench), [("1".to_owned(), "load".to_owned())]);
    bench.input(Input::Exited { sandbox, exit: Exit::Signal(9), unsent });
    assert_eq!(reasons(&mut bench), [("4".to_owned(), "stub-died".to_owned())]);
    assert_eq!(bench.core.waiting(), (0, 0));
    bench.input(Input::Disposed { link: alice, frames: 5, bytes: 0 });
    let counters = bench.core.counters();
    assert_eq!(counters.queued, 0, "{counters:?}");
    assert_eq!((counters.accepted, counters.delivered, counters.refused), (7, 4, 3));
}
