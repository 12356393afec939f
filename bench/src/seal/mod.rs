//! Sealing over three real servers: their stores are filled before the clock starts, then the coordinator's request does the rest.
//!
//! | file | what |
//! |---|---|
//! | `cast` | its records and ballots, who accepted which, and the stores filled with them |
//! | `party` | a party's processes: filling, serving, and the audit of the sealed box |
//! | `measure` | the parent: starts them, asks all three to seal, reports |

mod cast;
mod measure;
mod party;

pub use measure::{SealReport, seal};
pub use party::{audit_box, fill, serve};
