//! How much a box takes, so that whatever is taken can be sealed, tallied and published.
//!
//! Everything behind intake is bounded: the Lists, the evidence of a box, the bundle of an election. So intake is bounded first, and a box whose
//! share of these bounds would be too small is refused at definition. Each of two acceptances that a candidate has counts at its party, so of C
//! ballots that each party takes at most 3 C / 2 are candidates, whoever lies.

use super::{BallotBox, Manifest, ManifestError};
use crate::bundle::MAX_EVIDENCE_BYTES;
use crate::calendar::ChannelKind;
use crate::ids::ElectionId;
use crate::sealing::{MAX_BODY_BYTES, MAX_DIGESTS};

/// Ballots for each voter, where the manifest does not say how many and the bounds allow it.
const BALLOTS_A_VOTER: u64 = 16;
/// Ballots besides, which a small box is glad of.
const BALLOTS_BESIDES: u64 = 10_000;
/// Ballots for each voter that a box must take at least, on each side (online; at stations and on paper).
const LEAST_A_VOTER: u64 = 1;
/// Card records for each voter: some enrol again.
const CARDS_A_VOTER: u64 = 2;
/// One voter of so many may be issued a credential again, by an order, and some besides.
const REISSUED: u64 = 8;
const RECORDS_BESIDES: u64 = 100;
/// Records of one voter and part that a party takes: re-issues, and a card that is used again and again.
pub const MAX_RECORDS_OF_A_VOTER: usize = 16;

/// Of the evidence of a candidate, all but the election's name and what is counted apart: three commitments, time, channel, station, number, station's
/// signature, tags and lengths; its exclusion in the Seal.
const BALLOT_BYTES: u64 = 300;
/// A ticket in a header.
const TICKET_BYTES: u64 = 300;
/// Of the evidence of a record, all but the name of election or register.
const RECORD_BYTES: u64 = 330;
/// Of the evidence of an election each box has this much, and of the rest its voters' share.
const BOX_BYTES: u64 = 256 << 10;

/// What a party takes for a box.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capacity {
    /// Online ballots.
    pub online: u64,
    /// Ballots of stations, electronic and on paper.
    pub stations: u64,
    /// Ballots of one station, and so its highest number.
    pub one_station: u64,
    /// Credential records.
    pub records: u64,
}

impl Capacity {
    /// Ballots of all channels.
    pub fn ballots(&self) -> u64 {
        self.online + self.stations
    }

    /// Ballots of this channel's side.
    pub fn of(&self, channel: ChannelKind) -> u64 {
        match channel {
            ChannelKind::Online => self.online,
            ChannelKind::Station | ChannelKind::Paper => self.stations,
        }
    }
}

/// Shares `ballots` out: half for stations where online ballots are taken too, so that neither side can keep the other from voting; and of what
/// stations have, half for one, where there are several.
fn shared_out(manifest: &Manifest, ballots: u64, records: u64) -> Capacity {
    let has = |kind| manifest.channel(kind).is_some();
    let online = has(ChannelKind::Online);
    let stations = has(ChannelKind::Station) || has(ChannelKind::Paper);
    let stations = match (online, stations) {
        (true, true) => ballots / 2,
        (false, true) => ballots,
        (_, false) => 0,
    };
    let one_station = match manifest.stations().len() {
        0 | 1 => stations,
        _ => stations / 2,
    };
    Capacity {
        online: ballots - stations,
        stations,
        one_station,
        records,
    }
}

fn name_bytes(election: &ElectionId) -> u64 {
    election.as_str().len() as u64
}

/// Bytes that each ballot which a party takes may bring into the evidence.
fn ballot_bytes(manifest: &Manifest) -> u64 {
    let ticket = manifest.ticketing().map_or(0, |_| TICKET_BYTES);
    (BALLOT_BYTES + ticket + name_bytes(manifest.election())) * 3 / 2
}

/// Credential records of a box, and the bytes of all of them.
fn records(manifest: &Manifest, voters: u64) -> (u64, u64) {
    let issued = voters * u64::from(manifest.halves());
    let cards = voters * CARDS_A_VOTER * u64::from(manifest.register().is_some());
    let records = issued + cards + voters / REISSUED + RECORDS_BESIDES;
    let register = manifest
        .register()
        .map_or(0, |register| register.id().as_str().len() as u64);
    let name = name_bytes(manifest.election()).max(register);
    (records, records * (RECORD_BYTES + name))
}

/// What `of_box` takes.
///
/// # Errors
/// [`ManifestError::BoxTooLarge`]: what it must take, or what it says that it takes, could not be published.
pub(super) fn capacity(manifest: &Manifest, of_box: &BallotBox) -> Result<Capacity, ManifestError> {
    let voters = u64::from(of_box.voters());
    let all: u64 = manifest.boxes().iter().map(|b| u64::from(b.voters())).sum();
    let boxes = manifest.boxes().len() as u64;
    let shared = u128::from(MAX_EVIDENCE_BYTES.saturating_sub(boxes * BOX_BYTES));
    let share = shared * u128::from(voters) / u128::from(all.max(1));
    let bytes = u64::try_from(share).unwrap_or(u64::MAX).saturating_add(BOX_BYTES);
    let bytes = bytes.min(MAX_BODY_BYTES as u64);
    let (records, record_bytes) = records(manifest, voters);
    let fits = bytes.saturating_sub(record_bytes + voters / 8) / ballot_bytes(manifest);
    let fits = fits.min(MAX_DIGESTS);
    // On two sides, twice.
    let sides = if shared_out(manifest, 2, 0).stations == 1 {
        2
    } else {
        1
    };
    let least = voters * LEAST_A_VOTER * sides;
    let ballots = match of_box.stated_max_ballots() {
        0 => fits.min(voters * BALLOTS_A_VOTER + BALLOTS_BESIDES),
        stated => u64::from(stated),
    };
    if ballots > fits || ballots < least {
        return Err(ManifestError::BoxTooLarge {
            of_box: of_box.id(),
            name: of_box.name().default_text().into(),
            ballots,
            least,
            fits,
        });
    }
    Ok(shared_out(manifest, ballots, records))
}

#[cfg(test)]
mod tests;
