//! A coercer who is in league with one party: the voter handed over an invitation, the coercer watched a ballot being cast with it, holds the
//! device's files, and reads that party's database with its keys once the box is sealed: the log, with places and times, the others' receipts. Is what
//! was handed over the voter's true credential, or a decoy?
//!
//! Does anything add up, and does any figure go with the truth better than with a shuffled one? The same coercer with one thing more (the other
//! parties' offsets, the nonces that the device must forget, a figure that is right three times in four) is found out: so the eyes work, and what
//! they are kept from is what protects the voter. What a tally shows is the engine's tests' matter.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use prost::Message as _;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, RngExt as _, SeedableRng, rngs::StdRng};
use tally_client::card::{Card, CardFile};
use tally_client::{Choices, Connections, Device, Election, Voter, decoy_of, enrol, read_invitation};
use tally_party::offsets::Held;
use tally_party::store::{Kind, accepted, log, receipts};
use tally_proto::ballot::BallotHeader;
use tally_proto::fixture::cards::{CardKey, CardShape, DAY, called};
use tally_proto::fixture::{DRAINED, OPENS, Shape};
use tally_proto::ids::{Digest, Role, RoleExt as _};
use tally_proto::invitation::Invitation;
use tally_proto::pki::PeerRole;
use tally_proto::receipt::Receipt;
use tally_proto::record::RecordHeader;
use tally_proto::shares::{Opening, PartyShares};
use tally_proto::wire;
use tally_proto::wire::seal_event::Event;
use zeroize::Zeroizing;

use crate::world::{Party, World};

/// Voters, each of whom hands over the true code or a decoy by a coin. Of so many a figure that is right three times in four is found in 19 of 20
/// runs at least.
const VOTERS: usize = 160;
/// Shuffles of the truth: a figure tells when the best goes with the truth better than in every one of them, which happens by chance in
/// one of so many runs.
const SHUFFLES: usize = 4_000;
/// The corrupt party.
const ALLY: Role = Role::P1;

/// One voter, and what the coercer has of it.
struct Seen {
    /// What nobody but the voter knows: was the true invitation handed over?
    is_true: bool,
    /// The credential in what was handed over.
    handed: u64,
    /// Every file of the device: its name, its content.
    device: Vec<(String, Vec<u8>)>,
    /// The ballot that was cast before the coercer's eyes.
    digest: Digest,
    /// What the voter's card signed: the ally sees who enrols.
    record: Record,
    /// The watched ballot's row at the ally: header and opened shares.
    ballot: Vec<u8>,
    /// Figures that the ally's database and the logs give of this voter.
    figures: Vec<f64>,
}

/// A voter's record as one party has it.
struct Record {
    header: RecordHeader,
    digest: Digest,
    /// Where it stands in the party's log, and when it was taken.
    placed: [f64; 2],
    /// Header, authorisation and opened shares.
    bytes: Vec<u8>,
    shares: PartyShares,
    /// s_i and s_{i+1}.
    offsets: [u64; 2],
}

/// Values of 64 bits that somebody may have beside what [`Seen`] holds.
#[derive(Default)]
struct More {
    /// In the device's files: 8 bytes or 32 bytes of secrets that a careless program left there.
    left_on_device: Vec<u8>,
}

fn pkcs12(world: &World, card: &tally_proto::fixture::cards::Card, voter: usize) -> PathBuf {
    let issuing = &world.fixture.cards.as_ref().expect("cards").issuing;
    let chain = [card.certificate.as_slice(), issuing].map(|der| Certificate::from_der(der).expect("read"));
    let key = PrivateKey::from_der(&card.key_der()).expect("a key");
    let mut store = KeyStore::new();
    let entry = KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new("1", key, chain));
    store.add_entry("voter", entry);
    let path = world.root.path().join(format!("{voter}.p12"));
    std::fs::write(&path, store.writer("pilot").write().expect("written")).expect("written");
    path
}

