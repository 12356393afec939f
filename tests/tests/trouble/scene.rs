//! An election in which everybody may vote, and what its operators and voters see.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tally_party::config::Config;
use tally_party::operator::Operator;
use tally_proto::connect;
use tally_proto::wire;
use tally_tests::crowd::Crowd;
use tally_tests::process::{Program, Said};
use tally_tests::recount::{Done, recount};
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::world::{Plan, World};
use tally_tests::{published, utc};
use tokio::sync::{Semaphore, SemaphorePermit};

pub(crate) const ELECTION: &str = "weather-2027";
pub(crate) const TYPED: &str = "weather-2027\n";
pub(crate) const VOTERS: u32 = 12;
pub(crate) const OPTIONS: u32 = 3;
/// What must come about at all comes about within this, on a machine that does much else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Worlds that stand side by side: mostly they wait for their clocks.
const MOST_WORLDS: u32 = 3;
static WORLDS: Semaphore = Semaphore::const_new(MOST_WORLDS as usize);

/// A place for one world beside others.
pub(crate) async fn beside_others() -> SemaphorePermit<'static> {
    WORLDS.acquire().await.expect("a place")
}

/// All places: for what measures times.
pub(crate) async fn alone() -> SemaphorePermit<'static> {
    WORLDS.acquire_many(MOST_WORLDS).await.expect("all places")
}

pub(crate) fn plan(stations: u32) -> Plan {
    let now = SystemTime::now();
    Plan {
        election: ELECTION.to_owned(),
        title: "Weather 2027".to_owned(),
        options: ["Ada", "Ben", "Cleo"].map(str::to_owned).to_vec(),
        boxes: vec!["Cape".to_owned()],
        roll: Roll { boxes: vec![VOTERS] },
        stations,
        tickets: None,
        opens: utc::second(now - Duration::from_secs(60)),
        closes: utc::second(now + Duration::from_secs(24 * 3600)),
    }
}

pub(crate) fn program() -> Program {
    Program::at(env!("CARGO_BIN_EXE_tally-tests"))
}

