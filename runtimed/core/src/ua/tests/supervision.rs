//! Stubs that die, hang and are stopped.

use super::world::{Step, World, key};
use crate::effect::Attach;
use crate::input::{Exit, Time};
use crate::settings::Settings;
use crate::ua::{StubRoute, UaInput, UaOut};
use protocol::control::Command;
use protocol::ctl::{CtlDown, CtlUp, Role};
use protocol::reason::Reason;

pub(super) fn name() -> String {
    "example.com".to_owned()
}

pub(super) fn downs(world: &World) -> Vec<(bool, Reason)> {
    let down = |out: &UaOut| match out {
        UaOut::Down { again, refusal, .. } => Some((*again, refusal.reason)),
        _ => None,
    };
    world.outs.iter().filter_map(down).collect()
}

/// Kills the stub as soon as one is active; says how long it took until it was.
pub(super) fn crash(world: &mut World) -> u64 {
    let before = world.now;
    world.pass(0);
    for _step in 0..100_000 {
        if matches!(world.route("example.com"), StubRoute::Ready { .. }) {
            break;
        }
        world.pass(10);
    }
    let id = world.stub();
    let took = world.now - before;
    world.dies(id, Exit::Signal(9));
    took
}

#[test]
fn a_killed_stub_comes_back_at_once_with_the_same_address_and_code_and_no_fetch() {
    let mut world = World::new();
    let id = world.active("example.com");
    let before = world.ps("example.com");
    world.dies(id, Exit::Signal(9));
    assert_eq!(downs(&world), [(true, Reason::StubDied)]);
    world.pass(0);
    assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
    let after = world.ps("example.com");
    assert_eq!((&after.url, &after.digest, after.restarts), (&before.url, &before.digest, 1));
    assert_ne!((after.pid, after.sandbox_id), (before.pid, before.sandbox_id));
    assert_eq!((world.jobs.len(), world.assigns.len()), (1, 2));
    assert_eq!(world.assigns[0].2, world.assigns[1].2, "the code that was kept");
    assert!(matches!(world.assigns[1].2, Attach::Code(_)));
    assert_eq!(world.events_named("exited").len(), 1);
}

#[test]
fn between_death_and_return_messages_wait() {
    let mut world = World::new().holding(&[]);
    let id = world.active("example.com");
    world.held.insert(Step::Activate);
    world.dies(id, Exit::Signal(6));
    assert_eq!(world.message("example.com"), StubRoute::Deploying);
    world.pass(0);
    assert_eq!(world.message("example.com"), StubRoute::Deploying);
    let id = world.stub();
    world.up(id, CtlUp::Activated { name: String::new() });
    let actives = world.outs.iter().filter(|out| matches!(out, UaOut::Active { .. })).count();
    assert_eq!(actives, 2);
}

#[test]
fn restarts_wait_longer_each_time_within_twenty_percent() {
    let mut world = World::new();
    world.active("example.com");
    let waits: Vec<u64> = (0..6).map(|_| crash(&mut world)).collect();
    assert_eq!(waits[..2], [0, 0], "{waits:?}");
    for (wait, expected) in waits[2..].iter().zip([200, 800, 3_200, 12_800]) {
        let range = expected * 8 / 10..=expected * 12 / 10 + 10;
        assert!(range.contains(wait), "{wait} is not about {expected}: {waits:?}");
    }
}

#[test]
fn exits_that_are_far_apart_never_add_up() {
    let mut world = World::with(&Settings { idle_ms: 10_000_000, ..Settings::default() });
    world.active("example.com");
    for _exit in 0..20 {
        crash(&mut world);
        world.pass(61_000);
        assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
    }
    assert!(world.events_named("quarantined").is_empty());
}

#[test]
fn exits_that_the_operator_asked_for_do_not_count() {
    let mut world = World::new();
    world.active("example.com");
    for _restart in 0..10 {
        world.ask_later(Command::Restart { name: name() });
        world.pass(0);
        assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
    }
    for _kill in 0..10 {
        world.ask_later(Command::Kill { name: name(), signal: 9 });
        world.pass(0);
        assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
    }
    assert!(world.events_named("quarantined").is_empty());
}

