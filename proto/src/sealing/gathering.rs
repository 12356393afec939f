//! The Seal from evidence that comes part by part, so that a million headers never stand in memory at once.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::thread;

use sha2::{Digest as _, Sha256};

use super::body::{BallotEvidence, RecordEvidence};
use super::claims::{Claims, Settled};
use super::list::{MAX_DIGESTS, SignedList, hash_digests};
use super::records::{Standing, Taken};
use super::rows::{Key, Rows};
use super::seal::{Exclusion, Seal};
use super::{Sealed, SealingError, orders_in_force, records, rows};
use crate::bitmap::Bitmap;
use crate::ids::{BoxId, Digest, Hash32, Role, RoleExt as _, VoterIndex};
use crate::manifest::BallotBox;
use crate::order::EffectiveElection;
use crate::roll::open_root;

/// What a Seal is computed from before any evidence. All references.
#[derive(Clone, Copy, Debug)]
pub struct Agreed<'a> {
    /// The election under exactly the orders that the Lists name; see [`orders_in_force`].
    pub election: &'a EffectiveElection,
    /// The box.
    pub of_box: BoxId,
    /// The three Lists, in party order.
    pub lists: &'a [SignedList; 3],
    /// The three Claims, in party order, with the hashes of their payloads.
    pub claims: &'a [(Claims, Hash32); 3],
}

/// A Seal in the making. It keeps about a hundred bytes of a ballot or record, not their headers.
///
/// Evidence of ballots and of records is given in ascending order of digests, in as many parts as one likes; large parts are checked on all
/// cores. [`Gathering::finish`] compares it with what the Lists state, so nothing can be left out.
#[derive(Debug)]
pub struct Gathering<'a> {
    agreed: Agreed<'a>,
    in_manifest: &'a BallotBox,
    settled: Settled,
    online: Bitmap,
    ballots: Listed,
    records: Listed,
    keys: Vec<Key>,
    taken: Taken,
    /// Whose records an order alone puts out.
    set_aside: BTreeSet<VoterIndex>,
    exclusions: Vec<Exclusion>,
}

/// What became of one candidate.
pub(super) enum Judged<T> {
    /// It is none.
    NoCandidate,
    /// It passes every public check.
    In(T),
    /// It does not.
    Out(Exclusion),
    /// An order alone puts it out: whose it is stays so.
    SetAside(Exclusion, VoterIndex),
}

/// The Lists that the evidence of one kind makes up.
#[derive(Debug)]
struct Listed {
    kind: &'static str,
    last: Option<Digest>,
    lists: [(u64, Sha256); 3],
}

impl Listed {
    fn new(kind: &'static str) -> Self {
        Self {
            kind,
            last: None,
            lists: std::array::from_fn(|_| (0, Sha256::new())),
        }
    }

    fn push(&mut self, digest: Digest, listed: [bool; 3]) -> Result<(), SealingError> {
        if self.last.is_some_and(|last| last >= digest) {
            return Err(SealingError::Order {
                kind: self.kind,
                digest,
            });
        }
        self.last = Some(digest);
        for ((count, hash), _) in self.lists.iter_mut().zip(listed).filter(|(_, listed)| *listed) {
            *count += 1;
            hash.update(digest.0);
        }
        Ok(())
    }

    /// Whether these are the Lists that state so.
    fn check(self, stated: [(u64, Hash32); 3]) -> Result<(), SealingError> {
        for ((party, (count, hash)), stated) in Role::ALL.into_iter().zip(self.lists).zip(stated) {
            let made = (count, Hash32(hash.finalize().into()));
            if made != stated || count > MAX_DIGESTS {
                let kind = self.kind;
                return Err(SealingError::OtherList { kind, party });
            }
        }
        Ok(())
    }
}

