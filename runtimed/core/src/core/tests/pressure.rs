//! What a machine that is short of memory changes, and what it does not.

use super::bench::{ALICE, Bench, REMOTE, request};
use crate::input::{Input, Memory};
use crate::limits::PRESSURE_RETRY_MS;
use protocol::control::{Command, Reply};
use protocol::reason::Reason;

impl Bench {
    /// Seconds in which somebody waited for so many percent of the time.
    fn seconds(&mut self, total_us: &mut u64, waits: &[u64]) {
        for percent in waits {
            self.pass(1_000);
            *total_us += percent * 10_000;
            let memory = Memory { stalled_us: *total_us, free_percent: Some(3) };
            self.input(Input::Memory([None, Some(memory)]));
        }
    }

    /// What is on record of memory: reason and sentence.
    fn of_memory(&self) -> Vec<(Option<String>, String)> {
        let refused = self.events("refused").into_iter().filter(|event| event.name == "memory");
        refused.map(|event| (event.reason, event.detail)).collect()
    }
}

#[test]
fn fault_050_while_memory_is_short_no_stub_is_deployed_and_those_that_run_go_on() {
    let mut bench = Bench::new();
    let (_, stub, _) = bench.stub("near.example");
    let alice = bench.app(&[ALICE]);
    let mut total = 1_000_000;
    bench.seconds(&mut total, &[0, 10, 40]);
    let begins = "memory is short: 25 % of the last 2 s somebody waited for it; nothing new is \
                  started until it is not";
    assert_eq!(bench.of_memory(), [(Some("overloaded".to_owned()), begins.to_owned())]);

    bench.send(alice, request("1", ALICE, REMOTE));
    let refusal = bench.refusal(alice).unwrap();
    assert_eq!(refusal, ("1".to_owned(), 503, "overloaded".to_owned()));
    let target = "far.example".to_owned();
    bench.operator(5, Command::Deploy { target, wait: true, live: false });
    let Some(Reply::Denied { code, reason, .. }) = bench.replies(5).pop() else {
        panic!("{:?}", bench.replies(5));
    };
    assert_eq!((code, reason), (Some(503), Some(Reason::Overloaded)));
    bench.send(alice, request("2", ALICE, "hyperty://near.example/bob"));
    assert_eq!(bench.ids(stub), ["2"], "what runs goes on");

    // It stays so until nearly nobody waits, and is told once.
    bench.seconds(&mut total, &[10, 10, 10]);
    assert_eq!(bench.of_memory().len(), 1);
    bench.seconds(&mut total, &[0, 0]);
    let ends = bench.of_memory().pop().unwrap();
    assert_eq!(ends, (None, "memory is not short any more, after 4000 ms".to_owned()));
    bench.send(alice, request("3", ALICE, REMOTE));
    let (_, far, _) = bench.youngest();
    assert_eq!(bench.ids(far), ["3"]);
}

#[test]
fn fault_050_a_stub_that_dies_while_memory_is_short_is_started_again_when_it_is_not() {
    let mut bench = Bench::new();
    let (sandbox, _, _) = bench.stub("far.example");
    let alice = bench.app(&[ALICE]);
    let mut total = 0;
    bench.seconds(&mut total, &[0, 50, 50]);
    bench.exits(sandbox, Vec::new());
    bench.seconds(&mut total, &[50, 50]);
    assert_eq!(bench.youngest().0, sandbox, "not yet");
    bench.send(alice, request("1", ALICE, REMOTE));
    assert!(bench.hear(alice).is_none(), "its messages wait");
    bench.seconds(&mut total, &[0, 0, 0]);
    bench.pass(PRESSURE_RETRY_MS);
    let (next, link, _) = bench.youngest();
    assert_ne!(next, sandbox);
    assert_eq!(bench.ids(link), ["1"]);
}
