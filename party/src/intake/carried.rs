//! One enrolment, many elections: card records that were brought to one election of a register, taken over into the others.
//!
//! A record follows to the number whose entry has **both** the code of the person whom the card names and the reference that the voter had where the
//! record was brought to. The voter's device finds its number by the reference, the parties find it by the code; where a roll pairs them otherwise,
//! by an error or so that somebody's votes do not count, the record stays behind, and the party's operator is told before countersigning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tally_proto::card::{CardAuthorisation, Salt};
use tally_proto::identity::StationIdentity;
use tally_proto::ids::{Digest, ElectionId, Hash32};
use tally_proto::order::{Change, Reissue};
use tally_proto::reason::Reason;
use tally_proto::record::RecordHeader;
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use super::cards::{place_of, said, serial, serial_at, stored_authority};
use super::writer::Checked;
use crate::elections::Election;
use crate::party::Party;
use crate::store::accepted::Counted;
use crate::store::serials::Serial;
use crate::store::{Kind, StoreError, Tables, accepted, boxes, elections as rows, registers};

/// Records of a register that are looked at in one go.
const AT_ONCE: usize = 256;
/// Pause between looks at the registers when nothing happened.
const TAKE_OVER_EVERY: Duration = Duration::from_secs(5);
/// Changed references that are told by name.
const NAMED: usize = 1_000;

/// Election, box and v of an entry of a roll.
type Entry = (u32, u32, u32);

fn reference(tx: &impl Tables, (election, of_box, v): Entry) -> Result<Option<String>, StoreError> {
    Ok(rows::roll_entry(tx, election, of_box, v)?.map(|(_, reference)| reference))
}

impl Party {
    /// Takes the records of registers over into every election in force that names them, for as long as the party runs.
    pub(crate) async fn take_over_always(self: Arc<Self>) {
        loop {
            if let Err(refusal) = self.take_over_records().await {
                tracing::warn!(%refusal, "what was looked at of card records cannot be noted");
            }
            tokio::select! {
                () = self.stopping() => return,
                () = self.revocations.enrolled.notified() => {}
                () = tokio::time::sleep(TAKE_OVER_EVERY) => {}
            }
        }
    }

    /// One round over all elections. How far it has come with those that take nothing is noted in one transaction: an enrolment costs no more of them
    /// with every election that there ever was.
    ///
    /// # Errors
    /// The store.
    async fn take_over_records(self: &Arc<Self>) -> Result<(), Refusal> {
        let mut looked_at = Vec::new();
        for election in self.elections.all() {
            match self.take_over_into(&election).await {
                Ok(last) => looked_at.extend(last.map(|last| (election.number(), last))),
                Err(refusal) => {
                    tracing::warn!(election = %election.manifest().election(), %refusal, "card records were not taken over");
                }
            }
        }
        if looked_at.is_empty() {
            return Ok(());
        }
        self.blocking(move |party| {
            let note = |tx: &_| {
                (looked_at.iter())
                    .try_for_each(|(number, last)| registers::put_taken_over(tx, *number, *last))
            };
            Ok(party.store.write(note)?)
        })
        .await
    }

    /// Accepts for `election` what was accepted for other elections of its register, as far as it was not looked at yet. How far it has come is noted
    /// where something was taken, so that a long way is not gone twice; else it tells the number of the last one it looked at. Whether a card was revoked since does not matter: the credential that it enrolled stands on its own.
    ///
    /// # Errors
    /// The store, or a writer that has stopped.
    async fn take_over_into(self: &Arc<Self>, election: &Arc<Election>) -> Result<Option<u64>, Refusal> {
        let number = election.number();
        let Some(register) = election.manifest().register() else {
            return Ok(None);
        };
        let (mut last, mut noted_down): (Option<u64>, bool) = (None, true);
        while election.signed_manifest().is_complete() && self.may_accept(election).is_ok() {
            let id = register.id().clone();
            let noted = self.blocking(move |party| {
                Ok(party.store.read(|tx| {
                    let from = match last {
                        Some(last) => last + 1,
                        None => registers::taken_over(tx, number)?,
                    };
                    registers::noted_from(tx, id.as_str(), from, AT_ONCE)
                })?)
            });
            let noted = noted.await?;
            let Some(newest) = noted.last().map(|noted| noted.number) else {
                break;
            };
            let mut taken = false;
            for noted in noted.into_iter().filter(|noted| noted.election != number) {
                let of = Arc::clone(election);
                let found = self
                    .blocking(move |party| party.store.read(|tx| party.to_take_over(tx, &of, &noted)))
                    .await?;
                let Some(checked) = found else { continue };
                match self.intake.writer.accept(checked).await {
                    Ok(_) => taken = true,
                    Err(refusal)
                        if [Reason::RecordSerial, Reason::ListAlready, Reason::BoxFull]
                            .contains(&refusal.reason) =>
                    {
                        tracing::info!(%refusal, "a card record is not taken over");
                    }
                    Err(refusal) => return Err(refusal),
                }
            }
            if taken {
                self.blocking(move |party| {
                    let note = |tx: &_| registers::put_taken_over(tx, number, newest);
                    Ok(party.store.write(note)?)
                })
                .await?;
            }
            (last, noted_down) = (Some(newest), taken);
        }
        Ok(last.filter(|_| !noted_down))
    }

