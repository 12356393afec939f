//! Ballots, records and orders of the test election, as their makers make them.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tally_mpc::layout::Choice;
use tally_proto::ballot::{BallotHeader, StationMark, sign_authority};
use tally_proto::envelope::{Envelope, Kind as Signed, Signer};
use tally_proto::ids::{BoxId, Digest, Hash32, Role, StationId, UnixSeconds, VoterIndex};
use tally_proto::order::{Change, Correction, Order, Reissue};
use tally_proto::receipt::{Acceptance, Receipt};
use tally_proto::record::{Half, Issue, RecordHeader, RecordParts, Source, authorise};
use tally_proto::shares::{Opening, PartyShares, ShareContext, split_ballot, split_credential_openings};
use zeroize::Zeroizing;

use super::world::{BOX, CLOSES, OPENS, SEED, World, election};
use crate::store::accepted::Counted;
use crate::store::{Accepted, Kind, StoreError, WriteTx, accepted, elections, log, receipts};

/// A ballot or record as its maker has it.
pub(super) struct Made {
    pub(super) kind: Kind,
    pub(super) digest: Digest,
    pub(super) openings: [Opening; 3],
    counted: Counted,
    header: Vec<u8>,
    pub(super) authority_signature: Vec<u8>,
}

impl Made {
    /// What party `by` holds of it, packed.
    pub(super) fn shares_of(&self, by: Role) -> Zeroizing<Vec<u8>> {
        let opening = |of: Role| {
            let opening = &self.openings[usize::from(of.index()) - 1];
            Opening::from_parts(
                Zeroizing::new(*opening.nonce()),
                Zeroizing::new(opening.share().to_vec()),
            )
        };
        PartyShares {
            this: opening(by),
            next: opening(by.next()),
        }
        .to_bytes()
    }
}

/// Where a ballot is cast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Where {
    Online,
    Station { station: u32, sequence: u64 },
    Paper { station: u32, sequence: u64 },
}

impl World {
    /// A ballot for voter 0, cast so many seconds after the opening.
    pub(super) fn ballot(&mut self, at: Where, after_s: u64) -> Made {
        let of_box = self.manifest.manifest().ballot_box(BoxId(BOX)).expect("the box");
        let credential = self.rng.random();
        let packed = of_box
            .layout()
            .pack(0, credential, &[Choice::Options(vec![1])])
            .expect("packs");
        let openings = split_ballot(of_box.layout(), &packed, &mut self.rng).expect("splits");
        let commitments = ShareContext::ballot(&election(), of_box).commit_all(&openings);
        let cast_at = UnixSeconds(OPENS + after_s);
        let at_station = |paper, station, sequence| {
            let mark = StationMark {
                station: StationId(station),
                sequence,
            };
            BallotHeader::station(election(), BoxId(BOX), paper, cast_at, commitments, mark)
        };
        let (header, station) = match at {
            Where::Online => {
                let header = BallotHeader::online(election(), BoxId(BOX), cast_at, commitments);
                (header, None)
            }
            Where::Station { station, sequence } => (at_station(false, station, sequence), Some(station)),
            Where::Paper { station, sequence } => (at_station(true, station, sequence), Some(station)),
        };
        let digest = header.digest();
        let sign = |station: u32| {
            sign_authority(&self.stations[station as usize - 1], &digest)
                .0
                .to_vec()
        };
        Made {
            kind: Kind::Ballot,
            digest,
            openings,
            counted: Counted::Ballot(header.channel()),
            header: header.encode(),
            authority_signature: station.map(sign).unwrap_or_default(),
        }
    }

    /// An online ballot.
    pub(super) fn online(&mut self, after_s: u64) -> Made {
        self.ballot(Where::Online, after_s)
    }

