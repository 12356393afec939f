//! Fill: completing candidates that this party did not accept.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use futures::future::{try_join, try_join_all};
use tally_proto::ballot::BallotHeader;
use tally_proto::envelope::{Envelope, SignatureBytes};
use tally_proto::ids::{Digest, Hash32, Role, RoleExt as _};
use tally_proto::manifest::Manifest;
use tally_proto::one_time::OneTimeKey;
use tally_proto::record::RecordHeader;
use tally_proto::shares::{Opening, PartyShares, ShareContext};
use tally_proto::ticket::Ticket;
use tally_proto::wire;
use zeroize::Zeroizing;

use super::complaint::{self, Complaint, common_share};
use super::error::{Basis, Finding, Lie, SealAbort, SealError};
use super::peers::{Flaw, Item, PeerError, Peers};
use super::subject::Subject;
use super::tables::{self, Filled};
use super::waiting::ask;
use super::{Inner, Sealing};
use crate::intake::cards;
use crate::store::{Kind, StoreError, Tables, accepted};

/// Candidates asked for in one request.
const BATCH: usize = 2048;

/// The public part of a ballot or record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Public {
    /// A ballot's header.
    Ballot(BallotHeader),
    /// A credential record's header.
    Record(RecordHeader),
}

impl Public {
    /// From stored canonical bytes.
    pub(super) fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, SealError> {
        Ok(match kind {
            Kind::Ballot => Self::Ballot(BallotHeader::decode(bytes).map_err(|_| corrupt(kind))?),
            Kind::Record => Self::Record(RecordHeader::decode(bytes).map_err(|_| corrupt(kind))?),
        })
    }

    /// The header in a part of a fill, if it is the one that `digest` names.
    fn of_part(part: &wire::FillPart, kind: Kind, digest: &Digest) -> Option<Self> {
        let public = match (kind, part.public.as_ref()?) {
            (Kind::Ballot, wire::fill_part::Public::Ballot(raw)) => {
                Self::Ballot(BallotHeader::from_wire(raw).ok()?)
            }
            (Kind::Record, wire::fill_part::Public::Record(raw)) => {
                Self::Record(RecordHeader::from_wire(raw).ok()?)
            }
            _ => return None,
        };
        (public.digest() == *digest).then_some(public)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ballot(header) => header.encode(),
            Self::Record(header) => header.encode(),
        }
    }

    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Ballot(header) => header.digest(),
            Self::Record(header) => header.digest(),
        }
    }

    /// c_1, c_2, c_3.
    fn commitments(&self) -> &[Hash32; 3] {
        match self {
            Self::Ballot(header) => header.commitments(),
            Self::Record(header) => &header.commitments,
        }
    }

    /// What its commitments are bound to: those of a card record to its register, all others to election and box.
    pub(super) fn context<'a>(&'a self, subject: &'a Subject) -> Result<ShareContext<'a>, SealError> {
        match self {
            Self::Ballot(_) => subject.context(Kind::Ballot),
            Self::Record(header) if header.is_card() => Ok(header.context()),
            Self::Record(_) => subject.context(Kind::Record),
        }
    }

    /// Whether `opening` has the right form and opens the commitment to share `of`.
    pub(super) fn is_opened_by(&self, context: &ShareContext<'_>, of: Role, opening: &Opening) -> bool {
        context.check(of, opening, self.commitments()).is_ok()
    }

    /// Whether `signature` is the authority's that the header names. Online ballots need none.
    pub(super) fn is_authorised(&self, manifest: &Manifest, digest: &Digest, signature: &[u8]) -> bool {
        let read = SignatureBytes::from_slice(signature);
        match self {
            Self::Ballot(header) if signature.is_empty() => {
                header.check_authority(digest, None, manifest).is_ok()
            }
            Self::Ballot(header) => {
                read.is_ok_and(|signature| header.check_authority(digest, Some(&signature), manifest).is_ok())
            }
            // See below: it takes the roll, too.
            Self::Record(header) if header.is_card() => true,
            Self::Record(header) => {
                read.is_ok_and(|signature| header.check_authorisation(digest, &signature).is_ok())
            }
        }
    }

    /// The ticket that an online ballot was cast with, where the election asks for them.
    pub(crate) fn ticket(&self) -> Option<&Ticket> {
        match self {
            Self::Ballot(header) => header.ticket(),
            Self::Record(_) => None,
        }
    }

    /// Whether the card's authorisation in `stored` holds and names the voter that stands there, by this party's own roll. True for whatever
    /// no card authorises.
    pub(super) fn is_authorised_by_card(
        &self,
        tx: &impl Tables,
        subject: &Subject,
        stored: &[u8],
    ) -> Result<bool, StoreError> {
        let Self::Record(header) = self else {
            return Ok(true);
        };
        if !header.is_card() {
            return Ok(true);
        }
        let holds = cards::holds(tx, subject.key.election, subject.manifest(), header, stored);
        Ok(holds.is_some_and(|(of_box, _)| of_box == subject.of_box))
    }

    /// As the subject of an Abort.
    pub(super) fn subject(&self) -> wire::abort::Subject {
        match self {
            Self::Ballot(header) => wire::abort::Subject::Ballot(header.to_wire()),
            Self::Record(header) => wire::abort::Subject::Record(header.to_wire()),
        }
    }
}

