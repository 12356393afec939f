//! Whole tallies over three real processes, on synthetic elections; kernel benchmarks are in `benches/`.
//!
//! The parent makes authorities, certificates and an election seed, starts three copies of its own executable as parties, and lets them
//! tally over mutual TLS with the very session code of the party server. Each party generates the whole synthetic election from the
//! seed and keeps only its own two shares of it.

pub mod audit;
pub mod auditor;
pub mod cast;
pub mod child;
pub mod flood;
mod process;
pub mod protocol;
pub mod report;
pub mod seal;
pub mod synthetic;
pub mod trio;
mod ward;
