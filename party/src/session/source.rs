//! What a session tallies, as sealing hands it over.

use tally_mpc::{Outcome, TallyInput, TallyParams};
use tally_proto::envelope::PublicKey;
use tally_proto::ids::{BoxId, ElectionId, Hash32};
use tally_proto::refusal::Refusal;
use tally_proto::result::{BoxResult, ResultError};

use super::opening::Scene;

/// Makes this party's input, decrypting its shares; runs on the engine's thread and may block.
pub type MakeInput = Box<dyn FnOnce() -> Result<TallyInput, Refusal> + Send>;

/// Makes the box's Result of what was opened.
pub type Conclude = Box<dyn FnOnce(&Outcome) -> Result<BoxResult, ResultError> + Send>;

/// A box that is ready to be tallied.
pub struct Ready {
    /// SHA-256 of the Seal's payload.
    pub seal_hash: Hash32,
    /// Signing keys of the three parties, in order.
    pub keys: [PublicKey; 3],
    /// What is opened, and how the sort is cut. The same at all three parties.
    pub params: TallyParams,
    /// The input.
    pub input: MakeInput,
    /// The result. The same bytes at all three parties.
    pub conclude: Conclude,
}

impl Ready {
    /// What a session of the box at `place` tallies.
    pub(crate) fn scene(&self, (election, box_id): &(ElectionId, BoxId)) -> Scene {
        Scene {
            seal_hash: self.seal_hash,
            election: election.clone(),
            box_id: *box_id,
        }
    }
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ready(seal {})", self.seal_hash.short())
    }
}

/// Where sealed boxes come from.
pub trait TallySource: Send + Sync + 'static {
    /// The sealed box. Blocks.
    ///
    /// # Errors
    /// The election or box is unknown, the box is not sealed, or the manifest is not countersigned by all.
    fn ready(&self, election: &ElectionId, of_box: BoxId) -> Result<Ready, Refusal>;
}
