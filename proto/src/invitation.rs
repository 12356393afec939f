//! Invitations: the code or link a voter is sent, and decoys that look the same.
//!
//! ```text
//! tally:v1:<groups of 4 characters, checked as `typed` says>        one character holds 5 bits
//! whole, letter   form 1 | box | v | credential 13 | draw code 16, where there is one | manifest's hash, 12 to 15
//! message         form 1 | mark 2 | credential 13
//! form            0 whole, 1 letter, 2 message, 3 whole with draw code, 4 letter with draw code
//! box, v          four bits a character, the lowest last, 16 added to all but the last
//! mark            10 bits of SHA-256(tag, what the letter holds of the manifest's hash, box, v)
//! ```
//!
//! An issuing may be split between two registrars: one sends the *letter*, which says whose it is and of which election, the other the
//! *message*, as short as can be typed from a telephone. The credential is the XOR of theirs, each of which is uniformly random by itself.
//! What the letter or the whole code holds of the manifest's hash, 60 bits and more, vouches for the manifest. A draw code is the voter's
//! whatever the credential is, so a decoy carries the same one.
//!
//! # Security
//! The checks find typing errors; they are no protection and no proof. They are made from the typed characters alone: every code of the right
//! form passes, whoever made it and whatever its credential. Nothing in a code tells a true credential from a false one.

use std::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::ids::{BoxId, Hash32, VoterIndex};
use crate::layout::{Writer, tag};
use crate::reason::Reason;
use crate::ticket::DrawCode;

pub mod sheet;
mod typed;

use typed::{Symbols, symbols};

/// What links begin with.
pub const LINK_PREFIX: &str = "tally:v1:";
/// Longest text that is looked at, in bytes.
pub const MAX_TEXT_BYTES: usize = 512;
/// Characters of a credential: 65 bits, the first of them 0.
const CREDENTIAL: usize = 13;
const DRAW: usize = 16;
const MARK: usize = 2;
/// Fewest characters of the manifest's hash in a code; what is free in the last group is filled with more of them.
const HASH: usize = 12;
/// Characters of the longest number: 32 bits.
const NUMBER: usize = 8;
const MESSAGE_GROUPS: usize = 5;

/// Why an invitation was refused. Never repeats what was typed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// Another version of links.
    #[error("this link is of another version: this program reads links that begin with {LINK_PREFIX}")]
    OtherVersion,
    /// Not a code's length, and no code begins so.
    #[error(
        "this is no invitation's code: codes have 5 groups of 4 letters and digits (text message) or 9 to 19 (letter), this has {0} characters"
    )]
    Length(usize),
    /// A group that is not of four.
    #[error("group {group} has {characters} characters, and every group has 4: look at it again")]
    GroupSize {
        /// Which, from 1.
        group: usize,
        /// How many it has.
        characters: usize,
    },
    /// Not as many groups as a code has that begins so.
    #[error(
        "a code that begins like this has {wanted} groups of 4, this has {characters} letters and digits: one is missing or doubled, or \
         the first group is mistyped"
    )]
    Groups {
        /// Groups of such a code.
        wanted: usize,
        /// Characters that were typed.
        characters: usize,
    },
    /// A character that does not occur.
    #[error("group {group} has {found:?}, which no code has: codes are of digits and letters")]
    Character {
        /// Which, from 1.
        group: usize,
        /// The character.
        found: char,
    },
    /// Mistyped, and where.
    #[error("{} mistyped: compare with the invitation", groups_in_words(groups))]
    Mistyped {
        /// The groups, from 1.
        groups: Vec<usize>,
    },
    /// Mistyped in many places.
    #[error("several letters or digits are mistyped: compare with the invitation, group by group")]
    Checksum,
    /// The parts do not make a code of this version.
    #[error("the code is of a form this version does not know")]
    Form,
    /// Two halves that do not belong together.
    #[error("the two codes do not belong together: {0}")]
    Combine(&'static str),
    /// The letter without the message.
    #[error(
        "this is the code of the letter, half of an invitation in two: give the code of the text message too"
    )]
    LetterOnly,
    /// The message without the letter.
    #[error(
        "this is the code of the text message, half of an invitation in two: give the code of the letter too"
    )]
    MessageOnly,
    /// Another election.
    #[error(
        "the invitation belongs to another election, whose manifest is not the one given here: get the manifest that the invitation names"
    )]
    OtherElection,
}

fn groups_in_words(groups: &[usize]) -> String {
    match groups {
        [one] => format!("group {one} is"),
        [all @ .., last] => {
            let all: Vec<String> = all.iter().map(usize::to_string).collect();
            format!("groups {} and {last} are", all.join(", "))
        }
        [] => "a group is".to_owned(),
    }
}

impl InvitationError {
    /// The stable reason code.
    pub const fn reason(&self) -> Reason {
        Reason::InvitationInvalid
    }
}

