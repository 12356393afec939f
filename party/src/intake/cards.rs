//! Enrolment by card: records that a voter's card authorises, checked here by this party alone.
//!
//! Nothing of a certificate leaves this party but to the two others, for the sealing of the box. Whether somebody is on the roll is told only
//! after their card's signature was checked.

use std::sync::Arc;

use tally_proto::card::{self, CardAuthorisation, CardError, Salt, check_revocation};
use tally_proto::ids::{BoxId, Hash32, Role, UnixMillis, UnixSeconds, VoterIndex};
use tally_proto::manifest::{Manifest, Register};
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::record::{Authorisation, RecordError, RecordHeader, RecordSubmission};
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use super::Lane;
use super::ballots::share_refused;
use super::handover::delivered;
use super::records::record_refused;
use super::stored_receipt;
use super::writer::{Checked, Delivered};
use crate::elections::Election;
use crate::party::Party;
use crate::store::accepted::Counted;
use crate::store::serials::Serial;
use crate::store::{Kind, StoreError, Tables, elections as rows, registers};

/// How long ago by this party's clock a card may have signed.
pub(super) const CLOCK_TOLERANCE_S: u64 = 300;
/// How far ahead of this party's clock: devices take the parties' time. A record from the future would stand against those of the meantime.
pub(super) const CLOCK_AHEAD_S: u64 = 5;
/// The place of card records among the serials of a voter: halves of issued ones are 0 and 1.
const CARD: u8 = 2;
/// By how much a number of an open roll may be above the count of people who have shown a card for it, beside an eighth of that count: what this
/// party has not seen yet, and what P1 lost between number and record. Else P1 could make N, and the tally, as large as the manifest allows.
const NUMBERS_AHEAD: u32 = 1_000;
/// By how much P1 lets its numbers be above what another party says it has seen: less, so that no number of its is refused there, also where that
/// party counts a few less after it got its store back.
const GIVEN_AHEAD: u32 = 500;
/// P1 gives no new number while another party has not answered for so long: the enrolment could not be finished.
const ANSWERED_WITHIN_MS: u64 = 60_000;

/// What a good record comes to.
enum Outcome {
    /// It is here: its receipt.
    Known(Receipt),
    /// It is to be written.
    New(Box<Checked>),
}

/// A record whose card, place and shares are good.
struct Good {
    of_box: BoxId,
    voter: VoterIndex,
    outcome: Outcome,
    /// P1's receipt for its number, verified. What else came with the record is nobody's word.
    numbered: Option<Delivered>,
}

/// Whose record it is.
enum Due {
    /// The roll says it.
    There(BoxId, VoterIndex),
    /// This person's, on an open roll, with the number that P1 gave; P1 itself is to give it.
    Number(BoxId, Option<VoterIndex>, Hash32),
}

impl Due {
    fn of_box(&self) -> BoxId {
        match self {
            Self::There(of_box, _) | Self::Number(of_box, ..) => *of_box,
        }
    }
}

/// The highest number of an open roll while so many people have shown a card for it.
fn highest_number(people: u32, ahead: u32) -> u32 {
    people.saturating_add(people / 8).saturating_add(ahead)
}

/// What travels beside the header of an accepted card record: v, then the authorisation.
pub(super) fn stored_authority(voter: VoterIndex, authorisation: &CardAuthorisation) -> Vec<u8> {
    [&voter.get().to_be_bytes()[..], &authorisation.encode()].concat()
}

fn card_refused(error: CardError) -> Refusal {
    record_refused(RecordError::Card(error))
}

/// Who the record's card says its holder is, and the code of that person: checks everything that follows from the record and the manifest.
fn person_of(
    tx: &impl Tables,
    number: u32,
    register: &Register,
    header: &RecordHeader,
    authorisation: &CardAuthorisation,
    times: &[UnixSeconds],
) -> Result<(card::Holder, Hash32), Refusal> {
    let (opens, closes, signed_at) = (register.opens(), register.closes(), header.signed_at);
    if signed_at > closes {
        return Err(card_refused(CardError::Window {
            opens,
            closes,
            signed_at,
        }));
    }
    let holder = card::check(register, header, authorisation, times).map_err(card_refused)?;
    let salt = registers::salt(tx, number)?.ok_or(StoreError::Corrupt { table: "salts" })?;
    let person = Salt(salt).person(&holder.said);
    Ok((holder, person))
}

