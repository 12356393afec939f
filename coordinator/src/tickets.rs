//! Tickets at the coordinator: the secret key of each day, who may draw, and who has drawn how often.
//!
//! ```text
//! elections/<id>/
//!   ticket-keys/<day_s>       secret: PKCS#8, one RSA key a day of the online channel
//!   draw-hashes               CSV (box, index, hash): what the first registrar hands over of its draw codes, at first and with every re-issue
//!   draw-cards                draw codes that voters' cards stand for: see `cards`
//!   draws                     records of 40 bytes: box, index, SHA-256 of a request that was answered
//!   draw-grants               lines "box,index": one more draw each, by order of the commission
//! ```
//!
//! A voter has one allowance, whichever and however many draw codes the voter has. On an open roll the place of `draws` and `draw-grants` is the
//! voter's account in `draw-cards`.
//!
//! The coordinator knows who drew, when and how often, and nothing of the tickets: they are blinded. It holds hashes of draw codes only, so its
//! disk lets nobody draw. A request that was answered is answered again with the same bytes, however often it comes: a lost answer costs no
//! draw. A draw is on disk before its answer leaves.

mod cards;
mod records;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use tally_proto::card::{CardError, ListDirectory};
use tally_proto::ids::{BoxId, Hash32, UnixSeconds, VoterIndex};
use tally_proto::layout::{Writer, tag};
use tally_proto::manifest::SignedManifest;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::ticket::{DrawCode, RSA_BYTES, TicketSigner, Ticketing};
use tally_proto::{secret_file, wire};
use zeroize::{Zeroize as _, Zeroizing};

use cards::{CardDesk, MOST_CODES};
use records::Records;

use crate::directory::Election;
use crate::error::{Error, StoredProblem};
use crate::files::{self, FileError};

/// First line of a file of draw hashes.
pub const HASHES_HEADER: &str = "box,index,hash";
const KEYS: &str = "ticket-keys";
const HASHES: &str = "draw-hashes";
const DRAWS: &str = "draws";
const GRANTS: &str = "draw-grants";

/// Largest file of hashes.
const MAX_HASHES_BYTES: u64 = 1 << 32;

/// A voter: box and place on the roll, or account of an open roll.
type Voter = (u32, u32);
/// By voter the hashes of the draw codes that came by letter: one of every issue.
type Hashes = HashMap<Voter, Vec<Hash32>>;

/// Makes one key for each of `days` (Unix seconds of their beginnings).
///
/// # Errors
/// [`Error::TicketKeys`].
pub fn generate(days: &[u64], rng: &mut impl CryptoRng) -> Result<Vec<(UnixSeconds, TicketSigner)>, Error> {
    days.iter()
        .map(|day| {
            Ok((
                UnixSeconds(*day),
                TicketSigner::generate(rng).map_err(Error::TicketKeys)?,
            ))
        })
        .collect()
}

/// Stores the keys of an election that is being defined.
pub(crate) fn store_keys(election: &Path, keys: &[(UnixSeconds, TicketSigner)]) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let directory = election.join(KEYS);
    files::directory(&directory)?;
    for (day, signer) in keys {
        let place = directory.join(day.get().to_string());
        // Left over from a definition that was interrupted: no manifest names it.
        if place.exists() {
            std::fs::remove_file(&place).map_err(FileError::of(&place, "remove"))?;
        }
        secret_file::create(&place, &signer.to_der().map_err(Error::TicketKeys)?)?;
    }
    Ok(())
}

