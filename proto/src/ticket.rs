//! Posting tickets: what lets a board that does not know its voters refuse a flood.
//!
//! RSABSSA-SHA384-PSS-Randomized (RFC 9474) by the coordinator over one-time Ed25519 keys:
//!
//! ```text
//! message   = layout (tag, election, day_s, one-time key)
//! ticket    = one-time key, day_s, randomizer (32), RSA-PSS signature over randomizer || message under the day's key (256)
//! use       = Ed25519 by the one-time key over layout (tag, ballot digest, SHA-256 of the three ciphertexts, in party order)
//! ```
//!
//! The coordinator signs blinded messages only: what it sees in a draw is uniformly random whatever the ticket is, so nothing that it keeps
//! can ever connect a ticket with a draw. That holds against keys made with ill intent too, because the message carries 32 random bytes.
//! It cannot mark a voter by another key either: what it answers is checked against the key that stands in the manifest for everybody, and a
//! whole draw is taken or none of it. A ticket is the header's, so the digest covers it; whoever copies one lacks the key that signs a use.
//!
//! A draw follows from one seed of 32 bytes, so that a device can ask the same again after a lost answer or a crash.

mod draw;
mod signer;
#[cfg(test)]
mod tests;

use std::fmt;

pub use draw::{Draw, DrawCode, OwnTicket};
use ring::signature::{RSA_PSS_2048_8192_SHA384, RsaPublicKeyComponents};
pub use signer::TicketSigner;

use crate::envelope::{EnvelopeError, PublicKey, SignatureBytes, Signer};
use crate::ids::{Digest, ElectionId, Hash32, IdError, UnixSeconds};
use crate::layout::{Writer, tag};
use crate::reason::Reason;
use crate::wire;

/// Bytes of an RSA modulus, of a blinded message and of a signature.
pub const RSA_BYTES: usize = 256;
/// The public exponent, 65537.
const EXPONENT: [u8; 3] = [1, 0, 1];
/// Most days with a key.
pub const MAX_DAYS: usize = 400;
/// Most tickets of one draw.
pub const MAX_DRAWN: usize = 1024;
/// Most draws of one voter.
pub const MAX_DRAWS: u32 = 16;

/// Why a ticket, a draw or its answer is no good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// A field has a wrong length.
    #[error("{what} has {expected} bytes, this has {actual}")]
    Length {
        /// Which.
        what: &'static str,
        /// The right length.
        expected: usize,
        /// The found one.
        actual: usize,
    },
    /// The one-time key.
    #[error("the ticket's one-time key: {0}")]
    Key(#[from] EnvelopeError),
    /// A hash of a ciphertext.
    #[error(transparent)]
    Hash(#[from] IdError),
    /// No modulus of exactly 2048 bits.
    #[error("a ticket key is an odd modulus of exactly 2048 bits")]
    Modulus,
    /// Not as many as were asked for.
    #[error("the answer holds {actual} signatures, {expected} were asked for")]
    Count {
        /// Asked for.
        expected: usize,
        /// Given.
        actual: usize,
    },
    /// Not signed with the key that stands in the manifest.
    #[error(
        "the coordinator's answer for the day that begins at {day} is not signed with the manifest's key of that day: nothing of it is used, \
         as another key could mark the voter"
    )]
    OtherKey {
        /// The day.
        day: UnixSeconds,
    },
    /// The secret key cannot be used.
    #[error("the secret key for tickets is damaged")]
    Secret,
    /// What was to be signed is not below the modulus.
    #[error("a blinded message is a number below the modulus")]
    Blinded,
}

impl TicketError {
    /// The stable reason.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::OtherKey { .. } | Self::Count { .. } => Reason::SignatureBad,
            Self::Modulus => Reason::ManifestInvalid,
            Self::Secret => Reason::Internal,
            _ => Reason::MessageMalformed,
        }
    }
}

fn exactly<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; N], TicketError> {
    bytes.try_into().map_err(|_| TicketError::Length {
        what,
        expected: N,
        actual: bytes.len(),
    })
}

/// The coordinator's public key for the tickets of one day.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey {
    day: UnixSeconds,
    modulus: [u8; RSA_BYTES],
}

impl TicketKey {
    /// Of the day that begins at `day`.
    ///
    /// # Errors
    /// [`TicketError::Length`], [`TicketError::Modulus`].
    pub fn new(day: UnixSeconds, modulus: &[u8]) -> Result<Self, TicketError> {
        let modulus = exactly("a ticket key", modulus)?;
        // Anything else would be a key of another length under another name, or none.
        match (modulus.first(), modulus.last()) {
            (Some(first), Some(last)) if first & 0x80 != 0 && last & 1 == 1 => Ok(Self { day, modulus }),
            _ => Err(TicketError::Modulus),
        }
    }

