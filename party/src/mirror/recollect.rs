//! What a party asks before it appends anything after a start: perhaps its store is an older copy, and positions of its log are used already.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use tally_proto::ids::{Digest, Role};
use tally_proto::log::{Accepted, Entry, Happening, decode_page};
use tally_proto::merkle::Frontier;
use tally_proto::reason::Reason;
use tally_proto::receipt::{Acceptance, Receipt};
use tally_proto::record::Source;
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use super::follow::answer;
use super::serve::open_note;
use crate::elections::Election;
use crate::intake::cards;
use crate::party::Party;
use crate::sealing::known::{MAX_SHARE, Public, Regained};
use crate::sealing::{SealError, Sealing};
use crate::store::accepted::{self, Accepted as Row, Counted};
use crate::store::{Kind, StoreError, WriteTx, boxes, log, registers, sequences, serials, tickets};

/// Pause between two attempts, and between two looks for new elections.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the coordinator's last word on an election waits for the gate.
const UNTIL_OPEN: Duration = Duration::from_secs(2);
/// A sign of life in the store that is that much younger than the moment at which the only answering peer last saw this party is not covered by
/// it. Clocks may be a second apart, and following lags by a turn.
const COVERED_MS: u64 = 10_000;

/// What one peer says of one log of this party.
struct Said {
    by: Role,
    size: u64,
    seen: u64,
    /// It was running, and saw this party, all the time until this party went away at this moment of its clock.
    covers_until_ms: Option<u64>,
}

/// What follows from the answers.
enum Verdict {
    /// The store is the newest there was.
    Newest,
    /// Others hold more of this party's log, that party the most.
    Older(Role),
    /// It cannot be said yet; the operator's word may stand in.
    Wait(String),
    /// The store is not the newest, and nobody's word changes that.
    Closed(String),
}

/// Asks, for every election that comes into force, until the server stops.
pub(crate) async fn recollect(party: Arc<Party>, sealing: Sealing) {
    loop {
        let closed: Vec<_> = party
            .elections_in_force()
            .into_iter()
            .filter(|election| !party.gate.is_open(election.number()))
            .collect();
        let turn = async {
            if !closed.is_empty() {
                party.recollect_once(&sealing, &closed).await;
            }
            tokio::time::sleep(PAUSE).await;
        };
        tokio::select! {
            () = turn => {}
            () = party.stopping() => return,
        }
    }
}

impl Party {
    /// Waits until the logs of all elections in force may grow, but no longer than [`UNTIL_OPEN`].
    pub(crate) async fn until_open(&self) {
        let open = async {
            while !self
                .elections_in_force()
                .iter()
                .all(|election| self.gate.is_open(election.number()))
            {
                tokio::time::sleep(PAUSE / 4).await;
            }
        };
        // Whoever comes too early is told so, and comes again.
        let _ = tokio::time::timeout(UNTIL_OPEN, open).await;
    }

    /// One round of questions; opens what can be opened, and gets back what others hold.
    pub async fn recollect_once(self: &Arc<Self>, sealing: &Sealing, elections: &[Arc<Election>]) {
        let ask = async |peer| {
            let answered = answer(peer, self.peer_client(peer)?.recall(wire::RecallRequest {})).await?;
            Ok::<_, Refusal>((peer, answered))
        };
        // One that hangs must not hold up what the other can vouch for.
        let patient = |peer| tokio::time::timeout(Duration::from_secs(2), ask(peer));
        let [one, other] = self.others();
        let (one, other) = futures::future::join(patient(one), patient(other)).await;
        let answers: Vec<_> = [one, other]
            .into_iter()
            .filter_map(|answered| answered.ok()?.ok())
            .collect();
        for election in elections {
            let number = election.number();
            let verdict = match self.verdict(election, &answers).await {
                Ok(verdict) => verdict,
                Err(refusal) => Verdict::Wait(refusal.to_string()),
            };
            let went = match verdict {
                Verdict::Newest => self.open_gate(election).await,
                Verdict::Older(from) => self.get_back(sealing, election, from).await,
                Verdict::Wait(_) if self.gate.is_trusted(number) => self.open_gate(election).await,
                Verdict::Wait(why) | Verdict::Closed(why) => {
                    Err(Refusal::new(Reason::PartyRecollecting, why))
                }
            };
            if let Err(why) = went
                && self.gate.wait_for(number, why.to_string())
            {
                tracing::info!(party = %self.role, election = %election.manifest().election(), %why, "nothing is accepted yet");
            }
        }
    }

