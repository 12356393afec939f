//! One party of a measurement: a process with its own listener, certificate and signing key.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::future::BoxFuture;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tally_mpc::curious::tally_without_checks;
use tally_mpc::{Counts, Label, Neighbour, Outcome, Phase, Role, Scope, SortParams, Traffic};
use tally_party::roles::Roles;
use tally_party::session::log::SessionLogs;
use tally_party::session::transport;
use tally_party::session::{
    Endpoints, Engine, EngineError, Frames, Interrupt, Lobby, Pace, Prepared, Scene, SessionPeer, Starts,
    Surroundings, run,
};
use tally_party::store::vault::StorageKey;
use tally_proto::connect::{Dial, mutual_tls};
use tally_proto::envelope::{Envelope, PublicKey, Signer};
use tally_proto::identity::Address;
use tally_proto::ids::{BoxId, ElectionId, Hash32, RoleExt as _, SessionNumber};
use tally_proto::pki::{Anchor, Leaf, Trust};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire::peer_server::PeerServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;

use crate::protocol::{Done, Go, PhaseDone, Ready, Setup, Work};
use crate::synthetic::{PlainCount, Plan};

/// Runs one party: setup, listen, session, report.
///
/// # Errors
/// Whatever goes wrong; the parent sees it on standard error.
pub fn party() -> Result<()> {
    let setup: Setup = read_line()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?;
    runtime.block_on(session(setup))
}

/// Threads for connections besides the engine's own: one for each.
const WORKERS: usize = 2;

async fn session(setup: Setup) -> Result<()> {
    let own = Role::from_index(setup.party).context("the parent numbers parties 1 to 3")?;
    let mut rng = StdRng::try_from_rng(&mut SysRng)?;
    let leaf = Leaf {
        cert_pem: setup.certificate.clone(),
        key_pem: setup.key.clone().into(),
    };
    let anchors = [0, 1, 2].map(|i: usize| Anchor::from_pem(&setup.authorities[i]));
    let [a, b, c] = anchors;
    let anchors = [a?, b?, c?];
    let trust = Role::ALL.into_iter().fold(Trust::new(), |trust, role| {
        trust.party(role, anchors[role.slot()].clone())
    });

    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let lobby = Arc::new(Lobby::new());
    let at = Arc::clone(&lobby);
    let answer = move |caller, frames: Frames| -> BoxFuture<'static, _> {
        let lobby = Arc::clone(&at);
        Box::pin(async move { lobby.arrive(caller, frames, Pace::default().message).await })
    };
    let peer = SessionPeer::new(Roles::new(own, trust.clone()), Arc::new(answer));
    let server = transport::for_sessions(tonic::transport::Server::builder())
        .tls_config(mutual_tls(&leaf, &trust))?
        .add_service(PeerServer::new(peer))
        .serve_with_incoming(transport::buffered(TcpIncoming::from(listener)));
    tokio::spawn(server);

    let scene = Scene {
        seal_hash: Hash32::of(&setup.seed.to_be_bytes()),
        election: ElectionId::new("bench")?,
        box_id: BoxId(1),
    };
    let signer = Signer::generate(&mut rng);
    let prepared = Prepared::new(own, scene.clone(), SessionNumber(1), &signer, &mut rng);
    let plan = Plan {
        voters: setup.voters,
        ballots: setup.ballots,
        seed: setup.seed,
    };
    // Shares are generated before the session, as sealing would have left them.
    let input = match setup.work {
        Work::Tally | Work::Curious => Some(plan.input(own)?),
        Work::Transport { .. } => None,
    };
    write_line(&Ready {
        port,
        start: prepared.start().encode(),
        key: signer.public_key().as_bytes().to_vec(),
    })?;

    let go: Go = tokio::task::spawn_blocking(read_line).await??;
    let mut starts = Vec::new();
    let mut keys = Vec::new();
    for (start, key) in go.starts.iter().zip(&go.keys) {
        starts.push(Envelope::decode(start)?);
        keys.push(PublicKey::from_slice(key)?);
    }
    let keys: [PublicKey; 3] = keys
        .try_into()
        .map_err(|_| anyhow::anyhow!("three keys are needed"))?;
    let starts = Starts::verify(&starts, &keys, &scene)?;
    ensure!(
        prepared.is_of(&starts),
        "another Start than this party's own came back"
    );
    let mut endpoints: Endpoints = [None, None, None];
    for role in [own.next(), own.prev()] {
        let address = Address::new("address", &format!("https://localhost:{}", go.ports[role.slot()]))?;
        let dial = Dial {
            address: &address,
            anchor: &anchors[role.slot()],
            leaf: Some(&leaf),
        };
        endpoints[role.slot()] = Some(dial.endpoint()?);
    }

    let pace = Pace {
        latency: std::time::Duration::from_millis(setup.latency_ms),
        ..Pace::default()
    };
    // Logged as in a party, on a disk: what that costs belongs to the measurement.
    let directory = tempfile::tempdir()?;
    let mut storage = [0; 32];
    rng.fill_bytes(&mut storage);
    let logs = SessionLogs::new(directory.path().to_owned(), Arc::new(StorageKey::new(storage)));
    let log = logs.begin(own, &scene, starts.number, &mut rng)?;
    let surroundings = Surroundings {
        endpoints: &endpoints,
        lobby: &lobby,
        pace,
        log: &log,
        demands: None,
    };
    let (progress, _) = watch::channel(None);
    let params = plan.params(if setup.wan {
        SortParams::WAN
    } else {
        SortParams::default()
    });
    let work = setup.work;
    let engine = move |engine: Engine<'_>| match (work, input) {
        (Work::Tally, Some(input)) => engine.tally(input, &params).map(|outcome| totals(&outcome)),
        (
            Work::Transport {
                bytes,
                message,
                lockstep,
            },
            _,
        ) => exchange(engine, bytes, message, lockstep),
        (Work::Curious, Some(input)) => Ok(totals(&tally_without_checks(
            engine.seeds,
            engine.binding,
            input,
            engine.channel,
            engine.observer,
            &params,
        )?)),
        (Work::Tally | Work::Curious, None) => Err(EngineError::Input(Refusal::new(
            Reason::Internal,
            "no input was generated",
        ))),
    };
    let cpu = cpu_seconds()?;
    let (totals, report) = run(
        prepared,
        &starts,
        surroundings,
        &Interrupt::default(),
        progress,
        engine,
        |_| Bytes::new(),
    )
    .await
    .map_err(|stop| anyhow::anyhow!("{own} stopped: {stop}"))?;
    write_line(&Done {
        seconds: report.time.as_secs_f64(),
        phases: report
            .phases
            .iter()
            .map(|phase| PhaseDone {
                name: phase.phase.name().to_owned(),
                seconds: phase.time.as_secs_f64(),
                bytes: phase.traffic.bytes_sent,
                rounds: phase.traffic.rounds,
            })
            .collect(),
        peak_rss_bytes: peak_rss_bytes()?,
        cpu_seconds: cpu_seconds()? - cpu,
        totals,
    })?;
    // The neighbours may still be reading: wait until the parent has heard of all three.
    tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new())).await??;
    Ok(())
}

