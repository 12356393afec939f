//! Ballots: every check of section 4 of the design, in an order that answers cheap questions first.

use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::Fuse;
use tally_proto::ballot::{BallotError, BallotHeader, Submission};
use tally_proto::calendar::{Timing, TimingError};
use tally_proto::ids::{Digest, UnixMillis, UnixSeconds};
use tally_proto::manifest::Capacity;
use tally_proto::reason::{Class, Reason};
use tally_proto::receipt::Receipt;
use tally_proto::refusal::Refusal;
use tally_proto::shares::{ShareContext, ShareError};
use tally_proto::wire;

use super::batch::{Room, no_room};
use super::pool::Lane;
use super::waiting::Stored;
use super::writer::Checked;
use super::{Origin, Sender, attempts, stored_of_others, stored_receipt};
use crate::elections::Election;
use crate::party::Party;
use crate::store::accepted::{self, Counted};
use crate::store::{Accepted, Kind, boxes, tickets};

fn ballot_refused(error: BallotError) -> Refusal {
    Refusal::new(error.reason(), error)
}

pub(super) fn ticket_spent() -> Refusal {
    Refusal::new(
        Reason::TicketSpent,
        "another ballot was cast with this ticket, and a ticket is good for one",
    )
}

fn timing_refused(error: TimingError) -> Refusal {
    Refusal::new(error.reason(), error)
}

impl Party {
    /// Takes a ballot and answers with the receipt, after the ballot is on disk. Its check waits in its origin's lane.
    ///
    /// # Errors
    /// The sender's fault: any reason of the pages `ballot.*`, `ticket.*`, `message.*`, `share.*`, `election.*`, `box.*`; try again:
    /// `party.busy`, `party.shutting-down`, `clock.wrong`; this party's: `store.failed`.
    pub async fn submit(
        self: &Arc<Self>,
        submission: wire::Submission,
        origin: Origin,
    ) -> Result<Receipt, Refusal> {
        let (receipt, _) = self.take_ballot(submission, origin, false).await?;
        Ok(receipt)
    }

    /// As [`Party::submit`], and tells whose receipts for the ballot are on disk here too, by party: waits for them a moment.
    ///
    /// # Errors
    /// As [`Party::submit`].
    pub async fn cast(
        self: &Arc<Self>,
        submission: wire::Submission,
        origin: Origin,
    ) -> Result<(Receipt, [bool; 3]), Refusal> {
        self.take_ballot(submission, origin, true).await
    }

    async fn take_ballot(
        self: &Arc<Self>,
        submission: wire::Submission,
        origin: Origin,
        waits: bool,
    ) -> Result<(Receipt, Stored), Refusal> {
        let (sender, lane) = (origin.sender, origin.lane.clone());
        let submission = Submission::from_wire(submission).map_err(ballot_refused)?;
        let header = submission.header();
        let election = self.elections.get(header.election().as_str())?.in_force()?;
        header.check_place(election.manifest()).map_err(ballot_refused)?;
        check_sender(header, sender)?;
        let stored = self.stored(
            Kind::Ballot,
            &election,
            header.of_box().get(),
            submission.digest(),
        )?;
        if let Some(stored) = stored {
            let others = (self.store)
                .read(|tx| stored_of_others(tx, self.role, election.number(), stored.position))?;
            let from = (lane, origin.in_company);
            let receipt = self.again(election, submission, stored, from).await?;
            return Ok((receipt, others));
        }
        self.may_accept(&election)?;
        self.check_revoked(&election, header)?;
        // Refuse what can never be accepted before any costly work; whether it must be held is asked again after the work.
        let (timing, _) = self.timing(&election, header)?;
        if origin.in_company && timing != Timing::InTime {
            return Err(put_off());
        }
        self.unspent(&election, header)?;
        self.has_room(&election, header)?;
        let checked = self
            .check_ballot(Arc::clone(&election), submission, (lane, origin.in_company))
            .await?;
        let ticket = checked.header.ticket().map(|ticket| *ticket.key().as_bytes());
        let taken = async {
            let received_at = self.in_time(&checked.header, origin).await?;
            self.intake
                .writer
                .take(checked.received(received_at), waits)
                .await
        };
        let taken = taken.await;
        if let (Err(refusal), Some(ticket)) = (&taken, ticket)
            && refusal.reason.class() == Class::Retry
        {
            self.intake.attempts.put_off(&ticket);
        }
        taken
    }

