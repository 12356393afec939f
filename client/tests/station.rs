//! A polling station: offline, killed, drained to parties that come and go; and what its disk holds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};
use tally_client::station::{Hours, StationError, StationKeys, Stopped, TimeSource};
use tally_client::{Choices, Connections, Election, Station, StationVote};
use tally_proto::calendar::ChannelKind;
use tally_proto::ids::{BoxId, Digest, Role, StationId, VoterIndex};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;

use crate::fake::{Manner, Plain, Town};
use crate::world::{self, Agencies, NOON_S};

const STATION: StationId = StationId(3);
const NORTH: BoxId = BoxId(1);

/// A town with one certified station that may vote for box 1 only, and its directory.
async fn town_with_station() -> (Town, tempfile::TempDir) {
    town_with_station_for(&[NORTH]).await
}

async fn town_with_station_for(boxes: &[BoxId]) -> (Town, tempfile::TempDir) {
    let agencies = Agencies::new(1);
    let directory = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(3);
    let keys = StationKeys::create(directory.path(), STATION, "Town hall", boxes.to_vec(), &mut rng).unwrap();
    let request = keys.request().unwrap();
    keys.install_certificate(
        &agencies
            .commission
            .sign_request(
                &request,
                &PeerRole::Station(STATION),
                &[],
                tally_proto::pki::Life::of_leaf(),
            )
            .unwrap(),
    )
    .unwrap();
    (
        Town::open_with(&agencies, &[keys.identity().clone()], &[]).await,
        directory,
    )
}

/// Connections that reach nobody.
async fn nowhere(town: &Town) -> Connections {
    let stations = town.signed.manifest().stations().to_vec();
    let deserted = Town::open_with(&town.agencies, &stations, &Role::ALL).await;
    Connections::open(&deserted.election).unwrap()
}

fn open_at(
    directory: &Path,
    election: &Election,
    connections: Connections,
    now_ms: Arc<AtomicU64>,
) -> Station {
    let keys = StationKeys::load(directory).unwrap();
    Station::open_over(
        directory,
        election,
        keys,
        connections,
        Arc::new(move || now_ms.load(Ordering::Relaxed)),
    )
    .unwrap()
}

fn vote(election: &Election, index: u32, choices: &[&str]) -> StationVote {
    let form = election.form(NORTH).unwrap();
    let choices = Some(Choices::parse(&form, choices.iter().copied()).unwrap());
    StationVote {
        box_id: NORTH,
        index: VoterIndex(index),
        choices,
    }
}

fn paper(index: u32) -> StationVote {
    StationVote {
        box_id: NORTH,
        index: VoterIndex(index),
        choices: None,
    }
}

fn header_of(town: &Town, digest: Digest) -> tally_proto::ballot::BallotHeader {
    town.party(Role::P3)
        .seen(|seen| seen.submissions[&digest].header().clone())
}

