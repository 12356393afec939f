//! Crockford's base32, for what people read aloud and type: no I, L, O or U, either case, O read as 0 and I or L as 1.

use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use zeroize::Zeroizing;

static ENCODING: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    specification
        .translate
        .from
        .push_str("abcdefghjkmnpqrstvwxyzOoIiLl");
    specification
        .translate
        .to
        .push_str("ABCDEFGHJKMNPQRSTVWXYZ001111");
    specification
        .encoding()
        .expect("a constant specification, covered by every test of this module")
});

/// Encodes; the last character is filled with zero bits.
pub fn encode(bytes: &[u8]) -> String {
    ENCODING.encode(bytes)
}

/// Encodes in groups of four characters with hyphens between. Leaves no copy of the text but the one returned.
pub fn encode_groups(bytes: &[u8]) -> String {
    let text = Zeroizing::new(ENCODING.encode(bytes));
    let mut grouped = String::with_capacity(text.len().div_ceil(4) * 5);
    for (i, c) in text.chars().enumerate() {
        if i > 0 && i % 4 == 0 {
            grouped.push('-');
        }
        grouped.push(c);
    }
    grouped
}

/// Why a text is not base32.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Base32Error {
    /// A character that does not occur.
    #[error("character {position} ({found:?}) is none of 0-9 and A-Z without I, L, O, U")]
    Character {
        /// Its position, counted from 1, hyphens and spaces counted.
        position: usize,
        /// The character.
        found: char,
    },
    /// A number of characters that no byte string has, or filling bits that are not zero.
    #[error("{0} characters are not a whole code: one is missing, doubled or mistyped")]
    Length(usize),
}

/// Decodes; hyphens and white space are skipped. Leaves no copy of the text.
///
/// # Errors
/// [`Base32Error`] with the place.
pub fn decode(text: &str) -> Result<Vec<u8>, Base32Error> {
    let mut compact = Zeroizing::new(Vec::with_capacity(text.len()));
    for (i, c) in text.chars().enumerate() {
        match c {
            '-' => {}
            c if c.is_whitespace() => {}
            c if c.is_ascii_alphanumeric() && !matches!(c, 'u' | 'U') => compact.push(c as u8),
            found => {
                return Err(Base32Error::Character {
                    position: i + 1,
                    found,
                });
            }
        }
    }
    ENCODING
        .decode(&compact)
        .map_err(|_| Base32Error::Length(compact.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_decodes(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes.clone()));
            prop_assert_eq!(decode(&encode_groups(&bytes).to_lowercase()), Ok(bytes));
        }

        #[test]
        fn any_text_is_decoded_or_refused(text in "\\PC{0,40}") {
            let _ = decode(&text);
        }
    }

    #[test]
    fn look_alikes_are_read_as_digits() {
        assert_eq!(decode("oO0-iIlL 1"), decode("00011111"));
        assert_eq!(
            decode("AU"),
            Err(Base32Error::Character {
                position: 2,
                found: 'U'
            })
        );
        assert_eq!(decode("A"), Err(Base32Error::Length(1)));
        assert_eq!(decode("01"), Err(Base32Error::Length(2))); // filling bits not zero
        assert_eq!(encode_groups(&[0xff; 5]), "ZZZZ-ZZZZ");
    }
}