fn corrupt(kind: Kind) -> StoreError {
    StoreError::Corrupt {
        table: match kind {
            Kind::Ballot => "ballots",
            Kind::Record => "records",
        },
    }
}

/// A ballot or record that this party holds: public part, and both its shares at rest.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) public: Public,
    pub(super) authority_signature: Vec<u8>,
    /// The use of its ticket, where it has one and is kept here.
    pub(super) ticket_use: Vec<u8>,
    kind: Kind,
    digest: Digest,
    sealed_shares: Vec<u8>,
}

impl Held {
    /// What this party accepted itself.
    pub(super) fn accepted(
        tx: &impl Tables,
        subject: &Subject,
        kind: Kind,
        digest: &Digest,
    ) -> Result<Option<Self>, SealError> {
        accepted::get(tx, kind, subject.key.election, subject.key.of_box, &digest.0)?
            .map(|row| {
                Self::of(
                    kind,
                    digest,
                    &row.header,
                    row.authority_signature,
                    row.sealed_shares,
                )
            })
            .transpose()
    }

    /// What this party accepted, or was given since.
    pub(super) fn any(
        tx: &impl Tables,
        subject: &Subject,
        kind: Kind,
        digest: &Digest,
    ) -> Result<Option<Self>, SealError> {
        if let Some(held) = Self::accepted(tx, subject, kind, digest)? {
            return Ok(Some(held));
        }
        tables::filled(tx, subject.key, kind, &digest.0)?
            .map(|row| {
                Self::of(
                    kind,
                    digest,
                    &row.header,
                    row.authority_signature,
                    row.sealed_shares,
                )
            })
            .transpose()
    }

    fn of(
        kind: Kind,
        digest: &Digest,
        header: &[u8],
        authority_signature: Vec<u8>,
        sealed_shares: Vec<u8>,
    ) -> Result<Self, SealError> {
        let public = Public::decode(kind, header)?;
        // The use of a ticket is between its owner and each party that accepts: what all three must agree on is in the header.
        let (authority_signature, ticket_use) = match public.ticket() {
            Some(_) => (Vec::new(), authority_signature),
            None => (authority_signature, Vec::new()),
        };
        Ok(Self {
            public,
            authority_signature,
            ticket_use,
            kind,
            digest: *digest,
            sealed_shares,
        })
    }

    /// Both shares with their nonces.
    ///
    /// # Security
    /// Erased on drop; not to be logged or kept.
    pub(super) fn shares(&self, inner: &Inner, subject: &Subject) -> Result<PartyShares, SealError> {
        let packed = inner
            .vault
            .open(self.kind, inner.me.index(), &self.digest.0, &self.sealed_shares)?;
        Ok(self
            .public
            .context(subject)?
            .read(&packed)
            .map_err(|_| corrupt(self.kind))?)
    }

    /// Whether it is a record that a card authorised: then offsets are added to its shares.
    pub(super) fn is_card(&self) -> bool {
        matches!(&self.public, Public::Record(header) if header.is_card())
    }

