//! Parties.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::{Address, Fingerprint, IdentityError, hex, name, parse_toml, write_toml};
use crate::envelope::PublicKey;
use crate::ids::{Role, RoleExt as _};
use crate::layout::{Writer, tag};
use crate::pki::Anchor;
use crate::suite::SealingKey;
use crate::wire;

/// A party: its agency, addresses, authority and public keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartyIdentity {
    role: Role,
    agency: String,
    public_address: Address,
    peer_address: Address,
    anchor: Anchor,
    signing_key: PublicKey,
    sealing_key: SealingKey,
}

/// The parts of a [`PartyIdentity`], unchecked.
#[derive(Clone, Debug)]
pub struct PartyParts {
    /// Which party.
    pub role: Role,
    /// The agency that runs it.
    pub agency: String,
    /// Where voters reach it.
    pub public_address: String,
    /// Where parties, coordinator, registrars and stations reach it.
    pub peer_address: String,
    /// Its authority's certificate.
    pub tls_ca_pem: String,
    /// Its signing key.
    pub signing_key: PublicKey,
    /// Its HPKE key.
    pub sealing_key: SealingKey,
}

impl PartyIdentity {
    /// Checks the parts.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn new(parts: PartyParts) -> Result<Self, IdentityError> {
        Ok(Self {
            role: parts.role,
            agency: name("agency", &parts.agency)?,
            public_address: Address::new("public_address", &parts.public_address)?,
            peer_address: Address::new("peer_address", &parts.peer_address)?,
            anchor: Anchor::from_pem(&parts.tls_ca_pem)?,
            signing_key: parts.signing_key,
            sealing_key: parts.sealing_key,
        })
    }

    /// From the wire.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_wire(wire: &wire::PartyIdentity) -> Result<Self, IdentityError> {
        let [key] = wire.hpke_keys.as_slice() else {
            return Err(IdentityError::HpkeKeys(wire.hpke_keys.len()));
        };
        Self::new(PartyParts {
            role: Role::from_number(wire.index)?,
            agency: wire.agency.clone(),
            public_address: wire.public_address.clone(),
            peer_address: wire.peer_address.clone(),
            tls_ca_pem: wire.tls_ca_pem.clone(),
            signing_key: PublicKey::from_slice(&wire.signing_key)?,
            sealing_key: SealingKey::from_wire(key)?,
        })
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::PartyIdentity {
        wire::PartyIdentity {
            index: self.role.number(),
            agency: self.agency.clone(),
            public_address: self.public_address.as_str().into(),
            peer_address: self.peer_address.as_str().into(),
            tls_ca_pem: self.anchor.pem().into(),
            signing_key: self.signing_key.as_bytes().to_vec(),
            hpke_keys: vec![self.sealing_key.to_wire()],
        }
    }

    /// From its file.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_toml(text: &str) -> Result<Self, IdentityError> {
        let file: PartyFile = parse_toml(text)?;
        let [key] = file.hpke_keys.as_slice() else {
            return Err(IdentityError::HpkeKeys(file.hpke_keys.len()));
        };
        let key = wire::HpkeKey {
            kem_id: key.kem_id,
            kdf_id: key.kdf_id,
            aead_id: key.aead_id,
            public_key: hex("hpke_keys.public_key", &key.public_key)?,
        };
        Self::new(PartyParts {
            role: Role::from_number(file.party)?,
            agency: file.agency,
            public_address: file.public_address,
            peer_address: file.peer_address,
            tls_ca_pem: file.tls_ca_pem,
            signing_key: PublicKey::from_slice(&hex("signing_key", &file.signing_key)?)?,
            sealing_key: SealingKey::from_wire(&key)?,
        })
    }

    /// Its file's text.
    pub fn to_toml(&self) -> String {
        let (kem_id, kdf_id, aead_id) = self.sealing_key.suite().ids();
        let file = PartyFile {
            party: self.role.number(),
            agency: self.agency.clone(),
            public_address: self.public_address.as_str().into(),
            peer_address: self.peer_address.as_str().into(),
            signing_key: self.signing_key.to_string(),
            tls_ca_pem: self.anchor.pem().into(),
            hpke_keys: vec![HpkeKeyFile {
                kem_id,
                kdf_id,
                aead_id,
                public_key: HEXLOWER.encode(self.sealing_key.as_bytes()),
            }],
        };
        write_toml(
            &format!("Public identity of a party. Fingerprint: {}", self.fingerprint()),
            &file,
        )
    }

    /// Over everything in it.
    pub fn fingerprint(&self) -> Fingerprint {
        let (kem, kdf, aead) = self.sealing_key.suite().ids();
        let layout = Writer::new(tag::FINGERPRINT)
            .text("party")
            .u8(self.role.index())
            .text(&self.agency)
            .text(self.public_address.as_str())
            .text(self.peer_address.as_str())
            .fixed(&self.anchor.fingerprint().0)
            .fixed(self.signing_key.as_bytes());
        Fingerprint::of(
            &layout
                .u32(kem)
                .u32(kdf)
                .u32(aead)
                .fixed(self.sealing_key.as_bytes()),
        )
    }

    /// Which party.
    pub fn role(&self) -> Role {
        self.role
    }
    /// The agency that runs it.
    pub fn agency(&self) -> &str {
        &self.agency
    }
    /// Where voters reach it.
    pub fn public_address(&self) -> &Address {
        &self.public_address
    }
    /// Where parties, coordinator, registrars and stations reach it.
    pub fn peer_address(&self) -> &Address {
        &self.peer_address
    }
    /// Its authority.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }
    /// Its signing key.
    pub fn signing_key(&self) -> PublicKey {
        self.signing_key
    }
    /// Its HPKE key.
    pub fn sealing_key(&self) -> &SealingKey {
        &self.sealing_key
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartyFile {
    party: u32,
    agency: String,
    public_address: String,
    peer_address: String,
    signing_key: String,
    tls_ca_pem: String,
    hpke_keys: Vec<HpkeKeyFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HpkeKeyFile {
    kem_id: u32,
    kdf_id: u32,
    aead_id: u32,
    public_key: String,
}
