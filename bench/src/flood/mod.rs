//! A flood of submissions that no party may take, at three real servers, while honest voters cast.
//!
//! | file | what |
//! |---|---|
//! | `generator` | the flood's process: from many addresses, over many connections, always so many submissions under way |
//! | `voters` | the honest voters' process: so many begin in a second, each with a ticket and connections of their own |
//! | `measure` | the parent: honest voters alone, then the flood alone, then both; what the stores grew by, and what is in them |
//!
//! The election asks for tickets. A submission of the flood has none, or one that is right in everything but the coordinator's signature: what
//! anybody can make who has drawn none, and what costs a party most to refuse. With `--mix` each submission is followed by something else that anybody
//! may ask: a lookup, a checkpoint, the manifest, a forged receipt of another party, a forged enrolment.

mod generator;
mod measure;
mod voters;

pub use generator::generate;
pub use measure::{FloodPlan, FloodReport, flood};
pub use voters::vote;
