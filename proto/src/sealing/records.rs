//! Which credential record stands for each voter.

use std::collections::BTreeMap;

use super::SealingError;
use super::body::RecordEvidence;
use super::claims::Settled;
use super::gathering::Judged;
use super::rows::acceptances;
use super::seal::Exclusion;
use crate::bitmap::Bitmap;
use crate::ids::{BoxId, Digest, Hash32, VoterIndex};
use crate::layout::{Writer, tag};
use crate::order::EffectiveElection;
use crate::reason::Reason;
use crate::record::{Endorsement, RecordHeader};

/// Acceptances that let a record stand.
const RECORD_ACCEPTANCES: usize = 3;

/// The records that stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    /// By voter; of an issued credential all halves in their order, of an enrolled one its one record.
    pub(super) records: Vec<(VoterIndex, Digest)>,
    /// Voters for whom all halves stand.
    pub(super) enrolled: Bitmap,
}

/// What a record is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Part {
    /// A half of what registrars issue, from 0.
    Half(u32),
    /// All of what the voter's device made. It beats every issued one.
    Card,
}

/// A record that passed.
pub(super) struct Passed {
    voter: VoterIndex,
    part: Part,
    serial: u32,
    digest: Digest,
}

/// The records that passed, by voter, part and serial. All serials are kept: those that collide below the highest are published, too.
#[derive(Debug, Default)]
pub(super) struct Taken(BTreeMap<(VoterIndex, Part, u32), Vec<Digest>>);

impl Taken {
    /// Whose they are.
    pub(super) fn voters(&self) -> impl Iterator<Item = VoterIndex> {
        self.0.keys().map(|(voter, ..)| *voter)
    }

    /// Takes one more.
    pub(super) fn push(&mut self, record: Passed) {
        let place = (record.voter, record.part, record.serial);
        self.0.entry(place).or_default().push(record.digest);
    }
}

/// Selects and checks one record.
pub(super) fn judge(
    election: &EffectiveElection,
    of_box: BoxId,
    online: &Bitmap,
    evidence: &RecordEvidence,
    settled: &Settled,
) -> Result<Judged<Passed>, SealingError> {
    let digest = evidence.digest();
    let candidate = acceptances(evidence.listed(), &digest, settled) >= RECORD_ACCEPTANCES;
    let (header, endorsement) = match (candidate, evidence.public()) {
        (true, Some(public)) => public,
        (false, None) => return Ok(Judged::NoCandidate),
        _ => {
            return Err(SealingError::Header {
                kind: "record",
                digest,
                candidate,
            });
        }
    };
    Ok(
        match public_check(election, of_box, online, header, &digest, endorsement) {
            Ok((voter, part)) => Judged::In(Passed {
                voter,
                part,
                serial: header.serial,
                digest,
            }),
            Err(Unfit::Out(reason)) => Judged::Out(Exclusion { digest, reason }),
            Err(Unfit::SetAside(voter)) => {
                let reason = Reason::RecordReissued;
                Judged::SetAside(Exclusion { digest, reason }, voter)
            }
        },
    )
}

/// Why a record does not pass.
enum Unfit {
    /// For this reason.
    Out(Reason),
    /// An order sets this voter's card records aside; nothing else is wrong with it.
    SetAside(VoterIndex),
}

impl From<Reason> for Unfit {
    fn from(reason: Reason) -> Self {
        Self::Out(reason)
    }
}

/// The highest serials of one voter.
#[derive(Default)]
struct Highest {
    halves: BTreeMap<u32, Vec<Digest>>,
    card: Option<Vec<Digest>>,
}

impl Highest {
    /// What stands. Equal highest serials stand for nobody: a lower one was replaced, and which of these replaced it is not known. Nor does an
    /// issued record stand again then: the voter has enrolled by card.
    fn standing(self, halves: u32) -> Option<Vec<Digest>> {
        let one = |digests: Vec<Digest>| match digests.as_slice() {
            [digest] => Some(*digest),
            _ => None,
        };
        match self.card {
            Some(card) => Some(vec![one(card)?]),
            None if self.halves.is_empty() => None,
            None => {
                let all: Vec<Digest> = self.halves.into_values().filter_map(one).collect();
                (all.len() as u64 == u64::from(halves)).then_some(all)
            }
        }
    }
}

/// Which of the records that passed stand, of `voters` voters whose credentials are issued in so many halves; pushes exclusions for equal
/// serials.
pub(super) fn standing(halves: u32, voters: u32, taken: Taken, exclusions: &mut Vec<Exclusion>) -> Standing {
    let mut highest: BTreeMap<VoterIndex, Highest> = BTreeMap::new();
    for ((voter, part, _), digests) in taken.0 {
        if digests.len() > 1 {
            let excluded = |digest: &Digest| Exclusion {
                digest: *digest,
                reason: Reason::RecordSerial,
            };
            exclusions.extend(digests.iter().map(excluded));
        }
        let of_voter = highest.entry(voter).or_default();
        // Serials rise within (voter, part), so the last one stays.
        match part {
            Part::Half(half) => drop(of_voter.halves.insert(half, digests)),
            Part::Card => of_voter.card = Some(digests),
        }
    }
    let mut enrolled = Bitmap::zeros(voters as usize);
    let mut records = Vec::new();
    for (voter, highest) in highest {
        if let Some(standing) = highest.standing(halves) {
            enrolled.set(voter.get() as usize, true);
            records.extend(standing.into_iter().map(|digest| (voter, digest)));
        }
    }
    Standing { records, enrolled }
}

/// The checks that anyone can repeat on one record; whose it is, and which part of the credential.
fn public_check(
    election: &EffectiveElection,
    of_box: BoxId,
    online: &Bitmap,
    header: &RecordHeader,
    digest: &Digest,
    endorsement: Endorsement,
) -> Result<(VoterIndex, Part), Unfit> {
    let manifest = election.manifest();
    let (voter, part) = match endorsement {
        Endorsement::Registrar(authorisation) => {
            let issue = header.check_place(manifest).map_err(|error| error.reason())?;
            if issue.of_box != of_box {
                return Err(Reason::BoxUnknown.into());
            }
            header
                .check_authorisation(digest, &authorisation)
                .map_err(|error| error.reason())?;
            if !election.allows_serial(of_box, issue.voter, header.serial) {
                return Err(Reason::RecordSerial.into());
            }
            (issue.voter, Part::Half(issue.half.number()))
        }
        Endorsement::Card(voter) => {
            header.check_register(manifest).map_err(|error| error.reason())?;
            let place = header.open_place();
            if place.is_some_and(|place| place.voter != Some(voter)) {
                return Err(Reason::RollNumberGiver.into());
            }
            if place.is_none() && voter.get() as usize >= online.len() {
                return Err(Reason::VoterUnknown.into());
            }
            if election
                .reissued_until(of_box, voter)
                .is_some_and(|until| header.signed_at <= until)
            {
                return Err(Unfit::SetAside(voter));
            }
            (voter, Part::Card)
        }
    };
    // Whoever enrols for an open roll votes online.
    if header.open_place().is_some() || online.get(voter.get() as usize) {
        Ok((voter, part))
    } else {
        Err(Reason::VoterStationOnly.into())
    }
}

/// SHA-256 of the fixed layout (tag, then v and digest of each).
pub(super) fn hash(records: &[(VoterIndex, Digest)]) -> Hash32 {
    let layout = Writer::new(tag::STANDING);
    records
        .iter()
        .fold(layout, |layout, (v, digest)| layout.u32(v.get()).fixed(&digest.0))
        .sha256()
}
