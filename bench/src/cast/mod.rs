//! Casting at three real servers, each a process of its own, by a generator that is a fourth.
//!
//! | file | what |
//! |---|---|
//! | `ballots` | ballots sealed to the three parties before the clock starts |
//! | `generator` | the generator's process: many voters at once, each submitting to all three and handing every receipt to the others |
//! | `line` | a connection of the generator's |
//! | `party` | a party's process: the server, and what it used |
//! | `measure` | the parent: starts them, kills the servers when the last ballot is in, and counts what is on their disks |

pub(crate) mod ballots;
pub(crate) mod generator;
mod line;
pub(crate) mod measure;
pub(crate) mod party;

pub use generator::generate;
pub use measure::{CastPlan, CastReport, cast};
pub use party::serve;
