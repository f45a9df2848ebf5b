//! Real cgroups of version 1, where this machine lets the test make some. Version 2 is shown by the
//! service tests, which have a kernel of their own.

#[allow(unreachable_pub, reason = "it is a module of a library, too")]
#[path = "../../../../tests/src/skip.rs"]
mod skip;

use super::find::{Version, places};
use super::room::{Room, sweep};
use super::{Bounds, Cgroup, Cgroups, Place};
use skip::skipped;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const BOUNDS: Bounds =
    Bounds { open_files: 64, processes: 4, memory_bytes: 16 << 20, cpu_percent: Some(50) };

fn texts() -> (String, String) {
    let read = |path| fs::read_to_string(path).unwrap();
    (read("/proc/self/mountinfo"), read("/proc/self/cgroup"))
}

fn first_version() -> Vec<Place> {
    let (mounts, own) = texts();
    let mut places = places(&mounts, &own);
    places.retain(|place| place.version == Version::V1);
    places
}

/// Cgroups of version 1, or the reason why the test cannot run.
fn cgroups() -> Option<Cgroups> {
    let cgroups = Cgroups::among(first_version());
    if let Some(why) = cgroups.why_none() {
        skipped(why);
        return None;
    }
    Some(cgroups)
}

fn made(cgroups: &Cgroups) -> (Cgroup, Vec<PathBuf>) {
    let plan = cgroups.plan(7, &BOUNDS);
    let dirs = plan.iter().map(|part| part.dir.clone()).collect();
    (Cgroup::make(plan, &BOUNDS).unwrap(), dirs)
}

fn program(name: &str, argument: &str) -> Child {
    Command::new(name).arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_process_is_held_by_what_it_is_moved_into_and_nothing_is_left_of_it() {
    let Some(cgroups) = cgroups() else { return };
    assert!(!cgroups.takes_births() && cgroups.rung().starts_with("cgroup version 1"));
    let (cgroup, dirs) = made(&cgroups);
    let child = program("sleep", "60");
    assert!(cgroup.holds(pid(&child)).is_err(), "it is outside still");
    cgroup.take_in(pid(&child)).unwrap();
    let layers = cgroup.holds(pid(&child)).unwrap();
    for layer in &layers {
        assert!(["cgroup-memory", "cgroup-pids", "cgroup-cpu"].contains(&layer.as_str()));
    }
    let said = |file: &str| {
        let text = dirs.iter().find_map(|dir| fs::read_to_string(dir.join(file)).ok());
        text.map(|text| text.trim().to_owned())
    };
    for (file, layer, value) in [
        ("memory.limit_in_bytes", "cgroup-memory", "16777216"),
        ("pids.max", "cgroup-pids", "4"),
        ("cpu.cfs_quota_us", "cgroup-cpu", "50000"),
    ] {
        let expected = layers.iter().any(|l| l == layer).then_some(value);
        assert_eq!(said(file).as_deref(), expected, "{file}");
    }
    assert!(cgroup.remove().is_err(), "somebody is in it");
    assert!(!cgroup.was_out_of_memory());
    end(child);
    cgroup.remove().unwrap();
    assert!(cgroups.remove());
    assert!(dirs.iter().all(|dir| !dir.parent().unwrap().exists()));
}

#[test]
fn what_wants_more_memory_than_it_may_have_is_killed_and_that_is_known() {
    let Some(cgroups) = cgroups() else { return };
    let (cgroup, _dirs) = made(&cgroups);
    let held = cgroup.parts.iter().any(|part| part.dir.join("memory.oom_control").exists());
    // It keeps the last line, which never ends.
    let mut child = program("tail", "/dev/zero");
    cgroup.take_in(pid(&child)).unwrap();
    if held {
        assert!(!child.wait().unwrap().success());
        assert!(cgroup.was_out_of_memory());
    } else {
        skipped("no memory controller");
        end(child);
    }
    cgroup.remove().unwrap();
    assert!(cgroups.remove());
}

#[test]
fn the_room_of_a_living_daemon_stays_and_that_of_a_dead_one_goes_with_what_runs_in_it() {
    let Some(cgroups) = cgroups() else { return };
    let (cgroup, dirs) = made(&cgroups);
    let mut child = program("sleep", "60");
    cgroup.take_in(pid(&child)).unwrap();
    for place in &cgroups.places {
        sweep(place);
    }
    assert!(dirs.iter().all(|dir| dir.exists()), "it is locked");
    assert_eq!(child.try_wait().unwrap(), None);
    let places = cgroups.places.clone();
    // As the kernel does with a process that is killed.
    drop(cgroups);
    // Whom another test is starting just now holds the lock, too, until it executes.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while dirs.iter().any(|dir| dir.exists()) {
        assert!(std::time::Instant::now() < deadline, "left: {dirs:?}");
        let _left: usize = places.iter().map(sweep).sum();
        std::thread::yield_now();
    }
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
}

#[test]
fn two_rooms_never_have_the_same_directory() {
    let Some(place) = first_version().into_iter().next() else { return };
    let (Ok(one), Ok(other)) = (Room::take(place.clone()), Room::take(place)) else {
        skipped("no right to make a cgroup");
        return;
    };
    assert_ne!(one.dir, other.dir);
    one.remove().unwrap();
    other.remove().unwrap();
}

#[test]
fn without_any_the_reason_is_said() {
    let none = Cgroups::among(Vec::new());
    assert_eq!(none.why_none(), Some("this machine has no cgroups"));
    assert!(none.rung().contains("resource limits only"));
    assert_eq!(none.without_effect(&BOUNDS), Some("sandbox.cpu"));
    assert_eq!(none.without_effect(&Bounds { cpu_percent: None, ..BOUNDS }), None);
    let dir = PathBuf::from("/nonexistent");
    let place = Place { version: Version::V2, controllers: Vec::new(), dir };
    let refused = Cgroups::among(vec![place]);
    assert!(refused.why_none().unwrap().starts_with("version 2: "), "{refused:?}");
}
