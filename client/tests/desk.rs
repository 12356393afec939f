//! The officer's dialogue, typed line by line against three parties that play their part.

use std::fmt::Write as _;
use std::io::{BufRead, Cursor, Read};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use rand::{SeedableRng, rngs::StdRng};
use tally_client::cli::{Console, run};
use tally_client::station::StationKeys;
use tally_proto::calendar::ChannelKind;
use tally_proto::identity::StationIdentity;
use tally_proto::ids::{BoxId, Role, StationId};
use tally_proto::pki::{Life, PeerRole, system_now};
use tally_proto::reason::Reason;
use tally_proto::sign_ins::SignIns;

use crate::fake::{Manner, Town};
use crate::world::{self, Agencies};

#[path = "desk/hours.rs"]
mod hours;
#[path = "desk/machine.rs"]
mod machine;

struct Hall {
    town: Town,
    directory: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

/// How a hall is made.
struct Plan<'a> {
    agencies: Agencies,
    away: &'a [Role],
    life: Life,
    /// The station's own hours.
    own: &'a [(u64, u64)],
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            agencies: Agencies::new(1),
            away: &[],
            life: Life::of_leaf(),
            own: &[],
        }
    }
}

/// What is typed, line by line; something is done before some lines.
struct Typist<'a> {
    lines: std::vec::IntoIter<Typed<'a>>,
    line: Cursor<Vec<u8>>,
}

enum Typed<'a> {
    Line(&'a str),
    Then(Box<dyn FnOnce() + 'a>),
}

impl Read for Typist<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.fill_buf()?;
        self.line.read(into)
    }
}

impl BufRead for Typist<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        while self.line.position() == self.line.get_ref().len() as u64 {
            match self.lines.next() {
                Some(Typed::Line(line)) => self.line = Cursor::new(format!("{line}\n").into_bytes()),
                Some(Typed::Then(act)) => act(),
                None => break,
            }
        }
        self.line.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.line.consume(amount);
    }
}

fn lines<'a>(lines: &[&'a str]) -> Vec<Typed<'a>> {
    lines.iter().map(|line| Typed::Line(line)).collect()
}

fn then<'a>(act: impl FnOnce() + 'a) -> Vec<Typed<'a>> {
    vec![Typed::Then(Box::new(act))]
}

impl Hall {
    fn new(away: &[Role]) -> Self {
        Self::with(Plan {
            away,
            ..Plan::default()
        })
    }

