//! What a party signed for another box, or another election, is shown as of this one: it counts for nothing, and whoever shows it is waited for.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use prost::Message as _;
use tally_proto::envelope::{Envelope, Kind as Signed};
use tally_proto::ids::{Hash32, Role, RoleExt as _};
use tally_proto::session::Holdings;
use tally_proto::wire;
use tally_proto::wire::list_part::Part;

use super::super::tables::{self, BoxKey, Once};
use super::super::{Flaw, Item, PeerError, SealError, SealedBox};
use super::network::Saboteur;
use super::world::{BOX, World, signer};

type Answered<T> = Result<T, PeerError>;

/// The liar of every test here.
const LIAR: Role = Role::P2;

const KEY: BoxKey = BoxKey {
    election: 1,
    of_box: BOX,
};

fn ballots(world: &mut World) {
    for after in [10, 20, 30] {
        let made = world.online(after);
        world.accept_by_all(&made);
    }
}

/// What `of` signed, as it would have signed it elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Elsewhere {
    Box,
    Election,
    Manifest,
}

fn elsewhere(what: Once, at: Elsewhere, of: Role, here: &wire::Envelope) -> wire::Envelope {
    macro_rules! moved {
        ($kind:expr, $statement:ty) => {{
            let mut statement = <$statement>::decode(here.payload.clone()).expect("its own");
            match at {
                Elsewhere::Box => statement.r#box += 1,
                Elsewhere::Election => statement.election.push('x'),
                Elsewhere::Manifest => {}
            }
            ($kind, statement)
        }};
    }
    let (kind, payload) = match what {
        Once::List => {
            let (kind, mut list) = moved!(Signed::List, wire::List);
            if at == Elsewhere::Manifest {
                list.manifest_hash[0] ^= 1;
            }
            (kind, list.encode_to_vec())
        }
        Once::Claims => {
            let (kind, claims) = moved!(Signed::Claims, wire::Claims);
            (kind, claims.encode_to_vec())
        }
        Once::Seal => {
            let (kind, mut seal) = moved!(Signed::Seal, wire::Seal);
            if at == Elsewhere::Manifest {
                seal.manifest_hash[0] ^= 1;
            }
            (kind, seal.encode_to_vec())
        }
    };
    signer(of).seal_envelope(kind, payload).to_wire()
}

fn moved_list(at: Elsewhere, of: Role, parts: &mut [wire::ListPart]) {
    let Some(Part::List(list)) = parts.first_mut().and_then(|first| first.part.as_mut()) else {
        panic!("a List begins with its envelope")
    };
    *list = elsewhere(Once::List, at, of, list);
}

/// As the third party, carries what the two others signed elsewhere, from the `after`th question of each on.
struct Carrier {
    what: Once,
    at: Elsewhere,
    after: usize,
    asked: [AtomicUsize; 3],
    /// Its own Claims, as it shows them to each of the two others, name another List of the third than that one showed.
    other_lists: bool,
    lying: AtomicBool,
}

impl Carrier {
    fn new(what: Once, at: Elsewhere) -> Self {
        Self {
            what,
            at,
            after: 0,
            asked: Default::default(),
            other_lists: false,
            lying: AtomicBool::new(true),
        }
    }

    fn world(self) -> (World, &'static Self) {
        let carrier: &'static Self = Box::leak(Box::new(self));
        let mut world = World::sabotaged(carrier);
        ballots(&mut world);
        (world, carrier)
    }

    fn lies(&self, what: Once, (from, of): (Role, Role)) -> bool {
        let carries = from == LIAR && of != LIAR && self.what == what;
        carries
            && self.lying.load(Ordering::Relaxed)
            && self.asked[of.slot()].fetch_add(1, Ordering::Relaxed) >= self.after
    }
}

impl Saboteur for &'static Carrier {
    fn list(
        &self,
        from: Role,
        to: Role,
        of: Role,
        parts: Answered<Vec<wire::ListPart>>,
    ) -> Answered<Vec<wire::ListPart>> {
        let mut parts = parts?;
        if to != of && self.lies(Once::List, (from, of)) {
            moved_list(self.at, of, &mut parts);
        }
        Ok(parts)
    }

    fn claims(
        &self,
        from: Role,
        to: Role,
        of: Role,
        claims: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        let mut claims = claims?;
        if to != of && self.lies(Once::Claims, (from, of)) {
            return Ok(elsewhere(Once::Claims, self.at, of, &claims));
        }
        if self.other_lists && (from, of) == (LIAR, LIAR) && self.lying.load(Ordering::Relaxed) {
            let third = to.third(LIAR).expect("two others");
            let mut named = wire::Claims::decode(claims.payload.clone()).expect("its own");
            named.list_hashes[third.slot()] = vec![9; 32];
            claims = signer(LIAR)
                .seal_envelope(Signed::Claims, named.encode_to_vec())
                .to_wire();
        }
        Ok(claims)
    }
}

