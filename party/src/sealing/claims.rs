//! Claims: receipts of others for what their signers did not list, and the acceptances that follow.
//!
//! A receipt makes a difference only where the third party did not list the digest either (for a record: always, it needs three). All
//! such receipts are claimed. Of those that make no difference one for each signer is claimed, since it names the signer.
//!
//! Where a party did not take a card record over from another election of the register, and both others did, its receipt of that election is
//! claimed: see [`tally_proto::sealing::settle_by`].

use std::collections::BTreeSet;

use tally_proto::envelope::{Envelope, Kind as Signed};
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::receipt::Receipt;
use tally_proto::sealing::{Claimed, Claims, ClaimsError, ClaimsRoom, Settled, SignedList, settle_by};

use super::error::{Basis, Finding, Lie, SealError};
use super::lists::open_list;
use super::peers::{Flaw, Item, PeerError, Peers};
use super::run::evidence;
use super::subject::Subject;
use super::tables::{self, BoxKey, Once};
use super::waiting::ask;
use super::{Inner, Sealing};
use crate::store::{Kind, StoreError, Tables, receipts, registers};

/// Checks signature, form and subject of the Claims of `of`.
pub(super) fn open_claims(envelope: &Envelope, subject: &Subject, of: Role) -> Result<Claims, Flaw> {
    let (claims, _) = Claims::open(envelope, &subject.keys).map_err(|error| match error {
        ClaimsError::Envelope(_) => Flaw::Signature,
        _ => Flaw::Encoding,
    })?;
    let same = claims.election == subject.election && claims.of_box == subject.of_box && claims.party == of;
    if same { Ok(claims) } else { Err(Flaw::Subject) }
}

impl Sealing {
    /// Makes and signs this party's Claims, or finds the one there is. All three Lists are here and compared.
    pub(super) async fn make_claims(&self, subject: &Subject) -> Result<(), SealError> {
        let subject = subject.clone();
        self.blocking(move |inner| inner.make_claims(&subject)).await?;
        self.0.steps.advance();
        Ok(())
    }

    /// Takes the Claims of `of` from it, and compares them with what the third party was shown.
    pub(super) async fn take_claims<P: Peers>(
        &self,
        subject: &Subject,
        of: Role,
        peers: &P,
    ) -> Result<(), SealError> {
        let key = subject.key;
        let stored = self
            .blocking(move |inner| {
                Ok(inner
                    .store
                    .read(|tx| tables::signed(tx, key, Once::Claims, of.index()))?)
            })
            .await?;
        let envelope = match stored {
            Some(bytes) => Envelope::decode(&bytes)?,
            None => {
                let (claims, envelope) = ask(self.0.patience, of, Item::Claims, || async {
                    let malformed = |flaw| PeerError::Malformed {
                        peer: of,
                        what: Item::Claims,
                        flaw,
                    };
                    let envelope = Envelope::from_wire(peers.claims(of, subject.reference(of)).await?)
                        .map_err(|_| malformed(Flaw::Encoding))?;
                    let claims = open_claims(&envelope, subject, of).map_err(malformed)?;
                    Ok((claims, envelope))
                })
                .await?;
                self.check_lists_named(subject, of, &claims, &envelope, peers)
                    .await?;
                let bytes = envelope.encode();
                self.blocking(move |inner| {
                    Ok(inner
                        .store
                        .write(|tx| tables::sign(tx, key, Once::Claims, of.index(), &bytes))?)
                })
                .await?;
                self.0.steps.advance();
                envelope
            }
        };
        self.compare_crosswise(
            subject,
            Once::Claims,
            of,
            &envelope,
            |third, reference| async move {
                Envelope::from_wire(peers.claims(third, reference).await?).map_err(|_| PeerError::Malformed {
                    peer: third,
                    what: Item::Claims,
                    flaw: Flaw::Encoding,
                })
            },
        )
        .await
    }

    /// The Claims of `of` must name the Lists that we hold. Where they do not, `of` names another List than the one it showed as its own
    /// (proof against it), was shown another one by the third party (proof, once `of` shows it), or makes it up.
    async fn check_lists_named<P: Peers>(
        &self,
        subject: &Subject,
        of: Role,
        claims: &Claims,
        envelope: &Envelope,
        peers: &P,
    ) -> Result<(), SealError> {
        let of_box = subject.clone();
        let lists = self
            .blocking(move |inner| inner.store.read(|tx| inner.lists(tx, &of_box)))
            .await?;
        for party in Role::ALL {
            let (held, named) = (lists[party.slot()].envelope(), claims.list_hashes[party.slot()]);
            if held.hash() == named {
                continue;
            }
            if party == of {
                let proof = vec![evidence(Once::List, held), evidence(Once::Claims, envelope)];
                return Err(self.convict(subject, of, Lie::TwoLists, proof).await?);
            }
            if party != self.0.me {
                self.compare_crosswise(subject, Once::List, party, held, |_, reference| async move {
                    super::lists::first_of(of, peers.list(of, reference).await?).await
                })
                .await?;
            }
            let source = PeerError::Malformed {
                peer: of,
                what: Item::Claims,
                flaw: Flaw::OtherLists,
            };
            return Err(SealError::Waiting {
                of,
                item: Item::Claims,
                source,
            });
        }
        Ok(())
    }

