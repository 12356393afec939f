use std::fs;

use tally_proto::ballot::BallotHeader;
use tally_proto::envelope::Envelope;
use tally_proto::fixture::{Listed, OPENS, Shape, World};
use tally_proto::ids::{Hash32, UnixSeconds};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::result::BoxResult;
use tally_proto::{sealing, secret_file};

use super::*;
use crate::report::{self, Rule, Summary};
use crate::roll;

const BOX: BoxId = BoxId(1);

/// A coordinator's directory with the keys of a made-up election, one of whose two boxes is sealed and tallied.
pub(crate) struct Scene {
    dir: tempfile::TempDir,
    world: World,
    directory: Directory,
    election: Election,
}

impl Scene {
    pub(crate) fn new(result_signers: usize) -> Self {
        let world = World::new(Shape {
            voters: [9, 4],
            ..Shape::default()
        });
        let dir = tempfile::tempdir().expect("dir");
        let directory = directory_of(&world, dir.path());
        let mut csv = String::from("box,reference,online\n");
        for (id, roll) in (1..).zip(&world.rolls) {
            for entry in roll.entries() {
                csv += &format!(
                    "{id},{},{}\n",
                    entry.reference,
                    if entry.online { "yes" } else { "no" }
                );
            }
        }
        let roll = roll::parse(csv.as_bytes(), Path::new("roll.csv"), &[1, 2]).expect("roll");
        let election = directory
            .create_election((*world.manifest).clone(), &roll, &[], None)
            .expect("stored");
        election
            .store_box(BOX, &tallied(&world, result_signers))
            .expect("stored");
        Self {
            dir,
            world,
            directory,
            election,
        }
    }

    pub(crate) fn manifest(&self) -> &SignedManifest {
        self.election.signed()
    }

    pub(crate) fn party_signer(&self, party: tally_proto::ids::Role) -> &tally_proto::envelope::Signer {
        &self.world.signers[party.slot()]
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn make(&self) -> Made {
        make(&self.directory, &self.election, OPENS + 90_000).expect("a bundle")
    }

    pub(crate) fn check(&self, bundle: &[u8]) -> Result<Checked, Error> {
        check(bundle, Arc::new(self.election.signed().clone()))
    }
}

pub(crate) fn directory_of(world: &World, path: &Path) -> Directory {
    let authority = &world.coordinator_authority;
    let leaf = authority
        .issue(&PeerRole::Coordinator, &["localhost"])
        .expect("certificate");
    let secret = |name: &str, bytes: &[u8]| secret_file::create(&path.join(name), bytes).expect("key");
    secret("signing.key", world.coordinator.seed().as_slice());
    secret("ca.key", authority.key_pem().as_bytes());
    secret("tls.key", leaf.key_pem.as_bytes());
    fs::write(path.join("ca.pem"), authority.cert_pem()).expect("written");
    fs::write(path.join("tls.pem"), &leaf.cert_pem).expect("written");
    let identity = world.manifest.manifest().coordinator();
    fs::write(path.join("coordinator.identity.toml"), identity.to_toml()).expect("written");
    Directory::open(path).expect("opens")
}

/// Box 1 with five online ballots, one of which only one party took, and its result.
fn tallied(world: &World, result_signers: usize) -> wire::BoxBundle {
    let election = world.manifest.manifest().election();
    let ballots: Vec<_> = (1..=5u8)
        .map(|salt| {
            let at = UnixSeconds(OPENS + u64::from(salt));
            let header = BallotHeader::online(election.clone(), BOX, at, [Hash32([salt; 32]); 3]);
            Listed {
                public: (header, None),
                listed: [true, salt != 5, salt != 5],
            }
        })
        .collect();
    let evidence = world.evidence(BOX, &ballots, &[], Default::default(), [&[]; 3]);
    let effective = world.election();
    let sealed = sealing::compute(evidence.inputs(&effective, BOX)).expect("a Seal");
    let mut seal = sealed.seal.sign(&world.signers[0]);
    for signer in &world.signers[1..] {
        seal.add_signature(signer.sign(Kind::Seal, seal.payload()));
    }
    let result = BoxResult::from_wire(&wire::Result {
        seal_hash: seal.hash().0.to_vec(),
        election: election.as_str().to_owned(),
        r#box: BOX.get(),
        contests: vec![
            wire::ContestResult {
                contest: 1,
                totals: vec![1, 2, 0],
                spoilt: 1,
            },
            wire::ContestResult {
                contest: 2,
                totals: vec![3, 0, 1, 2],
                spoilt: 0,
            },
        ],
        counted_online: Some(4),
        counted_station: Some(0),
    });
    let mut result = result.expect("a result").sign(&world.signers[0]);
    for signer in &world.signers[1..result_signers] {
        result.add_signature(signer.sign(Kind::Result, result.payload()));
    }
    wire::BoxBundle {
        seal: Some(seal.to_wire()),
        body: evidence.body.encode().into(),
        lists: evidence.lists.iter().map(|l| l.envelope().to_wire()).collect(),
        claims: evidence.claims_envelopes.iter().map(Envelope::to_wire).collect(),
        result: Some(result.to_wire()),
        aborts: Vec::new(),
    }
}

#[test]
fn a_bundle_is_made_checked_and_shown() {
    let scene = Scene::new(2);
    let made = scene.make();
    assert_eq!(made.missing, [BoxId(2)]);
    let checked = check_files(&made.path, &scene.election.manifest_file()).expect("holds");
    let text = checks(&checked, 200, false);
    for wanted in [
        "The bundle of election ward-7 holds.",
        "signed by the coordinator and P1 Agency 1, P2 Agency 2, P3 Agency 3",
        "signed by Commission, not one byte changed",
        "4 ballots received",
        "9 of 9 voters live",
        "of this Seal, signed by P1, P2",
        "contest 1: 3 votes, 1 spoilt; contest 2: 6 votes, 0 spoilt",
        "Not in the bundle: box 2. A bundle cannot say why: ask a party",
    ] {
        assert!(text.contains(wanted), "{wanted} in\n{text}");
    }
    assert!(!text.to_lowercase().contains("turnout"));
    // Whoever made the bundle may have left a box out that has one.
    assert!(!text.contains("no result"), "{text}");

    let summary = Summary::of(&checked, "");
    assert_eq!(
        (summary.title.as_str(), summary.language.as_str()),
        ("Ward 7", "en")
    );
    assert_eq!(summary.published_at, "2027-01-16 09:00:00 UTC");
    assert_eq!(summary.left_out, ["District 2"]);
    let figures = &summary.boxes[0];
    assert_eq!(
        (figures.voters, figures.online, figures.station, figures.paper),
        (9, 4, 0, 0)
    );
    assert_eq!(
        (figures.counted, figures.result_signed_by.as_slice()),
        (Some((4, 0)), &[1, 2][..])
    );
    assert_eq!(summary.contests[0].summed(), [1, 2, 0]);
    assert_eq!(summary.contests[1].rule, Rule::Approval { max: 2 });
    assert!(
        report::html::render(&summary)
            .contains("<td>seal and result</td><td>seal and result</td><td>seal only</td>")
    );
    assert!(report::terminal::render(&summary, 120, false).contains("P1 Agency 1, P2 Agency 2"));
}

#[test]
fn a_bundle_with_any_byte_changed_is_refused() {
    let scene = Scene::new(3);
    let bytes = fs::read(scene.make().path).expect("read");
    assert!(scene.check(&bytes).is_ok());
    for i in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[i] ^= 1;
        let error = scene.check(&changed).expect_err("refused");
        assert!(
            error
                .to_string()
                .starts_with("bundle.altered: the bundle is refused: "),
            "byte {i}: {error}"
        );
    }
    assert!(scene.check(&bytes[..bytes.len() - 1]).is_err());
    assert!(scene.check(&[]).is_err());
}

