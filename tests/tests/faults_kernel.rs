//! Faults of what the kernel holds for a sandbox: its cgroup goes or cannot go, its process does not
//! end.

use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config};
use system_tests::chaos::freezer::Frozen;
use system_tests::chaos::ledger::{Ledger, cgroups, rooms};
use system_tests::chaos::process::{Victim, state};
use system_tests::chaos::worker::Programs;
use system_tests::facts::{exit_reason, settled, wait_events};
use system_tests::skip::skipped;
use system_tests::{Daemon, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const REMOTE: &str = "hyperty://example.com/bob";
const NAME: &str = "example.com";

struct World {
    _folder: tempfile::TempDir,
    _programs: Programs,
    daemon: Daemon,
    alice: App,
}

impl World {
    fn new(first: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Folder::new(folder.path());
        catalogue.stub(ECHO_STUB);
        let programs = Programs::obedient();
        let daemon =
            Daemon::start_from(programs.folder(), &format!("{first}{}", config(&catalogue.url())));
        let alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        Self { _folder: folder, _programs: programs, daemon, alice }
    }

    fn answers(&mut self) {
        let answer = self.alice.call("read", REMOTE, &json!({}));
        assert_eq!(answer["body"]["code"], 200, "{answer}");
    }

    /// The cgroups of the stub's sandbox, once it is in them; none where there are none.
    fn own_cgroups(&self) -> Vec<PathBuf> {
        let id = self.daemon.row(NAME).unwrap()["sandbox"]["id"].clone();
        wait_for("it is known what holds the stub", || {
            let proved = wait_events(&self.daemon, "sandbox-proved", NAME, 1);
            let told = |word: &str| {
                proved.iter().any(|event| {
                    event["sandbox"] == id && event["detail"].as_str().unwrap().contains(word)
                })
            };
            (told("cgroup-memory") || told("no cgroup: ")).then_some(())
        });
        let (id, all) = (id.to_string(), cgroups(&self.daemon).into_iter());
        all.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy() == id))
            .collect()
    }
}

#[test]
fn fault_061_without_its_cgroups_the_daemon_runs_stubs_at_a_lower_level_and_says_so() {
    let mut world = World::new("");
    let rooms = rooms(&world.daemon);
    if rooms.is_empty() {
        return skipped("this user has no cgroup that could vanish");
    }
    for room in &rooms {
        fs::remove_dir(room).unwrap();
    }
    world.answers();
    assert_eq!(world.own_cgroups(), Vec::<PathBuf>::new());
    let row = world.daemon.row(NAME).unwrap();
    assert_eq!(row["sandbox"]["level"], "namespaces", "{row}");
    let told = wait_events(&world.daemon, "sandbox-proved", NAME, 2);
    let degraded = |event: &Value| {
        let detail = event["detail"].as_str().unwrap();
        detail.starts_with("namespaces: ") && detail.contains("; no cgroup: ")
    };
    assert!(told.iter().any(degraded), "{told:#?}");
    let missing = world.daemon.ctl_json(&["inspect", NAME])["missing_layers"].to_string();
    assert!(missing.contains("cgroup: "), "{missing}");
    settled(&world.daemon);
}

/// Somebody else in a cgroup.
struct Squatter(Child);

impl Squatter {
    fn in_all(dirs: &[PathBuf]) -> Self {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let squatter = Self(child);
        for dir in dirs {
            fs::write(dir.join("cgroup.procs"), squatter.0.id().to_string()).unwrap();
        }
        squatter
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn fault_061_a_cgroup_that_is_still_in_use_is_removed_when_it_is_not() {
    let mut world = World::new("");
    world.answers();
    let dirs = world.own_cgroups();
    if dirs.is_empty() {
        return skipped("this user has no cgroup that could be in use");
    }
    let squatter = Squatter::in_all(&dirs);
    let victim = Victim::of(&world.daemon, NAME);
    assert!(victim.kill());
    victim.wait_gone();
    world.answers();
    assert!(dirs.iter().all(|dir| dir.exists()), "somebody is in it");
    drop(squatter);
    wait_for("it is removed", || dirs.iter().all(|dir| !dir.exists()).then_some(()));
    settled(&world.daemon);
}

#[test]
fn fault_062_a_process_that_does_not_die_costs_its_place_and_nobody_a_stub() {
    let mut world = World::new("[supervision]\nheartbeat = \"300ms\"\n");
    world.answers();
    let before = Ledger::at_rest(&world.daemon);
    let (victim, dirs) = (Victim::of(&world.daemon, NAME), world.own_cgroups());
    let frozen = match Frozen::freeze(victim.pid) {
        Ok(frozen) => frozen,
        Err(why) => return skipped(&format!("no process can be frozen: {why}")),
    };
    let begun = Instant::now();
    let held = world.alice.ask("read", REMOTE, &json!({}));
    let exit = exit_reason(&world.daemon, NAME, "hang");
    let took = begun.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(15)).contains(&took), "{took:?}");
    assert!(exit["detail"].as_str().unwrap().contains("unkillable"), "{exit}");
    assert_eq!(world.alice.response(held)["body"]["reason"], "stub-died");
    // Another one serves, in a place of its own; this one keeps what it has.
    let next = Victim::next_of(&world.daemon, NAME, victim.pid);
    world.answers();
    let uid = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().find(|line| line.starts_with("Uid:")).unwrap().to_owned()
    };
    assert_ne!(uid(victim.pid), uid(next.pid));
    assert!(state(victim.pid).is_some() && dirs.iter().all(|dir| dir.exists()));
    assert!(world.daemon.log().contains("a worker cannot be killed"), "{}", world.daemon.log());
    drop(frozen);
    victim.wait_gone();
    before.wait_restored(&world.daemon);
    assert_eq!(Victim::of(&world.daemon, NAME).pid, next.pid, "nobody took it for the other");
    settled(&world.daemon);
}
