//! Who signs and checks a party's statements about a session. The engine holds no long-term keys; its caller does.

use std::fmt;

use crate::channel::Scope;
use crate::prss::Binding;
use crate::role::Role;

/// Signs for this party and checks the signatures of the other two.
///
/// The engine hands over the whole statement ([`Statement::to_bytes`]); the caller adds its own domain and the session's id. Every
/// statement that passes a barrier goes through `verify`, so whoever wants to keep the signed statements keeps them here.
pub trait Notary {
    /// This party's signature on `statement`.
    fn sign(&mut self, statement: &[u8]) -> [u8; 64];

    /// Whether `signature` is `signer`'s on `statement`.
    fn verify(&mut self, signer: Role, statement: &[u8], signature: &[u8; 64]) -> bool;

    /// The party's part is over, with outputs or without. `last` says what went over its channels, up to the end; it bears
    /// [`Statement::LAST`] as its number and goes to nobody. Whoever keeps it signed can hold the party to it.
    fn ended(&mut self, _last: &Statement) {}
}

/// The hashes of everything that went over a party's four directed channels so far, barrier frames excepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelHashes {
    /// Sent to the next party.
    pub to_next: [u8; 32],
    /// Sent to the previous party.
    pub to_prev: [u8; 32],
    /// Received from the next party.
    pub from_next: [u8; 32],
    /// Received from the previous party.
    pub from_prev: [u8; 32],
}

impl ChannelHashes {
    /// The length of [`ChannelHashes::to_bytes`].
    pub const BYTES: usize = 128;

    /// The four in the order of the fields.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        let parts = [&self.to_next, &self.to_prev, &self.from_next, &self.from_prev];
        for (out, part) in out.chunks_exact_mut(32).zip(parts) {
            out.copy_from_slice(part);
        }
        out
    }

    /// What [`ChannelHashes::to_bytes`] makes.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (parts, _) = bytes.as_chunks::<32>();
        Self {
            to_next: parts[0],
            to_prev: parts[1],
            from_next: parts[2],
            from_prev: parts[3],
        }
    }
}

/// What a party says at a barrier: every check up to here passed, and this is what it sent and received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The session.
    pub binding: Binding,
    /// Who says it.
    pub signer: Role,
    /// The barrier's number in the session, from 0.
    pub number: u32,
    /// What is opened behind it.
    pub at: Scope,
    /// What went over the signer's channels.
    pub channels: ChannelHashes,
}

impl Statement {
    /// The number of the statement at a party's end, which no barrier has.
    pub const LAST: u32 = u32::MAX;

    /// The length of [`Statement::to_bytes`].
    pub const BYTES: usize = DOMAIN.len() + 32 + 1 + 4 + 9 + ChannelHashes::BYTES;

    /// Fixed encoding: domain, binding, signer, number, scope, hashes.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        let mut at = 0;
        let parts: [&[u8]; 6] = [
            DOMAIN,
            self.binding.as_bytes(),
            &[self.signer.index()],
            &self.number.to_le_bytes(),
            &self.at.to_bytes(),
            &self.channels.to_bytes(),
        ];
        for part in parts {
            out[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        out
    }

    /// What [`Statement::to_bytes`] makes; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(DOMAIN)?;
        let (binding, rest) = rest.split_first_chunk::<32>()?;
        let (&signer, rest) = rest.split_first()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (at, rest) = rest.split_first_chunk::<9>()?;
        Some(Self {
            binding: Binding::from_bytes(*binding),
            signer: Role::from_index(signer)?,
            number: u32::from_le_bytes(*number),
            at: Scope::from_bytes(at)?,
            channels: ChannelHashes::from_bytes(rest.try_into().ok()?),
        })
    }

    /// Whether two statements of different parties at one barrier can both be true: the same opening behind it, and the same hashes of the
    /// channels between the two.
    ///
    /// # Panics
    /// When both are of one party: there is no channel between them.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let (first, second) = if self.signer.next() == other.signer {
            (self, other)
        } else {
            (other, self)
        };
        assert_ne!(self.signer, other.signer, "two statements of two parties");
        self.at == other.at
            && first.channels.to_next == second.channels.from_prev
            && first.channels.from_next == second.channels.to_prev
    }
}

