//! What a party answers to the others about logs. Every answer is bounded, and only a few of one peer are worked on at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use futures::stream;
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _};
use tally_proto::log::{ENTRY_BYTES, MAX_PAGE};
use tally_proto::note::{Checkpoint, MAX_NOTE_BYTES};
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::parts::{UNREAD, answered};
use super::{Cosigned, Following};
use crate::elections::Election;
use crate::party::Party;
use crate::rpc::seams::Answers;
use crate::store::{StoreError, elections as rows, log, mirrors, receipts, registers};

/// Entries of a roll in one part.
const ROLL_PART: usize = 256;
/// Receipts looked at in one go.
const RECEIPTS_PART: usize = 1024;

impl Following {
    /// The size of a log that is served and cosigned: it moves at most once in `every`, so that both others cosign the same checkpoint.
    fn publish(&self, election: u32, size: u64, every: Duration) -> u64 {
        let mut published = self
            .published
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (of_size, at) = published.entry(election).or_insert((size, Instant::now()));
        if at.elapsed() >= every {
            (*of_size, *at) = (size, Instant::now());
        }
        *of_size
    }
}

fn place(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(places).try_acquire_owned().ok()
}

fn range(from: u64) -> Refusal {
    Refusal::new(
        Reason::LogRange,
        format_args!("no position {from} is published here"),
    )
}

/// What is served of a log moves on no more rarely than this.
const PUBLISHED_EVERY: Duration = Duration::from_millis(500);

impl Party {
    /// How much of this party's log is shown to anybody, `size` being what is on disk: nobody is shown a checkpoint that the two others cannot have
    /// soon, and nobody sees a log grow by single ballots.
    pub(crate) fn published(&self, number: u32, size: u64) -> u64 {
        let every = (self.mirror_every / 2).min(PUBLISHED_EVERY);
        self.following.publish(number, size, every).min(size)
    }

    /// A place among the few questions of `caller` that are worked on at once. An answer in parts takes it along: see [`answered`].
    pub(crate) fn permit(&self, caller: Role) -> Result<OwnedSemaphorePermit, Refusal> {
        place(&self.following.permits[caller.slot()]).ok_or_else(|| {
            Refusal::new(
                Reason::PartyBusy,
                format_args!("{caller} has {} questions open here", super::AT_ONCE),
            )
        })
    }

