//! Enrolment by card: whose certificates count, which of their fields names the voter, and until when.

use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{ManifestError, count};
use crate::card::{AuthorityError, MAX_CERTIFICATE_BYTES, ObjectId, check_authorities, subject};
use crate::ids::{Hash32, RegisterId, UnixSeconds};
use crate::wire;

/// Most roots.
pub const MAX_ROOTS: usize = 8;
/// Most issuing CAs.
pub const MAX_ISSUERS: usize = 32;
/// Most OIDs of a list.
const MAX_OIDS: usize = 16;
/// Longest prefix in bytes.
const MAX_PREFIX_BYTES: usize = 100;
/// Bits of RFC 5280's key usage.
const KEY_USAGE_BITS: u32 = 0x1ff;

/// Why a register was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Revocation lists tell issuers apart by name only.
    #[error(
        "issuing CAs {first} and {number} have one name and different certificates: a revocation list of one would answer for the other's cards"
    )]
    OneName {
        /// From 1.
        first: usize,
        /// From 1.
        number: usize,
    },
    /// Not a CA's certificate.
    #[error(
        "{what} {number} is not the certificate of a certification authority, DER, of at most {MAX_CERTIFICATE_BYTES} bytes"
    )]
    Certificate {
        /// Root or issuer.
        what: &'static str,
        /// From 1.
        number: usize,
    },
    /// No card below it could enrol.
    #[error("{what} {number} ({named}) {source}")]
    Authority {
        /// Root or issuer.
        what: &'static str,
        /// From 1.
        number: usize,
        /// Its subject.
        named: String,
        /// Why.
        source: AuthorityError,
    },
    /// The same one twice.
    #[error("{what} {number} stands twice")]
    Twice {
        /// Root or issuer.
        what: &'static str,
        /// From 1.
        number: usize,
    },
    /// No field that names the voter.
    #[error("the register does not say which field of a certificate names the voter")]
    NoPerson,
    /// Not an object identifier.
    #[error("{0}: not an object identifier")]
    ObjectId(&'static str),
    /// A prefix that is too long or has control characters.
    #[error("what a field must begin with has at most {MAX_PREFIX_BYTES} bytes and no control characters")]
    Prefix,
    /// A certificate's own number is unique for one issuer only.
    #[error(
        "where the certificate's own number names the voter there is one issuing CA, this register has {0}"
    )]
    SerialIssuers(usize),
    /// No purpose.
    #[error(
        "the register does not say what certificates must be for: key usage (bits below {KEY_USAGE_BITS:#x}, at least one)"
    )]
    Purpose,
    /// Closes before it opens.
    #[error("enrolment closes at {closes}, before it opens at {opens}")]
    Window {
        /// First second.
        opens: UnixSeconds,
        /// Last second.
        closes: UnixSeconds,
    },
    /// Serials are the second of signing.
    #[error("enrolment closes at {0}: not a time that this version knows")]
    Late(UnixSeconds),
    /// No hash of the salt.
    #[error("the hash of the roll's salt has 32 bytes")]
    Salt,
}

/// Which field of a certificate names the voter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PersonField {
    /// The one attribute of that type in the subject, as Estonia's serialNumber `PNOEE-38001085718` (ETSI EN 319 412-1).
    Subject {
        /// Its type.
        attribute: ObjectId,
        /// What the value must begin with; the whole value is the person's code.
        prefix: String,
    },
    /// The one otherName of that type among the subject's alternative names: a string as it is, anything else as the hexadecimal of its
    /// DER, as Korea's identification data or the FASC-N of American cards.
    OtherName(ObjectId),
    /// The one URI among them that begins so.
    Uri(String),
    /// The certificate's own serial number in hexadecimal, for hierarchies as Japan's whose authentication certificates name nobody.
    CertificateSerial,
}

impl PersonField {
    /// For people who are to agree to it.
    pub fn in_words(&self) -> String {
        match self {
            Self::Subject { attribute, prefix } if prefix.is_empty() => {
                format!("the subject's attribute {attribute}")
            }
            Self::Subject { attribute, prefix } => {
                format!("the subject's attribute {attribute}, which must begin with {prefix:?}")
            }
            Self::OtherName(id) => format!("the subject's other name of type {id}"),
            Self::Uri(begins) => format!("the subject's URI that begins with {begins:?}"),
            Self::CertificateSerial => "the certificate's own serial number".to_owned(),
        }
    }
}

