//! How far the delivery of one ballot has come: who accepted it, and who holds whose receipt.

use tally_proto::ids::{Role, RoleExt};
use tally_proto::wire;

/// Receipts by party, and which party has stored which other's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Standing {
    receipts: [Option<wire::Receipt>; 3],
    stored: [[bool; 3]; 3],
}

impl Standing {
    pub(crate) fn accepted(&mut self, party: Role, receipt: wire::Receipt) {
        self.receipts[party.slot()] = Some(receipt);
    }

    /// `at` has stored the receipt of `of`.
    pub(crate) fn stored(&mut self, at: Role, of: Role) {
        self.stored[at.slot()][of.slot()] = true;
    }

    pub(crate) fn receipt(&self, party: Role) -> Option<&wire::Receipt> {
        self.receipts[party.slot()].as_ref()
    }

    pub(crate) fn is_stored(&self, at: Role, of: Role) -> bool {
        self.stored[at.slot()][of.slot()]
    }

    /// The parties that accepted.
    pub(crate) fn acceptors(&self) -> Vec<Role> {
        Role::ALL
            .into_iter()
            .filter(|party| self.receipt(*party).is_some())
            .collect()
    }

    /// Whether two parties have accepted and each has stored the other's receipt: the ballot is safe.
    pub(crate) fn is_success(&self) -> bool {
        Role::ALL.into_iter().any(|a| {
            let b = a.next();
            self.receipt(a).is_some()
                && self.receipt(b).is_some()
                && self.is_stored(a, b)
                && self.is_stored(b, a)
        })
    }

    /// Whether all three have accepted and each has stored the receipts of both others.
    pub(crate) fn is_complete(&self) -> bool {
        Role::ALL
            .into_iter()
            .all(|party| self.receipt(party).is_some() && self.wanting(party).is_empty())
    }

    /// The parties whose receipts `at` has not stored yet, known or not.
    pub(crate) fn wanting(&self, at: Role) -> Vec<Role> {
        [at.next(), at.prev()]
            .into_iter()
            .filter(|of| !self.is_stored(at, *of))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Role::{P1, P2, P3};

    #[test]
    fn success_needs_two_acceptances_and_both_crosswise_receipts() {
        let all_steps = [(P1, P2), (P1, P3), (P2, P1), (P2, P3), (P3, P1), (P3, P2)];
        for acceptors in 0..8u32 {
            for stored in 0..64u32 {
                let mut standing = Standing::default();
                for (bit, party) in Role::ALL.into_iter().enumerate() {
                    if acceptors >> bit & 1 == 1 {
                        standing.accepted(party, wire::Receipt::default());
                    }
                }
                for (bit, (at, of)) in all_steps.into_iter().enumerate() {
                    if stored >> bit & 1 == 1 {
                        standing.stored(at, of);
                    }
                }
                let pair = |a: Role, b: Role| {
                    let bit = |at, of| all_steps.iter().position(|step| *step == (at, of)).unwrap();
                    acceptors >> a.slot() & 1 == 1
                        && acceptors >> b.slot() & 1 == 1
                        && stored >> bit(a, b) & 1 == 1
                        && stored >> bit(b, a) & 1 == 1
                };
                assert_eq!(
                    standing.is_success(),
                    pair(P1, P2) || pair(P2, P3) || pair(P1, P3)
                );
                assert_eq!(standing.is_complete(), acceptors == 7 && stored == 63);
                assert_eq!(standing.acceptors().len(), acceptors.count_ones() as usize);
            }
        }
    }
}
