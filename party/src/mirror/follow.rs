//! Following: pulling another party's log, checking it against its signed checkpoints, cosigning, and naming whoever rewrites it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tally_proto::ids::{ElectionId, Role, RoleExt as _, UnixMillis};
use tally_proto::log::{Entry, Happening, MAX_PAGE, decode_page};
use tally_proto::merkle::{MAX_LEAVES, verify_consistency};
use tally_proto::note::Checkpoint;
use tally_proto::reason::{Class, Reason};
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tonic::{Response, Status};

use super::Floor;
use super::bound::AHEAD;
use super::contents::LOOK;
use super::serve::open_note;
use crate::alarm::Alarm;
use crate::elections::Election;
use crate::party::Party;
use crate::sealing::Sealing;
use crate::store::{StoreError, compared, mirrors};

/// How long a peer may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long whoever is asked besides may take.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// Pages pulled of one log before another log's turn.
const PAGES_A_TURN: usize = 16;

/// Elections that this party does not know and takes over in one turn; the others have theirs in the turns after it.
const FOREIGN: usize = 64;
/// Turns in a row whose answer is of no use before a person is told.
const USELESS: u32 = 3;

/// How long a note in the store stands that nothing is left to take over from a peer, before there is another.
const NOTED_MS: u64 = 10 * 60 * 1000;

/// Follows `peer` until the server stops.
pub(crate) async fn follow(party: Arc<Party>, sealing: Sealing, peer: Role) {
    let mut useless = 0;
    loop {
        let began = Instant::now();
        let more = tokio::select! {
            turn = party.follow_once(&sealing, peer) => turn,
            () = party.stopping() => return,
        };
        let refusal = more.as_ref().err();
        // Whoever is away, or busy, is told only when that lasts.
        let of_no_use = refusal.filter(|refusal| refusal.reason.class() != Class::Retry);
        match &more {
            Ok(_) => useless = 0,
            Err(_) => useless += u32::from(of_no_use.is_some() && useless < USELESS),
        }
        let told = (of_no_use.filter(|_| useless >= USELESS).map(Refusal::to_string))
            .or_else(|| party.unfollowed(peer, refusal));
        if told.is_some() || more.is_ok() {
            party.alarm(Alarm::NotFollowed, &peer.to_string(), told);
        }
        // What was behind goes on at once, but takes no more than half of the time: voters come first.
        let pause = match more {
            Ok(true) => began.elapsed(),
            Ok(false) => party.mirror_every,
            Err(refusal) => {
                tracing::debug!(party = %party.role, %peer, %refusal, "a party cannot be followed just now");
                party.mirror_every
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = party.stopping() => return,
        }
    }
}

/// An answer within [`PATIENCE`].
pub(super) async fn answer<T>(
    peer: Role,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Refusal> {
    answer_within(PATIENCE, peer, call).await
}

/// The same with another patience.
pub(super) async fn answer_within<T>(
    patience: Duration,
    peer: Role,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Refusal::of_status(&status)),
        Err(_) => Err(Refusal::new(
            Reason::PartyUnreachable,
            format_args!("no answer of {peer} within {} s", patience.as_secs()),
        )),
    }
}

/// What a page came to.
enum Page {
    /// So many entries were appended.
    Appended(u64),
    /// The peer is named: its log is followed no more.
    Rewritten,
}

/// What a turn of one log came to.
struct Turn {
    /// There is more to do at once.
    more: bool,
    /// Entries that are not mirrored, or not looked at.
    behind: u64,
    /// Nothing else is left to do.
    settled: bool,
    /// Entries mirrored; `None`: the log is followed no further, and an alarm says so.
    mirrored: Option<u64>,
}

