//! What is said over the key holder's socket: frames of a length (2 bytes, big endian) and a message of a fixed layout.

use tally_proto::ids::Role;
use zeroize::Zeroizing;

use crate::officials::share::{CeremonyId, SHARE_BYTES, Share, Terms};

/// Longest message, bytes.
pub const MAX_MESSAGE_BYTES: usize = 512;

/// What is asked of the holder.
#[derive(Debug)]
pub enum Request {
    /// How it stands.
    State,
    /// Takes one official's share.
    Share(Share),
    /// The key, for a server of this party and ceremony.
    Key {
        /// Whose keys are to be opened.
        party: Role,
        /// The splitting that the server's key file names.
        ceremony: CeremonyId,
    },
    /// Forgets key and shares.
    Lock,
}

/// How the holder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whose keys.
    pub party: Role,
    /// The splitting.
    pub ceremony: CeremonyId,
    /// How many officials there are, and how many it takes.
    pub terms: Terms,
    /// Bit j - 1: share j was given. Zero once unlocked: the shares are forgotten then.
    pub given: u16,
    /// It holds the key.
    pub unlocked: bool,
}

/// The holder's answer.
pub enum Reply {
    /// How it stands, after what was asked.
    State(State),
    /// The unlock key.
    Key(Zeroizing<[u8; 32]>),
    /// Not done; in words.
    Refused(String),
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reply::State(state) => f.debug_tuple("State").field(state).finish(),
            Reply::Key(_) => f.write_str("Key(32 bytes)"),
            Reply::Refused(words) => f.debug_tuple("Refused").field(words).finish(),
        }
    }
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message of the key holder's socket")]
pub struct NoMessage;

impl Request {
    /// The layout.
    ///
    /// # Security
    /// A share's bytes are in it: erased on drop.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + SHARE_BYTES));
        match self {
            Request::State => bytes.push(1),
            Request::Share(share) => {
                bytes.push(2);
                bytes.extend_from_slice(&*share.to_bytes());
            }
            Request::Key { party, ceremony } => {
                bytes.extend([3, party.index()]);
                bytes.extend(ceremony.0);
            }
            Request::Lock => bytes.push(4),
        }
        bytes
    }

    /// What [`Request::encode`] makes.
    ///
    /// # Errors
    /// [`NoMessage`].
    pub fn decode(bytes: &[u8]) -> Result<Request, NoMessage> {
        let (kind, body) = bytes.split_first().ok_or(NoMessage)?;
        match (kind, body) {
            (1, []) => Ok(Request::State),
            (2, body) => {
                let body = body.try_into().map_err(|_| NoMessage)?;
                Share::from_bytes(body).map(Request::Share).map_err(|_| NoMessage)
            }
            (3, [party, a, b, c, d]) => Ok(Request::Key {
                party: Role::from_index(*party).ok_or(NoMessage)?,
                ceremony: CeremonyId([*a, *b, *c, *d]),
            }),
            (4, []) => Ok(Request::Lock),
            _ => Err(NoMessage),
        }
    }
}

impl Reply {
    /// The layout.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_MESSAGE_BYTES));
        match self {
            Reply::State(state) => {
                bytes.extend([1, state.party.index()]);
                bytes.extend(state.ceremony.0);
                bytes.extend([state.terms.officials(), state.terms.threshold()]);
                bytes.extend(state.given.to_be_bytes());
                bytes.push(state.unlocked.into());
            }
            Reply::Key(key) => {
                bytes.push(2);
                bytes.extend_from_slice(&**key);
            }
            Reply::Refused(words) => {
                bytes.push(3);
                bytes.extend(words.bytes().take(MAX_MESSAGE_BYTES - 1));
            }
        }
        bytes
    }

    /// What [`Reply::encode`] makes.
    ///
    /// # Errors
    /// [`NoMessage`].
    pub fn decode(bytes: &[u8]) -> Result<Reply, NoMessage> {
        let (kind, body) = bytes.split_first().ok_or(NoMessage)?;
        match (kind, body) {
            (
                1,
                [
                    party,
                    a,
                    b,
                    c,
                    d,
                    officials,
                    threshold,
                    high,
                    low,
                    unlocked @ (0 | 1),
                ],
            ) => Ok(Reply::State(State {
                party: Role::from_index(*party).ok_or(NoMessage)?,
                ceremony: CeremonyId([*a, *b, *c, *d]),
                terms: Terms::new(*officials, *threshold).map_err(|_| NoMessage)?,
                given: u16::from_be_bytes([*high, *low]),
                unlocked: *unlocked == 1,
            })),
            (2, body) => {
                let key: &[u8; 32] = body.try_into().map_err(|_| NoMessage)?;
                Ok(Reply::Key(Zeroizing::new(*key)))
            }
            (3, body) if body.len() < MAX_MESSAGE_BYTES => {
                Ok(Reply::Refused(String::from_utf8_lossy(body).into_owned()))
            }
            _ => Err(NoMessage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_one_form() {
        let ceremony = CeremonyId([1, 2, 3, 4]);
        let requests = [
            Request::State,
            Request::Key {
                party: Role::P3,
                ceremony,
            },
            Request::Lock,
        ];
        for request in requests {
            let bytes = request.encode();
            assert_eq!(Request::decode(&bytes).expect("decodes").encode(), bytes);
            let mut longer = bytes.to_vec();
            longer.push(0);
            assert!(Request::decode(&longer).is_err());
        }
        let state = State {
            party: Role::P2,
            ceremony,
            terms: Terms::new(5, 3).expect("terms"),
            given: 0x8001,
            unlocked: false,
        };
        assert!(matches!(
            Reply::decode(&Reply::State(state).encode()),
            Ok(Reply::State(read)) if read == state
        ));
        let key = Reply::Key(Zeroizing::new([7; 32]));
        assert_eq!(format!("{key:?}"), "Key(32 bytes)");
        assert!(matches!(Reply::decode(&key.encode()), Ok(Reply::Key(read)) if *read == [7; 32]));
        let long = Reply::Refused("é".repeat(1000)).encode();
        assert_eq!(long.len(), MAX_MESSAGE_BYTES);
        assert!(matches!(Reply::decode(&long), Ok(Reply::Refused(_))));
        for bytes in [&[][..], &[0], &[1, 9], &[2, 1], &[9, 9, 9]] {
            assert!(Request::decode(bytes).is_err() && Reply::decode(bytes).is_err());
        }
    }
}