/// Where the person whom the record's card names is on the roll of the election of that number: checks everything that follows from the
/// record, the manifest and the roll, and so comes out the same whenever and wherever it is done. On an open roll that is where the record
/// says: whether the number is that person's is for [`registers::pair`].
pub(super) fn place_of(
    tx: &impl Tables,
    number: u32,
    register: &Register,
    header: &RecordHeader,
    authorisation: &CardAuthorisation,
    times: &[UnixSeconds],
) -> Result<(card::Holder, BoxId, VoterIndex), Refusal> {
    let (holder, person) = person_of(tx, number, register, header, authorisation, times)?;
    if let Some(place) = header.open_place() {
        let voter = place
            .voter
            .ok_or_else(|| record_refused(RecordError::Number { given: false }))?;
        return Ok((holder, place.of_box, voter));
    }
    let (of_box, v) =
        registers::place(tx, number, &person)?.ok_or_else(|| card_refused(CardError::NotOnRoll))?;
    let (online, _) =
        rows::roll_entry(tx, number, of_box, v)?.ok_or(StoreError::Corrupt { table: "rolls" })?;
    if online {
        Ok((holder, BoxId(of_box), VoterIndex(v)))
    } else {
        Err(Refusal::new(
            Reason::VoterStationOnly,
            "the roll says that this voter votes at a station, not online",
        ))
    }
}

impl Party {
    /// Takes a record that a voter's card authorises and answers with the receipt and the voter's place on the roll, after the record is on
    /// disk.
    ///
    /// # Errors
    /// Why it was refused: the card's own reasons among others.
    pub async fn enrol(
        self: &Arc<Self>,
        record: wire::RecordSubmission,
        lane: Lane,
    ) -> Result<wire::EnrolReply, Refusal> {
        let submission = RecordSubmission::from_wire(record).map_err(record_refused)?;
        if !submission.header().is_card() {
            return Err(record_refused(RecordError::OtherSource { card: false }));
        }
        let id = submission
            .election()
            .map(|id| id.as_str().to_owned())
            .unwrap_or_default();
        let election = self.elections.get(&id)?.in_force()?;
        let in_force = Arc::clone(&election);
        submission
            .header()
            .check_register(election.manifest())
            .map_err(record_refused)?;
        let party = Arc::clone(self);
        let checked = self
            .intake
            .checks
            .run(lane, move || party.check_card_now(&election, &submission))
            .await?;
        let Good {
            of_box,
            voter,
            outcome,
            numbered,
        } = checked?;
        let receipt = match outcome {
            Outcome::Known(receipt) => receipt,
            Outcome::New(checked) => {
                self.may_accept(&in_force)?;
                let receipt = self.intake.writer.accept(*checked).await?;
                self.revocations.enrolled.notify_one();
                receipt
            }
        };
        // P1's word for the number is kept: it serves in Claims like any receipt, and a P1 whose store was set back gets its numbers back by it.
        if let Some(numbered) = numbered {
            self.intake.writer.deliver(numbered).await?;
        }
        Ok(wire::EnrolReply {
            receipt: Some(receipt.to_wire()),
            r#box: of_box.get(),
            v: voter.get(),
        })
    }

