//! Faults of what lies behind a stub: its message node is away, silent or forgetful, or the role
//! that makes all connections dies.

use peers::descriptor::Stub;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use system_tests::app::App;
use system_tests::chaos::network::BlackHole;
use system_tests::chaos::process::Victim;
use system_tests::domain::{Domain, MESSAGE_NODE_STUB};
use system_tests::facts::{events, settled, wait_events, watch_status};
use system_tests::trap::Trap;
use system_tests::{Daemon, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const REMOTE: &str = "hyperty://example.com/bob";
const NAME: &str = "example.com";

/// An application that asks, one that hears what the stub says of itself, and its node.
struct World {
    domain: Domain,
    daemon: Daemon,
    alice: App,
    observer: App,
}

impl World {
    /// With a stub that is connected.
    fn live() -> Self {
        let domain = Domain::start(NAME);
        let daemon = Daemon::start(&domain.config());
        let deployed = daemon.ctl(&["deploy", NAME, "--wait=live"]);
        assert!(deployed.status.success(), "{deployed:?}");
        let alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        let mut observer = App::connect(&daemon.bus(), "observer", &[]);
        watch_status(&mut observer, daemon.row(NAME).unwrap()["url"].as_str().unwrap());
        Self { domain, daemon, alice, observer }
    }

    /// The next thing that the stub says of itself.
    fn hears(&mut self, status: &str) {
        let said = self.observer.read().unwrap();
        assert_eq!(said["body"]["value"], status, "{said}");
    }

    /// The request is answered within moments, and not by its deadline.
    fn asks(&mut self) -> Value {
        let begun = Instant::now();
        let answer = self.alice.call("read", REMOTE, &json!({}));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}: {answer}", begun.elapsed());
        answer["body"].clone()
    }

    /// The stub has not even been started again.
    fn is_the_same(&self, pid: i32) {
        let row = self.daemon.row(NAME).unwrap();
        let seen = (&row["pid"], &row["restarts"], &row["state"], &row["status"]);
        assert_eq!(seen, (&json!(pid), &json!(0), &json!("active"), &json!("live")), "{row}");
        assert!(events(&self.daemon, "exited", NAME).is_empty());
    }
}

/// Subscribes the application to resources of the domain; what the node is told of.
fn subscribe(world: &mut World) -> Vec<String> {
    let resources: Vec<String> =
        (0..3).map(|n| format!("comm://example.com/room{n}/changes")).collect();
    let runtime = world.alice.welcome["welcome"]["runtime"].as_str().unwrap().to_owned();
    let body = json!({"resources": resources});
    let answer = world.alice.call("subscribe", &format!("{runtime}/subscriptions"), &body);
    assert_eq!(answer["body"]["code"], 200, "{answer}");
    for resource in &resources {
        wait_for("the node is told", || {
            (world.domain.told("subscribe", resource) > 0).then_some(())
        });
    }
    resources
}

/// Whoever connects is sent away, and when that was is noted.
struct Knocks {
    noted: Vec<Instant>,
    come: Receiver<Instant>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Knocks {
    fn at(port: u16) -> Self {
        let trap = Trap::at(port);
        let over: Arc<AtomicBool> = Arc::default();
        let until = Arc::clone(&over);
        let (noting, come) = channel();
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                for _ in 0..trap.visits() {
                    noting.send(Instant::now()).unwrap();
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
        });
        Self { noted: Vec::new(), come, over, thread: Some(thread) }
    }

    fn so_far(&mut self, at_least: usize) -> Option<Vec<Instant>> {
        self.noted.extend(self.come.try_iter());
        (self.noted.len() >= at_least).then(|| self.noted.clone())
    }
}

