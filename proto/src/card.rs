//! Enrolment by identity card: what a card authorises, and how anybody who has the certificates checks it.
//!
//! ```text
//! holder    = SHA-256(tag "tally/v1/card-holder", nonce, certificate)                    in the record's header
//! signed    = (tag "tally/v1/card-authorisation", register, record digest)               what the card signs (a hash of it)
//! person    = SHA-256(tag "tally/v1/person", salt, what the certificate's field says)    in the roll
//! ```
//!
//! A card signs with the key that it has for logging in; the tag keeps what it signs here apart from anything it signs elsewhere. For a draw code
//! of an election with tickets it signs a [`DrawStatement`], under a tag of its own. The record's
//! digest is over `holder`, so that a record belongs to one certificate, while the public header names nobody.
//!
//! Personal codes have little entropy: whoever has the salt can try them all. The salt therefore goes only to those who have the roll, and is
//! neither in the manifest (its hash is) nor in any published bundle.

mod algorithm;
mod authorisation;
mod chain;
mod directory;
mod error;
mod object_id;
mod revocation;
mod statement;
mod x509;

pub use authorisation::{
    CardAuthorisation, MAX_AUTHORISATION_BYTES, MAX_CERTIFICATE_BYTES, NONCE_BYTES, Scheme, holder,
    signed_bytes,
};
pub use chain::{
    Holder, certificate as check_certificate, check, check_authorities, is_authority, named, scheme_of,
};
pub use directory::ListDirectory;
pub use error::{AuthorityError, CardError};
pub use object_id::{BadObjectId, ObjectId};
pub use revocation::{ListError, ListsHeld, MAX_LIST_BYTES, RevocationList, check_revocation, lists_until};
pub use statement::{DrawStatement, DrawTerms, MAX_STATEMENT_BYTES, STATEMENT_TOLERANCE_S};

use crate::ids::Hash32;
use crate::layout::{Writer, tag};
use crate::refusal::steers;

/// Longest number of a certificate (RFC 5280, section 4.1.2.2).
const MAX_NUMBER_BYTES: usize = 20;

/// The DER of one certificate in PEM or DER, as it lies in a file.
pub fn certificate_der(bytes: &[u8]) -> Option<Vec<u8>> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    let der = CertificateDer::from_pem_slice(bytes).map_or_else(|_| bytes.to_vec(), |der| der.to_vec());
    x509::Certificate::read(&der).is_ok().then_some(der)
}

/// Whom a certificate names, for people to compare.
pub fn subject(certificate: &[u8]) -> String {
    x509::Certificate::read(certificate).map_or_else(
        |_| "a certificate that cannot be read".to_owned(),
        |read| read.named().replace(steers, "\u{fffd}"),
    )
}

/// A certificate's own number as people write it, in the one form in which certificates are read here: pairs of small hexadecimal digits, without
/// colons, and without the octet 00 that DER puts before some. `None` where it is none.
pub fn certificate_number(written: &str) -> Option<String> {
    let digits: String = written.chars().filter(|c| *c != ':').collect();
    let digits = digits.to_ascii_lowercase();
    let is_number = digits.bytes().all(|c| c.is_ascii_hexdigit());
    let number = digits.trim_start_matches('0');
    let odd = if number.len() % 2 == 1 { "0" } else { "" };
    let fits = is_number && (1..=2 * MAX_NUMBER_BYTES).contains(&number.len());
    fits.then(|| format!("{odd}{number}"))
}

/// The salt of a roll's person codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Salt(pub [u8; 32]);

impl Salt {
    /// What the manifest says of it.
    pub fn hash(&self) -> Hash32 {
        Writer::new(tag::PERSON_SALT).fixed(&self.0).sha256()
    }

    /// The code of the person whom certificates call `said`.
    pub fn person(&self, said: &str) -> Hash32 {
        Writer::new(tag::PERSON).fixed(&self.0).text(said).sha256()
    }
}

#[cfg(test)]
mod tests;
