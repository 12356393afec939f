//! A ballot in the parties' public logs.
//!
//! ```text
//! receipt (position, leaf)  --inclusion-->  checkpoint now  <--consistency--  checkpoint that other parties have cosigned
//!                                                 ^----------consistency--  checkpoint that the voter kept, if any
//! ```
//!
//! A party that rewrites its log, or shows this device another one than the other parties, fails one of the three: it has signed both
//! ends. To this device, which has just asked; to anybody else only two roots of one size prove it. Notes have no order: an honest party's old note
//! and a later receipt of its look the same as a log from which something was removed, and a path that it did not give is no evidence.
//!
//! All of it happens in memory; nothing is stored. What stands behind the cosigned checkpoint is seen by this device only: it is
//! asked for again until another party has cosigned it, for as long as the caller has patience.
//!
//! **A log for one voter alone** is found by asking the two others: each shows the checkpoint under which it mirrors that log, with its owner's
//! signature, and the owner has to prove that what it shows here goes on from there, or leads there. What the cosigned note says comes from the owner,
//! which may show none; the mirrors do not. If both others answer and neither has seen as far as the ballot when patience is over, that is a fault:
//! [`Fault::Unseen`]. It convicts nobody: the owner may be cut off from the others.

use std::time::Duration;

use tally_proto::ids::{ElectionId, Hash32, Role, RoleExt as _};
use tally_proto::merkle::{verify_consistency, verify_inclusion};
use tally_proto::note::Checkpoint;
use tally_proto::reason::Reason;
use tally_proto::receipt::{Acceptance, Receipt};
use tally_proto::wire;
use tokio::time::{Instant, sleep};

use crate::connections::Connections;
use crate::fault::Fault;
use crate::link::Link;

/// How long a new entry may take to be under a checkpoint of its own party.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(300);

/// A ballot found in one party's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InLog {
    /// Whose log.
    pub party: Role,
    /// The ballot's place in it.
    pub position: u64,
    /// The other parties that have cosigned a checkpoint of this log which holds the ballot; empty while none has yet.
    pub cosigned_by: Vec<Role>,
    /// The other parties that showed a checkpoint of this log, of its owner, which holds the ballot, and to which the log shown here leads.
    pub seen_by: Vec<Role>,
    /// The log's checkpoint now, a signed note: to compare a later one with, where the voter wants to keep it.
    pub note: String,
}

/// Finds the ballot of each receipt in its party's log; in the order of the receipts. `earlier`: signed notes that the voter kept.
///
/// Returns as soon as another party has cosigned each, or when `patience` is over.
pub async fn find(
    connections: &Connections,
    receipts: &[wire::Receipt],
    earlier: &[String],
    patience: Duration,
) -> Vec<Result<InLog, Fault>> {
    let until = Instant::now() + patience;
    let of = |receipt: &wire::Receipt| {
        let party = Receipt::from_wire(receipt)
            .ok()
            .map(|receipt| receipt.unverified().party);
        let receipt = receipt.clone();
        async move {
            let link = connections.link(party.unwrap_or(Role::P1));
            let checked = Receipt::from_wire(&receipt).ok();
            let Some(acceptance) = checked
                .as_ref()
                .and_then(|receipt| receipt.verify(&link.keys).ok())
            else {
                return Err(link.lies(
                    Reason::ReceiptInvalid,
                    "gave a receipt whose signature is not its own",
                ));
            };
            in_log(connections, link, acceptance, earlier, until).await
        }
    };
    futures::future::join_all(receipts.iter().map(of)).await
}

/// The same for one party whose acceptance is known.
pub(crate) async fn in_log(
    connections: &Connections,
    link: &Link,
    acceptance: &Acceptance,
    earlier: &[String],
    until: Instant,
) -> Result<InLog, Fault> {
    let published = Instant::now() + PUBLISHED_WITHIN;
    loop {
        let reply = link.checkpoint(&acceptance.election).await?;
        let view = View::open(link, &acceptance.election, &reply)?;
        if view.now.size <= acceptance.position {
            if Instant::now() < published {
                sleep(PAUSE).await;
                continue;
            }
            let what = format!(
                "shows a log of {} entries and gave a receipt for its entry {}: it has removed what it accepted, or answers with an old log; ask again",
                view.now.size,
                acceptance.position + 1
            );
            return Err(link.lies(Reason::LogRewritten, &what));
        }
        view.holds(link, acceptance).await?;
        for note in earlier {
            view.extends(link, note).await?;
        }
        let cosigned_by = view.cosigned_by(link, acceptance.position).await?;
        let (seen_by, answered) = view.seen_by(connections, link, acceptance.position).await?;
        if cosigned_by.is_empty() && seen_by.is_empty() {
            if Instant::now() < until {
                sleep(PAUSE).await;
                continue;
            }
            if answered == 2 {
                return Err(Fault::Unseen {
                    party: link.party,
                    agency: link.agency.clone(),
                    position: acceptance.position,
                });
            }
        }
        return Ok(InLog {
            party: link.party,
            position: acceptance.position,
            cosigned_by,
            seen_by,
            note: reply.note,
        });
    }
}

/// What a party shows of its log at one moment.
struct View<'a> {
    election: &'a ElectionId,
    now: Checkpoint,
    note: &'a str,
    /// The checkpoint that others have cosigned, by whom, and its note.
    cosigned: Option<(Checkpoint, Vec<Role>, &'a str)>,
}

