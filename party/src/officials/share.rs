//! One official's share of the unlock key, as text that people type and as bytes.
//!
//! ```text
//! bytes  = version << 4 | party (1) || number (1) || threshold (1) || officials (1) || ceremony (4) || value (32)
//! line i = bytes[8i .. 8i + 8] || check_i,   i = 0..4
//! check_i = first 2 bytes of SHA-256("tally/v1/official-share" || i || bytes[0 .. 8] || bytes[8i .. 8i + 8])
//! ```
//!
//! A line is 16 characters of Crockford's base32 in four groups, so a mistyped line is named by its own check. Every check covers the first
//! line, so a line of another share does not pass for one of this. A wrong line passes with probability 2^-16; what was typed is compared
//! with the key file's commitment to the share besides ([`super::sealed`]).

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tally_proto::crockford::{self, Base32Error};
use tally_proto::ids::Role;
use zeroize::Zeroizing;

/// Length of the unlock key and of each share's value, bytes.
pub const VALUE_BYTES: usize = 32;
/// Length of a share as bytes.
pub const SHARE_BYTES: usize = 8 + VALUE_BYTES;
/// Lines of a share's text.
pub const LINES: usize = 5;
/// Characters of a line, hyphens not counted.
pub const LINE_CHARACTERS: usize = 16;
/// Most officials of a ceremony.
pub const MAX_OFFICIALS: u8 = 16;

const TAG: &[u8] = b"tally/v1/official-share";
const VERSION: u8 = 1;
const LINE_BYTES: usize = 8;
const CHECK_BYTES: usize = 2;

/// Names one splitting of one unlock key. Public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CeremonyId(pub [u8; 4]);

impl std::fmt::Display for CeremonyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crockford::encode_groups(&self.0))
    }
}

/// How many officials there are, and how many it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    officials: u8,
    threshold: u8,
}

/// Terms that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{threshold} of {officials} officials: there must be 2 to {MAX_OFFICIALS} officials, and it must take at least 2 and at most all of them"
)]
pub struct TermsError {
    officials: u8,
    threshold: u8,
}

impl Terms {
    /// `threshold` of `officials`.
    ///
    /// # Errors
    /// [`TermsError`]: fewer than 2 officials, more than [`MAX_OFFICIALS`], or a threshold below 2 or above their number.
    pub fn new(officials: u8, threshold: u8) -> Result<Terms, TermsError> {
        if (2..=MAX_OFFICIALS).contains(&officials) && (2..=officials).contains(&threshold) {
            Ok(Terms { officials, threshold })
        } else {
            Err(TermsError { officials, threshold })
        }
    }

    /// How many hold a share.
    pub fn officials(self) -> u8 {
        self.officials
    }

    /// How many it takes.
    pub fn threshold(self) -> u8 {
        self.threshold
    }
}

impl std::fmt::Display for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} officials", self.threshold, self.officials)
    }
}

/// Why a text or bytes are not a share. Never shows what was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// A character that does not occur.
    #[error("line {line}, character {position}: none of 0-9 and A-Z without I, L, O, U")]
    Character {
        /// The line, from 1.
        line: usize,
        /// The character's place in it, hyphens not counted, from 1.
        position: usize,
    },
    /// Too few or too many characters in one line.
    #[error("line {line} has {found} characters, {LINE_CHARACTERS} are expected: one is missing or doubled")]
    LineLength {
        /// The line, from 1.
        line: usize,
        /// How many there are.
        found: usize,
    },
    /// Too few or too many characters in all.
    #[error(
        "a share has {} characters in {LINES} lines, these are {found}",
        LINES * LINE_CHARACTERS
    )]
    Length {
        /// How many there are.
        found: usize,
    },
    /// A line whose check does not fit.
    #[error("line {line} is mistyped, or is of another share than line 1: compare it with the sheet")]
    Line {
        /// The line, from 1.
        line: usize,
    },
    /// The bytes are of another version of this program.
    #[error("the share is of version {found} of its form, this program knows {VERSION}")]
    Version {
        /// The version.
        found: u8,
    },
    /// The numbers in it cannot be.
    #[error("a share that says it is number {number}, for {threshold} of {officials} officials, cannot be")]
    Numbers {
        /// Its number.
        number: u8,
        /// The threshold in it.
        threshold: u8,
        /// The number of officials in it.
        officials: u8,
    },
}

