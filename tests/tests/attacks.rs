//! What an evil stub says on the bus: as whom it speaks, whom it answers, what it asks for. By the
//! findings of the security review (`attack_…`) and the rows of the escape matrix (`escape_…`).

use serde_json::{Value, json};
use system_tests::app::App;
use system_tests::evil::{ALICE, BOB, EVIL, PUPPET, Scene};
use system_tests::trap::Trap;
use system_tests::wait_for;

/// Addresses of local ones, in spellings that might pass for another's.
fn spellings(runtime: &str) -> Vec<String> {
    let mut all: Vec<String> = [
        "hyperty://home.example/bob",
        "HYPERTY://HOME.EXAMPLE/bob",
        "hyperty://home.example/bob/",
        "hyperty://home.example//bob",
        "hyperty://home.example/./bob",
        "hyperty://home.example/x/../bob",
        "hyperty://home.example/%62ob",
        "hyperty://home.example./bob",
        "hyperty://home.example:443/bob",
        "hyperty://home.example/bob\u{200b}",
        "hyperty://home.example/\u{202e}bob",
        "hyperty://h\u{43e}me.example/bob",
        "hyperty://home.example/bob/below",
        "hyperty://home.example",
        "hyperty://good.example/x",
        "hyperty://sub.evil.example/x",
        "hyperty://evil.example:81/x",
        "hyperty://evil.example.home.example/x",
        "global://registry",
        "domain://registry.home.example",
        "domain://msg-node.home.example/sm",
        "*",
        "",
    ]
    .map(str::to_owned)
    .into();
    for below in ["", "/registry", "/ua", "/registry/changes", "/app/1", "/sandbox/1", "/status"] {
        all.push(format!("{runtime}{below}"));
        all.push(format!("runtime{}{below}", runtime.trim_start_matches("hyperty-runtime")));
    }
    all
}

/// Everything that `app` hears until it asks for something and gets the answer to that.
fn heard(app: &mut App) -> Vec<Value> {
    let id = app.ask("read", "hyperty://good.example/x", &json!({}));
    let mut heard = Vec::new();
    loop {
        let message = app.read().expect("the daemon lives");
        if message["type"] == "response" && message["id"] == id {
            return heard;
        }
        heard.push(message);
    }
}

fn runtime_of(scene: &Scene) -> String {
    scene.alice.welcome["welcome"]["runtime"].as_str().unwrap().to_owned()
}

#[test]
fn escape_046_a_forged_sender_is_refused_in_every_spelling() {
    let mut scene = Scene::start();
    let spellings = spellings(&runtime_of(&scene));
    let bodies = scene.order(&format!(
        "return Promise.all({}.map((from, at) => tools.ask({{
           type: 'read', from, to: '{BOB}', id: `forged ${{at}}`, body: {{}} }})
         .then((answer) => answer.body)));",
        json!(spellings)
    ));
    for (from, body) in spellings.iter().zip(bodies.as_array().unwrap()) {
        let reason = body["reason"].as_str().unwrap_or_default();
        let refused = (body["code"] == 403 && reason == "forged")
            || (body["code"] == 400 && reason == "bad-address");
        assert!(refused, "{from}: {body}");
    }
    assert_eq!(heard(&mut scene.bob), Vec::<Value>::new());
    scene.event("refused", EVIL, "forged");
    scene.stands();
}

