//! The edge between the MiniBus of a component and the frames of the link: what is posted becomes a
//! frame or is refused with a reason, what arrives becomes the JSON that the component expects.

use protocol::frame::{ExtTag, Frame, FrameBuilder, FrameError, FrameRef, flags};
use protocol::limits::FRAME_BYTES_MAX;
use protocol::message::{Head, MessageType, body_facts, received, write_lagged_json};
use protocol::reason::Reason;
use std::borrow::Cow;

/// A message as the component posted it: already with an id, its body as JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Posted {
    /// Text of the id.
    pub(crate) id: String,
    /// Whether the id was a number.
    pub(crate) id_is_number: bool,
    /// Word of the type.
    pub(crate) kind: String,
    /// Sender.
    pub(crate) from: String,
    /// Receiver.
    pub(crate) to: String,
    /// JSON text; empty for none.
    pub(crate) body: String,
    /// Whether a response is waited for.
    pub(crate) reply: bool,
}

/// Why a message does not leave the sandbox: told to the component as a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Stable reason.
    pub(crate) reason: Reason,
    /// One sentence.
    pub(crate) desc: String,
}

impl Refused {
    pub(crate) fn new(reason: Reason, desc: impl Into<String>) -> Self {
        Self { reason, desc: desc.into() }
    }
}

/// Makes the frame of a posted message. The claims of its body and its wish for P2P are read here,
/// so that the router never has to look into it. `guest` is the domain of whoever came and has just
/// been heard, which the router holds its claims to.
///
/// # Errors
/// It is no message, or too large.
pub(crate) fn frame_of(posted: &Posted, guest: Option<&str>) -> Result<Frame, Refused> {
    let kind = MessageType::from_word(&posted.kind).ok_or_else(|| {
        Refused::new(Reason::UnknownType, format!("there is no message type `{}`", posted.kind))
    })?;
    let facts = body_facts(&posted.body).ok_or_else(|| {
        Refused::new(
            Reason::Malformed,
            "the body names its code or its source twice, or as no text",
        )
    })?;
    let mut builder = FrameBuilder::msg(kind.as_u8(), &posted.id, &posted.from, &posted.to)
        .flag_if(flags::ID_NUM, posted.id_is_number)
        .flag_if(flags::REPLY, posted.reply)
        .flag_if(flags::P2P, facts.p2p)
        .body(posted.body.as_bytes());
    if kind == MessageType::Response {
        builder = builder.code(facts.code.unwrap_or(0));
    }
    if let Some(guest) = guest {
        builder = builder.ext(ExtTag::Guest, guest.as_bytes());
    }
    for claim in &facts.claims {
        builder = builder.ext(ExtTag::Source, claim.as_bytes());
    }
    let too_large = || Refused::new(Reason::TooLarge, "the message is larger than a packet may be");
    match builder.build() {
        Ok(frame) if frame.bytes().len() <= FRAME_BYTES_MAX => Ok(frame),
        Ok(_) | Err(FrameError::TooLarge("len" | "body")) => Err(too_large()),
        Err(other) => Err(Refused::new(Reason::BadAddress, other.to_string())),
    }
}

/// The JSON of a message that arrived. Its sender may be a worker in foreign hands.
///
/// # Errors
/// Its body is no JSON, or names a source that nobody has checked.
pub(crate) fn json_of(frame: &FrameRef<'_>) -> Result<Vec<u8>, Reason> {
    received(frame)?;
    let kind = MessageType::from_u8(frame.header.mtype).map_or("", MessageType::word);
    let head = Head {
        id: frame.id(),
        id_is_number: frame.has(flags::ID_NUM),
        kind,
        from: frame.from(),
        to: frame.to(),
    };
    let mut out = Vec::with_capacity(frame.bytes().len().saturating_add(64));
    let peer = frame.ext().find(ExtTag::Peer).and_then(|peer| std::str::from_utf8(peer).ok());
    let body = peer.map_or(Cow::Borrowed(frame.body()), |peer| with_peer(frame.body(), peer));
    write_lagged_json(&mut out, &head, &body, frame.lagged());
    Ok(out)
}

/// The body with the runtime that it goes to as its last member `peer`, which is the one that
/// counts; one that is no object stays as it is.
fn with_peer<'a>(body: &'a [u8], peer: &str) -> Cow<'a, [u8]> {
    let member = format!(r#""peer":{}}}"#, serde_json::Value::from(peer));
    let body = body.trim_ascii();
    if body.is_empty() {
        return Cow::Owned(format!("{{{member}").into_bytes());
    }
    let Some(open) = body.strip_suffix(b"}").filter(|_| body.starts_with(b"{")) else {
        return Cow::Borrowed(body);
    };
    let empty = open.trim_ascii_end() == b"{";
    let comma: &[u8] = if empty { b"" } else { b"," };
    Cow::Owned([open, comma, member.as_bytes()].concat())
}

