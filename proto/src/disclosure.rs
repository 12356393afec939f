//! What the voter's device shows another one, so that it can see for itself what one ballot holds.
//!
//! ```text
//! text      = "TALLY:CHECK:1:" and the bytes below in Crockford base32: the characters of a QR code's alphanumeric mode
//! bytes     = version 1 | manifest hash, first 8 | box | digest | (a_j | key_j | choice part of share_j) for j = 1, 2, 3 | checksum, 4
//! checked   : SHA-256 of the header that the parties hold = digest, and for each j, with b_j = SHA-256(tag, key_j, choice part),
//!             c_j of that header = SHA-256(tag, election, box, j, a_j, b_j)
//! the choice: the XOR of the three choice parts
//! ```
//!
//! # Security
//! The digest is fixed by what two parties have accepted, and opens to one choice only (or SHA-256 has a collision). Of whose ballot it
//! is nothing is shown: index and credential stay behind the hashes a_j under nonces that are not in the text, and key_j is a hash of
//! the nonce. So a text proves to whoever reads it what **one ballot** holds; not whose it is, not whether its credential is a true
//! one, not whether it counts or another followed it. A false credential's ballot has a text like any other.

use std::fmt;

use tally_mpc::layout::LayoutError;
use zeroize::{Zeroize as _, Zeroizing};

use crate::ballot::BallotHeader;
use crate::crockford::{self, Base32Error};
use crate::holder::Holder;
use crate::ids::{BoxId, Digest, ElectionId, Hash32, Role, RoleExt as _};
use crate::invitation;
use crate::layout::{Writer, tag};
use crate::manifest::BallotBox;
use crate::reason::Reason;
use crate::shares::{ChoiceOpening, NONCE_BYTES, Opening, ShareContext};

/// What texts begin with.
pub const CHECK_PREFIX: &str = "TALLY:CHECK:1:";
/// Longest choice part that is taken, in bytes.
const MAX_CHOICE_BYTES: usize = 4 << 10;
/// Longest text that is looked at, in bytes; twice what the largest needs, for spaces and line ends.
pub const MAX_TEXT_BYTES: usize = 40 << 10;
const VERSION: u8 = 1;
const HEAD: usize = 1 + 8 + 4 + 32;
const CHECKSUM: usize = 4;

/// Why a text, or the ballot that it is about, was refused. Says nothing of the choice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisclosureError {
    /// An invitation was given.
    #[error(
        "this is an invitation, with which anybody can vote: keep it to yourself, and give the check code that is shown after casting"
    )]
    Invitation,
    /// Something else, or of another version.
    #[error(
        "a check code begins with {CHECK_PREFIX}, this does not: it is something else, or of another version"
    )]
    OtherForm,
    /// Not a code's length.
    #[error("{0} characters are not a whole check code: part of it is missing")]
    Length(usize),
    /// A character that does not occur.
    #[error(transparent)]
    Base32(#[from] Base32Error),
    /// Mistyped.
    #[error("the checksum does not fit: at least one letter or digit is mistyped or misread")]
    Checksum,
    /// Another election.
    #[error(
        "the check code belongs to another election: its manifest begins with {code}, this one's with {manifest}"
    )]
    OtherElection {
        /// Hexadecimal of the code's prefix.
        code: String,
        /// Hexadecimal of the manifest's prefix.
        manifest: String,
    },
    /// Another box than the header's.
    #[error("the check code says box {code}, the ballot is of box {header}")]
    OtherBox {
        /// The code's.
        code: BoxId,
        /// The header's.
        header: BoxId,
    },
    /// A header of another ballot.
    #[error("the header is of another ballot than {0}")]
    OtherBallot(String),
    /// Not of the box's form.
    #[error("share {share} in the check code is not of this box's form: {source}")]
    Layout {
        /// Which share.
        share: Role,
        /// What is wrong.
        source: LayoutError,
    },
    /// The content shown is not the content of the ballot.
    #[error(
        "the check code does not open the ballot that the parties hold (commitment c_{}): the device that made it shows something else \
         than it cast. Cast again on another device or at a polling station, and tell the election commission",
        .share.index()
    )]
    Commitment {
        /// The first commitment that is not opened.
        share: Role,
    },
}