    /// The opening of share `of`, which is this party's own index or the next one's.
    pub(super) fn opening(&self, inner: &Inner, subject: &Subject, of: Role) -> Result<Opening, SealError> {
        let PartyShares { this, next } = self.shares(inner, subject)?;
        Ok(if of == inner.me { this } else { next })
    }
}

/// What one sender gave for one candidate.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) public: Option<Public>,
    pub(super) authority_signature: Vec<u8>,
    pub(super) opening: Option<Opening>,
}

impl Given {
    pub(super) fn new(part: wire::FillPart, kind: Kind, digest: &Digest) -> Self {
        let public = Public::of_part(&part, kind, digest);
        let share = Zeroizing::new(part.share);
        let nonce = <[u8; 32]>::try_from(part.nonce.as_slice()).ok();
        let opening = nonce.map(|nonce| Opening::from_parts(Zeroizing::new(nonce), share));
        Self {
            public,
            authority_signature: part.authority_signature,
            opening,
        }
    }
}

/// Candidates of which this party complains at the same time.
const SIDE_BY_SIDE: usize = 64;

type Digests = Vec<(Kind, Digest)>;

impl Sealing {
    /// Gets, checks and writes down every candidate that this party neither accepted nor was given before.
    pub(super) async fn fill_candidates<P: Peers>(
        &self,
        subject: &Subject,
        peers: &P,
        step: &mut (impl FnMut(&'static str, u64, u64) + Send),
    ) -> Result<(), SealError> {
        let of = subject.clone();
        let missing = self
            .blocking(move |inner| inner.store.read(|tx| inner.missing(tx, &of)))
            .await?;
        let total = missing.len() as u64;
        for (batch, done) in missing.chunks(BATCH).zip((0..).step_by(BATCH)) {
            step("fill", done, total);
            let batch: Digests = batch.to_vec();
            let [next, prev] = self.others();
            let (from_next, from_prev) = try_join(
                self.ask_fill(subject, next, &batch, peers),
                self.ask_fill(subject, prev, &batch, peers),
            )
            .await?;
            let mut rows = Vec::with_capacity(batch.len());
            let mut given = batch.iter().zip(from_next.into_iter().zip(from_prev));
            // Side by side: a party that makes the others complain of every candidate, and answers late, holds up many at once and not each for itself.
            loop {
                let some: Vec<_> = given.by_ref().take(SIDE_BY_SIDE).collect();
                if some.is_empty() {
                    break;
                }
                let some = some
                    .into_iter()
                    .map(|((kind, digest), (given_next, given_prev))| async move {
                        let given = [(prev, given_prev), (next, given_next)];
                        let row = self.complete(subject, *kind, digest, given, peers).await?;
                        Ok::<_, SealError>((*kind, *digest, row))
                    });
                rows.extend(try_join_all(some).await?);
            }
            let key = subject.key;
            self.blocking(move |inner| {
                Ok(inner.store.write(|tx| {
                    rows.iter().try_for_each(|(kind, digest, row)| {
                        tables::put_filled(tx, key, *kind, &digest.0, row)
                    })
                })?)
            })
            .await?;
        }
        step("fill", total, total);
        Ok(())
    }

    /// Asks `sender` for a batch. What it refuses or garbles counts as not given; only where it cannot be reached do we wait.
    async fn ask_fill<P: Peers>(
        &self,
        subject: &Subject,
        sender: Role,
        batch: &Digests,
        peers: &P,
    ) -> Result<Vec<Given>, SealError> {
        let of_kind = |wanted| {
            batch
                .iter()
                .filter(move |(kind, _)| *kind == wanted)
                .map(|(_, digest)| digest.0.to_vec())
                .collect()
        };
        let request = wire::FillRequest {
            election: subject.election.as_str().to_owned(),
            r#box: subject.of_box.get(),
            ballots: of_kind(Kind::Ballot),
            records: of_kind(Kind::Record),
        };
        let answered = ask(self.0.patience, sender, Item::Fill, || async {
            let mut parts = peers.fill(sender, request.clone()).await?;
            let mut given = Vec::with_capacity(batch.len());
            for (kind, digest) in batch {
                let Some(part) = parts.next().await.transpose()? else {
                    return Err(PeerError::Malformed {
                        peer: sender,
                        what: Item::Fill,
                        flaw: Flaw::Stream,
                    });
                };
                given.push(Given::new(part, *kind, digest));
            }
            Ok(given)
        })
        .await;
        match answered {
            Ok(given) => Ok(given),
            // Reached through the third party instead, one complaint at a time.
            Err(SealError::Waiting { .. }) => Ok(batch.iter().map(|_| Given::default()).collect()),
            Err(error) => Err(error),
        }
    }

    /// Checks what both senders gave for one candidate, complains where it does not open the commitment, and seals it at rest.
    async fn complete<P: Peers>(
        &self,
        subject: &Subject,
        kind: Kind,
        digest: &Digest,
        mut given: [(Role, Given); 2],
        peers: &P,
    ) -> Result<Filled, SealError> {
        let shown = given
            .iter_mut()
            .find_map(|(sender, given)| Some((*sender, given.public.take()?)));
        let Some((shown_by, public)) = shown else {
            let source = PeerError::NotYet { peer: given[0].0 };
            return Err(SealError::Waiting {
                of: given[0].0,
                item: Item::Fill,
                source,
            });
        };
        // Without what the header's authority signed, this party would leave out by a public check what the others do not, and sign a Seal that
        // convicts it. Whoever accepted the candidate holds the signature; a sender who shows the header and not that signature withholds it.
        let none: &[u8] = &[];
        let signatures = given
            .iter()
            .map(|(_, given)| given.authority_signature.as_slice())
            .chain(public.ticket().map(|_| none));
        let mut authority_signature = None;
        for signature in signatures {
            let of_card = || {
                self.0
                    .store
                    .read(|tx| public.is_authorised_by_card(tx, subject, signature))
            };
            if public.is_authorised(subject.manifest(), digest, signature) && of_card()? {
                authority_signature = Some(signature.to_vec());
                break;
            }
        }
        let authority_signature = authority_signature.ok_or(SealError::Waiting {
            of: shown_by,
            item: Item::Fill,
            source: PeerError::Malformed {
                peer: shown_by,
                what: Item::Fill,
                flaw: Flaw::Authority,
            },
        })?;
        let context = public.context(subject)?;
        let mut openings = BTreeMap::new();
        for (sender, given) in given {
            let of = common_share(self.0.me, sender);
            let opening = match given
                .opening
                .filter(|opening| public.is_opened_by(&context, of, opening))
            {
                Some(opening) => opening,
                None => {
                    let opening = self
                        .complain(subject, kind, digest, &public, sender, peers)
                        .await?;
                    self.0.mediated.count(subject.key, sender);
                    opening
                }
            };
            openings.insert(of, opening);
        }
        let mut of = |party| {
            openings.remove(&party).ok_or(SealError::Lost {
                kind,
                digest: *digest,
            })
        };
        let shares = PartyShares {
            this: of(self.0.me)?,
            next: of(self.0.me.next())?,
        };
        Ok(Filled {
            header: public.encode(),
            authority_signature,
            sealed_shares: self
                .0
                .vault
                .seal(kind, self.0.me.index(), &digest.0, &shares.to_bytes()),
        })
    }

    /// Complains of `accused` to the third party: gives the opening that the accused then answers with, or names one of the two.
    async fn complain<P: Peers>(
        &self,
        subject: &Subject,
        kind: Kind,
        digest: &Digest,
        public: &Public,
        accused: Role,
        peers: &P,
    ) -> Result<Opening, SealError> {
        let me = self.0.me;
        let (of, wanted) = (subject.clone(), *digest);
        let accepted = self
            .blocking(move |inner| {
                inner
                    .store
                    .read(|tx| Ok(accepts(tx, &of, accused, kind, &wanted)?))
            })
            .await?;
        let mediator = me.third(accused).filter(|_| accepted);
        // The accused owes nothing that it did not accept; then it is this party that lost its own.
        let Some(mediator) = mediator else {
            return Err(SealError::Lost {
                kind,
                digest: *digest,
            });
        };

        let key = OneTimeKey::generate(&mut self.0.entropy.rng());
        let complaint = Complaint {
            election: subject.election.clone(),
            of_box: subject.of_box,
            complainant: me,
            accused,
            record: kind == Kind::Record,
            digest: *digest,
            one_time_key: key.public(),
        };
        let envelope = complaint.sign(&self.0.signer);
        let hash = envelope.hash();
        let mediation = ask(self.0.patience, mediator, Item::Mediation, || {
            peers.mediate(mediator, envelope.to_wire())
        })
        .await?;
        let unusable = |flaw| SealError::Waiting {
            of: mediator,
            item: Item::Mediation,
            source: PeerError::Malformed {
                peer: mediator,
                what: Item::Mediation,
                flaw,
            },
        };
        let complained = wire::Evidence {
            object: Some(wire::evidence::Object::Complaint(envelope.to_wire())),
        };
        let finding = |lie, basis| Finding {
            named: accused,
            lie,
            basis,
            digest: Some(*digest),
        };

        let Some(raw) = mediation.answer else {
            let statement = mediation.statement.ok_or_else(|| unusable(Flaw::Stream))?;
            let statement = Envelope::from_wire(statement).map_err(|_| unusable(Flaw::Encoding))?;
            if !subject.names(&statement, mediator, accused) {
                return Err(unusable(Flaw::Signature));
            }
            let stated = wire::Evidence {
                object: Some(wire::evidence::Object::Statement(statement.to_wire())),
            };
            let finding = finding(Lie::Silent, Basis::Stated);
            let evidence = vec![complained, stated];
            let abort = wire::Abort {
                evidence,
                subject: Some(public.subject()),
                ..Default::default()
            };
            let statement = self.0.state(subject, &finding, abort);
            return Err(SealError::Aborted(Box::new(SealAbort { finding, statement })));
        };
        let answer = Envelope::from_wire(raw).map_err(|_| unusable(Flaw::Encoding))?;
        let sealed = complaint::open_answer(&answer, hash, accused, &subject.keys)
            .map_err(|_| unusable(Flaw::Signature))?;
        if let Ok(opening) = key.open(&hash, &sealed)
            && public.is_opened_by(&public.context(subject)?, common_share(me, accused), &opening)
        {
            return Ok(opening);
        }

        let request = wire::JudgeRequest {
            complaint: Some(envelope.to_wire()),
            answer: Some(answer.to_wire()),
            private_key: key.reveal().to_vec(),
        };
        // The proof stands without the mediator's word; with it, the mediator has kept it too.
        let judged = ask(self.0.patience, mediator, Item::Mediation, || {
            peers.judge(mediator, request.clone())
        })
        .await;
        let mut evidence = vec![
            complained,
            wire::Evidence {
                object: Some(wire::evidence::Object::Answer(answer.to_wire())),
            },
        ];
        evidence.extend(judged.ok().map(|word| wire::Evidence {
            object: Some(wire::evidence::Object::Statement(word)),
        }));
        let finding = finding(Lie::WrongAnswer, Basis::Proved);
        let abort = wire::Abort {
            evidence,
            one_time_key: key.reveal().to_vec(),
            subject: Some(public.subject()),
            ..Default::default()
        };
        Err(self.convict_of(subject, finding, abort).await?)
    }
}

/// Whether `party` accepted `digest` in time: by its List, or by a claimed receipt.
pub(super) fn accepts(
    tx: &impl Tables,
    subject: &Subject,
    party: Role,
    kind: Kind,
    digest: &Digest,
) -> Result<bool, StoreError> {
    Ok(tables::lists(tx, subject.key, party.index(), kind, &digest.0)?
        || tables::is_claimed(tx, subject.key, &digest.0, party.index())?)
}

/// Whether `digest` has the acceptances that a candidate needs: two, a record three.
pub(super) fn is_candidate(
    tx: &impl Tables,
    subject: &Subject,
    kind: Kind,
    digest: &Digest,
) -> Result<bool, StoreError> {
    let mut acceptances = 0;
    for party in Role::ALL {
        acceptances += usize::from(accepts(tx, subject, party, kind, digest)?);
    }
    Ok(acceptances >= needed(kind))
}

/// Acceptances that make a candidate.
pub(super) fn needed(kind: Kind) -> usize {
    match kind {
        Kind::Ballot => 2,
        Kind::Record => 3,
    }
}
