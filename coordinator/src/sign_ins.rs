//! Stations' closing statements, set against the ballots received before a box is sealed.
//!
//! A station can cast for voters who never came; what bounds it is its sign-in sheet. So before a seal three things are compared for each box:
//!
//! 1. the ballots of each station, as it states them itself, with its signatures;
//! 2. the highest number of a ballot that two parties hold of it with how many it states, for each station by itself: a station numbers its
//!    ballots of a box from 1, and no number counts twice, so nothing that it delivered to two parties is beyond that, whatever others state or hide;
//! 3. the ballots that two parties hold of all stations with all statements together. Where there is no statement, the highest number stands in its
//!    place.
//!
//! A surplus refuses the seal, and so does a station without a statement, unless it is revoked or named. The commission then goes on with a corrected
//! statement, or with an order that revokes the station. Of a revoked station nothing is asked: its ballots count as the manifest says. What it holds
//! over its statement is not hidden by anybody else's, nor does it hide theirs.
//!
//! One party that understates while a station overstates can hide a difference until the seal. After the seal the parties' own counts of each
//! station stand in it, and are compared again: what differs then is told whenever `seal` is run, with an exit code of its own.
//!
//! Whether a voter came to two stations is asked of the stations' sign-in books, which officials hold by law: the tally opens nothing for it, not
//! even how many there were. What is found is shown and kept nowhere; the vote itself needs no mending, the later one stands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tally_proto::ids::{BoxId, StationId};
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
    let text = files::read(from, MAX_BYTES as u64)?;
    let statement = parse(election, from, &text)?;
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
    files::replace(&place, &text)?;
    Ok(statement)
}

fn read(election: &Election, from: &Path) -> Result<SignIns, Error> {
    parse(election, from, &files::read(from, MAX_BYTES as u64)?)
}

fn parse(election: &Election, from: &Path, bytes: &[u8]) -> Result<SignIns, Error> {
    let text = String::from_utf8_lossy(bytes);
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
    /// Stations in use without a statement, by number: the name, and the highest number of a ballot that two parties hold.
    pub missing: BTreeMap<StationId, (String, u64)>,
    /// What must be dealt with before the seal.
    pub surplus: Vec<String>,
    /// What is to be known before the seal: it would be lost, or nobody can tell.
    pub notes: Vec<String>,
}

/// What at least two parties hold of a box's stations: one party alone may say anything.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Held {
    /// How many ballots of stations, if two say so.
    pub received: Option<u64>,
    /// The highest number of a ballot of each station.
    pub highest: BTreeMap<StationId, u64>,
}

/// Compares a box with what the parties hold of it.
///
/// # Errors
/// Orders that do not hold.
pub fn reconcile(election: &Election, of_box: BoxId, held: &Held) -> Result<Reconciled, Error> {
    Ok(compare(&effective(election)?, &stored(election)?, of_box, held))
}

fn compare(election: &EffectiveElection, statements: &[SignIns], of_box: BoxId, held: &Held) -> Reconciled {
    let mut reconciled = Reconciled::default();
    let mut accounted: u64 = 0;
    let serving = election.manifest().stations().iter().filter(|s| s.serves(of_box));
    for station in serving {
        let name = format!("station {} {}", station.id(), station.name());
        let is_revoked = election.revoked_from(station.id()).is_some();
        let highest = held.highest.get(&station.id()).copied().unwrap_or_default();
        let Some(statement) = statements.iter().find(|s| s.station == station.id()) else {
            accounted = accounted.saturating_add(highest);
            if !is_revoked {
                reconciled.missing.insert(station.id(), (name, highest));
            }
            continue;
        };
        let of = statement.of_box(of_box);
        let cast = of.electronic.saturating_add(of.paper);
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
        if is_revoked {
            accounted = accounted.saturating_add(cast.max(highest));
            continue;
        }
        accounted = accounted.saturating_add(cast);
        if of.surplus() > 0 {
            reconciled.surplus.push(format!(
                "{name} cast {cast} ballots in box {of_box} for {} signatures",
                of.signed_in
            ));
        }
        if highest < cast && held.received.is_some() {
            reconciled.notes.push(format!(
                "{name} states {cast} ballots in box {of_box}, and two parties hold none beyond number {highest}: what the station has not delivered is lost with the seal"
            ));
        }
        if highest > cast {
            reconciled.surplus.push(format!(
                "two parties hold ballot number {highest} of {name} in box {of_box}, which states that it cast {cast}"
            ));
        }
    }
    match held.received {
        Some(received) if received > accounted => reconciled.surplus.push(format!(
            "two parties hold {received} ballots of stations in box {of_box}, and its stations account for {accounted}"
        )),
        Some(_) => {}
        None => reconciled.notes.push(format!(
            "fewer than two parties say what they hold of box {of_box}: the stations' statements were compared with nothing"
        )),
    }
    reconciled
}

