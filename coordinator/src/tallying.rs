//! Tallying sealed boxes: three Starts open a session, the parties compute, each signs the result it saw.
//!
//! A result stands with two parties' signatures on the same bytes, whatever the third says, and is handed to all three: no session follows
//! it. A session is never resumed: after a failure the next one has a higher number, which the parties themselves bound, as they do how
//! many may follow one another without their operators' leave. What a party demands of another during a session is carried between
//! them.

use std::time::Duration;

use tally_proto::envelope::{Envelope, Kind};
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _};
use tally_proto::manifest::Manifest;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::result::{BoxResult, ResultError, SignedResult};
use tally_proto::wire;
use tokio::time::timeout;
use tonic::Status;

use crate::aborts::{self, Stopped};
use crate::directory::{Directory, Election};
use crate::error::{Error, OutcomeProblem};
use crate::parties::{Heard, Parties, Party, PartyError, Patience, Wait};
use crate::progress::{Progress, Step, phase_of};
use crate::sealing::{check_box, seal_of};

mod demands;

use demands::Carrier;

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
    let (starts, refused) = match prepare(&parties, id, of_box, patience, progress).await? {
        Prepared::Session(starts) => (starts.to_vec(), Vec::new()),
        Prepared::Already(refused) => (Vec::new(), refused),
    };
    let scope = format!("tally box {of_box}");
    let request = wire::TallyRequest {
        election: id.to_owned(),
        r#box: of_box.get(),
        starts,
    };
    // A command that was given meanwhile may have stored more, but no other Seal.
    let of = (manifest.election(), of_box, hash_of(&stored));
    let mut outcome = Outcome::new(manifest, of);
    let heard = Heard::new();
    let watch = async |party: &Party| {
        let shown = party.role() == parties.each()[0].role();
        let shows = (rows, scope.as_str(), shown);
        watch_tally((&parties, party), manifest, &request, shows, &heard, progress).await
    };
    let judge = async |party: &Party, ended| outcome.take(party, ended, progress);
    for role in parties.as_they_end(&heard, watch, judge).await {
        outcome.left(&parties.each()[role.slot()], progress);
    }
    progress.finish(&scope);
    let mut bundle = election.stored_box(of_box)?.unwrap_or(stored);
    bundle.aborts = aborts::keep(bundle.aborts, &outcome.aborts, &manifest.party_keys(), of);
    // Whoever says so without a Result to show has refused to take part, and that is all there is to tell.
    if outcome.results.is_empty() && !refused.is_empty() {
        return Err(Error::Parties(refused));
    }
    let settled = outcome.settle(&parties);
    bundle.result = settled
        .as_ref()
        .ok()
        .map(|(result, _)| result.clone())
        .or(bundle.result);
    election.store_box(of_box, &bundle)?;
    let (result, tallied) = settled?;
    conclude(&parties, &result, progress).await;
    Ok(tallied)
}

/// The result that is stored here, if the box was tallied before.
///
/// # Errors
/// A box that the election does not have, or a stored file that does not hold.
pub fn stored(election: &Election, of_box: BoxId) -> Result<Option<Tallied>, Error> {
    let manifest = election.signed().manifest();
    check_box(manifest, of_box)?;
    let Some(result) = election.stored_box(of_box)?.and_then(|stored| stored.result) else {
        return Ok(None);
    };
    let signed = SignedResult::open(Envelope::from_wire(result)?, manifest)?;
    let (result, signed_by) = (signed.result().clone(), signed.signers().collect());
    Ok(Some(Tallied {
        of_box,
        result,
        signed_by,
    }))
}

/// Hands the result that is stored here to all three parties once more: one that was away when it came about has it then.
///
/// # Errors
/// As [`stored`].
pub async fn hand_over(
    directory: &Directory,
    election: &Election,
    of_box: BoxId,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let stored = election.stored_box(of_box)?.and_then(|stored| stored.result);
    if let Some(result) = stored {
        conclude(&election.parties(directory)?, &result, progress).await;
    }
    Ok(())
}

/// SHA-256 of a sealed box's Seal.
fn hash_of(bundle: &wire::BoxBundle) -> Hash32 {
    bundle
        .seal
        .as_ref()
        .map_or(Hash32([0; 32]), |seal| Hash32::of(&seal.payload))
}

/// Hands the Result to every party: whoever did not open it itself must open no other session either. A party that does not answer hears
/// of it from the others.
async fn conclude(parties: &Parties, result: &wire::Envelope, progress: &dyn Progress) {
    let handed = parties
        .at_once(async |party| {
            let conclude = async || Ok(party.control().conclude(result.clone()).await?.into_inner());
            party.ask(Patience::NONE, progress, conclude).await
        })
        .await;
    for error in handed.into_iter().filter_map(Result::err) {
        progress.note(&format!("the result is not handed to {error}"));
    }
}

/// How long a party has to prepare a session: it asks both others first, and an older session may be opening its outputs.
const PREPARE: Duration = Duration::from_secs(5 * 60);

