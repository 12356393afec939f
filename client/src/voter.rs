//! A voter casting a ballot, and casting it again.
//!
//! Whether the credential is the true one is known to the voter alone: everything here does the same for any 64 bits.

use std::fmt;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rand::{CryptoRng, RngExt as _};
use tally_proto::calendar::{Channel, ChannelKind, TimingError};
use tally_proto::disclosure::Disclosure;
use tally_proto::envelope::Envelope;
use tally_proto::ids::{BoxId, Digest, Role, UnixSeconds};
use tally_proto::invitation::Invitation;
use tally_proto::order::{EffectiveElection, MAX_ORDERS, SignedOrder, in_force};
use tally_proto::ticket::{OwnTicket, TicketKey};
use tally_proto::wire;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::choice::Choices;
use crate::connections::{Connections, NoTime};
use crate::delivery::{Delivery, Progress};
use crate::device::{Device, DeviceError, REMEMBERED};
use crate::election::{Election, ElectionError};
use crate::fault::Fault;
use crate::form::Form;
use crate::known::Named;
use crate::link::Link;
use crate::sealing::{SealError, seal_online};
use crate::tickets::{DrawError, Hours, PurseKey};

/// A ballot that is not safe after this long is cast anew.
pub const ATTEMPT: Duration = Duration::from_secs(60);
/// A ballot dated further ahead than this would be held by the parties: the client waits instead.
const AHEAD_MS: u64 = 2_000;
const PAUSE: Duration = Duration::from_secs(1);
/// Tickets that one cast uses up because parties were away; one more ballot than that, and the voter is told to come again.
const MOST_IN_VAIN: u32 = 2;
/// So long a party that does not answer is waited for, where the two others have taken different ballots with one ticket.
const THIRD: Duration = Duration::from_secs(5);
/// The next ballot then leaves at a random moment within this, as a copy of the device does the same.
const APART: Duration = Duration::from_secs(3);

/// How long a voter keeps trying.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// No new attempt is begun after this long.
    pub give_up_after: Duration,
    /// Where tickets are drawn only now, the first ballot leaves at a random moment within so long after the draw. The commission sees who draws and
    /// when, and everybody sees when a ballot was cast: at once, the one tells the other.
    pub after_draw: Duration,
}

impl Default for Patience {
    /// Ten minutes each.
    fn default() -> Self {
        Self {
            give_up_after: Duration::from_secs(600),
            after_draw: Duration::from_secs(600),
        }
    }
}

/// Something a waiting voter is told.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A party is in trouble; it goes on being tried if that may help.
    Trouble(Fault),
    /// A party has accepted the ballot.
    Accepted {
        /// Which party.
        party: Role,
        /// Who runs it.
        agency: String,
    },
    /// The ballot was not safe in time and is cast anew; the new one counts, if both come in.
    Anew {
        /// The number of the attempt that begins, from 2.
        attempt: u32,
    },
    /// A party has the ballot and its ticket, and those who lack do not answer: it is cast anew when one of them is back.
    Absent {
        /// Who runs the parties that are away.
        agencies: Vec<String>,
    },
    /// This device cast a ballot a moment ago: the next second is waited for.
    Waiting {
        /// How long.
        for_ms: u64,
    },
    /// The parties' time could not be agreed on; it is asked for again.
    NoTime(String),
    /// Tickets were drawn a moment ago: a random moment is waited for, so that the draw does not tell which ballot is this one.
    Drawn {
        /// How long.
        for_ms: u64,
    },
    /// The coordinator hands out no tickets at the moment; it is asked again.
    NoTicket(String),
}