    async fn open_gate(self: &Arc<Self>, election: &Arc<Election>) -> Result<(), Refusal> {
        // The log says first that the election is complete, then what is accepted.
        let of = Arc::clone(election);
        self.blocking(move |party| party.write_events(&of)).await?;
        self.gate.open(election.number());
        tracing::info!(party = %self.role, election = %election.manifest().election(), "the store is the newest there was: accepting");
        Ok(())
    }

    async fn verdict(
        self: &Arc<Self>,
        election: &Arc<Election>,
        answers: &[(Role, wire::RecallReply)],
    ) -> Result<Verdict, Refusal> {
        let (id, number) = (election.manifest().election().clone(), election.number());
        let keys = election.manifest().party_keys();
        let mut said = Vec::new();
        let mut signed = Vec::new();
        for (by, reply) in answers {
            let of = reply.logs.iter().find(|of| of.election == id.as_str());
            let of = of.cloned().unwrap_or_default();
            if of.size > 0 {
                match open_note(&of.note, &id, self.role, &keys) {
                    Some((size, root)) if size == of.size => signed.push((*by, size, root)),
                    // Its word alone, without this party's signature, is no answer.
                    _ => continue,
                }
            }
            let covers = of.current && of.seen_at_ms > 0 && of.seen_at_ms >= reply.watching_since_ms;
            said.push(Said {
                by: *by,
                size: of.size,
                seen: of.receipted_size,
                covers_until_ms: covers.then_some(of.seen_at_ms),
            });
        }
        let (own, life_ms, contradiction) = self
            .blocking(move |party| {
                Ok(party.store.read(|tx| {
                    let own = log::size(tx, number)?;
                    let last = own
                        .checked_sub(1)
                        .map(|last| log::entry(tx, number, last))
                        .transpose()?;
                    let life = last.flatten().map_or(0, |entry| entry.at().get());
                    let mut contradiction = None;
                    for (by, size, root) in signed {
                        if log::root(tx, number, size)?.is_some_and(|own| own != root) {
                            contradiction = Some((by, size));
                        }
                    }
                    Ok::<_, StoreError>((own, life, contradiction))
                })?)
            })
            .await?;
        if let Some((by, size)) = contradiction {
            return Ok(Verdict::Closed(format!(
                "{by} holds this party's own signed checkpoint of {size} entries, and the log here had another root then: the store was \
                 changed, and only a store that agrees with it can go on"
            )));
        }
        if let Some(longest) = said.iter().max_by_key(|said| said.size)
            && let Some(seen) = said.iter().map(|said| said.seen.max(said.size)).max()
            && seen > own
        {
            return Ok(if said.len() == 2 {
                Verdict::Older(longest.by)
            } else {
                Verdict::Closed(format!(
                    "{} knows {seen} entries of its log, {own} are here: the store is an older copy, and the other party is needed as well to get \
                     them back",
                    longest.by
                ))
            });
        }
        Ok(match said.as_slice() {
            [_, _] => Verdict::Newest,
            [only]
                if only
                    .covers_until_ms
                    .is_some_and(|until| life_ms <= until + COVERED_MS) =>
            {
                Verdict::Newest
            }
            [only] => Verdict::Wait(format!(
                "only {} answers, and it was away itself since this party last wrote: the other one is needed, or its operator's order",
                only.by
            )),
            _ => Verdict::Wait("neither of the two other parties answers".to_owned()),
        })
    }

