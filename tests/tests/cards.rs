//! Whole elections of people who enrol with identity cards, on real processes: a closed roll and an open one. They enrol by PKCS#12 files and by
//! SoftHSM tokens with the real command, vote, vote again, vote at a station; some enrol again; then seal, tally, bundle, offline verification and
//! three audits. The totals are those of a recount in the clear.

mod soft_hsm;
#[path = "cards/tickets.rs"]
mod tickets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use soft_hsm::{PASSWORD, PIN, make_token, pkcs12, soft_hsm};
use tally_client::read_invitation;
use tally_proto::fixture::cards::{self, CardKey, CardShape, DAY, POLICY, REGISTER, called};
use tally_tests::crowd::Crowd;
use tally_tests::process::{Program, Said};
use tally_tests::recount::{Done, recount};
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::world::{Plan, World};
use tally_tests::{published, utc};

/// People with cards, and numbers of the roll; one of the open roll's is nobody's.
const PEOPLE: u32 = 12;
const OPTIONS: u32 = 3;

fn plan(election: &str) -> Plan {
    let opens = SystemTime::now() - Duration::from_secs(60);
    Plan {
        election: election.to_owned(),
        title: "Fishing grounds 2027".to_owned(),
        options: ["Ada", "Ben", "Cleo"].map(str::to_owned).to_vec(),
        boxes: vec!["Bay".to_owned()],
        roll: Roll { boxes: vec![PEOPLE] },
        stations: 1,
        tickets: None,
        opens: utc::second(opens),
        closes: utc::second(opens + Duration::from_secs(20 * 3600)),
    }
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

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

/// An election, the authority of its cards, and what each person has.
struct Scene {
    world: World,
    cards: cards::Cards,
    open: bool,
    /// Whether a registrar sends invitations too.
    invites: bool,
    made: BTreeMap<u32, PathBuf>,
}

impl Scene {
    fn new(root: &Path, election: &str, open: bool) -> Self {
        let scene = Self::set_up(root, plan(election), open);
        scene.define();
        scene
    }

    /// Before anything is defined.
    fn set_up(root: &Path, plan: Plan, open: bool) -> Self {
        let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
        let mut world = World::set_up(root, program, plan).expect("everybody is set up");
        world.start().expect("the servers run");
        Self {
            cards: cards::Cards::new(now_s()),
            world,
            open,
            invites: false,
            made: BTreeMap::new(),
        }
    }

    /// With a register that the parties have agreed on, and the authority's revocation list at each of them.
    fn define(&self) {
        self.define_with(REGISTER, 0..PEOPLE);
    }

    /// The same for people in that order on the roll, where it is closed.
    fn define_with(&self, of_register: &str, people: impl Iterator<Item = u32>) {
        let world = &self.world;
        let mut register = vec!["register".to_owned(), of_register.to_owned()];
        for i in 1..=3 {
            let lists = world.root.join(format!("party-{i}/revocation"));
            std::fs::create_dir_all(&lists).expect("a directory");
            let list = self.cards.revocations(&[], now_s() - 60, now_s() + DAY);
            std::fs::write(lists.join("cards.crl"), list).expect("written");
            register.push(format!("party-{i}/party-{i}.identity.toml"));
        }
        let register: Vec<&str> = register.iter().map(String::as_str).collect();
        world.coordinator(&register, "").expect("agreed on");
        let election = world.root.join("election");
        std::fs::create_dir_all(&election).expect("a directory");
        for (name, der) in [
            ("root.der", &self.cards.root),
            ("issuing.der", &self.cards.issuing),
        ] {
            std::fs::write(election.join(name), der).expect("written");
        }
        let (opens, closes) = (&world.plan.opens, &world.plan.closes);
        let enrolment = format!(
            "\n[enrolment]\nregister = {of_register:?}\nroots = [\"root.der\"]\nissuers = [\"issuing.der\"]\n\
             person = {{ subject = \"serialNumber\", prefix = \"PNOEE-\" }}\nkey_usage = [\"digital-signature\"]\n\
             extended_key_usage = [\"clientAuth\"]\npolicies = [{POLICY:?}]\nopens = {opens:?}\ncloses = {closes:?}\ntime_zone = \"UTC\"\n"
        );
        let open_roll = format!("kind = \"open\"\nmost = 40\nfreezes = {closes:?}\ntime_zone = \"UTC\"");
        let mut roll = String::from("box,reference,online,person\n");
        for person in people {
            // Who has no card is invited.
            let called = if self.invites && person >= tickets::WITH_CARDS {
                String::new()
            } else {
                called(1, person)
            };
            roll += &format!("1,{},yes,{called}\n", name_on_roll(person));
        }
        world
            .define_edited(|toml, _| {
                let post = "registrars = [\"registrar.identity.toml\"]";
                let closed = "file = \"roll.csv\"\nkind = \"closed\"";
                assert!(toml.contains(post) && toml.contains(closed), "{toml}");
                let toml = if self.invites {
                    toml
                } else {
                    toml.replace(post, "registrars = []")
                };
                let toml = if self.open {
                    toml.replace(closed, &open_roll)
                } else {
                    toml
                };
                (toml + &enrolment, roll)
            })
            .expect("the election is in force");
    }

    fn election(&self) -> &str {
        &self.world.plan.election
    }

    fn manifest(&self) -> String {
        let file = self.world.manifest_file().expect("a manifest");
        file.to_string_lossy().into_owned()
    }

    /// A card of `person`.
    fn card(&mut self, person: u32, key: CardKey) -> cards::Card {
        self.cards.card(&CardShape::of(&called(1, person), key, now_s()))
    }

    /// `client enrol` with this kind of card, which writes the invitation to a file of that name.
    fn enrol(&self, card: &[&str], typed: &str, out: &str) -> Said {
        let manifest = self.manifest();
        let words = ["client", "enrol", "--manifest", &manifest, "--out", out];
        let words = [&words[..], card].concat();
        let typed = format!("{typed}\n");
        self.world
            .program
            .attempt(&self.world.root, &words, &typed)
            .expect("it runs")
    }

    /// The same with the PKCS#12 file of `person`, which is made now where there is none.
    fn enrol_by_file(&mut self, person: u32, out: &str) -> Said {
        if !self.made.contains_key(&person) {
            let card = self.card(person, CardKey::P256);
            let path = pkcs12(&self.world.root, &self.cards.issuing, &card);
            self.made.insert(person, path);
        }
        let path = self.made[&person].to_string_lossy().into_owned();
        self.enrol(&["--pkcs12", &path], PASSWORD, out)
    }

    /// The same with a new token.
    fn enrol_by_token(&mut self, person: u32, key: CardKey, out: &str) -> Said {
        let (module, tool) = soft_hsm();
        let label = format!("{}-{person}", self.election());
        let card = self.card(person, key);
        let shape = CardShape {
            authentication: false,
            ..CardShape::of(&called(1, person), key, now_s())
        };
        let other = self.cards.card(&shape);
        {
            let _one = tokens().lock().unwrap_or_else(PoisonError::into_inner);
            make_token(&tool, &module, &label, &self.world.root, &card, &other);
        }
        let module = module.to_string_lossy().into_owned();
        self.enrol(&["--pkcs11", &module, "--token", &label], PIN, out)
    }

    /// The place and the code in an invitation that was written.
    fn invitation(&self, out: &str) -> (Place, String) {
        let code = std::fs::read_to_string(self.world.root.join(out)).expect("written");
        let invitation = read_invitation(&[code.trim()]).expect("an invitation");
        let place = Place {
            box_id: invitation.of_box().get(),
            v: invitation.voter().get(),
        };
        (place, code.trim().to_owned())
    }
}

fn name_on_roll(person: u32) -> String {
    format!("B1-{:06}", person + 1)
}

/// The directory of SoftHSM's tokens, for this process and those that it starts; held while a token is made.
fn tokens() -> &'static Mutex<tempfile::TempDir> {
    static TOKENS: OnceLock<Mutex<tempfile::TempDir>> = OnceLock::new();
    TOKENS.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let conf = directory.path().join("softhsm2.conf");
        let at = directory.path().join("tokens");
        std::fs::create_dir_all(&at).expect("a directory");
        std::fs::write(&conf, format!("directories.tokendir = {}\n", at.display())).expect("written");
        #[expect(
            unsafe_code,
            reason = "SoftHSM takes its directory from the environment; set once, and nothing else of this program reads this variable"
        )]
        unsafe {
            std::env::set_var("SOFTHSM2_CONF", &conf);
        }
        Mutex::new(directory)
    })
}

