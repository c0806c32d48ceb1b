//! Acknowledgements that are held back leave together: with a datagram that has room, when there are some of lone cells, or
//! when the oldest has waited for long enough.

use std::collections::VecDeque;

use super::Circuits;
use super::output::{put, size};
use crate::tcp::Allowance;
use crate::time::Time;

/// Acknowledgements of lone cells that are worth a datagram: it costs as much as all else that is done for some cells.
const TOGETHER: usize = 8;

/// Circuits that hold an acknowledgement back.
#[derive(Default)]
pub(super) struct DelayedAcks {
    /// And until when, the oldest first. Some may have sent theirs since.
    waiting: VecDeque<(u32, Time)>,
    /// How many of them, at most, are for a cell after which the peer had nothing to send.
    lone: usize,
    /// They are to leave now.
    pub due: bool,
}

impl Circuits {
    /// A circuit, which was not among them, holds an acknowledgement back.
    pub(super) fn delay_ack(&mut self, wire: u32, until: Time, lone: bool) {
        let delayed = &mut self.delayed_acks;
        delayed.waiting.push_back((wire, until));
        delayed.lone += usize::from(lone);
        delayed.due |= delayed.lone >= TOGETHER;
    }

    /// When [`Circuits::on_delayed_acks`] has something to do.
    pub fn delayed_acks_deadline(&self) -> Time {
        let first = self.delayed_acks.waiting.front();
        first
            .filter(|_| !self.delayed_acks.due)
            .map_or(Time::NEVER, |&(_, until)| until)
    }

    /// Time has passed.
    pub fn on_delayed_acks(&mut self, now: Time) {
        self.delayed_acks.due |= self.delayed_acks_deadline() <= now;
    }

    /// Fills what room is left with acknowledgements that are held back. That spares datagrams; and a sender whose circuits
    /// are acknowledged together sees what the path delivers, not which circuit was acknowledged when.
    pub(super) fn add_delayed_acks(
        &mut self,
        now: Time,
        memory: u64,
        limit: usize,
        out: &mut Vec<u8>,
    ) {
        while let Some(&(wire, _)) = self.delayed_acks.waiting.front() {
            if let Some(circuit) = self.circuits.get_mut(&wire).filter(|c| !c.buried)
                && let Some(tcb) = circuit.tcp.awake_mut()
                && tcb.hurry_ack()
            {
                let allowance = Allowance { memory, window: 0 };
                if let Some(plan) = tcb.plan(now, allowance) {
                    if out.len() + size(&plan) > limit {
                        // When they are due, or with the next datagram: it stays the first.
                        return;
                    }
                    put(wire, tcb, &plan, out);
                    tcb.commit_counted(now, &plan, None);
                    if let Some(group) = &mut self.group {
                        let (before, after) = circuit.recount();
                        group.changed(before, after);
                    }
                    self.note_sent(&plan, None);
                }
            }
            self.delayed_acks.waiting.pop_front();
            if let Some(circuit) = self.circuits.get_mut(&wire) {
                circuit.delays_ack = false;
            }
        }
        self.delayed_acks.lone = 0;
        self.delayed_acks.due = false;
    }
}
