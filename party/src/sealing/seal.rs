//! This party's Seal: computed from the three Lists and Claims, written down signed, and only then shown.

use tally_proto::bitmap::Bitmap;
use tally_proto::envelope::{Envelope, SignatureBytes};
use tally_proto::ids::{Hash32, Role, VoterIndex};
use tally_proto::order::EffectiveElection;
use tally_proto::record::Endorsement;
use tally_proto::sealing::{
    Agreed, BallotEvidence, Gathering, RecordEvidence, Sealed, SealingError, SignedList, orders_in_force,
};

use super::candidates::Listed;
use super::error::SealError;
use super::fill::{Held, Public};
use super::peers::Item;
use super::subject::Subject;
use super::tables::{self, Flag, Once};
use super::{Inner, Sealing};
use crate::store::{Kind, StoreError, Tables, elections};

/// Headers that stand in memory at once.
const PART: usize = 8192;

impl Sealing {
    /// Computes and signs this party's Seal, or finds the one there is. `before`: who holds which one of its Seals.
    pub(super) async fn make_seal(
        &self,
        subject: &Subject,
        before: Option<(Role, Hash32)>,
    ) -> Result<Envelope, SealError> {
        let subject = subject.clone();
        let seal = self
            .blocking(move |inner| inner.make_seal(&subject, before))
            .await?;
        self.0.steps.advance();
        Ok(seal)
    }
}

impl Inner {
    fn make_seal(&self, subject: &Subject, before: Option<(Role, Hash32)>) -> Result<Envelope, SealError> {
        let (key, me) = (subject.key, self.me.index());
        if let Some(bytes) = self.store.read(|tx| tables::signed(tx, key, Once::Seal, me))? {
            return Ok(Envelope::decode(&bytes)?);
        }
        let sealed = self.store.read(|tx| self.compute(tx, subject))?;
        let envelope = sealed.seal.sign(&self.signer);
        if let Some((of, _)) = before.filter(|(_, hash)| *hash != envelope.hash()) {
            return Err(SealError::SignedOther { of, item: Item::Seal });
        }
        self.store.write(|tx| {
            tables::put_rows(tx, key, &sealed.rows)?;
            tables::put_flags(tx, key, Flag::Live, sealed.live.as_bytes())?;
            tables::put_flags(tx, key, Flag::Enrolled, sealed.enrolled.as_bytes())?;
            // Standing records come by voter: one, or of a split issue both halves in their order.
            let (mut of, mut part) = (None, 0);
            for (voter, digest) in &sealed.standing {
                part = if of == Some(*voter) { part + 1 } else { 0 };
                of = Some(*voter);
                tables::put_standing(tx, key, voter.get(), part, &digest.0)?;
            }
            tables::sign(tx, key, Once::Seal, me, &envelope.encode())?;
            Ok::<_, StoreError>(())
        })?;
        Ok(envelope)
    }

    /// The Seal that follows from what is here.
    pub(super) fn compute(&self, tx: &impl Tables, subject: &Subject) -> Result<Sealed, SealError> {
        let lists = self.lists(tx, subject)?;
        let election = agreed(subject, &lists)?;
        let claims = self
            .claims_of_all(tx, subject)?
            .map(|(envelope, claims)| (claims, envelope.hash()));
        let agreed = Agreed {
            election: &election,
            of_box: subject.of_box,
            lists: &lists,
            claims: &claims,
        };
        let mut gathering = Gathering::new(agreed, self.settle(tx, subject)?, self.online(tx, subject)?)?;
        let mut part = Vec::with_capacity(PART);
        self.for_each_ballot(tx, subject, |evidence| {
            part.push(evidence);
            if part.len() == PART {
                gathering.ballots(&part)?;
                part.clear();
            }
            Ok(())
        })?;
        gathering.ballots(&part)?;
        let mut part = Vec::with_capacity(PART);
        self.for_each_record(tx, subject, |evidence| {
            part.push(evidence);
            if part.len() == PART {
                gathering.records(&part)?;
                part.clear();
            }
            Ok(())
        })?;
        gathering.records(&part)?;
        Ok(gathering.finish()?)
    }

