//! One party as a client sees it: the things asked of it, each with a time limit and a checked answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tally_proto::ballot::BallotHeader;
use tally_proto::calendar::{MAX_AHEAD_MS, MAX_BEHIND_MS};
use tally_proto::connect;
use tally_proto::envelope::PublicKey;
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _, UnixSeconds, VoterIndex};
use tally_proto::reason::Reason;
use tally_proto::receipt::{Receipt, ReceiptError};
use tally_proto::record::RecordSubmission;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_proto::wire::cast_answer::Outcome;
use tally_proto::wire::intake_client::IntakeClient;
use tally_proto::wire::registration_client::RegistrationClient;
use thiserror::Error;
use tokio::sync::Semaphore;
use tonic::Code;
use tonic::transport::Channel;

use crate::election::Election;
use crate::enrol::is_receipt_of;
use crate::fault::Fault;
use crate::parcel::Parcel;

/// A clock that takes longer is of no use.
const CLOCK_LIMIT: Duration = Duration::from_secs(3);
/// A submission waits for the party's next durable batch.
const SUBMIT_LIMIT: Duration = Duration::from_secs(20);
const DELIVER_LIMIT: Duration = Duration::from_secs(10);
/// Whoever is asked about a third one's log keeps nobody waiting long.
const MIRRORED_LIMIT: Duration = Duration::from_secs(3);
const LOG_LIMIT: Duration = Duration::from_secs(10);
/// Requests under way to one party at a time, over all casts of the process: what waits here has no time limit running, so that
/// thousands of casts at once do not time each other out.
const UNDER_WAY: usize = 512;

/// Most ballots in one message.
pub(crate) const MOST_TOGETHER: usize = 16;
/// Most bytes of a message of several ballots: parties take 16 KiB, if their operators have not set another bound.
const MOST_BYTES_TOGETHER: usize = 15 << 10;
/// Most bytes of the answers to them: a receipt has no more than half a kilobyte, and a refusal no more than a kilobyte and a half.
const MOST_ANSWERS_BYTES: usize = 32 << 10;

/// What is false about a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FalseReceipt {
    /// It is malformed, or its signature is wrong.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// It speaks for another party.
    #[error("it is one of {0}")]
    OtherParty(Role),
    /// It is for another ballot.
    #[error("it is for another ballot")]
    OtherDigest,
    /// It names another election or box than the ballot: it would count nowhere, and the honest parties would refuse it.
    #[error("it names another election or box")]
    OtherPlace,
    /// It is for another ciphertext than the one that was sent.
    #[error("it is for another ciphertext than the one that was sent")]
    OtherCiphertext,
    /// It says that the ballot was received at a moment at which it was not in time: such a receipt is no timely acceptance.
    #[error("it says that the ballot of {cast_at} was received at {received_at}, which is not in time")]
    NotInTime {
        /// The ballot's time.
        cast_at: UnixSeconds,
        /// The moment in the receipt.
        received_at: UnixSeconds,
    },
}

/// Judges a receipt of `party` for a ballot: signature, digest, election and box, ciphertext, and that it was received in time by the rule of all
/// parties: at most 2 s before the ballot's own time and, online, at most 60 s after it. (Opening hours, which orders can change, are
/// the parties' business.)
///
/// # Errors
/// [`FalseReceipt`].
pub fn judge(
    receipt: &wire::Receipt,
    party: Role,
    keys: &[PublicKey; 3],
    header: &BallotHeader,
    ciphertext_hash: Hash32,
) -> Result<(), FalseReceipt> {
    let receipt = Receipt::from_wire(receipt)?;
    let acceptance = receipt.verify(keys)?;
    if acceptance.party != party {
        return Err(FalseReceipt::OtherParty(acceptance.party));
    }
    if acceptance.digest != header.digest() {
        return Err(FalseReceipt::OtherDigest);
    }
    if acceptance.election != *header.election() || acceptance.of_box != header.of_box() {
        return Err(FalseReceipt::OtherPlace);
    }
    if acceptance.ciphertext_hash != ciphertext_hash {
        return Err(FalseReceipt::OtherCiphertext);
    }
    let (cast_at, received_at) = (header.cast_at(), acceptance.received_at);
    let early = cast_at.millis().0.saturating_sub(received_at.millis().0) > MAX_AHEAD_MS;
    let late = received_at.millis().0.saturating_sub(cast_at.millis().0) > MAX_BEHIND_MS;
    if early || (late && !header.channel().at_station()) {
        return Err(FalseReceipt::NotInTime { cast_at, received_at });
    }
    Ok(())
}

/// One party.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) party: Role,
    pub(crate) agency: String,
    /// The three parties' keys.
    pub(crate) keys: [PublicKey; 3],
    pub(crate) intake: IntakeClient<Channel>,
    registration: RegistrationClient<Channel>,
    /// Bounds the requests under way; its clones share the bound.
    under_way: Arc<Semaphore>,
}