/// One official's share. Erased on drop.
pub struct Share {
    party: Role,
    ceremony: CeremonyId,
    terms: Terms,
    number: u8,
    value: Zeroizing<[u8; VALUE_BYTES]>,
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Share({} of {}, ceremony {})",
            self.number, self.party, self.ceremony
        )
    }
}

impl Share {
    /// The share `number` (from 1) of a splitting.
    ///
    /// # Errors
    /// [`ShareError::Numbers`]: no official has that number.
    pub(super) fn new(
        party: Role,
        ceremony: CeremonyId,
        terms: Terms,
        number: u8,
        value: Zeroizing<[u8; VALUE_BYTES]>,
    ) -> Result<Share, ShareError> {
        if !(1..=terms.officials).contains(&number) {
            return Err(ShareError::Numbers {
                number,
                threshold: terms.threshold,
                officials: terms.officials,
            });
        }
        Ok(Share {
            party,
            ceremony,
            terms,
            number,
            value,
        })
    }

    /// Whose keys it is for.
    pub fn party(&self) -> Role {
        self.party
    }

    /// The ceremony it was made in.
    pub fn ceremony(&self) -> CeremonyId {
        self.ceremony
    }

    /// How many officials there are, and how many it takes.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Its number, from 1.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// The value of its polynomials at its number.
    ///
    /// # Security
    /// With [`Terms::threshold`] of these the unlock key is known.
    pub(super) fn value(&self) -> &[u8; VALUE_BYTES] {
        &self.value
    }

    /// The fixed layout.
    ///
    /// # Security
    /// The share itself: never to be logged.
    pub fn to_bytes(&self) -> Zeroizing<[u8; SHARE_BYTES]> {
        let mut bytes = Zeroizing::new([0; SHARE_BYTES]);
        bytes[0] = VERSION << 4 | self.party.index();
        bytes[1] = self.number;
        bytes[2] = self.terms.threshold;
        bytes[3] = self.terms.officials;
        bytes[4..8].copy_from_slice(&self.ceremony.0);
        bytes[8..].copy_from_slice(&*self.value);
        bytes
    }

    /// What [`Share::to_bytes`] makes.
    ///
    /// # Errors
    /// [`ShareError`]: another version, or numbers that cannot be.
    pub fn from_bytes(bytes: &[u8; SHARE_BYTES]) -> Result<Share, ShareError> {
        let [first, number, threshold, officials, ..] = *bytes;
        let version = first >> 4;
        if version != VERSION {
            return Err(ShareError::Version { found: version });
        }
        let numbers = ShareError::Numbers {
            number,
            threshold,
            officials,
        };
        let party = Role::from_index(first & 15).ok_or(numbers)?;
        let terms = Terms::new(officials, threshold).map_err(|_| numbers)?;
        let mut ceremony = [0; 4];
        ceremony.copy_from_slice(&bytes[4..8]);
        let mut value = Zeroizing::new([0; VALUE_BYTES]);
        value.copy_from_slice(&bytes[8..]);
        Share::new(party, CeremonyId(ceremony), terms, number, value)
    }

    /// The text: five lines of four groups.
    ///
    /// # Security
    /// The share itself, for its official's eyes only.
    pub fn text(&self) -> Zeroizing<String> {
        let bytes = self.to_bytes();
        // One allocation: a growing text would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(LINES * (LINE_CHARACTERS + 5)));
        for line in 0..LINES {
            if line > 0 {
                text.push('\n');
            }
            let mut coded = Zeroizing::new([0; LINE_BYTES + CHECK_BYTES]);
            let data = &bytes[line * LINE_BYTES..(line + 1) * LINE_BYTES];
            coded[..LINE_BYTES].copy_from_slice(data);
            coded[LINE_BYTES..].copy_from_slice(&check(line, &bytes[..LINE_BYTES], data));
            text.push_str(&Zeroizing::new(crockford::encode_groups(&*coded)));
        }
        text
    }

