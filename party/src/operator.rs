//! What a party's operator asks of the running server, over mutual TLS with the operator's certificate.

use tally_proto::connect::{self, ConnectError, Dial};
use tally_proto::envelope::Envelope;
use tally_proto::ids::Hash32;
use tally_proto::manifest::Manifest;
use tally_proto::order::Order;
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::control_client::ControlClient;
use tally_proto::wire::intake_client::IntakeClient;
use tonic::transport::Channel;

use crate::config::Config;
use crate::keys::{self, KeyError};

/// Why the operator's request failed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The operator's files.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No connection can be set up.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server refused, or cannot be reached.
    #[error("{0}. {action}", action = .0.reason.action())]
    Refused(Refusal),
}

impl From<tonic::Status> for OperatorError {
    fn from(status: tonic::Status) -> Self {
        OperatorError::Refused(Refusal::of_status(&status))
    }
}

/// A connection to this party's own server.
#[derive(Debug)]
pub struct Operator(ControlClient<Channel>, IntakeClient<Channel>);

impl Operator {
    /// Sets up the connection; it comes about with the first request.
    ///
    /// # Errors
    /// [`OperatorError::Key`], [`OperatorError::Connect`].
    pub fn new(config: &Config) -> Result<Self, OperatorError> {
        let own = keys::own_identity(config)?;
        let leaf = keys::operator_leaf(config, &own)?;
        let dial = Dial {
            address: own.peer_address(),
            anchor: own.anchor(),
            leaf: Some(&leaf),
        };
        Ok(Operator::over(dial.channel_with_timeout()?))
    }

    /// Over a channel that the caller has set up with the operator's certificate.
    pub fn over(channel: Channel) -> Self {
        Operator(connect::control(channel.clone()), connect::intake(channel))
    }

    /// Manifests and orders that wait for this party's countersignature.
    ///
    /// # Errors
    /// [`OperatorError::Refused`].
    pub async fn pending(&mut self) -> Result<wire::PendingReply, OperatorError> {
        Ok(self.0.pending(wire::PendingRequest {}).await?.into_inner())
    }

    /// The manifest that an order changes, as the party has it.
    ///
    /// # Errors
    /// [`OperatorError::Refused`].
    pub async fn manifest(&mut self, order: &Order) -> Result<Manifest, OperatorError> {
        let election = order.election.as_str().to_owned();
        let reply = self.1.manifest(wire::ElectionRef { election }).await?;
        let envelope = reply.into_inner().manifest.map(Envelope::from_wire);
        let manifest = match envelope {
            Some(Ok(envelope)) if envelope.hash() == order.manifest_hash => {
                Manifest::decode(envelope.payload()).ok()
            }
            _ => None,
        };
        manifest.ok_or_else(|| {
            OperatorError::Refused(Refusal::new(
                Reason::ManifestOther,
                format_args!(
                    "order {} changes a manifest of {} that this party does not have",
                    order.number, order.election
                ),
            ))
        })
    }

    /// Which enrolments and orders of the register's other elections do not follow into the election of that manifest.
    ///
    /// # Errors
    /// [`OperatorError::Refused`].
    pub async fn carried(&mut self, manifest: Hash32) -> Result<wire::CarriedReply, OperatorError> {
        let object_hash = manifest.0.to_vec();
        Ok(self
            .0
            .carried(wire::ObjectRef { object_hash })
            .await?
            .into_inner())
    }

    /// Countersigns the object of that hash; `confirmation` is the election id as typed, `changed` how many voters were shown whose enrolments do
    /// not follow.
    ///
    /// # Errors
    /// [`OperatorError::Refused`].
    pub async fn countersign(
        &mut self,
        object: Hash32,
        confirmation: &str,
        changed: u64,
    ) -> Result<(), OperatorError> {
        let request = wire::CountersignRequest {
            object_hash: object.0.to_vec(),
            confirmation: confirmation.to_owned(),
            changed,
        };
        self.0.countersign(request).await?;
        Ok(())
    }

    /// Gives leave for more tally sessions of a box; `confirmation` is the election id as typed. Returns how many.
    ///
    /// # Errors
    /// [`OperatorError::Refused`].
    pub async fn allow_sessions(
        &mut self,
        election: &str,
        of_box: u32,
        confirmation: &str,
    ) -> Result<u32, OperatorError> {
        let request = wire::AllowSessionsRequest {
            election: election.to_owned(),
            r#box: of_box,
            confirmation: confirmation.to_owned(),
        };
        Ok(self.0.allow_sessions(request).await?.into_inner().sessions)
    }

    /// States that the store is the newest there was; `confirmation` is the election id as typed.
    ///
    /// # Errors
    /// [`OperatorError::Refused`].
    pub async fn trust_store(&mut self, election: &str, confirmation: &str) -> Result<(), OperatorError> {
        let request = wire::TrustStoreRequest {
            election: election.to_owned(),
            confirmation: confirmation.to_owned(),
        };
        self.0.trust_store(request).await?;
        Ok(())
    }

    /// State of one election, or of all when `election` is empty.
    ///
    /// # Errors
    /// [`OperatorError::Refused`].
    pub async fn status(&mut self, election: &str) -> Result<wire::StatusReply, OperatorError> {
        Ok(self
            .0
            .status(wire::StatusRequest {
                election: election.to_owned(),
            })
            .await?
            .into_inner())
    }
}
