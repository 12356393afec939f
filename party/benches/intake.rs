//! How many ballots a second one party takes over TLS on loopback, each receipt after its ballot is on disk:
//! `cargo bench -p tally-party --bench intake -- [ballots] [connections]`.

#[path = "../tests/world/mod.rs"]
mod world;

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use tally_party::store::Storage;
use tally_party::store::sim::SimDisk;
use tally_proto::fixture::Shape;
use tally_proto::ids::Role;
use tally_proto::pki::PeerRole;
use world::World;

/// Requests under way on each connection.
const AT_ONCE: usize = 128;

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let ballots = numbers.first().copied().unwrap_or(16_000);
    let connections = numbers.get(1).copied().unwrap_or(8).max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("threads");
    runtime.block_on(run(ballots, connections));
}

async fn run(ballots: usize, connections: usize) {
    let mut world = World::new(Shape::default());
    let storage = Storage::File(world.root.path().join("party.redb"));
    let party = world
        .start_with(world.config(Role::P1), storage, SimDisk::new())
        .await;
    world.publish(&party).await.expect("published");
    let mut control = party.control(&world.leaf_of(Role::P1, PeerRole::Coordinator));
    control
        .complete(world.fixture.manifest.envelope().to_wire())
        .await
        .expect("in force");
    let made = Instant::now();
    let submissions: Vec<_> = (0..ballots).map(|_| party.part(&world.ballot())).collect();
    println!("{ballots} ballots made in {:.2} s", made.elapsed().as_secs_f64());
    let submissions = Arc::new(submissions);

    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let tasks = (0..connections).map(|connection| {
        let (intake, submissions) = (party.intake(), Arc::clone(&submissions));
        tokio::spawn(async move {
            let own = (connection..ballots).step_by(connections);
            futures::stream::iter(own)
                .for_each_concurrent(AT_ONCE, |i| {
                    let (mut intake, submission) = (intake.clone(), submissions[i].clone());
                    async move {
                        intake.submit(submission).await.expect("accepted");
                    }
                })
                .await;
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("task");
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{ballots} receipts in {seconds:.2} s over {connections} connections: {:.0} a second",
        ballots as f64 / seconds
    );
    if let (Some(before), Some(after)) = (cpu, cpu_seconds()) {
        let each = (after - before) * 1e6 / ballots as f64;
        println!("processor time of party and clients together: {each:.0} microseconds a ballot");
    }
    party.running.stop().await;
}

/// Processor time of this process so far, where the system tells it.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}
