//! Contests.

use super::{ManifestError, Unsupported, count};
use crate::ids::ContestId;
use crate::text::Texts;
use crate::wire;
use tally_mpc::layout as packed;

/// How a contest is decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// One option.
    Single,
    /// Up to `max` options.
    Approval {
        /// At most so many.
        max: u32,
    },
}

/// A contest: options are numbered from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contest {
    id: ContestId,
    title: Texts,
    options: Vec<Texts>,
    rule: Rule,
}

impl Contest {
    /// Its number.
    pub fn id(&self) -> ContestId {
        self.id
    }
    /// Its title.
    pub fn title(&self) -> &Texts {
        &self.title
    }
    /// Names of options 1, 2, ...
    pub fn options(&self) -> &[Texts] {
        &self.options
    }
    /// Its rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    pub(super) fn packed(&self) -> packed::Contest {
        // At most `tally_mpc`'s own limit of options, checked in `from_wire`.
        let options = u32::try_from(self.options.len()).unwrap_or(u32::MAX);
        match self.rule {
            Rule::Single => packed::Contest::Single { options },
            Rule::Approval { max } => packed::Contest::Approval { options, max },
        }
    }

    pub(super) fn from_wire(wire: &wire::Contest) -> Result<Self, ManifestError> {
        let id = ContestId(wire.id);
        let text = |place: String, texts: &[wire::Text]| {
            Texts::from_wire(texts).map_err(|source| ManifestError::Text { place, source })
        };
        count(
            "options of a contest",
            wire.options.len(),
            1,
            packed::MAX_OPTIONS as usize,
        )?;
        let option = |(i, option): (usize, &wire::Choice)| {
            text(format!("contest {id}, option {}", i + 1), &option.name)
        };
        Ok(Self {
            id,
            title: text(format!("contest {id}"), &wire.title)?,
            options: wire
                .options
                .iter()
                .enumerate()
                .map(option)
                .collect::<Result<_, _>>()?,
            rule: match &wire.rule {
                Some(wire::contest::Rule::Single(_)) => Rule::Single,
                Some(wire::contest::Rule::Approval(rule)) => Rule::Approval { max: rule.max },
                None => return Err(ManifestError::Unsupported(Unsupported::Rule(id))),
            },
        })
    }

    pub(super) fn to_wire(&self) -> wire::Contest {
        wire::Contest {
            id: self.id.get(),
            title: self.title.to_wire(),
            options: self
                .options
                .iter()
                .map(|name| wire::Choice { name: name.to_wire() })
                .collect(),
            rule: Some(match self.rule {
                Rule::Single => wire::contest::Rule::Single(wire::SingleRule {}),
                Rule::Approval { max } => wire::contest::Rule::Approval(wire::ApprovalRule { max }),
            }),
        }
    }
}
