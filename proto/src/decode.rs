//! The one door: protobuf bytes are taken only when they are within their limit and re-encode to themselves.

use prost::Message;

/// Why bytes were refused before anything was looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Above the declared limit.
    #[error("{what} has {actual} bytes, at most {limit} are taken")]
    TooLarge {
        /// What was decoded.
        what: &'static str,
        /// Its size in bytes.
        actual: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not protobuf of this message.
    #[error("{what} is not a well-formed message: {source}")]
    Malformed {
        /// What was decoded.
        what: &'static str,
        /// The decoder's complaint.
        source: prost::DecodeError,
    },
    /// Decodes, but its canonical encoding differs (unknown or repeated fields, wrong order, explicit defaults).
    #[error("{what} does not re-encode to the same bytes: only the canonical encoding is taken")]
    NotCanonical {
        /// What was decoded.
        what: &'static str,
    },
}

/// Decodes `bytes` as `M`, named `what` in errors.
///
/// # Errors
/// [`DecodeError`], always the sender's fault.
pub fn decode_canonical<M: Message + Default>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<M, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge {
            what,
            actual: bytes.len(),
            limit,
        });
    }
    let message = M::decode(bytes).map_err(|source| DecodeError::Malformed { what, source })?;
    if message.encoded_len() != bytes.len() || message.encode_to_vec() != bytes {
        return Err(DecodeError::NotCanonical { what });
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn only_the_canonical_encoding_is_taken() {
        let text = wire::Text {
            language: "de".into(),
            text: "Ja".into(),
        };
        let bytes = text.encode_to_vec();
        assert_eq!(decode_canonical::<wire::Text>("text", &bytes, 100), Ok(text));
        let mut unknown_field = bytes.clone();
        unknown_field.extend_from_slice(&[0x78, 1]);
        let mut repeated_field = bytes.clone();
        repeated_field.extend_from_slice(&bytes);
        let mut long_varint = bytes.clone();
        long_varint.splice(1..2, [0x82, 0x00]);
        for other in [unknown_field, repeated_field, long_varint] {
            assert_eq!(
                decode_canonical::<wire::Text>("text", &other, 100),
                Err(DecodeError::NotCanonical { what: "text" })
            );
        }
        assert!(matches!(
            decode_canonical::<wire::Text>("text", &bytes[..3], 100),
            Err(DecodeError::Malformed { .. })
        ));
        assert!(matches!(
            decode_canonical::<wire::Text>("text", &bytes, 3),
            Err(DecodeError::TooLarge {
                actual: 8,
                limit: 3,
                ..
            })
        ));
    }
}
