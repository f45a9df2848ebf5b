//! What the candidates are compared with: the programs of the reference kit if its folder is given,
//! else the relay of this program.

use crate::figures::Run;
use crate::pair::Pair;
use crate::relay;
use serde_json::Value;
use std::fmt::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use system_tests::wait_for;

/// The kit's confined process with an event loop and `QuickJS`.
const KIT_WORKER: &str = "worker-tokio-quickjs";

/// Which programs.
#[derive(Debug)]
pub(crate) enum Reference {
    /// The relay of this program.
    Own,
    /// The kit's, in this folder.
    Kit(PathBuf),
}

/// A relay that runs; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Relay {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It ends by nothing else; if it has ended, nothing is left to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Reference {
    /// The kit's programs, or those here if there is no kit.
    pub(crate) fn choose(kit: Option<&Path>) -> Self {
        let Some(kit) = kit else { return Self::Own };
        let relay = kit.join("target/release/relay");
        assert!(relay.exists(), "BENCH_KIT: there is no {}; build the kit", relay.display());
        Self::Kit(kit.to_owned())
    }

    /// A sentence.
    pub(crate) fn said(&self) -> &'static str {
        match self {
            Self::Own => {
                "reference: the epoll relay of this bench (BENCH_KIT is not set); \
                 there is none for starts and memory"
            }
            Self::Kit(_) => {
                "reference: the kit's epoll relay and confined QuickJS worker (BENCH_KIT)"
            }
        }
    }

    /// Starts the relay.
    pub(crate) fn relay(&self) -> Relay {
        let folder = tempfile::Builder::new().prefix("rel-").tempdir().expect("a folder");
        let socket = folder.path().join("s");
        let mut command = match self {
            Self::Own => {
                let mut own = Command::new(std::env::current_exe().expect("this program"));
                own.arg("--relay");
                own
            }
            Self::Kit(kit) => {
                let mut kit = Command::new(kit.join("target/release/relay"));
                kit.args(["epoll", "hdr"]);
                kit
            }
        };
        let child = command.arg(socket).stdin(Stdio::null()).spawn().expect("the relay starts");
        Relay { child, folder }
    }

    /// Starts of the kit's worker in its jail: the time to its first word, and from its kill to
    /// the end of its link. `None` without a kit.
    pub(crate) fn starts(&self, count: usize) -> Option<(Run, f64)> {
        let figures = self.spawn_figures(KIT_WORKER, count)?;
        let number = |name: &str| figures[name].as_f64().expect("a figure of the kit");
        let run = Run { middle: number("p50_us"), high: number("p99_us") };
        Some((run, number("kill_eof_p50_us")))
    }

    /// PSS in KiB of one of so many idle workers of the kit. `None` without a kit.
    pub(crate) fn idle_pss(&self, count: usize) -> Option<f64> {
        self.spawn_figures(&format!("mem:{KIT_WORKER}"), count)?["each_pss_kb"].as_f64()
    }

    fn spawn_figures(&self, what: &str, count: usize) -> Option<Value> {
        let Self::Kit(kit) = self else { return None };
        let output = Command::new(kit.join("target/release/spawn"))
            .args([what, &count.to_string()])
            .env("TINY", kit.join("tiny/tiny"))
            .env("WORKER", kit.join("target/x86_64-unknown-linux-gnu/release/worker"))
            .stdin(Stdio::null())
            .output()
            .expect("the kit's spawn runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
        if line.is_none() {
            println!("the kit's {what} failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        line
    }
}

/// What the kit's relay does with a hundred and with a hundred thousand addresses, run by run.
#[derive(Debug)]
pub(crate) struct Growth {
    /// Round trips with few.
    pub(crate) few: Vec<Run>,
    /// With many.
    pub(crate) many: Vec<Run>,
    /// Bytes of memory for each.
    pub(crate) bytes_each: f64,
}

impl Reference {
    /// The kit's own measurement, so many times each. `None` without a kit.
    pub(crate) fn growth(&self, times: usize) -> Option<Growth> {
        let Self::Kit(kit) = self else { return None };
        let (mut few, mut many, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..times {
            let (less, small) = self.scale(kit, 100);
            let (more, large) = self.scale(kit, 100_000);
            few.push(small);
            many.push(large);
            bytes.push((more - less) * 1_024.0 / 99_900.0);
        }
        Some(Growth { few, many, bytes_each: crate::figures::median(&bytes) })
    }

    /// PSS in KiB and round trips of a relay with a hundred connections and so many addresses.
    fn scale(&self, kit: &Path, addresses: usize) -> (f64, Run) {
        let relay = self.relay();
        let socket = relay.folder.path().join("s");
        wait_for("the relay listens", || UnixStream::connect(&socket).ok());
        let output = Command::new(kit.join("target/release/msgbench"))
            .arg("raw")
            .arg(&socket)
            .args(["scale", "300", "2000", &format!("100,{addresses},{}", relay.child.id())])
            .stdin(Stdio::null())
            .output()
            .expect("the kit's msgbench runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let figures: Value = serde_json::from_str(said.trim()).expect("figures of the kit");
        let number = |name: &str| figures[name].as_f64().expect("a figure of the kit");
        (number("broker_pss_kb"), Run { middle: number("p50_us"), high: number("p99_us") })
    }
}

impl Relay {
    /// Two clients that exchange JSON messages of `size` bytes.
    pub(crate) fn pair(&self, size: usize) -> Pair {
        let (a, b) = (self.client("a"), self.client("b"));
        let payload = message(r#"{"id":1,"type":"read","from":"a","to":"b""#, size);
        let (mut ask, mut answer) = (Vec::new(), Vec::new());
        relay::frame("b", &payload, &mut ask);
        relay::frame("a", &payload, &mut answer);
        let (asked, answered) = (ask.len(), answer.len());
        Pair { a, b, tell: ask.clone(), told: asked, ask, asked, answer, answered }
    }

    fn client(&self, address: &str) -> UnixStream {
        use std::io::{Read as _, Write as _};
        let socket = self.folder.path().join("s");
        let mut stream = wait_for("the relay listens", || UnixStream::connect(&socket).ok());
        // A message to oneself comes back: then the address is known.
        let mut greeting = Vec::new();
        relay::frame(address, b"here", &mut greeting);
        stream.write_all(&relay::registration(address)).expect("the relay reads");
        stream.write_all(&greeting).expect("the relay reads");
        let mut back = vec![0; greeting.len()];
        stream.read_exact(&mut back).expect("the relay answers");
        assert_eq!(back, greeting);
        stream
    }
}

/// A JSON message that begins like this and is made `size` bytes long by its body.
pub(crate) fn message(head: &str, size: usize) -> Vec<u8> {
    let mut text = format!(r#"{head},"body":{{"code":200,"value":""#);
    let tail = r#""}}"#;
    let padding = size.saturating_sub(text.len() + tail.len());
    for letter in ('a'..='z').cycle().take(padding) {
        text.write_char(letter).expect("memory");
    }
    text.push_str(tail);
    text.into_bytes()
}
