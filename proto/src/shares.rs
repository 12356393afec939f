//! Shares on their way to the parties: commitments, and the two openings that each party is sent, sealed to it.
//!
//! ```text
//! credential record:  c_j = SHA-256(tag, election, box, j, nonce_j, share_j)               for j = 1, 2, 3
//! card record:        c_j = SHA-256(tag, register, 0, j, nonce_j, share_j)
//! ballot:             c_j = SHA-256(tag, election, box, j, a_j, b_j)
//!                     a_j = SHA-256(tag, nonce_j, voter part of share_j)    key_j = SHA-256(tag, nonce_j)
//!                     b_j = SHA-256(tag, key_j, choice part of share_j)
//! ct_i = HPKE.Seal(pk_i, info = (tag, election, i), aad = digest, nonce_i | share_i | nonce_{i+1} | share_{i+1})
//! ```
//!
//! A ballot's commitment is in two parts so that the voter can open the choice to another device and keep index and credential shut:
//! see [`crate::disclosure`]. The nonces and two of the shares are independent random bytes, not derived from one seed: then what one
//! party holds tells nothing of the third share, whatever computing power it has.
//!
//! The digest, over a header that holds all three commitments, is the associated data: a ciphertext cannot be moved to another header.

use std::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use tally_mpc::layout::{BallotLayout, LayoutError, split_credential};
use zeroize::Zeroizing;

use crate::ids::{BoxId, Digest, ElectionId, Hash32, RegisterId, Role, RoleExt as _};
use crate::layout::{Writer, tag};
use crate::reason::Reason;
use crate::suite::{OVERHEAD_BYTES, OpeningKey, SealingKey, SuiteError};

/// Size of a nonce.
pub const NONCE_BYTES: usize = 32;
/// Size of a share of a credential: 64 bits, little endian.
pub const CREDENTIAL_SHARE_BYTES: usize = 8;

/// Why shares were refused. Says nothing about their content.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The ciphertext does not open.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// Wrong size.
    #[error("a ciphertext of this box has {expected} bytes, this has {actual}")]
    CiphertextLength {
        /// The only right size.
        expected: usize,
        /// Its size.
        actual: usize,
    },
    /// A share has a wrong length or bits beyond its end.
    #[error("share {share}: {source}")]
    Layout {
        /// Which share.
        share: Role,
        /// What is wrong.
        source: LayoutError,
    },
    /// A nonce or share of a wrong length.
    #[error(
        "an opening of this box has a nonce of {NONCE_BYTES} bytes and a share of {expected}, this has {nonce} and {share}"
    )]
    OpeningLength {
        /// The only right size of a share.
        expected: usize,
        /// The nonce's size.
        nonce: usize,
        /// The share's size.
        share: usize,
    },
    /// A commitment is not opened.
    #[error("share {} does not open commitment c_{}", share.index(), share.index())]
    Commitment {
        /// Which share.
        share: Role,
    },
}

impl ShareError {
    /// The stable reason.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Suite(_)
            | Self::CiphertextLength { .. }
            | Self::Layout { .. }
            | Self::OpeningLength { .. } => Reason::ShareUnopenable,
            Self::Commitment { .. } => Reason::ShareCommitmentMismatch,
        }
    }
}

/// nonce_j and share_j: what opens commitment c_j. Erased on drop, never printed.
pub struct Opening {
    nonce: Zeroizing<[u8; NONCE_BYTES]>,
    share: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opening({} share bytes)", self.share.len())
    }
}

impl Opening {
    /// `share` under a fresh nonce.
    pub fn new(share: Zeroizing<Vec<u8>>, rng: &mut impl CryptoRng) -> Self {
        let mut nonce = Zeroizing::new([0; NONCE_BYTES]);
        rng.fill_bytes(nonce.as_mut());
        Self { nonce, share }
    }

    /// From its parts, as stored or received.
    pub fn from_parts(nonce: Zeroizing<[u8; NONCE_BYTES]>, share: Zeroizing<Vec<u8>>) -> Self {
        Self { nonce, share }
    }