#[test]
fn attack_015_no_scheme_lets_a_stub_speak_as_somebody_else() {
    let mut scene = Scene::start();
    let table = [
        ("hyperty://evil.example/x", true),
        ("comm://evil.example/x", true),
        ("domain://evil.example", true),
        ("domain://msg-node.evil.example/sm", true),
        ("hyperty-runtime://evil.example/theirs", true),
        ("user://evil.example/carol", false),
        ("user://google.com/x", false),
        ("user-guid://evil.example", false),
        ("acct://evil.example/x", false),
        ("tel:+3511234", false),
        ("mn:/session", false),
        ("mn://evil.example/session", false),
        ("domain-idp://evil.example", false),
        ("domain-idp://google.com", false),
        ("global://registry", false),
        ("sip:carol@evil.example", false),
        ("slack://carol@evil.example", false),
        ("https://evil.example/x", false),
        ("hyperty-runtime://sandbox/internal", false),
        ("never-heard-of://evil.example/x", false),
    ];
    for (from, may) in table {
        let message = json!({"type": "update", "from": from, "to": BOB, "body": {"as": from}});
        scene.order(&format!("tools.bus.postMessage({message});"));
        let told = heard(&mut scene.bob);
        assert_eq!(told.len(), usize::from(may), "{from}: {told:?}");
        assert!(told.iter().all(|message| message["body"]["as"] == from), "{told:?}");
    }
    scene.stands();
}

#[test]
fn attack_014_a_source_in_the_body_is_as_good_as_its_sender() {
    let mut scene = Scene::start();
    for member in ["source", "subscriber", "reporter"] {
        let message = |claim: &str| {
            json!({"type": "read", "from": "hyperty://evil.example/x", "to": BOB,
                   "body": {member: claim}})
        };
        for claim in [ALICE, "hyperty://good.example/x", "HYPERTY://home.example/alice/", "x"] {
            scene.refused(&message(claim), 403, "forged-source");
        }
    }
    assert_eq!(heard(&mut scene.bob), Vec::<Value>::new());
    scene.stands();
}

#[test]
fn attack_014_a_body_that_two_readers_would_read_differently_does_not_leave_the_sandbox() {
    let mut scene = Scene::start();
    // The host turns a body into text by a function that the stub can replace.
    for text in [
        r#"{"source":"hyperty://evil.example/x","source":"hyperty://home.example/alice"}"#,
        r#"{"source":"hyperty://evil.example/x","sourc\u0065":"hyperty://home.example/alice"}"#,
        r#"1,"from":"hyperty://home.example/alice""#,
        "1}",
        "1}\n{\"type\":\"update\"",
        "{\"a\":1}{\"b\":2}",
        "nonsense",
    ] {
        let answer = scene.order(&format!(
            "const text = {};
             JSON.stringify = () => text;
             return tools.ask({{
               type: 'read', from: 'hyperty://evil.example/x', to: '{BOB}', body: {{}} }});",
            json!(text)
        ));
        let (code, reason) = (&answer["body"]["code"], &answer["body"]["reason"]);
        assert_eq!((code, reason), (&json!(400), &json!("malformed")), "{text}: {answer}");
    }
    assert_eq!(heard(&mut scene.bob), Vec::<Value>::new());
    scene.stands();
}

#[test]
fn escape_048_responses_that_nobody_asked_for_reach_nobody() {
    let mut scene = Scene::start();
    // Bob waits for the good stub; the evil one guesses his id.
    let taught = scene.bob.ask("subscribe", "hyperty://good.example/x", &json!({}));
    let _answered = scene.bob.response(taught);
    let late = scene.daemon.assert_conserved()["late"].as_u64().unwrap_or_default();
    scene.order(&format!(
        "for (let id = 0; id < 50; id += 1) {{
           for (const from of ['hyperty://evil.example/x', tools.url]) {{
             for (const same of [id, String(id)]) {{
               tools.bus.postMessage({{ id: same, type: 'response', from, to: '{BOB}',
                 body: {{ code: 200, value: 'forged' }} }});
             }}
           }}
         }}"
    ));
    assert_eq!(heard(&mut scene.bob), Vec::<Value>::new());
    let after = scene.daemon.assert_conserved();
    assert!(after["late"].as_u64().unwrap_or(u64::MAX) > late, "{after}");
    scene.stands();
}