impl<'a> View<'a> {
    fn open(link: &Link, election: &'a ElectionId, reply: &'a wire::CheckpointReply) -> Result<Self, Fault> {
        let key = &link.keys[link.party.slot()];
        let now = Checkpoint::open(reply.note.as_bytes(), election, link.party, key)
            .map_err(|_| link.lies(Reason::SignatureBad, "shows a checkpoint that it has not signed"))?;
        let cosigned = if reply.cosigned.is_empty() {
            None
        } else {
            let note = reply.cosigned.as_bytes();
            let (checkpoint, by) = Checkpoint::open_cosigned(note, election, link.party, &link.keys)
                .map_err(|_| {
                    link.lies(
                        Reason::SignatureBad,
                        "shows a cosigned checkpoint that it has not signed",
                    )
                })?;
            let by: Vec<Role> = by.iter().map(|cosignature| cosignature.by).collect();
            (!by.is_empty()).then_some((checkpoint, by, reply.cosigned.as_str()))
        };
        Ok(Self {
            election,
            now,
            note: &reply.note,
            cosigned,
        })
    }

    /// The log as it is now holds the accepted ballot at its place.
    async fn holds(&self, link: &Link, acceptance: &Acceptance) -> Result<(), Fault> {
        let (position, size) = (acceptance.position, self.now.size);
        let path = link.inclusion(self.election, position, size).await?;
        if verify_inclusion(&acceptance.log_leaf(), position, size, &path, &self.now.root) {
            return Ok(());
        }
        let what = format!(
            "cannot show the ballot at place {} of its log, for which it gave a receipt: it has rewritten its log",
            position + 1
        );
        Err(link.lies(Reason::LogRewritten, &what))
    }

    /// The log as it is now goes on from where the others saw it; who has cosigned the entry at `position`.
    async fn cosigned_by(&self, link: &Link, position: u64) -> Result<Vec<Role>, Fault> {
        let Some((cosigned, by, note)) = &self.cosigned else {
            return Ok(Vec::new());
        };
        let whose = "the other parties have cosigned";
        self.consistent(link, cosigned, note, whose).await?;
        Ok(if position < cosigned.size {
            by.clone()
        } else {
            Vec::new()
        })
    }

    /// Who of the two others shows that it has seen the entry at `position` of this very log, and how many of them answered.
    async fn seen_by(
        &self,
        connections: &Connections,
        link: &Link,
        position: u64,
    ) -> Result<(Vec<Role>, usize), Fault> {
        let others = [link.party.next(), link.party.prev()];
        let ask = |other: Role| async move {
            let mirrored = connections.link(other).mirrored(self.election, link.party);
            (other, mirrored.await)
        };
        let (mut seen_by, mut answered) = (Vec::new(), 0);
        for (other, mirrored) in futures::future::join_all(others.map(ask)).await {
            // Who is away says nothing, and neither does a note that the log's owner has not signed.
            let Ok(note) = mirrored else { continue };
            if note.is_empty() {
                answered += 1;
                continue;
            }
            let key = &link.keys[link.party.slot()];
            let Ok(seen) = Checkpoint::open(note.as_bytes(), self.election, link.party, key) else {
                continue;
            };
            answered += 1;
            self.consistent(link, &seen, &note, "the other parties were shown")
                .await?;
            if position < seen.size {
                seen_by.push(other);
            }
        }
        seen_by.sort_unstable();
        Ok((seen_by, answered))
    }

    /// The log as it is now goes on from where it stood in `note`, which the voter kept; a note of another party or election says nothing.
    async fn extends(&self, link: &Link, note: &str) -> Result<(), Fault> {
        let key = &link.keys[link.party.slot()];
        let Ok(kept) = Checkpoint::open(note.as_bytes(), self.election, link.party, key) else {
            return Ok(());
        };
        self.consistent(link, &kept, note, "you kept").await
    }

    /// Two roots of one size, both signed. Of two sizes only the party's own answer says that they are not of one log.
    fn proof(&self, other: &Checkpoint, its_note: &str) -> Vec<String> {
        if (other.size, other.root != self.now.root) == (self.now.size, true) {
            vec![self.note.to_owned(), its_note.to_owned()]
        } else {
            Vec::new()
        }
    }

    async fn consistent(
        &self,
        link: &Link,
        other: &Checkpoint,
        its_note: &str,
        whose: &str,
    ) -> Result<(), Fault> {
        let ((old, old_root), (new, new_root)) =
            in_order((other.size, other.root), (self.now.size, self.now.root));
        let holds = if old == 0 {
            true
        } else {
            let path = if old == new {
                Vec::new()
            } else {
                link.consistency(self.election, old, new).await?
            };
            verify_consistency(old, &old_root, new, &new_root, &path)
        };
        if holds {
            return Ok(());
        }
        let what = format!(
            "shows a log that is not the one {whose}: it has rewritten its log, or shows different logs to different people"
        );
        Err(link.proven(Reason::LogRewritten, what, self.proof(other, its_note)))
    }
}

fn in_order(a: (u64, Hash32), b: (u64, Hash32)) -> ((u64, Hash32), (u64, Hash32)) {
    if a.0 <= b.0 { (a, b) } else { (b, a) }
}
