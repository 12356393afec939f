//! A station's closing statement: how many signed in, and how many ballots it cast, of each box; signed with the station's key.
//!
//! A text that people read and carry, in TOML. The signature is over the fixed layout of what it says, not over the text:
//! `tag | election | manifest's hash | station | officer | opened | closed | remark | boxes | (box | signed in | electronic | paper) ...`.
//! It names no voter: that is in the sign-in book, which stays at the station.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::envelope::{PublicKey, SignatureBytes, Signer};
use crate::ids::{BoxId, ElectionId, Hash32, StationId, UnixSeconds};
use crate::layout::{Writer, tag};
use crate::manifest::{MAX_BOXES, SignedManifest};
use crate::refusal::steers;

/// Longest text, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Longest officer's name and remark, in bytes.
pub const MAX_WORDS: usize = 500;

/// One box at a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoxSignIns {
    /// The box.
    #[serde(rename = "id")]
    pub of_box: u32,
    /// Signatures on the sheet.
    pub signed_in: u64,
    /// Electronic votes cast.
    pub electronic: u64,
    /// Voters noted as voting on paper.
    pub paper: u64,
}

impl BoxSignIns {
    /// Ballots beyond the signatures.
    pub fn surplus(&self) -> u64 {
        (self.electronic.saturating_add(self.paper)).saturating_sub(self.signed_in)
    }
}

/// What a station states when it closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIns {
    /// The election.
    pub election: ElectionId,
    /// Its manifest.
    pub manifest: Hash32,
    /// The station.
    pub station: StationId,
    /// The officer in charge.
    pub officer: String,
    /// When it opened, by its clock.
    pub opened_at: UnixSeconds,
    /// When it closed, by its clock.
    pub closed_at: UnixSeconds,
    /// What the officer has to say of a difference; may be empty.
    pub remark: String,
    /// The boxes, by rising number.
    pub boxes: Vec<BoxSignIns>,
}

/// Why a statement was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignInsError {
    /// Not a statement.
    #[error("this is no station's statement: {0}")]
    Form(String),
    /// Of another election.
    #[error("the statement is of another election or of another manifest of it")]
    OtherElection,
    /// A station that the manifest does not name.
    #[error("the statement is of station {0}, which the manifest does not name")]
    Station(StationId),
    /// Not the station's signature.
    #[error("the signature is not that of station {0}: the statement was changed, or another key made it")]
    Signature(StationId),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    election: String,
    manifest: String,
    station: u32,
    officer: String,
    opened_at_s: u64,
    closed_at_s: u64,
    remark: String,
    signature: String,
    #[serde(rename = "box", default)]
    boxes: Vec<BoxSignIns>,
}

impl SignIns {
    /// The statement's text, signed.
    ///
    /// # Errors
    /// [`SignInsError::Form`] for words that are too long or hold control characters, and boxes that do not rise.
    pub fn sign(&self, signer: &Signer) -> Result<String, SignInsError> {
        self.check()?;
        let signature = signer.sign_layout(&self.layout());
        let file = File {
            election: self.election.as_str().to_owned(),
            manifest: self.manifest.to_string(),
            station: self.station.get(),
            officer: self.officer.clone(),
            opened_at_s: self.opened_at.get(),
            closed_at_s: self.closed_at.get(),
            remark: self.remark.clone(),
            signature: data_encoding::HEXLOWER.encode(&signature.0),
            boxes: self.boxes.clone(),
        };
        let text = toml::to_string(&file).map_err(|error| SignInsError::Form(error.to_string()))?;
        Ok(format!(
            "# A station's closing statement. Whoever changes it breaks its signature.\n{text}"
        ))
    }

    /// Reads a statement and checks it against the election's manifest.
    ///
    /// # Errors
    /// [`SignInsError`].
    pub fn parse(text: &str, manifest: &SignedManifest) -> Result<Self, SignInsError> {
        let (statement, signature) = Self::read(text)?;
        let of = manifest.manifest();
        if statement.election != *of.election() || statement.manifest != manifest.hash() {
            return Err(SignInsError::OtherElection);
        }
        let station = statement.station;
        let key: PublicKey = of
            .station(station)
            .ok_or(SignInsError::Station(station))?
            .signing_key();
        if key.verify(statement.layout().as_bytes(), &signature) {
            Ok(statement)
        } else {
            Err(SignInsError::Signature(station))
        }
    }

