//! From text to a checked [`Config`], collecting everything that is wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tally_proto::guard;
use tally_proto::ids::Role;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::options::{Kind, SETTINGS, Setting};
use super::{
    AlarmLimits, Collector, Config, IdentityPaths, IntakeLimits, KeyPaths, Lines, LogFormat, MirrorPace,
    Problem, ServerLimits, Telemetry, TlsPair, TlsPaths,
};

#[derive(Clone, Debug)]
enum Checked {
    Number(u64),
    Path(PathBuf),
    PathOrNone(Option<PathBuf>),
    Paths(Vec<PathBuf>),
    Listen(SocketAddr),
    Collector(Collector),
    Text(String),
    /// Switched off.
    Nothing,
}

/// Parses and checks; on success also tells where each given option stands.
pub(super) fn parse(text: &str, directory: &Path) -> Result<(Config, Lines), Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let line_of = |offset: usize| {
        text.as_bytes()[..offset.min(text.len())]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1
    };
    let mut problems: Vec<Problem> = errors
        .iter()
        .map(|error| Problem {
            line: error.span().map(|span| line_of(span.start)),
            option: String::new(),
            text: format!("not TOML: {}", error.message()),
        })
        .collect();
    let mut given: BTreeMap<String, (usize, &DeValue<'_>)> = BTreeMap::new();
    let entries = leaves(document.get_ref(), &line_of);
    for (name, line, value) in &entries {
        if SETTINGS.iter().any(|setting| setting.name() == *name) {
            given.insert(name.clone(), (*line, value.get_ref()));
        } else {
            problems.push(Problem {
                line: Some(*line),
                option: name.clone(),
                text: unknown(name),
            });
        }
    }
    let mut values = BTreeMap::new();
    let mut lines = Lines::new();
    for setting in SETTINGS {
        let name = setting.name();
        let checked = match (given.get(&name), setting.default) {
            (Some((line, value)), _) => {
                lines.insert(name.clone(), *line);
                check(setting, value, directory).map_err(|text| Problem {
                    line: Some(*line),
                    option: name.clone(),
                    text,
                })
            }
            (None, Some(default)) => check_default(setting, default, directory).map_err(|text| Problem {
                line: None,
                option: name.clone(),
                text,
            }),
            (None, None) => Err(Problem {
                line: None,
                option: name.clone(),
                text: format!("is missing; give it: {}", setting.doc),
            }),
        };
        match checked {
            Ok(value) => {
                values.insert(name, value);
            }
            Err(problem) => problems.push(problem),
        }
    }
    problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    match Values(values).config() {
        Some(config) if problems.is_empty() => Ok((config, lines)),
        _ => Err(problems),
    }
}

/// (name, line, value) of everything in the document but known tables themselves.
fn leaves<'a, 'i>(
    document: &'a DeTable<'i>,
    line_of: &dyn Fn(usize) -> usize,
) -> Vec<(String, usize, &'a Spanned<DeValue<'i>>)> {
    let mut found = Vec::new();
    for (key, value) in document {
        let known_table = SETTINGS
            .iter()
            .any(|setting| !setting.table.is_empty() && setting.table == key.get_ref());
        match value.get_ref() {
            DeValue::Table(table) if known_table => {
                for (inner, value) in table {
                    found.push((
                        format!("{}.{}", key.get_ref(), inner.get_ref()),
                        line_of(inner.span().start),
                        value,
                    ));
                }
            }
            _ => found.push((key.get_ref().to_string(), line_of(key.span().start), value)),
        }
    }
    found
}

fn unknown(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    let near = SETTINGS
        .iter()
        .map(|setting| (distance(last, setting.key), setting.name()))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    match near {
        Some((_, near)) => format!("is not an option; did you mean {near}?"),
        None => "is not an option; the file that `party init` writes lists all".to_owned(),
    }
}

/// Levenshtein distance of two short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y))
                .min(row[j] + 1)
                .min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

fn check_default(setting: &Setting, default: &str, directory: &Path) -> Result<Checked, String> {
    let value = DeValue::parse(default).map_err(|error| error.message().to_owned())?;
    check(setting, value.get_ref(), directory)
}