    /// nonce_j.
    pub fn nonce(&self) -> &[u8; NONCE_BYTES] {
        &self.nonce
    }

    /// share_j, packed.
    pub fn share(&self) -> &[u8] {
        &self.share
    }
}

/// What opens b_j, the half of a ballot's commitment that says what is chosen: key_j and the choice part of share_j. Erased on drop,
/// never printed.
pub struct ChoiceOpening {
    pub(crate) key: Zeroizing<[u8; NONCE_BYTES]>,
    pub(crate) part: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ChoiceOpening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChoiceOpening({} bytes)", self.part.len())
    }
}

impl ChoiceOpening {
    /// a_j, and the opening of b_j.
    pub(crate) fn of(layout: &BallotLayout, opening: &Opening) -> (Hash32, Self) {
        let voter = wiped(
            Writer::new(tag::SHARE_VOTER)
                .fixed(opening.nonce())
                .bytes(&layout.voter_part(opening.share())),
        );
        let mut key = wiped(Writer::new(tag::SHARE_KEY).fixed(opening.nonce()));
        let choice = Self {
            key: Zeroizing::new(std::mem::take(&mut key.0)),
            part: layout.choice_part(opening.share()),
        };
        (voter, choice)
    }

    /// b_j.
    pub(crate) fn hash(&self) -> Hash32 {
        wiped(Writer::new(tag::SHARE_CHOICE).fixed(&self.key).bytes(&self.part))
    }
}

/// The hash of a layout that holds a secret, which is erased.
fn wiped(layout: Writer) -> Hash32 {
    let hash = layout.sha256();
    drop(Zeroizing::new(layout.finish()));
    hash
}

/// What the shares are of: fixes tags, length and form.
#[derive(Clone, Copy, Debug)]
pub enum ShareForm<'a> {
    /// A ballot, packed by this layout.
    Ballot(&'a BallotLayout),
    /// An issued credential.
    Credential,
    /// An enrolled credential.
    Card,
}

/// Everything a commitment is bound to besides nonce and share.
#[derive(Clone, Copy, Debug)]
pub struct ShareContext<'a> {
    /// The election's id; of an enrolled credential its register's.
    pub of: &'a str,
    /// The box; 0 for an enrolled credential.
    pub of_box: BoxId,
    /// What the shares are of.
    pub form: ShareForm<'a>,
}

impl<'a> ShareContext<'a> {
    /// Of a ballot.
    pub fn ballot(election: &'a ElectionId, of_box: &'a crate::manifest::BallotBox) -> Self {
        Self {
            of: election.as_str(),
            of_box: of_box.id(),
            form: ShareForm::Ballot(of_box.layout()),
        }
    }

    /// Of a credential record.
    pub fn credential(election: &'a ElectionId, of_box: BoxId) -> Self {
        Self {
            of: election.as_str(),
            of_box,
            form: ShareForm::Credential,
        }
    }

    /// Of a card record.
    pub fn card(register: &'a RegisterId) -> Self {
        Self {
            of: register.as_str(),
            of_box: BoxId(0),
            form: ShareForm::Card,
        }
    }

    /// The exact size of a share in bytes.
    pub fn share_bytes(&self) -> usize {
        match self.form {
            ShareForm::Ballot(layout) => layout.share_bytes(),
            ShareForm::Credential | ShareForm::Card => CREDENTIAL_SHARE_BYTES,
        }
    }

    /// The exact size of a ciphertext in bytes.
    pub fn ciphertext_bytes(&self) -> usize {
        OVERHEAD_BYTES + 2 * (NONCE_BYTES + self.share_bytes())
    }

    fn tags(&self) -> (&'static str, &'static str) {
        match self.form {
            ShareForm::Ballot(_) => (tag::SHARE, tag::SEALED_BALLOT),
            ShareForm::Credential => (tag::CREDENTIAL, tag::SEALED_RECORD),
            ShareForm::Card => (tag::CARD_CREDENTIAL, tag::SEALED_CARD_RECORD),
        }
    }

