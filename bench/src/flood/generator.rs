//! The flood's process.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use hyper_util::client::legacy::connect::HttpConnector;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use tally_mpc::Role;
use tally_proto::connect::{self, Dial};
use tally_proto::envelope::Signer;
use tally_proto::ids::{Hash32, RoleExt as _};
use tally_proto::manifest::Manifest;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::ballot_header::Authority;
use tally_proto::wire::intake_client::IntakeClient;
use tally_proto::wire::registration_client::RegistrationClient;
use tonic::transport::Channel;

use crate::cast::ballots::NOW;
use crate::cast::party::Usage;
use crate::process::{read_line, write_line};
use crate::ward::{BOX, OPENS, Ward};

/// One-time keys of the forged tickets: more than a party could remember the last one of.
const KEYS: usize = 64;

/// First line to the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) ward: Ward,
    /// Addresses that it comes from.
    pub(super) addresses: u8,
    /// Connections to each party.
    pub(super) connections: usize,
    /// Submissions under way at once on each.
    pub(super) at_once: usize,
    /// Whether each submission is followed by a request of another kind.
    pub(super) mix: bool,
}

/// Every further line: how many in all, a third of them to each party.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Wave {
    /// Without a ticket.
    pub(super) without: u32,
    /// With a ticket that nobody signed.
    pub(super) invalid: u32,
}

/// What came of a wave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Washed {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    /// How the parties answered: reason codes, or `accepted`.
    pub(super) answers: BTreeMap<String, u64>,
}

/// Floods at the parent's word until it hangs up.
///
/// # Errors
/// Whatever goes wrong but refusals; the parent sees it on standard error.
pub fn generate() -> Result<()> {
    let setup: Setup = read_line()?;
    let manifest = setup.ward.manifest()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (lines, templates) = runtime.block_on(async {
        let mut lines = Vec::new();
        for role in Role::ALL {
            lines.push(open(manifest.manifest(), role, &setup).await?);
        }
        Ok::<_, anyhow::Error>((lines, Templates::new(manifest.manifest())?))
    })?;
    let flood = Arc::new(Flood {
        templates,
        election: manifest.manifest().election().as_str().to_owned(),
        mix: setup.mix,
    });
    write_line(&"ready")?;
    let mut sent = 0;
    loop {
        let wave: Wave = match read_line() {
            Ok(wave) => wave,
            // The parent has hung up.
            Err(_) => return Ok(()),
        };
        let (begun, cpu) = (Instant::now(), Usage::now()?.cpu_seconds);
        let answers = runtime.block_on(wash(&lines, &flood, setup.at_once, wave, sent))?;
        sent += wave.without + wave.invalid;
        write_line(&Washed {
            seconds: begun.elapsed().as_secs_f64(),
            cpu_seconds: Usage::now()?.cpu_seconds - cpu,
            answers,
        })?;
    }
}

/// Connections to a party from many addresses, all made.
async fn open(manifest: &Manifest, role: Role, setup: &Setup) -> Result<Vec<Line>> {
    let identity = manifest.party(role);
    let mut lines = Vec::new();
    for i in 0..setup.connections.max(1) {
        let dial = Dial {
            address: identity.public_address(),
            anchor: identity.anchor(),
            leaf: None,
        };
        let last = u8::try_from(i % usize::from(setup.addresses.max(1)))? + 1;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_local_address(Some(IpAddr::V4(Ipv4Addr::new(127, 9, 9, last))));
        let channel = dial.endpoint()?.connect_with_connector_lazy(tcp);
        let mut line = Line {
            intake: connect::intake(channel.clone()),
            registration: connect::registration(channel),
        };
        line.intake.clock(wire::ClockRequest {}).await?;
        lines.push(line);
    }
    Ok(lines)
}

/// A connection.
#[derive(Clone)]
struct Line {
    intake: IntakeClient<Channel>,
    registration: RegistrationClient<Channel>,
}

/// What the flood asks for.
struct Flood {
    templates: Templates,
    election: String,
    mix: bool,
}

impl Flood {
    /// What anybody may ask beside casting, in turns: what it was, and how it was answered.
    async fn ask(&self, line: &mut Line, to: Role, number: u32) -> Result<(&'static str, String)> {
        let hash = |salt: u8| {
            Hash32::of(&[&[salt], &number.to_be_bytes()[..]].concat())
                .0
                .to_vec()
        };
        let election = self.election.clone();
        let of_election = wire::ElectionRef {
            election: election.clone(),
        };
        let (asked, answered) = match number / 3 % 5 {
            0 => {
                let asked = wire::LookupRequest {
                    election,
                    r#box: BOX.get(),
                    digest: hash(0),
                    record: false,
                    holder: hash(1)[..16].to_vec(),
                };
                ("lookup", line.intake.lookup(asked).await.map(drop))
            }
            1 => ("checkpoint", line.intake.checkpoint(of_election).await.map(drop)),
            2 => ("manifest", line.intake.manifest(of_election).await.map(drop)),
            3 => {
                // Of another party, with a signature that nobody made.
                let receipt = wire::Receipt {
                    election,
                    r#box: BOX.get(),
                    party: to.next().number(),
                    digest: hash(0),
                    ciphertext_hash: hash(1),
                    received_at_s: NOW,
                    position: u64::from(number),
                    signature: [hash(2), hash(3)].concat(),
                };
                ("deliver", line.intake.deliver(receipt).await.map(drop))
            }
            _ => {
                let record = wire::RecordSubmission {
                    header: Some(wire::RecordHeader {
                        serial: 1,
                        signed_at_s: NOW,
                        c1: hash(0),
                        c2: hash(1),
                        c3: hash(2),
                        card: Some(wire::CardMark {
                            register: election.clone(),
                            holder: hash(3),
                            ..Default::default()
                        }),
                        ..Default::default()
                    }),
                    authorisation: vec![7; 4000],
                    ciphertext: hash(4).into(),
                    election,
                    numbered: None,
                };
                ("enrol", line.registration.enrol(record).await.map(drop))
            }
        };
        let answer = match answered {
            Ok(()) => "answered".to_owned(),
            Err(status) => reason(&status)?,
        };
        // What is for nobody without a card, a ballot or a party's signature is given to nobody.
        ensure!(
            !matches!(asked, "deliver" | "enrol") || answer != "answered",
            "{to} took a forged one: {asked}"
        );
        Ok((asked, answer))
    }
}

