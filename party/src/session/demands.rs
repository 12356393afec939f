//! Asking for a frame that is overdue: through the third party and through the coordinator, before anybody is called overdue.

use std::sync::Arc;
use std::time::Duration;

use tally_proto::envelope::{Envelope, Signer};
use tally_proto::ids::{Role, RoleExt as _, SessionNumber};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::session::{Answer, Check, Demand, DemandError, SessionAbort, Supply};
use tally_proto::wire;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::board::{Board, Owed, Standing};
use super::link::Arrival;
use super::opening::Scene;
use super::others::Others;
use super::queue::Queue;
use crate::entropy::Entropy;

/// Between two questions of the party that relays.
const PAUSE: Duration = Duration::from_millis(100);

/// What one session needs to demand frames.
#[derive(Clone)]
pub struct Demands {
    pub(crate) board: Arc<Board>,
    pub(crate) scene: Scene,
    pub(crate) signer: Arc<Signer>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) others: Others,
    pub(crate) runtime: Handle,
    /// To the coordinator.
    pub(crate) told: Arc<watch::Sender<Option<wire::Envelope>>>,
    /// How long an answer may take.
    pub(crate) patience: Duration,
}

impl std::fmt::Debug for Demands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Demands({})", self.board.own)
    }
}

impl Demands {
    /// Demands the frame `sequence` of `of`; what answers it goes to `inbound`. From the engine's thread.
    pub(crate) fn open(&self, of: Role, sequence: u64, inbound: Arc<Queue<Arrival>>) {
        let own = self.board.own;
        let (key, one_time_key) = Answer::expected(&mut self.entropy.rng());
        let demand = Demand {
            session: self.board.session,
            election: self.scene.election.clone(),
            of_box: self.scene.box_id,
            by: own,
            of,
            sequence,
            one_time_key,
        };
        let envelope = demand.sign(&self.signer);
        tracing::warn!(election = %self.scene.election, box_id = %self.scene.box_id, session = %self.board.session.short(), of = %of, frame = sequence,
            "a frame is overdue: it is demanded through the third party and the coordinator");
        self.board.open(demand, envelope.clone(), key, inbound);
        self.told.send_replace(Some(envelope.to_wire()));
        let Some(third) = own.third(of) else { return };
        let this = self.clone();
        self.runtime
            .spawn(async move { this.relay(third, of, envelope).await });
    }

    /// The Demand is closed: how it stands.
    pub(crate) fn close(&self) -> Standing {
        self.board.close()
    }

    async fn relay(&self, via: Role, of: Role, demand: Envelope) {
        let Ok(mediation) = self.others.relay(via, demand.to_wire(), self.patience).await else {
            // The third party is no help; the coordinator may be.
            return;
        };
        let opened = match mediation {
            wire::Mediation {
                answer: Some(answer), ..
            } => Envelope::from_wire(answer)
                .map_err(DemandError::from)
                .and_then(|answer| self.board.answered(&answer)),
            wire::Mediation {
                statement: Some(statement),
                ..
            } => Envelope::from_wire(statement)
                .map_err(DemandError::from)
                .map(|statement| {
                    let stated = SessionAbort::open(&statement, &self.board.keys);
                    if stated.is_ok_and(|abort| is_about(&abort, &self.board, via, of)) {
                        self.board.unanswered(demand.hash(), statement);
                    }
                }),
            wire::Mediation { .. } => Ok(()),
        };
        if let Err(error) = opened {
            tracing::warn!(party = %via, %error, "what came back to a demand is of no use");
        }
    }
}

fn is_about(abort: &SessionAbort, board: &Board, by: Role, of: Role) -> bool {
    abort.session == board.session
        && abort.party == by
        && abort.suspects == [of]
        && abort.check == Check::Deadline
}

/// The answer of this party to a Demand against it, whoever brings it.
///
/// # Errors
/// `message.malformed`, `signature.bad`: it is no Demand of this session against this party. `session.frame-pending`.
pub(crate) fn supply(
    board: &Board,
    envelope: &Envelope,
    signer: &Signer,
    entropy: &dyn Entropy,
) -> Result<Envelope, Refusal> {
    let demand = Demand::open(envelope, &board.keys).map_err(refused)?;
    if demand.of != board.own || demand.session != board.session {
        return Err(refused(DemandError::Other));
    }
    let hash = envelope.hash();
    let supply = match board.owed(&demand) {
        Owed::Frame(frame) => {
            let bytes = prost::Message::encode_to_vec(&frame);
            Supply::frame(&demand, &hash, &bytes, &mut entropy.rng()).map_err(refused)?
        }
        Owed::Waiting(own) => Supply::Waiting(own),
        Owed::Nothing => {
            return Err(Refusal::new(
                Reason::SessionFramePending,
                format_args!(
                    "frame {} to {} is not made yet, or not kept",
                    demand.sequence, demand.by
                ),
            ));
        }
    };
    Ok(supply.sign(&hash, board.own, signer))
}

/// As the third party: fetches the answer to a Demand of `caller`, or states that there was none within half of `patience`, so that the
/// caller hears of it within all of it.
///
/// # Errors
/// The Demand is not one of `caller` against the third party.
pub(crate) async fn relay(
    board: &Board,
    (scene, number): (&Scene, SessionNumber),
    caller: Role,
    envelope: &Envelope,
    (others, signer): (&Others, &Signer),
    patience: Duration,
) -> Result<wire::Mediation, Refusal> {
    let demand = Demand::open(envelope, &board.keys).map_err(refused)?;
    if demand.by != caller || caller.third(demand.of) != Some(board.own) || demand.session != board.session {
        return Err(refused(DemandError::Other));
    }
    let hash = envelope.hash();
    let end = Instant::now() + patience / 2;
    while Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        if let Ok(answer) = others.supply(demand.of, envelope.to_wire(), left).await
            && let Ok(answer) = Envelope::from_wire(answer)
            && Supply::open(&answer, &demand, &hash, &board.keys).is_ok()
        {
            return Ok(wire::Mediation {
                answer: Some(answer.to_wire()),
                statement: None,
            });
        }
        sleep(PAUSE.min(left)).await;
    }
    let mut between = [demand.by, demand.of];
    between.sort();
    let statement = SessionAbort {
        election: scene.election.clone(),
        of_box: scene.box_id,
        seal_hash: scene.seal_hash,
        number,
        session: board.session,
        party: board.own,
        reason: Reason::TallyOverdue,
        check: Check::Deadline,
        step: "demand".to_owned(),
        channel: Some(between),
        suspects: vec![demand.of],
        proved: false,
        evidence: Vec::new(),
    };
    Ok(wire::Mediation {
        answer: None,
        statement: Some(statement.sign(signer).to_wire()),
    })
}

pub(crate) fn refused(error: DemandError) -> Refusal {
    let reason = match error {
        DemandError::Envelope(_) => Reason::SignatureBad,
        _ => Reason::MessageMalformed,
    };
    Refusal::new(reason, error)
}
