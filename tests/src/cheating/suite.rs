//! Every attack by every party, and what came of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tally_mpc::{ChannelError, Role, TallyError};

use super::attack::{Act, Deed, Lie};
use super::election::{Election, params};
use super::kind::Kind;
use super::table::Table;
use super::trio::{End, Session};

/// When a silent party is overdue.
const PATIENCE: Duration = Duration::from_secs(1);
/// Sessions side by side; most of their time they wait for one another.
const WORKERS: usize = 4;
/// The same for sessions that mostly wait for a deadline.
const IDLE_WORKERS: usize = 24;

/// What an attack came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both honest parties stopped, one of them suspects the liar; nobody showed its part of anything that depends on the lie.
    Detected,
    /// Both honest parties got the right result, and nothing of what they opened was wrong.
    NoEffect,
    /// There was nothing to lie about: no such message, or one that the lie leaves as it is.
    Nothing,
    /// The attack worked, or the wrong party was blamed; and how.
    Failed(String),
}

/// A party's place in arrays of three.
#[must_use]
pub fn slot(role: Role) -> usize {
    role.index() as usize - 1
}

/// How many openings honest parties may show when the liar had sent so many statements before its lie. Statement k stands before opening
/// k, so that everything up to it depends on what was before the lie.
fn may_show(lie: Lie, statements_before: usize) -> usize {
    let complete = statements_before / 2;
    let act = match lie {
        Lie::Message(act) | Lie::Covered(act, _) => Some(act),
        _ => None,
    };
    match (lie, act) {
        // Without the message the barrier behind it is not reached.
        (Lie::HoldBack { .. }, _) => complete,
        (
            _,
            Some(Act {
                kind: Kind::Statement,
                deed,
                ..
            }),
        ) => match deed {
            // Who has had the liar's good statement opens what it stands before.
            Deed::Silence => statements_before.div_ceil(2),
            _ => complete + 1,
        },
        (
            _,
            Some(Act {
                deed: Deed::Silence | Deed::Skip | Deed::Twice | Deed::Short | Deed::WrongLabel,
                ..
            }),
        ) => complete,
        (
            Lie::Rush {
                kind: Kind::Statement,
                ..
            },
            _,
        ) => complete,
        // The keys of the shuffle's tags are opened to judge what came before them. They are fresh and depend on nothing.
        _ => complete.max(1),
    }
}

/// Judges a session against an undisturbed one.
#[must_use]
pub fn judge(election: &Election, liar: Role, lie: Lie, reference: &[End; 3], ends: &[End; 3]) -> Verdict {
    let deeds = &ends[slot(liar)].deeds;
    if !deeds.done {
        return Verdict::Nothing;
    }
    if deeds.shown_early > 0 {
        return Verdict::Failed(format!(
            "{} parts of an opening were shown while the liar owed a message",
            deeds.shown_early
        ));
    }
    let (mut stopped, mut named) = (0, 0);
    for role in Role::ALL.into_iter().filter(|role| *role != liar) {
        let end = &ends[slot(role)];
        if !reference[slot(role)].openings.starts_with(&end.openings) {
            return Verdict::Failed(format!("{role} opened something that an honest session does not"));
        }
        let error = match &end.result {
            Ok(outcome) if election.agrees(outcome) => continue,
            Ok(_) => return Verdict::Failed(format!("{role} has a wrong result")),
            Err(error) => error,
        };
        stopped += 1;
        let most = may_show(lie, deeds.statements_before);
        if end.released.len() > most {
            return Verdict::Failed(format!(
                "{role} showed its part of {} openings, of which {most} do not depend on the lie: {error}",
                end.released.len()
            ));
        }
        let suspects = error.suspects();
        if suspects.contains(&role) {
            return Verdict::Failed(format!("{role} blames itself: {error}"));
        }
        // It hears only that the other honest party stopped, or waits for one that waits for the liar.
        let second_hand = match error {
            TallyError::Channel { source, .. } => {
                matches!(source, ChannelError::Closed)
                    || lie.is_silent() && matches!(source, ChannelError::Overdue)
            }
            _ => false,
        };
        if suspects.contains(&liar) {
            named += 1;
        } else if !second_hand {
            return Verdict::Failed(format!("{role} blames {suspects:?}: {error}"));
        }
    }
    match (stopped, named) {
        (0, _) => Verdict::NoEffect,
        (1, _) => Verdict::Failed("one honest party has the totals, the other stopped".to_owned()),
        (_, 0) => Verdict::Failed("nobody suspects the liar".to_owned()),
        _ => Verdict::Detected,
    }
}

