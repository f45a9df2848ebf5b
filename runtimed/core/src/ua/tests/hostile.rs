//! Workers in foreign hands, and stubs that do all that a script can: what they say on the control
//! channel and of themselves is bounded by the core, whatever the worker lets through.

use super::fallback::{fetch_failed, home_catalogue};
use super::world::{Step, World};
use crate::input::{Digest, Exit, SandboxId};
use crate::limits::STATUS_EVENTS_BURST;
use crate::ua::{StubRoute, UaOut};
use protocol::control::Command;
use protocol::ctl::{ConnectError, CtlDown, CtlUp, FetchError, Role, Target};
use protocol::reason::Reason;

/// How the sandbox ended, if it did.
fn ended(world: &World, id: SandboxId) -> Option<(String, String)> {
    let exits = world.events_named("exited");
    let exit = exits.iter().find(|event| event.sandbox == Some(id.0))?;
    Some((exit.reason.clone().unwrap_or_default(), exit.detail.clone()))
}

/// The stub says this of itself.
fn says(world: &mut World, status: &str) {
    let url = world.ua.components.values().next().unwrap().url.clone();
    let (to, now, mut out) = (url.child("status").unwrap(), world.time(), Vec::new());
    let body = format!(r#"{{"value":"{status}"}}"#);
    assert!(world.ua.status_message(now, &url, &to, body.as_bytes(), &mut out));
    world.outs.extend(out);
}

#[test]
fn attack_026_a_stub_that_changes_its_status_in_a_loop_does_not_wash_the_record_away() {
    let mut world = World::new();
    world.active("example.com");
    for _ in 0..10 {
        for _ in 0..250 {
            says(&mut world, "live");
            says(&mut world, "disconnected");
        }
        world.pass(1_000);
    }
    let told = world.events_named("stub-status").len();
    let burst = usize::try_from(STATUS_EVENTS_BURST).unwrap();
    assert!((burst..=burst + 12).contains(&told), "{told} events of 5,000 changes");
    let published = world.outs.iter().filter(|out| matches!(out, UaOut::Publish { .. })).count();
    assert!(published >= 10_000, "subscribers hear all: {published}");
    // The last word is in the record, and nothing more comes after it.
    says(&mut world, "live");
    world.pass(5_000);
    let last = world.events_named("stub-status").pop().unwrap().detail.clone();
    assert_eq!(last, "live: after 1 changes");
    let before = world.events_named("stub-status").len();
    world.pass(60_000);
    assert_eq!(world.events_named("stub-status").len(), before);
    says(&mut world, "disconnected");
    assert_eq!(world.events_named("stub-status").pop().unwrap().detail, "disconnected");
}

#[test]
fn what_was_loaded_or_fetched_is_not_loaded_or_fetched_again() {
    for again in [CtlUp::Loaded, CtlUp::Activated { name: "twice".to_owned() }] {
        let mut world = World::new();
        let id = world.active("example.com");
        world.up(id, again.clone());
        assert_eq!(ended(&world, id).map(|(reason, _)| reason).as_deref(), Some("protocol"));
    }
    // Loaded over and over, and never active.
    let mut world = World::new().holding(&[Step::Activate]);
    world.message("example.com");
    let id = world.stub();
    world.up(id, CtlUp::Loaded);
    assert_eq!(ended(&world, id).map(|(reason, _)| reason).as_deref(), Some("protocol"));
    assert_eq!(world.events_named("deploy-failed").len(), 1);
    let loads = world.events_named("deploy-stage").iter().filter(|e| e.detail == "load").count();
    assert_eq!(loads, 1);
    // Active without having been loaded.
    let mut world = World::new().holding(&[Step::Load]);
    world.message("example.com");
    let id = world.stub();
    world.up(id, CtlUp::Activated { name: "early".to_owned() });
    assert_eq!(ended(&world, id).map(|(reason, _)| reason).as_deref(), Some("protocol"));
    // A second descriptor, when the first is accepted.
    let mut world = World::new().holding(&[Step::Source]);
    world.message("example.com");
    let id = world.of(Role::Fetch)[0];
    let descriptor = Box::new(world.descriptor.clone());
    let fetched = CtlUp::Fetched { origin: "https://example.com".to_owned(), descriptor };
    world.up(id, fetched);
    assert!(world.killed.contains(&id));
    let stages = world.events_named("deploy-stage");
    assert_eq!(stages.iter().filter(|e| e.detail.starts_with("descriptor")).count(), 1);
}

#[test]
fn no_role_says_what_belongs_to_another() {
    let of_net = || CtlUp::NetResult { req: 1, error: None };
    let mut world = World::new().holding(&[Step::Fetch]);
    world.message("example.com");
    let (stub, fetch) = (world.stub(), world.of(Role::Fetch)[0]);
    for up in [CtlUp::Loaded, CtlUp::Removed, of_net()] {
        let mut world = World::new().holding(&[Step::Fetch]);
        world.message("example.com");
        world.up(fetch, up);
        assert!(world.killed.contains(&fetch));
    }
    let file = Target::File { path: "protocolstub/default".to_owned() };
    for up in [
        of_net(),
        CtlUp::Source { origin: "https://example.com".to_owned(), size: 1 },
        CtlUp::Fetched {
            origin: "https://example.com".to_owned(),
            descriptor: Box::new(world.descriptor.clone()),
        },
    ] {
        let mut world = World::new().holding(&[Step::Fetch]);
        world.message("example.com");
        world.up(stub, up);
        assert!(world.killed.contains(&stub));
    }
    // A stub has no folder.
    let id = World::new().active("example.com");
    let mut world = World::new();
    assert_eq!(world.active("example.com"), id);
    world.up(id, CtlUp::Connect { req: 1, target: file });
    let refused = world.said_to(id).into_iter().any(|down| {
        matches!(down, CtlDown::ConnectRefused { req: 1, error: ConnectError::NotGranted, .. })
    });
    assert!(refused && world.alive.contains_key(&id));
}

/// A stub that was active dies, and does not load again: the next deploy fetches anew.
fn lost(world: &mut World) {
    let id = world.stub();
    world.held.insert(Step::Load);
    world.dies(id, Exit::Signal(11));
    world.pass(0);
    let id = world.stub();
    world.up(id, CtlUp::DeployFailed { stage: "load".to_owned(), text: "memory".to_owned() });
    world.held.clear();
    world.pass(2_000);
}

#[test]
fn attack_020_whoever_makes_a_catalogue_fail_does_not_choose_where_the_code_comes_from() {
    for own_first in [true, false] {
        let mut world = World::with(&home_catalogue());
        let absent = fetch_failed(FetchError::Absent);
        if !own_first {
            world.fetch_answers.push_back(absent.clone());
        }
        world.active("example.com");
        lost(&mut world);
        if own_first {
            world.fetch_answers.push_back(absent);
        }
        world.message("example.com");
        let StubRoute::Refused(refusal) = world.route("example.com") else { panic!("taken") };
        assert_eq!((refusal.reason, refusal.stage), (Reason::Policy, Some("policy")));
        assert!(refusal.desc.contains("another catalogue"), "{}", refusal.desc);
        // The operator accepts it.
        world.ask(Command::Undeploy { name: "example.com".to_owned() });
        world.active("example.com");
    }
}

#[test]
fn attack_020_an_update_with_equal_rights_is_taken_and_its_digest_is_on_record() {
    let mut world = World::new();
    world.active("example.com");
    let first = world.ps("example.com");
    lost(&mut world);
    world.digest = Digest([8; 32]);
    world.active("example.com");
    let second = world.ps("example.com");
    assert_eq!((first.pin.as_deref(), second.pin.as_deref()), (Some("rights"), Some("rights")));
    assert_ne!(first.digest, second.digest);
    let stages = world.events_named("deploy-stage");
    let told = |digest: &Option<String>| {
        stages.iter().filter(|row| row.detail.contains(digest.as_deref().unwrap())).count()
    };
    assert_eq!((told(&first.digest), told(&second.digest)), (1, 1));
}
