//! An auditor's signed statement about one party's part of a tally session, and what three of them prove together.
//!
//! An auditor works on the agency's machine with the party's log and store, and takes out this statement and nothing else. It carries two
//! signatures: the auditor's, and the party's, which says that it was made from the party's own records. It holds verdicts, hashes of
//! channels and statements that the parties signed in the session; nothing about any vote.

use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind, PublicKey, SignatureBytes, Signer};
use crate::ids::{BoxId, ElectionId, Hash32, IdError, Role, RoleExt as _, SessionNumber, UnixSeconds};
use crate::manifest::Manifest;
use crate::reason::Reason;
use crate::session::statement_layout;
use crate::wire;

mod combine;

pub use combine::{Blame, Combined, Pair, PairVerdict, combine};

use tally_mpc::Label;
// What a statement at a barrier is made of.
pub use tally_mpc::{Binding, ChannelHashes, Phase, Scope, Statement};

/// Largest statement in bytes: the trails of a stopped session of a million ballots are far below.
pub const MAX_AUDIT_BYTES: usize = 16 << 20;
/// Longest name of an auditor, bytes.
pub const MAX_AUDITOR_BYTES: usize = 200;
/// Longest detail of a check, bytes.
pub const MAX_DETAIL_BYTES: usize = 1000;
/// Bytes of a mark in a trail.
const MARK_BYTES: usize = Label::BYTES + 16;

/// Why a statement was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Signatures.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An id or a hash.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A field of a wrong form.
    #[error("the auditor's statement has no usable {0}")]
    Field(&'static str),
    /// The auditor's key is somebody else's.
    #[error(
        "the auditor's key is that of a party or of the coordinator: an auditor signs with a key of their own"
    )]
    NotOwnKey,
    /// Another election.
    #[error("the auditor's statement is of another election or manifest than the one to verify with")]
    OtherManifest,
    /// A check was left out that this election and this end of the session have.
    #[error("the auditor's statement says that there is nothing to check of '{}', but there is: audit again with this program", .0.name())]
    LeftOut(Check),
}

impl AuditError {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Decode(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Envelope(error) => crate::refusal::Refusal::from(error.clone()).reason,
            Self::Id(_) | Self::Field(_) | Self::LeftOut(_) => Reason::MessageMalformed,
            Self::NotOwnKey => Reason::SignatureBad,
            Self::OtherManifest => Reason::ElectionOther,
        }
    }
}

/// What is checked. The order is that of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Check {
    /// The stored roll has the manifest's root, and its online column is the Seal's.
    Roll = 1,
    /// The party's log of acceptances has the root of the checkpoint in its List, and holds every entry under it.
    Log = 2,
    /// The List is the log's timely entries, no more and no less.
    List = 3,
    /// No other party holds a receipt of this one for what it did not list.
    Receipts = 4,
    /// Three signatures; recomputed from the evidence, exclusions and signatures of stations and records included, byte for byte.
    Seal = 5,
    /// Every listed ballot is a row, excluded with a reason, or has one acceptance only.
    Accounted = 6,
    /// The rows of the tally are the Seal's, in its order, and so are records and flags.
    Rows = 7,
    /// Every share that the party brought in opens the public commitment of its ballot or record.
    Openings = 8,
    /// Where voters may enrol: the party's K_i and K_{i+1} open the manifest's commitments. ([`Check::Input`] takes the offsets from them.)
    CardOffsets = 9,
    /// Tickets.
    Tickets = 10,
    /// The session's log opens and is whole.
    SessionLog = 11,
    /// Three Starts of this Seal and number, each signed by its party.
    Starts = 12,
    /// All contributions to the seeds of both pairs open their commitments in the Starts.
    Seeds = 13,
    /// The party tallied the sealed box's input and nothing else, with the manifest's parameters.
    Input = 14,
    /// Everything that the party signed in the session is what an honest party signs.
    Statements = 15,
    /// An honest party takes every message in the log in this order, and ends where the log ends.
    Replay = 16,
    /// The end is the one that the party signed.
    Outcome = 17,
}

impl Check {
    /// All, in order.
    pub const ALL: [Self; 17] = [
        Self::Roll,
        Self::Log,
        Self::List,
        Self::Receipts,
        Self::Seal,
        Self::Accounted,
        Self::Rows,
        Self::Openings,
        Self::CardOffsets,
        Self::Tickets,
        Self::SessionLog,
        Self::Starts,
        Self::Seeds,
        Self::Input,
        Self::Statements,
        Self::Replay,
        Self::Outcome,
    ];

