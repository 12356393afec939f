//! Floods of the public listener at a real server: more connections than it bears, handshakes, headers and bodies that drip, more streams than it
//! takes, messages beyond all bounds, requests that are given up, and submissions without a good ticket; and a voter who votes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tally_party::store::{Kind, accepted};
use tally_proto::fixture::cards::{CardKey, CardShape, DAY, called};
use tally_proto::fixture::{OPENS, Shape};
use tally_proto::ids::{BoxId, Role, RoleExt as _, StationId, UnixSeconds};
use tally_proto::invitation::Credential;
use tally_proto::pki::{Leaf, PeerRole};
use tally_proto::reason::Reason;
use tally_proto::refusal::METADATA_KEY;
use tally_proto::wire;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http;

use crate::world::{Party, World, reason, word};

/// What must come about at all comes about within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A party with these lines in its `[public]` table.
async fn one(public: &str, tickets: bool) -> (World, Party) {
    let world = World::new(Shape {
        tickets,
        ..Shape::default()
    });
    world.configure(Role::P1, &format!("[public]\n{public}\n"));
    let party = world.start_in_force(Role::P1).await;
    (world, party)
}

async fn await_that(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until the server closes this connection.
async fn closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 256];
    let until_end = async { while matches!(stream.read(&mut buffer).await, Ok(1..)) {} };
    timeout(PATIENCE, until_end).await.expect("the server closes it");
}

async fn tcp(party: &Party) -> TcpStream {
    tcp_from("127.0.0.1", party.running.public_address()).await
}

/// Of another caller's, for one that is not 127.0.0.1.
async fn tcp_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let from = SocketAddr::new(from.parse().expect("an address"), 0);
    socket.bind(from).expect("bound");
    socket.connect(to).await.expect("the kernel takes it")
}

/// A connection whose TLS stands, for HTTP/2.
async fn tls(world: &World, party: &Party) -> TlsStream<TcpStream> {
    tls_over(world, party, tcp(party).await, None).await
}

async fn tls_over(world: &World, party: &Party, tcp: TcpStream, leaf: Option<&Leaf>) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = world.fixture.authorities[party.role.slot()].cert_pem();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate"))
        .expect("an anchor");
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    let mut config = match leaf {
        None => config.with_no_client_auth(),
        Some(leaf) => {
            let certificate = CertificateDer::from_pem_slice(leaf.cert_pem.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).expect("a key");
            let chain = vec![certificate.expect("a certificate")];
            config.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .expect("TLS")
}

/// An HTTP/2 client of our own, which does what no honest one does; `streams` it opens before the server has said how many it takes.
async fn http2(world: &World, party: &Party, streams: usize) -> SendRequest<Bytes> {
    http2_over(tls(world, party).await, streams).await.0
}

/// And what ends when the connection does.
async fn http2_over(
    tls: TlsStream<TcpStream>,
    streams: usize,
) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let (client, connection) = h2::client::Builder::new()
        .initial_max_send_streams(streams)
        .max_concurrent_reset_streams(1 << 16)
        .handshake::<_, Bytes>(tls)
        .await
        .expect("HTTP/2");
    (client, tokio::spawn(connection))
}

/// A client of the public listener with another address.
async fn from(world: &World, party: &Party, address: &str) -> SendRequest<Bytes> {
    let tcp = tcp_from(address, party.running.public_address()).await;
    http2_over(tls_over(world, party, tcp, None).await, 100).await.0
}

type Asked = (h2::client::ResponseFuture, h2::SendStream<Bytes>);

/// Requests of which the headers come and nothing else.
async fn headers_only(client: &mut SendRequest<Bytes>, count: usize) -> Vec<Asked> {
    let mut asked = Vec::new();
    for _ in 0..count {
        let mut ready = client.clone().ready().await.expect("ready");
        asked.push(ready.send_request(request("Submit"), false).expect("sent"));
    }
    asked
}

/// Sends a whole message; the answer is to be waited for.
async fn ask(
    client: &SendRequest<Bytes>,
    method: &str,
    message: &impl prost::Message,
) -> h2::client::ResponseFuture {
    let mut ready = client.clone().ready().await.expect("ready");
    let (answer, mut body) = ready.send_request(request(method), false).expect("sent");
    body.send_data(framed(message), true).expect("sent");
    answer
}