/// Why a ballot was not cast.
#[derive(Debug, Error)]
pub enum CastError {
    /// This device's memory.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The ballot could not be made.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// There is no ticket to cast with.
    #[error(transparent)]
    Ticket(#[from] DrawError),
    /// The parties' time could not be agreed on in the time the voter was ready to wait.
    #[error(transparent)]
    Time(NoTime),
    /// Online votes are not taken now, and no ticket was spent to hear it.
    #[error("no ballot was cast, and no ticket used: {0}")]
    Hours(TimingError),
    /// At least two parties refused for good.
    #[error("the ballot was not accepted{}", reasons(.faults))]
    Refused {
        /// Who and why.
        faults: Vec<Fault>,
    },
    /// At least two parties refused the last attempt for good, and a party had accepted one before it.
    #[error(
        "whether your ballot counts is open: the last attempt was not accepted, but an earlier one may count.{} Ask later what became of it (`client check`), or \
         cast again{}",
        attempts(.earlier), reasons(.faults)
    )]
    Open {
        /// The attempts that a party had accepted, oldest first.
        earlier: Vec<Earlier>,
        /// Who refused the last one, and why.
        faults: Vec<Fault>,
    },
    /// Two parties could not be brought to accept in the time the voter was ready to wait.
    #[error(
        "the ballot is not safe: {} of the two acceptances it needs came in before time ran out; cast again later{}",
        .accepted.len(), reasons(.faults)
    )]
    TimeOut {
        /// Who accepted the last attempt.
        accepted: Vec<Role>,
        /// Who did not, and why.
        faults: Vec<Fault>,
    },
}

/// An attempt that a party accepted, and that was not known to be safe.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// Its name.
    pub named: Named,
    /// Who accepted it.
    pub accepted: Vec<Role>,
}

fn attempts(earlier: &[Earlier]) -> String {
    let sentence = |attempt: &Earlier| {
        let accepted: Vec<String> = attempt.accepted.iter().map(Role::to_string).collect();
        format!(
            " {} was accepted by {}.",
            attempt.named.to_text(),
            accepted.join(" and ")
        )
    };
    earlier.iter().map(sentence).collect()
}

pub(crate) fn reasons(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  - {fault}")).collect()
}

/// A voter of one election: an invitation on a device.
///
/// # Security
/// Holds the credential: not shown by Debug, zeroised when dropped.
pub struct Voter {
    election: Election,
    connections: Connections,
    device: Device,
    invitation: Invitation,
    form: Form,
    patience: Patience,
}

impl fmt::Debug for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Voter").finish_non_exhaustive()
    }
}

impl Voter {
    /// A voter with this invitation, which must be of this election (by the manifest's hash).
    ///
    /// # Errors
    /// [`ElectionError`] when the invitation is of another election, half of one, or of a box that the election does not have.
    pub fn new(
        election: &Election,
        connections: &Connections,
        invitation: Invitation,
        device: &Device,
    ) -> Result<Self, ElectionError> {
        let form = election.form_for(&invitation)?;
        Ok(Self {
            election: election.clone(),
            connections: connections.clone(),
            device: device.clone(),
            invitation,
            form,
            patience: Patience::default(),
        })
    }

    /// The same voter, trying for as long as `patience` says.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The box of the ballots.
    pub fn of_box(&self) -> BoxId {
        self.invitation.of_box()
    }

    /// The ballot paper.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Casts a ballot; casting again revotes. Returns when two parties have accepted it and each has stored the other's receipt;
    /// the third goes on being tried in the background, see [`Cast::third`]. What is not safe after 60 s is cast anew.
    ///
    /// Dropping the future stops casting; the ballot may or may not have come in.
    ///
    /// # Errors
    /// [`CastError`], naming the parties and their reasons.
    pub async fn cast(&self, choices: &Choices, rng: &mut impl CryptoRng) -> Result<Cast, CastError> {
        self.cast_telling(choices, rng, |_| {}).await
    }

