//! Cards behind PKCS#11 modules: SoftHSM's tokens as they are, and behind a module that alters what they say of themselves. What is wrong with a
//! card or a file in its place has its own words and its own reason each.

use std::process::Command;
use std::sync::LazyLock;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use tally_proto::card::Scheme;
use tally_proto::ids::UnixSeconds;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use super::*;
use crate::soft_hsm::{make_token, soft_hsm};

/// SoftHSM with a directory of tokens; its state is the process's, so one test at a time has it.
struct Hsm {
    module: PathBuf,
    tool: PathBuf,
    root: TempDir,
}

static HSM: LazyLock<Mutex<Hsm>> = LazyLock::new(|| {
    let (module, tool) = soft_hsm();
    let root = tempfile::tempdir().expect("a directory");
    let tokens = root.path().join("tokens");
    std::fs::create_dir_all(&tokens).expect("a directory");
    let conf = root.path().join("softhsm2.conf");
    std::fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display())).expect("written");
    // SoftHSM reads this when it is loaded.
    #[expect(
        unsafe_code,
        reason = "SoftHSM takes its directory from the environment; nothing else here reads this variable"
    )]
    unsafe {
        std::env::set_var("SOFTHSM2_CONF", &conf);
    }
    Mutex::new(Hsm { module, tool, root })
});

impl Hsm {
    /// A token of that label with the card's key, and beside its certificate one for signing documents.
    fn token(&self, label: &str, card: &cards::Card, other: &cards::Card) {
        make_token(&self.tool, &self.module, label, self.root.path(), card, other);
    }

    /// The same, whose key wants the PIN within each signature.
    fn token_within(&self, altered: &Altered, label: &str, card: &cards::Card, other: &cards::Card) {
        altered.wish("reauthenticate 1");
        make_token(&self.tool, &altered.module, label, self.root.path(), card, other);
        altered.wish("");
    }

    /// `soft_hsm/altered.c` before SoftHSM.
    fn altered(&self) -> Altered {
        let (module, wishes) = (
            self.root.path().join("altered.so"),
            self.root.path().join("wishes"),
        );
        std::fs::write(&wishes, "").expect("written");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/soft_hsm/altered.c");
        compile(
            &[
                &format!("-DREAL=\"{}\"", self.module.display()),
                &format!("-DWISHES=\"{}\"", wishes.display()),
                source,
            ],
            &module,
        );
        Altered { module, wishes }
    }
}

/// A library of that C source.
fn compile(args: &[&str], to: &Path) {
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-x", "c"])
        .args(args)
        .arg("-o")
        .arg(to)
        .arg("-ldl")
        .output()
        .expect("a C compiler, cc");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A module that says other things than the token behind it.
struct Altered {
    module: PathBuf,
    wishes: PathBuf,
}

impl Altered {
    fn wish(&self, wishes: &str) {
        std::fs::write(&self.wishes, wishes).expect("written");
    }

    /// How often the PIN was shown to the card within a signature since this was asked last.
    fn tries_within(&self) -> u64 {
        let file = self.wishes.with_extension("within");
        let tries = std::fs::metadata(&file).map_or(0, |about| about.len());
        let _ = std::fs::remove_file(&file);
        tries
    }
}

async fn hsm() -> MutexGuard<'static, Hsm> {
    HSM.lock().await
}

fn card_of(world: &mut World, voter: u32, key: CardKey) -> (cards::Card, cards::Card) {
    let shape = CardShape::of(&called(1, voter), key, OPENS);
    let made = card(world, &shape);
    let signing = CardShape {
        authentication: false,
        ..shape
    };
    (made, card(world, &signing))
}

/// No card's PIN and no file's password.
const WRONG: &str = "9753";
const BYTES: &[u8] = b"what a card is asked to sign";

/// Finds the card, chooses its certificate and signs with what `ask` answers; the questions are kept.
fn signed(
    world: &World,
    module: &Path,
    label: &str,
    mut ask: impl FnMut() -> &'static str,
) -> (Vec<String>, Result<Vec<u8>, CardFailure>) {
    let mut questions = Vec::new();
    let mut asking = |question: &str| {
        questions.push(question.to_owned());
        Ok(Zeroizing::new(ask().to_owned()))
    };
    let register = world.fixture.manifest.manifest().register().expect("a register");
    let signature = Token::find(module, Some(label)).and_then(|token| {
        let card = Card::Token(token);
        let chosen = card.choose(register, UnixSeconds(OPENS))?;
        card.sign(&chosen, [BYTES.to_vec()], &mut asking)
            .map(|[signature]| signature)
    });
    (questions, signature)
}