impl DisclosureError {
    /// The stable reason code.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Invitation | Self::OtherForm | Self::Length(_) | Self::Base32(_) | Self::Checksum => {
                Reason::CheckCodeInvalid
            }
            Self::OtherElection { .. } => Reason::ElectionOther,
            Self::OtherBox { .. } | Self::OtherBallot(_) | Self::Layout { .. } | Self::Commitment { .. } => {
                Reason::CheckCodeMismatch
            }
        }
    }
}

/// What opens the choice of one ballot. A secret until the voter shows it: erased on drop, never printed, not to be stored.
pub struct Disclosure {
    manifest_prefix: [u8; 8],
    of_box: BoxId,
    digest: Digest,
    shares: [(Hash32, ChoiceOpening); 3],
}

impl fmt::Debug for Disclosure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disclosure(box {}, secret)", self.of_box)
    }
}

impl Disclosure {
    /// Of the ballot that was made from these openings.
    pub fn of(manifest: &Hash32, of_box: &BallotBox, digest: Digest, openings: &[Opening; 3]) -> Self {
        Self {
            manifest_prefix: invitation::prefix(manifest),
            of_box: of_box.id(),
            digest,
            shares: openings
                .each_ref()
                .map(|opening| ChoiceOpening::of(of_box.layout(), opening)),
        }
    }

