//! One party's part in all proofs of a session.

use super::log::Chunk;
use super::prover::Prover;
use super::stream::{Label, PairKey, Purpose};
use super::verifier::{Side, VerifierMinus, VerifierPlus};
use super::workspace::Workspace;
use crate::prss::{Binding, Seeds};
use crate::role::Role;
use crate::simd::Kernels;

/// One party's part in the proofs of a session: its keys, the numbers already used, and memory to reuse.
///
/// Not cloned, compared or printed.
pub struct Proofs {
    role: Role,
    binding: [u8; 32],
    prev: PairKey,
    next: PairKey,
    last_batch: Option<u64>,
    kernels: Kernels,
    spaces: Vec<Workspace>,
}

/// The three roles of one party in a batch of proofs. They are independent: messages of the same round can travel together.
#[must_use]
pub struct Batch {
    /// Proves this party's gates to both others.
    pub prover: Prover,
    /// Verifies the next party's gates: V- of P_{i+1}.
    pub minus: VerifierMinus,
    /// Verifies the previous party's gates: V+ of P_{i-1}.
    pub plus: VerifierPlus,
}

impl Proofs {
    /// The proofs of party `role` in the session that `binding` stands for, with the session's fresh seeds.
    ///
    /// # Security
    /// A binding must never be used twice with the same seeds: the masks would repeat.
    pub fn new(role: Role, binding: &Binding, seeds: &Seeds) -> Self {
        let binding = *binding.as_bytes();
        let [prev, next] = [&seeds.prev, &seeds.next].map(|seed| PairKey::new(&binding, seed));
        Self {
            role,
            binding,
            prev,
            next,
            last_batch: None,
            kernels: Kernels::best(),
            spaces: Vec::new(),
        }
    }

    /// Uses these kernels instead of the best, for measurements and tests. The messages do not depend on them.
    pub fn with_kernels(self, kernels: Kernels) -> Self {
        Self { kernels, ..self }
    }

    /// Opens the proofs about a chunk of gates. All three parties open the same numbers for chunks of the same size.
    ///
    /// # Panics
    /// If `batch` is not above every number opened before: a number used twice would repeat challenges and masks.
    pub fn open(&mut self, batch: u64, chunk: Chunk) -> Batch {
        assert!(
            self.last_batch.is_none_or(|last| last < batch),
            "batch {batch} after batch {:?}: a number is used once in a session, and they rise",
            self.last_batch
        );
        self.last_batch = Some(batch);
        let (role, kernels) = (self.role, self.kernels);
        let [a, b, c] = std::array::from_fn(|_| self.spaces.pop().unwrap_or_default());
        let words = chunk.words();
        let label = |prover| Label {
            binding: self.binding,
            prover,
            batch,
            words: words as u64,
        };
        let own = label(role);
        let prover = Prover::new(
            kernels,
            own,
            chunk.clone(),
            [
                self.next.stream(Purpose::Share, &own),
                self.next.stream(Purpose::MaskPlus, &own),
                self.prev.stream(Purpose::MaskMinus, &own),
            ],
            a,
        );
        // V- of P_{i+1}: V+ is P_{i+2} = P_{i-1}.
        let of_next = label(role.next());
        let minus = VerifierMinus::new(
            kernels,
            of_next,
            Side::Minus(chunk.clone()),
            [
                self.prev.stream(Purpose::Challenges, &of_next),
                self.next.stream(Purpose::MaskMinus, &of_next),
            ],
            b,
        );
        // V+ of P_{i-1}: V- is P_{i-2} = P_{i+1}.
        let of_prev = label(role.prev());
        let plus = VerifierPlus::new(
            kernels,
            of_prev,
            Side::Plus(chunk),
            [
                self.next.stream(Purpose::Challenges, &of_prev),
                self.prev.stream(Purpose::MaskPlus, &of_prev),
                self.prev.stream(Purpose::Share, &of_prev),
            ],
            c,
        );
        Batch { prover, minus, plus }
    }

    /// Takes back the memory of a finished role, for the next batch.
    pub fn recycle(&mut self, space: Workspace) {
        self.spaces.push(space);
    }
}
