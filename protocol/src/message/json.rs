//! One message as one JSON object, read with bounds and written without touching the body.

use super::MessageType;
use crate::limits::{FAN_OUT_MAX, ID_BYTES_MAX, JSON_DEPTH_MAX};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Why a line is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not one JSON object, or a member is there twice.
    #[error("not a JSON message: {0}")]
    Json(String),
    /// Nested deeper than the bound.
    #[error("JSON is nested deeper than {JSON_DEPTH_MAX}")]
    Depth,
    /// No `type`.
    #[error("the message has no type")]
    NoType,
    /// No `to`, or something that is no address.
    #[error("the message has no receiver")]
    NoReceiver,
    /// More receivers than the bound.
    #[error("the message has more than {FAN_OUT_MAX} receivers")]
    TooManyReceivers,
    /// An id that is neither text nor a whole number, or is too long.
    #[error("the id is neither a text of 1 to {ID_BYTES_MAX} plain characters nor a whole number")]
    Id,
}

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receivers<'a> {
    /// One address.
    One(Cow<'a, str>),
    /// One copy each.
    Many(Vec<Cow<'a, str>>),
}

impl<'a> Receivers<'a> {
    /// All of them.
    pub fn as_slice(&self) -> &[Cow<'a, str>] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// A message as it came in. Addresses are not yet parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// Text of the id; `None` if missing, null, 0 or empty: to be assigned.
    pub id: Option<Cow<'a, str>>,
    /// Whether the id was a JSON number.
    pub id_is_number: bool,
    /// The word of `type`, as it was.
    pub kind: Cow<'a, str>,
    /// `from`, if there.
    pub from: Option<Cow<'a, str>>,
    /// `to`.
    pub to: Receivers<'a>,
    /// JSON text of the body; `None` if missing or null.
    pub body: Option<&'a str>,
    /// `reply`, if there.
    pub reply: Option<bool>,
    /// `timeout` in milliseconds, if there.
    pub timeout_ms: Option<u64>,
    /// `durable`.
    pub durable: bool,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    from: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    to: Option<&'a RawValue>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(default)]
    reply: Option<bool>,
    #[serde(default)]
    timeout: Option<u64>,
    #[serde(default)]
    durable: Option<bool>,
}

impl<'a> Incoming<'a> {
    /// Reads one message from one JSON text. Members that the runtime does not know are left out.
    ///
    /// # Errors
    /// It is no message.
    pub fn parse(text: &'a str) -> Result<Self, MessageError> {
        check_depth(text)?;
        // A derived reader would take an array for an object, member by member.
        if !text.trim_start().starts_with('{') {
            return Err(MessageError::Json("not an object".to_owned()));
        }
        let wire: Wire<'a> =
            serde_json::from_str(text).map_err(|e| MessageError::Json(e.to_string()))?;
        let (id, id_is_number) = match wire.id {
            Some(raw) => id_of(raw.get())?,
            None => (None, false),
        };
        let to = wire.to.ok_or(MessageError::NoReceiver).and_then(|raw| receivers(raw.get()))?;
        Ok(Self {
            id,
            id_is_number,
            kind: wire.kind.ok_or(MessageError::NoType)?,
            from: wire.from,
            to,
            body: wire.body.map(RawValue::get),
            reply: wire.reply,
            timeout_ms: wire.timeout,
            durable: wire.durable == Some(true),
        })
    }

    /// The type, if it is known.
    pub fn message_type(&self) -> Option<MessageType> {
        MessageType::from_word(&self.kind)
    }
}

/// The id of a text that is no message but an object with a proper id, so that its sender can be
/// answered: text, and whether it was a number.
pub fn salvage_id(text: &str) -> Option<(String, bool)> {
    #[derive(Deserialize)]
    struct OnlyId<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    check_depth(text).ok()?;
    text.trim_start().starts_with('{').then_some(())?;
    let only: OnlyId<'_> = serde_json::from_str(text).ok()?;
    let (id, number) = id_of(only.id.get()).ok()?;
    Some((id?.into_owned(), number))
}

fn id_of(raw: &str) -> Result<(Option<Cow<'_, str>>, bool), MessageError> {
    if raw.starts_with('"') {
        let text: Cow<'_, str> = parse_text(raw).ok_or(MessageError::Id)?;
        if text.is_empty() {
            return Ok((None, false));
        }
        let plain = text.len() <= ID_BYTES_MAX && text.chars().all(|c| !c.is_control());
        return if plain { Ok((Some(text), false)) } else { Err(MessageError::Id) };
    }
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && raw.len() <= 20;
    match raw {
        "0" | "-0" | "null" => Ok((None, raw != "null")),
        _ if whole => Ok((Some(Cow::Borrowed(raw)), true)),
        _ => Err(MessageError::Id),
    }
}

fn parse_text(raw: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw).ok().map(|text| text.0)
}

fn receivers(raw: &str) -> Result<Receivers<'_>, MessageError> {
    if raw.starts_with('"') {
        return parse_text(raw).map(Receivers::One).ok_or(MessageError::NoReceiver);
    }
    let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_e| MessageError::NoReceiver)?;
    if items.len() > FAN_OUT_MAX {
        return Err(MessageError::TooManyReceivers);
    }
    if items.is_empty() {
        return Err(MessageError::NoReceiver);
    }
    let all: Option<Vec<_>> = items.iter().map(|item| parse_text(item.get())).collect();
    all.map(Receivers::Many).ok_or(MessageError::NoReceiver)
}

