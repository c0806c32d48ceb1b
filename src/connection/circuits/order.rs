//! All circuits in the order in which they began, for what is done to some of them at a time: a walk can stop anywhere and
//! goes on there, whatever has come and gone meanwhile.
//!
//! Each circuit names the one before and the one after it. The control circuit is the first, and there until all others are
//! gone; after the last one comes nobody, for whom it stands again.

use super::chores::Chores;
use super::{CONTROL, Circuits};
use crate::connection::circuit::Circuit;

/// The circuit that is visited next; none when all were.
pub(super) type Walk = Option<u32>;

/// From the first.
pub(super) const ALL: Walk = Some(CONTROL);

/// Which walk is meant.
pub(super) type WhichWalk = fn(&mut Chores) -> &mut Walk;

impl Circuits {
    /// Puts a circuit in, as the last.
    pub(super) fn append(&mut self, wire: u32, mut circuit: Box<Circuit>) {
        circuit.before = self.newest;
        circuit.after = CONTROL;
        if let Some(newest) = self.circuits.get_mut(&self.newest) {
            newest.after = wire;
        }
        self.newest = wire;
        self.circuits.insert(wire, circuit);
    }

    /// Takes a circuit out.
    pub(super) fn take_out(&mut self, wire: u32) -> Option<Box<Circuit>> {
        let circuit = self.circuits.remove(&wire)?;
        for which in Chores::WALKS {
            let walk = which(&mut self.chores);
            if *walk == Some(wire) {
                *walk = Self::to(circuit.after);
            }
        }
        if let Some(before) = self.circuits.get_mut(&circuit.before) {
            before.after = circuit.after;
        }
        if circuit.after == CONTROL {
            self.newest = circuit.before;
        } else if let Some(after) = self.circuits.get_mut(&circuit.after) {
            after.before = circuit.before;
        }
        Some(circuit)
    }

    fn to(wire: u32) -> Walk {
        (wire != CONTROL).then_some(wire)
    }

    /// The circuit that has its turn in a walk.
    pub(super) fn step(&mut self, which: WhichWalk) -> Option<u32> {
        let wire = (*which(&mut self.chores))?;
        let after = self.circuits.get(&wire).map_or(CONTROL, |c| c.after);
        *which(&mut self.chores) = Self::to(after);
        Some(wire)
    }

    /// The circuit after the control circuit, if there is one.
    pub(super) fn oldest(&self) -> Option<u32> {
        Self::to(self.circuits.get(&CONTROL)?.after)
    }
}