    /// A place among the answers of sealing that `caller` reads at once; waited for no longer than a reader may take for a part.
    ///
    /// # Errors
    /// `party.busy`.
    pub(crate) async fn filling(&self, caller: Role) -> Result<OwnedSemaphorePermit, Refusal> {
        let places = Arc::clone(&self.following.filling[caller.slot()]);
        match tokio::time::timeout(UNREAD, places.acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Refusal::new(
                Reason::PartyBusy,
                format_args!("{caller} reads {} answers here", super::FILLED_AT_ONCE),
            )),
        }
    }

    /// Peer.LogHeads.
    ///
    /// # Errors
    /// `party.busy`, or the store.
    pub(crate) async fn log_heads(self: &Arc<Self>, caller: Role) -> Result<wire::LogHeadsReply, Refusal> {
        let _permit = self.permit(caller)?;
        let third = self.role.third(caller).unwrap_or(caller);
        let elections = self.elections_in_force();
        self.blocking(move |party| {
            party.store.read(|tx| {
                let mut heads = Vec::with_capacity(elections.len());
                for election in elections {
                    let number = election.number();
                    let size = log::size(tx, number)?;
                    let cosigned = mirrors::state(tx, number, third)?.size();
                    let people = match election.manifest().open_box() {
                        Some(of_box) => registers::people(tx, number, of_box.id().get())?,
                        None => 0,
                    };
                    heads.push(wire::LogHead {
                        people,
                        election: election.manifest().election().as_str().to_owned(),
                        size: party.published(number, size),
                        cosigned_size: cosigned,
                        open: party.gate.is_open(number),
                    });
                }
                Ok(wire::LogHeadsReply { heads })
            })
        })
        .await
    }

    /// Elections that all parties have countersigned.
    pub(crate) fn elections_in_force(&self) -> Vec<Arc<Election>> {
        let complete = |election: &Arc<Election>| election.signed_manifest().is_complete();
        self.elections.all().into_iter().filter(complete).collect()
    }

    /// Peer.Log: up to [`MAX_PAGE`] entries, under a checkpoint of exactly that length.
    ///
    /// # Errors
    /// `election.unknown`, `log.range`, `party.busy`, or the store.
    pub(crate) async fn log_page(
        self: &Arc<Self>,
        caller: Role,
        of: wire::LogRequest,
    ) -> Result<wire::LogPage, Refusal> {
        let _permit = self.permit(caller)?;
        let election = self.elections.get(&of.election)?.in_force()?;
        self.blocking(move |party| {
            let number = election.number();
            let (page, at) = party.store.read(|tx| {
                let size = log::size(tx, number)?;
                let published = party.published(number, size);
                // Nor is there a note of what is not published.
                if of.from > published {
                    return Ok((Vec::new(), (of.from, None)));
                }
                let left = usize::try_from(published.saturating_sub(of.from)).unwrap_or(usize::MAX);
                let most = left.min(MAX_PAGE).min(of.most as usize);
                let entries = log::entries(tx, number, of.from, most)?;
                let end = of.from.saturating_add((entries.len() / ENTRY_BYTES) as u64);
                Ok::<_, StoreError>((entries, (end, log::root(tx, number, end)?)))
            })?;
            let (size, Some(root)) = at else {
                return Err(range(of.from));
            };
            let checkpoint = Checkpoint {
                election: election.manifest().election().clone(),
                party: party.role,
                size,
                root,
            };
            Ok(wire::LogPage {
                entries: page.into(),
                note: checkpoint.sign(&party.signer),
            })
        })
        .await
    }

    /// Peer.Mirror: the caller's own log as it is mirrored here.
    ///
    /// # Errors
    /// As [`Party::log_page`].
    pub(crate) async fn mirror_page(
        self: &Arc<Self>,
        caller: Role,
        of: wire::LogRequest,
    ) -> Result<wire::LogPage, Refusal> {
        let _permit = self.permit(caller)?;
        let election = self.elections.get(&of.election)?;
        self.blocking(move |party| {
            let page = party
                .store
                .read(|tx| mirrors::page(tx, election.number(), caller, of.from))?;
            let page = page.ok_or_else(|| range(of.from))?;
            Ok(wire::LogPage {
                entries: page.entries.into(),
                note: page.note,
            })
        })
        .await
    }

    /// Peer.Cosigned: the third party's checkpoint under which it is mirrored here.
    ///
    /// # Errors
    /// As [`Party::log_page`].
    pub(crate) async fn cosigned_of_third(
        self: &Arc<Self>,
        caller: Role,
        election: String,
    ) -> Result<wire::CheckpointReply, Refusal> {
        let _permit = self.permit(caller)?;
        let third = self.role.third(caller).unwrap_or(caller);
        let election = self.elections.get(&election)?;
        self.blocking(move |party| {
            let note = party
                .store
                .read(|tx| mirrors::note(tx, election.number(), third))?;
            Ok(wire::CheckpointReply {
                note: note.unwrap_or_default(),
                cosigned: String::new(),
            })
        })
        .await
    }

    /// Intake.Mirrored: another party's checkpoint under which it is mirrored here; empty where nothing is.
    ///
    /// # Errors
    /// `message.malformed`: no other party's number; `election.unknown`; the store.
    pub(crate) async fn mirrored_of(
        self: &Arc<Self>,
        election: String,
        party: u32,
    ) -> Result<String, Refusal> {
        let of = Role::from_number(party).ok().filter(|of| *of != self.role);
        let of = of.ok_or_else(|| {
            Refusal::new(
                Reason::MessageMalformed,
                format_args!("{party} is the number of no other party"),
            )
        })?;
        let election = self.elections.get(&election)?;
        self.blocking(move |party| {
            let note = party.store.read(|tx| mirrors::note(tx, election.number(), of))?;
            Ok(note.unwrap_or_default())
        })
        .await
    }

    /// Peer.Cosign: takes the caller's cosignature of this party's own checkpoint.
    ///
    /// # Errors
    /// `log.cosignature`: not one of this party's checkpoints, or not cosigned by the caller; `election.unknown`; the store.
    pub(crate) async fn take_cosignature(
        self: &Arc<Self>,
        caller: Role,
        of: wire::CosignRequest,
    ) -> Result<(), Refusal> {
        let _permit = self.permit(caller)?;
        let refused =
            |what: &str| Refusal::new(Reason::LogCosignature, format_args!("cosigned note: {what}"));
        if of.note.len() > MAX_NOTE_BYTES {
            return Err(refused("it is too long"));
        }
        let (stated, _) =
            Checkpoint::parse(of.note.as_bytes()).map_err(|error| refused(&error.to_string()))?;
        let election = self.elections.get(stated.election.as_str())?.in_force()?;
        let keys = election.manifest().party_keys();
        let (checkpoint, cosignatures) =
            Checkpoint::open_cosigned(of.note.as_bytes(), &stated.election, self.role, &keys)
                .map_err(|error| refused(&error.to_string()))?;
        let Some(cosignature) = cosignatures.into_iter().find(|of| of.by == caller) else {
            return Err(refused("it bears no cosignature of its bearer that verifies"));
        };
        self.blocking(move |party| {
            let number = election.number();
            let own = party.store.read(|tx| log::root(tx, number, checkpoint.size))?;
            if own != Some(checkpoint.root) {
                return Err(Refusal::new(
                    Reason::LogCosignature,
                    format_args!(
                        "the log here has not had that root at {} entries",
                        checkpoint.size
                    ),
                ));
            }
            let cosigned = Cosigned {
                size: checkpoint.size,
                line: cosignature.line,
                note: checkpoint.sign(&party.signer),
            };
            party.following.keep_cosigned(number, caller, cosigned);
            Ok(())
        })
        .await
    }

    /// The newest checkpoint of this party's log that others have cosigned, with their lines; empty: none.
    pub(crate) fn cosigned_checkpoint(&self, election: u32) -> String {
        let [one, other] = self.others();
        let (one, other) = (
            self.following.cosigned(election, one),
            self.following.cosigned(election, other),
        );
        match (one, other) {
            (Some(one), Some(other)) if one.size == other.size => {
                format!("{}{}{}", one.note, one.line, other.line)
            }
            (Some(one), Some(other)) if one.size < other.size => other.note + &other.line,
            (Some(one), _) => one.note + &one.line,
            (None, Some(other)) => other.note + &other.line,
            (None, None) => String::new(),
        }
    }

    /// Peer.Recall: what this party knows of the caller's logs.
    ///
    /// # Errors
    /// `party.busy`, or the store.
    pub(crate) async fn recall(self: &Arc<Self>, caller: Role) -> Result<wire::RecallReply, Refusal> {
        let _permit = self.permit(caller)?;
        let elections = self.elections_in_force();
        let (seen, sizes) = self
            .following
            .heard(caller, |heard| (heard.open_at_ms.clone(), heard.sizes.clone()));
        self.blocking(move |party| {
            let logs = party.store.read(|tx| {
                let mut logs = Vec::with_capacity(elections.len());
                for election in elections {
                    let number = election.number();
                    let size = mirrors::state(tx, number, caller)?.size();
                    let said = sizes.get(&number).copied().unwrap_or_default();
                    let receipted = receipts::top(tx, number, caller.index())?;
                    logs.push(wire::Recalled {
                        election: election.manifest().election().as_str().to_owned(),
                        size,
                        receipted_size: receipted,
                        current: size >= said,
                        seen_at_ms: seen.get(&number).copied().unwrap_or_default(),
                        note: mirrors::note(tx, number, caller)?.unwrap_or_default(),
                    });
                }
                Ok::<_, StoreError>(logs)
            })?;
            Ok(wire::RecallReply {
                watching_since_ms: party.following.since_ms,
                logs,
            })
        })
        .await
    }

    /// Peer.Receipts: the caller's receipts that are held here, for positions from `from` on.
    ///
    /// # Errors
    /// As [`Party::log_page`].
    pub(crate) async fn receipts_of(
        self: &Arc<Self>,
        caller: Role,
        of: wire::ReceiptsRequest,
    ) -> Result<Answers<wire::Receipt>, Refusal> {
        let place = self.permit(caller)?;
        let election = self.elections.get(&of.election)?;
        let (party, number, from) = (Arc::clone(self), election.number(), of.from);
        // In the order of this party's own log: no index is kept for what is asked for after a loss only.
        let parts = stream::try_unfold(0u64, move |at| {
            let party = Arc::clone(&party);
            async move {
                let found = party
                    .blocking(move |party| {
                        Ok(party
                            .store
                            .read(|tx| receipts::of_party(tx, number, caller.index(), at, RECEIPTS_PART))?)
                    })
                    .await?;
                let Some((last, _)) = found.last() else {
                    return Ok(None);
                };
                let next = last.saturating_add(1);
                let named = found
                    .iter()
                    .filter_map(|(_, bytes)| Receipt::decode(bytes).ok())
                    .filter(|receipt| receipt.unverified().position >= from);
                let part: Vec<_> = named.map(|receipt| Ok(receipt.to_wire())).collect();
                Ok::<_, Status>(Some((stream::iter(part), next)))
            }
        });
        Ok(answered(parts.try_flatten(), place, UNREAD))
    }

    /// Peer.Roll: a box's roll, in parts.
    ///
    /// # Errors
    /// As [`Party::log_page`]; `box.unknown`.
    pub(crate) async fn roll_of(
        self: &Arc<Self>,
        caller: Role,
        of: wire::BoxRef,
    ) -> Result<Answers<wire::RollPart>, Refusal> {
        let place = place(&self.following.rolls[caller.slot()]).ok_or_else(|| {
            Refusal::new(
                Reason::PartyBusy,
                format_args!("{caller} reads a roll here already"),
            )
        })?;
        let election = self.elections.get(&of.election)?.in_force()?;
        election.ballot_box(BoxId(of.r#box))?;
        let number = election.number();
        let (persons, salt) = self
            .blocking(move |party| {
                Ok(party.store.read(|tx| {
                    let persons = registers::persons_of_box(tx, number, of.r#box)?;
                    Ok::<_, StoreError>((Arc::new(persons), registers::salt(tx, number)?))
                })?)
            })
            .await?;
        let party = Arc::clone(self);
        let parts = stream::try_unfold(Some(0u32), move |from| {
            let (party, persons) = (Arc::clone(&party), Arc::clone(&persons));
            async move {
                let Some(from) = from else { return Ok(None) };
                let rows = party
                    .blocking(move |party| {
                        Ok(party
                            .store
                            .read(|tx| rows::roll_part(tx, number, of.r#box, from, ROLL_PART))?)
                    })
                    .await?;
                // Of an open roll the salt alone.
                if rows.is_empty() && from > 0 {
                    return Ok(None);
                }
                let next = (rows.last()).and_then(|(v, ..)| v.checked_add(1));
                let entry = |(v, online, reference): (u32, bool, String)| wire::RollEntry {
                    v,
                    reference,
                    online,
                    persons: registers::codes_of(&persons, v)
                        .map(|code| code.0.to_vec())
                        .collect(),
                };
                let part = wire::RollPart {
                    r#box: of.r#box,
                    entries: rows.into_iter().map(entry).collect(),
                    salt: salt.map_or_else(Vec::new, |salt| salt.to_vec()),
                };
                Ok::<_, Status>(Some((part, next)))
            }
        });
        Ok(answered(parts, place, UNREAD))
    }
}

/// The root and size in a note of `party`'s log with its own signature.
pub(super) fn open_note(
    note: &str,
    election: &ElectionId,
    party: Role,
    keys: &[tally_proto::envelope::PublicKey; 3],
) -> Option<(u64, Hash32)> {
    Checkpoint::open(note.as_bytes(), election, party, &keys[party.slot()])
        .ok()
        .map(|checkpoint| (checkpoint.size, checkpoint.root))
}
