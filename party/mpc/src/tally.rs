//! The whole tally of a box: shuffle, sort, join, scan, count, open.

use crate::channel::{Channel, Phase, Scope};
use crate::error::{ParamsError, TallyError};
use crate::expand::expand;
use crate::gates::Gates;
use crate::input::TallyInput;
use crate::join::Joined;
use crate::layout::BallotLayout;
use crate::notary::Notary;
use crate::observer::{Observer, Opening};
use crate::prss::{Binding, Seeds};
use crate::scan;
use crate::share::{Column, append};
use crate::shuffle::{self, Table};
use crate::sort::{self, Keys, SortParams};
use crate::sum::{self, Counter};
use crate::transpose::transpose64;

/// Which counts of ballots are opened beside the contests' totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpenedCounts {
    /// None.
    #[default]
    Nothing,
    /// How many ballots counted, spoilt ones included.
    Counted,
    /// The same for each channel.
    PerChannel,
}

/// What is opened, and how the work is cut. All three parties must use the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TallyParams {
    /// Which counts of ballots are opened.
    pub counts: OpenedCounts,
    /// How the sort trades comparisons for rounds.
    pub sort: SortParams,
}

/// The opened result of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// One for each contest, in order.
    pub contests: Vec<ContestTotals>,
    /// The counts of ballots that the parameters open.
    pub counts: Counts,
}

/// The opened result of a contest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContestTotals {
    /// Votes for each option.
    pub options: Vec<u64>,
    /// Counted ballots whose field is spoilt.
    pub spoilt: u64,
}

/// Opened counts of ballots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Not opened.
    Nothing,
    /// Ballots that counted.
    Counted(u64),
    /// Ballots that counted, for each channel.
    PerChannel {
        /// Online.
        online: u64,
        /// At stations, with a choice.
        electronic: u64,
    },
}

/// Tallies one box: this party's part, with the other two at the far ends of `channel`.
///
/// The party's role is that of its input. All three parties run with the same binding, layout, shape and parameters. `notary` signs
/// this party's statements and checks those of the two others.
///
/// # Errors
/// A message did not arrive or is not what its step prescribes, a check failed, or a parameter is out of range. Nothing is
/// opened after an error.
///
/// # Security
/// Against one malicious party, with abort: what is opened is right, and depends on nothing but the sizes, a uniformly random
/// permutation and the result. What is opened is reported to the observer: fresh tag keys, comparison bits, the totals.
pub fn tally(
    seeds: &Seeds,
    binding: &Binding,
    input: TallyInput,
    channel: &mut dyn Channel,
    notary: &mut dyn Notary,
    observer: &mut dyn Observer,
    params: &TallyParams,
) -> Result<Outcome, TallyError> {
    let mut gates = Gates::new(input.role, seeds, binding, channel, notary, observer);
    let outcome = tally_with(&mut gates, input, params);
    gates.end();
    outcome
}

/// The tally on an engine that is set up.
pub(crate) fn tally_with(
    gates: &mut Gates<'_>,
    mut input: TallyInput,
    params: &TallyParams,
) -> Result<Outcome, TallyError> {
    params.sort.check()?;
    gates.let_wait(params.sort.waiting_gates);
    let layout = input.layout.clone();
    let format = input.format.clone();
    let ballots = input.shape.ballots();
    if ballots == 0 {
        return Ok(no_ballots(&layout, params.counts));
    }

    gates.link.start(Phase::Shuffle);
    let table = Table {
        width: format.words(),
        own: std::mem::take(&mut input.own),
        next: std::mem::take(&mut input.next),
    };
    drop(input);
    let table = shuffle::shuffle(
        gates,
        Scope {
            phase: Phase::Shuffle,
            step: 0,
            chunk: 0,
        },
        table,
    )?;
    gates.link.finish(Phase::Shuffle);

    gates.link.start(Phase::Sort);
    let order = sort::sort(
        gates,
        Keys::of(&table, format.key_bits()),
        format.key_bits(),
        &params.sort,
    )?;
    gates.link.finish(Phase::Sort);

    gates.link.start(Phase::Join);
    let mut joined = Joined::load(&table, &order, &format, layout.payload_bits());
    drop((table, order));
    let valid = joined.valid(gates)?;
    gates.link.finish(Phase::Join);

    gates.link.start(Phase::Scan);
    let counted = scan::counted(gates, valid, &joined.is_roll, &joined.is_paper)?;
    gates.link.finish(Phase::Scan);

    gates.link.start(Phase::Count);
    let bits = (u64::BITS - ballots.leading_zeros()) as usize;
    let sums = count(gates, &layout, joined, counted, params.counts, bits)?;
    gates.link.finish(Phase::Count);

    gates.link.start(Phase::Open);
    let totals = open(gates, &sums, bits, ballots)?;
    gates.link.finish(Phase::Open);
    Ok(outcome(&layout, params.counts, totals))
}