/// A 64-bit secret of one voter. Erased on drop, never printed, compared in constant time only.
pub struct Credential(Zeroizing<u64>);

impl Credential {
    /// A fresh one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(Zeroizing::new(rng.next_u64()))
    }

    /// From its number, as issued.
    pub fn new(value: u64) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The number, for packing into a ballot or splitting into shares.
    ///
    /// # Security
    /// The secret itself: do not store, log or compare it.
    pub fn expose(&self) -> u64 {
        *self.0
    }

    /// Another one.
    fn decoy(&self, rng: &mut impl CryptoRng) -> Self {
        let mut credential = Self::generate(rng);
        // One chance in 2^64, and then the decoy would count.
        while bool::from(credential.expose().ct_eq(&self.expose())) {
            credential = Self::generate(rng);
        }
        credential
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(secret)")
    }
}

/// What is public of an invitation: whose it is.
#[derive(Clone, PartialEq, Eq)]
struct Whose {
    /// The first characters of the manifest's hash: 15, or as many as the code held.
    manifest: Vec<u8>,
    of_box: BoxId,
    voter: VoterIndex,
}

impl Whose {
    /// Ties a message to its letter.
    fn mark(&self) -> [u8; MARK] {
        let known = self.manifest.get(..HASH).unwrap_or(&[]);
        let hash = Writer::new(tag::INVITATION)
            .bytes(known)
            .u32(self.of_box.get())
            .u32(self.voter.get())
            .sha256();
        [hash.0[0] >> 3, (hash.0[0] & 7) << 2 | hash.0[1] >> 6]
    }
}

/// A whole invitation: all that a voter needs.
pub struct Invitation {
    whose: Whose,
    credential: Credential,
    draw: Option<DrawCode>,
}

/// The half that comes by letter: the same, with half of the credential.
pub struct Letter(Invitation);

/// The half that comes by text message.
pub struct Message {
    mark: [u8; MARK],
    credential: Credential,
}

/// What one code or link can be.
#[derive(Debug)]
pub enum Part {
    /// All of an invitation.
    Whole(Invitation),
    /// The half of the letter.
    Letter(Letter),
    /// The half of the text message.
    Message(Message),
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invitation(box {}, secret)", self.whose.of_box)
    }
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Letter(box {}, secret)", self.0.whose.of_box)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Message(secret)")
    }
}

impl Invitation {
    /// An invitation of voter `voter` in `of_box` of the election with this manifest.
    pub fn new(manifest: &Hash32, of_box: BoxId, voter: VoterIndex, credential: Credential) -> Self {
        Self {
            whose: Whose {
                manifest: hash_symbols(manifest),
                of_box,
                voter,
            },
            credential,
            draw: None,
        }
    }

    /// The same with the voter's draw code.
    #[must_use]
    pub fn with_draw(self, draw: DrawCode) -> Self {
        Self {
            draw: Some(draw),
            ..self
        }
    }

    /// Reads the code or link of a whole invitation.
    ///
    /// # Errors
    /// As [`Part::parse`], and [`InvitationError::LetterOnly`] or [`InvitationError::MessageOnly`] for a half.
    pub fn parse(text: &str) -> Result<Self, InvitationError> {
        Part::parse(text)?.whole()
    }

    /// The code, in groups of four. A secret: whoever reads it can vote.
    pub fn to_code(&self) -> Zeroizing<String> {
        self.write(if self.draw.is_some() { 3 } else { 0 })
    }

    /// The link. A secret like the code.
    pub fn to_link(&self) -> Zeroizing<String> {
        link(&self.to_code())
    }

    /// An invitation of the same form and voter with a false credential: looks and acts alike, and counts for nothing.
    pub fn decoy(&self, rng: &mut impl CryptoRng) -> Self {
        Self {
            whose: self.whose.clone(),
            credential: self.credential.decoy(rng),
            draw: self.draw.as_ref().map(DrawCode::again),
        }
    }

    /// Checks that it belongs to the election with this manifest; returns the credential.
    ///
    /// # Errors
    /// [`InvitationError::OtherElection`].
    pub fn credential_for(&self, manifest: &Hash32) -> Result<&Credential, InvitationError> {
        if hash_symbols(manifest).starts_with(&self.whose.manifest) {
            Ok(&self.credential)
        } else {
            Err(InvitationError::OtherElection)
        }
    }

    /// The box.
    pub fn of_box(&self) -> BoxId {
        self.whose.of_box
    }
    /// The voter.
    pub fn voter(&self) -> VoterIndex {
        self.whose.voter
    }
    /// The voter's draw code, where the election asks for tickets.
    pub fn draw_code(&self) -> Option<&DrawCode> {
        self.draw.as_ref()
    }

