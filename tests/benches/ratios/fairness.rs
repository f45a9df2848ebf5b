//! What a stub that floods costs the others: round trips of two stubs beside nobody, and beside a
//! third that sends ten times as many messages to the same receiver.

use crate::control;
use crate::figures::{Row, Run, median, print_head, short};
use crate::stubs::FRAME_REST;
use crate::worlds::{FLOOD, PING, PONG, World};
use serde_json::{Value, json};
use std::time::Duration;
use system_tests::app::App;

/// Bytes of a frame.
const SIZE: usize = 300;
/// Round trips of one run, and the microseconds from one to the next: the share of a stub.
const TRIPS: (usize, u64) = (3_000, 1_000);
/// Messages of a flood for each round trip beside it.
const TIMES: usize = 10;
/// A flood begins before and ends after what is measured.
const AROUND: Duration = Duration::from_millis(50);

/// Measures and prints.
pub(crate) fn run(rounds: usize) {
    let mut world = Three::new();
    let mut row = Row::new("p99 of the others, beside ten times their messages", "≤ 1.2");
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let before = world.trips();
        let (beside, rate) = world.trips_beside();
        row.add(high(before), high(beside), high(world.trips()));
        rates.push(rate);
    }
    print_head("Round trips of two stubs while a third floods one of them (less is better)", "µs");
    row.print();
    println!(
        "\nthe two: {} round trips a second; the flood: {} messages a second\n",
        1_000_000 / TRIPS.1,
        short(median(&rates)),
    );
}

/// The 99th percentile as what is compared.
fn high(run: Run) -> Run {
    Run { middle: run.high, high: f64::NAN }
}

/// A daemon with three stubs.
#[derive(Debug)]
struct Three {
    /// Held for its daemon.
    _world: World,
    asks: App,
    floods: App,
    peer: String,
}

impl Three {
    fn new() -> Self {
        let world = World::echo(&[PING, PONG, FLOOD]);
        control::deploy(world.root(), PING);
        control::deploy(world.root(), FLOOD);
        let peer = control::deploy(world.root(), PONG).url;
        let (asks, floods) = (world.driver("asks"), world.driver("floods"));
        Self { _world: world, asks, floods, peer }
    }

    fn trips(&mut self) -> Run {
        drive(&mut self.asks, PING, &self.peer, ("paced", TRIPS.0, TRIPS.1))
    }

    /// The round trips, and how many messages a second the flood had.
    fn trips_beside(&mut self) -> (Run, f64) {
        let times = u64::try_from(TIMES).expect("a small number");
        let (count, pause_us) = ((TRIPS.0 + 100) * TIMES, TRIPS.1 / times);
        let Self { asks, floods, peer, .. } = self;
        let peer: &str = peer;
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| drive(floods, FLOOD, peer, ("flood", count, pause_us)));
            std::thread::park_timeout(AROUND);
            let trips = drive(asks, PING, peer, ("paced", TRIPS.0, TRIPS.1));
            assert!(!flood.is_finished(), "the flood was over too soon");
            (trips, flood.join().expect("a flood").middle)
        })
    }
}

/// Tells the stub of `domain` to send to `peer`; its figures.
fn drive(app: &mut App, domain: &str, peer: &str, what: (&str, usize, u64)) -> Run {
    let (mode, count, pause_us) = what;
    let pad = SIZE.saturating_sub(FRAME_REST + r#"{"value":""}"#.len());
    let drive =
        json!({"mode": mode, "peer": peer, "count": count, "pad": pad, "pause_us": pause_us});
    let to = format!("hyperty://{domain}/driver");
    let answer: Value = app.call("execute", &to, &json!({"drive": drive}));
    let body = &answer["body"];
    assert_eq!((&body["code"], &body["wrong"]), (&json!(200), &json!(0)), "{answer}");
    let middle = body["middle"].as_f64().expect("a figure");
    Run { middle, high: body["high"].as_f64().unwrap_or(f64::NAN) }
}
