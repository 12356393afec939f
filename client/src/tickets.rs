//! The tickets of a device: drawn once for the whole period, kept, and used up one ballot at a time.
//!
//! ```text
//! <state>/tickets-<manifest>   a line of text, then
//!   drawing: one seed of 32 bytes: a draw is under way, and the same seed asks the same again
//!   drawn:   one slot of 328 bytes a ticket: seed of the one-time key, day, randomizer, signature; zeros once it is spent
//! ```
//!
//! The file belongs to an election, not to an invitation: a true invitation and a decoy carry the same draw code, draw alike and spend the
//! same tickets. Its length never changes. With every cast some further tickets of the day are thrown away, a random number each time, so how
//! many are left does not say how many ballots were cast. A ticket is taken out, durably, before its ballot leaves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::{CryptoRng, RngExt as _};
use tally_proto::ids::UnixSeconds;
use tally_proto::invitation::Invitation;
use tally_proto::reason::{Class, Reason};
use tally_proto::refusal::Refusal;
use tally_proto::ticket::{Draw, OwnTicket, TicketError, Ticketing};
use tally_proto::wire;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::connections::Connections;
use crate::device::Lock;
use crate::disk::{Disk, erase, replace};
use crate::election::Election;

const DRAWING: &str = "tally-tickets 1 drawing\n";
const DRAWN: &str = "tally-tickets 1 drawn  \n";
const SEED: usize = 32;
/// So many of a day are never thrown away.
const KEPT: usize = 3;
/// A draw signs hundreds of tickets, and waits for its turn.
const DRAW_LIMIT: Duration = Duration::from_secs(60);

/// Why there is no ticket.
#[derive(Debug, Error)]
pub enum DrawError {
    /// The device's memory.
    #[error("cannot use the device's tickets {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The content is not what this program writes.
    #[error("the device's tickets {path} are damaged; remove the file, then tickets are drawn again")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The invitation has no draw code.
    #[error(
        "this election asks for tickets, and the invitation has no draw code: use the whole code or link, and both halves if it came in two"
    )]
    NoCode,
    /// No ticket is left for this day.
    #[error(
        "this device has used up its tickets for today. Draw again with --draw-again, wait for tomorrow, or vote at a polling station"
    )]
    UsedUp,
    /// The coordinator does not hand any out.
    #[error("the election commission hands out no tickets: {refusal}. {}", .refusal.reason.action())]
    Refused {
        /// Its reason.
        refusal: Refusal,
    },
    /// The coordinator's answer is no good.
    #[error("{0}. Tell the parties that run the election")]
    Answer(TicketError),
}

impl DrawError {
    /// Whether trying the same again may help.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Refused { refusal } if refusal.reason.class() == Class::Retry)
    }

    /// The stable reason code, where there is one.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::NoCode => Some(Reason::InvitationInvalid),
            Self::UsedUp => Some(Reason::TicketSpent),
            Self::Refused { refusal } => Some(refusal.reason),
            Self::Answer(error) => Some(error.reason()),
            Self::Io { .. } | Self::Damaged { .. } => None,
        }
    }
}

/// Where a device keeps the tickets of one election.
#[derive(Debug)]
pub(crate) enum Purse {
    /// A file.
    File { disk: Arc<dyn Disk>, path: PathBuf },
    /// The memory of a device that forgets when the program ends.
    Memory(Zeroizing<Vec<u8>>),
}

/// What a purse holds.
enum Holds {
    Nothing,
    Drawing(Zeroizing<[u8; SEED]>),
    Drawn(Zeroizing<Vec<u8>>),
}

impl Purse {
    /// The file of an election's tickets in a device's directory.
    pub(crate) fn file(disk: Arc<dyn Disk>, directory: &Path, election: &Election) -> Self {
        let path = directory.join(format!("tickets-{}", election.manifest_hash().short()));
        Self::File { disk, path }
    }

