//! Lists: what each party accepted in time.

use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tally_proto::envelope::{Envelope, Kind as Signed};
use tally_proto::ids::{Digest, Hash32, Role, RoleExt as _, UnixMillis};
use tally_proto::log::{Entry, Happening};
use tally_proto::sealing::{List, ListError, SignedList};
use tally_proto::wire;
use tally_proto::wire::list_part::Part;

use super::error::{Basis, Finding, Lie, SealError};
use super::fill::Held;
use super::peers::{Flaw, Item, ListParts, PeerError, Peers};
use super::run::evidence;
use super::subject::Subject;
use super::tables::{self, Once};
use super::waiting::ask;
use super::{Inner, Sealing};
use crate::store::{Kind, StoreError, Tables, WriteTx, accepted, boxes, log};

/// Checks signature, form and subject of the List of `of`.
pub(super) fn open_list(envelope: Envelope, subject: &Subject, of: Role) -> Result<SignedList, Flaw> {
    let signed = SignedList::open(envelope, &subject.keys).map_err(|error| match error {
        ListError::Envelope(_) => Flaw::Signature,
        _ => Flaw::Encoding,
    })?;
    let list = signed.list();
    let same = list.election == subject.election
        && list.of_box == subject.of_box
        && list.party == of
        && list.manifest_hash == subject.manifest_hash;
    if !same {
        return Err(Flaw::Subject);
    }
    // Whoever signs that it took more than the manifest lets it take would make evidence that nobody can publish.
    let capacity = subject.ballot_box().map_err(|_| Flaw::Subject)?.capacity();
    if list.ballots.0 > capacity.ballots() || list.records.0 > capacity.records {
        return Err(Flaw::TooLong);
    }
    Ok(signed)
}

/// A List with its body, checked.
pub(super) struct Complete {
    pub(super) signed: SignedList,
    pub(super) ballots: Vec<[u8; 32]>,
    pub(super) records: Vec<[u8; 32]>,
}

/// Collects the body of one kind: strictly ascending, of the announced number and hash.
struct Body {
    announced: (u64, Hash32),
    digests: Vec<[u8; 32]>,
    hash: Sha256,
}

impl Body {
    fn new(announced: (u64, Hash32)) -> Self {
        Self {
            announced,
            digests: Vec::new(),
            hash: Sha256::new(),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        let (digests, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || (self.digests.len() + digests.len()) as u64 > self.announced.0 {
            return Err(Flaw::Body);
        }
        let mut last = self.digests.last();
        for digest in digests {
            if last.is_some_and(|last| last >= digest) {
                return Err(Flaw::Body);
            }
            last = Some(digest);
        }
        self.hash.update(bytes);
        self.digests.extend_from_slice(digests);
        Ok(())
    }

    fn finish(self) -> Result<Vec<[u8; 32]>, Flaw> {
        let hash: [u8; 32] = self.hash.finalize().into();
        let whole = self.digests.len() as u64 == self.announced.0 && hash == self.announced.1.0;
        if whole { Ok(self.digests) } else { Err(Flaw::Body) }
    }
}

impl Sealing {
    /// Makes and signs this party's List, closes the box to intake in the same transaction; or finds the one there is.
    pub(super) async fn make_list(&self, subject: &Subject) -> Result<(), SealError> {
        let subject = subject.clone();
        self.blocking(move |inner| inner.make_list(&subject)).await?;
        self.0.steps.advance();
        Ok(())
    }

    /// Takes the List of `of` from it, and compares it with what the third party was shown.
    pub(super) async fn take_list<P: Peers>(
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
                    .read(|tx| tables::signed(tx, key, Once::List, of.index()))?)
            })
            .await?;
        let envelope = match stored {
            Some(bytes) => Envelope::decode(&bytes)?,
            None => {
                let list = ask(self.0.patience, of, Item::List, || async {
                    let parts = peers.list(of, subject.reference(of)).await?;
                    collect(parts, subject, of).await
                })
                .await?;
                let envelope = list.signed.envelope().clone();
                self.blocking(move |inner| inner.keep_list(key, of, &list))
                    .await?;
                self.0.steps.advance();
                envelope
            }
        };
        self.compare_crosswise(
            subject,
            Once::List,
            of,
            &envelope,
            |third, reference| async move { first_of(third, peers.list(third, reference).await?).await },
        )
        .await
    }
}

impl Sealing {
    /// What this party accepted as a ballot must stand in nobody's List as a record, nor the other way round: a receipt does not say
    /// which of the two it is for, so a digest under the wrong kind could hide an acceptance, or make an honest one look hidden. The
    /// header says what it is, to anyone.
    pub(super) async fn check_kinds(&self, subject: &Subject) -> Result<(), SealError> {
        let of_box = subject.clone();
        let found = self
            .blocking(move |inner| inner.store.read(|tx| inner.wrong_kind(tx, &of_box)))
            .await?;
        let Some((named, list, held)) = found else {
            return Ok(());
        };
        let finding = Finding {
            named,
            lie: Lie::WrongKind,
            basis: Basis::Proved,
            digest: Some(held.public.digest()),
        };
        let evidence = vec![evidence(Once::List, &list)];
        let abort = wire::Abort {
            evidence,
            subject: Some(held.public.subject()),
            ..Default::default()
        };
        Err(self.convict_of(subject, finding, abort).await?)
    }
}

