//! The audit of a sealed box, as one party holds it: its log of acceptances, its List, the Seal, the rows and the openings.

use std::collections::HashMap;

use tally_proto::audit::{Check, Item, Verdict};
use tally_proto::ballot::BallotHeader;
use tally_proto::calendar::Timing;
use tally_proto::ids::{BoxId, Digest, Hash32, RegisterId, Role, RoleExt as _, UnixSeconds};
use tally_proto::log::{Accepted as Logged, Entry};
use tally_proto::manifest::Manifest;
use tally_proto::merkle::Frontier;
use tally_proto::note::Checkpoint;
use tally_proto::order::EffectiveElection;
use tally_proto::record::RecordHeader;
use tally_proto::roll::{Roll, RollEntry};
use tally_proto::sealing::{DigestList, Sealed, SignedList};
use tally_proto::ticket::Use;

use super::Inner;
use super::error::SealError;
use super::fill::Held;
use super::sealed_box::SealedBox;
use super::story::Story;
use super::subject::Subject;
use super::tables;
use crate::audit::item;
use crate::intake::cards;
use crate::offsets;
use crate::store::{Kind, Tables, accepted, elections, log, registers};

impl SealedBox {
    /// Audits what this party holds of the box: the checks up to [`Check::Tickets`], in order. Blocks; a million ballots take minutes
    /// where they carry signatures to check.
    ///
    /// # Errors
    /// The store cannot be read. What is wrong with its content is in the items.
    pub fn audit(&self) -> Result<Vec<Item>, SealError> {
        let (inner, subject) = self.parts();
        inner.store.read(|tx| {
            let list = &inner.lists(tx, subject)?[inner.me.slot()];
            let sealed = inner.compute(tx, subject);
            let roll = roll(tx, subject);
            let acceptances = acceptances(tx, inner, subject, list)?;
            let mut items = vec![
                item(Check::Roll, roll),
                item(Check::Log, acceptances.log),
                item(Check::List, acceptances.list),
            ];
            match sealed {
                Ok(sealed) => {
                    items.push(item(Check::Receipts, receipts(inner.me, &sealed)));
                    items.push(item(Check::Seal, self.recomputed(&sealed)));
                    items.push(item(Check::Accounted, accounted(tx, inner.me, subject, &sealed)?));
                    items.push(item(Check::Rows, self.rows_of(tx, &sealed)?));
                }
                Err(error) => {
                    let what = format!("no Seal follows from the stored evidence: {error}");
                    for check in [Check::Receipts, Check::Seal, Check::Accounted, Check::Rows] {
                        items.push(item(check, Err(what.clone())));
                    }
                }
            }
            items.push(item(Check::Openings, self.openings(tx)));
            let none_of = |check, detail: &str| Item {
                check,
                verdict: Verdict::NotApplicable,
                detail: detail.to_owned(),
            };
            items.push(match subject.manifest().register() {
                Some(register) => item(Check::CardOffsets, inner.card_offsets(subject, register.id())),
                None => none_of(Check::CardOffsets, "nobody enrols by card in this election"),
            });
            items.push(match subject.manifest().ticketing() {
                Some(_) => item(Check::Tickets, tickets(tx, inner.me, subject)?),
                None => none_of(Check::Tickets, "the election asks for none"),
            });
            Ok(items)
        })
    }

    fn recomputed(&self, sealed: &Sealed) -> Result<String, String> {
        let signed = self.seal();
        if sealed.seal.encode() != *signed.envelope().payload() {
            return Err(
                "the Seal recomputed from the stored evidence is another than the signed one".to_owned(),
            );
        }
        let seal = signed.seal();
        Ok(format!(
            "{} rows, {} of them with a station's signature; {} records; {} excluded",
            seal.counts.total(),
            seal.counts.station + seal.counts.paper,
            sealed.standing.len(),
            seal.exclusions.len()
        ))
    }