    /// Reads a whole text; line breaks, spaces, hyphens and case do not matter.
    ///
    /// # Errors
    /// [`ShareError`], with the first line that is wrong.
    pub fn parse(text: &str) -> Result<Share, ShareError> {
        let mut typing = Typing::default();
        let compact = compact(text);
        if compact.chars().count() != LINES * LINE_CHARACTERS {
            return Err(ShareError::Length {
                found: compact.chars().count(),
            });
        }
        let mut characters = compact.chars();
        for _ in 0..LINES {
            let mut line = Zeroizing::new(String::with_capacity(LINE_CHARACTERS * 4));
            line.extend(characters.by_ref().take(LINE_CHARACTERS));
            typing.line(&line)?;
        }
        typing.finish()
    }
}

/// A share that is being typed, line by line: a wrong line is named before the next is asked for.
pub struct Typing {
    lines: usize,
    bytes: Zeroizing<[u8; SHARE_BYTES]>,
}

impl Default for Typing {
    fn default() -> Typing {
        Typing {
            lines: 0,
            bytes: Zeroizing::new([0; SHARE_BYTES]),
        }
    }
}

impl std::fmt::Debug for Typing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Typing({} lines)", self.lines)
    }
}

impl Typing {
    /// The number of the line that comes next, from 1; more than [`LINES`] when all are there.
    pub fn next_line(&self) -> usize {
        self.lines + 1
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// [`ShareError`]: the line is not taken and may be typed again.
    pub fn line(&mut self, text: &str) -> Result<(), ShareError> {
        let line = self.next_line();
        let compact = compact(text);
        let found = compact.chars().count();
        if found != LINE_CHARACTERS || line > LINES {
            return Err(ShareError::LineLength { line, found });
        }
        let coded = Zeroizing::new(crockford::decode(&compact).map_err(|error| match error {
            Base32Error::Character { position, .. } => ShareError::Character { line, position },
            Base32Error::Length(found) => ShareError::LineLength { line, found },
        })?);
        let Some((data, checked)) = coded.split_last_chunk::<CHECK_BYTES>() else {
            return Err(ShareError::LineLength { line, found });
        };
        if data.len() != LINE_BYTES {
            return Err(ShareError::LineLength { line, found });
        }
        let head = if self.lines == 0 {
            data
        } else {
            &self.bytes[..LINE_BYTES]
        };
        if !bool::from(check(self.lines, head, data).ct_eq(checked)) {
            return Err(ShareError::Line { line });
        }
        self.bytes[self.lines * LINE_BYTES..line * LINE_BYTES].copy_from_slice(data);
        self.lines = line;
        Ok(())
    }

    /// The share, once all lines are there.
    ///
    /// # Errors
    /// [`ShareError`]: lines are missing, or the numbers in it cannot be.
    pub fn finish(self) -> Result<Share, ShareError> {
        if self.lines < LINES {
            return Err(ShareError::Length {
                found: self.lines * LINE_CHARACTERS,
            });
        }
        Share::from_bytes(&self.bytes)
    }
}

fn check(line: usize, head: &[u8], data: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = Sha256::new()
        .chain_update(TAG)
        .chain_update([line as u8])
        .chain_update(head)
        .chain_update(data)
        .finalize();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hash[..CHECK_BYTES]);
    check
}

