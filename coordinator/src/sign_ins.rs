//! Stations' closing statements, set against the ballots received before a box is sealed.
//!
//! A station can cast for voters who never came; what bounds it is its sign-in sheet. So before a seal the ballots of each station, as it states
//! them itself, are compared with its signatures, and those that the parties hold of a box with all statements together. A surplus refuses the
//! seal. The commission then goes on with a corrected statement, or with an order that revokes the station: the parties count its ballots before
//! that moment only. After the seal the parties' own counts of each station stand in it, and are compared again.
//!
//! Whether a voter came to two stations is asked of the stations' sign-in books, which officials hold by law: the tally opens nothing for it, not
//! even how many there were. What is found is shown and kept nowhere; the vote itself needs no mending, the later one stands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tally_proto::ids::BoxId;
use tally_proto::order::EffectiveElection;
use tally_proto::sealing::StationCount;
use tally_proto::sign_ins::{MAX_BYTES, SignIns};
use tally_proto::wire;

use crate::directory::Election;
use crate::error::Error;
use crate::files;
use crate::open_roll;
use crate::orders::effective;
use crate::roll::RollFile;
use crate::status::Snapshot;

/// Largest sign-in book.
const MAX_BOOK_BYTES: u64 = 1 << 30;

/// Takes over a station's statement in place of an earlier one.
///
/// # Errors
/// [`Error::SignIns`] for what is not a statement of a station of this election, [`Error::SignInsVoid`] for one from before a station opened again,
/// whose signature stays good; and failures to read and write.
pub fn admit(election: &Election, from: &Path) -> Result<SignIns, Error> {
    let statement = read(election, from)?;
    let directory = election.path().join("sign-ins");
    files::directory(&directory)?;
    let place = directory.join(statement.station.to_string());
    if place.exists() {
        let stored = read(election, &place)?.closed_at;
        if statement.closed_at < stored {
            return Err(Error::SignInsVoid {
                path: from.to_path_buf(),
                station: statement.station,
                stored,
                closed: statement.closed_at,
            });
        }
    }
    let text = files::read(from, MAX_BYTES as u64)?;
    files::replace(&place, &text)?;
    Ok(statement)
}

fn read(election: &Election, from: &Path) -> Result<SignIns, Error> {
    let bytes = files::read(from, MAX_BYTES as u64)?;
    let text = String::from_utf8_lossy(&bytes);
    SignIns::parse(&text, election.signed()).map_err(|source| Error::SignIns {
        path: from.to_path_buf(),
        source,
    })
}

/// The statements that are here.
///
/// # Errors
/// As [`admit`].
pub fn stored(election: &Election) -> Result<Vec<SignIns>, Error> {
    let directory = election.path().join("sign-ins");
    let stations = election.signed().manifest().stations().iter();
    stations
        .map(|station| directory.join(station.id().to_string()))
        .filter(|place| place.exists())
        .map(|place| read(election, &place))
        .collect()
}

/// What a comparison says, in lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Each station with its counts.
    pub lines: Vec<String>,
    /// Stations without a statement.
    pub missing: Vec<String>,
    /// What must be dealt with before the seal.
    pub surplus: Vec<String>,
}

/// Compares a box with what the parties hold of it; `received` is how many ballots of stations two parties hold, if two say so.
///
/// # Errors
/// Orders that do not hold.
pub fn reconcile(election: &Election, of_box: BoxId, received: Option<u64>) -> Result<Reconciled, Error> {
    Ok(compare(
        &effective(election)?,
        &stored(election)?,
        of_box,
        received,
    ))
}

