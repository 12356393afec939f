//! Why a command of the coordinator or a registrar failed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tally_proto::connect::ConnectError;
use tally_proto::envelope::EnvelopeError;
use tally_proto::identity::IdentityError;
use tally_proto::ids::{
    BoxId, ElectionId, Hash32, IdError, RegisterId, Role, SessionNumber, StationId, UnixSeconds, VoterIndex,
};
use tally_proto::manifest::ManifestError;
use tally_proto::order::OrderError;
use tally_proto::pki::PkiError;
use tally_proto::secret_file::SecretFileError;
use tally_proto::sign_ins::SignInsError;
use thiserror::Error;

use crate::confirm::ConfirmError;
use crate::definition::DefinitionError;
use crate::definition::calendar::CalendarError;
use crate::definition::ceilings::TooManyTickets;
use crate::files::FileError;
use crate::parties::PartyError;
use crate::registrar::post::PostProblem;
use crate::roll::RollError;

/// Any failure, with what to do about it.
#[derive(Debug, Error)]
pub enum Error {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A secret file.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// A certificate, request or authority.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// An identity that cannot be used.
    #[error("{place}: {source}")]
    Identity {
        /// The file or argument.
        place: String,
        /// What is wrong.
        source: IdentityError,
    },
    /// A key or signature.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The election file.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The roll file.
    #[error(transparent)]
    Roll(#[from] RollError),
    /// The manifest that the election file makes, or one that was read.
    #[error("the manifest is refused: {0}")]
    Manifest(#[from] ManifestError),
    /// Tickets that could fill a box.
    #[error(transparent)]
    Tickets(#[from] TooManyTickets),
    /// Keys of tickets.
    #[error("the keys of the tickets: {0}")]
    TicketKeys(#[source] tally_proto::ticket::TicketError),
    /// An election without tickets.
    #[error("election {election} asks for no tickets: its file has no [tickets] table")]
    NoTickets {
        /// The election.
        election: ElectionId,
    },
    /// A file of draw hashes.
    #[error("{}:{line}: this is no file of draw hashes, or names a voter twice; use the one that `registrar issue` wrote", path.display())]
    DrawHashes {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A roll that is not the manifest's.
    #[error("the roll of box {of_box} is refused: {source}; use the roll the election was defined with")]
    RollOfBox {
        /// The box.
        of_box: BoxId,
        /// What is wrong.
        source: tally_proto::roll::RollError,
    },
    /// Identity files that are not the three parties'.
    #[error("the identity files are of parties {found:?}: one of each of the three parties is needed")]
    PartyFiles {
        /// Whose they are.
        found: Vec<Role>,
    },
    /// A register that nobody has agreed on.
    #[error(
        "register {register} is not agreed on with the parties: run `coordinator register {register}` first"
    )]
    NoRegister {
        /// The register.
        register: RegisterId,
    },
    /// Two parties that hold one key say different things of it.
    #[error(
        "register {register}: parties {} and {} do not hold the same key of offsets: their operators compare what their stores were restored from, \
         or choose another register id", pair[0], pair[1]
    )]
    OffsetCopies {
        /// The register.
        register: RegisterId,
        /// Who should hold the key together.
        pair: [Role; 2],
    },
    /// An order.
    #[error("the order is refused: {0}")]
    Order(#[from] OrderError),
    /// A calendar given to an order.
    #[error(transparent)]
    Calendar(#[from] CalendarError),
    /// An id or hash.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A connection that cannot even be tried.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Parties that refused or did not answer: each with its name.
    #[error("{}", listed(.0))]
    Parties(Vec<PartyError>),
    /// The question was not answered with the election id.
    #[error(transparent)]
    Confirm(#[from] ConfirmError),
    /// The directory already holds keys.
    #[error("{} already holds an identity: choose another directory, keys are never overwritten", .0.display())]
    AlreadyThere(PathBuf),
    /// The election is already defined here.
    #[error(
        "election {election} is already defined in {}: an election is defined once; for a changed one choose another id",
        path.display()
    )]
    AlreadyDefined {
        /// The election.
        election: ElectionId,
        /// Where.
        path: PathBuf,
    },
    /// The election is not defined here.
    #[error("election {election} is not defined in {}: check the id, or run `define` first", path.display())]
    NotDefined {
        /// The election.
        election: ElectionId,
        /// Where it would be.
        path: PathBuf,
    },
    /// A file of the directory holds another object than its name says.
    #[error("{}: {problem}; restore the file from a backup", path.display())]
    Stored {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: StoredProblem,
    },
    /// A role that this authority does not issue.
    #[error(
        "a coordinator certifies registrars and stations, not {0}: write registrar:<name> or station:<number>"
    )]
    NotOurRole(String),
    /// A box that the election does not have.
    #[error("box.unknown: election {election} has no box {of_box}; its boxes are {known:?}")]
    UnknownBox {
        /// The election.
        election: ElectionId,
        /// The box.
        of_box: BoxId,
        /// Its boxes.
        known: Vec<u32>,
    },
    /// Not all parties have countersigned.
    #[error(
        "manifest.not-countersigned: {missing} has not countersigned {object}: its operator runs `party countersign`, then \
         run `complete` here"
    )]
    NotCountersigned {
        /// The manifest or order.
        object: String,
        /// Who is missing.
        missing: String,
    },
    /// A channel that the election does not have.
    #[error("channel.unknown: the election has no {0} channel")]
    UnknownChannel(&'static str),
    /// A time by which the order would change nothing, or which has passed.
    #[error("the {channel} channel {problem}")]
    Closing {
        /// The channel.
        channel: &'static str,
        /// What is wrong.
        problem: ClosingProblem,
    },
    /// Nobody of that name drew, or could, on an open roll.
    #[error(
        "voter.unknown: no card of {0:?} stands for a draw code: give what the certificate says of its holder, letter by letter, as `coordinator open-roll` \
         writes it; who has no draw code yet needs no further draw"
    )]
    NoDrawCode(String),
    /// A voter reference that is not on the roll.
    #[error("voter.unknown: no voter has the reference {0:?}; check the roll")]
    UnknownVoter(String),
    /// An open roll is asked for where there is none, or none was fetched yet.
    #[error(
        "election {election}: {}",
        if *.open { "its roll is open, and was not fetched from the parties yet: run `coordinator open-roll` first" } else { "its roll is closed: it is in the file that it was defined with" }
    )]
    NoOpenRoll {
        /// The election.
        election: ElectionId,
        /// Its roll is open.
        open: bool,
    },
    /// A strike of what is struck, or a restoration of what counts.
    #[error(
        "order.invalid: the online votes of voter {reference:?} {stands} already, by the orders in force: nothing would change"
    )]
    NothingToCorrect {
        /// The reference.
        reference: String,
        /// What stands.
        stands: &'static str,
    },
    /// What three parties sealed, or their results, do not agree.
    #[error("box {of_box}: {problem}")]
    Outcome {
        /// The box.
        of_box: BoxId,
        /// What is wrong.
        problem: OutcomeProblem,
    },
    /// A box that has not been sealed yet.
    #[error("box {0} is not sealed: run `seal` first")]
    NotSealed(BoxId),
    /// A party lost its Seal of sealed boxes and has not got it back.
    #[error(
        "box {} is sealed as before, and what is kept here stays; but a party has no seal of it, and no tally begins without all three. See to what is \
         said above, then run `seal` again", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", box ")
    )]
    SealLacking(BTreeSet<BoxId>),
    /// A Seal that does not hold.
    #[error("the Seal is refused: {0}")]
    SealPayload(#[from] tally_proto::sealing::SealPayloadError),
    /// A result that does not hold.
    #[error("the result is refused: {0}")]
    Result(#[from] tally_proto::result::ResultError),
    /// No box has a result yet.
    #[error("no box of election {0} has a result: run `tally` first")]
    NothingTallied(ElectionId),
    /// An auditor's statement that does not hold.
    #[error("{code}: {}: {source}", path.display(), code = source.reason().code())]
    Statement {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: tally_proto::audit::AuditError,
    },
    /// Two auditors' statements about the same, of which only one can be right.
    #[error(
        "{} and {} say different things of {party}'s part in session {session} of box {of_box}: one of them is not what an honest auditor finds. \
         Give --auditor-key with the key of the auditor whom you know, and that one's statement alone",
        first.display(),
        second.display()
    )]
    StatementsDiffer {
        /// The one file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// Whose part.
        party: Role,
        /// The box.
        of_box: BoxId,
        /// The session.
        session: SessionNumber,
    },
    /// A statement of an auditor who is not among the trusted.
    #[error("{}: signed by the auditor's key {key}, which is not among the --auditor-key given", path.display())]
    Auditor {
        /// The file.
        path: PathBuf,
        /// The key.
        key: tally_proto::envelope::PublicKey,
    },
    /// No public key.
    #[error(
        "{text:?} is no auditor's public key: {source}; it is what `party audit-key` prints, 64 hexadecimal digits"
    )]
    AuditorKey {
        /// What was given.
        text: String,
        /// What is wrong.
        source: EnvelopeError,
    },
    /// Statements that contradict the bundle.
    #[error("the audit refutes the published result of box {}", boxes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", box "))]
    Refuted {
        /// Which boxes.
        boxes: Vec<BoxId>,
    },
    /// A bundle that does not hold.
    #[error("{code}: the bundle is refused: {0}. {action}", code = .0.reason().code(), action = .0.reason().action())]
    Bundle(#[from] tally_proto::bundle::BundleError),
    /// A file of invitations.
    #[error("{}, line {line}: {problem}", path.display())]
    Invitations {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        problem: PostProblem,
    },
    /// A station's closing statement.
    #[error("{}: {source}", path.display())]
    SignIns {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SignInsError,
    },
    /// A statement from before the one that is here.
    #[error(
        "{}: station {station} closed after that, at {stored}: this earlier statement, of {closed}, is void", path.display()
    )]
    SignInsVoid {
        /// The file.
        path: PathBuf,
        /// Whose.
        station: StationId,
        /// When it closed by the one that is here.
        stored: UnixSeconds,
        /// When by this one.
        closed: UnixSeconds,
    },
    /// A station's sign-in book.
    #[error("{} is no sign-in book of this election", .0.display())]
    SignInBook(PathBuf),
    /// More ballots than signatures.
    #[error(
        "nothing was sealed: {}. Hand in a corrected statement of the station (`sign-ins`), or revoke the station by an order (`order ... \
         revoke-station`): then what it cast from that moment on does not count", .0.join("; ")
    )]
    Surplus(Vec<String>),
    /// Nothing says how many signed in at a station.
    #[error(
        "nothing was sealed: no closing statement is here of {}, so nothing says how many signed in there. Take it over (`sign-ins`), or, where there \
         is none, name the station with --without-statement after you have compared that number with its paper sheet", .0.join(", ")
    )]
    NoStatement(Vec<String>),
    /// A station named on the command line that is not there.
    #[error("--without-statement {0}: the manifest names no station {0}")]
    NoSuchStation(StationId),
    /// A registrar that the manifest does not name.
    #[error("election {election} does not name this registrar's key: its registrars are {known:?}")]
    NotRegistrar {
        /// The election.
        election: ElectionId,
        /// Its registrars.
        known: Vec<String>,
    },
    /// A registrar without its certificate.
    #[error(
        "{} is missing: send request.pem to the coordinator, who runs `certify`, and put the certificate there",
        .0.display()
    )]
    NotCertified(PathBuf),
    /// Credentials of this election are issued: invitations are written once.
    #[error(
        "credentials of election {election} are already issued by this registrar, and invitations are written once; a re-issue \
         needs an order of all parties"
    )]
    AlreadyIssued {
        /// The election.
        election: ElectionId,
    },
    /// An order about something else.
    #[error(
        "order {number} lets no credential be issued again: give the file of an order that `coordinator order ELECTION reissue --serial` made"
    )]
    NotReissue {
        /// The order.
        number: u32,
    },
    /// A credential for a voter who votes at stations.
    #[error(
        "the roll says that voter {voter} of box {of_box} does not vote online: there is no credential to issue"
    )]
    StationOnly {
        /// The box.
        of_box: BoxId,
        /// The voter.
        voter: VoterIndex,
    },
    /// A half that is none.
    #[error(transparent)]
    Record(#[from] tally_proto::record::RecordError),
    /// Sealing a credential failed.
    #[error("voter {voter} of box {of_box}: {source}")]
    Share {
        /// The box.
        of_box: BoxId,
        /// The voter's index.
        voter: VoterIndex,
        /// What is wrong.
        source: tally_proto::shares::ShareError,
    },
    /// A party refused a credential record.
    #[error("{party} refused the record of voter {voter} of box {of_box}: {refusal}")]
    RecordRefused {
        /// Who.
        party: String,
        /// The box.
        of_box: BoxId,
        /// The voter's index.
        voter: VoterIndex,
        /// Why.
        refusal: tally_proto::refusal::Refusal,
    },
    /// Listening failed.
    #[error("cannot serve on {address}: {source}; is the port taken?")]
    Serve {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// TLS or the server failed.
    #[error("serving failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// What is wrong with a stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoredProblem {
    /// It holds another election's object.
    #[error("it holds an object of another election")]
    OtherElection,
    /// It was signed by another coordinator.
    #[error("it is signed by another coordinator than this directory's")]
    OtherCoordinator,
    /// A register's file.
    #[error("it does not hold the three commitments of the register that it is named after")]
    Register,
    /// A register with other keys.
    #[error(
        "the parties hold other keys of this register than when it was agreed on: choose another id for a new one"
    )]
    OtherOffsets,
    /// It is not canonical.
    #[error("it is damaged")]
    Damaged,
    /// An order's number is not its place.
    #[error("its order has another number than its name")]
    OtherNumber,
}

