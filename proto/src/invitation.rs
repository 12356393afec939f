//! Invitations: the code or link a voter is sent, and decoys that look the same.
//!
//! ```text
//! tally:v1:<12 or 16 groups of 4 characters of Crockford base32>
//! 30 bytes: version 1 | part (0 whole, 1 first half, 2 second half) | manifest hash, first 8 | box | v | credential | checksum, 4
//! 40 bytes: version 2 | the same up to the credential | draw code, 10 | checksum, 4
//! ```
//!
//! Version 2 is that of elections with tickets: the draw code is the voter's whatever the credential is, so a decoy carries the same one. The checksum finds typing errors; it is no protection. Nothing in a code tells a true credential from a false one.

use std::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::crockford::{self, Base32Error};
use crate::ids::{BoxId, Hash32, VoterIndex};
use crate::layout::{Writer, tag};
use crate::reason::Reason;
use crate::record::Half;
use crate::ticket::DrawCode;

/// What links begin with.
pub const LINK_PREFIX: &str = "tally:v1:";
/// Longest text that is looked at, in bytes.
pub const MAX_TEXT_BYTES: usize = 512;
const VERSION: u8 = 1;
const VERSION_WITH_DRAW: u8 = 2;
const CHECKED: usize = 26;
const CHECKSUM: usize = 4;

/// Why an invitation was refused. Never repeats what was typed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// Another version of links.
    #[error("this link is of another version: this program reads links that begin with {LINK_PREFIX}")]
    OtherVersion,
    /// Not a code's length.
    #[error(
        "an invitation has 48 letters and digits in 12 groups of 4, or 64 in 16, this has {0}: one is missing or doubled"
    )]
    Length(usize),
    /// A character that does not occur.
    #[error(transparent)]
    Base32(#[from] Base32Error),
    /// Mistyped.
    #[error(
        "the checksum does not fit: at least one letter or digit is mistyped; compare with the invitation, group by group"
    )]
    Checksum,
    /// The parts do not make a code of this version.
    #[error("the code is of a form this version does not know")]
    Form,
    /// Two halves that do not belong together.
    #[error("the two codes do not belong together: {0}")]
    Combine(&'static str),
    /// Half of a credential where a whole is needed.
    #[error("this is half {} of an invitation in two: the other half came on another way; give both", .0 + 1)]
    HalfOnly(u32),
    /// Another election.
    #[error(
        "the invitation belongs to another election: its manifest begins with {invitation}, this one's with {manifest}"
    )]
    OtherElection {
        /// Hexadecimal of the invitation's prefix.
        invitation: String,
        /// Hexadecimal of the manifest's prefix.
        manifest: String,
    },
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
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(secret)")
    }
}

/// One invitation: all of it, or one of two halves.
pub struct Invitation {
    manifest_prefix: [u8; 8],
    of_box: BoxId,
    voter: VoterIndex,
    half: Half,
    credential: Credential,
    draw: Option<DrawCode>,
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invitation(box {}, secret)", self.of_box)
    }
}

impl Invitation {
    /// An invitation of voter `voter` in `of_box` of the election with this manifest.
    pub fn new(
        manifest: &Hash32,
        of_box: BoxId,
        voter: VoterIndex,
        half: Half,
        credential: Credential,
    ) -> Self {
        Self {
            manifest_prefix: prefix(manifest),
            of_box,
            voter,
            half,
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

    /// Reads a code or a link; spaces and hyphens do not matter, nor does case.
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
        let characters = code.chars().filter(|c| *c != '-' && !c.is_whitespace()).count();
        let bytes = match crockford::decode(code) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(Base32Error::Length(n)) => return Err(InvitationError::Length(n)),
            Err(error) => return Err(error.into()),
        };
        if ![CHECKED, CHECKED + DrawCode::BYTES].contains(&(bytes.len().saturating_sub(CHECKSUM))) {
            return Err(InvitationError::Length(characters));
        }
        let (checked, check) = bytes.split_at(bytes.len() - CHECKSUM);
        if checksum(checked) != check {
            return Err(InvitationError::Checksum);
        }
        Self::read(checked).ok_or(InvitationError::Form)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (part, rest) = rest.split_first()?;
        let (manifest_prefix, rest) = rest.split_first_chunk::<8>()?;
        let (of_box, rest) = rest.split_first_chunk::<4>()?;
        let (voter, rest) = rest.split_first_chunk::<4>()?;
        let (credential, draw) = rest.split_first_chunk::<8>()?;
        let draw = match (*version, draw) {
            (VERSION, []) => None,
            (VERSION_WITH_DRAW, code) => Some(DrawCode::from_slice(code).ok()?),
            _ => return None,
        };
        let half = match *part {
            0 => Half::WHOLE,
            part @ (1 | 2) => Half::new(u32::from(part) - 1, 2).ok()?,
            _ => return None,
        };
        Some(Self {
            manifest_prefix: *manifest_prefix,
            of_box: BoxId(u32::from_be_bytes(*of_box)),
            voter: VoterIndex(u32::from_be_bytes(*voter)),
            half,
            credential: Credential::new(u64::from_be_bytes(*credential)),
            draw,
        })
    }

