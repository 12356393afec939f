//! What `client enrol` leaves on a device: the file of the code, and in it and on the screen nothing that proves which code is the true one. A PIN
//! stands nowhere, and a wrong one leaves nothing.

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
use tally_tests::terminal::{Screen, Terminal, shows};

use super::*;

/// No card's PIN; long enough not to be said by chance.
const WRONG: &str = "97539753";

/// A program runs on a device of its own: home, current and temporary directory are `device`.
fn at_home(command: &mut Command, device: &Path) {
    command
        .current_dir(device)
        .env("HOME", device)
        .env("TMPDIR", device)
        .env_remove("XDG_STATE_HOME")
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_CONFIG_HOME");
}

impl Scene {
    /// The words of `client enrol`, which writes the code into the current directory.
    fn enrolling(&self, card: &[&str]) -> Vec<String> {
        let manifest = self.manifest();
        let words = ["client", "enrol", "--out", "code", "--manifest", &manifest];
        words.iter().chain(card).map(|word| (*word).to_owned()).collect()
    }

    /// `client enrol` on a device, which logs as `log` says; how it ended, and what it said.
    fn tries_on(&self, device: &Path, card: &[&str], typed: &str, log: &str) -> (Option<i32>, Vec<u8>) {
        let mut command = Command::new(self.world.program.path());
        at_home(&mut command, device);
        let mut child = command
            .args(self.enrolling(card))
            .env("RUST_LOG", log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client runs");
        let mut input = child.stdin.take().expect("an input");
        writeln!(input, "{typed}").expect("typed");
        drop(input);
        let done = child.wait_with_output().expect("it ends");
        (done.status.code(), [done.stdout, done.stderr].concat())
    }

    /// The same, which succeeds and logs all that it has to say.
    fn enrol_on(&self, device: &Path, card: &[&str], typed: &str) -> Vec<u8> {
        let (code, said) = self.tries_on(device, card, typed, "trace");
        assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&said));
        said
    }

    /// `client enrol` on a device by somebody at a terminal, to whose question for the PIN `typed` is the answer: how it ended, and the screen.
    fn enrol_at_a_terminal(
        &self,
        device: &Path,
        card: &[&str],
        question: &str,
        typed: &str,
    ) -> (i32, Screen) {
        let program = self.world.program.path().to_string_lossy();
        let words = self.enrolling(card).join(" ");
        let mut terminal = Terminal::of(&format!("tty; read line; exec {program} {words}"), |command| {
            at_home(command, device);
        });
        terminal.until("\n");
        let tty = terminal.screen().text().trim().to_owned();
        terminal.types("typed and shown");
        terminal.until(question);
        terminal.hides(&tty);
        terminal.types(typed);
        let (code, screen) = terminal.ends();
        assert!(
            screen.text().contains("typed and shown"),
            "what is typed elsewhere is shown: {}",
            screen.text()
        );
        (code, screen)
    }

    /// `client enrol` on a device by somebody who presses Ctrl-C at the question for the PIN, with a part of it typed: the exit code, and the screen. The
    /// terminal shows again what is typed.
    fn breaks_off_at_a_terminal(&self, device: &Path, card: &[&str], question: &str) -> (i32, Screen) {
        let program = self.world.program.path().to_string_lossy();
        let words = self.enrolling(card).join(" ");
        let line = format!(
            "tty; read line; {program} {words}; ended=$?; echo; echo broken off.; read line; exit $ended"
        );
        let mut terminal = Terminal::of(&line, |command| at_home(command, device));
        terminal.until("\n");
        let tty = terminal.screen().text().trim().to_owned();
        assert!(shows(&tty));
        terminal.types("");
        terminal.until(question);
        terminal.hides(&tty);
        assert!(
            device.join("code").exists(),
            "the file that is looked for was there"
        );
        terminal.press(&[&WRONG.as_bytes()[..3], b"\x03"].concat());
        terminal.until("broken off.");
        assert!(shows(&tty), "{}", terminal.screen().text());
        terminal.types("");
        terminal.ends()
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
    let devices = ["with-a-file", "with-a-token", "at-a-terminal"].map(|name| directory.path().join(name));
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

    // A wrong PIN, piped in and typed: it is said nowhere, and nothing is left, so that the same command may be given again.
    let module = scene.token(2, CardKey::P256, "typed");
    let card = ["--pkcs11", &module, "--token", "typed"];
    let wrong = "the PIN is wrong, and few tries are left: look it up before the next one (card.pin-few)";
    let (code, words) = scene.tries_on(&devices[2], &card, WRONG, "info");
    let words = String::from_utf8(words).expect("text");
    assert_eq!((code, words.trim()), (Some(3), wrong));
    assert_eq!(
        files_below(&devices[2]).expect("readable"),
        [""; 0].map(PathBuf::from)
    );
    let question = "PIN of the card \"typed\" (few tries are left):";
    let (code, screen) = scene.enrol_at_a_terminal(&devices[2], &card, question, WRONG);
    let text = screen.text();
    assert_eq!(code, 3, "{text}");
    assert!(text.contains(wrong) && !text.contains(WRONG), "{text}");
    assert_eq!(
        files_below(&devices[2]).expect("readable"),
        [""; 0].map(PathBuf::from)
    );
    // Who breaks off at the PIN has used up no try, and finds the terminal as it was and no file.
    let (code, screen) = scene.breaks_off_at_a_terminal(&devices[2], &card, question);
    let text = screen.text();
    assert_eq!(code, 130, "{text}");
    assert!(!text.contains(&WRONG[..3]), "{text}");
    assert_eq!(
        files_below(&devices[2]).expect("readable"),
        [""; 0].map(PathBuf::from)
    );
    let (code, screen) = scene.enrol_at_a_terminal(&devices[2], &card, question, PIN);
    let text = screen.text();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("You are enrolled") && !text.contains(PIN), "{text}");
    said.push(text.into_bytes());

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
        (3 * (3 * 5 + 2), 3),
        "of three voters, each with one record"
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
