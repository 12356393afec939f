//! Tally sessions, as far as anybody can check them: Starts and the session's id, frames, demands for overdue frames, statements of
//! holdings, and Aborts with the evidence in them.
//!
//! A session is one attempt to tally a sealed box. Three signed [`Start`]s open it; its id is a hash over their payloads, so everything
//! that is signed under the id is bound to Seal, election, box, number and the contributions to the seeds.

mod abort;
mod demand;
mod frame;
mod holdings;
mod start;

pub use abort::{
    AbortError, Check, Examined, MAX_ABORT_BYTES, Proof, SessionAbort, VerifiedAbort, statement_layout,
    verify_aborts,
};
pub use demand::{Answer, Demand, DemandError, MAX_DEMAND_BYTES, Supply};
pub use frame::{
    Body, CONTRIBUTION_BYTES, FrameError, MAX_FRAME_BYTES, Numbering, detached, parse_label, weight,
};
pub use holdings::{Holdings, HoldingsError, NONCE_BYTES};
pub use start::{MAX_START_BYTES, Start, StartPayloadError, session_id};

#[cfg(test)]
mod tests;
