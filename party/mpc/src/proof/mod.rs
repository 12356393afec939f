//! Proof of AND gates: each party proves to the two others that the products it sent them are right, and tells them nothing.
//!
//! # What is proven
//!
//! P_i multiplies shared bits by z_i = x_i y_i ^ x_i y_{i+1} ^ x_{i+1} y_i ^ a_i ^ a_{i+1} and sends z_i to P_{i-1}. With
//! U = x_i ^ x_{i+1} and V = y_i ^ y_{i+1} that is the statement U V = C- ^ C+, whose two sides lie with the two verifiers:
//!
//! | | U | V | C |
//! |---|---|---|---|
//! | V- = P_{i-1} | x_i | y_i | z_i ^ a_i, with the z_i it received |
//! | V+ = P_{i+1} | x_{i+1} | y_{i+1} | x_{i+1} y_{i+1} ^ a_{i+1} |
//!
//! P_i knows all six; neither verifier knows anything of the other's. The gates come 64 to a word; word kappa of group g is
//! number `64 g + kappa`, 0 <= kappa < 64, and a word is read as an element of F = GF(2^64). What is missing in the last group
//! is zero. The method is the distributed zero-knowledge proof of Boneh et al. (CRYPTO 2019) and Boyle et al. (CCS 2019).
//!
//! # The protocol
//!
//! V- chooses every challenge from a key that it shares with V+ and the prover does not know. M -> N: who sends it to whom.
//!
//! 1. V- -> P: when all z_i are in, a seed (32 bytes) of independent weights theta_g in F.
//! 2. P -> V-: Q(e) = sum_g theta_g (U_g(e) & V_g(e)) for the 665 points e of {0,1,inf}^6 outside {0,1}^6, less V+'s share of
//!    them, which comes from a stream that P and V+ share. "inf" is the XOR of 0 and 1, the leading coefficient. On {0,1}^6 the
//!    verifiers compute their shares themselves: sum_g theta_g C_(g, kappa).
//! 3. V- -> P: a point rho in F^6. Now the claim is Q(rho) = sum u v, over 64 products for each group: u = theta_g X^b sum_kappa
//!    U_(g, kappa, b) eq(kappa, rho), v the same without theta_g X^b.
//! 4. The same again on these elements, filled up with zeros to a power of two, k variables at a time, until one product is left. Of
//!    each grid the value at 0 is not sent; it follows from the claim. (The verifiers need no grid: they know all points and fold
//!    their sides of u and v in one pass over the bits.) k = 3 while there are more than 2^15 elements, up to 6 after that ([`Shape`]).
//! 5. P -> V-: with m_u, m_v the sums of random elements that P shares with each verifier, the coefficients u m_v + v m_u and m_u m_v,
//!    less V+'s share.
//! 6. V- -> P: a point s != 0; the prover refuses zero. V- -> V+: its share of u + s m_u, v + s m_v and of the claim at s.
//! 7. P -> V+: a SHA-256 of session, batch, prover, number of words, the seed, every rho, and s, as P was given them. V+ computes
//!    the same from its own key and stops if they differ.
//! 8. V+ -> V-: its share of the three. Both check that (u + s m_u)(v + s m_v) is the claim.
//!
//! With R rounds (2 and 4) that is a chain of 2 R + 5 messages: R is 2 up to 2^12 gates, 3 up to 2^18, 4 up to 2^21, 5 up to 2^24,
//! 6 up to 2^27. [`Shape::prover_bytes`] and [`Shape::minus_bytes`] give the sizes, 6 to 17 KB a proof whatever its length. Proofs
//! are independent of one another: what a round of several has for the same receiver can travel in one frame. Every message has
//! one length ([`Prover::expects`] and so on); another length is an error.
//!
//! # Soundness
//!
//! Let a product of P_i be wrong. Nothing the prover does after step 1 changes the statement: V- has every z_i, and the rest of
//! the verifiers' sides are shares that they, both honest, computed or drew. Each challenge leaves V- only when everything it
//! judges is fixed: each step takes the whole message before it gives the next challenge, and V+'s shares of all messages were fixed
//! with the session. A wrong proof passes if one of these happens, with probability over 2^64 of at most
//!
//! - 1: the wrong words of one kappa cancel under independent theta_g. (Bits of one word cannot cancel: a nonzero word is a
//!   nonzero element. Weighting the parities of words would let two flips in a word pass.)
//! - 2 for each variable: two different polynomials of degree at most 2 in each variable agree at a random rho (Schwartz, Zippel).
//!   There are 6 + ceil(log2(64 groups)) variables: 24 for 2^24 gates, 27 for 2^27.
//! - 2 (in 2^64 - 1): a wrong claim is a polynomial of degree 2 in s with a nonzero constant term.
//!
//! That is at most 51 / 2^64 = 2^-58.3 for a proof of 2^24 gates, 57 / 2^64 = 2^-58.1 for 2^27 and 63 / 2^64 < 2^-58 for 2^30.
//!
//! **A session**, whatever its number of batches: consider the first false proof of the one corrupt party. If it is rejected, the
//! session is aborted and nothing that depends on it is opened; so the party succeeds only if that proof passes. Summed over
//! which proof is the first, that is at most 2^-58. (A union bound over 900 proofs, which forgets the abort, would give 2^-48.)
//! **Three sessions**: 3 x 2^-58 < 2^-56.4, better than 2^-50. To this adds the advantage of telling AES-256 and HKDF-SHA256 from
//! random, and of finding a collision of SHA-256.
//!
//! # What each could try
//!
//! - **A prover that learns challenges too early** could cancel its errors (tests show both forgeries). They come from a key it does
//!   not hold, bound to session, prover, batch and size, and each leaves V- after the message it judges.
//! - **A corrupt V- that gives the prover other challenges** gets nothing from the prover, whose messages are uniform whatever the
//!   challenges, s = 0 being refused. But V+'s side of the claim would then belong to other points than the prover's messages,
//!   and the two together would tell sums of the plain Q. So V+ opens only if the prover vouches for the challenges of V+'s own
//!   key. A wrong opening of V- makes V+ reject; whether it does follows from what V- sees.
//! - **A corrupt V+** receives a hash of what it knows, and 24 bytes. A wrong opening makes V- reject.
//! - **A curious verifier** sees, besides what it holds: uniform elements (each is a value plus a word of a stream it does not
//!   know, used once), and one element, the other side of the claim, that follows from them. The view can be
//!   simulated exactly, up to the streams being pseudo-random. If the prover is honest this holds for any behaviour of the other
//!   verifier; a corrupt prover holds both sides of the statement and has nothing to learn.
//!
//! # Who is named
//!
//! [`ProofError::suspects`] always contains a corrupt party, if any: a wrong length names its sender, zero names V-, other
//! challenges name prover and V-, a false product names the prover and the other verifier. V- and V+ may name different pairs;
//! they are never intersected.
//!
//! # Cost
//!
//! Nanoseconds an AND gate on one core of a busy 2-core machine (AVX-512), least of three runs of `cargo run --release -p tally-mpc
//! --example proof_cost`; a party's total, one proof and two verifications. Memory: 48 bytes for 64 gates in the [`Log`], 16.1
//! for the prover in a [`Workspace`], reused from proof to proof.
//!
//! | | 2^18 gates | 2^20 | 2^22 | 2^24 | of which prover, 2^22 |
//! |---|---|---|---|---|---|
//! | AVX-512, VPCLMULQDQ, GFNI | 0.40 | 0.18 | 0.17 | 0.18 | 0.11 |
//! | AVX2, PCLMULQDQ | 0.80 | 0.64 | 0.56 | 0.73 | 0.29 |
//! | portable | 8.4 | 7.2 | 8.1 | 8.8 | 6.0 |
//!
//! # Types
//!
//! A step consumes its state, so that none can be taken twice and no challenge is given for two messages:
//!
//! ```compile_fail,E0382
//! fn twice(prover: tally_mpc::proof::ProverLast, a: &[u8], b: &[u8], out: &mut Vec<u8>) {
//!     let _ = prover.last(a, out);
//!     let _ = prover.last(b, out);
//! }
//! ```
//!
//! V+ has no opening to send or to check before it has seen the prover's hash, and a verification cannot be made up:
//!
//! ```compile_fail,E0599
//! fn early(plus: tally_mpc::proof::PlusReady, message: &[u8]) {
//!     let _ = plus.check(message);
//! }
//! ```
//!
//! ```compile_fail,E0451
//! fn forge(prover: tally_mpc::Role) -> tally_mpc::proof::Verified {
//!     tally_mpc::proof::Verified { prover, batch: 0, words: 0 }
//! }
//! ```

mod error;
mod log;
mod message;
mod prover;
mod session;
mod shape;
mod stream;
mod verifier;
mod workspace;

pub use error::ProofError;
pub(crate) use log::CHUNK_WORDS;
pub use log::{Chunk, Log};
pub use prover::{Prover, ProverLast, ProverNext, ProverRound};
pub use session::{Batch, Proofs};
pub use shape::Shape;
pub use verifier::{
    MinusLast, MinusNext, MinusOpening, MinusRound, PlusOpening, PlusReady, Verified, VerifierMinus,
    VerifierPlus,
};
pub use workspace::Workspace;

#[cfg(test)]
mod tests;
