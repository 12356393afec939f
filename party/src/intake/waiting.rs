//! Answers that wait a moment for the others' receipts: a voter's device then knows after one round trip that its ballot is safe.
//!
//! The ballot is on disk and its receipt made before it comes here; what is waited for is that the two others' receipts are on disk as well. An answer
//! leaves when they are, or when its time is over, with what there is: then the device hands over what is missing, as it would without any of
//! this. Nobody is waited for who is known to be away, or whose receipts lately came late more often than not. Whoever has fallen so far is waited for
//! again only after a time that doubles with each fall, 2 s to 10 minutes, until it has been prompt for long; so one party can delay a voter by the
//! bounded time only, and not for long, however it mixes what it hands over with what it withholds.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tally_proto::ids::{Digest, Role, RoleExt as _};
use tally_proto::receipt::Receipt;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::writer::Outcome;

/// Best score of a party. It falls by one with every answer that waited for it in vain and rises with every one that did not.
const BEST: u32 = 64;
/// From here on it is waited for.
const PROMPT: u32 = BEST / 2;
/// How long a party is not waited for after its score has fallen below that: at first, and at most.
const PROBATION: Duration = Duration::from_secs(2);
const LONGEST_PROBATION: Duration = Duration::from_secs(600);
/// While nobody waits for it a party makes good one answer in such a time, however many receipts it hands over.
const MADE_GOOD_EVERY: Duration = Duration::from_secs(1);
/// How often what is overdue is looked at.
const TICK: Duration = Duration::from_millis(20);

/// Whose receipts, by party.
pub(super) type Stored = [bool; 3];

/// Number of the election, digest.
type Key = (u32, Digest);

/// The answers that wait, and what is known of the others' promptness.
#[derive(Debug)]
pub(crate) struct Waiting {
    own: Role,
    patience: Duration,
    peers: [Peer; 3],
    entries: Mutex<Entries>,
    begun: Notify,
}

#[derive(Debug)]
struct Peer(Mutex<Promptness>);

#[derive(Debug)]
struct Promptness {
    score: u32,
    is_away: bool,
    /// Nobody waits for it until then.
    until: Instant,
    /// How long the next time of that kind will be.
    probation: Duration,
    /// When something was made good while nobody waited.
    made_good: Option<Instant>,
}

impl Promptness {
    fn is_prompt(&self, now: Instant) -> bool {
        self.score >= PROMPT && !self.is_away && now >= self.until
    }

    fn in_time(&mut self) {
        self.score = (self.score + 1).min(BEST);
        if self.score == BEST {
            self.probation = PROBATION;
        }
    }

    fn late(&mut self, now: Instant) {
        let before = self.score;
        self.score = before.saturating_sub(1);
        if before >= PROMPT && self.score < PROMPT {
            self.until = now + self.probation;
            self.probation = (self.probation * 2).min(LONGEST_PROBATION);
        }
    }

    /// It has handed over something new.
    fn heard(&mut self, now: Instant) {
        self.is_away = false;
        let lately = self.made_good.is_some_and(|last| now < last + MADE_GOOD_EVERY);
        if self.score < PROMPT && !lately {
            self.made_good = Some(now);
            self.in_time();
        }
    }
}

#[derive(Debug, Default)]
struct Entries {
    by_ballot: HashMap<Key, Entry>,
    /// In the order of their ends; what is answered already is passed over.
    ends: VecDeque<(Instant, Key)>,
    /// The server is stopping: nothing waits any more.
    is_over: bool,
}

#[derive(Debug)]
struct Entry {
    ends: Instant,
    receipt: Receipt,
    stored: Stored,
    answers: Vec<oneshot::Sender<Outcome>>,
}

impl Entry {
    fn answer(self) {
        for answer in self.answers {
            // A caller that has gone away casts again and gets the stored receipt.
            let _ = answer.send(Outcome::accepted(self.receipt.clone(), self.stored));
        }
    }
}

