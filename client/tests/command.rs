//! The command line as a person or a script uses it, against three parties over real TLS.

use std::io::Cursor;
use std::path::PathBuf;

use rand::{SeedableRng, rngs::StdRng};
use tally_client::cli::{Console, run};
use tally_client::station::StationKeys;
use tally_proto::identity::Fingerprint;
use tally_proto::ids::{BoxId, Role, StationId, VoterIndex};
use tally_proto::invitation::sheet::Addressee;
use tally_proto::invitation::{Credential, Invitation, Letter, Message, Part};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::wire;
use tally_proto::wire::sealed_fate::Fate;

use crate::fake::history::Telling;
use crate::fake::{Manner, Plain, Town};
use crate::world::Agencies;

/// A town on a runtime of its own, and a desk with the files of a voter and a station.
struct Desk {
    town: Town,
    directory: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

/// What a command left.
struct Left {
    code: u8,
    out: String,
    err: String,
}

impl Desk {
    fn new(away: &[Role]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let agencies = Agencies::new(1);
        let mut rng = StdRng::seed_from_u64(100);
        let at = directory.path().join("station");
        let keys = StationKeys::create(&at, StationId(3), "Town hall", vec![], &mut rng).unwrap();
        let certificate = agencies.commission.sign_request(
            &keys.request().unwrap(),
            &PeerRole::Station(StationId(3)),
            &[],
            tally_proto::pki::Life::of_leaf(),
        );
        keys.install_certificate(&certificate.unwrap()).unwrap();
        let town = runtime.block_on(Town::open_with(&agencies, &[keys.identity().clone()], away));
        let desk = Self {
            town,
            directory,
            _runtime: runtime,
        };
        std::fs::write(desk.path("manifest"), desk.town.signed.envelope().encode()).unwrap();
        std::fs::write(
            desk.path("invitation"),
            &**desk.town.invitation(42, 0xabcd).to_link(),
        )
        .unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a command line; `@name` stands for a file of the desk. `typed`: what a person types, if there is one.
    fn run(&self, line: &str, typed: Option<&str>) -> Left {
        let expand = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => word.replace('_', " ").into(),
        };
        let args = std::iter::once("client".into()).chain(line.split_whitespace().map(expand));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut input = Cursor::new(typed.unwrap_or_default().as_bytes().to_vec());
        let mut console = Console {
            input: &mut input,
            interactive: typed.is_some(),
            out: &mut out,
            err: &mut err,
        };
        let code = run(args, &mut console);
        Left {
            code,
            out: String::from_utf8(out).unwrap(),
            err: String::from_utf8(err).unwrap(),
        }
    }
}

const VOTER: &str = "--manifest @manifest --invitation @invitation";

#[test]
fn a_voter_looks_votes_and_erases() {
    let desk = Desk::new(&[]);
    let shown = desk.run(&format!("show {VOTER} --language de"), None);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(
        shown
            .out
            .starts_with("Ratswahl\nNorth\n\n1. Bürgermeister (choose one)\n     1  Maria Schmidt\n"),
        "{}",
        shown.out
    );
    let json: serde_json::Value =
        serde_json::from_str(&desk.run(&format!("show {VOTER} --json"), None).out).unwrap();
    assert_eq!(json["contests"][1]["choose_at_most"], 2);

    let vote = format!("vote {VOTER} --state @state --choice Mayor=jan_novak --choice 2=1 --keep-receipt");
    let asked = desk.run(&format!("{vote} --language en"), Some("yes\n"));
    assert_eq!(asked.code, 0, "{}", asked.err);
    assert!(
        asked
            .err
            .contains("   Mayor: Jan Novak\n   Council: Maria Schmidt\n"),
        "{}",
        asked.err
    );
    assert_eq!(
        asked.out,
        "Your ballot was accepted by Court, University and Statistics.\n\
         It stands in the public log of Court, University and Statistics, and other parties have seen that.\n"
    );
    let cast = desk.run(&format!("{vote} --yes --json"), None);
    let json: serde_json::Value = serde_json::from_str(&cast.out).unwrap();
    assert_eq!(json["accepted"], serde_json::json!([1, 2, 3]));
    let digest = json["digest"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        desk.town.plain(digest),
        Plain {
            index: 42,
            credential: 0xabcd,
            payload: 2 | (0b001 << 2)
        }
    );

    let listed = desk.run("receipts --state @state --manifest @manifest", None);
    assert_eq!(
        listed.out.matches("signature verified").count(),
        6,
        "{}",
        listed.out
    );
    assert!(listed.out.contains(&digest.to_string()));
    assert_eq!(
        desk.run("erase --state @state", None).out,
        "All kept receipts were erased.\n"
    );
    assert_eq!(
        desk.run("receipts --state @state", None).out,
        "No receipts are kept on this device.\n"
    );
}

#[test]
fn a_voter_is_asked_for_what_is_missing() {
    let desk = Desk::new(&[]);
    let manifest = desk.town.signed.hash();
    let half = |half, credential| {
        let (voter, credential) = (VoterIndex(7), Credential::new(credential));
        match half {
            0 => Letter::new(Invitation::new(&manifest, BoxId(1), voter, credential)).to_code(),
            _ => Message::new(&manifest, BoxId(1), voter, credential).to_code(),
        }
        .to_string()
    };
    let typed = format!(
        "{}\n{}\n3\nmaria schmidt, 2\nyes\n",
        half(0, 0xff00),
        half(1, 0x00ff)
    );
    let cast = desk.run(
        "vote --manifest @manifest --state @state --language en --json",
        Some(&typed),
    );
    assert_eq!(cast.code, 0, "{}", cast.err);
    let json: serde_json::Value = serde_json::from_str(&cast.out).unwrap();
    let digest = json["digest"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        desk.town.plain(digest),
        Plain {
            index: 7,
            credential: 0xffff,
            payload: 3 | (0b011 << 2)
        }
    );

    let refused = desk.run(&format!("vote {VOTER} --state @state --choice 1=1"), Some("no\n"));
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    assert!(
        refused
            .err
            .ends_with("nothing was cast: the ballot was not confirmed\n")
    );
    let nobody = desk.run(&format!("vote {VOTER} --state @state --choice 1=1"), None);
    assert!(
        nobody.code == 2 && nobody.err.contains("give --yes"),
        "{}",
        nobody.err
    );
}

#[test]
fn mistakes_are_told_before_anything_is_sent() {
    let desk = Desk::new(&[]);
    std::fs::write(desk.path("typo"), "tally:v1:0000-0000").unwrap();
    std::fs::write(desk.path("junk"), "junk").unwrap();
    let vote = |rest: &str| format!("vote --state @state --yes {rest}");
    let table = [
        (
            vote(&format!("{VOTER} --choice Mayor=Maria_Schmitt")),
            3,
            "did you mean \"Maria Schmidt\"?",
        ),
        (
            vote(&format!("{VOTER} --choice 1=1 --choice 1=2")),
            3,
            "at most 1, but 2 were chosen",
        ),
        (
            vote(&format!("{VOTER} --choice 2=1 --choice 2=2 --choice 2=3")),
            3,
            "at most 2, but 3 were chosen",
        ),
        (
            vote("--manifest @manifest --invitation @typo --choice 1=1"),
            3,
            "a code that begins like this has 9 groups of 4, this has 8",
        ),
        (
            vote("--manifest @junk --invitation @invitation --choice 1=1"),
            3,
            "not a signed manifest",
        ),
        (
            vote("--manifest @nothing --invitation @invitation --choice 1=1"),
            1,
            "cannot read",
        ),
        (vote(&format!("{VOTER} --choise 1=1")), 2, "--choise"),
        ("vote".to_owned(), 2, "--manifest"),
    ];
    for (line, code, words) in table {
        let left = desk.run(&line, None);
        assert_eq!(left.code, code, "{line}: {}", left.err);
        assert!(left.err.contains(words), "{line}: {}", left.err);
        assert_eq!(left.out, "");
    }
    for party in Role::ALL {
        assert_eq!(desk.town.party(party).seen(|seen| seen.calls.len()), 0);
    }
}

#[test]
fn refusals_and_absences_have_their_own_exit_codes() {
    let vote = format!("vote {VOTER} --state @state --yes --choice 1=1 --give-up-after 0 --wait-for-third 1");
    let desk = Desk::new(&[Role::P2]);
    let one_away = desk.run(&vote, None);
    assert_eq!(one_away.code, 0, "{}", one_away.err);
    assert!(one_away.out.starts_with("Your ballot was accepted by Court and Statistics.\nThe ballot is safe without it, but: University (P2) could not be reached"), "{}", one_away.out);
    for party in [Role::P1, Role::P3] {
        desk.town
            .party(party)
            .behave(Manner::Refusing(Reason::BallotBeforeOpening));
    }
    let refused = desk.run(&vote, None);
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(refused.err.contains("ballot.before-opening"));
    let desk = Desk::new(&[Role::P1, Role::P2]);
    let alone = desk.run(&vote, None);
    assert_eq!(alone.code, 5, "{}", alone.err);
    assert!(alone.err.contains("Court (P1) could not be reached"));
}

#[test]
fn decoys_are_printed_and_nothing_is_kept() {
    let desk = Desk::new(&[]);
    let before = std::fs::read_dir(desk.directory.path()).unwrap().count();
    let made = desk.run("decoy --invitation @invitation --count 3", None);
    assert_eq!(made.code, 0);
    let lines: Vec<&str> = made.out.lines().collect();
    let real = desk.town.invitation(42, 0xabcd).to_link();
    assert_eq!(lines.len(), 3);
    for line in lines {
        assert_eq!(line.len(), real.len());
        assert_ne!(line, real.as_str());
        assert!(Invitation::parse(line).is_ok());
    }
    assert_eq!(made.err, "");
    assert_eq!(std::fs::read_dir(desk.directory.path()).unwrap().count(), before);
}

#[test]
fn a_file_of_a_decoy_is_like_the_one_it_is_made_of_and_tells_no_moment() {
    use std::fs::{Permissions, read_to_string};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let desk = Desk::new(&[]);
    let decoy = |files: &str| desk.run(&format!("decoy {files}"), None);
    let times = |name: &str| {
        let about = std::fs::metadata(desk.path(name)).unwrap();
        let at = |seconds, part| (seconds, part);
        let (read, written) = (
            at(about.atime(), about.atime_nsec()),
            at(about.mtime(), about.mtime_nsec()),
        );
        (read, written, at(about.ctime(), about.ctime_nsec()))
    };
    let mode = |name: &str| std::fs::metadata(desk.path(name)).unwrap().mode() & 0o777;

    // As `enrol --out` leaves it. A file of the name that a replacing program would use is the user's.
    let own = read_to_string(desk.path("invitation")).unwrap();
    let enrolled = desk.path("enrolled");
    std::fs::write(&enrolled, own.trim()).unwrap();
    std::fs::set_permissions(&enrolled, Permissions::from_mode(0o600)).unwrap();
    let beginning_of_2000 = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(946_684_800);
    let no_moment = std::fs::FileTimes::new()
        .set_accessed(beginning_of_2000)
        .set_modified(beginning_of_2000);
    std::fs::File::open(&enrolled)
        .unwrap()
        .set_times(no_moment)
        .unwrap();
    std::fs::write(desk.path("decoy.new"), "the user's").unwrap();
    let before = times("enrolled");
    let made = decoy("--invitation @enrolled --out @decoy");
    assert_eq!((made.code, made.out.as_str(), made.err.as_str()), (0, "", ""));
    assert_eq!(read_to_string(desk.path("decoy.new")).unwrap(), "the user's");
    assert_eq!(times("enrolled"), before, "not even that it was read");
    assert_eq!(decoy("--invitation @decoy --out @another").code, 0);
    let codes = ["decoy", "another"].map(|name| {
        let (read, written, _) = times(name);
        assert_eq!((read, written), ((946_684_800, 0), (946_684_800, 0)), "{name}");
        assert_eq!(mode(name), 0o600, "{name}");
        let code = read_to_string(desk.path(name)).unwrap();
        assert_eq!(code, code.trim());
        assert!(Invitation::parse(&code).is_ok());
        code
    });
    assert_ne!(codes[0], codes[1]);

    // A file of the user's own has a time, and what stands for it has one too.
    std::fs::set_permissions(desk.path("invitation"), Permissions::from_mode(0o640)).unwrap();
    std::fs::write(desk.path("invitation"), format!("{}\n", own.trim())).unwrap();
    let before = times("invitation");
    assert_eq!(decoy("--invitation @invitation --out @like").code, 0);
    assert_eq!(times("invitation"), before);
    let like = read_to_string(desk.path("like")).unwrap();
    assert_eq!((mode("like"), like.len()), (0o640, own.trim().len() + 1));
    assert!(like.ends_with('\n') && times("like").1.0 > 946_684_800);

    // Nothing is written over, and where one of two is there neither is written.
    let twice = decoy("--invitation @invitation --out @decoy");
    assert_eq!(twice.code, 1, "{}", twice.err);
    assert_eq!(read_to_string(desk.path("decoy")).unwrap(), codes[0]);
    let halves = decoy("--invitation @invitation --invitation @enrolled --out @first --out @decoy");
    assert_eq!(halves.code, 1, "{}", halves.err);
    assert!(!desk.path("first").exists());
    // One file for each code.
    let more = decoy("--invitation @invitation --out @one --out @two");
    assert_eq!(more.code, 2);
    assert!(
        more.err
            .contains("--out was given 2 times, and the invitation is of 1 codes"),
        "{}",
        more.err
    );
    assert!(!desk.path("one").exists());
}

#[test]
fn a_station_votes_queues_and_drains() {
    let desk = Desk::new(&[]);
    let made = desk.run(
        "station init --dir @new --id 9 --name School --box 2 --box 1",
        None,
    );
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.out.contains("fingerprint"));
    let again = desk.run("station init --dir @new --id 9 --name School", None);
    assert_eq!(again.code, 1, "{}", again.err);

