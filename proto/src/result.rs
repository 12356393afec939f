//! The result of a box: what was opened, in canonical order. It stands with the signatures of two parties.

use tally_mpc::layout::{self as packed};
use tally_mpc::{ContestTotals, Counts as Opened, Outcome};

use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind, Signer};
use crate::ids::{BoxId, ContestId, ElectionId, Hash32, IdError, Role, RoleExt as _};
use crate::manifest::{BallotBox, MAX_CONTESTS, Manifest};
use crate::sealing::Counts;
use crate::wire;

/// Signatures that a result stands with.
pub const MIN_SIGNATURES: usize = 2;
/// Largest result in bytes.
pub const MAX_RESULT_BYTES: usize = MAX_CONTESTS * (packed::MAX_OPTIONS as usize * 10 + 64) + 1024;

/// Why a result was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Signatures.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An id or a hash.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Too few signatures.
    #[error("a result stands with the signatures of {MIN_SIGNATURES} parties, this has {0}")]
    Signatures(usize),
    /// Of another election.
    #[error("the result is of election {0}, not of this one")]
    OtherElection(ElectionId),
    /// No such box.
    #[error("the election has no box {0}")]
    UnknownBox(BoxId),
    /// Contests are not those of the box.
    #[error("the result's contests are not those of the box, in payload order")]
    Contests,
    /// Totals are not one per option.
    #[error("contest {contest} has {options} options, the result has {totals} totals")]
    Totals {
        /// The contest.
        contest: ContestId,
        /// Its options.
        options: usize,
        /// Totals given.
        totals: usize,
    },
    /// Counts per channel where the policy opens none, or none where it does.
    #[error("the manifest's policy and the result differ on opening counts per channel")]
    Policy,
    /// More votes than ballots.
    #[error("contest {contest}: more votes than the {ballots} ballots there are")]
    TooManyVotes {
        /// The contest.
        contest: ContestId,
        /// Ballots that can have counted.
        ballots: u64,
    },
    /// More counted than there are.
    #[error("more ballots counted on a channel, or in all, than the Seal and the roll allow")]
    TooManyCounted,
}

impl ResultError {
    /// The stable reason.
    pub fn reason(&self) -> crate::reason::Reason {
        use crate::reason::Reason;
        match self {
            Self::Decode(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Envelope(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Id(_) => Reason::MessageMalformed,
            Self::Signatures(_) => Reason::ResultSignatures,
            Self::OtherElection(_) => Reason::ElectionOther,
            Self::UnknownBox(_) => Reason::BoxUnknown,
            Self::Contests | Self::Totals { .. } => Reason::ContestUnknown,
            Self::Policy | Self::TooManyVotes { .. } | Self::TooManyCounted => Reason::BundleAltered,
        }
    }
}

/// The opened result of a contest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContestResult {
    /// Which.
    pub contest: ContestId,
    /// Votes for options 1, 2, ...
    pub totals: Vec<u64>,
    /// Spoilt votes.
    pub spoilt: u64,
}

/// Counted ballots per channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counted {
    /// Online.
    pub online: u64,
    /// Electronic votes at stations.
    pub station: u64,
}

impl Counted {
    /// On all channels.
    pub const fn total(&self) -> u64 {
        self.online.saturating_add(self.station)
    }
}

/// The opened result of a box. No session, no time: the same bytes from every party that opened it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoxResult {
    seal_hash: Hash32,
    election: ElectionId,
    of_box: BoxId,
    contests: Vec<ContestResult>,
    counted: Option<Counted>,
}

impl BoxResult {
    /// From what the engine opened.
    ///
    /// # Errors
    /// [`ResultError`]: the outcome is not one of this box.
    pub fn from_outcome(
        manifest: &Manifest,
        of_box: BoxId,
        seal_hash: Hash32,
        outcome: &Outcome,
    ) -> Result<Self, ResultError> {
        let in_manifest = manifest
            .ballot_box(of_box)
            .ok_or(ResultError::UnknownBox(of_box))?;
        if in_manifest.contests().len() != outcome.contests.len() {
            return Err(ResultError::Contests);
        }
        let contest = |(id, totals): (&ContestId, &ContestTotals)| ContestResult {
            contest: *id,
            totals: totals.options.clone(),
            spoilt: totals.spoilt,
        };
        let counted = match outcome.counts {
            Opened::Nothing => None,
            Opened::PerChannel { online, electronic } => Some(Counted {
                online,
                station: electronic,
            }),
            Opened::Counted(_) => return Err(ResultError::Policy),
        };
        let contests = in_manifest
            .contests()
            .iter()
            .zip(&outcome.contests)
            .map(contest)
            .collect();
        let result = Self {
            seal_hash,
            election: manifest.election().clone(),
            of_box,
            contests,
            counted,
        };
        result.check(manifest)?;
        Ok(result)
    }

