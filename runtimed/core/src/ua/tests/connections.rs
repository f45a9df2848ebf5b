//! Connections of sandboxes: only what was granted, exactly as private as it was granted, bounded,
//! over a net role that may die.

use super::world::{NET, Step, World, configured, wanted};
use crate::effect::{Attach, Effect};
use crate::input::{Exit, SandboxId, StreamHandle};
use crate::limits::CONNECTIONS_PER_SANDBOX;
use crate::settings::DomainSettings;
use crate::ua::{UaInput, UaOut};
use protocol::address::RouteKey;
use protocol::ctl::{ConnectError, CtlDown, CtlUp, Role, Target};

/// What was asked of the net role: host, port, private.
fn asked(world: &World) -> Vec<(String, u16, bool)> {
    let ask = |out: &UaOut| match out {
        UaOut::Effect(Effect::Ctl {
            down: CtlDown::NetConnect { host, port, private, .. },
            ..
        }) => Some((host.clone(), *port, *private)),
        _ => None,
    };
    world.outs.iter().filter_map(ask).collect()
}

/// How a request of a sandbox was answered.
fn answer(world: &World, id: SandboxId, wanted: u32) -> Option<Result<(), ConnectError>> {
    world.said_to(id).into_iter().find_map(|down| match down {
        CtlDown::Connected { req } if *req == wanted => Some(Ok(())),
        CtlDown::ConnectRefused { req, error, .. } if *req == wanted => Some(Err(*error)),
        _ => None,
    })
}

#[test]
fn a_granted_target_is_connected_by_the_net_role_that_starts_when_it_is_first_needed() {
    let mut world = World::new();
    let id = world.active("example.com");
    assert!(world.of(Role::Net).is_empty());
    world.connect(id, 1, "node.example.com", 443);
    assert_eq!(asked(&world), [("node.example.com".to_owned(), 443, false)]);
    assert_eq!(answer(&world, id, 1), Some(Ok(())));
    let stream = world.outs.iter().any(|out| {
        matches!(out, UaOut::Effect(Effect::Ctl { sandbox, attach: Attach::Stream(_), .. }) if *sandbox == id)
    });
    assert!(stream, "the stream goes with it");
    world.connect(id, 2, "NODE.example.com", 443);
    assert_eq!(world.of(Role::Net).len(), 1);
}

#[test]
fn a_net_role_that_one_attack_got_through_connects_nothing() {
    let mut world = World::new();
    let id = world.active("example.com");
    world.proof.denied = 99;
    world.connect(id, 1, "node.example.com", 443);
    assert!(asked(&world).is_empty(), "nothing was asked of it");
    let refused = world.events_named("sandbox-refused");
    assert!(refused.iter().all(|event| event.name == "net") && !refused.is_empty(), "{refused:?}");
}

#[test]
fn attack_009_a_legacy_domain_and_a_host_of_that_name_share_no_section() {
    let with = |catalogue: &str| DomainSettings {
        catalogue: Some(catalogue.to_owned()),
        ..DomainSettings::default()
    };
    let mut settings = crate::Settings::default();
    settings.domains.insert("slack.slack.com".to_owned(), with("file:///host"));
    settings.domains.insert("slack://slack.com".to_owned(), with("file:///legacy"));
    settings.domains.insert("idp.a.example".to_owned(), with("file:///host"));
    let world = World::with(&settings);
    let of = |address: &str| {
        let key = RouteKey::parse(address, "localhost").unwrap();
        world.ua.domain_settings(&key).catalogue.clone()
    };
    assert_eq!(of("slack://x@slack.com").as_deref(), Some("file:///legacy"));
    assert_eq!(of("slack.slack.com").as_deref(), Some("file:///host"));
    assert_eq!(of("domain-idp://a.example"), None);
    settings.domains.remove("slack://slack.com");
    let world = World::with(&settings);
    let key = RouteKey::parse("slack://x@slack.com", "localhost").unwrap();
    assert_eq!(world.ua.domain_settings(&key).catalogue, None);
}