fn succeeded(said: &Said) {
    assert!(said.status.success(), "{}{}", said.out, said.err);
}

/// Waits for the next second: a card record's serial is its second.
async fn next_second() {
    let now = now_s();
    while now_s() == now {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Everything but what the two rolls differ in. `invitations` by person; `dead`: a number of the roll that nobody has; `struck`: the person whose
/// online votes an order strikes.
async fn vote_and_tally(
    mut scene: Scene,
    people: BTreeMap<u32, (Place, String)>,
    old: &str,
    dead: Option<u32>,
    struck: (u32, &str),
) {
    let election = scene.election().to_owned();
    let manifest = std::fs::read(scene.manifest()).expect("readable");
    let v: BTreeMap<u32, u32> = people
        .iter()
        .map(|(person, (place, _))| (*person, place.v))
        .collect();
    let invitations: BTreeMap<Place, String> = people.values().cloned().collect();
    assert_eq!(
        invitations.len(),
        PEOPLE as usize,
        "everybody has a place of their own"
    );
    let mut rng = StdRng::seed_from_u64(5);
    let stations = scene.world.station_dirs();
    let mut crowd = Crowd::new(&manifest, invitations, &stations, &mut rng).expect("a crowd");
    let choice = |person: u32, turn: u32| 1 + (person * 5 + turn) % OPTIONS;
    let online = |people: std::ops::Range<u32>, turn, way| -> Vec<Cast> {
        people
            .map(|person| cast(v[&person], way, choice(person, turn)))
            .collect()
    };
    // All but one vote online, some again, some with a credential handed to somebody who stands behind them.
    for casts in [
        online(0..11, 0, Way::Online),
        online(2..6, 1, Way::Online),
        online(4..8, 2, Way::FalseOnline),
    ] {
        crowd.cast_online(&casts, |_| {}).await.expect("accepted");
    }
    // Two vote at the station too and one on paper; one at the station only. Then one of them online once more.
    let mut at_station = vec![
        cast(v[&0], Way::Station(1), choice(0, 1)),
        cast(v[&1], Way::Station(1), choice(1, 1)),
        cast(v[&2], Way::Paper(1), 0),
        cast(v[&11], Way::Station(1), choice(11, 0)),
    ];
    at_station.extend(dead.map(|v| cast(v, Way::Station(1), 1)));
    crowd
        .vote_at_stations(&at_station, |_| {})
        .await
        .expect("delivered");
    crowd
        .cast_online(&online(0..1, 2, Way::Online), |_| {})
        .await
        .expect("accepted");
    // The credential of before the second enrolment behaves as any, and does not count.
    let voted = scene.world.program.attempt(
        &scene.world.root,
        &[
            "client",
            "vote",
            "--manifest",
            &scene.manifest(),
            "--invitation",
            old,
            "--state",
            "old-device",
            "--choice",
            "Ada",
            "--yes",
            "--give-up-after",
            "30",
            "--now",
        ],
        "",
    );
    succeeded(&voted.expect("it runs"));

    let closed = scene.world.close("All have voted").expect("orders are in force");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    let typed = format!("{election}\n");
    let strike = [
        "order",
        &election,
        "--reason",
        "A court's decision.",
        "strike",
        "--voter",
        struck.1,
    ];
    scene.world.coordinator(&strike, &typed).expect("an order");
    scene.world.countersign().expect("countersigned");
    scene
        .world
        .coordinator(&["complete", &election], &typed)
        .expect("in force");

    scene.world.seal_without_statements().expect("sealed");
    scene
        .world
        .coordinator(&["tally", &election], &typed)
        .expect("tallied");
    scene
        .world
        .coordinator(&["bundle", &election], "")
        .expect("a bundle");
    let (bundle, manifest) = (scene.world.bundle_file().expect("a bundle"), scene.manifest());
    let bundle_path = bundle.to_string_lossy().into_owned();
    let verify = ["verify-result", &bundle_path, "--manifest", &manifest];
    let said = scene.world.coordinator(&verify, "").expect("verified");
    let voters = PEOPLE + u32::from(dead.is_some());
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains(&format!("{PEOPLE} of {voters} voters live")),
        "{said}"
    );

    let counted: Vec<_> = crowd
        .done()
        .iter()
        .filter(|done| {
            Some(done.cast.place.v) != dead
                && (done.cast.place.v != v[&struck.0] || done.cast.way != Way::Online)
        })
        .cloned()
        .collect();
    let expected = recount(1, &Roll { boxes: vec![voters] }, OPTIONS, &counted);
    assert_eq!((expected.online, expected.station), (7, 3));
    // The body of an open roll has no online column.
    let column = Roll {
        boxes: vec![if scene.open { 0 } else { PEOPLE }],
    };
    let bytes = std::fs::read(&bundle).expect("readable");
    let published = published::read(&bytes, &column).expect("a bundle");
    assert_eq!(published[0].count, expected);
    for done in crowd.done() {
        assert!(
            published[0].ballots.contains(&done.digest),
            "an acknowledged ballot is lost"
        );
    }
    // The bundle names nobody.
    let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(!holds("3800101") && !holds("B1-0000"));
    assert!(
        holds("PNOEE-"),
        "what is searched for would be found: the manifest says how names begin"
    );

    for i in 0..3 {
        scene.world.stop_party(i).expect("stopped");
    }
    let statements = scene.world.audit(1).expect("three audits that find nothing");
    let mut verify = verify.map(str::to_owned).to_vec();
    for statement in &statements {
        verify.extend(["--statement".to_owned(), statement.to_string_lossy().into_owned()]);
    }
    let verify: Vec<&str> = verify.iter().map(String::as_str).collect();
    scene
        .world
        .coordinator(&verify, "")
        .expect("verified with statements");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_roll_by_card() {
    tally_proto::connect::install_tls_provider();
    let _ = tokens();
    let directory = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::new(&directory.path().join("world"), "grounds-closed", false);
    let mut people = BTreeMap::new();
    for person in 0..PEOPLE {
        let out = format!("code-{person}");
        let said = match person {
            0 => scene.enrol_by_token(person, CardKey::Rsa2048, &out),
            1 => scene.enrol_by_token(person, CardKey::P384, &out),
            _ => scene.enrol_by_file(person, &out),
        };
        succeeded(&said);
        let invitation = scene.invitation(&out);
        assert_eq!(invitation.0.v, person, "the place on the roll");
        people.insert(person, invitation);
    }
    next_second().await;
    succeeded(&scene.enrol_by_file(3, "code-3-again"));
    people.insert(3, scene.invitation("code-3-again"));
    let refused = scene.enrol_by_file(PEOPLE, "code-stranger");
    assert!(
        !refused.status.success() && refused.err.contains("not on the roll"),
        "{}",
        refused.err
    );
    let name = name_on_roll(9);
    vote_and_tally(scene, people, "code-3", None, (9, &name)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_roll() {
    tally_proto::connect::install_tls_provider();
    let _ = tokens();
    let directory = tempfile::tempdir().expect("a directory");
    // With tickets: each draws with the draw code that the card stands for.
    let plan = Plan {
        tickets: Some((6, 2)),
        ..plan("grounds-open")
    };
    let mut scene = Scene::set_up(&directory.path().join("world"), plan, true);
    scene.define();
    scene.give_the_commission_lists();
    let election = scene.election().to_owned();
    // They come in another order than that of the roll of the same people.
    let mut people = BTreeMap::new();
    for person in (0..PEOPLE).rev() {
        if person == 5 {
            // Somebody begins while a party is away: a number is given, and nobody is enrolled.
            scene.world.stop_party(2).expect("stopped");
            let said = scene.enrol_by_file(77, "code-77");
            assert!(
                !said.status.success() && said.err.contains("not enrolled"),
                "{}",
                said.err
            );
            scene.world.start_party(2).expect("started");
            // Started is not ready: it first asks the others whether its store is the newest.
            let begun = Instant::now();
            while !scene.enrol_by_file(5, "code-5").status.success() {
                assert!(begun.elapsed() < Duration::from_secs(60), "P3 takes nothing");
                next_second().await;
            }
            people.insert(5, scene.invitation("code-5"));
            continue;
        }
        let out = format!("code-{person}");
        let said = match person {
            0 => scene.enrol_by_token(person, CardKey::Rsa2048, &out),
            _ => scene.enrol_by_file(person, &out),
        };
        succeeded(&said);
        people.insert(person, scene.invitation(&out));
    }
    next_second().await;
    succeeded(&scene.enrol_by_file(3, "code-3-again"));
    let again = scene.invitation("code-3-again");
    assert_eq!(again.0, people[&3].0, "the number of before");
    people.insert(3, again);
    let given: Vec<u32> = people.values().rev().map(|(place, _)| place.v).collect();
    assert_eq!(given, [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]);

    let status = scene
        .world
        .attempt(&["status", &election], "")
        .expect("it runs")
        .out;
    assert!(
        status.contains("Open roll of Bay: numbers given P1 13, P2 13, P3 13, of at most 40"),
        "{status}"
    );
    let strike = [
        "order",
        &election,
        "--reason",
        "Too early.",
        "strike",
        "--voter",
        "PNOEE-38001011009",
    ];
    let early = scene.world.attempt(&strike, "grounds-open\n").expect("it runs");
    assert!(
        early.err.contains("run `coordinator open-roll` first"),
        "{}",
        early.err
    );
    let said = scene
        .world
        .coordinator(&["open-roll", &election], "")
        .expect("fetched");
    assert!(
        said.contains("13 voters are on the open roll")
            && said.contains("P3 Data Protection Authority does not have 1 of them")
            && said.contains("(the first: 6)"),
        "{said}"
    );
    let csv = scene
        .world
        .root
        .join("coordinator/elections/grounds-open/open-roll.tsv");
    let roll = std::fs::read_to_string(csv).expect("readable");
    for (person, (place, _)) in &people {
        let line = format!("{}\t{}\t123\n", place.v, called(1, *person));
        assert!(roll.contains(&line), "{line} in {roll}");
    }
    // Its title, three heads, and whom P3 was away for.
    assert!(roll.contains(&format!("6\t{}\t12\n", called(1, 77))), "{roll}");
    assert_eq!(roll.lines().count(), 1 + PEOPLE as usize + 1 + 3);
    let name = called(1, 9);
    vote_and_tally(scene, people, "code-3", Some(6), (9, &name)).await;
}

impl Scene {
    /// `client carry-over` of the code in the file `code` of election `from` into the election of now.
    fn carry_over(&self, from: &str, code: &str, reference: &str, out: &str) -> Said {
        let manifest = self.manifest();
        let election = self.election();
        let (from, roll) = (
            format!("coordinator/elections/{from}/manifest"),
            format!("coordinator/elections/{election}/roll.csv"),
        );
        let words = [
            "client",
            "carry-over",
            "--manifest",
            &manifest,
            "--from",
            &from,
            "--invitation",
            code,
            "--roll",
            &roll,
            "--reference",
            reference,
            "--out",
            out,
        ];
        self.world
            .program
            .attempt(&self.world.root, &words, "")
            .expect("it runs")
    }

    /// Closes, seals, tallies and bundles the election of now, and compares with what counts of `done`.
    async fn count(&self, done: &[Done], counts: impl Fn(&Done) -> bool) {
        let election = self.election().to_owned();
        let typed = format!("{election}\n");
        let closed = self.world.close("All have voted").expect("orders are in force");
        if let Ok(left) = closed.duration_since(SystemTime::now()) {
            tokio::time::sleep(left).await;
        }
        self.world.seal_without_statements().expect("sealed");
        self.world
            .coordinator(&["tally", &election], &typed)
            .expect("tallied");
        self.world
            .coordinator(&["bundle", &election], "")
            .expect("a bundle");
        let (bundle, manifest) = (self.world.bundle_file().expect("a bundle"), self.manifest());
        let path = bundle.to_string_lossy().into_owned();
        self.world
            .coordinator(&["verify-result", &path, "--manifest", &manifest], "")
            .expect("verified");
        let counted: Vec<Done> = done.iter().filter(|done| counts(done)).cloned().collect();
        let roll = Roll { boxes: vec![PEOPLE] };
        let published = published::read(&std::fs::read(&bundle).expect("readable"), &roll).expect("a bundle");
        assert_eq!(published[0].count, recount(1, &roll, OPTIONS, &counted));
        for done in done {
            assert!(published[0].ballots.contains(&done.digest), "a ballot is lost");
        }
    }
}

/// Waits until the parties take ballots: the channel opens at a second that was chosen before the election was defined.
async fn opened(opens: SystemTime) {
    if let Ok(left) = opens.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
}

/// Everybody enrols in the first election and votes in both; in the second without the card. There people have other numbers.
#[tokio::test(flavor = "multi_thread")]
async fn enrolled_once_and_votes_in_two_elections_of_a_register() {
    tally_proto::connect::install_tls_provider();
    let _ = tokens();
    let directory = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::new(&directory.path().join("world"), "grounds-first", false);
    let mut first = BTreeMap::new();
    for person in 0..PEOPLE {
        let out = format!("code-{person}");
        succeeded(&scene.enrol_by_file(person, &out));
        let (place, code) = scene.invitation(&out);
        assert_eq!(place.v, person);
        first.insert(place, code);
    }
    let decoy = scene
        .world
        .run(&["client", "decoy", "--invitation", "code-4"], "")
        .expect("a decoy");
    std::fs::write(scene.world.root.join("decoy-4"), decoy).expect("written");

    // Another register, of the same people and parties; and the second election of the first one's.
    let second_number = |person: u32| PEOPLE - 1 - person;
    let later = |election: &str, opens: SystemTime| Plan {
        election: election.to_owned(),
        title: "Harbour dues 2027".to_owned(),
        opens: utc::second(opens),
        closes: utc::second(opens + Duration::from_secs(20 * 3600)),
        ..plan(election)
    };
    let own_plan = std::mem::replace(
        &mut scene.world.plan,
        later("grounds-other", SystemTime::now() + Duration::from_secs(3600)),
    );
    scene.define_with("fishers", 0..PEOPLE);
    let refused = scene.carry_over("grounds-first", "code-0", &name_on_roll(0), "never");
    assert_eq!(refused.status.code(), Some(3));
    assert!(
        refused
            .err
            .contains("register citizens, election grounds-other is of the register fishers"),
        "{}",
        refused.err
    );
    assert!(refused.err.contains("(card.register)") && !scene.world.root.join("never").exists());

    // What was enrolled before it opens is taken over, whenever that happens.
    let opens = SystemTime::now() + Duration::from_secs(20);
    scene.world.plan = later("grounds-second", opens);
    scene.define_with(REGISTER, (0..PEOPLE).rev());
    let mut second = BTreeMap::new();
    for person in 0..PEOPLE {
        let (code, out) = (format!("code-{person}"), format!("second-{person}"));
        let said = scene.carry_over("grounds-first", &code, &name_on_roll(person), &out);
        succeeded(&said);
        let (place, code) = scene.invitation(&out);
        assert_eq!(place.v, second_number(person), "the number on the second roll");
        second.insert(place, code);
    }
    succeeded(&scene.carry_over("grounds-first", "decoy-4", &name_on_roll(4), "second-decoy-4"));
    // What the commission's roll does not have, and a roll that is not the manifest's.
    let nobody = scene.carry_over("grounds-first", "code-0", "B1-999999", "never");
    assert!(nobody.err.contains("(voter.unknown)"), "{}", nobody.err);
    let other = scene.carry_over("grounds-second", "code-0", &name_on_roll(0), "never");
    assert!(other.err.contains("(invitation.invalid)"), "{}", other.err);

    let mut rng = StdRng::seed_from_u64(6);
    let stations = scene.world.station_dirs();
    let nowhere = BTreeMap::<u32, PathBuf>::new();
    let in_first = std::fs::read(
        scene
            .world
            .root
            .join("coordinator/elections/grounds-first/manifest"),
    );
    let mut at_first = Crowd::new(&in_first.expect("readable"), first, &nowhere, &mut rng).expect("a crowd");
    let in_second = std::fs::read(scene.manifest()).expect("readable");
    let mut at_second = Crowd::new(&in_second, second, &stations, &mut rng).expect("a crowd");
    let choice = |person: u32, turn: u32| 1 + (person * 5 + turn) % OPTIONS;
    let first_casts: Vec<Cast> = (0..11).map(|p| cast(p, Way::Online, choice(p, 0))).collect();
    at_first
        .cast_online(&first_casts, |_| {})
        .await
        .expect("accepted");
    opened(opens).await;
    let online = |people: std::ops::Range<u32>, turn, way| -> Vec<Cast> {
        people
            .map(|person| cast(second_number(person), way, choice(person, turn)))
            .collect()
    };
    for casts in [
        online(0..12, 1, Way::Online),
        online(2..6, 2, Way::Online),
        online(1..3, 0, Way::FalseOnline),
    ] {
        at_second.cast_online(&casts, |_| {}).await.expect("accepted");
    }
    at_second
        .vote_at_stations(&[cast(second_number(7), Way::Station(1), 2)], |_| {})
        .await
        .expect("delivered");

    // One enrols in the second election too, by card: what the carried code has cast and casts counts no more there, and still in the first.
    next_second().await;
    succeeded(&scene.enrol_by_file(3, "second-3-again"));
    let (place, code) = scene.invitation("second-3-again");
    assert_eq!(place.v, second_number(3));
    let again = BTreeMap::from([(place, code)]);
    let mut anew = Crowd::new(&in_second, again, &nowhere, &mut rng).expect("a crowd");
    anew.cast_online(&online(3..4, 4, Way::Online), |_| {})
        .await
        .expect("accepted");
    at_second
        .cast_online(&online(3..4, 5, Way::Online), |_| {})
        .await
        .expect("accepted");
    // The decoy behaves as the true one: accepted by all, and not counted. It is a false credential of the same person.
    let vote = |invitation: &str, choice: &str, state: &str| {
        let manifest = scene.manifest();
        let words = [
            "client",
            "vote",
            "--manifest",
            &manifest,
            "--invitation",
            invitation,
            "--state",
            state,
        ];
        let words = [
            &words[..],
            &["--choice", choice, "--yes", "--give-up-after", "30"],
        ]
        .concat();
        scene
            .world
            .program
            .attempt(&scene.world.root, &words, "")
            .expect("it runs")
    };
    let said = vote("second-decoy-4", "Cleo", "decoy-device");
    succeeded(&said);
    assert!(said.out.contains("Your ballot was accepted by"), "{}", said.out);

    // In the second: of person 3 only what the new code has cast.
    let replaced = second_number(3);
    let done: Vec<Done> = at_second.done().iter().chain(anew.done()).cloned().collect();
    let new = anew.done()[0].digest;
    scene
        .count(&done, |done| done.cast.place.v != replaced || done.digest == new)
        .await;
    scene.world.plan = own_plan;
    scene.count(at_first.done(), |_| true).await;

    for i in 0..3 {
        scene.world.stop_party(i).expect("stopped");
    }
    scene.world.plan.election = "grounds-second".to_owned();
    scene.world.audit(1).expect("three audits that find nothing");
}
