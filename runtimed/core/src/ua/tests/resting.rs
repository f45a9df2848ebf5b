//! Stubs that rest: in quarantine because they failed too often, dormant because nobody needs them.

use super::supervision::{crash, downs, name};
use super::world::{Step, World, key};
use crate::input::Exit;
use crate::limits::{QUARANTINE_MS, QUARANTINE_REARM_MS};
use crate::settings::Settings;
use crate::ua::StubRoute;
use protocol::control::Command;
use protocol::ctl::{CtlDown, CtlUp, Role, Target};
use protocol::reason::Reason;

#[test]
fn the_sixth_exit_within_the_window_is_a_quarantine_that_ends_by_itself() {
    let mut world = World::new();
    world.active("example.com");
    for n in 1..=6 {
        assert_eq!(world.events_named("quarantined").len(), 0, "before exit {n}");
        crash(&mut world);
    }
    assert_eq!(world.events_named("quarantined").len(), 1);
    assert_eq!(world.ps("example.com").state, "quarantined");
    let StubRoute::Refused(refusal) = world.message("example.com") else { panic!() };
    assert_eq!(refusal.reason, Reason::Quarantined);
    assert!(refusal.retry_after_ms.is_some_and(|ms| ms <= QUARANTINE_MS[0] && ms > 0));
    assert_eq!(downs(&world).last(), Some(&(false, Reason::Quarantined)));
    assert!(world.of(Role::Stub).is_empty());
    world.pass(QUARANTINE_MS[0] - 1);
    assert_eq!(world.ps("example.com").state, "quarantined");
    world.pass(1);
    world.message("example.com");
    assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
}

/// Crashes until it rests, and says for how long.
fn until_quarantined(world: &mut World) -> u64 {
    for _exit in 0..20 {
        if let StubRoute::Refused(refusal) = world.route("example.com") {
            assert_eq!(refusal.reason, Reason::Quarantined);
            return refusal.retry_after_ms.expect("says when");
        }
        world.message("example.com");
        crash(world);
    }
    panic!("never quarantined");
}

#[test]
fn each_quarantine_is_longer_until_ten_minutes_active_arm_it_again() {
    let mut world = World::with(&Settings { idle_ms: 10_000_000, ..Settings::default() });
    world.active("example.com");
    for ms in QUARANTINE_MS.iter().chain(QUARANTINE_MS.last()) {
        assert_eq!(until_quarantined(&mut world), *ms);
        world.pass(*ms);
    }
    world.message("example.com");
    world.pass(QUARANTINE_REARM_MS + 1);
    assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
    assert_eq!(until_quarantined(&mut world), QUARANTINE_MS[0]);
}

#[test]
fn restart_and_deploy_end_a_quarantine_at_once() {
    for deploy in [false, true] {
        let mut world = World::new();
        world.active("example.com");
        until_quarantined(&mut world);
        world.ask_later(if deploy {
            Command::Deploy { target: name(), wait: true, live: false }
        } else {
            Command::Restart { name: name() }
        });
        assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }), "{deploy}");
    }
}

#[test]
fn an_unused_stub_is_stopped_and_the_next_message_wakes_it_without_a_fetch() {
    let mut world = World::new();
    let id = world.active("example.com");
    world.pass(599_999);
    assert_eq!(world.stub(), id);
    world.pass(3_000);
    assert!(world.of(Role::Stub).is_empty());
    assert_eq!(world.ps("example.com").state, "dormant");
    assert_eq!(world.ps("example.com").restarts, 0);
    assert_eq!(world.route("example.com"), StubRoute::Absent);
    assert_eq!(world.message("example.com"), StubRoute::Deploying);
    assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
    assert_eq!(world.jobs.len(), 1);
}

#[test]
fn a_used_stub_or_one_with_an_open_connection_is_not_idle() {
    let mut world = World::new();
    let id = world.active("example.com");
    for _use in 0..10 {
        world.pass(400_000);
        let now = world.time();
        world.ua.used(now, &key("example.com"));
    }
    assert_eq!(world.stub(), id);
    let target = Target::Tcp { host: "node.example.com".to_owned(), port: 443 };
    world.up(id, CtlUp::Connect { req: 1, target });
    world.pass(2_000_000);
    assert_eq!(world.stub(), id, "it holds a connection");
    world.up(id, CtlUp::Closed { req: 1 });
    world.pass(700_000);
    assert!(world.of(Role::Stub).is_empty());
}

#[test]
fn a_message_while_an_idle_stub_stops_is_not_lost() {
    let mut world = World::new().holding(&[Step::Remove]);
    let id = world.active("example.com");
    world.pass(600_001);
    let removed = world.said_to(id).iter().any(|down| matches!(down, CtlDown::Remove { .. }));
    assert!(removed);
    let route = world.message("example.com");
    assert_eq!(route, StubRoute::Deploying, "it waits for the next life");
    world.dies(id, Exit::Code(0));
    world.pass(1);
    assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
}