enum Prepared {
    Session([wire::Envelope; 3]),
    /// A result is there already, as these say.
    Already(Vec<PartyError>),
}

/// Agrees on a session number above all earlier ones and asks for the three Starts. With a party away there is no session; but a Result may be
/// there already, of which two parties know by themselves.
async fn prepare(
    parties: &Parties,
    election: &str,
    of_box: BoxId,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<Prepared, Error> {
    let last = parties
        .at_once(async |party| {
            let ask = async || {
                let request = wire::StatusRequest {
                    election: election.to_owned(),
                };
                Ok(party.control().status(request).await?.into_inner())
            };
            let status = party.ask(patience, progress, ask).await?;
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
        .await;
    let said = [0, 1, 2].map(|slot: usize| last[slot].as_ref().ok().copied());
    let away: Vec<PartyError> = last.into_iter().filter_map(Result::err).collect();
    let (session, beyond) = next_session(said);
    if let Some(role) = beyond {
        progress.note(&format!(
            "{} says that it began session {} of box {of_box}, which neither of the others can have seen; it is not followed",
            parties.each()[role.slot()].name(),
            said[role.slot()].unwrap_or_default()
        ));
    }
    // Whoever is away was waited for already.
    let patience = if away.is_empty() { patience } else { Patience::NONE };
    let starts = parties
        .all(async |party| {
            let request = wire::PrepareRequest {
                election: election.to_owned(),
                r#box: of_box.get(),
                session,
            };
            let mut control = party.control();
            let ask = async || {
                let late = |_| Status::deadline_exceeded("no answer in time");
                let prepared = timeout(PREPARE, control.prepare(request.clone())).await;
                Ok(prepared.map_err(late)??.into_inner())
            };
            party.call(patience, progress, ask).await
        })
        .await;
    match starts {
        Ok(starts) => Ok(Prepared::Session(starts)),
        // Whoever has a result opens no session; it hands out what it has.
        Err(errors) if errors.iter().any(|e| e.refusal.reason == Reason::TallyAlready) => {
            Ok(Prepared::Already(errors))
        }
        Err(_) if !away.is_empty() => Err(Error::Parties(away)),
        Err(errors) => Err(Error::Parties(errors)),
    }
}

/// How far apart the numbers of honest parties can lie. They rise together: a party signs a Start only when both others answer it, so one runs
/// ahead by no more than the attempts that failed in between. Far below what a party follows in one step (2^20), so that no liar can lead one
/// honest party to where the other does not follow.
const APART: u64 = 1 << 10;

/// The number of the next session from what the three say of the last one, and who is not followed. Of three claims with at most one liar the
/// middle one lies between two honest ones, or is one: the highest is believed if it is near.
fn next_session(said: [Option<u64>; 3]) -> (u64, Option<Role>) {
    let mut said: Vec<(u64, Role)> = said
        .into_iter()
        .zip(Role::ALL)
        .filter_map(|(last, role)| Some((last?, role)))
        .collect();
    said.sort();
    match said.as_slice() {
        [.., (before, _), (highest, role)] if highest - before > APART => {
            (before.saturating_add(1), Some(*role))
        }
        [.., (highest, _)] => (highest.saturating_add(1), None),
        [] => (1, None),
    }
}

/// What watching shows: the rows, the name of the work, and whether this party's progress is shown.
type Shown<'a> = (u64, &'a str, bool);

async fn watch_tally(
    (parties, party): (&Parties, &Party),
    manifest: &Manifest,
    request: &wire::TallyRequest,
    (rows, scope, shown): Shown<'_>,
    heard: &Heard,
    progress: &dyn Progress,
) -> Result<Ended, PartyError> {
    let mut carrier = Carrier::new(parties, party, manifest.party_keys(), request);
    let mut watched = async || -> Result<Ended, Status> {
        use wire::tally_event::Event;
        let mut control = party.control();
        let mut events = heard.within(control.tally(request.clone())).await?.into_inner();
        while let Some(event) = heard.next(&mut events).await? {
            match event.event {
                Some(Event::Progress(p)) if shown => {
                    // Parties count a phase in parts of their own; people think in rows.
                    let part =
                        u128::from(rows) * u128::from(p.done.min(p.total)) / u128::from(p.total.max(1));
                    let done = u64::try_from(part).unwrap_or(rows);
                    progress.report(Step {
                        scope,
                        phase: phase_of(&p.phase),
                        done,
                        total: rows,
                        unit: "rows",
                    });
                }
                Some(Event::Result(result)) => return Ok(Ended::Result(result)),
                Some(Event::Abort(abort)) => return Ok(Ended::Aborted(abort)),
                Some(Event::Demand(demand)) => carrier.carry(demand, progress),
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

/// Election, box and Seal.
type Of<'a> = (&'a ElectionId, BoxId, Hash32);

/// What the three parties answered.
struct Outcome<'a> {
    manifest: &'a Manifest,
    of: Of<'a>,
    /// By content; at most one is right.
    results: Vec<Envelope>,
    aborts: Vec<Envelope>,
    silent: Vec<String>,
    failed: Vec<PartyError>,
    ended: usize,
}

impl<'a> Outcome<'a> {
    fn new(manifest: &'a Manifest, of: Of<'a>) -> Self {
        Self {
            manifest,
            of,
            results: Vec::new(),
            aborts: Vec::new(),
            silent: Vec::new(),
            failed: Vec::new(),
            ended: 0,
        }
    }

    /// Takes what `party` answered. A Result must be signed by it, or by two parties of whom it heard it; an Abort must be its own, of this box,
    /// and its evidence must hold. What is not is said and left aside: no party can spoil what the others say. Two signatures are enough,
    /// whatever the third party says, or whether it says anything.
    fn take(&mut self, party: &Party, ended: Result<Ended, PartyError>, progress: &dyn Progress) -> Wait {
        let keys = self.manifest.party_keys();
        self.ended += 1;
        match ended {
            Ok(Ended::Result(result)) => {
                let good = |envelope: &Envelope| {
                    envelope.verify(Kind::Result, &keys).is_ok_and(|signed| {
                        signed[party.role().slot()] || signed.iter().filter(|signed| **signed).count() > 1
                    })
                };
                match Envelope::from_wire(result).ok().filter(good) {
                    Some(envelope) => self.add(envelope),
                    None => self.strange(party, "a Result that is not signed by it", progress),
                }
            }
            Ok(Ended::Aborted(abort)) => {
                let own = |envelope: &Envelope| {
                    Stopped::verify(std::slice::from_ref(envelope), &keys, self.of)
                        .is_ok_and(|stopped| stopped.is_by(party.role()))
                };
                match Envelope::from_wire(abort).ok().filter(own) {
                    Some(envelope) => self.aborts.push(envelope),
                    None => self.strange(party, "an Abort that is not its own, or does not hold", progress),
                }
            }
            Ok(Ended::Nothing) => self.silent.push(party.name().to_owned()),
            Err(error) => self.failed.push(error),
        }
        if self.results.iter().any(|result| self.stands(result)) {
            Wait::Enough
        } else if self.ended > 1 {
            Wait::Last
        } else {
            Wait::On
        }
    }

    /// Has not ended while it was waited for.
    fn left(&mut self, party: &Party, progress: &dyn Progress) {
        progress.note(&format!("{} has not said how its session ended", party.name()));
        self.silent.push(party.name().to_owned());
    }

    fn stands(&self, result: &Envelope) -> bool {
        SignedResult::open(result.clone(), self.manifest).is_ok()
    }

    fn add(&mut self, envelope: Envelope) {
        let same = |other: &&mut Envelope| other.payload() == envelope.payload();
        match self.results.iter_mut().find(same) {
            Some(same) => envelope
                .signatures()
                .iter()
                .for_each(|signature| same.add_signature(*signature)),
            None => self.results.push(envelope),
        }
    }

    /// `party` answered with something that is of no use: it has said nothing, and the others are heard all the same.
    fn strange(&mut self, party: &Party, what: &str, progress: &dyn Progress) {
        progress.note(&format!("{} sent {what}", party.name()));
        self.silent.push(party.name().to_owned());
    }

    /// Two signatures on the same bytes make a result, whatever a third party says.
    fn settle(self, parties: &Parties) -> Result<(wire::Envelope, Tallied), Error> {
        let (manifest, of) = (self.manifest, self.of);
        let of_box = of.1;
        let outcome = |problem| Error::Outcome { of_box, problem };
        let mut signed = Vec::new();
        for envelope in &self.results {
            match SignedResult::open(envelope.clone(), manifest) {
                Ok(result) => signed.push(result),
                // What stands with one signature only is said below.
                Err(ResultError::Signatures(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        // Two of three signatures cannot stand under two different results, unless a party signed both.
        match signed.as_slice() {
            [] => {}
            [signed] => {
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
            _ => return Err(outcome(OutcomeProblem::ResultsDiffer)),
        }
        if self.results.len() > 1 {
            return Err(outcome(OutcomeProblem::ResultsDiffer));
        }
        if !self.aborts.is_empty() {
            let names = [0, 1, 2].map(|slot: usize| parties.each()[slot].name().to_owned());
            let words = match Stopped::verify(&self.aborts, &manifest.party_keys(), of) {
                Ok(stopped) => stopped.in_words(&names),
                Err(error) => format!("the session stopped, and an Abort of it does not hold: {error}"),
            };
            let others = self.failed.iter().map(ToString::to_string);
            let silent = self
                .silent
                .iter()
                .map(|party| format!("{party} ended without an outcome"));
            let rest: String = others.chain(silent).map(|line| format!("\n  {line}")).collect();
            return Err(outcome(OutcomeProblem::Stopped(words + &rest)));
        }
        if let Some(party) = self.silent.into_iter().next() {
            return Err(outcome(OutcomeProblem::NoOutcome(party)));
        }
        if self.failed.is_empty() {
            return Err(outcome(OutcomeProblem::OneSignature));
        }
        Err(Error::Parties(self.failed))
    }
}

#[cfg(test)]
mod tests;