#[test]
fn what_is_not_granted_fails_inside_and_is_told_to_the_operator() {
    let mut world = World::new();
    let id = world.active("example.com");
    for (n, (host, port)) in [
        ("node.example.com", 8443),
        ("example.com", 443),
        ("catalogue.example.com", 443),
        ("evil.example", 443),
        ("127.0.0.1", 443),
        ("sub.node.example.com", 443),
    ]
    .into_iter()
    .enumerate()
    {
        let req = u32::try_from(n).unwrap();
        world.connect(id, req, host, port);
        assert_eq!(answer(&world, id, req), Some(Err(ConnectError::NotGranted)), "{host}:{port}");
    }
    assert!(asked(&world).is_empty() && world.of(Role::Net).is_empty());
    assert!(world.alive.contains_key(&id), "a refusal does not end a stub");
    let events = world.events_named("refused");
    assert!(events.iter().any(|row| row.detail.contains("node.example.com:8443")), "{events:#?}");
}

/// A worker in foreign hands asks the daemon itself, past the checks of its own host.
#[test]
fn escape_021_only_exactly_the_granted_name_and_port_are_asked_of_the_net_role() {
    let mut world = World::new();
    let id = world.active("example.com");
    for (n, (host, port)) in [
        ("victim.example", 443),
        ("node.example.com", 444),
        ("node.example.com.", 443),
        (".node.example.com", 443),
        ("node.example.com:443", 443),
        ("93.184.216.34", 443),
        ("[::1]", 443),
        ("n\u{43e}de.example.com", 443),
        ("xn--nde-fed.example.com", 443),
        ("\u{ff4e}ode.example.com", 443),
        ("node.example.com\r\nHost: victim.example", 443),
        ("node.example.com\0.victim.example", 443),
        ("node.example.com\u{1b}[2J\u{9b}31m\u{202e}", 443),
        ("user@node.example.com", 443),
        ("node.example.com/", 443),
        ("node.example.com%2e", 443),
        (" node.example.com", 443),
        ("", 443),
        ("node.example.com", 0),
    ]
    .into_iter()
    .enumerate()
    {
        let req = u32::try_from(n).unwrap();
        world.pass(1_001);
        world.connect(id, req, host, port);
        assert_eq!(answer(&world, id, req), Some(Err(ConnectError::NotGranted)), "{host:?}:{port}");
        let told = world.events_named("refused").last().map(|row| (*row).clone()).unwrap();
        assert_eq!(told.reason.as_deref(), Some("policy"), "{host:?}");
        assert!(told.detail.starts_with("no grant for"), "{told:?}");
        assert!(!told.detail.contains(|c: char| c.is_control() || c == '\u{202e}'), "{told:?}");
    }
    assert!(asked(&world).is_empty() && world.of(Role::Net).is_empty(), "nobody looks it up");
    assert!(world.alive.contains_key(&id), "a refusal does not end a stub");
}

#[test]
fn escape_023_of_ten_thousand_connections_the_net_role_hears_of_as_many_as_one_may_have() {
    let mut world = World::new().holding(&[Step::Net]);
    let id = world.active("example.com");
    for req in 0..10_000 {
        // As fast as a worker may speak at all.
        world.pass(1);
        world.connect(id, req, "node.example.com", 443);
    }
    assert_eq!(asked(&world).len(), usize::try_from(CONNECTIONS_PER_SANDBOX).unwrap());
    let exhausted = |down: &&&CtlDown| {
        matches!(down, CtlDown::ConnectRefused { error: ConnectError::Exhausted, .. })
    };
    let refused = world.said_to(id).iter().filter(exhausted).count();
    assert_eq!(refused, 10_000 - asked(&world).len());
    assert!(world.alive.contains_key(&id), "a refusal does not end a stub");
}

