//! Starts: each party's signed opening of a session, with its commitments to what it contributes to the pairs' seeds.

use rand::CryptoRng;
use tally_proto::decode::DecodeError;
use tally_proto::envelope::{Envelope, EnvelopeError, Kind, PublicKey, Signer};
use tally_proto::ids::{Hash32, IdError, Role, RoleExt as _, SessionNumber};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;

use tally_proto::session::{Start, StartPayloadError, session_id};
use tally_proto::wire;
use tally_proto::wire::evidence::Object;

use super::opening::{Contribution, Scene};

/// Why three Starts open no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Not three of them.
    #[error("a session needs three Starts in party order; {0} were given")]
    Count(usize),
    /// Not signed by its party, and by it alone.
    #[error("the Start of {party}: {source}")]
    Signature {
        /// Whose Start it should be.
        party: Role,
        /// What is wrong.
        source: EnvelopeError,
    },
    /// The payload does not decode.
    #[error("the Start of {party}: {source}")]
    Payload {
        /// Whose Start it should be.
        party: Role,
        /// What is wrong.
        source: DecodeError,
    },
    /// A field has a wrong form.
    #[error("the Start of {party}: {field}: {source}")]
    Field {
        /// Whose Start it should be.
        party: Role,
        /// The field.
        field: &'static str,
        /// What is wrong.
        source: IdError,
    },
    /// It is of another party, seal, election or box.
    #[error("the Start of {party} is for another {field}; prepare all three parties for the same sealed box")]
    Other {
        /// Whose Start it should be.
        party: Role,
        /// The field that differs.
        field: &'static str,
    },
    /// The numbers differ.
    #[error(
        "the Start of {party} is of session {got}, that of P1 of session {expected}; prepare all three with one number"
    )]
    Number {
        /// Whose Start it is.
        party: Role,
        /// Its number.
        got: SessionNumber,
        /// The number of P1's.
        expected: SessionNumber,
    },
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        let reason = match &error {
            StartError::Count(_) | StartError::Field { .. } => Reason::MessageMalformed,
            StartError::Signature { .. } => Reason::SignatureBad,
            StartError::Payload {
                source: DecodeError::NotCanonical { .. },
                ..
            } => Reason::MessageNotCanonical,
            StartError::Payload { .. } => Reason::MessageMalformed,
            StartError::Other { .. } => Reason::ElectionOther,
            StartError::Number { .. } => Reason::SessionStale,
        };
        Self::new(reason, error)
    }
}

/// What a party has prepared for one session: its Start and the contributions behind it. Held in memory only, and used up by the session:
/// a restarted party cannot resume.
pub struct Prepared {
    pub(crate) own: Role,
    pub(crate) scene: Scene,
    pub(crate) number: SessionNumber,
    pub(crate) next: Contribution,
    pub(crate) prev: Contribution,
    /// Signs what this party states in the session.
    pub(crate) signer: Signer,
    start: Envelope,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Prepared({}, session {}, contributions secret)",
            self.own, self.number
        )
    }
}

impl Prepared {
    /// Draws fresh contributions and signs the Start. The number must be durable before the Start leaves.
    pub fn new(
        own: Role,
        scene: Scene,
        number: SessionNumber,
        signer: &Signer,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let (next, prev) = (Contribution::fresh(rng), Contribution::fresh(rng));
        let commitments = (
            next.commitment(&scene, number, own, own.next()),
            prev.commitment(&scene, number, own, own.prev()),
        );
        let start = Start {
            seal_hash: scene.seal_hash,
            election: scene.election.clone(),
            of_box: scene.box_id,
            party: own,
            number,
            commitments,
        };
        let start = start.sign(signer);
        Self {
            own,
            scene,
            number,
            next,
            prev,
            signer: Signer::from_seed(signer.seed().as_slice()).expect("a signer's own seed has its length"),
            start,
        }
    }

    /// The signed Start.
    pub fn start(&self) -> &Envelope {
        &self.start
    }

