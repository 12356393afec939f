//! Carrying what a party demands of another to it, and the answer back.
//!
//! A party's stream is not trusted: a demand is carried if it is signed by the party whose stream it comes from, is of this election and box, and
//! its frame was not asked for before; at most [`MOST`] of them in a session, and not after its stream has ended.

use std::collections::HashSet;
use std::time::Duration;

use tally_proto::envelope::{Envelope, PublicKey};
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::session::Demand;
use tally_proto::wire;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::parties::{Parties, Party};
use crate::progress::Progress;

/// Demands of one party in one session that are carried. An honest party demands the one frame that it waits for.
const MOST: usize = 256;
/// How often a party is asked for the answer, how long each time, and the pause between.
const TRIES: u32 = 20;
const TRY: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// Carries the demands of one party in one session. What is under way ends with it.
pub(super) struct Carrier<'a> {
    parties: &'a Parties,
    by: &'a Party,
    keys: [PublicKey; 3],
    request: &'a wire::TallyRequest,
    /// Who owes, and the number of the frame.
    carried: HashSet<(Role, u64)>,
    under_way: JoinSet<()>,
}

impl<'a> Carrier<'a> {
    pub(super) fn new(
        parties: &'a Parties,
        by: &'a Party,
        keys: [PublicKey; 3],
        request: &'a wire::TallyRequest,
    ) -> Self {
        Self {
            parties,
            by,
            keys,
            request,
            carried: HashSet::new(),
            under_way: JoinSet::new(),
        }
    }

    /// Carries a demand to the party that it names, and the answer back. The session does not wait for it.
    pub(super) fn carry(&mut self, demand: wire::Envelope, progress: &dyn Progress) {
        let opened = Envelope::from_wire(demand.clone()).ok();
        let opened = opened.and_then(|envelope| Demand::open(&envelope, &self.keys).ok());
        let Some(of) = opened.filter(|demand| self.is_its_own(demand)) else {
            // One line a session: the stream that sends one may send a million.
            if self.carried.insert((self.by.role(), u64::MAX)) {
                progress.note(&format!("{} sent a demand that is none", self.by.name()));
            }
            return;
        };
        if self.carried.len() >= MOST || !self.carried.insert((of.of, of.sequence)) {
            return;
        }
        let of = &self.parties.each()[of.of.slot()];
        progress.note(&format!(
            "{} waits for a message of {}; asking for it",
            self.by.name(),
            of.name()
        ));
        let (by, of) = (self.by.clone(), of.clone());
        self.under_way.spawn(async move {
            for _ in 0..TRIES {
                if let Ok(Ok(answer)) = timeout(TRY, of.control().supply(demand.clone())).await {
                    // An answer that came too late, or second, is refused: nothing is to be done about it.
                    let _ = timeout(TRY, by.control().deliver(answer.into_inner())).await;
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    fn is_its_own(&self, demand: &Demand) -> bool {
        demand.by == self.by.role()
            && demand.election.as_str() == self.request.election
            && demand.of_box.get() == self.request.r#box
    }

    #[cfg(test)]
    fn is_carrying(&self) -> usize {
        self.under_way.len()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use tally_proto::ids::{BoxId, Hash32};
    use tally_proto::session::Answer;

    use super::super::tests::Scene;
    use super::*;
    use crate::progress::Quiet;

    #[tokio::test]
    async fn a_party_makes_the_commission_carry_a_bounded_number_of_its_own_demands() {
        let scene = Scene::new();
        let (_, one_time_key) = Answer::expected(&mut StdRng::seed_from_u64(1));
        let election = scene.world.manifest.manifest().election().clone();
        let request = wire::TallyRequest {
            election: election.as_str().to_owned(),
            r#box: 1,
            starts: Vec::new(),
        };
        let keys = scene.world.manifest.manifest().party_keys();
        let mut carrier = Carrier::new(&scene.parties, &scene.parties.each()[0], keys, &request);
        let demand = |by: Role, of: Role, of_box: u32, sequence| Demand {
            session: Hash32([1; 32]),
            election: election.clone(),
            of_box: BoxId(of_box),
            by,
            of,
            sequence,
            one_time_key,
        };
        let signers = &scene.world.signers;
        // Signed by somebody else, of somebody else, of another box, unsigned.
        let mut unsigned = demand(Role::P1, Role::P2, 1, 1).sign(&signers[0]).to_wire();
        unsigned.signatures.clear();
        for wrong in [
            demand(Role::P1, Role::P2, 1, 1).sign(&signers[1]).to_wire(),
            demand(Role::P2, Role::P3, 1, 1).sign(&signers[1]).to_wire(),
            demand(Role::P1, Role::P2, 2, 1).sign(&signers[0]).to_wire(),
            unsigned,
        ] {
            carrier.carry(wrong, &Quiet);
        }
        assert_eq!(carrier.is_carrying(), 0);
        let good = |of, sequence| demand(Role::P1, of, 1, sequence).sign(&signers[0]).to_wire();
        for _ in 0..5 {
            carrier.carry(good(Role::P2, 1), &Quiet);
            carrier.carry(good(Role::P3, 1), &Quiet);
        }
        assert_eq!(carrier.is_carrying(), 2, "the same frame once");
        for sequence in 2..1_000 {
            carrier.carry(good(Role::P2, sequence), &Quiet);
        }
        assert!(
            (200..=MOST).contains(&carrier.is_carrying()),
            "{}",
            carrier.is_carrying()
        );
    }
}