/// The opened totals in one row, in the order of [`plain_totals`].
fn totals(outcome: &Outcome) -> Vec<u64> {
    let mut totals = Vec::new();
    for contest in &outcome.contests {
        totals.extend_from_slice(&contest.options);
        totals.push(contest.spoilt);
    }
    match outcome.counts {
        Counts::PerChannel { online, electronic } => totals.extend([online, electronic]),
        Counts::Counted(counted) => totals.push(counted),
        Counts::Nothing => {}
    }
    totals
}

/// The plain count in one row.
pub fn plain_totals(count: &PlainCount) -> Vec<u64> {
    let mut totals = count.options.clone();
    totals.extend([count.spoilt, count.online, count.electronic]);
    totals
}

/// Sends `bytes` zeros to either neighbour in messages of `message` bytes and receives as many.
fn exchange(engine: Engine<'_>, bytes: u64, message: usize, lockstep: bool) -> Result<Vec<u64>, EngineError> {
    let Engine {
        channel, observer, ..
    } = engine;
    let mut failed = |source: tally_mpc::ChannelError| {
        EngineError::Input(Refusal::new(
            Reason::TallyAborted,
            format_args!("transport: {source}"),
        ))
    };
    observer.phase_started(Phase::Shuffle);
    let label = |round: u64| Label {
        scope: Scope {
            phase: Phase::Shuffle,
            step: 0,
            chunk: 0,
        },
        round: round as u32,
    };
    // As far ahead as the engine goes.
    let ahead = if lockstep { 0 } else { 4 };
    let rounds = bytes.div_ceil(message as u64);
    for round in 0..rounds + ahead {
        for neighbour in [Neighbour::Next, Neighbour::Prev] {
            if round < rounds {
                channel
                    .send(neighbour, label(round), vec![0; message])
                    .map_err(&mut failed)?;
            }
        }
        for neighbour in [Neighbour::Next, Neighbour::Prev] {
            if let Some(due) = round.checked_sub(ahead) {
                channel
                    .recv(neighbour, label(due), message)
                    .map_err(&mut failed)?;
            }
        }
    }
    let traffic = Traffic {
        bytes_sent: 2 * rounds * message as u64,
        rounds,
        ..Traffic::default()
    };
    observer.phase_finished(Phase::Shuffle, &traffic);
    Ok(Vec::new())
}

fn peak_rss_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM in /proc/self/status")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}

fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Fields 14 and 15 of proc(5), counted after the parenthesised name; in ticks of 1/100 s on every Linux.
    let after = stat.rsplit_once(')').context("an odd /proc/self/stat")?.1;
    let field = |i: usize| -> Result<f64> {
        Ok(after
            .split_whitespace()
            .nth(i)
            .context("a short /proc/self/stat")?
            .parse()?)
    };
    Ok((field(11)? + field(12)?) / 100.0)
}

fn read_line<T: DeserializeOwned>() -> Result<T> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    serde_json::from_str(&line).context("a line from the parent")
}

fn write_line(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}
