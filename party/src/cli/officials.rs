//! The commands around keys that officials hold.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use tally_proto::identity::Fingerprint;
use tally_proto::ids::{BoxId, ElectionId};
use tally_proto::pki::Life;
use tally_proto::secret_file::SecretFileError;

use super::ConfigFile;
use crate::config::{Config, ConfigError};
use crate::entropy::{Entropy as _, SystemEntropy};
use crate::holder::message::State;
use crate::holder::{self, HoldError, HolderError, memory};
use crate::init::{self, Init, InitError, Initialised};
use crate::keys::{self, KeyError};
use crate::officials::ceremony::{Sheets, hand_out};
use crate::officials::change::{self, ChangeError, Stated};
use crate::officials::desk::{self, DeskError, Lines, Piped, Terminal};
use crate::officials::kit::{self, RestoreError};
use crate::officials::{Public, Sealed, SealedError, SplitError, Terms, TermsError, Use};
use crate::renew::Issued;
use crate::telemetry::{self, TelemetryError};

/// Why a command around the officials' keys failed.
#[derive(Debug, thiserror::Error)]
pub enum OfficialsError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// How many officials.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// Sheets without officials.
    #[error("--sheets is where the officials' sheets go: give --officials and --threshold with it")]
    NoOfficials,
    /// `init`.
    #[error(transparent)]
    Init(#[from] InitError),
    /// Files of the party.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Shares.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// A share by itself.
    #[error(transparent)]
    Share(#[from] SplitError),
    /// The kit.
    #[error("{}: {source}", path.display())]
    Kit {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SealedError,
    },
    /// Change of officials or of the HPKE key.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A replacement machine.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The key holder cannot be asked.
    #[error(transparent)]
    Holder(#[from] HolderError),
    /// The key holder did not start, or stopped by itself.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// Logging.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// A file of a share.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Reading or writing the terminal.
    #[error("terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// Files that shares are read from instead of the terminal.
#[derive(Debug, clap::Args)]
pub(super) struct ShareFiles {
    /// Read a share from this file (mode 600) instead of the terminal; may be given several times
    #[arg(long = "share-file", value_name = "FILE")]
    share_files: Vec<PathBuf>,
}

impl ShareFiles {
    /// Whether none is given.
    pub(super) fn is_empty(&self) -> bool {
        self.share_files.is_empty()
    }
}

/// How a ceremony goes.
#[derive(Debug, clap::Args)]
pub(super) struct SheetsTo {
    /// Write the sheets into this new directory instead of showing them one after the other; print them, then erase it
    #[arg(long, value_name = "DIR")]
    sheets: Option<PathBuf>,
}

impl SheetsTo {
    /// Without officials there are no sheets.
    pub(super) fn none(&self) -> Result<(), OfficialsError> {
        match self.sheets {
            Some(_) => Err(OfficialsError::NoOfficials),
            None => Ok(()),
        }
    }

    fn sheets(&self) -> Sheets {
        match &self.sheets {
            Some(path) => Sheets::Directory(path.clone()),
            None => Sheets::Screen,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Officials {
    /// Show the ceremony: how many officials there are and how many it takes
    Show {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Try one official's share, without unlocking anything and without keeping it
    Check {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        shares: ShareFiles,
    },
    /// Split a new key among other officials: enough of the old ones give their shares, whose sheets are useless afterwards
    Replace {
        #[command(flatten)]
        config: ConfigFile,
        /// How many officials there will be
        #[arg(long)]
        officials: u8,
        /// How many of them it will take
        #[arg(long)]
        threshold: u8,
        /// The recovery kit of now
        #[arg(long)]
        kit: PathBuf,
        /// Where to write the new recovery kit
        #[arg(long)]
        new_kit: PathBuf,
        #[command(flatten)]
        sheets: SheetsTo,
        #[command(flatten)]
        shares: ShareFiles,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct RotateHpke {
    #[command(flatten)]
    config: ConfigFile,
    /// The recovery kit of now
    #[arg(long)]
    kit: PathBuf,
    /// Where to write the new recovery kit
    #[arg(long)]
    new_kit: PathBuf,
    /// ELECTION/BOX that will never be sealed, as one with too few ballots; what was cast for it is lost with the old key. Any number of times
    #[arg(long, value_parser = given_up)]
    never_sealed: Vec<(ElectionId, BoxId)>,
    /// You know that no election of this party is open, though its store was not compared with both other parties in the last hour: of a restored
    /// machine, ballots of an election that it has not got back yet would be lost with the old key
    #[arg(long)]
    no_election_open: bool,
    #[command(flatten)]
    shares: ShareFiles,
}

/// ELECTION/BOX.
fn given_up(text: &str) -> Result<(ElectionId, BoxId), String> {
    let (election, of_box) = text.split_once('/').ok_or("ELECTION/BOX, as ward-7/2")?;
    let election = ElectionId::new(election).map_err(|error| error.to_string())?;
    let of_box: u32 = of_box.parse().map_err(|_| "the box is a number")?;
    Ok((election, BoxId(of_box)))
}

#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The recovery kit
    #[arg(long)]
    kit: PathBuf,
    /// Directory to restore the party in
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    shares: ShareFiles,
}

/// The terminal, or what stands in for it.
enum Io {
    Terminal(Terminal),
    Piped(Box<Piped<io::BufReader<io::Stdin>, io::Stdout>>),
}

impl Io {
    fn new() -> Io {
        if io::stdin().is_terminal() {
            Io::Terminal(Terminal)
        } else {
            Io::Piped(Box::new(Piped(io::BufReader::new(io::stdin()), io::stdout())))
        }
    }
}

impl Lines for Io {
    fn secret(&mut self, prompt: &str) -> io::Result<Option<zeroize::Zeroizing<String>>> {
        match self {
            Io::Terminal(lines) => lines.secret(prompt),
            Io::Piped(lines) => lines.secret(prompt),
        }
    }
    fn enter(&mut self, prompt: &str) -> io::Result<bool> {
        match self {
            Io::Terminal(lines) => lines.enter(prompt),
            Io::Piped(lines) => lines.enter(prompt),
        }
    }
    fn show(&mut self, text: &str) -> io::Result<()> {
        match self {
            Io::Terminal(lines) => lines.show(text),
            Io::Piped(lines) => lines.show(text),
        }
    }
    fn clear(&mut self) -> io::Result<()> {
        match self {
            Io::Terminal(lines) => lines.clear(),
            Io::Piped(lines) => lines.clear(),
        }
    }
}

/// Keeps what this process will hold out of core dumps; says so where the system does not.
fn guarded() {
    if let Err(unguarded) = memory::keep_out_of_dumps() {
        eprintln!("party: {unguarded}");
    }
}

/// `init --officials`.
pub(super) fn init_split(
    dir: &Path,
    asked: &Init,
    (officials, threshold): (u8, u8),
    sheets: &SheetsTo,
    kit: &Path,
) -> Result<Initialised, OfficialsError> {
    guarded();
    let terms = Terms::new(officials, threshold)?;
    let mut lines = Io::new();
    let sheets = sheets.sheets();
    let made = init::init_split(
        dir,
        asked,
        terms,
        kit,
        &mut SystemEntropy.rng(),
        |shares, public| hand_out(&asked.agency, shares, public, &sheets, &mut lines),
    )?;
    Ok(made)
}

/// `hold-keys`.
pub(super) async fn hold(config: &ConfigFile, stop: impl Future<Output = ()>) -> Result<(), OfficialsError> {
    let config = Config::load(&config.config)?;
    telemetry::init(config.party, config.log_format, &config.log_filter, None)?;
    for guard in [memory::keep_out_of_dumps(), memory::keep_out_of_swap()] {
        if let Err(unguarded) = guard {
            tracing::warn!("{unguarded}");
        }
    }
    let sealed = config.keys.sealed.clone().ok_or(ChangeError::NotSplit)?;
    keys::sealed(&config)?;
    let directory = config.keys.holder.clone();
    holder::hold(&sealed, &directory, stop, || {
        tracing::info!(party = %config.party, socket = %directory.join(holder::SOCKET).display(), "holding nothing yet");
    })
    .await?;
    tracing::info!("stopped; everything held is wiped");
    Ok(())
}

/// `unseal`.
pub(super) fn unseal(config: &ConfigFile, shares: &ShareFiles) -> Result<(), OfficialsError> {
    guarded();
    let config = Config::load(&config.config)?;
    let directory = &config.keys.holder;
    let public = change::public(&config)?;
    let mut state = holder::state(directory)?;
    let mut lines = Io::new();
    for path in &shares.share_files {
        state = holder::give(directory, desk::from_file(path)?)?;
        lines.show(&format!("{}: taken.\n", path.display()))?;
    }
    while !state.unlocked {
        lines.show(&standing(&state))?;
        lines.show("Next official, alone: type your share; the letters are not shown. Enter alone leaves the rest for later.\n")?;
        let Some(share) = desk::typed(&mut lines)? else {
            lines.show("Left as it is; those who gave their shares need not come again.\n")?;
            return Ok(());
        };
        // Judged here too: a share of another ceremony never leaves this process.
        let given = public
            .judge(&share)
            .map_err(OfficialsError::from)
            .and_then(|()| Ok(holder::give(directory, share)?));
        match given {
            Ok(now) => state = now,
            Err(refused @ (OfficialsError::Share(_) | OfficialsError::Holder(HolderError::Refused(_)))) => {
                lines.show(&format!("  {refused}\n"))?;
            }
            Err(other) => return Err(other),
        }
    }
    lines.show("Unlocked. The shares are forgotten; the server goes on within a second.\n")?;
    Ok(())
}

fn standing(state: &State) -> String {
    let given: Vec<String> = (0..16)
        .filter(|bit| state.given >> bit & 1 == 1)
        .map(|bit| (bit + 1).to_string())
        .collect();
    let came = if given.is_empty() {
        "none has come yet".to_owned()
    } else {
        format!("came: {}", given.join(", "))
    };
    format!("{} of {} are needed; {came}.\n", state.party, state.terms)
}

/// `lock`.
pub(super) fn lock(config: &ConfigFile) -> Result<(), OfficialsError> {
    let config = Config::load(&config.config)?;
    holder::lock(&config.keys.holder)?;
    println!(
        "The key holder has forgotten key and shares. A running server keeps its keys until it stops; stop it too."
    );
    Ok(())
}

/// `officials`.
pub(super) fn officials(command: Officials) -> Result<(), OfficialsError> {
    guarded();
    match command {
        Officials::Show { config } => {
            let config = Config::load(&config.config)?;
            let public = change::public(&config)?;
            println!("{}", described(&public));
            match holder::state(&config.keys.holder) {
                Ok(state) if state.unlocked => println!("Unlocked: the key holder has the key."),
                Ok(state) => print!("Locked. {}", standing(&state)),
                Err(error) => println!("Locked: {error}"),
            }
            Ok(())
        }
        Officials::Check { config, shares } => {
            let public = change::public(&Config::load(&config.config)?)?;
            let mut lines = Io::new();
            println!("{}", described(&public));
            let mut given = Vec::new();
            for path in &shares.share_files {
                given.push(desk::from_file(path)?);
            }
            if given.is_empty() {
                given.extend(desk::typed(&mut lines)?);
            }
            for share in &given {
                public.judge(share)?;
                println!(
                    "Share {} is right. It was not kept, and nothing is unlocked.",
                    share.number()
                );
            }
            Ok(())
        }
        Officials::Replace {
            config,
            officials,
            threshold,
            kit,
            new_kit,
            sheets,
            shares,
        } => {
            let terms = Terms::new(officials, threshold)?;
            let config = Config::load(&config.config)?;
            let own = keys::own_identity(&config)?;
            let mut lines = Io::new();
            let key = desk::collect(&change::public(&config)?, &shares.share_files, &mut lines)?;
            let public = change::replace(
                &config,
                &key,
                (&kit, &new_kit),
                terms,
                &mut SystemEntropy.rng(),
                |shares, public| hand_out(own.agency(), shares, public, &sheets.sheets(), &mut lines),
            )?;
            println!("{}", described(&public));
            println!(
                "The new recovery kit is {}: take it off this machine. Destroy {} and every copy of the key file, in backups too: the old \
                 sheets open them for ever.\nThe key holder has forgotten the key: {} give their shares with `party unseal`. A running \
                 server goes on meanwhile.",
                new_kit.display(),
                kit.display(),
                public.terms
            );
            Ok(())
        }
    }
}

fn described(public: &Public) -> String {
    format!(
        "Ceremony {} of {}: {} unlock its keys.",
        public.ceremony, public.party, public.terms
    )
}

/// `rotate-hpke`.
pub(super) fn rotate(asked: &RotateHpke) -> Result<(), OfficialsError> {
    guarded();
    let config = Config::load(&asked.config.config)?;
    let mut lines = Io::new();
    let key = desk::collect(&change::public(&config)?, &asked.shares.share_files, &mut lines)?;
    let identity = change::rotate_hpke(
        &config,
        &key,
        (&asked.kit, &asked.new_kit),
        Stated {
            never_sealed: &asked.never_sealed,
            none_open: asked.no_election_open,
        },
        &mut SystemEntropy.rng(),
    )?;
    let fingerprint: Fingerprint = identity.fingerprint();
    println!(
        "The HPKE key is new and the old one is erased here. Hand {} to the other two parties and the coordinator and read them the \
         fingerprint over the phone: {fingerprint}\nThe new recovery kit is {}: take it off this machine, and destroy {} and the backups of \
         the old key file.",
        config.identities.own.display(),
        asked.new_kit.display(),
        asked.kit.display()
    );
    Ok(())
}

/// `renew-certificates` where officials hold the keys.
pub(super) fn renew(
    config: &Config,
    kits: (&Path, &Path),
    life: Life,
    shares: &ShareFiles,
) -> Result<Issued, OfficialsError> {
    guarded();
    let key = desk::collect(&change::public(config)?, &shares.share_files, &mut Io::new())?;
    Ok(change::renew(config, &key, kits, life, &mut SystemEntropy.rng())?)
}

/// `restore`.
pub(super) fn restore(asked: &Restore) -> Result<(), OfficialsError> {
    guarded();
    let sealed = Sealed::read(&asked.kit, Use::Kit).map_err(|source| OfficialsError::Kit {
        path: asked.kit.clone(),
        source,
    })?;
    let mut lines = Io::new();
    lines.show(&format!("{}\n", described(sealed.public())))?;
    let key = desk::collect(sealed.public(), &asked.shares.share_files, &mut lines)?;
    let config = kit::restore(&sealed, &key, &asked.dir)?;
    println!(
        "Restored: {}. Put the identity files of the others into {}, start `party hold-keys` and `party run`, and let the officials `party \
         unseal`. The two others give back the elections, this party's log and its ballots by themselves; no backup of the store is needed.",
        config.display(),
        asked.dir.join("others").display()
    );
    Ok(())
}
