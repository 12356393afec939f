//! Parties hand each other their receipts: what a voter's device is told in one answer, and what a malicious party can do with it.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redb::{ReadableTable as _, TableDefinition};
use tally_party::store::sim::SimDisk;
use tally_party::store::{Storage, StoreError, Tables as _, receipts};
use tally_proto::ballot::Submission;
use tally_proto::connect;
use tally_proto::fixture::{Shape, ports};
use tally_proto::ids::{
    BoxId, Digest, ElectionId, Hash32, Role, RoleExt as _, StationId, UnixSeconds, VoterIndex,
};
use tally_proto::invitation::Credential;
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::receipt::{Acceptance, Receipt, sign_batch, whole_batches};
use tally_proto::record::Half;
use tally_proto::wire;
use tally_proto::wire::peer_client::PeerClient;
use tally_proto::wire::record_receipt::Outcome;
use tonic::transport::Channel;

use crate::world::three::{self, open};
use crate::world::{Party, World, reason};

/// What must come about comes about within this.
const DEADLINE: Duration = Duration::from_secs(30);

/// A world whose manifest names these peer ports.
fn world_at(ports: [u16; 3]) -> World {
    World::new(Shape {
        peer_ports: ports,
        ..Shape::default()
    })
}

async fn start(world: &World, role: Role, ports: [u16; 3], wait_ms: u64) -> Party {
    let mut config = world.config(role);
    config.intake.wait_for_others = Duration::from_millis(wait_ms);
    config.listen_peer.set_port(ports[role.slot()]);
    let disk = SimDisk::new();
    let storage = Storage::Backend(Box::new(disk.clone()));
    let party = world.start_with(config, storage, disk).await;
    world.put_in_force(&party).await;
    // A party asks both others first, whoever says nothing for two seconds.
    open(&party).await;
    party
}

async fn cast(party: &Party, ballot: &[Submission; 3]) -> wire::CastReply {
    let mut intake = party.intake();
    let reply = tokio::time::timeout(DEADLINE, intake.cast(party.part(ballot))).await;
    reply.expect("answered in time").expect("accepted").into_inner()
}

fn stored(party: &Party, digest: Digest, of: Role) -> Option<wire::Receipt> {
    let store = &party.running.party().store;
    let bytes = store.read(|tx| receipts::get(tx, 1, 1, digest.as_bytes(), of.index()));
    let bytes = bytes.expect("read")?;
    Some(Receipt::decode(&bytes).expect("a receipt").to_wire())
}