/// The envelope of a List, without its body.
pub(super) async fn first_of(peer: Role, mut parts: ListParts) -> Result<Envelope, PeerError> {
    let malformed = |flaw| PeerError::Malformed {
        peer,
        what: Item::List,
        flaw,
    };
    match parts.next().await.transpose()? {
        Some(wire::ListPart {
            part: Some(Part::List(envelope)),
        }) => Envelope::from_wire(envelope).map_err(|_| malformed(Flaw::Encoding)),
        _ => Err(malformed(Flaw::Stream)),
    }
}

/// Reads a List with its body off a stream.
pub(super) async fn collect(
    mut parts: ListParts,
    subject: &Subject,
    of: Role,
) -> Result<Complete, PeerError> {
    let malformed = |flaw| PeerError::Malformed {
        peer: of,
        what: Item::List,
        flaw,
    };
    let Some(wire::ListPart {
        part: Some(Part::List(envelope)),
    }) = parts.next().await.transpose()?
    else {
        return Err(malformed(Flaw::Stream));
    };
    let envelope = Envelope::from_wire(envelope).map_err(|_| malformed(Flaw::Encoding))?;
    let signed = open_list(envelope, subject, of).map_err(malformed)?;
    let (mut ballots, mut records) = (Body::new(signed.list().ballots), Body::new(signed.list().records));
    while let Some(part) = parts.next().await.transpose()? {
        match part.part {
            Some(Part::Ballots(bytes)) => ballots.push(&bytes),
            Some(Part::Records(bytes)) => records.push(&bytes),
            Some(Part::List(_)) | None => Err(Flaw::Stream),
        }
        .map_err(malformed)?;
    }
    Ok(Complete {
        signed,
        ballots: ballots.finish().map_err(malformed)?,
        records: records.finish().map_err(malformed)?,
    })
}

impl Inner {
    fn make_list(&self, subject: &Subject) -> Result<(), SealError> {
        let me = self.me.index();
        if self
            .store
            .read(|tx| tables::signed(tx, subject.key, Once::List, me))?
            .is_some()
        {
            return Ok(());
        }
        self.check_time(subject)?;
        self.gate.check(subject.key.election).map_err(SealError::Closed)?;
        self.store.write(|tx| {
            let key = subject.key;
            let mut ballots = accepted::digests(tx, Kind::Ballot, key.election, key.of_box)?;
            let mut records = accepted::digests(tx, Kind::Record, key.election, key.of_box)?;
            let lost = self.lost(tx, key)?;
            if !lost.is_empty() {
                // Filled like candidates that this party did not accept, with complaints of whoever withholds a share.
                tables::put_adopted(tx, key)?;
            }
            for (kind, digest) in lost {
                match kind {
                    Kind::Ballot => ballots.push(digest.0),
                    Kind::Record => records.push(digest.0),
                }
            }
            for digests in [&mut ballots, &mut records] {
                digests.sort_unstable();
                digests.dedup();
            }
            self.sign_list(tx, subject, &ballots, &records)
        })
    }

    /// What this party's own log names for the box and its store, which was restored, does not hold whole: it was accepted, and is listed. Not
    /// what nobody has shown a header of: nobody can tell a ballot from a record then, or ever give its shares.
    pub(super) fn lost(
        &self,
        tx: &impl Tables,
        key: tables::BoxKey,
    ) -> Result<Vec<(Kind, Digest)>, StoreError> {
        let mut lost = Vec::new();
        for position in log::lost(tx, key.election)? {
            let entry = log::entry(tx, key.election, position)?;
            let Some(of) = entry
                .as_ref()
                .and_then(Entry::accepted)
                .filter(|of| of.of_box.get() == key.of_box)
            else {
                continue;
            };
            for kind in [Kind::Ballot, Kind::Record] {
                if self.is_known(tx, key, kind, &of.digest)? {
                    lost.push((kind, of.digest));
                }
            }
        }
        Ok(lost)
    }

    /// Refuses while the box may still take something, by this party's own clock; never once its List is signed.
    pub(super) fn check_time(&self, subject: &Subject) -> Result<(), SealError> {
        let me = self.me.index();
        if self
            .store
            .read(|tx| tables::signed(tx, subject.key, Once::List, me))?
            .is_some()
        {
            return Ok(());
        }
        let now = UnixMillis(self.clock.now_ms()).seconds();
        let until = subject.under(subject.orders.len())?.receive_until();
        if now <= until {
            return Err(SealError::TooEarly {
                of_box: subject.of_box,
                until,
                now,
            });
        }
        Ok(())
    }

