//! Hyperties from a catalogue, each in a process of its own: loaded by an application, by the
//! configuration and by an operator; killed, restarted with the daemon, removed.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder};
use system_tests::facts::settled;
use system_tests::{Daemon, lives, wait_for};

const CHAT: &str = "hyperty-catalogue://catalogue.example.com/.well-known/hyperty/Chat";

/// Does what it is told to, and says what it has seen.
const HYPERTY: &str = r"
export default function activate(url, bus, config, factory) {
  const seen = [];
  let objects = 0;
  const say = (message, body) => bus.postMessage({
    id: message.id, type: 'response', from: url, to: message.from, body });
  bus.addListener(config.runtimeURL + '/status', (message) => {
    if (message.from !== config.runtimeURL) return;
    seen.push([message.body.resource, message.body.value]);
  });
  bus.addListener(url, (message) => {
    const { body } = message;
    if (message.type !== 'execute') return;
    if (body.ask) {
      bus.postMessage({ type: 'read', from: url, to: body.ask, body: {} },
        (answer) => say(message, { code: 200, value: answer.body }));
    } else if (body.report) {
      factory.createSyncher(url, bus, config)
        .create('schema/Communication', [], body.report, false, false, 'room', undefined, {})
        .then((object) => { objects += 1; say(message, { code: 200, value: object.url }); },
          (error) => say(message, { code: 500, desc: String(error) }));
    } else {
      say(message, { code: 200, value: { url, config, seen, objects } });
    }
  });
  return { name: 'Chat', instance: {} };
}
";

struct World {
    daemon: Daemon,
    app: App,
    _folder: tempfile::TempDir,
}

fn connect(daemon: &Daemon) -> App {
    App::connect(&daemon.bus(), "alice-app", &["hyperty://home.example/alice"])
}

impl World {
    fn start(hyperties: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Folder::new(folder.path());
        catalogue.stub(ECHO_STUB);
        catalogue.hyperty("Chat", HYPERTY, &json!({"room": "kitchen"}));
        catalogue.hyperty("Broken", "throw new Error('not today');", &json!({}));
        let url = catalogue.url();
        let config = format!(
            "[runtime]\ndomain = \"home.example\"\nhyperties = {}\n[domain.\"example.com\"]\ncatalogue = \"{url}\"\n",
            json!(hyperties)
        );
        let daemon = Daemon::start(&config);
        let app = connect(&daemon);
        Self { daemon, app, _folder: folder }
    }

    fn runtime(&self) -> String {
        self.app.welcome["welcome"]["runtime"].as_str().unwrap().to_owned()
    }

    fn ua(&mut self, kind: &str, value: &Value) -> Value {
        let to = format!("{}/ua", self.runtime());
        self.app.call(kind, &to, &json!({"value": value}))["body"].clone()
    }

    fn load(&mut self) -> String {
        let told = self.ua("create", &json!({"type": "hyperty", "descriptor": CHAT}));
        assert_eq!(told["code"], 200, "{told}");
        told["value"]["runtimeHypertyURL"].as_str().unwrap().to_owned()
    }

    fn execute(&mut self, url: &str, body: &Value) -> Value {
        let answer = self.app.call("execute", url, body);
        assert_eq!(answer["body"]["code"], 200, "{answer}");
        assert_eq!(answer["from"], url);
        answer["body"]["value"].clone()
    }
}

