//! The memory of one role in one proof, and the folding that all three roles do.

use zeroize::Zeroize;

use super::shape::Shape;
use super::stream::expand_theta;
use crate::share::grow;
use crate::simd::{GRID, GROUP, Kernels};

/// The largest table of multilinear weights: six variables.
const TABLE: usize = 64;

/// Scratch memory for one role in one proof: two field elements a word of gates and one for each group of 64 words. The final step
/// of a role hands it back, and [`super::Proofs::recycle`] keeps it for the next proof, so that proofs of a size allocate once.
/// Zeroised on drop.
pub struct Workspace {
    /// The first factor, scaled by theta_g X^b; only the first `len` elements count.
    u: Vec<u64>,
    /// The second factor.
    v: Vec<u64>,
    theta: Vec<u64>,
    len: usize,
    /// A grid, or a verifier's share of one.
    pub(super) grid: Box<[u64; GRID]>,
}

impl Default for Workspace {
    fn default() -> Self {
        Self {
            u: Vec::new(),
            v: Vec::new(),
            theta: Vec::new(),
            len: 0,
            grid: Box::new([0; GRID]),
        }
    }
}

impl Workspace {
    /// Expands the weights of a proof and returns them.
    pub(super) fn weights(&mut self, seed: &[u8; 32], shape: &Shape) -> &[u64] {
        grow(&mut self.theta, shape.groups());
        expand_theta(seed, &mut self.theta[..shape.groups()]);
        self.theta()
    }

    /// The weights of this proof.
    fn theta(&self) -> &[u64] {
        &self.theta[..self.len / GROUP]
    }

    /// Sets the size of a proof.
    pub(super) fn prepare(&mut self, shape: &Shape) {
        self.len = shape.elements();
        // The rounds fill up with zeros to a power of two of groups.
        for factor in [&mut self.u, &mut self.v] {
            grow(factor, self.len + TABLE);
        }
    }

    /// The prover's grid of round 0: sums over the groups of theta_g (U_g(e) & V_g(e)).
    pub(super) fn grid_of_bits(&mut self, kernels: Kernels, u: [&[u64]; 2], v: [&[u64]; 2]) {
        let theta = &self.theta[..self.len / GROUP];
        kernels.grid(u, v, theta, &mut self.grid);
    }

    /// A verifier's share of that grid on {0,1}^6.
    pub(super) fn cube_of_words(&self, kernels: Kernels, c: &[u64]) -> [u64; GROUP] {
        let mut cube = [0; GROUP];
        kernels.cube(c, self.theta(), &mut cube);
        cube
    }

    /// Folds the bits of round 0: each factor is the XOR of the columns given, two for a prover, one for a verifier.
    pub(super) fn fold_bits<const C: usize>(
        &mut self,
        kernels: Kernels,
        u: [&[u64]; C],
        v: [&[u64]; C],
        rho: &[u64],
    ) {
        let mut eq = [0; GROUP];
        kernels.eq_table(rho, &mut eq);
        let theta = &self.theta[..self.len / GROUP];
        // A piece at a time, so that the scaling finds it in the nearest cache.
        const PIECE: usize = 16;
        for (piece, theta) in theta.chunks(PIECE).enumerate() {
            let at = piece * PIECE * GROUP..(piece * PIECE + theta.len()) * GROUP;
            let elements = &mut self.u[at.clone()];
            kernels.fold(u.map(|words| &words[at.clone()]), &eq, elements);
            kernels.scale(elements, theta);
        }
        kernels.fold(v, &eq, &mut self.v[..self.len]);
    }

    /// Fills the elements up with zeros to whole groups of 2^variables.
    pub(super) fn pad(&mut self, variables: usize) {
        let len = self.len.next_multiple_of(1 << variables);
        for factor in [&mut self.u, &mut self.v] {
            factor[self.len..len].fill(0);
        }
        self.len = len;
    }

    /// The prover's grid of a later round, after [`Workspace::pad`].
    pub(super) fn grid_of_elements(&mut self, kernels: Kernels, points: usize) {
        kernels.tail_grid(&self.u[..self.len], &self.v[..self.len], &mut self.grid[..points]);
    }

    /// Folds the elements of a later round, after [`Workspace::pad`].
    pub(super) fn fold_elements(&mut self, kernels: Kernels, rho: &[u64]) {
        let mut table = [0; TABLE];
        let eq = &mut table[..1 << rho.len()];
        kernels.eq_table(rho, eq);
        for factor in [&mut self.u, &mut self.v] {
            kernels.tail_fold(&mut factor[..self.len], eq);
        }
        self.len /= eq.len();
    }

    /// The one element of each factor that is left in the end.
    pub(super) fn last(&self) -> [u64; 2] {
        debug_assert_eq!(self.len, 1, "the rounds of a shape fold to one element");
        [self.u[0], self.v[0]]
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        self.u.zeroize();
        self.v.zeroize();
        self.grid.zeroize();
    }
}

impl std::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Workspace({} elements)", self.u.len())
    }
}
