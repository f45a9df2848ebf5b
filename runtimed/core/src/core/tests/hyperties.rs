//! Hyperties: loaded, spoken for, restarted, removed, kept.

use super::bench::{ALICE, BOB, Bench, REMOTE, RUNTIME, message, request, response, settings};
use super::home::with_home_stub;
use super::kept::{kept, restored};
use crate::input::{Input, LinkId, SandboxId};
use crate::limits::HYPERTIES_PER_USER;
use crate::settings::Settings;
use crate::store::{Record, Table};
use protocol::control::{Command, PsRow, Reply};
use protocol::ctl::{FetchError, Role};
use protocol::frame::flags;
use protocol::message::MessageType;
use protocol::reason::Reason;
use serde_json::{Value, json};

const CHAT: &str = "hyperty-catalogue://catalogue.far.example/.well-known/hyperty/Chat";

fn ua() -> String {
    format!("{RUNTIME}/ua")
}

/// Asks `<runtime>/ua`; the code and the body of the answer, if there is one.
fn asks(bench: &mut Bench, app: LinkId, kind: MessageType, value: &Value) -> Option<(u16, Value)> {
    let body = json!({"value": value}).to_string();
    let message = message(kind, "9", ALICE, &ua()).flag(flags::REPLY).body(body.as_bytes());
    bench.send(app, message);
    answer(bench, app)
}

fn answer(bench: &mut Bench, app: LinkId) -> Option<(u16, Value)> {
    let frame = bench.hear(app)?;
    let view = frame.view().unwrap();
    assert_eq!((view.id(), view.from()), ("9", ua().as_str()));
    Some((view.header.code, serde_json::from_slice(view.body()).unwrap()))
}

fn create(bench: &mut Bench, app: LinkId, url: &str) -> (u16, Value) {
    let value = json!({"type": "hyperty", "descriptor": url});
    asks(bench, app, MessageType::Create, &value).unwrap()
}

/// Loads it for Alice: her link, its sandbox, link and address.
fn loaded(bench: &mut Bench) -> (LinkId, SandboxId, LinkId, String) {
    let app = bench.app(&[ALICE]);
    let (code, body) = create(bench, app, CHAT);
    assert_eq!(code, 200, "{body}");
    let (sandbox, link, url) = bench.youngest();
    let value =
        json!({"type": "hyperty", "url": url, "runtimeHypertyURL": url, "status": "deployed"});
    assert_eq!(body["value"], value);
    (app, sandbox, link, url)
}

fn row(bench: &mut Bench, name: &str) -> Option<PsRow> {
    bench.operator(77, Command::Ps { all: false });
    let Some(Reply::Ps(rows)) = bench.replies(77).pop() else { panic!("no rows") };
    rows.into_iter().find(|row| row.name == name)
}

#[test]
fn an_application_loads_a_hyperty_and_is_told_the_address_at_which_it_answers() {
    let mut bench = Bench::new();
    let (app, _, link, url) = loaded(&mut bench);
    assert!(url.starts_with("hyperty://home.example/"), "{url}");
    let known = row(&mut bench, &url).unwrap();
    assert_eq!((known.kind.as_str(), known.state.as_str()), ("hyperty", "active"));
    bench.send(app, request("1", ALICE, &url));
    assert_eq!(bench.hear(link).unwrap().view().unwrap().to(), url);
    bench.send(link, response("1", &url, ALICE, 200));
    assert_eq!(bench.hear(app).unwrap().view().unwrap().from(), url);
    let stages = bench.events("deploy-stage");
    assert!(stages.iter().any(|event| event.name == url && event.detail == "listener"));
}

#[test]
fn who_loads_it_again_is_told_the_same_address_and_another_user_has_another() {
    let mut bench = Bench::new();
    let (app, _, _, url) = loaded(&mut bench);
    let spelled = "https://far.example/.well-known/hyperty/Chat.hy.js";
    assert_eq!(create(&mut bench, app, spelled).1["value"]["url"], url);
    assert_eq!(bench.spawned.iter().filter(|(_, role, _)| *role == Role::Stub).count(), 1);

    let (bob, refused) = bench.join(2_000, &[BOB]);
    assert_eq!(refused, None);
    let body = json!({"value": {"type": "hyperty", "url": CHAT}}).to_string();
    let asked = message(MessageType::Create, "9", BOB, &ua()).flag(flags::REPLY);
    bench.send(bob, asked.body(body.as_bytes()));
    let (code, body) = answer(&mut bench, bob).unwrap();
    assert_eq!(code, 200);
    assert_ne!(body["value"]["url"], url, "sandboxes are not shared by users");
}

