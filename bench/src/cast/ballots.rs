//! Ballots as a voter's device seals them, made before the clock starts.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tally_mpc::Role;
use tally_mpc::layout::Choice;
use tally_proto::ballot::BallotHeader;
use tally_proto::ids::{Digest, RoleExt as _, UnixSeconds};
use tally_proto::manifest::Manifest;
use tally_proto::shares::{ShareContext, split_ballot};
use tally_proto::wire;

use crate::ward::{BOX, OPENS};

/// The moment at which the parties' clocks stand while they take the ballots, and at which all of these were cast: sealed before the clock
/// starts, they must not grow too old meanwhile.
pub(super) const NOW: u64 = OPENS + 600;

/// A ballot, ready to be sent.
pub(super) struct Sealed {
    header: wire::BallotHeader,
    pub(super) digest: Digest,
    /// By party.
    ciphertexts: [Bytes; 3],
}

impl Sealed {
    /// What a party is sent.
    pub(super) fn submission(&self, to: Role) -> wire::Submission {
        wire::Submission {
            header: Some(self.header.clone()),
            ciphertext: self.ciphertexts[to.slot()].clone(),
            authority_signature: Vec::new(),
            ciphertext_hashes: Vec::new(),
        }
    }
}

/// Seals `count` ballots of voters drawn from the roll, on as many threads as there are processors.
pub(super) fn seal_all(manifest: &Manifest, voters: u32, count: u32, seed: u64) -> Result<Vec<Sealed>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    std::thread::scope(|scope| {
        let part = count.div_ceil(threads);
        let workers: Vec<_> = (0..threads)
            .map(|i| {
                let ballots = part.min(count.saturating_sub(i * part));
                scope.spawn(move || {
                    seal_some(manifest, voters, ballots, seed.wrapping_add(u64::from(i) << 32))
                })
            })
            .collect();
        let mut all = Vec::with_capacity(count as usize);
        for worker in workers {
            let some = worker
                .join()
                .map_err(|_| anyhow::anyhow!("a sealing thread panicked"))?;
            all.extend(some?);
        }
        Ok(all)
    })
}

fn seal_some(manifest: &Manifest, voters: u32, count: u32, seed: u64) -> Result<Vec<Sealed>> {
    let of_box = manifest.ballot_box(BOX).context("the manifest lacks its box")?;
    let context = ShareContext::ballot(manifest.election(), of_box);
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|_| {
            let choice = Choice::Options(vec![rng.random_range(1..=6)]);
            let (voter, credential) = (rng.random_range(0..voters), rng.random());
            let packed = of_box.layout().pack(voter, credential, &[choice])?;
            let openings = split_ballot(of_box.layout(), &packed, &mut rng)?;
            let (election, commitments) = (manifest.election().clone(), context.commit_all(&openings));
            let header = BallotHeader::online(election, BOX, UnixSeconds(NOW), commitments);
            let digest = header.digest();
            let mut seal = |to: Role| -> Result<Bytes> {
                let key = manifest.party(to).sealing_key();
                Ok(context.seal(to, key, &digest, &openings, &mut rng)?.into())
            };
            Ok(Sealed {
                ciphertexts: [seal(Role::P1)?, seal(Role::P2)?, seal(Role::P3)?],
                header: header.to_wire(),
                digest,
            })
        })
        .collect()
}