/// Takes over a registrar's file of draw hashes: checked, then kept beside what was there. A registrar hands over one file when it issues, and one of
/// a line with each re-issue; a code never stops being good, so a file that comes again changes nothing. Answers how many voters may draw.
///
/// # Errors
/// [`Error::NoTickets`], a file that cannot be read or whose line is none.
pub fn admit(election: &Election, from: &Path) -> Result<usize, Error> {
    ticketing(election)?;
    let mut voters = HashSet::new();
    let new = parse_hashes(from, &files::read(from, MAX_HASHES_BYTES)?)?;
    for (line, (voter, _)) in (2..).zip(&new) {
        // Of one issue a voter has one code.
        if !voters.insert(*voter) {
            return Err(Error::DrawHashes {
                path: from.to_path_buf(),
                line,
            });
        }
    }
    let place = election.path().join(HASHES);
    let mut all = match place.exists() {
        true => parse_hashes(&place, &files::read(&place, MAX_HASHES_BYTES)?)?,
        false => Vec::new(),
    };
    let known: HashSet<(Voter, Hash32)> = all.iter().copied().collect();
    all.extend(new.into_iter().filter(|line| !known.contains(line)));
    let mut csv = format!("{HASHES_HEADER}\n");
    for ((of_box, index), hash) in &all {
        csv.push_str(&format!("{of_box},{index},{hash}\n"));
    }
    files::replace(&place, csv.as_bytes())?;
    Ok(all.iter().map(|(voter, _)| voter).collect::<HashSet<_>>().len())
}

/// One more draw, and one more draw code, for a voter, by order of the commission.
///
/// # Errors
/// [`Error::NoTickets`], [`Error::UnknownVoter`], [`Error::NoDrawCode`], failures to write.
pub fn grant(election: &Election, reference: &str) -> Result<(), Error> {
    ticketing(election)?;
    let (of_box, voter) = if election.signed().manifest().open_box().is_some() {
        let account = cards::account_of(election, reference)?;
        account.ok_or_else(|| Error::NoDrawCode(reference.to_owned()))?
    } else {
        let (of_box, voter) = election.find(reference)?;
        (of_box.get(), voter.get())
    };
    let place = election.path().join(GRANTS);
    add_grant(&place, (of_box, voter)).map_err(FileError::of(&place, "add to"))?;
    Ok(files::sync_parent(&place)?)
}

/// One more line, in place of what an earlier write has left unfinished.
fn add_grant(place: &Path, (of_box, voter): Voter) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(place)?;
    // Two commands at once add two lines.
    file.lock()?;
    let mut lines = Vec::new();
    file.read_to_end(&mut lines)?;
    let whole = whole_lines(&lines).len() as u64;
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    file.write_all(format!("{of_box},{voter}\n").as_bytes())?;
    file.sync_all()
}

/// Up to the last line end: what follows it was never finished, and nobody was told that it was.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    end.map_or(&[], |end| &bytes[..=end])
}

fn ticketing(election: &Election) -> Result<&Ticketing, Error> {
    let manifest = election.signed().manifest();
    manifest.ticketing().ok_or_else(|| Error::NoTickets {
        election: manifest.election().clone(),
    })
}

/// The lines of a file of hashes, in order.
fn parse_hashes(place: &Path, bytes: &[u8]) -> Result<Vec<(Voter, Hash32)>, Error> {
    let wrong = |line: usize| Error::DrawHashes {
        path: place.to_path_buf(),
        line,
    };
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(1))?;
    let mut lines = (1..).zip(text.lines());
    if lines.next().map(|(_, header)| header) != Some(HASHES_HEADER) {
        return Err(wrong(1));
    }
    let parsed = lines.map(|(number, line)| {
        let mut fields = line.split(',');
        let (of_box, index, hash) = (fields.next(), fields.next(), fields.next());
        let parsed = (|| {
            let hash = data_encoding::HEXLOWER.decode(hash?.as_bytes()).ok()?;
            let voter = (of_box?.parse().ok()?, index?.parse().ok()?);
            Some((voter, Hash32::from_slice(&hash).ok()?))
        })();
        parsed
            .filter(|_| fields.next().is_none())
            .ok_or_else(|| wrong(number))
    });
    parsed.collect()
}

/// Everything that answers draws of one election.
#[derive(Debug)]
pub struct Desk {
    path: PathBuf,
    manifest: Arc<SignedManifest>,
    signers: Vec<TicketSigner>,
    surplus: Zeroizing<[u8; 32]>,
    /// Where voters enrol by card.
    cards: Option<CardDesk>,
    book: Mutex<Book>,
    latest: Mutex<VecDeque<(Voter, Hash32, wire::DrawReply)>>,
    /// By voter; whether it is one that was answered before.
    under_way: Mutex<HashSet<(Voter, bool)>>,
}