    /// What the tally takes from the store is what the Seal says: rows, records, flags.
    fn rows_of(&self, tx: &impl Tables, sealed: &Sealed) -> Result<Result<String, String>, SealError> {
        if let Some(at) = (0..self.rows().len().max(sealed.rows.len()))
            .find(|&at| self.rows().get(at) != sealed.rows.get(at))
        {
            return Ok(Err(format!("row {} is not the Seal's", at + 1)));
        }
        let mut standing = sealed.standing.iter();
        let mut same = true;
        tables::for_each_standing(tx, self.parts().1.key, |v, digest| {
            let due = standing.next();
            same &= due.is_some_and(|(voter, of)| (voter.get(), &of.0) == (v, digest));
            Ok::<_, SealError>(())
        })?;
        Ok(if !same || standing.next().is_some() {
            Err("the standing records are not the Seal's".to_owned())
        } else if *self.live() != sealed.live || *self.enrolled() != sealed.enrolled {
            Err("the flags of the voters are not the Seal's".to_owned())
        } else {
            Ok(format!(
                "{} rows, {} records",
                sealed.rows.len(),
                sealed.standing.len()
            ))
        })
    }

    /// Both shares of every row and standing record open the commitments in the header that the digest names, and the cards behind card
    /// records authorise them for the voters whose they are.
    fn openings(&self, tx: &impl Tables) -> Result<String, String> {
        let (inner, subject) = self.parts();
        let mut standing = Vec::new();
        tables::for_each_standing(tx, subject.key, |_, digest| {
            standing.push(Digest(*digest));
            Ok::<_, SealError>(())
        })
        .map_err(|error| error.to_string())?;
        let rows = self.rows().iter().map(|digest| (Kind::Ballot, digest));
        let records = standing.iter().map(|digest| (Kind::Record, digest));
        let mut opened = 0u64;
        for (kind, digest) in rows.chain(records) {
            inner
                .opens(tx, subject, kind, digest)
                .map_err(|error| error.to_string())?
                .map_err(|what| format!("{kind} {digest}: {what}"))?;
            opened += 1;
        }
        Ok(format!("both shares of {opened} ballots and records"))
    }
}

impl Inner {
    /// The keys from which the tally's input takes the offsets of card records are those that the manifest commits to.
    fn card_offsets(&self, subject: &Subject, register: &RegisterId) -> Result<String, String> {
        let held = offsets::Held::new(self.me, &self.store, &self.vault);
        held.both(register, subject.manifest().offsets())
            .map_err(|error| error.to_string())?;
        let (own, next) = (self.me.number(), self.me.next().number());
        Ok(format!("K_{own} and K_{next} of register {register}"))
    }

    fn opens(
        &self,
        tx: &impl Tables,
        subject: &Subject,
        kind: Kind,
        digest: &Digest,
    ) -> Result<Result<(), String>, SealError> {
        let Some(held) = Held::any(tx, subject, kind, digest)? else {
            return Ok(Err("is not in the store".to_owned()));
        };
        if held.public.digest() != *digest {
            return Ok(Err("its stored header has another digest".to_owned()));
        }
        let context = held.public.context(subject)?;
        let shares = match held.shares(self, subject) {
            Ok(shares) => shares,
            Err(error) => return Ok(Err(error.to_string())),
        };
        for (of, opening) in [(self.me, &shares.this), (self.me.next(), &shares.next)] {
            if !held.public.is_opened_by(&context, of, opening) {
                return Ok(Err(format!("the share of {of} does not open its commitment")));
            }
        }
        if !held
            .public
            .is_authorised_by_card(tx, subject, &held.authority_signature)?
        {
            return Ok(Err("its card's authorisation does not hold".to_owned()));
        }
        Ok(Ok(()))
    }
}

fn roll(tx: &impl Tables, subject: &Subject) -> Result<String, String> {
    let of_box = subject.ballot_box().map_err(|error| error.to_string())?;
    if of_box.open().is_some() {
        return open_roll(tx, subject);
    }
    let persons = registers::persons_of_box(tx, subject.key.election, subject.key.of_box)
        .map_err(|error| error.to_string())?;
    let mut entries = Vec::new();
    elections::for_each_roll_entry(
        tx,
        subject.key.election,
        subject.key.of_box,
        |v, online, reference| {
            entries.push(RollEntry {
                online,
                reference: reference.to_owned(),
                persons: registers::codes_of(&persons, v).copied().collect(),
            });
            Ok::<_, SealError>(())
        },
    )
    .map_err(|error| error.to_string())?;
    let roll = Roll::new(entries).map_err(|error| error.to_string())?;
    roll.check_box(of_box).map_err(|error| error.to_string())?;
    Ok(format!("{} voters", roll.voters()))
}

