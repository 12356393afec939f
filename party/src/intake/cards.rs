//! Enrolment by card: records that a voter's card authorises, checked here by this party alone, and taken over from one election of a register
//! to the next.
//!
//! Nothing of a certificate leaves this party but to the two others, for the sealing of the box. Whether somebody is on the roll is told only
//! after their card's signature was checked.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures::StreamExt as _;
use tally_proto::card::{self, CardAuthorisation, CardError, RevocationList, Salt, check_revocation};
use tally_proto::ids::{BoxId, Digest, Hash32, Role, UnixMillis, UnixSeconds, VoterIndex};
use tally_proto::manifest::{Manifest, Register};
use tally_proto::open_roll::{Head, Subject, name_of};
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::record::{Authorisation, RecordError, RecordHeader, RecordSubmission};
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tokio::sync::Notify;

use super::Lane;
use super::ballots::share_refused;
use super::handover::delivered;
use super::records::record_refused;
use super::stored_receipt;
use super::writer::Checked;
use crate::elections::Election;
use crate::party::Party;
use crate::rpc::seams::Answers;
use crate::store::accepted::Counted;
use crate::store::serials::Serial;
use crate::store::{Kind, StoreError, Tables, accepted, elections as rows, registers};

/// How long ago by this party's clock a card may have signed.
const CLOCK_TOLERANCE_S: u64 = 300;
/// How far ahead of this party's clock: devices take the parties' time. A record from the future would stand against those of the meantime.
const CLOCK_AHEAD_S: u64 = 5;
/// The place of card records among the serials of a voter: halves of issued ones are 0 and 1.
const CARD: u8 = 2;
/// Records of a register that are looked at in one go.
const AT_ONCE: usize = 256;
/// Entries of an open roll in one message.
const NAMES_A_PART: usize = 5_000;
/// By how much a number of an open roll may be above the count of those that are paired here, beside an eighth of that count: people whose
/// enrolment was not finished have numbers at P1 alone. Else P1 could make N, and the tally, as large as the manifest allows.
const NUMBERS_AHEAD: u32 = 1_000;
/// P1 gives no new number while another party has not answered for so long: the enrolment could not be finished.
const ANSWERED_WITHIN_MS: u64 = 60_000;
/// Pause between looks at the registers when nothing happened.
const TAKE_OVER_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

type Listed = HashMap<(PathBuf, Hash32), (SystemTime, u64, Option<Arc<RevocationList>>)>;

/// The directory of revocation lists, read again when a file of it changes.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    directory: PathBuf,
    known: Mutex<Listed>,
    /// Something was enrolled, or an election came into force.
    pub(crate) enrolled: Notify,
}

impl Revocations {
    pub(crate) fn of(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            ..Self::default()
        }
    }

    /// Until when every issuing CA of the register has a good list here; `None`: one has none.
    pub(crate) fn until(&self, register: &Register, now: UnixSeconds) -> Option<UnixSeconds> {
        let lists = self.lists(register);
        card::lists_until(register, lists.iter().map(|list| &**list), now)
    }

    /// The lists of the register's issuing CAs that are there now. What cannot be read is logged once and passed over: a list that is missing
    /// then refuses.
    fn lists(&self, register: &Register) -> Vec<Arc<RevocationList>> {
        let issuers = Hash32::of(&register.issuers().concat());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lists = Vec::new();
        for entry in std::fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(about) = entry.metadata() else { continue };
            let changed = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let key = (path.clone(), issuers);
            let fresh = known
                .get(&key)
                .is_some_and(|(at, size, _)| (*at, *size) == (changed, about.len()));
            if !fresh {
                let read = std::fs::read(&path)
                    .map_err(|error| error.to_string())
                    .and_then(|bytes| {
                        RevocationList::read(register, &bytes).map_err(|error| error.to_string())
                    });
                let list = match read {
                    Ok(list) => {
                        tracing::info!(path = %path.display(), revoked = list.len(), until = %list.next_update(), "revocation list read");
                        Some(Arc::new(list))
                    }
                    Err(error) => {
                        tracing::warn!(path = %path.display(), register = %register.id(), error, "no revocation list of this register");
                        None
                    }
                };
                known.insert(key.clone(), (changed, about.len(), list));
            }
            lists.extend(known.get(&key).and_then(|(_, _, list)| list.clone()));
        }
        lists
    }
}

