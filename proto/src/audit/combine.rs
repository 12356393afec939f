//! What the auditors of the parties find together: the six directed channels, the session, the outcome.
//!
//! For a directed channel X -> Y there are two records: what an honest P_X sends, given P_X's log (recomputed by P_X's auditor), and what
//! P_Y's log holds as received. Where they are equal on all six channels, no party sent anything but what an honest party sends. Where
//! they differ, P_X did not send what an honest party sends, or P_Y's log is not what P_Y received. What the two signed in the session
//! settles which, where it covers the message: a party that signed that it sent what the other logged is convicted by its own signature.

use tally_mpc::{Label, Statement};

use super::{Audit, ChannelRecord, Check, End, Mark, Verdict};
use crate::envelope::PublicKey;
use crate::ids::{BoxId, Hash32, Role, RoleExt as _, SessionNumber};

/// Who is named for a channel whose records differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The sender signed that it sent what the receiver logged: not what an honest party sends.
    Sender,
    /// The receiver signed that it received what an honest sender sends: its log says otherwise.
    Receiver,
    /// No signature covers the message: one of the two, and not the third party.
    Either,
}

/// What is known about one directed channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairVerdict {
    /// What an honest sender sends is what the receiver logged, as far as both go.
    Agree,
    /// They differ.
    Differ {
        /// The first message that differs; `None` where only the hashes of the whole channel are known.
        label: Option<[u8; Label::BYTES]>,
        /// Whom it names.
        blame: Blame,
    },
    /// One of the two auditors has not spoken, or the records do not meet.
    Unknown,
}

/// One directed channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Who sends.
    pub from: Role,
    /// Who receives.
    pub to: Role,
    /// What is known.
    pub verdict: PairVerdict,
}

/// What the auditors of a session say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Combined {
    /// The box.
    pub of_box: BoxId,
    /// The session.
    pub session: SessionNumber,
    /// Of which parties there is a statement.
    pub audited: [bool; 3],
    /// Parties whose own audit failed, with the first check that did.
    pub failed: Vec<(Role, Check)>,
    /// Whether all of them are of one Seal and one session.
    pub same_session: bool,
    /// Whether the auditors are three different keys' holders: nobody audits two parties.
    pub own_auditors: bool,
    /// The six directed channels.
    pub pairs: [Pair; 6],
    /// The outcome, where all agree on one.
    pub result: Option<Hash32>,
    /// Who deviated, or holds a false log. Each set holds one that did; empty: nobody is named.
    pub named: Vec<Vec<Role>>,
}

impl Combined {
    /// Whether the three prove the totals right for the sealed list, whatever the parties did.
    pub fn proves_totals(&self) -> bool {
        self.audited == [true; 3]
            && self.failed.is_empty()
            && self.same_session
            && self.own_auditors
            && self.result.is_some()
            && self.pairs.iter().all(|pair| pair.verdict == PairVerdict::Agree)
    }
}

/// Joins the statements of one box and session; of two about the same party the first counts: the caller has seen that they say the same.
///
/// # Panics
/// Without a statement.
pub fn combine(audits: &[Audit], keys: &[PublicKey; 3]) -> Combined {
    let first = audits.first().expect("the caller has a statement");
    let of = Role::ALL.map(|role| audits.iter().find(|audit| audit.party == role));
    let present = || of.into_iter().flatten();
    let same_session = present().all(|audit| {
        audit.of_box == first.of_box
            && audit.session == first.session
            && audit.session_id == first.session_id
            && audit.seal_hash == first.seal_hash
    });
    let mut auditors: Vec<&[u8; 32]> = present().map(|audit| audit.auditor_key.as_bytes()).collect();
    auditors.sort_unstable();
    let own_auditors = auditors.windows(2).all(|pair| pair[0] != pair[1]);
    let failed: Vec<(Role, Check)> = present()
        .filter_map(|audit| {
            let item = audit.items.iter().find(|item| item.verdict == Verdict::Failed)?;
            Some((audit.party, item.check))
        })
        .collect();
    let stated: Vec<&Statement> = present()
        .flat_map(|audit| &audit.stated)
        .filter(|stated| stated.verifies(&first.session_id, keys))
        .map(|stated| &stated.statement)
        .collect();
    let mut directions = Role::ALL
        .into_iter()
        .flat_map(|from| [(from, from.next()), (from, from.prev())]);
    let pairs = std::array::from_fn(|_| {
        let (from, to) = directions
            .next()
            .expect("three parties send in two directions each");
        let verdict = match (of[from.slot()], of[to.slot()]) {
            (Some(sender), Some(receiver)) if same_session => judge(sender, receiver, &stated),
            _ => PairVerdict::Unknown,
        };
        Pair { from, to, verdict }
    });
    let result = match &first.end {
        End::Result(hash) if present().all(|audit| audit.end == first.end) => Some(*hash),
        _ => None,
    };
    let named = named(of, &pairs);
    Combined {
        of_box: first.of_box,
        session: first.session,
        audited: of.map(|audit| audit.is_some()),
        failed,
        same_session,
        own_auditors,
        pairs,
        result,
        named,
    }
}