/// On an open roll, whose N and root follow from the Seal's evidence, nobody has two numbers and no number two people: by the certificates of
/// the records that this party accepted, each checked again.
fn open_roll(tx: &impl Tables, subject: &Subject) -> Result<String, String> {
    let (mut persons, mut numbers) = (HashMap::new(), HashMap::new());
    let (key, manifest) = (subject.key, subject.manifest());
    let mut fault = None;
    accepted::for_each(tx, Kind::Record, key.election, key.of_box, |digest, row| {
        let digest = Digest(*digest);
        let pairing = RecordHeader::decode(&row.header)
            .ok()
            .and_then(|header| cards::pairing(tx, key.election, manifest, &header, &row.authority_signature));
        let what = match pairing {
            None => Some("its card's authorisation does not hold"),
            Some((v, person)) if *persons.entry(person.0).or_insert(v) != v => {
                Some("its holder has another number too")
            }
            Some((v, person)) if *numbers.entry(v).or_insert(person.0) != person.0 => {
                Some("its number is another person's too")
            }
            Some(_) => None,
        };
        fault = fault
            .take()
            .or(what.map(|what| format!("record {digest}: {what}")));
        Ok::<_, SealError>(())
    })
    .map_err(|error| error.to_string())?;
    match fault {
        Some(fault) => Err(fault),
        None => Ok(format!(
            "{} people on the open roll, each with one number",
            persons.len()
        )),
    }
}

struct Acceptances {
    log: Result<String, String>,
    list: Result<String, String>,
}

/// Rebuilds the log of the election from what is stored, and the List of the box from the log.
fn acceptances(
    tx: &impl Tables,
    inner: &Inner,
    subject: &Subject,
    list: &SignedList,
) -> Result<Acceptances, SealError> {
    let me = inner.me;
    let size = log::size(tx, subject.key.election)?;
    let mut stored = vec![false; usize::try_from(size).unwrap_or(usize::MAX)];
    let mut stray = None;
    let mut timely: [Vec<Digest>; 2] = [Vec::new(), Vec::new()];
    let mut late = None;
    let named = list.list().orders.len();
    let known = subject.order_hashes();
    let under = if known.get(..named) == Some(list.list().orders.as_slice()) {
        Some(subject.under(named)?)
    } else {
        None
    };
    for of_box in subject.manifest().boxes() {
        let here = of_box.id() == subject.of_box;
        for (slot, kind) in [Kind::Ballot, Kind::Record].into_iter().enumerate() {
            accepted::for_each(
                tx,
                kind,
                subject.key.election,
                of_box.id().get(),
                |digest, row| {
                    let digest = Digest(*digest);
                    let received_at = UnixSeconds(row.received_at_s);
                    let due = Entry::Accepted(Logged {
                        record: kind == Kind::Record,
                        of_box: of_box.id(),
                        digest,
                        ciphertext_hash: Hash32(row.ciphertext_hash),
                        received_at,
                    });
                    let stands = log::entry(tx, subject.key.election, row.position)? == Some(due);
                    match usize::try_from(row.position)
                        .ok()
                        .and_then(|at| stored.get_mut(at))
                    {
                        Some(place @ false) if stands => *place = true,
                        _ => stray = stray.or(Some(digest)),
                    }
                    if here {
                        let in_time = under.as_ref().is_some_and(|election| {
                            is_timely(election, (of_box.id(), kind), &row.header, &digest, received_at)
                        });
                        if in_time {
                            timely[slot].push(digest);
                        } else {
                            late = late.or(Some(digest));
                        }
                    }
                    Ok::<_, SealError>(())
                },
            )?;
        }
    }
    // What the log names and a disk lost is listed as well.
    for (kind, digest) in inner.lost(tx, subject.key)? {
        let slot = usize::from(kind == Kind::Record);
        if !timely[slot].contains(&digest) {
            timely[slot].push(digest);
        }
    }
    for digests in &mut timely {
        digests.sort_unstable_by_key(|digest| digest.0);
    }
    Ok(Acceptances {
        log: judge_log(tx, me, subject, list, (stored, stray))?,
        list: match (under, late) {
            (None, _) => Err("the orders that the List names are not those known here".to_owned()),
            (_, Some(digest)) => Err(format!("{digest} was not in time, or its header is another's")),
            _ => judge_list(list, &timely),
        },
    })
}