    /// Whether the Start of this party among `starts` is the one prepared here.
    pub fn is_of(&self, starts: &Starts) -> bool {
        starts.envelopes[self.own.slot()].payload() == self.start.payload() && starts.number == self.number
    }
}

/// Three Starts that open one session.
#[derive(Clone, Debug)]
pub struct Starts {
    /// The session's number.
    pub number: SessionNumber,
    /// The session's id.
    pub id: Hash32,
    /// The Starts themselves, in party order.
    pub(crate) envelopes: [Envelope; 3],
    /// The parties' keys.
    pub(crate) keys: [PublicKey; 3],
    /// (to the next party, to the previous one), in party order.
    commitments: [(Hash32, Hash32); 3],
}

impl Starts {
    /// Checks the three against the parties' keys and what is to be tallied.
    ///
    /// # Errors
    /// The first thing that is wrong, and with whose Start.
    pub fn verify(starts: &[Envelope], keys: &[PublicKey; 3], scene: &Scene) -> Result<Self, StartError> {
        let [first, second, third] = starts else {
            return Err(StartError::Count(starts.len()));
        };
        let checked = [(first, Role::P1), (second, Role::P2), (third, Role::P3)]
            .map(|(start, party)| check(start, party, &keys[party.slot()], scene));
        let [a, b, c] = checked;
        let (a, b, c) = (a?, b?, c?);
        for (party, start) in [(Role::P2, &b), (Role::P3, &c)] {
            if start.0 != a.0 {
                return Err(StartError::Number {
                    party,
                    got: start.0,
                    expected: a.0,
                });
            }
        }
        let id = session_id([first.payload(), second.payload(), third.payload()]);
        Ok(Self {
            number: a.0,
            id,
            envelopes: [first, second, third].map(Envelope::clone),
            keys: *keys,
            commitments: [a.1, b.1, c.1],
        })
    }

    /// The Start of `party`.
    pub(crate) fn of(&self, party: Role) -> &Envelope {
        &self.envelopes[party.slot()]
    }

    /// The three as evidence, in party order.
    pub(crate) fn evidence(&self) -> Vec<wire::Evidence> {
        let object = |start: &Envelope| Some(Object::Start(start.to_wire()));
        let evidence = |start| wire::Evidence {
            object: object(start),
        };
        self.envelopes.iter().map(evidence).collect()
    }

    /// What `from` committed to contribute to its pair with `to`.
    pub(crate) fn commitment(&self, from: Role, to: Role) -> Hash32 {
        let (next, prev) = self.commitments[from.slot()];
        if from.next() == to { next } else { prev }
    }
}

