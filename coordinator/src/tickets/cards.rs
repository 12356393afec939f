//! Draw codes that cards stand for: whose they are, and how many a person may have.
//!
//! A voter's card states the hash of a draw code ([`DrawStatement`]). What the parties check of a record's card is checked here by the same code: chain,
//! purpose, times, revocation, and the person on the roll. The hash is then one more draw code of that person, beside those of before and the one
//! that a registrar may have handed over. All of them draw from one allowance, and none ever stops being good: whoever was given one and asks with it
//! later sees nothing of a newer one.
//!
//! ```text
//! elections/<id>/draw-cards     records of 72 bytes: box, account, code of the person, hash of the draw code
//! account                       closed roll: the voter's number. Open roll: 0, 1, 2 ... as persons come here first; the roll's numbers are the
//!                               parties' business, and a draw there names none
//! ```
//!
//! On an open roll the hash alone says whose draw it is, so there it is one person's, the first's.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tally_proto::card::{
    CardError, DrawStatement, ListDirectory, MAX_STATEMENT_BYTES, RevocationList, Salt, check_revocation,
};
use tally_proto::ids::{BoxId, Hash32, UnixSeconds};
use tally_proto::manifest::{Manifest, Register, SignedManifest};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;

use super::Voter;
use super::records::Records;
use crate::directory::{Election, roll_at};
use crate::error::Error;
use crate::files::{self, FileError};

/// Draw codes of one person, beside a few more that nobody else knows of. Each comes of an enrolment, or of a device that was lost.
pub(super) const MOST_CODES: usize = 24;
const FILE: &str = "draw-cards";
/// So many statements are known again without looking at their signatures.
const KEPT: usize = 64;

/// By the code of a person: where that voter is on a closed roll, and whether online.
type Places = HashMap<Hash32, (Voter, bool)>;

/// Takes statements of cards, in an election where voters enrol.
#[derive(Debug)]
pub(super) struct CardDesk {
    path: PathBuf,
    salt: Salt,
    lists: Arc<ListDirectory>,
    /// Read at the first statement.
    places: Mutex<Option<Arc<Places>>>,
    book: Mutex<CodeBook>,
    recent: Mutex<VecDeque<Hash32>>,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn card_refused(error: CardError) -> Refusal {
    Refusal::new(error.reason(), error)
}

fn failed(error: &dyn std::fmt::Display, what: &'static str) -> Refusal {
    tracing::error!(%error, "{what}");
    Refusal::new(Reason::Internal, what)
}

impl CardDesk {
    /// Of an election; `None` where nobody enrols.
    ///
    /// # Errors
    /// Files that are missing or damaged.
    pub(super) fn open(election: &Election, lists: Arc<ListDirectory>) -> Result<Option<Self>, Error> {
        let Some(salt) = election.salt()? else {
            return Ok(None);
        };
        let path = election.path().to_path_buf();
        let is_open = election.signed().manifest().open_box().is_some();
        let place = path.join(FILE);
        let book = CodeBook::open(&place, is_open).map_err(FileError::of(&place, "open"))?;
        Ok(Some(Self {
            path,
            salt,
            lists,
            places: Mutex::default(),
            book: Mutex::new(book),
            recent: Mutex::default(),
        }))
    }

    /// Takes a statement, and has its hash on disk when it returns. `most`: how many codes the person of an account may have.
    ///
    /// # Errors
    /// The card's own reasons, `election.other`, `voter.station-only`, `draw.too-many-codes`, `draw.refused`: on an open roll the code is somebody
    /// else's; `roll.full`, `internal`.
    ///
    /// # Security
    /// Whether somebody is on the roll is told only after their card's signature was checked. What is known already is answered like what is new.
    pub(super) fn admit(
        &self,
        signed: &SignedManifest,
        statement: &[u8],
        now: UnixSeconds,
        most: impl Fn(Voter) -> Result<usize, Refusal>,
    ) -> Result<(), Refusal> {
        let manifest = signed.manifest();
        let register = manifest
            .register()
            .ok_or_else(|| card_refused(CardError::NoRegister))?;
        if statement.len() > MAX_STATEMENT_BYTES {
            return Err(Refusal::new(
                Reason::MessageTooLarge,
                format_args!("a card's statement has at most {MAX_STATEMENT_BYTES} bytes"),
            ));
        }
        // Taken before: it changes nothing, so nothing is spent on it.
        let known = Hash32::of(statement);
        if held(&self.recent).contains(&known) {
            return Ok(());
        }
        let statement = DrawStatement::decode(statement).map_err(card_refused)?;
        let holder = statement
            .check(register, &signed.hash(), now)
            .map_err(card_refused)?;
        let lists = self.lists(register);
        check_revocation(lists.iter().map(|list| &**list), &holder, now).map_err(card_refused)?;
        let person = self.salt.person(&holder.said);
        let code = statement.terms().code;
        match manifest.open_box() {
            None => {
                let places = self.places(manifest)?;
                let (voter, online) = *places
                    .get(&person)
                    .ok_or_else(|| card_refused(CardError::NotOnRoll))?;
                if !online {
                    return Err(Refusal::new(
                        Reason::VoterStationOnly,
                        "the roll says that this voter votes at a station, not online",
                    ));
                }
                held(&self.book).admit(voter, person, code, most(voter)?)?;
            }
            Some(of_box) => {
                let mut book = held(&self.book);
                let voter = book.account(of_box.id(), &person, of_box.voters())?;
                if book.holders.get(&code).is_some_and(|other| *other != voter) {
                    return Err(Refusal::new(
                        Reason::DrawRefused,
                        "another person's card stands for this draw code; register a new one",
                    ));
                }
                book.admit(voter, person, code, most(voter)?)?;
            }
        }
        let mut recent = held(&self.recent);
        if recent.len() == KEPT {
            recent.pop_front();
        }
        recent.push_back(known);
        Ok(())
    }

