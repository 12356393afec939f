//! Issuing: draw a credential, write its invitation, seal its shares to the three parties, sign, hand over, collect three
//! receipts.
//!
//! Order of durability, batch by batch: the invitations first, then the sealed records in the outbox, then the parties. So after a
//! crash at any point every record that a party may hold has its invitation, exactly the same records are handed over again, and
//! nobody's credential was kept anywhere but in the invitation file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use rand_core::CryptoRng;
use tally_proto::ids::{BoxId, Role, UnixSeconds, VoterIndex};
use tally_proto::invitation::{self, Credential, Invitation, Letter, Part};
use tally_proto::manifest::{Manifest, SignedManifest};
use tally_proto::order::{Change, FIRST_SERIAL, SignedOrder};
use tally_proto::record::{Half, Issue, RecordHeader, RecordParts, Source, authorise};
use tally_proto::shares::{ShareContext, split_credential_openings};
use tally_proto::ticket::DrawCode;
use tally_proto::wire;
use tokio::sync::mpsc;

use super::Registrar;
use super::hand_over::hand_over;
use super::invitations::{Invitations, Lines, part_of};
use super::outbox::Outbox;
use crate::error::{Error, StoredProblem};
use crate::files;
use crate::parties::{Parties, Patience};
use crate::progress::{Progress, Step};
use crate::roll::RollFile;
use crate::tickets::HASHES_HEADER;

/// Credentials made, written and handed over together.
const BATCH: usize = 1024;

/// One batch as it stands in the outbox: nothing in it is secret.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Batch {
    /// Length of the invitation file with this batch's lines.
    #[prost(uint64, tag = "1")]
    invitations: u64,
    #[prost(message, repeated, tag = "2")]
    pub(super) records: Vec<SealedRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SealedRecord {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<wire::RecordHeader>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) authorisation: Vec<u8>,
    /// P1's, P2's, P3's.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub(super) ciphertexts: Vec<bytes::Bytes>,
    /// Of the voter's draw code, where this registrar gives one.
    #[prost(bytes = "vec", tag = "4")]
    draw_hash: Vec<u8>,
}

/// A batch with its invitations, before anything is written.
struct Made {
    lines: Lines,
    records: Vec<SealedRecord>,
}

/// What was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Where the invitations are.
    pub invitations: PathBuf,
    /// How many.
    pub credentials: u64,
    /// How many of them an earlier run had already handed over.
    pub kept: u64,
    /// Which half of each credential this registrar issued, of how many.
    pub half: Half,
    /// Where the hashes of the draw codes are, for the coordinator: from the first registrar of an election with tickets.
    pub draw_hashes: Option<PathBuf>,
}

/// Who is to get a credential.
#[derive(Debug, Clone)]
struct Recipient {
    of_box: BoxId,
    voter: VoterIndex,
    reference: String,
    /// Of the record: above the first only by an order.
    serial: u32,
}

/// What a registrar is to issue.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The election.
    pub manifest: &'a SignedManifest,
    /// The roll it was defined with.
    pub roll: &'a RollFile,
    /// Lets one voter's credential be issued again, with the serial that it allows: what the voter had before does not count from then on. Where issuing
    /// is split, one registrar's new half is enough: it makes another credential of the other's. `None`: a credential for every voter with `online`.
    pub order: Option<&'a SignedOrder>,
    /// Where the invitations go.
    pub out: &'a Path,
}