    /// The voter's place, and the stored receipt of a record that is here already, or what is to be written; and P1's receipt for the number.
    fn check_card_now(&self, election: &Election, submission: &RecordSubmission) -> Result<Good, Refusal> {
        let header = submission.header();
        let register = header
            .check_register(election.manifest())
            .map_err(record_refused)?;
        let Authorisation::Card(authorisation) = submission.authorisation() else {
            return Err(record_refused(RecordError::OtherSource { card: false }));
        };
        let now = self.now();
        let times = [header.signed_at, now.seconds()];
        let number = election.number();
        let mut numbered = None;
        let (holder, due) = match header.open_place() {
            None => {
                let (holder, of_box, voter) = self
                    .store
                    .read(|tx| place_of(tx, number, register, header, authorisation, &times))?;
                (holder, Due::There(of_box, voter))
            }
            Some(place) => {
                match (self.role, place.voter, submission.numbered()) {
                    (Role::P1, None, None) => {}
                    (Role::P1, ..) => return Err(record_refused(RecordError::Number { given: true })),
                    (_, _, receipt) => {
                        let keys = election.manifest().party_keys();
                        let receipt = header.check_numbered(receipt, &keys).map_err(record_refused)?;
                        numbered = Some(delivered(number, receipt));
                    }
                }
                let (holder, person) = self
                    .store
                    .read(|tx| person_of(tx, number, register, header, authorisation, &times))?;
                (holder, Due::Number(place.of_box, place.voter, person))
            }
        };
        let shares = header
            .context()
            .open(
                self.role,
                &self.opening,
                &header.signed_digest(),
                &header.commitments,
                submission.ciphertext(),
            )
            .map_err(share_refused)?;
        if let Some((of_box, voter)) = self.place_so_far(number, &due)? {
            let digest = header.numbered(voter).digest();
            if let Some(stored) = self.stored(Kind::Record, election, of_box.get(), digest)? {
                let id = election.manifest().election();
                let receipt = stored_receipt(self.role, id, of_box, digest, &stored)?;
                return Ok(Good {
                    of_box,
                    voter,
                    outcome: Outcome::Known(receipt),
                    numbered,
                });
            }
        }
        let (opens, closes, signed_at) = (register.opens(), register.closes(), header.signed_at);
        if signed_at < opens {
            return Err(card_refused(CardError::Window {
                opens,
                closes,
                signed_at,
            }));
        }
        let (at, clock) = (signed_at.get(), now.seconds().get());
        if at > clock.saturating_add(CLOCK_AHEAD_S) || clock > at.saturating_add(CLOCK_TOLERANCE_S) {
            let now = now.seconds();
            return Err(card_refused(CardError::Clock { signed_at, now }));
        }
        self.check_until(election, due.of_box(), now.seconds())?;
        let lists = self.revocations.lists(register);
        check_revocation(lists.iter().map(|list| &**list), &holder, now.seconds()).map_err(card_refused)?;
        let open = matches!(due, Due::Number(..));
        if open {
            // A party that accepts nothing gives no number either.
            self.may_accept(election)?;
            if self.role == Role::P1 && self.place_so_far(number, &due)?.is_none() {
                self.others_answer(now)?;
            }
        }
        let mut after = 0;
        if let Some((of_box, voter)) = self.place_so_far(number, &due)? {
            let until = self.set_aside_until(election, of_box, voter);
            after = until.map_or(0, serial_at);
            if until.is_some_and(|until| signed_at <= until) {
                return Err(Refusal::new(
                    Reason::RecordReissued,
                    "an order says that what this voter's card signs up to a moment that has not passed yet does not stand",
                ));
            }
        }
        let (of_box, voter) = self.place_for_good(election, &due)?;
        let header = header.numbered(voter);
        let digest = header.digest();
        let checked = Checked {
            number,
            election: election.manifest().election().clone(),
            of_box,
            digest,
            counted: Counted::Record,
            capacity: election.ballot_box(of_box)?.capacity(),
            sequence: None,
            cast_at: None,
            serial: Some(Serial {
                after,
                ..serial(voter, &header)
            }),
            ticket: None,
            // What is for one open roll is for no other election.
            register: (!open).then(|| register.id().clone()),
            paced: true,
            header: header.encode(),
            authority_signature: stored_authority(voter, authorisation),
            ciphertext_hash: submission.ciphertext_hash(),
            received_at: now.seconds(),
            sealed_shares: self.seal_record(digest, &shares.to_bytes()),
        };
        Ok(Good {
            of_box,
            voter,
            outcome: Outcome::New(Box::new(checked)),
            numbered,
        })
    }

