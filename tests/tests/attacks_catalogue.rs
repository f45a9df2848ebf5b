//! What a hostile catalogue serves: bombs, archives, addresses that lead elsewhere, code that
//! changes between two looks, and wishes. By the findings of the security review (`attack_…`) and
//! the rows of the escape matrix (`escape_…`).
//!
//! What the review asks beyond that waits for the issue that builds it:
//! * 005 and 006: a native stub is executed under a filter that stands already (native stubs);
//! * 006: a worker from the pool is checked from outside once more (the pool of sandboxes);
//! * 020: pins outlive the daemon, and a digest is revoked (durable pins);
//! * 028 and 029: a sandbox that a new daemon adopts, and a frame that kills it (adoption).

use peers::catalogue::{Behaviour, Response};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, Folder, descriptor};
use system_tests::chaos::ledger::Ledger;
use system_tests::chaos::process::Victim;
use system_tests::domain::Domain;
use system_tests::evil::{EVIL, PUPPET, Scene};
use system_tests::trap::Trap;
use system_tests::{Daemon, wait_for};

const NAME: &str = "example.com";
const REMOTE: &str = "hyperty://example.com/bob";
const CODE: &str = "/code.js";
/// More than the daemon may grow by, whatever a catalogue serves.
const GROWTH_BYTES: u64 = 32 * 1_048_576;

/// A domain under the attacker's control, its operator's daemon, and somebody who asks.
struct Served {
    domain: Domain,
    daemon: Daemon,
    alice: App,
}

impl Served {
    fn start() -> Self {
        let domain = Domain::start(NAME);
        let daemon = Daemon::start(&domain.config());
        let alice = App::connect(&daemon.bus(), "alice", &["hyperty://localhost/alice"]);
        Self { domain, daemon, alice }
    }

    /// What an application is told when the catalogue answers so.
    fn asked(&mut self, response: Response) -> Value {
        self.domain.answer(response);
        let body = self.alice.call("read", REMOTE, &json!({}))["body"].clone();
        // Forgets the failure, so that the next case is a first one.
        assert!(self.daemon.ctl(&["undeploy", NAME]).status.success(), "{body}");
        wait_for("it is forgotten", || self.daemon.row(NAME).is_none().then_some(()));
        body
    }

    fn refused(&mut self, what: &str, response: Response, code: u16, reason: &str) {
        let body = self.asked(response);
        let found = (&body["code"], &body["reason"]);
        assert_eq!(found, (&json!(code), &json!(reason)), "{what}: {body}");
    }

    fn serve_code(&self, response: Response) {
        self.domain.run(self.domain.catalogue.set(CODE, response)).unwrap();
    }

    /// A descriptor whose code is at this address.
    fn at(target: &str) -> Response {
        let mut found = descriptor("");
        found.as_object_mut().unwrap().remove("sourcePackage");
        found["sourcePackageURL"] = json!(target);
        Response::json(&found)
    }
}

/// The most bytes that the daemon ever held.
fn peak(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

/// What a program makes of this input.
fn piped(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}");
    output.stdout
}

#[test]
fn escape_053_bombs_are_refused_by_their_size_and_the_daemon_does_not_grow() {
    let mut served = Served::start();
    let before = peak(&served.daemon);
    let bomb = piped("gzip", &["-9"], &vec![b' '; 64 * 1_048_576]);
    let zipped = |body: &[u8]| {
        let mut response = Response::ok("application/json", body);
        response.headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
        response
    };
    let unusable = "descriptor-unusable";
    served.refused("compressed", zipped(&bomb), 503, unusable);
    let inline = |encoding: &str, bytes: usize| {
        let mut found = descriptor(&"A".repeat(bytes));
        found["sourcePackage"]["encoding"] = json!(encoding);
        Response::json(&found)
    };
    served.refused("base64", inline("base64", 6 * 1_048_576), 502, "code-size");
    served.refused("plain", inline("", 5 * 1_048_576), 502, "code-size");
    served.refused("more than a descriptor may be", inline("", 9 * 1_048_576), 503, unusable);
    let gigabyte = Behaviour::ContentLength(1 << 30);
    served.refused("a gigabyte", inline("", 10).sent(gigabyte), 503, unusable);
    served.refused(
        "endless",
        Response::ok("text/plain", "{").sent(Behaviour::Endless),
        503,
        unusable,
    );
    let mut nested = descriptor(ECHO_STUB);
    for _ in 0..60 {
        nested = json!({ "sourcePackage": nested, "sourceCode": "x" });
    }
    let nested = nested.to_string();
    served.serve_code(Response::ok("application/json", nested));
    served.refused("packages in packages", Served::at(CODE), 502, "load");
    served.serve_code(zipped(&bomb));
    served.refused("compressed code", Served::at(CODE), 502, "decoding");
    served.serve_code(Response::ok("application/gzip", bomb));
    served.refused("an archive as code", Served::at(CODE), 502, "load");
    let endless = Response::javascript("//").sent(Behaviour::Endless);
    served.serve_code(endless);
    served.refused("endless code", Served::at(CODE), 502, "code-size");
    let grown = peak(&served.daemon).saturating_sub(before);
    assert!(grown < GROWTH_BYTES, "the daemon grew by {grown} bytes");
    served.daemon.assert_conserved();
}

