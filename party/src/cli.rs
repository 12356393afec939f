//! The `party` command: init, check-config, run, hold-keys, unseal, lock, officials, rotate-hpke,
//! renew-certificates, restore, countersign, allow-sessions,
//! status, health, audit.

mod audit;
mod certificates;
mod health;
mod officials;
mod show;
mod status;

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal as _, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use sd_notify::NotifyState;
use tally_proto::envelope::{Envelope, EnvelopeError};
use tally_proto::ids::Role;
use tally_proto::manifest::{Manifest, ManifestError, RevokedRows};
use tally_proto::order::{Change, Order, OrderError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::check::check;
use crate::config::{Config, ConfigError};
use crate::entropy::{Entropy as _, SystemEntropy};
use crate::holder::memory;
use crate::init::{self, Init, InitError};
use crate::keys::KeyError;
use crate::locked;
use crate::operator::{Operator, OperatorError};
use crate::party::PartyError;
use crate::server::{Deps, Running, Server, ServerError};
use crate::telemetry::{self, TelemetryError};

pub use audit::AuditCommandError;
pub use certificates::RenewCommandError;
pub use health::HealthError;
pub use officials::OfficialsError;

/// The server of one of the three parties that hold and tally the votes.
#[derive(Debug, Parser)]
#[command(name = "party", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make keys, a certificate authority, certificates, the identity file and a commented configuration
    Init {
        /// Directory to make them in
        #[arg(long, default_value = ".")]
        dir: PathBuf,
        /// Which party: 1, 2 or 3
        #[arg(long, value_parser = parse_role)]
        party: Role,
        /// Name of the agency that runs it
        #[arg(long)]
        agency: String,
        /// Where voters will reach it, https://host:port
        #[arg(long)]
        public_address: String,
        /// Where parties, coordinator, registrars and stations will reach it, https://host:port
        #[arg(long)]
        peer_address: String,
        /// What the public listener binds [default: all interfaces, port of the public address]
        #[arg(long)]
        public_listen: Option<SocketAddr>,
        /// What the peer listener binds [default: all interfaces, port of the peer address]
        #[arg(long)]
        peer_listen: Option<SocketAddr>,
        /// Split the keys among so many officials (2 to 16); left out: the keys lie in files on this machine
        #[arg(long, requires = "threshold")]
        officials: Option<u8>,
        /// So many of the officials unlock them (at least 2)
        #[arg(long, requires = "officials")]
        threshold: Option<u8>,
        #[command(flatten)]
        sheets: officials::SheetsTo,
        /// Where to write the recovery kit, with --officials [default: party-N.kit in the directory]
        #[arg(long, requires = "officials")]
        kit: Option<PathBuf>,
    },
    /// Say everything that is wrong with a configuration and the files it names
    CheckConfig {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Run the server until it is told to stop (SIGINT, SIGTERM)
    Run {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Keep the key that officials unlock in memory, so that a server that crashes comes back without them. Run it beside `run`, as the
    /// same user
    HoldKeys {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Take officials' shares, one after the other, until the keys are unlocked; may be done in several goes
    Unseal {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        shares: officials::ShareFiles,
    },
    /// Have the key holder forget the key and the shares given so far
    Lock {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show, try and change who holds the keys
    #[command(subcommand)]
    Officials(officials::Officials),
    /// Make a new HPKE key, between elections and with the server stopped
    RotateHpke(officials::RotateHpke),
    /// Issue new TLS certificates under this party's authority, before the old ones end or after; identity and manifests stay. The server takes
    /// them at its next start
    RenewCertificates(certificates::RenewCertificates),
    /// Set a lost party up again on an empty machine, from its recovery kit and its officials
    Restore(officials::Restore),
    /// Show what waits for this party's countersignature, and countersign what is confirmed by typing the election's id
    Countersign {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Give leave for three more tally sessions of a box, once it is known why the ones before aborted
    AllowSessions {
        #[command(flatten)]
        config: ConfigFile,
        /// The election
        #[arg(long)]
        election: String,
        /// The box
        #[arg(long = "box")]
        of_box: u32,
    },
    /// State that this party's store is the newest there ever was, where the other parties cannot say so; only then is anything accepted
    TrustStore {
        #[command(flatten)]
        config: ConfigFile,
        /// The election
        #[arg(long)]
        election: String,
    },
    /// Show alarms, the machine, the other parties, and of each box its phase and the ballots received. Exits with 2 while an alarm stands
    Status(status::StatusArguments),
    /// Ask this party's server on this machine whether it serves, as its gRPC health says; exits with 0 if so. For supervisors of containers
    Health(health::Health),
    /// Make an auditor's key
    AuditKey(audit::AuditKey),
    /// Run this party's part of a tally session again from its log, check what it holds of the box, and sign what was found.
    /// The server must be stopped. An auditor works here and takes out the statement only; nobody audits two parties
    Audit(audit::AuditArguments),
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, short, default_value = "party.toml")]
    config: PathBuf,
}

fn parse_role(text: &str) -> Result<Role, String> {
    text.parse()
        .ok()
        .and_then(Role::from_index)
        .ok_or_else(|| "parties are numbered 1, 2 and 3".to_owned())
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `init` stopped.
    #[error(transparent)]
    Init(#[from] InitError),
    /// Key files.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The server did not start, or stopped by itself.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Logging.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The server refused, or cannot be reached.
    #[error("this party's server: {0}")]
    Operator(#[from] OperatorError),
    /// A signed object from the server.
    #[error("the server sent a signed object that does not decode: {0}")]
    Envelope(#[from] EnvelopeError),
    /// A manifest from the server.
    #[error("the server sent a manifest that does not hold: {0}")]
    Manifest(#[from] ManifestError),
    /// An order from the server.
    #[error("the server sent an order that does not hold: {0}")]
    Order(#[from] OrderError),
    /// The server has no such box.
    #[error("this party has no box {of_box} of election {election}; `party status` shows what it has")]
    UnknownBox {
        /// The election.
        election: String,
        /// The box.
        of_box: u32,
    },
    /// Keys held by officials.
    #[error(transparent)]
    Officials(#[from] OfficialsError),
    /// New certificates.
    #[error(transparent)]
    Renew(#[from] RenewCommandError),
    /// Health.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// The audit.
    #[error(transparent)]
    Audit(#[from] audit::AuditCommandError),
    /// Reading or writing the terminal.
    #[error("terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// What was begun in the background has so long to end. A server told to stop in the middle of a long start does not wait for the start's end.
const AT_THE_END: Duration = Duration::from_secs(5);

/// Runs the command with these arguments, the program's name first. Starts its own runtime.
///
/// The process must have installed its TLS provider before.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // What is generic is compiled where it is called, with all that it calls: only this line is.
    main(args.into_iter().collect())
}

fn main(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Printing to a closed terminal may fail; the exit code says the same.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    // The key holder has one thread: what it holds is in one place.
    let one = matches!(arguments.command, Command::HoldKeys { .. });
    let mut builder = if one {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("party: no threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(run(arguments.command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("party: {error}");
            ExitCode::FAILURE
        }
    };
    runtime.shutdown_timeout(AT_THE_END);
    code
}

async fn run(command: Command) -> Result<ExitCode, CliError> {
    let done: Result<(), CliError> = match command {
        Command::Init {
            dir,
            party,
            agency,
            public_address,
            peer_address,
            public_listen,
            peer_listen,
            officials,
            threshold,
            sheets,
            kit,
        } => {
            let asked = Init {
                role: party,
                agency,
                public_address,
                peer_address,
                public_listen,
                peer_listen,
            };
            let kit = kit.unwrap_or_else(|| dir.join(format!("party-{}.kit", party.index())));
            let terms = officials.zip(threshold);
            let made = match terms {
                Some(terms) => officials::init_split(&dir, &asked, terms, &sheets, &kit)?,
                None => {
                    sheets.none()?;
                    init::init(&dir, &asked, &mut SystemEntropy.rng())?
                }
            };
            println!("Party {} of {} is initialised.", party.index(), asked.agency);
            println!("  configuration   {}", made.config.display());
            println!(
                "  identity file   {}  (public: hand it to the other two parties and the coordinator)",
                made.identity.display()
            );
            println!("  fingerprint     {}", made.fingerprint);
            println!(
                "Read the fingerprint to the others over the phone. Put their identity files into {}, then run `party check-config`.",
                dir.join("others").display()
            );
            match terms {
                Some((officials, threshold)) => println!(
                    "The keys are split: {threshold} of {officials} officials unlock them. Take the recovery kit {} off this machine, to a \
                     place where no official has a sheet; with {threshold} officials it sets this party up on another machine, and it is the only \
                     copy of the key that issues this party's certificates. Start `party hold-keys`, then `party run`, then `party unseal`.",
                    kit.display()
                ),
                None => println!(
                    "Keep {} off this machine: it issues this party's certificates.",
                    dir.join("ca/ca.key").display()
                ),
            }
            Ok(())
        }
        Command::CheckConfig { config } => {
            let sound = check(&config.config, true)?;
            println!(
                "{} is sound. Compare these fingerprints by phone:",
                config.config.display()
            );
            for party in &sound.identities.parties {
                println!("  {}  {}  {}", party.role(), party.fingerprint(), party.agency());
            }
            let coordinator = &sound.identities.coordinator;
            println!(
                "  coordinator  {}  {}",
                coordinator.fingerprint(),
                coordinator.name()
            );
            print!("{}", show::keys(&sound.config)?);
            Ok(())
        }
        Command::Run { config } => serve(&config.config).await,
        Command::Countersign { config } => {
            let config = Config::load(&config.config)?;
            let mut operator = Operator::new(&config)?;
            let stdin = io::stdin();
            let prompt = stdin.is_terminal();
            countersign(&mut operator, &mut stdin.lock(), &mut io::stdout(), prompt).await
        }
        Command::AllowSessions {
            config,
            election,
            of_box,
        } => {
            let config = Config::load(&config.config)?;
            let mut operator = Operator::new(&config)?;
            let stdin = io::stdin();
            let prompt = stdin.is_terminal();
            let mut input = stdin.lock();
            allow_sessions(
                &mut operator,
                (&election, of_box),
                &mut input,
                &mut io::stdout(),
                prompt,
            )
            .await
        }
        Command::TrustStore { config, election } => {
            let config = Config::load(&config.config)?;
            let mut operator = Operator::new(&config)?;
            let stdin = io::stdin();
            let prompt = stdin.is_terminal();
            let mut input = stdin.lock();
            trust_store(&mut operator, &election, &mut input, &mut io::stdout(), prompt).await
        }
        Command::Status(arguments) => return status::run(&arguments).await,
        Command::Health(asked) => return Ok(health::health(&asked).await?),
        Command::HoldKeys { config } => {
            let mut stop = Stop::listen()?;
            Ok(officials::hold(&config, stop.told()).await?)
        }
        Command::Unseal { config, shares } => Ok(officials::unseal(&config, &shares)?),
        Command::Lock { config } => Ok(officials::lock(&config)?),
        Command::Officials(command) => Ok(officials::officials(command)?),
        Command::RotateHpke(asked) => Ok(officials::rotate(&asked)?),
        Command::RenewCertificates(asked) => Ok(certificates::renew(&asked)?),
        Command::Restore(asked) => Ok(officials::restore(&asked)?),
        Command::AuditKey(arguments) => Ok(audit::key(&arguments)?),
        Command::Audit(arguments) => Ok(audit::audit(arguments).await?),
    };
    done.map(|()| ExitCode::SUCCESS)
}

async fn serve(path: &Path) -> Result<(), CliError> {
    let mut stop = Stop::listen()?;
    let sound = check(path, false)?;
    let config = &sound.config;
    let telemetry = telemetry::init(
        config.party,
        config.log_format,
        &config.log_filter,
        config.telemetry.otlp.as_ref(),
    )?;
    if config.keys.sealed.is_some()
        && let Err(unguarded) = memory::keep_out_of_dumps()
    {
        tracing::warn!("{unguarded}");
    }
    if config.keys.sealed.is_some() {
        // Officials may take hours; meanwhile it answers that it is locked.
        tell_supervisor(&[NotifyState::Ready]);
    }
    let alive = tokio::spawn(say_alive());
    let Some(mut running) = unlocked(config, &mut stop).await? else {
        return Ok(());
    };
    tell_supervisor(&[NotifyState::Ready]);
    let ended = tokio::select! {
        error = running.failed() => {
            tracing::error!(%error, "stopping");
            Err(error.into())
        }
        () = stop.told() => {
            tracing::info!("told to stop");
            Ok(())
        }
    };
    tell_supervisor(&[NotifyState::Stopping]);
    running.stop().await;
    alive.abort();
    telemetry.end().await;
    ended
}

/// Tells systemd, where it started this process.
fn tell_supervisor(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor cannot be told");
    }
}

/// Tells a supervisor with a watchdog, twice in its interval, that the runtime still turns.
async fn say_alive() {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = tokio::time::interval(interval / 2);
    loop {
        ticks.tick().await;
        tell_supervisor(&[NotifyState::Watchdog]);
    }
}

/// Starts the server once its keys can be had; `None`: told to stop before.
async fn unlocked(config: &Config, stop: &mut Stop) -> Result<Option<Running>, CliError> {
    loop {
        let deps = Deps::system(config);
        if !locked::until_unlocked(config, &deps.clock, stop.told()).await? {
            tracing::info!("told to stop while locked");
            return Ok(None);
        }
        let started = tokio::select! {
            // What has been started is stopped in order.
            biased;
            started = Server::start(config.clone(), deps) => started,
            // Nobody is served yet: what it was at is begun again at the next start, as after a crash.
            () = stop.told() => {
                tracing::info!("told to stop before it served");
                return Ok(None);
            }
        };
        match started {
            Ok(running) => return Ok(Some(running)),
            // The key holder was locked or ended in between.
            Err(ServerError::Party(PartyError::Key(KeyError::Locked(_) | KeyError::Holder(_)))) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// SIGINT and SIGTERM, heard from the moment this is made: one that comes before anybody waits for it is not lost, and ends nothing half way.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Completes once one of them has come since this last completed.
    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Shows each pending object on `output` and countersigns those whose election id is typed on `input`. `prompt`: the input is a terminal,
/// which shows what is typed.
///
/// # Errors
/// [`CliError`]: the server refused or cannot be reached, or input or output failed.
pub async fn countersign(
    operator: &mut Operator,
    input: &mut impl BufRead,
    output: &mut impl Write,
    prompt: bool,
) -> Result<(), CliError> {
    let pending = operator.pending().await?;
    let mut any = false;
    for envelope in pending.manifests {
        let envelope = Envelope::from_wire(envelope)?;
        let manifest = Manifest::decode(envelope.payload())?;
        any = true;
        write!(output, "{}", show::manifest(&manifest, &envelope.hash()))?;
        let carried = operator.carried(envelope.hash()).await?;
        write!(output, "{}", show::carried(&carried))?;
        if confirmed(manifest.election().as_str(), "manifest", input, output, prompt)? {
            operator
                .countersign(envelope.hash(), manifest.election().as_str(), carried.changed)
                .await?;
            writeln!(output, "Countersigned.\n")?;
        }
    }
    let voters = pending
        .order_voters
        .into_iter()
        .map(Some)
        .chain(std::iter::repeat(None));
    for (envelope, voter) in pending.orders.into_iter().zip(voters) {
        let voter = voter.filter(|reference| !reference.is_empty());
        let envelope = Envelope::from_wire(envelope)?;
        let order = Order::decode(envelope.payload())?;
        let rows = match &order.change {
            Change::Revocation(_) => operator.manifest(&order).await?.revoked_rows(),
            Change::Calendar(_) | Change::Correction(_) | Change::Reissue(_) => RevokedRows::default(),
        };
        any = true;
        write!(
            output,
            "{}",
            show::order(&order, &envelope.hash(), voter.as_deref(), rows)
        )?;
        write!(
            output,
            "{}",
            show::carried(&operator.carried(envelope.hash()).await?)
        )?;
        if confirmed(order.election.as_str(), "order", input, output, prompt)? {
            operator
                .countersign(envelope.hash(), order.election.as_str(), 0)
                .await?;
            writeln!(output, "Countersigned.\n")?;
        }
    }
    if !any {
        writeln!(output, "Nothing waits for this party's countersignature.")?;
    }
    Ok(())
}

/// Shows how the sessions of a box stand and gives leave for more if the election's id is typed.
///
/// # Errors
/// [`CliError`]: the server refused or cannot be reached, it has no such box, or input or output failed.
pub async fn allow_sessions(
    operator: &mut Operator,
    (election, of_box): (&str, u32),
    input: &mut impl BufRead,
    output: &mut impl Write,
    prompt: bool,
) -> Result<(), CliError> {
    let status = operator.status(election).await?;
    let boxes = status.elections.iter().flat_map(|election| &election.boxes);
    let Some(status) = boxes.into_iter().find(|status| status.r#box == of_box) else {
        return Err(CliError::UnknownBox {
            election: election.to_owned(),
            of_box,
        });
    };
    write!(output, "{}", show::sessions(election, status))?;
    write!(
        output,
        "Give leave only when you know why the sessions before aborted. To give leave for three more, type the election's id: "
    )?;
    let Some(typed) = typed(election, input, output, prompt)? else {
        return Ok(());
    };
    let sessions = operator.allow_sessions(election, of_box, &typed).await?;
    writeln!(
        output,
        "{sessions} more sessions of box {of_box} may begin at this party."
    )?;
    Ok(())
}

/// Shows why nothing is accepted, and takes the operator's word for the store if the election's id is typed.
///
/// # Errors
/// [`CliError`]: the server refused or cannot be reached, or input or output failed.
pub async fn trust_store(
    operator: &mut Operator,
    election: &str,
    input: &mut impl BufRead,
    output: &mut impl Write,
    prompt: bool,
) -> Result<(), CliError> {
    let status = operator.status(election).await?;
    for status in &status.elections {
        let trouble = match status.intake_trouble.as_str() {
            "" => "accepts submissions; nothing is to be ordered",
            trouble => trouble,
        };
        writeln!(output, "Election {}: {trouble}", status.election)?;
    }
    write!(
        output,
        "Only when this store was not restored from a backup: a wrong word lets one place of the log be used twice, which the other parties will \
         prove. To state it, type the election's id: "
    )?;
    let Some(typed) = typed(election, input, output, prompt)? else {
        return Ok(());
    };
    operator.trust_store(election, &typed).await?;
    writeln!(
        output,
        "The word is taken. It counts where the other parties are silent, not against what they hold."
    )?;
    Ok(())
}

/// Asks for the election's id. Another text, or the end of the input, leaves the object alone.
fn confirmed(
    election: &str,
    what: &str,
    input: &mut impl BufRead,
    output: &mut impl Write,
    prompt: bool,
) -> Result<bool, CliError> {
    write!(
        output,
        "To countersign this {what}, type the election's id; anything else leaves it as it is: "
    )?;
    Ok(typed(election, input, output, prompt)?.is_some())
}

/// Reads a line; `None`, and says so, when it is not the election's id.
fn typed(
    election: &str,
    input: &mut impl BufRead,
    output: &mut impl Write,
    prompt: bool,
) -> Result<Option<String>, CliError> {
    output.flush()?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    if !prompt {
        writeln!(output)?;
    }
    let typed = line.trim();
    if typed == election {
        return Ok(Some(typed.to_owned()));
    }
    writeln!(output, "Left as it is: {typed:?} is not {election:?}.\n")?;
    Ok(None)
}