#[tokio::test]
async fn votes_cast_offline_survive_and_reach_all_three() {
    let (town, directory) = town_with_station_for(&[NORTH, BoxId(2)]).await;
    let mut rng = StdRng::seed_from_u64(9);
    let clock = Arc::new(AtomicU64::new(NOON_S * 1000));
    let offline = nowhere(&town).await;
    let mut digests = Vec::new();
    // Two shifts without a network; each ends without a word, as in a power cut.
    for shift in 0..2u32 {
        let mut station = open_at(directory.path(), &town.election, offline.clone(), clock.clone());
        for at in 0..3u32 {
            let index = shift * 10 + at;
            let queued = match at {
                2 => station.paper(NORTH, VoterIndex(index), &mut rng).await.unwrap(),
                _ => {
                    let StationVote { choices, .. } = vote(&town.election, index, &["1=2", "2=1"]);
                    station
                        .vote(NORTH, VoterIndex(index), choices.unwrap(), &mut rng)
                        .await
                        .unwrap()
                }
            };
            assert_eq!(queued.sequence, u64::from(shift * 3 + at + 1));
            assert_eq!(queued.time, TimeSource::Uncorrected);
            digests.push((index, queued.digest));
        }
        let status = station.status();
        assert_eq!(
            (status.pending, status.safe, status.lacking),
            (digests.len(), 0, [digests.len(); 3])
        );
    }
    assert_eq!(town.party(Role::P1).seen(|seen| seen.calls.len()), 0);

    let mut station = Station::open(directory.path(), &town.election).unwrap();
    let drained = station.drain(Duration::from_secs(30)).await.unwrap();
    assert_eq!((drained.delivered, drained.left), (6, 0), "{drained:?}");
    for (sequence, (index, digest)) in (1..).zip(&digests) {
        let header = header_of(&town, *digest);
        let is_paper = index % 10 == 2;
        assert_eq!(
            header.channel(),
            if is_paper {
                ChannelKind::Paper
            } else {
                ChannelKind::Station
            }
        );
        assert_eq!(header.station_mark().unwrap().sequence, sequence);
        // Mayor 2 in two bits, Council 1 as the first of three bits; paper carries nothing.
        let payload = if is_paper { 0 } else { 2 | (0b001 << 2) };
        assert_eq!(
            town.plain(*digest),
            Plain {
                index: *index,
                credential: 0,
                payload
            }
        );
    }
    for party in Role::ALL {
        assert_eq!(town.party(party).seen(|seen| seen.delivered.len()), 12);
    }
    let status = station.status();
    assert_eq!((status.pending, status.counts[0].1.all()), (0, 6));
    assert_eq!(status.counts[0].1.electronic, 4);
    assert_eq!(status.counts[0].1.paper, 2);

    // Online again: the parties' time is used, and numbers go on.
    let queued = station
        .vote_many(vec![vote(&town.election, 50, &["1=1"]), paper(51)], &mut rng)
        .await
        .unwrap();
    assert_eq!(
        queued
            .iter()
            .map(|queued| (queued.sequence, queued.time))
            .collect::<Vec<_>>(),
        [(7, TimeSource::Parties), (8, TimeSource::Parties)]
    );
    assert_eq!(station.drain(Duration::ZERO).await.unwrap().delivered, 2);

    // Each box has its own numbers: what is published of one never shows a gap for ballots of another.
    let of_south = |index| StationVote {
        box_id: BoxId(2),
        index: VoterIndex(index),
        choices: None,
    };
    let queued = station
        .vote_many(vec![of_south(1), paper(52), of_south(2)], &mut rng)
        .await
        .unwrap();
    assert_eq!(
        queued.iter().map(|queued| queued.sequence).collect::<Vec<_>>(),
        [1, 9, 2]
    );
    assert_eq!(station.drain(Duration::ZERO).await.unwrap().delivered, 3);
}

#[tokio::test]
async fn a_party_away_gets_what_it_lacks_when_it_is_back() {
    let (town, directory) = town_with_station().await;
    let mut rng = StdRng::seed_from_u64(9);
    town.party(Role::P2)
        .behave(Manner::Refusing(Reason::PartyShuttingDown));
    let mut station = Station::open(directory.path(), &town.election).unwrap();
    let votes = (0..20)
        .map(|index| vote(&town.election, index, &["1=3"]))
        .collect();
    let queued = station.vote_many(votes, &mut rng).await.unwrap();
    let drained = station.drain(Duration::ZERO).await.unwrap();
    assert_eq!((drained.delivered, drained.left), (0, 20));
    assert_eq!(drained.faults.keys().copied().collect::<Vec<_>>(), [Role::P2]);
    assert!(
        drained.faults[&Role::P2]
            .to_string()
            .contains("University (P2) could not be reached")
    );
    let status = station.status();
    assert_eq!(
        (status.pending, status.safe, status.lacking),
        (20, 20, [0, 20, 0])
    );
    let submits = |role| {
        town.party(role)
            .seen(|seen| seen.calls.iter().filter(|(name, _)| *name == "submit").count())
    };
    assert_eq!(submits(Role::P1), 20);
    drop(station);

    // After a restart P1 and P3 are not asked again for what they have, only handed P2's receipts.
    town.party(Role::P2).behave(Manner::Honest);
    let mut station = Station::open(directory.path(), &town.election).unwrap();
    let drained = station.drain(Duration::from_secs(30)).await.unwrap();
    assert_eq!((drained.delivered, drained.left), (20, 0));
    assert_eq!((submits(Role::P1), submits(Role::P3)), (20, 20));
    for queued in queued {
        let expected = u32::try_from(queued.sequence).unwrap() - 1;
        assert_eq!(
            town.plain(queued.digest),
            Plain {
                index: expected,
                credential: 0,
                payload: 3
            }
        );
    }
}

