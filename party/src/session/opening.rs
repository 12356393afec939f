//! What opens a session: contributions, commitments to them, the session's id, the seeds of the pairs.
//!
//! Each party draws a fresh contribution for either neighbour and commits to both in its signed Start. The session's id is a hash over
//! the three Start payloads. The contributions are revealed in the opening frames, each to the one neighbour it is for, and checked
//! against the commitment, so neither end chooses its own after seeing the other's. The seed of the pair is
//! HKDF-SHA256(r_low || r_high, info = fixed layout(seal hash, election, box, session id, pair)).

use bytes::Bytes;
use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tally_mpc::Seed;
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _, SessionNumber};
use tally_proto::layout::{Writer, tag};
use tally_proto::session::CONTRIBUTION_BYTES;
use zeroize::Zeroizing;

/// Domain of a pair's seed.
const PAIR_SEED: &str = "tally/v1/pair-seed";

/// One party's secret contribution to the seed of one pair in one session. Not cloned, compared or printed; zeroised on drop.
pub struct Contribution(Zeroizing<[u8; CONTRIBUTION_BYTES]>);

impl Contribution {
    /// A fresh one.
    pub(crate) fn fresh(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; CONTRIBUTION_BYTES]);
        rng.fill_bytes(bytes.as_mut_slice());
        Self(bytes)
    }

    /// As revealed in an opening frame; `None` when the length is wrong.
    pub(crate) fn from_frame(payload: &[u8]) -> Option<Self> {
        payload.try_into().ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// For the session's sealed log.
    pub(crate) fn as_bytes(&self) -> &[u8; CONTRIBUTION_BYTES] {
        &self.0
    }

    /// For the opening frame.
    pub(crate) fn reveal(&self) -> Bytes {
        Bytes::copy_from_slice(self.0.as_slice())
    }

    /// What the Start says about it. The contribution is 32 uniformly random bytes, so its hash hides it.
    pub(crate) fn commitment(&self, scene: &Scene, session: SessionNumber, from: Role, to: Role) -> Hash32 {
        let layout = scene
            .layout(tag::CONTRIBUTION)
            .u64(session.get())
            .u32(from.number())
            .u32(to.number());
        // Hashed from where it lies: no second copy of the secret.
        let hash = Sha256::new()
            .chain_update(layout.as_bytes())
            .chain_update(self.0.as_slice());
        Hash32(hash.finalize().into())
    }

    /// Whether this is what `from` committed to.
    pub(crate) fn opens(
        &self,
        commitment: &Hash32,
        scene: &Scene,
        session: SessionNumber,
        from: Role,
        to: Role,
    ) -> bool {
        self.commitment(scene, session, from, to)
            .as_bytes()
            .ct_eq(commitment.as_bytes())
            .into()
    }
}

/// What a session tallies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// SHA-256 of the Seal's payload.
    pub seal_hash: Hash32,
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub box_id: BoxId,
}

impl Scene {
    fn layout(&self, tag: &str) -> Writer {
        Writer::new(tag)
            .fixed(self.seal_hash.as_bytes())
            .election(&self.election)
            .ballot_box(self.box_id)
    }
}

/// The seed of the pair (`a`, `b`), from both contributions. Both ends get the same, whichever way round they ask.
pub(crate) fn pair_seed(
    scene: &Scene,
    session: Hash32,
    (a, from_a): (Role, &Contribution),
    (b, from_b): (Role, &Contribution),
) -> Seed {
    let ((low, from_low), (high, from_high)) = if a < b {
        ((a, from_a), (b, from_b))
    } else {
        ((b, from_b), (a, from_a))
    };
    let mut input = Zeroizing::new([0; 2 * CONTRIBUTION_BYTES]);
    input[..CONTRIBUTION_BYTES].copy_from_slice(from_low.0.as_slice());
    input[CONTRIBUTION_BYTES..].copy_from_slice(from_high.0.as_slice());
    let info = scene
        .layout(PAIR_SEED)
        .fixed(session.as_bytes())
        .u32(low.number())
        .u32(high.number());
    let mut seed = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, input.as_slice())
        .expand(info.as_bytes(), seed.as_mut_slice())
        .expect("32 bytes are within HKDF's limit of 255 hashes");
    Seed::new(*seed)
}

#[cfg(test)]
pub(crate) mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    pub(crate) fn scene() -> Scene {
        Scene {
            seal_hash: Hash32([7; 32]),
            election: ElectionId::new("ward-7").expect("a slug"),
            box_id: BoxId(3),
        }
    }

    #[test]
    fn a_contribution_opens_its_own_commitment_only() {
        let mut rng = StdRng::seed_from_u64(1);
        let (scene, number) = (scene(), SessionNumber(4));
        let mine = Contribution::fresh(&mut rng);
        let commitment = mine.commitment(&scene, number, Role::P1, Role::P2);
        assert!(mine.opens(&commitment, &scene, number, Role::P1, Role::P2));
        let again = Contribution::from_frame(&mine.reveal()).expect("32 bytes");
        assert!(again.opens(&commitment, &scene, number, Role::P1, Role::P2));
        assert!(!mine.opens(&commitment, &scene, SessionNumber(5), Role::P1, Role::P2));
        assert!(!mine.opens(&commitment, &scene, number, Role::P2, Role::P1));
        assert!(!mine.opens(&commitment, &scene, number, Role::P1, Role::P3));
        let other = Scene {
            box_id: BoxId(4),
            ..scene.clone()
        };
        assert!(!mine.opens(&commitment, &other, number, Role::P1, Role::P2));
        assert!(!Contribution::fresh(&mut rng).opens(&commitment, &scene, number, Role::P1, Role::P2));
        assert!(Contribution::from_frame(&[0; 31]).is_none());
    }
}
