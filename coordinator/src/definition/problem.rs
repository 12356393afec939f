//! What can be wrong with an election file: each variant says what, with which value, and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use tally_proto::card::AuthorityError;
use thiserror::Error;

/// A problem and its place in the file.
#[derive(Debug, Error)]
pub struct DefinitionError {
    file: PathBuf,
    line: Option<usize>,
    /// What is wrong.
    #[source]
    pub problem: Box<Problem>,
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.problem),
            None => write!(f, "{}: {}", self.file.display(), self.problem),
        }
    }
}

impl DefinitionError {
    pub(super) fn new(file: &Path, line: Option<usize>, problem: Problem) -> Self {
        Self {
            file: file.to_path_buf(),
            line,
            problem: Box::new(problem),
        }
    }

    /// The line of the file, from 1, where one is known.
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

/// What is wrong with an election file.
#[derive(Debug, Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot be read: {0}; check the path and its permissions")]
    Unreadable(#[source] std::io::Error),
    /// Not TOML of the expected shape: syntax, a missing, unknown or wrongly typed key.
    #[error("{message}; see the sample election file for every key")]
    Shape {
        /// The parser's words, one line.
        message: String,
    },
    /// The election id is not a slug.
    #[error(
        "election id {id:?} is not usable: write 1 to 64 characters a-z, 0-9 and inner hyphens, such as \"riverside-2027\""
    )]
    ElectionId {
        /// As written.
        id: String,
    },
    /// A language tag that is not one.
    #[error(
        "language {tag:?} of {of} is not a language tag: write a lower case tag such as \"en\" or \"de-at\""
    )]
    Language {
        /// Whose text.
        of: String,
        /// As written.
        tag: String,
    },
    /// A plain text, but no language to put it in.
    #[error(
        "{of} is one plain text, but the file has no `language`: add `language = \"en\"` or write {{ en = \"...\" }}"
    )]
    NoLanguage {
        /// Whose text.
        of: String,
    },
    /// A text that is missing, empty or too long.
    #[error("{of} has {length} characters in language {language:?}: write 1 to {max}", max = super::MAX_TEXT)]
    TextLength {
        /// Whose text.
        of: String,
        /// In which language.
        language: String,
        /// How many characters it has.
        length: usize,
    },
    /// A title that programs for tables compute.
    #[error(
        "{of} in language {language:?} begins with {first:?}, or with it after a semicolon or a tab: put a word first, since programs for tables would take it for a formula where registrars' text \
         messages are opened with one, beside the voters' codes"
    )]
    Formula {
        /// Whose text.
        of: String,
        /// In which language.
        language: String,
        /// Its first letter.
        first: char,
    },
    /// A text table without any language.
    #[error("{of} has no text in any language: write at least one, such as {{ en = \"...\" }}")]
    NoText {
        /// Whose text.
        of: String,
    },
    /// A text that lacks a language that the title has.
    #[error(
        "{of} lacks language {language:?}, which the election's title has: add it, so that every voter reads a whole ballot"
    )]
    MissingLanguage {
        /// Whose text.
        of: String,
        /// The language.
        language: String,
    },
    /// Nothing where at least one is needed.
    #[error("the election has no {what}: add at least one [[{table}]] table")]
    Empty {
        /// What is missing.
        what: &'static str,
        /// The table's name.
        table: &'static str,
    },
    /// A contest or box id used twice.
    #[error("{what} id {id} is used twice: give each {what} its own number")]
    DuplicateId {
        /// Contest or box.
        what: &'static str,
        /// The id.
        id: u32,
    },
    /// An id of zero.
    #[error("{what} id 0 is not allowed: number {what}s from 1")]
    ZeroId {
        /// Contest or box.
        what: &'static str,
    },
    /// A contest's rule is not known.
    #[error(
        "contest {contest}: rule {rule:?} is not supported: write \"single\" (one choice) or \"approval\" (with `max`)"
    )]
    Rule {
        /// The contest.
        contest: u32,
        /// As written.
        rule: String,
    },
    /// An approval contest without a usable `max`, or a single choice with one.
    #[error("contest {contest}: {}", max_problem(*.max, *.options))]
    Max {
        /// The contest.
        contest: u32,
        /// As written.
        max: Option<u32>,
        /// Options of an approval contest; 0 for a single choice.
        options: usize,
    },
    /// Too few or too many options.
    #[error("contest {contest} has {options} options: write {least} to {most}", least = super::MIN_OPTIONS, most = super::MAX_OPTIONS)]
    Options {
        /// The contest.
        contest: u32,
        /// How many.
        options: usize,
    },
    /// Two options of a contest with the same name.
    #[error(
        "contest {contest}: options {first} and {second} are both called {name:?}: give them names a voter can tell apart"
    )]
    SameOption {
        /// The contest.
        contest: u32,
        /// The first option's number.
        first: usize,
        /// The second option's number.
        second: usize,
        /// The name.
        name: String,
    },
    /// A box names a contest that is not defined.
    #[error(
        "box {name_of_box:?} (id {id}) votes on contest {contest}, which is not defined: define it or remove it from `contests`"
    )]
    UnknownContest {
        /// The box's name.
        name_of_box: String,
        /// The box's id.
        id: u32,
        /// The contest.
        contest: u32,
    },
    /// A box with no contest or one contest twice.
    #[error("box {name_of_box:?} (id {id}) lists {}: list each of its contests once", contest.map_or("no contest".to_owned(), |c| format!("contest {c} twice")))]
    BoxContests {
        /// The box's name.
        name_of_box: String,
        /// The box's id.
        id: u32,
        /// The repeated contest, or none at all.
        contest: Option<u32>,
    },
    /// A contest that no box votes on.
    #[error("contest {contest} is in no box: add it to a box's `contests` or remove it")]
    UnusedContest {
        /// The contest.
        contest: u32,
    },
    /// A box with fewer voters than the policy's minimum.
    #[error(
        "box {name_of_box:?} (id {id}) has {voters} voters on the roll, fewer than min_voters = {min}: join it with a \
         neighbouring box, because the result of so few could show how single people voted"
    )]
    BoxTooSmall {
        /// The box's name.
        name_of_box: String,
        /// The box's id.
        id: u32,
        /// Its voters.
        voters: usize,
        /// The policy's minimum.
        min: u32,
    },
    /// A minimum that protects nobody.
    #[error("result.{key} = {value} protects nobody: write at least {least}", least = super::LEAST_MINIMUM)]
    PolicyTooLow {
        /// The key.
        key: &'static str,
        /// As written.
        value: u32,
    },
    /// Not exactly three parties.
    #[error("{count} parties are named: list the identity files of exactly three, in the order P1, P2, P3")]
    Parties {
        /// How many.
        count: usize,
    },
    /// Not a certificate.
    #[error("{}: not an X.509 certificate, PEM or DER", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
    },
    /// No card below it could enrol.
    #[error("{} ({named}) {source}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Whom it names.
        named: String,
        /// Why.
        source: AuthorityError,
    },
    /// Not an object identifier.
    #[error(
        "{id:?} is no object identifier: write numbers with points between, as 2.5.4.5, or serialNumber or clientAuth"
    )]
    ObjectId {
        /// As written.
        id: String,
    },
    /// Not a key usage.
    #[error("key usage {name:?} is not known: {known}")]
    KeyUsage {
        /// As written.
        name: String,
        /// Those there are.
        known: String,
    },
    /// Not exactly one field.
    #[error(
        "say in one way which field of a certificate names the voter: {{ subject = \"serialNumber\", prefix = \"PNOEE-\" }}, \
         {{ other-name = \"1.2.3\" }}, {{ uri = \"urn:\" }} or {{ certificate-serial = true }}"
    )]
    Person,
    /// Personal codes where nobody needs them, or none where cards are to be mapped to voters.
    #[error(
        "the roll {}: the column `person` says what each voter's certificate says of its holder; it belongs into the roll exactly where the \
         election file has [enrolment]", if *.given { "names persons" } else { "names no person" }
    )]
    Persons {
        /// The roll has them.
        given: bool,
    },
    /// Not one or two registrars.
    #[error("{count} registrars are named: list one identity file, or two for issuing split between two")]
    Registrars {
        /// How many.
        count: usize,
    },
    /// An identity file that cannot be read.
    #[error("identity file {0}")]
    IdentityUnreadable(#[from] crate::files::FileError),
    /// An identity file that cannot be used.
    #[error("identity file {}: {source}; ask its owner for the file that `init` wrote", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        source: tally_proto::identity::IdentityError,
    },
    /// A party's file in another party's place.
    #[error("place {place} of `parties` names {}, the identity of P{role}: list P1, P2, P3 in this order", path.display())]
    PartyOrder {
        /// The place, from 1.
        place: usize,
        /// Whose file it is.
        role: u32,
        /// The file.
        path: PathBuf,
    },
    /// A station id used twice.
    #[error("station id {id} is used by {first:?} and {second:?}: make one of them anew with another number")]
    StationTwice {
        /// The id.
        id: u32,
        /// The first station's name.
        first: String,
        /// The second station's name.
        second: String,
    },
    /// A station votes for a box that is not defined.
    #[error("station {station:?} names box {id}, which is not defined: the boxes are {known:?}")]
    StationBox {
        /// The station's name.
        station: String,
        /// The unknown box.
        id: u32,
        /// The known ones.
        known: Vec<u32>,
    },
    /// Stations without a channel, or the other way round.
    #[error("{0}")]
    StationChannel(StationChannelProblem),
    /// A network that is not known.
    #[error(
        "network {network:?} is not supported: write \"near\" (parties a few milliseconds apart) or \"far\" (tens of milliseconds)"
    )]
    Network {
        /// As written.
        network: String,
    },
    /// A treatment of revoked stations that is not known.
    #[error(
        "revoked_stations {rows:?} is not supported: write \"before\" (what a revoked station cast before the order's moment counts) or \"none\" (nothing of it)"
    )]
    RevokedStations {
        /// As written.
        rows: String,
    },
    /// Tickets without a channel they are for.
    #[error("tickets are for online ballots, and there is no online channel: add one, or remove [tickets]")]
    TicketsOffline,
    /// Tickets out of bounds.
    #[error(
        "{per_day} tickets a day on {days} days and {draws} draws: at least one ticket a day and at most {} in all, 1 to {} draws",
        tally_proto::ticket::MAX_DRAWN,
        tally_proto::ticket::MAX_DRAWS
    )]
    Tickets {
        /// Days of the online channel.
        days: usize,
        /// As written.
        per_day: u32,
        /// As written.
        draws: u32,
    },
    /// A channel kind that is not known.
    #[error("channel kind {kind:?} is not supported: write \"online\", \"station\" or \"paper\"")]
    ChannelKind {
        /// As written.
        kind: String,
    },
    /// Two channels of one kind.
    #[error("there are two {kind} channels: put all their openings into one")]
    ChannelTwice {
        /// The kind.
        kind: &'static str,
    },
    /// A calendar problem.
    #[error("{channel} channel: {source}")]
    Calendar {
        /// The channel's kind.
        channel: &'static str,
        /// What is wrong.
        source: super::calendar::CalendarError,
    },
    /// A roll kind that is not known or not supported.
    #[error(
        "roll kind {kind:?} is not known: write \"closed\" (every voter is on the roll now) or \"open\" (voters are appended as they \
         enrol with an identity card)"
    )]
    RollKind {
        /// As written.
        kind: String,
    },
    /// Keys of the other kind of roll, or some are missing.
    #[error(
        "a closed roll has `file`, a CSV, and nothing else; an open one `most` (voters that it can have), `freezes` (\"YYYY-MM-DD HH:MM\") and `time_zone`"
    )]
    RollKeys,
    /// Nobody could come onto it.
    #[error("voters come onto an open roll by their identity cards: add an [enrolment] table")]
    OpenWithoutCards,
    /// It can never have as many as the policy asks for.
    #[error(
        "the open roll can have {most} voters, fewer than min_voters = {min}: the result of so few could show how single people voted"
    )]
    OpenTooSmall {
        /// The most voters.
        most: u32,
        /// The policy's minimum.
        min: u32,
    },
    /// The roll is wrong.
    #[error(transparent)]
    Roll(#[from] crate::roll::RollError),
}

/// Stations and station channels that do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StationChannelProblem {
    /// A station or paper channel, but no station.
    NoStation,
    /// Stations, but neither a station nor a paper channel.
    NoChannel,
}

impl fmt::Display for StationChannelProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoStation => {
                "there is a station or paper channel but no [[station]]: add the stations' identity files or remove the channel"
            }
            Self::NoChannel => {
                "there are [[station]] tables but neither a station nor a paper channel: add one with its opening hours"
            }
        })
    }
}

fn max_problem(max: Option<u32>, options: usize) -> String {
    match (max, options) {
        (Some(max), 0) => format!("max = {max} belongs to rule \"approval\": remove it, or change the rule"),
        (Some(max), options) => format!("max = {max} of {options} options: write 1 to {options}"),
        (None, _) => "rule \"approval\" needs `max`, the most options a voter may approve".to_owned(),
    }
}
