//! Voters against three parties over real TLS: all well, one away, one lying, one slow, two refusing, and time running out.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};
use tally_client::{
    ATTEMPT, Cast, CastError, Choices, Connections, Device, Election, ElectionError, FalseReceipt, Fault,
    Notice, Patience, Voter, judge,
};
use tally_proto::ids::{BoxId, Hash32, Role, RoleExt};
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;

use crate::fake::{self, Manner, Plain, Town};
use crate::world::{self, Agencies};

const CREDENTIAL: u64 = 0x1234_5678_9abc_def1;

fn voter(town: &Town) -> Voter {
    let connections = Connections::open(&town.election).unwrap();
    Voter::new(
        &town.election,
        &connections,
        town.invitation(42, CREDENTIAL),
        &Device::in_memory(),
    )
    .unwrap()
}

async fn cast(voter: &Voter, choices: &[&str]) -> Result<Cast, CastError> {
    let mut rng = StdRng::seed_from_u64(7);
    let choices = Choices::parse(voter.form(), choices.iter().copied()).unwrap();
    voter.cast(&choices, &mut rng).await
}

fn at_once() -> Patience {
    Patience {
        give_up_after: Duration::ZERO,
        ..Patience::default()
    }
}

#[tokio::test]
async fn a_ballot_reaches_all_three_with_each_others_receipts() {
    let town = Town::open().await;
    let voter = voter(&town);
    let mut cast = cast(&voter, &["Mayor=Jan Novak", "Council=3", "Council=1"])
        .await
        .unwrap();
    assert!(cast.accepted().len() >= 2);
    cast.third().await;
    assert_eq!(cast.accepted(), Role::ALL);
    assert_eq!(cast.faults(), []);
    for party in Role::ALL {
        let expected = [party.next(), party.prev()].map(|of| (cast.digest(), of)).into();
        assert_eq!(town.party(party).seen(|seen| seen.delivered.clone()), expected);
    }
    // Mayor: 2 bits with option 2; Council: 3 bits with options 1 and 3.
    let expected = Plain {
        index: 42,
        credential: CREDENTIAL,
        payload: 2 | (0b101 << 2),
    };
    assert_eq!(town.plain(cast.digest()), expected);
    let keys = town.signed.manifest().party_keys();
    for (party, receipt) in Role::ALL.into_iter().zip(cast.receipts()) {
        let sent = town
            .party(party)
            .seen(|seen| seen.submissions[&cast.digest()].clone());
        judge(&receipt, party, &keys, sent.header(), sent.ciphertext_hash()).unwrap();
        let false_for = |ciphertext| judge(&receipt, party, &keys, sent.header(), ciphertext).unwrap_err();
        assert_eq!(false_for(Hash32([0; 32])), FalseReceipt::OtherCiphertext);
        // One that names another box or election counts nowhere: the party that signs such is told of, not those who refuse it.
        let stated = Receipt::from_wire(&receipt).unwrap().unverified().clone();
        let signer = &town.agencies.parties[party.slot()].signer;
        let mut other_box = stated.clone();
        other_box.of_box = BoxId(2);
        let mut other_election = stated;
        other_election.election = "council-2024".parse().unwrap();
        for other in [other_box, other_election] {
            let other = other.sign(signer).to_wire();
            let judged = judge(&other, party, &keys, sent.header(), sent.ciphertext_hash());
            assert_eq!(judged, Err(FalseReceipt::OtherPlace));
        }
    }
}

#[tokio::test]
async fn what_the_parties_have_handed_to_each_other_is_not_brought_again() {
    let town = Town::open().await;
    for party in Role::ALL {
        town.party(party).behave(Manner::HandedOver);
    }
    let mut ballot = cast(&voter(&town), &["1=1"]).await.unwrap();
    ballot.third().await;
    assert_eq!(ballot.accepted(), Role::ALL);
    let requests = |party: Role| {
        town.party(party).seen(|seen| {
            let calls = seen.calls.iter().map(|(name, _)| *name);
            calls.filter(|name| *name != "clock").collect::<Vec<_>>()
        })
    };
    assert_eq!(Role::ALL.map(requests), [["submit"]; 3]);
    // One that has nothing is served as ever, and one that says nonsense as if it had said nothing.
    town.party(Role::P2).behave(Manner::Honest);
    town.party(Role::P3).behave(Manner::Nonsense);
    let mut ballot = cast(&voter(&town), &["1=1"]).await.unwrap();
    ballot.third().await;
    assert_eq!(ballot.accepted(), Role::ALL);
    assert_eq!(requests(Role::P1), ["submit", "submit"]);
    for party in [Role::P2, Role::P3] {
        town.party(party).wait_for(|seen| seen.delivered.len() == 2).await;
    }
}

