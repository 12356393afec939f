use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_proto::ids::Role;
use tempfile::TempDir;

use super::*;
use crate::officials::{Label, Share, Terms};

struct Scene {
    root: TempDir,
    key: UnlockKey,
    shares: Vec<Share>,
    public: Public,
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let scene = Self::at(tempfile::tempdir().expect("directory"), seed);
        scene.write();
        scene
    }

    fn at(root: TempDir, seed: u64) -> Scene {
        let mut rng = StdRng::seed_from_u64(seed);
        let key = UnlockKey::generate(&mut rng);
        let terms = Terms::new(3, 2).expect("terms");
        let (shares, public) = key.split(Role::P1, terms, &mut rng).expect("split");
        Scene {
            root,
            key,
            shares,
            public,
        }
    }

    fn write(&self) {
        let mut rng = StdRng::seed_from_u64(9);
        let sealed = Sealed::seal(
            Use::Keys,
            &self.public,
            &self.key,
            &[(Label::Storage, &[1; 32])],
            &mut rng,
        );
        std::fs::write(self.sealed(), sealed.encode()).expect("written");
    }

    fn sealed(&self) -> PathBuf {
        self.root.path().join("sealed")
    }

    fn share(&self, number: usize) -> Share {
        Share::from_bytes(&self.shares[number - 1].to_bytes()).expect("share")
    }

    fn wanted(&self) -> Request {
        Request::Key {
            party: self.public.party,
            ceremony: self.public.ceremony,
        }
    }
}

fn refused(reply: Reply) -> String {
    match reply {
        Reply::Refused(words) => words,
        other => panic!("not refused: {other:?}"),
    }
}

fn stated(reply: Reply) -> State {
    match reply {
        Reply::State(state) => state,
        other => panic!("no state: {other:?}"),
    }
}

#[test]
fn the_key_is_given_once_enough_officials_came_and_forgotten_when_told() {
    let scene = Scene::new(1);
    let mut holder = Holder::new(scene.sealed());
    let state = stated(holder.answer(Request::State));
    assert_eq!((state.given, state.unlocked), (0, false));
    assert!(!stated(holder.answer(scene.wanted())).unlocked);
    assert_eq!(stated(holder.answer(Request::Share(scene.share(3)))).given, 0b100);
    assert!(refused(holder.answer(Request::Share(scene.share(3)))).contains("given already"));
    assert!(
        !stated(holder.answer(scene.wanted())).unlocked,
        "one share is not enough"
    );
    let state = stated(holder.answer(Request::Share(scene.share(1))));
    assert_eq!(
        (state.given, state.unlocked),
        (0, true),
        "the shares are forgotten"
    );
    let Reply::Key(key) = holder.answer(scene.wanted()) else {
        panic!("no key");
    };
    assert_eq!(&*key, scene.key.bytes());
    let other = Request::Key {
        party: Role::P2,
        ceremony: scene.public.ceremony,
    };
    assert!(refused(holder.answer(other)).contains("of P2"));
    assert!(!stated(holder.answer(Request::Lock)).unlocked);
    assert!(!stated(holder.answer(scene.wanted())).unlocked);
}

#[test]
fn a_new_ceremony_makes_the_old_key_forgotten_and_old_shares_refused() {
    let scene = Scene::new(1);
    let mut holder = Holder::new(scene.sealed());
    for number in [1, 2] {
        holder.answer(Request::Share(scene.share(number)));
    }
    assert!(stated(holder.answer(Request::State)).unlocked);
    let old = [scene.share(1), scene.share(2)];
    let wanted = scene.wanted();
    let scene = Scene::at(scene.root, 2);
    scene.write();
    assert!(refused(holder.answer(wanted)).contains("was asked for"));
    assert!(!stated(holder.answer(scene.wanted())).unlocked);
    for share in old {
        assert!(refused(holder.answer(Request::Share(share))).contains("an older sheet"));
    }
    std::fs::remove_file(scene.sealed()).expect("removed");
    refused(holder.answer(Request::State));
    assert!(holder.held.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_answers_its_own_user_in_a_private_directory_only() {
    let scene = Scene::new(1);
    let directory = scene.root.path().join("run");
    assert!(matches!(state(&directory), Err(HolderError::NotRunning(_))));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (sealed, at) = (scene.sealed(), directory.clone());
    let holding = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        hold(&sealed, &at, stopped, || {
            let _ = ready.send(());
        })
        .await
    });
    tokio::time::timeout(Duration::from_secs(20), is_ready)
        .await
        .expect("in time")
        .expect("listens");
    let mode = std::fs::metadata(&directory).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let (public, one, two) = (scene.public.clone(), scene.share(1), scene.share(2));
    let (at, forged) = (directory.clone(), scene.share(1));
    let unlocked = tokio::task::spawn_blocking(move || {
        assert!(key(&at, &public).expect("asked").is_none());
        give(&at, one).expect("taken");
        let again = give(&at, forged).expect_err("twice").to_string();
        assert!(again.contains("share 1 was given already"), "{again}");
        // A line of rubbish gets an answer and harms nothing.
        let mut stream = UnixStream::connect(at.join(SOCKET)).expect("connected");
        client::write_frame(&mut stream, &[77; 12]).expect("sent");
        let reply = client::read_frame(&mut stream).expect("answered");
        assert!(matches!(Reply::decode(&reply), Ok(Reply::Refused(_))));
        assert!(give(&at, two).expect("taken").unlocked);
        *key(&at, &public).expect("asked").expect("unlocked").bytes()
    })
    .await
    .expect("ran");
    assert_eq!(&unlocked, scene.key.bytes());
    // A second holder does not take its place, and a directory that others may enter is refused by both sides.
    let second = hold(&scene.sealed(), &directory, std::future::pending(), || {}).await;
    assert!(matches!(second, Err(HoldError::Socket(HolderError::Running(_)))));
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o750)).expect("chmod");
    assert!(matches!(state(&directory), Err(HolderError::Exposed(_))));
    let third = hold(&scene.sealed(), &directory, std::future::pending(), || {}).await;
    assert!(matches!(third, Err(HoldError::Socket(HolderError::Exposed(_)))));
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).expect("chmod");
    stop.send(()).expect("told");
    tokio::time::timeout(Duration::from_secs(20), holding)
        .await
        .expect("in time")
        .expect("ran")
        .expect("held");
    assert!(!directory.join(SOCKET).exists());
}

#[test]
fn a_path_too_long_for_a_socket_is_said() {
    let scene = Scene::new(1);
    let directory = scene.root.path().join("d".repeat(120));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    let error = runtime
        .block_on(hold(&scene.sealed(), &directory, async {}, || {}))
        .expect_err("too long");
    assert!(
        matches!(error, HoldError::Socket(HolderError::TooLong(_))),
        "{error}"
    );
}
