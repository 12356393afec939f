//! Whom a party suspects when a neighbour says that it stopped.

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_mpc::{Binding, ChannelHashes, Phase, Scope, Statement};
use tally_proto::envelope::{PublicKey, Signer};
use tally_proto::ids::SessionNumber;
use tally_proto::session::{Examined, statement_layout};

use super::super::opening::tests::scene;
use super::super::start::Prepared;
use super::*;

const NUMBER: SessionNumber = SessionNumber(5);

struct World {
    signers: [Signer; 3],
    keys: [PublicKey; 3],
    starts: Starts,
}

impl World {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(21);
        let signers = [(); 3].map(|()| Signer::generate(&mut rng));
        let keys = [0, 1, 2].map(|i: usize| signers[i].public_key());
        let starts = Role::ALL.map(|role| {
            let prepared = Prepared::new(role, scene(), NUMBER, &signers[role.slot()], &mut rng);
            prepared.start().clone()
        });
        let starts = Starts::verify(&starts, &keys, &scene()).expect("they match");
        Self {
            signers,
            keys,
            starts,
        }
    }

    fn stop(suspects: &[Role], evidence: Vec<wire::Evidence>) -> Stop {
        Stop {
            reason: Reason::TallyCheckFailed,
            check: Check::ChannelHashes,
            step: "sort step 3 chunk 0".to_owned(),
            channel: None,
            suspects: suspects.to_vec(),
            evidence,
            detail: String::new(),
        }
    }

    /// An Abort of `by` as it travels.
    fn abort(&self, by: Role, suspects: &[Role], evidence: Vec<wire::Evidence>) -> Bytes {
        let stop = Self::stop(suspects, evidence);
        let signer = &self.signers[by.slot()];
        outcome::abort(&scene(), &self.starts, by, &stop, signer)
            .encode()
            .into()
    }

    /// The same, as the Abort of a party that does not mind whether its evidence holds.
    fn careless(&self, by: Role, evidence: Vec<wire::Evidence>) -> Bytes {
        let honest = Envelope::decode(&self.abort(by, &[], Vec::new())).expect("just made");
        let abort = SessionAbort::open(&honest, &self.keys).expect("just made");
        let abort = SessionAbort { evidence, ..abort };
        abort.sign(&self.signers[by.slot()]).encode().into()
    }

    /// What `signer` states at barrier 4: that every channel has this hash.
    fn states(&self, signer: Role, hash: u8) -> wire::Evidence {
        let statement = Statement {
            binding: Binding::new(
                scene().seal_hash.as_bytes(),
                scene().election.as_str().as_bytes(),
                &scene().box_id.get().to_be_bytes(),
                NUMBER.get(),
            ),
            signer,
            number: 4,
            at: Scope {
                phase: Phase::Sort,
                step: 3,
                chunk: 0,
            },
            channels: ChannelHashes::from_bytes(&[hash; 128]),
        };
        let statement = statement.to_bytes().to_vec();
        let layout = statement_layout(&self.starts.id, &statement);
        let signature = self.signers[signer.slot()].sign_layout(&layout).0.to_vec();
        let object = Object::Barrier(wire::BarrierStatement { statement, signature });
        wire::Evidence { object: Some(object) }
    }

    /// The Starts and these statements.
    fn shows(&self, statements: &[wire::Evidence]) -> Vec<wire::Evidence> {
        [self.starts.evidence(), statements.to_vec()].concat()
    }

    /// How `own` stops when it hears `statement` from `from`, having lost these neighbours besides, and what anyone makes of its Abort.
    fn hears(
        &self,
        own: Role,
        from: Role,
        statement: Bytes,
        lost: &[(Role, Loss)],
    ) -> (SessionAbort, Examined) {
        let fate = Fate::default();
        fate.decide(Some(from), Loss::Abort(statement));
        for (neighbour, loss) in lost {
            fate.decide(Some(*neighbour), loss.clone());
        }
        let accuser = Accuser {
            own,
            starts: self.starts.clone(),
        };
        let (with, loss) = fate.first().expect("it was told");
        let stop = accuser.stop_of_loss(&fate, with, loss, "sort step 3 chunk 0".to_owned());
        let envelope = outcome::abort(&scene(), &self.starts, own, &stop, &self.signers[own.slot()]);
        let abort = SessionAbort::open(&envelope, &self.keys).expect("well formed");
        let examined = abort.examine(&self.keys).expect("its evidence holds");
        (abort, examined)
    }
}