/// Without white space and hyphens.
fn compact(text: &str) -> Zeroizing<String> {
    let mut compact = Zeroizing::new(String::with_capacity(text.len()));
    compact.extend(text.chars().filter(|c| !c.is_whitespace() && *c != '-'));
    compact
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(value: [u8; VALUE_BYTES]) -> Share {
        let terms = Terms::new(5, 3).expect("terms");
        Share::new(
            Role::P2,
            CeremonyId([0xab, 1, 2, 3]),
            terms,
            4,
            Zeroizing::new(value),
        )
        .expect("share")
    }

    fn refused(text: &str) -> ShareError {
        Share::parse(text).map(|_| ()).expect_err("refused")
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in any::<[u8; VALUE_BYTES]>()) {
            let share = share(value);
            let text = share.text();
            prop_assert_eq!(text.lines().count(), LINES);
            let spoken = text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
            for text in [text.as_str(), spoken.as_str(), &text.replace(['-', '\n'], "")] {
                let read = Share::parse(text).expect("read");
                prop_assert_eq!(read.value(), &value);
                prop_assert_eq!((read.party(), read.number(), read.terms(), read.ceremony()),
                    (share.party(), 4, share.terms(), share.ceremony()));
            }
            let read = Share::from_bytes(&share.to_bytes()).expect("read");
            prop_assert_eq!(read.value(), &value);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,120}") {
            let _ = Share::parse(&text);
            let _ = Typing::default().line(&text);
        }
    }

    #[test]
    fn each_wrong_character_names_its_line() {
        let text = share([0x5a; VALUE_BYTES]).text();
        for (at, c) in text.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()) {
            let line = text[..at].matches('\n').count() + 1;
            let other = if c == '7' { "8" } else { "7" };
            let mut typed = text.to_string();
            typed.replace_range(at..=at, other);
            assert_eq!(refused(&typed), ShareError::Line { line }, "character {at}");
            typed.replace_range(at..=at, "U");
            assert!(
                matches!(refused(&typed), ShareError::Character { line: found, .. } if found == line),
                "character {at}"
            );
            typed.replace_range(at..=at, "");
            assert_eq!(refused(&typed), ShareError::Length { found: 79 });
        }
        assert_eq!(
            Typing::default().line("ABCD"),
            Err(ShareError::LineLength { line: 1, found: 4 })
        );
    }

    #[test]
    fn a_line_of_another_share_is_named() {
        let (one, other) = (share([1; VALUE_BYTES]), share([2; VALUE_BYTES]));
        let other = Share::new(other.party, CeremonyId([9; 4]), other.terms, 4, other.value).expect("share");
        let (one, other) = (one.text(), other.text());
        let mut lines: Vec<&str> = one.lines().collect();
        lines[2] = other.lines().nth(2).expect("a line");
        assert_eq!(refused(&lines.join("\n")), ShareError::Line { line: 3 });
        lines[2] = one.lines().nth(3).expect("a line");
        assert_eq!(refused(&lines.join("\n")), ShareError::Line { line: 3 });
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        let good = share([3; VALUE_BYTES]).to_bytes();
        let with = |at: usize, byte: u8| {
            let mut bytes = *good;
            bytes[at] = byte;
            Share::from_bytes(&bytes).map(|_| ())
        };
        assert_eq!(with(0, 0x22), Err(ShareError::Version { found: 2 }));
        for (at, byte) in [
            (0, 0x10),
            (0, 0x14),
            (1, 0),
            (1, 6),
            (2, 1),
            (2, 6),
            (3, 1),
            (3, 17),
        ] {
            assert!(
                matches!(with(at, byte), Err(ShareError::Numbers { .. })),
                "byte {at} = {byte}"
            );
        }
        assert!(Terms::new(3, 1).is_err() && Terms::new(2, 3).is_err() && Terms::new(17, 2).is_err());
        assert!(Terms::new(2, 2).is_ok() && Terms::new(16, 16).is_ok());
    }

    #[test]
    fn debug_shows_no_value() {
        let text = format!("{:?}", share([0xcd; VALUE_BYTES]));
        assert!(text.starts_with("Share(4 of P2") && !text.contains("cd") && !text.contains("205"));
        let mut typing = Typing::default();
        let share = share([0xcd; VALUE_BYTES]).text();
        typing.line(share.lines().next().expect("a line")).expect("taken");
        assert_eq!(format!("{typing:?}"), "Typing(1 lines)");
    }
}
