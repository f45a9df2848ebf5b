//! The wall clock is set: nothing that waits notices, and what is stamped from then on shows it.

use super::bench::{ALICE, Bench, REMOTE, request, settings};
use super::kept::kept;
use crate::input::Input;
use crate::limits::QUARANTINE_MS;
use crate::settings::Settings;
use crate::store::Record;
use protocol::control::{Command, Reply};

const DAY_MS: u64 = 86_400_000;
/// When these runtimes start.
const EPOCH_MS: u64 = 20_000 * DAY_MS;

impl Bench {
    fn from(epoch_ms: u64) -> Self {
        Self::with(Settings { epoch_ms, ..settings() })
    }

    fn clock_is_set(&mut self, epoch_ms: u64) {
        self.input(Input::Clock { epoch_ms });
    }

    fn stub_state(&mut self) -> String {
        let token = self.others.len() as u64 + 1_000_000_000;
        self.operator(token, Command::Ps { all: true });
        match self.replies(token).pop() {
            Some(Reply::Ps(rows)) => rows[0].state.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn quarantined_until(&self) -> Option<u64> {
        kept(self).into_values().find_map(|record| match record {
            Record::Stub(row) => row.quarantine_until_ms,
            _ => None,
        })
    }

    /// A life with deadlines of every kind, during which the clock is set each time to the next of
    /// these; what was due when, what happened, and who was answered what.
    fn life(clocks: &[u64]) -> Vec<String> {
        let mut bench = Self::from(EPOCH_MS);
        let mut clocks = clocks.iter().cycle().copied();
        let mut story = Vec::new();
        bench.stub("far.example");
        let alice = bench.app(&[ALICE]);
        for (turn, wait) in
            [100, 500, 2_000, 5_000, 20_000, 0, 15_000, 16_000].into_iter().enumerate()
        {
            bench.send(alice, request(&turn.to_string(), ALICE, REMOTE));
            if let Some(epoch_ms) = clocks.next() {
                bench.clock_is_set(epoch_ms);
            }
            let (sandbox, ..) = bench.youngest();
            if turn < 6 {
                bench.exits(sandbox, Vec::new());
            }
            bench.pass(wait);
            let refusal = bench.refusal(alice);
            let due = bench.core.next_deadline();
            let (now, state) = (bench.now, bench.stub_state());
            story.push(format!("{turn} at {now}: {state} {refusal:?} {due:?}"));
        }
        let events = bench.others.iter().filter_map(|effect| match effect {
            crate::effect::Effect::Event(row) => Some(format!("{} {}", row.event, row.detail)),
            _ => None,
        });
        story.extend(events);
        story
    }
}

#[test]
fn fault_051_a_wall_clock_that_jumps_a_day_either_way_moves_no_timer() {
    let quiet = Bench::life(&[]);
    assert!(quiet.iter().any(|line| line.contains("quarantined")), "{quiet:#?}");
    for jumps in [
        &[EPOCH_MS + DAY_MS][..],
        &[EPOCH_MS - DAY_MS],
        &[EPOCH_MS + DAY_MS, EPOCH_MS - DAY_MS, EPOCH_MS, 0],
    ] {
        assert_eq!(Bench::life(jumps), quiet, "{jumps:?}");
    }
}

#[test]
fn fault_051_what_is_stamped_after_a_jump_shows_the_new_time() {
    let mut bench = Bench::from(EPOCH_MS);
    bench.app(&[ALICE]);
    bench.clock_is_set(EPOCH_MS - DAY_MS);
    bench.app(&["hyperty://home.example/bob"]);
    let stamps: Vec<u64> = bench.events("app-joined").iter().map(|row| row.time_ms).collect();
    assert_eq!(stamps, [EPOCH_MS + bench.now, EPOCH_MS - DAY_MS + bench.now]);
}

#[test]
fn fault_051_a_quarantine_that_outlives_the_runtime_is_neither_lengthened_nor_forgotten() {
    let mut first = Bench::from(EPOCH_MS);
    first.stub("far.example");
    for wait in [100, 500, 2_000, 5_000, 20_000, 0] {
        let (sandbox, ..) = first.youngest();
        first.exits(sandbox, Vec::new());
        first.pass(wait);
    }
    let until = first.quarantined_until().unwrap();
    assert_eq!(until, EPOCH_MS + first.now + QUARANTINE_MS[0]);
    let next = |first: &Bench, epoch_ms: u64| {
        let mut bench = Bench::from(epoch_ms);
        bench.now = 0;
        bench.input(Input::Restored(kept(first).into_values().collect()));
        bench
    };
    // Set back while no runtime lived: it rests for no longer than it would have from the start.
    let mut bench = next(&first, until - DAY_MS);
    assert_eq!(bench.stub_state(), "quarantined");
    bench.pass(QUARANTINE_MS[0]);
    assert_eq!(bench.stub_state(), "dormant");
    assert_eq!(next(&first, until + DAY_MS).stub_state(), "dormant");
    // Set while the runtime lives: what is kept is right by the new clock.
    for jumped in [EPOCH_MS + DAY_MS, EPOCH_MS - DAY_MS] {
        first.clock_is_set(jumped);
        let until = first.quarantined_until().unwrap();
        assert_eq!(until, jumped + first.now + QUARANTINE_MS[0]);
        let mut bench = next(&first, until - 1_000);
        assert_eq!(bench.stub_state(), "quarantined");
        bench.pass(1_000);
        assert_eq!(bench.stub_state(), "dormant");
    }
}
