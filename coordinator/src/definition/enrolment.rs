//! The `[enrolment]` table of an election file: whose cards voters enrol with.

use std::path::PathBuf;

use serde::Deserialize;
use tally_proto::card::{ObjectId, certificate_der, check_authorities, subject};
use tally_proto::ids::{RegisterId, UnixSeconds};
use tally_proto::wire;
use toml::Spanned;

use super::calendar::Zone;
use super::problem::{DefinitionError, Problem};
use super::{Reader, files};

/// Largest certificate file in bytes.
const MAX_FILE: u64 = 64 << 10;

/// As written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnrolmentTable {
    pub(super) register: Spanned<String>,
    pub(super) roots: Vec<Spanned<PathBuf>>,
    pub(super) issuers: Vec<Spanned<PathBuf>>,
    pub(super) person: Spanned<PersonTable>,
    pub(super) key_usage: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) extended_key_usage: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) policies: Vec<Spanned<String>>,
    pub(super) opens: Spanned<String>,
    pub(super) closes: Spanned<String>,
    pub(super) time_zone: Spanned<String>,
}

/// Exactly one of the four, `prefix` beside `subject` only.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PersonTable {
    subject: Option<String>,
    prefix: Option<String>,
    other_name: Option<String>,
    uri: Option<String>,
    certificate_serial: Option<bool>,
}

/// Names of RFC 5280's key usage bits, from the lowest.
const KEY_USAGES: [&str; 9] = [
    "digital-signature",
    "content-commitment",
    "key-encipherment",
    "data-encipherment",
    "key-agreement",
    "cert-sign",
    "crl-sign",
    "encipher-only",
    "decipher-only",
];

/// A name for the commonest ids.
fn object_id(text: &str) -> Option<Vec<u8>> {
    let dotted = match text {
        "serialNumber" => "2.5.4.5",
        "clientAuth" => "1.3.6.1.5.5.7.3.2",
        other => other,
    };
    Some(dotted.parse::<ObjectId>().ok()?.octets().to_vec())
}

impl Reader<'_> {
    /// The register without the hash of the roll's salt, which is drawn later.
    pub(super) fn register(
        &self,
        table: &Spanned<EnrolmentTable>,
    ) -> Result<wire::EnrolmentRegister, DefinitionError> {
        let of = table.get_ref();
        let id = of.register.get_ref();
        RegisterId::new(id).map_err(|_| self.at(&of.register, Problem::ElectionId { id: id.clone() }))?;
        let certificates = |paths: &[Spanned<PathBuf>]| {
            paths
                .iter()
                .map(|path| {
                    let file = self.beside(path.get_ref());
                    let bytes = files::read(&file, MAX_FILE)
                        .map_err(|e| self.at(path, Problem::IdentityUnreadable(e)))?;
                    certificate_der(&bytes).ok_or_else(|| self.at(path, Problem::Certificate { path: file }))
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let ids = |all: &[Spanned<String>]| {
            all.iter()
                .map(|text| {
                    let id = text.get_ref().clone();
                    object_id(&id).ok_or_else(|| self.at(text, Problem::ObjectId { id }))
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let mut key_usage = 0;
        for name in &of.key_usage {
            let bit = KEY_USAGES.iter().position(|known| known == name.get_ref());
            let bit = bit.ok_or_else(|| {
                let (name_of, known) = (name.get_ref().clone(), KEY_USAGES.join(", "));
                self.at(name, Problem::KeyUsage { name: name_of, known })
            })?;
            key_usage |= 1 << bit;
        }
        let zone = Zone::find(of.time_zone.get_ref()).map_err(|source| {
            let channel = "enrolment";
            self.at(&of.time_zone, Problem::Calendar { channel, source })
        })?;
        let moment = |text: &Spanned<String>| {
            zone.moment(text.get_ref()).map_err(|source| {
                let channel = "enrolment";
                self.at(text, Problem::Calendar { channel, source })
            })
        };
        let (roots, issuers) = (certificates(&of.roots)?, certificates(&of.issuers)?);
        let (opens_s, closes_s) = (moment(&of.opens)?, moment(&of.closes)?);
        let times = [UnixSeconds(opens_s), UnixSeconds(closes_s)];
        if let Err((at, source)) = check_authorities(&roots, &issuers, &times)
            && let Some((der, path)) = roots
                .iter()
                .chain(&issuers)
                .zip(of.roots.iter().chain(&of.issuers))
                .nth(at)
        {
            let (named, file) = (subject(der), self.beside(path.get_ref()));
            return Err(self.at(
                path,
                Problem::Authority {
                    path: file,
                    named,
                    source,
                },
            ));
        }
        Ok(wire::EnrolmentRegister {
            id: id.clone(),
            roots,
            issuers,
            person: Some(self.person(&of.person)?),
            purpose: Some(wire::CertificatePurpose {
                key_usage,
                extended: ids(&of.extended_key_usage)?,
                policies: ids(&of.policies)?,
            }),
            opens_s,
            closes_s,
            salt_hash: Vec::new(),
        })
    }

    fn person(
        &self,
        table: &Spanned<PersonTable>,
    ) -> Result<wire::enrolment_register::Person, DefinitionError> {
        use wire::enrolment_register::Person;
        let wrong = || self.at(table, Problem::Person);
        let id = |text: &str| {
            let id = text.to_owned();
            object_id(text).ok_or_else(|| self.at(table, Problem::ObjectId { id }))
        };
        let of = table.get_ref();
        Ok(
            match (&of.subject, &of.other_name, &of.uri, of.certificate_serial) {
                (Some(subject), None, None, None) => Person::Subject(wire::SubjectField {
                    attribute: id(subject)?,
                    prefix: of.prefix.clone().unwrap_or_default(),
                }),
                _ if of.prefix.is_some() => return Err(wrong()),
                (None, Some(other), None, None) => Person::SanOtherName(id(other)?),
                (None, None, Some(begins), None) => Person::SanUri(begins.clone()),
                (None, None, None, Some(true)) => Person::CertificateSerial(wire::CertificateSerial {}),
                _ => return Err(wrong()),
            },
        )
    }
}