/// Every online ballot that this party accepted carries a ticket of its day, was signed by the ticket's owner with the ciphertext that this
/// party took, and no ticket was taken twice.
fn tickets(tx: &impl Tables, me: Role, subject: &Subject) -> Result<Result<String, String>, SealError> {
    let manifest = subject.manifest();
    let (mut good, mut fault) = (Vec::new(), None);
    let key = subject.key;
    accepted::for_each(tx, Kind::Ballot, key.election, key.of_box, |digest, row| {
        let digest = Digest(*digest);
        match ticket_of(manifest, me, &digest, &row) {
            Ok(Some(ticket)) => good.push(ticket),
            Ok(None) => {}
            Err(what) => fault = fault.take().or(Some(format!("{digest}: {what}"))),
        }
        Ok::<_, SealError>(())
    })?;
    Ok(match fault {
        Some(fault) => Err(fault),
        None => each_its_own(good),
    })
}

fn each_its_own(mut tickets: Vec<[u8; 32]>) -> Result<String, String> {
    let count = tickets.len();
    tickets.sort_unstable();
    tickets.dedup();
    match count - tickets.len() {
        0 => Ok(format!("{count} ballots, each with a ticket of its own")),
        shared => Err(format!("{shared} ballots were taken with tickets of others")),
    }
}

/// The one-time key of an accepted ballot's ticket; `None` for a station's ballot.
fn ticket_of(
    manifest: &Manifest,
    me: Role,
    digest: &Digest,
    row: &accepted::Accepted,
) -> Result<Option<[u8; 32]>, String> {
    let header = BallotHeader::decode(&row.header).map_err(|error| error.to_string())?;
    if header.digest() != *digest {
        return Err("its stored header has another digest".to_owned());
    }
    if header.channel().at_station() {
        return Ok(None);
    }
    header
        .check_authority(digest, None, manifest)
        .map_err(|error| error.to_string())?;
    let ticket = header.ticket().ok_or("it names no ticket")?;
    let spent = Use::from_bytes(&row.authority_signature).map_err(|error| error.to_string())?;
    if spent.ciphertexts[me.slot()].0 != row.ciphertext_hash || !spent.is_by(ticket, digest) {
        return Err("the ticket's owner did not sign it with this ciphertext".to_owned());
    }
    Ok(Some(*ticket.key().as_bytes()))
}

fn is_timely(
    election: &EffectiveElection,
    (of_box, kind): (BoxId, Kind),
    header: &[u8],
    digest: &Digest,
    received_at: UnixSeconds,
) -> bool {
    match kind {
        Kind::Ballot => BallotHeader::decode(header).is_ok_and(|header| {
            header.digest() == *digest
                && election.channel(header.channel()).is_some_and(|channel| {
                    channel.check(header.cast_at(), received_at.millis()) == Ok(Timing::InTime)
                })
        }),
        Kind::Record => {
            received_at <= election.records_until(of_box)
                && tally_proto::record::RecordHeader::decode(header)
                    .is_ok_and(|header| header.digest() == *digest)
        }
    }
}

