//! Who connects to this runtime: the handler is started with it, and everybody who comes is for the
//! handler alone.

use super::world::{Step, World, key};
use crate::effect::{Attach, Effect};
use crate::input::{Exit, SandboxId, StreamHandle};
use crate::settings::{DomainSettings, P2pSettings, Settings};
use crate::ua::{StubRoute, UaInput, UaOut};
use protocol::ctl::{CtlDown, CtlUp, Role};
use protocol::limits::GUESTS_MAX;
use std::collections::BTreeMap;

/// One that listens, for runtimes of `peer.example`.
fn settings() -> Settings {
    let with = |p2p: Option<&str>, ca: &str| DomainSettings {
        p2p: p2p.map(str::to_owned),
        ca_pem: ca.to_owned(),
        ..DomainSettings::default()
    };
    let domains = BTreeMap::from([
        ("peer.example".to_owned(), with(Some("peer.example:7443"), "ROOT")),
        ("other.example".to_owned(), with(None, "OTHER")),
    ]);
    Settings {
        runtime_url: "hyperty-runtime://home.example/7f".to_owned(),
        domain: "home.example".to_owned(),
        domains,
        p2p: Some(P2pSettings {
            listen: "127.0.0.1:7443".to_owned(),
            certificate_pem: "CERTIFICATE".to_owned(),
            key_pem: "KEY".to_owned(),
            catalogue: Some("https://stubs.example".to_owned()),
        }),
        ..Settings::default()
    }
}

fn listening() -> (World, SandboxId) {
    let mut world = World::with(&settings());
    world.input(UaInput::Tick);
    let handler = world.stub();
    (world, handler)
}

/// Somebody connects.
fn comes(world: &mut World, stream: u64) {
    let net = *world.of(Role::Net).first().expect("a net role");
    let up = CtlUp::Incoming { from: "192.0.2.1:5".to_owned() };
    let stream = Some(StreamHandle(stream));
    world.input(UaInput::Ctl { sandbox: net, up, stream, code: None });
}

/// Numbers of the guests that a sandbox was given, each with its stream.
fn guests(world: &World) -> Vec<(SandboxId, u32, Attach)> {
    let all = world.outs.iter().filter_map(|out| match out {
        UaOut::Effect(Effect::Ctl { sandbox, down: CtlDown::Incoming { conn, .. }, attach }) => {
            Some((*sandbox, *conn, *attach))
        }
        _ => None,
    });
    all.collect()
}

#[test]
fn the_handler_starts_with_the_runtime_from_the_catalogue_of_the_operator() {
    let (mut world, handler) = listening();
    let job = world.jobs.first().expect("a job");
    assert_eq!(job.base, "https://stubs.example");
    assert_eq!(job.names, ["p2p-handler"]);
    let row = world.ps("p2p-handler");
    assert_eq!((row.kind.as_str(), row.state.as_str()), ("p2p-handler", "active"));
    assert_eq!(row.url, "hyperty-runtime://home.example/7f/p2phandler/7f");
    let (_, assign, _) = world.assigns.first().expect("assigned");
    let config: serde_json::Value = serde_json::from_str(&assign.config).unwrap();
    assert_eq!(config["isHandlerStub"], true);
    assert_eq!(config["runtimeURL"], "hyperty-runtime://home.example/7f");
    assert!(assign.grants.is_empty(), "it connects to nobody: {:?}", assign.grants);
    let said = world.said_to(handler);
    let CtlDown::Identity(identity) = said.first().expect("told") else { panic!("{said:?}") };
    assert!(identity.listens);
    assert_eq!(identity.peers, [("peer.example".to_owned(), "ROOT".to_owned())]);
    assert!(matches!(said.get(1), Some(CtlDown::Assign(_))), "{said:?}");
    world.pass(3_600_000);
    assert_eq!(world.ps("p2p-handler").state, "active", "it is never idle");
}

#[test]
fn nobody_is_let_in_before_the_handler_is_there_and_all_are_for_it() {
    let mut world = World::with(&settings()).holding(&[Step::Activate]);
    world.input(UaInput::Tick);
    assert!(world.of(Role::Net).is_empty());
    let handler = world.stub();
    world.up(handler, CtlUp::Activated { name: "handler".to_owned() });
    let net = *world.of(Role::Net).first().expect("the door needs it");
    let opened = world.said_to(net);
    assert_eq!(opened, [&CtlDown::NetListen { sandbox: handler.0 }]);
    comes(&mut world, 5);
    assert_eq!(guests(&world), [(handler, 1, Attach::Stream(StreamHandle(5)))]);
    world.dies(handler, Exit::Signal(11));
    assert!(world.said_to(net).contains(&&CtlDown::NetForget { sandbox: handler.0 }));
}

#[test]
fn a_net_role_that_dies_comes_back_and_lets_in_again() {
    let (mut world, handler) = listening();
    for life in 1..4 {
        let net = *world.of(Role::Net).first().expect("a net role");
        assert_eq!(world.said_to(net), [&CtlDown::NetListen { sandbox: handler.0 }], "{life}");
        world.dies(net, Exit::Signal(9));
        world.pass(2_000);
    }
}

