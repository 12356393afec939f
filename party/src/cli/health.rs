//! `health`: what a supervisor of containers asks, whose own probes speak no TLS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tally_proto::connect::{ConnectError, Dial};
use tally_proto::refusal::Refusal;
use tokio::net::TcpStream;
use tonic::codegen::http::Uri;
use tonic::codegen::{BoxFuture, Service};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::ConfigFile;
use crate::config::{Config, ConfigError};
use crate::keys::{self, KeyError};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why health could not be asked for.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The identity file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// TLS settings.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Nothing answers, or it is not this party.
    #[error("the public listener on {address} does not answer: {refusal}")]
    Silent {
        /// Where it was asked.
        address: SocketAddr,
        /// Why.
        refusal: Refusal,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Health {
    #[command(flatten)]
    config: ConfigFile,
    /// Succeed as soon as the server answers, though it serves nobody: a locked party lives, and killing it unlocks nothing
    #[arg(long)]
    live: bool,
}

/// Connects to the listener on this machine, whatever address the world knows it by.
#[derive(Clone, Copy)]
struct Here(SocketAddr);

impl Service<Uri> for Here {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0;
        Box::pin(async move { Ok(TokioIo::new(TcpStream::connect(address).await?)) })
    }
}

/// Where a listener on this machine is reached from it.
fn from_here(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

/// Asks the public listener; exits with 0 while it serves.
pub(super) async fn health(asked: &Health) -> Result<ExitCode, HealthError> {
    let config = Config::load(&asked.config.config)?;
    let own = keys::own_identity(&config)?;
    let dial = Dial {
        address: own.public_address(),
        anchor: own.anchor(),
        leaf: None,
    };
    let address = from_here(config.listen_public);
    let endpoint = dial.endpoint()?.timeout(PATIENCE);
    let mut client = HealthClient::new(endpoint.connect_with_connector_lazy(Here(address)));
    // Of the server as a whole.
    let request = HealthCheckRequest::default();
    let silent = |status: tonic::Status| HealthError::Silent {
        address,
        refusal: Refusal::of_status(&status),
    };
    let late = |_| silent(tonic::Status::deadline_exceeded("no answer in time"));
    let answer = tokio::time::timeout(2 * PATIENCE, client.check(request))
        .await
        .map_err(late)?;
    let serves = answer.map_err(silent)?.into_inner().status() == ServingStatus::Serving;
    println!("{}", if serves { "serving" } else { "not serving" });
    Ok(match serves || asked.live {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_reached_by_the_loopback() {
        for (listens, from) in [
            ("0.0.0.0:7443", "127.0.0.1:7443"),
            ("[::]:7443", "[::1]:7443"),
            ("127.0.0.2:1", "127.0.0.2:1"),
        ] {
            let [listens, from] = [listens, from].map(|text| text.parse::<SocketAddr>().expect("an address"));
            assert_eq!(from_here(listens), from);
        }
    }
}
