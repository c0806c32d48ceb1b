//! Datagrams in: each segment to its circuit, to a tombstone, or to nobody.

use super::{CONTROL, Circuits, PATH_PROBES_BOUND, Reply, SILENCE};
use crate::connection::circuit::Circuit;
use crate::connection::tombstones::Tombstone;
use crate::endpoint::Role;
use crate::endpoint::shared::Shared;
use crate::error::CloseReason;
use crate::tcp::segment::{Flags, PathProbe, Segment};
use crate::tcp::seq::Seq;
use crate::tcp::{Rejected, Reset, State, Tcb, reset_for};
use crate::time::Time;
use crate::tortp;

impl Circuits {
    /// Takes in the plaintext of a record. `stays`: data can be left where it is ([`crate::pool::Arrivals`]). `ce`: its
    /// datagram was marked by a congested router (RFC 3168).
    pub fn receive(&mut self, now: Time, plain: &[u8], stays: bool, ce: bool, shared: &mut Shared) {
        let only = tortp::only(plain);
        if only.is_none()
            && let Err(malformed) = tortp::check(plain)
        {
            match malformed {
                tortp::Malformed::Version => self.stats.dropped_version += 1,
                _ => self.stats.dropped_malformed += 1,
            }
            return;
        }
        if now.since(self.last_received) >= SILENCE {
            self.revive_all(now, shared);
        }
        self.last_received = now;
        let whole = stays.then_some(plain);
        match only {
            Some((wire, segment)) => self.segment_received(now, wire, segment, whole, ce, shared),
            None => {
                for (wire, segment) in tortp::segments(plain) {
                    self.segment_received(now, wire, segment, whole, ce, shared);
                }
            }
        }
        self.make_room(shared);
    }

    fn segment_received(
        &mut self,
        now: Time,
        wire: u32,
        mut segment: Segment<'_>,
        plain: Option<&[u8]>,
        ce: bool,
        shared: &mut Shared,
    ) {
        segment.ce = ce;
        if let Some(probe) = segment.options.path_probe {
            self.path_probe_received(probe);
            return;
        }
        self.stats.segments_received += 1;
        self.deliver(now, wire, &segment, plain, shared);
    }

    fn path_probe_received(&mut self, probe: PathProbe) {
        if self.path_probes.len() < PATH_PROBES_BOUND {
            self.path_probes.push_back(probe);
        } else {
            self.stats.dropped_path_probe += 1;
        }
    }

    fn deliver(
        &mut self,
        now: Time,
        wire: u32,
        segment: &Segment<'_>,
        plain: Option<&[u8]>,
        shared: &mut Shared,
    ) {
        if segment.flags.has(Flags::RST) {
            self.resets.confirm(wire);
        }
        if self.deliver_to_circuit(now, wire, segment, plain, shared) {
            return;
        }
        match self.tombstones.get(now, wire) {
            // It has not heard that we know, and asks until it does. The side that reset is silent: no end to it else.
            Some(Tombstone::ResetByPeer | Tombstone::TimeWait { .. })
                if segment.flags.has(Flags::RST) =>
            {
                self.confirm_reset(wire);
            }
            Some(Tombstone::TimeWait { seq, ack }) => {
                // Not the FIN alone: a peer whose last data is unacknowledged repeats that first, and nothing else.
                if !segment.is_empty() {
                    self.reply(Reply {
                        circuit: wire,
                        flags: Flags::ACK,
                        seq,
                        ack,
                    });
                }
            }
            None if self.may_be_opened(wire, segment) => {
                self.open_passively(now, wire, segment, plain, shared);
            }
            _ => {
                self.stats.dropped_unknown_circuit += 1;
                if let Some(reset) = reset_for(segment) {
                    self.reply_reset(wire, reset);
                }
            }
        }
    }

    /// Whether a segment for an unknown circuit is the peer's way to open one.
    fn may_be_opened(&self, wire: u32, segment: &Segment<'_>) -> bool {
        let opened_by_peer = match self.role {
            Role::Client => wire % 2 == 1,
            Role::Server => wire.is_multiple_of(2),
        };
        // One that has ended stays here until the relay lets go of it, its tombstone not so long.
        opened_by_peer
            && !self.circuits.contains_key(&wire)
            && wire != CONTROL
            && segment.flags.has(Flags::SYN)
            && !segment.flags.has(Flags::ACK)
            && !segment.flags.has(Flags::RST)
            && segment.options.circuit_number.is_some_and(|n| n != CONTROL)
    }

