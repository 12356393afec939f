//! A registrar: issues one fresh credential to each voter of a roll who may vote online.
pub mod invitations;
pub mod outbox;