    /// Calls `each` with the evidence of every listed ballot, in ascending order.
    pub(super) fn for_each_ballot(
        &self,
        tx: &impl Tables,
        subject: &Subject,
        mut each: impl FnMut(BallotEvidence) -> Result<(), SealError>,
    ) -> Result<(), SealError> {
        self.for_each_listed(tx, subject, Kind::Ballot, |listed| {
            let Some((public, signature)) = self.candidate(tx, subject, Kind::Ballot, &listed)? else {
                return each(BallotEvidence::bare(listed.digest, listed.listed()));
            };
            let Public::Ballot(header) = public else {
                return Err(StoreError::Corrupt { table: "ballots" }.into());
            };
            let signature = match signature.as_slice() {
                [] => None,
                bytes => Some(SignatureBytes::from_slice(bytes)?),
            };
            each(BallotEvidence::candidate(header, signature, listed.listed()))
        })
    }

    /// The same of every listed record.
    pub(super) fn for_each_record(
        &self,
        tx: &impl Tables,
        subject: &Subject,
        mut each: impl FnMut(RecordEvidence) -> Result<(), SealError>,
    ) -> Result<(), SealError> {
        self.for_each_listed(tx, subject, Kind::Record, |listed| {
            let Some((public, signature)) = self.candidate(tx, subject, Kind::Record, &listed)? else {
                return each(RecordEvidence::bare(listed.digest, listed.listed()));
            };
            let Public::Record(header) = public else {
                return Err(StoreError::Corrupt { table: "records" }.into());
            };
            let endorsement = if header.is_card() {
                Endorsement::Card(card_voter(&signature)?.0)
            } else {
                Endorsement::Registrar(SignatureBytes::from_slice(&signature)?)
            };
            each(RecordEvidence::candidate(header, endorsement, listed.listed()))
        })
    }

    /// Header and authority signature of a candidate; `None` for what is none.
    fn candidate(
        &self,
        tx: &impl Tables,
        subject: &Subject,
        kind: Kind,
        listed: &Listed,
    ) -> Result<Option<(Public, Vec<u8>)>, SealError> {
        if !listed.is_candidate(kind) {
            return Ok(None);
        }
        let digest = listed.digest;
        let held = Held::any(tx, subject, kind, &digest)?.ok_or(SealError::Lost { kind, digest })?;
        Ok(Some((held.public, held.authority_signature)))
    }

    /// The roll's online column.
    pub(super) fn online(&self, tx: &impl Tables, subject: &Subject) -> Result<Bitmap, SealError> {
        let mut online = Bitmap::zeros(subject.ballot_box()?.online_bits() as usize);
        elections::for_each_roll_entry(tx, subject.key.election, subject.key.of_box, |v, may, _| {
            online.set(v as usize, may);
            Ok::<_, SealError>(())
        })?;
        Ok(online)
    }
}

/// Whose card record it is in this box, from what is stored beside its header: v (4 bytes, big endian), then the authorisation.
pub(super) fn card_voter(stored: &[u8]) -> Result<(VoterIndex, &[u8]), StoreError> {
    let (v, authorisation) = stored
        .split_first_chunk::<4>()
        .ok_or(StoreError::Corrupt { table: "records" })?;
    Ok((VoterIndex(u32::from_be_bytes(*v)), authorisation))
}

/// The election under the orders that the Lists name, all of which must be known here.
///
/// Honest parties sign one order after another, so each of their Lists begins with what is in force here, or is a beginning of it. A List that is
/// neither names something else as an order, and its party is named, whatever the others list.
fn agreed(subject: &Subject, lists: &[SignedList; 3]) -> Result<EffectiveElection, SealError> {
    let known: Vec<Hash32> = subject.order_hashes();
    for list in lists.each_ref().map(SignedList::list) {
        if !known
            .iter()
            .zip(&list.orders)
            .all(|(known, named)| known == named)
        {
            return Err(SealError::OrdersDiffer { of: list.party });
        }
    }
    let lists = lists.each_ref().map(SignedList::list);
    // Beyond what is known here nobody can say which of two is an order.
    let named = orders_in_force(lists).map_err(|error| match error {
        SealingError::OrdersDiffer(one, other) => SealError::OrdersContradict { one, other },
        other => other.into(),
    })?;
    let named = named.len();
    let longest = lists.into_iter().find(|list| list.orders.len() == named);
    if known.len() < named {
        return Err(SealError::OrdersMissing {
            of: longest.map_or(Role::P1, |list| list.party),
            theirs: named,
            ours: known.len(),
        });
    }
    subject.under(named)
}