impl Drop for Knocks {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

#[test]
fn fault_042_while_its_node_is_away_a_stub_lives_refuses_at_once_and_knocks_ever_more_rarely() {
    let mut world = World::live();
    let resources = subscribe(&mut world);
    let pid = Victim::of(&world.daemon, NAME).pid;
    let place = world.domain.lose_node();
    let mut away = Knocks::at(place.port);
    let begun = Instant::now();
    world.hears("disconnected");
    // A connection that was lost may come back at once; once it did not, nobody waits for it.
    let away_for =
        wait_for("requests are refused", || (world.asks()["code"] == 503).then(|| begun.elapsed()));
    assert!(away_for < Duration::from_secs(10), "{away_for:?}");
    // Far more than may wait anywhere; each is told within moments.
    let mut open: BTreeSet<u64> =
        (0..1_000).map(|n| world.alice.ask("read", REMOTE, &json!({"n": n}))).collect();
    let asked = Instant::now();
    while !open.is_empty() {
        let answer = world.alice.read().unwrap();
        assert!(open.remove(&answer["id"].as_u64().unwrap()), "{answer}");
        assert_eq!(answer["body"]["code"], 503, "{answer}");
    }
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    // It doubles its waits, give or take a fifth.
    let knocks = wait_for("it has knocked four times", || away.so_far(4));
    let waits: Vec<f64> = knocks.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
    assert!(waits.windows(2).all(|two| two[1] > two[0] * 1.2), "{waits:?}");
    assert_eq!(world.daemon.row(NAME).unwrap()["status"], "disconnected");
    drop(away);
    world.domain.return_node(place);
    world.hears("live");
    for resource in resources {
        wait_for("all is subscribed again", || {
            (world.domain.told("subscribe", &resource) > 0).then_some(())
        });
    }
    assert_eq!(world.asks()["code"], 200);
    world.is_the_same(pid);
    settled(&world.daemon);
}

/// A stub with a node at this address, or with its own, that does not answer.
fn unanswered(domain: &Domain, at: Option<SocketAddr>) {
    let mut config = domain.config();
    if let Some(addr) = at {
        let stub = Stub::connecting_to(&format!("ws://{addr}/ws"), MESSAGE_NODE_STUB);
        domain.run(domain.catalogue.set_stub("default", &stub.inline_base64())).unwrap();
        config = config.replace(&domain.node.authority(), &addr.to_string());
    }
    let daemon = Daemon::start(&config);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let begun = Instant::now();
    let answer = alice.call("read", REMOTE, &json!({}));
    assert_eq!(answer["body"]["code"], 503, "{answer}");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(14), "before the requester's own deadline: {took:?}");
    let row = daemon.wait_state(NAME, "active");
    assert_eq!((&row["status"], &row["restarts"]), (&json!("disconnected"), &json!(0)), "{row}");
    // From now on it is known.
    let begun = Instant::now();
    assert_eq!(alice.call("read", REMOTE, &json!({}))["body"]["code"], 503);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    settled(&daemon);
}

#[test]
fn fault_043_a_node_that_takes_the_connection_and_no_more_is_given_up() {
    let silent = Trap::set();
    unanswered(&Domain::start(NAME), Some(silent.addr()));
}

#[test]
fn fault_043_a_node_to_which_no_connection_comes_about_is_given_up() {
    let hole = BlackHole::open();
    unanswered(&Domain::start(NAME), Some(hole.addr()));
}

#[test]
fn fault_043_a_node_that_answers_no_login_is_given_up() {
    let domain = Domain::start(NAME);
    domain.run(domain.node.set_mode(peers::node::Mode::Silent)).unwrap();
    unanswered(&domain, None);
}

#[test]
fn fault_044_a_node_that_starts_again_is_told_everything_and_observers_see_one_gap() {
    let mut world = World::live();
    let resources = subscribe(&mut world);
    let pid = Victim::of(&world.daemon, NAME).pid;
    let place = world.domain.lose_node();
    world.hears("disconnected");
    world.domain.return_node(place);
    world.hears("live");
    for resource in &resources {
        wait_for("it is told again", || {
            (world.domain.told("subscribe", resource) > 0).then_some(())
        });
    }
    assert_eq!(world.asks()["code"], 200);
    // What the node publishes reaches who subscribed before.
    let update = json!({"id": 1, "type": "update", "from": "comm://example.com/room1",
        "to": resources[1], "body": {"news": 1}});
    world.domain.run(world.domain.node.push(&update)).unwrap();
    assert_eq!(world.alice.read().unwrap()["body"]["news"], 1);
    let statuses = events(&world.daemon, "stub-status", NAME);
    let said = |word: &str| {
        statuses.iter().filter(|e| e["detail"].as_str().unwrap().starts_with(word)).count()
    };
    assert_eq!((said("disconnected"), said("live")), (1, 2), "{statuses:#?}");
    world.is_the_same(pid);
    settled(&world.daemon);
}

#[test]
fn fault_046_when_the_net_role_dies_stubs_see_the_end_of_their_connections_and_reconnect() {
    let mut world = World::live();
    let (daemon, pid) = (world.daemon.pid(), Victim::of(&world.daemon, NAME).pid);
    for turn in 1..=3 {
        let net = Victim::role(&world.daemon, "net");
        assert!(net.kill());
        net.wait_gone();
        world.hears("disconnected");
        world.hears("live");
        assert_eq!(world.asks()["code"], 200);
        let exits = wait_events(&world.daemon, "exited", "net", turn);
        assert!(exits.iter().all(|exit| exit["reason"] == "crash"), "{exits:#?}");
        assert_ne!(Victim::role(&world.daemon, "net").pid, net.pid);
    }
    world.is_the_same(pid);
    assert_eq!(world.daemon.ctl_json(&["status"])["pid"], daemon);
    assert!(events(&world.daemon, "restart-scheduled", "net").len() >= 3);
    settled(&world.daemon);
}