/// Issues credentials; goes on where an interrupted run stopped. Everybody's are issued once, and one by each order.
///
/// # Errors
/// A manifest that is not in force, does not name this registrar or is not the roll's; an order that lets nothing be issued again, or that a party has
/// not countersigned; [`Error::RecordRefused`]; [`Error::Parties`] for parties that do not answer for as long as patience lasts (run it again to go on).
pub async fn issue(
    registrar: Arc<Registrar>,
    task: Task<'_>,
    now_s: u64,
    rng: impl CryptoRng + Send + 'static,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<Issued, Error> {
    let Task {
        manifest,
        roll,
        order,
        out,
    } = task;
    let half = half_of(&registrar, manifest)?;
    let mut directory = registrar.issuing(manifest.manifest().election());
    let recipients = Arc::new(match order {
        None => recipients(manifest.manifest(), roll)?,
        Some(order) => {
            // An order's number is never another order's.
            directory.push(format!("order-{}", order.order().number));
            vec![recipient_of(manifest.manifest(), roll, order)?]
        }
    });
    let leaf = registrar.leaf()?;
    let parties = Parties::dial(manifest.manifest().parties(), &leaf)?;
    let mut desk = Desk::open(&directory, manifest, out, &recipients)?;

    let total = recipients.len() as u64;
    let scope = format!("issue {}", manifest.manifest().election());
    let report = |phase: &str, done: u64| {
        progress.report(Step {
            scope: &scope,
            phase,
            done,
            total,
            unit: "credentials",
        });
    };
    let kept = desk.delivered_records;
    for batch in std::mem::take(&mut desk.undelivered) {
        report("handing over again", desk.delivered_records);
        hand_over(&parties, manifest.manifest(), &batch, patience, progress).await?;
        desk.delivered(batch.records.len())?;
    }

    // Sealing takes as long as handing over: the next batch is made meanwhile.
    let (made, mut to_deliver) = mpsc::channel(1);
    let maker = Maker {
        registrar: Arc::clone(&registrar),
        manifest: manifest.clone(),
        recipients: Arc::clone(&recipients),
        half,
        signed_at: UnixSeconds(now_s),
    };
    let from = desk.recorded;
    let making = tokio::task::spawn_blocking(move || maker.run(from, rng, &made));
    while let Some(batch) = to_deliver.recv().await {
        let batch = desk.record(batch?)?;
        hand_over(&parties, manifest.manifest(), &batch, patience, progress).await?;
        desk.delivered(batch.records.len())?;
        report("issuing", desk.delivered_records);
    }
    // A maker that panicked leaves a gap in the roll: never finish then.
    if making.await.is_err() || desk.delivered_records != total {
        return Err(desk.damaged());
    }
    let gives = gives_draw_codes(manifest.manifest(), half);
    let draw_hashes = gives.then(|| desk.write_draw_hashes()).transpose()?;
    let invitations = desk.finish(out)?;
    progress.finish(&scope);
    Ok(Issued {
        invitations,
        credentials: total,
        kept,
        half,
        draw_hashes,
    })
}
/// To whom an order lets a credential be issued again.
fn recipient_of(manifest: &Manifest, roll: &RollFile, order: &SignedOrder) -> Result<Recipient, Error> {
    let number = order.order().number;
    if !order.is_complete() {
        let missing: Vec<&str> = Role::ALL
            .into_iter()
            .filter(|role| !order.is_countersigned_by(*role))
            .map(|role| manifest.party(role).agency())
            .collect();
        return Err(Error::NotCountersigned {
            object: format!("order {number}"),
            missing: missing.join(", "),
        });
    }
    let reissue = match &order.order().change {
        Change::Reissue(reissue) if reissue.serial > FIRST_SERIAL => *reissue,
        _ => return Err(Error::NotReissue { number }),
    };
    let (of_box, voter) = (reissue.of_box, reissue.voter);
    let entry = roll
        .check(manifest)?
        .into_iter()
        .find(|(id, _)| *id == of_box)
        .and_then(|(_, roll)| roll.entries().get(voter.get() as usize).cloned());
    match entry {
        Some(entry) if entry.online => Ok(Recipient {
            of_box,
            voter,
            reference: entry.reference,
            serial: reissue.serial,
        }),
        _ => Err(Error::StationOnly { of_box, voter }),
    }
}

/// Which half this registrar issues.
fn half_of(registrar: &Registrar, manifest: &SignedManifest) -> Result<Half, Error> {
    let checked = manifest.manifest();
    if !manifest.is_complete() {
        let missing: Vec<&str> = manifest
            .missing()
            .map(|role| checked.party(role).agency())
            .collect();
        return Err(Error::NotCountersigned {
            object: "the manifest".to_owned(),
            missing: missing.join(", "),
        });
    }
    let key = registrar.identity().signing_key();
    let place = (0..)
        .zip(checked.registrars())
        .find(|(_, r)| r.signing_key() == key);
    match place {
        Some((half, _)) => Ok(Half::new(half, checked.halves())?),
        None => Err(Error::NotRegistrar {
            election: checked.election().clone(),
            known: checked.registrars().iter().map(|r| r.name().to_owned()).collect(),
        }),
    }
}

fn recipients(manifest: &Manifest, roll: &RollFile) -> Result<Vec<Recipient>, Error> {
    let mut all = Vec::new();
    for (of_box, roll) in roll.check(manifest)? {
        for (v, entry) in (0..).zip(roll.entries()).filter(|(_, entry)| entry.online) {
            all.push(Recipient {
                of_box,
                voter: VoterIndex(v),
                reference: entry.reference.clone(),
                serial: FIRST_SERIAL,
            });
        }
    }
    Ok(all)
}

