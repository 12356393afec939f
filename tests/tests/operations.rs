//! A whole election on real processes, three parties on three addresses started by the lines of their systemd unit, with figures, traces, debug logs
//! and journals on. Then everything that was written is searched for what must not be in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use data_encoding::{BASE64_MIME_PERMISSIVE, HEXLOWER};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tally_client::{Election, read_invitation};
use tally_mpc::layout::Choice;
use tally_party::config::Config;
use tally_party::journal;
use tally_proto::ids::{BoxId, Role};
use tally_proto::shares::Opening;
use tally_tests::crowd::Crowd;
use tally_tests::leaks::{Secrets, files_below, links};
use tally_tests::process::{Program, free_addresses_at};
use tally_tests::recount::recount;
use tally_tests::script::{Cast, Place, Roll, Way};
use tally_tests::world::{Plan, World};
use tally_tests::{published, tamper, utc};

use crate::by_hand;

const ELECTION: &str = "lighthouse-2027";
const TYPED: &str = "lighthouse-2027\n";
const VOTERS: u32 = 12;
const OPTIONS: u32 = 3;

fn plan() -> Plan {
    let now = SystemTime::now();
    Plan {
        election: ELECTION.to_owned(),
        title: "Keeper of the lighthouse".to_owned(),
        options: ["Ada", "Ben", "Cleo"].map(str::to_owned).to_vec(),
        boxes: vec!["Island".to_owned()],
        roll: Roll { boxes: vec![VOTERS] },
        stations: 0,
        tickets: None,
        opens: utc::second(now - Duration::from_secs(60)),
        closes: utc::second(now + Duration::from_secs(24 * 3600)),
    }
}

/// A collector of traces: keeps the bodies that are posted to it.
#[derive(Clone, Default)]
pub(super) struct Collector(Arc<Mutex<Vec<Vec<u8>>>>);

impl Collector {
    pub(super) fn start() -> (Collector, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let collector = Collector::default();
        let kept = collector.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || kept.take(stream));
            }
        });
        (collector, address)
    }

    /// One request: head, and as many bytes as it says.
    fn take(&self, mut stream: TcpStream) -> Option<()> {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 65536]);
        loop {
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
                assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
                assert!(head.contains("content-type: application/x-protobuf"), "{head}");
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))?;
                let length: usize = length.trim().parse().ok()?;
                if bytes.len() >= end + 4 + length {
                    let body = bytes[end + 4..end + 4 + length].to_vec();
                    self.0.lock().expect("not poisoned").push(body);
                    return stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .ok();
                }
            }
            match stream.read(&mut buffer).ok()? {
                0 => return None,
                read => bytes.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// (Party, span) of everything that came.
    pub(super) fn spans(&self) -> Vec<(String, Span)> {
        let bodies = self.0.lock().expect("not poisoned");
        let requests = bodies
            .iter()
            .map(|body| ExportTraceServiceRequest::decode(body.as_slice()).expect("OTLP"));
        let mut spans = Vec::new();
        for of_resource in requests.flat_map(|request| request.resource_spans) {
            let attributes = of_resource.resource.expect("a resource").attributes;
            let named: BTreeMap<String, String> = attributes
                .into_iter()
                .map(|pair| (pair.key, text(pair.value)))
                .collect();
            let keys: Vec<&str> = named.keys().map(String::as_str).collect();
            assert_eq!(
                keys,
                ["service.instance.id", "service.name"],
                "nothing of the machine"
            );
            let party = &named["service.instance.id"];
            let of_scopes = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(of_scopes.map(|span| (party.clone(), span)));
        }
        spans
    }
}

fn text(value: Option<opentelemetry_proto::tonic::common::v1::AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let pair = span.attributes.iter().find(|pair| pair.key == key)?;
    Some(text(pair.value.clone()))
}

