//! An election in the shape of Tsukuba's vote of 2019 on real processes: eleven proposals, of which one is chosen; voting from home by those
//! whom the roll allows it, early stations on five days, a hall and paper on the final day. Its days last seconds. Every way of voting is
//! tried outside its hours too, and the result is that of a recount in the clear.

use std::time::{Duration, Instant, SystemTime};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_proto::reason::Reason;
use tally_tests::crowd::{Crowd, CrowdError};
use tally_tests::process::Program;
use tally_tests::recount::{Done, recount};
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::world::{Plan, World};
use tally_tests::{published, utc};

#[path = "channels/lying.rs"]
mod lying;

const ELECTION: &str = "proposals-2019";
const TYPED: &str = "proposals-2019\n";
const PROPOSALS: u32 = 11;
const VOTERS: u32 = 40;
/// Voters at home, who do not vote online this year.
const AT_HOME: std::ops::Range<u32> = 20..40;
/// At home; tries online with a code that nobody issued.
const TRIES: u32 = 25;
/// At home; the registrar issues a code all the same.
const FAVOURED: u32 = 26;
const DAY: Duration = Duration::from_secs(12);
const NIGHT: Duration = Duration::from_secs(3);
/// Votes at the desk of an early station.
const AT_DESK: u32 = 28;
/// The station of the early days, that of the hall, and another one of the early days, with an officer at its desk.
const EARLY: u32 = 1;
const HALL: u32 = 2;
const DESK: u32 = 3;

fn cast(v: u32, way: Way, choice: u32) -> Cast {
    Cast {
        device: match way {
            Way::Station(id) | Way::Paper(id) => 9_000 + id,
            Way::Online | Way::FalseOnline => v,
        },
        place: Place { box_id: 1, v },
        way,
        choice,
    }
}

/// The six days, in seconds of the clock.
struct Calendar {
    days: Vec<(SystemTime, SystemTime)>,
}

impl Calendar {
    fn beginning(first: SystemTime) -> Self {
        let days = (0..6).map(|day| {
            let opens = first + (DAY + NIGHT) * day;
            (opens, opens + DAY)
        });
        Self { days: days.collect() }
    }

    fn openings(&self, days: std::ops::Range<usize>) -> String {
        let openings = self.days[days].iter().map(|(opens, closes)| {
            format!(
                "{{ opens = {:?}, closes = {:?} }}",
                utc::second(*opens),
                utc::second(*closes)
            )
        });
        openings.collect::<Vec<_>>().join(", ")
    }

    /// The election file with this calendar, and the roll with voters at home.
    fn edit(&self, toml: &str, roll: &str) -> (String, String) {
        let head = toml.split("\n[[channel]]").next().expect("a beginning");
        let stations = toml.split("\n[[station]]").skip(1);
        let mut text = head.to_owned();
        let until = utc::second(self.days[5].1 + NIGHT);
        let (early, hall, any) = (self.openings(0..5), self.openings(5..6), self.openings(0..6));
        let home = format!(
            "{{ opens = {:?}, closes = {:?} }}",
            utc::second(self.days[0].0),
            utc::second(self.days[4].1)
        );
        for (kind, openings) in [("online", &home), ("station", &any), ("paper", &hall)] {
            text += &format!(
                "\n[[channel]]\nkind = {kind:?}\nname = {kind:?}\ntime_zone = \"UTC\"\nopenings = [{openings}]\n"
            );
            text += &format!("receive_until = {until:?}\n");
        }
        for (station, own) in stations.zip([&early, &hall, &early]) {
            text += &format!("\n[[station]]{station}openings = [{own}]\n");
        }
        let mut roll = roll.to_owned();
        for v in AT_HOME {
            let reference = format!("B1-{:06}", v + 1);
            roll = roll.replace(&format!("{reference},yes"), &format!("{reference},no"));
        }
        (text, roll)
    }

    async fn until(&self, at: SystemTime) {
        if let Ok(left) = at.duration_since(SystemTime::now()) {
            tokio::time::sleep(left).await;
        }
    }

    /// Waits for the morning of a day; a second after it, since times are told to the second.
    async fn morning(&self, day: usize) {
        self.until(self.days[day].0 + Duration::from_secs(1)).await;
        assert!(
            SystemTime::now() < self.days[day].1,
            "this machine is too slow for days of {DAY:?}"
        );
    }

