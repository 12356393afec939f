//! The second device: it sees for itself what a ballot holds that another device has cast.
//!
//! It trusts neither that device nor any one party: the header comes from two parties, whose answers are checked against the digest, and
//! the check code opens the commitments in it to one choice only.

use std::fmt;

use tally_proto::ballot::BallotHeader;
use tally_proto::disclosure::{Disclosure, DisclosureError};
use tally_proto::ids::{Role, UnixSeconds};
use tally_proto::reason::Reason;
use thiserror::Error;

use crate::choice::Choices;
use crate::connections::Connections;
use crate::election::{Election, ElectionError};
use crate::fault::Fault;
use crate::form::Form;
use crate::known::{self, Named, Sealed};
use crate::voter::reasons;

/// Why nothing is shown.
#[derive(Debug, Error)]
pub enum InspectError {
    /// The check code, or what it says about the ballot.
    #[error(transparent)]
    Disclosure(#[from] DisclosureError),
    /// The box.
    #[error(transparent)]
    Election(#[from] ElectionError),
    /// Fewer than two parties hold the ballot.
    #[error(
        "{} such a ballot, two should: if the device has only just cast it, try again; else it did not cast what it shows{}",
        held(.by), reasons(.faults)
    )]
    NotHeld {
        /// Who holds it.
        by: Vec<Role>,
        /// Who could not be asked, or answered falsely.
        faults: Vec<Fault>,
    },
}

fn held(by: &[Role]) -> String {
    match by {
        [] => "no party shows".to_owned(),
        [only, ..] => format!("{only} alone shows"),
    }
}

impl InspectError {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Disclosure(error) => error.reason(),
            Self::Election(error) => error.reason(),
            Self::NotHeld { .. } => Reason::BallotNotHeld,
        }
    }
}

/// What one ballot holds.
///
/// # Security
/// The choices are the voter's secret. Whose ballot it is, is not known here.
pub struct Inspected {
    header: BallotHeader,
    form: Form,
    choices: Choices,
    held_by: Vec<Role>,
    faults: Vec<Fault>,
}

impl fmt::Debug for Inspected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspected").finish_non_exhaustive()
    }
}

impl Inspected {
    /// When the ballot was cast.
    pub fn cast_at(&self) -> UnixSeconds {
        self.header.cast_at()
    }

    /// The ballot paper that it was cast on.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// What is chosen in it.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// The parties that hold it: at least two.
    pub fn held_by(&self) -> &[Role] {
        &self.held_by
    }

    /// What went wrong with the third.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

/// Opens the choice of the ballot that `disclosure` is about, as two parties hold it.
///
/// # Errors
/// [`InspectError`]. [`Reason::CheckCodeMismatch`] is the one that convicts the device that made the code.
pub async fn inspect(
    election: &Election,
    connections: &Connections,
    disclosure: &Disclosure,
) -> Result<Inspected, InspectError> {
    disclosure.check_election(&election.manifest_hash())?;
    let of_box = election.ballot_box(disclosure.of_box())?;
    let named = Named {
        election: election.id().clone(),
        of_box: of_box.id(),
        digest: disclosure.digest(),
        holder: disclosure.holder(),
    };
    let (mut header, mut held_by, mut faults) = (None, Vec::new(), Vec::new());
    let mut shows = Vec::new();
    for (party, answer) in Role::ALL.into_iter().zip(known::ask(connections, &named).await) {
        match answer {
            Ok(known) => {
                // A header alone is no acceptance: anybody who saw the ballot has it. A party that signed a receipt accepted it, and one whose box
                // is sealed has it on the list. The receipt is shown to who has the ballot's words, and a device that lies gives false ones.
                let listed = matches!(known.sealed, Some((_, Sealed::Listed)));
                if known.accepted.is_some() || listed {
                    shows.push(party);
                }
                let holds = known.says_accepted || listed;
                if let Some(shown) = known.header.filter(|_| holds) {
                    // All are of one digest, so all are equal.
                    header = Some(shown);
                    held_by.push(party);
                }
            }
            Err(fault) => faults.push(fault),
        }
    }
    let Some(header) = header.filter(|_| held_by.len() >= 2) else {
        return Err(InspectError::NotHeld { by: held_by, faults });
    };
    let plain = disclosure.open(election.id(), of_box, &header)?;
    // The code opens the ballot, so its words are right: who still shows no receipt withholds it.
    held_by.retain(|party| {
        let shown = shows.contains(party);
        if !shown {
            faults.push(connections.link(*party).withholds());
        }
        shown
    });
    if held_by.len() < 2 {
        return Err(InspectError::NotHeld { by: held_by, faults });
    }
    let form = Form::of(election.manifest(), of_box);
    let choices = of_box.layout().choices(&plain);
    let choices = choices.map_err(|source| DisclosureError::Layout {
        share: Role::P1,
        source,
    })?;
    Ok(Inspected {
        header,
        choices: Choices::as_counted(choices),
        form,
        held_by,
        faults,
    })
}