#[tokio::test]
async fn one_away_is_named_and_does_not_matter() {
    for away in Role::ALL {
        let town = Town::open_with(&Agencies::new(1), &[], &[away]).await;
        let mut cast = cast(&voter(&town), &["1=1"]).await.unwrap();
        let expected: Vec<Role> = Role::ALL.into_iter().filter(|party| *party != away).collect();
        assert_eq!(cast.accepted(), expected);
        // It goes on being tried: give it a moment to fail once.
        let _ = tokio::time::timeout(Duration::from_secs(2), cast.third()).await;
        let faults = cast.faults();
        assert!(
            matches!(faults.as_slice(), [Fault::Away { party, .. }] if *party == away),
            "{faults:?}"
        );
        let agency = ["Court", "University", "Statistics"][away.slot()];
        assert!(
            faults[0]
                .to_string()
                .starts_with(&format!("{agency} ({away}) could not be reached"))
        );
    }
}

#[tokio::test]
async fn a_false_receipt_is_no_acceptance() {
    let lies = [
        Manner::OtherDigest,
        Manner::OtherCiphertext,
        Manner::WrongKey,
        Manner::OtherParty,
        Manner::OtherTime,
    ];
    for lie in lies {
        let town = Town::open().await;
        town.party(Role::P2).behave(lie);
        let mut cast = cast(&voter(&town), &["1=1"]).await.unwrap();
        cast.third().await;
        assert_eq!(cast.accepted(), [Role::P1, Role::P3], "{lie:?}");
        let faults = cast.faults();
        assert!(
            matches!(faults.as_slice(), [Fault::FalseReceipt { party: Role::P2, .. }]),
            "{faults:?}"
        );
        assert_eq!(faults[0].reason(), Reason::ReceiptInvalid);
        // The false receipt was handed to nobody.
        let handed = town
            .party(Role::P1)
            .seen(|seen| seen.delivered.iter().any(|(_, of)| *of == Role::P2));
        assert!(!handed);
    }
}

#[tokio::test]
async fn a_slow_party_is_not_waited_for_but_served() {
    let town = Town::open().await;
    town.party(Role::P1).behave(Manner::Slow(Duration::from_secs(3)));
    let mut cast = cast(&voter(&town), &["1=1"]).await.unwrap();
    assert_eq!(cast.accepted(), [Role::P2, Role::P3]);
    cast.third().await;
    assert_eq!(cast.accepted(), Role::ALL);
    assert_eq!(town.party(Role::P1).seen(|seen| seen.delivered.len()), 2);
}

#[tokio::test]
async fn a_dropped_cast_goes_on_in_the_background() {
    let town = Town::open().await;
    town.party(Role::P3)
        .behave(Manner::Slow(Duration::from_millis(300)));
    drop(cast(&voter(&town), &["1=1"]).await.unwrap());
    town.party(Role::P3)
        .wait_for(|seen| seen.delivered.len() == 2)
        .await;
    town.party(Role::P1)
        .wait_for(|seen| seen.delivered.len() == 2)
        .await;
}

#[tokio::test]
async fn two_that_refuse_end_it_with_their_reasons() {
    let town = Town::open().await;
    town.party(Role::P1)
        .behave(Manner::Refusing(Reason::BallotAfterClose));
    town.party(Role::P2)
        .behave(Manner::Refusing(Reason::BallotAfterClose));
    let error = cast(&voter(&town), &["1=1"]).await.unwrap_err();
    let CastError::Refused { faults } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        faults.iter().map(Fault::reason).collect::<Vec<_>>(),
        [Reason::BallotAfterClose; 2]
    );
    let text = error.to_string();
    assert!(
        text.contains("Court (P1) refused") && text.contains("ballot.after-close"),
        "{text}"
    );
    assert_eq!(
        town.party(Role::P1)
            .seen(|seen| seen.calls.iter().filter(|(name, _)| *name == "submit").count()),
        1
    );
}

#[tokio::test]
async fn one_that_refuses_is_named_beside_the_success() {
    let town = Town::open().await;
    town.party(Role::P3)
        .behave(Manner::Refusing(Reason::ShareUnopenable));
    let mut cast = cast(&voter(&town), &["1=1"]).await.unwrap();
    cast.third().await;
    assert_eq!(cast.accepted(), [Role::P1, Role::P2]);
    assert!(matches!(
        cast.faults().as_slice(),
        [Fault::Refused { party: Role::P3, .. }]
    ));
}

