//! The unlock key, its splitting among officials (Shamir 1979 over GF(256), byte by byte) and its recombination.
//!
//! ```text
//! commitment = HKDF-SHA256(salt = ceremony, key, info = "tally/v1/unlock/commitment")
//! commitment to share j = SHA-256("tally/v1/unlock/share" || party || ceremony || officials || threshold || j || value_j)
//! ```
//!
//! Fewer than the threshold's shares are independent of the key whatever computing power anyone has. The commitments are to uniform 256-bit
//! values: they let a wrong share or key be named, and hide the value as SHA-256 does.

use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tally_proto::ids::Role;
use vsss_rs::Gf256;
use zeroize::{Zeroize as _, Zeroizing};

use super::share::{CeremonyId, Share, ShareError, Terms, VALUE_BYTES};

const KEY_TAG: &[u8] = b"tally/v1/unlock/commitment";
const SHARE_TAG: &[u8] = b"tally/v1/unlock/share";

/// Opens a party's sealed keys. Erased on drop.
pub struct UnlockKey(Zeroizing<[u8; VALUE_BYTES]>);

impl std::fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnlockKey(32 bytes)")
    }
}

/// What a ceremony is, publicly: enough to judge a share, and the key that shares make, without opening anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    /// Whose keys.
    pub party: Role,
    /// The splitting.
    pub ceremony: CeremonyId,
    /// How many officials there are, and how many it takes.
    pub terms: Terms,
    /// To the unlock key.
    pub(super) key: [u8; 32],
    /// To each share, in the order of their numbers.
    pub(super) shares: Vec<[u8; 32]>,
}

/// Why a share, or shares together, are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The text.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// A share for another party's keys.
    #[error("this is a share of {found}; shares of {expected} are needed")]
    OtherParty {
        /// Whose it is.
        found: Role,
        /// Whose is needed.
        expected: Role,
    },
    /// A share of another ceremony.
    #[error(
        "this is share {number} of ceremony {found}; the keys here were split in ceremony {expected}: an older sheet, or one of another machine?"
    )]
    OtherCeremony {
        /// Its number.
        number: u8,
        /// Its ceremony.
        found: CeremonyId,
        /// The ceremony that is needed.
        expected: CeremonyId,
    },
    /// A share that was given already.
    #[error("share {number} was given already; another official's is needed")]
    Twice {
        /// Its number.
        number: u8,
    },
    /// A share whose text is sound but whose value is not the one that was handed out.
    #[error(
        "share {number} is well typed but is not the one that was handed out: it was altered, or copied wrong with its checks"
    )]
    Altered {
        /// Its number.
        number: u8,
    },
    /// Too few.
    #[error("{given} of {needed} shares are there")]
    TooFew {
        /// How many are there.
        given: u8,
        /// How many it takes.
        needed: u8,
    },
    /// Each share is the one that was handed out, and together they do not make the key.
    #[error(
        "each share is good by itself, but together they do not make the key: the key file is of another ceremony or was altered"
    )]
    Inconsistent,
}

impl UnlockKey {
    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> UnlockKey {
        let mut key = Zeroizing::new([0; VALUE_BYTES]);
        rng.fill_bytes(&mut *key);
        UnlockKey(key)
    }

    /// A key from its bytes.
    pub(crate) fn new(bytes: Zeroizing<[u8; VALUE_BYTES]>) -> UnlockKey {
        UnlockKey(bytes)
    }

    /// The key itself, for the key holder's socket.
    pub(crate) fn bytes(&self) -> &[u8; VALUE_BYTES] {
        &self.0
    }

    /// A key for one purpose: HKDF-SHA256; `info` begins with the purpose's own domain.
    pub(super) fn derive(&self, salt: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(salt), &*self.0)
            .expand_multi_info(info, &mut *key)
            .expect("32 bytes are within HKDF-SHA256's 8160");
        key
    }

    /// Splits it; the shares, in the order of their numbers, and what may be known of them.
    ///
    /// # Errors
    /// [`SplitError::Inconsistent`]: the shares do not make the key again, which is this program's own fault; nothing may be built on them.
    pub fn split(
        &self,
        party: Role,
        terms: Terms,
        rng: &mut impl CryptoRng,
    ) -> Result<(Vec<Share>, Public), SplitError> {
        let mut ceremony = [0; 4];
        rng.fill_bytes(&mut ceremony);
        let ceremony = CeremonyId(ceremony);
        let (threshold, officials) = (terms.threshold().into(), terms.officials().into());
        let mut values = Gf256::split_bytes(threshold, officials, self.0.as_slice(), rng)
            .map_err(|_| SplitError::Inconsistent)?;
        let mut shares = Vec::with_capacity(officials);
        for row in &mut values {
            // The crate puts the point before the values; its default points are 1, 2, 3...
            let mut value = Zeroizing::new([0; VALUE_BYTES]);
            let Some((number, rest)) = row.split_first().filter(|(_, rest)| rest.len() == VALUE_BYTES) else {
                return Err(SplitError::Inconsistent);
            };
            value.copy_from_slice(rest);
            shares.push(Share::new(party, ceremony, terms, *number, value)?);
            row.zeroize();
        }
        let public = Public {
            party,
            ceremony,
            terms,
            key: self.commitment(ceremony),
            shares: shares.iter().map(commitment).collect(),
        };
        Ok((shares, public))
    }

    /// Commits to the key.
    fn commitment(&self, ceremony: CeremonyId) -> [u8; 32] {
        *self.derive(&ceremony.0, &[KEY_TAG])
    }
}