    fn write(&self, form: u8) -> Zeroizing<String> {
        let mut data = symbols();
        data.push(form);
        push_number(&mut data, self.whose.of_box.get());
        push_number(&mut data, self.whose.voter.get());
        push_bits(&mut data, u128::from(self.credential.expose()), CREDENTIAL);
        if let Some(draw) = &self.draw {
            let mut bits = [0; 16];
            bits[6..].copy_from_slice(draw.expose());
            push_bits(&mut data, u128::from_be_bytes(bits), DRAW);
            bits.zeroize();
        }
        let (_, free) = typed::groups_for(data.len() + HASH);
        data.extend_from_slice(self.whose.manifest.get(..HASH + free).unwrap_or(&[]));
        typed::write(&data)
    }
}

impl Letter {
    /// The letter's half: `credential` is this registrar's, drawn by itself.
    pub fn new(invitation: Invitation) -> Self {
        Self(invitation)
    }

    /// Joins the two halves.
    ///
    /// # Errors
    /// [`InvitationError::Combine`].
    pub fn combine(self, message: &Message) -> Result<Invitation, InvitationError> {
        if self.0.whose.mark() != message.mark {
            return Err(InvitationError::Combine(
                "the letter and the text message are of two voters or two elections",
            ));
        }
        let credential = Credential::new(self.0.credential.expose() ^ message.credential.expose());
        Ok(Invitation { credential, ..self.0 })
    }

    /// The box.
    pub fn of_box(&self) -> BoxId {
        self.0.whose.of_box
    }
    /// The voter.
    pub fn voter(&self) -> VoterIndex {
        self.0.whose.voter
    }

    /// The code. A secret.
    pub fn to_code(&self) -> Zeroizing<String> {
        self.0.write(if self.0.draw.is_some() { 4 } else { 1 })
    }
}

impl Message {
    /// The message's half: `credential` is this registrar's, drawn by itself.
    pub fn new(manifest: &Hash32, of_box: BoxId, voter: VoterIndex, credential: Credential) -> Self {
        let whose = Whose {
            manifest: hash_symbols(manifest),
            of_box,
            voter,
        };
        Self {
            mark: whose.mark(),
            credential,
        }
    }

    /// The code. A secret.
    pub fn to_code(&self) -> Zeroizing<String> {
        let mut data = symbols();
        data.push(2);
        data.extend_from_slice(&self.mark);
        push_bits(&mut data, u128::from(self.credential.expose()), CREDENTIAL);
        typed::write(&data)
    }
}

impl Part {
    /// Reads a code or a link; blanks and hyphens do not matter, nor does case; O is read as 0, I and L as 1, U as V.
    ///
    /// # Errors
    /// [`InvitationError`].
    pub fn parse(text: &str) -> Result<Self, InvitationError> {
        let text = text.trim();
        if text.len() > MAX_TEXT_BYTES {
            return Err(InvitationError::Length(text.len()));
        }
        let code = match text.get(..6).filter(|start| start.eq_ignore_ascii_case("tally:")) {
            None => text,
            Some(_) => match text
                .get(..LINK_PREFIX.len())
                .filter(|s| s.eq_ignore_ascii_case(LINK_PREFIX))
            {
                Some(start) => text.get(start.len()..).unwrap_or(""),
                None => return Err(InvitationError::OtherVersion),
            },
        };
        let data = typed::read(code, groups_of)?;
        Self::of(&data).ok_or(InvitationError::Form)
    }

    fn of(data: &[u8]) -> Option<Self> {
        let (form, rest) = data.split_first()?;
        if *form == 2 {
            let (mark, rest) = rest.split_first_chunk::<MARK>()?;
            let (bits, rest) = take_bits(rest, CREDENTIAL)?;
            let credential = Credential::new(u64::try_from(*bits).ok()?);
            return rest.is_empty().then_some(Self::Message(Message {
                mark: *mark,
                credential,
            }));
        }
        let (of_box, rest) = take_number(rest)?;
        let (voter, rest) = take_number(rest)?;
        let (bits, rest) = take_bits(rest, CREDENTIAL)?;
        let credential = Credential::new(u64::try_from(*bits).ok()?);
        let (draw, rest) = match form {
            0 | 1 => (None, rest),
            _ => {
                let (bits, rest) = take_bits(rest, DRAW)?;
                let bytes = Zeroizing::new(bits.to_be_bytes());
                (Some(DrawCode::from_slice(bytes.get(6..)?).ok()?), rest)
            }
        };
        if !(HASH..HASH + typed::GROUP).contains(&rest.len()) {
            return None;
        }
        let invitation = Invitation {
            whose: Whose {
                manifest: rest.to_vec(),
                of_box: BoxId(of_box),
                voter: VoterIndex(voter),
            },
            credential,
            draw,
        };
        match form {
            0 | 3 => Some(Self::Whole(invitation)),
            1 | 4 => Some(Self::Letter(Letter(invitation))),
            _ => None,
        }
    }

