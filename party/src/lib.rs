//! The party server: intake, store, sealing and tally sessions.
//!
//! A party holds two of the three shares of every ballot and credential, and acts with the two other parties only: it takes ballots
//! ([`intake`]), seals boxes ([`sealing`]) and tallies them ([`session`]). [`server::Server::start`] runs one in this process; the command is
//! [`cli::main_with`].

pub mod alarm;
pub mod audit;
pub mod check;
pub mod cli;
pub mod clock;
pub mod clock_watch;
pub mod config;
pub mod elections;
pub mod entropy;
pub mod holder;
pub mod init;
pub mod intake;
pub mod journal;
pub mod keys;
mod locked;
mod lookout;
mod machine;
pub mod metrics;
pub mod mirror;
pub mod officials;
pub mod offsets;
pub mod operator;
pub mod party;
pub mod peers;
pub mod renew;
mod replaced;
pub mod roles;
pub mod rpc;
pub mod sealing;
pub mod server;
pub mod session;
pub mod sight;
mod status;
pub mod store;
pub mod telemetry;
pub mod witness;
