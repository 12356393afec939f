//! What keeps a listener that anybody can reach open to voters while somebody floods it.
//!
//! ```text
//! connection --in all, per address--> TLS within `handshake` --> requests in all, message within `message` --> answer
//!                                       closed after `idle` without a request, and for giving up more requests than it lets be answered
//! ```
//!
//! - A connection beyond the bounds is closed before a byte is read: the caller sees an unreachable server and tries again. An IPv6 /64
//!   counts as one address, as one subscriber has at least that many.
//! - A connection on which no request is under way, and has not been for `idle`, is closed. Only whole request headers count: bytes that
//!   drip in, pings and half-open handshakes do not keep a connection.
//! - A request beyond the bound in all is answered `party.busy`; one whose message does not arrive in time, `message.too-slow`.
//! - Requests that are given up at once (HTTP/2 stream resets) cost a server more than a client. Who gives up many more than it lets be
//!   answered loses the connection.
//!
//! A listener with mutual TLS is bounded only until it knows the caller: [`Guard::until_known`].
//!
//! Nothing here looks into a message, and no address is kept longer than its connection.

mod connection;
mod request;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use connection::{Guarded, OnConnection, Unknown};
use futures::{Stream, StreamExt as _};
pub use request::Watched;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tonic::transport::server::{Connected, ServerTlsConfig, TcpConnectInfo};

use crate::connect::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};

/// HTTP/2 window of a stream of a voter: many times a ballot.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// HTTP/2 window of a connection of a voter or a relay: what a connection can make the server remember.
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// Headers of one request of a voter, which has a dozen short ones.
const HEADER_BYTES: u32 = 8 << 10;

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
}

impl Turned {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Connections,
        Self::Address,
        Self::Requests,
        Self::Message,
        Self::Idle,
        Self::GivenUp,
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
        }
    }
}

/// Counts connections and requests of a listener. Shared by all of them.
#[derive(Debug)]
pub struct Guard {
    limits: Limits,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    open: AtomicUsize,
    requests: Arc<Semaphore>,
    turned: [AtomicU64; Turned::ALL.len()],
}

/// A place among the connections, given back when dropped.
#[derive(Debug)]
struct Pass {
    guard: Arc<Guard>,
    address: IpAddr,
}

/// One subscriber: an IPv4 address, or the /64 of an IPv6 address.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Guard {
    /// With these bounds.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            addresses: Mutex::default(),
            open: AtomicUsize::new(0),
            requests: Arc::new(Semaphore::new(limits.requests)),
            turned: Default::default(),
        })
    }

    /// Connections that are open and counted.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// How often something was turned away for this since the start.
    pub fn turned(&self, why: Turned) -> u64 {
        self.turned[why as usize].load(Ordering::Relaxed)
    }

    fn turn(&self, why: Turned) {
        self.turned[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Pass> {
        let address = subscriber(address);
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = addresses.get(&address).copied().unwrap_or(0);
        let refused = if of_address >= self.limits.connections_per_address {
            Some(Turned::Address)
        } else if self.open() >= self.limits.connections {
            Some(Turned::Connections)
        } else {
            None
        };
        if let Some(why) = refused {
            self.turn(why);
            return None;
        }
        addresses.insert(address, of_address + 1);
        self.open.fetch_add(1, Ordering::AcqRel);
        Some(Pass {
            guard: Arc::clone(self),
            address,
        })
    }

    /// Admits connections of anybody, or closes them at once.
    pub fn admitted(
        self: Arc<Self>,
        incoming: impl Stream<Item = io::Result<TcpStream>> + Send + 'static,
    ) -> impl Stream<Item = io::Result<Guarded>> + Send + 'static {
        incoming.filter_map(move |stream| {
            let admitted = stream.map(|stream| {
                let pass = self.admit(stream.peer_addr().ok()?.ip())?;
                Some(Guarded::new(stream, pass))
            });
            std::future::ready(admitted.transpose())
        })
    }

    /// Admits connections to a listener with mutual TLS, or closes them at once. They count until their handshake has told who calls.
    pub fn until_known<S>(
        self: Arc<Self>,
        incoming: impl Stream<Item = io::Result<S>> + Send + 'static,
    ) -> impl Stream<Item = io::Result<Unknown<S>>> + Send + 'static
    where
        S: Connected<ConnectInfo = TcpConnectInfo> + Send + 'static,
    {
        incoming.filter_map(move |stream| {
            let admitted = stream.map(|stream| {
                let pass = self.admit(stream.connect_info().remote_addr()?.ip())?;
                Some(Unknown::new(stream, pass))
            });
            std::future::ready(admitted.transpose())
        })
    }

    /// The same service behind this guard.
    pub fn watch<S>(self: &Arc<Self>, service: S) -> Watched<S> {
        Watched::new(service, Arc::clone(self))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut addresses = self
            .guard
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
        self.guard.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_address_and_in_all_and_given_back() {
        let guard = Guard::new(Limits {
            connections: 5,
            connections_per_address: 2,
            ..Limits::default()
        });
        let admit = |text: &str| guard.admit(text.parse().expect("an address"));
        // The same address in two spellings, and one network of a subscriber.
        let held = [admit("192.0.2.7"), admit("::ffff:192.0.2.7")];
        assert!(held.iter().all(Option::is_some));
        assert!(admit("192.0.2.7").is_none());
        let network = [admit("2001:db8::1"), admit("2001:db8::ffff:0:0:1")];
        assert!(network.iter().all(Option::is_some));
        assert!(admit("2001:db8::2").is_none(), "the same /64");
        let other = admit("2001:db8:0:1::1");
        assert!(other.is_some(), "the next /64");
        assert_eq!(guard.open(), 5);
        assert!(admit("198.51.100.1").is_none(), "in all");
        assert_eq!(
            (guard.turned(Turned::Address), guard.turned(Turned::Connections)),
            (2, 1)
        );
        drop(held);
        assert_eq!(guard.open(), 3);
        assert!(admit("192.0.2.7").is_some());
        drop((network, other));
        assert_eq!(guard.open(), 0);
        assert!(
            guard.addresses.lock().expect("not poisoned").is_empty(),
            "no address is kept"
        );
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
