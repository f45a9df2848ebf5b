//! Faults of many who want the same thing at once, or opposite things; and of requests that wait
//! for what does not come.

use peers::catalogue::{Behaviour, Catalogue, Response};
use protocol::control::{Command, Reply};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, config, descriptor};
use system_tests::chaos::ledger::Ledger;
use system_tests::chaos::worker::Programs;
use system_tests::domain::Domain;
use system_tests::facts::{events, settled};
use system_tests::operator::{Operator, asked};
use system_tests::{Daemon, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const BOB: &str = "hyperty://localhost/bob";
const REMOTE: &str = "hyperty://example.com/bob";
const NAME: &str = "example.com";

fn deploy(wait: bool) -> Command {
    Command::Deploy { target: NAME.to_owned(), wait, live: false }
}

fn undeploy() -> Command {
    Command::Undeploy { name: NAME.to_owned() }
}

#[test]
fn fault_053_a_hundred_who_want_the_same_stub_at_once_get_one_process_and_one_address() {
    let domain = Domain::start(NAME);
    let slow = Behaviour::Delay(Duration::from_millis(500));
    domain.answer(Response::json(&descriptor(ECHO_STUB)).sent(slow));
    let daemon = Daemon::start(&domain.config());
    let mut operators: Vec<Operator> =
        (0..50).map(|_| Operator::ask(&daemon, deploy(true))).collect();
    let mut apps: Vec<(App, u64)> = (0..50)
        .map(|n| {
            let mut app = App::connect(&daemon.bus(), &format!("app{n}"), &[]);
            let id = app.ask("read", REMOTE, &json!({}));
            (app, id)
        })
        .collect();
    let mut urls = BTreeSet::new();
    for operator in &mut operators {
        let Some(Reply::Deployed(row)) = operator.reply() else { panic!("not deployed") };
        urls.insert((row.url, row.pid));
    }
    let by: BTreeSet<String> = apps
        .iter_mut()
        .map(|(app, id)| app.response(*id)["body"]["value"]["by"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(urls.len(), 1, "{urls:?}");
    assert_eq!(by, urls.into_iter().map(|(url, _)| url).collect());
    assert_eq!(events(&daemon, "deploy-started", NAME).len(), 1);
    assert_eq!(domain.catalogue.count(&Catalogue::stub_path("default")), 1);
    settled(&daemon);
}

#[test]
fn fault_054_orders_that_race_leave_what_the_last_one_wanted_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let daemon = Daemon::start(&config(&catalogue.url()));
    let before = Ledger::at_rest(&daemon);
    for round in 0..6 {
        let mut orders: Vec<Operator> = (0..24)
            .map(|n| {
                let command = if (n * 7 + round) % 3 == 0 { undeploy() } else { deploy(false) };
                Operator::ask(&daemon, command)
            })
            .collect();
        for order in &mut orders {
            assert!(order.reply().is_some(), "each is answered");
        }
        let mut last = asked(&daemon, deploy(true));
        // While the one before is still ending, it is refused, and says so.
        wait_for("a deploy is accepted", || {
            if matches!(last[..], [Reply::Deployed(_)]) {
                return Some(());
            }
            last = asked(&daemon, deploy(true));
            None
        });
        daemon.wait_state(NAME, "active");
        assert_eq!(asked(&daemon, undeploy()), [Reply::Done]);
        wait_for("it is gone", || daemon.row(NAME).is_none().then_some(()));
        before.wait_restored(&daemon);
    }
    settled(&daemon);
}

#[test]
fn fault_056_requests_in_flight_are_answered_undeployed_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.stub(ECHO_STUB);
    let programs = Programs::obedient();
    let daemon = Daemon::start_from(programs.folder(), &config(&catalogue.url()));
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let mut open: BTreeSet<u64> =
        (0..50).map(|_| alice.ask("read", REMOTE, &json!({"hold": true}))).collect();
    assert_eq!(alice.call("read", REMOTE, &json!({}))["body"]["code"], 200);
    assert_eq!(asked(&daemon, undeploy()), [Reply::Done]);
    while !open.is_empty() {
        let response = alice.read().unwrap();
        assert!(open.remove(&response["id"].as_u64().unwrap()), "answered twice: {response}");
        assert_eq!(response["body"]["code"], 503, "{response}");
        assert_eq!(response["body"]["reason"], "undeployed", "{response}");
    }
    wait_for("it is gone", || daemon.row(NAME).is_none().then_some(()));
    // Somebody asks again, and it is deployed anew.
    assert_eq!(alice.call("read", REMOTE, &json!({}))["body"]["taken"], 1);
    settled(&daemon);
}

#[test]
fn fault_063_two_who_wait_for_each_other_are_both_told_at_their_deadline() {
    let daemon = Daemon::start("");
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let mut bob = App::connect(&daemon.bus(), "bob", &[BOB]);
    alice.write(&json!({"id": 1, "type": "read", "to": BOB, "timeout": 400, "body": {}}));
    // Each has the other's request, and answers it only when its own is answered.
    assert_eq!(bob.read().unwrap()["id"], 1);
    bob.write(&json!({"id": 2, "type": "read", "to": ALICE, "timeout": 400, "body": {}}));
    assert_eq!(alice.read().unwrap()["id"], 2);
    for (app, id) in [(&mut alice, 1), (&mut bob, 2)] {
        let body = app.response(id)["body"].clone();
        assert_eq!((&body["code"], &body["reason"]), (&json!(408), &json!("deadline")), "{body}");
    }
    settled(&daemon);
}

#[test]
fn fault_064_an_answer_after_the_deadline_is_dropped_and_counted() {
    let daemon = Daemon::start("");
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let mut bob = App::connect(&daemon.bus(), "bob", &[BOB]);
    let late = |daemon: &Daemon| {
        let status = daemon.ctl_json(&["status"]);
        status["messages"]["late"].as_u64().unwrap()
    };
    alice.write(&json!({"id": 1, "type": "read", "to": BOB, "timeout": 100, "body": {}}));
    let request = bob.read().unwrap();
    assert_eq!(alice.response(1)["body"]["code"], 408);
    assert_eq!(late(&daemon), 0);
    bob.write(&json!({"id": request["id"], "type": "response", "to": request["from"],
        "body": {"code": 200}}));
    wait_for("it is counted", || (late(&daemon) == 1).then_some(()));
    alice.write(&json!({"type": "update", "to": ALICE, "body": {"mark": 1}}));
    assert_eq!(alice.read().unwrap()["body"]["mark"], 1, "nothing came before");
    settled(&daemon);
}
