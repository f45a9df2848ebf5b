//! The kill storm: twenty stubs under traffic, killed, stopped, starved and made to break their
//! links at random, in bounded time. Not one message is missing in the end, nothing is left over,
//! and the control socket answers all the while.
//!
//! `STORM_EVENTS` says how many faults there are (the whole storm has 1,000), `STORM_SEED` which.

use protocol::control::{Command, PsRow, Reply, StatusReply};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder};
use system_tests::chaos::ledger::Ledger;
use system_tests::chaos::process::Victim;
use system_tests::chaos::worker::Programs;
use system_tests::facts::settled;
use system_tests::operator::asked;
use system_tests::{Daemon, wait_for};

const STUBS: u64 = 20;
const APPS: u64 = 4;
/// Requests that one application has open at a time.
const BATCH: u64 = 16;
/// Faults when nobody says how many.
const EVENTS: u64 = 60;
/// Between two faults, at least.
const PAUSE: Duration = Duration::from_millis(40);
/// Slowest answer of the control socket on a machine that has much else to do.
const CONTROL_WITHIN: Duration = Duration::from_secs(1);
/// What the daemon may hold more afterwards than before: what its tables and the allocator keep.
const GROWTH_BYTES: u64 = 16 << 20;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (z ^ (z >> 27)) % end
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn address(stub: u64) -> String {
    format!("hyperty://d{stub}.example/x")
}

fn config(catalogue: &str) -> String {
    let mut config = "[supervision]\nheartbeat = \"500ms\"\nbackoff_initial = \"20ms\"\n\
         backoff_max = \"100ms\"\nmax_restarts = 100000\nwindow = \"1s\"\n"
        .to_owned();
    for stub in 0..STUBS {
        writeln!(config, "[domain.\"d{stub}.example\"]\ncatalogue = \"{catalogue}\"").unwrap();
    }
    config
}

fn status(daemon: &Daemon) -> StatusReply {
    let replies = asked(daemon, Command::Status);
    let [Reply::Status(status)] = &replies[..] else { panic!("{replies:?}") };
    let sum = status.delivered + status.refused + status.expired + status.queued;
    assert_eq!(status.accepted, sum, "{status:?}");
    (**status).clone()
}

fn rows(daemon: &Daemon) -> Vec<PsRow> {
    let replies = asked(daemon, Command::Ps { all: false });
    let [Reply::Ps(rows)] = &replies[..] else { panic!("{replies:?}") };
    rows.clone()
}

/// Asks at random until the storm is over; how many were answered by a stub, and by the runtime.
/// Each request has exactly one answer.
fn traffic(daemon: &Daemon, app: u64, over: &AtomicBool) -> (u64, u64) {
    let mut random = Random(app);
    let own = format!("hyperty://localhost/app{app}");
    let mut app = App::connect(&daemon.bus(), "app", &[&own]);
    let (mut answered, mut refused) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let to: Vec<String> = (0..BATCH).map(|_| address(random.below(STUBS))).collect();
        let mut open: BTreeSet<u64> = to.iter().map(|to| app.ask("read", to, &json!({}))).collect();
        while !open.is_empty() {
            let response = app.read().expect("the daemon lives");
            assert!(open.remove(&response["id"].as_u64().unwrap()), "one too many: {response}");
            if response["body"]["code"] == 200 { answered += 1 } else { refused += 1 }
        }
    }
    app.ask("update", &own, &json!({"mark": 1}));
    assert_eq!(app.read().unwrap()["body"]["mark"], 1, "no answer came twice");
    (answered, refused)
}

/// The answers of the control socket, until the storm is over; conservation holds in each.
fn control(daemon: &Daemon, over: &AtomicBool) -> Vec<Duration> {
    let mut took = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let _conserved = status(daemon);
        took.push(begun.elapsed());
        thread::park_timeout(Duration::from_millis(20));
    }
    took.sort();
    took
}