/// Most further draws that a voter has beyond those of the manifest, and most further codes beyond [`MOST_CODES`].
const MOST_SURPLUS: u64 = 8;
/// So many answers are kept in memory for devices that lost one.
const KEPT_ANSWERS: usize = 64;

/// A request of a voter whose code is right.
#[derive(Debug)]
pub enum Admitted {
    /// It was answered a moment ago.
    Answered(wire::DrawReply),
    /// It is to be signed: see [`UnderWay::draw`].
    Due(UnderWay),
}

/// A draw that is being signed: of each voter one new one at a time, and beside it one that was answered before.
#[derive(Debug)]
pub struct UnderWay {
    desk: Arc<Desk>,
    voter: Voter,
    asked: Hash32,
    is_again: bool,
}

impl UnderWay {
    /// Whether this request was answered before. Such cost no draw, so that anybody with a code can send them without end: they wait for each
    /// other and not before new ones.
    pub fn is_again(&self) -> bool {
        self.is_again
    }

    /// Answers the draw, which was admitted with this same request. Blocks: it signs the whole allowance, about two milliseconds a ticket.
    ///
    /// # Errors
    /// `draw.exhausted`, `message.malformed`, `internal`.
    pub fn draw(&self, request: &wire::DrawRequest) -> Result<wire::DrawReply, Refusal> {
        let Self {
            desk, voter, asked, ..
        } = self;
        let ticketing = desk.ticketing()?;
        let signatures = desk.sign(&request.blinded, ticketing)?;
        let mut book = desk.book();
        // Again: nothing is noted that could not be signed.
        if desk.may_draw(&book, *voter, *asked, ticketing)? {
            book.note(*voter, *asked).map_err(|error| {
                tracing::error!(%error, "a draw cannot be written down");
                Refusal::new(Reason::Internal, "the draw cannot be written down here")
            })?;
        }
        let reply = wire::DrawReply { signatures };
        let mut latest = desk.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() == KEPT_ANSWERS {
            latest.pop_front();
        }
        latest.push_back((*voter, *asked, reply.clone()));
        Ok(reply)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = self.desk.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.remove(&(self.voter, self.is_again));
    }
}

#[derive(Debug)]
struct Book {
    records: Records<1>,
    answered: HashMap<Voter, Vec<Hash32>>,
    /// The hashes, and the file that they were read from.
    hashes: Option<(SystemTime, u64, Hashes)>,
}

impl Desk {
    /// Opens the election's keys and its books; `None` for an election without tickets. `lists`: revocation lists of cards.
    ///
    /// # Errors
    /// Files that are missing, exposed or damaged.
    pub fn open(election: &Election, lists: Arc<ListDirectory>) -> Result<Option<Self>, Error> {
        let signed = election.signed();
        let Some(ticketing) = signed.manifest().ticketing() else {
            return Ok(None);
        };
        let path = election.path().to_path_buf();
        let mut signers = Vec::with_capacity(ticketing.keys().len());
        let mut surplus = Sha256::new_with_prefix(tag::SURPLUS);
        for key in ticketing.keys() {
            let place = path.join(KEYS).join(key.day().get().to_string());
            let der = secret_file::read(&place)?;
            surplus.update(&*der);
            let signer = TicketSigner::from_der(&der).map_err(Error::TicketKeys)?;
            if signer.key_of(key.day()) != *key {
                return Err(Error::Stored {
                    path: place,
                    problem: StoredProblem::Damaged,
                });
            }
            signers.push(signer);
        }
        let book = Book::open(&path.join(DRAWS)).map_err(FileError::of(&path.join(DRAWS), "open"))?;
        Ok(Some(Self {
            manifest: Arc::new(signed.clone()),
            signers,
            surplus: Zeroizing::new(surplus.finalize().into()),
            cards: CardDesk::open(election, lists)?,
            book: Mutex::new(book),
            latest: Mutex::default(),
            under_way: Mutex::default(),
            path,
        }))
    }