impl Party {
    /// One turn over all elections. Returns whether there is more to do at once.
    ///
    /// # Errors
    /// The peer does not answer, or answers nonsense; the store.
    pub async fn follow_once(self: &Arc<Self>, sealing: &Sealing, peer: Role) -> Result<bool, Refusal> {
        self.expect_logs(peer).await?;
        let heads = answer(
            peer,
            self.bounded_client(peer)?.log_heads(wire::LogHeadsRequest {}),
        )
        .await?;
        let now = self.now().get();
        self.following.heard(peer, |heard| heard.at_ms = now);
        let short = self.short_of_room();
        let (mut more, mut all_behind) = (false, 0);
        let (mut unknown, mut met) = (Vec::new(), HashSet::new());
        for head in heads.heads {
            if ElectionId::new(&head.election).is_err() || head.size > MAX_LEAVES {
                return Err(Refusal::new(
                    Reason::MessageMalformed,
                    format_args!("{peer} names a log that cannot be"),
                ));
            }
            if !met.insert(head.election.clone()) {
                continue;
            }
            let known = self.elections.get(&head.election);
            let complete = |election: &Arc<Election>| election.signed_manifest().is_complete();
            let Some(election) = known.ok().filter(complete) else {
                unknown.push(head.election);
                continue;
            };
            let number = election.number();
            self.following.heard(peer, |heard| {
                let seen = heard.sizes.entry(number).or_default();
                *seen = head.size.max(*seen);
                heard.people.insert(number, head.people);
                if head.open {
                    heard.open_at_ms.insert(number, now);
                }
            });
            self.catch_up_orders(peer, &election).await;
            if short.is_some() {
                continue;
            }
            let quiet = (head.size, head.cosigned_size);
            if self
                .following
                .heard(peer, |heard| heard.quiet.get(&number) == Some(&quiet))
            {
                self.followed(peer, number, Some(head.size), head.size);
                continue;
            }
            let turn = self.follow_log(sealing, &election, peer, &head).await;
            match turn {
                Ok(turn) => {
                    more |= turn.more;
                    all_behind = u64::saturating_add(all_behind, turn.behind);
                    self.followed(peer, number, turn.mirrored, head.size);
                    if turn.behind == 0 && turn.settled {
                        self.following
                            .heard(peer, |heard| heard.quiet.insert(number, quiet));
                    }
                }
                // One log that cannot be followed does not keep the others from it.
                Err(refusal) => {
                    tracing::warn!(party = %self.role, %peer, election = head.election, %refusal, "a log cannot be followed just now");
                    // Whoever is away or busy is told elsewhere, or when that lasts.
                    if refusal.reason.class() != Class::Retry {
                        self.trouble(number, peer, &refusal);
                    }
                    let (_, looked_at, _) = self.mirrored(number, peer).await?;
                    all_behind = u64::saturating_add(all_behind, head.size.saturating_sub(looked_at));
                    self.hindered(peer, number, &refusal);
                    // A turn over many logs that each take their time is a long one.
                    if let Some(told) = self.unfollowed(peer, None) {
                        self.alarm(Alarm::NotFollowed, &peer.to_string(), Some(told));
                    }
                }
            }
        }
        if short.is_none() {
            self.sight.behind(peer, all_behind);
        }
        let far = (all_behind >= self.alarm_limits.behind_entries)
            .then(|| format!("{all_behind} entries of the logs of {peer} are still to be looked at here"));
        self.alarm(Alarm::Behind, &peer.to_string(), short.or(far));
        // A peer that lacks what is in force here may have lost its store itself: it is no witness.
        let in_force = self.elections_in_force();
        let mut known_there = in_force
            .iter()
            .map(|election| election.manifest().election().as_str());
        if unknown.is_empty() && known_there.all(|id| met.contains(id)) {
            self.note_compared(peer, now).await?;
        }
        Ok(self.take_over_some(peer, unknown).await || more)
    }

    /// Notes in the store, now and then, that what is in force at `peer` is what is in force here. `party rotate-hpke` asks for it: of a store that was
    /// made anew, or is an older copy, nobody knows what is sealed to the key.
    async fn note_compared(self: &Arc<Self>, peer: Role, now: u64) -> Result<(), Refusal> {
        let noted = self.following.heard(peer, |heard| heard.noted_ms);
        if noted.is_some_and(|noted| (noted..noted.saturating_add(NOTED_MS)).contains(&now)) {
            return Ok(());
        }
        self.blocking(move |party| {
            let note = |tx: &_| compared::note(tx, peer, UnixMillis(now));
            Ok(party.store.write(note)?)
        })
        .await?;
        self.following.heard(peer, |heard| heard.noted_ms = Some(now));
        Ok(())
    }