/// What a good record comes to.
enum Outcome {
    /// It is here: its receipt.
    Known(Receipt),
    /// It is to be written.
    New(Box<Checked>),
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

/// What travels beside the header of an accepted card record: v, then the authorisation.
fn stored_authority(voter: VoterIndex, authorisation: &CardAuthorisation) -> Vec<u8> {
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
fn place_of(
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
        let numbered = submission.numbered().cloned();
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
        let (of_box, voter, outcome) = checked?;
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
            let delivered = delivered(in_force.number(), &numbered);
            self.intake.writer.deliver(delivered).await?;
        }
        Ok(wire::EnrolReply {
            receipt: Some(receipt.to_wire()),
            r#box: of_box.get(),
            v: voter.get(),
        })
    }

    /// The voter's place, and the stored receipt of a record that is here already, or what is to be written.
    fn check_card_now(
        &self,
        election: &Election,
        submission: &RecordSubmission,
    ) -> Result<(BoxId, VoterIndex, Outcome), Refusal> {
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
        let (holder, due) = match header.open_place() {
            None => {
                let (holder, of_box, voter) = self
                    .store
                    .read(|tx| place_of(tx, number, register, header, authorisation, &times))?;
                (holder, Due::There(of_box, voter))
            }
            Some(place) => {
                match (self.role, place.voter) {
                    (Role::P1, None) => {}
                    (Role::P1, Some(_)) => return Err(record_refused(RecordError::Number { given: true })),
                    _ => header
                        .check_numbered(submission.numbered(), &election.manifest().party_keys())
                        .map_err(record_refused)?,
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
                return Ok((of_box, voter, Outcome::Known(receipt)));
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
        Ok((of_box, voter, Outcome::New(Box::new(checked))))
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
    fn set_aside_until(&self, election: &Election, of_box: BoxId, voter: VoterIndex) -> Option<UnixSeconds> {
        let binding = election.binding(self.role);
        binding
            .filter_map(|under| under.reissued_until(of_box, voter))
            .max()
    }

    /// Refuses what comes after the last moment for records of the box, under the orders in force and under those that this party has
    /// countersigned.
    fn check_until(&self, election: &Election, of_box: BoxId, now: UnixSeconds) -> Result<(), Refusal> {
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
                let paired = registers::paired(tx, number, of_box.get())?;
                Ok::<_, StoreError>((paired, registers::place(tx, number, person)?))
            })?;
            let (paired, place) = there;
            let ahead = paired.saturating_add(paired / 8).saturating_add(NUMBERS_AHEAD);
            if place.is_none() && v.get() > ahead {
                tracing::error!(party = %self.role, election = %election.manifest().election(), number = v.get(), paired,
                    "P1 gave a number of the open roll far above how many people have one here");
                return Err(Refusal::new(
                    Reason::RollNumberAhead,
                    format_args!(
                        "P1 gave number {v}, and {paired} voters have a number here: at most {ahead} is taken now"
                    ),
                ));
            }
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

    /// Control.OpenRoll: number and name of everybody whose record for an open roll this party accepted, under its signature.
    ///
    /// # Errors
    /// `election.unknown`, `box.unknown`, `roll.other-kind`; a stored record that does not hold.
    ///
    /// # Security
    /// Names people: for the coordinator alone, who may know who enrolled.
    pub(crate) async fn open_roll(
        self: &Arc<Self>,
        of: wire::BoxRef,
    ) -> Result<Answers<wire::OpenRollPart>, Refusal> {
        let election = self.elections.get(&of.election)?.in_force()?;
        if election.ballot_box(BoxId(of.r#box))?.open().is_none() {
            return Err(record_refused(RecordError::Roll { open: true }));
        }
        let parts = self
            .blocking(move |party| {
                let mut names = BTreeMap::new();
                let (number, manifest) = (election.number(), election.manifest());
                party.store.read(|tx| {
                    accepted::for_each(tx, Kind::Record, number, of.r#box, |_, row| {
                        let named = RecordHeader::decode(&row.header).ok().and_then(|header| {
                            named(tx, number, manifest, &header, &row.authority_signature)
                        });
                        let (v, said) = named.ok_or(StoreError::Corrupt { table: "records" })?;
                        names.insert(v.get(), name_of(&said));
                        Ok::<_, StoreError>(())
                    })
                })?;
                let subject = Subject {
                    election: manifest.election(),
                    of_box: BoxId(of.r#box),
                };
                let head = Head::sign(subject, party.role, party.now().seconds(), &names, &party.signer);
                let entry = |(v, reference)| wire::RollEntry {
                    v,
                    reference,
                    online: true,
                    persons: Vec::new(),
                };
                let entries: Vec<_> = names.into_iter().map(entry).collect();
                let part = |entries: &[wire::RollEntry]| wire::OpenRollPart {
                    entries: entries.to_vec(),
                    head: None,
                };
                let mut parts: Vec<_> = entries.chunks(NAMES_A_PART).map(part).collect();
                parts.push(wire::OpenRollPart {
                    entries: Vec::new(),
                    head: Some(head.to_wire()),
                });
                Ok(parts)
            })
            .await?;
        Ok(futures::stream::iter(parts.into_iter().map(Ok)).boxed())
    }

    /// Takes the records of registers over into every election in force that names them, for as long as the party runs.
    pub(crate) async fn take_over_always(self: Arc<Self>) {
        loop {
            for election in self.elections.all() {
                if let Err(refusal) = self.take_over_records(&election).await {
                    tracing::warn!(election = %election.manifest().election(), %refusal, "card records were not taken over");
                }
            }
            tokio::select! {
                () = self.stopping() => return,
                () = self.revocations.enrolled.notified() => {}
                () = tokio::time::sleep(TAKE_OVER_EVERY) => {}
            }
        }
    }

    /// Accepts for `election` what was accepted for other elections of its register, as far as it was not looked at yet. Whether a card was
    /// revoked since does not matter: the credential that it enrolled stands on its own.
    ///
    /// # Errors
    /// The store, or a writer that has stopped.
    pub async fn take_over_records(self: &Arc<Self>, election: &Arc<Election>) -> Result<(), Refusal> {
        let number = election.number();
        let Some(register) = election.manifest().register() else {
            return Ok(());
        };
        while election.signed_manifest().is_complete() && self.may_accept(election).is_ok() {
            let id = register.id().clone();
            let noted = self
                .blocking(move |party| {
                    Ok(party
                        .store
                        .read(|tx| registers::not_taken_over(tx, id.as_str(), number, AT_ONCE))?)
                })
                .await?;
            let Some(last) = noted.last().map(|noted| noted.number) else {
                return Ok(());
            };
            for noted in noted.into_iter().filter(|noted| noted.election != number) {
                let of = Arc::clone(election);
                let found = self
                    .blocking(move |party| party.store.read(|tx| party.to_take_over(tx, &of, &noted)))
                    .await?;
                let Some(checked) = found else { continue };
                match self.intake.writer.accept(checked).await {
                    Ok(_) => {}
                    Err(refusal)
                        if [Reason::RecordSerial, Reason::ListAlready, Reason::BoxFull]
                            .contains(&refusal.reason) =>
                    {
                        tracing::info!(%refusal, "a card record is not taken over");
                    }
                    Err(refusal) => return Err(refusal),
                }
            }
            self.blocking(move |party| {
                Ok(party
                    .store
                    .write(|tx| registers::put_taken_over(tx, number, last))?)
            })
            .await?;
        }
        Ok(())
    }

    /// A record of the register as `election` accepts it; `None` where it does not.
    fn to_take_over(
        &self,
        tx: &impl Tables,
        election: &Election,
        noted: &registers::Noted,
    ) -> Result<Option<Checked>, Refusal> {
        let corrupt = || StoreError::Corrupt { table: "records" };
        let stored = accepted::get(tx, Kind::Record, noted.election, noted.of_box, &noted.digest)?
            .ok_or_else(corrupt)?;
        let header = RecordHeader::decode(&stored.header).map_err(|_| corrupt())?;
        let (_, authorisation) = stored
            .authority_signature
            .split_at_checked(4)
            .ok_or_else(corrupt)?;
        let authorisation = CardAuthorisation::decode(authorisation).map_err(|_| corrupt())?;
        let Ok(register) = header.check_register(election.manifest()) else {
            return Ok(None);
        };
        if header.signed_at >= election.effective().takes_over_before() {
            return Ok(None);
        }
        let times = [header.signed_at];
        let place = place_of(tx, election.number(), register, &header, &authorisation, &times);
        let (of_box, voter) = match place {
            Ok((_, of_box, voter)) => (of_box, voter),
            // It would count as looked at for ever.
            Err(refusal) if refusal.reason == Reason::StoreFailed => return Err(refusal),
            Err(_) => return Ok(None),
        };
        let Some(found) = election.manifest().ballot_box(of_box) else {
            return Ok(None);
        };
        // The very moment that the receipt will name.
        let received_at = self.now().seconds();
        if self.check_until(election, of_box, received_at).is_err() {
            return Ok(None);
        }
        Ok(Some(Checked {
            number: election.number(),
            election: election.manifest().election().clone(),
            of_box,
            digest: Digest(noted.digest),
            counted: Counted::Record,
            capacity: found.capacity(),
            sequence: None,
            cast_at: None,
            serial: Some(Serial {
                after: self.set_aside_until(election, of_box, voter).map_or(0, serial_at),
                ..serial(voter, &header)
            }),
            ticket: None,
            register: None,
            paced: false,
            header: stored.header,
            authority_signature: stored_authority(voter, &authorisation),
            ciphertext_hash: Hash32(stored.ciphertext_hash),
            received_at,
            sealed_shares: stored.sealed_shares,
        }))
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
    let (voter, _, person) = on_open_roll(tx, number, manifest, header, stored)?;
    Some((voter, person))
}

/// The number and what the certificate calls its holder.
fn named(
    tx: &impl Tables,
    number: u32,
    manifest: &Manifest,
    header: &RecordHeader,
    stored: &[u8],
) -> Option<(VoterIndex, String)> {
    let (voter, holder, _) = on_open_roll(tx, number, manifest, header, stored)?;
    Some((voter, holder.said))
}

fn on_open_roll(
    tx: &impl Tables,
    number: u32,
    manifest: &Manifest,
    header: &RecordHeader,
    stored: &[u8],
) -> Option<(VoterIndex, card::Holder, Hash32)> {
    let (v, authorisation) = stored.split_first_chunk::<4>()?;
    let authorisation = CardAuthorisation::decode(authorisation).ok()?;
    let register = header.check_register(manifest).ok()?;
    let voter = header.open_place()?.voter?;
    let times = [header.signed_at];
    let (holder, person) = person_of(tx, number, register, header, &authorisation, &times).ok()?;
    (voter == VoterIndex(u32::from_be_bytes(*v))).then_some((voter, holder, person))
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
fn serial_at(moment: UnixSeconds) -> u32 {
    u32::try_from(moment.get()).unwrap_or(u32::MAX)
}
