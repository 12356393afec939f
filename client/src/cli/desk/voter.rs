//! One voter: found on the roll, signed in, the vote or the paper, the receipt.

use std::time::Duration;

use tally_proto::calendar::ChannelKind;
use tally_proto::ids::BoxId;

use super::{AtWork, ERASE, Reply, ask, choose};
use crate::choice::Choices;
use crate::cli::Failure;
use crate::cli::printer::print;
use crate::cli::voter::moment;
use crate::form::in_language;
use crate::station::roll::OnRoll;
use crate::station::{Queued, StationError, TimeSource};

/// How long news of the station are waited for before a voter.
const LOOK_FOR: Duration = Duration::from_millis(1_500);
/// How long a printer is waited for.
const PRINT_FOR: Duration = Duration::from_secs(30);
/// Voters shown of one search.
const FOUND: usize = 9;

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
        if !self.has_open_channel(&voter).await? || self.is_stopped() {
            return Ok(());
        }
        let question = "Check the identity document and have the voter sign the sheet. 1: votes here electronically. 2: votes on paper. 0: back, nothing is noted.";
        match choose(self.console, question, 2)? {
            Some(1) => self.electronic(&voter).await,
            Some(2) => {
                self.book
                    .sign_in(voter.of_box, voter.voter)
                    .map_err(StationError::from)?;
                let queued = self
                    .counter
                    .lock()
                    .await
                    .paper(voter.of_box, voter.voter, &mut rand::rng())
                    .await;
                match self.kept(queued)? {
                    Some(queued) => {
                        self.console.say(&format!(
                            "Noted as number {} of box {}: give the voter a paper ballot. The voter's other votes are struck.",
                            queued.sequence, voter.of_box
                        ));
                        Ok(())
                    }
                    None => Ok(()),
                }
            }
            _ => {
                self.console.say("Nothing was noted.");
                Ok(())
            }
        }
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

    /// Whether a vote dated now can count, as far as the manifest says; an order may have changed a channel's hours, which the officer knows.
    async fn has_open_channel(&mut self, voter: &OnRoll) -> Result<bool, Failure> {
        let (now, source) = self.counter.lock().await.time().await?;
        let manifest = self.election.manifest();
        let own = manifest.station(tally_proto::ids::StationId(self.station));
        if let Some(own) = own.filter(|own| !own.is_open(now)) {
            let opens = own.opens_after(now).map(|at| moment(at.get()));
            self.console.say(&match opens {
                Some(opens) => format!(
                    "This station has hours of its own and opens at {opens}. No vote is taken before."
                ),
                None => "This station's own hours are over. No vote is taken.".to_owned(),
            });
            return Ok(false);
        }
        let open = |kind: ChannelKind| {
            let channel = manifest.channels().iter().find(|channel| channel.kind() == kind);
            channel.map(|channel| channel.check_opening(now))
        };
        let (electronic, paper) = (open(ChannelKind::Station), open(ChannelKind::Paper));
        let closed: Vec<String> = [&electronic, &paper]
            .into_iter()
            .flatten()
            .filter_map(|check| check.as_ref().err().map(ToString::to_string))
            .collect();
        if closed.is_empty() {
            return Ok(true);
        }
        for why in &closed {
            self.console.say(&format!("By the manifest: {why}."));
        }
        if source != TimeSource::Parties {
            self.console
                .say("The time is this machine's: look whether it is right.");
        }
        let question = format!(
            "A vote outside the hours does not count. 1: go on for {}, because the hours fit or an order has changed them. 0: back.",
            voter.reference
        );
        Ok(choose(self.console, &question, 1)? == Some(1))
    }

    async fn electronic(&mut self, voter: &OnRoll) -> Result<(), Failure> {
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
        let cast = self
            .counter
            .lock()
            .await
            .vote(voter.of_box, voter.voter, choices, &mut rand::rng())
            .await;
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
                | StationError::NotServed { .. }
                | StationError::NotInRoll { .. }),
            ) => {
                self.clear();
                self.console.say(&format!("No vote was cast: {error}."));
                Ok(None)
            }
            Err(error @ StationError::Stopped(_)) => {
                self.clear();
                self.console.say(&format!(
                    "No vote was cast: {error} The sign-in stays; note it in the minutes."
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
