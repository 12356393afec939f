//! What a party asks before it signs anything for a box: perhaps it has signed it already, and its store is an older copy.
//!
//! Both others say, with their signatures, what they hold of this party's. One of the two is honest, and names everything that this party
//! ever showed to it. A List or Claims that this party has signed before is taken back from whoever holds it; a Seal is computed anew
//! and must come to the same. So there is never a second one. An answer that leaves out what its signer's own Claims or Seal name
//! convicts the signer.

use futures::future::try_join;
use tally_proto::envelope::Envelope;
use tally_proto::ids::{BoxId, Hash32, Role, UnixMillis};
use tally_proto::log::Happening;
use tally_proto::sealing::Seal;
use tally_proto::session::Holdings;
use tally_proto::wire;
use tally_proto::wire::evidence::Object;

use super::Sealing;
use super::claims::open_claims;
use super::error::{Lie, SealError};
use super::lists::{Complete, collect};
use super::peers::{Flaw, Item, PeerError, Peers};
use super::run::evidence;
use super::seals::open_seal;
use super::subject::Subject;
use super::tables::{self, Once};
use super::waiting::ask;
use crate::session::holdings::Question;
use crate::store::{Kind, StoreError, boxes, log};

/// What the two others said.
#[derive(Debug, Default)]
pub(super) struct Recollected(Vec<(Holdings, Envelope)>);

impl Recollected {
    /// Who holds a Seal of this party, and which.
    pub(super) fn seal(&self) -> Option<(Role, Hash32)> {
        self.0
            .iter()
            .find_map(|(holdings, _)| Some((holdings.by, holdings.seal?)))
    }
}

/// What this party has signed, as its store says.
struct Own([Option<Hash32>; 3]);

impl Sealing {
    /// Asks both others what they hold of this party's signatures, while there is anything left to sign, and takes back what is not here.
    pub(super) async fn recollect<P: Peers>(
        &self,
        subject: &Subject,
        peers: &P,
    ) -> Result<Recollected, SealError> {
        let own = self.own(subject).await?;
        if own.0.iter().all(Option::is_some) {
            return Ok(Recollected::default());
        }
        let [one, other] = self.others();
        let (one, other) = try_join(
            self.ask_holdings(subject, one, peers),
            self.ask_holdings(subject, other, peers),
        )
        .await?;
        for (holdings, _) in [&one, &other] {
            let theirs = [holdings.list, holdings.claims, holdings.seal];
            for (what, theirs) in [Once::List, Once::Claims, Once::Seal].into_iter().zip(theirs) {
                if let Some(theirs) = theirs {
                    self.take_back(subject, what, (holdings.by, theirs), peers)
                        .await?;
                }
            }
        }
        Ok(Recollected(vec![one, other]))
    }

    async fn own(&self, subject: &Subject) -> Result<Own, SealError> {
        let key = (subject.key.election, subject.key.of_box);
        self.blocking(move |inner| {
            let signed = inner.store.read(|tx| super::signed_by(tx, key, inner.me))?;
            Ok(Own(
                signed.map(|envelope| envelope.map(|envelope| envelope.hash()))
            ))
        })
        .await
    }

    async fn ask_holdings<P: Peers>(
        &self,
        subject: &Subject,
        peer: Role,
        peers: &P,
    ) -> Result<(Holdings, Envelope), SealError> {
        let question = Question::new(subject.election.as_str(), subject.of_box.get(), &*self.0.entropy);
        ask(self.0.patience, peer, Item::Holdings, || async {
            let answer = peers.holdings(peer, question.request.clone()).await?;
            let answered = question.answered(self.0.me, peer, answer, &subject.keys);
            answered.map_err(|_| PeerError::Malformed {
                peer,
                what: Item::Holdings,
                flaw: Flaw::Signature,
            })
        })
        .await
    }

