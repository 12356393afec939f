//! Issuing on real processes: split between two registrars, whose halves go out on paper and as text messages, count together and neither by itself;
//! and a credential issued again by an order, after which the one before it counts no more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_proto::ids::{BoxId, Hash32, VoterIndex};
use tally_proto::invitation::{Credential, Invitation, Letter, Message, Part};
use tally_tests::crowd::Crowd;
use tally_tests::process::{Program, Said};
use tally_tests::recount::{Done, recount};
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::world::{Plan, World};
use tally_tests::{published, utc};

#[path = "issued/post.rs"]
mod post;

const ELECTION: &str = "school-2027";
const TYPED: &str = "school-2027\n";
const OPTIONS: u32 = 3;
const VOTERS: u32 = 14;
/// Whose message is lost and issued again.
const LOST: u32 = 3;
/// Who votes with the command, by what came in the post.
const BY_POST: u32 = 11;

fn plan() -> Plan {
    let now = SystemTime::now();
    Plan {
        election: ELECTION.to_owned(),
        title: "School board 2027".to_owned(),
        options: ["Ada", "Ben", "Cleo"].map(str::to_owned).to_vec(),
        boxes: vec!["Parents".to_owned()],
        roll: Roll { boxes: vec![VOTERS] },
        stations: 0,
        tickets: None,
        opens: utc::second(now - Duration::from_secs(60)),
        closes: utc::second(now + Duration::from_secs(24 * 3600)),
    }
}

fn place(v: u32) -> Place {
    Place { box_id: 1, v }
}

fn cast(v: u32, choice: u32) -> Cast {
    Cast {
        device: v,
        place: place(v),
        way: Way::Online,
        choice,
    }
}

/// The second registrar, certified, and its identity where the commission takes it from.
fn second_registrar(world: &World) {
    let init = ["registrar", "--dir", "registrar-2", "init", "--name", "message"];
    world.run(&init, "").expect("a registrar");
    let at = |name: &str| {
        world
            .root
            .join("registrar-2")
            .join(name)
            .to_string_lossy()
            .into_owned()
    };
    let (request, certificate) = (at("request.pem"), at("tls.pem"));
    let certify = [
        "certify",
        &request,
        "--role",
        "registrar:message",
        "--out",
        &certificate,
    ];
    world.coordinator(&certify, "").expect("certified");
    std::fs::create_dir_all(world.root.join("election")).expect("a directory");
    let identity = world.root.join("election/registrar-2.identity.toml");
    std::fs::copy(at("registrar.identity.toml"), identity).expect("handed over");
}

/// The second registrar issues by those words into that file; what it wrote, by place.
fn messages(world: &World, words: &[&str], out: &Path) -> BTreeMap<Place, Part> {
    let manifest = world.manifest_file().expect("a manifest");
    let (manifest, out_text) = (manifest.to_string_lossy(), out.to_string_lossy());
    let more = [
        "--manifest",
        &*manifest,
        "--roll",
        "election/roll.csv",
        "--out",
        &*out_text,
    ];
    let words = [&["registrar", "--dir", "registrar-2"], words, &more].concat();
    let said = world.run(&words, TYPED).expect("issued");
    assert!(
        said.contains("a voter needs both registrars' invitations"),
        "{said}"
    );
    let text = std::fs::read_to_string(out).expect("written");
    let lines = text.lines().skip(1).map(|line| {
        let mut fields = line.split(',');
        let reference = fields.next().expect("a reference");
        let number: u32 = reference
            .rsplit('-')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number");
        let code = fields.next().expect("a code");
        (place(number - 1), Part::parse(code).expect("a message's code"))
    });
    lines.collect()
}

fn together(letter: &str, message: &Part) -> Invitation {
    let letter = Part::parse(letter).expect("a letter's code");
    let message = Part::parse(&message.to_code()).expect("a code");
    letter.combine(message).expect("halves of one voter")
}

/// The letter's half as if it were all, and the message's.
fn alone(letter: &str, message: &Part, manifest: &Hash32, v: u32) -> [Invitation; 2] {
    let (of_box, voter, nothing) = (BoxId(1), VoterIndex(v), || Credential::new(0));
    let none = Part::Message(Message::new(manifest, of_box, voter, nothing()));
    let blank = Letter::new(Invitation::new(manifest, of_box, voter, nothing()));
    [together(letter, &none), together(&blank.to_code(), message)]
}

