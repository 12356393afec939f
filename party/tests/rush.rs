//! Many enrol for an open roll at once: one party that takes none of them for a while does not shut the roll, and P1 makes it no longer than people
//! have cards.

use std::sync::Arc;

use tally_party::intake::Lane;
use tally_party::store::accepted::Counted;
use tally_party::store::sim::SimDisk;
use tally_party::store::{Kind, Storage, Store, StoreError, accepted, log, registers};
use tally_proto::fixture::cards::{CardKey, CardShape, DAY, called};
use tally_proto::fixture::{OPENS, OpenShape, Shape};
use tally_proto::ids::{BoxId, Digest, Hash32, Role, UnixSeconds, VoterIndex};
use tally_proto::invitation::Credential;
use tally_proto::log::{Accepted, Entry};
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::record::RecordSubmission;
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use crate::world::Party;
use crate::world::three::{Three, open, stopped, until};

const BOX: BoxId = BoxId(1);
/// What P2 and P3 take beside an eighth, and what P1 gives.
const TAKEN_AHEAD: u32 = 1_000;
const GIVEN_AHEAD: u32 = 500;

fn three() -> Three {
    let three = Three::with(Shape {
        cards: true,
        registrars: 0,
        open: Some(OpenShape {
            most: 100_000,
            freezes: OPENS + 3000,
            min_voters: 1,
        }),
        ..Shape::default()
    });
    for role in Role::ALL {
        three.world.write_revocations(role, &[], OPENS - DAY, OPENS + DAY);
    }
    three
}

fn record(three: &mut Three, person: u32) -> [RecordSubmission; 3] {
    let shape = CardShape::of(&called(9, person), CardKey::P256, OPENS);
    let fixture = &mut three.world.fixture;
    let card = fixture.cards.as_mut().expect("cards").card(&shape);
    fixture.card_record(&card, UnixSeconds(OPENS + 99), &Credential::new(7))
}

/// Without a connection: what is measured is the roll.
async fn enrol(party: &Party, part: wire::RecordSubmission) -> Result<wire::EnrolReply, Refusal> {
    party.running.party().enrol(part, Lane::Public(None)).await
}

