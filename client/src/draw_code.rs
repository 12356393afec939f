//! A voter's card stands for a draw code: what lets whoever enrols by card draw tickets.
//!
//! The card signs the hash of the code for one election ([`tally_proto::card::DrawStatement`]); the election commission then takes the code beside
//! every other of that voter. Nothing of the credential is in it, nor which invitation the code is in: a decoy with the same draw code draws alike.
//! Codes of before stay good, so whoever was given one sees nothing of a newer one.

use std::fmt;

use tally_proto::card::{DrawStatement, DrawTerms};
use tally_proto::ids::UnixSeconds;
use tally_proto::reason::{Class, Reason};
use tally_proto::refusal::Refusal;
use tally_proto::ticket::DrawCode;
use tally_proto::wire;
use thiserror::Error;
use tokio::time::sleep;

use crate::card::{Ask, Card, CardFailure, Chosen};
use crate::connections::{Connections, NoTime};
use crate::election::Election;
use crate::enrol::PAUSES;

/// Why no draw code was registered.
#[derive(Debug, Error)]
pub enum DrawCodeError {
    /// The election asks for no tickets.
    #[error("this election asks for no tickets: nobody needs a draw code, vote with the invitation as it is")]
    NoTickets,
    /// Nobody enrols by card.
    #[error(
        "this election does not take cards: its draw codes are on the invitations that were sent; use the whole code, and both halves if it came in two"
    )]
    NoRegister,
    /// The invitation whose draw code was to be used has none.
    #[error("the invitation that was given has no draw code to use: leave it out, then a new one is made")]
    NoneThere,
    /// The card, its PIN, or its certificate.
    #[error(transparent)]
    Card(#[from] CardFailure),
    /// The parties' time.
    #[error(transparent)]
    Time(#[from] NoTime),
    /// The commission does not take it.
    #[error(
        "the election commission has not registered the draw code: {refusal}. {} Without it no tickets can be drawn: when that is mended, let your card stand for \
         it with `client draw-code` and your invitation", .refusal.reason.action()
    )]
    Refused {
        /// Its reason.
        refusal: Refusal,
    },
}

impl DrawCodeError {
    /// The stable reason code, where there is one.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::NoTickets => Some(Reason::DrawRefused),
            Self::NoRegister => Some(Reason::CardRegister),
            Self::NoneThere => Some(Reason::InvitationInvalid),
            Self::Card(error) => Some(error.reason()),
            Self::Time(_) => None,
            Self::Refused { refusal } => Some(refusal.reason),
        }
    }

    /// Whether the same may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Time(_) => true,
            Self::Refused { refusal } => refusal.reason.class() == Class::Retry,
            _ => false,
        }
    }
}

/// What a card is to state of `code`.
pub(crate) fn terms(election: &Election, code: &DrawCode, signed_at: UnixSeconds) -> DrawTerms {
    let manifest = election.manifest_hash();
    DrawTerms {
        manifest,
        code: code.hash_for_card(&manifest),
        signed_at,
    }
}

/// What a card stated of a draw code, to be brought to the commission.
#[must_use = "the draw code is registered when this is brought"]
pub struct Stated(wire::DrawCodeRequest);

impl fmt::Debug for Stated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stated(of a card)")
    }
}

impl Stated {
    pub(crate) fn new(
        election: &Election,
        terms: DrawTerms,
        chosen: &Chosen,
        signature: Vec<u8>,
    ) -> Result<Self, CardFailure> {
        let certificate = chosen.certificate().to_vec();
        let statement = DrawStatement::new(terms, certificate, chosen.scheme(), signature)?;
        Ok(Self(wire::DrawCodeRequest {
            election: election.id().as_str().to_owned(),
            statement: statement.encode(),
        }))
    }

    /// Brings it to the commission, and again where an answer may have been lost: the same changes nothing.
    ///
    /// # Errors
    /// [`DrawCodeError::Refused`].
    pub async fn bring(self, connections: &Connections) -> Result<(), DrawCodeError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let Err(refusal) = connections.admit_draw_code(self.0.clone()).await else {
                return Ok(());
            };
            match pauses.next() {
                Some(pause) if refusal.reason.class() == Class::Retry => sleep(pause).await,
                _ => return Err(DrawCodeError::Refused { refusal }),
            }
        }
    }
}

/// Has the card stand for `code` in this election. `ask` is asked for the PIN. Again it changes nothing.
///
/// # Errors
/// [`DrawCodeError`].
pub async fn register_draw_code(
    election: &Election,
    connections: &Connections,
    card: &Card,
    code: &DrawCode,
    ask: &mut Ask<'_>,
) -> Result<(), DrawCodeError> {
    let manifest = election.manifest();
    if manifest.ticketing().is_none() {
        return Err(DrawCodeError::NoTickets);
    }
    let register = manifest.register().ok_or(DrawCodeError::NoRegister)?;
    let signed_at = UnixSeconds(connections.time().await? / 1000);
    let chosen = card.choose(register, signed_at)?;
    let terms = terms(election, code, signed_at);
    let due = [terms.signed_bytes(register.id())];
    let [signature] = card.sign(&chosen, due, ask)?;
    Stated::new(election, terms, &chosen, signature)?
        .bring(connections)
        .await
}