    /// Gets back what others hold of this party's log, verbatim, with the ballots and records behind it, then opens the gate. Every page is one
    /// transaction, so that a kill in the midst of it costs nothing.
    ///
    /// # Errors
    /// A peer does not answer, or gives what does not add up; the store.
    async fn get_back(
        self: &Arc<Self>,
        sealing: &Sealing,
        election: &Arc<Election>,
        from: Role,
    ) -> Result<(), Refusal> {
        tracing::error!(party = %self.role, election = %election.manifest().election(), %from,
            "others know more of this party's log than it does: its store was restored from an older copy or made anew, and gets it back");
        let number = election.number();
        loop {
            let own = self.own_size(number).await?;
            let request = wire::LogRequest {
                election: election.manifest().election().as_str().to_owned(),
                from: own,
                most: 0,
            };
            let page = match answer(from, self.peer_client(from)?.mirror(request)).await {
                Ok(page) => page,
                // The end of the mirror.
                Err(refusal) if refusal.reason == Reason::LogRange => break,
                Err(refusal) => return Err(refusal),
            };
            let entries = self.check_own(election, from, own, &page).await?;
            self.restore(sealing, election, own, entries).await?;
        }
        // Beyond the mirrors stand the receipts that voters handed to the others.
        let entries = self.receipted(election).await?;
        if !entries.is_empty() {
            let own = self.own_size(number).await?;
            self.restore(sealing, election, own, entries).await?;
        }
        // Orders since the copy: the log says which.
        self.take_over_orders(from, election).await?;
        let election = &self.elections.get(election.manifest().election().as_str())?;
        self.open_gate(election).await
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
    /// them that none names is lost.
    async fn receipted(self: &Arc<Self>, election: &Arc<Election>) -> Result<Vec<Entry>, Refusal> {
        let own = self.own_size(election.number()).await?;
        let keys = election.manifest().party_keys();
        let mut found: BTreeMap<u64, Acceptance> = BTreeMap::new();
        for peer in self.others() {
            let mut client = self.peer_client(peer)?;
            let request = wire::ReceiptsRequest {
                election: election.manifest().election().as_str().to_owned(),
                from: own,
            };
            let receipts: Vec<wire::Receipt> = answer(peer, async move {
                let receipts = client.receipts(request).await?.into_inner();
                Ok(tonic::Response::new(receipts.try_collect().await?))
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
        let now = self.now();
        let mut entries = Vec::new();
        let end = found.last_key_value().map_or(own, |(last, _)| last + 1);
        for position in own..end {
            entries.push(match found.get(&position) {
                // Ballot or record: whichever header the others have for the digest.
                Some(of) => Entry::Accepted(Accepted {
                    record: self.is_record(election, of).await?,
                    of_box: of.of_box,
                    digest: of.digest,
                    ciphertext_hash: of.ciphertext_hash,
                    received_at: of.received_at,
                }),
                None => Entry::Event(Happening::Lost, now),
            });
        }
        Ok(entries)
    }

    async fn is_record(self: &Arc<Self>, election: &Arc<Election>, of: &Acceptance) -> Result<bool, Refusal> {
        for peer in self.others() {
            let parts = self
                .ask_shares(peer, election, (of.of_box, Kind::Record), &[of.digest])
                .await?;
            if parts.iter().any(|part| part.public.is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Appends entries of this party's own log with what is behind them.
    async fn restore(
        self: &Arc<Self>,
        sealing: &Sealing,
        election: &Arc<Election>,
        own: u64,
        entries: Vec<Entry>,
    ) -> Result<(), Refusal> {
        let mut wanted: BTreeMap<_, Vec<Digest>> = BTreeMap::new();
        for entry in &entries {
            if let Entry::Accepted(of) = entry {
                wanted.entry((of.of_box, of.record)).or_default().push(of.digest);
            }
        }
        let id = election.manifest().election().clone();
        let mut regained: BTreeMap<(bool, Digest), Regained> = BTreeMap::new();
        for ((of_box, record), digests) in wanted {
            let kind = if record { Kind::Record } else { Kind::Ballot };
            for digests in digests.chunks(MAX_SHARE) {
                let mut batches = Vec::new();
                for peer in self.others() {
                    let parts = self.ask_shares(peer, election, (of_box, kind), digests).await?;
                    let place = (id.as_str(), of_box.get());
                    batches.push(
                        sealing
                            .check_shares(place, kind, digests.to_vec(), peer, parts)
                            .await?,
                    );
                }
                if let [Some(other), Some(one)] = [batches.pop(), batches.pop()] {
                    for (digest, given) in sealing.regain(one, other) {
                        regained.extend(given.map(|given| ((record, digest), given)));
                    }
                }
            }
        }
        let election = Arc::clone(election);
        self.blocking(move |party| {
            party.store.write(|tx| {
                if log::size(tx, election.number())? != own {
                    return Err(SealError::Interrupted);
                }
                for entry in &entries {
                    party.restore_entry(tx, &election, entry, &regained)?;
                }
                Ok::<_, SealError>(())
            })?;
            Ok(())
        })
        .await
    }

    fn restore_entry(
        &self,
        tx: &WriteTx,
        election: &Election,
        entry: &Entry,
        regained: &BTreeMap<(bool, Digest), Regained>,
    ) -> Result<(), SealError> {
        let number = election.number();
        let position = log::append(tx, number, entry)?;
        let of = match entry {
            Entry::Event(Happening::BoxClosed(of_box), _) => {
                boxes::freeze(tx, number, of_box.get())?;
                return Ok(());
            }
            Entry::Event(Happening::Lost, _) => return Ok(log::put_lost(tx, number, position)?),
            Entry::Event(..) => return Ok(()),
            Entry::Accepted(of) => of,
        };
        let Some(regained) = regained.get(&(of.record, of.digest)) else {
            return Ok(log::put_lost(tx, number, position)?);
        };
        let Some(authority_signature) = regained.authority(self.role, &of.ciphertext_hash) else {
            return Ok(log::put_lost(tx, number, position)?);
        };
        let counted = match &regained.public {
            Public::Ballot(header) => {
                if let Some(ticket) = header.ticket() {
                    tickets::spend(tx, number, ticket.key().as_bytes(), &of.digest.0)?;
                }
                if let Some(mark) = header.station_mark() {
                    let place = (mark.station.get(), mark.sequence);
                    sequences::take(tx, number, of.of_box.get(), place, &of.digest.0)?;
                }
                Counted::Ballot(header.channel())
            }
            Public::Record(header) => {
                let serial = match &header.source {
                    Source::Issued(issue) => serials::Serial {
                        voter: issue.voter.get(),
                        half: u8::try_from(issue.half.number()).unwrap_or(u8::MAX),
                        serial: header.serial,
                    },
                    Source::Card(card) => {
                        let manifest = election.manifest();
                        let holds = cards::holds(tx, number, manifest, header, &authority_signature);
                        let Some((_, voter)) = holds.filter(|(found, _)| *found == of.of_box) else {
                            return Ok(log::put_lost(tx, number, position)?);
                        };
                        let in_box = of.of_box.get();
                        if card.place.is_some() {
                            // Before it takes anything: P1 gives no number that it gave before.
                            let paired = cards::pairing(tx, number, manifest, header, &authority_signature)
                                .map(|(v, person)| registers::pair(tx, number, in_box, v.get(), &person))
                                .transpose()?;
                            if paired != Some(registers::Paired::Stands) {
                                return Ok(log::put_lost(tx, number, position)?);
                            }
                        } else {
                            registers::note(tx, card.register.as_str(), number, in_box, &of.digest.0)?;
                        }
                        cards::serial(voter, header)
                    }
                };
                serials::take(tx, number, of.of_box.get(), serial, &of.digest.0)?;
                Counted::Record
            }
        };
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
            received_at_ms: of.received_at.get(),
            position,
            receipt_signature: receipt.signature().to_bytes(),
            sealed_shares: regained.sealed_shares.clone(),
        };
        Ok(accepted::insert(
            tx,
            number,
            of.of_box.get(),
            &of.digest.0,
            counted,
            &row,
        )?)
    }

    /// The operator's word that the store is the newest there was; it does not outweigh what others hold.
    ///
    /// # Errors
    /// `election.unknown`, `confirmation.mismatch`.
    pub fn trust_store(&self, of: &wire::TrustStoreRequest) -> Result<(), Refusal> {
        let election = self.elections.get(&of.election)?;
        if of.confirmation != of.election {
            let shown: String = of.confirmation.chars().take(80).collect();
            return Err(Refusal::new(
                Reason::ConfirmationMismatch,
                format_args!("typed {shown:?}, the election is {:?}", of.election),
            ));
        }
        self.gate.trust(election.number());
        tracing::warn!(party = %self.role, election = of.election, "the operator states that the store is the newest there was");
        Ok(())
    }
}
