//! The end of a run: this party's Seal, the two others', and the sealed box.

use tally_proto::envelope::{Envelope, Kind as Signed};
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::sealing::{Seal, Statements, check_two_statements};

use super::Sealing;
use super::complaint::verify_one;
use super::error::{Lie, SealError};
use super::peers::{Flaw, Item, PeerError, Peers};
use super::run::evidence;
use super::subject::Subject;
use super::tables::{self, Once};
use super::waiting::ask;
use crate::store::StoreError;

/// Checks signature, form and subject of the Seal of `of`, and not whether it follows from the Lists and Claims.
pub(super) fn open_seal(envelope: &Envelope, subject: &Subject, of: Role) -> Result<Seal, Flaw> {
    verify_one(envelope, Signed::Seal, &subject.keys[of.slot()]).map_err(|_| Flaw::Signature)?;
    let seal = Seal::decode(envelope.payload()).map_err(|_| Flaw::Encoding)?;
    let same = seal.election == subject.election
        && seal.of_box == subject.of_box
        && seal.manifest_hash == subject.manifest_hash;
    if same { Ok(seal) } else { Err(Flaw::Subject) }
}

impl Sealing {
    /// Takes the Seals of the two others until there are three signatures on the bytes of `own`; then the box is sealed.
    pub(super) async fn take_seals<P: Peers>(
        &self,
        subject: &Subject,
        own: &Envelope,
        peers: &P,
    ) -> Result<(), SealError> {
        let [one, other] = self.others();
        let (one, other) = futures::future::try_join(
            self.take_seal(subject, one, peers),
            self.take_seal(subject, other, peers),
        )
        .await?;
        let mut whole = own.clone();
        let mut differing = Vec::new();
        for (party, seal) in [one, other] {
            if seal.payload() == own.payload() {
                seal.signatures()
                    .iter()
                    .for_each(|signature| whole.add_signature(*signature));
            } else {
                differing.push((party, seal));
            }
        }
        if let [(_, theirs), (_, same)] = differing.as_slice()
            && theirs.payload() == same.payload()
        {
            return Err(SealError::OddOneOut {
                theirs: theirs.hash(),
                ours: own.hash(),
            });
        }
        for (party, seal) in &differing {
            // Perhaps it showed the third party what it should have shown here: then it signed two, and what counts is there.
            let there = self.seal_of_elsewhere(subject, *party, own, peers).await?;
            let Some(there) = there else {
                return Err(self.other_seal(subject, *party, own, seal).await?);
            };
            there
                .signatures()
                .iter()
                .for_each(|signature| whole.add_signature(*signature));
            // What anyone who is shown the two will compute.
            let compared = check_two_statements(Signed::Seal, *party, &subject.keys, seal, &there);
            if matches!(compared, Ok(Statements::Contradict)) {
                let proof = vec![evidence(Once::Seal, seal), evidence(Once::Seal, &there)];
                self.convict(subject, *party, Lie::TwoSeals, proof).await?;
            }
        }
        whole.verify_all(Signed::Seal, &subject.keys)?;
        let (key, bytes, hash) = (subject.key, whole.encode(), whole.hash());
        let sealed =
            Seal::decode(whole.payload()).map_err(|_| StoreError::Corrupt { table: "seal_signed" })?;
        self.blocking(move |inner| {
            let about = (&hash.0, sealed.exclusions.as_slice());
            Ok(inner
                .store
                .write(|tx| tables::put_whole(tx, key, &bytes, about))?)
        })
        .await?;
        self.0.steps.advance();
        Ok(())
    }

    /// The Seal that `of` shows here, kept as the one it signed.
    async fn take_seal<P: Peers>(
        &self,
        subject: &Subject,
        of: Role,
        peers: &P,
    ) -> Result<(Role, Envelope), SealError> {
        let key = subject.key;
        let stored = self
            .blocking(move |inner| {
                Ok(inner
                    .store
                    .read(|tx| tables::signed(tx, key, Once::Seal, of.index()))?)
            })
            .await?;
        if let Some(bytes) = stored {
            return Ok((of, Envelope::decode(&bytes)?));
        }
        let seal = ask(self.0.patience, of, Item::Seal, || async {
            let malformed = |flaw| PeerError::Malformed {
                peer: of,
                what: Item::Seal,
                flaw,
            };
            let seal = Envelope::from_wire(peers.seal_signature(of, subject.reference(of)).await?)
                .map_err(|_| malformed(Flaw::Encoding))?;
            open_seal(&seal, subject, of).map_err(malformed)?;
            Ok(seal)
        })
        .await?;
        let bytes = seal.encode();
        self.blocking(move |inner| {
            inner
                .store
                .write(|tx| tables::sign(tx, key, Once::Seal, of.index(), &bytes))?;
            Ok(())
        })
        .await?;
        self.0.steps.advance();
        Ok((of, seal))
    }

    /// The Seal of `of` as the third party was shown it, if that is on the bytes of `own`.
    async fn seal_of_elsewhere<P: Peers>(
        &self,
        subject: &Subject,
        of: Role,
        own: &Envelope,
        peers: &P,
    ) -> Result<Option<Envelope>, SealError> {
        let Some(third) = self.0.me.third(of) else {
            return Ok(None);
        };
        let there = ask(self.0.patience, third, Item::Seal, || async {
            Envelope::from_wire(peers.seal_signature(third, subject.reference(of)).await?).map_err(|_| {
                PeerError::Malformed {
                    peer: third,
                    what: Item::Seal,
                    flaw: Flaw::Encoding,
                }
            })
        })
        .await?;
        let same = there.payload() == own.payload()
            && verify_one(&there, Signed::Seal, &subject.keys[of.slot()]).is_ok();
        Ok(same.then_some(there))
    }

    /// `party` signed a Seal that does not follow from the Lists and Claims. Anyone who has these can compute that.
    async fn other_seal(
        &self,
        subject: &Subject,
        party: Role,
        own: &Envelope,
        theirs: &Envelope,
    ) -> Result<SealError, SealError> {
        let proof = vec![evidence(Once::Seal, theirs), evidence(Once::Seal, own)];
        self.convict(subject, party, Lie::OtherSeal, proof).await
    }
}
