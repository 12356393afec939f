//! Whole elections on real processes, and what else needs a world of its own, in one program: linking each file by itself would take longer than
//! running it. Apart from it stand what measures times (`trouble`, `cheating`), what loads a module for smart cards into the process (`cards`,
//! `enrol`), and the list of refusals.

mod alike;
mod by_hand;
#[path = "soft_hsm/card_file.rs"]
mod card_file;
mod casting;
mod channels;
mod coercer;
mod corrections;
mod demo;
mod deploy;
mod desk;
mod following;
mod issued;
mod many;
mod officials;
mod operations;
#[path = "cards/register.rs"]
mod register;
mod restarts;
mod secrets;
mod setup;
mod soak;
mod tickets;
#[path = "../../party/tests/world/mod.rs"]
mod world;

/// Places for worlds of processes. They mostly wait for their clocks, so more of them than a small machine has processors stand side by side.
static WORLDS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(3);
