//! One transaction of the writer: what is accepted in it, under one signature, and the others' receipts.
//!
//! Jobs are looked at in their order; rows are written at the end, table by table. What another party handed over for a ballot that is not here waits
//! in memory, and is stored in the transaction that accepts the ballot.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tally_proto::ballot::BallotHeader;
use tally_proto::calendar::ChannelKind;
use tally_proto::envelope::Signer;
use tally_proto::ids::{BoxId, Digest, Role, RoleExt as _};
use tally_proto::log::{self as log_entry, Entry as LogEntry};
use tally_proto::manifest::{Capacity, MAX_RECORDS_OF_A_VOTER};
use tally_proto::reason::Reason;
use tally_proto::receipt::{Acceptance, Receipt, sign_batch, whole_batches};
use tally_proto::refusal::Refusal;

use super::early::Early;
use super::recent::{Place, Recent};
use super::waiting::Stored;
use super::writer::{Checked, Delivered, Outcome, Work, Written};
use crate::store::accepted::{self, Accepted, Counted};
use crate::store::{
    Kind, StoreError, Tables, WriteTx, boxes, log, receipts, registers, sequences, serials, tickets,
};

/// What a job of a batch has come to, before the batch's receipts are signed.
pub(super) enum Step {
    Done(Outcome),
    /// Its receipt will be the one of that number.
    Accepted(usize),
}

/// Kind, election, box, digest.
type Name = (Kind, u32, u32, Digest);

/// A transaction under way.
pub(super) struct Batch<'t> {
    tx: &'t WriteTx,
    own: Role,
    early: &'t mut Early,
    recent: &'t mut Recent,
    new: Vec<(Checked, Acceptance)>,
    /// What of all that the jobs name was accepted before, with its position.
    known: HashMap<Name, u64>,
    places: HashMap<Name, usize>,
    frozen: HashMap<(u32, u32), bool>,
    /// What each box of the batch holds, with what the batch has accepted so far.
    rooms: HashMap<(u32, u32), Room>,
    /// Of every election whose log grows: where it ended, and what is to be appended.
    logs: HashMap<u32, (u64, Vec<LogEntry>)>,
    /// Others' receipts, each with the position here of what it is for.
    others: Vec<Other>,
}

/// Another party's receipt for what stands at a position here.
struct Other {
    of: Delivered,
    own_position: u64,
    /// That party brought it itself.
    handed_over: bool,
}

impl<'t> Batch<'t> {
    pub(super) fn new(tx: &'t WriteTx, own: Role, early: &'t mut Early, recent: &'t mut Recent) -> Self {
        Self {
            tx,
            own,
            early,
            recent,
            new: Vec::new(),
            known: HashMap::new(),
            places: HashMap::new(),
            frozen: HashMap::new(),
            rooms: HashMap::new(),
            logs: HashMap::new(),
            others: Vec::new(),
        }
    }

    /// All of it.
    pub(super) fn write(mut self, works: Vec<Work>, signer: &Signer) -> Result<Written, StoreError> {
        self.known = self.look_up(&works)?;
        let steps = works
            .into_iter()
            .map(|work| self.apply(work))
            .collect::<Result<Vec<Step>, StoreError>>()?;
        self.finish(steps, signer)
    }

    /// What of all that the jobs name is here, but for what was accepted lately: two tables opened once, not once for each job.
    fn look_up(&self, works: &[Work]) -> Result<HashMap<Name, u64>, StoreError> {
        let (mut ballots, mut records) = (Vec::new(), Vec::new());
        for work in works {
            let receipts = match work {
                Work::Accept(new) => {
                    let name = (new.number, new.of_box.get(), new.digest);
                    match new.counted.kind() {
                        Kind::Ballot => ballots.push(name),
                        Kind::Record => records.push(name),
                    }
                    continue;
                }
                Work::Deliver(receipt) => std::slice::from_ref(receipt),
                Work::HandedOver(receipts, _) => receipts.as_slice(),
            };
            for of in receipts {
                let name = (of.number, of.of_box.get(), of.digest);
                if self.recent.get(&name).is_none() {
                    ballots.push(name);
                    records.push(name);
                }
            }
        }
        let mut known = HashMap::new();
        for (kind, names) in [(Kind::Ballot, ballots), (Kind::Record, records)] {
            let keys = names
                .iter()
                .map(|(number, of_box, digest)| (*number, *of_box, digest.as_bytes()));
            for ((number, of_box, digest), position) in accepted::known(self.tx, kind, keys)? {
                known.insert((kind, number, of_box, Digest(digest)), position);
            }
        }
        Ok(known)
    }