    /// A record of the register as `election` accepts it; `None` where it does not.
    fn to_take_over(
        &self,
        tx: &impl Tables,
        election: &Election,
        noted: &registers::Noted,
    ) -> Result<Option<Checked>, Refusal> {
        let corrupt = || StoreError::Corrupt { table: "records" };
        let stored = accepted::get(tx, Kind::Record, noted.election, noted.of_box, &noted.digest)?
            .ok_or_else(corrupt)?;
        let header = RecordHeader::decode(&stored.header).map_err(|_| corrupt())?;
        let (v, authorisation) = stored
            .authority_signature
            .split_first_chunk::<4>()
            .ok_or_else(corrupt)?;
        let before = (noted.election, noted.of_box, u32::from_be_bytes(*v));
        let authorisation = CardAuthorisation::decode(authorisation).map_err(|_| corrupt())?;
        let Ok(register) = header.check_register(election.manifest()) else {
            return Ok(None);
        };
        if header.signed_at >= election.effective().takes_over_before() {
            return Ok(None);
        }
        let times = [header.signed_at];
        let place = place_of(tx, election.number(), register, &header, &authorisation, &times);
        let (of_box, voter) = match place {
            Ok((_, of_box, voter)) => (of_box, voter),
            // It would count as looked at for ever.
            Err(refusal) if refusal.reason == Reason::StoreFailed => return Err(refusal),
            Err(_) => return Ok(None),
        };
        let now = (election.number(), of_box.get(), voter.get());
        if reference(tx, before)? != reference(tx, now)? {
            tracing::warn!(party = %self.role, election = %election.manifest().election(),
                "a card record is not taken over: the roll calls its voter otherwise than that of the election in which they enrolled");
            return Ok(None);
        }
        let Some(found) = election.manifest().ballot_box(of_box) else {
            return Ok(None);
        };
        // The very moment that the receipt will name.
        let received_at = self.now().seconds();
        if self.check_until(election, of_box, received_at).is_err() {
            return Ok(None);
        }
        Ok(Some(Checked {
            number: election.number(),
            election: election.manifest().election().clone(),
            of_box,
            digest: Digest(noted.digest),
            counted: Counted::Record,
            capacity: found.capacity(),
            sequence: None,
            cast_at: None,
            serial: Some(Serial {
                after: self.set_aside_until(election, of_box, voter).map_or(0, serial_at),
                ..serial(voter, &header)
            }),
            ticket: None,
            register: None,
            paced: false,
            header: stored.header,
            authority_signature: stored_authority(voter, &authorisation),
            ciphertext_hash: Hash32(stored.ciphertext_hash),
            received_at,
            sealed_shares: stored.sealed_shares,
        }))
    }

    /// What other elections have to do with the object of that hash: [`Party::carried`] and stations for a manifest, where else a card's enrolments
    /// stand for an order that sets them aside, nothing for any other object.
    ///
    /// # Errors
    /// The store.
    pub(crate) fn carried_into(&self, object: Hash32) -> Result<wire::CarriedReply, Refusal> {
        for election in self.elections.all() {
            if election.signed_manifest().hash() == object {
                return Ok(wire::CarriedReply {
                    stations: self.revoked_before(&election),
                    ..self.carried(&election)?
                });
            }
            let waiting = election.orders_waiting().iter().find(|of| of.hash() == object);
            if let Some(Change::Reissue(reissue)) = waiting.map(|order| &order.order().change) {
                return Ok(wire::CarriedReply {
                    also: self.also_enrolled(&election, reissue)?,
                    ..wire::CarriedReply::default()
                });
            }
        }
        Ok(wire::CarriedReply::default())
    }

    /// The stations of a manifest whose key an order revoked in another election that is in force here.
    fn revoked_before(&self, election: &Election) -> Vec<wire::RevokedBefore> {
        let here = election.manifest();
        let mut revoked = Vec::new();
        for other in self.elections_in_force() {
            if other.number() == election.number() {
                continue;
            }
            for order in other.orders_in_force() {
                let order = order.order();
                let Change::Revocation(of) = &order.change else {
                    continue;
                };
                let key = other
                    .manifest()
                    .station(of.station)
                    .map(StationIdentity::signing_key);
                let again = here
                    .stations()
                    .iter()
                    .find(|station| Some(station.signing_key()) == key);
                revoked.extend(again.map(|station| wire::RevokedBefore {
                    station: station.id().get(),
                    election: order.election.as_str().to_owned(),
                    number: order.number,
                }));
            }
        }
        revoked
    }

