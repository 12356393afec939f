//! The voters and stations of a script, acting through the client library as anybody's device would.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tally_client::station::{Counts, StationError};
use tally_client::{
    CastError, ChoiceError, Choices, Connections, Device, Election, ElectionError, Patience, Station, Voter,
    read_invitation,
};
use tally_proto::connect::ConnectError;
use tally_proto::ids::{BoxId, UnixSeconds, VoterIndex};
use tally_proto::invitation::{Credential, Invitation, InvitationError};
use tally_proto::sign_ins::{BoxSignIns, SignIns};
use thiserror::Error;

use crate::recount::Done;
use crate::script::{Cast, Place, Way};

/// Devices that cast at the same time.
const AT_ONCE: usize = 96;
/// How long a station tries to deliver its queue.
const DRAIN: Duration = Duration::from_secs(60);

/// Why the crowd could not act.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each variant is its source's error")]
pub enum CrowdError {
    #[error(transparent)]
    Election(#[from] ElectionError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Invitation(#[from] InvitationError),
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    #[error(transparent)]
    Cast(#[from] CastError),
    #[error(transparent)]
    Station(#[from] StationError),
    #[error("no invitation was issued for voter {} of box {}", .0.v, .0.box_id)]
    NotInvited(Place),
    #[error("there is no station {0}")]
    NoStation(u32),
    #[error("station {station} still holds {pending} ballots after {} s: {faults}", DRAIN.as_secs())]
    Undelivered {
        station: u32,
        pending: usize,
        faults: String,
    },
}

/// Everybody who casts ballots.
pub struct Crowd {
    election: Election,
    connections: Connections,
    devices: BTreeMap<u32, Device>,
    invitations: BTreeMap<Place, String>,
    stations: BTreeMap<u32, Station>,
    rng: StdRng,
    done: Vec<Done>,
}

impl Crowd {
    /// A crowd for an election: `invitations` by place on the roll, and the directories of the stations by id.
    ///
    /// # Errors
    /// The manifest or a station's directory does not hold.
    pub fn new(
        manifest: &[u8],
        invitations: BTreeMap<Place, String>,
        stations: &BTreeMap<u32, impl AsRef<Path>>,
        rng: &mut impl Rng,
    ) -> Result<Self, CrowdError> {
        let election = Election::from_bytes(manifest)?;
        let connections = Connections::open(&election)?;
        let stations = stations
            .iter()
            .map(|(&id, directory)| Ok((id, Station::open(directory.as_ref(), &election)?)))
            .collect::<Result<_, StationError>>()?;
        let rng = StdRng::from_rng(rng);
        Ok(Self {
            election,
            connections,
            devices: BTreeMap::new(),
            invitations,
            stations,
            rng,
            done: Vec::new(),
        })
    }

    /// The election they vote in.
    #[must_use]
    pub fn election(&self) -> &Election {
        &self.election
    }

    /// Everything cast so far.
    #[must_use]
    pub fn done(&self) -> &[Done] {
        &self.done
    }

    /// Forgets the last ballot that is known to count, an electronic one from a station: a recount is then wrong by one vote.
    pub fn forget_one_vote(&mut self) {
        if let Some(at) = self
            .done
            .iter()
            .rposition(|done| matches!(done.cast.way, Way::Station(_)))
        {
            self.done.remove(at);
        }
    }

    /// Casts online ballots, every device in order, many devices at once. Calls `progress` with how many are done.
    ///
    /// # Errors
    /// The first ballot that is not accepted.
    pub async fn cast_online(
        &mut self,
        casts: &[Cast],
        mut progress: impl FnMut(usize),
    ) -> Result<(), CrowdError> {
        let mut queues: BTreeMap<u32, Vec<(Cast, StdRng)>> = BTreeMap::new();
        for &cast in casts {
            let rng = StdRng::from_rng(&mut self.rng);
            queues.entry(cast.device).or_default().push((cast, rng));
        }
        for &device in queues.keys() {
            self.devices.entry(device).or_insert_with(Device::in_memory);
        }
        let this = &*self;
        let mut under_way = stream::iter(queues)
            .map(|(device, queue)| async move {
                let mut done = Vec::with_capacity(queue.len());
                for (cast, mut rng) in queue {
                    let device = &this.devices[&device];
                    done.push(this.cast_one(cast, device, &mut rng).await?);
                }
                Ok::<_, CrowdError>(done)
            })
            .buffer_unordered(AT_ONCE);
        let mut done = Vec::with_capacity(casts.len());
        while let Some(some) = under_way.try_next().await? {
            done.extend(some);
            progress(done.len());
        }
        drop(under_way);
        self.done.extend(done);
        Ok(())
    }

    /// Waits for a second later than that of everything cast so far: what other devices cast from then on is later, in the parties' eyes too.
    pub async fn await_later_second(&self) {
        let last = self.done.iter().map(|done| done.cast_at_s).max();
        let later = UNIX_EPOCH + Duration::from_secs(last.map_or(0, |second| second + 1));
        while let Ok(left) = later.duration_since(SystemTime::now()) {
            tokio::time::sleep(left.max(Duration::from_millis(1))).await;
        }
    }

    async fn cast_one(&self, cast: Cast, device: &Device, rng: &mut StdRng) -> Result<Done, CrowdError> {
        let invitation = self.invitation(cast, rng)?;
        let voter =
            Voter::new(&self.election, &self.connections, invitation, device)?.with_patience(Patience {
                after_draw: Duration::ZERO,
                ..Patience::default()
            });
        let form = voter.form();
        let options = form
            .contests()
            .first()
            .map_or(0, |contest| contest.options().len() as u32);
        let choices = if cast.choice > options {
            Choices::blank(form).spoil(form, 1)?
        } else {
            let numbers = Some(cast.choice)
                .filter(|&choice| choice > 0)
                .into_iter()
                .collect();
            Choices::by_number(form, &[numbers])?
        };
        let ballot = voter.cast(&choices, rng).await?;
        Ok(Done {
            cast,
            cast_at_s: ballot.cast_at().0,
            digest: *ballot.digest().as_bytes(),
            name: ballot.named().to_text(),
            sequence: 0,
        })
    }

    /// The invitation that a cast uses: the one issued, a decoy of it, or the issued credential under another index.
    fn invitation(&self, cast: Cast, rng: &mut StdRng) -> Result<Invitation, CrowdError> {
        let hash = self.election.manifest_hash();
        let new = |place: Place, credential| {
            Invitation::new(&hash, BoxId(place.box_id), VoterIndex(place.v), credential)
        };
        let issued = |place: Place| {
            let text = self
                .invitations
                .get(&place)
                .ok_or(CrowdError::NotInvited(place))?;
            Ok::<_, CrowdError>(read_invitation(&[text])?)
        };
        match cast.way {
            Way::FalseOnline => match issued(cast.place) {
                Ok(true_one) => Ok(true_one.decoy(rng)),
                Err(_) => Ok(new(cast.place, Credential::generate(rng))),
            },
            _ if self.invitations.contains_key(&cast.place) => issued(cast.place),
            // Beyond the roll: with the credential of the last voter on it.
            _ => {
                let box_id = cast.place.box_id;
                let on_box = Place { box_id, v: 0 }..=Place {
                    box_id,
                    v: cast.place.v,
                };
                let (&last, _) = self
                    .invitations
                    .range(on_box)
                    .next_back()
                    .ok_or(CrowdError::NotInvited(cast.place))?;
                let true_one = issued(last)?;
                Ok(new(
                    cast.place,
                    Credential::new(true_one.credential_for(&hash)?.expose()),
                ))
            }
        }
    }

    /// Votes at stations, each station in order, and delivers their queues to all three parties.
    ///
    /// # Errors
    /// A vote that is refused, or a queue that is not delivered.
    pub async fn vote_at_stations(
        &mut self,
        casts: &[Cast],
        mut progress: impl FnMut(usize),
    ) -> Result<(), CrowdError> {
        let mut count = 0;
        for &cast in casts {
            let (Way::Station(id) | Way::Paper(id)) = cast.way else {
                continue;
            };
            let station = self.stations.get_mut(&id).ok_or(CrowdError::NoStation(id))?;
            let (box_id, index) = (BoxId(cast.place.box_id), VoterIndex(cast.place.v));
            let queued = if matches!(cast.way, Way::Paper(_)) {
                station.paper(box_id, index, &mut self.rng).await?
            } else {
                let form = self.election.form(box_id)?;
                let choices = Choices::by_number(&form, &[vec![cast.choice]])?;
                station.vote(box_id, index, choices, &mut self.rng).await?
            };
            let digest = *queued.digest.as_bytes();
            self.done.push(Done {
                cast,
                cast_at_s: queued.cast_at.0,
                digest,
                name: String::new(),
                sequence: queued.sequence,
            });
            count += 1;
            progress(count);
        }
        for (&id, station) in &mut self.stations {
            let drained = station.drain(DRAIN).await?;
            if !drained.is_complete() {
                let pending = station.status().pending;
                return Err(CrowdError::Undelivered {
                    station: id,
                    pending,
                    faults: format!("{drained:?}"),
                });
            }
        }
        Ok(())
    }

    /// Every station's signed closing statement, with a signature on its sheet for each vote.
    ///
    /// # Errors
    /// None of a crowd's.
    pub fn close_stations(&self) -> Result<BTreeMap<u32, String>, CrowdError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = UnixSeconds(now.as_secs());
        let statement = |station: &Station| {
            let of_box = |(of_box, of): &(BoxId, Counts)| BoxSignIns {
                of_box: of_box.get(),
                signed_in: of.all(),
                electronic: of.electronic,
                paper: of.paper,
            };
            station.sign(&SignIns {
                election: self.election.id().clone(),
                manifest: self.election.manifest_hash(),
                station: station.identity().id(),
                officer: "the crowd".to_owned(),
                opened_at: now,
                closed_at: now,
                remark: String::new(),
                boxes: station.status().counts.iter().map(of_box).collect(),
            })
        };
        let stations = self.stations.iter();
        stations
            .map(|(&id, station)| Ok((id, statement(station)?)))
            .collect()
    }
}