#[test]
fn another_manifest_and_too_few_signatures_are_refused() {
    let scene = Scene::new(3);
    let bytes = fs::read(scene.make().path).expect("read");
    let other = World::new(Shape {
        seed: 2,
        voters: [9, 4],
        ..Shape::default()
    });
    let path = scene.dir.path().join("other.manifest");
    fs::write(&path, other.manifest.envelope().encode()).expect("written");
    let copy = scene.dir.path().join("copy.bundle");
    fs::write(&copy, &bytes).expect("written");
    assert!(matches!(check_files(&copy, &path), Err(Error::Bundle(_))));

    let lone = Scene::new(1);
    let error = make(&lone.directory, &lone.election, OPENS).expect_err("one signature");
    let Error::Bundle(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.reason(), Reason::ResultSignatures);
    assert!(
        !lone.election.bundle_file().exists(),
        "what does not hold is not published"
    );
}

#[test]
fn nothing_tallied_is_no_bundle_and_changed_files_are_named() {
    let scene = Scene::new(3);
    let stored = scene.election.stored_box(BOX).expect("read").expect("stored");
    scene
        .election
        .store_box(
            BOX,
            &wire::BoxBundle {
                result: None,
                ..stored
            },
        )
        .expect("stored");
    let error = make(&scene.directory, &scene.election, OPENS)
        .expect_err("nothing")
        .to_string();
    assert_eq!(error, "no box of election ward-7 has a result: run `tally` first");

    let id = scene.world.manifest.manifest().election().clone();
    assert_eq!(
        scene.directory.elections().expect("listed"),
        std::slice::from_ref(&id)
    );
    let roll = scene.election.roll_file();
    let changed = fs::read_to_string(&roll)
        .expect("text")
        .replace("voter-1-3,yes", "voter-1-3,no");
    fs::write(&roll, changed).expect("written");
    let error = scene
        .directory
        .election(&id)
        .expect("opens")
        .roll()
        .expect_err("changed");
    assert!(matches!(error, Error::RollOfBox { of_box: BOX, .. }), "{error}");
    fs::write(scene.election.manifest_file(), b"nonsense").expect("written");
    assert!(scene.directory.election(&id).is_err());
    assert!(matches!(
        scene
            .directory
            .election(&tally_proto::ids::ElectionId::new("other").expect("id")),
        Err(Error::NotDefined { .. })
    ));
}
