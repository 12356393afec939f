//! Many readers pull the public log while voters cast, and what following each other's logs costs the parties.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_client::{Choices, Connections, Device, Election, Voter, read_invitation};
use tally_party::config::Config;
use tally_party::keys;
use tally_proto::connect::{self, Dial};
use tally_proto::identity::PartyIdentity;
use tally_proto::pki::Leaf;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_tests::script::{Cast, Place, Way};
use tokio::task::JoinSet;

use crate::scene::{ELECTION, OPTIONS, Scene, VOTERS, alone, await_that};

/// Readers of the public log, and askers with another party's certificate.
const READERS: u32 = 24;
const ASKERS: u32 = 12;
/// Ballots whose time is taken, one after the other at each of so many places.
const TIMED: u32 = 120;
const AT_ONCE: u32 = 6;
/// The slowest of a hundred ballots takes no longer while the log is pulled, on a machine that does much else.
const BOUND: Duration = Duration::from_secs(5);

fn party(scene: &Scene, i: usize) -> (PartyIdentity, Leaf) {
    let config = Config::load(&scene.world.party_config(i)).expect("a configuration");
    let own = keys::own_identity(&config).expect("an identity");
    (own, keys::leaf(&config.tls.party).expect("a certificate"))
}

/// Checkpoint, consistency and inclusion, again and again.
async fn read_log(own: PartyIdentity, place: u64, stop: Arc<AtomicBool>, read: Arc<AtomicU64>) {
    let dial = Dial {
        address: own.public_address(),
        anchor: own.anchor(),
        leaf: None,
    };
    let mut intake = connect::intake(dial.channel().expect("a channel"));
    let election = || ELECTION.to_owned();
    while !stop.load(Relaxed) {
        let head = intake
            .checkpoint(wire::ElectionRef { election: election() })
            .await;
        let Ok(head) = head else { continue };
        let note = head.into_inner().note;
        let size: u64 = note
            .lines()
            .nth(1)
            .and_then(|line| line.parse().ok())
            .expect("a signed note");
        let consistency = wire::ConsistencyRequest {
            election: election(),
            old_size: 1 + place % size,
            new_size: size,
        };
        let inclusion = wire::InclusionRequest {
            election: election(),
            position: place % size,
            size,
        };
        let answers = (
            intake.consistency(consistency).await,
            intake.inclusion(inclusion).await,
        );
        if answers.0.is_ok() && answers.1.is_ok() {
            read.fetch_add(3, Relaxed);
        }
    }
}

/// Heads and pages with the certificate of another party, as one that was taken over by somebody would.
async fn pull_pages(
    to: PartyIdentity,
    leaf: Arc<Leaf>,
    stop: Arc<AtomicBool>,
    (read, busy): (Arc<AtomicU64>, Arc<AtomicU64>),
) {
    let dial = Dial {
        address: to.peer_address(),
        anchor: to.anchor(),
        leaf: Some(&leaf),
    };
    let mut peer = connect::peer(dial.channel().expect("a channel"));
    while !stop.load(Relaxed) {
        let page = wire::LogRequest {
            election: ELECTION.to_owned(),
            from: 0,
            most: 4096,
        };
        match peer.log(page).await {
            Ok(_) => read.fetch_add(1, Relaxed),
            Err(status) if Refusal::of_status(&status).reason == Reason::PartyBusy => {
                busy.fetch_add(1, Relaxed)
            }
            Err(status) => panic!("{status}"),
        };
    }
}

/// How long each ballot took until two parties had it, ascending.
async fn timed(scene: &Scene) -> Vec<Duration> {
    let manifest = std::fs::read(scene.manifest()).expect("a manifest");
    let election = Election::from_bytes(&manifest).expect("complete");
    let connections = Connections::open(&election).expect("connections");
    let codes: Vec<String> = scene.invitations.values().cloned().collect();
    let mut places = JoinSet::new();
    for place in 0..AT_ONCE {
        let (election, connections, codes) = (election.clone(), connections.clone(), codes.clone());
        places.spawn(async move {
            let mut rng = StdRng::seed_from_u64(u64::from(place));
            let mut took = Vec::new();
            for i in 0..TIMED / AT_ONCE {
                let code = &codes[((place + i * AT_ONCE) % VOTERS) as usize];
                let invitation = read_invitation(&[code.as_str()]).expect("an invitation");
                // A device of its own each time: one device casts once a second at most.
                let voter =
                    Voter::new(&election, &connections, invitation, &Device::in_memory()).expect("a voter");
                let choices = Choices::parse(voter.form(), ["Ben"]).expect("a choice");
                let since = Instant::now();
                let cast = voter.cast(&choices, &mut rng).await.expect("accepted");
                took.push(since.elapsed());
                drop(cast);
            }
            took
        });
    }
    let mut took: Vec<Duration> = places.join_all().await.into_iter().flatten().collect();
    took.sort_unstable();
    took
}

