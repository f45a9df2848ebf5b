//! Broken catalogues and broken code: each has its own error at the sender, an event for the
//! operator, and leaves nothing behind.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, descriptor};
use system_tests::{Daemon, wait_for};

/// What is at `protocolstub/default`, and how the sender hears of it.
struct Case {
    name: &'static str,
    entry: String,
    code: u16,
    reason: &'static str,
}

fn case(name: &'static str, entry: impl Into<Value>, code: u16, reason: &'static str) -> Case {
    let entry = match entry.into() {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Case { name, entry, code, reason }
}

fn with(member: &str, value: Value) -> Value {
    let mut changed = descriptor(ECHO_STUB);
    changed[member] = value;
    changed
}

fn without(member: &str) -> Value {
    let mut changed = descriptor(ECHO_STUB);
    changed.as_object_mut().unwrap().remove(member);
    changed
}

fn encoded(encoding: &str, code: &str) -> Value {
    let mut changed = descriptor("");
    changed["sourcePackage"]["encoding"] = json!(encoding);
    changed["sourcePackage"]["sourceCode"] = json!(code);
    changed
}

fn descriptors() -> Vec<Case> {
    let unusable = "descriptor-unusable";
    let constraint = "constraint";
    let mut cases = vec![
        case("empty", "", 503, unusable),
        case("no JSON", "<html>404</html>", 503, unusable),
        case("cut short", &descriptor(ECHO_STUB).to_string()[..80], 503, unusable),
        case("a number", "7", 503, unusable),
        case("null", "null", 503, unusable),
        case("text", "\"stub\"", 503, unusable),
        case("an empty object", "{}", 503, unusable),
        case("an empty array", "[]", 503, unusable),
        case("no source package", without("sourcePackage"), 503, unusable),
        case("a source package without code", with("sourcePackage", json!({})), 503, unusable),
        case("a source package that is text", with("sourcePackage", json!("code")), 503, unusable),
        case(
            "code that is a number",
            with("sourcePackage", json!({"sourceCode": 7})),
            503,
            unusable,
        ),
        case("an unknown language", with("language", json!("cobol")), 503, unusable),
        case("a language that is a number", with("language", json!(7)), 503, unusable),
        case("a configuration that is a number", with("configuration", json!(7)), 503, unusable),
        case(
            "a configuration that is broken text",
            with("configuration", json!("{")),
            503,
            unusable,
        ),
        case("far too deep", format!("{}{}", "[".repeat(5000), "]".repeat(5000)), 503, unusable),
        case("too large", with("description", json!("x".repeat(300_000))), 503, unusable),
        case("bytes that are no text", "\u{0}\u{1}\u{2}", 503, unusable),
        case("an unknown encoding", encoded("rot13", "x"), 503, unusable),
        case("broken base64", encoded("base64", "%%%%"), 502, "decoding"),
        case("cut base64", encoded("base64", "YWJjZ"), 502, "decoding"),
    ];
    for name in ["node", "webrtc", "ortc", "datachannel", "mic", "camera", "sensor", "coap"] {
        cases.push(case(name, with("constraints", json!({name: true})), 406, constraint));
    }
    cases
}

fn codes() -> Vec<Case> {
    let stub = |code: &str| descriptor(code);
    vec![
        case("a syntax error", stub("export default function ( {"), 502, "load"),
        case("throws while loading", stub("throw new Error('no');"), 502, "load"),
        case("throws a number", stub("throw 7;"), 502, "load"),
        case("empty code", stub(" "), 502, "decoding"),
        case("no entry", stub("var x = 1;"), 502, "load"),
        case("an entry that is a number", stub("module.exports = 7;"), 502, "load"),
        case("loops while loading", stub("for (;;) {}"), 502, "load"),
        case(
            "eats memory while loading",
            stub("var a = []; for (;;) a.push(new Array(10000).join('x'));"),
            502,
            "load",
        ),
        case("overflows the stack", stub("(function f() { return f() + 1; })();"), 502, "load"),
        case("requires what is not there", stub("require('fs');"), 502, "load"),
        case(
            "a class that throws when made",
            stub(
                "System.register([], e => ({ execute() { e('default', class { constructor() { throw new Error('no'); } }); } }));",
            ),
            502,
            "activation",
        ),
        case(
            "throws while activating",
            stub("export default function activate() { throw new Error('no'); }"),
            502,
            "activation",
        ),
        case(
            "loops while activating",
            stub("export default function activate() { for (;;) {} }"),
            502,
            "activation",
        ),
        case(
            "rejects while activating",
            stub("export default async function activate() { throw new Error('no'); }"),
            502,
            "activation",
        ),
        case(
            "_start throws",
            stub(
                "System.register([], e => ({ execute() { e('default', class { _start() { throw new Error('no'); } }); } }));",
            ),
            502,
            "activation",
        ),
        case(
            "a getter that throws",
            stub("export default function activate() { null.x; }"),
            502,
            "activation",
        ),
    ]
}

fn processes_of(daemon: &Daemon) -> BTreeSet<i32> {
    daemon.descendants().into_iter().collect()
}

/// Files of the root besides the log.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.display().to_string());
            }
        }
    }
    found
}

