//! Faults of the machine below the daemon: no spawner, no descriptors, no processes, a thousand
//! things at once, a log that nobody reads, time in which nothing ran.

use nix::libc;
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder};
use system_tests::chaos::disk::where_one_may_mount;
use system_tests::chaos::ledger::Ledger;
use system_tests::chaos::limits::Lowered;
use system_tests::chaos::pressure::Pressure;
use system_tests::chaos::process::Victim;
use system_tests::facts::{events, settled, wait_events};
use system_tests::{Daemon, command, program, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const REMOTE: &str = "hyperty://example.com/bob";
const OTHER: &str = "hyperty://other.example/bob";
const NAME: &str = "example.com";
const OTHER_NAME: &str = "other.example";

/// A catalogue with a stub that answers, for two domains, and keys before it.
fn world(first: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let mut config = first.to_owned();
    for domain in [NAME, OTHER_NAME] {
        writeln!(config, "[domain.\"{domain}\"]\ncatalogue = \"{}\"", catalogue.url()).unwrap();
    }
    (folder, config)
}

fn answers(app: &mut App, to: &str) {
    let answer = app.call("read", to, &json!({}));
    assert_eq!(answer["body"]["code"], 200, "{answer}");
}

fn pid_of(daemon: &Daemon) -> i32 {
    i32::try_from(daemon.pid()).unwrap()
}

#[test]
fn fault_047_a_spawner_that_dies_with_a_deploy_in_hand_is_started_again_and_the_deploy_goes_on() {
    let (_folder, config) = world("");
    let daemon = Daemon::start(&config);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    answers(&mut alice, OTHER);
    let other = Victim::of(&daemon, OTHER_NAME).pid;
    let spawner = Victim::role(&daemon, "spawner");
    // It has been asked, and has made nothing yet.
    assert!(spawner.stop());
    let id = alice.ask("read", REMOTE, &json!({}));
    wait_events(&daemon, "deploy-started", NAME, 1);
    assert!(spawner.kill());
    let answer = alice.response(id);
    assert_eq!(answer["body"]["code"], 200, "{answer}");
    assert_ne!(Victim::role(&daemon, "spawner").pid, spawner.pid);
    assert_eq!(events(&daemon, "deploy-started", NAME).len(), 1, "the same deploy");
    assert!(events(&daemon, "deploy-failed", NAME).is_empty());
    // Whoever lived lives on.
    assert_eq!(Victim::of(&daemon, OTHER_NAME).pid, other);
    answers(&mut alice, OTHER);
    settled(&daemon);
}

/// Clock ticks of processor time that a process has used.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Applications, as many as the daemon lets in, and one that waits.
fn crowd(daemon: &Daemon) -> (Vec<App>, App) {
    let mut crowd = Vec::new();
    loop {
        let mut app = App::silent(&daemon.bus());
        app.write(&json!({"hello": {"name": "crowd", "addresses": []}}));
        if !app.hears_within(Duration::from_millis(500)) {
            return (crowd, app);
        }
        assert!(app.read().unwrap().get("welcome").is_some());
        crowd.push(app);
    }
}

#[test]
fn fault_048_without_descriptors_what_lives_goes_on_operators_are_heard_and_nothing_spins() {
    let (_folder, config) = world("");
    let daemon = Daemon::start(&config);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    answers(&mut alice, REMOTE);
    let (stub, before) = (Victim::of(&daemon, NAME).pid, Ledger::at_rest(&daemon));
    let few = Lowered::descriptors(pid_of(&daemon), 64);
    let (mut crowd, mut waiting) = crowd(&daemon);
    assert!(!crowd.is_empty());
    let (used, begun) = (ticks(pid_of(&daemon)), Instant::now());
    answers(&mut alice, REMOTE);
    alice.refused("read", OTHER, 503, "sandbox-unavailable");
    // One descriptor is kept back for operators, again and again.
    for _ in 0..5 {
        assert!(daemon.ctl(&["status"]).status.success());
    }
    wait_for("some time has passed", || (begun.elapsed() > Duration::from_secs(2)).then_some(()));
    // A tick is a hundredth of a second.
    let (took, used) = (begun.elapsed(), ticks(pid_of(&daemon)) - used);
    let most = u64::try_from(took.as_millis()).unwrap() / 10 / 20;
    assert!(used < most, "{used} ticks in {took:?} are more than a twentieth of a processor");
    // With one descriptor after the other a deploy fails in one way after the other, and what it
    // began is gone each time.
    for _ in 0..crowd.len().min(8) {
        drop(crowd.pop());
        let answer = daemon.ctl(&["deploy", OTHER_NAME, "--wait"]);
        let told = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(answer.status.success() || told.contains("Too many open files"), "{told}");
        answers(&mut alice, REMOTE);
        daemon.ctl(&["undeploy", OTHER_NAME]);
    }
    drop(few);
    // Whoever waited is let in.
    assert!(waiting.read().unwrap().get("welcome").is_some());
    let deployed = daemon.ctl(&["deploy", OTHER_NAME, "--wait"]);
    assert!(deployed.status.success(), "{deployed:?}");
    answers(&mut alice, OTHER);
    assert!(daemon.ctl(&["undeploy", OTHER_NAME]).status.success());
    assert_eq!(Victim::of(&daemon, NAME).pid, stub, "it has not noticed");
    drop((crowd, waiting));
    before.wait_restored(&daemon);
    settled(&daemon);
}

/// A daemon of somebody who is not root: the kernel holds nobody else to a number of processes.
fn of_an_ordinary_user(config: &str) -> Daemon {
    Daemon::start_by(config, |root| {
        if !nix::unistd::geteuid().is_root() {
            return command(&program("runtimed"), root);
        }
        for path in [root.to_owned(), root.join("runtimed.toml")] {
            std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(program("runtimed")).arg("--root").arg(root);
        command
    })
}

#[test]
fn fault_049_without_processes_a_deploy_is_refused_and_the_next_one_works_when_there_are_some() {
    let (_folder, config) = world("");
    let daemon = of_an_ordinary_user(&config);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    answers(&mut alice, REMOTE);
    let before = Ledger::at_rest(&daemon);
    let spawner = Victim::role(&daemon, "spawner");
    let none = Lowered::processes(spawner.pid, 1);
    let refused = alice.refused("read", OTHER, 503, "sandbox-unavailable");
    assert!(refused["body"]["retryAfter"].as_u64() > Some(0), "{refused}");
    let failed = wait_events(&daemon, "deploy-failed", OTHER_NAME, 1);
    let why = failed[0]["detail"].as_str().unwrap();
    assert!(why.contains("clone3: Resource temporarily unavailable"), "{why}");
    answers(&mut alice, REMOTE);
    before.wait_restored(&daemon);
    drop(none);
    assert!(daemon.ctl(&["deploy", OTHER_NAME, "--wait"]).status.success());
    answers(&mut alice, OTHER);
    assert_eq!(Victim::role(&daemon, "spawner").pid, spawner.pid);
    settled(&daemon);
}

#[test]
fn fault_052_a_time_in_which_nothing_ran_is_no_missed_heartbeat() {
    let (_folder, config) = world("[supervision]\nheartbeat = \"400ms\"\n");
    let daemon = Daemon::start(&config);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    answers(&mut alice, REMOTE);
    answers(&mut alice, OTHER);
    let stubs = [NAME, OTHER_NAME].map(|name| Victim::of(&daemon, name));
    let whole = Victim::new(&daemon, pid_of(&daemon)).unwrap();
    // Suspended is all of it, and awake first is who counts.
    for _ in 0..3 {
        assert!(whole.stop());
        let slept: Vec<Victim> =
            daemon.descendants().into_iter().filter_map(|pid| Victim::new(&daemon, pid)).collect();
        assert!(slept.iter().all(Victim::stop));
        let begun = Instant::now();
        wait_for("it sleeps", || (begun.elapsed() > Duration::from_millis(1_500)).then_some(()));
        assert!(whole.go_on());
        assert!(daemon.ctl(&["status"]).status.success());
        assert!(slept.iter().all(Victim::go_on));
        answers(&mut alice, REMOTE);
    }
    let heard = |name: &str| {
        let logs = daemon.ctl(&["logs", name]);
        String::from_utf8(logs.stdout).unwrap()
    };
    let begun = Instant::now();
    wait_for("heartbeats go on", || (begun.elapsed() > Duration::from_secs(2)).then_some(()));
    for (name, stub) in [NAME, OTHER_NAME].into_iter().zip(&stubs) {
        let row = daemon.row(name).unwrap();
        assert_eq!(
            (&row["pid"], &row["restarts"]),
            (&json!(stub.pid), &json!(0)),
            "{}",
            heard(name)
        );
        assert!(events(&daemon, "exited", name).is_empty());
    }
    settled(&daemon);
}

#[test]
fn fault_055_a_thousand_deploys_at_once_all_end_and_take_no_more_than_some_at_a_time() {
    const DEPLOYS: usize = 1_000;
    const AT_ONCE: usize = 32;
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let mut config = String::new();
    for n in 0..DEPLOYS {
        writeln!(config, "[domain.\"d{n}.example\"]\ncatalogue = \"{}\"", catalogue.url()).unwrap();
    }
    let daemon = Daemon::start(&config);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let rss = |daemon: &Daemon| daemon.ctl_json(&["status"])["rss_bytes"].as_u64().unwrap();
    let at_first = rss(&daemon);
    let begun = Instant::now();
    let mut open: std::collections::BTreeSet<u64> = (0..DEPLOYS)
        .map(|n| alice.ask("read", &format!("hyperty://d{n}.example/x"), &json!({})))
        .collect();
    let (mut served, mut busy) = (0, 0);
    while !open.is_empty() {
        let answer = alice.read().unwrap();
        assert!(open.remove(&answer["id"].as_u64().unwrap()), "answered twice: {answer}");
        match answer["body"]["code"].as_u64() {
            Some(200) => served += 1,
            Some(503) => {
                assert_eq!(answer["body"]["reason"], "overloaded", "{answer}");
                assert!(answer["body"]["retryAfter"].as_u64() > Some(0), "{answer}");
                busy += 1;
            }
            _ => panic!("{answer}"),
        }
        if open.len().is_multiple_of(100) {
            // A stub and who fetches it, the spawner and the net role.
            assert!(daemon.descendants().len() <= 2 * AT_ONCE + served + 2);
        }
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(15), "by their deadline: {took:?}");
    assert!(served >= AT_ONCE && served + busy == DEPLOYS, "{served} served, {busy} busy");
    let grown = rss(&daemon).saturating_sub(at_first);
    assert!(grown < 64 << 20, "it has grown by {grown} bytes");
    // Who was told to come again is served then.
    answers(&mut alice, "hyperty://d999.example/x");
    settled(&daemon);
}

#[test]
fn fault_059_a_log_that_nobody_reads_costs_lines_and_not_the_daemon() {
    let (_folder, config) = world("");
    let mut log = None;
    let daemon = Daemon::start_by(&config, |root| {
        let fifo = root.join("stderr");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut options = fs::OpenOptions::new();
        log = Some(
            options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap(),
        );
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" --root \"$1\" 2>\"$1/stderr\""]).arg(program("runtimed"));
        command.arg(root).env("RUNTIMED_LOG", "debug");
        command
    });
    let mut log = log.unwrap();
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    answers(&mut alice, REMOTE);
    // Each that comes and goes is a line, and a pipe holds 64 KiB.
    for n in 0..1_500 {
        drop(App::connect(&daemon.bus(), &format!("application number {n}"), &[]));
    }
    let begun = Instant::now();
    answers(&mut alice, REMOTE);
    assert!(daemon.ctl(&["restart", NAME]).status.success());
    daemon.wait_state(NAME, "active");
    answers(&mut alice, REMOTE);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let mut said = String::new();
    let mut read = |said: &mut String| {
        let mut bytes = vec![0; 1 << 20];
        let count = log.read(&mut bytes).unwrap_or(0);
        said.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    };
    read(&mut said);
    assert!(!said.contains("application number 1499"), "nothing was lost");
    assert!(said.lines().all(|line| line.starts_with("20")), "whole lines: {said}");
    drop(App::connect(&daemon.bus(), "the last one", &[]));
    wait_for("it goes on, and says what was lost", || {
        read(&mut said);
        said.contains("the last one").then_some(())
    });
    let lost = said.lines().find(|line| line.contains("lines of the log were lost")).unwrap();
    let count: u64 = lost.split(' ').next().unwrap().parse().unwrap();
    assert!(count > 1_000, "{lost}");
    settled(&daemon);
}

#[test]
fn fault_050_while_the_kernel_says_that_memory_is_short_no_stub_is_deployed() {
    where_one_may_mount(|| {
        let (folder, config) = world("");
        let Some(pressure) = Pressure::mount(folder.path()) else { return };
        let daemon = Daemon::start_by(&config, |root| command(&program("runtimed"), root));
        let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        answers(&mut alice, REMOTE);
        pressure.set(60);
        let begins = wait_events(&daemon, "refused", "memory", 1);
        assert_eq!(begins[0]["reason"], "overloaded", "{begins:?}");
        let refused = alice.refused("read", OTHER, 503, "overloaded");
        assert!(refused["body"]["retryAfter"].as_u64() > Some(0), "{refused}");
        answers(&mut alice, REMOTE);
        let denied = daemon.ctl(&["deploy", OTHER_NAME]);
        let said = String::from_utf8_lossy(&denied.stderr).into_owned();
        assert!(denied.status.code() == Some(1) && said.contains("memory is short"), "{said}");
        pressure.set(0);
        wait_events(&daemon, "refused", "memory", 2);
        answers(&mut alice, OTHER);
        settled(&daemon);
    });
}