    /// Takes a ticket that is good at `cast_at`, drawing the whole allowance first where there is none yet.
    pub(crate) async fn take(
        &mut self,
        election: &Election,
        ticketing: &Ticketing,
        invitation: &Invitation,
        connections: &Connections,
        cast_at: UnixSeconds,
        rng: &mut impl CryptoRng,
    ) -> Result<OwnTicket, DrawError> {
        if !matches!(self.holds(ticketing)?, Holds::Drawn(_)) {
            self.draw(election, ticketing, invitation, connections, rng)
                .await?;
        }
        self.take_kept(ticketing, cast_at, rng)
    }

    /// Takes one of the tickets that are here.
    fn take_kept(
        &mut self,
        ticketing: &Ticketing,
        cast_at: UnixSeconds,
        rng: &mut impl CryptoRng,
    ) -> Result<OwnTicket, DrawError> {
        let _lock = self.lock()?;
        let Holds::Drawn(mut slots) = self.holds(ticketing)? else {
            return Err(DrawError::UsedUp);
        };
        let day = ticketing.key_at(cast_at).map(|key| key.day());
        let taken = spend(&mut slots, day, rng).map_err(|_| self.damaged())?;
        self.put(DRAWN, &slots)?;
        taken.ok_or(DrawError::UsedUp)
    }

    /// Draws anew at the next use, throwing away what is left.
    pub(crate) fn discard(&mut self) -> Result<(), DrawError> {
        match self {
            Self::Memory(bytes) => {
                *bytes = Zeroizing::default();
                Ok(())
            }
            Self::File { disk, path } => match erase(&**disk, path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(DrawError::Io {
                    path: path.clone(),
                    source,
                }),
                _ => Ok(()),
            },
        }
    }

    async fn draw(
        &mut self,
        election: &Election,
        ticketing: &Ticketing,
        invitation: &Invitation,
        connections: &Connections,
        rng: &mut impl CryptoRng,
    ) -> Result<(), DrawError> {
        let code = invitation.draw_code().ok_or(DrawError::NoCode)?;
        let seed = {
            let _lock = self.lock()?;
            match self.holds(ticketing)? {
                Holds::Drawn(_) => return Ok(()),
                Holds::Drawing(seed) => seed,
                Holds::Nothing => {
                    let mut seed = Zeroizing::new([0; SEED]);
                    rng.fill_bytes(seed.as_mut_slice());
                    // Before it is shown to anybody: an answer that is lost can then be asked for again.
                    self.put(DRAWING, seed.as_slice())?;
                    seed
                }
            }
        };
        let draw = Draw::new(election.id(), ticketing, &seed).map_err(DrawError::Answer)?;
        let request = wire::DrawRequest {
            election: election.id().as_str().to_owned(),
            r#box: invitation.of_box().get(),
            v: invitation.voter().get(),
            code: code.expose().to_vec(),
            blinded: draw.request(),
        };
        let reply = connections.draw(request, DRAW_LIMIT).await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(refusal) => {
                // A seed that was refused is no draw of this voter's; the next invitation on this device starts afresh.
                if refusal.reason.class() == Class::Reject {
                    self.discard()?;
                }
                return Err(DrawError::Refused { refusal });
            }
        };
        let own = draw.finish(&reply.signatures).map_err(DrawError::Answer)?;
        let mut slots = Zeroizing::new(Vec::with_capacity(own.len() * OwnTicket::BYTES));
        own.iter()
            .for_each(|own| slots.extend_from_slice(&own.to_bytes()));
        let _lock = self.lock()?;
        match self.holds(ticketing)? {
            Holds::Drawn(_) => Ok(()), // by another process, with the same seed
            Holds::Nothing | Holds::Drawing(_) => self.put(DRAWN, &slots),
        }
    }

    fn lock(&self) -> Result<Option<Lock>, DrawError> {
        match self {
            Self::Memory(_) => Ok(None),
            Self::File { path, .. } => Lock::take(path).map(Some).map_err(|source| DrawError::Io {
                path: path.clone(),
                source,
            }),
        }
    }

    fn damaged(&self) -> DrawError {
        match self {
            Self::File { path, .. } => DrawError::Damaged { path: path.clone() },
            Self::Memory(_) => DrawError::UsedUp,
        }
    }

    fn holds(&self, ticketing: &Ticketing) -> Result<Holds, DrawError> {
        let content = match self {
            Self::Memory(bytes) => bytes.clone(),
            Self::File { disk, path } => {
                let read = disk.read(path).map_err(|source| DrawError::Io {
                    path: path.clone(),
                    source,
                })?;
                Zeroizing::new(read.unwrap_or_default())
            }
        };
        if content.is_empty() {
            return Ok(Holds::Nothing);
        }
        if let Some(seed) = content.strip_prefix(DRAWING.as_bytes()) {
            let seed = <[u8; SEED]>::try_from(seed).map_err(|_| self.damaged())?;
            return Ok(Holds::Drawing(Zeroizing::new(seed)));
        }
        match content.strip_prefix(DRAWN.as_bytes()) {
            Some(slots) if slots.len() == ticketing.drawn() * OwnTicket::BYTES => {
                Ok(Holds::Drawn(Zeroizing::new(slots.to_vec())))
            }
            _ => Err(self.damaged()),
        }
    }

    fn put(&mut self, heading: &str, body: &[u8]) -> Result<(), DrawError> {
        let mut content = Zeroizing::new(Vec::with_capacity(heading.len() + body.len()));
        content.extend_from_slice(heading.as_bytes());
        content.extend_from_slice(body);
        match self {
            Self::Memory(bytes) => {
                *bytes = content;
                Ok(())
            }
            Self::File { disk, path } => replace(&**disk, path, &content).map_err(|source| DrawError::Io {
                path: path.clone(),
                source,
            }),
        }
    }
}