fn reason(status: &tonic::Status) -> Result<String> {
    let refusal = Refusal::from_status(status).context("a refusal without a reason")?;
    Ok(refusal.reason.code().to_owned())
}

/// What the submissions are made from.
struct Templates {
    without: wire::Submission,
    /// By party and key: all is right but the coordinator's signature.
    invalid: [Vec<wire::Submission>; 3],
}

impl Templates {
    fn new(manifest: &Manifest) -> Result<Self> {
        let mut rng = StdRng::seed_from_u64(OPENS);
        let mut bytes = |n: usize| -> Vec<u8> { (0..n).map(|_| rng.random()).collect() };
        let header = wire::BallotHeader {
            election: manifest.election().as_str().to_owned(),
            r#box: BOX.get(),
            channel: wire::ChannelKind::Online.into(),
            cast_at_s: NOW,
            c1: bytes(32),
            c2: bytes(32),
            c3: bytes(32),
            authority: None,
        };
        let without = wire::Submission {
            header: Some(header.clone()),
            ciphertext: bytes(250).into(),
            authority_signature: Vec::new(),
            ciphertext_hashes: Vec::new(),
        };
        let mut invalid: [Vec<wire::Submission>; 3] = Default::default();
        for _ in 0..KEYS {
            let key = Signer::from_seed(&bytes(32))?.public_key();
            let mut signature = bytes(256);
            // Below any modulus of 2048 bits.
            signature[0] = 0;
            let ticket = wire::TicketAuthority {
                key: key.as_bytes().to_vec(),
                day_s: OPENS,
                randomizer: bytes(32),
                signature,
            };
            let ciphertext = bytes(250);
            let hash = Hash32::of(&ciphertext).0.to_vec();
            let submission = wire::Submission {
                header: Some(wire::BallotHeader {
                    authority: Some(Authority::Ticket(ticket)),
                    ..header.clone()
                }),
                ciphertext: ciphertext.into(),
                authority_signature: bytes(64),
                ciphertext_hashes: vec![hash; 3],
            };
            for of_party in &mut invalid {
                of_party.push(submission.clone());
            }
        }
        Ok(Self { without, invalid })
    }

    /// The submission of that number: another ballot each time.
    fn submission(&self, to: Role, number: u32, is_invalid: bool) -> wire::Submission {
        let of_party = &self.invalid[to.slot()];
        let template = if is_invalid {
            of_party.get(number as usize % of_party.len())
        } else {
            None
        };
        let mut submission = template.unwrap_or(&self.without).clone();
        if let Some(header) = &mut submission.header {
            header.c1[..4].copy_from_slice(&number.to_be_bytes());
            if let Some(Authority::Ticket(ticket)) = &mut header.authority {
                ticket.signature[4..8].copy_from_slice(&number.to_be_bytes());
            }
        }
        submission
    }
}

/// One wave, dealt to the three parties; both kinds in turns.
async fn wash(
    lines: &[Vec<Line>],
    flood: &Arc<Flood>,
    at_once: usize,
    wave: Wave,
    first: u32,
) -> Result<BTreeMap<String, u64>> {
    let mut tasks = tokio::task::JoinSet::new();
    for (lines, to) in lines.iter().zip(Role::ALL) {
        let (next, place) = (Arc::new(AtomicU32::new(0)), to.slot() as u32);
        for line in lines {
            for _ in 0..at_once.max(1) {
                let (mut line, next, flood) = (line.clone(), next.clone(), flood.clone());
                tasks.spawn(async move {
                    let mut answers: BTreeMap<String, u64> = BTreeMap::new();
                    loop {
                        let at = 3 * next.fetch_add(1, Ordering::Relaxed) + place;
                        if at >= wave.without + wave.invalid {
                            return Ok::<_, anyhow::Error>(answers);
                        }
                        let pairs = 2 * wave.without.min(wave.invalid);
                        let is_invalid = if at < pairs {
                            at % 2 == 1
                        } else {
                            wave.invalid > wave.without
                        };
                        let submission = flood.templates.submission(to, first + at, is_invalid);
                        let answer = match line.intake.submit(submission).await {
                            Ok(_) => "accepted".to_owned(),
                            Err(status) => reason(&status)?,
                        };
                        *answers.entry(answer).or_default() += 1;
                        if flood.mix {
                            let (asked, answer) = flood.ask(&mut line, to, first + at).await?;
                            *answers.entry(format!("{asked}: {answer}")).or_default() += 1;
                        }
                    }
                });
            }
        }
    }
    let mut all = BTreeMap::new();
    while let Some(answers) = tasks.join_next().await {
        for (answer, count) in answers?? {
            *all.entry(answer).or_default() += count;
        }
    }
    let due = (u64::from(wave.without) + u64::from(wave.invalid)) * (1 + u64::from(flood.mix));
    ensure!(
        all.values().sum::<u64>() == due,
        "{due} were sent, {all:?} answered"
    );
    Ok(all)
}
