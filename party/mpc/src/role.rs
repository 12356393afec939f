//! The ring of three parties.

use std::fmt;

/// One of the three parties. Party P_i holds the shares (x_i, x_{i+1}) of every value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// P_1, which holds (x_1, x_2).
    P1,
    /// P_2, which holds (x_2, x_3).
    P2,
    /// P_3, which holds (x_3, x_1).
    P3,
}

impl Role {
    /// All three, in order.
    pub const ALL: [Self; 3] = [Self::P1, Self::P2, Self::P3];

    /// P_{i+1}, with which this party shares x_{i+1}.
    pub const fn next(self) -> Self {
        match self {
            Self::P1 => Self::P2,
            Self::P2 => Self::P3,
            Self::P3 => Self::P1,
        }
    }

    /// P_{i-1}, with which this party shares x_i.
    pub const fn prev(self) -> Self {
        match self {
            Self::P1 => Self::P3,
            Self::P2 => Self::P1,
            Self::P3 => Self::P2,
        }
    }

    /// 1, 2 or 3.
    pub const fn index(self) -> u8 {
        match self {
            Self::P1 => 1,
            Self::P2 => 2,
            Self::P3 => 3,
        }
    }

    /// The party of that index, 1 to 3.
    pub const fn from_index(index: u8) -> Option<Self> {
        match index {
            1 => Some(Self::P1),
            2 => Some(Self::P2),
            3 => Some(Self::P3),
            _ => None,
        }
    }

    /// The party that stands at `neighbour` of this one.
    pub const fn neighbour(self, neighbour: Neighbour) -> Self {
        match neighbour {
            Neighbour::Next => self.next(),
            Neighbour::Prev => self.prev(),
        }
    }

    /// A public value enters a computation as x_1 = value, x_2 = x_3 = 0: the words to XOR into this party's
    /// (x_i, x_{i+1}) are `value` masked with these two.
    pub(crate) const fn constant_masks(self) -> (u64, u64) {
        match self {
            Self::P1 => (u64::MAX, 0),
            Self::P2 => (0, 0),
            Self::P3 => (0, u64::MAX),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{}", self.index())
    }
}

/// The other end of a connection, as this party sees the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Neighbour {
    /// P_{i+1}.
    Next,
    /// P_{i-1}.
    Prev,
}

impl Neighbour {
    /// How that neighbour sees this party.
    pub const fn opposite(self) -> Self {
        match self {
            Self::Next => Self::Prev,
            Self::Prev => Self::Next,
        }
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Next => "next party",
            Self::Prev => "previous party",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_closes() {
        for role in Role::ALL {
            assert_eq!(role.next().prev(), role);
            assert_eq!(role.next().next(), role.prev());
            assert_eq!(Role::from_index(role.index()), Some(role));
            assert_eq!(role.neighbour(Neighbour::Next).neighbour(Neighbour::Prev), role);
        }
        assert_eq!(Role::from_index(0), None);
        assert_eq!(Role::from_index(4), None);
    }

    #[test]
    fn a_public_value_has_one_nonzero_share_held_twice() {
        let masks = Role::ALL.map(Role::constant_masks);
        for (i, (_, b)) in masks.iter().enumerate() {
            assert_eq!(*b, masks[(i + 1) % 3].0);
        }
        assert_eq!(masks.iter().fold(0, |x, m| x ^ m.0), u64::MAX);
    }
}
