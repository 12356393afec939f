//! Known, not accepted: ballots and records that another party accepted and this one did not, got while voting is open.
//!
//! They are never in this party's List, which is what it accepted in time. They are had early so that before sealing every party holds the same
//! set, and a party that was away has caught up.
//!
//! Of what P_{j-1} accepted P_j gets share_j from it, of what P_{j+1} accepted share_{j+1}: the share that both hold anyway, checked
//! against the commitment in the header, the header against the digest. Each half is kept sealed at rest under a key of its own; once both are
//! here they are one row like those of sealing's fill, which then finds nothing missing. What does not check is dropped: sealing asks for it
//! again, and names who gives it wrongly.

use futures::StreamExt as _;
use redb::{ReadableTable, TableDefinition};
use tally_proto::card::MAX_AUTHORISATION_BYTES;
use tally_proto::ids::{Digest, Hash32, Role, RoleExt as _};
use tally_proto::shares::{Opening, PartyShares};
use tally_proto::ticket::Use;
use tally_proto::wire;
use zeroize::Zeroizing;

use super::complaint::{ComplaintError, common_share};
use super::error::SealError;
pub(crate) use super::fill::Public;
use super::fill::{Given, Held};
use super::serve::{FillReply, part};
use super::subject::Subject;
use super::tables::{self, BoxKey, Filled};
use super::{Inner, Sealing};
use crate::intake::cards;
use crate::store::vault::Half;
use crate::store::{Kind, StoreError, Tables, WriteTx, accepted, registers};

/// Most digests in one request to share.
pub(crate) const MAX_SHARE: usize = 1024;

/// Header, authority signature, sealed share_j, sealed share_{j+1}; a share that is not here is empty.
type KnownRow = (&'static [u8], &'static [u8], &'static [u8], &'static [u8]);

const KNOWN: TableDefinition<'static, (u32, u32, u8, &[u8; 32]), KnownRow> = TableDefinition::new("known");

/// Makes the table.
pub(super) fn create(tx: &WriteTx) -> Result<(), StoreError> {
    tx.table_mut(KNOWN)?;
    Ok(())
}

/// One share of something known, at rest.
struct KnownHalves {
    header: Vec<u8>,
    authority_signature: Vec<u8>,
    /// share_j, share_{j+1}.
    sealed: [Vec<u8>; 2],
}

fn known(
    tx: &impl Tables,
    key: BoxKey,
    kind: Kind,
    digest: &Digest,
) -> Result<Option<KnownHalves>, StoreError> {
    let table = tx.table(KNOWN)?;
    let row = table.get((key.election, key.of_box, kind.code(), &digest.0))?;
    Ok(row.map(|row| {
        let (header, authority_signature, this, next) = row.value();
        KnownHalves {
            header: header.to_vec(),
            authority_signature: authority_signature.to_vec(),
            sealed: [this.to_vec(), next.to_vec()],
        }
    }))
}

/// What a restored party gets back of one ballot or record.
pub(crate) struct Regained {
    /// Canonical bytes.
    pub(crate) public: Public,
    /// The authority's signature or the use of the ticket, as each neighbour gave it, where it holds; empty where there is none.
    given: Vec<Vec<u8>>,
    /// Both shares, sealed as those of something accepted.
    pub(crate) sealed_shares: Vec<u8>,
}

impl Regained {
    /// What `me` kept beside the header when it accepted this with a ciphertext of that hash. `None`: neither neighbour gave what its authority
    /// signed, or it was cast with a ticket, and neither has its owner's signature over that ciphertext.
    pub(crate) fn authority(&self, me: Role, ciphertext: &Hash32) -> Option<Vec<u8>> {
        let of_mine = |given: &&Vec<u8>| {
            self.public.ticket().is_none()
                || Use::from_bytes(given).is_ok_and(|used| used.ciphertexts[me.slot()] == *ciphertext)
        };
        self.given.iter().find(of_mine).cloned()
    }
}

/// What another party gave for the digests asked for, in their order, checked.
pub(crate) struct Batch {
    subject: Subject,
    from: Role,
    kind: Kind,
    given: Vec<(Digest, Option<Checked>)>,
}

struct Checked {
    public: Public,
    /// `None`: what came with it is not what the header's authority signed.
    authority_signature: Option<Vec<u8>>,
    opening: Opening,
}

/// Most bytes beside a header: a card's certificates and signature, and its voter's number.
const MAX_AUTHORITY_BYTES: usize = 4 + MAX_AUTHORISATION_BYTES;

impl Batch {
    /// As this one, without what was given.
    fn none_of(&self) -> Self {
        Self {
            subject: self.subject.clone(),
            from: self.from,
            kind: self.kind,
            given: Vec::new(),
        }
    }