    /// What a table says.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Roll => "the roll is the manifest's",
            Self::Log => "the log of acceptances is whole, and is the one of the checkpoint",
            Self::List => "the List is the log's timely entries",
            Self::Receipts => "nothing receipted is unlisted",
            Self::Seal => "the Seal, recomputed with exclusions and authorities",
            Self::Accounted => "every listed ballot is sealed, or out for a reason",
            Self::Rows => "the tally's rows are the Seal's, in order",
            Self::Openings => "the input opens the public commitments",
            Self::CardOffsets => "card offsets open the manifest's commitments",
            Self::Tickets => "every online ballot was accepted with its owner's ticket",
            Self::SessionLog => "the session's log is whole",
            Self::Starts => "three signed Starts",
            Self::Seeds => "seeds match their commitments",
            Self::Input => "the sealed input was tallied",
            Self::Statements => "what the party signed is what an honest party signs",
            Self::Replay => "the party's part, run again",
            Self::Outcome => "the end is the one that the party signed",
        }
    }
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// There is nothing of the kind to check.
    NotApplicable,
}

/// One check, its verdict, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Which.
    pub check: Check,
    /// Its verdict.
    pub verdict: Verdict,
    /// Numbers and names, never a share.
    pub detail: String,
}

/// One message of a stopped session in a trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its label.
    pub label: [u8; Label::BYTES],
    /// The beginning of the channel's hash up to and with it.
    pub hash: [u8; 16],
}

/// One direction between two parties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRecord {
    /// Messages, barrier frames excepted.
    pub messages: u64,
    /// The hash of all of them.
    pub hash: Hash32,
    /// One mark a message where the session has no result, else nothing.
    pub trail: Vec<Mark>,
}

/// A statement that a party signed in the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// What it says.
    pub statement: Statement,
    /// The party's signature.
    pub signature: SignatureBytes,
}

impl Stated {
    /// Whether the party it names signed it, in the session of that id.
    pub fn verifies(&self, session_id: &Hash32, keys: &[PublicKey; 3]) -> bool {
        let message = statement_layout(session_id, &self.statement.to_bytes());
        keys[self.statement.signer.slot()].verify(message.as_bytes(), &self.signature)
    }
}

/// How a session ended for the audited party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With a Result of that hash.
    Result(Hash32),
    /// With an Abort.
    Stopped(Stopped),
    /// The log ends in the middle: the party died.
    Unfinished,
}

/// What an Abort says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The stable reason.
    pub reason: String,
    /// The step.
    pub step: String,
    /// The pair of parties.
    pub channel: String,
    /// Whom the party named.
    pub suspects: Vec<Role>,
}

/// An auditor's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// Its Seal.
    pub seal_hash: Hash32,
    /// The manifest.
    pub manifest_hash: Hash32,
    /// The session.
    pub session: SessionNumber,
    /// Its id, from the three Starts.
    pub session_id: Hash32,
    /// Whose part.
    pub party: Role,
    /// Who the auditor says to be.
    pub auditor: String,
    /// The auditor's key.
    pub auditor_key: PublicKey,
    /// When, by the machine's clock.
    pub audited_at: UnixSeconds,
    /// Every check once, in order.
    pub items: Vec<Item>,
    /// To the next party, to the previous, from the next, from the previous.
    pub channels: [ChannelRecord; 4],
    /// The statement at the last barrier, as an honest party makes it.
    pub agreed: Option<Statement>,
    /// What the parties signed.
    pub stated: Vec<Stated>,
    /// How it ended.
    pub end: End,
}

impl Audit {
    /// The first check that is said not to apply, but does: what an election has is its manifest's to say, and a session with a result went
    /// through everything.
    fn left_out(&self, manifest: &Manifest) -> Option<Check> {
        let may_be_left_out = |check| match check {
            Check::CardOffsets => manifest.register().is_none(),
            Check::Tickets => manifest.ticketing().is_none(),
            check => check > Check::SessionLog && !matches!(self.end, End::Result(_)),
        };
        let left = self
            .items
            .iter()
            .find(|item| item.verdict == Verdict::NotApplicable && !may_be_left_out(item.check));
        left.map(|item| item.check)
    }

