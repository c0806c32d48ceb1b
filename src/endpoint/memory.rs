//! How much the endpoint's queues hold, and what gives way when there is little.

use super::Endpoint;
use crate::config::SMALLEST_BUDGET;
use crate::connection::Phase;
use crate::error::Error;

/// Connections that are gone, which the list of those with data out of order may hold.
const STALE: usize = 64;

/// Connections whose writers are told in one call that there is memory again.
const WAITERS_PER_TURN: usize = 64;

impl Endpoint {
    /// Octets of queued data held, in whole blocks.
    pub fn memory(&self) -> u64 {
        self.shared.pool.in_use()
    }

    /// Changes how much the queues may hold, in octets; shares of connections follow. What is held already stays: no
    /// block is handed out until less is in use, and what arrives is treated as when memory runs short.
    ///
    /// # Errors
    /// [`Error::Argument`] below 65,536.
    pub fn set_memory_budget(&mut self, octets: u64) -> Result<(), Error> {
        if octets < SMALLEST_BUDGET {
            return Err(Error::Argument);
        }
        self.shared.config.memory_budget = octets;
        self.shared.pool.set_budget(octets);
        Ok(())
    }

    /// Frees at least `bytes` of queued data if there are as many; returns what was freed. Out-of-order data goes
    /// first (the peer sends it again), then the circuits that hold most are reset.
    pub fn shed(&mut self, bytes: u64) -> u64 {
        let before = self.shared.pool.in_use();
        let target = before.saturating_sub(bytes);
        while self.shared.pool.in_use() > target && self.release_some() {}
        self.renege_until(target);
        if self.shared.pool.in_use() > target {
            let mut holdings: Vec<(bool, usize, u32, u32)> = self
                .connections
                .iter()
                .flat_map(|(&key, c)| {
                    // What has ended with its connection goes before anything that lives.
                    let over = c.phase == Phase::Closed;
                    let holdings = c.circuits.holdings();
                    holdings.map(move |(wire, n)| (over, n, key, wire))
                })
                .filter(|&(_, n, _, _)| n > 0)
                .collect();
            holdings.sort_unstable();
            while self.shared.pool.in_use() > target
                && let Some((_, _, key, wire)) = holdings.pop()
            {
                if let Some(connection) = self.connections.get_mut(&key) {
                    connection.circuits.shed(wire, &mut self.shared);
                }
                self.after(key);
            }
        }
        self.shared.pool.trim();
        before - self.shared.pool.in_use()
    }

    /// Has connections forget data out of order until no more than `target` octets are in use.
    fn renege_until(&mut self, target: u64) {
        while self.shared.pool.in_use() > target
            && let Some(key) = self.shared.reordering.pop()
        {
            if let Some(connection) = self.connections.get_mut(&key) {
                connection.circuits.renege(&mut self.shared);
            }
        }
    }

    /// A connection is gone.
    pub(super) fn tidy_memory(&mut self) {
        let connections = &self.connections;
        let reordering = &mut self.shared.reordering;
        if reordering.len() > 2 * connections.len() + STALE {
            reordering.retain(|key| connections.contains_key(key));
        }
    }

    /// What has stayed where it was decrypted gives its room to what arrives next.
    pub(super) fn settle_arrivals(&mut self) {
        let owners = self.shared.pool.arrivals.take_owners();
        for &(key, wire) in &owners {
            let circuits = match self.connections.get_mut(&key) {
                Some(connection) => Some(&mut connection.circuits),
                // The relay has let go of it.
                None => self.released.iter_mut().find(|c| c.connection() == key),
            };
            if let Some(circuits) = circuits {
                circuits.settle_arrivals(wire, &mut self.shared);
            }
        }
        self.shared.pool.arrivals.give_owners(owners);
    }

    /// Whether [`Endpoint::inject`] would begin with that: better, the relay reads it before.
    pub(crate) fn arrivals_are_full(&self) -> bool {
        self.shared.pool.arrivals.is_full()
    }

    /// What follows from how much is in use: data out of order gives way, and writers are told that they may go on.
    #[inline]
    pub(super) fn tend_memory(&mut self) {
        if self.shared.pool.wants_attention() {
            self.attend_to_memory();
        }
    }

    fn attend_to_memory(&mut self) {
        if self.shared.pool.wants_out_of_order() {
            self.renege_until(0);
        }
        for _ in 0..self.shared.pool.unchecked().min(WAITERS_PER_TURN) {
            if let Some(key) = self.shared.pool.check_next()
                && let Some(connection) = self.connections.get_mut(&key)
            {
                connection.circuits.memory_is_back(&mut self.shared);
            }
        }
        self.shared.pool.settle();
    }
}
