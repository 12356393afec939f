//! Sealed boxes as sessions take them: the joint between sealing and the tally.

use tally_proto::ids::{BoxId, ElectionId};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::result::BoxResult;
use tokio::runtime::Handle;

use super::source::{Ready, TallySource};
use crate::sealing::Sealing;

/// The sealed boxes of a party, from any thread that may block.
pub struct SealedBoxes {
    sealing: Sealing,
    runtime: Handle,
}

impl SealedBoxes {
    /// The boxes of `sealing`, whose asynchronous parts run on `runtime`.
    pub fn new(sealing: Sealing, runtime: Handle) -> Self {
        Self { sealing, runtime }
    }
}

impl TallySource for SealedBoxes {
    fn ready(&self, election: &ElectionId, of_box: BoxId) -> Result<Ready, Refusal> {
        let sealed = self.runtime.block_on(self.sealing.sealed_box(election, of_box))?;
        let sealed = sealed.ok_or_else(|| {
            Refusal::new(
                Reason::SealPending,
                format!("box {of_box} of election {election} is not sealed yet"),
            )
        })?;
        let manifest = sealed.manifest().manifest().clone();
        let seal_hash = sealed.seal_hash();
        Ok(Ready {
            seal_hash,
            keys: manifest.party_keys(),
            params: manifest.tally_params(),
            input: Box::new(move || Ok(sealed.tally_input()?)),
            conclude: Box::new(move |outcome| BoxResult::from_outcome(&manifest, of_box, seal_hash, outcome)),
        })
    }
}
