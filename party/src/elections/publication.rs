//! Taking a manifest and its rolls: in many transactions, so that ballots are accepted in between, and all or nothing for whoever reads.
//!
//! ```text
//! begin     a number that nobody finds an election under
//! write     rolls and persons under it, so many rows a transaction; between two of them this party rests as long as it worked
//! publish   one row: from now on the election's id is this number
//! sweep     what was there before, and what makes room, so many rows a transaction
//! ```
//!
//! What a publication leaves behind that never ends (refused at its end, the caller went away, a crash) is swept at the next one, and when the
//! party starts.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tally_proto::card::Salt;
use tally_proto::ids::{BoxId, Hash32};
use tally_proto::manifest::{Register, SignedManifest};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::roll::Roll;
use tokio::sync::OwnedSemaphorePermit;

use super::{Election, check_identities, order_refused};
use crate::party::Party;
use crate::store::{StoreError, elections as rows, registers};

/// Bytes of a roll's entry beside its reference, and of a person's code, roughly as they are stored.
const ENTRY_BYTES: u64 = 24;
const PERSON_BYTES: u64 = 56;
/// Rows of one transaction: a few milliseconds of work, a megabyte or two.
const ROWS: usize = 4096;

/// A publication that holds.
#[derive(Debug)]
struct Publication {
    manifest: SignedManifest,
    rolls: BTreeMap<BoxId, Roll>,
    /// Code, box and number, by code.
    persons: Vec<(Hash32, u32, u32)>,
    salt: Option<Salt>,
    encoded: Vec<u8>,
    bytes: u64,
}

/// Rows of one transaction.
#[derive(Debug)]
enum Part {
    Rolls(Vec<(BoxId, Range<usize>)>),
    Persons(Range<usize>),
}

impl Party {
    /// Takes a manifest and its rolls from the coordinator. The same manifest again is fine and changes nothing. Of what this party has not
    /// countersigned the oldest are forgotten when there are too many: a manifest is no promise, and nobody may fill this party's disk with them.
    ///
    /// # Errors
    /// Not the configured coordinator or parties (`manifest.other`), a roll that does not match, another manifest of an election that this
    /// party has countersigned, too little room (`store.full`), or the store.
    pub async fn publish(
        self: &Arc<Self>,
        manifest: SignedManifest,
        rolls: BTreeMap<BoxId, Roll>,
        salt: Option<Salt>,
    ) -> Result<Hash32, Refusal> {
        self.publish_in_turn(manifest, rolls, salt, None).await
    }

