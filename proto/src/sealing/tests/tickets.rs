//! Tickets in the Seal: what anyone can check again, and one ballot a ticket.

use super::*;
use crate::ticket::Ticket;

fn with_tickets() -> World {
    World::new(Shape {
        tickets: true,
        ..Shape::default()
    })
}

/// An online ballot with this ticket.
fn ticketed(world: &World, salt: u8, cast_at: u64, ticket: &Ticket, listed: [bool; 3]) -> Ballot {
    let plain = ballot(world, salt, cast_at, None, listed);
    let (header, signature) = plain.public;
    Listed {
        public: (header.with_ticket(ticket.clone()), signature),
        listed,
    }
}

fn reason_of(sealed: &Sealed, of: &Ballot) -> Option<Reason> {
    let exclusions = &sealed.seal.exclusions;
    exclusions
        .iter()
        .find(|e| e.digest == digest(of))
        .map(|e| e.reason)
}

#[test]
fn of_several_ballots_with_one_ticket_the_lowest_digest_stays() {
    let mut world = with_tickets();
    let (one, other) = (world.ticket(UnixSeconds(OPENS)), world.ticket(UnixSeconds(OPENS)));
    // A malicious party accepted what two honest ones split between them: all are candidates.
    let mut same: Vec<Ballot> = (1..=5u8)
        .map(|salt| {
            let listed = if salt % 2 == 0 {
                [true, true, false]
            } else {
                [true, false, true]
            };
            ticketed(&world, salt, OPENS + u64::from(salt), one.ticket(), listed)
        })
        .collect();
    let single = ticketed(&world, 9, OPENS, other.ticket(), ALL);
    let at_station = ballot(&world, 10, OPENS, Some((1, 1, false)), ALL);
    same.sort_by_key(digest);
    let mut all = same.clone();
    all.extend([single.clone(), at_station.clone()]);
    let sealed = seal(&world, &all, &[]);
    assert_eq!(sealed.rows.len(), 3);
    assert!(sealed.rows.contains(&digest(&same[0])), "the lowest digest");
    assert!(sealed.rows.contains(&digest(&single)) && sealed.rows.contains(&digest(&at_station)));
    for spent in &same[1..] {
        assert_eq!(reason_of(&sealed, spent), Some(Reason::TicketSpent));
    }
    // Alone, each of them stands: an honest ballot is never out because of its ticket.
    for alone in &same {
        assert_eq!(
            seal(&world, std::slice::from_ref(alone), &[]).rows,
            [digest(alone)]
        );
    }
}

#[test]
fn a_ballot_without_a_good_ticket_is_out_whoever_accepted_it() {
    let mut world = with_tickets();
    let today = world.ticket(UnixSeconds(OPENS));
    let tomorrow = world.ticket(UnixSeconds(crate::fixture::CLOSES));
    let mut forged = today.ticket().to_wire();
    forged.randomizer[0] ^= 1;
    let forged = Ticket::from_wire(&forged).expect("a form");
    let good = ticketed(&world, 1, OPENS, today.ticket(), ALL);
    let cases = [
        (ballot(&world, 2, OPENS, None, ALL), Reason::TicketMissing),
        (ticketed(&world, 3, OPENS, &forged, ALL), Reason::TicketBad),
        (
            ticketed(&world, 4, OPENS, tomorrow.ticket(), ALL),
            Reason::TicketOtherDay,
        ),
    ];
    let mut all: Vec<Ballot> = cases.iter().map(|(b, _)| b.clone()).collect();
    all.push(good.clone());
    let sealed = seal(&world, &all, &[]);
    assert_eq!(sealed.rows, [digest(&good)]);
    for (of, reason) in &cases {
        assert_eq!(reason_of(&sealed, of), Some(*reason));
    }
    // A forged copy does not take the true one's place, whichever digest is lower.
    for salt in 20..40 {
        let copy = ticketed(&world, salt, OPENS, &forged, ALL);
        let sealed = seal(&world, &[good.clone(), copy.clone()], &[]);
        assert_eq!(sealed.rows, [digest(&good)]);
    }
}
