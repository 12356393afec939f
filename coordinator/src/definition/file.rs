//! The shape of an election file, as written: every table refuses keys it does not know, and every value that can be wrong
//! carries its place in the file so that the error names a line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use toml::Spanned;

/// A text: one plain string in the election's `language`, or a table from language to string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Texts {
    /// In the election's own language.
    Plain(String),
    /// By language tag.
    ByLanguage(BTreeMap<String, String>),
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a text, or a table of texts by language such as { en = \"North\", cy = \"Gogledd\" }",
                )
            }
            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts::Plain(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut texts = BTreeMap::new();
                while let Some((language, text)) = map.next_entry::<String, String>()? {
                    texts.insert(language, text);
                }
                Ok(Texts::ByLanguage(texts))
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ElectionFile {
    pub(super) election: Spanned<String>,
    pub(super) language: Option<Spanned<String>>,
    pub(super) title: Spanned<Texts>,
    pub(super) roll: Spanned<RollSource>,
    pub(super) parties: Spanned<Vec<Spanned<PathBuf>>>,
    pub(super) registrars: Spanned<Vec<Spanned<PathBuf>>>,
    pub(super) network: Option<Spanned<String>>,
    pub(super) revoked_stations: Option<Spanned<String>>,
    pub(super) tickets: Option<Spanned<TicketsTable>>,
    pub(super) enrolment: Option<Spanned<super::enrolment::EnrolmentTable>>,
    #[serde(default)]
    pub(super) station: Vec<Spanned<StationTable>>,
    pub(super) result: Spanned<ResultTable>,
    pub(super) contest: Vec<Spanned<ContestTable>>,
    #[serde(rename = "box")]
    pub(super) boxes: Vec<Spanned<BoxTable>>,
    pub(super) channel: Vec<Spanned<ChannelTable>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RollSource {
    pub(super) kind: Spanned<String>,
    /// Of a closed roll.
    pub(super) file: Option<PathBuf>,
    /// Of an open one: the most voters that it can have.
    pub(super) most: Option<u32>,
    /// Of an open one: its last moment, local time of `time_zone`.
    pub(super) freezes: Option<Spanned<String>>,
    pub(super) time_zone: Option<Spanned<String>>,
}

impl RollSource {
    /// Without the keys of an open roll.
    pub(super) fn is_closed(&self) -> bool {
        self.most.is_none() && self.freezes.is_none() && self.time_zone.is_none()
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TicketsTable {
    pub(super) per_day: u32,
    pub(super) draws: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StationTable {
    pub(super) identity: Spanned<PathBuf>,
    #[serde(default)]
    pub(super) boxes: Vec<Spanned<u32>>,
    #[serde(default)]
    pub(super) openings: Vec<Spanned<OpeningTable>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultTable {
    pub(super) counted_per_channel: bool,
    pub(super) min_voters: u32,
    pub(super) min_submissions: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContestTable {
    pub(super) id: Spanned<u32>,
    pub(super) title: Spanned<Texts>,
    pub(super) rule: Spanned<String>,
    pub(super) max: Option<Spanned<u32>>,
    pub(super) options: Spanned<Vec<Spanned<Texts>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BoxTable {
    pub(super) id: Spanned<u32>,
    pub(super) name: Spanned<Texts>,
    pub(super) contests: Spanned<Vec<Spanned<u32>>>,
    pub(super) max_ballots: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelTable {
    pub(super) kind: Spanned<String>,
    pub(super) name: Spanned<Texts>,
    pub(super) time_zone: Spanned<String>,
    pub(super) openings: Spanned<Vec<Spanned<OpeningTable>>>,
    pub(super) receive_until: Option<Spanned<String>>,
}

/// Either `opens` and `closes`, or `days` and `hours`: which is checked by the calendar.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpeningTable {
    pub(super) opens: Option<Spanned<String>>,
    pub(super) closes: Option<Spanned<String>>,
    pub(super) days: Option<Spanned<String>>,
    pub(super) hours: Option<Spanned<String>>,
}