    async fn night(&self, day: usize) {
        self.until(self.days[day].1 + Duration::from_secs(1)).await;
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// What the desk of the early station says to what is typed.
fn sit(world: &World, typed: &[&str]) -> String {
    let manifest = world.manifest_file().expect("a manifest");
    let manifest = manifest.to_string_lossy();
    let dir = format!("station-{DESK}");
    let words = [
        "client",
        "station",
        "desk",
        "--dir",
        &dir,
        "--roll",
        "election/roll.csv",
        "--manifest",
        &manifest,
    ];
    let typed: String = typed.iter().map(|line| format!("{line}\n")).collect();
    let said = world.program.attempt(&world.root, &words, &typed);
    let said = said.expect("it runs");
    assert!(said.status.success(), "{said:?}");
    said.out
}

/// What a vote that is cast at the wrong time is told.
fn told(outcome: Result<(), CrowdError>) -> String {
    outcome.expect_err("outside its hours").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn eleven_proposals_three_ways_five_early_days_and_a_final_one() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    tally_proto::connect::install_tls_provider();
    let root = tempfile::tempdir().expect("a directory");
    let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
    let now = SystemTime::now();
    let plan = Plan {
        election: ELECTION.to_owned(),
        title: "Vote on proposals".to_owned(),
        options: (1..=PROPOSALS).map(|n| format!("Proposal {n}")).collect(),
        boxes: vec!["City".to_owned()],
        roll: Roll { boxes: vec![VOTERS] },
        stations: 3,
        tickets: None,
        opens: utc::second(now),
        closes: utc::second(now + DAY),
    };
    let began = Instant::now();
    let mut world = World::set_up(root.path(), program, plan).expect("set up");
    world.start().expect("servers");
    // Setting up took more commands than bringing the election into force does.
    let calendar = Calendar::beginning(SystemTime::now() + began.elapsed() + Duration::from_secs(12));
    world
        .define_edited(|toml, roll| calendar.edit(&toml, &roll))
        .expect("in force");
    let mut invitations = world.issue().expect("invitations");
    assert_eq!(invitations.len(), AT_HOME.start as usize, "who may vote online");
    let manifest = std::fs::read(world.manifest_file().expect("a manifest")).expect("readable");
    let favoured = cast(FAVOURED, Way::Online, 11);
    let (code, said) = lying::issues(&world, &manifest, favoured.place).await;
    assert_eq!(said, [Reason::VoterStationOnly; 3]);
    invitations.insert(favoured.place, code);
    let mut rng = StdRng::seed_from_u64(2019);
    let mut stations = world.station_dirs();
    stations.remove(&DESK);
    let mut crowd = Crowd::new(&manifest, invitations, &stations, &mut rng).expect("a crowd");
    assert!(
        SystemTime::now() < calendar.days[0].0,
        "the first day has not come"
    );

    let says = told(crowd.cast_online(&[cast(0, Way::Online, 1)], |_| ()).await);
    assert!(says.contains("but the online channel opens at 2"), "{says}");
    let says = told(
        crowd
            .vote_at_stations(&[cast(30, Way::Station(EARLY), 1)], |_| ())
            .await,
    );
    assert!(
        says.contains("station 1 has hours of its own and opens at 2"),
        "{says}"
    );
    for day in 0..5u32 {
        calendar.morning(day as usize).await;
        // Voter 0 revotes every day; voters 4, 5, 6 ... vote once, the last but one of the day with a made-up invitation.
        let online = [
            cast(0, Way::Online, 1 + day),
            cast(4 + 2 * day, Way::Online, 1 + day * 2),
            cast(5 + 2 * day, Way::FalseOnline, 11),
        ];
        crowd.cast_online(&online, |_| ()).await.expect("cast");
        if day == 2 {
            // Voters at home vote online, who may not: accepted as any ballot, since nobody sees whose it is.
            let away = [cast(TRIES, Way::FalseOnline, 11), favoured];
            crowd.cast_online(&away, |_| ()).await.expect("cast");
        }
        // Voters at home come to the early station; voters 1 and 2 as well, on the first day.
        let mut early = vec![cast(20 + day, Way::Station(EARLY), 6 + day)];
        if day == 0 {
            early.extend([1, 2, 3].map(|v| cast(v, Way::Station(EARLY), 3)));
        }
        crowd.vote_at_stations(&early, |_| ()).await.expect("cast");
        let says = told(
            crowd
                .vote_at_stations(&[cast(31, Way::Station(HALL), 1)], |_| ())
                .await,
        );
        assert!(
            says.contains("station 2 has hours of its own and opens at 2"),
            "{says}"
        );
        if day == 3 {
            // At the other early station, voter 8, whose online vote of the day before stands, asks for paper in vain; another one votes.
            let online = format!("B1-{:06}", 8 + 1);
            let at_desk = format!("B1-{:06}", AT_DESK + 1);
            let opens = ["A. Berg", "1"];
            let asks = ["1", &online, "2", "0"];
            let votes = ["1", &at_desk, "1", "4", "1", "0"];
            let said = sit(&world, &[&opens[..], &asks, &votes, &["0"]].concat());
            for words in [
                "By the manifest the paper channel opens at 2",
                "Give nobody a paper ballot now.",
                "Type 1 or 0 and press Enter.",
                "Votes: 1 electronic, 0 paper.",
                "Everything is delivered to all three parties.",
            ] {
                assert!(said.contains(words), "{words}\n{said}");
            }
            assert!(!said.contains("give the voter a paper ballot"), "{said}");
            assert!(
                !said.contains("A vote outside the hours does not count"),
                "{said}"
            );
        }
        if day == 1 {
            // An online vote after one at a station: the station's stands.
            crowd
                .cast_online(&[cast(1, Way::Online, 9)], |_| ())
                .await
                .expect("cast");
            calendar.night(1).await;
            let says = told(
                crowd
                    .vote_at_stations(&[cast(32, Way::Station(EARLY), 1)], |_| ())
                    .await,
            );
            assert!(
                says.contains("station 1 has hours of its own and opens at 2"),
                "{says}"
            );
            crowd
                .cast_online(&[cast(16, Way::Online, 4)], |_| ())
                .await
                .expect("at night too");
        }
    }
    calendar.morning(5).await;
    let says = told(crowd.cast_online(&[cast(17, Way::Online, 1)], |_| ()).await);
    assert!(says.contains("but the online channel closed at 2"), "{says}");
    let says = told(
        crowd
            .vote_at_stations(&[cast(33, Way::Station(EARLY), 1)], |_| ())
            .await,
    );
    assert!(
        says.contains("station 1 has hours of its own and has closed for good"),
        "{says}"
    );
    // Voter 2 was at the early station and comes to the hall; 3 and 0 vote on paper, and so does voter 24 after the early station.
    let hall = [
        cast(2, Way::Station(HALL), 10),
        cast(3, Way::Paper(HALL), 0),
        cast(0, Way::Paper(HALL), 0),
        cast(24, Way::Paper(HALL), 0),
        cast(34, Way::Station(HALL), 7),
        cast(35, Way::Station(HALL), 7),
    ];
    crowd.vote_at_stations(&hall, |_| ()).await.expect("cast");
    calendar
        .until(calendar.days[5].1 + NIGHT + Duration::from_secs(1))
        .await;

    let mut statements = crowd.close_stations().expect("signed");
    sit(&world, &["3", "1", "1", "0"]);
    let statement = root.path().join(format!("station-{DESK}/{ELECTION}.sign-ins"));
    statements.insert(DESK, std::fs::read_to_string(statement).expect("signed"));
    world.take_statements(&statements).expect("taken over");
    for command in ["seal", "tally", "bundle"] {
        world.coordinator(&[command, ELECTION], TYPED).expect(command);
    }
    let bundle = std::fs::read(world.bundle_file().expect("a bundle")).expect("readable");
    let published = published::read(&bundle, &world.plan.roll).expect("a result");
    let of_favoured = |done: &Done| done.cast.place.v == FAVOURED;
    assert!(crowd.done().iter().any(of_favoured));
    let mut by_law: Vec<Done> = crowd
        .done()
        .iter()
        .filter(|done| !of_favoured(done))
        .cloned()
        .collect();
    by_law.push(Done {
        cast: cast(AT_DESK, Way::Station(DESK), 4),
        cast_at_s: seconds(calendar.days[3].0),
        digest: [0; 32],
        name: String::new(),
        sequence: 1,
    });
    let counted = recount(1, &world.plan.roll, PROPOSALS, &by_law);
    assert_eq!(published[0].count, counted);
    // Voters 4, 6 ... 12 and 16 online; 20 to 23, 28 and 1 early; 2, 34, 35 in the hall.
    assert_eq!((counted.online, counted.station), (6, 9));
    assert_eq!(counted.totals, [1, 0, 2, 2, 1, 1, 4, 1, 2, 1, 0]);
    assert_eq!(published[0].ballots.len(), crowd.done().len() + 1);
}