    let at = "--dir @station --manifest @manifest";
    let vote = desk.run(
        &format!("station vote {at} --box 1 --index 5 --choice 1=2 --deliver-for 0 --json"),
        None,
    );
    assert_eq!(vote.code, 0, "{}", vote.err);
    let vote: serde_json::Value = serde_json::from_str(&vote.out).unwrap();
    assert_eq!(
        (vote["sequence"].as_u64(), &vote["left"]),
        (Some(1), &serde_json::Value::Null)
    );
    let typed = desk.run(&format!("station paper {at} --box 2"), Some("6\n"));
    assert_eq!(typed.code, 0, "{}", typed.err);
    assert!(
        typed
            .out
            .starts_with("The paper vote is queued as number 1, cast at "),
        "{}",
        typed.out
    );
    let digest = vote["digest"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        desk.town.plain(digest),
        Plain {
            index: 5,
            credential: 0,
            payload: 2
        }
    );

    desk.town
        .party(Role::P3)
        .behave(Manner::Refusing(Reason::PartyBusy));
    let third = desk.run(
        &format!("station vote {at} --box 1 --index 7 --blank --deliver-for 1"),
        None,
    );
    assert_eq!(third.code, 0, "{}", third.err);
    assert!(
        third.err.contains("Statistics (P3) could not be reached") && third.err.contains("safe on this disk")
    );
    let left = desk.run(&format!("station drain {at} --give-up-after 0"), None);
    assert_eq!(
        (left.code, left.out.as_str()),
        (6, "0 delivered to all three parties, 1 left.\n")
    );
    let status: serde_json::Value =
        serde_json::from_str(&desk.run(&format!("station status {at} --json"), None).out).unwrap();
    assert_eq!(status["lacking"], serde_json::json!([0, 0, 1]));
    assert_eq!(
        (status["pending"].as_u64(), status["safe"].as_u64()),
        (Some(1), Some(1))
    );
    desk.town.party(Role::P3).behave(Manner::Honest);
    let done = desk.run(&format!("station drain {at}"), None);
    assert_eq!(
        (done.code, done.out.as_str()),
        (0, "1 delivered to all three parties, 0 left.\n")
    );
    let shown = desk.run(&format!("station status {at}"), None);
    assert!(
        shown.out.contains("box 1: 2 electronic, 0 paper")
            && shown.out.contains("box 2: 0 electronic, 1 paper"),
        "{}",
        shown.out
    );

