//! Making the code of an earlier election into that of a later one.

use std::path::PathBuf;

use clap::Args;

use super::voter::{InvitationArg, load_election};
use super::{Console, Failure, ManifestArg, Outcome, code_file};
use crate::carry::{CarryError, carry_over};
use crate::form::in_language;
use crate::station::roll::RollFile;

#[derive(Args)]
pub(super) struct CarryOver {
    #[command(flatten)]
    manifest: ManifestArg,
    /// The signed manifest of the election that you enrolled in.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    invitation: InvitationArg,
    /// The roll of the later election, as the commission publishes it.
    #[arg(long, value_name = "FILE")]
    roll: PathBuf,
    /// What that roll calls you. Default: asked for. (Other users of a machine can read arguments.)
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,
    /// Writes the code to a new file that only this user can read, instead of showing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl CarryOver {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let later = load_election(&self.manifest)?;
        let earlier = load_election(&ManifestArg { manifest: self.from })?;
        // An open roll is in no file.
        if later.manifest().open_box().is_some() {
            return Err(CarryError::OpenRoll(later.id().clone()).into());
        }
        let roll = RollFile::read(&self.roll, &later, |_| true)?;
        let reference = match self.reference {
            Some(reference) => reference,
            None => console
                .ask("What the roll calls you:", "give --reference")?
                .to_string(),
        };
        let place = roll.of(&reference).ok_or_else(|| CarryError::NotOnRoll {
            election: later.id().clone(),
            reference: reference.clone(),
        })?;
        let invitation = self.invitation.load(console)?;
        let (carried, before) = carry_over(&earlier, &invitation, &later, place)?;
        let form = later.form_for(&carried)?;
        let code = carried.to_code();
        match &self.out {
            Some(path) => code_file::create(path, &code)?,
            None => console.say(&code),
        }
        console.tell(&format!(
            "This is your code for {:?}, for {} in box {:?}. It counts there if the code for {:?} is of your last enrolment before {}, and if \
             that election's roll called you the same. Who enrolled later, or got the earlier code by letter, enrols for {} with the card. Nobody was asked and nothing was kept.",
            in_language(later.manifest().title(), &[]),
            place.reference,
            in_language(form.box_name(), &[]),
            in_language(earlier.manifest().title(), &[]),
            super::voter::moment(before.get()),
            later.id(),
        ));
        if later.manifest().ticketing().is_some() {
            console.tell(
                "That election asks for tickets. Before you can draw any, your card must stand for the code's draw code there: once, with `client draw-code` and \
                 this code. Every decoy with the same draw code draws from then on too.",
            );
        }
        Ok(Outcome::Done)
    }
}
