//! What becomes of a voter's tickets where parties are away, one of them lies, or the device was copied.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};
use tally_client::{ATTEMPT, Cast, CastError, Choices, Connections, Device, Fault, Notice, Patience, Voter};
use tally_proto::calendar::{Channel, ChannelKind, TimingError};
use tally_proto::ids::Role;
use tally_proto::order::Change;
use tally_proto::reason::Reason;

use crate::fake::{Manner, Town};
use crate::world::{Agencies, CLOSES_S, NOON_S, OPENS_S, SECOND_DAY_S, TICKETS};

async fn town(away: &[Role]) -> Town {
    Town::open_with(&Agencies::new(1).with_tickets(), &[], away).await
}

fn voter(town: &Town, device: &Device) -> Voter {
    let connections = Connections::open(&town.election).unwrap();
    let invitation = town.invitation(42, 0x1234_5678_9abc_def1);
    let voter = Voter::new(&town.election, &connections, invitation, device).unwrap();
    voter.with_patience(Patience {
        after_draw: Duration::ZERO,
        ..Patience::default()
    })
}

async fn cast(voter: &Voter, seed: u64) -> Result<Cast, CastError> {
    let choices = Choices::parse(voter.form(), ["1=3"]).unwrap();
    voter.cast(&choices, &mut StdRng::seed_from_u64(seed)).await
}

/// Tickets and ballots that a party was brought, and calls of its clock.
fn brought(town: &Town, party: Role) -> (usize, usize) {
    let party = town.party(party);
    party.seen(|seen| (seen.tickets.len(), seen.brought.len()))
}

/// A cast under the paused clock, which passes as the test says; a moment of real time for each second of it.
struct Casting {
    cast: tokio::task::JoinHandle<Result<Cast, CastError>>,
    notices: Arc<Mutex<Vec<String>>>,
    release: std::sync::mpsc::Sender<()>,
    passed: u64,
}

impl Casting {
    fn begin(town: &Town, device: &Device) -> Self {
        let (release, held) = std::sync::mpsc::channel::<()>();
        // A blocking task keeps the paused clock from running ahead of the sockets.
        tokio::task::spawn_blocking(move || held.recv());
        let voter = voter(town, device);
        let notices: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = notices.clone();
        let cast = tokio::spawn(async move {
            let choices = Choices::parse(voter.form(), ["1=3"]).unwrap();
            let tell = |notice: Notice| match notice {
                Notice::Anew { attempt } => told.lock().unwrap().push(format!("attempt {attempt}")),
                Notice::Absent { agencies } => told.lock().unwrap().push(agencies.join(" or ")),
                _ => {}
            };
            let mut rng = StdRng::seed_from_u64(7);
            voter.cast_telling(&choices, &mut rng, tell).await
        });
        Self {
            cast,
            notices,
            release,
            passed: 0,
        }
    }