    let nobody = desk.run(
        &format!("station vote {at} --box 1 --index 500 --choice 1=1"),
        None,
    );
    assert!(
        nobody.code == 3 && nobody.err.contains("not in box 1"),
        "{}",
        nobody.err
    );
    let word = desk.run(&format!("station paper {at} --box 1"), Some("six\n"));
    assert!(
        word.code == 3 && word.err.contains("\"six\" is not a number"),
        "{}",
        word.err
    );
}

/// Every file below `at`: its path from there, and its bytes.
fn files(at: &std::path::Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push((path.clone(), std::fs::read(path).unwrap()));
        }
    }
    all
}

#[test]
fn a_ballot_is_inspected_on_another_device_and_nothing_of_it_is_left_on_this_one() {
    let desk = Desk::new(&[]);
    let vote = format!(
        "vote {VOTER} --state @state --choice Mayor=jan_novak --language en --second-device --show-name"
    );
    let voted = desk.run(&vote, Some("yes\n\n"));
    assert_eq!(voted.code, 0, "{}", voted.err);
    assert!(voted.out.contains("It stands in the public log of Court, University and Statistics, and other parties have seen that."), "{}", voted.out);
    let code = voted
        .err
        .lines()
        .find(|line| line.starts_with("TALLY:CHECK:1:"))
        .unwrap();
    assert!(
        !voted.out.contains("TALLY:CHECK"),
        "the code is shown, it is no result to be piped into a file"
    );
    // The picture holds the very same text, and is erased with it, what can be scrolled back to included.
    assert_eq!(scanned(&voted.err), code);
    assert!(
        voted.err.ends_with(
            "\u{1b}[H\u{1b}[2J\u{1b}[3J\nA moment: this device forgets when it cast the ballot.\n"
        )
    );
    let name = voted
        .out
        .lines()
        .find_map(|line| line.strip_prefix("Its name: "))
        .unwrap();
    let (digest, words) = name.strip_prefix("1:").unwrap().split_once('-').unwrap();

    // On the device: the second of its last cast, and nothing else.
    let mut left = files(&desk.path("state"));
    left.sort();
    let names = ["device", "lock"].map(|name| desk.path("state").join(name));
    assert_eq!(
        left.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(),
        names
    );
    assert!(left[1].1.is_empty());
    let text = String::from_utf8(left[0].1.clone()).unwrap();
    assert_eq!(text, "tally-device 1 last-cast-at 00000000000000000000\n");
    for trace in [
        digest,
        words,
        &digest[..8],
        &code[14..22],
        "party-",
        "council",
        "log",
        "Jan",
        "North",
    ] {
        assert!(!text.contains(trace), "{trace} in {text}");
    }

    // On the other device, which has the manifest and its fingerprint from the commission.
    std::fs::write(desk.path("code"), code).unwrap();
    let fingerprint = Fingerprint::of_hash(&desk.town.signed.hash()).to_string();
    let inspect = "inspect --manifest @manifest --code @code --language en";
    let seen = desk.run(
        &format!("{inspect} --fingerprint {}", fingerprint.to_lowercase()),
        None,
    );
    assert_eq!(seen.code, 0, "{}", seen.err);
    assert!(
        seen.out.contains("   Mayor: Jan Novak\n") && seen.out.contains("   Council: (nothing)"),
        "{}",
        seen.out
    );
    // Neither the voter's number nor the credential nor the invitation is in what it says.
    for secret in ["42", "abcd", "43981"] {
        assert!(!seen.out.contains(secret), "{secret} in {}", seen.out);
    }
    let unchecked = desk.run(&format!("{inspect} --json"), None);
    assert!(unchecked.err.contains(&fingerprint), "{}", unchecked.err);
    let json: serde_json::Value = serde_json::from_str(&unchecked.out).unwrap();
    assert_eq!(
        (&json["choices"][0]["options"][0], &json["digest"]),
        (&"Jan Novak".into(), &digest.into())
    );
    let other = desk.run(
        &format!("{inspect} --fingerprint 0000-0000-0000-0000-0000-0000"),
        None,
    );
    assert_eq!(other.code, 3);
    assert!(other.err.contains("(manifest.other)"), "{}", other.err);

    // What is no check code, and a code that the ballot does not open.
    let invitation = desk.run("inspect --manifest @manifest --code @invitation", None);
    assert_eq!(invitation.code, 3);
    assert!(
        invitation.err.contains("keep it to yourself") && invitation.err.contains("(check-code.invalid)"),
        "{}",
        invitation.err
    );
    let second = desk.run(
        &format!("vote {VOTER} --state @state --choice Mayor=1 --yes --json --second-device"),
        None,
    );
    let second: serde_json::Value = serde_json::from_str(&second.out).unwrap();
    assert_eq!(second["logs"][2]["cosigned_by"], serde_json::json!([1, 2]));
    // A cheating device joins the second ballot's opening to the first one's name.
    std::fs::write(
        desk.path("forged"),
        joined(code, second["check_code"].as_str().unwrap()),
    )
    .unwrap();
    let forged = desk.run("inspect --manifest @manifest --code @forged", None);
    assert_eq!(forged.code, 7, "{}", forged.err);
    assert!(
        forged.err.contains("Cast again on another device") && forged.err.contains("(check-code.mismatch)"),
        "{}",
        forged.err
    );
    assert!(!forged.out.contains("Maria"), "nothing is shown: {}", forged.out);
}