#[test]
fn an_application_loads_a_hyperty_that_speaks_as_itself_and_hears_of_the_runtimes_status() {
    let mut world = World::start(&[]);
    let url = world.load();
    assert!(url.starts_with("hyperty://home.example/"), "{url}");
    let row = world.daemon.row(&url).unwrap();
    assert_eq!((&row["kind"], &row["state"]), (&json!("hyperty"), &json!("active")));
    let level = row["sandbox"]["level"].as_str().unwrap();
    assert!(["namespaces", "full"].contains(&level), "{row}");
    let told = world.execute(&url, &json!({}));
    let runtime = world.runtime();
    assert_eq!(told["url"], url);
    assert_eq!(told["config"], json!({"room": "kitchen", "runtimeURL": runtime}));

    let answer = world.execute(&url, &json!({"ask": "hyperty://example.com/bob"}));
    assert_eq!(answer["code"], 200, "it causes the deploy of a stub: {answer}");
    let stub = world.daemon.row("example.com").unwrap();
    assert_ne!(stub["pid"], row["pid"], "a hyperty and a stub never share a sandbox");
    wait_for("the status of the stub", || {
        let seen = world.execute(&url, &json!({}))["seen"].clone();
        seen.as_array()?.contains(&json!([stub["url"], "live"])).then_some(())
    });

    let object = world.execute(&url, &json!({"report": {"topic": "tea"}}));
    assert!(object.as_str().unwrap().starts_with("comm://home.example/"), "{object}");
    let registry = format!("{runtime}/registry");
    let changes = json!({"subscribe": [format!("{registry}/changes")]});
    let listed = world.app.call("subscribe", &registry, &changes)["body"]["value"].clone();
    for known in [json!(url), object] {
        assert!(listed.as_array().unwrap().contains(&known), "{known} in {listed}");
    }
    settled(&world.daemon);
}

#[test]
fn a_killed_hyperty_answers_again_at_the_same_address_even_after_the_daemon_was_killed() {
    let mut world = World::start(&[]);
    let url = world.load();
    let pid = |world: &World| world.daemon.row(&url).unwrap()["pid"].as_i64();
    let first = pid(&world).unwrap();
    assert!(world.daemon.ctl(&["kill", &url]).status.success());
    wait_for("its end", || (!lives(i32::try_from(first).unwrap())).then_some(()));
    assert_eq!(world.execute(&url, &json!({}))["url"], url, "the message waits for it");
    assert_ne!(pid(&world), Some(first));

    world.daemon.restart(Signal::SIGKILL);
    world.app = connect(&world.daemon);
    let row = world.daemon.row(&url).unwrap();
    assert_eq!((&row["state"], &row["pid"]), (&json!("dormant"), &Value::Null));
    assert_eq!(world.execute(&url, &json!({}))["url"], url, "a message starts it");
    assert_eq!(world.load(), url, "the same place, the same user, the same address");
    settled(&world.daemon);
}

#[test]
fn the_configuration_and_an_operator_load_and_an_operator_and_its_user_remove() {
    let mut world = World::start(&[CHAT]);
    let row = wait_for("the configured hyperty", || {
        let rows = world.daemon.ctl_json(&["ps"]);
        rows.as_array()?.iter().find(|row| row["state"] == "active").cloned()
    });
    let url = row["name"].as_str().unwrap().to_owned();
    assert_eq!((&row["kind"], &row["url"]), (&json!("hyperty"), &json!(url)));
    let same = world.daemon.ctl_json(&["deploy", CHAT, "--wait"]);
    assert_eq!(same["pid"], row["pid"]);
    assert!(world.daemon.ctl(&["undeploy", &url]).status.success());
    assert_eq!(world.daemon.row(&url), None);
    assert!(!lives(i32::try_from(row["pid"].as_i64().unwrap()).unwrap()));

    // The application's user is the daemon's own here: what is loaded again is the same.
    assert_eq!(world.load(), url);
    let told = world.ua("delete", &json!({"type": "hyperty", "url": url}));
    assert_eq!(told["code"], 200, "{told}");
    wait_for("it is gone", || world.daemon.row(&url).is_none().then_some(()));
    world.app.refused("read", &url, 503, "receiver-gone");
}

#[test]
fn a_hyperty_that_does_not_load_is_answered_with_the_stage_and_the_reason() {
    let mut world = World::start(&[]);
    let at = |name: &str| json!({"type": "hyperty", "descriptor": format!("https://example.com/.well-known/hyperty/{name}")});
    let told = world.ua("create", &at("Broken"));
    assert_eq!((&told["code"], &told["stage"]), (&json!(502), &json!("load")), "{told}");
    let told = world.ua("create", &at("Absent"));
    assert_eq!((&told["code"], &told["reason"]), (&json!(503), &json!("catalogue-absent")));
    let told = world.ua("create", &at("../protocolstub/default"));
    assert_eq!((&told["code"], &told["reason"]), (&json!(400), &json!("bad-address")));
    let output = world.daemon.ctl(&["deploy", &format!("{CHAT}2"), "--wait"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    settled(&world.daemon);
}