    /// One job. Refusing it leaves the others of the batch alone.
    fn apply(&mut self, work: Work) -> Result<Step, StoreError> {
        match work {
            Work::Accept(checked) => self.accept(*checked),
            Work::Deliver(delivered) => {
                let outcome = match self.place(delivered, false)? {
                    Placed::Stored => Outcome::Delivered,
                    Placed::Early(of) => Outcome::Refused(Refusal::new(
                        Reason::ReceiptEarly,
                        format_args!(
                            "party {}'s receipt is for something that this party has not accepted",
                            of.party
                        ),
                    )),
                    Placed::Untimely(of) => Outcome::Refused(Refusal::new(
                        Reason::ReceiptInvalid,
                        format_args!(
                            "party {}'s receipt says that the ballot was received at {}, which is not in time",
                            of.party, of.received_at
                        ),
                    )),
                };
                Ok(Step::Done(outcome))
            }
            Work::HandedOver(all, _permit) => {
                for delivered in all {
                    match self.place(delivered, true)? {
                        Placed::Early(of) => self.early.keep(of),
                        // One that is no timely acceptance counts for nothing; its party is the only one that it harms.
                        Placed::Stored | Placed::Untimely(_) => {}
                    }
                }
                Ok(Step::Done(Outcome::Delivered))
            }
        }
    }

    /// Finds the place of another party's receipt. Claims use receipts for what this party accepted, and no others: nobody's junk fills the disk. A
    /// voter's device brings the others' receipts when it has this party's own.
    fn place(&mut self, delivered: Delivered, handed_over: bool) -> Result<Placed, StoreError> {
        let key = (delivered.number, delivered.of_box.get(), delivered.digest);
        let place = match self.recent.get(&key) {
            Some(place) => Some(place),
            None => self.look(key)?,
        };
        Ok(match place {
            None => Placed::Early(delivered),
            Some(place) if !place.is_timely(delivered.received_at) => Placed::Untimely(delivered),
            Some(place) => {
                self.others.push(Other {
                    of: delivered,
                    own_position: place.position,
                    handed_over,
                });
                Placed::Stored
            }
        })
    }

    /// The place of something that was not accepted lately.
    fn look(&self, (number, of_box, digest): (u32, u32, Digest)) -> Result<Option<Place>, StoreError> {
        if let Some(&position) = self.known.get(&(Kind::Ballot, number, of_box, digest)) {
            let row = accepted::at(self.tx, number, position)?;
            let header =
                BallotHeader::decode(&row.header).map_err(|_| StoreError::Corrupt { table: "accepted" })?;
            return Ok(Some(Place {
                position,
                cast: Some((header.cast_at(), header.channel())),
            }));
        }
        let position = self.known.get(&(Kind::Record, number, of_box, digest));
        Ok(position.map(|&position| Place { position, cast: None }))
    }

