//! Reading and writing messages: vectors, bounds at the edge and one past, and round trips.
#![allow(clippy::arithmetic_side_effects, reason = "tests")]

use super::{
    BodyFacts, Head, Incoming, MessageError, MessageType, body_facts, salvage_id, write_json,
    write_lagged_json,
};
use crate::limits::{FAN_OUT_MAX, JSON_DEPTH_MAX};
use proptest::prelude::*;

/// A message with every member.
const FULL: &str = r#"{"id":7,"type":"execute","from":"a://b.c/d","to":["e://f.g/h","i://j.k/l"],"body":{"method":"m","params":[1,{"x":"y"}]},"reply":true,"timeout":500,"durable":false}"#;

fn parse(text: &str) -> Result<Incoming<'_>, MessageError> {
    Incoming::parse(text)
}

#[test]
fn a_message_is_read_without_touching_its_body() {
    let text = r#"{"id":1,"type":"READ","from":"a://b.c/d","to":"a:\/\/b.c/e","body":{"x" : [1, 2]},"timeout":5,"reply":false,"extra":1}"#;
    let message = parse(text).unwrap();
    assert_eq!(message.id.as_deref(), Some("1"));
    assert!(message.id_is_number);
    assert_eq!(message.message_type(), Some(MessageType::Read));
    assert_eq!(message.from.as_deref(), Some("a://b.c/d"));
    assert_eq!(message.to.as_slice(), ["a://b.c/e"]);
    assert_eq!(message.body, Some(r#"{"x" : [1, 2]}"#));
    assert_eq!((message.timeout_ms, message.reply), (Some(5), Some(false)));
}

#[test]
fn ids_are_texts_or_whole_numbers() {
    let id = |raw: &str| {
        let text = format!(r#"{{"id":{raw},"type":"read","to":"a://b.c"}}"#);
        parse(&text).map(|m| (m.id.map(std::borrow::Cow::into_owned), m.id_is_number))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(id("7"), Ok((some("7"), true)));
    assert_eq!(id("-7"), Ok((some("-7"), true)));
    assert_eq!(id("\"7\""), Ok((some("7"), false)));
    for missing in ["0", "null", "\"\""] {
        assert_eq!(id(missing).unwrap().0, None, "{missing}");
    }
    for wrong in ["1.5", "1e3", "[]", "{}", "true", "123456789012345678901", "\"\\u0000\""] {
        assert_eq!(id(wrong), Err(MessageError::Id), "{wrong}");
    }
    let edge = format!("\"{}\"", "x".repeat(128));
    assert!(id(&edge).is_ok());
    let past = format!("\"{}\"", "x".repeat(129));
    assert_eq!(id(&past), Err(MessageError::Id));
}

#[test]
fn depth_is_bounded_at_the_edge_and_one_past() {
    let nested = |depth: usize| {
        format!(
            r#"{{"type":"read","to":"a://b.c","body":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    assert!(parse(&nested(JSON_DEPTH_MAX - 1)).is_ok());
    assert_eq!(parse(&nested(JSON_DEPTH_MAX)), Err(MessageError::Depth));
    assert!(parse(r#"{"type":"read","to":"a://b.c","body":"[[[[\"[["}"#).is_ok());
}

#[test]
fn what_is_no_message_is_refused() {
    for text in ["", "7", "[]", "{}}", "{\"type\":\"read\",\"type\":\"read\",\"to\":\"a://b.c\"}"] {
        assert!(matches!(parse(text), Err(MessageError::Json(_))), "{text}");
    }
    assert_eq!(parse("{}"), Err(MessageError::NoReceiver));
    assert_eq!(parse(r#"{"to":"a://b.c"}"#), Err(MessageError::NoType));
    assert_eq!(parse(r#"{"type":"read","to":5}"#), Err(MessageError::NoReceiver));
    assert_eq!(parse(r#"{"type":"read","to":[]}"#), Err(MessageError::NoReceiver));
    let many =
        |n: usize| format!(r#"{{"type":"read","to":[{}]}}"#, vec!["\"a://b.c\""; n].join(","));
    assert!(parse(&many(FAN_OUT_MAX)).is_ok());
    assert_eq!(parse(&many(FAN_OUT_MAX + 1)), Err(MessageError::TooManyReceivers));
}

#[test]
fn the_sender_of_nonsense_is_found_by_its_id() {
    assert_eq!(salvage_id(r#"{"id":5,"to":7}"#), Some(("5".to_owned(), true)));
    assert_eq!(salvage_id(r#"{"to":7}"#), None);
    assert_eq!(salvage_id("nonsense"), None);
}

#[test]
fn facts_of_bodies() {
    let code = |body: &str| body_facts(body).unwrap().code;
    assert_eq!(code(r#"{"code":200}"#), Some(200));
    assert_eq!(code(r#"{"code":"200"}"#), Some(200));
    assert_eq!(code(r#"{"code":"2XX"}"#), Some(200));
    assert_eq!(code(r#"{"code":"x"}"#), None);
    assert_eq!(code(r#"{"value":{"code":200}}"#), None);
    assert_eq!(code("[1]"), None);
    let facts = body_facts(r#"{"source":"a://b.c","p2p":true,"reporter":"d://e.f"}"#).unwrap();
    let claims = vec!["a://b.c".to_owned(), "d://e.f".to_owned()];
    assert_eq!(facts, BodyFacts { code: None, claims, p2p: true });
    assert_eq!(body_facts(r#"{"source":"a","source":"b"}"#), None, "two readers could disagree");
    assert_eq!(body_facts(r#"{"source":{}}"#), None);
}

#[test]
fn a_member_that_is_there_twice_is_refused_however_it_is_spelt() {
    for name in ["id", "type", "from", "to", "body", "reply", "timeout", "durable"] {
        let value = match name {
            "reply" | "durable" => "true",
            "timeout" => "5",
            "body" => "{}",
            _ => "\"a://b.c\"",
        };
        let others = [("type", "\"read\""), ("to", "\"a://b.c\"")];
        let rest = others
            .iter()
            .filter(|(other, _)| *other != name)
            .fold(String::new(), |all, (other, value)| all + ",\"" + other + "\":" + value);
        let once = format!("{{\"{name}\":{value}{rest}}}");
        assert!(parse(&once).is_ok(), "{once}");
        let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
        for second in [name, escaped.as_str()] {
            let twice = format!("{{\"{name}\":{value},\"{second}\":{value}{rest}}}");
            assert!(matches!(parse(&twice), Err(MessageError::Json(_))), "{twice}");
        }
    }
}

#[test]
fn members_of_the_wrong_kind_are_refused() {
    for wrong in [
        "\"timeout\":-1",
        "\"timeout\":1.5",
        "\"timeout\":\"5\"",
        "\"reply\":1",
        "\"durable\":\"yes\"",
        "\"from\":[]",
        "\"from\":5",
    ] {
        let text = format!(r#"{{"type":"read","to":"a://b.c",{wrong}}}"#);
        assert!(matches!(parse(&text), Err(MessageError::Json(_))), "{text}");
    }
    for nothing in
        ["\"timeout\":null", "\"reply\":null", "\"from\":null", "\"body\":null", "\"x\":{}"]
    {
        let text = format!(r#"{{"type":"read","to":"a://b.c",{nothing}}}"#);
        let message = parse(&text).unwrap();
        assert_eq!((message.timeout_ms, message.reply, message.body), (None, None, None), "{text}");
    }
    for to in ["[5]", "[\"a://b.c\",null]", "[[\"a://b.c\"]]", "{}", "true", "\"\\ud800\""] {
        let text = format!(r#"{{"type":"read","to":{to}}}"#);
        assert_eq!(parse(&text), Err(MessageError::NoReceiver), "{text}");
    }
}

#[test]
fn depth_counts_arrays_and_objects_alike_and_only_what_is_open() {
    let text = |body: &str| format!(r#"{{"type":"read","to":"a://b.c","body":{body}}}"#);
    let mixed = |pairs: usize| format!("{}1{}", "{\"a\":[".repeat(pairs), "]}".repeat(pairs));
    assert!(parse(&text(&mixed(JSON_DEPTH_MAX / 2 - 1))).is_ok());
    assert_eq!(parse(&text(&mixed(JSON_DEPTH_MAX / 2))), Err(MessageError::Depth));
    assert!(parse(&text(&format!("[{}[]]", "[],".repeat(JSON_DEPTH_MAX * 4)))).is_ok());
    // A member that nobody reads is counted, too.
    let unknown = "[".repeat(JSON_DEPTH_MAX) + &"]".repeat(JSON_DEPTH_MAX);
    let unknown = format!(r#"{{"x":{unknown},"type":"read","to":"a://b.c"}}"#);
    assert_eq!(parse(&unknown), Err(MessageError::Depth));
    assert_eq!(salvage_id(&unknown), None);
}

#[test]
fn requests_are_those_of_the_contract() {
    let requests: Vec<_> = (0..=u8::MAX)
        .filter_map(MessageType::from_u8)
        .filter(|kind| kind.is_request())
        .map(MessageType::word)
        .collect();
    let expected =
        ["create", "read", "delete", "subscribe", "unsubscribe", "execute", "handshake", "open"];
    assert_eq!(requests, expected);
    assert_eq!(MessageType::from_word("Re-Open"), Some(MessageType::ReOpen));
    for unknown in ["", "reads", "read ", "reopen"] {
        assert_eq!(MessageType::from_word(unknown), None, "{unknown}");
    }
}

#[test]
fn codes_are_read_in_every_published_form() {
    let code = |value: &str| body_facts(&format!("{{\"code\":{value}}}")).unwrap().code;
    for (value, expected) in [
        ("100", Some(100)),
        ("\"1xx\"", Some(100)),
        ("\"5XX\"", Some(500)),
        ("\"6xx\"", Some(600)),
        ("65535", Some(65_535)),
        ("65536", None),
        ("-200", None),
        ("200.5", None),
        ("\"7XX\"", None),
        ("\"2X\"", None),
        ("\"\"", None),
        ("null", None),
        ("true", None),
        ("{\"code\":200}", None),
    ] {
        assert_eq!(code(value), expected, "{value}");
    }
    assert_eq!(body_facts(r#"{"code":200,"c\u006fde":500}"#), None, "two readers could disagree");
    assert_eq!(body_facts(r#"{"subscriber":"a","subscri\u0062er":"b"}"#), None);
}

#[test]
fn a_body_that_is_more_than_one_value_has_no_facts() {
    for body in [
        "{} {}",
        r#"{"p2p":true},"from":"hyperty://home.example/alice""#,
        "1}\n{\"id\":9,\"type\":\"read\"",
        "nonsense",
        "{",
        " ",
        "1 2",
        "\"a\nb\"",
    ] {
        assert_eq!(body_facts(body), None, "{body:?}");
    }
    for body in ["", "1", " {} ", "null", "[1,\n2]", "\"x\""] {
        assert_eq!(body_facts(body), Some(BodyFacts::default()), "{body:?}");
    }
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(body_facts(&deep(JSON_DEPTH_MAX)).is_some());
    assert_eq!(body_facts(&deep(JSON_DEPTH_MAX + 1)), None);
}

#[test]
fn a_message_is_written_on_one_line() {
    let head = Head { id: "1", id_is_number: true, kind: "update", from: "a://b.c", to: "d://e.f" };
    let mut out = Vec::new();
    write_json(&mut out, &head, b"{\"a\":\r\n[1,\n2],\"b\":\"x\\ny\"}");
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains(['\n', '\r']), "{text}");
    assert_eq!(parse(&text).unwrap().body, Some("{\"a\":  [1, 2],\"b\":\"x\\ny\"}"));
}

#[test]
fn attack_014_only_whole_numbers_are_written_without_quotes() {
    let shown = |id: &str| {
        let head = Head { id, id_is_number: true, kind: "read", from: "a://b.c", to: "d://e.f" };
        let mut out = Vec::new();
        write_json(&mut out, &head, b"");
        String::from_utf8(out).unwrap()
    };
    for id in ["7", "-7", "0"] {
        assert!(shown(id).starts_with(&format!("{{\"id\":{id},")), "{id}");
    }
    for id in ["07", "", "-", "1e3", "1,\"from\":\"hyperty://home.example/alice\"", "1}{"] {
        let text = shown(id);
        let message = parse(&text).unwrap();
        assert!(!message.id_is_number, "{text}");
        assert_eq!(message.from.as_deref(), Some("a://b.c"), "{text}");
    }
}

/// Beginnings of bodies.
const VALUES: &[&str] =
    &["{}", "1", "[]", "\"x\"", "null", "{\"a\":\n1}", "{\"p2p\":true}", "[\n1,\r\n2]"];

proptest! {
    #[test]
    fn a_parsed_body_has_the_same_facts_either_way(body in r#"\{("(code|source|p2p|x|\\u0063ode)":("a://b.c"|true|200|\{"code":1\}),?){0,3}\}"#) {
        if serde_json::from_str::<serde_json::Value>(&body).is_ok() {
            prop_assert_eq!(super::facts_of_parsed(&body), body_facts(&body));
        }
    }

    #[test]
    fn a_body_with_facts_cannot_leave_its_place(value in proptest::sample::select(VALUES), tail in "[ \n]{0,2}|[ -~\n]{1,8}") {
        let body = format!("{value}{tail}");
        if body_facts(&body).is_none() {
            return Ok(());
        }
        let head = Head { id: "1", id_is_number: true, kind: "read", from: "a://b.c", to: "d://e.f" };
        let mut out = Vec::new();
        write_json(&mut out, &head, body.as_bytes());
        let text = String::from_utf8(out).unwrap();
        prop_assert!(!text.contains('\n'));
        let message = parse(&text).unwrap();
        prop_assert_eq!(message.from.as_deref(), Some("a://b.c"));
        prop_assert_eq!(message.id.as_deref(), Some("1"));
    }

    #[test]
    fn what_is_written_reads_back(id in "\\PC{1,20}", from in "[a-z]{1,5}://[a-z]{1,5}", body in "[a-z \"]{0,20}") {
        let body = serde_json::json!({"x": body}).to_string();
        let mut out = Vec::new();
        let head = Head { id: &id, id_is_number: false, kind: "read", from: &from, to: "a://b.c" };
        write_json(&mut out, &head, body.as_bytes());
        let text = String::from_utf8(out).unwrap();
        let message = parse(&text).unwrap();
        prop_assert_eq!(message.id.as_deref(), Some(id.as_str()));
        prop_assert_eq!(message.from.as_deref(), Some(from.as_str()));
        prop_assert_eq!(message.body, Some(body.as_str()));
    }

    #[test]
    fn any_text_is_a_message_or_refused(text in "\\PC{0,100}") {
        let _result = (parse(&text), body_facts(&text), salvage_id(&text));
    }

    #[test]
    fn types_have_one_number_and_one_word(number in any::<u8>()) {
        if let Some(kind) = MessageType::from_u8(number) {
            prop_assert_eq!(kind.as_u8(), number);
            prop_assert_eq!(MessageType::from_word(&kind.word().to_uppercase()), Some(kind));
        }
    }

    #[test]
    fn a_changed_byte_makes_a_message_or_a_refusal(at in 0_usize..200, new in any::<u8>()) {
        let mut bytes = FULL.as_bytes().to_vec();
        let place = at % bytes.len();
        bytes[place] = new;
        if let Ok(text) = std::str::from_utf8(&bytes) && let Ok(message) = parse(text) {
            // What was taken for a body is one JSON value.
            if let Some(body) = message.body {
                prop_assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
                let _facts = body_facts(body);
            }
            prop_assert!(message.id.is_none_or(|id| !id.is_empty() && !id.chars().any(char::is_control)));
        }
    }

    #[test]
    fn a_cut_line_is_refused(cut in 1_usize..160) {
        let text = FULL.get(..FULL.len().saturating_sub(cut)).unwrap();
        prop_assert!(matches!(parse(text), Err(MessageError::Json(_))));
    }

    #[test]
    fn whatever_was_read_is_written_as_it_came(id in prop_oneof!["-?[1-9][0-9]{0,17}", "\\PC{1,40}"], text in any::<bool>(), to in "[a-z]{1,6}://[a-z/]{1,9}", number in any::<i32>()) {
        let is_number = !text && id.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit()) && id.starts_with(|c: char| c == '-' || ('1'..='9').contains(&c)) && id.len() < 19 && id != "-";
        let body = format!("{{\"n\" :[{number} ]}}");
        let head = Head { id: &id, id_is_number: is_number, kind: "update", from: "a://b.c", to: &to };
        let mut once = Vec::new();
        write_json(&mut once, &head, body.as_bytes());
        let once = String::from_utf8(once).unwrap();
        let read = parse(&once).unwrap();
        prop_assert_eq!(read.id_is_number, is_number);
        let (read_id, read_to) = (read.id.as_deref().unwrap(), read.to.as_slice()[0].as_ref());
        let head = Head { id: read_id, id_is_number: read.id_is_number, kind: &read.kind, from: read.from.as_deref().unwrap(), to: read_to };
        let mut twice = Vec::new();
        write_json(&mut twice, &head, read.body.unwrap().as_bytes());
        prop_assert_eq!(once.as_bytes(), twice.as_slice());
    }
}

#[test]
fn what_was_missed_is_told_beside_the_body() {
    let head = Head { id: "1", id_is_number: true, kind: "update", from: "a://b.c", to: "d://e.f" };
    for (body, lagged, want) in [
        ("{}", 0, r#"{"id":1,"type":"update","from":"a://b.c","to":"d://e.f","body":{}}"#),
        (
            "{}",
            3,
            r#"{"id":1,"type":"update","from":"a://b.c","to":"d://e.f","body":{},"lagged":3}"#,
        ),
        ("", 3, r#"{"id":1,"type":"update","from":"a://b.c","to":"d://e.f","lagged":3}"#),
    ] {
        let mut out = Vec::new();
        write_lagged_json(&mut out, &head, body.as_bytes(), lagged);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
