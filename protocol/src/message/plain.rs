//! JSON that every reader takes: a number that fits into no double, and half of a character, are
//! allowed by the grammar, and make many readers refuse the whole line around them.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Digits below which a number fits into a double, whatever they are.
const DIGITS_SURE: usize = 300;

/// Whether all readers of JSON take this; it is JSON. Most texts need no second look.
pub(super) fn is_plain(text: &str) -> bool {
    !is_suspicious(text.as_bytes()) || serde_json::from_str::<Plain>(text).is_ok()
}

fn is_suspicious(bytes: &[u8]) -> bool {
    let at = |place: Option<usize>| place.and_then(|place| bytes.get(place));
    let exponent = memchr::memchr2_iter(b'e', b'E', bytes).any(|place| {
        at(place.checked_sub(1)).is_some_and(u8::is_ascii_digit)
            && at(place.checked_add(1)).is_some_and(|b| b.is_ascii_digit() || b"+-".contains(b))
    });
    let half = || {
        memchr::memmem::find_iter(bytes, br"\u").any(|place| {
            at(place.checked_add(2)).is_some_and(|byte| byte.eq_ignore_ascii_case(&b'd'))
        })
    };
    // A longer row of digits has one at one of these places.
    let long = || bytes.iter().step_by(DIGITS_SURE).any(u8::is_ascii_digit) && has_long_row(bytes);
    exponent || half() || long()
}

fn has_long_row(bytes: &[u8]) -> bool {
    bytes.len() > DIGITS_SURE
        && bytes.split(|byte| !byte.is_ascii_digit()).any(|row| row.len() > DIGITS_SURE)
}

/// Reads everything and keeps nothing.
struct Plain;

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Plain {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _value: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _value: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _value: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _value: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _value: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::is_plain;
    use proptest::prelude::*;

    #[test]
    fn escape_043_numbers_and_characters_that_not_every_reader_takes_are_not_plain() {
        let long = "9".repeat(400);
        for odd in ["1e999", "[1,{\"a\":-2.5E+400}]", &long, &format!("[\"x\",{long}]")] {
            assert!(!is_plain(odd), "{odd}");
        }
        for odd in [r#""\ud800""#, r#"{"\uDC00":1}"#, r#"["\ud800\ud800"]"#, r#""\uD83Dx""#] {
            assert!(!is_plain(odd), "{odd}");
        }
        let digits = format!("\"{long}\"");
        for fine in [
            "1e99",
            "[0.5e-999]",
            "1.7E308",
            r#""1e999""#,
            r#""\ud83d\ude00""#,
            r#""\u0064""#,
            &digits,
            "true",
            "null",
            "{}",
            "[[],-1]",
        ] {
            assert!(is_plain(fine), "{fine}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_is_read_by_an_ordinary_reader(
            start in "[ \"]{0,3}",
            digits in 0_usize..700,
            end in "(\\.5)?([eE][+-]?[0-9]{1,3})?",
        ) {
            let text = format!("[{start}0,1{}{end}]", "7".repeat(digits));
            let json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            if json {
                let read = serde_json::from_str::<serde_json::Value>(&text).is_ok();
                prop_assert_eq!(is_plain(&text), read);
            }
        }
    }
}