fn compare(
    election: &EffectiveElection,
    statements: &[SignIns],
    of_box: BoxId,
    received: Option<u64>,
) -> Reconciled {
    let mut reconciled = Reconciled::default();
    let (mut accounted, mut revoked) = (0, false);
    let serving = election.manifest().stations().iter().filter(|s| s.serves(of_box));
    for station in serving {
        let name = format!("station {} {}", station.id(), station.name());
        let is_revoked = election.revoked_from(station.id()).is_some();
        revoked |= is_revoked;
        let Some(statement) = statements.iter().find(|s| s.station == station.id()) else {
            reconciled.missing.push(name);
            continue;
        };
        let of = statement.of_box(of_box);
        accounted += of.electronic + of.paper;
        let remark = match statement.remark.as_str() {
            "" => String::new(),
            remark => format!(" ({remark:?}, {})", statement.officer),
        };
        reconciled.lines.push(format!(
            "box {of_box}, {name}: {} electronic and {} paper for {} signatures{}{remark}",
            of.electronic,
            of.paper,
            of.signed_in,
            if is_revoked { ", revoked" } else { "" }
        ));
        if of.surplus() > 0 && !is_revoked {
            reconciled.surplus.push(format!(
                "{name} cast {} ballots in box {of_box} for {} signatures",
                of.electronic + of.paper,
                of.signed_in
            ));
        }
    }
    // Where a station is missing or revoked, its part of the sum is not known.
    if let Some(received) = received
        && received > accounted
        && reconciled.missing.is_empty()
        && !revoked
    {
        reconciled.surplus.push(format!(
            "two parties hold {received} ballots of stations in box {of_box}, and the statements of all its stations account for {accounted}"
        ));
    }
    reconciled
}

