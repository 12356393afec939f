//! The gRPC codec of every service: protobuf that re-encodes to its own bytes, or a refusal with its reason.
//!
//! tonic hands a service the decoded message and forgets the bytes, so the check of [`crate::decode`] is made here, where they still exist.
//! The frames of a tally session are exempt: they are no public objects, nothing is derived from their encoding, and re-encoding
//! gigabytes of them would cost time for nothing.

use std::any::{TypeId, type_name};
use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

use crate::decode::{DecodeError, check_fields, most_fields};
use crate::envelope::MAX_FIELDS;
use crate::refusal::Refusal;
use crate::wire;

/// Codec whose decoder takes only the canonical encoding.
#[derive(Debug)]
pub struct CanonicalCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for CanonicalCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for CanonicalCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CanonicalDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        CanonicalDecoder(PhantomData)
    }
}

/// Decoder of [`CanonicalCodec`].
#[derive(Debug)]
pub struct CanonicalDecoder<U>(PhantomData<U>);

impl<U: Message + Default + 'static> Decoder for CanonicalDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = buf.copy_to_bytes(buf.remaining());
        let full = type_name::<U>();
        let what = full.rsplit("::").next().unwrap_or(full);
        let refuse = |error: DecodeError| Status::from(Refusal::from(error));
        let most = if TypeId::of::<U>() == TypeId::of::<wire::Envelope>() {
            MAX_FIELDS
        } else {
            most_fields(bytes.len())
        };
        check_fields(what, &bytes, most).map_err(refuse)?;
        let message =
            U::decode(bytes.clone()).map_err(|source| refuse(DecodeError::Malformed { what, source }))?;
        let exempt = TypeId::of::<U>() == TypeId::of::<wire::Frame>();
        if !exempt && (message.encoded_len() != bytes.len() || message.encode_to_vec() != bytes) {
            return Err(refuse(DecodeError::NotCanonical { what }));
        }
        Ok(Some(message))
    }
}