    /// The other elections of the register whose lists are not made yet and whose roll has the person whose enrolments `reissue` sets aside in `election`. An order is
    /// signed for one election, box and number, and does nothing there: whoever holds the credential goes on voting in these. Found by the certificates
    /// of the person that came with enrolments which the order sets aside; those for open rolls are not among them.
    fn also_enrolled(
        &self,
        election: &Election,
        reissue: &Reissue,
    ) -> Result<Vec<wire::AlsoEnrolled>, Refusal> {
        let Some(register) = election.manifest().register().filter(|_| reissue.until.get() > 0) else {
            return Ok(Vec::new());
        };
        let (number, here) = (election.number(), (reissue.of_box.get(), reissue.voter.get()));
        let others = self.others_of(election);
        let also = self.store.read(|tx| {
            let Some(salt) = registers::salt(tx, number)?.map(Salt) else {
                return Ok(Vec::new());
            };
            // The person as the newest of their certificates has them.
            let mut person = None;
            registers::for_each(tx, register.id().as_str(), |noted| {
                let (header, authority) = stored_record(tx, &noted)?;
                if header.signed_at <= reissue.until
                    && let Some(said) = said(election.manifest(), &authority)
                    && registers::place(tx, number, &salt.person(&said))? == Some(here)
                {
                    person = Some(said);
                }
                Ok::<_, StoreError>(())
            })?;
            let mut also = Vec::new();
            for other in others.values() {
                let (Some(said), Some(salt)) = (&person, registers::salt(tx, other.number())?) else {
                    continue;
                };
                let Some((of_box, v)) = registers::place(tx, other.number(), &Salt(salt).person(said))?
                else {
                    continue;
                };
                if boxes::is_frozen(tx, other.number(), of_box)? {
                    continue;
                }
                also.push(wire::AlsoEnrolled {
                    election: other.manifest().election().as_str().to_owned(),
                    voter: reference(tx, (other.number(), of_box, v))?.unwrap_or_default(),
                });
            }
            Ok::<_, StoreError>(also)
        })?;
        Ok(also)
    }

    /// The other elections in force of the register of `election`, by number.
    fn others_of(&self, election: &Election) -> BTreeMap<u32, Arc<Election>> {
        let register = |of: &Election| of.manifest().register().map(|register| register.id().clone());
        self.elections_in_force()
            .into_iter()
            .filter(|other| other.number() != election.number())
            .filter(|other| register(other) == register(election))
            .map(|other| (other.number(), other))
            .collect()
    }

    /// Refuses to countersign a manifest whose operator was not told of so many voters whose enrolments do not follow.
    ///
    /// # Errors
    /// `roll.persons-changed`; the store.
    pub(crate) fn check_carried(&self, object: Hash32, told: u64) -> Result<(), Refusal> {
        let all = self.elections.all();
        let waits = |of: &&Arc<Election>| {
            of.signed_manifest().hash() == object && !of.signed_manifest().is_countersigned_by(self.role)
        };
        let Some(election) = all.iter().find(waits) else {
            return Ok(());
        };
        let carried = self.carried(election)?;
        if carried.changed == told {
            return Ok(());
        }
        let first = carried.voters.first();
        let first = first.map_or_else(String::new, |voter| format!(", the first: {}", in_words(voter)));
        Err(Refusal::new(
            Reason::RollPersonsChanged,
            format_args!(
                "{} of {} people who enrolled in other elections of the register are called otherwise on this roll{first}; the operator was shown {told}",
                carried.changed, carried.enrolled
            ),
        ))
    }

    /// What this party would take over into an election of that manifest, and does not because its roll calls somebody otherwise; and the orders of
    /// earlier elections, which do not follow.
    ///
    /// # Errors
    /// The store.
    ///
    /// # Security
    /// Names people who enrolled: for this party's own operator.
    pub(crate) fn carried(&self, election: &Election) -> Result<wire::CarriedReply, Refusal> {
        let Some(register) = election.manifest().register() else {
            return Ok(wire::CarriedReply::default());
        };
        if election.manifest().open_box().is_some() {
            return Ok(wire::CarriedReply::default());
        }
        let others = self.others_of(election);
        let (enrolled, changed) = self
            .store
            .read(|tx| changed(tx, election, register.id().as_str(), &others))?;
        let voters = changed
            .iter()
            .take(NAMED)
            .map(|(of, before, now)| wire::CarriedVoter {
                election: of.as_str().to_owned(),
                before: before.clone(),
                now: now.clone(),
            });
        let mut orders = Vec::new();
        for other in others.values() {
            for order in other.orders_in_force() {
                let order = order.order();
                let (of_box, voter, does) = match &order.change {
                    Change::Correction(c) => (c.of_box, c.voter, c.in_words()),
                    Change::Reissue(r) => (r.of_box, r.voter, r.in_words()),
                    Change::Calendar(_) | Change::Revocation(_) => continue,
                };
                let entry = (other.number(), of_box.get(), voter.get());
                orders.push(wire::EarlierOrder {
                    election: order.election.as_str().to_owned(),
                    number: order.number,
                    voter: self.store.read(|tx| reference(tx, entry))?.unwrap_or_default(),
                    does,
                });
            }
        }
        Ok(wire::CarriedReply {
            enrolled: enrolled as u64,
            changed: changed.len() as u64,
            voters: voters.collect(),
            orders,
            ..wire::CarriedReply::default()
        })
    }
}