/// Commits to a share.
fn commitment(share: &Share) -> [u8; 32] {
    Sha256::new()
        .chain_update(SHARE_TAG)
        .chain_update([share.party().index()])
        .chain_update(share.ceremony().0)
        .chain_update([
            share.terms().officials(),
            share.terms().threshold(),
            share.number(),
        ])
        .chain_update(share.value())
        .finalize()
        .into()
}

impl Public {
    /// Judges one share by itself.
    ///
    /// # Errors
    /// [`SplitError`]: another party's, another ceremony's, or altered.
    pub fn judge(&self, share: &Share) -> Result<(), SplitError> {
        let number = share.number();
        if share.party() != self.party {
            return Err(SplitError::OtherParty {
                found: share.party(),
                expected: self.party,
            });
        }
        if share.ceremony() != self.ceremony {
            return Err(SplitError::OtherCeremony {
                number,
                found: share.ceremony(),
                expected: self.ceremony,
            });
        }
        let known = self.shares.get(usize::from(number) - 1);
        let good = known.is_some_and(|known| commitment(share).ct_eq(known).into());
        if good && share.terms() == self.terms {
            Ok(())
        } else {
            Err(SplitError::Altered { number })
        }
    }

    /// Whether `key` is the one that was split.
    pub fn is_key(&self, key: &UnlockKey) -> bool {
        key.commitment(self.ceremony).ct_eq(&self.key).into()
    }
}

/// Shares that come in one by one. Erased on drop.
#[derive(Debug)]
pub struct Collected {
    public: Public,
    shares: Vec<Share>,
}

impl Collected {
    /// None yet.
    pub fn new(public: Public) -> Collected {
        Collected {
            public,
            shares: Vec::new(),
        }
    }

    /// What is known of the ceremony.
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// The numbers of those that are there, in the order they came.
    pub fn numbers(&self) -> Vec<u8> {
        self.shares.iter().map(Share::number).collect()
    }

    /// Takes one more.
    ///
    /// # Errors
    /// [`SplitError`]: it is not taken; those before stay.
    pub fn add(&mut self, share: Share) -> Result<(), SplitError> {
        self.public.judge(&share)?;
        let number = share.number();
        if self.shares.iter().any(|known| known.number() == number) {
            return Err(SplitError::Twice { number });
        }
        self.shares.push(share);
        Ok(())
    }

    /// Whether enough are there.
    pub fn is_enough(&self) -> bool {
        self.shares.len() >= self.public.terms.threshold().into()
    }

    /// The key.
    ///
    /// # Errors
    /// [`SplitError::TooFew`], [`SplitError::Inconsistent`].
    pub fn combine(&self) -> Result<UnlockKey, SplitError> {
        if !self.is_enough() {
            return Err(SplitError::TooFew {
                given: self.shares.len() as u8,
                needed: self.public.terms.threshold(),
            });
        }
        let key = combine(&self.shares[..self.public.terms.threshold().into()])?;
        if self.public.is_key(&key) {
            Ok(key)
        } else {
            Err(SplitError::Inconsistent)
        }
    }
}

/// The value at 0 of the polynomials through these shares, whatever it is.
fn combine<'a>(shares: impl IntoIterator<Item = &'a Share>) -> Result<UnlockKey, SplitError> {
    let rows: Zeroizing<Vec<Vec<u8>>> = Zeroizing::new(
        shares
            .into_iter()
            .map(|share| {
                let mut row = Vec::with_capacity(1 + VALUE_BYTES);
                row.push(share.number());
                row.extend_from_slice(share.value());
                row
            })
            .collect(),
    );
    let combined = Gf256::combine_bytes(rows.as_slice()).map_err(|_| SplitError::Inconsistent)?;
    let combined = Zeroizing::new(combined);
    let mut key = Zeroizing::new([0; VALUE_BYTES]);
    if combined.len() != VALUE_BYTES {
        return Err(SplitError::Inconsistent);
    }
    key.copy_from_slice(&combined);
    Ok(UnlockKey(key))
}

/// Checks that every set of `threshold` shares makes the key: done before sheets are handed out.
///
/// # Errors
/// [`SplitError::Inconsistent`].
pub fn check_all(shares: &[Share], public: &Public) -> Result<(), SplitError> {
    let threshold = u32::from(public.terms.threshold());
    for share in shares {
        public.judge(share)?;
    }
    for set in (0..1u32 << shares.len()).filter(|set| set.count_ones() == threshold) {
        let chosen = shares.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1);
        let key = combine(chosen.map(|(_, share)| share))?;
        if !public.is_key(&key) {
            return Err(SplitError::Inconsistent);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