    /// [`Voter::cast`], telling `notice` what happens meanwhile.
    ///
    /// # Errors
    /// As [`Voter::cast`].
    pub async fn cast_telling(
        &self,
        choices: &Choices,
        rng: &mut impl CryptoRng,
        mut notice: impl FnMut(Notice),
    ) -> Result<Cast, CastError> {
        self.rest_after_draw(rng, &mut notice).await?;
        let begun = Instant::now();
        let (mut attempt, mut in_vain) = (1, 0);
        let mut kept = None;
        let mut may_split = true;
        let mut earlier = Vec::new();
        loop {
            let cast_at_s = self.take_moment(begun, &mut notice).await?;
            // Later the voter is told what becomes of the attempts before: one of them may count.
            if attempt == 1 {
                self.check_hours(UnixSeconds(cast_at_s)).await?;
            }
            let ticket = self.take_ticket(UnixSeconds(cast_at_s), kept, rng).await?;
            let (parcel, disclosure) = seal_online(
                &self.election,
                &self.invitation,
                choices,
                UnixSeconds(cast_at_s),
                ticket.as_ref(),
                rng,
            )?;
            let mut delivery = Delivery::start(&self.connections, &parcel, Instant::now() + ATTEMPT);
            let mut told = Told::default();
            let done = |progress: &Progress| progress.standing.is_success() || progress.is_hopeless();
            let mut tell = |progress: &Progress| told.tell(&self.connections, progress, &mut notice);
            let until = |progress: &Progress| done(progress) || (may_split && progress.is_split());
            let mut progress = delivery.until(until, &mut tell).await;
            if !done(&progress) && until(&progress) {
                let third = tokio::time::timeout(THIRD, delivery.until(done, &mut tell)).await;
                progress = third.unwrap_or_else(|_| delivery.now());
            }
            // Once in a cast: the party that says so may be lying.
            let is_split = may_split && !done(&progress) && progress.is_split();
            may_split &= !is_split;
            let named = Named {
                election: self.election.id().clone(),
                of_box: self.of_box(),
                digest: parcel.digest(),
                holder: disclosure.holder(),
            };
            if progress.standing.is_success() {
                return Ok(Cast {
                    named,
                    cast_at_s,
                    progress,
                    delivery,
                    disclosure: Some(disclosure),
                });
            }
            let faults: Vec<Fault> = progress.faults.into_values().collect();
            // When two refuse because the clocks moved on, another moment may do; any other refusal stands.
            let refused = faults.iter().filter(|fault| !fault.may_pass()).count() >= 2;
            if refused
                && !faults
                    .iter()
                    .any(|fault| fault.is_of_time() || fault.is_of_ticket())
            {
                return Err(refusal(earlier, faults));
            }
            let accepted = progress.standing.acceptors();
            kept = ticket.filter(|_| is_ticket_left(&accepted, &faults));
            // But for that once, no ticket goes because of who is away: not each minute, and not before somebody is back.
            let goes = self.election.manifest().ticketing().is_some() && kept.is_none() && !refused;
            in_vain += u32::from(goes);
            let is_over = begun.elapsed() >= self.patience.give_up_after
                || in_vain > MOST_IN_VAIN
                || (goes && !is_split && !self.is_back(&accepted, &faults, begun, &mut notice).await);
            if is_over {
                return Err(if refused {
                    refusal(earlier, faults)
                } else {
                    CastError::TimeOut { accepted, faults }
                });
            }
            // What two refused for good cannot come in.
            if !accepted.is_empty() && !refused {
                earlier.push(Earlier { named, accepted });
            }
            attempt += 1;
            notice(Notice::Anew { attempt });
            if is_split {
                sleep(APART.mul_f64(rng.random())).await;
            } else if refused {
                sleep(PAUSE).await;
            }
        }
    }

    /// Draws this device's tickets, where the election asks for them and none were drawn, and says for how long the first ballot waits then. Best
    /// done long before the vote. `None` where the election asks for no tickets.
    ///
    /// # Errors
    /// [`CastError::Ticket`], [`CastError::Time`].
    pub async fn draw_telling(
        &self,
        rng: &mut impl CryptoRng,
        mut notice: impl FnMut(Notice),
    ) -> Result<Option<Duration>, CastError> {
        self.draw(false, rng, &mut notice).await
    }

