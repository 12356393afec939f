//! A ballot with the true credential and one with a decoy's: nothing on the device, on the screen or on the network differs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};
use tally_client::{
    Choices, Connections, Device, Keepsakes, Kept, Voter, decoy_of, find, inspect, read_invitation,
};
use tally_proto::ids::Role;

use crate::fake::Town;

const CREDENTIAL: u64 = 0xfeed_beef_1234_9876;

/// Everything that somebody could look at after two casts with one invitation.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    /// By party: every request's name and length, in the order of their names (tasks run side by side).
    calls: [Vec<(&'static str, usize)>; 3],
    /// By file: length and mode.
    files: BTreeMap<String, (u64, u32)>,
    /// What the voter is told.
    notices: Vec<String>,
    form: String,
    /// Lengths of what another device is shown.
    shown: Vec<usize>,
}

fn files(directory: &Path, into: &mut BTreeMap<String, (u64, u32)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            files(&entry.path(), into);
            continue;
        }
        #[cfg(unix)]
        let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
        #[cfg(not(unix))]
        let mode = 0;
        // A kept receipt is named by the ballot's digest: compare the length of the name.
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = if name.ends_with("receipt.json") {
            format!("{} characters", name.len())
        } else {
            name
        };
        into.insert(name, (meta.len(), mode));
    }
}

async fn trace(seed: u64, text: impl FnOnce(&Town) -> String) -> Trace {
    let town = Town::open().await;
    let text = text(&town);
    let directory = tempfile::tempdir().unwrap();
    let connections = Connections::open(&town.election).unwrap();
    let device = Device::open(directory.path()).unwrap();
    let invitation = read_invitation(&[&text]).unwrap();
    let voter = Voter::new(&town.election, &connections, invitation, &device).unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut notices, mut shown) = (Vec::new(), Vec::new());
    for (at, choice) in ["Mayor=Jan Novak", "Mayor=1"].into_iter().enumerate() {
        let choices = Choices::parse(voter.form(), [choice]).unwrap();
        let mut cast = voter
            .cast_telling(&choices, &mut rng, |notice| notices.push(format!("{notice:?}")))
            .await
            .unwrap();
        cast.third().await;
        // The logs are asked and the ballot is inspected from another device, as the command does on request.
        let found = find(&connections, &cast.receipts(), &[], Duration::ZERO).await;
        assert!(found.iter().all(Result::is_ok), "{found:?}");
        let disclosure = cast.take_disclosure().unwrap();
        shown.push(disclosure.to_text().len());
        inspect(&town.election, &connections, &disclosure).await.unwrap();
        if at == 1 {
            Keepsakes::of_device(directory.path())
                .keep(&Kept::of(&cast))
                .unwrap();
        }
    }
    notices.sort();
    notices.dedup();
    let calls = Role::ALL.map(|party| {
        let mut calls = town.party(party).seen(|seen| seen.calls.clone());
        calls.sort_unstable();
        // Receipts of others go by one or by two, as they come: which ones were brought is compared, not in how many requests.
        calls.retain(|(name, _)| !name.starts_with("deliver"));
        calls.push(("receipts", town.party(party).seen(|seen| seen.delivered.len())));
        // The clock is asked again after some seconds: how often depends on how fast this machine is.
        let (clocks, mut others): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|(name, _)| *name == "clock");
        others.extend(clocks.first());
        others
    });
    let mut found = BTreeMap::new();
    files(directory.path(), &mut found);
    let secret = text.as_bytes();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
            for credential in [CREDENTIAL.to_le_bytes(), CREDENTIAL.to_be_bytes()] {
                assert!(!bytes.windows(8).any(|window| window == credential));
            }
        }
    }
    Trace {
        calls,
        files: found,
        notices,
        form: voter.form().render(&[]),
        shown,
    }
}

#[tokio::test]
async fn a_decoy_leaves_the_same_trace() {
    let mut rng = StdRng::seed_from_u64(11);
    let real = trace(1, |town| town.invitation(42, CREDENTIAL).to_link().to_string()).await;
    let decoy = trace(2, |town| {
        decoy_of(&town.invitation(42, CREDENTIAL).to_link(), &mut rng)
            .unwrap()
            .to_link()
            .to_string()
    })
    .await;
    // Acceptances are told as they come, so whether the last is told before success may differ, whatever the credential.
    let told = |trace: &Trace| {
        trace
            .notices
            .iter()
            .filter(|notice| !notice.starts_with("Accepted"))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&real), told(&decoy));
    assert_eq!(real.form, decoy.form);
    assert_eq!(real.shown, decoy.shown);
    assert_eq!(real.files, decoy.files);
    assert_eq!(real.calls, decoy.calls);
    assert_eq!(
        real.calls[0].iter().filter(|(name, _)| *name == "submit").count(),
        2
    );
    assert!(real.calls[0].contains(&("receipts", 4)));
}
