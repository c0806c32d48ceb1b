//! What circuits wait for together: the common window of those that are coupled, and the budget of those that are new.
//! Circuits that it holds back stand in line, so that whatever an acknowledgement lets out, only those are looked at that
//! get a turn.

use std::collections::VecDeque;

use super::Circuits;
use crate::connection::path::budget::Budget;
use crate::connection::path::group::Group;
use crate::endpoint::shared::Shared;
use crate::error::Error;
use crate::tcp::congestion::Algorithm;
use crate::time::Time;

/// Octets of a segment's header, and of its share of the datagram, that the budget counts with its data.
const OVERHEAD: u64 = 64;

/// What a circuit's sending depends on beside its own window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It is new: the budget of new circuits.
    Budget = 0,
    /// It is coupled: the common window.
    Window = 1,
}

impl Gate {
    pub(super) const ALL: [Gate; 2] = [Gate::Budget, Gate::Window];
}

/// Circuits that have left a line, which it may hold beside as many as wait.
const STALE: usize = 64;

/// Circuits before a gate, the longest waiting first. Who goes while it waits leaves its place behind, which is found out
/// when its turn comes: to look for it would be to look at all.
#[derive(Default)]
pub(super) struct Line {
    pub places: VecDeque<u32>,
    waiting: usize,
}

impl Line {
    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// One does not wait any more.
    pub fn left(&mut self) {
        // None did, after the end.
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 {
            self.places.clear();
        }
    }
}

impl Circuits {
    /// Octets that may pass a gate now.
    pub(super) fn gate_room(&mut self, now: Time, gate: Gate) -> u64 {
        let mss = u64::from(Self::mss(self.limit));
        match gate {
            Gate::Budget if self.budget.is_open(now, mss, self.srtt) => u64::MAX,
            Gate::Budget => 0,
            Gate::Window => match &self.group {
                Some(group) if group.is_open(now) => group.room(),
                Some(_) => 0,
                None => u64::MAX,
            },
        }
    }

    /// Octets that a circuit with nothing in flight may send although the gate is closed: it does not wait for those that
    /// have.
    pub(super) fn quiet_room(&self, gate: Gate) -> u64 {
        match &self.group {
            Some(group) if gate == Gate::Window => group.quiet_room(),
            _ => 0,
        }
    }

    /// A circuit was held back.
    pub(super) fn wait_at(&mut self, wire: u32, gate: Gate) {
        if let Some(circuit) = self.circuits.get_mut(&wire)
            && circuit.waiting.is_none()
        {
            circuit.waiting = Some(gate);
            let line = &mut self.waiting[gate as usize];
            line.places.push_back(wire);
            line.waiting += 1;
            if line.places.len() > 2 * line.waiting + STALE {
                self.tidy_line(gate);
            }
        }
    }

    /// Leaves one place, the first, to each circuit that waits.
    fn tidy_line(&mut self, gate: Gate) {
        let circuits = &mut self.circuits;
        let line = &mut self.waiting[gate as usize];
        line.places.retain(|wire| {
            let circuit = circuits.get_mut(wire);
            circuit.is_some_and(|c| c.waiting.take_if(|waits| *waits == gate).is_some())
        });
        for wire in &line.places {
            if let Some(circuit) = circuits.get_mut(wire) {
                circuit.waiting = Some(gate);
            }
        }
    }

    /// Places in the line of those that wait for the common window.
    #[cfg(test)]
    pub fn places(&self) -> usize {
        self.waiting[Gate::Window as usize].places.len()
    }

    /// The gate that is open and has someone waiting.
    pub(super) fn open_gate(&mut self, now: Time) -> Option<Gate> {
        Gate::ALL
            .into_iter()
            .find(|&gate| !self.waiting[gate as usize].is_empty() && self.gate_room(now, gate) > 0)
    }

