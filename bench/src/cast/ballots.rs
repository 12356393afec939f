//! Ballots as a voter's device seals them, made before the clock starts.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tally_mpc::Role;
use tally_mpc::layout::Choice;
use tally_proto::ballot::BallotHeader;
use tally_proto::ids::{Digest, Hash32, RoleExt as _, UnixSeconds};
use tally_proto::manifest::Manifest;
use tally_proto::shares::{ShareContext, split_ballot};
use tally_proto::ticket::{OwnTicket, Use};
use tally_proto::wire;

use crate::ward::{BOX, OPENS};

/// The moment at which the parties' clocks stand while they take the ballots, and at which all of these were cast: sealed before the clock
/// starts, they must not grow too old meanwhile.
pub(crate) const NOW: u64 = OPENS + 600;

/// A ballot, ready to be sent.
pub(crate) struct Sealed {
    header: wire::BallotHeader,
    pub(crate) digest: Digest,
    /// By party.
    ciphertexts: [Bytes; 3],
    ticket_use: Option<Use>,
}

impl Sealed {
    /// What a party is sent.
    pub(crate) fn submission(&self, to: Role) -> wire::Submission {
        let signature = self.ticket_use.map(|of| of.signature.0.to_vec());
        let hashes = self
            .ticket_use
            .map(|of| of.ciphertexts.map(|hash| hash.0.to_vec()));
        wire::Submission {
            header: Some(self.header.clone()),
            ciphertext: self.ciphertexts[to.slot()].clone(),
            authority_signature: signature.unwrap_or_default(),
            ciphertext_hashes: hashes.map(Vec::from).unwrap_or_default(),
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
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|_| seal_one(manifest, voters, None, &mut rng))
        .collect()
}

/// Seals the ballot of a voter drawn from the roll, with this ticket.
pub(crate) fn seal_one(
    manifest: &Manifest,
    voters: u32,
    ticket: Option<&OwnTicket>,
    rng: &mut StdRng,
) -> Result<Sealed> {
    let of_box = manifest.ballot_box(BOX).context("the manifest lacks its box")?;
    let context = ShareContext::ballot(manifest.election(), of_box);
    let choice = Choice::Options(vec![rng.random_range(1..=6)]);
    let (voter, credential) = (rng.random_range(0..voters), rng.random());
    let packed = of_box.layout().pack(voter, credential, &[choice])?;
    let openings = split_ballot(of_box.layout(), &packed, rng)?;
    let (election, commitments) = (manifest.election().clone(), context.commit_all(&openings));
    let mut header = BallotHeader::online(election, BOX, UnixSeconds(NOW), commitments);
    if let Some(own) = ticket {
        header = header.with_ticket(own.ticket().clone());
    }
    let digest = header.digest();
    let mut seal = |to: Role| -> Result<Bytes> {
        let key = manifest.party(to).sealing_key();
        Ok(context.seal(to, key, &digest, &openings, rng)?.into())
    };
    let ciphertexts = [seal(Role::P1)?, seal(Role::P2)?, seal(Role::P3)?];
    let hashes = || ciphertexts.each_ref().map(|sealed| Hash32::of(sealed));
    Ok(Sealed {
        ticket_use: ticket.map(|own| own.sign(&digest, hashes())),
        ciphertexts,
        header: header.to_wire(),
        digest,
    })
}
