//! What a party asks before it appends anything after a start: perhaps its store is an older copy, and positions of its log are used already.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tally_proto::ids::{Hash32, Role};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::follow::answer_within;
use super::serve::open_note;
use crate::alarm::Alarm;
use crate::elections::Election;
use crate::party::Party;
use crate::sealing::Sealing;
use crate::store::marks::Marks;
use crate::store::{StoreError, log};

/// Pause between two attempts, and between two looks for new elections.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the coordinator's last word on an election waits for the gate.
const UNTIL_OPEN: Duration = Duration::from_secs(2);
/// How long a peer may take to say what it knows of no election, and how much longer of each.
const PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_EACH: Duration = Duration::from_millis(10);

/// How long a peer may take to say what it knows of the logs of so many elections: all in one answer. One that hangs must not hold up what follows
/// without it; one that answers too late for ever would keep this party from opening at all.
fn patience(elections: usize) -> Duration {
    PATIENCE + PATIENCE_EACH.saturating_mul(u32::try_from(elections).unwrap_or(u32::MAX))
}

/// Elections that are worked on at once, and as many more that wait for a slow peer. A peer answers four questions at once, and following asks, too.
const AT_ONCE: usize = 2;
/// A sign of life in the store that is that much younger than the moment at which a peer last saw this party is not covered by it. Clocks may be
/// a second apart, and following lags by a turn.
const COVERED_MS: u64 = 10_000;

/// Where an election is worked on: among the first, or apart, where elections wait for a peer that gives slowly. Both have [`AT_ONCE`] places, given in
/// the order of asking.
#[derive(Debug)]
pub(super) struct Place {
    apart: Option<Arc<Semaphore>>,
    held: Option<OwnedSemaphorePermit>,
}

impl Place {
    async fn among(first: Arc<Semaphore>, apart: Arc<Semaphore>) -> Self {
        Self {
            apart: Some(apart),
            held: first.acquire_owned().await.ok(),
        }
    }

    /// Gives the place among the first to whoever waits for it, and goes on apart.
    pub(super) async fn go_apart(&mut self) {
        if let Some(apart) = self.apart.take() {
            self.held = None;
            self.held = apart.acquire_owned().await.ok();
        }
    }
}

/// What one peer says of one log of this party.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) by: Role,
    /// Entries of its mirror, with the root that this party signed.
    pub(super) signed: Option<(u64, Hash32)>,
    /// One more than the highest position in receipts that it has: its bare word.
    pub(super) receipted: u64,
    /// It was running, and saw this party, all the time until this party went away at this moment of its clock.
    covers_until_ms: Option<u64>,
}

impl Said {
    pub(super) fn size(&self) -> u64 {
        self.signed.map_or(0, |(size, _)| size)
    }
}

/// What this party's own store and memory say.
#[derive(Clone, Copy, Debug)]
struct Own {
    size: u64,
    /// The end of the second of the last entry.
    life_ms: u64,
    /// Entries noted outside of the store since the machine was booted.
    mark: Option<u64>,
}

/// What follows from the answers.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The store is the newest there was.
    Newest,
    /// Others hold more of this party's log.
    Older,
    /// It cannot be said yet; the operator's word may stand in.
    Wait(String),
    /// The store is not the newest, and nobody's word changes that.
    Closed(String),
}

/// Of two that answer one may lie, and nobody knows which: so each must suffice by itself, or what this machine noted.
fn judge(own: &Own, said: &[Said]) -> Verdict {
    // A note bears this party's own signature: whoever shows it is believed.
    if said.iter().any(|said| said.size() > own.size) {
        return Verdict::Older;
    }
    if own.mark.is_some_and(|mark| mark <= own.size) {
        return Verdict::Newest;
    }
    if let Some(more) = said.iter().find(|said| said.receipted > own.size) {
        return match said {
            [_, _] => Verdict::Older,
            _ => Verdict::Closed(format!(
                "{} knows {} entries of its log, {} are here: the store is an older copy, and the other party is needed as well to get them back",
                more.by, more.receipted, own.size
            )),
        };
    }
    if let Some(mark) = own.mark {
        return Verdict::Wait(format!(
            "this machine has noted {mark} entries of the log since it was booted, {} are here, and nobody who answers has the others: the \
             store is an older copy, and without its operator's order nothing is written",
            own.size
        ));
    }
    let covers = |said: &Said| {
        said.covers_until_ms
            .is_some_and(|until| own.life_ms <= until.saturating_add(COVERED_MS))
    };
    match said {
        // Nothing was ever written, as far as anybody knows.
        [_, _] if own.size == 0 => Verdict::Newest,
        [one, other] if covers(one) && covers(other) => Verdict::Newest,
        [_, _] => {
            let away: Vec<_> = said.iter().filter(|said| !covers(said)).collect();
            let away: Vec<_> = away.iter().map(|said| said.by.to_string()).collect();
            Verdict::Wait(format!(
                "this machine was booted since this party last wrote, or is another one, and {} was away itself since then: its operator's \
                 order is needed",
                away.join(" as well as ")
            ))
        }
        [only] => Verdict::Wait(format!(
            "this machine was booted since this party last wrote, or is another one, and only {} answers: the other one is needed, or its \
             operator's order",
            only.by
        )),
        _ => Verdict::Wait(
            "this machine was booted since this party last wrote, or is another one, and neither of the two other parties answers: they are \
             needed, or its operator's order"
                .to_owned(),
        ),
    }
}

