//! How two neighbours come to hold one K_j.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tally_proto::connect;
use tally_proto::ids::{Hash32, RegisterId, Role, RoleExt as _};
use tally_proto::manifest::Manifest;
use tally_proto::offsets::OffsetKey;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use zeroize::Zeroizing;

use super::rows::Held;
use crate::party::Party;

/// Most keys of offsets kept of registers that no election names: two of each register.
const MOST_UNNAMED: usize = 2 * 1024;
/// How long a neighbour may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Party {
    /// The offset keys held here.
    pub(crate) fn offset_keys(&self) -> Held<'_> {
        Held::new(self.role, &self.store, &self.vault)
    }

    /// Control.OffsetCommitments: (j, C_j) of the keys of the register held here, this party's own, drawn now if there is none, and the next
    /// party's if that has drawn it.
    ///
    /// # Errors
    /// `party.unreachable`: a neighbour does not answer; `store.failed`.
    pub(crate) async fn offset_commitments(
        self: &Arc<Self>,
        register: RegisterId,
    ) -> Result<Vec<(Role, Hash32)>, Refusal> {
        let mut held = Vec::with_capacity(2);
        for j in [self.role, self.role.next()] {
            held.extend(self.offset_commitment(&register, j).await?.map(|c| (j, c)));
        }
        Ok(held)
    }

    async fn offset_commitment(
        self: &Arc<Self>,
        register: &RegisterId,
        j: Role,
    ) -> Result<Option<Hash32>, Refusal> {
        if let Some((_, commitment)) = self.offset_keys().key(register, j)? {
            return Ok(Some(commitment));
        }
        self.has_room_for_a_key(register).await?;
        let own = j == self.role;
        let other = if own { self.role.prev() } else { j };
        let key = match self.neighbours_key(other, register, j).await? {
            Some(key) => key,
            None if own => OffsetKey::generate(&mut self.entropy.rng()),
            None => return Ok(None),
        };
        let register = register.clone();
        let (_, commitment) = self
            .blocking(move |party| Ok(party.offset_keys().keep(&register, j, key)?))
            .await?;
        Ok(Some(commitment))
    }

    /// Keys are kept for good. The commission asks for them before it publishes the manifest that names their register, and not for ever new ones.
    async fn has_room_for_a_key(self: &Arc<Self>, register: &RegisterId) -> Result<(), Refusal> {
        let of = register.clone();
        let kept = self.blocking(move |party| {
            let elections = party.elections.all();
            let named: HashSet<&str> = elections
                .iter()
                .filter_map(|election| Some(election.manifest().register()?.id().as_str()))
                .chain([of.as_str()])
                .collect();
            Ok(party.offset_keys().of_no_election(|id| named.contains(id))?)
        });
        let kept = kept.await?;
        if kept < MOST_UNNAMED {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::OffsetsTooMany,
            format_args!("{kept} keys of offsets are here of registers that no election names"),
        ))
    }

    /// Refuses a manifest that names other keys of offsets than those held here.
    ///
    /// # Errors
    /// `offsets.missing`, `store.failed`.
    pub(crate) fn check_offsets(&self, manifest: &Manifest) -> Result<(), Refusal> {
        if let Some(register) = manifest.register() {
            self.offset_keys().both(register.id(), manifest.offsets())?;
        }
        Ok(())
    }

    /// Asks the neighbours for the keys that manifests in force name and this store lacks: it was lost, and a new machine took its place. What
    /// does not open the manifest's commitment is not taken.
    pub(crate) async fn recover_offset_keys(self: &Arc<Self>) {
        for election in self.elections.all() {
            let manifest = election.manifest();
            let (Some(register), Some(commitments)) = (manifest.register(), manifest.offsets()) else {
                continue;
            };
            for j in [self.role, self.role.next()] {
                let recovered = self.recover(register.id(), j, commitments[j.slot()]).await;
                if let Err(refusal) = recovered {
                    tracing::warn!(party = %self.role, register = %register.id(), key = %j, %refusal, "a key of offsets is not here yet");
                }
            }
        }
    }

    async fn recover(self: &Arc<Self>, register: &RegisterId, j: Role, due: Hash32) -> Result<(), Refusal> {
        if self.offset_keys().key(register, j)?.is_some() {
            return Ok(());
        }
        let other = if j == self.role { self.role.prev() } else { j };
        let absent = || {
            Refusal::new(
                Reason::OffsetsMissing,
                format_args!("party {other} does not have the key that the manifest names either"),
            )
        };
        let key = self
            .neighbours_key(other, register, j)
            .await?
            .filter(|key| key.commitment(register, j) == due)
            .ok_or_else(absent)?;
        let register = register.clone();
        self.blocking(move |party| Ok(party.offset_keys().keep(&register, j, key)?))
            .await?;
        Ok(())
    }

    /// K_j as `other`, the other party that holds it, has it.
    async fn neighbours_key(
        &self,
        other: Role,
        register: &RegisterId,
        j: Role,
    ) -> Result<Option<OffsetKey>, Refusal> {
        let unreachable = || {
            Refusal::new(
                Reason::PartyUnreachable,
                format_args!(
                    "party {other}, which holds the offset key {j} of register {register} with this one, does not answer"
                ),
            )
        };
        let channel = self.peers.channel(other).ok_or_else(unreachable)?;
        let request = wire::OffsetKeyRequest {
            register: register.as_str().into(),
            index: j.number(),
        };
        let reply = tokio::time::timeout(PATIENCE, connect::peer(channel).offset_key(request))
            .await
            .map_err(|_| unreachable())?
            .map_err(|status| Refusal::of_status(&status))?;
        let key = Zeroizing::new(reply.into_inner().key);
        if key.is_empty() {
            return Ok(None);
        }
        OffsetKey::from_bytes(&key)
            .map(Some)
            .map_err(|error| Refusal::new(Reason::MessageMalformed, format_args!("party {other}: {error}")))
    }

    /// Peer.OffsetKey: K_j, which the caller and this party hold together.
    ///
    /// # Errors
    /// `role.refused`: the caller does not hold that key; `message.malformed`; `store.failed`.
    pub(crate) fn offset_key_for(
        &self,
        caller: Role,
        request: &wire::OffsetKeyRequest,
    ) -> Result<wire::OffsetKeyReply, Refusal> {
        let register = RegisterId::new(&request.register).map_err(Refusal::from)?;
        let j = Role::from_number(request.index).map_err(Refusal::from)?;
        let holders = [j, j.prev()];
        if caller == self.role || !holders.contains(&caller) || !holders.contains(&self.role) {
            return Err(Refusal::new(
                Reason::RoleRefused,
                format_args!(
                    "the offset key {j} is held by parties {} and {j}, not by {caller} and {} together",
                    j.prev(),
                    self.role
                ),
            ));
        }
        let key = self.offset_keys().key(&register, j)?;
        Ok(wire::OffsetKeyReply {
            key: key.map_or_else(Vec::new, |(key, _)| key.to_bytes().to_vec()),
        })
    }
}
