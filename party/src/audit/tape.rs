//! A session's log as the engine sees it in a replay: a channel that gives what the log holds and a notary that compares statements.

use std::cell::RefCell;
use std::rc::Rc;

use tally_mpc::{Binding, Channel, ChannelError, Label, Ledger, Neighbour, Notary, Phase, Statement};
use tally_proto::audit::{ChannelRecord, Mark, Stated};
use tally_proto::envelope::{PublicKey, SignatureBytes};
use tally_proto::ids::{Hash32, Role, RoleExt as _};

use crate::session::log::{Entry, LogError, Reader, Way};

/// The first place at which the log is not that of an honest party.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    /// Another message, or something else, where a message is due.
    #[error("where an honest party takes {due} from {from}, the log holds {found}")]
    Message {
        /// The label that is due.
        due: Label,
        /// From whom.
        from: Role,
        /// What there is.
        found: String,
    },
    /// Another statement than an honest party signs.
    #[error("{what}: the party signed other hashes than an honest party has, of the channel(s) {}", channels.join(", "))]
    Statement {
        /// Which barrier, or the end.
        what: String,
        /// The channels that differ.
        channels: Vec<String>,
    },
    /// No statement where one is due.
    #[error("{what}: an honest party signs a statement, the log holds {found}")]
    NoStatement {
        /// Which barrier, or the end.
        what: String,
        /// What there is.
        found: String,
    },
    /// A statement whose signature is not the party's.
    #[error("{what}: the signature on the party's statement does not verify")]
    Signature {
        /// Which barrier, or the end.
        what: String,
    },
    /// The engine is done, the log goes on.
    #[error("an honest party is done, but the log goes on with {found}")]
    Surplus {
        /// What there is.
        found: String,
    },
}

impl Divergence {
    /// Whether it is about what the party signed, rather than what it took.
    pub fn is_signed(&self) -> bool {
        matches!(
            self,
            Self::Statement { .. } | Self::NoStatement { .. } | Self::Signature { .. }
        )
    }
}

/// What was taken from the log.
pub(super) struct Taken {
    pub(super) divergences: Vec<Divergence>,
    pub(super) messages: u64,
    pub(super) ran_out: bool,
    pub(super) channels: [ChannelRecord; 4],
    pub(super) end: Option<Entry>,
}

/// The log under the engine's hands.
pub(super) struct Tape {
    log: Reader,
    own: Role,
    /// The entry that comes next, once it was looked at.
    next: Option<Entry>,
    ledger: Ledger,
    /// To the next party, to the previous, from the next, from the previous.
    trails: [Vec<Mark>; 4],
    divergences: Vec<Divergence>,
    messages: u64,
    /// The log ended while the engine still wanted something.
    ran_out: bool,
    /// The log cannot be read any further.
    broken: Option<LogError>,
}

impl Tape {
    pub(super) fn new(log: Reader, own: Role, binding: &Binding) -> Self {
        Self {
            log,
            own,
            next: None,
            ledger: Ledger::new(own, binding),
            trails: [const { Vec::new() }; 4],
            divergences: Vec::new(),
            messages: 0,
            ran_out: false,
            broken: None,
        }
    }

    /// The next entry, left where it is.
    fn peek(&mut self) -> Option<&Entry> {
        if self.next.is_none() && self.broken.is_none() {
            match self.log.next_entry() {
                Ok(entry) => self.next = entry,
                Err(error) => self.broken = Some(error),
            }
        }
        self.next.as_ref()
    }

    /// What the next entry is, in words.
    fn found(&mut self) -> String {
        self.peek()
            .map_or_else(|| "its end".to_owned(), |entry| format!("{entry:?}"))
    }

    /// Notes the first of its kind: what follows it follows from it.
    fn diverge(&mut self, divergence: Divergence) {
        let signed = divergence.is_signed();
        if self.divergences.iter().all(|known| known.is_signed() != signed) {
            self.divergences.push(divergence);
        }
    }

    fn enter(&mut self, side: usize, label: Label) {
        let hashes = self.ledger.hashes();
        let hash = match side {
            0 => hashes.to_next,
            1 => hashes.to_prev,
            2 => hashes.from_next,
            _ => hashes.from_prev,
        };
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        self.trails[side].push(Mark {
            label: label.to_bytes(),
            hash: half,
        });
    }

