//! Two components in two sandboxes keep an object the same through the bus, as published
//! interworking stubs do it: by the `factory` that they are given.

use serde_json::{Value, json};
use system_tests::app::App;
use system_tests::catalogue::Folder;
use system_tests::facts::settled;
use system_tests::{Daemon, wait_for};

/// Reports and observes what it is told to, and says what it has.
const STUB: &str = r"
class Stub {
  _start(url, bus, config, factory) {
    const syncher = factory.createSyncher(url, bus, config);
    const schema = 'hyperty-catalogue://catalogue.example/.well-known/dataschema/Communication';
    const seen = [];
    let object;
    syncher.onNotification((event) => { seen.push([event.type, event.url]); event.ack(); });
    const does = {
      async report({ data, invite }) {
        object = await syncher.create(schema, invite, data, false, false, 'room', undefined, {});
        object.onSubscription((event) => { seen.push([event.type, event.url]); if (event.accept) event.accept(); });
        return object.url;
      },
      async observe({ url: resource }) {
        object = await syncher.subscribe({ schema, resource });
        object.onChange('*', (event) => seen.push([event.cType, event.field]));
        object.onAddChild((event) => seen.push(['child', event.value.text]));
        return object.data;
      },
      async change({ code }) { new Function('data', code)(object.data); },
      async add({ text }) { await object.addChild({ text }); },
      async leave() { await object.unsubscribe(); },
      async remove() { await object.delete(); },
      async tell() { return { seen, ...(object && { data: object.data, children: Object.keys(object.childrens).length }) }; },
    };
    bus.addListener('*', (message) => {
      const { body } = message;
      if (message.type !== 'execute' || !body || !does[body.method]) return;
      const say = (answer) => bus.postMessage({
        id: message.id, type: 'response', from: message.to, to: message.from, body: answer });
      does[body.method](body.params || {}).then((value) => say({ code: 200, value }), (error) => say({ code: 500, desc: String(error) }));
    });
  }
}
System.register([], function (exports) { return { execute() { exports('default', Stub); } }; });
";

struct World {
    daemon: Daemon,
    app: App,
    _folder: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Folder::new(folder.path());
        catalogue.stub(STUB);
        let url = catalogue.url();
        let section = |domain: &str| format!("[domain.\"{domain}\"]\ncatalogue = \"{url}\"\n");
        let config = [section("one.example"), section("two.example")].concat();
        let daemon = Daemon::start(&format!("[runtime]\ndomain = \"home.example\"\n{config}"));
        let app = App::connect(&daemon.bus(), "app", &["hyperty://home.example/app"]);
        Self { daemon, app, _folder: folder }
    }

    fn tell(&mut self, domain: &str, method: &str, params: &Value) -> Value {
        let to = format!("hyperty://{domain}/puppet");
        let answer = self.app.call("execute", &to, &json!({"method": method, "params": params}));
        assert_eq!(answer["body"]["code"], 200, "{method}: {answer}");
        answer["body"]["value"].clone()
    }

    fn wait_for(&mut self, what: &str, domain: &str, pointer: &str, expected: &Value) {
        wait_for(what, || {
            let told = self.tell(domain, "tell", &json!({}));
            (told.pointer(pointer) == Some(expected)).then_some(())
        });
    }
}

#[test]
fn two_components_in_two_sandboxes_keep_an_object_the_same_through_the_bus() {
    let mut world = World::start();
    let two = world.daemon.ctl_json(&["deploy", "two.example", "--wait"]);
    let observer = two["url"].as_str().map_or_else(
        || world.daemon.row("two.example").unwrap()["url"].as_str().unwrap().to_owned(),
        str::to_owned,
    );
    let report = json!({"data": {"topic": "tea", "list": [1]}, "invite": [observer]});
    let url = world.tell("one.example", "report", &report);
    let object = url.as_str().unwrap().to_owned();
    assert!(object.starts_with("comm://home.example/"), "{object}");
    world.wait_for("the invitation", "two.example", "/seen", &json!([["create", object]]));

    let data = world.tell("two.example", "observe", &json!({"url": object}));
    assert_eq!(data, json!({"topic": "tea", "list": [1]}));
    let one = world.daemon.row("one.example").unwrap();
    let two = world.daemon.row("two.example").unwrap();
    assert_ne!(one["pid"], two["pid"], "each is a process of its own");

    let change =
        "data.topic = 'coffee'; data.list.push(2, { deep: true }); data.list[2].deep = 'very';";
    world.tell("one.example", "change", &json!({"code": change}));
    let expected = json!({"topic": "coffee", "list": [1, 2, {"deep": "very"}]});
    world.wait_for("the change", "two.example", "/data", &expected);
    let seen = world.tell("two.example", "tell", &json!({}))["seen"].clone();
    let changes = json!([
        ["create", object],
        ["update", "topic"],
        ["add", "list.1"],
        ["update", "list.2.deep"]
    ]);
    assert_eq!(seen, changes);

    world.tell("two.example", "add", &json!({"text": "from two"}));
    world.wait_for("his child", "one.example", "/children", &json!(1));
    world.tell("one.example", "add", &json!({"text": "from one"}));
    world.wait_for("her child", "two.example", "/children", &json!(2));

    let flood = "for (let i = 0; i < 5000; i += 1) { data.topic = i; }";
    world.tell("one.example", "change", &json!({"code": flood}));
    world.wait_for("the last of a flood", "two.example", "/data/topic", &json!(4_999));

    world.tell("two.example", "leave", &json!({}));
    world.wait_for("he left", "one.example", "/seen/1", &json!(["unsubscribe", observer]));
    settled(&world.daemon);
}

#[test]
fn an_object_ends_with_the_sandbox_of_its_reporter_and_a_stranger_is_not_let_in() {
    let mut world = World::start();
    let report = json!({"data": {"n": 1}, "invite": []});
    let url = world.tell("one.example", "report", &report);
    let object = url.as_str().unwrap().to_owned();
    world.tell("two.example", "observe", &json!({"url": object}));

    let runtime = world.app.welcome["welcome"]["runtime"].as_str().unwrap().to_owned();
    let around = json!({"resources": [format!("{object}/changes")]});
    let refused = world.app.call("subscribe", &format!("{runtime}/subscriptions"), &around);
    assert_eq!(
        (&refused["body"]["code"], &refused["body"]["reason"]),
        (&json!(403), &json!("policy"))
    );
    let peek = world.app.call("read", &format!("{runtime}/sm"), &json!({"resource": object}));
    assert_eq!(
        (&peek["body"]["code"], &peek["from"]),
        (&json!(403), &json!(format!("{runtime}/sm")))
    );

    assert!(world.daemon.ctl(&["kill", "one.example"]).status.success());
    world.wait_for("its end is told", "two.example", "/seen", &json!([["delete", object]]));
    let gone = world.app.call("subscribe", &format!("{runtime}/sm"), &json!({"resource": object}));
    assert_eq!(gone["body"]["code"], 404, "{gone}");
    settled(&world.daemon);
}
