//! What the daemon hands on from strangers is shown as text and never obeyed by a terminal: a daemon
//! of the test's own answers every command with all that could do harm.

#![allow(clippy::unwrap_used, reason = "tests")]

use protocol::control::{
    Denial, EventRow, InspectReply, MonitorRow, PsRow, Reply, ResolveReply, ResolveStep,
    SandboxReply, StatusReply,
};
use protocol::ctl::ProofReport;
use protocol::text::is_hidden;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};

/// Clears, colours, turns and hides, and begins a line of its own.
const BAD: &str = "x\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\rFORGED\nFORGED\u{7f}\u{200b}\u{e0041}\té";

fn bad() -> String {
    BAD.to_owned()
}

/// `runtimectl` with a daemon that answers it with these.
fn answered(args: &[&str], replies: &[Reply]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let bytes: Vec<u8> = replies.iter().flat_map(|reply| reply.encode().unwrap()).collect();
    let daemon = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut len = [0; 4];
        stream.read_exact(&mut len).unwrap();
        stream.write_all(&bytes).unwrap();
    });
    let output = Command::new(env!("CARGO_BIN_EXE_runtimectl"))
        .env_remove("RUNTIMED_ROOT")
        .env_remove("RUNTIMED_SOCKET")
        .args(args)
        .arg("--socket")
        .arg(&socket)
        .output()
        .unwrap();
    daemon.join().unwrap();
    output
}

/// What it printed, which no terminal obeys.
fn harmless(args: &[&str], replies: &[Reply]) -> String {
    let Output { stdout, stderr, .. } = answered(args, replies);
    let shown = String::from_utf8([stdout, stderr].concat()).unwrap();
    let obeyed: Vec<char> = shown.chars().filter(|c| *c != '\n' && is_hidden(*c)).collect();
    assert!(obeyed.is_empty(), "{args:?}: {obeyed:?} in {shown:?}");
    assert!(shown.contains("FORGED") && shown.contains('é'), "{args:?}: {shown:?}");
    shown
}

fn row() -> PsRow {
    PsRow {
        name: bad(),
        url: bad(),
        kind: bad(),
        engine: bad(),
        domain: bad(),
        state: bad(),
        status: bad(),
        level: bad(),
        layers: vec![bad()],
        digest: Some(bad()),
        source: Some(bad()),
        pin: Some(bad()),
        ..PsRow::default()
    }
}

fn inspect() -> Reply {
    Reply::Inspect(Box::new(InspectReply {
        row: row(),
        granted: vec![bad()],
        not_granted: vec![bad()],
        proof: vec![bad()],
        missing: vec![bad()],
        last_error: Some(bad()),
        stages: vec![(bad(), 1)],
        attacks: ProofReport { probes: 1, failures: vec![bad()], ..ProofReport::default() },
        ..InspectReply::default()
    }))
}

fn sandbox() -> Reply {
    Reply::Sandbox(Box::new(SandboxReply {
        address: bad(),
        role: bad(),
        name: bad(),
        layers: vec![bad()],
        missing: vec![bad()],
        ..SandboxReply::default()
    }))
}

fn resolve() -> Reply {
    let step = ResolveStep { step: bad(), key: bad(), found: true, detail: bad() };
    let (address, decision) = (bad(), bad());
    Reply::Resolve(Box::new(ResolveReply { address, steps: vec![step], decision, reason: None }))
}

fn status() -> Reply {
    Reply::Status(Box::new(StatusReply {
        runtime: bad(),
        states: vec![(bad(), 1)],
        store: Some(bad()),
        ..StatusReply::default()
    }))
}

fn monitor(body: &str) -> Reply {
    Reply::Monitor(Box::new(MonitorRow {
        time_ms: 0,
        dir: bad(),
        link: bad(),
        kind: bad(),
        id: bad(),
        from: bad(),
        to: bad(),
        bytes: 1,
        outcome: bad(),
        body: Some(body.to_owned()),
    }))
}

fn event() -> Reply {
    Reply::Event(Box::new(EventRow {
        time_ms: 0,
        seq: 1,
        event: bad(),
        name: bad(),
        sandbox: None,
        reason: Some(bad()),
        detail: bad(),
    }))
}

fn log() -> Reply {
    Reply::Log { time_ms: 0, text: bad() }
}

fn denied() -> Reply {
    let (denial, stage, text) = (Denial::Failed, Some(bad()), bad());
    Reply::Denied { denial, code: None, reason: None, stage, text }
}

/// JSON as a peer may have sent it, and its value.
fn body() -> (String, Value) {
    let value = json!({ BAD: [BAD] });
    // The peer escapes only what JSON demands.
    (value.to_string(), value)
}

#[test]
fn no_command_lets_a_stranger_write_to_the_terminal() {
    let response = Reply::Response { code: 200, from: bad(), body: body().0 };
    let torn = Reply::Response { code: 200, from: bad(), body: format!("{{{BAD}") };
    for (args, replies) in [
        (&["status"][..], vec![status()]),
        (&["ps"], vec![Reply::Ps(vec![row(), row()])]),
        (&["inspect", "x"], vec![inspect()]),
        (&["sandbox", "x"], vec![sandbox()]),
        (&["resolve", "x"], vec![resolve()]),
        (&["deploy", "x"], vec![Reply::Deployed(Box::new(row()))]),
        (&["call", "x"], vec![response]),
        (&["call", "x"], vec![torn]),
        (&["monitor", "--body"], vec![monitor(&body().0), monitor(BAD), Reply::Done]),
        (&["events"], vec![event(), Reply::Done]),
        (&["logs", "x"], vec![log(), Reply::Done]),
        (&["undeploy", "x"], vec![denied()]),
        (&["undeploy", "x"], vec![log()]),
    ] {
        for format in ["table", "json", "ndjson"] {
            let shown = harmless(&[&["-o", format], args].concat(), &replies);
            let forged = shown.lines().any(|line| line.trim_start().starts_with("FORGED"));
            assert!(!forged, "{args:?} {format}: a line of a stranger's own in {shown}");
        }
    }
}

#[test]
fn json_says_exactly_what_came() {
    let (text, value) = body();
    let shown = harmless(&["-o", "json", "monitor", "--body"], &[monitor(&text), Reply::Done]);
    let told: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&told["id"], &told["body"]), (&json!(BAD), &value));
    let shown = harmless(&["-o", "json", "ps"], &[Reply::Ps(vec![row()])]);
    let rows: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(rows[0]["name"], BAD);
    let reply = Reply::Response { code: 200, from: bad(), body: text };
    let shown: Value = serde_json::from_str(&harmless(&["call", "x"], &[reply])).unwrap();
    assert_eq!(shown, value, "for people, too");
}
