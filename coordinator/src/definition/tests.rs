use std::fmt::Write as _;
use std::fs;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_proto::envelope::Signer;
use tally_proto::identity::{CoordinatorIdentity, PartyParts};
use tally_proto::ids::{Role, RoleExt as _, StationId};
use tally_proto::pki::Authority;
use tally_proto::suite::OpeningKey;

use super::*;

const SAMPLE: &str = include_str!("../../samples/election.toml");

/// A directory with the identity files and the roll that the sample names.
struct Scene {
    dir: tempfile::TempDir,
    coordinator: wire::CoordinatorIdentity,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let mut rng = StdRng::seed_from_u64(2027);
        let write = |name: &str, text: String| fs::write(dir.path().join(name), text).expect("written");
        let authority = Authority::generate("test").expect("authority");
        for role in Role::ALL {
            let party = PartyIdentity::new(PartyParts {
                role,
                agency: format!("Agency {}", role.number()),
                public_address: "https://party.example:7001".into(),
                peer_address: "https://party.example:7002".into(),
                tls_ca_pem: authority.cert_pem().to_owned(),
                signing_key: Signer::generate(&mut rng).public_key(),
                sealing_key: OpeningKey::generate(&mut rng).sealing_key(),
            });
            write(
                &format!("party-{}.identity.toml", role.number()),
                party.expect("party").to_toml(),
            );
        }
        let key = Signer::generate(&mut rng).public_key();
        write(
            "registrar-post.identity.toml",
            RegistrarIdentity::new("post", key).expect("registrar").to_toml(),
        );
        for id in [7, 8] {
            let key = Signer::generate(&mut rng).public_key();
            let station = StationIdentity::new(StationId(id), &format!("School {id}"), key, Vec::new());
            write(
                &format!("station-{id}.identity.toml"),
                station.expect("station").to_toml(),
            );
        }
        let mut roll = String::from("box,reference,online\n");
        for v in 0..25 {
            writeln!(roll, "1,N-{v},yes\n2,S-{v},no").expect("text");
        }
        write("roll.csv", roll);
        let key = Signer::generate(&mut rng).public_key();
        let coordinator =
            CoordinatorIdentity::new("Commission", "https://c.example:7000", authority.cert_pem(), key);
        Self {
            dir,
            coordinator: coordinator.expect("coordinator").to_wire(),
        }
    }

    fn read(&self, text: &str) -> Result<Definition, DefinitionError> {
        let path = self.dir.path().join("election.toml");
        fs::write(&path, text).expect("written");
        super::read(&path, self.coordinator.clone(), 1_800_000_000)
    }

    /// The message for the sample with `from` (which stands once) replaced by `to`, without the directory's name.
    fn refusal(&self, from: &str, to: &str) -> String {
        assert_eq!(
            SAMPLE.matches(from).count(),
            1,
            "{from:?} stands once in the sample"
        );
        let error = self.read(&SAMPLE.replace(from, to)).expect_err(to);
        error
            .to_string()
            .replace(&format!("{}/", self.dir.path().display()), "")
    }
}