/// Asks, for every election that comes into force, until the server stops. No election waits for another.
pub(crate) async fn recollect(party: Arc<Party>, sealing: Sealing) {
    let [first, apart] = [(); 2].map(|()| Arc::new(Semaphore::new(AT_ONCE)));
    let (mut running, mut asked) = (JoinSet::new(), HashMap::new());
    loop {
        let closed: Vec<_> = party
            .elections_in_force()
            .into_iter()
            .filter(|election| !party.gate.is_open(election.number()))
            .filter(|election| !asked.values().any(|number| *number == election.number()))
            .collect();
        let turn = async {
            let answers = if closed.is_empty() {
                Vec::new()
            } else {
                party.ask_others().await
            };
            tokio::time::sleep(PAUSE).await;
            answers
        };
        let answers = tokio::select! {
            answers = turn => Arc::new(answers),
            () = party.stopping() => return,
        };
        for election in closed {
            let (party, sealing, answers) = (Arc::clone(&party), sealing.clone(), Arc::clone(&answers));
            let (number, place) = (
                election.number(),
                Place::among(Arc::clone(&first), Arc::clone(&apart)),
            );
            let task = running.spawn(async move {
                let mut place = place.await;
                party
                    .recollect_one(&sealing, &election, &answers, &mut place)
                    .await;
            });
            asked.insert(task.id(), number);
        }
        while let Some(ended) = running.try_join_next_with_id() {
            let id = match ended {
                Ok((id, ())) => id,
                Err(error) => {
                    let detail =
                        "recollection of an election ended by a fault of this program and is tried again";
                    party.alarm(Alarm::TaskFailed, "recollection", Some(detail.to_owned()));
                    error.id()
                }
            };
            asked.remove(&id);
        }
    }
}

