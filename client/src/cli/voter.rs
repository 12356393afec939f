//! The voter's commands.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tally_proto::ids::{Role, RoleExt};
use tally_proto::invitation::sheet::{self, Addressee};
use tally_proto::invitation::{Invitation, InvitationError, Part};
use tally_proto::manifest::Rule;
use tally_proto::secret_file;
use tally_proto::unseen::Place;
use zeroize::Zeroizing;

use super::code_file::{self, Look};
use super::inspect::show_code;
use super::{Console, Failure, LanguageArg, ManifestArg, Outcome, StateArg, seconds};
use crate::choice::Choices;
use crate::connections::Connections;
use crate::device::Device;
use crate::election::Election;
use crate::fault::Fault;
use crate::form::{Form, choose_at_most, in_language};
use crate::invitation::{decoy_of, read_invitation, text_like};
use crate::keepsake::{Keepsakes, Kept};
use crate::logs::{InLog, find};
use crate::voter::{Cast, Notice, Patience, Voter};

/// The voter's invitation.
#[derive(Args)]
pub(super) struct InvitationArg {
    /// File with the invitation's code or link, `-` for standard input; twice if it came in two halves. Default: asked for. (The
    /// code itself is no argument: other users of a machine can read arguments.)
    #[arg(long = "invitation", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl InvitationArg {
    /// The invitation in these files.
    pub(super) fn of_files(files: Vec<PathBuf>) -> Self {
        Self { files }
    }

    fn texts(&self, console: &mut Console<'_>) -> Result<Vec<Zeroizing<String>>, Failure> {
        if self.files.is_empty() {
            let (first, part) = ask_code(
                console,
                "Your invitation's code or link:",
                "give --invitation FILE",
            )?;
            let mut texts = vec![first];
            let other = match part {
                Part::Whole(_) => return Ok(texts),
                Part::Letter(_) => "That was the letter's. The code of the text message:",
                Part::Message(_) => "That was the text message's. The code or link of the letter:",
            };
            texts.push(ask_code(console, other, "give --invitation FILE twice")?.0);
            return Ok(texts);
        }
        let mut texts = Vec::new();
        for path in &self.files {
            texts.push(if path.as_os_str() == "-" {
                console.line()?
            } else {
                code_file::read(path).map_err(|source| Failure::File {
                    path: path.clone(),
                    source,
                })?
            });
        }
        Ok(texts)
    }

    /// What a file is to look like beside the one that this text came from.
    fn look(&self, at: usize, text: &str) -> Result<Look, Failure> {
        match self.files.get(at).filter(|path| path.as_os_str() != "-") {
            None => Ok(Look::own()),
            Some(path) => Look::of(path, text).map_err(|source| Failure::File {
                path: path.clone(),
                source,
            }),
        }
    }

    pub(super) fn load(&self, console: &mut Console<'_>) -> Result<Invitation, Failure> {
        let texts = self.texts(console)?;
        let texts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
        Ok(read_invitation(&texts)?)
    }
}

/// Asks for a code until one is typed right, five times at most; what is wrong with it is said each time.
fn ask_code(
    console: &mut Console<'_>,
    question: &str,
    instead: &'static str,
) -> Result<(Zeroizing<String>, Part), Failure> {
    let mut tries = 5;
    loop {
        let typed = console.ask(question, instead)?;
        tries -= 1;
        match Part::parse(&typed) {
            Ok(part) => return Ok((typed, part)),
            Err(error) if tries == 0 || typed.is_empty() => return Err(error.into()),
            Err(error) => console.tell(&format!("{error}. Type it again.")),
        }
    }
}

pub(super) fn load_election(manifest: &ManifestArg) -> Result<Election, Failure> {
    let path = &manifest.manifest;
    let bytes = std::fs::read(path).map_err(|source| Failure::File {
        path: path.clone(),
        source,
    })?;
    Ok(Election::from_bytes(&bytes)?)
}

#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    manifest: ManifestArg,
    #[command(flatten)]
    invitation: InvitationArg,
    #[command(flatten)]
    language: LanguageArg,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let election = load_election(&self.manifest)?;
        let invitation = self.invitation.load(console)?;
        let form = election.form_for(&invitation)?;
        let languages = self.language.list();
        if self.json {
            console.say(&form_json(&election, &form, &languages).to_string());
        } else {
            console.say(form.render(&languages).trim_end());
        }
        Ok(Outcome::Done)
    }
}