fn proofs(world: &World, at: Role) -> usize {
    let proofs = world.store(at).read(|tx| tables::proofs(tx, KEY));
    proofs.expect("readable").len()
}

/// Both honest parties wait for the liar with `flaw`, and have proved nothing of anyone.
fn wait_for_the_liar(world: &World, runs: Vec<Result<SealedBox, SealError>>, item: Item, case: &str) {
    for (by, run) in Role::ALL.into_iter().zip(runs).filter(|(by, _)| *by != LIAR) {
        let Err(SealError::Waiting {
            of,
            item: waited,
            source: PeerError::Malformed { peer, what, flaw },
        }) = run
        else {
            panic!("{case}, {by}: {run:?}")
        };
        assert_eq!((of, waited, peer, what), (LIAR, item, LIAR, item), "{case}, {by}");
        assert_eq!(flaw, Flaw::Subject, "{case}, {by}");
        assert_eq!(proofs(world, by), 0, "{case}, {by}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_carries_a_statement_of_another_box_names_nobody() {
    for (what, item, at) in [
        (Once::List, Item::List, Elsewhere::Box),
        (Once::List, Item::List, Elsewhere::Election),
        (Once::List, Item::List, Elsewhere::Manifest),
        (Once::Claims, Item::Claims, Elsewhere::Box),
        (Once::Claims, Item::Claims, Elsewhere::Election),
    ] {
        let (world, carrier) = Carrier::new(what, at).world();
        let runs = world.seal(&Role::ALL).await;
        wait_for_the_liar(&world, runs, item, &format!("{what:?} of another {at:?}"));
        // Nothing is lost: when it carries what it was shown, the box is sealed.
        carrier.lying.store(false, Ordering::Relaxed);
        for sealed in world.sealed().await {
            assert!(sealed.findings().is_empty(), "{:?}", sealed.findings());
        }
    }
}

/// Its Claims name Lists that nobody showed; asked for these, it carries Lists of another box.
#[tokio::test(start_paused = true)]
async fn a_list_of_another_box_does_not_stand_for_one_that_claims_name() {
    let carrier = Carrier {
        after: 1,
        other_lists: true,
        ..Carrier::new(Once::List, Elsewhere::Box)
    };
    let (world, _) = carrier.world();
    let runs = world.seal(&Role::ALL).await;
    wait_for_the_liar(&world, runs, Item::List, "Claims over other Lists");
}

/// Says that it holds a List, Claims or Seal of P1, and shows the one that P1 signed elsewhere; and shows others its own Seal of elsewhere.
struct Boasts {
    what: Once,
    at: Elsewhere,
    /// P1's, of this box.
    here: wire::Envelope,
    boasting: AtomicBool,
}

impl Boasts {
    fn thing(&self) -> wire::Envelope {
        elsewhere(self.what, self.at, Role::P1, &self.here)
    }

    fn shows(&self, what: Once, (from, to, of): (Role, Role, Role)) -> bool {
        (from, to, of) == (LIAR, Role::P1, Role::P1)
            && self.what == what
            && self.boasting.load(Ordering::Relaxed)
    }
}

impl Saboteur for &'static Boasts {
    fn holdings(&self, from: Role, to: Role, holdings: Answered<wire::Envelope>) -> Answered<wire::Envelope> {
        if (from, to) != (LIAR, Role::P1) || !self.boasting.load(Ordering::Relaxed) {
            return holdings;
        }
        let keys = Role::ALL.map(|role| signer(role).public_key());
        let honest = Envelope::from_wire(holdings?).expect("an envelope");
        let mut lie = Holdings::open(&honest, &keys).expect("honest");
        let thing = Some(Hash32::of(&self.thing().payload));
        match self.what {
            Once::List => lie.list = thing,
            Once::Claims => lie.claims = thing,
            Once::Seal => lie.seal = thing,
        }
        (lie.own_claims, lie.own_seal) = (None, None);
        Ok(lie.sign(&signer(LIAR)).to_wire())
    }

    fn list(
        &self,
        from: Role,
        to: Role,
        of: Role,
        parts: Answered<Vec<wire::ListPart>>,
    ) -> Answered<Vec<wire::ListPart>> {
        if !self.shows(Once::List, (from, to, of)) {
            return parts;
        }
        let part = Some(Part::List(self.thing()));
        Ok(vec![wire::ListPart { part }])
    }

    fn claims(
        &self,
        from: Role,
        to: Role,
        of: Role,
        claims: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        if self.shows(Once::Claims, (from, to, of)) {
            Ok(self.thing())
        } else {
            claims
        }
    }

    fn seal(
        &self,
        from: Role,
        to: Role,
        of: Role,
        seal: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        if self.shows(Once::Seal, (from, to, of)) {
            Ok(self.thing())
        } else {
            seal
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_party_signed_for_another_box_does_not_make_it_a_restored_one() {
    // What P1 signs in this world, to the byte.
    let mut twin = World::new();
    ballots(&mut twin);
    twin.sealed().await;
    for (what, item, at) in [
        (Once::List, Item::List, Elsewhere::Box),
        (Once::Claims, Item::Claims, Elsewhere::Box),
        (Once::Seal, Item::Seal, Elsewhere::Box),
        (Once::Seal, Item::Seal, Elsewhere::Election),
        (Once::Seal, Item::Seal, Elsewhere::Manifest),
    ] {
        let here = twin
            .store(Role::P1)
            .read(|tx| tables::signed(tx, KEY, what, Role::P1.index()))
            .expect("readable")
            .expect("signed");
        let boasts: &'static Boasts = Box::leak(Box::new(Boasts {
            what,
            at,
            here: Envelope::decode(&here).expect("its own").to_wire(),
            boasting: AtomicBool::new(true),
        }));
        let mut world = World::sabotaged(boasts);
        ballots(&mut world);
        let run = world.seal(&[Role::P1]).await.remove(0);
        let Err(SealError::Waiting {
            of: LIAR,
            item: waited,
            source: PeerError::Malformed {
                flaw: Flaw::Subject, ..
            },
        }) = &run
        else {
            panic!("{what:?} of another {at:?}: {run:?}")
        };
        assert_eq!(*waited, item);
        boasts.boasting.store(false, Ordering::Relaxed);
        world.sealed().await;
    }
}

/// Shows P3 as its Seal one that it signed elsewhere.
struct SealOfElsewhere {
    at: Elsewhere,
    lying: AtomicBool,
}

impl Saboteur for &'static SealOfElsewhere {
    fn seal(
        &self,
        from: Role,
        to: Role,
        of: Role,
        seal: Answered<wire::Envelope>,
    ) -> Answered<wire::Envelope> {
        if (from, to, of) != (LIAR, Role::P3, LIAR) || !self.lying.load(Ordering::Relaxed) {
            return seal;
        }
        Ok(elsewhere(Once::Seal, self.at, LIAR, &seal?))
    }
}

#[tokio::test(start_paused = true)]
async fn a_seal_of_another_box_is_not_kept_as_the_one_of_this() {
    for at in [Elsewhere::Box, Elsewhere::Election, Elsewhere::Manifest] {
        let liar: &'static SealOfElsewhere = Box::leak(Box::new(SealOfElsewhere {
            at,
            lying: AtomicBool::new(true),
        }));
        let mut world = World::sabotaged(liar);
        ballots(&mut world);
        let run = world.seal(&Role::ALL).await.remove(2);
        let Err(SealError::Waiting {
            of: LIAR,
            item: Item::Seal,
            source: PeerError::Malformed {
                flaw: Flaw::Subject, ..
            },
        }) = run
        else {
            panic!("{at:?}: {run:?}")
        };
        let kept = world
            .store(Role::P3)
            .read(|tx| tables::signed(tx, KEY, Once::Seal, LIAR.index()));
        assert_eq!(kept.expect("readable"), None, "{at:?}");
        assert_eq!(proofs(&world, Role::P3), 0, "{at:?}");
        liar.lying.store(false, Ordering::Relaxed);
        for sealed in world.sealed().await {
            assert!(sealed.findings().is_empty(), "{:?}", sealed.findings());
        }
    }
}
