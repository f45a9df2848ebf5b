//! The rows of routing: each candidate between two runs of the reference relay, round by round.

use crate::figures::{Row, Run, print_head};
use crate::pair::Pair;
use crate::reference::{Reference, Relay};
use crate::stubs::Stubs;
use crate::worlds::{PING, PONG, World};
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

/// Bytes of a message, with the round trips and the one-way messages of one run.
const SIZES: [(usize, usize, usize); 3] =
    [(300, 1_500, 30_000), (4_096, 1_500, 12_000), (65_536, 400, 1_500)];

/// Everything that routes, up and running.
#[derive(Debug)]
struct Routers {
    relay: Relay,
    javascript: World,
    js_stubs: Stubs,
    /// Held for its daemon.
    _echo: World,
    echo_stubs: Stubs,
}

/// Measures and prints.
pub(crate) fn run(reference: &Reference, rounds: usize) {
    let javascript = World::javascript(&[PING.to_owned(), PONG.to_owned()]);
    let js_stubs = Stubs::new(&javascript);
    let echo = World::echo(&[PING, PONG]);
    let echo_stubs = Stubs::new(&echo);
    let relay = reference.relay();
    let mut routers = Routers { relay, javascript, js_stubs, _echo: echo, echo_stubs };
    let mut trips = Vec::new();
    let mut flows = Vec::new();
    for (size, trip_count, flow_count) in SIZES {
        trips.extend(routers.round_trips(size, trip_count, rounds));
        flows.extend(routers.one_way(size, flow_count, rounds));
    }
    print_head("Round trip (less is better)", "µs");
    trips.iter().for_each(Row::print);
    println!();
    print_head("One way, messages a second (more is better)", "/s");
    flows.iter().for_each(Row::print);
    println!("\nstub to stub, one way: within the burst that the rate limit of a worker allows\n");
}

impl Routers {
    fn round_trips(&mut self, size: usize, count: usize, rounds: usize) -> [Row; 4] {
        let echo_goal = if size == 65_536 { "≤ 1.2" } else { "≤ 1.3" };
        let app_goal = if size == 300 { "≤ 1.4" } else { "" };
        let mut rows = [
            Row::new(format!("stub → daemon → stub, echo, {size} B"), echo_goal),
            Row::new(format!("app → daemon → app, {size} B"), app_goal),
            Row::new(format!("app → daemon → stub in JavaScript → daemon → app, {size} B"), ""),
            Row::new(format!("stub → daemon → stub, both in JavaScript, {size} B (mean)"), ""),
        ];
        let mut reference = self.relay.pair(size);
        let mut apps = self.javascript.app_pair(size);
        let few = count / 3;
        for _ in 0..rounds {
            let mut before = reference.round_trips(count);
            for (at, row) in rows.iter_mut().enumerate() {
                let candidate = match at {
                    0 => self.echo_stubs.round_trips(size, count),
                    1 => apps.round_trips(count),
                    2 => self.answered_by_stub(size, few),
                    _ => self.js_stubs.round_trips(size, few),
                };
                let after = reference.round_trips(count);
                row.add(before, candidate, after);
                before = after;
            }
        }
        rows
    }

    /// One application; the stub's process is the other end.
    fn answered_by_stub(&self, size: usize, count: usize) -> Run {
        let (mut stream, ask, answered) = self.javascript.stub_pair(size);
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        let mut buffer = vec![0; answered];
        let mut times = Vec::with_capacity(count);
        for at in 0..count + 50 {
            let begun = Instant::now();
            stream.write_all(&ask).expect("the daemon reads");
            stream.read_exact(&mut buffer).expect("an answer in time");
            if at >= 50 {
                times.push(begun.elapsed());
            }
        }
        Run::of(times)
    }

    fn one_way(&mut self, size: usize, count: usize, rounds: usize) -> [Row; 2] {
        let (echo_goal, app_goal) = if size == 300 { ("≥ 0.5", "≥ 0.2") } else { ("", "") };
        let mut rows = [
            Row::new(format!("stub → daemon → stub, echo, {size} B"), echo_goal),
            Row::new(format!("app → daemon → app, {size} B"), app_goal),
        ];
        let mut reference: Pair = self.relay.pair(size);
        let mut apps = self.javascript.app_pair(size);
        for _ in 0..rounds {
            let mut before = reference.one_way(count);
            for (at, row) in rows.iter_mut().enumerate() {
                let candidate = match at {
                    0 => self.echo_stubs.one_way(size, count),
                    _ => apps.one_way(count),
                };
                let after = reference.one_way(count);
                row.add(before, candidate, after);
                before = after;
            }
        }
        rows
    }
}
