//! Getting back what others hold of this party's log, verbatim, with the ballots and records behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future;
use tally_proto::ids::{BoxId, Digest, Role};
use tally_proto::log::{Accepted, Entry, Happening, decode_page};
use tally_proto::merkle::Frontier;
use tally_proto::reason::Reason;
use tally_proto::receipt::{Acceptance, Receipt};
use tally_proto::record::Source;
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use super::collected::{Bounds, collected};
use super::follow::answer;
use super::recollect::{Place, Said};
use super::serve::open_note;
use crate::elections::Election;
use crate::intake::cards;
use crate::party::Party;
use crate::sealing::known::{Batch, MAX_SHARE, Public, Regained};
use crate::sealing::{SealError, Sealing};
use crate::store::accepted::{self, Accepted as Row, Counted};
use crate::store::{Kind, StoreError, WriteTx, boxes, log, registers, sequences, serials, tickets};

/// How long a page may take.
const PAGE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the shares behind some entries may take, with all attempts.
const SHARE_PATIENCE: Duration = Duration::from_secs(10);
/// How long one attempt goes on with a peer that gives slowly: then all are asked anew, as somebody else may have come back.
const SLOW_ATTEMPT: Duration = Duration::from_secs(5);
/// Attempts while a peer is busy, and the pause between two.
const ATTEMPTS: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// What of some entries was got back.
#[derive(Default)]
struct Got {
    whole: BTreeMap<Digest, (Kind, Regained)>,
    /// What one neighbour gave and the other did not.
    halves: Vec<Batch>,
    /// Of which kind it is, as its header says.
    kinds: BTreeMap<Digest, Kind>,
}

impl Party {
    /// Gets back what others hold of this party's log: pages under its own signature from whichever gives them, then what receipts in both
    /// others' hands name. Every page is one transaction, so that a kill in the midst of it costs nothing.
    ///
    /// # Errors
    /// What somebody showed under this party's signature is not given by anybody, which names who showed it; the store.
    pub(super) async fn get_back(
        self: &Arc<Self>,
        sealing: &Sealing,
        election: &Arc<Election>,
        said: &[Said],
        place: &mut Place,
    ) -> Result<(), Refusal> {
        let number = election.number();
        let mut own = self.own_size(number).await?;
        if self.gate.begins(number) {
            tracing::error!(party = %self.role, election = %election.manifest().election(), own,
                "others know more of this party's log than it does: its store was restored from an older copy or made anew, and gets it back");
        }
        let mut mute = BTreeSet::new();
        let mut withheld: BTreeMap<Role, String> = BTreeMap::new();
        let mut slow_since = None;
        loop {
            let more = said
                .iter()
                .filter(|said| said.size() > own && !withheld.contains_key(&said.by));
            // Whoever is slow is asked when nobody else has more.
            let Some(from) = more.max_by_key(|said| (!self.following.is_slow(said.by), said.size())) else {
                break;
            };
            if self.following.is_slow(from.by) {
                place.go_apart().await;
                let since = slow_since.get_or_insert_with(Instant::now);
                if since.elapsed() > SLOW_ATTEMPT {
                    withheld.insert(from.by, "it gives them slowly".to_owned());
                    continue;
                }
            }
            let began = Instant::now();
            let page = self.own_page(election, from.by, own).await;
            let count = page.as_ref().map_or(0, Vec::len);
            let whole = own.saturating_add(count as u64) >= from.size();
            self.following.gave(from.by, count, began.elapsed(), whole);
            match page {
                Ok(entries) => {
                    let slow = self.others().into_iter();
                    mute.extend(slow.filter(|peer| self.following.is_slow(*peer)));
                    self.restore(sealing, election, own, entries, &mut mute).await?;
                    own = self.own_size(number).await?;
                    let of = said.iter().map(Said::size).max().unwrap_or(own);
                    let so_far = format!(
                        "{own} of {of} entries of its log are back, the last ones from {}",
                        from.by
                    );
                    self.gate.tell(number, so_far, self.now());
                }
                Err(refusal) => {
                    withheld.insert(from.by, refusal.to_string());
                }
            }
        }
        let owed: Vec<_> = said.iter().filter(|said| said.size() > own).collect();
        if !owed.is_empty() {
            let owed = owed.iter().map(|said| {
                let why = withheld.get(&said.by).map_or("", String::as_str);
                format!(
                    "{} shows this party's own checkpoint of {} entries and withholds them ({why})",
                    said.by,
                    said.size()
                )
            });
            let owed: Vec<_> = owed.collect();
            return Err(Refusal::new(
                Reason::PartyRecollecting,
                format_args!("{own} entries of its log are here: {}", owed.join("; ")),
            ));
        }
        // Beyond the mirrors stand the receipts that voters handed to the others. What one of two may hold is not given up while it is silent.
        if let [_, _] = said
            && said.iter().any(|said| said.receipted > own)
        {
            // Whoever claims receipts and is slow to show them holds up no other election.
            place.go_apart().await;
            let entries = match self.receipted(election, said, own).await {
                Ok(entries) => entries,
                // A bare word, and silence when asked for what it is of: its operator's word is more.
                Err(_) if self.gate.is_trusted(number) => Vec::new(),
                Err(refusal) => return Err(refusal),
            };
            if !entries.is_empty() {
                self.restore(sealing, election, own, entries, &mut mute).await?;
            }
        }
        Ok(())
    }

