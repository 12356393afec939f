//! Running hashes of a party's four directed channels, and the comparison of what three parties say about them.
//!
//! A channel's hash covers binding, sender, receiver, and of each message label, length and hash. Both ends of a channel compute
//! it; an honest pair always agrees at a barrier, because each message is sent and received on the same side of it. It is BLAKE3:
//! every byte of a tally is hashed at either end, which with SHA-256 is a tenth of the tally's work.

use blake3::Hasher;

use crate::channel::Label;
use crate::notary::ChannelHashes;
use crate::prss::Binding;
use crate::role::{Neighbour, Role};

/// The four running hashes of one party. The engine keeps one; whoever replays a party from its log keeps another.
pub struct Ledger {
    to_next: Hasher,
    to_prev: Hasher,
    from_next: Hasher,
    from_prev: Hasher,
}

impl Ledger {
    /// Nothing was sent or received yet.
    pub fn new(role: Role, binding: &Binding) -> Self {
        let channel = |from: Role, to: Role| {
            let mut hash = Hasher::new();
            hash.update(b"tally-mpc channel v1");
            hash.update(binding.as_bytes());
            hash.update(&[from.index(), to.index()]);
            hash
        };
        Self {
            to_next: channel(role, role.next()),
            to_prev: channel(role, role.prev()),
            from_next: channel(role.next(), role),
            from_prev: channel(role.prev(), role),
        }
    }

    /// Enters a message that leaves for a neighbour.
    pub fn sent(&mut self, to: Neighbour, label: Label, message: &[u8]) {
        let hash = match to {
            Neighbour::Next => &mut self.to_next,
            Neighbour::Prev => &mut self.to_prev,
        };
        enter(hash, label, message);
    }

    /// Enters a message that came from a neighbour.
    pub fn received(&mut self, from: Neighbour, label: Label, message: &[u8]) {
        let hash = match from {
            Neighbour::Next => &mut self.from_next,
            Neighbour::Prev => &mut self.from_prev,
        };
        enter(hash, label, message);
    }

    /// The four hashes of everything so far.
    pub fn hashes(&self) -> ChannelHashes {
        let [to_next, to_prev, from_next, from_prev] =
            [&self.to_next, &self.to_prev, &self.from_next, &self.from_prev]
                .map(|hash| hash.finalize().into());
        ChannelHashes {
            to_next,
            to_prev,
            from_next,
            from_prev,
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ledger")
    }
}

fn enter(hash: &mut Hasher, label: Label, message: &[u8]) {
    hash.update(&label.to_bytes());
    hash.update(&(message.len() as u32).to_le_bytes());
    // By itself, so that long messages are hashed in whole vectors.
    hash.update(blake3::hash(message).as_bytes());
}

/// Two statements about one channel that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Between this party's own view and what a neighbour says.
    Own(Neighbour),
    /// Between what the two neighbours say about the channels between them.
    Between,
}

/// Compares this party's hashes with what the next and the previous party state.
pub(crate) fn compare(
    own: &ChannelHashes,
    next: &ChannelHashes,
    prev: &ChannelHashes,
) -> Result<(), Mismatch> {
    if own.to_next != next.from_prev || own.from_next != next.to_prev {
        return Err(Mismatch::Own(Neighbour::Next));
    }
    if own.to_prev != prev.from_next || own.from_prev != prev.to_next {
        return Err(Mismatch::Own(Neighbour::Prev));
    }
    // The next party's next is the previous party.
    if next.to_next != prev.from_prev || next.from_next != prev.to_prev {
        return Err(Mismatch::Between);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Phase, Scope};

    fn label(round: u32) -> Label {
        Label {
            scope: Scope {
                phase: Phase::Sort,
                step: 1,
                chunk: 0,
            },
            round,
        }
    }

    /// Three ledgers after one message on every directed channel; `alter` may change what arrives at P_2 from P_1.
    fn hashes(alter: impl Fn(&mut Label, &mut Vec<u8>)) -> [ChannelHashes; 3] {
        let binding = Binding::new(&[1; 32], b"e", b"b", 1);
        let mut ledgers = Role::ALL.map(|role| Ledger::new(role, &binding));
        for (i, role) in Role::ALL.into_iter().enumerate() {
            for to in [Neighbour::Next, Neighbour::Prev] {
                let mut message = vec![role.index(), to as u8];
                let mut label = label(3);
                ledgers[i].sent(to, label, &message);
                if role == Role::P1 && to == Neighbour::Next {
                    alter(&mut label, &mut message);
                }
                let receiver = role.neighbour(to).index() as usize - 1;
                ledgers[receiver].received(to.opposite(), label, &message);
            }
        }
        ledgers.map(|ledger| ledger.hashes())
    }

    fn verdicts(h: &[ChannelHashes; 3]) -> [Result<(), Mismatch>; 3] {
        [0, 1, 2].map(|i| compare(&h[i], &h[(i + 1) % 3], &h[(i + 2) % 3]))
    }

    #[test]
    fn honest_ledgers_agree() {
        let honest = hashes(|_, _| {});
        assert_eq!(verdicts(&honest), [Ok(()); 3]);
        assert_eq!(ChannelHashes::from_bytes(&honest[0].to_bytes()), honest[0]);
    }

    #[test]
    fn any_difference_is_seen_by_all_three() {
        let expected = [
            Err(Mismatch::Own(Neighbour::Next)),
            Err(Mismatch::Own(Neighbour::Prev)),
            Err(Mismatch::Between),
        ];
        assert_eq!(verdicts(&hashes(|_, message| message[1] ^= 1)), expected);
        assert_eq!(verdicts(&hashes(|_, message| message.push(0))), expected);
        assert_eq!(verdicts(&hashes(|label, _| label.round ^= 1)), expected);
    }

    #[test]
    fn a_lie_about_any_channel_is_seen_by_both_others() {
        let honest = hashes(|_, _| {});
        for liar in 0..3 {
            for field in 0..4 {
                let mut stated = honest;
                let mut bytes = stated[liar].to_bytes();
                bytes[32 * field] ^= 1;
                stated[liar] = ChannelHashes::from_bytes(&bytes);
                for (i, verdict) in verdicts(&stated).iter().enumerate() {
                    assert!(
                        i == liar || verdict.is_err(),
                        "liar {liar}, field {field}, party {i}"
                    );
                }
            }
        }
    }
}
