//! Whole elections on real processes: the harness, the demonstration, and what both are compared with.

pub mod blt;
pub mod cheating;
pub mod crowd;
pub mod demo;
pub mod leaks;
pub mod many;
pub mod process;
pub mod proxy;
pub mod published;
pub mod recount;
pub mod script;
pub mod soak;
pub mod tamper;
pub mod terminal;
pub mod units;
pub mod utc;
pub mod world;