    /// A page of this party's own log, from `from`: what it signed, and no other.
    async fn own_page(
        self: &Arc<Self>,
        election: &Arc<Election>,
        from: Role,
        own: u64,
    ) -> Result<Vec<Entry>, Refusal> {
        let request = wire::LogRequest {
            election: election.manifest().election().as_str().to_owned(),
            from: own,
            most: 0,
        };
        let asked =
            unless_busy(|| async { answer(from, self.bounded_client(from)?.mirror(request.clone())).await });
        let page = tokio::time::timeout(PAGE_PATIENCE, asked).await.map_err(|_| {
            Refusal::new(
                Reason::PartyUnreachable,
                format_args!("no page of {from} within {} s", PAGE_PATIENCE.as_secs()),
            )
        })??;
        self.check_own(election, from, own, &page).await
    }

    async fn own_size(self: &Arc<Self>, number: u32) -> Result<u64, Refusal> {
        self.blocking(move |party| Ok(party.store.read(|tx| log::size(tx, number))?))
            .await
    }

    /// The entries of a page of this party's own log: what it signed, and no other.
    async fn check_own(
        self: &Arc<Self>,
        election: &Arc<Election>,
        from: Role,
        own: u64,
        page: &wire::LogPage,
    ) -> Result<Vec<Entry>, Refusal> {
        let wrong = |what: &str| {
            Refusal::new(
                Reason::LogPageWrong,
                format_args!("{from} gave entries of this party's own log from {own} on: {what}"),
            )
        };
        let keys = election.manifest().party_keys();
        let (size, root) = open_note(&page.note, election.manifest().election(), self.role, &keys)
            .ok_or_else(|| wrong("this party has not signed the checkpoint with them"))?;
        let entries = decode_page(&page.entries).map_err(|error| wrong(&error.to_string()))?;
        if entries.is_empty() || size != own + entries.len() as u64 {
            return Err(wrong("the checkpoint with them is of another length"));
        }
        let number = election.number();
        let leaves: Vec<_> = entries.iter().map(Entry::leaf).collect();
        let fits = self
            .blocking(move |party| {
                let mut tree: Frontier = party.store.read(|tx| log::frontier(tx, number))?;
                for leaf in leaves {
                    tree.push(leaf);
                }
                Ok(tree.root() == root)
            })
            .await?;
        if fits {
            Ok(entries)
        } else {
            Err(wrong("they do not make up the checkpoint that this party signed"))
        }
    }

