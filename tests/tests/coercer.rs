//! A coercer who is in league with one party: the voter handed over an invitation, the coercer watches ballots being cast with it, takes the device's
//! files, and reads that party's database with its keys, all three logs, and what anybody is told. It does so three times: before the opening, when a
//! ballot was tried too early; when the ballots are cast; and when the box is sealed. Is what was handed over the voter's true credential, or a decoy?
//!
//! Does anything add up, and does any figure go with the truth better than with a shuffled one? The coercer forgets nothing: what it saw before it
//! holds beside what it sees now. The same coercer with one thing more (the other parties' offsets, the nonces that the device must forget, a log that puts
//! decoys' ballots later, a figure that is right three times in four) is found out: so the eyes work, and what they are kept from is what protects
//! the voter. What a tally shows is the engine's tests' matter.

mod guess;
mod held;
mod logs;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use rand::{Rng as _, RngExt as _, SeedableRng, rngs::StdRng};
use tally_client::card::{Card, CardFile};
use tally_client::{
    CastError, Choices, Connections, Device, Election, Named, Patience, Voter, decoy_of, enrol,
    read_invitation,
};
use tally_party::clock::Clock as _;
use tally_proto::fixture::cards::{CardKey, CardShape, DAY, called};
use tally_proto::fixture::{DRAINED, OPENS, Shape};
use tally_proto::ids::{Digest, Role, RoleExt as _};
use tally_proto::invitation::Invitation;
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::shares::Opening;
use tally_proto::wire;
use tally_proto::wire::seal_event::Event;
use zeroize::Zeroizing;

use self::guess::tells;
use self::held::{Record, ballot_of, files, record_of};
use self::logs::{Logs, told};
use crate::card_file::{PASSWORD, pkcs12};
use crate::world::three::until;
use crate::world::{Party, World};

/// Voters, each of whom hands over the true code or a decoy by a coin. Of so many a figure that is right three times in four is found in 19 of 20
/// runs at least, beside a hundred others.
const VOTERS: usize = 184;
/// The corrupt party.
const ALLY: Role = Role::P1;

/// One voter who is coerced.
struct Coerced {
    /// What nobody but the voter knows: was the true invitation handed over?
    is_true: bool,
    /// The true code.
    code: String,
    /// The one that was handed over.
    handed: String,
    /// Of the device that the coercer holds.
    directory: PathBuf,
    /// Of the voter's card.
    certificate: Vec<u8>,
    /// The ballot that was cast before the coercer's eyes, once it is.
    watched: Option<Named>,
    rng: StdRng,
}

/// What the coercer has of a voter at one moment.
struct Seen {
    /// For the test's eyes only.
    is_true: bool,
    /// The credential in what was handed over.
    handed: u64,
    /// Every file of the device: its name, its content.
    device: Vec<(String, Vec<u8>)>,
    /// The ballot that was cast before the coercer's eyes.
    digest: Option<Digest>,
    /// What the voter's card signed: the ally sees who enrols.
    record: Record,
    /// Of record and ballot: the entries of three logs, what three parties tell, the ballot's row at the ally with its opened shares.
    bytes: Vec<u8>,
    /// Figures that the ally's database, the logs and the parties' answers give of this voter.
    figures: Vec<f64>,
}

/// Values of 64 bits that somebody may have beside what [`Seen`] holds.
#[derive(Default)]
struct More {
    /// In the device's files: 8 bytes or 32 bytes of secrets that a careless program left there.
    left_on_device: Vec<u8>,
}

/// Three real parties that know each other, before the opening, and a clock that runs; its time at the start can be set on.
async fn start() -> (World, Vec<Party>, Arc<AtomicU64>, tokio::task::JoinHandle<()>) {
    let world = World::connected(Shape {
        cards: true,
        // The last voter of a box may vote at a station only.
        voters: [(VOTERS + 1) as u32, 3],
        ..Shape::default()
    });
    let (clock, begun) = (world.clock.clone(), Instant::now());
    let began_ms = Arc::new(AtomicU64::new((OPENS - 3_000) * 1000));
    let from = Arc::clone(&began_ms);
    let now_ms = move || from.load(Ordering::Relaxed) + begun.elapsed().as_millis() as u64;
    clock.set(now_ms());
    let running = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            clock.set(now_ms());
        }
    });
    let mut parties = Vec::new();
    for role in Role::ALL {
        world.write_revocations(role, &[], OPENS - DAY, OPENS + DAY);
        parties.push(world.start_in_force(role).await);
    }
    (world, parties, began_ms, running)
}