/// Switches everything on in a party's configuration.
pub(super) fn observe(world: &World, party: usize, metrics: SocketAddr, collector: SocketAddr) {
    let path = world.party_config(party);
    let mut config = fs::read_to_string(&path).expect("a configuration");
    let given = [
        ("metrics", format!("\"{metrics}\"")),
        ("otlp", format!("\"http://{collector}\"")),
        ("journal_mib", "1".to_owned()),
        ("filter", "\"debug\"".to_owned()),
        // This machine's own disk is not what is tested; one party has less than it asks for.
        ("disk_mib", if party == 1 { 1 << 29 } else { 0 }.to_string()),
    ];
    for (key, value) in given {
        let comment = format!("\n# {key} = ");
        let at = config
            .find(&comment)
            .unwrap_or_else(|| panic!("{key} is not in the file"));
        let end = at + 1 + config[at + 1..].find('\n').expect("a line");
        config.replace_range(at..end, &format!("\n{key} = {value}"));
    }
    fs::write(&path, config).expect("written");
}

pub(super) fn scrape(world: &World, metrics: &[SocketAddr], name: &str) -> Vec<String> {
    let directory = world.root.join("scrapes");
    fs::create_dir_all(&directory).expect("a directory");
    let mut pages = Vec::new();
    for (i, address) in metrics.iter().enumerate() {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: h\r\n\r\n")
            .expect("sent");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("a page");
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        fs::write(directory.join(format!("{name}-{}.txt", i + 1)), &page).expect("written");
        pages.push(page);
    }
    pages
}

/// The regular files that a process has open.
fn open_files(process: u32) -> Vec<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("its descriptors");
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets
        .filter(|path| path.is_file() && !path.starts_with("/proc"))
        .collect()
}

/// Every key file of every actor: as it stands, and what is inside of PEM.
pub(super) fn add_keys(secrets: &mut Secrets, root: &Path) {
    for file in files_below(root).expect("files") {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let is_key = name.ends_with(".key") || name.ends_with(".key.pem") || name.contains("secret");
        if !is_key {
            continue;
        }
        let bytes = fs::read(&file).expect("a key");
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let home: &[&Path] = &[&file];
        let Some(body) = pem_body(&bytes) else {
            secrets.add(&shown, &bytes, home);
            continue;
        };
        // The private part of a PKCS #8 P-256 key begins after 36 bytes of structure; of a key of another kind this is as good a piece.
        secrets.add(&shown, &body[36..68.min(body.len())], home);
    }
}