/// The name of the ballot of one check code with the opening of another, and a checksum that fits.
fn joined(name: &str, opening: &str) -> String {
    use tally_proto::disclosure::CHECK_PREFIX;
    use tally_proto::{crockford, layout};
    let bytes = |code: &str| crockford::decode(&code[CHECK_PREFIX.len()..]).unwrap();
    let (name, opening) = (bytes(name), bytes(opening));
    let mut forged = [&name[..45], &opening[45..opening.len() - 4]].concat();
    let check = layout::Writer::new(layout::tag::DISCLOSURE)
        .bytes(&forged)
        .sha256();
    forged.extend_from_slice(&check.0[..4]);
    format!("{CHECK_PREFIX}{}", crockford::encode(&forged))
}

/// Reads the QR code that was drawn on a terminal, as a camera would.
fn scanned(screen: &str) -> String {
    let drawn: Vec<Vec<char>> = screen
        .lines()
        .filter(|line| !line.is_empty() && line.chars().all(|c| " ▀▄█".contains(c)))
        .map(|line| line.chars().collect())
        .collect();
    let light = |x: usize, y: usize| match drawn.get(y / 2).and_then(|row| row.get(x)) {
        Some('█') => true,
        Some('▀') => y.is_multiple_of(2),
        Some('▄') => !y.is_multiple_of(2),
        _ => false,
    };
    // Several pixels a module, as in any photograph.
    const SCALE: usize = 4;
    let (width, height) = (drawn[0].len() * SCALE, drawn.len() * 2 * SCALE);
    let grey = |x: usize, y: usize| if light(x / SCALE, y / SCALE) { 255 } else { 0 };
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, grey);
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one code is seen");
    grids[0].decode().unwrap().1
}