/// An archive with an entry of every kind that leads out of where it is unpacked.
fn archive(folder: &Path, victim: &Path) -> Vec<u8> {
    let entries = folder.join("entries");
    fs::create_dir(&entries).unwrap();
    fs::write(entries.join("plain.js"), ECHO_STUB).unwrap();
    fs::hard_link(entries.join("plain.js"), entries.join("hard")).unwrap();
    std::os::unix::fs::symlink(victim, entries.join("link")).unwrap();
    nix::unistd::mkfifo(&entries.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let absolute = victim.join("absolute").display().to_string();
    fs::write(entries.join("up"), "x").unwrap();
    let transform = format!("--transform=s,^./up$,{absolute},");
    let output = Command::new("tar")
        .args(["--create", "--absolute-names", &transform, "--file=-", "--directory"])
        .arg(&entries)
        .arg(".")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(&absolute), "the archive has its absolute entry");
    output.stdout
}

#[test]
fn escape_054_an_archive_is_not_unpacked_whatever_is_in_it() {
    let mut served = Served::start();
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    fs::create_dir(&victim).unwrap();
    let tar = archive(folder.path(), &victim);
    let before = Ledger::at_rest(&served.daemon);
    for (kind, bytes) in
        [("application/gzip", piped("gzip", &[], &tar)), ("application/x-tar", tar)]
    {
        served.serve_code(Response::ok(kind, bytes.clone()));
        served.refused(kind, Served::at(CODE), 502, "load");
        let mut inline = descriptor("");
        inline["sourcePackage"]["encoding"] = json!("base64");
        let text = piped("base64", &["--wrap=0"], &bytes);
        inline["sourcePackage"]["sourceCode"] = json!(String::from_utf8(text).unwrap());
        served.refused(kind, Response::json(&inline), 502, "load");
    }
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    before.and_the_net_role(&served.daemon).wait_restored(&served.daemon);
}

#[test]
fn escape_055_no_redirect_leads_to_another_scheme_host_or_without_end() {
    let mut served = Served::start();
    let trap = Trap::set();
    let port = trap.port();
    let own = served.domain.catalogue.addr().port();
    let targets = [
        "file:///etc/passwd".to_owned(),
        "file:/etc/passwd".to_owned(),
        format!("gopher://127.0.0.1:{port}/1"),
        format!("ftp://127.0.0.1:{port}/x"),
        format!("ws://127.0.0.1:{port}/x"),
        "data:application/json,{}".to_owned(),
        "javascript:1".to_owned(),
        format!("http://127.0.0.1:{port}/x"),
        format!("https://127.0.0.1:{port}/x"),
        format!("//127.0.0.1:{port}/x"),
        format!("http://localhost:{port}/x"),
        format!("http://localhost:{own}/x"),
        format!("http://127.0.0.1:{own}@127.0.0.1:{port}/x"),
        format!("https://127.0.0.1:{own}/x"),
    ];
    let refused = "redirect-refused";
    for (target, status) in targets.iter().zip([301, 302, 303, 307, 308].into_iter().cycle()) {
        let redirect = Response::redirect(status, target);
        served.serve_code(redirect.clone());
        served.refused(target, redirect, 503, refused);
        served.refused(target, Served::at(CODE), 503, refused);
    }
    for hop in 0..20 {
        let next = Response::redirect(302, &format!("/hop/{}", hop + 1));
        served.domain.run(served.domain.catalogue.set(&format!("/hop/{hop}"), next)).unwrap();
    }
    served.refused("20 hops", Response::redirect(302, "/hop/0"), 503, refused);
    let asked = |hop: u32| served.domain.catalogue.count(&format!("/hop/{hop}"));
    assert_eq!((asked(4), asked(5)), (1, 0), "five redirects are followed");
    served.serve_code(Response::redirect(302, CODE));
    served.refused("to itself", Served::at(CODE), 503, refused);
    assert_eq!(trap.visits(), 0);
    served.daemon.assert_conserved();
}

