//! Bytes that no honest client sends, and what operators' tools ask: health and reflection.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tally_proto::fixture::Shape;
use tally_proto::ids::Role;
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::wire;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::world::{World, reason};

/// Sends bytes as they are.
#[derive(Default)]
struct Raw(PhantomData<()>);

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;
    fn encoder(&mut self) -> Raw {
        Raw::default()
    }
    fn decoder(&mut self) -> Raw {
        Raw::default()
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining())))
    }
}

async fn call(channel: Channel, method: &'static str, bytes: impl Into<Bytes>) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("connected");
    let path = PathAndQuery::from_static(method);
    Ok(client
        .unary(Request::new(bytes.into()), path, Raw::default())
        .await?
        .into_inner())
}

const SUBMIT: &str = "/tally.v1.Intake/Submit";

#[tokio::test]
async fn malformed_oversized_and_not_canonical_messages_are_refused_by_name() {
    let mut world = World::new(Shape::default());
    let party = world.start_in_force(Role::P1).await;
    let ballot = world.ballot();
    let good = party.part(&ballot).encode_to_vec();
    let send = async |bytes: Vec<u8>| call(party.public_channel(), SUBMIT, bytes).await;

    assert_eq!(
        reason(send(b"\x0a\xff\xff\xff\xffnot a message".to_vec()).await),
        Reason::MessageMalformed
    );
    assert_eq!(
        reason(send(good[..good.len() - 1].to_vec()).await),
        Reason::MessageMalformed
    );
    assert_eq!(
        reason(send(Vec::new()).await),
        Reason::MessageMalformed,
        "no header"
    );
    let with_unknown_field = [&good[..], &[0xf8, 0x01, 0x01]].concat();
    assert_eq!(
        reason(send(with_unknown_field).await),
        Reason::MessageNotCanonical
    );
    let twice = [&good[..], &good[..]].concat();
    assert_eq!(reason(send(twice).await), Reason::MessageNotCanonical);
    let mut large = party.part(&ballot);
    large.ciphertext = vec![7; 17 << 10].into();
    assert_eq!(reason(send(large.encode_to_vec()).await), Reason::MessageTooLarge);
    large.ciphertext = vec![7; 9 << 10].into();
    assert_eq!(
        reason(send(large.encode_to_vec()).await),
        Reason::MessageTooLarge,
        "within the listener's limit"
    );
    let mut short = party.part(&ballot);
    short.header.as_mut().expect("header").c2.pop();
    assert_eq!(
        reason(send(short.encode_to_vec()).await),
        Reason::MessageMalformed
    );
    let mut no_channel = party.part(&ballot);
    no_channel.header.as_mut().expect("header").channel = 77;
    assert_eq!(
        reason(send(no_channel.encode_to_vec()).await),
        Reason::MessageMalformed
    );
    // After all that, the ballot itself is taken.
    let receipt = send(good).await.expect("accepted");
    wire::Receipt::decode(receipt).expect("a receipt");

    let coordinator = world.leaf_of(Role::P1, PeerRole::Coordinator);
    let too_large = call(
        party.peer_channel(Some(&coordinator)),
        "/tally.v1.Control/ProposeOrder",
        vec![0x0a; 9 << 20],
    );
    assert_eq!(reason(too_large.await), Reason::MessageTooLarge);
}

#[tokio::test]
async fn health_and_reflection_are_served_on_both_listeners() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let world = World::new(Shape::default());
    let party = world.start(Role::P1).await;
    let operator = world.leaf_of(Role::P1, PeerRole::Operator(Role::P1));
    for channel in [party.public_channel(), party.peer_channel(Some(&operator))] {
        let mut health = HealthClient::new(channel.clone());
        for service in ["", "tally.v1.Intake"] {
            let reply = health
                .check(HealthCheckRequest {
                    service: service.into(),
                })
                .await
                .expect("health");
            assert_eq!(reply.into_inner().status(), ServingStatus::Serving);
        }
        let ask = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut answers = ServerReflectionClient::new(channel)
            .server_reflection_info(tokio_stream::once(ask))
            .await
            .expect("reflection")
            .into_inner();
        let answer = answers
            .message()
            .await
            .expect("answer")
            .expect("one")
            .message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = answer else {
            panic!("{answer:?}")
        };
        assert!(
            list.service
                .iter()
                .any(|service| service.name == "tally.v1.Intake")
        );
    }
}