    /// Checks who asks, before any of the machine's time is spent on it.
    ///
    /// # Errors
    /// `draw.not-ready`, `draw.refused`, `draw.exhausted`, `message.malformed`, `internal`; `party.busy`: another draw of the voter is under way.
    pub fn admit(self: &Arc<Self>, request: &wire::DrawRequest) -> Result<Admitted, Refusal> {
        let voter = self.identify((request.r#box, request.v), &request.code)?;
        let ticketing = self.ticketing()?;
        let expected = ticketing.drawn();
        if request.blinded.len() != expected || request.blinded.iter().any(|b| b.len() != RSA_BYTES) {
            return Err(Refusal::new(
                Reason::MessageMalformed,
                format_args!("a draw of this election has {expected} blinded messages of {RSA_BYTES} bytes"),
            ));
        }
        let mut hash = Sha256::new();
        request.blinded.iter().for_each(|blinded| hash.update(blinded));
        let asked = Hash32(hash.finalize().into());
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, reply)) = latest.iter().find(|(of, was, _)| (*of, *was) == (voter, asked)) {
            return Ok(Admitted::Answered(reply.clone()));
        }
        drop(latest);
        // Nothing is signed for a voter who has no draw left.
        let is_again = !self.may_draw(&self.book(), voter, asked, ticketing)?;
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if !under_way.insert((voter, is_again)) {
            return Err(Refusal::new(
                Reason::PartyBusy,
                "another draw of this voter is under way; try again in a minute",
            ));
        }
        Ok(Admitted::Due(UnderWay {
            desk: Arc::clone(self),
            voter,
            asked,
            is_again,
        }))
    }

    /// Takes a statement of a voter's card: from then on the draw code that it is of is one of that voter's. The same again changes nothing.
    ///
    /// # Errors
    /// Why the card or its statement is refused; `draw.too-many-codes`, `roll.full`, `internal`.
    pub fn admit_code(&self, statement: &[u8], now: UnixSeconds) -> Result<(), Refusal> {
        let Some(cards) = &self.cards else {
            let error = CardError::NoRegister;
            return Err(Refusal::new(error.reason(), error));
        };
        let most = |voter| Ok(MOST_CODES + self.hidden(tag::CODE_SURPLUS, voter) + self.grants(voter)?);
        cards.admit(&self.manifest, statement, now, most)
    }

