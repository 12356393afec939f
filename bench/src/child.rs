//! One party of a measurement: a process with its own listener, certificate and signing key.

use std::io::BufRead as _;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::future::BoxFuture;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng as _};
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
use tally_proto::envelope::{Envelope, Kind, PublicKey, Signer};
use tally_proto::identity::Address;
use tally_proto::ids::{BoxId, ElectionId, Hash32, RoleExt as _, SessionNumber};
use tally_proto::pki::{Anchor, Leaf, Trust};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::result::{BoxResult, ResultError};
use tally_proto::wire;
use tally_proto::wire::peer_server::PeerServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;

use crate::process::{cpu_seconds, peak_rss_bytes, read_line, write_line};
use crate::protocol::{Done, Go, Kept, PhaseDone, Ready, Setup, Work};
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
        Box::pin(async move { lobby.arrive(caller, frames, Pace::default().meet).await })
    };
    let peer = SessionPeer::new(Roles::new(own, trust.clone()), Arc::new(answer));
    let server = transport::for_sessions(tonic::transport::Server::builder())
        .tls_config(mutual_tls(&leaf, &trust))?
        .add_service(PeerServer::new(peer))
        .serve_with_incoming(transport::buffered(TcpIncoming::from(listener)));
    tokio::spawn(server);

    let plan = setup.plan;
    let scene = scene(&plan)?;
    let signer = Signer::generate(&mut rng);
    let prepared = Prepared::new(own, scene.clone(), SESSION, &signer, &mut rng);
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
    let mut storage = [0; 32];
    rng.fill_bytes(&mut storage);
    let logs = SessionLogs::new(setup.logs, Arc::new(StorageKey::new(storage)));
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
    let box_result = {
        let scene = scene.clone();
        move |outcome: &Outcome| box_result(&scene, outcome).map(|result| (totals(outcome), Some(result)))
    };
    let work = setup.work;
    let engine = move |engine: Engine<'_>| match (work, input) {
        (Work::Tally, Some(input)) => {
            let outcome = engine.tally(input, &params)?;
            box_result(&outcome).map_err(|error| {
                EngineError::Input(Refusal::new(Reason::Internal, format_args!("no Result: {error}")))
            })
        }
        (
            Work::Transport {
                bytes,
                message,
                lockstep,
            },
            _,
        ) => exchange(engine, bytes, message, lockstep).map(|()| (Vec::new(), None)),
        (Work::Curious, Some(input)) => {
            let outcome = tally_without_checks(
                engine.seeds,
                engine.binding,
                input,
                engine.channel,
                engine.observer,
                &params,
            )?;
            Ok((totals(&outcome), None))
        }
        (Work::Tally | Work::Curious, None) => Err(EngineError::Input(Refusal::new(
            Reason::Internal,
            "no input was generated",
        ))),
    };
    let cpu = cpu_seconds()?;
    let ((totals, result), report) = run(
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
        kept: result.map(|result| Kept {
            storage,
            result: signer.seal_envelope(Kind::Result, result.encode()).encode(),
            key: signer.public_key().as_bytes().to_vec(),
        }),
    })?;
    // The neighbours may still be reading: wait until the parent has heard of all three.
    tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new())).await??;
    Ok(())
}

/// The one session of a measurement.
pub(crate) const SESSION: SessionNumber = SessionNumber(1);

/// What the session of `plan` is about. There is no Seal; the hash is that of the seed.
pub(crate) fn scene(plan: &Plan) -> Result<Scene> {
    Ok(Scene {
        seal_hash: Hash32::of(&plan.seed.to_be_bytes()),
        election: ElectionId::new("bench")?,
        box_id: BoxId(1),
    })
}

/// The Result that a party signs.
pub(crate) fn box_result(scene: &Scene, outcome: &Outcome) -> Result<BoxResult, ResultError> {
    let (counted_online, counted_station) = match outcome.counts {
        Counts::PerChannel { online, electronic } => (Some(online), Some(electronic)),
        Counts::Counted(_) | Counts::Nothing => (None, None),
    };
    let contests = outcome
        .contests
        .iter()
        .zip(1..)
        .map(|(contest, id)| wire::ContestResult {
            contest: id,
            totals: contest.options.clone(),
            spoilt: contest.spoilt,
        });
    BoxResult::from_wire(&wire::Result {
        seal_hash: scene.seal_hash.as_bytes().to_vec(),
        election: scene.election.as_str().to_owned(),
        r#box: scene.box_id.get(),
        contests: contests.collect(),
        counted_online,
        counted_station,
    })
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
fn exchange(engine: Engine<'_>, bytes: u64, message: usize, lockstep: bool) -> Result<(), EngineError> {
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
    Ok(())
}