    /// All three have signed them: this store lost them, or their last signatures, with a machine or by going back to a backup. Takes over at most
    /// [`FOREIGN`] of those that `peer` names, beginning behind the last one that was tried, so that one which cannot be taken over keeps no
    /// other from its turn. Returns whether anything came of it.
    async fn take_over_some(self: &Arc<Self>, peer: Role, mut unknown: Vec<String>) -> bool {
        let named = unknown.len();
        unknown.sort_unstable();
        let tried = self.following.heard(peer, |heard| heard.tried.clone());
        let next = unknown.partition_point(|election| *election <= tried);
        unknown.rotate_left(next);
        let mut refused: Vec<String> = Vec::new();
        let (mut taken, mut being_taken) = (0, 0);
        for election in unknown.into_iter().take(FOREIGN) {
            self.following
                .heard(peer, |heard| heard.tried.clone_from(&election));
            match self.take_over(peer, election.clone()).await {
                Ok(Some(_)) => taken += 1,
                Ok(None) => being_taken += 1,
                Err(refusal) => {
                    tracing::debug!(party = %self.role, %peer, election, %refusal, "an election that is in force elsewhere cannot be taken over");
                    refused.push(format!("{election:?}: {refusal}"));
                }
            }
        }
        // One alarm for all that this peer names: whoever makes elections up cannot crowd out what matters.
        let left = named - taken - being_taken;
        let told = refused.first().map(|first| match left {
            1 => format!("{peer} has an election in force that this party cannot take over: {first}"),
            count => {
                format!("{peer} has {count} elections in force that are not here, and this party cannot take over {first}")
            }
        });
        // What the other peer's turn is just taking over may be refused there: it ends no alarm.
        if told.is_some() || taken == named {
            self.alarm(Alarm::NotTakenOver, &peer.to_string(), told);
        }
        taken > 0
    }

    async fn follow_log(
        self: &Arc<Self>,
        sealing: &Sealing,
        election: &Arc<Election>,
        peer: Role,
        head: &wire::LogHead,
    ) -> Result<Turn, Refusal> {
        let number = election.number();
        let given_up = |more, behind| Turn {
            more,
            behind,
            settled: true,
            mirrored: None,
        };
        let (mut size, looked_at, convicted) = self.mirrored(number, peer).await?;
        if convicted {
            // What was mirrored before stands and is caught up with.
            self.raise_rewritten(election, peer);
            let looked = self.look(sealing, election, peer, looked_at, size).await?;
            return Ok(given_up(looked < size && looked > looked_at, size - looked));
        }
        if !self.may_follow(election, peer, (looked_at, size)).await? {
            return Ok(given_up(false, head.size.max(size) - looked_at));
        }
        let mut pages = 0;
        while size < head.size && pages < PAGES_A_TURN && size - looked_at < AHEAD {
            match self.pull(election, peer, size).await? {
                Page::Appended(0) => break,
                Page::Appended(count) => size += count,
                Page::Rewritten => return Ok(given_up(false, size - looked_at)),
            }
            pages += 1;
        }
        if head.size < size {
            self.check_shorter(election, peer, head.size).await?;
        }
        if head.size >= size {
            self.following.heard(peer, |heard| heard.trouble.remove(&number));
        }
        let compared = self.compare_third(election, peer, head.cosigned_size).await?;
        let floor = self.cosigned_above(election, peer).await;
        let last = self.following.cosigned_here(number, peer);
        if floor.is_some_and(|floor| size > floor.max(last)) {
            self.cosign(election, peer).await?;
            self.following.keep_cosigned_here(number, peer, size);
        }
        let looked = self.look(sealing, election, peer, looked_at, size).await?;
        let behind = head.size.max(size).saturating_sub(looked);
        Ok(Turn {
            more: size < head.size || (looked < size && looked - looked_at >= LOOK as u64),
            // What is still to be compared keeps the log from being passed over.
            behind: behind.saturating_add(u64::from(!compared)),
            settled: floor.is_some(),
            mirrored: Some(size),
        })
    }

    /// Takes over orders that are in force at `peer` and whose completion did not come here: asked for after a start, and whenever it names one in its
    /// log. Not before this party has its own log back, which says which orders were in force.
    async fn catch_up_orders(self: &Arc<Self>, peer: Role, election: &Arc<Election>) {
        let number = election.number();
        let asked = self
            .following
            .heard(peer, |heard| heard.ordered.contains(&number));
        if asked || !self.gate.is_open(number) {
            return;
        }
        match self.follow_orders(peer, election).await {
            Ok(()) => {
                self.following.heard(peer, |heard| heard.ordered.insert(number));
            }
            Err(refusal) => {
                tracing::warn!(party = %self.role, %peer, election = %election.manifest().election(), %refusal, "the orders in force elsewhere cannot be taken over");
            }
        }
    }

