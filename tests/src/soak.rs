//! The soak: parties are killed (SIGKILL) at random moments, again and again, while a crowd casts; then the box is sealed and tallied.
//!
//! Three real party processes with real stores, voters through the client library as on their own devices. At every strike one party, and
//! now and then two, lose their plug wherever they are: in a commit, between a commit and its answer, in their start. At the end nothing that was
//! acknowledged (two accepted, each stored the other's receipt) is missing in the Seal, and the result is that of the recount.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use thiserror::Error;

use crate::crowd::{Crowd, CrowdError};
use crate::process::Program;
use crate::published::{self, PublishedError};
use crate::recount::{Count, recount};
use crate::script::{Cast, Place, Roll, Way};
use crate::utc;
use crate::world::{Plan, World, WorldError};

const ELECTION: &str = "soak-2027";
const TYPED: &str = "soak-2027\n";
const OPTIONS: u32 = 4;
/// Ballots of each voter between two looks at whether the killing has ended.
const ROUND: u32 = 3;
/// A party that was struck is left alone for up to this long once it listens again, and lies for up to this long before it is started.
const MOMENT_MS: u64 = 250;

/// What to do.
#[derive(Clone, Copy, Debug, Parser)]
#[command(
    name = "soak",
    about = "Kill parties at random moments while a crowd casts, then seal, tally and compare"
)]
pub struct Soak {
    /// How many processes to kill.
    #[arg(long, default_value_t = 1000)]
    pub kills: u32,
    /// Decides who casts what, and whom to kill when.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Voters that cast without pause, each about a ballot a second.
    #[arg(long, default_value_t = 48)]
    pub voters: u32,
    /// Ends with one JSON object on one line.
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Seed.
    pub seed: u64,
    /// Processes killed.
    pub kills: u32,
    /// Strikes in which two parties were killed at once.
    pub of_two: u32,
    /// Kills of processes that did not listen yet.
    pub in_start: u32,
    /// From the first strike to the last.
    pub seconds: f64,
    /// Ballots acknowledged to their voters.
    pub acknowledged: u64,
    /// Rows of the Seal: those, and attempts that came in without their voters knowing, each followed by another.
    pub sealed: u64,
    /// Acknowledged ballots that the Seal lacks.
    pub lost: u64,
    /// Whether the result is that of the recount.
    pub equals_recount: bool,
}