fn connections(world: &World, parties: &[Party]) -> (Election, Connections) {
    let election = Election::new((*world.fixture.manifest).clone()).expect("complete");
    let channels = std::array::from_fn(|at| parties[at].public_channel());
    let connections = Connections::over(&election, channels, parties[0].public_channel());
    (election, connections)
}

/// Every 64 bits in a row, at every bit, of some bytes; and, at every byte, in the other order of bytes too.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.windows(9).flat_map(|nine| {
        let wide = nine
            .iter()
            .rev()
            .fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
        let swapped = (wide as u64).swap_bytes();
        (0..8).map(move |bit| (wide >> bit) as u64).chain([swapped])
    })
}

/// Does anything that the coercer has add up to what was handed over?
///
/// True: handed ^ r_i ^ r_{i+1} ^ s_i ^ s_{i+1} = r_{i+2} ^ s_{i+2}, so it looks for any of these, alone or together, and for the third share as
/// an opening of the public commitment.
fn adds_up(seen: &Seen, more: &More) -> bool {
    let record = &seen.record;
    let share = |opening: &Opening| u64::from_le_bytes(opening.share().try_into().expect("8 bytes"));
    let known = [
        share(&record.shares.this),
        share(&record.shares.next),
        record.offsets[0],
        record.offsets[1],
    ];
    let sums: Vec<u64> = (0..16u32)
        .map(|subset| {
            let picked = known.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1);
            picked.fold(seen.handed, |sum, (_, value)| sum ^ value)
        })
        .collect();
    let device: Vec<u8> = seen
        .device
        .iter()
        .flat_map(|(_, content)| content)
        .copied()
        .collect();
    let held = [
        &device[..],
        &record.bytes,
        &seen.bytes,
        &more.left_on_device,
        &[0],
    ]
    .concat();
    let found: HashSet<u64> = words(&held).collect();
    if sums.iter().any(|sum| found.contains(sum)) {
        return true;
    }
    // The third commitment opens to what is missing, under any 32 bytes and with any 8 bytes of the device as the third offset.
    let third = ALLY.prev();
    let commitment = &record.header.commitments[third.slot()];
    let context = record.header.context();
    let kept = [&device[..], &more.left_on_device].concat();
    let missing = sums[15];
    let offsets = kept
        .windows(8)
        .map(|eight| u64::from_le_bytes(eight.try_into().expect("8 bytes")));
    let candidates: Vec<u64> = offsets.chain([0]).map(|offset| missing ^ offset).collect();
    kept.windows(32).any(|nonce| {
        candidates.iter().any(|candidate| {
            let opening = Opening::from_parts(
                Zeroizing::new(nonce.try_into().expect("32 bytes")),
                Zeroizing::new(candidate.to_le_bytes().to_vec()),
            );
            context.commit(third, &opening) == *commitment
        })
    })
}

/// Figures of what was handed over beside everything else.
fn figures(seen: &Seen) -> Vec<f64> {
    let record = &seen.record;
    let share = |opening: &Opening| u64::from_le_bytes(opening.share().try_into().expect("8 bytes"));
    let (own, next) = (share(&record.shares.this), share(&record.shares.next));
    let [s_own, s_next] = record.offsets;
    let missing = seen.handed ^ own ^ next ^ s_own ^ s_next;
    let ones = |value: u64| f64::from(value.count_ones());
    let beside = |hash: &[u8]| ones(seen.handed ^ u64::from_le_bytes(hash[..8].try_into().expect("8 bytes")));
    let mut all = vec![
        ones(seen.handed),
        ones(missing),
        ones(seen.handed ^ own),
        ones(seen.handed ^ next),
        ones(seen.handed ^ s_own ^ s_next),
        beside(record.digest.as_bytes()),
        (seen.handed % 251) as f64,
        (missing % 251) as f64,
        record.bytes.len() as f64,
        record.placed[0],
        record.placed[1],
        record.header.signed_at.get() as f64,
        seen.device.len() as f64,
    ];
    for commitment in &record.header.commitments {
        all.push(beside(commitment.as_bytes()));
    }
    all.extend(seen.digest.iter().map(|digest| beside(digest.as_bytes())));
    for (name, content) in &seen.device {
        // The number in the file, if it has one: the second of the last ballot.
        let digits = content.iter().filter(|byte| byte.is_ascii_digit());
        let number = digits.fold(0.0, |number, digit| {
            (number * 10.0 + f64::from(digit - b'0')) % 1e12
        });
        all.extend([(name.len() * 1000 + content.len()) as f64, number]);
    }
    all.extend_from_slice(&seen.figures);
    all
}