    /// Judges every claimed receipt, once all three Claims are here, and writes down those that hold.
    pub(super) async fn settle_claims(&self, subject: &Subject) -> Result<(), SealError> {
        let subject = subject.clone();
        self.blocking(move |inner| {
            let settled = inner.store.read(|tx| {
                if tables::is_settled(tx, subject.key)? {
                    return Ok(None);
                }
                inner.settle(tx, &subject).map(Some)
            })?;
            let Some(settled) = settled else { return Ok(()) };
            inner.store.write(|tx| {
                settled.claimed().try_for_each(|by| {
                    tables::put_claimed(tx, subject.key, &by.digest.0, by.party.index())
                })?;
                tables::put_settled(tx, subject.key)
            })?;
            Ok(())
        })
        .await?;
        self.0.steps.advance();
        Ok(())
    }
}

/// The digests of one kind in the three Lists, each sorted.
type Bodies = [Vec<[u8; 32]>; 3];

impl Inner {
    fn make_claims(&self, subject: &Subject) -> Result<(), SealError> {
        let (key, me) = (subject.key, self.me.index());
        let claims = self.store.read(|tx| {
            if tables::signed(tx, key, Once::Claims, me)?.is_some() {
                return Ok(None);
            }
            Ok::<_, SealError>(Some(Claims {
                election: subject.election.clone(),
                of_box: subject.of_box,
                party: self.me,
                list_hashes: self.lists(tx, subject)?.each_ref().map(SignedList::hash),
                receipts: self.unlisted(tx, subject)?,
            }))
        })?;
        let Some(claims) = claims else { return Ok(()) };
        let envelope = self
            .signer
            .seal_envelope(Signed::Claims, claims.encode())
            .encode();
        self.store
            .write(|tx| tables::sign(tx, key, Once::Claims, me, &envelope))?;
        Ok(())
    }

    fn bodies(&self, tx: &impl Tables, key: BoxKey, kind: Kind) -> Result<Bodies, StoreError> {
        let body = |party: Role| tables::body(tx, key, party.index(), kind);
        Ok([body(Role::P1)?, body(Role::P2)?, body(Role::P3)?])
    }

    /// Receipts of others for digests in this party's List that their signers did not list, neither as ballots nor as records.
    fn unlisted(&self, tx: &impl Tables, subject: &Subject) -> Result<Vec<Receipt>, SealError> {
        let key = subject.key;
        let (ballots, records) = (
            self.bodies(tx, key, Kind::Ballot)?,
            self.bodies(tx, key, Kind::Record)?,
        );
        let mut elsewhere = self.not_taken_over(&records);
        // Receipts come in the order of their digests, so every body is walked once.
        let mut ballots = ballots.each_ref().map(|body| Walk(body));
        let mut records = records.each_ref().map(|body| Walk(body));
        let mut named = BTreeSet::new();
        let mut claims = Vec::new();
        let mut room = ClaimsRoom::default();
        receipts::for_each(tx, key.election, key.of_box, |digest, party, bytes| {
            let Some(by) = Role::from_index(party) else {
                return Ok(());
            };
            let Some(third) = self.me.third(by) else {
                return Ok(());
            };
            let (ballot, record) = (
                ballots[self.me.slot()].finds(digest),
                records[self.me.slot()].finds(digest),
            );
            let hidden = !ballots[by.slot()].finds(digest) && !records[by.slot()].finds(digest);
            if hidden && (ballot || record) {
                elsewhere.remove(&(*digest, by));
                let matters = record || !ballots[third.slot()].finds(digest);
                if matters || !named.contains(&by) {
                    let receipt =
                        Receipt::decode(bytes).map_err(|_| StoreError::Corrupt { table: "receipts" })?;
                    // It was when it was stored. Whoever claims what its signer did not say convicts himself.
                    if receipt.verify(&subject.keys).is_err() {
                        tracing::error!(party = %self.me, %by, digest = %receipt.unverified().digest.short(), "a stored receipt is not signed by its party, and is not claimed");
                        return Ok(());
                    }
                    if !room.take(bytes.len()) {
                        let claimed = claims.len();
                        return Err(SealError::TooManyClaims { of: by, claimed });
                    }
                    named.insert(by);
                    claims.push(receipt);
                }
            }
            Ok::<_, SealError>(())
        })?;
        let Some(register) = subject.manifest().register().filter(|_| !elsewhere.is_empty()) else {
            return Ok(claims);
        };
        let mut full = 0u64;
        registers::for_each(tx, register.id().as_str(), |noted| {
            for by in [self.me.next(), self.me.prev()] {
                if noted.election == key.election || !elsewhere.contains(&(noted.digest, by)) {
                    continue;
                }
                let of = (noted.election, noted.of_box, &noted.digest);
                let Some(bytes) = receipts::get(tx, of.0, of.1, of.2, by.index())? else {
                    continue;
                };
                let receipt =
                    Receipt::decode(&bytes).map_err(|_| StoreError::Corrupt { table: "receipts" })?;
                // By the key that this election knows: a party may have had another one in the other.
                if receipt.verify(&subject.keys).is_err() {
                    continue;
                }
                elsewhere.remove(&(noted.digest, by));
                // To have been away is no lie, and stops nothing: what has no room does not stand.
                if room.take(bytes.len()) {
                    claims.push(receipt);
                } else {
                    full += 1;
                }
            }
            Ok::<_, SealError>(())
        })?;
        if full > 0 {
            tracing::error!(party = %self.me, election = %subject.election, full, "enrolments that another party did not take over have no room in Claims");
        }
        Ok(claims)
    }

