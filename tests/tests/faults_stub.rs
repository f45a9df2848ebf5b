//! Faults of a stub that lives: killed, ended, deaf, and breaking its link in every way.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use system_tests::Daemon;
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config};
use system_tests::chaos::ledger::Ledger;
use system_tests::chaos::process::Victim;
use system_tests::chaos::worker::Programs;
use system_tests::facts::{events, exit_reason, settled, wait_events, watch_status};

const ALICE: &str = "hyperty://localhost/alice";
const BOB: &str = "hyperty://localhost/bob";
const REMOTE: &str = "hyperty://example.com/bob";
const NAME: &str = "example.com";

/// Restarts come quickly, so that a test sees many of them.
const QUICK: &str = "[supervision]\nbackoff_initial = \"50ms\"\nbackoff_max = \"2s\"\n";

/// A daemon whose stubs obey, with one of them active.
struct World {
    _folder: tempfile::TempDir,
    _programs: Programs,
    daemon: Daemon,
    alice: App,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Folder::new(folder.path());
        catalogue.stub(ECHO_STUB);
        let programs = Programs::obedient();
        let daemon =
            Daemon::start_from(programs.folder(), &format!("{QUICK}{}", config(&catalogue.url())));
        let alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        let mut world = Self { _folder: folder, _programs: programs, daemon, alice };
        world.answers();
        world
    }

    /// The stub answers; how many messages this incarnation took before.
    fn answers(&mut self) -> u64 {
        let response = self.alice.call("read", REMOTE, &json!({}));
        assert_eq!(response["body"]["code"], 200, "{response}");
        response["body"]["taken"].as_u64().unwrap() - 1
    }

    /// Has the stub do something wrong.
    fn fault(&mut self, fault: &str) {
        self.alice.ask("update", REMOTE, &json!({"fault": fault}));
    }
}

/// The next status that the application hears, and of whom.
fn heard(app: &mut App) -> String {
    loop {
        let message = app.read().unwrap();
        if message["type"] == "update" {
            return message["body"]["value"].as_str().unwrap().to_owned();
        }
    }
}

#[test]
fn fault_005_a_live_stub_that_is_killed_tells_disconnected_and_then_live_and_keeps_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let daemon = Daemon::start(&config(&catalogue.url()));
    assert!(daemon.ctl(&["deploy", NAME, "--wait=live"]).status.success());
    let before = daemon.row(NAME).unwrap();
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    watch_status(&mut alice, before["url"].as_str().unwrap());
    assert!(Victim::of(&daemon, NAME).kill());
    assert_eq!(heard(&mut alice), "disconnected");
    assert_eq!(heard(&mut alice), "live");
    let after = daemon.wait_state(NAME, "active");
    assert_eq!((&after["url"], &after["restarts"]), (&before["url"], &json!(1)));
    // Once more, so that a third word would have come between.
    assert!(Victim::of(&daemon, NAME).kill());
    assert_eq!((heard(&mut alice), heard(&mut alice)), ("disconnected".into(), "live".into()));
    settled(&daemon);
}

#[test]
fn fault_006_requests_in_flight_are_answered_once_each_and_never_sent_again() {
    let mut world = World::new();
    let ids: Vec<u64> =
        (0..100).map(|n| world.alice.ask("read", REMOTE, &json!({"hold": true, "n": n}))).collect();
    assert_eq!(world.answers(), 101, "it took them all");
    let begun = Instant::now();
    assert!(Victim::of(&world.daemon, NAME).kill());
    let mut open: std::collections::BTreeSet<u64> = ids.into_iter().collect();
    while !open.is_empty() {
        let response = world.alice.read().unwrap();
        assert!(open.remove(&response["id"].as_u64().unwrap()), "answered twice: {response}");
        assert_eq!(response["body"]["reason"], "stub-died", "{response}");
    }
    // A second on a machine of one's own.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(world.answers(), 0, "the next one was told nothing of them");
    settled(&world.daemon);
}

