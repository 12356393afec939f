//! The tickets of a device: drawn once for the whole period, kept, and used up one ballot at a time.
//!
//! ```text
//! <state>/tickets-<name>   a line of text, then a nonce of 12 bytes and, under ChaCha20Poly1305,
//!   drawing: one seed of 32 bytes: a draw is under way, and the same seed asks the same again
//!   drawn:   the first second to cast at, 8 bytes, then one slot of 328 bytes a ticket: seed of the one-time key, day, randomizer,
//!            signature; zeros once it is spent
//! key | name = HKDF-SHA256(draw code, info = (tag, manifest hash)), 32 and 10 bytes
//! ```
//!
//! The key is the draw code's, which the device does not keep: a copy of the file names no ballot to whoever has no invitation of that voter.
//! A true invitation and a decoy carry the same draw code, draw alike and spend the same tickets. The file's length never changes. With every
//! cast some further tickets of the day are thrown away, a random number each time, so how many are left does not say how many ballots
//! were cast. A ticket is taken out, durably, before its ballot leaves.
//!
//! A draw names the voter to the coordinator, and a ballot's header says when it was cast. So a ballot never follows a draw at once: the
//! first second to cast at is a random one within the time after the draw that the voter's patience sets.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use rand::{CryptoRng, RngExt as _};
use sha2::Sha256;
use tally_proto::ids::UnixSeconds;
use tally_proto::invitation::Invitation;
use tally_proto::layout::{Writer, tag};
use tally_proto::reason::{Class, Reason};
use tally_proto::refusal::Refusal;
use tally_proto::ticket::{Draw, DrawCode, OwnTicket, TicketError, Ticketing};
use tally_proto::wire;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::connections::Connections;
use crate::device::Lock;
use crate::disk::{Disk, erase, replace};
use crate::election::Election;

const DRAWING: &str = "tally-tickets 2 drawing\n";
const DRAWN: &str = "tally-tickets 2 drawn  \n";
const SEED: usize = 32;
const NONCE: usize = 12;
const MOMENT: usize = 8;
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
        "this election asks for tickets, and the invitation has no draw code: use the whole code or link, and both halves if it came in two; who enrolled by \
         card lets the card stand for one with `client draw-code`"
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

/// What names and opens the tickets of one voter in one election. Erased on drop.
#[derive(Clone)]
pub(crate) struct PurseKey {
    key: Zeroizing<[u8; 32]>,
    name: [u8; 10],
}

impl fmt::Debug for PurseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PurseKey(secret)")
    }
}

impl PurseKey {
    /// Of the holder of that draw code.
    pub(crate) fn new(election: &Election, code: &DrawCode) -> Self {
        let info = Writer::new(tag::PURSE)
            .fixed(&election.manifest_hash().0)
            .finish();
        let mut both = Zeroizing::new([0; 42]);
        Hkdf::<Sha256>::new(None, code.expose())
            .expand(&info, both.as_mut())
            .expect("42 bytes are within HKDF-SHA256's 8160");
        let (mut key, mut name) = (Zeroizing::new([0; 32]), [0; 10]);
        key.copy_from_slice(&both[..32]);
        name.copy_from_slice(&both[32..]);
        Self { key, name }
    }

    /// Names the purse among those of a device.
    pub(crate) fn name(&self) -> [u8; 10] {
        self.name
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&Key::from(*self.key))
    }
}

/// Where the bytes of a purse are.
#[derive(Debug)]
enum Place {
    /// A file.
    File { disk: Arc<dyn Disk>, path: PathBuf },
    /// The memory of a device that forgets when the program ends.
    Memory(Zeroizing<Vec<u8>>),
}

/// Where a device keeps the tickets of one voter in one election.
#[derive(Debug)]
pub(crate) struct Purse {
    key: PurseKey,
    place: Place,
}

/// What a purse holds.
enum Holds {
    Nothing,
    Drawing(Zeroizing<[u8; SEED]>),
    Drawn(Tickets),
}

/// What was drawn.
struct Tickets {
    not_before: UnixSeconds,
    slots: Zeroizing<Vec<u8>>,
}

impl Tickets {
    fn body(&self) -> Zeroizing<Vec<u8>> {
        let mut body = Zeroizing::new(Vec::with_capacity(MOMENT + self.slots.len()));
        body.extend_from_slice(&self.not_before.get().to_be_bytes());
        body.extend_from_slice(&self.slots);
        body
    }

    fn of(body: &[u8], ticketing: &Ticketing) -> Option<Self> {
        let (moment, slots) = body.split_first_chunk::<MOMENT>()?;
        (slots.len() == ticketing.drawn() * OwnTicket::BYTES).then(|| Self {
            not_before: UnixSeconds(u64::from_be_bytes(*moment)),
            slots: Zeroizing::new(slots.to_vec()),
        })
    }
}

