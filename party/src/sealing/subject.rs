//! What sealing knows of a box before it begins: manifest, keys, and the orders in force here.

use std::sync::Arc;

use tally_proto::envelope::{Envelope, PublicKey, Signer};
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _};
use tally_proto::manifest::{BallotBox, Manifest, SignedManifest};
use tally_proto::note::Checkpoint;
use tally_proto::order::{EffectiveElection, SignedOrder, in_force};
use tally_proto::shares::ShareContext;
use tally_proto::wire;

use super::error::SealError;
use super::tables::BoxKey;
use super::{Inner, Sealing};
use crate::store::{Kind, StoreError, Tables, elections, log};

/// A box of an election that all three parties have countersigned. Cheap to clone.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) key: BoxKey,
    pub(super) election: ElectionId,
    pub(super) of_box: BoxId,
    pub(super) manifest_hash: Hash32,
    pub(super) keys: [PublicKey; 3],
    pub(super) manifest: Arc<SignedManifest>,
    /// Orders known here with all signatures, in number order without gaps.
    pub(super) orders: Arc<[SignedOrder]>,
}

impl Sealing {
    /// Looks a box up, as it stands now.
    pub(super) async fn subject(&self, election: &str, of_box: u32) -> Result<Subject, SealError> {
        let election = election.to_owned();
        self.blocking(move |inner| inner.store.read(|tx| inner.subject(tx, &election, BoxId(of_box))))
            .await
    }
}

impl Inner {
    pub(super) fn subject(
        &self,
        tx: &impl Tables,
        election: &str,
        of_box: BoxId,
    ) -> Result<Subject, SealError> {
        let unknown = || SealError::UnknownElection(election.chars().take(ElectionId::MAX_BYTES).collect());
        let number = elections::number_of(tx, election)?.ok_or_else(unknown)?;
        let manifest = elections::manifest(tx, number)?.ok_or_else(unknown)?;
        let manifest = SignedManifest::open(Envelope::decode(&manifest)?)
            .map_err(|_| StoreError::Corrupt { table: "manifests" })?;
        let election = manifest.manifest().election().clone();
        if !manifest.is_complete() {
            return Err(SealError::NotCountersigned { election });
        }
        if manifest.manifest().ballot_box(of_box).is_none() {
            return Err(SealError::UnknownBox { election, of_box });
        }
        let mut known = Vec::new();
        for (_, bytes) in elections::orders(tx, number)? {
            let order = SignedOrder::open(Envelope::decode(&bytes)?, &manifest)
                .map_err(|_| StoreError::Corrupt { table: "orders" })?;
            known.push(order);
        }
        let orders: Vec<SignedOrder> = in_force(&known).into_iter().cloned().collect();
        Ok(Subject {
            key: BoxKey {
                election: number,
                of_box: of_box.get(),
            },
            election,
            of_box,
            manifest_hash: manifest.hash(),
            keys: manifest.manifest().party_keys(),
            manifest: Arc::new(manifest),
            orders: orders.into(),
        })
    }
}

impl Subject {
    /// The manifest.
    pub(super) fn manifest(&self) -> &Manifest {
        self.manifest.manifest()
    }

    /// The box in the manifest.
    pub(super) fn ballot_box(&self) -> Result<&BallotBox, SealError> {
        let unknown = || SealError::UnknownBox {
            election: self.election.clone(),
            of_box: self.of_box,
        };
        self.manifest().ballot_box(self.of_box).ok_or_else(unknown)
    }

    /// What commitments of ballots of this box, or of records issued for it, are bound to.
    pub(super) fn context(&self, kind: Kind) -> Result<ShareContext<'_>, SealError> {
        Ok(match kind {
            Kind::Ballot => ShareContext::ballot(&self.election, self.ballot_box()?),
            Kind::Record => ShareContext::credential(&self.election, self.of_box),
        })
    }

    /// The election under the first `count` orders known here.
    pub(super) fn under(&self, count: usize) -> Result<EffectiveElection, SealError> {
        EffectiveElection::new(Arc::clone(&self.manifest), self.orders.iter().take(count))
            .map_err(|_| StoreError::Corrupt { table: "orders" }.into())
    }

    /// Hashes of the orders known here.
    pub(super) fn order_hashes(&self) -> Vec<Hash32> {
        self.orders.iter().map(SignedOrder::hash).collect()
    }

    /// How the List, Claims or Seal of `of` is asked for.
    pub(super) fn reference(&self, of: Role) -> wire::SealRef {
        wire::SealRef {
            election: self.election.as_str().to_owned(),
            r#box: self.of_box.get(),
            of_party: of.number(),
        }
    }

    /// The signed tree head of the log of `party` when it had `size` entries.
    pub(super) fn checkpoint_of(
        &self,
        tx: &impl Tables,
        party: Role,
        signer: &Signer,
        size: u64,
    ) -> Result<String, SealError> {
        let root =
            log::root(tx, self.key.election, size)?.ok_or(StoreError::Corrupt { table: "log_nodes" })?;
        Ok(Checkpoint {
            election: self.election.clone(),
            party,
            size,
            root,
        }
        .sign(signer))
    }
}
