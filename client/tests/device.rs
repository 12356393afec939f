//! What a device remembers of its casts: for some seconds, and in no election so long that the next one suffers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use rand::{SeedableRng, rngs::StdRng};
use tally_client::{Cast, CastError, Choices, Connections, Device, DeviceError, Voter};

use crate::fake::Town;

fn voter(town: &Town, state: &Path) -> Voter {
    // Connections of its own, as another run of the command has: it asks for the time anew.
    let connections = Connections::open(&town.election).unwrap();
    let device = Device::open(state).unwrap();
    Voter::new(&town.election, &connections, town.invitation(42, 7), &device).unwrap()
}

async fn cast(voter: &Voter, seed: u64) -> Result<Cast, CastError> {
    let choices = Choices::parse(voter.form(), ["Mayor=1"]).unwrap();
    voter.cast(&choices, &mut StdRng::seed_from_u64(seed)).await
}

/// Every file's bytes and time of its last writing, and the directory's.
fn traces(state: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let entries = std::fs::read_dir(state).unwrap().map(Result::unwrap);
    let mut traces: BTreeMap<_, _> = entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let modified = entry.metadata().unwrap().modified().unwrap();
            (name, (std::fs::read(entry.path()).unwrap(), modified))
        })
        .collect();
    let modified = std::fs::metadata(state).unwrap().modified().unwrap();
    traces.insert(".".to_owned(), (Vec::new(), modified));
    traces
}

fn shift(town: &Town, ms: i64) {
    for party in &town.parties {
        party.skew_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_device_that_cast_twice_is_later_the_same_as_one_that_cast_once() {
    let town = Town::open().await;
    let directory = tempfile::tempdir().unwrap();
    let [once, twice] = ["once", "twice"].map(|name| directory.path().join(name));
    let devices = [voter(&town, &once), voter(&town, &twice)];
    for (device, seed) in devices.iter().zip(1..) {
        cast(device, seed).await.unwrap();
    }
    shift(&town, 2_000);
    let again = voter(&town, &twice);
    cast(&again, 3).await.unwrap();
    assert_ne!(traces(&once), traces(&twice), "for some seconds");
    // Both commands were killed before they forgot; the parties' time is asked for by the next ones.
    shift(&town, 10_000);
    for state in [&once, &twice] {
        let next = voter(&town, state);
        next.forget_moment().await.unwrap();
    }
    assert_eq!(traces(&once), traces(&twice));
    let content = String::from_utf8(traces(&once)["device"].0.clone()).unwrap();
    assert_eq!(content, "tally-device 1 last-cast-at 00000000000000000000\n");
}

#[tokio::test]
async fn a_device_forgets_before_its_command_ends() {
    let town = Town::open().await;
    let directory = tempfile::tempdir().unwrap();
    let [once, twice] = ["once", "twice"].map(|name| directory.path().join(name));
    let (first, second) = (voter(&town, &once), voter(&town, &twice));
    cast(&first, 1).await.unwrap();
    cast(&second, 2).await.unwrap();
    cast(&second, 3).await.unwrap();
    let asked = |town: &Town| {
        town.parties
            .each_ref()
            .map(|party| party.seen(|seen| seen.calls.len()))
    };
    for voter in [&first, &second] {
        voter.forget_moment().await.unwrap();
    }
    let calls = asked(&town);
    assert_eq!(traces(&once), traces(&twice));
    first.forget_moment().await.unwrap();
    assert_eq!(asked(&town), calls, "nobody is asked for that");
}

#[tokio::test]
async fn an_election_whose_clocks_are_far_ahead_stops_no_other_for_good() {
    let (false_town, town) = (Town::open().await, Town::open().await);
    let directory = tempfile::tempdir().unwrap();
    // Within its opening hours, an hour ahead of the other election's clocks.
    shift(&false_town, 3_600_000);
    cast(&voter(&false_town, directory.path()), 1).await.unwrap();
    let error = cast(&voter(&town, directory.path()), 2).await.unwrap_err();
    let CastError::Device(DeviceError::Ahead { ahead_s, path }) = &error else {
        panic!("{error}")
    };
    assert!((3_580..=3_601).contains(ahead_s), "{ahead_s}");
    for party in &town.parties {
        assert_eq!(party.seen(|seen| seen.brought.len()), 0, "nothing is sent");
    }
    std::fs::remove_file(path.as_ref().unwrap()).unwrap();
    cast(&voter(&town, directory.path()), 3).await.unwrap();
}