/// A card record's header and its stored authorisation.
fn stored_record(tx: &impl Tables, noted: &registers::Noted) -> Result<(RecordHeader, Vec<u8>), StoreError> {
    let corrupt = || StoreError::Corrupt { table: "records" };
    let stored = accepted::get(tx, Kind::Record, noted.election, noted.of_box, &noted.digest)?;
    let stored = stored.ok_or_else(corrupt)?;
    let header = RecordHeader::decode(&stored.header).map_err(|_| corrupt())?;
    Ok((header, stored.authority_signature))
}

/// Who is called how, for people.
pub(crate) fn in_words(of: &wire::CarriedVoter) -> String {
    let wire::CarriedVoter {
        election,
        before,
        now,
    } = of;
    match now.as_str() {
        "" => {
            format!("{before:?} of election {election} is not on this roll, and somebody else is called so")
        }
        now => format!("{before:?} of election {election} is {now:?} here"),
    }
}

/// The earlier election, what somebody is called there, and what now.
type Renamed = (ElectionId, String, String);

/// How many people have records of the register in `others`, and whose reference there is not theirs on the roll of `election`: the earlier
/// election, what they are called there, and what they are called now; empty where they are not on it and somebody else is called so.
fn changed(
    tx: &impl Tables,
    election: &Election,
    register: &str,
    others: &BTreeMap<u32, Arc<Election>>,
) -> Result<(usize, Vec<Renamed>), StoreError> {
    let number = election.number();
    let Some(salt) = registers::salt(tx, number)? else {
        return Ok((0, Vec::new()));
    };
    let salt = Salt(salt);
    let mut seen: BTreeMap<Entry, Option<(String, Option<String>)>> = BTreeMap::new();
    registers::for_each(tx, register, |noted| {
        if !others.contains_key(&noted.election) {
            return Ok(());
        }
        let corrupt = || StoreError::Corrupt { table: "records" };
        let stored = accepted::get(tx, Kind::Record, noted.election, noted.of_box, &noted.digest)?;
        let stored = stored.ok_or_else(corrupt)?.authority_signature;
        let (v, _) = stored.split_first_chunk::<4>().ok_or_else(corrupt)?;
        let entry = (noted.election, noted.of_box, u32::from_be_bytes(*v));
        if seen.contains_key(&entry) {
            return Ok(());
        }
        let before = reference(tx, entry)?.ok_or_else(corrupt)?;
        let person = said(election.manifest(), &stored).map(|said| salt.person(&said));
        let place = match person {
            Some(person) => registers::place(tx, number, &person)?,
            None => None,
        };
        let now = match place {
            Some((of_box, v)) => reference(tx, (number, of_box, v))?,
            None => None,
        };
        let differs = now.as_ref() != Some(&before);
        seen.insert(entry, differs.then_some((before, now)));
        Ok::<_, StoreError>(())
    })?;
    let enrolled = seen.len();
    // Who is on no roll any more is no news, unless somebody else is called so now.
    let gone: BTreeSet<&str> = seen
        .values()
        .flatten()
        .filter(|(_, now)| now.is_none())
        .map(|(before, _)| before.as_str())
        .collect();
    let mut taken = BTreeSet::new();
    if !gone.is_empty() {
        for of_box in election.manifest().boxes() {
            rows::for_each_roll_entry(tx, number, of_box.id().get(), |_, _, reference| {
                taken.extend(gone.get(reference).copied());
                Ok::<_, StoreError>(())
            })?;
        }
    }
    let named = seen.iter().filter_map(|((of, ..), changed)| {
        let (before, now) = changed.as_ref()?;
        let of = others.get(of)?.manifest().election().clone();
        (now.is_some() || taken.contains(before.as_str()))
            .then(|| (of, before.clone(), now.clone().unwrap_or_default()))
    });
    Ok((enrolled, named.collect()))
}
