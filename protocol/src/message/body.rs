//! The few members of a body that a trusted edge looks at: the code of a response, the addresses
//! that the sender claims to speak for, the wish for P2P. The body itself is never rewritten.

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
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

/// Reads the facts off the JSON text of a body. `None`: a claim or the code is there twice, or is
/// no text, so that two readers could disagree about it. A body that is no object has no facts.
pub fn body_facts(body: &str) -> Option<BodyFacts> {
    if !body.trim_start().starts_with('{') {
        return Some(BodyFacts::default());
    }
    let mut reader = serde_json::Deserializer::from_str(body);
    reader.deserialize_map(Facts).ok()
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
