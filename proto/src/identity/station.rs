//! Polling stations.

use serde::{Deserialize, Serialize};

use super::{Fingerprint, IdentityError, MAX_STATION_BOXES, hex, name, parse_toml, write_toml};
use crate::calendar::{MAX_OPENINGS, Opening};
use crate::envelope::PublicKey;
use crate::ids::{BoxId, StationId, UnixSeconds};
use crate::layout::{Writer, tag};
use crate::wire;

/// A polling station: number, name, signing key, and the boxes it may vote for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StationIdentity {
    id: StationId,
    name: String,
    signing_key: PublicKey,
    boxes: Vec<BoxId>,
    openings: Vec<Opening>,
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
            openings: Vec::new(),
        })
    }

    /// The same with hours of its own, as a manifest gives them.
    ///
    /// # Errors
    /// [`IdentityError::Openings`].
    pub fn with_openings(self, openings: &[wire::Opening]) -> Result<Self, IdentityError> {
        if openings.len() > MAX_OPENINGS {
            return Err(IdentityError::Openings);
        }
        let openings = Opening::all_from_wire(openings).map_err(|_| IdentityError::Openings)?;
        Ok(Self { openings, ..self })
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
        )?
        .with_openings(&wire.openings)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::StationIdentity {
        wire::StationIdentity {
            id: self.id.get(),
            name: self.name.clone(),
            signing_key: self.signing_key.as_bytes().to_vec(),
            boxes: self.boxes.iter().map(|b| b.get()).collect(),
            openings: self.openings.iter().map(Opening::to_wire).collect(),
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

    /// Over everything in its file: hours are the manifest's.
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
    /// Its own hours, in order; none: those of its channels.
    pub fn openings(&self) -> &[Opening] {
        &self.openings
    }
    /// Whether it is open at a moment, as far as its own hours say.
    pub fn is_open(&self, at: UnixSeconds) -> bool {
        self.openings.is_empty() || self.openings.iter().any(|o| (o.opens..=o.closes).contains(&at))
    }
    /// When it opens next, by its own hours.
    pub fn opens_after(&self, at: UnixSeconds) -> Option<UnixSeconds> {
        self.openings.iter().map(|o| o.opens).find(|opens| *opens > at)
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