#[test]
fn only_what_the_operator_wrote_down_may_be_private() {
    let mut with = DomainSettings { private: true, ..DomainSettings::default() };
    with.connect.push("127.0.0.1:9090".to_owned());
    with.hosts.insert("slack.com:443".to_owned(), "127.0.0.1:9443".to_owned());
    let mut world = World::with(&configured("example.com", with));
    world.descriptor.wanted = vec![
        wanted("slack.com", 443, true),
        wanted("rebound.example", 443, true),
        wanted("10.0.0.1", 8080, true),
    ];
    let id = world.active("example.com");
    world.connect(id, 1, "127.0.0.1", 9090);
    world.connect(id, 2, "slack.com", 443);
    world.connect(id, 3, "rebound.example", 443);
    world.connect(id, 4, "10.0.0.1", 8080);
    let expected = [
        ("127.0.0.1".to_owned(), 9090, true),
        ("127.0.0.1".to_owned(), 9443, true),
        ("rebound.example".to_owned(), 443, false),
    ];
    assert_eq!(asked(&world), expected);
    assert_eq!(answer(&world, id, 4), Some(Err(ConnectError::NotGranted)));
    let inspect = world.inspect("example.com");
    assert!(inspect.not_granted.iter().any(|text| text.contains("10.0.0.1:8080")), "{inspect:?}");
}

#[test]
fn a_fetch_worker_reaches_its_catalogue_and_the_listed_sources_only() {
    let with = DomainSettings {
        catalogue: Some("http://127.0.0.1:8080/.well-known".to_owned()),
        private: true,
        sources: vec!["https://cdn.example".to_owned()],
        ..DomainSettings::default()
    };
    let mut world = World::with(&configured("example.com", with)).holding(&[Step::Fetch]);
    world.message("example.com");
    let id = world.of(Role::Fetch)[0];
    world.connect(id, 1, "127.0.0.1", 8080);
    world.connect(id, 2, "cdn.example", 443);
    world.connect(id, 3, "127.0.0.1", 8081);
    world.connect(id, 4, "node.example.com", 443);
    assert_eq!(asked(&world)[0], ("127.0.0.1".to_owned(), 8080, true));
    assert_eq!(answer(&world, id, 2), Some(Ok(())));
    assert_eq!(answer(&world, id, 3), Some(Err(ConnectError::NotGranted)));
    assert_eq!(answer(&world, id, 4), Some(Err(ConnectError::NotGranted)));
}

#[test]
fn an_unconfigured_catalogue_is_never_private() {
    let mut world = World::new().holding(&[Step::Fetch]);
    world.message("example.com");
    let id = world.of(Role::Fetch)[0];
    world.connect(id, 1, "catalogue.example.com", 443);
    world.connect(id, 2, "example.com", 443);
    let expected =
        [("catalogue.example.com".to_owned(), 443, false), ("example.com".to_owned(), 443, false)];
    assert_eq!(asked(&world), expected);
}

#[test]
fn the_home_catalogue_is_reached_by_the_home_domains_rules() {
    let mut home = DomainSettings {
        catalogue: Some("https://cat.home.example/.well-known".to_owned()),
        private: true,
        ..DomainSettings::default()
    };
    home.hosts.insert("cat.home.example:443".to_owned(), "127.0.0.1:8443".to_owned());
    let mut settings = configured("home.example", home);
    settings.domain = "home.example".to_owned();
    let mut world = World::with(&settings).holding(&[Step::Fetch]);
    world.message("example.com");
    let first = world.of(Role::Fetch)[0];
    let error = protocol::ctl::FetchError::Absent;
    world.up(first, CtlUp::FetchFailed { error, text: String::new() });
    let id = world.of(Role::Fetch)[0];
    world.connect(id, 1, "cat.home.example", 443);
    assert_eq!(asked(&world), [("127.0.0.1".to_owned(), 8443, true)]);
    world.connect(id, 2, "catalogue.example.com", 443);
    assert_eq!(answer(&world, id, 2), Some(Err(ConnectError::NotGranted)), "not its catalogue");
}

#[test]
fn files_are_for_the_fetch_worker_of_a_folder_only() {
    let with = DomainSettings {
        catalogue: Some("file:///srv/catalogue".to_owned()),
        ..DomainSettings::default()
    };
    let mut world = World::with(&configured("example.com", with)).holding(&[Step::Fetch]);
    world.message("example.com");
    let id = world.of(Role::Fetch)[0];
    let target = Target::File { path: "protocolstub/default".to_owned() };
    world.up(id, CtlUp::Connect { req: 1, target: target.clone() });
    let open = UaOut::Effect(Effect::OpenFile {
        sandbox: id,
        req: 1,
        folder: "/srv/catalogue".to_owned(),
        path: "protocolstub/default".to_owned(),
    });
    assert!(world.outs.contains(&open));
    world.input(UaInput::Opened { sandbox: id, req: 1, outcome: Ok(StreamHandle(5)) });
    assert_eq!(answer(&world, id, 1), Some(Ok(())));
    let mut world = World::new();
    let stub = world.active("other.example");
    world.up(stub, CtlUp::Connect { req: 1, target });
    assert_eq!(answer(&world, stub, 1), Some(Err(ConnectError::NotGranted)));
}

