//! The tally sessions of one party server: Prepare, Tally, and the streams of the other parties.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use tally_proto::connect::{ConnectError, Dial};
use tally_proto::envelope::{Envelope, PublicKey, Signer};
use tally_proto::ids::{BoxId, ElectionId, Role, RoleExt as _, SessionNumber};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::result::{BoxResult, MIN_SIGNATURES};
use tally_proto::session::Demand;
use tally_proto::wire;
use tally_proto::wire::tally_event::Event;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::begun::{Begun, End, event, progress_message, tell};
use super::board::Board;
use super::channel::Pace;
use super::demands;
use super::holdings;
use super::ledger;
use super::lobby::Lobby;
use super::log::SessionLogs;
use super::meet::Endpoints;
use super::opening::Scene;
use super::others::Others;
use super::outcome;
use super::source::{Ready, TallySource};
use super::start::Prepared;
use crate::entropy::Entropy;
use crate::party::Party;
use crate::rpc::seams::{Answers, TallyState};
use crate::store::{Store, StoreError, elections};
use crate::witness::Witness;

/// What a party's sessions need.
pub struct SessionsParts {
    /// This party.
    pub own: Role,
    /// Signs Starts, Results and Aborts.
    pub signer: Arc<Signer>,
    /// Keeps numbers, results and aborts.
    pub store: Arc<Store>,
    /// Where contributions come from.
    pub entropy: Arc<dyn Entropy>,
    /// Where sealed boxes come from.
    pub source: Arc<dyn TallySource>,
    /// Where the other parties are.
    pub endpoints: Endpoints,
    /// How patient sessions are.
    pub pace: Pace,
    /// Where sessions are logged.
    pub logs: SessionLogs,
    /// Counts sessions and writes down how they end.
    pub witness: Witness,
}

/// The tally sessions of one party server. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) parts: SessionsParts,
    pub(super) others: Others,
    pub(super) lobby: Arc<Lobby>,
    /// Sessions begin one at a time: nothing else happens to a box between looking and writing.
    pub(super) beginning: tokio::sync::Mutex<()>,
    pub(super) boxes: Mutex<HashMap<(ElectionId, BoxId), BoxSessions>>,
}

/// The sessions of one box: the newest prepared, and the newest that was begun.
pub(super) struct BoxSessions {
    pub(super) scene: Scene,
    pub(super) keys: [PublicKey; 3],
    pub(super) prepared: Option<(Prepared, Ready)>,
    pub(super) begun: Option<Begun>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sessions({})", self.0.parts.own)
    }
}

impl Sessions {
    /// Sessions of a party that has just started: none is prepared or running, whatever was before.
    pub fn new(parts: SessionsParts) -> Self {
        Self(Arc::new(Inner {
            others: Others::new(&parts.endpoints),
            parts,
            lobby: Arc::default(),
            beginning: tokio::sync::Mutex::default(),
            boxes: Mutex::default(),
        }))
    }

    /// Sessions of `party`, over the boxes of `source`.
    ///
    /// # Errors
    /// An address or a certificate that the transport cannot use.
    pub fn of_party(party: &Party, source: Arc<dyn TallySource>) -> Result<Self, ConnectError> {
        let mut endpoints: Endpoints = [None, None, None];
        for role in [party.role.next(), party.role.prev()] {
            let identity = party.identities.party(role);
            let dial = Dial {
                address: identity.peer_address(),
                anchor: identity.anchor(),
                leaf: Some(&party.leaf),
            };
            endpoints[role.slot()] = Some(dial.endpoint()?);
        }
        Ok(Self::new(SessionsParts {
            own: party.role,
            signer: Arc::clone(&party.signer),
            store: Arc::clone(&party.store),
            entropy: Arc::clone(&party.entropy),
            source,
            endpoints,
            pace: Pace::default(),
            logs: SessionLogs::new(party.session_logs.clone(), Arc::clone(&party.vault)),
            witness: party.witness.clone(),
        }))
    }

