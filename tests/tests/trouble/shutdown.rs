//! A party told to stop (SIGTERM) while it is busy: health says so first, every request that it had begun is answered, nothing that it acknowledged
//! is lost, and it ends in bounded time.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_client::{Choices, Connections, Device, Election, Voter, read_invitation};
use tally_party::config::Config;
use tally_party::keys;
use tally_proto::connect::{self, Dial};
use tally_proto::identity::PartyIdentity;
use tally_proto::ids::{Digest, Role};
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::codegen::http::Uri;
use tonic::codegen::{BoxFuture, Service};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::scene::{ELECTION, Scene, VOTERS, alone, await_that, read};

/// Connections that ask without a pause, each one question after the other.
const ASKING: usize = 24;
/// `server.shutdown_notice_s`.
const NOTICE: Duration = Duration::from_secs(8);
/// What ending may take: the notice, `server.shutdown_grace_s`, and a machine that does much else.
const BOUND: Duration = Duration::from_secs(8 + 10 + 15);

/// The one connection of a channel is gone: what was asked since was never sent.
#[derive(Debug, thiserror::Error)]
#[error("the one connection is closed")]
struct Closed;

/// Connects once.
struct Once {
    address: String,
    used: Arc<AtomicBool>,
}

impl Service<Uri> for Once {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (address, used) = (self.address.clone(), self.used.swap(true, Relaxed));
        Box::pin(async move {
            if used {
                return Err(Closed.into());
            }
            Ok(TokioIo::new(TcpStream::connect(address).await?))
        })
    }
}

fn own(scene: &Scene, i: usize) -> PartyIdentity {
    let config = Config::load(&scene.world.party_config(i)).expect("a configuration");
    keys::own_identity(&config).expect("an identity")
}

/// A channel whose unanswered requests are never sent again.
async fn one_connection(own: &PartyIdentity) -> Channel {
    let dial = Dial {
        address: own.public_address(),
        anchor: own.anchor(),
        leaf: None,
    };
    let connector = Once {
        address: format!("{}:{}", own.public_address().host(), own.public_address().port()),
        used: Arc::default(),
    };
    let endpoint = dial.endpoint().expect("an endpoint");
    endpoint
        .connect_with_connector(connector)
        .await
        .expect("connected")
}

/// What came of the questions on one connection.
#[derive(Debug, Default)]
struct Asked {
    answered: AtomicU64,
    cut: AtomicU64,
}

fn chain(status: &Status) -> Vec<String> {
    let mut words = vec![status.to_string()];
    let mut cause = status.source();
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words
}

/// HTTP/2 says of a request that nothing of it was begun: it was never sent, or came after the server's last word.
fn not_begun(words: &[String]) -> bool {
    let never = [
        "the one connection is closed",
        "not a result of an error",
        "operation was canceled",
    ];
    words
        .iter()
        .any(|word| never.iter().any(|never| word.contains(never)))
}

/// Asks one question after the other until the connection takes none any more.
async fn ask(channel: Channel, asked: Arc<Asked>) {
    let mut intake = connect::intake(channel);
    loop {
        let election = ELECTION.to_owned();
        let answer = intake.checkpoint(wire::ElectionRef { election }).await;
        match answer {
            Ok(_) => asked.answered.fetch_add(1, Relaxed),
            Err(status) if Refusal::from_status(&status).is_some() => asked.answered.fetch_add(1, Relaxed),
            Err(status) => {
                let words = chain(&status);
                if !not_begun(&words) {
                    println!("cut off: {words:?}");
                    asked.cut.fetch_add(1, Relaxed);
                }
                return;
            }
        };
    }
}

/// Voters who cast as fast as they can until told to stop: of each ballot, its name and who acknowledged it.
fn cast_until(
    scene: &Scene,
    (stop, number): (&Arc<AtomicBool>, &Arc<AtomicU64>),
) -> JoinSet<Vec<(Digest, Vec<Role>)>> {
    let manifest = std::fs::read(scene.manifest()).expect("a manifest");
    let election = Election::from_bytes(&manifest).expect("complete");
    let connections = Connections::open(&election).expect("connections");
    let mut voters = JoinSet::new();
    for (v, (_, code)) in (0..VOTERS).zip(scene.invitations.clone()) {
        let (election, connections) = (election.clone(), connections.clone());
        let (stop, number) = (Arc::clone(stop), Arc::clone(number));
        voters.spawn(async move {
            let mut rng = StdRng::seed_from_u64(u64::from(v));
            let invitation = read_invitation(&[code.as_str()]).expect("an invitation");
            let device = Device::in_memory();
            let voter = Voter::new(&election, &connections, invitation, &device).expect("a voter");
            let choices = Choices::parse(voter.form(), ["Ben"]).expect("a choice");
            let mut cast = Vec::new();
            while !stop.load(Relaxed) {
                let mut ballot = voter.cast(&choices, &mut rng).await.expect("two are there");
                // The third one's acknowledgement, where it comes soon.
                let _ = tokio::time::timeout(Duration::from_millis(300), ballot.third()).await;
                cast.push((ballot.digest(), ballot.accepted()));
                number.fetch_add(1, Relaxed);
            }
            cast
        });
    }
    voters
}