async fn seal(world: &World, party: &Party) {
    let mut control = party.control(&world.leaf_of(party.role, PeerRole::Coordinator));
    let election = world.fixture.manifest.manifest().election().as_str().to_owned();
    let asked = control.seal(wire::BoxRef { election, r#box: 1 }).await;
    let mut events = asked.expect("begun").into_inner();
    while let Some(event) = events.message().await.expect("an event") {
        if let Some(Event::Done(_)) = event.event {
            return;
        }
    }
    panic!("the stream ended without a word");
}

impl Coerced {
    fn voter(&self, (election, connections): &(Election, Connections), code: &str, device: &Device) -> Voter {
        let invitation = read(code);
        Voter::new(election, connections, invitation, device).expect("of this election")
    }

    /// Before the coercer's eyes, too early: two parties say so, and nothing is cast.
    async fn tries_too_early(&mut self, of_election: &(Election, Connections)) {
        let device = Device::open(&self.directory).expect("a device");
        let at_once = Patience {
            give_up_after: Duration::ZERO,
            ..Patience::default()
        };
        let voter = self
            .voter(of_election, &self.handed, &device)
            .with_patience(at_once);
        let choices = Choices::parse(voter.form(), ["Mayor=Ada"]).expect("choices");
        let refused = voter.cast(&choices, &mut self.rng).await.expect_err("too early");
        let CastError::Refused { faults } = &refused else {
            panic!("{refused}")
        };
        let early = |fault: &tally_client::Fault| fault.reason() == Reason::BallotBeforeOpening;
        assert!(faults.len() >= 2 && faults.iter().all(early), "{refused}");
    }

    /// One ballot before the coercer's eyes, with what was handed over, and the voter's own elsewhere.
    async fn casts(&mut self, of_election: &(Election, Connections)) {
        let device = Device::open(&self.directory).expect("a device");
        let watched = self.voter(of_election, &self.handed, &device);
        let own = self.voter(of_election, &self.code, &Device::in_memory());
        self.watched = Some(cast(&watched, "Mayor=Ada", &mut self.rng).await);
        cast(&own, "Mayor=2", &mut self.rng).await;
    }
}

fn read(code: &str) -> Invitation {
    read_invitation(&[code]).expect("an invitation")
}

async fn cast(voter: &Voter, choice: &str, rng: &mut StdRng) -> Named {
    let choices = Choices::parse(voter.form(), [choice]).expect("choices");
    let mut cast = voter.cast(&choices, rng).await.expect("cast");
    cast.third().await;
    cast.named().clone()
}

/// Everybody enrols; a coin decides what is handed over.
async fn enrolled(world: &mut World, of_election: &(Election, Connections)) -> Vec<Coerced> {
    let mut secret = StdRng::seed_from_u64(0x5eed_c01d);
    let mut enrolling = Vec::new();
    for voter in 0..VOTERS {
        let shape = CardShape::of(&called(1, voter as u32), CardKey::P256, OPENS);
        let cards = world.fixture.cards.as_mut().expect("cards");
        let card = cards.card(&shape);
        let path = pkcs12(world.root.path(), &cards.issuing, &card);
        let directory = world.root.path().join(format!("device-{voter}"));
        let (is_true, seed) = (secret.random::<bool>(), secret.next_u64());
        enrolling.push(async move {
            let (election, connections) = of_election;
            let mut rng = StdRng::seed_from_u64(seed);
            let file = Card::File(CardFile::open(&path, PASSWORD).expect("opens"));
            let mut ask = |_: &str| panic!("a file's password was given");
            let enrolled = enrol(election, connections, &file, &mut ask, &mut rng).await;
            let code = enrolled
                .unwrap_or_else(|error| panic!("{error}"))
                .invitation
                .to_code();
            let decoy = decoy_of(&code, &mut rng).expect("of a code").to_code();
            let handed = if is_true { &code } else { &decoy };
            assert_eq!(handed.len(), code.len());
            Coerced {
                is_true,
                handed: handed.to_string(),
                code: code.to_string(),
                directory,
                certificate: card.certificate,
                watched: None,
                rng,
            }
        });
    }
    let voters = join_all(enrolling).await;
    let trues = voters.iter().filter(|voter| voter.is_true).count();
    assert!(
        (VOTERS / 4..VOTERS * 3 / 4).contains(&trues),
        "a fair coin: {trues}"
    );
    voters
}

/// What the coercer has of everybody now. The logs show that many records and ballots.
async fn look(
    world: &World,
    parties: &[Party],
    (voters, election): (&[Coerced], &Election),
    acceptances: usize,
) -> (Vec<Seen>, Logs) {
    let (ally, logs) = (
        &parties[ALLY.slot()],
        Logs::fetch(world, parties, acceptances).await,
    );
    let watched: HashSet<Digest> = voters
        .iter()
        .filter_map(|voter| Some(voter.watched.as_ref()?.digest))
        .collect();
    let mut all = Vec::new();
    for voter in voters {
        let record = record_of(ally, &voter.certificate);
        let digest = voter.watched.as_ref().map(|named| named.digest);
        let (mut bytes, mut figures) = told(world, parties, &record.digest, voter.watched.as_ref()).await;
        figures.extend(logs.figures(&record.digest, digest.as_ref(), &watched));
        bytes.extend(logs.bytes_of(&record.digest));
        if let Some(digest) = &digest {
            bytes.extend(logs.bytes_of(digest));
            let (row, of_row) = ballot_of(ally, digest);
            bytes.extend(row);
            figures.extend(of_row);
        }
        let invitation = read(&voter.handed);
        let handed = invitation.credential_for(&election.manifest_hash());
        all.push(Seen {
            is_true: voter.is_true,
            handed: handed.expect("of this election").expose(),
            device: files(&voter.directory),
            digest,
            record,
            bytes,
            figures,
        });
    }
    (all, logs)
}

/// What was seen of each voter until now, beside the truth.
type Figures = Vec<(bool, Vec<f64>)>;

/// Nothing adds up, and no figure goes with the truth; one that does three times in four is found.
fn guesses(moment: &str, all: &[Seen], until_now: &mut Figures, rng: &mut StdRng) {
    // The device holds files of one form, and nothing of the invitation.
    let forms = |of: &Seen| {
        of.device
            .iter()
            .map(|(name, content)| (name.clone(), content.len()))
            .collect::<Vec<_>>()
    };
    for seen in all {
        assert_eq!(forms(seen), forms(&all[0]), "{moment}");
        assert!(
            !adds_up(seen, &More::default()),
            "{moment}: something adds up, true or not"
        );
    }
    until_now.resize(all.len(), (false, Vec::new()));
    for ((is_true, known), seen) in until_now.iter_mut().zip(all) {
        *is_true = seen.is_true;
        known.extend(figures(seen));
    }
    println!("{moment}: {} figures of each voter", until_now[0].1.len());
    assert!(
        !tells(until_now, rng),
        "{moment}: a figure tells what was handed over"
    );
    let hinting: Figures = (0..)
        .zip(&*until_now)
        .map(|(i, (is_true, figures))| {
            let hint = is_true ^ (i % 4 == 3);
            let figures = figures.iter().copied().chain([f64::from(u8::from(hint))]);
            (*is_true, figures.collect())
        })
        .collect();
    assert!(
        tells(&hinting, rng),
        "{moment}: a hint that is right three times in four is found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn device_logs_and_one_database_do_not_tell_a_decoy_better_than_a_coin() {
    let (mut world, parties, began_ms, running) = start().await;
    let of_election = connections(&world, &parties);
    let election = &of_election.0;
    let (mut until_now, mut rng) = (Figures::new(), StdRng::seed_from_u64(4));
    let mut voters = enrolled(&mut world, &of_election).await;
    join_all(voters.iter_mut().map(|voter| voter.tries_too_early(&of_election))).await;
    let (all, _) = look(&world, &parties, (&voters, election), VOTERS).await;
    guesses("before the opening", &all, &mut until_now, &mut rng);

    began_ms.store((OPENS + 100) * 1000, Ordering::Relaxed);
    until("it is open", async || world.clock.now_ms() > (OPENS + 100) * 1000).await;
    // A program of now: one that asked for the time some seconds ago carries that on.
    let of_election = connections(&world, &parties);
    let election = &of_election.0;
    join_all(voters.iter_mut().map(|voter| voter.casts(&of_election))).await;
    // A record and two ballots of each.
    let (all, _) = look(&world, &parties, (&voters, election), 3 * VOTERS).await;
    guesses("when it is cast", &all, &mut until_now, &mut rng);

    running.abort();
    world.clock.set((DRAINED + 1) * 1000);
    join_all(parties.iter().map(|party| seal(&world, party))).await;
    let (all, logs) = look(&world, &parties, (&voters, election), 3 * VOTERS).await;
    guesses("after the Seal", &all, &mut until_now, &mut rng);

    // What the two others could add: the third share with its nonce, and the third offset.
    let other = &parties[ALLY.prev().slot()];
    let all: Vec<(Seen, Record)> = all
        .into_iter()
        .zip(&voters)
        .map(|(seen, voter)| (seen, record_of(other, &voter.certificate)))
        .collect();
    with_more(&all);

    // A log in which decoys' ballots come later is found, whatever else is there.
    let digest_of = |seen: &Seen| seen.digest.expect("cast");
    let decoys = all.iter().filter(|(seen, _)| !seen.is_true);
    let decoys: HashSet<Digest> = decoys.map(|(seen, _)| digest_of(seen)).collect();
    let watched: HashSet<Digest> = all.iter().map(|(seen, _)| digest_of(seen)).collect();
    let later = logs.later(ALLY.next(), &decoys, VOTERS as u64);
    let plus = |more: &dyn Fn(&(Seen, Record)) -> Vec<f64>| -> Figures {
        let both = until_now.iter().zip(&all);
        both.map(|((is_true, figures), of)| (*is_true, [&figures[..], &more(of)].concat()))
            .collect()
    };
    let figures_of =
        |logs: &Logs, seen: &Seen| logs.figures(&seen.record.digest, seen.digest.as_ref(), &watched);
    let leaning = plus(&|(seen, _)| figures_of(&later, seen));
    assert!(tells(&leaning, &mut rng), "a log that leans tells");
    let leaking = plus(&|(seen, other)| {
        let share = |opening: &Opening| u64::from_le_bytes(opening.share().try_into().expect("8 bytes"));
        let shares = &seen.record.shares;
        let sum = share(&shares.this) ^ share(&shares.next) ^ share(&other.shares.this);
        let offsets = seen.record.offsets[0] ^ seen.record.offsets[1] ^ other.offsets[0];
        vec![f64::from((seen.handed ^ sum ^ offsets).count_ones())]
    });
    assert!(tells(&leaking, &mut rng), "two parties together tell");
}

/// A nonce that the device forgot to erase does not help without the third offset, nor the offset without the nonce; both convict.
fn with_more(all: &[(Seen, Record)]) {
    let control = |left: &dyn Fn(&Record) -> Vec<u8>| {
        let guess = |(seen, other): &(Seen, Record)| {
            let more = More {
                left_on_device: left(other),
            };
            (adds_up(seen, &more), seen.is_true)
        };
        all.iter().map(guess).collect::<Vec<_>>()
    };
    let nonce = |other: &Record| other.shares.this.nonce().to_vec();
    let offset = |other: &Record| other.offsets[0].to_le_bytes().to_vec();
    let share = |other: &Record| other.shares.this.share().to_vec();
    assert!(
        control(&nonce).iter().all(|(hit, _)| !hit),
        "nonces are not enough: the offset protects"
    );
    assert!(control(&offset).iter().all(|(hit, _)| !hit));
    assert!(control(&share).iter().all(|(hit, _)| !hit));
    let both = |other: &Record| [nonce(other), offset(other)].concat();
    let told = control(&both);
    assert!(
        told.iter().all(|(hit, is_true)| hit == is_true),
        "a device that keeps nonces and offsets betrays its owner: {told:?}"
    );
}
