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
use tally_proto::ids::{BoxId, UnixSeconds};
use tally_proto::sign_ins::MAX_WORDS;
use tokio::sync::Mutex;

use super::voter::{load_election, moment};
use super::{Console, Failure, LanguageArg, ManifestArg, Outcome};
use crate::election::Election;
use crate::form::in_language;
use crate::station::bulletin::RefusedBallot;
use crate::station::roll::RollFile;
use crate::station::{Book, Bulletin, Counts, Station as Counter, StationError};

mod closing;
mod machine;
mod voter;

use machine::{certificate_ended, tell_machine};

/// How often what waits is delivered.
const DRAIN_EVERY: Duration = Duration::from_secs(5);
/// How long one such attempt may hold the desk up.
const DRAIN_FOR: Duration = Duration::from_secs(3);
/// Erases a terminal and what can be scrolled back to, and goes to its top.
const ERASE: &str = "\x1b[H\x1b[2J\x1b[3J";
/// How a program ends that Ctrl-C ended.
const INTERRUPTED: i32 = 130;
/// Refused ballots that stand before each voter; the state in full has them all.
const REFUSED_SHOWN: usize = 3;
/// What the officer does about a row for paper that will not count.
const PAPER_LOST: &str = "PAPER: such a voter has a paper ballot, and the row that was to strike the voter's other votes does not count: an online vote would be \
     counted besides the paper. If the paper ballot is not in the box yet, keep it out. Note box and number in the minutes, and tell the commission before \
     the paper is counted.";

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
    /// When the certificate ends that the connections show.
    certificate_ends: UnixSeconds,
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
                moment(at.get())
            ));
        }
        if let Some(party) = roll.without() {
            console.say(&format!(
                "The list of voters is WITHOUT the signature of {} ({party}). Somebody who has enrolled and is not found may be on that party's roll: ask the \
                 commission for the list that all three have signed before you send anybody away.",
                election.party(party).agency()
            ));
        }
        let certificate_ends = tell_machine(&mut counter, console).await?;
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
            certificate_ends,
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
    let answers = format!("a number from 0 to {most}");
    choose_where(console, question, &answers, |number| number <= most)
}

/// Asks until there is a number that fits, one of `answers` in words.
fn choose_where(
    console: &mut Console<'_>,
    question: &str,
    answers: &str,
    fits: impl Fn(u64) -> bool,
) -> Result<Option<u64>, Failure> {
    loop {
        match ask(console, &format!("{question}\n>"))? {
            Reply::End => return Ok(None),
            Reply::Text(text) => match text.parse::<u64>() {
                Ok(number) if fits(number) => return Ok(Some(number)),
                _ => console.say(&format!("Type {answers} and press Enter.")),
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
        let (status, certificate) = {
            let counter = self.counter.lock().await;
            (
                counter.status(),
                certificate_ended(&counter, self.certificate_ends, counter.clock()),
            )
        };
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
        if let Some(words) = certificate {
            self.console.say(&words);
        }
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
                    self.console.say(&format!("{}: {fault}", ballot.row));
                }
            }
            if ballots.iter().any(|ballot| ballot.row.is_paper())
                && ballots.iter().all(RefusedBallot::is_lost)
            {
                self.console.say(PAPER_LOST);
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
}
