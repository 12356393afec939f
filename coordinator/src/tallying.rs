//! Tallying sealed boxes: three Starts open a session, the parties compute, each signs the result it saw.
//!
//! A result stands with two parties' signatures on the same bytes. A session is never resumed: after a failure the next one has a
//! higher number, which the parties themselves bound.

use futures::future::join_all;
use tally_proto::envelope::{Envelope, Kind};
use tally_proto::ids::{BoxId, Role};
use tally_proto::manifest::Manifest;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::result::{BoxResult, ResultError, SignedResult};
use tally_proto::wire;
use tonic::Status;

use crate::directory::{Directory, Election};
use crate::error::{Error, OutcomeProblem};
use crate::parties::{Parties, Party, PartyError, Patience};
use crate::progress::{Progress, Step};
use crate::sealing::{abort_in_words, check_box, seal_of};

/// A tallied box: what was opened, and which parties signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tallied {
    /// The box.
    pub of_box: BoxId,
    /// The result.
    pub result: BoxResult,
    /// Who signed it.
    pub signed_by: Vec<Role>,
}

enum Ended {
    Result(wire::Envelope),
    Aborted(wire::Envelope),
    Nothing,
}

/// Tallies one sealed box, or collects the result that the parties already have.
///
/// # Errors
/// [`Error::NotSealed`]; [`Error::Parties`] for parties that refuse or do not answer before the session; [`Error::Outcome`] for an
/// abort, or fewer than two signatures.
pub async fn tally(
    directory: &Directory,
    election: &Election,
    of_box: BoxId,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<Tallied, Error> {
    let manifest = election.signed().manifest();
    check_box(manifest, of_box)?;
    let stored = election.stored_box(of_box)?.ok_or(Error::NotSealed(of_box))?;
    let seal = seal_of(of_box, &stored)?;
    let rows = u64::from(seal.voters) + 1 + seal.counts.total();
    let parties = election.parties(directory)?;
    let id = manifest.election().as_str();
    let starts = match prepare(&parties, id, of_box, patience, progress).await? {
        Prepared::Session(starts) => starts.to_vec(),
        Prepared::Already => Vec::new(),
    };
    let scope = format!("tally box {of_box}");
    let request = wire::TallyRequest {
        election: id.to_owned(),
        r#box: of_box.get(),
        starts,
    };
    let ended = join_all(parties.each().iter().map(|party| {
        let shown = party.role() == parties.each()[0].role();
        watch_tally(party, &request, rows, &scope, shown, progress)
    }))
    .await;
    progress.finish(&scope);
    let (result, tallied) = settle(manifest, &parties, of_box, ended)?;
    election.store_box(
        of_box,
        &wire::BoxBundle {
            result: Some(result),
            ..stored
        },
    )?;
    Ok(tallied)
}

enum Prepared {
    Session([wire::Envelope; 3]),
    /// A result is there already.
    Already,
}

/// Agrees on a session number above all earlier ones and asks for the three Starts.
async fn prepare(
    parties: &Parties,
    election: &str,
    of_box: BoxId,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<Prepared, Error> {
    let last = parties
        .all(async |party| {
            let ask = async || {
                let request = wire::StatusRequest {
                    election: election.to_owned(),
                };
                Ok(party.control().status(request).await?.into_inner())
            };
            let status = party.call(patience, progress, ask).await?;
            let boxes = status
                .elections
                .iter()
                .filter(|e| e.election == election)
                .flat_map(|e| &e.boxes);
            Ok(boxes
                .filter(|b| b.r#box == of_box.get())
                .map(|b| b.last_session)
                .max()
                .unwrap_or(0))
        })
        .await
        .map_err(Error::Parties)?;
    let session = last.into_iter().max().unwrap_or(0).saturating_add(1);
    let starts = parties
        .all(async |party| {
            let request = wire::PrepareRequest {
                election: election.to_owned(),
                r#box: of_box.get(),
                session,
            };
            let ask = async || Ok(party.control().prepare(request.clone()).await?.into_inner());
            party.call(patience, progress, ask).await
        })
        .await;
    match starts {
        Ok(starts) => Ok(Prepared::Session(starts)),
        // Whoever has a result opens no session; it hands out what it has.
        Err(errors) if errors.iter().any(|e| e.refusal.reason == Reason::TallyAlready) => {
            Ok(Prepared::Already)
        }
        Err(errors) => Err(Error::Parties(errors)),
    }
}

async fn watch_tally(
    party: &Party,
    request: &wire::TallyRequest,
    rows: u64,
    scope: &str,
    shown: bool,
    progress: &dyn Progress,
) -> Result<Ended, PartyError> {
    let watched = async || -> Result<Ended, Status> {
        use wire::tally_event::Event;
        let mut events = party.control().tally(request.clone()).await?.into_inner();
        while let Some(event) = events.message().await? {
            match event.event {
                Some(Event::Progress(p)) if shown => {
                    // Parties count a phase in parts of their own; people think in rows.
                    let part =
                        u128::from(rows) * u128::from(p.done.min(p.total)) / u128::from(p.total.max(1));
                    let done = u64::try_from(part).unwrap_or(rows);
                    progress.report(Step {
                        scope,
                        phase: &p.phase,
                        done,
                        total: rows,
                        unit: "rows",
                    });
                }
                Some(Event::Result(result)) => return Ok(Ended::Result(result)),
                Some(Event::Abort(abort)) => return Ok(Ended::Aborted(abort)),
                Some(Event::Progress(_)) | None => {}
            }
        }
        Ok(Ended::Nothing)
    };
    // No retry: a session runs once. What a lost stream missed, the next `tally` collects.
    watched()
        .await
        .map_err(|status| party.error(Refusal::of_status(&status)))
}

/// Joins what the parties answered: two signatures on the same bytes make a result, whatever a third says.
fn settle(
    manifest: &Manifest,
    parties: &Parties,
    of_box: BoxId,
    ended: Vec<Result<Ended, PartyError>>,
) -> Result<(wire::Envelope, Tallied), Error> {
    let keys = manifest.party_keys();
    let mut results: Vec<Envelope> = Vec::new();
    let (mut problems, mut failed) = (Vec::new(), Vec::new());
    for (party, ended) in parties.each().iter().zip(ended) {
        match ended {
            Ok(Ended::Result(envelope)) => {
                let envelope = Envelope::from_wire(envelope)?;
                envelope.verify(Kind::Result, &keys)?;
                match results.iter_mut().find(|r| r.payload() == envelope.payload()) {
                    Some(same) => envelope.signatures().iter().for_each(|s| same.add_signature(*s)),
                    None => results.push(envelope),
                }
            }
            Ok(Ended::Aborted(abort)) => {
                problems.push(OutcomeProblem::Aborted(abort_in_words(party, &abort)))
            }
            Ok(Ended::Nothing) => problems.push(OutcomeProblem::NoOutcome(party.name().to_owned())),
            Err(error) => failed.push(error),
        }
    }
    // Two of three signatures cannot stand under two different results.
    if results.len() > 1 {
        return Err(Error::Outcome {
            of_box,
            problem: OutcomeProblem::ResultsDiffer,
        });
    }
    if let Some(envelope) = results.pop() {
        match SignedResult::open(envelope, manifest) {
            Ok(signed) => {
                let (result, signed_by) = (signed.result().clone(), signed.signers().collect());
                return Ok((
                    signed.envelope().to_wire(),
                    Tallied {
                        of_box,
                        result,
                        signed_by,
                    },
                ));
            }
            Err(ResultError::Signatures(_)) if problems.is_empty() && failed.is_empty() => {
                problems.push(OutcomeProblem::OneSignature);
            }
            // One signature only, and what became of the others is said below.
            Err(ResultError::Signatures(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    match problems.into_iter().next() {
        Some(problem) => Err(Error::Outcome { of_box, problem }),
        None => Err(Error::Parties(failed)),
    }
}
