//! Offsets of enrolled credentials: the keys K_j that this party holds with each neighbour, and telling a voter's device its offsets once.
//! The formulas, and what they are for, are in [`tally_proto::offsets`].
//!
//! P_i holds K_i with P_{i-1} and K_{i+1} with P_{i+1}, for each register. P_j draws K_j when the coordinator first asks for the register's
//! commitments, after asking P_{j-1} whether it holds one from before (this party may have lost its store); P_{j-1} takes it from P_j and
//! keeps the first that it is given. A manifest that names other commitments than those of the keys held here is not taken, so the
//! countersignatures of P_{j-1} and P_j stand for C_j.

//!
//! When P_i is shown the three receipts of a card record it tells s_i and s_{i+1} to whoever knows both nonces of its shares, once; and when
//! it tallies it adds them to those shares ([`Held::both`]). A party whose store was lost asks its neighbours for its keys again, and
//! takes what opens the manifest's commitments.

mod agree;
mod rows;
mod tell;

pub use rows::{Held, MissingKey};

use crate::store::{StoreError, WriteTx};

/// Makes the tables of this module, in the store's opening transaction.
pub(crate) fn create_tables(tx: &WriteTx) -> Result<(), StoreError> {
    rows::create(tx)?;
    tell::create(tx)
}