    async fn second(&mut self) {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(20)))
            .await
            .unwrap();
        self.passed += 1;
    }

    async fn pass(&mut self, seconds: u64) {
        let until = self.passed + seconds;
        while self.passed < until && !self.cast.is_finished() {
            self.second().await;
        }
    }

    async fn end(mut self) -> (Result<Cast, CastError>, Vec<String>, u64) {
        while !self.cast.is_finished() {
            self.second().await;
        }
        let cast = self.cast.await.unwrap();
        self.release.send(()).unwrap();
        let notices = self.notices.lock().unwrap().clone();
        (cast, notices, self.passed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_party_that_calls_tickets_spent_while_another_is_away_burns_one_more() {
    let town = town(&[Role::P2]).await;
    town.party(Role::P3).behave(Manner::Refusing(Reason::TicketSpent));
    let device = Device::in_memory();
    let (cast, notices, passed) = Casting::begin(&town, &device).end().await;
    let Err(CastError::TimeOut { accepted, faults }) = cast else {
        panic!("one acceptance is no success")
    };
    assert_eq!(accepted, [Role::P1]);
    assert_eq!(faults.len(), 2);
    assert!(
        passed >= 600,
        "tried for {passed} s, as long as the voter was ready to"
    );
    // A copy of the device may have met this one on the way, but not twice: it is not cast a third time before P2 answers, as the first party would
    // want another ticket for nothing.
    assert_eq!(notices, ["attempt 2", "University"]);
    assert_eq!(brought(&town, Role::P1), (2, 2));
    assert_eq!(brought(&town, Role::P3), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_met_the_owner_on_the_way_keeps_nobody_waiting_for_a_party_that_is_away() {
    let town = town(&[Role::P3]).await;
    let directory = tempfile::tempdir().unwrap();
    let [own, copied] = ["own", "copied"].map(|name| directory.path().join(name));
    let device = Device::open(&own).unwrap();
    let invitation = voter(&town, &device);
    let drawn = invitation
        .draw_telling(&mut StdRng::seed_from_u64(3), |_| {})
        .await;
    assert!(drawn.unwrap().is_some());
    copy(&own, &copied);
    // The copy's ballot came to P1 only, and its holder has gone.
    town.party(Role::P2).behave(Manner::Silent);
    let mut gone = Casting::begin(&town, &Device::open(&copied).unwrap());
    while brought(&town, Role::P1) != (1, 1) {
        gone.second().await;
        assert!(gone.passed < ATTEMPT.as_secs(), "{:?}", gone.notices);
    }
    gone.cast.abort();
    gone.release.send(()).unwrap();
    town.party(Role::P2).behave(Manner::Honest);
    let (cast, notices, passed) = Casting::begin(&town, &device).end().await;
    assert_eq!(cast.unwrap().accepted(), [Role::P1, Role::P2]);
    assert_eq!(notices, ["attempt 2"]);
    assert!(passed < ATTEMPT.as_secs(), "{passed}");
    assert_eq!(brought(&town, Role::P2).0, 2, "the next ticket, not a third");
}

#[tokio::test(start_paused = true)]
async fn a_party_that_tells_the_time_and_takes_nothing_burns_two_tickets_more_and_the_voter_votes_later() {
    let town = town(&[]).await;
    town.party(Role::P2).behave(Manner::Silent);
    town.party(Role::P3)
        .behave(Manner::Refusing(Reason::ShareUnopenable));
    let device = Device::in_memory();
    let (cast, notices, passed) = Casting::begin(&town, &device).end().await;
    assert!(matches!(cast, Err(CastError::TimeOut { .. })));
    // The first question for its time may take too long, and the voter is told whom it waits for.
    let attempts = notices.iter().filter(|told| told.starts_with("attempt"));
    assert_eq!(attempts.collect::<Vec<_>>(), ["attempt 2", "attempt 3"]);
    assert!(passed < 300, "{passed}");
    assert_eq!(brought(&town, Role::P1), (3, 3));
    town.party(Role::P2).behave(Manner::Honest);
    let (cast, ..) = Casting::begin(&town, &device).end().await;
    assert_eq!(cast.unwrap().accepted(), [Role::P1, Role::P2]);
    assert_eq!(brought(&town, Role::P1), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_took_keeps_its_ticket_whatever_one_party_says() {
    let town = town(&[]).await;
    for party in [Role::P1, Role::P2] {
        town.party(party).behave(Manner::Refusing(Reason::PartyBusy));
    }
    town.party(Role::P3).behave(Manner::Refusing(Reason::TicketSpent));
    let device = Device::in_memory();
    let mut casting = Casting::begin(&town, &device);
    casting.pass(3 * ATTEMPT.as_secs()).await;
    for party in [Role::P1, Role::P2] {
        town.party(party).behave(Manner::Honest);
    }
    let (cast, notices, _) = casting.end().await;
    assert_eq!(cast.unwrap().accepted(), [Role::P1, Role::P2]);
    assert!(notices.contains(&"attempt 3".to_owned()), "{notices:?}");
    let (tickets, ballots) = brought(&town, Role::P1);
    assert_eq!(tickets, 1, "{notices:?}");
    assert!(ballots >= 3, "{ballots}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_copy_of_the_device_spends_tickets_and_keeps_nobody_from_voting_with_the_next() {
    let town = town(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let [own, copied] = ["own", "copied"].map(|name| directory.path().join(name));
    let device = Device::open(&own).unwrap();
    let invitation = voter(&town, &device);
    let drawn = invitation
        .draw_telling(&mut StdRng::seed_from_u64(3), |_| {})
        .await;
    assert!(drawn.unwrap().is_some());
    copy(&own, &copied);
    let thief = Device::open(&copied).unwrap();
    // Each in turn meets tickets that the other has used: two parties say so, and the next one is taken.
    let mut digests = Vec::new();
    for (turn, of) in (0..).zip([&thief, &device, &thief, &device]) {
        match cast(&voter(&town, of), turn).await {
            Ok(cast) => digests.push((turn, cast.digest())),
            Err(CastError::Ticket(_)) => assert!(turn >= 2, "tickets are left in turn {turn}"),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(digests.len() >= 2, "{digests:?}");
    assert_eq!(digests[1].0, 1, "the owner votes with the next ticket");
    let spent = town.party(Role::P1).seen(|seen| seen.spent.len());
    assert_eq!(spent, digests.len(), "each ballot has a ticket of its own");
    assert!(brought(&town, Role::P1).1 > digests.len(), "a spent one was met");
    assert!(brought(&town, Role::P1).0 <= TICKETS as usize);
}

#[tokio::test]
async fn a_ticket_that_two_parties_call_spent_is_not_brought_again() {
    let town = town(&[]).await;
    for party in [Role::P1, Role::P2] {
        town.party(party).behave(Manner::Refusing(Reason::TicketSpent));
    }
    let at_once = Patience {
        give_up_after: Duration::from_secs(4),
        after_draw: Duration::ZERO,
    };
    let voter = voter(&town, &Device::in_memory()).with_patience(at_once);
    let error = cast(&voter, 1).await.unwrap_err();
    match &error {
        CastError::Refused { faults } => {
            let spent = faults.iter().map(Fault::reason);
            assert!(
                spent
                    .clone()
                    .filter(|reason| *reason == Reason::TicketSpent)
                    .count()
                    >= 2
            );
        }
        CastError::Ticket(_) => {}
        other => panic!("{other}"),
    }
    let (tickets, ballots) = brought(&town, Role::P1);
    assert_eq!(tickets, ballots, "another ticket each time");
    assert!(tickets > 1, "{tickets}");
}

/// A device whose tickets of the first of two days are used up, and the directory of its files.
async fn used_up_for_today() -> (Town, tempfile::TempDir) {
    let town = Town::open_with(&Agencies::new(1).with_tickets_of_two_days(), &[], &[]).await;
    let directory = tempfile::tempdir().unwrap();
    let device = Device::open(directory.path()).unwrap();
    let voter = voter(&town, &device);
    for turn in 0.. {
        // The cast of which no ticket is left.
        if let Err(error) = cast(&voter, turn).await {
            assert!(
                matches!(error, CastError::Ticket(tally_client::DrawError::UsedUp)),
                "{error}"
            );
            assert!(turn > 2, "{turn}");
            return (town, directory);
        }
    }
    unreachable!()
}

/// The tickets' files: names and contents.
fn purses(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut purses: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .filter(|(name, _)| name.starts_with("tickets-"))
        .collect();
    purses.sort();
    purses
}

fn counted(town: &Town) -> usize {
    town.draws.counted.lock().unwrap().len()
}

#[tokio::test]
async fn drawing_again_in_vain_leaves_the_tickets_of_later_days() {
    let (town, directory) = used_up_for_today().await;
    let before = purses(directory.path());
    town.draws.allowed.store(1, Ordering::Relaxed);
    let device = Device::open(directory.path()).unwrap();
    let mut rng = StdRng::seed_from_u64(20);
    let refused = voter(&town, &device).draw_again_telling(&mut rng, |_| {}).await;
    match refused.unwrap_err() {
        CastError::Ticket(error) => assert_eq!(error.reason(), Some(Reason::DrawExhausted), "{error}"),
        other => panic!("{other}"),
    }
    assert_eq!(purses(directory.path()), before, "as they were, and nothing else");
    // On the second day they are good.
    for party in &town.parties {
        party
            .skew_ms
            .store(1000 * (SECOND_DAY_S - NOON_S) as i64, Ordering::Relaxed);
    }
    let done = cast(&voter(&town, &Device::open(directory.path()).unwrap()), 21).await;
    assert!(done.unwrap().cast_at().get() >= SECOND_DAY_S);
    assert_eq!(counted(&town), 1);
}

#[tokio::test]
async fn a_draw_again_that_was_killed_is_gone_on_with_and_what_it_brought_is_kept() {
    let (town, directory) = used_up_for_today().await;
    let again = async |seed| {
        let device = Device::open(directory.path()).unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        voter(&town, &device).draw_again_telling(&mut rng, |_| {}).await
    };
    let before = purses(directory.path());
    // The coordinator counts the draw, and the device is killed before the answer comes.
    town.draws.is_silent.store(true, Ordering::Relaxed);
    tokio::select! {
        _ = again(30) => panic!("there is no answer"),
        () = async {
            while counted(&town) < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } => {}
    }
    let killed = purses(directory.path());
    assert_eq!(killed[0], before[0], "the tickets of before stay");
    assert_eq!(killed.len(), 2);
    town.draws.is_silent.store(false, Ordering::Relaxed);
    again(31).await.unwrap();
    assert_eq!(counted(&town), 2, "the same draw");
    let drawn = purses(directory.path());
    assert_eq!(drawn.len(), 1);
    assert_eq!((&drawn[0].0, drawn[0].1.len()), (&before[0].0, before[0].1.len()));
    assert_ne!(drawn, before);
    // Killed in the wait and run again: what was drawn and not used yet is not thrown away.
    again(32).await.unwrap();
    assert_eq!((counted(&town), purses(directory.path())), (2, drawn));
    let done = cast(&voter(&town, &Device::open(directory.path()).unwrap()), 33).await;
    assert!(done.unwrap().cast_at().get() < SECOND_DAY_S);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_hide_that_an_earlier_attempt_was_accepted() {
    let town = Town::open_with(&Agencies::new(1), &[], &[Role::P2]).await;
    town.party(Role::P3).behave(Manner::Refusing(Reason::PartyBusy));
    let mut casting = Casting::begin(&town, &Device::in_memory());
    casting.pass(20).await;
    assert_eq!(
        brought(&town, Role::P1).1,
        1,
        "P1 accepts the first attempt, and no other party"
    );
    for party in [Role::P1, Role::P3] {
        town.party(party)
            .behave(Manner::Refusing(Reason::BallotAfterClose));
    }
    // The first attempt is refused by one party only, and is cast anew; the second is refused by two.
    let (cast, notices, _) = casting.end().await;
    let error = cast.unwrap_err();
    let CastError::Open { earlier, faults } = &error else {
        panic!("{error}")
    };
    assert_eq!(notices, ["attempt 2"]);
    assert_eq!((earlier.len(), faults.len() >= 2), (1, true));
    assert_eq!(earlier[0].accepted, [Role::P1]);
    let of_first = town
        .party(Role::P1)
        .seen(|seen| seen.receipts.contains_key(&earlier[0].named.digest));
    assert!(of_first, "it is the one that was accepted");
    let said = error.to_string();
    assert!(
        said.contains("may count") && said.contains(&earlier[0].named.to_text()),
        "{said}"
    );
    assert!(!said.starts_with("the ballot was not accepted"), "{said}");
    assert_eq!(tally_client::cli::Failure::from(error).exit_code(), 5);
}

#[tokio::test]
async fn a_ballot_before_the_hours_spends_no_ticket_and_says_when_they_begin() {
    let agencies = Agencies::new(1).with_tickets();
    let town = Town::open_with(&agencies, &[], &[]).await;
    let directory = tempfile::tempdir().unwrap();
    let device = Device::open(directory.path()).unwrap();
    let voter = voter(&town, &device);
    // On the day of the first tickets.
    let early = OPENS_S as i64 - NOON_S as i64 - 300;
    let set = |ms: i64| {
        for party in &town.parties {
            party.skew_ms.store(ms, Ordering::Relaxed);
        }
    };
    set(1000 * early);
    voter
        .draw_telling(&mut StdRng::seed_from_u64(1), |_| {})
        .await
        .unwrap();
    let before = purses(directory.path());
    let mut online = town
        .election
        .manifest()
        .channel(ChannelKind::Online)
        .unwrap()
        .to_wire();
    online.openings[0].opens_s = OPENS_S - 400;
    let earlier = Change::Calendar(Channel::from_wire(&online).unwrap());
    let order =
        |countersigned: &[Role]| agencies.order(&town.signed, (1, None), earlier.clone(), countersigned);
    for shown in [vec![], vec![order(&[Role::P1, Role::P2])]] {
        // Who does not have all signatures moves no hours.
        town.party(Role::P2).show(&shown, &[]);
        let refused = cast(&voter, 2).await.unwrap_err();
        assert!(
            matches!(refused, CastError::Hours(TimingError::BeforeOpening { opens, .. }) if opens.get() == OPENS_S),
            "{refused}"
        );
        assert!(refused.to_string().contains("no ticket used"), "{refused}");
    }
    assert_eq!(brought(&town, Role::P1), (0, 0));
    assert_eq!(purses(directory.path()), before);
    // An order has moved the hours, and one party shows it: the ballot is sent. These parties go by the manifest alone.
    town.party(Role::P3).show(&[order(&Role::ALL)], &[]);
    let sent = cast(&voter, 3).await.unwrap_err();
    assert!(matches!(sent, CastError::Refused { .. }), "{sent}");
    let after = purses(directory.path());
    assert_ne!(after, before);
    set(1000 * (CLOSES_S as i64 - NOON_S as i64 + 60));
    // Connections keep the time that they agreed on for a while.
    let late = cast(&self::voter(&town, &device), 4).await.unwrap_err();
    assert!(
        matches!(late, CastError::Hours(TimingError::AfterClose { .. })),
        "{late}"
    );
    assert_eq!(purses(directory.path()), after);
}