    /// From the wire.
    ///
    /// # Errors
    /// As [`TicketKey::new`].
    pub fn from_wire(wire: &wire::TicketKey) -> Result<Self, TicketError> {
        Self::new(UnixSeconds(wire.day_s), &wire.public_key)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::TicketKey {
        wire::TicketKey {
            day_s: self.day.get(),
            public_key: self.modulus.to_vec(),
        }
    }

    /// When its day begins.
    pub fn day(&self) -> UnixSeconds {
        self.day
    }

    /// The modulus.
    pub fn modulus(&self) -> &[u8; RSA_BYTES] {
        &self.modulus
    }

    /// Whether the coordinator signed this ticket with this key.
    pub fn signed(&self, election: &ElectionId, ticket: &Ticket) -> bool {
        let message = [
            ticket.randomizer.as_slice(),
            &message(election, ticket.day, &ticket.key),
        ]
        .concat();
        let public = RsaPublicKeyComponents {
            n: self.modulus.as_slice(),
            e: EXPONENT.as_slice(),
        };
        ticket.day == self.day
            && public
                .verify(&RSA_PSS_2048_8192_SHA384, &message, &ticket.signature)
                .is_ok()
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKey(of {})", self.day)
    }
}

fn message(election: &ElectionId, day: UnixSeconds, key: &PublicKey) -> Vec<u8> {
    Writer::new(tag::TICKET)
        .election(election)
        .u64(day.get())
        .fixed(key.as_bytes())
        .finish()
}

/// A ticket as a ballot's header names it. Public once it is used.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    key: PublicKey,
    day: UnixSeconds,
    randomizer: [u8; 32],
    signature: [u8; RSA_BYTES],
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({}, of {})", self.key.short(), self.day)
    }
}

impl Ticket {
    /// From the wire.
    ///
    /// # Errors
    /// [`TicketError::Length`], [`TicketError::Key`].
    pub fn from_wire(wire: &wire::TicketAuthority) -> Result<Self, TicketError> {
        Ok(Self {
            key: PublicKey::from_slice(&wire.key)?,
            day: UnixSeconds(wire.day_s),
            randomizer: exactly("a ticket's randomizer", &wire.randomizer)?,
            signature: exactly("a ticket's signature", &wire.signature)?,
        })
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::TicketAuthority {
        wire::TicketAuthority {
            key: self.key.as_bytes().to_vec(),
            day_s: self.day.get(),
            randomizer: self.randomizer.to_vec(),
            signature: self.signature.to_vec(),
        }
    }

    /// The one-time key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The day it is good for, by its beginning.
    pub fn day(&self) -> UnixSeconds {
        self.day
    }

    /// Its part of a ballot's digest.
    pub(crate) fn write(&self, layout: Writer) -> Writer {
        layout
            .fixed(self.key.as_bytes())
            .u64(self.day.get())
            .fixed(&self.randomizer)
            .fixed(&self.signature)
    }
}

/// The use of a ticket: its owner's signature over a ballot and the ciphertexts that carry it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Use {
    /// SHA-256 of the ciphertexts, in party order.
    pub ciphertexts: [Hash32; 3],
    /// The one-time key's.
    pub signature: SignatureBytes,
}

impl Use {
    /// Bytes of [`Use::to_bytes`].
    pub const BYTES: usize = 3 * 32 + 64;

    /// Signs one.
    pub fn sign(owner: &Signer, digest: &Digest, ciphertexts: [Hash32; 3]) -> Self {
        Self {
            ciphertexts,
            signature: owner.sign_layout(&Self::layout(digest, &ciphertexts)),
        }
    }

    /// Whether the ticket's owner signed it for this ballot.
    pub fn is_by(&self, ticket: &Ticket, digest: &Digest) -> bool {
        ticket.key.verify(
            Self::layout(digest, &self.ciphertexts).as_bytes(),
            &self.signature,
        )
    }

    fn layout(digest: &Digest, [c1, c2, c3]: &[Hash32; 3]) -> Writer {
        Writer::new(tag::TICKET_USE)
            .fixed(&digest.0)
            .fixed(&c1.0)
            .fixed(&c2.0)
            .fixed(&c3.0)
    }

    /// Hashes and signature in a row, as a party keeps them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let [c1, c2, c3] = &self.ciphertexts;
        [&c1.0[..], &c2.0, &c3.0, &self.signature.0].concat()
    }

    /// From [`Use::to_bytes`].
    ///
    /// # Errors
    /// [`TicketError::Length`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TicketError> {
        let bytes: [u8; Self::BYTES] = exactly("the use of a ticket", bytes)?;
        let (hashes, signature) = bytes.split_at(96);
        let mut ciphertexts = [Hash32([0; 32]); 3];
        for (hash, bytes) in ciphertexts.iter_mut().zip(hashes.chunks_exact(32)) {
            *hash = Hash32::from_slice(bytes)?;
        }
        Ok(Self {
            ciphertexts,
            signature: SignatureBytes::from_slice(signature)?,
        })
    }
}

