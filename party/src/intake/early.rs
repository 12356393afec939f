//! Receipts of the other parties that came before their ballots. They wait in memory, bounded for each party: nothing that is not accepted here is
//! ever written, and one party's junk pushes nothing out but its own. What is forgotten the voter's device brings.

use std::collections::HashMap;

use tally_proto::ids::{Digest, RoleExt as _};

use super::writer::Delivered;

/// Receipts of a generation; two generations of each party are kept, 8 MiB or so.
const GENERATION: usize = 8192;

/// By number of the election, box and digest.
type Key = (u32, u32, Digest);

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Early([Generations; 3]);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, Delivered>,
    old: HashMap<Key, Delivered>,
}

impl Early {
    /// Keeps a receipt for later. Of two for the same the first stays.
    pub(super) fn keep(&mut self, receipt: Delivered) {
        let of = &mut self.0[receipt.party.slot()];
        let key = (receipt.number, receipt.of_box.get(), receipt.digest);
        if of.old.contains_key(&key) {
            return;
        }
        if of.young.len() >= GENERATION {
            of.old = std::mem::take(&mut of.young);
        }
        of.young.entry(key).or_insert(receipt);
    }

    /// The receipts that came for what is accepted now.
    pub(super) fn take(
        &mut self,
        number: u32,
        of_box: u32,
        digest: Digest,
    ) -> impl Iterator<Item = Delivered> + '_ {
        let key = (number, of_box, digest);
        self.0
            .iter_mut()
            .filter_map(move |of| of.young.remove(&key).or_else(|| of.old.remove(&key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_proto::ids::{BoxId, Role, UnixSeconds};

    fn receipt(n: u64, party: Role) -> Delivered {
        let mut digest = Digest([0; 32]);
        digest.0[..8].copy_from_slice(&n.to_be_bytes());
        Delivered {
            number: 1,
            of_box: BoxId(2),
            digest,
            party,
            position: n,
            received_at: UnixSeconds(n),
            encoded: n.to_be_bytes().to_vec(),
        }
    }

    #[test]
    fn keeps_the_first_of_each_party_and_gives_it_once() {
        let mut early = Early::default();
        early.keep(receipt(1, Role::P1));
        early.keep(receipt(1, Role::P3));
        early.keep(Delivered {
            position: 9,
            ..receipt(1, Role::P1)
        });
        let digest = receipt(1, Role::P1).digest;
        assert_eq!(early.take(2, 2, digest).count(), 0, "of another election");
        assert_eq!(early.take(1, 1, digest).count(), 0, "of another box");
        let taken: Vec<_> = early
            .take(1, 2, digest)
            .map(|of| (of.party, of.position))
            .collect();
        assert_eq!(taken, [(Role::P1, 1), (Role::P3, 1)]);
        assert_eq!(early.take(1, 2, digest).count(), 0);
    }

    #[test]
    fn the_junk_of_one_party_takes_no_more_than_its_place_and_no_other_s() {
        let mut early = Early::default();
        early.keep(receipt(0, Role::P1));
        early.keep(receipt(0, Role::P2));
        for n in 1..=3 * GENERATION as u64 {
            early.keep(receipt(n, Role::P2));
        }
        let [of_p1, of_p2, of_p3] = &early.0;
        assert_eq!((of_p1.young.len(), of_p1.old.len()), (1, 0));
        assert!(of_p2.young.len() <= GENERATION && of_p2.old.len() <= GENERATION);
        assert_eq!((of_p3.young.len(), of_p3.old.len()), (0, 0));
        let left: Vec<_> = early
            .take(1, 2, receipt(0, Role::P1).digest)
            .map(|of| of.party)
            .collect();
        assert_eq!(left, [Role::P1], "its own oldest are gone");
        let last = receipt(3 * GENERATION as u64, Role::P2).digest;
        assert_eq!(early.take(1, 2, last).count(), 1);
    }
}
