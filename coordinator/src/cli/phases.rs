//! The two commands that cannot be undone: sealing and tallying. What was done before is shown again, never done again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use tally_proto::ids::{BoxId, StationId};

use super::Console;
use super::arguments::OfBoxes;
use super::coordinator::Office;
use crate::error::Error;
use crate::progress::grouped;
use crate::sealing::{self, Sealed};
use crate::tallying::{self, Tallied};
use crate::{sign_ins, status};

/// The exit code where a box is sealed and a station's statement says something else.
const DIFFERS: u8 = 3;

pub(super) async fn seal(
    office: &Office,
    of: &OfBoxes,
    without_statement: &[u32],
    console: &Console,
) -> Result<ExitCode, Error> {
    let without: BTreeSet<StationId> = without_statement.iter().copied().map(StationId).collect();
    let manifest = office.election.signed().manifest();
    if let Some(unknown) = without.iter().find(|id| manifest.station(**id).is_none()) {
        return Err(Error::NoSuchStation(*unknown));
    }
    let (mut boxes, mut untallied, mut differs) = (Vec::new(), Vec::new(), false);
    for id in office.boxes(of) {
        match sealing::stored(&office.election, id)? {
            Some(sealed) => {
                show_sealed("was sealed before, and is sealed once", &sealed);
                differs |= show_differing(office, id, &sealed)?;
                // Who has a result needs no Seal any more.
                if tallying::stored(&office.election, id)?.is_none() {
                    untallied.push(id);
                }
            }
            None => boxes.push(id),
        }
    }
    // First what is not sealed: no party that draws out its answer about another box keeps these waiting.
    if !boxes.is_empty() {
        differs |= run_seal(office, boxes, &without, console).await?;
        println!("Next: tally {}", office.id());
    }
    let lacking = seal_again(office, &untallied, console).await?;
    if !lacking.is_empty() {
        let error = Error::SealLacking(lacking);
        if !differs {
            return Err(error);
        }
        // That something differs is the exit code, whoever else is in the way.
        eprintln!("{error}");
    }
    Ok(if differs {
        ExitCode::from(DIFFERS)
    } else {
        ExitCode::SUCCESS
    })
}

/// A party that lost its store has no Seal any more, and no tally begins without it: it makes the same again. The boxes of which a party has none
/// afterwards.
async fn seal_again(office: &Office, boxes: &[BoxId], console: &Console) -> Result<BTreeSet<BoxId>, Error> {
    let progress = console.progress.as_ref();
    let again = sealing::again(
        &office.directory,
        &office.election,
        boxes,
        console.patience,
        progress,
    )
    .await?;
    for (of_box, party) in &again.has {
        println!("Box {of_box}: {party} had no seal any more, and has it again, the same as before");
    }
    for (of_box, why) in &again.lacks {
        println!("Box {of_box}: a party has no seal: {why}");
    }
    Ok(again.lacks.into_iter().map(|(of_box, _)| of_box).collect())
}

/// Whether something differs afterwards.
async fn run_seal(
    office: &Office,
    boxes: Vec<BoxId>,
    without: &BTreeSet<StationId>,
    console: &Console,
) -> Result<bool, Error> {
    let (missing, notes) = reconcile(office, &boxes, without).await?;
    let mut without = match missing.as_slice() {
        [] => String::new(),
        missing => format!(
            " No closing statement is here of {}: nothing says how many signed in there.",
            missing.join(", ")
        ),
    };
    for note in notes {
        without.push_str(&format!("\nNOTE: {note}."));
    }
    let what = format!(
        "This seals box {} of election {}: the parties fix for good which ballots will be tallied. Nothing can be added or struck \
         afterwards, and a box is sealed once.{without}",
        office.box_names(&boxes)?,
        office.called()
    );
    console.confirm(&what, office.id())?;
    let mut differs = false;
    for id in boxes {
        let progress = console.progress.as_ref();
        let sealed = sealing::seal(
            &office.directory,
            &office.election,
            id,
            console.patience,
            progress,
        )
        .await?;
        show_sealed("is sealed", &sealed);
        differs |= show_differing(office, id, &sealed)?;
    }
    Ok(differs)
}

/// Whether the Seal holds other counts than the stations' statements.
fn show_differing(office: &Office, of_box: BoxId, sealed: &Sealed) -> Result<bool, Error> {
    let differing = sign_ins::after_seal(&office.election, of_box, &sealed.stations)?;
    for line in &differing {
        println!("  DIFFERS: {line}");
    }
    Ok(!differing.is_empty())
}

