//! Officials on the command line: the ceremony, trying a share, changing officials, a new HPKE key, and a machine restored from its kit.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tally_party::cli::main_with;
use tally_party::clock::{Clock as _, SystemClock};
use tally_party::config::Config;
use tally_party::officials::change::{self, ChangeError, Stated};
use tally_party::officials::desk::{self, Piped};
use tally_party::officials::{Label, Sealed, SplitError, Use};
use tally_party::store::{Storage, Store, compared, elections};
use tally_proto::envelope::Kind;
use tally_proto::fixture::{Shape, World};
use tally_proto::ids::{BoxId, Role, UnixMillis};
use tempfile::TempDir;

struct Scene(TempDir);

impl Scene {
    /// Party 1, its keys split among three officials, two of whom unlock them.
    fn new() -> Scene {
        let scene = Scene(tempfile::tempdir().expect("directory"));
        assert!(scene.init("p1", "1"));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn init(&self, name: &str, party: &str) -> bool {
        let [dir, sheets, kit] =
            ["", "-sheets", "-kit"].map(|end| self.path(&format!("{name}{end}")).display().to_string());
        party_command(&[
            "init",
            "--dir",
            &dir,
            "--party",
            party,
            "--agency",
            "Agency",
            "--public-address",
            "https://localhost:7101",
            "--peer-address",
            "https://localhost:7102",
            "--officials",
            "3",
            "--threshold",
            "2",
            "--sheets",
            &sheets,
            "--kit",
            &kit,
        ])
    }

    fn sheet(&self, of: &str, number: u8) -> String {
        self.path(&format!("{of}-sheets/official-{number}.txt"))
            .display()
            .to_string()
    }

    fn config(&self, of: &str) -> Config {
        Config::load(&self.path(of).join("party.toml")).expect("a configuration")
    }

    fn check(&self, of: &str, sheet: &str) -> bool {
        let config = self.path(of).join("party.toml").display().to_string();
        party_command(&["officials", "check", "--config", &config, "--share-file", sheet])
    }

    fn change(&self, words: &[&str], kits: (&str, &str), sheets: &[String]) -> bool {
        let config = self.path("p1/party.toml").display().to_string();
        let (kit, new) = (self.path(kits.0), self.path(kits.1));
        let (kit, new) = (kit.display().to_string(), new.display().to_string());
        let mut all: Vec<&str> = words.to_vec();
        all.extend(["--config", &config, "--kit", &kit, "--new-kit", &new]);
        for sheet in sheets {
            all.extend(["--share-file", sheet]);
        }
        party_command(&all)
    }

    fn restore(&self, kit: &str, into: &str, sheets: &[String]) -> bool {
        let (kit, dir) = (
            self.path(kit).display().to_string(),
            self.path(into).display().to_string(),
        );
        let mut all = vec!["restore", "--kit", &kit, "--dir", &dir];
        for sheet in sheets {
            all.extend(["--share-file", sheet]);
        }
        party_command(&all)
    }
}

fn party_command(arguments: &[&str]) -> bool {
    main_with(["party"].iter().chain(arguments).map(OsString::from)) == ExitCode::SUCCESS
}

fn sealed(at: &Path) -> Vec<u8> {
    fs::read(at.join("keys/sealed.keys")).expect("a key file")
}

/// Every file below `directory`.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("readable") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret)
}

