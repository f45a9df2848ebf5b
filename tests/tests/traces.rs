//! The recorded traces of the original runtime (`docs/conformance.md`, golden traces) between real
//! processes: a hyperty, the runtime, and a stub that its first message causes.

use serde_json::{Value, json};
use system_tests::app::App;
use system_tests::catalogue::Folder;
use system_tests::facts::settled;
use system_tests::{Daemon, lives, wait_for};

const CHAT: &str = "hyperty-catalogue://catalogue.example.com/.well-known/hyperty/Chat";
const BOB: &str = "hyperty://example.com/bob";

/// Says what it is told to, and keeps in order what it hears and by which way.
const HYPERTY: &str = r"
export default function activate(url, bus, config) {
  const heard = [];
  bus.addListener(config.runtimeURL + '/status', (message) => heard.push(['status', message]));
  bus.addListener(url, (message) => {
    if (message.type !== 'execute') {
      heard.push(['listener', message]);
      return;
    }
    const { post, answered } = message.body;
    if (post) {
      const callback = (answer) => heard.push(['callback', answer]);
      bus.postMessage({ ...post, from: url }, ...(answered ? [callback] : []));
    }
    bus.postMessage({ id: message.id, type: 'response', from: url, to: message.from,
      body: { code: 200, value: heard } });
  });
  return { name: 'Chat', instance: {} };
}
";

/// Is `created` at once and connects when it is first used, as the stub of the recording does.
const STUB: &str = r"
export default function activate(url, bus, config) {
  const heard = [];
  const status = (value) =>
    bus.postMessage({ type: 'update', from: url, to: url + '/status', body: { value } });
  bus.addListener('*', (message) => {
    if (message.type === 'execute') {
      bus.postMessage({ id: message.id, type: 'response', from: message.to, to: message.from,
        body: { code: 200, value: { heard, config } } });
      return;
    }
    heard.push(message);
    if (message.type !== 'read') return;
    status('in-progress');
    status('live');
    bus.postMessage({ id: message.id, type: 'response', from: message.to, to: message.from,
      body: { code: 200, value: 'hi', via: url } });
  });
  status('created');
  return { name: 'Stub', instance: {} };
}
";

struct World {
    daemon: Daemon,
    app: App,
    runtime: String,
    /// The hyperty: A of the recording.
    alice: String,
    _folder: tempfile::TempDir,
}

impl World {
    /// Lines 1 and 2: the hyperty is loaded.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Folder::new(folder.path());
        let mut stub = system_tests::catalogue::descriptor(STUB);
        stub["configuration"] = json!({"url": "wss://x/ws"});
        catalogue.put("default", &stub.to_string());
        catalogue.hyperty("Chat", HYPERTY, &json!({}));
        let daemon = Daemon::start(&format!(
            "[runtime]\ndomain = \"home.example\"\n[domain.\"example.com\"]\ncatalogue = \"{}\"\n",
            catalogue.url()
        ));
        let mut app = App::connect(&daemon.bus(), "bystander", &["hyperty://home.example/by"]);
        let runtime = app.welcome["welcome"]["runtime"].as_str().unwrap().to_owned();
        let wanted = json!({"value": {"type": "hyperty", "descriptor": CHAT}});
        let told = app.call("create", &format!("{runtime}/ua"), &wanted)["body"].clone();
        assert_eq!(told["code"], 200, "{told}");
        let alice = told["value"]["runtimeHypertyURL"].as_str().unwrap().to_owned();
        Self { daemon, app, runtime, alice, _folder: folder }
    }

    /// The hyperty posts this; what it has heard until then.
    fn posts(&mut self, body: &Value) -> Vec<Value> {
        let answer = self.app.call("execute", &self.alice, body);
        answer["body"]["value"].as_array().expect("a list").clone()
    }

    /// What the hyperty has heard of the runtime about the stub, and in answer.
    fn heard(&mut self, stub: &str) -> Vec<Value> {
        let all = self.posts(&json!({}));
        let about = |row: &&Value| row[0] != "status" || row[1]["body"]["resource"] == stub;
        all.iter().filter(about).cloned().collect()
    }

    /// What the stub has heard.
    fn stub(&mut self) -> Value {
        let answer = self.app.call("execute", BOB, &json!({}));
        answer["body"]["value"].clone()
    }

    /// Lines 3 to 14; the address of the stub.
    fn first_message(&mut self) -> String {
        assert_eq!(self.daemon.row("example.com"), None, "nobody has needed it");
        let read = json!({"type": "read", "to": BOB, "body": {}});
        self.posts(&json!({"post": read, "answered": true}));
        wait_for("the answer", || {
            let heard = self.posts(&json!({}));
            heard.iter().any(|row| row[0] == "callback").then_some(())
        });
        self.daemon.row("example.com").unwrap()["url"].as_str().unwrap().to_owned()
    }

    fn pid(&self) -> i32 {
        let row = self.daemon.row("example.com").expect("a row");
        i32::try_from(row["pid"].as_i64().expect("a process")).unwrap()
    }
}

