//! The configuration file: one TOML file, every option in one table, unknown keys refused, secrets by path.

mod options;
mod parse;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tally_proto::guard;
use tally_proto::ids::Role;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A checked configuration. Paths are absolute or relative to the working directory, no longer to the file.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which party this is.
    pub party: Role,
    /// Directory of the store.
    pub data_dir: PathBuf,
    /// Directory of the session logs.
    pub session_logs: PathBuf,
    /// Where voters connect.
    pub listen_public: SocketAddr,
    /// Where everyone with a certificate connects.
    pub listen_peer: SocketAddr,
    /// Secret key files.
    pub keys: KeyPaths,
    /// Certificates and their keys.
    pub tls: TlsPaths,
    /// Identity files.
    pub identities: IdentityPaths,
    /// Taking ballots and records.
    pub intake: IntakeLimits,
    /// Following the others.
    pub mirror: MirrorPace,
    /// Directory in memory for the lengths of the logs.
    pub marks: PathBuf,
    /// Directory of revocation lists.
    pub revocation_lists: PathBuf,
    /// Connections.
    pub server: ServerLimits,
    /// What the public listener bears.
    pub public: guard::Limits,
    /// When alarms are raised.
    pub alarms: AlarmLimits,
    /// What operators' machines read.
    pub telemetry: Telemetry,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What to log.
    pub log_filter: String,
}

/// Secret key files.
#[derive(Clone, Debug)]
pub struct KeyPaths {
    /// Ed25519 seed.
    pub signing: PathBuf,
    /// X25519 private key.
    pub hpke: PathBuf,
    /// Key of shares at rest.
    pub storage: PathBuf,
    /// All three, sealed under the key that officials hold together; the files above are not read then.
    pub sealed: Option<PathBuf>,
    /// Directory of the key holder's socket.
    pub holder: PathBuf,
}

/// Certificate and key of one TLS role.
#[derive(Clone, Debug)]
pub struct TlsPair {
    /// PEM certificate.
    pub certificate: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// Certificates and their keys.
#[derive(Clone, Debug)]
pub struct TlsPaths {
    /// Both listeners, and towards the other parties.
    pub party: TlsPair,
    /// The operator's commands.
    pub operator: TlsPair,
}

/// Identity files.
#[derive(Clone, Debug)]
pub struct IdentityPaths {
    /// This party's.
    pub own: PathBuf,
    /// The other two parties', in any order.
    pub others: [PathBuf; 2],
    /// The coordinator's.
    pub coordinator: PathBuf,
}

/// How closely the other parties' logs are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorPace {
    /// Milliseconds between two looks.
    pub every_ms: u64,
    /// Age at which what is behind an entry is asked for, milliseconds.
    pub grace_ms: u64,
}

/// Bounds of intake.
#[derive(Clone, Copy, Debug)]
pub struct IntakeLimits {
    /// Largest submission, bytes.
    pub max_submission_bytes: usize,
    /// Checking threads; 0: one for each processor.
    pub check_threads: usize,
    /// Submissions that may wait for a thread.
    pub check_queue: usize,
    /// Early ballots that may be held.
    pub held_ballots: usize,
    /// Most ballots in one transaction.
    pub batch: usize,
    /// How long an answer to a ballot waits for the others' receipts.
    pub wait_for_others: Duration,
    /// Of the store that is kept in memory, bytes.
    pub cache_bytes: usize,
    /// Free bytes on the store's volume below which nothing more is taken.
    pub reserve_bytes: u64,
}

/// Bounds of connections.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Requests at once on one connection of the peer listener.
    pub max_requests_per_connection: usize,
    /// Most elections that this party has not countersigned.
    pub uncountersigned_elections: usize,
    /// Most bytes of their manifests and rolls.
    pub uncountersigned_bytes: u64,
    /// Seconds between saying "not serving" and taking nothing new.
    pub shutdown_notice_s: u64,
    /// Seconds for requests under way after a stop signal.
    pub shutdown_grace_s: u64,
}

/// When alarms are raised.
#[derive(Clone, Copy, Debug)]
pub struct AlarmLimits {
    /// Free bytes below which there is too little room.
    pub disk_bytes: u64,
    /// Seconds before the certificate's end.
    pub certificate_s: u64,
    /// Milliseconds without an answer after which another party is lost.
    pub party_lost_ms: u64,
    /// Entries of another party's logs still to be looked at.
    pub behind_entries: u64,
    /// Seconds after the last submission's end until a box should be sealed.
    pub seal_s: u64,
    /// Seconds before the end of a revocation list.
    pub list_s: u64,
}

/// What operators' machines read.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Where figures are served.
    pub metrics: Option<SocketAddr>,
    /// Where traces go.
    pub otlp: Option<Collector>,
    /// Directory of the journal.
    pub journal: PathBuf,
    /// Bytes of a journal file after which the next one begins.
    pub journal_bytes: u64,
}

/// An OpenTelemetry collector that takes OTLP over plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// `host:port`.
    pub authority: String,
    /// Where it takes traces.
    pub path: String,
}

impl Collector {
    /// From `http://host[:port][/path]`; without a path, OTLP's own.
    pub fn parse(text: &str) -> Option<Collector> {
        let rest = text.strip_prefix("http://")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "4318"));
        port.parse::<u16>().ok().filter(|_| {
            let odd = |c: char| c.is_whitespace() || c.is_control() || "@?#".contains(c);
            !host.is_empty() && !rest.contains(odd)
        })?;
        Some(Collector {
            authority: format!("{host}:{port}"),
            path: if path.is_empty() {
                "/v1/traces".to_owned()
            } else {
                format!("/{path}")
            },
        })
    }
}

/// One thing wrong in a configuration file or in a file it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the configuration file, from 1; none when no line is to blame.
    pub line: Option<usize>,
    /// The option, empty when none.
    pub option: String,
    /// What is wrong, with which value, and what to do.
    pub text: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.option.is_empty() {
            write!(f, "{}: ", self.option)?;
        }
        f.write_str(&self.text)
    }
}

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {source}; `party init` writes one")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something it may not.
    #[error("the configuration {path} has {} problem(s):{}", problems.len(), listed(problems))]
    Refused {
        /// The file.
        path: PathBuf,
        /// All of them.
        problems: Vec<Problem>,
    },
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError`]: unreadable, or refused with everything that is wrong in it.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        Config::parse(&text, directory).map_err(|problems| ConfigError::Refused {
            path: path.to_owned(),
            problems,
        })
    }

    /// Checks the text of a configuration file that stands in `directory`.
    ///
    /// # Errors
    /// Everything that is wrong, by line.
    pub fn parse(text: &str, directory: &Path) -> Result<Config, Vec<Problem>> {
        parse::parse(text, directory).map(|(config, _)| config)
    }

    /// Like [`Config::parse`], with the line on which each given option stands, for later problems with what it names.
    pub(crate) fn parse_with_lines(text: &str, directory: &Path) -> Result<(Config, Lines), Vec<Problem>> {
        parse::parse(text, directory)
    }

    /// The file that `init` writes: `given` options written out (name and TOML value), the others as comments.
    pub(crate) fn document(given: &[(&str, String)]) -> String {
        options::document(given)
    }
}

/// Lines of the given options.
pub(crate) type Lines = std::collections::BTreeMap<String, usize>;

#[cfg(test)]
mod tests;
