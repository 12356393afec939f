//! Tally sessions: Starts, the transport between two parties, the engine's run and its result.
//!
//! A session is one attempt to tally a sealed box. Each party signs a Start with a number above all its earlier ones (durable before the
//! Start leaves) and commitments to fresh contributions; three Starts open the session. The lower index of each pair dials
//! `Peer.Session`; the opening frames reveal the contributions, from which both ends derive the pair's seed. Then the engine runs on a
//! thread of its own over the two streams. It ends with a signed Result or a signed Abort, and is never resumed: the contributions live
//! in memory only. Every session is logged, sealed at rest, for the audit.
//!
//! PROTOCOL.md beside this file tells all of it, with what is not covered.
//!
//! | file | what |
//! |---|---|
//! | `opening`, `start` | contributions, commitments, session id, pair seeds; making and checking Starts |
//! | `transport` | TCP, TLS and HTTP/2 set up for speed |
//! | `queue`, `pool`, `link` | numbered frames over a neighbour's stream, with back-pressure |
//! | `channel`, `fate` | the engine's channel over two links, with deadlines; what went wrong first, and with whom |
//! | `lobby`, `meet` | incoming streams find their session; dialling, revealing, checking |
//! | `source`, `ledger`, `outcome` | what sealing hands over; numbers, results and aborts on disk; signed Aborts |
//! | `holdings`, `others` | what the others hold of this party's signatures; questions to them beside a session |
//! | `board`, `demands` | frames kept in case they are demanded; demanding, relaying and answering |
//! | `log` | the session's sealed log: format, writer beside the tally, reader |
//! | `service` | Prepare, Tally and Session as the services call them; `peer` is a listener for sessions alone |
//! | `begun`, `recollection` | a session that began here, and how it ended; what the others hold, taken over |
//! | `run`, `progress`, `accuser` | the session's run; what it tells meanwhile; whom it suspects when it stops |

mod accuser;
mod begun;
mod board;
mod channel;
mod demands;
mod fate;
pub(crate) mod holdings;
pub(crate) mod ledger;
mod link;
mod lobby;
pub mod log;
mod meet;
mod notary;
pub(crate) mod opening;
mod others;
mod outcome;
mod peer;
mod pool;
mod progress;
mod queue;
mod recollection;
mod run;
mod sealed;
mod seam;
mod service;
mod source;
pub(crate) mod start;
pub mod transport;

pub(crate) use ledger::{create_tables, result_of};

pub use channel::Pace;
pub use demands::Demands;
pub use lobby::Lobby;
pub use meet::Endpoints;
pub use opening::Scene;
pub use peer::{Answer, Current, Frames, SessionPeer};
pub use progress::{PhaseReport, Progress};
pub use run::{Engine, EngineError, Interrupt, Report, Stop, Surroundings, run};
pub use sealed::SealedBoxes;
pub use service::{Sessions, SessionsParts};
pub use source::{Conclude, MakeInput, Ready, TallySource};
pub use start::{Prepared, StartError, Starts};

#[cfg(test)]
mod tests;