fn judge_log(
    tx: &impl Tables,
    me: Role,
    subject: &Subject,
    list: &SignedList,
    (stored, stray): (Vec<bool>, Option<Digest>),
) -> Result<Result<String, String>, SealError> {
    if let Some(digest) = stray {
        return Ok(Err(format!(
            "{digest} is stored without a place of its own in the log"
        )));
    }
    let key = &subject.keys[me.slot()];
    let checkpoint = match Checkpoint::open(&list.list().checkpoint, &subject.election, me, key) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return Ok(Err(format!("the checkpoint in the List: {error}"))),
    };
    let mut frontier = Frontier::new();
    let mut covered = (checkpoint.size == 0).then(|| frontier.root());
    let lost = log::lost(tx, subject.key.election)?;
    let (mut story, mut wrong) = (Story::new(subject, me), None);
    log::for_each(tx, subject.key.election, |at, entry| {
        frontier.push(entry.leaf());
        // Boxes that still took ballots made the log longer than this box's checkpoint.
        if frontier.size() == checkpoint.size {
            covered = Some(frontier.root());
        }
        if wrong.is_none() {
            let is_stored = usize::try_from(at).is_ok_and(|at| stored.get(at) == Some(&true));
            let is_lost = lost.binary_search(&at).is_ok();
            wrong = match entry {
                Entry::Accepted(of) if !is_stored && !is_lost => {
                    let kind = if of.record { Kind::Record } else { Kind::Ballot };
                    Some(format!("{kind} {} of box {} is not stored", of.digest, of.of_box))
                }
                // Whatever became of its content, it was accepted: then it stands on the List.
                Entry::Accepted(of)
                    if !is_stored
                        && of.of_box == subject.of_box
                        && !tables::lists(tx, subject.key, me.index(), Kind::Ballot, &of.digest.0)?
                        && !tables::lists(tx, subject.key, me.index(), Kind::Record, &of.digest.0)? =>
                {
                    Some(format!(
                        "{} was accepted, its content was lost with a disk, and it is not on the List",
                        of.digest
                    ))
                }
                _ => story.read(tx, &entry)?.err(),
            }
            .map(|what| format!("position {at} of the log: {what}"));
        }
        Ok::<_, SealError>(())
    })?;
    wrong = wrong.or_else(|| story.finish(list.list().orders.len()).err());
    if let Some(wrong) = wrong {
        return Ok(Err(wrong));
    }
    Ok(match covered {
        None => Err(format!(
            "the checkpoint in the List covers {} entries, the log holds {}",
            checkpoint.size,
            frontier.size()
        )),
        Some(root) if root != checkpoint.root => Err(
            "the log rebuilt from what is stored has another root than the checkpoint in the List".to_owned(),
        ),
        Some(_) if lost.is_empty() => Ok(format!("{} entries under the checkpoint", checkpoint.size)),
        Some(_) => Ok(format!(
            "{} entries under the checkpoint; the content of {} was lost with a disk",
            checkpoint.size,
            lost.len()
        )),
    })
}

fn judge_list(list: &SignedList, [ballots, records]: &[Vec<Digest>; 2]) -> Result<String, String> {
    let (listed, list) = ([ballots, records], list.list());
    let stated = [("ballots", list.ballots), ("records", list.records)];
    for ((kind, stated), digests) in stated.into_iter().zip(listed) {
        // The store gives digests in their order.
        let body = DigestList::new(digests.clone()).map_err(|error| error.to_string())?;
        if body.statement() != stated {
            return Err(format!(
                "the List states {} {kind}, the log's timely entries are {} or others",
                stated.0,
                digests.len()
            ));
        }
    }
    Ok(format!("{} ballots, {} records", ballots.len(), records.len()))
}

/// Whether another party proved that this one gave a receipt for what it did not list.
fn receipts(me: Role, sealed: &Sealed) -> Result<String, String> {
    let hidden: Vec<_> = sealed
        .settled
        .hidden()
        .iter()
        .filter(|claimed| claimed.party == me)
        .collect();
    match hidden.first() {
        Some(first) => Err(format!(
            "{} receipts of {me} for what it did not list were claimed, the first for {}",
            hidden.len(),
            first.digest
        )),
        None => Ok("none was claimed against the party".to_owned()),
    }
}

