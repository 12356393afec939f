//! What a party answers the two others. Every answer is of something durable, or of nothing.

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tally_proto::envelope::Envelope;
use tally_proto::ids::{Digest, Role, RoleExt as _};
use tally_proto::shares::Opening;
use tally_proto::wire;
use tally_proto::wire::list_part::Part;

use super::error::SealError;
use super::fill::{Held, Public};
use super::peers::Item;
use super::subject::Subject;
use super::tables::{self, Once};
use super::{Inner, Sealing};
use crate::store::Kind;

/// Most digests in one request to fill.
pub const MAX_FILL: usize = 4096;

/// Parts of a List as this party sends them.
pub type ListReply = BoxStream<'static, Result<wire::ListPart, SealError>>;

/// Parts of a fill as this party sends them.
pub type FillReply = BoxStream<'static, Result<wire::FillPart, SealError>>;

impl Sealing {
    /// The List that `of` names: this party's, or the caller's own as it was shown here, with its body; or the third party's envelope. Held
    /// for a while when it is not there yet.
    ///
    /// # Errors
    /// [`SealError::NotYet`], an unknown box, or the store.
    pub async fn list(&self, caller: Role, of: wire::SealRef) -> Result<ListReply, SealError> {
        let (subject, of_party, envelope) = self.signed(of, Once::List, Item::List).await?;
        let head = wire::ListPart {
            part: Some(Part::List(envelope.to_wire())),
        };
        let head = stream::once(async { Ok(head) });
        if of_party != self.0.me && of_party != caller {
            return Ok(head.boxed());
        }
        let sealing = self.clone();
        let body = stream::unfold(Some((Kind::Ballot, 0u32)), move |at| {
            let sealing = sealing.clone();
            async move {
                let (mut kind, mut part) = at?;
                let next = sealing
                    .blocking(move |inner| {
                        inner.store.read(|tx| {
                            loop {
                                if let Some(bytes) =
                                    tables::body_part(tx, subject.key, of_party.index(), kind, part)?
                                {
                                    return Ok(Some((kind, part, bytes)));
                                }
                                match kind {
                                    Kind::Ballot => (kind, part) = (Kind::Record, 0),
                                    Kind::Record => return Ok(None),
                                }
                            }
                        })
                    })
                    .await;
                match next {
                    Ok(None) => None,
                    Ok(Some((kind, part, bytes))) => {
                        let bytes = Bytes::from(bytes);
                        let sent = match kind {
                            Kind::Ballot => Part::Ballots(bytes),
                            Kind::Record => Part::Records(bytes),
                        };
                        Some((Ok(wire::ListPart { part: Some(sent) }), Some((kind, part + 1))))
                    }
                    Err(error) => Some((Err(error), None)),
                }
            }
        });
        Ok(head.chain(body).boxed())
    }

    /// The Claims that `of` names, this party's or the third party's as shown here.
    ///
    /// # Errors
    /// As [`Sealing::list`].
    pub async fn claims(&self, of: wire::SealRef) -> Result<Envelope, SealError> {
        Ok(self.signed(of, Once::Claims, Item::Claims).await?.2)
    }

    /// The signed Seal that `of` names, this party's or the third party's as shown here.
    ///
    /// # Errors
    /// As [`Sealing::list`].
    pub async fn seal_signature(&self, of: wire::SealRef) -> Result<Envelope, SealError> {
        Ok(self.signed(of, Once::Seal, Item::Seal).await?.2)
    }

    async fn signed(
        &self,
        of: wire::SealRef,
        what: Once,
        item: Item,
    ) -> Result<(Subject, Role, Envelope), SealError> {
        let party = party_of(of.of_party)?;
        let subject = self.subject(&of.election, of.r#box).await?;
        let key = subject.key;
        let envelope = self
            .0
            .steps
            .until(self.0.patience.hold, item, || {
                self.blocking(move |inner| {
                    let bytes = inner
                        .store
                        .read(|tx| tables::signed(tx, key, what, party.index()))?;
                    Ok(bytes.map(|bytes| Envelope::decode(&bytes)).transpose()?)
                })
            })
            .await?;
        Ok((subject, party, envelope))
    }

    /// For candidates that the caller did not accept: header, authority signature and the one share that caller and this party both
    /// hold. One part per digest, in the order of the request; an empty one for what is not held.
    ///
    /// # Errors
    /// [`SealError::NotYet`] before this party's List is signed; an oversized request; the store.
    ///
    /// # Security
    /// The caller is entitled to that share of every ballot and record, so a false request learns nothing. The other share leaves
    /// this function in no case.
    pub async fn fill(&self, caller: Role, request: wire::FillRequest) -> Result<FillReply, SealError> {
        if caller == self.0.me || request.ballots.len() + request.records.len() > MAX_FILL {
            return Err(super::complaint::ComplaintError::Subject.into());
        }
        let subject = self.subject(&request.election, request.r#box).await?;
        let asked = |kind, digests: Vec<Vec<u8>>| {
            digests.into_iter().map(move |digest| {
                Digest::from_slice(&digest)
                    .map(|digest| (kind, digest))
                    .map_err(|_| SealError::from(super::complaint::ComplaintError::Subject))
            })
        };
        let asked = asked(Kind::Ballot, request.ballots)
            .chain(asked(Kind::Record, request.records))
            .collect::<Result<Vec<_>, _>>()?;
        let parts = self
            .blocking(move |inner| {
                inner.store.read(|tx| {
                    if tables::signed(tx, subject.key, Once::List, inner.me.index())?.is_none() {
                        return Err(SealError::NotYet(Item::Fill));
                    }
                    asked
                        .iter()
                        .map(|(kind, digest)| {
                            Ok(match Held::accepted(tx, &subject, *kind, digest)? {
                                None => wire::FillPart::default(),
                                Some(held) => inner.fill_part(caller, &subject, &held)?,
                            })
                        })
                        .collect::<Result<Vec<_>, SealError>>()
                })
            })
            .await?;
        Ok(stream::iter(parts.into_iter().map(Ok)).boxed())
    }
}

impl Inner {
    pub(super) fn fill_part(
        &self,
        caller: Role,
        subject: &Subject,
        held: &Held,
    ) -> Result<wire::FillPart, SealError> {
        let opening = held.opening(self, subject, super::complaint::common_share(self.me, caller))?;
        Ok(part(&held.public, held.authority_signature.clone(), &opening))
    }
}

/// A part of a fill.
pub(super) fn part(public: &Public, authority_signature: Vec<u8>, opening: &Opening) -> wire::FillPart {
    let public = match public {
        Public::Ballot(header) => wire::fill_part::Public::Ballot(header.to_wire()),
        Public::Record(header) => wire::fill_part::Public::Record(header.to_wire()),
    };
    wire::FillPart {
        public: Some(public),
        authority_signature,
        nonce: opening.nonce().to_vec(),
        share: opening.share().to_vec(),
    }
}

/// The party that a message names.
pub(super) fn party_of(number: u32) -> Result<Role, SealError> {
    Role::from_number(number).map_err(|_| super::complaint::ComplaintError::Subject.into())
}
