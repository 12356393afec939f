//! A party comes back with an older copy of its store: it signs nothing twice.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use prost::Message as _;
use tally_proto::envelope::{Envelope, Kind as Signed};
use tally_proto::ids::{Hash32, Role, RoleExt as _};
use tally_proto::sealing::Claims;
use tally_proto::session::Holdings;
use tally_proto::wire;
use tally_proto::wire::list_part::Part;

use super::super::tables::{self, BoxKey, Once};
use super::super::{Basis, Item, Lie, PeerError, SealError};
use super::network::Saboteur;
use super::world::{BOX, World};
use crate::entropy::SeededEntropy;
use crate::session::holdings::{self, Question};

/// The List, Claims or Seal of `of` as `at` holds it.
fn held(world: &World, at: Role, of: Role, what: Once) -> Option<Vec<u8>> {
    let key = BoxKey {
        election: 1,
        of_box: BOX,
    };
    world
        .store(at)
        .read(|tx| tables::signed(tx, key, what, of.index()))
        .expect("readable")
}

/// Six ballots, each with two or three acceptances, and two records.
fn fill(world: &mut World) {
    for i in 0..6 {
        let made = world.online(i * 7);
        for role in Role::ALL {
            if i % 4 != u64::from(role.index()) {
                world.accept(&made, role);
            }
        }
    }
    for v in 0..2 {
        let record = world.record(v, 1, 0, u64::from(v) + 100);
        world.accept_by_all(&record);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_party_takes_its_signatures_back_and_what_it_lost() {
    for role in Role::ALL {
        let mut world = World::new();
        fill(&mut world);
        let backup = world.backup(role);
        // Accepted after the backup was made: its List names what the restored store does not hold.
        let late = world.online(400);
        world.accept_by_all(&late);
        let sealed = world.sealed().await;
        let before = [Once::List, Once::Claims, Once::Seal].map(|what| held(&world, role, role, what));
        assert!(before.iter().all(Option::is_some));
        world.restore(role, &backup);
        for what in [Once::List, Once::Claims, Once::Seal] {
            assert_eq!(held(&world, role, role, what), None, "it knows of nothing");
        }
        let again = world.seal(&[role]).await.remove(0).expect("sealed as before");
        assert_eq!(again.seal_hash(), sealed[0].seal_hash(), "{role}");
        assert!(again.rows().contains(&late.digest));
        let mut rows = 0;
        let walked = again.for_each_row(|_, digest, shares| {
            if *digest == late.digest {
                assert_eq!(shares.this.share(), late.openings[role.slot()].share());
            }
            rows += 1;
            Ok::<_, SealError>(())
        });
        walked.expect("it has its shares of what it lost");
        assert_eq!(rows, again.rows().len());
        let after = [Once::List, Once::Claims, Once::Seal].map(|what| held(&world, role, role, what));
        assert_eq!(after, before, "{role}: the very same, and no second one");
    }
}

/// One party hides from another what it holds; what it signs must not contradict itself, unless it does.
struct Hider {
    by: Role,
    from: Role,
    hiding: AtomicBool,
    signer: tally_proto::envelope::Signer,
}

impl Hider {
    fn world(by: Role, from: Role) -> (World, &'static Self) {
        let hider: &'static Self = Box::leak(Box::new(Self {
            by,
            from,
            hiding: AtomicBool::new(false),
            signer: super::world::signer(by),
        }));
        (World::sabotaged(hider), hider)
    }
}

impl Saboteur for &'static Hider {
    fn holdings(
        &self,
        from: Role,
        to: Role,
        holdings: Result<wire::Envelope, PeerError>,
    ) -> Result<wire::Envelope, PeerError> {
        if (from, to) != (self.by, self.from) || !self.hiding.load(Ordering::Relaxed) {
            return holdings;
        }
        let keys = Role::ALL.map(|role| super::world::signer(role).public_key());
        let honest = Envelope::from_wire(holdings?).expect("an envelope");
        let honest = Holdings::open(&honest, &keys).expect("honest");
        let lie = Holdings {
            list: None,
            claims: None,
            seal: None,
            ..honest
        };
        Ok(lie.sign(&self.signer).to_wire())
    }
}