#[test]
fn every_kind_of_exit_has_its_word() {
    for (exit, word) in [
        (Exit::Code(0), "clean"),
        (Exit::Code(3), "exit"),
        (Exit::Signal(11), "crash"),
        (Exit::Unknown, "unknown"),
    ] {
        let mut world = World::new();
        let id = world.active("example.com");
        world.dies(id, exit);
        let rows = world.events_named("exited");
        let row = rows.iter().find(|row| row.sandbox == Some(id.0)).expect("an event");
        let said = format!("{} {}", row.reason.clone().unwrap_or_default(), row.detail);
        assert!(said.contains(word), "{exit:?}: {said}");
    }
}

#[test]
fn an_engine_that_misses_two_heartbeats_is_killed_as_hung_and_comes_back() {
    let mut world = World::new();
    let id = world.active("example.com");
    world.held.insert(Step::Ping);
    world.pass(5_001);
    world.input(UaInput::Heartbeat { sandbox: id, answered: false });
    assert!(!world.killed.contains(&id), "one is not enough");
    world.pass(5_001);
    world.input(UaInput::Heartbeat { sandbox: id, answered: false });
    assert!(world.killed.contains(&id));
    let rows = world.events_named("exited");
    let row = rows.iter().find(|row| row.sandbox == Some(id.0)).expect("an event");
    assert_eq!(row.reason.as_deref(), Some("hang"));
    world.pass(100);
    assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
}

#[test]
fn one_missed_heartbeat_is_forgiven_by_the_next() {
    let mut world = World::new();
    let id = world.active("example.com");
    for _beat in 0..10 {
        world.input(UaInput::Heartbeat { sandbox: id, answered: false });
        world.input(UaInput::Heartbeat { sandbox: id, answered: true });
    }
    assert!(world.killed.iter().all(|killed| *killed != id));
}

#[test]
fn silence_alone_restarts_nothing() {
    let mut world = World::with(&Settings { idle_ms: 10_000_000, ..Settings::default() });
    let id = world.active("example.com");
    world.pass(3_600_000);
    assert_eq!(world.stub(), id);
}

#[test]
fn a_breach_of_the_link_ends_the_stub_with_reason_protocol() {
    let mut world = World::new();
    let id = world.active("example.com");
    world.input(UaInput::Violation { sandbox: id, text: "credit".to_owned() });
    assert!(world.killed.contains(&id));
    let rows = world.events_named("exited");
    let row = rows.iter().find(|row| row.sandbox == Some(id.0)).expect("an event");
    assert_eq!(row.reason.as_deref(), Some("protocol"));
    assert_eq!(world.ps("example.com").restarts, 1);
}

#[test]
fn the_runtime_says_on_the_bus_that_a_stub_is_disconnected() {
    let mut world = World::new();
    let id = world.active("example.com");
    let url = world.ua.components[&key("example.com")].url.clone();
    world.outs.clear();
    world.dies(id, Exit::Signal(9));
    let said: Vec<(String, serde_json::Value)> = world
        .outs
        .iter()
        .filter_map(|out| match out {
            UaOut::Publish { resource, body, .. } => {
                Some((resource.to_string(), serde_json::from_str(body).unwrap()))
            }
            _ => None,
        })
        .collect();
    let dead: Vec<_> = said.iter().filter(|(_, body)| body["value"] == "disconnected").collect();
    assert_eq!(dead.len(), 2, "{said:?}");
    assert_eq!(dead[0].0, format!("{url}/status"));
    assert_eq!(dead[1].0, "hyperty-runtime://localhost/runtime/status");
    assert!(dead.iter().all(|(_, body)| body["resource"] == url.as_str()));
}