    /// The ballot is there already: with a ciphertext that opens to the same commitments it gets the stored receipt, at any time. The very
    /// ciphertext that was taken is not opened again: a submission that somebody repeats costs a look into the store.
    async fn again(
        self: &Arc<Self>,
        election: Arc<Election>,
        submission: Submission,
        stored: Accepted,
        from: (Lane, bool),
    ) -> Result<Receipt, Refusal> {
        let (digest, header) = (submission.digest(), submission.header().clone());
        let receipt = || stored_receipt(self.role, header.election(), header.of_box(), digest, &stored);
        if submission.ciphertext_hash().0 == stored.ciphertext_hash
            && authority_bytes(&submission) == stored.authority_signature
        {
            return Ok(receipt()?);
        }
        self.check_ballot(election, submission, from)
            .await
            .map_err(|refusal| match refusal.reason {
                Reason::ShareUnopenable
                | Reason::ShareCommitmentMismatch
                | Reason::BallotStationSignature
                | Reason::TicketOwner => Refusal::new(
                    Reason::BallotKnownOtherContent,
                    format_args!(
                        "ballot {} is accepted already; {}",
                        digest.short(),
                        refusal.detail
                    ),
                ),
                _ => refusal,
            })?;
        Ok(receipt()?)
    }

    /// Looks a digest up. Reads one page or two, mostly cached: short enough for the caller's own thread.
    pub(super) fn stored(
        &self,
        kind: Kind,
        election: &Election,
        of_box: u32,
        digest: Digest,
    ) -> Result<Option<Accepted>, Refusal> {
        Ok(self
            .store
            .read(|tx| accepted::get(tx, kind, election.number(), of_box, digest.as_bytes()))?)
    }

    /// Refuses a ticket that is spent before any signature is checked. Whether it still is not is asked again by the writer.
    fn unspent(&self, election: &Election, header: &BallotHeader) -> Result<(), Refusal> {
        let Some(ticket) = header.ticket() else {
            return Ok(());
        };
        let key = ticket.key().as_bytes();
        match self
            .store
            .read(|tx| tickets::spent_on(tx, election.number(), key))?
        {
            None => Ok(()),
            Some(_) => Err(ticket_spent()),
        }
    }

    /// Refuses what the box has no room for, and what one station may not cast any more, before any signature is checked. The writer asks again.
    fn has_room(&self, election: &Election, header: &BallotHeader) -> Result<(), Refusal> {
        let (of_box, capacity) = (header.of_box(), election.ballot_box(header.of_box())?.capacity());
        if let Some(mark) = header.station_mark()
            && !(1..=capacity.one_station).contains(&mark.sequence)
        {
            return Err(Refusal::new(
                Reason::BallotStationSequence,
                format_args!(
                    "station {} numbers its ballots of box {of_box} from 1 to {}, this has number {}",
                    mark.station, capacity.one_station, mark.sequence
                ),
            ));
        }
        let here = self
            .store
            .read(|tx| boxes::received(tx, election.number(), of_box.get()))?;
        match no_room(
            of_box,
            &Room::from(here),
            Counted::Ballot(header.channel()),
            capacity,
        ) {
            None => Ok(()),
            Some(refusal) => Err(refusal),
        }
    }

    /// Whether it is in time under the orders in force, and under every other that this party has countersigned.
    fn timing(&self, election: &Election, header: &BallotHeader) -> Result<(Timing, UnixMillis), Refusal> {
        let (now, mut timing) = (self.now(), Timing::InTime);
        for binding in election.binding(self.role) {
            let channel = binding
                .channel(header.channel())
                .ok_or_else(|| ballot_refused(BallotError::UnknownChannel(header.channel())))?;
            match channel.check(header.cast_at(), now).map_err(timing_refused)? {
                Timing::InTime => {}
                hold => timing = hold,
            }
        }
        Ok((timing, now))
    }

