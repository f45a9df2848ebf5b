//! Deploys that fail: each way its own reason and stage, nothing left behind, remembered for a while.

use super::world::{Step, World};
use crate::input::Exit;
use crate::limits::FAILED_MS;
use crate::ua::{StubRoute, UaInput, UaOut};
use protocol::control::Command;
use protocol::ctl::{CtlUp, FetchError, Role};
use protocol::reason::Reason;

fn refusal(world: &World) -> crate::ua::Refusal {
    match world.route("example.com") {
        StubRoute::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Nothing is left of a failed deploy, and it was told exactly once.
fn nothing_is_left(world: &mut World) {
    assert!(world.alive.is_empty(), "{:?}", world.alive);
    assert!(world.codes.is_empty());
    let failed = world.outs.iter().filter(|out| matches!(out, UaOut::Failed { .. })).count();
    assert_eq!(failed, 1);
    assert_eq!(world.events_named("deploy-failed").len(), 1);
    let row = world.ps("example.com");
    assert_eq!((row.state.as_str(), row.pid, row.restarts), ("failed", None, 0));
}

#[test]
fn each_failure_of_a_fetch_has_its_own_reason() {
    for (error, reason) in [
        (FetchError::Down, Reason::CatalogueDown),
        (FetchError::Slow, Reason::CatalogueSlow),
        (FetchError::Absent, Reason::CatalogueAbsent),
        (FetchError::Redirect, Reason::RedirectRefused),
        (FetchError::Unusable, Reason::DescriptorUnusable),
        (FetchError::Decoding, Reason::Decoding),
        (FetchError::CodeSize, Reason::CodeSize),
    ] {
        let mut world = World::new();
        world.fetch_answers.push_back(CtlUp::FetchFailed { error, text: "so it is".to_owned() });
        world.message("example.com");
        let refusal = refusal(&world);
        assert_eq!(refusal.reason, reason);
        assert!(refusal.stage.is_some() && refusal.desc.contains("so it is"), "{refusal:?}");
        nothing_is_left(&mut world);
    }
}

#[test]
fn code_that_does_not_load_or_activate_names_the_stage() {
    for (stage, reason) in [("load", Reason::Load), ("activate", Reason::Activation)] {
        let mut world = World::new().holding(&[Step::Load]);
        world.message("example.com");
        let text = "TypeError: x is not a function".to_owned();
        let id = world.stub();
        world.up(id, CtlUp::DeployFailed { stage: stage.to_owned(), text });
        assert_eq!(refusal(&world).reason, reason);
        assert!(refusal(&world).desc.contains("TypeError"));
        nothing_is_left(&mut world);
    }
}

#[test]
fn code_that_loops_or_exits_while_it_loads_fails_the_deploy_and_is_not_repeated() {
    for held in [Step::Load, Step::Activate] {
        let mut world = World::new().holding(&[held]);
        world.message("example.com");
        world.pass(5_001);
        let reason = refusal(&world).reason;
        assert!(matches!(reason, Reason::Load | Reason::Activation), "{reason}");
        nothing_is_left(&mut world);
        for exit in [Exit::Code(0), Exit::Code(1), Exit::Signal(11), Exit::Unknown] {
            let mut world = World::new().holding(&[held]);
            world.message("example.com");
            let id = world.stub();
            world.dies(id, exit);
            let reason = refusal(&world).reason;
            assert!(matches!(reason, Reason::Load | Reason::Activation), "{exit:?} {reason}");
            assert!(world.of(Role::Stub).is_empty());
            nothing_is_left(&mut world);
        }
    }
}

#[test]
fn a_check_from_outside_that_fails_refuses_the_sandbox() {
    let mut world = World::new().holding(&[Step::Verify]);
    world.message("example.com");
    let id = world.stub();
    let outcome = Err("NoNewPrivs is 0".to_owned());
    world.input(UaInput::Verified { sandbox: id, outcome });
    assert_eq!(refusal(&world).reason, Reason::SandboxRefused);
    assert!(refusal(&world).desc.contains("NoNewPrivs"), "{:?}", refusal(&world));
    nothing_is_left(&mut world);
}

#[test]
fn a_spawner_that_cannot_is_sandbox_unavailable() {
    let mut world = World::new().holding(&[Step::Spawn(super::world::STUB)]);
    world.message("example.com");
    for _try in 0..4 {
        let Some(id) = world.of(Role::Stub).last().copied() else { break };
        world.alive.remove(&id);
        world.input(UaInput::SpawnFailed { sandbox: id, text: "clone3: EAGAIN".to_owned() });
    }
    assert_eq!(refusal(&world).reason, Reason::SandboxUnavailable);
    assert!(refusal(&world).desc.contains("EAGAIN"), "{:?}", refusal(&world));
    nothing_is_left(&mut world);
}

#[test]
fn no_stub_sandbox_in_time_is_not_blamed_on_the_catalogue() {
    let mut world = World::new().holding(&[Step::Spawn(super::world::STUB)]);
    world.message("example.com");
    world.pass(12_000);
    let refusal = refusal(&world);
    assert_eq!((refusal.reason, refusal.stage), (Reason::SandboxUnavailable, Some("sandbox")));
    nothing_is_left(&mut world);
}

#[test]
fn code_that_does_not_come_in_time_is_stage_source() {
    let mut world = World::new().holding(&[Step::Source]);
    world.message("example.com");
    world.pass(4_000);
    let refusal = refusal(&world);
    assert_eq!((refusal.reason, refusal.stage), (Reason::CatalogueSlow, Some("source")));
    nothing_is_left(&mut world);
}

#[test]
fn a_fetch_worker_that_breaks_its_link_fails_the_deploy_without_a_second_try_of_its_bytes() {
    let mut world = World::new().holding(&[Step::Fetch]);
    world.message("example.com");
    let fetch = world.of(Role::Fetch)[0];
    world.input(UaInput::Violation { sandbox: fetch, text: "sequence".to_owned() });
    assert!(world.killed.contains(&fetch));
}

#[test]
fn a_stub_that_says_what_only_a_fetch_worker_says_is_killed_for_it() {
    let mut world = World::new();
    let id = world.active("example.com");
    world.input(UaInput::Ctl {
        sandbox: id,
        up: CtlUp::FetchFailed { error: FetchError::Absent, text: String::new() },
        stream: None,
        code: None,
    });
    assert!(world.killed.contains(&id));
    let exited = world.events_named("exited");
    assert!(
        exited
            .iter()
            .any(|row| row.sandbox == Some(id.0) && row.reason.as_deref() == Some("protocol")),
        "{exited:#?}"
    );
}

#[test]
fn a_failure_is_remembered_longer_each_time_and_the_message_after_that_deploys() {
    let mut world = World::new();
    for ms in FAILED_MS.iter().chain(FAILED_MS.last()) {
        world
            .fetch_answers
            .push_back(CtlUp::FetchFailed { error: FetchError::Absent, text: String::new() });
        let jobs = world.jobs.len();
        assert_eq!(world.message("example.com"), StubRoute::Deploying);
        let left = refusal(&world).retry_after_ms.expect("says when");
        assert!(left <= *ms && left > ms / 2, "{left} of {ms}");
        world.pass(left - 1);
        assert!(matches!(world.message("example.com"), StubRoute::Refused(_)));
        assert_eq!(refusal(&world).retry_after_ms, Some(1));
        assert_eq!(world.jobs.len(), jobs + 1, "asked once");
        world.pass(1);
        assert_eq!(world.route("example.com"), StubRoute::Absent);
    }
    assert_eq!(world.message("example.com"), StubRoute::Deploying);
    assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
}

#[test]
fn an_operators_deploy_does_not_wait_for_the_failure_to_be_forgotten() {
    let mut world = World::new();
    let failed = CtlUp::FetchFailed { error: FetchError::Down, text: String::new() };
    world.fetch_answers.push_back(failed);
    world.message("example.com");
    refusal(&world);
    world.ask(Command::Deploy { target: "example.com".to_owned(), wait: true, live: false });
    assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
}

#[test]
fn what_comes_late_from_a_killed_worker_changes_nothing() {
    let mut world = World::new().holding(&[Step::Fetch, Step::Kill]);
    world.message("example.com");
    let fetch = world.of(Role::Fetch)[0];
    world.pass(4_001);
    let before = refusal(&world);
    let descriptor = Box::new(world.descriptor.clone());
    world.up(fetch, CtlUp::Fetched { origin: "https://example.com".to_owned(), descriptor });
    let late = world.code_of(fetch);
    world.input(late);
    assert_eq!(refusal(&world).reason, before.reason);
    assert!(world.codes.is_empty(), "late code is dropped");
    assert!(world.assigns.is_empty());
}
