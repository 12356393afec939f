//! The demonstration: a whole election over the real first preferences of a real council ward, on real processes of this machine,
//! compared with a recount in the clear.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use thiserror::Error;

use crate::blt::{self, BltError};
use crate::crowd::{Crowd, CrowdError};
use crate::process::{ProcessError, Program};
use crate::published::{self, PublishedError};
use crate::recount::{Count, recount};
use crate::script::{Mix, Roll, Script, draw};
use crate::tamper::{self, TamperError};
use crate::units::{self, UnitsError};
use crate::utc;
use crate::world::{Plan, World, WorldError};

/// Runs a whole election over real ballots on this machine: three party servers, a commission, a registrar, polling stations and
/// everybody's devices, and compares the published result with a recount in the clear.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Arguments {
    /// Directory for everything the election leaves behind; a new one in the system's directory for temporary files otherwise
    #[arg(long)]
    dir: Option<PathBuf>,
    /// How many of the ward's 13,416 voters vote, on a roll half as large again
    #[arg(long, default_value_t = 13_416, value_parser = clap::value_parser!(u32).range(60..=13_416))]
    voters: u32,
    /// Seed of the script: who votes what, when and how. Secrets are drawn from the operating system all the same
    #[arg(long, default_value_t = 2022)]
    seed: u64,
    /// Have this machine's systemd run the servers, from the units of deploy/systemd, each as a user of its own: as root, on a machine that has nothing of the
    /// tally yet. Everything is in /etc/tally, /var/lib/tally and the journal afterwards, and stays there
    #[arg(long, conflicts_with = "dir")]
    units: bool,
    /// Alter one vote of the script behind the election's back: the comparison must find it
    #[arg(long, hide = true)]
    fault: bool,
}

