//! `client station desk`: the officer's dialogue of a day at a station, in lines, by keyboard alone.
//!
//! Every question names its answers, which are numbers or words followed by Enter; 0 goes back, and nothing is noted before a question that
//! says so. Nothing moves on the screen and no colour means anything, so that a screen reader says all there is. When the voter's turn is over
//! the screen is cleared. What the officer is told to be kept is on disk: the dialogue may end at any moment, by a power cut too, and goes on
//! where it was when it is begun again.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tally_proto::calendar::ChannelKind;
use tally_proto::ids::{BoxId, UnixSeconds};
use tally_proto::sign_ins::{BoxSignIns, MAX_WORDS, SignIns};
use tokio::sync::Mutex;

use super::voter::{load_election, moment};
use super::{Console, Failure, LanguageArg, ManifestArg, Outcome};
use crate::choice::Choices;
use crate::election::Election;
use crate::form::in_language;
use crate::station::bulletin::RefusedBallot;
use crate::station::roll::{OnRoll, RollFile};
use crate::station::{Book, Bulletin, Counts, Queued, Station as Counter, StationError, TimeSource};

/// How often what waits is delivered.
const DRAIN_EVERY: Duration = Duration::from_secs(5);
/// How long one such attempt may hold the desk up.
const DRAIN_FOR: Duration = Duration::from_secs(3);
/// How long news of the station are waited for before a voter.
const LOOK_FOR: Duration = Duration::from_millis(1_500);
/// How long a printer is waited for.
const PRINT_FOR: Duration = Duration::from_secs(30);
/// Clocks further apart than this are told.
const CLOCK_NEWS_MS: i64 = 2_000;
/// A certificate that ends sooner is told.
const CERTIFICATE_NEWS_S: u64 = 3 * 24 * 3600;
/// Erases a terminal and what can be scrolled back to, and goes to its top.
const ERASE: &str = "\x1b[H\x1b[2J\x1b[3J";
/// How a program ends that Ctrl-C ended.
const INTERRUPTED: i32 = 130;
/// Voters shown of one search.
const FOUND: usize = 9;
/// Refused ballots that stand before each voter; the state in full has them all.
const REFUSED_SHOWN: usize = 3;

/// The officer's dialogue: opening, voters, closing.
#[derive(Args)]
pub(super) struct Desk {
    /// The station's directory: keys, certificate, queue and sign-in book.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    manifest: ManifestArg,
    /// The commission's roll, CSV.
    #[arg(long, value_name = "FILE")]
    roll: PathBuf,
    #[command(flatten)]
    language: LanguageArg,
    /// A command that prints what it reads, as "lp -d counter"; receipts are then printed instead of shown.
    #[arg(long, value_name = "COMMAND")]
    printer: Option<String>,
    /// Where the closing statement goes too, besides the station's directory.
    #[arg(long, value_name = "FILE")]
    statement: Option<PathBuf>,
}

/// A desk at work.
struct AtWork<'a, 'c> {
    console: &'a mut Console<'c>,
    election: Election,
    roll: RollFile,
    counter: Arc<Mutex<Counter>>,
    bulletin: Bulletin,
    book: Book,
    languages: Vec<String>,
    arguments: Desk,
    station: u32,
    name: String,
}

/// What a question was answered with.
enum Reply {
    Text(String),
    /// The input has ended.
    End,
}

