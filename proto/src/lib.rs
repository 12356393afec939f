//! Wire format, public objects and the one door where bytes become checked values.
//!
//! [`wire`] holds what prost and tonic generate. Every other module turns such messages into types that are right by construction;
//! digests, commitments and signatures are taken over the fixed byte layouts of [`layout`], never over protobuf.

pub mod audit;
pub mod ballot;
pub mod bitmap;
pub mod bundle;
pub mod calendar;
pub mod card;
pub mod codec;
pub mod complaint;
pub mod connect;
pub mod crockford;
pub mod decode;
pub mod disclosure;
pub mod envelope;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod guard;
pub mod holder;
pub mod identity;
pub mod ids;
pub mod invitation;
pub mod layout;
pub mod log;
pub mod manifest;
pub mod merkle;
pub mod moment;
pub mod note;
pub mod offsets;
pub mod one_time;
pub mod open_roll;
pub mod order;
pub mod pki;
pub mod reason;
pub mod receipt;
pub mod record;
pub mod refusal;
pub mod result;
pub mod roll;
pub mod sealing;
pub mod secret_file;
pub mod session;
pub mod shares;
pub mod sign_ins;
pub mod suite;
pub mod text;
pub mod ticket;
pub mod unseen;
pub mod wire;
