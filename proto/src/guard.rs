//! What keeps a listener open to voters while somebody floods it.
//!
//! ```text
//! connection --in all, per address--> TLS within `handshake` --> place in all, message within `message` --> answer
//!              |                        closed after `idle` without a request, and for giving up more requests than it lets be answered
//!              `-- all taken: the longest idle of the network with most gives way
//! ```
//!
//! - A connection beyond the bounds is closed before a byte is read: the caller sees an unreachable server and tries again. An IPv6 /64
//!   counts as one address, as one subscriber has at least that many. At the bound in all a newcomer takes the place of the longest idle connection of the
//!   network with most, if that has more than the newcomer's; a network is an IPv4 address or an IPv6 /48, as one customer may have that many.
//! - A connection on which no request is under way, and has not been for `idle`, is closed. Only whole request headers count: bytes that
//!   drip in, pings and half-open handshakes do not keep a connection.
//! - Requests have so many places in all ([`places`]), which networks share: whoever has most gives way, first with a request whose message is not
//!   there. Nobody else is answered `party.busy`. A message that does not arrive in time is refused as `message.too-slow`.
//! - Requests that are given up at once (HTTP/2 stream resets) cost a server more than a client. Who gives up many more than it lets be
//!   answered loses the connection.
//!
//! At a listener with mutual TLS a connection counts as a stranger's until its first request shows a certificate that stands for somebody. From then on it
//! counts by that name, whatever address it comes from: so many connections for one name, of which the longest idle gives way, and an equal share of the
//! places. A stolen certificate can therefore keep out its owner's requests at most, not anybody else's.
//!
//! Nothing here looks into a message, and no address is kept longer than its connection.

mod connection;
pub mod places;
mod registry;
mod request;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use connection::{Guarded, OnConnection};
use futures::{Stream, StreamExt as _};
use places::Places;
use registry::Registry;
use request::KeepsTime;
pub use request::{Seat, Watched};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Request;
use tonic::transport::server::{Connected, ServerTlsConfig, TcpConnectInfo, TlsConnectInfo};

use crate::connect::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};

/// HTTP/2 window of a stream of a voter: many times a ballot.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// HTTP/2 window of a connection of a voter or a relay: what a connection can make the server remember.
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// Headers of one request of a voter, which has a dozen short ones.
const HEADER_BYTES: u32 = 8 << 10;

/// Pause after a connection could not be accepted: the process has as many open files as it may, and asking again at once does not change that.
const PAUSE: Duration = Duration::from_millis(50);
/// Callers by name of whom is remembered that they were turned away.
const NAMED: usize = 64;
/// Methods whose requests are streams.
const STREAMS: [&str; 3] = [
    "/tally.v1.Control/Publish",
    "/tally.v1.Peer/Session",
    "/tally.v1.Registration/Register",
];

/// What a listener bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address.
    pub connections_per_address: usize,
    /// Requests under way in all.
    pub requests: usize,
    /// Requests under way on one connection.
    pub requests_per_connection: u32,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// Without a request under way.
    pub idle: Duration,
    /// For a request's message to arrive.
    pub message: Duration,
    /// Requests that a connection may give up before each further one must be made good by an answered one.
    pub given_up: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_address: 512,
            requests: 4096,
            requests_per_connection: 256,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            message: Duration::from_secs(10),
            given_up: 256,
        }
    }
}

impl Limits {
    /// A server with these bounds.
    ///
    /// # Errors
    /// TLS settings that cannot be used.
    pub fn server(&self, tls: ServerTlsConfig) -> Result<tonic::transport::Server, tonic::transport::Error> {
        Ok(tonic::transport::Server::builder()
            .tls_config(tls.timeout(self.handshake))?
            .max_concurrent_streams(self.requests_per_connection)
            .http2_max_header_list_size(HEADER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT)))
    }
}

/// Why a guard turned something away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Turned {
    /// A connection, by the bound in all.
    Connections,
    /// A connection, by the bound of its address.
    Address,
    /// A request, by the bound in all.
    Requests,
    /// A request, as its message did not arrive.
    Message,
    /// A connection, as nothing was asked on it.
    Idle,
    /// A connection, as it gave up its requests.
    GivenUp,
    /// A connection or request that had a place, as somebody with fewer came.
    GaveWay,
    /// A connection, by the bound of whoever the certificate names.
    Caller,
    /// A connection that the system did not give: too many files are open.
    NotAccepted,
}

