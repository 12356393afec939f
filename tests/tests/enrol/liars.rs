//! Parties that lie to a voter's device about its credential or its place: they are named, no code comes out, and enrolling again makes one.

use std::sync::{Arc, Mutex};

use prost::Message as _;
use tally_proto::ids::RoleExt as _;
use tally_proto::offsets::{OffsetError, OffsetKey, Telling};
use tally_proto::record::RecordSubmission;
use tally_proto::refusal::Refusal;
use tally_proto::suite::OpeningKey;
use tally_proto::wire;
use tonic::Status;

use super::*;
use crate::world::front::Front;
use crate::world::liar::{Answer, change};

/// What P3 answers in the place of its offsets: it knows what the device knows, as P3 itself does, and has these two keys.
struct Teller {
    opening: OpeningKey,
    own: OffsetKey,
    next: OffsetKey,
    asked: Mutex<Option<wire::RecordSubmission>>,
}

impl Teller {
    /// With the manifest's keys but for those that `wrong` names.
    fn new(world: &World, wrong: &[Role]) -> Arc<Self> {
        let key = |j: Role| {
            if wrong.contains(&j) {
                return OffsetKey::generate(&mut StdRng::seed_from_u64(77));
            }
            let key = &world.fixture.offset_keys[j.slot()];
            OffsetKey::from_bytes(key.to_bytes().as_ref()).expect("64 bytes")
        };
        let opening = &world.fixture.opening_keys[Role::P3.slot()];
        Arc::new(Self {
            opening: OpeningKey::from_bytes(opening.sealing_key().suite(), opening.to_bytes().as_ref())
                .expect("32 bytes"),
            own: key(Role::P3),
            next: key(Role::P1),
            asked: Mutex::new(None),
        })
    }

    fn answer(&self, method: &str, asked: &[u8], honest: Answer) -> Answer {
        match method {
            "Enrol" => {
                let record = wire::RecordSubmission::decode(asked).expect("a record");
                *self.asked.lock().expect("no panic") = Some(record);
                honest
            }
            "Offsets" => {
                let record = self
                    .asked
                    .lock()
                    .expect("no panic")
                    .clone()
                    .expect("asked before");
                let record = RecordSubmission::from_wire(record).expect("a record");
                let (header, digest) = (record.header(), record.digest());
                let opened = header.context().open(
                    Role::P3,
                    &self.opening,
                    &digest,
                    &header.commitments,
                    record.ciphertext(),
                );
                let opened = opened.expect("opens");
                let (this, next) = (opened.this.nonce(), opened.next.nonce());
                let own = self.own.offset(Role::P3, &digest);
                let copy = self.next.offset(Role::P1, &digest);
                let sealed = Telling::new(Role::P3, &digest, this, next).seal(&own, &copy);
                Ok(vec![wire::OffsetsReply { sealed }.encode_to_vec()])
            }
            _ => honest,
        }
    }
}

async fn tried(
    world: &World,
    parties: &[Party],
    front: &Front,
    card: &Card,
) -> Result<tally_client::Enrolled, EnrolError> {
    next_second(world).await;
    let [one, two] = [0, 1].map(|at: usize| parties[at].public_channel());
    let channels = [one, two, front.channel()];
    let connections = Connections::over(&election(world), channels, parties[0].public_channel());
    let mut never = |_: &str| panic!("asked");
    let mut rng = StdRng::seed_from_u64(world.clock_s());
    enrol(&election(world), &connections, card, &mut never, &mut rng).await
}