impl Desk {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let election = load_election(&self.manifest)?;
        let mut counter = Counter::open(&self.dir, &election)?;
        let identity = counter.identity();
        let (station, name) = (identity.id().0, identity.name().to_owned());
        let id = identity.id();
        let roll = RollFile::read(&self.roll, &election, |of_box| election.serves(id, of_box))?;
        let languages = self.language.list();
        console.say(&format!(
            "Station {station} {name}. {}.",
            in_language(election.manifest().title(), &languages)
        ));
        if let Some(at) = roll.as_of() {
            console.say(&format!(
                "The list of voters is of {}: who enrolled later is not on it. Ask the commission for a newer one if that is long ago.",
                super::voter::moment(at.get())
            ));
        }
        if let Some(party) = roll.without() {
            console.say(&format!(
                "The list of voters is WITHOUT the signature of {} ({party}). Somebody who has enrolled and is not found may be on that party's roll: ask the \
                 commission for the list that all three have signed before you send anybody away.",
                election.party(party).agency()
            ));
        }
        tell_machine(&mut counter, console).await?;
        let manifest = election.manifest_hash().to_string();
        let book =
            match Book::open(&self.dir, election.id().as_str(), &manifest).map_err(StationError::from)? {
                Some(book) => book,
                None => match open_station(&self.dir, &election, &mut counter, console).await? {
                    Some(book) => book,
                    None => {
                        console.say("The station was not opened. Nothing was noted.");
                        return Ok(Outcome::Done);
                    }
                },
            };
        let bulletin = counter.bulletin().clone();
        let counter = Arc::new(Mutex::new(counter));
        let draining = tokio::spawn(keep_delivering(Arc::clone(&counter), bulletin.clone()));
        let interrupted = console.interactive.then(|| tokio::spawn(erase_on_interrupt()));
        let mut work = AtWork {
            console,
            election,
            roll,
            counter,
            bulletin,
            book,
            languages,
            arguments: self,
            station,
            name,
        };
        let ended = work.day().await;
        if let Some(interrupted) = interrupted {
            interrupted.abort();
        }
        draining.abort();
        // It lets go of the station: whoever opens the desk next finds it free.
        let _ = draining.await;
        ended
    }
}

/// Ctrl-C ends the desk at any question, as a power cut may: what is to be kept is on disk. A choice that stands on the screen goes first.
async fn erase_on_interrupt() {
    if tokio::signal::ctrl_c().await.is_ok() {
        let mut out = std::io::stdout();
        let _ = writeln!(
            out,
            "{ERASE}The desk was ended. Begin it again: it goes on where it was."
        );
        let _ = out.flush();
        std::process::exit(INTERRUPTED);
    }
}

/// Delivers what waits, and asks what there is of this station also when nothing does, again and again.
async fn keep_delivering(counter: Arc<Mutex<Counter>>, bulletin: Bulletin) {
    loop {
        tokio::join!(bulletin.look_in_passing(DRAIN_FOR), deliver(&counter));
        tokio::time::sleep(DRAIN_EVERY).await;
    }
}

/// What comes of it is on the bulletin.
async fn deliver(counter: &Mutex<Counter>) {
    let mut counter = counter.lock().await;
    if counter.status().pending > 0 {
        // A queue that cannot be written is told by the next vote.
        let _ = counter.drain_within(DRAIN_FOR).await;
    }
}

/// What of this machine the officer must know before the day begins.
async fn tell_machine(counter: &mut Counter, console: &mut Console<'_>) -> Result<(), Failure> {
    let (now, source) = counter.time().await?;
    console.say(&format!("It is {}.", moment(now.0)));
    match (source, counter.status().offset_ms) {
        (TimeSource::Parties, Some(offset)) if offset.abs() > CLOCK_NEWS_MS => console.say(&format!(
            "This machine's clock is {} the parties' by {} s. The station corrects it by itself; have it set right all the same.",
            if offset > 0 { "behind" } else { "ahead of" },
            offset.abs() / 1000
        )),
        (TimeSource::Parties, _) => {}
        (TimeSource::Corrected, _) => console.say(
            "The parties cannot be reached: votes are kept on this disk and delivered later. The time is this machine's clock, corrected as last measured.",
        ),
        (TimeSource::Uncorrected, _) => console.say(
            "The parties cannot be reached and never were: the time is this machine's clock. Compare it with a watch before you open: a vote \
             that is dated outside the station's hours does not count.",
        ),
    }
    let ends = counter.certificate_ends()?;
    if ends <= now {
        console.say(&format!(
            "The station's certificate ended at {}: no party takes anything from this station. Ask the commission to certify request {} \
             again and save its answer over the old one. Votes taken meanwhile are kept on this disk.",
            moment(ends.0),
            "tls.request.pem"
        ));
    } else if ends.0 - now.0 < CERTIFICATE_NEWS_S {
        console.say(&format!(
            "The station's certificate ends at {}: ask the commission for a new one before that.",
            moment(ends.0)
        ));
    }
    Ok(())
}