#[tokio::test]
async fn acceptance_without_the_others_receipt_is_not_enough() {
    let town = Town::open().await;
    // P1 and P3 accept, but P3 stores nobody's receipt; P2 is needed for a pair.
    town.party(Role::P3)
        .behave(Manner::Deaf(Reason::MessageMalformed));
    town.party(Role::P2)
        .behave(Manner::Slow(Duration::from_millis(400)));
    let cast = cast(&voter(&town), &["1=1"]).await.unwrap();
    let stored = |at: Role, of: Role| {
        town.party(at)
            .seen(|seen| seen.delivered.contains(&(cast.digest(), of)))
    };
    assert!(stored(Role::P1, Role::P2) && stored(Role::P2, Role::P1));
}

#[tokio::test]
async fn a_revote_is_the_later_ballot_with_nothing_in_common() {
    let town = Town::open().await;
    let voter = voter(&town);
    let mut rng = StdRng::seed_from_u64(7);
    let mut last = 0;
    let mut commitments = Vec::new();
    for choice in ["1=1", "1=2", "1=1"] {
        let choices = Choices::parse(voter.form(), [choice]).unwrap();
        let cast = voter.cast(&choices, &mut rng).await.unwrap();
        assert!(cast.cast_at().0 > last);
        last = cast.cast_at().0;
        let header = town
            .party(cast.accepted()[0])
            .seen(|seen| seen.submissions[&cast.digest()].header().clone());
        commitments.extend(header.commitments().map(|commitment| commitment.0));
    }
    commitments.sort_unstable();
    commitments.dedup();
    assert_eq!(commitments.len(), 9);
}

#[tokio::test]
async fn two_clocks_that_disagree_are_settled_by_the_board() {
    let town = Town::open_with(&Agencies::new(1), &[], &[Role::P2]).await;
    // The board goes by P1's clock; P3 is 30 s ahead, so the median is P1's.
    town.party(Role::P3).skew_ms.store(30_000, Ordering::Relaxed);
    let cast = cast(&voter(&town), &["1=1"]).await.unwrap();
    assert_eq!(cast.accepted(), [Role::P1, Role::P3]);
    assert!(
        (world::NOON_S..world::NOON_S + 20).contains(&cast.cast_at().0),
        "{}",
        cast.cast_at()
    );
}

#[tokio::test]
async fn too_few_clocks_are_told_with_names() {
    let town = Town::open_with(&Agencies::new(1), &[], &[Role::P2, Role::P3]).await;
    let voter = voter(&town).with_patience(at_once());
    let error = cast(&voter, &["1=1"]).await.unwrap_err();
    assert!(matches!(&error, CastError::Time(_)));
    let text = error.to_string();
    assert!(
        text.contains("only 1 of the three")
            && text.contains("University (P2)")
            && text.contains("Statistics (P3)"),
        "{text}"
    );
    assert_eq!(town.party(Role::P1).seen(|seen| seen.receipts.len()), 0);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anything_is_sent() {
    let town = Town::open().await;
    let connections = Connections::open(&town.election).unwrap();
    let other = Town::open_with(&Agencies::new(2), &[], &[]).await;
    let error = Voter::new(
        &town.election,
        &connections,
        other.invitation(1, 1),
        &Device::in_memory(),
    )
    .unwrap_err();
    assert!(matches!(error, ElectionError::Invitation(_)), "{error}");
    let unsigned = town.agencies.sign(town.signed.manifest(), 2);
    let error = Election::new(unsigned).unwrap_err();
    assert!(error.to_string().contains("P3 have not countersigned"), "{error}");
    let mut bytes = town.signed.envelope().encode();
    assert!(Election::from_bytes(&bytes).is_ok());
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    assert!(Election::from_bytes(&bytes).is_err());
    for party in Role::ALL {
        assert_eq!(town.party(party).seen(|seen| seen.calls.len()), 0);
    }
}

/// Lets one second of the paused clock pass, and a moment of real time for what travels over sockets.
async fn second() -> u64 {
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(20)))
        .await
        .unwrap();
    1
}

