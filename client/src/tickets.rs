//! The tickets of a device: drawn once for the whole period, kept, and used up one ballot at a time.
//!
//! ```text
//! <state>/tickets-<name>   a line of text, then a nonce of 12 bytes and, under ChaCha20Poly1305,
//!   drawing: one seed of 32 bytes: a draw is under way, and the same seed asks the same again
//!   drawn:   the first second to cast at, 8 bytes, then one slot of 328 bytes a ticket: seed of the one-time key, day, randomizer,
//!            signature; zeros once it is spent
//! <state>/tickets-<name>-again   the same, while tickets are drawn again: those of before stay until the new ones are here, and then this file
//!   takes their place. A refusal leaves them as they are.
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
use crate::disk::{Disk, erase_timeless, replace_timeless};
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
    /// A file, and one beside it for a draw that takes its place.
    File { disk: Arc<dyn Disk>, path: PathBuf },
    /// The memory of a device that forgets when the program ends: by [`Draws`].
    Memory([Zeroizing<Vec<u8>>; 2]),
}

/// Which draw of a purse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draws {
    /// The one that is cast with.
    Standing = 0,
    /// The one under way that takes its place.
    Again = 1,
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
    /// Whether none has been taken out yet.
    fn is_untouched(&self) -> bool {
        let mut slots = self.slots.chunks_exact(OwnTicket::BYTES);
        slots.all(|slot| slot.iter().any(|byte| *byte != 0))
    }

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
            place: Place::Memory(Default::default()),
        }
    }

    /// Draws the whole allowance where there is none yet, and says from which second on ballots may be cast. With `again` also where some of what is
    /// here was used: until the new ones are here, the old ones stay.
    #[expect(clippy::too_many_arguments, reason = "what a draw is made of")]
    pub(crate) async fn ready(
        &mut self,
        election: &Election,
        ticketing: &Ticketing,
        invitation: &Invitation,
        connections: &Connections,
        hours: Hours,
        again: bool,
        rng: &mut impl CryptoRng,
    ) -> Result<UnixSeconds, DrawError> {
        let code = invitation.draw_code().ok_or(DrawError::NoCode)?;
        let (which, seed) = {
            let _lock = self.lock()?;
            self.settle()?;
            let which = match self.holds(Draws::Standing, ticketing)? {
                Holds::Drawn(tickets) if !again || tickets.is_untouched() => return Ok(tickets.not_before),
                Holds::Drawn(_) => Draws::Again,
                Holds::Nothing | Holds::Drawing(_) => Draws::Standing,
            };
            match self.holds(which, ticketing)? {
                Holds::Drawing(seed) => (which, seed),
                Holds::Nothing | Holds::Drawn(_) => {
                    let mut seed = Zeroizing::new([0; SEED]);
                    rng.fill_bytes(seed.as_mut_slice());
                    // Before it is shown to anybody: an answer that is lost can then be asked for again.
                    self.put(which, DRAWING, seed.as_slice(), rng)?;
                    (which, seed)
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
                    self.forget(which, &seed, ticketing)?;
                }
                return Err(DrawError::Refused { refusal });
            }
        };
        let own = draw.finish(&reply.signatures).map_err(DrawError::Answer)?;
        let mut slots = Zeroizing::new(Vec::with_capacity(own.len() * OwnTicket::BYTES));
        own.iter()
            .for_each(|own| slots.extend_from_slice(&own.to_bytes()));
        let _lock = self.lock()?;
        // Another process may have drawn with the same seed, and cast with what it got: no ticket comes back once it was taken out.
        self.settle()?;
        if let Holds::Drawn(tickets) = self.holds(Draws::Standing, ticketing)? {
            let is_ours = match self.holds(which, ticketing)? {
                Holds::Drawing(held) => which == Draws::Again && *held == *seed,
                Holds::Nothing | Holds::Drawn(_) => false,
            };
            if !is_ours {
                return Ok(tickets.not_before);
            }
        }
        let not_before = hours.not_before(rng);
        self.put(which, DRAWN, &Tickets { not_before, slots }.body(), rng)?;
        self.settle()?;
        Ok(not_before)
    }

    /// Takes one of the tickets that are here, good at `cast_at`.
    pub(crate) fn take(
        &mut self,
        ticketing: &Ticketing,
        cast_at: UnixSeconds,
        rng: &mut impl CryptoRng,
    ) -> Result<OwnTicket, DrawError> {
        let _lock = self.lock()?;
        self.settle()?;
        let Holds::Drawn(mut tickets) = self.holds(Draws::Standing, ticketing)? else {
            return Err(DrawError::UsedUp);
        };
        let day = ticketing.key_at(cast_at).map(|key| key.day());
        let taken = spend(&mut tickets.slots, day, rng).map_err(|_| self.damaged(Draws::Standing))?;
        self.put(Draws::Standing, DRAWN, &tickets.body(), rng)?;
        taken.ok_or(DrawError::UsedUp)
    }

    /// Puts tickets that were drawn again in the place of those of before: where the program was killed when they had just come, at the next use of
    /// either, before any of them is taken out. The caller holds the lock.
    fn settle(&mut self) -> Result<(), DrawError> {
        let content = self.read(Draws::Again)?;
        if !content.starts_with(DRAWN.as_bytes()) {
            return Ok(());
        }
        if self.opened(&content).is_none() {
            return Err(self.damaged(Draws::Again));
        }
        match &mut self.place {
            Place::Memory([standing, again]) => *standing = std::mem::take(again),
            Place::File { disk, path } => {
                replace_timeless(&**disk, path, &content).map_err(|source| DrawError::Io {
                    path: path.clone(),
                    source,
                })?;
                let path = name_of(path, Draws::Again);
                erase_timeless(&**disk, &path).map_err(|source| DrawError::Io { path, source })?;
            }
        }
        Ok(())
    }

    /// Throws a seed away, unless another process has drawn with it, or begun with another, meanwhile.
    fn forget(&mut self, which: Draws, seed: &[u8; SEED], ticketing: &Ticketing) -> Result<(), DrawError> {
        let _lock = self.lock()?;
        match self.holds(which, ticketing)? {
            Holds::Drawing(held) if *held == *seed => {}
            _ => return Ok(()),
        }
        match &mut self.place {
            Place::Memory(bytes) => {
                bytes[which as usize] = Zeroizing::default();
                Ok(())
            }
            Place::File { disk, path } => {
                let path = name_of(path, which);
                erase_timeless(&**disk, &path).map_err(|source| DrawError::Io { path, source })
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

    fn damaged(&self, which: Draws) -> DrawError {
        match &self.place {
            Place::File { path, .. } => DrawError::Damaged {
                path: name_of(path, which),
            },
            Place::Memory(_) => DrawError::UsedUp,
        }
    }

    fn read(&self, which: Draws) -> Result<Zeroizing<Vec<u8>>, DrawError> {
        match &self.place {
            Place::Memory(bytes) => Ok(bytes[which as usize].clone()),
            Place::File { disk, path } => {
                let path = name_of(path, which);
                match disk.read(&path) {
                    Ok(read) => Ok(Zeroizing::new(read.unwrap_or_default())),
                    Err(source) => Err(DrawError::Io { path, source }),
                }
            }
        }
    }

    fn holds(&self, which: Draws, ticketing: &Ticketing) -> Result<Holds, DrawError> {
        let content = self.read(which)?;
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
        holds.ok_or_else(|| self.damaged(which))
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

    fn put(
        &mut self,
        which: Draws,
        heading: &str,
        body: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<(), DrawError> {
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
                bytes[which as usize] = Zeroizing::new(content);
                Ok(())
            }
            Place::File { disk, path } => {
                let path = name_of(path, which);
                replace_timeless(&**disk, &path, &content).map_err(|source| DrawError::Io { path, source })
            }
        }
    }
}

/// The file of that draw, where the standing one's is `path`.
fn name_of(path: &Path, which: Draws) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    if which == Draws::Again {
        name.push("-again");
    }
    path.with_file_name(name)
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
    use crate::disk::replace;
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
            .put(
                Draws::Standing,
                DRAWN,
                &tickets.body(),
                &mut StdRng::seed_from_u64(3),
            )
            .expect("in memory");
        kept(&purse)
    }

    fn kept(purse: &Purse) -> Vec<u8> {
        match &purse.place {
            Place::Memory([kept, _]) => kept.to_vec(),
            Place::File { .. } => panic!("in memory"),
        }
    }

    fn in_memory(world: &World, content: &[u8]) -> Purse {
        Purse {
            key: key(world),
            place: Place::Memory([Zeroizing::new(content.to_vec()), Zeroizing::default()]),
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
        purse
            .forget(Draws::Standing, &seed, &ticketing)
            .expect("looked at");
        assert_eq!(kept(&purse), content, "drawn meanwhile");
        purse
            .put(Draws::Standing, DRAWING, &[5; SEED], &mut rng)
            .expect("in memory");
        let begun = kept(&purse);
        purse
            .forget(Draws::Standing, &seed, &ticketing)
            .expect("looked at");
        assert_eq!(kept(&purse), begun, "begun with another");
        purse
            .put(Draws::Standing, DRAWING, &seed, &mut rng)
            .expect("in memory");
        purse.forget(Draws::Standing, &seed, &ticketing).expect("erased");
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
    fn damage_is_named() {
        let mut world = world();
        let content = drawn(&mut world);
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
    }

    /// Writes the file of one draw.
    fn kept_as(world: &World, heading: &str, body: &[u8], which: Draws, disk: &SimDisk) {
        let mut purse = in_memory(world, &[]);
        let mut rng = StdRng::seed_from_u64(9);
        purse
            .put(Draws::Standing, heading, body, &mut rng)
            .expect("in memory");
        replace(disk, &name_of(Path::new(PATH), which), &kept(&purse)).expect("written");
    }

    #[test]
    fn tickets_that_were_drawn_again_take_the_place_of_the_others_before_any_is_used_whatever_is_killed() {
        let mut world = world();
        let content = drawn(&mut world);
        let old = in_memory(&world, &content);
        let (_, old_body) = old.opened(&content).expect("opens");
        let new = Tickets {
            not_before: UnixSeconds(OPENS - 1),
            slots: Zeroizing::new(old_body[MOMENT..].to_vec()),
        };
        let ticketing = world.manifest.manifest().ticketing().expect("tickets").clone();
        for operations in 0..=11 {
            for seed in 0..10 {
                let disk = Arc::new(SimDisk::default());
                replace(&*disk, Path::new(PATH), &content).expect("written");
                kept_as(&world, DRAWN, &new.body(), Draws::Again, &disk);
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
                let next = taken(&mut after, &world, OPENS, seed).expect("a ticket is left");
                if let Ok(before) = &before {
                    assert_ne!(before.ticket().key(), next.ticket().key());
                }
                let Holds::Drawn(standing) = after.holds(Draws::Standing, &ticketing).expect("opens") else {
                    panic!("drawn")
                };
                assert_eq!(standing.not_before, new.not_before, "those drawn last");
                assert!(!standing.is_untouched());
                assert!(after.read(Draws::Again).expect("read").is_empty());
            }
        }
    }

    #[test]
    fn a_draw_under_way_leaves_the_tickets_of_before_in_use() {
        let mut world = world();
        let content = drawn(&mut world);
        let disk = SimDisk::default();
        replace(&disk, Path::new(PATH), &content).expect("written");
        kept_as(&world, DRAWING, &[6; SEED], Draws::Again, &disk);
        let ticketing = world.manifest.manifest().ticketing().expect("tickets").clone();
        let mut purse = purse(&world, disk);
        taken(&mut purse, &world, OPENS, 1).expect("of those of before");
        let seed = |purse: &Purse| match purse.holds(Draws::Again, &ticketing) {
            Ok(Holds::Drawing(seed)) => Some(*seed),
            _ => None,
        };
        assert_eq!(seed(&purse), Some([6; SEED]), "the same draw is gone on with");
        purse
            .forget(Draws::Again, &[6; SEED], &ticketing)
            .expect("erased");
        assert_eq!(seed(&purse), None);
        taken(&mut purse, &world, OPENS, 2).expect("after a refusal, too");
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
            place: Place::Memory([Zeroizing::new(content.clone()), Zeroizing::default()]),
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
