//! A full disk under the store, and the daemon killed on it, or at any moment.

use nix::sys::signal::Signal::SIGKILL;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};
use system_tests::app::App;
use system_tests::chaos::disk::where_one_may_mount;
use system_tests::domain::Domain;
use system_tests::on_disk::OnDisk;
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
    let home = daemon.ctl_json(&["status"])["domain"].as_str().unwrap().to_owned();
    let addresses: Vec<String> =
        (0..64).map(|n| format!("hyperty://{home}/many-{round}-{n}/{pad}")).collect();
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    (App::connect(&daemon.bus(), "many", &all), addresses)
}

#[test]
fn fault_028_store_addresses_given_on_a_full_disk_are_their_users_after_a_kill() {
    where_one_may_mount(|| {
        let OnDisk { mut daemon, disk } = OnDisk::start("1m", "true", "");
        let first = daemon.ctl_json(&["status"])["runtime"].clone();
        let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        let mut bob = App::connect(&daemon.bus(), "bob", &[]);
        disk.fill();
        let (mut rounds, mut claimed) = (0, Vec::new());
        wait_for("the disk is full for the store", || {
            rounds += 1;
            claimed.push(claim_many(&daemon, rounds));
            (store(&daemon).0 == "degraded").then_some(())
        });
        let id = bob.ask("read", ALICE, &json!({}));
        let asked = alice.read().unwrap();
        alice.write(&json!({"id": asked["id"], "type": "response", "from": ALICE,
            "to": asked["from"], "body": {"code": 200}}));
        assert_eq!(bob.response(id)["body"]["code"], 200);
        claimed.push(claim_many(&daemon, rounds + 1));
        let addresses: Vec<String> = claimed.into_iter().flat_map(|(_app, all)| all).collect();
        let last = addresses.last().unwrap();
        wait_for("its application has left", || {
            let response = bob.call("read", last, &json!({}));
            (response["body"]["reason"] == "receiver-gone").then_some(())
        });
        assert_eq!(store(&daemon).0, "degraded");
        disk.empty();
        wait_store(&daemon, "ok");
        daemon.restart(SIGKILL);
        assert_eq!(daemon.ctl_json(&["status"])["runtime"], first);
        let mut bob = App::connect(&daemon.bus(), "bob", &[]);
        for address in addresses.iter().map(String::as_str).chain([ALICE]) {
            bob.refused("read", address, 503, "receiver-gone");
        }
    });
}

#[test]
fn fault_028_store_a_daemon_killed_on_a_full_disk_comes_back_on_it_with_what_was_committed() {
    where_one_may_mount(|| {
        let OnDisk { mut daemon, disk } = OnDisk::start("1m", "true", "");
        let first = daemon.ctl_json(&["status"])["runtime"].clone();
        let alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        wait_for("the claim is in the log", || {
            let log = fs::read(daemon.root().join("state/registry.db-wal")).ok()?;
            log.windows(ALICE.len()).any(|part| part == ALICE.as_bytes()).then_some(())
        });
        daemon.stop(SIGKILL);
        drop(alice);
        disk.fill();
        daemon.start_again();
        assert_eq!(daemon.ctl_json(&["status"])["runtime"], first);
        let mut bob = App::connect(&daemon.bus(), "bob", &[]);
        bob.refused("read", ALICE, 503, "receiver-gone");
        let many = claim_many(&daemon, 1);
        wait_store(&daemon, "degraded");
        disk.empty();
        wait_store(&daemon, "ok");
        drop(many);
        bob.refused("read", ALICE, 503, "receiver-gone");
    });
}

const HOME: &str = "home.example";
const CAROL: &str = "hyperty://home.example/carol";
const ROOM: &str = "comm://home.example/room/changes";

fn below(app: &App, path: &str) -> String {
    format!("{}/{path}", app.welcome["welcome"]["runtime"].as_str().unwrap())
}