impl Turned {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Connections,
        Self::Address,
        Self::Requests,
        Self::Message,
        Self::Idle,
        Self::GivenUp,
        Self::GaveWay,
        Self::Caller,
        Self::NotAccepted,
    ];

    /// The word for figures.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Address => "connections-of-address",
            Self::Requests => "requests",
            Self::Message => "slow-message",
            Self::Idle => "idle",
            Self::GivenUp => "given-up",
            Self::GaveWay => "gave-way",
            Self::Caller => "connections-of-caller",
            Self::NotAccepted => "not-accepted",
        }
    }
}

/// Who calls, by a certificate that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its role, with number or name.
    pub name: Arc<str>,
    /// Most connections that it may have.
    pub connections: usize,
}

/// With whom a request shares places.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sharer {
    /// Whoever a certificate names.
    Caller(Arc<str>),
    /// Whoever comes from there.
    Network(IpAddr),
    /// Whoever is not on a connection that was admitted here.
    Nobody,
}

/// Tells who a certificate stands for, if it stands for anybody.
type Name = Box<dyn Fn(&CertificateDer<'_>) -> Option<Caller> + Send + Sync>;

/// Counts connections and requests of a listener. Shared by all of them.
pub struct Guard {
    limits: Limits,
    registry: Registry,
    places: Arc<Places<Sharer>>,
    name: Option<Name>,
    turned: [AtomicU64; Turned::ALL.len()],
    callers: Mutex<BTreeMap<Arc<str>, u64>>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Guard({} open, {} under way)",
            self.open(),
            self.places.count()
        )
    }
}

/// One subscriber: an IPv4 address, or the /64 of an IPv6 address.
pub fn subscriber(address: IpAddr) -> IpAddr {
    leading(address, 64)
}

/// One network, whose subscribers may all be one customer: an IPv4 address, or the /48 of an IPv6 address.
pub fn network(address: IpAddr) -> IpAddr {
    leading(address, 48)
}

fn leading(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let rest = 128 - bits;
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> rest << rest))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The certificate that came with a request to a guarded listener, or to one of tonic's own.
pub fn certificate<T>(request: &Request<T>) -> Option<CertificateDer<'static>> {
    let guarded = request.extensions().get::<TlsConnectInfo<OnConnection>>();
    let certificates = match guarded {
        Some(connection) => connection.peer_certs(),
        None => request.peer_certs(),
    };
    certificates?.first().cloned()
}

