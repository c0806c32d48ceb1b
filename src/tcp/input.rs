//! Segments in (RFC 9293 section 3.10.7, with the checks of RFC 5961): what is acceptable, and what its data does.

use super::output::{Reset, reset_for};
use super::receive_queue::{ReceiveQueue, Stored};
use super::recovery::tlp::MAX_ACK_DELAY;
use super::segment::{Flags, SackBlocks, Segment};
use super::seq::Seq;
use super::state::State;
use super::tcb::Tcb;
use crate::error::CloseReason;
use crate::pool::{Pool, Use};
use crate::time::{MILLISECOND, Micros, Time};

/// Segments acknowledged one by one when a stream starts, so that the peer's slow start is clocked. Those that end what
/// the peer has to send clock nothing, and do not count.
const QUICK_ACKS: u8 = 32;
/// Full segments after which an acknowledgement is due (RFC 5681 section 4.2), and when they follow each other so fast
/// that there are this many acknowledgements in a round trip all the same.
const ACK_EVERY: u32 = 2;
const ACK_EVERY_FAST: u32 = 8;
const ACKS_PER_ROUND: Micros = 32;
/// Unsolicited acknowledgements, those that answer a suspicious segment, come no faster than this (RFC 5961 section 7).
const CHALLENGE_INTERVAL: Micros = 50 * MILLISECOND;

/// Why a segment had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Outside of the receive window, or acknowledging what was never sent.
    OutOfWindow,
    /// Its flags make no sense in this state.
    Unexpected,
    /// There was no memory for its data; the peer will send it again.
    Memory,
    /// It has to be answered with this reset.
    Answer(Reset),
}

impl Tcb {
    /// Takes in one segment.
    ///
    /// # Errors
    /// Why it had no effect; the circuit is as healthy as before.
    pub fn receive(
        &mut self,
        now: Time,
        pool: &mut Pool,
        segment: &Segment<'_>,
    ) -> Result<(), Rejected> {
        self.receive_from(now, pool, segment, None)
    }

    /// The same. `plain`: the plaintext in which the segment stands, if its data can stay there
    /// ([`crate::pool::Arrivals`]).
    ///
    /// # Errors
    /// As [`Tcb::receive`].
    pub fn receive_from(
        &mut self,
        now: Time,
        pool: &mut Pool,
        segment: &Segment<'_>,
        plain: Option<&[u8]>,
    ) -> Result<(), Rejected> {
        self.counters.segments_received += 1;
        let result = match self.state {
            State::Closed => Err(reset_for(segment).map_or(Rejected::Unexpected, Rejected::Answer)),
            State::SynSent => self.receive_syn_sent(now, pool, segment, plain),
            _ => self.receive_synchronized(now, pool, segment, plain),
        };
        if result.is_err() {
            self.counters.rejected_segments += 1;
        }
        result
    }

    /// Takes over what the peer's SYN says.
    pub(super) fn take_syn(&mut self, pool: &Pool, syn: &Segment<'_>) {
        self.irs = syn.seq;
        self.receive = ReceiveQueue::new(syn.seq + 1, self.account());
        self.window.start(syn.seq + 1);
        self.quick_acks = QUICK_ACKS;
        match syn.options.window_scale {
            Some(shift) => self.snd_shift = shift.min(14),
            None => self.window.no_scaling(),
        }
        self.sack = syn.options.sack_permitted;
        self.ecn.on_syn_in(syn);
        // RFC 9293 section 3.7.1: 536 if none is said. At least 64, so that no peer can make us send crumbs.
        self.peer_mss = syn.options.mss.unwrap_or(536).max(64);
        let mss = self.path_mss.min(self.peer_mss);
        if mss != self.mss || self.board.is_empty() {
            self.mss = mss;
            self.congestion.set_mss(mss, self.recovery.is_none());
        }
        self.snd_wnd = u32::from(syn.window);
        self.max_snd_wnd = self.snd_wnd;
        self.snd_wl1 = syn.seq;
        self.snd_wl2 = syn.ack;
        // The window for data on the SYN is what we would have announced, and whatever a SYN brings.
        let memory = pool.room(self.account(), Use::InOrder);
        let memory = memory.max(u64::from(u16::MAX));
        let (_, edge) = self.window.field(syn.seq + 1, 0, memory, false);
        self.window.promised(edge);
        self.ack_now = true;
        self.unanswered_since = None;
    }

