//! Thin gRPC services: who may call, what arrives, whom it is passed to. Decisions are made elsewhere.

pub(crate) mod control;
pub(crate) mod intake;
pub(crate) mod peer;
pub(crate) mod peer_sealing;
mod reasoned;
pub(crate) mod registration;
pub mod seams;

pub(crate) use reasoned::Reasoned;
