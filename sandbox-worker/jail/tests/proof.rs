//! The self-proof: a closed jail refuses every attack of its own, quickly, whoever made it and
//! whatever it is for.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end")]

#[path = "../probe/scene.rs"]
mod scene;

use scene::{Scene, Who, each};

/// Attacks of a proof at least; what the daemon demands.
const PROBES_MIN: u32 = jail::limits::PROBES_MIN;
/// Microseconds that a proof may take.
const TOOK_MAX: u32 = 300;
/// Launches at most until one is quick enough: the machine has other things to do.
const LAUNCHES: usize = 40;

struct Said {
    denied: u32,
    probes: u32,
    took: u32,
    failures: String,
}

/// What a worker that has just confined itself says of its proof.
fn proof(scene: &mut Scene) -> Said {
    let report = scene.read();
    let (_, said) = report.rsplit_once(" | ").unwrap_or_else(|| panic!("{report}"));
    let (numbers, failures) = said.split_once(": ").unwrap();
    let numbers: Vec<&str> = numbers.split(' ').collect();
    let number = |at: usize| numbers[at].parse().unwrap();
    Said { denied: number(0), probes: number(2), took: number(4), failures: failures.to_owned() }
}

fn holds(said: &Said, of: &str) {
    assert_eq!(said.failures, "", "{of}");
    assert_eq!(said.denied, said.probes, "{of}");
    assert!(said.probes >= PROBES_MIN, "{of}: {} attacks", said.probes);
}

#[test]
fn every_attack_is_refused_in_every_profile() {
    each(|who| {
        for role in ["stub", "fetch", "net"] {
            let said = proof(&mut Scene::new(who, role));
            println!("{who:?} {role}: {} of {} in {} µs", said.denied, said.probes, said.took);
            holds(&said, &format!("{who:?} {role}"));
        }
    });
}

#[test]
fn every_attack_that_is_left_is_refused_without_namespaces() {
    each(|who| {
        let mut scene = Scene::without_namespaces(who, "stub");
        let said = proof(&mut scene);
        holds(&said, &format!("{who:?}"));
        let walled = proof(&mut Scene::new(who, "stub"));
        assert!(said.probes < walled.probes, "{who:?}: walls that do not stand were tried");
    });
}

#[test]
fn a_proof_takes_less_than_a_third_of_a_millisecond() {
    for role in ["stub", "fetch", "net"] {
        let mut took = Vec::new();
        while took.len() < LAUNCHES && took.last().is_none_or(|us| *us > TOOK_MAX) {
            took.push(proof(&mut Scene::new(Who::User, role)).took);
        }
        println!("{role}: {took:?} µs");
        assert!(took.iter().any(|took| *took <= TOOK_MAX), "{role}: {took:?} µs");
    }
}