    fn send(&mut self, to: Neighbour, label: Label, message: &[u8]) -> Result<(), ChannelError> {
        // Hashes leave the frames of barriers out, which carry them.
        if label.scope.phase != Phase::Barrier {
            self.ledger.sent(to, label, message);
            self.enter(if to == Neighbour::Next { 0 } else { 1 }, label);
        }
        let fails = matches!(
            self.peek(),
            Some(Entry::Failed { way: Way::Sending, with, label: at, .. }) if *with == to && *at == label
        );
        if fails && let Some(Entry::Failed { fault, .. }) = self.next.take() {
            return Err(fault.to_error(message.len()));
        }
        Ok(())
    }

    fn recv(&mut self, from: Neighbour, label: Label, expected: usize) -> Result<Vec<u8>, ChannelError> {
        let due = match self.peek() {
            Some(Entry::Received {
                from: by,
                label: at,
                message,
            }) => *by == from && *at == label && message.len() == expected,
            Some(Entry::Failed {
                way, with, label: at, ..
            }) => *way == Way::Receiving && *with == from && *at == label,
            None => {
                self.ran_out = true;
                return Err(ChannelError::Interrupted);
            }
            Some(_) => false,
        };
        if !due {
            let found = self.found();
            self.diverge(Divergence::Message {
                due: label,
                from: self.own.neighbour(from),
                found,
            });
            return Err(ChannelError::Interrupted);
        }
        match self.next.take() {
            Some(Entry::Failed { fault, .. }) => Err(fault.to_error(expected)),
            Some(Entry::Received { message, .. }) => {
                self.messages += 1;
                if label.scope.phase != Phase::Barrier {
                    self.ledger.received(from, label, &message);
                    self.enter(if from == Neighbour::Next { 2 } else { 3 }, label);
                }
                Ok(message)
            }
            _ => Err(ChannelError::Interrupted),
        }
    }

    /// Looks at what is left once the engine is done.
    pub(super) fn finish(mut self) -> Result<(Taken, Reader), LogError> {
        let end = match self.peek() {
            None => None,
            Some(Entry::Ended { .. }) => self.next.take(),
            Some(_) => {
                let found = self.found();
                self.diverge(Divergence::Surplus { found });
                loop {
                    self.next = None;
                    match self.peek() {
                        None => break None,
                        Some(Entry::Ended { .. }) => break self.next.take(),
                        Some(_) => {}
                    }
                }
            }
        };
        if end.is_some() && self.peek().is_some() {
            let found = self.found();
            self.diverge(Divergence::Surplus { found });
        }
        if let Some(error) = self.broken {
            return Err(error);
        }
        let hashes = self.ledger.hashes();
        let ends = [hashes.to_next, hashes.to_prev, hashes.from_next, hashes.from_prev];
        let mut ends = ends.into_iter();
        let channels = self.trails.map(|trail| ChannelRecord {
            messages: trail.len() as u64,
            hash: Hash32(ends.next().unwrap_or_default()),
            trail,
        });
        let taken = Taken {
            divergences: self.divergences,
            messages: self.messages,
            ran_out: self.ran_out,
            channels,
            end,
        };
        Ok((taken, self.log))
    }
}

/// The engine's channel in a replay.
pub(super) struct ReplayChannel(Rc<RefCell<Tape>>);

impl ReplayChannel {
    pub(super) fn new(tape: Rc<RefCell<Tape>>) -> Self {
        Self(tape)
    }
}

impl Channel for ReplayChannel {
    // What each neighbour did on its own is in the log.
    fn separate(&mut self) {}

    fn send(&mut self, to: Neighbour, label: Label, message: Vec<u8>) -> Result<(), ChannelError> {
        self.0.borrow_mut().send(to, label, &message)
    }

    fn recv(&mut self, from: Neighbour, label: Label, expected: usize) -> Result<Vec<u8>, ChannelError> {
        self.0.borrow_mut().recv(from, label, expected)
    }
}

/// What the parties signed.
pub(super) struct Signed {
    pub(super) statements: u32,
    pub(super) agreed: Option<Statement>,
    pub(super) stated: Vec<Stated>,
}

