//! Enrolling by identity card.

use std::path::PathBuf;

use clap::Args;
use tally_proto::secret_file;
use zeroize::Zeroizing;

use super::voter::load_election;
use super::{Console, Failure, ManifestArg, Outcome};
use crate::card::{Card, CardFailure, CardFile, Token};
use crate::connections::Connections;
use crate::disk::{RealDisk, replace};
use crate::enrol::{EnrolError, enrol};

#[derive(Args)]
pub(super) struct Enrol {
    #[command(flatten)]
    manifest: ManifestArg,
    /// The PKCS#11 module of your card's software, as /usr/lib/x86_64-linux-gnu/opensc-pkcs11.so.
    #[arg(long, value_name = "FILE", required_unless_present = "pkcs12")]
    pkcs11: Option<PathBuf>,
    /// Which card, where there are several: its label.
    #[arg(long, value_name = "LABEL", requires = "pkcs11")]
    token: Option<String>,
    /// A PKCS#12 file (.p12, .pfx) in place of a card, for pilots.
    #[arg(long, value_name = "FILE", conflicts_with = "pkcs11")]
    pkcs12: Option<PathBuf>,
    /// Writes the invitation's code to a new file that only this user can read, instead of showing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// PIN or password: typed unseen, or the next line of what is piped in.
fn secret(console: &mut Console<'_>, question: &str) -> Result<Zeroizing<String>, Failure> {
    if console.interactive {
        let typed = rpassword::prompt_password(format!("{question} ")).map_err(Failure::Input)?;
        return Ok(Zeroizing::new(typed));
    }
    console.line()
}

impl Enrol {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let election = load_election(&self.manifest)?;
        if election.manifest().register().is_none() {
            return Err(EnrolError::NoRegister.into());
        }
        let card = match (&self.pkcs11, &self.pkcs12) {
            (Some(module), _) => {
                Card::Token(Token::find(module, self.token.as_deref()).map_err(EnrolError::from)?)
            }
            (None, Some(path)) => {
                let password = secret(console, &format!("Password of {}:", path.display()))?;
                Card::File(CardFile::open(path, &password).map_err(EnrolError::from)?)
            }
            (None, None) => {
                return Err(Failure::NobodyToAsk {
                    instead: "give --pkcs11 MODULE or --pkcs12 FILE",
                });
            }
        };
        let connections = Connections::open(&election)?;
        let mut ask = |question: &str| {
            secret(console, question).map_err(|failure| CardFailure::Failed(failure.to_string()))
        };
        // The parties tell their parts of the code once: the place for it must be there before.
        if let Some(path) = &self.out {
            secret_file::create(path, &[])?;
        }
        let enrolled = enrol(&election, &connections, &card, &mut ask, &mut rand::rng()).await;
        let enrolled = match (enrolled, &self.out) {
            (Err(error), Some(path)) => {
                let _ = std::fs::remove_file(path);
                return Err(error.into());
            }
            (enrolled, _) => enrolled?,
        };
        let code = enrolled.invitation.to_code();
        if let Some(path) = &self.out {
            if let Err(source) = replace(&RealDisk, path, code.as_bytes()) {
                // It is told once only: rather on the screen than nowhere.
                console.tell(&format!(
                    "{} cannot be written ({source}); write the code down:",
                    path.display()
                ));
                console.say(&code);
            }
        } else {
            console.say(&code);
        }
        console.tell(
            "You are enrolled: all three parties have taken your record. The code is your invitation; vote with it as often as you like. \
             Enrolling again makes a new one, the old one counts no more, nor does any ballot that was cast with it. The parties know who enrols and \
             from which network address: vote on another day or from another network if you can. After the election it is published that and when \
             your number enrolled.",
        );
        Ok(Outcome::Done)
    }
}