/// The counts of everything that is to be opened, in canonical order: for each contest its options and, where there can
/// be any, its spoilt votes; then the counts of ballots.
fn count(
    gates: &mut Gates<'_>,
    layout: &BallotLayout,
    mut joined: Joined,
    counted: Column,
    counts: OpenedCounts,
    bits: usize,
) -> Result<Vec<Column>, TallyError> {
    let mut counters = Vec::new();
    let mut payload = std::mem::take(&mut joined.payload).into_iter();
    let total = layout.contests().len() as u64 + 1;
    for (i, contest) in layout.contests().iter().enumerate() {
        gates.link.observer.progress(Phase::Count, i as u64, total);
        let field: Vec<Column> = payload.by_ref().take(contest.bits()).collect();
        let mut tape = gates.tape(Scope {
            phase: Phase::Count,
            step: i as u32,
            chunk: 0,
        });
        let expanded = expand(gates, &mut tape, contest, &field, &counted)?;
        drop(field);
        let columns = expanded.options.into_iter().chain(expanded.spoilt);
        let mut these: Vec<Counter> = columns.map(|column| Counter::new(column, bits)).collect();
        sum::condense(gates, &mut tape, &mut these)?;
        counters.append(&mut these);
    }
    gates.link.observer.progress(Phase::Count, total - 1, total);
    let mut tape = gates.tape(Scope {
        phase: Phase::Count,
        step: layout.contests().len() as u32,
        chunk: 0,
    });
    let mut these: Vec<Counter> = match counts {
        OpenedCounts::Nothing => Vec::new(),
        OpenedCounts::Counted => vec![Counter::new(counted, bits)],
        OpenedCounts::PerChannel => {
            let electronic = gates.and1(&mut tape, &counted, &joined.is_station)?;
            let mut online = counted;
            online.xor_assign(&electronic);
            vec![Counter::new(online, bits), Counter::new(electronic, bits)]
        }
    };
    sum::condense(gates, &mut tape, &mut these)?;
    counters.append(&mut these);
    let sums = sum::finish(gates, &mut tape, &counters, bits)?;
    gates.link.observer.progress(Phase::Count, total, total);
    Ok(sums)
}

/// Commits to the counts and opens them.
fn open(gates: &mut Gates<'_>, sums: &[Column], bits: usize, ballots: u64) -> Result<Vec<u64>, TallyError> {
    let mut all = Column::zero(0);
    for sum in sums {
        append(&mut all.a, &sum.a);
        append(&mut all.b, &sum.b);
    }
    let scope = Scope {
        phase: Phase::Open,
        step: 0,
        chunk: 0,
    };
    let all = gates.validate(scope, all)?;
    let all = gates.commit(scope, all)?;
    let words = gates.open_committed(scope, Opening::Totals, all)?;
    let mut totals = Vec::with_capacity(64 * sums.len());
    for word in words.chunks(bits) {
        let mut block = [0; 64];
        block[..bits].copy_from_slice(word);
        transpose64(&mut block);
        totals.extend_from_slice(&block);
    }
    match totals.iter().find(|&&total| total > ballots) {
        Some(&total) => Err(TallyError::ImpossibleTotal { total, ballots }),
        None => Ok(totals),
    }
}

/// Names the opened totals.
fn outcome(layout: &BallotLayout, counts: OpenedCounts, totals: Vec<u64>) -> Outcome {
    let mut totals = totals.into_iter();
    let mut next = || totals.next().unwrap_or(0);
    let contests = layout
        .contests()
        .iter()
        .map(|contest| ContestTotals {
            options: (0..contest.options()).map(|_| next()).collect(),
            spoilt: if contest.can_be_spoilt() { next() } else { 0 },
        })
        .collect();
    let counts = match counts {
        OpenedCounts::Nothing => Counts::Nothing,
        OpenedCounts::Counted => Counts::Counted(next()),
        OpenedCounts::PerChannel => Counts::PerChannel {
            online: next(),
            electronic: next(),
        },
    };
    Outcome { contests, counts }
}

/// The result of a box without ballots, which needs no computation.
fn no_ballots(layout: &BallotLayout, counts: OpenedCounts) -> Outcome {
    outcome(layout, counts, Vec::new())
}

impl TallyParams {
    /// Presets for parties that are tens of milliseconds apart.
    pub fn wan() -> Self {
        Self {
            sort: SortParams::WAN,
            ..Self::default()
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// The first parameter that is out of range.
    pub fn check(&self) -> Result<(), ParamsError> {
        self.sort.check()
    }
}