    fn receive_syn_sent(
        &mut self,
        now: Time,
        pool: &mut Pool,
        segment: &Segment<'_>,
        plain: Option<&[u8]>,
    ) -> Result<(), Rejected> {
        let flags = segment.flags;
        let acks = flags.has(Flags::ACK);
        if acks && (segment.ack <= self.iss || segment.ack > self.snd_nxt) {
            return Err(reset_for(segment).map_or(Rejected::OutOfWindow, Rejected::Answer));
        }
        if flags.has(Flags::RST) {
            if !acks {
                return Err(Rejected::Unexpected);
            }
            self.end(pool, CloseReason::Refused);
            return Ok(());
        }
        if !flags.has(Flags::SYN) {
            return Err(Rejected::Unexpected);
        }
        self.take_syn(pool, segment);
        if acks {
            self.state = State::Established;
            self.acknowledge(now, pool, segment);
            // Data on our SYN that the peer did not take is sent again at once: it said so.
            if self.board.probe(now, usize::MAX) > 0 {
                self.retransmit_at = now + self.rtt.rto();
            }
        } else {
            // Simultaneous open: our SYN goes out again, with an acknowledgement.
            self.state = State::SynReceived;
            self.resend_syn();
        }
        self.take_data(now, pool, segment, plain);
        Ok(())
    }

    /// The peer's SYN once more, in SYN-RECEIVED: either it missed our SYN-ACK, or, in a simultaneous open, this is its
    /// own SYN-ACK.
    fn receive_syn_again(
        &mut self,
        now: Time,
        pool: &mut Pool,
        segment: &Segment<'_>,
        plain: Option<&[u8]>,
    ) -> Result<(), Rejected> {
        if !segment.flags.has(Flags::ACK) {
            self.resend_syn();
            return Ok(());
        }
        if segment.ack <= self.iss || segment.ack > self.snd_nxt {
            return Err(reset_for(segment).map_or(Rejected::OutOfWindow, Rejected::Answer));
        }
        self.establish(segment);
        self.acknowledge(now, pool, segment);
        self.ack_now = true;
        self.take_data(now, pool, segment, plain);
        Ok(())
    }

    fn resend_syn(&mut self) {
        if self.board.first().is_some_and(|s| s.syn && s.in_flight()) {
            self.board.probe(Time::NEVER, 1);
        }
    }

    /// Our SYN is acknowledged: out of SYN-RECEIVED.
    fn establish(&mut self, segment: &Segment<'_>) {
        self.state = if self.fin_received {
            State::CloseWait
        } else {
            State::Established
        };
        self.update_window(segment, true);
        self.unanswered_since = None;
    }

