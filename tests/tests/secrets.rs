//! A wide election on real processes, with everything that leaves something behind: tickets, a station, a party whose keys officials hold, a device
//! with a directory, a correction, a tally that was aborted, a machine that was lost and set up again. Then every file is searched for what must not be
//! in it: officials' shares and what they unlock, draw codes, keys of tickets, credentials, and a voter beside a ballot, in stores too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_client::read_invitation;
use tally_party::config::Config;
use tally_party::holder;
use tally_party::officials::desk::{self, Piped};
use tally_party::officials::{Label, Sealed, Use};
use tally_party::operator::Operator;
use tally_proto::connect;
use tally_tests::crowd::Crowd;
use tally_tests::leaks::{Secrets, Span, files_below, together};
use tally_tests::process::{Program, Server, free_addresses_at};
use tally_tests::proxy::{Network, Proxy};
use tally_tests::recount::{Done, recount};
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::world::{Plan, World};
use tally_tests::{published, utc};

use super::operations::{Collector, add_keys, credential, observe, scrape};

const ELECTION: &str = "lighthouse-2028";
const TYPED: &str = "lighthouse-2028\n";
const VOTERS: u32 = 14;
const OPTIONS: u32 = 3;
/// Whose keys officials hold, and whose machine is lost.
const PARTY: usize = 1;
const CONFIG: &str = "party-2/party.toml";
/// Who votes with a device of their own, for Ben; who is struck; who votes at the station.
const OWN: u32 = 0;
const STRUCK: u32 = 1;
const AT_STATION: [u32; 2] = [VOTERS - 2, VOTERS - 1];
/// Bytes of a page of a store.
const PAGE: usize = 4096;
const DEADLINE: Duration = Duration::from_secs(120);

fn plan() -> Plan {
    let now = SystemTime::now();
    Plan {
        election: ELECTION.to_owned(),
        title: "Keeper of the lighthouse".to_owned(),
        options: ["Ada", "Ben", "Cleo"].map(str::to_owned).to_vec(),
        boxes: vec!["Island".to_owned()],
        roll: Roll { boxes: vec![VOTERS] },
        stations: 1,
        tickets: Some((6, 2)),
        opens: utc::second(now - Duration::from_secs(60)),
        closes: utc::second(now + Duration::from_secs(20 * 3600)),
    }
}

fn cast(v: u32, way: Way) -> Cast {
    Cast {
        device: match way {
            Way::Online => v,
            _ => 9_000,
        },
        place: Place { box_id: 1, v },
        way,
        choice: if matches!(way, Way::Paper(_)) {
            0
        } else {
            1 + v % OPTIONS
        },
    }
}

