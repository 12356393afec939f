//! What the desk says of its machine: clock, certificate, printer, votes of before; and of an enrolment that one party lacks.

use std::collections::BTreeMap;
use std::time::Duration;

use tally_proto::fixture::cards::called;
use tally_proto::fixture::{CLOSES, OPENS, OpenShape, Shape, World};
use tally_proto::ids::{RoleExt as _, UnixSeconds};
use tally_proto::open_roll::{Head, OpenRollList, Subject, Told};
use tally_proto::secret_file;

use super::*;
use crate::world::OPENS_S;

const HOUR: u64 = 3600;
const MINUTES_20: i64 = 20 * 60_000;
/// Longer than an agreed time is carried on without asking again.
const TIME_IS_KEPT: Duration = Duration::from_millis(3_100);

/// A hall that is open today, by this machine's clock.
fn today(away: &[Role], life: Life) -> Hall {
    let openings = [(OPENS_S, system_now().get() + 48 * HOUR)];
    let agencies = ChannelKind::ALL.iter().fold(Agencies::new(1), |agencies, kind| {
        agencies.with_hours(*kind, &openings)
    });
    let hall = Hall::with(Plan {
        agencies,
        away,
        life,
        ..Plan::default()
    });
    hall.set_clocks(0);
    hall
}

/// From an hour ago until so many seconds from now.
fn ending_in(seconds: i64) -> Life {
    let now = system_now().get();
    let ends = now.saturating_add_signed(seconds);
    Life::between(UnixSeconds(now.min(ends) - HOUR), UnixSeconds(ends))
}

fn number_after(said: &str, words: &str) -> i64 {
    let (_, after) = said
        .split_once(words)
        .unwrap_or_else(|| panic!("{words}\n{said}"));
    let digits: String = after.chars().take_while(|c| c.is_ascii_digit()).collect();
    digits.parse().unwrap()
}

/// The second that a receipt shows, in this machine's own zone, is so far from this machine's clock.
fn seconds_ahead(hall: &Hall, party: Role) -> i64 {
    let cast_at = hall.town.party(party).seen(|seen| {
        let of = seen
            .submissions
            .values()
            .map(|ballot| ballot.header().cast_at().get());
        of.max().unwrap()
    });
    cast_at as i64 - system_now().get() as i64
}

#[test]
fn a_clock_that_is_off_is_told_with_its_direction_and_corrected_when_nobody_is_there() {
    for (ahead_ms, direction, status) in [
        (MINUTES_20, "behind", "ms behind the parties'"),
        (-MINUTES_20, "ahead of", "ms ahead of the parties'"),
    ] {
        let hall = today(&[], Life::of_leaf());
        hall.set_clocks(ahead_ms);
        let (code, said) = hall.sit(&[&OPEN[..], &VOTE, &["0"]].concat());
        assert_eq!(code, 0, "{said}");
        let words = format!("This machine's clock is {direction} the parties' by ");
        let told = number_after(&said, &words);
        assert!((1195..=1205).contains(&told), "{said}");
        let (_, shown) = hall.station("status", "");
        assert!(shown.contains(status) && !shown.contains('-'), "{shown}");
        assert!((1_195_000..=1_205_000).contains(&number_after(&shown, "this machine's clock is ")));

        hall.all_behave(Manner::Away);
        let (code, said) = hall.sit(&[&VOTE[..], &["0"]].concat());
        assert_eq!(code, 6, "{said}");
        for words in [
            "The parties cannot be reached: votes are kept on this disk and delivered later.",
            "The time is this machine's clock, corrected as last measured.",
            "1 still wait for delivery.",
        ] {
            assert!(said.contains(words), "{words}\n{said}");
        }
        assert!(!said.contains("never"), "{said}");
        hall.all_behave(Manner::Honest);
        let (code, said) = hall.station("drain", "");
        assert_eq!(code, 0, "{said}");
        let ahead = seconds_ahead(&hall, Role::P1) - ahead_ms / 1000;
        assert!(
            (-120..=5).contains(&ahead),
            "{ahead}: dated by the corrected clock"
        );
    }
}

#[test]
fn a_clock_that_is_right_is_not_told() {
    let hall = today(&[], Life::of_leaf());
    let (_, said) = hall.sit(&OPEN);
    assert!(said.contains("It is ") && !said.contains("clock"), "{said}");
}

