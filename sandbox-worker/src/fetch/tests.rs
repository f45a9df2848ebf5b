//! The fetch role against a catalogue in the same process, over the streams of a daemon's end.

mod world;

use protocol::ctl::{ConnectError, CtlUp, FetchError, FetchJob, Shelf};
use protocol::limits::{CODE_BYTES_MAX, DESCRIPTOR_BYTES_MAX};
use world::{Reply, World, job, ok};

const INLINE: &str = r#"{"objectName":"x","sourcePackage":{"sourceCode":"hello()"}}"#;
const WEB: &str = "http://example.com/.well-known";
const AT: &str = "/.well-known/protocolstub/default";

fn failed(said: &[CtlUp]) -> FetchError {
    match said {
        [.., CtlUp::FetchFailed { error, text }] => {
            assert!(text.len() > 10, "{text}");
            *error
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_descriptor_and_its_inline_code_are_fetched_in_two_steps() {
    let world = World::web(|host, path| match (host, path) {
        ("example.com:80", AT) => ok(INLINE),
        other => panic!("{other:?}"),
    });
    let (said, code) = world.run(job(WEB)).await;
    let [CtlUp::Fetched { origin, descriptor }, CtlUp::Source { origin: code_origin, size }] =
        &said[..]
    else {
        panic!("{said:?}");
    };
    assert_eq!((origin.as_str(), descriptor.name.as_str()), ("http://example.com", "x"));
    assert_eq!((code_origin.as_str(), *size), ("http://example.com", 7));
    assert_eq!(code.unwrap(), b"hello()");
}

#[tokio::test(flavor = "current_thread")]
async fn the_file_form_has_its_code_beside_it() {
    let json = r#"{"objectName":"x"}"#;
    let world = World::files(&[
        ("protocolstub/default.ps.json", json.as_bytes()),
        ("protocolstub/default.ps.js", b"\xFFbeside()"),
    ]);
    let (said, code) = world.run(job("file:///srv/catalogue")).await;
    assert!(matches!(&said[0], CtlUp::Fetched { origin, .. } if origin == "file://"));
    assert_eq!(code.unwrap(), b"\xFFbeside()");
}

#[tokio::test(flavor = "current_thread")]
async fn proxies_of_identity_providers_lie_in_a_folder_of_their_own() {
    let json = br#"{"objectName":"x"}"#;
    let world = World::files(&[
        ("protocolstub/default", INLINE.as_bytes()),
        ("idp-proxy/default.idp.json", json),
        ("idp-proxy/default.idp.js", b"proxy()"),
    ]);
    let wanted = FetchJob { shelf: Shelf::IdpProxy, ..job("file:///srv/catalogue") };
    let (_, code) = world.run(wanted).await;
    assert_eq!(code.unwrap(), b"proxy()");
    let world = World::web(|host, path| match (host, path) {
        ("idp.example:80", "/w/idp-proxy/default") => ok(INLINE),
        other => panic!("{other:?}"),
    });
    let wanted = FetchJob { shelf: Shelf::IdpProxy, ..job("http://idp.example/w") };
    let (_, code) = world.run(wanted).await;
    assert_eq!(code.unwrap(), b"hello()");
}

#[tokio::test(flavor = "current_thread")]
async fn a_hyperty_lies_in_a_folder_of_its_own_with_its_own_endings() {
    let json = r#"{"objectName":"x","hypertyType":"chat"}"#;
    let world = World::files(&[
        ("protocolstub/Chat", INLINE.as_bytes()),
        ("hyperty/Chat.hy.json", json.as_bytes()),
        ("hyperty/Chat.hy.js", b"hyperty()"),
    ]);
    let names = vec!["Chat".into()];
    let (said, code) =
        world.run(FetchJob { shelf: Shelf::Hyperty, names, ..job("file:///srv/catalogue") }).await;
    let CtlUp::Fetched { descriptor, .. } = &said[0] else { panic!("{said:?}") };
    assert_eq!(descriptor.resources, ["chat"]);
    assert_eq!(code.unwrap(), b"hyperty()");
}

#[tokio::test(flavor = "current_thread")]
async fn no_code_anywhere_is_an_unusable_descriptor() {
    let world = World::files(&[("protocolstub/default", br#"{"objectName":"x"}"#)]);
    let (said, _) = world.run(job("file:///srv")).await;
    assert!(matches!(&said[0], CtlUp::Fetched { .. }));
    assert_eq!(failed(&said), FetchError::Unusable);
}

#[tokio::test(flavor = "current_thread")]
async fn names_and_bases_are_tried_in_order() {
    let world = World::web(|host, path| match (host, path) {
        ("two.example:80", "/w/protocolstub/second.ps.json") => ok(INLINE),
        ("two.example:80", _) => Reply::status("404 Not Found"),
        other => panic!("{other:?}"),
    })
    .refuse("one.example:80", ConnectError::Unreachable);
    let mut job = job("http://one.example");
    job.alternatives = vec!["http://two.example/w/".into()];
    job.names = vec!["first".into(), "second".into()];
    let (said, code) = world.run(job).await;
    assert!(matches!(&said[0], CtlUp::Fetched { origin, .. } if origin == "http://two.example"));
    assert_eq!(code.unwrap(), b"hello()");
}

#[tokio::test(flavor = "current_thread")]
async fn bad_content_is_not_passed_over_for_another_base() {
    let world = World::web(|host, _| match host {
        "example.com:80" => ok("<html>not found</html>"),
        other => panic!("{other} was asked"),
    });
    let mut job = job(WEB);
    job.alternatives = vec!["http://two.example".into()];
    assert_eq!(failed(&world.run(job).await.0), FetchError::Unusable);
}

#[tokio::test(flavor = "current_thread")]
async fn each_broken_catalogue_has_its_own_error() {
    let huge = format!(r#"{{"x":"{}"}}"#, "y".repeat(DESCRIPTOR_BYTES_MAX));
    let rows: Vec<(&str, Reply, FetchError)> = vec![
        ("absent", Reply::status("404 Not Found"), FetchError::Absent),
        ("broken", Reply::status("500 Internal Server Error"), FetchError::Down),
        ("silent", Reply::Stall, FetchError::Slow),
        ("no HTTP", Reply::Raw(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()), FetchError::Down),
        ("closed", Reply::Raw(Vec::new()), FetchError::Down),
        ("no JSON", ok("nonsense"), FetchError::Unusable),
        ("empty", ok(""), FetchError::Unusable),
        ("a list", ok("[]"), FetchError::Unusable),
        ("cut JSON", ok(&INLINE[..20]), FetchError::Unusable),
        ("huge", ok(&huge), FetchError::Unusable),
        ("language", ok(r#"{"language":"perl"}"#), FetchError::Unusable),
        (
            "a length that lies",
            Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"a\":1}".to_vec()),
            FetchError::Unusable,
        ),
        (
            "a length that boasts",
            Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec()),
            FetchError::Unusable,
        ),
        (
            "compressed unasked",
            Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\nxx".to_vec()),
            FetchError::Unusable,
        ),
        ("endless headers", Reply::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec()), FetchError::Down),
        ("endless body", Reply::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), FetchError::Unusable),
        ("redirect to a file", Reply::redirect("file:///etc/passwd"), FetchError::Redirect),
        ("redirect elsewhere", Reply::redirect("http://127.0.0.1/x"), FetchError::Redirect),
        ("redirect nowhere", Reply::status("302 Found"), FetchError::Redirect),
        ("redirect in a circle", Reply::redirect(AT), FetchError::Redirect),
    ];
    for (what, reply, expected) in rows {
        let world = World::web(move |_, _| reply.clone());
        let mut job = job(WEB);
        job.budget_ms = 2_000;
        let (said, code) = world.run(job).await;
        assert_eq!(failed(&said), expected, "{what}: {said:?}");
        assert!(code.is_none());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_stream_that_is_not_given_is_a_catalogue_that_is_down_or_slow() {
    for (error, expected) in [
        (ConnectError::NotGranted, FetchError::Down),
        (ConnectError::AddressDenied, FetchError::Down),
        (ConnectError::NotResolved, FetchError::Down),
        (ConnectError::TimedOut, FetchError::Slow),
    ] {
        let world = World::web(|_, _| ok(INLINE)).refuse("example.com:80", error);
        assert_eq!(failed(&world.run(job(WEB)).await.0), expected, "{error:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn five_redirects_are_followed_and_the_last_hop_is_the_origin() {
    let world = World::web(|host, path| match (host, path) {
        ("example.com:80", AT) => Reply::redirect("/1"),
        ("example.com:80", "/1") => Reply::redirect("2"),
        ("example.com:80", "/2") => Reply::redirect("http://cdn.example/3?a=b"),
        ("cdn.example:80", "/3?a=b") => Reply::redirect("/4"),
        ("cdn.example:80", "/4") => Reply::redirect("/5"),
        ("cdn.example:80", "/5") => ok(INLINE),
        other => panic!("{other:?}"),
    });
    let mut job = job(WEB);
    job.sources = vec!["http://cdn.example".into()];
    let (said, _) = world.run(job).await;
    assert!(matches!(&said[0], CtlUp::Fetched { origin, .. } if origin == "http://cdn.example"));
}

#[tokio::test(flavor = "current_thread")]
async fn code_from_an_address_is_held_to_its_bound_and_origin() {
    let run = async |target: &str, served: Reply| {
        let json = format!(r#"{{"sourcePackageURL":"{target}"}}"#);
        let world = World::web(move |_, path| match path {
            AT => ok(&json),
            "/.well-known/protocolstub/code.js" => served.clone(),
            other => panic!("{other}"),
        });
        world.run(job(WEB)).await
    };
    let (said, code) = run("code.js", ok("raw()")).await;
    assert!(matches!(said.last(), Some(CtlUp::Source { size: 5, .. })), "{said:?}");
    assert_eq!(code.unwrap(), b"raw()");
    let package = ok(r#"{"sourceCode":"cmF3KCk=","encoding":"base64"}"#);
    assert_eq!(run("code.js", package).await.1.unwrap(), b"raw()");
    let fits = ok(&"x".repeat(CODE_BYTES_MAX));
    assert_eq!(run("code.js", fits).await.1.unwrap().len(), CODE_BYTES_MAX);

    let over = ok(&"x".repeat(CODE_BYTES_MAX + 1));
    assert_eq!(failed(&run("code.js", over).await.0), FetchError::CodeSize);
    let cut = Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_vec());
    assert_eq!(failed(&run("code.js", cut).await.0), FetchError::Decoding);
    let gone = Reply::status("404 Not Found");
    assert_eq!(failed(&run("code.js", gone).await.0), FetchError::Unusable);
    for target in ["file:///etc/passwd", "http://other.example/x", "https://example.com/x"] {
        assert_eq!(failed(&run(target, ok("x")).await.0), FetchError::Redirect, "{target}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn escape_055_what_came_by_tls_leads_to_nothing_plainer_and_to_no_other_origin() {
    let targets = [
        "http://secure.example/x",
        "http://secure.example:443/x",
        "https://other.example/x",
        "https://secure.example:8443/x",
        "//other.example/x",
        "https://secure.example@other.example/x",
        "ws://secure.example/x",
        "data:text/javascript,1",
        "gopher://secure.example/x",
        "file:///etc/passwd",
    ];
    for target in targets {
        for of_code in [false, true] {
            let world = World::secure(move |host, path| match (host, path, of_code) {
                ("secure.example:443", AT, true) => ok(r#"{"sourcePackageURL":"/code.js"}"#),
                ("secure.example:443", AT, false) | ("secure.example:443", "/code.js", true) => {
                    Reply::redirect(target)
                }
                other => panic!("{other:?}"),
            });
            let mut job = job("https://secure.example/.well-known");
            job.ca_pem = include_str!("tests/ca.pem").into();
            // Listed by the operator, and plainer all the same.
            job.sources = vec!["http://secure.example".into(), "http://secure.example:443".into()];
            let (said, code) = world.run(job).await;
            assert_eq!(failed(&said), FetchError::Redirect, "{target}: {said:?}");
            assert!(code.is_none());
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn attack_019_the_origin_of_what_was_fetched_is_that_of_the_last_hop_of_each() {
    let world = World::web(|host, path| match (host, path) {
        ("example.com:80", AT) => Reply::redirect("http://cdn.example/d"),
        ("cdn.example:80", "/d") => ok(r#"{"sourcePackageURL":"http://code.example/c"}"#),
        ("code.example:80", "/c") => Reply::redirect("http://example.com/last"),
        ("example.com:80", "/last") => ok("hello()"),
        other => panic!("{other:?}"),
    });
    let mut job = job(WEB);
    job.sources = vec!["http://cdn.example".into(), "http://code.example".into()];
    let (said, code) = world.run(job).await;
    let [CtlUp::Fetched { origin, .. }, CtlUp::Source { origin: of_code, .. }] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!((origin.as_str(), of_code.as_str()), ("http://cdn.example", "http://example.com"));
    assert_eq!(code.unwrap(), b"hello()");
}

#[tokio::test(flavor = "current_thread")]
async fn tls_ends_here_and_only_a_trusted_name_passes() {
    let run = async |base: &str, ca_pem: &str| {
        let world = World::secure(|_, _| ok(INLINE));
        let mut job = job(base);
        job.ca_pem = ca_pem.into();
        world.run(job).await.0
    };
    let root = include_str!("tests/ca.pem");
    let said = run("https://secure.example", root).await;
    assert!(
        matches!(&said[0], CtlUp::Fetched { origin, .. } if origin == "https://secure.example")
    );
    assert_eq!(failed(&run("https://other.example", root).await), FetchError::Down);
    assert_eq!(failed(&run("https://secure.example", "").await), FetchError::Down);
}

#[tokio::test(flavor = "current_thread")]
async fn fault_040_a_catalogue_whose_certificate_does_not_hold_is_down_and_is_told_nothing() {
    let expired = include_str!("tests/expired.pem");
    let self_signed = include_str!("tests/self-signed.pem");
    let good = include_str!("tests/leaf.pem");
    for (leaf, host, word) in [
        (expired, "secure.example", "xpired"),
        (self_signed, "secure.example", "nknown"),
        (good, "other.example", "not valid for name"),
    ] {
        let world = World::vouched_for_by(leaf, |host, path| panic!("{host} was asked for {path}"));
        // Without TLS it would answer, if it were asked.
        let mut job = job(&format!("https://{host}"));
        job.ca_pem = include_str!("tests/ca.pem").into();
        job.sources = vec![format!("http://{host}")];
        let (said, code) = world.run(job).await;
        assert_eq!((failed(&said), code), (FetchError::Down, None), "{host}");
        let [CtlUp::FetchFailed { text, .. }] = &said[..] else { panic!("{said:?}") };
        assert!(text.contains(word), "{text}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn fault_041_a_catalogue_whose_name_leads_nowhere_is_down_and_one_that_is_late_is_slow() {
    for (refused, told) in [
        (ConnectError::NotResolved, FetchError::Down),
        (ConnectError::AddressDenied, FetchError::Down),
        (ConnectError::TimedOut, FetchError::Slow),
    ] {
        let world =
            World::web(|host, _| panic!("{host} was asked")).refuse("example.com:80", refused);
        assert_eq!(failed(&world.run(job(WEB)).await.0), told, "{refused:?}");
    }
}