fn check(setting: &Setting, value: &DeValue<'_>, directory: &Path) -> Result<Checked, String> {
    let text = |expected: &str| match value.as_str() {
        Some(text) => Ok(text),
        None => Err(format!(
            "is a value of type {}; {expected} is needed",
            value.type_str()
        )),
    };
    match setting.kind {
        Kind::Number { min, max } => {
            let number = value
                .as_integer()
                .ok_or_else(|| format!("is a value of type {}; a number is needed", value.type_str()))?;
            let shown = number.as_str();
            i128::from_str_radix(shown, number.radix())
                .ok()
                .and_then(|number| u64::try_from(number).ok())
                .filter(|number| (min..=max).contains(number))
                .map(Checked::Number)
                .ok_or_else(|| format!("is {shown}, but must be from {min} to {max}"))
        }
        Kind::Path => {
            let path = text("a path in quotes")?;
            if path.is_empty() {
                Err("is an empty path".to_owned())
            } else {
                Ok(Checked::Path(directory.join(path)))
            }
        }
        Kind::PathOrNone => {
            let path = text("a path in quotes")?;
            Ok(Checked::PathOrNone(
                (!path.is_empty()).then(|| directory.join(path)),
            ))
        }
        Kind::DataPath => {
            let path = text("a path in quotes")?;
            if path.is_empty() {
                Err("is an empty path".to_owned())
            } else {
                Ok(Checked::Path(PathBuf::from(path)))
            }
        }
        Kind::Paths(count) => {
            let wrong = || format!("must be a list of {count} paths in quotes");
            let array = value
                .as_array()
                .filter(|array| array.len() == count)
                .ok_or_else(wrong)?;
            let paths: Option<Vec<PathBuf>> = array
                .iter()
                .map(|item| item.get_ref().as_str().map(|path| directory.join(path)))
                .collect();
            paths.map(Checked::Paths).ok_or_else(wrong)
        }
        Kind::Listen => {
            let address = text("an address and port in quotes")?;
            address.parse().map(Checked::Listen).map_err(|_| {
                format!("is {address:?}, but an IP address and port are needed, as \"0.0.0.0:7443\"")
            })
        }
        Kind::Word(words) => {
            let word = text("a word in quotes")?;
            if words.contains(&word) {
                Ok(Checked::Text(word.to_owned()))
            } else {
                Err(format!("is {word:?}, but must be one of {}", words.join(", ")))
            }
        }
        Kind::Filter => {
            let filter = text("a filter in quotes")?;
            match filter.parse::<tracing_subscriber::EnvFilter>() {
                Ok(_) => Ok(Checked::Text(filter.to_owned())),
                Err(error) => Err(format!("is {filter:?}, which is no filter: {error}")),
            }
        }
        Kind::OperatorListen => {
            let given = text("a port, or an address and port, in quotes")?;
            if given.is_empty() {
                return Ok(Checked::Nothing);
            }
            let port = given.parse().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            port.or_else(|_| given.parse()).map(Checked::Listen).map_err(|_| {
                format!("is {given:?}, but a port as \"9464\" or an address and port as \"10.0.0.5:9464\" is needed")
            })
        }
        Kind::Collector => {
            let given = text("an address in quotes")?;
            if given.is_empty() {
                return Ok(Checked::Nothing);
            }
            Collector::parse(given).map(Checked::Collector).ok_or_else(|| {
                format!("is {given:?}, but an address as \"http://127.0.0.1:4318\" is needed; put TLS and a login into a collector on this machine")
            })
        }
    }
}

struct Values(BTreeMap<String, Checked>);