    /// Control.Prepare: this party's Start for the session of that number, once both others have said what they hold of it. An older session
    /// of the box that is still running ends; one that is opening its outputs is waited for.
    ///
    /// # Errors
    /// `party.unreachable`: one of the others does not answer; `session.stale`: the number is not above every one that this party signed, or
    /// too far above; `session.limit`: a person must give leave; `tally.already`; what the source says; `store.failed`.
    pub async fn prepare(&self, request: wire::PrepareRequest) -> Result<Envelope, Refusal> {
        let election = ElectionId::new(&request.election)?;
        let (of_box, number) = (BoxId(request.r#box), SessionNumber(request.session));
        let ready = self.ready(&election, of_box).await?;
        let place = (election, of_box);
        let scene = ready.scene(&place);
        self.end_older(&place).await;
        if let Err(missing) = self.recollect(&place, &scene, &ready.keys).await
            && !matches!(self.stored_result(&place).await?, Some((_, true)))
        {
            // Without both answers nothing is signed; that the box is tallied is said also with one.
            return Err(missing);
        }
        let key = place.clone();
        self.blocking(move |inner| {
            let (election, of_box) = key;
            let raised = inner.parts.store.write(|tx| {
                let key = (elections::number_or_new(tx, election.as_str())?, of_box.get());
                ledger::raise(tx, key, number)
            });
            raised.map_err(Refusal::from)
        })
        .await?;
        let parts = &self.0.parts;
        let prepared = Prepared::new(parts.own, scene, number, &parts.signer, &mut parts.entropy.rng());
        let start = prepared.start().clone();
        let mut boxes = self.0.boxes();
        let sessions = boxes.entry(place).or_insert_with(|| BoxSessions {
            scene: prepared.scene.clone(),
            keys: ready.keys,
            prepared: None,
            begun: None,
        });
        // Of two requests at the same time the higher number stays: its Start is the newest that this party signed.
        if sessions
            .prepared
            .as_ref()
            .is_none_or(|(other, _)| other.number < number)
        {
            sessions.prepared = Some((prepared, ready));
        }
        tracing::info!(election = %request.election, box_id = %of_box, session = %number, "session prepared");
        Ok(start)
    }

    /// Control.Tally: runs the session that the three Starts open, tells its progress and ends with this party's Result or Abort. Asked
    /// again while it runs, it tells the rest. The session goes on when the caller goes away. Of a tallied box the stream is the stored
    /// Result, then the refusal `tally.already`. Without Starts the Result is collected: a party that does not know it yet asks the others.
    ///
    /// # Errors
    /// What is wrong with the Starts; `session.unknown`: this party's Start among them is not the newest it prepared since it started.
    pub async fn tally(&self, request: wire::TallyRequest) -> Result<Answers<wire::TallyEvent>, Refusal> {
        let election = ElectionId::new(&request.election)?;
        let of_box = BoxId(request.r#box);
        let place = (election, of_box);
        let known = if request.starts.is_empty() {
            self.collected_result(&place).await?
        } else {
            // With one signature sessions go on: the same Seal gives the same outputs.
            self.stored_result(&place)
                .await?
                .filter(|(_, concluded)| *concluded)
        };
        if let Some((result, _)) = known {
            let already = Refusal::new(
                Reason::TallyAlready,
                "the box is tallied: this is its stored Result",
            );
            let events = [Ok(event(Event::Result(result.to_wire()))), Err(already.into())];
            return Ok(futures::stream::iter(events).boxed());
        }
        let mut starts = Vec::with_capacity(3);
        for start in request.starts.into_iter().take(4) {
            starts.push(Envelope::from_wire(start)?);
        }
        let begun = self.begin(&place, &starts).await?;
        let (events, stream) = mpsc::channel(16);
        tokio::spawn(tell(begun, events));
        Ok(ReceiverStream::new(stream).boxed())
    }

    /// Peer.Session: the frames of a session between `caller` and this party.
    ///
    /// # Errors
    /// `session.unknown`: no session here waits for them.
    pub async fn session(
        &self,
        caller: Role,
        frames: impl futures::Stream<Item = Result<wire::Frame, Status>> + Send + 'static,
    ) -> Result<Answers<wire::Frame>, Refusal> {
        self.0.lobby.arrive(caller, frames, self.0.parts.pace.meet).await
    }

    /// Peer.Holdings: what this party holds of what `caller` signed for a box.
    ///
    /// # Errors
    /// `message.malformed`; `store.failed`.
    pub async fn holdings(&self, caller: Role, request: wire::HoldingsRequest) -> Result<Envelope, Refusal> {
        self.blocking(move |inner| {
            let parts = &inner.parts;
            holdings::answer(&parts.store, (parts.own, &parts.signer), caller, &request)
        })
        .await
    }

    /// Peer.Relay: fetches the answer to a Demand of `caller` against the third party.
    ///
    /// # Errors
    /// `session.unknown`; what is wrong with the Demand.
    pub async fn relay(&self, caller: Role, demand: wire::Envelope) -> Result<wire::Mediation, Refusal> {
        let envelope = Envelope::from_wire(demand)?;
        let (board, scene, number) = self.session_of(&envelope)?;
        let parts = &self.0.parts;
        let tools = (&self.0.others, &*parts.signer);
        demands::relay(
            &board,
            (&scene, number),
            caller,
            &envelope,
            tools,
            parts.pace.relay,
        )
        .await
    }

    /// Peer.Supply and Control.Supply: this party's answer to a Demand against it. The Demand is signed by who may have the answer, and the
    /// answer is sealed, so it does not matter who brings it.
    ///
    /// # Errors
    /// `session.unknown`; `session.frame-pending`; what is wrong with the Demand.
    pub async fn supply(&self, demand: wire::Envelope) -> Result<Envelope, Refusal> {
        let envelope = Envelope::from_wire(demand)?;
        let (board, ..) = self.session_of(&envelope)?;
        let parts = &self.0.parts;
        demands::supply(&board, &envelope, &parts.signer, &*parts.entropy)
    }

    /// Control.Deliver: the answer to the Demand that this party has open.
    ///
    /// # Errors
    /// `session.unknown`: no Demand is open, or this is no answer to it.
    pub async fn deliver(&self, answer: wire::Envelope) -> Result<(), Refusal> {
        let envelope = Envelope::from_wire(answer)?;
        let boards: Vec<Arc<Board>> = self
            .0
            .boxes()
            .values()
            .filter_map(|sessions| sessions.begun.as_ref().map(|begun| Arc::clone(&begun.board)))
            .collect();
        if boards.iter().any(|board| board.answered(&envelope).is_ok()) {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::SessionUnknown,
            "no demand is open here that this answers",
        ))
    }

    /// Control.Conclude: a Result with two signatures. No session follows it, whatever this party itself saw.
    ///
    /// # Errors
    /// `result.signatures`: it is no Result of this box's Seal, or has not the signatures of two parties. What the source says.
    pub async fn conclude(&self, result: wire::Envelope) -> Result<(), Refusal> {
        let envelope = Envelope::from_wire(result)?;
        let result =
            BoxResult::decode(envelope.payload()).map_err(|error| Refusal::new(error.reason(), error))?;
        let place = (result.election().clone(), result.of_box());
        let ready = self.ready(&place.0, place.1).await?;
        let scene = ready.scene(&place);
        if envelope.signatures().len() < MIN_SIGNATURES
            || !holdings::is_result(&envelope, &scene, &ready.keys)
        {
            return Err(Refusal::new(
                Reason::ResultSignatures,
                "it is no Result of this box's Seal with the signatures of two parties",
            ));
        }
        self.blocking(move |inner| {
            let put = inner.parts.store.write(|tx| {
                let key = (elections::number_or_new(tx, place.0.as_str())?, place.1.get());
                ledger::put_result(tx, key, &envelope)
            });
            put.map_err(Refusal::from)
        })
        .await
    }

    /// Control.AllowSessions: this party's operator gives leave for more sessions of a box. Returns how many.
    ///
    /// # Errors
    /// `confirmation.mismatch`: what was typed is not the election's id; `election.unknown`; `store.failed`.
    pub async fn allow(&self, request: wire::AllowSessionsRequest) -> Result<u32, Refusal> {
        let election = ElectionId::new(&request.election)?;
        let of_box = BoxId(request.r#box);
        if request.confirmation != election.as_str() {
            return Err(Refusal::new(
                Reason::ConfirmationMismatch,
                format_args!("{:?} is not {:?}", request.confirmation, election.as_str()),
            ));
        }
        // Known, and sealed: leave is given for what there is.
        self.ready(&election, of_box).await?;
        tracing::warn!(%election, box_id = %of_box, "the operator gives leave for more tally sessions");
        self.blocking(move |inner| {
            let allowed = inner.parts.store.write(|tx| {
                let key = (elections::number_or_new(tx, election.as_str())?, of_box.get());
                ledger::allow(tx, key)?;
                ledger::left(tx, key)
            });
            allowed.map_err(store_failed)
        })
        .await
    }

    /// The session that a Demand names. It may be over here: a neighbour that is behind may still lack its last frames.
    fn session_of(&self, demand: &Envelope) -> Result<(Arc<Board>, Scene, SessionNumber), Refusal> {
        let session = Demand::decode(demand).map_err(demands::refused)?.session;
        let boxes = self.0.boxes();
        let found = boxes.values().find_map(|sessions| {
            let begun = sessions.begun.as_ref().filter(|begun| begun.id == session)?;
            Some((Arc::clone(&begun.board), sessions.scene.clone(), begun.number))
        });
        found.ok_or_else(|| {
            Refusal::new(
                Reason::SessionUnknown,
                format_args!("session {} is not the last one of its box here", session.short()),
            )
        })
    }

    /// How far the tally of a box is.
    ///
    /// # Errors
    /// `store.failed`.
    pub async fn state(&self, election: &ElectionId, of_box: BoxId) -> Result<TallyState, Refusal> {
        let place = (election.clone(), of_box);
        let begun = self
            .0
            .boxes()
            .get(&place)
            .and_then(|sessions| sessions.begun.clone());
        let end = begun.as_ref().and_then(|begun| begun.end.borrow().clone());
        let running = begun.is_some() && end.is_none();
        let progress = begun
            .as_ref()
            .filter(|_| running)
            .and_then(|begun| *begun.progress.borrow());
        let (last_session, done, stored, sessions_left) = self
            .blocking(move |inner| {
                let read = inner.parts.store.read(|tx| {
                    let Some(number) = elections::number_of(tx, place.0.as_str())? else {
                        return Ok((0, false, None, ledger::WITHOUT_A_PERSON));
                    };
                    let key = (number, place.1.get());
                    let last = ledger::last(tx, key)?;
                    Ok((
                        last.get(),
                        ledger::result(tx, key)?.is_some(),
                        ledger::abort(tx, key, last)?,
                        ledger::left(tx, key)?,
                    ))
                });
                read.map_err(store_failed)
            })
            .await?;
        let trouble = match (end, stored) {
            _ if running || done => String::new(),
            (Some(End::Abort(abort, stop)), _) => {
                let described = outcome::describe(&abort, &self.0.parts.signer.public_key());
                format!("{stop}; {described}")
            }
            (Some(End::Failed(refusal)), _) => refusal.to_string(),
            // After a restart only the signed statement is left.
            (_, Some(abort)) => {
                outcome::describe(&Envelope::decode(&abort)?, &self.0.parts.signer.public_key())
            }
            _ => String::new(),
        };
        Ok(TallyState {
            running,
            done,
            last_session,
            trouble,
            sessions_left,
            progress: progress.as_ref().map(progress_message),
        })
    }

    /// Ends every running session, for a server that is stopping.
    pub fn stop(&self) {
        for sessions in self.0.boxes().values() {
            if let Some(begun) = &sessions.begun {
                begun.interrupt.now();
            }
        }
    }

    pub(super) async fn ready(&self, election: &ElectionId, of_box: BoxId) -> Result<Ready, Refusal> {
        let election = election.clone();
        self.blocking(move |inner| inner.parts.source.ready(&election, of_box))
            .await
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let inner = Arc::clone(&self.0);
        blocking(inner, work).await
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    inner: Arc<Inner>,
    work: impl FnOnce(&Inner) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(move || work(&inner)).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(%error, "a blocking task ended by a fault of this program");
            Err(Refusal::new(
                Reason::Internal,
                "the request ended by a fault of this program; its log tells more",
            ))
        }
    }
}

pub(super) fn store_failed(error: StoreError) -> Refusal {
    Refusal::new(Reason::StoreFailed, error)
}

impl Inner {
    pub(super) fn boxes(&self) -> MutexGuard<'_, HashMap<(ElectionId, BoxId), BoxSessions>> {
        // Nothing panics while it holds the lock.
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
