//! Which connections are open: of whom, and which one gives way when there are too many.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::connection::Activity;
use super::{Caller, Guard, Limits, Turned, network, subscriber};

/// The open connections of a listener.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Connection>,
    /// Of those whose callers are not known.
    strangers: usize,
    addresses: HashMap<IpAddr, usize>,
    networks: HashMap<IpAddr, usize>,
    callers: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Connection {
    address: IpAddr,
    network: IpAddr,
    caller: Option<Arc<str>>,
    activity: Arc<Activity>,
    end: oneshot::Sender<()>,
}

/// A place among the connections, given back when dropped.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) guard: Arc<Guard>,
    pub(super) network: IpAddr,
    pub(super) activity: Arc<Activity>,
    number: u64,
}

fn add<K: Eq + Hash>(counts: &mut HashMap<K, usize>, of: K) {
    *counts.entry(of).or_default() += 1;
}

fn subtract<K: Eq + Hash>(counts: &mut HashMap<K, usize>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

fn count<K: Eq + Hash>(counts: &HashMap<K, usize>, of: &K) -> usize {
    counts.get(of).copied().unwrap_or(0)
}

impl Open {
    fn put(&mut self, number: u64, connection: Connection) {
        match &connection.caller {
            Some(caller) => add(&mut self.callers, Arc::clone(caller)),
            None => {
                add(&mut self.addresses, connection.address);
                add(&mut self.networks, connection.network);
                self.strangers += 1;
            }
        }
        self.connections.insert(number, connection);
    }

    fn remove(&mut self, number: u64) -> Option<Connection> {
        let connection = self.connections.remove(&number)?;
        match &connection.caller {
            Some(caller) => subtract(&mut self.callers, caller),
            None => {
                subtract(&mut self.addresses, &connection.address);
                subtract(&mut self.networks, &connection.network);
                self.strangers -= 1;
            }
        }
        Some(connection)
    }

    /// The connection on which nothing has been done for longest, of those that `may`.
    fn longest_idle(&self, may: impl Fn(&Connection) -> bool) -> Option<u64> {
        let idle = self.connections.iter().filter(|(_, connection)| may(connection));
        let since = idle.filter_map(|(number, connection)| {
            let since: Instant = connection.activity.may_give_way()?;
            Some((since, *number))
        });
        since.min().map(|(_, number)| number)
    }

    /// Makes room for a connection of `of` where all places are taken: at the cost of the network with most, if that has more.
    fn make_room(&mut self, of: IpAddr) -> bool {
        let most = self.networks.values().copied().max().unwrap_or(0);
        if most <= count(&self.networks, &of) {
            return false;
        }
        let longest = self.longest_idle(|connection| {
            connection.caller.is_none() && count(&self.networks, &connection.network) == most
        });
        self.close(longest)
    }

    fn close(&mut self, number: Option<u64>) -> bool {
        let Some(connection) = number.and_then(|number| self.remove(number)) else {
            return false;
        };
        // One that has just ended need not be told.
        let _ = connection.end.send(());
        true
    }
}

impl Registry {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections of callers that are not known.
    pub(super) fn strangers(&self) -> usize {
        self.open().strangers
    }

    /// A place for a connection from there, which hears when it gives way.
    pub(super) fn admit(
        guard: &Arc<Guard>,
        address: IpAddr,
    ) -> Result<(Pass, oneshot::Receiver<()>), Turned> {
        let (network, address) = (network(address), subscriber(address));
        let limits: &Limits = &guard.limits;
        let mut open = guard.registry.open();
        if count(&open.addresses, &address) >= limits.connections_per_address {
            return Err(Turned::Address);
        }
        if open.strangers >= limits.connections {
            if !open.make_room(network) {
                return Err(Turned::Connections);
            }
            guard.turn(Turned::GaveWay);
        }
        let number = open.next;
        open.next += 1;
        let activity = Arc::new(Activity::new());
        let (end, ends) = oneshot::channel();
        let connection = Connection {
            address,
            network,
            caller: None,
            activity: Arc::clone(&activity),
            end,
        };
        open.put(number, connection);
        let pass = Pass {
            guard: Arc::clone(guard),
            network,
            activity,
            number,
        };
        Ok((pass, ends))
    }
}

impl Pass {
    /// From now on the connection counts as one of `caller`, and no longer among the strangers'. If that is one too many, the caller's own that has
    /// idled for longest is closed. Returns whether there is room.
    pub(super) fn is_of(&self, caller: &Caller) -> bool {
        let mut open = self.guard.registry.open();
        if (open.connections.get(&self.number)).is_some_and(|connection| connection.caller.is_some()) {
            return true;
        }
        if count(&open.callers, &caller.name) >= caller.connections {
            self.guard.turn_caller(&caller.name);
            let longest = open.longest_idle(|other| other.caller.as_ref() == Some(&caller.name));
            if !open.close(longest) {
                return false;
            }
        }
        let Some(mut connection) = open.remove(self.number) else {
            // It has given way meanwhile.
            return false;
        };
        connection.caller = Some(Arc::clone(&caller.name));
        self.activity.known();
        open.put(self.number, connection);
        true
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // It is not there any more if it gave way.
        self.guard.registry.open().remove(self.number);
    }
}

#[cfg(test)]
impl Registry {
    pub(super) fn is_empty(&self) -> bool {
        let open = self.open();
        open.connections.is_empty()
            && open.strangers == 0
            && open.addresses.is_empty()
            && open.networks.is_empty()
            && open.callers.is_empty()
    }
}