/// How many ballots of stations at least two parties hold of a box: one party alone may say anything.
pub fn received(snapshot: &Snapshot, of_box: BoxId) -> Option<u64> {
    let of_party = |status: &wire::StatusReply| {
        let of_election = status
            .elections
            .iter()
            .find(|e| e.election == snapshot.election.as_str())?;
        let of = of_election.boxes.iter().find(|b| b.r#box == of_box.get())?;
        Some(of.received_station + of.received_paper)
    };
    let answers = snapshot.parties.iter().flatten();
    let mut counts: Vec<u64> = answers.filter_map(|(status, _)| of_party(status)).collect();
    counts.sort_unstable();
    counts.iter().rev().nth(1).copied()
}

/// Compares the Seal's own counts of each station with its statement: what differs, in lines.
///
/// # Errors
/// As [`stored`].
pub fn after_seal(
    election: &Election,
    of_box: BoxId,
    stations: &[StationCount],
) -> Result<Vec<String>, Error> {
    let statements = stored(election)?;
    let differing = stations.iter().filter_map(|sealed| {
        let statement = statements.iter().find(|s| s.station == sealed.station)?;
        let of = statement.of_box(of_box);
        let same = (of.electronic, of.paper) == (sealed.electronic, sealed.paper);
        (!same).then(|| {
            format!(
                "station {} states {} electronic and {} paper in box {of_box}, the seal holds {} and {}",
                sealed.station, of.electronic, of.paper, sealed.electronic, sealed.paper
            )
        })
    });
    Ok(differing.collect())
}

#[derive(Deserialize)]
struct Book {
    manifest: String,
    signed_in: BTreeMap<u32, BTreeSet<u32>>,
}

/// The references of those who stand in two or more sign-in books of this election, with the books. Nothing is written.
///
/// # Errors
/// [`Error::SignInBook`] for a file that is none of this election.
pub fn at_two_stations(election: &Election, books: &[PathBuf]) -> Result<Vec<String>, Error> {
    let mut seen: BTreeMap<(u32, u32), Vec<String>> = BTreeMap::new();
    for path in books {
        let foreign = || Error::SignInBook(path.clone());
        let bytes = files::read(path, MAX_BOOK_BYTES)?;
        let book: Book = serde_json::from_slice(&bytes).map_err(|_| foreign())?;
        if book.manifest != election.signed().hash().to_string() {
            return Err(foreign());
        }
        for (of_box, voters) in book.signed_in {
            for v in voters {
                seen.entry((of_box, v))
                    .or_default()
                    .push(path.display().to_string());
            }
        }
    }
    seen.retain(|_, books| books.len() > 1);
    if seen.is_empty() {
        return Ok(Vec::new());
    }
    let name = names(election)?;
    Ok(seen
        .into_iter()
        .map(|((of_box, v), books)| {
            let reference = name(of_box, v).unwrap_or_else(|| "a number beyond the roll".to_owned());
            format!("{reference} signed in more than once: {}", books.join(", "))
        })
        .collect())
}

/// What the roll calls a voter.
fn names(election: &Election) -> Result<impl Fn(u32, u32) -> Option<String>, Error> {
    let open = election.signed().manifest().open_box().is_some();
    let (closed, on_open) = if open {
        let voters = open_roll::read(election)?;
        let by_number = voters.into_iter().map(|(name, v)| (v.get(), name)).collect();
        (RollFile::default(), by_number)
    } else {
        (election.roll()?, BTreeMap::new())
    };
    Ok(move |of_box, v: u32| match open {
        true => on_open.get(&v).cloned(),
        false => Some(closed.voters(of_box).get(v as usize)?.reference.clone()),
    })
}

#[cfg(test)]
mod tests {

    use tally_proto::fixture::{OPENS, Shape, World};
    use tally_proto::ids::{StationId, UnixSeconds};
    use tally_proto::sign_ins::BoxSignIns;

    use super::*;

    fn statement(world: &World, station: u32, signed_in: u64, electronic: u64, paper: u64) -> SignIns {
        let of = BoxSignIns {
            of_box: 1,
            signed_in,
            electronic,
            paper,
        };
        SignIns {
            election: world.manifest.manifest().election().clone(),
            manifest: world.manifest.hash(),
            station: StationId(station),
            officer: "A. Berg".to_owned(),
            opened_at: UnixSeconds(OPENS),
            closed_at: UnixSeconds(OPENS + 9),
            remark: String::new(),
            boxes: vec![of],
        }
    }

    #[test]
    fn a_statement_from_before_a_station_opened_again_is_void() {
        let scene = crate::tickets::tests::scene();
        let place = tempfile::tempdir().expect("dir");
        let written = |name: &str, closed_at: u64, signed_in: u64| {
            let mut statement = statement(&scene.world, 1, signed_in, 2, 1);
            statement.closed_at = UnixSeconds(closed_at);
            let text = statement.sign(&scene.world.stations[0]).expect("signed");
            let path = place.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let (first, second) = (written("first", OPENS + 9, 9), written("second", OPENS + 60, 3));
        admit(&scene.election, &first).expect("the first");
        admit(&scene.election, &second).expect("a later one in its place");
        let void = admit(&scene.election, &first).expect_err("void");
        assert!(matches!(void, Error::SignInsVoid { .. }), "{void}");
        assert!(void.to_string().contains("this earlier statement"), "{void}");
        admit(&scene.election, &second).expect("the same again");
        let stored = stored(&scene.election).expect("read");
        assert_eq!((stored.len(), stored[0].boxes[0].signed_in), (1, 3));
    }

    #[test]
    fn a_surplus_is_named_and_a_missing_statement_too() {
        tally_proto::connect::install_tls_provider();
        let world = World::new(Shape::default());
        let election = EffectiveElection::new(world.manifest.clone(), []).expect("no orders");
        let serving: Vec<u32> = (election.manifest().stations().iter())
            .filter(|s| s.serves(BoxId(1)))
            .map(|s| s.id().get())
            .collect();
        let (first, others) = serving.split_first().expect("a station");
        let with = |mine: SignIns| -> Vec<SignIns> {
            let others = others.iter().map(|id| statement(&world, *id, 3, 2, 1));
            [mine].into_iter().chain(others).collect()
        };
        let whole = 5 + 3 * others.len() as u64;
        let good = compare(
            &election,
            &with(statement(&world, *first, 6, 4, 1)),
            BoxId(1),
            Some(whole),
        );
        assert_eq!(
            (good.lines.len(), &good.missing, &good.surplus),
            (serving.len(), &vec![], &vec![])
        );
        let short = compare(
            &election,
            &with(statement(&world, *first, 4, 4, 1)),
            BoxId(1),
            Some(whole),
        );
        assert_eq!(short.surplus.len(), 1);
        assert!(
            short.surplus[0].contains("cast 5 ballots in box 1 for 4 signatures"),
            "{short:?}"
        );
        // A station that hides ballots in its statement is found by what the parties hold.
        let hidden = compare(
            &election,
            &with(statement(&world, *first, 6, 4, 1)),
            BoxId(1),
            Some(whole + 2),
        );
        assert_eq!(hidden.surplus.len(), 1);
        assert!(
            hidden.surplus[0].contains(&format!("two parties hold {} ballots", whole + 2)),
            "{hidden:?}"
        );
        let none = compare(&election, &[], BoxId(1), Some(whole));
        assert_eq!((none.missing.len(), none.surplus.len()), (serving.len(), 0));
    }
}