/// One fault of one stub; whether something was there to suffer it.
fn strike(daemon: &Daemon, app: &mut App, random: &mut Random) -> bool {
    let all = rows(daemon);
    let row = &all[usize::try_from(random.below(STUBS)).unwrap()];
    let held = row.layers.iter().any(|layer| layer == "cgroup-memory");
    let victim = || Victim::new(daemon, row.pid?);
    let to = format!("hyperty://{}/x", row.name);
    match random.below(10) {
        0..4 => victim().is_some_and(|victim| victim.kill()),
        4 => victim().is_some_and(|victim| victim.signal(nix::libc::SIGSTOP)),
        word => {
            // Without a cgroup nothing but the whole machine would be out of memory.
            let starves = held && word == 9;
            let faults = ["garbage", "cut", "close", "abort"];
            let fault = if starves { "memory" } else { faults[usize::try_from(word % 4).unwrap()] };
            app.ask("update", &to, &json!({"fault": fault}));
            true
        }
    }
}

/// All stubs answer.
fn all_answer(app: &mut App) {
    for stub in 0..STUBS {
        wait_for("a stub answers", || {
            let response = app.call("read", &address(stub), &json!({}));
            (response["body"]["code"] == 200).then_some(())
        });
    }
}

/// All stubs are removed.
fn clear(daemon: &Daemon) {
    for stub in 0..STUBS {
        let name = format!("d{stub}.example");
        assert_eq!(asked(daemon, Command::Undeploy { name }), [Reply::Done]);
    }
    assert_eq!(rows(daemon), []);
}

#[test]
fn a_storm_of_faults_loses_no_message_leaves_nothing_and_never_silences_the_control_socket() {
    let seed = number("STORM_SEED").unwrap_or_else(|| std::process::id().into());
    let events = number("STORM_EVENTS").unwrap_or(EVENTS);
    println!("STORM_SEED={seed} STORM_EVENTS={events}");
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let programs = Programs::obedient();
    let daemon = Daemon::start_from(programs.folder(), &config(&catalogue.url()));
    let mut mallory = App::connect(&daemon.bus(), "mallory", &["hyperty://localhost/mallory"]);
    // Once through everything, so that what is made at first is made before it is counted.
    all_answer(&mut mallory);
    clear(&daemon);
    let before = Ledger::at_rest(&daemon);
    all_answer(&mut mallory);
    let rss = status(&daemon).rss_bytes;
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let (told, took) = thread::scope(|scope| {
        let apps: Vec<_> = (0..APPS)
            .map(|app| {
                let (daemon, over) = (&daemon, &over);
                scope.spawn(move || traffic(daemon, app, over))
            })
            .collect();
        let asking = scope.spawn(|| control(&daemon, &over));
        let mut random = Random(seed);
        let mut done = 0;
        while done < events {
            done += u64::from(strike(&daemon, &mut mallory, &mut random));
            thread::park_timeout(PAUSE);
        }
        all_answer(&mut mallory);
        over.store(true, Ordering::Relaxed);
        let told: Vec<_> =
            apps.into_iter().map(|app| app.join().expect("an application")).collect();
        (told, asking.join().expect("the operator"))
    });
    let restarts: u32 = rows(&daemon).iter().map(|row| row.restarts).sum();
    let (answered, refused) = told.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!(
        "{events} faults in {:?}: {restarts} restarts, {answered} answers, {refused} refusals; \
         control median {:?}, p99 {:?}, slowest {:?}",
        begun.elapsed(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        took[took.len() - 1]
    );
    assert!(u64::from(restarts) >= events / 2, "a storm in which nothing dies: {restarts}");
    assert!(answered > refused, "most is answered: {answered}, {refused}");
    assert!(took[took.len() * 99 / 100] < CONTROL_WITHIN, "{took:?}");
    settled(&daemon);
    let grown = status(&daemon).rss_bytes.saturating_sub(rss);
    assert!(grown < GROWTH_BYTES, "the daemon has grown by {grown} bytes");
    clear(&daemon);
    before.wait_restored(&daemon);
    assert_eq!(settled(&daemon)["queued"], 0);
}
