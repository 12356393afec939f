//! The voter's side: the code that lets a voter draw, the draw, and the tickets that come of it.

use std::fmt;

use blind_rsa_signatures::{BlindSignature, BlindingResult, PublicKeySha384PSSRandomized};
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, SeedableRng as _};
use rsa::{BoxedUint, RsaPublicKey};
use zeroize::{Zeroize as _, Zeroizing};

use super::{EXPONENT, RSA_BYTES, Ticket, TicketError, TicketKey, Ticketing, Use, exactly, message};
use crate::envelope::Signer;
use crate::ids::{BoxId, Digest, ElectionId, Hash32, UnixSeconds, VoterIndex};
use crate::layout::{Writer, tag};

/// What a voter shows the coordinator to draw: ten random bytes in the invitation, independent of the credential. It is the voter's, not the
/// credential's: a decoy carries the same, and draws the same. Erased on drop.
pub struct DrawCode(Zeroizing<[u8; DrawCode::BYTES]>);

impl DrawCode {
    /// Its size.
    pub const BYTES: usize = 10;

    /// A fresh one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut code = Zeroizing::new([0; Self::BYTES]);
        rng.fill_bytes(code.as_mut_slice());
        Self(code)
    }

    /// From its bytes.
    ///
    /// # Errors
    /// [`TicketError::Length`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self, TicketError> {
        Ok(Self(Zeroizing::new(exactly("a draw code", bytes)?)))
    }

    /// The bytes.
    ///
    /// # Security
    /// Whoever has them can use up the voter's draws.
    pub fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The same code once more, for a decoy.
    pub(crate) fn again(&self) -> Self {
        Self(self.0.clone())
    }

    /// What the coordinator holds of it. Eighty random bits cannot be guessed from it.
    pub fn hash(&self, manifest: &Hash32, of_box: BoxId, voter: VoterIndex) -> Hash32 {
        let layout = Writer::new(tag::DRAW_CODE)
            .fixed(&manifest.0)
            .ballot_box(of_box)
            .u32(voter.get())
            .fixed(&self.0);
        let hash = layout.sha256();
        layout.finish().zeroize();
        hash
    }

    /// What a voter's card stands for, and the coordinator holds of it then: of no box and number, which are not known yet when a card signs.
    pub fn hash_for_card(&self, manifest: &Hash32) -> Hash32 {
        let layout = Writer::new(tag::CARD_DRAW_CODE).fixed(&manifest.0).fixed(&self.0);
        let hash = layout.sha256();
        layout.finish().zeroize();
        hash
    }
}

impl fmt::Debug for DrawCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DrawCode(secret)")
    }
}

/// A ticket with the one-time key that makes it good for one ballot. Erased on drop, never printed.
pub struct OwnTicket {
    ticket: Ticket,
    owner: Signer,
}

impl fmt::Debug for OwnTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnTicket(secret)")
    }
}

impl OwnTicket {
    /// Bytes of [`OwnTicket::to_bytes`].
    pub const BYTES: usize = 32 + 8 + 32 + RSA_BYTES;

    /// The public part.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Uses it for a ballot.
    pub fn sign(&self, digest: &Digest, ciphertexts: [Hash32; 3]) -> Use {
        Use::sign(&self.owner, digest, ciphertexts)
    }

    /// As a device keeps it: seed, day, randomizer, signature.
    ///
    /// # Security
    /// The secret itself.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(Self::BYTES));
        bytes.extend_from_slice(self.owner.seed().as_slice());
        bytes.extend_from_slice(&self.ticket.day.get().to_be_bytes());
        bytes.extend_from_slice(&self.ticket.randomizer);
        bytes.extend_from_slice(&self.ticket.signature);
        bytes
    }

    /// From [`OwnTicket::to_bytes`].
    ///
    /// # Errors
    /// [`TicketError::Length`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TicketError> {
        let wrong = || TicketError::Length {
            what: "a kept ticket",
            expected: Self::BYTES,
            actual: bytes.len(),
        };
        let (seed, rest) = bytes.split_at_checked(32).ok_or_else(wrong)?;
        let (day, rest) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
        let (randomizer, signature) = rest.split_first_chunk::<32>().ok_or_else(wrong)?;
        let owner = Signer::from_seed(seed)?;
        Ok(Self {
            ticket: Ticket {
                key: owner.public_key(),
                day: UnixSeconds(u64::from_be_bytes(*day)),
                randomizer: *randomizer,
                signature: exactly("a ticket's signature", signature)?,
            },
            owner,
        })
    }
}