#[test]
fn escape_048_a_request_is_answered_once_by_whom_it_was_put_to() {
    let mut scene = Scene::start();
    scene.order(
        "tools.bus.addListener('hyperty://evil.example/twice', (message) => {
           for (const value of [1, 2, 3]) {
             tools.bus.postMessage({ id: message.id, type: 'response', from: message.to,
               to: message.from, body: { code: 200, value } });
           }
         });",
    );
    let first = scene.bob.call("read", "hyperty://evil.example/twice", &json!({}));
    assert_eq!(first["body"]["value"], 1, "{first}");
    assert_eq!(heard(&mut scene.bob), Vec::<Value>::new());
    // The answer to another's request: alice asks the bystander, who says nothing.
    let id = scene.alice.ask("read", BOB, &json!({}));
    assert_eq!(scene.bob.read().unwrap()["id"], id);
    let order = format!(
        "tools.bus.postMessage({{ id: {id}, type: 'response', from: '{BOB}', to: '{ALICE}',
           body: {{ code: 200, value: 'forged' }} }});
         tools.bus.postMessage({{ id: {id}, type: 'response', from: 'hyperty://evil.example/x',
           to: '{ALICE}', body: {{ code: 200, value: 'forged' }} }});"
    );
    let ordered =
        scene.alice.ask("execute", "hyperty://evil.example/puppet", &json!({ "order": order }));
    let next = scene.alice.read().unwrap();
    assert_eq!((&next["id"], &next["body"]["code"]), (&json!(ordered), &json!(200)), "{next}");
    scene.event("refused", EVIL, "forged");
    let message = json!({"id": id, "type": "response", "to": ALICE, "body": {"code": 200}});
    scene.bob.write(&message);
    assert_eq!(scene.alice.response(id)["from"], BOB);
    scene.stands();
}

#[test]
fn escape_049_a_stub_says_nothing_of_anothers_status() {
    let mut scene = Scene::start();
    let good = scene.daemon.row("good.example").unwrap()["url"].as_str().unwrap().to_owned();
    let evil = scene.daemon.row(EVIL).unwrap();
    let runtime = runtime_of(&scene);
    let status = |of: &str| json!({"type": "update", "to": format!("{of}/status")});
    for (of, from) in [(&good, None), (&good, Some(&good)), (&runtime, Some(&runtime))] {
        let mut message = status(of);
        message["body"] = json!({"value": "failed"});
        if let Some(from) = from {
            message["from"] = json!(from);
        }
        scene.order(&format!("tools.bus.postMessage({message});"));
    }
    // From its own address and in another's name.
    let own = json!({"type": "update", "to": format!("{good}/status"),
                     "from": evil["url"], "body": {"value": "failed", "resource": good}});
    scene.order(&format!("tools.bus.postMessage({own});"));
    scene.event("refused", EVIL, "forged");
    assert_eq!(scene.daemon.row("good.example").unwrap()["status"], "live");
    scene.stands();
}

#[test]
fn attack_010_nothing_that_a_stub_asks_for_makes_the_runtime_fetch_resolve_or_park() {
    let trap = Trap::set();
    let more = format!(
        "\n\n[domain.\"trap.example\"]\ncatalogue = \"http://127.0.0.1:{}/.well-known\"\nprivate = true\n",
        trap.port()
    );
    let mut scene = Scene::with(&system_tests::catalogue::descriptor(PUPPET), &more);
    let runtime = runtime_of(&scene);
    let secret = "hyperty://secret-in-a-name.trap.example/x";
    for to in ["hyperty://trap.example/x", secret, "sip:a@trap.example", "domain://trap.example"] {
        for from in ["hyperty://evil.example/x", ""] {
            let mut message = json!({"type": "read", "to": to, "body": {}});
            if !from.is_empty() {
                message["from"] = json!(from);
            }
            scene.refused(&message, 404, "no-route");
        }
    }
    let subscribe = json!({"type": "subscribe", "to": format!("{runtime}/subscriptions"),
                           "body": {"resources": ["hyperty-runtime://trap.example/x/status"]}});
    assert!(scene.asked(&subscribe)["code"].as_u64().unwrap() >= 400);
    let create = json!({"type": "create", "to": format!("{runtime}/ua"),
                        "body": {"value": {"type": "protostub", "domain": "trap.example"}}});
    scene.refused(&create, 403, "policy");
    assert_eq!(trap.visits(), 0);
    assert!(scene.daemon.row("trap.example").is_none());
    // Its own answers are acknowledged a moment later.
    wait_for("nothing waits", || (scene.daemon.assert_conserved()["queued"] == 0).then_some(()));
    scene.stands();
}

