//! Rows of the fault matrix that are decided here, each in virtual time.

use super::bench::{ALICE, Bench, REMOTE, request};
use crate::input::{Exit, Input};
use protocol::control::{Command, Reply};
use protocol::ctl::Role;
use protocol::frame::Frame;

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
