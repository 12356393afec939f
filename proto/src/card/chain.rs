//! Whether a card's authorisation holds: chain, purpose, time, signature, and who the certificate says the voter is.
//!
//! The voter's certificate must be issued by one of the register's issuing CAs, and that CA must lead to one of its roots, directly or over
//! other authorities of the register. Every certificate of the chain must be valid both when the card signed and now. Nothing that a voter
//! brings is part of a chain. The CAs themselves are pinned: their own revocation is the commission's business, who would define the register
//! anew; [`check_authorities`] says at the definition what would refuse every voter later.

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
};

use super::algorithm::{BadKey, Key};
use super::x509::{CERT_SIGN, CRL_SIGN, Certificate, PointName};
use super::{AuthorityError, CardAuthorisation, CardError, Scheme, signed_bytes};
use crate::ids::UnixSeconds;
use crate::manifest::{PersonField, Purpose, Register};
use crate::record::RecordHeader;

/// What cards sign with.
const CARD_KEYS: &str = "keys are RSA of 2048 to 8192 bits, P-256 or P-384";
/// Most authorities between the voter's certificate and a root.
const MAX_DEPTH: usize = 4;

/// Whose card authorised a record. Everything is checked but revocation and roll.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// What the certificate calls the person.
    pub said: String,
    /// The certificate's serial number, content octets.
    pub serial: Vec<u8>,
    /// The issuing CA's name, DER: whose revocation list counts.
    pub issuer: Vec<u8>,
    /// Where the certificate says that lists may name it.
    pub(super) points: Vec<PointName>,
}

/// Checks what `authorisation` says of the record of `header`, whose register is `register`; `times`: when the chain must be valid.
///
/// # Errors
/// [`CardError`], each cause its own.
pub fn check(
    register: &Register,
    header: &RecordHeader,
    authorisation: &CardAuthorisation,
    times: &[UnixSeconds],
) -> Result<Holder, CardError> {
    let states = header
        .card()
        .is_some_and(|card| card.holder == authorisation.holder());
    if !states {
        return Err(CardError::Malformed(
            "the record was made for another certificate",
        ));
    }
    let holder = certificate(register, authorisation.certificate(), times)?;
    let bytes = signed_bytes(register.id(), &header.signed_digest());
    let (scheme, signature) = (authorisation.scheme(), authorisation.signature());
    signed_by(authorisation.certificate(), scheme, &bytes, signature)?;
    Ok(holder)
}

/// Whether the key of `certificate` signed `bytes`.
pub(super) fn signed_by(
    certificate: &[u8],
    scheme: Scheme,
    bytes: &[u8],
    signature: &[u8],
) -> Result<(), CardError> {
    let leaf = Certificate::read(certificate)?;
    let key = key_of(&leaf)?;
    let holds = match (key, scheme) {
        (Key::Rsa(_), Scheme::RsaPkcs1Sha256) => key.verifies(&RSA_PKCS1_2048_8192_SHA256, bytes, signature),
        (Key::Rsa(_), Scheme::RsaPssSha256) => key.verifies(&RSA_PSS_2048_8192_SHA256, bytes, signature),
        (Key::P256(_), Scheme::EcdsaP256Sha256) => key.verifies(&ECDSA_P256_SHA256_FIXED, bytes, signature),
        (Key::P384(_), Scheme::EcdsaP384Sha384) => key.verifies(&ECDSA_P384_SHA384_FIXED, bytes, signature),
        _ => false,
    };
    if holds { Ok(()) } else { Err(CardError::Signature) }
}

