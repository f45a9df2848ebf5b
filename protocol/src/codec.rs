//! The one place that calls bincode: control messages in, control messages out, always bounded.
//!
//! bincode is pinned to 2.0.1 (ADR 0003). Its limit bounds decoding only, and counts the memory that
//! lengths claim rather than the bytes read; so bytes are bounded here both ways, and claims there.
//! Bytes left over after a value are a violation.

use bincode::{Decode, Encode, config};

/// Why bytes are not the value they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The value or its bytes are over the bound.
    #[error("control message is larger than {max} bytes")]
    TooLarge {
        /// The bound in bytes.
        max: usize,
    },
    /// The bytes are no such value.
    #[error("control message does not decode: {0}")]
    Malformed(String),
    /// The value ended before its bytes did.
    #[error("control message has {0} bytes after its end")]
    Trailing(usize),
}

/// Encodes `value` as at most `MAX` bytes.
///
/// # Errors
/// [`CodecError::TooLarge`] if it takes more.
pub fn encode<const MAX: usize, T: Encode>(value: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::encode_to_vec(value, config::standard())
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    if bytes.len() > MAX { Err(CodecError::TooLarge { max: MAX }) } else { Ok(bytes) }
}

/// Decodes exactly one value from all of `bytes`, at most `MAX`, whose parts claim at most `CLAIM`
/// bytes of memory.
///
/// # Errors
/// Too long, not decodable, or bytes left over.
pub fn decode_exact<const MAX: usize, const CLAIM: usize, T: Decode<()>>(
    bytes: &[u8],
) -> Result<T, CodecError> {
    if bytes.len() > MAX {
        return Err(CodecError::TooLarge { max: MAX });
    }
    let config = config::standard().with_limit::<CLAIM>();
    let (value, used) = bincode::decode_from_slice(bytes, config).map_err(|error| match error {
        bincode::error::DecodeError::LimitExceeded => CodecError::TooLarge { max: CLAIM },
        other => CodecError::Malformed(other.to_string()),
    })?;
    match bytes.len().saturating_sub(used) {
        0 => Ok(value),
        left => Err(CodecError::Trailing(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::{CodecError, decode_exact, encode};

    #[test]
    fn a_value_at_the_bound_passes_and_one_past_is_refused_both_ways() {
        let fits = vec![7_u8; 99];
        let bytes = encode::<100, _>(&fits).unwrap();
        assert_eq!(bytes.len(), 100);
        assert_eq!(decode_exact::<100, 200, Vec<u8>>(&bytes).unwrap(), fits);
        let over = vec![7_u8; 100];
        assert_eq!(encode::<100, _>(&over), Err(CodecError::TooLarge { max: 100 }));
        let wide = encode::<200, _>(&over).unwrap();
        assert_eq!(
            decode_exact::<100, 200, Vec<u8>>(&wide),
            Err(CodecError::TooLarge { max: 100 })
        );
    }

    #[test]
    fn a_claimed_length_does_not_allocate() {
        let claim = [253, 0, 0, 0, 0, 0, 1, 0, 0];
        assert!(
            decode_exact::<1024, 4096, Vec<u8>>(&claim) == Err(CodecError::TooLarge { max: 4096 })
        );
    }

    #[test]
    fn trailing_bytes_are_a_violation() {
        let mut bytes = encode::<64, _>(&5_u32).unwrap();
        bytes.push(0);
        assert_eq!(decode_exact::<64, 64, u32>(&bytes), Err(CodecError::Trailing(1)));
    }
}