#[test]
fn golden_a1_the_first_message_to_an_unknown_domain_is_answered_through_its_stub() {
    let mut world = World::start();
    let stub = world.first_message();
    let heard = world.heard(&stub);
    let ways: Vec<&Value> = heard.iter().map(|row| &row[0]).collect();
    // Lines 7, 11, 12 and 14, in their order; the listener of the hyperty does not hear the answer.
    assert_eq!(ways, ["status", "status", "status", "callback"], "{heard:#?}");
    for (row, value) in heard.iter().zip(["created", "in-progress", "live"]) {
        let told = &row[1];
        assert_eq!((&told["type"], &told["from"]), (&json!("update"), &json!(world.runtime)));
        assert_eq!(told["to"], format!("{}/status", world.runtime));
        assert_eq!(told["body"], json!({"value": value, "resource": stub}));
    }
    let answer = &heard[3][1];
    assert_eq!((&answer["type"], &answer["from"]), (&json!("response"), &json!(BOB)));
    assert_eq!(answer["to"], world.alice);
    assert_eq!(answer["body"], json!({"code": 200, "value": "hi", "via": stub}));

    // Lines 4 and 8: its configuration, and the message of line 3 as it was sent.
    let told = world.stub();
    assert_eq!(told["config"]["url"], "wss://x/ws");
    assert_eq!(told["config"]["runtimeURL"], world.runtime);
    let message = &told["heard"][0];
    let mut names: Vec<&str> = message.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["body", "from", "id", "to", "type"], "no further field: {message}");
    assert_eq!((&message["type"], &message["body"]), (&json!("read"), &json!({})));
    assert_eq!((&message["from"], &message["to"]), (&json!(world.alice), &json!(BOB)));
    assert_eq!(message["id"], answer["id"]);
    assert_eq!(told["heard"].as_array().unwrap().len(), 1, "once: {told}");
    settled(&world.daemon);
}

#[test]
fn golden_a2_a_later_message_goes_at_once_and_a_removed_stub_is_deployed_again_and_once() {
    let mut world = World::start();
    world.first_message();
    // Lines 15 and 16.
    let update = json!({"type": "update", "to": BOB, "body": {"value": 1}});
    world.posts(&json!({"post": update}));
    let heard = wait_for("the update", || {
        let heard = world.stub()["heard"].clone();
        (heard.as_array()?.len() == 2).then_some(heard)
    });
    assert_eq!((&heard[1]["type"], &heard[1]["body"]), (&json!("update"), &json!({"value": 1})));
    assert_eq!((&heard[1]["from"], &heard[1]["to"]), (&json!(world.alice), &json!(BOB)));

    // Lines 17 and 18.
    let pid = world.pid();
    assert!(world.daemon.ctl(&["undeploy", "example.com"]).status.success());
    assert_eq!(world.daemon.row("example.com"), None);
    assert!(!lives(pid), "its process is gone");

    // Lines 19 to 21.
    let row = world.daemon.ctl_json(&["deploy", "example.com", "--wait"]);
    let again = world.daemon.row("example.com").unwrap()["url"].as_str().unwrap().to_owned();
    assert_ne!(world.pid(), pid, "{row}");
    wait_for("its status", || {
        let heard = world.heard(&again);
        (heard.last()?[1]["body"] == json!({"value": "created", "resource": again})).then_some(())
    });
    assert_eq!(world.stub()["heard"], json!([]), "nothing of what the first heard");

    // Lines 23 and 24: what is there stays, and there is no second.
    let there = world.pid();
    world.daemon.ctl_json(&["deploy", "example.com", "--wait"]);
    assert_eq!(world.pid(), there);
    assert_eq!(world.daemon.row("example.com").unwrap()["url"], again);
    settled(&world.daemon);
}
