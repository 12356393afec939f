//! Whole sessions between three parties over loopback TLS, and what happens when a frame, a Start or a party is not as it should be.

mod audit;
mod demanded;
mod election;
mod frames;
mod numbers;
mod results;
mod tamper;
mod world;

use super::log::SessionLogs;
use super::*;
use crate::entropy::SeededEntropy;
use crate::roles::Roles;
use crate::rpc::seams::TallyState;
use crate::store::sim::SimDisk;
use crate::store::vault::StorageKey;
use crate::store::{Storage, Store};
use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tally_mpc::layout::split_credential;
use tally_mpc::{
    BallotKind, BallotLayout, Choice, Contest, Counts, OpenedCounts, Outcome, Shape, TallyInput, TallyParams,
};
use tally_proto::connect::{Dial, mutual_tls};
use tally_proto::envelope::{Envelope, Kind, PublicKey, Signer};
use tally_proto::identity::Address;
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _};
use tally_proto::manifest::Network;
use tally_proto::pki::{Anchor, Authority, Leaf, PeerRole, Trust};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::result::{BoxResult, ResultError};
use tally_proto::wire;
use tally_proto::wire::peer_server::PeerServer;
use tally_proto::wire::tally_event::Event;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::transport::server::TcpIncoming;