#[test]
fn the_sample_is_a_good_election() {
    let definition = Scene::new().read(SAMPLE).expect("good");
    let manifest = definition.manifest;
    assert_eq!(manifest.election, "riverside-2027");
    let texts: Vec<_> = manifest
        .title
        .iter()
        .map(|t| (t.language.as_str(), t.text.as_str()))
        .collect();
    assert_eq!(
        texts,
        [
            ("en", "Riverside council election 2027"),
            ("cy", "Etholiad cyngor Glan yr Afon 2027")
        ]
    );
    let person = &manifest.contests[0].options[1].name;
    assert!(
        person.len() == 2 && person.iter().all(|t| t.text == "Émilie du Châtelet"),
        "the same in each language"
    );
    assert_eq!(
        manifest.contests[1].rule,
        Some(wire::contest::Rule::Approval(wire::ApprovalRule { max: 2 }))
    );
    assert_eq!(
        manifest
            .boxes
            .iter()
            .map(|b| (b.id, b.voters))
            .collect::<Vec<_>>(),
        [(1, 25), (2, 25)]
    );
    assert_eq!(manifest.boxes[0].contests, [1, 2]);
    let kinds: Vec<_> = manifest.channels.iter().map(wire::Channel::kind).collect();
    assert_eq!(
        kinds,
        [
            wire::ChannelKind::Online,
            wire::ChannelKind::Station,
            wire::ChannelKind::Paper
        ]
    );
    let online = &manifest.channels[0];
    assert_eq!(
        (online.time_zone.as_str(), online.openings[0].opens_s),
        ("Europe/London", 1_809_327_600)
    );
    assert_eq!(
        online.receive_until_s,
        online.openings[0].closes_s + calendar::GRACE_S
    );
    assert_eq!(manifest.channels[1].openings.len(), 3);
    assert_eq!(manifest.channels[1].openings[2].closes_local, "2027-05-06 22:00");
    assert_eq!(
        manifest
            .stations
            .iter()
            .map(|s| (s.id, s.boxes.clone()))
            .collect::<Vec<_>>(),
        [(7, vec![1]), (8, vec![])]
    );
    assert_eq!(manifest.parties[2].agency, "Agency 3");
    let policy = manifest.policy.expect("policy");
    assert_eq!(
        (
            policy.min_voters,
            policy.min_submissions,
            policy.open_counted_per_channel
        ),
        (20, 10, true)
    );
    assert!(definition.roll.voters(1)[3].online && !definition.roll.voters(2)[3].online);
}

#[test]
fn stations_have_hours_of_their_own() {
    let scene = Scene::new();
    let proposals = include_str!("../../samples/proposals.toml");
    let manifest = scene.read(proposals).expect("good").manifest;
    assert_eq!(manifest.contests[0].options.len(), 11);
    let hours = |i: usize| {
        let all = manifest.stations[i].openings.iter();
        all.map(|o| (o.opens_local.as_str(), o.closes_local.as_str()))
            .collect::<Vec<_>>()
    };
    assert_eq!(hours(0).len(), 5);
    assert_eq!(hours(0)[4], ("2027-08-27 09:00", "2027-08-27 17:00"));
    assert_eq!(hours(1), [("2027-08-29 10:00", "2027-08-29 16:00")]);
    // In the time zone of the channel.
    assert_eq!(manifest.stations[1].openings[0].opens_s, 1_819_501_200);
    let wrong = proposals.replace(
        "identity = \"station-8.identity.toml\"\nopenings = [{ days = \"2027-08-29\", hours = \"10:00 to 16:00\" }]",
        "identity = \"station-8.identity.toml\"\nopenings = [{ days = \"2027-08-29\", hours = \"16:00 to 10:00\" }]",
    );
    let error = scene.read(&wrong).expect_err("backwards").to_string();
    assert!(
        error.contains("election.toml:82: ") && error.contains("not after it opens"),
        "{error}"
    );
}

#[test]
fn of_a_revoked_station_counts_what_was_before_unless_it_is_said() {
    let scene = Scene::new();
    let rows = |line: &str| {
        let definition = scene.read(&SAMPLE.replace("revoked_stations = \"before\"\n", line));
        definition.expect("good").manifest.revoked_rows()
    };
    assert_eq!(rows(""), wire::RevokedRows::Before);
    assert_eq!(rows("revoked_stations = \"before\"\n"), wire::RevokedRows::Before);
    assert_eq!(rows("revoked_stations = \"none\"\n"), wire::RevokedRows::None);
}

#[test]
fn a_network_is_near_unless_it_is_said_to_be_far() {
    let scene = Scene::new();
    let network = |line: &str| {
        let definition = scene.read(&SAMPLE.replace("network = \"near\"\n", line));
        definition.expect("good").manifest.network()
    };
    assert_eq!(network(""), wire::Network::Near);
    assert_eq!(network("network = \"near\"\n"), wire::Network::Near);
    assert_eq!(network("network = \"far\"\n"), wire::Network::Far);
}