const DOMAIN: &[u8] = b"tally-mpc barrier v1";

/// A statement with its signature.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    /// What is said.
    pub statement: Statement,
    /// The signer's signature on [`Statement::to_bytes`], in the caller's domain.
    pub signature: [u8; 64],
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Signed({} at barrier {})",
            self.statement.signer, self.statement.number
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};

    use super::*;

    /// Real signatures under keys that every test knows.
    pub(crate) struct TestKeys {
        own: SigningKey,
        all: [VerifyingKey; 3],
    }

    impl TestKeys {
        pub(crate) fn new(role: Role) -> Self {
            let key = |role: Role| SigningKey::from_bytes(&[100 + role.index(); 32]);
            Self {
                own: key(role),
                all: Role::ALL.map(|role| key(role).verifying_key()),
            }
        }
    }

    impl Notary for TestKeys {
        fn sign(&mut self, statement: &[u8]) -> [u8; 64] {
            self.own.sign(statement).to_bytes()
        }

        fn verify(&mut self, signer: Role, statement: &[u8], signature: &[u8; 64]) -> bool {
            let key = &self.all[signer.index() as usize - 1];
            key.verify(statement, &Signature::from_bytes(signature)).is_ok()
        }
    }

    #[test]
    fn a_statement_encodes_everything_it_says() {
        let statement = Statement {
            binding: Binding::new(&[1; 32], b"e", b"b", 1),
            signer: Role::P2,
            number: 7,
            at: Scope {
                phase: crate::Phase::Sort,
                step: 3,
                chunk: 0,
            },
            channels: ChannelHashes {
                to_next: [1; 32],
                to_prev: [2; 32],
                from_next: [3; 32],
                from_prev: [4; 32],
            },
        };
        let mut encodings = vec![
            statement,
            Statement {
                binding: Binding::new(&[1; 32], b"e", b"b", 2),
                ..statement
            },
            Statement {
                signer: Role::P3,
                ..statement
            },
            Statement {
                number: 8,
                ..statement
            },
            Statement {
                at: Scope {
                    step: 4,
                    ..statement.at
                },
                ..statement
            },
        ];
        for i in 0..4 {
            let mut bytes = statement.channels.to_bytes();
            bytes[32 * i] ^= 1;
            encodings.push(Statement {
                channels: ChannelHashes::from_bytes(&bytes),
                ..statement
            });
        }
        for statement in &encodings {
            let bytes = statement.to_bytes();
            assert_eq!(Statement::from_bytes(&bytes), Some(*statement));
            assert_eq!(Statement::from_bytes(&bytes[1..]), None);
            assert_eq!(Statement::from_bytes(&bytes[..bytes.len() - 1]), None);
            assert_eq!(Statement::from_bytes(&[&bytes[..], &[0]].concat()), None);
        }
        let encodings: std::collections::HashSet<_> = encodings.iter().map(Statement::to_bytes).collect();
        assert_eq!(encodings.len(), 9);
    }

    #[test]
    fn two_parties_agree_when_every_hash_between_them_does() {
        let statement = |signer, hashes: [u8; 4]| Statement {
            binding: Binding::new(&[1; 32], b"e", b"b", 1),
            signer,
            number: 7,
            at: Scope {
                phase: crate::Phase::Sort,
                step: 3,
                chunk: 0,
            },
            channels: ChannelHashes {
                to_next: [hashes[0]; 32],
                to_prev: [hashes[1]; 32],
                from_next: [hashes[2]; 32],
                from_prev: [hashes[3]; 32],
            },
        };
        for one in Role::ALL {
            // What only the third party could contradict is left aside.
            let honest = statement(one, [10, 90, 11, 91]);
            let next = statement(one.next(), [80, 11, 81, 10]);
            assert!(honest.agrees_with(&next) && next.agrees_with(&honest), "{one}");
            for hashes in [[80, 12, 81, 10], [80, 11, 81, 12]] {
                let lie = statement(one.next(), hashes);
                assert!(!honest.agrees_with(&lie) && !lie.agrees_with(&honest), "{one}");
            }
            let mut elsewhere = next;
            elsewhere.at.step = 4;
            assert!(!honest.agrees_with(&elsewhere));
        }
    }
}