/// The address that this user has under this key.
fn allocated(app: &mut App, key: &str) -> String {
    let at = below(app, "address-allocation");
    let answer = app.call("create", &at, &json!({"value": {"allocationKey": key}}));
    let url = answer["body"]["value"]["allocated"][0].as_str();
    url.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// How often the node was sent this, about Carol if it is about somebody.
fn sent(domain: &Domain, kind: &str, to: &str) -> usize {
    let all = domain.run(domain.node.received()).unwrap();
    let about = |body: &Value| {
        let named = [&body["resource"], &body["value"]["url"]];
        named.iter().all(|name| name.is_null()) || named.iter().any(|name| **name == CAROL)
    };
    let fits = |m: &&Value| m["type"] == kind && m["to"] == to && about(&m["body"]);
    all.iter().filter(fits).count()
}

#[test]
fn fault_028_store_what_the_registry_gave_and_was_told_on_a_full_disk_outlives_a_kill() {
    where_one_may_mount(|| {
        let domain = Domain::start(HOME);
        let runtime = "addresses = \"node\"\nregister = true";
        let config = format!("[runtime]\ndomain = \"{HOME}\"\n{runtime}\n{}", domain.config());
        let OnDisk { mut daemon, disk } = OnDisk::start("1m", "true", &config);
        disk.fill();
        let (mut rounds, mut many) = (0, Vec::new());
        wait_for("the disk is full for the store", || {
            rounds += 1;
            many.push(claim_many(&daemon, rounds));
            (store(&daemon).0 == "degraded").then_some(())
        });
        drop(many);
        let mut carol = App::connect(&daemon.bus(), "carol", &[CAROL]);
        let chat = allocated(&mut carol, "chat");
        let at = below(&carol, "subscriptions");
        let answer = carol.call("subscribe", &at, &json!({"subscribe": [ROOM]}));
        assert_eq!(answer["body"]["code"], 200, "{answer}");
        let registry = format!("domain://registry.{HOME}");
        wait_for("she is registered", || {
            let all = domain.run(domain.node.registered()).unwrap();
            (all.get(CAROL)?["status"] == "live").then_some(())
        });
        assert_eq!(store(&daemon).0, "degraded");
        disk.empty();
        wait_store(&daemon, "ok");
        let (told, registered) =
            (domain.told("subscribe", ROOM), sent(&domain, "update", &registry));
        daemon.restart(SIGKILL);
        wait_for("the node is told of the subscription by nobody's wish", || {
            (domain.told("subscribe", ROOM) > told).then_some(())
        });
        let mut carol = App::connect(&daemon.bus(), "carol", &[CAROL]);
        assert_eq!(allocated(&mut carol, "chat"), chat);
        assert_eq!(
            sent(&domain, "create", &format!("domain://msg-node.{HOME}/address-allocation")),
            1
        );
        wait_for("the registry hears that she is back", || {
            (sent(&domain, "update", &registry) > registered).then_some(())
        });
        assert_eq!(sent(&domain, "create", &registry), 1, "her registration was known");
    });
}

#[test]
fn fault_022_store_a_daemon_killed_at_any_moment_has_all_that_was_given_before_some_moment() {
    let mut daemon = Daemon::start("");
    let runtime = daemon.ctl_json(&["status"])["runtime"].clone();
    // What outlived a kill outlives every other one.
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    let mut ever: BTreeSet<String> = BTreeSet::new();
    let mut random = 0x2545_F491_4F6C_DD1D_u64 ^ u64::from(std::process::id());
    let mut lost = 0;
    for round in 0..6 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut app = App::connect(&daemon.bus(), "asker", &[]);
        let mut given = Vec::new();
        // Several commits, and killed between any two answers.
        let (begun, until) = (Instant::now(), Duration::from_micros(random % 60_000));
        while begun.elapsed() < until {
            let key = format!("key-{round}-{}", given.len());
            let url = allocated(&mut app, &key);
            assert!(ever.insert(url.clone()), "{url} was given twice");
            given.push((key, url));
        }
        daemon.restart(SIGKILL);
        let status = daemon.ctl_json(&["status"]);
        assert_eq!((&status["runtime"], &status["store"]["state"]), (&runtime, &json!("ok")));
        let mut app = App::connect(&daemon.bus(), "asker", &[]);
        for (key, url) in &kept {
            assert_eq!(allocated(&mut app, key), *url, "{key}");
        }
        let mut whole = true;
        for (key, url) in given {
            let now = allocated(&mut app, &key);
            assert!(whole || now != url, "{key} is there, and what was given before it is not");
            whole = now == url;
            if whole {
                kept.insert(key, url);
            } else {
                lost += 1;
                assert!(ever.insert(now.clone()), "{now} was given twice");
            }
        }
    }
    eprintln!("{} outlived the kills, {lost} were not committed yet", kept.len());
    assert!(!kept.is_empty());
}