#[test]
fn a_kept_name_is_checked_later_and_a_rewritten_log_convicts() {
    let desk = Desk::new(&[]);
    let voted = desk.run(
        &format!("vote {VOTER} --state @state --choice Mayor=1 --yes --show-name"),
        None,
    );
    let name = voted
        .out
        .lines()
        .find_map(|line| line.strip_prefix("Its name: "))
        .unwrap();
    let check = format!("check --manifest @manifest --patience 0 {name}");
    let checked = desk.run(&format!("{check} --keep @kept"), None);
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
    assert!(
        checked
            .out
            .contains("University has it in its log, at place 1, cosigned by Court and Statistics."),
        "{}",
        checked.out
    );
    assert!(checked.out.contains("not sealed yet"), "{}", checked.out);
    let kept = std::fs::read_to_string(desk.path("kept")).unwrap();
    assert!(!kept.contains(&name[2..]), "the ballot is not named: {kept}");
    assert_eq!(desk.run(&format!("{check} --earlier @kept --json"), None).code, 0);

    // Mistyped, it convicts nobody.
    let (digest, words) = name.split_once('-').unwrap();
    let others = format!("{digest}-{}", words.chars().rev().collect::<String>());
    let mistyped = desk.run(&format!("check --manifest @manifest --patience 0 {others}"), None);
    assert_eq!(
        (mistyped.code, mistyped.out.as_str()),
        (3, ""),
        "{}",
        mistyped.err
    );

    desk.town.party(Role::P2).tell(Telling::Private);
    let unseen = desk.run(&check, None);
    assert_eq!(unseen.code, 8, "{}", unseen.out);
    assert!(
        unseen
            .out
            .contains("neither of the two other parties has seen that far")
            && unseen.err.contains("(log.unseen)"),
        "{}{}",
        unseen.out,
        unseen.err
    );

    desk.town.party(Role::P2).tell(Telling::Rewritten);
    let convicted = desk.run(&format!("{check} --earlier @kept"), None);
    assert_eq!(convicted.code, 7, "{}", convicted.out);
    assert!(
        convicted.out.contains("University (P2)") && convicted.out.contains("(log.rewritten)"),
        "{}",
        convicted.out
    );
    assert!(
        !convicted.out.contains("\n\u{2014} tally/"),
        "a path that it does not give is no evidence for others: {}",
        convicted.out
    );
    // A voter is told at once, too; the ballot is cast all the same.
    let told = desk.run(
        &format!("vote {VOTER} --state @state --choice Mayor=1 --yes --json"),
        None,
    );
    assert_eq!(told.code, 7, "{}", told.err);
    let json: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(json["logs"][1]["reason"], "log.rewritten");
    assert_eq!(json["accepted"], serde_json::json!([1, 2, 3]));

    desk.town.party(Role::P3).tell(Telling::Ignorant);
    let gone = desk.run(&check, None);
    assert_eq!(
        gone.code, 7,
        "one party has it, one has rewritten its log, one does not know it: {}",
        gone.out
    );
    desk.town.party(Role::P2).tell(Telling::Ignorant);
    let gone = desk.run(&check, None);
    assert_eq!(gone.code, 8, "{}", gone.out);
    assert!(gone.err.contains("(ballot.not-held)"), "{}", gone.err);
    let (digest, _) = name.split_once('-').unwrap();
    for (given, code) in [
        ("zz", 3),
        ("1:zz", 3),
        (digest, 3),
        (&format!("9:{}", &name[2..])[..], 3),
    ] {
        assert_eq!(
            desk.run(&format!("check --manifest @manifest {given}"), None)
                .code,
            code,
            "{given}"
        );
    }
    let no_notes = desk.run(&format!("{check} --earlier @manifest"), None);
    assert_eq!(no_notes.code, 1, "{}", no_notes.err);
}

