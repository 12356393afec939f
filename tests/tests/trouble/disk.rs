//! A disk that is really full, under a real process: a file system of some MiB in memory.
//!
//! Mounted by root where this runs as root, so that it outlives the process; and in a namespace of the process where that is allowed. Where neither
//! is, the test fails: it is not skipped.

use std::fs;
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tally_tests::process::Program;
use tally_tests::world::World;

use crate::scene::{DEADLINE, Scene, await_that, beside_others, program, read, says};

/// Size of the file system, MiB.
const SIZE_MIB: u64 = 48;
/// `intake.disk_reserve_mib` and `alarms.disk_mib`.
const RESERVE_MIB: u64 = 12;
const LOW_MIB: u64 = 16;
/// The party whose disk it is.
const PARTY: usize = 2;
/// What fills it.
const BALLAST: &str = "ballast";

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
    let path = ballast.to_string_lossy().into_owned();
    let since = Instant::now();
    assert!(free_bytes(directory) > left_bytes, "it is full already");
    loop {
        let free = free_bytes(directory);
        if free <= left_bytes + 8192 {
            return;
        }
        assert!(
            since.elapsed() < DEADLINE,
            "{free} bytes are free, not {left_bytes}"
        );
        let had = fs::metadata(ballast).map_or(0, |file| file.len());
        // The party writes too: what does not fit any more is given back as a whole, and tried again.
        works(
            "fallocate",
            &["-l", &(had + free - left_bytes).to_string(), &path],
        );
    }
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
    let _place = beside_others().await;
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

/// Not one byte is left, and no reserve is kept: what must be durable cannot be. The server says so and ends by itself.
async fn says_so_and_ends_with_nothing_left(scene: &mut Scene, ballast: &Path, turns: &mut Range<u32>) {
    fill(ballast, 0);
    let log = scene.world.party_log(PARTY);
    let before = read(&log).len();
    let since = Instant::now();
    while !read(&log)[before..].contains("the store failed") {
        let turn = turns.next().expect("it has to write something");
        assert!(since.elapsed() < DEADLINE, "it wrote {turn} times to a full disk");
        scene.vote(turn..turn + 1).await;
    }
    let server = scene.world.take_party(PARTY).expect("it ran");
    let ended = server
        .ended_within(Duration::from_secs(20))
        .expect("it can be waited for")
        .expect("it ends");
    assert!(!ended.success());
    says(&read(&log)[before..], &["the store failed", "store.failed"]);
}

/// What it acknowledged is there when it starts again with room, it goes on, and what voters were told counts.
async fn goes_on_and_all_counts(scene: &mut Scene, acknowledged: u64, turns: &mut Range<u32>) {
    scene
        .world
        .start_party(PARTY)
        .expect("it reads back what is there");
    scene.await_accepting(PARTY).await;
    let here = accepted(scene).await;
    assert!(here >= acknowledged, "{here} of {acknowledged}");
    for of in 0..PARTY {
        scene.await_followed(PARTY, of).await;
        scene.await_followed(of, PARTY).await;
    }
    // `client vote` of the first part cast one more: it is superseded by the same voter's later ballot.
    let turn = turns.next().expect("a turn");
    scene.vote(turn..turn + 1).await;
    await_that("it takes ballots again", async || accepted(scene).await > here).await;
    let done = scene.crowd.done().to_vec();
    scene.counted_right(&done);
}

async fn accepted(scene: &Scene) -> u64 {
    let status = scene.asked(PARTY).await.expect("status");
    status.boxes[0].received_online
}

/// What is below a directory that has a name no longer.
fn copy_below(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (name, target) = (entry.file_name(), to.join(entry.file_name()));
        if entry.file_type().expect("a type").is_dir() {
            fs::create_dir(&target).expect("made");
            copy_below(&from.join(name), &target);
        } else if name != BALLAST {
            fs::copy(entry.path(), &target).expect("copied");
        }
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
    let ballast = scene.world.root.join("party-3/data").join(BALLAST);
    let mut turns = 4..400;
    refuses_below_its_reserve_and_goes_on_by_itself(&mut scene, &ballast).await;

    scene.world.stop_party(PARTY).expect("stopped");
    scene
        .world
        .configure(PARTY, "disk_reserve_mib", "0")
        .expect("set");
    scene.world.start_party(PARTY).expect("started");
    scene.await_accepting(PARTY).await;
    let acknowledged = accepted(&scene).await;
    says_so_and_ends_with_nothing_left(&mut scene, &ballast, &mut turns).await;
    fs::remove_file(&ballast).expect("there is room again");
    goes_on_and_all_counts(&mut scene, acknowledged, &mut turns).await;
}

/// On an empty file system in memory that only this process sees, and everybody who may look into it.
async fn start_in_a_namespace(scene: &mut Scene) -> PathBuf {
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
    PathBuf::from(format!("/proc/{process}/root{}", data.display()))
}

async fn one_of_the_process() {
    let mut scene = Scene::behind(0, |_, listens| Ok(listens), configure);
    let mut turns = 4..400;
    // The same party, on an empty disk of its own: it gets back from the others what it had.
    scene.world.stop_party(PARTY).expect("stopped");
    let seen = start_in_a_namespace(&mut scene).await;
    refuses_below_its_reserve_and_goes_on_by_itself(&mut scene, &seen.join(BALLAST)).await;

    scene.world.stop_party(PARTY).expect("stopped");
    scene
        .world
        .configure(PARTY, "disk_reserve_mib", "0")
        .expect("set");
    let seen = start_in_a_namespace(&mut scene).await;
    for of in 0..PARTY {
        scene.await_followed(PARTY, of).await;
    }
    let turn = turns.next().expect("a turn");
    scene.vote(turn..turn + 1).await;
    let acknowledged = accepted(&scene).await;
    // The namespace ends with its process; the file system stays while somebody has it open.
    let held = fs::File::open(&seen).expect("this user's own");
    let left = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    says_so_and_ends_with_nothing_left(&mut scene, &seen.join(BALLAST), &mut turns).await;
    assert!(!seen.exists(), "the process is gone");
    // Moved as it is to a disk with room.
    let data = scene.world.root.join("party-3/data");
    fs::remove_dir_all(&data).expect("what was there before");
    fs::create_dir(&data).expect("made");
    copy_below(&left, &data);
    goes_on_and_all_counts(&mut scene, acknowledged, &mut turns).await;
}