/// What a certificate must be for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Purpose {
    /// Bits of RFC 5280 that must be set, digitalSignature being the lowest.
    pub key_usage: u16,
    /// Each of these must be among the extended key usages.
    pub extended: Vec<ObjectId>,
    /// One of these must be among the certificate policies; any, where there is none.
    pub policies: Vec<ObjectId>,
}

impl Purpose {
    /// For people who are to agree to it.
    pub fn in_words(&self) -> String {
        let listed = |ids: &[ObjectId]| {
            let all: Vec<String> = ids.iter().map(ToString::to_string).collect();
            if all.is_empty() {
                "any".to_owned()
            } else {
                all.join(", ")
            }
        };
        format!(
            "key usage {:#06x} (the lowest bit is digitalSignature), all of the extended usages {}, one of the policies {}",
            self.key_usage,
            listed(&self.extended),
            listed(&self.policies)
        )
    }
}

/// A register of enrolment by card.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Register {
    id: RegisterId,
    roots: Vec<Vec<u8>>,
    issuers: Vec<Vec<u8>>,
    person: PersonField,
    purpose: Purpose,
    opens: UnixSeconds,
    closes: UnixSeconds,
    salt_hash: Hash32,
}

fn authorities(what: &'static str, all: &[Vec<u8>]) -> Result<(), RegisterError> {
    for (at, der) in all.iter().enumerate() {
        let number = at + 1;
        let is_ca = der.len() <= MAX_CERTIFICATE_BYTES
            && X509Certificate::from_der(der).is_ok_and(|(rest, read)| rest.is_empty() && read.is_ca());
        if !is_ca {
            return Err(RegisterError::Certificate { what, number });
        }
        if all.iter().take(at).any(|earlier| earlier == der) {
            return Err(RegisterError::Twice { what, number });
        }
    }
    Ok(())
}

/// Every card would be refused later, and for a wrong cause, if one of them could not be used.
fn usable(roots: &[Vec<u8>], issuers: &[Vec<u8>], times: &[UnixSeconds]) -> Result<(), RegisterError> {
    check_authorities(roots, issuers, times).map_err(|(at, source)| {
        let (what, number) = match at.checked_sub(roots.len()) {
            None => ("root", at + 1),
            Some(at) => ("issuing CA", at + 1),
        };
        let der = roots.iter().chain(issuers).nth(at);
        let named = subject(der.map_or(&[], Vec::as_slice));
        RegisterError::Authority {
            what,
            number,
            named,
            source,
        }
    })
}

fn names_differ(issuers: &[Vec<u8>]) -> Result<(), RegisterError> {
    let names: Vec<_> = issuers
        .iter()
        .map(|der| {
            X509Certificate::from_der(der)
                .map(|(_, read)| read.subject().as_raw().to_vec())
                .ok()
        })
        .collect();
    for (at, name) in names.iter().enumerate() {
        if let Some(first) = names.iter().take(at).position(|earlier| earlier == name) {
            return Err(RegisterError::OneName {
                first: first + 1,
                number: at + 1,
            });
        }
    }
    Ok(())
}

fn object_ids(what: &'static str, all: &[Vec<u8>]) -> Result<Vec<ObjectId>, ManifestError> {
    count(what, all.len(), 0, MAX_OIDS)?;
    let read =
        |octets: &Vec<u8>| ObjectId::from_octets(octets).map_err(|_| RegisterError::ObjectId(what).into());
    all.iter().map(read).collect()
}

fn prefix(text: &str) -> Result<String, RegisterError> {
    if text.len() <= MAX_PREFIX_BYTES && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(RegisterError::Prefix)
    }
}

