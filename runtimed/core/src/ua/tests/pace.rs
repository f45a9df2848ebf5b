//! The pace of connections to one place.

use super::world::{World, wanted};
use crate::effect::Effect;
use crate::input::{SandboxId, Time};
use crate::limits::{
    CONNECT_MS, CONNECTIONS_PACED, PLACE_CONNECTS_BURST, PLACE_CONNECTS_PER_SECOND,
};
use crate::ua::UaOut;
use protocol::ctl::{ConnectError, CtlDown, CtlUp};
use std::collections::{BTreeMap, VecDeque};

const NODE: &str = "node.example.com";

/// What was said to sandboxes since it was asked last: who is connected, who is refused, and to
/// whom the net role connects.
#[derive(Debug, Default)]
struct Heard {
    read: usize,
    /// Host and sandbox.
    asked: Vec<(String, SandboxId)>,
    connected: Vec<SandboxId>,
    refused: Vec<(SandboxId, ConnectError)>,
}

impl Heard {
    fn of(world: &World, before: usize) -> Self {
        let mut heard = Self { read: world.outs.len(), ..Self::default() };
        for out in &world.outs[before..] {
            let UaOut::Effect(Effect::Ctl { sandbox: id, down, .. }) = out else { continue };
            match down {
                CtlDown::NetConnect { host, sandbox, .. } => {
                    heard.asked.push((host.clone(), SandboxId(*sandbox)));
                }
                CtlDown::Connected { .. } => heard.connected.push(*id),
                CtlDown::ConnectRefused { error, .. } => heard.refused.push((*id, *error)),
                _ => {}
            }
        }
        heard
    }
}

/// So many stubs that live, each of a domain of its own.
fn stubs(world: &mut World, count: usize) -> Vec<SandboxId> {
    world.descriptor.wanted.push(wanted("other.example.com", 443, true));
    (0..count).map(|n| world.active(&format!("d{n}.example"))).collect()
}

#[test]
fn fault_045_five_hundred_stubs_that_lose_their_node_at_once_come_back_fifty_a_second() {
    let mut world = World::new();
    let ids = stubs(&mut world, 500);
    let lost = world.now;
    // Each tries at once, and whoever is refused again after a backoff with jitter, as stubs do.
    let mut tries: BTreeMap<u64, Vec<SandboxId>> = BTreeMap::from([(lost, ids.clone())]);
    let mut backoff: BTreeMap<SandboxId, u64> = BTreeMap::new();
    let (mut req, mut read) = (0, world.outs.len());
    let mut times: Vec<u64> = Vec::new();
    let mut back: Vec<SandboxId> = Vec::new();
    while back.len() < ids.len() && world.now < lost + 60_000 {
        let due = tries.range(..=world.now).map(|(at, _)| *at).collect::<Vec<_>>();
        for id in due.into_iter().filter_map(|at| tries.remove(&at)).flatten() {
            req += 1;
            world.connect(id, req, NODE, 443);
        }
        world.pass(1);
        let heard = Heard::of(&world, read);
        read = heard.read;
        times.extend(heard.asked.iter().map(|_| world.now));
        back.extend(heard.connected);
        for (id, error) in heard.refused {
            assert_eq!(error, ConnectError::Exhausted);
            let wait =
                backoff.entry(id).and_modify(|ms| *ms = (*ms * 2).min(30_000)).or_insert(250);
            let jittered = *wait * (800 + world.ua.random() % 401) / 1_000;
            tries.entry(world.now + jittered).or_default().push(id);
        }
    }
    back.sort();
    assert_eq!(back, ids, "each is back, once");
    for (n, from) in times.iter().enumerate() {
        let within = times[n..].iter().take_while(|at| **at < from + 1_000).count();
        assert!(within <= 50, "{within} connections in the second after {from}");
    }
    let histogram = times.iter().fold(BTreeMap::new(), |mut seconds, at| {
        *seconds.entry((at - lost) / 1_000).or_insert(0) += 1;
        seconds
    });
    let took = times.last().unwrap() - lost;
    println!("connections by second: {histogram:?}; all back after {took} ms");
    assert!(took < 30_000, "and none is held back for nothing: {histogram:?}");
}

#[test]
fn fault_045_a_place_that_many_want_holds_back_no_other_place_and_no_other_stub() {
    let mut world = World::new();
    let ids = stubs(&mut world, 4);
    let (greedy, modest) = (ids[0], ids[1]);
    for req in 0..32 {
        world.connect(greedy, req, NODE, 443);
    }
    let read = Heard::of(&world, 0).read;
    world.connect(modest, 1, NODE, 443);
    world.connect(modest, 2, "other.example.com", 443);
    let heard = Heard::of(&world, read);
    assert_eq!(heard.asked, [("other.example.com".to_owned(), modest)]);
    // One of each in turn: the modest one does not wait for all that came before it.
    world.pass(2 * 1_000 / u64::from(PLACE_CONNECTS_PER_SECOND));
    let next: Vec<_> = Heard::of(&world, heard.read).asked.into_iter().map(|(_, id)| id).collect();
    assert!(next.len() == 2 && next.contains(&modest), "{next:?}");
}

#[test]
fn who_has_most_waiting_gives_up_its_place_and_each_that_waits_is_served_in_time() {
    let mut world = World::new();
    let ids = stubs(&mut world, 156);
    let crowd = u32::try_from(CONNECTIONS_PACED).unwrap() + PLACE_CONNECTS_BURST;
    // Six stubs take all the room.
    for (n, id) in ids.iter().take(6).enumerate() {
        for req in 0..32.min(crowd - 32 * u32::try_from(n).unwrap()) {
            world.connect(*id, req, NODE, 443);
        }
    }
    let full = Heard::of(&world, 0);
    assert_eq!(full.refused, []);
    for id in &ids[6..] {
        world.connect(*id, 1, NODE, 443);
    }
    let heard = Heard::of(&world, full.read);
    assert!(heard.refused.iter().all(|(id, _)| ids[..6].contains(id)), "{:?}", heard.refused);
    assert_eq!(heard.refused.len(), ids.len() - 6);
    world.pass(u64::from(CONNECT_MS) + 100);
    let mut served = Heard::of(&world, heard.read).connected;
    served.retain(|id| ids[6..].contains(id));
    assert_eq!(served.len(), ids.len() - 6, "each newcomer within the time of one connection");
}

#[test]
fn what_waits_for_its_turn_ends_with_its_stub_or_when_it_is_not_wanted_any_more() {
    let mut world = World::new();
    let ids = stubs(&mut world, 3);
    for id in &ids {
        for req in 0..20 {
            world.connect(*id, req, NODE, 443);
        }
    }
    let before = Heard::of(&world, 0).read;
    world.dies(ids[0], crate::input::Exit::Signal(9));
    for req in 0..20 {
        world.up(ids[1], CtlUp::Closed { req });
    }
    world.pass(5_000);
    let asked: VecDeque<_> = Heard::of(&world, before).asked.into();
    assert_eq!(asked.len(), 20, "the third one's alone: {asked:?}");
    assert!(asked.iter().all(|(_, id)| *id == ids[2]));
    // Its number may be used again, and nothing is due any more.
    world.connect(ids[1], 7, NODE, 443);
    assert_eq!(Heard::of(&world, before).refused, []);
    assert!(world.next_deadline().is_none_or(|at| at > Time(world.now)));
}