#[test]
fn every_refusal_says_where_what_and_what_to_do() {
    let scene = Scene::new();
    let cases: &[(&str, &str, &str)] = &[
        (
            "election = \"riverside-2027\"",
            "election = \"Riverside 2027\"",
            "election.toml:4: election id \"Riverside 2027\" is not usable: write 1 to 64 characters a-z, 0-9 and inner hyphens, such as \"riverside-2027\"",
        ),
        (
            "en = \"Riverside council election 2027\"",
            "en = \" =cmd|'/C calc'!A0\"",
            "election.toml:9: the title in language \"en\" begins with '=', or with it after a semicolon or a tab: put a word first, since programs for tables would take it for a formula where \
             registrars' text messages are opened with one, beside the voters' codes",
        ),
        (
            "en = \"Riverside council election 2027\"",
            "en = \"Riverside; \u{200b}=1+1\"",
            "election.toml:9: the title in language \"en\" begins with '=', or with it after a semicolon or a tab: put a word first, since programs for \
             tables would take it for a formula where registrars' text messages are opened with one, beside the voters' codes",
        ),
        (
            "cy = \"Etholiad cyngor Glan yr Afon 2027\"",
            "cy = \"\u{ff20}SUM(A1)\"",
            "election.toml:9: the title in language \"cy\" begins with '\u{ff20}', or with it after a semicolon or a tab: put a word first, since programs for tables would take it for a formula where \
             registrars' text messages are opened with one, beside the voters' codes",
        ),
        (
            "rule = \"single\"",
            "rule = \"ranked\"",
            "election.toml:41: contest 1: rule \"ranked\" is not supported: write \"single\" (one choice) or \"approval\" (with `max`)",
        ),
        (
            "max = 2",
            "max = 4",
            "election.toml:53: contest 2: max = 4 of 3 options: write 1 to 3",
        ),
        (
            "max = 2\n",
            "",
            "election.toml:52: contest 2: rule \"approval\" needs `max`, the most options a voter may approve",
        ),
        (
            "rule = \"single\"",
            "rule = \"single\"\nmax = 1",
            "election.toml:42: contest 1: max = 1 belongs to rule \"approval\": remove it, or change the rule",
        ),
        (
            "\"Sophie Germain\"",
            "\"Ada Lovelace\"",
            "election.toml:45: contest 1: options 1 and 3 are both called \"Ada Lovelace\": give them names a voter can tell apart",
        ),
        (
            "{ en = \"Night bus\", cy = \"Bws nos\" }",
            "{ en = \"Night bus\" }",
            "election.toml:57: option 3 of contest 2 lacks language \"cy\", which the election's title has: add it, so that every voter reads a whole ballot",
        ),
        (
            "{ en = \"South\", cy = \"De\" }",
            "{ en = \"South\", cy = \"  \" }",
            "election.toml:68: the name of box 2 has 0 characters in language \"cy\": write 1 to 500",
        ),
        (
            "{ en = \"South\", cy = \"De\" }",
            "{ EN = \"South\" }",
            "election.toml:68: language \"EN\" of the name of box 2 is not a language tag: write a lower case tag such as \"en\" or \"de-at\"",
        ),
        (
            "contests = [1]",
            "contests = [3]",
            "election.toml:69: box \"South\" (id 2) votes on contest 3, which is not defined: define it or remove it from `contests`",
        ),
        (
            "contests = [1]",
            "contests = [1, 1]",
            "election.toml:69: box \"South\" (id 2) lists contest 1 twice: list each of its contests once",
        ),
        (
            "contests = [1]",
            "contests = []",
            "election.toml:69: box \"South\" (id 2) lists no contest: list each of its contests once",
        ),
        (
            "contests = [1, 2]",
            "contests = [1]",
            "election.toml:50: contest 2 is in no box: add it to a box's `contests` or remove it",
        ),
        (
            "min_voters = 20",
            "min_voters = 26",
            "election.toml:61: box \"North\" (id 1) has 25 voters on the roll, fewer than min_voters = 26: join it with a neighbouring box, because the result of so few could show how single people voted",
        ),
        (
            "min_voters = 20",
            "min_voters = 1",
            "election.toml:31: result.min_voters = 1 protects nobody: write at least 3",
        ),
        (
            "kind = \"closed\"",
            "kind = \"half\"",
            "election.toml:28: roll kind \"half\" is not known: write \"closed\" (every voter is on the roll now) or \"open\" (voters are appended as they enrol with an identity card)",
        ),
        (
            "kind = \"closed\"",
            "kind = \"open\"",
            "election.toml:26: a closed roll has `file`, a CSV, and nothing else; an open one `most` (voters that it can have), `freezes` (\"YYYY-MM-DD HH:MM\") and `time_zone`",
        ),
        (
            "file = \"roll.csv\"\nkind = \"closed\"",
            "kind = \"open\"\nmost = 500\ntime_zone = \"Europe/London\"",
            "election.toml:26: a closed roll has `file`, a CSV, and nothing else; an open one `most` (voters that it can have), `freezes` (\"YYYY-MM-DD HH:MM\") and `time_zone`",
        ),
        (
            "file = \"roll.csv\"\nkind = \"closed\"",
            "kind = \"open\"\nmost = 500\nfreezes = \"2027-05-03 08:00\"\ntime_zone = \"Europe/London\"",
            "election.toml:26: voters come onto an open roll by their identity cards: add an [enrolment] table",
        ),
        (
            "\"party-2.identity.toml\", \"party-3.identity.toml\"",
            "\"party-3.identity.toml\"",
            "election.toml:13: 2 parties are named: list the identity files of exactly three, in the order P1, P2, P3",
        ),
        (
            "\"party-1.identity.toml\", \"party-2.identity.toml\"",
            "\"party-2.identity.toml\", \"party-1.identity.toml\"",
            "election.toml:13: place 1 of `parties` names party-2.identity.toml, the identity of P2: list P1, P2, P3 in this order",
        ),
        (
            "[\"registrar-post.identity.toml\"]",
            "[]",
            "election.toml:14: 0 registrars are named: list one identity file, or two for issuing split between two",
        ),
        (
            "kind = \"paper\"",
            "kind = \"station\"",
            "election.toml:92: there are two station channels: put all their openings into one",
        ),
        (
            "kind = \"paper\"",
            "kind = \"post\"",
            "election.toml:92: channel kind \"post\" is not supported: write \"online\", \"station\" or \"paper\"",
        ),
        (
            "opens = \"2027-05-03 08:00\"",
            "opens = \"2027-03-28 01:30\"",
            "election.toml:77: online channel: 2027-03-28 01:30 does not exist in Europe/London: the clocks go forward over it; choose a time before or after",
        ),
        (
            "closes = \"2027-05-06 20:00\"",
            "closes = \"2027-05-03 08:00\"",
            "election.toml:77: online channel: the opening closes at 2027-05-03 08:00, not after it opens at 2027-05-03 08:00: swap or correct them",
        ),
        (
            "hours = \"09:00 to 17:00\"",
            "closes = \"17:00\"",
            "election.toml:85: station channel: an opening is written either as { opens = \"...\", closes = \"...\" } or as { days = \"...\", hours = \"...\" }",
        ),
        (
            "identity = \"station-8.identity.toml\"",
            "identity = \"station-7.identity.toml\"",
            "election.toml:104: station id 7 is used by \"School 7\" and \"School 7\": make one of them anew with another number",
        ),
        (
            "boxes = [1]\n",
            "boxes = [9]\n",
            "election.toml:101: station \"School 7\" names box 9, which is not defined: the boxes are [1, 2]",
        ),
        (
            "network = \"near\"",
            "network = \"wan\"",
            "election.toml:19: network \"wan\" is not supported: write \"near\" (parties a few milliseconds apart) or \"far\" (tens of milliseconds)",
        ),
        (
            "revoked_stations = \"before\"",
            "revoked_stations = \"all\"",
            "election.toml:23: revoked_stations \"all\" is not supported: write \"before\" (what a revoked station cast before the order's moment counts) or \"none\" (nothing of it)",
        ),
        (
            "counted_per_channel = true",
            "counted_per_canton = true",
            "election.toml:32: unknown field `counted_per_canton`, expected one of `counted_per_channel`, `min_voters`, `min_submissions`; see the sample election file for every key",
        ),
        (
            "per_day = 8",
            "per_day = 300",
            "election.toml:109: 300 tickets a day on 4 days and 3 draws: at least one ticket a day and at most 1024 in all, 1 to 16 draws",
        ),
        (
            "draws = 3",
            "draws = 0",
            "election.toml:109: 8 tickets a day on 4 days and 0 draws: at least one ticket a day and at most 1024 in all, 1 to 16 draws",
        ),
    ];
    for (from, to, message) in cases {
        assert_eq!(scene.refusal(from, to), *message);
    }
}

