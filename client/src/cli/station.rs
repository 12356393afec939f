//! The polling station's commands.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use tally_proto::calendar::ChannelKind;
use tally_proto::ids::{BoxId, Role, RoleExt, StationId, VoterIndex};

use super::voter::{ChoiceArgs, fault_json, load_election, moment};
use super::{Console, Failure, LanguageArg, ManifestArg, Outcome, seconds};
use crate::StationVote;
use crate::election::Election;
use crate::station::{Drained, Hours, Queued, Station as Counter, StationError, StationKeys, TimeSource};

/// What is said before a paper vote is noted outside the hours that the station knows.
pub(super) const PAPER_OUTSIDE_HOURS: &str = "By what this station knows the parties will refuse this paper vote: the voter's other votes may NOT be \
     struck, and a paper ballot would be counted beside them. Hand out NO paper ballot before the commission has confirmed an order that opens paper now.";

#[derive(Subcommand)]
pub(super) enum Station {
    /// Makes a new station's keys, its certificate request and its identity file for the commission.
    Init(Init),
    /// The officer's dialogue of the day: opens the station, takes votes, closes with a signed statement. By keyboard alone.
    Desk(super::desk::Desk),
    /// Takes an electronic vote of a voter who was checked in.
    Vote(Vote),
    /// Notes that a voter who was checked in votes on paper: it strikes the voter's other votes.
    Paper(Paper),
    /// Delivers what is queued to the parties.
    Drain(Drain),
    /// Shows what was cast and what some party still lacks.
    Status(Show),
}

impl Station {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        match self {
            Self::Init(init) => init.run(console),
            Self::Desk(desk) => desk.run(console).await,
            Self::Vote(vote) => vote.run(console).await,
            Self::Paper(paper) => paper.run(console).await,
            Self::Drain(drain) => drain.run(console).await,
            Self::Status(show) => show.run(console),
        }
    }
}