    /// A credential record: half `half` of voter `v`, with this credential.
    pub(super) fn record(&mut self, v: u32, serial: u32, half: u32, credential: u64) -> Made {
        let registrar = &self.registrars[half as usize];
        let openings = split_credential_openings(credential, &mut self.rng);
        let header = RecordHeader::new(RecordParts {
            source: Source::Issued(Issue {
                election: election(),
                of_box: BoxId(BOX),
                voter: VoterIndex(v),
                half: Half::new(half, self.registrars.len() as u32).expect("a half"),
                registrar: registrar.public_key(),
            }),
            serial,
            signed_at: UnixSeconds(OPENS - 1000),
            commitments: ShareContext::credential(&election(), BoxId(BOX)).commit_all(&openings),
        });
        let digest = header.digest();
        Made {
            kind: Kind::Record,
            digest,
            openings,
            counted: Counted::Record,
            header: header.encode(),
            authority_signature: authorise(registrar, &digest).0.to_vec(),
        }
    }

    /// Has `by` accept what was made, as intake does; the receipt.
    pub(super) fn accept(&self, made: &Made, by: Role) -> Receipt {
        let receipt = self.store(by).write(|tx| self.accept_in(tx, made, by, CLOSES));
        receipt.expect("an open store")
    }

    /// Has `by` accept a ballot a second after it was cast, or a record when it was signed.
    pub(super) fn accept_in_time(&self, made: &Made, by: Role) -> Receipt {
        let at = BallotHeader::decode(&made.header).map_or(OPENS - 1000, |header| header.cast_at().get());
        let receipt = self.store(by).write(|tx| self.accept_in(tx, made, by, at + 1));
        receipt.expect("an open store")
    }

