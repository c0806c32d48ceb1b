//! Datagrams out: answers without a circuit, then the round robin between circuits.

use super::{Circuits, Gate, REPLIES_BOUND, Reply};
use crate::connection::circuit::{Circuit, DEFAULT_WEIGHT};
use crate::endpoint::shared::Shared;
use crate::pool::Use;
use crate::tcp::segment::{Flags, Options};
use crate::tcp::seq::Seq;
use crate::tcp::{Allowance, Plan, Reset, Tcb};
use crate::time::Time;
use crate::tortp;

/// Turns of circuits that are gone, which the queue may hold.
const STALE_TURNS: usize = 64;

/// Octets that a planned segment takes in a datagram.
pub(super) fn size(plan: &Plan) -> usize {
    let ack = if plan.flags.has(Flags::ACK) { 4 } else { 0 };
    tortp::MIN_SEGMENT_HEADER + ack + plan.options.encoded_len() + plan.payload
}

/// Appends a planned segment.
pub(super) fn put(wire: u32, tcb: &Tcb, plan: &Plan, out: &mut Vec<u8>) {
    tortp::encode_header(
        wire,
        plan.flags,
        plan.seq,
        plan.ack,
        plan.window,
        &plan.options,
        plan.payload as u16,
        out,
    );
    tcb.payload(plan, out);
}

impl Circuits {
    /// Turns in the queue.
    #[cfg(test)]
    pub fn turns(&self) -> usize {
        self.active.len()
    }

    pub(super) fn activate(&mut self, wire: u32) {
        if let Some(circuit) = self.circuits.get_mut(&wire)
            && !circuit.active
            && !circuit.buried
        {
            circuit.active = true;
            self.active.push_back(wire);
            if self.active.len() > 2 * self.circuits.len() + STALE_TURNS {
                // Circuits that ended while nothing could be sent: a peer could make them without end.
                let circuits = &self.circuits;
                self.active.retain(|wire| circuits.contains_key(wire));
            }
        }
    }

    /// Whether [`Circuits::fill`] may have something to send.
    pub fn has_output(&self) -> bool {
        !self.active.is_empty()
            || !self.replies.is_empty()
            || self.passable
            || self.delayed_acks.due
    }

    /// Appends the next datagram to `out`; returns false if there is nothing to send.
    pub fn fill(&mut self, now: Time, shared: &mut Shared, out: &mut Vec<u8>) -> bool {
        // Where it has to end, and where it ends if it is empty.
        let limit = out.len() + self.limit;
        let empty = out.len() + tortp::DATAGRAM_HEADER;
        tortp::append(out);
        while out.len() + tortp::MIN_SEGMENT_HEADER + 4 <= limit
            && let Some(reply) = self.replies.pop_front()
        {
            self.stats.segments_sent += 1;
            tortp::encode_header(
                reply.circuit,
                reply.flags,
                reply.seq,
                reply.ack,
                0,
                &Options::default(),
                0,
                out,
            );
        }
        let memory = shared.pool.offer(self.writers.account, Use::InOrder);
        self.ect = false;
        let mut stuck = false;
        while let Some((wire, line)) = self.turn(now) {
            if out.len() + tortp::MIN_SEGMENT_HEADER + 4 > limit {
                // Full: not even an acknowledgement fits.
                return true;
            }
            let has_turn =
                |c: &&mut Box<Circuit>| !c.buried && (line.is_none() || c.waiting == line);
            let Some(mut circuit) = self.circuits.get_mut(&wire).filter(has_turn) else {
                self.end_turn(wire, line);
                continue;
            };
            let gate = circuit.gate();
            let mut window = u64::MAX;
            if let Some(gate) = gate {
                let (waits, idle) = (circuit.waiting.is_some(), circuit.in_group == 0);
                // Who stands in a line sends acknowledgements meanwhile, but nothing ahead of the others in it.
                window = match (waits, line) {
                    (true, None) => 0,
                    (false, _) if idle => self.gate_room(now, gate).max(self.quiet_room(gate)),
                    _ => self.gate_room(now, gate),
                };
                let Some(again) = self.circuits.get_mut(&wire) else {
                    continue;
                };
                circuit = again;
            }
            let Some(tcb) = circuit.tcp.awake_mut() else {
                // Nothing has happened to it that would have woken it.
                self.end_turn(wire, line);
                continue;
            };
            let Some(plan) = tcb.plan(now, Allowance { memory, window }) else {
                tcb.settle(now);
                let held_back =
                    gate.filter(|_| window < u64::MAX && tcb.plan(now, memory).is_some());
                let idle = tcb.deadline() == Time::NEVER;
                Self::set_timer(self.id, wire, circuit, shared);
                let Some(gate) = held_back else {
                    circuit.deficit = 0;
                    if idle && !circuit.drowsy {
                        circuit.drowsy = true;
                        self.drowsy.push_back((wire, now));
                    }
                    self.end_turn(wire, line);
                    continue;
                };
                if line.is_none() {
                    self.end_turn(wire, line);
                }
                self.wait_at(wire, gate);
                if line.is_some() {
                    // At the head of its line, for which there is not enough room.
                    stuck = true;
                    break;
                }
                continue;
            };
            let size = size(&plan);
            if out.len() + size > limit && out.len() > empty {
                return true;
            }
            if (circuit.deficit as usize) < size {
                // Deficit round robin: a turn is worth a full datagram at the default weight.
                let quantum =
                    self.limit * usize::from(circuit.weight) / usize::from(DEFAULT_WEIGHT);
                circuit.deficit += quantum.max(1) as u32;
                let served = circuit.deficit as usize >= size;
                let line = match line {
                    None => &mut self.active,
                    Some(gate) => &mut self.waiting[gate as usize].places,
                };
                // With nobody else there it is its turn again.
                if line.len() > 1 || !served {
                    line.rotate_left(1);
                    continue;
                }
            }
            circuit.deficit -= size as u32;
            if out.len() + size > limit {
                // Larger than any datagram: its circuit has not followed the path's size yet.
                self.end_turn(wire, line);
                continue;
            }
            let counted = match &mut self.group {
                Some(group) if gate == Some(Gate::Window) && plan.sequence_space() > 0 => {
                    Some(group.on_sent(now, u64::from(plan.sequence_space())))
                }
                _ => None,
            };
            put(wire, tcb, &plan, out);
            tcb.commit_counted(now, &plan, counted);
            if let Some(group) = &mut self.group {
                let (before, after) = circuit.recount();
                group.changed(before, after);
            }
            if line.is_some() {
                // Its next turn may be long in coming.
                Self::set_timer(self.id, wire, circuit, shared);
            }
            self.note_sent(&plan, gate);
        }
        if out.len() > empty || self.delayed_acks.due {
            self.add_delayed_acks(now, memory, limit, out);
        }
        self.look_at_gates(now);
        // Nothing changes that before something is heard: to look again at once would be to spin.
        self.passable &= !stuck;
        if let Some(group) = &mut self.group
            && self.waiting[Gate::Window as usize].is_empty()
            && !group.is_full()
        {
            group.on_idle();
        }
        out.len() > empty
    }

