//! The generator's process: it seals the ballots, and at the parent's word casts them all, so many at a time.
//!
//! A ballot goes to all three parties at once; the receipts are checked, and each party is handed the others' receipts that it does not have yet: mostly
//! none. The ballot is in when all three hold it and both others' receipts; its latency is the time from the first request to the last answer.
//! Voters share a few connections to each party, as behind a relay: without it every device would make three TLS handshakes, on the same
//! processors. So many ballots go in one message as the relay, or a station's queue, puts together; with one each voter makes three requests.
//! Of the receipts' signatures one in 64 is verified, of everything else in them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::{try_join, try_join_all};
use serde::{Deserialize, Serialize};
use tally_mpc::Role;
use tally_proto::connect::{self, Dial};
use tally_proto::envelope::PublicKey;
use tally_proto::ids::RoleExt as _;
use tally_proto::manifest::Manifest;
use tally_proto::receipt::Receipt;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::cast_answer::Outcome;
use tally_proto::wire::intake_client::IntakeClient;
use tonic::transport::Channel;

use super::ballots::{Sealed, seal_all};
use super::line::Line;
use super::party::Usage;
use crate::process::{read_line, write_line};
use crate::ward::Ward;

/// First line to the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) ward: Ward,
    /// Ballots under way at once.
    pub(super) at_once: usize,
    /// Connections to each party.
    pub(super) connections: usize,
    /// Ballots in one message.
    pub(super) together: usize,
}

/// What the generator tells when all ballots are in.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    /// Requests that were made.
    pub(super) requests: u64,
    /// Median, 99th and 99.9th percentile of the latency, milliseconds.
    pub(super) percentiles_ms: [f64; 3],
}

/// Most receipts of one message.
const MOST_RECEIPTS: usize = 16;
/// One receipt in so many has its signature verified.
const VERIFIED: usize = 64;

/// Connections to the three parties, one of each, and their keys.
#[derive(Clone)]
pub(crate) struct Lines {
    intakes: [IntakeClient<Channel>; 3],
    keys: [PublicKey; 3],
}

impl Lines {
    pub(crate) fn open(manifest: &Manifest) -> Result<Self> {
        let open = |role: Role| -> Result<IntakeClient<Channel>> {
            let identity = manifest.party(role);
            let dial = Dial {
                address: identity.public_address(),
                anchor: identity.anchor(),
                leaf: None,
            };
            Ok(connect::intake(dial.channel()?))
        };
        Ok(Self {
            intakes: [open(Role::P1)?, open(Role::P2)?, open(Role::P3)?],
            keys: manifest.party_keys(),
        })
    }

    pub(crate) async fn submit(&self, ballot: &Sealed, to: Role, verify: bool) -> Result<wire::Receipt> {
        let mut intake = self.intakes[to.slot()].clone();
        let wire = intake.submit(ballot.submission(to)).await?.into_inner();
        check(&self.keys, (ballot, to), &wire, verify)?;
        Ok(wire)
    }

    pub(crate) async fn deliver(&self, receipt: &wire::Receipt, to: Role) -> Result<()> {
        let mut intake = self.intakes[to.slot()].clone();
        intake.deliver(receipt.clone()).await?;
        Ok(())
    }
}

/// Checks a receipt for a ballot by a party.
fn check(
    keys: &[PublicKey; 3],
    (ballot, to): (&Sealed, Role),
    wire: &wire::Receipt,
    verify: bool,
) -> Result<()> {
    let receipt = Receipt::from_wire(wire)?;
    let stated = receipt.unverified();
    ensure!(
        stated.digest == ballot.digest && stated.party == to,
        "{to} gave a receipt for something else"
    );
    if verify {
        receipt.verify(keys)?;
    }
    Ok(())
}

/// A ballot, and its number among all.
type Numbered<'b> = (usize, &'b Sealed);

/// One of the generator's connections to each of the three parties, and their keys.
struct Trunk {
    lines: [Line; 3],
    keys: [PublicKey; 3],
}

impl Trunk {
    async fn open(manifest: &Manifest) -> Result<Self> {
        let open = |role: Role| Line::open(manifest.party(role));
        let (one, two, three) = (
            open(Role::P1).await?,
            open(Role::P2).await?,
            open(Role::P3).await?,
        );
        Ok(Self {
            lines: [one, two, three],
            keys: manifest.party_keys(),
        })
    }