/// The response by which the worker itself refuses a request that arrived.
pub(crate) fn refusal_of(request: &FrameRef<'_>, refused: &Refused) -> Option<Frame> {
    let body = serde_json::json!({
        "code": refused.reason.code(),
        "desc": refused.desc,
        "reason": refused.reason.token(),
    })
    .to_string();
    FrameBuilder::msg(MessageType::Response.as_u8(), request.id(), request.to(), request.from())
        .flag_if(flags::ID_NUM, request.has(flags::ID_NUM))
        .code(refused.reason.code())
        .body(body.as_bytes())
        .build()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{FRAME_BYTES_MAX, Posted, frame_of, json_of, refusal_of};
    use crate::minibus::Refused;
    use protocol::frame::{ExtTag, FrameBuilder, flags};
    use protocol::reason::Reason;

    fn posted(kind: &str, body: &str) -> Posted {
        Posted {
            id: "7".to_owned(),
            id_is_number: true,
            kind: kind.to_owned(),
            from: "hyperty://a.example/x".to_owned(),
            to: "hyperty://b.example/y".to_owned(),
            body: body.to_owned(),
            reply: true,
        }
    }

    #[test]
    fn what_the_router_needs_is_in_the_header_and_the_body_stays_as_written() {
        let body = r#"{ "source":"hyperty://a.example/s", "p2p":true, "value": 1.50 }"#;
        let frame = frame_of(&posted("Read", body), None).unwrap();
        let view = frame.view().unwrap();
        assert_eq!((view.id(), view.header.mtype), ("7", 2));
        assert!(view.has(flags::REPLY | flags::P2P | flags::ID_NUM));
        assert_eq!(view.ext().find(ExtTag::Source), Some(&b"hyperty://a.example/s"[..]));
        assert_eq!(view.body(), body.as_bytes());
        let json = String::from_utf8(json_of(&view).unwrap()).unwrap();
        let expected = format!(
            r#"{{"id":7,"type":"read","from":"hyperty://a.example/x","to":"hyperty://b.example/y","body":{body}}}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn a_response_carries_its_code_and_a_request_does_not() {
        let response = frame_of(&posted("response", r#"{"code":"200"}"#), None).unwrap();
        assert_eq!(response.view().unwrap().header.code, 200);
        let request = frame_of(&posted("create", r#"{"code":200}"#), None).unwrap();
        assert_eq!(request.view().unwrap().header.code, 0);
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_reason() {
        let reason = |posted| frame_of(&posted, None).unwrap_err().reason;
        assert_eq!(reason(posted("shout", "")), Reason::UnknownType);
        assert_eq!(reason(posted("read", r#"{"source":1}"#)), Reason::Malformed);
        let large = format!("\"{}\"", "x".repeat(FRAME_BYTES_MAX));
        assert_eq!(reason(posted("read", &large)), Reason::TooLarge);
        let mut long = posted("read", "");
        long.to = "x".repeat(2_000);
        assert_eq!(reason(long), Reason::BadAddress);
    }

    #[test]
    fn attack_014_what_a_worker_in_foreign_hands_sends_is_not_handed_on() {
        let alice = "hyperty://home.example/alice";
        let injected = format!(r#"1,"from":"{alice}""#);
        let forged = format!(r#"{{"source":"{alice}"}}"#);
        let deep = "[".repeat(100_000);
        for (body, reason) in [
            (injected.as_str(), Reason::Decoding),
            (forged.as_str(), Reason::ForgedSource),
            (deep.as_str(), Reason::Decoding),
        ] {
            let frame = FrameBuilder::msg(3, "1", "hyperty://a.example/x", "hyperty://b.example/y")
                .body(body.as_bytes())
                .build()
                .unwrap();
            assert_eq!(json_of(&frame.view().unwrap()), Err(reason));
        }
        let id = format!(r#"1,"from":"{alice}""#);
        let frame = FrameBuilder::msg(3, &id, "hyperty://a.example/x", "hyperty://b.example/y")
            .flag(flags::ID_NUM)
            .build()
            .unwrap();
        let json = json_of(&frame.view().unwrap()).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["from"], "hyperty://a.example/x");
    }

    #[test]
    fn a_refusal_goes_back_the_way_the_request_came() {
        let request = frame_of(&posted("read", ""), None).unwrap();
        let refused = Refused::new(Reason::NoRoute, "nobody listens");
        let frame = refusal_of(&request.view().unwrap(), &refused).unwrap();
        let view = frame.view().unwrap();
        assert_eq!((view.from(), view.to()), ("hyperty://b.example/y", "hyperty://a.example/x"));
        assert_eq!(view.header.code, 404);
    }

    #[test]
    fn a_stub_of_connections_is_told_which_runtime_a_message_is_for_whatever_its_sender_wrote() {
        let peer = "hyperty-runtime://b.example/7";
        for (body, expected) in [
            ("", r#"{"peer":"hyperty-runtime://b.example/7"}"#),
            ("{ }", r#"{ "peer":"hyperty-runtime://b.example/7"}"#),
            (r#" {"a":{}} "#, r#"{"a":{},"peer":"hyperty-runtime://b.example/7"}"#),
            ("[1]", "[1]"),
        ] {
            let frame = FrameBuilder::msg(2, "1", "hyperty://a.example/x", "hyperty://b.example/y")
                .ext(ExtTag::Peer, peer.as_bytes())
                .body(body.as_bytes())
                .build()
                .unwrap();
            let json = String::from_utf8(json_of(&frame.view().unwrap()).unwrap()).unwrap();
            assert!(json.ends_with(&format!(r#""body":{expected}}}"#)), "{json}");
        }
        let frame = FrameBuilder::msg(2, "1", "hyperty://a.example/x", "hyperty://b.example/y")
            .ext(ExtTag::Peer, peer.as_bytes())
            .body(br#"{"peer":"hyperty-runtime://evil.example/1"}"#)
            .build()
            .unwrap();
        let json = json_of(&frame.view().unwrap()).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["body"]["peer"], peer);
    }

    #[test]
    fn a_copy_tells_how_many_were_missed_before_it() {
        let frame = FrameBuilder::msg(2, "1", "comm://b.c/d", "comm://b.c/d/changes")
            .flag(flags::LAGGED)
            .ext(ExtTag::Lagged, &3_u32.to_le_bytes())
            .body(b"{}")
            .build()
            .unwrap();
        let json = String::from_utf8(json_of(&frame.view().unwrap()).unwrap()).unwrap();
        assert!(json.ends_with(r#""body":{},"lagged":3}"#), "{json}");
    }
}