/// Makes batches on a thread of its own.
struct Maker {
    registrar: Arc<Registrar>,
    manifest: SignedManifest,
    recipients: Arc<Vec<Recipient>>,
    half: Half,
    signed_at: UnixSeconds,
}

impl Maker {
    fn run(&self, from: usize, mut rng: impl CryptoRng, made: &mpsc::Sender<Result<Made, Error>>) {
        for recipients in self.recipients.get(from..).unwrap_or(&[]).chunks(BATCH) {
            let batch = self.batch(recipients, &mut rng);
            let failed = batch.is_err();
            // Nobody listens any more: issuing has stopped, and what was made is erased.
            if made.blocking_send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn batch(&self, recipients: &[Recipient], rng: &mut impl CryptoRng) -> Result<Made, Error> {
        let mut lines = Lines::default();
        let mut records = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            let credential = Credential::generate(rng);
            let mut record = self.seal(recipient, &credential, rng)?;
            let (of_box, voter) = (recipient.of_box, recipient.voter);
            let manifest = self.manifest.hash();
            let part = if self.half.number() > 0 {
                Part::Message(invitation::Message::new(&manifest, of_box, voter, credential))
            } else {
                let mut invitation = Invitation::new(&manifest, of_box, voter, credential);
                if gives_draw_codes(self.manifest.manifest(), self.half) {
                    let code = DrawCode::generate(rng);
                    record.draw_hash = code.hash(&manifest, of_box, voter).0.to_vec();
                    invitation = invitation.with_draw(code);
                }
                match self.half.is_whole() {
                    true => Part::Whole(invitation),
                    false => Part::Letter(Letter::new(invitation)),
                }
            };
            records.push(record);
            lines.push(&recipient.reference, &part.to_code(), &part.to_link());
        }
        Ok(Made { lines, records })
    }

    fn seal(
        &self,
        recipient: &Recipient,
        credential: &Credential,
        rng: &mut impl CryptoRng,
    ) -> Result<SealedRecord, Error> {
        let manifest = self.manifest.manifest();
        let openings = split_credential_openings(credential.expose(), rng);
        let context = ShareContext::credential(manifest.election(), recipient.of_box);
        let header = RecordHeader::new(RecordParts {
            source: Source::Issued(Issue {
                election: manifest.election().clone(),
                of_box: recipient.of_box,
                voter: recipient.voter,
                half: self.half,
                registrar: self.registrar.identity().signing_key(),
            }),
            serial: recipient.serial,
            signed_at: self.signed_at,
            commitments: context.commit_all(&openings),
        });
        let digest = header.digest();
        let mut ciphertexts = Vec::with_capacity(3);
        for role in Role::ALL {
            let key = manifest.party(role).sealing_key();
            let sealed = context
                .seal(role, key, &digest, &openings, rng)
                .map_err(|source| Error::Share {
                    of_box: recipient.of_box,
                    voter: recipient.voter,
                    source,
                })?;
            ciphertexts.push(sealed.into());
        }
        Ok(SealedRecord {
            header: Some(header.to_wire()),
            authorisation: authorise(self.registrar.signer(), &digest).0.to_vec(),
            ciphertexts,
            draw_hash: Vec::new(),
        })
    }
}

/// The first registrar gives the draw codes: one voter, one code, whatever is split.
fn gives_draw_codes(manifest: &Manifest, half: Half) -> bool {
    manifest.ticketing().is_some() && half.number() == 0
}

/// Everything of one election's issuing that is on disk.
struct Desk {
    directory: PathBuf,
    outbox: Outbox,
    invitations: Option<Invitations>,
    /// Records in the outbox.
    recorded: usize,
    /// Batches that all three parties have accepted.
    delivered_batches: u64,
    delivered_records: u64,
    undelivered: Vec<Batch>,
}

impl Desk {
    fn open(
        directory: &Path,
        manifest: &SignedManifest,
        out: &Path,
        recipients: &[Recipient],
    ) -> Result<Self, Error> {
        files::directory(directory)?;
        let damaged = || Error::Stored {
            path: directory.to_path_buf(),
            problem: StoredProblem::Damaged,
        };
        bind(directory, manifest)?;
        if directory.join("done").exists() {
            return Err(Error::AlreadyIssued {
                election: manifest.manifest().election().clone(),
            });
        }
        let counter = directory.join("delivered");
        let delivered_batches = match counter.exists() {
            true => files::read_text(&counter)?
                .trim()
                .parse::<u64>()
                .map_err(|_| damaged())?,
            false => 0,
        };
        let (mut recorded, mut delivered_records, mut batches) = (0, 0, 0);
        let mut length = None;
        let mut undelivered = Vec::new();
        let outbox = Outbox::open(&directory.join("outbox"), |bytes| {
            let batch = Batch::decode(&*bytes).map_err(|_| damaged())?;
            let due = recipients
                .get(recorded..recorded + batch.records.len())
                .ok_or_else(damaged)?;
            if !due
                .iter()
                .zip(&batch.records)
                .all(|(r, record)| is_for(r, record))
            {
                return Err(damaged());
            }
            recorded += batch.records.len();
            length = Some(batch.invitations);
            batches += 1;
            if batches <= delivered_batches {
                delivered_records += batch.records.len() as u64;
            } else {
                undelivered.push(batch);
            }
            Ok::<(), Error>(())
        })?;
        if batches < delivered_batches {
            return Err(damaged());
        }
        let part = part_of(out).exists();
        let invitations = match (length, part) {
            (Some(_), false) if out.exists() && undelivered.is_empty() && recorded == recipients.len() => {
                None
            }
            (Some(length), _) => Some(Invitations::resume(out, length)?),
            (None, true) => Some(Invitations::resume(out, Invitations::EMPTY)?),
            (None, false) => Some(Invitations::create(out)?),
        };
        let directory = directory.to_path_buf();
        Ok(Self {
            directory,
            outbox,
            invitations,
            recorded,
            delivered_batches,
            delivered_records,
            undelivered,
        })
    }

