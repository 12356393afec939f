//! Whether what a definition gives out can fill a box, and what a person is told about that before anything is published.
//!
//! A box takes no more than can be published (`box.full`), so whoever can send so many ballots ends online voting for it. Tickets are the bound: there
//! must not be more of them than the box takes.

use tally_proto::calendar::ChannelKind;
use tally_proto::ids::BoxId;
use tally_proto::manifest::{BallotBox, Manifest};

use crate::progress::grouped;

/// The tickets of a box's voters are more than it takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the voters of box {of_box} ({name}) may draw {each} tickets each, {all} in all, and the box takes {takes} online ballots: {fillers} of its {voters} voters \
     could fill it and leave the others no online vote; in [tickets], let per_day times days times draws be {fits} at most, raise max_ballots where the box states it, or split the box", all = grouped(*all),
    takes = grouped(*takes), fillers = grouped(*fillers), voters = grouped(*voters)
)]
pub struct TooManyTickets {
    of_box: BoxId,
    name: String,
    voters: u64,
    each: u64,
    all: u64,
    takes: u64,
    fillers: u64,
    fits: u64,
}

fn online(of_box: &BallotBox) -> u64 {
    of_box.capacity().online
}

/// Refuses allowances that could fill a box.
///
/// # Errors
/// [`TooManyTickets`], of the first box.
pub fn check(manifest: &Manifest) -> Result<(), TooManyTickets> {
    let Some(ticketing) = manifest.ticketing() else {
        return Ok(());
    };
    let each = ticketing.drawn() as u64 * u64::from(ticketing.draws());
    for of_box in manifest.boxes() {
        let (voters, takes) = (u64::from(of_box.voters()), online(of_box));
        let all = voters.saturating_mul(each);
        if all > takes {
            return Err(TooManyTickets {
                of_box: of_box.id(),
                name: of_box.name().default_text().to_owned(),
                voters,
                each,
                all,
                takes,
                fillers: takes.div_ceil(each),
                fits: takes / voters.max(1),
            });
        }
    }
    Ok(())
}

/// What whoever defines the election is told of floods.
pub fn warnings(manifest: &Manifest) -> Vec<String> {
    if manifest.channel(ChannelKind::Online).is_none() {
        return Vec::new();
    }
    let Some(smallest) = manifest.boxes().iter().min_by_key(|of_box| online(of_box)) else {
        return Vec::new();
    };
    let (of_box, takes) = (smallest.id(), online(smallest));
    let Some(ticketing) = manifest.ticketing() else {
        return vec![format!(
            "No tickets are asked for, so anybody at all can send ballots. After {} of them box {of_box} takes no more online \
             (box.full, which is final), and nobody can vote there online again, nor revote. Ask for tickets \
             ([tickets]) unless nobody gains by that.",
            grouped(takes)
        )];
    };
    // A ticket names no box.
    let each = ticketing.drawn() as u64 * u64::from(ticketing.draws());
    let others = manifest
        .boxes()
        .iter()
        .map(|of_box| u64::from(of_box.voters()))
        .sum::<u64>();
    let fillers = takes.div_ceil(each.max(1));
    if manifest.boxes().len() < 2 || fillers > others {
        return Vec::new();
    }
    vec![format!(
        "Tickets are good in every box: {} voters of any boxes who use all of theirs ({each} each) in box {of_box} fill it ({} online ballots). Fewer \
         tickets a voter, or larger boxes, make that harder.",
        grouped(fillers),
        grouped(takes)
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_proto::fixture::{Shape, World};
    use tally_proto::wire;

    fn manifest(tickets: bool, change: impl FnOnce(&mut wire::Manifest)) -> Manifest {
        let world = World::new(Shape {
            tickets,
            ..Shape::default()
        });
        let mut wire = world.manifest.manifest().to_wire();
        change(&mut wire);
        Manifest::from_wire(&wire).expect("a manifest")
    }

    #[test]
    fn no_more_tickets_are_given_out_than_a_box_takes() {
        let plain = manifest(true, |_| {});
        check(&plain).expect("some tickets, millions of ballots");
        let ticketing = plain.ticketing().expect("tickets");
        let each = ticketing.drawn() as u64 * u64::from(ticketing.draws());
        let of = &plain.boxes()[0];
        let (voters, id) = (u64::from(of.voters()), of.id());
        // Half of a box is for online ballots.
        let tight = |ballots: u64| {
            manifest(true, |m| {
                m.boxes[0].max_ballots = u32::try_from(ballots).expect("few");
            })
        };
        check(&tight(2 * voters * each)).expect("one for each ticket");
        let refused = check(&tight(2 * voters * each - 2)).expect_err("one too few");
        assert_eq!(
            (refused.of_box, refused.all, refused.takes, refused.fits),
            (id, voters * each, voters * each - 1, each - 1)
        );
        let told = refused.to_string();
        assert!(told.contains(&format!("may draw {each} tickets each")), "{told}");
        assert!(told.contains("raise max_ballots"), "{told}");
    }

    #[test]
    fn whoever_defines_is_told_that_anybody_can_fill_a_box() {
        let told = warnings(&manifest(false, |_| {}));
        assert_eq!(told.len(), 1);
        let takes = manifest(false, |_| {})
            .boxes()
            .iter()
            .map(online)
            .min()
            .expect("boxes");
        assert!(
            told[0].contains(&format!("After {} of them", grouped(takes))),
            "{}",
            told[0]
        );
        assert!(told[0].contains("[tickets]"), "{}", told[0]);
        assert_eq!(
            warnings(&manifest(true, |_| {})),
            Vec::<String>::new(),
            "few voters, few tickets"
        );
        // Voters of the other box could fill a small one.
        let small = manifest(true, |m| {
            m.boxes[0].voters = 100_000;
            m.boxes[0].index_bits = 17;
            m.boxes[1].max_ballots = 100;
        });
        let told = warnings(&small);
        assert!(
            told[0].contains("good in every box") && told[0].contains("(50 online ballots)"),
            "{told:?}"
        );
        let offline = manifest(false, |m| {
            m.channels.remove(0);
        });
        assert_eq!(warnings(&offline), Vec::<String>::new());
    }
}