    /// c_j of `opening` as share j.
    pub fn commit(&self, j: Role, opening: &Opening) -> Hash32 {
        match self.form {
            ShareForm::Ballot(layout) => {
                let (voter, choice) = ChoiceOpening::of(layout, opening);
                self.commit_parts(j, &voter, &choice.hash())
            }
            ShareForm::Credential | ShareForm::Card => {
                wiped(self.bound(j).fixed(opening.nonce()).bytes(opening.share()))
            }
        }
    }

    /// c_j of a ballot from a_j and b_j.
    pub(crate) fn commit_parts(&self, j: Role, voter: &Hash32, choice: &Hash32) -> Hash32 {
        self.bound(j).fixed(&voter.0).fixed(&choice.0).sha256()
    }

    fn bound(&self, j: Role) -> Writer {
        Writer::new(self.tags().0)
            .text(self.of)
            .ballot_box(self.of_box)
            .u8(j.index())
    }

    /// c_1, c_2, c_3.
    pub fn commit_all(&self, openings: &[Opening; 3]) -> [Hash32; 3] {
        Role::ALL.map(|j| self.commit(j, &openings[j.slot()]))
    }

    /// Whether `opening` has the right form and opens c_j.
    ///
    /// # Errors
    /// [`ShareError::OpeningLength`], [`ShareError::Layout`], [`ShareError::Commitment`].
    pub fn check(&self, j: Role, opening: &Opening, commitments: &[Hash32; 3]) -> Result<(), ShareError> {
        let (expected, share) = (self.share_bytes(), opening.share().len());
        if share != expected {
            return Err(ShareError::OpeningLength {
                expected,
                nonce: NONCE_BYTES,
                share,
            });
        }
        if let ShareForm::Ballot(layout) = self.form {
            layout
                .check(opening.share())
                .map_err(|source| ShareError::Layout { share: j, source })?;
        }
        let same = self.commit(j, opening).0.ct_eq(&commitments[j.slot()].0);
        if bool::from(same) {
            Ok(())
        } else {
            Err(ShareError::Commitment { share: j })
        }
    }

    /// An opening as it travels between parties, checked against c_j.
    ///
    /// # Errors
    /// As [`ShareContext::check`], and [`ShareError::OpeningLength`] for a wrong nonce.
    pub fn take(
        &self,
        j: Role,
        nonce: &[u8],
        share: Zeroizing<Vec<u8>>,
        commitments: &[Hash32; 3],
    ) -> Result<Opening, ShareError> {
        let lengths = ShareError::OpeningLength {
            expected: self.share_bytes(),
            nonce: nonce.len(),
            share: share.len(),
        };
        let mut exact = Zeroizing::new([0; NONCE_BYTES]);
        if nonce.len() != NONCE_BYTES {
            return Err(lengths);
        }
        exact.copy_from_slice(nonce);
        let opening = Opening::from_parts(exact, share);
        self.check(j, &opening, commitments)?;
        Ok(opening)
    }

    fn info(&self, to: Role) -> Vec<u8> {
        Writer::new(self.tags().1).text(self.of).u8(to.index()).finish()
    }