fn form_json(election: &Election, form: &Form, languages: &[String]) -> serde_json::Value {
    let contests: Vec<_> = form
        .contests()
        .iter()
        .map(|contest| {
            let options: Vec<_> = contest.options().iter().map(|option| in_language(option, languages)).collect();
            json!({
                "contest": contest.id().0,
                "title": in_language(contest.title(), languages),
                "rule": match contest.rule() { Rule::Single => "single", Rule::Approval { .. } => "approval" },
                "choose_at_most": choose_at_most(contest),
                "options": options,
            })
        })
        .collect();
    json!({
        "election": election.id().as_str(),
        "title": in_language(form.title(), languages),
        "box": in_language(form.box_name(), languages),
        "contests": contests,
    })
}

#[derive(Args)]
pub(super) struct Vote {
    #[command(flatten)]
    manifest: ManifestArg,
    #[command(flatten)]
    invitation: InvitationArg,
    #[command(flatten)]
    choices: ChoiceArgs,
    #[command(flatten)]
    language: LanguageArg,
    #[command(flatten)]
    state: StateArg,
    /// Casts without asking for confirmation.
    #[arg(long)]
    yes: bool,
    /// Draws tickets anew, where those of this device are used up; the old ones are replaced when the new ones are here. Draws nothing where none was
    /// used yet. A voter draws a few times only.
    #[arg(long)]
    draw_again: bool,
    /// Where tickets are drawn only now, lets the ballot leave at a random moment within so long: the commission sees who draws and when. `client
    /// draw` long before is better.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    after_draw: Duration,
    /// Casts at once, even where tickets were drawn a moment ago. The commission can then tell which ballot is yours, not what is in it.
    #[arg(long)]
    now: bool,
    /// Keeps the receipts on this device. They show that and when a ballot was cast; `client erase` erases them.
    #[arg(long)]
    keep_receipt: bool,
    /// Shows a check code for another device afterwards, once: `client inspect` there shows what this ballot holds.
    #[arg(long)]
    second_device: bool,
    /// Shows the ballot's name, for `client check` later. It shows that a ballot was cast and when, never whose.
    #[arg(long)]
    show_name: bool,
    /// Waits at most this long for the parties' logs to show the ballot under another party's signature; 0: the logs are not asked.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    wait_for_logs: Duration,
    /// Goes on trying for this long until two parties have accepted, casting anew every minute.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    give_up_after: Duration,
    /// Waits at most this long for the third party once the ballot is safe.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    wait_for_third: Duration,
    /// Prints one JSON object, with the ballot's digest.
    #[arg(long)]
    json: bool,
}

/// What is chosen.
#[derive(Args)]
pub(super) struct ChoiceArgs {
    /// A choice by number or name, as `2`, `Mayor=2` or `Mayor=Maria Schmidt`; repeat for more. Default: asked for. (Other users
    /// of a machine can read arguments: on a shared one, let yourself be asked.)
    #[arg(long = "choice", value_name = "CHOICE")]
    choices: Vec<String>,
    /// Chooses nothing.
    #[arg(long, conflicts_with = "choices")]
    blank: bool,
    /// Spoils the contest of this place on the ballot, on purpose.
    #[arg(long, value_name = "CONTEST")]
    spoil: Vec<usize>,
}

impl ChoiceArgs {
    pub(super) fn load(
        &self,
        form: &Form,
        languages: &[String],
        console: &mut Console<'_>,
    ) -> Result<Choices, Failure> {
        let given: Vec<Zeroizing<String>> = if self.choices.is_empty() && !self.blank && self.spoil.is_empty()
        {
            ask_choices(form, languages, console)?
        } else {
            self.choices.iter().cloned().map(Zeroizing::new).collect()
        };
        let mut choices = Choices::parse(form, given.iter().map(|text| text.as_str()))?;
        for contest in &self.spoil {
            choices = choices.spoil(form, *contest)?;
        }
        Ok(choices)
    }
}

/// One line for each contest; several numbers are set apart by commas. A name with a comma is chosen by its number.
fn ask_choices(
    form: &Form,
    languages: &[String],
    console: &mut Console<'_>,
) -> Result<Vec<Zeroizing<String>>, Failure> {
    console.tell(&form.render(languages));
    let mut given = Vec::new();
    for (at, contest) in form.contests().iter().enumerate() {
        let question = format!(
            "{} (numbers or names, commas between; empty: nothing):",
            in_language(contest.title(), languages)
        );
        let line = console.ask(&question, "give --choice, or --blank")?;
        for part in line.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            given.push(Zeroizing::new(format!("{}={part}", at + 1)));
        }
    }
    Ok(given)
}