#[test]
fn connections_are_bounded_and_counted_down_when_they_fail_or_close() {
    let mut world = World::new().holding(&[Step::Net]);
    let id = world.active("example.com");
    for req in 0..CONNECTIONS_PER_SANDBOX {
        world.connect(id, req, "node.example.com", 443);
    }
    world.connect(id, 999, "node.example.com", 443);
    assert_eq!(answer(&world, id, 999), Some(Err(ConnectError::Exhausted)));
    // So many to one place wait for each other.
    world.pass(1_000);
    let net = world.of(Role::Net)[0];
    let error = Some((ConnectError::Unreachable, "refused".to_owned()));
    world.up(net, CtlUp::NetResult { req: 1, error });
    assert_eq!(answer(&world, id, 0), Some(Err(ConnectError::Unreachable)));
    world.held.clear();
    world.connect(id, 1_000, "node.example.com", 443);
    assert_eq!(answer(&world, id, 1_000), Some(Ok(())));
    world.connect(id, 1_001, "node.example.com", 443);
    assert_eq!(answer(&world, id, 1_001), Some(Err(ConnectError::Exhausted)));
    world.up(id, CtlUp::Closed { req: 1_000 });
    world.connect(id, 1_002, "node.example.com", 443);
    assert_eq!(answer(&world, id, 1_002), Some(Ok(())));
}

#[test]
fn closing_what_was_never_opened_makes_no_room() {
    let mut world = World::new().holding(&[Step::Net]);
    let id = world.active("example.com");
    for req in 0..CONNECTIONS_PER_SANDBOX * 4 {
        world.connect(id, req, "node.example.com", 443);
        world.up(id, CtlUp::Closed { req: req + 100_000 });
        world.up(id, CtlUp::Closed { req });
    }
    let open = usize::try_from(CONNECTIONS_PER_SANDBOX).unwrap();
    assert!(asked(&world).len() <= open, "{} asked of the net role", asked(&world).len());
}

#[test]
fn when_the_net_role_dies_whoever_waits_is_told_and_the_next_gets_a_new_one() {
    let mut world = World::new().holding(&[Step::Net]);
    let id = world.active("example.com");
    world.connect(id, 1, "node.example.com", 443);
    let net = world.of(Role::Net)[0];
    world.dies(net, Exit::Signal(9));
    assert_eq!(answer(&world, id, 1), Some(Err(ConnectError::Unreachable)));
    world.held.clear();
    world.connect(id, 2, "node.example.com", 443);
    assert_eq!(answer(&world, id, 2), Some(Ok(())));
    assert_ne!(world.of(Role::Net)[0], net);
    assert!(world.alive.contains_key(&id), "no stub ends with it");
}

#[test]
fn connections_wait_for_a_net_role_that_starts_and_do_not_wait_for_ever() {
    let mut world = World::new().holding(&[Step::Spawn(NET)]);
    let id = world.active("example.com");
    world.connect(id, 1, "node.example.com", 443);
    assert_eq!(answer(&world, id, 1), None);
    world.pass(10_000);
    assert_eq!(answer(&world, id, 1), Some(Err(ConnectError::Unreachable)));
}

#[test]
fn a_dead_sandbox_is_forgotten_by_the_net_role_and_late_results_go_nowhere() {
    let mut world = World::new().holding(&[Step::Net]);
    let id = world.active("example.com");
    world.connect(id, 1, "node.example.com", 443);
    let net = world.of(Role::Net)[0];
    world.dies(id, Exit::Signal(9));
    assert!(world.said_to(net).contains(&&CtlDown::NetForget { sandbox: id.0 }));
    world.outs.clear();
    world.input(UaInput::Ctl {
        sandbox: net,
        up: CtlUp::NetResult { req: 1, error: None },
        stream: Some(StreamHandle(1)),
        code: None,
    });
    assert!(world.outs.is_empty(), "{:?}", world.outs);
}