/// What a thief of the disk and of the kit finds: no key, in whatever file, but the operator's and that of a certificate without a role.
#[test]
fn no_file_holds_a_key_or_a_share() {
    let scene = Scene::new();
    assert!(!scene.init("p1", "1"), "never twice");
    let sheets = [scene.sheet("p1", 1), scene.sheet("p1", 3)].map(PathBuf::from);
    let kit = Sealed::read(&scene.path("p1-kit"), Use::Kit).expect("a kit");
    let mut nobody = Piped(&b""[..], Vec::new());
    let key = desk::collect(kit.public(), &sheets, &mut nobody).expect("two are enough");
    let inner = Sealed::decode(&kit.open(&key, Label::SealedKeys).expect("opens")).expect("a key file");
    assert_eq!(inner.encode(), sealed(&scene.path("p1")));
    let mut secrets = vec![kit.open(&key, Label::AuthorityKey).expect("opens")];
    for label in [Label::Signing, Label::Hpke, Label::Storage, Label::PartyKey] {
        secrets.push(inner.open(&key, label).expect("opens"));
    }
    for sheet in &sheets {
        secrets.push(zeroize::Zeroizing::new(
            desk::from_file(sheet).expect("a share").to_bytes()[8..].to_vec(),
        ));
    }
    let mut found = vec![scene.path("p1-kit")];
    files(&scene.path("p1"), &mut found);
    assert!(found.len() >= 9, "{found:?}");
    for path in &found {
        let bytes = fs::read(path).expect("readable");
        for (at, secret) in secrets.iter().enumerate() {
            assert!(!holds(&bytes, secret), "secret {at} in {}", path.display());
        }
    }
    // The search finds what is there: the operator's key, which is in the kit too.
    let operator = kit.open(&key, Label::OperatorKey).expect("opens");
    let there = fs::read(scene.path("p1/tls/operator.key")).expect("readable");
    assert!(holds(&there, &operator));
}

#[test]
fn one_official_tries_a_share_and_learns_what_is_wrong_with_it() {
    let scene = Scene::new();
    assert!(scene.init("p2", "2"));
    for number in 1..=3 {
        assert!(scene.check("p1", &scene.sheet("p1", number)));
    }
    let foreign = scene.sheet("p2", 1);
    assert!(!scene.check("p1", &foreign));
    let public = change::public(&scene.config("p1")).expect("split");
    let share = desk::from_file(foreign.as_ref()).expect("a share");
    assert!(matches!(public.judge(&share), Err(SplitError::OtherParty { .. })));
    // One alone, and the same twice, change nothing.
    let before = sealed(&scene.path("p1"));
    let one = [scene.sheet("p1", 1)];
    let twice = [scene.sheet("p1", 1), scene.sheet("p1", 1)];
    for sheets in [&one[..], &twice[..]] {
        assert!(!scene.change(&["rotate-hpke"], ("p1-kit", "new"), sheets));
        assert!(!scene.restore("p1-kit", "elsewhere", sheets));
    }
    assert_eq!(sealed(&scene.path("p1")), before);
    assert!(!scene.path("new").exists() && !scene.path("elsewhere").exists());
}

#[test]
fn officials_change_and_old_sheets_open_nothing_new() {
    let scene = Scene::new();
    let old = [scene.sheet("p1", 1), scene.sheet("p1", 2)];
    let new_sheets = scene.path("new-sheets").display().to_string();
    let words = [
        "officials",
        "replace",
        "--officials",
        "4",
        "--threshold",
        "3",
        "--sheets",
        &new_sheets,
    ];
    assert!(
        !scene.change(&words, ("p1/keys/sealed.keys", "new-kit"), &old),
        "a key file is no kit"
    );
    let keys = sealed(&scene.path("p1"));
    assert!(scene.change(&words, ("p1-kit", "new-kit"), &old));
    assert_ne!(sealed(&scene.path("p1")), keys);
    for number in 1..=4 {
        assert!(scene.check("p1", &scene.sheet("new", number)));
    }
    assert!(!scene.check("p1", &old[0]) && !scene.check("p1", &old[1]));
    let new: Vec<String> = (2..=4).map(|number| scene.sheet("new", number)).collect();
    assert!(
        !scene.restore("new-kit", "r1", &old),
        "old sheets open no new kit"
    );
    assert!(!scene.restore("new-kit", "r1", &new[..2]), "three are needed now");
    assert!(scene.restore("new-kit", "r1", &new));
    assert_eq!(sealed(&scene.path("r1")), sealed(&scene.path("p1")));
    assert!(!scene.restore("new-kit", "r1", &new), "nothing is overwritten");
    assert!(!scene.path("r1/ca/ca.key").exists(), "it stays in the kit");
    for name in [
        "party.toml",
        "party-1.identity.toml",
        "tls/front.pem",
        "ca/ca.pem",
    ] {
        let [one, two] = ["p1", "r1"].map(|of| fs::read(scene.path(of).join(name)).expect("there"));
        assert!(one == two, "{name}");
    }
    // Said where it is done: the old kit stays open to the old sheets, so it is to be destroyed; and it fits no new key file.
    assert!(scene.restore("p1-kit", "r2", &old));
    assert!(!scene.change(&["rotate-hpke"], ("p1-kit", "kit-3"), &new));
    assert!(
        !scene.change(&words[..6], ("new-kit", "new-kit"), &new),
        "a kit is never overwritten"
    );
}

