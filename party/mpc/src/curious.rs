//! The engine without its checks, secure against curious parties only: to measure what the checks cost.
//!
//! Behind the feature `curious`, which `tally-bench` alone asks for. A party has no way to this code: it calls [`crate::tally`],
//! which takes no mode.

use crate::channel::Channel;
use crate::error::TallyError;
use crate::gates::Gates;
use crate::input::TallyInput;
use crate::observer::Observer;
use crate::prss::{Binding, Seeds};
use crate::tally::{Outcome, TallyParams, tally_with};

/// Tallies one box without any check of the other parties. For measurements with synthetic ballots, never for a vote.
///
/// # Errors
/// As [`crate::tally`], without failed checks.
///
/// # Security
/// A party that deviates can bend the result, and can learn from bending what is opened.
pub fn tally_without_checks(
    seeds: &Seeds,
    binding: &Binding,
    input: TallyInput,
    channel: &mut dyn Channel,
    observer: &mut dyn Observer,
    params: &TallyParams,
) -> Result<Outcome, TallyError> {
    let mut gates = Gates::curious(input.role, seeds, binding, channel, observer);
    tally_with(&mut gates, input, params)
}
