//! What was cast and enrolled, which follows from the seed at all three parties alike, and a party's store filled with it.
//!
//! Every voter has a record that all three parties accepted. Of the ballots 1 in 10 is cast at the station, 1 in 50 on paper; 1 in 100
//! reached two parties only, which in turn: the third is to be given it at sealing. 1 in 1000 reached one party, and is no candidate. The
//! two other parties' receipts of every ballot were delivered.

use std::sync::Arc;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tally_mpc::Role;
use tally_mpc::layout::Choice;
use tally_party::store::accepted::Counted;
use tally_party::store::vault::StorageKey;
use tally_party::store::{Accepted, Kind, Store, StoreError, WriteTx, accepted, elections, log, receipts};
use tally_proto::ballot::{BallotHeader, StationMark, sign_authority};
use tally_proto::envelope::{PublicKey, Signer};
use tally_proto::ids::{Digest, ElectionId, Hash32, RoleExt as _, StationId, UnixSeconds, VoterIndex};
use tally_proto::manifest::SignedManifest;
use tally_proto::record::{Half, Issue, RecordHeader, RecordParts, Source, authorise};
use tally_proto::shares::{Opening, PartyShares, ShareContext, split_ballot, split_credential_openings};
use zeroize::Zeroizing;

use crate::ward::{BOX, CLOSES, OPENS, Ward, election, roll};

/// Objects in one transaction.
const BATCH: usize = 50_000;

/// A ballot or record as its maker has it.
struct Made {
    kind: Kind,
    counted: Counted,
    digest: Digest,
    header: Vec<u8>,
    /// Who signs it, where somebody does.
    authority: Option<Authority>,
    openings: [Opening; 3],
    received_at_s: u64,
    /// By party: who accepted it.
    by: [bool; 3],
}

#[derive(Clone, Copy)]
enum Authority {
    Registrar,
    Station,
}

/// Rows of the Seal, and how many of them each party is to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) rows: u64,
    pub(super) given: [u64; 3],
}

/// By party: who accepted ballot `number`.
fn accepted_by(number: u32) -> [bool; 3] {
    let turn = |of: u32| (number / of % 3) as usize;
    match number {
        _ if number % 1000 == 999 => std::array::from_fn(|party| party == turn(1000)),
        _ if number % 100 == 50 => std::array::from_fn(|party| party != turn(100)),
        _ => [true; 3],
    }
}

/// What the Seal is to hold.
pub(super) fn expected(ballots: u32) -> Expected {
    let mut expected = Expected {
        rows: 0,
        given: [0; 3],
    };
    for by in (0..ballots).map(accepted_by) {
        if by.iter().filter(|by| **by).count() >= 2 {
            expected.rows += 1;
            for (given, by) in expected.given.iter_mut().zip(by) {
                *given += u64::from(!by);
            }
        }
    }
    expected
}

/// Makes everything, in one order.
struct Maker<'a> {
    ward: &'a Ward,
    manifest: &'a SignedManifest,
    election: ElectionId,
    registrar: PublicKey,
    rng: StdRng,
    sequence: u64,
}

impl Maker<'_> {
    fn record(&mut self, voter: u32) -> Result<Made> {
        let openings = split_credential_openings(self.rng.random(), &mut self.rng);
        let header = RecordHeader::new(RecordParts {
            source: Source::Issued(Issue {
                election: self.election.clone(),
                of_box: BOX,
                voter: VoterIndex(voter),
                half: Half::WHOLE,
                registrar: self.registrar,
            }),
            serial: 1,
            signed_at: UnixSeconds(OPENS - 1000),
            commitments: ShareContext::credential(&self.election, BOX).commit_all(&openings),
        });
        Ok(Made {
            kind: Kind::Record,
            counted: Counted::Record,
            digest: header.digest(),
            header: header.encode(),
            authority: Some(Authority::Registrar),
            openings,
            received_at_s: OPENS - 999,
            by: [true; 3],
        })
    }

    fn ballot(&mut self, number: u32) -> Result<Made> {
        let of_box = self.manifest.manifest().ballot_box(BOX);
        let of_box = of_box.ok_or_else(|| anyhow::anyhow!("the manifest lacks its box"))?;
        let index = self.rng.random_range(0..self.ward.plan.voters);
        let choice = Choice::Options(vec![self.rng.random_range(1..=6)]);
        let packed = of_box.layout().pack(index, self.rng.random(), &[choice])?;
        let openings = split_ballot(of_box.layout(), &packed, &mut self.rng)?;
        let commitments = ShareContext::ballot(&self.election, of_box).commit_all(&openings);
        let span = CLOSES - OPENS;
        let cast_at = UnixSeconds(OPENS + u64::from(number) * span / u64::from(self.ward.plan.ballots));
        let header = if number % 10 == 7 || number % 50 == 3 {
            self.sequence += 1;
            let mark = StationMark {
                station: StationId(1),
                sequence: self.sequence,
            };
            let paper = number % 50 == 3;
            BallotHeader::station(self.election.clone(), BOX, paper, cast_at, commitments, mark)
        } else {
            BallotHeader::online(self.election.clone(), BOX, cast_at, commitments)
        };
        Ok(Made {
            kind: Kind::Ballot,
            counted: Counted::Ballot(header.channel()),
            digest: header.digest(),
            authority: header.station_mark().map(|_| Authority::Station),
            header: header.encode(),
            openings,
            received_at_s: cast_at.get() + 1,
            by: accepted_by(number),
        })
    }
}