impl<'a> Gathering<'a> {
    /// Begins. `settled` is what the Claims settle ([`super::settle_by`] over the same Lists); `online` the roll's online column.
    ///
    /// # Errors
    /// [`SealingError`]: inputs that do not belong together.
    pub fn new(agreed: Agreed<'a>, settled: Settled, online: Bitmap) -> Result<Self, SealingError> {
        let Agreed {
            election,
            of_box,
            lists,
            ..
        } = agreed;
        let in_manifest = election
            .manifest()
            .ballot_box(of_box)
            .ok_or(SealingError::UnknownBox(of_box))?;
        agreed.check_subjects()?;
        let orders = orders_in_force(lists.each_ref().map(SignedList::list))?;
        if orders != election.order_hashes() {
            return Err(SealingError::OtherOrders {
                named: orders.len(),
                given: election.order_hashes().len(),
            });
        }
        let (expected, actual) = (in_manifest.online_bits(), online.len());
        if expected as usize != actual {
            return Err(SealingError::Online { expected, actual });
        }
        Ok(Self {
            agreed,
            in_manifest,
            settled,
            online,
            ballots: Listed::new("ballots"),
            records: Listed::new("records"),
            keys: Vec::new(),
            taken: Taken::default(),
            set_aside: BTreeSet::new(),
            exclusions: Vec::new(),
        })
    }

    /// Takes the next ballots.
    ///
    /// # Errors
    /// [`SealingError::Order`], [`SealingError::Header`].
    pub fn ballots(&mut self, part: &[BallotEvidence]) -> Result<(), SealingError> {
        for evidence in part {
            self.ballots.push(evidence.digest(), evidence.listed())?;
        }
        let (agreed, settled) = (&self.agreed, &self.settled);
        let judged = on_all_cores(part, |evidence| {
            rows::judge(agreed.election, agreed.of_box, evidence, settled)
        });
        for judged in judged {
            match judged? {
                Judged::In(key) => self.keys.push(key),
                Judged::Out(exclusion) | Judged::SetAside(exclusion, _) => self.exclusions.push(exclusion),
                Judged::NoCandidate => {}
            }
        }
        Ok(())
    }

    /// Takes the next records.
    ///
    /// # Errors
    /// As [`Gathering::ballots`].
    pub fn records(&mut self, part: &[RecordEvidence]) -> Result<(), SealingError> {
        for evidence in part {
            self.records.push(evidence.digest(), evidence.listed())?;
        }
        let (agreed, settled, online) = (&self.agreed, &self.settled, &self.online);
        let judged = on_all_cores(part, |evidence| {
            records::judge(agreed.election, agreed.of_box, online, evidence, settled)
        });
        for judged in judged {
            match judged? {
                Judged::In(record) => self.taken.push(record),
                Judged::Out(exclusion) => self.exclusions.push(exclusion),
                Judged::SetAside(exclusion, voter) => {
                    self.exclusions.push(exclusion);
                    self.set_aside.insert(voter);
                }
                Judged::NoCandidate => {}
            }
        }
        Ok(())
    }

