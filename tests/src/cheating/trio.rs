//! One session of three parties, one of which may lie.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tally_mpc::{Observer, Opening, Outcome, Role, Scope, TallyError, TallyInput, TallyParams, tally};

use super::attack::Lie;
use super::books::Keys;
use super::election::{Election, binding, seeds};
use super::saboteur::{Deeds, Saboteur, Sent, Setting};
use super::wire::Wire;

/// Something that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it is.
    pub opening: Opening,
    /// How many bits.
    pub lanes: usize,
    /// The bits.
    pub words: Vec<u64>,
}

/// How a session went for one party.
#[derive(Debug)]
pub struct End {
    /// Its result.
    pub result: Result<Outcome, TallyError>,
    /// What it saw opened.
    pub openings: Vec<Opened>,
    /// The openings of which it showed its part to anybody.
    pub released: BTreeSet<Scope>,
    /// What its engine sent.
    pub sent: Vec<Sent>,
    /// What came of its lie.
    pub deeds: Deeds,
}

/// A session to run.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    /// The box.
    pub election: &'a Election,
    /// How it is tallied.
    pub params: TallyParams,
    /// The session's number, of which seeds and shares are made.
    pub number: u64,
    /// Who lies, and how.
    pub lie: Option<(Role, Lie)>,
    /// When a message is overdue.
    pub patience: Duration,
    /// How long a rushing party looks out for its neighbours' messages.
    pub look: Duration,
    /// What the liar sent in another session.
    pub old: Option<Arc<Vec<Sent>>>,
    /// Nobody waits at barriers: not the protocol, but what it would be without them.
    pub no_barriers: bool,
}

#[derive(Default)]
struct Watch(Vec<Opened>);

impl Observer for Watch {
    fn opened(&mut self, opening: Opening, lanes: usize, words: &[u64]) {
        self.0.push(Opened {
            opening,
            lanes,
            words: words.to_vec(),
        });
    }
}

/// Bytes of a tagged row: one word of small fields in a box of this size, the delta, the credential, the tag.
const ROW: usize = 32;

impl Session<'_> {
    /// An undisturbed session.
    #[must_use]
    pub fn honest(election: &Election, params: TallyParams, number: u64) -> Session<'_> {
        Session {
            election,
            params,
            number,
            lie: None,
            patience: Duration::from_secs(120),
            look: Duration::from_millis(40),
            old: None,
            no_barriers: false,
        }
    }

    /// Runs it on three threads.
    #[must_use]
    pub fn run(&self) -> [End; 3] {
        let [i1, i2, i3] = self.election.inputs(self.number, self.lie);
        let [w1, w2, w3] = Wire::trio(self.patience);
        std::thread::scope(|scope| {
            let start = |role, input, wire| scope.spawn(move || self.party(role, input, wire));
            [
                start(Role::P1, i1, w1),
                start(Role::P2, i2, w2),
                start(Role::P3, i3, w3),
            ]
            .map(|thread| thread.join().expect("no panic"))
        })
    }

    fn party(&self, role: Role, input: TallyInput, wire: Wire) -> End {
        let lie = self.lie.filter(|(liar, _)| *liar == role).map(|(_, lie)| lie);
        let (mut keys, books) = if lie.is_some() || self.no_barriers {
            let (keys, books) = Keys::with_books(role, self.number);
            (keys, Some(books))
        } else {
            (Keys::honest(role), None)
        };
        let setting = Setting {
            lie,
            books,
            no_barriers: self.no_barriers,
            look: self.look,
            row: ROW,
            old: self.old.clone(),
        };
        let mut channel = Saboteur::new(wire, setting);
        let wrong = match lie {
            Some(Lie::WrongSeed(which)) => which,
            _ => 0,
        };
        let mut watch = Watch::default();
        let result = tally(
            &seeds(role, self.number, wrong),
            &binding(self.number),
            input,
            &mut channel,
            &mut keys,
            &mut watch,
            &self.params,
        );
        End {
            result,
            openings: watch.0,
            released: channel.released,
            sent: channel.sent,
            deeds: channel.deeds,
        }
    }
}
