//! Openings: behind a barrier, in two copies; the outputs from commitments.
//!
//! P_i lacks x_{i-1}, which both others hold. **Opening**: x_{i-1} comes from P_{i-1}, its hash from P_{i+1}; both leave at the same
//! time, after the barrier, and nothing else leaves before both agree. One round, one bit a lane and 32 bytes.
//!
//! **Barrier**: each party sends both others its signature on (session, number, step, the hashes of its four directed channels) and
//! passes only if both statements agree with its own channels and with each other about the third pair. A party that still owes a
//! message cannot pass, nor can one that showed two faces. A statement follows only when every earlier check passed. One round.
//!
//! **Outputs**: both holders of x_j send the third com_j = SHA-256(tag, binding, step, j, nonce_j, x_j), nonce_j 32 bytes of the
//! pair's PRSS; a barrier follows, whose statement says that both were equal; then (nonce_j, x_j) from either holder is enough.
//! Two rounds more; a party that dislikes the totals cannot withhold them.

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{Gates, Validated};
use crate::channel::{Label, Phase, Scope};
use crate::error::{CheckError, TallyError};
use crate::ledger::{Mismatch, compare};
use crate::link::{put_words, words};
use crate::notary::{ChannelHashes, Signed, Statement};
use crate::observer::Opening;
use crate::prss::{Binding, Purpose};
use crate::role::{Neighbour, Role};
use crate::share::{Column, xor};

/// Words in one message of an opening.
const MESSAGE_WORDS: usize = 32 * 1024;
/// The chunk that labels what opens a step's values.
const OPENING: u32 = u32::MAX;
/// The chunk that labels the commitments to a step's values.
const COMMITMENT: u32 = u32::MAX - 1;
/// Bytes of a signature.
const SIGNATURE: usize = 64;
/// Bytes of a nonce and of a hash.
const HASH: usize = 32;

/// Outputs to which all three parties are committed. Only [`Gates::commit`] makes one, after the two commitments to the share that
/// this party lacks were equal. Zeroised on drop.
pub struct Committed {
    column: Column,
    /// nonce_i, nonce_{i+1}.
    nonces: [Zeroizing<[u8; HASH]>; 2],
    /// The commitment to x_{i-1}.
    missing: [u8; HASH],
}