impl Guard {
    /// With these bounds.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self::with(limits, None))
    }

    /// With these bounds, of a listener whose callers have certificates; `name` tells whose.
    pub fn naming(
        limits: Limits,
        name: impl Fn(&CertificateDer<'_>) -> Option<Caller> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::with(limits, Some(Box::new(name))))
    }

    fn with(limits: Limits, name: Option<Name>) -> Self {
        Self {
            limits,
            registry: Registry::default(),
            places: Places::new(limits.requests),
            name,
            turned: Default::default(),
            callers: Mutex::default(),
        }
    }

    /// Connections of callers that are not known by name.
    pub fn open(&self) -> usize {
        self.registry.strangers()
    }

    /// How often something was turned away for this since the start.
    pub fn turned(&self, why: Turned) -> u64 {
        self.turned[why as usize].load(Ordering::Relaxed)
    }

    fn turn(&self, why: Turned) {
        self.turned[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Callers that had more connections than they may, and how often.
    pub fn callers_turned(&self) -> Vec<(Arc<str>, u64)> {
        let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers
            .iter()
            .map(|(name, count)| (Arc::clone(name), *count))
            .collect()
    }

    fn turn_caller(&self, name: &Arc<str>) {
        self.turn(Turned::Caller);
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() < NAMED || callers.contains_key(name) {
            *callers.entry(Arc::clone(name)).or_default() += 1;
        }
    }

    /// With whom a request on this connection shares; `None` if its caller has too many connections.
    fn sharer(&self, connection: Option<&TlsConnectInfo<OnConnection>>) -> Option<Sharer> {
        let Some(connection) = connection else {
            return Some(Sharer::Nobody);
        };
        let of = connection.get_ref();
        let Some(name) = &self.name else {
            return Some(Sharer::Network(of.network()));
        };
        let caller = match of.caller.get() {
            Some(caller) => caller.clone(),
            None => {
                let certificates = connection.peer_certs();
                let first = certificates
                    .as_ref()
                    .and_then(|certificates| certificates.first());
                let caller = first.and_then(name);
                if caller.as_ref().is_some_and(|caller| !of.pass.is_of(caller)) {
                    return None;
                }
                // Another request of the same connection may have been first, with the same.
                let _ = of.caller.set(caller.clone());
                caller
            }
        };
        Some(match caller {
            Some(caller) => Sharer::Caller(caller.name),
            None => Sharer::Network(of.network()),
        })
    }

    fn keeps_time_of(&self, path: &str) -> KeepsTime {
        match &self.name {
            None => KeepsTime::Whole,
            Some(_) if STREAMS.contains(&path) => KeepsTime::Not,
            Some(_) => KeepsTime::Parts,
        }
    }

    /// Admits connections, or closes them at once. After one that could not be accepted there is a pause.
    pub fn admitted<S>(
        self: Arc<Self>,
        incoming: impl Stream<Item = io::Result<S>> + Send + 'static,
    ) -> impl Stream<Item = io::Result<Guarded<S>>> + Send + 'static
    where
        S: AsyncRead + AsyncWrite + Connected<ConnectInfo = TcpConnectInfo> + Send + 'static,
    {
        incoming.filter_map(move |stream| {
            let admitted = stream.map(|stream| {
                let address = stream.connect_info().remote_addr()?.ip();
                match Registry::admit(&self, address) {
                    Ok((pass, gives_way)) => Some(Guarded::new(stream, pass, gives_way)),
                    Err(why) => {
                        self.turn(why);
                        None
                    }
                }
            });
            if admitted.as_ref().is_err_and(|error| !is_callers(error)) {
                self.turn(Turned::NotAccepted);
            }
            async move {
                if admitted.as_ref().is_err_and(|error| !is_callers(error)) {
                    tokio::time::sleep(PAUSE).await;
                }
                admitted.transpose()
            }
        })
    }

    /// The same service behind this guard.
    pub fn watch<S>(self: &Arc<Self>, service: S) -> Watched<S> {
        Watched::new(service, Arc::clone(self))
    }
}

/// Whether a connection ended before it was accepted: the next one may be good.
fn is_callers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    type Admitted = (registry::Pass, tokio::sync::oneshot::Receiver<()>);

    fn admit(guard: &Arc<Guard>, address: &str) -> Option<Admitted> {
        let address = address.parse().expect("an address");
        Registry::admit(guard, address)
            .map_err(|why| guard.turn(why))
            .ok()
    }

    fn gave_way((_, ends): &mut Admitted) -> bool {
        ends.try_recv().is_ok()
    }

    #[test]
    fn connections_are_counted_by_address_and_in_all_and_given_back() {
        let guard = Guard::new(Limits {
            connections: 4,
            connections_per_address: 2,
            ..Limits::default()
        });
        // The same address in two spellings, and one network of a subscriber.
        let held = [admit(&guard, "192.0.2.7"), admit(&guard, "::ffff:192.0.2.7")];
        assert!(held.iter().all(Option::is_some));
        assert!(admit(&guard, "192.0.2.7").is_none());
        let network = [
            admit(&guard, "2001:db8::1"),
            admit(&guard, "2001:db8::ffff:0:0:1"),
        ];
        assert!(network.iter().all(Option::is_some));
        assert!(admit(&guard, "2001:db8::2").is_none(), "the same /64");
        assert!(
            admit(&guard, "2001:db8:0:1::1").is_none(),
            "the next /64 of the same customer"
        );
        assert_eq!(
            (guard.turned(Turned::Address), guard.turned(Turned::Connections)),
            (2, 1)
        );
        assert_eq!(guard.open(), 4);
        drop(held);
        assert_eq!(guard.open(), 2);
        let other = admit(&guard, "2001:db8:0:1::1");
        assert!(other.is_some(), "while there is room");
        drop((network, other));
        assert!(guard.registry.is_empty(), "no address is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_bound_the_longest_idle_of_the_network_with_most_gives_way() {
        let guard = Guard::new(Limits {
            connections: 5,
            ..Limits::default()
        });
        let mut flood = Vec::new();
        // One customer with as many /64s as connections.
        for i in 0..4 {
            flood.extend(admit(&guard, &format!("2001:db8:0:{i}::1")));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let mut voter = admit(&guard, "192.0.2.7").expect("room");
        // A message is there on the oldest, a header on the next; that alone keeps no place.
        flood[0].0.activity.begin_work();
        let mut next = admit(&guard, "192.0.2.8").expect("at the flood's cost");
        let gone: Vec<bool> = flood.iter_mut().map(gave_way).collect();
        assert_eq!(gone, [false, true, false, false]);
        let mut third = admit(&guard, "192.0.2.9").expect("at the flood's cost");
        assert!(gave_way(&mut flood[2]));
        assert_eq!((guard.open(), guard.turned(Turned::GaveWay)), (5, 2));
        // The flood gets nothing back, as nobody has more.
        assert!(admit(&guard, "2001:db8:0:9::1").is_none());
        assert!(![&mut voter, &mut next, &mut third].into_iter().any(gave_way));
        drop((flood, voter, next, third));
        assert!(guard.registry.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_has_so_many_connections_and_its_own_longest_idle_gives_way() {
        let guard = Guard::new(Limits {
            connections: 2,
            ..Limits::default()
        });
        let station = Caller {
            name: "station:7".into(),
            connections: 2,
        };
        let other = Caller {
            name: "station:8".into(),
            connections: 2,
        };
        let mut known = Vec::new();
        for of in [&other, &station, &station] {
            let connection = admit(&guard, "192.0.2.7").expect("strangers leave room");
            assert!(connection.0.is_of(of));
            assert!(connection.0.is_of(of), "told twice is once");
            known.push(connection);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(guard.open(), 0, "none is a stranger's");
        known[1].0.activity.begin_work();
        let third = admit(&guard, "192.0.2.7").expect("room");
        assert!(third.0.is_of(&station));
        let gone: Vec<bool> = known.iter_mut().map(gave_way).collect();
        assert_eq!(gone, [false, false, true], "its own that idles, not another's");
        // With all of them at work there is no room.
        third.0.activity.begin_work();
        let fourth = admit(&guard, "192.0.2.7").expect("room");
        assert!(!fourth.0.is_of(&station));
        assert_eq!(guard.callers_turned(), [(Arc::from("station:7"), 2)]);
        drop((known, third, fourth));
        assert!(guard.registry.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_connection_that_cannot_be_accepted_there_is_a_pause() {
        let guard = Guard::new(Limits::default());
        let begun = tokio::time::Instant::now();
        let errors = [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::Other,
            io::ErrorKind::Other,
        ];
        let errors = errors.map(|kind| Err::<tokio::net::TcpStream, _>(io::Error::from(kind)));
        let admitted: Vec<_> = Arc::clone(&guard)
            .admitted(futures::stream::iter(errors))
            .collect()
            .await;
        assert!(admitted.len() == 3 && admitted.iter().all(Result::is_err));
        assert!(begun.elapsed() >= 2 * PAUSE && begun.elapsed() < 3 * PAUSE);
        assert_eq!(guard.turned(Turned::NotAccepted), 2);
    }

    #[test]
    fn the_methods_whose_requests_are_streams_are_those_of_the_services() {
        let services = [
            ("Control", include_str!("../proto/tally/v1/control.proto")),
            ("Peer", include_str!("../proto/tally/v1/peer.proto")),
            ("Registration", include_str!("../proto/tally/v1/intake.proto")),
        ];
        let found: Vec<String> = services
            .into_iter()
            .flat_map(|(service, text)| {
                let methods = text.lines().filter_map(|line| line.trim().strip_prefix("rpc "));
                methods
                    .filter_map(|rpc| rpc.split_once("(stream ").map(|(name, _)| name))
                    .filter(|name| !name.contains('('))
                    .map(move |name| format!("/tally.v1.{service}/{name}"))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(found, STREAMS);
    }

    #[test]
    fn every_turn_has_its_own_place_and_word() {
        for (place, why) in Turned::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place);
        }
        let words: std::collections::HashSet<_> = Turned::ALL.map(Turned::word).into();
        assert_eq!(words.len(), Turned::ALL.len());
    }
}
