//! What a lying party's channel and its keys know of one another, so that what it signs is what it did.

use std::sync::{Arc, Mutex, MutexGuard};

use tally_mpc::{ChannelHashes, Label, Ledger, Neighbour, Notary, Role};
use tally_proto::envelope::{PublicKey, SignatureBytes, Signer};
use tally_proto::layout::Writer;

use super::election::binding;

/// Domain of the signatures here.
const DOMAIN: &str = "tally/v1/test-statement";

fn key(role: Role) -> Signer {
    Signer::from_seed(&[40 + role.index(); 32]).expect("32 bytes")
}

fn to_sign(statement: &[u8]) -> Writer {
    Writer::new(DOMAIN).bytes(statement)
}

#[derive(Debug)]
struct Inner {
    /// What really went over the channel.
    real: Ledger,
    /// What the party's engine, which knows nothing of the lie, thinks did.
    believed: Option<ChannelHashes>,
    /// The statement that was signed last, without its hashes.
    statement: Vec<u8>,
    signer: Signer,
}

/// The books of one party.
#[derive(Clone, Debug)]
pub struct Books(Arc<Mutex<Inner>>);

impl Books {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no thread panics")
    }

    /// Enters what leaves.
    pub fn sent(&self, to: Neighbour, label: Label, message: &[u8]) {
        self.inner().real.sent(to, label, message);
    }

    /// Enters what came.
    pub fn received(&self, from: Neighbour, label: Label, message: &[u8]) {
        self.inner().real.received(from, label, message);
    }

    /// Puts the real hashes into a statement that leaves.
    pub fn account(&self, message: &mut [u8]) {
        message[..ChannelHashes::BYTES].copy_from_slice(&self.inner().real.hashes().to_bytes());
    }

    /// Makes a statement that leaves a false one, and signs it.
    pub fn falsify(&self, message: &mut [u8]) {
        let inner = self.inner();
        message[40] ^= 1;
        let mut statement = inner.statement.clone();
        statement.extend_from_slice(&message[..ChannelHashes::BYTES]);
        let signature = inner.signer.sign_layout(&to_sign(&statement)).0;
        message[ChannelHashes::BYTES..].copy_from_slice(&signature);
    }

    /// Makes a neighbour's statement one that agrees with whatever this party's engine believes.
    pub fn appease(&self, from: Neighbour, message: &mut [u8]) {
        let (Some(believed), Some(stated)) = (self.inner().believed, message.first_chunk_mut()) else {
            return;
        };
        let mut channels = ChannelHashes::from_bytes(stated);
        match from {
            Neighbour::Next => {
                channels.from_prev = believed.to_next;
                channels.to_prev = believed.from_next;
            }
            Neighbour::Prev => {
                channels.from_next = believed.to_prev;
                channels.to_next = believed.from_prev;
            }
        }
        *stated = channels.to_bytes();
    }
}

/// A party's keys. With books they sign what really happened and believe everything.
pub struct Keys {
    signer: Signer,
    all: [PublicKey; 3],
    books: Option<Books>,
}

impl Keys {
    /// An honest party's.
    #[must_use]
    pub fn honest(role: Role) -> Self {
        Self {
            signer: key(role),
            all: Role::ALL.map(|role| key(role).public_key()),
            books: None,
        }
    }

    /// Those of a party that keeps books beside its engine, and the books.
    #[must_use]
    pub fn with_books(role: Role, session: u64) -> (Self, Books) {
        let books = Books(Arc::new(Mutex::new(Inner {
            real: Ledger::new(role, &binding(session)),
            believed: None,
            statement: Vec::new(),
            signer: key(role),
        })));
        let keys = Self {
            books: Some(books.clone()),
            ..Self::honest(role)
        };
        (keys, books)
    }
}

impl Notary for Keys {
    fn sign(&mut self, statement: &[u8]) -> [u8; 64] {
        let mut statement = statement.to_vec();
        if let Some(books) = &self.books {
            let mut inner = books.inner();
            let at = statement.len() - ChannelHashes::BYTES;
            inner.statement = statement[..at].to_vec();
            inner.believed = statement.last_chunk().map(ChannelHashes::from_bytes);
            statement[at..].copy_from_slice(&inner.real.hashes().to_bytes());
        }
        self.signer.sign_layout(&to_sign(&statement)).0
    }

    fn verify(&mut self, signer: Role, statement: &[u8], signature: &[u8; 64]) -> bool {
        self.books.is_some()
            || self.all[signer.index() as usize - 1]
                .verify(to_sign(statement).as_bytes(), &SignatureBytes(*signature))
    }
}
