use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_proto::ids::Role;
use tally_proto::pki::{LEAF_DAYS, Shown, system_now};

use super::*;
use crate::init::{Init, init};

const DAY_S: u64 = 24 * 3600;

fn made(directory: &Path, seed: u64) -> Config {
    let asked = Init {
        role: Role::P2,
        agency: "University".to_owned(),
        public_address: "https://vote.example:7000".to_owned(),
        peer_address: "https://127.0.0.1:7001".to_owned(),
        public_listen: None,
        peer_listen: None,
    };
    let made = init(directory, &asked, &mut StdRng::seed_from_u64(seed)).expect("initialised");
    Config::load(&made.config).expect("a configuration")
}

fn shown(pair: &TlsPair) -> Shown {
    Shown::of(&keys::leaf(pair).expect("a pair").cert_pem).expect("a certificate")
}

/// Days from now, rounded: the test itself takes no day.
fn days_left(pair: &TlsPair) -> u64 {
    (shown(pair).ends().get() + DAY_S / 2 - system_now().get()) / DAY_S
}

#[test]
fn init_writes_certificates_that_end_and_renewing_changes_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = made(directory.path(), 1);
    let own = keys::own_identity(&config).expect("an identity");
    for pair in [&config.tls.party, &config.tls.operator] {
        assert_eq!(days_left(pair), u64::from(LEAF_DAYS));
    }
    let before = fs::read_to_string(&config.identities.own).expect("an identity");
    let old = keys::leaf(&config.tls.party).expect("a leaf");
    let key = directory.path().join("ca/ca.key");
    let issued = issue(&config, &key, Life::of_days(30)).expect("issued");
    assert_eq!(
        days_left(&config.tls.party),
        u64::from(LEAF_DAYS),
        "not yet written"
    );
    issued.write(&config).expect("written");
    for pair in [&config.tls.party, &config.tls.operator] {
        assert_eq!(days_left(pair), 30);
    }
    let new = keys::leaf(&config.tls.party).expect("a leaf");
    let begins = |leaf: &Leaf| Shown::of(&leaf.cert_pem).expect("a certificate").begins();
    assert!(
        begins(&old) < begins(&new),
        "also when both are made within a second"
    );
    assert_ne!(
        *old.key_pem, *new.key_pem,
        "a key lives as long as its certificate"
    );
    keys::operator_leaf(&config, &own).expect("the others believe it");
    keys::Secrets::load(&config, &own).expect("the server takes it");
    let after = fs::read_to_string(&config.identities.own).expect("an identity");
    assert_eq!(before, after);
}

#[test]
fn the_key_of_another_authority_issues_nothing() {
    let [one, other] = [1, 2].map(|_| tempfile::tempdir().expect("a directory"));
    let config = made(one.path(), 1);
    made(other.path(), 2);
    let before = shown(&config.tls.party);
    let refused = issue(&config, &other.path().join("ca/ca.key"), Life::of_leaf());
    assert!(
        matches!(&refused, Err(RenewError::OtherAuthority { identity }) if *identity == config.identities.own),
        "{refused:?}"
    );
    let absent = issue(&config, &one.path().join("elsewhere.key"), Life::of_leaf());
    assert!(matches!(absent, Err(RenewError::Secret(_))), "{absent:?}");
    assert_eq!(shown(&config.tls.party), before);
}

#[test]
fn a_certificate_whose_time_is_over_is_named_by_check_config() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = made(directory.path(), 1);
    let past = Life::between(UnixSeconds(1_000_000_000), UnixSeconds(1_000_086_400));
    issue(&config, &directory.path().join("ca/ca.key"), past)
        .and_then(|issued| issued.write(&config))
        .expect("written");
    let refused = crate::check::check(&directory.path().join("party.toml"), true);
    let text = refused.expect_err("problems").to_string();
    for words in [
        "tls/party.pem: the certificate of party:2 ended at 2001-09-10 01:46:40 UTC",
        "tls/operator.pem: the certificate of operator:2 ended",
        "renew-certificates",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let shown = shown(&config.tls.party);
    shown.check(UnixSeconds(1_000_086_400)).expect("its last second");
    let over = shown.check(UnixSeconds(1_000_086_401)).expect_err("over");
    assert!(
        matches!(
            over,
            PkiError::Expired {
                ended: UnixSeconds(1_000_086_400),
                ..
            }
        ),
        "{over}"
    );
}
