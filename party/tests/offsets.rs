//! Three servers agree on the keys of the offsets of enrolled credentials, over mutual TLS.

use std::sync::Arc;

use rand::{SeedableRng as _, rngs::StdRng};
use redb::TableDefinition;
use tally_party::entropy::SeededEntropy;
use tally_party::mirror::Gate;
use tally_party::offsets::Held;
use tally_party::sealing::{Parts, Patience, SealedBox, Sealing};
use tally_party::store::accepted::{self, Accepted, Counted};
use tally_party::store::sim::SimDisk;
use tally_party::store::{Kind, Storage, StoreError, receipts, registers};
use tally_proto::audit::{Check, Verdict};
use tally_proto::connect;
use tally_proto::fixture::cards::{CardKey, DAY};
use tally_proto::fixture::{DRAINED, OPENS, Shape};
use tally_proto::ids::{BoxId, Digest, Hash32, RegisterId, Role, RoleExt as _, UnixSeconds, VoterIndex};
use tally_proto::invitation::Credential;
use tally_proto::offsets::{self, OffsetKey, Telling, Told};
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::record::{Half, RecordSubmission};
use tally_proto::wire;
use tally_proto::wire::seal_event::Event;
use tonic::Status;

use crate::world::three::stopped;
use crate::world::{Party, World, reason};

const REGISTER: &str = "city-2027";

/// A world whose parties know each other's ports.
struct Three {
    world: World,
}

impl Three {
    fn new() -> Self {
        Self::with(Shape::default())
    }

    fn with(shape: Shape) -> Self {
        Self {
            world: World::connected(shape),
        }
    }

    async fn start(&self, role: Role) -> Party {
        self.world.start(role).await
    }

    /// What the coordinator is told by `party`.
    async fn commitments(&self, party: &Party) -> Result<Vec<(u32, Hash32)>, Status> {
        let mut control = party.control(&self.world.leaf_of(party.role, PeerRole::Coordinator));
        let register = wire::RegisterRef {
            register: REGISTER.into(),
        };
        let reply = control.offset_commitments(register).await?.into_inner();
        let one =
            |of: &wire::CredentialOffset| (of.index, Hash32::from_slice(&of.commitment).expect("32 bytes"));
        Ok(reply.offsets.iter().map(one).collect())
    }

