//! Jails with one wall left out, in throw-away namespaces: the proof must notice each; what the
//! filter refuses is told from what fails by the errno of its own that it gives here; and what the
//! other walls stop is tried without the filter.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end")]

#[path = "../probe/attempts.rs"]
#[allow(dead_code, reason = "the program's")]
mod attempts;
#[path = "../probe/escapes.rs"]
mod escapes;
#[path = "../probe/scene.rs"]
mod scene;

use escapes::Expected;
use scene::skip::skipped;
use scene::{Scene, Who, each, probe};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

/// Leaves nothing out.
const NOTHING: &str = "nothing";
/// Leaves out everything that could stand in front of namespaces, root and capabilities.
const WALLS_ALONE: &str = "seccomp-and-landlock";

/// Leaves out all that can be left out.
const EVERYTHING: &str = "everything";

/// Who notices a wall that was left out.
enum Noticed {
    /// The battery, by this attack; the level that is left is said.
    Inside(&'static str, &'static str),
    /// The check from outside: nothing in a jail shows it.
    Outside,
}

use Noticed::{Inside, Outside};

const NOTICED: &[(&str, Noticed)] = &[
    ("descriptors", Inside("descriptor-inherited", "None")),
    ("rlimits", Inside("limit-raised", "None")),
    ("session", Inside("session-other", "None")),
    ("keyring", Inside("keyring-inherited", "Namespaces")),
    ("user-ns", Inside("user-id", "Filtered")),
    ("mount-ns", Inside("root-programs", "Filtered")),
    ("pid-ns", Inside("pid-first", "Filtered")),
    ("net-ns", Inside("net-loopback", "Filtered")),
    ("ipc-ns", Inside("ipc-segments", "Filtered")),
    ("uts-ns", Inside("uts-name", "Filtered")),
    ("cgroup-ns", Outside),
    ("root", Inside("root-programs", "Filtered")),
    ("caps", Inside("caps-left", "None")),
    ("no-new-privs", Inside("new-privileges", "None")),
    ("non-dumpable", Inside("dumpable", "None")),
    ("parent-death", Inside("outlive-parent", "None")),
    ("landlock", Inside("landlock-root", "Namespaces")),
    ("seccomp", Inside("open-passwd", "None")),
    (WALLS_ALONE, Inside("landlock-root", "None")),
    (EVERYTHING, Inside("root-programs", "None")),
];

/// The level that a worker reports, and the names of the attacks that got through.
fn report(scene: &mut Scene) -> (String, BTreeSet<String>, String) {
    let said = scene.read();
    let level = said.split(' ').nth(1).unwrap().to_owned();
    let (_, failures) = said.rsplit_once("µs: ").unwrap_or_else(|| panic!("{said}"));
    let names = failures.split(", ").filter(|failure| !failure.is_empty());
    let names = names.map(|failure| failure.split(':').next().unwrap().to_owned()).collect();
    assert!(scene.read().starts_with("identity"), "{said}");
    (level, names, said)
}

#[test]
fn every_layer_that_can_be_left_out_is_tried() {
    let all: Vec<&str> = jail::breach::LAYERS.iter().map(|with| with[0]).collect();
    let tried: Vec<&str> = NOTICED.iter().map(|(layer, _)| *layer).collect();
    assert_eq!(all, tried);
}

#[test]
fn every_wall_that_is_left_out_is_noticed() {
    each(|who| {
        for (layer, noticed) in NOTICED {
            let mut scene = Scene::lacking(who, "stub", layer);
            let (level, names, said) = report(&mut scene);
            println!("{who:?} without {layer}: {level}, {}", said.rsplit_once('|').unwrap().1);
            match noticed {
                Inside(attack, left) => {
                    assert!(names.contains(*attack), "{who:?} without {layer}: {said}");
                    assert_eq!(level, *left, "{who:?} without {layer}: {said}");
                }
                Outside => {
                    let verdict = scene.verdict("namespaces");
                    assert!(verdict.starts_with(&format!("refused {layer}")), "{verdict}");
                }
            }
        }
    });
}

#[test]
fn nothing_is_noticed_where_nothing_is_left_out() {
    each(|who| {
        for role in ["stub", "fetch", "net"] {
            let mut scene = Scene::lacking(who, role, NOTHING);
            let (level, names, said) = report(&mut scene);
            // Every attack on the filter was answered with its own errno.
            assert_eq!((level.as_str(), names.len()), ("Namespaces", 0), "{who:?} {role}: {said}");
            let verdict = scene.verdict("namespaces");
            assert!(verdict.starts_with("verified "), "{who:?} {role}: {verdict}");
        }
    });
}