/// Words for people: a sentence without what was typed.
fn refused(failure: CardFailure) -> (Reason, String) {
    let words = failure.to_string();
    assert!(words.split_whitespace().count() >= 5, "{words}");
    assert!(!words.contains(PIN) && !words.contains(WRONG), "{words}");
    (failure.reason(), words)
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_of_every_kind_enrol_by_pkcs11() {
    let hsm = hsm().await;
    let (mut world, parties) = start().await;
    for (voter, key) in (0..3).zip(CardKey::ALL) {
        let (made, other) = card_of(&mut world, voter, key);
        hsm.token(&format!("card-{voter}"), &made, &other);
    }
    for voter in 0..3 {
        let label = format!("card-{voter}");
        let token = Card::Token(Token::find(&hsm.module, Some(&label)).expect("found"));
        enrolled(&world, &parties, &token, voter).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_is_said_before_the_next_try_until_the_right_one() {
    let hsm = hsm().await;
    let mut world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    let (made, other) = card_of(&mut world, 0, CardKey::P256);
    hsm.token("plain", &made, &other);
    let question = |left: &str| vec![format!("PIN of the card \"plain\"{left}:")];
    let (asked, signature) = signed(&world, &hsm.module, "plain", || PIN);
    assert_eq!(asked, question(""));
    assert_eq!(signature.expect("signed").len(), 64);
    // SoftHSM never locks; after a wrong PIN it says that few tries are left, until the right one.
    for left in ["", " (few tries are left)"] {
        let (asked, failed) = signed(&world, &hsm.module, "plain", || WRONG);
        assert_eq!(asked, question(left));
        let (reason, words) = refused(failed.expect_err("a wrong PIN"));
        assert_eq!(reason, Reason::CardPinFew);
        assert!(words.contains("few tries are left: look it up"), "{words}");
    }
    // What is not typed is no try.
    let (_, failed) = signed(&world, &hsm.module, "plain", || "");
    let (reason, words) = refused(failed.expect_err("no PIN"));
    assert_eq!(reason, Reason::CardCancelled);
    assert!(words.contains("no try is lost"), "{words}");
    for left in [" (few tries are left)", ""] {
        let (asked, signature) = signed(&world, &hsm.module, "plain", || PIN);
        assert_eq!(asked, question(left));
        signature.expect("signed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_of_a_reader_and_a_card_has_its_own_words_and_reason() {
    let hsm = hsm().await;
    let altered = hsm.altered();
    let mut world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    let (made, other) = card_of(&mut world, 0, CardKey::P384);
    hsm.token("altered", &made, &other);
    let module = &altered.module;
    let (_, signature) = signed(&world, module, "altered", || PIN);
    signature.expect("signs while nothing is altered");

    // What is said before anybody is asked for a PIN. Codes and flags are those of PKCS#11.
    for (wishes, due, part) in [
        ("no-slots 1", Reason::CardReader, "no card reader"),
        ("no-tokens 1", Reason::CardAbsent, "no card in the reader"),
        ("about e0", Reason::CardAbsent, "no card in the reader"),
        ("hide-class 1", Reason::CardEmpty, "no certificate on it"),
        ("set 40000", Reason::CardLocked, "unlock it with its PUK"),
        ("initialize 5", Reason::CardSoftware, "card software"),
        // Typed on the reader's own keys, or not.
        ("set 100\nlogin 50", Reason::CardCancelled, "was cancelled"),
        ("set 100\nlogin a4", Reason::CardLocked, "unlock it with its PUK"),
    ] {
        altered.wish(wishes);
        let (asked, failed) = signed(&world, module, "altered", || panic!("asked: {wishes}"));
        assert_eq!(asked, [""; 0]);
        let (reason, words) = refused(failed.expect_err(wishes));
        assert_eq!(reason, due, "{wishes}: {words}");
        assert!(words.contains(part), "{wishes}: {words}");
    }

    // A wrong PIN, by what the card says before and after it. 10000: few tries, 20000: the last, 40000: locked.
    for (before, after, left, due, part) in [
        (
            "",
            "clear 10000",
            "",
            Reason::CardPinWrong,
            "several tries are left",
        ),
        ("clear 10000", "", "", Reason::CardPinFew, "few tries are left"),
        (
            "clear 10000",
            "set 20000",
            "",
            Reason::CardPinLast,
            "only one try is left",
        ),
        (
            "set 10000",
            "set 20000",
            " (few tries are left)",
            Reason::CardPinLast,
            "only one try is left",
        ),
        (
            "set 20000",
            "set 40000",
            " (only one try is left)",
            Reason::CardLocked,
            "unlock it with its PUK",
        ),
        (
            "clear 10000",
            "clear 10000\nlogin a1",
            "",
            Reason::CardPinWrong,
            "several tries are left",
        ),
        (
            "clear 10000",
            "clear 10000\nlogin a2",
            "",
            Reason::CardPinWrong,
            "several tries are left",
        ),
        (
            "clear 10000",
            "login a4",
            "",
            Reason::CardLocked,
            "unlock it with its PUK",
        ),
        (
            "clear 10000",
            "login 50",
            "",
            Reason::CardCancelled,
            "was cancelled",
        ),
        (
            "clear 10000",
            "login 32",
            "",
            Reason::CardAbsent,
            "no card in the reader",
        ),
    ] {
        altered.wish(before);
        let (asked, failed) = signed(&world, module, "altered", || {
            altered.wish(after);
            WRONG
        });
        assert_eq!(asked, [format!("PIN of the card \"altered\"{left}:")], "{after}");
        let (reason, words) = refused(failed.expect_err(after));
        assert_eq!(reason, due, "{before}, {after}: {words}");
        assert!(words.contains(part), "{before}, {after}: {words}");
    }

    // With the right PIN.
    for (wishes, due, part) in [
        (
            "hide-class 3",
            Reason::CardKeyMissing,
            "the key of the certificate is not there",
        ),
        ("sign 50", Reason::CardCancelled, "nothing was signed"),
        ("sign 32", Reason::CardAbsent, "no card in the reader"),
        ("sign 101", Reason::CardAsksAgain, "does not take it there"),
        ("sign 30", Reason::CardFailed, "take it out, put it in again"),
    ] {
        altered.wish(wishes);
        let (asked, failed) = signed(&world, module, "altered", || PIN);
        assert_eq!(asked.len(), 1, "{wishes}");
        let (reason, words) = refused(failed.expect_err(wishes));
        assert_eq!(reason, due, "{wishes}: {words}");
        assert!(words.contains(part), "{wishes}: {words}");
    }
    altered.wish("");
    let (_, signature) = signed(&world, module, "altered", || PIN);
    signature.expect("none of this used the card up");

    // Another card than was asked for, and modules that are none.
    let (_, failed) = signed(&world, module, "another", || panic!("asked"));
    let (reason, words) = refused(failed.expect_err("another card"));
    assert_eq!(reason, Reason::CardOther);
    assert!(
        words.contains("\"another\"") && words.contains("\"altered\""),
        "{words}"
    );
    let no_library = hsm.root.path().join("text.so");
    std::fs::write(&no_library, "no library").expect("written");
    let (no_module, source) = (hsm.root.path().join("other.so"), hsm.root.path().join("other.c"));
    std::fs::write(&source, "int other(void) { return 0; }\n").expect("written");
    compile(&[&source.display().to_string()], &no_module);
    for path in [&no_library, &no_module, Path::new("/nowhere.so")] {
        let (_, failed) = signed(&world, path, "altered", || panic!("asked"));
        let (reason, words) = refused(failed.expect_err("no module"));
        assert_eq!(reason, Reason::CardSoftware, "{words}");
        assert!(words.contains(&path.display().to_string()), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_does_not_hash_by_itself_makes_the_same_signature() {
    let hsm = hsm().await;
    let altered = hsm.altered();
    let mut world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    let (made, other) = card_of(&mut world, 0, CardKey::Rsa2048);
    hsm.token("rsa", &made, &other);
    let due = made.sign(Scheme::RsaPkcs1Sha256, BYTES);
    // CKM_SHA256_RSA_PKCS, with which the card then signs nothing.
    for hidden in ["", "hide-mechanism 40"] {
        altered.wish(hidden);
        let (_, signature) = signed(&world, &altered.module, "rsa", || PIN);
        assert_eq!(signature.expect("signed"), due, "{hidden}");
    }
}

/// What the card says to a signature in one step, logged in as it should be.
fn in_one_step(module: &Path, label: &str, mechanism: &Mechanism<'_>) -> Result<Vec<u8>, Error> {
    let module = Pkcs11::new(module).expect("a module");
    let _ = module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let slots = module.get_slots_with_token().expect("slots");
    let of_label = |slot: &Slot| {
        module
            .get_token_info(*slot)
            .is_ok_and(|info| info.label() == label)
    };
    let slot = slots.into_iter().find(of_label).expect("the token");
    let session = module.open_ro_session(slot).expect("a session");
    session
        .login(UserType::User, Some(&AuthPin::from(PIN)))
        .expect("logged in");
    let key = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]);
    session.sign(mechanism, key.expect("found")[0], &[0; 32])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_wants_its_pin_within_each_signature_is_shown_it_there_and_the_voter_types_it_once() {
    let hsm = hsm().await;
    let altered = hsm.altered();
    // With tickets a card signs twice.
    let (mut world, parties) = start_with(true).await;
    let kinds = [
        (CardKey::Rsa2048, "", Mechanism::Sha256RsaPkcs),
        // SoftHSM signs in steps what it hashes itself; other modules keep a digest until the last step.
        (CardKey::P256, "keep 1", Mechanism::Ecdsa),
        (CardKey::P384, "keep 1", Mechanism::Ecdsa),
    ];
    for (voter, (key, wishes, mechanism)) in (0..).zip(kinds) {
        let label = format!("within-{voter}");
        let (made, other) = card_of(&mut world, voter, key);
        hsm.token_within(&altered, &label, &made, &other);
        // The card does insist.
        let insists = in_one_step(&altered.module, &label, &mechanism);
        assert!(
            matches!(
                insists,
                Err(Error::Pkcs11(RvError::UserNotLoggedIn, Function::Sign))
            ),
            "{insists:?}"
        );
        // Said of the key or not.
        for hidden in ["", "\nhide-attribute 202"] {
            altered.wish(&format!("{wishes}{hidden}"));
            assert_eq!(altered.tries_within(), 0);
            let token = Card::Token(Token::find(&altered.module, Some(&label)).expect("found"));
            enrolled(&world, &parties, &token, voter).await;
            assert_eq!(altered.tries_within(), 2, "{key:?}: once for each signature");
            next_second(&world).await;
        }
    }
    // A card that does not hash by itself.
    altered.wish("hide-mechanism 40\nkeep 1");
    let token = Card::Token(Token::find(&altered.module, Some("within-0")).expect("found"));
    enrolled(&world, &parties, &token, 0).await;
    // Where the module takes bytes in one step only there is no place for the PIN, and the voter is told so.
    altered.wish("");
    let (asked, failed) = signed(&world, &altered.module, "within-1", || PIN);
    let (reason, words) = refused(failed.expect_err("no way"));
    assert_eq!((asked.len(), reason), (1, Reason::CardAsksAgain));
    assert!(words.contains("does not take it there"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_card_says_to_the_pin_within_a_signature_is_told_and_it_is_shown_once() {
    let hsm = hsm().await;
    let altered = hsm.altered();
    let mut world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    let (made, other) = card_of(&mut world, 0, CardKey::Rsa2048);
    hsm.token_within(&altered, "insists", &made, &other);
    let _ = altered.tries_within();
    for (wishes, due, part) in [
        ("context a0", Reason::CardPinWrong, "several tries are left"),
        ("set 10000\ncontext a0", Reason::CardPinFew, "few tries are left"),
        (
            "set 20000\ncontext a0",
            Reason::CardPinLast,
            "only one try is left",
        ),
        ("context a4", Reason::CardLocked, "unlock it with its PUK"),
        ("context 50", Reason::CardCancelled, "nothing was signed"),
        ("context 32", Reason::CardAbsent, "no card in the reader"),
        ("context 91", Reason::CardAsksAgain, "does not take it there"),
        ("context 103", Reason::CardAsksAgain, "does not take it there"),
        ("context 30", Reason::CardFailed, "take it out, put it in again"),
    ] {
        altered.wish(wishes);
        let (asked, failed) = signed(&world, &altered.module, "insists", || PIN);
        assert_eq!((asked.len(), altered.tries_within()), (1, 1), "{wishes}");
        let (reason, words) = refused(failed.expect_err(wishes));
        assert_eq!(reason, due, "{wishes}: {words}");
        assert!(words.contains(part), "{wishes}: {words}");
    }
    // A wrong PIN at the beginning is shown once too, and never within.
    altered.wish("");
    let (_, failed) = signed(&world, &altered.module, "insists", || WRONG);
    assert_eq!(refused(failed.expect_err("a wrong PIN")).0, Reason::CardPinFew);
    assert_eq!(altered.tries_within(), 0);
    let (_, signature) = signed(&world, &altered.module, "insists", || PIN);
    assert_eq!(
        signature.expect("signed"),
        made.sign(Scheme::RsaPkcs1Sha256, BYTES)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_a_cards_place_are_refused_by_reason() {
    let mut world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    let made = card(&mut world, &CardShape::of(&called(1, 0), CardKey::P256, OPENS));
    let path = pkcs12(&world, &made);
    let other = world.root.path().join("other.p12");
    std::fs::write(&other, b"not a file of that kind").expect("written");
    for (path, password, due, part) in [
        (path.as_path(), WRONG, Reason::CardFilePassword, "password of"),
        (&other, PASSWORD, Reason::CardFile, "is no PKCS#12 file"),
        (
            Path::new("/nowhere.p12"),
            PASSWORD,
            Reason::CardFile,
            "cannot read",
        ),
    ] {
        let failure = CardFile::open(path, password).expect_err("refused");
        let (reason, words) = refused(failure);
        assert_eq!(reason, due, "{words}");
        assert!(
            words.contains(part) && words.contains(&path.display().to_string()),
            "{words}"
        );
    }
}
