//! The configuration is read again while the core lives.

use super::bench::{ALICE, BOB, Bench, REMOTE, RUNTIME, message, request, settings};
use crate::input::Input;
use crate::settings::Settings;
use protocol::message::MessageType;

fn configure(bench: &mut Bench, settings: Settings) {
    bench.input(Input::Configured { settings: Box::new(settings) });
}

#[test]
fn other_bounds_hold_from_now_on_and_what_waits_stays() {
    let mut bench = Bench::new();
    bench.willing = false;
    let alice = bench.app(&[ALICE]);
    bench.send(alice, message(MessageType::Update, "1", ALICE, REMOTE));
    bench.send(alice, message(MessageType::Update, "2", ALICE, REMOTE));
    configure(&mut bench, Settings { parked_messages: 2, ..settings() });
    bench.send(alice, request("3", ALICE, REMOTE));
    let refused = bench.refusal(alice).expect("the queue is full by the new bound");
    assert_eq!((refused.0.as_str(), refused.1), ("3", 503));
    assert_eq!(bench.core.counters().queued, 2);
    configure(&mut bench, settings());
    bench.send(alice, request("4", ALICE, REMOTE));
    assert_eq!(bench.refusal(alice), None);
    assert_eq!(bench.core.counters().queued, 3);
    assert_eq!(bench.core.check(), Ok(()));
}

#[test]
fn a_request_has_the_deadline_that_held_when_it_came() {
    let mut bench = Bench::new();
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    bench.send(alice, request("1", ALICE, BOB));
    configure(&mut bench, Settings { default_deadline_ms: 1_000, ..settings() });
    bench.send(alice, request("2", ALICE, BOB));
    bench.input(Input::Disposed { link: bob, frames: 2, bytes: 0 });
    bench.now += 1_500;
    bench.input(Input::Tick);
    let late = bench.refusal(alice).expect("the second is late");
    assert_eq!((late.0.as_str(), late.1), ("2", 408));
    assert_eq!(bench.refusal(alice), None);
}

#[test]
fn who_the_runtime_is_does_not_change() {
    let mut bench = Bench::new();
    configure(&mut bench, Settings::default());
    let now = &bench.core.settings;
    assert_eq!((now.runtime_url.as_str(), now.domain.as_str()), (RUNTIME, "home.example"));
    assert!(now.domains.is_empty(), "everything else does");
    let alice = bench.app(&[ALICE]);
    let bob = bench.app(&[BOB]);
    bench.send(alice, request("1", ALICE, BOB));
    assert_eq!(bench.ids(bob).len(), 1);
}
