//! The messages of the seed: paths at the node, the handler's listener, events, and who is registered.

use super::*;

#[test]
fn the_node_is_told_of_the_handler_by_the_ua_and_of_a_requester_by_the_registry_and_when_they_go() {
    let mut bench = Bench::with(with_p2p(true, false));
    bench.input(Input::Tick);
    let handler_of = |bench: &Bench| {
        let found = bench.components.iter().find(|(_, url)| *url == HANDLER);
        *found.expect("the handler").0
    };
    let _handler = handler_of(&bench);
    let (_, home, url) = bench.youngest();
    assert!(url.starts_with("hyperty-runtime://home.example/protostub/"), "{url}");
    // Add P2P Handler path, and its response.
    let told = bench.heard_for(home, NODE, MessageType::Subscribe);
    assert_eq!(told.view().unwrap().from(), format!("{RUNTIME}/ua"));
    let source = "hyperty-runtime://home.example/p2phandler/rt";
    assert_eq!(body_of(&told), json!({"subscribe": [HANDLER], "source": source}));
    assert_eq!(told.view().unwrap().ext().find(ExtTag::Source), Some(source.as_bytes()));
    bench.agrees(home, &told, &json!({"code": "2XX"}));
    // Set P2P Requester routing path.
    let alice = bench.app(&[ALICE]);
    let (_, _, requester) = bench.requester(alice, "1", CAROL);
    let id = requester.strip_prefix("hyperty-runtime://far.example/p2prequester/").unwrap();
    let told = bench.heard_for(home, NODE, MessageType::Subscribe);
    // The node is also told of alice, in a message of another part.
    let told = if told.view().unwrap().from() == format!("{RUNTIME}/registry") {
        told
    } else {
        bench.agrees(home, &told, &json!({"code": 200}));
        bench.heard_for(home, NODE, MessageType::Subscribe)
    };
    assert_eq!(told.view().unwrap().from(), format!("{RUNTIME}/registry"));
    let source = format!("hyperty-runtime://home.example/p2prequester/{id}");
    assert_eq!(body_of(&told), json!({"subscribe": [requester], "source": source}));
    bench.agrees(home, &told, &json!({"code": "2XX"}));
    // A node that was lost is told again of both.
    bench.heard.clear();
    for word in ["disconnected", "live"] {
        bench.status(home, &url, word, &url);
    }
    let again: Vec<Value> = (0..3)
        .map(|_| {
            let told = bench.heard_for(home, NODE, MessageType::Subscribe);
            bench.agrees(home, &told, &json!({"code": 200}));
            body_of(&told)["subscribe"].clone()
        })
        .filter(|list| *list == json!([HANDLER]) || *list == json!([requester]))
        .collect();
    assert_eq!(again.len(), 2, "{again:?}");
    // Remove both.
    for (name, url, from) in
        [("p2p.far.example", requester.as_str(), "registry"), ("p2p-handler", HANDLER, "ua")]
    {
        bench.operator(7, Command::Undeploy { name: name.to_owned() });
        let told = bench.heard_for(home, NODE, MessageType::Unsubscribe);
        assert_eq!(told.view().unwrap().from(), format!("{RUNTIME}/{from}"));
        assert_eq!(body_of(&told), json!({"unsubscribe": [url]}));
        bench.agrees(home, &told, &json!({"code": "2XX"}));
    }
    bench.pass(600_000);
    assert!(
        !bench
            .heard
            .get(&home)
            .into_iter()
            .flatten()
            .any(|f| { f.view().unwrap().header.mtype == MessageType::Unsubscribe.as_u8() })
    );
}

#[test]
fn a_node_that_does_not_agree_is_asked_again_and_without_a_node_nobody_is() {
    let mut bench = Bench::with(with_p2p(true, false));
    bench.input(Input::Tick);
    let (_, home, _) = bench.youngest();
    for wait in [1_010, 5_010, 30_010] {
        let told = bench.heard_for(home, NODE, MessageType::Subscribe);
        let view = told.view().unwrap();
        bench.send(home, response(view.id(), view.to(), view.from(), 503));
        assert!(bench.hear(home).is_none(), "not at once");
        bench.pass(wait);
    }
    let mut bench = Bench::with(with_p2p(false, false));
    let _handler = bench.handler();
    bench.pass(60_000);
    assert!(bench.spawned.iter().all(|(_, _, name)| name != "home.example"));
}

