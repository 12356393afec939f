//! Who is on an open roll, as the parties have it: for stations, which look voters up, and for orders that name one.
//!
//! Each party signs number and name of everybody whose record it accepted ([`tally_proto::open_roll`]). Who is in is whom two of them name alike; a party
//! that does not answer, or does not have what the two others have, is named and keeps nobody off the list.
//!
//! ```text
//! elections/<id>/open-roll.tsv      the list with the parties' heads, as stations read it; replaced each time
//! ```
//!
//! The file holds what personal codes or names the cards have. It is for the commission and its stations, and only its owner can read it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tally_proto::envelope::PublicKey;
use tally_proto::ids::{BoxId, Role, RoleExt as _, VoterIndex};
use tally_proto::open_roll::{Head, MAX_BYTES, OpenRollError, OpenRollList, Subject, Told};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::{secret_file, wire};

use crate::directory::{Directory, Election};
use crate::error::{Error, StoredProblem};
use crate::files::{self, FileError};
use crate::parties::{Party, PartyError, Patience};
use crate::progress::Progress;

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
    let keys = manifest.party_keys();
    let ask = async |party: &Party| of_party(party, of, &keys[party.role().slot()], patience, progress).await;
    let (mut told, mut failed) = (Vec::with_capacity(3), Vec::new());
    for outcome in parties.at_once(ask).await {
        told.push(outcome.map_err(|error| failed.push(error)).ok());
    }
    let told: [Option<Told>; 3] = told.try_into().unwrap_or_default();
    let Ok(list) = OpenRollList::join(told) else {
        return Err(Error::Parties(failed));
    };
    let path = file(election);
    let new = path.with_extension("new");
    if new.exists() {
        std::fs::remove_file(&new).map_err(FileError::of(&new, "remove"))?;
    }
    secret_file::create(&new, list.encode(of).as_bytes())?;
    std::fs::rename(&new, &path).map_err(FileError::of(&path, "replace"))?;
    files::sync_parent(&path)?;
    Ok(Fetched {
        list,
        without: failed.pop(),
    })
}

async fn of_party(
    party: &Party,
    of: Subject<'_>,
    key: &PublicKey,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<Told, PartyError> {
    let told = party.call(patience, progress, async || {
        let asked = wire::BoxRef {
            election: of.election.as_str().to_owned(),
            r#box: of.of_box.get(),
        };
        let mut parts = party.control().open_roll(asked).await?.into_inner();
        let (mut entries, mut head) = (Vec::new(), None);
        while let Some(part) = parts.message().await? {
            entries.extend(part.entries.into_iter().map(|entry| (entry.v, entry.reference)));
            head = part.head.or(head);
        }
        let malformed = |what: &dyn std::fmt::Display| Refusal::new(Reason::MessageMalformed, what);
        let head = head.as_ref().and_then(Head::from_wire);
        let head = head.ok_or_else(|| malformed(&"the open roll has no head with a signature"))?;
        let told = Told::new(of, party.role(), key, entries, head);
        Ok(told.map_err(|error: OpenRollError| malformed(&error))?)
    });
    told.await
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
mod tests {
    use super::*;
    use tally_proto::fixture::{CLOSES, OPENS, OpenShape, Shape, World};
    use tally_proto::ids::UnixSeconds;

    #[test]
    fn whoever_lacks_what_two_have_is_named() {
        let world = World::new(Shape {
            cards: true,
            registrars: 0,
            open: Some(OpenShape {
                most: 20,
                freezes: CLOSES,
                min_voters: 1,
            }),
            ..Shape::default()
        });
        let of = Subject {
            election: world.manifest.manifest().election(),
            of_box: BoxId(1),
        };
        let told = |party: Role, people: &[(u32, &str)]| {
            let names: BTreeMap<u32, String> =
                people.iter().map(|(v, name)| (*v, (*name).to_owned())).collect();
            let signer = &world.signers[party.slot()];
            let head = Head::sign(of, party, UnixSeconds(OPENS), &names, signer);
            Told::new(of, party, &signer.public_key(), names, head).ok()
        };
        let words = |told: [Option<Told>; 3], without| {
            let list = OpenRollList::join(told).expect("two heads");
            Fetched { list, without }.in_words(|role| format!("P{}", role.number()))
        };
        let all = [(0, "a"), (1, "b"), (2, "c")];
        assert!(words(Role::ALL.map(|party| told(party, &all)), None).is_empty());
        let renamed = [(0, "a"), (1, "x"), (5, "f")];
        let said = words(
            [
                told(Role::P1, &all),
                told(Role::P2, &renamed),
                told(Role::P3, &all),
            ],
            None,
        );
        assert!(
            said[0].starts_with("P2 does not have 2 of them") && said[0].contains("(the first: 1)"),
            "{said:?}"
        );
        assert!(
            said[1].starts_with("1 enrolments were begun and not finished"),
            "{said:?}"
        );
        assert_eq!(said.len(), 2);
        let error = PartyError {
            party: "P3 Court".into(),
            role: Role::P3,
            refusal: Refusal::new(Reason::PartyUnreachable, "no answer"),
        };
        let said = words(
            [told(Role::P1, &all), told(Role::P2, &[(0, "a"), (1, "y")]), None],
            Some(error),
        );
        assert!(
            said[0].starts_with("Without the signature of P3 Court: no answer"),
            "{said:?}"
        );
        assert!(
            said[1].starts_with("1 enrolments") && said[2].starts_with("Number 1: each party"),
            "{said:?}"
        );
        assert_eq!(said.len(), 3);
    }
}
