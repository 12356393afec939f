//! What a session tallies, as sealing hands it over.

use tally_mpc::{TallyInput, TallyParams};
use tally_proto::envelope::PublicKey;
use tally_proto::ids::{BoxId, ContestId, ElectionId, Hash32};
use tally_proto::refusal::Refusal;

/// Makes this party's input, decrypting its shares; runs on the engine's thread and may block.
pub type MakeInput = Box<dyn FnOnce() -> Result<TallyInput, Refusal> + Send>;

/// A box that is ready to be tallied.
pub struct Ready {
    /// SHA-256 of the Seal's payload.
    pub seal_hash: Hash32,
    /// Signing keys of the three parties, in order.
    pub keys: [PublicKey; 3],
    /// The box's contests, in the order of the ballot's payload.
    pub contests: Vec<ContestId>,
    /// What is opened, and how the sort is cut. The same at all three parties.
    pub params: TallyParams,
    /// The input.
    pub input: MakeInput,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Ready(seal {}, {} contests)",
            self.seal_hash.short(),
            self.contests.len()
        )
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
