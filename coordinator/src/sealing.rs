//! Sealing boxes: the three parties work out together what exactly will be tallied and sign it; the coordinator only relays, and keeps
//! the seal with all its evidence for the result bundle.

mod again;
mod answers;
mod stopped;

pub use again::{Again, again};

use answers::{Answer, Answers};
use tally_proto::envelope::{Envelope, Kind};
use tally_proto::ids::{BoxId, RoleExt as _};
use tally_proto::manifest::Manifest;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::sealing::{Counts, Exclusion, MAX_BODY_BYTES, Seal, StationCount};
use tally_proto::wire;
use tonic::Status;

use crate::directory::{Directory, Election};
use crate::error::Error;
use crate::parties::{Heard, Party, Patience};
use crate::progress::{Progress, Step, phase_of};

/// A sealed box in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The box.
    pub of_box: BoxId,
    /// Ballots received, by channel.
    pub counts: Counts,
    /// Exclusions, with their reasons.
    pub exclusions: Vec<Exclusion>,
    /// Stations' counts, to reconcile with their sign-in lists.
    pub stations: Vec<StationCount>,
}

enum Ended {
    Sealed(Box<Answer>),
    Aborted(wire::Envelope),
    Nothing,
}

/// Seals one box; a box that is sealed is shown again. Boxes are sealed once, so the order in which to do things does not matter.
///
/// Whichever party shows a Seal with three signatures and evidence that comes to it has said all that is needed: what the others answer, or
/// whether, changes nothing.
///
/// # Errors
/// [`Error::Parties`] for parties that refuse or do not answer, [`Error::Outcome`] where none of the three answers holds, or two Seals stand.
pub async fn seal(
    directory: &Directory,
    election: &Election,
    of_box: BoxId,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<Sealed, Error> {
    let manifest = election.signed().manifest();
    check_box(manifest, of_box)?;
    let parties = election.parties(directory)?;
    let scope = format!("seal box {of_box}");
    let asked = wire::BoxRef {
        election: manifest.election().as_str().to_owned(),
        r#box: of_box.get(),
    };
    let heard = Heard::new();
    let orders = election.orders_in_force().into_iter().cloned().collect();
    let mut answers = Answers::new(election.signed().clone(), orders, of_box);
    let watch = async |party: &Party| {
        let shown = party.role() == parties.each()[0].role();
        let seal = async || watch_seal(party, &asked, &scope, shown, &heard, progress).await;
        party.call(patience, progress, seal).await
    };
    let judge = async |party: &Party, ended| answers.take(party, ended).await;
    let left = parties.as_they_end(&heard, watch, judge).await;
    progress.finish(&scope);
    for role in left {
        answers.left(&parties.each()[role.slot()]);
    }
    // A command that was given meanwhile may have stored more: a tallied box sealed again keeps its result, and what became of its sessions.
    let stored = election.stored_box(of_box)?.unwrap_or_default();
    let bundle = answers.settle(&stored, progress)?;
    let sealed = in_numbers(of_box, &bundle)?;
    let (result, aborts) = (stored.result, stored.aborts);
    election.store_box(
        of_box,
        &wire::BoxBundle {
            result,
            aborts,
            ..bundle
        },
    )?;
    Ok(sealed)
}

/// The seal that is stored here, if the box was sealed before.
///
/// # Errors
/// A box that the election does not have, or a stored file that does not hold.
pub fn stored(election: &Election, of_box: BoxId) -> Result<Option<Sealed>, Error> {
    let manifest = election.signed().manifest();
    check_box(manifest, of_box)?;
    let Some(bundle) = election.stored_box(of_box)? else {
        return Ok(None);
    };
    let seal = bundle.seal.clone().ok_or(Error::NotSealed(of_box))?;
    Envelope::from_wire(seal)?.verify_all(Kind::Seal, &manifest.party_keys())?;
    in_numbers(of_box, &bundle).map(Some)
}

/// Refuses a box that the manifest does not have.
pub(crate) fn check_box(manifest: &Manifest, of_box: BoxId) -> Result<(), Error> {
    match manifest.ballot_box(of_box) {
        Some(_) => Ok(()),
        None => Err(Error::UnknownBox {
            election: manifest.election().clone(),
            of_box,
            known: manifest.boxes().iter().map(|b| b.id().get()).collect(),
        }),
    }
}

async fn watch_seal(
    party: &Party,
    asked: &wire::BoxRef,
    scope: &str,
    shown: bool,
    heard: &Heard,
    progress: &dyn Progress,
) -> Result<Ended, Status> {
    use wire::seal_event::Event;
    let mut events = heard
        .within(party.control().seal(asked.clone()))
        .await?
        .into_inner();
    let mut body = Vec::new();
    while let Some(event) = heard.next(&mut events).await? {
        match event.event {
            Some(Event::Progress(p)) if shown => {
                let (done, total) = (p.done, p.total);
                progress.report(Step {
                    scope,
                    phase: phase_of(&p.phase),
                    done,
                    total,
                    unit: "ballots",
                });
            }
            Some(Event::BodyPart(part)) => {
                if body.len() + part.len() > MAX_BODY_BYTES {
                    let detail = format_args!("evidence of more than {} MiB", MAX_BODY_BYTES >> 20);
                    return Err(Refusal::new(Reason::MessageTooLarge, detail).into());
                }
                body.extend_from_slice(&part);
            }
            Some(Event::Done(done)) => {
                if done.body_bytes != body.len() as u64 {
                    // The stream lost a part: asking again costs nothing.
                    return Err(Refusal::new(Reason::SealPending, "evidence arrived incomplete").into());
                }
                let body = body.into();
                return Ok(Ended::Sealed(Box::new(Answer { done, body })));
            }
            Some(Event::Abort(abort)) => return Ok(Ended::Aborted(abort)),
            Some(Event::Progress(_)) | None => {}
        }
    }
    Ok(Ended::Nothing)
}

fn in_numbers(of_box: BoxId, bundle: &wire::BoxBundle) -> Result<Sealed, Error> {
    let seal = seal_of(of_box, bundle)?;
    Ok(Sealed {
        of_box,
        counts: seal.counts,
        exclusions: seal.exclusions,
        stations: seal.stations,
    })
}

/// The Seal of a stored box.
pub(crate) fn seal_of(of_box: BoxId, bundle: &wire::BoxBundle) -> Result<Seal, Error> {
    let envelope = bundle.seal.as_ref().ok_or(Error::NotSealed(of_box))?;
    Ok(Seal::decode(&envelope.payload)?)
}