#[tokio::test]
async fn ballots_go_several_in_a_message_and_one_by_one_where_that_is_no_good() {
    for (first, second, third) in [
        (Manner::Honest, Manner::OneByOne, Manner::Curt),
        (Manner::Choking, Manner::Verbose, Manner::Honest),
    ] {
        let (town, directory) = town_with_station().await;
        let mut rng = StdRng::seed_from_u64(9);
        let manners = [first, second, third];
        for (party, manner) in Role::ALL.into_iter().zip(manners) {
            town.party(party).behave(manner);
        }
        let mut station = Station::open(directory.path(), &town.election).unwrap();
        let votes = (0..40)
            .map(|index| vote(&town.election, index, &["1=3"]))
            .collect();
        station.vote_many(votes, &mut rng).await.unwrap();
        let drained = station.drain(Duration::from_secs(60)).await.unwrap();
        assert_eq!((drained.delivered, drained.left), (40, 0), "{drained:?}");
        for (party, manner) in Role::ALL.into_iter().zip(manners) {
            let calls = town.party(party).seen(|seen| seen.calls.clone());
            let all_of = |name| calls.iter().filter(move |(called, _)| *called == name);
            assert_eq!(all_of("submit").count(), 40, "{manner:?}");
            let sizes: Vec<usize> = all_of("cast_all").map(|(_, bytes)| *bytes).collect();
            // Of 16, 16 and 8; to whoever chokes on the first of them the others may not be sent any more.
            let enough = if manner == Manner::Choking { 1..=3 } else { 3..=3 };
            assert!(enough.contains(&sizes.len()), "{manner:?}: {sizes:?}");
            assert!(
                sizes.iter().all(|bytes| *bytes <= 15 << 10),
                "{manner:?}: {sizes:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_a_party_refuses_stays_and_is_named() {
    let (town, directory) = town_with_station().await;
    let mut rng = StdRng::seed_from_u64(9);
    town.party(Role::P3).behave(Manner::OtherCiphertext);
    let mut station = Station::open(directory.path(), &town.election).unwrap();
    station.vote_many(vec![paper(1)], &mut rng).await.unwrap();
    let drained = station.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(drained.left, 1);
    assert_eq!(drained.refused.len(), 1);
    assert_eq!(
        (drained.refused[0].0.of_box, drained.refused[0].0.sequence),
        (NORTH, 1)
    );
    assert!(
        drained.refused[0]
            .1
            .to_string()
            .contains("Statistics (P3) gave a false receipt")
    );
    assert_eq!(station.status().safe, 1);
}

#[tokio::test]
async fn the_offset_to_the_parties_time_is_kept_for_when_they_are_away() {
    let (town, directory) = town_with_station().await;
    let mut rng = StdRng::seed_from_u64(9);
    // The station's clock is 5 minutes slow.
    let clock = Arc::new(AtomicU64::new((NOON_S - 300) * 1000));
    let online = Connections::open(&town.election).unwrap();
    let mut station = open_at(directory.path(), &town.election, online, clock.clone());
    let first = station.paper(NORTH, VoterIndex(1), &mut rng).await.unwrap();
    assert_eq!(first.time, TimeSource::Parties);
    assert!(first.cast_at.0 >= NOON_S);
    drop(station);
    let mut station = open_at(
        directory.path(),
        &town.election,
        nowhere(&town).await,
        clock.clone(),
    );
    clock.fetch_add(60_000, Ordering::Relaxed);
    let second = station.paper(NORTH, VoterIndex(2), &mut rng).await.unwrap();
    assert_eq!(second.time, TimeSource::Corrected);
    assert!(
        (NOON_S + 59..NOON_S + 70).contains(&second.cast_at.0),
        "{}",
        second.cast_at
    );
    // A clock that is set back does not make times fall.
    clock.fetch_sub(3_600_000, Ordering::Relaxed);
    let third = station.paper(NORTH, VoterIndex(3), &mut rng).await.unwrap();
    assert_eq!(third.cast_at, second.cast_at);
}

#[tokio::test]
async fn a_vote_under_a_wrong_clock_spoils_no_other() {
    let (town, directory) = town_with_station().await;
    let mut rng = StdRng::seed_from_u64(10);
    // A day ahead, never compared, and nobody there.
    let clock = Arc::new(AtomicU64::new((NOON_S + 86_400) * 1000));
    let mut station = open_at(
        directory.path(),
        &town.election,
        nowhere(&town).await,
        clock.clone(),
    );
    // By that clock the channel has closed; the officer takes it on an order that would have moved the hours.
    let closed = station.paper(NORTH, VoterIndex(1), &mut rng).await.unwrap_err();
    assert!(
        matches!(
            &closed,
            StationError::OutsideHours {
                kind: ChannelKind::Paper,
                ..
            }
        ),
        "{closed}"
    );
    assert_eq!(station.status().pending, 0);
    let wrong = station.cast(paper(1), Hours::ByWord, &mut rng).await.unwrap();
    assert_eq!(wrong.time, TimeSource::Uncorrected);
    assert!(wrong.cast_at.0 >= NOON_S + 86_400);
    drop(station);
    let online = Connections::open(&town.election).unwrap();
    let mut station = open_at(directory.path(), &town.election, online, clock);
    let right = station.paper(NORTH, VoterIndex(2), &mut rng).await.unwrap();
    assert_eq!(right.time, TimeSource::Parties);
    assert!(
        (NOON_S..NOON_S + 60).contains(&right.cast_at.0),
        "{}",
        right.cast_at
    );
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_nothing_is_queued() {
    let (town, directory) = town_with_station().await;
    let mut rng = StdRng::seed_from_u64(9);
    let mut station = Station::open(directory.path(), &town.election).unwrap();
    let votes = vec![paper(1), paper(world::VOTERS)];
    let error = station.vote_many(votes, &mut rng).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "roll number 100 is not in box 1, whose numbers are 0 to 99: check the roll"
    );
    let error = station
        .paper(BoxId(2), VoterIndex(1), &mut rng)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            StationError::NotServed {
                station: 3,
                box_id: BoxId(2)
            }
        ),
        "{error}"
    );
    assert_eq!(station.status().pending, 0);
    // One program at a time.
    let busy = Station::open(directory.path(), &town.election).unwrap_err();
    assert!(matches!(busy, StationError::Busy { .. }), "{busy}");
    drop(station);
    // Another election's manifest does not name this station.
    let other = Town::open_with(&Agencies::new(2), &[], &[]).await;
    let error = Station::open(directory.path(), &other.election).unwrap_err();
    assert!(matches!(error, StationError::NotNamed { .. }), "{error}");
    // A queue that has gone missing is not begun again at number 1.
    std::fs::remove_file(directory.path().join("council-2023.queue")).unwrap();
    let error = Station::open(directory.path(), &town.election).unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
}

#[tokio::test]
async fn the_disk_holds_nothing_secret() {
    let (town, directory) = town_with_station().await;
    let mut rng = StdRng::seed_from_u64(9);
    let mut station = Station::open(directory.path(), &town.election).unwrap();
    let votes = (40..60)
        .map(|index| vote(&town.election, index, &["1=3", "2=2", "2=3"]))
        .collect();
    let queued = station.vote_many(votes, &mut rng).await.unwrap();
    town.party(Role::P3).behave(Manner::Refusing(Reason::PartyBusy));
    station.drain(Duration::ZERO).await.unwrap();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        files.push((path.clone(), std::fs::read(path).unwrap()));
    }
    assert!(
        files
            .iter()
            .any(|(path, bytes)| path.ends_with("council-2023.queue") && bytes.len() > 20 * 500)
    );
    let mut secrets = 0;
    for queued in &queued {
        // Every share and nonce, from those who opened them; and the packed ballots themselves.
        let [first, second] = town
            .party(Role::P1)
            .seen(|seen| seen.shares[&queued.digest].clone());
        let [_, third] = town
            .party(Role::P2)
            .seen(|seen| seen.shares[&queued.digest].clone());
        let plain: Vec<u8> = (0..first.1.len())
            .map(|at| first.1[at] ^ second.1[at] ^ third.1[at])
            .collect();
        let parts = [&first, &second, &third]
            .map(|(nonce, share)| [nonce.clone(), share.clone()])
            .concat();
        for secret in parts.iter().chain([&plain]) {
            secrets += 1;
            for (path, bytes) in &files {
                let found = bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_slice());
                assert!(
                    !found,
                    "{} holds a secret of ballot {}",
                    path.display(),
                    queued.sequence
                );
            }
        }
    }
    assert_eq!(secrets, 20 * 7);
    #[cfg(unix)]
    for (path, _) in &files {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} may be read by others", path.display());
    }
}