fn pem_body(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, rest) = text.split_once("PRIVATE KEY-----\n")?;
    let (body, _) = rest.split_once("-----END")?;
    BASE64_MIME_PERMISSIVE.decode(body.as_bytes()).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_leaves_nothing_in_figures_traces_logs_journals_and_stores_that_tells_on_anybody() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().canonicalize().expect("its path");
    let program = Program::at(env!("CARGO_BIN_EXE_tally-tests")).recorded(root.join("commands.log"));
    let mut world = World::set_up(&root, program, plan()).expect("a world");
    let (collector, collector_address) = Collector::start();
    let [one, two] = free_addresses_at([127, 0, 0, 1].into()).expect("ports");
    let [three, _] = free_addresses_at([127, 0, 0, 3].into()).expect("ports");
    let metrics = [one, two, three];
    for (party, address) in metrics.into_iter().enumerate() {
        observe(&world, party, address, collector_address);
    }
    world.start().expect("started");
    let addresses: Vec<_> = (0..3)
        .map(|i| {
            Config::load(&world.party_config(i))
                .expect("a configuration")
                .listen_peer
                .ip()
        })
        .collect();
    if cfg!(target_os = "linux") {
        assert_eq!(
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        );
    }
    world.define().expect("in force");
    let invitations = world.issue().expect("invitations");

    // Voting, with a known ballot of each voter, a false credential, and a ballot that is refused.
    let mut rng = StdRng::seed_from_u64(rand::rng().random());
    let manifest = fs::read(world.manifest_file().expect("a manifest")).expect("read");
    let mut crowd =
        Crowd::new(&manifest, invitations.clone(), &world.station_dirs(), &mut rng).expect("a crowd");
    let cast = |v: u32, way| Cast {
        device: v,
        place: Place { box_id: 1, v },
        way,
        choice: 1 + v % OPTIONS,
    };
    let casts: Vec<Cast> = (0..VOTERS)
        .map(|v| cast(v, Way::Online))
        .chain([cast(3, Way::FalseOnline), cast(4, Way::Online)])
        .collect();
    crowd.cast_online(&casts, |_| {}).await.expect("cast");
    let shares = known_ballot(crowd.election(), &mut rng).await;
    tamper::ballot(crowd.election(), &mut rng).await.expect("refused");
    let voting = scrape(&world, &metrics, "voting");
    for page in &voting {
        let count = format!("tally_ballots_received{{election=\"{ELECTION}\",box=\"1\",channel=\"online\"}}");
        assert!(page.contains(&count), "{page}");
        assert!(page.contains("tally_boxes{phase=\"open\"} 1.0"), "{page}");
    }
    let refused = "tally_submissions_total{outcome=\"share.commitment-mismatch\"} 1";
    assert!(voting[0].contains(refused), "{}", voting[0]);
    shares_no_files(&world);
    status_views(&mut world);

    let closed = world.close("Everybody has voted").expect("closed");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    world.coordinator(&["seal", ELECTION], TYPED).expect("sealed");
    scrape(&world, &metrics, "sealed");
    world.coordinator(&["tally", ELECTION], TYPED).expect("tallied");
    world
        .coordinator(&["bundle", ELECTION], TYPED)
        .expect("published");
    let tallied = scrape(&world, &metrics, "tallied");
    for page in &tallied {
        assert!(
            page.contains("tally_sessions_ended_total{end=\"result\"} 1"),
            "{page}"
        );
        assert!(page.contains("tally_boxes{phase=\"tallied\"} 1.0"), "{page}");
    }
    let bundle = fs::read(world.bundle_file().expect("a bundle")).expect("read");
    let counted = published::read(&bundle, &world.plan.roll).expect("a result");
    assert_eq!(
        counted[0].count,
        recount(1, &world.plan.roll, OPTIONS, crowd.done())
    );
    for party in 0..3 {
        world.stop_party(party).expect("stopped in order");
    }

    let spans = collector.spans();
    tells_what_happened(&world, &spans);
    let shown: Vec<String> = spans
        .iter()
        .map(|(party, span)| format!("{party} {span:?}"))
        .collect();
    fs::write(root.join("spans.txt"), shown.join("\n")).expect("written");
    let bodies = collector.0.lock().expect("not poisoned").concat();
    fs::write(root.join("spans.bin"), bodies).expect("written");

    let mut secrets = known_secrets(&world, &crowd, &invitations);
    for (name, bytes) in &shares {
        secrets.add(name, bytes, &[]);
    }
    let (leaks, looked_at) = secrets.find_below(&root).expect("all files");
    assert!(leaks.is_empty(), "{} secrets leaked: {leaks:#?}", leaks.len());
    assert!(looked_at > 1 << 20, "only {looked_at} bytes were looked at");
    println!("{} secrets are in none of {looked_at} bytes", secrets.len());
    nobody_beside_a_ballot(&world, &crowd);

    // The search would have found them: one credential in one log line, one vote in one span.
    let planted = root.join("party-2.log");
    let mut log = fs::read(&planted).expect("a log");
    let credential = credential(&crowd, &invitations, 5);
    log.extend(format!("INFO opened {}\n", HEXLOWER.encode(&credential.to_be_bytes())).into_bytes());
    let found = secrets.find(&planted, &log);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].secret.as_str(), found[0].form),
        ("credential of voter 5", "hex")
    );
}

/// What a party has open lies in its own directory, but for the libraries and its own log.
fn shares_no_files(world: &World) {
    for (i, process) in world.party_ids().into_iter().enumerate() {
        let own = world.root.join(format!("party-{}", i + 1));
        let files = open_files(process);
        assert!(files.iter().any(|file| file.starts_with(&own)), "{files:?}");
        for file in files.iter().filter(|file| file.starts_with(&world.root)) {
            assert!(
                file.starts_with(&own) || *file == world.party_log(i),
                "party {} has {} open",
                i + 1,
                file.display()
            );
        }
    }
}

