//! What concerns all circuits of a connection is done to some of them at a time: to visit 100,000 takes milliseconds. Those
//! that are visited late lose nothing but that time: the next ones follow with the next call, which is due at once.

use super::Circuits;
use super::order::{ALL, Walk, WhichWalk};
use crate::connection::circuit::BACKED_OFF;
use crate::endpoint::shared::Shared;
use crate::time::Time;

/// Circuits that are visited in a call, for each purpose.
pub(super) const SOME: usize = 512;

/// What is under way.
pub(super) struct Chores {
    /// Circuits are to hear of the path's size.
    resize: Walk,
    /// It has become smaller.
    shrank: bool,
    /// What was held back from the relay is to be told.
    report: Walk,
    /// The connection has ended, and so do its circuits.
    pub(super) end: Walk,
    /// Circuits that waited for a backed-off timer when the peer was heard again.
    revive: Vec<u32>,
    /// When to go on.
    at: Time,
}

impl Default for Chores {
    fn default() -> Chores {
        Chores {
            resize: None,
            shrank: false,
            report: None,
            end: None,
            revive: Vec::new(),
            at: Time::NEVER,
        }
    }
}

impl Chores {
    /// All walks.
    pub(super) const WALKS: [WhichWalk; 3] = [|c| &mut c.resize, |c| &mut c.report, |c| &mut c.end];

    fn is_done(&self) -> bool {
        let walks = [self.resize, self.report, self.end];
        walks.iter().all(Option::is_none) && self.revive.is_empty()
    }
}

impl Circuits {
    /// All circuits are to follow the path's size.
    pub(super) fn resize_all(&mut self, now: Time, shrank: bool, shared: &mut Shared) {
        self.chores.shrank = shrank || (self.chores.shrank && self.chores.resize.is_some());
        self.chores.resize = ALL;
        self.do_chores(now, shared);
    }

    /// What was held back is to be told, or not any more.
    pub(super) fn report_all(&mut self, report: bool, shared: &mut Shared) {
        self.chores.report = ALL.filter(|_| report);
        self.do_chores(self.last_received, shared);
    }

    /// The peer was heard after a silence: what waits for a backed-off timer goes out.
    pub(super) fn revive_all(&mut self, now: Time, shared: &mut Shared) {
        let revive = &mut self.chores.revive;
        if revive.is_empty() {
            // Nothing is copied.
            std::mem::swap(revive, &mut self.backed_off);
        }
        revive.append(&mut self.backed_off);
        self.do_chores(now, shared);
    }

    /// A retransmission timer has fired and was backed off.
    pub(super) fn note_backed_off(&mut self, wire: u32) {
        if let Some(circuit) = self.circuits.get_mut(&wire)
            && circuit.enter(BACKED_OFF)
        {
            self.backed_off.push(wire);
            if self.backed_off.len() > 2 * self.circuits.len() + SOME {
                let circuits = &self.circuits;
                self.backed_off.retain(|wire| circuits.contains_key(wire));
            }
        }
    }

    /// When [`Circuits::do_chores`] has something to do.
    pub fn chores_deadline(&self) -> Time {
        self.chores.at
    }

    /// Goes on with what is under way.
    pub fn do_chores(&mut self, now: Time, shared: &mut Shared) {
        self.visit_some(|c| &mut c.resize, |all, wire| all.resize(now, wire, shared));
        self.visit_some(|c| &mut c.report, |all, wire| all.report(wire, shared));
        self.visit_some(|c| &mut c.end, |all, wire| all.end_circuit(wire, shared));
        for _ in 0..SOME {
            let Some(wire) = self.chores.revive.pop() else {
                // It was as long as there were circuits that waited.
                self.chores.revive = Vec::new();
                break;
            };
            if let Some(circuit) = self.circuits.get_mut(&wire) {
                circuit.lists &= !BACKED_OFF;
                if let Some(tcb) = circuit.tcp.awake_mut() {
                    tcb.revive(now);
                    Self::set_timer(self.id, wire, circuit, shared);
                }
            }
        }
        self.chores.at = if self.chores.is_done() {
            Time::NEVER
        } else {
            now + 1
        };
    }

    fn visit_some(&mut self, which: WhichWalk, mut visit: impl FnMut(&mut Circuits, u32)) {
        for _ in 0..SOME {
            let Some(wire) = self.step(which) else {
                return;
            };
            visit(self, wire);
        }
    }

    fn resize(&mut self, now: Time, wire: u32, shared: &mut Shared) {
        let mss = Self::mss(self.limit);
        let Some(circuit) = self.circuits.get_mut(&wire).filter(|c| !c.buried) else {
            return;
        };
        circuit.tcp.set_path_mss(mss);
        let Some(tcb) = circuit.tcp.awake_mut() else {
            return;
        };
        if self.chores.shrank {
            tcb.path_shrank(now);
            Self::set_timer(self.id, wire, circuit, shared);
        }
        self.activate(wire);
    }
}
