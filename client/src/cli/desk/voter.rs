//! One voter: found on the roll, signed in, the vote or the paper, the receipt.

use std::time::Duration;

use tally_proto::ballot::BallotError;
use tally_proto::calendar::{ChannelKind, TimingError};
use tally_proto::ids::BoxId;

use super::{AtWork, ERASE, Reply, ask, choose, choose_where};
use crate::choice::Choices;
use crate::cli::Failure;
use crate::cli::printer::print;
use crate::cli::station::PAPER_OUTSIDE_HOURS;
use crate::cli::voter::moment;
use crate::form::in_language;
use crate::station::roll::OnRoll;
use crate::station::{Hours, Queued, StationError, StationVote, TimeSource};

/// How long news of the station are waited for before a voter.
const LOOK_FOR: Duration = Duration::from_millis(1_500);
/// How long a printer is waited for.
const PRINT_FOR: Duration = Duration::from_secs(30);
/// Voters shown of one search.
const FOUND: usize = 9;

/// What an officer types for a vote at the screen.
const ELECTRONIC: u64 = 1;
/// And for one on paper, whatever else is offered.
const PAPER: u64 = 2;

/// The ways of voting that a voter is offered.
struct Ways {
    kinds: Vec<ChannelKind>,
    /// By which hours they are open.
    hours: Hours,
}

fn number(kind: ChannelKind) -> u64 {
    match kind {
        ChannelKind::Paper => PAPER,
        ChannelKind::Station | ChannelKind::Online => ELECTRONIC,
    }
}

fn offer(kind: ChannelKind) -> String {
    let way = match kind {
        ChannelKind::Paper => "votes on paper",
        ChannelKind::Station | ChannelKind::Online => "votes here electronically",
    };
    format!("{}: {way}. ", number(kind))
}

impl AtWork<'_, '_> {
    /// One voter, from the search to the receipt.
    pub(super) async fn voter(&mut self) -> Result<(), Failure> {
        self.bulletin.look(LOOK_FOR).await;
        if self.is_stopped() {
            return Ok(());
        }
        let Some(voter) = self.find()? else {
            return Ok(());
        };
        let of_box = self.election.manifest().ballot_box(voter.of_box);
        let box_name = of_box
            .map_or("", |of| in_language(of.name(), &self.languages))
            .to_owned();
        self.console.say(&format!(
            "{}, box {} {box_name}, number {}. {}",
            voter.reference,
            voter.of_box,
            voter.voter,
            if voter.online {
                "May vote online too: a vote here takes its place."
            } else {
                "Votes at stations only."
            }
        ));
        if let Some(party) = voter.missing_at {
            self.console.say(&format!(
                "{} ({party}) does not have this enrolment, the two others have: it may not be finished. Let the voter vote all the same; if the enrolment does \
                 not stand, the vote here does not count either. Tell the commission.",
                self.election.party(party).agency()
            ));
        }
        if self.book.has_signed_in(voter.of_box, voter.voter) {
            self.console.say(
                "THIS VOTER HAS SIGNED IN HERE BEFORE. A second vote takes the place of the first, and one on paper of both. Look into it and \
                 note it in the minutes; the sheet is signed again.",
            );
        }
        // The search may have taken long; the time asks for news of this station too.
        let Some(ways) = self.ways(&voter).await? else {
            return Ok(());
        };
        if self.is_stopped() {
            return Ok(());
        }
        let offers: String = ways.kinds.iter().map(|kind| offer(*kind)).collect();
        let question = format!(
            "Check the identity document and have the voter sign the sheet. {offers}0: back, nothing is noted."
        );
        let numbers: String = ways
            .kinds
            .iter()
            .map(|kind| format!("{} or ", number(*kind)))
            .collect();
        let chosen = choose_where(self.console, &question, &format!("{numbers}0"), |typed| {
            typed == 0 || ways.kinds.iter().any(|kind| number(*kind) == typed)
        })?;
        match chosen {
            Some(ELECTRONIC) => self.electronic(&voter, ways.hours).await,
            Some(PAPER) => self.paper(&voter, ways.hours).await,
            _ => {
                self.console.say("Nothing was noted.");
                Ok(())
            }
        }
    }

    /// A vote on paper: it is noted before a paper ballot is handed out.
    async fn paper(&mut self, voter: &OnRoll, hours: Hours) -> Result<(), Failure> {
        if hours == Hours::ByWord {
            self.console.say(PAPER_OUTSIDE_HOURS);
            let question =
                "1: note it, the commission has told you of such an order. 0: back, nothing is noted.";
            if choose(self.console, question, 1)? != Some(1) {
                self.console.say("Nothing was noted.");
                return Ok(());
            }
        }
        self.book
            .sign_in(voter.of_box, voter.voter)
            .map_err(StationError::from)?;
        let queued = self.cast(voter, None, hours).await;
        if let Some(queued) = self.kept(queued)? {
            let noted = format!("Noted as number {} of box {}", queued.sequence, voter.of_box);
            self.console.say(&match hours {
                Hours::Known => {
                    format!("{noted}: give the voter a paper ballot. The voter's other votes are struck.")
                }
                Hours::ByWord => format!(
                    "{noted}, outside the hours that this station knows. Only with the commission's word that an order opens paper now: hand out the paper ballot, \
                     which then strikes the voter's other votes. Note it in the minutes."
                ),
            });
        }
        Ok(())
    }