#[test]
fn a_check_without_one_party_is_not_final_and_one_that_two_agree_on_is() {
    let desk = Desk::new(&[]);
    let voted = desk.run(
        &format!("vote {VOTER} --state @state --choice Mayor=1 --yes --show-name"),
        None,
    );
    let mut lines = voted.out.lines();
    let name = lines.find_map(|line| line.strip_prefix("Its name: ")).unwrap();
    let check = |more: &str| {
        desk.run(
            &format!("check --manifest @manifest --patience 0 {more} {name}"),
            None,
        )
    };
    let says = |party: Role, fate: Option<Fate>| {
        let seal_hash = vec![1; 32];
        desk.town.party(party).seal(wire::SealedFate { seal_hash, fate });
    };
    desk.town.party(Role::P2).behave(Manner::Away);
    // The two others have it: what the third says changes nothing.
    let two = check("");
    assert_eq!(two.code, 0, "{}{}", two.out, two.err);
    desk.town.party(Role::P3).tell(Telling::Ignorant);
    let open = check("");
    assert_eq!(open.code, 5, "{}{}", open.out, open.err);
    assert!(open.out.contains("University (P2)"), "{}", open.out);
    for words in [
        "University did not show whether this ballot is there",
        "the answer is not final. Check again when University answers. Where voting ends before that, cast again: the last ballot counts",
    ] {
        assert!(open.err.contains(words), "{words}: {}", open.err);
    }
    // Programs are told alike.
    let json = check("--json");
    assert_eq!(json.code, 5, "{}", json.err);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["faults"][0]["party"], 2);
    // A party that says that it has it, and shows nothing for that, leaves it as open.
    desk.town.party(Role::P2).behave(Manner::Honest);
    desk.town.party(Role::P2).tell(Telling::Withholding);
    let withheld = check("");
    assert_eq!(withheld.code, 5, "{}{}", withheld.out, withheld.err);
    desk.town.party(Role::P2).tell(Telling::Truth);
    desk.town.party(Role::P2).behave(Manner::Away);
    // Neither of the others has it: whatever the third says, two do not.
    desk.town.party(Role::P1).tell(Telling::Ignorant);
    let gone = check("");
    assert_eq!(gone.code, 8, "{}{}", gone.out, gone.err);
    assert!(gone.err.contains("cast again"), "{}", gone.err);
    desk.town.party(Role::P1).tell(Telling::Truth);

    // Two parties agree on the list of what is tallied: that is final without the third.
    for party in [Role::P1, Role::P3] {
        says(party, Some(Fate::OnList(true)));
    }
    let listed = check("");
    assert_eq!(listed.code, 0, "{}{}", listed.out, listed.err);
    // Also where two of three deny that they have it: on the list it came by what they had signed.
    desk.town.party(Role::P2).behave(Manner::Honest);
    says(Role::P2, Some(Fate::OnList(true)));
    for party in [Role::P1, Role::P3] {
        desk.town.party(party).tell(Telling::Ignorant);
    }
    let denied = check("");
    assert_eq!(denied.code, 0, "{}{}", denied.out, denied.err);
    desk.town.party(Role::P1).tell(Telling::Truth);
    desk.town.party(Role::P2).behave(Manner::Away);
    let excluded = Reason::BallotStationSequence.code();
    for (telling, fate) in [
        (Telling::Ignorant, Fate::NoCandidate(true)),
        (Telling::Truth, Fate::NoCandidate(true)),
        (Telling::Ignorant, Fate::Excluded(excluded.to_owned())),
        (Telling::Truth, Fate::Excluded(excluded.to_owned())),
    ] {
        desk.town.party(Role::P3).tell(telling);
        for party in [Role::P1, Role::P3] {
            says(party, Some(fate.clone()));
        }
        let out = check("");
        assert_eq!(out.code, 8, "{fate:?}: {}{}", out.out, out.err);
        assert!(
            out.err
                .contains("the box is sealed, and this ballot is not tallied"),
            "{}",
            out.err
        );
        assert!(!out.err.contains("cast again"), "{}", out.err);
    }
    // One party alone does not say what became of it.
    says(Role::P1, Some(Fate::OnList(true)));
    desk.town.party(Role::P3).behave(Manner::Away);
    let alone = check("");
    assert_eq!(alone.code, 5, "{}{}", alone.out, alone.err);
}