    fn open_passively(
        &mut self,
        now: Time,
        wire: u32,
        segment: &Segment<'_>,
        plain: Option<&[u8]>,
        shared: &mut Shared,
    ) {
        if self.circuits.len() >= shared.config.max_circuits {
            self.stats.dropped_limit += 1;
            if let Some(reset) = reset_for(segment) {
                self.reply_reset(wire, reset);
            }
            return;
        }
        let number = segment.options.circuit_number.unwrap_or(CONTROL);
        let iss = Seq(shared.rng.next_u32());
        let settings = self.settings(shared);
        let pool = &mut shared.pool;
        let account = self.writers.account;
        let tcb = Tcb::accept_for(account, &settings, iss, now, pool, segment, plain);
        if tcb.has_arrivals() {
            pool.arrivals.owned_by(self.id, wire);
        }
        self.stats.payload_received += tcb.info().bytes_received;
        self.insert(wire, Circuit::new(number, tcb, false), shared);
        *self.numbers.entry(number).or_default() += 1;
        self.stats.circuits_accepted += 1;
        self.report(wire, shared);
        self.update_timer(wire, shared);
    }

    /// Returns whether there is such a circuit that has not ended.
    fn deliver_to_circuit(
        &mut self,
        now: Time,
        wire: u32,
        segment: &Segment<'_>,
        plain: Option<&[u8]>,
        shared: &mut Shared,
    ) -> bool {
        let Some(circuit) = self.circuits.get_mut(&wire).filter(|c| !c.buried) else {
            return false;
        };
        let tcb = circuit.tcp.wake();
        let received = tcb.bytes_received();
        let had_arrivals = tcb.has_arrivals();
        let result = tcb.receive_from(now, &mut shared.pool, segment, plain);
        if tcb.has_arrivals() && !had_arrivals {
            shared.pool.arrivals.owned_by(self.id, wire);
        }
        self.stats.payload_received += tcb.bytes_received() - received;
        let holds_out_of_order = tcb.holds_out_of_order();
        self.heard |= wire == CONTROL && tcb.state().is_synchronized();
        let rtt = tcb.rtt();
        if rtt.min() > 0 {
            self.srtt = rtt.srtt();
            self.rttvar = rtt.rttvar();
            if self.min_rtt == 0 || rtt.min() < self.min_rtt {
                self.min_rtt = rtt.min();
            }
        }
        match result {
            Ok(()) => {}
            Err(Rejected::OutOfWindow | Rejected::Unexpected) => {
                self.stats.dropped_out_of_window += 1;
            }
            Err(Rejected::Memory) => self.stats.dropped_memory += 1,
            Err(Rejected::Answer(reset)) => {
                self.stats.dropped_out_of_window += 1;
                self.reply_reset(wire, reset);
            }
        }
        if holds_out_of_order {
            self.note_out_of_order(wire, shared);
        }
        self.after_change(now, wire, shared);
        true
    }

    /// A segment or a timer has changed a circuit.
    pub(super) fn after_change(&mut self, now: Time, wire: u32, shared: &mut Shared) {
        self.account(now, wire);
        let (id, held) = (self.circuit_id(wire), self.is_held(wire));
        let Some(circuit) = self.circuits.get_mut(&wire) else {
            return;
        };
        let Some(tcb) = circuit.tcp.awake() else {
            return;
        };
        self.ect_dropped |= tcb.finds_ect_dropped();
        if circuit.end().is_none() && !circuit.buried {
            let delayed = tcb.delayed_ack().filter(|_| !circuit.delays_ack);
            circuit.delays_ack |= delayed.is_some();
            if !circuit.active {
                circuit.active = true;
                self.active.push_back(wire);
            }
            Self::set_timer(self.id, wire, circuit, shared);
            Self::tell(id, held, &mut self.writers, circuit, shared);
            if let Some((until, lone)) = delayed {
                self.delay_ack(wire, until, lone);
            }
            return;
        }
        if let Some(reason) = circuit.end()
            && !circuit.buried
        {
            if reason == CloseReason::Reset || reason == CloseReason::Refused {
                self.stats.circuits_reset += 1;
            }
            let (seq, ack) = (tcb.snd_nxt(), tcb.rcv_nxt());
            let tombstone = match reason {
                CloseReason::Done => Tombstone::TimeWait { seq, ack },
                CloseReason::Reset | CloseReason::Refused => Tombstone::ResetByPeer,
                _ => Tombstone::Reset,
            };
            match tombstone {
                Tombstone::TimeWait { .. } if tcb.state() == State::TimeWait => {
                    // The acknowledgement of the FIN that ended it.
                    self.reply(Reply {
                        circuit: wire,
                        flags: Flags::ACK,
                        seq,
                        ack,
                    });
                }
                Tombstone::TimeWait { .. } => {}
                Tombstone::ResetByPeer => self.confirm_reset(wire),
                // Given up: the peer may still have it.
                Tombstone::Reset => self.send_reset(
                    wire,
                    Reset {
                        seq,
                        ack: Some(ack),
                    },
                ),
            }
            self.peer_gone |= reason == CloseReason::Timeout
                && now.since(self.last_received) >= shared.config.dead_timeout;
            self.tombstones.insert(now, wire, tombstone);
            self.bury(wire, shared);
            self.report(wire, shared);
            self.remove_if_done(wire, shared);
            return;
        }
        self.report(wire, shared);
    }
}