#[test]
fn the_hpke_key_changes_between_elections_only() {
    let scene = Scene::new();
    let sheets = [scene.sheet("p1", 2), scene.sheet("p1", 3)];
    let config = scene.config("p1");
    let identity = || tally_party::keys::own_identity(&config).expect("an identity");
    let first = identity();
    // A machine whose server never ran cannot know, as one that was restored from its kit: its operators must.
    let word = ["rotate-hpke", "--no-election-open"];
    assert!(!scene.change(&word[..1], ("p1-kit", "kit-2"), &sheets));
    assert!(identity() == first && !scene.path("kit-2").exists());
    assert!(scene.change(&word, ("p1-kit", "kit-2"), &sheets));
    let second = identity();
    assert!(first.sealing_key() != second.sealing_key());
    assert!(first.signing_key() == second.signing_key() && first.fingerprint() != second.fingerprint());
    assert!(scene.restore("kit-2", "r1", &sheets));
    let restored = tally_party::keys::own_identity(&scene.config("r1")).expect("an identity");
    assert!(restored == second, "the new kit has the new identity");
    // An election whose boxes are not all sealed keeps the key: its ballots are sealed to it.
    let world = World::new(Shape::default());
    let id = world.manifest.manifest().election().as_str();
    let boxes: Vec<u32> = world
        .manifest
        .manifest()
        .boxes()
        .iter()
        .map(|b| b.id().get())
        .collect();
    let put = |sealed: &[u32]| {
        let store = Store::open(Storage::File(config.data_dir.join(Storage::FILE)), 1).expect("a store");
        store
            .write(|tx| {
                let number = elections::number_or_new(tx, id)?;
                elections::put_manifest(tx, number, &world.manifest.envelope().encode())?;
                let mut table =
                    tx.table_mut(redb::TableDefinition::<(u32, u32), &[u8]>::new("seal_whole"))?;
                for of_box in sealed {
                    table.insert((number, *of_box), &b"a Seal"[..])?;
                }
                Ok::<_, tally_party::store::StoreError>(())
            })
            .expect("written");
    };
    put(&boxes[1..]);
    compare(&config, [Some(0), Some(0)]);
    let paths: Vec<PathBuf> = sheets.iter().map(PathBuf::from).collect();
    let public = change::public(&config).expect("split");
    let key = desk::collect(&public, &paths, &mut Piped(&b""[..], Vec::new())).expect("collected");
    let kits = (scene.path("kit-2"), scene.path("kit-3"));
    let mut rng = world_rng();
    let election = world.manifest.manifest().election().clone();
    let other = [(election.clone(), BoxId(boxes[1]))];
    // The word that none is open is no word against what the store holds.
    let given_up = Stated {
        never_sealed: &other,
        none_open: true,
    };
    let refused =
        change::rotate_hpke(&config, &key, (&kits.0, &kits.1), given_up, &mut rng).expect_err("needed");
    assert!(
        matches!(&refused, ChangeError::Needed { election, of_box } if election == id && of_box.get() == boxes[0]),
        "{refused}"
    );
    assert!(identity() == second && !kits.1.exists());
    // What the operators say will never be sealed holds nothing up.
    let never = [(election, BoxId(boxes[0]))];
    let given_up = Stated {
        never_sealed: &never,
        none_open: false,
    };
    change::rotate_hpke(&config, &key, (&kits.0, &kits.1), given_up, &mut rng).expect("given up by name");
    let third = identity();
    assert!(third.sealing_key() != second.sealing_key());
    let kits = (kits.1, scene.path("kit-3b"));
    put(&boxes);
    // Nor does a manifest that was published and that this party has not countersigned.
    let store = Store::open(Storage::File(config.data_dir.join(Storage::FILE)), 1).expect("a store");
    let mut published = world.manifest.manifest().to_wire();
    published.election = "published".into();
    let envelope = world
        .coordinator
        .seal_envelope(Kind::Manifest, prost::Message::encode_to_vec(&published));
    store
        .write(|tx| {
            let number = elections::number_or_new(tx, "published")?;
            elections::put_manifest(tx, number, &envelope.encode())
        })
        .expect("written");
    drop(store);
    // All are sealed, of those that are here; a store that was not just compared with both others may lack some.
    let (hour, sealed) = (60 * 60 * 1000 + 1, Stated::default());
    for (noted, without) in [
        ([None, None], [Role::P2, Role::P3].as_slice()),
        ([Some(0), None], &[Role::P3]),
        ([None, Some(0)], &[Role::P2]),
        ([Some(0), Some(hour)], &[Role::P3]),
        // By a clock that was ahead.
        ([Some(-hour), Some(0)], &[Role::P2]),
    ] {
        compare(&config, noted);
        let refused = change::rotate_hpke(&config, &key, (&kits.0, &kits.1), sealed, &mut rng)
            .expect_err("nobody knows");
        assert!(
            matches!(&refused, ChangeError::NotCompared(of) if of == without),
            "{noted:?}: {refused}"
        );
        assert!(identity() == third && !kits.1.exists());
    }
    compare(&config, [Some(0), Some(hour / 2)]);
    change::rotate_hpke(&config, &key, (&kits.0, &kits.1), sealed, &mut rng).expect("all are sealed");
    assert!(identity().sealing_key() != third.sealing_key());
    // While the server runs its store is in use, and nothing is changed.
    let _server = Store::open(Storage::File(config.data_dir.join(Storage::FILE)), 1).expect("a store");
    let kit_4 = scene.path("kit-4");
    let refused =
        change::rotate_hpke(&config, &key, (&kits.1, &kit_4), sealed, &mut rng).expect_err("running");
    assert!(
        matches!(refused, ChangeError::Store(tally_party::store::StoreError::InUse)),
        "{refused}"
    );
}