#[test]
fn a_new_handler_is_the_one_who_gets_them() {
    let (mut world, handler) = listening();
    world.dies(handler, Exit::Signal(11));
    world.pass(1);
    let next = world.stub();
    assert_ne!(next, handler);
    comes(&mut world, 6);
    assert_eq!(guests(&world), [(next, 1, Attach::Stream(StreamHandle(6)))]);
}

#[test]
fn attack_022_there_are_only_so_many_guests_and_what_they_did_wrong_is_told() {
    let (mut world, handler) = listening();
    for stream in 0..=GUESTS_MAX {
        comes(&mut world, stream.try_into().unwrap());
    }
    assert_eq!(guests(&world).len(), GUESTS_MAX);
    let refused = world.events_named("refused").len();
    assert_eq!(refused, 1);
    world.pass(2_000);
    let why = Some("no TLS with it".to_owned());
    world.up(handler, CtlUp::Left { conn: 1, refused: why });
    let refused = world.events_named("refused");
    assert!(refused.iter().any(|event| event.detail.contains("no TLS")), "{refused:?}");
    comes(&mut world, 99);
    assert_eq!(guests(&world).len(), GUESTS_MAX + 1, "there is room again");
    let net = *world.of(Role::Net).first().expect("a net role");
    world.up(net, CtlUp::Listening { error: None, turned_away: 7 });
    let refused = world.events_named("refused");
    assert!(refused.iter().any(|event| event.detail.starts_with("7 connections")), "{refused:?}");
    assert_eq!(world.ua.door.refused, 8);
}

#[test]
fn a_stub_that_says_what_only_the_net_role_says_is_ended() {
    let (mut world, handler) = listening();
    world.up(handler, CtlUp::Incoming { from: "me".to_owned() });
    assert!(world.killed.contains(&handler));
    assert!(guests(&world).is_empty());
}

#[test]
fn a_handler_that_an_operator_removed_stays_away_until_one_wants_it() {
    use protocol::control::Command;
    let (mut world, _) = listening();
    let name = "p2p-handler".to_owned();
    world.operator(Command::Undeploy { name: name.clone() });
    world.pass(600_000);
    assert!(world.of(Role::Stub).is_empty());
    let (wait, live) = (false, false);
    world.operator(Command::Deploy { target: name, wait, live });
    assert_eq!(world.of(Role::Stub).len(), 1);
}

#[test]
fn without_the_key_there_is_no_handler_and_no_door() {
    let mut world = World::with(&Settings { p2p: None, ..settings() });
    world.input(UaInput::Tick);
    world.pass(600_000);
    assert!(world.alive.is_empty());
    let route =
        world.ua.stub_for(world.time(), &key("p2p-handler"), "an operator", &mut Vec::new());
    assert!(matches!(route, StubRoute::Refused(_)), "{route:?}");
}

#[test]
fn a_handler_whose_catalogue_was_down_is_tried_again_by_itself() {
    let mut world = World::with(&settings());
    let down =
        CtlUp::FetchFailed { error: protocol::ctl::FetchError::Down, text: "refused".to_owned() };
    world.fetch_answers.push_back(down);
    world.input(UaInput::Tick);
    assert_eq!(world.ps("p2p-handler").state, "failed");
    world.pass(1_500);
    assert_eq!(world.ps("p2p-handler").state, "active");
}

#[test]
fn attack_022_strangers_at_the_door_do_not_wash_the_record_away() {
    let (mut world, _) = listening();
    let net = *world.of(Role::Net).first().expect("a net role");
    let before = world.events().len();
    for _ in 0..500 {
        world.up(net, CtlUp::Listening { error: None, turned_away: 1 });
        world.up(net, CtlUp::Listening { error: Some("no".to_owned()), turned_away: 0 });
    }
    let told = world.events().len() - before;
    assert!(told < 10, "{told} events at one moment, of what one process says");
}

#[test]
fn attack_022_a_day_of_knocking_does_not_wash_the_record_away() {
    let (mut world, _) = listening();
    let net = *world.of(Role::Net).first().expect("a net role");
    let before = world.events().len();
    // The net role counts once a second; that is what one stranger in a loop makes of it.
    for _ in 0..20_000 {
        world.up(net, CtlUp::Listening { error: None, turned_away: 1 });
        world.now += 1_000;
    }
    let told = world.events().len() - before;
    assert!(told < 500, "{told} events; the record holds 10,000");
    assert_eq!(world.ua.door.refused, 20_000, "all are counted");
    // After a pause it is told at once again.
    world.now += 600_000;
    world.up(net, CtlUp::Listening { error: None, turned_away: 1 });
    assert_eq!(world.events().len() - before, told + 1);
}

#[test]
fn attack_022_a_day_of_strangers_that_prove_nothing_does_not_wash_the_record_away() {
    let (mut world, handler) = listening();
    let before = world.events().len();
    for conn in 1..=5_000 {
        comes(&mut world, conn.into());
        let refused = Some("no TLS with it".to_owned());
        world.up(handler, CtlUp::Left { conn, refused });
        world.now += 1_000;
    }
    let told = world.events().len() - before;
    assert!(told < 100, "{told} events");
    assert_eq!(world.ua.door.refused, 5_000, "all are counted");
}