    /// Whether every check that applies holds.
    pub fn passed(&self) -> bool {
        self.items.iter().all(|item| item.verdict != Verdict::Failed)
    }

    /// The verdict on a check.
    pub fn verdict(&self, check: Check) -> Verdict {
        let item = self.items.iter().find(|item| item.check == check);
        item.map_or(Verdict::Failed, |item| item.verdict)
    }

    /// The statement with the auditor's and the party's signatures.
    pub fn sign(&self, auditor: &Signer, party: &Signer) -> Envelope {
        let payload = prost::Message::encode_to_vec(&self.to_wire());
        let mut envelope = auditor.seal_envelope(Kind::Audit, payload);
        let countersigned = party.sign_hash(Kind::Audit, envelope.hash());
        envelope.add_signature(countersigned);
        envelope
    }

    /// Opens a statement: form, the party's signature by the manifest's key, and the auditor's by the key it names.
    ///
    /// # Errors
    /// [`AuditError`].
    ///
    /// # Security
    /// Who the auditor is, the key alone does not say: compare it with one that you were given.
    pub fn open(envelope: &Envelope, manifest: &Manifest, manifest_hash: Hash32) -> Result<Self, AuditError> {
        let audit = Self::decode(envelope.payload())?;
        if audit.election != *manifest.election() || audit.manifest_hash != manifest_hash {
            return Err(AuditError::OtherManifest);
        }
        if manifest.signatories().contains(&audit.auditor_key) {
            return Err(AuditError::NotOwnKey);
        }
        let party = manifest.party_keys()[audit.party.slot()];
        envelope.verify_all(Kind::Audit, &[audit.auditor_key, party])?;
        match audit.left_out(manifest) {
            Some(check) => Err(AuditError::LeftOut(check)),
            None => Ok(audit),
        }
    }