impl Vote {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let election = load_election(&self.manifest)?;
        let invitation = self.invitation.load(console)?;
        let connections = Connections::open(&election)?;
        let directory = self.state.directory();
        let device = Device::open(&directory)?;
        let patience = Patience {
            give_up_after: self.give_up_after,
            after_draw: if self.now { Duration::ZERO } else { self.after_draw },
        };
        let voter = Voter::new(&election, &connections, invitation, &device)?.with_patience(patience);
        let languages = self.language.list();
        let choices = self.choices.load(voter.form(), &languages, console)?;
        if !self.yes {
            console.tell("You are about to cast:");
            console.tell(choices.confirmation(voter.form(), &languages).trim_end());
            let answer = console.ask("Cast this ballot? (yes/no)", "give --yes")?;
            if !matches!(answer.to_lowercase().as_str(), "y" | "yes") {
                return Err(Failure::NotConfirmed);
            }
        }
        let mut rng = rand::rng();
        if self.draw_again {
            voter
                .draw_again_telling(&mut rng, |notice| console.tell(&sentence(&notice)))
                .await?;
        }
        let mut cast = voter
            .cast_telling(&choices, &mut rng, |notice| console.tell(&sentence(&notice)))
            .await?;
        if cast.accepted().len() < Role::ALL.len() && !self.wait_for_third.is_zero() {
            console.tell("Your ballot is safe: two parties have it. Waiting for the third as well ...");
        }
        let _ = tokio::time::timeout(self.wait_for_third, cast.third()).await;
        let logs = if self.wait_for_logs.is_zero() {
            Vec::new()
        } else {
            find(&connections, &cast.receipts(), &[], self.wait_for_logs).await
        };
        // The cast ballot is told first, whatever fails on this machine afterwards.
        if self.json {
            let mut value = cast_json(&cast);
            value["logs"] = logs.iter().map(log_json).collect();
            if let Some(disclosure) = cast.take_disclosure().filter(|_| self.second_device) {
                value["check_code"] = json!(disclosure.to_text().as_str());
            }
            console.say(&value.to_string());
        } else {
            console.say(&summary(&election, &cast));
            if self.show_name {
                console.say(&format!("Its name: {}", cast.named().to_text()));
            }
            say_logs(&election, &logs, console);
            if let Some(disclosure) = cast.take_disclosure().filter(|_| self.second_device) {
                show_code(disclosure, console)?;
            }
        }
        let kept = if self.keep_receipt {
            Keepsakes::of_device(&directory).keep(&Kept::of(&cast))
        } else {
            Ok(())
        };
        console.tell("A moment: this device forgets when it cast the ballot.");
        let forgotten = voter.forget_moment().await;
        let mut faults = logs.iter().filter_map(|log| log.as_ref().err());
        if faults.any(Fault::is_false) {
            for error in [
                kept.map_err(Failure::from).err(),
                forgotten.map_err(Failure::from).err(),
            ] {
                error
                    .into_iter()
                    .for_each(|error| console.complain(&error.to_string()));
            }
            return Err(Failure::False);
        }
        forgotten?;
        kept?;
        Ok(Outcome::Done)
    }
}

fn sentence(notice: &Notice) -> String {
    match notice {
        Notice::Trouble(fault) => format!("{fault}{}", if fault.may_pass() { " - trying again" } else { "" }),
        Notice::Accepted { party, agency } => format!("{agency} ({party}) has accepted your ballot."),
        Notice::Anew { attempt } => {
            format!(
                "Not enough acceptances within a minute: casting anew (attempt {attempt}). Only the latest counts."
            )
        }
        Notice::Absent { agencies } => format!(
            "Your ballot is not safe yet. It is cast again when {} answers; not before, which saves your tickets.",
            agencies.join(" or ")
        ),
        Notice::Waiting { for_ms } => {
            format!(
                "This device has just cast a ballot: waiting {:.1} s.",
                *for_ms as f64 / 1000.0
            )
        }
        Notice::Drawn { for_ms } => format!(
            "Your tickets were drawn just now. So that nobody can tell by the moment which ballot is yours, it leaves in {}. Leave this running. \
             (--now casts at once; `client draw`, long before the vote, saves the waiting.)",
            span(Duration::from_millis(*for_ms))
        ),
        Notice::NoTicket(what) => format!("{what} - trying again"),
        Notice::NoTime(what) => format!("{what} - trying again"),
    }
}