/// One blinded message and what is needed to unblind its signature.
struct Blinded {
    owner: Signer,
    day: UnixSeconds,
    result: BlindingResult,
}

impl Drop for Blinded {
    fn drop(&mut self) {
        self.result.secret.0.zeroize();
    }
}

/// A draw under way: the whole period's allowance. Erased on drop.
pub struct Draw<'a> {
    election: &'a ElectionId,
    keys: &'a [TicketKey],
    blinded: Vec<Blinded>,
}

impl fmt::Debug for Draw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Draw({} tickets, secret)", self.blinded.len())
    }
}

impl<'a> Draw<'a> {
    /// Makes one-time keys and blinds them. Everything follows from `seed`, so the same seed asks for the same again.
    ///
    /// # Errors
    /// [`TicketError::Modulus`]: a key of the manifest is no RSA key.
    ///
    /// # Security
    /// `seed` is as secret as the tickets: keep it until the answer is there, then erase it.
    pub fn new(
        election: &'a ElectionId,
        ticketing: &'a Ticketing,
        seed: &[u8; 32],
    ) -> Result<Self, TicketError> {
        let mut rng = ChaCha20Rng::from_seed(*seed);
        let mut blinded = Vec::with_capacity(ticketing.drawn());
        for key in ticketing.keys() {
            let public = rsa_key(key)?;
            for _ in 0..ticketing.per_day() {
                let owner = Signer::generate(&mut rng);
                let message = message(election, key.day(), &owner.public_key());
                let result = public
                    .blind(&mut rng, message)
                    .map_err(|_| TicketError::Modulus)?;
                let day = key.day();
                blinded.push(Blinded { owner, day, result });
            }
        }
        Ok(Self {
            election,
            keys: ticketing.keys(),
            blinded,
        })
    }

    /// What the coordinator is shown, in order: uniformly random numbers.
    pub fn request(&self) -> Vec<Vec<u8>> {
        self.blinded
            .iter()
            .map(|b| b.result.blind_message.0.clone())
            .collect()
    }

    /// Unblinds the answer and checks each ticket under the manifest's key of its day. All of it, or none.
    ///
    /// # Errors
    /// [`TicketError::Count`]; [`TicketError::OtherKey`]: not the manifest's key.
    pub fn finish(self, signatures: &[Vec<u8>]) -> Result<Vec<OwnTicket>, TicketError> {
        let (expected, actual) = (self.blinded.len(), signatures.len());
        if expected != actual {
            return Err(TicketError::Count { expected, actual });
        }
        let mut tickets = Vec::with_capacity(expected);
        let mut blinded = self.blinded.into_iter().zip(signatures).peekable();
        for key in self.keys {
            let public = rsa_key(key)?;
            while let Some((mut blinded, signature)) = blinded.next_if(|(b, _)| b.day == key.day()) {
                let other = || TicketError::OtherKey { day: key.day() };
                let signed = message(self.election, key.day(), &blinded.owner.public_key());
                let signature = public
                    .finalize(&BlindSignature(signature.clone()), &blinded.result, signed)
                    .map_err(|_| other())?;
                let randomizer = blinded.result.msg_randomizer.ok_or_else(other)?;
                let owner = Signer::from_seed(blinded.owner.seed().as_slice())?;
                blinded.result.secret.0.zeroize();
                let ticket = Ticket {
                    key: owner.public_key(),
                    day: key.day(),
                    randomizer: randomizer.0,
                    signature: exactly("a ticket's signature", &signature)?,
                };
                // By the parties' own check, which is another implementation.
                if !key.signed(self.election, &ticket) {
                    return Err(other());
                }
                tickets.push(OwnTicket { ticket, owner });
            }
        }
        Ok(tickets)
    }
}

fn rsa_key(key: &TicketKey) -> Result<PublicKeySha384PSSRandomized, TicketError> {
    let number = |bytes: &[u8], bits| BoxedUint::from_be_slice(bytes, bits).map_err(|_| TicketError::Modulus);
    let modulus = number(key.modulus(), 8 * RSA_BYTES as u32)?;
    let mut exponent = [0; 8];
    exponent[5..].copy_from_slice(&EXPONENT);
    let public = RsaPublicKey::new(modulus, number(&exponent, 64)?).map_err(|_| TicketError::Modulus)?;
    Ok(PublicKeySha384PSSRandomized::new(public))
}