/// Three real parties that know each other, and a clock that runs.
async fn start() -> (World, Vec<Party>, tokio::task::JoinHandle<()>) {
    let world = World::connected(Shape {
        cards: true,
        // The last voter of a box may vote at a station only.
        voters: [(VOTERS + 1) as u32, 3],
        ..Shape::default()
    });
    let (clock, begun) = (world.clock.clone(), Instant::now());
    let now_ms = move || (OPENS + 100) * 1000 + begun.elapsed().as_millis() as u64;
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
    (world, parties, running)
}

fn connections(world: &World, parties: &[Party]) -> (Election, Connections) {
    let election = Election::new((*world.fixture.manifest).clone()).expect("complete");
    let channels = std::array::from_fn(|at| parties[at].public_channel());
    let connections = Connections::over(&election, channels, parties[0].public_channel());
    (election, connections)
}

/// The only record at `party` that this certificate signed.
fn record_of(party: &Party, certificate: &[u8]) -> Record {
    let own = party.running.party();
    let mut found = None;
    own.store
        .read(|tx| {
            accepted::for_each(tx, Kind::Record, 1, 1, |digest, row| {
                let signed = &row.authority_signature;
                if signed.windows(certificate.len()).any(|at| at == certificate) {
                    found = Some((Digest(*digest), row));
                }
                Ok::<_, tally_party::store::StoreError>(())
            })
        })
        .expect("read");
    let (digest, row) = found.expect("the voter's record");
    let opened = own.vault.open(
        Kind::Record,
        party.role.index(),
        digest.as_bytes(),
        &row.sealed_shares,
    );
    let opened = opened.expect("opens");
    let header = RecordHeader::decode(&row.header).expect("a header");
    let shares = header.context().read(&opened).expect("shares");
    let held = Held::new(party.role, &own.store, &own.vault);
    let register = &header.card().expect("a card's").register;
    let offsets = [party.role, party.role.next()].map(|j| {
        let (key, _) = held.key(register, j).expect("read").expect("held");
        key.offset(j, &digest).expose()
    });
    Record {
        placed: [row.position as f64, row.received_at_s as f64],
        bytes: [&row.header[..], &row.authority_signature, &opened].concat(),
        header,
        digest,
        shares,
        offsets,
    }
}

/// The ally's row of a ballot, opened, and its receipts by the others; and the figures of it.
fn ballot_of(party: &Party, digest: &Digest) -> (Vec<u8>, Vec<f64>) {
    let own = party.running.party();
    let store = &own.store;
    let row = store
        .read(|tx| accepted::get(tx, Kind::Ballot, 1, 1, digest.as_bytes()))
        .expect("read")
        .expect("accepted");
    let opened = own.vault.open(
        Kind::Ballot,
        party.role.index(),
        digest.as_bytes(),
        &row.sealed_shares,
    );
    let mut bytes = [&row.header[..], &row.receipt_signature, &opened.expect("opens")].concat();
    let entry = store
        .read(|tx| log::entries(tx, 1, row.position, 1))
        .expect("read");
    bytes.extend_from_slice(&entry);
    let header = BallotHeader::decode(&row.header).expect("a header");
    let mut lengths = vec![
        bytes.len() as f64,
        row.position as f64,
        row.received_at_s as f64,
        header.cast_at().get() as f64,
        (digest.as_bytes()[0] % 16).into(),
    ];
    for by in Role::ALL {
        let receipt = store
            .read(|tx| receipts::get(tx, 1, 1, digest.as_bytes(), by.index()))
            .expect("read");
        // When and where the others accepted it.
        let stated = receipt.as_ref().map(|bytes| {
            let receipt = wire::Receipt::decode(bytes.as_slice()).expect("a receipt");
            Receipt::from_wire(&receipt).expect("a receipt")
        });
        let stated = stated.as_ref().map(Receipt::unverified);
        lengths.push(stated.map_or(-1.0, |of| of.position as f64));
        lengths.push(stated.map_or(-1.0, |of| of.received_at.get() as f64));
        lengths.push(receipt.as_ref().map_or(-1.0, |receipt| receipt.len() as f64));
        bytes.extend(receipt.unwrap_or_default());
    }
    (bytes, lengths)
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("listed") {
        let entry = entry.expect("listed");
        if entry.file_type().expect("listed").is_dir() {
            found.extend(files(&entry.path()));
        } else {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.push((name, std::fs::read(entry.path()).expect("read")));
        }
    }
    found.sort();
    found
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
        &seen.ballot,
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
        beside(seen.digest.as_bytes()),
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
    all.extend(
        seen.device
            .iter()
            .map(|(name, content)| (name.len() * 1000 + content.len()) as f64),
    );
    all.extend_from_slice(&seen.figures);
    all
}