    /// Above which length this party may cosign the log of `peer`; `None`: not now. Not while its own gate is shut: then its mirrors may be older than
    /// its cosignatures. Nor after that at a length that whoever else follows the log has seen, before this party has compared that.
    async fn cosigned_above(self: &Arc<Self>, election: &Arc<Election>, peer: Role) -> Option<u64> {
        let number = election.number();
        if !self.gate.is_open(number) {
            return None;
        }
        if let Floor::Above(floor) = self.following.floor(number, peer) {
            return Some(floor);
        }
        match self.seen_by_third(election, peer).await {
            Ok(floor) => {
                self.following.cosign_above(number, peer, floor);
                Some(floor)
            }
            Err(refusal) => {
                tracing::debug!(party = %self.role, %peer, %refusal, "nothing is cosigned before the third party has said what it saw");
                None
            }
        }
    }

    /// The largest size of the log of `peer` that it signed and that the third party, or a note with this party's own cosignature, shows.
    async fn seen_by_third(self: &Arc<Self>, election: &Arc<Election>, peer: Role) -> Result<u64, Refusal> {
        let id = election.manifest().election();
        let keys = election.manifest().party_keys();
        let third = self.role.third(peer).unwrap_or(peer);
        let request = wire::ElectionRef {
            election: id.as_str().to_owned(),
        };
        let mut client = self.bounded_client(third)?;
        let asked = answer(third, client.cosigned(request.clone()));
        // Nobody is followed more slowly because somebody else hangs.
        let asked = tokio::time::timeout(SHORT_PATIENCE, asked).await;
        let theirs = asked
            .unwrap_or_else(|_| Err(Refusal::new(Reason::PartyUnreachable, "no answer")))?
            .note;
        let seen = open_note(&theirs, id, peer, &keys).map_or(0, |(size, _)| size);
        let shown = answer(peer, self.bounded_intake(peer)?.checkpoint(request))
            .await?
            .cosigned;
        let own = Checkpoint::open_cosigned(shown.as_bytes(), id, peer, &keys)
            .ok()
            .filter(|(_, by)| by.iter().any(|of| of.by == self.role))
            .map_or(0, |(checkpoint, _)| checkpoint.size);
        Ok(seen.max(own))
    }

    /// (entries mirrored, entries looked at, whether the peer is convicted of rewriting).
    async fn mirrored(self: &Arc<Self>, number: u32, peer: Role) -> Result<(u64, u64, bool), Refusal> {
        self.blocking(move |party| {
            Ok(party.store.read(|tx| {
                let mirror = mirrors::state(tx, number, peer)?;
                let convicted = !mirrors::proofs(tx, number, peer)?.is_empty();
                Ok::<_, StoreError>((mirror.size(), mirror.looked_at, convicted))
            })?)
        })
        .await
    }

    /// Pulls the next page, checks it and appends it.
    async fn pull(
        self: &Arc<Self>,
        election: &Arc<Election>,
        peer: Role,
        from: u64,
    ) -> Result<Page, Refusal> {
        let request = wire::LogRequest {
            election: election.manifest().election().as_str().to_owned(),
            from,
            most: MAX_PAGE as u32,
        };
        let page = answer(peer, self.bounded_client(peer)?.log(request)).await?;
        let keys = election.manifest().party_keys();
        let wrong = |what: &str| {
            Refusal::new(
                Reason::LogPageWrong,
                format_args!("{peer} gave entries from {from} on: {what}"),
            )
        };
        let Some((size, root)) = open_note(&page.note, election.manifest().election(), peer, &keys) else {
            return Err(wrong("the checkpoint with them is not its own"));
        };
        let entries = decode_page(&page.entries).map_err(|error| wrong(&error.to_string()))?;
        let count = entries.len() as u64;
        if size != from + count {
            return Err(wrong("the checkpoint with them is of another length"));
        }
        if count == 0 {
            return Ok(Page::Appended(0));
        }
        let names_order = |entry: &Entry| matches!(entry, Entry::Event(Happening::Order(..), _));
        let ordered = entries.iter().any(names_order);
        let (number, note, bytes) = (election.number(), page.note.clone(), page.entries.clone());
        let fits = self
            .blocking(move |party| {
                Ok(party.store.write(|tx| {
                    let mut tree = mirrors::state(tx, number, peer)?.frontier;
                    for entry in &entries {
                        tree.push(entry.leaf());
                    }
                    // Nobody else appends: one task follows one peer.
                    if tree.root() != root {
                        return Ok(false);
                    }
                    mirrors::append(tx, number, peer, &bytes, &tree, &note)
                })?)
            })
            .await?;
        if fits {
            if ordered {
                self.following.heard(peer, |heard| heard.ordered.remove(&number));
            }
            let told = self
                .following
                .heard(peer, |heard| heard.trouble.remove(&number).is_some());
            if told {
                tracing::info!(party = %self.role, %peer, election = %election.manifest().election(), "the log can be followed again");
            }
            return Ok(Page::Appended(count));
        }
        self.judge(election, peer, (from, size), &page.note).await
    }