    fn damaged(&self) -> Error {
        Error::Stored {
            path: self.directory.clone(),
            problem: StoredProblem::Damaged,
        }
    }

    /// Writes the invitations, then the records.
    fn record(&mut self, made: Made) -> Result<Batch, Error> {
        let Some(invitations) = &mut self.invitations else {
            return Err(self.damaged());
        };
        let length = invitations.append(&made.lines)?;
        let batch = Batch {
            invitations: length,
            records: made.records,
        };
        self.outbox.append(&batch.encode_to_vec())?;
        self.recorded += batch.records.len();
        Ok(batch)
    }

    /// The next batch has three receipts for each record.
    fn delivered(&mut self, records: usize) -> Result<(), Error> {
        self.delivered_batches += 1;
        self.delivered_records += records as u64;
        let text = format!("{}\n", self.delivered_batches);
        Ok(files::replace(
            &self.directory.join("delivered"),
            text.as_bytes(),
        )?)
    }

    /// Writes what the coordinator is to know of the draw codes: their hashes, from the outbox.
    fn write_draw_hashes(&self) -> Result<PathBuf, Error> {
        let mut csv = format!("{HASHES_HEADER}\n");
        Outbox::open(&self.directory.join("outbox"), |bytes| {
            let batch = Batch::decode(&*bytes).map_err(|_| self.damaged())?;
            for record in &batch.records {
                let header = record.header.as_ref().ok_or_else(|| self.damaged())?;
                let hash = data_encoding::HEXLOWER.encode(&record.draw_hash);
                csv.push_str(&format!("{},{},{hash}\n", header.r#box, header.v));
            }
            Ok::<(), Error>(())
        })?;
        let place = self.directory.join("draw-hashes.csv");
        files::replace(&place, csv.as_bytes())?;
        Ok(place)
    }

    fn finish(self, out: &Path) -> Result<PathBuf, Error> {
        let path = match self.invitations {
            Some(invitations) => invitations.finish()?,
            None => out.to_path_buf(),
        };
        files::replace(
            &self.directory.join("done"),
            format!("{}\n", self.delivered_records).as_bytes(),
        )?;
        // What is left is ciphertext that the parties hold too; it serves nobody any more.
        let outbox = self.directory.join("outbox");
        std::fs::remove_file(&outbox).map_err(files::FileError::of(&outbox, "remove"))?;
        Ok(path)
    }
}

/// Ties a directory to one manifest: another manifest of the same election id is another election.
fn bind(directory: &Path, manifest: &SignedManifest) -> Result<(), Error> {
    let path = directory.join("manifest-hash");
    let hash = manifest.hash().to_string();
    if !path.exists() {
        return Ok(files::create(&path, hash.as_bytes())?);
    }
    if files::read_text(&path)?.trim() == hash {
        return Ok(());
    }
    Err(Error::Stored {
        path,
        problem: StoredProblem::OtherElection,
    })
}

fn is_for(recipient: &Recipient, record: &SealedRecord) -> bool {
    record.ciphertexts.len() == 3
        && record.header.as_ref().is_some_and(|h| {
            (h.r#box, h.v, h.serial) == (recipient.of_box.get(), recipient.voter.get(), recipient.serial)
        })
}

#[cfg(test)]
mod tests;