    /// A planned segment was sent.
    pub(super) fn note_sent(&mut self, plan: &Plan, gate: Option<Gate>) {
        let len = u64::from(plan.sequence_space());
        if len > 0 && gate == Some(Gate::Budget) {
            self.draw_on_budget(len);
        }
        self.ect |= plan.ect && !self.ect_dropped;
        self.stats.segments_sent += 1;
        if plan.is_retransmission() {
            self.stats.segments_retransmitted += 1;
        } else {
            self.stats.payload_sent += plan.payload as u64;
        }
    }

    /// Whose turn it is: circuits that may have something to send, then those at the head of a line whose gate is open.
    fn turn(&mut self, now: Time) -> Option<(u32, Option<Gate>)> {
        if let Some(&wire) = self.active.front() {
            return Some((wire, None));
        }
        let gate = self.open_gate(now)?;
        let &wire = self.waiting[gate as usize].places.front()?;
        Some((wire, Some(gate)))
    }

    /// The circuit at the head of a queue leaves it.
    fn end_turn(&mut self, wire: u32, line: Option<Gate>) {
        let circuit = self.circuits.get_mut(&wire);
        match line {
            None => {
                self.active.pop_front();
                if let Some(circuit) = circuit {
                    circuit.active = false;
                }
            }
            Some(gate) => {
                let places = &mut self.waiting[gate as usize];
                places.places.pop_front();
                if let Some(circuit) = circuit
                    && circuit.waiting == line
                {
                    circuit.waiting = None;
                    places.left();
                }
            }
        }
    }

    /// Whether routers may mark the datagram that was filled last instead of dropping it (ECT, RFC 3168).
    pub fn ect(&self) -> bool {
        self.ect
    }

    /// Sends the reset of a circuit that was alive, until the peer confirms it.
    pub(super) fn send_reset(&mut self, wire: u32, reset: Reset) {
        if !self.resets.insert(wire, reset, self.rto()) {
            self.reply_reset(wire, reset);
        }
    }

    /// When [`Circuits::repeat_resets`] has something to do.
    pub fn resets_deadline(&self) -> Time {
        self.resets.deadline()
    }

    /// Sends the resets that are due.
    pub fn repeat_resets(&mut self, now: Time) {
        while let Some((wire, reset)) = self.resets.take(now) {
            self.reply_reset(wire, reset);
        }
    }

    /// The peer has reset a circuit: tells it that it may stop.
    pub(super) fn confirm_reset(&mut self, wire: u32) {
        self.reply(Reply {
            circuit: wire,
            flags: Flags::RST,
            seq: Seq(0),
            ack: Seq(0),
        });
    }

    pub(super) fn reply_reset(&mut self, wire: u32, reset: Reset) {
        self.reply(Reply {
            circuit: wire,
            flags: reset.segment().flags,
            seq: reset.seq,
            ack: reset.ack.unwrap_or_default(),
        });
    }

    pub(super) fn reply(&mut self, reply: Reply) {
        if self.replies.len() < REPLIES_BOUND {
            self.replies.push_back(reply);
        }
    }
}