    /// The peer's checkpoint of `size` does not follow from its entries. Either the entries are wrong, or it signed two histories.
    async fn judge(
        self: &Arc<Self>,
        election: &Arc<Election>,
        peer: Role,
        (from, size): (u64, u64),
        note: &str,
    ) -> Result<Page, Refusal> {
        let id = election.manifest().election();
        let (number, keys) = (election.number(), election.manifest().party_keys());
        let own = self
            .blocking(move |party| {
                Ok(party.store.read(|tx| {
                    Ok::<_, StoreError>((
                        mirrors::root(tx, number, peer, from)?,
                        mirrors::note(tx, number, peer)?,
                    ))
                })?)
            })
            .await?;
        let page_wrong = Refusal::new(
            Reason::LogPageWrong,
            format_args!("{peer} gave entries from {from} on that do not make up its checkpoint of {size}"),
        );
        let (Some(old_root), Some(old_note)) = own else {
            // Nothing was signed before: there is nothing to contradict.
            self.trouble(number, peer, &page_wrong);
            return Err(page_wrong);
        };
        // The same size twice is the plainest proof, so that is asked for first.
        let request = wire::LogRequest {
            election: id.as_str().to_owned(),
            from,
            most: 0,
        };
        let again = answer(peer, self.bounded_client(peer)?.log(request)).await?;
        if let Some((at, root)) = open_note(&again.note, id, peer, &keys)
            && at == from
            && root != old_root
        {
            return self.convict(election, peer, [&old_note, &again.note]).await;
        }
        let Some((_, new_root)) = open_note(note, id, peer, &keys) else {
            return Err(page_wrong);
        };
        let request = wire::ConsistencyRequest {
            election: id.as_str().to_owned(),
            old_size: from,
            new_size: size,
        };
        let proof = answer(peer, self.bounded_intake(peer)?.consistency(request)).await?;
        let path: Option<Vec<_>> = proof
            .path
            .iter()
            .map(|hash| tally_proto::ids::Hash32::from_slice(hash).ok())
            .collect();
        if path.is_some_and(|path| verify_consistency(from, &old_root, size, &new_root, &path)) {
            self.trouble(number, peer, &page_wrong);
            return Err(page_wrong);
        }
        self.convict(election, peer, [&old_note, note]).await
    }

    /// The peer says that its log is shorter than what it has signed: it was restored and gets it back, or it rewrote it.
    async fn check_shorter(
        self: &Arc<Self>,
        election: &Arc<Election>,
        peer: Role,
        size: u64,
    ) -> Result<(), Refusal> {
        let id = election.manifest().election();
        let number = election.number();
        let request = wire::LogRequest {
            election: id.as_str().to_owned(),
            from: size,
            most: 0,
        };
        let page = answer(peer, self.bounded_client(peer)?.log(request)).await?;
        let theirs = open_note(&page.note, id, peer, &election.manifest().party_keys());
        let (root, old) = self
            .blocking(move |party| {
                Ok(party.store.read(|tx| {
                    Ok::<_, StoreError>((
                        mirrors::root(tx, number, peer, size)?,
                        mirrors::note(tx, number, peer)?,
                    ))
                })?)
            })
            .await?;
        match (theirs, old) {
            (Some((at, theirs)), Some(old)) if at == size && root.is_some_and(|root| root != theirs) => {
                self.convict(election, peer, [&old, &page.note]).await?;
            }
            _ => self.trouble(
                number,
                peer,
                &Refusal::new(
                    Reason::PartyRecollecting,
                    format_args!("{peer} has {size} entries, fewer than it signed: it was restored and has to get them back"),
                ),
            ),
        }
        Ok(())
    }