    /// Of a revoked station nothing more is taken, whatever it is dated: whoever holds the station's key can date back.
    fn check_revoked(&self, election: &Election, header: &BallotHeader) -> Result<(), Refusal> {
        let Some(station) = header.station_mark().map(|mark| mark.station) else {
            return Ok(());
        };
        let mut binding = election.binding(self.role);
        match binding.find_map(|election| election.revoked_from(station)) {
            None => Ok(()),
            Some(from) => Err(Refusal::new(
                Reason::BallotStationRevoked,
                format_args!("station {station} is revoked from {from} on: nothing more is taken from it"),
            )),
        }
    }

    /// Holds a ballot until it is in range, and returns the second in which it was found so. Meanwhile it has no place among the requests, but one
    /// among those that are held; who has most of these gives way.
    async fn in_time(
        &self,
        header: &BallotHeader,
        Origin {
            lane,
            seat,
            in_company,
            ..
        }: Origin,
    ) -> Result<UnixSeconds, Refusal> {
        let held = || {
            Refusal::new(
                Reason::PartyBusy,
                format_args!(
                    "{} ballots dated ahead are held already; submit when cast_at has come",
                    self.intake.held.capacity()
                ),
            )
        };
        let mut place = None;
        let mut lost = pin!(Fuse::terminated());
        loop {
            // Its operator may have countersigned an order since the ballot came, and its clock may have been found wrong.
            let election = self.elections.get(header.election().as_str())?;
            self.may_accept(&election)?;
            self.check_revoked(&election, header)?;
            let until = match self.timing(&election, header)? {
                (Timing::InTime, now) => return Ok(now.seconds()),
                (Timing::HoldUntil(until), _) => until,
            };
            if in_company {
                return Err(put_off());
            }
            if place.is_none() {
                let (taken, loss, _) = self.intake.held.take(lane.clone()).ok_or_else(held)?;
                // It waits for the clock only, so among its own none is before another.
                taken.settle();
                place = Some(taken);
                lost.set(loss.lost().fuse());
                if let Some(seat) = &seat {
                    seat.leave();
                }
            }
            tokio::select! {
                () = self.clock.wait_until(until.get()) => {}
                () = &mut lost => return Err(held()),
                () = self.stopping() => {
                    return Err(Refusal::new(Reason::PartyShuttingDown, "held ballot let go: submit again when the party is back"));
                }
            }
        }
    }

    /// On a check thread, cheapest first: station's signature, or the ticket's (RSA with a short exponent) and its owner's; ciphertext, both
    /// commitments; then the shares are sealed for the store.
    async fn check_ballot(
        self: &Arc<Self>,
        election: Arc<Election>,
        submission: Submission,
        (lane, in_company): (Lane, bool),
    ) -> Result<CheckedBallot, Refusal> {
        submission.check_ciphertext(self.role).map_err(ballot_refused)?;
        if let Some(ticket) = submission.header().ticket()
            && self.intake.attempts.used_up(ticket.key().as_bytes())
        {
            return Err(used_up());
        }
        let (party, checks) = (Arc::clone(self), &self.intake.checks);
        let check = move || party.check_ballot_now(&election, submission);
        // Of several in a message each would find nothing else to do, and all of them would hold up the thread that asks.
        if in_company {
            checks.run(lane, check).await?
        } else {
            checks.run_short(lane, check).await?
        }
    }