    /// The code, in groups of four. A secret: whoever reads it can vote.
    pub fn to_code(&self) -> Zeroizing<String> {
        let part = if self.half.is_whole() {
            0
        } else {
            self.half.number() as u8 + 1
        };
        let version = match self.draw {
            None => VERSION,
            Some(_) => VERSION_WITH_DRAW,
        };
        // Never grown: a vector that grows leaves its old content behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(CHECKED + DrawCode::BYTES + CHECKSUM));
        bytes.extend_from_slice(&[version, part]);
        bytes.extend_from_slice(&self.manifest_prefix);
        bytes.extend_from_slice(&self.of_box.get().to_be_bytes());
        bytes.extend_from_slice(&self.voter.get().to_be_bytes());
        bytes.extend_from_slice(&self.credential.expose().to_be_bytes());
        if let Some(draw) = &self.draw {
            bytes.extend_from_slice(draw.expose());
        }
        let check = checksum(&bytes);
        bytes.extend_from_slice(&check);
        Zeroizing::new(crockford::encode_groups(bytes.as_slice()))
    }

    /// The link. A secret like the code.
    pub fn to_link(&self) -> Zeroizing<String> {
        let code = self.to_code();
        let mut link = Zeroizing::new(String::with_capacity(LINK_PREFIX.len() + code.len()));
        link.push_str(LINK_PREFIX);
        link.push_str(&code);
        link
    }

    /// Joins two halves of one invitation.
    ///
    /// # Errors
    /// [`InvitationError::Combine`].
    pub fn combine(self, other: Self) -> Result<Self, InvitationError> {
        let no = |why| Err(InvitationError::Combine(why));
        if self.half.is_whole() || other.half.is_whole() {
            return no("one of them is already a whole invitation");
        }
        if self.half == other.half {
            return no("they are the same half");
        }
        if self.manifest_prefix != other.manifest_prefix {
            return no("they belong to two elections");
        }
        if (self.of_box, self.voter) != (other.of_box, other.voter) {
            return no("they belong to two voters");
        }
        let credential = Credential::new(self.credential.expose() ^ other.credential.expose());
        // The first registrar's, who gives the coordinator its hash.
        let draw = if self.half.number() == 0 {
            self.draw.or(other.draw)
        } else {
            other.draw.or(self.draw)
        };
        Ok(Self {
            half: Half::WHOLE,
            credential,
            draw,
            ..self
        })
    }

    /// An invitation of the same form and voter with a false credential: looks and acts alike, and counts for nothing.
    pub fn decoy(&self, rng: &mut impl CryptoRng) -> Self {
        let mut credential = Credential::generate(rng);
        // One chance in 2^64, and then the decoy would count.
        while bool::from(credential.expose().ct_eq(&self.credential.expose())) {
            credential = Credential::generate(rng);
        }
        Self {
            credential,
            draw: self.draw.as_ref().map(DrawCode::again),
            ..*self
        }
    }

    /// Checks that it belongs to the election with this manifest and is whole; returns the credential.
    ///
    /// # Errors
    /// [`InvitationError::OtherElection`], [`InvitationError::HalfOnly`].
    pub fn credential_for(&self, manifest: &Hash32) -> Result<&Credential, InvitationError> {
        if self.manifest_prefix != prefix(manifest) {
            let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
            let (invitation, manifest) = (hex(&self.manifest_prefix), hex(&prefix(manifest)));
            return Err(InvitationError::OtherElection { invitation, manifest });
        }
        if !self.half.is_whole() {
            return Err(InvitationError::HalfOnly(self.half.number()));
        }
        Ok(&self.credential)
    }

    /// First 8 bytes of the manifest's hash.
    pub fn manifest_prefix(&self) -> &[u8; 8] {
        &self.manifest_prefix
    }
    /// The box.
    pub fn of_box(&self) -> BoxId {
        self.of_box
    }
    /// The voter.
    pub fn voter(&self) -> VoterIndex {
        self.voter
    }
    /// The voter's draw code, where the election asks for tickets.
    pub fn draw_code(&self) -> Option<&DrawCode> {
        self.draw.as_ref()
    }
    /// Which part of the credential it carries.
    pub fn half(&self) -> Half {
        self.half
    }
}

pub(crate) fn prefix(manifest: &Hash32) -> [u8; 8] {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&manifest.0[..8]);
    prefix
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let layout = Writer::new(tag::INVITATION).bytes(bytes);
    let hash = layout.sha256();
    let mut held = layout.finish();
    held.zeroize();
    [hash.0[0], hash.0[1], hash.0[2], hash.0[3]]
}

#[cfg(test)]
mod tests;
