//! The connections of one process to the three parties and the coordinator's board, shared by all its casts.
//!
//! One HTTP/2 connection a party, opened at first use and opened again after a failure; thousands of casts run over it side by
//! side. The parties' agreed time is asked for once and then carried on with the monotonic clock for a few seconds, so that many
//! casts at once do not each ask again. It is the parties' time all the same, never this device's. Each party gets a bounded number of
//! requests at a time; still, whoever casts for thousands (a load generator) should keep a few hundred casts under way at once, since
//! each has a minute.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tally_proto::connect::{self, ConnectError, Dial};
use tally_proto::identity::{Address, PartyIdentity};
use tally_proto::ids::{Role, RoleExt};
use tally_proto::pki::Leaf;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::board_client::BoardClient;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Channel;

use crate::clock::{ClockError, Reading, agree, with_board};
use crate::election::Election;
use crate::fault::Fault;
use crate::link::Link;
use crate::voter::reasons;

/// How long an agreed time is carried on without asking again.
const TIME_KEPT: Duration = Duration::from_secs(3);
/// How long a third clock is waited for once two have answered.
const THIRD_CLOCK: Duration = Duration::from_millis(700);
const BOARD_LIMIT: Duration = Duration::from_secs(3);
/// The coordinator checks one card's statement after the other.
const STATEMENT_LIMIT: Duration = Duration::from_secs(20);

/// Connections to the parties of one election. Cheap to clone; make one for each process and election.
#[derive(Clone)]
pub struct Connections {
    shared: Arc<Shared>,
}

struct Shared {
    links: [Link; 3],
    board: BoardClient<Channel>,
    time: Mutex<Option<(Instant, u64)>>,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

/// The parties' time could not be agreed on, and what went wrong with whom.
#[derive(Debug, thiserror::Error)]
#[error("{error}{}", reasons(.faults))]
pub struct NoTime {
    /// Which part of the rule failed.
    pub error: ClockError,
    /// The parties that did not answer.
    pub faults: Vec<Fault>,
}

impl Connections {
    /// A voter's connections: to the parties' public addresses, which show certificates of their own authorities; nobody is asked
    /// who calls. Nothing is dialled until it is used.
    ///
    /// # Errors
    /// [`ConnectError`] when the transport cannot be set up.
    pub fn open(election: &Election) -> Result<Self, ConnectError> {
        Self::dial(election, PartyIdentity::public_address, None)
    }

    /// A station's connections: to the parties' peer addresses, with the station's own certificate.
    ///
    /// # Errors
    /// [`ConnectError`] when the transport cannot be set up.
    pub fn open_station(election: &Election, leaf: &Leaf) -> Result<Self, ConnectError> {
        Self::dial(election, PartyIdentity::peer_address, Some(leaf))
    }

    /// Over channels of the caller's own, to the parties in order and to the board: for tests, and for programs that do not reach
    /// the parties at the addresses of the manifest.
    pub fn over(election: &Election, parties: [Channel; 3], board: Channel) -> Self {
        let mut party = Role::P1;
        let links = parties.map(|channel| {
            let link = Link::new(election, party, channel);
            party = party.next();
            link
        });
        Self::of(links, board)
    }

    fn of(links: [Link; 3], board: Channel) -> Self {
        let board = connect::board(board);
        Self {
            shared: Arc::new(Shared {
                links,
                board,
                time: Mutex::new(None),
            }),
        }
    }

    fn dial(
        election: &Election,
        address: fn(&PartyIdentity) -> &Address,
        leaf: Option<&Leaf>,
    ) -> Result<Self, ConnectError> {
        let link = |party: Role| {
            let identity = election.party(party);
            let dial = Dial {
                address: address(identity),
                anchor: identity.anchor(),
                leaf,
            };
            Ok::<_, ConnectError>(Link::new(election, party, dial.channel()?))
        };
        let links = [link(Role::P1)?, link(Role::P2)?, link(Role::P3)?];
        let coordinator = election.manifest().coordinator();
        // The board asks nobody who calls.
        let dial = Dial {
            address: coordinator.address(),
            anchor: coordinator.anchor(),
            leaf: None,
        };
        Ok(Self::of(links, dial.channel()?))
    }

    pub(crate) fn links(&self) -> &[Link; 3] {
        &self.shared.links
    }

