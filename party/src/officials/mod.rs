//! Keys held by officials: a party's storage, HPKE and signing keys are sealed under one unlock key, which is split among officials so
//! that any `threshold` of them open it and fewer know nothing of it.
//!
//! [`share`] is what an official holds on paper, [`split`] splits and recombines, [`sealed`] is the file that the server runs with and the
//! recovery kit.

pub mod ceremony;
pub mod change;
pub mod desk;
pub mod kit;
pub mod sealed;
pub mod share;
pub mod sheet;
pub mod split;

pub use sealed::{Label, Sealed, SealedError, Use};
pub use share::{CeremonyId, Share, ShareError, Terms, TermsError, Typing};
pub use split::{Collected, Public, SplitError, UnlockKey};