/// When a device draws, and when what it drew may be used first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hours {
    /// Now, as the parties agree on it.
    pub(crate) now: UnixSeconds,
    /// The first ballot leaves at a random moment within so long.
    pub(crate) spread: Duration,
}

impl Hours {
    fn not_before(&self, rng: &mut impl CryptoRng) -> UnixSeconds {
        UnixSeconds(self.now.get() + rng.random_range(0..=self.spread.as_secs()))
    }
}

impl Purse {
    /// The file of a voter's tickets in a device's directory.
    pub(crate) fn file(disk: Arc<dyn Disk>, directory: &Path, key: PurseKey) -> Self {
        let name = data_encoding::HEXLOWER.encode(&key.name);
        let path = directory.join(format!("tickets-{name}"));
        Self {
            key,
            place: Place::File { disk, path },
        }
    }

    /// In memory.
    pub(crate) fn in_memory(key: PurseKey) -> Self {
        Self {
            key,
            place: Place::Memory(Zeroizing::default()),
        }
    }

    /// Draws the whole allowance where there is none yet, and says from which second on ballots may be cast.
    pub(crate) async fn ready(
        &mut self,
        election: &Election,
        ticketing: &Ticketing,
        invitation: &Invitation,
        connections: &Connections,
        hours: Hours,
        rng: &mut impl CryptoRng,
    ) -> Result<UnixSeconds, DrawError> {
        if let Holds::Drawn(tickets) = self.holds(ticketing)? {
            return Ok(tickets.not_before);
        }
        self.draw(election, ticketing, invitation, connections, hours, rng)
            .await
    }

    /// Takes one of the tickets that are here, good at `cast_at`.
    pub(crate) fn take(
        &mut self,
        ticketing: &Ticketing,
        cast_at: UnixSeconds,
        rng: &mut impl CryptoRng,
    ) -> Result<OwnTicket, DrawError> {
        let _lock = self.lock()?;
        let Holds::Drawn(mut tickets) = self.holds(ticketing)? else {
            return Err(DrawError::UsedUp);
        };
        let day = ticketing.key_at(cast_at).map(|key| key.day());
        let taken = spend(&mut tickets.slots, day, rng).map_err(|_| self.damaged())?;
        self.put(DRAWN, &tickets.body(), rng)?;
        taken.ok_or(DrawError::UsedUp)
    }

    /// Draws anew at the next use, throwing away what is left.
    pub(crate) fn discard(&mut self) -> Result<(), DrawError> {
        match &mut self.place {
            Place::Memory(bytes) => {
                *bytes = Zeroizing::default();
                Ok(())
            }
            Place::File { disk, path } => match erase(&**disk, path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(DrawError::Io {
                    path: path.clone(),
                    source,
                }),
                _ => Ok(()),
            },
        }
    }

    /// Throws a seed away, unless another process has drawn with it, or begun with another, meanwhile.
    fn forget(&mut self, seed: &[u8; SEED], ticketing: &Ticketing) -> Result<(), DrawError> {
        let _lock = self.lock()?;
        match self.holds(ticketing)? {
            Holds::Drawing(held) if *held == *seed => self.discard(),
            _ => Ok(()),
        }
    }

