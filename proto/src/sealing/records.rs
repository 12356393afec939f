//! Which credential record stands for each voter.

use std::collections::BTreeMap;

use super::SealingError;
use super::body::RecordEvidence;
use super::claims::Settled;
use super::gathering::Judged;
use super::rows::acceptances;
use super::seal::Exclusion;
use crate::bitmap::Bitmap;
use crate::envelope::SignatureBytes;
use crate::ids::{BoxId, Digest, Hash32, VoterIndex};
use crate::layout::{Writer, tag};
use crate::order::EffectiveElection;
use crate::reason::Reason;
use crate::record::RecordHeader;

/// Acceptances that let a record stand.
const RECORD_ACCEPTANCES: usize = 3;

/// The records that stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    /// By voter, then half.
    pub(super) records: Vec<(VoterIndex, Digest)>,
    /// Voters for whom all halves stand.
    pub(super) enrolled: Bitmap,
}

/// A record that passed.
pub(super) struct Passed {
    voter: VoterIndex,
    half: u32,
    serial: u32,
    digest: Digest,
}

/// The records that passed, by voter, half and serial. All serials are kept: those that collide below the highest are published, too.
#[derive(Debug, Default)]
pub(super) struct Taken(BTreeMap<(VoterIndex, u32, u32), Vec<Digest>>);

impl Taken {
    /// Takes one more.
    pub(super) fn push(&mut self, record: Passed) {
        let place = (record.voter, record.half, record.serial);
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
    let (header, authorisation) = match (candidate, evidence.public()) {
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
        match public_check(election, of_box, online, header, &digest, authorisation) {
            Ok(()) => Judged::In(Passed {
                voter: header.voter,
                half: header.half.number(),
                serial: header.serial,
                digest,
            }),
            Err(reason) => Judged::Out(Exclusion { digest, reason }),
        },
    )
}

/// Which of the records that passed stand, of `voters` voters whose credentials are issued in so many halves; pushes exclusions for equal
/// serials.
pub(super) fn standing(
    halves: u32,
    voters: usize,
    taken: Taken,
    exclusions: &mut Vec<Exclusion>,
) -> Standing {
    let mut highest: BTreeMap<(VoterIndex, u32), Vec<Digest>> = BTreeMap::new();
    for ((voter, half, _), digests) in taken.0 {
        if digests.len() > 1 {
            let excluded = |digest: &Digest| Exclusion {
                digest: *digest,
                reason: Reason::RecordSerial,
            };
            exclusions.extend(digests.iter().map(excluded));
        }
        // Serials rise within (voter, half), so the last one stays.
        highest.insert((voter, half), digests);
    }
    let mut enrolled = Bitmap::zeros(voters);
    let mut records = Vec::new();
    let mut own: Vec<(VoterIndex, Digest)> = Vec::new();
    for ((voter, half), digests) in highest {
        if own.last().is_none_or(|(v, _)| *v != voter) {
            own.clear();
        }
        // Equal highest serials stand for nobody: a lower one was replaced, and which of these replaced it is not known.
        if let [digest] = digests.as_slice() {
            own.push((voter, *digest));
        }
        if half + 1 == halves && own.len() as u64 == u64::from(halves) {
            enrolled.set(voter.get() as usize, true);
            records.append(&mut own);
        }
    }
    Standing { records, enrolled }
}

/// The checks that anyone can repeat on one record.
fn public_check(
    election: &EffectiveElection,
    of_box: BoxId,
    online: &Bitmap,
    header: &RecordHeader,
    digest: &Digest,
    authorisation: &SignatureBytes,
) -> Result<(), Reason> {
    header
        .check_place(election.manifest())
        .map_err(|error| error.reason())?;
    if header.of_box != of_box {
        return Err(Reason::BoxUnknown);
    }
    if !online.get(header.voter.get() as usize) {
        return Err(Reason::VoterStationOnly);
    }
    header
        .check_authorisation(digest, authorisation)
        .map_err(|error| error.reason())
}

/// SHA-256 of the fixed layout (tag, then v and digest of each).
pub(super) fn hash(records: &[(VoterIndex, Digest)]) -> Hash32 {
    let layout = Writer::new(tag::STANDING);
    records
        .iter()
        .fold(layout, |layout, (v, digest)| layout.u32(v.get()).fixed(&digest.0))
        .sha256()
}
