//! Stubs that are logged in by the proxy of an identity provider.

use super::bench::{ALICE, Bench, REMOTE, RUNTIME, message, request, settings};
use crate::input::{Input, LinkId, SandboxId};
use crate::settings::{DomainSettings, Settings};
use protocol::control::{Command, Reply};
use protocol::frame::{Frame, flags};
use protocol::message::MessageType;
use serde_json::{Value, json};

const PROXY: &str = "domain-idp://idp.example";

/// The stub of `far.example` is logged in by `idp.example`.
fn logging_in() -> Settings {
    let mut settings = settings();
    let with = |login: Option<&str>| DomainSettings {
        catalogue: Some("https://far.example/.well-known".to_owned()),
        login: login.map(str::to_owned),
        ..DomainSettings::default()
    };
    for (domain, login) in [("far.example", Some("idp.example")), ("idp.example", None)] {
        settings.domains.insert(domain.to_owned(), with(login));
    }
    settings
}

/// A daemon that alice has asked for the stub, whose login is open: she, the proxy, the question.
fn asked() -> (Bench, LinkId, LinkId, Frame) {
    let mut bench = Bench::with(logging_in());
    let alice = bench.app(&[ALICE]);
    bench.operator(5, Command::Monitor { bodies: true });
    bench.send(alice, request("1", ALICE, REMOTE));
    let (sandbox, proxy, url) = bench.youngest();
    assert!(url.starts_with("domain-idp://idp.example/stub/"), "{url}");
    assert_eq!(far(&bench), None, "its code waits");
    assert_eq!(configuration(&bench, sandbox).get("credentials"), None);
    let question = bench.hear(proxy).unwrap();
    (bench, alice, proxy, question)
}

fn configuration(bench: &Bench, sandbox: SandboxId) -> Value {
    serde_json::from_str(&bench.configured[&sandbox]).unwrap()
}

fn answer(bench: &mut Bench, proxy: LinkId, question: &Frame, code: u16, body: &Value) {
    let view = question.view().unwrap();
    let response = message(MessageType::Response, view.id(), view.to(), view.from()).code(code);
    bench.send(proxy, response.body(body.to_string().as_bytes()));
}

/// The stub of `far.example` that runs now.
fn far(bench: &Bench) -> Option<(SandboxId, LinkId)> {
    let here = |url: &String| url.starts_with("hyperty-runtime://far.example/");
    let (sandbox, _) = bench.components.iter().rev().find(|(_, url)| here(url))?;
    Some((*sandbox, bench.core.bus.sandboxes[sandbox]))
}

#[test]
fn a_stub_is_given_the_credentials_that_its_proxy_was_asked_for_and_nobody_else_is() {
    let (mut bench, alice, proxy, question) = asked();
    let view = question.view().unwrap();
    assert_eq!((view.from(), view.to()), (&*format!("{RUNTIME}/idm"), PROXY));
    assert_eq!(view.header.mtype, MessageType::Execute.as_u8());
    let body: Value = serde_json::from_slice(view.body()).unwrap();
    assert_eq!(
        (&body["resource"], &body["method"]),
        (&json!("identity"), &json!("getAccessToken"))
    );
    assert_eq!(body["params"]["resources"], json!(["far.example"]));
    answer(&mut bench, proxy, &question, 200, &json!({"code": 200, "value": {"token": "s3cret"}}));
    let (sandbox, stub) = far(&bench).unwrap();
    assert_eq!(configuration(&bench, sandbox)["credentials"], json!({"token": "s3cret"}));
    assert_eq!(bench.ids(stub), ["1"]);
    assert_eq!(bench.hear(alice), None);
    bench.operator(6, Command::Inspect { name: "far.example".to_owned() });
    let told = format!("{:?}{:?}", bench.replies(5), bench.replies(6));
    assert!(told.contains("/idm"), "{told}");
    assert!(!told.contains("s3cret") && !told.contains("getAccessToken"), "{told}");
    let events = bench.events("deploy-stage");
    assert!(events.iter().any(|event| event.detail == format!("login: {PROXY}")));
}

#[test]
fn each_start_of_the_stub_asks_again() {
    let (mut bench, _, proxy, question) = asked();
    let token = |n: u8| json!({"value": {"token": n}});
    answer(&mut bench, proxy, &question, 200, &token(1));
    let (sandbox, _) = far(&bench).unwrap();
    bench.exits(sandbox, Vec::new());
    bench.pass(2_000);
    let question = bench.hear(proxy).unwrap();
    answer(&mut bench, proxy, &question, 200, &token(2));
    let (next, _) = far(&bench).unwrap();
    assert_ne!(next, sandbox);
    assert_eq!(configuration(&bench, next)["credentials"], json!({"token": 2}));
}

