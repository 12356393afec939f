//! The party server: intake, store, sealing and tally sessions.

pub mod check;
pub mod clock;
pub mod config;
pub mod entropy;
pub mod init;
pub mod keys;
pub mod operator;
pub mod peers;
pub mod roles;
pub mod sealing;
pub mod session;
pub mod store;
pub mod telemetry;