async fn is_accepted(intake: &mut wire::intake_client::IntakeClient<Channel>, digest: Digest) -> bool {
    let asked = wire::LookupRequest {
        election: ELECTION.to_owned(),
        r#box: 1,
        digest: digest.as_bytes().to_vec(),
        record: false,
        holder: Vec::new(),
    };
    let found = intake.lookup(asked).await.expect("an answer").into_inner();
    found.accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_told_to_stop_under_load_says_so_answers_what_it_began_and_ends_in_time() {
    let _place = alone().await;
    let mut scene = Scene::behind(
        0,
        |_, listens| Ok(listens),
        |world| {
            let notice = NOTICE.as_secs().to_string();
            world.configure(0, "shutdown_notice_s", &notice).expect("set");
        },
    );
    let own = own(&scene, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let number = Arc::<AtomicU64>::default();
    let voters = cast_until(&scene, (&stop, &number));
    let (mut asking, mut asked) = (JoinSet::new(), Vec::new());
    for _ in 0..ASKING {
        let of_one = Arc::<Asked>::default();
        asking.spawn(ask(one_connection(&own).await, Arc::clone(&of_one)));
        asked.push(of_one);
    }
    let answered = |asked: &[Arc<Asked>]| asked.iter().map(|one| one.answered.load(Relaxed)).sum::<u64>();
    let mut health = HealthClient::new(one_connection(&own).await);
    let watched = HealthCheckRequest {
        service: "tally.v1.Intake".to_owned(),
    };
    let mut watch = health.watch(watched.clone()).await.expect("a watch").into_inner();
    let first = watch.message().await.expect("told").expect("told");
    assert_eq!(first.status(), ServingStatus::Serving);
    await_that("every connection is busy", async || {
        asked.iter().all(|one| one.answered.load(Relaxed) > 20)
    })
    .await;

    let server = scene.world.take_party(0).expect("it runs");
    let told = Instant::now();
    server.tell_to_stop().expect("told");
    let next = watch.message().await.expect("told").expect("told");
    assert_eq!(next.status(), ServingStatus::NotServing, "health goes first");
    let then = answered(&asked);
    assert!(
        told.elapsed() < NOTICE,
        "before anything else changes: {:?}",
        told.elapsed()
    );
    // In the notice it still answers, on these connections and on new ones.
    await_that("it answers on", async || answered(&asked) > then + ASKING as u64).await;
    let mut late = HealthClient::new(one_connection(&own).await);
    let status = late.check(watched).await.expect("answered").into_inner();
    assert_eq!(status.status(), ServingStatus::NotServing);
    let health = ["party", "health", "--config", "party-1/party.toml"];
    let said = scene
        .world
        .program
        .attempt(&scene.world.root, &health, "")
        .expect("it runs");
    assert_eq!(
        (said.status.code(), said.out.trim()),
        (Some(1), "not serving"),
        "{said:?}"
    );
    let ended = tokio::task::spawn_blocking(move || server.ended_within(BOUND));
    let ended = ended.await.expect("no panic").expect("it can be waited for");
    assert!(
        ended.is_some_and(|status| status.success()),
        "it ended in order and in time: {ended:?} after {:?}",
        told.elapsed()
    );
    println!("ended after {:?}", told.elapsed());
    assert!(
        watch.message().await.is_ok_and(|last| last.is_none()),
        "a watch ends with it"
    );
    while let Some(done) = asking.join_next().await {
        done.expect("no panic");
    }
    let cut: u64 = asked.iter().map(|one| one.cut.load(Relaxed)).sum();
    println!("{} questions were answered, {cut} cut off", answered(&asked));
    assert_eq!(cut, 0, "requests were cut off");
    let log = read(&scene.world.party_log(0));
    assert!(
        !log.contains("cutting them off"),
        "nothing was left when it ended"
    );
    assert_eq!(scene.journal(0).last().expect("a line")["event"], "party.stopped");

    let gone = scene
        .world
        .program
        .attempt(&scene.world.root, &health, "")
        .expect("it runs");
    assert_eq!(gone.status.code(), Some(1));
    assert!(gone.err.contains("nothing listens at its address"), "{gone:?}");
    for (more, i) in [(&[][..], 1), (&["--live"], 1)] {
        let config = format!("party-{}/party.toml", i + 1);
        let words = [&["party", "health", "--config", &config], more].concat();
        let said = scene.world.run(&words, "").expect("it serves");
        assert_eq!(said.trim(), "serving");
    }

    // Voting went on with two; what it had acknowledged it has after it is back.
    let before = number.load(Relaxed);
    await_that("two go on", async || {
        number.load(Relaxed) > before + u64::from(VOTERS)
    })
    .await;
    scene.world.start_party(0).expect("started again");
    scene.await_accepting(0).await;
    stop.store(true, Relaxed);
    let cast: Vec<_> = voters.join_all().await.into_iter().flatten().collect();
    let acknowledged: Vec<_> = cast.iter().filter(|(_, by)| by.contains(&Role::P1)).collect();
    assert!(
        acknowledged.len() > VOTERS as usize && acknowledged.len() < cast.len(),
        "{} of {} ballots by P1: it was there and it was away",
        acknowledged.len(),
        cast.len()
    );
    let dial = Dial {
        address: own.public_address(),
        anchor: own.anchor(),
        leaf: None,
    };
    let mut intake = connect::intake(dial.channel_with_timeout().expect("a channel"));
    for (digest, _) in &acknowledged {
        assert!(
            is_accepted(&mut intake, *digest).await,
            "an acknowledged ballot is lost"
        );
    }
    println!(
        "{} ballots, {} acknowledged by P1 and there",
        cast.len(),
        acknowledged.len()
    );
}
