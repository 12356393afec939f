//! What a voter's card adds to a record: its certificate and its signature. The register brings the certificates above it.

use crate::decode::decode_canonical;
use crate::ids::{Digest, Hash32, RegisterId};
use crate::layout::{Writer, tag};
use crate::wire;

use super::CardError;

/// Largest certificate in bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 6 << 10;
/// Size of the nonce that hides the certificate.
pub const NONCE_BYTES: usize = 32;
/// Largest encoded authorisation in bytes.
pub const MAX_AUTHORISATION_BYTES: usize = MAX_CERTIFICATE_BYTES + 2048;
/// Largest signature: RSA of 8192 bits.
const MAX_SIGNATURE_BYTES: usize = 1024;

/// How a card signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Scheme {
    /// RSA, PKCS#1 v1.5, SHA-256.
    RsaPkcs1Sha256,
    /// RSA, PSS with SHA-256 and a salt of 32 bytes.
    RsaPssSha256,
    /// ECDSA on P-256 with SHA-256; r and s of 32 bytes each.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384; r and s of 48 bytes each.
    EcdsaP384Sha384,
}

impl Scheme {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::RsaPkcs1Sha256,
        Self::RsaPssSha256,
        Self::EcdsaP256Sha256,
        Self::EcdsaP384Sha384,
    ];

    pub(super) const fn wire(self) -> wire::CardScheme {
        match self {
            Self::RsaPkcs1Sha256 => wire::CardScheme::RsaPkcs1Sha256,
            Self::RsaPssSha256 => wire::CardScheme::RsaPssSha256,
            Self::EcdsaP256Sha256 => wire::CardScheme::EcdsaP256Sha256,
            Self::EcdsaP384Sha384 => wire::CardScheme::EcdsaP384Sha384,
        }
    }

    pub(super) fn from_wire(number: i32) -> Result<Self, CardError> {
        Self::ALL
            .into_iter()
            .find(|scheme| i32::from(scheme.wire()) == number)
            .ok_or(CardError::Scheme(number))
    }
}

/// Whether a card's certificate and signature are of the sizes that such have.
pub(super) fn well_formed(certificate: &[u8], signature: &[u8]) -> Result<(), CardError> {
    if certificate.is_empty() || certificate.len() > MAX_CERTIFICATE_BYTES {
        return Err(CardError::Malformed("a certificate is empty or too large"));
    }
    if signature.is_empty() || signature.len() > MAX_SIGNATURE_BYTES {
        return Err(CardError::Malformed("the signature is missing or too long"));
    }
    Ok(())
}

/// The commitment of a record's header to the certificate.
pub fn holder(nonce: &[u8; NONCE_BYTES], certificate: &[u8]) -> Hash32 {
    Writer::new(tag::CARD_HOLDER)
        .fixed(nonce)
        .bytes(certificate)
        .sha256()
}

/// What the card signs for the record of that digest.
pub fn signed_bytes(register: &RegisterId, digest: &Digest) -> Vec<u8> {
    Writer::new(tag::CARD_AUTHORISATION)
        .text(register.as_str())
        .fixed(&digest.0)
        .finish()
}

/// A card's authorisation of a record: parsed for its form only. [`crate::card`] checks what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct CardAuthorisation {
    nonce: [u8; NONCE_BYTES],
    certificate: Vec<u8>,
    scheme: Scheme,
    signature: Vec<u8>,
}

impl std::fmt::Debug for CardAuthorisation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CardAuthorisation({:?})", self.scheme)
    }
}

impl CardAuthorisation {
    /// From its parts.
    ///
    /// # Errors
    /// [`CardError::Malformed`].
    pub fn new(
        nonce: [u8; NONCE_BYTES],
        certificate: Vec<u8>,
        scheme: Scheme,
        signature: Vec<u8>,
    ) -> Result<Self, CardError> {
        well_formed(&certificate, &signature)?;
        Ok(Self {
            nonce,
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
        let wire: wire::CardAuthorisation =
            decode_canonical("card authorisation", bytes, MAX_AUTHORISATION_BYTES)?;
        let nonce = <[u8; NONCE_BYTES]>::try_from(wire.nonce.as_slice())
            .map_err(|_| CardError::Malformed("the nonce has 32 bytes"))?;
        let scheme = Scheme::from_wire(wire.scheme)?;
        let [certificate] =
            <[Vec<u8>; 1]>::try_from(wire.certificates).map_err(|all| CardError::Certificates(all.len()))?;
        Self::new(nonce, certificate, scheme, wire.signature)
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&wire::CardAuthorisation {
            nonce: self.nonce.to_vec(),
            certificates: vec![self.certificate.clone()],
            scheme: self.scheme.wire().into(),
            signature: self.signature.clone(),
        })
    }

    /// What the record's header must state.
    pub fn holder(&self) -> Hash32 {
        holder(&self.nonce, self.certificate())
    }
    /// The voter's certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }
    /// How the card signed.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }
    /// The card's signature over [`signed_bytes`].
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}