/// `party status` of one, `coordinator status` of all: alarms, exit status, JSON.
fn status_views(world: &mut World) {
    let status = |world: &World, party: usize, more: &[&str]| {
        let config = world.party_config(party).display().to_string();
        let words: Vec<&str> = ["party", "status", "--config", &config]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        world.program.attempt(&world.root, &words, "").expect("it runs")
    };
    // The clocks of the others are asked for now and then.
    let since = Instant::now();
    let well = loop {
        let well = status(world, 0, &[]);
        assert_eq!(well.status.code(), Some(0), "{well:?}");
        if well.out.contains("P2      answered") && well.out.contains("P3      answered") {
            break well;
        }
        assert!(since.elapsed() < Duration::from_secs(120), "{}", well.out);
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(well.out.contains("no alarm"), "{}", well.out);
    assert!(
        well.out.lines().all(|line| line.chars().count() <= 80),
        "{}",
        well.out
    );
    let low = status(world, 1, &["--json"]);
    assert_eq!(low.status.code(), Some(2), "{low:?}");
    let said: serde_json::Value = serde_json::from_str(&low.out).expect("JSON");
    assert_eq!(said["alarms"][0]["code"], "disk.low");
    assert_eq!(said["elections"][0]["boxes"][0]["phase"], "open");

    let config = world.party_config(0).display().to_string();
    let words = ["party", "status", "--config", &config, "--json", "--watch", "1"];
    let watch = world
        .program
        .serve("watch", &world.root, &words, &[])
        .expect("started");
    let lines = || fs::read_to_string(watch.log()).map_or(0, |text| text.lines().count());
    let since = Instant::now();
    while lines() < 2 {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "it shows the state again and again"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    watch.kill();

    let all = world.attempt(&["status", ELECTION], "").expect("it runs");
    assert_eq!(all.status.code(), Some(2), "{all:?}");
    assert!(all.out.contains("P2 disk.low since"), "{}", all.out);
    let json = world
        .attempt(&["status", ELECTION, "--json"], "")
        .expect("it runs");
    let said: serde_json::Value = serde_json::from_str(json.out.trim()).expect("JSON");
    assert_eq!(said["parties"][1]["alarms"][0]["code"], "disk.low");
    assert_eq!(said["parties"][0]["reachable"], true);
    world.kill_party(2);
    let away = world
        .attempt(&["status", ELECTION, "--json"], "")
        .expect("it runs");
    let said: serde_json::Value = serde_json::from_str(away.out.trim()).expect("JSON");
    assert_eq!(said["parties"][2]["reachable"], false);
    world.start_party(2).expect("started again");
}

/// Spans and journals have every step, with ids and phases.
fn tells_what_happened(world: &World, spans: &[(String, Span)]) {
    for party in ["P1", "P2", "P3"] {
        let of: Vec<&Span> = spans
            .iter()
            .filter(|(of, _)| of == party)
            .map(|(_, span)| span)
            .collect();
        for name in ["seal", "session", "rpc"] {
            assert!(
                of.iter().any(|span| span.name == name),
                "{party} has no span {name}"
            );
        }
        let session = of.iter().find(|span| span.name == "session").expect("a session");
        assert_eq!(attribute(session, "election").as_deref(), Some(ELECTION));
        assert_eq!(attribute(session, "session").as_deref(), Some("1"));
        let phases: Vec<String> = session
            .events
            .iter()
            .filter_map(|event| event.attributes.iter().find(|pair| pair.key == "phase"))
            .map(|pair| text(pair.value.clone()))
            .collect();
        assert!(
            phases.iter().any(|phase| phase == "shuffle") && phases.len() > 3,
            "{phases:?}"
        );
        // What voters do is no span.
        let methods: Vec<String> = of.iter().filter_map(|span| attribute(span, "method")).collect();
        assert!(
            methods
                .iter()
                .any(|method| method.starts_with("/tally.v1.Control/")),
            "{methods:?}"
        );
        assert!(
            methods
                .iter()
                .all(|method| !method.starts_with("/tally.v1.Intake/")),
            "{methods:?}"
        );
    }
    for party in 0..3 {
        let config = Config::load(&world.party_config(party)).expect("a configuration");
        let files = journal::files(&config.telemetry.journal).expect("a journal");
        let text: String = files
            .iter()
            .map(|(_, path)| fs::read_to_string(path).expect("a file"))
            .collect();
        let events: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect();
        let numbers: Vec<u64> = events.iter().filter_map(|event| event["n"].as_u64()).collect();
        assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
        for name in [
            "party.started",
            "election.published",
            "object.countersigned",
            "object.in-force",
            "box.sealed",
            "session.begun",
            "session.result",
            "party.stopped",
        ] {
            assert!(
                events.iter().any(|event| event["event"] == name),
                "party {}: {name}",
                party + 1
            );
        }
        let raised = events
            .iter()
            .filter(|event| event["event"] == "alarm.raised" && event["alarm"] == "disk.low");
        assert_eq!(raised.count(), usize::from(party == 1));
    }
}

pub(super) fn credential(crowd: &Crowd, invitations: &BTreeMap<Place, String>, v: u32) -> u64 {
    let code = &invitations[&Place { box_id: 1, v }];
    let invitation = read_invitation(&[code]).expect("an invitation");
    let hash = crowd.election().manifest_hash();
    invitation
        .credential_for(&hash)
        .expect("of this election")
        .expose()
}

/// Casts a ballot of which every share and nonce is known; gives them.
async fn known_ballot(election: &Election, rng: &mut StdRng) -> Vec<(String, Vec<u8>)> {
    let of_box = &election.manifest().boxes()[0];
    let packed = of_box
        .layout()
        .pack(2, rng.random(), &[Choice::Options(vec![1])])
        .expect("packed");
    let (header, openings) = by_hand::made(election, &packed, rng);
    by_hand::cast(election, (&header, &openings), &Role::ALL, rng).await;
    let of_opening = |(j, opening): (usize, &Opening)| {
        [
            (format!("share {} of a ballot", j + 1), opening.share().to_vec()),
            (format!("nonce {} of a ballot", j + 1), opening.nonce().to_vec()),
        ]
    };
    openings.iter().enumerate().flat_map(of_opening).collect()
}

/// Keys, credentials, codes, and the packed votes of all voters.
fn known_secrets(world: &World, crowd: &Crowd, invitations: &BTreeMap<Place, String>) -> Secrets {
    let root = &world.root;
    let mut secrets = Secrets::default();
    add_keys(&mut secrets, root);
    assert!(secrets.len() >= 12, "{} keys", secrets.len());
    let post = [root.join("invitations.csv"), root.join("registrar")];
    let post: Vec<&Path> = post.iter().map(PathBuf::as_path).collect();
    let of_box = crowd.election().manifest().ballot_box(BoxId(1)).expect("the box");
    for (place, code) in invitations {
        let credential = credential(crowd, invitations, place.v);
        let name = format!("credential of voter {}", place.v);
        secrets.add(&name, &credential.to_be_bytes(), &post);
        secrets.add(&format!("{name}, turned"), &credential.to_le_bytes(), &post);
        secrets.add_text(&format!("{name}, in decimal"), &credential.to_string(), &post);
        secrets.add_text(&format!("code of voter {}", place.v), code, &post);
        for choice in 1..=OPTIONS {
            let packed = of_box
                .layout()
                .pack(place.v, credential, &[Choice::Options(vec![choice])]);
            secrets.add(
                &format!("vote {choice} of voter {}", place.v),
                &packed.expect("packed"),
                &[],
            );
        }
    }
    secrets
}

/// No line of any log, page, span or journal has a voter beside a ballot; what parties print names no voter at all.
fn nobody_beside_a_ballot(world: &World, crowd: &Crowd) {
    let references: Vec<String> = (1..=VOTERS).map(|v| format!("B1-{v:06}")).collect();
    let digests: Vec<String> = crowd
        .done()
        .iter()
        .map(|done| HEXLOWER.encode(&done.digest))
        .collect();
    let mut read = 0;
    for file in files_below(&world.root).expect("files") {
        let shown = file
            .strip_prefix(&world.root)
            .unwrap_or(&file)
            .display()
            .to_string();
        let by_a_party =
            shown.starts_with("party-") && (shown.ends_with(".log") || shown.ends_with(".jsonl"));
        let about_parties = by_a_party || shown.starts_with("scrapes/") || shown.starts_with("spans");
        if !about_parties && !shown.ends_with(".log") {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&file).expect("a file")).into_owned();
        assert_eq!(
            links(&text, &references, &digests),
            Vec::<String>::new(),
            "{shown}"
        );
        if about_parties {
            let named = references
                .iter()
                .find(|reference| text.contains(reference.as_str()));
            assert_eq!(named, None, "{shown} names a voter");
        }
        read += 1;
    }
    assert!(read >= 3 + 3 + 9 + 2, "{read} files were read");
}