/// The place of each value among all, the middle one of equals, about their mean and scaled to length 1; zeros where all are equal.
fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |value: f64| values.iter().filter(|other| **other < value).count() as f64;
    let equal = |value: f64| values.iter().filter(|other| **other == value).count() as f64;
    let places = values.iter().map(|value| below(*value) + equal(*value) / 2.0);
    let mean = values.len() as f64 / 2.0;
    let about: Vec<f64> = places.map(|place| place - mean).collect();
    let length = about.iter().map(|of| of * of).sum::<f64>().sqrt();
    about
        .iter()
        .map(|of| if length > 0.0 { of / length } else { 0.0 })
        .collect()
}

/// Whether a figure tells true from false: the one whose ranks go best with the truth does so better than the best one with any shuffled truth. So it
/// counts itself how many figures there are, and what they have to do with each other.
fn tells(voters: &[(bool, Vec<f64>)], rng: &mut StdRng) -> bool {
    let width = voters[0].1.len();
    assert!(
        voters.iter().all(|(_, figures)| figures.len() == width),
        "already the number of figures tells"
    );
    let figures: Vec<Vec<f64>> = (0..width)
        .map(|at| ranks(&voters.iter().map(|(_, figures)| figures[at]).collect::<Vec<_>>()))
        .collect();
    let best = |truth: &[f64]| {
        let with = |of: &Vec<f64>| {
            of.iter()
                .zip(truth)
                .map(|(one, other)| one * other)
                .sum::<f64>()
                .abs()
        };
        figures.iter().map(with).fold(0.0, f64::max)
    };
    let truth: Vec<f64> = voters
        .iter()
        .map(|(is_true, _)| f64::from(u8::from(*is_true)))
        .collect();
    let mut truth = ranks(&truth);
    let found = best(&truth);
    (0..SHUFFLES).all(|_| {
        truth.shuffle(rng);
        best(&truth) < found
    })
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

/// Casts with that invitation on the device in that directory.
async fn cast(
    (election, connections): &(Election, Connections),
    invitation: Invitation,
    device: &Device,
    choice: &str,
    rng: &mut StdRng,
) -> Digest {
    let voter = Voter::new(election, connections, invitation, device).expect("of this election");
    let choices = Choices::parse(voter.form(), [choice]).expect("choices");
    let mut cast = voter.cast(&choices, rng).await.expect("cast");
    cast.third().await;
    cast.digest()
}

#[tokio::test(flavor = "multi_thread")]
async fn device_logs_and_one_database_do_not_tell_a_decoy_better_than_a_coin() {
    let (mut world, parties, running) = start().await;
    let mut secret = StdRng::seed_from_u64(0x5eed_c01d);
    let of_election = Arc::new(connections(&world, &parties));

    // Everybody enrols; a coin decides what is handed over; both ballots of everybody are cast, one before the coercer's eyes, the other elsewhere.
    let mut enrolling = Vec::new();
    for voter in 0..VOTERS {
        let shape = CardShape::of(&called(1, voter as u32), CardKey::P256, OPENS);
        let card = world.fixture.cards.as_mut().expect("cards").card(&shape);
        let path = pkcs12(&world, &card, voter);
        let (root, of_election) = (world.root.path().to_owned(), Arc::clone(&of_election));
        let (is_true, seed) = (secret.random::<bool>(), secret.next_u64());
        enrolling.push(async move {
            let (election, connections) = &*of_election;
            let mut rng = StdRng::seed_from_u64(seed);
            let file = Card::File(CardFile::open(&path, "pilot").expect("opens"));
            let mut ask = |_: &str| panic!("a file's password was given");
            let enrolled = enrol(election, connections, &file, &mut ask, &mut rng).await;
            let code = enrolled
                .unwrap_or_else(|error| panic!("{error}"))
                .invitation
                .to_code();
            let decoy = decoy_of(&code, &mut rng).expect("of a code").to_code();
            let handed = if is_true { &code } else { &decoy };
            assert_eq!(handed.len(), code.len());
            let directory = root.join(format!("device-{voter}"));
            let device = Device::open(&directory).expect("a device");
            let read = |text: &str| read_invitation(&[text]).expect("an invitation");
            let credential = read(handed)
                .credential_for(&election.manifest_hash())
                .expect("of this election")
                .expose();
            let watched = cast(&of_election, read(handed), &device, "Mayor=Ada", &mut rng).await;
            let elsewhere = Device::in_memory();
            cast(&of_election, read(&code), &elsewhere, "Mayor=2", &mut rng).await;
            (is_true, credential, watched, files(&directory), card.certificate)
        });
    }
    let voters = join_all(enrolling).await;
    running.abort();
    world.clock.set((DRAINED + 1) * 1000);
    join_all(parties.iter().map(|party| seal(&world, party))).await;

    let ally = &parties[ALLY.slot()];
    let mut all = Vec::new();
    for (is_true, handed, digest, device, certificate) in voters {
        let (ballot, figures) = ballot_of(ally, &digest);
        let record = record_of(ally, &certificate);
        // What the two others could add: the third share with its nonce, and the third offset.
        let other = record_of(&parties[ALLY.prev().slot()], &certificate);
        let seen = Seen {
            is_true,
            handed,
            device,
            digest,
            record,
            ballot,
            figures,
        };
        all.push((seen, other));
    }
    let trues = all.iter().filter(|(seen, _)| seen.is_true).count();
    assert!(
        (VOTERS / 4..VOTERS * 3 / 4).contains(&trues),
        "a fair coin: {trues}"
    );

    // The device holds one file of one form, and nothing of the invitation.
    let (first, _) = &all[0];
    for (seen, _) in &all {
        let forms = |of: &Seen| {
            of.device
                .iter()
                .map(|(name, content)| (name.clone(), content.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(forms(seen), forms(first));
        assert!(!adds_up(seen, &More::default()), "something adds up, true or not");
    }

    // A nonce that the device forgot to erase does not help without the third offset, nor the offset without the nonce; both convict.
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

    // No figure goes with the truth; one that does is found: always right, or three times in four.
    let fair: Vec<_> = all
        .iter()
        .map(|(seen, _)| (seen.is_true, figures(seen)))
        .collect();
    let mut rng = StdRng::seed_from_u64(4);
    assert!(!tells(&fair, &mut rng), "a figure tells what was handed over");
    let hinting: Vec<_> = (0..)
        .zip(&fair)
        .map(|(i, (is_true, figures))| {
            let hint = is_true ^ (i % 4 == 3);
            let figures = figures.iter().copied().chain([f64::from(u8::from(hint))]);
            (*is_true, figures.collect())
        })
        .collect();
    assert!(
        tells(&hinting, &mut rng),
        "a hint that is right three times in four is found"
    );
    let leaking: Vec<_> = all
        .iter()
        .map(|(seen, other)| {
            let third = u64::from_le_bytes(other.shares.this.share().try_into().expect("8 bytes"));
            let own = u64::from_le_bytes(seen.record.shares.this.share().try_into().expect("8 bytes"));
            let next = u64::from_le_bytes(seen.record.shares.next.share().try_into().expect("8 bytes"));
            let offsets = seen.record.offsets[0] ^ seen.record.offsets[1] ^ other.offsets[0];
            let distance = (seen.handed ^ own ^ next ^ third ^ offsets).count_ones();
            let mut figures = figures(seen);
            figures.push(f64::from(distance));
            (seen.is_true, figures)
        })
        .collect();
    assert!(tells(&leaking, &mut rng), "two parties together tell");
}
