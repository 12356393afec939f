//! The machine under a party: room on its volumes, size of the store, memory, the certificate's end.

use std::path::Path;

use tally_proto::ids::UnixSeconds;
use tally_proto::wire;

use crate::party::Party;
use crate::store::Storage;

/// Free and all bytes of the volume of a directory; `None` where the system does not say.
fn volume(directory: &Path) -> Option<(u64, u64)> {
    // The session logs' directory comes with the first session: its nearest parent that is there is on the same volume.
    let there = directory.ancestors().find(|path| path.is_dir())?;
    let seen = rustix::fs::statvfs(there).ok()?;
    Some((
        seen.f_bavail.saturating_mul(seen.f_frsize),
        seen.f_blocks.saturating_mul(seen.f_frsize),
    ))
}

/// This process's memory in use; 0 where the system does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) * 1024
}

impl Party {
    /// The machine now. Asks the operating system a few times: call it from a blocking thread.
    pub(crate) fn machine(&self) -> wire::Machine {
        let tightest = [&self.data_dir, &self.session_logs]
            .into_iter()
            .filter_map(|directory| volume(directory))
            .min();
        let (free, all) = tightest.unwrap_or_default();
        let store = std::fs::metadata(self.data_dir.join(Storage::FILE)).map_or(0, |file| file.len());
        wire::Machine {
            disk_free_bytes: free,
            disk_bytes: all,
            store_bytes: store,
            resident_bytes: resident_bytes(),
            certificate_ends_s: self.leaf.ends().map_or(0, UnixSeconds::get),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_volume_and_memory() {
        let (free, all) = volume(Path::new("/tmp/not-there/nor-there")).expect("a volume");
        assert!(0 < all && free <= all);
        assert!(resident_bytes() > 1 << 20);
    }
}
