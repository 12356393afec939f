//! The commands of a coordinator.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tally_proto::card::ListDirectory;
use tally_proto::ids::{BoxId, RegisterId, Role, RoleExt as _, UnixSeconds};
use tally_proto::manifest::BallotBox;
use tally_proto::note::VerifierKey;
use tally_proto::pki::{Life, PeerRole, Shown};

use super::arguments::{BundleFiles, Command, Coordinator as Arguments, OfBoxes, OrderChange};
use super::{Console, phases, registrar, styled, width};
use crate::definition::ceilings;
use crate::directory::{Directory, Election};
use crate::error::Error;
use crate::orders::{self, Wish};
use crate::own_alarms::ListEnds;
use crate::progress::grouped;
use crate::report::{self, Summary};
use crate::{audits, board, bundle, files, open_roll, registers, sealing, setup, status, tickets};

/// How often `status --watch` asks.
const WATCH: Duration = Duration::from_secs(2);

/// Exit status of `status` while a party is away or raises an alarm.
const ALARM: u8 = 2;

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, Error> {
    let console = Console::new(arguments.patience);
    let dir = arguments.dir;
    let done: Result<(), Error> = match arguments.command {
        Command::Init { name, address, host } => init(&dir, &name, &address, &host),
        Command::Certify {
            request,
            role,
            out,
            days,
        } => certify(&dir, &request, &role, (&out, days)),
        Command::RenewCertificate { host, days } => renew_certificate(&dir, &host, days),
        Command::Register { register, parties } => agree(&dir, &register, &parties, &console).await,
        Command::Define { file } => define(&dir, &file),
        Command::Publish(of) => publish(&Office::open(&dir, &of.election)?, &console).await,
        Command::OpenRoll(of) => fetch_open_roll(&Office::open(&dir, &of.election)?, &console).await,
        Command::Signatures(of) => signatures(Office::open(&dir, &of.election)?, &console).await,
        Command::Complete(of) => complete(Office::open(&dir, &of.election)?, &console).await,
        Command::Order {
            election,
            reason,
            change,
        } => order(Office::open(&dir, &election)?, &reason, change, &console).await,
        Command::Serve { listen } => serve(Directory::open(&dir)?, &listen).await,
        Command::Status {
            election,
            watch,
            json,
        } => return show_status(&dir, election.as_deref(), watch, json).await,
        Command::Tickets {
            election,
            hashes,
            again,
        } => draws(
            &Office::open(&dir, &election)?,
            hashes.as_deref(),
            again.as_deref(),
            &console,
        ),
        Command::SignIns {
            election,
            statements,
            books,
        } => phases::sign_ins(&Office::open(&dir, &election)?, &statements, &books),
        Command::Seal {
            of,
            without_statement,
        } => {
            let office = Office::open(&dir, &of.election)?;
            return phases::seal(&office, &of, &without_statement, &console).await;
        }
        Command::Tally(of) => phases::tally(&Office::open(&dir, &of.election)?, &of, &console).await,
        Command::Bundle(of) => make_bundle(&Office::open(&dir, &of.election)?),
        Command::Report {
            bundle,
            html,
            language,
        } => show_report(&bundle, html.as_deref(), &language),
        Command::VerifyResult {
            bundle,
            statements,
            auditor_keys,
        } => verify(&bundle, &statements, &auditor_keys),
        Command::Registrar {
            registrar_dir,
            command,
        } => registrar::command(&registrar_dir, command, &console).await,
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// A directory and one of its elections.
pub(super) struct Office {
    pub(super) directory: Directory,
    pub(super) election: Election,
}

impl Office {
    fn open(dir: &Path, election: &str) -> Result<Self, Error> {
        let directory = Directory::open(dir)?;
        let election = directory.election(&setup::election_id(election)?)?;
        Ok(Self { directory, election })
    }

    pub(super) fn id(&self) -> &str {
        self.election.signed().manifest().election().as_str()
    }

    /// `riverside-2027 (Riverside council election 2027)`.
    pub(super) fn called(&self) -> String {
        format!(
            "{} ({})",
            self.id(),
            self.election.signed().manifest().title().default_text()
        )
    }

    /// The boxes named, or all.
    pub(super) fn boxes(&self, of: &OfBoxes) -> Vec<BoxId> {
        if of.boxes.is_empty() {
            self.election
                .signed()
                .manifest()
                .boxes()
                .iter()
                .map(|b| b.id())
                .collect()
        } else {
            of.boxes.iter().copied().map(BoxId).collect()
        }
    }

    pub(super) fn box_names(&self, boxes: &[BoxId]) -> Result<String, Error> {
        let manifest = self.election.signed().manifest();
        let mut names = Vec::with_capacity(boxes.len());
        for id in boxes {
            sealing::check_box(manifest, *id)?;
            let name = manifest.ballot_box(*id).map_or("", |b| b.name().default_text());
            names.push(format!("{id} ({name})"));
        }
        Ok(names.join(", "))
    }
}

fn init(dir: &Path, name: &str, address: &str, hosts: &[String]) -> Result<(), Error> {
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let directory = Directory::init(dir, name, address, &hosts, &mut setup::os_rng())?;
    println!("Identity     {}", directory.identity_file().display());
    println!("Fingerprint  {}", directory.identity().fingerprint());
    println!("Hand the identity to the three parties and read the fingerprint over the phone.");
    Ok(())
}

fn draws(
    office: &Office,
    hashes: Option<&Path>,
    again: Option<&str>,
    console: &Console,
) -> Result<(), Error> {
    if let Some(hashes) = hashes {
        let voters = tickets::admit(&office.election, hashes)?;
        println!("{} voters may draw tickets", grouped(voters as u64));
    }
    if let Some(voter) = again {
        let what = format!(
            "Voter {voter} of election {} gets one more draw of tickets.",
            office.called()
        );
        console.confirm(&what, office.id())?;
        tickets::grant(&office.election, voter)?;
        println!("Voter {voter} may draw once more");
    }
    Ok(())
}

fn certify(dir: &Path, request: &Path, role: &PeerRole, (out, days): (&Path, u32)) -> Result<(), Error> {
    let life = Life::of_days(days);
    let certificate = Directory::open(dir)?.certify(&files::read_text(request)?, role, life)?;
    files::create(out, certificate.as_bytes())?;
    let ends = Shown::of(&certificate)?.ends();
    println!("Certificate for {role} in {}; it ends at {ends}", out.display());
    Ok(())
}

fn renew_certificate(dir: &Path, hosts: &[String], days: u32) -> Result<(), Error> {
    let mut directory = Directory::open(dir)?;
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    directory.renew(&hosts, Life::of_days(days))?;
    println!(
        "The coordinator's certificate is new and ends at {}. Authority and identity are as before: nobody else need do anything. The board \
         (`coordinator serve`) takes it at its next start.",
        directory.leaf().ends()?
    );
    Ok(())
}

async fn agree(dir: &Path, register: &str, parties: &[PathBuf], console: &Console) -> Result<(), Error> {
    let directory = Directory::open(dir)?;
    let register = RegisterId::new(register)?;
    let identities = registers::identities(parties)?;
    let commitments = registers::agree(
        &directory,
        &register,
        &identities,
        console.patience,
        &*console.progress,
    )
    .await?;
    println!("Register {register}: each pair of parties holds its key of offsets.");
    for (j, commitment) in Role::ALL.into_iter().zip(commitments) {
        println!("Commitment {j}  {commitment}  (parties {} and {j})", j.prev());
    }
    println!("Kept in      {}", directory.register_file(&register).display());
    println!("Next         name it in [enrolment] of the election file, then `coordinator define`");
    Ok(())
}

fn define(dir: &Path, file: &Path) -> Result<(), Error> {
    let directory = Directory::open(dir)?;
    let election = setup::define(&directory, file, board::now_ms() / 1000)?;
    let manifest = election.signed().manifest();
    println!("{}", manifest.title().default_text());
    println!("Election     {}", manifest.election());
    for b in manifest.boxes() {
        println!(
            "Box {:<8} {}: {}, {} contest(s)",
            b.id(),
            b.name().default_text(),
            voters_of(b),
            b.contests().len()
        );
    }
    for channel in manifest.channels() {
        if let (Some(first), Some(last)) = (channel.openings().first(), channel.openings().last()) {
            println!(
                "{:<12} {} to {} {}, {} opening(s)",
                orders::word(channel.kind()),
                first.opens_local,
                last.closes_local,
                channel.time_zone(),
                channel.openings().len()
            );
        }
    }
    for party in manifest.parties() {
        println!(
            "P{}           {}, fingerprint {}",
            party.role().index(),
            party.agency(),
            party.fingerprint()
        );
    }
    println!("Manifest     {}", election.manifest_file().display());
    println!("Fingerprint  {}", setup::fingerprint(election.signed()));
    for warning in ceilings::warnings(manifest) {
        println!("Warning      {warning}");
    }
    if manifest.ticketing().is_some() && manifest.register().is_some() {
        println!(
            "Cards        revocation lists of the authorities whose cards voters enrol with belong into {}, now and whenever new ones come: without a good \
             one no draw code of a card is taken (card.revocation-list)",
            directory.revocation_lists().display()
        );
    }
    println!("Nothing was sent. Next: publish {}", manifest.election());
    Ok(())
}

/// How many voters, or of an open roll how many at most and until when.
fn voters_of(of_box: &BallotBox) -> String {
    let voters = grouped(of_box.voters().into());
    match of_box.open() {
        None => format!("{voters} voters"),
        Some(open) => format!("open roll, at most {voters} voters, frozen at {}", open.freezes),
    }
}

async fn fetch_open_roll(office: &Office, console: &Console) -> Result<(), Error> {
    let (directory, election) = (&office.directory, &office.election);
    let roll = open_roll::fetch(directory, election, console.patience, &*console.progress).await?;
    println!(
        "{} voters are on the open roll of election {} so far: two parties have signed for each of them",
        grouped(roll.list.voters().count() as u64),
        office.called()
    );
    let manifest = election.signed().manifest();
    let agency = |role: Role| format!("P{} {}", role.number(), manifest.party(role).agency());
    for sentence in roll.in_words(agency) {
        println!("{sentence}");
    }
    println!(
        "In           {} (names people; for stations)",
        open_roll::file(election).display()
    );
    Ok(())
}

async fn publish(office: &Office, console: &Console) -> Result<(), Error> {
    let manifest = office.election.signed().manifest();
    let voters: u64 = manifest.boxes().iter().map(|b| u64::from(b.voters())).sum();
    let roll = match manifest.open_box() {
        Some(of_box) => format!("says that its roll is open ({})", voters_of(of_box)),
        None => format!("its roll with {} voters", grouped(voters)),
    };
    let agencies: Vec<&str> = manifest.parties().iter().map(|p| p.agency()).collect();
    let what = format!(
        "This hands the manifest of election {} and {roll} to {}. What they have they keep.",
        office.called(),
        agencies.join(", ")
    );
    console.confirm(&what, office.id())?;
    setup::publish(
        &office.directory,
        &office.election,
        console.patience,
        console.progress.as_ref(),
    )
    .await?;
    println!(
        "All three parties have it. Fingerprint  {}",
        setup::fingerprint(office.election.signed())
    );
    println!(
        "Each operator now runs `party countersign`. Next: complete {}",
        office.id()
    );
    Ok(())
}

async fn signatures(mut office: Office, console: &Console) -> Result<(), Error> {
    let progress = console.progress.as_ref();
    let objects = setup::collect(
        &office.directory,
        &mut office.election,
        console.patience,
        progress,
    )
    .await?;
    for object in objects {
        if object.is_complete() {
            println!("{}: countersigned by all three parties", object.object);
        } else {
            println!(
                "{}: waits for {}",
                object.object,
                object.missing(office.election.signed().manifest())
            );
        }
    }
    Ok(())
}

async fn complete(mut office: Office, console: &Console) -> Result<(), Error> {
    let progress = console.progress.as_ref();
    setup::complete(
        &office.directory,
        &mut office.election,
        console.patience,
        progress,
    )
    .await?;
    let orders = office.election.orders_in_force().len();
    println!(
        "Election {} is in force at all three parties, with {orders} order(s).",
        office.called()
    );
    println!("Keys of the three public logs, for witnesses (C2SP signed-note):");
    for key in VerifierKey::of_logs(office.election.signed().manifest()) {
        println!("{key}");
    }
    Ok(())
}

async fn order(
    mut office: Office,
    reason: &str,
    change: OrderChange,
    console: &Console,
) -> Result<(), Error> {
    let wish = match change {
        OrderChange::Close {
            channel,
            at,
            receive_until,
        } => Wish::CloseAt {
            channel: channel.into(),
            local: at,
            receive_until,
        },
        OrderChange::Open {
            channel,
            opens,
            closes,
            receive_until,
        } => Wish::OpenAgain {
            channel: channel.into(),
            opens,
            closes,
            receive_until,
        },
        OrderChange::Strike { voter } => Wish::Strike { reference: voter },
        OrderChange::Restore { voter } => Wish::Restore { reference: voter },
        OrderChange::Reissue { voter, until, serial } => Wish::Reissue {
            reference: voter,
            until,
            serial,
        },
        OrderChange::RevokeStation { station, from } => Wish::Revoke { station, from },
        OrderChange::Correct {
            voter,
            live,
            enrolled,
        } => Wish::Correct {
            reference: voter,
            live,
            enrolled,
        },
    };
    // What it says is made from the very order that would be signed.
    let drawn = orders::draft(&office.election, &wish, reason)?;
    let given_up = office.election.order_waiting().map_or_else(String::new, |waits| {
        format!(
            " It gives up {}, which is not in force.",
            orders::in_words(waits.order(), office.election.signed().manifest())
        )
    });
    let what = format!(
        "This proposes a change of election {} to the three parties, {} (\"{reason}\"). It is in force when all three have \
         countersigned.{given_up}",
        office.called(),
        orders::in_words(&drawn, office.election.signed().manifest())
    );
    console.confirm(&what, office.id())?;
    let signed = orders::sign(&office.directory, &mut office.election, &drawn)?;
    let progress = console.progress.as_ref();
    orders::propose(
        &office.directory,
        &office.election,
        &signed,
        console.patience,
        progress,
    )
    .await?;
    println!(
        "Order {} is proposed. Each operator now runs `party countersign`. Next: complete {}",
        drawn.number,
        office.id()
    );
    Ok(())
}

async fn serve(directory: Directory, listen: &str) -> Result<(), Error> {
    let listener = board::listen(listen).await?;
    let address = listener.local_addr().map_err(|source| Error::Serve {
        address: listen.to_owned(),
        source,
    })?;
    tracing::info!(
        "the board of {} listens on {address}",
        directory.identity().name()
    );
    board::serve(directory, listener, async {
        // Without a signal handler the board still serves; it is then stopped by force.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
    .await
}

async fn show_status(dir: &Path, election: Option<&str>, watch: bool, json: bool) -> Result<ExitCode, Error> {
    let directory = Directory::open(dir)?;
    let place = directory.revocation_lists();
    let lists = ListDirectory::of(&place);
    loop {
        let ids = match election {
            Some(id) => vec![setup::election_id(id)?],
            None => directory.elections()?,
        };
        let mut text = String::new();
        let mut alarming = false;
        for id in ids {
            let election = directory.election(&id)?;
            let snapshot = status::snapshot(&directory, &election).await?;
            let (manifest, now) = (election.signed().manifest(), UnixSeconds(board::now_ms() / 1000));
            let own = ListEnds::look(&lists, &place.display().to_string(), manifest, now);
            alarming |= snapshot.is_alarming() || own.is_some();
            text += &match json {
                true => {
                    let mut value = snapshot.to_json();
                    let alarms: Vec<_> = own.iter().map(ListEnds::to_json).collect();
                    value["commission"] = serde_json::json!({ "alarms": alarms });
                    value.to_string()
                }
                false => {
                    let own = own.map_or_else(String::new, |own| format!("{own}\n"));
                    status::render(&election, &snapshot, width(), styled()) + &own
                }
            };
            text.push('\n');
        }
        if watch && styled() && !json {
            // Clear the screen and begin at its top.
            print!("\u{1b}[2J\u{1b}[H");
        }
        print!("{text}");
        if !watch {
            return Ok(if alarming {
                ExitCode::from(ALARM)
            } else {
                ExitCode::SUCCESS
            });
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn make_bundle(office: &Office) -> Result<(), Error> {
    let made = bundle::make(&office.directory, &office.election, board::now_ms() / 1000)?;
    println!("The signed result bundle is {}", made.path.display());
    if !made.missing.is_empty() {
        println!(
            "Without a result, and not in it: box {}",
            office.box_names(&made.missing)?
        );
    }
    println!(
        "The manifest to check it with is {}",
        office.election.manifest_file().display()
    );
    Ok(())
}

fn show_report(files: &BundleFiles, html: Option<&Path>, language: &str) -> Result<(), Error> {
    let checked = bundle::check_files(&files.bundle, &files.manifest)?;
    let summary = Summary::of(&checked, language);
    print!("{}", report::terminal::render(&summary, width(), styled()));
    if let Some(path) = html {
        files::replace(path, report::html::render(&summary).as_bytes())?;
        println!("\nThe page is {}", path.display());
    }
    Ok(())
}

fn verify(files: &BundleFiles, statements: &[PathBuf], auditor_keys: &[String]) -> Result<(), Error> {
    let checked = bundle::check_files(&files.bundle, &files.manifest)?;
    print!("{}", bundle::checks(&checked, width(), styled()));
    if statements.is_empty() {
        return Ok(());
    }
    let findings = audits::verify(&checked, statements, auditor_keys, (width(), styled()))?;
    print!("{}", findings.text);
    if findings.refuted.is_empty() {
        Ok(())
    } else {
        Err(Error::Refuted {
            boxes: findings.refuted,
        })
    }
}
