//! Descriptors of every generation, broken ones, and properties.

use super::{DescriptorError, Encoding, Package, WantedHost, parse};
use crate::limits::DESCRIPTOR_BYTES_MAX;
use proptest::prelude::*;
use serde_json::{Value, json};

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

fn read(value: &Value) -> Result<(super::Descriptor, Package), DescriptorError> {
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
}
