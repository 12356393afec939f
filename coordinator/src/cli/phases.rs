//! The two commands that cannot be undone: sealing and tallying. What was done before is shown again, never done again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tally_proto::ids::BoxId;

use super::Console;
use super::arguments::OfBoxes;
use super::coordinator::Office;
use crate::error::Error;
use crate::progress::grouped;
use crate::sealing::{self, Sealed};
use crate::tallying::{self, Tallied};
use crate::{sign_ins, status};

pub(super) async fn seal(office: &Office, of: &OfBoxes, console: &Console) -> Result<(), Error> {
    let mut boxes = Vec::new();
    for id in office.boxes(of) {
        match sealing::stored(&office.election, id)? {
            Some(sealed) => show_sealed("was sealed before, and is sealed once", &sealed),
            None => boxes.push(id),
        }
    }
    if boxes.is_empty() {
        return Ok(());
    }
    let missing = reconcile(office, &boxes).await?;
    let without = match missing.as_slice() {
        [] => String::new(),
        missing => format!(
            " No closing statement is here of {}: nothing says how many signed in there.",
            missing.join(", ")
        ),
    };
    let what = format!(
        "This seals box {} of election {}: the parties fix for good which ballots will be tallied. Nothing can be added or struck \
         afterwards, and a box is sealed once.{without}",
        office.box_names(&boxes)?,
        office.called()
    );
    console.confirm(&what, office.id())?;
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
        for line in sign_ins::after_seal(&office.election, id, &sealed.stations)? {
            println!("  DIFFERS: {line}");
        }
    }
    println!("Next: tally {}", office.id());
    Ok(())
}

/// Sets the stations' statements against the ballots received; the stations without one. A surplus stops here.
async fn reconcile(office: &Office, boxes: &[BoxId]) -> Result<Vec<String>, Error> {
    if office.election.signed().manifest().stations().is_empty() {
        return Ok(Vec::new());
    }
    let snapshot = status::snapshot(&office.directory, &office.election).await?;
    let (mut missing, mut surplus) = (Vec::new(), Vec::new());
    for &id in boxes {
        let received = sign_ins::received(&snapshot, id);
        let found = sign_ins::reconcile(&office.election, id, received)?;
        for line in &found.lines {
            println!("{line}");
        }
        missing.extend(found.missing);
        surplus.extend(found.surplus);
    }
    missing.sort();
    missing.dedup();
    if surplus.is_empty() {
        Ok(missing)
    } else {
        Err(Error::Surplus(surplus))
    }
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
