//! So many places, shared out: whoever has most gives one up for whoever has fewer.
//!
//! A caller may have all places while nobody else wants one, so relays and networks of many voters are served as fast as single voters. When all are
//! taken, a newcomer gets a place of the caller with most: the one that has waited longest for its message, else the newest. No caller can therefore
//! keep another from having as many places as itself.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Callers that are looked at for a place that may be had.
const LOOKED_AT: usize = 8;

/// Places of callers `K`.
#[derive(Debug)]
pub struct Places<K: Ord> {
    capacity: usize,
    taken: Mutex<Taken<K>>,
}

#[derive(Debug)]
struct Taken<K> {
    of: BTreeMap<K, Held>,
    by_count: BTreeSet<(usize, K)>,
    count: usize,
    next: u64,
}

/// Places of one caller, by number; each with the means to end it.
#[derive(Debug, Default)]
struct Held {
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
    settled: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Held {
    fn count(&self) -> usize {
        self.waiting.len() + self.settled.len()
    }
}

/// A place, given back when dropped.
#[derive(Debug)]
pub struct Place<K: Ord + Clone> {
    places: Arc<Places<K>>,
    of: K,
    number: u64,
}

/// Tells when a place was given to somebody else.
#[derive(Debug)]
pub struct Lost(oneshot::Receiver<()>);

impl Lost {
    /// Ends when the place was given to somebody else, and never if it was given back.
    pub async fn lost(self) {
        if self.0.await.is_err() {
            pending().await
        }
    }
}

impl<K: Ord + Clone> Taken<K> {
    fn count_of(&self, of: &K) -> usize {
        self.of.get(of).map_or(0, Held::count)
    }

    fn put(&mut self, of: &K, number: u64, end: oneshot::Sender<()>) {
        let before = self.count_of(of);
        self.of.entry(of.clone()).or_default().waiting.insert(number, end);
        self.recount(of, before);
    }

    fn remove(&mut self, of: &K, number: u64) -> Option<oneshot::Sender<()>> {
        let before = self.count_of(of);
        let held = self.of.get_mut(of)?;
        let end = held
            .waiting
            .remove(&number)
            .or_else(|| held.settled.remove(&number))?;
        self.recount(of, before);
        Some(end)
    }

    fn recount(&mut self, of: &K, before: usize) {
        let now = self.count_of(of);
        self.by_count.remove(&(before, of.clone()));
        if now == 0 {
            self.of.remove(of);
        } else {
            self.by_count.insert((now, of.clone()));
        }
        self.count = self.count + now - before;
    }

    /// The place that makes room for a newcomer of `of`, if there is one.
    fn to_give_way(&self, of: &K) -> Option<(K, u64)> {
        let own = self.count_of(of);
        let larger = (self.by_count.iter().rev()).take_while(|(count, _)| *count > own);
        let other = larger.take(LOOKED_AT).find_map(|(count, other)| {
            let held = self.of.get(other)?;
            let oldest = held.waiting.first_key_value();
            // Of one more than the newcomer has, only what waits: two callers shall not take the same place from each other for ever.
            let newest = held.settled.last_key_value().filter(|_| *count > own + 1);
            oldest.or(newest).map(|(number, _)| (other.clone(), *number))
        });
        other.or_else(|| {
            let (number, _) = self.of.get(of)?.waiting.first_key_value()?;
            Some((of.clone(), *number))
        })
    }
}

impl<K: Ord + Clone> Places<K> {
    /// So many places.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            taken: Mutex::new(Taken {
                of: BTreeMap::new(),
                by_count: BTreeSet::new(),
                count: 0,
                next: 0,
            }),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many are taken.
    pub fn count(&self) -> usize {
        self.taken().count
    }

    /// A place for `of`, which waits until it is [settled](Place::settle); `None` when all are taken and nobody has more than `of`. Says besides
    /// whether somebody lost one for it.
    pub fn take(self: &Arc<Self>, of: K) -> Option<(Place<K>, Lost, bool)> {
        let mut taken = self.taken();
        let given_way = if taken.count < self.capacity {
            None
        } else {
            let (other, number) = taken.to_give_way(&of)?;
            taken.remove(&other, number)
        };
        let number = taken.next;
        taken.next += 1;
        let (end, lost) = oneshot::channel();
        taken.put(&of, number, end);
        drop(taken);
        let is_of_another = given_way.is_some();
        if let Some(end) = given_way {
            // Whoever has just given it back need not be told.
            let _ = end.send(());
        }
        let places = Arc::clone(self);
        Some((Place { places, of, number }, Lost(lost), is_of_another))
    }
}

