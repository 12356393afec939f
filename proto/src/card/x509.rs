//! X.509 read strictly: what of a certificate or list is needed here, as values of our own, and signatures by allowed algorithms only.
//!
//! Not a general verifier: whatever a hierarchy of identity cards does not need is refused, so that nothing is passed over that somebody meant
//! to be critical. What stands around the signed part has one encoding, so that nobody makes another certificate of one that was issued by writing it
//! otherwise. One with an ECDSA signature (r, s) is as good with (r, n-s) all the same, as everywhere: whoever has to know a certificate again
//! names it by its signed part (tbsCertificate), or by issuer and number, and never by the hash of all of it. SHA-1, RSA below 2048 bits and curves other than P-256, P-384 and P-521 are refused as weak or unknown.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::AlgorithmIdentifier;

use super::algorithm::{Algorithm, BadKey, Key};

use super::{CardError, ObjectId};
use crate::ids::UnixSeconds;
use crate::refusal::steers;

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
/// cRLDistributionPoints.
const DISTRIBUTION_POINTS: &[u8] = &[0x55, 29, 31];
/// keyCertSign and cRLSign among the bits of RFC 5280.
pub(super) const CERT_SIGN: u16 = 1 << 5;
pub(super) const CRL_SIGN: u16 = 1 << 6;

/// What is signed, by which algorithm, and the signature.
pub(super) struct Signed<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) algorithm: &'a AlgorithmIdentifier<'a>,
    pub(super) signature: &'a [u8],
}

impl Signed<'_> {
    /// Whether it is signed by `key`, with an allowed algorithm.
    pub(super) fn is_by(&self, key: &Key) -> bool {
        Algorithm::read(self.algorithm)
            .is_ok_and(|algorithm| key.has_signed(algorithm, self.bytes, self.signature))
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
    /// Where its issuer publishes revocation lists that may name it.
    pub(super) points: Vec<PointName>,
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
        if around(read.tbs_certificate.as_ref(), &read.signature_value.data).as_deref() != Some(der) {
            return Err(no(
                "what stands around the signed part of a certificate is not DER",
            ));
        }
        let extensions = read
            .extensions_map()
            .map_err(|_| no("a certificate has an extension twice"))?;
        let (mut authority, mut key_usage) = (None, 0);
        let (mut extended, mut policies, mut points) = (Vec::new(), Vec::new(), Vec::new());
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
                _ if id.as_bytes() == DISTRIBUTION_POINTS => {
                    points = names_of_points(extension.value).unwrap_or_default();
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
            points,
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
        self.names_as_issuer(above) && signed.is_by(key)
    }

    /// Whether it names `above` as its issuer, whoever signed it.
    pub(super) fn names_as_issuer(&self, above: &Certificate<'_>) -> bool {
        self.read.issuer().as_raw() == above.read.subject().as_raw()
    }

    /// How it is signed.
    ///
    /// # Errors
    /// What the algorithm is called, where it is not one that is checked here.
    pub(super) fn signed_with(&self) -> Result<Algorithm, String> {
        Algorithm::read(&self.read.signature_algorithm)
    }

    /// What kind of key it has, for people.
    pub(super) fn key_named(&self) -> String {
        super::algorithm::key_named(self.read.public_key())
    }

    /// Its issuer's name, as people read it.
    pub(super) fn issuer_named(&self) -> String {
        self.read.issuer().to_string().replace(steers, "\u{fffd}")
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

    /// Its own serial number, content octets.
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

/// The name of a distribution point: a URI, or the DER of a directory name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum PointName {
    Uri(String),
    Directory(Vec<u8>),
}

/// The names in a DistributionPointName, DER; `None` where it is not of full names. Those of other kinds are none that anybody fetches a list by.
fn full_names(der: &[u8]) -> Option<Vec<PointName>> {
    let (0xa0, mut names, []) = tlv(der)? else {
        return None;
    };
    let mut all = Vec::new();
    while !names.is_empty() {
        let (tag, content, rest) = tlv(names)?;
        match tag {
            0x86 => all.push(PointName::Uri(std::str::from_utf8(content).ok()?.to_owned())),
            0xa4 => all.push(PointName::Directory(content.to_vec())),
            _ => {}
        }
        names = rest;
    }
    Some(all)
}

/// The names in a certificate's cRLDistributionPoints. A point for some reasons only, or where somebody else than the issuer signs, is passed
/// over: no list of it would be complete, or direct.
fn names_of_points(der: &[u8]) -> Option<Vec<PointName>> {
    let (0x30, mut points, []) = tlv(der)? else {
        return None;
    };
    let mut all = Vec::new();
    while !points.is_empty() {
        let (0x30, point, rest) = tlv(points)? else {
            return None;
        };
        if let Some((0xa0, names, [])) = tlv(point) {
            all.extend(full_names(names).unwrap_or_default());
        }
        points = rest;
    }
    Some(all)
}

/// Of a list's issuingDistributionPoint the names of the point that alone it covers, if it names one; `None` where the list is not complete and
/// direct for voters' certificates of that point, or cannot be told to be.
pub(super) fn scope_of_list(der: &[u8]) -> Option<Option<Vec<PointName>>> {
    let (0x30, mut fields, []) = tlv(der)? else {
        return None;
    };
    let mut point = None;
    while !fields.is_empty() {
        let (tag, content, rest) = tlv(fields)?;
        match (tag, content) {
            (0xa0, names) if point.is_none() => {
                point = Some(full_names(names).filter(|names| !names.is_empty())?);
            }
            // onlyContainsUserCerts.
            (0x81, _) => {}
            // FALSE, spelt out: onlyContainsCACerts, indirectCRL, onlyContainsAttributeCerts.
            (0x82 | 0x84 | 0x85, [0]) => {}
            _ => return None,
        }
        fields = rest;
    }
    Some(point)
}

fn object_id(octets: &[u8]) -> Result<ObjectId, CardError> {
    ObjectId::from_octets(octets).map_err(|_| CardError::Malformed("an object identifier cannot be read"))
}

/// The one encoding of a certificate with this signed part and signature: the algorithm stands in both places alike, octet by octet.
fn around(signed: &[u8], signature: &[u8]) -> Option<Vec<u8>> {
    let (0x30, fields, []) = tlv(signed)? else {
        return None;
    };
    let (0xa0, _, after_version) = tlv(fields)? else {
        return None;
    };
    let (0x02, _, after_number) = tlv(after_version)? else {
        return None;
    };
    let (0x30, _, rest) = tlv(after_number)? else {
        return None;
    };
    let algorithm = after_number.get(..after_number.len().checked_sub(rest.len())?)?;
    let signature = element(0x03, &[&[0], signature].concat())?;
    element(0x30, &[signed, algorithm, &signature].concat())
}

/// An element with the shortest length; `None` over 64 KiB.
fn element(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let [high, low] = u16::try_from(content.len()).ok()?.to_be_bytes();
    let head: &[u8] = match (high, low) {
        (0, 0..=0x7f) => &[tag, low],
        (0, _) => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    Some([head, content].concat())
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
