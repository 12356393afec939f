//! The voter and station client: library and command.
//!
//! A voter needs three things: the election's manifest, an invitation, and a device. [`Election`] checks that the manifest is signed
//! by the coordinator and all three parties; [`Voter`] checks that the invitation is for exactly this manifest (it carries its
//! hash), shows the ballot paper and casts. [`Choices`] are checked against the ballot paper before anything is sent.
//!
//! ```
//! # mod world { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/mod.rs")); }
//! # mod fake { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake/mod.rs")); }
//! # async fn published() -> (fake::Town, Vec<u8>, String) {
//! #     let town = fake::Town::open().await;
//! #     let bytes = town.signed.envelope().encode();
//! #     let link = town.invitation(42, 0x5eed).to_link().to_string();
//! #     (town, bytes, link)
//! # }
//! use tally_client::{Choices, Connections, Device, Election, Voter, read_invitation};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (_parties, manifest, link) = published().await;
//!     let election = Election::from_bytes(&manifest)?;
//!     let connections = Connections::open(&election)?; // one for the whole process
//!     let device = Device::in_memory(); // or Device::open(directory)
//!
//!     let voter = Voter::new(&election, &connections, read_invitation(&[&link])?, &device)?;
//!     println!("{}", voter.form().render(&["de".to_owned()]));
//!     let choices = Choices::parse(voter.form(), ["Mayor=Jan Novak", "Council=1", "Council=3"])?;
//!     let mut cast = voter.cast(&choices, &mut rand::rng()).await?;
//!     assert!(cast.accepted().len() >= 2); // safe: two parties have it, and each other's receipts
//!
//!     cast.third().await; // optional: dropping `cast` leaves the third party to the background
//!     assert_eq!(cast.accepted().len(), 3);
//!
//!     let error = Choices::parse(voter.form(), ["Mayor=Maria Schmitt"]).unwrap_err();
//!     assert!(error.to_string().contains("did you mean \"Maria Schmidt\"?"));
//!     Ok(())
//! }
//! ```
//!
//! Casting again revotes: the last ballot counts. A false credential casts exactly like a true one, by the same code, and
//! [`decoy_of`] makes invitations with one; nothing on the device or the network tells which is which, before or after use.
//!
//! # What is where
//!
//! | for | see |
//! |---|---|
//! | the time of casting (never this device's) | [`clock`] |
//! | who accepted, who did not and why | [`Cast`], [`Fault`], [`Notice`] |
//! | receipts, kept only when asked for | [`Keepsakes`] |
//! | what a ballot holds, seen from another device | [`Cast::take_disclosure`], [`inspect`] |
//! | a ballot in the parties' public logs | [`find`], [`check`] |
//! | polling stations: electronic and paper votes, the queue on disk | [`station`] |
//! | the command line | [`cli`] |
//!
//! # Security
//!
//! Invitations, choices, plain ballots and shares are zeroised when dropped, are in no log and not shown by `Debug`. A device's
//! only memory is the second of its last cast, for some seconds ([`Device`]), and tickets; a station's disk holds headers, ciphertext and receipts, never an index
//! or a choice. A voter's network address is seen by the parties.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on fails"))]

pub mod card;
mod carry;
mod check;
mod choice;
pub mod cli;
pub mod clock;
mod connections;
mod delivery;
mod device;
mod disk;
mod draw_code;
mod election;
mod enrol;
mod fault;
mod form;
mod inspect;
mod invitation;
mod keepsake;
mod known;
mod link;
mod logs;
mod near;
mod parcel;
mod sealing;
mod standing;
pub mod station;
mod tickets;
mod voter;

#[cfg(test)]
#[path = "../tests/world/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the test programs")]
mod world;

pub use carry::{CarryError, Differs, carry_over};
pub use check::{Checked, Shown, check};
pub use choice::{ChoiceError, Choices};
pub use connections::{Connections, NoTime};
pub use device::{Device, DeviceError};
pub use draw_code::{DrawCodeError, Stated, register_draw_code};
pub use election::{Election, ElectionError};
pub use enrol::{EnrolError, Enrolled, enrol, enrol_with};
pub use fault::Fault;
pub use form::{Form, choose_at_most, in_language};
pub use inspect::{InspectError, Inspected, inspect};
pub use invitation::{decoy_of, read_invitation, text_like};
pub use keepsake::{KeepsakeError, Keepsakes, Kept, KeptReceipt};
pub use known::{Named, Sealed};
pub use link::{FalseReceipt, judge};
pub use logs::{InLog, find};
pub use sealing::SealError;
pub use station::{Station, StationVote};
pub use tickets::DrawError;
pub use voter::{ATTEMPT, Cast, CastError, Earlier, Notice, Patience, Voter};