#[test]
fn tickets_have_a_key_for_each_day_of_the_online_channel_and_may_be_left_out() {
    let scene = Scene::new();
    let definition = scene.read(SAMPLE).expect("good");
    // 3 to 6 May 2027, British Summer Time.
    let midnight = 1_809_327_600 - 8 * 3600;
    let days: Vec<u64> = (0..4).map(|day| midnight + day * 86_400).collect();
    assert_eq!(definition.ticket_days, days);
    let allowance = wire::TicketAllowance { per_day: 8, draws: 3 };
    assert_eq!(definition.manifest.ticket_allowance, Some(allowance));
    let without = scene
        .read(&SAMPLE.replace("[tickets]\nper_day = 8\ndraws = 3\n", ""))
        .expect("good");
    assert!(without.ticket_days.is_empty() && without.manifest.ticket_allowance.is_none());
    let start = SAMPLE
        .find("[[channel]]\nkind = \"online\"")
        .expect("stands there");
    let end = start
        + SAMPLE[start..]
            .find("[[channel]]\nkind = \"station\"")
            .expect("after it");
    let offline = format!("{}{}", &SAMPLE[..start], &SAMPLE[end..]);
    let refusal = scene.read(&offline).expect_err("nobody to draw").to_string();
    assert!(refusal.contains("tickets are for online ballots"), "{refusal}");
}

