//! A result for readers: the numbers of a bundle in one plain structure, and its two renderings.
//!
//! [`Summary`] holds nothing but published figures. [`terminal`] prints it as tables and bars, [`html`] as one self-contained
//! page without scripts. *Ballots received* counts submissions: one voter may have sent many. It says nothing about how many
//! people voted, so neither rendering ever calls it anything else.

mod chart;
pub mod html;
mod of;
pub mod terminal;

#[cfg(test)]
mod tests;

/// The published figures of an election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The election id.
    pub election: String,
    /// The language the texts below are in.
    pub language: String,
    /// The title.
    pub title: String,
    /// SHA-256 of the manifest, hexadecimal.
    pub manifest_hash: String,
    /// The coordinator that published.
    pub coordinator: String,
    /// When, in the election's time zone.
    pub published_at: String,
    /// The three agencies, P1 to P3.
    pub agencies: [String; 3],
    /// The boxes, in the manifest's order.
    pub boxes: Vec<BoxFigures>,
    /// Orders of correction, each of one voter; what became of any vote by them is known to nobody.
    pub corrections: u64,
    /// Names of boxes that have no result, such as one with too few submissions.
    pub left_out: Vec<String>,
    /// The contests, in the manifest's order.
    pub contests: Vec<ContestFigures>,
}

/// One box's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxFigures {
    /// The id.
    pub id: u32,
    /// The name.
    pub name: String,
    /// Voters on the roll.
    pub voters: u64,
    /// Ballots received online and sealed.
    pub online: u64,
    /// Electronic ballots received from stations and sealed.
    pub station: u64,
    /// Paper marks received from stations and sealed; the papers are counted by hand.
    pub paper: u64,
    /// Ballots excluded at sealing, each with its published reason.
    pub excluded: u64,
    /// Counted ballots by channel (online, station), where the policy opens them.
    pub counted: Option<(u64, u64)>,
    /// Numbers (1 to 3) of the parties that signed the result.
    pub result_signed_by: Vec<u8>,
    /// Numbers of the parties that signed the seal.
    pub seal_signed_by: Vec<u8>,
}

/// One contest's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContestFigures {
    /// The id.
    pub id: u32,
    /// The title.
    pub title: String,
    /// The rule in words.
    pub rule: Rule,
    /// The options' names, option 1 first.
    pub options: Vec<String>,
    /// The figures of each box that votes on it.
    pub boxes: Vec<ContestInBox>,
}

/// A contest's rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// One choice.
    Single,
    /// Up to so many options approved.
    Approval {
        /// The most.
        max: u32,
    },
}

impl Rule {
    /// In words.
    pub fn words(self) -> String {
        match self {
            Self::Single => "one choice".to_owned(),
            Self::Approval { max } => format!("up to {max} choices"),
        }
    }
}

/// One contest's figures in one box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContestInBox {
    /// The box's id.
    pub box_id: u32,
    /// Votes of option 1, 2 ...
    pub totals: Vec<u64>,
    /// Spoilt ballots.
    pub spoilt: u64,
}

impl ContestFigures {
    /// Votes of each option over all boxes.
    pub fn summed(&self) -> Vec<u64> {
        (0..self.options.len())
            .map(|o| {
                self.boxes
                    .iter()
                    .map(|b| b.totals.get(o).copied().unwrap_or(0))
                    .sum()
            })
            .collect()
    }

    /// Spoilt ballots over all boxes.
    pub fn spoilt(&self) -> u64 {
        self.boxes.iter().map(|b| b.spoilt).sum()
    }

    /// Each option's share of the contest's votes in tenths of a percent, rounded; for a single choice only, because the
    /// votes of an approval contest are not the ballots counted.
    pub fn per_mille(&self) -> Option<Vec<u64>> {
        let totals = self.summed();
        let all: u64 = totals.iter().sum();
        (self.rule == Rule::Single && all > 0).then(|| {
            totals
                .iter()
                .map(|t| (u128::from(*t) * 2000 + u128::from(all)) / (2 * u128::from(all)))
                .map(|v| v as u64)
                .collect()
        })
    }

    /// Option positions, most votes first, ties in ballot order.
    pub fn ranked(&self) -> Vec<usize> {
        let totals = self.summed();
        let mut order: Vec<usize> = (0..totals.len()).collect();
        order.sort_by_key(|o| std::cmp::Reverse(totals.get(*o).copied()));
        order
    }
}

impl Summary {
    /// A box by id.
    pub fn box_by_id(&self, id: u32) -> Option<&BoxFigures> {
        self.boxes.iter().find(|b| b.id == id)
    }

    /// A box's name, or its number for one that is not there.
    pub fn box_name(&self, id: u32) -> String {
        self.box_by_id(id)
            .map_or_else(|| format!("box {id}"), |b| b.name.clone())
    }

    /// `P1 Agency, P3 Agency` for party numbers.
    pub fn signers(&self, parties: &[u8]) -> String {
        let named: Vec<String> = parties
            .iter()
            .map(
                |p| match usize::from(*p).checked_sub(1).and_then(|i| self.agencies.get(i)) {
                    Some(agency) => format!("P{p} {agency}"),
                    None => format!("P{p}"),
                },
            )
            .collect();
        if named.is_empty() {
            "nobody".to_owned()
        } else {
            named.join(", ")
        }
    }
}

/// A percentage with one decimal from tenths of a percent.
fn percent(per_mille: u64) -> String {
    format!("{}.{} %", per_mille / 10, per_mille % 10)
}