/// Checks a certificate by itself, as a device does before it asks for a PIN.
///
/// # Errors
/// As [`check`], but for the signature.
pub fn certificate(
    register: &Register,
    certificate: &[u8],
    times: &[UnixSeconds],
) -> Result<Holder, CardError> {
    let leaf = Certificate::read(certificate)?;
    let issuers = authorities(register.issuers())?;
    let roots = authorities(register.roots())?;
    let others: Vec<&Certificate<'_>> = issuers.iter().chain(&roots).collect();
    let above = issuers
        .iter()
        .filter(|issuer| leaf.is_issued_by(issuer))
        .find(|issuer| is_trusted(issuer, 0, &roots, &others, times));
    let Some(above) = above else {
        // A chain that once held says that the certificate is of the right kind, but old.
        let named = issuers.iter().any(|issuer| leaf.is_issued_by(issuer));
        return Err(if named {
            CardError::IssuerNotValid
        } else {
            CardError::OtherIssuer
        });
    };
    key_of(&leaf)?;
    if leaf.authority.is_some() {
        return Err(CardError::Purpose("it is the certificate of an authority"));
    }
    purpose(&leaf, register.purpose())?;
    for at in times {
        let (from, until) = leaf.validity();
        if *at < from {
            return Err(CardError::NotYetValid { from });
        }
        if *at > until {
            return Err(CardError::Expired { until });
        }
    }
    Ok(Holder {
        said: person(&leaf, register.person())?,
        serial: leaf.serial().to_vec(),
        issuer: above.subject().to_vec(),
        points: leaf.points,
    })
}

/// What the certificate of an authorisation calls its holder, of one that was checked before: nothing is checked here.
///
/// # Errors
/// [`CardError::Malformed`], [`CardError::NamesNobody`].
pub fn named(register: &Register, authorisation: &CardAuthorisation) -> Result<String, CardError> {
    let leaf = Certificate::read(authorisation.certificate())?;
    person(&leaf, register.person())
}

/// How the key of a certificate signs.
///
/// # Errors
/// [`CardError::Malformed`], [`CardError::WeakKey`].
pub fn scheme_of(certificate: &[u8]) -> Result<Scheme, CardError> {
    Ok(match key_of(&Certificate::read(certificate)?)? {
        Key::Rsa(_) => Scheme::RsaPkcs1Sha256,
        Key::P256(_) => Scheme::EcdsaP256Sha256,
        Key::P384(_) => Scheme::EcdsaP384Sha384,
        Key::RsaPss(..) | Key::P521(_) => return Err(CardError::WeakKey(CARD_KEYS)),
    })
}

/// Whether a certificate is one of an authority.
pub fn is_authority(certificate: &[u8]) -> bool {
    Certificate::read(certificate).is_ok_and(|read| read.authority.is_some())
}

fn key_of<'c>(leaf: &'c Certificate<'_>) -> Result<&'c Key, CardError> {
    match &leaf.key {
        Ok(key @ (Key::Rsa(_) | Key::P256(_) | Key::P384(_))) => Ok(key),
        Err(BadKey::Weak) => Err(CardError::WeakKey("RSA keys have at least 2048 bits")),
        Ok(Key::RsaPss(..) | Key::P521(_)) | Err(BadKey::Unknown) => Err(CardError::WeakKey(CARD_KEYS)),
    }
}

/// Checks that each of `roots` and `issuers` can be used at all, and that every issuer leads to a root at one of `times` at least: else no card
/// of theirs could ever enrol, and the first voter would be told that another card is in the reader.
///
/// # Errors
/// Which of all, roots first and counted from 0, and [`AuthorityError`].
pub fn check_authorities(
    roots: &[Vec<u8>],
    issuers: &[Vec<u8>],
    times: &[UnixSeconds],
) -> Result<(), (usize, AuthorityError)> {
    let mut read = Vec::new();
    for (at, der) in roots.iter().chain(issuers).enumerate() {
        let authority = usable(der).map_err(|error| (at, error))?;
        // No list of a root is asked for.
        if at >= roots.len() && authority.key_usage & CRL_SIGN == 0 {
            return Err((at, AuthorityError::NoListSign));
        }
        read.push(authority);
    }
    let (roots, issuers) = read.split_at(roots.len());
    let others: Vec<&Certificate<'_>> = issuers.iter().chain(roots).collect();
    let holds = |authority: &Certificate<'_>| {
        times
            .iter()
            .any(|time| is_trusted(authority, 0, roots, &others, std::slice::from_ref(time)))
    };
    let mut below_another = None;
    for (at, issuer) in (roots.len()..).zip(issuers) {
        let no = |error| Err((at, error));
        if holds(issuer) {
            continue;
        }
        let is_root = roots.iter().any(|root| root.same_as(issuer));
        let above = others.iter().filter(|above| issuer.names_as_issuer(above));
        let above: Vec<_> = above.filter(|above| !above.same_as(issuer)).collect();
        let issued_by = above.iter().find(|above| issuer.is_issued_by(above));
        if issued_by.is_some_and(|above| !holds(above)) {
            // The one above is at fault, and has its turn.
            below_another.get_or_insert((at, AuthorityError::NotAtThatTime));
            continue;
        }
        if is_root || issued_by.is_some() {
            return no(AuthorityError::NotAtThatTime);
        }
        match issuer.signed_with() {
            Err(called) => return no(AuthorityError::Signature(called)),
            Ok(algorithm) if !above.is_empty() => {
                let checked = |key: &Key| key.can_be_checked(algorithm);
                let unchecked = above.iter().find(|above| !above.key.as_ref().is_ok_and(checked));
                return no(match unchecked {
                    Some(above) => AuthorityError::Signature(format!(
                        "{} by a key of the kind {}",
                        algorithm.named(),
                        above.key_named()
                    )),
                    None => AuthorityError::NotSigned,
                });
            }
            Ok(_) => return no(AuthorityError::NoRoot(issuer.issuer_named())),
        }
    }
    below_another.map_or(Ok(()), Err)
}