fn code(world: &World, enrolled: &tally_client::Enrolled) -> u64 {
    let hash = world.fixture.manifest.hash();
    let credential = enrolled.invitation.credential_for(&hash);
    credential.expect("of this election").expose()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_tells_another_offset_is_named_with_its_neighbour_and_enrolling_again_works() {
    let (mut world, parties) = start().await;
    let made = super::card(&mut world, &CardShape::of(&called(1, 1), CardKey::P256, OPENS));
    let file = Card::File(CardFile::open(&pkcs12(&world, &made), PASSWORD).expect("opens"));
    let front = Front::before(&parties[2]).await;
    let first = tried(&world, &parties, &front, &file)
        .await
        .expect("honest so far");
    assert_eq!(credential(&parties), code(&world, &first));
    let mut dead = vec![code(&world, &first)];
    use Role::{P1, P2, P3};
    for (wrong, pair) in [(&[P3][..], (P2, P3)), (&[P1], (P3, P1)), (&[P1, P3], (P3, P1))] {
        let teller = Teller::new(&world, wrong);
        front.lies(move |method, asked, honest| teller.answer(method, asked, honest));
        let error = tried(&world, &parties, &front, &file).await.expect_err("a lie");
        assert_eq!(error.reason(), Some(Reason::OffsetsDiffer));
        let EnrolError::Offsets { error: cause, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*cause, OffsetError::Differ(pair.0, pair.1));
        let words = error.to_string();
        for party in [pair.0, pair.1] {
            let agency = world.fixture.manifest.manifest().party(party).agency();
            assert!(words.contains(&format!("{party}: {agency}")), "{words}");
        }
        assert!(
            words.contains("you are not enrolled") && words.contains("enrol again"),
            "{words}"
        );
    }
    // The same with the right keys is no lie: what was refused was the other key, and nothing else of this answer.
    let teller = Teller::new(&world, &[]);
    front.lies(move |method, asked, honest| teller.answer(method, asked, honest));
    let second = tried(&world, &parties, &front, &file)
        .await
        .expect("told the truth");
    dead.push(code(&world, &second));
    // What does not open at all.
    front.lies(|method, _, honest| match method {
        "Offsets" => change(honest, |reply: &mut wire::OffsetsReply| reply.sealed[0] ^= 1),
        _ => honest,
    });
    let error = tried(&world, &parties, &front, &file).await.expect_err("altered");
    assert!(
        matches!(
            &error,
            EnrolError::Offsets {
                error: OffsetError::DoesNotOpen(P3),
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("P3: Agency 3"), "{error}");
    // Or nothing at all.
    front.lies(|method, _, honest| match method {
        "Offsets" => Err(Status::from(Refusal::new(
            Reason::OffsetsMissing,
            "the key of offsets is not here",
        ))),
        _ => honest,
    });
    let error = tried(&world, &parties, &front, &file)
        .await
        .expect_err("withheld");
    let EnrolError::NotTold(faults) = &error else {
        panic!("{error}")
    };
    let named: Vec<_> = faults
        .iter()
        .map(|fault| (fault.party(), fault.reason()))
        .collect();
    assert_eq!(named, [(P3, Reason::OffsetsMissing)]);
    assert!(error.to_string().contains("Agency 3 (P3)"), "{error}");
    // Enrolling again makes a code; those of before are not what the parties hold.
    front.lies(|_, _, honest| honest);
    let last = tried(&world, &parties, &front, &file).await.expect("enrolled");
    assert_eq!(credential(&parties), code(&world, &last));
    for old in dead {
        assert_ne!(credential(&parties), old);
    }
    assert_eq!(
        records(&parties[0]).len(),
        8,
        "every try left its record, the newest stands"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_that_say_different_places_give_nobody_a_code() {
    let (mut world, parties) = start().await;
    let made = super::card(&mut world, &CardShape::of(&called(1, 2), CardKey::P256, OPENS));
    let file = Card::File(CardFile::open(&pkcs12(&world, &made), PASSWORD).expect("opens"));
    let front = Front::before(&parties[2]).await;
    let told = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&told);
    front.lies(move |method, _, honest| match method {
        "Enrol" => change(honest, |reply: &mut wire::EnrolReply| reply.v += 1),
        "Offsets" => {
            *seen.lock().expect("no panic") += 1;
            honest
        }
        _ => honest,
    });
    let error = tried(&world, &parties, &front, &file)
        .await
        .expect_err("another number");
    assert!(matches!(error, EnrolError::Places), "{error}");
    assert_eq!(error.reason(), Some(Reason::EnrolPlaces));
    assert_eq!(
        *told.lock().expect("no panic"),
        0,
        "nothing is asked for such a record"
    );
    // Another box is another receipt, which P3 did not sign.
    front.lies(|method, _, honest| match method {
        "Enrol" => change(honest, |reply: &mut wire::EnrolReply| reply.r#box += 1),
        _ => honest,
    });
    let error = tried(&world, &parties, &front, &file)
        .await
        .expect_err("another box");
    let EnrolError::NotTaken(faults) = &error else {
        panic!("{error}")
    };
    assert_eq!(faults[0].reason(), Reason::ReceiptInvalid);
    front.lies(|_, _, honest| honest);
    let enrolled = tried(&world, &parties, &front, &file).await.expect("enrolled");
    assert_eq!(enrolled.voter, VoterIndex(2));
    assert_eq!(credential(&parties), code(&world, &enrolled));
}