/// What the demonstration stumbles over.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each variant says it in its message")]
pub enum DemoError {
    #[error(transparent)]
    World(#[from] WorldError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Crowd(#[from] CrowdError),
    #[error(transparent)]
    Ballots(#[from] BltError),
    #[error(transparent)]
    Tamper(#[from] TamperError),
    #[error(transparent)]
    Units(#[from] UnitsError),
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Published(#[from] PublishedError),
    #[error("the published bundle holds {published} boxes, the election has {defined}")]
    Boxes { published: usize, defined: usize },
    #[error(
        "box {box_id}: the published result is {published:?}, but the recount from the script gives {recounted:?}"
    )]
    Differs {
        box_id: u32,
        published: Box<Count>,
        recounted: Box<Count>,
    },
    #[error("three audits do not prove the totals:\n{said}")]
    NotProven { said: String },
    #[error("{what} was not refused")]
    NotRefused { what: &'static str },
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> DemoError {
    let path = path.to_owned();
    move |source| DemoError::File { path, source }
}

/// Runs the demonstration with a command line (the first argument is the program's name), re-executing this program for every
/// process.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // What is generic is compiled where it is called, with all that it calls: only this line is.
    main(args.into_iter().collect())
}

fn main(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(usage) => {
            // A closed terminal is no reason to fail differently.
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { 2 } else { 0 });
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("demo: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is being done and how long it took.
struct Stage {
    begun: Instant,
    steps: Vec<(String, Duration)>,
}

impl Stage {
    fn done(&mut self, what: &str, since: Instant) {
        self.steps.push((what.to_owned(), since.elapsed()));
        println!("  {:>6.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }
}

async fn run(arguments: &Arguments) -> Result<(), DemoError> {
    let ward = blt::parse(blt::INVERLEITH_2022)?;
    let options: Vec<String> = ward
        .candidates
        .iter()
        .map(|c| {
            if c.party.is_empty() {
                c.name.clone()
            } else {
                format!("{} ({})", c.name, c.party)
            }
        })
        .collect();
    let voters = arguments.voters;
    let preferences = thin(&ward.first_preferences, voters as usize);
    // 20,000 voters for the ward's 13,416 ballots, in three districts.
    let on_roll = (voters * 20_000).div_ceil(13_416);
    let (north, east) = (on_roll * 9 / 20, on_roll * 7 / 20);
    let roll = Roll {
        boxes: vec![north, east, on_roll - north - east],
    };
    let mix = Mix::of_voters(voters as usize);
    let script = draw(arguments.seed, &roll, &preferences, options.len() as u32, &mix);
    let root = match &arguments.dir {
        Some(dir) => dir.clone(),
        None if arguments.units => units::ROOT.into(),
        None => std::env::temp_dir().join(format!("tally-demo-{}", std::process::id())),
    };
    println!(
        "An election over the {voters} first preferences of {} (City of Edinburgh council, 2022):\n\
         {on_roll} voters on the roll of three districts, {} ballots. Everything it leaves behind: {}\n",
        ward.title,
        script.ballots(),
        root.display()
    );

    let mut stage = Stage {
        begun: Instant::now(),
        steps: Vec::new(),
    };
    let since = Instant::now();
    let now = SystemTime::now();
    let plan = Plan {
        election: "inverleith-2022".to_owned(),
        title: format!("{}, first preferences", ward.title),
        options: options.clone(),
        boxes: ["Inverleith North", "Inverleith East", "Inverleith South"]
            .map(str::to_owned)
            .to_vec(),
        roll: roll.clone(),
        stations: mix.stations,
        tickets: None,
        opens: utc::minute(now - Duration::from_secs(60)),
        closes: utc::minute(now + Duration::from_secs(6 * 3600)),
    };
    let mut world = if arguments.units {
        World::set_up_units(&Program::this()?, plan)?
    } else {
        World::set_up(&root, Program::this()?, plan)?
    };
    world.start()?;
    stage.done(
        "three agencies, a commission, a registrar and three stations are set up; the servers run",
        since,
    );

    let since = Instant::now();
    world.define()?;
    stage.done(
        "the election is defined, published and countersigned by three operators",
        since,
    );

    let since = Instant::now();
    let invitations = world.issue()?;
    stage.done(
        &format!(
            "{} credentials are issued, sealed to the parties",
            invitations.len()
        ),
        since,
    );

    let since = Instant::now();
    let manifest_path = world.manifest_file()?;
    let manifest = fs::read(&manifest_path).map_err(file(&manifest_path))?;
    let mut rng = StdRng::from_rng(&mut rand::rng());
    let mut crowd = Crowd::new(&manifest, invitations, &world.station_dirs(), &mut rng)?;
    vote(&mut world, &mut crowd, &script, &mut stage).await?;
    let tampered = tamper::ballot(crowd.election(), &mut rng).await?;
    stage.done("voting ends", since);

    let since = Instant::now();
    let closed = world.close("All voters of the demonstration have voted")?;
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    stage.done(
        "an order closes all channels early, countersigned by three operators",
        since,
    );

    let (election, typed) = (world.plan.election.clone(), format!("{}\n", world.plan.election));
    let since = Instant::now();
    world.take_statements(&crowd.close_stations()?)?;
    world.coordinator(&["seal", &election], &typed)?;
    stage.done(
        "three boxes are sealed, the stations' closing statements agree: three signatures each on exactly what will be tallied",
        since,
    );
    if let Some(units) = world.units() {
        let since = Instant::now();
        units.check_apart()?;
        stage.done("no party's user can read any file of another party", since);
    }
    let since = Instant::now();
    world.coordinator(&["tally", &election], &typed)?;
    stage.done("three boxes are tallied under multi-party computation", since);

    let since = Instant::now();
    world.coordinator(&["bundle", &election], &typed)?;
    let bundle_path = world.bundle_file()?;
    let page = root.join("result.html");
    let (bundle_text, manifest_text) = (bundle_path.to_string_lossy(), manifest_path.to_string_lossy());
    let report = world.coordinator(
        &[
            "report",
            &bundle_text,
            "--manifest",
            &manifest_text,
            "--html",
            &page.to_string_lossy(),
        ],
        "",
    )?;
    world.coordinator(&["verify-result", &bundle_text, "--manifest", &manifest_text], "")?;
    stage.done("the result is published and verified offline", since);

    let since = Instant::now();
    let proven = audited(&mut world, &bundle_text, &manifest_text)?;
    stage.done(
        "three auditors have run the three parties' parts of box 3 again from their logs",
        since,
    );

    if arguments.fault {
        crowd.forget_one_vote();
    }
    let bundle = fs::read(&bundle_path).map_err(file(&bundle_path))?;
    let counts = compare(&bundle, &roll, options.len() as u32, &crowd)?;
    println!("\n{report}");
    let counted: u64 = counts.iter().map(|count| count.online + count.station).sum();
    println!(
        "Every count of every box equals the recount in the clear: {counted} counted ballots out of {} cast.\n\
         The result page: {}\n",
        crowd.done().len(),
        page.display()
    );
    println!("The replay audit of box 3, joined by verify-result:\n{proven}\n");
    println!("Two refusals:");
    println!(
        "- a result bundle with one byte changed: {}",
        one_byte_changed(&world, &bundle, &manifest_text)?
    );
    println!("- a ballot with one share tampered: {tampered}");
    println!("\nTimings:");
    for (what, took) in &stage.steps {
        println!("  {:>6.1} s  {what}", took.as_secs_f64());
    }
    println!("  {:>6.1} s  in all", stage.begun.elapsed().as_secs_f64());
    if arguments.dir.is_none() {
        println!("\nTo look at the result: {}", page.display());
    }
    Ok(())
}

/// Every so-manieth preference, so that a smaller election has the ward's proportions.
fn thin(preferences: &[u32], keep: usize) -> Vec<u32> {
    (0..keep)
        .map(|i| preferences[i * preferences.len() / keep])
        .collect()
}

async fn vote(
    world: &mut World,
    crowd: &mut Crowd,
    script: &Script,
    stage: &mut Stage,
) -> Result<(), DemoError> {
    let since = Instant::now();
    crowd.cast_online(&script.first, |_| {}).await?;
    stage.done(&format!("{} ballots are cast online", script.first.len()), since);
    let since = Instant::now();
    world.kill_party(1);
    crowd.cast_online(&script.one_away, |_| {}).await?;
    stage.done(
        &format!(
            "party 2 has its plug pulled; {} more ballots are cast with two parties",
            script.one_away.len()
        ),
        since,
    );
    let since = Instant::now();
    world.start_party(1)?;
    crowd.cast_online(&script.back, |_| {}).await?;
    stage.done(
        &format!(
            "party 2 is back; {} more ballots, among them revotes and false credentials",
            script.back.len()
        ),
        since,
    );
    let since = Instant::now();
    crowd.vote_at_stations(&script.stations, |_| {}).await?;
    stage.done(
        &format!(
            "{} voters vote at stations, electronically and on paper",
            script.stations.len()
        ),
        since,
    );
    let since = Instant::now();
    crowd.cast_online(&script.last, |_| {}).await?;
    stage.done(
        &format!(
            "{} ballots are cast online by voters who had been at a station",
            script.last.len()
        ),
        since,
    );
    Ok(())
}

/// The published counts, which must be those of the recount.
fn compare(bundle: &[u8], roll: &Roll, options: u32, crowd: &Crowd) -> Result<Vec<Count>, DemoError> {
    let mut counts = Vec::new();
    let published = published::read(bundle, roll)?;
    if published.len() != roll.boxes.len() {
        return Err(DemoError::Boxes {
            published: published.len(),
            defined: roll.boxes.len(),
        });
    }
    for (box_id, of_box) in (1_u32..).zip(published) {
        let recounted = recount(box_id, roll, options, crowd.done());
        if of_box.box_id != box_id || of_box.count != recounted {
            return Err(DemoError::Differs {
                box_id,
                published: Box::new(of_box.count),
                recounted: Box::new(recounted),
            });
        }
        counts.push(recounted);
    }
    Ok(counts)
}

/// Stops the parties and has box 3, the smallest, audited at all three; what `verify-result` makes of the statements.
fn audited(world: &mut World, bundle: &str, manifest: &str) -> Result<String, DemoError> {
    for party in 0..3 {
        world.stop_party(party)?;
    }
    let statements = world.audit(3)?;
    let mut words = vec!["verify-result", bundle, "--manifest", manifest];
    let paths: Vec<String> = statements
        .iter()
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    for path in &paths {
        words.extend(["--statement", path.as_str()]);
    }
    let said = world.coordinator(&words, "")?;
    let Some((_, table)) = said.split_once("\nBox 3, session") else {
        return Err(DemoError::NotProven { said });
    };
    let proven = format!("Box 3, session{table}");
    if proven.contains("Proven: the published totals") {
        Ok(proven)
    } else {
        Err(DemoError::NotProven { said: proven })
    }
}

/// What `verify-result` says of the bundle with its middle byte changed.
fn one_byte_changed(world: &World, bundle: &[u8], manifest: &str) -> Result<String, DemoError> {
    let mut altered = bundle.to_vec();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    let path = world.root.join("altered.bundle");
    fs::write(&path, &altered).map_err(file(&path))?;
    let words = [
        "coordinator",
        "--dir",
        "coordinator",
        "verify-result",
        &path.to_string_lossy(),
        "--manifest",
        manifest,
    ];
    let said = world.program.refused(&world.root, &words, "")?;
    let said = said.ok_or(DemoError::NotRefused {
        what: "a result bundle with one byte changed",
    })?;
    Ok(said.trim().lines().last().unwrap_or_default().to_owned())
}
