use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::*;

const RECORD: Digest = Digest([9; 32]);

struct Scene {
    keys: [OffsetKey; 3],
    nonces: [[u8; 32]; 3],
    drawn: Credential,
}

fn scene(seed: u64) -> Scene {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    Scene {
        keys: Role::ALL.map(|_| OffsetKey::generate(&mut rng)),
        nonces: Role::ALL.map(|_| {
            let mut nonce = [0; 32];
            rand_chacha::rand_core::Rng::fill_bytes(&mut rng, &mut nonce);
            nonce
        }),
        drawn: Credential::generate(&mut rng),
    }
}

impl Scene {
    fn telling(&self, party: Role) -> Telling {
        let nonce = |j: Role| &self.nonces[j.slot()];
        Telling::new(party, &RECORD, nonce(party), nonce(party.next()))
    }

    /// What P_i tells when it holds these two keys.
    fn told_with(&self, party: Role, own: &OffsetKey, next: &OffsetKey) -> Told {
        let telling = self.telling(party);
        let sealed = telling.seal(&own.offset(party, &RECORD), &next.offset(party.next(), &RECORD));
        assert_eq!(sealed.len(), TOLD_BYTES);
        telling.open(&sealed).expect("opens")
    }

    fn told(&self, party: Role) -> Told {
        self.told_with(party, &self.keys[party.slot()], &self.keys[party.next().slot()])
    }
}

#[test]
fn the_credential_is_what_was_drawn_with_the_three_offsets() {
    let scene = scene(1);
    let got = credential(&scene.drawn, &Role::ALL.map(|i| scene.told(i))).expect("all agree");
    // The parties' shares: share j of r_v with s_j added by both its holders.
    let (r1, r2) = (0x1111_2222_3333_4444u64, 0x5555_6666_7777_8888u64);
    let shares = [r1, r2, scene.drawn.expose() ^ r1 ^ r2];
    let sum = Role::ALL
        .into_iter()
        .map(|j| shares[j.slot()] ^ scene.keys[j.slot()].offset(j, &RECORD).expose())
        .fold(0, |sum, share| sum ^ share);
    assert_eq!(got.expose(), sum);
    assert_ne!(got.expose(), scene.drawn.expose());
}

#[test]
fn a_party_that_tells_something_else_is_named_with_its_pair() {
    let scene = scene(2);
    let other = scene_key(77);
    for liar in Role::ALL {
        let (own, next) = (&scene.keys[liar.slot()], &scene.keys[liar.next().slot()]);
        // Its own offset: P_{i-1} knows the right one.
        let mut told = Role::ALL.map(|i| scene.told(i));
        told[liar.slot()] = scene.told_with(liar, &other, next);
        let named = credential(&scene.drawn, &told).expect_err("copies differ");
        assert_eq!(named, OffsetError::Differ(liar.prev(), liar));
        // The next one's: P_{i+1} knows the right one.
        let mut told = Role::ALL.map(|i| scene.told(i));
        told[liar.slot()] = scene.told_with(liar, own, &other);
        let named = credential(&scene.drawn, &told).expect_err("copies differ");
        assert_eq!(named, OffsetError::Differ(liar, liar.next()));
    }
}

fn scene_key(seed: u64) -> OffsetKey {
    OffsetKey::generate(&mut ChaCha20Rng::seed_from_u64(seed))
}

#[test]
fn only_the_device_that_drew_the_record_can_ask_and_hear() {
    let scene = scene(3);
    for party in Role::ALL {
        let telling = scene.telling(party);
        assert!(telling.is_shown_by(telling.proof()));
        assert!(!telling.is_shown_by(&[]), "an empty proof");
        assert!(!telling.is_shown_by(&telling.proof()[..31]));
        let sealed = telling.seal(
            &scene.keys[0].offset(Role::P1, &RECORD),
            &scene.keys[1].offset(Role::P2, &RECORD),
        );
        // A neighbour knows one of the two nonces; the other is a guess.
        let nonce = |j: Role| &scene.nonces[j.slot()];
        for (own, next) in [(nonce(party), &[0; 32]), (&[0; 32], nonce(party.next()))] {
            let guess = Telling::new(party, &RECORD, own, next);
            assert!(!telling.is_shown_by(guess.proof()));
            assert_eq!(
                guess.open(&sealed).expect_err("refused"),
                OffsetError::DoesNotOpen(party)
            );
        }
        // Another record, another party: other keys.
        let other = Telling::new(party, &Digest([8; 32]), nonce(party), nonce(party.next()));
        assert!(other.open(&sealed).is_err() && !telling.is_shown_by(other.proof()));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(telling.open(&altered).is_err(), "byte {at}");
        }
        assert!(telling.open(&sealed[..16]).is_err() && telling.open(&[]).is_err());
    }
}

#[test]
fn a_commitment_binds_register_place_and_key() {
    let key = scene_key(5);
    let register = RegisterId::new("city").expect("a register");
    let commitment = key.commitment(&register, Role::P1);
    assert_eq!(commitment, key.commitment(&register, Role::P1));
    assert_ne!(commitment, key.commitment(&register, Role::P2));
    assert_ne!(
        commitment,
        key.commitment(&RegisterId::new("town").expect("a register"), Role::P1)
    );
    assert_ne!(commitment, scene_key(6).commitment(&register, Role::P1));
    let again = OffsetKey::from_bytes(key.to_bytes().as_ref()).expect("64 bytes");
    assert_eq!(commitment, again.commitment(&register, Role::P1));
    assert_eq!(
        key.offset(Role::P1, &RECORD).expose(),
        again.offset(Role::P1, &RECORD).expose()
    );
    assert_eq!(
        OffsetKey::from_bytes(&[0; 63]).expect_err("short"),
        OffsetError::KeyLength(63)
    );
    assert_eq!(format!("{key:?}"), "OffsetKey(secret)");
}

/// Places are told apart: the same key in another place, or for another record, gives another offset.
#[test]
fn offsets_differ_by_place_and_record() {
    let key = scene_key(7);
    let mut seen = std::collections::HashSet::new();
    for j in Role::ALL {
        for record in 0..50 {
            assert!(seen.insert(key.offset(j, &Digest([record; 32])).expose()));
        }
    }
}