    fn check_ballot_now(
        &self,
        election: &Election,
        submission: Submission,
    ) -> Result<CheckedBallot, Refusal> {
        let (header, digest) = (submission.header(), submission.digest());
        header
            .check_authority(&digest, submission.authority_signature(), election.manifest())
            .map_err(ballot_refused)?;
        submission.check_owner(self.role).map_err(ballot_refused)?;
        if let Some(ticket) = header.ticket()
            && !self.intake.attempts.take(*ticket.key().as_bytes())
        {
            return Err(used_up());
        }
        let of_box = election.ballot_box(header.of_box())?;
        let context = ShareContext::ballot(header.election(), of_box);
        let shares = context
            .open(
                self.role,
                &self.opening,
                &digest,
                header.commitments(),
                submission.ciphertext(),
            )
            .map_err(share_refused)?;
        let sealed_shares = self.vault.seal(
            Kind::Ballot,
            self.role.index(),
            digest.as_bytes(),
            &shares.to_bytes(),
        );
        Ok(CheckedBallot {
            number: election.number(),
            digest,
            capacity: of_box.capacity(),
            ciphertext_hash: submission.ciphertext_hash(),
            authority_signature: authority_bytes(&submission),
            header: header.clone(),
            sealed_shares,
        })
    }
}

fn put_off() -> Refusal {
    Refusal::new(
        Reason::PartyBusy,
        "the ballot is dated ahead, and others came with it that are not kept waiting: submit it by itself",
    )
}

fn used_up() -> Refusal {
    Refusal::new(
        Reason::TicketSpent,
        format_args!(
            "{} ciphertexts were opened for this ticket's owner, as many as for any",
            attempts::MOST
        ),
    )
}

pub(super) fn share_refused(error: ShareError) -> Refusal {
    Refusal::new(error.reason(), error)
}

/// A station may bring its own ballots only, and no one else may bring them.
fn check_sender(header: &BallotHeader, sender: Sender) -> Result<(), Refusal> {
    match (header.station_mark().map(|mark| mark.station), sender) {
        (None, Sender::Voter) => Ok(()),
        (Some(station), Sender::Station(caller)) if station == caller => Ok(()),
        (Some(station), Sender::Station(caller)) => Err(Refusal::new(
            Reason::RoleRefused,
            format_args!("the ballot is of station {station}, the caller is station {caller}"),
        )),
        (Some(station), Sender::Voter) => Err(Refusal::new(
            Reason::RoleRefused,
            format_args!(
                "a ballot of station {station} comes with that station's certificate, to the peer address"
            ),
        )),
        (None, Sender::Station(caller)) => Err(Refusal::new(
            Reason::RoleRefused,
            format_args!(
                "online ballots come without a certificate, to the public address; the caller is station {caller}"
            ),
        )),
    }
}

/// What is kept of the authority: the station's signature, or the use of the ticket; nothing online without tickets.
fn authority_bytes(submission: &Submission) -> Vec<u8> {
    match (submission.authority_signature(), submission.ticket_use()) {
        (Some(signature), _) => signature.0.to_vec(),
        (None, Some(ticket_use)) => ticket_use.to_bytes(),
        (None, None) => Vec::new(),
    }
}

/// A ballot that passed every check but the clock's.
struct CheckedBallot {
    number: u32,
    digest: Digest,
    capacity: Capacity,
    header: BallotHeader,
    authority_signature: Vec<u8>,
    ciphertext_hash: tally_proto::ids::Hash32,
    sealed_shares: Vec<u8>,
}

impl CheckedBallot {
    fn received(self, received_at: UnixSeconds) -> Checked {
        Checked {
            register: None,
            paced: false,
            number: self.number,
            election: self.header.election().clone(),
            of_box: self.header.of_box(),
            digest: self.digest,
            counted: Counted::Ballot(self.header.channel()),
            capacity: self.capacity,
            sequence: self
                .header
                .station_mark()
                .map(|mark| (mark.station.get(), mark.sequence)),
            cast_at: Some(self.header.cast_at()),
            serial: None,
            ticket: self.header.ticket().map(|ticket| *ticket.key().as_bytes()),
            header: self.header.encode(),
            authority_signature: self.authority_signature,
            ciphertext_hash: self.ciphertext_hash,
            received_at,
            sealed_shares: self.sealed_shares,
        }
    }
}