impl Values {
    fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name)? {
            Checked::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn size(&self, name: &str) -> Option<usize> {
        usize::try_from(self.number(name)?).ok()
    }

    fn seconds(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_secs)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        match self.0.get(name)? {
            Checked::Path(path) => Some(path.clone()),
            _ => None,
        }
    }

    fn path_or_none(&self, name: &str) -> Option<Option<PathBuf>> {
        match self.0.get(name)? {
            Checked::PathOrNone(path) => Some(path.clone()),
            _ => None,
        }
    }

    fn listen(&self, name: &str) -> Option<SocketAddr> {
        match self.0.get(name)? {
            Checked::Listen(address) => Some(*address),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Checked::Text(text) => Some(text),
            _ => None,
        }
    }

    fn pair(&self, prefix: &str) -> Option<TlsPair> {
        Some(TlsPair {
            certificate: self.path(&format!("tls.{prefix}certificate"))?,
            key: self.path(&format!("tls.{prefix}key"))?,
        })
    }

    /// `None` only when some option failed its check, which has been reported by then.
    fn config(&self) -> Option<Config> {
        let others = match self.0.get("identities.others")? {
            Checked::Paths(paths) => <[PathBuf; 2]>::try_from(paths.clone()).ok()?,
            _ => return None,
        };
        Some(Config {
            party: Role::from_index(u8::try_from(self.number("party")?).ok()?)?,
            session_logs: self.path("data_dir")?.join(self.path("session_logs")?),
            data_dir: self.path("data_dir")?,
            listen_public: self.listen("listen.public")?,
            listen_peer: self.listen("listen.peer")?,
            keys: KeyPaths {
                signing: self.path("keys.signing_key")?,
                hpke: self.path("keys.hpke_key")?,
                storage: self.path("keys.storage_key")?,
                sealed: self.path_or_none("keys.sealed")?,
                holder: self.path("data_dir")?.join(self.path("keys.holder")?),
            },
            tls: TlsPaths {
                party: self.pair("")?,
                operator: self.pair("operator_")?,
            },
            identities: IdentityPaths {
                own: self.path("identities.own")?,
                others,
                coordinator: self.path("identities.coordinator")?,
            },
            mirror: MirrorPace {
                every_ms: self.number("mirror.every_ms")?,
                grace_ms: self.number("mirror.grace_ms")?,
            },
            marks: self.path_or_none("mirror.marks")?.unwrap_or_else(in_memory),
            revocation_lists: self.path("revocation_lists")?,
            intake: IntakeLimits {
                max_submission_bytes: self.size("intake.max_submission_bytes")?,
                check_threads: self.size("intake.check_threads")?,
                check_queue: self.size("intake.check_queue")?,
                held_ballots: self.size("intake.held_ballots")?,
                batch: self.size("intake.batch")?,
                wait_for_others: Duration::from_millis(self.number("intake.wait_for_others_ms")?),
                cache_bytes: self.size("intake.cache_mib")? << 20,
                reserve_bytes: self.number("intake.disk_reserve_mib")? << 20,
            },
            server: ServerLimits {
                max_requests_per_connection: self.size("server.max_requests_per_connection")?,
                uncountersigned_elections: self.size("server.uncountersigned_elections")?,
                uncountersigned_bytes: self.number("server.uncountersigned_mib")? << 20,
                shutdown_notice_s: self.number("server.shutdown_notice_s")?,
                shutdown_grace_s: self.number("server.shutdown_grace_s")?,
            },
            public: guard::Limits {
                connections: self.size("public.max_connections")?,
                connections_per_address: self.size("public.max_connections_per_address")?,
                requests: self.size("public.max_requests")?,
                requests_per_connection: u32::try_from(self.number("public.max_requests_per_connection")?)
                    .ok()?,
                handshake: self.seconds("public.handshake_s")?,
                idle: self.seconds("public.idle_s")?,
                message: self.seconds("public.message_s")?,
                given_up: self.number("public.max_given_up")?,
            },
            telemetry: Telemetry {
                metrics: self.listen("telemetry.metrics"),
                otlp: match self.0.get("telemetry.otlp")? {
                    Checked::Collector(collector) => Some(collector.clone()),
                    _ => None,
                },
                journal: self.path("data_dir")?.join(self.path("telemetry.journal")?),
                journal_bytes: self.number("telemetry.journal_mib")? << 20,
            },
            alarms: AlarmLimits {
                disk_bytes: self.number("alarms.disk_mib")? << 20,
                certificate_s: self.number("alarms.certificate_days")? * 86_400,
                party_lost_ms: self.number("alarms.party_lost_s")? * 1000,
                behind_entries: self.number("alarms.behind_entries")?,
                seal_s: self.number("alarms.seal_minutes")? * 60,
                list_s: self.number("alarms.revocation_list_minutes")? * 60,
            },
            log_format: if self.text("log.format")? == "json" {
                LogFormat::Json
            } else {
                LogFormat::Text
            },
            log_filter: self.text("log.filter")?.to_owned(),
        })
    }
}

/// Where files live that end with the machine's boot: the service's own place, else everybody's.
fn in_memory() -> PathBuf {
    let service = std::env::var_os("RUNTIME_DIRECTORY");
    let first = service.and_then(|service| std::env::split_paths(&service).next());
    first.unwrap_or_else(|| PathBuf::from("/dev/shm"))
}