#[test]
fn escape_047_a_stub_subscribes_to_nothing_that_is_not_its_own() {
    let mut scene = Scene::start();
    let runtime = runtime_of(&scene);
    let good = scene.daemon.row("good.example").unwrap()["url"].as_str().unwrap().to_owned();
    for resource in [
        format!("{good}/status"),
        format!("{runtime}/status"),
        format!("{runtime}/registry/changes"),
        format!("{runtime}/registry"),
        runtime.clone(),
        ALICE.to_owned(),
        format!("{ALICE}/status"),
        format!("{BOB}/status"),
        "hyperty://home.example/status".to_owned(),
        "*".to_owned(),
    ] {
        for from in ["hyperty://evil.example/x", ""] {
            let mut message = json!({"type": "subscribe", "to": format!("{runtime}/subscriptions"),
                                     "body": {"resources": [resource]}});
            if !from.is_empty() {
                message["from"] = json!(from);
            }
            let code = scene.asked(&message)["code"].as_u64().unwrap();
            let wanted = if resource == "*" { 400 } else { 403 };
            assert_eq!(code, wanted, "{resource} as {from}");
        }
    }
    let before = scene.order("return tools.heard.length;");
    scene
        .bob
        .write(&json!({"type": "update", "to": format!("{BOB}/status"), "body": {"value": 1}}));
    assert!(scene.daemon.ctl(&["restart", "good.example"]).status.success());
    scene.daemon.wait_state("good.example", "active");
    assert_eq!(scene.order("return tools.heard.length;"), before, "it hears of nobody");
}

#[test]
fn escape_050_a_stub_gets_no_address_and_no_domain_by_asking() {
    let mut scene = Scene::start();
    let runtime = runtime_of(&scene);
    for (kind, below, body) in [
        ("create", "registry", json!({"value": {"url": "hyperty://good.example/x"}})),
        ("create", "registry", json!({"resource": "hyperty://home.example/bob"})),
        ("update", "registry", json!({"resource": "hyperty://home.example/bob"})),
        ("create", "ua", json!({"value": {"type": "p2phandler", "domain": "good.example"}})),
        ("create", "address-allocation", json!({"value": {"number": 1}})),
        ("create", "object-allocation", json!({"value": {"number": 1}})),
        ("execute", "policy", json!({"method": "addPolicies"})),
        ("read", "identity", json!({})),
        ("execute", "idm", json!({"method": "getIdentities"})),
        ("delete", "ua", json!({"value": {"domain": "good.example"}})),
    ] {
        let message = json!({"type": kind, "to": format!("{runtime}/{below}"), "body": body});
        let expects = json!({"type": if kind == "update" { "execute" } else { kind },
                             "to": message["to"], "body": body});
        let code = scene.asked(&expects)["code"].as_u64().unwrap();
        assert!((400..=501).contains(&code), "{message}: {code}");
    }
    let owner = scene.daemon.ctl_json(&["resolve", "hyperty://good.example/x"]);
    assert_eq!(owner["decision"], "deliver", "{owner}");
    scene.good_answers();
    scene.stands();
}

