//! A sealed box: what a tally session takes as its input, and what the coordinator publishes.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use prost::Message as _;
use tally_mpc::layout::BallotLayout;
use tally_proto::bitmap::Bitmap;
use tally_proto::connect::PART_BYTES;
use tally_proto::envelope::Envelope;
use tally_proto::ids::{BoxId, Digest, ElectionId, Hash32, Role, VoterIndex};
use tally_proto::manifest::SignedManifest;
use tally_proto::offsets::OffsetKey;
use tally_proto::sealing::SignedSeal;
use tally_proto::shares::PartyShares;
use tally_proto::wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::error::{Basis, Finding, Lie, SealError};
use super::fill::Held;
use super::subject::Subject;
use super::tables::{self, Flag, Once};
use super::{Inner, Sealing, state};
use crate::offsets;
use crate::store::{Kind, StoreError, Tables};

/// A sealed box, as one party holds it. Cheap to clone.
#[derive(Clone)]
pub struct SealedBox(Arc<Parts>);

struct Parts {
    inner: Arc<Inner>,
    subject: Subject,
    loaded: Loaded,
}

struct Loaded {
    seal: SignedSeal,
    lists: [Envelope; 3],
    claims: [Envelope; 3],
    rows: Vec<Digest>,
    live: Bitmap,
    enrolled: Bitmap,
    findings: Vec<Finding>,
    proofs: Vec<Envelope>,
}

/// Most bytes of kept proofs that are shown with a Seal: two Lists are small, two Claims may be large, and those stay in the store.
const MAX_PROOF_BYTES: usize = 16 << 20;

impl std::fmt::Debug for SealedBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "SealedBox({} {}, {} rows)",
            self.election(),
            self.of_box(),
            self.0.loaded.rows.len()
        )
    }
}

/// This party's two shares of every voter's credential, by voter; 0 where the voter is not enrolled. Erased on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct CredentialShares {
    /// Shares x_i.
    pub own: Vec<u64>,
    /// Shares x_{i+1}.
    pub next: Vec<u64>,
}

impl std::fmt::Debug for CredentialShares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CredentialShares({} voters)", self.own.len())
    }
}

impl SealedBox {
    /// The party's sealing and what it knows of the box.
    pub(super) fn parts(&self) -> (&Inner, &Subject) {
        (&self.0.inner, &self.0.subject)
    }

    /// The election.
    pub fn election(&self) -> &ElectionId {
        &self.0.subject.election
    }

    /// The box.
    pub fn of_box(&self) -> BoxId {
        self.0.subject.of_box
    }

    /// Whose shares these are.
    pub fn role(&self) -> Role {
        self.0.inner.me
    }

    /// The Seal with its three signatures.
    pub fn seal(&self) -> &SignedSeal {
        &self.0.loaded.seal
    }

    /// SHA-256 of the Seal: what Starts and Results name.
    pub fn seal_hash(&self) -> Hash32 {
        self.0.loaded.seal.hash()
    }

    /// The packed form of its ballots.
    ///
    /// # Errors
    /// [`SealError::UnknownBox`] never: the box was found when it was sealed.
    pub fn layout(&self) -> Result<&BallotLayout, SealError> {
        Ok(self.0.subject.ballot_box()?.layout())
    }

    /// The manifest of its election, with all signatures.
    pub fn manifest(&self) -> &SignedManifest {
        &self.0.subject.manifest
    }

    /// The three Lists, in party order.
    pub fn lists(&self) -> &[Envelope; 3] {
        &self.0.loaded.lists
    }

    /// The three Claims, in party order.
    pub fn claims(&self) -> &[Envelope; 3] {
        &self.0.loaded.claims
    }

    /// Digests of the ballots in the order of rows: online, electronic station ballots, paper.
    pub fn rows(&self) -> &[Digest] {
        &self.0.loaded.rows
    }

    /// Which voters may be counted at all.
    pub fn live(&self) -> &Bitmap {
        &self.0.loaded.live
    }

    /// Which voters have a credential that stands.
    pub fn enrolled(&self) -> &Bitmap {
        &self.0.loaded.enrolled
    }

