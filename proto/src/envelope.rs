//! Signed objects: bytes inside an envelope, signed under a tag of the object's kind; nobody re-encodes to verify.
//!
//! A signature is Ed25519 over the fixed layout (tag `tally/v1/signed/<kind>`, SHA-256 of the payload). Verification is strict
//! (no small-order keys, no malleable scalars).

use std::cell::Cell;
use std::fmt;

use bytes::Bytes;
use ed25519_dalek::{Signature as DalekSignature, Signer as _, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::decode::{DecodeError, decode_of};
use crate::ids::Hash32;
use crate::layout::Writer;
use crate::wire;

/// Largest envelope other than a bundle, in bytes. Only Claims come near it: a million receipts of 240 bytes.
pub const MAX_ENVELOPE_BYTES: usize = 256 << 20;
/// Most signatures an envelope carries: coordinator and three parties.
pub const MAX_SIGNATURES: usize = 4;
/// Fields of an envelope that are looked at: more than the payload and its signatures, which are counted.
pub(crate) const MAX_FIELDS: usize = 16;

/// Why a signed object was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Not an Ed25519 public key, or a weak one.
    #[error("not a usable Ed25519 public key: 32 bytes of a point of large order are needed")]
    BadKey,
    /// Not 64 bytes.
    #[error("a signature has 64 bytes, this has {0}")]
    SignatureLength(usize),
    /// Not 32 bytes.
    #[error("a signing seed has 32 bytes, this has {0}")]
    SeedLength(usize),
    /// Too many signatures.
    #[error("an envelope carries at most {MAX_SIGNATURES} signatures, this has {0}")]
    TooManySignatures(usize),
    /// Signed by somebody who has no say.
    #[error("the {kind} is signed by key {}, which is not a key that may sign it", .key.short())]
    UnknownSigner {
        /// Kind of the object.
        kind: Kind,
        /// The key.
        key: PublicKey,
    },
    /// The same key twice.
    #[error("the {kind} carries two signatures of key {}", .key.short())]
    DuplicateSigner {
        /// Kind of the object.
        kind: Kind,
        /// The key.
        key: PublicKey,
    },
    /// A needed signature is absent.
    #[error("the {kind} is not signed by key {}", .key.short())]
    MissingSigner {
        /// Kind of the object.
        kind: Kind,
        /// The key.
        key: PublicKey,
    },
    /// The signature does not verify.
    #[error(
        "the signature of key {} on the {kind} does not verify: the bytes were changed or signed as something else",
        .key.short()
    )]
    BadSignature {
        /// Kind of the object.
        kind: Kind,
        /// The key.
        key: PublicKey,
    },
}

/// Kinds of signed objects; each has its own domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// Definition of an election.
    Manifest,
    /// Change of a defined election.
    Order,
    /// A party's List.
    List,
    /// A party's Claims.
    Claims,
    /// What will be tallied.
    Seal,
    /// A party's opening of a tally session.
    Start,
    /// The outcome.
    Result,
    /// A party's statement that a step stopped.
    Abort,
    /// A complaint with its one-time key.
    Complaint,
    /// The answer to a complaint.
    Answer,
    /// A demand for an overdue frame of a tally session.
    Demand,
    /// The answer to it.
    Supply,
    /// What a party holds of what another signed.
    Holdings,
    /// The coordinator's bundle.
    Bundle,
    /// An auditor's statement.
    Audit,
}

impl Kind {
    const fn tag(self) -> &'static str {
        match self {
            Self::Manifest => "tally/v1/signed/manifest",
            Self::Order => "tally/v1/signed/order",
            Self::List => "tally/v1/signed/list",
            Self::Claims => "tally/v1/signed/claims",
            Self::Seal => "tally/v1/signed/seal",
            Self::Start => "tally/v1/signed/start",
            Self::Result => "tally/v1/signed/result",
            Self::Abort => "tally/v1/signed/abort",
            Self::Complaint => "tally/v1/signed/complaint",
            Self::Answer => "tally/v1/signed/answer",
            Self::Demand => "tally/v1/signed/demand",
            Self::Supply => "tally/v1/signed/supply",
            Self::Holdings => "tally/v1/signed/holdings",
            Self::Bundle => "tally/v1/signed/bundle",
            Self::Audit => "tally/v1/signed/audit",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifest => "manifest",
            Self::Order => "order",
            Self::List => "List",
            Self::Claims => "Claims",
            Self::Seal => "Seal",
            Self::Start => "Start",
            Self::Result => "Result",
            Self::Abort => "Abort",
            Self::Complaint => "complaint",
            Self::Answer => "answer to a complaint",
            Self::Demand => "demand",
            Self::Supply => "answer to a demand",
            Self::Holdings => "statement of holdings",
            Self::Bundle => "bundle",
            Self::Audit => "auditor's statement",
        })
    }
}