/// What became of every ballot that this party listed.
fn accounted(
    tx: &impl Tables,
    me: Role,
    subject: &Subject,
    sealed: &Sealed,
) -> Result<Result<String, String>, SealError> {
    let mut rows = sealed.rows.clone();
    rows.sort_unstable();
    let exclusions = &sealed.seal.exclusions;
    let (mut counted, mut excluded, mut alone) = (0u64, 0u64, 0u64);
    for digest in tables::body(tx, subject.key, me.index(), Kind::Ballot)? {
        let digest = Digest(digest);
        if rows.binary_search(&digest).is_ok() {
            counted += 1;
        } else if exclusions.binary_search_by_key(&digest, |out| out.digest).is_ok() {
            excluded += 1;
        } else {
            for other in [me.next(), me.prev()] {
                let listed = tables::lists(tx, subject.key, other.index(), Kind::Ballot, &digest.0)?;
                if listed || sealed.settled.accepts(other, &digest) {
                    return Ok(Err(format!(
                        "ballot {digest} has two acceptances, but is neither a row nor excluded"
                    )));
                }
            }
            alone += 1;
        }
    }
    Ok(Ok(format!(
        "{counted} sealed, {excluded} excluded, {alone} with one acceptance only"
    )))
}

#[cfg(test)]
mod tests {
    use tally_mpc::layout::Choice;
    use tally_proto::ballot::{StationMark, Submission};
    use tally_proto::fixture::{Cast, OPENS, Shape, World};
    use tally_proto::ids::{BoxId, StationId, UnixSeconds, VoterIndex};
    use tally_proto::ticket::Ticket;

    use super::*;

    /// What a party stores of its part of a ballot.
    fn row(part: &Submission) -> accepted::Accepted {
        let spent = part.ticket_use().map(Use::to_bytes);
        accepted::Accepted {
            header: part.header().encode(),
            authority_signature: spent.unwrap_or_default(),
            ciphertext_hash: part.ciphertext_hash().0,
            received_at_s: OPENS,
            position: 0,
            receipt_signature: vec![0; 64],
            sealed_shares: Vec::new(),
        }
    }

    #[test]
    fn a_ballot_taken_without_its_owners_ticket_is_found() {
        let mut world = World::new(Shape {
            tickets: true,
            ..Shape::default()
        });
        let manifest = std::sync::Arc::clone(&world.manifest);
        let manifest = manifest.manifest();
        let cast = Cast {
            of_box: BoxId(1),
            voter: VoterIndex(0),
            credential: 5,
            choices: &[Choice::Blank, Choice::Blank],
            cast_at: UnixSeconds(OPENS),
            mark: None,
            paper: false,
        };
        let [_, one, _] = world.ballot(cast);
        let [_, other, _] = world.ballot(cast);
        let judge =
            |of: &Submission, row: &accepted::Accepted| ticket_of(manifest, Role::P2, &of.digest(), row);
        let tickets: Vec<[u8; 32]> = [&one, &other]
            .into_iter()
            .map(|part| judge(part, &row(part)).expect("good").expect("a ticket"))
            .collect();
        assert_eq!(
            each_its_own(tickets.clone()),
            Ok("2 ballots, each with a ticket of its own".to_owned())
        );
        assert!(each_its_own([&tickets[..], &tickets[..1]].concat()).is_err());

        let changed = |change: fn(&mut accepted::Accepted)| {
            let mut row = row(&one);
            change(&mut row);
            judge(&one, &row)
        };
        assert!(changed(|row| row.authority_signature[100] ^= 1).is_err());
        assert!(changed(|row| row.authority_signature.clear()).is_err());
        assert!(changed(|row| row.ciphertext_hash[0] ^= 1).is_err());
        assert!(judge(&other, &row(&one)).is_err(), "another ballot's row");
        // A header without a ticket, and one with a ticket that nobody signed.
        let mut wire = one.header().to_wire();
        wire.authority = None;
        let bare = BallotHeader::from_wire(&wire).expect("a header");
        let mut forged = one.header().ticket().expect("a ticket").to_wire();
        forged.signature[5] ^= 1;
        let forged = bare
            .clone()
            .with_ticket(Ticket::from_wire(&forged).expect("a form"));
        for header in [bare, forged] {
            let row = accepted::Accepted {
                header: header.encode(),
                ..row(&one)
            };
            assert!(ticket_of(manifest, Role::P2, &header.digest(), &row).is_err());
        }
        // A station's ballot has none.
        let mark = Some(StationMark {
            station: StationId(1),
            sequence: 1,
        });
        let [_, at_station, _] = world.ballot(Cast { mark, ..cast });
        assert_eq!(judge(&at_station, &row(&at_station)), Ok(None));
    }
}
