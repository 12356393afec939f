//! Attacks on the tally's engine: three parties in memory, one of which lies in its channel, and what the two others make of it.
//!
//! The lying party runs the real engine; a saboteur between it and its neighbours alters what it sends, keeps the books of what really
//! left, and signs its statements at the barriers accordingly. Everything is seeded: the same attack gives the same run, and an
//! undisturbed run of the same session says what should have been opened. The same trio without barriers shows that the suite sees what a
//! rushing party gains there.

pub mod attack;
pub mod books;
pub mod chi_square;
pub mod election;
pub mod kind;
pub mod saboteur;
pub mod statistics;
pub mod suite;
pub mod table;
pub mod trio;
pub mod wire;