    /// Of each ballot the receipt, and the others whose receipts are not stored there yet.
    async fn cast_at(&self, ballots: &[Numbered<'_>], to: Role) -> Result<Vec<(wire::Receipt, Vec<Role>)>> {
        let line = &self.lines[to.slot()];
        let replies: Vec<wire::CastReply> = if let [(_, one)] = ballots {
            vec![line.ask("Cast", &one.submission(to)).await?]
        } else {
            let submissions = ballots.iter().map(|(_, ballot)| ballot.submission(to));
            let asked = wire::Submissions {
                submissions: submissions.collect(),
            };
            let replies: wire::CastReplies = line.ask("CastAll", &asked).await?;
            let taken = replies.answers.into_iter().map(|answer| match answer.outcome {
                Some(Outcome::Taken(taken)) => Ok(taken),
                Some(Outcome::Refusal(refusal)) => Err(Refusal::from_wire(&refusal).into()),
                None => bail!("an answer that says nothing"),
            });
            taken.collect::<Result<_>>()?
        };
        ensure!(replies.len() == ballots.len(), "an answer for each ballot");
        let mut taken = Vec::with_capacity(ballots.len());
        for ((at, ballot), reply) in ballots.iter().zip(replies) {
            let receipt = reply.receipt.context("an answer without a receipt")?;
            check(&self.keys, (ballot, to), &receipt, at % VERIFIED == 0)?;
            let lacks = |other: &Role| !reply.stored.contains(&other.number());
            let lacking = [to.next(), to.prev()].into_iter().filter(lacks).collect();
            taken.push((receipt, lacking));
        }
        Ok(taken)
    }

    /// All three parties hold these ballots and each other's receipts on return. How many requests it took.
    async fn cast(&self, ballots: &[Numbered<'_>]) -> Result<u64> {
        let [a, b, c] = Role::ALL.map(|role| self.cast_at(ballots, role));
        let (a, (b, c)) = try_join(a, try_join(b, c)).await?;
        let answers = [a, b, c];
        let mut lacking = Vec::new();
        for to in Role::ALL {
            let of_ballot = (0..ballots.len()).flat_map(|i| {
                let of = answers[to.slot()][i].1.iter();
                of.map(move |of| (*of, i))
            });
            let receipts: Vec<_> = of_ballot.map(|(of, i)| answers[of.slot()][i].0.clone()).collect();
            lacking.extend(receipts.chunks(MOST_RECEIPTS).map(|some| (to, some.to_vec())));
        }
        let deliveries = lacking.into_iter().map(async |(to, receipts)| {
            let brought = wire::Receipts { receipts };
            let line = &self.lines[to.slot()];
            line.ask::<wire::DeliverReply>("DeliverAll", &brought).await
        });
        Ok(3 + try_join_all(deliveries).await?.len() as u64)
    }
}

/// Casts the ballots of the first line.
///
/// # Errors
/// A ballot that is not accepted by all three, and whatever else goes wrong; the parent sees it on standard error.
pub fn generate() -> Result<()> {
    let setup: Setup = read_line()?;
    let manifest = setup.ward.manifest()?;
    let plan = setup.ward.plan;
    let ballots = seal_all(manifest.manifest(), plan.voters, plan.ballots, plan.seed)?;
    write_line(&"sealed")?;
    let told: String = read_line()?;
    ensure!(told == "go", "the parent said {told:?}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let cpu = Usage::now()?.cpu_seconds;
    let (seconds, mut micros, requests) = runtime.block_on(cast_all(&setup, manifest.manifest(), ballots))?;
    micros.sort_unstable();
    let percentile = |permille: usize| -> Result<f64> {
        let at = (micros.len() * permille).div_ceil(1000).saturating_sub(1);
        Ok(f64::from(*micros.get(at).context("no ballot was cast")?) / 1e3)
    };
    write_line(&Done {
        seconds,
        cpu_seconds: Usage::now()?.cpu_seconds - cpu,
        requests,
        percentiles_ms: [percentile(500)?, percentile(990)?, percentile(999)?],
    })
}

/// Seconds for all, each ballot's latency in microseconds, and the requests that were made.
async fn cast_all(setup: &Setup, manifest: &Manifest, ballots: Vec<Sealed>) -> Result<(f64, Vec<u32>, u64)> {
    // The handshakes come before the clock starts.
    let mut trunks = Vec::new();
    for _ in 0..setup.connections.max(1) {
        trunks.push(Arc::new(Trunk::open(manifest).await?));
    }
    let (ballots, next) = (Arc::new(ballots), Arc::new(AtomicUsize::new(0)));
    let begun = Instant::now();
    let together = setup.together.max(1);
    let senders = (0..setup.at_once.div_ceil(together).max(1)).map(|i| {
        let (ballots, next, trunk) = (ballots.clone(), next.clone(), trunks[i % trunks.len()].clone());
        tokio::spawn(async move {
            let (mut micros, mut requests) = (Vec::new(), 0);
            loop {
                let from = next.fetch_add(together, Ordering::Relaxed);
                let some: Vec<Numbered<'_>> =
                    (ballots.iter().enumerate().skip(from).take(together)).collect();
                if some.is_empty() {
                    return Ok::<_, anyhow::Error>((micros, requests));
                }
                let since = Instant::now();
                requests += trunk.cast(&some).await?;
                let took = u32::try_from(since.elapsed().as_micros())?;
                micros.extend(some.iter().map(|_| took));
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    let (mut all, mut requests) = (Vec::with_capacity(ballots.len()), 0);
    for sender in senders {
        let (micros, more) = sender.await??;
        all.extend(micros);
        requests += more;
    }
    Ok((begun.elapsed().as_secs_f64(), all, requests))
}
