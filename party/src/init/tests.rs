use rand::SeedableRng;
use rand::rngs::StdRng;
use tally_proto::identity::CoordinatorIdentity;

use super::*;
use crate::check::check;
use crate::config::ConfigError;

fn asked(role: Role) -> Init {
    let port = 7000 + u32::from(role.index()) * 10;
    Init {
        role,
        agency: format!("Agency {}", role.index()),
        public_address: format!("https://vote.example:{port}"),
        peer_address: format!("https://127.0.0.1:{}", port + 1),
        public_listen: None,
        peer_listen: Some("127.0.0.1:0".parse().expect("address")),
    }
}

fn three(root: &Path) -> [Initialised; 3] {
    let mut rng = StdRng::seed_from_u64(1);
    Role::ALL.map(|role| {
        init(
            &root.join(format!("party-{}", role.index())),
            &asked(role),
            &mut rng,
        )
        .expect("initialised")
    })
}

fn hand_over(root: &Path, made: &[Initialised; 3]) {
    let mut rng = StdRng::seed_from_u64(2);
    let authority = Authority::generate("commission").expect("made");
    let coordinator = CoordinatorIdentity::new(
        "Commission",
        "https://127.0.0.1:7099",
        authority.cert_pem(),
        Signer::generate(&mut rng).public_key(),
    )
    .expect("identity");
    for role in Role::ALL {
        let others = root.join(format!("party-{}/others", role.index()));
        for other in [role.next(), role.prev()] {
            let name = format!("party-{}.identity.toml", other.index());
            fs::copy(&made[other.slot()].identity, others.join(name)).expect("copied");
        }
        fs::write(others.join("coordinator.identity.toml"), coordinator.to_toml()).expect("written");
    }
}

fn problems(path: &Path) -> Vec<String> {
    match check(path, true) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Refused { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_init_makes_is_sound_once_identities_are_exchanged() {
    let root = tempfile::tempdir().expect("directory");
    let made = three(root.path());
    let before = problems(&made[0].config);
    assert_eq!(before.len(), 3, "{before:#?}");
    assert!(
        before
            .iter()
            .all(|problem| problem.starts_with("line ") && problem.contains("identities.")),
        "{before:#?}"
    );
    hand_over(root.path(), &made);
    for one in &made {
        let sound = check(&one.config, true).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            sound.identities.party(sound.config.party).fingerprint(),
            one.fingerprint
        );
    }
}

#[test]
fn init_never_overwrites() {
    let root = tempfile::tempdir().expect("directory");
    let made = three(root.path());
    let mut rng = StdRng::seed_from_u64(3);
    let again = init(&root.path().join("party-1"), &asked(Role::P1), &mut rng);
    assert!(matches!(again, Err(InitError::Exists(path)) if path == made[0].config));
    fs::remove_file(&made[0].config).expect("removed");
    let again = init(&root.path().join("party-1"), &asked(Role::P1), &mut rng);
    assert!(
        matches!(again, Err(InitError::Secret(_))),
        "a key is never replaced: {again:?}"
    );
}

#[test]
fn init_refuses_bad_words_before_it_writes() {
    let root = tempfile::tempdir().expect("directory");
    let mut rng = StdRng::seed_from_u64(4);
    let mut bad = asked(Role::P1);
    bad.public_address = "vote.example".into();
    assert!(matches!(
        init(root.path(), &bad, &mut rng),
        Err(InitError::Identity(_))
    ));
    assert_eq!(fs::read_dir(root.path()).expect("readable").count(), 0);
}

#[test]
fn check_names_every_file_that_is_not_what_it_should_be() {
    let root = tempfile::tempdir().expect("directory");
    let made = three(root.path());
    hand_over(root.path(), &made);
    let own = root.path().join("party-1");
    // Another party's signing key, an exposed key, two identities of one party, a lost data directory.
    fs::copy(
        root.path().join("party-2/keys/signing.key"),
        own.join("keys/signing.key"),
    )
    .expect("copied");
    assert!(
        problems(&made[0].config)
            .iter()
            .any(|problem| problem.contains("not the signing key"))
    );
    fs::remove_dir(own.join("data")).expect("removed");
    fs::copy(
        own.join("others/party-2.identity.toml"),
        own.join("others/party-3.identity.toml"),
    )
    .expect("copied");
    fs::write(own.join("keys/hpke.key"), [1; 31]).expect("written");
    let found = problems(&made[0].config);
    assert!(
        found
            .iter()
            .any(|p| p.contains("keys.hpke_key") && p.contains("31 bytes")),
        "{found:#?}"
    );
    assert!(found.iter().any(|p| p.contains("data_dir")), "{found:#?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(own.join("keys/storage.key"), fs::Permissions::from_mode(0o644)).expect("set");
        let found = problems(&made[0].config);
        assert!(
            found
                .iter()
                .any(|p| p.contains("keys.storage_key") && p.contains("chmod 600")),
            "{found:#?}"
        );
    }
}

#[test]
fn the_other_two_must_be_the_other_two() {
    let root = tempfile::tempdir().expect("directory");
    let made = three(root.path());
    hand_over(root.path(), &made);
    let others = root.path().join("party-1/others");
    fs::copy(
        others.join("party-2.identity.toml"),
        others.join("party-3.identity.toml"),
    )
    .expect("copied");
    let found = problems(&made[0].config);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("P2 and P2"), "{found:#?}");
}

#[test]
fn what_is_made_under_etc_keeps_its_state_where_the_units_may_write() {
    let made = Made::new(&asked(Role::P2), &mut StdRng::seed_from_u64(1)).expect("made");
    let directory = Path::new("/etc/tally/party-2");
    for split in [false, true] {
        let text = made.config(directory, &asked(Role::P2), split);
        let config = Config::parse(&text, directory).expect("sound");
        assert_eq!(config.data_dir, Path::new("/var/lib/tally/party-2"));
        assert_eq!(config.keys.holder, Path::new("/var/lib/tally/party-2/holder"));
        assert_eq!(
            config.telemetry.journal,
            Path::new("/var/lib/tally/party-2/journal")
        );
    }
    assert_eq!(state_of(Path::new("/srv/party-2")), None);
    assert_eq!(state_of(Path::new("/etcetera/party-2")), None);
}