    /// The entries beyond the end of this party's log that receipts in others' hands name, under this party's own signature; an entry between
    /// them that none names is lost. No checkpoint that anybody shows reaches so far.
    async fn receipted(
        self: &Arc<Self>,
        election: &Arc<Election>,
        said: &[Said],
        own: u64,
    ) -> Result<Vec<Entry>, Refusal> {
        let keys = election.manifest().party_keys();
        let mut found: BTreeMap<u64, Acceptance> = BTreeMap::new();
        for peer in said
            .iter()
            .filter(|said| said.receipted > own)
            .map(|said| said.by)
        {
            let request = wire::ReceiptsRequest {
                election: election.manifest().election().as_str().to_owned(),
                from: own,
            };
            let receipts = unless_busy(|| async {
                let mut client = self.bounded_client(peer)?;
                let request = request.clone();
                let answered = async move { Ok(client.receipts(request).await?.into_inner()) };
                collected(peer, Bounds::receipts(own), answered).await
            })
            .await?;
            for receipt in receipts {
                let Ok(receipt) = Receipt::from_wire(&receipt) else {
                    continue;
                };
                let fits = receipt.verify(&keys).is_ok_and(|stated| {
                    stated.party == self.role
                        && stated.election == *election.manifest().election()
                        && stated.position >= own
                });
                if fits {
                    found.insert(receipt.unverified().position, receipt.unverified().clone());
                }
            }
        }
        let now = self.now().seconds();
        let end = found
            .last_key_value()
            .map_or(own, |(last, _)| last.saturating_add(1));
        let entry = |position| match found.get(&position) {
            // Ballot or record: the header says which, and a receipt does not.
            Some(of) => Entry::Accepted(Accepted {
                record: false,
                of_box: of.of_box,
                digest: of.digest,
                ciphertext_hash: of.ciphertext_hash,
                received_at: of.received_at,
            }),
            None => Entry::Event(Happening::Lost, now),
        };
        Ok((own..end).map(entry).collect())
    }

    /// Appends entries of this party's own log with what is behind them. What the others do not give whole is written down as lost, and asked for
    /// again: see [`Party::mend_lost`]. `mute`: who did not answer before, and is not asked again now.
    async fn restore(
        self: &Arc<Self>,
        sealing: &Sealing,
        election: &Arc<Election>,
        own: u64,
        entries: Vec<Entry>,
        mute: &mut BTreeSet<Role>,
    ) -> Result<(), Refusal> {
        let accepted: Vec<_> = entries.iter().filter_map(Entry::accepted).copied().collect();
        let got = self.get_content(sealing, election, &accepted, mute).await?;
        let (election, keeper) = (Arc::clone(election), sealing.clone());
        self.blocking(move |party| {
            party.store.write(|tx| {
                let number = election.number();
                if log::size(tx, number)? != own {
                    return Err(SealError::Interrupted);
                }
                for entry in entries {
                    // The tree does not tell ballots from records: the header does.
                    let entry = match entry {
                        Entry::Accepted(of) => Entry::Accepted(Accepted {
                            record: got
                                .kinds
                                .get(&of.digest)
                                .map_or(of.record, |kind| *kind == Kind::Record),
                            ..of
                        }),
                        event @ Entry::Event(..) => event,
                    };
                    let position = log::append(tx, number, &entry)?;
                    match entry {
                        Entry::Event(Happening::BoxClosed(of_box), _) => {
                            boxes::freeze(tx, number, of_box.get())?;
                        }
                        Entry::Event(Happening::Lost, _) => log::put_lost(tx, number, position)?,
                        Entry::Event(..) => {}
                        Entry::Accepted(of) => {
                            if !party.put_back(tx, &election, &of, position, &got)? {
                                got.occupy(tx, &election, &of)?;
                                log::put_lost(tx, number, position)?;
                            }
                        }
                    }
                }
                for halves in &got.halves {
                    keeper.keep(tx, halves)?;
                }
                Ok::<_, SealError>(())
            })?;
            Ok(())
        })
        .await
    }

