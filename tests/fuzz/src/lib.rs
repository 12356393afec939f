//! What every fuzz target does, apart from who drives it: libFuzzer (`cargo fuzz`) or the stable driver ([`drive`]).
//!
//! A target takes any bytes. Beyond not panicking it must hold that whatever a decoder accepts is canonical: encoding the checked value
//! gives the accepted bytes again. Seeds are valid objects of a made-up election, so that mutations reach past the outer framing.

mod answers;
mod cards;
mod drive;
mod keys;
mod logged;
mod seeds;
mod sessions;
mod targets;

pub use drive::drive;
pub use seeds::Seeds;
pub use targets::{TARGETS, Target};

/// Runs the target of this name.
///
/// # Panics
/// When there is no such target, or when the target finds a fault: that is what a fuzzer looks for.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS
        .iter()
        .find(|t| t.name == name)
        .expect("a target of this name");
    (target.run)(data);
}
