//! Command lines, as clap reads them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use tally_proto::calendar::ChannelKind;
use tally_proto::pki::{LEAF_DAYS, MAX_LEAF_DAYS, PeerRole};

/// The election commission: defines elections, drives their phases, publishes results.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version)]
pub(super) struct Coordinator {
    /// Directory with this coordinator's keys and elections
    #[arg(long, global = true, env = "TALLY_COORDINATOR", default_value = "coordinator")]
    pub(super) dir: PathBuf,
    /// How many seconds to go on trying a party that does not answer
    #[arg(long, global = true, default_value_t = 60)]
    pub(super) patience: u64,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make keys, authority, certificate and identity in a new directory, and print the fingerprint
    Init {
        /// The commission's name
        #[arg(long)]
        name: String,
        /// Where the board will be reached: https://host:port
        #[arg(long)]
        address: String,
        /// Further host names or IP addresses of the board's certificate
        #[arg(long)]
        host: Vec<String>,
    },
    /// Sign the certificate request of a registrar or a station
    Certify {
        /// The request, PEM
        request: PathBuf,
        /// Whose: registrar:<name> or station:<number>
        #[arg(long, value_parser = role)]
        role: PeerRole,
        /// Where to write the certificate
        #[arg(long)]
        out: PathBuf,
        /// Days that it lives; the same request may be certified again
        #[arg(long, default_value_t = LEAF_DAYS, value_parser = value_parser!(u32).range(1..=i64::from(MAX_LEAF_DAYS)))]
        days: u32,
    },
    /// Issue a new TLS certificate for the coordinator, before the old one ends or after; identity and manifests stay. The board takes it at its
    /// next start
    RenewCertificate {
        /// More host names or IP addresses that the certificate shall name, as given to `init`
        #[arg(long)]
        host: Vec<String>,
        /// Days that it lives
        #[arg(long, default_value_t = LEAF_DAYS, value_parser = value_parser!(u32).range(1..=i64::from(MAX_LEAF_DAYS)))]
        days: u32,
    },
    /// Agree with the three parties on the keys of a register of enrolled credentials, before elections that name it are defined
    Register {
        /// The register id: a-z, 0-9 and inner hyphens
        register: String,
        /// Identity files of the three parties
        #[arg(num_args = 3, value_name = "IDENTITY", required = true)]
        parties: Vec<PathBuf>,
    },
    /// Read an election file and its roll, sign the manifest and keep both here; sends nothing
    Define {
        /// The election file, TOML
        file: PathBuf,
    },
    /// Hand the signed manifest and the roll to the three parties (asks first)
    Publish(OfElection),
    /// Collect the parties' countersignatures and show who is missing
    Signatures(OfElection),
    /// Collect countersignatures and hand the complete sets to all parties
    Complete(OfElection),
    /// Change a defined election, with all three parties' countersignatures (asks first)
    Order {
        /// The election id
        election: String,
        /// Why, in a sentence that everybody will read
        #[arg(long)]
        reason: String,
        #[command(subcommand)]
        change: OrderChange,
    },
    /// Serve the board: clock, manifests, result bundles
    Serve {
        /// Address and port to listen on
        #[arg(long, default_value = "[::]:7400")]
        listen: String,
    },
    /// Let voters draw tickets: take over the registrar's draw hashes, or grant one voter one more draw (asks first)
    Tickets {
        /// The election id
        election: String,
        /// The file of draw hashes that `registrar issue` wrote
        #[arg(long, value_name = "FILE", required_unless_present = "again")]
        hashes: Option<PathBuf>,
        /// A voter's reference on the roll, whose devices are lost or whose draws somebody else used up
        #[arg(long, value_name = "VOTER", conflicts_with = "hashes")]
        again: Option<String>,
    },
    /// Show the three parties, their machines and alarms, and the ballots received. Exits with 2 while a party is away or raises an alarm
    Status {
        /// The election id; all elections where it is left out
        election: Option<String>,
        /// Show it again every two seconds until interrupted
        #[arg(long)]
        watch: bool,
        /// One JSON object a line for each election instead
        #[arg(long)]
        json: bool,
    },
    /// Fetch who is on an open roll, by number, as all three parties have it: for stations, and for orders that name a voter
    OpenRoll(OfElection),
    /// Take over stations' closing statements, which `seal` compares with the ballots received; shows them all
    SignIns {
        /// The election id
        election: String,
        /// A station's closing statement, from `client station desk`; a later one takes the place of an earlier
        statements: Vec<PathBuf>,
        /// A station's sign-in book: with two or more, who signed in at more than one station is shown, and kept nowhere
        #[arg(long = "book", value_name = "FILE")]
        books: Vec<PathBuf>,
    },
    /// Seal boxes: fix for good what will be tallied (asks first). Exits with 3 where a box is sealed and holds other counts of a station than its
    /// closing statement
    Seal {
        #[command(flatten)]
        of: OfBoxes,
        /// Seal although this station has handed in no closing statement; may be repeated. What it cast is compared with nothing then
        #[arg(long, value_name = "STATION")]
        without_statement: Vec<u32>,
    },
    /// Tally sealed boxes: open the totals (asks first)
    Tally(OfBoxes),
    /// Join everything into the signed result bundle and check it
    Bundle(OfElection),
    /// Show a result bundle as tables and bars, and write it as a page
    Report {
        #[command(flatten)]
        bundle: BundleFiles,
        /// Where to write the page
        #[arg(long)]
        html: Option<PathBuf>,
        /// Language of the election's texts, where they have it
        #[arg(long, default_value = "")]
        language: String,
    },
    /// Check a result bundle offline, with nothing but the manifest
    VerifyResult {
        #[command(flatten)]
        bundle: BundleFiles,
        /// A signed statement of an auditor, from `party audit`; may be repeated
        #[arg(long = "statement", value_name = "FILE")]
        statements: Vec<PathBuf>,
        /// Public key of an auditor you trust; may be repeated. Where one is given, no other auditor's statement is taken
        #[arg(long = "auditor-key", value_name = "KEY")]
        auditor_keys: Vec<String>,
    },
    /// Issue credentials (the same commands as `registrar`)
    Registrar {
        /// Directory with this registrar's keys
        #[arg(long, env = "TALLY_REGISTRAR", default_value = "registrar")]
        registrar_dir: PathBuf,
        #[command(subcommand)]
        command: RegistrarCommand,
    },
}

