//! What the three parties' answers to `seal` come to, whoever of them lies.
//!
//! An answer holds if the Seal carries three signatures and is what anyone computes from the evidence that came with it. One such answer is all
//! there is to know: nothing of it rests on the word of the party that sent it, and whoever has it can publish. So the first that holds is kept,
//! and what any other party answers is told and changes nothing. Only a second Seal of the box with three signatures does: then all three parties
//! signed two.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tally_proto::bundle::{BoxError, SealedParts, verify_sealed};
use tally_proto::envelope::{Envelope, Kind};
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _};
use tally_proto::manifest::SignedManifest;
use tally_proto::order::SignedOrder;
use tally_proto::sealing::{Seal, SealingAbort};
use tally_proto::wire;

use super::Ended;
use super::stopped::in_words;
use crate::bundle::named_by_claims;
use crate::error::{Error, OutcomeProblem};
use crate::parties::{Party, PartyError, Wait};
use crate::progress::Progress;

/// What one party answered.
pub(super) struct Answer {
    pub(super) done: wire::SealDone,
    pub(super) body: Bytes,
}

/// The answers so far.
pub(super) struct Answers {
    of_box: BoxId,
    manifest: Arc<SignedManifest>,
    orders: Arc<[SignedOrder]>,
    /// The first that holds.
    holds: Option<wire::BoxBundle>,
    /// Seals of this box under three signatures, whatever came with them.
    seals: Vec<Hash32>,
    /// Parties that refused or did not answer.
    failed: Vec<PartyError>,
    /// What else is wrong with the answers that are of no use.
    useless: Vec<String>,
    /// Parties that have not ended while they were waited for.
    left: Vec<String>,
    /// Whom signatures convict, though the box was sealed, and for what.
    proved: HashSet<(Role, &'static str)>,
    /// The same, and whom Lists and Claims convict, in sentences.
    named: Vec<String>,
}

/// Proofs of one party that are looked at: there are fewer kinds of lies.
const MAX_PROOFS: usize = 32;

impl Answers {
    /// `orders`: those in force.
    pub(super) fn new(manifest: SignedManifest, orders: Vec<SignedOrder>, of_box: BoxId) -> Self {
        Self {
            of_box,
            manifest: Arc::new(manifest),
            orders: orders.into(),
            holds: None,
            seals: Vec::new(),
            failed: Vec::new(),
            useless: Vec::new(),
            left: Vec::new(),
            proved: HashSet::new(),
            named: Vec::new(),
        }
    }

    /// Takes what `party` answered.
    pub(super) async fn take(&mut self, party: &Party, ended: Result<Ended, PartyError>) -> Wait {
        let words = match ended {
            Ok(Ended::Sealed(mut answer)) => {
                let proofs = std::mem::take(&mut answer.done.proofs);
                self.proofs(party, proofs);
                match self.judge(*answer).await {
                    Ok(()) => return Wait::Enough,
                    Err(error) => format!("{} sent a seal that does not hold: {error}", party.name()),
                }
            }
            Ok(Ended::Aborted(abort)) => self.stopped(party, abort),
            Ok(Ended::Nothing) => format!("{} ended without an outcome", party.name()),
            Err(error) => {
                self.failed.push(error);
                return Wait::Failed;
            }
        };
        self.useless.push(words);
        Wait::Failed
    }

    /// Of what a party says that it proves, what does: each lie once, whoever shows it.
    fn proofs(&mut self, party: &Party, proofs: Vec<wire::Envelope>) {
        for proof in proofs.into_iter().take(MAX_PROOFS) {
            let manifest = self.manifest.manifest();
            let read = SealingAbort::read(party.role(), proof, manifest, self.of_box);
            if let Some(SealingAbort { reason, suspect, .. }) = read.filter(|read| read.proved) {
                let agency = manifest.party(suspect).agency();
                let words = format!(
                    "P{} {agency}: {}, as signatures that {} shows prove. {}",
                    suspect.number(),
                    reason.code(),
                    party.name(),
                    reason.action()
                );
                if self.proved.insert((suspect, reason.code())) {
                    self.named.push(words);
                }
            }
        }
    }

