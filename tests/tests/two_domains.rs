//! Two daemons, two domains, one message node: the home domain of one of them has a stub of its
//! own, the other downloads it (seed `messaging-framework`, Proxy Protocol Stub). They chat,
//! subscribe, lose the stub and the node, and have everything back.

use serde_json::{Value, json};
use system_tests::app::App;
use system_tests::domain::Domain;
use system_tests::{Daemon, wait_for};

/// Id of a question that is not answered in time.
const LATE: u64 = 900;

/// One who hosts the conversation, with a message node, and one who comes.
struct World {
    domain: Domain,
    host: Side,
    guest: Side,
    object: String,
}

/// A daemon, its application, and its address.
struct Side {
    daemon: Daemon,
    app: App,
    address: String,
}

impl Side {
    fn start(domain: &str, node: &Domain, addresses: &[String]) -> Self {
        let daemon = Daemon::start(&format!("[runtime]\ndomain = \"{domain}\"\n{}", node.config()));
        let claimed: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let app = App::connect(&daemon.bus(), domain, &claimed);
        Self { daemon, app, address: addresses[0].clone() }
    }

    fn subscriptions(&self) -> String {
        format!("{}/subscriptions", self.app.welcome["welcome"]["runtime"].as_str().unwrap())
    }

    /// The next message that is no response.
    fn hear(&mut self) -> Value {
        loop {
            let message = self.app.read().expect("the daemon lives");
            if message["type"] != "response" {
                return message;
            }
        }
    }
}

impl World {
    fn start(host: (&str, &str), guest: (&str, &str)) -> Self {
        let domain = Domain::start(host.0);
        let object = format!("comm://{}/room", host.0);
        let address = |(domain, name)| format!("hyperty://{domain}/{name}");
        let mine = [address(host), object.clone()];
        let host = Side::start(host.0, &domain, &mine);
        let guest = Side::start(guest.0, &domain, &[address(guest)]);
        let world = Self { domain, host, guest, object };
        world.node_knows_the_host();
        world
    }

    /// Before anybody writes to the host, its runtime has told the node of it.
    fn node_knows_the_host(&self) {
        wait_for("the node knows the host", || {
            (self.domain.told("subscribe", &self.host.address) > 0).then_some(())
        });
    }

    /// The guest writes, the host gets it and answers, the guest gets the answer.
    fn chats(&mut self, text: &str) {
        let id = self.guest.app.ask("read", &self.host.address, &json!({"text": text}));
        // A question of before, which nobody waits for any more, may come late.
        let heard = loop {
            let heard = self.host.hear();
            if heard["id"] != LATE {
                break heard;
            }
        };
        assert_eq!(
            (&heard["from"], &heard["to"]),
            (&json!(self.guest.address), &json!(self.host.address))
        );
        assert_eq!(heard["body"]["text"], text, "{heard}");
        self.host.app.write(&json!({
            "id": heard["id"], "type": "response", "from": heard["to"], "to": heard["from"],
            "body": {"code": 200, "value": format!("heard {text}")},
        }));
        let answer = self.guest.app.response(id);
        assert_eq!(answer["from"], json!(self.host.address), "{answer}");
        assert_eq!(answer["body"]["value"], format!("heard {text}"), "{answer}");
    }

    /// The host publishes, the guest gets a copy.
    fn publishes(&mut self, number: u32) {
        let changes = format!("{}/changes", self.object);
        self.host.app.write(&json!({"type": "update", "to": changes, "body": {"number": number}}));
        let heard = self.guest.hear();
        assert_eq!(heard["body"]["number"], number, "{heard}");
        assert_eq!((&heard["from"], &heard["to"]), (&json!(self.host.address), &json!(changes)));
        assert_eq!(heard["type"], "update");
    }

    fn subscribes(&mut self) {
        let at = self.guest.subscriptions();
        let body = json!({"subscribe": [format!("{}/changes", self.object)]});
        let answer = self.guest.app.call("subscribe", &at, &body);
        assert_eq!(answer["body"]["code"], 200, "{answer}");
    }

