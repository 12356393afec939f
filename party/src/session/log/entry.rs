//! The entries of a session's log, and their bytes.
//!
//! Each is a kind (one byte), a length (`u32`, little-endian) and that many bytes; roles, sides and numbers have fixed widths.

use std::io;

use tally_mpc::{ChannelError, Label, Neighbour, OpenedCounts, SortParams, Statement, TallyParams};
use tally_proto::envelope::{Envelope, EnvelopeError};
use tally_proto::ids::Role;
use tally_proto::session::{CONTRIBUTION_BYTES, parse_label};
use zeroize::Zeroizing;

use crate::session::opening::Contribution;

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The kind is not known.
    #[error("an entry of kind {0} is not one that this version knows")]
    Kind(u8),
    /// The bytes do not make an entry of their kind.
    #[error("an entry of kind {kind} with {length} bytes does not decode")]
    Malformed {
        /// Its kind.
        kind: u8,
        /// Its length.
        length: usize,
    },
    /// A signed object.
    #[error("a signed object in an entry: {0}")]
    Envelope(#[from] EnvelopeError),
}

/// Sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the neighbour.
    Sending,
    /// From the neighbour.
    Receiving,
}

/// Why a message could not be sent or did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// [`ChannelError::Closed`].
    Closed,
    /// [`ChannelError::Overdue`].
    Overdue,
    /// [`ChannelError::Interrupted`].
    Interrupted,
    /// [`ChannelError::WrongLabel`].
    WrongLabel(Label),
    /// [`ChannelError::WrongLength`].
    WrongLength(u32),
    /// [`ChannelError::Transport`].
    Transport(String),
}

impl Fault {
    /// Of what a channel returned.
    pub(super) fn of(error: &ChannelError) -> Self {
        match error {
            ChannelError::Closed => Self::Closed,
            ChannelError::Overdue => Self::Overdue,
            ChannelError::Interrupted => Self::Interrupted,
            ChannelError::WrongLabel { got } => Self::WrongLabel(*got),
            ChannelError::WrongLength { got, .. } => {
                Self::WrongLength(u32::try_from(*got).unwrap_or(u32::MAX))
            }
            ChannelError::Transport(error) => Self::Transport(error.to_string()),
        }
    }

    /// What the channel returned, to an engine that expected `expected` bytes.
    pub fn to_error(&self, expected: usize) -> ChannelError {
        match self {
            Self::Closed => ChannelError::Closed,
            Self::Overdue => ChannelError::Overdue,
            Self::Interrupted => ChannelError::Interrupted,
            Self::WrongLabel(got) => ChannelError::WrongLabel { got: *got },
            Self::WrongLength(got) => ChannelError::WrongLength {
                expected,
                got: *got as usize,
            },
            Self::Transport(text) => ChannelError::Transport(io::Error::other(text.clone())),
        }
    }
}

/// One thing that a session's log tells.
pub enum Entry {
    /// The Starts that opened the session, in party order.
    Starts([Envelope; 3]),
    /// A contribution to the seed of a pair.
    Contribution {
        /// Who drew it.
        from: Role,
        /// The other end of the pair.
        to: Role,
        /// The contribution.
        secret: Contribution,
    },
    /// What the party brought to the tally.
    Input {
        /// [`tally_mpc::TallyInput::fingerprint`].
        fingerprint: [u8; 32],
        /// The parameters of the run.
        params: TallyParams,
    },
    /// The engine took a message.
    Received {
        /// From whom.
        from: Neighbour,
        /// Its label.
        label: Label,
        /// Its content: masked or shared, and useless without the seeds.
        message: Vec<u8>,
    },
    /// A message could not be sent or did not arrive as it should.
    Failed {
        /// Sent or received.
        way: Way,
        /// To or from whom.
        with: Neighbour,
        /// Which message.
        label: Label,
        /// What happened.
        fault: Fault,
    },
    /// The party signed a statement.
    Stated {
        /// [`Statement::to_bytes`].
        statement: Box<[u8; Statement::BYTES]>,
        /// Its signature, in the session's domain.
        signature: Box<[u8; 64]>,
    },
    /// The session ended: without an Abort the party had its outputs.
    Ended {
        /// The party's signed Abort.
        abort: Option<Envelope>,
    },
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Starts(_) => f.write_str("Starts"),
            Self::Contribution { from, to, .. } => write!(f, "Contribution({from} to {to}, secret)"),
            Self::Input { .. } => f.write_str("Input"),
            Self::Received { from, label, message } => {
                write!(f, "Received({label} from {from:?}, {} bytes)", message.len())
            }
            Self::Failed {
                way,
                with,
                label,
                fault,
            } => write!(f, "Failed({way:?} {label}, {with:?}: {fault:?})"),
            Self::Stated { .. } => f.write_str("Stated"),
            Self::Ended { abort } => write!(f, "Ended(aborted: {})", abort.is_some()),
        }
    }
}

