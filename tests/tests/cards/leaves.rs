//! What `client enrol` leaves on a device: the file of the code, and in it and on the screen nothing that proves which code is the true one.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use tally_party::config::Config;
use tally_party::keys;
use tally_party::offsets::Held;
use tally_party::store::{Kind, Storage, Store, accepted};
use tally_proto::envelope::Envelope;
use tally_proto::ids::{Digest, Hash32, Role, RoleExt as _};
use tally_proto::record::RecordHeader;
use tally_tests::leaks::{Secrets, files_below};

use super::*;

impl Scene {
    /// `client enrol` on a device of its own: home, current and temporary directory are `device`. What it said.
    fn enrol_on(&self, device: &Path, card: &[&str], typed: &str) -> Vec<u8> {
        let mut child = Command::new(self.world.program.path())
            .args(["client", "enrol", "--out", "code", "--manifest", &self.manifest()])
            .args(card)
            .current_dir(device)
            .env("HOME", device)
            .env("TMPDIR", device)
            .env("RUST_LOG", "trace")
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client runs");
        let mut input = child.stdin.take().expect("an input");
        writeln!(input, "{typed}").expect("typed");
        drop(input);
        let done = child.wait_with_output().expect("it ends");
        let said = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
        said
    }

    /// What the devices knew of each record that the parties hold. The parties must be stopped.
    fn known_to_devices(&self) -> Known {
        let mut secrets = Secrets::default();
        // By record: what the device drew, and what the three offsets come to.
        let mut sums: BTreeMap<[u8; 32], (u64, u64)> = BTreeMap::new();
        let mut nonce = Vec::new();
        for role in Role::ALL {
            let config = Config::load(&self.world.party_config(role.slot())).expect("a configuration");
            let (_, vault) = keys::for_audit(&config).expect("keys");
            let file = config.data_dir.join(Storage::FILE);
            let store = Store::open_to_read(&file, role.index()).expect("a store");
            let digests = store.read(|tx| accepted::digests(tx, Kind::Record, 1, 1));
            for digest in digests.expect("read") {
                let row = store.read(|tx| accepted::get(tx, Kind::Record, 1, 1, &digest));
                let row = row.expect("read").expect("held");
                let packed = vault.open(Kind::Record, role.index(), &digest, &row.sealed_shares);
                let header = RecordHeader::decode(&row.header).expect("a header");
                let shares = header.context().read(&packed.expect("opens")).expect("shares");
                let held = Held::new(role, &store, &vault);
                let register = &header.card().expect("a card's").register;
                let (key, _) = held.key(register, role).expect("read").expect("held");
                let offset = key.offset(role, &Digest(digest)).expose();
                let share = *shares.credential_shares().expect("a credential").0;
                nonce = shares.this.nonce().to_vec();
                secrets.add(&format!("nonce of {role}"), &nonce, &[]);
                add(&mut secrets, &format!("share of {role}"), share);
                add(&mut secrets, &format!("offset of {role}"), offset);
                let sum = sums.entry(digest).or_default();
                *sum = (sum.0 ^ share, sum.1 ^ offset);
            }
        }
        for (drawn, _) in sums.values() {
            add(&mut secrets, "what the device drew", *drawn);
        }
        Known {
            secrets,
            credentials: sums.values().map(|(drawn, offset)| drawn ^ offset).collect(),
            nonce,
        }
    }
}

/// What the parties and the devices know of records.
struct Known {
    /// Nonces, shares, what they are shares of, and offsets.
    secrets: Secrets,
    /// Which the codes do hold.
    credentials: BTreeSet<u64>,
    /// One of the nonces.
    nonce: Vec<u8>,
}

fn add(secrets: &mut Secrets, name: &str, number: u64) {
    secrets.add(name, &number.to_le_bytes(), &[]);
    secrets.add(&format!("{name}, reversed"), &number.to_be_bytes(), &[]);
}

/// The manifest's hash, which codes name.
fn manifest_hash(scene: &Scene) -> Hash32 {
    let bytes = std::fs::read(scene.manifest()).expect("readable");
    Hash32::of(Envelope::decode(&bytes).expect("an envelope").payload())
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_leaves_the_code_and_nothing_that_proves_it() {
    tally_proto::connect::install_tls_provider();
    let _ = tokens();
    let directory = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::new(&directory.path().join("world"), "grounds-device", false);
    let devices = ["with-a-file", "with-a-token"].map(|name| directory.path().join(name));
    for device in &devices {
        std::fs::create_dir(device).expect("a directory");
    }
    let card = scene.card(0, CardKey::P256);
    let file = pkcs12(&scene.world.root, &scene.cards.issuing, &card);
    let file = file.to_string_lossy().into_owned();
    let module = scene.token(1, CardKey::Rsa2048, "device");
    let mut said = vec![
        scene.enrol_on(&devices[0], &["--pkcs12", &file], PASSWORD),
        scene.enrol_on(&devices[1], &["--pkcs11", &module, "--token", "device"], PIN),
    ];
    for i in 0..3 {
        scene.world.stop_party(i).expect("stopped");
    }
    let Known {
        secrets,
        credentials,
        nonce,
    } = scene.known_to_devices();
    assert_eq!(
        (secrets.len(), credentials.len()),
        (2 * (3 * 5 + 2), 2),
        "of two voters"
    );
    let hash = manifest_hash(&scene);
    for (device, said) in devices.iter().zip(&said) {
        assert_eq!(files_below(device).expect("readable"), [device.join("code")]);
        let code = std::fs::read_to_string(device.join("code")).expect("readable");
        let code = read_invitation(&[code.trim()]).expect("an invitation");
        let credential = code.credential_for(&hash).expect("of this election").expose();
        assert!(
            credentials.contains(&credential),
            "what is looked for belongs to this code"
        );
        let (leaks, looked_at) = secrets.find_below(device).expect("readable");
        assert!(leaks.is_empty() && looked_at > 0, "{leaks:?}");
        assert!(said.len() > 100, "{said:?}");
        assert_eq!(secrets.find(Path::new("screen"), said), []);
    }
    // Planted, on the screen and in a file, one of them is found.
    said[0].extend(data_encoding::HEXLOWER.encode(&nonce).bytes());
    assert_eq!(secrets.find(Path::new("screen"), &said[0]).len(), 1);
    let cache = devices[1].join("cache");
    for planted in [nonce.clone(), data_encoding::BASE64.encode(&nonce).into_bytes()] {
        std::fs::write(&cache, planted).expect("written");
        let (leaks, _) = secrets.find_below(&devices[1]).expect("readable");
        assert!(leaks.iter().any(|leak| leak.file == cache), "{leaks:?}");
    }
}