async fn await_that(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < DEADLINE, "{what}: not so in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The party knows so many elections, and takes ballots of each.
async fn await_serving(world: &World, elections: usize) {
    await_that("unlocked, with what it needs", async || {
        let config = Config::load(&world.party_config(PARTY)).expect("a configuration");
        let mut operator = Operator::new(&config).expect("an operator");
        operator.status("").await.is_ok_and(|status| {
            status.locked.is_none()
                && status.elections.len() == elections
                && (status.elections.iter()).all(|of| of.intake_trouble.is_empty() && of.log_size > 0)
        })
    })
    .await;
}

async fn hold_keys(world: &World) -> Server {
    let words = ["party", "hold-keys", "--config", CONFIG];
    let server = world
        .program
        .serve("holder-2", &world.root, &words, &[])
        .expect("starts");
    let directory = Config::load(&world.party_config(PARTY))
        .expect("a configuration")
        .keys
        .holder;
    await_that("the key holder answers", async || {
        holder::state(&directory).is_ok()
    })
    .await;
    server
}

/// Officials 1 and 3 come; the third types.
fn unseal(world: &World) {
    let words = ["party", "unseal", "--config", CONFIG];
    let of_file = [&words[..], &["--share-file", "sheets-2/official-1.txt"]].concat();
    world.run(&of_file, "").expect("taken");
    let typed = share(&world.root, 3).text().to_string() + "\n";
    let said = world.run(&words, &typed).expect("taken");
    assert!(said.contains("Unlocked"), "{said}");
}

fn share(root: &Path, number: u8) -> tally_party::officials::Share {
    desk::from_file(&root.join(format!("sheets-2/official-{number}.txt"))).expect("a share")
}

/// `client vote` with a directory, whose tickets it draws.
fn votes_at_home(world: &World, code: &str) {
    let invitation = world.root.join("own.invitation");
    fs::write(&invitation, code).expect("written");
    let manifest = world.manifest_file().expect("a manifest");
    let words = [
        "client",
        "vote",
        "--manifest",
        &manifest.to_string_lossy(),
        "--invitation",
        &invitation.to_string_lossy(),
        "--state",
        "device",
        "--choice",
        "Ben",
        "--yes",
        "--now",
    ];
    world.run(&words, "").expect("accepted");
    fs::remove_file(&invitation).expect("the voter keeps it in the head");
}

/// Party 2's machine is gone; another one is set up from the kit and two officials.
async fn is_lost_and_restored(world: &mut World, keeper: Server) -> Server {
    world.kill_party(PARTY);
    keeper.kill();
    // What the lost machine wrote is looked through as well.
    fs::rename(world.root.join("party-2"), world.root.join("lost-2")).expect("gone");
    let words = [
        "party",
        "restore",
        "--kit",
        "party-2.kit",
        "--dir",
        "party-2",
        "--share-file",
        "sheets-2/official-1.txt",
        "--share-file",
        "sheets-2/official-2.txt",
    ];
    world.run(&words, "").expect("restored");
    world.exchange_identities().expect("handed over again");
    world.boot_machine(PARTY).expect("another machine");
    world.start_party(PARTY).expect("started, locked");
    let keeper = hold_keys(world).await;
    unseal(world);
    await_serving(world, 1).await;
    keeper
}

/// A tally in which party 3 is killed, and one that succeeds.
fn aborted_and_tallied(world: &mut World, proxy: &Proxy) {
    // In the best case a session is over before it can be broken off.
    proxy.set(Network::Slow {
        bytes_per_s: 200_000,
        late: Duration::from_millis(20),
    });
    let log = world.party_log(2);
    let read = || String::from_utf8_lossy(&fs::read(&log).expect("a log")).into_owned();
    let before = read().len();
    let (program, root) = (world.program.clone(), world.root.clone());
    let tally = std::thread::spawn(move || {
        let words = [
            "coordinator",
            "--dir",
            "coordinator",
            "--patience",
            "2",
            "tally",
            ELECTION,
        ];
        program.attempt(&root, &words, TYPED).expect("it runs")
    });
    let since = Instant::now();
    while !read()[before..].contains("session begins") {
        assert!(since.elapsed() < DEADLINE, "no session begins");
        std::thread::sleep(Duration::from_millis(1));
    }
    world.kill_party(2);
    proxy.set(Network::Well);
    let said = tally.join().expect("it ends");
    assert!(!said.status.success() && said.err.contains("P3"), "{said:?}");
    world.start_party(2).expect("started again");
    world.coordinator(&["tally", ELECTION], TYPED).expect("tallied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wide_election_leaves_no_secret_and_no_voter_beside_a_ballot_in_any_file() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    connect::install_tls_provider();
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().canonicalize().expect("its path");
    let program = Program::at(env!("CARGO_BIN_EXE_tally-tests")).recorded(root.join("commands.log"));
    let mut proxies = Vec::new();
    let behind = |i: usize, listens| {
        if i != 2 {
            return Ok(listens);
        }
        let proxy = Proxy::before(listens)?;
        let address = proxy.address();
        proxies.push(proxy);
        Ok(address)
    };
    let mut world = World::set_up_behind(&root, program, plan(), &[PARTY], behind).expect("a world");
    // In front of what voters reach, and of what the other parties do.
    let [_, proxy] = proxies.as_slice() else {
        panic!("two listeners")
    };
    let (collector, collector_address) = Collector::start();
    let [one, two] = free_addresses_at([127, 0, 0, 1].into()).expect("ports");
    let [three, _] = free_addresses_at([127, 0, 0, 3].into()).expect("ports");
    let metrics = [one, two, three];
    for (party, address) in metrics.into_iter().enumerate() {
        observe(&world, party, address, collector_address);
    }
    world.start().expect("started");
    let keeper = hold_keys(&world).await;
    unseal(&world);
    await_serving(&world, 0).await;
    world.define().expect("in force");
    let invitations = world.issue().expect("invitations");

    let mut rng = StdRng::seed_from_u64(11);
    let manifest = fs::read(world.manifest_file().expect("a manifest")).expect("read");
    let mut crowd =
        Crowd::new(&manifest, invitations.clone(), &world.station_dirs(), &mut rng).expect("a crowd");
    let online: Vec<Cast> = (0..VOTERS - 1).map(|v| cast(v, Way::Online)).collect();
    crowd.cast_online(&online, |_| {}).await.expect("cast");
    let [electronic, paper] = AT_STATION;
    let at_station = [cast(electronic, Way::Station(1)), cast(paper, Way::Paper(1))];
    crowd.vote_at_stations(&at_station, |_| {}).await.expect("cast");
    // Ballots of one second, from two devices, stand in no order of time.
    crowd.await_later_second().await;
    votes_at_home(&world, &invitations[&Place { box_id: 1, v: OWN }]);
    let scraped = scrape(&world, &metrics, "voting");
    assert!(
        scraped
            .iter()
            .all(|page| page.contains("tally_boxes{phase=\"open\"} 1.0"))
    );
    let _keeper = is_lost_and_restored(&mut world, keeper).await;
    crowd.cast_online(&online[2..5], |_| {}).await.expect("cast");

    let closed = world.close("Everybody has voted").expect("closed");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    let reference = format!("B1-{:06}", STRUCK + 1);
    let strike = [
        "order",
        ELECTION,
        "--reason",
        "Decided today.",
        "strike",
        "--voter",
        &reference,
    ];
    world.coordinator(&strike, TYPED).expect("proposed");
    world.countersign().expect("countersigned");
    world
        .coordinator(&["complete", ELECTION], TYPED)
        .expect("in force");
    world.seal_without_statements().expect("sealed");
    aborted_and_tallied(&mut world, proxy);
    world
        .coordinator(&["bundle", ELECTION], TYPED)
        .expect("published");
    let bundle = fs::read(world.bundle_file().expect("a bundle")).expect("read");
    let counted = published::read(&bundle, &world.plan.roll).expect("a result");
    let stands = |done: &&Done| {
        let v = done.cast.place.v;
        done.cast.way != Way::Online || (v != STRUCK && v != OWN)
    };
    let standing: Vec<Done> = crowd.done().iter().filter(stands).cloned().collect();
    let mut expected = recount(1, &world.plan.roll, OPTIONS, &standing);
    // By hand: the vote from the device at home, for Ben.
    *expected.totals.get_mut(1).expect("Ben") += 1;
    assert_eq!(counted[0].count.totals, expected.totals);
    for party in 0..3 {
        world.stop_party(party).expect("stopped in order");
    }
    let spans: Vec<String> = (collector.spans().iter())
        .map(|(party, span)| format!("{party} {span:?}"))
        .collect();
    fs::write(root.join("spans.txt"), spans.join("\n")).expect("written");

    let secrets = known_secrets(&world, &crowd, &invitations);
    let (leaks, looked_at) = secrets.find_below(&root).expect("all files");
    assert!(leaks.is_empty(), "{} secrets leaked: {leaks:#?}", leaks.len());
    assert!(looked_at > 1 << 20, "only {looked_at} bytes were looked at");
    println!("{} secrets are in none of {looked_at} bytes", secrets.len());
    // The search would have found a share that an official typed.
    let typed = share(&root, 3).text().lines().next().expect("a line").to_owned();
    let planted = [b"given: ", typed.as_bytes()].concat();
    assert_eq!(secrets.find(&root.join("party-2.log"), &planted).len(), 1);
    nobody_beside_a_ballot(&world, &crowd, &bundle);
}

/// What anybody holds who should, and nobody else: officials' shares, what they unlock, codes, keys of tickets, credentials.
fn known_secrets(world: &World, crowd: &Crowd, invitations: &BTreeMap<Place, String>) -> Secrets {
    let root = &world.root;
    let mut secrets = Secrets::default();
    add_keys(&mut secrets, root);
    let sheets = root.join("sheets-2");
    for number in 1..=3 {
        let of = share(root, number);
        let name = format!("share {number}");
        secrets.add(&name, &of.to_bytes()[8..], &[sheets.as_path()]);
        // The first line says which ceremony it is of.
        for line in of.text().lines() {
            secrets.add_text(&format!("a line of {name}"), line, &[sheets.as_path()]);
            secrets.add_text(
                &format!("a line of {name}, typed"),
                &line.replace('-', ""),
                &[sheets.as_path()],
            );
        }
    }
    let kit = Sealed::read(&root.join("party-2.kit"), Use::Kit).expect("a kit");
    let two = [1, 2].map(|number| sheets.join(format!("official-{number}.txt")));
    let key = desk::collect(kit.public(), &two, &mut Piped(&b""[..], Vec::new())).expect("two are enough");
    secrets.add(
        "the authority's key",
        &kit.open(&key, Label::AuthorityKey).expect("opens"),
        &[],
    );
    let keys = kit.open(&key, Label::SealedKeys).expect("opens");
    let keys = Sealed::decode(&keys).expect("a key file");
    for label in [Label::Signing, Label::Hpke, Label::Storage, Label::PartyKey] {
        secrets.add(label.what(), &keys.open(&key, label).expect("opens"), &[]);
    }
    let of_tickets = root
        .join("coordinator/elections")
        .join(ELECTION)
        .join("ticket-keys");
    let tickets = files_below(&of_tickets).expect("a key for each day");
    assert!(!tickets.is_empty());
    for path in &tickets {
        let der = fs::read(path).expect("a key");
        // Behind the modulus, which is public: the private exponent, and the primes.
        for (name, from) in [("exponent", der.len() / 3), ("prime", der.len() * 2 / 3)] {
            secrets.add(
                &format!("{name} of a ticket key"),
                &der[from..from + 32],
                &[path.as_path()],
            );
        }
    }
    let post: Vec<PathBuf> = ["invitations.csv", "registrar"]
        .map(|name| root.join(name))
        .to_vec();
    let post: Vec<&Path> = post.iter().map(PathBuf::as_path).collect();
    for (place, code) in invitations {
        let credential = credential(crowd, invitations, place.v);
        let name = format!("credential of voter {}", place.v);
        secrets.add(&name, &credential.to_be_bytes(), &post);
        secrets.add(&format!("{name}, turned"), &credential.to_le_bytes(), &post);
        secrets.add_text(&format!("code of voter {}", place.v), code, &post);
        let invitation = read_invitation(&[code]).expect("an invitation");
        let draw = invitation.draw_code().expect("draws tickets");
        secrets.add(&format!("draw code of voter {}", place.v), draw.expose(), &post);
    }
    assert!(secrets.len() > 60, "{} secrets", secrets.len());
    secrets
}

/// In no log, page, journal, device or store does a voter's reference stand where a ballot does: not on two lines, and not on a page of a table.
fn nobody_beside_a_ballot(world: &World, crowd: &Crowd, bundle: &[u8]) {
    let references: Vec<String> = (1..=VOTERS).map(|v| format!("B1-{v:06}")).collect();
    let mut digests: Vec<[u8; 32]> = crowd.done().iter().map(|done| done.digest).collect();
    // Of the device at home too.
    let sealed = published::read(bundle, &world.plan.roll).expect("a bundle");
    digests.extend(&sealed[0].ballots);
    digests.sort_unstable();
    digests.dedup();
    let (mut stores, mut texts, mut met) = (0, 0, [0, 0]);
    for file in files_below(&world.root).expect("files") {
        let shown = file
            .strip_prefix(&world.root)
            .unwrap_or(&file)
            .display()
            .to_string();
        // What is published has the roll and the list, each by itself.
        let is_published = ["coordinator/", "registrar/", "election/"];
        if is_published.iter().any(|of| shown.starts_with(of)) {
            continue;
        }
        let bytes = fs::read(&file).expect("a file");
        let is_store = shown.ends_with(".redb");
        let span = if is_store {
            Span::Page(PAGE)
        } else {
            Span::Bytes(200)
        };
        let beside = together(&bytes, &references, &digests, span);
        assert_eq!(beside, Vec::<usize>::new(), "{shown}");
        if is_store {
            // Both are in there, so there is something to find.
            let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
            met[0] += usize::from(holds(&digests[0]));
            met[1] += usize::from(holds(references[0].as_bytes()));
            stores += 1;
        } else {
            texts += 1;
        }
    }
    assert!(stores >= 4 && texts >= 10, "{stores} stores, {texts} other files");
    assert!(
        met[0] >= 3 && met[1] >= 3,
        "digests in {} stores, references in {}",
        met[0],
        met[1]
    );
}
