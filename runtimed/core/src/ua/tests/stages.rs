//! Deploys that stall, fail or die at each stage: whoever waits has one answer, which names the
//! stage, and nothing is left.

use super::world::{FETCH, STUB, Step, World};
use crate::input::{Exit, SandboxId};
use crate::limits::DEPLOY_MS;
use crate::ua::{StubRoute, UaOut};
use protocol::control::{Command, Reply};
use protocol::ctl::{CtlUp, FetchError, Role};
use protocol::reason::Reason;

const NAME: &str = "example.com";

/// Finds the worker that a fault is for.
type Who = fn(&World) -> Option<SandboxId>;

/// A deploy that goes no further than to this step, and that an operator waits for, too.
fn at(step: Step) -> (World, crate::input::Token) {
    let mut world = World::new().holding(&[step]);
    world.message(NAME);
    let wait = Command::Deploy { target: NAME.to_owned(), wait: true, live: false };
    let token = world.operator(wait);
    assert!(world.replies(token).is_empty(), "{step:?} is not reached");
    (world, token)
}

/// It failed so, for everybody, once, and left nothing.
fn failed_so(mut world: World, token: crate::input::Token, what: &str, want: (Reason, &str)) {
    let StubRoute::Refused(refusal) = world.route(NAME) else {
        panic!("{what}: {:?}", world.route(NAME));
    };
    assert_eq!((refusal.reason, refusal.stage), (want.0, Some(want.1)), "{what}: {refusal:?}");
    assert!(refusal.desc.len() > 10 && refusal.retry_after_ms.is_some(), "{what}: {refusal:?}");
    let replies = world.replies(token);
    assert_eq!(replies.len(), 1, "{what}: {replies:?}");
    let Reply::Denied { reason, stage, .. } = &replies[0] else { panic!("{what}: {replies:?}") };
    assert_eq!((*reason, stage.as_deref()), (Some(want.0), Some(want.1)), "{what}");
    let told = world.outs.iter().filter(|out| matches!(out, UaOut::Failed { .. })).count();
    assert_eq!((told, world.events_named("deploy-failed").len()), (1, 1), "{what}");
    // Long after, too, and whatever was held comes too late.
    world.pass(2 * DEPLOY_MS);
    assert!(world.alive.is_empty() && world.codes.is_empty(), "{what}: {:?}", world.alive);
    let row = world.ps(NAME);
    assert_eq!((row.state.as_str(), row.pid, row.restarts), ("failed", None, 0), "{what}");
    assert_eq!(world.replies(token).len(), 1, "{what}");
    world.held.clear();
    world.message(NAME);
    assert!(matches!(world.route(NAME), StubRoute::Ready { .. }), "{what}: and it is tried again");
}

#[test]
fn a_deploy_that_stalls_at_any_stage_ends_in_time_and_says_where() {
    for (step, reason, stage) in [
        (Step::Spawn(FETCH), Reason::SandboxUnavailable, "sandbox"),
        (Step::Confine(FETCH), Reason::SandboxUnavailable, "sandbox"),
        (Step::Spawn(STUB), Reason::SandboxUnavailable, "sandbox"),
        (Step::Confine(STUB), Reason::SandboxUnavailable, "sandbox"),
        (Step::Verify, Reason::SandboxUnavailable, "sandbox"),
        (Step::Hello, Reason::SandboxUnavailable, "sandbox"),
        (Step::Fetch, Reason::CatalogueSlow, "descriptor"),
        (Step::Source, Reason::CatalogueSlow, "source"),
        (Step::Load, Reason::Load, "load"),
        (Step::Activate, Reason::Activation, "activate"),
    ] {
        let (mut world, token) = at(step);
        let end = world.now + DEPLOY_MS;
        while world.replies(token).is_empty() && world.now < end {
            world.pass(100);
        }
        failed_so(world, token, &format!("{step:?} stalls"), (reason, stage));
    }
}

#[test]
fn a_worker_that_dies_at_any_stage_fails_the_deploy_there_when_no_other_helps() {
    let stub = |world: &World| world.of(Role::Stub).pop();
    let fetch = |world: &World| world.of(Role::Fetch).pop();
    let rows: [(Step, Who, usize, Reason, &str); 9] = [
        (Step::Spawn(FETCH), fetch, 4, Reason::SandboxUnavailable, "sandbox"),
        (Step::Confine(FETCH), fetch, 4, Reason::SandboxUnavailable, "sandbox"),
        (Step::Spawn(STUB), stub, 4, Reason::SandboxUnavailable, "sandbox"),
        (Step::Confine(STUB), stub, 4, Reason::SandboxUnavailable, "sandbox"),
        (Step::Hello, stub, 4, Reason::SandboxUnavailable, "sandbox"),
        (Step::Fetch, fetch, 4, Reason::SandboxUnavailable, "descriptor"),
        (Step::Source, fetch, 1, Reason::SandboxUnavailable, "source"),
        (Step::Load, stub, 1, Reason::Load, "load"),
        (Step::Activate, stub, 1, Reason::Activation, "activate"),
    ];
    for (step, who, times, reason, stage) in rows {
        let (mut world, token) = at(step);
        for time in 1..=times {
            assert!(world.replies(token).is_empty(), "{step:?} before death {time}");
            let id = who(&world).unwrap_or_else(|| panic!("{step:?}: nobody to die {time}"));
            world.dies(id, Exit::Signal(9));
        }
        failed_so(world, token, &format!("dies at {step:?}"), (reason, stage));
    }
}

#[test]
fn a_worker_that_says_that_it_failed_fails_the_deploy_at_once() {
    let broken = |stage: &str| CtlUp::DeployFailed {
        stage: stage.to_owned(),
        text: "SyntaxError: it is broken".to_owned(),
    };
    let fetch = |error| CtlUp::FetchFailed { error, text: "it is not to be had".to_owned() };
    for (step, role, up, reason, stage) in [
        (
            Step::Fetch,
            Role::Fetch,
            fetch(FetchError::Unusable),
            Reason::DescriptorUnusable,
            "descriptor",
        ),
        (Step::Source, Role::Fetch, fetch(FetchError::Down), Reason::CatalogueDown, "source"),
        (Step::Source, Role::Fetch, fetch(FetchError::Decoding), Reason::Decoding, "source"),
        (Step::Load, Role::Stub, broken("load"), Reason::Load, "load"),
        (Step::Activate, Role::Stub, broken("activate"), Reason::Activation, "activate"),
    ] {
        let (mut world, token) = at(step);
        let id = world.of(role).pop().expect("it lives");
        world.up(id, up);
        failed_so(world, token, &format!("{step:?} fails"), (reason, stage));
    }
}
