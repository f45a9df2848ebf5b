//! Where messages go: over a connection, after waiting for one, or by the message node.

use super::*;

#[test]
fn a_requester_has_its_address_and_messages_wait_until_its_connection_is_live() {
    let mut bench = Bench::with(with_p2p(false, false));
    let _handler = bench.handler();
    let alice = bench.app(&[ALICE]);
    let (_, link, url) = bench.requester(alice, "1", CAROL);
    bench.status(link, &url, "created", &url);
    bench.status(link, &url, "in-progress", &url);
    bench.send(alice, request("2", ALICE, CAROL));
    assert!(bench.hear(link).is_none(), "nothing before it is live");
    bench.status(link, &url, "live", FAR);
    let _registry = bench.heard_for(link, &format!("{FAR}/registry"), MessageType::Subscribe);
    for id in ["1", "2"] {
        let frame = bench.hear(link).unwrap();
        assert_eq!((frame.view().unwrap().id(), peer_of(&frame).as_deref()), (id, Some(FAR)));
    }
    // A.3: to the runtime itself, too.
    let sm = format!("{FAR}/sm");
    bench.send(alice, request("3", ALICE, &sm));
    let frame = bench.heard_for(link, &sm, MessageType::Read);
    assert_eq!(peer_of(&frame).as_deref(), Some(FAR));
    bench.send(link, response("1", CAROL, ALICE, 200));
    assert_eq!(bench.ids(alice), ["1"]);
    // Lost: what was asked is answered, what is asked waits for the next attempt.
    bench.status(link, &url, "disconnected", FAR);
    let lost = [bench.refusal(alice).unwrap(), bench.refusal(alice).unwrap()];
    assert!(lost.iter().all(|lost| lost.2 == "peer-down"), "{lost:?}");
    bench.send(alice, request("4", ALICE, CAROL));
    assert_eq!(bench.hear(alice), None);
    bench.status(link, &url, "failed", FAR);
    assert_eq!(bench.refusal(alice).unwrap(), ("4".to_owned(), 503, "peer-down".to_owned()));
    bench.send(alice, request("5", ALICE, CAROL));
    assert_eq!(bench.refusal(alice).unwrap().2, "peer-down", "at once");
    bench.status(link, &url, "live", FAR);
    bench.send(alice, request("6", ALICE, CAROL));
    assert!(bench.ids(link).contains(&"6".to_owned()));
}

#[test]
fn a_connection_that_is_not_made_in_time_is_one_that_failed() {
    let mut bench = Bench::with(with_p2p(false, false));
    let _handler = bench.handler();
    let alice = bench.app(&[ALICE]);
    let (_, link, url) = bench.requester(alice, "1", CAROL);
    bench.status(link, &url, "in-progress", &url);
    bench.pass(PEER_WAIT_MS - 1);
    assert_eq!(bench.hear(alice), None);
    bench.pass(1);
    assert_eq!(bench.refusal(alice).unwrap().2, "peer-down");
}

#[test]
fn with_a_message_node_only_who_asks_waits_for_a_connection_and_goes_by_the_node_without_one() {
    let mut bench = Bench::with(with_p2p(false, true));
    let _handler = bench.handler();
    let alice = bench.app(&[ALICE]);
    let (_, node, _) = bench.requester(alice, "1", CAROL);
    assert_eq!(bench.ids(node), ["1"], "nobody asked for a connection");
    bench.send(alice, request("2", ALICE, CAROL).flag(flags::P2P));
    let (_, link, url) = bench.youngest();
    assert!(link != node && url.contains("/p2prequester/"), "{url}");
    assert_eq!(bench.hear(node), None, "it waits");
    bench.status(link, &url, "failed", &url);
    assert_eq!(bench.ids(node), ["2"], "the node has it");
    bench.send(alice, request("3", ALICE, CAROL).flag(flags::P2P));
    assert_eq!(bench.ids(node), ["3"], "and what comes after");
    bench.status(link, &url, "live", FAR);
    bench.heard.clear();
    bench.send(alice, request("4", ALICE, CAROL));
    assert_eq!(bench.ids(link), ["4"], "a live connection is used by all");
    bench.send(alice, request("5", ALICE, "domain://registry.far.example"));
    assert_eq!(bench.ids(node), ["5"], "a back end is the node's");
    bench.send(node, response("3", CAROL, ALICE, 200));
    assert_eq!(bench.ids(alice), ["3"], "what went by the node comes back by it");
}

