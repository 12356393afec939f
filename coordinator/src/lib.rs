//! The election commission: definition, roll, registrar, phases, results.
//!
//! A **coordinator** defines an election from one readable TOML file and a roll, has the three parties countersign it, drives
//! the phases (publish, seal, tally) and publishes a signed bundle that anyone can check against the manifest alone. It holds
//! no share of anything: a malicious coordinator learns the roll and the published result, and can stop an election, never
//! bend it. A **registrar** issues credentials for a roll, seals them to the parties and writes each invitation exactly once.
//!
//! Every command of [`cli`] is a plain async function of this library ([`setup`], [`definition`], [`sealing`], [`tallying`],
//! [`registrar`]), so that tests and demonstrations drive an election without a terminal.

pub mod aborts;
pub mod audits;
pub mod board;
pub mod bundle;
pub mod cli;
pub mod confirm;
pub mod definition;
pub mod directory;
pub mod error;
pub mod files;
pub mod open_roll;
pub mod orders;
pub mod own_alarms;
pub mod parties;
pub mod progress;
pub mod registers;
pub mod registrar;
pub mod report;
pub mod roll;
pub mod sealing;
pub mod setup;
pub mod sign_ins;
pub mod status;
pub mod tallying;
pub mod tickets;

pub use error::Error;