    async fn draw(
        &mut self,
        election: &Election,
        ticketing: &Ticketing,
        invitation: &Invitation,
        connections: &Connections,
        hours: Hours,
        rng: &mut impl CryptoRng,
    ) -> Result<UnixSeconds, DrawError> {
        let code = invitation.draw_code().ok_or(DrawError::NoCode)?;
        let seed = {
            let _lock = self.lock()?;
            match self.holds(ticketing)? {
                Holds::Drawn(tickets) => return Ok(tickets.not_before),
                Holds::Drawing(seed) => seed,
                Holds::Nothing => {
                    let mut seed = Zeroizing::new([0; SEED]);
                    rng.fill_bytes(seed.as_mut_slice());
                    // Before it is shown to anybody: an answer that is lost can then be asked for again.
                    self.put(DRAWING, seed.as_slice(), rng)?;
                    seed
                }
            }
        };
        let draw = Draw::new(election.id(), ticketing, &seed).map_err(DrawError::Answer)?;
        let request = wire::DrawRequest {
            election: election.id().as_str().to_owned(),
            r#box: invitation.of_box().get(),
            // On an open roll the code alone says whose draw it is: the number is the parties' business.
            v: match election.manifest().open_box() {
                Some(_) => 0,
                None => invitation.voter().get(),
            },
            code: code.expose().to_vec(),
            blinded: draw.request(),
        };
        let reply = connections.draw(request, DRAW_LIMIT).await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(refusal) => {
                // A seed that was refused is no draw of this voter's; the next invitation on this device starts afresh.
                if refusal.reason.class() == Class::Reject {
                    self.forget(&seed, ticketing)?;
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
            Holds::Drawn(tickets) => Ok(tickets.not_before), // by another process, with the same seed
            Holds::Nothing | Holds::Drawing(_) => {
                let not_before = hours.not_before(rng);
                self.put(DRAWN, &Tickets { not_before, slots }.body(), rng)?;
                Ok(not_before)
            }
        }
    }

    fn lock(&self) -> Result<Option<Lock>, DrawError> {
        match &self.place {
            Place::Memory(_) => Ok(None),
            Place::File { path, .. } => Lock::take(path).map(Some).map_err(|source| DrawError::Io {
                path: path.clone(),
                source,
            }),
        }
    }

    fn damaged(&self) -> DrawError {
        match &self.place {
            Place::File { path, .. } => DrawError::Damaged { path: path.clone() },
            Place::Memory(_) => DrawError::UsedUp,
        }
    }

    fn holds(&self, ticketing: &Ticketing) -> Result<Holds, DrawError> {
        let content = match &self.place {
            Place::Memory(bytes) => bytes.clone(),
            Place::File { disk, path } => {
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
        let holds = self.opened(&content).and_then(|(heading, body)| {
            if heading == DRAWING.as_bytes() {
                let seed = <[u8; SEED]>::try_from(body.as_slice()).ok()?;
                return Some(Holds::Drawing(Zeroizing::new(seed)));
            }
            Tickets::of(&body, ticketing).map(Holds::Drawn)
        });
        holds.ok_or_else(|| self.damaged())
    }

    /// Heading and body of what is kept.
    fn opened<'a>(&self, content: &'a [u8]) -> Option<(&'a [u8], Zeroizing<Vec<u8>>)> {
        let (heading, rest) = content.split_at_checked(DRAWN.len())?;
        if ![DRAWING.as_bytes(), DRAWN.as_bytes()].contains(&heading) {
            return None;
        }
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        let payload = Payload {
            msg: sealed,
            aad: heading,
        };
        let body = self.key.cipher().decrypt(&Nonce::from(*nonce), payload).ok()?;
        Some((heading, Zeroizing::new(body)))
    }

    fn put(&mut self, heading: &str, body: &[u8], rng: &mut impl CryptoRng) -> Result<(), DrawError> {
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        let payload = Payload {
            msg: body,
            aad: heading.as_bytes(),
        };
        let sealed = self
            .key
            .cipher()
            .encrypt(&Nonce::from(nonce), payload)
            .expect("ChaCha20Poly1305 fails on nothing shorter than 256 GiB");
        let content = [heading.as_bytes(), &nonce, &sealed].concat();
        match &mut self.place {
            Place::Memory(bytes) => {
                *bytes = Zeroizing::new(content);
                Ok(())
            }
            Place::File { disk, path } => replace(&**disk, path, &content).map_err(|source| DrawError::Io {
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

    fn key(world: &World) -> PurseKey {
        let election = Election::from_bytes(&world.manifest.envelope().encode()).expect("an election");
        PurseKey::new(&election, &DrawCode::from_slice(&[7; 10]).expect("a code"))
    }

    /// What a device holds after a draw.
    fn drawn(world: &mut World) -> Vec<u8> {
        let own = world.draw();
        let tickets = Tickets {
            not_before: UnixSeconds(OPENS - 5),
            slots: Zeroizing::new(own.iter().flat_map(|own| own.to_bytes().to_vec()).collect()),
        };
        let mut purse = Purse::in_memory(key(world));
        purse
            .put(DRAWN, &tickets.body(), &mut StdRng::seed_from_u64(3))
            .expect("in memory");
        kept(&purse)
    }

    fn kept(purse: &Purse) -> Vec<u8> {
        match &purse.place {
            Place::Memory(kept) => kept.to_vec(),
            Place::File { .. } => panic!("in memory"),
        }
    }

    fn in_memory(world: &World, content: &[u8]) -> Purse {
        Purse {
            key: key(world),
            place: Place::Memory(Zeroizing::new(content.to_vec())),
        }
    }

    fn world() -> World {
        World::new(Shape {
            tickets: true,
            ..Shape::default()
        })
    }

    const PATH: &str = "/device/state/tickets-x";

    fn purse(world: &World, disk: impl Disk + 'static) -> Purse {
        Purse {
            key: key(world),
            place: Place::File {
                disk: Arc::new(disk),
                path: PathBuf::from(PATH),
            },
        }
    }

    fn taken(purse: &mut Purse, world: &World, at: u64, seed: u64) -> Result<OwnTicket, DrawError> {
        let ticketing = world.manifest.manifest().ticketing().expect("tickets");
        purse.take(ticketing, UnixSeconds(at), &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn a_refused_seed_takes_nothing_with_it_that_another_process_drew() {
        let mut world = world();
        let content = drawn(&mut world);
        let ticketing = world.manifest.manifest().ticketing().expect("tickets").clone();
        let (mut rng, seed) = (StdRng::seed_from_u64(8), [4; SEED]);
        let mut purse = in_memory(&world, &content);
        purse.forget(&seed, &ticketing).expect("looked at");
        assert_eq!(kept(&purse), content, "drawn meanwhile");
        purse.put(DRAWING, &[5; SEED], &mut rng).expect("in memory");
        let begun = kept(&purse);
        purse.forget(&seed, &ticketing).expect("looked at");
        assert_eq!(kept(&purse), begun, "begun with another");
        purse.put(DRAWING, &seed, &mut rng).expect("in memory");
        purse.forget(&seed, &ticketing).expect("erased");
        assert!(kept(&purse).is_empty());
    }

    #[test]
    fn a_ticket_is_of_the_day_and_taken_once_and_the_length_says_nothing() {
        let mut world = world();
        let content = drawn(&mut world);
        let mut purse = in_memory(&world, &content);
        let second = TICKET_DAYS + TICKET_DAY;
        let mut keys = Vec::new();
        for at in [OPENS, second, second + 5, OPENS + 9] {
            let own = taken(&mut purse, &world, at, at).expect("two of each day");
            assert_eq!(
                own.ticket().day().get(),
                if at < second { TICKET_DAYS } else { second }
            );
            keys.push(*own.ticket().key().as_bytes());
            let kept = kept(&purse);
            assert_eq!(kept.len(), content.len());
            // The seed of what was taken is gone, and no seed stands there in the clear.
            let (_, body) = purse.opened(&kept).expect("opens");
            for bytes in [&*body, &kept] {
                let seed = &own.to_bytes()[..32];
                assert!(!bytes.windows(32).any(|window| window == seed));
            }
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
                replace(&*disk, Path::new(PATH), &content).expect("written");
                disk.die_before(operations);
                let mut first = Purse {
                    key: key(&world),
                    place: Place::File {
                        disk: disk.clone(),
                        path: PathBuf::from(PATH),
                    },
                };
                let before = taken(&mut first, &world, OPENS, seed);
                let death = if seed % 2 == 0 {
                    Death::Killed
                } else {
                    Death::PowerCut
                };
                let mut after = purse(&world, disk.reboot(death, seed));
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
            b"tally-tickets 2 drawing\nshort",
            b"short",
        ] {
            let disk = SimDisk::default();
            replace(&disk, Path::new(PATH), bad).expect("written");
            let error = taken(&mut purse(&world, disk), &world, OPENS, 1).expect_err("damaged");
            assert!(matches!(error, DrawError::Damaged { .. }), "{error}");
        }
        let disk = SimDisk::default();
        replace(&disk, Path::new(PATH), &content).expect("written");
        let mut purse = purse(&world, disk);
        for _ in 0..2 {
            purse.discard().expect("erased");
            assert!(matches!(purse.holds(ticketing), Ok(Holds::Nothing)));
        }
        assert!(matches!(
            taken(&mut purse, &world, OPENS, 1),
            Err(DrawError::UsedUp)
        ));
    }

    #[test]
    fn a_copy_of_the_file_says_nothing_without_the_draw_code() {
        let mut world = world();
        let content = drawn(&mut world);
        let other = Purse {
            key: PurseKey::new(
                &Election::from_bytes(&world.manifest.envelope().encode()).expect("an election"),
                &DrawCode::from_slice(&[8; 10]).expect("a code"),
            ),
            place: Place::Memory(Zeroizing::new(content.clone())),
        };
        assert!(other.opened(&content).is_none());
        assert_ne!(
            other.key.name(),
            key(&world).name(),
            "another voter's tickets are another file"
        );
        let purse = in_memory(&world, &content);
        for at in 0..content.len() {
            let mut altered = content.clone();
            altered[at] ^= 1;
            assert!(purse.opened(&altered).is_none(), "byte {at}");
        }
    }

    #[test]
    fn the_first_ballot_leaves_at_a_random_moment_after_the_draw() {
        let hours = Hours {
            now: UnixSeconds(OPENS),
            spread: Duration::from_secs(600),
        };
        let mut moments: Vec<u64> = (0..200)
            .map(|seed| hours.not_before(&mut StdRng::seed_from_u64(seed)).get() - OPENS)
            .collect();
        moments.sort_unstable();
        assert!(
            moments[0] < 60 && moments[199] > 540 && moments[199] <= 600,
            "{moments:?}"
        );
        moments.dedup();
        assert!(moments.len() > 120, "{} of 601 seconds", moments.len());
    }
}
