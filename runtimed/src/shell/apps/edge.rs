//! The edge between applications' JSON and frames: the only place where the daemon reads or
//! writes a message as JSON.

use super::outbox::GivenId;
use super::{App, Stage};
use crate::shell::hub::Hub;
use protocol::address::{Address, AddressError};
use protocol::frame::{ExtTag, Frame, FrameBuilder, FrameError, flags};
use protocol::limits::{
    ADDRESS_BYTES_MAX, DEADLINE_MAX_MS, FAN_OUT_MAX, FRAME_HELD_BYTES_MAX, JSON_DEPTH_MAX,
    LINE_BYTES_MAX,
};
use protocol::message::{
    BodyFacts, Head, Incoming, MessageError, MessageType, facts_of_parsed, received, salvage_id,
    write_json, write_lagged_json,
};
use protocol::reason::Reason;
use runtime_core::{Input, LinkId};
use serde::Deserialize;
use serde_json::json;

/// Bytes of a body that every frame has room for, whatever its addresses.
const BODY_BYTES_SURE: usize = FRAME_HELD_BYTES_MAX.saturating_sub(16_384);

/// What an application says first.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Hello {
    /// What it calls itself.
    pub(super) name: String,
    /// What it claims.
    pub(super) addresses: Vec<String>,
}

impl Hello {
    /// Reads the first line; what is wrong with it otherwise.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct First {
            hello: Hello,
        }
        let wrong = |error: serde_json::Error| {
            let form = r#"{"hello":{"name":"…","addresses":["…"]}}"#;
            format!("the first line must be {form}: {error}")
        };
        serde_json::from_str(text).map(|first: First| first.hello).map_err(wrong)
    }
}

