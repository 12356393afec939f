//! A new machine in place of a lost one, or a backup from before an election: what the others know of the elections, taken over by itself.
//! The party's log and ballots follow, as after a restore.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tally_proto::card::Salt;
use tally_proto::connect;
use tally_proto::envelope::Envelope;
use tally_proto::ids::{BoxId, ElectionId, Role};
use tally_proto::manifest::SignedManifest;
use tally_proto::order::SignedOrder;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::roll::Roll;
use tally_proto::wire;

use super::collected::{Bounds, collected, rolls_take};
use super::follow::answer;
use crate::elections::Election;
use crate::party::Party;
use crate::store::log;

impl Party {
    /// Takes over an election in force at `peer`, with its rolls: all of it signed by everybody concerned, so that it does not matter whom it
    /// comes from. Its orders follow with this party's log, which says which they are. `None`: it is known here and in force, or is
    /// being taken over from the other peer.
    ///
    /// Then the gate stays closed until this party has its log back: see [`crate::mirror`].
    ///
    /// # Errors
    /// The peer does not answer, or what it gives is not signed by all, not of this party's configured identities, or does not make up the roll.
    pub(super) async fn take_over(
        self: &Arc<Self>,
        peer: Role,
        election: String,
    ) -> Result<Option<ElectionId>, Refusal> {
        // Both peers are followed at once: neither holds up more than the one election that it is giving.
        let Some(_taking) = self.following.take(&election) else {
            return Ok(None);
        };
        let known = self.elections.get(&election).ok();
        if known
            .as_ref()
            .is_some_and(|known| known.signed_manifest().is_complete())
        {
            return Ok(None);
        }
        let (manifest, _) = self.signed_by_all(peer, &election).await?;
        if let Some(known) = known
            && known.signed_manifest().hash() == manifest.hash()
        {
            // Published here, and its last signatures did not come, or were lost with an older copy.
            let envelope = manifest.envelope().clone();
            self.blocking(move |party| {
                let completed = party.elections.complete(&party.store, party.role, &envelope);
                completed.map(drop)
            })
            .await?;
            return Ok(Some(manifest.manifest().election().clone()));
        }
        let mut rolls: BTreeMap<BoxId, Roll> = BTreeMap::new();
        let mut salt = None;
        let ends = tokio::time::Instant::now() + rolls_take(manifest.manifest());
        for of_box in manifest.manifest().boxes() {
            let of = wire::BoxRef {
                election: election.clone(),
                r#box: of_box.id().get(),
            };
            let mut client = self.bounded_client(peer)?;
            let bounds = Bounds::roll(of_box.voters(), ends);
            let parts = collected(
                peer,
                bounds,
                async move { Ok(client.roll(of).await?.into_inner()) },
            )
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
        let taken = manifest.manifest().election().clone();
        self.publish(manifest, rolls, salt).await?;
        tracing::info!(party = %self.role, %peer, election = %taken, "an election was taken over from another party");
        Ok(Some(taken))
    }

    /// Gets the orders that this party's own log names and its store does not know: it was restored to before them. Nothing is accepted without
    /// them: it would be under another calendar, or from a station that was revoked. Returns the election with them.
    ///
    /// # Errors
    /// `party.recollecting`: the store has another order in force, or neither peer gives the one that lacks.
    pub(super) async fn regain_orders(
        self: &Arc<Self>,
        election: &Arc<Election>,
    ) -> Result<Arc<Election>, Refusal> {
        let (id, number) = (election.manifest().election().clone(), election.number());
        let due = self
            .blocking(move |party| Ok(party.store.read(|tx| log::orders(tx, number))?))
            .await?;
        let mut offered: Vec<SignedOrder> = Vec::new();
        // Whoever gives slowly is asked last, and only for what the other one lacks.
        let mut unasked = self.others().to_vec();
        unasked.sort_by_key(|peer| !self.following.is_slow(*peer));
        for (at, (_, of_number, hash)) in due.into_iter().enumerate() {
            let known = self.elections.get(id.as_str())?;
            match known.orders_in_force().get(at) {
                Some(order) if order.hash() == hash => continue,
                Some(order) => {
                    return Err(Refusal::new(
                        Reason::PartyRecollecting,
                        format_args!(
                            "its log names order {of_number}, and order {} is in force here in its place",
                            order.order().number
                        ),
                    ));
                }
                None => {}
            }
            let order = loop {
                if let Some(order) = offered.iter().find(|order| order.hash() == hash) {
                    break order.clone();
                }
                let Some(peer) = unasked.pop() else {
                    let [one, other] = self.others();
                    return Err(Refusal::new(
                        Reason::PartyRecollecting,
                        format_args!(
                            "its log names order {of_number}, which is not here, and neither {one} nor {other} gives it now"
                        ),
                    ));
                };
                let began = Instant::now();
                let given = self.signed_by_all(peer, id.as_str()).await;
                self.following.gave(peer, 1, began.elapsed(), true);
                offered.extend(given.into_iter().flat_map(|(_, orders)| orders));
            };
            let of = id.clone();
            self.blocking(move |party| party.elections.take_over(&party.store, party.role, &of, order))
                .await?;
        }
        self.elections.get(id.as_str())
    }

    /// Takes over the orders that are in force at `peer`, follow those in force here, and are not known: their completion did not come here.
    ///
    /// # Errors
    /// The peer does not answer, or what it gives is not signed by all.
    pub(super) async fn follow_orders(
        self: &Arc<Self>,
        peer: Role,
        election: &Election,
    ) -> Result<(), Refusal> {
        let id = election.manifest().election().clone();
        let (manifest, orders) = self.signed_by_all(peer, id.as_str()).await?;
        if manifest.hash() != election.signed_manifest().hash() {
            return Ok(());
        }
        self.blocking(move |party| {
            for order in orders {
                let known = party.elections.get(id.as_str())?;
                let last = known.orders_in_force().last().map(SignedOrder::hash);
                if order.order().after != last {
                    continue;
                }
                let number = order.order().number;
                match party.elections.take_over(&party.store, party.role, &id, order) {
                    Ok(()) => {
                        tracing::info!(party = %party.role, %peer, election = %id, number, "an order was taken over from another party");
                    }
                    Err(refusal) if refusal.reason == Reason::StoreFailed => return Err(refusal),
                    // Asked again when its log names another.
                    Err(refusal) => {
                        tracing::warn!(party = %party.role, %peer, election = %id, number, %refusal, "an order in force elsewhere is not taken over");
                        break;
                    }
                }
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
