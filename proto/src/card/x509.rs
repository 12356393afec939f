//! X.509 read strictly: what of a certificate or list is needed here, as values of our own, and signatures by allowed algorithms only.
//!
//! Not a general verifier: whatever a hierarchy of identity cards does not need is refused, so that nothing is passed over that somebody meant
//! to be critical. SHA-1, RSA below 2048 bits and curves other than P-256 and P-384 are refused as weak or unknown.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::{CardError, ObjectId};
use crate::ids::UnixSeconds;

/// sha256WithRSAEncryption and its neighbours; ecdsa-with-SHA256 and -SHA384.
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0, 34];

/// Extensions that are understood here, so that they may be critical: basicConstraints, keyUsage, extKeyUsage, certificatePolicies,
/// subjectAltName; content octets of their OIDs.
const UNDERSTOOD: [&[u8]; 5] = [
    &[0x55, 29, 19],
    &[0x55, 29, 15],
    &[0x55, 29, 37],
    &[0x55, 29, 32],
    &[0x55, 29, 17],
];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 29, 37];
/// keyCertSign and cRLSign among the bits of RFC 5280.
pub(super) const CERT_SIGN: u16 = 1 << 5;
pub(super) const CRL_SIGN: u16 = 1 << 6;

/// A public key of an allowed kind, as `ring` takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// Modulus and exponent, DER; at least 2048 bits.
    Rsa(Vec<u8>),
    /// A point.
    P256(Vec<u8>),
    /// A point.
    P384(Vec<u8>),
}

/// Why a key cannot be used.
pub(super) enum BadKey {
    /// Too short.
    Weak,
    /// Of another kind, or malformed.
    Unknown,
}

impl Key {
    fn read(spki: &SubjectPublicKeyInfo<'_>) -> Result<Self, BadKey> {
        let data = spki.subject_public_key.data.to_vec();
        match spki.parsed().map_err(|_| BadKey::Unknown)? {
            PublicKey::RSA(rsa) if rsa.key_size() < 2048 => Err(BadKey::Weak),
            // What ring takes; larger ones cost a verifier more than they bring.
            PublicKey::RSA(rsa) if rsa.key_size() > 8192 => Err(BadKey::Unknown),
            PublicKey::RSA(_) => Ok(Self::Rsa(data)),
            PublicKey::EC(_) => {
                let curve = spki
                    .algorithm
                    .parameters
                    .as_ref()
                    .and_then(|any| any.as_oid().ok());
                match curve.as_ref().map(|oid| oid.as_bytes()) {
                    Some(P256) => Ok(Self::P256(data)),
                    Some(P384) => Ok(Self::P384(data)),
                    _ => Err(BadKey::Unknown),
                }
            }
            _ => Err(BadKey::Unknown),
        }
    }

    /// Whether `signature` over `message` is this key's, by this algorithm of `ring`.
    pub(super) fn verifies(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let (Self::Rsa(bytes) | Self::P256(bytes) | Self::P384(bytes)) = self;
        UnparsedPublicKey::new(algorithm, bytes)
            .verify(message, signature)
            .is_ok()
    }

    /// The algorithm of `ring` that X.509 calls so, for this key.
    fn algorithm(&self, named: &AlgorithmIdentifier<'_>) -> Option<&'static dyn VerificationAlgorithm> {
        Some(match (self, named.algorithm.as_bytes()) {
            (Self::Rsa(_), RSA_SHA256) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Self::Rsa(_), RSA_SHA384) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Self::Rsa(_), RSA_SHA512) => &signature::RSA_PKCS1_2048_8192_SHA512,
            (Self::P256(_), ECDSA_SHA256) => &signature::ECDSA_P256_SHA256_ASN1,
            (Self::P256(_), ECDSA_SHA384) => &signature::ECDSA_P256_SHA384_ASN1,
            (Self::P384(_), ECDSA_SHA256) => &signature::ECDSA_P384_SHA256_ASN1,
            (Self::P384(_), ECDSA_SHA384) => &signature::ECDSA_P384_SHA384_ASN1,
            _ => return None,
        })
    }
}

/// What is signed, by which algorithm, and the signature.
pub(super) struct Signed<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) algorithm: &'a AlgorithmIdentifier<'a>,
    pub(super) signature: &'a [u8],
}

impl Signed<'_> {
    /// Whether it is signed by `key`, with an allowed algorithm.
    pub(super) fn is_by(&self, key: &Key) -> bool {
        key.algorithm(self.algorithm)
            .is_some_and(|algorithm| key.verifies(algorithm, self.bytes, self.signature))
    }
}

/// A certificate of which nothing critical is passed over.
pub(super) struct Certificate<'a> {
    read: X509Certificate<'a>,
    pub(super) key: Result<Key, BadKey>,
    /// Whether basicConstraints say that it is an authority, and how many authorities may stand between it and the end.
    pub(super) authority: Option<Option<u32>>,
    /// Bits of RFC 5280; none where the extension is absent.
    pub(super) key_usage: u16,
    pub(super) extended: Vec<ObjectId>,
    pub(super) policies: Vec<ObjectId>,
}

