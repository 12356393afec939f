//! A network that is slow, far away or dead: a TCP proxy in front of a listener, whose bytes take as long as it is told.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes that are carried at once.
const CHUNK: usize = 16 << 10;

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Bytes are carried as they come.
    Well,
    /// So many bytes a second in each direction of each connection, each of them late by so much.
    Slow {
        /// Bytes a second.
        bytes_per_s: u64,
        /// Added to each chunk's way.
        late: Duration,
    },
    /// Connections come about and stay open, and nothing is carried in either direction: the other end is half open.
    Stalled,
}

/// A proxy. Dropping it closes its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    carried: Arc<AtomicU64>,
    runtime: Option<Runtime>,
}

impl Proxy {
    /// In front of `to`, at the same IP address, with a good network.
    ///
    /// # Errors
    /// No port or no thread is to be had.
    pub fn before(to: SocketAddr) -> io::Result<Proxy> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind((to.ip(), 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (network, seen) = watch::channel(Network::Well);
        let carried = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&carried);
        runtime.spawn(async move {
            let Ok(listener) = TcpListener::from_std(listener) else {
                return;
            };
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, to, seen.clone(), Arc::clone(&counter)));
            }
        });
        Ok(Proxy {
            address,
            network,
            carried,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the network is like this, for the connections that stand too.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Bytes carried so far, both directions.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.carried.load(Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn carry(
    from: TcpStream,
    to: SocketAddr,
    network: watch::Receiver<Network>,
    carried: Arc<AtomicU64>,
) -> io::Result<()> {
    let to = TcpStream::connect(to).await?;
    from.set_nodelay(true)?;
    to.set_nodelay(true)?;
    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
    let there = one_way(from_read, to_write, network.clone(), Arc::clone(&carried));
    let back = one_way(to_read, from_write, network, carried);
    // Either end closing closes the connection, as at a router that forgets it.
    tokio::select! {
        ended = there => ended,
        ended = back => ended,
    }
}

async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    carried: Arc<AtomicU64>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    // When the line is free again.
    let mut free = Instant::now();
    loop {
        let now = *network
            .wait_for(|network| *network != Network::Stalled)
            .await
            .map_err(io::Error::other)?;
        let most = match now {
            // A tenth of a second's worth at most, so that a change is felt soon.
            Network::Slow { bytes_per_s, .. } => (bytes_per_s / 10).clamp(64, CHUNK as u64) as usize,
            Network::Well | Network::Stalled => CHUNK,
        };
        let read = from.read(&mut buffer[..most]).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let now = *network.borrow();
        if let Network::Slow { bytes_per_s, late } = now {
            free =
                free.max(Instant::now()) + Duration::from_secs(1) * read as u32 / bytes_per_s.max(1) as u32;
            sleep_until(free).await;
            sleep(late).await;
        }
        network
            .wait_for(|network| *network != Network::Stalled)
            .await
            .map_err(io::Error::other)?;
        to.write_all(&buffer[..read]).await?;
        carried.fetch_add(read as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests;
