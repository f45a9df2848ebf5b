//! The wall clock of the machine is set, by a day either way.

use crate::machine::{BUS, ask_bob, ctl, listen, main_pid, output, pid_of, stub};
use nix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use system_tests::app::App;
use system_tests::chaos::clock::Jump;
use system_tests::wait_for;

const ALICE: &str = "hyperty://localhost/alice";
/// Between what is stamped and what the clock shows; the machine is slow.
const NEAR_S: i64 = 30;

/// Seconds since the epoch, by the last event of somebody who came.
fn last_stamp() -> Option<i64> {
    let events = ctl(&["events"]);
    let last = events.as_array()?.iter().rev().find(|row| row["event"] == "app-joined")?.clone();
    output("date", &["+%s", "-d", last["time"].as_str()?]).trim().parse().ok()
}

pub fn fault_051_a_wall_clock_that_jumps_a_day_changes_stamps_and_nothing_else() {
    listen();
    ask_bob();
    let (daemon, victim) = (main_pid(), pid_of(&stub()));
    let day = Duration::from_hours(24);
    for jump in [Jump::forward, Jump::back] {
        let mut alice = App::connect(Path::new(BUS), "alice", &[ALICE]);
        // It waits while the clock jumps: nobody answers it, and it is told so in time.
        let start = Instant::now();
        let line = json!({"id": 1, "type": "read", "to": ALICE, "timeout": 4_000, "body": {}});
        alice.write(&line);
        let jumped = jump(day);
        assert_eq!(alice.read().expect("its own request")["id"], 1);
        let answer = alice.response(1);
        let waited = start.elapsed();
        assert_eq!(answer["body"]["reason"], "deadline", "{answer}");
        assert!(waited >= Duration::from_secs(4) && waited < Duration::from_secs(20), "{waited:?}");
        let stamp = wait_for("what is stamped shows the new time", || {
            drop(App::connect(Path::new(BUS), "gate", &[]));
            let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("a clock").tv_sec();
            last_stamp().filter(|stamp| (now - stamp).abs() < NEAR_S)
        });
        println!("stamped {stamp} s, {waited:?} for a deadline of 4 s");
        ask_bob();
        drop(jumped);
    }
    assert_eq!((main_pid(), pid_of(&stub())), (daemon, victim), "nobody was restarted");
    let events = ctl(&["events"]);
    let ended = events.as_array().expect("a list").iter().filter(|row| row["event"] == "exited");
    assert!(ended.clone().all(|row| row["sandbox"] != stub()["sandbox"]["id"]), "{events}");
    assert_eq!(stub()["restarts"], 0);
}