    fn ticketing(&self) -> Result<&Ticketing, Refusal> {
        self.manifest.manifest().ticketing().ok_or_else(refused)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose the code is, which must be that voter's. Who is not on the list is answered like a wrong code, and where a code comes from makes no
    /// difference to what follows.
    fn identify(&self, voter: Voter, code: &[u8]) -> Result<Voter, Refusal> {
        let code =
            DrawCode::from_slice(code).map_err(|error| Refusal::new(Reason::MessageMalformed, error))?;
        let by_card = code.hash_for_card(&self.manifest.hash());
        if let Some(voter) = self
            .cards
            .as_ref()
            .and_then(|cards| cards.holder(voter, &by_card))
        {
            return Ok(voter);
        }
        // Nobody hands any over.
        if self.manifest.manifest().registrars().is_empty() {
            return Err(refused());
        }
        let shown = code.hash(&self.manifest.hash(), BoxId(voter.0), VoterIndex(voter.1));
        let mut book = self.book();
        let hashes = book.hashes(&self.path.join(HASHES)).map_err(|error| {
            tracing::error!(%error, "draw hashes cannot be read");
            Refusal::new(Reason::Internal, "the draw codes cannot be read here")
        })?;
        let Some(hashes) = hashes else {
            return Err(Refusal::new(
                Reason::DrawNotReady,
                "the registrar's draw codes are not here yet",
            ));
        };
        // A hash of eighty random bits: comparing it tells nothing about the code.
        if hashes.get(&voter).is_some_and(|codes| codes.contains(&shown)) {
            Ok(voter)
        } else {
            Err(refused())
        }
    }

    /// Whether this is a new draw; not where it was answered before.
    fn may_draw(&self, book: &Book, voter: Voter, asked: Hash32, of: &Ticketing) -> Result<bool, Refusal> {
        let answered = book.answered.get(&voter).map_or(&[][..], Vec::as_slice);
        if answered.contains(&asked) {
            return Ok(false);
        }
        let allowed = of.draws() as usize + self.surplus(voter);
        if answered.len() < allowed || answered.len() < allowed + self.grants(voter)? {
            return Ok(true);
        }
        Err(Refusal::new(
            Reason::DrawExhausted,
            "the voter's draws are used up; the tickets of earlier draws stay good on the devices that drew them",
        ))
    }

    /// How many more draws this voter has than the manifest says: 0 to [`MOST_SURPLUS`], always the same, known to nobody else. So whoever uses a
    /// voter's draws up learns little of how often the voter has drawn elsewhere.
    fn surplus(&self, voter: Voter) -> usize {
        self.hidden(tag::SURPLUS, voter)
    }

    /// A number from 0 to [`MOST_SURPLUS`] of that voter.
    fn hidden(&self, of: &str, (of_box, v): Voter) -> usize {
        let layout = Writer::new(of).fixed(&self.surplus).u32(of_box).u32(v);
        let Hash32(hash) = layout.sha256();
        layout.finish().zeroize();
        let mut number = [0; 8];
        number.copy_from_slice(&hash[..8]);
        (u64::from_be_bytes(number) % (MOST_SURPLUS + 1)) as usize
    }

    fn grants(&self, (of_box, v): Voter) -> Result<usize, Refusal> {
        let due = format!("{of_box},{v}");
        let lines = match std::fs::read(self.path.join(GRANTS)) {
            Ok(lines) => lines,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::error!(%error, "the grants of further draws cannot be read");
                return Err(Refusal::new(Reason::Internal, "the grants cannot be read here"));
            }
        };
        let lines = whole_lines(&lines).split(|byte| *byte == b'\n');
        Ok(lines.filter(|line| *line == due.as_bytes()).count())
    }

    fn sign(&self, blinded: &[Vec<u8>], ticketing: &Ticketing) -> Result<Vec<Vec<u8>>, Refusal> {
        let days = blinded.chunks(ticketing.per_day() as usize).zip(&self.signers);
        days.flat_map(|(day, signer)| day.iter().map(|blinded| signer.sign(blinded)))
            .collect::<Result<_, _>>()
            .map_err(|error| Refusal::new(error.reason(), error))
    }
}

fn refused() -> Refusal {
    Refusal::new(
        Reason::DrawRefused,
        "the draw code is not that voter's; the one of the invitation is, and who enrolled by card registers it with `client draw-code`",
    )
}

impl Book {
    fn open(path: &Path) -> std::io::Result<Self> {
        let mut answered: HashMap<Voter, Vec<Hash32>> = HashMap::new();
        let records = Records::open(path, |(voter, [asked])| {
            answered.entry(voter).or_default().push(asked);
        })?;
        Ok(Self {
            records,
            answered,
            hashes: None,
        })
    }

    fn note(&mut self, voter: Voter, asked: Hash32) -> std::io::Result<()> {
        self.records.append(voter, [asked])?;
        self.answered.entry(voter).or_default().push(asked);
        Ok(())
    }

    /// The hashes as they stand, read again when the file was replaced; `None` before there are any.
    fn hashes(&mut self, path: &Path) -> Result<Option<&Hashes>, Error> {
        let Ok(meta) = std::fs::metadata(path) else {
            return Ok(None);
        };
        let is = (meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len());
        if self
            .hashes
            .as_ref()
            .is_none_or(|(at, length, _)| (*at, *length) != is)
        {
            let mut hashes = Hashes::new();
            for (voter, hash) in parse_hashes(path, &files::read(path, MAX_HASHES_BYTES)?)? {
                hashes.entry(voter).or_default().push(hash);
            }
            self.hashes = Some((is.0, is.1, hashes));
        }
        Ok(self.hashes.as_ref().map(|(_, _, hashes)| hashes))
    }
}

#[cfg(test)]
pub(crate) mod tests;