    /// Seals openings i and i+1 to party i.
    ///
    /// # Errors
    /// [`ShareError::OpeningLength`] for shares of another form, [`ShareError::Suite`].
    pub fn seal(
        &self,
        to: Role,
        key: &SealingKey,
        digest: &Digest,
        openings: &[Opening; 3],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, ShareError> {
        let expected = self.share_bytes();
        let mut plaintext = Zeroizing::new(Vec::with_capacity(2 * (NONCE_BYTES + expected)));
        for j in [to, to.next()] {
            let opening = &openings[j.slot()];
            let share = opening.share().len();
            if share != expected {
                return Err(ShareError::OpeningLength {
                    expected,
                    nonce: NONCE_BYTES,
                    share,
                });
            }
            plaintext.extend_from_slice(opening.nonce());
            plaintext.extend_from_slice(opening.share());
        }
        Ok(key.seal(&self.info(to), digest.as_bytes(), &plaintext, rng)?)
    }

    /// Opens what party `me` was sent and checks both shares against the header's commitments.
    ///
    /// # Errors
    /// [`ShareError`], always the sender's fault.
    pub fn open(
        &self,
        me: Role,
        key: &OpeningKey,
        digest: &Digest,
        commitments: &[Hash32; 3],
        ciphertext: &[u8],
    ) -> Result<PartyShares, ShareError> {
        let (expected, actual) = (self.ciphertext_bytes(), ciphertext.len());
        if actual != expected {
            return Err(ShareError::CiphertextLength { expected, actual });
        }
        let plaintext = key.open(&self.info(me), digest.as_bytes(), ciphertext)?;
        let shares = self.read(&plaintext)?;
        self.check(me, &shares.this, commitments)?;
        self.check(me.next(), &shares.next, commitments)?;
        Ok(shares)
    }

    /// Reads the packed form of two openings, as sealed, without commitments to check against: for what this party itself stored.
    ///
    /// # Errors
    /// [`ShareError::OpeningLength`] for any other length.
    pub fn read(&self, packed: &[u8]) -> Result<PartyShares, ShareError> {
        let expected = self.share_bytes();
        let bad = || ShareError::OpeningLength {
            expected,
            nonce: NONCE_BYTES,
            share: packed.len(),
        };
        let half = |bytes: &[u8]| {
            let (nonce, share) = bytes.split_first_chunk::<NONCE_BYTES>()?;
            let opening = Opening::from_parts(Zeroizing::new(*nonce), Zeroizing::new(share.to_vec()));
            (share.len() == expected).then_some(opening)
        };
        let (first, second) = packed.split_at_checked(NONCE_BYTES + expected).ok_or_else(bad)?;
        Ok(PartyShares {
            this: half(first).ok_or_else(bad)?,
            next: half(second).ok_or_else(bad)?,
        })
    }
}

/// What party i holds of one ballot or record: openings i and i+1.
#[derive(Debug)]
pub struct PartyShares {
    /// Opening i.
    pub this: Opening,
    /// Opening i+1.
    pub next: Opening,
}

impl PartyShares {
    /// The packed form: nonce_i | share_i | nonce_{i+1} | share_{i+1}.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let bytes = [
            self.this.nonce(),
            self.this.share(),
            self.next.nonce(),
            self.next.share(),
        ];
        let mut packed = Zeroizing::new(Vec::with_capacity(bytes.iter().map(|b| b.len()).sum()));
        bytes.iter().for_each(|b| packed.extend_from_slice(b));
        packed
    }

    /// The two credential shares, where these are shares of a credential.
    pub fn credential_shares(&self) -> Option<(Zeroizing<u64>, Zeroizing<u64>)> {
        let read = |o: &Opening| Some(Zeroizing::new(u64::from_le_bytes(o.share().try_into().ok()?)));
        Some((read(&self.this)?, read(&self.next)?))
    }
}

/// Splits a packed ballot into three openings with fresh nonces.
///
/// # Errors
/// [`LayoutError`]: not packed by this layout.
pub fn split_ballot(
    layout: &BallotLayout,
    packed: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<[Opening; 3], LayoutError> {
    let shares = layout.split(packed, rng)?;
    Ok(shares.map(|share| Opening::new(share, rng)))
}

/// Splits a credential into three openings with fresh nonces.
pub fn split_credential_openings(credential: u64, rng: &mut impl CryptoRng) -> [Opening; 3] {
    let shares = split_credential(credential, rng);
    shares.map(|share| Opening::new(Zeroizing::new(share.to_le_bytes().to_vec()), rng))
}

#[cfg(test)]
mod tests;