    /// Reads a text; spaces, line ends and hyphens do not matter, nor does case.
    ///
    /// # Errors
    /// [`DisclosureError`] of the first five kinds.
    pub fn parse(text: &str) -> Result<Self, DisclosureError> {
        let text = text.trim();
        if text.len() > MAX_TEXT_BYTES {
            return Err(DisclosureError::Length(text.len()));
        }
        let after = |prefix: &str| {
            let start = text.get(..prefix.len())?;
            start
                .eq_ignore_ascii_case(prefix)
                .then(|| text.get(prefix.len()..))?
        };
        if after(invitation::LINK_PREFIX).is_some() || invitation::Part::parse(text).is_ok() {
            return Err(DisclosureError::Invitation);
        }
        let code = after(CHECK_PREFIX).ok_or(DisclosureError::OtherForm)?;
        let bytes = match crockford::decode(code) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(Base32Error::Length(n)) => return Err(DisclosureError::Length(n)),
            Err(error) => return Err(error.into()),
        };
        let short = || DisclosureError::Length(code.chars().filter(char::is_ascii_alphanumeric).count());
        let (checked, check) = bytes.split_last_chunk::<CHECKSUM>().ok_or_else(short)?;
        if checksum(checked) != *check {
            return Err(DisclosureError::Checksum);
        }
        Self::read(checked).ok_or_else(short)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (manifest_prefix, rest) = rest.split_first_chunk::<8>()?;
        let (of_box, rest) = rest.split_first_chunk::<4>()?;
        let (digest, rest) = rest.split_first_chunk::<32>()?;
        let each = rest.len() / 3;
        let choice = each.checked_sub(32 + NONCE_BYTES)?;
        if *version != VERSION || each * 3 != rest.len() || !(1..=MAX_CHOICE_BYTES).contains(&choice) {
            return None;
        }
        let share = |j: Role| {
            let share = rest.get(j.slot() * each..)?.get(..each)?;
            let (voter, share) = share.split_first_chunk::<32>()?;
            let (key, part) = share.split_first_chunk::<NONCE_BYTES>()?;
            let opening = ChoiceOpening {
                key: Zeroizing::new(*key),
                part: Zeroizing::new(part.to_vec()),
            };
            Some((Hash32(*voter), opening))
        };
        Some(Self {
            manifest_prefix: *manifest_prefix,
            of_box: BoxId(u32::from_be_bytes(*of_box)),
            digest: Digest(*digest),
            shares: [share(Role::P1)?, share(Role::P2)?, share(Role::P3)?],
        })
    }

    /// The text. Whoever reads it learns what this ballot holds.
    pub fn to_text(&self) -> Zeroizing<String> {
        let each = |(_, choice): &(Hash32, ChoiceOpening)| 32 + NONCE_BYTES + choice.part.len();
        let length = HEAD + self.shares.iter().map(each).sum::<usize>() + CHECKSUM;
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.manifest_prefix);
        bytes.extend_from_slice(&self.of_box.get().to_be_bytes());
        bytes.extend_from_slice(self.digest.as_bytes());
        for (voter, choice) in &self.shares {
            bytes.extend_from_slice(&voter.0);
            bytes.extend_from_slice(choice.key.as_ref());
            bytes.extend_from_slice(&choice.part);
        }
        let check = checksum(&bytes);
        bytes.extend_from_slice(&check);
        let code = Zeroizing::new(crockford::encode(&bytes));
        let mut text = Zeroizing::new(String::with_capacity(CHECK_PREFIX.len() + code.len()));
        text.push_str(CHECK_PREFIX);
        text.push_str(&code);
        text
    }

    /// The ballot's public name.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What shows that somebody holds this code.
    pub fn holder(&self) -> Holder {
        let [one, two, _] = &self.shares;
        Holder::of_voter_parts(&self.digest, [&one.0, &two.0])
    }

    /// Its box.
    pub fn of_box(&self) -> BoxId {
        self.of_box
    }

    /// Checks that it is for the election with this manifest.
    ///
    /// # Errors
    /// [`DisclosureError::OtherElection`].
    pub fn check_election(&self, manifest: &Hash32) -> Result<(), DisclosureError> {
        let prefix = invitation::prefix(manifest);
        if self.manifest_prefix == prefix {
            return Ok(());
        }
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        Err(DisclosureError::OtherElection {
            code: hex(&self.manifest_prefix),
            manifest: hex(&prefix),
        })
    }

    /// The choice part of the ballot with this header, as the parties hold it: [`tally_mpc::layout::BallotLayout::choices`] reads it.
    ///
    /// # Errors
    /// [`DisclosureError`]: the header is another ballot's, or the shares do not open its commitments.
    pub fn open(
        &self,
        election: &ElectionId,
        of_box: &BallotBox,
        header: &BallotHeader,
    ) -> Result<Zeroizing<Vec<u8>>, DisclosureError> {
        if header.digest() != self.digest {
            return Err(DisclosureError::OtherBallot(self.digest.short().to_string()));
        }
        if self.of_box != header.of_box() || self.of_box != of_box.id() {
            return Err(DisclosureError::OtherBox {
                code: self.of_box,
                header: header.of_box(),
            });
        }
        let context = ShareContext::ballot(election, of_box);
        let mut plain = Zeroizing::new(vec![0; of_box.layout().choice_bytes()]);
        for j in Role::ALL {
            let (voter, choice) = &self.shares[j.slot()];
            of_box
                .layout()
                .choices(&choice.part)
                .map_err(|source| DisclosureError::Layout { share: j, source })?;
            // Commitments are public: no secret is compared here.
            if context.commit_parts(j, voter, &choice.hash()) != header.commitments()[j.slot()] {
                return Err(DisclosureError::Commitment { share: j });
            }
            plain
                .iter_mut()
                .zip(choice.part.iter())
                .for_each(|(p, s)| *p ^= s);
        }
        Ok(plain)
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let layout = Writer::new(tag::DISCLOSURE).bytes(bytes);
    let hash = layout.sha256();
    layout.finish().zeroize();
    [hash.0[0], hash.0[1], hash.0[2], hash.0[3]]
}

#[cfg(test)]
mod tests;
