//! Cards for tests: SoftHSM tokens and PKCS#12 files.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, CertificateType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use tally_proto::fixture::cards;

mod card_file;

pub(crate) use card_file::{PASSWORD, pkcs12};

pub(crate) const PIN: &str = "2468";

/// SoftHSM's module and tool: installed, or fetched from Debian's packages and unpacked under target/ without root. Several test programs may
/// ask at once, and one may be stopped half-way: whoever holds the lock unpacks beside, and moves what runs into its place.
pub(crate) fn soft_hsm() -> (PathBuf, PathBuf) {
    let places = |root: &Path| {
        (
            root.join("usr/lib/softhsm/libsofthsm2.so"),
            root.join("usr/bin/softhsm2-util"),
        )
    };
    let installed = places(Path::new("/"));
    if installed.0.exists() && installed.1.exists() {
        return installed;
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = std::fs::File::create(directory.join("softhsm.lock")).expect("a file");
    lock.lock().expect("locked");
    let target = directory.join("softhsm");
    let unpacked = places(&target);
    if runs(&unpacked).is_err() {
        let part = directory.join("softhsm.part");
        for old in [&part, &target] {
            match std::fs::remove_dir_all(old) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
                _ => std::fs::create_dir_all(&part).expect("a directory"),
            }
        }
        fetch(&part);
        if let Err(why) = runs(&places(&part)) {
            panic!("softhsm2 was fetched and does not run (apt-get install softhsm2): {why}");
        }
        std::fs::rename(&part, &target).expect("moved");
    }
    unpacked
}

fn fetch(into: &Path) {
    let script = "set -e; apt-get update -q >/dev/null 2>&1 || true; \
        apt-get download -q softhsm2 libsofthsm2 softhsm2-common; \
        for package in *.deb; do dpkg -x \"$package\" .; done";
    let done = Command::new("sh").args(["-c", script]).current_dir(into).output();
    let done = done.expect("a shell");
    assert!(
        done.status.success(),
        "softhsm2 is not installed and cannot be fetched (apt-get install softhsm2): {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Whether the tool starts and the module finds every library that it needs; else what is wrong.
fn runs((module, tool): &(PathBuf, PathBuf)) -> Result<(), String> {
    let done = Command::new(tool).arg("--version").output();
    let done = done.map_err(|error| format!("{}: {error}", tool.display()))?;
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    // Names the library that is missing.
    Pkcs11::new(module)
        .map(drop)
        .map_err(|error| format!("{}: {error}", module.display()))
}

/// Puts key and certificate on a new token of that label; a second certificate, for signing, beside it.
pub(crate) fn make_token(
    tool: &Path,
    module: &Path,
    label: &str,
    root: &Path,
    card: &cards::Card,
    other: &cards::Card,
) {
    let run = |args: &[&str]| {
        let done = Command::new(tool).arg("--module").arg(module).args(args).output();
        let done = done.expect("runs");
        assert!(
            done.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    run(&[
        "--init-token",
        "--free",
        "--label",
        label,
        "--pin",
        PIN,
        "--so-pin",
        "12345678",
    ]);
    let key = root.join(format!("{label}.p8"));
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        data_encoding::BASE64.encode(&card.key_der())
    );
    std::fs::write(&key, pem).expect("written");
    run(&[
        "--import",
        &key.display().to_string(),
        "--token",
        label,
        "--label",
        "auth",
        "--id",
        "a1",
        "--pin",
        PIN,
    ]);
    // Where it is in use already it does not look for new tokens.
    let _ = Pkcs11::new(module).expect("a module").finalize();
    let module = Pkcs11::new(module).expect("a module");
    module
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .expect("begun anew");
    let slots = module.get_slots_with_token().expect("slots");
    let slot = slots
        .into_iter()
        .find(|slot| {
            module
                .get_token_info(*slot)
                .is_ok_and(|info| info.label() == label)
        })
        .expect("the token");
    let session = module.open_rw_session(slot).expect("a session");
    session
        .login(UserType::User, Some(&AuthPin::from(PIN)))
        .expect("logged in");
    for (id, der) in [(0xb2, &other.certificate), (0xa1, &card.certificate)] {
        session
            .create_object(&[
                Attribute::Class(ObjectClass::CERTIFICATE),
                Attribute::CertificateType(CertificateType::X_509),
                Attribute::Token(true),
                Attribute::Private(false),
                Attribute::Id(vec![id]),
                Attribute::Subject(vec![0x30, 0]),
                Attribute::Value(der.clone()),
            ])
            .expect("stored");
    }
    session.logout().expect("logged out");
}