/// Whether a lie may go without effect, and why that is no harm.
#[must_use]
pub fn may_be_void(liar: Role, lie: Lie, reference: &End) -> bool {
    let count = |kind| reference.sent.iter().filter(|sent| sent.kind == kind).count();
    match lie {
        // At the last barrier one honest party has the liar's true statement, passes, and takes the other along. Silence from the
        // first of the two statements on is no true statement.
        Lie::Message(Act {
            kind: Kind::Statement,
            nth,
            deed,
        }) => {
            let last = count(Kind::Statement) - 1;
            nth == last || nth + 1 == last && deed != Deed::Silence
        }
        // One opening of the outputs is enough, and both honest parties give the other one. The tags that P1 sends are of a share that
        // P3 never uses.
        Lie::Message(Act { kind, .. }) | Lie::Rush { kind, alter: true } | Lie::Echo { kind, .. } => {
            kind == Kind::OutputOpening || (kind == Kind::Tags && liar == Role::P1)
        }
        // Late is not wrong, as long as nobody shows anything before.
        Lie::Rush { alter: false, .. } | Lie::HoldBack { for_ever: false, .. } | Lie::Drip => true,
        Lie::HoldBack { for_ever: true, .. } | Lie::WrongSeed(_) | Lie::Input { .. } | Lie::Covered(..) => {
            false
        }
    }
}

/// The lies of a rushing party that holds back one of the last messages that it owes before each of its statements.
fn holds_back(reference: &End) -> Vec<Lie> {
    let mut lies = Vec::new();
    let mut owed = Vec::new();
    for (number, sent) in reference.sent.iter().enumerate() {
        if sent.kind == Kind::Statement {
            for &message in owed.iter().rev().take(2) {
                for for_ever in [false, true] {
                    lies.push(Lie::HoldBack { message, for_ever });
                }
            }
            owed.clear();
        } else {
            owed.push(number);
        }
    }
    lies
}

/// Every lie that fits what a party sends in an undisturbed session.
fn lies(reference: &End) -> Vec<Lie> {
    let mut lies = vec![Lie::WrongSeed(1), Lie::WrongSeed(2), Lie::WrongSeed(3), Lie::Drip];
    for credential in [false, true] {
        lies.extend([false, true].map(|own| Lie::Input { credential, own }));
    }
    lies.extend(holds_back(reference));
    let act = |kind, nth, deed| Act { kind, nth, deed };
    let count = |kind| reference.sent.iter().filter(|sent| sent.kind == kind).count();
    for kind in Kind::ALL {
        let count = count(kind);
        if count == 0 {
            continue;
        }
        let mut deeds = Deed::GENERAL.to_vec();
        match kind {
            Kind::Rows | Kind::Tags => deeds.extend(Deed::ON_ROWS),
            Kind::Statement => deeds.extend([Deed::FalseAccount, Deed::BadSignature]),
            Kind::OutputOpening => deeds.push(Deed::Refuse),
            _ => {}
        }
        let mut places = vec![0, 1, count / 2, count.saturating_sub(2), count - 1];
        places.retain(|&place| place < count);
        places.sort_unstable();
        places.dedup();
        for &nth in &places {
            lies.extend(deeds.iter().map(|&deed| Lie::Message(act(kind, nth, deed))));
        }
        for &nth in &places {
            lies.push(Lie::Message(act(kind, nth, Deed::Silence)));
        }
        let from_both = [
            Kind::RowHashes,
            Kind::KeyShare,
            Kind::BitShare,
            Kind::Statement,
            Kind::Commitment,
            Kind::OutputOpening,
        ];
        if from_both.contains(&kind) {
            lies.extend([false, true].map(|alter| Lie::Rush { kind, alter }));
        }
        if matches!(kind, Kind::Rows | Kind::Tags) {
            lies.extend((0..count).map(|nth| Lie::Echo { kind, nth }));
        }
    }
    // A wrong product, and a lie in the proof of it.
    for (kind, deed) in [
        (Kind::ProofValues, Deed::FlipBit),
        (Kind::ProofValues, Deed::Zero),
        (Kind::ProofCoefficients, Deed::FlipBit),
        (Kind::ProofHash, Deed::FlipBit),
    ] {
        if count(Kind::SortProducts) > 0 && count(kind) > 0 {
            let product = act(Kind::SortProducts, 0, Deed::FlipTwoBits);
            lies.push(Lie::Covered(product, act(kind, 0, deed)));
        }
    }
    lies
}