    /// Looks whether a gate is open for those who wait, and when it will be if not.
    pub(super) fn look_at_gates(&mut self, now: Time) {
        if !self.waiting[Gate::Window as usize].is_empty()
            && let Some(group) = &mut self.group
            && group.is_full()
        {
            group.on_filled(now);
        }
        self.passable = self.open_gate(now).is_some();
        self.gates_at = Time::NEVER;
        if !self.passable {
            let mss = u64::from(Self::mss(self.limit));
            if !self.waiting[Gate::Budget as usize].is_empty() {
                self.gates_at = self.budget.opens_at(now, mss, self.srtt);
            }
            if !self.waiting[Gate::Window as usize].is_empty()
                && let Some(group) = &mut self.group
            {
                self.gates_at = self.gates_at.min(group.opens_at(now));
            }
        }
    }

    /// When [`Circuits::on_gates`] has something to do.
    pub fn gates_deadline(&self) -> Time {
        self.gates_at
    }

    /// Lets those out who waited for the time.
    pub fn on_gates(&mut self, now: Time) {
        if self.gates_at <= now {
            self.look_at_gates(now);
        }
    }

    /// Something has happened to a circuit: the common window and the budget hear of it.
    pub(super) fn account(&mut self, now: Time, wire: u32) {
        let Some(circuit) = self.circuits.get_mut(&wire) else {
            return;
        };
        let Some(tcb) = circuit.tcp.awake_mut() else {
            return;
        };
        let acked = tcb.bytes_acked();
        let news = (acked as u32).wrapping_sub(circuit.acked);
        circuit.acked = acked as u32;
        if news > 0 {
            self.budget.on_acked(now, u64::from(news), self.srtt);
        }
        let lost = tcb.bytes_lost() as u32;
        // It begins anew after sleep.
        if lost.wrapping_sub(std::mem::replace(&mut circuit.lost, lost)) as i32 > 0 {
            self.budget.on_lost(now, self.srtt);
        }
        let (before, after) = circuit.recount();
        if let Some(group) = &mut self.group {
            let prior_in_flight = group.in_flight();
            group.changed(before, after);
            if let Some(tcb) = circuit.tcp.awake_mut()
                && let Some(signals) = tcb.take_signals()
                && !signals.is_empty()
            {
                group.on_signals(now, &signals, prior_in_flight);
            }
        }
        if self.waiting.iter().any(|line| !line.is_empty()) {
            self.look_at_gates(now);
        }
    }

    /// Has a circuit share the common window, or lets it have its own.
    ///
    /// # Errors
    /// [`Error::Closed`] if there is no such circuit (any more).
    pub fn set_coupled(
        &mut self,
        wire: u32,
        coupled: bool,
        shared: &mut Shared,
    ) -> Result<(), Error> {
        self.get(wire)?;
        if coupled && self.group.is_none() {
            self.group = Some(self.new_group(shared.config.congestion, shared));
        }
        let now = self.last_received;
        self.account(now, wire);
        if let Some(circuit) = self.circuits.get_mut(&wire) {
            circuit.tcp.wake().set_coupled(now, coupled);
        }
        self.account(now, wire);
        self.leave_line(wire);
        self.touched(wire, shared);
        Ok(())
    }

    /// A circuit does not wait any more: it is gone, or waits for something else.
    pub(super) fn leave_line(&mut self, wire: u32) {
        if let Some(circuit) = self.circuits.get_mut(&wire)
            && let Some(gate) = circuit.waiting.take()
        {
            self.waiting[gate as usize].left();
        }
    }

    /// Changes the congestion control of the common window.
    pub fn set_group_congestion(&mut self, algorithm: Algorithm, shared: &mut Shared) {
        match &mut self.group {
            Some(group) => group.switch(algorithm, shared.rng.next_u32()),
            None => self.group = Some(self.new_group(algorithm, shared)),
        }
    }

    fn new_group(&self, algorithm: Algorithm, shared: &mut Shared) -> Group {
        let flows = shared.config.coupled_flows;
        let seed = shared.rng.next_u32();
        Group::new(algorithm, flows, Self::mss(self.limit), self.srtt, seed)
    }

    /// The common window and what of it is in use, if there is one.
    pub fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// New circuits have sent something.
    pub(super) fn draw_on_budget(&mut self, octets: u64) {
        self.budget.on_sent(octets + OVERHEAD);
    }

    /// A budget for a connection that begins.
    pub(super) fn begin_budget(&mut self, now: Time) {
        self.budget = Budget::new(now, u64::from(Self::mss(self.limit)));
    }
}
