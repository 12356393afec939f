//! The coordinator.

use serde::{Deserialize, Serialize};

use super::{Address, Fingerprint, IdentityError, hex, name, parse_toml, write_toml};
use crate::envelope::PublicKey;
use crate::layout::{Writer, tag};
use crate::pki::Anchor;
use crate::wire;

/// The coordinator: its name, board, authority and signing key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoordinatorIdentity {
    name: String,
    address: Address,
    anchor: Anchor,
    signing_key: PublicKey,
}

impl CoordinatorIdentity {
    /// Checks the parts.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn new(
        coordinator_name: &str,
        address: &str,
        tls_ca_pem: &str,
        signing_key: PublicKey,
    ) -> Result<Self, IdentityError> {
        Ok(Self {
            name: name("name", coordinator_name)?,
            address: Address::new("address", address)?,
            anchor: Anchor::from_pem(tls_ca_pem)?,
            signing_key,
        })
    }

    /// From the wire.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_wire(wire: &wire::CoordinatorIdentity) -> Result<Self, IdentityError> {
        Self::new(
            &wire.name,
            &wire.address,
            &wire.tls_ca_pem,
            PublicKey::from_slice(&wire.signing_key)?,
        )
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::CoordinatorIdentity {
        wire::CoordinatorIdentity {
            name: self.name.clone(),
            address: self.address.as_str().into(),
            tls_ca_pem: self.anchor.pem().into(),
            signing_key: self.signing_key.as_bytes().to_vec(),
        }
    }

    /// From its file.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_toml(text: &str) -> Result<Self, IdentityError> {
        let file: CoordinatorFile = parse_toml(text)?;
        let key = PublicKey::from_slice(&hex("signing_key", &file.signing_key)?)?;
        Self::new(&file.name, &file.address, &file.tls_ca_pem, key)
    }

    /// Its file's text.
    pub fn to_toml(&self) -> String {
        let file = CoordinatorFile {
            name: self.name.clone(),
            address: self.address.as_str().into(),
            signing_key: self.signing_key.to_string(),
            tls_ca_pem: self.anchor.pem().into(),
        };
        write_toml(
            &format!(
                "Public identity of a coordinator. Fingerprint: {}",
                self.fingerprint()
            ),
            &file,
        )
    }

    /// Over everything in it.
    pub fn fingerprint(&self) -> Fingerprint {
        let layout = Writer::new(tag::FINGERPRINT).text("coordinator").text(&self.name);
        Fingerprint::of(
            &layout
                .text(self.address.as_str())
                .fixed(&self.anchor.fingerprint().0)
                .fixed(self.signing_key.as_bytes()),
        )
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Its board.
    pub fn address(&self) -> &Address {
        &self.address
    }
    /// Its authority.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }
    /// Its signing key.
    pub fn signing_key(&self) -> PublicKey {
        self.signing_key
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CoordinatorFile {
    name: String,
    address: String,
    signing_key: String,
    tls_ca_pem: String,
}