    /// Both stubs say so.
    fn both_are(&self, status: &str) {
        for side in [&self.host, &self.guest] {
            wait_for(&format!("the stub is {status}"), || {
                let row = side.daemon.row(&self.domain.name)?;
                (row["status"] == status).then_some(())
            });
        }
    }

    /// The node was told again of everything that is kept.
    fn node_is_told_again(&self, before: (usize, usize)) {
        let changes = format!("{}/changes", self.object);
        wait_for("the node knows everything again", || {
            let host = self.domain.told("subscribe", &self.host.address) > before.0;
            (host && self.domain.told("subscribe", &changes) > before.1).then_some(())
        });
    }

    fn told(&self) -> (usize, usize) {
        let changes = format!("{}/changes", self.object);
        (self.domain.told("subscribe", &self.host.address), self.domain.told("subscribe", &changes))
    }

    fn is_conserved(&self) {
        self.host.daemon.assert_conserved();
        self.guest.daemon.assert_conserved();
    }
}

#[test]
fn two_domains_chat_and_subscribe_and_get_everything_back_when_the_node_was_lost() {
    let mut world = World::start(("b.example", "bob"), ("a.example", "alice"));
    world.chats("hello");
    world.subscribes();
    world.publishes(1);
    let place = world.domain.lose_node();
    world.both_are("disconnected");
    let late = json!({"id": LATE, "type": "read", "to": world.host.address});
    world.guest.app.write(&late);
    let answer = world.guest.app.response(LATE);
    assert_eq!(answer["body"]["code"], 503, "{answer}");
    world.domain.return_node(place);
    world.both_are("live");
    world.node_is_told_again((0, 0));
    world.chats("still there");
    world.publishes(2);
    world.is_conserved();
}

#[test]
fn a_stub_that_dies_on_either_side_costs_no_subscription() {
    let mut world = World::start(("b.example", "bob"), ("a.example", "alice"));
    world.subscribes();
    world.publishes(1);
    let before = world.told();
    for side in [&world.host, &world.guest] {
        assert!(side.daemon.ctl(&["kill", "b.example"]).status.success());
    }
    world.node_is_told_again(before);
    world.both_are("live");
    world.chats("again");
    world.publishes(2);
    world.is_conserved();
}

#[test]
fn a_daemon_that_is_killed_still_has_its_subscriptions() {
    let mut world = World::start(("b.example", "bob"), ("a.example", "alice"));
    world.subscribes();
    world.publishes(1);
    let changes = format!("{}/changes", world.object);
    let (_, before) = world.told();
    // What was answered is committed a moment later.
    let log = world.guest.daemon.root().join("state/registry.db-wal");
    wait_for("it is in the store's log", || {
        let log = std::fs::read(&log).unwrap_or_default();
        log.windows(changes.len()).any(|part| part == changes.as_bytes()).then_some(())
    });
    world.guest.daemon.restart(nix::sys::signal::Signal::SIGKILL);
    wait_for("the node is told again, by nobody's wish", || {
        (world.domain.told("subscribe", &changes) > before).then_some(())
    });
    let address = world.guest.address.clone();
    world.guest.app = App::connect(&world.guest.daemon.bus(), "alice", &[&address]);
    world.publishes(2);
    world.is_conserved();
}

#[test]
fn the_calling_party_hosts_the_conversation_and_the_called_one_comes_to_it() {
    // Alice calls; Bob's runtime instantiates the stub of her domain.
    let mut world = World::start(("a.example", "alice"), ("b.example", "bob"));
    world.subscribes();
    world.publishes(1);
    world.chats("I am here");
    let row = world.guest.daemon.row("a.example").unwrap();
    assert_eq!((&row["kind"], &row["domain"]), (&json!("protostub"), &json!("a.example")));
    let at = world.guest.subscriptions();
    let changes = format!("{}/changes", world.object);
    let gone = world.guest.app.call("unsubscribe", &at, &json!({"resources": [changes]}));
    assert_eq!(gone["body"]["code"], 200, "{gone}");
    wait_for("the node is told", || (world.domain.told("unsubscribe", &changes) > 0).then_some(()));
    world.is_conserved();
}