#[test]
fn fault_007_what_a_dead_stub_never_took_waits_for_the_next_one_in_order_until_its_deadline() {
    let mut world = World::new();
    let victim = Victim::of(&world.daemon, NAME);
    assert!(victim.stop());
    // Together more than a window of 1,024 frames, so that some never leave the daemon; each
    // within what one sender may have waiting.
    let mut bob = App::connect(&world.daemon.bus(), "bob", &[BOB]);
    for n in 0..900 {
        world.alice.ask("read", REMOTE, &json!({"n": n}));
    }
    // Bob's come after all of hers.
    let mark = world.alice.ask("read", BOB, &json!({}));
    assert_eq!(bob.read().unwrap()["id"], mark);
    let count = 400_u64;
    for n in 0..count {
        bob.ask("read", REMOTE, &json!({"n": n}));
    }
    let short = json!({"id": "short", "type": "read", "to": REMOTE, "timeout": 200, "body": {}});
    bob.write(&short);
    let late = bob.read().unwrap();
    assert_eq!(late["id"], "short", "no other deadline has passed: {late}");
    assert_eq!(late["body"]["reason"], "deadline", "{late}");
    assert!(victim.kill());
    let (mut died, mut order) = (0, Vec::new());
    for _ in 0..count {
        let response = bob.read().unwrap();
        if response["body"]["code"] == 200 {
            order.push(response["id"].as_u64().unwrap());
        } else {
            assert_eq!(response["body"]["reason"], "stub-died", "{response}");
            died += 1;
        }
    }
    assert!(died > 0 && order.len() > 200, "{died} died, {} came through", order.len());
    assert!(order.is_sorted(), "{order:?}");
    let answered = world.answers();
    assert_eq!(answered, order.len() as u64, "the expired one was not handed over");
    settled(&world.daemon);
}

#[test]
fn fault_008_a_crash_loop_waits_longer_each_time_and_ends_in_quarantine() {
    let mut world = World::new();
    let mut pid = 0;
    for _ in 0..6 {
        let victim = Victim::next_of(&world.daemon, NAME, pid);
        system_tests::wait_for("it is active or gone", || {
            (world.daemon.row(NAME)?["state"] == "active").then_some(())
        });
        assert!(victim.kill());
        pid = victim.pid;
    }
    world.daemon.wait_state(NAME, "quarantined");
    let waits: Vec<u64> = events(&world.daemon, "restart-scheduled", NAME)
        .iter()
        .map(|event| {
            let detail = event["detail"].as_str().unwrap();
            detail.split(' ').nth(1).unwrap().parse().unwrap()
        })
        .collect();
    assert_eq!(waits.len(), 5, "{waits:?}");
    for (wait, expected) in waits.iter().zip([0, 50, 200, 800, 2_000]) {
        let range = expected * 8 / 10..=expected * 12 / 10;
        assert!(range.contains(wait), "{wait} is not about {expected}: {waits:?}");
    }
    assert_eq!(events(&world.daemon, "quarantined", NAME).len(), 1);
    let refused = world.alice.refused("read", REMOTE, 503, "quarantined");
    assert!(refused["body"]["retryAfter"].as_u64() > Some(20_000), "{refused}");
    // What the operator sees: the last exit, and the record.
    let inspect = world.daemon.ctl_json(&["inspect", NAME]);
    assert!(inspect.to_string().contains("SIGKILL (9)"), "{inspect}");
    let logs = world.daemon.ctl(&["logs", NAME]);
    let text = String::from_utf8(logs.stdout).unwrap();
    assert_eq!(text.matches("ended: SIGKILL (9)").count(), 6, "{text}");
    // The operator may end it at once.
    assert!(world.daemon.ctl(&["restart", NAME]).status.success());
    world.daemon.wait_state(NAME, "active");
    world.answers();
    settled(&world.daemon);
}

