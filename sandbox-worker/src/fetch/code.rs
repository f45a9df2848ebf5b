//! From what a catalogue serves to the bytes of the code, losslessly.

use super::{Failure, failure};
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use protocol::ctl::FetchError;
use protocol::descriptor::{Descriptor, Encoding, Package, parse};
use protocol::limits::{CODE_BYTES_MAX, DESCRIPTOR_BYTES_MAX};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Reads a descriptor. Its bound is without its inline code, which has a bound of its own.
///
/// # Errors
/// It cannot be used.
pub(crate) fn descriptor(bytes: &[u8]) -> Result<(Descriptor, Package), Failure> {
    let (slim, code) = match slim(bytes) {
        Some((slim, code)) if bytes.len() > DESCRIPTOR_BYTES_MAX => (Some(slim), Some(code)),
        _ => (None, None),
    };
    let (descriptor, package) = parse(slim.as_deref().unwrap_or(bytes))
        .map_err(|error| failure(FetchError::Unusable, error.to_string()))?;
    Ok((
        descriptor,
        match (package, code) {
            (Package::Inline { encoding, .. }, Some(text)) => Package::Inline { text, encoding },
            (package, _) => package,
        },
    ))
}

/// The descriptor with its inline code taken out, and the code.
fn slim(bytes: &[u8]) -> Option<(Vec<u8>, String)> {
    let mut members: Members<'_> = serde_json::from_slice(bytes).ok()?;
    let mut package: Members<'_> =
        serde_json::from_str(members.get("sourcePackage")?.get()).ok()?;
    // Any code will do while the rest is read; none would be refused.
    let stand_in: &RawValue = serde_json::from_str("\";\"").ok()?;
    let code = serde_json::from_str(package.insert("sourceCode".into(), stand_in)?.get()).ok()?;
    let package = serde_json::value::to_raw_value(&package).ok()?;
    members.insert("sourcePackage".into(), &package);
    Some((serde_json::to_vec(&members).ok()?, code))
}

/// Decodes inline code.
///
/// # Errors
/// It is not what its encoding says, or too large.
pub(crate) fn inline(text: &str, encoding: Encoding) -> Result<Vec<u8>, Failure> {
    bounded(match encoding {
        Encoding::None => text.as_bytes().to_vec(),
        Encoding::Base64 => base64(text)?,
    })
}

/// Takes apart what the address of the code answered: a source package in JSON, or the code.
///
/// # Errors
/// It cannot be decoded, or is too large.
pub(crate) fn served(bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let Ok(members) = serde_json::from_slice::<Members<'_>>(&bytes) else {
        return bounded(bytes);
    };
    let nested: Option<Members<'_>> =
        members.get("sourcePackage").and_then(|package| serde_json::from_str(package.get()).ok());
    let package = nested.as_ref().unwrap_or(&members);
    let text = |name: &str| {
        package.get(name).map(|value| {
            serde_json::from_str::<Option<String>>(value.get())
                .map(Option::unwrap_or_default)
                .map_err(|_e| undecodable(&format!("the source package's {name} is no text")))
        })
    };
    let code =
        text("sourceCode").ok_or_else(|| undecodable("the source package has no sourceCode"))??;
    let encoding = text("encoding").transpose()?.unwrap_or_default().to_ascii_lowercase();
    match encoding.as_str() {
        "" | "none" | "utf-8" | "utf8" => inline(&code, Encoding::None),
        "base64" => inline(&code, Encoding::Base64),
        other => {
            let shown: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
            Err(undecodable(&format!("the source package's encoding {shown} is unknown")))
        }
    }
}

fn undecodable(text: &str) -> Failure {
    failure(FetchError::Decoding, text)
}

fn bounded(code: Vec<u8>) -> Result<Vec<u8>, Failure> {
    if code.len() > CODE_BYTES_MAX {
        let text = format!("the code is larger than {CODE_BYTES_MAX} bytes");
        return Err(failure(FetchError::CodeSize, text));
    }
    if code.iter().all(u8::is_ascii_whitespace) {
        return Err(undecodable("the code is empty"));
    }
    Ok(code)
}

/// Base64 in either alphabet, broken into lines or not, padded or not.
fn base64(text: &str) -> Result<Vec<u8>, Failure> {
    let plain: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    // Four characters are three bytes; refuse before decoding.
    if plain.len() / 4 > CODE_BYTES_MAX / 3 + 1 {
        return bounded(vec![b'x'; CODE_BYTES_MAX.saturating_add(1)]);
    }
    let url_safe = plain.iter().any(|b| matches!(b, b'-' | b'_'));
    let alphabet = if url_safe { base64::alphabet::URL_SAFE } else { base64::alphabet::STANDARD };
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet, lenient)
        .decode(&plain)
        .map_err(|error| undecodable(&format!("the code is not base64: {error}")))
}

