//! Tests of the client, in one program: linking each file by itself would take longer than running it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod casting;
mod command;
mod decoy;
mod desk;
mod device;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the example of the crate's page"
)]
mod fake;
mod logs;
mod second_device;
mod station;
mod tickets;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the example of the crate's page"
)]
mod world;