    fn accept(&mut self, new: Checked) -> Result<Step, StoreError> {
        let tx = self.tx;
        let of_box = new.of_box.get();
        let kind = new.counted.kind();
        let name = (kind, new.number, of_box, new.digest);
        // Twice in one batch is once.
        if let Some(&at) = self.places.get(&name) {
            return Ok(Step::Accepted(at));
        }
        if let Some(&position) = self.known.get(&name) {
            let stored = accepted::at(tx, new.number, position)?;
            let receipt = super::stored_receipt(self.own, &new.election, new.of_box, new.digest, &stored)?;
            let others = super::stored_of_others(tx, self.own, new.number, stored.position)?;
            return Ok(Step::Done(Outcome::accepted(receipt, others)));
        }
        if self.is_frozen(new.number, new.of_box)? {
            return Ok(Step::Done(Outcome::Refused(Refusal::new(
                Reason::ListAlready,
                format_args!("box {of_box} is being sealed: this party's List of it is signed"),
            ))));
        }
        if let Some(refusal) = self.no_room(&new)? {
            return Ok(Step::Done(Outcome::Refused(refusal)));
        }
        if let Some((station, sequence)) = new.sequence
            && !sequences::take(tx, new.number, of_box, (station, sequence), new.digest.as_bytes())?
        {
            return Ok(Step::Done(Outcome::Refused(Refusal::new(
                Reason::BallotStationSequence,
                format_args!(
                    "another ballot of box {of_box} with number {sequence} of station {station} is here"
                ),
            ))));
        }
        if let Some(serial) = new.serial.filter(|_| new.paced)
            && let Some(refusal) = paced(serials::pace(tx, new.number, of_box, serial)?)
        {
            return Ok(Step::Done(Outcome::Refused(refusal)));
        }
        if let Some(serial) = &new.serial
            && !serials::take(tx, new.number, of_box, *serial, new.digest.as_bytes())?
        {
            return Ok(Step::Done(Outcome::Refused(Refusal::new(
                Reason::RecordSerial,
                format_args!(
                    "another record of voter {} with serial {} is here",
                    serial.voter, serial.serial
                ),
            ))));
        }
        if let Some(ticket) = &new.ticket
            && !tickets::spend(tx, new.number, ticket, new.digest.as_bytes())?
        {
            return Ok(Step::Done(Outcome::Refused(super::ballots::ticket_spent())));
        }
        let entry = LogEntry::Accepted(log_entry::Accepted {
            record: kind == Kind::Record,
            of_box: new.of_box,
            digest: new.digest,
            ciphertext_hash: new.ciphertext_hash,
            received_at: new.received_at,
        });
        let acceptance = Acceptance {
            election: new.election.clone(),
            of_box: new.of_box,
            party: self.own,
            digest: new.digest,
            ciphertext_hash: new.ciphertext_hash,
            received_at: new.received_at,
            position: self.log(new.number, entry)?,
        };
        if let Some(room) = self.rooms.get_mut(&(new.number, of_box)) {
            *room.here.of(new.counted) += 1;
        }
        let at = self.new.len();
        self.places.insert(name, at);
        self.new.push((new, acceptance));
        Ok(Step::Accepted(at))
    }

    /// The refusal of what the box has no room for, or what one voter has had enough of.
    fn no_room(&mut self, new: &Checked) -> Result<Option<Refusal>, StoreError> {
        let (number, of_box) = (new.number, new.of_box.get());
        let here = match self.rooms.entry((number, of_box)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(Room::of(self.tx, number, of_box)?),
        };
        if let Some(refusal) = no_room(new.of_box, here, new.counted, new.capacity) {
            return Ok(Some(refusal));
        }
        let Some(serial) = &new.serial else {
            return Ok(None);
        };
        let place = (serial.voter, serial.half, serial.after);
        let taken = serials::taken(self.tx, number, of_box, place, MAX_RECORDS_OF_A_VOTER)?;
        Ok((taken >= MAX_RECORDS_OF_A_VOTER).then(|| {
            Refusal::new(
                Reason::BoxFull,
                format_args!(
                    "{taken} records of voter {} are here, as many as one voter may have",
                    serial.voter
                ),
            )
        }))
    }

    fn is_frozen(&mut self, number: u32, of_box: BoxId) -> Result<bool, StoreError> {
        let name = (number, of_box.get());
        if let Some(known) = self.frozen.get(&name) {
            return Ok(*known);
        }
        let is_frozen = boxes::is_frozen(self.tx, number, of_box.get())?;
        self.frozen.insert(name, is_frozen);
        Ok(is_frozen)
    }

    /// The position that the entry will have.
    fn log(&mut self, number: u32, entry: LogEntry) -> Result<u64, StoreError> {
        if !self.logs.contains_key(&number) {
            let size = log::size(self.tx, number)?;
            self.logs.insert(number, (size, Vec::new()));
        }
        let (size, entries) = self.logs.entry(number).or_default();
        entries.push(entry);
        Ok(*size + entries.len() as u64 - 1)
    }

