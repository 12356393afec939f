//! Voters and a polling station against three real parties in this process: real TLS, real stores, a hand-driven clock.

mod lying_device;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{SeedableRng, rngs::StdRng};
use tally_client::station::StationKeys;
use tally_client::{
    CastError, Choices, Connections, Device, Election, Fault, Patience, Station, StationVote, Voter, check,
    find, inspect,
};
use tally_party::clock::Clock as _;
use tally_proto::fixture::{CLOSES, DRAINED, OPENS, Shape};
use tally_proto::ids::{BoxId, Role, RoleExt as _, StationId, VoterIndex};
use tally_proto::invitation::{Credential, Invitation};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::secret_file;
use tally_proto::wire;
use tonic::transport::Channel;

use crate::world::{Party, World};

/// Three parties at work `after_opening_ms`, whose clock goes on with real time.
async fn start(after_opening_ms: i64) -> (World, Vec<Party>) {
    start_in(World::new(Shape::default()), after_opening_ms).await
}

async fn start_in(world: World, after_opening_ms: i64) -> (World, Vec<Party>) {
    let (clock, begun) = (world.clock.clone(), Instant::now());
    let now_ms =
        move || (OPENS * 1000).saturating_add_signed(after_opening_ms) + begun.elapsed().as_millis() as u64;
    clock.set(now_ms());
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            clock.set(now_ms());
        }
    });
    let mut parties = Vec::new();
    for role in Role::ALL {
        parties.push(world.start_in_force(role).await);
    }
    (world, parties)
}

fn election(world: &World) -> Election {
    Election::new((*world.fixture.manifest).clone()).expect("complete")
}

/// The parties listen where they could, not where the manifest says. There is no board: P1's channel stands in, and is never asked.
fn connections(world: &World, parties: &[Party]) -> Connections {
    let channels = std::array::from_fn(|at| parties[at].public_channel());
    Connections::over(&election(world), channels, parties[0].public_channel())
}

fn voter(world: &World, connections: &Connections, credential: u64) -> Voter {
    let (voter, credential) = (VoterIndex(2), Credential::new(credential));
    let invitation = Invitation::new(&world.fixture.manifest.hash(), BoxId(1), voter, credential);
    Voter::new(&election(world), connections, invitation, &Device::in_memory())
        .expect("a voter of this election")
}

fn choices(voter: &Voter, given: &[&str]) -> Choices {
    Choices::parse(voter.form(), given.iter().copied()).expect("valid choices")
}