    async fn cast(
        &self,
        voter: &OnRoll,
        choices: Option<Choices>,
        hours: Hours,
    ) -> Result<Queued, StationError> {
        let vote = StationVote {
            box_id: voter.of_box,
            index: voter.voter,
            choices,
        };
        self.counter
            .lock()
            .await
            .cast(vote, hours, &mut rand::rng())
            .await
    }

    fn find(&mut self) -> Result<Option<OnRoll>, Failure> {
        loop {
            let typed = match ask(self.console, "Reference on the roll, or its beginning (0: back):")? {
                Reply::Text(text) if text != "0" && !text.is_empty() => text,
                Reply::Text(text) if text.is_empty() => continue,
                _ => return Ok(None),
            };
            let (found, more) = self.roll.find(&typed, FOUND);
            if found.is_empty() {
                self.console.say(&format!(
                    "Nobody on this station's roll has a reference that begins with {typed:?}."
                ));
                continue;
            }
            if let [one] = found.as_slice()
                && !more
            {
                return Ok(Some((*one).clone()));
            }
            for (number, voter) in (1..).zip(&found) {
                self.console
                    .say(&format!("{number}: {}, box {}", voter.reference, voter.of_box));
            }
            if more {
                self.console.say("There are more: type more of the reference.");
            }
            let question = "Which one? 0: search again.";
            match choose(self.console, question, found.len() as u64)? {
                None => return Ok(None),
                Some(0) => {}
                Some(number) => return Ok(found.get(number as usize - 1).map(|voter| (*voter).clone())),
            }
        }
    }

