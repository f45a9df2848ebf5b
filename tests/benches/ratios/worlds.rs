//! Daemons with something to measure: stubs in JavaScript from a `file://` catalogue, or the echo
//! worker of this program in place of the real one.

use crate::pair::Pair;
use crate::reference::message;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use system_tests::app::App;
use system_tests::catalogue::Folder;
use system_tests::{Daemon, program};

/// The domain whose stub asks.
pub(crate) const PING: &str = "ping.example";
/// The domain whose stub answers.
pub(crate) const PONG: &str = "pong.example";
/// The domain whose stub sends too much.
pub(crate) const FLOOD: &str = "flood.example";
/// Address of application A.
const A: &str = "hyperty://localhost/a";
/// Address of application B.
const B: &str = "hyperty://localhost/b";
/// Address of the application that asks a stub.
const C: &str = "hyperty://localhost/c";

/// A stub that answers, and on `drive` asks its peer so many times, one question at a time. The
/// host has no clock finer than a millisecond, so it tells the mean.
pub(crate) const STUB: &str = r"
export default function activate(url, bus, config) {
  const answer = (m, body) => bus.postMessage(
    { id: m.id, type: 'response', from: m.to, to: m.from, body });
  const ask = (to, value) => new Promise((done) =>
    bus.postMessage({ type: 'read', from: url, to, body: { value } }, done));
  const drive = async (m) => {
    const { peer, count, pad } = m.body.drive;
    const value = 'x'.repeat(pad);
    let wrong = 0;
    for (let i = 0; i < 50; i += 1) await ask(peer, value);
    const begun = Date.now();
    for (let i = 0; i < count; i += 1) {
      const reply = await ask(peer, value);
      if (reply.body.code !== 200) wrong += 1;
    }
    const mean = (Date.now() - begun) * 1000 / count;
    answer(m, { code: 200, wrong, middle: mean, high: null });
  };
  bus.addListener('*', (m) => {
    if (m.type === 'response') return;
    if (m.body && m.body.drive) drive(m);
    else answer(m, { code: 200, value: m.body.value });
  });
  return { name: 'Bench', instance: {} };
}
";

/// A daemon and the catalogue of its domains.
#[derive(Debug)]
pub(crate) struct World {
    /// The daemon.
    pub(crate) daemon: Daemon,
    _catalogue: tempfile::TempDir,
    _programs: Option<tempfile::TempDir>,
}

impl World {
    /// With these domains, whose stubs are in JavaScript.
    pub(crate) fn javascript(domains: &[String]) -> Self {
        let (catalogue, config) = catalogue_of(domains);
        Self { daemon: Daemon::start(&config), _catalogue: catalogue, _programs: None }
    }

    /// With domains whose stubs are the echo worker.
    pub(crate) fn echo(domains: &[&str]) -> Self {
        let domains: Vec<String> = domains.iter().copied().map(str::to_owned).collect();
        let (catalogue, config) = catalogue_of(&domains);
        let programs = echo_programs();
        let daemon = Daemon::start_from(programs.path(), &config);
        Self { daemon, _catalogue: catalogue, _programs: Some(programs) }
    }

    /// Its folder.
    pub(crate) fn root(&self) -> &Path {
        self.daemon.root()
    }