fn check(
    start: &Envelope,
    party: Role,
    key: &PublicKey,
    scene: &Scene,
) -> Result<(SessionNumber, (Hash32, Hash32)), StartError> {
    start
        .verify_all(Kind::Start, std::slice::from_ref(key))
        .map_err(|source| StartError::Signature { party, source })?;
    let start = Start::decode(start.payload()).map_err(|error| match error {
        StartPayloadError::Envelope(source) => StartError::Signature { party, source },
        StartPayloadError::Decode(source) => StartError::Payload { party, source },
        StartPayloadError::Field { field, source } => StartError::Field { party, field, source },
    })?;
    let fields = [
        ("party", start.party == party),
        ("seal", start.seal_hash == scene.seal_hash),
        ("election", start.election == scene.election),
        ("box", start.of_box == scene.box_id),
    ];
    if let Some((field, _)) = fields.iter().find(|(_, same)| !same) {
        return Err(StartError::Other { party, field });
    }
    Ok((start.number, start.commitments))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use tally_proto::ids::BoxId;

    use super::super::opening::tests::scene;
    use super::*;

    struct World {
        signers: [Signer; 3],
        keys: [PublicKey; 3],
        rng: StdRng,
    }

    impl World {
        fn new() -> Self {
            let mut rng = StdRng::seed_from_u64(11);
            let signers = [(); 3].map(|()| Signer::generate(&mut rng));
            let keys = [0, 1, 2].map(|i: usize| signers[i].public_key());
            Self { signers, keys, rng }
        }

        fn start(&mut self, own: Role, scene: Scene, number: u64) -> Envelope {
            let signer = &self.signers[own.slot()];
            Prepared::new(own, scene, SessionNumber(number), signer, &mut self.rng)
                .start()
                .clone()
        }

        fn starts(&mut self, number: u64) -> [Envelope; 3] {
            Role::ALL.map(|role| self.start(role, scene(), number))
        }
    }

    #[test]
    fn three_matching_starts_open_a_session() {
        let mut world = World::new();
        let starts = world.starts(5);
        let opened = Starts::verify(&starts, &world.keys, &scene()).expect("they match");
        assert_eq!(opened.number, SessionNumber(5));
        let others = world.starts(5);
        let again = Starts::verify(&others, &world.keys, &scene()).expect("they match");
        assert_ne!(opened.id, again.id, "fresh contributions make another session");
        let mut mixed = starts.clone();
        mixed[1] = others[1].clone();
        assert_ne!(
            Starts::verify(&mixed, &world.keys, &scene())
                .expect("they match")
                .id,
            opened.id
        );
    }

    #[test]
    fn what_does_not_match_is_refused_by_name() {
        let mut world = World::new();
        let good = world.starts(5);
        let refuse = |world: &World, starts: &[Envelope]| {
            Starts::verify(starts, &world.keys, &scene()).expect_err("must be refused")
        };
        assert!(matches!(refuse(&world, &good[..2]), StartError::Count(2)));

        let swapped = [good[1].clone(), good[0].clone(), good[2].clone()];
        assert!(matches!(
            refuse(&world, &swapped),
            StartError::Signature { party: Role::P1, .. }
        ));

        let mut stale = good.clone();
        stale[2] = world.start(Role::P3, scene(), 4);
        assert!(matches!(
            refuse(&world, &stale),
            StartError::Number {
                party: Role::P3,
                got: SessionNumber(4),
                expected: SessionNumber(5)
            }
        ));

        let other_scenes = [
            (
                "seal",
                Scene {
                    seal_hash: Hash32([8; 32]),
                    ..scene()
                },
            ),
            (
                "box",
                Scene {
                    box_id: BoxId(4),
                    ..scene()
                },
            ),
            (
                "election",
                Scene {
                    election: "ward-8".parse().expect("a slug"),
                    ..scene()
                },
            ),
        ];
        for (name, other) in other_scenes {
            let mut starts = good.clone();
            starts[1] = world.start(Role::P2, other, 5);
            assert!(
                matches!(refuse(&world, &starts), StartError::Other { party: Role::P2, field } if field == name)
            );
        }

        let message = wire::Start::decode(good[0].payload().clone()).expect("it was just made");
        let cut = wire::Start {
            commitment_next: vec![1; 31],
            ..message.clone()
        };
        let mut starts = good.clone();
        starts[0] = world.signers[0].seal_envelope(Kind::Start, cut.encode_to_vec());
        assert!(matches!(
            refuse(&world, &starts),
            StartError::Field {
                field: "commitment_next",
                ..
            }
        ));

        let mut padded = message.encode_to_vec();
        padded.extend_from_slice(&[0x78, 0x01]);
        starts[0] = world.signers[0].seal_envelope(Kind::Start, padded);
        assert!(matches!(
            refuse(&world, &starts),
            StartError::Payload { party: Role::P1, .. }
        ));
    }

    #[test]
    fn a_party_knows_its_own_start() {
        let mut world = World::new();
        let mine = Prepared::new(
            Role::P2,
            scene(),
            SessionNumber(5),
            &world.signers[1],
            &mut world.rng,
        );
        let mut starts = world.starts(5);
        let foreign = Starts::verify(&starts, &world.keys, &scene()).expect("they match");
        assert!(!mine.is_of(&foreign));
        starts[1] = mine.start().clone();
        assert!(mine.is_of(&Starts::verify(&starts, &world.keys, &scene()).expect("they match")));
    }
}
