//! The directory of revocation lists that an operator fills.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::SystemTime;

use super::RevocationList;
use crate::ids::Hash32;
use crate::manifest::Register;

/// A file's time of change and length.
type Version = (SystemTime, u64);

/// What a file held when it was that version; none: no list of those issuing CAs.
type Held = (Version, Option<Arc<RevocationList>>);

/// A directory of revocation lists; a file is read again when it changes.
#[derive(Debug, Default)]
pub struct ListDirectory {
    path: PathBuf,
    /// By path and issuing CAs; of files that are there.
    known: Mutex<HashMap<(PathBuf, Hash32), Held>>,
    /// One file is read at a time.
    reading: Mutex<()>,
}

impl ListDirectory {
    /// The directory at that path, which need not be there yet.
    pub fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            ..Self::default()
        }
    }

    /// The lists of the register's issuing CAs that are there now. `told` is told once of every file that was read, and what it holds or why it
    /// is no list of this register: such a file is passed over, and a list that is missing then refuses. While a file that has changed is read, for
    /// which a large one takes a while, everybody else goes on with the list that it held before.
    pub fn lists(
        &self,
        register: &Register,
        mut told: impl FnMut(&Path, Result<&RevocationList, &str>),
    ) -> Vec<Arc<RevocationList>> {
        let issuers = Hash32::of(&register.issuers().concat());
        let (mut lists, mut there) = (Vec::new(), HashSet::new());
        for entry in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let Ok(about) = entry.metadata() else { continue };
            let changed = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let key = (entry.path(), issuers);
            lists.extend(self.list(&key, (changed, about.len()), register, &mut told));
            there.insert(key.0);
        }
        // Lists with a date in their names come and go, and are large.
        lock(&self.known).retain(|(path, _), _| there.contains(path));
        lists
    }

    /// What that version of a file holds, read if it was not yet.
    fn list(
        &self,
        key: &(PathBuf, Hash32),
        version: Version,
        register: &Register,
        told: &mut impl FnMut(&Path, Result<&RevocationList, &str>),
    ) -> Option<Arc<RevocationList>> {
        let before = match self.held(key) {
            Some((of, list)) if of == version => return list,
            other => other.and_then(|(_, list)| list),
        };
        let _reading = match (self.reading.try_lock(), before) {
            (Ok(reading), _) => reading,
            (Err(TryLockError::WouldBlock), Some(before)) => return Some(before),
            (Err(_), _) => lock(&self.reading),
        };
        // Whoever waited finds it read.
        if let Some((of, list)) = self.held(key)
            && of == version
        {
            return list;
        }
        let read = std::fs::read(&key.0)
            .map_err(|error| error.to_string())
            .and_then(|bytes| RevocationList::read(register, &bytes).map_err(|error| error.to_string()));
        told(&key.0, read.as_ref().map_err(String::as_str));
        let list = read.ok().map(Arc::new);
        lock(&self.known).insert(key.clone(), (version, list.clone()));
        list
    }

    fn held(&self, key: &(PathBuf, Hash32)) -> Option<Held> {
        lock(&self.known).get(key).cloned()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;

    use super::*;
    use crate::fixture::cards::DAY;
    use crate::fixture::{OPENS, Shape, World};

    /// Lists of so many serials.
    fn sizes(lists: &[Arc<RevocationList>]) -> Vec<usize> {
        let mut sizes: Vec<_> = lists.iter().map(|list| list.len()).collect();
        sizes.sort_unstable();
        sizes
    }

    fn world() -> World {
        World::new(Shape {
            cards: true,
            ..Shape::default()
        })
    }

    fn write(world: &World, path: &Path, serials: u8) {
        let serials: Vec<_> = (1..=serials).map(|serial| vec![serial]).collect();
        let cards = world.cards.as_ref().expect("cards");
        fs::write(path, cards.revocations(&serials, OPENS, OPENS + DAY)).expect("written");
    }

    #[test]
    fn what_is_deleted_is_forgotten_and_nothing_is_read_twice() {
        let world = world();
        let register = world.manifest.manifest().register().expect("a register");
        let directory = tempfile::tempdir().expect("a directory");
        let lists = ListDirectory::of(directory.path());
        for day in 1..=5u8 {
            write(
                &world,
                &directory.path().join(format!("crl-2026-11-0{day}.crl")),
                day,
            );
            if day > 1 {
                let old = format!("crl-2026-11-0{}.crl", day - 1);
                fs::remove_file(directory.path().join(old)).expect("removed");
            }
            for times in [1, 0] {
                let mut read = 0;
                let found = lists.lists(register, |_, _| read += 1);
                assert_eq!((sizes(&found), read), (vec![usize::from(day)], times));
                assert_eq!(lock(&lists.known).len(), 1, "of the file that is there");
            }
        }
    }

    #[test]
    fn while_a_changed_list_is_read_others_go_on_with_the_one_before() {
        let world = world();
        let register = world.manifest.manifest().register().expect("a register");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cards.crl");
        let lists = ListDirectory::of(directory.path());
        write(&world, &path, 1);
        assert_eq!(sizes(&lists.lists(register, |_, _| ())), [1]);
        write(&world, &path, 2);
        let (begun, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel();
        std::thread::scope(|scope| {
            let all = &lists;
            let slow = scope.spawn(move || {
                all.lists(register, |_, _| {
                    begun.send(()).expect("heard");
                    may_go_on.recv().expect("told");
                })
            });
            has_begun.recv().expect("it is read");
            let others = scope.spawn(|| lists.lists(register, |_, _| panic!("read twice")));
            assert_eq!(sizes(&others.join().expect("at once")), [1]);
            go_on.send(()).expect("heard");
            assert_eq!(sizes(&slow.join().expect("read")), [2]);
        });
        assert_eq!(sizes(&lists.lists(register, |_, _| panic!("read again"))), [2]);
    }
}