    /// The ways of voting that are open now by the hours that this station knows. Where none is, the officer decides, who may know of an order that
    /// the station has not seen.
    async fn ways(&mut self, voter: &OnRoll) -> Result<Option<Ways>, Failure> {
        let (now, source, checked) = {
            let mut counter = self.counter.lock().await;
            let (now, source) = counter.time().await?;
            let check = |kind| (kind, counter.check_hours(kind, now));
            (now, source, [ChannelKind::Station, ChannelKind::Paper].map(check))
        };
        let (mut open, mut closed) = (Vec::new(), Vec::new());
        for (kind, checked) in checked {
            match checked {
                Ok(()) => open.push(kind),
                Err(StationError::OutsideHours { why, .. }) => closed.push((kind, why)),
                Err(StationError::Closed(BallotError::StationClosed { opens, .. })) => {
                    self.console.say(&match opens {
                        Some(opens) => format!(
                            "This station has hours of its own and opens at {}. No vote is taken before.",
                            moment(opens.get())
                        ),
                        None => "This station's own hours are over. No vote is taken.".to_owned(),
                    });
                    return Ok(None);
                }
                // The election has no such channel, and no order makes one.
                Err(StationError::Closed(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !open.is_empty() {
            for (kind, why) in closed {
                let why = self.closed(kind, &why);
                self.console.say(&match kind {
                    ChannelKind::Paper => format!("{why}. Give nobody a paper ballot now."),
                    _ => format!("{why}."),
                });
            }
            return Ok(Some(Ways {
                kinds: open,
                hours: Hours::Known,
            }));
        }
        if closed.is_empty() {
            self.console.say("This election takes no votes at stations.");
            return Ok(None);
        }
        for (kind, why) in &closed {
            let why = self.closed(*kind, why);
            self.console.say(&format!("{why}."));
        }
        self.console.say(&format!("It is {}.", moment(now.get())));
        if source != TimeSource::Parties {
            self.console
                .say("The time is this machine's: look whether it is right.");
        }
        let question = format!(
            "A vote outside the hours does not count. 1: go on for {}, because an order has changed them. 0: back.",
            voter.reference
        );
        if choose(self.console, &question, 1)? != Some(1) {
            self.console.say("Nothing was noted.");
            return Ok(None);
        }
        Ok(Some(Ways {
            kinds: closed.into_iter().map(|(kind, _)| kind).collect(),
            hours: Hours::ByWord,
        }))
    }

    /// When a channel opens or closed, and who says so.
    fn closed(&self, kind: ChannelKind, why: &TimingError) -> String {
        let by_manifest = self.election.manifest().channel(kind) == self.bulletin.channel(kind).as_ref();
        let by = if by_manifest {
            "By the manifest"
        } else {
            "By an order in force"
        };
        match why {
            TimingError::BeforeOpening { opens, .. } => {
                format!("{by} the {kind} channel opens at {}", moment(opens.get()))
            }
            TimingError::AfterClose { closed, .. } => {
                format!("{by} the {kind} channel closed at {}", moment(closed.get()))
            }
            other => format!("{by}: {other}"),
        }
    }

    async fn electronic(&mut self, voter: &OnRoll, hours: Hours) -> Result<(), Failure> {
        self.book
            .sign_in(voter.of_box, voter.voter)
            .map_err(StationError::from)?;
        self.clear();
        self.console.say("It is the voter's turn. Officer: look away.\n");
        let form = self.election.form(voter.of_box)?;
        let choices = loop {
            self.console.say(&form.render(&self.languages));
            let Some(chosen) = self.choices(&form)? else {
                self.clear();
                self.console
                    .say("The voter stopped without voting. The sign-in stays; no vote was cast.");
                return Ok(());
            };
            self.console.say("You are about to vote:");
            self.console
                .say(chosen.confirmation(&form, &self.languages).trim_end());
            match choose(
                self.console,
                "1: cast this vote. 2: choose again. 0: stop without voting.",
                2,
            )? {
                Some(1) => break chosen,
                Some(2) => {}
                _ => {
                    self.clear();
                    self.console
                        .say("The voter stopped without voting. The sign-in stays; no vote was cast.");
                    return Ok(());
                }
            }
        };
        let cast = self.cast(voter, Some(choices), hours).await;
        let Some(queued) = self.kept(cast)? else {
            return Ok(());
        };
        self.clear();
        self.console.say("Your vote is kept.");
        let question = "A receipt shows that a vote was cast, not for what. 1: receipt. 0: none.";
        if choose(self.console, question, 1)? == Some(1) {
            self.receipt(voter.of_box, &queued)?;
        }
        self.clear();
        self.console.say("The vote is kept. Officer: go on.");
        Ok(())
    }

    /// Asks contest by contest; `None` where the voter stops.
    fn choices(&mut self, form: &crate::form::Form) -> Result<Option<Choices>, Failure> {
        'anew: loop {
            let mut given = Vec::new();
            for (at, contest) in (1..).zip(form.contests()) {
                let question = format!(
                    "{}: numbers with commas between, Enter alone for nothing, x to stop.\n>",
                    in_language(contest.title(), &self.languages)
                );
                let line = match self.console.reply(&question)? {
                    Some(line) if !line.eq_ignore_ascii_case("x") => line,
                    _ => return Ok(None),
                };
                for part in line.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                    given.push(zeroize::Zeroizing::new(format!("{at}={part}")));
                }
            }
            match Choices::parse(form, given.iter().map(|text| text.as_str())) {
                Ok(choices) => return Ok(Some(choices)),
                Err(error) => {
                    self.console.say(&format!("{error}. Choose again."));
                    continue 'anew;
                }
            }
        }
    }

    /// What was kept; what could not be is told, and ends the desk where the disk is at fault.
    fn kept(&mut self, cast: Result<Queued, StationError>) -> Result<Option<Queued>, Failure> {
        match cast {
            Ok(queued) => {
                if queued.time == TimeSource::Uncorrected {
                    self.console.say(
                        "The parties' clocks were never reached: the vote is dated by this machine's clock.",
                    );
                }
                Ok(Some(queued))
            }
            Err(
                error @ (StationError::Closed(_)
                | StationError::OutsideHours { .. }
                | StationError::NotServed { .. }
                | StationError::NotInRoll { .. }
                | StationError::Stopped(_)),
            ) => {
                self.clear();
                let words = error.to_string();
                self.console.say(&format!(
                    "No vote was cast: {}. The sign-in stays; note it in the minutes.",
                    words.trim_end_matches('.')
                ));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn receipt(&mut self, of_box: BoxId, queued: &Queued) -> Result<(), Failure> {
        let text = format!(
            "{}\nStation {} {}\nBox {of_box}, number {}\nCast {}\nName of the ballot:\n{}:{}\nIt shows that this ballot was cast, not what it holds.\n",
            in_language(self.election.manifest().title(), &self.languages),
            self.station,
            self.name,
            queued.sequence,
            moment(queued.cast_at.0),
            of_box,
            queued.digest
        );
        match self.arguments.printer.clone() {
            Some(command) => match print(&command, &text, PRINT_FOR) {
                Ok(()) => self.console.say("The receipt is printed."),
                Err(error) => self
                    .console
                    .say(&format!("The receipt could not be printed ({error}):\n{text}")),
            },
            None => self.console.say(&text),
        }
        let _ = ask(self.console, "Press Enter when you have it.")?;
        Ok(())
    }

    /// Moves what was on the screen out of sight: on a terminal it is erased with what was scrolled away, elsewhere 24 empty lines follow.
    fn clear(&mut self) {
        if self.console.interactive {
            self.console.say(ERASE);
        } else {
            self.console.say(&"\n".repeat(23));
        }
    }
}
