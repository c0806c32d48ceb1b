//! The end of a connection, and of all its circuits: some of them at a time, as all chores. A circuit whose turn has not
//! come ends before anything else is done with it, so that nobody finds it alive.

use std::collections::VecDeque;

use super::chores::{Chores, SOME};
use super::delayed_acks::DelayedAcks;
use super::order::ALL;
use super::{CONTROL, Circuits};
use crate::connection::resets::Resets;
use crate::connection::tombstones::Tombstones;
use crate::endpoint::shared::Shared;
use crate::endpoint::timers::Owner;
use crate::error::CloseReason;
use crate::time::Time;

impl Circuits {
    /// The connection has ended: so have all circuits. Those that are not reported now are by [`Circuits::do_chores`].
    pub fn end(&mut self, reason: CloseReason, shared: &mut Shared) {
        self.ended = Some(reason);
        self.held = false;
        self.active = VecDeque::new();
        self.delayed_acks = DelayedAcks::default();
        self.drowsy = VecDeque::new();
        self.backed_off = Vec::new();
        self.writers.forget();
        self.reordering = Vec::new();
        self.waiting = Default::default();
        self.passable = false;
        self.gates_at = Time::NEVER;
        self.group = None;
        self.replies = VecDeque::new();
        self.tombstones = Tombstones::default();
        self.resets = Resets::default();
        self.chores = Chores::default();
        self.chores.end = ALL;
        self.do_chores(self.last_received, shared);
    }

    /// Whether the connection has ended and all circuits were reported.
    pub fn is_over(&self) -> bool {
        self.ended.is_some() && self.chores.end.is_none()
    }

    /// Whether a circuit has ended with its connection, but was not visited yet.
    #[inline]
    pub fn is_late(&self, wire: u32) -> bool {
        self.ended.is_some() && self.circuits.get(&wire).is_some_and(|c| !c.buried)
    }

    /// Something is about to be done with a circuit: if it has ended with its connection, now it shows.
    #[inline]
    pub fn settle(&mut self, wire: u32, shared: &mut Shared) {
        if self.is_late(wire) {
            self.end_circuit(wire, shared);
        }
    }

    pub(super) fn end_circuit(&mut self, wire: u32, shared: &mut Shared) {
        let (Some(reason), Some(circuit)) = (self.ended, self.circuits.get_mut(&wire)) else {
            return;
        };
        if circuit.end().is_none() {
            circuit.tcp.wake().abort(&mut shared.pool, reason);
        }
        // What the relay never heard of ends unheard.
        circuit.closed_reported |= wire == CONTROL || !circuit.announced;
        circuit.forgotten |= !circuit.announced;
        self.bury(wire, shared);
        self.report(wire, shared);
        self.remove_if_done(wire, shared);
    }

    /// The connection is forgotten: gives the memory of some circuits back. Returns whether that were all.
    pub fn release(&mut self, shared: &mut Shared) -> bool {
        for _ in 0..SOME {
            // The others are found by the control circuit, so that goes last.
            let wire = self.oldest().unwrap_or(CONTROL);
            let Some(mut circuit) = self.take_out(wire) else {
                self.circuits.shrink_to_fit();
                shared.pool.close(std::mem::take(&mut self.writers.account));
                return true;
            };
            let owner = Owner::Circuit(self.id, wire);
            shared.timers.remove(owner, &mut circuit.timer);
            if let Some(tcb) = circuit.tcp.awake_mut() {
                tcb.release(&mut shared.pool);
            }
        }
        false
    }
}