impl<'a> Certificate<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// [`CardError::Malformed`].
    pub(super) fn read(der: &'a [u8]) -> Result<Self, CardError> {
        let no = CardError::Malformed;
        let (rest, read) = X509Certificate::from_der(der).map_err(|_| no("a certificate is not X.509"))?;
        if !rest.is_empty() {
            return Err(no("bytes follow a certificate"));
        }
        if read.version.0 != 2 {
            return Err(no("a certificate is not of version 3"));
        }
        if read.signature != read.signature_algorithm {
            return Err(no("a certificate names two signature algorithms"));
        }
        let extensions = read
            .extensions_map()
            .map_err(|_| no("a certificate has an extension twice"))?;
        let (mut authority, mut key_usage) = (None, 0);
        let (mut extended, mut policies) = (Vec::new(), Vec::new());
        for (id, extension) in &extensions {
            if extension.critical && !UNDERSTOOD.contains(&id.as_bytes()) {
                return Err(no(
                    "a certificate has a critical extension that is not known here",
                ));
            }
            match extension.parsed_extension() {
                ParsedExtension::ParseError { .. } => return Err(no("an extension cannot be read")),
                ParsedExtension::BasicConstraints(basic) => {
                    authority = basic.ca.then_some(basic.path_len_constraint);
                }
                ParsedExtension::KeyUsage(usage) => key_usage = usage.flags,
                ParsedExtension::CertificatePolicies(all) => {
                    for policy in all.iter() {
                        policies.push(object_id(policy.policy_id.as_bytes())?);
                    }
                }
                _ if id.as_bytes() == EXTENDED_KEY_USAGE => {
                    extended = object_ids(extension.value).ok_or(no("extended key usage cannot be read"))?;
                }
                _ => {}
            }
        }
        Ok(Self {
            key: Key::read(read.public_key()),
            authority,
            key_usage,
            extended,
            policies,
            read,
        })
    }

    /// Whether it names `above` as its issuer and is signed by its key.
    pub(super) fn is_issued_by(&self, above: &Certificate<'_>) -> bool {
        let Ok(key) = &above.key else { return false };
        let signed = Signed {
            bytes: self.read.tbs_certificate.as_ref(),
            algorithm: &self.read.signature_algorithm,
            signature: &self.read.signature_value.data,
        };
        self.read.issuer().as_raw() == above.read.subject().as_raw() && signed.is_by(key)
    }

    /// Whether it is the very certificate.
    pub(super) fn same_as(&self, other: &Certificate<'_>) -> bool {
        self.read.as_raw() == other.read.as_raw()
    }

    /// Its subject's name, DER.
    pub(super) fn subject(&self) -> &[u8] {
        self.read.subject().as_raw()
    }

    /// Its subject's name, as people read it.
    pub(super) fn named(&self) -> String {
        self.read.subject().to_string()
    }

    /// Its own serial number.
    pub(super) fn serial(&self) -> &[u8] {
        self.read.raw_serial()
    }

    /// First and last second of its validity.
    pub(super) fn validity(&self) -> (UnixSeconds, UnixSeconds) {
        let seconds = |at: i64| UnixSeconds(u64::try_from(at).unwrap_or(0));
        let validity = self.read.validity();
        (
            seconds(validity.not_before.timestamp()),
            seconds(validity.not_after.timestamp()),
        )
    }

    /// The one value of that attribute of the subject; `None` where it has none or several.
    pub(super) fn attribute(&self, id: &ObjectId) -> Option<String> {
        let mut values = self
            .read
            .subject()
            .iter_attributes()
            .filter(|attribute| attribute.attr_type().as_bytes() == id.octets());
        let value = values.next()?.as_str().ok()?.to_owned();
        values.next().is_none().then_some(value)
    }

    fn names(&self) -> Vec<&GeneralName<'a>> {
        match self.read.subject_alternative_name() {
            Ok(Some(names)) => names.value.general_names.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The one otherName of that type: a string as it is, else the hexadecimal of its DER.
    pub(super) fn other_name(&self, id: &ObjectId) -> Option<String> {
        let names = self.names();
        let mut values = names.iter().filter_map(|name| match name {
            GeneralName::OtherName(kind, value) if kind.as_bytes() == id.octets() => Some(*value),
            _ => None,
        });
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        let (tag, inner, rest) = tlv(value)?;
        if tag != 0xa0 || !rest.is_empty() {
            return None;
        }
        let (tag, content, rest) = tlv(inner)?;
        if !rest.is_empty() {
            return None;
        }
        // UTF8String, PrintableString, IA5String.
        if [0x0c, 0x13, 0x16].contains(&tag) {
            return std::str::from_utf8(content).ok().map(str::to_owned);
        }
        Some(data_encoding::HEXLOWER.encode(inner))
    }

    /// The one URI among its names that begins so.
    pub(super) fn uri(&self, begins: &str) -> Option<String> {
        let names = self.names();
        let mut values = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with(begins) => Some((*uri).to_owned()),
            _ => None,
        });
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }
}

fn object_id(octets: &[u8]) -> Result<ObjectId, CardError> {
    ObjectId::from_octets(octets).map_err(|_| CardError::Malformed("an object identifier cannot be read"))
}

/// The first element of a DER encoding: tag, content, what follows. One-byte tags.
fn tlv(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// A DER SEQUENCE OF OBJECT IDENTIFIER.
fn object_ids(der: &[u8]) -> Option<Vec<ObjectId>> {
    let (0x30, mut content, []) = tlv(der)? else {
        return None;
    };
    let mut all = Vec::new();
    while !content.is_empty() {
        let (0x06, octets, rest) = tlv(content)? else {
            return None;
        };
        all.push(ObjectId::from_octets(octets).ok()?);
        content = rest;
    }
    Some(all)
}
