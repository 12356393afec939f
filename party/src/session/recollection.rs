//! What the others hold, taken over: before a Start is signed, and when a Result is asked for.

use tally_proto::envelope::{Envelope, PublicKey};
use tally_proto::ids::{BoxId, ElectionId, Role};
use tally_proto::refusal::Refusal;

use super::holdings::{self, Question};
use super::ledger;
use super::opening::Scene;
use super::service::{Sessions, store_failed};
use crate::store::elections;

impl Sessions {
    /// Asks both others what they hold of this party's signatures for the box, and takes over what comes: a Result stands with two signatures
    /// also while the third party is away.
    ///
    /// # Errors
    /// One of them did not answer, or not with an answer; what the other said is taken over nevertheless. `store.failed`.
    pub(super) async fn recollect(
        &self,
        place: &(ElectionId, BoxId),
        scene: &Scene,
        keys: &[PublicKey; 3],
    ) -> Result<(), Refusal> {
        let parts = &self.0.parts;
        let own = parts.own;
        let question = Question::new(place.0.as_str(), place.1.get(), &*parts.entropy);
        let ask = async |peer: Role| {
            let answer = self.0.others.holdings(peer, question.request.clone()).await?;
            let answered = question.answered(own, peer, answer, keys);
            answered
                .map(|(holdings, _)| holdings)
                .map_err(|error| holdings::unusable(peer, &error))
        };
        let (next, prev) = tokio::join!(ask(own.next()), ask(own.prev()));
        let (mut held, mut missing) = (Vec::with_capacity(2), Ok(()));
        for answer in [next, prev] {
            match answer {
                Ok(holdings) => held.push(holdings),
                Err(refusal) => missing = missing.and(Err(refusal)),
            }
        }
        let (place, scene, keys) = (place.clone(), scene.clone(), *keys);
        let restored = self
            .blocking(move |inner| {
                let taken = inner.parts.store.write(|tx| {
                    let key = (elections::number_or_new(tx, place.0.as_str())?, place.1.get());
                    holdings::take_over(tx, key, &scene, &keys, &held)
                });
                taken.map_err(Refusal::from)
            })
            .await?;
        if restored {
            tracing::error!(
                "the others hold a newer Start of this party than its store knows: it was restored from an older copy"
            );
        }
        missing
    }

    /// The Result for whoever collects it: where it does not stand here yet, the others are asked first. One that is there is shown also when
    /// they do not answer.
    ///
    /// # Errors
    /// There is none here, and what the source says, or why the others cannot be asked; `store.failed`.
    pub(super) async fn collected_result(
        &self,
        place: &(ElectionId, BoxId),
    ) -> Result<Option<(Envelope, bool)>, Refusal> {
        let stored = self.stored_result(place).await?;
        if matches!(stored, Some((_, true))) {
            return Ok(stored);
        }
        let asked = match self.ready(&place.0, place.1).await {
            Ok(ready) => self.recollect(place, &ready.scene(place), &ready.keys).await,
            Err(refusal) => Err(refusal),
        };
        match self.stored_result(place).await? {
            None => asked.map(|()| None),
            stored => Ok(stored),
        }
    }

    /// The Result as known here, and whether two parties signed it.
    pub(super) async fn stored_result(
        &self,
        place: &(ElectionId, BoxId),
    ) -> Result<Option<(Envelope, bool)>, Refusal> {
        let place = place.clone();
        let bytes = self
            .blocking(move |inner| {
                let read = inner
                    .parts
                    .store
                    .read(|tx| match elections::number_of(tx, place.0.as_str())? {
                        Some(number) => {
                            let key = (number, place.1.get());
                            Ok(ledger::result(tx, key)?.map(|bytes| (bytes, ledger::concluded(tx, key))))
                        }
                        None => Ok(None),
                    });
                read.map_err(store_failed)
            })
            .await?;
        let Some((bytes, concluded)) = bytes else {
            return Ok(None);
        };
        Ok(Some((
            Envelope::decode(&bytes)?,
            concluded.map_err(store_failed)?,
        )))
    }
}