    fn finish(mut self, steps: Vec<Step>, signer: &Signer) -> Result<Written, StoreError> {
        for (number, (_, entries)) in &self.logs {
            log::append_all(self.tx, *number, entries)?;
        }
        let (new, acceptances): (Vec<Checked>, Vec<Acceptance>) =
            std::mem::take(&mut self.new).into_iter().unzip();
        // The others are handed the receipts of ballots, so records are signed apart: nobody's device waits for theirs.
        let (mut receipts, mut whole) = (Vec::with_capacity(new.len()), Vec::new());
        let mut rest = acceptances.into_iter();
        for run in new.chunk_by(|one, next| one.counted.kind() == next.counted.kind()) {
            let signed = sign_batch(rest.by_ref().take(run.len()).collect(), signer);
            if run[0].counted.kind() == Kind::Ballot {
                whole.extend(whole_batches(&signed));
            }
            receipts.extend(signed);
        }
        let delivered = self
            .others
            .iter()
            .map(|Other { of, .. }| (of.number, of.digest, of.party))
            .collect();
        let stored = self.insert(new, &receipts)?;
        let heard = self.put_others()?;
        Ok(Written {
            steps,
            receipts,
            whole,
            stored,
            delivered,
            heard,
        })
    }

    /// Writes the rows of what is accepted, and looks up what came early for it.
    fn insert(&mut self, new: Vec<Checked>, receipts: &[Receipt]) -> Result<Vec<(u32, Stored)>, StoreError> {
        let mut stored = Vec::with_capacity(new.len());
        let mut rows = Vec::with_capacity(new.len());
        for (new, receipt) in new.into_iter().zip(receipts) {
            let position = receipt.unverified().position;
            let mut of = [false; 3];
            let place = Place {
                position,
                cast: match new.counted {
                    Counted::Ballot(channel) => new.cast_at.map(|cast_at| (cast_at, channel)),
                    Counted::Record => None,
                },
            };
            self.recent
                .note((new.number, new.of_box.get(), new.digest), place);
            for early in self.early.take(new.number, new.of_box.get(), new.digest) {
                if place.is_timely(early.received_at) {
                    of[early.party.slot()] = true;
                    self.others.push(Other {
                        of: early,
                        own_position: position,
                        handed_over: true,
                    });
                }
            }
            stored.push((new.number, of));
            let row = Accepted {
                header: new.header,
                authority_signature: new.authority_signature,
                ciphertext_hash: new.ciphertext_hash.0,
                received_at_s: new.received_at.get(),
                position,
                receipt_signature: receipt.signature().to_bytes(),
                sealed_shares: new.sealed_shares,
            };
            rows.push((
                (new.number, new.of_box),
                new.digest,
                new.counted,
                row,
                new.register,
            ));
        }
        let all: Vec<_> = (rows.iter())
            .map(|((number, of_box), digest, counted, row, _)| accepted::New {
                election: *number,
                of_box: of_box.get(),
                digest: digest.as_bytes(),
                counted: *counted,
                row,
            })
            .collect();
        accepted::insert_all(self.tx, &all)?;
        for ((number, of_box), digest, _, _, register) in &rows {
            if let Some(register) = register {
                registers::note(
                    self.tx,
                    register.as_str(),
                    *number,
                    of_box.get(),
                    digest.as_bytes(),
                )?;
            }
        }
        Ok(stored)
    }

    /// Writes the others' receipts. Returns who handed over one that was not here yet: whoever repeats itself is not heard.
    fn put_others(&self) -> Result<Vec<Role>, StoreError> {
        let all: Vec<_> = (self.others.iter())
            .map(|Other { of, own_position, .. }| receipts::New {
                election: of.number,
                party: of.party.index(),
                own_position: *own_position,
                position: of.position,
                receipt: &of.encoded,
            })
            .collect();
        let firsts = receipts::put_all(self.tx, &all)?;
        let mut heard = Vec::new();
        for (other, first) in self.others.iter().zip(firsts) {
            if first && other.handed_over && !heard.contains(&other.of.party) {
                heard.push(other.of.party);
            }
        }
        Ok(heard)
    }
}

