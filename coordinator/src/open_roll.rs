//! Who is on an open roll, as the parties have it: for stations, which look voters up, and for orders that name one.
//!
//! Each party signs number and name of everybody whose record it accepted ([`tally_proto::open_roll`]). Who is in is whom two of them name alike; a party
//! that does not answer, or does not have what the two others have, is named and keeps nobody off the list. What one party may tell has an end: half a
//! minute for a part, a quarter of an hour in all, no more names than the roll may hold, and so many bytes a name.
//!
//! ```text
//! elections/<id>/open-roll.tsv      the list with the parties' heads, as stations read it; replaced each time
//! ```
//!
//! The file holds what personal codes or names the cards have. It is for the commission and its stations, and only its owner can read it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use prost::Message as _;
use tally_proto::envelope::PublicKey;
use tally_proto::ids::{BoxId, Role, RoleExt as _, VoterIndex};
use tally_proto::open_roll::{Head, MAX_BYTES, OpenRollError, OpenRollList, Subject, Told};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::{secret_file, wire};

use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::directory::{Directory, Election};
use crate::error::{Error, StoredProblem};
use crate::files::{self, FileError};
use crate::parties::{Parties, Party, PartyError, Patience};
use crate::progress::Progress;

/// How long one part of what a party tells may take.
const PART: Duration = Duration::from_secs(30);
/// How long all of it may take.
const IN_ALL: Duration = Duration::from_secs(15 * 60);
/// Bytes that a party may tell, beside [`NAME_BYTES`] for each voter whom the roll may hold.
const BYTES: u64 = 1 << 20;
/// Bytes for a name with its number.
const NAME_BYTES: u64 = 1 << 10;

/// An open roll as it is now.
#[derive(Debug)]
pub struct Fetched {
    /// Whom two parties name alike, with their signatures.
    pub list: OpenRollList,
    /// The party whose signature is missing, and why.
    pub without: Option<PartyError>,
}

impl Fetched {
    /// What is to be said of it, a sentence each; `name` gives a party's.
    pub fn in_words(&self, name: impl Fn(Role) -> String) -> Vec<String> {
        let mut said = Vec::new();
        if let Some(error) = &self.without {
            said.push(format!(
                "Without the signature of {error} Stations take the list all the same: two parties have signed every line of it. But whom one of these two leaves out is not on it: fetch it again \
                     when the third answers"
            ));
        }
        for role in Role::ALL {
            let missing = self.list.missing_at(role);
            if let Some(first) = missing.first() {
                said.push(format!(
                    "{} does not have {} of them, or has somebody else under their numbers (the first: {first}). They are on the list, as both others have \
                     them; if it stays so a minute later, ask that party's operators: what it does not have does not count",
                    name(role),
                    missing.len()
                ));
            }
        }
        match self.list.unfinished() {
            0 => {}
            count => said.push(format!(
                "{count} enrolments were begun and not finished: one party alone has them, and they do not count"
            )),
        }
        for v in self.list.differing() {
            said.push(format!(
                "Number {v}: each party that has it names somebody else. P1 gives the numbers and breaks the protocol, or two others do: tell their operators"
            ));
        }
        said
    }
}

/// Fetches the roll from the parties and keeps it, if two of them have signed theirs.
///
/// # Errors
/// [`Error::NoOpenRoll`], [`Error::Parties`]: fewer than two answered with what holds; failures to write.
pub async fn fetch(
    directory: &Directory,
    election: &Election,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<Fetched, Error> {
    let of_box = open_box(election)?;
    let parties = election.parties(directory)?;
    let manifest = election.signed().manifest();
    let of = Subject {
        election: manifest.election(),
        of_box,
    };
    let asked = Asked {
        of,
        keys: manifest.party_keys(),
        most: manifest.ballot_box(of_box).map_or(0, |found| found.voters()),
        patience,
    };
    let ask = async |party: &Party| {
        let roll = wire::BoxRef {
            election: of.election.as_str().to_owned(),
            r#box: of.of_box.get(),
        };
        Ok(party.control().open_roll(roll).await?.into_inner())
    };
    let fetched = asked.of_all(&parties, progress, ask).await;
    let fetched = fetched.map_err(Error::Parties)?;
    let path = file(election);
    let new = path.with_extension("new");
    if new.exists() {
        std::fs::remove_file(&new).map_err(FileError::of(&new, "remove"))?;
    }
    secret_file::create(&new, fetched.list.encode(of).as_bytes())?;
    std::fs::rename(&new, &path).map_err(FileError::of(&path, "replace"))?;
    files::sync_parent(&path)?;
    Ok(fetched)
}

/// What the parties are asked, and what is taken of each.
struct Asked<'a> {
    of: Subject<'a>,
    keys: [PublicKey; 3],
    /// Voters whom the roll may hold.
    most: u32,
    patience: Patience,
}

