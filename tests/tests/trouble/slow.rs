//! A party behind a network that is slow, then dead: voting goes on with two, everybody says which party it is, sealing waits for it by name, and
//! when the network is back it catches up and is counted with the others.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tally_tests::proxy::{Network, Proxy};

use crate::scene::{ELECTION, Scene, TYPED, alone, await_that, says};

/// The party behind the proxies.
const PARTY: usize = 2;

fn set(proxies: &[Arc<Proxy>], network: Network) {
    proxies.iter().for_each(|proxy| proxy.set(network));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_then_dead_network_of_one_party_delays_nobody_and_is_named() {
    let _place = alone().await;
    let mut proxies = Vec::new();
    let mut scene = Scene::behind(
        0,
        |i, listens| {
            if i != PARTY {
                return Ok(listens);
            }
            let proxy = Arc::new(Proxy::before(listens)?);
            proxies.push(Arc::clone(&proxy));
            Ok(proxy.address())
        },
        |world| {
            for i in 0..3 {
                world.configure(i, "party_lost_s", "5").expect("set");
                world.configure(i, "disk_mib", "0").expect("set");
            }
        },
    );
    assert_eq!(proxies.len(), 2);
    scene.vote(0..1).await;
    await_that("everything goes through them", async || {
        proxies.iter().all(|proxy| proxy.carried() > 10_000)
    })
    .await;

    // Slow and far away: a ballot needs two, and does not wait for the third.
    let slow = Network::Slow {
        bytes_per_s: 6_000,
        late: Duration::from_millis(150),
    };
    set(&proxies, slow);
    let since = Instant::now();
    scene.vote(1..3).await;
    println!(
        "{} ballots past a slow party in {:?}",
        2 * crate::scene::VOTERS,
        since.elapsed()
    );
    assert!(since.elapsed() < Duration::from_secs(60));

    // Dead in the worst way: it accepts connections and never answers.
    set(&proxies, Network::Stalled);
    let cast = scene.vote_by_command(2, "Ben");
    assert!(cast.status.success(), "two are enough: {cast:?}");
    says(
        &(cast.out + &cast.err),
        &["Data Protection Authority (P3) could not be reached"],
    );
    scene.vote(3..4).await;
    for i in 0..PARTY {
        scene.await_alarm(i, ("party.lost", "P3"), "no answer").await;
        await_that("the view says so too", async || {
            let (_, status) = scene.status(i);
            let peers = status["peers"].as_array().cloned().unwrap_or_default();
            let third = peers.iter().find(|peer| peer["party"] == 3).expect("P3");
            third["trouble"].as_str().expect("words").contains("no answer")
        })
        .await;
    }
    let since = Instant::now();
    let all = scene
        .world
        .attempt(&["status", ELECTION, "--json"], "")
        .expect("it runs");
    assert_eq!(all.status.code(), Some(2), "{all:?}");
    let said: serde_json::Value = serde_json::from_str(all.out.trim()).expect("JSON");
    let reachable: Vec<_> = (0..3).map(|i| said["parties"][i]["reachable"].clone()).collect();
    assert_eq!(reachable, [true, true, false], "{said}");
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());

    // The network is back: what was missed is followed, in both directions.
    set(&proxies, Network::Well);
    for of in 0..PARTY {
        scene.await_followed(PARTY, of).await;
        scene.await_followed(of, PARTY).await;
        scene.await_no_alarm(of, "party.lost", "P3").await;
    }
    // The command's ballot is not among the crowd's: its voter casts later.
    scene.vote(4..5).await;
    let done = scene.crowd.done().to_vec();
    let closed = scene.world.close("All have voted").expect("orders are in force");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        std::thread::sleep(left);
    }

    // Sealing needs all three: it ends by itself, and says whom it lacks.
    set(&proxies, Network::Stalled);
    let since = Instant::now();
    let sealed = scene
        .world
        .attempt(&["--patience", "5", "seal", ELECTION], TYPED)
        .expect("it runs");
    println!("seal without P3 ended after {:?}", since.elapsed());
    assert!(!sealed.status.success(), "{sealed:?}");
    says(&(sealed.out + &sealed.err), &["P3"]);
    assert!(
        since.elapsed() < Duration::from_secs(300),
        "{:?}",
        since.elapsed()
    );

    // Slow is enough for a seal and a tally.
    let slow = Network::Slow {
        bytes_per_s: 200_000,
        late: Duration::from_millis(10),
    };
    set(&proxies, slow);
    await_that("P3 is seen again", async || {
        let (_, status) = scene.status(0);
        let peers = status["peers"].as_array().cloned().unwrap_or_default();
        peers
            .iter()
            .any(|peer| peer["party"] == 3 && peer["trouble"] == "")
    })
    .await;
    let since = Instant::now();
    scene.sealed_and_counted_right(&done);
    println!("sealed and tallied with a slow P3 in {:?}", since.elapsed());
}