    /// Whose draw it is, if a card stands for a draw code with that hash. On a closed roll the code must be that voter's, as any draw code.
    pub(super) fn holder(&self, voter: Voter, code: &Hash32) -> Option<Voter> {
        let book = held(&self.book);
        if book.is_open {
            return book.holders.get(code).copied();
        }
        let codes = book.codes.get(&voter)?;
        codes.contains(code).then_some(voter)
    }

    fn lists(&self, register: &Register) -> Vec<Arc<RevocationList>> {
        self.lists.lists(register, |path, read| match read {
            Ok(list) => {
                tracing::info!(path = %path.display(), revoked = list.len(), until = %list.next_update(), "revocation list read");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), register = %register.id(), error, "no revocation list of this register");
            }
        })
    }

    fn places(&self, manifest: &Manifest) -> Result<Arc<Places>, Refusal> {
        let mut places = held(&self.places);
        if let Some(places) = &*places {
            return Ok(Arc::clone(places));
        }
        let roll =
            roll_at(&self.path, manifest).map_err(|error| failed(&error, "the roll cannot be read here"))?;
        let mut read = Places::new();
        for of_box in manifest.boxes() {
            let id = of_box.id().get();
            for (v, voter) in (0..).zip(roll.voters(id)) {
                read.extend(voter.codes.iter().map(|code| (*code, ((id, v), voter.online))));
            }
        }
        let read = Arc::new(read);
        *places = Some(Arc::clone(&read));
        Ok(read)
    }
}

/// The account of a person of an open roll, if the person's card ever stood for a draw code.
///
/// # Errors
/// Failures to read.
pub(super) fn account_of(election: &Election, said: &str) -> Result<Option<Voter>, Error> {
    let place = election.path().join(FILE);
    let Some(salt) = election.salt()?.filter(|_| place.exists()) else {
        return Ok(None);
    };
    let person = salt.person(said);
    let records = files::read(&place, 1 << 36)?;
    let found = Records::read(&records).find(|(_, [of, _])| *of == person);
    Ok(found.map(|(voter, _)| voter))
}

#[derive(Debug)]
struct CodeBook {
    records: Records<2>,
    is_open: bool,
    /// By account.
    codes: HashMap<Voter, Vec<Hash32>>,
    /// Of an open roll: the account of a person, and of a code.
    persons: HashMap<Hash32, Voter>,
    holders: HashMap<Hash32, Voter>,
}

impl CodeBook {
    fn open(path: &Path, is_open: bool) -> std::io::Result<Self> {
        let mut kept = Vec::new();
        let records = Records::open(path, |record| kept.push(record))?;
        let mut book = Self {
            records,
            is_open,
            codes: HashMap::new(),
            persons: HashMap::new(),
            holders: HashMap::new(),
        };
        for (voter, [person, code]) in kept {
            book.keep(voter, person, code);
        }
        Ok(book)
    }

    fn keep(&mut self, voter: Voter, person: Hash32, code: Hash32) {
        self.codes.entry(voter).or_default().push(code);
        if self.is_open {
            self.persons.insert(person, voter);
            self.holders.insert(code, voter);
        }
    }

    /// The account of a person of an open roll, or the next one; there are no more of them than the roll can have voters.
    fn account(&self, of_box: BoxId, person: &Hash32, most: u32) -> Result<Voter, Refusal> {
        if let Some(voter) = self.persons.get(person) {
            return Ok(*voter);
        }
        match u32::try_from(self.persons.len()) {
            Ok(next) if next < most => Ok((of_box.get(), next)),
            _ => Err(Refusal::new(
                Reason::RollFull,
                format_args!("the open roll of box {of_box} has {most} voters, and can have no more"),
            )),
        }
    }

    fn admit(&mut self, voter: Voter, person: Hash32, code: Hash32, most: usize) -> Result<(), Refusal> {
        let codes = self.codes.get(&voter).map_or(&[][..], Vec::as_slice);
        if codes.contains(&code) {
            return Ok(());
        }
        if codes.len() >= most {
            return Err(Refusal::new(
                Reason::DrawCodes,
                "so many draw codes were registered with this person's card that no further one is taken; those that are there stay good",
            ));
        }
        self.records
            .append(voter, [person, code])
            .map_err(|error| failed(&error, "the draw code cannot be written down here"))?;
        self.keep(voter, person, code);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