/// What two parties say that they hold of a box's stations.
pub fn held(snapshot: &Snapshot, of_box: BoxId) -> Held {
    let of_party = |status: &wire::StatusReply| {
        let of_election = status
            .elections
            .iter()
            .find(|e| e.election == snapshot.election.as_str())?;
        let found = of_election.boxes.iter().find(|b| b.r#box == of_box.get());
        found.cloned()
    };
    let answers = snapshot.parties.iter().flatten();
    let boxes: Vec<wire::BoxStatus> = answers.filter_map(|(status, _)| of_party(status)).collect();
    let second = |mut counts: Vec<u64>| {
        counts.sort_unstable();
        counts.iter().rev().nth(1).copied()
    };
    let received = second(
        (boxes.iter())
            .map(|b| b.received_station.saturating_add(b.received_paper))
            .collect(),
    );
    let mut highest: BTreeMap<StationId, Vec<u64>> = BTreeMap::new();
    for of_party in &boxes {
        // One party has one word for a station, however often it names it.
        let mut words: BTreeMap<StationId, u64> = BTreeMap::new();
        for of in &of_party.stations {
            let word = words.entry(StationId(of.station)).or_default();
            *word = (*word).max(of.highest);
        }
        for (station, word) in words {
            highest.entry(station).or_default().push(word);
        }
    }
    let two = highest
        .into_iter()
        .filter_map(|(station, all)| Some((station, second(all)?)));
    Held {
        received,
        highest: two.collect(),
    }
}

/// Compares the Seal's own counts of each station with its statement: what differs, in lines. Of a revoked station fewer may be sealed than it
/// states, not more.
///
/// # Errors
/// As [`stored`], and orders that do not hold.
pub fn after_seal(
    election: &Election,
    of_box: BoxId,
    stations: &[StationCount],
) -> Result<Vec<String>, Error> {
    Ok(differing(
        &effective(election)?,
        &stored(election)?,
        of_box,
        stations,
    ))
}

fn differing(
    election: &EffectiveElection,
    statements: &[SignIns],
    of_box: BoxId,
    stations: &[StationCount],
) -> Vec<String> {
    let differing = stations.iter().filter_map(|sealed| {
        let statement = statements.iter().find(|s| s.station == sealed.station)?;
        let of = statement.of_box(of_box);
        let same = match election.revoked_from(sealed.station) {
            None => (of.electronic, of.paper) == (sealed.electronic, sealed.paper),
            Some(_) => sealed.electronic <= of.electronic && sealed.paper <= of.paper,
        };
        (!same).then(|| {
            format!(
                "station {} states {} electronic and {} paper in box {of_box}, the seal holds {} and {}",
                sealed.station, of.electronic, of.paper, sealed.electronic, sealed.paper
            )
        })
    });
    differing.collect()
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
    use tally_proto::ids::UnixSeconds;
    use tally_proto::order::{Change, Revocation};
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

    /// What honest parties hold of stations that state so many ballots each.
    fn held(of: &[(u32, u64)]) -> Held {
        Held {
            received: Some(of.iter().map(|(_, count)| count).sum()),
            highest: of.iter().map(|(id, count)| (StationId(*id), *count)).collect(),
        }
    }

    fn scene() -> (World, EffectiveElection) {
        tally_proto::connect::install_tls_provider();
        let world = World::new(Shape::default());
        let election = EffectiveElection::new(world.manifest.clone(), []).expect("no orders");
        let serving: Vec<u32> = (election.manifest().stations().iter())
            .filter(|s| s.serves(BoxId(1)))
            .map(|s| s.id().get())
            .collect();
        assert_eq!(serving, [1, 2]);
        (world, election)
    }

    #[test]
    fn a_surplus_is_named_whichever_station_has_it() {
        let (world, election) = scene();
        let compared = |signed_in, held: &Held| {
            let statements = [
                statement(&world, 1, signed_in, 4, 1),
                statement(&world, 2, 3, 2, 1),
            ];
            compare(&election, &statements, BoxId(1), held)
        };
        let good = compared(6, &held(&[(1, 5), (2, 3)]));
        assert_eq!(
            (good.lines.len(), good.missing.len(), &good.surplus),
            (2, 0, &vec![])
        );
        assert!(good.notes.is_empty(), "{good:?}");
        // What a station could not deliver is no surplus, and is said while it can still be waited for.
        let late = compared(5, &held(&[(1, 4)]));
        assert!(late.surplus.is_empty());
        assert_eq!(late.notes.len(), 2);
        assert!(
            late.notes[0].contains("states 5 ballots in box 1, and two parties hold none beyond number 4"),
            "{late:?}"
        );
        // And where nothing could be compared nobody takes that for a comparison.
        let silent = compared(5, &Held::default());
        assert!(
            silent.notes.len() == 1 && silent.notes[0].contains("compared with nothing"),
            "{silent:?}"
        );
        let short = compared(4, &held(&[(1, 5), (2, 3)]));
        assert_eq!(short.surplus.len(), 1);
        assert!(
            short.surplus[0].contains("cast 5 ballots in box 1 for 4 signatures"),
            "{short:?}"
        );
        // A station that hides ballots in its statement is found by the numbers that it gave them, also where another one delivered less.
        let hidden = compared(6, &held(&[(1, 5), (2, 5)]));
        assert_eq!(hidden.surplus.len(), 2);
        assert!(
            hidden.surplus[0].contains("two parties hold ballot number 5 of station 2")
                && hidden.surplus[0].contains("which states that it cast 3")
                && hidden.surplus[1].contains("two parties hold 10 ballots"),
            "{hidden:?}"
        );
        let covered = compared(6, &held(&[(1, 3), (2, 5)]));
        assert_eq!(covered.surplus.len(), 1);
        assert!(
            covered.surplus[0].contains("number 5 of station 2"),
            "{covered:?}"
        );
    }

    #[test]
    fn a_station_without_a_statement_hides_no_others_surplus() {
        let (world, election) = scene();
        let one = [statement(&world, 1, 6, 4, 1)];
        let quiet = compare(&election, &one, BoxId(1), &held(&[(1, 5), (2, 9)]));
        assert!(quiet.surplus.is_empty(), "{quiet:?}");
        assert_eq!(quiet.missing.len(), 1);
        let (name, highest) = &quiet.missing[&StationId(2)];
        assert!(
            name.starts_with("station 2 ") && *highest == 9,
            "{name} {highest}"
        );
        let hidden = compare(&election, &one, BoxId(1), &held(&[(1, 7), (2, 9)]));
        assert!(
            hidden.surplus[0].contains("ballot number 7 of station 1"),
            "{hidden:?}"
        );
        // More than all numbers together: somebody used a number twice.
        let mut twice = held(&[(1, 5), (2, 9)]);
        twice.received = Some(15);
        let twice = compare(&election, &one, BoxId(1), &twice);
        assert!(
            twice.surplus[0]
                .contains("hold 15 ballots of stations in box 1, and its stations account for 14"),
            "{twice:?}"
        );
        let none = compare(&election, &[], BoxId(1), &held(&[]));
        assert_eq!((none.missing.len(), none.surplus.len()), (2, 0));
    }

    #[test]
    fn a_revoked_station_is_asked_nothing_and_hides_nothing() {
        let (world, _) = scene();
        let order = world.order(
            1,
            Change::Revocation(Revocation {
                station: StationId(2),
                from: UnixSeconds(OPENS + 10),
            }),
        );
        let election = EffectiveElection::new(world.manifest.clone(), [&order]).expect("applies");
        for statements in [
            vec![statement(&world, 1, 6, 4, 1)],
            vec![statement(&world, 1, 6, 4, 1), statement(&world, 2, 1, 2, 1)],
        ] {
            let good = compare(&election, &statements, BoxId(1), &held(&[(1, 5), (2, 9)]));
            assert!(good.missing.is_empty() && good.surplus.is_empty(), "{good:?}");
            let hidden = compare(&election, &statements, BoxId(1), &held(&[(1, 6), (2, 9)]));
            assert!(
                hidden.surplus[0].contains("ballot number 6 of station 1"),
                "{hidden:?}"
            );
        }
        // After the seal: of the revoked one fewer than stated are as they should be, more are not; of the other one neither.
        let sealed = |station, electronic| StationCount {
            station: StationId(station),
            electronic,
            paper: 1,
            gaps: 0,
            repeated_numbers: 0,
            falling_times: 0,
        };
        let statements = [statement(&world, 1, 6, 4, 1), statement(&world, 2, 3, 2, 1)];
        let differ = |of: [StationCount; 2]| differing(&election, &statements, BoxId(1), &of);
        assert!(differ([sealed(1, 4), sealed(2, 1)]).is_empty());
        assert!(differ([sealed(1, 4), sealed(2, 3)])[0].contains("station 2 states 2 electronic"));
        assert!(differ([sealed(1, 3), sealed(2, 2)])[0].contains("station 1 states 4 electronic"));
    }

    #[test]
    fn what_one_party_alone_says_of_a_station_is_no_surplus() {
        let of_party = |received, stations: &[(u32, u64)]| {
            let number = |(station, highest): &(u32, u64)| wire::StationNumber {
                station: *station,
                highest: *highest,
            };
            let of_box = wire::BoxStatus {
                r#box: 1,
                received_station: received,
                stations: stations.iter().map(number).collect(),
                ..Default::default()
            };
            let election = wire::ElectionStatus {
                election: "e".to_owned(),
                boxes: vec![of_box],
                ..Default::default()
            };
            let status = wire::StatusReply {
                elections: vec![election],
                ..Default::default()
            };
            Ok((status, 0))
        };
        let snapshot = Snapshot {
            election: tally_proto::ids::ElectionId::new("e").expect("an id"),
            parties: vec![
                of_party(u64::MAX, &[(1, u64::MAX), (2, 3), (9, 1), (1, u64::MAX), (9, 1)]),
                of_party(7, &[(1, 4), (2, 3)]),
                of_party(6, &[(1, 5)]),
            ],
        };
        let held = super::held(&snapshot, BoxId(1));
        assert_eq!(held.received, Some(7));
        let expected = [(StationId(1), 5), (StationId(2), 3)];
        assert_eq!(held.highest.into_iter().collect::<Vec<_>>(), expected);
    }
}
