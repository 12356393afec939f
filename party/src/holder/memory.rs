//! Keeps a process's memory from other processes of its user, from core dumps and from swap, as far as the system lets it.

/// What the system did not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unguarded {
    /// Core dumps and debuggers of the same user are possible.
    Dumps,
    /// Memory may be written to swap.
    Swap,
}

impl std::fmt::Display for Unguarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Unguarded::Dumps => "the system does not keep this process's memory out of core dumps",
            Unguarded::Swap => {
                "the system does not lock this process's memory: give it the right (LimitMEMLOCK=infinity in its systemd unit), or encrypt \
                 or turn off swap"
            }
        })
    }
}

/// No core dumps, and no debugger of the same user. Root stays able to read everything.
///
/// # Errors
/// [`Unguarded::Dumps`].
pub fn keep_out_of_dumps() -> Result<(), Unguarded> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .and_then(|()| setrlimit(Resource::Core, none))
            .map_err(|_| Unguarded::Dumps)
    }
    #[cfg(not(target_os = "linux"))]
    Err(Unguarded::Dumps)
}

/// Keeps all of this process's memory, now and later, out of swap.
///
/// # Errors
/// [`Unguarded::Swap`]: the process may not lock as much.
pub fn keep_out_of_swap() -> Result<(), Unguarded> {
    #[cfg(unix)]
    {
        use rustix::mm::{MlockAllFlags, mlockall};
        mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).map_err(|_| Unguarded::Swap)
    }
    #[cfg(not(unix))]
    Err(Unguarded::Swap)
}