    /// Two applications that exchange JSON lines of `size` bytes, looked at once each.
    pub(crate) fn app_pair(&self, size: usize) -> Pair {
        let (mut a, mut b) = (Client::new(&self.daemon, A), Client::new(&self.daemon, B));
        let (from_a, from_b) =
            (format!(r#""from":"{A}","to":"{B}""#), format!(r#""from":"{B}","to":"{A}""#));
        let ask = line(&format!(r#"{{"id":1,"type":"read",{from_a}"#), size);
        let answer = line(&format!(r#"{{"id":1,"type":"response",{from_b}"#), size);
        let tell = line(&format!(r#"{{"id":2,"type":"update",{from_a}"#), size);
        let asked = b.hear_after(&mut a, &ask);
        let answered = a.hear_after(&mut b, &answer);
        let told = b.hear_after(&mut a, &tell);
        Pair { a: a.stream, b: b.stream, ask, asked, answer, answered, tell, told }
    }

    /// An application and the stub of [`PONG`], which answers by itself: the stream, what it
    /// asks, and how long the answers are.
    pub(crate) fn stub_pair(&self, size: usize) -> (UnixStream, Vec<u8>, usize) {
        let mut client = Client::new(&self.daemon, C);
        let to = format!("hyperty://{PONG}/bob");
        let head = format!(r#"{{"id":1,"type":"read","from":"{C}","to":"{to}""#);
        let ask = line(&head, size);
        client.stream.write_all(&ask).expect("the daemon reads");
        let (answer, bytes) = client.hear();
        assert_eq!(answer["body"]["code"], 200, "{answer}");
        (client.stream, ask, bytes)
    }

    /// An application that may tell stubs what to do.
    pub(crate) fn driver(&self, name: &str) -> App {
        App::connect(&self.daemon.bus(), name, &[&format!("hyperty://localhost/{name}")])
    }
}

fn catalogue_of(domains: &[String]) -> (tempfile::TempDir, String) {
    let folder = tempfile::Builder::new().prefix("cat-").tempdir().expect("a folder");
    let catalogue = Folder::new(folder.path());
    catalogue.stub(STUB);
    let url = catalogue.url();
    // Every kill is the first of its window: started again at once, never quarantined.
    let mut config = "[supervision]\nwindow = \"10ms\"\n".to_owned();
    for domain in domains {
        writeln!(config, "[domain.\"{domain}\"]\ncatalogue = \"{url}\"").expect("memory");
    }
    (folder, config)
}

/// A folder with the daemon, and with this program where it looks for its worker.
fn echo_programs() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("echo-").tempdir().expect("a folder");
    // Workers have a uid of their own and must get in.
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), everybody).expect("our folder");
    fs::copy(program("runtimed"), folder.path().join("runtimed")).expect("a copy");
    let real = folder.path().join("real-worker");
    fs::copy(program("sandbox-worker"), &real).expect("a copy");
    let own = std::env::current_exe().expect("this program");
    let image = folder.path().join("sandbox-worker");
    fs::copy(own, &image).expect("a copy");
    crate::echo::name_real_worker(&image, &real);
    folder
}

/// A JSON line that begins like this and is made `size` bytes long by its body.
pub(crate) fn line(head: &str, size: usize) -> Vec<u8> {
    let mut line = message(head, size.saturating_sub(1));
    line.push(b'\n');
    line
}

/// An application that can be looked at and then handed over as a bare stream.
#[derive(Debug)]
struct Client {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Client {
    fn new(daemon: &Daemon, address: &str) -> Self {
        let stream = UnixStream::connect(daemon.bus()).expect("the bus socket");
        let lines = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut client = Self { stream, lines };
        let hello = json!({"hello": {"name": "bench", "addresses": [address]}});
        client.stream.write_all(format!("{hello}\n").as_bytes()).expect("the daemon reads");
        let (welcome, _) = client.hear();
        assert!(welcome.get("welcome").is_some(), "{welcome}");
        client
    }

    fn hear(&mut self) -> (Value, usize) {
        let mut line = String::new();
        let bytes = self.lines.read_line(&mut line).expect("a line");
        (serde_json::from_str(&line).expect("a line of JSON"), bytes)
    }

    /// What comes here after `other` wrote this: as many bytes as every time from now on.
    fn hear_after(&mut self, other: &mut Self, line: &[u8]) -> usize {
        other.stream.write_all(line).expect("the daemon reads");
        let sent: Value = serde_json::from_slice(line).expect("JSON");
        let (came, bytes) = self.hear();
        for member in ["id", "type", "from", "to", "body"] {
            assert_eq!(came[member], sent[member], "{member}");
        }
        bytes
    }
}