    /// Asks both neighbours for what is behind these entries.
    async fn get_content(
        self: &Arc<Self>,
        sealing: &Sealing,
        election: &Arc<Election>,
        accepted: &[Accepted],
        mute: &mut BTreeSet<Role>,
    ) -> Result<Got, Refusal> {
        let mut got = Got::default();
        // As what the entries say; then, of what nobody knows as that, as the other kind: a page's giver can alter it.
        for other_kind in [false, true] {
            let mut wanted: BTreeMap<(BoxId, bool), Vec<Digest>> = BTreeMap::new();
            for of in accepted {
                let known = election.manifest().ballot_box(of.of_box).is_some();
                if known && !got.kinds.contains_key(&of.digest) {
                    let wanted = wanted.entry((of.of_box, of.record != other_kind)).or_default();
                    wanted.push(of.digest);
                }
            }
            for ((of_box, record), digests) in wanted {
                let kind = if record { Kind::Record } else { Kind::Ballot };
                for digests in digests.chunks(MAX_SHARE) {
                    self.get_both(sealing, election, (of_box, kind), digests, mute, &mut got)
                        .await?;
                }
            }
        }
        Ok(got)
    }

    async fn get_both(
        self: &Arc<Self>,
        sealing: &Sealing,
        election: &Arc<Election>,
        (of_box, kind): (BoxId, Kind),
        digests: &[Digest],
        mute: &mut BTreeSet<Role>,
        got: &mut Got,
    ) -> Result<(), Refusal> {
        let [one, other] = self.others();
        let (from_one, from_other) = future::join(
            self.ask_unless(mute.contains(&one), one, election, (of_box, kind), digests),
            self.ask_unless(mute.contains(&other), other, election, (of_box, kind), digests),
        )
        .await;
        let mut batches = Vec::with_capacity(2);
        for (peer, parts) in [(one, from_one), (other, from_other)] {
            // What it has is asked for later.
            if parts.is_none() || self.following.is_slow(peer) {
                mute.insert(peer);
            }
            let parts = parts.unwrap_or_else(|| vec![wire::FillPart::default(); digests.len()]);
            let place = (election.manifest().election().as_str(), of_box.get());
            let batch = sealing
                .check_shares(place, kind, digests.to_vec(), peer, parts)
                .await?;
            got.kinds.extend(batch.known().map(|digest| (digest, kind)));
            batches.push(batch);
        }
        if let [Some(other), Some(one)] = [batches.pop(), batches.pop()] {
            let (whole, halves) = sealing.regain(one, other);
            let whole = whole
                .into_iter()
                .map(|(digest, regained)| (digest, (kind, regained)));
            got.whole.extend(whole);
            got.halves.extend(halves);
        }
        Ok(())
    }

    /// What `peer` gives, unless it is mute.
    async fn ask_unless(
        self: &Arc<Self>,
        is_mute: bool,
        peer: Role,
        election: &Arc<Election>,
        of: (BoxId, Kind),
        digests: &[Digest],
    ) -> Option<Vec<wire::FillPart>> {
        if is_mute {
            return None;
        }
        let began = Instant::now();
        let asked = unless_busy(|| self.ask_shares(peer, election, of, digests));
        let asked = tokio::time::timeout(SHARE_PATIENCE, asked)
            .await
            .unwrap_or_else(|_| {
                Err(Refusal::new(
                    Reason::PartyUnreachable,
                    format_args!("no shares of {peer} within {} s", SHARE_PATIENCE.as_secs()),
                ))
            });
        let count = if asked.is_ok() { digests.len() } else { 0 };
        self.following.gave(peer, count, began.elapsed(), true);
        let asked = asked.inspect_err(|refusal| {
            tracing::warn!(party = %self.role, %peer, %refusal, "does not give what is behind this party's own log");
        });
        asked.ok()
    }

    /// Goes on asking for what is behind entries of this party's own log and not whole here, as long as the box has no List: then sealing
    /// gets it, and names who withholds it.
    pub(super) async fn mend_lost(self: &Arc<Self>, sealing: &Sealing) {
        for election in self.elections_in_force() {
            if !self.gate.is_open(election.number()) {
                continue;
            }
            if let Err(refusal) = self.mend(sealing, &election).await {
                tracing::debug!(party = %self.role, election = %election.manifest().election(), %refusal, "what was lost is not whole yet");
            }
        }
    }

