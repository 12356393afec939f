//! Offsets of enrolled credentials: the keys K_j that this party holds with each neighbour, and telling a voter's device its offsets once.
//! The formulas, and what they are for, are in [`tally_proto::offsets`].
//!
//! P_i holds K_i with P_{i-1} and K_{i+1} with P_{i+1}, for each register. P_j draws K_j when the coordinator first asks for the register's
//! commitments, after asking P_{j-1} whether it holds one from before (this party may have lost its store); P_{j-1} takes it from P_j and
//! keeps the first that it is given. A manifest that names other commitments than those of the keys held here is not taken, so the
//! countersignatures of P_{j-1} and P_j stand for C_j.

mod agree;
mod rows;

pub use rows::Held;
pub(crate) use rows::create as create_tables;
