//! Stubs that would rest, and do not while something goes through them.

use super::bench::{ALICE, Bench, REMOTE, RUNTIME, message, request, response, settings};
use crate::input::Input;
use crate::settings::Settings;
use protocol::frame::flags;
use protocol::message::MessageType;

const IDLE_MS: u64 = 1_000;

fn bench() -> Bench {
    Bench::with(Settings { idle_ms: IDLE_MS, ..settings() })
}

/// Reasons of all ends so far.
fn ends(bench: &Bench) -> Vec<String> {
    bench.events("exited").into_iter().filter_map(|event| event.reason).collect()
}

#[test]
fn a_stub_rests_only_when_nothing_is_pending_at_it() {
    let mut bench = bench();
    let alice = bench.app(&[ALICE]);
    let (_, stub, _) = bench.stub("far.example");
    bench.send(alice, request("1", ALICE, REMOTE));
    bench.pass(12_000);
    assert!(ends(&bench).is_empty(), "it owes an answer");
    bench.send(stub, response("1", REMOTE, ALICE, 200));
    assert_eq!(bench.ids(alice), ["1"]);
    bench.pass(2 * IDLE_MS);
    assert_eq!(ends(&bench), ["idle"]);
}

#[test]
fn a_stub_rests_only_when_it_waits_for_no_answer_itself() {
    let mut bench = bench();
    let alice = bench.app(&[ALICE]);
    let (_, stub, _) = bench.stub("far.example");
    bench.send(stub, request("1", REMOTE, ALICE));
    bench.pass(12_000);
    assert!(ends(&bench).is_empty(), "it is owed an answer");
    bench.send(alice, response("1", ALICE, REMOTE, 200));
    bench.input(Input::Disposed { link: stub, frames: 1, bytes: 0 });
    bench.pass(2 * IDLE_MS);
    assert_eq!(ends(&bench), ["idle"]);
}

#[test]
fn a_stub_that_speaks_is_not_idle() {
    let mut bench = bench();
    bench.app(&[ALICE]);
    let (_, stub, _) = bench.stub("far.example");
    for _ in 0..20 {
        bench.pass(IDLE_MS * 2 / 3);
        bench.send(stub, message(MessageType::Update, "1", REMOTE, ALICE));
    }
    bench.pass(IDLE_MS - 1);
    assert!(ends(&bench).is_empty());
    bench.pass(1);
    assert_eq!(ends(&bench), ["idle"]);
}

#[test]
fn a_stub_rests_only_when_nothing_is_subscribed_through_it() {
    let mut bench = bench();
    let (_, stub, url) = bench.stub("far.example");
    let at = format!("{RUNTIME}/subscriptions");
    let body = format!(r#"{{"resources":["{url}/status"]}}"#);
    let ask = |kind| message(kind, "1", &url, &at).flag(flags::REPLY).body(body.as_bytes());
    bench.send(stub, ask(MessageType::Subscribe));
    bench.pass(20 * IDLE_MS);
    assert!(ends(&bench).is_empty());
    bench.send(stub, ask(MessageType::Unsubscribe));
    bench.pass(2 * IDLE_MS);
    assert_eq!(ends(&bench), ["idle"]);
}