    async fn mend(self: &Arc<Self>, sealing: &Sealing, election: &Arc<Election>) -> Result<(), Refusal> {
        let number = election.number();
        let after = self.following.mended(number);
        let (lost, next) = self
            .blocking(move |party| Ok(party.store.read(|tx| missing(tx, number, after))?))
            .await?;
        // From the beginning again once the end was reached.
        self.following.mend_from(number, next);
        if lost.is_empty() {
            return Ok(());
        }
        let accepted: Vec<_> = lost.iter().map(|(_, of)| *of).collect();
        let got = self
            .get_content(sealing, election, &accepted, &mut BTreeSet::new())
            .await?;
        let (of, keeper) = (Arc::clone(election), sealing.clone());
        let mended = self
            .blocking(move |party| {
                Ok(party.store.write(|tx| {
                    let mut mended = 0u64;
                    for (position, of_entry) in &lost {
                        if boxes::is_frozen(tx, number, of_entry.of_box.get())? {
                            continue;
                        }
                        if let Some(kind) = got.kinds.get(&of_entry.digest) {
                            let record = *kind == Kind::Record;
                            log::put_kind(tx, number, *position, &Accepted { record, ..*of_entry })?;
                        }
                        if party.put_back(tx, &of, of_entry, *position, &got)? {
                            log::take_lost(tx, number, *position)?;
                            mended += 1;
                        } else {
                            got.occupy(tx, &of, of_entry)?;
                        }
                    }
                    for halves in &got.halves {
                        keeper.keep(tx, halves)?;
                    }
                    Ok::<_, SealError>(mended)
                })?)
            })
            .await?;
        if mended > 0 {
            tracing::info!(party = %self.role, election = %election.manifest().election(), mended, "what was lost is whole again");
        }
        Ok(())
    }

    /// Stores what is behind an acceptance of this party's own log, with the same statement as then. Returns whether all of it is here.
    fn put_back(
        &self,
        tx: &WriteTx,
        election: &Election,
        of: &Accepted,
        position: u64,
        got: &Got,
    ) -> Result<bool, SealError> {
        let number = election.number();
        let Some((kind, regained)) = got.whole.get(&of.digest) else {
            return Ok(false);
        };
        // The same was accepted twice: once while its first acceptance was lost.
        if accepted::position(tx, *kind, number, of.of_box.get(), &of.digest.0)?.is_some() {
            return Ok(false);
        }
        let Some(authority_signature) = regained.authority(self.role, &of.ciphertext_hash) else {
            return Ok(false);
        };
        let Some(counted) = occupy(tx, election, of, &regained.public, &authority_signature)? else {
            return Ok(false);
        };
        if let Public::Record(header) = &regained.public
            && let Source::Card(card) = &header.source
            && card.place.is_none()
        {
            registers::note(tx, card.register.as_str(), number, of.of_box.get(), &of.digest.0)?;
        }
        let acceptance = Acceptance {
            election: election.manifest().election().clone(),
            of_box: of.of_box,
            party: self.role,
            digest: of.digest,
            ciphertext_hash: of.ciphertext_hash,
            received_at: of.received_at,
            position,
        };
        // The statement is the one of then, position and all; its batch is not known any more, so it stands under a signature of its own.
        let receipt = acceptance.sign(&self.signer);
        let row = Row {
            header: regained.public.encode(),
            authority_signature,
            ciphertext_hash: of.ciphertext_hash.0,
            received_at_s: of.received_at.get(),
            position,
            receipt_signature: receipt.signature().to_bytes(),
            sealed_shares: regained.sealed_shares.clone(),
        };
        accepted::insert(tx, number, of.of_box.get(), &of.digest.0, counted, &row)?;
        Ok(true)
    }
}