/// The engine's notary in a replay: it signs nothing, but gives the signature that the log holds.
pub(super) struct ReplayNotary<'a> {
    tape: Rc<RefCell<Tape>>,
    keys: &'a [PublicKey; 3],
    session_id: Hash32,
    /// This party's last statement, as an honest party makes it.
    agreed: Option<Statement>,
    /// The last statements of this party that the log holds: at a barrier, and at the end.
    own: Vec<Stated>,
    heard: [Option<Stated>; 3],
    statements: u32,
}

impl<'a> ReplayNotary<'a> {
    pub(super) fn new(tape: Rc<RefCell<Tape>>, keys: &'a [PublicKey; 3], session_id: Hash32) -> Self {
        Self {
            tape,
            keys,
            session_id,
            agreed: None,
            own: Vec::new(),
            heard: [None, None, None],
            statements: 0,
        }
    }

    pub(super) fn into_signed(self) -> Signed {
        let mut stated = self.own;
        stated.extend(self.heard.into_iter().flatten());
        Signed {
            statements: self.statements,
            agreed: self.agreed,
            stated,
        }
    }

    /// Compares what an honest party states with what the log holds, and gives the signature in the log.
    fn compare(&mut self, honest: &Statement) -> [u8; 64] {
        let mut tape = self.tape.borrow_mut();
        let what = if honest.number == Statement::LAST {
            "at the end".to_owned()
        } else {
            format!("at barrier {}, {}", honest.number, honest.at)
        };
        if !matches!(tape.peek(), Some(Entry::Stated { .. })) {
            if tape.peek().is_none() {
                // The log is cut off here; that is for its own check to say.
                tape.ran_out = true;
            } else {
                let found = tape.found();
                tape.diverge(Divergence::NoStatement { what, found });
            }
            return [0; 64];
        }
        let Some(Entry::Stated { statement, signature }) = tape.next.take() else {
            return [0; 64];
        };
        let Some(logged) = Statement::from_bytes(statement.as_slice()) else {
            tape.diverge(Divergence::NoStatement {
                what,
                found: "bytes that are no statement".to_owned(),
            });
            return *signature;
        };
        let stated = Stated {
            statement: logged,
            signature: SignatureBytes(*signature),
        };
        let verifies = stated.verifies(&self.session_id, self.keys);
        if !verifies || logged.signer != honest.signer {
            tape.diverge(Divergence::Signature { what });
        } else if logged != *honest {
            let channels = differing(honest, &logged);
            tape.diverge(Divergence::Statement { what, channels });
        } else {
            self.statements += 1;
        }
        if honest.number != Statement::LAST {
            self.own.clear();
        }
        if verifies {
            self.own.push(stated);
        }
        *signature
    }
}

/// The channels of which two statements of one party differ; all, when something else does.
fn differing(honest: &Statement, logged: &Statement) -> Vec<String> {
    let (own, next, prev) = (honest.signer, honest.signer.next(), honest.signer.prev());
    let (a, b) = (&honest.channels, &logged.channels);
    let sides = [
        (own, next, a.to_next == b.to_next),
        (own, prev, a.to_prev == b.to_prev),
        (next, own, a.from_next == b.from_next),
        (prev, own, a.from_prev == b.from_prev),
    ];
    let all = sides.iter().all(|(_, _, same)| *same);
    sides
        .iter()
        .filter(|(_, _, same)| all || !same)
        .map(|(from, to, _)| format!("{from} to {to}"))
        .collect()
}

impl Notary for ReplayNotary<'_> {
    fn sign(&mut self, statement: &[u8]) -> [u8; 64] {
        let honest = Statement::from_bytes(statement).expect("the engine signs whole statements");
        self.agreed = Some(honest);
        self.compare(&honest)
    }

    fn verify(&mut self, signer: Role, statement: &[u8], signature: &[u8; 64]) -> bool {
        let Some(statement) = Statement::from_bytes(statement) else {
            return false;
        };
        let stated = Stated {
            statement,
            signature: SignatureBytes(*signature),
        };
        let verifies = statement.signer == signer && stated.verifies(&self.session_id, self.keys);
        if verifies {
            self.heard[signer.slot()] = Some(stated);
        }
        verifies
    }

    fn ended(&mut self, last: &Statement) {
        self.compare(last);
    }
}