    /// Reads a statement without checking whose it is.
    ///
    /// # Errors
    /// [`SignInsError::Form`].
    pub fn read(text: &str) -> Result<(Self, SignatureBytes), SignInsError> {
        let form = |what: &str| SignInsError::Form(what.to_owned());
        if text.len() > MAX_BYTES {
            return Err(form("it is longer than 1 MiB"));
        }
        let file: File = toml::from_str(text).map_err(|error| form(error.message()))?;
        let hex = |text: &str| data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes());
        let manifest = hex(&file.manifest).ok();
        let manifest = manifest.and_then(|bytes| Hash32::from_slice(&bytes).ok());
        let signature = hex(&file.signature).ok();
        let signature = signature.and_then(|bytes| SignatureBytes::from_slice(&bytes).ok());
        let statement = Self {
            election: ElectionId::new(&file.election).map_err(|_| form("the election's id"))?,
            manifest: manifest.ok_or_else(|| form("the manifest's hash"))?,
            station: StationId(file.station),
            officer: file.officer,
            opened_at: UnixSeconds(file.opened_at_s),
            closed_at: UnixSeconds(file.closed_at_s),
            remark: file.remark,
            boxes: file.boxes,
        };
        statement.check()?;
        Ok((statement, signature.ok_or_else(|| form("the signature"))?))
    }

    /// What it says of a box; noughts where it says nothing.
    pub fn of_box(&self, id: BoxId) -> BoxSignIns {
        let found = self.boxes.iter().find(|b| b.of_box == id.get());
        found.copied().unwrap_or(BoxSignIns {
            of_box: id.get(),
            signed_in: 0,
            electronic: 0,
            paper: 0,
        })
    }

    fn check(&self) -> Result<(), SignInsError> {
        for words in [&self.officer, &self.remark] {
            if words.len() > MAX_WORDS || words.contains(steers) {
                return Err(SignInsError::Form(format!(
                    "names and remarks have at most {MAX_WORDS} bytes, and no characters that steer a terminal or turn text around"
                )));
            }
        }
        if self.boxes.len() > MAX_BOXES || !self.boxes.is_sorted_by(|a, b| a.of_box < b.of_box) {
            return Err(SignInsError::Form(
                "boxes stand once each, by rising number".to_owned(),
            ));
        }
        Ok(())
    }

    fn layout(&self) -> Writer {
        let mut layout = Writer::new(tag::SIGN_INS)
            .text(self.election.as_str())
            .fixed(&self.manifest.0)
            .u32(self.station.get())
            .text(&self.officer)
            .u64(self.opened_at.get())
            .u64(self.closed_at.get())
            .text(&self.remark)
            .u32(self.boxes.len() as u32);
        for of in &self.boxes {
            layout = layout
                .u32(of.of_box)
                .u64(of.signed_in)
                .u64(of.electronic)
                .u64(of.paper);
        }
        layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{OPENS, Shape, World};

    #[test]
    fn a_statement_reads_back_and_every_change_is_found() {
        crate::connect::install_tls_provider();
        let world = World::new(Shape::default());
        let statement = SignIns {
            election: world.manifest.manifest().election().clone(),
            manifest: world.manifest.hash(),
            station: StationId(1),
            officer: "A. \"Berg\"".to_owned(),
            opened_at: UnixSeconds(OPENS),
            closed_at: UnixSeconds(OPENS + 99),
            remark: "one voter left".to_owned(),
            boxes: vec![BoxSignIns {
                of_box: 1,
                signed_in: 12,
                electronic: 9,
                paper: 2,
            }],
        };
        let text = statement.sign(&world.stations[0]).expect("signed");
        assert_eq!(SignIns::parse(&text, &world.manifest), Ok(statement.clone()));
        for (from, to, error) in [
            (
                "signed_in = 12",
                "signed_in = 13",
                SignInsError::Signature(StationId(1)),
            ),
            ("one voter", "two voters", SignInsError::Signature(StationId(1))),
            (
                "station = 1",
                "station = 2",
                SignInsError::Signature(StationId(2)),
            ),
            ("station = 1", "station = 9", SignInsError::Station(StationId(9))),
            (
                "election = \"ward-7\"",
                "election = \"ward-8\"",
                SignInsError::OtherElection,
            ),
        ] {
            assert_eq!(text.matches(from).count(), 1, "{from}");
            assert_eq!(
                SignIns::parse(&text.replace(from, to), &world.manifest),
                Err(error)
            );
        }
        let twice = SignIns {
            boxes: vec![statement.boxes[0]; 2],
            ..statement.clone()
        };
        assert!(matches!(
            twice.sign(&world.stations[0]),
            Err(SignInsError::Form(_))
        ));
        for text in ["", "x = 1", &"a".repeat(MAX_BYTES + 1)] {
            assert!(matches!(
                SignIns::parse(text, &world.manifest),
                Err(SignInsError::Form(_))
            ));
        }
        assert_eq!(statement.of_box(BoxId(1)).surplus(), 0);
        let more = BoxSignIns {
            signed_in: 8,
            ..statement.boxes[0]
        };
        assert_eq!((more.surplus(), statement.of_box(BoxId(2)).surplus()), (3, 0));
    }
}