impl Entry {
    /// Appends its bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Starts(starts) => put_starts(out, starts),
            Self::Contribution { from, to, secret } => put_contribution(out, *from, *to, secret),
            Self::Input { fingerprint, params } => put_input(out, fingerprint, params),
            Self::Received { from, label, message } => put_received(out, *from, *label, message),
            Self::Failed {
                way,
                with,
                label,
                fault,
            } => put_failed(out, *way, *with, *label, fault),
            Self::Stated { statement, signature } => put_stated(out, statement.as_slice(), signature),
            Self::Ended { abort } => put_ended(out, abort.as_ref().map(Envelope::encode).as_deref()),
        }
    }

    /// Takes the first entry off the content of a chunk; `None` when there is none.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn take(bytes: &mut &[u8]) -> Result<Option<Self>, EntryError> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
            return match bytes.first() {
                None => Ok(None),
                Some(kind) => Err(EntryError::Malformed {
                    kind: *kind,
                    length: bytes.len(),
                }),
            };
        };
        let [kind, length @ ..] = *head;
        let length = u32::from_le_bytes(length) as usize;
        let malformed = || EntryError::Malformed { kind, length };
        let (body, rest) = rest.split_at_checked(length).ok_or_else(malformed)?;
        let entry = match kind {
            STARTS => starts(body)?,
            CONTRIBUTION => contribution(body),
            INPUT => input(body),
            RECEIVED => received(body),
            FAILED => failed(body),
            STATED => stated(body),
            ENDED => Some(ended(body)?),
            other => return Err(EntryError::Kind(other)),
        };
        *bytes = rest;
        Ok(Some(entry.ok_or_else(malformed)?))
    }
}

const STARTS: u8 = 1;
const CONTRIBUTION: u8 = 2;
const INPUT: u8 = 3;
const RECEIVED: u8 = 4;
const FAILED: u8 = 5;
const STATED: u8 = 6;
const ENDED: u8 = 7;

/// Bytes of a kind and a length.
const HEAD: usize = 5;

/// Writes an entry whose body `body` appends.
fn put(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() - at - 4).expect("entries are bounded by the longest message");
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// [`Entry::Starts`].
pub(super) fn put_starts(out: &mut Vec<u8>, starts: &[Envelope; 3]) {
    put(out, STARTS, |out| {
        for start in starts {
            let bytes = start.encode();
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(&bytes);
        }
    });
}

/// [`Entry::Contribution`].
pub(super) fn put_contribution(out: &mut Vec<u8>, from: Role, to: Role, secret: &Contribution) {
    put(out, CONTRIBUTION, |out| {
        out.extend_from_slice(&[from.index(), to.index()]);
        out.extend_from_slice(secret.as_bytes());
    });
}

/// [`Entry::Input`].
pub(super) fn put_input(out: &mut Vec<u8>, fingerprint: &[u8; 32], params: &TallyParams) {
    put(out, INPUT, |out| {
        out.extend_from_slice(fingerprint);
        out.push(match params.counts {
            OpenedCounts::Nothing => 0,
            OpenedCounts::Counted => 1,
            OpenedCounts::PerChannel => 2,
        });
        for number in sort_numbers(&params.sort) {
            out.extend_from_slice(&(number as u64).to_le_bytes());
        }
    });
}

/// The parameters of the sort in the order of the layout; [`sort_of`] is the way back.
fn sort_numbers(sort: &SortParams) -> [usize; 6] {
    let SortParams {
        fan_out,
        finish,
        free_lanes,
        ripple_from,
        chunk_lanes,
        waiting_gates,
    } = *sort;
    [
        fan_out,
        finish,
        free_lanes,
        ripple_from,
        chunk_lanes,
        waiting_gates,
    ]
}

fn sort_of(numbers: [usize; 6]) -> SortParams {
    let [
        fan_out,
        finish,
        free_lanes,
        ripple_from,
        chunk_lanes,
        waiting_gates,
    ] = numbers;
    SortParams {
        fan_out,
        finish,
        free_lanes,
        ripple_from,
        chunk_lanes,
        waiting_gates,
    }
}

/// [`Entry::Received`].
pub(super) fn put_received(out: &mut Vec<u8>, from: Neighbour, label: Label, message: &[u8]) {
    put(out, RECEIVED, |out| {
        out.push(side(from));
        out.extend_from_slice(&label.to_bytes());
        out.extend_from_slice(message);
    });
}

/// [`Entry::Failed`].
pub(super) fn put_failed(out: &mut Vec<u8>, way: Way, with: Neighbour, label: Label, fault: &Fault) {
    put(out, FAILED, |out| {
        out.extend_from_slice(&[u8::from(way == Way::Receiving), side(with)]);
        out.extend_from_slice(&label.to_bytes());
        match fault {
            Fault::Closed => out.push(1),
            Fault::Overdue => out.push(2),
            Fault::Interrupted => out.push(3),
            Fault::WrongLabel(got) => {
                out.push(4);
                out.extend_from_slice(&got.to_bytes());
            }
            Fault::WrongLength(got) => {
                out.push(5);
                out.extend_from_slice(&got.to_le_bytes());
            }
            Fault::Transport(text) => {
                out.push(6);
                out.extend_from_slice(text.as_bytes());
            }
        }
    });
}