    /// What `asked` gives `caller` as K_j.
    async fn key(&self, asked: &Party, caller: Role, j: u32) -> Result<Vec<u8>, Status> {
        let leaf = self.world.leaf_of(caller, PeerRole::Party(caller));
        let request = wire::OffsetKeyRequest {
            register: REGISTER.into(),
            index: j,
        };
        let mut peer = connect::peer(asked.peer_channel(Some(&leaf)));
        Ok(peer.offset_key(request).await?.into_inner().key)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pair_of_neighbours_comes_to_hold_one_key() {
    let three = Three::new();
    let [p1, p2, p3] = [
        three.start(Role::P1).await,
        three.start(Role::P2).await,
        three.start(Role::P3).await,
    ];
    // The first time each draws its own, and has its neighbour's only if that was asked before.
    let first = three.commitments(&p1).await.expect("P1 draws K_1");
    assert_eq!(first.iter().map(|(j, _)| *j).collect::<Vec<_>>(), [1]);
    let third = three
        .commitments(&p3)
        .await
        .expect("P3 draws K_3 and is given K_1");
    assert_eq!(third.iter().map(|(j, _)| *j).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(third[1], first[0], "both holders name the same commitment");
    three.commitments(&p2).await.expect("P2");
    let mut all = Vec::new();
    for party in [&p1, &p2, &p3] {
        let held = three.commitments(party).await.expect("both");
        let own = party.role;
        assert_eq!(
            held.iter().map(|(j, _)| *j).collect::<Vec<_>>(),
            [own.number(), own.next().number()]
        );
        all.extend(held);
    }
    all.sort_by_key(|(j, _)| *j);
    for copies in all.chunks(2) {
        assert_eq!(copies[0], copies[1], "both holders name the same commitment");
    }
    // Each key opens its commitment, for its two holders only; nobody else is given it.
    let register = RegisterId::new(REGISTER).expect("an id");
    for (asked, caller) in [(&p1, Role::P2), (&p1, Role::P3), (&p2, Role::P1), (&p3, Role::P2)] {
        for j in Role::ALL {
            let answer = three.key(asked, caller, j.number()).await;
            let together = [j, j.prev()].contains(&asked.role) && [j, j.prev()].contains(&caller);
            if together {
                let key = OffsetKey::from_bytes(&answer.expect("both hold it")).expect("64 bytes");
                let commitment = key.commitment(&register, j);
                assert!(all.contains(&(j.number(), commitment)), "K_{j} opens C_{j}");
            } else {
                assert_eq!(
                    reason(answer),
                    Reason::RoleRefused,
                    "{caller} asks {} for K_{j}",
                    asked.role
                );
            }
        }
    }
    assert_eq!(
        reason(three.key(&p1, Role::P2, 0).await),
        Reason::MessageMalformed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commission_has_no_keys_made_without_end() {
    let three = Three::new();
    let p1 = three.start(Role::P1).await;
    let of = |n: usize| RegisterId::new(&format!("town-{n}")).expect("an id");
    let own = p1.running.party();
    let held = Held::new(Role::P1, &own.store, &own.vault);
    let mut rng = StdRng::seed_from_u64(6);
    for n in 0..2048 {
        held.keep(&of(n), Role::P1, OffsetKey::generate(&mut rng))
            .expect("kept");
    }
    let _others = [three.start(Role::P2).await, three.start(Role::P3).await];
    let refused = three.commitments(&p1).await;
    assert_eq!(reason(refused), Reason::OffsetsTooMany);
    assert!(
        held.key(&RegisterId::new(REGISTER).expect("an id"), Role::P1)
            .expect("read")
            .is_none()
    );
    // What is here already is told.
    let mut control = p1.control(&three.world.leaf_of(Role::P1, PeerRole::Coordinator));
    let known = wire::RegisterRef {
        register: of(7).as_str().to_owned(),
    };
    let told = control.offset_commitments(known).await;
    assert!(!told.expect("told").into_inner().offsets.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_survive_a_restart_and_come_back_after_a_lost_store() {
    let three = Three::new();
    let [p1, p2, p3] = [
        three.start(Role::P1).await,
        three.start(Role::P2).await,
        three.start(Role::P3).await,
    ];
    for _ in 0..2 {
        for party in [&p1, &p2, &p3] {
            three.commitments(party).await.expect("asked");
        }
    }
    let before = three.commitments(&p2).await.expect("P2's");
    assert_eq!(before.len(), 2);
    let disk = stopped(p2).await;
    let p2 = three.world.start_on(Role::P2, disk).await;
    assert_eq!(three.commitments(&p2).await.expect("after a restart"), before);
    p2.running.stop().await;
    // Another disk: P1 has K_2 and P3 has K_3, so nothing new is drawn.
    let p2 = three.start(Role::P2).await;
    let given = three.key(&p2, Role::P1, 2).await.expect("asked");
    assert!(given.is_empty(), "nothing is drawn for a peer");
    assert_eq!(
        three.commitments(&p2).await.expect("from both neighbours"),
        before
    );
    // A party that is alone draws nothing: its neighbour may hold what it lost.
    let alone = Three::new();
    let p1 = alone.start(Role::P1).await;
    assert_eq!(reason(alone.commitments(&p1).await), Reason::PartyUnreachable);
}

/// Three parties with one election in force where voters enrol by card, and a card record of voter 0 of box 1 in each store.
struct Enrolled {
    three: Three,
    parties: [Party; 3],
    record: [RecordSubmission; 3],
    drawn: Credential,
}

impl Enrolled {
    async fn new() -> Self {
        let mut three = Three::with(Shape {
            cards: true,
            ..Shape::default()
        });
        let drawn = Credential::new(0x0123_4567_89ab_cdef);
        let card = three.world.fixture.card(BoxId(1), VoterIndex(0), CardKey::P256);
        let record = three.world.fixture.card_record(&card, UnixSeconds(OPENS), &drawn);
        let mut parties = Vec::new();
        for role in Role::ALL {
            let party = three.start(role).await;
            // Without the keys that it names no party takes the manifest.
            let refused = three.world.publish(&party).await;
            assert_eq!(reason(refused), Reason::OffsetsMissing);
            parties.push(party);
        }
        let parties: [Party; 3] = parties.try_into().unwrap_or_else(|_| panic!("three"));
        for party in &parties {
            three.world.put_in_force(party).await;
            three.take(party, &record);
        }
        Self {
            three,
            parties,
            record,
            drawn,
        }
    }

    /// Party 1 on that disk, at another port.
    async fn restart_first(&mut self, disk: SimDisk) {
        let world = &self.three.world;
        let mut config = world.config(Role::P1);
        config.listen_peer.set_port(0);
        let storage = Storage::Backend(Box::new(disk.clone()));
        let new = world.start_with(config, storage, disk).await;
        let old = std::mem::replace(&mut self.parties[0], new);
        old.running.stop().await;
    }

    fn receipts(&self) -> Vec<wire::Receipt> {
        let digest = self.record[0].digest();
        let fixture = &self.three.world.fixture;
        Role::ALL
            .map(|role| fixture.receipt(role, BoxId(1), digest).to_wire())
            .to_vec()
    }

    /// What the device, which drew the record, shares with a party.
    fn telling(&self, role: Role) -> Telling {
        let header = self.record[0].header();
        let opened = header
            .context()
            .open(
                role,
                &self.three.world.fixture.opening_keys[role.slot()],
                &self.record[0].digest(),
                &header.commitments,
                self.record[role.slot()].ciphertext(),
            )
            .expect("opens");
        Telling::new(
            role,
            &self.record[0].digest(),
            opened.this.nonce(),
            opened.next.nonce(),
        )
    }

    async fn ask(&self, role: Role, receipts: Vec<wire::Receipt>, proof: &[u8]) -> Result<Vec<u8>, Status> {
        let party = &self.parties[role.slot()];
        let leaf = self.three.world.leaf_of(role, PeerRole::Coordinator);
        let request = wire::OffsetsRequest {
            receipts,
            proof: proof.to_vec(),
        };
        let mut registration = party.registration(&leaf);
        Ok(registration.offsets(request).await?.into_inner().sealed)
    }
}

impl Three {
    /// Puts the record into the party's store as intake does.
    fn take(&self, party: &Party, record: &[RecordSubmission; 3]) {
        let (own, submission) = (party.running.party(), &record[party.role.slot()]);
        let (digest, header) = (submission.digest(), submission.header());
        let opened = header
            .context()
            .open(
                party.role,
                &self.world.fixture.opening_keys[party.role.slot()],
                &digest,
                &header.commitments,
                submission.ciphertext(),
            )
            .expect("opens");
        let mut row = Accepted {
            header: header.encode(),
            authority_signature: Vec::new(),
            ciphertext_hash: submission.ciphertext_hash().0,
            received_at_s: OPENS,
            position: 0,
            receipt_signature: Vec::new(),
            sealed_shares: own.vault.seal(
                Kind::Record,
                party.role.index(),
                digest.as_bytes(),
                &opened.to_bytes(),
            ),
        };
        own.store
            .write(|tx| {
                // No two stand at one position.
                row.position = accepted::digests(tx, Kind::Record, 1, 1)?.len() as u64;
                accepted::insert(tx, 1, 1, digest.as_bytes(), Counted::Record, &row)
            })
            .expect("stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_told_once_to_the_device_that_drew_the_record() {
    let enrolled = Enrolled::new().await;
    let mut told = Vec::new();
    for role in Role::ALL {
        let telling = enrolled.telling(role);
        // Whoever does not know both nonces is told nothing, and uses nothing up.
        let neighbour = enrolled.telling(role.next());
        for proof in [&[][..], &[0; 32], neighbour.proof()] {
            let refused = enrolled.ask(role, enrolled.receipts(), proof).await;
            assert_eq!(reason(refused), Reason::OffsetsRefused);
        }
        let sealed = enrolled.ask(role, enrolled.receipts(), telling.proof()).await;
        told.push(telling.open(&sealed.expect("told")).expect("opens"));
        let again = enrolled.ask(role, enrolled.receipts(), telling.proof()).await;
        assert_eq!(reason(again), Reason::OffsetsTold);
        // Whoever leaves this record out of its List is convicted by what both others now have.
        let store = &enrolled.parties[role.slot()].running.party().store;
        for by in [role.next(), role.prev()] {
            let kept = store
                .read(|tx| receipts::get(tx, 1, 1, &enrolled.record[0].digest().0, by.index()))
                .expect("read");
            let given = enrolled
                .three
                .world
                .fixture
                .receipt(by, BoxId(1), enrolled.record[0].digest());
            assert_eq!(kept, Some(given.encode()), "{role} has what {by} signed");
        }
    }
    // The copies agree, and the credential is not what the public commitments hold.
    let told: [Told; 3] = told.try_into().expect("three");
    let credential = offsets::credential(&enrolled.drawn, &told).expect("all agree");
    let (fixture, digest) = (&enrolled.three.world.fixture, enrolled.record[0].digest());
    let expected = Role::ALL.iter().fold(enrolled.drawn.expose(), |sum, j| {
        sum ^ fixture.offset_keys[j.slot()].offset(*j, &digest).expose()
    });
    assert_eq!(credential.expose(), expected);
    assert_ne!(credential.expose(), enrolled.drawn.expose());
}

/// Told twice they would show which of two credentials is the true one: that they were told is on disk before they leave.
#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_were_told_are_told_no_more_whatever_write_fails() {
    let mut enrolled = Enrolled::new().await;
    let telling = enrolled.telling(Role::P1);
    let [one, ..] = &enrolled.parties;
    let base = one.disk.after_crash(0);
    let mut untold = 0;
    for (failing, only) in (0..).flat_map(|failing| [(failing, false), (failing, true)]) {
        let disk = base.after_crash(0);
        enrolled.restart_first(disk.clone()).await;
        let at = disk.operations() + failing;
        if only {
            disk.fail_only(at);
        } else {
            disk.fail_from(at);
        }
        let told = enrolled.ask(Role::P1, enrolled.receipts(), telling.proof()).await;
        // A power cut right after the answer.
        enrolled.restart_first(disk.after_crash(failing)).await;
        let again = enrolled.ask(Role::P1, enrolled.receipts(), telling.proof()).await;
        if let Ok(sealed) = &told {
            telling.open(sealed).expect("opens");
            assert_eq!(
                reason(again),
                Reason::OffsetsTold,
                "told twice, operation {failing}"
            );
            if untold > 4 && !only {
                break;
            }
        } else {
            // Told now, or noted before and not told at all: the device enrols anew.
            untold += 1;
            if let Err(status) = again {
                assert_eq!(reason(Err::<(), _>(status)), Reason::OffsetsTold);
            }
        }
        assert!(failing < 200, "it writes without end");
    }
    assert!(untold > 4, "{untold} times it failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_told_for_three_receipts_of_one_card_record_only() {
    let mut enrolled = Enrolled::new().await;
    let (role, right) = (Role::P1, enrolled.receipts());
    let proof = *enrolled.telling(role).proof();
    let mut swapped = right.clone();
    swapped.swap(0, 1);
    let mut mixed = right.clone();
    mixed[2] = enrolled
        .three
        .world
        .fixture
        .receipt(Role::P3, BoxId(1), Digest([7; 32]))
        .to_wire();
    for receipts in [Vec::new(), right[..2].to_vec(), swapped, mixed] {
        let refused = enrolled.ask(role, receipts, &proof).await;
        assert_eq!(reason(refused), Reason::MessageMalformed);
    }
    let mut forged = right.clone();
    forged[1].received_at_s += 1;
    assert_eq!(
        reason(enrolled.ask(role, forged, &proof).await),
        Reason::ReceiptInvalid
    );
    // An issued record has no offsets.
    let issued =
        enrolled
            .three
            .world
            .fixture
            .record(BoxId(1), VoterIndex(1), 1, Half::WHOLE, &Credential::new(5));
    enrolled.three.take(&enrolled.parties[0], &issued);
    let fixture = &enrolled.three.world.fixture;
    let receipts = Role::ALL
        .map(|of| fixture.receipt(of, BoxId(1), issued[0].digest()).to_wire())
        .to_vec();
    assert_eq!(
        reason(enrolled.ask(role, receipts, &proof).await),
        Reason::OffsetsRefused
    );
    // None of this used anything up; and what was told stays told after a restart.
    enrolled.ask(role, right.clone(), &proof).await.expect("told");
    let [p1, p2, p3] = enrolled.parties;
    let disk = stopped(p1).await;
    let p1 = enrolled.three.world.start_on(Role::P1, disk).await;
    enrolled.parties = [p1, p2, p3];
    assert_eq!(
        reason(enrolled.ask(role, right, &proof).await),
        Reason::OffsetsTold
    );
}

/// Asks a party to seal box 1, and waits for the end.
async fn seal(world: &World, party: &Party) {
    let mut control = party.control(&world.leaf_of(party.role, PeerRole::Coordinator));
    let election = world.fixture.manifest.manifest().election().as_str().to_owned();
    let mut events = control
        .seal(wire::BoxRef { election, r#box: 1 })
        .await
        .expect("begun")
        .into_inner();
    while let Some(event) = events.message().await.expect("an event") {
        if let Some(Event::Done(_)) = event.event {
            return;
        }
    }
    panic!("the stream ended without a word");
}

/// The sealed box 1, as the party has it.
pub(crate) async fn sealed_box(world: &World, party: &Party) -> SealedBox {
    let own = party.running.party();
    let sealing = Sealing::new(Parts {
        me: party.role,
        store: Arc::clone(&own.store),
        vault: Arc::clone(&own.vault),
        signer: Arc::clone(&own.signer),
        clock: Arc::new(world.clock.clone()),
        patience: Patience::default(),
        entropy: Arc::new(SeededEntropy::new(3)),
        gate: Arc::new(Gate::always_open()),
    });
    let election = world.fixture.manifest.manifest().election().clone();
    let sealed = sealing.sealed_box(&election, BoxId(1)).await.expect("read");
    sealed.expect("sealed")
}

/// What an audit says of the keys of offsets.
fn audited(sealed: &SealedBox) -> (Verdict, String) {
    let items = sealed.audit().expect("read");
    let item = items.into_iter().find(|item| item.check == Check::CardOffsets);
    item.map(|item| (item.verdict, item.detail)).expect("checked")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_record_goes_into_the_tally_with_its_offsets_and_an_issued_one_without() {
    let mut three = Three::with(Shape {
        cards: true,
        ..Shape::default()
    });
    let mut parties = Vec::new();
    for role in Role::ALL {
        three
            .world
            .write_revocations(role, &[], OPENS - DAY, OPENS + 30 * DAY);
        let party = three.start(role).await;
        three.world.put_in_force(&party).await;
        parties.push(party);
    }
    let (drawn, issued) = (Credential::new(0x0f1e_2d3c_4b5a_6978), Credential::new(77));
    let now = UnixSeconds(three.world.clock_s());
    let fixture = &mut three.world.fixture;
    let card = fixture.card(BoxId(1), VoterIndex(0), CardKey::P384);
    let record = fixture.card_record(&card, now, &drawn);
    let letters = fixture.record(BoxId(1), VoterIndex(1), 1, Half::WHOLE, &issued);
    for party in &parties {
        let mut device = connect::registration(party.public_channel());
        let reply = device.enrol(record[party.role.slot()].to_wire()).await;
        let reply = reply.expect("enrolled").into_inner();
        assert_eq!((reply.r#box, reply.v), (1, 0));
        let leaf = three
            .world
            .leaf_of(party.role, PeerRole::Registrar("letters".into()));
        let mut answers = party
            .registration(&leaf)
            .register(tokio_stream::iter([letters[party.role.slot()].to_wire()]))
            .await
            .expect("served")
            .into_inner();
        let answer = answers.message().await.expect("an answer").expect("one");
        assert!(
            matches!(answer.outcome, Some(wire::record_receipt::Outcome::Receipt(_))),
            "{answer:?}"
        );
    }
    three.world.clock.set((DRAINED + 1) * 1000);
    futures::future::join_all(parties.iter().map(|party| seal(&three.world, party))).await;

    let mut shares = Vec::new();
    for party in &parties {
        let sealed = sealed_box(&three.world, party).await;
        shares.push(sealed.credentials().expect("all shares"));
        let (i, j) = (party.role.number(), party.role.next().number());
        let expected = format!("K_{i} and K_{j} of register {}", three.world.register());
        assert_eq!(audited(&sealed), (Verdict::Passed, expected));
    }
    let digest = record[0].digest();
    let keys = &three.world.fixture.offset_keys;
    let offsets = Role::ALL
        .iter()
        .fold(0, |sum, j| sum ^ keys[j.slot()].offset(*j, &digest).expose());
    let sum = |voter: usize| shares.iter().fold(0, |sum, of| sum ^ of.own[voter]);
    assert_eq!(sum(0), drawn.expose() ^ offsets, "enrolled: with offsets");
    assert_eq!(sum(1), issued.expose(), "issued: none");
    for i in Role::ALL {
        for voter in 0..2 {
            let (copy, own) = (shares[i.slot()].next[voter], shares[i.next().slot()].own[voter]);
            assert_eq!(copy, own, "both holders of a share have the same, voter {voter}");
        }
    }
    // Another key than the manifest's does not pass an audit.
    let p2 = &parties[Role::P2.slot()];
    let own = p2.running.party();
    let keys = TableDefinition::<(&str, u8), (&[u8; 32], &[u8])>::new("offset_keys");
    let register = three.world.register().to_string();
    own.store
        .write(|tx| {
            tx.table_mut(keys)?
                .remove((register.as_str(), Role::P3.index()))?
                .expect("was held");
            Ok::<_, StoreError>(())
        })
        .expect("written");
    let held = Held::new(Role::P2, &own.store, &own.vault);
    let other = OffsetKey::generate(&mut StdRng::seed_from_u64(4));
    held.keep(three.world.register(), Role::P3, other).expect("kept");
    let (verdict, why) = audited(&sealed_box(&three.world, p2).await);
    assert_eq!(verdict, Verdict::Failed);
    assert!(why.contains("the key of offsets P3"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_with_keys_that_are_not_here_is_not_taken() {
    let three = Three::with(Shape {
        cards: true,
        ..Shape::default()
    });
    let party = three.start(Role::P1).await;
    assert_eq!(
        reason(three.world.publish(&party).await),
        Reason::OffsetsMissing,
        "no keys at all"
    );
    // Keys of the register, but not those that the manifest commits to.
    let own = party.running.party();
    let register = three.world.fixture.manifest.manifest().register().expect("cards");
    let held = Held::new(party.role, &own.store, &own.vault);
    for (j, other) in [(Role::P1, Role::P3), (Role::P2, Role::P1)] {
        let key = &three.world.fixture.offset_keys[other.slot()];
        let key = OffsetKey::from_bytes(key.to_bytes().as_ref()).expect("64 bytes");
        held.keep(register.id(), j, key).expect("kept");
    }
    assert_eq!(
        reason(three.world.publish(&party).await),
        Reason::OffsetsMissing,
        "other keys"
    );
}

/// One corrupted party could otherwise keep chosen voters from voting in every later election of a register, unseen.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_one_party_does_not_take_over_stands_and_the_party_is_named() {
    let mut three = Three::with(Shape {
        cards: true,
        ..Shape::default()
    });
    three.world.clock.set((OPENS - 3000) * 1000);
    let mut parties = Vec::new();
    for role in Role::ALL {
        three
            .world
            .write_revocations(role, &[], OPENS - DAY, OPENS + 30 * DAY);
        let party = three.start(role).await;
        three.world.put_in_force(&party).await;
        parties.push(party);
    }
    let drawn = Credential::new(0x0f1e_2d3c_4b5a_6978);
    let now = UnixSeconds(three.world.clock_s());
    let card = three.world.fixture.card(BoxId(1), VoterIndex(0), CardKey::P256);
    let record = three.world.fixture.card_record(&card, now, &drawn);
    let digest = record[0].digest();
    let mut given = Vec::new();
    for party in &parties {
        let mut device = connect::registration(party.public_channel());
        let reply = device.enrol(record[party.role.slot()].to_wire()).await;
        given.push(reply.expect("enrolled").into_inner().receipt.expect("a receipt"));
    }
    // As the device does when it asks for its offsets.
    for party in &parties {
        for (of, receipt) in Role::ALL.into_iter().zip(&given) {
            if of != party.role {
                party.intake().deliver(receipt.clone()).await.expect("delivered");
            }
        }
    }
    // P3 looks at nothing that was enrolled elsewhere.
    let store = &parties[Role::P3.slot()].running.party().store;
    store
        .write(|tx| registers::put_taken_over(tx, 2, 1_000))
        .expect("written");
    three.world.define_another("second");
    for party in &parties {
        three.world.put_in_force(party).await;
    }
    let taken = |party: &Party| {
        let store = &party.running.party().store;
        let here = store.read(|tx| accepted::digests(tx, Kind::Record, 2, 1));
        here.expect("read").contains(&digest.0)
    };
    let begun = std::time::Instant::now();
    while !(taken(&parties[0]) && taken(&parties[1])) {
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(60),
            "not taken over"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!taken(&parties[2]));
    three.world.clock.set((DRAINED + 1) * 1000);
    futures::future::join_all(parties.iter().map(|party| seal(&three.world, party))).await;

    let mut own = 0;
    let offsets = Role::ALL.iter().fold(0, |sum, j| {
        let keys = &three.world.fixture.offset_keys;
        sum ^ keys[j.slot()].offset(*j, &digest).expose()
    });
    for party in &parties {
        let sealed = sealed_box(&three.world, party).await;
        assert_eq!(sealed.standing().expect("read"), [(VoterIndex(0), digest)]);
        let [finding] = sealed.findings() else {
            panic!("{:?}", sealed.findings())
        };
        assert_eq!((finding.named, finding.digest), (Role::P3, Some(digest)));
        assert_eq!(finding.lie.reason(), Reason::SealNotTakenOver);
        own ^= sealed.credentials().expect("all shares").own[0];
    }
    assert_eq!(
        own,
        drawn.expose() ^ offsets,
        "the credential of the first election"
    );
}
