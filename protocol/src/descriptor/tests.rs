//! Descriptors of every generation, broken ones, and properties.
#![allow(clippy::arithmetic_side_effects, reason = "tests")]

use super::{Descriptor, DescriptorError, Encoding, Package, WantedHost, parse};
use crate::codec::{decode_exact, encode};
use crate::limits::{
    CONFIGURATION_BYTES_MAX, CTL_BYTES_MAX, CTL_CLAIM_BYTES_MAX, DESCRIPTOR_BYTES_MAX,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Members that a reader looks at.
const MEMBERS: &[&str] = &[
    "objectName",
    "version",
    "language",
    "signature",
    "constraints",
    "configuration",
    "runtime",
    "interworking",
    "sourcePackage",
    "sourcePackageURL",
];

fn full() -> Value {
    json!({
        "cguid": "1001", "type": "PROTOSTUB", "version": "0.2", "objectName": "VertxProtoStub",
        "language": "javascript", "signature": "",
        "constraints": {"browser": true, "node": false, "windowSandbox": ""},
        "configuration": {"url": "wss://msg-node.Example.com/ws", "deep": [{"x": "https://api.example.com:8443/v1"}], "other": "ftp://x.y/z"},
        "runtime": {"capabilities": {"net": ["turn.example.com:5349"]}},
        "sourcePackage": {"sourceCode": "YWJj", "encoding": "base64", "sourceCodeClassname": "X"},
    })
}

fn read(value: &Value) -> Result<(Descriptor, Package), DescriptorError> {
    parse(value.to_string().as_bytes())
}

#[test]
fn a_full_descriptor_is_read() {
    let (descriptor, package) = read(&full()).unwrap();
    assert_eq!((descriptor.name.as_str(), descriptor.version.as_str()), ("VertxProtoStub", "0.2"));
    assert_eq!(descriptor.constraints, ["browser"]);
    let wanted = |host: &str, port| WantedHost { host: host.to_owned(), port, secure: true };
    let mut found = descriptor.wanted.clone();
    found.sort();
    assert_eq!(
        found,
        [
            wanted("api.example.com", 8443),
            wanted("msg-node.example.com", 443),
            wanted("turn.example.com", 5349)
        ]
    );
    assert_eq!(package, Package::Inline { text: "YWJj".to_owned(), encoding: Encoding::Base64 });
    assert!(!descriptor.signed && !descriptor.interworking);
}

#[test]
fn other_generations_are_read() {
    let mut text = full();
    text["configuration"] = json!(r#"{"url":"ws://a.b:9090/ws"}"#);
    assert_eq!(read(&text).unwrap().0.wanted[0].port, 9090);
    let wrapped = json!({"default": full()});
    assert_eq!(read(&wrapped).unwrap().0.name, "VertxProtoStub");
    assert_eq!(read(&json!([full()])).unwrap().0.name, "VertxProtoStub");
    let mut url = full();
    url["sourcePackage"] = Value::Null;
    url["sourcePackageURL"] = json!("/sourcePackage");
    assert_eq!(read(&url).unwrap().1, Package::Url("/sourcePackage".to_owned()));
    url["sourcePackageURL"] = Value::Null;
    assert_eq!(read(&url).unwrap().1, Package::Beside);
    for falsy in [json!(null), json!(""), json!({}), json!([]), json!(false), json!(0)] {
        let mut none = full();
        none["constraints"] = falsy;
        assert!(read(&none).map(|d| d.0.constraints).unwrap_or(vec!["x".to_owned()]).is_empty());
    }
}

#[test]
fn published_words_for_javascript_are_known() {
    let language = |word: &str| {
        let mut one = full();
        one["language"] = json!(word);
        read(&one).map(|_| ())
    };
    for word in ["javascript", "Javascript", "JS", "", "javascript_ecma5", "JAVASCRIPT_ECMA6"] {
        assert_eq!(language(word), Ok(()), "{word}");
    }
    for word in ["Javascript ECMA5/6", "Javascript ECMA6", "javascript esmodule", "es6"] {
        assert_eq!(language(word), Ok(()), "{word}");
    }
    for word in ["typescript", "TYPE_SCRIPT", "python", "json_schema_v4", "javascriptx", "json"] {
        assert_eq!(language(word), Err(DescriptorError::Language(word.to_owned())), "{word}");
    }
}

#[test]
fn members_are_read_in_their_older_spellings() {
    let old = json!({
        "_objectName": "Old", "_language": "javascript", "Interworking": "true",
        "constraints": r#"{"browser": true, "node": false}"#,
        "_sourcePackage": {"_sourceCode": "YWJj", "_encoding": "base64"},
    });
    let (descriptor, package) = read(&old).unwrap();
    assert_eq!(descriptor.name, "Old");
    assert!(descriptor.interworking);
    assert_eq!(descriptor.constraints, ["browser"]);
    assert_eq!(package, Package::Inline { text: "YWJj".to_owned(), encoding: Encoding::Base64 });
    let wrong = json!({"_language": "cobol", "sourcePackage": {"sourceCode": "x"}});
    assert_eq!(read(&wrong), Err(DescriptorError::Language("cobol".to_owned())));
    let text = json!({"constraints": "{", "sourcePackage": {"sourceCode": "x"}});
    assert_eq!(read(&text).unwrap_err(), DescriptorError::Member("constraints"));
    assert_eq!(read(&json!({"sourcePackage": {"sourceCode": ""}})), Err(DescriptorError::NoCode));
}

#[test]
fn hosts_can_be_asked_for_as_text_or_as_object() {
    let ask = |net: Value| {
        let one = json!({"sourcePackage": {"sourceCode": "x"}, "runtime": {"capabilities": {"net": [net]}}});
        read(&one).map(|(descriptor, _)| descriptor.wanted)
    };
    let one = |port, secure| Ok(vec![WantedHost { host: "a.b".to_owned(), port, secure }]);
    assert_eq!(ask(json!("a.b")), one(443, true));
    assert_eq!(ask(json!("ws://A.b:81/x")), one(81, false));
    assert_eq!(ask(json!({"host": "A.b", "port": 5061, "tls": true})), one(5061, true));
    assert_eq!(ask(json!({"host": "a.b", "port": 5060, "tls": false})), one(5060, false));
    assert_eq!(ask(json!({"host": "a.b"})), one(443, true));
    let refused = Err(DescriptorError::Member("runtime.capabilities.net"));
    for wrong in [json!(7), json!({"port": 1}), json!({"host": 7}), json!({"host": "a b"})] {
        assert_eq!(ask(wrong), refused);
    }
    for port in [json!(0), json!(65_536), json!(-1), json!("443"), json!(1.5)] {
        assert_eq!(ask(json!({"host": "a.b", "port": port})), refused);
    }
    assert_eq!(ask(json!({"host": "a.b:80", "port": 443})), refused);
    let mut both = full();
    both["runtime"] = Value::Null;
    both["configuration"] = json!({"a": "http://a.b:8443", "b": "https://a.b:8443"});
    assert_eq!(read(&both).map(|(descriptor, _)| descriptor.wanted), one(8443, true));
}

#[test]
fn what_is_not_offered_is_named() {
    let mut node = full();
    node["constraints"] = json!({"browser": true, "node": true});
    assert_eq!(read(&node).unwrap().0.first_unoffered(), Some("node"));
    node["constraints"] = json!(["WSS", "windowSandbox"]);
    let (descriptor, _) = read(&node).unwrap();
    assert_eq!(descriptor.first_unoffered(), None);
    assert!(descriptor.wants_window());
}

#[test]
fn broken_ones_say_why() {
    assert!(matches!(parse(b"<html>"), Err(DescriptorError::Json(_))));
    assert_eq!(parse(b"7"), Err(DescriptorError::Shape));
    let with = |name: &str, value: Value| {
        let mut broken = full();
        broken[name] = value;
        read(&broken).unwrap_err()
    };
    assert_eq!(with("language", json!("cobol")), DescriptorError::Language("cobol".to_owned()));
    assert_eq!(with("language", json!(7)), DescriptorError::Member("language"));
    assert_eq!(with("configuration", json!("{")), DescriptorError::Member("configuration"));
    assert_eq!(with("sourcePackage", json!({})), DescriptorError::NoCode);
    assert_eq!(with("sourcePackage", json!("x")), DescriptorError::Member("sourcePackage"));
    assert_eq!(
        with("sourcePackage", json!({"sourceCode": 1})),
        DescriptorError::Member("sourceCode")
    );
    assert_eq!(
        with("sourcePackage", json!({"sourceCode": "x", "encoding": "rot13"})),
        DescriptorError::Member("encoding")
    );
    let mut spaces = full().to_string().into_bytes();
    spaces.resize(DESCRIPTOR_BYTES_MAX, b' ');
    assert!(parse(&spaces).is_ok());
    spaces.push(b' ');
    assert_eq!(parse(&spaces), Err(DescriptorError::TooLarge));
}

#[test]
fn hosts_are_found_at_any_depth_with_the_port_of_their_scheme() {
    let wanted = |url: &str| {
        let mut one = full();
        one["runtime"] = Value::Null;
        one["configuration"] = json!({"a": [[{"b": {"c": url}}]]});
        let found = read(&one).unwrap().0.wanted;
        found.iter().map(|w| (format!("{}:{}", w.host, w.port), w.secure)).next()
    };
    let at = |text: &str, secure| Some((text.to_owned(), secure));
    assert_eq!(wanted("ws://a.b/ws"), at("a.b:80", false));
    assert_eq!(wanted("http://a.b"), at("a.b:80", false));
    assert_eq!(wanted("wss://a.b?x"), at("a.b:443", true));
    assert_eq!(wanted("HTTPS://A.b#x"), at("a.b:443", true));
    assert_eq!(wanted("https://a.b:65535/"), at("a.b:65535", true));
    assert_eq!(wanted("https://user:secret@a.b:8443/"), at("a.b:8443", true));
    assert_eq!(wanted("https://[::1]:8443/"), at("[::1]:8443", true));
    for none in ["ftp://a.b", "a.b:443", "https://", "https://a.b:0/", "https://a.b:65536/", "x"] {
        assert_eq!(wanted(none), None, "{none}");
    }
    for odd in ["https://a b/", "https://a_b/", "https://a%2eb/", "https://\u{e9}.b/"] {
        assert_eq!(wanted(odd), None, "{odd}");
    }
}

#[test]
fn lists_are_bounded_at_the_edge_and_one_past() {
    let mut many = full();
    let names = |n: usize| (0..n).map(|i| json!(format!("c{i}"))).collect::<Vec<_>>();
    many["constraints"] = json!(names(64));
    assert_eq!(read(&many).unwrap().0.constraints.len(), 64);
    many["constraints"] = json!(names(65));
    assert_eq!(read(&many).unwrap_err(), DescriptorError::Member("constraints"));
    let mut hosts = full();
    hosts["configuration"] = json!(
        (0..65)
            .map(|i| (format!("u{i}"), format!("wss://h{i}.x")))
            .collect::<std::collections::BTreeMap<_, _>>()
    );
    assert_eq!(read(&hosts).unwrap().0.wanted.len(), 64, "what is beyond is not even listed");
    let mut long = full();
    long["configuration"] = json!({"x": "y".repeat(CONFIGURATION_BYTES_MAX - 8)});
    assert_eq!(read(&long).unwrap().0.configuration.len(), CONFIGURATION_BYTES_MAX);
    long["configuration"] = json!({"x": "y".repeat(CONFIGURATION_BYTES_MAX - 7)});
    assert_eq!(read(&long).unwrap_err(), DescriptorError::Member("configuration"));
}

#[test]
fn encodings_of_inline_code_are_told_apart() {
    let encoding = |value: Value| {
        let mut one = full();
        one["sourcePackage"]["encoding"] = value;
        read(&one).map(|(_, package)| package)
    };
    let inline = |encoding| Ok(Package::Inline { text: "YWJj".to_owned(), encoding });
    for word in [json!("base64"), json!("BASE64"), json!("Base64")] {
        assert_eq!(encoding(word), inline(Encoding::Base64));
    }
    for word in [json!("none"), json!(""), json!(null), json!("UTF-8"), json!("utf8")] {
        assert_eq!(encoding(word), inline(Encoding::None));
    }
    assert_eq!(encoding(json!(64)), Err(DescriptorError::Member("encoding")));
}

#[test]
fn the_fullest_descriptor_crosses_in_one_control_message() {
    let mut one = full();
    one["constraints"] = json!((0..64).map(|i| format!("{i:0>256}")).collect::<Vec<_>>());
    one["objectName"] = json!("n".repeat(1_000));
    let urls: Vec<_> = (0..64).map(|i| format!("wss://{i:0>249}.x")).collect();
    let pad = CONFIGURATION_BYTES_MAX - json!({"u": urls, "x": ""}).to_string().len();
    one["configuration"] = json!({"u": urls, "x": "y".repeat(pad)});
    one["runtime"] = Value::Null;
    let (descriptor, _) = read(&one).unwrap();
    assert_eq!((descriptor.wanted.len(), descriptor.constraints.len()), (64, 64));
    let bytes = encode::<CTL_BYTES_MAX, _>(&descriptor).unwrap();
    let back = decode_exact::<CTL_BYTES_MAX, CTL_CLAIM_BYTES_MAX, Descriptor>(&bytes);
    assert_eq!(back, Ok(descriptor));
}

#[test]
fn what_a_hyperty_offers_is_read_in_every_generation() {
    let schema = "https://a.example/.well-known/dataschema/Communication";
    let offers = |members: Value| {
        let mut entry = full();
        for (name, value) in members.as_object().unwrap() {
            entry[name.as_str()] = value.clone();
        }
        let (descriptor, _) = read(&entry).unwrap();
        (descriptor.resources, descriptor.data_objects)
    };
    let wanted = (vec!["chat".to_owned(), "audio".to_owned()], vec![schema.to_owned()]);
    for objects in [
        json!({"dataObjects": [schema]}),
        json!({"dataObjects": schema}),
        json!({"dataObjects": format!("[\"{schema}\"]")}),
        json!({"dataObjectUrls": [schema]}),
        json!({"dataObjects": {"dataObjectURLs": [schema], "role": "reporter"}}),
    ] {
        let mut members = objects;
        members["hypertyType"] = json!(["chat", 5, "audio", ""]);
        assert_eq!(offers(members.clone()), wanted, "{members}");
    }
    assert_eq!(offers(json!({"hypertyType": "chat"})).0, ["chat"]);
    assert_eq!(offers(json!({"hypertyType": vec!["x"; 100]})).0.len(), 32);
    assert_eq!(offers(json!({"dataObjects": null})), (vec![], vec![]));
}

/// Any JSON, not deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(wss?://)?[a-zA-Z0-9.:@/]{0,20}".prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-zA-Z]{1,12}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _result = parse(&bytes);
    }

    #[test]
    fn a_changed_byte_never_panics(at in 0_usize..500, byte in any::<u8>()) {
        let mut bytes = full().to_string().into_bytes();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        if let Ok((descriptor, _)) = parse(&bytes) {
            prop_assert!(serde_json::from_str::<Value>(&descriptor.configuration).unwrap().is_object());
        }
    }

    #[test]
    fn a_changed_member_is_read_within_bounds_or_refused(name in proptest::sample::select(MEMBERS), value in any_json()) {
        let mut changed = full();
        changed[name] = value;
        if let Ok((descriptor, _)) = read(&changed) {
            prop_assert!(serde_json::from_str::<Value>(&descriptor.configuration).unwrap().is_object());
            prop_assert!(descriptor.constraints.is_sorted() && descriptor.constraints.len() <= 64);
            for wanted in &descriptor.wanted {
                prop_assert!(wanted.port != 0 && !wanted.host.is_empty());
                prop_assert!(wanted.host.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase() && b > b' '));
            }
            prop_assert_eq!(descriptor.check(), Ok(()));
            let bytes = encode::<CTL_BYTES_MAX, _>(&descriptor).unwrap();
            let back = decode_exact::<CTL_BYTES_MAX, CTL_CLAIM_BYTES_MAX, Descriptor>(&bytes);
            prop_assert_eq!(back, Ok(descriptor));
        }
    }

    #[test]
    fn a_cut_descriptor_is_refused(cut in 1_usize..300) {
        let text = full().to_string();
        let part = text.as_bytes().get(..text.len().saturating_sub(cut)).unwrap();
        prop_assert!(matches!(parse(part), Err(DescriptorError::Json(_))));
    }
}
