//! Demands: how a party asks for a frame that is overdue before it says so of anybody.
//!
//! The party that waits signs a [`Demand`] with a one-time HPKE key. It goes to the third party and to the coordinator, who pass it to the
//! party that owes the frame. That party answers with a signed [`Supply`]: the frame, sealed to the one-time key, or the Demand that it has
//! open itself, because what it owes waits for something that it is owed. Who carries an answer sees ciphertext and a signature.
//!
//! ```text
//! sealed = enc || HPKE.Seal(pk, info = "tally/v1/sealed-frame", aad = SHA-256 of the Demand's payload, encoded Frame)
//! ```

use prost::Message as _;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind, PublicKey, Signer};
use crate::ids::{BoxId, ElectionId, Hash32, IdError, Role, RoleExt as _};
use crate::layout::tag;
use crate::suite::{OpeningKey, SealingKey, Suite, SuiteError};
use crate::wire;
use crate::wire::supply;

const INFO: &[u8] = tag::SEALED_FRAME.as_bytes();
const SUITE: Suite = Suite::X25519ChaCha20Poly1305;

/// Longest Demand payload.
pub const MAX_DEMAND_BYTES: usize = 1024;
/// Longest Supply payload: a whole frame, sealed.
const MAX_SUPPLY_BYTES: usize = 2 << 20;

/// Why a Demand or its answer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DemandError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Signature or form.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An id of a wrong form.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A party demands of itself.
    #[error("{0} demands a frame of itself")]
    Itself(Role),
    /// The one-time key takes no answer.
    #[error("the one-time key of the demand is not a usable X25519 key")]
    Key,
    /// The answer is to another demand, or of another party.
    #[error("the answer is to another demand, or of another party")]
    Other,
    /// Neither a frame nor a demand of its own.
    #[error("the answer holds neither a frame nor a demand of its own")]
    Empty,
    /// The sealed frame does not open.
    #[error("the frame in the answer does not open under the demand's key")]
    DoesNotOpen,
}

/// One party's demand for a frame that another owes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The session's id.
    pub session: Hash32,
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// Who demands.
    pub by: Role,
    /// Who owes.
    pub of: Role,
    /// The number of the frame, from `of` to `by`.
    pub sequence: u64,
    /// The answer is sealed to this key.
    pub one_time_key: [u8; 32],
}

impl Demand {
    /// Signs it as the party that demands.
    pub fn sign(&self, signer: &Signer) -> Envelope {
        let payload = wire::Demand {
            session_id: self.session.0.to_vec(),
            election: self.election.as_str().to_owned(),
            r#box: self.of_box.get(),
            party: self.by.number(),
            of_party: self.of.number(),
            sequence: self.sequence,
            one_time_key: self.one_time_key.to_vec(),
        };
        signer.seal_envelope(Kind::Demand, payload.encode_to_vec())
    }

    /// Checks form and that the one-time key takes an answer. Whose signature it must bear depends on the session, which
    /// [`Demand::verify`] is told.
    ///
    /// # Errors
    /// [`DemandError`].
    pub fn decode(envelope: &Envelope) -> Result<Self, DemandError> {
        let raw: wire::Demand = decode_canonical("demand", envelope.payload(), MAX_DEMAND_BYTES)?;
        let one_time_key = raw
            .one_time_key
            .as_slice()
            .try_into()
            .map_err(|_| DemandError::Key)?;
        // A key that takes no answer would make an honest party look silent.
        SealingKey::new(SUITE, &raw.one_time_key).map_err(|_| DemandError::Key)?;
        let (by, of) = (Role::from_number(raw.party)?, Role::from_number(raw.of_party)?);
        if by == of {
            return Err(DemandError::Itself(by));
        }
        Ok(Self {
            session: Hash32::from_slice(&raw.session_id)?,
            election: ElectionId::new(&raw.election)?,
            of_box: BoxId(raw.r#box),
            by,
            of,
            sequence: raw.sequence,
            one_time_key,
        })
    }

    /// Whether `envelope`, from which this was decoded, is signed by the party that demands.
    ///
    /// # Errors
    /// [`DemandError::Envelope`].
    pub fn verify(&self, envelope: &Envelope, keys: &[PublicKey; 3]) -> Result<(), DemandError> {
        Ok(envelope.verify_all(Kind::Demand, std::slice::from_ref(&keys[self.by.slot()]))?)
    }

    /// As [`Demand::decode`] and [`Demand::verify`].
    ///
    /// # Errors
    /// [`DemandError`].
    pub fn open(envelope: &Envelope, keys: &[PublicKey; 3]) -> Result<Self, DemandError> {
        let demand = Self::decode(envelope)?;
        demand.verify(envelope, keys)?;
        Ok(demand)
    }
}

/// The private half of a Demand's key. Erased on drop.
#[derive(Debug)]
pub struct Answer(OpeningKey);

impl Answer {
    /// A fresh key, and its public half for the Demand.
    pub fn expected(rng: &mut impl CryptoRng) -> (Self, [u8; 32]) {
        let key = OpeningKey::generate(rng);
        let public = *key.sealing_key().as_bytes();
        (Self(key), public)
    }