impl<K: Ord + Clone> Place<K> {
    /// A place beside it, of the same caller; `None` as with [`Places::take`].
    pub fn another(&self) -> Option<(Self, Lost, bool)> {
        self.places.take(self.of.clone())
    }

    /// It waits for nothing of its caller's any more.
    pub fn settle(&self) {
        let mut taken = self.places.taken();
        if let Some(held) = taken.of.get_mut(&self.of)
            && let Some(end) = held.waiting.remove(&self.number)
        {
            held.settled.insert(self.number, end);
        }
    }
}

impl<K: Ord + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        // It is not there any more if it was lost.
        self.places.taken().remove(&self.of, self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    type Of = (Place<u8>, Lost);

    fn take(places: &Arc<Places<u8>>, of: u8) -> Option<Of> {
        places.take(of).map(|(place, lost, _)| (place, lost))
    }

    fn many(places: &Arc<Places<u8>>, of: u8, count: usize) -> Vec<Of> {
        (0..count).map(|_| take(places, of).expect("a place")).collect()
    }

    fn is_lost(of: Of) -> bool {
        of.1.lost().now_or_never().is_some()
    }

    #[test]
    fn one_may_have_all_and_gives_up_what_others_are_due() {
        let places = Places::new(8);
        let mut flood = many(&places, 1, 8);
        for (place, _) in &flood[2..] {
            place.settle();
        }
        // What waits longest goes first, then the newest of the others.
        let mut voters = many(&places, 2, 1);
        assert!(is_lost(flood.remove(0)));
        voters.extend(many(&places, 3, 1));
        assert!(is_lost(flood.remove(0)));
        voters.extend(many(&places, 4, 1));
        assert!(is_lost(flood.pop().expect("some")));
        assert_eq!((places.count(), flood.len()), (8, 5));
        // Each may have as many as the one with most, and no more.
        voters.extend(many(&places, 2, 2));
        for (place, _) in &voters {
            place.settle();
        }
        assert_eq!(places.taken().count_of(&1), 3);
        assert_eq!(places.taken().count_of(&2), 3);
        assert!(take(&places, 1).is_none(), "as many as anybody");
        assert!(take(&places, 2).is_none());
        drop((flood, voters));
        assert_eq!(places.count(), 0);
        let taken = places.taken();
        assert!(taken.of.is_empty() && taken.by_count.is_empty(), "nobody is kept");
    }

    #[test]
    fn among_its_own_what_waits_gives_way_and_what_is_settled_does_not() {
        let places = Places::new(3);
        let mut own = many(&places, 1, 3);
        own[0].0.settle();
        let newer = take(&places, 1).expect("the oldest that waits gives way");
        assert!(is_lost(own.remove(1)));
        for (place, _) in own.iter().chain([&newer]) {
            place.settle();
        }
        assert!(take(&places, 1).is_none());
        assert!(!is_lost(newer) && own.into_iter().all(|of| !is_lost(of)));
    }

    #[test]
    fn two_with_the_same_do_not_take_from_each_other_for_ever() {
        let places = Places::new(2);
        let one = take(&places, 1).expect("a place");
        let two = take(&places, 2).expect("a place");
        one.0.settle();
        two.0.settle();
        assert!(take(&places, 3).is_none(), "each has one, and works at it");
        assert!(!is_lost(one) && !is_lost(two));
        // Callers of one place each that only wait give way.
        let _held = [take(&places, 1), take(&places, 2)];
        assert!(take(&places, 3).is_some());
    }

    #[tokio::test]
    async fn a_place_that_was_given_back_is_not_lost() {
        let places = Places::new(1);
        let (place, lost) = take(&places, 1).expect("a place");
        drop(place);
        assert!(lost.lost().now_or_never().is_none());
        assert!(take(&places, 2).is_some());
    }
}
