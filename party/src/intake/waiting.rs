//! Answers that wait a moment for the others' receipts: a voter's device then knows after one round trip that its ballot is safe.
//!
//! The ballot is on disk and its receipt made before it comes here; what is waited for is that the two others' receipts are on disk as well. An answer
//! leaves when they are, or when its time is over, with what there is: then the device hands over what is missing, as it would without any of
//! this. Nobody is waited for who is known to be away, or whose receipts lately came late more often than not, so one party can delay a
//! voter by the bounded time only, and not for long.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
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
struct Peer {
    score: AtomicU32,
    away: AtomicBool,
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
        let peer = || Peer {
            score: AtomicU32::new(BEST),
            away: AtomicBool::new(false),
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

    fn peer(&self, party: Role) -> &Peer {
        &self.peers[party.slot()]
    }

    /// Whether receipts of `party` are worth waiting for.
    fn is_prompt(&self, party: Role) -> bool {
        let peer = self.peer(party);
        peer.score.load(Relaxed) >= PROMPT && !peer.away.load(Relaxed)
    }

    fn lacks(&self, stored: Stored) -> bool {
        let mut others = Role::ALL.into_iter().filter(|party| *party != self.own);
        others.any(|party| !stored[party.slot()] && self.is_prompt(party))
    }

    fn rate(&self, party: Role, in_time: bool) {
        let rated = |score: u32| {
            Some(if in_time {
                (score + 1).min(BEST)
            } else {
                score.saturating_sub(1)
            })
        };
        // The closure never says no.
        let _ = self.peer(party).score.fetch_update(Relaxed, Relaxed, rated);
    }

    /// The party takes what it is sent.
    pub(super) fn reached(&self, party: Role) {
        self.peer(party).away.store(false, Relaxed);
    }

    /// The party does not answer, or not in time.
    pub(super) fn away(&self, party: Role) {
        self.peer(party).away.store(true, Relaxed);
    }

    /// The party has handed over receipts that are on disk now.
    pub(super) fn heard(&self, party: Role) {
        self.reached(party);
        if self.peer(party).score.load(Relaxed) < PROMPT {
            self.rate(party, true);
        }
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
                self.rate(party, true);
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
                    self.rate(party, false);
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

    #[test]
    fn a_party_that_is_away_or_mostly_late_is_not_waited_for_until_it_is_heard_again() {
        let waiting = Waiting::new(Role::P1, PATIENCE);
        let waits = |n| told(&mut begin(&waiting, n, [false, true, false])).is_none();
        assert!(waits(0));
        waiting.away(Role::P3);
        assert!(!waits(1));
        waiting.reached(Role::P3);
        assert!(waits(2));
        // It withholds what it was given: after so many in vain nobody waits for it.
        let mut late = 0;
        while waits(3) {
            let after = Instant::now() + 2 * PATIENCE;
            assert_eq!(waiting.expire(after), None);
            late += 1;
            assert!(late <= BEST, "waited for without end");
        }
        assert!(late > BEST / 4);
        // Of P2 nothing bad is known.
        assert!(told(&mut begin(&waiting, 4, [false, false, false])).is_none());
        for _ in 0..=PROMPT {
            waiting.heard(Role::P3);
        }
        assert!(waits(5));
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
