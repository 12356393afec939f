//! A disk that is really full, under a real process: a file system of some MiB in memory.
//!
//! Mounted by root where this runs as root, so that it outlives the process; and in a namespace of the process where that is allowed. Where neither
//! is, the test fails: it is not skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tally_tests::process::Program;
use tally_tests::world::World;

use crate::scene::{ONE, Scene, await_that, program, read, says};

/// Size of the file system, MiB.
const SIZE_MIB: u64 = 48;
/// `intake.disk_reserve_mib` and `alarms.disk_mib`.
const RESERVE_MIB: u64 = 12;
const LOW_MIB: u64 = 16;
/// The party whose disk it is.
const PARTY: usize = 2;

fn works(program: &str, words: &[&str]) -> bool {
    Command::new(program)
        .args(words)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// A file system in memory at a directory; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn at(directory: &Path) -> Mounted {
        let options = format!("size={SIZE_MIB}m,mode=700");
        let path = directory.to_string_lossy();
        assert!(
            works("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", &path]),
            "{path} is not mounted"
        );
        Mounted(directory.to_owned())
    }

    /// Whether this user may mount at all.
    fn may() -> bool {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().to_string_lossy().into_owned();
        works("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", &path]) && works("umount", &[&path])
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        works("umount", &["-l", &self.0.to_string_lossy()]);
    }
}

fn free_bytes(directory: &Path) -> u64 {
    let seen = rustix::fs::statvfs(directory).expect("a volume");
    seen.f_bavail * seen.f_frsize
}

/// Fills the volume until so many bytes are left, or until nothing more goes in.
fn fill(ballast: &Path, left_bytes: u64) {
    let directory = ballast.parent().expect("a directory");
    let free = free_bytes(directory);
    assert!(free > left_bytes, "{free} bytes are free");
    let had = fs::metadata(ballast).map_or(0, |file| file.len());
    let path = ballast.to_string_lossy().into_owned();
    let length = (had + free - left_bytes).to_string();
    // What does not fit any more is what is wanted.
    works("fallocate", &["-l", &length, &path]);
    let free = free_bytes(directory);
    assert!(
        free <= left_bytes + 8192,
        "{free} bytes are free, not {left_bytes}"
    );
}

fn configure(world: &World) {
    for (key, value) in [("disk_reserve_mib", RESERVE_MIB), ("disk_mib", LOW_MIB)] {
        world.configure(PARTY, key, &value.to_string()).expect("set");
    }
    for i in 0..PARTY {
        world.configure(i, "disk_mib", "0").expect("set");
    }
}

/// With less than its reserve the party refuses and says so; with room again it goes on by itself.
async fn refuses_below_its_reserve_and_goes_on_by_itself(scene: &mut Scene, ballast: &Path) {
    let accepted = async |scene: &Scene| {
        let status = scene.asked(PARTY).await.expect("status");
        status.boxes[0].received_online
    };
    scene.vote(0..2).await;
    await_that("it has them all", async || {
        accepted(scene).await == scene.crowd.done().len() as u64
    })
    .await;
    let before = accepted(scene).await;
    assert_eq!(scene.alarm(PARTY, "disk.low", ""), None);

    fill(ballast, (RESERVE_MIB << 20) - (1 << 20));
    scene
        .await_alarm(PARTY, ("disk.low", ""), "less than the 16 MiB")
        .await;
    let cast = scene.vote_by_command(3, "Ben");
    assert!(cast.status.success(), "two are enough: {cast:?}");
    let said = cast.out + &cast.err;
    says(&said, &["Data Protection Authority (P3)", "store.full"]);
    scene.vote(2..3).await;
    assert_eq!(
        accepted(scene).await,
        before,
        "nothing more was taken, and nothing lost"
    );

    fs::remove_file(ballast).expect("there is room again");
    scene.await_no_alarm(PARTY, "disk.low", "").await;
    scene.vote(3..4).await;
    await_that("it takes ballots again", async || accepted(scene).await > before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_on_a_full_disk_refuses_keeps_what_it_acknowledged_and_recovers() {
    let _one = ONE.lock().await;
    let in_a_namespace = works("unshare", &["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
    let as_root = Mounted::may();
    assert!(
        in_a_namespace || as_root,
        "neither this user nor a namespace may mount a file system: a full disk cannot be made here"
    );
    if as_root {
        a_mounted_one().await;
    }
    if in_a_namespace {
        one_of_the_process().await;
    }
}

async fn a_mounted_one() {
    let mut mounted = None;
    let mut scene = Scene::behind(
        0,
        |_, listens| Ok(listens),
        |world| {
            configure(world);
            mounted = Some(Mounted::at(&world.root.join("party-3/data")));
        },
    );
    let _mounted = mounted;
    let ballast = scene.world.root.join("party-3/data/ballast");
    refuses_below_its_reserve_and_goes_on_by_itself(&mut scene, &ballast).await;

    // Not one byte is left: what must be durable cannot be. It says so and ends, or has nothing to write; what it acknowledged is there after.
    let acknowledged = scene.crowd.done().len();
    fill(&ballast, 0);
    for turn in 4..8 {
        scene.vote(turn..turn + 1).await;
    }
    let server = scene.world.take_party(PARTY).expect("it ran");
    let ended = server
        .ended_within(Duration::from_secs(20))
        .expect("it can be waited for");
    let log = read(&scene.world.party_log(PARTY));
    println!(
        "with nothing left it {}",
        if ended.is_some() { "ended" } else { "went on" }
    );
    if let Some(status) = ended {
        assert!(!status.success());
        says(&log, &["the store failed"]);
    }
    fs::remove_file(&ballast).expect("there is room again");
    scene
        .world
        .start_party(PARTY)
        .expect("it reads back what is there");
    scene.await_accepting(PARTY).await;
    for of in 0..PARTY {
        scene.await_followed(PARTY, of).await;
        scene.await_followed(of, PARTY).await;
    }
    // `client vote` of the first part cast one more: it is superseded by the same voter's later ballot.
    scene.vote(8..9).await;
    let done = scene.crowd.done().to_vec();
    assert!(done.len() > acknowledged);
    scene.counted_right(&done);
}

async fn one_of_the_process() {
    let mut scene = Scene::behind(0, |_, listens| Ok(listens), configure);
    // The same party, on an empty disk of its own: it gets back from the others what it had.
    scene.world.stop_party(PARTY).expect("stopped");
    let data = scene.world.root.join("party-3/data");
    let tally = program();
    let script = format!(
        "mount -t tmpfs -o size={SIZE_MIB}m,mode=700 tmpfs {} && exec \"$@\"",
        data.display()
    );
    let words = [
        "-rm",
        "sh",
        "-c",
        &script,
        "sh",
        tally.path().to_str().expect("a path"),
    ];
    scene
        .world
        .start_party_by(PARTY, &Program::at("unshare"), &words)
        .expect("started in a namespace");
    scene.await_accepting(PARTY).await;
    let process = *scene.world.party_ids().last().expect("it runs");
    let ballast = PathBuf::from(format!("/proc/{process}/root{}/ballast", data.display()));
    refuses_below_its_reserve_and_goes_on_by_itself(&mut scene, &ballast).await;
}
