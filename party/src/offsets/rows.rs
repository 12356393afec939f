//! The offset keys in the store.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use redb::{ReadableTable as _, TableDefinition};
use tally_proto::ids::{Hash32, RegisterId, Role, RoleExt as _};
use tally_proto::offsets::OffsetKey;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use zeroize::Zeroizing;

use crate::store::vault::StorageKey;
use crate::store::{Store, StoreError, Tables, WriteTx};

/// Register and j.
type Place = (&'static str, u8);
/// C_j, and nonce_j and K_j sealed.
type Row = (&'static [u8; 32], &'static [u8]);

const OFFSET_KEYS: TableDefinition<'static, Place, Row> = TableDefinition::new("offset_keys");

/// Makes the table, in the store's opening transaction.
pub(super) fn create(tx: &WriteTx) -> Result<(), StoreError> {
    tx.table_mut(OFFSET_KEYS)?;
    Ok(())
}

/// Why offsets cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum MissingKey {
    /// The key that the manifest names is not in the store.
    #[error(
        "the key of offsets {j} of register {register} that the manifest names is not here: this party asks party {other} for it and goes on by itself"
    )]
    Absent {
        /// Which.
        j: Role,
        /// Of which register.
        register: RegisterId,
        /// Who else holds it.
        other: Role,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<MissingKey> for Refusal {
    fn from(error: MissingKey) -> Self {
        match error {
            MissingKey::Store(error) => error.into(),
            absent @ MissingKey::Absent { .. } => Self::new(Reason::OffsetsMissing, absent),
        }
    }
}

/// The offset keys that one party holds, in its store.
///
/// # Security
/// At rest each is sealed under a key derived from the storage key and C_j. C_j fixes what it commits to, so that key never encrypts two
/// plaintexts and its nonce may be fixed.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    party: Role,
    store: &'a Store,
    vault: &'a StorageKey,
}

impl<'a> Held<'a> {
    /// Those of `party`.
    pub fn new(party: Role, store: &'a Store, vault: &'a StorageKey) -> Self {
        Self { party, store, vault }
    }

    /// K_j of the register with its commitment; `None` while it is not here.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Corrupt`] for a row that does not open its own commitment.
    pub fn key(&self, register: &RegisterId, j: Role) -> Result<Option<(OffsetKey, Hash32)>, StoreError> {
        self.store.read(|tx| self.read(tx, register, j))
    }

    /// K_i and K_{i+1} of the register, which open the manifest's commitments.
    ///
    /// # Errors
    /// [`MissingKey`], also where the manifest has no commitments.
    pub fn both(
        &self,
        register: &RegisterId,
        commitments: Option<&[Hash32; 3]>,
    ) -> Result<[OffsetKey; 2], MissingKey> {
        let one = |j: Role| {
            let due = commitments.map(|all| all[j.slot()]);
            match self.key(register, j)? {
                Some((key, commitment)) if Some(commitment) == due => Ok(key),
                _ => Err(MissingKey::Absent {
                    j,
                    register: register.clone(),
                    other: if j == self.party { j.prev() } else { j },
                }),
            }
        };
        Ok([one(self.party)?, one(self.party.next())?])
    }

    /// Keeps `key` as K_j of the register and returns what is kept: what came first.
    ///
    /// # Errors
    /// As [`Held::key`].
    pub fn keep(
        &self,
        register: &RegisterId,
        j: Role,
        key: OffsetKey,
    ) -> Result<(OffsetKey, Hash32), StoreError> {
        self.store.write(|tx| {
            if let Some(kept) = self.read(tx, register, j)? {
                return Ok::<_, StoreError>(kept);
            }
            let commitment = key.commitment(register, j);
            let bytes = key.to_bytes();
            let payload = Payload {
                msg: bytes.as_ref(),
                aad: &commitment.0,
            };
            let sealed = self
                .cipher(&commitment)
                .encrypt(&Nonce::default(), payload)
                .expect("ChaCha20Poly1305 fails on nothing shorter than 256 GiB");
            tx.table_mut(OFFSET_KEYS)?
                .insert((register.as_str(), j.index()), (&commitment.0, sealed.as_slice()))?;
            Ok((key, commitment))
        })
    }

    /// How many keys are here of registers that `is_named` does not know.
    ///
    /// # Errors
    /// [`StoreError`]: the engine failed.
    pub fn of_no_election(&self, is_named: impl Fn(&str) -> bool) -> Result<usize, StoreError> {
        self.store.read(|tx| {
            let mut count = 0;
            for row in tx.table(OFFSET_KEYS)?.iter()? {
                count += usize::from(!is_named(row?.0.value().0));
            }
            Ok(count)
        })
    }

    fn read(
        &self,
        tx: &impl Tables,
        register: &RegisterId,
        j: Role,
    ) -> Result<Option<(OffsetKey, Hash32)>, StoreError> {
        let table = tx.table(OFFSET_KEYS)?;
        let Some(row) = table.get((register.as_str(), j.index()))? else {
            return Ok(None);
        };
        let corrupt = StoreError::Corrupt { table: "offset_keys" };
        let (commitment, sealed) = row.value();
        let commitment = Hash32(*commitment);
        let payload = Payload {
            msg: sealed,
            aad: &commitment.0,
        };
        let plain = match self.cipher(&commitment).decrypt(&Nonce::default(), payload) {
            Ok(plain) => Zeroizing::new(plain),
            Err(_) => return Err(corrupt),
        };
        match OffsetKey::from_bytes(&plain) {
            Ok(key) if key.commitment(register, j) == commitment => Ok(Some((key, commitment))),
            _ => Err(corrupt),
        }
    }

    fn cipher(&self, commitment: &Hash32) -> ChaCha20Poly1305 {
        let info: [&[u8]; 2] = [b"tally/v1/offset-key-at-rest", &[self.party.index()]];
        ChaCha20Poly1305::new(&Key::from(*self.vault.derive(&commitment.0, &info)))
    }
}
