//! From keys to an election in force, on three real parties in this process over TLS on loopback: init, certify, define, publish,
//! countersign, complete, issue, order, status, board.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_coordinator::directory::{Directory, Election};
use tally_coordinator::orders::{self, Wish};
use tally_coordinator::parties::Patience;
use tally_coordinator::progress::Quiet;
use tally_coordinator::registrar::Registrar;
use tally_coordinator::registrar::issue::{Task, issue};
use tally_coordinator::{Error, board, roll, sealing, setup, status};
use tally_party::config::Config;
use tally_party::init::{Init, init};
use tally_party::operator::{Operator, OperatorError};
use tally_party::server::{Deps, Running, Server};
use tally_proto::calendar::ChannelKind;
use tally_proto::connect::{self, Dial};
use tally_proto::fixture::ports;
use tally_proto::identity::Address;
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _};
use tally_proto::invitation::Invitation;
use tally_proto::pki::{Life, PeerRole};
use tally_proto::reason::Reason;
use tally_proto::wire;

const ELECTION: &str = r#"
election = "harbour-2027"
language = "en"
title = "Harbour board 2027"
parties = ["party-1/party-1.identity.toml", "party-2/party-2.identity.toml", "party-3/party-3.identity.toml"]
registrars = ["registrar/registrar.identity.toml"]

[roll]
file = "roll.csv"
kind = "closed"

[result]
counted_per_channel = true
min_voters = 3
min_submissions = 3

[[contest]]
id = 1
title = "Harbour master"
rule = "single"
options = ["Ada", "Ben", "Cleo"]

[[box]]
id = 1
name = "East quay"
contests = [1]

[[box]]
id = 2
name = "West quay"
contests = [1]

[[channel]]
kind = "online"
name = "Internet"
time_zone = "Europe/London"
openings = [{ opens = "2020-01-01 08:00", closes = "2090-01-01 20:00" }]
"#;

/// Everybody's directories under one root, and the running servers.
struct Scene {
    root: tempfile::TempDir,
    directory: Directory,
    running: Vec<Option<Running>>,
}

fn os_rng() -> StdRng {
    StdRng::from_rng(&mut setup::os_rng())
}