    /// Who was named on the way, though the box was sealed.
    pub fn findings(&self) -> &[Finding] {
        &self.0.loaded.findings
    }

    /// This party's signed Aborts that prove a lie, though the box was sealed.
    pub fn proofs(&self) -> &[Envelope] {
        &self.0.loaded.proofs
    }

    /// Calls `each` with this party's shares of every row, in order. Shares are decrypted one by one and erased after `each`. Blocks.
    ///
    /// # Errors
    /// [`SealError::Store`], [`SealError::Vault`], [`SealError::Lost`]; or what `each` returns.
    ///
    /// # Security
    /// `each` sees this party's two shares of a ballot, next to its public digest.
    pub fn for_each_row<E: From<SealError>>(
        &self,
        mut each: impl FnMut(usize, &Digest, PartyShares) -> Result<(), E>,
    ) -> Result<(), E> {
        let Parts {
            inner,
            subject,
            loaded,
        } = &*self.0;
        let read = inner.store.read(|tx| {
            for (at, digest) in loaded.rows.iter().enumerate() {
                let shares = inner
                    .shares(tx, subject, Kind::Ballot, digest)
                    .map_err(|error| Reading::Seal(Box::new(error)))?;
                each(at, digest, shares).map_err(Reading::Each)?;
            }
            Ok::<_, Reading<E>>(())
        });
        read.map_err(Reading::into_inner)
    }

    /// This party's shares of the credentials: of a split issue the XOR of both halves. Blocks.
    ///
    /// # Errors
    /// [`SealError::Store`], [`SealError::Vault`], [`SealError::Lost`].
    pub fn credentials(&self) -> Result<CredentialShares, SealError> {
        let Parts {
            inner,
            subject,
            loaded,
        } = &*self.0;
        let enrolled = &loaded.enrolled;
        let offsets = inner.offsets(subject)?;
        let voters = enrolled.len();
        let mut shares = CredentialShares {
            own: vec![0; voters],
            next: vec![0; voters],
        };
        inner.store.read(|tx| {
            tables::for_each_standing(tx, subject.key, |v, digest| {
                let voter = v as usize;
                if !enrolled.get(voter) {
                    return Ok::<_, SealError>(());
                }
                let corrupt = || SealError::from(StoreError::Corrupt { table: "records" });
                let digest = Digest(*digest);
                let held = inner.held(tx, subject, Kind::Record, &digest)?;
                let record = held.shares(inner, subject)?;
                let (own, next) = record.credential_shares().ok_or_else(corrupt)?;
                let at = |all: &mut Vec<u64>, share: u64| {
                    *all.get_mut(voter).ok_or_else(corrupt)? ^= share;
                    Ok::<_, SealError>(())
                };
                at(&mut shares.own, *own)?;
                at(&mut shares.next, *next)?;
                if held.is_card() {
                    let [own, next] = offsets.as_ref().ok_or_else(corrupt)?;
                    at(&mut shares.own, own.offset(inner.me, &digest).expose())?;
                    at(&mut shares.next, next.offset(inner.me.next(), &digest).expose())?;
                }
                Ok(())
            })
        })?;
        Ok(shares)
    }

    /// Which record stands for each voter, by voter; of a split issue both halves.
    ///
    /// # Errors
    /// [`SealError::Store`].
    pub fn standing(&self) -> Result<Vec<(VoterIndex, Digest)>, SealError> {
        let mut standing = Vec::new();
        self.0.inner.store.read(|tx| {
            tables::for_each_standing(tx, self.0.subject.key, |v, digest| {
                standing.push((VoterIndex(v), Digest(*digest)));
                Ok::<_, SealError>(())
            })
        })?;
        Ok(standing)
    }
}

/// Parts of an encoded `BoxBody`.
pub type BodyParts = BoxStream<'static, Result<Bytes, SealError>>;