    /// Signs the List of these digests and closes the box to intake.
    pub(super) fn sign_list(
        &self,
        tx: &WriteTx,
        subject: &Subject,
        ballots: &[[u8; 32]],
        records: &[[u8; 32]],
    ) -> Result<(), SealError> {
        let (key, me) = (subject.key, self.me.index());
        boxes::freeze(tx, key.election, key.of_box)?;
        let now = UnixMillis(self.clock.now_ms()).seconds();
        let closed = Happening::BoxClosed(subject.of_box);
        if log::last(tx, key.election, &closed)?.is_none() {
            // What the List is made under stands before it.
            for order in subject.orders.iter() {
                let in_force = Happening::Order(order.order().number, order.hash());
                log::append_once(tx, key.election, in_force, now)?;
            }
            log::append(tx, key.election, &Entry::Event(closed, now))?;
        }
        // The List follows from the log up to the closing of the box, so that one that has to be made again is the same, byte by byte. Its checkpoint
        // covers the closing: whoever has the log sees that nothing of the box follows.
        let (checkpoint, orders) = self.until_closed(tx, subject)?;
        let stated = |digests: &[[u8; 32]]| (digests.len() as u64, Hash32::of(digests.as_flattened()));
        let list = List {
            election: subject.election.clone(),
            of_box: subject.of_box,
            party: self.me,
            manifest_hash: subject.manifest_hash,
            ballots: stated(ballots),
            records: stated(records),
            checkpoint: checkpoint.into_bytes(),
            orders,
        };
        let envelope = self.signer.seal_envelope(Signed::List, list.encode());
        let made = Happening::ListMade(subject.of_box, envelope.hash());
        if let Some((_, before)) = log::last(tx, key.election, &made)?
            && before != envelope.hash()
        {
            return Err(SealError::ListedOther { before });
        }
        tables::put_body(tx, key, me, Kind::Ballot, ballots)?;
        tables::put_body(tx, key, me, Kind::Record, records)?;
        tables::sign(tx, key, Once::List, me, &envelope.encode())?;
        Ok(())
    }

    /// The signed head of the log up to where the box was closed, and the orders named before.
    fn until_closed(&self, tx: &WriteTx, subject: &Subject) -> Result<(String, Vec<Hash32>), SealError> {
        let election = subject.key.election;
        let corrupt = || StoreError::Corrupt { table: "log_events" };
        let closed = Happening::BoxClosed(subject.of_box);
        let (at, _) = log::last(tx, election, &closed)?.ok_or_else(corrupt)?;
        let orders = log::orders(tx, election)?;
        let before = orders.into_iter().filter(|(position, ..)| *position < at);
        let orders: Vec<_> = before.map(|(.., hash)| hash).collect();
        // The log of a restored party may name more than came back: then nothing is signed without them.
        if subject.order_hashes().get(..orders.len()) != Some(orders.as_slice()) {
            return Err(SealError::OrdersMissing {
                of: self.me,
                theirs: orders.len(),
                ours: subject.orders.len(),
            });
        }
        Ok((subject.checkpoint_of(tx, self.me, &self.signer, at + 1)?, orders))
    }

    /// A party that lists something this party accepted as the other kind, its List, and what it is.
    fn wrong_kind(
        &self,
        tx: &impl Tables,
        subject: &Subject,
    ) -> Result<Option<(Role, Envelope, Held)>, SealError> {
        let key = subject.key;
        for (kind, other_kind) in [(Kind::Ballot, Kind::Record), (Kind::Record, Kind::Ballot)] {
            let own = tables::body(tx, key, self.me.index(), kind)?;
            for party in [self.me.next(), self.me.prev()] {
                let theirs = tables::body(tx, key, party.index(), other_kind)?;
                let wrong = own.iter().find(|digest| theirs.binary_search(digest).is_ok());
                let held = wrong
                    .map(|digest| Held::accepted(tx, subject, kind, &Digest(*digest)))
                    .transpose()?;
                if let Some(held) = held.flatten() {
                    let list = self.lists(tx, subject)?[party.slot()].envelope().clone();
                    return Ok(Some((party, list, held)));
                }
            }
        }
        Ok(None)
    }

    fn keep_list(&self, key: tables::BoxKey, of: Role, list: &Complete) -> Result<(), SealError> {
        self.store.write(|tx| {
            let of = of.index();
            if tables::signed(tx, key, Once::List, of)?.is_none() {
                tables::put_body(tx, key, of, Kind::Ballot, &list.ballots)?;
                tables::put_body(tx, key, of, Kind::Record, &list.records)?;
                tables::sign(tx, key, Once::List, of, &list.signed.envelope().encode())?;
            }
            Ok::<_, StoreError>(())
        })?;
        Ok(())
    }
}
