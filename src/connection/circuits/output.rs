//! Datagrams out: answers without a circuit, then the round robin between circuits.

use super::{Circuits, REPLIES_BOUND, Reply};
use crate::connection::circuit::DEFAULT_WEIGHT;
use crate::endpoint::shared::Shared;
use crate::tcp::Reset;
use crate::tcp::segment::{Flags, Options};
use crate::tcp::seq::Seq;
use crate::time::Time;
use crate::tortp;

/// Turns of circuits that are gone, which the queue may hold.
const STALE_TURNS: usize = 64;

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
        !self.active.is_empty() || !self.replies.is_empty()
    }

    /// Makes the next datagram in `out`; returns false if there is nothing to send.
    pub fn fill(&mut self, now: Time, shared: &mut Shared, out: &mut Vec<u8>) -> bool {
        out.clear();
        tortp::begin(out);
        while out.len() + tortp::MIN_SEGMENT_HEADER + 4 <= self.limit
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
        let memory = shared.pool.available();
        while let Some(&wire) = self.active.front() {
            let Some(circuit) = self.circuits.get_mut(&wire).filter(|c| !c.buried) else {
                self.active.pop_front();
                if let Some(circuit) = self.circuits.get_mut(&wire) {
                    circuit.active = false;
                }
                continue;
            };
            let Some(plan) = circuit.tcb.plan(now, memory) else {
                self.active.pop_front();
                circuit.active = false;
                circuit.deficit = 0;
                circuit.tcb.settle(now);
                self.update_timer(wire, shared);
                continue;
            };
            let size = tortp::MIN_SEGMENT_HEADER
                + if plan.flags.has(Flags::ACK) { 4 } else { 0 }
                + plan.options.encoded_len()
                + plan.payload;
            if out.len() + size > self.limit && out.len() > tortp::DATAGRAM_HEADER {
                return true;
            }
            if circuit.deficit < size {
                // Deficit round robin: a turn is worth a full datagram at the default weight.
                let quantum =
                    self.limit * usize::from(circuit.weight) / usize::from(DEFAULT_WEIGHT);
                circuit.deficit += quantum.max(1);
                self.active.rotate_left(1);
                continue;
            }
            circuit.deficit -= size;
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
            circuit.tcb.payload(&plan, out);
            circuit.tcb.commit(now, &plan);
            self.stats.segments_sent += 1;
            if plan.is_retransmission() {
                self.stats.segments_retransmitted += 1;
            } else {
                self.stats.payload_sent += plan.payload as u64;
            }
        }
        out.len() > tortp::DATAGRAM_HEADER
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
