//! From candidates to rows: public checks, order, and what is published of each station.

use std::collections::BTreeMap;

use super::SealingError;
use super::body::BallotEvidence;
use super::claims::Settled;
use super::gathering::Judged;
use super::seal::{Counts, Exclusion, StationCount};
use crate::ballot::{BallotHeader, StationMark};
use crate::calendar::ChannelKind;
use crate::envelope::SignatureBytes;
use crate::ids::{BoxId, Digest, Role, RoleExt as _, StationId, UnixSeconds};
use crate::order::EffectiveElection;
use crate::reason::Reason;

/// Acceptances that make a ballot a candidate.
const BALLOT_ACCEPTANCES: usize = 2;

/// The ballots of a box in row order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rows {
    /// Their digests.
    pub(super) rows: Vec<Digest>,
    /// How many of each channel.
    pub(super) counts: Counts,
    /// What is published of every station that serves the box, ascending.
    pub(super) stations: Vec<StationCount>,
}

/// Row order, as a sort key. Derived: compares fields in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    channel: ChannelKind,
    cast_at: UnixSeconds,
    mark: Option<StationMark>,
    digest: Digest,
    /// The one-time key of its ticket.
    ticket: Option<[u8; 32]>,
}

/// How many parties accepted `digest`, by List or claimed receipt.
pub(super) fn acceptances(listed: [bool; 3], digest: &Digest, settled: &Settled) -> usize {
    Role::ALL
        .into_iter()
        .filter(|p| listed[p.slot()] || settled.accepts(*p, digest))
        .count()
}

/// Selects and checks one ballot.
pub(super) fn judge(
    election: &EffectiveElection,
    of_box: BoxId,
    evidence: &BallotEvidence,
    settled: &Settled,
) -> Result<Judged<Key>, SealingError> {
    let digest = evidence.digest();
    let candidate = acceptances(evidence.listed(), &digest, settled) >= BALLOT_ACCEPTANCES;
    let (header, signature) = match (candidate, evidence.public()) {
        (true, Some(public)) => public,
        (false, None) => return Ok(Judged::NoCandidate),
        _ => {
            return Err(SealingError::Header {
                kind: "ballot",
                digest,
                candidate,
            });
        }
    };
    Ok(match public_check(election, of_box, header, &digest, signature) {
        Ok(()) => Judged::In(Key {
            channel: header.channel(),
            cast_at: header.cast_at(),
            mark: header.station_mark(),
            digest,
            ticket: header.ticket().map(|ticket| *ticket.key().as_bytes()),
        }),
        Err(reason) => Judged::Out(Exclusion { digest, reason }),
    })
}

/// Orders the ballots that passed, which come in ascending order of digests; pushes exclusions.
pub(super) fn order(
    election: &EffectiveElection,
    of_box: BoxId,
    mut keys: Vec<Key>,
    exclusions: &mut Vec<Exclusion>,
) -> Rows {
    spend_tickets(&mut keys, exclusions);
    let stations = reconcile_stations(election, of_box, &mut keys, exclusions);
    keys.sort_unstable();
    let count = |channel| keys.iter().filter(|k| k.channel == channel).count() as u64;
    let counts = Counts {
        online: count(ChannelKind::Online),
        station: count(ChannelKind::Station),
        paper: count(ChannelKind::Paper),
    };
    Rows {
        rows: keys.iter().map(|k| k.digest).collect(),
        counts,
        stations,
    }
}

/// The checks that anyone can repeat on one ballot.
fn public_check(
    election: &EffectiveElection,
    of_box: BoxId,
    header: &BallotHeader,
    digest: &Digest,
    signature: Option<&SignatureBytes>,
) -> Result<(), Reason> {
    let manifest = election.manifest();
    header.check_place(manifest).map_err(|error| error.reason())?;
    if header.of_box() != of_box {
        return Err(Reason::BoxUnknown);
    }
    let channel = election.channel(header.channel()).ok_or(Reason::ChannelUnknown)?;
    channel
        .check_opening(header.cast_at())
        .map_err(|error| error.reason())?;
    header
        .check_authority(digest, signature, manifest)
        .map_err(|error| error.reason())?;
    // After the signature: what bears it not is no ballot of that station at all.
    let revoked = header
        .station_mark()
        .and_then(|mark| election.revoked_from(mark.station));
    match revoked {
        Some(from) if !manifest.revoked_rows().count(header.cast_at(), from) => {
            Err(Reason::BallotStationRevoked)
        }
        _ => Ok(()),
    }
}

/// Takes out ballots with whose ticket another with a lower digest was cast.
fn spend_tickets(keys: &mut Vec<Key>, exclusions: &mut Vec<Exclusion>) {
    let mut spent: Vec<([u8; 32], Digest)> =
        keys.iter().filter_map(|k| Some((k.ticket?, k.digest))).collect();
    spent.sort_unstable();
    let mut again: Vec<Digest> = spent
        .windows(2)
        .filter_map(|pair| match pair {
            [(first, _), (second, digest)] if first == second => Some(*digest),
            _ => None,
        })
        .collect();
    if again.is_empty() {
        return;
    }
    again.sort_unstable();
    keys.retain(|key| again.binary_search(&key.digest).is_err());
    exclusions.extend(again.into_iter().map(|digest| Exclusion {
        digest,
        reason: Reason::TicketSpent,
    }));
}

/// Takes out ballots whose (station, sequence) another with a lower digest has, and counts what is published of each station.
fn reconcile_stations(
    election: &EffectiveElection,
    of_box: BoxId,
    keys: &mut Vec<Key>,
    exclusions: &mut Vec<Exclusion>,
) -> Vec<StationCount> {
    let serving = election.manifest().stations().iter().filter(|s| s.serves(of_box));
    let mut counts: BTreeMap<StationId, StationCount> =
        serving.map(|s| (s.id(), StationCount::none(s.id()))).collect();
    // By (station, sequence, digest): `keys` come in digest order, and the sort is stable.
    let mut marked: Vec<(StationMark, Key)> = keys.iter().filter_map(|k| Some((k.mark?, *k))).collect();
    marked.sort_by_key(|(mark, _)| *mark);
    let mut repeated = Vec::new();
    let mut last: Option<(StationMark, Key)> = None;
    for (mark, key) in marked {
        let Some(count) = counts.get_mut(&mark.station) else {
            continue;
        };
        let before = last.filter(|(earlier, _)| earlier.station == mark.station);
        if before.is_some_and(|(earlier, _)| earlier.sequence == mark.sequence) {
            count.repeated_numbers += 1;
            exclusions.push(Exclusion {
                digest: key.digest,
                reason: Reason::BallotStationSequence,
            });
            repeated.push(key.digest);
            continue;
        }
        match key.channel {
            ChannelKind::Paper => count.paper += 1,
            ChannelKind::Station | ChannelKind::Online => count.electronic += 1,
        }
        // Numbers begin at 1, so the first ballot's gap is counted like any other.
        let expected = before.map_or(0, |(earlier, _)| earlier.sequence);
        count.gaps += mark.sequence.saturating_sub(expected).saturating_sub(1);
        count.falling_times += u64::from(before.is_some_and(|(_, earlier)| key.cast_at < earlier.cast_at));
        last = Some((mark, key));
    }
    if !repeated.is_empty() {
        repeated.sort_unstable();
        keys.retain(|key| repeated.binary_search(&key.digest).is_err());
    }
    counts.into_values().collect()
}