impl Waiting {
    /// Answers of party `own` wait for `patience` at most.
    pub(super) fn new(own: Role, patience: Duration) -> Self {
        let peer = || {
            Peer(Mutex::new(Promptness {
                score: BEST,
                is_away: false,
                until: Instant::now(),
                probation: PROBATION,
                made_good: None,
            }))
        };
        Self {
            own,
            patience,
            peers: [peer(), peer(), peer()],
            entries: Mutex::default(),
            begun: Notify::new(),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peer(&self, party: Role) -> MutexGuard<'_, Promptness> {
        let Peer(promptness) = &self.peers[party.slot()];
        promptness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether receipts of `party` are worth waiting for.
    fn is_prompt(&self, party: Role) -> bool {
        self.peer(party).is_prompt(Instant::now())
    }

    fn lacks(&self, stored: Stored) -> bool {
        let mut others = Role::ALL.into_iter().filter(|party| *party != self.own);
        others.any(|party| !stored[party.slot()] && self.is_prompt(party))
    }

    /// The party takes what it is sent.
    pub(super) fn reached(&self, party: Role) {
        self.peer(party).is_away = false;
    }

    /// The party does not answer, or not in time.
    pub(super) fn away(&self, party: Role) {
        self.peer(party).is_away = true;
    }

    /// The party has handed over receipts that were not here before and are on disk now.
    pub(super) fn heard(&self, party: Role) {
        self.peer(party).heard(Instant::now());
    }

    /// The ballot and the receipts of `stored` are on disk: answers now, or when the others' are.
    pub(super) fn begin(
        &self,
        (number, receipt): (u32, Receipt),
        stored: Stored,
        answer: oneshot::Sender<Outcome>,
    ) {
        let key = (number, receipt.unverified().digest);
        let mut entries = self.entries();
        if let Some(entry) = entries.by_ballot.get_mut(&key) {
            entry.answers.push(answer);
            return;
        }
        let ends = Instant::now() + self.patience;
        let entry = Entry {
            ends,
            receipt,
            stored,
            answers: vec![answer],
        };
        if entries.is_over || self.patience.is_zero() || !self.lacks(stored) {
            drop(entries);
            entry.answer();
            return;
        }
        entries.by_ballot.insert(key, entry);
        entries.ends.push_back((ends, key));
        let first = entries.ends.len() == 1;
        drop(entries);
        if first {
            self.begun.notify_one();
        }
    }

    /// The receipts of these parties for these ballots are on disk.
    pub(super) fn stored(&self, receipts: impl Iterator<Item = (u32, Digest, Role)>) {
        let mut complete = Vec::new();
        let mut entries = self.entries();
        for (number, digest, party) in receipts {
            let key = (number, digest);
            let Some(entry) = entries.by_ballot.get_mut(&key) else {
                continue;
            };
            if !std::mem::replace(&mut entry.stored[party.slot()], true) {
                self.peer(party).in_time();
            }
            if !self.lacks(entry.stored) {
                complete.extend(entries.by_ballot.remove(&key));
            }
        }
        drop(entries);
        complete.into_iter().for_each(Entry::answer);
    }

    /// Answers what is overdue at `now`. Returns when the next one will be.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut overdue = Vec::new();
        let mut entries = self.entries();
        let next = loop {
            let Some(&(ends, key)) = entries.ends.front() else {
                break None;
            };
            let waits = entries
                .by_ballot
                .get(&key)
                .is_some_and(|entry| entry.ends == ends);
            if waits && ends > now {
                break Some(ends);
            }
            entries.ends.pop_front();
            if waits {
                overdue.extend(entries.by_ballot.remove(&key));
            }
        };
        drop(entries);
        for entry in &overdue {
            for party in Role::ALL {
                if party != self.own && !entry.stored[party.slot()] {
                    self.peer(party).late(now);
                }
            }
        }
        overdue.into_iter().for_each(Entry::answer);
        next
    }

    /// Sees to it that every answer leaves in time; has no end of its own.
    pub(super) async fn keep_time(&self) {
        loop {
            match self.expire(Instant::now()) {
                Some(next) => tokio::time::sleep_until(next.max(Instant::now() + TICK)).await,
                None => self.begun.notified().await,
            }
        }
    }

    /// All answers leave at once, and whatever comes later does not wait.
    pub(super) fn end(&self) {
        let left = {
            let mut entries = self.entries();
            entries.is_over = true;
            std::mem::take(&mut entries.by_ballot)
        };
        left.into_values().for_each(Entry::answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tally_proto::envelope::Signer;
    use tally_proto::ids::{BoxId, ElectionId, Hash32, UnixSeconds};
    use tally_proto::receipt::Acceptance;

    const PATIENCE: Duration = Duration::from_millis(250);

    fn receipt(n: u8) -> Receipt {
        let acceptance = Acceptance {
            election: ElectionId::new("ward-7").expect("slug"),
            of_box: BoxId(1),
            party: Role::P1,
            digest: Digest([n; 32]),
            ciphertext_hash: Hash32([2; 32]),
            received_at: UnixSeconds(3),
            position: 4,
        };
        acceptance.sign(&Signer::from_seed(&[1; 32]).expect("a seed"))
    }

    /// Begins to wait with ballot `n`.
    fn begin(waiting: &Waiting, n: u8, stored: Stored) -> oneshot::Receiver<Outcome> {
        let (answer, outcome) = oneshot::channel();
        waiting.begin((1, receipt(n)), stored, answer);
        outcome
    }

    /// What the answer says is stored; `None` while it waits.
    fn told(outcome: &mut oneshot::Receiver<Outcome>) -> Option<Stored> {
        match outcome.try_recv() {
            Ok(Outcome::Accepted(accepted)) => Some(accepted.1),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }

    fn store(waiting: &Waiting, n: u8, party: Role) {
        waiting.stored([(1, Digest([n; 32]), party)].into_iter());
    }

    #[test]
    fn an_answer_leaves_when_both_others_receipts_are_there() {
        let waiting = Waiting::new(Role::P1, PATIENCE);
        let mut outcome = begin(&waiting, 7, [false; 3]);
        let mut again = begin(&waiting, 7, [false; 3]);
        store(&waiting, 8, Role::P2);
        store(&waiting, 7, Role::P2);
        store(&waiting, 7, Role::P2);
        assert_eq!(told(&mut outcome), None);
        store(&waiting, 7, Role::P3);
        assert_eq!(told(&mut outcome), Some([false, true, true]));
        assert_eq!(told(&mut again), Some([false, true, true]));
        // Came early, with the ballot's own transaction.
        let mut outcome = begin(&waiting, 9, [false, true, true]);
        assert_eq!(told(&mut outcome), Some([false, true, true]));
        assert!(waiting.entries().by_ballot.is_empty());
        let mut never = begin(&Waiting::new(Role::P1, Duration::ZERO), 1, [false; 3]);
        assert_eq!(told(&mut never), Some([false; 3]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_leaves_when_its_time_is_over_with_what_there_is() {
        let waiting = Arc::new(Waiting::new(Role::P2, PATIENCE));
        let keeper = {
            let waiting = Arc::clone(&waiting);
            tokio::spawn(async move { waiting.keep_time().await })
        };
        let began = Instant::now();
        for n in 0..3 {
            let outcome = begin(&waiting, n, [false; 3]);
            store(&waiting, n, Role::P3);
            let Ok(Outcome::Accepted(accepted)) = outcome.await else {
                panic!("no answer");
            };
            assert_eq!(accepted.1, [false, false, true]);
        }
        assert!(began.elapsed() >= 3 * PATIENCE && began.elapsed() <= 3 * (PATIENCE + 2 * TICK));
        assert!(waiting.entries().ends.is_empty());
        // Whatever waits at the end is answered.
        let left = begin(&waiting, 9, [false; 3]);
        waiting.end();
        keeper.abort();
        assert!(matches!(left.await, Ok(Outcome::Accepted(_))));
        assert!(
            told(&mut begin(&waiting, 10, [false; 3])).is_some(),
            "and whatever comes then"
        );
    }

    /// How many answers wait in vain for P3 before nobody waits for it.
    fn late(waiting: &Waiting) -> u32 {
        let mut late = 0;
        while told(&mut begin(waiting, 3, [false, true, false])).is_none() {
            assert_eq!(waiting.expire(Instant::now() + 2 * PATIENCE), None);
            late += 1;
            assert!(late <= BEST, "waited for without end");
        }
        late
    }

    #[tokio::test(start_paused = true)]
    async fn a_party_that_is_away_or_mostly_late_is_not_waited_for_until_it_is_heard_again() {
        let waiting = Waiting::new(Role::P1, PATIENCE);
        let waits = |n| told(&mut begin(&waiting, n, [false, true, false])).is_none();
        assert!(waits(0));
        waiting.away(Role::P3);
        assert!(!waits(1));
        waiting.reached(Role::P3);
        assert!(waits(2));
        // It withholds what it was given: after so many in vain nobody waits for it.
        assert!(late(&waiting) > BEST / 4);
        // Of P2 nothing bad is known.
        assert!(told(&mut begin(&waiting, 4, [false, false, false])).is_none());
        // One thing made good is enough, but not at once.
        waiting.heard(Role::P3);
        assert!(!waits(5));
        tokio::time::advance(2 * PROBATION).await;
        assert!(waits(6));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_withholds_and_hands_over_in_turn_is_waited_for_less_and_less() {
        let waiting = Waiting::new(Role::P1, PATIENCE);
        late(&waiting);
        // Ten minutes in which it hands something new over ten times a second and withholds all that anybody waits for.
        let mut in_vain = 0;
        for _ in 0..6000 {
            waiting.heard(Role::P3);
            in_vain += late(&waiting);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        // After 2, 6, 14, .. 510 s: eight times at most, of one answer each, where it was 6000 before.
        assert!((1..=8).contains(&in_vain), "{in_vain}");
        // Once it is prompt for as long as that takes it is believed as at first.
        tokio::time::advance(LONGEST_PROBATION).await;
        for n in 0..=u8::try_from(BEST).expect("few") {
            waiting.heard(Role::P3);
            drop(begin(&waiting, n, [false, true, false]));
            store(&waiting, n, Role::P3);
        }
        late(&waiting);
        waiting.heard(Role::P3);
        tokio::time::advance(2 * PROBATION).await;
        assert!(told(&mut begin(&waiting, 9, [false, true, false])).is_none());
    }

    #[test]
    fn what_is_answered_leaves_nothing_behind() {
        let waiting = Waiting::new(Role::P1, PATIENCE);
        for n in 0..100 {
            drop(begin(&waiting, n, [false; 3]));
            store(&waiting, n, Role::P2);
            store(&waiting, n, Role::P3);
        }
        assert!(waiting.entries().by_ballot.is_empty());
        assert_eq!(waiting.expire(Instant::now()), None);
        assert!(waiting.entries().ends.is_empty());
    }
}