/// As a device: it tries again while P1 waits for another party than `but`.
async fn enrol_at_p1(
    p1: &Party,
    record: &[RecordSubmission; 3],
    but: Option<&str>,
) -> Result<wire::EnrolReply, Refusal> {
    let begun = std::time::Instant::now();
    loop {
        match enrol(p1, record[0].to_wire()).await {
            Err(refusal)
                if refusal.reason == Reason::PartyBusy
                    && begun.elapsed() < crate::world::three::DEADLINE
                    && but.is_none_or(|but| !refusal.detail.contains(but)) =>
            {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
}

fn people(party: &Party) -> u32 {
    let store = &party.running.party().store;
    store.read(|tx| registers::people(tx, 1, 1)).expect("read")
}

/// The part of P2 or P3 of a record that P1 answered so.
fn numbered(record: &[RecordSubmission; 3], to: Role, reply: &wire::EnrolReply) -> wire::RecordSubmission {
    let receipt = Receipt::from_wire(reply.receipt.as_ref().expect("one")).expect("a receipt");
    let part = &record[usize::from(to.index()) - 1];
    part.clone().numbered_by(VoterIndex(reply.v), receipt).to_wire()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rush_with_a_party_away_that_comes_back_does_not_shut_the_roll() {
    let mut three = three();
    let [p1, p2, p3] = three.all().await;
    let disk = stopped(p3).await;
    // P1 gives numbers only as far as the party that is away could take them, and says whom it waits for.
    let (mut given, mut last) = (0, None);
    let refused = loop {
        let one = record(&mut three, given);
        match enrol_at_p1(&p1, &one, Some("P3 has seen")).await {
            Ok(reply) => {
                assert_eq!(reply.v, given);
                (given, last) = (given + 1, Some(one));
            }
            Err(refusal) => break refusal,
        }
        assert!(given <= GIVEN_AHEAD + 1, "{given} numbers");
    };
    assert_eq!(
        (refused.reason, given),
        (Reason::PartyBusy, GIVEN_AHEAD + 1),
        "{refused}"
    );
    // Who has a number keeps it meanwhile.
    let known = last.expect("given");
    let kept = enrol(&p1, known[0].to_wire()).await.expect("known");
    assert_eq!(kept.v, given - 1);
    // P2 took no enrolment, and sees everybody's card all the same.
    until("seen", async || people(&p2) == given).await;

    // Back again, but voters do not reach it: it sees their cards in the records that P1 took.
    let p3 = three.start(Role::P3, disk).await;
    open(&p3).await;
    while given < TAKEN_AHEAD + 10 {
        let one = record(&mut three, given);
        let reply = enrol_at_p1(&p1, &one, None).await.expect("taken");
        assert_eq!(reply.v, given);
        given += 1;
    }
    let one = record(&mut three, given);
    let reply = enrol_at_p1(&p1, &one, None).await.expect("taken");
    assert!(reply.v > TAKEN_AHEAD);
    for party in [&p2, &p3] {
        let taken = enrol(party, numbered(&one, party.role, &reply)).await;
        assert_eq!(taken.expect("its number is not too high").v, reply.v);
    }
    // Counted once, seen or taken.
    until("caught up", async || people(&p3) == given + 1).await;
    assert_eq!(people(&p1), given + 1);
    until("caught up", async || people(&p2) == given + 1).await;
}

/// P1's own store with acceptances that nobody brought: the friend's one record under a thousand numbers, and digests of nothing.
fn invent(disk: &SimDisk, p1: &Arc<tally_party::party::Party>, friend: &RecordSubmission) {
    let digest = friend.header().numbered(VoterIndex(0)).digest();
    let store = Store::open(Storage::Backend(Box::new(disk.clone())), Role::P1.index()).expect("opens");
    let row = store
        .read(|tx| accepted::get(tx, Kind::Record, 1, 1, &digest.0))
        .expect("read")
        .expect("accepted");
    let me = Role::P1.index();
    let shares = p1
        .vault
        .open(Kind::Record, me, &digest.0, &row.sealed_shares)
        .expect("its own");
    let entry = |digest| {
        Entry::Accepted(Accepted {
            record: true,
            of_box: BOX,
            digest,
            ciphertext_hash: Hash32(row.ciphertext_hash),
            received_at: UnixSeconds(row.received_at_s),
        })
    };
    store
        .write(|tx| {
            let size = log::size(tx, 1)?;
            let mut entries = Vec::new();
            for v in 1..=INVENTED {
                let header = friend.header().numbered(VoterIndex(v));
                let digest = header.digest();
                let made = accepted::Accepted {
                    header: header.encode(),
                    authority_signature: [&v.to_be_bytes()[..], &row.authority_signature[4..]].concat(),
                    position: size + entries.len() as u64,
                    sealed_shares: p1.vault.seal(Kind::Record, me, &digest.0, &shares),
                    ..row.clone()
                };
                accepted::insert(tx, 1, 1, &digest.0, Counted::Record, &made)?;
                entries.push(entry(digest));
                entries.push(entry(Digest(Hash32::of(&v.to_be_bytes()).0)));
            }
            log::append_all(tx, 1, &entries)?;
            Ok::<_, StoreError>(())
        })
        .expect("written");
}

const INVENTED: u32 = 1_200;

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_p1_invents_move_nobodys_bound() {
    let mut three = three();
    let [p1, p2, p3] = three.all().await;
    let friend = record(&mut three, 0);
    enrol(&p1, friend[0].to_wire()).await.expect("taken");
    let own = Arc::clone(p1.running.party());
    let disk = stopped(p1).await;
    invent(&disk, &own, &friend[0]);
    let p1 = three.start(Role::P1, disk).await;
    open(&p1).await;
    three.caught_up(&p3, &[&p1]).await;
    three.caught_up(&p2, &[&p1]).await;
    // The friend's card was seen a thousand times, and is one; behind the rest there is nothing.
    assert_eq!((people(&p2), people(&p3)), (1, 1));
    // Told a moment after it is written.
    until("counted", async || {
        three.about(&p3, Role::P1).await.not_given == u64::from(INVENTED)
    })
    .await;
    let stranger = record(&mut three, 1);
    let given = |v: u32| {
        let digest = stranger[0].header().numbered(VoterIndex(v)).digest();
        let receipt = three.world.fixture.receipt(Role::P1, BOX, digest);
        let part = |to: Role| stranger[usize::from(to.index()) - 1].clone();
        [Role::P2, Role::P3].map(|to| part(to).numbered_by(VoterIndex(v), receipt.clone()).to_wire())
    };
    for (party, at) in [(&p2, 0), (&p3, 1)] {
        let refused = enrol(party, given(INVENTED + 1)[at].clone()).await;
        assert_eq!(refused.expect_err("far above").reason, Reason::RollNumberAhead);
        let taken = enrol(party, given(TAKEN_AHEAD + 1)[at].clone()).await;
        assert_eq!(taken.expect("some begin and do not finish").v, TAKEN_AHEAD + 1);
        assert_eq!(people(party), 2);
    }
}
