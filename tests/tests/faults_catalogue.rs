//! Faults of catalogues by the rows of the matrix, and what is remembered of them. That each way of
//! being wrong has its own reason is in `broken_catalogues.rs` and `http_catalogues.rs`.

use peers::catalogue::{Behaviour, Catalogue, Options, Response};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};
use system_tests::Daemon;
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, descriptor};
use system_tests::chaos::ledger::Ledger;
use system_tests::domain::Domain;
use system_tests::facts::{events, settled};

const ALICE: &str = "hyperty://localhost/alice";
const REMOTE: &str = "hyperty://example.com/bob";
const NAME: &str = "example.com";

fn good() -> Response {
    Response::json(&descriptor(ECHO_STUB))
}

fn asked(alice: &mut App) -> Value {
    alice.call("read", REMOTE, &json!({}))["body"].clone()
}

fn is(body: &Value, code: u64, reason: &str) {
    assert_eq!((&body["code"], &body["reason"]), (&json!(code), &json!(reason)), "{body}");
}

/// Asks until what is remembered of the failure is over; how often, and the first other answer.
fn until_tried_again(alice: &mut App, daemon: &Daemon) -> Value {
    let tries = events(daemon, "deploy-started", NAME).len();
    system_tests::wait_for("it is tried again", || {
        let body = asked(alice);
        (events(daemon, "deploy-started", NAME).len() > tries).then_some(body)
    })
}

#[test]
fn fault_033_a_catalogue_that_is_down_is_said_at_once_remembered_and_asked_again_later() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let daemon = Daemon::start(&format!(
        "[domain.\"{NAME}\"]\ncatalogue = \"http://127.0.0.1:{port}/.well-known\"\nprivate = true\n"
    ));
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let begun = Instant::now();
    let first = asked(&mut alice);
    is(&first, 503, "catalogue-down");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!((1..=1_000).contains(&first["retryAfter"].as_u64().unwrap()), "{first}");
    let again = asked(&mut alice);
    is(&again, 503, "catalogue-down");
    assert_eq!(events(&daemon, "deploy-started", NAME).len(), 1, "it is remembered");
    let second = until_tried_again(&mut alice, &daemon);
    is(&second, 503, "catalogue-down");
    assert!((1_001..=5_000).contains(&second["retryAfter"].as_u64().unwrap()), "longer: {second}");
    // It is back, and an operator knows.
    let domain = Domain::start("other.example");
    let catalogue =
        domain.run(Catalogue::start(Options { port, guarded: false })).expect("the same port");
    domain.run(catalogue.set(&Catalogue::stub_path("default"), good())).unwrap();
    assert!(daemon.ctl(&["deploy", NAME, "--wait"]).status.success());
    assert_eq!(asked(&mut alice)["code"], 200);
    settled(&daemon);
}

#[test]
fn fault_034_a_catalogue_that_drips_is_given_up_and_its_connection_closed() {
    let domain = Domain::start(NAME);
    domain.answer(good().sent(Behaviour::Drip(1, Duration::from_secs(1))));
    let daemon = Daemon::start(&domain.config());
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let before = Ledger::at_rest(&daemon);
    let begun = Instant::now();
    is(&asked(&mut alice), 503, "catalogue-slow");
    let took = begun.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(8)).contains(&took), "{took:?}");
    before.and_the_net_role(&daemon).wait_restored(&daemon);
    settled(&daemon);
}

#[test]
fn fault_035_a_body_that_ends_too_early_is_unusable_and_not_asked_for_again_by_itself() {
    for behaviour in [Behaviour::Truncate(100), Behaviour::ContentLength(1 << 17)] {
        let domain = Domain::start(NAME);
        domain.answer(good().sent(behaviour));
        let daemon = Daemon::start(&domain.config());
        let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        is(&asked(&mut alice), 503, "descriptor-unusable");
        let counted = domain.catalogue.count(&Catalogue::stub_path("default"));
        assert_eq!(counted, 1, "once: what is broken is not trusted by being read twice");
        domain.answer(good());
        assert!(daemon.ctl(&["deploy", NAME, "--wait"]).status.success());
        settled(&daemon);
    }
}

#[test]
fn fault_035_code_that_ends_too_early_is_not_run() {
    let domain = Domain::start(NAME);
    let mut by_url = descriptor("");
    by_url.as_object_mut().unwrap().remove("sourcePackage");
    by_url["sourcePackageURL"] = json!(domain.catalogue.url_of("/code.js"));
    domain.answer(Response::json(&by_url));
    let code = Response::javascript(ECHO_STUB).sent(Behaviour::Truncate(ECHO_STUB.len() - 3));
    domain.run(domain.catalogue.set("/code.js", code)).unwrap();
    let daemon = Daemon::start(&domain.config());
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    let body = asked(&mut alice);
    is(&body, 502, "decoding");
    assert_eq!(body["stage"], "source", "{body}");
    settled(&daemon);
}

