//! What concerns all circuits of a connection is done to some of them at a time: to visit 100,000 takes milliseconds. Those
//! that are visited late lose nothing but that time: the next ones follow with the next call, which is due at once. Only
//! their identifiers are copied together.

use super::Circuits;
use crate::endpoint::shared::Shared;
use crate::time::Time;

/// Circuits that are visited in a call, for each purpose.
pub(super) const SOME: usize = 512;

/// What is under way: circuits that are still to be visited.
pub(super) struct Chores {
    /// They are to hear of the path's size.
    resize: Vec<u32>,
    /// It has become smaller.
    shrank: bool,
    /// What was held back from the relay is to be told.
    report: Vec<u32>,
    /// They waited for a backed-off timer when the peer was heard again.
    revive: Vec<u32>,
    /// When to go on.
    at: Time,
}

impl Default for Chores {
    fn default() -> Chores {
        Chores {
            resize: Vec::new(),
            shrank: false,
            report: Vec::new(),
            revive: Vec::new(),
            at: Time::NEVER,
        }
    }
}

impl Circuits {
    /// All circuits are to follow the path's size.
    pub(super) fn resize_all(&mut self, now: Time, shrank: bool, shared: &mut Shared) {
        self.chores.shrank = shrank || (self.chores.shrank && !self.chores.resize.is_empty());
        self.chores.resize = self.circuits.keys().copied().collect();
        self.do_chores(now, shared);
    }

    /// What was held back is to be told, or not any more.
    pub(super) fn report_all(&mut self, report: bool, shared: &mut Shared) {
        let all = self.circuits.keys().copied().filter(|_| report);
        self.chores.report = all.collect();
        self.do_chores(self.last_received, shared);
    }

    /// The peer was heard after a silence: what waits for a backed-off timer goes out.
    pub(super) fn revive_all(&mut self, now: Time, shared: &mut Shared) {
        self.chores.revive.append(&mut self.backed_off);
        self.do_chores(now, shared);
    }

    /// A retransmission timer has fired and was backed off.
    pub(super) fn note_backed_off(&mut self, wire: u32) {
        self.backed_off.push(wire);
        if self.backed_off.len() > 2 * self.circuits.len() + SOME {
            self.backed_off.sort_unstable();
            self.backed_off.dedup();
            let circuits = &self.circuits;
            self.backed_off.retain(|wire| circuits.contains_key(wire));
        }
    }

    /// When [`Circuits::do_chores`] has something to do.
    pub fn chores_deadline(&self) -> Time {
        self.chores.at
    }

    /// Goes on with what is under way.
    pub fn do_chores(&mut self, now: Time, shared: &mut Shared) {
        for wire in some(&mut self.chores.resize) {
            self.resize(now, wire, shared);
        }
        for wire in some(&mut self.chores.report) {
            self.report(wire, shared);
        }
        for wire in some(&mut self.chores.revive) {
            if let Some(circuit) = self.circuits.get_mut(&wire)
                && let Some(tcb) = circuit.tcp.awake_mut()
            {
                tcb.revive(now);
                Self::set_timer(self.id, wire, circuit, shared);
            }
        }
        let chores = &mut self.chores;
        let lists = [&chores.resize, &chores.report, &chores.revive];
        chores.at = if lists.iter().all(|list| list.is_empty()) {
            Time::NEVER
        } else {
            now + 1
        };
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

    /// Ends everything that is under way.
    pub(super) fn forget_chores(&mut self) {
        self.chores = Chores::default();
        self.backed_off = Vec::new();
    }
}

/// Takes some circuits off a list, in the order of their identifiers, and gives its memory back when it is empty.
fn some(list: &mut Vec<u32>) -> Vec<u32> {
    let rest = list.len().saturating_sub(SOME);
    let mut wires = list.split_off(rest);
    if list.is_empty() {
        *list = Vec::new();
    }
    wires.sort_unstable();
    wires
}