#[test]
fn a_requester_that_cannot_start_or_dies_leaves_the_way_to_the_node() {
    for node in [true, false] {
        let mut bench = Bench::with(with_p2p(false, node));
        let _handler = bench.handler();
        let alice = bench.app(&[ALICE]);
        bench.send(alice, request("1", ALICE, CAROL).flag(flags::P2P));
        let (sandbox, link, url) = bench.youngest();
        bench.status(link, &url, "live", FAR);
        bench.heard.remove(&link);
        bench.exits(sandbox, Vec::new());
        assert_eq!(bench.refusal(alice).unwrap().2, "stub-died");
        bench.pass(1_000);
        let (_, again, same) = bench.youngest();
        assert_eq!(same, url, "it has its address again");
        bench.send(alice, request("2", ALICE, CAROL).flag(flags::P2P));
        assert_eq!(bench.hear(again), None, "no connection outlives its stub");
        bench.status(again, &url, "live", FAR);
        assert!(bench.ids(again).contains(&"2".to_owned()));
        bench.operator(5, Command::Undeploy { name: "p2p.far.example".to_owned() });
        bench.heard.clear();
        bench.fetch_fails = Some(protocol::ctl::FetchError::Absent);
        bench.send(alice, request("3", ALICE, CAROL).flag(flags::P2P));
        // Both are looked for in vain: whose error it is says where it went.
        let refusal = bench.refusal(alice).unwrap();
        assert_eq!(refusal.2, "catalogue-absent");
        let last = bench.spawned.iter().rev().find(|(_, role, _)| *role == Role::Stub).unwrap();
        assert_eq!(last.2, if node { "far.example" } else { "p2p.far.example" });
    }
}

#[test]
fn of_two_connections_the_one_that_the_lower_runtime_made_is_used_and_the_other_ends() {
    for (remote, keeps_ours) in
        [(FAR, false), (HIGH, false), ("hyperty-runtime://high.example/0", false)]
    {
        // All of these are lower than `hyperty-runtime://home.example/rt`.
        both(remote, keeps_ours);
    }
}

fn both(remote: &str, keeps_ours: bool) {
    let mut bench = Bench::with(with_p2p(false, false));
    let handler = bench.handler();
    let alice = bench.app(&[ALICE]);
    let to = format!("hyperty://{}/x", remote.split('/').nth(2).unwrap());
    let (_, link, url) = bench.requester(alice, "1", &to);
    bench.status(link, &url, "live", remote);
    bench.connected(handler, 1, remote);
    bench.heard.clear();
    bench.send(alice, request("2", ALICE, &to));
    let used = if keeps_ours { link } else { handler.1 };
    assert_eq!(bench.ids(used), ["2"]);
    // What was asked over the other one is still answered over it.
    bench.send(link, response("1", &to, ALICE, 200));
    assert_eq!(bench.ids(alice), ["1"]);
    let name = format!("p2p.{}", remote.split('/').nth(2).unwrap());
    let state = |bench: &mut Bench| {
        bench.operator(9, Command::Ps { all: true });
        let Some(protocol::control::Reply::Ps(rows)) = bench.replies(9).pop() else { panic!() };
        rows.into_iter().find(|row| row.name == name).map(|row| row.state)
    };
    for question in bench.heard.remove(&link).unwrap_or_default() {
        bench.agrees(link, &question, &json!({"code": 200}));
    }
    bench.pass(20_000 + SURPLUS_MS);
    let expected = if keeps_ours { "active" } else { "dormant" };
    assert_eq!(state(&mut bench).as_deref(), Some(expected));
    bench.handler_says(handler.0, CtlUp::Left { conn: 1, refused: None });
    bench.send(alice, request("3", ALICE, &to));
    assert_ne!(bench.youngest().1, handler.1, "and when that one is lost, the other is made again");
}

