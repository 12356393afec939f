//! The commands of a registrar.

use std::path::Path;
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_proto::manifest::SignedManifest;
use tally_proto::order::{Change, SignedOrder};

use super::Console;
use super::arguments::{Registrar as Arguments, RegistrarCommand};
use crate::board::now_ms;
use crate::error::Error;
use crate::progress::grouped;
use crate::registrar::Registrar;
use crate::registrar::issue::{Issued, Task, issue};
use crate::registrar::post::{Contacts, messages, sheets};
use crate::setup::read_manifest;
use crate::{roll, setup};

pub(super) async fn run(arguments: Arguments) -> Result<(), Error> {
    let console = Console::new(arguments.patience);
    command(&arguments.dir, arguments.command, &console).await
}

pub(super) async fn command(dir: &Path, command: RegistrarCommand, console: &Console) -> Result<(), Error> {
    match command {
        RegistrarCommand::Init { name } => {
            let registrar = Registrar::init(dir, &name, &mut setup::os_rng())?;
            println!("Identity     {}", registrar.identity_file().display());
            println!("Request      {}", registrar.request_file().display());
            println!("Fingerprint  {}", registrar.identity().fingerprint());
            println!(
                "Hand identity and request to the coordinator and read the fingerprint over the phone. The certificate"
            );
            println!(
                "that comes back belongs in {}.",
                registrar.certificate_file().display()
            );
            Ok(())
        }
        RegistrarCommand::Sheets {
            post,
            out,
            sheets_a_file,
        } => {
            let manifest = read_manifest(&post.manifest)?;
            let contacts = Contacts::read(post.contacts.as_deref(), post.languages)?;
            let written = sheets(
                manifest.manifest(),
                &post.invitations,
                &contacts,
                sheets_a_file,
                &out,
            )?;
            println!("{} sheets in {}", grouped(written), out.display());
            println!(
                "{} is erased: the pages are all there is of the codes. Print them, hand them to the post, and erase them.",
                post.invitations.display()
            );
            Ok(())
        }
        RegistrarCommand::Messages { post, out } => {
            let manifest = read_manifest(&post.manifest)?;
            let contacts = Contacts::read(post.contacts.as_deref(), post.languages)?;
            let written = messages(manifest.manifest(), &post.invitations, &contacts, &out)?;
            println!("{} text messages in {}", grouped(written), out.display());
            println!(
                "{} is erased: this file is all there is of the codes. Hand it to the gateway and erase it.",
                post.invitations.display()
            );
            Ok(())
        }
        RegistrarCommand::Issue { manifest, roll, out } => {
            let manifest = read_manifest(&manifest)?;
            let does = "a fresh credential for each voter with online = yes goes to the three parties";
            issued(dir, console, (&manifest, &roll, &out), None, does, "all of them").await
        }
        RegistrarCommand::Reissue {
            manifest,
            roll,
            order,
            out,
        } => {
            let manifest = read_manifest(&manifest)?;
            let order = setup::read_order(&order, &manifest)?;
            let (number, why) = (order.order().number, &order.order().reason);
            let Change::Reissue(reissue) = &order.order().change else {
                return Err(Error::NotReissue { number });
            };
            let does = format!("by order {number} ({why:?}), {}", reissue.in_words());
            issued(
                dir,
                console,
                (&manifest, &roll, &out),
                Some(&order),
                &does,
                "this voter",
            )
            .await
        }
    }
}

/// Issues what `does` says, after asking, and tells what came of it.
async fn issued(
    dir: &Path,
    console: &Console,
    (manifest, roll, out): (&SignedManifest, &Path, &Path),
    order: Option<&SignedOrder>,
    does: &str,
    whose: &str,
) -> Result<(), Error> {
    let registrar = Arc::new(Registrar::open(dir)?);
    let checked = manifest.manifest();
    let election = checked.election();
    let boxes: Vec<u32> = checked.boxes().iter().map(|b| b.id().get()).collect();
    let roll = roll::read(roll, &boxes)?;
    let what = format!(
        "Issuing credentials for election {election} ({}): {does}. What voters are sent is written to {}, once. Whoever reads that file can vote for {whose}.",
        checked.title().default_text(),
        out.display()
    );
    console.confirm(&what, election.as_str())?;
    let task = Task {
        manifest,
        roll: &roll,
        order,
        out,
    };
    let rng = StdRng::from_rng(&mut setup::os_rng());
    let progress = console.progress.as_ref();
    let issued = issue(registrar, task, now_ms() / 1000, rng, console.patience, progress).await?;
    told(&issued);
    Ok(())
}

fn told(issued: &Issued) {
    println!(
        "{} credentials issued ({} by an earlier run), invitations in {}",
        grouped(issued.credentials),
        grouped(issued.kept),
        issued.invitations.display()
    );
    if !issued.half.is_whole() {
        println!(
            "These are halves (number {} of {}): a voter needs both registrars' invitations.",
            issued.half.number() + 1,
            issued.half.of()
        );
    }
    if let Some(hashes) = &issued.draw_hashes {
        println!(
            "Hand {} to the coordinator, for `coordinator tickets`: without it nobody can draw tickets.",
            hashes.display()
        );
    }
    let next = if issued.half.number() == 0 {
        "sheets"
    } else {
        "messages"
    };
    println!(
        "`registrar {next}` turns the file into what goes out to the voters, and erases it: nobody needs it afterwards."
    );
}