/// Activates only while somebody listens at the port, and is then the wrong code for a while.
fn knocking(port: u16, version: u32) -> Response {
    let code = format!(
        "export default async function activate(url, bus) {{
           await fetch('http://127.0.0.1:{port}/{version}');
           bus.addListener('*', (message) => {{
             if (message.type === 'response') return;
             bus.postMessage({{ id: message.id, type: 'response', from: message.to, to: message.from,
               body: {{ code: 200, value: {version} }} }});
           }});
           return {{ name: 'Knocking', instance: {{}} }};
         }}"
    );
    Response::json(&descriptor(&code))
}

#[test]
fn fault_036_code_of_another_digest_than_the_pinned_is_not_run_and_not_asked_for_again_by_itself() {
    let domain = Domain::start(NAME);
    let other = Domain::start("other.example");
    for version in 1..=2 {
        let path = format!("/{version}");
        domain.run(other.catalogue.set(&path, Response::ok("text/plain", "yes"))).unwrap();
    }
    let port = other.catalogue.addr().port();
    let config =
        domain.config().replace("connect = [", &format!("connect = [\"127.0.0.1:{port}\", "));
    domain.answer(knocking(port, 1));
    let daemon = Daemon::start(&format!("{config}integrity = \"pin\"\n"));
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    assert_eq!(asked(&mut alice)["value"], 1);
    assert_eq!(daemon.row(NAME).unwrap()["code"]["pin"], "digest");
    // It dies and cannot come back, so that its code is fetched anew; and that is another's.
    domain
        .run(other.catalogue.set("/1", Response::ok("text/plain", "").sent(Behaviour::Close)))
        .unwrap();
    assert!(daemon.ctl(&["kill", NAME]).status.success());
    daemon.wait_state(NAME, "failed");
    domain.answer(knocking(port, 2));
    let path = Catalogue::stub_path("default");
    let before = domain.catalogue.count(&path);
    let body = until_tried_again(&mut alice, &daemon);
    is(&body, 502, "integrity");
    assert_eq!(body["stage"], "source", "{body}");
    assert!(body["retryAfter"].as_u64() > Some(0), "{body}");
    assert_eq!(domain.catalogue.count(&path), before + 1, "it was asked for once");
    is(&asked(&mut alice), 502, "integrity");
    assert_eq!(domain.catalogue.count(&path), before + 1, "and what came of it is remembered");
    assert_eq!(other.catalogue.count("/2"), 0, "not one line of it was run");
    let row = daemon.row(NAME).unwrap();
    assert_eq!((&row["state"], &row["pid"]), (&json!("failed"), &Value::Null), "{row}");
    settled(&daemon);
}

#[test]
fn fault_037_redirects_in_a_circle_end_at_the_bound_of_hops() {
    let domain = Domain::start(NAME);
    let path = Catalogue::stub_path("default");
    domain.answer(Response::redirect(302, &domain.catalogue.url_of(&path)));
    let daemon = Daemon::start(&domain.config());
    let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
    is(&asked(&mut alice), 503, "redirect-refused");
    assert_eq!(domain.catalogue.count(&path), 6, "the first, and five redirects");
}

#[test]
fn fault_038_an_entry_that_is_not_there_is_said_at_once_and_remembered() {
    for status in [404, 410] {
        let domain = Domain::start(NAME);
        domain.answer(Response::status(status));
        let daemon = Daemon::start(&domain.config());
        let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        let begun = Instant::now();
        is(&asked(&mut alice), 503, "catalogue-absent");
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        let asks = domain.catalogue.counts().values().sum::<u64>();
        is(&asked(&mut alice), 503, "catalogue-absent");
        assert_eq!(domain.catalogue.counts().values().sum::<u64>(), asks, "not asked again");
        settled(&daemon);
    }
}

#[test]
fn fault_039_a_catalogue_in_trouble_is_down_whatever_time_it_names() {
    for status in [500, 503] {
        let domain = Domain::start(NAME);
        let mut busy = Response::status(status);
        busy.headers.push(("Retry-After".to_owned(), "86400".to_owned()));
        domain.answer(busy);
        let daemon = Daemon::start(&domain.config());
        let mut alice = App::connect(&daemon.bus(), "alice", &[ALICE]);
        let body = asked(&mut alice);
        is(&body, 503, "catalogue-down");
        assert!(body["retryAfter"].as_u64() <= Some(1_000), "a stranger does not decide: {body}");
        domain.answer(good());
        assert_eq!(until_tried_again(&mut alice, &daemon)["code"], 200);
        settled(&daemon);
    }
}
