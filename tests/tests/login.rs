//! Domain login with real processes: a stub gets credentials of its identity provider's proxy, and
//! they are nowhere else.

use serde_json::{Value, json};
use std::path::Path;
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder};
use system_tests::{Daemon, wait_for};

const ALICE: &str = "hyperty://localhost/alice";
const BOB: &str = "hyperty://example.com/bob";
const PROXY: &str = "domain-idp://idp.example";

/// Gives whoever asks a token of its own.
const TOKENS: &str = r"
export default function activate(url, bus, config) {
  let given = 0;
  bus.addListener('*', function (message) {
    if (message.type !== 'execute' || message.body.method !== 'getAccessToken') return;
    given += 1;
    const value = { token: 's3cret-' + given, of: message.body.params.resources, asker: message.from };
    bus.postMessage({
      id: message.id, type: 'response', from: message.to, to: message.from, body: { code: 200, value: value }
    });
  });
  bus.postMessage({ type: 'update', from: url, to: url + '/status', body: { value: 'created' } });
  return { name: 'Tokens', instance: {} };
}
";

/// Tells what it is configured with.
const TELLING: &str = r"
export default function activate(url, bus, config) {
  bus.addListener('*', function (message) {
    if (message.type === 'response') return;
    bus.postMessage({
      id: message.id, type: 'response', from: message.to, to: message.from,
      body: { code: 200, value: config.credentials || null }
    });
  });
  return { name: 'Telling', instance: {} };
}
";

struct World {
    folder: tempfile::TempDir,
    daemon: Daemon,
    alice: App,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str| Folder::new(&folder.path().join(name));
    let (stub, provider) = (of("stub"), of("provider"));
    stub.stub(TELLING);
    let config = format!(
        "[domain.\"example.com\"]\ncatalogue = \"{0}\"\nlogin = \"idp.example\"\n\
         [domain.\"other.example\"]\ncatalogue = \"{0}\"\n\
         [domain.\"idp.example\"]\ncatalogue = \"{1}\"\n",
        stub.url(),
        provider.url()
    );
    let daemon = Daemon::start(&config);
    let alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    World { folder, daemon, alice }
}

impl World {
    fn provider(&self) -> Folder {
        Folder::new(&self.folder.path().join("provider"))
    }
}

/// Whether any file below has this in it.
fn is_below(folder: &Path, text: &str) -> bool {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.into_iter().any(|entry| {
        let kind = entry.file_type().unwrap();
        let bytes = || std::fs::read(entry.path()).unwrap_or_default();
        (kind.is_dir() && is_below(&entry.path(), text))
            || (kind.is_file() && bytes().windows(text.len()).any(|part| part == text.as_bytes()))
    })
}

#[test]
fn a_stub_is_logged_in_by_the_proxy_of_its_identity_provider() {
    let mut world = world();
    world.provider().proxy(TOKENS);
    let answer = world.alice.call("read", BOB, &json!({}));
    let runtime = world.alice.welcome["welcome"]["runtime"].as_str().unwrap();
    let asker = format!("{runtime}/idm");
    let token =
        |n: u8| json!({"token": format!("s3cret-{n}"), "of": ["example.com"], "asker": asker});
    assert_eq!(answer["body"]["value"], token(1), "{answer}");
    let row = world.daemon.row("idp.idp.example").unwrap();
    assert_eq!((&row["kind"], &row["domain"]), (&json!("idp-proxy"), &json!("idp.example")));
    let url = row["url"].as_str().unwrap();
    assert!(url.starts_with("domain-idp://idp.example/stub/"), "{url}");
    // Nobody else is given any, nor may ask for one.
    let answer = world.alice.call("read", "hyperty://other.example/x", &json!({}));
    assert_eq!(answer["body"]["value"], Value::Null, "{answer}");
    let ask =
        json!({"resource": "identity", "method": "getAccessToken", "params": {"resources": []}});
    for to in [PROXY, url] {
        let answer = world.alice.call("execute", to, &ask);
        assert_eq!(answer["body"]["code"], 403, "{answer}");
    }
    // Each process of the stub has its own.
    let pid = world.daemon.row("example.com").unwrap()["pid"].clone();
    assert!(world.daemon.ctl(&["kill", "example.com"]).status.success());
    wait_for("another one runs", || {
        let row = world.daemon.row("example.com")?;
        (row["state"] == "active" && row["pid"] != pid).then_some(())
    });
    let answer = world.alice.call("read", BOB, &json!({}));
    assert_eq!(answer["body"]["value"], token(2), "{answer}");
    let events = world.daemon.ctl(&["events"]).stdout;
    assert!(!String::from_utf8_lossy(&events).contains("s3cret"));
    assert!(is_below(world.daemon.root(), "idp.example"));
    assert!(!is_below(world.daemon.root(), "s3cret"));
    world.daemon.assert_conserved();
}

#[test]
fn without_the_proxy_nothing_of_the_stub_runs_and_with_it_all_is_well() {
    let mut world = world();
    let answer = world.alice.call("read", BOB, &json!({}));
    let told = (&answer["body"]["code"], &answer["body"]["reason"], &answer["body"]["stage"]);
    assert_eq!(told, (&json!(503), &json!("catalogue-absent"), &json!("login")), "{answer}");
    // An operator who has mended it need not wait.
    world.provider().proxy(ECHO_STUB);
    assert!(world.daemon.ctl(&["deploy", PROXY, "--wait"]).status.success());
    assert!(world.daemon.ctl(&["deploy", "example.com", "--wait"]).status.success());
    let answer = world.alice.call("read", BOB, &json!({}));
    assert_eq!(answer["body"]["value"]["echo"]["method"], "getAccessToken", "{answer}");
    world.daemon.assert_conserved();
}