impl Asked<'_> {
    /// The list of what all of them tell that answer, each on `ask`.
    async fn of_all<S: Stream<Item = Result<wire::OpenRollPart, Status>>>(
        &self,
        parties: &Parties,
        progress: &dyn Progress,
        ask: impl AsyncFn(&Party) -> Result<S, Status>,
    ) -> Result<Fetched, Vec<PartyError>> {
        let (mut told, mut failed) = (Vec::with_capacity(3), Vec::new());
        let of_party = async |party: &Party| self.of_party(party, progress, &ask).await;
        for outcome in parties.at_once(of_party).await {
            told.push(outcome.map_err(|error| failed.push(error)).ok());
        }
        let told: [Option<Told>; 3] = told.try_into().unwrap_or_default();
        let Ok(list) = OpenRollList::join(told) else {
            return Err(failed);
        };
        let without = failed.pop();
        Ok(Fetched { list, without })
    }

    async fn of_party<S: Stream<Item = Result<wire::OpenRollPart, Status>>>(
        &self,
        party: &Party,
        progress: &dyn Progress,
        ask: &impl AsyncFn(&Party) -> Result<S, Status>,
    ) -> Result<Told, PartyError> {
        // However often it is tried, and however patient the commission is.
        let end = Instant::now() + IN_ALL;
        let patience = Patience(self.patience.0.min(IN_ALL));
        let told = party.call(patience, progress, async || {
            let (entries, head) = self.collect(ask(party), end).await?;
            let malformed = |what: &dyn std::fmt::Display| Refusal::new(Reason::MessageMalformed, what);
            let head = Head::from_wire(&head)
                .ok_or_else(|| malformed(&"the open roll has no head with a signature"))?;
            let key = &self.keys[party.role().slot()];
            let told = Told::new(self.of, party.role(), key, entries, head);
            Ok(told.map_err(|error: OpenRollError| malformed(&error))?)
        });
        told.await
    }

    /// Number and name of everybody, and the head, which comes last.
    async fn collect<S: Stream<Item = Result<wire::OpenRollPart, Status>>>(
        &self,
        parts: impl Future<Output = Result<S, Status>>,
        end: Instant,
    ) -> Result<(Vec<(u32, String)>, wire::OpenRollHead), Status> {
        let malformed = |what: &str| Refusal::new(Reason::MessageMalformed, what);
        let late = |_| Status::deadline_exceeded("the open roll did not come in time");
        let by = || (Instant::now() + PART).min(end);
        let mut parts = std::pin::pin!(timeout_at(by(), parts).await.map_err(late)??);
        let most_bytes = BYTES + NAME_BYTES * u64::from(self.most);
        let (mut entries, mut bytes, mut head) = (Vec::new(), 0, None);
        while let Some(part) = timeout_at(by(), parts.next()).await.map_err(late)?.transpose()? {
            if head.is_some() {
                return Err(malformed("something follows the head of the open roll").into());
            }
            if part.entries.is_empty() && part.head.is_none() {
                return Err(malformed("a part of the open roll is empty").into());
            }
            bytes += part.encoded_len() as u64;
            if entries.len() + part.entries.len() > self.most as usize || bytes > most_bytes {
                let detail = format!(
                    "the open roll is longer than the {} voters whom the manifest lets it hold, or than {most_bytes} bytes",
                    self.most
                );
                return Err(Refusal::new(Reason::MessageTooLarge, detail).into());
            }
            entries.extend(part.entries.into_iter().map(|entry| (entry.v, entry.reference)));
            head = part.head;
        }
        let head = head.ok_or_else(|| malformed("the open roll has no head with a signature"))?;
        Ok((entries, head))
    }
}

/// The voters of the newest roll that was fetched, by name.
///
/// # Errors
/// [`Error::NoOpenRoll`]: the roll is closed, or was not fetched yet; [`Error::Stored`]: the file was changed.
pub fn read(election: &Election) -> Result<BTreeMap<String, VoterIndex>, Error> {
    let of_box = open_box(election)?;
    let path = file(election);
    if !path.exists() {
        return Err(no_open_roll(election, true));
    }
    let damaged = || Error::Stored {
        path: path.clone(),
        problem: StoredProblem::Damaged,
    };
    let text = String::from_utf8(files::read(&path, MAX_BYTES)?).map_err(|_| damaged())?;
    let list = OpenRollList::decode(&text, election.signed().manifest(), of_box).map_err(|_| damaged())?;
    let named = |on: tally_proto::open_roll::OnOpenRoll<'_>| (on.name.to_owned(), on.voter);
    Ok(list.voters().map(named).collect())
}

/// Where the roll that was fetched lies.
pub fn file(election: &Election) -> PathBuf {
    election.path().join("open-roll.tsv")
}

fn open_box(election: &Election) -> Result<BoxId, Error> {
    let of_box = election.signed().manifest().open_box();
    Ok(of_box.ok_or_else(|| no_open_roll(election, false))?.id())
}

fn no_open_roll(election: &Election, open: bool) -> Error {
    Error::NoOpenRoll {
        election: election.signed().manifest().election().clone(),
        open,
    }
}

#[cfg(test)]
mod tests;