#[tokio::test(start_paused = true)]
async fn hiding_a_list_convicts_the_hider_and_changes_nothing() {
    let (mut world, hider) = Hider::world(Role::P2, Role::P1);
    fill(&mut world);
    let backup = world.backup(Role::P1);
    world.sealed().await;
    let before = held(&world, Role::P1, Role::P1, Once::List);
    world.restore(Role::P1, &backup);
    hider.hiding.store(true, Ordering::Relaxed);
    let run = world.seal(&[Role::P1]).await.remove(0);
    let Err(SealError::Aborted(abort)) = run else {
        panic!("not aborted: {run:?}")
    };
    assert_eq!(
        (abort.finding.named, abort.finding.lie, abort.finding.basis),
        (Role::P2, Lie::HidHoldings, Basis::Proved)
    );
    assert_eq!(
        held(&world, Role::P1, Role::P1, Once::List),
        before,
        "the honest one has shown it"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_signed_before_both_others_have_answered() {
    let mut world = World::new();
    fill(&mut world);
    world.network.put(Role::P3, None);
    let run = world.seal(&[Role::P1]).await.remove(0);
    assert!(
        matches!(
            run,
            Err(SealError::Waiting {
                of: Role::P3,
                item: Item::Holdings,
                ..
            })
        ),
        "{run:?}"
    );
    assert_eq!(held(&world, Role::P1, Role::P1, Once::List), None);
}

/// Answers with what was once true, or with another party's answer.
struct Replayer(Mutex<Option<wire::Envelope>>);

impl Saboteur for Replayer {
    fn holdings(
        &self,
        from: Role,
        to: Role,
        holdings: Result<wire::Envelope, PeerError>,
    ) -> Result<wire::Envelope, PeerError> {
        if (from, to) != (Role::P2, Role::P1) {
            return holdings;
        }
        let mut old = self.0.lock().expect("no test panics with it");
        Ok(old.get_or_insert(holdings?).clone())
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_none() {
    let mut world = World::sabotaged(Replayer(Mutex::new(None)));
    fill(&mut world);
    // The first answer is honest, and fits its question.
    let backup = world.backup(Role::P1);
    world.sealed().await;
    world.restore(Role::P1, &backup);
    let run = world.seal(&[Role::P1]).await.remove(0);
    assert!(
        matches!(
            run,
            Err(SealError::Waiting {
                of: Role::P2,
                item: Item::Holdings,
                source: PeerError::Malformed { .. }
            })
        ),
        "{run:?}"
    );
    assert_eq!(
        held(&world, Role::P1, Role::P1, Once::List),
        None,
        "nothing is signed"
    );
}

/// P2 says that it holds a List, Claims or Seal of P1, of a hash that it makes up.
struct Boasts {
    what: Once,
    boasting: AtomicBool,
}

impl Saboteur for &'static Boasts {
    fn holdings(
        &self,
        from: Role,
        to: Role,
        holdings: Result<wire::Envelope, PeerError>,
    ) -> Result<wire::Envelope, PeerError> {
        if (from, to) != (Role::P2, Role::P1) || !self.boasting.load(Ordering::Relaxed) {
            return holdings;
        }
        let keys = Role::ALL.map(|role| super::world::signer(role).public_key());
        let honest = Envelope::from_wire(holdings?).expect("an envelope");
        let mut lie = Holdings::open(&honest, &keys).expect("honest");
        let made_up = Some(Hash32([0xee; 32]));
        match self.what {
            Once::List => lie.list = made_up,
            Once::Claims => lie.claims = made_up,
            Once::Seal => lie.seal = made_up,
        }
        lie.own_claims = None;
        lie.own_seal = None;
        Ok(lie.sign(&super::world::signer(Role::P2)).to_wire())
    }
}

#[tokio::test(start_paused = true)]
async fn a_hash_that_is_not_shown_counts_for_nothing() {
    for (what, item) in [
        (Once::List, Item::List),
        (Once::Claims, Item::Claims),
        (Once::Seal, Item::Seal),
    ] {
        // Before P1 has signed anything, and when its List is signed already.
        for listed in [false, true] {
            let boasts: &'static Boasts = Box::leak(Box::new(Boasts {
                what,
                boasting: AtomicBool::new(false),
            }));
            let mut world = World::sabotaged(boasts);
            fill(&mut world);
            if listed {
                let waits = world.seal(&[Role::P1]).await.remove(0);
                assert!(waits.is_err(), "nobody else has a List: {waits:?}");
            }
            let before = held(&world, Role::P1, Role::P1, Once::List);
            assert_eq!(before.is_some(), listed);
            boasts.boasting.store(true, Ordering::Relaxed);
            let run = world.seal(&[Role::P1]).await.remove(0);
            let Err(SealError::Waiting { of, item: waited, .. }) = &run else {
                panic!("{item}, listed {listed}: {run:?}")
            };
            assert_eq!((*of, *waited), (Role::P2, item), "the boaster is waited for");
            assert_eq!(held(&world, Role::P1, Role::P1, Once::List), before);
            // Nothing has changed: without the boast the box is sealed.
            boasts.boasting.store(false, Ordering::Relaxed);
            world.sealed().await;
        }
    }
}

