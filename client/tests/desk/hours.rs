//! What the hours make of a vote at the desk and by the single commands: whom the parties would not strike gets no paper ballot.

use std::time::Duration;

use super::*;
use crate::world::{CLOSES_S, NOON_S, OPENS_S};

/// Not yet, at noon.
const LATER: [(u64, u64); 1] = [(NOON_S + 20_000, CLOSES_S)];
/// Over, at noon.
const OVER: [(u64, u64); 1] = [(OPENS_S, NOON_S - 20_000)];
const DAY: [(u64, u64); 1] = [(OPENS_S, CLOSES_S)];
/// Longer than an agreed time is carried on without asking again.
const TIME_IS_KEPT: Duration = Duration::from_millis(3_100);

const BOTH: &str =
    "sign the sheet. 1: votes here electronically. 2: votes on paper. 0: back, nothing is noted.";
const ELECTRONIC_ONLY: &str = "sign the sheet. 1: votes here electronically. 0: back, nothing is noted.";
const PAPER_ONLY: &str = "sign the sheet. 2: votes on paper. 0: back, nothing is noted.";
const HAND_OUT: &str = "give the voter a paper ballot";
const OUTSIDE: &str = "A vote outside the hours does not count. 1: go on for B1-005";
const NO_PAPER: &str = "the voter's other votes may NOT be struck";

fn hall(hours: &[(ChannelKind, &[(u64, u64)])]) -> Hall {
    let agencies = hours.iter().fold(Agencies::new(1), |agencies, (kind, openings)| {
        agencies.with_hours(*kind, openings)
    });
    Hall::with(Plan {
        agencies,
        ..Plan::default()
    })
}