    /// How many could be used.
    pub(crate) fn len(&self) -> usize {
        self.given.len() - self.dropped()
    }

    /// Those whose header was given, usable or not otherwise.
    pub(crate) fn known(&self) -> impl Iterator<Item = Digest> {
        let given = self.given.iter().filter(|(_, given)| given.is_some());
        given.map(|(digest, _)| *digest)
    }

    /// Headers that were given, each with what its authority signed, where it holds.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&Digest, &Public, Option<&[u8]>)> {
        self.given.iter().filter_map(|(digest, given)| {
            let given = given.as_ref()?;
            Some((digest, &given.public, given.authority_signature.as_deref()))
        })
    }

    /// How many of them could not be used.
    pub(crate) fn dropped(&self) -> usize {
        let usable = |given: &&(Digest, Option<Checked>)| {
            given
                .1
                .as_ref()
                .is_some_and(|given| given.authority_signature.is_some())
        };
        self.given.len() - self.given.iter().filter(usable).count()
    }
}

impl Sealing {
    /// Checks what `from` gave for these digests of one box: one part each, in their order.
    ///
    /// # Errors
    /// Not as many parts as digests; an unknown box; the store.
    pub(crate) async fn check_shares(
        &self,
        (election, of_box): (&str, u32),
        kind: Kind,
        digests: Vec<Digest>,
        from: Role,
        parts: Vec<wire::FillPart>,
    ) -> Result<Batch, SealError> {
        let subject = self.subject(election, of_box).await?;
        if parts.len() != digests.len() {
            return Err(ComplaintError::Subject.into());
        }
        // Checking signatures and commitments of a thousand takes a while.
        self.blocking(move |inner| {
            let of = common_share(inner.me, from);
            let given = inner.store.read(|tx| {
                let checked = digests.into_iter().zip(parts).map(|(digest, part)| {
                    let checked = check(tx, &subject, kind, &digest, of, part)?;
                    Ok::<_, StoreError>((digest, checked))
                });
                checked.collect::<Result<Vec<_>, _>>()
            })?;
            Ok(Batch {
                subject,
                from,
                kind,
                given,
            })
        })
        .await
    }

    /// Which of these digests this party neither accepted nor has the share of that `from` can give.
    ///
    /// # Errors
    /// The store.
    pub(crate) fn lacks(
        &self,
        tx: &impl Tables,
        (election, of_box): (u32, u32),
        kind: Kind,
        from: Role,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let key = BoxKey { election, of_box };
        if accepted::position(tx, kind, election, of_box, &digest.0)?.is_some()
            || tables::filled(tx, key, kind, &digest.0)?.is_some()
        {
            return Ok(false);
        }
        let place = place_of(self.0.me, common_share(self.0.me, from));
        Ok(known(tx, key, kind, digest)?.is_none_or(|known| known.sealed[place].is_empty()))
    }

    /// How many ballots and records of that election are here that this party did not accept, whole or one share of them; counted up to `most`.
    ///
    /// # Errors
    /// The store.
    pub(crate) fn held_of_others(tx: &impl Tables, election: u32, most: u64) -> Result<u64, StoreError> {
        let all = (election, 0, 0, &[0; 32])..=(election, u32::MAX, u8::MAX, &[0xff; 32]);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let halves = tx.table(KNOWN)?.range(all)?.take(most).count();
        let whole = tables::count_filled(tx, election, most - halves)?;
        Ok((halves + whole) as u64)
    }

    /// Writes what was given down: one half, or the whole when the other half is here.
    ///
    /// # Errors
    /// The store, or the other half does not open at rest.
    pub(crate) fn keep(&self, tx: &WriteTx, batch: &Batch) -> Result<(), SealError> {
        for (digest, given) in &batch.given {
            if let Some((given, authority_signature)) = given
                .as_ref()
                .and_then(|given| Some((given, given.authority_signature.as_ref()?)))
            {
                self.0.keep_half(tx, batch, digest, given, authority_signature)?;
                let key = batch.subject.key;
                let manifest = batch.subject.manifest();
                if let Public::Record(header) = &given.public
                    && let Some(person) =
                        cards::seen_on_open_roll(tx, key.election, manifest, header, authority_signature)?
                {
                    registers::saw(tx, key.election, key.of_box, &person)?;
                }
            }
        }
        Ok(())
    }

