//! The few members of a body that a trusted edge looks at: the code of a response, the addresses
//! that the sender claims to speak for, the wish for P2P. The body itself is never rewritten.

use super::json::check_depth;
use super::plain::is_plain;
use serde::de::{self, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// What an edge reads off a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BodyFacts {
    /// `code`, as a number: `200`, `"200"` and `"2XX"` are 200.
    pub code: Option<u16>,
    /// `source`, else `subscriber`, else `reporter`: claims, one after the other.
    pub claims: Vec<String>,
    /// `p2p` is true.
    pub p2p: bool,
}

/// Reads the facts off the JSON text of a body. `None`: the text is not one JSON value within the
/// bound of depth (what follows it would become members of the message, or a message of its own,
/// when it is written into a line), or holds a number or a character that some readers refuse, or a
/// claim or the code is there twice, or is no text, so that
/// two readers could disagree about it. A body that is missing or no object has no facts.
pub fn body_facts(body: &str) -> Option<BodyFacts> {
    if body.is_empty() {
        return Some(BodyFacts::default());
    }
    check_depth(body).ok()?;
    if !body.trim_start().starts_with('{') {
        let value = serde_json::from_str::<IgnoredAny>(body).is_ok() && is_plain(body);
        return value.then(BodyFacts::default);
    }
    let mut reader = serde_json::Deserializer::from_str(body);
    let facts = reader.deserialize_map(Facts).ok()?;
    reader.end().ok()?;
    is_plain(body).then_some(facts)
}

/// As [`body_facts`], of a body that is known to be one JSON value within the bound of depth: the
/// body of a message that was parsed. Most bodies name nothing that matters and are only searched.
pub fn facts_of_parsed(body: &str) -> Option<BodyFacts> {
    let names = ["\"code\"", "\"source\"", "\"subscriber\"", "\"reporter\"", "\"p2p\""];
    let bytes = body.as_bytes();
    // A name may be spelled with escapes; then the body is read.
    let may_matter = memchr::memchr(b'\\', bytes).is_some()
        || names.iter().any(|name| memchr::memmem::find(bytes, name.as_bytes()).is_some());
    if may_matter { body_facts(body) } else { is_plain(body).then(BodyFacts::default) }
}

struct Facts;

impl<'de> Visitor<'de> for Facts {
    type Value = BodyFacts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a body")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BodyFacts, A::Error> {
        let mut facts = BodyFacts::default();
        let mut seen: [bool; 4] = [false; 4];
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let place = match key.as_ref() {
                "code" => 0,
                "source" => 1,
                "subscriber" => 2,
                "reporter" => 3,
                "p2p" => {
                    facts.p2p =
                        map.next_value::<serde_json::Value>()? == serde_json::Value::Bool(true);
                    continue;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            match seen.get_mut(place) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(de::Error::custom("twice")),
            }
            let value = map.next_value::<serde_json::Value>()?;
            if place == 0 {
                facts.code = code_of(&value);
            } else {
                match value {
                    serde_json::Value::String(claim) => facts.claims.push(claim),
                    serde_json::Value::Null => {}
                    _ => return Err(de::Error::custom("no address")),
                }
            }
        }
        Ok(facts)
    }
}

fn code_of(value: &serde_json::Value) -> Option<u16> {
    match value {
        serde_json::Value::Number(number) => {
            number.as_u64().and_then(|code| u16::try_from(code).ok())
        }
        serde_json::Value::String(text) => match text.as_bytes() {
            [class @ b'1'..=b'6', b'x' | b'X', b'x' | b'X'] => {
                Some(u16::from(class.saturating_sub(b'0')).saturating_mul(100))
            }
            _ => text.parse().ok(),
        },
        _ => None,
    }
}