#[derive(Args)]
struct DirectoryArg {
    /// The station's directory: keys, certificate and queue.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Args)]
pub(super) struct Init {
    #[command(flatten)]
    directory: DirectoryArg,
    /// The station's number.
    #[arg(long)]
    id: u32,
    /// The station's name.
    #[arg(long)]
    name: String,
    /// A box it may vote for; repeat for more. Default: all.
    #[arg(long = "box", value_name = "BOX")]
    boxes: Vec<u32>,
}

impl Init {
    fn run(mut self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        self.boxes.sort_unstable();
        self.boxes.dedup();
        let boxes = self.boxes.into_iter().map(BoxId).collect();
        let directory = &self.directory.dir;
        let keys = StationKeys::create(directory, StationId(self.id), &self.name, boxes, &mut rand::rng())?;
        console.say(&format!(
            "Station {} \"{}\" is set up in {}.\n\
             Give the commission these two files, and read it the fingerprint over the phone:\n   \
             {}\n   {}\n   fingerprint {}\n\
             Save the certificate it answers with as {}.",
            keys.id(),
            self.name,
            directory.display(),
            StationKeys::identity_path(directory).display(),
            StationKeys::request_path(directory).display(),
            keys.identity().fingerprint(),
            StationKeys::certificate_path(directory).display(),
        ));
        Ok(Outcome::Done)
    }
}

/// Who votes, by the check-in.
#[derive(Args)]
struct VoterArg {
    /// The voter's box.
    #[arg(long = "box", value_name = "BOX")]
    box_id: u32,
    /// The voter's number in the roll of the box. Default: asked for. (Other users of a machine can read arguments.)
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
}

impl VoterArg {
    fn index(&self, console: &mut Console<'_>) -> Result<VoterIndex, Failure> {
        if let Some(index) = self.index {
            return Ok(VoterIndex(index));
        }
        let typed = console.ask("The voter's number in the roll:", "give --index")?;
        typed.parse().map(VoterIndex).map_err(|_| Failure::NotANumber {
            given: typed.to_string(),
        })
    }
}

/// Whose word the hours are taken on.
#[derive(Args)]
struct HoursArg {
    /// Notes it although the channel is closed by the hours that this station knows: an order has changed them, and the station has not heard of it.
    #[arg(long)]
    outside_hours: bool,
}

impl HoursArg {
    /// Asked before anybody chooses: by which hours a vote that is cast now is taken. What may become of it is said before it is noted.
    async fn check(
        &self,
        counter: &mut Counter,
        kind: ChannelKind,
        console: &mut Console<'_>,
    ) -> Result<Hours, Failure> {
        let (now, _) = counter.time().await?;
        match counter.check_hours(kind, now) {
            Err(StationError::OutsideHours { why, .. }) if self.outside_hours => {
                console.tell(&format!("{why}."));
                console.tell(match kind {
                    ChannelKind::Paper => PAPER_OUTSIDE_HOURS,
                    _ => "By what this station knows the parties will refuse this vote: it counts only where an order has opened the channel.",
                });
                Ok(Hours::ByWord)
            }
            // What closes while the voter chooses is refused: nobody was told of that.
            checked => checked.map(|()| Hours::Known).map_err(with_flag),
        }
    }
}

fn with_flag(error: StationError) -> Failure {
    match error {
        StationError::OutsideHours { .. } => Failure::OutsideHours(error),
        error => error.into(),
    }
}

#[derive(Args)]
pub(super) struct Vote {
    #[command(flatten)]
    directory: DirectoryArg,
    #[command(flatten)]
    manifest: ManifestArg,
    #[command(flatten)]
    voter: VoterArg,
    #[command(flatten)]
    hours: HoursArg,
    #[command(flatten)]
    choices: ChoiceArgs,
    #[command(flatten)]
    language: LanguageArg,
    #[command(flatten)]
    delivery: DeliveryArg,
}

/// Whether to deliver at once.
#[derive(Args)]
struct DeliveryArg {
    /// Tries to deliver at once for this long; what is not delivered stays queued. 0: only queues.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    deliver_for: Duration,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

impl DeliveryArg {
    async fn finish(
        &self,
        counter: &mut Counter,
        queued: Queued,
        what: &str,
        console: &mut Console<'_>,
    ) -> Result<Outcome, Failure> {
        if !self.json {
            console.say(&format!(
                "{what} is queued as number {}, cast at {}.",
                queued.sequence,
                moment(queued.cast_at.0)
            ));
            match queued.time {
                TimeSource::Parties => {}
                TimeSource::Corrected => console.tell("The parties' clocks cannot be reached: this machine's was used, corrected."),
                TimeSource::Uncorrected => console.tell(
                    "The parties' clocks cannot be reached and never were: this machine's clock was used. Check that it is right.",
                ),
            }
        }
        let drained = match self.deliver_for.is_zero() {
            true => None,
            false => Some(counter.drain(self.deliver_for).await?),
        };
        if self.json {
            let value = json!({
                "sequence": queued.sequence,
                "digest": queued.digest.to_string(),
                "cast_at_s": queued.cast_at.0,
                "left": drained.as_ref().map(|drained| drained.left),
            });
            console.say(&value.to_string());
        } else if let Some(drained) = drained.filter(|drained| !drained.is_complete()) {
            tell_trouble(&drained, console);
            console.tell("It is safe on this disk; `station drain` delivers it.");
        }
        Ok(Outcome::Done)
    }
}

fn open(directory: &DirectoryArg, manifest: &ManifestArg) -> Result<(Election, Counter), Failure> {
    let election = load_election(manifest)?;
    let counter = Counter::open(&directory.dir, &election)?;
    Ok((election, counter))
}

impl Vote {
    async fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let (election, mut counter) = open(&self.directory, &self.manifest)?;
        let box_id = BoxId(self.voter.box_id);
        let form = election.form(box_id)?;
        let hours = self.hours.check(&mut counter, ChannelKind::Station, console);
        let hours = hours.await?;
        let index = self.voter.index(console)?;
        let choices = self.choices.load(&form, &self.language.list(), console)?;
        let vote = StationVote {
            box_id,
            index,
            choices: Some(choices),
        };
        let queued = counter.cast(vote, hours, &mut rand::rng()).await;
        let queued = queued.map_err(with_flag)?;
        self.delivery
            .finish(&mut counter, queued, "The vote", console)
            .await
    }
}

#[derive(Args)]
pub(super) struct Paper {
    #[command(flatten)]
    directory: DirectoryArg,
    #[command(flatten)]
    manifest: ManifestArg,
    #[command(flatten)]
    voter: VoterArg,
    #[command(flatten)]
    hours: HoursArg,
    #[command(flatten)]
    delivery: DeliveryArg,
}

impl Paper {
    async fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let (_, mut counter) = open(&self.directory, &self.manifest)?;
        let hours = self.hours.check(&mut counter, ChannelKind::Paper, console);
        let hours = hours.await?;
        let index = self.voter.index(console)?;
        let vote = StationVote {
            box_id: BoxId(self.voter.box_id),
            index,
            choices: None,
        };
        let queued = counter.cast(vote, hours, &mut rand::rng()).await;
        let queued = queued.map_err(with_flag)?;
        self.delivery
            .finish(&mut counter, queued, "The paper vote", console)
            .await
    }
}