/// Why a soak did not come to its end.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each variant says it in its message")]
pub enum SoakError {
    #[error(transparent)]
    World(#[from] WorldError),
    #[error(transparent)]
    Crowd(#[from] CrowdError),
    #[error(transparent)]
    Published(#[from] PublishedError),
    #[error("{what}: {source}")]
    Os {
        what: &'static str,
        source: std::io::Error,
    },
    #[error("the killing thread panicked")]
    Panicked,
    #[error("the bundle holds {0} boxes instead of one")]
    Boxes(usize),
}

fn os(what: &'static str) -> impl FnOnce(std::io::Error) -> SoakError {
    move |source| SoakError::Os { what, source }
}

impl Soak {
    /// Runs in the empty directory `root`, with `program` as every part.
    ///
    /// # Errors
    /// A command that fails, a party that ends by itself, a ballot that its voter had to give up. What is lost or miscounted is no
    /// error but in the [`Report`].
    pub async fn run(self, root: &Path, program: Program) -> Result<Report, SoakError> {
        let plan = Plan {
            election: ELECTION.to_owned(),
            title: "Soak 2027".to_owned(),
            options: (1..=OPTIONS).map(|option| format!("Option {option}")).collect(),
            boxes: vec!["Hall".to_owned()],
            roll: Roll {
                boxes: vec![self.voters],
            },
            stations: 0,
            tickets: None,
            opens: utc::second(SystemTime::now() - Duration::from_secs(60)),
            closes: utc::second(SystemTime::now() + Duration::from_secs(24 * 3600)),
        };
        let mut world = World::set_up(root, program, plan)?;
        world.start()?;
        world.define()?;
        let invitations = world.issue()?;
        let file = world.manifest_file()?;
        let manifest = std::fs::read(&file).map_err(os("reading the manifest"))?;
        let mut rng = StdRng::seed_from_u64(self.seed);
        let stations: std::collections::BTreeMap<u32, &Path> = std::collections::BTreeMap::new();
        let mut crowd = Crowd::new(&manifest, invitations, &stations, &mut rng)?;

        let over = AtomicBool::new(false);
        let mut report = Report {
            seed: self.seed,
            ..Report::default()
        };
        let (struck, cast) = std::thread::scope(|scope| {
            let killing = scope.spawn(|| {
                let struck = self.kill(&mut world, &mut report, &over, StdRng::from_rng(&mut rng));
                over.store(true, Ordering::Relaxed);
                struck
            });
            // The runtime has threads of its own: the scope blocks this one only.
            let cast = tokio::task::block_in_place(|| {
                let cast = tokio::runtime::Handle::current().block_on(self.cast(&mut crowd, &over));
                over.store(true, Ordering::Relaxed);
                cast
            });
            (killing.join().map_err(|_| SoakError::Panicked), cast)
        });
        cast?;
        struck??;
        self.close(&world, &crowd, report)
    }

    /// Everybody casts, round after round, until the killing is over, and then once more.
    async fn cast(&self, crowd: &mut Crowd, over: &AtomicBool) -> Result<(), SoakError> {
        let mut rng = StdRng::seed_from_u64(self.seed ^ 0x5eed);
        loop {
            let last = over.load(Ordering::Relaxed);
            let mut casts = Vec::new();
            for v in 0..self.voters {
                for _ in 0..ROUND {
                    let way = if rng.random_ratio(1, 10) {
                        Way::FalseOnline
                    } else {
                        Way::Online
                    };
                    casts.push(Cast {
                        device: v,
                        place: Place { box_id: 1, v },
                        way,
                        choice: rng.random_range(1..=OPTIONS),
                    });
                }
            }
            crowd.cast_online(&casts, |_| {}).await?;
            if last {
                return Ok(());
            }
        }
    }

    /// Kills until enough are dead, and leaves all three serving.
    fn kill(
        &self,
        world: &mut World,
        report: &mut Report,
        over: &AtomicBool,
        mut rng: StdRng,
    ) -> Result<(), SoakError> {
        let begun = Instant::now();
        let moment =
            |rng: &mut StdRng| std::thread::sleep(Duration::from_millis(rng.random_range(0..=MOMENT_MS)));
        let mut starting = [false; 3];
        // A crowd that has given up ends it too: its error is told.
        while report.kills < self.kills && !over.load(Ordering::Relaxed) {
            moment(&mut rng);
            let first = rng.random_range(0..3);
            let mut struck = vec![first];
            if rng.random_ratio(1, 10) && report.kills + 1 < self.kills {
                struck.push((first + rng.random_range(1..3)) % 3);
                report.of_two += 1;
            }
            for &i in &struck {
                report.in_start += u32::from(starting[i]);
                world.strike_party(i)?;
                report.kills += 1;
            }
            moment(&mut rng);
            for &i in &struck {
                world.begin_party(i)?;
                starting[i] = true;
            }
            // One strike in four may meet a party in its start.
            if rng.random_ratio(3, 4) {
                for (i, starting) in starting.iter_mut().enumerate() {
                    world.await_party(i)?;
                    *starting = false;
                }
            }
        }
        report.seconds = begun.elapsed().as_secs_f64();
        for i in 0..3 {
            world.await_party(i)?;
        }
        Ok(())
    }

    fn close(&self, world: &World, crowd: &Crowd, mut report: Report) -> Result<Report, SoakError> {
        let closed = world.close("All have voted")?;
        if let Ok(left) = closed.duration_since(SystemTime::now()) {
            std::thread::sleep(left);
        }
        world.coordinator(&["seal", ELECTION], TYPED)?;
        world.coordinator(&["tally", ELECTION], TYPED)?;
        world.coordinator(&["bundle", ELECTION], "")?;
        let (bundle, manifest) = (world.bundle_file()?, world.manifest_file()?);
        let words = [
            "verify-result",
            &bundle.to_string_lossy(),
            "--manifest",
            &manifest.to_string_lossy(),
        ];
        world.coordinator(&words, "")?;
        let bytes = std::fs::read(&bundle).map_err(os("reading the bundle"))?;
        let boxes = published::read(&bytes, &world.plan.roll)?;
        let [of_box] = boxes.as_slice() else {
            return Err(SoakError::Boxes(boxes.len()));
        };
        let counted: &Count = &of_box.count;
        report.acknowledged = crowd.done().len() as u64;
        report.sealed = of_box.ballots.len() as u64;
        let lost = crowd
            .done()
            .iter()
            .filter(|done| !of_box.ballots.contains(&done.digest));
        report.lost = lost.count() as u64;
        report.equals_recount = *counted == recount(1, &world.plan.roll, OPTIONS, crowd.done());
        Ok(report)
    }
}

/// The command: runs in a temporary directory below the system's, which is removed afterwards. Fails when anything is lost or miscounted.
pub fn main_with(args: impl IntoIterator<Item = std::ffi::OsString>) -> std::process::ExitCode {
    let soak = Soak::parse_from(args);
    match soak.in_scratch() {
        Ok(report) => {
            println!(
                "{} kills ({} strikes at two parties, {} in a start) in {:.0} s; {} ballots acknowledged, {} lost; {} rows sealed; the result \
                 {} the recount",
                report.kills,
                report.of_two,
                report.in_start,
                report.seconds,
                report.acknowledged,
                report.lost,
                report.sealed,
                if report.equals_recount {
                    "equals"
                } else {
                    "DIFFERS FROM"
                }
            );
            if soak.json {
                match serde_json::to_string(&report) {
                    Ok(line) => println!("{line}"),
                    Err(error) => eprintln!("soak: {error}"),
                }
            }
            if report.lost == 0 && report.equals_recount {
                std::process::ExitCode::SUCCESS
            } else {
                std::process::ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("soak, seed {}: {error}", soak.seed);
            std::process::ExitCode::FAILURE
        }
    }
}

impl Soak {
    fn in_scratch(self) -> Result<Report, SoakError> {
        let root = std::env::temp_dir().join(format!("tally-soak-{}", std::process::id()));
        let program = Program::this().map_err(WorldError::from)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(os("starting a runtime"))?;
        let report = runtime.block_on(self.run(&root, program))?;
        // What failed is left there to be looked at.
        std::fs::remove_dir_all(&root).map_err(os("removing the scratch directory"))?;
        Ok(report)
    }
}