#[tokio::test]
async fn a_slow_party_does_not_say_how_long_delivering_takes() {
    let (town, directory) = town_with_station().await;
    let connections = Connections::open(&town.election).unwrap();
    let now_ms = Arc::new(AtomicU64::new(NOON_S * 1000));
    let mut station = open_at(directory.path(), &town.election, connections, now_ms);
    let mut rng = StdRng::seed_from_u64(22);
    // It answers, each time just before a request would end by itself.
    town.party(Role::P1).behave(Manner::Slow(Duration::from_secs(13)));
    for index in [4, 5] {
        station.vote_many(vec![paper(index)], &mut rng).await.unwrap();
    }
    let begun = std::time::Instant::now();
    let drained = station.drain(Duration::from_secs(3)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(drained.left, 2);
    assert_eq!(
        station.status().lacking,
        [2, 0, 0],
        "the two others have them, and each other's receipts"
    );
}

#[tokio::test]
async fn a_party_that_hangs_keeps_nobody_from_the_two_others() {
    let (town, directory) = town_with_station().await;
    let connections = Connections::open(&town.election).unwrap();
    let now_ms = Arc::new(AtomicU64::new(NOON_S * 1000));
    let mut station = open_at(directory.path(), &town.election, connections, now_ms);
    let mut rng = StdRng::seed_from_u64(21);
    town.party(Role::P3).behave(Manner::Silent);
    for index in [4, 5] {
        station.vote_many(vec![paper(index)], &mut rng).await.unwrap();
    }
    // One bounded pass, long before a request to P3 ends by itself: the two others have the ballots, and each other's receipts.
    let pass = station.drain_within(Duration::from_secs(3));
    let drained = tokio::time::timeout(Duration::from_secs(10), pass)
        .await
        .unwrap()
        .unwrap();
    let status = station.status();
    assert_eq!((status.pending, status.safe, status.lacking), (2, 2, [0, 0, 2]));
    assert_eq!(drained.left, 2);
    let fault = &drained.faults[&Role::P3];
    assert!(fault.to_string().contains("no answer within 3 s"), "{fault}");
    assert!(fault.may_pass() && drained.refused.is_empty());
    // What P1 and P2 say next is heard although P3 still hangs.
    for party in [Role::P1, Role::P2] {
        town.party(party)
            .behave(Manner::Refusing(Reason::BallotStationRevoked));
    }
    station.vote_many(vec![paper(6)], &mut rng).await.unwrap();
    assert_eq!(station.bulletin().stopped(), None);
    station.drain_within(Duration::from_secs(3)).await.unwrap();
    let refused = station.bulletin().refused();
    assert_eq!(
        (refused.len(), refused[0].row.sequence, refused[0].is_lost()),
        (1, 3, true)
    );
    let stopped = station.bulletin().stopped().unwrap();
    assert!(
        matches!(&stopped, Stopped::Parties(words) if words.len() == 2),
        "{stopped}"
    );
    let not_taken = station.vote_many(vec![paper(7)], &mut rng).await.unwrap_err();
    assert!(
        matches!(&not_taken, StationError::Stopped(why) if *why == stopped),
        "{not_taken}"
    );
    assert_eq!(station.status().counts[0].1.paper, 3);

    // A later pass says otherwise: the station goes on.
    town.party(Role::P1).behave(Manner::Honest);
    station.drain_within(Duration::from_secs(3)).await.unwrap();
    assert_eq!(station.bulletin().stopped(), None);
    let notices = station.bulletin().notices();
    assert!(
        notices.len() == 1 && notices[0].contains("University (P2) refused"),
        "{notices:?}"
    );
    assert!(!station.bulletin().refused()[0].is_lost());
    for party in [Role::P2, Role::P3] {
        town.party(party).behave(Manner::Honest);
    }
    // P3's request that hangs ends by its own time limit; then it is asked again.
    let drained = station.drain(Duration::from_secs(40)).await.unwrap();
    assert!(drained.is_complete(), "{drained:?}");
    assert!(station.bulletin().notices().is_empty() && station.bulletin().faults().is_empty());
}
