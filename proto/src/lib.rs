//! Wire format, public objects and the one door where bytes become checked values.
//!
//! [`wire`] holds what prost and tonic generate. Every other module turns such messages into types that are right by construction;
//! digests, commitments and signatures are taken over the fixed byte layouts of [`layout`], never over protobuf.

pub mod codec;
pub mod connect;
pub mod crockford;
pub mod decode;
pub mod envelope;
pub mod identity;
pub mod ids;
pub mod layout;
pub mod one_time;
pub mod pki;
pub mod reason;
pub mod refusal;
pub mod secret_file;
pub mod suite;
pub mod wire;