impl Gates<'_> {
    /// Opens the first `lanes` lanes of a column to all three parties.
    ///
    /// # Errors
    /// A message is missing or malformed, a statement does not fit, or the two copies differ.
    ///
    /// # Panics
    /// When the column is shorter than `lanes`.
    pub fn open(
        &mut self,
        at: Scope,
        opening: Opening,
        value: Validated<Column>,
        lanes: usize,
    ) -> Result<Vec<u64>, TallyError> {
        let mut column = value.0;
        let length = lanes.div_ceil(64);
        assert!(
            length <= column.words(),
            "{lanes} lanes are opened of {} words",
            column.words()
        );
        column.a.truncate(length);
        column.b.truncate(length);
        if !lanes.is_multiple_of(64) {
            // What lies beyond the lanes is nobody's business: it must not even leave this party.
            let mask = (1 << (lanes % 64)) - 1;
            for share in [&mut column.a, &mut column.b] {
                share[length - 1] &= mask;
            }
        }
        let out = self.or_stop(|gates| {
            if length > 0 {
                gates.barrier(at)?;
                gates.exchange(at, column)
            } else {
                Ok(Vec::new())
            }
        })?;
        self.link.observer.opened(opening, lanes, &out);
        Ok(out)
    }

    /// Sends this party's shares, the value to the next party and the hash of the other to the previous one, and takes the share it
    /// lacks.
    fn exchange(&mut self, at: Scope, column: Column) -> Result<Vec<u64>, TallyError> {
        let at = Scope { chunk: OPENING, ..at };
        let length = column.words();
        self.link.count_round();
        let label = |part: usize| Label {
            scope: at,
            round: part as u32,
        };
        for (part, words) in column.a.chunks(MESSAGE_WORDS).enumerate() {
            let mut message = self.link.buffer(8 * words.len());
            put_words(&mut message, words);
            self.link.send(Neighbour::Next, label(part), message)?;
        }
        let binding = self.checks.as_ref().map(|checks| checks.binding);
        if let Some(binding) = &binding {
            let hash = hash_of_share(binding, at, &column.b);
            self.link.send(Neighbour::Prev, label(0), hash.to_vec())?;
        }
        let mut out = Vec::with_capacity(length);
        for part in 0..length.div_ceil(MESSAGE_WORDS) {
            let expected = MESSAGE_WORDS.min(length - part * MESSAGE_WORDS);
            let message = self.link.recv(Neighbour::Prev, label(part), 8 * expected)?;
            out.extend(words(&message));
            self.link.recycle(message);
        }
        if let Some(binding) = &binding {
            let theirs = self.link.recv(Neighbour::Next, label(0), HASH)?;
            if theirs != hash_of_share(binding, at, &out) {
                let suspects = self.others();
                return Err(self.failed(at, CheckError::Copies { suspects }));
            }
        }
        xor(&mut out, &column.a);
        xor(&mut out, &column.b);
        Ok(out)
    }

    /// Waits until all three parties have stated the same about all channels.
    fn barrier(&mut self, at: Scope) -> Result<(), TallyError> {
        let role = self.role;
        let Some(checks) = &mut self.checks else {
            return Ok(());
        };
        let number = checks.barriers;
        checks.barriers += 1;
        let own = Statement {
            binding: checks.binding,
            signer: role,
            number,
            at,
            channels: self.link.hashes(),
        };
        let signature = checks.notary.sign(&own.to_bytes());
        let mut message = own.channels.to_bytes().to_vec();
        message.extend_from_slice(&signature);
        let label = Label {
            scope: Scope {
                phase: Phase::Barrier,
                step: number,
                chunk: 0,
            },
            round: 0,
        };
        self.link.count_round();
        self.link
            .send_unrecorded(Neighbour::Next, label, message.clone())?;
        self.link.send_unrecorded(Neighbour::Prev, label, message)?;
        let mut hear = |from: Neighbour| -> Result<Signed, TallyError> {
            let message = self
                .link
                .recv_unrecorded(from, label, ChannelHashes::BYTES + SIGNATURE)?;
            let (channels, signature) = message
                .split_first_chunk::<{ ChannelHashes::BYTES }>()
                .expect("the length was checked");
            Ok(Signed {
                statement: Statement {
                    signer: role.neighbour(from),
                    channels: ChannelHashes::from_bytes(channels),
                    ..own
                },
                signature: signature.try_into().expect("the length was checked"),
            })
        };
        let (next, prev) = (hear(Neighbour::Next)?, hear(Neighbour::Prev)?);
        for signed in [&next, &prev] {
            let statement = &signed.statement;
            if !checks
                .notary
                .verify(statement.signer, &statement.to_bytes(), &signed.signature)
            {
                let from = statement.signer;
                return Err(self.failed(at, CheckError::Signature { number, from }));
            }
        }
        let verdict = compare(&own.channels, &next.statement.channels, &prev.statement.channels);
        let source = match verdict {
            Ok(()) => return Ok(()),
            Err(Mismatch::Own(neighbour)) => CheckError::Transcript {
                number,
                with: role.neighbour(neighbour),
                signed: Box::new(match neighbour {
                    Neighbour::Next => next,
                    Neighbour::Prev => prev,
                }),
            },
            Err(Mismatch::Between) => CheckError::Statements {
                number,
                signed: Box::new([next, prev]),
            },
        };
        Err(self.failed(at, source))
    }

    /// Commits all three parties to the outputs `value`.
    ///
    /// # Errors
    /// A message is missing or malformed, or the two commitments to the share that this party lacks differ.
    pub fn commit(&mut self, at: Scope, value: Validated<Column>) -> Result<Committed, TallyError> {
        let column = value.0;
        let [prev, next] = [Neighbour::Prev, Neighbour::Next].map(|with| {
            let mut words = [0; HASH / 8];
            self.prss.stream(with, Purpose::Nonce, at).fill(&mut words);
            let mut nonce = Zeroizing::new([0; HASH]);
            put_words(nonce.as_mut_slice(), &words);
            words.zeroize();
            nonce
        });
        let mut committed = Committed {
            column,
            nonces: [prev, next],
            missing: [0; HASH],
        };
        let Some(binding) = self.checks.as_ref().map(|checks| checks.binding) else {
            return Ok(committed);
        };
        self.or_stop(|gates| {
            let at = Scope {
                chunk: COMMITMENT,
                ..at
            };
            let label = Label { scope: at, round: 0 };
            let role = gates.role;
            let Committed { column, nonces, .. } = &committed;
            gates.link.count_round();
            // P_{i+1} lacks x_i, P_{i-1} lacks x_{i+1}.
            let own = commitment(&binding, at, role, &nonces[0], column.a.iter().copied());
            gates.link.send(Neighbour::Next, label, own.to_vec())?;
            let own = commitment(&binding, at, role.next(), &nonces[1], column.b.iter().copied());
            gates.link.send(Neighbour::Prev, label, own.to_vec())?;
            let one = gates.link.recv(Neighbour::Prev, label, HASH)?;
            let other = gates.link.recv(Neighbour::Next, label, HASH)?;
            if one != other {
                let suspects = gates.others();
                return Err(gates.failed(at, CheckError::Commitments { suspects }));
            }
            committed.missing.copy_from_slice(&one);
            Ok(())
        })?;
        Ok(committed)
    }

    /// Opens the outputs: a barrier, then the share that this party lacks from whichever neighbour opens the commitment.
    ///
    /// # Errors
    /// A statement does not fit, or neither neighbour opens the commitment.
    pub fn open_committed(
        &mut self,
        at: Scope,
        opening: Opening,
        value: Committed,
    ) -> Result<Vec<u64>, TallyError> {
        let Some(binding) = self.checks.as_ref().map(|checks| checks.binding) else {
            let lanes = 64 * value.column.words();
            return self.open(at, opening, Validated(value.column), lanes);
        };
        let out = self.or_stop(|gates| {
            gates.barrier(at)?;
            gates.exchange_committed(&binding, at, &value)
        })?;
        self.link.observer.opened(opening, 64 * out.len(), &out);
        Ok(out)
    }

    fn exchange_committed(
        &mut self,
        binding: &Binding,
        at: Scope,
        value: &Committed,
    ) -> Result<Vec<u64>, TallyError> {
        let Committed {
            column,
            nonces,
            missing,
        } = value;
        let label = Label {
            scope: Scope { chunk: OPENING, ..at },
            round: 0,
        };
        let committed_at = Scope {
            chunk: COMMITMENT,
            ..at
        };
        self.link.count_round();
        let mut unheard = None;
        let shares = [
            (Neighbour::Next, &nonces[0], &column.a),
            (Neighbour::Prev, &nonces[1], &column.b),
        ];
        for (to, nonce, share) in shares {
            let mut message = vec![0; HASH + 8 * share.len()];
            message[..HASH].copy_from_slice(nonce.as_slice());
            put_words(&mut message[HASH..], share);
            // A neighbour that is gone must not keep this party from hearing the other.
            if let Err(error) = self.link.send(to, label, message) {
                unheard.get_or_insert(error);
            }
        }
        let lacking = self.role.prev();
        for from in [Neighbour::Prev, Neighbour::Next] {
            let message = match self.link.recv(from, label, HASH + 8 * column.words()) {
                Ok(message) => message,
                Err(error) => {
                    unheard.get_or_insert(error);
                    continue;
                }
            };
            let (nonce, share) = message
                .split_first_chunk::<HASH>()
                .expect("the length was checked");
            if commitment(binding, committed_at, lacking, nonce, words(share)) == *missing {
                let mut out: Vec<u64> = words(share).collect();
                xor(&mut out, &column.a);
                xor(&mut out, &column.b);
                return Ok(out);
            }
        }
        let suspects = self.others();
        Err(unheard.unwrap_or_else(|| self.failed(at, CheckError::Outputs { suspects })))
    }
}

/// What stands for a share that is opened, for the party that holds its other copy to send.
fn hash_of_share(binding: &Binding, at: Scope, share: &[u64]) -> [u8; HASH] {
    let mut hash = Sha256::new()
        .chain_update(b"tally-mpc opening v1")
        .chain_update(binding.as_bytes())
        .chain_update(at.to_bytes())
        .chain_update((share.len() as u64).to_le_bytes());
    for word in share {
        hash.update(word.to_le_bytes());
    }
    hash.finalize().into()
}

/// com_j.
fn commitment(
    binding: &Binding,
    at: Scope,
    j: Role,
    nonce: &[u8; HASH],
    share: impl ExactSizeIterator<Item = u64>,
) -> [u8; HASH] {
    let mut hash = Sha256::new()
        .chain_update(b"tally-mpc output v1")
        .chain_update(binding.as_bytes())
        .chain_update(at.to_bytes())
        .chain_update([j.index()])
        .chain_update(nonce)
        .chain_update((share.len() as u64).to_le_bytes());
    for word in share {
        hash.update(word.to_le_bytes());
    }
    hash.finalize().into()
}
