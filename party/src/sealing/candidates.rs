//! Candidates: what has enough timely acceptances, from the Lists and the claimed receipts that hold.

use tally_proto::ids::{Digest, Role};

use super::Inner;
use super::error::SealError;
use super::fill::{Held, needed};
use super::subject::Subject;
use super::tables;
use crate::store::{Kind, Tables};

/// A digest of the three Lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) digest: Digest,
    /// Bit i-1: in the List of party i.
    pub(super) lists: u8,
    /// Bit i-1: a claimed receipt of party i holds.
    pub(super) claims: u8,
}

impl Listed {
    /// Which parties list it, in party order.
    pub(super) fn listed(&self) -> [bool; 3] {
        [1, 2, 4].map(|bit| self.lists & bit != 0)
    }

    /// Whether it is a candidate.
    pub(super) fn is_candidate(&self, kind: Kind) -> bool {
        (self.lists | self.claims).count_ones() as usize >= needed(kind)
    }
}

impl Inner {
    /// Calls `each` with every digest that some List holds, in ascending order: one walk along the three bodies.
    pub(super) fn for_each_listed(
        &self,
        tx: &impl Tables,
        subject: &Subject,
        kind: Kind,
        mut each: impl FnMut(Listed) -> Result<(), SealError>,
    ) -> Result<(), SealError> {
        let key = subject.key;
        let body = |party: Role| tables::body(tx, key, party.index(), kind);
        let bodies = [body(Role::P1)?, body(Role::P2)?, body(Role::P3)?];
        let claimed = tables::claimed(tx, key)?;
        let mut rest = bodies.each_ref().map(|body| body.as_slice());
        let mut claims = claimed.as_slice();
        while let Some(digest) = rest.iter().filter_map(|body| body.first()).min().copied() {
            let mut listed = Listed {
                digest: Digest(digest),
                lists: 0,
                claims: 0,
            };
            for (bit, body) in rest.iter_mut().enumerate() {
                if body.first() == Some(&digest) {
                    *body = &body[1..];
                    listed.lists |= 1 << bit;
                }
            }
            while let Some(((of, party), others)) = claims.split_first().filter(|((of, _), _)| *of <= digest)
            {
                if *of == digest {
                    listed.claims |= 1 << (party - 1);
                }
                claims = others;
            }
            each(listed)?;
        }
        Ok(())
    }

    /// Candidates that this party neither accepted nor was given: ballots, then records, each in ascending order. What it lists it
    /// accepted, and holds, unless its List came back from another party.
    pub(super) fn missing(
        &self,
        tx: &impl Tables,
        subject: &Subject,
    ) -> Result<Vec<(Kind, Digest)>, SealError> {
        let own = if tables::is_adopted(tx, subject.key)? {
            0
        } else {
            1 << (self.me.index() - 1)
        };
        let mut missing = Vec::new();
        for kind in [Kind::Ballot, Kind::Record] {
            self.for_each_listed(tx, subject, kind, |listed| {
                let settled = listed.lists & own != 0 || !listed.is_candidate(kind);
                if !settled && Held::any(tx, subject, kind, &listed.digest)?.is_none() {
                    missing.push((kind, listed.digest));
                }
                Ok(())
            })?;
        }
        Ok(missing)
    }
}