/// The keys and the allowance of an election that asks for tickets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ticketing {
    keys: Vec<TicketKey>,
    per_day: u32,
    draws: u32,
}

/// Why an election's tickets are refused at definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketingError {
    /// Keys without allowance, or the other way round.
    #[error("ticket keys and ticket allowance come together, or neither")]
    Halfway,
    /// A key.
    #[error("ticket key {number}: {source}")]
    Key {
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        source: TicketError,
    },
    /// Days do not rise, or a key stands twice.
    #[error("ticket key {0} is of an earlier day than the one before, or the same key as another")]
    Order(usize),
    /// Too many.
    #[error(
        "{keys} ticket keys with {per_day} tickets each: at most {MAX_DAYS} keys, at least one ticket a day and at most {MAX_DRAWN} in all"
    )]
    Allowance {
        /// How many keys.
        keys: usize,
        /// Tickets of each.
        per_day: u32,
    },
    /// Draws.
    #[error("a voter draws once at least and {MAX_DRAWS} times at most, this says {0}")]
    Draws(u32),
    /// Nobody votes online.
    #[error("tickets are for the online channel, and there is none")]
    NoOnlineChannel,
    /// The first day begins too late.
    #[error("the first ticket key is good from {first}, the online channel opens at {opens}")]
    Late {
        /// The first key's day.
        first: UnixSeconds,
        /// The opening.
        opens: UnixSeconds,
    },
}

impl Ticketing {
    /// From a manifest's fields; `opens` is the first second of the online channel, if there is one. `None` where no tickets are asked for.
    ///
    /// # Errors
    /// [`TicketingError`].
    pub fn from_wire(
        keys: &[wire::TicketKey],
        allowance: Option<&wire::TicketAllowance>,
        opens: Option<UnixSeconds>,
    ) -> Result<Option<Self>, TicketingError> {
        let allowance = match (keys, allowance) {
            ([], None) => return Ok(None),
            ([], Some(_)) | (_, None) => return Err(TicketingError::Halfway),
            (_, Some(allowance)) => allowance,
        };
        let (per_day, draws) = (allowance.per_day, allowance.draws);
        let drawn = keys.len().saturating_mul(per_day as usize);
        if keys.len() > MAX_DAYS || drawn == 0 || drawn > MAX_DRAWN {
            let keys = keys.len();
            return Err(TicketingError::Allowance { keys, per_day });
        }
        if !(1..=MAX_DRAWS).contains(&draws) {
            return Err(TicketingError::Draws(draws));
        }
        let mut checked: Vec<TicketKey> = Vec::with_capacity(keys.len());
        for (number, wire) in (1..).zip(keys) {
            let key = TicketKey::from_wire(wire).map_err(|source| TicketingError::Key { number, source })?;
            let rises = checked.last().is_none_or(|last| last.day < key.day);
            if !rises || checked.iter().any(|other| other.modulus == key.modulus) {
                return Err(TicketingError::Order(number));
            }
            checked.push(key);
        }
        let opens = opens.ok_or(TicketingError::NoOnlineChannel)?;
        if let Some(first) = checked.first().map(TicketKey::day).filter(|first| *first > opens) {
            return Err(TicketingError::Late { first, opens });
        }
        Ok(Some(Self {
            keys: checked,
            per_day,
            draws,
        }))
    }

    /// To a manifest's fields.
    pub fn to_wire(&self) -> (Vec<wire::TicketKey>, wire::TicketAllowance) {
        let allowance = wire::TicketAllowance {
            per_day: self.per_day,
            draws: self.draws,
        };
        (self.keys.iter().map(TicketKey::to_wire).collect(), allowance)
    }

    /// By rising day.
    pub fn keys(&self) -> &[TicketKey] {
        &self.keys
    }

    /// Tickets of each day in one draw.
    pub fn per_day(&self) -> u32 {
        self.per_day
    }

    /// Tickets in one draw.
    pub fn drawn(&self) -> usize {
        self.keys.len() * self.per_day as usize
    }

    /// Draws of one voter, without a further order of the commission.
    pub fn draws(&self) -> u32 {
        self.draws
    }

    /// The key for ballots cast at that moment: of the last day that has begun.
    pub fn key_at(&self, cast_at: UnixSeconds) -> Option<&TicketKey> {
        let begun = self.keys.partition_point(|key| key.day <= cast_at);
        begun.checked_sub(1).and_then(|at| self.keys.get(at))
    }
}
