//! Orders and countersignatures: who has signed what, and what this party refuses to sign.

use std::sync::{Arc, PoisonError};

use tally_proto::calendar::{Channel, ChannelKind, MAX_AHEAD_MS};
use tally_proto::envelope::{Envelope, Kind, Signature, Signer};
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, UnixMillis, UnixSeconds};
use tally_proto::order::{Change, Correction, EffectiveElection, Order, Reissue, SignedOrder};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use super::{Election, Elections, manifest_refused, order_refused};
use crate::store::{Store, StoreError, WriteTx, boxes, elections as rows};

/// A signed object that waits, or not, found by its hash.
/// Most orders that wait because a party, not this one, has countersigned them: commission and one party alone can add no more.
const MOST_WAITING: usize = 64;

enum Found {
    Manifest(Arc<Election>),
    Order(Arc<Election>, Box<SignedOrder>),
}

impl Elections {
    /// Takes an order from the coordinator, with its signature, to follow the last one in force. Returns whether it is in force.
    ///
    /// Several may wait, when operators refused some; the one with the highest number alone can still be signed. See
    /// [`tally_proto::order::in_force`].
    ///
    /// # Errors
    /// It does not fit the manifest, does not follow, moves a close into the past, corrects a voter before the close, or another order with its number or a higher one waits; `seal.already`: what
    /// it changes is sealed.
    pub fn propose(
        &self,
        store: &Store,
        own: Role,
        envelope: Envelope,
        now: UnixMillis,
    ) -> Result<bool, Refusal> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let payload = Order::decode(envelope.payload()).map_err(order_refused)?;
        let election = self.get(payload.election.as_str())?.in_force()?;
        let order = SignedOrder::open(envelope, election.signed_manifest()).map_err(order_refused)?;
        let number = order.order().number;
        if let Some(known) = election.orders.iter().find(|known| known.hash() == order.hash()) {
            return Ok(known.is_complete());
        }
        election
            .effective()
            .check_follows(order.order())
            .map_err(order_refused)?;
        let signed = |known: &SignedOrder| Role::ALL.iter().any(|role| known.is_countersigned_by(*role));
        let waiting = election.orders_waiting();
        let above = |known: &&SignedOrder| {
            known.order().number > number || (known.order().number == number && signed(known))
        };
        if let Some(known) = waiting.iter().find(above) {
            return Err(Refusal::new(
                Reason::OrderInvalid,
                format_args!(
                    "order {} waits here with other content: take a number above it",
                    known.order().number
                ),
            ));
        }
        check_times(&election, &order, now)?;
        check_closed(&election, own, &order, now)?;
        check_boxes(store, &election, &order)?;
        // One that somebody has signed may still come into force, until this party signs another.
        let kept: Vec<_> = waiting.iter().filter(|known| signed(known)).collect();
        if kept.len() >= MOST_WAITING {
            return Err(Refusal::new(
                Reason::OrderInvalid,
                format_args!(
                    "{} orders that some have countersigned wait here already: this party's operator countersigns one of them first",
                    kept.len()
                ),
            ));
        }
        let (kept, in_force) = (kept.into_iter(), election.orders_in_force().iter());
        let orders = in_force.chain(kept).cloned().chain([order]).collect();
        self.write_order(store, &election, orders, number)?;
        Ok(false)
    }

    /// Manifests and orders that this party has not countersigned, with the roll's references of the voters that orders correct.
    ///
    /// # Errors
    /// `store.failed`.
    pub fn pending(&self, store: &Store, own: Role) -> Result<wire::PendingReply, Refusal> {
        let mut reply = wire::PendingReply::default();
        for election in self.all() {
            if !election.signed_manifest().is_countersigned_by(own) {
                reply
                    .manifests
                    .push(election.signed_manifest().envelope().to_wire());
            }
            let waiting = election
                .orders_waiting()
                .iter()
                .filter(|order| !order.is_countersigned_by(own));
            for order in waiting {
                let of = match &order.order().change {
                    Change::Correction(c) => Some((c.of_box, c.voter)),
                    Change::Reissue(r) => Some((r.of_box, r.voter)),
                    Change::Calendar(_) | Change::Revocation(_) => None,
                };
                let voter = match of {
                    Some((of_box, voter)) => {
                        let entry = |tx: &_| rows::roll_entry(tx, election.number, of_box.get(), voter.get());
                        store.read(entry)?.map(|(_, reference)| reference)
                    }
                    None => None,
                };
                reply.order_voters.push(voter.unwrap_or_default());
                reply.orders.push(order.envelope().to_wire());
            }
        }
        Ok(reply)
    }

    /// Countersigns the object of that hash with this party's key. Again is fine and gives the same signature.
    ///
    /// # Errors
    /// `object.unknown`, `confirmation.mismatch`, an order that has meanwhile become impossible, `seal.already`, or the store.
    pub fn countersign(
        &self,
        store: &Store,
        (own, signer): (Role, &Signer),
        hash: Hash32,
        confirmation: &str,
        now: UnixMillis,
    ) -> Result<Signature, Refusal> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.find(hash)?;
        let (Found::Manifest(election) | Found::Order(election, _)) = &found;
        let id = election.manifest().election().as_str();
        if confirmation != id {
            let shown: String = confirmation.chars().take(80).collect();
            return Err(Refusal::new(
                Reason::ConfirmationMismatch,
                format_args!("typed {shown:?}, the election is {id:?}"),
            ));
        }
        match found {
            Found::Manifest(election) => {
                let signature = signer.sign_hash(Kind::Manifest, hash);
                self.sign_manifest(store, &election, [signature])?;
                tracing::info!(election = %election.manifest().election(), manifest = %hash.short(), "manifest countersigned");
                Ok(signature)
            }
            Found::Order(election, order) => {
                check_times(&election, &order, now)?;
                check_closed(&election, own, &order, now)?;
                check_boxes(store, &election, &order)?;
                let number = order.order().number;
                if election
                    .orders_waiting()
                    .iter()
                    .any(|other| other.order().number > number)
                {
                    return Err(Refusal::new(
                        Reason::OrderInvalid,
                        format_args!("order {number} was given up: another one waits in its place"),
                    ));
                }
                let signature = signer.sign_hash(Kind::Order, hash);
                // Whoever signs this one gives up every other that waits, for good.
                let election = election.with_alone(&order).map_err(order_refused)?;
                self.sign_order(store, &election, &order, [signature])?;
                tracing::info!(election = %election.manifest().election(), order = order.order().number, "order countersigned");
                Ok(signature)
            }
        }
    }

    /// All signatures known of the object of that hash.
    ///
    /// # Errors
    /// `object.unknown`.
    pub fn signatures(&self, hash: Hash32) -> Result<Vec<Signature>, Refusal> {
        Ok(match self.find(hash)? {
            Found::Manifest(election) => election.signed_manifest().envelope().signatures().to_vec(),
            Found::Order(_, order) => order.envelope().signatures().to_vec(),
        })
    }

    /// Whether a manifest or order of that hash is here, with all signatures.
    pub(crate) fn has_whole(&self, hash: Hash32) -> bool {
        match self.find(hash) {
            Ok(Found::Manifest(election)) => election.signed_manifest().is_complete(),
            Ok(Found::Order(_, order)) => order.is_complete(),
            Err(_) => false,
        }
    }

    /// Takes the signatures of a manifest or order known here. Returns whether it is in force with them. An order that is not known here any more
    /// and that all have signed, this party too, is taken as well: its operator signed it before the store or the machine was lost.
    ///
    /// # Errors
    /// `object.unknown`, a signature that does not verify, or the store.
    pub fn complete(&self, store: &Store, own: Role, envelope: &Envelope) -> Result<bool, Refusal> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let signatures = envelope.signatures().iter().cloned();
        match self.find(envelope.hash()) {
            Ok(Found::Manifest(election)) => self.sign_manifest(store, &election, signatures),
            Ok(Found::Order(election, order)) => self.sign_order(store, &election, &order, signatures),
            Err(unknown) => match self.recall(store, own, envelope) {
                Ok(()) => Ok(true),
                Err(refusal) => {
                    tracing::debug!(%refusal, "an order that is not known here is not taken either");
                    Err(unknown)
                }
            },
        }
    }

    /// Takes an order that is not known here, if all have signed it and it follows those in force.
    fn recall(&self, store: &Store, own: Role, envelope: &Envelope) -> Result<(), Refusal> {
        let id = Order::decode(envelope.payload()).map_err(order_refused)?.election;
        let election = self.get(id.as_str())?.in_force()?;
        let order = SignedOrder::open(envelope.clone(), election.signed_manifest()).map_err(order_refused)?;
        check_boxes(store, &election, &order)?;
        self.put_whole(store, own, &election, order)
    }

    /// Takes an order that all have signed, from another party: it was in force, whatever the clock says now.
    ///
    /// # Errors
    /// Not signed by all, not the next, of another election, or the store.
    pub fn take_over(
        &self,
        store: &Store,
        own: Role,
        election: &ElectionId,
        order: SignedOrder,
    ) -> Result<(), Refusal> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let election = self.get(election.as_str())?.in_force()?;
        self.put_whole(store, own, &election, order)
    }

    /// Puts an order that all have signed behind those in force. The caller holds `changing`.
    fn put_whole(
        &self,
        store: &Store,
        own: Role,
        election: &Election,
        order: SignedOrder,
    ) -> Result<(), Refusal> {
        // Orders that are not complete, or leave a gap, are refused here.
        let mut effective = election.effective().clone();
        effective.apply(&order).map_err(order_refused)?;
        let number = order.order().number;
        // One that this party gave up by signing another is in force nowhere, whoever shows it.
        let above = |known: &&SignedOrder| known.order().number > number && known.is_countersigned_by(own);
        if let Some(known) = election.orders_waiting().iter().find(above) {
            return Err(Refusal::new(
                Reason::OrderInvalid,
                format_args!(
                    "order {number} was given up here when order {} was signed",
                    known.order().number
                ),
            ));
        }
        let orders = election
            .orders_in_force()
            .iter()
            .cloned()
            .chain([order])
            .collect();
        self.write_order(store, election, orders, number)
    }

    fn find(&self, hash: Hash32) -> Result<Found, Refusal> {
        for election in self.all() {
            if election.signed_manifest().hash() == hash {
                return Ok(Found::Manifest(election));
            }
            if let Some(order) = election.orders.iter().find(|order| order.hash() == hash) {
                let order = Box::new(order.clone());
                return Ok(Found::Order(election, order));
            }
        }
        Err(Refusal::new(
            Reason::ObjectUnknown,
            format_args!("no manifest or order {} is here", hash.short()),
        ))
    }

    fn sign_manifest(
        &self,
        store: &Store,
        election: &Election,
        signatures: impl IntoIterator<Item = Signature>,
    ) -> Result<bool, Refusal> {
        let mut manifest = election.signed_manifest().clone();
        for signature in signatures {
            if !manifest.envelope().signatures().contains(&signature) {
                manifest.add_signature(signature).map_err(manifest_refused)?;
            }
        }
        let complete = manifest.is_complete();
        store.write(|tx| rows::put_manifest(tx, election.number, &manifest.envelope().encode()))?;
        let orders = election.orders.clone();
        self.show(Election::new(election.number, manifest, orders).map_err(order_refused)?);
        Ok(complete)
    }

    fn sign_order(
        &self,
        store: &Store,
        election: &Election,
        order: &SignedOrder,
        signatures: impl IntoIterator<Item = Signature>,
    ) -> Result<bool, Refusal> {
        let mut signed = order.clone();
        for signature in signatures {
            if !signed.envelope().signatures().contains(&signature) {
                signed
                    .add_signature(signature, election.manifest())
                    .map_err(order_refused)?;
            }
        }
        let (number, complete) = (signed.order().number, signed.is_complete());
        let mut orders = election.orders.clone();
        match orders.iter_mut().find(|known| known.order().number == number) {
            Some(known) => *known = signed,
            None => orders.push(signed),
        }
        self.write_order(store, election, orders, number)?;
        Ok(complete)
    }

    /// Stores the order of that number and shows the election with `orders`.
    fn write_order(
        &self,
        store: &Store,
        election: &Election,
        orders: Vec<SignedOrder>,
        number: u32,
    ) -> Result<(), Refusal> {
        let changed = Election::new(election.number, election.signed_manifest().clone(), orders)
            .map_err(order_refused)?;
        let write = |tx: &WriteTx| {
            for (stored, _) in rows::orders(tx, election.number)? {
                if changed.orders.iter().all(|order| order.order().number != stored) {
                    rows::remove_order(tx, election.number, stored)?;
                }
            }
            for order in changed
                .orders
                .iter()
                .filter(|order| order.order().number == number)
            {
                rows::put_order(tx, election.number, number, &order.envelope().encode())?;
            }
            Ok::<_, StoreError>(())
        };
        store.write(write)?;
        self.show(changed);
        Ok(())
    }
}