#[derive(Debug, Args)]
pub(super) struct OfElection {
    /// The election id
    pub(super) election: String,
}

#[derive(Debug, Args)]
pub(super) struct OfBoxes {
    /// The election id
    pub(super) election: String,
    /// Box number; may be repeated; all boxes where it is left out
    #[arg(long = "box")]
    pub(super) boxes: Vec<u32>,
}

#[derive(Debug, Args)]
pub(super) struct BundleFiles {
    /// The result bundle
    pub(super) bundle: PathBuf,
    /// The election's manifest, from a source you trust
    #[arg(long)]
    pub(super) manifest: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum OrderChange {
    /// Close a channel for good at a local time: earlier or later than planned
    Close {
        /// Which channel
        #[arg(long)]
        channel: ChannelName,
        /// Local time of the channel's zone: "YYYY-MM-DD HH:MM"
        #[arg(long)]
        at: String,
        /// Until when parties take what stations queued: "YYYY-MM-DD HH:MM"
        #[arg(long)]
        receive_until: Option<String>,
    },
    /// Add an opening after the last
    Open {
        /// Which channel
        #[arg(long)]
        channel: ChannelName,
        /// Local time of the channel's zone: "YYYY-MM-DD HH:MM"
        #[arg(long)]
        opens: String,
        /// Local time of the channel's zone: "YYYY-MM-DD HH:MM"
        #[arg(long)]
        closes: String,
        /// Until when parties take what stations queued: "YYYY-MM-DD HH:MM"
        #[arg(long)]
        receive_until: Option<String>,
    },
    /// Strike one voter's online votes, after the close and before the seal; a vote at a station still counts
    Strike {
        /// The voter's reference on the roll
        #[arg(long)]
        voter: String,
    },
    /// Let one voter's online votes count again, after a strike
    Restore {
        /// The voter's reference on the roll
        #[arg(long)]
        voter: String,
    },
    /// Revoke a station: what it casts from a moment on does not count, what it cast before does or does not by `revoked_stations` of the election
    /// file, and nothing more is taken from it, whatever it is dated
    RevokeStation {
        /// Its number in the manifest
        #[arg(long)]
        station: u32,
        /// Local time of the stations' zone, past or to come: "YYYY-MM-DD HH:MM"
        #[arg(long)]
        from: String,
    },
    /// Let registrars issue one voter's credential again, or let an issued one stand over what the voter's card signed up to a moment
    #[command(group(clap::ArgGroup::new("what").args(["serial", "until"]).required(true).multiple(true)))]
    Reissue {
        /// The voter's reference on the roll
        #[arg(long)]
        voter: String,
        /// Issued records of the voter stand up to this serial; the first issue has 1
        #[arg(long, value_parser = clap::value_parser!(u32).range(2..))]
        serial: Option<u32>,
        /// What the voter's card signed up to then does not stand: local time of the online channel's zone, not to come, "YYYY-MM-DD HH:MM"
        #[arg(long)]
        until: Option<String>,
    },
    /// Correct the flags of one voter
    Correct {
        /// The voter's reference on the roll
        #[arg(long)]
        voter: String,
        /// Whether any vote of the voter counts
        #[arg(long, action = clap::ArgAction::Set)]
        live: bool,
        /// Whether the voter's credential counts; otherwise the voter votes at a station only
        #[arg(long, action = clap::ArgAction::Set)]
        enrolled: bool,
    },
}

/// A channel on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ChannelName {
    /// The online channel
    Online,
    /// Electronic votes at stations
    Station,
    /// Paper votes at stations
    Paper,
}