#[test]
fn a_neighbours_word_is_relayed_and_clears_nobody() {
    let world = World::new();
    // P2 lies: it tells each of the others that the other one stopped it.
    let to_first = world.abort(Role::P2, &[Role::P3], Vec::new());
    let to_third = world.abort(Role::P2, &[Role::P1], Vec::new());
    let (first, examined) = world.hears(Role::P1, Role::P2, to_first, &[]);
    assert_eq!(
        (first.check, first.suspects.as_slice()),
        (Check::Neighbour, &[Role::P2, Role::P3][..])
    );
    assert_eq!(
        (examined.said[0].party, examined.said[0].suspects.as_slice()),
        (Role::P2, &[Role::P3][..]),
        "what it heard stands in its own"
    );
    let (third, _) = world.hears(Role::P3, Role::P2, to_third, &[]);
    assert_eq!(third.suspects, [Role::P1, Role::P2]);
}

#[test]
fn nobody_names_nobody() {
    let world = World::new();
    let nobody = world.abort(Role::P2, &[], Vec::new());
    assert_eq!(
        world.hears(Role::P1, Role::P2, nobody, &[]).0.suspects,
        [Role::P2]
    );
    let itself = world.abort(Role::P2, &[Role::P1], Vec::new());
    assert_eq!(
        world.hears(Role::P1, Role::P2, itself, &[]).0.suspects,
        [Role::P2]
    );
}

#[test]
fn signatures_that_convict_another_clear_the_messenger() {
    let world = World::new();
    // P1 and P3 have signed different accounts, and P1 knows that it did not lie.
    let accounts = world.shows(&[world.states(Role::P1, 1), world.states(Role::P3, 2)]);
    // P3 has signed two at one barrier.
    let two = world.shows(&[world.states(Role::P3, 1), world.states(Role::P3, 2)]);
    for evidence in [accounts, two] {
        let statement = world.abort(Role::P2, &[Role::P1, Role::P3], evidence);
        let (abort, examined) = world.hears(Role::P1, Role::P2, statement, &[]);
        assert_eq!(abort.suspects, [Role::P3]);
        assert!(abort.proved && examined.proofs.len() == 1);
    }
    // Signatures that convict one of the others convict both, the messenger too.
    let others = world.shows(&[world.states(Role::P2, 1), world.states(Role::P3, 2)]);
    let statement = world.abort(Role::P2, &[Role::P3], others);
    let (abort, _) = world.hears(Role::P1, Role::P2, statement, &[]);
    assert_eq!(abort.suspects, [Role::P2, Role::P3]);
}

#[test]
fn an_abort_whose_evidence_does_not_hold_convicts_who_signed_it() {
    let world = World::new();
    let mut forged = world.states(Role::P3, 2);
    if let Some(Object::Barrier(statement)) = &mut forged.object {
        statement.signature[7] ^= 1;
    }
    let evidence = world.shows(&[world.states(Role::P1, 1), forged]);
    let statement = world.careless(Role::P2, evidence);
    let (abort, _) = world.hears(Role::P1, Role::P2, statement, &[]);
    assert_eq!(
        (abort.check, abort.suspects.as_slice(), abort.proved),
        (Check::Frame, &[Role::P2][..], false)
    );
    // Nor is another's Abort, or none at all, one of P2's.
    let other = world.abort(Role::P3, &[Role::P2], Vec::new());
    for statement in [other, Bytes::from_static(b"stop")] {
        let (abort, _) = world.hears(Role::P1, Role::P2, statement, &[]);
        assert_eq!(
            (abort.check, abort.suspects.as_slice()),
            (Check::Frame, &[Role::P2][..])
        );
    }
}

#[test]
fn what_a_party_saw_itself_comes_before_what_it_heard() {
    let world = World::new();
    let statement = || world.abort(Role::P2, &[Role::P3], Vec::new());
    for loss in [Loss::Ended, Loss::Broken("reset".to_owned())] {
        let (abort, examined) = world.hears(Role::P1, Role::P2, statement(), &[(Role::P3, loss)]);
        assert_eq!(abort.suspects, [Role::P3]);
        assert_eq!(examined.said.len(), 1, "what it heard is carried all the same");
    }
    // That P3 stops too, and says why, is no fault seen: both are heard.
    let theirs = world.abort(Role::P3, &[Role::P2], Vec::new());
    let lost = [(Role::P3, Loss::Abort(theirs))];
    let (abort, examined) = world.hears(Role::P1, Role::P2, statement(), &lost);
    assert_eq!(abort.suspects, [Role::P2, Role::P3]);
    assert_eq!(
        examined.said.iter().map(|said| said.party).collect::<Vec<_>>(),
        [Role::P2, Role::P3]
    );
    // P3's end does not count where P2 does not name it.
    let itself = world.abort(Role::P2, &[Role::P1], Vec::new());
    let (abort, _) = world.hears(Role::P1, Role::P2, itself, &[(Role::P3, Loss::Ended)]);
    assert_eq!(abort.suspects, [Role::P2]);
}