    fn with(plan: Plan<'_>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let agencies = plan.agencies;
        let mut rng = StdRng::seed_from_u64(100);
        let at = directory.path().join("station");
        let keys = StationKeys::create(&at, StationId(3), "Town hall", vec![], &mut rng).unwrap();
        let mut identity = keys.identity().to_wire();
        identity.openings = world::channel(ChannelKind::Station, plan.own).openings;
        let identity = StationIdentity::from_wire(&identity).unwrap();
        let town = runtime.block_on(Town::open_with(&agencies, &[identity], plan.away));
        let hall = Self {
            town,
            directory,
            _runtime: runtime,
        };
        hall.certify(plan.life);
        std::fs::write(hall.path("manifest"), hall.town.signed.envelope().encode()).unwrap();
        let mut roll = "box,reference,online\n".to_owned();
        for of in hall.town.signed.manifest().boxes() {
            for entry in world::roll(of.id().get()).entries() {
                let online = if entry.online { "yes" } else { "no" };
                writeln!(roll, "{},{},{online}", of.id(), entry.reference).unwrap();
            }
        }
        std::fs::write(hall.path("roll.csv"), roll).unwrap();
        hall
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Has the commission certify the station, and saves its answer.
    fn certify(&self, life: Life) {
        let keys = StationKeys::load(&self.path("station")).unwrap();
        let (request, role) = (keys.request().unwrap(), PeerRole::Station(StationId(3)));
        let commission = &self.town.agencies.commission;
        let certificate = commission.sign_request(&request, &role, &[], life).unwrap();
        keys.install_certificate(&certificate).unwrap();
    }

    /// Sets all three parties' clocks so far ahead of this machine's.
    fn set_clocks(&self, ahead_ms: i64) {
        for party in Role::ALL {
            let party = self.town.party(party);
            party.skew_ms.store(0, Ordering::Relaxed);
            let skew_ms = system_now().millis().get() as i64 - party.now_ms() as i64 + ahead_ms;
            party.skew_ms.store(skew_ms, Ordering::Relaxed);
        }
    }

    fn all_behave(&self, manner: Manner) {
        for party in Role::ALL {
            self.town.party(party).behave(manner);
        }
    }

    /// The desk with these lines typed; its exit code and all that it said.
    fn sit(&self, typed: &[&str]) -> (u8, String) {
        self.sit_with(&[], typed)
    }

    fn sit_with(&self, more: &[&str], typed: &[&str]) -> (u8, String) {
        self.sit_while(more, lines(typed))
    }

    fn sit_while(&self, more: &[&str], typed: Vec<Typed<'_>>) -> (u8, String) {
        let roll = self.path("roll.csv").to_string_lossy().into_owned();
        let words = ["--roll", &roll, "--language", "en"];
        self.run("desk", &[&words[..], more].concat(), typed)
    }

    /// A command of the station; its exit code and all that it said.
    fn station(&self, verb: &str, words: &str) -> (u8, String) {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.run(verb, &words, Vec::new())
    }

    fn run(&self, verb: &str, more: &[&str], typed: Vec<Typed<'_>>) -> (u8, String) {
        let at = |name: &str| self.path(name).to_string_lossy().into_owned();
        let (station, manifest) = (at("station"), at("manifest"));
        let words = [
            "client",
            "station",
            verb,
            "--dir",
            &station,
            "--manifest",
            &manifest,
        ];
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut input = Typist {
            lines: typed.into_iter(),
            line: Cursor::default(),
        };
        let mut console = Console {
            input: &mut input,
            interactive: false,
            out: &mut out,
            err: &mut err,
        };
        let code = run(words.iter().chain(more).map(Into::into), &mut console);
        (
            code,
            String::from_utf8(out).unwrap() + &String::from_utf8(err).unwrap(),
        )
    }

    /// The channels of all that a party has.
    fn taken(&self, party: Role) -> Vec<ChannelKind> {
        let party = self.town.party(party);
        party.seen(|seen| {
            let of = seen.submissions.values();
            of.map(|ballot| ballot.header().channel()).collect()
        })
    }

    fn statement(&self) -> SignIns {
        let place = self
            .path("station")
            .join(format!("{}.sign-ins", self.town.signed.manifest().election()));
        SignIns::parse(&std::fs::read_to_string(place).unwrap(), &self.town.signed).unwrap()
    }
}

/// Opens, as every day begins.
const OPEN: [&str; 2] = ["A. Berg", "1"];
/// Voter B1-005 votes for option 2 and for nothing, without a receipt.
const VOTE: [&str; 7] = ["1", "b1-005", "1", "2", "", "1", "0"];

#[test]
fn a_day_from_the_opening_to_the_signed_statement() {
    let hall = Hall::new(&[]);
    let printed = hall.path("printed");
    let printer = format!("tee {}", printed.display());
    let mut typed = OPEN.to_vec();
    typed.extend(VOTE);
    // A search with several answers, back, then one of them on paper; the printer prints a receipt of the next.
    typed.extend(["1", "B1-01", "0", "B1-01", "3", "2"]);
    typed.extend(["1", "B2-001", "1", "1", "", "1", "1", ""]);
    // Somebody without a number, and a wrong one.
    typed.extend(["1", "nobody", "0", "9", "3"]);
    // Three voters: two signatures of box 1, one of box 2.
    typed.extend(["2", "1", "1", "0"]);
    let (code, said) = hall.sit_with(&["--printer", &printer], &typed);
    assert_eq!(code, 0, "{said}");
    for words in [
        "Station 3 Town hall.",
        "Opening count: 0 electronic, 0 paper.",
        "officer A. Berg. Votes: 0 electronic, 0 paper.",
        "B1-005, box 1 North, number 5. Votes at stations only.",
        "It is the voter's turn. Officer: look away.",
        "You are about to vote:",
        "1: B1-010, box 1\n2: B1-011, box 1\n3: B1-012, box 1\n",
        "Noted as number 2 of box 1: give the voter a paper ballot.",
        "The receipt is printed.",
        "Nobody on this station's roll has a reference that begins with \"nobody\".",
        "Type a number from 0 to 3 and press Enter.",
        "Box 1: 1 electronic and 1 paper, 2 votes; 2 signatures, 2 in the book. They are equal.",
        "The station is closed. Hand the statement to the commission.",
        "Everything is delivered to all three parties.",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    // After the voter's turn 24 lines push the choice off the officer's screen.
    let (_, after) = said.split_once("You are about to vote:").unwrap();
    assert!(after.contains(&"\n".repeat(24)), "{said}");
    let receipt = std::fs::read_to_string(&printed).unwrap();
    assert!(
        receipt.contains("Station 3 Town hall\nBox 2, number 1\n") && receipt.contains("2:"),
        "{receipt}"
    );
    let statement = hall.statement();
    assert_eq!(
        (
            statement.officer.as_str(),
            statement.boxes.len(),
            statement.remark.as_str()
        ),
        ("A. Berg", 2, "")
    );
    let north = statement.of_box(BoxId(1));
    assert_eq!(
        (north.signed_in, north.electronic, north.paper, north.surplus()),
        (2, 1, 1, 0)
    );
    assert_eq!(hall.town.party(Role::P2).seen(|seen| seen.submissions.len()), 3);
    // The book knows who came and not when; no file of the station holds a choice beside a name.
    let book =
        std::fs::read_to_string(hall.path("station").join(format!("{}.book", statement.election))).unwrap();
    assert!(book.contains("\"1\": [\n      5,\n      12\n    ]"), "{book}");
}

#[test]
fn it_goes_on_where_it_was_whenever_it_ends() {
    let hall = Hall::new(&[]);
    // The input ends in the middle of every step of opening and voting: nothing is half done.
    let mut day = OPEN.to_vec();
    day.extend(VOTE);
    for length in 0..OPEN.len() {
        let (code, said) = hall.sit(&day[..length]);
        assert!(
            code == 0 && said.contains("The station was not opened. Nothing was noted."),
            "{said}"
        );
    }
    let (_, said) = hall.sit(&["0"]);
    assert!(said.contains("Nothing was noted."), "{said}");
    let (_, said) = hall.sit(&OPEN);
    assert!(said.contains("The station is open."), "{said}");
    for length in 1..VOTE.len() - 1 {
        let (code, said) = hall.sit(&VOTE[..length]);
        assert!(
            code == 0 && !said.contains("Your vote is kept"),
            "{length}: {said}"
        );
        assert!(said.contains("Votes: 0 electronic, 0 paper."), "{said}");
    }
    let (_, said) = hall.sit(&VOTE);
    assert!(said.contains("THIS VOTER HAS SIGNED IN HERE BEFORE."), "{said}");
    assert!(
        said.contains("Your vote is kept") && said.contains("Votes: 1 electronic, 0 paper."),
        "{said}"
    );
    // A voter who stops has signed in and has no vote; what is chosen wrongly is asked again.
    let (_, said) = hall.sit(&["1", "B1-007", "1", "99", "", "x", "0"]);
    assert!(
        said.contains("Choose again.") && said.contains("The voter stopped without voting."),
        "{said}"
    );
    // One signature too few for the votes would be a surplus; a difference is named, explained and signed.
    let (_, said) = hall.sit(&["3", "0", "somebody forgot", "0", "0"]);
    assert!(
        said.contains("1 VOTES TOO MANY") && said.contains("The station stays open."),
        "{said}"
    );
    let (_, said) = hall.sit(&[
        "3",
        "2",
        "one left without voting",
        "1",
        "2",
        "3",
        "2",
        "",
        "1",
        "0",
    ]);
    assert!(said.contains("1 signed in without a vote."), "{said}");
    assert!(
        said.contains("The station is open again. Its closing statement is void"),
        "{said}"
    );
    assert_eq!(hall.statement().boxes[0].signed_in, 2);
    let (_, said) = hall.sit(&["0"]);
    assert!(
        said.contains("closed at") && !said.contains("next voter"),
        "{said}"
    );
}

#[test]
fn offline_the_votes_wait_and_are_delivered_when_the_parties_are_back() {
    let hall = Hall::new(&[]);
    for party in Role::ALL {
        hall.town.party(party).behave(Manner::Refusing(Reason::PartyBusy));
    }
    let mut day = OPEN.to_vec();
    day.extend(VOTE);
    let (code, said) = hall.sit(&day);
    assert_eq!(code, 6, "{said}");
    assert!(
        said.contains("1 still wait for delivery. They are safe on this disk"),
        "{said}"
    );
    hall.town.party(Role::P1).behave(Manner::Honest);
    let (code, said) = hall.sit(&["2", "0"]);
    assert!(
        code == 6 && said.contains("Waiting for delivery: 1, 0 of them safe"),
        "{said}"
    );
    for party in Role::ALL {
        hall.town.party(party).behave(Manner::Honest);
    }
    let (code, said) = hall.sit(&["0"]);
    assert!(
        code == 0 && said.contains("Everything is delivered to all three parties."),
        "{said}"
    );
}

/// Opens, one voter votes, and a closing that is broken off asks the parties first.
fn day_with_a_vote() -> Vec<&'static str> {
    let mut day = OPEN.to_vec();
    day.extend(VOTE);
    day.extend(["3", "1", "0"]);
    day
}

#[test]
fn two_parties_that_refuse_a_station_stop_it_while_the_third_one_hangs() {
    let hall = Hall::new(&[]);
    for party in [Role::P1, Role::P2] {
        hall.town
            .party(party)
            .behave(Manner::Refusing(Reason::BallotStationRevoked));
    }
    hall.town.party(Role::P3).behave(Manner::Silent);
    let mut day = day_with_a_vote();
    day.extend(["1", "2", "0"]);
    let (code, said) = hall.sit(&day);
    assert_eq!(code, 6, "{said}");
    for words in [
        "THE STATION IS REVOKED. Take no more votes and send voters to another station. Two parties take nothing more from it. Court (P1) refused",
        "The station is revoked: no vote is taken.",
        "BALLOTS ARE REFUSED by two parties and will not be counted as they are.",
        "Number 1 of box 1: Court (P1) refused: as the test wants it (ballot.station-revoked)",
        "Number 1 of box 1: University (P2) refused: as the test wants it (ballot.station-revoked)",
        "Statistics (P3) could not be reached: no answer within 3 s (party.unreachable)",
        "1 votes are not with two parties, and nothing more is taken from this station",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
}

#[test]
fn a_paper_row_that_is_refused_is_named_as_paper_with_what_to_do() {
    let refused_by = |parties: &[Role]| {
        let hall = Hall::new(&[]);
        for party in parties {
            let manner = Manner::Refusing(Reason::BallotStationSequence);
            hall.town.party(*party).behave(manner);
        }
        hall
    };
    let by_vote = "Number 1 of box 1: Court (P1) refused";
    let by_paper = "Number 2 of box 1, PAPER: Court (P1) refused";
    let advice = "If the paper ballot is not in the box yet, keep it out.";
    let paper = ["1", "b1-006", "2"];
    // Whoever is about to close asks the parties.
    let close_and_look = ["3", "2", "0", "2", "0"];

    // One party alone: which row is which is said, and both count.
    let hall = refused_by(&[Role::P1]);
    let day = [&OPEN[..], &VOTE, &paper, &close_and_look].concat();
    let (code, said) = hall.sit(&day);
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("One party alone refuses ballots."), "{said}");
    assert!(said.contains(by_vote) && said.contains(by_paper), "{said}");
    assert!(!said.contains(advice), "{said}");

    // Two: of an electronic vote there is no paper to keep out of the box.
    let hall = refused_by(&[Role::P1, Role::P2]);
    let (_, said) = hall.sit(&[&OPEN[..], &VOTE, &["3", "1", "0", "0"]].concat());
    assert!(said.contains("BALLOTS ARE REFUSED by two parties"), "{said}");
    assert!(said.contains(by_vote) && !said.contains(advice), "{said}");
    let (code, said) = hall.sit(&[&paper[..], &close_and_look].concat());
    assert_eq!(code, 6, "{said}");
    let lost = said.find("BALLOTS ARE REFUSED by two parties").expect(&said);
    assert!(
        said[lost..].contains(by_paper) && said[lost..].contains(advice),
        "{said}"
    );

    // A queue is drained elsewhere too, by people and by programs.
    let (code, said) = hall.station("drain", "--give-up-after 1");
    assert_eq!(code, 6, "{said}");
    assert!(
        said.contains("Number 2 of box 1, PAPER: University (P2) refused"),
        "{said}"
    );
    let (_, said) = hall.station("drain", "--give-up-after 1 --json");
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    let rows = json["refused"].as_array().unwrap().iter();
    let rows: Vec<_> = rows
        .map(|row| (row["sequence"].as_u64(), row["paper"].as_bool()))
        .collect();
    assert!(rows.contains(&(Some(1), Some(false))), "{rows:?}");
    assert!(rows.contains(&(Some(2), Some(true))), "{rows:?}");
}

#[test]
fn one_party_alone_does_not_bury_the_menu_under_what_it_refuses() {
    let hall = Hall::new(&[]);
    hall.town
        .party(Role::P1)
        .behave(Manner::Refusing(Reason::BallotStationRevoked));
    let mut day = OPEN.to_vec();
    for _ in 0..6 {
        day.extend(VOTE);
    }
    day.extend(["3", "1", "0"]);
    assert_eq!(hall.sit(&day).0, 6);
    let refusals = |said: &str| said.matches("Court (P1) refused: as the test wants it").count();
    // Whoever is about to close asks the parties.
    let (_, menu) = hall.sit(&["3", "1", "", "0", "0"]);
    assert!((1..=2 * 3).contains(&refusals(&menu)), "{menu}");
    assert!(
        menu.contains("And 3 more; the state in full names them all."),
        "{menu}"
    );
    assert!(!menu.contains("Number 6 of box 1: Court (P1) refused"), "{menu}");
    let (_, full) = hall.sit(&["3", "1", "", "0", "2", "0"]);
    assert!(full.contains("Number 6 of box 1: Court (P1) refused"), "{full}");
}

#[test]
fn one_party_alone_closes_no_station() {
    let hall = Hall::new(&[]);
    let revoke = |parties: &[Role]| {
        let station = StationId(3);
        hall.town
            .agencies
            .revoke(&hall.town.signed, (1, None), station, parties)
    };
    let liar = hall.town.party(Role::P1);
    liar.behave(Manner::Refusing(Reason::BallotStationRevoked));
    // What lacks a signature is in force nowhere, whoever says so; and another party's signature is not that party's word.
    let two = revoke(&[Role::P1, Role::P2]);
    liar.show(std::slice::from_ref(&two), std::slice::from_ref(&two));
    let mut day = day_with_a_vote();
    day.extend(VOTE);
    day.extend(["2", "0"]);
    let (code, said) = hall.sit(&day);
    assert_eq!(code, 6, "{said}");
    for words in [
        "ONE PARTY ALONE takes nothing more from this station: Court (P1) has countersigned order 1, which revokes it.",
        "voting goes on. Tell the commission.",
        "One party alone refuses ballots. They count once the two others have them",
        "Number 1 of box 1: Court (P1) refused: as the test wants it (ballot.station-revoked)",
        "Votes: 2 electronic, 0 paper.",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    for words in ["REVOKED. Take no more", "no vote is taken", "will not be counted"] {
        assert!(!said.contains(words), "{words}\n{said}");
    }
    for party in [Role::P2, Role::P3] {
        assert_eq!(hall.town.party(party).seen(|seen| seen.submissions.len()), 2);
    }
}

#[test]
fn an_order_in_force_stops_a_station_before_anybody_signs_in() {
    let hall = Hall::new(&[]);
    let revoke = |number, after, station| {
        let (signed, all) = (&hall.town.signed, &Role::ALL);
        hall.town
            .agencies
            .revoke(signed, (number, after), StationId(station), all)
    };
    let order = revoke(1, None, 3);
    // One party shows it; it bears three signatures. The two others know of none, or hide it.
    hall.town.party(Role::P2).show(&[order], &[]);
    let mut day = OPEN.to_vec();
    day.extend(["1", "0"]);
    let (code, said) = hall.sit(&day);
    assert_eq!(code, 0, "{said}");
    for words in [
        "THE STATION IS REVOKED. Take no more votes and send voters to another station. Order 1, signed by the commission and all three parties",
        "\"The seal is broken.\"",
        "The station is revoked: no vote is taken.",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    assert!(!said.contains("Reference on the roll"), "{said}");
    for party in Role::ALL {
        let seen = hall.town.party(party);
        assert_eq!(seen.seen(|seen| seen.submissions.len()), 0);
        // After a power cut nobody needs to say it again.
        seen.show(&[], &[]);
    }
    let (_, said) = hall.sit(&["1", "0"]);
    assert!(
        said.contains("The station is revoked: no vote is taken. Order 1"),
        "{said}"
    );
}

#[test]
fn an_order_that_two_parties_hold_to_stops_a_station_before_it_is_in_force() {
    let hall = Hall::new(&[]);
    for party in [Role::P1, Role::P3] {
        let order = hall
            .town
            .agencies
            .revoke(&hall.town.signed, (4, None), StationId(3), &[party]);
        hall.town.party(party).show(&[], &[order]);
    }
    let mut day = OPEN.to_vec();
    day.extend(["1", "0"]);
    let (_, said) = hall.sit(&day);
    assert!(
        said.contains("Statistics (P3) has countersigned order 4, which revokes it.")
            && said.contains("The station is revoked: no vote is taken."),
        "{said}"
    );
    // It was given up: the station goes on.
    for party in Role::ALL {
        hall.town.party(party).show(&[], &[]);
    }
    let (code, said) = hall.sit(&VOTE);
    assert!(code == 0 && said.contains("Your vote is kept"), "{said}");
}

#[test]
fn a_roll_that_is_not_the_elections_in_every_line_is_refused() {
    let hall = Hall::new(&[]);
    let good = std::fs::read_to_string(hall.path("roll.csv")).unwrap();
    let exchanged = good
        .replace("B1-004,", "B1-x,")
        .replace("B1-006,", "B1-004,")
        .replace("B1-x,", "B1-006,");
    for (wrong, words) in [
        (exchanged, "box 1: the roll has the root"),
        (
            good.replace("2,B2-007,no", "2,B2-007,yes"),
            "box 2: the roll has the root",
        ),
        (good.replace("B1-004,", "B1-oo4,"), "box 1: the roll has the root"),
        (
            good.replace("1,B1-099,no\n", ""),
            "box 1: the roll has 99 voters, the manifest states 100",
        ),
        (good.replace("1,B1-099,no", "1,B1-099,perhaps"), "line 101"),
        (good.replace("1,B1-099,no", "1,B1-098,no"), "line 101"),
    ] {
        std::fs::write(hall.path("roll.csv"), wrong).unwrap();
        let (code, said) = hall.sit(&[]);
        assert_ne!(code, 0, "{said}");
        assert!(said.contains(words), "{words}: {said}");
    }
}