    pub(crate) fn link(&self, party: Role) -> &Link {
        &self.shared.links[party.slot()]
    }

    /// The parties' time now, in milliseconds since 1970, by the rule of [`crate::clock`].
    pub(crate) async fn time(&self) -> Result<u64, NoTime> {
        // Whoever comes while the clocks are being asked waits here and uses the answer.
        let mut kept = self.shared.time.lock().await;
        if let Some((at, agreed_ms)) = *kept
            && at.elapsed() < TIME_KEPT
        {
            return Ok(agreed_ms.saturating_add(at.elapsed().as_millis() as u64));
        }
        let agreed_ms = self.ask_time().await?;
        *kept = Some((Instant::now(), agreed_ms));
        Ok(agreed_ms)
    }

    /// The parties' time now, by what they told last; nobody is asked. `None` where they were not asked yet.
    pub(crate) async fn told_time(&self) -> Option<u64> {
        let (at, agreed_ms) = (*self.shared.time.lock().await)?;
        Some(agreed_ms.saturating_add(at.elapsed().as_millis() as u64))
    }

    async fn ask_time(&self) -> Result<u64, NoTime> {
        let (clocks, faults) = self.ask_clocks().await;
        let board = match agree(clocks) {
            Ok(Reading::Agreed(agreed_ms)) => return Ok(agreed_ms),
            Ok(Reading::AskBoard { clocks }) => (clocks, Instant::now()),
            Err(error) => return Err(NoTime { error, faults }),
        };
        let (clocks, asked) = board;
        let answer = self.ask_board().await;
        let waited = asked.elapsed().as_millis() as u64;
        with_board(clocks.map(|clock| clock.saturating_add(waited)), answer)
            .map_err(|error| NoTime { error, faults })
    }

    /// All clocks as of one moment, the return.
    async fn ask_clocks(&self) -> ([Option<u64>; 3], Vec<Fault>) {
        let mut asked: FuturesUnordered<_> = self
            .shared
            .links
            .iter()
            .map(|link| async move { (link.party, link.clock().await, Instant::now()) })
            .collect();
        let mut told: [Option<(u64, Instant)>; 3] = [None; 3];
        let mut faults = Vec::new();
        let mut patience = None;
        loop {
            let next = match patience {
                None => asked.next().await,
                Some(until) => timeout_at(until, asked.next()).await.unwrap_or(None),
            };
            match next {
                None => break,
                Some((party, Ok(clock), at)) => told[party.slot()] = Some((clock, at)),
                Some((_, Err(fault), _)) => faults.push(fault),
            }
            if patience.is_none() && told.iter().flatten().count() == 2 {
                patience = Some(Instant::now() + THIRD_CLOCK);
            }
        }
        let clocks = told
            .map(|answer| answer.map(|(clock, at)| clock.saturating_add(at.elapsed().as_millis() as u64)));
        (clocks, faults)
    }

    /// Asks the coordinator for the signatures of a draw.
    pub(crate) async fn draw(
        &self,
        request: wire::DrawRequest,
        limit: Duration,
    ) -> Result<wire::DrawReply, Refusal> {
        let mut board = self.shared.board.clone();
        of_commission(limit, board.draw(request)).await
    }

    /// Brings a card's statement of a draw code to the coordinator.
    pub(crate) async fn admit_draw_code(&self, request: wire::DrawCodeRequest) -> Result<(), Refusal> {
        let mut board = self.shared.board.clone();
        let admitted = of_commission(STATEMENT_LIMIT, board.admit_draw_code(request));
        admitted.await.map(|_| ())
    }

    async fn ask_board(&self) -> Option<u64> {
        let mut board = self.shared.board.clone();
        let reply = timeout(BOARD_LIMIT, board.clock(wire::ClockRequest {}))
            .await
            .ok()?
            .ok()?;
        Some(reply.into_inner().now_ms)
    }
}

/// The commission's answer, within that time.
async fn of_commission<T>(
    limit: Duration,
    asked: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Refusal> {
    match timeout(limit, asked).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(Refusal::of_status(&status)),
        Err(_) => Err(Refusal::new(
            Reason::PartyUnreachable,
            format_args!(
                "the election commission gave no answer within {} s",
                limit.as_secs()
            ),
        )),
    }
}