/// A party's store while it is filled.
struct Filling<'a> {
    role: Role,
    store: &'a Store,
    vault: &'a StorageKey,
    registrar: Signer,
    station: Signer,
    /// The election's number in the store.
    number: u32,
}

impl Filling<'_> {
    fn accept(&self, tx: &WriteTx, made: &Made) -> Result<(), StoreError> {
        if !made.by[self.role.slot()] {
            return Ok(());
        }
        let (digest, received_at) = (made.digest, UnixSeconds(made.received_at_s));
        let entry = tally_proto::log::Entry::Accepted(tally_proto::log::Accepted {
            record: made.kind == Kind::Record,
            of_box: BOX,
            digest,
            // There never was a ciphertext.
            ciphertext_hash: Hash32([3; 32]),
            received_at,
        });
        let position = log::append(tx, self.number, &entry)?;
        let shares = PartyShares {
            this: copy(&made.openings[self.role.slot()]),
            next: copy(&made.openings[self.role.next().slot()]),
        };
        let authority_signature = match made.authority {
            Some(Authority::Registrar) => authorise(&self.registrar, &digest).0.to_vec(),
            Some(Authority::Station) => sign_authority(&self.station, &digest).0.to_vec(),
            None => Vec::new(),
        };
        let row = Accepted {
            header: made.header.clone(),
            authority_signature,
            ciphertext_hash: [3; 32],
            received_at_s: made.received_at_s,
            position,
            // Sealing reads the signatures of receipts that it claims; here is none to claim.
            receipt_signature: vec![0; 64],
            sealed_shares: self
                .vault
                .seal(made.kind, self.role.index(), &digest.0, &shares.to_bytes()),
        };
        accepted::insert(tx, self.number, BOX.get(), &digest.0, made.counted, &row)?;
        let others = [self.role.next(), self.role.prev()].into_iter();
        let given = others.filter(|other| made.kind == Kind::Ballot && made.by[other.slot()]);
        let receipts: Vec<_> = given
            .map(|other| receipts::New {
                election: self.number,
                party: other.index(),
                own_position: position,
                position,
                // As long as a receipt is, for what is not claimed is not decoded.
                receipt: &[0; RECEIPT_BYTES],
            })
            .collect();
        receipts::put_all(tx, &receipts)?;
        Ok(())
    }
}

/// About the length of an encoded receipt.
const RECEIPT_BYTES: usize = 190;

fn copy(opening: &Opening) -> Opening {
    Opening::from_parts(
        Zeroizing::new(*opening.nonce()),
        Zeroizing::new(opening.share().to_vec()),
    )
}

/// Fills the empty store of `role` with the election, its roll, and everything that the party accepted; `progress` is told how far it is.
pub(super) fn fill(
    ward: &Ward,
    role: Role,
    store: &Arc<Store>,
    vault: &StorageKey,
    mut progress: impl FnMut(u64, u64),
) -> Result<()> {
    let manifest = ward.manifest()?;
    let election = election()?;
    let number = store.write(|tx| {
        let number = elections::number_or_new(tx, election.as_str())?;
        elections::put_manifest(tx, number, &manifest.envelope().encode())?;
        let roll: Vec<_> = roll(ward.plan.voters).collect();
        let entries = roll.iter().map(|entry| (entry.online, entry.reference.as_str()));
        elections::put_roll(tx, number, BOX.get(), 0, entries)?;
        let complete = tally_proto::log::Happening::Complete(manifest.hash());
        log::append(
            tx,
            number,
            &tally_proto::log::Entry::Event(complete, UnixSeconds(0)),
        )?;
        Ok::<_, StoreError>(number)
    })?;
    let registrar = ward.registrar()?;
    let mut maker = Maker {
        election,
        ward,
        manifest: &manifest,
        registrar: registrar.public_key(),
        rng: StdRng::seed_from_u64(ward.plan.seed.wrapping_add(1)),
        sequence: 0,
    };
    let filling = Filling {
        role,
        store,
        vault,
        registrar,
        station: ward.station()?,
        number,
    };
    let (voters, ballots) = (ward.plan.voters, ward.plan.ballots);
    let total = u64::from(voters) + u64::from(ballots);
    let mut done = 0;
    let mut batch = Vec::with_capacity(BATCH);
    for at in 0..total {
        batch.push(match u32::try_from(at - u64::from(voters).min(at)) {
            Ok(number) if at >= u64::from(voters) => maker.ballot(number)?,
            _ => maker.record(u32::try_from(at)?)?,
        });
        if batch.len() == BATCH || at + 1 == total {
            filling
                .store
                .write(|tx| batch.iter().try_for_each(|made| filling.accept(tx, made)))?;
            done += batch.len() as u64;
            progress(done, total);
            batch.clear();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_ballots_are_missing_at_every_party_and_some_are_no_candidates() {
        let expected = expected(100_000);
        assert_eq!(expected.rows, 100_000 - 100);
        assert_eq!(expected.given.iter().sum::<u64>(), 1000);
        assert!(expected.given.iter().all(|given| *given > 300));
    }
}