/// [`Entry::Stated`].
pub(super) fn put_stated(out: &mut Vec<u8>, statement: &[u8], signature: &[u8; 64]) {
    put(out, STATED, |out| {
        out.extend_from_slice(signature);
        out.extend_from_slice(statement);
    });
}

/// [`Entry::Ended`].
pub(super) fn put_ended(out: &mut Vec<u8>, abort: Option<&[u8]>) {
    put(out, ENDED, |out| out.extend_from_slice(abort.unwrap_or_default()));
}

fn side(neighbour: Neighbour) -> u8 {
    match neighbour {
        Neighbour::Next => 0,
        Neighbour::Prev => 1,
    }
}

fn neighbour(side: u8) -> Option<Neighbour> {
    match side {
        0 => Some(Neighbour::Next),
        1 => Some(Neighbour::Prev),
        _ => None,
    }
}

fn starts(mut body: &[u8]) -> Result<Option<Entry>, EnvelopeError> {
    let mut starts = Vec::with_capacity(3);
    while let Some((length, rest)) = body.split_first_chunk::<4>() {
        let Some((start, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else {
            return Ok(None);
        };
        starts.push(Envelope::decode(start)?);
        body = rest;
    }
    let starts = starts.try_into().ok().filter(|_| body.is_empty());
    Ok(starts.map(Entry::Starts))
}

fn contribution(body: &[u8]) -> Option<Entry> {
    let ([from, to], secret) = body.split_first_chunk::<2>()?;
    let secret: Zeroizing<[u8; CONTRIBUTION_BYTES]> = Zeroizing::new(secret.try_into().ok()?);
    Some(Entry::Contribution {
        from: Role::from_index(*from)?,
        to: Role::from_index(*to)?,
        secret: Contribution::from_frame(secret.as_slice())?,
    })
}

fn input(body: &[u8]) -> Option<Entry> {
    let (fingerprint, rest) = body.split_first_chunk::<32>()?;
    let (counts, rest) = rest.split_first()?;
    let (numbers, rest) = rest.as_chunks::<8>();
    let mut sort = [0; 6];
    if !rest.is_empty() || numbers.len() != sort.len() {
        return None;
    }
    for (number, bytes) in sort.iter_mut().zip(numbers) {
        *number = usize::try_from(u64::from_le_bytes(*bytes)).ok()?;
    }
    Some(Entry::Input {
        fingerprint: *fingerprint,
        params: TallyParams {
            counts: match counts {
                0 => OpenedCounts::Nothing,
                1 => OpenedCounts::Counted,
                2 => OpenedCounts::PerChannel,
                _ => return None,
            },
            sort: sort_of(sort),
        },
    })
}

fn received(body: &[u8]) -> Option<Entry> {
    let (from, rest) = body.split_first()?;
    let (label, message) = rest.split_first_chunk::<{ Label::BYTES }>()?;
    Some(Entry::Received {
        from: neighbour(*from)?,
        label: parse_label(label).ok()?,
        message: message.to_vec(),
    })
}

fn failed(body: &[u8]) -> Option<Entry> {
    let ([way, with], rest) = body.split_first_chunk::<2>()?;
    let (label, rest) = rest.split_first_chunk::<{ Label::BYTES }>()?;
    let (code, rest) = rest.split_first()?;
    let fault = match code {
        1 if rest.is_empty() => Fault::Closed,
        2 if rest.is_empty() => Fault::Overdue,
        3 if rest.is_empty() => Fault::Interrupted,
        4 => Fault::WrongLabel(parse_label(rest).ok()?),
        5 => Fault::WrongLength(u32::from_le_bytes(rest.try_into().ok()?)),
        6 => Fault::Transport(String::from_utf8(rest.to_vec()).ok()?),
        _ => return None,
    };
    let way = match way {
        0 => Way::Sending,
        1 => Way::Receiving,
        _ => return None,
    };
    Some(Entry::Failed {
        way,
        with: neighbour(*with)?,
        label: parse_label(label).ok()?,
        fault,
    })
}

fn stated(body: &[u8]) -> Option<Entry> {
    let (signature, statement) = body.split_first_chunk::<64>()?;
    Some(Entry::Stated {
        statement: Box::new(statement.try_into().ok()?),
        signature: Box::new(*signature),
    })
}

fn ended(body: &[u8]) -> Result<Entry, EnvelopeError> {
    let abort = (!body.is_empty()).then(|| Envelope::decode(body)).transpose()?;
    Ok(Entry::Ended { abort })
}