impl SealedBox {
    /// The public evidence that the Seal is recomputed from, as an encoded `BoxBody` in parts of about a megabyte. It is read from the
    /// store and encoded as it goes, so that a million ballots do not stand in memory.
    pub fn body_parts(&self) -> BodyParts {
        let parts = Arc::clone(&self.0);
        let (sender, receiver) = mpsc::channel(2);
        tokio::task::spawn_blocking(move || {
            let mut body = BodyWriter {
                pending: Vec::with_capacity(PART_BYTES + 1024),
                sender,
            };
            let written = parts
                .inner
                .store
                .read(|tx| parts.inner.write_body(tx, &parts.subject, &mut body));
            // Whoever is gone needs no error.
            let _ = body
                .sender
                .blocking_send(written.map(|()| Bytes::from(std::mem::take(&mut body.pending))));
        });
        ReceiverStream::new(receiver).boxed()
    }
}

/// Encodes a `BoxBody` field by field: in protobuf the encoding of a message is that of its fields in order, so parts of a message
/// follow each other like the message.
struct BodyWriter {
    pending: Vec<u8>,
    sender: mpsc::Sender<Result<Bytes, SealError>>,
}

impl BodyWriter {
    fn put(&mut self, body: &wire::BoxBody) -> Result<(), SealError> {
        // A Vec takes any length.
        let _ = body.encode(&mut self.pending);
        if self.pending.len() >= PART_BYTES {
            let part = std::mem::replace(&mut self.pending, Vec::with_capacity(PART_BYTES + 1024));
            self.sender
                .blocking_send(Ok(part.into()))
                .map_err(|_| SealError::Interrupted)?;
        }
        Ok(())
    }
}

impl Inner {
    fn write_body(
        &self,
        tx: &impl Tables,
        subject: &Subject,
        body: &mut BodyWriter,
    ) -> Result<(), SealError> {
        self.for_each_ballot(tx, subject, |evidence| {
            body.put(&wire::BoxBody {
                ballots: vec![evidence.to_wire()],
                ..Default::default()
            })
        })?;
        self.for_each_record(tx, subject, |evidence| {
            body.put(&wire::BoxBody {
                records: vec![evidence.to_wire()],
                ..Default::default()
            })
        })?;
        let online = self.online(tx, subject)?;
        body.put(&wire::BoxBody {
            online: online.as_bytes().to_vec(),
            ..Default::default()
        })
    }
}

impl Sealing {
    /// Whether a box can be sealed at all, or is: everything that does not need the other parties.
    ///
    /// # Errors
    /// [`SealError::UnknownElection`], [`SealError::UnknownBox`], [`SealError::NotCountersigned`], [`SealError::TooEarly`].
    pub async fn check(&self, election: &ElectionId, of_box: BoxId) -> Result<(), SealError> {
        let subject = self.subject(election.as_str(), of_box.get()).await?;
        self.blocking(move |inner| inner.check_time(&subject)).await
    }

    /// The sealed box, if this party holds the Seal with three signatures.
    ///
    /// # Errors
    /// An unknown box, or the store.
    pub async fn sealed_box(
        &self,
        election: &ElectionId,
        of_box: BoxId,
    ) -> Result<Option<SealedBox>, SealError> {
        self.sealed(&self.subject(election.as_str(), of_box.get()).await?)
            .await
    }

