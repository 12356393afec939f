//! Enrolling by identity card.

use std::path::PathBuf;

use clap::Args;
use tally_proto::ticket::DrawCode;
use tally_proto::unseen::{self, Place};
use zeroize::Zeroizing;

use super::voter::{InvitationArg, load_election};
use super::{Console, Failure, ManifestArg, Outcome, code_file};
use crate::card::{Card, CardFailure, CardFile, Token};
use crate::connections::Connections;
use crate::draw_code::DrawCodeError;
use crate::election::Election;
use crate::enrol::{EnrolError, enrol_with};

/// The voter's card.
#[derive(Args)]
pub(super) struct CardArgs {
    /// The PKCS#11 module of your card's software, as /usr/lib/x86_64-linux-gnu/opensc-pkcs11.so.
    #[arg(long, value_name = "FILE", required_unless_present = "pkcs12")]
    pkcs11: Option<PathBuf>,
    /// Which card, where there are several: its label.
    #[arg(long, value_name = "LABEL", requires = "pkcs11")]
    token: Option<String>,
    /// A PKCS#12 file (.p12, .pfx) in place of a card, for pilots.
    #[arg(long, value_name = "FILE", conflicts_with = "pkcs11")]
    pkcs12: Option<PathBuf>,
}

impl CardArgs {
    pub(super) fn open(&self, console: &mut Console<'_>) -> Result<Card, Failure> {
        match (&self.pkcs11, &self.pkcs12) {
            (Some(module), _) => {
                let token = Token::find(module, self.token.as_deref()).map_err(EnrolError::from)?;
                Ok(Card::Token(token))
            }
            (None, Some(path)) => {
                let password = secret(console, &format!("Password of {}:", path.display()))?;
                Ok(Card::File(
                    CardFile::open(path, &password).map_err(EnrolError::from)?,
                ))
            }
            (None, None) => Err(Failure::NobodyToAsk {
                instead: "give --pkcs11 MODULE or --pkcs12 FILE",
            }),
        }
    }
}

#[derive(Args)]
pub(super) struct Enrol {
    #[command(flatten)]
    manifest: ManifestArg,
    #[command(flatten)]
    card: CardArgs,
    /// Where the election asks for tickets: uses the draw code of the invitation in this file (an earlier code of yours, a letter; twice if it came in
    /// two halves) in place of a new one. The new code then looks like a decoy of that one, and this device's tickets stay those of both; but whoever
    /// was given that one can open the tickets of a device that he gets.
    #[arg(long, value_name = "FILE")]
    draw_code_of: Vec<PathBuf>,
    /// Writes the invitation's code to a new file that only this user can read, instead of showing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// PIN or password: typed unseen, or the next line of what is piped in.
fn secret(console: &mut Console<'_>, question: &str) -> Result<Zeroizing<String>, Failure> {
    if console.interactive {
        return unseen::ask(&format!("{question} "), None).map_err(Failure::Input);
    }
    console.line()
}

/// Asks for PINs.
pub(super) fn asking<'c>(
    console: &'c mut Console<'_>,
) -> impl FnMut(&str) -> Result<Zeroizing<String>, CardFailure> + 'c {
    |question: &str| secret(console, question).map_err(|failure| CardFailure::Failed(failure.to_string()))
}

impl Enrol {
    /// The draw code of an invitation that the voter has.
    fn draw_code(&self, election: &Election, console: &mut Console<'_>) -> Result<Option<DrawCode>, Failure> {
        if self.draw_code_of.is_empty() {
            return Ok(None);
        }
        if election.manifest().ticketing().is_none() {
            return Err(DrawCodeError::NoTickets.into());
        }
        let invitation = InvitationArg::of_files(self.draw_code_of.clone()).load(console)?;
        let code = invitation.draw_code().ok_or(DrawCodeError::NoneThere)?;
        // The bytes are a draw code's.
        Ok(DrawCode::from_slice(code.expose()).ok())
    }

    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let election = load_election(&self.manifest)?;
        if election.manifest().register().is_none() {
            return Err(EnrolError::NoRegister.into());
        }
        let draw = self.draw_code(&election, console)?;
        let card = self.card.open(console)?;
        let connections = Connections::open(&election)?;
        // The parties tell their parts of the code once: the place for it must be there before. Where nothing comes it is removed.
        let place = self.out.as_deref().map(Place::make).transpose()?;
        let mut ask = asking(console);
        let enrolled = enrol_with(&election, &connections, &card, draw, &mut ask, &mut rand::rng()).await;
        drop(ask);
        let enrolled = enrolled?;
        code_file::fill_or_say(console, place, &enrolled.invitation.to_code());
        console.tell(
            "You are enrolled: all three parties have taken your record. The code is your invitation; vote with it as often as you like. \
             Enrolling again makes a new one, the old one counts no more, nor does any ballot that was cast with it. The parties know who enrols and \
             from which network address: vote on another day or from another network if you can. After the election it is published that and when \
             your number enrolled.",
        );
        if let Some(stated) = enrolled.stated {
            // What was enrolled is shown or written by now: should this fail, the code is good and waits for it.
            stated.bring(&connections).await?;
            console.tell(
                "This election asks for tickets, and your card stands for the draw code that is in the code: `client draw` with it, long before you vote. Draw \
                 codes of before stay good.",
            );
        }
        Ok(Outcome::Done)
    }
}