/// Counts the depth outside of strings; the parser's own bound does not hold for raw values.
pub(super) fn check_depth(text: &str) -> Result<(), MessageError> {
    // No deeper than there are opening brackets, in strings or not.
    let opening = memchr::memchr2_iter(b'{', b'[', text.as_bytes());
    if opening.take(JSON_DEPTH_MAX.saturating_add(1)).count() <= JSON_DEPTH_MAX {
        return Ok(());
    }
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                if depth > JSON_DEPTH_MAX {
                    return Err(MessageError::Depth);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Writes `{"id":…,"type":…,"from":…,"to":…,"body":…}` without a line end. The body is copied as it
/// is, but for line ends between its tokens; it must be one JSON value ([`super::body_facts`] says
/// so), or what follows it becomes part of the message. Addresses hold no character that JSON
/// escapes.
pub fn write_json(out: &mut Vec<u8>, head: &Head<'_>, body: &[u8]) {
    out.extend_from_slice(b"{\"id\":");
    // A worker in foreign hands may call anything a number; it would be more than an id here.
    if head.id_is_number && is_whole_number(head.id) {
        out.extend_from_slice(head.id.as_bytes());
    } else {
        write_text(out, head.id);
    }
    for (name, value) in [("type", head.kind), ("from", head.from), ("to", head.to)] {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        write_text(out, value);
    }
    if !body.is_empty() {
        out.extend_from_slice(b",\"body\":");
        let start = out.len();
        out.extend_from_slice(body);
        // A line end can only be white space there: inside of a text JSON has it escaped.
        let mut rest = out.get_mut(start..).unwrap_or_default();
        while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
            let Some((end, after)) = rest.get_mut(at..).and_then(<[u8]>::split_first_mut) else {
                break;
            };
            *end = b' ';
            rest = after;
        }
    }
    out.push(b'}');
}

/// Whether it is written without quotes: a whole number without leading zeros.
fn is_whole_number(id: &str) -> bool {
    let digits = id.strip_prefix('-').unwrap_or(id);
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    !digits.is_empty() && !leading_zero && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// As [`write_json`], of a message that says how many publications before it were missed: with
/// `"lagged":…` at its end.
pub fn write_lagged_json(out: &mut Vec<u8>, head: &Head<'_>, body: &[u8], lagged: u32) {
    write_json(out, head, body);
    if lagged > 0 && out.pop_if(|end| *end == b'}').is_some() {
        out.extend_from_slice(format!(",\"lagged\":{lagged}}}").as_bytes());
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

/// The members of a message besides its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// Text of the id.
    pub id: &'a str,
    /// Whether it is a JSON number.
    pub id_is_number: bool,
    /// Word of the type.
    pub kind: &'a str,
    /// Sender.
    pub from: &'a str,
    /// Receiver.
    pub to: &'a str,
}

impl fmt::Display for Receivers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_slice().join(" "))
    }
}
