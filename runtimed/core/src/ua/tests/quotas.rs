//! Workers that say more than they may: what they say on the control channel is bounded by the core,
//! whatever the worker lets through.

use super::world::World;
use crate::input::SandboxId;
use crate::limits::{CONNECTIONS_PER_SANDBOX, CONNECTS_BURST, LOG_LINES_BURST, WORKER_CTL_BURST};
use protocol::ctl::{ConnectError, CtlDown, CtlUp, Role};

/// How the sandbox ended, if it did.
fn ended(world: &World, id: SandboxId) -> Option<(String, String)> {
    let exits = world.events_named("exited");
    let exit = exits.iter().find(|event| event.sandbox == Some(id.0))?;
    Some((exit.reason.clone().unwrap_or_default(), exit.detail.clone()))
}

#[test]
fn escape_042_lines_over_the_rate_are_counted_instead_of_kept() {
    let mut world = World::new();
    let id = world.active("example.com");
    for n in 0..3_000 {
        world.up(id, CtlUp::Log { level: 2, text: format!("line {n}") });
    }
    let kept = |world: &World| world.ua.components.values().next().unwrap().log.clone();
    let burst = usize::try_from(LOG_LINES_BURST).unwrap();
    let lines = kept(&world).iter().filter(|(_, text)| text.starts_with("line")).count();
    assert_eq!(lines, burst);
    world.pass(1_000);
    world.up(id, CtlUp::Log { level: 2, text: "line 9999".to_owned() });
    let texts: Vec<_> = kept(&world).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts[texts.len() - 2..], ["2600 lines were not kept", "line 9999"]);
    assert!(world.alive.contains_key(&id), "it is not ended for that");
}

#[test]
fn a_flood_of_control_messages_goes_over_the_quota() {
    let mut world = World::new();
    let id = world.active("example.com");
    // It said two things already, when it started.
    for req in 2..=WORKER_CTL_BURST {
        assert!(ended(&world, id).is_none(), "{req} are not too many");
        world.up(id, CtlUp::Closed { req });
    }
    let (reason, detail) = ended(&world, id).unwrap();
    assert_eq!(reason, "quota");
    assert!(detail.contains("control messages"), "{detail}");
    assert_eq!(world.ps("example.com").restarts, 1, "an end like any other");
}

#[test]
fn connections_have_a_rate_besides_their_number() {
    let mut world = World::new();
    let id = world.active("example.com");
    world.connect(id, 1_000_000, "node.example.com", 443);
    let asked = |world: &World, id| {
        let down = |down: &&CtlDown| matches!(down, CtlDown::NetConnect { .. });
        world.said_to(id).into_iter().filter(down).count()
    };
    let net = world.of(Role::Net)[0];
    for req in 0..1_000 {
        world.connect(id, req, "node.example.com", 443);
        world.up(id, CtlUp::Closed { req });
    }
    let at_once = asked(&world, net);
    assert!(at_once <= usize::try_from(CONNECTS_BURST).unwrap(), "{at_once} in no time");
    let refused = world.said_to(id).into_iter().filter(|down| {
        matches!(down, CtlDown::ConnectRefused { error: ConnectError::Exhausted, .. })
    });
    assert!(refused.count() > 900);
    world.pass(1_000);
    for req in 0..1_000 {
        world.connect(id, 5_000 + req, "node.example.com", 443);
    }
    let more = asked(&world, net) - at_once;
    assert!((1..=usize::try_from(CONNECTIONS_PER_SANDBOX).unwrap()).contains(&more), "{more}");
}
