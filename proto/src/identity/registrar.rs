//! Registrars.

use serde::{Deserialize, Serialize};

use super::{Fingerprint, IdentityError, hex, parse_toml, write_toml};
use crate::envelope::PublicKey;
use crate::layout::{Writer, tag};
use crate::pki::is_registrar_name;
use crate::wire;

/// A registrar: its name (a slug) and signing key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegistrarIdentity {
    name: String,
    signing_key: PublicKey,
}

impl RegistrarIdentity {
    /// Checks the parts.
    ///
    /// # Errors
    /// [`IdentityError::RegistrarName`].
    pub fn new(name: &str, signing_key: PublicKey) -> Result<Self, IdentityError> {
        if !is_registrar_name(name) {
            return Err(IdentityError::RegistrarName(name.chars().take(80).collect()));
        }
        Ok(Self {
            name: name.into(),
            signing_key,
        })
    }

    /// From the wire.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_wire(wire: &wire::RegistrarIdentity) -> Result<Self, IdentityError> {
        Self::new(&wire.name, PublicKey::from_slice(&wire.signing_key)?)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::RegistrarIdentity {
        wire::RegistrarIdentity {
            name: self.name.clone(),
            signing_key: self.signing_key.as_bytes().to_vec(),
        }
    }

    /// From its file.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_toml(text: &str) -> Result<Self, IdentityError> {
        let file: RegistrarFile = parse_toml(text)?;
        Self::new(
            &file.name,
            PublicKey::from_slice(&hex("signing_key", &file.signing_key)?)?,
        )
    }

    /// Its file's text.
    pub fn to_toml(&self) -> String {
        let file = RegistrarFile {
            name: self.name.clone(),
            signing_key: self.signing_key.to_string(),
        };
        write_toml(
            &format!(
                "Public identity of a registrar. Fingerprint: {}",
                self.fingerprint()
            ),
            &file,
        )
    }

    /// Over everything in it.
    pub fn fingerprint(&self) -> Fingerprint {
        let layout = Writer::new(tag::FINGERPRINT).text("registrar").text(&self.name);
        Fingerprint::of(&layout.fixed(self.signing_key.as_bytes()))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Its signing key.
    pub fn signing_key(&self) -> PublicKey {
        self.signing_key
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistrarFile {
    name: String,
    signing_key: String,
}