#[test]
fn a_hyperty_hears_of_the_runtimes_status_and_reaches_what_applications_reach() {
    let mut bench = Bench::new();
    let (_, _, link, url) = loaded(&mut bench);
    bench.send(link, request("1", &url, REMOTE));
    let (_, stub, stub_url) = bench.youngest();
    assert_eq!(bench.hear(stub).unwrap().view().unwrap().to(), REMOTE, "it caused a deploy");
    let status = format!("{stub_url}/status");
    let said = message(MessageType::Update, "2", &stub_url, &status).body(br#"{"value":"live"}"#);
    bench.send(stub, said);
    let frame = bench.hear(link).unwrap();
    let view = frame.view().unwrap();
    assert_eq!(view.to(), format!("{RUNTIME}/status"));
    let body: Value = serde_json::from_slice(view.body()).unwrap();
    assert_eq!((&body["value"], &body["resource"]), (&json!("live"), &json!(stub_url)));

    bench.send(link, request("3", ALICE, REMOTE));
    let forged = bench.refusal(link);
    assert_eq!(forged, Some(("3".to_owned(), 403, "forged".to_owned())));
    let body = format!(r#"{{"value":{{"type":"hyperty","url":"{CHAT}"}}}}"#);
    let more = message(MessageType::Create, "4", &url, &ua()).flag(flags::REPLY);
    bench.send(link, more.body(body.as_bytes()));
    assert_eq!(bench.refusal(link), Some(("4".to_owned(), 403, "policy".to_owned())));
}

#[test]
fn a_message_waits_for_a_hyperty_that_died_and_its_address_is_nobody_elses() {
    let mut bench = Bench::new();
    let (app, sandbox, _, url) = loaded(&mut bench);
    bench.willing = false;
    bench.exits(sandbox, Vec::new());
    assert_eq!(bench.join(1_000, &[&url]).1.as_deref(), Some("address-taken"));
    let below = format!("{url}/x");
    assert_eq!(bench.join(1_000, &[&below]).1.as_deref(), Some("address-taken"));
    bench.send(app, request("1", ALICE, &url));
    assert!(bench.hear(app).is_none(), "it waits");
    bench.willing = true;
    bench.pass(1_000);
    let (again, link, same) = bench.youngest();
    assert_ne!(again, sandbox);
    assert_eq!(same, url);
    assert_eq!(bench.hear(link).unwrap().view().unwrap().id(), "1");
}

#[test]
fn no_stub_wakes_a_hyperty_and_none_speaks_for_it() {
    let mut first = Bench::new();
    let (_, _, _, url) = loaded(&mut first);
    let mut bench = restored(kept(&first));
    let (_, stub, _) = bench.stub("far.example");
    bench.send(stub, request("1", REMOTE, &url));
    assert_eq!(bench.refusal(stub), Some(("1".to_owned(), 503, "receiver-gone".to_owned())));
    bench.send(stub, request("2", &url, ALICE));
    assert_eq!(bench.refusal(stub), Some(("2".to_owned(), 403, "forged".to_owned())));
    assert_eq!(row(&mut bench, &url).unwrap().state, "dormant");
}

#[test]
fn its_user_removes_it_and_it_has_the_same_address_when_it_comes_again() {
    let mut bench = Bench::new();
    let (app, _, _, url) = loaded(&mut bench);
    let value = json!({"type": "hyperty", "url": url});
    let (stranger, _) = bench.join(2_000, &[BOB]);
    let body = json!({"value": value}).to_string();
    let asked = message(MessageType::Delete, "9", BOB, &ua()).flag(flags::REPLY);
    bench.send(stranger, asked.body(body.as_bytes()));
    assert_eq!(answer(&mut bench, stranger).unwrap().0, 404);

    assert_eq!(asks(&mut bench, app, MessageType::Delete, &value).unwrap().0, 200);
    assert_eq!(row(&mut bench, &url), None);
    assert!(!kept(&bench).keys().any(|key| key.table == Table::Hyperty));
    bench.send(app, request("2", ALICE, &url));
    assert_eq!(bench.refusal(app).unwrap().2, "receiver-gone");
    assert_eq!(bench.join(1_000, &[&url]).1.as_deref(), Some("address-taken"));
    assert_eq!(create(&mut bench, app, CHAT).1["value"]["url"], url);
}

#[test]
fn one_that_is_loaded_while_it_is_being_removed_comes_again() {
    let mut bench = Bench::new();
    let (app, _, _, url) = loaded(&mut bench);
    bench.willing = false;
    let value = json!({"type": "hyperty", "url": url});
    assert_eq!(asks(&mut bench, app, MessageType::Delete, &value), None, "told when it is gone");
    let body = json!({"value": {"type": "hyperty", "descriptor": CHAT}}).to_string();
    let again = message(MessageType::Create, "10", ALICE, &ua()).flag(flags::REPLY);
    bench.send(app, again.body(body.as_bytes()));
    assert!(bench.hear(app).is_none());
    bench.willing = true;
    bench.work();
    let (code, body) = answer(&mut bench, app).unwrap();
    assert_eq!((code, &body["value"]["status"]), (200, &json!("undeployed")));
    let told = bench.hear(app).unwrap();
    let view = told.view().unwrap();
    let body: Value = serde_json::from_slice(view.body()).unwrap();
    assert_eq!((view.id(), view.header.code, &body["value"]["url"]), ("10", 200, &json!(url)));
    assert_eq!(row(&mut bench, &url).unwrap().state, "active");
}

#[test]
fn after_a_restart_it_has_its_address_and_the_next_message_starts_it() {
    let mut first = Bench::new();
    let (_, _, _, url) = loaded(&mut first);
    let rows = kept(&first);
    let found = rows.values().find_map(|record| match record {
        Record::Hyperty(row) => Some(row.clone()),
        _ => None,
    });
    let found = found.unwrap();
    assert_eq!((found.url.as_str(), found.descriptor.as_str()), (url.as_str(), CHAT));
    assert_eq!(found.user, "uid/1000");

    let mut bench = restored(rows);
    let before = row(&mut bench, &url).unwrap();
    assert_eq!((before.kind.as_str(), before.state.as_str()), ("hyperty", "dormant"));
    let app = bench.app(&[ALICE]);
    bench.send(app, request("1", ALICE, &url));
    let (_, link, same) = bench.youngest();
    assert_eq!(same, url);
    assert_eq!(bench.hear(link).unwrap().view().unwrap().id(), "1");
    assert_eq!(create(&mut bench, app, CHAT).1["value"]["url"], url);
}

#[test]
fn the_configuration_and_operators_load_hyperties_too() {
    let hyperties = vec![CHAT.to_owned()];
    let mut bench = Bench::with(Settings { hyperties, ..settings() });
    bench.input(Input::Restored(Vec::new()));
    let (_, _, url) = bench.youngest();
    let target = "https://far.example/.well-known/hyperty/Chat".to_owned();
    bench.operator(5, Command::Deploy { target, wait: true, live: false });
    let Some(Reply::Deployed(row)) = bench.replies(5).pop() else { panic!("not deployed") };
    assert_eq!((row.url.as_str(), row.name.as_str()), (url.as_str(), url.as_str()));
    bench.operator(6, Command::Undeploy { name: url.clone() });
    assert_eq!(bench.replies(6), [Reply::Done]);
}

#[test]
fn one_that_cannot_be_loaded_is_answered_with_the_reason_and_no_address_is_lost() {
    let mut bench = Bench::new();
    bench.fetch_fails = Some(FetchError::Absent);
    let app = bench.app(&[ALICE]);
    let (code, body) = create(&mut bench, app, CHAT);
    assert_eq!((code, &body["stage"]), (503, &json!("descriptor")));
    assert_eq!(body["reason"], Reason::CatalogueAbsent.token());
    let (code, _) = create(&mut bench, app, "https://far.example/.well-known/protocolstub/x");
    assert_eq!(code, 400);
    let (code, _) =
        asks(&mut bench, app, MessageType::Create, &json!({"type": "hyperty"})).unwrap();
    assert_eq!(code, 400);
    bench.fetch_fails = None;
    bench.pass(2_000);
    assert_eq!(create(&mut bench, app, CHAT).0, 200);
}

#[test]
fn a_user_has_so_many_hyperties_and_no_more_unless_some_failed() {
    let mut bench = Bench::new();
    let app = bench.app(&[ALICE]);
    let url = |n: usize| format!("https://far.example/.well-known/hyperty/H{n}");
    bench.fetch_fails = Some(FetchError::Absent);
    assert_eq!(create(&mut bench, app, &url(0)).0, 503);
    bench.fetch_fails = None;
    for n in 1..=HYPERTIES_PER_USER {
        assert_eq!(create(&mut bench, app, &url(n)).0, 200, "{n}");
    }
    let (code, body) = create(&mut bench, app, &url(HYPERTIES_PER_USER + 1));
    assert_eq!((code, &body["reason"]), (503, &json!("overloaded")));
}

#[test]
fn the_home_domains_registry_is_told_what_it_offers_and_when_it_is_gone() {
    let mut bench = Bench::with(Settings { register: true, ..with_home_stub() });
    let (app, _, _, url) = loaded(&mut bench);
    let words = |bench: &Bench| -> Vec<Value> {
        let frames = bench.heard.values().flatten();
        let views = frames.map(|frame| frame.view().unwrap());
        let told = views.filter(|view| view.to() == "domain://registry.home.example");
        told.map(|view| serde_json::from_slice(view.body()).unwrap()).collect()
    };
    let told = words(&bench);
    let own = told.iter().find(|body| body["value"]["url"] == url).unwrap();
    assert_eq!(own["value"]["descriptor"], CHAT);
    assert_eq!(own["value"]["resources"], json!(["chat"]));
    for (link, frames) in std::mem::take(&mut bench.heard) {
        for frame in frames {
            let view = frame.view().unwrap();
            if view.has(flags::REPLY) {
                bench.send(link, response(view.id(), view.to(), view.from(), 200));
            }
        }
    }
    let value = json!({"type": "hyperty", "url": url});
    asks(&mut bench, app, MessageType::Delete, &value);
    let gone = words(&bench).into_iter().any(|body| body["resource"] == format!("/hyperty/{url}"));
    assert!(gone, "{:?}", words(&bench));
}
