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
//! Two rounds more. With it travels the third party's signed statement, so that a party that gave its statement to one neighbour only
//! has given it to both: whoever passes this barrier takes the other honest party along. A party that did not pass by itself says so
//! in its place. A party that dislikes the totals cannot withhold them.

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{Gates, Validated};
use crate::channel::{ChannelError, Label, Phase, Scope};
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
/// Bytes of a statement on the wire: hashes and signature.
const SIGNED: usize = ChannelHashes::BYTES + 64;
/// Bytes of a nonce and of a hash.
const HASH: usize = 32;
/// Sent in the place of an opening of the outputs by a party that did not pass the barrier by itself.
const REFUSAL: [u8; 1] = [0];
/// How many deadlines a party waits for a neighbour's statement at the last barrier. The third party can hold back the commitment to
/// one honest party for one deadline after the other has begun to wait for its statement.
const STATEMENT_TRIES: usize = 2;
/// How many deadlines a party waits for a neighbour's opening of the outputs. One honest party passes the last barrier at most three
/// after the other has its statement, and shows what it needs to follow at most two later.
const OPENING_TRIES: usize = 6;

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
        if self.checks.is_none() {
            return Ok(());
        }
        let (own, heard) = self.state(at, 1);
        self.agree(&own, heard).map(|_| ())
    }

    /// Sends this party's statement to both others and takes theirs, from the next and from the previous party; waits for each up to
    /// `tries` deadlines.
    fn state(&mut self, at: Scope, tries: usize) -> (Statement, [Result<Signed, TallyError>; 2]) {
        let role = self.role;
        let checks = self.checks.as_mut().expect(CHECKED);
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
        let message = to_message(&Signed {
            statement: own,
            signature,
        });
        let label = Label {
            scope: Scope {
                phase: Phase::Barrier,
                step: number,
                chunk: 0,
            },
            round: 0,
        };
        self.link.count_round();
        let both = [Neighbour::Next, Neighbour::Prev];
        let sent = both.map(|to| self.link.send_unrecorded(to, label, message.to_vec()));
        let heard = both.map(|from| {
            let mut message = self.link.recv_unrecorded(from, label, SIGNED);
            for _ in 1..tries {
                if !matches!(&message, Err(error) if is_overdue(error)) {
                    break;
                }
                message = self.link.recv_unrecorded(from, label, SIGNED);
            }
            Ok(from_message(&own, role.neighbour(from), &message?))
        });
        let [next, prev] = sent;
        let [from_next, from_prev] = heard;
        // A neighbour that takes nothing will not pass, whatever it says.
        (own, [next.and(from_next), prev.and(from_prev)])
    }

    /// Whether a statement is its signer's.
    fn is_signed(&mut self, signed: &Signed) -> bool {
        let statement = &signed.statement;
        let notary = &mut self.checks.as_mut().expect(CHECKED).notary;
        notary.verify(statement.signer, &statement.to_bytes(), &signed.signature)
    }

    /// The statements of the next and the previous party, if all three agree.
    fn agree(
        &mut self,
        own: &Statement,
        heard: [Result<Signed, TallyError>; 2],
    ) -> Result<[Signed; 2], TallyError> {
        let [next, prev] = heard;
        let (next, prev) = (next?, prev?);
        let (role, number, at) = (self.role, own.number, own.at);
        for signed in [&next, &prev] {
            if !self.is_signed(signed) {
                let from = signed.statement.signer;
                return Err(self.failed(at, CheckError::Signature { number, from }));
            }
        }
        let verdict = compare(&own.channels, &next.statement.channels, &prev.statement.channels);
        let source = match verdict {
            Ok(()) => return Ok([next, prev]),
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
            gates.link.separate();
            let (own, heard) = gates.state(at, STATEMENT_TRIES);
            let direct = heard.each_ref().map(|heard| heard.as_ref().ok().cloned());
            match gates.agree(&own, heard) {
                Ok(signed) => {
                    gates.show(at, &value, &signed);
                    gates.see(&binding, at, &value)
                }
                Err(error) => gates.follow(&binding, &own, &value, direct).ok_or(error),
            }
        })?;
        self.link.observer.opened(opening, 64 * out.len(), &out);
        Ok(out)
    }

    /// Opens this party's shares of the outputs to both others, each with the statement that the third one signed.
    fn show(&mut self, at: Scope, value: &Committed, [next, prev]: &[Signed; 2]) {
        let Committed { column, nonces, .. } = value;
        self.link.count_round();
        let shares = [
            (Neighbour::Next, &nonces[0], &column.a, prev),
            (Neighbour::Prev, &nonces[1], &column.b, next),
        ];
        for (to, nonce, share, third) in shares {
            let mut message = vec![0; HASH + 8 * share.len()];
            message[..HASH].copy_from_slice(nonce.as_slice());
            put_words(&mut message[HASH..], share);
            message.extend_from_slice(&to_message(third));
            // A neighbour that is gone must not keep this party from showing the other.
            let _ = self.link.send(to, opening_label(at), message);
        }
    }

    /// Takes the share that this party lacks from the first neighbour that opens its commitment.
    fn see(&mut self, binding: &Binding, at: Scope, value: &Committed) -> Result<Vec<u64>, TallyError> {
        let mut unheard = None;
        let mut listening = vec![Neighbour::Prev, Neighbour::Next];
        for _ in 0..OPENING_TRIES {
            for from in listening.clone() {
                match self.hear_opening(binding, at, value, from) {
                    Heard::Opening(out, _) => return Ok(out),
                    // A neighbour that did not pass the barrier by itself follows this party, and one that waits may be late.
                    Heard::Refusal | Heard::Nothing => {}
                    Heard::Unfit => listening.retain(|&other| other != from),
                    Heard::Lost(error) => {
                        listening.retain(|&other| other != from);
                        unheard.get_or_insert(error);
                    }
                }
            }
        }
        let suspects = self.others();
        Err(unheard.unwrap_or_else(|| self.failed(at, CheckError::Outputs { suspects })))
    }

    /// When this party did not pass the last barrier because of one neighbour: says so, and follows the other, if that passed it and
    /// shows the statement that it got from the first.
    fn follow(
        &mut self,
        binding: &Binding,
        own: &Statement,
        value: &Committed,
        direct: [Option<Signed>; 2],
    ) -> Option<Vec<u64>> {
        let mut passed = Vec::new();
        for (neighbour, signed) in [Neighbour::Next, Neighbour::Prev].into_iter().zip(direct) {
            // Else two honest parties that the third one kept from passing would wait for each other.
            let _ = self.link.send(neighbour, opening_label(own.at), REFUSAL.to_vec());
            passed.extend(
                signed
                    .filter(|signed| self.is_signed(signed))
                    .map(|signed| (neighbour, signed)),
            );
        }
        for _ in 0..OPENING_TRIES {
            for (from, signed) in passed.clone() {
                match self.hear_opening(binding, own.at, value, from) {
                    Heard::Nothing => continue,
                    Heard::Opening(out, third) => {
                        let other = self.role.neighbour(from.opposite());
                        let third = Ok(from_message(own, other, &third));
                        let heard = match from {
                            Neighbour::Next => [Ok(signed), third],
                            Neighbour::Prev => [third, Ok(signed)],
                        };
                        if let Ok(signed) = self.agree(own, heard) {
                            self.show(own.at, value, &signed);
                            return Some(out);
                        }
                    }
                    Heard::Refusal | Heard::Unfit | Heard::Lost(_) => {}
                }
                passed.retain(|(other, _)| *other != from);
            }
        }
        None
    }

    /// A neighbour's next word on the outputs.
    fn hear_opening(&mut self, binding: &Binding, at: Scope, value: &Committed, from: Neighbour) -> Heard {
        let Committed { column, missing, .. } = value;
        let bytes = HASH + 8 * column.words() + SIGNED;
        let message = match self.link.recv(from, opening_label(at), bytes) {
            Ok(message) => message,
            Err(error) if is_overdue(&error) => return Heard::Nothing,
            Err(TallyError::Channel {
                source: ChannelError::WrongLength { got, .. },
                ..
            }) if got == REFUSAL.len() => return Heard::Refusal,
            Err(error) => return Heard::Lost(error),
        };
        let (message, third) = message
            .split_last_chunk::<SIGNED>()
            .expect("the length was checked");
        let (nonce, share) = message
            .split_first_chunk::<HASH>()
            .expect("the length was checked");
        let committed_at = Scope {
            chunk: COMMITMENT,
            ..at
        };
        if commitment(binding, committed_at, self.role.prev(), nonce, words(share)) != *missing {
            return Heard::Unfit;
        }
        let mut out: Vec<u64> = words(share).collect();
        xor(&mut out, &column.a);
        xor(&mut out, &column.b);
        Heard::Opening(out, *third)
    }
}

