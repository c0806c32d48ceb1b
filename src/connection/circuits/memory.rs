//! What a connection holds of the endpoint's pool: its account, writers that wait for room, and what goes first when there
//! is little.

use std::collections::VecDeque;

use super::{CONTROL, Circuits};
use crate::connection::circuit::{Circuit, REORDERS, WAITS_FOR_MEMORY};
use crate::endpoint::shared::Shared;
use crate::error::CloseReason;
use crate::pool::{AccountId, BLOCK_SIZE, NOBODY, Pool, Use};

/// Circuits that are gone, which the lists may hold.
const STALE: usize = 64;

/// Those who write: on whose account, and who waits for room in the pool.
#[derive(Default)]
pub(super) struct Writers {
    /// To which all blocks of the connection's queues are counted.
    pub account: AccountId,
    /// Circuits whose writers wait, the longest waiting first.
    waiting: VecDeque<u32>,
}

impl Writers {
    /// Whether a writer can go on; if not, its circuit stands in line from now on.
    pub fn admits(&mut self, wire: u32, circuit: &mut Circuit, shared: &mut Shared) -> bool {
        let admitted = shared.pool.admits_writers(self.account);
        if !admitted && circuit.enter(WAITS_FOR_MEMORY) {
            self.waiting.push_back(wire);
            shared.pool.wait(self.account);
        }
        admitted
    }

    /// The connection has ended.
    pub fn forget(&mut self) {
        self.waiting = VecDeque::new();
    }
}

impl Circuits {
    /// What a circuit has where it was decrypted moves into blocks.
    pub fn settle_arrivals(&mut self, wire: u32, shared: &mut Shared) {
        if let Some(circuit) = self.circuits.get_mut(&wire)
            && let Some(tcb) = circuit.tcp.awake_mut()
        {
            tcb.settle_arrivals(&mut shared.pool);
        }
    }

    /// Opens the account of the connection.
    pub(super) fn open_account(&mut self, shared: &mut Shared) {
        if self.writers.account == NOBODY {
            self.writers.account = shared.pool.open(self.id);
        }
    }

    /// Octets held, in whole blocks.
    pub fn memory(&self, shared: &Shared) -> u64 {
        if self.writers.account == NOBODY {
            return 0;
        }
        shared.pool.held(self.writers.account)
    }

    /// Octets that can be written now, as far as memory goes.
    pub fn writable_memory(&self, pool: &Pool) -> usize {
        usize::try_from(pool.offer(self.writers.account, Use::Send)).unwrap_or(usize::MAX)
    }

    // ---- writers ----

    /// The pool has room again: of the writers that were cut short for lack of it, as many are told as there are blocks.
    pub fn memory_is_back(&mut self, shared: &mut Shared) {
        let blocks = shared.pool.room(self.writers.account, Use::Send) / BLOCK_SIZE as u64;
        for _ in 0..blocks {
            let Some(wire) = self.writers.waiting.pop_front() else {
                return;
            };
            if let Some(circuit) = self.circuits.get_mut(&wire) {
                circuit.lists &= !WAITS_FOR_MEMORY;
                self.report(wire, shared);
            }
        }
        if !self.writers.waiting.is_empty() {
            // If those that were told leave some, they are next.
            shared.pool.wait_in_front(self.writers.account);
        }
    }

    /// A circuit is gone.
    pub(super) fn tidy_writers(&mut self) {
        if self.writers.waiting.len() > 2 * self.circuits.len() + STALE {
            let circuits = &self.circuits;
            self.writers
                .waiting
                .retain(|wire| circuits.contains_key(wire));
        }
    }

    // ---- what goes first ----

    /// A circuit holds data out of order.
    pub(super) fn note_out_of_order(&mut self, wire: u32, shared: &mut Shared) {
        let Some(circuit) = self.circuits.get_mut(&wire) else {
            return;
        };
        if !circuit.enter(REORDERS) {
            return;
        }
        self.reordering.push(wire);
        if !std::mem::replace(&mut self.listed, true) {
            shared.reordering.push(self.id);
        }
        if self.reordering.len() > 2 * self.circuits.len() + STALE {
            let circuits = &self.circuits;
            self.reordering.retain(|wire| circuits.contains_key(wire));
        }
    }

    /// Forgets data out of order, the oldest holder first, as long as `more` says so; returns octets freed.
    fn renege_while(&mut self, shared: &mut Shared, more: impl Fn(&Pool) -> bool) -> u64 {
        let before = shared.pool.in_use();
        let mut kept = 0;
        while kept < self.reordering.len() && more(&shared.pool) {
            let circuit = self.circuits.get_mut(&self.reordering[kept]);
            kept += 1;
            if let Some(circuit) = circuit {
                circuit.lists &= !REORDERS;
                if let Some(tcb) = circuit.tcp.awake_mut() {
                    tcb.renege(&mut shared.pool);
                }
            }
        }
        self.reordering.drain(..kept);
        before - shared.pool.in_use()
    }

    /// Short of room for received data: data out of order makes some.
    pub(super) fn make_room(&mut self, shared: &mut Shared) {
        if !self.reordering.is_empty() && shared.pool.is_tight(self.writers.account) {
            let account = self.writers.account;
            self.renege_while(shared, |pool| pool.is_tight(account));
        }
    }

    /// Forgets out-of-order data; returns octets freed. The connection is not in the endpoint's list any more.
    pub fn renege(&mut self, shared: &mut Shared) -> u64 {
        self.listed = false;
        self.renege_while(shared, |_| true)
    }

    /// Octets queued by each circuit other than control, with wire identifiers.
    pub fn holdings(&self) -> impl Iterator<Item = (u32, usize)> {
        self.circuits
            .iter()
            .filter(|&(&wire, c)| wire != CONTROL && !c.buried)
            .filter_map(|(&wire, c)| Some((wire, c.tcp.awake()?.queued())))
    }

    /// Resets a circuit for lack of memory; the relay is told.
    pub fn shed(&mut self, wire: u32, shared: &mut Shared) {
        self.settle(wire, shared);
        let Some(circuit) = self.circuits.get_mut(&wire) else {
            return;
        };
        if let Some(reset) = circuit
            .tcp
            .wake()
            .abort(&mut shared.pool, CloseReason::Memory)
        {
            self.send_reset(wire, reset);
        }
        self.bury(wire, shared);
        self.report(wire, shared);
        self.remove_if_done(wire, shared);
    }
}