/// Rows of others' receipts on a party's disk.
fn rows(party: &Party) -> u64 {
    const RECEIPTS: TableDefinition<'static, (u32, u8, u64), &[u8]> = TableDefinition::new("receipts");
    let store = &party.running.party().store;
    let count = store.read(|tx| Ok::<_, StoreError>(tx.table(RECEIPTS)?.iter()?.count() as u64));
    count.expect("read")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_tells_that_all_three_hold_each_other_s_receipts() {
    let ports = ports::free();
    let mut world = world_at(ports);
    let mut parties = Vec::new();
    for role in Role::ALL {
        // Patience beyond all doubt: a slow machine is not what is tested.
        parties.push(start(&world, role, ports, 10_000).await);
    }
    let [one, two, three] = parties.as_slice() else {
        panic!("three")
    };
    let others = |party: &Party| {
        (1..=3)
            .filter(|n| *n != party.role.number())
            .collect::<Vec<u32>>()
    };
    let since = Instant::now();
    let (mut told, mut casts) = (0, 0);
    while told < 3 {
        let ballot = world.ballot();
        let digest = ballot[0].digest();
        let (a, b, c) = tokio::join!(cast(one, &ballot), cast(two, &ballot), cast(three, &ballot));
        let replies = [a, b, c];
        casts += 1;
        // A machine that stands still for half a second passes for a party that is away, for a while.
        let all = |(at, party): (usize, &Party)| replies[at].stored == others(party);
        if !parties.iter().enumerate().all(all) {
            assert!(
                since.elapsed() < DEADLINE,
                "no answer tells of all three: {replies:?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        }
        told += 1;
        for (at, party) in parties.iter().enumerate() {
            for of in Role::ALL {
                let given =
                    (of != party.role).then(|| replies[of.slot()].receipt.clone().expect("a receipt"));
                assert_eq!(
                    stored(party, digest, of),
                    given,
                    "the very receipt that the voter got"
                );
            }
            // Again, as after a lost answer.
            assert_eq!(cast(party, &ballot).await, replies[at]);
        }
    }
    for rows in parties.iter().map(rows) {
        assert!((6..=2 * casts).contains(&rows), "{rows} of {casts}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_is_away_or_says_nothing_is_not_waited_for() {
    let ports = ports::free();
    let mut world = world_at(ports);
    // At the address of P3 somebody takes connections and says nothing.
    let silent = TcpListener::bind(("127.0.0.1", ports[2])).expect("bound");
    let one = start(&world, Role::P1, ports, 300).await;
    let two = start(&world, Role::P2, ports, 300).await;
    for _ in 0..3 {
        let ballot = world.ballot();
        let (a, b) = tokio::join!(cast(&one, &ballot), cast(&two, &ballot));
        // Whether each had the other's in time is up to the machine; of P3 there is nothing to tell.
        for (reply, other) in [(&a, 2), (&b, 1)] {
            assert!(reply.stored.iter().all(|party| *party == other), "{reply:?}");
        }
        // What is missing the device brings, as ever.
        let bring = async |to: &Party, receipt: &wire::Receipt| {
            let receipts = vec![receipt.clone()];
            let brought = to.intake().deliver_all(wire::Receipts { receipts }).await;
            brought.expect("stored");
        };
        let [a, b] = [a, b].map(|reply| reply.receipt.expect("a receipt"));
        bring(&one, &b).await;
        bring(&two, &a).await;
        let digest = ballot[0].digest();
        assert_eq!(stored(&one, digest, Role::P2), Some(b));
        assert_eq!(stored(&two, digest, Role::P1), Some(a));
        // Submitted to one alone: the answer comes.
        let alone = world.ballot();
        assert!(cast(&one, &alone).await.stored.is_empty());
    }
    drop(silent);
}

/// P1 alone, and what the others may hand over to it.
struct Alone {
    world: World,
    one: Party,
}

impl Alone {
    async fn new() -> Self {
        let ports = ports::free();
        let world = world_at(ports);
        let one = start(&world, Role::P1, ports, 0).await;
        Self { world, one }
    }

    fn peer(&self, role: PeerRole, by: Role) -> PeerClient<Channel> {
        connect::peer(self.one.peer_channel(Some(&self.world.leaf_of(by, role))))
    }

    fn acceptance(&self, party: Role, digest: Digest) -> Acceptance {
        Acceptance {
            election: self.world.fixture.manifest.manifest().election().clone(),
            of_box: BoxId(1),
            party,
            digest,
            ciphertext_hash: Hash32([7; 32]),
            received_at: UnixSeconds(self.world.clock_s()),
            position: 5,
        }
    }

    fn batches(&self, by: Role, acceptances: Vec<Acceptance>) -> wire::ReceiptBatches {
        let signed = sign_batch(acceptances, &self.world.fixture.signers[by.slot()]);
        wire::ReceiptBatches {
            batches: whole_batches(&signed),
        }
    }

    /// Hands over as `by`.
    async fn hand_over(&self, by: Role, batches: wire::ReceiptBatches) -> Result<(), tonic::Status> {
        let mut peer = self.peer(PeerRole::Party(by), by);
        let answer = tokio::time::timeout(DEADLINE, peer.hand_over(batches)).await;
        answer.expect("answered in time").map(drop)
    }

    /// Everything that was handed over has been looked at: a ballot that came after it is on disk.
    async fn settled(&mut self) {
        let ballot = self.world.ballot();
        cast(&self.one, &ballot).await;
    }
}

#[tokio::test]
async fn what_comes_before_its_ballot_is_stored_with_it_and_what_comes_after_at_once() {
    let mut alone = Alone::new().await;
    let ballot = alone.world.ballot();
    let digest = ballot[0].digest();
    let early = alone.acceptance(Role::P2, digest);
    let batches = alone.batches(Role::P2, vec![early.clone()]);
    alone.hand_over(Role::P2, batches.clone()).await.expect("taken");
    alone.settled().await;
    assert_eq!(rows(&alone.one), 0, "nothing is written for what is not accepted");
    assert_eq!(cast(&alone.one, &ballot).await.stored, [2]);
    let receipt = early.sign(&alone.world.fixture.signers[1]).to_wire();
    assert_eq!(stored(&alone.one, digest, Role::P2), Some(receipt.clone()));
    let late = alone.acceptance(Role::P3, digest);
    let late = alone.batches(Role::P3, vec![late]);
    alone.hand_over(Role::P3, late).await.expect("taken");
    // The same again, another one for the same, and the voter's own delivery change nothing.
    alone.hand_over(Role::P2, batches).await.expect("taken");
    let other = Acceptance {
        position: 6,
        ..alone.acceptance(Role::P2, digest)
    };
    let other = alone.batches(Role::P2, vec![other]);
    alone.hand_over(Role::P2, other).await.expect("taken");
    alone.settled().await;
    alone.one.intake().deliver(receipt.clone()).await.expect("known");
    assert_eq!(cast(&alone.one, &ballot).await.stored, [2, 3]);
    assert_eq!(stored(&alone.one, digest, Role::P2), Some(receipt));
    assert_eq!(rows(&alone.one), 2);
    let top = |party| {
        let store = &alone.one.running.party().store;
        store.read(|tx| receipts::top(tx, 1, party)).expect("read")
    };
    assert_eq!(
        (top(2), top(3)),
        (7, 6),
        "positions that a party may never use again"
    );
}

#[tokio::test]
async fn junk_fills_no_disk_and_pushes_out_nothing_but_its_own() {
    let mut alone = Alone::new().await;
    let ballot = alone.world.ballot();
    let digest = ballot[0].digest();
    let honest = alone.acceptance(Role::P3, digest);
    let honest = alone.batches(Role::P3, vec![honest]);
    alone.hand_over(Role::P3, honest).await.expect("taken");
    let mine = alone.acceptance(Role::P2, digest);
    let mine = alone.batches(Role::P2, vec![mine]);
    alone.hand_over(Role::P2, mine).await.expect("taken");
    let numbered = |n: u32| {
        let mut digest = Digest([0; 32]);
        digest.0[..4].copy_from_slice(&n.to_be_bytes());
        digest
    };
    // More than is kept of one party.
    for part in 0..10 {
        let junk = (0..2048).map(|n| alone.acceptance(Role::P2, numbered(part << 16 | n)));
        let junk = alone.batches(Role::P2, junk.collect());
        alone.hand_over(Role::P2, junk).await.expect("taken");
    }
    alone.settled().await;
    assert_eq!(rows(&alone.one), 0);
    assert_eq!(
        cast(&alone.one, &ballot).await.stored,
        [3],
        "the junk of P2 has pushed its own receipt out"
    );
    assert_eq!(rows(&alone.one), 1);
    let much = (0..4097).map(|n| alone.acceptance(Role::P2, numbered(n)));
    let much = alone.batches(Role::P2, much.collect());
    assert_eq!(
        reason(alone.hand_over(Role::P2, much).await),
        Reason::MessageTooLarge
    );
}

#[tokio::test]
async fn a_batch_is_its_bearer_s_own_whole_and_signed() {
    let mut alone = Alone::new().await;
    let (ballot, other) = (alone.world.ballot(), alone.world.ballot());
    for ballot in [&ballot, &other] {
        cast(&alone.one, ballot).await;
    }
    let of = |party| {
        let digests = [&ballot, &other].map(|ballot| ballot[0].digest());
        digests.map(|digest| alone.acceptance(party, digest)).to_vec()
    };
    let good = alone.batches(Role::P2, of(Role::P2));
    // Another party's, whoever signed it.
    for batches in [
        alone.batches(Role::P3, of(Role::P3)),
        alone.batches(Role::P3, of(Role::P2)),
        alone.batches(Role::P2, of(Role::P3)),
        alone.batches(Role::P1, of(Role::P1)),
    ] {
        assert_eq!(
            reason(alone.hand_over(Role::P2, batches).await),
            Reason::ReceiptInvalid
        );
    }
    // A batch that was signed otherwise: a receipt less, another moment, another order.
    let changes: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes.truncate(86),
        |bytes| bytes[77] ^= 1,
        |bytes| bytes.rotate_left(86),
    ];
    for change in changes {
        let mut lying = good.clone();
        change(&mut lying.batches[0].receipts);
        assert_eq!(
            reason(alone.hand_over(Role::P2, lying).await),
            Reason::ReceiptInvalid
        );
    }
    let mut short = good.clone();
    short.batches[0].receipts.pop();
    assert_eq!(
        reason(alone.hand_over(Role::P2, short).await),
        Reason::MessageMalformed
    );
    // Of an election that is not known here: nothing is looked at, nothing stored.
    let elsewhere = of(Role::P2).into_iter().map(|of| Acceptance {
        election: ElectionId::new("elsewhere").expect("slug"),
        ..of
    });
    let elsewhere = alone.batches(Role::P2, elsewhere.collect());
    alone.hand_over(Role::P2, elsewhere).await.expect("passed over");
    // In another box the same digest is something else.
    let other_box = of(Role::P2).into_iter().map(|of| Acceptance {
        of_box: BoxId(2),
        ..of
    });
    let other_box = alone.batches(Role::P2, other_box.collect());
    alone
        .hand_over(Role::P2, other_box)
        .await
        .expect("kept in memory");
    // Whoever is no party hands nothing over.
    for role in [
        PeerRole::Station(StationId(1)),
        PeerRole::Coordinator,
        PeerRole::Operator(Role::P1),
    ] {
        let refused = alone.peer(role, Role::P1).hand_over(good.clone()).await;
        assert_eq!(reason(refused), Reason::RoleRefused);
    }
    alone.hand_over(Role::P2, good).await.expect("taken");
    alone.settled().await;
    assert_eq!(rows(&alone.one), 2, "the good batch's");
}

#[tokio::test]
async fn a_receipt_that_is_no_timely_acceptance_takes_no_place() {
    let mut alone = Alone::new().await;
    let now_s = alone.world.clock_s();
    // P2 gives the voter a good receipt and hands over one that will count for nothing: before the ballot, or after.
    for before in [true, false] {
        for received_s in [now_s - 3, now_s + 61] {
            let ballot = alone.world.ballot();
            let digest = ballot[0].digest();
            let useless = Acceptance {
                received_at: UnixSeconds(received_s),
                ..alone.acceptance(Role::P2, digest)
            };
            let receipt = useless.clone().sign(&alone.world.fixture.signers[1]).to_wire();
            let batches = alone.batches(Role::P2, vec![useless]);
            if !before {
                cast(&alone.one, &ballot).await;
            }
            alone.hand_over(Role::P2, batches).await.expect("taken");
            alone.settled().await;
            assert!(cast(&alone.one, &ballot).await.stored.is_empty());
            let mut intake = alone.one.intake();
            assert_eq!(reason(intake.deliver(receipt).await), Reason::ReceiptInvalid);
            assert_eq!(stored(&alone.one, digest, Role::P2), None);
            let good = alone.acceptance(Role::P2, digest);
            let good = good.sign(&alone.world.fixture.signers[1]).to_wire();
            intake.deliver(good.clone()).await.expect("stored");
            assert_eq!(stored(&alone.one, digest, Role::P2), Some(good));
            assert_eq!(cast(&alone.one, &ballot).await.stored, [2]);
        }
    }
}

#[tokio::test]
async fn several_receipts_go_in_one_request_and_a_bad_one_leaves_the_good_ones_alone() {
    let mut alone = Alone::new().await;
    for spoils in [false, true] {
        let ballot = alone.world.ballot();
        let digest = ballot[0].digest();
        cast(&alone.one, &ballot).await;
        let mut receipts = [Role::P2, Role::P3].map(|party| {
            let signer = &alone.world.fixture.signers[party.slot()];
            alone.acceptance(party, digest).sign(signer).to_wire()
        });
        if spoils {
            receipts[0].position += 1;
        }
        let receipts = receipts.to_vec();
        let answer = alone.one.intake().deliver_all(wire::Receipts { receipts }).await;
        if spoils {
            assert_eq!(reason(answer), Reason::ReceiptInvalid);
        } else {
            answer.expect("stored");
        }
        assert_eq!(stored(&alone.one, digest, Role::P2).is_some(), !spoils);
        assert!(stored(&alone.one, digest, Role::P3).is_some());
    }
    let receipts = vec![wire::Receipt::default(); 17];
    let answer = alone.one.intake().deliver_all(wire::Receipts { receipts }).await;
    assert_eq!(reason(answer), Reason::MessageTooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_registrars_certificate_keeps_no_party_from_handing_over() {
    let ports = ports::free();
    let mut world = World::new(Shape {
        peer_ports: ports,
        registrars: 1,
        ..Shape::default()
    });
    // One thread checks, and few things may wait for it.
    let mut config = world.config(Role::P1);
    (config.intake.check_threads, config.intake.check_queue) = (1, 4);
    config.listen_peer.set_port(ports[0]);
    let disk = SimDisk::new();
    let storage = Storage::Backend(Box::new(disk.clone()));
    let one = world.start_with(config, storage, disk).await;
    world.put_in_force(&one).await;
    open(&one).await;
    let mut record = world
        .fixture
        .record(BoxId(1), VoterIndex(0), 1, Half::WHOLE, &Credential::new(7))[0]
        .to_wire();
    record.authorisation[0] ^= 1;
    let alone = Alone { world, one };
    let named = PeerRole::Registrar("letters".to_owned());
    let thief = alone.world.leaf_of(Role::P1, named);
    // As many at once as the party works on, on each of several streams, without end.
    let (sent, busy) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    // P2 is connected, as a party is.
    let mut peer = alone.peer(PeerRole::Party(Role::P2), Role::P2);
    let junk = |n: u8| {
        let junk = alone.acceptance(Role::P2, Digest([n; 32]));
        alone.batches(Role::P2, vec![junk])
    };
    peer.hand_over(junk(0)).await.expect("taken");
    let streams: Vec<_> = (0..2)
        .map(|_| {
            let mut registration = alone.one.registration(&thief);
            let (record, sent, busy) = (record.clone(), Arc::clone(&sent), Arc::clone(&busy));
            tokio::spawn(async move {
                let records = tokio_stream::iter(std::iter::repeat(record));
                let mut answers = registration.register(records).await.expect("served").into_inner();
                while let Some(answer) = answers.message().await.expect("goes on") {
                    let Some(Outcome::Refusal(refusal)) = answer.outcome else {
                        panic!("a bad signature was taken");
                    };
                    sent.fetch_add(1, Ordering::Relaxed);
                    busy.fetch_add(
                        u64::from(refusal.reason == Reason::PartyBusy.code()),
                        Ordering::Relaxed,
                    );
                }
            })
        })
        .collect();
    three::until("its lane is full", async || busy.load(Ordering::Relaxed) > 1000).await;
    for n in 1..20 {
        let answer = tokio::time::timeout(DEADLINE, peer.hand_over(junk(n))).await;
        answer.expect("answered in time").expect("taken");
    }
    let before = busy.load(Ordering::Relaxed);
    three::until("its lane is still full", async || {
        busy.load(Ordering::Relaxed) > before
    })
    .await;
    for stream in streams {
        stream.abort();
    }
}