    /// `by` says that it holds an object of this party with that hash. A hash alone counts for nothing: `by` shows the object with this party's own
    /// signature, or is waited for. Then it is the one here, or it is taken back; or this party has signed two, and signs nothing more.
    async fn take_back<P: Peers>(
        &self,
        subject: &Subject,
        what: Once,
        (by, hash): (Role, Hash32),
        peers: &P,
    ) -> Result<(), SealError> {
        let place = match what {
            Once::List => 0,
            Once::Claims => 1,
            Once::Seal => 2,
        };
        let item = [Item::List, Item::Claims, Item::Seal][place];
        let own = self.own(subject).await?.0[place];
        if own == Some(hash) {
            return Ok(());
        }
        let me = self.0.me;
        let malformed = |flaw| PeerError::Malformed {
            peer: by,
            what: item,
            flaw,
        };
        let as_said = |shown: Hash32| {
            (shown == hash)
                .then_some(())
                .ok_or(malformed(Flaw::OtherThanSaid))
        };
        let only = || {
            if own.is_some() {
                return Err(SealError::SignedOther { of: by, item });
            }
            tracing::error!(election = %subject.election, box_id = %subject.of_box, held_by = %by, item = %item,
                "another party holds what this one does not know that it signed: its store was restored from an older copy");
            Ok(())
        };
        match what {
            Once::List => {
                let list = ask(self.0.patience, by, item, || async {
                    let list = collect(peers.list(by, subject.reference(me)).await?, subject, me).await?;
                    as_said(list.signed.envelope().hash())?;
                    Ok(list)
                })
                .await?;
                only()?;
                self.adopt_list(subject, list).await
            }
            Once::Claims => {
                let claims = ask(self.0.patience, by, item, || async {
                    let envelope = Envelope::from_wire(peers.claims(by, subject.reference(me)).await?)
                        .map_err(|_| malformed(Flaw::Encoding))?;
                    open_claims(&envelope, subject, me).map_err(malformed)?;
                    as_said(envelope.hash())?;
                    Ok(envelope)
                })
                .await?;
                only()?;
                let (key, bytes) = (subject.key, claims.encode());
                self.blocking(move |inner| {
                    inner
                        .store
                        .write(|tx| tables::sign(tx, key, Once::Claims, me.index(), &bytes))?;
                    Ok(())
                })
                .await
            }
            Once::Seal => {
                ask(self.0.patience, by, item, || async {
                    let seal = Envelope::from_wire(peers.seal_signature(by, subject.reference(me)).await?)
                        .map_err(|_| malformed(Flaw::Encoding))?;
                    // This party has signed Seals of other boxes: they are nothing here.
                    open_seal(&seal, subject, me).map_err(malformed)?;
                    as_said(seal.hash())
                })
                .await?;
                // Computed anew, and compared before it is signed.
                only()
            }
        }
    }

    /// This party's List as another party holds it: it stands, and the box is closed to intake.
    async fn adopt_list(&self, subject: &Subject, list: Complete) -> Result<(), SealError> {
        let key = subject.key;
        self.blocking(move |inner| {
            let me = inner.me.index();
            inner.gate.check(key.election).map_err(SealError::Closed)?;
            inner.store.write(|tx| {
                if tables::signed(tx, key, Once::List, me)?.is_some() {
                    return Ok(());
                }
                boxes::freeze(tx, key.election, key.of_box)?;
                let closed = Happening::BoxClosed(BoxId(key.of_box));
                log::append_once(
                    tx,
                    key.election,
                    closed,
                    UnixMillis(inner.clock.now_ms()).seconds(),
                )?;
                tables::put_body(tx, key, me, Kind::Ballot, &list.ballots)?;
                tables::put_body(tx, key, me, Kind::Record, &list.records)?;
                tables::put_adopted(tx, key)?;
                tables::sign(tx, key, Once::List, me, &list.signed.envelope().encode())?;
                Ok::<_, StoreError>(())
            })?;
            Ok(())
        })
        .await?;
        self.0.steps.advance();
        Ok(())
    }

    /// Compares what the others said with their own Claims and Seals, as far as these are here.
    pub(super) async fn check_holdings(
        &self,
        subject: &Subject,
        recollected: &Recollected,
    ) -> Result<(), SealError> {
        for (holdings, statement) in &recollected.0 {
            let (of, by) = (subject.clone(), holdings.by);
            let (claims, seal) = self
                .blocking(move |inner| {
                    let key = (of.key.election, of.key.of_box);
                    let [_, claims, seal] = inner.store.read(|tx| super::signed_by(tx, key, by))?;
                    let claims = claims
                        .map(|envelope| open_claims(&envelope, &of, by).map(|claims| (claims, envelope)))
                        .transpose()
                        .map_err(|_| StoreError::Corrupt { table: "seal_signed" })?;
                    let seal = seal
                        .map(|envelope| Seal::decode(envelope.payload()).map(|seal| (seal, envelope)))
                        .transpose()
                        .map_err(|_| StoreError::Corrupt { table: "seal_signed" })?;
                    Ok((claims, seal))
                })
                .await?;
            let hides = holdings.hides(
                claims
                    .as_ref()
                    .map(|(claims, envelope)| (claims, envelope.hash())),
                seal.as_ref().map(|(seal, envelope)| (seal, envelope.hash())),
            );
            if hides {
                let mut proof = vec![wire::Evidence {
                    object: Some(Object::Holdings(statement.to_wire())),
                }];
                proof.extend(
                    claims
                        .iter()
                        .map(|(_, envelope)| evidence(Once::Claims, envelope)),
                );
                proof.extend(seal.iter().map(|(_, envelope)| evidence(Once::Seal, envelope)));
                return Err(self.convict(subject, by, Lie::HidHoldings, proof).await?);
            }
        }
        Ok(())
    }
}