#[test]
fn the_handler_is_to_listen_for_a_new_connection_whose_events_name_the_other_runtime() {
    let mut bench = Bench::with(with_p2p(false, false));
    let handler = bench.handler();
    let watcher = bench.app(&[ALICE]);
    let at = format!("{RUNTIME}/subscriptions");
    let subscribe = message(MessageType::Subscribe, "1", ALICE, &at);
    let subscribe = subscribe.flag(flags::REPLY | flags::ID_NUM);
    let wanted = json!({"resources": [format!("{HANDLER}/status"), format!("{RUNTIME}/status")]});
    bench.send(watcher, with_body(subscribe, &wanted));
    bench.heard.clear();
    bench.connected(handler, 1, FAR);
    // New P2P Connection event, P2P Connection Update event; as its own and as a copy.
    for word in ["created", "in-progress", "live"] {
        for from in [HANDLER, RUNTIME] {
            let copy = bench.hear(watcher).expect("a copy");
            assert_eq!(copy.view().unwrap().to(), format!("{from}/status"));
            assert_eq!(body_of(&copy), json!({"value": word, "resource": FAR}));
        }
    }
    // Add Handler listener to minibus, and its response.
    let told = bench.heard_for(handler.1, HANDLER, MessageType::Subscribe);
    assert_eq!(told.view().unwrap().from(), format!("{RUNTIME}/registry"));
    let connection = format!("{HANDLER}/far.example/7");
    assert_eq!(body_of(&told), json!({"subscribe": [connection], "source": HANDLER}));
    bench.agrees(handler.1, &told, &json!({"code": "2XX"}));
    bench.send(watcher, request("2", ALICE, &connection));
    assert_eq!(bench.ids(handler.1).pop().unwrap(), "2", "it is reached at its address");
    bench.status(handler.1, HANDLER, "disconnected", FAR);
    bench.send(watcher, request("3", ALICE, &connection));
    bench.heard.get_mut(&watcher).unwrap().retain(|f| f.view().unwrap().id() == "3");
    assert_eq!(bench.refusal(watcher).unwrap().1, 404, "until it is gone");
}

#[test]
fn each_end_asks_who_is_registered_at_the_other_and_is_told_what_changes() {
    let mut bench = Bench::with(with_p2p(false, true));
    let handler = bench.handler();
    let alice = bench.app(&[ALICE]);
    bench.connected(handler, 1, FAR);
    // Ours: Subscribe for Registry changes.
    let registry = format!("{FAR}/registry");
    let changes = format!("{FAR}/registry/changes");
    let told = bench.heard_for(handler.1, &registry, MessageType::Subscribe);
    assert_eq!(peer_of(&told).as_deref(), Some(FAR));
    assert_eq!(told.view().unwrap().from(), format!("{RUNTIME}/registry"));
    assert_eq!(body_of(&told), json!({"subscribe": [changes]}));
    let list =
        [CAROL, "comm://far.example/room", BOB, "hyperty://high.example/x", "domain://far.example"];
    bench.agrees(handler.1, &told, &json!({"code": "2XX", "value": list, "next": CAROL}));
    let rest = bench.heard_for(handler.1, &registry, MessageType::Subscribe);
    assert_eq!(body_of(&rest), json!({"subscribe": [changes], "after": CAROL}));
    bench.agrees(handler.1, &rest, &json!({"code": 200, "value": ["hyperty://far.example/dan"]}));
    let refused = bench.events("refused");
    assert!(refused.iter().any(|event| event.detail.contains("lists 3 addresses")), "{refused:?}");
    // What it has goes directly, whatever the sender asks; what it has not, by the node.
    let direct = |bench: &mut Bench, id: &str, to: &str| {
        bench.send(alice, request(id, ALICE, to));
        bench.heard.get(&handler.1).into_iter().flatten().any(|f| f.view().unwrap().id() == id)
    };
    assert!(direct(&mut bench, "1", CAROL));
    assert!(direct(&mut bench, "2", "comm://far.example/room/changes"));
    assert!(direct(&mut bench, "3", "hyperty://far.example/dan"));
    assert!(!direct(&mut bench, "4", "hyperty://far.example/erin"));
    let update = message(MessageType::Update, "9", &registry, &changes);
    let come_and_gone = json!({"value": ["hyperty://far.example/erin"], "removed": [CAROL]});
    bench.send(handler.1, by("far.example", with_body(update, &come_and_gone)));
    assert!(direct(&mut bench, "5", "hyperty://far.example/erin"));
    assert!(!direct(&mut bench, "6", CAROL));
    // Theirs.
    bench.heard.clear();
    let own = format!("{RUNTIME}/registry");
    let asks = message(MessageType::Subscribe, "1", &registry, &own).flag(flags::REPLY);
    let wanted = json!({"subscribe": [format!("{RUNTIME}/registry/changes")]});
    bench.send(handler.1, by("far.example", with_body(asks, &wanted)));
    let answer = bench.heard_for(handler.1, &registry, MessageType::Response);
    assert_eq!(body_of(&answer), json!({"code": 200, "value": [ALICE]}));
    let bob = bench.app(&[BOB]);
    bench.send(bob, message(MessageType::Update, "1", BOB, "hyperty://far.example/dan"));
    let first = bench.hear(handler.1).unwrap();
    assert_eq!(body_of(&first), json!({"value": [BOB]}), "it is known before it speaks");
    let then = bench.hear(handler.1).unwrap();
    assert_eq!(then.view().unwrap().from(), BOB);
}