/// Goes on asking for what is behind this party's own log and not whole, until the server stops.
pub(crate) async fn mend(party: Arc<Party>, sealing: Sealing) {
    loop {
        let turn = async {
            party.mend_lost(&sealing).await;
            tokio::time::sleep(party.mirror_every).await;
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

    /// What those of the two others that answer know of this party's logs.
    async fn ask_others(self: &Arc<Self>) -> Vec<(Role, wire::RecallReply)> {
        let patience = patience(self.elections_in_force().len());
        let ask = async |peer| {
            let mut client = self.bounded_client(peer)?;
            let answered = answer_within(patience, peer, client.recall(wire::RecallRequest {})).await?;
            Ok::<_, Refusal>((peer, answered))
        };
        let [one, other] = self.others();
        let (one, other) = futures::future::join(ask(one), ask(other)).await;
        [one, other].into_iter().filter_map(Result::ok).collect()
    }

    /// Opens the gate of an election if it can be opened, and gets back what others hold.
    async fn recollect_one(
        self: &Arc<Self>,
        sealing: &Sealing,
        election: &Arc<Election>,
        answers: &[(Role, wire::RecallReply)],
        place: &mut Place,
    ) {
        let went = self.open_or_say_why(sealing, election, answers, place).await;
        if let Err(why) = went
            && self.gate.wait_for(election.number(), why.to_string(), self.now())
        {
            tracing::info!(party = %self.role, election = %election.manifest().election(), %why, "nothing is accepted yet");
        }
    }

    async fn open_or_say_why(
        self: &Arc<Self>,
        sealing: &Sealing,
        election: &Arc<Election>,
        answers: &[(Role, wire::RecallReply)],
        place: &mut Place,
    ) -> Result<(), Refusal> {
        let mut said = self.said(election, answers);
        let mut verdict = self.verdict(election, &said).await?;
        if verdict == Verdict::Older {
            self.get_back(sealing, election, &said, place).await?;
            // What they said of receipts they have shown by now, or it is nothing: a bare word keeps no party out.
            if let [one, other] = said.as_mut_slice() {
                (one.receipted, other.receipted) = (0, 0);
            }
            verdict = self.verdict(election, &said).await?;
        }
        let why = match verdict {
            Verdict::Newest => return self.open_gate(election, false).await,
            Verdict::Wait(_) if self.gate.is_trusted(election.number()) => {
                return self.open_gate(election, true).await;
            }
            Verdict::Wait(why) | Verdict::Closed(why) => why,
            Verdict::Older => "others hold more of its log than they give".to_owned(),
        };
        Err(Refusal::new(Reason::PartyRecollecting, why))
    }

    /// Lets the log grow, once every order that it names is here. `trusted`: by the operator's word alone.
    async fn open_gate(self: &Arc<Self>, election: &Arc<Election>, trusted: bool) -> Result<(), Refusal> {
        let election = self.regain_orders(election).await?;
        // The log says first that the election is complete, then what is accepted.
        let of = Arc::clone(&election);
        let alike = self
            .blocking(move |party| {
                let (id, number) = (of.manifest().election().as_str(), of.number());
                let own = party.store.read(|tx| log::size(tx, number))?;
                let mark = party.store.marks().and_then(|marks| marks.size(id));
                if let Some(marks) = party.store.marks() {
                    marks.begin(id, own);
                }
                party.write_events(&of)?;
                Ok(!trusted && (own == 0 || mark.is_some_and(|mark| mark <= own)))
            })
            .await?;
        self.following.may_cosign_from(election.number(), alike);
        self.gate.open(election.number());
        tracing::info!(party = %self.role, election = %election.manifest().election(), "the store is the newest there was: accepting");
        Ok(())
    }

    /// What the peers that answered say of this election; who shows a size without this party's signature has not answered.
    fn said(&self, election: &Election, answers: &[(Role, wire::RecallReply)]) -> Vec<Said> {
        let id = election.manifest().election();
        let keys = election.manifest().party_keys();
        let mut said = Vec::with_capacity(2);
        for (by, reply) in answers {
            let of = reply.logs.iter().find(|of| of.election == id.as_str());
            let of = of.cloned().unwrap_or_default();
            let signed = match of.size {
                0 => None,
                size => match open_note(&of.note, id, self.role, &keys) {
                    Some(note) if note.0 == size => Some(note),
                    _ => continue,
                },
            };
            let covers = of.current && of.seen_at_ms > 0 && of.seen_at_ms >= reply.watching_since_ms;
            said.push(Said {
                by: *by,
                signed,
                receipted: of.receipted_size,
                covers_until_ms: covers.then_some(of.seen_at_ms),
            });
        }
        said
    }

    async fn verdict(self: &Arc<Self>, election: &Arc<Election>, said: &[Said]) -> Result<Verdict, Refusal> {
        let (number, id) = (election.number(), election.manifest().election().clone());
        let signed: Vec<_> = said
            .iter()
            .filter_map(|said| said.signed.map(|signed| (said.by, signed)))
            .collect();
        let (own, contradiction) = self
            .blocking(move |party| {
                let mark = party
                    .store
                    .marks()
                    .and_then(|marks: &Marks| marks.size(id.as_str()));
                Ok(party.store.read(|tx| {
                    let size = log::size(tx, number)?;
                    let last = size
                        .checked_sub(1)
                        .map(|last| log::entry(tx, number, last))
                        .transpose()?;
                    let life_ms = last
                        .flatten()
                        .map_or(0, |entry| entry.at().millis().get().saturating_add(999));
                    let mut contradiction = None;
                    for (by, (size, root)) in signed {
                        if log::root(tx, number, size)?.is_some_and(|own| own != root) {
                            contradiction = Some((by, size));
                        }
                    }
                    let own = Own { size, life_ms, mark };
                    Ok::<_, StoreError>((own, contradiction))
                })?)
            })
            .await?;
        if let Some((by, size)) = contradiction {
            return Ok(Verdict::Closed(format!(
                "{by} holds this party's own signed checkpoint of {size} entries, and the log here had another root then: the store was \
                 changed, and only a store that agrees with it can go on"
            )));
        }
        Ok(judge(&own, said))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_the_longer_for_its_answer_the_more_elections_it_is_about() {
        let seconds = |elections| patience(elections).as_secs_f64();
        assert_eq!((seconds(0), seconds(1), seconds(100)), (2.0, 2.01, 3.0));
        assert_eq!(seconds(10_000), 102.0);
        assert!(
            patience(usize::MAX) > patience(1_000_000),
            "no number is too large"
        );
    }
}
