//! Two daemons, two domains, and no message node: their runtimes talk directly, over a connection
//! that either of them makes (seed `p2p-connection-messages`; seed `messaging-framework`, P2P
//! Messaging Interface).

use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use system_tests::app::App;
use system_tests::domain::Domain;
use system_tests::{Daemon, wait_for};

/// A folder that is the catalogue of both stubs, and holds the certificates.
struct Papers {
    folder: tempfile::TempDir,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl Papers {
    fn new() -> Self {
        Self::with(|_, code| code)
    }

    /// Those of one whose stubs are others.
    fn with(change: impl Fn(&str, String) -> String) -> Self {
        let folder = tempfile::Builder::new().prefix("p2p-").tempdir().expect("a folder");
        let stubs = folder.path().join("protocolstub");
        std::fs::create_dir_all(&stubs).expect("a folder");
        for name in ["p2p-handler", "p2p-requester"] {
            for end in ["ps.json", "ps.js"] {
                let file = format!("{name}.{end}");
                let from = repository().join("stubs").join(name).join(&file);
                let text = std::fs::read_to_string(from).expect("a stub");
                std::fs::write(stubs.join(&file), change(&file, text)).expect("its copy");
            }
        }
        for name in ["alpha", "beta", "gamma"] {
            for end in ["pem", "key"] {
                let file = format!("{name}.{end}");
                let from = repository().join("tests/certificates").join(&file);
                let key = std::fs::read(from).expect("a certificate");
                write_for_oneself(&folder.path().join(&file), &key);
            }
        }
        let root = std::fs::read(repository().join("tests/certificates/ca.pem")).expect("a root");
        write_for_oneself(&folder.path().join("ca.pem"), &root);
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

fn write_for_oneself(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, bytes).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
}

/// A port that nobody listens on; the daemon binds it a moment later.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A daemon, its application, and its address.
struct Side {
    name: &'static str,
    daemon: Daemon,
    app: App,
    address: String,
}

/// What `runtimed.toml` says of one that listens at its port.
fn config(papers: &Papers, name: &str, port: u16) -> String {
    format!(
        "[runtime]\ndomain = \"{name}.example\"\n[p2p]\nlisten = \"127.0.0.1:{port}\"\n\
         certificate = \"{}\"\nkey = \"{}\"\ncatalogue = \"file://{}\"\n",
        papers.path(&format!("{name}.pem")),
        papers.path(&format!("{name}.key")),
        papers.folder.path().display(),
    )
}

/// And of another, after what it says of that domain else.
fn place(papers: &Papers, port: u16) -> String {
    format!("p2p = \"127.0.0.1:{port}\"\nca = \"{}\"\n", papers.path("ca.pem"))
}

fn peer(papers: &Papers, name: &str, port: u16) -> String {
    format!(
        "[domain.\"{name}.example\"]\nprivate = true\nconnect = [\"127.0.0.1:{port}\"]\n{}",
        place(papers, port)
    )
}

/// Its application, which has a room besides.
fn join(name: &str, daemon: &Daemon, address: &str) -> App {
    App::connect(&daemon.bus(), name, &[address, &format!("comm://{name}.example/room")])
}

impl Side {
    fn start(name: &'static str, config: &str) -> Self {
        let daemon = Daemon::start(config);
        let address = format!("hyperty://{name}.example/{name}");
        let app = join(name, &daemon, &address);
        let side = Self { name, daemon, app, address };
        side.daemon.wait_state("p2p-handler", "active");
        side
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

    /// Whether a component says this of itself.
    fn status(&self, name: &str) -> Value {
        self.daemon.row(name).map_or(Value::Null, |row| row["status"].clone())
    }

    fn wait_status(&self, name: &str, status: &str) {
        wait_for(&format!("{name} is {status}"), || (self.status(name) == status).then_some(()));
    }

    fn runtime(&self) -> String {
        self.app.welcome["welcome"]["runtime"].as_str().expect("an address").to_owned()
    }

    fn handler(&self) -> String {
        let runtime = self.runtime();
        let id = runtime.rsplit('/').next().expect("an identifier");
        format!("{runtime}/p2phandler/{id}")
    }

    fn keeper(&self) -> String {
        format!("{}/subscriptions", self.runtime())
    }

    fn subscribes(&mut self, resources: &[&str]) {
        let at = self.keeper();
        let answer = self.app.call("subscribe", &at, &json!({"resources": resources}));
        assert_eq!(answer["body"]["code"], 200, "{answer}");
    }

    fn says(&mut self, resource: &str, number: u64) {
        self.app.write(&json!({"type": "update", "to": resource, "body": {"number": number}}));
    }

    /// It publishes, and the other gets copies.
    fn publishes(&mut self, to: &mut Self, resources: &[&str], number: u64) {
        for resource in resources {
            self.says(resource, number);
            let heard = loop {
                let heard = to.hear();
                if heard["body"]["number"] != 0 {
                    break heard;
                }
            };
            assert_eq!(heard["body"], json!({"number": number, "via": heard["body"]["via"]}));
            assert_eq!((&heard["from"], &heard["to"]), (&json!(self.address), &json!(resource)));
        }
    }

    /// Sooner or later what it publishes gets there again.
    fn is_heard_again(&mut self, by: &mut Self, resource: &str) {
        wait_for(&format!("{resource} is heard again"), || {
            self.says(resource, 0);
            by.app.hears_within(Duration::from_millis(200)).then_some(())
        });
    }

    /// What was answered is committed a moment later.
    fn keeps(&self, resource: &str) {
        let log = self.daemon.root().join("state/registry.db-wal");
        wait_for("it is in the store's log", || {
            let log = std::fs::read(&log).unwrap_or_default();
            log.windows(resource.len()).any(|part| part == resource.as_bytes()).then_some(())
        });
    }

    /// Events of this name, with their details.
    fn events(&self, name: &str) -> Vec<String> {
        let rows = self.daemon.ctl(&["events", "-o", "ndjson"]);
        let text = String::from_utf8_lossy(&rows.stdout).into_owned();
        let rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let named = rows.filter(|row| row["event"] == name);
        named.map(|row| row["detail"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

fn pair(papers: &Papers) -> (Side, Side) {
    let (alpha, beta) = (free_port(), free_port());
    let first = config(papers, "alpha", alpha) + &peer(papers, "beta", beta);
    let second = config(papers, "beta", beta) + &peer(papers, "alpha", alpha);
    (Side::start("alpha", &first), Side::start("beta", &second))
}

/// One writes, the other gets it and answers, the first gets the answer.
fn chat(from: &mut Side, to: &mut Side, text: &str) {
    let id = from.app.ask("read", &to.address, &json!({"text": text, "p2p": true}));
    let heard = to.hear();
    assert_eq!((&heard["from"], &heard["to"]), (&json!(from.address), &json!(to.address)));
    assert_eq!(heard["body"]["text"], text, "{heard}");
    to.app.write(&json!({
        "id": heard["id"], "type": "response", "from": heard["to"], "to": heard["from"],
        "body": {"code": 200, "value": format!("heard {text}")},
    }));
    let answer = from.app.response(id);
    assert_eq!(answer["from"], json!(to.address), "{answer}");
    assert_eq!(answer["body"]["value"], format!("heard {text}"), "{answer}");
}

#[test]
fn two_runtimes_talk_without_a_message_node_over_one_connection_both_ways() {
    let papers = Papers::new();
    let (mut alpha, mut beta) = pair(&papers);
    chat(&mut alpha, &mut beta, "hello");
    chat(&mut beta, &mut alpha, "hello yourself");
    chat(&mut alpha, &mut beta, "again");
    let row = alpha.daemon.row("p2p.beta.example").expect("the requester");
    assert_eq!((&row["kind"], &row["status"]), (&json!("p2p-requester"), &json!("live")));
    assert!(beta.daemon.row("p2p.alpha.example").is_none(), "one connection is enough");
    for side in [&alpha, &beta] {
        assert!(side.daemon.row(&format!("{}.example", side.name)).is_none(), "no message node");
        side.daemon.assert_conserved();
    }
}

#[test]
fn a_connection_that_is_lost_is_a_clear_refusal_until_it_is_there_again() {
    let papers = Papers::new();
    let (mut alpha, mut beta) = pair(&papers);
    chat(&mut alpha, &mut beta, "hello");
    let asked = alpha.app.ask("read", &beta.address, &json!({}));
    beta.hear();
    beta.daemon.stop(nix::sys::signal::Signal::SIGKILL);
    let answer = alpha.app.response(asked);
    assert_eq!(answer["body"]["reason"], "peer-down", "{answer}");
    alpha.wait_status("p2p.beta.example", "failed");
    let refused = alpha.app.refused("read", &beta.address, 503, "peer-down");
    assert!(refused["body"]["retryAfter"].as_u64().is_some(), "{refused}");
    beta.daemon.start_again();
    beta.app = App::connect(&beta.daemon.bus(), "beta", &[&beta.address]);
    alpha.wait_status("p2p.beta.example", "live");
    chat(&mut alpha, &mut beta, "there again");
    chat(&mut beta, &mut alpha, "as ever");
    alpha.daemon.assert_conserved();
}

#[test]
fn two_runtimes_chat_and_subscribe_without_a_message_node_and_get_everything_back() {
    let papers = Papers::new();
    let (mut alpha, mut beta) = pair(&papers);
    chat(&mut alpha, &mut beta, "hello");
    let resources = ["hyperty://beta.example/beta/status", "comm://beta.example/room/changes"];
    alpha.subscribes(&resources);
    beta.publishes(&mut alpha, &resources, 1);
    // The other way round, over the same connection: its requester is alpha's.
    beta.subscribes(&["hyperty://alpha.example/alpha/status"]);
    alpha.publishes(&mut beta, &["hyperty://alpha.example/alpha/status"], 2);
    beta.keeps("hyperty://alpha.example/alpha/status");
    let answer = alpha.app.call(
        "subscribe",
        &alpha.keeper(),
        &json!({
            "resources": ["hyperty://beta.example/nobody/status"],
        }),
    );
    assert!(answer["body"]["code"].as_u64() > Some(299), "{answer}");
    beta.daemon.stop(nix::sys::signal::Signal::SIGKILL);
    alpha.wait_status("p2p.beta.example", "failed");
    let refused = alpha.app.refused("read", &beta.address, 503, "peer-down");
    assert!(refused["body"]["retryAfter"].as_u64().is_some(), "{refused}");
    beta.daemon.start_again();
    beta.app = join("beta", &beta.daemon, &beta.address);
    // Each is told anew what the other is subscribed to: beta by an alpha that never left, and alpha
    // by a beta that remembers.
    beta.is_heard_again(&mut alpha, resources[1]);
    beta.publishes(&mut alpha, &resources, 4);
    alpha.is_heard_again(&mut beta, "hyperty://alpha.example/alpha/status");
    alpha.publishes(&mut beta, &["hyperty://alpha.example/alpha/status"], 5);
    chat(&mut alpha, &mut beta, "as ever");
    for side in [&alpha, &beta] {
        assert!(side.daemon.row(&format!("{}.example", side.name)).is_none(), "no message node");
        side.daemon.assert_conserved();
    }
}

#[test]
fn without_a_connection_messages_go_by_the_message_node_and_with_one_again_directly() {
    let papers = Papers::new();
    let node = Domain::start("beta.example");
    let (alpha, beta) = (free_port(), free_port());
    let first = config(&papers, "alpha", alpha) + &node.config() + &place(&papers, beta);
    let first = first.replace("connect = [", &format!("connect = [\"127.0.0.1:{beta}\", "));
    let second = config(&papers, "beta", beta) + &node.config() + &peer(&papers, "alpha", alpha);
    let mut beta = Side::start("beta", &second);
    let mut alpha = Side::start("alpha", &first);
    wait_for("the node knows beta", || (node.told("subscribe", &beta.address) > 0).then_some(()));
    let handler = beta.handler();
    let id = beta.runtime().rsplit('/').next().expect("an identifier").to_owned();
    let paths = |kind: &str| {
        let all = node.run(node.node.received()).expect("the node");
        let of_kind =
            all.into_iter().filter(|m| m["type"] == kind && m["body"][kind] == json!([handler]));
        of_kind.collect::<Vec<Value>>()
    };
    let told = wait_for("the node knows the way to the handler", || paths("subscribe").pop());
    assert_eq!(told["from"], json!(format!("{}/ua", beta.runtime())));
    assert_eq!(told["to"], "domain://msg-node.beta.example/sm");
    let source = format!("hyperty-runtime://beta.example/p2phandler/{id}");
    assert_eq!(told["body"], json!({"subscribe": [handler], "source": source}));
    chat(&mut alpha, &mut beta, "directly");
    assert!(alpha.daemon.row("beta.example").is_none(), "nothing went by the node");
    assert!(beta.daemon.ctl(&["undeploy", "p2p-handler"]).status.success());
    alpha.wait_status("p2p.beta.example", "failed");
    let gone = wait_for("the node is told that it is gone", || paths("unsubscribe").pop());
    assert_eq!(gone["body"], json!({"unsubscribe": [handler]}));
    chat(&mut alpha, &mut beta, "by the node");
    assert_eq!(alpha.status("beta.example"), "live");
    assert!(beta.daemon.ctl(&["deploy", "p2p-handler", "--wait"]).status.success());
    alpha.wait_status("p2p.beta.example", "live");
    chat(&mut alpha, &mut beta, "directly again");
    alpha.daemon.assert_conserved();
    beta.daemon.assert_conserved();
}

/// Says, once it is connected, what none of its domain may say; then that it is done.
const FORGERIES: &str = r"
    const HANDLER = this._remote + '/p2phandler/' + this._remote.split('/').pop();
    const forge = (from, body, type = 'update') => this._socket.send(JSON.stringify({
      id: 99, type, from, to: 'hyperty://beta.example/beta', body }));
    ['hyperty://beta.example/beta', 'hyperty://beta.example/other', 'hyperty://alpha.example/alpha',
      'hyperty://delta.example/x', 'domain://registry.gamma.example', 'domain-idp://gamma.example',
      'hyperty-runtime://gamma.example/another', 'hyperty-runtime://gamma.example/another/registry',
      'user://gamma.example/x', 'sip:x@gamma.example', this._remote, this._remote + '/registry',
      HANDLER, HANDLER + '/status',
    ].forEach((from) => forge(from, {}));
    this._socket.send(JSON.stringify({ id: 98, type: 'update', from: HANDLER, to: HANDLER + '/status',
      body: { value: 'live', resource: 'hyperty-runtime://gamma.example/another' } }));
    forge('hyperty://gamma.example/gamma', { source: 'hyperty://alpha.example/alpha' });
    forge('hyperty://gamma.example/gamma', { done: true });
";

/// Alpha and beta are connected; then gamma comes to beta and says what it may not. What beta's
/// handler and its runtime say to that, and what was refused.
fn forged(beta_papers: &Papers) -> (String, Vec<String>, u64) {
    let papers = Papers::new();
    let said = |code: String| {
        code.replace("this._say('live');\n", &format!("this._say('live');\n{FORGERIES}"))
    };
    let forging = Papers::with(|file, code| match file {
        "p2p-requester.ps.js" => said(code),
        _ => code,
    });
    let (alpha, beta, gamma) = (free_port(), free_port(), free_port());
    let peers = [peer(&papers, "alpha", alpha), peer(&papers, "gamma", gamma)].concat();
    let mut beta_side = Side::start("beta", &(config(beta_papers, "beta", beta) + &peers));
    let to_beta = peer(&papers, "beta", beta);
    let mut alpha_side = Side::start("alpha", &(config(&papers, "alpha", alpha) + &to_beta));
    chat(&mut alpha_side, &mut beta_side, "I am the real one");
    let mut gamma_side = Side::start("gamma", &(config(&forging, "gamma", gamma) + &to_beta));
    gamma_side.app.write(&json!({"type": "update", "to": beta_side.address, "body": {}}));
    let heard = beta_side.hear();
    assert_eq!(heard["from"], "hyperty://gamma.example/gamma", "{heard}");
    assert_eq!(heard["body"]["done"], true, "nothing forged came before: {heard}");
    assert_eq!(beta_side.hear()["from"], json!(gamma_side.address), "what it was connected for");
    chat(&mut alpha_side, &mut beta_side, "still the real one");
    let said = beta_side.daemon.ctl(&["logs", "p2p-handler"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let refused = beta_side.daemon.assert_conserved()["refused"].as_u64();
    (said, beta_side.events("refused"), refused.unwrap_or_default())
}

#[test]
fn attack_023_a_runtime_speaks_for_nobody_but_its_own_domain_and_not_for_the_stub_it_came_to() {
    let (said, ..) = forged(&Papers::new());
    for claim in ["hyperty://alpha.example/alpha", "hyperty://beta.example/beta", "p2phandler/"] {
        let warned = said
            .lines()
            .any(|line| line.contains("gamma.example speaks for ") && line.contains(claim));
        assert!(warned, "{claim}: {said}");
    }
}

#[test]
fn attack_023_nobody_does_by_a_handler_that_checks_nothing_and_what_they_say_is_counted() {
    let careless = Papers::with(|_, code| code.replace("if (forged !== undefined)", "if (false)"));
    let (said, events, refused) = forged(&careless);
    assert!(!said.contains("speaks for"), "it hands all of it on: {said}");
    assert!(events.iter().any(|detail| detail.contains("does not own")), "{events:?}");
    assert!(refused >= 14, "{refused}");
}