/// What a reader of QR codes makes of a page's picture, eight points a module.
fn picture(page: &str) -> String {
    let (_, rest) = page.split_once("viewBox=\"0 0 ").unwrap();
    let side: usize = rest.split(' ').next().unwrap().parse().unwrap();
    let (_, path) = page.split_once(" d=\"").unwrap();
    let mut dark = vec![false; side * side];
    for run in path.split('"').next().unwrap().split('M').skip(1) {
        let (place, length) = run.split_once('h').unwrap();
        let (x, y) = place.split_once(' ').unwrap();
        let (x, y): (usize, usize) = (x.parse().unwrap(), y.parse().unwrap());
        let length: usize = length.split('v').next().unwrap().parse().unwrap();
        dark[y * side + x..][..length].fill(true);
    }
    let at = |x: usize, y: usize| if dark[y / 8 * side + x / 8] { 0 } else { 255 };
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(side * 8, side * 8, at);
    let grids = image.detect_grids();
    grids[0].decode().unwrap().1
}

#[test]
fn a_decoys_sheet_is_written_once_and_looks_like_the_letter() {
    let desk = Desk::new(&[]);
    let line = "decoy --invitation @invitation --manifest @manifest --sheet @decoy.html --reference V-42 --language de --address Weg_1";
    let made = desk.run(line, None);
    assert_eq!(made.code, 0, "{}", made.err);
    let page = std::fs::read_to_string(desk.path("decoy.html")).unwrap();
    let decoy = Invitation::parse(made.out.trim()).unwrap();
    let real = desk.town.invitation(42, 0xabcd);
    let hash = desk.town.signed.hash();
    assert_ne!(
        decoy.credential_for(&hash).unwrap().expose(),
        real.credential_for(&hash).unwrap().expose()
    );
    // The commission's page for the same voter, but for the code.
    let addressee = Addressee {
        reference: "V-42".to_owned(),
        address: vec!["Weg 1".to_owned()],
        languages: vec!["de".to_owned()],
    };
    let own = tally_proto::invitation::sheet::page(
        desk.town.signed.manifest(),
        &addressee,
        &Part::parse(&decoy.to_code()).unwrap(),
    );
    assert_eq!(page, *own.unwrap());
    assert!(
        picture(&page).eq_ignore_ascii_case(&decoy.to_link()),
        "the picture is the link"
    );
    assert_eq!(desk.run(line, None).code, 1, "never over another file");
}