#[test]
fn a_stub_cannot_flood_the_record_with_refused_connections() {
    let mut world = World::new();
    let id = world.active("example.com");
    let before = world.events_named("refused").len();
    for req in 0..1_000 {
        world.connect(id, req, "evil.example", 443);
    }
    let events = world.events_named("refused").len() - before;
    assert!(events <= 100, "{events} events for one thing");
}

#[test]
fn another_configuration_grants_and_revokes_for_the_next_connections_of_a_running_stub() {
    let mut world = World::new();
    let id = world.active("example.com");
    world.connect(id, 1, "extra.example", 8443);
    assert_eq!(answer(&world, id, 1), Some(Err(ConnectError::NotGranted)));
    let connect = vec!["extra.example:8443".to_owned()];
    let more = DomainSettings { connect, ..DomainSettings::default() };
    world.ua.configure(&configured("example.com", more));
    world.connect(id, 2, "extra.example", 8443);
    assert_eq!(answer(&world, id, 2), Some(Ok(())));
    world.ua.configure(&configured("other.example", DomainSettings::default()));
    world.connect(id, 3, "extra.example", 8443);
    assert_eq!(answer(&world, id, 3), Some(Err(ConnectError::NotGranted)));
    world.connect(id, 4, "node.example.com", 443);
    assert_eq!(answer(&world, id, 4), Some(Ok(())), "what the descriptor asks for stays");
}

#[test]
fn a_net_role_that_ends_again_and_again_starts_later_each_time_and_connections_wait_for_it() {
    let mut world = World::new();
    let id = world.active("example.com");
    let mut waited = Vec::new();
    for req in 0..5 {
        let begun = world.now;
        world.connect(id, req, "node.example.com", 443);
        while answer(&world, id, req).is_none() {
            assert!(world.now < begun + 5_000, "nobody starts it");
            world.pass(10);
        }
        assert_eq!(answer(&world, id, req), Some(Ok(())));
        waited.push(world.now - begun);
        let net = world.of(Role::Net)[0];
        world.dies(net, Exit::Signal(9));
    }
    assert_eq!(waited[..2], [0, 0]);
    for (waited, about) in waited[2..].iter().zip([200, 800, 3_200]) {
        assert!((about * 8 / 10..=about * 12 / 10 + 10).contains(waited), "{waited} of {about}");
    }
    // Now it rests longer than anybody waits for a connection.
    world.connect(id, 100, "node.example.com", 443);
    assert_eq!(answer(&world, id, 100), Some(Err(ConnectError::Unreachable)));
    assert!(world.of(Role::Net).is_empty());
    let planned = world.events_named("restart-scheduled");
    assert_eq!(planned.iter().filter(|event| event.name == "net").count(), 5);
    world.pass(70_000);
    world.connect(id, 101, "node.example.com", 443);
    assert_eq!(answer(&world, id, 101), Some(Ok(())));
}

#[test]
fn a_net_role_that_does_not_answer_two_heartbeats_is_ended() {
    let mut world = World::new();
    let id = world.active("example.com");
    world.connect(id, 1, "node.example.com", 443);
    let net = world.of(Role::Net)[0];
    world.held.insert(Step::Ping);
    world.pass(5_001);
    let pings = |world: &World| {
        let ping = |out: &&UaOut| matches!(out, UaOut::Effect(Effect::Ping { sandbox, .. }) if *sandbox == net);
        world.outs.iter().filter(ping).count()
    };
    assert_eq!(pings(&world), 1);
    world.input(UaInput::Heartbeat { sandbox: net, answered: false });
    world.pass(1);
    assert_eq!(pings(&world), 2);
    world.input(UaInput::Heartbeat { sandbox: net, answered: false });
    let exited = world.events_named("exited");
    assert_eq!((exited[0].name.as_str(), exited[0].reason.as_deref()), ("net", Some("hang")));
}