    /// The same; `turn` is given back when nothing of it is held in memory any more.
    ///
    /// # Errors
    /// As [`Party::publish`].
    pub(crate) async fn publish_in_turn(
        self: &Arc<Self>,
        manifest: SignedManifest,
        rolls: BTreeMap<BoxId, Roll>,
        salt: Option<Salt>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Hash32, Refusal> {
        let party = Arc::clone(self);
        // It goes on when the caller goes away: nobody may sweep in the midst of what is being written.
        let published = tokio::spawn(async move {
            let _turn = turn;
            party.publish_one(manifest, rolls, salt).await
        });
        published.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a publication ended by a fault of this program");
            let detail = "the publication ended by a fault of this program; its log tells more";
            Err(Refusal::new(Reason::Internal, detail))
        })
    }

    async fn publish_one(
        self: &Arc<Self>,
        manifest: SignedManifest,
        rolls: BTreeMap<BoxId, Roll>,
        salt: Option<Salt>,
    ) -> Result<Hash32, Refusal> {
        let _one = self.elections.publishing.lock().await;
        self.sweep_unseen().await?;
        let hash = manifest.hash();
        let checked = self.blocking(move |party| {
            if party.is_published(&manifest)? {
                return Ok(None);
            }
            Publication::new(manifest, rolls, salt).map(Some)
        });
        let Some(publication) = checked.await? else {
            return Ok(hash);
        };
        let publication = Arc::new(publication);
        let of = Arc::clone(&publication);
        let begun = self.blocking(move |party| {
            party.check_room_for(&of)?;
            let id = of.manifest.manifest().election().as_str();
            Ok(party.store.write(|tx| rows::begin(tx, id))?)
        });
        let number = begun.await?;
        for part in publication.parts() {
            let (began, of) = (Instant::now(), Arc::clone(&publication));
            self.blocking(move |party| Ok(party.store.write(|tx| of.write(tx, number, &part))?))
                .await?;
            self.rest(began.elapsed()).await?;
        }
        self.blocking(move |party| party.show_published(&publication, number))
            .await?;
        self.sweep_unseen().await?;
        Ok(hash)
    }

    /// Whether this very manifest is known.
    ///
    /// # Errors
    /// Not the configured coordinator or parties, or this party has countersigned another manifest of the election.
    pub(crate) fn is_published(&self, manifest: &SignedManifest) -> Result<bool, Refusal> {
        check_identities(manifest, &self.identities)?;
        let id = manifest.manifest().election();
        let Ok(known) = self.elections.get(id.as_str()) else {
            return Ok(false);
        };
        if known.signed_manifest().hash() == manifest.hash() {
            return Ok(true);
        }
        if known.signed_manifest().is_countersigned_by(self.role) {
            return Err(Refusal::new(
                Reason::ManifestOther,
                format_args!(
                    "election {id} has the manifest {} here, countersigned by this party; define a new election",
                    known.signed_manifest().hash().short()
                ),
            ));
        }
        Ok(false)
    }

    fn check_room_for(&self, publication: &Publication) -> Result<(), Refusal> {
        let (bytes, reserve) = (publication.bytes, self.elections.drafts.reserve_bytes);
        let needed = reserve.saturating_mul(2).saturating_add(bytes);
        let Some(free) = self.store.room().filter(|free| *free < needed) else {
            return Ok(());
        };
        Err(Refusal::new(
            Reason::StoreFull,
            format_args!(
                "{} MiB are free: an election of {} MiB would leave less than twice the {} MiB of intake.disk_reserve_mib",
                free >> 20,
                bytes >> 20,
                reserve >> 20
            ),
        ))
    }

    /// All of its rows are there: from now on everybody finds it.
    fn show_published(&self, publication: &Publication, number: u32) -> Result<(), Refusal> {
        let elections = &self.elections;
        let _changing = elections.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // Meanwhile the operator may have countersigned the one before.
        self.is_published(&publication.manifest)?;
        let Publication { manifest, bytes, .. } = publication;
        let id = manifest.manifest().election();
        let shown = Election::new(number, manifest.clone(), Vec::new()).map_err(order_refused)?;
        let forgotten = self.store.write(|tx| {
            let forgotten = elections.to_forget(tx, self.role, id.as_str(), *bytes)?;
            for (id, number) in &forgotten {
                rows::forget(tx, id, *number)?;
            }
            rows::publish(tx, id.as_str(), number, &publication.encoded, *bytes)?;
            Ok::<_, StoreError>(forgotten)
        })?;
        for (id, _) in forgotten {
            tracing::warn!(election = %id, "an election that this party has not countersigned is forgotten: newer ones take its room");
            let mut known = elections.known.write().unwrap_or_else(PoisonError::into_inner);
            known.remove(&id);
        }
        elections.show(shown);
        tracing::info!(election = %id, manifest = %manifest.hash().short(), "manifest published");
        Ok(())
    }

    /// Takes away what publications left behind that never ended, once, when the party starts.
    pub(crate) async fn sweep_publications(self: Arc<Self>) {
        let _one = self.elections.publishing.lock().await;
        if let Err(refusal) = self.sweep_unseen().await {
            tracing::warn!(%refusal, "what publications left behind is not swept yet");
        }
    }

    /// Takes away every row that nobody finds. The caller holds `publishing`.
    async fn sweep_unseen(self: &Arc<Self>) -> Result<(), Refusal> {
        while !self
            .blocking(|party| Ok(party.store.read(rows::is_swept)?))
            .await?
        {
            let began = Instant::now();
            self.blocking(|party| Ok(party.store.write(|tx| rows::sweep(tx, ROWS))?))
                .await?;
            self.rest(began.elapsed()).await?;
        }
        Ok(())
    }

    /// Leaves the disk to voters for as long as it was taken from them.
    async fn rest(&self, worked: Duration) -> Result<(), Refusal> {
        tokio::select! {
            () = tokio::time::sleep(worked) => Ok(()),
            () = self.stopping() => Err(Refusal::new(
                Reason::PartyShuttingDown,
                "the party is stopping; publish again when it is back",
            )),
        }
    }
}