    fn stopped(&self, party: &Party, abort: wire::Envelope) -> String {
        let manifest = self.manifest.manifest();
        match SealingAbort::read(party.role(), abort, manifest, self.of_box) {
            Some(stopped) => {
                let names = manifest.parties().each_ref();
                let names = names.map(|p| format!("P{} {}", p.role().number(), p.agency()));
                in_words(stopped, party.name(), &names)
            }
            None => format!("{} stopped and sent a statement that does not hold", party.name()),
        }
    }

    /// Has not ended while it was waited for.
    pub(super) fn left(&mut self, party: &Party) {
        self.left.push(format!("{} has not answered yet", party.name()));
    }

    /// Keeps the answer if it is the first that holds. Of a later one only its Seal is looked at: it is this one, or none.
    async fn judge(&mut self, answer: Answer) -> Result<(), BoxError> {
        let Answer { done, body } = answer;
        let seal = Envelope::from_wire(done.seal.ok_or(BoxError::Missing("the Seal"))?)?;
        seal.verify_all(Kind::Seal, &self.manifest.manifest().party_keys())?;
        if !is_of(&seal, self.manifest.manifest().election(), self.of_box) {
            return Err(BoxError::OtherSeal);
        }
        let hash = seal.hash();
        if !self.seals.contains(&hash) {
            self.seals.push(hash);
        }
        if self.holds.is_some() {
            return Ok(());
        }
        let bundle = wire::BoxBundle {
            seal: Some(seal.to_wire()),
            body: body.clone(),
            lists: done.lists.clone(),
            claims: done.claims.clone(),
            result: None,
            aborts: Vec::new(),
        };
        let (manifest, orders) = (Arc::clone(&self.manifest), Arc::clone(&self.orders));
        // A million ballots are some seconds of work: the other streams are read meanwhile.
        let verified = tokio::task::spawn_blocking(move || {
            let parts = SealedParts {
                seal,
                body: &body,
                lists: done.lists,
                claims: done.claims,
            };
            verify_sealed(parts, &manifest, &orders).map(|(_, sealed)| sealed.settled)
        });
        let settled = match verified.await {
            Ok(verified) => verified?,
            // Nothing cancels it: it panicked.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let manifest = Arc::clone(&self.manifest);
        let name = |role: Role| format!("P{} {}", role.number(), manifest.manifest().party(role).agency());
        self.named.extend(named_by_claims(
            [settled.hidden(), settled.elsewhere(), settled.false_claims()],
            name,
        ));
        self.holds = Some(bundle);
        Ok(())
    }

    /// The box as it is kept. `stored`: as it is kept now.
    ///
    /// # Errors
    /// [`OutcomeProblem::TwoSeals`]; else, where nothing holds, what each party said.
    pub(super) fn settle(
        mut self,
        stored: &wire::BoxBundle,
        progress: &dyn Progress,
    ) -> Result<wire::BoxBundle, Error> {
        let of_box = self.of_box;
        let outcome = |problem| Error::Outcome { of_box, problem };
        if let Some(seal) = stored
            .seal
            .clone()
            .and_then(|seal| Envelope::from_wire(seal).ok())
        {
            let hash = seal.hash();
            let keys = self.manifest.manifest().party_keys();
            if seal.verify_all(Kind::Seal, &keys).is_ok() && !self.seals.contains(&hash) {
                self.seals.insert(0, hash);
            }
        }
        if let [one, other, ..] = self.seals[..] {
            return Err(outcome(OutcomeProblem::TwoSeals(one, other)));
        }
        let failed = self.failed.iter().map(ToString::to_string);
        for words in &self.named {
            progress.note(&format!("box {of_box}: {words}"));
        }
        if let Some(bundle) = self.holds {
            for words in self.useless.into_iter().chain(failed).chain(self.left) {
                progress.note(&format!(
                    "box {of_box} is sealed all the same, by what another party showed: {words}"
                ));
            }
            return Ok(bundle);
        }
        // Whoever has not ended waits for those that failed.
        if self.useless.is_empty() && !self.failed.is_empty() {
            return Err(Error::Parties(self.failed));
        }
        let lines = self.useless.iter().cloned().chain(failed).chain(self.left);
        let lines: String = lines.map(|line| format!("\n  - {line}")).collect();
        Err(outcome(OutcomeProblem::NoSeal(lines)))
    }
}

fn is_of(seal: &Envelope, election: &ElectionId, of_box: BoxId) -> bool {
    Seal::decode(seal.payload()).is_ok_and(|seal| seal.election == *election && seal.of_box == of_box)
}

#[cfg(test)]
mod tests;
