//! A draw code that a card stands for: what lets voters who enrol by card draw tickets.
//!
//! ```text
//! code    = SHA-256(tag "tally/v1/card-draw-code", manifest's hash, draw code)
//! signed  = (tag "tally/v1/draw-statement", register, manifest's hash, code, signed_at)      what the card signs (a hash of it)
//! ```
//!
//! A statement is of one election, by its manifest's hash, and of one draw code. Whoever copies one can do nothing with it but bring the same hash
//! again. The tag keeps it apart from what a card signs for a record ([`super::signed_bytes`]): neither is ever the other.
//!
//! The hash is not of box and number, unlike the one that a registrar hands over: a card signs before its holder's number is known.

use super::authorisation::{Scheme, well_formed};
use super::chain::{certificate, signed_by};
use super::{CardError, Holder, MAX_AUTHORISATION_BYTES};
use crate::decode::decode_canonical;
use crate::ids::{Hash32, RegisterId, UnixSeconds};
use crate::layout::{Writer, tag};
use crate::manifest::Register;
use crate::wire;

/// Largest encoded statement in bytes.
pub const MAX_STATEMENT_BYTES: usize = MAX_AUTHORISATION_BYTES;
/// How far a statement's moment may be from the clock of whoever takes it. A statement that is kept back must not be of use much later.
pub const STATEMENT_TOLERANCE_S: u64 = 300;

/// What a card states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DrawTerms {
    /// The election, by its manifest's hash.
    pub manifest: Hash32,
    /// [`crate::ticket::DrawCode::hash_for_card`].
    pub code: Hash32,
    /// When.
    pub signed_at: UnixSeconds,
}

impl DrawTerms {
    /// What the card signs.
    pub fn signed_bytes(&self, register: &RegisterId) -> Vec<u8> {
        Writer::new(tag::DRAW_STATEMENT)
            .text(register.as_str())
            .fixed(&self.manifest.0)
            .fixed(&self.code.0)
            .u64(self.signed_at.get())
            .finish()
    }
}

/// A card's statement of a draw code: parsed for its form only, until [`DrawStatement::check`].
#[derive(Clone, PartialEq, Eq)]
pub struct DrawStatement {
    terms: DrawTerms,
    certificate: Vec<u8>,
    scheme: Scheme,
    signature: Vec<u8>,
}

impl std::fmt::Debug for DrawStatement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DrawStatement({:?})", self.scheme)
    }
}

impl DrawStatement {
    /// From its parts.
    ///
    /// # Errors
    /// [`CardError::Malformed`].
    pub fn new(
        terms: DrawTerms,
        certificate: Vec<u8>,
        scheme: Scheme,
        signature: Vec<u8>,
    ) -> Result<Self, CardError> {
        well_formed(&certificate, &signature)?;
        Ok(Self {
            terms,
            certificate,
            scheme,
            signature,
        })
    }

    /// From its canonical bytes.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CardError> {
        let wire: wire::DrawStatement = decode_canonical("draw statement", bytes, MAX_STATEMENT_BYTES)?;
        let hash =
            |bytes: &[u8]| Hash32::from_slice(bytes).map_err(|_| CardError::Malformed("a hash has 32 bytes"));
        let terms = DrawTerms {
            manifest: hash(&wire.manifest_hash)?,
            code: hash(&wire.code_hash)?,
            signed_at: UnixSeconds(wire.signed_at_s),
        };
        let scheme = Scheme::from_wire(wire.scheme)?;
        let [certificate] =
            <[Vec<u8>; 1]>::try_from(wire.certificates).map_err(|all| CardError::Certificates(all.len()))?;
        Self::new(terms, certificate, scheme, wire.signature)
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&wire::DrawStatement {
            manifest_hash: self.terms.manifest.0.to_vec(),
            code_hash: self.terms.code.0.to_vec(),
            signed_at_s: self.terms.signed_at.get(),
            certificates: vec![self.certificate.clone()],
            scheme: self.scheme.wire().into(),
            signature: self.signature.clone(),
        })
    }

    /// What it states.
    pub fn terms(&self) -> &DrawTerms {
        &self.terms
    }

    /// Whose card states it, for the election of that manifest. Everything is checked but revocation and roll.
    ///
    /// # Errors
    /// [`CardError`], each cause its own.
    pub fn check(
        &self,
        register: &Register,
        manifest: &Hash32,
        now: UnixSeconds,
    ) -> Result<Holder, CardError> {
        let signed_at = self.terms.signed_at;
        if self.terms.manifest != *manifest {
            return Err(CardError::OtherElection);
        }
        if signed_at.get().abs_diff(now.get()) > STATEMENT_TOLERANCE_S {
            return Err(CardError::Clock { signed_at, now });
        }
        let holder = certificate(register, &self.certificate, &[signed_at, now])?;
        let bytes = self.terms.signed_bytes(register.id());
        signed_by(&self.certificate, self.scheme, &bytes, &self.signature)?;
        Ok(holder)
    }
}