/// A checked Ed25519 public key. Prints as hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

thread_local! {
    /// The last key that was checked: a million records name one registrar, and to check its point costs more than all else in them.
    static LAST_KEY: Cell<Option<VerifyingKey>> = const { Cell::new(None) };
}

impl PublicKey {
    /// Takes 32 bytes.
    ///
    /// # Errors
    /// [`EnvelopeError::BadKey`] for a wrong length, no point, or a point of small order.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| EnvelopeError::BadKey)?;
        if let Some(last) = LAST_KEY.get().filter(|last| last.as_bytes() == bytes) {
            return Ok(Self(last));
        }
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| EnvelopeError::BadKey)?;
        // A key that does not re-encode to itself would give one signer two names.
        if key.is_weak() || key.to_edwards().compress().as_bytes() != bytes {
            return Err(EnvelopeError::BadKey);
        }
        LAST_KEY.set(Some(key));
        Ok(Self(key))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The first 4 bytes as hexadecimal, for messages to people.
    pub fn short(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.as_bytes()[..4])
    }

    /// Strictly verifies `signature` over `message` (already a fixed layout with its own tag).
    pub fn verify(&self, message: &[u8], signature: &SignatureBytes) -> bool {
        self.0
            .verify_strict(message, &DalekSignature::from_bytes(&signature.0))
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// The 64 bytes of an Ed25519 signature, unverified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignatureBytes(pub [u8; 64]);

impl SignatureBytes {
    /// Takes exactly 64 bytes.
    ///
    /// # Errors
    /// [`EnvelopeError::SignatureLength`] for any other length.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| EnvelopeError::SignatureLength(bytes.len()))
    }
}

impl fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SignatureBytes({}..)",
            data_encoding::HEXLOWER.encode(&self.0[..4])
        )
    }
}

/// An Ed25519 signing key: zeroised on drop, never printed.
pub struct Signer(SigningKey);

impl Signer {
    /// From the 32-byte seed as it stands in a key file.
    ///
    /// # Errors
    /// [`EnvelopeError::SeedLength`] for any other length.
    pub fn from_seed(seed: &[u8]) -> Result<Self, EnvelopeError> {
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(
            seed.try_into()
                .map_err(|_| EnvelopeError::SeedLength(seed.len()))?,
        );
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(seed.as_mut());
        Self(SigningKey::from_bytes(&seed))
    }

    /// The seed, for the key file.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs `message`, which must be a fixed layout with its own domain tag.
    pub fn sign_layout(&self, message: &Writer) -> SignatureBytes {
        SignatureBytes(self.0.sign(message.as_bytes()).to_bytes())
    }

    /// Signs the body of a checkpoint note; see [`crate::note`] for why it needs no tag.
    pub(crate) fn sign_note(&self, body: &str) -> SignatureBytes {
        SignatureBytes(self.0.sign(body.as_bytes()).to_bytes())
    }

    /// Signs the payload of a `kind`.
    pub fn sign(&self, kind: Kind, payload: &[u8]) -> Signature {
        self.sign_hash(kind, Hash32::of(payload))
    }

    /// Signs a `kind` whose payload has this SHA-256.
    pub fn sign_hash(&self, kind: Kind, payload_hash: Hash32) -> Signature {
        Signature {
            key: self.public_key(),
            bytes: self.sign_layout(&message(kind, payload_hash)),
        }
    }