    /// From the wire; whether it fits a manifest is [`BoxResult::check`]'s business.
    ///
    /// # Errors
    /// [`ResultError`].
    pub fn from_wire(wire: &wire::Result) -> Result<Self, ResultError> {
        if wire.contests.len() > MAX_CONTESTS {
            return Err(ResultError::Contests);
        }
        let contest = |c: &wire::ContestResult| ContestResult {
            contest: ContestId(c.contest),
            totals: c.totals.clone(),
            spoilt: c.spoilt,
        };
        Ok(Self {
            seal_hash: Hash32::from_slice(&wire.seal_hash)?,
            election: ElectionId::new(&wire.election)?,
            of_box: BoxId(wire.r#box),
            contests: wire.contests.iter().map(contest).collect(),
            counted: match (wire.counted_online, wire.counted_station) {
                (Some(online), Some(station)) => Some(Counted { online, station }),
                (None, None) => None,
                _ => return Err(ResultError::Policy),
            },
        })
    }

    /// From its canonical bytes.
    ///
    /// # Errors
    /// [`ResultError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ResultError> {
        Self::from_wire(&decode_canonical("result", bytes, MAX_RESULT_BYTES)?)
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::Result {
        let contest = |c: &ContestResult| wire::ContestResult {
            contest: c.contest.get(),
            totals: c.totals.clone(),
            spoilt: c.spoilt,
        };
        wire::Result {
            seal_hash: self.seal_hash.0.to_vec(),
            election: self.election.as_str().into(),
            r#box: self.of_box.get(),
            contests: self.contests.iter().map(contest).collect(),
            counted_online: self.counted.map(|c| c.online),
            counted_station: self.counted.map(|c| c.station),
        }
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }

    /// An envelope with one party's signature.
    pub fn sign(&self, signer: &Signer) -> Envelope {
        signer.seal_envelope(Kind::Result, self.encode())
    }

    /// Whether it is a result of `manifest`: election, box, contests, options, and what the policy opens. Returns the box.
    ///
    /// # Errors
    /// [`ResultError`].
    pub fn check<'a>(&self, manifest: &'a Manifest) -> Result<&'a BallotBox, ResultError> {
        if self.election != *manifest.election() {
            return Err(ResultError::OtherElection(self.election.clone()));
        }
        let of_box = manifest
            .ballot_box(self.of_box)
            .ok_or(ResultError::UnknownBox(self.of_box))?;
        if !of_box
            .contests()
            .iter()
            .eq(self.contests.iter().map(|c| &c.contest))
        {
            return Err(ResultError::Contests);
        }
        for (result, contest) in self.contests.iter().zip(manifest.contests_of(of_box)) {
            let (options, totals) = (contest.options().len(), result.totals.len());
            if options != totals {
                return Err(ResultError::Totals {
                    contest: contest.id(),
                    options,
                    totals,
                });
            }
        }
        if self.counted.is_some() != manifest.policy().open_counted_per_channel {
            return Err(ResultError::Policy);
        }
        Ok(of_box)
    }

    /// Whether the numbers are possible with the Seal's `voters` and rows: nothing is counted that is not there, and nobody twice.
    ///
    /// # Errors
    /// [`ResultError::TooManyCounted`], [`ResultError::TooManyVotes`]; also as [`BoxResult::check`].
    pub fn check_numbers(
        &self,
        manifest: &Manifest,
        voters: u32,
        sealed: &Counts,
    ) -> Result<(), ResultError> {
        let of_box = self.check(manifest)?;
        let voters = u64::from(voters);
        let rows = sealed.online.saturating_add(sealed.station);
        if let Some(counted) = self.counted
            && (counted.online > sealed.online
                || counted.station > sealed.station
                || counted.total() > voters)
        {
            return Err(ResultError::TooManyCounted);
        }
        let ballots = self.counted.map_or(rows.min(voters), |counted| counted.total());
        for (result, layout) in self.contests.iter().zip(of_box.layout().contests()) {
            // A ballot votes for one option of a single choice and for up to `max` of an approval.
            let most = match layout {
                packed::Contest::Approval { max, .. } => u64::from(*max),
                _ => 1,
            };
            let too_many = ResultError::TooManyVotes {
                contest: result.contest,
                ballots,
            };
            let unspoilt = ballots.checked_sub(result.spoilt).ok_or(too_many.clone())?;
            let votes = result
                .totals
                .iter()
                .try_fold(0u64, |sum, total| sum.checked_add(*total));
            let each = result.totals.iter().all(|total| *total <= unspoilt);
            if !each || votes.is_none_or(|votes| votes > unspoilt.saturating_mul(most)) {
                return Err(too_many);
            }
        }
        Ok(())
    }

    /// The Seal it is of.
    pub fn seal_hash(&self) -> Hash32 {
        self.seal_hash
    }
    /// The election.
    pub fn election(&self) -> &ElectionId {
        &self.election
    }
    /// The box.
    pub fn of_box(&self) -> BoxId {
        self.of_box
    }
    /// Contests in payload order.
    pub fn contests(&self) -> &[ContestResult] {
        &self.contests
    }
    /// Counted ballots per channel, where the policy opens them.
    pub fn counted(&self) -> Option<Counted> {
        self.counted
    }
}

/// A result with the signatures of two parties or three.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedResult {
    result: BoxResult,
    envelope: Envelope,
    signed: [bool; 3],
}

impl SignedResult {
    /// Checks form, that it is a result of `manifest`, and signatures.
    ///
    /// # Errors
    /// [`ResultError`].
    pub fn open(envelope: Envelope, manifest: &Manifest) -> Result<Self, ResultError> {
        let signed = envelope.verify(Kind::Result, &manifest.party_keys())?;
        let signed: [bool; 3] = std::array::from_fn(|i| signed.get(i) == Some(&true));
        let count = signed.iter().filter(|s| **s).count();
        if count < MIN_SIGNATURES {
            return Err(ResultError::Signatures(count));
        }
        let result = BoxResult::decode(envelope.payload())?;
        result.check(manifest)?;
        Ok(Self {
            result,
            envelope,
            signed,
        })
    }

    /// The result.
    pub fn result(&self) -> &BoxResult {
        &self.result
    }
    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
    /// The parties that signed.
    pub fn signers(&self) -> impl Iterator<Item = Role> + '_ {
        Role::ALL.into_iter().filter(|role| self.signed[role.slot()])
    }
}

#[cfg(test)]
mod tests;
