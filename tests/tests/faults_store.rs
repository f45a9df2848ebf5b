//! A full disk under the store, and the daemon killed on it.

use nix::sys::signal::Signal::SIGKILL;
use serde_json::json;
use std::fs;
use system_tests::app::App;
use system_tests::chaos::disk::{Disk, where_one_may_mount};
use system_tests::{Daemon, wait_for};

const ALICE: &str = "hyperty://localhost/alice";

/// State of the store, and what is said of it.
fn store(daemon: &Daemon) -> (String, String) {
    let status = daemon.ctl_json(&["status"]);
    let text = |name: &str| status["store"][name].as_str().unwrap_or_default().to_owned();
    (text("state"), text("detail"))
}

fn wait_store(daemon: &Daemon, state: &str) -> String {
    wait_for(&format!("the store is {state}"), || {
        let (found, detail) = store(daemon);
        (found == state).then_some(detail)
    })
}

/// An application with so many addresses that they need new pages of the file.
fn claim_many(daemon: &Daemon, round: u32) -> (App, Vec<String>) {
    let pad = "x".repeat(900);
    let addresses: Vec<String> =
        (0..64).map(|n| format!("hyperty://localhost/many-{round}-{n}/{pad}")).collect();
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    (App::connect(&daemon.bus(), "many", &all), addresses)
}

#[test]
fn fault_028_store_addresses_given_on_a_full_disk_are_their_users_after_a_kill() {
    where_one_may_mount(|| {
        let mut disk = Disk::start("1m", "true", "");
        let first = disk.daemon.ctl_json(&["status"])["runtime"].clone();
        let mut alice = App::connect(&disk.daemon.bus(), "alice", &[ALICE]);
        let mut bob = App::connect(&disk.daemon.bus(), "bob", &[]);
        disk.fill();
        let (mut rounds, mut claimed) = (0, Vec::new());
        wait_for("the disk is full for the store", || {
            rounds += 1;
            claimed.push(claim_many(&disk.daemon, rounds));
            (store(&disk.daemon).0 == "degraded").then_some(())
        });
        let id = bob.ask("read", ALICE, &json!({}));
        let asked = alice.read().unwrap();
        alice.write(&json!({"id": asked["id"], "type": "response", "from": ALICE,
            "to": asked["from"], "body": {"code": 200}}));
        assert_eq!(bob.response(id)["body"]["code"], 200);
        claimed.push(claim_many(&disk.daemon, rounds + 1));
        let addresses: Vec<String> = claimed.into_iter().flat_map(|(_app, all)| all).collect();
        let last = addresses.last().unwrap();
        wait_for("its application has left", || {
            let response = bob.call("read", last, &json!({}));
            (response["body"]["reason"] == "receiver-gone").then_some(())
        });
        assert_eq!(store(&disk.daemon).0, "degraded");
        disk.empty();
        wait_store(&disk.daemon, "ok");
        disk.daemon.restart(SIGKILL);
        assert_eq!(disk.daemon.ctl_json(&["status"])["runtime"], first);
        let mut bob = App::connect(&disk.daemon.bus(), "bob", &[]);
        for address in addresses.iter().map(String::as_str).chain([ALICE]) {
            bob.refused("read", address, 503, "receiver-gone");
        }
    });
}

#[test]
fn fault_028_store_a_daemon_killed_on_a_full_disk_comes_back_on_it_with_what_was_committed() {
    where_one_may_mount(|| {
        let mut disk = Disk::start("1m", "true", "");
        let first = disk.daemon.ctl_json(&["status"])["runtime"].clone();
        let alice = App::connect(&disk.daemon.bus(), "alice", &[ALICE]);
        wait_for("the claim is in the log", || {
            let log = fs::read(disk.daemon.root().join("state/registry.db-wal")).ok()?;
            log.windows(ALICE.len()).any(|part| part == ALICE.as_bytes()).then_some(())
        });
        disk.daemon.stop(SIGKILL);
        drop(alice);
        disk.fill();
        disk.daemon.start_again();
        assert_eq!(disk.daemon.ctl_json(&["status"])["runtime"], first);
        let mut bob = App::connect(&disk.daemon.bus(), "bob", &[]);
        bob.refused("read", ALICE, 503, "receiver-gone");
        let many = claim_many(&disk.daemon, 1);
        wait_store(&disk.daemon, "degraded");
        disk.empty();
        wait_store(&disk.daemon, "ok");
        drop(many);
        bob.refused("read", ALICE, 503, "receiver-gone");
    });
}