/// Carries out every attack of every party on one box.
#[must_use]
pub fn attack_everything(election: &Election, free_lanes: usize, number: u64) -> Table {
    let params = params(free_lanes);
    let reference = Session::honest(election, params.clone(), number).run();
    let other = Session::honest(election, params.clone(), number + 1).run();
    let old = other.map(|end| Arc::new(end.sent));
    let every = |role: Role| {
        lies(&reference[slot(role)])
            .into_iter()
            .map(move |lie| (role, lie))
    };
    let (silent, loud): (Vec<_>, Vec<_>) = Role::ALL
        .into_iter()
        .flat_map(every)
        .partition(|(_, lie)| lie.is_silent());
    let table = Mutex::new(Table::default());
    for (work, workers) in [(loud, WORKERS), (silent, IDLE_WORKERS)] {
        side_by_side(workers, work.len(), |i| {
            let (liar, lie) = work[i];
            let mut session = Session::honest(election, params.clone(), number);
            session.lie = Some((liar, lie));
            session.old = Some(Arc::clone(&old[slot(liar)]));
            if lie.is_silent() {
                session.patience = PATIENCE;
            }
            let ends = session.run();
            let verdict = judge(election, liar, lie, &reference, &ends);
            let void = may_be_void(liar, lie, &reference[slot(liar)]);
            let mut table = table.lock().expect("no thread panics");
            table.enter(liar, lie, void, verdict);
        });
    }
    table.into_inner().expect("no thread panics")
}

/// What a rushing party gains where nobody waits at barriers: for each opening before which it holds something back, the opening's
/// number and what the judge says.
#[must_use]
pub fn rush_without_barriers(
    election: &Election,
    free_lanes: usize,
    number: u64,
) -> Vec<(Role, usize, Lie, Verdict)> {
    let params = params(free_lanes);
    let reference = Session::honest(election, params.clone(), number).run();
    let work: Vec<(Role, Lie)> = Role::ALL
        .into_iter()
        .flat_map(|role| {
            let lies = holds_back(&reference[slot(role)]);
            lies.into_iter().map(move |lie| (role, lie))
        })
        .collect();
    let found = Mutex::new(Vec::new());
    side_by_side(IDLE_WORKERS, work.len(), |i| {
        let (liar, lie) = work[i];
        let mut session = Session::honest(election, params.clone(), number);
        session.no_barriers = true;
        session.lie = Some((liar, lie));
        session.patience = PATIENCE;
        session.look = PATIENCE / 2;
        let ends = session.run();
        let opening = ends[slot(liar)].deeds.statements_before / 2;
        let verdict = judge(election, liar, lie, &reference, &ends);
        let mut found = found.lock().expect("no thread panics");
        found.push((liar, opening, lie, verdict));
    });
    found.into_inner().expect("no thread panics")
}

/// Runs `work` for every number below `count`, several at a time.
pub fn for_each(count: usize, work: impl Fn(usize) + Sync) {
    side_by_side(WORKERS, count, work);
}

fn side_by_side(workers: usize, count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count {
                        break;
                    }
                    work(i);
                }
            });
        }
    });
}