impl Link {
    pub(crate) fn new(election: &Election, party: Role, channel: Channel) -> Self {
        Self {
            party,
            agency: election.party(party).agency().to_owned(),
            keys: election.manifest().party_keys(),
            intake: connect::intake(channel.clone()),
            registration: connect::registration(channel),
            under_way: Arc::new(Semaphore::new(UNDER_WAY)),
        }
    }

    /// The party's clock, milliseconds since 1970.
    pub(crate) async fn clock(&self) -> Result<u64, Fault> {
        let mut intake = self.intake.clone();
        let reply = self
            .limited(CLOCK_LIMIT, intake.clock(wire::ClockRequest {}))
            .await?;
        Ok(reply.now_ms)
    }

    /// The manifest, with the orders that are in force at the party and those that revoke a station and to which it holds already. Nothing of it is
    /// checked here.
    pub(crate) async fn orders(&self, election: &ElectionId) -> Result<wire::ManifestReply, Fault> {
        let mut intake = self.intake.clone();
        let election = election.as_str().to_owned();
        self.limited(LOG_LIMIT, intake.manifest(wire::ElectionRef { election }))
            .await
    }

    /// Submits a ballot. The receipt has been checked against what was sent; with it come the parties whose receipts for the ballot are stored
    /// there already.
    pub(crate) async fn cast(&self, parcel: &Parcel) -> Result<(wire::Receipt, Vec<Role>), Fault> {
        let mut intake = self.intake.clone();
        let reply = self
            .limited(SUBMIT_LIMIT, intake.cast(parcel.submission(self.party)))
            .await?;
        self.taken(parcel, reply)
    }

    /// Submits several ballots in one message, [`MOST_TOGETHER`] at most: what became of each, in their order, as [`Link::cast`] tells it. None waits
    /// there for its time: one that is dated ahead is refused for now.
    ///
    /// # Errors
    /// The message as a whole was not answered.
    pub(crate) async fn cast_all(
        &self,
        parcels: &[&Parcel],
    ) -> Result<Vec<Result<(wire::Receipt, Vec<Role>), Fault>>, Fault> {
        // As much as so many honest answers come to, and more: whatever it says, it fills nobody's memory.
        let mut intake = self.intake.clone().max_decoding_message_size(MOST_ANSWERS_BYTES);
        let submissions = parcels.iter().map(|parcel| parcel.submission(self.party));
        let asked = wire::Submissions {
            submissions: submissions.collect(),
        };
        let reply = self.limited(SUBMIT_LIMIT, intake.cast_all(asked)).await?;
        let mut answers = reply.answers.into_iter();
        let outcomes = parcels
            .iter()
            .map(|parcel| match answers.next().and_then(|answer| answer.outcome) {
                Some(Outcome::Taken(taken)) => self.taken(parcel, taken),
                Some(Outcome::Refusal(refusal)) => {
                    Err(Fault::of(self.party, &self.agency, Refusal::from_wire(&refusal)))
                }
                None => {
                    let silent = Refusal::new(Reason::PartyBusy, "it says nothing of one ballot of several");
                    Err(Fault::of(self.party, &self.agency, silent))
                }
            });
        Ok(outcomes.collect())
    }