async fn received(world: &World, party: &Party) -> [u64; 3] {
    let status = party
        .control(&world.leaf_of(party.role, PeerRole::Coordinator))
        .status(wire::StatusRequest {
            election: String::new(),
        })
        .await
        .expect("status")
        .into_inner();
    let of_box = &status.elections[0].boxes[0];
    [
        of_box.received_online,
        of_box.received_station,
        of_box.received_paper,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn true_and_false_credentials_are_taken_alike_and_revotes_are_later() {
    let (world, parties) = start(100_000).await;
    let connections = connections(&world, &parties);
    let mut rng = StdRng::seed_from_u64(1);
    for credential in [7, 8] {
        let voter = voter(&world, &connections, credential);
        let mut last = 0;
        for given in [&["Mayor=Ben", "Board=Fay", "Board=1"][..], &["1=3"]] {
            let mut cast = voter.cast(&choices(&voter, given), &mut rng).await.expect("cast");
            cast.third().await;
            assert_eq!(cast.accepted(), Role::ALL);
            assert_eq!(cast.faults(), []);
            assert!(
                cast.cast_at().0 > last,
                "a device never casts twice in one second"
            );
            last = cast.cast_at().0;
        }
    }
    for party in &parties {
        assert_eq!(received(&world, party).await, [4, 0, 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_party_stopped_in_the_middle_is_named_and_does_not_matter() {
    let (world, mut parties) = start(100_000).await;
    let connections = connections(&world, &parties);
    let mut rng = StdRng::seed_from_u64(1);
    let voter = voter(&world, &connections, 7);
    voter
        .cast(&choices(&voter, &["1=1"]), &mut rng)
        .await
        .expect("all are there")
        .third()
        .await;
    parties.remove(1).running.stop().await;
    let mut cast = voter
        .cast(&choices(&voter, &["1=2"]), &mut rng)
        .await
        .expect("two are enough");
    let _ = tokio::time::timeout(Duration::from_secs(2), cast.third()).await;
    assert_eq!(cast.accepted(), [Role::P1, Role::P3]);
    assert!(
        matches!(cast.faults().as_slice(), [Fault::Away { party: Role::P2, .. }]),
        "{:?}",
        cast.faults()
    );
    for party in &parties {
        assert_eq!(received(&world, party).await, [2, 0, 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_opening_everybody_refuses_with_the_reason() {
    let (world, parties) = start(-600_000).await;
    let connections = connections(&world, &parties);
    let voter = voter(&world, &connections, 7).with_patience(Patience {
        give_up_after: Duration::ZERO,
        ..Patience::default()
    });
    let mut rng = StdRng::seed_from_u64(1);
    let error = voter
        .cast(&choices(&voter, &["1=1"]), &mut rng)
        .await
        .expect_err("too early");
    let CastError::Refused { faults } = &error else {
        panic!("{error}")
    };
    assert!(
        faults.len() >= 2
            && faults
                .iter()
                .all(|fault| fault.reason() == Reason::BallotBeforeOpening),
        "{error}"
    );
    for party in &parties {
        assert_eq!(received(&world, party).await, [0, 0, 0]);
    }
}

/// A station of the fixture as it would be after `station init` and the commission's certificate.
fn station_files(world: &World, id: u32, directory: &Path) {
    let manifest = world.fixture.manifest.manifest();
    let identity = manifest.station(StationId(id)).expect("a station").to_toml();
    let leaf = world.leaf_of(Role::P1, PeerRole::Station(StationId(id)));
    let signer = &world.fixture.stations[id as usize - 1];
    secret_file::create(&directory.join("signing.key"), &*signer.seed()).expect("written");
    secret_file::create(&directory.join("tls.key.pem"), leaf.key_pem.as_bytes()).expect("written");
    std::fs::write(StationKeys::certificate_path(directory), &leaf.cert_pem).expect("written");
    std::fs::write(StationKeys::identity_path(directory), identity).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_station_queues_what_one_party_misses_and_delivers_it_later() {
    let (world, mut parties) = start(100_000).await;
    let directory = tempfile::tempdir().expect("directory");
    station_files(&world, 1, directory.path());
    let election = election(&world);
    let open = |parties: &[&Party]| {
        let leaf = StationKeys::load(directory.path())
            .and_then(|keys| keys.leaf())
            .expect("certified");
        let channels = std::array::from_fn(|at| parties[at].peer_channel(Some(&leaf)));
        let connections = Connections::over(&election, channels, parties[0].public_channel());
        let keys = StationKeys::load(directory.path()).expect("keys");
        let clock = world.clock.clone();
        Station::open_over(
            directory.path(),
            &election,
            keys,
            connections,
            Arc::new(move || clock.now_ms()),
        )
        .expect("opened")
    };
    let mut rng = StdRng::seed_from_u64(1);
    let mut station = open(&parties.iter().collect::<Vec<_>>());
    let form = election.form(BoxId(1)).expect("box 1");
    let vote = |index, given: Option<&str>| StationVote {
        box_id: BoxId(1),
        index: VoterIndex(index),
        choices: given.map(|given| Choices::parse(&form, [given]).expect("valid")),
    };
    let stopped = parties.remove(2);
    let disk = stopped.disk.clone();
    stopped.running.stop().await;
    station
        .vote_many(
            vec![vote(0, Some("1=1")), vote(1, None), vote(4, Some("Board=Gus"))],
            &mut rng,
        )
        .await
        .expect("queued");
    let drained = station.drain(Duration::ZERO).await.expect("drained");
    assert_eq!((drained.delivered, drained.left), (0, 3));
    assert_eq!(drained.faults.keys().copied().collect::<Vec<_>>(), [Role::P3]);
    let status = station.status();
    assert_eq!((status.safe, status.lacking), (3, [0, 0, 3]));
    drop(station);

    let back = world.start_on(Role::P3, disk.after_crash(1)).await;
    parties.push(back);
    let mut station = open(&parties.iter().collect::<Vec<_>>());
    let drained = station.drain(Duration::from_secs(30)).await.expect("drained");
    assert_eq!((drained.delivered, drained.left), (3, 0), "{drained:?}");
    for party in &parties {
        assert_eq!(received(&world, party).await, [0, 2, 1]);
    }
    assert_eq!(Role::P3.slot(), parties.len() - 1);
}

/// Opens a station over these parties' peer addresses, or over none; its machine's clock is the world's.
fn open_station(world: &World, directory: &Path, parties: Option<&[Party]>) -> Station {
    let election = election(world);
    let keys = StationKeys::load(directory).expect("keys");
    let leaf = keys.leaf().expect("certified");
    let nowhere = || Channel::from_static("http://127.0.0.1:1").connect_lazy();
    let channels = std::array::from_fn(|at| match parties {
        Some(parties) => parties[at].peer_channel(Some(&leaf)),
        None => nowhere(),
    });
    let clock = world.clock.clone();
    let connections = Connections::over(&election, channels, nowhere());
    Station::open_over(
        directory,
        &election,
        keys,
        connections,
        Arc::new(move || clock.now_ms()),
    )
    .expect("opened")
}

#[tokio::test(flavor = "multi_thread")]
async fn stations_that_were_offline_for_hours_deliver_until_the_deadline_and_not_after_it() {
    let world = World::new(Shape::default());
    let at = |second: u64| world.clock.set(second * 1000);
    at(OPENS + 1);
    let mut parties = Vec::new();
    for role in Role::ALL {
        parties.push(world.start_in_force(role).await);
    }
    let directories = [1, 2].map(|id| {
        let directory = tempfile::tempdir().expect("directory");
        station_files(&world, id, directory.path());
        directory
    });
    let mut rng = StdRng::seed_from_u64(1);
    let form = election(&world).form(BoxId(1)).expect("box 1");
    // Three shifts, each a program of its own, none of which reaches anybody; the last vote comes a second before the closing.
    for (shift, second) in [OPENS + 60, (OPENS + CLOSES) / 2, CLOSES - 1]
        .into_iter()
        .enumerate()
    {
        at(second);
        for directory in &directories {
            let mut station = open_station(&world, directory.path(), None);
            let voter = VoterIndex(shift as u32);
            let cast = match shift {
                1 => station.paper(BoxId(1), voter, &mut rng).await,
                _ => {
                    let choices = Choices::parse(&form, ["1=1"]).expect("valid");
                    station.vote(BoxId(1), voter, choices, &mut rng).await
                }
            };
            let queued = cast.expect("queued");
            assert_eq!((queued.sequence, queued.cast_at.0), (shift as u64 + 1, second));
            let drained = station.drain(Duration::ZERO).await.expect("drained");
            assert_eq!((drained.left, drained.faults.len()), (shift + 1, 3));
        }
    }

    // Hours later, in the last second, station 1 is on line again, and P3 is away.
    at(DRAINED);
    let mut one = open_station(&world, directories[0].path(), Some(&parties));
    let stopped = parties.pop().expect("P3");
    let disk = stopped.disk.clone();
    stopped.running.stop().await;
    let drained = one.drain(Duration::ZERO).await.expect("drained");
    assert_eq!(drained.faults.keys().copied().collect::<Vec<_>>(), [Role::P3]);
    assert_eq!((one.status().safe, one.status().lacking), (3, [0, 0, 3]));
    drop(one);

    // A second later nobody takes anything more. What two parties have is safe; the rest stays at the station, each by its number.
    at(DRAINED + 1);
    parties.push(world.start_on(Role::P3, disk.after_crash(1)).await);
    let mut one = open_station(&world, directories[0].path(), Some(&parties));
    let late = one.drain(Duration::ZERO).await.expect("drained");
    assert_eq!((late.left, late.refused.len(), one.status().safe), (3, 3, 3));
    assert!(one.bulletin().refused().iter().all(|ballot| !ballot.is_lost()));
    let mut two = open_station(&world, directories[1].path(), Some(&parties));
    let late = two.drain(Duration::ZERO).await.expect("drained");
    assert_eq!((late.delivered, late.left, late.refused.len()), (0, 3, 9));
    for (number, ballot) in (1..).zip(two.bulletin().refused()) {
        assert_eq!(
            (ballot.row.of_box, ballot.row.sequence, ballot.is_lost()),
            (BoxId(1), number, true)
        );
        for fault in &ballot.faults {
            assert_eq!(fault.reason(), Reason::BallotAfterClose, "{fault}");
        }
    }
    assert_eq!((two.status().pending, two.status().safe), (3, 0));
    assert_eq!(two.bulletin().stopped(), None);
    for party in &parties[..2] {
        assert_eq!(received(&world, party).await, [0, 2, 1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ballot_is_inspected_from_another_device_and_found_in_the_logs() {
    let (world, parties) = start_in(World::connected(Shape::default()), 100_000).await;
    let connections = connections(&world, &parties);
    let election = election(&world);
    let mut rng = StdRng::seed_from_u64(1);
    // The others see into each log a moment later.
    let patience = Duration::from_secs(60);
    let mut shown = Vec::new();
    // A true credential and a false one: the parties answer alike.
    for credential in [7, 8] {
        let voter = voter(&world, &connections, credential);
        let mut cast = voter
            .cast(&choices(&voter, &["Mayor=Ben", "Board=Fay"]), &mut rng)
            .await
            .expect("cast");
        cast.third().await;
        let disclosure = cast.take_disclosure().expect("given once");
        let inspected = inspect(&election, &connections, &disclosure)
            .await
            .expect("it opens");
        assert_eq!(inspected.held_by(), Role::ALL);
        shown.push(inspected.choices().confirmation(inspected.form(), &[]));
        let found = find(&connections, &cast.receipts(), &[], patience).await;
        assert!(found.iter().all(Result::is_ok), "{found:?}");
        let named = cast.named().clone();
        let notes: Vec<String> = found.into_iter().flatten().map(|log| log.note).collect();
        let checked = check(&connections, &named, &notes, patience).await;
        assert_eq!(
            (checked.in_logs(), checked.is_false(), checked.sealed),
            (3, false, None)
        );
    }
    assert!(
        shown[0].contains("Ben") && shown[0].contains("Fay"),
        "{}",
        shown[0]
    );
    assert_eq!(shown[0], shown[1]);
}