/// Why a voter's record has to wait, if it has.
fn paced(pace: serials::Pace) -> Option<Refusal> {
    match pace {
        serials::Pace::Good => None,
        serials::Pace::Later => Some(Refusal::new(
            Reason::CardLater,
            "a record that this voter's card signed later is here; enrol again in a few seconds",
        )),
        serials::Pace::Wait(seconds) => Some(Refusal::new(
            Reason::CardTooOften,
            format_args!(
                "many records of this voter are here: the next is taken {seconds} s after the newest"
            ),
        )),
    }
}

/// What a box holds, and what a restored party accepted for it and has not got back: it is on the List like the rest.
pub(super) struct Room {
    here: boxes::Received,
    lost: boxes::Lost,
}

impl Room {
    /// Of that box.
    ///
    /// # Errors
    /// [`StoreError`]: the engine failed.
    fn of(tx: &impl Tables, number: u32, of_box: u32) -> Result<Self, StoreError> {
        Ok(Self {
            here: boxes::received(tx, number, of_box)?,
            lost: boxes::lost(tx, number, of_box)?,
        })
    }
}

impl From<boxes::Received> for Room {
    fn from(here: boxes::Received) -> Self {
        Self {
            here,
            lost: boxes::Lost::default(),
        }
    }
}

/// Why a box takes no more of what is counted as `counted`, if so. Of what is lost nobody knows the channel: it counts among all ballots.
pub(super) fn no_room(of_box: BoxId, room: &Room, counted: Counted, capacity: Capacity) -> Option<Refusal> {
    let here = &room.here;
    let (online, stations) = (here.online, here.station + here.paper);
    let ballots = online + stations + room.lost.ballots;
    let (what, here, most) = match counted {
        Counted::Record => {
            let records = here.records + room.lost.records;
            ("credential records", records, capacity.records)
        }
        Counted::Ballot(_) if room.lost.ballots > 0 && ballots >= capacity.ballots() => {
            ("ballots", ballots, capacity.ballots())
        }
        Counted::Ballot(ChannelKind::Online) => ("online ballots", online, capacity.online),
        Counted::Ballot(ChannelKind::Station | ChannelKind::Paper) => {
            ("ballots of stations", stations, capacity.stations)
        }
    };
    (here >= most).then(|| {
        Refusal::new(
            Reason::BoxFull,
            format_args!("box {of_box} holds {here} {what}, as many as can be sealed and published"),
        )
    })
}

/// What became of another party's receipt.
enum Placed {
    /// It will be on disk.
    Stored,
    /// What it is for is not here.
    Early(Delivered),
    /// It is no acceptance in time.
    Untimely(Delivered),
}

#[cfg(test)]
mod tests {
    use tally_proto::ids::{Hash32, UnixSeconds};

    use super::*;
    use crate::store::sim::SimDisk;
    use crate::store::{Storage, Store};

    #[test]
    fn the_room_of_a_box_is_found_without_a_look_at_what_is_lost() {
        let disk = SimDisk::new();
        let open = |cache| {
            let storage = Storage::Backend(Box::new(disk.clone()));
            Store::open_with_cache(storage, 1, cache).expect("opens")
        };
        let entry = |i: u32| {
            LogEntry::Accepted(log_entry::Accepted {
                record: i.is_multiple_of(4),
                of_box: BoxId(1 + i % 2),
                digest: Digest(Hash32::of(&i.to_be_bytes()).0),
                ciphertext_hash: Hash32([1; 32]),
                received_at: UnixSeconds(1),
            })
        };
        let store = open(1 << 26);
        let entries: Vec<_> = (0..20_000).map(entry).collect();
        let written = store.write(|tx| {
            log::append_all(tx, 1, &entries)?;
            (0..20_000).try_for_each(|position| log::put_lost(tx, 1, position))
        });
        written.expect("written");
        drop(store);
        // Nothing is kept in memory, so every page that is looked at is read.
        let store = open(0);
        let before = disk.reads();
        let room = store.read(|tx| Room::of(tx, 1, 1)).expect("read");
        assert_eq!((room.lost.ballots, room.lost.records), (5_000, 5_000));
        let read = disk.reads() - before;
        assert!((1..40).contains(&read), "{read} pages");
        let before = disk.reads();
        store.read(|tx| log::lost(tx, 1)).expect("read");
        assert!(
            disk.reads() - before > 40,
            "the positions themselves are many pages"
        );
    }
}