/// The parties that the records convict. A party's own audit convicts it alone where it signed, tallied or logged what an honest party
/// does not.
fn named(of: [Option<&Audit>; 3], pairs: &[Pair; 6]) -> Vec<Vec<Role>> {
    let mut named: Vec<Vec<Role>> = of
        .into_iter()
        .flatten()
        .filter(|audit| !audit.passed())
        .map(|audit| vec![audit.party])
        .collect();
    for pair in pairs {
        let PairVerdict::Differ { blame, .. } = pair.verdict else {
            continue;
        };
        let set = match blame {
            Blame::Sender => vec![pair.from],
            Blame::Receiver => vec![pair.to],
            Blame::Either => {
                let mut both = vec![pair.from, pair.to];
                both.sort_unstable();
                both
            }
        };
        // One that is named by itself explains the pair.
        let explained = named
            .iter()
            .any(|known| known.iter().all(|role| set.contains(role)));
        if !explained {
            named.push(set);
        }
    }
    named.sort_unstable();
    named.dedup();
    named
}

/// Compares what an honest sender sends with what the receiver logged.
fn judge(sender: &Audit, receiver: &Audit, stated: &[&Statement]) -> PairVerdict {
    let (from, to) = (sender.party, receiver.party);
    let (out, inward) = if from.next() == to { (0, 3) } else { (1, 2) };
    let (sent, received) = (&sender.channels[out], &receiver.channels[inward]);
    if !sent.trail.is_empty() && !received.trail.is_empty() {
        return by_trail((sent, received), (from, to), (out, inward), stated);
    }
    let (Some(one), Some(other)) = (&sender.agreed, &receiver.agreed) else {
        return PairVerdict::Unknown;
    };
    let (hash_sent, hash_received) = (hash(one, out), hash(other, inward));
    if one.number != other.number {
        return PairVerdict::Unknown;
    }
    if hash_sent == hash_received {
        return PairVerdict::Agree;
    }
    let signed = |role: Role, side: usize, value: [u8; 32]| {
        stated
            .iter()
            .any(|s| s.signer == role && s.number == one.number && hash(s, side) == value)
    };
    let blame = if signed(from, out, hash_received) {
        Blame::Sender
    } else if signed(to, inward, hash_sent) {
        Blame::Receiver
    } else {
        Blame::Either
    };
    PairVerdict::Differ { label: None, blame }
}

fn by_trail(
    (sent, received): (&ChannelRecord, &ChannelRecord),
    (from, to): (Role, Role),
    (out, inward): (usize, usize),
    stated: &[&Statement],
) -> PairVerdict {
    let differs = |(one, other): (&Mark, &Mark)| one != other;
    let Some(at) = sent.trail.iter().zip(&received.trail).position(differs) else {
        // A receiver cannot hold more than was sent.
        return if received.trail.len() <= sent.trail.len() {
            PairVerdict::Agree
        } else {
            PairVerdict::Differ {
                label: received.trail.get(sent.trail.len()).map(|mark| mark.label),
                blame: Blame::Either,
            }
        };
    };
    // Whether a statement of `role` about its side of the channel is on that trail at the message or beyond it.
    let signed = |role: Role, side: usize, trail: &[Mark]| {
        stated.iter().any(|s| {
            let value = hash(s, side);
            s.signer == role && trail.iter().skip(at).any(|mark| value.starts_with(&mark.hash))
        })
    };
    let blame = if signed(from, out, &received.trail) {
        Blame::Sender
    } else if signed(to, inward, &sent.trail) {
        Blame::Receiver
    } else {
        Blame::Either
    };
    PairVerdict::Differ {
        label: received.trail.get(at).map(|mark| mark.label),
        blame,
    }
}

/// The hash of one side of the signer's channels: to next, to previous, from next, from previous.
fn hash(statement: &Statement, side: usize) -> [u8; 32] {
    let channels = &statement.channels;
    match side {
        0 => channels.to_next,
        1 => channels.to_prev,
        2 => channels.from_next,
        _ => channels.from_prev,
    }
}