/// Time stands still but for what the test says: a blocking task keeps the paused clock from running ahead of the sockets.
#[tokio::test(start_paused = true)]
async fn what_is_not_safe_after_a_minute_is_cast_anew() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let hold = tokio::task::spawn_blocking(move || held.recv());
    let town = Arc::new(Town::open().await);
    for party in [Role::P2, Role::P3] {
        town.party(party).behave(Manner::Silent);
    }
    let notices: Arc<Mutex<Vec<String>>> = Arc::default();
    let casting = tokio::spawn({
        let (town, notices) = (town.clone(), notices.clone());
        async move {
            let voter = voter(&town);
            let choices = Choices::parse(voter.form(), ["1=3"]).unwrap();
            let mut rng = StdRng::seed_from_u64(7);
            let tell = |notice: Notice| {
                if let Notice::Anew { attempt } = notice {
                    notices.lock().unwrap().push(format!("attempt {attempt}"));
                }
            };
            voter.cast_telling(&choices, &mut rng, tell).await.unwrap()
        }
    });
    let submitted = |count: usize| {
        move |seen: &fake::Seen| seen.calls.iter().filter(|(name, _)| *name == "submit").count() >= count
    };
    for party in Role::ALL {
        town.party(party).wait_for(submitted(1)).await;
    }
    town.party(Role::P1)
        .wait_for(|seen| seen.receipts.len() == 1)
        .await;
    let first = town
        .party(Role::P1)
        .seen(|seen| *seen.receipts.keys().next().unwrap());
    // Within the minute the silent ones are asked again, with the same ballot; nothing is cast anew.
    let mut passed = 0;
    while town.party(Role::P2).seen(|seen| !submitted(2)(seen)) {
        passed += second().await;
    }
    while passed < ATTEMPT.as_secs() - 1 {
        passed += second().await;
    }
    assert_eq!(*notices.lock().unwrap(), Vec::<String>::new());
    for party in [Role::P2, Role::P3] {
        town.party(party).behave(Manner::Honest);
    }
    // The requests under way stay unanswered; the minute ends, and a new ballot goes out.
    while notices.lock().unwrap().is_empty() {
        passed += second().await;
    }
    assert!(passed <= ATTEMPT.as_secs() + 2, "{passed}");
    let cast = casting.await.unwrap();
    assert_eq!(*notices.lock().unwrap(), ["attempt 2"]);
    assert_ne!(cast.digest(), first);
    let old = town
        .party(Role::P1)
        .seen(|seen| seen.submissions[&first].header().cast_at());
    assert!(
        cast.cast_at() > old && cast.cast_at().0 >= world::NOON_S + 60,
        "{old} then {}",
        cast.cast_at()
    );
    assert_eq!(
        town.plain(cast.digest()),
        Plain {
            index: 42,
            credential: CREDENTIAL,
            payload: 3
        }
    );
    release.send(()).unwrap();
    hold.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_voter_who_cannot_wait_is_told_how_it_stands() {
    let town = Town::open_with(&Agencies::new(1), &[], &[Role::P3]).await;
    town.party(Role::P2)
        .behave(Manner::Refusing(Reason::BallotCastAtOutOfRange));
    town.party(Role::P1)
        .behave(Manner::Refusing(Reason::BallotCastAtOutOfRange));
    let voter = voter(&town).with_patience(at_once());
    let error = cast(&voter, &["1=1"]).await.unwrap_err();
    assert!(
        matches!(&error, CastError::Refused { faults } if faults.len() >= 2),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_voters_share_the_connections() {
    let town = Town::open().await;
    let connections = Connections::open(&town.election).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..100u32 {
        let invitation = town.invitation(index, CREDENTIAL ^ u64::from(index));
        let voter = Voter::new(&town.election, &connections, invitation, &Device::in_memory()).unwrap();
        tasks.spawn(async move {
            let mut rng = StdRng::seed_from_u64(index.into());
            let choices = Choices::by_number(voter.form(), &[vec![1 + index % 3]]).unwrap();
            let mut cast = voter.cast(&choices, &mut rng).await.unwrap();
            cast.third().await;
            (index, cast.digest(), cast.accepted().len())
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (index, digest, accepted) = done.unwrap();
        assert_eq!(accepted, 3);
        let credential = CREDENTIAL ^ u64::from(index);
        assert_eq!(
            town.plain(digest),
            Plain {
                index,
                credential,
                payload: (1 + index % 3) as u8
            }
        );
    }
    // The clocks were asked once for all of them, or a few times if it took long.
    let clocks = town
        .party(Role::P1)
        .seen(|seen| seen.calls.iter().filter(|(name, _)| *name == "clock").count());
    assert!(clocks < 20, "{clocks}");
}