    /// Opens the frame that answers the Demand with that payload hash.
    ///
    /// # Errors
    /// [`DemandError::DoesNotOpen`].
    pub fn open(&self, demand: &Hash32, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DemandError> {
        self.0
            .open(INFO, demand.as_bytes(), sealed)
            .map_err(|_| DemandError::DoesNotOpen)
    }
}

/// What the party that owes a frame answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supply {
    /// The frame, sealed.
    Frame(Vec<u8>),
    /// It waits itself, for what this Demand of its own says.
    Waiting(Envelope),
}

impl Supply {
    /// Seals `frame` to the Demand's key.
    ///
    /// # Errors
    /// [`DemandError::Key`].
    pub fn frame(
        demand: &Demand,
        hash: &Hash32,
        frame: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, DemandError> {
        SealingKey::new(SUITE, &demand.one_time_key)
            .and_then(|key| key.seal(INFO, hash.as_bytes(), frame, rng))
            .map(Self::Frame)
            .map_err(|_: SuiteError| DemandError::Key)
    }

    /// Signs it as `party`, in answer to the Demand with that payload hash.
    pub fn sign(self, demand: &Hash32, party: Role, signer: &Signer) -> Envelope {
        let answer = match self {
            Self::Frame(sealed) => supply::Answer::Sealed(sealed),
            Self::Waiting(own) => supply::Answer::Waiting(own.to_wire()),
        };
        let payload = wire::Supply {
            demand_hash: demand.0.to_vec(),
            party: party.number(),
            answer: Some(answer),
        };
        signer.seal_envelope(Kind::Supply, payload.encode_to_vec())
    }

    /// Checks that `envelope` is the answer to `demand`, whose payload has that hash, signed by the party that owes. A Demand in it is
    /// checked too: it must be of that party, in the same session.
    ///
    /// # Errors
    /// [`DemandError`].
    pub fn open(
        envelope: &Envelope,
        demand: &Demand,
        hash: &Hash32,
        keys: &[PublicKey; 3],
    ) -> Result<Self, DemandError> {
        let raw: wire::Supply = decode_canonical("answer to a demand", envelope.payload(), MAX_SUPPLY_BYTES)?;
        envelope.verify_all(Kind::Supply, std::slice::from_ref(&keys[demand.of.slot()]))?;
        if raw.party != demand.of.number() || raw.demand_hash != hash.0 {
            return Err(DemandError::Other);
        }
        match raw.answer.ok_or(DemandError::Empty)? {
            supply::Answer::Sealed(sealed) => Ok(Self::Frame(sealed)),
            supply::Answer::Waiting(own) => {
                let own = Envelope::from_wire(own)?;
                let open = Demand::open(&own, keys)?;
                if open.by != demand.of || open.session != demand.session {
                    return Err(DemandError::Other);
                }
                Ok(Self::Waiting(own))
            }
        }
    }
}
