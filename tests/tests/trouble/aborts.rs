//! Tally sessions that abort: operators hear of it, and who is suspected, until there is a result.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tally_tests::proxy::{Network, Proxy};

use crate::scene::{DEADLINE, ELECTION, Scene, TYPED, beside_others, read, says};

/// Who is killed in each session.
const PARTY: usize = 2;
const ABOUT: &str = "weather-2027, box 1";

/// The lines of a party's journal on an alarm.
fn told(scene: &Scene, party: usize, event: &str, alarm: &str) -> Vec<Value> {
    let of = |line: &Value| line["event"] == event && line["alarm"] == alarm;
    scene.journal(party).into_iter().filter(of).collect()
}

/// A session during which the party is killed; the others' operators hear of it.
async fn aborted(scene: &mut Scene, proxy: &Proxy, session: u32) {
    // In the best case a session is over before it can be broken off.
    proxy.set(Network::Slow {
        bytes_per_s: 200_000,
        late: Duration::from_millis(20),
    });
    let log = scene.world.party_log(PARTY);
    let before = read(&log).len();
    let (program, root) = (scene.world.program.clone(), scene.world.root.clone());
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
    while !read(&log)[before..].contains("session begins") {
        assert!(since.elapsed() < DEADLINE, "session {session} does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    scene.world.kill_party(PARTY);
    proxy.set(Network::Well);
    let said = tally.join().expect("it ends");
    assert_eq!(said.status.code(), Some(1), "session {session}: {said:?}");
    for party in 0..PARTY {
        scene.await_alarm(party, ("tally.aborted", ABOUT), "P3").await;
        let (said, status) = scene.status(party);
        assert_eq!(said.status.code(), Some(2), "{said:?}");
        let of_box = &status["elections"][0]["boxes"][0];
        assert_eq!(of_box["sessions_left"], 3 - session, "{of_box}");
        assert_eq!(
            scene.alarm(party, "sessions.spent", ABOUT).is_some(),
            session == 3
        );
    }
    scene.world.start_party(PARTY).expect("started again");
    scene.await_accepting(PARTY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_and_spent_sessions_are_alarms_until_there_is_a_result() {
    let _place = beside_others().await;
    let mut proxies = Vec::new();
    let mut scene = Scene::behind(
        0,
        |i, listens| {
            if i != PARTY {
                return Ok(listens);
            }
            let proxy = Proxy::before(listens)?;
            let address = proxy.address();
            proxies.push(proxy);
            Ok(address)
        },
        |_| {},
    );
    // In front of what voters reach, and of what the other parties do.
    let [_, proxy] = proxies.as_slice() else {
        panic!("two listeners")
    };
    scene.vote(0..3).await;
    let done = scene.crowd.done().to_vec();
    let closed = scene.world.close("All have voted").expect("orders are in force");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        std::thread::sleep(left);
    }
    scene.world.seal_without_statements().expect("sealed");
    for session in 1..=3 {
        aborted(&mut scene, proxy, session).await;
    }
    for alarm in ["tally.aborted", "sessions.spent"] {
        let raised = told(&scene, 0, "alarm.raised", alarm);
        assert!(
            !raised.is_empty() && raised.iter().all(|line| line["about"] == ABOUT),
            "{raised:?}"
        );
        assert!(told(&scene, 0, "alarm.cleared", alarm).len() < raised.len());
    }
    let suspects = &told(&scene, 0, "alarm.raised", "tally.aborted")[0]["detail"];
    says(suspects.as_str().expect("a text"), &["suspected", "P3"]);

    // Nothing goes on without a person, who looks into it first.
    let refused = scene
        .world
        .attempt(&["--patience", "2", "tally", ELECTION], TYPED)
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    says(&refused.err, &["allow-sessions"]);
    for config in ["party-1/party.toml", "party-2/party.toml", "party-3/party.toml"] {
        let leave = [
            "party",
            "allow-sessions",
            "--config",
            config,
            "--election",
            ELECTION,
            "--box",
            "1",
        ];
        scene.world.run(&leave, TYPED).expect("given");
    }
    scene.await_no_alarm(0, "sessions.spent", ABOUT).await;
    assert!(
        scene.alarm(0, "tally.aborted", ABOUT).is_some(),
        "until there is a result"
    );
    scene.tallied_and_counted_right(&done);
    for party in 0..3 {
        for alarm in ["tally.aborted", "sessions.spent"] {
            scene.await_no_alarm(party, alarm, ABOUT).await;
        }
    }
    for alarm in ["tally.aborted", "sessions.spent"] {
        let [raised, cleared] =
            ["alarm.raised", "alarm.cleared"].map(|event| told(&scene, 0, event, alarm).len());
        assert_eq!(raised, cleared, "{alarm}");
    }
}