impl Publication {
    /// Checks the rolls against the manifest.
    fn new(
        manifest: SignedManifest,
        rolls: BTreeMap<BoxId, Roll>,
        salt: Option<Salt>,
    ) -> Result<Publication, Refusal> {
        for of_box in manifest.manifest().boxes() {
            // An open roll begins empty.
            if of_box.open().is_some() && !rolls.contains_key(&of_box.id()) {
                continue;
            }
            let roll = rolls.get(&of_box.id()).ok_or_else(|| {
                Refusal::new(
                    Reason::RollMismatch,
                    format_args!("the roll of box {} was not sent", of_box.id()),
                )
            })?;
            roll.check_box(of_box).map_err(|error| {
                Refusal::new(error.reason(), format_args!("box {}: {error}", of_box.id()))
            })?;
        }
        if let Some(foreign) = rolls
            .keys()
            .find(|id| manifest.manifest().ballot_box(**id).is_none())
        {
            return Err(Refusal::new(
                Reason::BoxUnknown,
                format_args!("a roll was sent for box {foreign}, which the manifest lacks"),
            ));
        }
        let salt_states = salt.map(|salt| salt.hash());
        if salt_states != manifest.manifest().register().map(Register::salt_hash) {
            return Err(Refusal::new(
                Reason::RollMismatch,
                "the salt of the roll's person codes is not the one that the manifest states",
            ));
        }
        // Signatures of parties come by countersigning and completing, not with the publication.
        let encoded = manifest.envelope().encode();
        let entries = rolls.values().flat_map(Roll::entries);
        let bytes = entries.fold(encoded.len() as u64, |bytes, entry| {
            let persons = entry.persons.len() as u64 * PERSON_BYTES;
            bytes + entry.reference.len() as u64 + ENTRY_BYTES + persons
        });
        Ok(Publication {
            persons: persons_of(&rolls)?,
            manifest,
            rolls,
            salt,
            encoded,
            bytes,
        })
    }

    /// What is to be written, in parts of at most [`ROWS`] rows.
    fn parts(&self) -> Vec<Part> {
        let (mut parts, mut part, mut room) = (Vec::new(), Vec::new(), ROWS);
        for (id, roll) in &self.rolls {
            let (mut from, end) = (0, roll.entries().len());
            while from < end {
                let to = end.min(from + room);
                part.push((*id, from..to));
                room -= to - from;
                from = to;
                if room == 0 {
                    parts.push(Part::Rolls(std::mem::take(&mut part)));
                    room = ROWS;
                }
            }
        }
        parts.push(Part::Rolls(part));
        let persons = (0..self.persons.len()).step_by(ROWS);
        parts.extend(persons.map(|from| Part::Persons(from..self.persons.len().min(from + ROWS))));
        parts
    }

    fn write(&self, tx: &crate::store::WriteTx, number: u32, part: &Part) -> Result<(), StoreError> {
        match part {
            Part::Rolls(part) => {
                for (id, range) in part {
                    let Some(entries) = self.rolls.get(id).map(|roll| &roll.entries()[range.clone()]) else {
                        continue;
                    };
                    let from = u32::try_from(range.start).unwrap_or(u32::MAX);
                    let entries = entries
                        .iter()
                        .map(|entry| (entry.online, entry.reference.as_str()));
                    rows::put_roll(tx, number, id.get(), from, entries)?;
                }
                match &self.salt {
                    Some(salt) => registers::put_salt(tx, number, &salt.0),
                    None => Ok(()),
                }
            }
            Part::Persons(range) => {
                registers::put_persons(tx, number, self.persons[range.clone()].iter().copied())
            }
        }
    }
}

/// Everybody on the rolls, by code; each once.
fn persons_of(rolls: &BTreeMap<BoxId, Roll>) -> Result<Vec<(Hash32, u32, u32)>, Refusal> {
    let mut persons = Vec::new();
    for (of_box, roll) in rolls {
        for (v, entry) in (0u32..).zip(roll.entries()) {
            persons.extend(entry.persons.iter().map(|person| (*person, of_box.get(), v)));
        }
    }
    persons.sort_unstable_by_key(|(person, of_box, v)| (person.0, *of_box, *v));
    match persons.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok(persons),
        Some(pair) => Err(Refusal::new(
            Reason::RollDuplicate,
            format_args!(
                "voter {} of box {} is a person who is on the roll of another box too",
                pair[1].2, pair[1].1
            ),
        )),
    }
}