    /// Has `by` accept many in one batch.
    pub(super) fn accept_many<'a>(&self, made: impl IntoIterator<Item = &'a Made>, by: Role) {
        let batch = self.store(by).write(|tx| {
            made.into_iter()
                .try_for_each(|made| self.accept_in(tx, made, by, CLOSES).map(drop))
        });
        batch.expect("an open store");
    }

    fn accept_in(&self, tx: &WriteTx, made: &Made, by: Role, at_s: u64) -> Result<Receipt, StoreError> {
        let position = log::size(tx, 1)?;
        let stated = Acceptance {
            received_at: UnixSeconds(at_s),
            ..acceptance(made.digest, by, position)
        };
        let receipt = stated.sign(self.signer(by));
        let entry = tally_proto::log::Entry::Accepted(tally_proto::log::Accepted {
            record: made.kind == Kind::Record,
            of_box: BoxId(BOX),
            digest: made.digest,
            ciphertext_hash: Hash32([3; 32]),
            received_at: UnixSeconds(at_s),
        });
        log::append(tx, 1, &entry)?;
        let row = Accepted {
            header: made.header.clone(),
            authority_signature: made.authority_signature.clone(),
            ciphertext_hash: [3; 32],
            received_at_s: at_s,
            position,
            receipt_signature: receipt.to_wire().signature,
            sealed_shares: self
                .vault(by)
                .seal(made.kind, by.index(), &made.digest.0, &made.shares_of(by)),
        };
        accepted::insert(tx, 1, BOX, &made.digest.0, made.counted, &row)?;
        Ok(receipt)
    }

    /// Has all three accept.
    pub(super) fn accept_by_all(&self, made: &Made) {
        for role in Role::ALL {
            self.accept(made, role);
        }
    }

    /// Hands a receipt to `to`, as a voter does.
    pub(super) fn deliver(&self, receipt: &Receipt, to: Role) {
        self.deliver_for(receipt.unverified().digest, receipt, to);
    }

    /// The same, kept as if it were the receipt for `digest`.
    pub(super) fn deliver_for(&self, digest: Digest, receipt: &Receipt, to: Role) {
        let stated = receipt.unverified();
        let put = self.store(to).write(|tx| {
            // Of what this party has not accepted nobody stores a receipt.
            let Some(own_position) = accepted::position_of_any(tx, 1, BOX, &digest.0)? else {
                return Ok::<_, StoreError>(());
            };
            let encoded = receipt.encode();
            let new = receipts::New {
                election: 1,
                party: stated.party.index(),
                own_position,
                position: stated.position,
                receipt: &encoded,
            };
            receipts::put_all(tx, &[new]).map(drop)
        });
        put.expect("an open store");
    }

    /// Makes `by` sign a List of just these digests, whatever it accepted.
    pub(super) fn forge_list(&self, by: Role, ballots: &[Digest], records: &[Digest]) {
        let sorted = |digests: &[Digest]| {
            let mut digests: Vec<[u8; 32]> = digests.iter().map(|digest| digest.0).collect();
            digests.sort_unstable();
            digests
        };
        self.sealing(by)
            .sign_list(&election(), BoxId(BOX), &sorted(ballots), &sorted(records));
    }

    /// The second at which a ballot was cast.
    pub(super) fn cast_at(&self, made: &Made) -> UnixSeconds {
        BallotHeader::decode(&made.header).expect("a ballot").cast_at()
    }

    /// An order of correction, signed by all, the first in force.
    pub(super) fn correction(&self, number: u32, v: u32, live: bool, enrolled: bool) -> Vec<u8> {
        self.correction_after(None, number, v, (live, enrolled))
    }

    /// The same, after another order.
    pub(super) fn correction_after(
        &self,
        after: Option<&[u8]>,
        number: u32,
        v: u32,
        (live, enrolled): (bool, bool),
    ) -> Vec<u8> {
        let correction = Correction {
            of_box: BoxId(BOX),
            voter: VoterIndex(v),
            live,
            enrolled,
        };
        self.order_of(after, number, Change::Correction(correction))
    }

    /// Orders that let registrars issue up to these serials, in force at all three parties.
    pub(super) fn reissue(&self, voters: &[(u32, u32)]) {
        let mut last: Option<Vec<u8>> = None;
        for (number, (v, serial)) in (1..).zip(voters) {
            let reissue = Reissue {
                of_box: BoxId(BOX),
                voter: VoterIndex(*v),
                until: UnixSeconds(0),
                serial: *serial,
            };
            let order = self.order_of(last.as_deref(), number, Change::Reissue(reissue));
            for role in Role::ALL {
                self.order(number, &order, role);
            }
            last = Some(order);
        }
    }

    /// A complete order, after another one.
    fn order_of(&self, after: Option<&[u8]>, number: u32, change: Change) -> Vec<u8> {
        let after = after.map(|bytes| Envelope::decode(bytes).expect("an order").hash());
        let order = Order {
            election: election(),
            manifest_hash: self.manifest.hash(),
            number,
            after,
            reason: "court order".to_owned(),
            change,
        };
        let mut envelope = self.coordinator.seal_envelope(Signed::Order, order.encode());
        for role in Role::ALL {
            let signature = self.signer(role).sign(Signed::Order, envelope.payload());
            envelope.add_signature(signature);
        }
        envelope.encode()
    }

    /// Puts an order in force at `by`.
    pub(super) fn order(&self, number: u32, order: &[u8], by: Role) {
        self.store(by)
            .write(|tx| elections::put_order(tx, 1, number, order))
            .expect("an open store");
    }
}

/// What a receipt of `by` states.
pub(super) fn acceptance(digest: Digest, by: Role, position: u64) -> Acceptance {
    Acceptance {
        election: election(),
        of_box: BoxId(BOX),
        party: by,
        digest,
        ciphertext_hash: Hash32([3; 32]),
        received_at: UnixSeconds(CLOSES),
        position,
    }
}

/// A generator of its own for a case, named by a number.
pub(super) fn case_rng(case: u64) -> StdRng {
    StdRng::seed_from_u64(SEED ^ (case << 32))
}

/// A signer that nobody knows.
pub(super) fn stranger() -> Signer {
    Signer::generate(&mut case_rng(99))
}
