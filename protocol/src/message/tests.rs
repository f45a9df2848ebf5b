//! Reading and writing messages: vectors, bounds at the edge and one past, and round trips.
#![allow(clippy::arithmetic_side_effects, reason = "tests")]

use super::{
    BodyFacts, Head, Incoming, MessageError, MessageType, body_facts, salvage_id, write_json,
};
use crate::limits::{FAN_OUT_MAX, JSON_DEPTH_MAX};
use proptest::prelude::*;

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

proptest! {
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
}