/// The reason of the refusal that answers it; `None` for a good answer.
async fn outcome(answer: h2::client::ResponseFuture) -> Option<Reason> {
    let answer = timeout(PATIENCE, answer)
        .await
        .expect("an answer")
        .expect("answered");
    assert_eq!(answer.status(), http::StatusCode::OK);
    reason_in(answer.headers())
}

fn request(method: &str) -> http::Request<()> {
    http::Request::post(format!("https://127.0.0.1/tally.v1.Intake/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request")
}

/// How HTTP/2 begins: the preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The frame that ends a stream at once.
const RST_STREAM: u8 = 3;

/// The header of a request on stream `id`, by hand: no library would open more streams than it may.
fn headers_frame(id: u8) -> Vec<u8> {
    let path = b"/tally.v1.Intake/Submit";
    // :method POST, :scheme https, and :path, :authority and content-type as literals.
    let mut block = vec![0x83, 0x87, 0x04, path.len() as u8];
    block.extend(path);
    block.extend(b"\x01\x09127.0.0.1\x0f\x10\x10application/grpc");
    let mut frame = vec![0, 0, block.len() as u8, 1, 4, 0, 0, 0, id];
    frame.extend(block);
    frame
}

/// The next frame: its kind, stream and payload.
async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> (u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.expect("a frame");
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await.expect("its payload");
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    (head[3], id, payload)
}

/// A message as gRPC frames it.
fn framed(message: &impl prost::Message) -> Bytes {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    [&[0][..], &length, &body].concat().into()
}

fn reason_in(headers: &http::HeaderMap) -> Option<Reason> {
    headers.get(METADATA_KEY)?.to_str().ok()?.parse().ok()
}

fn ballots(party: &Party) -> usize {
    let store = &party.running.party().store;
    let digests = store.read(|tx| accepted::digests(tx, Kind::Ballot, 1, 1));
    digests.expect("read").len()
}

/// An honest voter on a connection of their own.
async fn votes(world: &mut World, party: &Party) {
    let part = party.part(&world.ballot());
    let mut intake = party.intake();
    let submitted = timeout(PATIENCE, intake.submit(part)).await;
    submitted.expect("an answer").expect("accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_of_an_address_are_closed_and_the_others_served() {
    let (mut world, party) = one("max_connections_per_address = 6\nhandshake_s = 600", false).await;
    let mut voter = party.intake();
    voter.submit(party.part(&world.ballot())).await.expect("accepted");
    let mut held = Vec::new();
    while held.len() < 5 {
        held.push(tcp(&party).await);
        let due = held.len() + 1;
        await_that("counted", || party.running.public_connections() == due).await;
    }
    for _ in 0..50 {
        closed(&mut tcp(&party).await).await;
    }
    assert_eq!(party.running.public_connections(), 6);
    // Who was here votes on; and from another address one can come.
    voter.submit(party.part(&world.ballot())).await.expect("accepted");
    let other = tcp_from("127.0.0.2", party.running.public_address()).await;
    await_that("the other address", || party.running.public_connections() == 7).await;
    // Operators are told, and in the figures too.
    let status = party.running.party().status("").await.expect("status");
    let alarm = status
        .alarms
        .iter()
        .find(|alarm| alarm.code == "connections.refused")
        .expect("the alarm");
    assert!(
        alarm.detail.contains("50 by public.max_connections_per_address"),
        "{}",
        alarm.detail
    );
    assert!(!alarm.detail.contains("127.0.0"), "no address: {}", alarm.detail);
    drop((held, other));
    await_that("given back", || party.running.public_connections() == 1).await;
    votes(&mut world, &party).await;
    assert_eq!(ballots(&party), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_in_all_are_closed_also_before_the_peer_listener_knows_them() {
    let (mut world, party) = one("max_connections = 4\nhandshake_s = 600", false).await;
    let held = [tcp(&party).await, tcp(&party).await, tcp(&party).await];
    await_that("counted", || party.running.public_connections() == 3).await;
    votes(&mut world, &party).await;
    await_that("the voter left", || party.running.public_connections() == 3).await;
    let last = tcp(&party).await;
    await_that("full", || party.running.public_connections() == 4).await;
    closed(&mut tcp(&party).await).await;
    drop((held, last));
    // Strangers at the peer listener leave room for those who are known: a known caller does not count.
    let leaf = world.leaf_of(party.role, PeerRole::Coordinator);
    let mut known = Vec::new();
    for _ in 0..8 {
        let mut control = party.control(&leaf);
        control
            .status(wire::StatusRequest::default())
            .await
            .expect("served");
        known.push(control);
    }
    let peer = party.running.peer_address();
    let mut strangers = Vec::new();
    for _ in 0..4 {
        strangers.push(TcpStream::connect(peer).await.expect("the kernel takes it"));
    }
    let mut beyond = TcpStream::connect(peer).await.expect("the kernel takes it");
    closed(&mut beyond).await;
    for control in &mut known {
        control
            .status(wire::StatusRequest::default())
            .await
            .expect("served still");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_of_whoever_has_most_give_way_to_others() {
    let (mut world, party) = one("max_connections = 4\nhandshake_s = 600", false).await;
    // One address has all places, some with TLS and some without, and asks now and then.
    let mut held = vec![tcp(&party).await, tcp(&party).await];
    let asking = [http2(&world, &party, 10).await, http2(&world, &party, 10).await];
    await_that("full", || party.running.public_connections() == 4).await;
    closed(&mut tcp(&party).await).await;
    for client in &asking {
        let answer = ask(client, "Clock", &wire::ClockRequest {}).await;
        assert_eq!(outcome(answer).await, None);
    }
    let mut voters = Vec::new();
    for address in ["127.0.0.2", "127.0.0.3"] {
        let voter = from(&world, &party, address).await;
        let part = party.part(&world.ballot());
        assert_eq!(outcome(ask(&voter, "Submit", &part).await).await, None);
        // The oldest idle one has given way, as the voter stays.
        closed(&mut held.remove(0)).await;
        voters.push(voter);
    }
    drop(voters);
    await_that("the voters left", || party.running.public_connections() == 2).await;
    for client in &asking {
        let answer = ask(client, "Clock", &wire::ClockRequest {}).await;
        assert_eq!(outcome(answer).await, None);
    }
    assert_eq!(ballots(&party), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_messages_take_no_place_from_anybody() {
    let bounds = "max_requests = 32\nmax_requests_per_connection = 256\nmessage_s = 600\nidle_s = 600";
    let (mut world, party) = one(bounds, false).await;
    // One address sends the headers of ten times as many requests as there are places, over four connections.
    let mut flood = Vec::new();
    for _ in 0..4 {
        let mut client = http2(&world, &party, 256).await;
        let asked = headers_only(&mut client, 80).await;
        // Whatever was asked on a connection before this answer has been seen.
        let answer = ask(&client, "Clock", &wire::ClockRequest {}).await;
        assert_eq!(outcome(answer).await, None, "also on its own connection");
        flood.push((client, asked));
    }
    // Voters of other addresses and of this one are served at once.
    for address in ["127.0.0.2", "127.0.0.1", "127.0.0.3"] {
        let voter = from(&world, &party, address).await;
        for _ in 0..40 {
            let part = party.part(&world.ballot());
            assert_eq!(
                outcome(ask(&voter, "Submit", &part).await).await,
                None,
                "{address}"
            );
        }
    }
    assert_eq!(ballots(&party), 120);
    // Whatever has given way was told.
    let (answer, _body) = flood.remove(0).1.remove(0);
    assert_eq!(outcome(answer).await, Some(Reason::PartyBusy));
}

#[tokio::test(flavor = "multi_thread")]
async fn ballots_dated_ahead_keep_no_place_and_one_address_not_all_that_are_held() {
    // Of this world's parties two ballots may be held.
    let (mut world, party) = one("max_requests = 2\nmessage_s = 600", false).await;
    let ahead = world.clock_s() + 50;
    let held = || party.running.party().intake.held();
    let flood = http2(&world, &party, 100).await;
    let mut dated = Vec::new();
    for count in 1..=2 {
        let part = party.part(&world.ballot_at(ahead));
        dated.push(ask(&flood, "Submit", &part).await);
        await_that("held", || held() == count).await;
    }
    // Both places are free again: of this address and of others.
    for address in ["127.0.0.1", "127.0.0.2"] {
        let voter = from(&world, &party, address).await;
        let part = party.part(&world.ballot());
        assert_eq!(outcome(ask(&voter, "Submit", &part).await).await, None);
    }
    let part = party.part(&world.ballot_at(ahead));
    assert_eq!(
        outcome(ask(&flood, "Submit", &part).await).await,
        Some(Reason::PartyBusy)
    );
    // Whose clock is fast at another address is held all the same, at the cost of who has two.
    let voter = from(&world, &party, "127.0.0.2").await;
    let part = party.part(&world.ballot_at(ahead));
    let mut answer = Box::pin(outcome(ask(&voter, "Submit", &part).await));
    let newest = dated.pop().expect("two");
    tokio::select! {
        gave_way = outcome(newest) => assert_eq!(gave_way, Some(Reason::PartyBusy)),
        early = &mut answer => panic!("{early:?}"),
    }
    assert_eq!(held(), 2);
    world.clock.set((ahead + 1) * 1000);
    assert_eq!(answer.await, None);
    assert_eq!(outcome(dated.remove(0)).await, None);
    assert_eq!(ballots(&party), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_certificate_has_so_many_connections_and_its_share_of_places() {
    // Nothing else of this may end by the time that it takes on a machine that does much else.
    let bounds = "max_requests = 32\nmessage_s = 5\nidle_s = 600\nhandshake_s = 600";
    let (mut world, party) = one(bounds, false).await;
    let stations = [1, 2].map(|id| world.leaf_of(party.role, PeerRole::Station(StationId(id))));
    let peer = party.running.peer_address();
    let connect = async |leaf: &Leaf| {
        let tcp = tcp_from("127.0.0.1", peer).await;
        let (client, end) = http2_over(tls_over(&world, &party, tcp, Some(leaf)).await, 1000).await;
        let answer = ask(&client, "Clock", &wire::ClockRequest {}).await;
        assert_eq!(outcome(answer).await, None);
        (client, end)
    };
    let other = connect(&stations[1]).await;
    let mut flood = Vec::new();
    for _ in 0..32 {
        flood.push(connect(&stations[0]).await);
    }
    assert!(flood.iter().all(|(_, end)| !end.is_finished()));
    // From now on one of its own that idle is closed for each new one. Which one idles longest is told by when its answer was sent, in whatever order
    // the scheduler did that.
    for _ in 0..3 {
        flood.push(connect(&stations[0]).await);
        let closed = timeout(PATIENCE, async {
            loop {
                if let Some(at) = flood.iter().position(|(_, end)| end.is_finished()) {
                    break at;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let closed = closed.await.expect("one is closed");
        assert!(closed < 32, "not the new one");
        drop(flood.remove(closed));
        assert_eq!(flood.len(), 32);
        assert!(flood.iter().all(|(_, end)| !end.is_finished()), "only one");
    }
    assert!(!other.1.is_finished(), "nobody else's");
    let status = party.running.party().status("").await.expect("status");
    assert!(
        status
            .alarms
            .iter()
            .all(|alarm| alarm.code != "connections.refused"),
        "three are no flood"
    );
    for _ in 0..8 {
        flood.push(connect(&stations[0]).await);
    }
    let status = party.running.party().status("").await.expect("status");
    let alarm = status
        .alarms
        .iter()
        .find(|alarm| alarm.code == "connections.refused");
    let detail = &alarm.expect("the alarm").detail;
    assert!(detail.contains("station:1 (11)"), "{detail}");
    // Headers without messages: the other station and the commission are served, and the flood's end in time.
    let (client, _) = flood.last_mut().expect("some");
    let mut asked = headers_only(client, 200).await;
    let answer = ask(client, "Clock", &wire::ClockRequest {}).await;
    assert_eq!(outcome(answer).await, None);
    let part = party.part(&world.station_ballot(2, 1, world.clock_s()));
    assert_eq!(outcome(ask(&other.0, "Submit", &part).await).await, None);
    let mut control = party.control(&world.leaf_of(party.role, PeerRole::Coordinator));
    control
        .status(wire::StatusRequest::default())
        .await
        .expect("served");
    // Which of them the bound put out is the scheduler's choice; those it left are put out by the clock.
    let mut by_the_clock = 0;
    for (answer, _body) in asked.drain(..) {
        match outcome(answer).await {
            Some(Reason::MessageTooSlow) => by_the_clock += 1,
            other => assert_eq!(other, Some(Reason::PartyBusy)),
        }
    }
    assert!(by_the_clock > 0);
    votes(&mut world, &party).await;
    assert_eq!(ballots(&party), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_slow_handshakes_slow_headers_and_silent_connections_are_closed_while_voters_vote() {
    let bounds = "max_connections_per_address = 1000\nhandshake_s = 10\nidle_s = 3";
    let (mut world, party) = one(bounds, false).await;
    // Some never say anything, some drip what could be the start of a TLS handshake.
    let mut dripping = tokio::task::JoinSet::new();
    for i in 0..300u32 {
        let mut stream = tcp(&party).await;
        dripping.spawn(async move {
            let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
            if i % 2 == 0 {
                for byte in hello {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            closed(&mut stream).await;
        });
    }
    await_that("all are there", || party.running.public_connections() >= 300).await;
    // Some finish the handshake and drip the header of a request without end.
    for _ in 0..10 {
        let mut stream = tls(&world, &party).await;
        dripping.spawn(async move {
            let mut drip = PREFACE.to_vec();
            // HEADERS of 4000 bytes on stream 1, of which never all come.
            drip.extend([0x00, 0x0f, 0xa0, 0x01, 0x04, 0, 0, 0, 1]);
            while stream.write_all(&drip).await.is_ok() && stream.flush().await.is_ok() {
                drip = vec![0x40];
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    // And some ask once and then stay, with HTTP/2's own pings.
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut intake = party.intake();
        intake.clock(wire::ClockRequest {}).await.expect("answered");
        silent.push(intake);
    }
    let mut voter = party.intake();
    for cast in 0..20 {
        let submitted = voter.submit(party.part(&world.ballot()));
        let receipt = timeout(PATIENCE, submitted).await.expect("an answer");
        receipt.unwrap_or_else(|status| panic!("ballot {cast}: {status}"));
    }
    let all = async { while dripping.join_next().await.is_some() {} };
    timeout(PATIENCE, all)
        .await
        .expect("a connection that drips is closed");
    // The silent ones go too, and the voter's, as nothing is under way on it.
    await_that("all are gone", || party.running.public_connections() == 0).await;
    // The device may not have heard yet that its connection is closed; then it tries again.
    let last = party.part(&world.ballot());
    if voter.submit(last.clone()).await.is_err() {
        voter.submit(last).await.expect("over a new connection");
    }
    assert_eq!(ballots(&party), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_is_refused_by_name_and_one_beyond_the_bound_too() {
    let (mut world, party) = one("message_s = 5", false).await;
    let good = framed(&party.part(&world.ballot()));
    let mut client = http2(&world, &party, 100).await;
    let mut dripping = Vec::new();
    for _ in 0..50 {
        let mut ready = client.ready().await.expect("ready");
        let (answer, mut body) = ready.send_request(request("Submit"), false).expect("sent");
        body.send_data(good.slice(..100), false).expect("sent");
        client = ready;
        dripping.push((answer, body));
    }
    votes(&mut world, &party).await;
    for (answer, _body) in dripping {
        let answer = timeout(PATIENCE, answer)
            .await
            .expect("an answer")
            .expect("answered");
        assert_eq!(reason_in(answer.headers()), Some(Reason::MessageTooSlow));
    }
    // The same connection is good for whole messages.
    let (answer, mut body) = client.send_request(request("Submit"), false).expect("sent");
    body.send_data(good, true).expect("sent");
    let answer = timeout(PATIENCE, answer)
        .await
        .expect("an answer")
        .expect("answered");
    assert_eq!(reason_in(answer.headers()), None);
    assert_eq!(ballots(&party), 2);
    // A message that says it is a gigabyte, and one that is too large and comes.
    let claims = Bytes::from_static(&[0, 0x40, 0, 0, 0]);
    let comes = framed(&wire::Submission {
        ciphertext: vec![7; 40_000].into(),
        ..Default::default()
    });
    for beyond in [claims, comes] {
        let (answer, mut body) = client.send_request(request("Submit"), false).expect("sent");
        body.send_data(beyond, false).expect("sent");
        let answer = timeout(PATIENCE, answer)
            .await
            .expect("an answer")
            .expect("answered");
        assert_eq!(reason_in(answer.headers()), Some(Reason::MessageTooLarge));
    }
    votes(&mut world, &party).await;
    assert_eq!(ballots(&party), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_bound_are_refused_and_headers_beyond_it_too() {
    let bounds = "max_requests_per_connection = 10\nmessage_s = 600\nidle_s = 600";
    let (mut world, party) = one(bounds, false).await;
    // Sixty requests on one connection, none of which has its body yet.
    let mut stream = tls(&world, &party).await;
    let mut sent = PREFACE.to_vec();
    for id in (1..120).step_by(2) {
        sent.extend(headers_frame(id));
    }
    stream.write_all(&sent).await.expect("sent");
    stream.flush().await.expect("sent");
    let mut refused = Vec::new();
    while refused.len() < 50 {
        let (kind, id, payload) = timeout(PATIENCE, frame(&mut stream)).await.expect("an answer");
        if kind == RST_STREAM {
            assert_eq!(payload, [0, 0, 0, 7], "REFUSED_STREAM");
            refused.push(id);
        }
    }
    assert_eq!(refused.first(), Some(&21), "the first ten are taken");
    votes(&mut world, &party).await;
    let mut client = http2(&world, &party, 10).await;
    let mut long = request("Clock");
    let text = "x".repeat(10_000).parse().expect("a value");
    long.headers_mut().insert("x-long", text);
    let (answer, _) = client.send_request(long, true).expect("sent");
    match timeout(PATIENCE, answer).await.expect("an answer") {
        Ok(answer) => assert_eq!(answer.status(), http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        Err(error) => assert!(error.is_reset() || error.is_remote(), "{error}"),
    }
    votes(&mut world, &party).await;
    assert_eq!(ballots(&party), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_gives_up_its_requests_is_closed_and_one_that_gives_up_some_is_not() {
    let (mut world, party) = one("max_given_up = 50\nmessage_s = 600", false).await;
    let honest = party.intake();
    let mut client = http2(&world, &party, 100).await;
    let begun = async {
        for _ in 0..100_000u32 {
            let Ok(mut ready) = client.ready().await else {
                return;
            };
            let Ok((answer, mut body)) = ready.send_request(request("Submit"), false) else {
                return;
            };
            // Under way at the server, then given up.
            let _ = body.send_data(Bytes::from_static(&[0, 0, 0]), false);
            tokio::task::yield_now().await;
            body.send_reset(h2::Reason::CANCEL);
            drop(answer);
            client = ready;
        }
        panic!("a hundred thousand resets on one connection");
    };
    timeout(PATIENCE, begun).await.expect("the connection ends");
    // Impatient voters behind a relay give some up, and are answered more.
    for _ in 0..120 {
        let mut voter = honest.clone();
        let part = party.part(&world.ballot());
        let submitted = tokio::spawn(async move { voter.submit(part).await });
        tokio::task::yield_now().await;
        submitted.abort();
        honest
            .clone()
            .clock(wire::ClockRequest {})
            .await
            .expect("answered");
    }
    votes(&mut world, &party).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_without_good_tickets_leaves_nothing_and_voters_vote() {
    let (mut world, party) = one("", true).await;
    let good: Vec<_> = (0..12).map(|_| party.part(&world.ballot())).collect();
    // With a ticket that nobody spends meanwhile.
    let unused = party.part(&world.ballot());
    let bare = {
        let mut part = unused.clone();
        part.header.as_mut().expect("a header").authority = None;
        (part.authority_signature, part.ciphertext_hashes) = (Vec::new(), Vec::new());
        part
    };
    let flood = |template: wire::Submission, due: Reason, count: u32| {
        let mut intake = party.intake();
        async move {
            for i in 0..count {
                let mut part = template.clone();
                let header = part.header.as_mut().expect("a header");
                // Another ballot each time; with a ticket, one that nobody signed.
                header.c1[..4].copy_from_slice(&i.to_be_bytes());
                if let Some(wire::ballot_header::Authority::Ticket(ticket)) = &mut header.authority {
                    ticket.signature[8..12].copy_from_slice(&i.to_be_bytes());
                }
                assert_eq!(reason(intake.submit(part).await), due);
            }
        }
    };
    let before = party.disk.operations();
    let mut floods = tokio::task::JoinSet::new();
    for _ in 0..8 {
        floods.spawn(flood(bare.clone(), Reason::TicketMissing, 200));
        floods.spawn(flood(unused.clone(), Reason::TicketBad, 200));
    }
    while let Some(flood) = floods.join_next().await {
        flood.expect("each refused by name");
    }
    assert_eq!(party.disk.operations(), before, "a flood alone writes nothing");
    for _ in 0..8 {
        floods.spawn(flood(bare.clone(), Reason::TicketMissing, 200));
        floods.spawn(flood(unused.clone(), Reason::TicketBad, 200));
    }
    let mut voter = party.intake();
    for part in &good {
        let answered = timeout(PATIENCE, voter.submit(part.clone()))
            .await
            .expect("an answer");
        answered.expect("an honest voter is served");
    }
    while let Some(flood) = floods.join_next().await {
        flood.expect("each refused by name");
    }
    assert_eq!(ballots(&party), good.len(), "nothing but the voters' ballots");
}

/// What else anybody may ask for: what costs the party a signature, an opening of its vault, a long answer, or a chain of certificates.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_everything_else_leaves_nothing_and_voters_vote() {
    let mut world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    world.write_revocations(Role::P1, &[], OPENS - DAY, OPENS + DAY);
    let party = world.start_in_force(Role::P1).await;
    let known = world.ballot();
    let receipt = party.intake().submit(party.part(&known)).await.expect("accepted");
    let receipt = receipt.into_inner();
    let digest = known[0].digest();
    let election = world.fixture.manifest.manifest().election().as_str().to_owned();
    // Right in everything but the signature of the other party, and of a batch of its receipts; and of the card.
    let good = world
        .fixture
        .receipt_at(Role::P2, BoxId(1), digest, UnixSeconds(world.clock_s()))
        .to_wire();
    let shape = CardShape::of(&called(1, 0), CardKey::Rsa2048, OPENS);
    let card = world.fixture.cards.as_mut().expect("cards").card(&shape);
    let at = UnixSeconds(world.clock_s());
    let enrolment = world.fixture.card_record(&card, at, &Credential::new(7))[0].to_wire();
    let holder = word(&party, &digest).expect("accepted");
    let flood = |salt: u8| {
        let (mut intake, mut registration) = (party.intake(), party.enrolment());
        let (good, enrolment, election) = (good.clone(), enrolment.clone(), election.clone());
        let holder = holder.clone();
        async move {
            let of_election = || wire::ElectionRef {
                election: election.clone(),
            };
            for i in 0..40u8 {
                let mut shown = holder.clone();
                shown[usize::from(i) % holder.len()] ^= salt;
                let asked = wire::LookupRequest {
                    election: election.clone(),
                    r#box: 1,
                    digest: digest.as_bytes().to_vec(),
                    record: false,
                    holder: shown,
                };
                let told = intake.lookup(asked).await.expect("answered").into_inner();
                assert!(
                    told.accepted && told.receipt.is_none(),
                    "not to somebody who guesses"
                );
                intake.checkpoint(of_election()).await.expect("answered");
                intake.manifest(of_election()).await.expect("answered");
                let mut forged = good.clone();
                forged.digest[0] ^= salt;
                forged.digest[1] = i;
                assert_eq!(
                    reason(intake.deliver(forged.clone()).await),
                    Reason::ReceiptInvalid
                );
                // As one of a batch of two.
                forged.signature.extend([i; 34]);
                let refused = reason(intake.deliver(forged).await);
                let due = [Reason::ReceiptInvalid, Reason::MessageMalformed];
                assert!(due.contains(&refused), "{refused}");
                let mut forged = enrolment.clone();
                let last = forged.authorisation.len() - 1;
                forged.authorisation[last] ^= salt;
                assert_eq!(reason(registration.enrol(forged).await), Reason::CardSignature);
            }
        }
    };
    let before = (party.disk.operations(), party.disk.bytes());
    let mut floods = tokio::task::JoinSet::new();
    for salt in 1..=4 {
        floods.spawn(flood(salt));
    }
    while let Some(flood) = floods.join_next().await {
        flood.expect("each answered or refused by name");
    }
    let after = (party.disk.operations(), party.disk.bytes());
    assert_eq!(after, before, "a flood alone writes nothing");
    for salt in 5..=8 {
        floods.spawn(flood(salt));
    }
    let mut voter = party.intake();
    for _ in 0..12 {
        let part = party.part(&world.ballot());
        let answered = timeout(PATIENCE, voter.submit(part)).await.expect("an answer");
        answered.expect("an honest voter is served");
    }
    while let Some(flood) = floods.join_next().await {
        flood.expect("each answered or refused by name");
    }
    assert_eq!(ballots(&party), 13, "nothing but the voters' ballots");
    // What was forged stands in nobody's way.
    party.intake().deliver(good).await.expect("stored");
    party.enrolment().enrol(enrolment).await.expect("taken");
    let again = party.intake().submit(party.part(&known)).await.expect("known");
    assert_eq!(again.into_inner(), receipt);
}