impl Register {
    pub(super) fn from_wire(wire: &wire::EnrolmentRegister) -> Result<Self, ManifestError> {
        use wire::enrolment_register::Person;
        count("roots of the register", wire.roots.len(), 1, MAX_ROOTS)?;
        count("issuing CAs of the register", wire.issuers.len(), 1, MAX_ISSUERS)?;
        authorities("root", &wire.roots)?;
        authorities("issuing CA", &wire.issuers)?;
        names_differ(&wire.issuers)?;
        let id = |octets: &[u8]| {
            ObjectId::from_octets(octets)
                .map_err(|_| RegisterError::ObjectId("the field that names the voter"))
        };
        let person = match wire.person.as_ref().ok_or(RegisterError::NoPerson)? {
            Person::Subject(field) => PersonField::Subject {
                attribute: id(&field.attribute)?,
                prefix: prefix(&field.prefix)?,
            },
            Person::SanOtherName(octets) => PersonField::OtherName(id(octets)?),
            Person::SanUri(begins) => PersonField::Uri(prefix(begins)?),
            Person::CertificateSerial(_) if wire.issuers.len() == 1 => PersonField::CertificateSerial,
            Person::CertificateSerial(_) => {
                return Err(RegisterError::SerialIssuers(wire.issuers.len()).into());
            }
        };
        let purpose = wire.purpose.as_ref().ok_or(RegisterError::Purpose)?;
        if purpose.key_usage == 0 || purpose.key_usage > KEY_USAGE_BITS {
            return Err(RegisterError::Purpose.into());
        }
        let (opens, closes) = (UnixSeconds(wire.opens_s), UnixSeconds(wire.closes_s));
        if closes < opens {
            return Err(RegisterError::Window { opens, closes }.into());
        }
        if closes.get() >= u64::from(u32::MAX) {
            return Err(RegisterError::Late(closes).into());
        }
        usable(&wire.roots, &wire.issuers, &[opens, closes])?;
        Ok(Self {
            id: RegisterId::new(&wire.id)?,
            roots: wire.roots.clone(),
            issuers: wire.issuers.clone(),
            person,
            purpose: Purpose {
                key_usage: purpose.key_usage as u16,
                extended: object_ids("extended key usages of the register", &purpose.extended)?,
                policies: object_ids("certificate policies of the register", &purpose.policies)?,
            },
            opens,
            closes,
            salt_hash: Hash32::from_slice(&wire.salt_hash).map_err(|_| RegisterError::Salt)?,
        })
    }

    pub(super) fn to_wire(&self) -> wire::EnrolmentRegister {
        use wire::enrolment_register::Person;
        let octets = |ids: &[ObjectId]| ids.iter().map(|id| id.octets().to_vec()).collect();
        wire::EnrolmentRegister {
            id: self.id.as_str().to_owned(),
            roots: self.roots.clone(),
            issuers: self.issuers.clone(),
            person: Some(match &self.person {
                PersonField::Subject { attribute, prefix } => Person::Subject(wire::SubjectField {
                    attribute: attribute.octets().to_vec(),
                    prefix: prefix.clone(),
                }),
                PersonField::OtherName(id) => Person::SanOtherName(id.octets().to_vec()),
                PersonField::Uri(begins) => Person::SanUri(begins.clone()),
                PersonField::CertificateSerial => Person::CertificateSerial(wire::CertificateSerial {}),
            }),
            purpose: Some(wire::CertificatePurpose {
                key_usage: self.purpose.key_usage.into(),
                extended: octets(&self.purpose.extended),
                policies: octets(&self.purpose.policies),
            }),
            opens_s: self.opens.get(),
            closes_s: self.closes.get(),
            salt_hash: self.salt_hash.0.to_vec(),
        }
    }

    /// Its id: elections that name the same one take over each other's records.
    pub fn id(&self) -> &RegisterId {
        &self.id
    }
    /// What chains end in, DER.
    pub fn roots(&self) -> &[Vec<u8>] {
        &self.roots
    }
    /// The CAs that issue voters' certificates, DER.
    pub fn issuers(&self) -> &[Vec<u8>] {
        &self.issuers
    }
    /// Which field names the voter.
    pub fn person(&self) -> &PersonField {
        &self.person
    }
    /// What certificates must be for.
    pub fn purpose(&self) -> &Purpose {
        &self.purpose
    }
    /// The first second in which records may be signed.
    pub fn opens(&self) -> UnixSeconds {
        self.opens
    }
    /// The last.
    pub fn closes(&self) -> UnixSeconds {
        self.closes
    }
    /// Of the salt of the roll's person codes.
    pub fn salt_hash(&self) -> Hash32 {
        self.salt_hash
    }
}