    fn receive_synchronized(
        &mut self,
        now: Time,
        pool: &mut Pool,
        segment: &Segment<'_>,
        plain: Option<&[u8]>,
    ) -> Result<(), Rejected> {
        let flags = segment.flags;
        if self.state == State::SynReceived && flags.has(Flags::SYN) && segment.seq == self.irs {
            return self.receive_syn_again(now, pool, segment, plain);
        }
        let next = self.rcv_nxt();
        let edge = self.window.edge();
        let len = segment.len();

        // First, the sequence number (3.10.7.4).
        let acceptable = if len == 0 {
            // The edge itself too, where the RFC stops before it: the peer has filled the window, part of that is lost,
            // and it acknowledges what we send.
            next <= segment.seq && segment.seq <= edge
        } else if edge == next {
            // A closed window still takes acknowledgements; data is cut off below.
            segment.seq == next
        } else {
            segment.seq < edge && (next <= segment.seq || next < segment.seq + len)
        };
        if !acceptable {
            if flags.has(Flags::RST) {
                return Err(Rejected::OutOfWindow);
            }
            if len > 0 {
                self.counters.duplicate_segments += 1;
                self.ack_now = true;
                let end = segment.seq + len;
                if end <= next {
                    self.note_arrived_twice(segment.seq, end);
                }
            } else {
                self.challenge(now);
            }
            if self.state == State::TimeWait && flags.has(Flags::FIN) {
                self.enter_time_wait(now);
            }
            return Err(Rejected::OutOfWindow);
        }

        // Second, RST (RFC 5961 section 3.2).
        if flags.has(Flags::RST) {
            if segment.seq != next {
                self.challenge(now);
                return Err(Rejected::OutOfWindow);
            }
            let reason = match self.state {
                State::SynReceived if self.number.is_some() => CloseReason::Refused,
                State::TimeWait | State::LastAck | State::Closing => CloseReason::Done,
                _ => CloseReason::Reset,
            };
            self.end(pool, reason);
            return Ok(());
        }
        // Fourth, SYN (RFC 5961 section 4.2).
        if flags.has(Flags::SYN) {
            self.challenge(now);
            return Err(Rejected::Unexpected);
        }
        // Fifth, ACK (RFC 5961 section 5.2).
        if !flags.has(Flags::ACK) {
            return Err(Rejected::Unexpected);
        }
        if self.state == State::SynReceived {
            if segment.ack <= self.iss || segment.ack > self.snd_nxt {
                return Err(reset_for(segment).map_or(Rejected::OutOfWindow, Rejected::Answer));
            }
            self.establish(segment);
        }
        let oldest = self.snd_una - self.max_snd_wnd;
        if segment.ack > self.snd_nxt || segment.ack < oldest {
            self.challenge(now);
            return Err(Rejected::OutOfWindow);
        }
        self.unanswered_since = None;
        self.ack_now |= self.ecn.on_segment_in(segment);
        let window_before = self.snd_wnd;
        self.update_window(segment, false);
        let bare = segment.is_empty() && self.snd_wnd == window_before;
        self.note_duplicate(now, segment, bare);
        self.acknowledge(now, pool, segment);
        if self.state == State::Closed || self.state == State::TimeWait {
            return Ok(());
        }

        // Seventh and eighth, data and FIN.
        let stored = self.take_data(now, pool, segment, plain);
        if stored == Some(Stored::Dropped) {
            return Err(Rejected::Memory);
        }
        Ok(())
    }

    /// Answers a suspicious segment with an acknowledgement, not too often.
    fn challenge(&mut self, now: Time) {
        if self
            .last_challenge
            .is_none_or(|at| now.since(at) >= CHALLENGE_INTERVAL)
        {
            self.last_challenge = Some(now);
            self.ack_now = true;
        }
    }

    /// SND.WND follows the latest segment (3.10.7.4, ESTABLISHED).
    fn update_window(&mut self, segment: &Segment<'_>, force: bool) {
        let newer = force
            || self.snd_wl1 < segment.seq
            || (self.snd_wl1 == segment.seq && self.snd_wl2 <= segment.ack);
        if newer && segment.ack >= self.snd_una {
            let shift = if segment.flags.has(Flags::SYN) {
                0
            } else {
                self.snd_shift
            };
            self.snd_wnd = u32::from(segment.window) << shift;
            self.max_snd_wnd = self.max_snd_wnd.max(self.snd_wnd);
            self.snd_wl1 = segment.seq;
            self.snd_wl2 = segment.ack;
        }
    }

