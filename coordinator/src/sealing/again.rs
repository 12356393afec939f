//! Boxes that are sealed here, and at a party that lost its store are not any more: it makes the same Seal again.

use futures::future::join_all;
use tally_proto::ids::BoxId;
use tally_proto::wire;
use tally_proto::wire::BoxPhase;

use super::answers::Answers;
use super::{Ended, watch_seal};
use crate::directory::{Directory, Election};
use crate::error::{Error, OutcomeProblem};
use crate::parties::{Heard, Party, PartyError, Patience};
use crate::progress::Progress;
use crate::status;

/// What became of the parties that said that they have no Seal of a box that is sealed here.
#[derive(Debug, Default)]
pub struct Again {
    /// The party has it again, the same: the box, and the party's name.
    pub has: Vec<(BoxId, String)>,
    /// It has not: the box, and who and why in a sentence.
    pub lacks: Vec<(BoxId, String)>,
}

/// Asks the three parties whether they still have the Seals of boxes that are sealed here, and has those that have not make them again, from
/// what the two others hold. What is kept here stays as it is. A party that does not answer is told of and no failure: it may have them all.
///
/// # Errors
/// [`Error::NotSealed`]; [`OutcomeProblem::TwoSeals`] where a party comes to another Seal that three signed; [`Error::Connect`].
pub async fn again(
    directory: &Directory,
    election: &Election,
    of_boxes: &[BoxId],
    patience: Patience,
    progress: &dyn Progress,
) -> Result<Again, Error> {
    let mut again = Again::default();
    if of_boxes.is_empty() {
        return Ok(again);
    }
    let parties = election.parties(directory)?;
    let snapshot = status::snapshot(directory, election).await?;
    let id = election.signed().manifest().election().as_str();
    let mut answering = Vec::new();
    for (party, answer) in parties.each().iter().zip(&snapshot.parties) {
        match answer {
            Ok((status, _)) if status.locked.is_none() => answering.push((party, status)),
            Ok(_) => progress.note(&format!(
                "{} is locked: it cannot say whether it still has its seals",
                party.name()
            )),
            Err(error) => progress.note(&format!("a party cannot be asked for its seals: {error}")),
        }
    }
    for &of_box in of_boxes {
        let without = answering
            .iter()
            .filter(|(_, status)| !has_seal(status, id, of_box));
        let without: Vec<&Party> = without.map(|(party, _)| *party).collect();
        if without.is_empty() {
            continue;
        }
        let stored = election.stored_box(of_box)?.ok_or(Error::NotSealed(of_box))?;
        let orders: Vec<_> = election.orders_in_force().into_iter().cloned().collect();
        for (party, ended) in seal_at(&without, (id, of_box), patience, progress).await {
            let answers = Answers::new(election.signed().clone(), orders.clone(), of_box);
            match judge(answers, party, ended, &stored, progress).await? {
                Ok(()) => again.has.push((of_box, party.name().to_owned())),
                Err(words) => again.lacks.push((of_box, words)),
            }
        }
    }
    Ok(again)
}

/// Whether a party says that it has three signatures on the Seal of that box.
fn has_seal(status: &wire::StatusReply, election: &str, of_box: BoxId) -> bool {
    let of_election = status.elections.iter().filter(|of| of.election == election);
    let mut boxes = of_election.flat_map(|of| &of.boxes);
    boxes.any(|of| {
        let sealed = matches!(
            of.phase(),
            BoxPhase::Sealed | BoxPhase::Tallying | BoxPhase::Tallied
        );
        of.r#box == of_box.get() && sealed
    })
}

/// Has these parties seal a box that the others have sealed. Each ends by itself: nobody's answer stands for another's.
async fn seal_at<'p>(
    without: &[&'p Party],
    (election, of_box): (&str, BoxId),
    patience: Patience,
    progress: &dyn Progress,
) -> Vec<(&'p Party, Result<Ended, PartyError>)> {
    let asked = wire::BoxRef {
        election: election.to_owned(),
        r#box: of_box.get(),
    };
    let (scope, heard) = (format!("seal box {of_box}"), Heard::new());
    let first = without.first().map(|party| party.role());
    let one = async |party: &'p Party| {
        let shown = Some(party.role()) == first;
        let seal = async || watch_seal(party, &asked, &scope, shown, &heard, progress).await;
        (party, party.call(patience, progress, seal).await)
    };
    let ended = join_all(without.iter().map(|party| one(party))).await;
    progress.finish(&scope);
    ended
}

/// What the answer of a party that had no Seal comes to: the very Seal that is kept here, with evidence that comes to it; else, in words, why not.
///
/// # Errors
/// [`OutcomeProblem::TwoSeals`].
pub(super) async fn judge(
    mut answers: Answers,
    party: &Party,
    ended: Result<Ended, PartyError>,
    stored: &wire::BoxBundle,
    progress: &dyn Progress,
) -> Result<Result<(), String>, Error> {
    answers.take(party, ended).await;
    match answers.settle(stored, progress) {
        Ok(_) => Ok(Ok(())),
        Err(Error::Outcome {
            problem: OutcomeProblem::NoSeal(lines),
            ..
        }) => Ok(Err(lines.trim_start_matches("\n  - ").to_owned())),
        Err(Error::Parties(errors)) => Ok(Err(errors.iter().map(ToString::to_string).collect())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_without_its_seal_where_the_party_names_another_phase_or_not_even_the_election() {
        let of = |phase: BoxPhase| wire::StatusReply {
            elections: vec![wire::ElectionStatus {
                election: "ward-7".to_owned(),
                boxes: vec![wire::BoxStatus {
                    r#box: 1,
                    phase: phase.into(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        for phase in [BoxPhase::Sealed, BoxPhase::Tallying, BoxPhase::Tallied] {
            assert!(has_seal(&of(phase), "ward-7", BoxId(1)), "{phase:?}");
            assert!(!has_seal(&of(phase), "ward-8", BoxId(1)), "another election");
            assert!(!has_seal(&of(phase), "ward-7", BoxId(2)), "another box");
        }
        for phase in [
            BoxPhase::Unspecified,
            BoxPhase::Waiting,
            BoxPhase::Open,
            BoxPhase::Draining,
            BoxPhase::Closed,
            BoxPhase::Sealing,
        ] {
            assert!(!has_seal(&of(phase), "ward-7", BoxId(1)), "{phase:?}");
        }
        assert!(!has_seal(&wire::StatusReply::default(), "ward-7", BoxId(1)));
    }
}