    /// How many of these ballots, from the first on, go into one message for [`Link::cast_all`]: one at least, if there is one.
    pub(crate) fn together<'p>(&self, parcels: impl Iterator<Item = &'p Parcel>) -> usize {
        let mut bytes = 0;
        let fits = parcels.take(MOST_TOGETHER).take_while(|parcel| {
            // The tag and the length before each.
            bytes += parcel.submission(self.party).encoded_len() + 4;
            bytes <= MOST_BYTES_TOGETHER
        });
        fits.count().max(1)
    }

    /// What the answer to a ballot says, checked against what was sent.
    fn taken(&self, parcel: &Parcel, reply: wire::CastReply) -> Result<(wire::Receipt, Vec<Role>), Fault> {
        let receipt = reply.receipt.unwrap_or_default();
        self.check(parcel, &receipt)?;
        let others = [self.party.next(), self.party.prev()];
        let stored = others
            .into_iter()
            .filter(|other| reply.stored.contains(&other.number()));
        Ok((receipt, stored.collect()))
    }

    /// Brings a record that the voter's card authorises; the voter's place, and the receipt, checked against what was sent. On an open roll the
    /// receipt is for the record with the number of that place.
    pub(crate) async fn enrol(
        &self,
        part: &RecordSubmission,
    ) -> Result<((BoxId, VoterIndex), wire::Receipt), Fault> {
        let mut registration = self.registration.clone();
        let reply = self
            .limited(SUBMIT_LIMIT, registration.enrol(part.to_wire()))
            .await?;
        let receipt = reply.receipt.unwrap_or_default();
        let digest = part.header().numbered(VoterIndex(reply.v)).digest();
        let place = (part.election(), BoxId(reply.r#box));
        if is_receipt_of(
            &receipt,
            self.party,
            &self.keys,
            (place, &digest),
            part.ciphertext_hash(),
        ) {
            return Ok(((BoxId(reply.r#box), VoterIndex(reply.v)), receipt));
        }
        Err(Fault::FalseReceipt {
            party: self.party,
            agency: self.agency.clone(),
            what: "it is not of the record that was brought".to_owned(),
        })
    }

    /// The party's two offsets of a record, sealed.
    pub(crate) async fn offsets(&self, request: wire::OffsetsRequest) -> Result<Vec<u8>, Fault> {
        let mut registration = self.registration.clone();
        let reply = self.limited(SUBMIT_LIMIT, registration.offsets(request)).await?;
        Ok(reply.sealed)
    }

    /// Hands over other parties' receipts; stored on return. After a fault some may be.
    pub(crate) async fn deliver(&self, mut receipts: Vec<wire::Receipt>) -> Result<(), Fault> {
        let _turn = self.under_way.acquire().await;
        let mut intake = self.intake.clone();
        match (receipts.len(), receipts.pop()) {
            (1, Some(one)) => self.limited(DELIVER_LIMIT, intake.deliver(one)).await?,
            (_, None) => return Ok(()),
            (_, Some(last)) => {
                receipts.push(last);
                let all = intake.deliver_all(wire::Receipts { receipts });
                self.limited(DELIVER_LIMIT, all).await?
            }
        };
        Ok(())
    }

    /// What the party knows of a ballot.
    pub(crate) async fn lookup(&self, asked: wire::LookupRequest) -> Result<wire::LookupReply, Fault> {
        let _turn = self.under_way.acquire().await;
        let mut intake = self.intake.clone();
        self.limited(LOG_LIMIT, intake.lookup(asked)).await
    }

    /// The party's signed checkpoints of an election's log.
    pub(crate) async fn checkpoint(&self, election: &ElectionId) -> Result<wire::CheckpointReply, Fault> {
        let _turn = self.under_way.acquire().await;
        let mut intake = self.intake.clone();
        let election = election.as_str().to_owned();
        self.limited(LOG_LIMIT, intake.checkpoint(wire::ElectionRef { election }))
            .await
    }

    /// The checkpoint of another party's log under which this one mirrors it; empty: it mirrors nothing of it.
    pub(crate) async fn mirrored(&self, election: &ElectionId, of: Role) -> Result<String, Fault> {
        let _turn = self.under_way.acquire().await;
        let mut intake = self.intake.clone();
        let asked = wire::MirroredRef {
            election: election.as_str().to_owned(),
            party: of.number(),
        };
        let reply = self.limited(MIRRORED_LIMIT, intake.mirrored(asked)).await?;
        Ok(reply.note)
    }

    /// The path from the leaf at `position` to the root of the log of `size`.
    pub(crate) async fn inclusion(
        &self,
        election: &ElectionId,
        position: u64,
        size: u64,
    ) -> Result<Vec<Hash32>, Fault> {
        let _turn = self.under_way.acquire().await;
        let mut intake = self.intake.clone();
        let asked = wire::InclusionRequest {
            election: election.as_str().to_owned(),
            position,
            size,
        };
        let reply = self.limited(LOG_LIMIT, intake.inclusion(asked)).await?;
        Ok(nodes(&reply.path))
    }

    /// What shows that the log of `old` entries is a prefix of that of `new`.
    pub(crate) async fn consistency(
        &self,
        election: &ElectionId,
        old: u64,
        new: u64,
    ) -> Result<Vec<Hash32>, Fault> {
        let _turn = self.under_way.acquire().await;
        let mut intake = self.intake.clone();
        let asked = wire::ConsistencyRequest {
            election: election.as_str().to_owned(),
            old_size: old,
            new_size: new,
        };
        let reply = self.limited(LOG_LIMIT, intake.consistency(asked)).await?;
        Ok(nodes(&reply.path))
    }

    fn check(&self, parcel: &Parcel, reply: &wire::Receipt) -> Result<(), Fault> {
        judge(
            reply,
            self.party,
            &self.keys,
            parcel.header(),
            parcel.ciphertext_hash(self.party),
        )
        .map_err(|what| Fault::FalseReceipt {
            party: self.party,
            agency: self.agency.clone(),
            what: what.to_string(),
        })?;
        Ok(())
    }

    async fn limited<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Fault> {
        let refusal = match tokio::time::timeout(limit, call).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) if status.code() == Code::Unimplemented => Refusal::new(
                Reason::MessageMalformed,
                "it does not know this request: another version runs there",
            ),
            Ok(Err(status)) => Refusal::of_status(&status),
            Err(_) => Refusal::new(
                Reason::PartyUnreachable,
                format_args!("no answer within {} s", limit.as_secs()),
            ),
        };
        Err(Fault::of(self.party, &self.agency, refusal))
    }
}

/// A path's hashes. What is no hash is left out: the path then proves nothing.
fn nodes(path: &[Vec<u8>]) -> Vec<Hash32> {
    path.iter()
        .filter_map(|node| Hash32::from_slice(node).ok())
        .collect()
}
