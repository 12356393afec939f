//! What became of a ballot whose public name the voter kept on purpose: accepted, in the logs, on the sealed list.

use std::time::Duration;

use tally_proto::ids::Role;
use tokio::time::Instant;

use crate::connections::Connections;
use crate::fault::Fault;
use crate::known::{self, Named, Sealed};
use crate::logs::{InLog, in_log};

/// What one party shows of a ballot.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Which party.
    pub party: Role,
    /// It accepted the ballot, and here it is in its log. None: it did not accept it.
    pub log: Option<InLog>,
    /// What it says that the Seal says, once the box is sealed.
    pub sealed: Option<Sealed>,
}

/// What the parties show of a ballot, together.
#[derive(Clone, Debug)]
pub struct Checked {
    /// In party order, those that answered truthfully as far as can be seen.
    pub shown: Vec<Shown>,
    /// Those that could not be asked, or whose answers are false.
    pub faults: Vec<Fault>,
    /// What the Seal says of the ballot, if two parties say the same of the same Seal.
    pub sealed: Option<Sealed>,
    /// Two parties say different things of the sealed list: one of them lies.
    pub contradicted: bool,
}

impl Checked {
    /// How many parties show the ballot in their logs.
    pub fn in_logs(&self) -> usize {
        self.shown.iter().filter(|shown| shown.log.is_some()).count()
    }

    /// Whether a party is convicted of something false.
    pub fn is_false(&self) -> bool {
        self.contradicted || self.faults.iter().any(Fault::is_false)
    }
}

/// Asks the parties for a ballot and checks what they show. `earlier`: signed notes of their logs that the voter kept.
///
/// # Security
/// The parties learn that somebody at this network address asks for this ballot.
pub async fn check(
    connections: &Connections,
    named: &Named,
    earlier: &[String],
    patience: Duration,
) -> Checked {
    let until = Instant::now() + patience;
    let (mut shown, mut faults, mut seals) = (Vec::new(), Vec::new(), Vec::new());
    for (party, answer) in Role::ALL.into_iter().zip(known::ask(connections, named).await) {
        let link = connections.link(party);
        let known = match answer {
            Ok(known) => known,
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        let log = match &known.accepted {
            None if known.says_accepted => {
                faults.push(link.withholds());
                continue;
            }
            None => None,
            Some((acceptance, _)) => match in_log(connections, link, acceptance, earlier, until).await {
                Ok(log) => Some(log),
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            },
        };
        seals.extend(known.sealed.clone());
        shown.push(Shown {
            party,
            log,
            sealed: known.sealed.map(|(_, says)| says),
        });
    }
    let agreed = |one: &(_, Sealed)| seals.iter().filter(|other| *other == one).count() >= 2;
    Checked {
        sealed: seals.iter().find(|one| agreed(one)).map(|(_, says)| says.clone()),
        contradicted: seals.windows(2).any(|pair| pair[0] != pair[1]),
        shown,
        faults,
    }
}