    /// Records that this party and one other list, and which other party does not.
    fn not_taken_over(&self, records: &Bodies) -> BTreeSet<([u8; 32], Role)> {
        let mut found = BTreeSet::new();
        for by in [self.me.next(), self.me.prev()] {
            let Some(third) = self.me.third(by) else { continue };
            let mut others = [third, by].map(|party| Walk(&records[party.slot()]));
            for digest in &records[self.me.slot()] {
                let [listed, left_out] = others.each_mut().map(|walk| walk.finds(digest));
                if listed && !left_out {
                    found.insert((*digest, by));
                }
            }
        }
        found
    }

    /// What the three Claims say. Everyone computes the same from the same signed objects.
    pub(super) fn settle(&self, tx: &impl Tables, subject: &Subject) -> Result<Settled, SealError> {
        let key = subject.key;
        let (ballots, records) = (
            self.bodies(tx, key, Kind::Ballot)?,
            self.bodies(tx, key, Kind::Record)?,
        );
        let [one, two, three] = self.claims_of_all(tx, subject)?;
        Ok(settle_by(
            subject.manifest(),
            subject.of_box,
            [&one.1, &two.1, &three.1],
            |digest, party| {
                let holds = |bodies: &Bodies| bodies[party.slot()].binary_search(&digest.0).is_ok();
                holds(&ballots) || holds(&records)
            },
        ))
    }

    /// Who is named by the Claims.
    pub(super) fn named_by_claims(
        &self,
        tx: &impl Tables,
        subject: &Subject,
    ) -> Result<Vec<Finding>, SealError> {
        let settled = self.settle(tx, subject)?;
        let finding = |lie| {
            move |by: &Claimed| Finding {
                named: by.party,
                lie,
                basis: Basis::Proved,
                digest: Some(by.digest),
            }
        };
        let hidden = settled.hidden().iter().map(finding(Lie::HidAcceptance));
        Ok(hidden
            .chain(settled.elsewhere().iter().map(finding(Lie::NotTakenOver)))
            .chain(settled.false_claims().iter().map(finding(Lie::FalseClaim)))
            .collect())
    }

    /// The three Lists, in party order.
    pub(super) fn lists(&self, tx: &impl Tables, subject: &Subject) -> Result<[SignedList; 3], SealError> {
        let of = |party: Role| {
            let bytes = tables::signed(tx, subject.key, Once::List, party.index())?;
            let envelope = Envelope::decode(&bytes.ok_or(SealError::NotYet(Item::List))?)?;
            open_list(envelope, subject, party)
                .map_err(|_| SealError::from(StoreError::Corrupt { table: "seal_signed" }))
        };
        Ok([of(Role::P1)?, of(Role::P2)?, of(Role::P3)?])
    }

    /// The three Claims, in party order.
    pub(super) fn claims_of_all(
        &self,
        tx: &impl Tables,
        subject: &Subject,
    ) -> Result<[(Envelope, Claims); 3], SealError> {
        let of = |party: Role| {
            let bytes = tables::signed(tx, subject.key, Once::Claims, party.index())?;
            let envelope = Envelope::decode(&bytes.ok_or(SealError::NotYet(Item::Claims))?)?;
            let claims = open_claims(&envelope, subject, party)
                .map_err(|_| SealError::from(StoreError::Corrupt { table: "seal_signed" }))?;
            Ok::<_, SealError>((envelope, claims))
        };
        Ok([of(Role::P1)?, of(Role::P2)?, of(Role::P3)?])
    }
}

/// A walk along a sorted body.
struct Walk<'a>(&'a [[u8; 32]]);

impl Walk<'_> {
    /// Whether `digest` is in the body; digests must be asked for in ascending order, any number of times each.
    fn finds(&mut self, digest: &[u8; 32]) -> bool {
        while self.0.first().is_some_and(|first| first < digest) {
            self.0 = &self.0[1..];
        }
        self.0.first() == Some(digest)
    }
}