fn all(counts: &[(BoxId, Counts)]) -> Counts {
    counts.iter().fold(Counts::default(), |sum, (_, of)| Counts {
        electronic: sum.electronic + of.electronic,
        paper: sum.paper + of.paper,
    })
}

/// The opening: counts against zero, the officer, the ballot box.
async fn open_station(
    dir: &std::path::Path,
    election: &Election,
    counter: &mut Counter,
    console: &mut Console<'_>,
) -> Result<Option<Book>, Failure> {
    let counts = all(&counter.status().counts);
    console.say("The station is not open yet.");
    console.say(&format!(
        "Opening count: {} electronic, {} paper.",
        counts.electronic, counts.paper
    ));
    if counts.all() > 0 {
        console.say(
            "This is not zero: votes were cast on this machine before the station opened. Note it in the minutes and tell the commission.",
        );
    }
    let officer = loop {
        match ask(console, "Name of the officer in charge (0: do not open):")? {
            Reply::End => return Ok(None),
            Reply::Text(name) if name == "0" => return Ok(None),
            Reply::Text(name)
                if name.is_empty() || name.len() > MAX_WORDS || name.chars().any(char::is_control) =>
            {
                console.say("Write a name.");
            }
            Reply::Text(name) => break name,
        }
    };
    let question = "The paper ballot box is empty and sealed, and the sign-in sheet is blank. 1: open the station. 0: do not open.";
    if choose(console, question, 1)? != Some(1) {
        return Ok(None);
    }
    let (now, _) = counter.time().await?;
    let manifest = election.manifest_hash().to_string();
    let book = Book::begin(dir, election.id().as_str(), &manifest, &officer, now.0);
    console.say("The station is open.");
    Ok(Some(book.map_err(StationError::from)?))
}

fn ask(console: &mut Console<'_>, question: &str) -> Result<Reply, Failure> {
    Ok(match console.reply(question)? {
        Some(line) => Reply::Text(line.to_string()),
        None => Reply::End,
    })
}

/// Asks for a number from 0 to `most` until there is one; `None` at the input's end.
fn choose(console: &mut Console<'_>, question: &str, most: u64) -> Result<Option<u64>, Failure> {
    loop {
        match ask(console, &format!("{question}\n>"))? {
            Reply::End => return Ok(None),
            Reply::Text(text) => match text.parse::<u64>() {
                Ok(number) if number <= most => return Ok(Some(number)),
                _ => console.say(&format!("Type a number from 0 to {most} and press Enter.")),
            },
        }
    }
}

impl AtWork<'_, '_> {
    /// Goes round the menu until the officer leaves.
    async fn day(&mut self) -> Result<Outcome, Failure> {
        loop {
            self.say_state(false).await;
            let closed = self.book.closed_at_s().is_some();
            let question = if closed {
                "1: state in full. 2: open again. 0: leave."
            } else {
                "1: next voter. 2: state in full. 3: close the station. 0: leave."
            };
            let most = if closed { 2 } else { 3 };
            match (closed, choose(self.console, question, most)?) {
                (_, None | Some(0)) => return self.leave().await,
                (false, Some(1)) => self.voter().await?,
                (false, Some(2)) | (true, Some(1)) => self.say_state(true).await,
                (false, _) => self.close().await?,
                (true, _) => {
                    self.book.set_closed(None).map_err(StationError::from)?;
                    self.console
                        .say("The station is open again. Its closing statement is void: close again later.");
                }
            }
        }
    }