    /// An envelope of `payload` with this one signature.
    pub fn seal_envelope(&self, kind: Kind, payload: impl Into<Bytes>) -> Envelope {
        let payload = payload.into();
        let signature = self.sign(kind, &payload);
        Envelope {
            payload,
            signatures: vec![signature],
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, secret)", self.public_key())
    }
}

fn message(kind: Kind, payload_hash: Hash32) -> Writer {
    Writer::new(kind.tag()).fixed(&payload_hash.0)
}

/// A signature and the key that claims it; unverified until checked against an envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature {
    /// Whose.
    pub key: PublicKey,
    /// The 64 bytes.
    pub bytes: SignatureBytes,
}

impl Signature {
    /// From the wire.
    ///
    /// # Errors
    /// A bad key or a wrong length.
    pub fn from_wire(wire: &wire::Signature) -> Result<Self, EnvelopeError> {
        Ok(Self {
            key: PublicKey::from_slice(&wire.public_key)?,
            bytes: SignatureBytes::from_slice(&wire.signature)?,
        })
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::Signature {
        wire::Signature {
            public_key: self.key.as_bytes().to_vec(),
            signature: self.bytes.0.to_vec(),
        }
    }

    /// Whether this signs the `kind` whose payload has this SHA-256.
    pub fn verifies(&self, kind: Kind, payload_hash: Hash32) -> bool {
        self.key
            .verify(message(kind, payload_hash).as_bytes(), &self.bytes)
    }
}

/// A payload with signatures of well-formed keys; nothing is verified before [`Envelope::verify`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    payload: Bytes,
    signatures: Vec<Signature>,
}