/// Has the store of P1 compared with P2 and with P3 so many milliseconds ago, or never.
fn compare(config: &Config, ago: [Option<i64>; 2]) {
    let store = Store::open(Storage::File(config.data_dir.join(Storage::FILE)), 1).expect("a store");
    let now = SystemClock.now_ms();
    for (peer, ago) in [Role::P2, Role::P3].into_iter().zip(ago) {
        // Before the beginning of time is never.
        let at = ago.map_or(0, |ago| now.checked_add_signed(-ago).expect("a moment"));
        store
            .write(|tx| compared::note(tx, peer, UnixMillis(at)))
            .expect("written");
    }
}

fn world_rng() -> rand::rngs::StdRng {
    use rand::SeedableRng as _;
    rand::rngs::StdRng::seed_from_u64(12)
}

#[test]
fn numbers_that_make_no_ceremony_are_refused() {
    let root = tempfile::tempdir().expect("directory");
    let dir = root.path().join("p").display().to_string();
    let with = |more: &[&str]| {
        let mut words = vec![
            "init",
            "--dir",
            &dir,
            "--party",
            "1",
            "--agency",
            "A",
            "--public-address",
            "https://localhost:7101",
            "--peer-address",
            "https://localhost:7102",
        ];
        words.extend(more);
        party_command(&words)
    };
    assert!(!with(&["--officials", "3"]), "a threshold is needed");
    assert!(
        !with(&["--sheets", "s"]) && !with(&["--kit", "k"]),
        "officials are needed"
    );
    for (officials, threshold) in [("1", "1"), ("3", "1"), ("2", "3"), ("17", "2")] {
        assert!(!with(&["--officials", officials, "--threshold", threshold]));
    }
    assert!(!Path::new(&dir).exists());
}