    /// Writes the proof down, for ever, and raises the alarm.
    pub(super) async fn convict_rewriter(
        self: &Arc<Self>,
        election: &Arc<Election>,
        peer: Role,
        notes: [&str; 2],
    ) -> Result<(), Refusal> {
        let (number, one, other) = (election.number(), notes[0].to_owned(), notes[1].to_owned());
        self.blocking(move |party| {
            Ok(party
                .store
                .write(|tx| mirrors::put_proof(tx, number, peer, [&one, &other]))?)
        })
        .await?;
        self.raise_rewritten(election, peer);
        Ok(())
    }

    fn raise_rewritten(&self, election: &Election, peer: Role) {
        let about = format!("{}, {peer}", election.manifest().election());
        let detail = Refusal::new(
            Reason::LogRewritten,
            format_args!("{peer} signed two checkpoints that no one log has; status shows both"),
        );
        self.alarm(Alarm::LogRewritten, &about, Some(detail.to_string()));
    }

    async fn convict(
        self: &Arc<Self>,
        election: &Arc<Election>,
        peer: Role,
        notes: [&str; 2],
    ) -> Result<Page, Refusal> {
        self.convict_rewriter(election, peer, notes).await?;
        Ok(Page::Rewritten)
    }

    pub(super) fn trouble(&self, number: u32, peer: Role, refusal: &Refusal) {
        self.following.heard(peer, |heard| {
            heard.trouble.insert(number, refusal.to_string());
        });
    }

    /// Cosigns the checkpoint under which the mirror stands, and gives it to its owner.
    async fn cosign(self: &Arc<Self>, election: &Arc<Election>, peer: Role) -> Result<(), Refusal> {
        let number = election.number();
        let note = self
            .blocking(move |party| Ok(party.store.read(|tx| mirrors::note(tx, number, peer))?))
            .await?;
        let keys = election.manifest().party_keys();
        let checkpoint = note.as_ref().and_then(|note| {
            Checkpoint::open(
                note.as_bytes(),
                election.manifest().election(),
                peer,
                &keys[peer.slot()],
            )
            .ok()
        });
        let (Some(note), Some(checkpoint)) = (note, checkpoint) else {
            return Err(StoreError::Corrupt {
                table: "mirror_pages",
            }
            .into());
        };
        let cosignature = checkpoint.cosign(self.role, self.now().seconds(), &self.signer);
        let request = wire::CosignRequest {
            note: note + &cosignature.line,
        };
        answer(peer, self.bounded_client(peer)?.cosign(request)).await?;
        Ok(())
    }

    /// How far this party has followed the two others.
    ///
    /// # Errors
    /// The store.
    pub(crate) fn peer_logs(&self, number: u32) -> Result<Vec<wire::PeerLog>, Refusal> {
        let mut others = self.others();
        others.sort_unstable();
        others
            .into_iter()
            .map(|peer| {
                let (mirror, proofs) = self.store.read(|tx| {
                    Ok::<_, StoreError>((
                        mirrors::state(tx, number, peer)?,
                        mirrors::proofs(tx, number, peer)?,
                    ))
                })?;
                let cosigned = self.following.cosigned(number, peer);
                let (heard_ms, seen, trouble, not_given) = self.following.heard(peer, |heard| {
                    (
                        heard.at_ms,
                        heard.sizes.get(&number).copied().unwrap_or_default(),
                        heard.trouble.get(&number).cloned(),
                        heard.not_given.get(&number).copied().unwrap_or_default(),
                    )
                });
                let size = seen.max(mirror.size());
                let rewritten = (!proofs.is_empty()).then(|| {
                    Refusal::new(
                        Reason::LogRewritten,
                        format_args!("{peer} signed two checkpoints that no one log has"),
                    )
                    .to_string()
                });
                Ok(wire::PeerLog {
                    party: peer.number(),
                    size,
                    mirrored: mirror.size(),
                    behind: size.saturating_sub(mirror.looked_at),
                    cosigned_size: cosigned.map_or(0, |cosigned| cosigned.size),
                    heard_ms,
                    not_given,
                    trouble: rewritten.or(trouble).unwrap_or_default(),
                    evidence: proofs.into_iter().flatten().collect(),
                })
            })
            .collect()
    }
}