#[test]
fn the_runtime_with_the_lower_address_keeps_the_connection_that_it_made() {
    let mut settings = with_p2p(false, false);
    let zeta =
        DomainSettings { p2p: Some("zeta.example:7443".to_owned()), ..DomainSettings::default() };
    settings.domains.insert("zeta.example".to_owned(), zeta);
    let mut bench = Bench::with(settings);
    let handler = bench.handler();
    let alice = bench.app(&[ALICE]);
    let (zeta, to) = ("hyperty-runtime://zeta.example/7", "hyperty://zeta.example/x");
    let (_, link, url) = bench.requester(alice, "1", to);
    bench.connected(handler, 1, zeta);
    assert!(bench.ids(handler.1).contains(&"1".to_owned()), "what waited goes by the first one");
    bench.status(link, &url, "live", zeta);
    bench.heard.clear();
    bench.send(alice, request("2", ALICE, to));
    assert_eq!(bench.ids(link), ["2"]);
    bench.pass(20_000);
    assert!(bench.core.ua.components.values().any(|c| c.url.as_str() == url && c.stub.is_some()));
}

#[test]
fn golden_a3_a_handler_and_a_requester_are_registered_and_the_live_connection_is_the_route() {
    let mut bench = Bench::with(with_p2p(true, true));
    bench.input(Input::Tick);
    let status = |bench: &Bench, address: &str| {
        let mut all = bench.core.ua.components.values();
        all.find(|component| component.url.as_str() == address).map(|component| component.status)
    };
    // registerStub(sb, R, {isHandlerStub: true})
    let handler = *bench.components.iter().find(|(_, url)| *url == HANDLER).unwrap().0;
    let handler = bench.core.bus.sandboxes[&handler];
    bench.status(handler, HANDLER, "created", HANDLER);
    assert_eq!(status(&bench, HANDLER), Some("created"));
    // registerStub(sb, "runtime://r2.com/rt2", {remoteRuntimeURL, p2pHandler, p2pRequesterStub: true})
    let alice = bench.app(&[ALICE]);
    bench.send(alice, request("1", ALICE, CAROL).flag(flags::P2P));
    let (_, link, q) = bench.youngest();
    assert!(q.starts_with("hyperty-runtime://far.example/p2prequester/"), "{q}");
    bench.status(link, &q, "created", &q);
    assert_eq!(status(&bench, &q), Some("created"));
    // connection live: resolve of an address of the runtime, and of a hyperty with body.p2p
    bench.status(link, &q, "live", FAR);
    bench.heard.clear();
    for (id, to) in [("2", "runtime://far.example/7/sm"), ("3", CAROL)] {
        bench.send(alice, request(id, ALICE, to).flag(flags::P2P));
        let frame = bench.hear(link).unwrap();
        assert_eq!((frame.view().unwrap().id(), peer_of(&frame).as_deref()), (id, Some(FAR)));
    }
    // Without a handler registered before there is neither a requester nor a placeholder.
    let mut bench = Bench::with(Settings { p2p: None, ..with_p2p(false, false) });
    let alice = bench.app(&[ALICE]);
    bench.send(alice, request("1", ALICE, CAROL).flag(flags::P2P));
    assert!(bench.spawned.iter().all(|(_, _, name)| !name.starts_with("p2p")));
    assert!(bench.core.p2p.connections.any_of("far.example").is_none());
}