/// P2 gets no List of the others' until P1 has asked it what it holds; or P1 shows it another List than it showed P3.
#[derive(Default)]
struct Between {
    blocking: AtomicBool,
    two_faced: AtomicBool,
}

impl Saboteur for &'static Between {
    fn list(
        &self,
        from: Role,
        to: Role,
        of: Role,
        parts: Result<Vec<wire::ListPart>, PeerError>,
    ) -> Result<Vec<wire::ListPart>, PeerError> {
        if (to, of == to) == (Role::P2, false) && self.blocking.load(Ordering::Relaxed) {
            return Err(PeerError::Unreachable {
                peer: from,
                detail: "cut off".to_owned(),
            });
        }
        if (from, to, of) != (Role::P1, Role::P2, Role::P1) || !self.two_faced.load(Ordering::Relaxed) {
            return parts;
        }
        let mut parts = parts?;
        let [head, body, ..] = parts.as_mut_slice() else {
            panic!("a List with ballots")
        };
        let (Some(Part::List(list)), Some(Part::Ballots(digests))) = (&mut head.part, &mut body.part) else {
            panic!("a List with ballots")
        };
        *digests = digests.slice(32..);
        let mut shorter = wire::List::decode(list.payload.clone()).expect("its own");
        shorter.ballots -= 1;
        shorter.ballots_hash = Hash32::of(digests).0.to_vec();
        *list = super::world::signer(Role::P1)
            .seal_envelope(Signed::List, shorter.encode_to_vec())
            .to_wire();
        Ok(parts)
    }

    fn holdings(
        &self,
        from: Role,
        to: Role,
        holdings: Result<wire::Envelope, PeerError>,
    ) -> Result<wire::Envelope, PeerError> {
        if (from, to) == (Role::P2, Role::P1) {
            self.blocking.store(false, Ordering::Relaxed);
        }
        holdings
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_party_that_has_its_claims_before_the_lists_is_not_convicted() {
    let between: &'static Between = Box::leak(Box::default());
    let mut world = World::sabotaged(between);
    fill(&mut world);
    let backups = [Role::P1, Role::P2].map(|role| world.backup(role));
    let before = world.sealed().await[0].seal_hash();
    world.restore(Role::P2, &backups[1]);
    between.blocking.store(true, Ordering::Relaxed);
    // P1 does not ask yet.
    let run = world.seal(&[Role::P2]).await.remove(0);
    assert!(
        matches!(run, Err(SealError::Waiting { item: Item::List, .. })),
        "{run:?}"
    );
    assert!(held(&world, Role::P2, Role::P2, Once::Claims).is_some());
    assert_eq!(held(&world, Role::P2, Role::P1, Once::List), None);
    world.restore(Role::P1, &backups[0]);
    for sealed in world.sealed().await {
        assert_eq!(sealed.seal_hash(), before);
        assert!(sealed.findings().is_empty(), "{:?}", sealed.findings());
    }
    assert!(!between.blocking.load(Ordering::Relaxed), "P1 has asked");
}

#[tokio::test(start_paused = true)]
async fn a_restored_party_that_is_shown_another_list_signs_nothing_that_convicts_it() {
    let between: &'static Between = Box::leak(Box::default());
    let mut world = World::sabotaged(between);
    fill(&mut world);
    let backup = world.backup(Role::P2);
    world.sealed().await;
    world.restore(Role::P2, &backup);
    between.two_faced.store(true, Ordering::Relaxed);
    let run = world.seal(&[Role::P2]).await.remove(0);
    let Err(SealError::Aborted(abort)) = run else {
        panic!("P3 has the other List: {run:?}")
    };
    assert_eq!(
        (abort.finding.named, abort.finding.lie),
        (Role::P1, Lie::TwoLists)
    );
    // The liar asks P2 what it holds.
    let keys = Role::ALL.map(|role| super::world::signer(role).public_key());
    let question = Question::new("ward-7", BOX, &SeededEntropy::new(1));
    let signed = (Role::P2, world.signer(Role::P2));
    let answer = holdings::answer(world.store(Role::P2), signed, Role::P1, &question.request);
    let answer = Holdings::open(&answer.expect("answers"), &keys).expect("its own");
    let claims = held(&world, Role::P2, Role::P2, Once::Claims).expect("taken back");
    let (claims, hash) = Claims::open(&Envelope::decode(&claims).expect("its own"), &keys).expect("its own");
    assert_ne!(answer.list, Some(claims.list_hashes[0]), "it was shown another");
    assert!(answer.list.is_some());
    assert!(!answer.hides(Some((&claims, hash)), None));
}
