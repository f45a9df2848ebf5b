//! The whole core against a model of everything outside it: applications, workers, catalogues and
//! operators with random delays and random faults, in virtual time. After every step the core's
//! invariants are checked; at the end every request has had exactly one final response.
//!
//! In half of the runs the daemon is killed and goes on with what was committed; and in some a crash
//! is tried after every commit.
//!
//! `SIM_SEEDS` says how many seeds are run, `SIM_CRASHES` how many crashes are tried, `SIM_STORM` how
//! many faults a storm has (the whole one 100,000), `SIM_SEED` runs one; a failing seed prints the line
//! that repeats it.

#![forbid(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test; a panic is how it fails"
)]

#[path = "simulation/addresses.rs"]
mod addresses;
#[path = "simulation/apps.rs"]
mod apps;
#[path = "simulation/hyperties.rs"]
mod hyperties;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/store.rs"]
mod store;
#[path = "simulation/storm.rs"]
mod storm;
#[path = "simulation/traffic.rs"]
mod traffic;
#[path = "simulation/workers.rs"]
mod workers;
#[path = "simulation/world.rs"]
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use world::World;

/// Seeds run when nobody says how many.
const SEEDS: u64 = 100;
/// Crashes tried when nobody says how many.
const CRASHES: u64 = 3_000;
/// Faults of a storm when nobody says how many.
const STORM: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn fresh_base() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_millis()).expect("before the end of time") << 16
}

/// Runs one seed; a panic says which.
fn run(seed: u64, trying: bool) -> world::Totals {
    let outcome = std::panic::catch_unwind(|| {
        let mut world = World::new(seed);
        world.store.trying = trying;
        world.run()
    });
    match outcome {
        Ok(totals) => totals,
        Err(cause) => {
            eprintln!("SIM_SEED={seed} cargo test -p runtime-core --test simulation");
            std::panic::resume_unwind(cause)
        }
    }
}

#[test]
fn no_seed_breaks_an_invariant() {
    if let Some(seed) = number("SIM_SEED") {
        let totals = run(seed, true);
        eprintln!("seed {seed}: {totals:?}");
        return;
    }
    let (base, count) = (fresh_base(), number("SIM_SEEDS").unwrap_or(SEEDS));
    eprintln!("simulation: {count} seeds from {base}");
    let next = AtomicU64::new(0);
    let sums = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut sum = world::Totals::default();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= count {
                            return sum;
                        }
                        sum.add(&run(base + at, false));
                    }
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().expect("no seed fails")).collect::<Vec<_>>()
    });
    let mut sum = world::Totals::default();
    for part in &sums {
        sum.add(part);
    }
    eprintln!("simulation: {sum:?}");
    // A simulation in which nothing happens proves nothing.
    assert!(sum.requests > count && sum.answered_by_peers > 0, "{sum:?}");
    if count >= 100 {
        assert!(sum.refused > 0 && sum.timed_out > 0 && sum.died > 0, "{sum:?}");
    }
}

#[test]
fn one_seed_gives_the_same_effects_every_time() {
    let digest = |seed: u64| {
        let mut world = World::new(seed);
        world.digesting = true;
        world.run().digest
    };
    for seed in [1, 2, 3] {
        assert_eq!(digest(seed), digest(seed));
        assert_ne!(digest(seed), 0);
    }
}

#[test]
fn fault_022_store_no_crash_after_any_commit_loses_what_was_promised() {
    let (base, most) = (fresh_base(), number("SIM_CRASHES").unwrap_or(CRASHES));
    let mut sum = world::Totals::default();
    let mut seeds = 0;
    while sum.crashes < most {
        sum.add(&run(base + seeds, true));
        seeds += 1;
    }
    eprintln!("simulation: {} crashes tried in {seeds} runs from {base}", sum.crashes);
}

#[test]
fn a_storm_of_faults_loses_no_message_and_leaves_nothing() {
    let seed = number("SIM_SEED").unwrap_or_else(fresh_base);
    let faults = number("SIM_STORM").unwrap_or(STORM);
    eprintln!("simulation: SIM_SEED={seed} SIM_STORM={faults}");
    let begun = std::time::Instant::now();
    let (lasted, told) = World::storming(seed, faults).weather();
    eprintln!(
        "simulation: {faults} faults in {lasted} ms, which took {:?}: {told}",
        begun.elapsed()
    );
}
