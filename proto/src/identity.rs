//! Who the agencies are: the identities that stand in a manifest, and the files in which agencies hand them to each other.
//!
//! An identity file is public TOML (`party-1.identity.toml`). Its [`PartyIdentity::fingerprint`] is read over the phone, so that what
//! the manifest names is what the agency meant.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::crockford;
use crate::envelope::{EnvelopeError, PublicKey};
use crate::ids::{BoxId, IdError, Role, RoleExt as _, StationId};
use crate::layout::{Writer, tag};
use crate::pki::{Anchor, PkiError, is_registrar_name};
use crate::suite::{SealingKey, SuiteError};
use crate::wire;

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
}

/// An address of the form `https://host:port`.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Address {
    text: String,
    host: String,
    port: u16,
}

impl Address {
    /// Checks `text`, which stands in the field named `field`.
    ///
    /// # Errors
    /// [`IdentityError::Address`].
    pub fn new(field: &'static str, text: &str) -> Result<Self, IdentityError> {
        let bad = || IdentityError::Address {
            field,
            value: text.chars().take(80).collect(),
        };
        let rest = text
            .strip_prefix("https://")
            .filter(|_| text.len() <= 300)
            .ok_or_else(bad)?;
        let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
        let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let ok = match inner {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
            }
        };
        let number: u16 = port.parse().map_err(|_| bad())?;
        if !ok || number == 0 || number.to_string() != port {
            return Err(bad());
        }
        Ok(Self {
            text: text.into(),
            host: inner.unwrap_or(host).into(),
            port: number,
        })
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is read over the phone: 120 bits of a hash as six groups of four characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprint(String);

impl Fingerprint {
    fn of(layout: &Writer) -> Self {
        Self(crockford::encode_groups(&layout.sha256().0[..15]))
    }

    /// The fingerprint of any public object, by its hash.
    pub fn of_hash(hash: &crate::ids::Hash32) -> Self {
        Self(crockford::encode_groups(&hash.0[..15]))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
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

/// A polling station: number, name, signing key, and the boxes it may vote for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StationIdentity {
    id: StationId,
    name: String,
    signing_key: PublicKey,
    boxes: Vec<BoxId>,
}

impl StationIdentity {
    /// Checks the parts. No boxes means all boxes.
    ///
    /// # Errors
    /// [`IdentityError::Name`], [`IdentityError::Boxes`].
    pub fn new(
        id: StationId,
        station_name: &str,
        signing_key: PublicKey,
        boxes: Vec<BoxId>,
    ) -> Result<Self, IdentityError> {
        if boxes.len() > MAX_STATION_BOXES || !boxes.is_sorted_by(|a, b| a < b) {
            return Err(IdentityError::Boxes);
        }
        Ok(Self {
            id,
            name: name("name", station_name)?,
            signing_key,
            boxes,
        })
    }

    /// From the wire.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_wire(wire: &wire::StationIdentity) -> Result<Self, IdentityError> {
        let boxes = wire.boxes.iter().copied().map(BoxId).collect();
        Self::new(
            StationId(wire.id),
            &wire.name,
            PublicKey::from_slice(&wire.signing_key)?,
            boxes,
        )
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::StationIdentity {
        wire::StationIdentity {
            id: self.id.get(),
            name: self.name.clone(),
            signing_key: self.signing_key.as_bytes().to_vec(),
            boxes: self.boxes.iter().map(|b| b.get()).collect(),
        }
    }

    /// From its file.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_toml(text: &str) -> Result<Self, IdentityError> {
        let file: StationFile = parse_toml(text)?;
        let key = PublicKey::from_slice(&hex("signing_key", &file.signing_key)?)?;
        Self::new(
            StationId(file.id),
            &file.name,
            key,
            file.boxes.into_iter().map(BoxId).collect(),
        )
    }

    /// Its file's text.
    pub fn to_toml(&self) -> String {
        let file = StationFile {
            id: self.id.get(),
            name: self.name.clone(),
            signing_key: self.signing_key.to_string(),
            boxes: self.boxes.iter().map(|b| b.get()).collect(),
        };
        write_toml(
            &format!(
                "Public identity of a polling station. Fingerprint: {}",
                self.fingerprint()
            ),
            &file,
        )
    }

    /// Over everything in it.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut layout = Writer::new(tag::FINGERPRINT)
            .text("station")
            .u32(self.id.get())
            .text(&self.name);
        layout = layout.fixed(self.signing_key.as_bytes());
        Fingerprint::of(&self.boxes.iter().fold(layout, |layout, b| layout.ballot_box(*b)))
    }

    /// Its number.
    pub fn id(&self) -> StationId {
        self.id
    }
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Its signing key.
    pub fn signing_key(&self) -> PublicKey {
        self.signing_key
    }
    /// The boxes it is limited to; empty: all.
    pub fn boxes(&self) -> &[BoxId] {
        &self.boxes
    }
    /// Whether it may vote for `id`.
    pub fn serves(&self, id: BoxId) -> bool {
        self.boxes.is_empty() || self.boxes.binary_search(&id).is_ok()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StationFile {
    id: u32,
    name: String,
    signing_key: String,
    #[serde(default)]
    boxes: Vec<u32>,
}

#[cfg(test)]
mod tests;