#[test]
fn no_wall_is_left_out_outside_of_throw_away_namespaces() {
    let refused = jail::breach::open("seccomp", escapes::FILTERED).unwrap_err().to_string();
    assert!(refused.starts_with("no wall is left out here"), "{refused}");
    each(|who| {
        let (mut command, _copied) = probe(who);
        let output = command.args(["spawner", "stub", "-", "seccomp"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("NotThrowAway"), "{who:?}: {said}");
    });
}

/// Makes the attempts of a row, and gives each with what came of it.
fn made(
    scene: &mut Scene,
    row: u8,
    role: &str,
    filter: bool,
) -> Vec<(&'static escapes::Attempt, String)> {
    let way = if filter { "filter" } else { "walls" };
    // A number that nobody has in a jail; and a port of no one's.
    let argument = if row == 14 { "/tmp/jail-probe-none" } else { "9" };
    let said = scene.attempt(&format!("escape {row} {role} {way} {argument}"));
    let mut answers = said.split(' ').filter(|answer| !answer.is_empty());
    let attempts = escapes::attempts(row, role, filter).into_iter();
    let found = attempts.map(|attempt| {
        let (name, came) = answers.next().and_then(|answer| answer.split_once('=')).unwrap();
        assert_eq!(name, attempt.name, "{said}");
        (attempt, came.to_owned())
    });
    found.collect()
}

#[test]
fn every_attempt_of_the_matrix_is_the_filters_to_refuse() {
    each(|who| {
        for role in ["stub", "fetch", "net"] {
            let mut scene = Scene::lacking(who, role, NOTHING);
            report(&mut scene);
            assert!(scene.attempt(&format!("calls {role}")) == "filtered", "{who:?} {role}");
            for (row, _) in escapes::rows() {
                for (attempt, came) in made(&mut scene, *row, role, true) {
                    let right = match attempt.filter {
                        Expected::Filtered => &["filtered"],
                        Expected::Passes(answers) => answers,
                    };
                    let of = format!("{who:?} {role} row {row} {}", attempt.name);
                    assert!(right.contains(&came.as_str()), "{of}: {came}");
                }
            }
        }
    });
}

#[test]
fn what_other_walls_stop_they_stop_without_the_filter() {
    each(|who| {
        for layer in ["seccomp", WALLS_ALONE] {
            let mut scene = Scene::lacking(who, "stub", layer);
            report(&mut scene);
            for (row, _) in escapes::rows() {
                for (attempt, came) in made(&mut scene, *row, "stub", false) {
                    let of = format!("{who:?} without {layer}, row {row} {}", attempt.name);
                    println!("{of}: {came}");
                    let right = attempt.walls;
                    assert!(right.contains(&came.as_str()), "{of}: {came} instead of {right:?}");
                }
            }
            assert_eq!(scene.attempt("time"), "true", "{who:?} without {layer}: it lives");
            let verdict = scene.verdict("namespaces");
            assert!(verdict.starts_with("refused seccomp"), "{who:?} without {layer}: {verdict}");
        }
    });
}

#[test]
fn escape_017_without_the_filter_a_connection_that_was_handed_over_leads_to_the_host() {
    // The attack is real: the filter, and Landlock where there is one, are what stops it.
    each(|who| {
        let (served, other) = (local(), local());
        let connected = TcpStream::connect(served.local_addr().unwrap()).unwrap();
        let mut scene = Scene::lacking(who, "stub", WALLS_ALONE);
        report(&mut scene);
        scene.hand(&connected, "time");
        assert_eq!(scene.outcome("time"), "true");
        let port = other.local_addr().unwrap().port();
        let said = scene.attempt(&format!("escape 17 stub filter {port}"));
        assert!(said.starts_with("give-up=ok connect-again=ok"), "{who:?}: {said}");
        let (_, from) = other.accept().unwrap();
        assert!(from.ip().is_loopback(), "{who:?}");
    });
}

fn local() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).unwrap()
}

#[test]
fn escape_037_without_the_filter_processes_end_at_the_limit() {
    if !nix::unistd::geteuid().is_root() {
        // A limit of processes would count all of the user's.
        return skipped("only root gives a stub an id of its own");
    }
    let mut scene = Scene::lacking(Who::Root, "stub", "seccomp");
    report(&mut scene);
    let most = jail::limits::PROCESSES - 1;
    assert_eq!(scene.attempt("multiply"), format!("EAGAIN after {most}"));
}

#[test]
fn escape_065_without_the_filter_what_was_born_to_outlive_the_stub_ends_with_it() {
    each(|who| {
        let mut scene = Scene::lacking(who, "stub", "seccomp");
        report(&mut scene);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        scene.hand(&theirs, "time");
        drop(theirs);
        assert_eq!(scene.outcome("time"), "true");
        let left = scene.attempt("outlive");
        assert!(left.starts_with("Ok(Exited("), "{who:?}: {left}");
        ours.set_nonblocking(true).unwrap();
        let held = ours.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(held, Err(std::io::ErrorKind::WouldBlock), "{who:?}: somebody holds it");
        scene.ask("fault");
        // The end comes when the last of them is gone.
        ours.set_nonblocking(false).unwrap();
        ours.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        assert_eq!(ours.read(&mut [0]).unwrap(), 0, "{who:?}");
    });
}