impl From<ChannelName> for ChannelKind {
    fn from(name: ChannelName) -> Self {
        match name {
            ChannelName::Online => Self::Online,
            ChannelName::Station => Self::Station,
            ChannelName::Paper => Self::Paper,
        }
    }
}

/// What goes out to voters.
#[derive(Debug, Args)]
pub(super) struct Post {
    /// The election's manifest
    #[arg(long)]
    pub(super) manifest: PathBuf,
    /// The file of invitations that `issue` wrote
    #[arg(long)]
    pub(super) invitations: PathBuf,
    /// Who lives where and speaks what, CSV: reference, language, phone, address (lines set apart by |); needed for text messages
    #[arg(long)]
    pub(super) contacts: Option<PathBuf>,
    /// Language where the contacts name none; may be repeated for second best
    #[arg(long = "language", value_name = "TAG")]
    pub(super) languages: Vec<String>,
}

/// A registrar: issues one fresh credential to each voter of a roll who may vote online.
#[derive(Debug, Parser)]
#[command(name = "registrar", version)]
pub(super) struct Registrar {
    /// Directory with this registrar's keys
    #[arg(long, global = true, env = "TALLY_REGISTRAR", default_value = "registrar")]
    pub(super) dir: PathBuf,
    /// How many seconds to go on trying a party that does not answer
    #[arg(long, global = true, default_value_t = 60)]
    pub(super) patience: u64,
    #[command(subcommand)]
    pub(super) command: RegistrarCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum RegistrarCommand {
    /// Make keys, identity and a certificate request in a new directory, and print the fingerprint
    Init {
        /// Name: a-z, 0-9 and hyphens
        #[arg(long)]
        name: String,
    },
    /// Issue credentials and write the invitations, once; run again to go on after an interruption
    Issue {
        /// The election's manifest with all countersignatures
        #[arg(long)]
        manifest: PathBuf,
        /// The roll that the election was defined with, CSV
        #[arg(long)]
        roll: PathBuf,
        /// Where to write the invitations, CSV: reference, code, link
        #[arg(long)]
        out: PathBuf,
    },
    /// Issue one voter's credential again, by an order that all parties have countersigned; the one before it does not count any more
    Reissue {
        /// The election's manifest with all countersignatures
        #[arg(long)]
        manifest: PathBuf,
        /// The roll that the election was defined with, CSV
        #[arg(long)]
        roll: PathBuf,
        /// The order, a file of the coordinator's elections/ELECTION/orders
        #[arg(long)]
        order: PathBuf,
        /// Where to write the invitation, CSV: reference, code, link
        #[arg(long)]
        out: PathBuf,
    },
    /// Turn the file of invitations into sheets for the printer, one page a voter with a QR code, and erase the file
    Sheets {
        #[command(flatten)]
        post: Post,
        /// Directory to write the pages to, HTML; must not be there yet
        #[arg(long)]
        out: PathBuf,
        /// Most sheets of one page of HTML
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        sheets_a_file: u32,
    },
    /// Turn the file of invitations of the second registrar into a CSV for the gateway of text messages, and erase the file
    Messages {
        #[command(flatten)]
        post: Post,
        /// Where to write the messages, CSV: phone, text; must not be there yet
        #[arg(long)]
        out: PathBuf,
    },
}

fn role(text: &str) -> Result<PeerRole, String> {
    format!("tally:{text}")
        .parse()
        .map_err(|_| format!("{text:?} is not a role: write registrar:<name> or station:<number>"))
}
