//! What the registry does with the home domain's message node: addresses that it allocates, and who
//! is registered.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use system_tests::app::App;
use system_tests::domain::Domain;
use system_tests::{Daemon, wait_for};

const HOME: &str = "home.example";
const ALICE: &str = "hyperty://home.example/alice";

/// A daemon whose home domain has a message node.
fn world(more: &str) -> (Domain, Daemon) {
    let domain = Domain::start(HOME);
    let config = format!("[runtime]\ndomain = \"{HOME}\"\n{more}\n{}", domain.config());
    (domain, Daemon::start(&config))
}

fn below(app: &App, path: &str) -> String {
    format!("{}/{path}", app.welcome["welcome"]["runtime"].as_str().unwrap())
}

/// The bodies that the node was sent at this address.
fn heard(domain: &Domain, kind: &str, to: &str) -> Vec<Value> {
    let all = domain.run(domain.node.received()).unwrap();
    let these = all.into_iter().filter(|message| message["type"] == kind && message["to"] == to);
    these.map(|message| message["body"].clone()).collect()
}

fn is_in_the_store(daemon: &Daemon, text: &str) {
    wait_for("it is in the store", || {
        let has = |file: &str| {
            let bytes = std::fs::read(daemon.root().join(file)).unwrap_or_default();
            bytes.windows(text.len()).any(|part| part == text.as_bytes())
        };
        (has("state/registry.db-wal") || has("state/registry.db")).then_some(())
    });
}

#[test]
fn addresses_come_from_the_message_node_and_are_the_same_after_a_kill() {
    let at_node = format!("domain://msg-node.{HOME}/address-allocation");
    let (domain, mut daemon) = world("addresses = \"node\"");
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let named = json!({"value": {"number": 2, "allocationKey": "chat"}});
    let answer = alice.call("create", &below(&alice, "address-allocation"), &named);
    let urls = answer["body"]["value"]["allocated"].clone();
    let first = urls[0].as_str().unwrap().to_owned();
    assert!(first.starts_with(&format!("hyperty://{HOME}/allocated-")), "{answer}");
    let asked = heard(&domain, "create", &at_node);
    assert_eq!((asked.len(), &asked[0]["value"]["number"]), (1, &json!(16)), "{asked:?}");
    is_in_the_store(&daemon, "chat");

    daemon.restart(Signal::SIGKILL);
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let answer = alice.call("create", &below(&alice, "address-allocation"), &named);
    assert_eq!(answer["body"]["value"]["allocated"], urls);
    assert_eq!(heard(&domain, "create", &at_node).len(), 1, "there are enough");
    let mut chat = App::connect(&daemon.bus(), "chat", &[&first]);
    let answer = chat.call("read", &format!("hyperty://{HOME}/echo"), &json!({"text": "here"}));
    assert_eq!(answer["body"]["value"]["echo"]["text"], "here", "{answer}");
    let second = urls[1].as_str().unwrap();
    let gone = alice.call(
        "delete",
        &below(&alice, "address-allocation"),
        &json!({"childrenResources": [second]}),
    );
    assert_eq!(gone["body"]["code"], 200, "{gone}");
    wait_for("the node is told", || {
        let told = heard(&domain, "delete", &at_node);
        (told == [json!({"childrenResources": [second]})]).then_some(())
    });
    daemon.assert_conserved();
}

#[test]
fn without_a_message_node_addresses_are_made_here_and_kept_over_a_kill() {
    let mut daemon = Daemon::start("");
    let alice = "hyperty://localhost/alice";
    let named = json!({"value": {"scheme": "comm", "allocationKey": "a-chat"}});
    let mut urls = Vec::new();
    for _life in 0..2 {
        let mut app = App::connect(&daemon.bus(), "alice", &[alice]);
        let answer = app.call("create", &below(&app, "address-allocation"), &named);
        let url = answer["body"]["value"]["allocated"][0].as_str().unwrap().to_owned();
        is_in_the_store(&daemon, "a-chat");
        let _claimed = App::connect(&daemon.bus(), "chat", &[&url]);
        urls.push(url);
        daemon.restart(Signal::SIGKILL);
    }
    assert_eq!(urls[0], urls[1]);
}

/// What the node's registry says of an address.
fn registered(domain: &Domain, url: &str) -> Option<Value> {
    domain.run(domain.node.registered()).unwrap().get(url)?.get("status").cloned()
}

fn wait_registered(domain: &Domain, url: &str, status: &str) {
    wait_for(&format!("{url} is {status} in the registry"), || {
        (registered(domain, url)? == status).then_some(())
    });
}

#[test]
fn who_is_here_is_registered_kept_alive_registered_again_and_said_to_be_gone() {
    let registry = format!("domain://registry.{HOME}");
    let (mut domain, mut daemon) = world("register = true\nlease = \"2s\"");
    let alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    wait_registered(&domain, ALICE, "live");
    let created = heard(&domain, "create", &registry).remove(0);
    assert_eq!(
        (&created["value"]["url"], &created["value"]["expires"]),
        (&json!(ALICE), &json!(2))
    );
    wait_for("it is kept alive", || {
        let told = heard(&domain, "update", &registry);
        told.iter().any(|body| body["method"] == "refresh").then_some(())
    });
    // The node comes back and knows nothing.
    let place = domain.lose_node();
    wait_for("the stub has noticed", || {
        (daemon.row(HOME)?["status"] == "disconnected").then_some(())
    });
    domain.return_node(place);
    wait_registered(&domain, ALICE, "live");
    // The daemon is killed, and the application comes back.
    let anew = |domain: &Domain| {
        let updates = heard(domain, "update", &registry);
        let updates = updates.iter().filter(|body| body["method"].is_null()).count();
        updates + heard(domain, "create", &registry).len()
    };
    let before = anew(&domain);
    daemon.restart(Signal::SIGKILL);
    drop(alice);
    let alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    wait_for("it is told again", || (anew(&domain) > before).then_some(()));
    drop(alice);
    wait_registered(&domain, ALICE, "disconnected");
    daemon.assert_conserved();
}
