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
    /// Asks both others what they hold of this party's signatures for the box, and takes it over.
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
        let (next, prev) = tokio::try_join!(ask(own.next()), ask(own.prev()))?;
        let (place, scene, keys) = (place.clone(), scene.clone(), *keys);
        let restored = self
            .blocking(move |inner| {
                let taken = inner.parts.store.write(|tx| {
                    let key = (elections::number_or_new(tx, place.0.as_str())?, place.1.get());
                    holdings::take_over(tx, key, &scene, &keys, &[next, prev])
                });
                taken.map_err(Refusal::from)
            })
            .await?;
        if restored {
            tracing::error!(
                "the others hold a newer Start of this party than its store knows: it was restored from an older copy"
            );
        }
        Ok(())
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
