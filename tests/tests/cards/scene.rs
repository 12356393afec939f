//! What these elections have in common: a world whose voters have cards, and the commands that they type.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tally_client::read_invitation;
use tally_proto::fixture::cards::{self, CardKey, CardShape, REGISTER, called};
use tally_tests::process::{Program, Said};
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::utc;
use tally_tests::world::{Plan, World};

pub(super) use super::register::now_s;
use super::register::{agree, enrolment};
use super::soft_hsm::{PASSWORD, PIN, make_token, pkcs12, soft_hsm};
use super::tickets;

/// People with cards, and numbers of the roll; one of the open roll's is nobody's.
pub(super) const PEOPLE: u32 = 12;
pub(super) const OPTIONS: u32 = 3;

pub(super) fn plan(election: &str) -> Plan {
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

pub(super) fn cast(v: u32, way: Way, choice: u32) -> Cast {
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
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) cards: cards::Cards,
    pub(super) open: bool,
    /// Whether a registrar sends invitations too.
    pub(super) invites: bool,
    pub(super) made: BTreeMap<u32, PathBuf>,
    /// Cards that the authority's list names, by their serial numbers.
    pub(super) revoked: Vec<Vec<u8>>,
}

impl Scene {
    pub(super) fn new(root: &Path, election: &str, open: bool) -> Self {
        let scene = Self::set_up(root, plan(election), open);
        scene.define();
        scene
    }

    /// Before anything is defined.
    pub(super) fn set_up(root: &Path, plan: Plan, open: bool) -> Self {
        let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
        let mut world = World::set_up(root, program, plan).expect("everybody is set up");
        world.start().expect("the servers run");
        Self {
            cards: cards::Cards::new(now_s()),
            world,
            open,
            invites: false,
            made: BTreeMap::new(),
            revoked: Vec::new(),
        }
    }

    /// With a register that the parties have agreed on, and the authority's revocation list at each of them.
    pub(super) fn define(&self) {
        self.define_with(REGISTER, 0..PEOPLE);
    }

    /// The same for people in that order on the roll, where it is closed.
    pub(super) fn define_with(&self, of_register: &str, people: impl Iterator<Item = u32>) {
        let world = &self.world;
        agree(world, &self.cards, &self.revoked, of_register);
        let (opens, closes) = (&world.plan.opens, &world.plan.closes);
        let enrolment = enrolment(of_register, opens, closes);
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

    pub(super) fn election(&self) -> &str {
        &self.world.plan.election
    }

    pub(super) fn manifest(&self) -> String {
        let file = self.world.manifest_file().expect("a manifest");
        file.to_string_lossy().into_owned()
    }

    /// A card of `person`.
    pub(super) fn card(&mut self, person: u32, key: CardKey) -> cards::Card {
        self.cards.card(&CardShape::of(&called(1, person), key, now_s()))
    }

    /// `client enrol` with this kind of card, which writes the invitation to a file of that name.
    pub(super) fn enrol(&self, card: &[&str], typed: &str, out: &str) -> Said {
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
    pub(super) fn enrol_by_file(&mut self, person: u32, out: &str) -> Said {
        if !self.made.contains_key(&person) {
            let card = self.card(person, CardKey::P256);
            let path = pkcs12(&self.world.root, &self.cards.issuing, &card);
            self.made.insert(person, path);
        }
        let path = self.made[&person].to_string_lossy().into_owned();
        self.enrol(&["--pkcs12", &path], PASSWORD, out)
    }

    /// The same with a new token.
    pub(super) fn enrol_by_token(&mut self, person: u32, key: CardKey, out: &str) -> Said {
        let label = format!("{}-{person}", self.election());
        let module = self.token(person, key, &label);
        self.enrol(&["--pkcs11", &module, "--token", &label], PIN, out)
    }

    /// A new token of that label with a card of `person`; its module.
    pub(super) fn token(&mut self, person: u32, key: CardKey, label: &str) -> String {
        let (module, tool) = soft_hsm();
        let card = self.card(person, key);
        let shape = CardShape {
            authentication: false,
            ..CardShape::of(&called(1, person), key, now_s())
        };
        let other = self.cards.card(&shape);
        let _one = tokens().lock().unwrap_or_else(PoisonError::into_inner);
        make_token(&tool, &module, label, &self.world.root, &card, &other);
        module.to_string_lossy().into_owned()
    }

    /// The place and the code in an invitation that was written.
    pub(super) fn invitation(&self, out: &str) -> (Place, String) {
        let code = std::fs::read_to_string(self.world.root.join(out)).expect("written");
        let invitation = read_invitation(&[code.trim()]).expect("an invitation");
        let place = Place {
            box_id: invitation.of_box().get(),
            v: invitation.voter().get(),
        };
        (place, code.trim().to_owned())
    }
}

pub(super) fn name_on_roll(person: u32) -> String {
    format!("B1-{:06}", person + 1)
}

/// The directory of SoftHSM's tokens, for this process and those that it starts; held while a token is made.
pub(super) fn tokens() -> &'static Mutex<tempfile::TempDir> {
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

pub(super) fn succeeded(said: &Said) {
    assert!(said.status.success(), "{}{}", said.out, said.err);
}

/// Waits for the next second: a card record's serial is its second.
pub(super) async fn next_second() {
    let now = now_s();
    while now_s() == now {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