#[test]
fn tickets_and_enrolment_by_card_go_together() {
    let scene = Scene::new();
    let cards = tally_proto::fixture::cards::Cards::new(1_800_000_000);
    for (name, der) in [("root.pem", &cards.root), ("issuing-ca.pem", &cards.issuing)] {
        fs::write(scene.dir.path().join(name), der).expect("written");
    }
    let mut roll = String::from("box,reference,online,person\n");
    for v in 0..25 {
        writeln!(roll, "1,N-{v},yes,PNOEE-{v}\n2,S-{v},yes,").expect("text");
    }
    fs::write(scene.dir.path().join("roll.csv"), roll).expect("written");
    // The sample's own table, which stands there as a comment.
    let (_, table) = SAMPLE.split_once("#     [enrolment]\n").expect("stands there");
    let table: String = table
        .lines()
        .filter_map(|line| line.strip_prefix("#     "))
        .fold(String::from("[enrolment]\n"), |all, line| all + line + "\n");
    for registrars in [
        "registrars = [\"registrar-post.identity.toml\"]",
        "registrars = []",
    ] {
        let sample = SAMPLE.replace("registrars = [\"registrar-post.identity.toml\"]", registrars);
        assert!(sample.contains(registrars));
        let definition = scene.read(&format!("{sample}\n{table}")).expect("good");
        assert!(definition.manifest.ticket_allowance.is_some() && definition.manifest.register.is_some());
        assert!(definition.roll.names_persons());
    }
}

#[test]
fn files_that_are_missing_or_broken_are_named() {
    let scene = Scene::new();
    let missing = scene.refusal("\"station-8.identity.toml\"", "\"station-9.identity.toml\"");
    assert!(
        missing.starts_with("election.toml:104: identity file station-9.identity.toml: cannot read: "),
        "{missing}"
    );
    let wrong = scene.refusal("\"station-8.identity.toml\"", "\"party-1.identity.toml\"");
    assert!(
        wrong.starts_with("election.toml:104: identity file party-1.identity.toml: not an identity file"),
        "{wrong}"
    );
    let roll = scene.refusal("file = \"roll.csv\"", "file = \"election.toml\"");
    assert!(roll.contains("roll election.toml: line 1: "), "{roll}");
    let syntax = scene.refusal("[roll]", "[roll");
    assert!(syntax.starts_with("election.toml:26: "), "{syntax}");
    let absent =
        super::read(Path::new("/nonexistent/e.toml"), scene.coordinator.clone(), 0).expect_err("absent");
    assert!(
        absent.to_string().contains("cannot be read") && absent.line().is_none(),
        "{absent}"
    );
}