/// An election in force on three running parties.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) crowd: Crowd,
    pub(crate) invitations: BTreeMap<Place, String>,
    /// Goes last: the world lies in it.
    _directory: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new(stations: u32) -> Scene {
        Scene::behind(stations, |_, listens| Ok(listens), |_| {})
    }

    /// `before`: what everybody is told in place of a listener; `edited`: changes before anything is started.
    pub(crate) fn behind(
        stations: u32,
        before: impl FnMut(usize, SocketAddr) -> io::Result<SocketAddr>,
        edited: impl FnOnce(&World),
    ) -> Scene {
        connect::install_tls_provider();
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("its path").join("world");
        let mut world =
            World::set_up_behind(&root, program(), plan(stations), &[], before).expect("everybody is set up");
        edited(&world);
        world.start().expect("the servers run");
        world.define().expect("the election is in force");
        let invitations = world.issue().expect("credentials are issued");
        let manifest = std::fs::read(world.manifest_file().expect("a manifest")).expect("readable");
        let seed = rand::rng().next_u64();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let crowd = Crowd::new(
            &manifest,
            invitations.clone(),
            &BTreeMap::<u32, PathBuf>::new(),
            &mut rng,
        );
        Scene {
            world,
            crowd: crowd.expect("a crowd"),
            invitations,
            _directory: directory,
        }
    }

    /// Each voter casts once in every turn.
    pub(crate) async fn vote(&mut self, turns: std::ops::Range<u32>) {
        let casts = casts(0..VOTERS, turns);
        self.crowd.cast_online(&casts, |_| {}).await.expect("accepted");
    }

    /// `client vote` of voter `v` with the device `state`.
    pub(crate) fn vote_by_command(&self, v: u32, choice: &str) -> Said {
        let place = Place { box_id: 1, v };
        let (manifest, path) = (self.manifest(), self.world.root.join(format!("{v}.invitation")));
        std::fs::write(&path, &self.invitations[&place]).expect("written");
        let (path, state) = (path.to_string_lossy(), format!("device-{v}"));
        let words = [
            "client",
            "vote",
            "--manifest",
            &manifest,
            "--invitation",
            &path,
            "--state",
            &state,
            "--choice",
            choice,
            "--yes",
            "--now",
            "--give-up-after",
            "30",
        ];
        self.world
            .program
            .attempt(&self.world.root, &words, "")
            .expect("it runs")
    }

    pub(crate) fn manifest(&self) -> String {
        self.world
            .manifest_file()
            .expect("a manifest")
            .to_string_lossy()
            .into_owned()
    }

    /// `party status --json` of party `i`; its exit status, what it says and what it complains about.
    pub(crate) fn status(&self, i: usize) -> (Said, Value) {
        let config = self.world.party_config(i).to_string_lossy().into_owned();
        let words = ["party", "status", "--config", &config, "--json"];
        let said = self
            .world
            .program
            .attempt(&self.world.root, &words, "")
            .expect("it runs");
        let value = serde_json::from_str(said.out.trim()).unwrap_or(Value::Null);
        (said, value)
    }

    /// The detail of an alarm that stands at party `i`, if it does.
    pub(crate) fn alarm(&self, i: usize, code: &str, about: &str) -> Option<String> {
        let (_, status) = self.status(i);
        let alarms = status["alarms"].as_array().cloned().unwrap_or_default();
        let stands = alarms
            .iter()
            .find(|alarm| alarm["code"] == code && alarm["about"] == about)?;
        Some(stands["detail"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the alarm stands with `with` in its detail.
    pub(crate) async fn await_alarm(&self, i: usize, (code, about): (&str, &str), with: &str) {
        await_that(
            &format!("{code} about {about:?} with {with:?} at P{}", i + 1),
            async || {
                self.alarm(i, code, about)
                    .is_some_and(|detail| detail.contains(with))
            },
        )
        .await;
    }

    /// Waits until the alarm stands no longer.
    pub(crate) async fn await_no_alarm(&self, i: usize, code: &str, about: &str) {
        await_that(&format!("no {code} about {about:?} at P{}", i + 1), async || {
            let (said, status) = self.status(i);
            matches!(said.status.code(), Some(0 | 2)) && {
                let alarms = status["alarms"].as_array().cloned().unwrap_or_default();
                alarms
                    .iter()
                    .all(|alarm| alarm["code"] != code || alarm["about"] != about)
            }
        })
        .await;
    }

    /// What party `i` says of the election; `None` while it does not answer.
    pub(crate) async fn asked(&self, i: usize) -> Option<wire::ElectionStatus> {
        let config = Config::load(&self.world.party_config(i)).expect("a configuration");
        let mut operator = Operator::new(&config).expect("an operator");
        let status = operator.status(ELECTION).await.ok()?;
        status.elections.into_iter().next()
    }

    pub(crate) async fn await_accepting(&self, i: usize) {
        await_that(&format!("P{} accepts", i + 1), async || {
            self.asked(i)
                .await
                .is_some_and(|status| status.intake_trouble.is_empty())
        })
        .await;
    }

    /// Waits until party `i` has nothing left to get of the log of party `of`, as far as that log goes now.
    pub(crate) async fn await_followed(&self, i: usize, of: usize) {
        let size = self.asked(of).await.expect("status").log_size;
        await_that(&format!("P{} has followed P{}", i + 1, of + 1), async || {
            let status = self.asked(i).await;
            let mut logs = status.into_iter().flat_map(|status| status.peers);
            logs.any(|log| log.party as usize == of + 1 && log.mirrored >= size && log.behind == 0)
        })
        .await;
    }

    /// What the journal of party `i` says, line by line.
    pub(crate) fn journal(&self, i: usize) -> Vec<Value> {
        let directory = self.world.root.join(format!("party-{}/data/journal", i + 1));
        let files = tally_party::journal::files(&directory).expect("a journal");
        let lines = files.iter().flat_map(|(_, path)| {
            let text = read(path);
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        lines
            .map(|line| serde_json::from_str(&line).expect("JSON"))
            .collect()
    }

    /// Closes, seals, tallies and publishes: every ballot of `done` is on the list, and the totals are the recount's.
    pub(crate) fn counted_right(&self, done: &[Done]) {
        let closed = self.world.close("All have voted").expect("orders are in force");
        if let Ok(left) = closed.duration_since(SystemTime::now()) {
            std::thread::sleep(left);
        }
        self.sealed_and_counted_right(done);
    }

    /// Seals what is closed, tallies and publishes, with the leave for more sessions given in between, which is not used.
    pub(crate) fn sealed_and_counted_right(&self, done: &[Done]) {
        let sealed = self.world.seal_without_statements().expect("sealed");
        assert!(sealed.contains("Box 1 is sealed"), "{sealed}");
        let leave = [
            "party",
            "allow-sessions",
            "--config",
            "party-1/party.toml",
            "--election",
            ELECTION,
            "--box",
            "1",
        ];
        let said = self.world.run(&leave, TYPED).expect("given");
        assert!(said.contains("3 more sessions of box 1"), "{said}");
        let journal = self.journal(0);
        let allowed = journal
            .iter()
            .find(|line| line["event"] == "sessions.allowed")
            .expect("in the journal");
        assert_eq!(
            (&allowed["election"], &allowed["box"]),
            (&Value::from(ELECTION), &Value::from(1))
        );
        self.tallied_and_counted_right(done);
    }

    /// Tallies what is sealed and publishes.
    pub(crate) fn tallied_and_counted_right(&self, done: &[Done]) {
        self.world
            .coordinator(&["tally", ELECTION], TYPED)
            .expect("tallied");
        self.world
            .coordinator(&["bundle", ELECTION], "")
            .expect("a bundle");
        let bytes = std::fs::read(self.world.bundle_file().expect("a bundle")).expect("readable");
        let published = published::read(&bytes, &self.world.plan.roll).expect("a bundle");
        assert_eq!(
            published[0].count,
            recount(1, &self.world.plan.roll, OPTIONS, done)
        );
        for done in done {
            assert!(
                published[0].ballots.contains(&done.digest),
                "an acknowledged ballot is lost"
            );
        }
    }
}

/// Each of these voters casts once in every turn.
pub(crate) fn casts(voters: std::ops::Range<u32>, turns: std::ops::Range<u32>) -> Vec<Cast> {
    turns
        .flat_map(|turn| {
            voters.clone().map(move |v| Cast {
                device: v,
                place: Place { box_id: 1, v },
                way: Way::Online,
                choice: 1 + (v * 7 + turn) % OPTIONS,
            })
        })
        .collect()
}

pub(crate) async fn await_that(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !holds().await {
        assert!(
            since.elapsed() < DEADLINE,
            "{what}: not so after {} s",
            DEADLINE.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All of the words are in the text.
pub(crate) fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