/// `4 min 5 s`.
fn span(wait: Duration) -> String {
    match (wait.as_secs() / 60, wait.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[derive(Args)]
pub(super) struct Draw {
    #[command(flatten)]
    manifest: ManifestArg,
    #[command(flatten)]
    invitation: InvitationArg,
    #[command(flatten)]
    state: StateArg,
    /// The first ballot leaves at a random moment within so long after the draw.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    after_draw: Duration,
}

impl Draw {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let election = load_election(&self.manifest)?;
        let invitation = self.invitation.load(console)?;
        let connections = Connections::open(&election)?;
        let device = Device::open(&self.state.directory())?;
        let patience = Patience {
            after_draw: self.after_draw,
            ..Patience::default()
        };
        let voter = Voter::new(&election, &connections, invitation, &device)?.with_patience(patience);
        let drawn = voter
            .draw_telling(&mut rand::rng(), |notice| console.tell(&sentence(&notice)))
            .await?;
        console.say(&match drawn {
            None => "This election asks for no tickets: there is nothing to draw.".to_owned(),
            Some(wait) if wait.is_zero() => "This device has its tickets: vote when you like.".to_owned(),
            Some(wait) => format!(
                "This device has its tickets for the whole election. Vote in {} at the earliest, better on another day.",
                span(wait)
            ),
        });
        voter.forget_moment().await?;
        Ok(Outcome::Done)
    }
}

fn summary(election: &Election, cast: &Cast) -> String {
    let accepted = cast.accepted();
    let agencies: Vec<&str> = accepted
        .iter()
        .map(|party| election.party(*party).agency())
        .collect();
    let mut text = format!("Your ballot was accepted by {}.", join(&agencies));
    for fault in cast.faults() {
        text.push_str(&format!("\nThe ballot is safe without it, but: {fault}."));
    }
    let faults = cast.faults();
    let silent =
        |party: &Role| !accepted.contains(party) && faults.iter().all(|fault| fault.party() != *party);
    for party in Role::ALL.into_iter().filter(silent) {
        let agency = election.party(party).agency();
        text.push_str(&format!(
            "\nThe ballot is safe without it, but: {agency} ({party}) has not answered yet; it or the way to it is slow."
        ));
    }
    text
}

/// Where the ballot stands in the logs, in one line for all that is well and one for each that is not.
fn say_logs(election: &Election, logs: &[Result<InLog, Fault>], console: &mut Console<'_>) {
    let agencies = |cosigned: bool| -> Vec<&str> {
        let found = logs
            .iter()
            .flatten()
            .filter(|log| (log.cosigned_by.is_empty() && log.seen_by.is_empty()) != cosigned);
        found.map(|log| election.party(log.party).agency()).collect()
    };
    match (agencies(true), agencies(false)) {
        (cosigned, _) if !cosigned.is_empty() => {
            console.say(&format!(
                "It stands in the public log of {}, and other parties have seen that.",
                join(&cosigned)
            ));
        }
        (_, seen) if !seen.is_empty() => {
            console.say(&format!(
                "It stands in the public log of {}; no other party has seen that yet.",
                join(&seen)
            ));
        }
        _ => {}
    }
    for fault in logs.iter().filter_map(|log| log.as_ref().err()) {
        console.say(&format!(
            "Its place in a log could not be checked: {fault} ({})",
            fault.reason()
        ));
        for evidence in fault.evidence() {
            console.say(evidence);
        }
    }
}

fn log_json(log: &Result<InLog, Fault>) -> serde_json::Value {
    match log {
        Ok(log) => json!({
            "party": log.party.number(),
            "position": log.position,
            "seen_by": log.seen_by.iter().map(|by| by.number()).collect::<Vec<_>>(),
            "cosigned_by": log.cosigned_by.iter().map(|by| by.number()).collect::<Vec<_>>(),
        }),
        Err(fault) => {
            let mut value = fault_json(fault);
            value["evidence"] = json!(fault.evidence());
            value
        }
    }
}

pub(super) fn join(names: &[&str]) -> String {
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

fn cast_json(cast: &Cast) -> serde_json::Value {
    json!({
        "digest": cast.digest().to_string(),
        "cast_at_s": cast.cast_at().0,
        "accepted": cast.accepted().iter().map(|party| party.number()).collect::<Vec<_>>(),
        "faults": cast.faults().iter().map(fault_json).collect::<Vec<_>>(),
    })
}

pub(super) fn fault_json(fault: &Fault) -> serde_json::Value {
    json!({ "party": fault.party().number(), "reason": fault.reason().code(), "detail": fault.to_string() })
}

#[derive(Args)]
pub(super) struct Receipts {
    #[command(flatten)]
    state: StateArg,
    /// Checks the signatures with this election's manifest.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Prints one JSON object a line.
    #[arg(long)]
    json: bool,
}

impl Receipts {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let election = self
            .manifest
            .map(|manifest| load_election(&ManifestArg { manifest }))
            .transpose()?;
        let all = Keepsakes::of_device(&self.state.directory()).all()?;
        if all.is_empty() && !self.json {
            console.say("No receipts are kept on this device.");
        }
        for kept in all {
            let verdicts = election.as_ref().map(|election| kept.verify(election));
            if self.json {
                let mut value = json!(kept);
                if let Some(verdicts) = verdicts {
                    value["verified"] = verdicts.iter().map(Result::is_ok).collect();
                }
                console.say(&value.to_string());
                continue;
            }
            console.say(&format!(
                "{}  cast {}  digest {}",
                kept.election,
                moment(kept.cast_at_s),
                kept.digest
            ));
            for (at, receipt) in kept.receipts.iter().enumerate() {
                let verdict = match verdicts.as_ref().and_then(|verdicts| verdicts.get(at)) {
                    None => String::new(),
                    Some(Ok(())) => "  signature verified".to_owned(),
                    Some(Err(what)) => format!("  FALSE: {what}"),
                };
                console.say(&format!(
                    "   P{} at {}, position {} of its log{verdict}",
                    receipt.party,
                    moment(receipt.received_at_s),
                    receipt.position
                ));
            }
        }
        Ok(Outcome::Done)
    }
}

/// A moment in this machine's time zone.
pub(super) fn moment(seconds: u64) -> String {
    let timestamp = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    timestamp.map_or_else(
        || format!("second {seconds}"),
        |at| {
            at.to_zoned(jiff::tz::TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S %Z")
                .to_string()
        },
    )
}

#[derive(Args)]
pub(super) struct Erase {
    #[command(flatten)]
    state: StateArg,
}

impl Erase {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let erased = Keepsakes::of_device(&self.state.directory()).erase()?;
        console.say(match erased {
            0 => "No receipts were kept on this device.",
            1 => "One receipt was erased.",
            _ => "All kept receipts were erased.",
        });
        Ok(Outcome::Done)
    }
}

#[derive(Args)]
pub(super) struct Decoy {
    #[command(flatten)]
    invitation: InvitationArg,
    /// How many to make.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    count: u16,
    /// Writes the decoy to a new file instead of showing it: like the file of the invitation, which from `enrol --out` only this user can read, without a
    /// moment in its times. Twice if the invitation came in two halves.
    #[arg(long, value_name = "FILE", conflicts_with = "count")]
    out: Vec<PathBuf>,
    /// Writes the decoy as a sheet for the printer too, like the commission's letter (a new file, one decoy). Needs --manifest.
    #[arg(long, value_name = "FILE", requires = "manifest", conflicts_with = "count")]
    sheet: Option<PathBuf>,
    /// The election's signed manifest, for the sheet.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// The voter's reference, as it stands on the commission's letter.
    #[arg(long, value_name = "TEXT", default_value = "", requires = "sheet")]
    reference: String,
    /// A line of name and address, as it stands on the commission's letter; repeat for more.
    #[arg(long, value_name = "TEXT", requires = "sheet")]
    address: Vec<String>,
    #[command(flatten)]
    language: LanguageArg,
}

impl Decoy {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let texts = self.invitation.texts(console)?;
        if !self.out.is_empty() && self.out.len() != texts.len() {
            return Err(Failure::FilesForCodes {
                codes: texts.len(),
                files: self.out.len(),
            });
        }
        // All of them, before anything is written to one.
        let places = self.out.iter().map(|path| Place::make(path));
        let places: Vec<Place> = places.collect::<Result<_, _>>()?;
        let mut rng = rand::rng();
        for _ in 0..self.count {
            let mut decoys = Vec::new();
            for (at, text) in texts.iter().enumerate() {
                let decoy = decoy_of(text, &mut rng)?;
                let code = text_like(&decoy, text);
                match places.get(at) {
                    Some(place) => code_file::put(place, &code, &self.invitation.look(at, text)?)?,
                    None => console.say(&code),
                }
                decoys.push(decoy);
            }
            if let (Some(place), Some(manifest)) = (&self.sheet, &self.manifest) {
                let election = load_election(&ManifestArg {
                    manifest: manifest.clone(),
                })?;
                let addressee = Addressee {
                    reference: self.reference.clone(),
                    address: self.address.clone(),
                    languages: self.language.list(),
                };
                // A text message goes on no paper.
                let on_paper = |decoy: &&Part| !matches!(decoy, Part::Message(_));
                let Some(decoy) = decoys.iter().find(on_paper) else {
                    return Err(InvitationError::MessageOnly.into());
                };
                let page = sheet::page(election.manifest(), &addressee, decoy)?;
                secret_file::create(place, page.as_bytes())?;
            }
        }
        Ok(Outcome::Done)
    }
}