#[test]
fn a_status_counts_only_from_the_stub_itself() {
    let mut world = World::new();
    world.active("example.com");
    world.active("other.example");
    let url = |world: &World, domain| world.ua.components[&key(domain)].url.clone();
    let (mine, other) = (url(&world, "example.com"), url(&world, "other.example"));
    let now = world.time();
    let mut say = |from, to: &protocol::address::Address, body: &str| {
        let mut out = Vec::new();
        world.ua.status_message(now, from, &to.child("status").unwrap(), body.as_bytes(), &mut out)
    };
    assert!(!say(&other, &mine, r#"{"value":"failed"}"#));
    assert!(!say(&mine, &mine, r#"{"value":"nonsense"}"#));
    assert!(!say(&mine, &mine, "not json"));
    assert!(say(&mine, &mine, r#"{"value":"CONNECTED"}"#));
    let long = format!(r#"{{"value":"live","desc":"{}"}}"#, "x".repeat(70_000));
    assert!(!say(&mine, &mine, &long), "longer than what is read");
    assert_eq!(world.ps("example.com").status, "live");
    assert_eq!(world.ps("other.example").status, "none");
}

#[test]
fn stopping_removes_active_stubs_kills_the_rest_and_says_when_all_are_gone() {
    let mut world = World::new().holding(&[Step::Fetch]);
    world.held.clear();
    let id = world.active("example.com");
    world.held.extend([Step::Fetch, Step::Remove]);
    world.message("slow.example");
    world.input(UaInput::Stop);
    let stopped = |world: &World| {
        let stopped = UaOut::Effect(crate::effect::Effect::Stopped);
        world.outs.iter().filter(|out| **out == stopped).count()
    };
    assert_eq!(world.of(Role::Fetch).len(), 0);
    assert_eq!(world.of(Role::Stub), [id], "it has its grace");
    assert!(matches!(world.said_to(id).last(), Some(CtlDown::Remove { grace_ms: 2_000 })));
    assert_eq!(stopped(&world), 0);
    let StubRoute::Refused(refusal) = world.message("new.example") else { panic!() };
    assert_eq!(refusal.reason, Reason::Stopping);
    world.pass(2_001);
    assert!(world.killed.contains(&id) && world.alive.is_empty());
    assert_eq!(stopped(&world), 1);
    assert!(world.codes.len() <= 1);
}

#[test]
fn a_stub_that_says_goodbye_over_its_connection_can_and_does_not_keep_the_daemon() {
    let mut world = World::new();
    let id = world.active("example.com");
    world.connect(id, 1, "node.example.com", 443);
    let net = world.of(Role::Net)[0];
    world.held.insert(Step::Remove);
    world.input(UaInput::Stop);
    assert!(world.alive.contains_key(&net), "its relays carry the goodbye");
    world.connect(id, 2, "node.example.com", 443);
    world.dies(id, Exit::Code(0));
    assert!(world.alive.is_empty());
    assert!(world.outs.contains(&UaOut::Effect(crate::effect::Effect::Stopped)));
}

#[test]
fn a_stub_that_connects_while_all_stops_starts_no_net_role() {
    let mut world = World::new().holding(&[Step::Remove]);
    let id = world.active("example.com");
    world.input(UaInput::Stop);
    world.connect(id, 1, "node.example.com", 443);
    assert!(world.of(Role::Net).is_empty());
    world.dies(id, Exit::Code(0));
    assert!(world.outs.contains(&UaOut::Effect(crate::effect::Effect::Stopped)));
}

#[test]
fn an_operator_who_waits_for_a_deploy_is_told_that_all_stops() {
    let mut world = World::new().holding(&[Step::Fetch]);
    let command = Command::Deploy { target: name(), wait: true, live: false };
    let token = world.operator(command);
    world.input(UaInput::Stop);
    let replies = world.replies(token);
    let stopping = Some(Reason::Stopping);
    let told = matches!(&replies[..], [protocol::control::Reply::Denied { reason, .. }] if *reason == stopping);
    assert!(told, "{replies:?}");
}

#[test]
fn with_nothing_running_stopping_is_done_at_once() {
    let mut world = World::new();
    world.input(UaInput::Stop);
    assert!(world.outs.contains(&UaOut::Effect(crate::effect::Effect::Stopped)));
}

#[test]
fn time_that_stands_still_asks_for_nothing() {
    let mut world = World::new();
    assert_eq!(world.next_deadline(), None);
    world.active("example.com");
    let next = world.next_deadline().expect("a heartbeat");
    assert!(next > Time(world.now));
}
