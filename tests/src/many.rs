//! Many elections at once over the same three parties: all are in force and open before the first ballot, each has a roll, options and
//! voters of its own, all are voted in, then sealed, tallied and verified, and each result is compared with its own recount.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use thiserror::Error;

use crate::crowd::{Crowd, CrowdError};
use crate::process::Program;
use crate::published::{self, PublishedError};
use crate::recount::recount;
use crate::script::{Cast, Place, Roll, Way};
use crate::utc;
use crate::world::{Plan, World, WorldError};

/// Elections that are voted in at the same moment.
const AT_ONCE: usize = 8;
/// Elections between two words of progress.
const PROGRESS_EVERY: usize = 50;

/// What to do.
#[derive(Clone, Copy, Debug, Parser)]
#[command(
    name = "elections",
    about = "Open, vote in, seal and tally many elections at once, and compare each with its recount"
)]
pub struct Many {
    /// How many elections.
    #[arg(long, default_value_t = 1000)]
    pub elections: u32,
    /// Fewest voters of an election.
    #[arg(long, default_value_t = 100)]
    pub fewest: u32,
    /// Most voters of an election.
    #[arg(long, default_value_t = 1000)]
    pub most: u32,
    /// One voter in so many casts, some of them twice.
    #[arg(long, default_value_t = 10)]
    pub one_in: u32,
    /// Decides who casts what.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Ends with one JSON object on one line.
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Elections, each tallied and equal to its own recount.
    pub elections: u32,
    /// Voters of all rolls.
    pub voters: u64,
    /// Ballots acknowledged, and found in the Seal of their own election.
    pub ballots: u64,
    /// To define, countersign, complete and issue credentials, until all were open.
    pub opening_seconds: f64,
    /// To cast all ballots.
    pub voting_seconds: f64,
    /// From the close to the last verified result.
    pub counting_seconds: f64,
    /// Elections sealed, tallied, published and verified a second.
    pub counted_per_second: f64,
    /// Most memory of a party's process, MiB.
    pub party_peak_mib: [f64; 3],
}

/// Why it did not come to its end.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each variant says it in its message")]
pub enum ManyError {
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
    #[error("election {election}: the result is {found}, the recount {expected}")]
    Differs {
        election: String,
        found: String,
        expected: String,
    },
    #[error("election {election}: {count} acknowledged ballots are not in its Seal")]
    Lost { election: String, count: usize },
    #[error("election {election}: {count} rows are sealed that nobody cast there")]
    Foreign { election: String, count: usize },
}

fn os(what: &'static str) -> impl FnOnce(std::io::Error) -> ManyError {
    move |source| ManyError::Os { what, source }
}

/// Tells how far a long step is: every so many elections, and at its end.
fn progress(done: &str, count: usize, of: u32, since: Instant) {
    if count.is_multiple_of(PROGRESS_EVERY) || count == of as usize {
        eprintln!(
            "{done} {count} of {of} elections, {:.0} s",
            since.elapsed().as_secs_f64()
        );
    }
}

/// An election that is open.
struct Open {
    plan: Plan,
    crowd: Crowd,
    casts: Vec<Cast>,
}

impl Many {
    /// Runs in the empty directory `root`, with `program` as every part.
    ///
    /// # Errors
    /// A command that fails, a ballot that is not accepted, a result that is not the recount.
    pub async fn run(self, root: &Path, program: Program) -> Result<Report, ManyError> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let plans: Vec<Plan> = (0..self.elections.max(1))
            .map(|n| self.plan(n, &mut rng))
            .collect();
        let mut report = Report {
            elections: self.elections.max(1),
            voters: plans.iter().map(|plan| u64::from(plan.roll.voters())).sum(),
            ..Report::default()
        };
        let Some(first) = plans.first() else {
            return Ok(report);
        };
        let mut world = World::set_up(root, program, first.clone())?;
        world.start()?;

        let since = Instant::now();
        let mut open = Vec::with_capacity(plans.len());
        for plan in plans {
            world.plan = plan.clone();
            world.define()?;
            let invitations = world.issue()?;
            std::fs::remove_file(root.join("invitations.csv")).map_err(os("taking the invitations"))?;
            let manifest = std::fs::read(world.manifest_file()?).map_err(os("reading a manifest"))?;
            let stations: BTreeMap<u32, &Path> = BTreeMap::new();
            let crowd = Crowd::new(&manifest, invitations, &stations, &mut rng)?;
            let casts = self.casts(&plan, &mut rng);
            open.push(Open { plan, crowd, casts });
            progress("opened", open.len(), report.elections, since);
        }
        report.opening_seconds = since.elapsed().as_secs_f64();

        let since = Instant::now();
        let voted = stream::iter(open)
            .map(|mut open| async move {
                open.crowd.cast_online(&open.casts, |_| {}).await?;
                Ok::<_, CrowdError>(open)
            })
            .buffer_unordered(AT_ONCE)
            .enumerate()
            .map(|(at, open)| {
                progress("voted in", at + 1, report.elections, since);
                open
            });
        let mut voted: Vec<Open> = voted.try_collect().await?;
        voted.sort_by(|a, b| a.plan.election.cmp(&b.plan.election));
        report.voting_seconds = since.elapsed().as_secs_f64();

