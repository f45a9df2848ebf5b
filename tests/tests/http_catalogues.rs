//! Catalogues over HTTP that are down, slow, lie or lead astray: each has its own error at the
//! sender, before the sender's own deadline.

use peers::catalogue::{Behaviour, Catalogue, Response};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use system_tests::Daemon;
use system_tests::app::App;
use system_tests::catalogue::{ECHO_STUB, descriptor};
use system_tests::domain::Domain;

const REMOTE: &str = "hyperty://example.com/bob";

fn asked(daemon: &Daemon) -> Value {
    let mut alice = App::connect(&daemon.bus(), "alice", &["hyperty://localhost/alice"]);
    let begun = Instant::now();
    let response = alice.call("read", REMOTE, &json!({}));
    assert!(begun.elapsed() < Duration::from_secs(14), "the reasoned error comes first");
    response["body"].clone()
}

#[test]
fn each_answer_of_a_catalogue_has_its_reason() {
    let domain = Domain::start("example.com");
    let good = || Response::json(&descriptor(ECHO_STUB));
    let port_of_the_node = domain.node.authority();
    let cases: Vec<(&str, Response, u64, &str)> = vec![
        ("404", Response::status(404), 503, "catalogue-absent"),
        ("500", Response::status(500), 503, "catalogue-down"),
        ("close", good().sent(Behaviour::Close), 503, "catalogue-down"),
        ("black hole", good().sent(Behaviour::BlackHole), 503, "catalogue-slow"),
        ("truncated", good().sent(Behaviour::Truncate(40)), 503, "descriptor-unusable"),
        ("endless", good().sent(Behaviour::Endless), 503, "descriptor-unusable"),
        ("to a file", Response::redirect(302, "file:///etc/passwd"), 503, "redirect-refused"),
        (
            "to another port",
            Response::redirect(302, &format!("http://{port_of_the_node}/x")),
            503,
            "redirect-refused",
        ),
        (
            "to a private address",
            Response::redirect(302, "http://10.0.0.1/x"),
            503,
            "redirect-refused",
        ),
        (
            "to the metadata service",
            Response::redirect(302, "http://169.254.169.254/latest"),
            503,
            "redirect-refused",
        ),
        (
            "in circles",
            Response::redirect(302, &domain.catalogue.url_of(&Catalogue::stub_path("default"))),
            503,
            "redirect-refused",
        ),
        ("html", Response::ok("text/html", "<html></html>"), 503, "descriptor-unusable"),
    ];
    let daemon = Daemon::start(&domain.config());
    for (name, response, code, reason) in cases {
        domain.answer(response);
        let body = asked(&daemon);
        assert_eq!(
            (&body["code"], &body["reason"]),
            (&json!(code), &json!(reason)),
            "{name}: {body}"
        );
        assert_eq!(body["stage"], "descriptor", "{name}: {body}");
        // Forgets the failure, so that the next case is a first one.
        assert!(daemon.ctl(&["undeploy", "example.com"]).status.success());
    }
    domain.answer(good());
    assert_eq!(asked(&daemon)["code"], 200);
    daemon.assert_conserved();
}

#[test]
fn a_catalogue_that_is_not_there_is_down() {
    let daemon = Daemon::start(
        "[domain.\"example.com\"]\ncatalogue = \"http://127.0.0.1:1/.well-known\"\nprivate = true\n",
    );
    let body = asked(&daemon);
    assert_eq!((&body["code"], &body["reason"]), (&json!(503), &json!("catalogue-down")), "{body}");
}

#[test]
fn a_private_address_is_not_connected_to_unless_the_operator_says_so() {
    let domain = Domain::start("example.com");
    let config = format!("[domain.\"example.com\"]\ncatalogue = \"{}\"\n", domain.catalogue.url());
    let daemon = Daemon::start(&config);
    let body = asked(&daemon);
    assert_eq!((&body["code"], &body["reason"]), (&json!(503), &json!("catalogue-down")), "{body}");
    assert!(domain.catalogue.counts().is_empty(), "nothing was asked");
}

#[test]
fn code_at_an_address_of_the_same_origin_is_taken_and_of_another_is_not() {
    let domain = Domain::start("example.com");
    domain.run(domain.catalogue.set("/code.js", Response::javascript(ECHO_STUB))).unwrap();
    let at = |url: &str| {
        let mut by_url = descriptor("");
        by_url.as_object_mut().unwrap().remove("sourcePackage");
        by_url["sourcePackageURL"] = json!(url);
        Response::json(&by_url)
    };
    let daemon = Daemon::start(&domain.config());
    domain.answer(at(&domain.catalogue.url_of("/code.js")));
    assert_eq!(asked(&daemon)["code"], 200);
    assert!(daemon.ctl(&["undeploy", "example.com"]).status.success());
    for elsewhere in ["https://elsewhere.example/code.js", "file:///etc/passwd"] {
        domain.answer(at(elsewhere));
        let body = asked(&daemon);
        assert_eq!(
            (&body["code"], &body["reason"]),
            (&json!(503), &json!("redirect-refused")),
            "{elsewhere}: {body}"
        );
        assert!(daemon.ctl(&["undeploy", "example.com"]).status.success());
    }
}