impl Got {
    /// What was accepted keeps its place from others although its content is not whole: it is listed.
    fn occupy(&self, tx: &WriteTx, election: &Election, of: &Accepted) -> Result<(), StoreError> {
        let given = self.halves.iter().flat_map(Batch::headers);
        for (_, public, authority) in given.filter(|(digest, ..)| **digest == of.digest) {
            occupy(tx, election, of, public, authority.unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Takes what can be taken once for an acceptance of this party's own log: the ticket, the number of its station, the number on an open roll,
/// the serial. `None`: a card record whose authorisation does not hold here, or whose number is another person's.
fn occupy(
    tx: &WriteTx,
    election: &Election,
    of: &Accepted,
    public: &Public,
    authority: &[u8],
) -> Result<Option<Counted>, StoreError> {
    let (number, in_box) = (election.number(), of.of_box.get());
    let header = match public {
        Public::Ballot(header) => {
            if let Some(ticket) = header.ticket() {
                tickets::spend(tx, number, ticket.key().as_bytes(), &of.digest.0)?;
            }
            if let Some(mark) = header.station_mark() {
                let place = (mark.station.get(), mark.sequence);
                sequences::take(tx, number, in_box, place, &of.digest.0)?;
            }
            return Ok(Some(Counted::Ballot(header.channel())));
        }
        Public::Record(header) => header,
    };
    let serial = match &header.source {
        Source::Issued(issue) => serials::Serial {
            voter: issue.voter.get(),
            half: u8::try_from(issue.half.number()).unwrap_or(u8::MAX),
            serial: header.serial,
            after: 0,
        },
        Source::Card(card) => {
            let manifest = election.manifest();
            let holds = cards::holds(tx, number, manifest, header, authority);
            let Some((_, voter)) = holds.filter(|(found, _)| *found == of.of_box) else {
                return Ok(None);
            };
            if card.place.is_some() {
                // Before it takes anything: P1 gives no number that it gave before.
                let paired = cards::pairing(tx, number, manifest, header, authority)
                    .map(|(v, person)| registers::pair(tx, number, in_box, v.get(), &person))
                    .transpose()?;
                if paired != Some(registers::Paired::Stands) {
                    return Ok(None);
                }
            }
            cards::serial(voter, header)
        }
    };
    serials::take(tx, number, in_box, serial, &of.digest.0)?;
    Ok(Some(Counted::Record))
}

/// Asks again while the other side is busy with this party's other questions.
async fn unless_busy<T, F: Future<Output = Result<T, Refusal>>>(ask: impl Fn() -> F) -> Result<T, Refusal> {
    for _ in 1..ATTEMPTS {
        match ask().await {
            Err(refusal) if refusal.reason == Reason::PartyBusy => tokio::time::sleep(BUSY_PAUSE).await,
            answered => return answered,
        }
    }
    ask().await
}

/// Lost positions that are looked at in one go.
const LOOKED_AT: usize = 8 * MAX_SHARE;

/// Acceptances with their positions, and the last position that was looked at.
type Missing = (Vec<(u64, Accepted)>, Option<u64>);

/// The next acceptances whose content is not here, of boxes that have no List, and the last position that was looked at; `None`: there are no more.
fn missing(tx: &impl crate::store::Tables, number: u32, after: Option<u64>) -> Result<Missing, StoreError> {
    let mut missing = Vec::new();
    let from = after.map_or(0, |after| after.saturating_add(1));
    let lost = log::lost_from(tx, number, from, LOOKED_AT)?;
    let mut next = (lost.len() == LOOKED_AT).then(|| lost.last().copied()).flatten();
    for position in lost {
        if let Some(Entry::Accepted(of)) = log::entry(tx, number, position)?
            && !boxes::is_frozen(tx, number, of.of_box.get())?
            && accepted::position_of_any(tx, number, of.of_box.get(), &of.digest.0)?.is_none()
        {
            missing.push((position, of));
        }
        if missing.len() == MAX_SHARE {
            next = Some(position);
            break;
        }
    }
    Ok((missing, next))
}