    /// Stores data and notes a FIN; decides when to acknowledge.
    pub(super) fn take_data(
        &mut self,
        now: Time,
        pool: &mut Pool,
        segment: &Segment<'_>,
        plain: Option<&[u8]>,
    ) -> Option<Stored> {
        if segment.payload.is_empty() && !segment.flags.has(Flags::FIN) {
            return None;
        }
        if !self.state.may_receive() {
            self.ack_now = true;
            return None;
        }
        let start = segment.seq + u32::from(segment.flags.has(Flags::SYN));
        let mut payload = segment.payload;
        let mut fin = segment.flags.has(Flags::FIN);

        // What lies beyond the window, or beyond the FIN, is cut off.
        let edge = match self.fin_at {
            Some(fin) => self.window.edge().min(fin),
            None => self.window.edge(),
        };
        let room = if start < edge { edge - start } else { 0 };
        if payload.len() as u32 > room {
            payload = &payload[..room as usize];
            fin = false;
            self.ack_now = true;
        }

        self.largest_received = self.largest_received.max(payload.len() as u16);
        let before = self.receive.next();
        let mut stored = None;
        if !payload.is_empty() {
            let outcome = self.receive.store(pool, start, payload, plain);
            stored = Some(outcome);
            if matches!(outcome, Stored::InOrder | Stored::OutOfOrder) {
                let (unread, srtt) = (self.receive.readable(), self.rtt.srtt());
                let account = self.account();
                self.window
                    .on_arrival(now, payload.len(), unread, srtt, || {
                        pool.lets_windows_grow(account)
                    });
            }
            match outcome {
                Stored::InOrder => {
                    let n = self.receive.next() - before;
                    self.counters.bytes_received += u64::from(n);
                    self.unacked = self.unacked.saturating_add(n);
                    if self.receive.has_holes() || n > payload.len() as u32 {
                        self.ack_now = true;
                    }
                    if self.discard {
                        self.receive.discard(pool);
                    } else {
                        self.readable_notice = true;
                    }
                }
                Stored::OutOfOrder => self.ack_now = true,
                Stored::Duplicate => {
                    self.counters.duplicate_segments += 1;
                    self.note_arrived_twice(start, start + payload.len() as u32);
                    self.ack_now = true;
                }
                Stored::Dropped => {
                    self.ack_now = true;
                    return stored;
                }
            }
        }
        self.ack_now |= fin;
        if fin && self.fin_at.is_none() {
            self.fin_at = Some(start + payload.len() as u32);
        }
        if !self.fin_received && self.fin_at == Some(self.receive.next()) {
            self.take_fin(now);
        }
        // After PSH the peer has nothing left that an acknowledgement could let out.
        self.pushed = segment.flags.has(Flags::PSH);
        let clocks = self.quick_acks > 0 && !self.pushed;
        if clocks {
            self.quick_acks -= 1;
        }
        if clocks || self.unacked >= self.ack_every(now) * self.full_segment() {
            self.ack_now = true;
        } else if !self.ack_now {
            self.ack_at = self.ack_at.min(now + MAX_ACK_DELAY);
        }
        stored
    }

    /// To be reported (RFC 2883): neighbours together, others with an acknowledgement of their own.
    fn note_arrived_twice(&mut self, start: Seq, end: Seq) {
        if !self.sack {
            return;
        }
        let mut merged = (start, end);
        let mut blocks = SackBlocks::default();
        for &(s, e) in self.duplicates.as_slice() {
            if s <= merged.1 && merged.0 <= e {
                merged = (merged.0.min(s), merged.1.max(e));
            } else {
                blocks.push(s, e);
            }
        }
        blocks.push(merged.0, merged.1);
        self.duplicates = blocks;
    }

    /// Octets that count as a full segment: the most that came in one, or nearly what would fit (RFC 9293, SHLD-19).
    fn full_segment(&self) -> u32 {
        u32::from(self.largest_received.max(self.mss - self.mss / 16))
    }

    /// Full segments that one acknowledgement covers.
    fn ack_every(&self, now: Time) -> u32 {
        if now.since(self.acked_at) * ACKS_PER_ROUND < self.rtt.srtt() {
            ACK_EVERY_FAST
        } else {
            ACK_EVERY
        }
    }

    fn take_fin(&mut self, now: Time) {
        self.fin_received = true;
        self.window.promised(self.receive.next() + 1);
        self.readable_notice = true;
        self.ack_now = true;
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => {
                // Our own FIN is not acknowledged, or we would be in FIN-WAIT-2.
                self.state = State::Closing;
            }
            State::FinWait2 => self.enter_time_wait(now),
            // SYN-RECEIVED: the state follows when our SYN is acknowledged.
            _ => {}
        }
    }
}
