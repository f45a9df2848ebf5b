//! A hundred thousand registered addresses: what each costs in memory, and what so many cost a
//! message, beside the kit's relay, which has a table of them and nothing else.

use crate::figures::{Row, Run, median, print_head};
use crate::memory::kib;
use crate::reference::{Growth, Reference};
use crate::worlds::line;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use system_tests::{Daemon, wait_for};

/// Applications connected.
const MEMBERS: usize = 800;
/// Addresses of each: as many as one may claim.
const EACH: usize = 64;
/// Applications that left: their addresses are kept for their user.
const LEFT: usize = 800;
/// Round trips of one run.
const TRIPS: usize = 1_500;
/// Bytes of a line.
const SIZE: usize = 300;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The one who asks.
const ASKER: &str = "hyperty://localhost/asker";

/// As long, and as little alike, as the kit's.
fn address(number: usize) -> String {
    let host = number % 97;
    let tail = number * 7_919;
    format!("hyperty://localhost/sp{host:02}.example.com.{number:08x}-6b2c-4f0e-9d1a-{tail:012x}")
}

/// A daemon, its applications, and one who talks to all of them.
#[derive(Debug)]
struct Crowd {
    daemon: Daemon,
    asker: UnixStream,
    members: Vec<UnixStream>,
    /// Addresses of each member.
    each: usize,
    random: usize,
}

fn join(daemon: &Daemon, addresses: &[String]) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.bus()).expect("the bus socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let hello = json!({"hello": {"name": "crowd", "addresses": addresses}});
    stream.write_all(format!("{hello}\n").as_bytes()).expect("the daemon reads");
    let welcome = hear(&mut stream);
    assert!(welcome.starts_with(b"{\"welcome\""), "{}", String::from_utf8_lossy(&welcome));
    stream
}

/// The one line that comes next.
fn hear(stream: &mut UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 16_384];
    while all.last() != Some(&b'\n') {
        let count = stream.read(&mut buffer).expect("a line in time");
        assert_ne!(count, 0, "the daemon closed the connection");
        all.extend_from_slice(&buffer[..count]);
    }
    all
}

impl Crowd {
    /// Members with `each` addresses, after `left` applications with as many as one may have.
    fn gather(each: usize, left: usize) -> Self {
        let daemon = Daemon::start("");
        let block = |at: usize, count: usize| (at * EACH..at * EACH + count).map(address).collect();
        let leaving: Vec<UnixStream> = (MEMBERS..MEMBERS + left)
            .map(|at| join(&daemon, &block(at, EACH) as &Vec<String>))
            .collect();
        drop(leaving);
        let members: Vec<UnixStream> =
            (0..MEMBERS).map(|at| join(&daemon, &block(at, each) as &Vec<String>)).collect();
        let asker = join(&daemon, &[ASKER.to_owned()]);
        let crowd = Self { daemon, asker, members, each, random: 1 };
        crowd.wait_kept(ASKER);
        crowd
    }

    /// Until the store has it, and so all that was before it.
    fn wait_kept(&self, text: &str) {
        wait_for("all addresses are kept", || {
            let has = |file: &str| {
                let path = self.daemon.root().join("state").join(file);
                let bytes = std::fs::read(path).unwrap_or_default();
                bytes.windows(text.len()).any(|part| part == text.as_bytes())
            };
            (has("registry.db-wal") || has("registry.db")).then_some(())
        });
    }

    /// Any member, and any address of it.
    fn pick(&mut self) -> (usize, String) {
        // The same walk each time, which is as good as any.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let number = self.random >> 33;
        let (member, claim) = (number % MEMBERS, number / MEMBERS % self.each);
        (member, address(member * EACH + claim))
    }

    /// A question to anybody and the answer, one after the other.
    fn round_trips(&mut self) -> Run {
        let mut times = Vec::with_capacity(TRIPS);
        for at in 0..TRIPS + 50 {
            let (member, to) = self.pick();
            let ask =
                line(&format!(r#"{{"id":1,"type":"read","from":"{ASKER}","to":"{to}""#), SIZE);
            let head = format!(r#"{{"id":1,"type":"response","from":"{to}","to":"{ASKER}""#);
            let answer = line(&head, SIZE);
            let begun = Instant::now();
            self.asker.write_all(&ask).expect("the daemon reads");
            let came = hear(&mut self.members[member]);
            self.members[member].write_all(&answer).expect("the daemon reads");
            let answered = hear(&mut self.asker);
            if at >= 50 {
                times.push(begun.elapsed());
            } else {
                let read: serde_json::Value = serde_json::from_slice(&came).expect("JSON");
                assert_eq!(read["to"], to.as_str());
                assert!(answered.windows(to.len()).any(|part| part == to.as_bytes()));
            }
        }
        Run::of(times)
    }

    fn pss(&self) -> Option<f64> {
        kib(i32::try_from(self.daemon.pid()).expect("a pid"), "smaps_rollup", "Pss:")
    }
}

/// Measures and prints.
pub(crate) fn run(reference: &Reference, rounds: usize) {
    let mut few = Crowd::gather(1, 0);
    let mut many = Crowd::gather(EACH, LEFT);
    let (less, more) = (MEMBERS, (MEMBERS + LEFT) * EACH);
    let mut row = Row::new(format!("app → daemon → app, any of {more} addresses, {SIZE} B"), "");
    let mut lookup = Vec::new();
    for _ in 0..rounds {
        let before = few.round_trips();
        let candidate = many.round_trips();
        let after = few.round_trips();
        lookup.push((candidate.middle - f64::midpoint(before.middle, after.middle)) * 1_000.0);
        row.add(before, candidate, after);
    }
    print_head(&format!("Addresses; the reference is the daemon with {less} of them"), "µs");
    row.print();
    let kit = reference.growth(rounds.min(5));
    if let Some(Growth { few, many, .. }) = &kit {
        let mut row = Row::new("the kit's relay, any of 100000, beside any of 100", "≤ 1.15 (10⁶)");
        for (few, many) in few.iter().zip(many) {
            row.add(*few, *many, *few);
        }
        row.print();
    }
    println!("\n| Each address | daemon | kit's relay | goal |\n|---|---|---|---|");
    let each = |more: &Crowd, less: &Crowd, count: usize| {
        let count = f64::from(u32::try_from(count).expect("a small number"));
        Some((more.pss()? - less.pss()?) * 1_024.0 / count)
    };
    let here = Crowd::gather(EACH, 0);
    let connected = each(&here, &few, MEMBERS * (EACH - 1));
    let kept = each(&many, &here, LEFT * EACH);
    let show = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.0}"));
    let kits = kit.as_ref().map(|kit| kit.bytes_each);
    println!("| connected, bytes of memory (PSS) | {} | {} | ≤ 300 |", show(connected), show(kits));
    println!("| kept for who left, bytes | {} | – | ≤ 300 |", show(kept));
    let of_kit = kit.as_ref().map(|kit| {
        let more: Vec<f64> =
            kit.few.iter().zip(&kit.many).map(|(f, m)| (m.middle - f.middle) * 1_000.0).collect();
        median(&more)
    });
    let of_daemon = Some(median(&lookup));
    println!("| all of them, ns more a round trip | {} | {} | |\n", show(of_daemon), show(of_kit));
}