#[test]
fn a_sandbox_that_is_lost_while_its_stub_logs_in_is_replaced_and_asks_again() {
    let (mut bench, _, proxy, first) = asked();
    let waiting = bench.spawned.iter().find(|spawn| spawn.2 == "far.example").unwrap().0;
    bench.exits(waiting, Vec::new());
    answer(&mut bench, proxy, &first, 200, &json!({"value": 1}));
    let (sandbox, _) = far(&bench).unwrap();
    assert_ne!(sandbox, waiting);
    assert_eq!(configuration(&bench, sandbox)["credentials"], 1);
}

#[test]
fn a_login_that_is_refused_or_not_answered_fails_the_deploy_at_its_stage() {
    let said = |code: u16, body: Value| (Some((code, body)), 503, "node-refused");
    let cases = [
        said(401, json!({"code": 401})),
        said(200, json!({"code": 200})),
        said(200, json!({"value": null})),
        (None, 408, "deadline"),
    ];
    for (said, code, reason) in cases {
        let (mut bench, alice, proxy, question) = asked();
        match &said {
            Some((code, body)) => answer(&mut bench, proxy, &question, *code, body),
            None => bench.pass(12_000),
        }
        let frame = bench.hear(alice).unwrap();
        let body: Value = serde_json::from_slice(frame.view().unwrap().body()).unwrap();
        let told = (&body["code"], &body["reason"], &body["stage"]);
        assert_eq!(told, (&json!(code), &json!(reason), &json!("login")), "{body}");
        assert_eq!(far(&bench), None);
    }
}

#[test]
fn nobody_but_the_runtime_speaks_to_a_proxy_that_logs_stubs_in() {
    let (mut bench, alice, proxy, question) = asked();
    answer(&mut bench, proxy, &question, 200, &json!({"value": 1}));
    let (_, stub) = far(&bench).unwrap();
    bench.heard.clear();
    let url = bench.core.ua.bridge_of(proxy).unwrap().url.to_string();
    let refused = |id: &str| Some((id.to_owned(), 403, "policy".to_owned()));
    for (id, to) in [("2", PROXY), ("3", &url), ("4", "domain-idp://idp.example/x")] {
        bench.send(alice, request(id, ALICE, to));
        assert_eq!(bench.refusal(alice), refused(id), "{to}");
        bench.send(stub, request(id, REMOTE, to));
        assert_eq!(bench.refusal(stub).unwrap().1, 403, "{to}");
    }
    assert_eq!(bench.hear(proxy), None);
    let address = PROXY.to_owned();
    bench.operator(7, Command::Resolve { address });
    let Some(Reply::Resolve(told)) = bench.replies(7).pop() else { panic!("no reply") };
    assert_eq!(told.decision, "refuse");
    // Nobody speaks as the Identity Module; the proxy still says how it is.
    let as_idm = message(MessageType::Execute, "5", &format!("{RUNTIME}/idm"), PROXY);
    bench.send(alice, as_idm.flag(flags::REPLY));
    assert_eq!(bench.refusal(alice).unwrap().1, 403);
    let status = format!("{url}/status");
    let live = message(MessageType::Update, "6", &url, &status).body(br#"{"value":"live"}"#);
    bench.send(proxy, live);
    assert_eq!(bench.hear(proxy), None);
    assert_eq!(bench.events("stub-status").last().unwrap().name, "idp.idp.example");
    // Any other proxy is as open as any stub.
    bench.send(alice, request("7", ALICE, "domain-idp://other.example"));
    let (_, other, _) = bench.youngest();
    assert_eq!(bench.ids(other), ["7"]);
}

#[test]
fn an_application_deploys_a_proxy_by_create_and_by_need() {
    let mut bench = Bench::with(settings());
    let alice = bench.app(&[ALICE]);
    let ua = format!("{RUNTIME}/ua");
    let body = br#"{"value":{"type":"idp-proxy","domain":"far.example"}}"#;
    let create = message(MessageType::Create, "1", ALICE, &ua).flag(flags::REPLY);
    bench.send(alice, create.body(body));
    let (_, proxy, url) = bench.youngest();
    let told = bench.hear(alice).unwrap();
    let told: Value = serde_json::from_slice(told.view().unwrap().body()).unwrap();
    assert_eq!((&told["code"], &told["value"]["runtimeURL"]), (&json!(200), &json!(url)));
    bench.send(alice, request("2", ALICE, "domain-idp://far.example"));
    assert_eq!(bench.ids(proxy), ["2"], "it is the one");
    bench.send(alice, request("3", ALICE, "domain-idp://new.example"));
    let (_, new, url) = bench.youngest();
    assert!(url.starts_with("domain-idp://new.example/stub/"), "{url}");
    assert_eq!(bench.ids(new), ["3"]);
    bench.input(Input::Tick);
}