    /// Joins the two halves that the neighbours gave for the same digests, in the same order, into rows of something accepted. What only one of
    /// them gave comes back as batches of halves.
    pub(crate) fn regain(&self, one: Batch, other: Batch) -> (Vec<(Digest, Regained)>, [Batch; 2]) {
        let kind = one.kind;
        let inner = &self.0;
        let (this, next) = if common_share(inner.me, one.from) == inner.me {
            (one, other)
        } else {
            (other, one)
        };
        let mut whole = Vec::new();
        let mut halves = [this.none_of(), next.none_of()];
        for ((digest, this), (_, next)) in this.given.into_iter().zip(next.given) {
            match (this, next) {
                (Some(this), Some(next))
                    if this.authority_signature.is_some() || next.authority_signature.is_some() =>
                {
                    let shares = PartyShares {
                        this: this.opening,
                        next: next.opening,
                    };
                    let sealed = inner
                        .vault
                        .seal(kind, inner.me.index(), &digest.0, &shares.to_bytes());
                    let given = [this.authority_signature, next.authority_signature];
                    let regained = Regained {
                        sealed_shares: sealed,
                        public: this.public,
                        given: given.into_iter().flatten().collect(),
                    };
                    whole.push((digest, regained));
                }
                (this, next) => {
                    halves[0].given.push((digest, this));
                    halves[1].given.push((digest, next));
                }
            }
        }
        (whole, halves)
    }

    /// For digests that the caller did not accept: header, authority signature and the one share that caller and this party both hold, of all
    /// that this party holds, itself accepted or not. One part per digest, in order; an empty one for what is not held.
    ///
    /// # Errors
    /// An oversized request; an unknown box; the store.
    ///
    /// # Security
    /// The caller is entitled to that share of every ballot and record, at any time: it is what the voter sends it. The other share of this
    /// party leaves this function in no case.
    pub async fn share(&self, caller: Role, request: wire::FillRequest) -> Result<FillReply, SealError> {
        if caller == self.0.me || request.ballots.len() + request.records.len() > MAX_SHARE {
            return Err(ComplaintError::Subject.into());
        }
        let subject = self.subject(&request.election, request.r#box).await?;
        let parts = self
            .blocking(move |inner| {
                let asked = |kind, digests: &[Vec<u8>]| {
                    digests
                        .iter()
                        .map(|digest| Ok((kind, Digest::from_slice(digest)?)))
                        .collect::<Result<Vec<_>, tally_proto::ids::IdError>>()
                };
                let malformed = |_| SealError::from(ComplaintError::Subject);
                let mut all = asked(Kind::Ballot, &request.ballots).map_err(malformed)?;
                all.extend(asked(Kind::Record, &request.records).map_err(malformed)?);
                inner.store.read(|tx| {
                    all.iter()
                        .map(|(kind, digest)| inner.share_part(tx, caller, &subject, *kind, digest))
                        .collect::<Result<Vec<_>, SealError>>()
                })
            })
            .await?;
        Ok(futures::stream::iter(parts.into_iter().map(Ok)).boxed())
    }
}

/// What was given of one digest, checked; `None` where the header is not the digest's or the share does not open its commitment.
fn check(
    tx: &impl Tables,
    subject: &Subject,
    kind: Kind,
    digest: &Digest,
    of: Role,
    part: wire::FillPart,
) -> Result<Option<Checked>, StoreError> {
    let given = Given::new(part, kind, digest);
    let Some(public) = given.public else {
        return Ok(None);
    };
    let opening = public.context(subject).ok().and_then(|context| {
        given
            .opening
            .filter(|opening| public.is_opened_by(&context, of, opening))
    });
    let Some(opening) = opening else {
        return Ok(None);
    };
    let authority_signature = authority(tx, &public, subject, digest, given.authority_signature)?;
    Ok(Some(Checked {
        public,
        authority_signature,
        opening,
    }))
}

/// What the header's authority signed, if it is in `given`: a card's authorisation by this party's own roll, so that nothing a peer makes up is
/// kept. Of a ballot with a ticket the use of it, or nothing where that does not verify, which proves nothing against the ballot.
fn authority(
    tx: &impl Tables,
    public: &Public,
    subject: &Subject,
    digest: &Digest,
    given: Vec<u8>,
) -> Result<Option<Vec<u8>>, StoreError> {
    if given.len() > MAX_AUTHORITY_BYTES {
        return Ok(None);
    }
    let manifest = subject.manifest();
    let Some(ticket) = public.ticket() else {
        let holds = public.is_authorised(manifest, digest, &given)
            && public.is_authorised_by_card(tx, subject, &given)?;
        return Ok(holds.then_some(given));
    };
    let used = Use::from_bytes(&given).is_ok_and(|used| used.is_by(ticket, digest));
    Ok(public
        .is_authorised(manifest, digest, &[])
        .then(|| if used { given } else { Vec::new() }))
}

/// Which of this party's two shares it is: 0 its own, 1 the next one's.
fn place_of(me: Role, of: Role) -> usize {
    usize::from(of != me)
}

impl Inner {
    /// Whether the header of that digest is here, of something that this party does not hold as accepted.
    pub(super) fn is_known(
        &self,
        tx: &impl Tables,
        key: BoxKey,
        kind: Kind,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        Ok(tables::filled(tx, key, kind, &digest.0)?.is_some() || known(tx, key, kind, digest)?.is_some())
    }