/// The niceness of every process below this one.
fn niceness(first: u32) -> Vec<i32> {
    let stat = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let parent_and_nice = |pid: &str| {
        let stat = stat(pid)?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some((fields.get(1)?.parse::<u32>().ok()?, fields.get(16)?.parse::<i32>().ok()?))
    };
    let mut found = Vec::new();
    let mut parents = vec![first];
    while let Some(parent) = parents.pop() {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some((of, nice)) = parent_and_nice(&name).filter(|(of, _)| *of == parent) {
                parents.push(name.parse().unwrap());
                found.push(nice);
                assert_eq!(of, parent);
            }
        }
    }
    found
}

#[test]
fn attack_001_without_the_filter_a_stub_reaches_nobody_through_its_group() {
    each(|who| {
        let mut scene = Scene::lacking(who, "stub", "seccomp");
        let (_, _, _) = report(&mut scene);
        let of_all = niceness(scene.supervisor());
        assert!(of_all.iter().all(|nice| *nice == 0) && of_all.len() >= 2, "{of_all:?}");
        assert_eq!(scene.attempt("renice-group"), "ok", "{who:?}: itself it may");
        // Only one of them is polite now.
        let of_all = niceness(scene.supervisor());
        assert_eq!(of_all.iter().filter(|nice| **nice == 19).count(), 1, "{who:?}: {of_all:?}");
        assert_eq!(scene.attempt("kill-parent"), "ok", "{who:?}: 0 is its own group");
        assert!(scene.verdict("namespaces").starts_with("refused seccomp"), "{who:?}: it lives");
    });
}

#[test]
fn attack_002_without_the_filter_no_key_is_read_and_none_is_planted() {
    each(|who| {
        let mut scene = Scene::lacking(who, "stub", "seccomp");
        report(&mut scene);
        assert_eq!(scene.attempt("key"), "ENOKEY", "{who:?}: the spawner's key");
        assert_eq!(scene.attempt("plant-key"), "ok", "{who:?}: in its own keyring it may");
        assert_eq!(scene.finds_planted_key(), "ENOKEY", "{who:?}: the spawner finds it");
    });
}

/// Names of the host that no attack may change: a battery that runs where nothing holds it.
fn surroundings() -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["/", "/etc", "/dev", "/home", "/root", "/run", "/var", "/usr", "/mnt"] {
        // A user may not look into some of them.
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    for kind in ["shm", "sem", "msg"] {
        found.push(std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap());
    }
    found.push(nix::unistd::gethostname().unwrap().display().to_string());
    found.push(std::fs::read_to_string("/proc/self/mounts").unwrap());
    found.sort();
    found
}

#[test]
fn attack_004_a_battery_that_nothing_holds_changes_nothing() {
    each(|who| {
        let tried = || {
            let before = surroundings();
            let mut scene = Scene::lacking(who, "stub", EVERYTHING);
            let (level, names, said) = report(&mut scene);
            assert_eq!(level, "None", "{said}");
            assert!(names.len() > 20, "{who:?}: attacks get through: {said}");
            let after = surroundings();
            // Neither its spawner nor itself is the worse for it.
            assert_eq!(scene.attempt("time"), "true", "{who:?}");
            assert!(scene.verdict("namespaces").starts_with("refused "), "{who:?}");
            before == after
        };
        // Others live here, too, and change something now and then.
        assert!((0..5).any(|_| tried()), "{who:?}: something is changed each time");
    });
}

/// Layers whose lack is seen from outside, by the first fact that shows it.
const SEEN: &[(&str, &[&str])] = &[
    ("rlimits", &["rlimits"]),
    ("session", &["session"]),
    // Root's bounding set would have been emptied in it.
    ("user-ns", &["caps", "user-ns"]),
    ("mount-ns", &["mount-ns"]),
    ("pid-ns", &["pid-ns"]),
    ("net-ns", &["net-ns"]),
    ("ipc-ns", &["ipc-ns"]),
    ("uts-ns", &["uts-ns"]),
    ("cgroup-ns", &["cgroup-ns"]),
    ("root", &["root"]),
    ("caps", &["caps"]),
    // Nobody installs a filter without no-new-privs: to leave that out changes nothing.
    ("seccomp", &["seccomp"]),
];

#[test]
fn attack_007_each_fact_that_is_falsified_is_seen_from_outside() {
    each(|who| {
        for (layer, facts) in SEEN {
            let mut scene = Scene::lacking(who, "stub", layer);
            report(&mut scene);
            let verdict = scene.verdict("namespaces");
            let refused = verdict.strip_prefix("refused ").and_then(|said| said.split(':').next());
            assert!(
                refused.is_some_and(|fact| facts.contains(&fact)),
                "{who:?} {layer}: {verdict}"
            );
        }
    });
}