        let (mut closed, since) = (SystemTime::now(), Instant::now());
        for (at, open) in voted.iter().enumerate() {
            world.plan = open.plan.clone();
            closed = closed.max(world.close("All have voted")?);
            progress("closed", at + 1, report.elections, since);
        }
        if let Ok(left) = closed.duration_since(SystemTime::now()) {
            tokio::time::sleep(left).await;
        }
        let since = Instant::now();
        for (at, open) in voted.iter().enumerate() {
            world.plan = open.plan.clone();
            report.ballots += count(&world, open)?;
            progress("counted", at + 1, report.elections, since);
        }
        report.counting_seconds = since.elapsed().as_secs_f64();
        report.counted_per_second = f64::from(report.elections) / report.counting_seconds;
        for (peak, id) in report.party_peak_mib.iter_mut().zip(world.party_ids()) {
            *peak = peak_mib(id)?;
        }
        Ok(report)
    }

    fn plan(&self, n: u32, rng: &mut StdRng) -> Plan {
        let options = rng.random_range(2..=6);
        Plan {
            election: format!("club-{n:04}"),
            title: format!("Club {n}"),
            options: (1..=options)
                .map(|option| format!("Candidate {n}-{option}"))
                .collect(),
            boxes: vec!["Members".to_owned()],
            roll: Roll {
                boxes: vec![rng.random_range(self.fewest..=self.most.max(self.fewest))],
            },
            stations: 0,
            opens: utc::second(SystemTime::now() - Duration::from_secs(60)),
            closes: utc::second(SystemTime::now() + Duration::from_secs(48 * 3600)),
            tickets: None,
        }
    }

    /// At least ten ballots, which an election's policy asks for.
    fn casts(&self, plan: &Plan, rng: &mut StdRng) -> Vec<Cast> {
        let (voters, options) = (plan.roll.voters(), plan.options.len() as u32);
        let casting = (voters / self.one_in.max(1)).clamp(11.min(voters), voters);
        let mut casts = Vec::new();
        for v in 0..casting {
            for _ in 0..1 + u32::from(rng.random_ratio(1, 8)) {
                casts.push(Cast {
                    device: v,
                    place: Place { box_id: 1, v },
                    way: Way::Online,
                    choice: rng.random_range(1..=options),
                });
            }
        }
        casts
    }
}

/// Seals, tallies, publishes and verifies the world's election of this moment and compares it with its recount; its ballots.
fn count(world: &World, open: &Open) -> Result<u64, ManyError> {
    let election = open.plan.election.clone();
    let typed = format!("{election}\n");
    world.coordinator(&["seal", &election], &typed)?;
    world.coordinator(&["tally", &election], &typed)?;
    world.coordinator(&["bundle", &election], "")?;
    let (bundle, manifest) = (world.bundle_file()?, world.manifest_file()?);
    let words = [
        "verify-result",
        &bundle.to_string_lossy(),
        "--manifest",
        &manifest.to_string_lossy(),
    ];
    world.coordinator(&words, "")?;
    let bytes = std::fs::read(&bundle).map_err(os("reading a bundle"))?;
    let done = open.crowd.done();
    for of_box in published::read(&bytes, &open.plan.roll)? {
        let options = open.plan.options.len() as u32;
        let expected = recount(of_box.box_id, &open.plan.roll, options, done);
        if of_box.count != expected {
            return Err(ManyError::Differs {
                election,
                found: format!("{:?}", of_box.count),
                expected: format!("{expected:?}"),
            });
        }
        let found = done
            .iter()
            .filter(|done| of_box.ballots.contains(&done.digest))
            .count();
        if found < done.len() {
            return Err(ManyError::Lost {
                election,
                count: done.len() - found,
            });
        }
        if of_box.ballots.len() > found {
            return Err(ManyError::Foreign {
                election,
                count: of_box.ballots.len() - found,
            });
        }
    }
    Ok(done.len() as u64)
}

/// Most memory that the process ever had.
fn peak_mib(process: u32) -> Result<f64, ManyError> {
    let status =
        std::fs::read_to_string(format!("/proc/{process}/status")).map_err(os("reading a party's memory"))?;
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<f64>()
            .ok()
    });
    Ok(kib.unwrap_or_default() / 1024.0)
}

/// The command: runs in a directory below the system's temporary one, which is removed when all went well.
pub fn main_with(args: impl IntoIterator<Item = std::ffi::OsString>) -> std::process::ExitCode {
    let many = Many::parse_from(args);
    match many.in_scratch() {
        Ok(report) => {
            println!(
                "{} elections of {} voters in all, open at once after {:.0} s; {} ballots in {:.0} s; sealed, tallied and verified in {:.0} s, \
                 {:.2} a second; each equals its own recount; at most {:.0} MiB a party",
                report.elections,
                report.voters,
                report.opening_seconds,
                report.ballots,
                report.voting_seconds,
                report.counting_seconds,
                report.counted_per_second,
                report.party_peak_mib.into_iter().fold(0.0, f64::max)
            );
            if many.json {
                match serde_json::to_string(&report) {
                    Ok(line) => println!("{line}"),
                    Err(error) => eprintln!("elections: {error}"),
                }
            }
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("elections, seed {}: {error}", many.seed);
            std::process::ExitCode::FAILURE
        }
    }
}

impl Many {
    fn in_scratch(self) -> Result<Report, ManyError> {
        let root = std::env::temp_dir().join(format!("tally-elections-{}", std::process::id()));
        let program = Program::this().map_err(WorldError::from)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(os("starting a runtime"))?;
        let report = runtime.block_on(self.run(&root, program))?;
        std::fs::remove_dir_all(&root).map_err(os("removing the scratch directory"))?;
        Ok(report)
    }
}