#[test]
fn whole_sections_that_are_missing_are_named() {
    let scene = Scene::new();
    let (head, stations) = SAMPLE.split_once("# Polling stations").expect("section");
    let error = scene.read(head).expect_err("no stations").to_string();
    assert!(
        error.contains("there is a station or paper channel but no [[station]]"),
        "{error}"
    );
    let (before, rest) = head
        .split_once("[[channel]]\nkind = \"station\"")
        .expect("channels");
    let error = scene
        .read(&format!("{before}#{stations}"))
        .expect_err("no channel")
        .to_string();
    assert!(
        error.contains("there are [[station]] tables but neither a station nor a paper channel"),
        "{error}"
    );
    assert!(scene.read(before).is_ok(), "an election may be online only");
    assert!(rest.contains("paper"));
    let no_box = SAMPLE.split("[[box]]").next().expect("before boxes");
    let error = scene.read(no_box).expect_err("no box").to_string();
    assert!(error.contains("missing field `box`"), "{error}");
    let plain = SAMPLE
        .replace("title = { en = \"Riverside council election 2027\", cy = \"Etholiad cyngor Glan yr Afon 2027\" }", "title = \"R\"")
        .replace("language = \"en\"\n", "");
    let error = scene.read(&plain).expect_err("no language").to_string();
    assert!(
        error.contains("the title is one plain text, but the file has no `language`"),
        "{error}"
    );
}

/// The sample with the table that it shows for enrolment by card, in the place of its tickets.
fn sample_with_cards() -> String {
    let (text, enrolment) = SAMPLE.split_once("#     [enrolment]").expect("it is shown");
    let tickets = "[tickets]\nper_day = 8\ndraws = 3\n";
    assert!(text.contains(tickets));
    format!(
        "{}[enrolment]{}",
        text.replace(tickets, ""),
        enrolment.replace("#     ", "")
    )
}

#[test]
fn an_authority_whose_cards_could_never_enrol_is_refused_by_its_file_and_name() {
    use tally_proto::fixture::cards::{CardKey, CardShape, Cards};
    const OPENS: u64 = 1_803_859_200;
    let scene = Scene::new();
    let put = |name: &str, bytes: &[u8]| fs::write(scene.dir.path().join(name), bytes).expect("written");
    let mut roll = String::from("box,reference,online,person\n");
    for v in 0..25 {
        writeln!(roll, "1,N-{v},yes,PNOEE-1{v}\n2,S-{v},no,PNOEE-2{v}").expect("text");
    }
    put("roll.csv", roll.as_bytes());
    let (text, mut cards) = (sample_with_cards(), Cards::new(OPENS));
    put("root.pem", &cards.root);
    put("issuing-ca.pem", &cards.issuing);
    let definition = scene.read(&text).unwrap_or_else(|error| panic!("{error}"));
    let register = definition.manifest.register.expect("a register");
    assert_eq!(register.issuers, [cards.issuing.clone()]);
    assert_eq!(register.roots, [cards.root.clone()]);

    let refused = |name: &str, bytes: &[u8]| {
        let before = fs::read(scene.dir.path().join(name)).expect("there");
        put(name, bytes);
        let error = scene.read(&text).expect_err(name).to_string();
        put(name, &before);
        let line = 1 + text
            .lines()
            .position(|line| line.contains(&format!("[\"{name}\"]")))
            .expect("named");
        assert!(error.contains(&format!("election.toml:{line}: ")), "{error}");
        assert!(error.contains(&format!("{name} (")), "{error}");
        error
    };
    let other = Cards::deep(OPENS, |_, _| {});
    let said = refused("issuing-ca.pem", &other.policy.clone().expect("a policy CA"));
    assert!(said.contains("CN=Test Policy of Cards"), "{said}");
    assert!(
        said.contains("not signed by the authority of that name"),
        "{said}"
    );
    let said = refused("issuing-ca.pem", &other.issuing);
    assert!(
        said.contains("leads to no root of the register") && said.contains("CN=Test Policy of Cards"),
        "{said}"
    );
    let card = cards.card(&CardShape::of("PNOEE-10", CardKey::P256, OPENS));
    let said = refused("issuing-ca.pem", &card.certificate);
    assert!(
        said.contains("is not the certificate of a certification authority"),
        "{said}"
    );
    let unchecked = include_bytes!("../../../proto/src/card/openssl/no-secp256k1.pem");
    let said = refused("root.pem", unchecked);
    assert!(
        said.contains("whose signatures cannot be checked here: elliptic curve 1.3.132.0.10"),
        "{said}"
    );
    let old = Cards::new(OPENS - 5000 * 86_400);
    put("root.pem", &old.root);
    let said = refused("issuing-ca.pem", &old.issuing);
    assert!(said.contains("when enrolment opens or closes"), "{said}");
}