    async fn leave(&mut self) -> Result<Outcome, Failure> {
        deliver(&self.counter).await;
        let status = self.counter.lock().await.status();
        let (pending, lost) = (status.pending, status.pending - status.safe);
        if pending == 0 {
            self.console.say("Everything is delivered to all three parties.");
            return Ok(Outcome::Done);
        }
        if lost > 0 && self.bulletin.stopped().is_some() {
            self.console.say(&format!(
                "{lost} votes are not with two parties, and nothing more is taken from this station, whatever it is dated: they do not count. Tell the \
                 commission, so that these voters vote at another station. Keep this directory."
            ));
            return Ok(Outcome::Left);
        }
        self.console.say(&format!(
            "{pending} still wait for delivery. They are safe on this disk: begin the desk again, or `client station drain`, until {}.",
            self.deadline()
        ));
        Ok(Outcome::Left)
    }

    /// Until when the parties take what waits.
    fn deadline(&self) -> String {
        let channels = self.election.manifest().channels().iter();
        let until = channels
            .filter(|channel| channel.kind().at_station())
            .map(|channel| channel.receive_until().get())
            .max();
        until.map_or_else(|| "the deadline of stations".to_owned(), moment)
    }

    async fn say_state(&mut self, in_full: bool) {
        let status = self.counter.lock().await.status();
        let counts = all(&status.counts);
        self.console.say(&format!(
            "\nStation {} {}, {}, officer {}. Votes: {} electronic, {} paper. Waiting for delivery: {}, {} of them safe with two parties.",
            self.station,
            self.name,
            match self.book.closed_at_s() {
                None => format!("open since {}", moment(self.book.opened_at_s())),
                Some(at) => format!("closed at {}", moment(at)),
            },
            self.book.officer(),
            counts.electronic,
            counts.paper,
            status.pending,
            status.safe
        ));
        self.say_trouble(in_full);
        if !in_full {
            return;
        }
        for of in self.election.manifest().boxes() {
            let counts = status
                .counts
                .iter()
                .find(|(id, _)| *id == of.id())
                .map(|(_, of)| *of);
            let counts = counts.unwrap_or_default();
            let signed_in = self.book.count(of.id());
            if counts.all() > 0 || signed_in > 0 {
                self.console.say(&format!(
                    "Box {} {}: {} electronic, {} paper, {signed_in} signed in.",
                    of.id(),
                    in_language(of.name(), &self.languages),
                    counts.electronic,
                    counts.paper
                ));
            }
        }
        for fault in self.bulletin.faults() {
            self.console.say(&fault.to_string());
        }
        self.console
            .say(&format!("What waits is delivered until {}.", self.deadline()));
    }

    /// What the parties say of this station: whether it takes votes, and the ballots that they refuse: some of them, or all. What matters most comes
    /// last, where it is read.
    fn say_trouble(&mut self, in_full: bool) {
        let (lost, disputed): (Vec<_>, Vec<_>) = self
            .bulletin
            .refused()
            .into_iter()
            .partition(RefusedBallot::is_lost);
        for (ballots, heading) in [
            (
                disputed,
                "One party alone refuses ballots. They count once the two others have them; go on, and tell the commission:",
            ),
            (
                lost,
                "BALLOTS ARE REFUSED by two parties and will not be counted as they are. Call the commission before the next voter:",
            ),
        ] {
            if ballots.is_empty() {
                continue;
            }
            self.console.say(heading);
            let shown = if in_full { ballots.len() } else { REFUSED_SHOWN };
            for ballot in ballots.iter().take(shown) {
                for fault in &ballot.faults {
                    self.console.say(&format!(
                        "Number {} of box {}: {fault}",
                        ballot.sequence, ballot.of_box
                    ));
                }
            }
            if let Some(more @ 1..) = ballots.len().checked_sub(shown) {
                self.console
                    .say(&format!("And {more} more; the state in full names them all."));
            }
        }
        for notice in self.bulletin.notices() {
            self.console.say(&notice);
        }
        if let Some(stopped) = self.bulletin.stopped() {
            self.console.say(&format!(
                "THE STATION IS REVOKED. Take no more votes and send voters to another station. {stopped}"
            ));
        }
    }

