//! What the kernel holds sandboxes to: the level that follows, who waits for it, and the end of a
//! stub that wanted too much.

use super::world::{FETCH, STUB, Step, World};
use crate::input::{Exit, SandboxId};
use crate::settings::Settings;
use crate::ua::{StubRoute, UaInput};
use protocol::ctl::{ConfinedReport, Level, Role};
use protocol::reason::Reason;

fn layers(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn held(sandbox: SandboxId) -> UaInput {
    UaInput::Limited { sandbox, outcome: Ok(layers(&["cgroup-memory", "cgroup-pids"])) }
}

fn free(sandbox: SandboxId) -> UaInput {
    UaInput::Limited { sandbox, outcome: Err("not delegated".to_owned()) }
}

/// A world in which nothing is answered until the test says so, and which wants the highest level.
fn strict() -> World {
    let mut world = World::with(&Settings { minimum: Level::Full, ..Settings::default() })
        .holding(&[Step::Confine(STUB), Step::Confine(FETCH), Step::Verify]);
    world.message("example.com");
    world
}

fn confine(world: &mut World, sandbox: SandboxId) {
    let report = ConfinedReport {
        level: Level::Namespaces,
        layers: layers(&["seccomp", "landlock"]),
        missing: Vec::new(),
        proof: world.proof.clone(),
    };
    world.input(UaInput::Confined { sandbox, report });
    world.input(UaInput::Ready { sandbox });
}

fn verify(world: &mut World, sandbox: SandboxId, seen: &[&str]) {
    world.input(UaInput::Verified { sandbox, outcome: Ok(layers(seen)) });
}

/// All sandboxes of the deploy: the fetch worker comes first.
fn sandboxes(world: &World) -> Vec<SandboxId> {
    world.of(Role::Fetch).into_iter().chain(world.of(Role::Stub)).collect()
}

#[test]
fn the_highest_level_waits_for_the_cgroup_whichever_is_known_first() {
    for cgroup_first in [true, false] {
        let mut world = strict();
        for id in sandboxes(&world) {
            confine(&mut world, id);
            if cgroup_first {
                world.input(held(id));
                verify(&mut world, id, &["own-uid"]);
            } else {
                verify(&mut world, id, &["own-uid"]);
                assert!(world.assigns.is_empty(), "no code before the cgroup is known");
                world.input(held(id));
            }
        }
        assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }), "{cgroup_first}");
        assert_eq!(world.ps("example.com").level, "full");
    }
}

#[test]
fn a_cgroup_that_is_refused_refuses_the_sandbox_where_the_highest_level_is_wanted() {
    let mut world = strict();
    let stub = world.stub();
    confine(&mut world, stub);
    verify(&mut world, stub, &["own-uid"]);
    world.input(free(stub));
    let StubRoute::Refused(refusal) = world.route("example.com") else { panic!() };
    assert_eq!(refusal.reason, Reason::SandboxRefused);
    assert!(refusal.desc.contains("cgroup: not delegated"), "{}", refusal.desc);
    assert!(world.assigns.is_empty() && world.killed.contains(&stub));
}

#[test]
fn a_cgroup_that_is_never_known_of_ends_the_sandbox_in_its_time() {
    let mut world = strict();
    let stub = world.stub();
    confine(&mut world, stub);
    verify(&mut world, stub, &["own-uid"]);
    world.pass(3_001);
    assert!(world.killed.contains(&stub));
}

#[test]
fn a_lower_level_does_not_wait_and_hears_of_the_cgroup_later() {
    let mut world = World::new().holding(&[Step::Confine(STUB), Step::Verify]);
    world.message("example.com");
    for id in sandboxes(&world) {
        if world.of(Role::Stub).contains(&id) {
            confine(&mut world, id);
        }
        verify(&mut world, id, &["own-uid"]);
    }
    let id = world.stub();
    assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
    assert_eq!(world.ps("example.com").level, "namespaces");
    world.input(held(id));
    let row = world.ps("example.com");
    assert_eq!(row.level, "full");
    assert_eq!(row.layers, ["seccomp", "landlock", "own-uid", "cgroup-memory", "cgroup-pids"]);
    let said = world.events_named("sandbox-proved");
    assert!(said.last().is_some_and(|row| row.detail.starts_with("full: ")), "{said:?}");
    world.input(free(id));
    assert_eq!(world.ps("example.com").level, "namespaces", "what is no more counts no more");
    assert_eq!(world.inspect("example.com").missing, ["cgroup: not delegated"]);
    let said = world.events_named("sandbox-proved");
    assert!(said.last().is_some_and(|row| row.detail.contains("no cgroup: not delegated")));
}

#[test]
fn each_part_of_the_highest_level_is_needed() {
    for (seen, cgroup) in [
        (&["own-uid"][..], &["cgroup-memory"][..]),
        (&["own-uid"], &["cgroup-pids", "cgroup-cpu"]),
        (&[], &["cgroup-memory", "cgroup-pids"]),
    ] {
        let mut world = World::new().holding(&[Step::Confine(STUB), Step::Verify]);
        world.message("example.com");
        let id = world.stub();
        confine(&mut world, id);
        verify(&mut world, id, seen);
        world.input(UaInput::Limited { sandbox: id, outcome: Ok(layers(cgroup)) });
        assert_eq!(world.ps("example.com").level, "namespaces", "{seen:?} {cgroup:?}");
    }
}

#[test]
fn a_stub_that_the_kernel_ends_for_its_memory_is_oom_and_comes_back() {
    let mut world = World::new();
    let id = world.active("example.com");
    world.dies(id, Exit::OutOfMemory);
    let rows = world.events_named("exited");
    let row = rows.iter().find(|row| row.sandbox == Some(id.0)).expect("an event");
    assert_eq!(row.reason.as_deref(), Some("oom"));
    world.pass(0);
    assert!(matches!(world.route("example.com"), StubRoute::Ready { .. }));
    assert_eq!(world.ps("example.com").restarts, 1);
}
