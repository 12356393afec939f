//! Who the agencies are: the identities that stand in a manifest, and the files in which agencies hand them to each other.
//!
//! An identity file is public TOML (`party-1.identity.toml`). Its [`PartyIdentity::fingerprint`] is read over the phone, so that what
//! the manifest names is what the agency meant.

mod address;
mod coordinator;
mod fingerprint;
mod party;
mod registrar;
mod station;

pub use address::Address;
pub use coordinator::CoordinatorIdentity;
pub use fingerprint::Fingerprint;
pub use party::{PartyIdentity, PartyParts};
pub use registrar::RegistrarIdentity;
pub use station::StationIdentity;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::envelope::EnvelopeError;
use crate::ids::IdError;
use crate::pki::PkiError;
use crate::suite::SuiteError;

/// Largest identity file in bytes.
pub const MAX_FILE_BYTES: usize = 64 << 10;
/// Longest name of an agency or station, in bytes.
pub const MAX_NAME_BYTES: usize = 200;
/// Most boxes a station is limited to by name.
pub const MAX_STATION_BOXES: usize = 4096;

/// Why an identity was refused.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Above [`MAX_FILE_BYTES`].
    #[error("an identity file has at most {MAX_FILE_BYTES} bytes, this has {0}")]
    TooLarge(usize),
    /// Not TOML of this form.
    #[error("not an identity file of this kind: {0}")]
    Toml(#[from] toml::de::Error),
    /// A name is empty, too long or has control characters.
    #[error("{field}: {value:?} is not a name: 1 to {MAX_NAME_BYTES} bytes without control characters")]
    Name {
        /// Which field.
        field: &'static str,
        /// Its value, cut.
        value: String,
    },
    /// A registrar's name is not a slug.
    #[error("registrar name {0:?} is not 1 to 64 of a-z, 0-9 and hyphens")]
    RegistrarName(String),
    /// Not https://host:port.
    #[error("{field}: {value:?} is not an address of the form https://host:port")]
    Address {
        /// Which field.
        field: &'static str,
        /// Its value, cut.
        value: String,
    },
    /// A party number.
    #[error(transparent)]
    Party(#[from] IdError),
    /// A key is not hexadecimal.
    #[error("{field} is not hexadecimal of 32 bytes")]
    Hex {
        /// Which field.
        field: &'static str,
    },
    /// The signing key.
    #[error("signing_key: {0}")]
    SigningKey(#[from] EnvelopeError),
    /// The authority.
    #[error("tls_ca_pem: {0}")]
    Authority(#[from] PkiError),
    /// An HPKE key.
    #[error("hpke_keys: {0}")]
    Hpke(#[from] SuiteError),
    /// Not exactly one HPKE key of a supported suite.
    #[error("hpke_keys: exactly one key is supported, this has {0}")]
    HpkeKeys(usize),
    /// A station's boxes.
    #[error("boxes: at most {MAX_STATION_BOXES} box numbers in rising order without repeats")]
    Boxes,
    /// A station's own hours.
    #[error(
        "openings: at most {}, each with its local times, closing after it opens and lying after the one before",
        crate::calendar::MAX_OPENINGS
    )]
    Openings,
}

fn name(field: &'static str, value: &str) -> Result<String, IdentityError> {
    let ok = (1..=MAX_NAME_BYTES).contains(&value.len()) && !value.chars().any(char::is_control);
    if ok {
        Ok(value.into())
    } else {
        Err(IdentityError::Name {
            field,
            value: value.chars().take(80).collect(),
        })
    }
}

fn hex(field: &'static str, text: &str) -> Result<Vec<u8>, IdentityError> {
    HEXLOWER
        .decode(text.as_bytes())
        .ok()
        .filter(|b| b.len() == 32)
        .ok_or(IdentityError::Hex { field })
}

fn parse_toml<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, IdentityError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(IdentityError::TooLarge(text.len()));
    }
    Ok(toml::from_str(text)?)
}

fn write_toml<T: Serialize>(comment: &str, file: &T) -> String {
    let body = toml::to_string(file).expect("plain tables of texts and numbers always serialise");
    format!("# {comment}\n\n{body}")
}

#[cfg(test)]
mod tests;