#[test]
fn a_vote_before_any_party_was_ever_reached_says_by_which_clock_it_is_dated() {
    let hall = today(&Role::ALL, Life::of_leaf());
    let (code, said) = hall.sit(&[&OPEN[..], &VOTE, &["0"]].concat());
    assert_eq!(code, 6, "{said}");
    for words in [
        "The parties cannot be reached and never were: the time is this machine's clock. Compare it with a watch before you open",
        "The parties' clocks were never reached: the vote is dated by this machine's clock.",
        "Your vote is kept.",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let (_, shown) = hall.station("status", "");
    assert!(
        shown.contains("this machine's clock was never compared with the parties'"),
        "{shown}"
    );
}

#[test]
fn a_certificate_that_has_ended_is_told_at_the_beginning_and_before_every_voter() {
    let hall = today(&[], ending_in(-60));
    let ended = "The station's certificate ended at ";
    let (code, said) = hall.sit(&[&OPEN[..], &VOTE, &["0"]].concat());
    assert_eq!(code, 6, "no party lets it in, and the vote is kept: {said}");
    assert!(
        said.matches(ended).count() == 3 && said.contains("Your vote is kept."),
        "{said}"
    );
    assert!(said.contains("certify request tls.request.pem again"), "{said}");
    // With a new one what waits is delivered, and nothing is said of the old one.
    hall.certify(Life::of_leaf());
    let (code, said) = hall.sit(&["0"]);
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("certificate"), "{said}");
}

#[test]
fn a_certificate_that_ends_within_three_days_is_told_at_the_beginning() {
    for (days, told) in [(2, true), (4, false)] {
        let hall = today(&Role::ALL, ending_in(days * 24 * 3600));
        let (_, said) = hall.sit(&OPEN);
        let words = "The station's certificate ends at ";
        assert_eq!(said.matches(words).count(), usize::from(told), "{said}");
        assert!(!said.contains("certificate ended"), "{said}");
    }
}

#[test]
fn a_certificate_that_ends_during_the_day_is_told_before_the_next_voter() {
    let hall = today(&[], ending_in(3600));
    let ended = "The station's certificate ended at ";
    let (late, renewed) = (
        || {
            hall.set_clocks(2 * 3_600_000);
            std::thread::sleep(TIME_IS_KEPT);
        },
        || hall.certify(Life::of_leaf()),
    );
    let mut typed = lines(&OPEN);
    typed.extend(lines(&["2"]));
    typed.extend(then(late));
    // A voter comes, and the time is asked.
    typed.extend(lines(&["1", "b1-005", "0"]));
    typed.extend(lines(&["2"]));
    typed.extend(then(renewed));
    typed.extend(lines(&["2", "0"]));
    let (code, said) = hall.sit_while(&[], typed);
    assert_eq!(code, 0, "{said}");
    let (before, after) = said.split_once("Reference on the roll").unwrap();
    assert!(
        !before.contains(ended) && before.contains("The station's certificate ends at "),
        "{said}"
    );
    assert!(
        after.contains("save its answer over the old one, leave the desk and begin it again."),
        "{said}"
    );
    // The connections show the old one until the desk is begun again.
    assert!(
        after.contains("A new one is saved: leave the desk and begin it again"),
        "{said}"
    );
    let (_, said) = hall.sit(&["0"]);
    assert!(!said.contains("certificate"), "{said}");
}

#[test]
fn a_receipt_that_cannot_be_printed_is_shown() {
    let hall = Hall::new(&[]);
    let typed = [&OPEN[..], &["1", "b1-005", "1", "2", "", "1", "1", "", "0"]].concat();
    let (code, said) = hall.sit_with(&["--printer", "false"], &typed);
    assert_eq!(code, 0, "{said}");
    let (_, shown) = said
        .split_once("The receipt could not be printed (false ended with exit status: 1):\n")
        .unwrap();
    assert!(
        shown.contains("Box 1, number 1\n") && shown.contains("Name of the ballot:\n1:"),
        "{said}"
    );
    assert!(!said.contains("The receipt is printed."), "{said}");
}

