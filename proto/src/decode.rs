//! The one door: protobuf bytes are taken only when they are within their limit and re-encode to themselves.

use prost::Message;
use prost::encoding::decode_varint;

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
    /// More fields than what is honest has at that size: decoded, an empty one takes a hundred times its bytes.
    #[error("{what} has more than {most} fields in {actual} bytes")]
    TooManyFields {
        /// What was decoded.
        what: &'static str,
        /// Its size in bytes.
        actual: usize,
        /// Most fields.
        most: usize,
    },
    /// Decodes, but its canonical encoding differs (unknown or repeated fields, wrong order, explicit defaults).
    #[error("{what} does not re-encode to the same bytes: only the canonical encoding is taken")]
    NotCanonical {
        /// What was decoded.
        what: &'static str,
    },
}

/// Most fields, at the top, of a message of that size, whatever it is.
pub(crate) const fn most_fields(bytes: usize) -> usize {
    1024 + bytes / 8
}

/// Looks at nothing but where the fields at the top begin. What is not well-formed is left to the decoder.
///
/// # Errors
/// [`DecodeError::TooManyFields`].
pub(crate) fn check_fields(what: &'static str, bytes: &[u8], most: usize) -> Result<(), DecodeError> {
    let (mut rest, mut count) = (bytes, 0);
    while let Ok(key) = decode_varint(&mut rest) {
        count += 1;
        if count > most {
            let actual = bytes.len();
            return Err(DecodeError::TooManyFields { what, actual, most });
        }
        let length = match key & 7 {
            0 if decode_varint(&mut rest).is_ok() => 0,
            1 => 8,
            2 => decode_varint(&mut rest)
                .map_or(usize::MAX, |length| usize::try_from(length).unwrap_or(usize::MAX)),
            5 => 4,
            _ => return Ok(()),
        };
        let Some(after) = rest.get(length..) else {
            return Ok(());
        };
        rest = after;
    }
    Ok(())
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
    decode_of(what, bytes, limit, most_fields(bytes.len()))
}

/// The same, of what has at most `most` fields at the top.
///
/// # Errors
/// [`DecodeError`], always the sender's fault.
pub fn decode_of<M: Message + Default>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
    most: usize,
) -> Result<M, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge {
            what,
            actual: bytes.len(),
            limit,
        });
    }
    check_fields(what, bytes, most)?;
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
    fn what_would_take_far_more_memory_than_its_bytes_is_not_decoded() {
        // Empty signatures, empty ballots.
        let (signatures, ballots) = ([0x12, 0].repeat(1 << 20), [0x0a, 0].repeat(1 << 20));
        let many = |error: &DecodeError| matches!(error, DecodeError::TooManyFields { .. });
        let envelope = decode_canonical::<wire::Envelope>("envelope", &signatures, 1 << 30);
        assert!(many(&envelope.expect_err("refused")));
        let body = decode_canonical::<wire::BoxBody>("box body", &ballots, 1 << 30);
        assert!(many(&body.expect_err("refused")));
        // What is honest is far from it; every kind of field is stepped over.
        let fields = [
            0x08, 0x96, 0x01, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1a, 2, 0, 0, 0x25, 1, 2, 3, 4,
        ];
        assert_eq!(check_fields("four", &fields, 4), Ok(()));
        assert!(many(&check_fields("four", &fields, 3).expect_err("one too many")));
        // Broken ones are the decoder's to refuse.
        for broken in [&fields[..2], &fields[..9], &[0x1a, 200][..], &[0x0b][..]] {
            assert_eq!(check_fields("broken", broken, 3), Ok(()));
        }
    }

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