fn percentile(took: &[Duration], of_hundred: usize) -> Duration {
    took[(took.len() * of_hundred).div_ceil(100) - 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_of_the_log_keep_no_voter_from_casting() {
    let _place = alone().await;
    let mut scene = Scene::new(0);
    scene.vote(0..2).await;
    let alone = timed(&scene).await;
    let stop = Arc::new(AtomicBool::new(false));
    let [read, pages, busy] = std::array::from_fn(|_| Arc::<AtomicU64>::default());
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let (own, _) = party(&scene, reader as usize % 3);
        readers.spawn(read_log(
            own,
            u64::from(reader),
            Arc::clone(&stop),
            Arc::clone(&read),
        ));
    }
    let leaf = Arc::new(party(&scene, 1).1);
    for _ in 0..ASKERS {
        let (to, _) = party(&scene, 0);
        let counted = (Arc::clone(&pages), Arc::clone(&busy));
        readers.spawn(pull_pages(to, Arc::clone(&leaf), Arc::clone(&stop), counted));
    }
    await_that("they are all at it", async || {
        read.load(Relaxed) > 300 && pages.load(Relaxed) > 50
    })
    .await;
    let since = Instant::now();
    let among_readers = timed(&scene).await;
    let took = since.elapsed();
    stop.store(true, Relaxed);
    readers.join_all().await;
    let shown = |took: &[Duration]| [50, 99, 100].map(|of_hundred| percentile(took, of_hundred));
    println!("ballots alone (50 %, 99 %, longest): {:?}", shown(&alone));
    println!(
        "among {READERS} readers and {ASKERS} askers: {:?}, in {took:?}; {} answers, {} pages, {} refused as busy",
        shown(&among_readers),
        read.load(Relaxed),
        pages.load(Relaxed),
        busy.load(Relaxed)
    );
    assert_eq!(among_readers.len(), TIMED as usize);
    assert!(
        percentile(&among_readers, 99) < BOUND,
        "{:?}",
        shown(&among_readers)
    );
    assert!(busy.load(Relaxed) > 0, "one party's questions are bounded");
    // The party whose certificate asked so much is served after all, and everybody holds everything.
    for (i, of) in [(0, 1), (1, 0), (2, 0), (0, 2)] {
        scene.await_followed(i, of).await;
    }
}

/// User and system time of the party processes so far, in clock ticks.
fn ticks(scene: &Scene) -> u64 {
    let of = |process: u32| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
        let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
        // utime and stime are fields 14 and 15; two stand before the bracket.
        [fields[11], fields[12]]
            .iter()
            .map(|ticks| ticks.parse::<u64>().expect("ticks"))
            .sum()
    };
    scene.world.party_ids().into_iter().map(of).sum()
}

/// Clock ticks of all three parties for so many ballots, over the same time.
async fn ticks_for(every_ms: u32, ballots: u32) -> u64 {
    let mut scene = Scene::behind(
        0,
        |_, listens| Ok(listens),
        |world| {
            for i in 0..3 {
                world
                    .configure(i, "every_ms", &every_ms.to_string())
                    .expect("set");
            }
        },
    );
    let casts: Vec<Cast> = (0..ballots)
        .map(|i| Cast {
            device: i,
            place: Place {
                box_id: 1,
                v: i % VOTERS,
            },
            way: Way::Online,
            choice: 1 + i % OPTIONS,
        })
        .collect();
    let (began, before) = (Instant::now(), ticks(&scene));
    scene.crowd.cast_online(&casts, |_| {}).await.expect("accepted");
    await_that("the same time is over", async || {
        began.elapsed() > Duration::from_secs(20)
    })
    .await;
    ticks(&scene) - before
}

/// What following costs beside voting, as a share of the parties' CPU time.
#[tokio::test(flavor = "multi_thread")]
async fn following_each_other_costs_little_beside_voting() {
    let _place = alone().await;
    const BALLOTS: u32 = 900;
    let (hardly, usual) = (ticks_for(60_000, BALLOTS).await, ticks_for(1_000, BALLOTS).await);
    let us = |ticks: u64| ticks * 10_000 / u64::from(BALLOTS);
    println!(
        "{BALLOTS} ballots: {} us a ballot followed once a minute, {} us once a second",
        us(hardly),
        us(usual)
    );
    assert!(usual < 2 * hardly, "{usual} ticks against {hardly}");
}
