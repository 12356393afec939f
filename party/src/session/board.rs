//! What a running session knows of its frames besides the streams: those that it sent and may be asked for again, and the one that it
//! demands.
//!
//! A frame is kept until the neighbour's next barrier statement shows that it arrived, up to [`KEPT_BYTES`] for each neighbour.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tally_proto::decode::decode_canonical;
use tally_proto::envelope::{Envelope, PublicKey};
use tally_proto::ids::{Hash32, Role, RoleExt as _};
use tally_proto::session::{Answer, Demand, DemandError, MAX_FRAME_BYTES, Supply};
use tally_proto::wire;
use tally_proto::wire::evidence::Object;

use super::link::Arrival;
use super::queue::Queue;

/// Frames kept for one neighbour. The longest stretch without a barrier is the shuffle; of that the end is kept.
const KEPT_BYTES: usize = 64 << 20;

/// The frames of one session at one party.
pub(crate) struct Board {
    pub(crate) session: Hash32,
    pub(crate) own: Role,
    pub(crate) keys: [PublicKey; 3],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sent: [Sent; 3],
    open: Option<Open>,
}

/// What went to one neighbour.
#[derive(Default)]
struct Sent {
    frames: VecDeque<wire::Frame>,
    bytes: usize,
    /// The number of this party's latest barrier frame.
    barrier: u64,
}

/// The one Demand that this party has open: the engine waits for one frame at a time.
struct Open {
    demand: Demand,
    envelope: Envelope,
    key: Answer,
    inbound: Arc<Queue<Arrival>>,
    /// The frame came: another copy would only fill the queue.
    supplied: bool,
    standing: Standing,
}

/// How a Demand stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// The Demand.
    pub(crate) demand: Option<Envelope>,
    /// The party that owes showed a Demand of its own: it waits itself.
    pub(crate) excused: bool,
    /// The third party signed that it got no answer.
    pub(crate) statement: Option<Envelope>,
}

impl Standing {
    /// For the Abort.
    pub(crate) fn evidence(&self) -> Vec<wire::Evidence> {
        let demand = self
            .demand
            .as_ref()
            .map(|demand| Object::Demand(demand.to_wire()));
        let statement = self
            .statement
            .as_ref()
            .map(|statement| Object::Statement(statement.to_wire()));
        let object = |object| wire::Evidence { object: Some(object) };
        demand.into_iter().chain(statement).map(object).collect()
    }
}

/// What this party owes on a Demand.
pub(crate) enum Owed {
    /// The frame.
    Frame(wire::Frame),
    /// Nothing yet: it waits itself.
    Waiting(Envelope),
    /// Nothing yet, or not any more.
    Nothing,
}