#[test]
fn a_mistyped_code_is_asked_for_again_with_the_group_named() {
    let desk = Desk::new(&[]);
    let code = desk.town.invitation(7, 0x1234).to_code().to_string();
    let mut wrong: Vec<char> = code.chars().collect();
    wrong[21] = if wrong[21] == 'A' { 'B' } else { 'A' };
    let wrong: String = wrong.into_iter().collect();
    let typed = format!("{wrong}\n{}\n", code.to_lowercase().replace('-', " "));
    let shown = desk.run("show --manifest @manifest", Some(&typed));
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.err.contains("group 5 is mistyped"), "{}", shown.err);
    assert!(
        !shown.err.contains(&wrong[20..24]),
        "what was typed is not repeated"
    );
}

#[test]
fn what_became_of_a_ballot_is_told_where_the_disk_keeps_nothing() {
    let desk = Desk::new(&[]);
    std::fs::create_dir(desk.path("state")).unwrap();
    std::fs::write(desk.path("state").join("receipts"), "in the way").unwrap();
    let voted = desk.run(
        &format!("vote {VOTER} --state @state --choice Mayor=1 --yes --keep-receipt --json"),
        None,
    );
    assert_eq!(voted.code, 1, "{}", voted.err);
    let json: serde_json::Value = serde_json::from_str(&voted.out).unwrap();
    let digest = json["digest"].as_str().unwrap().parse().unwrap();
    assert_eq!(desk.town.plain(digest).index, 42, "the ballot was cast");
    assert!(
        voted.err.contains("receipts"),
        "what failed is said: {}",
        voted.err
    );
    let named = desk.run(
        &format!("vote {VOTER} --state @state --choice Mayor=2 --yes --keep-receipt --show-name"),
        None,
    );
    assert_eq!(named.code, 1, "{}", named.err);
    assert!(
        named.out.starts_with("Your ballot was accepted by "),
        "{}",
        named.out
    );
    let name = named
        .out
        .lines()
        .find_map(|line| line.strip_prefix("Its name: "))
        .unwrap();
    let check = format!("check --manifest @manifest --patience 0 --keep @state/receipts/kept {name}");
    let checked = desk.run(&check, None);
    assert_eq!(checked.code, 1, "{}", checked.err);
    assert!(checked.out.contains("not sealed yet"), "{}", checked.out);
    // What is false weighs more than a full disk.
    desk.town.party(Role::P2).tell(Telling::Private);
    let unseen = desk.run(&check, None);
    assert_eq!(unseen.code, 8, "{}", unseen.out);
    assert!(unseen.err.contains("cannot write"), "{}", unseen.err);
}