    /// Refuses while another party is away: all three must take a record for an open roll.
    fn others_answer(&self, now: UnixMillis) -> Result<(), Refusal> {
        for other in self.sight.others() {
            let silent = now.get().saturating_sub(self.sight.last_answer(other).get());
            if let Some(why) = self.sight.trouble(other)
                && silent > ANSWERED_WITHIN_MS
            {
                return Err(Refusal::new(
                    Reason::PartyUnreachable,
                    format_args!(
                        "{other} does not answer {}: {why}. An enrolment needs all three parties",
                        self.role
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Up to which moment records of the voter's card are out, by the orders in force and by those that this party has countersigned.
    pub(super) fn set_aside_until(
        &self,
        election: &Election,
        of_box: BoxId,
        voter: VoterIndex,
    ) -> Option<UnixSeconds> {
        let binding = election.binding(self.role);
        binding
            .filter_map(|under| under.reissued_until(of_box, voter))
            .max()
    }

    /// Refuses what comes after the last moment for records of the box, under the orders in force and under those that this party has
    /// countersigned.
    pub(super) fn check_until(
        &self,
        election: &Election,
        of_box: BoxId,
        now: UnixSeconds,
    ) -> Result<(), Refusal> {
        let binding = election.binding(self.role);
        let until = binding.map(|under| under.records_until(of_box)).min();
        let until = until.unwrap_or_default();
        let open = election.ballot_box(of_box)?.open();
        if now <= until {
            return Ok(());
        }
        Err(match open.filter(|open| now > open.freezes) {
            Some(open) => Refusal::new(
                Reason::RollFrozen,
                format_args!(
                    "the open roll froze at {}, this party's clock shows {now}",
                    open.freezes
                ),
            ),
            None => Refusal::new(
                Reason::BoxPhase,
                format_args!("records are taken until {until}, this party's clock shows {now}"),
            ),
        })
    }

    /// The voter's place as far as it is known without giving anybody a number.
    fn place_so_far(&self, number: u32, due: &Due) -> Result<Option<(BoxId, VoterIndex)>, Refusal> {
        Ok(match due {
            Due::There(of_box, voter) => Some((*of_box, *voter)),
            Due::Number(of_box, Some(voter), _) => Some((*of_box, *voter)),
            Due::Number(_, None, person) => self
                .store
                .read(|tx| registers::place(tx, number, person))?
                .map(|(of_box, v)| (BoxId(of_box), VoterIndex(v))),
        })
    }

    /// P1: refuses to run ahead of what another party has seen of cards, in records that it took or in P1's log. It would not take the number.
    fn others_keep_up(&self, number: u32, of_box: BoxId) -> Result<(), Refusal> {
        let next = self
            .store
            .read(|tx| registers::next_number(tx, number, of_box.get()))?;
        for other in self.sight.others() {
            let people = self.following.people(other, number);
            if next > highest_number(people, GIVEN_AHEAD) {
                return Err(Refusal::new(
                    Reason::PartyBusy,
                    format_args!(
                        "{next} people have a number of the open roll, and {other} has seen the cards of {people} so far: nobody else gets one before it has                          caught up"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The voter's place. On an open roll number and person are paired, on disk, before this returns: P1 pairs the person with the next number,
    /// or finds the one of before; the two others pair what P1 gave, and refuse any other pairing ever after.
    fn place_for_good(&self, election: &Election, due: &Due) -> Result<(BoxId, VoterIndex), Refusal> {
        let (number, (of_box, given, person)) = match due {
            Due::There(of_box, voter) => return Ok((*of_box, *voter)),
            Due::Number(of_box, given, person) => (election.number(), (*of_box, *given, person)),
        };
        if let (None, Some(place)) = (given, self.place_so_far(number, due)?) {
            return Ok(place);
        }
        let most = election.ballot_box(of_box)?.voters();
        let taken = || {
            Refusal::new(
                Reason::RollNumberTaken,
                "this number of the open roll is another person's here, or this person has another number: P1 gave both",
            )
        };
        if let Some(v) = given {
            let there = self.store.read(|tx| {
                let people = registers::people(tx, number, of_box.get())?;
                Ok::<_, StoreError>((people, registers::place(tx, number, person)?))
            })?;
            let (people, place) = there;
            let most = highest_number(people, NUMBERS_AHEAD);
            if place.is_none() && v.get() > most {
                tracing::error!(party = %self.role, election = %election.manifest().election(), number = v.get(), people,
                    "P1 gave a number of the open roll far above how many people have shown a card for it");
                return Err(Refusal::new(
                    Reason::RollNumberAhead,
                    format_args!(
                        "P1 gave number {v}, and {people} people have shown a card for the roll, as far as {} has seen: at most {most} is taken now",
                        self.role
                    ),
                ));
            }
        } else {
            self.others_keep_up(number, of_box)?;
        }
        let found = self.store.write(|tx| {
            // Again, as another record of the same person may have come meanwhile.
            if let (None, Some((_, v))) = (given, registers::place(tx, number, person)?) {
                return Ok(Some(v));
            }
            let v = match given {
                Some(v) => v.get(),
                None => registers::next_number(tx, number, of_box.get())?,
            };
            if v >= most {
                return Ok(None);
            }
            Ok::<_, StoreError>(match registers::pair(tx, number, of_box.get(), v, person)? {
                registers::Paired::Stands => Some(v),
                registers::Paired::Other => None,
            })
        })?;
        match (found, given) {
            (Some(v), _) => Ok((of_box, VoterIndex(v))),
            (None, Some(_)) => {
                tracing::error!(party = %self.role, election = %election.manifest().election(),
                    "P1 gave a number of the open roll twice, or a person two numbers");
                Err(taken())
            }
            (None, None) => Err(Refusal::new(
                Reason::RollFull,
                format_args!("the open roll of box {of_box} has {most} voters, and can have no more"),
            )),
        }
    }
}

/// Whose record it is and in which box, if the authorisation that was stored with it holds and names the voter that was stored with it.
pub(crate) fn holds(
    tx: &impl Tables,
    number: u32,
    manifest: &Manifest,
    header: &RecordHeader,
    stored: &[u8],
) -> Option<(BoxId, VoterIndex)> {
    let (v, authorisation) = stored.split_first_chunk::<4>()?;
    let authorisation = CardAuthorisation::decode(authorisation).ok()?;
    let register = header.check_register(manifest).ok()?;
    let times = [header.signed_at];
    let (_, of_box, voter) = place_of(tx, number, register, header, &authorisation, &times).ok()?;
    (voter == VoterIndex(u32::from_be_bytes(*v))).then_some((of_box, voter))
}

/// The number on the open roll and the code of the person whom a stored card record names, if its authorisation holds.
pub(crate) fn pairing(
    tx: &impl Tables,
    number: u32,
    manifest: &Manifest,
    header: &RecordHeader,
    stored: &[u8],
) -> Option<(VoterIndex, Hash32)> {
    let (v, authorisation) = stored.split_first_chunk::<4>()?;
    let authorisation = CardAuthorisation::decode(authorisation).ok()?;
    let register = header.check_register(manifest).ok()?;
    let voter = header.open_place()?.voter?;
    let times = [header.signed_at];
    let (_, person) = person_of(tx, number, register, header, &authorisation, &times).ok()?;
    (voter == VoterIndex(u32::from_be_bytes(*v))).then_some((voter, person))
}

/// The code of the person whom a card record for an open roll names, of a record that was checked before.
///
/// # Errors
/// The store.
pub(crate) fn seen_on_open_roll(
    tx: &impl Tables,
    number: u32,
    manifest: &Manifest,
    header: &RecordHeader,
    stored: &[u8],
) -> Result<Option<Hash32>, StoreError> {
    let named = header.open_place().and_then(|_| said(manifest, stored));
    let salt = registers::salt(tx, number)?;
    Ok(named.zip(salt).map(|(said, salt)| Salt(salt).person(&said)))
}

/// What the certificate in a stored authorisation calls its holder.
pub(super) fn said(manifest: &Manifest, stored: &[u8]) -> Option<String> {
    let (_, authorisation) = stored.split_first_chunk::<4>()?;
    let authorisation = CardAuthorisation::decode(authorisation).ok()?;
    card::named(manifest.register()?, &authorisation).ok()
}

/// The place of a card record among the serials of its voter.
pub(crate) fn serial(voter: VoterIndex, header: &RecordHeader) -> Serial {
    Serial {
        voter: voter.get(),
        half: CARD,
        serial: header.serial,
        after: 0,
    }
}

/// The serial of what a card signed at that moment.
pub(super) fn serial_at(moment: UnixSeconds) -> u32 {
    u32::try_from(moment.get()).unwrap_or(u32::MAX)
}