impl Envelope {
    /// An envelope without signatures yet.
    pub fn unsigned(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            signatures: Vec::new(),
        }
    }

    /// From the wire.
    ///
    /// # Errors
    /// Too many signatures, a bad key, a wrong length.
    pub fn from_wire(wire: wire::Envelope) -> Result<Self, EnvelopeError> {
        if wire.signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::TooManySignatures(wire.signatures.len()));
        }
        let signatures = wire
            .signatures
            .iter()
            .map(Signature::from_wire)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            payload: wire.payload,
            signatures,
        })
    }

    /// From an encoded envelope (a file), which must be canonical.
    ///
    /// # Errors
    /// As [`Envelope::from_wire`], and [`EnvelopeError::Decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Self::decode_within(bytes, MAX_ENVELOPE_BYTES)
    }

    /// Like [`Envelope::decode`] with another limit in bytes.
    ///
    /// # Errors
    /// As [`Envelope::decode`].
    pub fn decode_within(bytes: &[u8], limit: usize) -> Result<Self, EnvelopeError> {
        Self::from_wire(decode_of("envelope", bytes, limit, MAX_FIELDS)?)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::Envelope {
        wire::Envelope {
            payload: self.payload.clone(),
            signatures: self.signatures.iter().map(Signature::to_wire).collect(),
        }
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }

    /// The signed bytes.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// SHA-256 of the payload: the object's name wherever another object refers to it.
    pub fn hash(&self) -> Hash32 {
        Hash32::of(&self.payload)
    }

    /// The signatures, as they came.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature, in the place of an earlier one of the same key.
    pub fn add_signature(&mut self, signature: Signature) {
        self.signatures.retain(|s| s.key != signature.key);
        self.signatures.push(signature);
    }

    /// Verifies every signature: each must be of one of `keys` (no key twice) and valid as a `kind`. Returns, in the order of
    /// `keys`, which of them have signed.
    ///
    /// # Errors
    /// The first signature that is unknown, repeated or invalid.
    pub fn verify(&self, kind: Kind, keys: &[PublicKey]) -> Result<Vec<bool>, EnvelopeError> {
        let hash = self.hash();
        let mut signed = vec![false; keys.len()];
        for signature in &self.signatures {
            let key = signature.key;
            let slot = keys
                .iter()
                .position(|k| *k == key)
                .ok_or(EnvelopeError::UnknownSigner { kind, key })?;
            if std::mem::replace(&mut signed[slot], true) {
                return Err(EnvelopeError::DuplicateSigner { kind, key });
            }
            if !signature.verifies(kind, hash) {
                return Err(EnvelopeError::BadSignature { kind, key });
            }
        }
        Ok(signed)
    }

    /// Verifies that exactly `keys` have signed, each once.
    ///
    /// # Errors
    /// As [`Envelope::verify`], and [`EnvelopeError::MissingSigner`].
    pub fn verify_all(&self, kind: Kind, keys: &[PublicKey]) -> Result<(), EnvelopeError> {
        let signed = self.verify(kind, keys)?;
        match keys.iter().zip(&signed).find(|(_, signed)| !**signed) {
            Some((key, _)) => Err(EnvelopeError::MissingSigner { kind, key: *key }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    fn signers() -> [Signer; 3] {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        std::array::from_fn(|_| Signer::generate(&mut rng))
    }

    #[test]
    fn a_signature_counts_for_its_kind_key_and_payload_only() {
        let [a, b, c] = signers();
        let keys = [a.public_key(), b.public_key()];
        let mut envelope = a.seal_envelope(Kind::List, &b"payload"[..]);
        assert_eq!(envelope.verify(Kind::List, &keys), Ok(vec![true, false]));
        let (kind, key) = (Kind::Seal, a.public_key());
        assert_eq!(
            envelope.verify(kind, &keys),
            Err(EnvelopeError::BadSignature { kind, key })
        );
        let (kind, key) = (Kind::List, b.public_key());
        assert_eq!(
            envelope.verify_all(kind, &keys),
            Err(EnvelopeError::MissingSigner { kind, key })
        );
        envelope.add_signature(b.sign(Kind::List, b"payload"));
        assert_eq!(envelope.verify_all(Kind::List, &keys), Ok(()));
        envelope.add_signature(b.sign(Kind::List, b"payload"));
        assert_eq!(envelope.signatures().len(), 2);
        let key = c.public_key();
        envelope.add_signature(c.sign(Kind::List, b"payload"));
        assert_eq!(
            envelope.verify(Kind::List, &keys),
            Err(EnvelopeError::UnknownSigner { kind, key })
        );
    }

    #[test]
    fn a_signer_cannot_count_twice() {
        let [a, ..] = signers();
        let mut wire = a.seal_envelope(Kind::Seal, &b"x"[..]).to_wire();
        wire.signatures.push(wire.signatures[0].clone());
        let envelope = Envelope::from_wire(wire).expect("well formed");
        let (kind, key) = (Kind::Seal, a.public_key());
        assert_eq!(
            envelope.verify(kind, &[key]),
            Err(EnvelopeError::DuplicateSigner { kind, key })
        );
    }

    #[test]
    fn every_changed_bit_is_refused() {
        let [a, ..] = signers();
        let bytes = a.seal_envelope(Kind::Result, &b"some payload"[..]).encode();
        let check = |bytes: &[u8]| {
            Envelope::decode(bytes).and_then(|e| e.verify_all(Kind::Result, &[a.public_key()]))
        };
        assert_eq!(check(&bytes), Ok(()));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn weak_and_short_keys_are_refused() {
        assert_eq!(PublicKey::from_slice(&[0; 32]), Err(EnvelopeError::BadKey)); // order 4
        assert_eq!(PublicKey::from_slice(&[1; 31]), Err(EnvelopeError::BadKey));
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::from_slice(&identity), Err(EnvelopeError::BadKey));
        assert!(matches!(
            Signer::from_seed(&[0; 31]),
            Err(EnvelopeError::SeedLength(31))
        ));
    }

    #[test]
    fn too_many_signatures_are_refused() {
        let [a, ..] = signers();
        let mut wire = a.seal_envelope(Kind::Seal, &b"x"[..]).to_wire();
        wire.signatures = vec![wire.signatures[0].clone(); 5];
        assert_eq!(
            Envelope::from_wire(wire),
            Err(EnvelopeError::TooManySignatures(5))
        );
    }

    #[test]
    fn a_signer_never_prints_its_seed() {
        let signer = Signer::from_seed(&[0x5a; 32]).expect("seed");
        assert!(!format!("{signer:?}").contains("5a5a5a"));
        assert_eq!(*signer.seed(), [0x5a; 32]);
    }
}
