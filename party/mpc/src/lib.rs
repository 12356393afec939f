//! The tally protocol: shares, PRSS, AND layers, shuffle, sort, scan and outputs.
//!
//! Three parties hold the roll's credentials and the ballots in replicated secret sharing over bits and compute the
//! totals; [`tally`] is one party's part. The engine has no sockets, no clock, no runtime, no keys and no source of randomness: the
//! caller brings the seeds, a [`Channel`], a [`Notary`] and an [`Observer`]. `PROTOCOL.md` tells the protocol.
//!
//! # Security
//! Against one malicious party, with abort: see [`Gates`], [`proof`] and `PROTOCOL.md`. The module `curious`, without the
//! checks, exists only under a feature of its own, for measurements.

mod channel;
#[cfg(feature = "curious")]
pub mod curious;
mod error;
mod expand;
pub mod field;
mod gates;
mod input;
mod join;
#[cfg(feature = "kernels")]
pub mod kernels;
pub mod layout;
mod ledger;
mod link;
pub mod local;
mod notary;
mod observer;
pub mod proof;
mod prss;
mod role;
mod rows;
mod scan;
mod share;
mod shuffle;
pub mod simd;
mod sort;
mod sum;
mod tally;
mod transpose;

pub use channel::{
    Channel, ChannelError, LAST_WAITS, Label, MAX_IN_FLIGHT_BYTES, MAX_MESSAGE_BYTES, Phase, Scope,
};
pub use error::{CheckError, ParamsError, Standing, TallyError};
pub use gates::{Committed, Gates, Validated};
pub use input::{BallotKind, InputBuilder, InputError, Shape, TallyInput};
pub use layout::{BallotLayout, Choice, Contest, LayoutError};
pub use ledger::Ledger;
pub use notary::{ChannelHashes, Notary, Signed, Statement};
pub use observer::{Observer, Opening, Traffic};
pub use proof::ProofError;
pub use prss::{Binding, Seed, Seeds};
pub use role::{Neighbour, Role};
pub use share::Column;
pub use sort::{SortParams, transcript};
pub use tally::{ContestTotals, Counts, OpenedCounts, Outcome, TallyParams, tally};
