//! Which batches of the other parties' receipts carry a good signature: verified once, however many receipts of a batch are delivered.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tally_proto::envelope::PublicKey;
use tally_proto::receipt::Batch;

/// Batches of a generation; two generations are kept. A busy party makes some hundred batches a second.
const GENERATION: usize = 4096;

/// Verified batches, each under the key that signed it: elections may name different keys for a party.
#[derive(Debug, Default)]
pub(super) struct Batches(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<(PublicKey, Batch)>,
    old: HashSet<(PublicKey, Batch)>,
}

impl Batches {
    /// Whether this very batch was verified under `key` lately. Costs no cryptography.
    pub(super) fn knows(&self, key: &PublicKey, batch: &Batch) -> bool {
        let entry = (*key, batch.clone());
        let generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.contains(&entry) || generations.old.contains(&entry)
    }

    /// Remembers a batch that was verified under `key`.
    pub(super) fn remember(&self, key: &PublicKey, batch: Batch) {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert((*key, batch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_proto::envelope::Signer;
    use tally_proto::ids::{BoxId, Digest, ElectionId, Hash32, Role, UnixSeconds};
    use tally_proto::receipt::Acceptance;

    fn batch(n: u64, signer: &Signer) -> Batch {
        let acceptance = Acceptance {
            election: ElectionId::new("ward-7").expect("slug"),
            of_box: BoxId(1),
            party: Role::P1,
            digest: Digest([1; 32]),
            ciphertext_hash: Hash32([2; 32]),
            received_at: UnixSeconds(3),
            position: n,
        };
        acceptance.sign(signer).batch().expect("a batch of one")
    }

    #[test]
    fn knows_what_it_was_told_under_that_key_and_forgets_the_oldest() {
        let [signer, other] = [1, 2].map(|seed| Signer::from_seed(&[seed; 32]).expect("a seed"));
        let (key, batches) = (signer.public_key(), Batches::default());
        let first = batch(0, &signer);
        assert!(!batches.knows(&key, &first));
        batches.remember(&key, first.clone());
        assert!(batches.knows(&key, &first));
        assert!(!batches.knows(&other.public_key(), &first));
        // The same statement under another signature is another batch.
        assert!(!batches.knows(&key, &batch(0, &other)));
        for n in 1..=2 * GENERATION as u64 {
            batches.remember(&key, batch(n, &signer));
        }
        assert!(batches.knows(&key, &batch(2 * GENERATION as u64, &signer)));
        assert!(!batches.knows(&key, &first));
    }
}
