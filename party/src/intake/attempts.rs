//! How often the owner of a ticket has had a ciphertext opened.
//!
//! A good ticket with its owner's signature costs this party a decryption, whether or not anything comes of it: else one ticket would buy any
//! number. It is counted only after that signature was checked, so whoever has copied a ticket uses up nothing of it. In memory, and bounded: a
//! ticket that is pushed out, by as many others as there is room for, begins anew.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::store::tickets::TicketKey;

/// A device needs one; some more for one that was cut off before its receipt came.
pub(super) const MOST: u8 = 16;
/// How often a ticket gets back what was opened in vain, as this party put the ballot off for a reason of its own (no room, no place): a device tries the
/// same ballot some 16 times a minute, for ten minutes. No more, or one ticket would buy any number after all.
const MOST_PUT_OFF: u8 = 200;
/// Tickets that are counted at once: 4 MiB.
const TICKETS: usize = 1 << 16;

/// Counts by ticket.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    of: HashMap<TicketKey, Count>,
    order: VecDeque<TicketKey>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    opened: u8,
    put_off: u8,
}

impl Attempts {
    /// Whether the ticket has had as many as there are: asked before anything is checked.
    pub(super) fn used_up(&self, ticket: &TicketKey) -> bool {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.of.get(ticket).is_some_and(|count| count.opened >= MOST)
    }

    /// Counts one more; `false`, where the ticket has had as many as there are already. Its owner's signature was checked. However many come at
    /// once, no more than [`MOST`] are opened.
    #[must_use]
    pub(super) fn take(&self, ticket: TicketKey) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &mut *counts;
        if let Some(count) = counts.of.get_mut(&ticket) {
            let is_left = count.opened < MOST;
            count.opened += u8::from(is_left);
            return is_left;
        }
        if counts.order.len() >= TICKETS
            && let Some(oldest) = counts.order.pop_front()
        {
            counts.of.remove(&oldest);
        }
        let first = Count {
            opened: 1,
            put_off: 0,
        };
        counts.of.insert(ticket, first);
        counts.order.push_back(ticket);
        true
    }

    /// What was counted last came to nothing by this party's own doing: it is not its owner's.
    pub(super) fn put_off(&self, ticket: &TicketKey) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.of.get_mut(ticket)
            && count.put_off < MOST_PUT_OFF
        {
            count.put_off += 1;
            count.opened = count.opened.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_used_up_and_no_other_is_and_memory_is_bounded() {
        let attempts = Attempts::default();
        let ticket = |n: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_be_bytes());
            key
        };
        for _ in 0..MOST {
            assert!(!attempts.used_up(&ticket(0)));
            assert!(attempts.take(ticket(0)));
        }
        assert!(attempts.used_up(&ticket(0)) && !attempts.used_up(&ticket(1)));
        assert!(!attempts.take(ticket(0)));
        for n in 1..TICKETS as u32 {
            assert!(attempts.take(ticket(n)));
        }
        assert!(attempts.used_up(&ticket(0)));
        assert!(attempts.take(ticket(u32::MAX)));
        assert!(!attempts.used_up(&ticket(0)));
        let counts = attempts.0.lock().expect("one thread");
        assert_eq!((counts.of.len(), counts.order.len()), (TICKETS, TICKETS));
    }

    #[test]
    fn what_the_party_puts_off_uses_nothing_up_so_many_times() {
        let (attempts, ticket) = (Attempts::default(), [7; 32]);
        // Of a ticket that was never opened there is nothing to give back.
        attempts.put_off(&ticket);
        for _ in 0..MOST_PUT_OFF {
            assert!(attempts.take(ticket));
            attempts.put_off(&ticket);
            assert!(!attempts.used_up(&ticket));
        }
        let more = (0..).take_while(|_| {
            let goes = attempts.take(ticket);
            attempts.put_off(&ticket);
            goes
        });
        assert_eq!(more.count(), usize::from(MOST));
    }
}