#[test]
fn escape_056_what_a_catalogue_names_is_no_way_into_this_machine() {
    let mut served = Served::start();
    let trap = Trap::set();
    let port = trap.port();
    for host in [
        "169.254.169.254",
        "metadata.google.internal",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "127.0.0.1",
        "0x7f.1",
        "127.1",
        "2130706433",
        "017700000001",
        "0.0.0.0",
        "localhost",
    ] {
        for scheme in ["http", "https", "hyperty-catalogue"] {
            let target = format!("{scheme}://{host}:{port}/code.js");
            served.refused(&target, Served::at(&target), 503, "redirect-refused");
        }
    }
    assert_eq!(trap.visits(), 0);
    served.daemon.assert_conserved();
}

#[test]
fn escape_056_a_listed_source_that_turns_out_to_be_here_is_not_connected_to() {
    let trap = Trap::set();
    let port = trap.port();
    let folder = tempfile::tempdir().unwrap();
    let mut config = String::new();
    for (number, host) in ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"].iter().enumerate() {
        let catalogue = Folder::new(&folder.path().join(number.to_string()));
        let source = format!("https://{host}:{port}");
        let mut found = descriptor("");
        found.as_object_mut().unwrap().remove("sourcePackage");
        found["sourcePackageURL"] = json!(format!("{source}/code.js"));
        catalogue.put("default", &found.to_string());
        let _infallible = write!(
            config,
            "[domain.\"d{number}.example\"]\ncatalogue = \"{}\"\nsources = [\"{source}\"]\n",
            catalogue.url()
        );
    }
    let daemon = Daemon::start(&config);
    let mut alice = App::connect(&daemon.bus(), "alice", &["hyperty://localhost/alice"]);
    for number in 0..4 {
        let body =
            alice.call("read", &format!("hyperty://d{number}.example/x"), &json!({}))["body"]
                .clone();
        let found = (&body["code"], &body["reason"], &body["stage"]);
        let wanted = (&json!(503), &json!("catalogue-down"), &json!("source"));
        assert_eq!(found, wanted, "{body}");
        assert!(body["desc"].as_str().unwrap().contains("never connected to"), "{body}");
    }
    assert_eq!(trap.visits(), 0);
    daemon.assert_conserved();
}

fn digest_of(code: &str) -> String {
    let said = String::from_utf8(piped("sha256sum", &[], code.as_bytes())).unwrap();
    format!("sha256:{}", said.split(' ').next().unwrap())
}

#[test]
fn escape_057_what_was_hashed_is_what_runs_however_the_catalogue_changes() {
    let mut served = Served::start();
    let marked = |mark: &str| {
        format!("{ECHO_STUB}\n// {mark}\n").replace("by: url", &format!("by: '{mark}'"))
    };
    let (first, second) = (marked("first"), marked("second"));
    served.serve_code(Response::javascript(&first));
    served.domain.answer(Served::at(CODE));
    let by = |served: &mut Served| {
        let answer = served.alice.call("read", REMOTE, &json!({}));
        answer["body"]["value"]["by"].clone()
    };
    assert_eq!(by(&mut served), "first");
    let digest = digest_of(&first);
    assert_eq!(served.daemon.row(NAME).unwrap()["code"]["digest"], digest);
    // From now on it serves another one, and nobody asks for that.
    served.serve_code(Response::javascript(&second));
    let asked = served.domain.catalogue.counts();
    for _ in 0..3 {
        let victim = Victim::of(&served.daemon, NAME);
        assert!(victim.kill());
        victim.wait_gone();
        served.daemon.wait_state(NAME, "active");
        assert_eq!(by(&mut served), "first");
        assert_eq!(served.daemon.row(NAME).unwrap()["code"]["digest"], digest);
    }
    assert_eq!(served.domain.catalogue.counts(), asked, "it was read once");
    assert!(served.daemon.ctl(&["undeploy", NAME]).status.success());
    assert_eq!(by(&mut served), "second");
    assert_eq!(served.daemon.row(NAME).unwrap()["code"]["digest"], digest_of(&second));
    served.daemon.assert_conserved();
}

/// A descriptor of the puppet that wishes for more than it gets.
fn wishing(port: u16) -> Value {
    let mut evil = descriptor(PUPPET);
    let many: Vec<String> = (0..20).map(|n| format!("wss://h{n}.example")).collect();
    evil["configuration"] = json!({
        "mail": "wss://victim.example:25", "shell": "https://victim.example:22",
        "store": "wss://victim.example:6379", "plain": "ws://victim.example:8080",
        "here": format!("wss://127.0.0.1:{port}"), "many": many,
    });
    evil["runtime"] = json!({"capabilities": {"net": ["victim.example:587"]}});
    evil
}

