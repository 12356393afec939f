//! A new machine in place of a lost one, or a backup from before an election: what the others know of the elections, taken over by itself.
//! The party's log and ballots follow, as after a restore.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt as _;
use tally_proto::card::Salt;
use tally_proto::connect;
use tally_proto::envelope::Envelope;
use tally_proto::ids::{BoxId, ElectionId, Role};
use tally_proto::log::Happening;
use tally_proto::manifest::SignedManifest;
use tally_proto::order::SignedOrder;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::roll::Roll;
use tally_proto::wire;

use super::follow::answer;
use crate::elections::Election;
use crate::party::Party;
use crate::store::log;

impl Party {
    /// Takes over every election in force at `peer` that is not known here, with its rolls and orders: all of it signed by everybody concerned, so
    /// that it does not matter whom it comes from. Returns the elections taken over.
    ///
    /// Then the gate stays closed until this party has its log back: see [`Party::recollect_once`].
    ///
    /// # Errors
    /// The peer does not answer, or what it gives is not signed by all, not of this party's configured identities, or does not make up the roll.
    pub async fn provision(self: &Arc<Self>, peer: Role) -> Result<Vec<ElectionId>, Refusal> {
        let heads = answer(peer, self.peer_client(peer)?.log_heads(wire::LogHeadsRequest {})).await?;
        let mut taken = Vec::new();
        for head in heads.heads {
            taken.extend(self.take_over(peer, head.election).await?);
        }
        Ok(taken)
    }

    /// Takes over one election. `None`: it is known here.
    pub(super) async fn take_over(
        self: &Arc<Self>,
        peer: Role,
        election: String,
    ) -> Result<Option<ElectionId>, Refusal> {
        // Both peers are followed at once.
        let _one = self.following.taking.lock().await;
        if self.elections.get(&election).is_ok() {
            return Ok(None);
        }
        let (manifest, orders) = self.signed_by_all(peer, &election).await?;
        let mut rolls: BTreeMap<BoxId, Roll> = BTreeMap::new();
        let mut salt = None;
        for of_box in manifest.manifest().boxes() {
            let of = wire::BoxRef {
                election: election.clone(),
                r#box: of_box.id().get(),
            };
            let mut client = self.peer_client(peer)?;
            let parts: Vec<wire::RollPart> = answer(peer, async move {
                let parts = client.roll(of).await?.into_inner();
                Ok(tonic::Response::new(parts.try_collect().await?))
            })
            .await?;
            for part in &parts {
                if !part.salt.is_empty() {
                    let bytes = part.salt.as_slice().try_into();
                    let wrong = |_| Refusal::new(Reason::MessageMalformed, "a roll's salt has 32 bytes");
                    salt = Some(Salt(bytes.map_err(wrong)?));
                }
            }
            let mut entries = parts.into_iter().flat_map(|part| part.entries).peekable();
            if of_box.open().is_some() && entries.peek().is_none() {
                continue;
            }
            let roll = Roll::from_wire(entries).map_err(|error| Refusal::new(error.reason(), error))?;
            rolls.insert(of_box.id(), roll);
        }
        let id = manifest.manifest().election().clone();
        let taken = id.clone();
        self.blocking(move |party| {
            party.elections.publish(
                &party.store,
                &party.identities,
                party.role,
                manifest,
                &rolls,
                salt,
            )?;
            for order in orders {
                party.elections.take_over(&party.store, party.role, &id, order)?;
            }
            Ok(())
        })
        .await?;
        tracing::info!(party = %self.role, %peer, election = %taken, "an election was taken over from another party");
        Ok(Some(taken))
    }

    /// Takes over the orders that this party's own log names and its store does not know: it was restored to before them.
    pub(super) async fn take_over_orders(
        self: &Arc<Self>,
        peer: Role,
        election: &Election,
    ) -> Result<(), Refusal> {
        let (id, number) = (election.manifest().election().clone(), election.number());
        let known = election.orders_in_force().len();
        let (_, orders) = self.signed_by_all(peer, id.as_str()).await?;
        self.blocking(move |party| {
            for order in orders.into_iter().skip(known) {
                let happened = Happening::Order(order.order().number, order.hash());
                let named = party.store.read(|tx| log::last(tx, number, &happened))?;
                if named.is_none_or(|(_, hash)| hash != order.hash()) {
                    break;
                }
                party.elections.take_over(&party.store, party.role, &id, order)?;
            }
            Ok(())
        })
        .await
    }

    /// The manifest of an election and its orders in force, as `peer` has them.
    async fn signed_by_all(
        self: &Arc<Self>,
        peer: Role,
        election: &str,
    ) -> Result<(SignedManifest, Vec<SignedOrder>), Refusal> {
        let malformed = |what: &str| {
            Refusal::new(
                Reason::MessageMalformed,
                format_args!("{peer} gave election {election}: {what}"),
            )
        };
        let channel = self
            .peers
            .channel(peer)
            .ok_or_else(|| malformed("a party is no peer of its own"))?;
        let request = wire::ElectionRef {
            election: election.to_owned(),
        };
        let reply = answer(peer, connect::intake(channel).manifest(request)).await?;
        let manifest = reply.manifest.ok_or_else(|| malformed("it has no manifest"))?;
        let manifest = SignedManifest::open(Envelope::from_wire(manifest)?)
            .map_err(|error| Refusal::new(error.reason(), error))?;
        if !manifest.is_complete() || manifest.manifest().election().as_str() != election {
            return Err(malformed("not all have signed it, or it is another"));
        }
        let mut orders = Vec::new();
        for order in reply.orders {
            let order = SignedOrder::open(Envelope::from_wire(order)?, &manifest)
                .map_err(|error| Refusal::new(error.reason(), error))?;
            if !order.is_complete() {
                return Err(malformed("not all have signed an order"));
            }
            orders.push(order);
        }
        Ok((manifest, orders))
    }
}