    /// The whole invitation.
    ///
    /// # Errors
    /// [`InvitationError::LetterOnly`], [`InvitationError::MessageOnly`].
    pub fn whole(self) -> Result<Invitation, InvitationError> {
        match self {
            Self::Whole(invitation) => Ok(invitation),
            Self::Letter(_) => Err(InvitationError::LetterOnly),
            Self::Message(_) => Err(InvitationError::MessageOnly),
        }
    }

    /// Joins two halves, in either order.
    ///
    /// # Errors
    /// [`InvitationError::Combine`].
    pub fn combine(self, other: Self) -> Result<Invitation, InvitationError> {
        let no = |why| Err(InvitationError::Combine(why));
        match (self, other) {
            (Self::Letter(letter), Self::Message(message))
            | (Self::Message(message), Self::Letter(letter)) => letter.combine(&message),
            (Self::Whole(_), _) | (_, Self::Whole(_)) => no("one of them is already a whole invitation"),
            (Self::Letter(_), Self::Letter(_)) => no("both are codes of letters"),
            (Self::Message(_), Self::Message(_)) => no("both are codes of text messages"),
        }
    }

    /// The code. A secret.
    pub fn to_code(&self) -> Zeroizing<String> {
        match self {
            Self::Whole(invitation) => invitation.to_code(),
            Self::Letter(letter) => letter.to_code(),
            Self::Message(message) => message.to_code(),
        }
    }

    /// The link. A secret.
    pub fn to_link(&self) -> Zeroizing<String> {
        link(&self.to_code())
    }

    /// The same part with a false credential.
    pub fn decoy(&self, rng: &mut impl CryptoRng) -> Self {
        match self {
            Self::Whole(invitation) => Self::Whole(invitation.decoy(rng)),
            Self::Letter(letter) => Self::Letter(Letter(letter.0.decoy(rng))),
            Self::Message(message) => Self::Message(Message {
                mark: message.mark,
                credential: message.credential.decoy(rng),
            }),
        }
    }
}

fn link(code: &str) -> Zeroizing<String> {
    let mut link = Zeroizing::new(String::with_capacity(LINK_PREFIX.len() + code.len()));
    link.push_str(LINK_PREFIX);
    link.push_str(code);
    link
}

/// How many groups a code has that begins so, if any code does.
fn groups_of(typed: &[u8]) -> Option<usize> {
    let (form, rest) = typed.split_first()?;
    let draw = match form {
        0 | 1 => 0,
        2 => return Some(MESSAGE_GROUPS),
        3 | 4 => DRAW,
        _ => return None,
    };
    let (_, after) = take_number(rest)?;
    let (_, after) = take_number(after)?;
    Some(typed::groups_for(typed.len() - after.len() + CREDENTIAL + draw + HASH).0)
}

fn push_number(data: &mut Symbols, number: u32) {
    let characters = (32 - number.leading_zeros()).div_ceil(4).max(1);
    for i in (0..characters).rev() {
        let last = u8::from(i == 0);
        data.push((number >> (4 * i) & 15) as u8 | (1 - last) << 4);
    }
}

/// Refuses what [`push_number`] does not write.
fn take_number(data: &[u8]) -> Option<(u32, &[u8])> {
    let length = data.iter().position(|symbol| symbol & 16 == 0)? + 1;
    let (number, rest) = data.split_at(length);
    if length > NUMBER || (length > 1 && number.first() == Some(&16)) {
        return None;
    }
    let value = number
        .iter()
        .fold(0u32, |value, symbol| value << 4 | u32::from(symbol & 15));
    Some((value, rest))
}

fn push_bits(data: &mut Symbols, bits: u128, characters: usize) {
    for i in (0..characters).rev() {
        data.push((bits >> (5 * i) & 31) as u8);
    }
}

fn take_bits(data: &[u8], characters: usize) -> Option<(Zeroizing<u128>, &[u8])> {
    let (taken, rest) = data.split_at_checked(characters)?;
    let mut bits = Zeroizing::new(0);
    for symbol in taken {
        *bits = *bits << 5 | u128::from(*symbol);
    }
    Some((bits, rest))
}

/// The first 15 characters of a hash: 75 bits.
fn hash_symbols(hash: &Hash32) -> Vec<u8> {
    let mut bits = [0; 16];
    bits.copy_from_slice(&hash.0[..16]);
    let bits = u128::from_be_bytes(bits);
    (0..HASH + 3)
        .map(|i| (bits >> (123 - 5 * i) & 31) as u8)
        .collect()
}

/// The first 8 bytes of the manifest's hash.
pub(crate) fn prefix(manifest: &Hash32) -> [u8; 8] {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&manifest.0[..8]);
    prefix
}

#[cfg(test)]
mod tests;