/// What a neighbour says after the last barrier.
enum Heard {
    /// The outputs, and the statement that it has from the third party.
    Opening(Vec<u64>, [u8; SIGNED]),
    /// It did not pass the barrier by itself.
    Refusal,
    /// Something that does not open the commitment.
    Unfit,
    /// Nothing in time.
    Nothing,
    /// It is gone, or what it sent is no message.
    Lost(TallyError),
}

/// Whether a message may still come.
fn is_overdue(error: &TallyError) -> bool {
    matches!(
        error,
        TallyError::Channel {
            source: ChannelError::Overdue,
            ..
        }
    )
}

const CHECKED: &str = "barriers exist where the others are checked";

/// Labels the openings of committed values.
fn opening_label(at: Scope) -> Label {
    Label {
        scope: Scope { chunk: OPENING, ..at },
        round: 0,
    }
}

/// A statement on the wire: the hashes and the signature; the receiver knows the rest.
fn to_message(signed: &Signed) -> [u8; SIGNED] {
    let mut message = [0; SIGNED];
    message[..ChannelHashes::BYTES].copy_from_slice(&signed.statement.channels.to_bytes());
    message[ChannelHashes::BYTES..].copy_from_slice(&signed.signature);
    message
}

/// The statement of `signer` at the same barrier as `own`, from bytes whose number was checked.
fn from_message(own: &Statement, signer: Role, message: &[u8]) -> Signed {
    let (channels, signature) = message
        .split_first_chunk::<{ ChannelHashes::BYTES }>()
        .expect("the length was checked");
    Signed {
        statement: Statement {
            signer,
            channels: ChannelHashes::from_bytes(channels),
            ..*own
        },
        signature: signature.try_into().expect("the length was checked"),
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

#[cfg(test)]
mod tests;
