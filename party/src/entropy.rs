//! Randomness, passed in: the operating system's in operation, a seeded one in tests.

use std::sync::Mutex;
use std::sync::PoisonError;

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng};

/// Where a party gets fresh generators.
pub trait Entropy: Send + Sync + 'static {
    /// A fresh cryptographic generator, independent of every other one given out.
    fn rng(&self) -> StdRng;
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// When the operating system has no randomness: nothing secret may be made then.
    fn rng(&self) -> StdRng {
        StdRng::try_from_rng(&mut SysRng).expect("the operating system gives randomness")
    }
}

/// Generators derived from one seed, for tests that must repeat themselves.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// Generators of `seed`.
    pub fn new(seed: u64) -> Self {
        SeededEntropy(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn rng(&self) -> StdRng {
        StdRng::from_seed(self.0.lock().unwrap_or_else(PoisonError::into_inner).random())
    }
}