async fn votes(
    world: &World,
    codes: BTreeMap<Place, Invitation>,
    choices: &[(u32, u32)],
    seed: u64,
) -> Vec<Done> {
    let manifest = std::fs::read(world.manifest_file().expect("a manifest")).expect("readable");
    let codes = codes
        .into_iter()
        .map(|(place, of)| (place, of.to_code().to_string()))
        .collect();
    let stations: BTreeMap<u32, &Path> = BTreeMap::new();
    let mut crowd =
        Crowd::new(&manifest, codes, &stations, &mut StdRng::seed_from_u64(seed)).expect("a crowd");
    let casts: Vec<Cast> = choices.iter().map(|&(v, choice)| cast(v, choice)).collect();
    crowd.cast_online(&casts, |_| ()).await.expect("accepted");
    crowd.done().to_vec()
}

/// Ballots that nobody's credential stands behind.
fn void(done: Vec<Done>) -> impl Iterator<Item = Done> {
    done.into_iter().map(|mut done| {
        done.cast.way = Way::FalseOnline;
        done
    })
}

/// `client vote` on a new device with those texts as invitations.
fn votes_by_post(world: &World, device: &str, texts: &[&str]) -> Said {
    let manifest = world.manifest_file().expect("a manifest");
    let manifest = manifest.to_string_lossy();
    let mut words: Vec<String> = [
        "client",
        "vote",
        "--manifest",
        &*manifest,
        "--state",
        device,
        "--choice",
        "Ben",
        "--yes",
        "--give-up-after",
        "120",
        "--now",
    ]
    .map(str::to_owned)
    .to_vec();
    for (number, text) in texts.iter().enumerate() {
        let file = format!("{device}.half-{number}");
        std::fs::write(world.root.join(&file), text).expect("written");
        words.extend(["--invitation".to_owned(), file]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    world.program.attempt(&world.root, &words, "").expect("it runs")
}

/// By letter and text message together a voter votes; by one of them nothing is cast, and what is missing is said.
fn one_half_is_refused_and_both_vote(world: &World, letter: &str, message: &str) -> Done {
    for (device, half, words) in [
        (
            "letter-only",
            letter,
            "this is the code of the letter, half of an invitation in two: give the code of the text message too",
        ),
        (
            "message-only",
            message,
            "this is the code of the text message, half of an invitation in two: give the code of the letter too",
        ),
    ] {
        let said = votes_by_post(world, device, &[half]);
        assert_eq!(said.status.code(), Some(3), "{said:?}");
        assert!(said.err.contains(words) && said.out.is_empty(), "{said:?}");
    }
    let twice = votes_by_post(world, "letter-twice", &[letter, letter]);
    assert_eq!(twice.status.code(), Some(3), "{twice:?}");
    assert!(twice.err.contains("both are codes of letters"), "{twice:?}");
    let said = votes_by_post(world, "by-post", &[letter, message]);
    assert!(said.status.success(), "{said:?}");
    Done {
        cast: cast(BY_POST, 2),
        cast_at_s: u64::MAX,
        digest: [0; 32],
        name: String::new(),
        sequence: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn halves_count_together_only_and_what_is_issued_again_takes_the_place_of_what_was() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    tally_proto::connect::install_tls_provider();
    let root = tempfile::tempdir().expect("a directory");
    let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
    let mut world = World::set_up(root.path(), program, plan()).expect("set up");
    second_registrar(&world);
    world.start().expect("servers");
    let both = |toml: String, roll: String| {
        let one = "registrars = [\"registrar.identity.toml\"]";
        assert!(toml.contains(one), "{toml}");
        let two = "registrars = [\"registrar.identity.toml\", \"registrar-2.identity.toml\"]";
        (toml.replace(one, two), roll)
    };
    world.define_edited(both).expect("in force");
    let issued = world.issue().expect("letters");
    let halves = messages(&world, &["issue"], &world.root.join("messages.csv"));
    assert_eq!((issued.len(), halves.len()), (VOTERS as usize, VOTERS as usize));

    // Sheets and text messages take the place of both files. From here on there is nothing else of the codes.
    let named = |names: &[&str]| -> BTreeSet<PathBuf> { names.iter().map(PathBuf::from).collect() };
    let codes: Vec<Part> = issued
        .values()
        .map(|code| Part::parse(code).expect("a code"))
        .collect();
    let all = || codes.iter().chain(halves.values());
    assert_eq!(
        post::files_with(&world, all()),
        named(&["invitations.csv", "messages.csv"])
    );
    post::write_contacts(&world);
    let letters = post::sheets(&world);
    let texts = post::texts(&world, "messages.csv", "texts.csv");
    assert_eq!(post::files_with(&world, all()), named(&["texts.csv"]));
    for (sent, due) in letters.values().zip(&codes) {
        assert_eq!(*Part::parse(sent).expect("a link").to_code(), *due.to_code());
    }
    for ((to, sent), (of, due)) in texts.iter().zip(&halves) {
        assert_eq!((to, &*sent.to_code()), (of, &*due.to_code()));
    }
    assert_eq!((letters.len(), texts.len()), (VOTERS as usize, VOTERS as usize));
    let manifest = Hash32::of(
        tally_proto::envelope::Envelope::decode(
            &std::fs::read(world.manifest_file().expect("a manifest")).expect("readable"),
        )
        .expect("an envelope")
        .payload(),
    );

    // Everybody votes with both halves together, one with the command.
    let whole = |v: u32| (place(v), together(&letters[&place(v)], &texts[&place(v)]));
    let choices: Vec<(u32, u32)> = (0..BY_POST).map(|v| (v, 1 + v % 2)).collect();
    let mut done = votes(&world, (0..BY_POST).map(whole).collect(), &choices, 1).await;
    let (letter, message) = (&letters[&place(BY_POST)], texts[&place(BY_POST)].to_code());
    done.push(one_half_is_refused_and_both_vote(&world, letter, &message));

    // Whoever has one half of somebody votes with it, for a voter who has voted and for one who has not: it is accepted like any other ballot.
    for (half, seed) in [(0, 2), (1, 3)] {
        let stolen = [0, 12].map(|v| {
            let [letter, message] = alone(&letters[&place(v)], &texts[&place(v)], &manifest, v);
            (place(v), if half == 0 { letter } else { message })
        });
        done.extend(void(votes(&world, stolen.into(), &[(0, 3), (12, 3)], seed).await));
    }

    // One voter's text message went to a stranger. Without an order nothing is issued again; with one, a new half is.
    let reference = post::reference(LOST);
    let order = [
        "order",
        ELECTION,
        "--reason",
        "The number was another's.",
        "reissue",
        "--voter",
        &reference,
        "--serial",
        "2",
    ];
    world.coordinator(&order, TYPED).expect("proposed");
    let file = world
        .root
        .join(format!("coordinator/elections/{ELECTION}/orders/0001"));
    let (file, again) = (file.to_string_lossy().into_owned(), world.root.join("again.csv"));
    let words = ["reissue", "--order", &file];
    let (manifest_file, out) = (
        world.manifest_file().expect("a manifest"),
        again.to_string_lossy(),
    );
    let manifest_file = manifest_file.to_string_lossy();
    let before = ["registrar", "--dir", "registrar-2"];
    let after = [
        "--manifest",
        &*manifest_file,
        "--roll",
        "election/roll.csv",
        "--out",
        &*out,
    ];
    let early = [&before[..], &words, &after].concat();
    let early = world.attempt(&early, TYPED).expect("the command runs");
    assert!(
        !early.status.success() && early.err.contains("order 1"),
        "{early:?}"
    );
    assert!(!again.exists());
    world.countersign().expect("countersigned");
    world
        .coordinator(&["complete", ELECTION], TYPED)
        .expect("in force");
    let issued_again = messages(&world, &words, &again);
    let new = post::texts(&world, "again.csv", "again-texts.csv");
    assert_eq!(
        *new[&place(LOST)].to_code(),
        *issued_again[&place(LOST)].to_code()
    );
    assert_eq!(new.keys().collect::<Vec<_>>(), [&place(LOST)]);

    // The voter votes with the letter of before and the new message; the stranger's ballot with the old code comes later, and does not count, nor
    // does what was cast with it before.
    let fresh = together(&letters[&place(LOST)], &new[&place(LOST)]);
    done = done
        .into_iter()
        .map(|mut done| {
            if done.cast.place == place(LOST) {
                done.cast.way = Way::FalseOnline;
            }
            done
        })
        .collect();
    done.extend(votes(&world, [(place(LOST), fresh)].into(), &[(LOST, 3)], 4).await);
    done.extend(void(votes(&world, [whole(LOST)].into(), &[(LOST, 2)], 5).await));

    let closed = world.close("Everybody has voted.").expect("closed");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    for step in ["seal", "tally"] {
        world.coordinator(&[step, ELECTION], TYPED).expect(step);
    }
    world.coordinator(&["bundle", ELECTION], "").expect("a bundle");
    let bundle = world.bundle_file().expect("a bundle");
    let bytes = std::fs::read(&bundle).expect("readable");
    let boxes = published::read(&bytes, &world.plan.roll).expect("a bundle");
    let expected = recount(1, &world.plan.roll, OPTIONS, &done);
    assert_eq!(
        expected.totals,
        [6, 5, 1],
        "twelve voters, and the one with the new code chose the third"
    );
    assert_eq!(boxes[0].count, expected);
    assert_eq!(boxes[0].ballots.len(), 12 + 4 + 2, "all were accepted alike");
    for i in 0..3 {
        world.stop_party(i).expect("stops");
    }
    world.audit(1).expect("three audits that find nothing");
}