#[test]
fn fault_009_an_end_with_status_0_that_nobody_asked_for_is_a_death_like_any_other() {
    for (fault, reason) in [("exit", "clean"), ("fail", "exit-code"), ("abort", "crash")] {
        let mut world = World::new();
        let before = Ledger::at_rest(&world.daemon);
        let url = world.daemon.row(NAME).unwrap()["url"].clone();
        watch_status(&mut world.alice, url.as_str().unwrap());
        world.fault(fault);
        assert_eq!(heard(&mut world.alice), "disconnected", "{fault}");
        exit_reason(&world.daemon, NAME, reason);
        let row = world.daemon.wait_state(NAME, "active");
        assert_eq!((&row["url"], &row["restarts"]), (&url, &json!(1)), "{fault}");
        assert_eq!(world.answers(), 0, "{fault}: a new one");
        before.wait_restored(&world.daemon);
        settled(&world.daemon);
    }
}

#[test]
fn fault_014_a_stub_that_does_not_stop_when_told_is_killed_after_its_grace() {
    let mut world = World::new();
    let victim = Victim::of(&world.daemon, NAME);
    world.fault("deaf");
    world.answers();
    let begun = Instant::now();
    assert!(world.daemon.ctl(&["undeploy", NAME]).status.success());
    victim.wait_gone();
    let took = begun.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&took), "{took:?}");
    exit_reason(&world.daemon, NAME, "removed");
    system_tests::wait_for("the row is gone", || world.daemon.row(NAME).is_none().then_some(()));
    settled(&world.daemon);
}

/// The stub breaks its link: it is killed whole, counted as a death, and started again.
fn breach(fault: &str) -> Value {
    let mut world = World::new();
    let before = Ledger::at_rest(&world.daemon);
    let victim = Victim::of(&world.daemon, NAME);
    let pending = world.alice.ask("read", REMOTE, &json!({"hold": true, "fault": fault}));
    victim.wait_gone();
    let exit = exit_reason(&world.daemon, NAME, "protocol");
    assert_eq!(world.alice.response(pending)["body"]["reason"], "stub-died");
    assert_eq!(world.answers(), 0);
    assert_eq!(world.daemon.row(NAME).unwrap()["restarts"], 1);
    before.wait_restored(&world.daemon);
    settled(&world.daemon);
    exit
}

#[test]
fn fault_015_a_stub_that_closes_its_link_and_lives_on_is_killed() {
    breach("close");
}

#[test]
fn fault_016_a_stub_that_closes_half_of_its_link_is_killed() {
    breach("half-close");
}

#[test]
fn fault_017_a_frame_that_is_cut_short_ends_the_stub() {
    breach("cut");
}

#[test]
fn fault_018_garbage_ends_the_stub_each_time_until_it_is_quarantined() {
    breach("garbage");
    let mut world = World::new();
    for turn in 1..=6 {
        world.fault("garbage");
        wait_events(&world.daemon, "exited", NAME, turn);
        if turn < 6 {
            world.daemon.wait_state(NAME, "active");
            assert_eq!(world.answers(), 0);
        }
    }
    world.daemon.wait_state(NAME, "quarantined");
    world.alice.refused("read", REMOTE, 503, "quarantined");
    let exits = events(&world.daemon, "exited", NAME);
    assert!(exits.iter().all(|exit| exit["reason"] == "protocol"), "{exits:#?}");
    settled(&world.daemon);
}

#[test]
fn fault_020_a_stub_that_takes_no_messages_is_on_record_and_ended_after_ten_seconds() {
    let mut world = World::new();
    let victim = Victim::of(&world.daemon, NAME);
    world.fault("numb");
    // One sender may have half of what fits: a window, and as much behind it.
    for n in 0..1_024 + 50 {
        world.alice.ask("update", REMOTE, &json!({"n": n}));
    }
    let begun = Instant::now();
    let told = wait_events(&world.daemon, "refused", NAME, 1);
    assert_eq!(told[0]["reason"], "slow-consumer", "{told:#?}");
    victim.wait_gone();
    let took = begun.elapsed();
    assert!((Duration::from_secs(8)..Duration::from_secs(20)).contains(&took), "{took:?}");
    let exit = exit_reason(&world.daemon, NAME, "quota");
    assert!(exit["detail"].as_str().unwrap().contains("took no message"), "{exit}");
    world.daemon.wait_state(NAME, "active");
    world.answers();
    settled(&world.daemon);
}