fn day(then: &[&'static str]) -> Vec<&'static str> {
    [&OPEN[..], then].concat()
}

/// Says all of `there`, and nothing of `missing`.
fn check(said: &str, there: &[&str], missing: &[&str]) {
    for words in there {
        assert!(said.contains(words), "{words}\n{said}");
    }
    for words in missing {
        assert!(!said.contains(words), "{words}\n{said}");
    }
}

#[test]
fn where_paper_is_closed_nobody_is_offered_it() {
    let hall = hall(&[(ChannelKind::Paper, &LATER)]);
    // Whoever types 2 out of habit is asked again.
    let (code, said) = hall.sit(&day(&["1", "b1-005", "2", "1", "2", "", "1", "0", "0"]));
    assert_eq!(code, 0, "{said}");
    check(
        &said,
        &[
            "By the manifest the paper channel opens at ",
            "Give nobody a paper ballot now.",
            ELECTRONIC_ONLY,
            "Type 1 or 0 and press Enter.",
            "Votes: 1 electronic, 0 paper.",
        ],
        &[OUTSIDE, HAND_OUT, BOTH],
    );
    for party in Role::ALL {
        assert_eq!(hall.taken(party), [ChannelKind::Station]);
    }
}

#[test]
fn where_the_election_has_no_paper_nobody_is_offered_it() {
    let hall = hall(&[(ChannelKind::Paper, &[])]);
    let (_, said) = hall.sit(&day(&["1", "b1-005", "2", "0", "0"]));
    check(
        &said,
        &[
            ELECTRONIC_ONLY,
            "Type 1 or 0 and press Enter.",
            "Nothing was noted.",
        ],
        &[OUTSIDE, HAND_OUT, "paper channel", "Give nobody"],
    );
    // Nobody's word makes a channel.
    for flag in ["", " --outside-hours"] {
        let (code, said) = hall.station("paper", &format!("--box 1 --index 5{flag}"));
        assert_eq!(code, 3, "{said}");
        check(
            &said,
            &[
                "the election has no paper channel: no vote was taken. Hand out no paper ballot",
                "(channel.unknown)",
            ],
            &["queued"],
        );
    }
    let (code, said) = hall.station("vote", "--box 1 --index 5 --choice 1=1");
    assert!(
        code == 0 && said.contains("The vote is queued as number 1"),
        "{said}"
    );
}

#[test]
fn where_only_paper_is_open_its_number_stays_the_same() {
    for (station, words) in [
        (&OVER[..], "By the manifest the station channel closed at "),
        (&[], ""),
    ] {
        let hall = hall(&[(ChannelKind::Station, station)]);
        let (code, said) = hall.sit(&day(&["1", "b1-005", "1", "2", "0"]));
        assert_eq!(code, 0, "{said}");
        check(
            &said,
            &[
                words,
                PAPER_ONLY,
                "Type 2 or 0 and press Enter.",
                "Noted as number 1 of box 1: give the voter a paper ballot. The voter's other votes are struck.",
            ],
            &[OUTSIDE, "It is the voter's turn"],
        );
        assert_eq!(hall.taken(Role::P2), [ChannelKind::Paper]);
        let (code, said) = hall.station("vote", "--box 1 --index 5 --choice 1=1");
        assert!(code == 3 && said.contains("no vote was taken"), "{said}");
    }
}

#[test]
fn where_both_are_open_both_are_offered() {
    let hall = hall(&[]);
    let (code, said) = hall.sit(&day(&["1", "b1-005", "2", "0"]));
    assert_eq!(code, 0, "{said}");
    check(&said, &[BOTH, HAND_OUT], &[OUTSIDE, "By the manifest", NO_PAPER]);
    assert_eq!(hall.taken(Role::P2), [ChannelKind::Paper]);
}

#[test]
fn where_neither_is_open_the_officer_decides_and_is_told_of_the_paper_before_anything_is_noted() {
    let hall = hall(&[(ChannelKind::Station, &OVER), (ChannelKind::Paper, &LATER)]);
    // Back at each of the three questions; nobody has signed in.
    for back in [&["0"][..], &["1", "0"], &["1", "2", "0"]] {
        let typed = [&["1", "b1-005"], back, &["2", "0"]].concat();
        let typed = if back.len() == 1 { day(&typed) } else { typed };
        let (code, said) = hall.sit(&typed);
        assert_eq!(code, 0, "{said}");
        check(
            &said,
            &[
                "By the manifest the station channel closed at ",
                "By the manifest the paper channel opens at ",
                OUTSIDE,
                "Nothing was noted.",
                "Votes: 0 electronic, 0 paper.",
            ],
            &["signed in", HAND_OUT],
        );
        assert_eq!(said.contains(NO_PAPER), back.len() == 3, "{said}");
    }
    let (code, said) = hall.sit(&["1", "b1-005", "1", "2", "1", "2", "0"]);
    check(
        &said,
        &[
            "Hand out NO paper ballot before the commission has confirmed an order that opens paper now.",
            "Noted as number 1 of box 1, outside the hours that this station knows.",
            "Votes: 0 electronic, 1 paper.",
        ],
        &[HAND_OUT, "The voter's other votes are struck"],
    );
    let (before, _) = said.split_once("Noted as number").unwrap();
    assert!(before.contains(NO_PAPER), "{said}");
    // There was no such order: no party takes it, which strikes nothing.
    assert_eq!(code, 6, "{said}");
    for party in Role::ALL {
        assert!(hall.taken(party).is_empty());
    }
}

#[test]
fn the_single_commands_ask_the_hours_too() {
    let hall = hall(&[(ChannelKind::Paper, &LATER)]);
    let (code, said) = hall.station("paper", "--box 1 --index 5");
    assert_eq!(code, 3, "{said}");
    check(
        &said,
        &[
            "but the paper channel opens at ",
            "no vote was taken. Hand out no paper ballot: the voter's other votes stand",
            "--outside-hours (ballot.before-opening)",
        ],
        &["queued"],
    );
    let (_, said) = hall.station("status", "");
    check(&said, &["0 queued"], &["box 1"]);
    let (code, said) = hall.station("vote", "--box 1 --index 5 --choice 1=2");
    assert!(
        code == 0 && said.contains("The vote is queued as number 1"),
        "{said}"
    );
    // On the officer's word, who is wrong.
    let (code, said) = hall.station("paper", "--box 1 --index 5 --outside-hours --deliver-for 1");
    assert_eq!(code, 0, "{said}");
    check(
        &said,
        &[
            NO_PAPER,
            "Hand out NO paper ballot before the commission has confirmed",
            "The paper vote is queued as number 2",
            "ballot.before-opening",
        ],
        &[],
    );
    for party in Role::ALL {
        assert_eq!(hall.taken(party), [ChannelKind::Station]);
    }

    let closed = self::hall(&[(ChannelKind::Station, &OVER)]);
    let vote = "--box 1 --index 5 --choice 1=2";
    let (code, said) = closed.station("vote", vote);
    assert_eq!(code, 3, "{said}");
    check(
        &said,
        &[
            "but the station channel closed at ",
            "--outside-hours (ballot.after-close)",
        ],
        &["queued", "paper ballot"],
    );
    let (code, said) = closed.station("vote", &format!("{vote} --outside-hours --deliver-for 1"));
    assert_eq!(code, 0, "{said}");
    check(
        &said,
        &[
            "it counts only where an order has opened the channel",
            "The vote is queued as number 1",
        ],
        &["NO paper ballot"],
    );
}

#[test]
fn a_station_goes_by_the_orders_in_force_as_the_parties_do() {
    let hall = hall(&[(ChannelKind::Paper, &LATER)]);
    let (agencies, signed) = (&hall.town.agencies, &hall.town.signed);
    let opens = |countersigned: &[Role]| {
        agencies.reopen(signed, (1, None), (ChannelKind::Paper, &DAY), countersigned)
    };
    // Without one signature it is in force nowhere, whoever shows it.
    let two = opens(&[Role::P1, Role::P2]);
    hall.town.party(Role::P1).show(std::slice::from_ref(&two), &[]);
    let (_, said) = hall.sit(&day(&["1", "b1-005", "0", "0"]));
    check(
        &said,
        &[ELECTRONIC_ONLY, "By the manifest the paper channel opens at "],
        &[],
    );
    // One party shows it with all; it is not forgotten while nobody can be reached.
    let order = opens(&Role::ALL);
    hall.town.party(Role::P3).show(std::slice::from_ref(&order), &[]);
    let (_, said) = hall.sit(&["1", "b1-005", "0", "0"]);
    check(&said, &[BOTH], &["By the manifest", "By an order"]);
    hall.all_behave(Manner::Away);
    let (code, said) = hall.sit(&["1", "b1-005", "2", "0"]);
    check(&said, &[BOTH, HAND_OUT, "1 still wait for delivery"], &[OUTSIDE]);
    assert_eq!(code, 6, "{said}");
    // The parties have it in force, and take the row.
    hall.all_behave(Manner::Honest);
    for party in Role::ALL {
        hall.town.party(party).show(std::slice::from_ref(&order), &[]);
    }
    let (code, said) = hall.station("drain", "");
    assert_eq!(code, 0, "{said}");
    assert_eq!(hall.taken(Role::P1), [ChannelKind::Paper]);
    // A second one ends paper before its time: no paper from then on.
    let ends = agencies.reopen(
        signed,
        (2, Some(order.hash())),
        (ChannelKind::Paper, &OVER),
        &Role::ALL,
    );
    hall.town.party(Role::P2).show(&[order, ends], &[]);
    let (_, said) = hall.sit(&["1", "b1-006", "2", "0", "0"]);
    check(
        &said,
        &[
            "By an order in force the paper channel closed at ",
            ELECTRONIC_ONLY,
            "Type 1 or 0 and press Enter.",
        ],
        &[OUTSIDE, HAND_OUT],
    );
    let (code, said) = hall.station("paper", "--box 1 --index 6");
    assert!(code == 3 && said.contains("(ballot.after-close)"), "{said}");
}

#[test]
fn a_stations_own_hours_are_changed_by_nobodys_word() {
    for (own, words, refused) in [
        (
            &LATER,
            "This station has hours of its own and opens at ",
            "has hours of its own and opens at ",
        ),
        (
            &OVER,
            "This station's own hours are over. No vote is taken.",
            "has hours of its own and has closed for good",
        ),
    ] {
        let hall = Hall::with(Plan {
            own,
            ..Plan::default()
        });
        let (code, said) = hall.sit(&day(&["1", "b1-005", "0"]));
        assert_eq!(code, 0, "{said}");
        check(&said, &[words], &[OUTSIDE, "sign the sheet"]);
        for verb in ["paper", "vote"] {
            let (code, said) = hall.station(verb, "--box 1 --index 5 --outside-hours");
            assert_eq!(code, 3, "{said}");
            check(
                &said,
                &[refused, "no vote was taken", "(ballot.station-closed)"],
                &["queued"],
            );
        }
    }
}

/// The identity is checked, and the voter chooses, for as long as it takes.
#[test]
fn whose_turn_outlasts_the_hours_has_not_voted_and_is_told() {
    for (way, channel, told) in [
        (
            &["1", "2", ""][..],
            ChannelKind::Station,
            "station channel closed at ",
        ),
        (
            &[],
            ChannelKind::Paper,
            "Hand out no paper ballot: the voter's other votes stand",
        ),
    ] {
        let hall = hall(&[]);
        let passes = || {
            for party in Role::ALL {
                let skew_ms = i64::try_from((CLOSES_S - NOON_S) * 1000).unwrap();
                hall.town.party(party).skew_ms.store(skew_ms, Ordering::Relaxed);
            }
            std::thread::sleep(TIME_IS_KEPT);
        };
        let last = if channel == ChannelKind::Paper { "2" } else { "1" };
        let mut typed = lines(&day(&["1", "b1-005"]));
        typed.extend(lines(way));
        typed.extend(then(passes));
        typed.extend(lines(&[last, "2", "0"]));
        let (code, said) = hall.sit_while(&[], typed);
        assert_eq!(code, 0, "{said}");
        check(
            &said,
            &[
                "No vote was cast: cast at ",
                told,
                "The sign-in stays; note it in the minutes.",
                "Box 1 North: 0 electronic, 0 paper, 1 signed in.",
            ],
            &["Your vote is kept", HAND_OUT],
        );
        assert!(hall.taken(Role::P1).is_empty());
    }
}

#[test]
fn whose_station_is_revoked_during_the_turn_has_not_voted_and_is_told() {
    let hall = hall(&[]);
    let revokes = || {
        let (agencies, signed) = (&hall.town.agencies, &hall.town.signed);
        let order = agencies.revoke(signed, (1, None), StationId(3), &Role::ALL);
        hall.town.party(Role::P2).show(&[order], &[]);
    };
    let mut typed = lines(&day(&["1", "b1-005", "1", "2", ""]));
    typed.extend(then(revokes));
    typed.extend(lines(&["1", "0"]));
    let (_, said) = hall.sit_while(&[], typed);
    check(
        &said,
        &[
            "No vote was cast: the station takes no more votes, send the voter to another one. Order 1",
            "The sign-in stays; note it in the minutes.",
        ],
        &["Your vote is kept", ".. The sign-in"],
    );
    assert!(hall.taken(Role::P1).is_empty());
}
