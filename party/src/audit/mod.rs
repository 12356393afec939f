//! The replay audit: what one party holds of a box, and its part of a tally session run again, checked by an auditor on the agency's machine.
//!
//! A party's part of a tally is a function of its input, the seeds of its two pairs and what it received. An auditor who is given one
//! party's store and session log runs the part again with the same engine and compares. Three such audits prove the totals right for
//! the sealed list, even if all three parties were corrupt: see [`tally_proto::audit`] for how they are joined, `PROTOCOL.md` for the
//! argument. One audit sees what one party saw, which is nothing about any vote; the statement that it ends with says even less. Nobody may
//! audit two parties: two parties' records together show everything.
//!
//! | file | what |
//! |---|---|
//! | `desk` | the whole audit of a box at one party: opens the store for reading, signs the statement |
//! | `session` | one session: log, seeds, input, replay, end |
//! | `replay`, `tape` | the engine over the log |
//! | `table` | the summary for people |
//!
//! What a box holds is checked by [`crate::sealing::SealedBox::audit`].

mod desk;
mod replay;
mod session;
pub(crate) mod table;
mod tape;

use tally_proto::audit::{Check, Item, MAX_DETAIL_BYTES, Verdict};

pub use desk::{AuditError, Desk, create_key, read_key};
pub use replay::{Replayed, Setup, replay};
pub use session::{SessionAudit, SignedEnd, audit_session};
pub use tape::Divergence;

/// A check with its verdict: what was found where it holds, what is wrong where it does not.
pub(crate) fn item(check: Check, found: Result<String, String>) -> Item {
    let (verdict, text) = match found {
        Ok(text) => (Verdict::Passed, text),
        Err(text) => (Verdict::Failed, text),
    };
    // A text may quote what a log holds.
    let mut detail: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_DETAIL_BYTES)
        .collect();
    while detail.len() > MAX_DETAIL_BYTES {
        detail.pop();
    }
    Item {
        check,
        verdict,
        detail,
    }
}
