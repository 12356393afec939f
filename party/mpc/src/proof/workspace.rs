//! The memory of one role in one proof, and the folding that all three roles do.

use zeroize::{Zeroize, Zeroizing};

use super::shape::Shape;
use super::stream::expand_theta;
use crate::share::grow;
use crate::simd::{GRID, GROUP, Kernels};

/// The largest table of multilinear weights: six variables.
const TABLE: usize = 64;
/// Groups folded at a time, 16 KiB of elements.
const PIECE: usize = 32;

/// Scratch memory for one role in one proof: for each group of 64 words one field element, for a verifier another, for a prover two
/// for each word. The final step of a role hands it back, and [`super::Proofs::recycle`] keeps it for the next proof, so that proofs
/// of a size allocate once. Zeroised on drop.
pub struct Workspace {
    /// The first factor, scaled by theta_g X^b; only the first `len` elements count.
    u: Vec<u64>,
    /// The second factor; at a verifier the weight of each group.
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
        self.len = shape.elements();
        grow(&mut self.theta, shape.groups());
        expand_theta(seed, &mut self.theta[..shape.groups()]);
        self.theta()
    }

    /// The weights of this proof.
    fn theta(&self) -> &[u64] {
        &self.theta[..self.len / GROUP]
    }

    /// Makes room for a prover of that size.
    pub(super) fn prepare(&mut self, shape: &Shape) {
        for factor in [&mut self.u, &mut self.v] {
            grow(factor, shape.padded());
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

    /// The prover folds the bits of round 0: each factor is the XOR of two columns. What is missing to a power of two is zero.
    pub(super) fn fold_bits(
        &mut self,
        kernels: Kernels,
        shape: &Shape,
        u: [&[u64]; 2],
        v: [&[u64]; 2],
        rho: &[u64],
    ) {
        let mut eq = [0; GROUP];
        kernels.eq_table(rho, &mut eq);
        let theta = &self.theta[..self.len / GROUP];
        // A piece at a time, so that the scaling finds it in the nearest cache.
        for (piece, theta) in theta.chunks(PIECE).enumerate() {
            let at = piece * PIECE * GROUP..(piece * PIECE + theta.len()) * GROUP;
            let elements = &mut self.u[at.clone()];
            kernels.fold(u.map(|words| &words[at.clone()]), &eq, elements);
            kernels.scale(elements, theta);
        }
        kernels.fold(v, &eq, &mut self.v[..self.len]);
        for factor in [&mut self.u, &mut self.v] {
            factor[self.len..shape.padded()].fill(0);
        }
        self.len = shape.padded();
    }

    /// A verifier folds all rounds at once, since it knows all challenges: its shares of the two factors of the last product,
    /// u = sum_(g,b) theta_g X^b eq(g,b) sum_kappa u_(g, kappa, b) eq(kappa), v the same without theta_g X^b. `point` has the challenge
    /// of each bit of the element's number 64 g + b, the lowest first.
    pub(super) fn fold_whole(
        &mut self,
        kernels: Kernels,
        u: &[u64],
        v: &[u64],
        rho: &[u64],
        point: &[u64],
    ) -> [u64; 2] {
        let (mut eq, mut low) = ([0; GROUP], [0; GROUP]);
        kernels.eq_table(rho, &mut eq);
        let (of_b, of_g) = point.split_at(GROUP.ilog2() as usize);
        kernels.eq_table(of_b, &mut low);
        let groups = u.len() / GROUP;
        let table = 1 << of_g.len();
        grow(&mut self.v, table);
        kernels.eq_table(of_g, &mut self.v[..table]);
        let mut sides = Zeroizing::new([[0; GROUP]; 2]);
        weigh(kernels, v, &eq, &self.v[..groups], &mut sides[1]);
        for (weight, &theta) in self.v[..groups].iter_mut().zip(&self.theta) {
            *weight = kernels.mul(*weight, theta);
        }
        weigh(kernels, u, &eq, &self.v[..groups], &mut sides[0]);
        kernels.scale(&mut sides[0], &[1]);
        sides.each_ref().map(|side| {
            let products = side.iter().zip(&low);
            products.fold(0, |sum, (&element, &weight)| sum ^ kernels.mul(element, weight))
        })
    }

    /// The prover's grid of a later round.
    pub(super) fn grid_of_elements(&mut self, kernels: Kernels, points: usize) {
        kernels.tail_grid(&self.u[..self.len], &self.v[..self.len], &mut self.grid[..points]);
    }

    /// The prover folds the elements of a later round.
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

/// Adds `sum_g weight_g sum_kappa bit_b(word_(g, kappa)) eq[kappa]` to element b of `out`.
fn weigh(kernels: Kernels, words: &[u64], eq: &[u64; GROUP], weights: &[u64], out: &mut [u64; GROUP]) {
    let mut elements = Zeroizing::new([0; PIECE * GROUP]);
    let mut part = Zeroizing::new([0; GROUP]);
    for (words, weights) in words.chunks(PIECE * GROUP).zip(weights.chunks(PIECE)) {
        let elements = &mut elements[..words.len()];
        kernels.fold([words], eq, elements);
        kernels.cube(elements, weights, &mut part);
        crate::share::xor(out, part.as_slice());
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