/// Sets the stations' statements against the ballots received; the stations `without` one, and what is to be known before the seal. A surplus stops here, and so does a statement that is
/// missing of any other station in use.
async fn reconcile(
    office: &Office,
    boxes: &[BoxId],
    without: &BTreeSet<StationId>,
) -> Result<(Vec<String>, Vec<String>), Error> {
    if office.election.signed().manifest().stations().is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let snapshot = status::snapshot(&office.directory, &office.election).await?;
    let mut missing: BTreeMap<StationId, (String, Vec<String>)> = BTreeMap::new();
    let (mut surplus, mut notes) = (Vec::new(), Vec::new());
    for &id in boxes {
        let found = sign_ins::reconcile(&office.election, id, &sign_ins::held(&snapshot, id))?;
        for line in &found.lines {
            println!("{line}");
        }
        for (station, (name, highest)) in found.missing {
            let (_, counts) = missing.entry(station).or_insert((name, Vec::new()));
            if highest > 0 {
                counts.push(format!("{highest} of box {id}"));
            }
        }
        surplus.extend(found.surplus);
        notes.extend(found.notes);
    }
    if !surplus.is_empty() {
        return Err(Error::Surplus(surplus));
    }
    let in_words = |(name, counts): &(String, Vec<String>)| match counts.as_slice() {
        [] => format!("{name} (two parties hold no ballot of it)"),
        counts => format!(
            "{name} (two parties hold up to ballot number {})",
            counts.join(", ")
        ),
    };
    let refused = missing.iter().filter(|(station, _)| !without.contains(*station));
    let refused: Vec<String> = refused.map(|(_, of)| in_words(of)).collect();
    if !refused.is_empty() {
        return Err(Error::NoStatement(refused));
    }
    Ok((missing.values().map(in_words).collect(), notes))
}

pub(super) fn sign_ins(office: &Office, statements: &[PathBuf], books: &[PathBuf]) -> Result<(), Error> {
    for place in statements {
        let statement = sign_ins::admit(&office.election, place)?;
        println!(
            "Taken over: station {}, officer {}",
            statement.station, statement.officer
        );
    }
    for statement in sign_ins::stored(&office.election)? {
        for of in &statement.boxes {
            println!(
                "station {}, box {}: {} electronic, {} paper, {} signatures",
                statement.station, of.of_box, of.electronic, of.paper, of.signed_in
            );
        }
    }
    for line in sign_ins::at_two_stations(&office.election, books)? {
        println!("TWICE: {line}. The later vote stands, paper before electronic");
    }
    Ok(())
}

fn show_sealed(how: &str, sealed: &Sealed) {
    println!(
        "Box {} {how}: {} ballots received online, {} at stations, {} on paper; {} excluded",
        sealed.of_box,
        grouped(sealed.counts.online),
        grouped(sealed.counts.station),
        grouped(sealed.counts.paper),
        grouped(sealed.exclusions.len() as u64)
    );
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for exclusion in &sealed.exclusions {
        *reasons.entry(exclusion.reason.code()).or_default() += 1;
    }
    for (reason, times) in reasons {
        println!("  excluded {}: {reason}", grouped(times));
    }
    for s in &sealed.stations {
        println!(
            "  station {}: {} electronic, {} paper; {} numbers missing, {} used twice, {} falling times: compare with its sign-in list",
            s.station, s.electronic, s.paper, s.gaps, s.repeated_numbers, s.falling_times
        );
    }
}

pub(super) async fn tally(office: &Office, of: &OfBoxes, console: &Console) -> Result<(), Error> {
    let mut boxes = Vec::new();
    for id in office.boxes(of) {
        match tallying::stored(&office.election, id)? {
            Some(tallied) => {
                show_tallied("was tallied before, and is tallied once", &tallied);
                let progress = console.progress.as_ref();
                tallying::hand_over(&office.directory, &office.election, id, progress).await?;
            }
            None => boxes.push(id),
        }
    }
    if !boxes.is_empty() {
        run_tally(office, &boxes, console).await?;
    }
    println!("Next: bundle {}", office.id());
    Ok(())
}

async fn run_tally(office: &Office, boxes: &[BoxId], console: &Console) -> Result<(), Error> {
    let what = format!(
        "This tallies box {} of election {}: the totals are opened to all three parties and to you, once and for good.",
        office.box_names(boxes)?,
        office.called()
    );
    console.confirm(&what, office.id())?;
    for &id in boxes {
        let progress = console.progress.as_ref();
        let tallied = tallying::tally(
            &office.directory,
            &office.election,
            id,
            console.patience,
            progress,
        )
        .await?;
        show_tallied("is tallied", &tallied);
    }
    Ok(())
}

fn show_tallied(how: &str, tallied: &Tallied) {
    let parties: Vec<String> = tallied.signed_by.iter().map(ToString::to_string).collect();
    println!(
        "Box {} {how}; the result is signed by {}",
        tallied.of_box,
        parties.join(", ")
    );
}