#[cfg(test)]
mod tests {
    use super::{base64, descriptor, inline, served};
    use ::base64::Engine as _;
    use proptest::prelude::*;
    use protocol::ctl::FetchError;
    use protocol::descriptor::{Encoding, Package};
    use protocol::limits::{CODE_BYTES_MAX, DESCRIPTOR_BYTES_MAX};

    fn encode(bytes: &[u8]) -> String {
        ::base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    #[test]
    fn code_at_its_bound_passes_and_one_byte_more_does_not() {
        let fits = "x".repeat(CODE_BYTES_MAX);
        assert_eq!(inline(&fits, Encoding::None).unwrap().len(), CODE_BYTES_MAX);
        assert_eq!(
            inline(&encode(fits.as_bytes()), Encoding::Base64).unwrap().len(),
            CODE_BYTES_MAX
        );
        let over = "x".repeat(CODE_BYTES_MAX + 1);
        for error in [
            inline(&over, Encoding::None).unwrap_err(),
            inline(&encode(over.as_bytes()), Encoding::Base64).unwrap_err(),
            inline(&encode(over.repeat(2).as_bytes()), Encoding::Base64).unwrap_err(),
            served(over.clone().into_bytes()).unwrap_err(),
        ] {
            assert_eq!(error.error, FetchError::CodeSize, "{}", error.text);
        }
    }

    #[test]
    fn a_descriptor_is_bounded_without_its_code() {
        let code = "y".repeat(DESCRIPTOR_BYTES_MAX * 2);
        let json = format!(
            r#"{{"objectName":"a","sourcePackage":{{"sourceCode":"{code}","encoding":""}}}}"#
        );
        let (found, package) = descriptor(json.as_bytes()).unwrap();
        assert_eq!(found.name, "a");
        assert_eq!(package, Package::Inline { text: code.clone(), encoding: Encoding::None });
        let padded = json.replace("objectName", &code);
        assert_eq!(descriptor(padded.as_bytes()).unwrap_err().error, FetchError::Unusable);
        let cut = &json[..json.len() - 1];
        assert_eq!(descriptor(cut.as_bytes()).unwrap_err().error, FetchError::Unusable);
    }

    #[test]
    fn what_an_address_serves_is_code_or_a_package() {
        assert_eq!(served(b"let x = {}".to_vec()).unwrap(), b"let x = {}");
        assert_eq!(served(b"\xFF\x00bytes".to_vec()).unwrap(), b"\xFF\x00bytes");
        assert_eq!(served(br#"{"sourceCode":"x()"}"#.to_vec()).unwrap(), b"x()");
        let package = format!(r#"{{"sourceCode":"{}","encoding":"Base64"}}"#, encode(b"\xFEy()"));
        assert_eq!(served(package.into_bytes()).unwrap(), b"\xFEy()");
        let nested = br#"{"sourcePackage":{"sourceCode":"z()","encoding":null}}"#;
        assert_eq!(served(nested.to_vec()).unwrap(), b"z()");
    }

    #[test]
    fn what_does_not_decode_is_refused() {
        for bytes in [
            r#"{"sourceCode":"!!!","encoding":"base64"}"#,
            r#"{"sourceCode":"x","encoding":"rot13"}"#,
            r#"{"sourceCode":5}"#,
            r#"{"code":"x"}"#,
            "",
            "  \n",
            r#"{"sourceCode":""}"#,
        ] {
            let error = served(bytes.as_bytes().to_vec()).unwrap_err();
            assert_eq!(error.error, FetchError::Decoding, "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn base64_is_lossless_however_it_is_written(bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
            let text = encode(&bytes);
            let lines: Vec<_> = text.as_bytes().chunks(76).map(|l| std::str::from_utf8(l).unwrap()).collect();
            let wrapped = lines.join("\r\n");
            for written in [text.clone(), wrapped, text.trim_end_matches('=').to_owned(),
                text.replace('+', "-").replace('/', "_")] {
                prop_assert_eq!(base64(&written).unwrap(), bytes.clone());
            }
        }

        #[test]
        fn any_bytes_are_taken_apart_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = descriptor(&bytes);
            let _any = served(bytes);
        }
    }
}