/// Takes the first ticket of `day` out of the slots, and throws some more of that day away, so that what is left does not count the ballots.
fn spend(
    slots: &mut [u8],
    day: Option<UnixSeconds>,
    rng: &mut impl CryptoRng,
) -> Result<Option<OwnTicket>, TicketError> {
    let mut of_day = Vec::new();
    for (at, slot) in slots.chunks_exact(OwnTicket::BYTES).enumerate() {
        if slot.iter().all(|byte| *byte == 0) {
            continue;
        }
        let own = OwnTicket::from_bytes(slot)?;
        if Some(own.ticket().day()) == day {
            of_day.push((at, own));
        }
    }
    let mut gone = 1;
    while of_day.len() > gone + KEPT && rng.random_bool(0.5) {
        gone += 1;
    }
    for (at, _) in of_day.iter().take(gone) {
        slots[at * OwnTicket::BYTES..][..OwnTicket::BYTES].fill(0);
    }
    Ok(of_day.into_iter().next().map(|(_, own)| own))
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};
    use tally_proto::fixture::{OPENS, Shape, TICKET_DAY, TICKET_DAYS, World};

    use super::*;
    use crate::disk::sim::{Death, SimDisk};

    fn drawn(world: &mut World) -> Vec<u8> {
        let own = world.draw();
        let bodies = own.iter().flat_map(|own| own.to_bytes().to_vec());
        DRAWN.bytes().chain(bodies).collect()
    }

    fn world() -> World {
        World::new(Shape {
            tickets: true,
            ..Shape::default()
        })
    }

    fn purse(disk: SimDisk) -> Purse {
        Purse::File {
            disk: Arc::new(disk),
            path: PathBuf::from("/device/state/tickets-x"),
        }
    }

    fn taken(purse: &mut Purse, world: &World, at: u64, seed: u64) -> Result<OwnTicket, DrawError> {
        let ticketing = world.manifest.manifest().ticketing().expect("tickets");
        purse.take_kept(ticketing, UnixSeconds(at), &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn a_ticket_is_of_the_day_and_taken_once_and_the_length_says_nothing() {
        let mut world = world();
        let content = drawn(&mut world);
        let mut purse = Purse::Memory(Zeroizing::new(content.clone()));
        let second = TICKET_DAYS + TICKET_DAY;
        let mut keys = Vec::new();
        for at in [OPENS, second, second + 5, OPENS + 9] {
            let own = taken(&mut purse, &world, at, at).expect("two of each day");
            assert_eq!(
                own.ticket().day().get(),
                if at < second { TICKET_DAYS } else { second }
            );
            keys.push(*own.ticket().key().as_bytes());
            let Purse::Memory(kept) = &purse else {
                panic!("still in memory")
            };
            assert_eq!(kept.len(), content.len());
            // The seed of what was taken is gone.
            let seed = own.to_bytes()[..32].to_vec();
            assert!(!kept.windows(32).any(|window| window == seed));
        }
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 4);
        for at in [OPENS, second] {
            let none = taken(&mut purse, &world, at, 1).expect_err("used up");
            assert!(matches!(none, DrawError::UsedUp), "{none}");
            assert!(none.to_string().contains("polling station"));
        }
    }

    #[test]
    fn how_many_are_left_does_not_count_the_ballots() {
        // A day with many tickets: one cast takes a random number of them, and never the last few.
        let mut world = world();
        let body: Vec<u8> = {
            let own = world.draw();
            own[0].to_bytes().repeat(20)
        };
        let mut gone = Vec::new();
        for seed in 0..40 {
            let mut slots = body.clone();
            let first = spend(
                &mut slots,
                Some(UnixSeconds(TICKET_DAYS)),
                &mut StdRng::seed_from_u64(seed),
            );
            assert!(first.expect("well-formed").is_some());
            gone.push(
                slots
                    .chunks_exact(OwnTicket::BYTES)
                    .filter(|slot| slot.iter().all(|b| *b == 0))
                    .count(),
            );
        }
        gone.sort_unstable();
        assert_eq!(gone[0], 1);
        assert!(gone[39] >= 3, "{gone:?}");
        let mut few = body[..3 * OwnTicket::BYTES].to_vec();
        for left in [2, 1, 0] {
            let spent = spend(
                &mut few,
                Some(UnixSeconds(TICKET_DAYS)),
                &mut StdRng::seed_from_u64(left),
            );
            assert!(spent.expect("well-formed").is_some());
            let kept = few
                .chunks_exact(OwnTicket::BYTES)
                .filter(|slot| slot.iter().any(|b| *b != 0));
            assert_eq!(kept.count(), left as usize, "the last ones go one by one");
        }
    }

    #[test]
    fn no_crash_gives_a_ticket_twice() {
        let mut world = world();
        let content = drawn(&mut world);
        for operations in 0..=8 {
            for seed in 0..10 {
                let disk = Arc::new(SimDisk::default());
                let path = PathBuf::from("/device/state/tickets-x");
                replace(&*disk, &path, &content).expect("written");
                disk.die_before(operations);
                let mut first = Purse::File {
                    disk: disk.clone(),
                    path: path.clone(),
                };
                let before = taken(&mut first, &world, OPENS, seed);
                let death = if seed % 2 == 0 {
                    Death::Killed
                } else {
                    Death::PowerCut
                };
                let mut after = purse(disk.reboot(death, seed));
                let next = taken(&mut after, &world, OPENS, seed);
                if let (Ok(before), Ok(next)) = (&before, &next) {
                    assert_ne!(before.ticket().key(), next.ticket().key());
                }
                assert!(next.is_ok(), "a ticket is left after {operations} operations");
            }
        }
    }

    #[test]
    fn damage_is_named_and_a_discarded_purse_is_empty() {
        let mut world = world();
        let content = drawn(&mut world);
        let ticketing_of = world.manifest.manifest().clone();
        let ticketing = ticketing_of.ticketing().expect("tickets");
        for bad in [
            &content[1..],
            &content[..content.len() - 1],
            b"tally-tickets 1 drawing\nshort",
        ] {
            let disk = SimDisk::default();
            replace(&disk, Path::new("/device/state/tickets-x"), bad).expect("written");
            let error = taken(&mut purse(disk), &world, OPENS, 1).expect_err("damaged");
            assert!(matches!(error, DrawError::Damaged { .. }), "{error}");
        }
        let disk = SimDisk::default();
        replace(&disk, Path::new("/device/state/tickets-x"), &content).expect("written");
        let mut purse = purse(disk);
        for _ in 0..2 {
            purse.discard().expect("erased");
            assert!(matches!(purse.holds(ticketing), Ok(Holds::Nothing)));
        }
        assert!(matches!(
            taken(&mut purse, &world, OPENS, 1),
            Err(DrawError::UsedUp)
        ));
    }
}