    /// The Seal, once all evidence is given.
    ///
    /// # Errors
    /// [`SealingError::OtherList`], [`SealingError::TooFew`].
    pub fn finish(self) -> Result<Sealed, SealingError> {
        let Self {
            agreed:
                Agreed {
                    election,
                    of_box,
                    lists,
                    claims,
                },
            in_manifest,
            settled,
            online,
            ballots,
            records,
            keys,
            taken,
            set_aside: mut there,
            mut exclusions,
        } = self;
        let manifest = election.manifest();
        ballots.check(lists.each_ref().map(|list| list.list().ballots))?;
        records.check(lists.each_ref().map(|list| list.list().records))?;
        let Rows {
            rows,
            counts,
            stations,
        } = rows::order(election, of_box, keys, &mut exclusions);
        let (submissions, minimum) = (rows.len() as u64, manifest.policy().min_submissions);
        if submissions < u64::from(minimum) {
            return Err(SealingError::TooFew {
                of_box,
                name: in_manifest.name().default_text().into(),
                submissions,
                minimum,
            });
        }
        there.extend(taken.voters());
        let Standing {
            records,
            mut enrolled,
        } = records::standing(manifest.halves(), in_manifest.voters(), taken, &mut exclusions);
        let (voters, roll_root, mut live) = match in_manifest.roll_root() {
            Some(root) => {
                let voters = in_manifest.voters();
                (
                    voters,
                    root,
                    Bitmap::from_bits((0..voters as usize).map(|_| true)),
                )
            }
            // Whoever enrolled is on an open roll. An order that sets a card's records aside, or two records of one second, end online votes, and not
            // those at a station: the order may be there because somebody else had the card.
            None => {
                let voters = there.last().map_or(0, |v| v.get() + 1);
                enrolled = Bitmap::from_bits((0..voters as usize).map(|v| enrolled.get(v)));
                let live = Bitmap::from_bits((0..voters).map(|v| there.contains(&VoterIndex(v))));
                let (voters_there, minimum) = (live.count_ones(), manifest.policy().min_voters.max(1));
                if (voters_there as u64) < u64::from(minimum) {
                    return Err(SealingError::TooFewVoters {
                        of_box,
                        name: in_manifest.name().default_text().into(),
                        voters: voters_there,
                        minimum,
                    });
                }
                (voters, open_root(voters, &records), live)
            }
        };
        for correction in election.corrections(of_box) {
            let v = correction.voter.get() as usize;
            live.set(v, correction.live && live.get(v));
            enrolled.set(v, correction.enrolled && enrolled.get(v));
        }
        exclusions.sort_unstable_by_key(|e: &Exclusion| e.digest);

        let seal = Seal {
            election: manifest.election().clone(),
            of_box,
            manifest_hash: election.manifest_hash(),
            orders: election.order_hashes().to_vec(),
            roll_root,
            voters,
            counts,
            rows_hash: hash_digests(&rows),
            records_hash: records::hash(&records),
            live_hash: live.hash(),
            enrolled_hash: enrolled.hash(),
            exclusions,
            stations,
            list_hashes: lists.each_ref().map(SignedList::hash),
            claims_hashes: claims.each_ref().map(|(_, hash)| *hash),
            online_hash: online.hash(),
        };
        Ok(Sealed {
            seal,
            rows,
            standing: records,
            live,
            enrolled,
            settled,
        })
    }
}

impl Agreed<'_> {
    fn check_subjects(&self) -> Result<(), SealingError> {
        let Self {
            election,
            of_box,
            lists,
            claims,
        } = self;
        let id = election.manifest().election();
        for party in Role::ALL {
            let other = |what| SealingError::OtherSubject {
                what,
                party,
                election: id.clone(),
                of_box: *of_box,
            };
            let list = lists[party.slot()].list();
            let same = list.election == *id && list.of_box == *of_box && list.party == party;
            if !same || list.manifest_hash != election.manifest_hash() {
                return Err(other("List"));
            }
            let claims = &claims[party.slot()].0;
            if claims.election != *id || claims.of_box != *of_box || claims.party != party {
                return Err(other("Claims"));
            }
            if claims.list_hashes != lists.each_ref().map(SignedList::hash) {
                return Err(SealingError::OtherLists(party));
            }
        }
        Ok(())
    }
}

/// Below this a thread costs more than it brings.
const WORTH_A_THREAD: usize = 256;

/// `judge` of each, in order. Nearly all of it is the checking of signatures.
fn on_all_cores<E: Sync, T: Send>(part: &[E], judge: impl Fn(&E) -> T + Sync) -> Vec<T> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = part.len().div_ceil(cores).max(WORTH_A_THREAD);
    let judge = &judge;
    thread::scope(|scope| {
        let mut shares = part.chunks(share);
        let own = shares.next().unwrap_or_default();
        let others: Vec<_> = shares
            .map(|share| scope.spawn(move || share.iter().map(judge).collect::<Vec<T>>()))
            .collect();
        let mut all: Vec<T> = own.iter().map(judge).collect();
        for other in others {
            match other.join() {
                Ok(judged) => all.extend(judged),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}