#[test]
fn attack_016_what_a_descriptor_wishes_beyond_its_due_is_not_granted_and_the_stub_starts_without() {
    let trap = Trap::set();
    let port = trap.port();
    // Whoever were let through would be seen.
    let hosts: Vec<String> = [25, 22, 6379, 8080, 587]
        .iter()
        .map(|wish| format!("\"victim.example:{wish}\" = \"127.0.0.1:{port}\""))
        .collect();
    let keys = format!("hosts = {{ {} }}\n\n", hosts.join(", "));
    let mut scene = Scene::with(&wishing(port), &keys);
    let _deployed = scene.order("");
    let inspect = scene.daemon.ctl_json(&["inspect", EVIL]);
    let named = |list: &str, text: &str| {
        inspect[list].as_array().unwrap().iter().any(|row| row.as_str().unwrap().contains(text))
    };
    for wish in [25, 22, 6379, 8080, 587] {
        let target = format!("victim.example:{wish}");
        assert!(named("not_granted", &target) && !named("grants", &target), "{inspect}");
    }
    assert!(named("not_granted", &format!("127.0.0.1:{port}")), "{inspect}");
    assert_eq!(inspect["grants"].as_array().unwrap().len(), 8, "{inspect}");
    assert!(named("not_granted", "more than 8 hosts"), "{inspect}");
    assert!(!scene.events("refused", EVIL, "policy").is_empty());
    let tried = scene.order(&format!(
        "const one = (url) => new Promise((done) => {{
           const socket = new WebSocket(url);
           socket.onopen = () => done(url);
           socket.onclose = () => done(null);
         }});
         return Promise.all(['wss://victim.example:25', 'wss://victim.example:22',
           'wss://victim.example:6379', 'ws://victim.example:8080', 'wss://victim.example:587',
           'wss://127.0.0.1:{port}'].map(one));"
    ));
    assert!(tried.as_array().unwrap().iter().all(Value::is_null), "{tried}");
    assert_eq!(trap.visits(), 0);
    scene.stands();
}

/// Puts into the folder of a catalogue what would lead out of it, or be waited for for ever.
fn snares(folder: &Path) -> PathBuf {
    let place = folder.join("catalogue/protocolstub");
    fs::create_dir_all(place.join("folder")).unwrap();
    let secret = folder.join("secret.js");
    fs::write(&secret, ECHO_STUB).unwrap();
    std::os::unix::fs::symlink(&secret, place.join("link.js")).unwrap();
    std::os::unix::fs::symlink(folder, place.join("up")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", place.join("zero")).unwrap();
    nix::unistd::mkfifo(&place.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    secret
}

#[test]
fn attack_019_a_catalogue_in_a_folder_makes_the_daemon_read_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    let secret = snares(temp.path());
    let catalogue = Folder::new(&temp.path().join("catalogue"));
    let daemon = Daemon::start(&system_tests::catalogue::config(&catalogue.url()));
    let mut alice = App::connect(&daemon.bus(), "alice", &["hyperty://localhost/alice"]);
    let trap = Trap::set();
    let absolute = secret.display().to_string();
    for target in [
        format!("file://{absolute}"),
        absolute.clone(),
        format!("file://localhost{absolute}"),
        "../../secret.js".to_owned(),
        "..%2f..%2fsecret.js".to_owned(),
        "up/secret.js".to_owned(),
        "link.js".to_owned(),
        "zero".to_owned(),
        "fifo".to_owned(),
        "folder".to_owned(),
        "https://elsewhere.example/code.js".to_owned(),
        format!("http://127.0.0.1:{}/code.js", trap.port()),
    ] {
        let mut found = descriptor("");
        found.as_object_mut().unwrap().remove("sourcePackage");
        found["sourcePackageURL"] = json!(target);
        catalogue.put("default", &found.to_string());
        let body = alice.call("read", REMOTE, &json!({}))["body"].clone();
        assert_eq!((&body["code"], &body["stage"]), (&json!(503), &json!("source")), "{body}");
        assert!(daemon.row(NAME).unwrap()["code"]["digest"].is_null(), "{target}");
        assert!(daemon.ctl(&["undeploy", NAME]).status.success());
    }
    assert_eq!(trap.visits(), 0);
    daemon.assert_conserved();
}
