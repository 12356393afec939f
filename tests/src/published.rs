//! What a published bundle says, read without verifying it: for the comparison with a recount.

use std::collections::BTreeSet;

use prost::Message as _;
use tally_proto::sealing::{BodyError, BoxBody};
use tally_proto::wire;
use thiserror::Error;

use crate::recount::Count;
use crate::script::Roll;

/// A bundle that cannot be read.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each variant says it in its message")]
pub enum PublishedError {
    #[error("the published bundle does not decode: {0}")]
    Bundle(#[from] prost::DecodeError),
    #[error("the evidence of a published box does not decode: {0}")]
    Body(#[from] BodyError),
    #[error("the published bundle lacks {0}")]
    Lacking(&'static str),
}

/// A box as published, with the one contest that the elections of this package have.
#[derive(Debug)]
pub struct Published {
    /// Which.
    pub box_id: u32,
    /// The result.
    pub count: Count,
    /// The ballots in evidence, by digest.
    pub ballots: BTreeSet<[u8; 32]>,
}

/// Reads the boxes of a bundle for `roll`, in the bundle's order.
///
/// # Errors
/// [`PublishedError`].
pub fn read(bundle: &[u8], roll: &Roll) -> Result<Vec<Published>, PublishedError> {
    use PublishedError::Lacking;
    let envelope = wire::Envelope::decode(bundle)?;
    let bundle = wire::Bundle::decode(envelope.payload)?;
    let mut boxes = Vec::with_capacity(bundle.boxes.len());
    for of_box in bundle.boxes {
        let result = of_box.result.ok_or(Lacking("a box's result"))?;
        let result = wire::Result::decode(result.payload)?;
        let contest = result.contests.first().ok_or(Lacking("a contest's result"))?;
        let count = Count {
            totals: contest.totals.clone(),
            spoilt: contest.spoilt,
            online: result
                .counted_online
                .ok_or(Lacking("the count of online ballots"))?,
            station: result
                .counted_station
                .ok_or(Lacking("the count of station ballots"))?,
        };
        let voters = (result.r#box as usize)
            .checked_sub(1)
            .and_then(|at| roll.boxes.get(at))
            .ok_or(Lacking("a box of the roll"))?;
        let body = BoxBody::decode(&of_box.body, *voters)?;
        boxes.push(Published {
            box_id: result.r#box,
            count,
            ballots: body
                .ballots()
                .iter()
                .map(|evidence| evidence.digest().0)
                .collect(),
        });
    }
    Ok(boxes)
}