impl Scene {
    async fn new() -> Self {
        connect::install_tls_provider();
        let root = tempfile::tempdir().expect("root");
        let path = |name: &str| root.path().join(name);
        let directory = Directory::init(
            &path("coordinator"),
            "Harbour commission",
            "https://localhost:7400",
            &[],
            &mut os_rng(),
        )
        .expect("coordinator");
        for role in Role::ALL {
            let [public, peer] = ports::free().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            let request = Init {
                role,
                agency: format!("Agency {role}"),
                public_address: format!("https://localhost:{}", public.port()),
                peer_address: format!("https://localhost:{}", peer.port()),
                public_listen: Some(public),
                peer_listen: Some(peer),
            };
            init(&path(&party_name(role)), &request, &mut os_rng()).expect("party");
        }
        for role in Role::ALL {
            let others = path(&party_name(role)).join("others");
            fs::create_dir_all(&others).expect("others");
            fs::copy(
                directory.identity_file(),
                others.join("coordinator.identity.toml"),
            )
            .expect("copied");
            for other in [role.next(), role.prev()] {
                let name = format!("party-{}.identity.toml", other.number());
                fs::copy(path(&party_name(other)).join(&name), others.join(&name)).expect("copied");
            }
        }
        let mut scene = Self {
            root,
            directory,
            running: Vec::new(),
        };
        for role in Role::ALL {
            let config = scene.config(role);
            let deps = Deps::system(&config);
            scene
                .running
                .push(Some(Server::start(config, deps).await.expect("started")));
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn config(&self, role: Role) -> Config {
        Config::load(&self.path(&party_name(role)).join("party.toml")).expect("config")
    }

    async fn countersign(&self, role: Role, hash: Hash32, typed: &str) -> Result<(), OperatorError> {
        Operator::new(&self.config(role))
            .expect("operator")
            .countersign(hash, typed, 0)
            .await
    }

    fn registrar(&self) -> Arc<Registrar> {
        let path = self.path("registrar");
        if path.exists() {
            return Arc::new(Registrar::open(&path).expect("registrar"));
        }
        let registrar = Registrar::init(&path, "post", &mut os_rng()).expect("registrar");
        let request = fs::read_to_string(registrar.request_file()).expect("request");
        let certificate = self
            .directory
            .certify(&request, &PeerRole::Registrar("post".into()), Life::of_leaf())
            .expect("certified");
        fs::write(registrar.certificate_file(), certificate).expect("written");
        let refused = self
            .directory
            .certify(&request, &PeerRole::Coordinator, Life::of_leaf())
            .expect_err("not another coordinator");
        assert!(matches!(refused, Error::NotOurRole(_)), "{refused}");
        Arc::new(registrar)
    }

    fn reopened(&self) -> Election {
        let id = ElectionId::new("harbour-2027").expect("id");
        self.directory.election(&id).expect("stored")
    }

    async fn rendered(&self, election: &Election) -> String {
        let snapshot = status::snapshot(&self.directory, election)
            .await
            .expect("snapshot");
        status::render(election, &snapshot, 140, false)
    }
}

fn party_name(role: Role) -> String {
    format!("party-{}", role.number())
}

fn usual() -> Patience {
    Patience(Duration::from_secs(20))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_comes_into_force_and_credentials_are_issued() {
    let _place = crate::WORLDS.acquire().await.expect("a place");
    let mut scene = Scene::new().await;
    let registrar = scene.registrar();
    fs::write(scene.path("election.toml"), ELECTION).expect("written");
    let mut csv = String::from("box,reference,online\n");
    for v in 0..7 {
        csv += &format!("1,E-{v},{}\n2,W-{v},yes\n", if v == 3 { "no" } else { "yes" });
    }
    fs::write(scene.path("roll.csv"), csv).expect("written");

    let mut election =
        setup::define(&scene.directory, &scene.path("election.toml"), 1_800_000_000).expect("defined");
    let again =
        setup::define(&scene.directory, &scene.path("election.toml"), 1_800_000_000).expect_err("once");
    assert!(matches!(again, Error::AlreadyDefined { .. }), "{again}");
    let hash = election.signed().hash();
    assert!(scene.rendered(&election).await.contains("not there: run publish"));

    setup::publish(&scene.directory, &election, usual(), &Quiet)
        .await
        .expect("published");
    setup::publish(&scene.directory, &election, usual(), &Quiet)
        .await
        .expect("the same again changes nothing");
    assert!(
        scene
            .rendered(&election)
            .await
            .contains("waits for countersignatures")
    );

    // Nothing goes on before all three have countersigned, and whoever has not is named.
    let early = sealing::seal(&scene.directory, &election, BoxId(1), Patience::NONE, &Quiet)
        .await
        .expect_err("early");
    assert!(matches!(early, Error::Parties(_)), "{early}");
    let refused = issue_all(&scene, &registrar, &election)
        .await
        .expect_err("not in force")
        .to_string();
    assert!(
        refused.starts_with("manifest.not-countersigned: Agency P1, Agency P2, Agency P3 has not"),
        "{refused}"
    );
    let typed = scene
        .countersign(Role::P1, hash, "harbour-2026")
        .await
        .expect_err("another id was typed");
    let OperatorError::Refused(typed) = typed else {
        panic!("{typed}")
    };
    assert_eq!(typed.reason, Reason::ConfirmationMismatch);
    for role in [Role::P1, Role::P2] {
        scene
            .countersign(role, hash, "harbour-2027")
            .await
            .expect("countersigned");
    }
    let objects = setup::collect(&scene.directory, &mut election, usual(), &Quiet)
        .await
        .expect("collected");
    assert_eq!(objects[0].parties, [true, true, false]);
    let waiting = setup::complete(&scene.directory, &mut election, usual(), &Quiet)
        .await
        .expect_err("P3")
        .to_string();
    assert!(
        waiting.starts_with("manifest.not-countersigned: Agency P3 has not countersigned the manifest"),
        "{waiting}"
    );
    scene
        .countersign(Role::P3, hash, "harbour-2027")
        .await
        .expect("countersigned");
    setup::complete(&scene.directory, &mut election, usual(), &Quiet)
        .await
        .expect("in force");
    assert!(scene.reopened().signed().is_complete(), "also on disk");
    let table = scene.rendered(&election).await;
    assert_eq!(table.matches("in force").count(), 3, "{table}");
    assert!(!table.to_lowercase().contains("turnout"));

    // Credentials: one for each online voter, known to every party.
    let issued = issue_all(&scene, &registrar, &election).await.expect("issued");
    assert_eq!(issued.credentials, 13);
    let invitations = fs::read_to_string(&issued.invitations).expect("invitations");
    for line in invitations.lines().skip(1) {
        let [reference, code, link] = line.split(',').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let (code, link) = (
            Invitation::parse(code).expect("code"),
            Invitation::parse(link).expect("link"),
        );
        assert!(code.credential_for(&hash).is_ok() && link.credential_for(&hash).is_ok());
        assert_eq!(
            code.of_box().get(),
            if reference.starts_with('E') { 1 } else { 2 }
        );
        assert_eq!(reference[2..].parse::<u32>().expect("number"), code.voter().get());
    }
    assert_eq!(invitations.lines().count(), 14);
    for (of_box, records) in [(1, 6), (2, 7)] {
        for role in Role::ALL {
            assert_eq!(
                box_status(&scene, role, of_box).await.records,
                records,
                "{role}, box {of_box}"
            );
        }
    }

    // An order: the channel closes early, once all three have countersigned it.
    let wish = Wish::CloseAt {
        channel: ChannelKind::Online,
        local: "2089-06-01 12:00".into(),
        receive_until: None,
    };
    let draft = orders::draft(&election, &wish, "storm warning").expect("draft");
    let order = orders::sign(&scene.directory, &mut election, &draft).expect("signed");
    orders::propose(&scene.directory, &election, &order, usual(), &Quiet)
        .await
        .expect("proposed");
    assert!(matches!(
        setup::complete(&scene.directory, &mut election, usual(), &Quiet).await,
        Err(Error::NotCountersigned { .. })
    ));
    for role in Role::ALL {
        scene
            .countersign(role, order.hash(), "harbour-2027")
            .await
            .expect("countersigned");
    }
    setup::complete(&scene.directory, &mut election, usual(), &Quiet)
        .await
        .expect("in force");
    let effective = orders::effective(&scene.reopened()).expect("effective");
    let closes = &effective.channel(ChannelKind::Online).expect("online").openings()[0].closes_local;
    assert_eq!(closes, "2089-06-01 12:00");

    board_shows_manifest_and_order(&scene, hash).await;

    // A party that is away is named; the others are shown.
    scene.running[1].take().expect("running").stop().await;
    let table = scene.rendered(&election).await;
    assert!(
        table
            .lines()
            .any(|l| l.contains("P2 Agency P2") && l.contains("no: ")),
        "{table}"
    );
    assert_eq!(table.matches("in force").count(), 2, "{table}");
    let away = setup::publish(&scene.directory, &election, Patience::NONE, &Quiet)
        .await
        .expect_err("P2 is away");
    let Error::Parties(errors) = away else {
        panic!("{away}")
    };
    assert!(errors.len() == 1 && errors[0].is_unreachable() && errors[0].role == Role::P2);
    for running in scene.running.iter_mut().filter_map(Option::take) {
        running.stop().await;
    }
}

async fn issue_all(
    scene: &Scene,
    registrar: &Arc<Registrar>,
    election: &Election,
) -> Result<tally_coordinator::registrar::issue::Issued, Error> {
    let manifest = setup::read_manifest(&election.manifest_file()).expect("manifest");
    let roll = roll::read(&election.roll_file(), &[1, 2]).expect("roll");
    let (out, now_s): (PathBuf, u64) = (scene.path("invitations.csv"), board::now_ms() / 1000);
    let registrar = Arc::clone(registrar);
    let task = Task {
        manifest: &manifest,
        roll: &roll,
        order: None,
        out: &out,
    };
    issue(registrar, task, now_s, os_rng(), usual(), &Quiet).await
}

async fn box_status(scene: &Scene, role: Role, of_box: u32) -> wire::BoxStatus {
    let mut operator = Operator::new(&scene.config(role)).expect("operator");
    let status = operator.status("harbour-2027").await.expect("status");
    let boxes = status.elections.into_iter().flat_map(|e| e.boxes);
    boxes.into_iter().find(|b| b.r#box == of_box).expect("box")
}

async fn board_shows_manifest_and_order(scene: &Scene, hash: Hash32) {
    let listener = board::listen("127.0.0.1:0").await.expect("port");
    let address = format!(
        "https://localhost:{}",
        listener.local_addr().expect("address").port()
    );
    let directory = Directory::open(&scene.path("coordinator")).expect("opened");
    let anchor = directory.identity().anchor().clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(board::serve(directory, listener, async {
        // Dropping the sender stops it too.
        let _ = stopped.await;
    }));
    let address = Address::new("board", &address).expect("address");
    let dial = Dial {
        address: &address,
        anchor: &anchor,
        leaf: None,
    };
    let mut client = connect::board(dial.channel_with_timeout().expect("channel"));
    let of = |election: &str| wire::ElectionRef {
        election: election.to_owned(),
    };
    let reply = client
        .manifest(of("harbour-2027"))
        .await
        .expect("manifest")
        .into_inner();
    assert_eq!(Hash32::of(&reply.manifest.expect("manifest").payload), hash);
    assert_eq!(reply.orders.len(), 1);
    let unknown = client.manifest(of("harbour-2026")).await.expect_err("unknown");
    let refusal = tally_proto::refusal::Refusal::of_status(&unknown);
    assert_eq!(refusal.reason, Reason::ElectionUnknown);
    let none = client
        .bundle(of("harbour-2027"))
        .await
        .expect_err("no result yet");
    assert_eq!(
        tally_proto::refusal::Refusal::of_status(&none).reason,
        Reason::ObjectUnknown
    );
    let now = client
        .clock(wire::ClockRequest {})
        .await
        .expect("clock")
        .into_inner()
        .now_ms;
    assert!(now.abs_diff(board::now_ms()) < 60_000);
    drop((client, stop));
    serving.await.expect("no panic").expect("served");
}