/// An order changes no box whose List this party has signed: it would be in force and still change nothing. What is countersigned by then
/// may still be completed, since another party's List may name it.
fn check_boxes(store: &Store, election: &Election, order: &SignedOrder) -> Result<(), Refusal> {
    let number = election.number;
    let closed = |of_box: BoxId| store.read(|tx| boxes::is_frozen(tx, number, of_box.get()));
    let refused = |what: String| {
        let order = order.order().number;
        Err(Refusal::new(
            Reason::SealAlready,
            format_args!("order {order} comes too late: {what}, and an order changes it no more"),
        ))
    };
    match &order.order().change {
        Change::Correction(Correction { of_box, .. }) | Change::Reissue(Reissue { of_box, .. })
            if closed(*of_box)? =>
        {
            refused(format!("this party's List of box {of_box} is signed"))
        }
        Change::Correction(_) | Change::Reissue(_) => Ok(()),
        Change::Calendar(_) | Change::Revocation(_) => {
            for of_box in election.manifest().boxes() {
                if !closed(of_box.id())? {
                    return Ok(());
                }
            }
            refused("this party's List of every box is signed".to_owned())
        }
    }
}

/// A correction comes after the close: before it, it would strike a voter in the midst of voting, and be published at once. The close is that of the
/// online channel, whose votes it concerns, in every calendar that binds this party; where there is none, that of all channels.
fn check_closed(election: &Election, own: Role, order: &SignedOrder, now: UnixMillis) -> Result<(), Refusal> {
    if !matches!(order.order().change, Change::Correction(_)) {
        return Ok(());
    }
    let closes = |under: &EffectiveElection| {
        let online = under.channel(ChannelKind::Online).map(Channel::last_closes);
        online.or_else(|| under.channels().iter().map(Channel::last_closes).max())
    };
    let until = election.binding(own).filter_map(closes).max().unwrap_or_default();
    if now.seconds() > until {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::OrderInvalid,
        format_args!(
            "order {} corrects a voter, and corrections come after the last close of the online channel, {until}: this party's clock shows {}",
            order.order().number,
            now.seconds()
        ),
    ))
}

