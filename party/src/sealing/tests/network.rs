//! Three sealings in one process, and whoever stands between them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use tally_proto::envelope::Envelope;
use tally_proto::ids::{BoxId, ElectionId, Role, RoleExt as _};
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use crate::session::holdings;

use super::super::{FillParts, ListParts, PeerError, Peers, SealError, Sealing};

type Answered<T> = Result<T, PeerError>;

/// Stands behind one party and changes what it answers. Every method gets the honest answer; `to` is who asked.
#[allow(unused_variables, reason = "the honest saboteur looks at nothing")]
pub(super) trait Saboteur: Send + Sync {
    fn list(
        &self,
        from: Role,
        to: Role,
        of: Role,
        parts: Answered<Vec<wire::ListPart>>,
    ) -> Answered<Vec<wire::ListPart>> {
        parts
    }
    fn claims(
        &self,
        from: Role,
        to: Role,
        of: Role,
        claims: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        claims
    }
    fn holdings(&self, from: Role, to: Role, holdings: Answered<wire::Envelope>) -> Answered<wire::Envelope> {
        holdings
    }
    fn fill(
        &self,
        from: Role,
        to: Role,
        request: &wire::FillRequest,
        parts: Answered<Vec<wire::FillPart>>,
    ) -> Answered<Vec<wire::FillPart>> {
        parts
    }
    fn answers_after(&self, from: Role) -> Duration {
        Duration::ZERO
    }
    fn answer(
        &self,
        from: Role,
        complaint: &wire::Envelope,
        answer: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        answer
    }
    fn seal(
        &self,
        from: Role,
        to: Role,
        of: Role,
        seal: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        seal
    }
    /// Whether `from` can be reached by `to` at all.
    fn reaches(&self, from: Role, to: Role) -> bool {
        true
    }
}

/// Changes nothing.
pub(super) struct Honest;

impl Saboteur for Honest {}

/// The three parties, each at its place. A party that is down is absent.
pub(super) struct Network {
    places: [Mutex<Option<Sealing>>; 3],
    saboteur: Arc<dyn Saboteur>,
}

impl Network {
    pub(super) fn new(saboteur: Arc<dyn Saboteur>) -> Arc<Self> {
        Arc::new(Self {
            places: Default::default(),
            saboteur,
        })
    }

    pub(super) fn put(&self, role: Role, sealing: Option<Sealing>) {
        *self.places[role.slot()].lock().expect("no test panics with it") = sealing;
    }

    fn at(&self, peer: Role, to: Role) -> Answered<Sealing> {
        let unreachable = || PeerError::Unreachable {
            peer,
            detail: "down".to_owned(),
        };
        let sealing = self.places[peer.slot()]
            .lock()
            .expect("no test panics with it")
            .clone();
        sealing
            .filter(|_| self.saboteur.reaches(peer, to))
            .ok_or_else(unreachable)
    }
}

/// The network as one party sees it.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) network: Arc<Network>,
    pub(super) me: Role,
}

/// A refusal travels as it does over gRPC.
fn travel<T>(peer: Role, answer: Result<T, SealError>) -> Answered<T> {
    answer.map_err(|error| PeerError::of_refusal(peer, Refusal::from(error)))
}

fn role(number: u32) -> Role {
    Role::from_number(number).expect("tests name parties")
}

impl Peers for Seen {
    async fn list(&self, peer: Role, of: wire::SealRef) -> Answered<ListParts> {
        let of_party = role(of.of_party);
        let sealing = self.network.at(peer, self.me)?;
        let honest = match sealing.list(self.me, of).await {
            Ok(parts) => parts
                .collect::<Vec<_>>()
                .await
                .into_iter()
                .collect::<Result<Vec<_>, _>>(),
            Err(error) => Err(error),
        };
        let parts = self
            .network
            .saboteur
            .list(peer, self.me, of_party, travel(peer, honest))?;
        Ok(stream::iter(parts.into_iter().map(Ok)).boxed())
    }

    async fn claims(&self, peer: Role, of: wire::SealRef) -> Answered<wire::Envelope> {
        let of_party = role(of.of_party);
        let honest = self
            .network
            .at(peer, self.me)?
            .claims(of)
            .await
            .map(|claims| claims.to_wire());
        self.network
            .saboteur
            .claims(peer, self.me, of_party, travel(peer, honest))
    }

    async fn holdings(&self, peer: Role, request: wire::HoldingsRequest) -> Answered<wire::Envelope> {
        let sealing = self.network.at(peer, self.me)?;
        let signed = (peer, &*sealing.0.signer);
        let honest = holdings::answer(&sealing.0.store, signed, self.me, &request)
            .map(|holdings| holdings.to_wire())
            .map_err(|refusal| PeerError::of_refusal(peer, refusal));
        self.network.saboteur.holdings(peer, self.me, honest)
    }

    async fn fill(&self, peer: Role, request: wire::FillRequest) -> Answered<FillParts> {
        let honest = match self
            .network
            .at(peer, self.me)?
            .fill(self.me, request.clone())
            .await
        {
            Ok(parts) => parts
                .collect::<Vec<_>>()
                .await
                .into_iter()
                .collect::<Result<Vec<_>, _>>(),
            Err(error) => Err(error),
        };
        let parts = self
            .network
            .saboteur
            .fill(peer, self.me, &request, travel(peer, honest))?;
        Ok(stream::iter(parts.into_iter().map(Ok)).boxed())
    }

    async fn mediate(&self, peer: Role, complaint: wire::Envelope) -> Answered<wire::Mediation> {
        let seen_by_peer = Seen {
            network: Arc::clone(&self.network),
            me: peer,
        };
        travel(
            peer,
            self.network
                .at(peer, self.me)?
                .mediate(self.me, complaint, &seen_by_peer)
                .await,
        )
    }

    async fn answer(&self, peer: Role, complaint: wire::Envelope) -> Answered<wire::Envelope> {
        let honest = travel(
            peer,
            self.network
                .at(peer, self.me)?
                .answer(self.me, complaint.clone())
                .await,
        );
        tokio::time::sleep(self.network.saboteur.answers_after(peer)).await;
        self.network.saboteur.answer(peer, &complaint, honest)
    }

    async fn judge(&self, peer: Role, request: wire::JudgeRequest) -> Answered<wire::Envelope> {
        travel(
            peer,
            self.network.at(peer, self.me)?.judge(self.me, request).await,
        )
    }

    async fn seal_signature(&self, peer: Role, of: wire::SealRef) -> Answered<wire::Envelope> {
        let of_party = role(of.of_party);
        let honest = self
            .network
            .at(peer, self.me)?
            .seal_signature(of)
            .await
            .map(|seal| seal.to_wire());
        self.network
            .saboteur
            .seal(peer, self.me, of_party, travel(peer, honest))
    }
}

/// A signed object off the wire.
pub(super) fn envelope(wire: &wire::Envelope) -> Envelope {
    Envelope::from_wire(wire.clone()).expect("an envelope")
}

impl Sealing {
    /// Signs a List of just these digests, as a party that lies about what it accepted would.
    pub(super) fn sign_list(
        &self,
        election: &ElectionId,
        of_box: BoxId,
        ballots: &[[u8; 32]],
        records: &[[u8; 32]],
    ) {
        let signed = self.0.store.write(|tx| {
            let subject = self.0.subject(tx, election.as_str(), of_box)?;
            self.0.sign_list(tx, &subject, ballots, records)
        });
        signed.expect("an open store");
    }
}