#[test]
fn votes_of_before_the_opening_are_told() {
    let hall = Hall::new(&[]);
    let (code, said) = hall.station("vote", "--box 1 --index 5 --choice 1=2");
    assert_eq!(code, 0, "{said}");
    let (_, said) = hall.sit(&OPEN);
    for words in [
        "Opening count: 1 electronic, 0 paper.",
        "This is not zero: votes were cast on this machine before the station opened.",
        "Votes: 1 electronic, 0 paper.",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let empty = Hall::new(&[]);
    let (_, said) = empty.sit(&OPEN);
    assert!(!said.contains("This is not zero"), "{said}");
}

/// The desk of a station of an election with an open roll, whose list has these numbers of each party, and nobody is there.
fn with_open_roll(numbers: [Option<&[u32]>; 3], typed: &[&str]) -> String {
    tally_proto::connect::install_tls_provider();
    let world = World::new(Shape {
        cards: true,
        registrars: 0,
        open: Some(OpenShape {
            most: 9,
            freezes: CLOSES,
            min_voters: 1,
        }),
        ..Shape::default()
    });
    let of = Subject {
        election: world.manifest.manifest().election(),
        of_box: BoxId(1),
    };
    let told = Role::ALL.map(|party| {
        let numbers = numbers[party.slot()]?;
        let names: BTreeMap<u32, String> = numbers.iter().map(|v| (*v, called(1, *v))).collect();
        let signer = &world.signers[party.slot()];
        let head = Head::sign(of, party, UnixSeconds(OPENS), &names, signer);
        Told::new(of, party, &signer.public_key(), names, head).ok()
    });
    let hall = tempfile::tempdir().unwrap();
    let at = |name: &str| hall.path().join(name);
    std::fs::write(at("roll"), OpenRollList::join(told).unwrap().encode(of)).unwrap();
    std::fs::write(at("manifest"), world.manifest.envelope().encode()).unwrap();
    let identity = world.manifest.manifest().station(StationId(1)).unwrap().to_toml();
    let role = PeerRole::Station(StationId(1));
    let leaf = world.coordinator_authority.issue(&role, &[]).unwrap();
    secret_file::create(&at("signing.key"), &*world.stations[0].seed()).unwrap();
    secret_file::create(&at("tls.key.pem"), leaf.key_pem.as_bytes()).unwrap();
    std::fs::write(StationKeys::certificate_path(hall.path()), &leaf.cert_pem).unwrap();
    std::fs::write(StationKeys::identity_path(hall.path()), identity).unwrap();
    let words = ["client", "station", "desk", "--dir"].map(Into::into);
    let files = [
        hall.path().into(),
        "--manifest".into(),
        at("manifest").into(),
        "--roll".into(),
        at("roll").into(),
    ];
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut input = Cursor::new((typed.join("\n") + "\n").into_bytes());
    let mut console = Console {
        input: &mut input,
        interactive: false,
        out: &mut out,
        err: &mut err,
    };
    let code = run(words.into_iter().chain(files), &mut console);
    let said = String::from_utf8(out).unwrap() + &String::from_utf8(err).unwrap();
    assert_eq!(code, 0, "{said}");
    said
}

#[test]
fn whose_enrolment_one_party_lacks_votes_all_the_same_and_the_officer_knows() {
    let (alice, other) = (called(1, 1), called(1, 0));
    let lacks = "(P2) does not have this enrolment, the two others have: it may not be finished. Let the voter vote all the same";
    let typed = ["A. Berg", "1", "1", &alice, "0", "0"];
    let said = with_open_roll([Some(&[0, 1]), Some(&[0]), Some(&[0, 1])], &typed);
    assert!(
        said.contains(lacks) && !said.contains("WITHOUT the signature"),
        "{said}"
    );
    let typed = ["A. Berg", "1", "1", &other, "0", "0"];
    let said = with_open_roll([Some(&[0, 1]), Some(&[0]), Some(&[0, 1])], &typed);
    assert!(
        said.contains(&other) && !said.contains("does not have this enrolment"),
        "{said}"
    );
    // A party whose signature is not there is not accused of lacking anybody.
    let said = with_open_roll([Some(&[0, 1]), None, Some(&[0, 1])], &typed);
    assert!(
        said.contains("The list of voters is WITHOUT the signature of ")
            && !said.contains("does not have this enrolment"),
        "{said}"
    );
}