fn usable(der: &[u8]) -> Result<Certificate<'_>, AuthorityError> {
    let read = Certificate::read(der).map_err(|error| match error {
        CardError::Malformed(why) => AuthorityError::Unreadable(why),
        _ => AuthorityError::Unreadable("it is not a certificate of the form that is read here"),
    })?;
    if read.authority.is_none() {
        return Err(AuthorityError::NoAuthority);
    }
    if read.key_usage & CERT_SIGN == 0 {
        return Err(AuthorityError::NoCertSign);
    }
    match read.key {
        Ok(_) => Ok(read),
        Err(_) => Err(AuthorityError::Key(read.key_named())),
    }
}

fn authorities(all: &[Vec<u8>]) -> Result<Vec<Certificate<'_>>, CardError> {
    all.iter().map(|der| Certificate::read(der)).collect()
}

/// Whether `authority` may issue with `below` authorities under it, and leads to a root.
fn is_trusted(
    authority: &Certificate<'_>,
    below: usize,
    roots: &[Certificate<'_>],
    others: &[&Certificate<'_>],
    times: &[UnixSeconds],
) -> bool {
    let (from, until) = authority.validity();
    let may = authority
        .authority
        .is_some_and(|path| path.is_none_or(|most| below as u64 <= u64::from(most)))
        && authority.key_usage & CERT_SIGN != 0
        && times.iter().all(|at| from <= *at && *at <= until);
    if !may || below > MAX_DEPTH {
        return false;
    }
    let is_root = |root: &Certificate<'_>| root.same_as(authority);
    roots.iter().any(is_root)
        || others
            .iter()
            .filter(|above| !above.same_as(authority) && authority.is_issued_by(above))
            .any(|above| is_trusted(above, below + 1, roots, others, times))
}

fn purpose(leaf: &Certificate<'_>, purpose: &Purpose) -> Result<(), CardError> {
    if leaf.key_usage & purpose.key_usage != purpose.key_usage {
        return Err(CardError::Purpose("its key usage is another"));
    }
    if !purpose.extended.iter().all(|id| leaf.extended.contains(id)) {
        return Err(CardError::Purpose("its extended key usage is another"));
    }
    let policies = &purpose.policies;
    if !policies.is_empty() && !policies.iter().any(|id| leaf.policies.contains(id)) {
        return Err(CardError::Purpose("it was issued under another policy"));
    }
    Ok(())
}

fn person(leaf: &Certificate<'_>, field: &PersonField) -> Result<String, CardError> {
    let said = match field {
        PersonField::Subject { attribute, prefix } => leaf
            .attribute(attribute)
            .filter(|said| said.starts_with(prefix.as_str())),
        PersonField::OtherName(id) => leaf.other_name(id),
        PersonField::Uri(begins) => leaf.uri(begins),
        PersonField::CertificateSerial => Some(serial_in_hexadecimal(leaf.serial())),
    };
    said.filter(|said| !said.is_empty()).ok_or(CardError::NamesNobody)
}

/// A positive number whose first bit is set has an octet 00 before it in DER, which is no digit of the number: lists of issued certificates do
/// not have it.
fn serial_in_hexadecimal(octets: &[u8]) -> String {
    let number = match octets {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    data_encoding::HEXLOWER.encode(number)
}