#[derive(Args)]
pub(super) struct Drain {
    #[command(flatten)]
    directory: DirectoryArg,
    #[command(flatten)]
    manifest: ManifestArg,
    /// Goes on trying for this long while some party is away.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    give_up_after: Duration,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

impl Drain {
    async fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let (_, mut counter) = open(&self.directory, &self.manifest)?;
        let drained = counter.drain(self.give_up_after).await?;
        if self.json {
            let refused: Vec<_> = drained
                .refused
                .iter()
                .map(|(row, fault)| {
                    json!({ "box": row.of_box.0, "sequence": row.sequence, "paper": row.is_paper(), "fault": fault_json(fault) })
                })
                .collect();
            let value = json!({
                "delivered": drained.delivered,
                "left": drained.left,
                "faults": drained.faults.values().map(fault_json).collect::<Vec<_>>(),
                "refused": refused,
            });
            console.say(&value.to_string());
        } else {
            console.say(&format!(
                "{} delivered to all three parties, {} left.",
                drained.delivered, drained.left
            ));
            tell_trouble(&drained, console);
        }
        Ok(if drained.is_complete() {
            Outcome::Done
        } else {
            Outcome::Left
        })
    }
}

fn tell_trouble(drained: &Drained, console: &mut Console<'_>) {
    for fault in drained.faults.values().filter(|fault| fault.may_pass()) {
        console.tell(&fault.to_string());
    }
    for (row, fault) in &drained.refused {
        console.tell(&format!("{row}: {fault}"));
    }
}

#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    directory: DirectoryArg,
    #[command(flatten)]
    manifest: ManifestArg,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

impl Show {
    fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let (election, counter) = open(&self.directory, &self.manifest)?;
        let status = counter.status();
        if self.json {
            let counts: Vec<_> = status
                .counts
                .iter()
                .map(|(id, of)| json!({ "box": id.0, "electronic": of.electronic, "paper": of.paper }))
                .collect();
            let value = json!({
                "station": status.station,
                "counts": counts,
                "pending": status.pending,
                "safe": status.safe,
                "lacking": status.lacking,
                "clock_offset_ms": status.offset_ms,
            });
            console.say(&value.to_string());
            return Ok(Outcome::Done);
        }
        console.say(&format!("Station {}", status.station));
        for (id, of) in &status.counts {
            console.say(&format!(
                "   box {id}: {} electronic, {} paper",
                of.electronic, of.paper
            ));
        }
        console.say(&format!(
            "   {} queued, {} of them safe with two parties",
            status.pending, status.safe
        ));
        for party in Role::ALL {
            let lacking = status.lacking[party.slot()];
            if lacking > 0 {
                console.say(&format!(
                    "   {} ({party}) lacks {lacking}",
                    election.party(party).agency()
                ));
            }
        }
        console.say(&match status.offset_ms {
            Some(0) => "   this machine's clock is the parties'".to_owned(),
            Some(offset_ms) => format!(
                "   this machine's clock is {} ms {} the parties'",
                offset_ms.unsigned_abs(),
                if offset_ms > 0 { "behind" } else { "ahead of" }
            ),
            None => "   this machine's clock was never compared with the parties'".to_owned(),
        });
        Ok(Outcome::Done)
    }
}