/// Why a closing time is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClosingProblem {
    /// Nothing is open at or before that time.
    #[error("has no opening that begins before {0}: choose a later time")]
    BeforeOpening(String),
    /// It closes then anyway.
    #[error("already closes at {0}: nothing would change")]
    Unchanged(String),
}

/// What is wrong with a box's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OutcomeProblem {
    /// Two seals of one box, each with three signatures.
    #[error(
        "all three parties signed two different seals, {} and {}; keep all files, this is proof for an audit", .0.short(), .1.short()
    )]
    TwoSeals(Hash32, Hash32),
    /// No party's answer holds: a line each.
    #[error("no party shows a seal that holds:{0}\nRun `seal` again once that is mended")]
    NoSeal(String),
    /// A party ended its stream without an answer.
    #[error("{0} ended without an outcome; run the command again")]
    NoOutcome(String),
    /// The session stopped: what its parties state, whom to call, what to do.
    #[error("{0}")]
    Stopped(String),
    /// Results differ.
    #[error("the parties signed different results; keep all files, this is proof for an audit")]
    ResultsDiffer,
    /// Fewer than two signatures.
    #[error("only one party signed the result, two are needed; run `tally` again")]
    OneSignature,
}

fn listed(errors: &[PartyError]) -> String {
    match errors {
        [one] => one.to_string(),
        several => several.iter().fold(
            format!("{} parties did not do what was asked:", several.len()),
            |text, error| format!("{text}\n  - {error}"),
        ),
    }
}
