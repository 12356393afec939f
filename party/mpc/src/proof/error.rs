//! Why a proof was not accepted, and who may be to blame.

use crate::role::Role;

/// Why a proof of AND gates failed. Nothing that depends on its gates may be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// A message does not have the length that its place in the proof prescribes.
    #[error("{message} from {from} has {got} bytes instead of {expected}; abort the session")]
    Length {
        /// What the message should have been.
        message: &'static str,
        /// Who sent it.
        from: Role,
        /// Its length in bytes.
        got: usize,
        /// The length it should have, in bytes.
        expected: usize,
    },
    /// The prover was told to open its product at zero, where it is not masked.
    #[error("{from} chose zero as the point of the last opening, which would unmask it; abort the session")]
    ZeroPoint {
        /// The verifier that chose it.
        from: Role,
    },
    /// The challenges that the prover was given, by its own word, are not those of the two verifiers' key.
    #[error(
        "{prover} says that {verifier} gave it other challenges than those of the verifiers' key; \
         one of the two deviated, abort the session"
    )]
    Challenges {
        /// The party whose gates were to be proven.
        prover: Role,
        /// The verifier that passed the challenges on.
        verifier: Role,
    },
    /// The last equation does not hold: the prover computed a gate wrongly or lied in its proof, or the other verifier lied.
    #[error(
        "the proof of {prover}'s AND gates does not hold; {prover} or {verifier} deviated, abort the session"
    )]
    Rejected {
        /// The party whose gates were to be proven.
        prover: Role,
        /// The other verifier.
        verifier: Role,
    },
}

impl ProofError {
    /// The parties of which at least one deviated.
    pub fn suspects(&self) -> Vec<Role> {
        match *self {
            Self::Length { from, .. } | Self::ZeroPoint { from } => vec![from],
            Self::Challenges { prover, verifier } | Self::Rejected { prover, verifier } => {
                vec![prover, verifier]
            }
        }
    }
}