fn line_of(value: &serde_json::Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// A line that says what is wrong and answers no message.
pub(super) fn error_line(code: u16, reason: &str, desc: &str) -> Vec<u8> {
    line_of(&json!({"error": {"code": code, "reason": reason, "desc": desc}}))
}

/// The answer to a hello that is accepted.
pub(super) fn welcome_line(hub: &Hub, address: &str, addresses: &[String]) -> Vec<u8> {
    line_of(&json!({"welcome": {
        "address": address,
        "addresses": addresses,
        "runtime": hub.runtime_url,
        "limits": {
            "lineBytes": LINE_BYTES_MAX,
            "bodyBytes": BODY_BYTES_SURE,
            "addressBytes": ADDRESS_BYTES_MAX,
            "receivers": FAN_OUT_MAX,
            "depth": JSON_DEPTH_MAX,
            "timeout": hub.default_deadline_ms,
            "timeoutMax": DEADLINE_MAX_MS,
        },
    }}))
}

/// A message that is refused before it is one.
#[derive(Debug)]
struct Refused {
    reason: Reason,
    desc: String,
}

impl Refused {
    fn new(reason: Reason, desc: impl Into<String>) -> Self {
        Self { reason, desc: desc.into() }
    }
}

impl Hub {
    /// One line of an application that is in.
    pub(super) fn take_message(&mut self, link: LinkId, text: &str) {
        let message = match Incoming::parse(text) {
            Ok(message) => message,
            Err(error) => return self.refuse_line(link, text, &error),
        };
        let Some(App { stage: Stage::In(own), last_id, .. }) = self.apps.get_mut(&link) else {
            return;
        };
        let given = message.id.is_none().then(|| {
            *last_id = last_id.saturating_add(1);
            last_id.to_string()
        });
        let id = given.as_deref().or(message.id.as_deref()).unwrap_or("0");
        let number = given.is_some() || message.id_is_number;
        let from = message.from.as_deref().unwrap_or(own).to_owned();
        let mut spelled = self.take_spelled(link);
        let read = Edge::read(&message, &from, &mut spelled.from);
        let edge = match read {
            Ok(edge) => edge,
            Err(refused) => {
                let reply = message.reply.unwrap_or(true);
                return self.refuse(link, refused, reply.then_some((id, number)), &from);
            }
        };
        for (at, to) in message.to.as_slice().iter().enumerate() {
            // A request has one id in the core: further copies get one of their own, which is
            // turned back in the response.
            let own = (at > 0 && edge.reply).then(|| self.alias(link, id, number)).flatten();
            let copy = own.as_deref().map_or((id, number), |own| (own, true));
            match edge.frame(&message, copy, to, &mut spelled.to) {
                Ok(mut frame) => {
                    let now = self.clock.now();
                    self.feed_frame(now, link, frame.bytes_mut());
                }
                Err(refused) => {
                    self.refuse(link, refused, edge.reply.then_some((id, number)), &from);
                    self.forget_alias(link, own.as_deref());
                }
            }
        }
        if let Some(app) = self.apps.get_mut(&link) {
            app.spelled = spelled;
        }
    }

    fn take_spelled(&mut self, link: LinkId) -> Spelled {
        self.apps.get_mut(&link).map(|app| std::mem::take(&mut app.spelled)).unwrap_or_default()
    }

    fn alias(&mut self, link: LinkId, id: &str, number: bool) -> Option<String> {
        let app = self.apps.get_mut(&link)?;
        app.last_id = app.last_id.saturating_add(1);
        let own = app.last_id.to_string();
        app.aliases.insert(own.clone(), GivenId { text: id.to_owned(), number });
        Some(own)
    }

    fn forget_alias(&mut self, link: LinkId, own: Option<&str>) {
        if let (Some(app), Some(own)) = (self.apps.get_mut(&link), own) {
            app.aliases.remove(own);
        }
    }

    fn refuse_line(&mut self, link: LinkId, text: &str, error: &MessageError) {
        let refused = Refused::new(Reason::Malformed, error.to_string());
        if let Some((id, number)) = salvage_id(text) {
            return self.refuse(link, refused, Some((&id, number)), "");
        }
        if let Some(app) = self.apps.get_mut(&link) {
            let Refused { reason, desc } = refused;
            app.say(error_line(reason.code(), reason.token(), &desc));
        }
        self.feed(Input::EdgeRefused { link, reason: Reason::Malformed });
    }

    /// Answers on the link the message came in by, if its sender waits for an answer.
    fn refuse(&mut self, link: LinkId, refused: Refused, id: Option<(&str, bool)>, to: &str) {
        let Refused { reason, desc } = refused;
        let runtime = self.runtime_url.clone();
        if let (Some(app), Some((id, id_is_number))) = (self.apps.get_mut(&link), id) {
            let body = json!({"code": reason.code(), "desc": desc, "reason": reason.token()});
            let own = match &app.stage {
                Stage::In(own) => own.clone(),
                _ => String::new(),
            };
            let kind = MessageType::Response.word();
            let to = if to.is_empty() { &own } else { to };
            let mut answer = Vec::new();
            let head = Head { id, id_is_number, kind, from: &runtime, to };
            write_json(&mut answer, &head, body.to_string().as_bytes());
            answer.push(b'\n');
            app.say(answer);
        }
        self.feed(Input::EdgeRefused { link, reason });
    }
}

/// The last address that was spelled in one place of a message: most are spelled again and again.
#[derive(Debug, Default)]
pub(super) struct Spelling(Option<(String, Address)>);

impl Spelling {
    fn parse(&mut self, text: &str) -> Result<Address, AddressError> {
        match &self.0 {
            Some((spelled, address)) if spelled == text => Ok(address.clone()),
            _ => {
                let address = Address::parse(text)?;
                self.0 = Some((text.to_owned(), address.clone()));
                Ok(address)
            }
        }
    }
}

/// The last addresses of one application's messages.
#[derive(Debug, Default)]
pub(super) struct Spelled {
    from: Spelling,
    to: Spelling,
}

/// What all copies of one message have in common.
#[derive(Debug)]
struct Edge {
    kind: MessageType,
    from: Address,
    facts: BodyFacts,
    reply: bool,
}

impl Edge {
    fn read(message: &Incoming<'_>, from: &str, spelled: &mut Spelling) -> Result<Self, Refused> {
        let kind = message.message_type().ok_or_else(|| {
            Refused::new(Reason::UnknownType, format!("no type is called `{}`", message.kind))
        })?;
        let from = spelled
            .parse(from)
            .map_err(|error| Refused::new(Reason::BadAddress, format!("from: {error}")))?;
        if message.durable {
            let desc = "messages are not kept durably in this version";
            return Err(Refused::new(Reason::NotDurable, desc));
        }
        let facts = facts_of_parsed(message.body.unwrap_or_default()).ok_or_else(|| {
            let desc = "code, source, subscriber or reporter of the body is ambiguous";
            Refused::new(Reason::Malformed, desc)
        })?;
        Ok(Self { kind, from, facts, reply: message.reply.unwrap_or(kind.is_request()) })
    }

    fn frame(
        &self,
        message: &Incoming<'_>,
        (id, id_is_number): (&str, bool),
        to: &str,
        spelled: &mut Spelling,
    ) -> Result<Frame, Refused> {
        let to = spelled
            .parse(to)
            .map_err(|error| Refused::new(Reason::BadAddress, format!("to: {error}")))?;
        let code = self.facts.code.filter(|_| self.kind == MessageType::Response);
        let mut frame = FrameBuilder::msg(self.kind.as_u8(), id, self.from.as_str(), to.as_str())
            .flag_if(flags::ID_NUM, id_is_number)
            .flag_if(flags::REPLY, self.reply)
            .flag_if(flags::P2P, self.facts.p2p)
            .code(code.unwrap_or(0))
            .body(message.body.unwrap_or_default().as_bytes());
        if let Some(timeout) = message.timeout_ms {
            let timeout = u32::try_from(timeout.clamp(1, DEADLINE_MAX_MS)).unwrap_or(u32::MAX);
            frame = frame.ext(ExtTag::Deadline, &timeout.to_le_bytes());
        }
        for claim in &self.facts.claims {
            // A claim that is no address is owned by nobody, so the core refuses it.
            let claim = Address::parse(claim).map_or(claim.clone(), |a| a.as_str().to_owned());
            frame = frame.ext(ExtTag::Source, claim.as_bytes());
        }
        frame.build().map_err(|error| match error {
            FrameError::TooLarge(_) => Refused::new(
                Reason::TooLarge,
                format!("a message has at most {FRAME_HELD_BYTES_MAX} bytes with its addresses"),
            ),
            other => Refused::new(Reason::Malformed, other.to_string()),
        })
    }
}

/// The id under which the application knows this response, if it is another; forgotten with the
/// final response.
pub(super) fn given_id(app: &mut App, frame: &Frame) -> Option<GivenId> {
    if app.aliases.is_empty() {
        return None;
    }
    let view = frame.view().ok()?;
    if view.header.mtype != MessageType::Response.as_u8() {
        return None;
    }
    if (1..200).contains(&view.header.code) {
        return app.aliases.get(view.id()).cloned();
    }
    app.aliases.remove(view.id())
}

/// The frame that an application gets, and why its body was withheld if it was: what a worker in
/// foreign hands calls a body could hold more lines, or name somebody whom nobody has checked. A
/// body that came in by this edge needs no such look.
pub(super) fn admitted(frame: Frame) -> (Frame, Option<Reason>) {
    let judged = frame.view().map(|view| received(&view));
    match judged {
        Ok(Err(reason)) => match withheld(&frame, reason) {
            Some(other) => (other, Some(reason)),
            None => (frame, Some(reason)),
        },
        Ok(Ok(())) | Err(_) => (frame, None),
    }
}

/// The same message with the refusal of its body in its place.
fn withheld(frame: &Frame, reason: Reason) -> Option<Frame> {
    let view = frame.view().ok()?;
    let desc = match reason {
        Reason::ForgedSource => "the body names a source that its sender may not speak for",
        _ => "the sender's body was no JSON",
    };
    let body = json!({"code": reason.code(), "desc": desc, "reason": reason.token()}).to_string();
    FrameBuilder::msg(view.header.mtype, view.id(), view.from(), view.to())
        .flag(view.header.flags)
        .code(view.header.code)
        .body(body.as_bytes())
        .build()
        .ok()
}

/// Writes a frame, which was [`admitted`], as a line.
pub(super) fn write_frame(out: &mut Vec<u8>, frame: &Frame, given: Option<&GivenId>) {
    let Ok(view) = frame.view() else { return };
    let kind = MessageType::from_u8(view.header.mtype);
    let (id, id_is_number) = match given {
        Some(given) => (given.text.as_str(), given.number),
        None if view.id().is_empty() => ("0", true),
        None => (view.id(), view.has(flags::ID_NUM)),
    };
    let kind = kind.map_or("event", MessageType::word);
    let head = Head { id, id_is_number, kind, from: view.from(), to: view.to() };
    write_lagged_json(out, &head, view.body(), view.lagged());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::{Edge, Hello, admitted, write_frame};
    use protocol::frame::{ExtTag, Frame, FrameBuilder, flags};
    use protocol::message::Incoming;
    use protocol::reason::Reason;

    const FROM: &str = "hyperty://home.example/alice";

    fn edge(text: &str) -> Result<Frame, Reason> {
        let message = Incoming::parse(text).unwrap();
        let edge = Edge::read(&message, FROM, &mut super::Spelling::default())
            .map_err(|refused| refused.reason)?;
        let to = &message.to.as_slice()[0];
        edge.frame(&message, ("7", true), to, &mut super::Spelling::default())
            .map_err(|refused| refused.reason)
    }

    fn line(frame: &Frame) -> String {
        let mut out = Vec::new();
        write_frame(&mut out, &admitted(frame.clone()).0, None);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_message_crosses_the_edge_with_its_body_untouched() {
        let frame = edge(
            r#"{"id":7,"type":"READ","to":"HYPERTY://Example.com/bob/","timeout":400000,"body":{"a" : [1], "source":"hyperty://x.example/y"}}"#,
        )
        .unwrap();
        let view = frame.view().unwrap();
        assert_eq!(view.to(), "hyperty://example.com/bob");
        assert!(view.has(flags::REPLY | flags::ID_NUM));
        assert_eq!(view.ext().find(ExtTag::Deadline), Some(&300_000_u32.to_le_bytes()[..]));
        assert_eq!(view.ext().find(ExtTag::Source), Some(&b"hyperty://x.example/y"[..]));
        let want = r#"{"id":7,"type":"read","from":"hyperty://home.example/alice","to":"hyperty://example.com/bob","body":{"a" : [1], "source":"hyperty://x.example/y"}}"#;
        assert_eq!(line(&frame), format!("{want}\n"));
    }

    #[test]
    fn what_is_no_good_has_its_own_reason() {
        for (text, want) in [
            (r#"{"type":"shout","to":"hyperty://a.example/b"}"#, Reason::UnknownType),
            (r#"{"type":"read","to":"nonsense"}"#, Reason::BadAddress),
            (r#"{"type":"read","to":"hyperty://a.example/b","durable":true}"#, Reason::NotDurable),
            (
                r#"{"type":"read","to":"hyperty://a.example/b","body":{"source":5}}"#,
                Reason::Malformed,
            ),
        ] {
            assert_eq!(edge(text).unwrap_err(), want, "{text}");
        }
        let large = |bytes: usize| {
            let body = "x".repeat(bytes);
            edge(&format!(r#"{{"type":"read","to":"hyperty://a.example/b","body":"{body}"}}"#))
        };
        assert!(large(super::BODY_BYTES_SURE - 2).is_ok());
        assert_eq!(large(protocol::limits::FRAME_HELD_BYTES_MAX).unwrap_err(), Reason::TooLarge);
    }

    #[test]
    fn a_body_cannot_add_lines_or_members() {
        let frame = |body: &[u8]| {
            FrameBuilder::msg(7, "1", "a://b.c/d", "a://b.c/e").body(body).build().unwrap()
        };
        assert_eq!(
            line(&frame(b"{\"a\":\n\r1}")),
            "{\"id\":\"1\",\"type\":\"response\",\"from\":\"a://b.c/d\",\"to\":\"a://b.c/e\",\"body\":{\"a\":  1}}\n"
        );
        for bad in [&b"{}}\n{\"id\":2"[..], b"{},\"from\":\"x\"", b"\xff", b"{"] {
            let line = line(&frame(bad));
            assert_eq!(line.matches('\n').count(), 1);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["body"]["reason"], "decoding", "{line}");
            assert_eq!(value["from"], "a://b.c/d");
        }
    }

    #[test]
    fn attack_014_a_source_that_nobody_checked_does_not_reach_an_application() {
        let body = format!(r#"{{"source":"{FROM}","value":1}}"#);
        let said = |frame: FrameBuilder<'_>| {
            let (frame, withheld) = admitted(frame.build().unwrap());
            (line(&frame), withheld)
        };
        let frame = || FrameBuilder::msg(3, "1", "a://b.c/d", "a://b.c/e").body(body.as_bytes());
        let (shown, withheld) = said(frame());
        assert_eq!(withheld, Some(Reason::ForgedSource));
        assert!(!shown.contains("alice") && shown.contains("forged-source"), "{shown}");
        let (shown, withheld) = said(frame().ext(ExtTag::Source, FROM.as_bytes()));
        assert_eq!(withheld, None);
        assert!(shown.contains("alice"), "{shown}");
    }

    #[test]
    fn a_hello_is_a_hello() {
        let hello = Hello::parse(r#"{"hello":{"name":"a","addresses":["x"],"later":1}}"#).unwrap();
        assert_eq!(hello, Hello { name: "a".to_owned(), addresses: vec!["x".to_owned()] });
        assert_eq!(Hello::parse(r#"{"hello":{}}"#).unwrap(), Hello::default());
        for bad in ["{}", "7", r#"{"hello":{"addresses":"x"}}"#, r#"{"id":1,"type":"read"}"#] {
            assert!(Hello::parse(bad).unwrap_err().contains("first line"), "{bad}");
        }
    }
}