    /// From its canonical bytes; no signature is judged.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, AuditError> {
        let wire: wire::Audit = decode_canonical("auditor's statement", bytes, MAX_AUDIT_BYTES)?;
        let items = wire.items.iter().map(item).collect::<Result<Vec<_>, _>>()?;
        if !items.iter().map(|item| item.check).eq(Check::ALL) {
            return Err(AuditError::Field("list of checks"));
        }
        if wire.auditor.len() > MAX_AUDITOR_BYTES || wire.auditor.chars().any(char::is_control) {
            return Err(AuditError::Field("name of the auditor"));
        }
        let channels: Vec<ChannelRecord> = wire.channels.iter().map(channel).collect::<Result<_, _>>()?;
        Ok(Self {
            election: ElectionId::new(&wire.election)?,
            of_box: BoxId(wire.r#box),
            seal_hash: Hash32::from_slice(&wire.seal_hash)?,
            manifest_hash: Hash32::from_slice(&wire.manifest_hash)?,
            session: SessionNumber(wire.session),
            session_id: Hash32::from_slice(&wire.session_id)?,
            party: Role::from_number(wire.party)?,
            auditor: wire.auditor,
            auditor_key: PublicKey::from_slice(&wire.auditor_key)?,
            audited_at: UnixSeconds(wire.audited_at_s),
            items,
            channels: channels
                .try_into()
                .map_err(|_| AuditError::Field("four channels"))?,
            agreed: if wire.agreed.is_empty() {
                None
            } else {
                Some(statement(&wire.agreed)?)
            },
            stated: wire.stated.iter().map(stated).collect::<Result<_, _>>()?,
            end: end(wire.end.as_ref())?,
        })
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::Audit {
        wire::Audit {
            election: self.election.as_str().into(),
            r#box: self.of_box.get(),
            seal_hash: self.seal_hash.0.to_vec(),
            manifest_hash: self.manifest_hash.0.to_vec(),
            session: self.session.get(),
            session_id: self.session_id.0.to_vec(),
            party: self.party.number(),
            auditor: self.auditor.clone(),
            auditor_key: self.auditor_key.as_bytes().to_vec(),
            audited_at_s: self.audited_at.get(),
            items: self.items.iter().map(item_to_wire).collect(),
            channels: self.channels.iter().map(channel_to_wire).collect(),
            agreed: self.agreed.map(|s| s.to_bytes().to_vec()).unwrap_or_default(),
            stated: self.stated.iter().map(stated_to_wire).collect(),
            end: Some(match &self.end {
                End::Result(hash) => wire::audit::End::ResultHash(hash.0.to_vec()),
                End::Stopped(stop) => wire::audit::End::Stop(wire::AuditStop {
                    reason: stop.reason.clone(),
                    step: stop.step.clone(),
                    channel: stop.channel.clone(),
                    suspects: stop.suspects.iter().map(|role| role.number()).collect(),
                }),
                End::Unfinished => wire::audit::End::Unfinished(true),
            }),
        }
    }
}

fn item(wire: &wire::AuditItem) -> Result<Item, AuditError> {
    let check = Check::ALL.into_iter().find(|check| *check as u32 == wire.check);
    if wire.detail.len() > MAX_DETAIL_BYTES || wire.detail.chars().any(char::is_control) {
        return Err(AuditError::Field("detail of a check"));
    }
    Ok(Item {
        check: check.ok_or(AuditError::Field("number of a check"))?,
        verdict: match wire.verdict {
            1 => Verdict::Passed,
            2 => Verdict::Failed,
            3 => Verdict::NotApplicable,
            _ => return Err(AuditError::Field("verdict")),
        },
        detail: wire.detail.clone(),
    })
}

fn item_to_wire(item: &Item) -> wire::AuditItem {
    wire::AuditItem {
        check: item.check as u32,
        verdict: match item.verdict {
            Verdict::Passed => 1,
            Verdict::Failed => 2,
            Verdict::NotApplicable => 3,
        },
        detail: item.detail.clone(),
    }
}

fn channel(wire: &wire::AuditChannel) -> Result<ChannelRecord, AuditError> {
    let (marks, rest) = wire.trail.as_chunks::<MARK_BYTES>();
    let counted = marks.is_empty() || marks.len() as u64 == wire.messages;
    if !rest.is_empty() || !counted {
        return Err(AuditError::Field("trail of a channel"));
    }
    let mark = |bytes: &[u8; MARK_BYTES]| {
        let (label, hash) = bytes.split_first_chunk()?;
        Some(Mark {
            label: *label,
            hash: hash.try_into().ok()?,
        })
    };
    Ok(ChannelRecord {
        messages: wire.messages,
        hash: Hash32::from_slice(&wire.hash)?,
        trail: marks.iter().filter_map(mark).collect(),
    })
}

fn channel_to_wire(channel: &ChannelRecord) -> wire::AuditChannel {
    let marks = channel.trail.iter();
    wire::AuditChannel {
        messages: channel.messages,
        hash: channel.hash.0.to_vec(),
        trail: marks
            .flat_map(|mark| mark.label.iter().chain(&mark.hash).copied())
            .collect(),
    }
}

fn statement(bytes: &[u8]) -> Result<Statement, AuditError> {
    Statement::from_bytes(bytes).ok_or(AuditError::Field("statement"))
}

fn stated(wire: &wire::AuditStated) -> Result<Stated, AuditError> {
    Ok(Stated {
        statement: statement(&wire.statement)?,
        signature: SignatureBytes::from_slice(&wire.signature)?,
    })
}

fn stated_to_wire(stated: &Stated) -> wire::AuditStated {
    wire::AuditStated {
        statement: stated.statement.to_bytes().to_vec(),
        signature: stated.signature.0.to_vec(),
    }
}

fn end(wire: Option<&wire::audit::End>) -> Result<End, AuditError> {
    Ok(match wire {
        Some(wire::audit::End::ResultHash(hash)) => End::Result(Hash32::from_slice(hash)?),
        Some(wire::audit::End::Stop(stop)) => {
            let texts = [&stop.reason, &stop.step, &stop.channel];
            if texts.iter().any(|text| text.len() > MAX_DETAIL_BYTES) {
                return Err(AuditError::Field("stop"));
            }
            End::Stopped(Stopped {
                reason: stop.reason.clone(),
                step: stop.step.clone(),
                channel: stop.channel.clone(),
                suspects: stop
                    .suspects
                    .iter()
                    .map(|number| Role::from_number(*number))
                    .collect::<Result<_, _>>()?,
            })
        }
        Some(wire::audit::End::Unfinished(true)) => End::Unfinished,
        Some(wire::audit::End::Unfinished(false)) | None => return Err(AuditError::Field("end")),
    })
}

#[cfg(test)]
mod tests;