    /// Draws anew where some of this device's tickets were used already. The old ones stay good until the new ones are here, and beyond when the
    /// coordinator refuses; a draw that was broken off is gone on with. A voter draws a few times only. Says what [`Voter::draw_telling`] says.
    ///
    /// # Errors
    /// [`CastError::Ticket`], [`CastError::Time`].
    pub async fn draw_again_telling(
        &self,
        rng: &mut impl CryptoRng,
        mut notice: impl FnMut(Notice),
    ) -> Result<Option<Duration>, CastError> {
        self.draw(true, rng, &mut notice).await
    }

    async fn draw(
        &self,
        again: bool,
        rng: &mut impl CryptoRng,
        notice: &mut impl FnMut(Notice),
    ) -> Result<Option<Duration>, CastError> {
        let Some(ticketing) = self.election.manifest().ticketing() else {
            return Ok(None);
        };
        let begun = Instant::now();
        let key = self.purse_key()?;
        loop {
            let now_ms = self.agreed_ms(begun, notice).await?;
            let hours = Hours {
                now: UnixSeconds(now_ms / 1000),
                spread: self.patience.after_draw,
            };
            let mut purse = self.device.purse(key.clone()).await;
            let ready = purse.ready(
                &self.election,
                ticketing,
                &self.invitation,
                &self.connections,
                hours,
                again,
                rng,
            );
            match ready.await {
                Ok(from) => {
                    let wait_ms = (from.get() * 1000).saturating_sub(now_ms);
                    return Ok(Some(Duration::from_millis(wait_ms)));
                }
                Err(error) if error.may_pass() && begun.elapsed() < self.patience.give_up_after => {
                    notice(Notice::NoTicket(error.to_string()));
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Draws where that was not done before, and lets the time pass that keeps the draw and the ballot apart.
    async fn rest_after_draw(
        &self,
        rng: &mut impl CryptoRng,
        notice: &mut impl FnMut(Notice),
    ) -> Result<(), CastError> {
        let wait = self.draw_telling(rng, &mut *notice).await?.unwrap_or_default();
        // Whoever casts at once has said so; what an earlier draw on this device set is not waited for either.
        if !wait.is_zero() && !self.patience.after_draw.is_zero() {
            notice(Notice::Drawn {
                for_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            });
            sleep(wait).await;
        }
        Ok(())
    }

    fn purse_key(&self) -> Result<PurseKey, DrawError> {
        let code = self.invitation.draw_code().ok_or(DrawError::NoCode)?;
        Ok(PurseKey::new(&self.election, code))
    }

    /// Refuses a moment that lies outside the hours of online votes, before a ticket is spent on it. The manifest's hours may have been moved by an order, so
    /// the parties are asked for those in force; one that shows orders under which the moment lies within is believed: they bear all signatures. Where fewer
    /// than two answer, nothing is refused here.
    async fn check_hours(&self, cast_at: UnixSeconds) -> Result<(), CastError> {
        let manifest = self.election.manifest();
        let within = |channel: Option<&Channel>| channel.map(|online| online.check_opening(cast_at));
        let Some(Err(closed)) = within(manifest.channel(ChannelKind::Online)) else {
            return Ok(());
        };
        if manifest.ticketing().is_none() {
            return Ok(());
        }
        let links = self.connections.links().iter();
        let mut shown: FuturesUnordered<_> = links.map(|link| link.orders(self.election.id())).collect();
        let mut answered = 0;
        while let Some(reply) = shown.next().await {
            let Ok(reply) = reply else { continue };
            answered += 1;
            let orders = reply.orders.into_iter().take(MAX_ORDERS);
            let orders: Vec<SignedOrder> = orders
                .filter_map(|wire| {
                    SignedOrder::open(Envelope::from_wire(wire).ok()?, self.election.signed()).ok()
                })
                .collect();
            let standing = EffectiveElection::new(self.election.signed().clone(), in_force(&orders));
            if standing
                .is_ok_and(|standing| matches!(within(standing.channel(ChannelKind::Online)), Some(Ok(()))))
            {
                return Ok(());
            }
        }
        // One party alone keeps nobody from trying.
        if answered < 2 {
            return Ok(());
        }
        Err(CastError::Hours(closed))
    }

    /// A ticket for a ballot of that second, the one that is `kept` if it is of the same day; none where the election asks for none.
    async fn take_ticket(
        &self,
        cast_at: UnixSeconds,
        kept: Option<OwnTicket>,
        rng: &mut impl CryptoRng,
    ) -> Result<Option<OwnTicket>, DrawError> {
        let Some(ticketing) = self.election.manifest().ticketing() else {
            return Ok(None);
        };
        let day = ticketing.key_at(cast_at).map(TicketKey::day);
        if let Some(kept) = kept.filter(|own| Some(own.ticket().day()) == day) {
            return Ok(Some(kept));
        }
        let mut purse = self.device.purse(self.purse_key()?).await;
        purse.take(ticketing, cast_at, rng).map(Some)
    }

    /// Waits until one of the parties that neither accepted nor refused answers again, if only with the time; not longer than the voter is ready to.
    async fn is_back(
        &self,
        accepted: &[Role],
        faults: &[Fault],
        begun: Instant,
        notice: &mut impl FnMut(Notice),
    ) -> bool {
        let refused = |party| (faults.iter()).any(|fault| fault.party() == party && !fault.may_pass());
        let away: Vec<&Link> = (self.connections.links().iter())
            .filter(|link| !accepted.contains(&link.party) && !refused(link.party))
            .collect();
        let mut is_told = false;
        while begun.elapsed() < self.patience.give_up_after {
            let asked = futures::future::join_all(away.iter().map(|link| link.clock())).await;
            if away.is_empty() || asked.iter().any(Result::is_ok) {
                return true;
            }
            if !is_told {
                let agencies = away.iter().map(|link| link.agency.clone()).collect();
                notice(Notice::Absent { agencies });
                is_told = true;
            }
            sleep(PAUSE).await;
        }
        false
    }

    /// Agrees on the time with the parties and takes a second that this device has never cast at.
    async fn take_moment(&self, begun: Instant, notice: &mut impl FnMut(Notice)) -> Result<u64, CastError> {
        let agreed_ms = self.agreed_ms(begun, notice).await?;
        let cast_at_s = self.device.take_second(agreed_ms)?;
        let ahead_ms = cast_at_s.saturating_mul(1000).saturating_sub(agreed_ms);
        if let Some(for_ms) = ahead_ms.checked_sub(AHEAD_MS).filter(|for_ms| *for_ms > 0) {
            notice(Notice::Waiting { for_ms });
            sleep(Duration::from_millis(for_ms)).await;
        }
        Ok(cast_at_s)
    }

    /// Erases the second of the last ballot from this device once it is needed no more, which is some seconds after it: waits for that. Best called when
    /// all is done, as a device that remembers shows when it cast last. The parties are asked for nothing but their time, and only where they were not yet.
    /// What is not over within some seconds is left for the next time.
    ///
    /// # Errors
    /// [`DeviceError`]: the device's memory.
    pub async fn forget_moment(&self) -> Result<(), DeviceError> {
        if !self.device.remembers()? {
            return Ok(());
        }
        let now_ms = match self.connections.told_time().await {
            Some(told_ms) => told_ms,
            None => match self.connections.time().await {
                Ok(agreed_ms) => agreed_ms,
                Err(_) => return Ok(()),
            },
        };
        let wait = self.device.forget(now_ms)?;
        if wait.is_zero() || wait > REMEMBERED + Duration::from_millis(AHEAD_MS) {
            return Ok(());
        }
        sleep(wait).await;
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.device.forget(now_ms.saturating_add(wait_ms)).map(|_| ())
    }

    /// The time that the parties agree on; what the device remembers is forgotten if that is past it.
    async fn agreed_ms(&self, begun: Instant, notice: &mut impl FnMut(Notice)) -> Result<u64, CastError> {
        loop {
            match self.connections.time().await {
                Ok(agreed_ms) => {
                    self.device.forget(agreed_ms)?;
                    return Ok(agreed_ms);
                }
                Err(error) if begun.elapsed() >= self.patience.give_up_after => {
                    return Err(CastError::Time(error));
                }
                Err(error) => {
                    notice(Notice::NoTime(error.to_string()));
                    for fault in error.faults {
                        notice(Notice::Trouble(fault));
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// What the voter is told when the last attempt was refused.
fn refusal(earlier: Vec<Earlier>, faults: Vec<Fault>) -> CastError {
    if earlier.is_empty() {
        CastError::Refused { faults }
    } else {
        CastError::Open { earlier, faults }
    }
}

/// Whether a ticket may do for the next ballot: nobody has shown that it took the last one. One party's word that the ticket is spent is not enough, as
/// the two others may still take it; of two that say so one is honest. (The next ballot has the same choice, so it does not matter which of two that came
/// in with one ticket stands.)
fn is_ticket_left(accepted: &[Role], faults: &[Fault]) -> bool {
    accepted.is_empty() && faults.iter().filter(|fault| fault.is_of_ticket()).count() < 2
}

/// What has been told already, so that nothing is told twice.
#[derive(Default)]
struct Told {
    accepted: Vec<Role>,
    faults: Vec<Fault>,
}

impl Told {
    fn tell(&mut self, connections: &Connections, progress: &Progress, notice: &mut impl FnMut(Notice)) {
        for party in progress.standing.acceptors() {
            if !self.accepted.contains(&party) {
                self.accepted.push(party);
                notice(Notice::Accepted {
                    party,
                    agency: connections.link(party).agency.clone(),
                });
            }
        }
        for fault in progress.faults.values() {
            if !self.faults.contains(fault) {
                self.faults.push(fault.clone());
                notice(Notice::Trouble(fault.clone()));
            }
        }
    }
}

/// A ballot that is safe: two parties have accepted it and hold each other's receipts.
///
/// Dropping it leaves the third party to the background, where it is tried until the ballot is a minute old, as long as the
/// program runs.
pub struct Cast {
    named: Named,
    cast_at_s: u64,
    progress: Progress,
    delivery: Delivery,
    disclosure: Option<Disclosure>,
}

impl fmt::Debug for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cast").finish_non_exhaustive()
    }
}

impl Cast {
    /// The public name of the ballot.
    pub fn digest(&self) -> Digest {
        self.named.digest
    }

    /// Its name: with it anybody can later ask the parties for it, and sees when it was cast.
    pub fn named(&self) -> &Named {
        &self.named
    }

    /// The second it was cast at.
    pub fn cast_at(&self) -> UnixSeconds {
        UnixSeconds(self.cast_at_s)
    }

    /// The parties that have accepted it so far.
    pub fn accepted(&self) -> Vec<Role> {
        self.progress.standing.acceptors()
    }

    /// The parties that are in trouble, and why.
    pub fn faults(&self) -> Vec<Fault> {
        self.progress.faults.values().cloned().collect()
    }

    /// The verified receipts so far, in party order.
    pub fn receipts(&self) -> Vec<wire::Receipt> {
        Role::ALL
            .into_iter()
            .filter_map(|party| self.progress.standing.receipt(party).cloned())
            .collect()
    }

    /// What another device needs to see the choice in this ballot, and nothing of whose it is. Given once; what is not taken is
    /// erased with this.
    pub fn take_disclosure(&mut self) -> Option<Disclosure> {
        self.disclosure.take()
    }

    /// Waits for the third party too: until all three hold the ballot and each other's receipts, or a minute after casting, or
    /// until the third refuses. [`Cast::accepted`] and [`Cast::faults`] then say how it ended; and how it stands, when this is given up before.
    pub async fn third(&mut self) {
        let done = |progress: &Progress| progress.standing.is_complete();
        let (latest, delivery) = (&mut self.progress, &mut self.delivery);
        delivery.until(done, |progress| *latest = progress.clone()).await;
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        self.delivery.detach();
    }
}
