//! Having a card stand for a draw code.

use std::path::PathBuf;

use clap::Args;
use tally_proto::ticket::DrawCode;
use tally_proto::unseen::Place;

use super::enrol::{CardArgs, asking};
use super::voter::{InvitationArg, load_election};
use super::{Console, Failure, ManifestArg, Outcome, code_file};
use crate::connections::Connections;
use crate::draw_code::{DrawCodeError, register_draw_code};

#[derive(Args)]
pub(super) struct RegisterDrawCode {
    #[command(flatten)]
    manifest: ManifestArg,
    #[command(flatten)]
    card: CardArgs,
    #[command(flatten)]
    invitation: InvitationArg,
    /// Makes a new draw code, though the invitation has one: whoever has the earlier one cannot open the tickets that are drawn with this one.
    #[arg(long)]
    new: bool,
    /// Writes the invitation's code to a new file that only this user can read, instead of showing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl RegisterDrawCode {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let election = load_election(&self.manifest)?;
        if election.manifest().ticketing().is_none() {
            return Err(DrawCodeError::NoTickets.into());
        }
        if election.manifest().register().is_none() {
            return Err(DrawCodeError::NoRegister.into());
        }
        let mut invitation = self.invitation.load(console)?;
        election.form_for(&invitation)?;
        let card = self.card.open(console)?;
        let connections = Connections::open(&election)?;
        let is_new = self.new || invitation.draw_code().is_none();
        if is_new {
            invitation = invitation.with_draw(DrawCode::generate(&mut rand::rng()));
        }
        let code = invitation.draw_code().ok_or(DrawCodeError::NoneThere)?;
        let place = self.out.as_deref().map(Place::make).transpose()?;
        register_draw_code(&election, &connections, &card, code, &mut asking(console)).await?;
        if is_new || place.is_some() {
            code_file::fill_or_say(console, place, &invitation.to_code());
        }
        console.tell(if is_new {
            "The code has a draw code now, and your card stands for it: `client draw` with it, long before you vote. Nothing else of it has changed. Draw \
             codes of before stay good. Decoys that you made before have no such draw code: make new ones of this code."
        } else {
            "Your card stands for the draw code of this invitation now: `client draw` with it, long before you vote. Decoys of it draw alike, and draw codes \
             of before stay good."
        });
        console.tell("The election commission knows that your card stands for a draw code, since when and from which network address; not which invitation it is in.");
        Ok(Outcome::Done)
    }
}