fn run(cases: &[Case]) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = String::new();
    for (number, case) in cases.iter().enumerate() {
        let catalogue = Folder::new(&folder.path().join(number.to_string()));
        catalogue.put("default", &case.entry);
        let _infallible =
            write!(config, "[domain.\"d{number}.example\"]\ncatalogue = \"{}\"\n", catalogue.url());
    }
    let daemon = Daemon::start(&config);
    let mut alice = App::connect(&daemon.bus(), "alice", &["hyperty://localhost/alice"]);
    // The net role may be started by the first deploy and stays.
    let before_files = files(daemon.root());
    for (number, case) in cases.iter().enumerate() {
        let response = alice.call("read", &format!("hyperty://d{number}.example/x"), &json!({}));
        let body = &response["body"];
        assert_eq!(body["code"], case.code, "{}: {response}", case.name);
        assert_eq!(body["reason"], case.reason, "{}: {response}", case.name);
        assert!(body["stage"].is_string(), "{}: {response}", case.name);
        assert!(body["retryAfter"].as_u64().is_some_and(|ms| ms > 0), "{}: {response}", case.name);
    }
    let events = daemon.ctl_json(&["events"]);
    for number in 0..cases.len() {
        let name = format!("d{number}.example");
        assert!(
            events
                .as_array()
                .unwrap()
                .iter()
                .any(|e| e["event"] == "deploy-failed" && e["name"] == name),
            "no event for {name}"
        );
    }
    wait_for("only the daemon's own roles are left", || {
        (processes_of(&daemon).len() <= 2).then_some(())
    });
    let rows = daemon.ctl_json(&["ps"]);
    for row in rows.as_array().unwrap() {
        assert_eq!((&row["state"], &row["pid"]), (&json!("failed"), &Value::Null), "{row}");
    }
    assert_eq!(files(daemon.root()), before_files);
    wait_for("nothing is queued", || (daemon.assert_conserved()["queued"] == 0).then_some(()));
}

#[test]
fn each_broken_descriptor_has_its_error_and_leaves_nothing() {
    run(&descriptors());
}

#[test]
fn each_broken_code_has_its_error_and_leaves_nothing() {
    run(&codes());
}

#[test]
fn an_entry_that_is_not_a_plain_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, descriptor(ECHO_STUB).to_string()).unwrap();
    let mut config = String::new();
    let mut places = Vec::new();
    for name in ["link", "fifo", "folder", "absent", "outside"] {
        let path = folder.path().join(name);
        places.push((name, Folder::new(&path)));
        let _infallible = write!(
            config,
            "[domain.\"{name}.example\"]\ncatalogue = \"file://{}\"\n",
            path.display()
        );
    }
    let entry = |name: &str| folder.path().join(name).join("protocolstub/default");
    std::os::unix::fs::symlink(&secret, entry("link")).unwrap();
    nix::unistd::mkfifo(&entry("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::create_dir(entry("folder")).unwrap();
    let mut outside = descriptor("");
    outside.as_object_mut().unwrap().remove("sourcePackage");
    outside["sourcePackageURL"] = json!(format!("file://{}", secret.display()));
    std::fs::write(entry("outside"), outside.to_string()).unwrap();
    let daemon = Daemon::start(&config);
    let mut alice = App::connect(&daemon.bus(), "alice", &["hyperty://localhost/alice"]);
    for (name, _place) in &places {
        let response = alice.call("read", &format!("hyperty://{name}.example/x"), &json!({}));
        assert_eq!(response["body"]["code"], 503, "{name}: {response}");
    }
}

#[test]
fn a_failure_is_remembered_and_an_operator_may_try_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Folder::new(folder.path());
    catalogue.put("default", "nonsense");
    let daemon = Daemon::start(&system_tests::catalogue::config(&catalogue.url()));
    let output = daemon.ctl(&["deploy", "example.com", "--wait", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["reason"], "descriptor-unusable", "{error}");
    catalogue.stub(ECHO_STUB);
    let output = daemon.ctl(&["deploy", "example.com", "--wait"]);
    assert!(output.status.success(), "{output:?}");
}