    /// Whether no vote is taken here any more; said if so.
    fn is_stopped(&mut self) -> bool {
        let Some(stopped) = self.bulletin.stopped() else {
            return false;
        };
        self.console
            .say(&format!("The station is revoked: no vote is taken. {stopped}"));
        true
    }

    /// One voter, from the search to the receipt.
    async fn voter(&mut self) -> Result<(), Failure> {
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
            Some(command) => match super::printer::print(&command, &text, PRINT_FOR) {
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

    /// The closing: counts against the sheet, the difference, the signed statement.
    async fn close(&mut self) -> Result<(), Failure> {
        deliver(&self.counter).await;
        let counts = self.counter.lock().await.status().counts;
        let mut boxes = Vec::new();
        for of in self.election.manifest().boxes() {
            let own = counts
                .iter()
                .find(|(id, _)| *id == of.id())
                .map(|(_, of)| *of)
                .unwrap_or_default();
            let in_book = self.book.count(of.id());
            if own.all() == 0 && in_book == 0 {
                continue;
            }
            let question = format!(
                "Box {} {}: how many signatures are on the sheet?",
                of.id(),
                in_language(of.name(), &self.languages)
            );
            let Some(signed_in) = choose(self.console, &question, u64::from(of.voters()))? else {
                return Ok(());
            };
            let of_box = BoxSignIns {
                of_box: of.id().get(),
                signed_in,
                electronic: own.electronic,
                paper: own.paper,
            };
            self.console.say(&format!(
                "Box {}: {} electronic and {} paper, {} votes; {signed_in} signatures, {in_book} in the book. {}",
                of.id(),
                own.electronic,
                own.paper,
                own.all(),
                difference(&of_box)
            ));
            boxes.push(of_box);
        }
        let different = boxes.iter().any(|of| of.electronic + of.paper != of.signed_in);
        let mut remark = String::new();
        if different {
            match ask(
                self.console,
                "What explains the difference? One line for the commission (Enter alone: nothing):",
            )? {
                Reply::End => return Ok(()),
                Reply::Text(text) => {
                    remark = text
                        .chars()
                        .filter(|c| !c.is_control())
                        .take(MAX_WORDS / 4)
                        .collect()
                }
            }
        }
        if choose(
            self.console,
            "1: close the station and sign this statement. 0: back, nothing is closed.",
            1,
        )? != Some(1)
        {
            self.console.say("The station stays open.");
            return Ok(());
        }
        let (now, _) = self.counter.lock().await.time().await?;
        let statement = SignIns {
            election: self.election.id().clone(),
            manifest: self.election.manifest_hash(),
            station: tally_proto::ids::StationId(self.station),
            officer: self.book.officer().to_owned(),
            opened_at: UnixSeconds(self.book.opened_at_s()),
            closed_at: now,
            remark,
            boxes,
        };
        let text = self.counter.lock().await.sign(&statement)?;
        let own = self
            .arguments
            .dir
            .join(format!("{}.sign-ins", self.election.id()));
        for place in [Some(own), self.arguments.statement.clone()]
            .into_iter()
            .flatten()
        {
            crate::disk::replace(&crate::disk::RealDisk, &place, text.as_bytes()).map_err(|source| {
                StationError::Io {
                    path: place.clone(),
                    source,
                }
            })?;
            self.console
                .say(&format!("The closing statement is in {}.", place.display()));
        }
        self.book.set_closed(Some(now.0)).map_err(StationError::from)?;
        self.console
            .say("The station is closed. Hand the statement to the commission.");
        Ok(())
    }
}

fn difference(of: &BoxSignIns) -> String {
    let votes = of.electronic + of.paper;
    match (of.surplus(), of.signed_in.saturating_sub(votes)) {
        (0, 0) => "They are equal.".to_owned(),
        (0, missing) => format!("{missing} signed in without a vote."),
        (surplus, _) => {
            format!("{surplus} VOTES TOO MANY: the commission cannot seal before this is explained.")
        }
    }
}
