//! The wire of DNS, as little as a client needs: one question, and the addresses of its answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl Record {
    const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

const CLASS_IN: u16 = 1;
const TYPE_CNAME: u16 = 5;
const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_WANTED: u16 = 0x0100;
const CODE_MASK: u16 = 0x000F;
const CODE_NO_NAME: u16 = 3;
const HEADER_BYTES: usize = 12;
const NAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: usize = 63;
/// Pointers followed in one name.
const JUMPS_MAX: usize = 32;
/// Records looked at in one answer.
const RECORDS_MAX: u16 = 128;

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// These addresses; none if the name exists without such a record, or does not exist.
    Addresses(Vec<IpAddr>),
    /// Too long for a datagram: ask by TCP.
    Truncated,
    /// The server cannot answer; another one may.
    Failed,
}

/// Bytes that are no answer to this question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAnAnswer;

/// The bytes of a question, or `None` if `name` is no host name of dot-separated labels.
pub(crate) fn question(id: u16, name: &str, record: Record) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(64);
    for word in [id, FLAG_WANTED, 1, 0, 0, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    for label in name.split('.') {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if label.is_empty() || label.len() > LABEL_BYTES_MAX || !plain {
            return None;
        }
        out.push(u8::try_from(label.len()).ok()?);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    if out.len() > HEADER_BYTES.saturating_add(NAME_BYTES_MAX) {
        return None;
    }
    for word in [record.number(), CLASS_IN] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    Some(out)
}

/// Reads the answer to `question`. Only addresses of the name asked for, or of the names it is an
/// alias of, count.
///
/// # Errors
/// The bytes are something else.
pub(crate) fn answer(question: &[u8], bytes: &[u8]) -> Result<Answer, NotAnAnswer> {
    let word = |at: usize| u16_at(bytes, at).ok_or(NotAnAnswer);
    let flags = word(2)?;
    if u16_at(question, 0) != Some(word(0)?) || flags & FLAG_RESPONSE == 0 || word(4)? != 1 {
        return Err(NotAnAnswer);
    }
    let (name, at) = name_at(bytes, HEADER_BYTES).ok_or(NotAnAnswer)?;
    let (asked, end) = name_at(question, HEADER_BYTES).ok_or(NotAnAnswer)?;
    let wanted = u16_at(question, end).ok_or(NotAnAnswer)?;
    if name != asked || word(at)? != wanted || word(at.saturating_add(2))? != CLASS_IN {
        return Err(NotAnAnswer);
    }
    if flags & FLAG_TRUNCATED != 0 {
        return Ok(Answer::Truncated);
    }
    match flags & CODE_MASK {
        0 => {}
        CODE_NO_NAME => return Ok(Answer::Addresses(Vec::new())),
        _ => return Ok(Answer::Failed),
    }
    let records = word(6)?.min(RECORDS_MAX);
    records_of(bytes, at.saturating_add(4), records, &asked, wanted)
        .map(Answer::Addresses)
        .ok_or(NotAnAnswer)
}

fn records_of(
    bytes: &[u8],
    start: usize,
    count: u16,
    asked: &[u8],
    wanted: u16,
) -> Option<Vec<IpAddr>> {
    let mut at = start;
    let mut names = vec![asked.to_vec()];
    let mut found = Vec::new();
    for _ in 0..count {
        let (owner, end) = name_at(bytes, at)?;
        let kind = u16_at(bytes, end)?;
        let class = u16_at(bytes, end.checked_add(2)?)?;
        let length = usize::from(u16_at(bytes, end.checked_add(8)?)?);
        let from = end.checked_add(10)?;
        at = from.checked_add(length)?;
        let data = bytes.get(from..at)?;
        if class != CLASS_IN || !names.contains(&owner) {
            continue;
        }
        if kind == TYPE_CNAME {
            names.push(name_at(bytes, from)?.0);
        } else if kind == wanted {
            found.push(address(data)?);
        }
    }
    Some(found)
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => <[u8; 4]>::try_from(data).ok().map(|b| Ipv4Addr::from(b).into()),
        16 => <[u8; 16]>::try_from(data).ok().map(|b| Ipv6Addr::from(b).into()),
        _ => None,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    pair.try_into().ok().map(u16::from_be_bytes)
}

/// The name at `at` in lower case with its length bytes, and where what follows it begins.
fn name_at(bytes: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    let (mut at, mut after) = (at, None);
    for _ in 0..JUMPS_MAX.saturating_add(NAME_BYTES_MAX) {
        let length = *bytes.get(at)?;
        let next = at.checked_add(1)?;
        match length {
            0 => return Some((name, after.unwrap_or(next))),
            1..=63 => {
                let end = next.checked_add(usize::from(length))?;
                name.push(length);
                name.extend(bytes.get(next..end)?.iter().map(u8::to_ascii_lowercase));
                at = end;
            }
            192.. => {
                let low = *bytes.get(next)?;
                let target = usize::from(u16::from_be_bytes([length & 0x3F, low]));
                after.get_or_insert(next.checked_add(1)?);
                // Pointers lead backwards only, so no loop is possible.
                if target >= at {
                    return None;
                }
                at = target;
            }
            _ => return None,
        }
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "tests")]

    use super::{Answer, NotAnAnswer, Record, answer, question};
    use proptest::prelude::*;
    use std::net::IpAddr;

    /// An answer with an alias and two addresses, names compressed.
    fn reply(question: &[u8], addresses: &[[u8; 4]]) -> Vec<u8> {
        let mut out = question.to_vec();
        out[2] = 0x81;
        out[3] = 0x80;
        let count = u8::try_from(addresses.len() + 1).unwrap();
        out[7] = count;
        let alias_at = out.len() + 12;
        out.extend_from_slice(&[0xC0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 7]);
        out.extend_from_slice(b"\x05other\x00");
        let pointer = u8::try_from(alias_at).unwrap();
        for address in addresses {
            out.extend_from_slice(&[0xC0, pointer, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            out.extend_from_slice(address);
        }
        out
    }

    fn ips(texts: &[&str]) -> Answer {
        Answer::Addresses(texts.iter().map(|t| t.parse::<IpAddr>().unwrap()).collect())
    }

    #[test]
    fn addresses_are_found_through_an_alias_whatever_the_case() {
        let asked = question(7, "Example.com", Record::A).unwrap();
        let mut bytes = reply(&asked, &[[8, 8, 8, 8], [9, 9, 9, 9]]);
        assert_eq!(answer(&asked, &bytes), Ok(ips(&["8.8.8.8", "9.9.9.9"])));
        bytes[13] = b'e';
        assert_eq!(answer(&asked, &bytes), Ok(ips(&["8.8.8.8", "9.9.9.9"])));
    }

    #[test]
    fn addresses_of_another_name_do_not_count() {
        let asked = question(7, "example.com", Record::A).unwrap();
        let mut bytes = asked.clone();
        bytes[2] = 0x81;
        bytes[7] = 1;
        bytes.extend_from_slice(
            b"\x04evil\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x01\x01\x01",
        );
        assert_eq!(answer(&asked, &bytes), Ok(ips(&[])));
    }

    #[test]
    fn the_answer_to_another_question_is_none() {
        let asked = question(7, "example.com", Record::A).unwrap();
        let good = reply(&asked, &[[8, 8, 8, 8]]);
        for other in [
            question(8, "example.com", Record::A),
            question(7, "example.org", Record::A),
            question(7, "example.com", Record::Aaaa),
        ] {
            assert_eq!(answer(&other.unwrap(), &good), Err(NotAnAnswer));
        }
        assert_eq!(answer(&asked, &asked), Err(NotAnAnswer));
    }

    #[test]
    fn codes_and_truncation_are_told_apart() {
        let asked = question(1, "example.com", Record::Aaaa).unwrap();
        let with = |high: u8, low: u8| {
            let mut bytes = asked.clone();
            (bytes[2], bytes[3]) = (high, low);
            answer(&asked, &bytes)
        };
        assert_eq!(with(0x81, 0x83), Ok(ips(&[])));
        assert_eq!(with(0x81, 0x82), Ok(Answer::Failed));
        assert_eq!(with(0x83, 0x80), Ok(Answer::Truncated));
    }

    #[test]
    fn what_is_no_host_name_is_not_asked() {
        let long = format!("{}.com", "a".repeat(64));
        let longer = vec!["abcdefghi"; 26].join(".");
        for name in ["", ".", "a..b", "example.com.", "a b", "ex\u{e4}mple", &long, &longer] {
            assert_eq!(question(1, name, Record::A), None, "{name}");
        }
        assert!(question(1, &"a".repeat(63), Record::A).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let asked = question(7, "example.com", Record::A).unwrap();
            let _any = answer(&asked, &bytes);
            let mut framed = asked.clone();
            framed[2] = 0x81;
            framed[7] = 9;
            framed.extend_from_slice(&bytes);
            let _any = answer(&asked, &framed);
        }

        #[test]
        fn a_cut_answer_gives_no_wrong_address(cut in 0_usize..80) {
            let asked = question(7, "example.com", Record::A).unwrap();
            let bytes = reply(&asked, &[[8, 8, 8, 8]]);
            let cut = cut.min(bytes.len() - 1);
            prop_assert_eq!(answer(&asked, &bytes[..cut]), Err(NotAnAnswer));
        }
    }
}