    /// How far a box is: `Sealing` once this party's List is signed, `Sealed` once there are three signatures, `None` before.
    ///
    /// # Errors
    /// An unknown box, or the store.
    pub async fn phase(
        &self,
        election: &ElectionId,
        of_box: BoxId,
    ) -> Result<Option<wire::BoxPhase>, SealError> {
        let key = match self.subject(election.as_str(), of_box.get()).await {
            Ok(subject) => subject.key,
            Err(SealError::NotCountersigned { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.blocking(move |inner| {
            inner.store.read(|tx| {
                Ok(if tables::whole(tx, key)?.is_some() {
                    Some(wire::BoxPhase::Sealed)
                } else {
                    tables::signed(tx, key, Once::List, inner.me.index())?.map(|_| wire::BoxPhase::Sealing)
                })
            })
        })
        .await
    }

    /// The sealed box, if this party holds the Seal with three signatures.
    pub(super) async fn sealed(&self, subject: &Subject) -> Result<Option<SealedBox>, SealError> {
        let (subject, inner) = (subject.clone(), Arc::clone(&self.0));
        self.blocking(move |_| {
            let loaded = inner.store.read(|tx| inner.load(tx, &subject))?;
            Ok(loaded.map(|loaded| {
                SealedBox(Arc::new(Parts {
                    inner: Arc::clone(&inner),
                    subject,
                    loaded,
                }))
            }))
        })
        .await
    }
}

impl Inner {
    fn load(&self, tx: &impl Tables, subject: &Subject) -> Result<Option<Loaded>, SealError> {
        let key = subject.key;
        let Some(bytes) = tables::whole(tx, key)? else {
            return Ok(None);
        };
        let seal = SignedSeal::open(Envelope::decode(&bytes)?, &subject.keys)
            .map_err(|_| StoreError::Corrupt { table: "seal_whole" })?;
        let voters = seal.seal().voters as usize;
        let flags = |flag| {
            let bytes = tables::flags(tx, key, flag)?;
            Bitmap::from_bytes(voters, &bytes).map_err(|_| StoreError::Corrupt { table: "seal_flags" })
        };
        Ok(Some(Loaded {
            lists: self.lists(tx, subject)?.map(|list| list.envelope().clone()),
            claims: self.claims_of_all(tx, subject)?.map(|(envelope, _)| envelope),
            rows: tables::rows(tx, key)?.into_iter().map(Digest).collect(),
            live: flags(Flag::Live)?,
            enrolled: flags(Flag::Enrolled)?,
            findings: self.findings(tx, subject)?,
            proofs: shown(tables::proofs(tx, subject.key)?)?,
            seal,
        }))
    }

    /// Everybody who was named: by the Claims, and by what was proved along the way.
    fn findings(&self, tx: &impl Tables, subject: &Subject) -> Result<Vec<Finding>, SealError> {
        let mut findings = self.named_by_claims(tx, subject)?;
        for proof in tables::proofs(tx, subject.key)? {
            let finding = state::finding(&state::kept(&proof)?)?;
            findings.extend(finding.filter(|finding| !findings.contains(finding)));
        }
        let slow = Role::ALL
            .into_iter()
            .filter(|party| self.mediated.often(subject.key, *party));
        findings.extend(slow.map(|named| Finding {
            named,
            lie: Lie::ThroughThird,
            basis: Basis::Stated,
            digest: None,
        }));
        Ok(findings)
    }
}

/// Of kept proofs, the first that fit.
fn shown(proofs: Vec<Vec<u8>>) -> Result<Vec<Envelope>, SealError> {
    let mut room = MAX_PROOF_BYTES;
    let fitting = proofs.iter().filter(|proof| {
        let fits = proof.len() <= room;
        room -= if fits { proof.len() } else { 0 };
        fits
    });
    fitting.map(|proof| state::kept(proof)).collect()
}

/// An error of the caller's, or ours, on its way through a read transaction.
enum Reading<E> {
    Seal(Box<SealError>),
    Each(E),
}

impl<E> From<StoreError> for Reading<E> {
    fn from(error: StoreError) -> Self {
        Self::Seal(Box::new(error.into()))
    }
}

impl<E: From<SealError>> Reading<E> {
    fn into_inner(self) -> E {
        match self {
            Self::Seal(error) => (*error).into(),
            Self::Each(error) => error,
        }
    }
}

impl Inner {
    fn shares(
        &self,
        tx: &impl Tables,
        subject: &Subject,
        kind: Kind,
        digest: &Digest,
    ) -> Result<PartyShares, SealError> {
        self.held(tx, subject, kind, digest)?.shares(self, subject)
    }

    fn held(
        &self,
        tx: &impl Tables,
        subject: &Subject,
        kind: Kind,
        digest: &Digest,
    ) -> Result<Held, SealError> {
        Held::any(tx, subject, kind, digest)?.ok_or(SealError::Lost {
            kind,
            digest: *digest,
        })
    }

    /// K_i and K_{i+1} of the election's register; `None` where nobody enrols.
    fn offsets(&self, subject: &Subject) -> Result<Option<[OffsetKey; 2]>, SealError> {
        let manifest = subject.manifest();
        let held = offsets::Held::new(self.me, &self.store, &self.vault);
        let Some(register) = manifest.register() else {
            return Ok(None);
        };
        Ok(Some(held.both(register.id(), manifest.offsets())?))
    }
}
