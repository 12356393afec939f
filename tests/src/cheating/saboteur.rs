//! The channel of a lying party.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tally_mpc::{Channel, ChannelError, Label, Neighbour, Phase, Scope};

use super::attack::{Act, Deed, Lie};
use super::books::Books;
use super::kind::{Kind, Reader, shows};
use super::wire::Wire;

const BOTH: [Neighbour; 2] = [Neighbour::Next, Neighbour::Prev];
/// How long what a dripping party sends is on its way.
const DRIP: Duration = Duration::from_millis(1);

/// A message that a party sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its kind.
    pub kind: Kind,
    /// To whom.
    pub to: Neighbour,
    /// Its label.
    pub label: Label,
    /// Its bytes, before any lie.
    pub message: Vec<u8>,
}

/// What a lie came to at the liar.
#[derive(Clone, Debug, Default)]
pub struct Deeds {
    /// Whether there was anything to lie about.
    pub done: bool,
    /// How many statements, of which each barrier has one for each neighbour, had left by then.
    pub statements_before: usize,
    /// Openings that neighbours showed while this party still owed them something.
    pub shown_early: usize,
    /// How often a rushing party had both neighbours' messages before it sent its own.
    pub rushed: usize,
}

/// What surrounds a saboteur besides its wire.
pub struct Setting {
    /// What it does; honest without.
    pub lie: Option<Lie>,
    /// Kept by a liar, and where there are no barriers by everybody.
    pub books: Option<Books>,
    /// Barriers are passed without a word: the protocol that a rushing party breaks.
    pub no_barriers: bool,
    /// How long a rushing party looks out for its neighbours' messages.
    pub look: Duration,
    /// Bytes of a tagged row.
    pub row: usize,
    /// Messages of another session, for old frames.
    pub old: Option<Arc<Vec<Sent>>>,
}

struct Held {
    to: Neighbour,
    label: Label,
    message: Vec<u8>,
    kind: Kind,
}

/// One party's channel; honest where there is no lie.
pub struct Saboteur {
    wire: Wire,
    setting: Setting,
    reader: Reader,
    /// Messages of each kind so far.
    count: BTreeMap<Kind, usize>,
    statements: usize,
    silent: bool,
    held: Vec<Held>,
    /// The openings of which this party showed its part.
    pub released: BTreeSet<Scope>,
    /// Everything that its engine sent.
    pub sent: Vec<Sent>,
    /// What came of the lie.
    pub deeds: Deeds,
}

impl Saboteur {
    /// The channel of a party with its lie, if it has one.
    #[must_use]
    pub fn new(mut wire: Wire, setting: Setting) -> Self {
        if matches!(setting.lie, Some(Lie::Drip)) {
            wire.latency = DRIP;
        }
        let from_the_beginning = matches!(
            setting.lie,
            Some(Lie::WrongSeed(_) | Lie::Input { .. } | Lie::Drip)
        );
        Self {
            wire,
            setting,
            reader: Reader::default(),
            count: BTreeMap::new(),
            statements: 0,
            silent: false,
            held: Vec::new(),
            released: BTreeSet::new(),
            sent: Vec::new(),
            deeds: Deeds {
                done: from_the_beginning,
                ..Deeds::default()
            },
        }
    }

    /// Puts a message on the wire and into the books.
    fn put(&mut self, to: Neighbour, label: Label, message: Vec<u8>, kind: Kind) -> Result<(), ChannelError> {
        if kind == Kind::Statement {
            self.statements += 1;
        } else if let Some(books) = &self.setting.books {
            books.sent(to, label, &message);
        }
        if kind.is_opening() {
            self.released.insert(label.scope);
        }
        self.wire.send(to, label, message)
    }

    fn begin_deed(&mut self) {
        if !self.deeds.done {
            self.deeds.done = true;
            self.deeds.statements_before = self.statements;
        }
    }

    /// Does the deed to a message and sends what is left of it.
    fn act(
        &mut self,
        deed: Deed,
        to: Neighbour,
        mut label: Label,
        mut message: Vec<u8>,
        kind: Kind,
    ) -> Result<(), ChannelError> {
        let first = !self.deeds.done;
        self.begin_deed();
        match deed {
            Deed::Silence => {
                self.silent = true;
                return Ok(());
            }
            Deed::Skip => return Ok(()),
            Deed::Twice => self.put(to, label, message.clone(), kind)?,
            Deed::WrongLabel => label.round ^= 1 << 20,
            Deed::FalseAccount => {
                if let Some(books) = &self.setting.books {
                    books.falsify(&mut message);
                }
            }
            _ => {
                let row = if kind == Kind::Rows { self.setting.row } else { 8 };
                let other = self.setting.old.as_ref().and_then(|old| {
                    old.iter()
                        .find(|sent| sent.label == label && sent.to == to)
                        .map(|sent| &sent.message[..])
                });
                let before = message.clone();
                let row = row.min(message.len());
                deed.apply(&mut message, row, other);
                if message == before && first {
                    // Two equal rows that change places are no lie.
                    self.deeds.done = false;
                }
            }
        }
        self.put(to, label, message, kind)
    }

