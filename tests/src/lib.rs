//! Whole elections on real processes: the harness, the demonstration, and what both are compared with.

pub mod blt;
pub mod recount;
pub mod script;
