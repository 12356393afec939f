//! What a message of the engine is, by its label, direction and length.

use tally_mpc::{Label, Neighbour, Phase};

/// The kinds of messages that a party sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The shares of the rows' tags.
    Tags,
    /// Rows of the shuffle.
    Rows,
    /// A share of the tag keys.
    KeyShare,
    /// The hash of another.
    KeyHash,
    /// Hashes of the tagged rows.
    RowHashes,
    /// Products of AND gates in the sort.
    SortProducts,
    /// The same in the join, the scan and the count.
    LaterProducts,
    /// A share of comparison bits.
    BitShare,
    /// The hash of another.
    BitHash,
    /// A verifier's seed of the weights.
    ProofSeed,
    /// A prover's values of a round.
    ProofValues,
    /// A verifier's point of a round.
    ProofPoint,
    /// A prover's coefficients of the masked product.
    ProofCoefficients,
    /// A verifier's last point.
    ProofLast,
    /// A prover's hash of the challenges.
    ProofHash,
    /// A verifier's opening.
    ProofOpening,
    /// A signed statement at a barrier.
    Statement,
    /// A commitment to a share of the outputs.
    Commitment,
    /// A share of the outputs with its nonce and the third party's statement.
    OutputOpening,
    /// What comes in its place from a party that did not pass the last barrier by itself.
    Refusal,
}

impl Kind {
    /// Every kind that an undisturbed session has.
    pub const ALL: [Self; 19] = [
        Self::Tags,
        Self::Rows,
        Self::KeyShare,
        Self::KeyHash,
        Self::RowHashes,
        Self::SortProducts,
        Self::LaterProducts,
        Self::BitShare,
        Self::BitHash,
        Self::ProofSeed,
        Self::ProofValues,
        Self::ProofPoint,
        Self::ProofCoefficients,
        Self::ProofLast,
        Self::ProofHash,
        Self::ProofOpening,
        Self::Statement,
        Self::Commitment,
        Self::OutputOpening,
    ];

    /// Whether the message shows a value, or half of one.
    #[must_use]
    pub fn is_opening(self) -> bool {
        matches!(
            self,
            Self::KeyShare | Self::KeyHash | Self::BitShare | Self::BitHash | Self::OutputOpening
        )
    }

    /// Whether two messages leave at the same time, so that a rushing party holds both.
    #[must_use]
    pub fn goes_with(self, other: Self) -> bool {
        let hash = |kind| match kind {
            Self::KeyHash => Self::KeyShare,
            Self::BitHash => Self::BitShare,
            other => other,
        };
        hash(self) == hash(other)
    }
}

/// Whether a message with such a label shows a value, or half of one.
#[must_use]
pub fn shows(label: Label, len: usize) -> bool {
    let phase = label.scope.phase;
    label.scope.chunk == u32::MAX
        && (matches!(phase, Phase::Shuffle | Phase::Sort) || phase == Phase::Open && len > 1)
}

/// Tells kinds apart; keeps in mind where in a proof a party is.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// The proof whose prover's hash has left.
    hashed: Option<u32>,
}

impl Reader {
    /// The kind of a message on its way to a neighbour; one reader for each sender. Boxes are small here: a proof has one chunk.
    pub fn kind(&mut self, to: Neighbour, label: Label, len: usize) -> Kind {
        let next = to == Neighbour::Next;
        let scope = label.scope;
        match (scope.phase, scope.chunk) {
            (Phase::Barrier, _) => Kind::Statement,
            (Phase::Shuffle, 0 | 1) => Kind::Rows,
            (Phase::Shuffle, 2) => Kind::Tags,
            (Phase::Shuffle, 3) => Kind::RowHashes,
            (Phase::Shuffle, _) if next => Kind::KeyShare,
            (Phase::Shuffle, _) => Kind::KeyHash,
            (Phase::Sort, u32::MAX) if next => Kind::BitShare,
            (Phase::Sort, u32::MAX) => Kind::BitHash,
            (Phase::Sort, _) => Kind::SortProducts,
            (Phase::Open, u32::MAX) if len == 1 => Kind::Refusal,
            (Phase::Open, u32::MAX) => Kind::OutputOpening,
            (Phase::Open, _) => Kind::Commitment,
            (Phase::Proof, _) if next => match len {
                _ if label.round == 0 => Kind::ProofSeed,
                32 if label.round % 2 == 1 => {
                    self.hashed = Some(scope.step);
                    Kind::ProofHash
                }
                _ if self.hashed == Some(scope.step) => Kind::ProofOpening,
                8 => Kind::ProofLast,
                _ => Kind::ProofPoint,
            },
            (Phase::Proof, _) => match len {
                16 => Kind::ProofCoefficients,
                24 => Kind::ProofOpening,
                _ => Kind::ProofValues,
            },
            (Phase::Join | Phase::Scan | Phase::Count, _) => Kind::LaterProducts,
        }
    }
}