    fn share_part(
        &self,
        tx: &impl Tables,
        caller: Role,
        subject: &Subject,
        kind: Kind,
        digest: &Digest,
    ) -> Result<wire::FillPart, SealError> {
        if let Some(held) = Held::any(tx, subject, kind, digest)? {
            let mut part = self.fill_part(caller, subject, &held)?;
            if part.public.is_some() && !held.ticket_use.is_empty() {
                part.authority_signature = held.ticket_use;
            }
            return Ok(part);
        }
        let of = common_share(self.me, caller);
        let Some(known) = known(tx, subject.key, kind, digest)? else {
            return Ok(wire::FillPart::default());
        };
        let place = place_of(self.me, of);
        if known.sealed[place].is_empty() {
            return Ok(wire::FillPart::default());
        }
        let packed = self.open_half(kind, digest, place, &known.sealed[place])?;
        let public = Public::decode(kind, &known.header)?;
        Ok(part(&public, known.authority_signature, &packed))
    }

    fn open_half(
        &self,
        kind: Kind,
        digest: &Digest,
        place: usize,
        sealed: &[u8],
    ) -> Result<Opening, SealError> {
        let half = [Half::Own, Half::Next][place];
        let packed = self
            .vault
            .open_half(kind, half, self.me.index(), &digest.0, sealed)?;
        let (nonce, share) = packed
            .split_first_chunk::<32>()
            .ok_or(StoreError::Corrupt { table: "known" })?;
        Ok(Opening::from_parts(
            Zeroizing::new(*nonce),
            Zeroizing::new(share.to_vec()),
        ))
    }

    fn keep_half(
        &self,
        tx: &WriteTx,
        batch: &Batch,
        digest: &Digest,
        given: &Checked,
        authority_signature: &[u8],
    ) -> Result<(), SealError> {
        let (key, kind) = (batch.subject.key, batch.kind);
        if accepted::position(tx, kind, key.election, key.of_box, &digest.0)?.is_some()
            || tables::filled(tx, key, kind, &digest.0)?.is_some()
        {
            return Ok(());
        }
        let me = self.me;
        let place = place_of(me, common_share(me, batch.from));
        let other = known(tx, key, kind, digest)?;
        let at = (key.election, key.of_box, kind.code(), &digest.0);
        let header = given.public.encode();
        let packed = |opening: &Opening| {
            let mut packed = Zeroizing::new(opening.nonce().to_vec());
            packed.extend_from_slice(opening.share());
            packed
        };
        let other_half = other
            .as_ref()
            .map(|known| &known.sealed[1 - place])
            .filter(|sealed| !sealed.is_empty());
        if let Some(sealed) = other_half {
            let authority_signature = authority_signature.to_vec();
            let other_authority = other
                .as_ref()
                .map_or_else(Vec::new, |known| known.authority_signature.clone());
            let other = self.open_half(kind, digest, 1 - place, sealed)?;
            let given = Opening::from_parts(
                Zeroizing::new(*given.opening.nonce()),
                Zeroizing::new(given.opening.share().to_vec()),
            );
            let (this, next) = if place == 0 {
                (given, other)
            } else {
                (other, given)
            };
            let shares = PartyShares { this, next };
            let authority_signature = [authority_signature, other_authority]
                .into_iter()
                .find(|given| !given.is_empty())
                .unwrap_or_default();
            let row = Filled {
                header,
                authority_signature,
                sealed_shares: self.vault.seal(kind, me.index(), &digest.0, &shares.to_bytes()),
            };
            tables::put_filled(tx, key, kind, &digest.0, &row)?;
            tx.table_mut(KNOWN)?.remove(at).map_err(StoreError::from)?;
            return Ok(());
        }
        let half = [Half::Own, Half::Next][place];
        let sealed = self
            .vault
            .seal_half(kind, half, me.index(), &digest.0, &packed(&given.opening));
        let (this, next): (&[u8], &[u8]) = if place == 0 {
            (&sealed, &[])
        } else {
            (&[], &sealed)
        };
        tx.table_mut(KNOWN)?
            .insert(at, (header.as_slice(), authority_signature, this, next))
            .map_err(StoreError::from)?;
        Ok(())
    }
}