/// An order may not end a channel before now on this party's clock, nor change any hour before: what was accepted in time stays so, and what was
/// refused does too. Ballots dated a little ahead are accepted as well, so the past ends where these do.
///
/// Nor may it set aside what cards are yet to sign: whoever enrols before that moment would be told of an enrolment that does not stand.
fn check_times(election: &Election, order: &SignedOrder, now: UnixMillis) -> Result<(), Refusal> {
    let channel = match &order.order().change {
        Change::Calendar(channel) => channel,
        Change::Reissue(reissue) if reissue.until > now.seconds() => {
            return Err(Refusal::new(
                Reason::OrderInvalid,
                format_args!(
                    "order {} sets aside what the voter's card signs up to {}, which is yet to come: this party's clock shows {}",
                    order.order().number,
                    reissue.until,
                    now.seconds()
                ),
            ));
        }
        _ => return Ok(()),
    };
    let past = |what: &str| {
        Refusal::new(
            Reason::OrderInvalid,
            format_args!(
                "order {} moves {what} of the {} channel into the past",
                order.order().number,
                channel.kind()
            ),
        )
    };
    let current = election.effective().channel(channel.kind());
    let changed = |of: fn(&Channel) -> UnixSeconds| {
        current.is_none_or(|current| of(current) != of(channel)) && of(channel) < now.seconds()
    };
    if changed(Channel::last_closes) {
        return Err(past("the close"));
    }
    if changed(Channel::receive_until) {
        return Err(past("the end of submissions"));
    }
    let past_ends = UnixMillis(now.get().saturating_add(MAX_AHEAD_MS + 1000)).seconds();
    if current.is_some_and(|current| !current.same_before(channel, past_ends)) {
        return Err(past("opening hours"));
    }
    Ok(())
}