#[test]
fn attack_011_no_application_claims_what_belongs_to_the_runtime_or_to_others() {
    let scene = Scene::start();
    let runtime = runtime_of(&scene);
    let table: Vec<String> = [
        "hyperty://home.example",
        "hyperty://home.example/",
        "hyperty://evil.example/x",
        "hyperty://registry.home.example/a",
        "hyperty://msg-node.home.example/a",
        "hyperty://home.example:443/a",
        "domain://registry.home.example",
        "domain://msg-node.home.example/sm",
        "global://registry",
        "hyperty-runtime://home.example/other",
        "user://home.example/alice",
        "user-guid://x",
        "sip:alice@home.example",
        "*",
        "hyperty://home.example/bob",
        "hyperty://home.example/bob/below",
        "HYPERTY://HOME.EXAMPLE/bob/",
        "hyperty://home.example//bob",
        "hyperty://home.example/%62ob",
        "hyperty://home.example/bob\u{200b}",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(
        ["", "/registry/changes", "/ua", "/app/1", "/sandbox/1", "/ctl/1"]
            .map(|below| format!("{runtime}{below}")),
    )
    .collect();
    for address in table {
        let mut app = App::silent(&scene.daemon.bus());
        let fine = "hyperty://home.example/mallory";
        app.write(&json!({"hello": {"name": "mallory", "addresses": [fine, address]}}));
        let answer = app.read().unwrap();
        let code = answer["error"]["code"].as_u64().unwrap_or_default();
        assert!((400..=409).contains(&code), "{address}: {answer}");
        assert_eq!(app.read(), None, "and the connection ends");
    }
}

#[test]
fn attack_012_the_home_domains_stub_does_not_speak_as_somebody_who_just_left() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = system_tests::catalogue::Folder::new(folder.path());
    catalogue.stub(PUPPET);
    let daemon = system_tests::Daemon::start(&format!(
        "[runtime]\ndomain = \"home.example\"\n[domain.\"home.example\"]\ncatalogue = \"{}\"\n",
        catalogue.url()
    ));
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let say = |alice: &mut App, from: &str| {
        let order = format!(
            "return tools.ask({{ type: 'read', from: '{from}', to: '{ALICE}/ear', body: {{}} }});"
        );
        let to = "hyperty://home.example/elsewhere/puppet";
        let answer = alice.call("execute", to, &json!({ "order": order }));
        answer["body"]["value"]["body"].clone()
    };
    let bob = App::connect(&daemon.bus(), "bob", &[BOB]);
    assert_eq!(say(&mut alice, BOB)["reason"], "forged");
    drop(bob);
    wait_for("bob has left", || {
        let events = daemon.ctl_json(&["events"]);
        let left = |row: &Value| row["event"] == "app-left" && row["name"] == "bob";
        events.as_array()?.iter().any(left).then_some(())
    });
    for from in [BOB, "hyperty://home.example/bob/below"] {
        assert_eq!(say(&mut alice, from)["reason"], "forged", "reserved: {from}");
    }
    // Others of the home domain, at other runtimes, are its business.
    assert_eq!(say(&mut alice, "hyperty://home.example/carol")["code"], 404);
    let refused = alice.call("read", BOB, &json!({}));
    assert_eq!(refused["body"]["reason"], "receiver-gone", "{refused}");
    daemon.assert_conserved();
}

#[test]
fn attack_009_a_host_that_is_called_like_a_scheme_serves_nobody_elses_legacy_domain() {
    let (host, suffix) = (Trap::set(), Trap::set());
    let section = |name: &str, port: u16| {
        format!("[domain.\"{name}\"]\ncatalogue = \"http://127.0.0.1:{port}/w\"\nprivate = true\n")
    };
    let more =
        format!("\n\n{}{}", section("sip.co.uk", host.port()), section("co.uk", suffix.port()));
    let mut scene = Scene::with(&system_tests::catalogue::descriptor(PUPPET), &more);
    let answer = scene.alice.call("read", "sip:a@b.co.uk", &json!({}));
    assert!(answer["body"]["code"].as_u64().unwrap() >= 400, "{answer}");
    assert_eq!((host.visits(), suffix.visits()), (0, 0), "whoever owns the name is not asked");
    let row = scene.daemon.row("sip.b.co.uk").expect("the whole domain");
    assert_eq!(row["domain"], "b.co.uk", "{row}");
}
