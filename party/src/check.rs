//! `party check-config`: everything that is wrong with a configuration and the files it names, at once.

use std::path::Path;

use tally_proto::pki::{self, Shown};

use crate::config::{Config, ConfigError, Lines, Problem, TlsPair};
use crate::keys::{self, Identities, KeyError, Secrets};

/// What a good configuration says, for its operator to compare.
#[derive(Debug)]
pub struct Sound {
    /// The configuration.
    pub config: Config,
    /// Who takes part.
    pub identities: Identities,
}

/// Checks the file at `path` and the files it names. With `operator`, the operator's certificate too.
///
/// # Errors
/// [`ConfigError`]: unreadable, or refused with all problems, each with its line.
pub fn check(path: &Path, operator: bool) -> Result<Sound, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let refused = |problems| ConfigError::Refused {
        path: path.to_owned(),
        problems,
    };
    let (config, lines) =
        Config::parse_with_lines(&text, path.parent().unwrap_or(Path::new(""))).map_err(refused)?;
    let mut found = Found {
        lines,
        problems: Vec::new(),
    };

    let own = found.note("identities.own", keys::own_identity(&config));
    for other in &config.identities.others {
        found.note("identities.others", keys::party_identity(other));
    }
    found.note(
        "identities.coordinator",
        keys::coordinator_identity(&config.identities.coordinator),
    );
    let split = config.keys.sealed.is_some();
    let each_key_is_there = if split {
        // What is in it shows when it is unlocked.
        found.note("keys.sealed", keys::sealed(&config));
        for path in [&config.keys.signing, &config.keys.hpke, &config.keys.storage] {
            if path.exists() {
                found.say(
                    "keys.sealed",
                    format!(
                        "{} lies there open, though the keys are split among officials: erase it",
                        path.display()
                    ),
                );
            }
        }
        false
    } else {
        [
            found
                .note("keys.signing_key", keys::signer(&config.keys.signing))
                .is_some(),
            found
                .note("keys.hpke_key", keys::opening(&config.keys.hpke))
                .is_some(),
            found
                .note("keys.storage_key", keys::storage(&config.keys.storage))
                .is_some(),
        ]
        .iter()
        .all(|there| *there)
    };
    let leaf_is_there = found
        .note("tls.certificate", keys::leaf(&config.tls.party))
        .is_some();
    if let Some(own) = &own {
        // Each file is sound by itself: do they belong together?
        if each_key_is_there && leaf_is_there {
            found.note("identities.own", Secrets::load(&config, own));
        } else if split && leaf_is_there {
            found.note("tls.certificate", keys::front_leaf(&config));
        }
        if operator {
            found.note("tls.operator_certificate", keys::operator_leaf(&config, own));
        }
    }
    // The server starts even so: it says it as an alarm, and its figures can be read.
    if operator {
        for (option, pair) in [
            ("tls.certificate", &config.tls.party),
            ("tls.operator_certificate", &config.tls.operator),
        ] {
            found.in_time(option, pair);
        }
    }
    if !config.data_dir.is_dir() {
        found.say(
            "data_dir",
            format!("{} is no directory; make it, mode 700", config.data_dir.display()),
        );
    }
    let same_port =
        config.listen_public.port() == config.listen_peer.port() && config.listen_public.port() != 0;
    if same_port && config.listen_public.ip() == config.listen_peer.ip() {
        found.say(
            "listen.peer",
            format!("is {}, which is listen.public too", config.listen_peer),
        );
    }
    let identities = if found.problems.is_empty() {
        found.note("identities.others", Identities::load(&config))
    } else {
        None
    };
    match identities {
        Some(identities) => Ok(Sound { config, identities }),
        None => Err(refused(found.problems)),
    }
}

struct Found {
    lines: Lines,
    problems: Vec<Problem>,
}

impl Found {
    fn note<T>(&mut self, option: &str, result: Result<T, KeyError>) -> Option<T> {
        result.map_err(|error| self.say(option, error.to_string())).ok()
    }

    fn in_time(&mut self, option: &str, pair: &TlsPair) {
        // One that cannot be read is said above.
        let Ok(leaf) = keys::leaf(pair) else { return };
        let checked = Shown::of(&leaf.cert_pem).and_then(|shown| shown.check(pki::system_now()));
        if let Err(error) = checked {
            self.say(
                option,
                format!(
                    "{}: {error}; `party renew-certificates` issues a new one",
                    pair.certificate.display()
                ),
            );
        }
    }

    fn say(&mut self, option: &str, text: String) {
        let problem = Problem {
            line: self.lines.get(option).copied(),
            option: option.to_owned(),
            text,
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