    /// How many neighbours show an opening before the look-out ends.
    fn look_out(&mut self) -> usize {
        let until = Instant::now() + self.setting.look;
        let shown = BOTH.map(|from| {
            self.wire
                .await_any(from, until, |label, message| shows(label, message.len()))
        });
        shown.iter().flatten().count()
    }

    /// Sends what a rushing party held back, after a look at what the others sent.
    fn release(&mut self, alter: bool) -> Result<(), ChannelError> {
        let Some(kind) = self.held.first().map(|held| held.kind) else {
            return Ok(());
        };
        let mut seen = 1;
        if kind == Kind::Statement {
            // Its neighbours' statements come; nothing may come behind them.
            self.deeds.shown_early += self.look_out();
            self.deeds.rushed += 1;
        } else {
            let until = Instant::now() + self.setting.look;
            let came = BOTH.map(|from| self.wire.await_any(from, until, |_, _| true));
            self.deeds.rushed += usize::from(came.iter().all(Option::is_some));
            seen = came.iter().flatten().fold(0, |seen, message| seen ^ message[0]) | 1;
        }
        self.begin_deed();
        for mut held in std::mem::take(&mut self.held) {
            if alter {
                held.message[0] ^= seen;
            }
            self.put(held.to, held.label, held.message, held.kind)?;
        }
        Ok(())
    }

    /// The hashes that a neighbour sent, in the place of this party's own.
    fn echo(&mut self, to: Neighbour, label: Label, message: &mut Vec<u8>) {
        let until = Instant::now() + self.setting.look;
        let theirs = self.wire.await_any(to, until, |theirs, _| theirs == label);
        if let Some(theirs) = theirs.filter(|theirs| theirs.len() == message.len()) {
            *message = theirs;
        }
    }
}

impl Channel for Saboteur {
    fn separate(&mut self) {
        self.wire.separate();
    }

    fn send(&mut self, to: Neighbour, label: Label, mut message: Vec<u8>) -> Result<(), ChannelError> {
        let kind = self.reader.kind(to, label, message.len());
        let number = self.sent.len();
        let count = self.count.entry(kind).or_default();
        let nth = *count;
        *count += 1;
        self.sent.push(Sent {
            kind,
            to,
            label,
            message: message.clone(),
        });
        if self.silent {
            return Ok(());
        }
        if kind == Kind::Statement {
            if self.setting.no_barriers {
                self.statements += 1;
                return Ok(());
            }
            if let Some(books) = &self.setting.books {
                books.account(&mut message);
            }
        }
        match self.setting.lie {
            Some(Lie::Message(act)) if act.hits(kind, nth) => {
                return self.act(act.deed, to, label, message, kind);
            }
            Some(Lie::Covered(one, two)) => {
                for act in [one, two] {
                    if act.hits(kind, nth) {
                        return self.act(act.deed, to, label, message, kind);
                    }
                }
            }
            Some(Lie::Echo {
                kind: target,
                nth: place,
            }) => {
                if (kind, nth) == (target, place) {
                    return self.act(Deed::FlipBit, to, label, message, kind);
                }
                if kind == Kind::RowHashes && self.deeds.done {
                    self.echo(to, label, &mut message);
                }
            }
            Some(Lie::Rush { kind: target, alter }) => {
                if target.goes_with(kind) {
                    self.held.push(Held {
                        to,
                        label,
                        message,
                        kind,
                    });
                    return Ok(());
                }
                self.release(alter)?;
            }
            Some(Lie::HoldBack {
                message: held,
                for_ever,
            }) if held == number => {
                self.begin_deed();
                if for_ever {
                    self.silent = true;
                    return Ok(());
                }
                self.deeds.shown_early += self.look_out();
                self.deeds.rushed += 1;
            }
            _ => {}
        }
        self.put(to, label, message, kind)
    }

    fn recv(&mut self, from: Neighbour, label: Label, expected_len: usize) -> Result<Vec<u8>, ChannelError> {
        if let Some(Lie::Rush { alter, .. }) = self.setting.lie {
            self.release(alter)?;
        }
        let barrier = label.scope.phase == Phase::Barrier;
        let mut message = if barrier && self.setting.no_barriers {
            vec![0; expected_len]
        } else {
            self.wire.recv(from, label, expected_len)?
        };
        if let Some(books) = &self.setting.books {
            if barrier {
                books.appease(from, &mut message);
            } else {
                books.received(from, label, &message);
            }
        }
        Ok(message)
    }
}

impl Act {
    fn hits(self, kind: Kind, nth: usize) -> bool {
        self.kind == kind && self.nth == nth
    }
}