impl Board {
    /// Of a session that begins.
    pub(crate) fn new(session: Hash32, own: Role, keys: [PublicKey; 3]) -> Self {
        Self {
            session,
            own,
            keys,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a frame that leaves for `to`.
    pub(crate) fn keep(&self, to: Role, frame: &wire::Frame, is_barrier: bool) {
        let mut state = self.state();
        let sent = &mut state.sent[to.slot()];
        if is_barrier {
            sent.barrier = frame.sequence;
        }
        sent.bytes += frame.payload.len();
        sent.frames.push_back(frame.clone());
        while sent.bytes > KEPT_BYTES {
            sent.drop_first();
        }
    }

    /// A barrier statement of `by` came: it has every frame from before this party's own, or the session ends at this barrier.
    pub(crate) fn confirmed(&self, by: Role) {
        let mut state = self.state();
        let sent = &mut state.sent[by.slot()];
        while sent
            .frames
            .front()
            .is_some_and(|frame| frame.sequence < sent.barrier)
        {
            sent.drop_first();
        }
    }

    /// The session aborted: nobody goes on, and what was kept is of no more use.
    pub(crate) fn forget(&self) {
        *self.state() = State::default();
    }

    /// What this party owes on `demand`, which is verified and against it.
    pub(crate) fn owed(&self, demand: &Demand) -> Owed {
        let state = self.state();
        let kept = &state.sent[demand.by.slot()].frames;
        let frame = kept
            .front()
            .and_then(|first| demand.sequence.checked_sub(first.sequence))
            .and_then(|place| usize::try_from(place).ok())
            .and_then(|place| kept.get(place));
        match (frame, &state.open) {
            (Some(frame), _) => Owed::Frame(frame.clone()),
            (None, Some(open)) => Owed::Waiting(open.envelope.clone()),
            (None, None) => Owed::Nothing,
        }
    }

    /// A Demand of this party is open; what answers it goes to `inbound`.
    pub(crate) fn open(&self, demand: Demand, envelope: Envelope, key: Answer, inbound: Arc<Queue<Arrival>>) {
        let standing = Standing {
            demand: Some(envelope.clone()),
            ..Standing::default()
        };
        self.state().open = Some(Open {
            demand,
            envelope,
            key,
            inbound,
            supplied: false,
            standing,
        });
    }

    /// The Demand is closed: how it stands.
    pub(crate) fn close(&self) -> Standing {
        self.state()
            .open
            .take()
            .map(|open| open.standing)
            .unwrap_or_default()
    }

    /// Takes an answer to the open Demand, whoever carried it.
    ///
    /// # Errors
    /// No Demand is open, it has its frame, or it is no answer to it. The Demand stays open then.
    pub(crate) fn answered(&self, envelope: &Envelope) -> Result<(), DemandError> {
        let mut state = self.state();
        let open = state.open.as_mut().filter(|open| !open.supplied);
        let open = open.ok_or(DemandError::Other)?;
        let hash = open.envelope.hash();
        match Supply::open(envelope, &open.demand, &hash, &self.keys)? {
            Supply::Waiting(_) => open.standing.excused = true,
            Supply::Frame(sealed) => {
                let frame = open.key.open(&hash, &sealed)?;
                let frame: wire::Frame = decode_canonical("frame", &frame, MAX_FRAME_BYTES)?;
                if frame.sequence != open.demand.sequence {
                    return Err(DemandError::Other);
                }
                let weight = frame.payload.len();
                let arrival = Arrival {
                    at: Instant::now(),
                    frame,
                    relayed: true,
                };
                open.supplied = true;
                // An ended queue means that the session is over.
                let _ = open.inbound.push_now(arrival, weight);
            }
        }
        Ok(())
    }

    /// Keeps the third party's signed word that it got no answer, if it is about the open Demand.
    pub(crate) fn unanswered(&self, demand: Hash32, statement: Envelope) {
        if let Some(open) = &mut self.state().open
            && open.envelope.hash() == demand
        {
            open.standing.statement = Some(statement);
        }
    }
}

impl Sent {
    fn drop_first(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.bytes -= frame.payload.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use tally_proto::envelope::Signer;
    use tally_proto::ids::BoxId;

    use super::*;

    fn frame(sequence: u64, len: usize) -> wire::Frame {
        wire::Frame {
            sequence,
            payload: Bytes::from(vec![1; len]),
            ..wire::Frame::default()
        }
    }

    fn world() -> ([Signer; 3], [PublicKey; 3], StdRng) {
        let mut rng = StdRng::seed_from_u64(4);
        let signers = [(); 3].map(|()| Signer::generate(&mut rng));
        let keys = [0, 1, 2].map(|i: usize| signers[i].public_key());
        (signers, keys, rng)
    }

    fn demand(sequence: u64, one_time_key: [u8; 32]) -> Demand {
        Demand {
            session: Hash32([1; 32]),
            election: "ward-7".parse().expect("a slug"),
            of_box: BoxId(3),
            by: Role::P1,
            of: Role::P2,
            sequence,
            one_time_key,
        }
    }

    fn owes(board: &Board, sequence: u64) -> Option<u64> {
        match board.owed(&demand(sequence, [9; 32])) {
            Owed::Frame(frame) => Some(frame.sequence),
            _ => None,
        }
    }

    #[test]
    fn frames_are_kept_until_a_barrier_shows_that_they_arrived() {
        let (_, keys, _) = world();
        let board = Board::new(Hash32([1; 32]), Role::P2, keys);
        for sequence in 0..4 {
            board.keep(Role::P1, &frame(sequence, 10), sequence == 2);
        }
        assert_eq!(owes(&board, 0), Some(0));
        board.confirmed(Role::P3);
        assert_eq!(
            owes(&board, 1),
            Some(1),
            "another neighbour's statement says nothing of it"
        );
        board.confirmed(Role::P1);
        assert_eq!(
            (owes(&board, 1), owes(&board, 2), owes(&board, 3)),
            (None, Some(2), Some(3))
        );
        assert_eq!((owes(&board, 4), owes(&board, u64::MAX)), (None, None));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (_, keys, _) = world();
        let board = Board::new(Hash32([1; 32]), Role::P2, keys);
        let big = KEPT_BYTES / 4;
        for sequence in 0..9 {
            board.keep(Role::P1, &frame(sequence, big), false);
        }
        assert_eq!((owes(&board, 4), owes(&board, 5)), (None, Some(5)));
        assert!(board.state().sent[0].bytes <= KEPT_BYTES);
    }

    #[test]
    fn only_the_answer_to_the_open_demand_is_taken() {
        let (signers, keys, mut rng) = world();
        let board = Board::new(Hash32([1; 32]), Role::P1, keys);
        let inbound = Arc::new(Queue::new(1 << 20));
        let (key, public) = Answer::expected(&mut rng);
        let demand = demand(7, public);
        let envelope = demand.sign(&signers[0]);
        let hash = envelope.hash();
        let supply = |sequence: u64, rng: &mut StdRng| {
            let bytes = prost::Message::encode_to_vec(&frame(sequence, 5));
            let supply = Supply::frame(&demand, &hash, &bytes, rng).expect("a usable key");
            supply.sign(&hash, Role::P2, &signers[1])
        };
        assert!(
            board.answered(&supply(7, &mut rng)).is_err(),
            "nothing is demanded"
        );
        board.open(demand.clone(), envelope.clone(), key, Arc::clone(&inbound));
        assert!(board.answered(&supply(8, &mut rng)).is_err(), "another frame");
        let forged = Supply::Frame(vec![0; 80]).sign(&hash, Role::P2, &signers[1]);
        assert!(board.answered(&forged).is_err(), "it does not open");
        board.answered(&supply(7, &mut rng)).expect("the answer");
        assert!(board.answered(&supply(7, &mut rng)).is_err(), "it came already");
        let arrival = inbound
            .pop(Instant::now() + std::time::Duration::from_secs(1))
            .expect("it is there");
        assert!(arrival.relayed && arrival.frame.sequence == 7);
        // While it is open, others that wait for this party are told of it.
        let theirs = Demand {
            by: Role::P3,
            of: Role::P1,
            ..demand
        };
        assert!(matches!(board.owed(&theirs), Owed::Waiting(own) if own == envelope));
        let standing = board.close();
        assert!(!standing.excused && standing.demand == Some(envelope));
        assert!(matches!(board.owed(&theirs), Owed::Nothing));
    }
}
