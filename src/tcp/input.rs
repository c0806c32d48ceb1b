//! Segments in (RFC 9293 section 3.10.7, with the checks of RFC 5961) and timers.

use super::congestion::{Ack, Congestion, Loss};
use super::output::{Reset, reset_for};
use super::receive_queue::{ReceiveQueue, Stored};
use super::recovery::dsack;
use super::recovery::frto::{self, Frto};
use super::recovery::prr::Prr;
use super::recovery::rack::Circumstances;
use super::recovery::rate::RateEstimator;
use super::recovery::scoreboard::{Delivery, Sent};
use super::recovery::tlp::{self, MAX_ACK_DELAY};
use super::segment::{Flags, SackBlocks, Segment};
use super::seq::Seq;
use super::signals::Signals;
use super::state::State;
use super::tcb::{Recovery, Tcb};
use crate::error::CloseReason;
use crate::pool::Pool;
use crate::time::{MILLISECOND, Micros, Time};

/// Segments acknowledged one by one when a stream starts, so that the peer's slow start is clocked.
const QUICK_ACKS: u8 = 32;
/// Full segments after which an acknowledgement is due (RFC 5681 section 4.2), and when they follow each other so fast
/// that there are this many acknowledgements in a round trip all the same.
const ACK_EVERY: u32 = 2;
const ACK_EVERY_FAST: u32 = 8;
const ACKS_PER_ROUND: Micros = 32;
/// Unsolicited acknowledgements, those that answer a suspicious segment, come no faster than this (RFC 5961 section 7).
const CHALLENGE_INTERVAL: Micros = 50 * MILLISECOND;
/// Duplicate acknowledgements that mean loss, for peers without SACK (RFC 5681 section 3.2).
const DUP_THRESH: u8 = 3;

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
        self.counters.segments_received += 1;
        let result = match self.state {
            State::Closed => Err(reset_for(segment).map_or(Rejected::Unexpected, Rejected::Answer)),
            State::SynSent => self.receive_syn_sent(now, pool, segment),
            _ => self.receive_synchronized(now, pool, segment),
        };
        if result.is_err() {
            self.counters.rejected_segments += 1;
        }
        result
    }

    /// Takes over what the peer's SYN says.
    pub(super) fn take_syn(&mut self, syn: &Segment<'_>) {
        self.irs = syn.seq;
        self.receive = ReceiveQueue::new(syn.seq + 1);
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
        // The window for data on the SYN is what we would have announced.
        let (_, edge) = self.window.field(syn.seq + 1, 0, u64::MAX, false);
        self.window.promised(edge);
        self.ack_now = true;
        self.unanswered_since = None;
    }

    fn receive_syn_sent(
        &mut self,
        now: Time,
        pool: &mut Pool,
        segment: &Segment<'_>,
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
        self.take_syn(segment);
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
        self.take_data(now, pool, segment);
        Ok(())
    }

    /// The peer's SYN once more, in SYN-RECEIVED: either it missed our SYN-ACK, or, in a simultaneous open, this is its
    /// own SYN-ACK.
    fn receive_syn_again(
        &mut self,
        now: Time,
        pool: &mut Pool,
        segment: &Segment<'_>,
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
        self.take_data(now, pool, segment);
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
    ) -> Result<(), Rejected> {
        let flags = segment.flags;
        if self.state == State::SynReceived && flags.has(Flags::SYN) && segment.seq == self.irs {
            return self.receive_syn_again(now, pool, segment);
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
            (next <= segment.seq && segment.seq < edge)
                || (next < segment.seq + len && segment.seq < edge)
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
        let plain = segment.is_empty() && self.snd_wnd == window_before;
        self.note_duplicate(now, segment, plain);
        self.acknowledge(now, pool, segment);
        if self.state == State::Closed || self.state == State::TimeWait {
            return Ok(());
        }

        // Seventh and eighth, data and FIN.
        let stored = self.take_data(now, pool, segment);
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

    /// Fast retransmit for peers without SACK (RFC 5681 section 3.2, RFC 6582). `plain`: the segment carries nothing but
    /// its acknowledgement.
    fn note_duplicate(&mut self, now: Time, segment: &Segment<'_>, plain: bool) {
        if self.sack || self.board.is_empty() {
            return;
        }
        if segment.ack > self.snd_una {
            self.duplicate_acks = 0;
        } else if segment.ack == self.snd_una && plain {
            self.duplicate_acks = self.duplicate_acks.saturating_add(1);
            if self.duplicate_acks == DUP_THRESH {
                let flight = self.board.in_flight();
                let mut hearer = Hearer::new(now, &mut self.congestion, &mut self.signals);
                let lost = self.board.mark_first_lost(|s, rate| hearer.lost(s, rate));
                self.enter_recovery(now, lost, flight);
            }
        }
    }

    /// Takes in SEG.ACK, SACK blocks and congestion marks, and finds what was lost.
    fn acknowledge(&mut self, now: Time, pool: &mut Pool, segment: &Segment<'_>) {
        let una = segment.ack.max(self.snd_una);
        let mut sack = segment.options.sack;
        let mut duplicate = None;
        if self.sack {
            duplicate = dsack::take(&mut sack, segment.ack);
            sack.retain(|start, end| una < start && start < end && end <= self.snd_nxt);
        } else {
            sack = Default::default();
        }
        let marked = self.ecn.on_ack(segment);
        if una == self.snd_una && sack.is_empty() && duplicate.is_none() && marked == 0 {
            return;
        }
        let prior_in_flight = self.board.in_flight();
        let delivery = self.board.acknowledge(now, una, &sack, self.rtt.min());
        let advanced = una > self.snd_una;
        let newest = delivery.newest;
        self.ecn
            .on_delivery(delivery.measured, newest.is_some_and(|n| n.retransmitted));
        // Sooner than any round trip: it is the original that has arrived, not what was sent again.
        let early =
            newest.is_some_and(|n| n.retransmitted && now.since(n.sent_at()) < self.rtt.min());
        if let Some(rate) = &delivery.rate
            && self.signals.is_none()
        {
            self.delivery_rate = rate.rate();
        }
        if advanced {
            self.advance(now, pool, una);
        }
        let round = una > self.round_end || (advanced && una == self.snd_nxt);
        if round {
            self.round_end = self.snd_nxt;
            if self.recovery.is_none() && self.undo.on_round() {
                self.congestion.on_confirmed();
            }
        }

        if let Some(block) = duplicate {
            self.on_duplicate(block, una);
        }
        let spurious = self.judge_timeout(advanced, &delivery, early);
        // Before a timeout, an acknowledgement may have been lost and this be a later one: unless nothing was lost. Of
        // the timeout before, as after a blackout, that is not known.
        let from = if spurious {
            self.timeout_before
        } else {
            self.timeout_at
        };
        let rtt = delivery
            .measured
            .filter(|&at| at >= from)
            .map(|at| now.since(at));
        if let Some(rtt) = rtt {
            self.rtt.sample(rtt);
        }
        let mut lost = 0;
        if !spurious {
            // Else it is originals that arrive: when their copies were sent says nothing of the others.
            self.rack.on_delivery(now, &delivery, self.rtt.min());
            let resent = newest.is_some_and(|n| n.retransmitted);
            lost = self.detect_losses(now, resent, prior_in_flight);
        }
        if !self.sack
            && advanced
            && self
                .recovery
                .is_some_and(|r| r.prr.is_some() && una < r.end)
        {
            // A partial acknowledgement: the next segment is missing too (RFC 6582 section 3.2).
            let mut hearer = Hearer::new(now, &mut self.congestion, &mut self.signals);
            lost += self.board.mark_first_lost(|s, rate| hearer.lost(s, rate));
        }
        self.judge_probe(now, una);
        if self.recovery.is_some_and(|r| una >= r.end) {
            if self.recovery.is_some_and(|r| r.prr.is_some()) {
                self.rack.on_recovered();
                if self.signals.is_none() {
                    self.congestion.on_recovered(now);
                }
            }
            self.recovery = None;
        }
        let ce = u64::from(marked) * u64::from(self.mss);
        self.counters.ce_reported += u64::from(marked);
        self.reduce_proportionally(delivery.delivered, advanced && lost == 0);
        if let Some(signals) = &mut self.signals {
            signals.on_ack(&delivery, rtt, ce);
        } else if delivery.delivered > 0 || ce > 0 {
            self.congestion.on_ack(&Ack {
                now,
                acked: delivery.delivered,
                lost,
                in_flight: self.board.in_flight(),
                prior_in_flight,
                delivered: self.board.rate().delivered(),
                rtt,
                srtt: self.rtt.srtt(),
                min_rtt: self.rtt.min(),
                window_limited: self.was_window_limited(una, prior_in_flight),
                in_recovery: self
                    .recovery
                    .is_some_and(|r| r.prr.is_some() || r.frto.is_some()),
                round,
                ce,
                rate: delivery.rate,
            });
        }
        if ce > 0 && self.ecn.reduces(self.snd_nxt) {
            // In recovery it was reduced already, and a common window sees to itself.
            if self.recovery.is_none() && self.signals.is_none() {
                self.congestion.on_marked(prior_in_flight);
            }
        }
        self.ecn.on_acknowledged(una);
        self.arm_tail();

        if self.fin_sent && una == self.snd_nxt {
            match self.state {
                State::FinWait1 => {
                    self.state = State::FinWait2;
                }
                State::Closing => self.enter_time_wait(now),
                State::LastAck => self.end(pool, CloseReason::Done),
                _ => {}
            }
        }
    }

    /// Whether the congestion window was the limit when what is acknowledged now was under way (RFC 7661 section 4.1; in
    /// slow start half of it is enough, since it doubles in a round trip).
    fn was_window_limited(&self, una: Seq, flight: u64) -> bool {
        let filled = self.filled.is_some_and(|end| una <= end);
        filled || (self.congestion.in_slow_start() && 2 * flight >= self.congestion.cwnd())
    }

    /// SND.UNA moves: acknowledged data leaves the queue, and the timer starts anew.
    fn advance(&mut self, now: Time, pool: &mut Pool, una: Seq) {
        self.snd_una = una;
        // What was waited for is forgotten when it has come: 2 GiB later it would lie ahead again.
        self.filled = self.filled.filter(|&end| una <= end);
        self.rack.on_advance(una);
        let data_end = self.queue_start + self.queue.len() as u32;
        let data = una.min(data_end);
        if data > self.queue_start {
            let n = data - self.queue_start;
            self.queue.consume(pool, n as usize);
            self.queue_start = data;
            self.counters.bytes_acked += u64::from(n);
        }
        self.rtt.reset_backoff();
        self.retransmit_at = if self.board.is_empty() {
            Time::NEVER
        } else {
            now + self.rtt.rto()
        };
    }

    /// The peer got `block` twice: a probe that was not needed, a reduction that was not, or the network doubled it.
    fn on_duplicate(&mut self, block: (Seq, Seq), una: Seq) {
        let segments = (block.1 - block.0)
            .div_ceil(u32::from(self.mss))
            .clamp(1, 255);
        if let Some(tail) = &mut self.tail
            && tail.pending > 0
            && block.1 <= tail.end
        {
            if tail.on_duplicates(segments as u8) {
                self.tail = None;
            }
            return;
        }
        if self.undo.covers(block) {
            self.rack.on_spurious(una, self.snd_nxt);
        }
        if self.undo.on_duplicate(block, segments) {
            self.take_back();
        }
    }

    /// The last reduction was for nothing.
    fn take_back(&mut self) {
        self.counters.spurious += 1;
        self.timed_out = None;
        self.undo.clear();
        self.recovery = None;
        self.board.revive();
        match &mut self.signals {
            Some(signals) => signals.spurious = true,
            None => self.congestion.on_spurious(),
        }
    }

    /// After a timeout: whether it was for nothing (F-RTO).
    fn judge_timeout(&mut self, advanced: bool, delivery: &Delivery, early: bool) -> bool {
        let Some(Recovery {
            frto: Some(frto), ..
        }) = &mut self.recovery
        else {
            return false;
        };
        if !advanced && delivery.delivered == 0 {
            return false;
        }
        match frto.on_ack(advanced, delivery.revived > 0, early, delivery.selective) {
            frto::Verdict::Spurious => {
                self.take_back();
                return true;
            }
            frto::Verdict::Open if self.unsent() > 0 => {
                if self.signals.is_none() {
                    // Room for two new segments.
                    let cwnd = self.board.in_flight() + 2 * u64::from(self.mss);
                    self.congestion.set_cwnd(cwnd);
                }
            }
            frto::Verdict::Wait => {}
            frto::Verdict::Open | frto::Verdict::Genuine => {
                if let Some(recovery) = &mut self.recovery {
                    recovery.frto = None;
                }
            }
        }
        false
    }

    /// Whether a tail loss probe has repaired something (RFC 8985 section 7.4.2).
    fn judge_probe(&mut self, now: Time, una: Seq) {
        let Some((over, repaired)) = self.tail.map(|tail| tail.on_ack(una)) else {
            return;
        };
        if over {
            self.tail = None;
        }
        if repaired && self.recovery.is_none() {
            self.on_probe_repaired(now);
        }
    }

    /// A loss, repaired before it was found: the window is reduced all the same.
    fn on_probe_repaired(&mut self, now: Time) {
        match &mut self.signals {
            Some(signals) => signals.repaired = true,
            None => {
                let flight = self.board.in_flight();
                self.congestion
                    .on_congestion(now, flight, self.board.rate().delivered());
                self.congestion.on_recovered(now);
                self.congestion.on_confirmed();
            }
        }
    }

    /// RACK; returns the octets newly lost. `resent`: what was delivered had been sent again. `flight`: octets in flight
    /// before anything that has just been heard.
    fn detect_losses(&mut self, now: Time, resent: bool, flight: u64) -> u64 {
        let waits = std::mem::replace(&mut self.reorder_at, Time::NEVER) != Time::NEVER;
        // Without SACK, what is above the acknowledged may have arrived unseen: see note_duplicate.
        if !self.sack || (self.board.sacked() == 0 && !resent && !waits) {
            return 0;
        }
        let circumstances = self.circumstances(now);
        let mut hearer = Hearer::new(now, &mut self.congestion, &mut self.signals);
        let (lost, again) = self
            .rack
            .detect(&mut self.board, &circumstances, |s, rate| {
                hearer.lost(s, rate)
            });
        if let Some(at) = again {
            self.reorder_at = at;
        }
        self.enter_recovery(now, lost, flight);
        lost
    }

    fn circumstances(&self, now: Time) -> Circumstances {
        Circumstances {
            now,
            in_recovery: self.recovery.is_some(),
            mss: u64::from(self.mss),
            srtt: self.rtt.srtt(),
            min_rtt: self.rtt.min(),
        }
    }

    /// Fast recovery begins, if something was lost. `flight` is FlightSize of RFC 5681 and RecoverFS of RFC 9937: what
    /// the acknowledgement that tells of the loss has delivered belongs to it.
    fn enter_recovery(&mut self, now: Time, lost: u64, flight: u64) {
        if lost == 0 || self.recovery.is_some() {
            return;
        }
        if self.signals.is_none() {
            self.congestion
                .on_congestion(now, flight, self.board.rate().delivered());
        }
        self.ecn.on_loss();
        self.undo.on_reduction(self.snd_una, self.snd_nxt);
        if let Some(tail) = &mut self.tail {
            tail.accounted = true;
        }
        self.counters.fast_recoveries += 1;
        self.recovery = Some(Recovery {
            end: self.snd_nxt,
            prr: Some(Prr::new(flight)),
            frto: None,
        });
    }

    /// PRR, in fast recovery: the window for what is sent next. `safe`: SND.UNA advanced and nothing more was lost.
    fn reduce_proportionally(&mut self, delivered: u64, safe: bool) {
        if let Some(Recovery { prr: Some(prr), .. }) = &mut self.recovery
            && self.signals.is_none()
            && self.congestion.uses_prr()
        {
            let cwnd = prr.on_ack(
                delivered,
                self.board.in_flight(),
                self.congestion.ssthresh(),
                u64::from(self.mss),
                safe,
            );
            // With nothing in flight, and an acknowledgement that delivers nothing, there would be none, and so no rate.
            self.congestion.set_cwnd(cwnd.max(u64::from(self.mss)));
        }
    }

    /// Sets the timer of the tail loss probe: from when the oldest segment in flight was sent, but leaving acknowledgements
    /// that are coming in the time to go on.
    pub(super) fn arm_tail(&mut self) {
        self.tail_at = Time::NEVER;
        let srtt = self.rtt.srtt();
        // A SYN is probed too, if siblings know the round-trip time: whether the peer has SACK is not known yet.
        let able = self.sack || self.state == State::SynSent;
        // Probes of an earlier tail, all of which is acknowledged, do not count; but something has to have been heard.
        let probed = self.tail.filter(|tail| tail.end > self.snd_una);
        let delivered = self.board.rate().delivered();
        let open = match probed {
            Some(tail) => tail.sent < tlp::MOST,
            None => self.probed_at.is_none_or(|then| delivered > then),
        };
        let quiet = !self.board.has_lost()
            && self.reorder_at == Time::NEVER
            && open
            && self.rtt.backoff() == 0;
        if able
            && quiet
            && srtt > 0
            && let Some(oldest) = self.board.oldest()
            // One that was itself sent again as a probe waits for the timeout.
            && !(probed.is_some() && oldest.retransmitted)
        {
            let timeout = tlp::timeout(srtt.max(self.rtt.latest()), self.rtt.rttvar());
            let heard = self.board.rate().delivered_at();
            self.tail_at = (oldest.sent_at() + timeout)
                .max(heard + timeout.saturating_sub(srtt))
                .min(self.retransmit_at);
        }
    }

    /// Nothing was heard of the tail: its first segments and the last one go out again.
    fn on_tail(&mut self, now: Time) {
        self.tail_at = Time::NEVER;
        if self.board.has_lost() {
            return;
        }
        let answerable = now - self.rtt.srtt();
        let earlier = self.tail.filter(|tail| tail.end <= self.snd_una);
        let before = match (earlier, self.tail) {
            (None, Some(tail)) => tail.sent,
            _ => 0,
        };
        let probes = self.board.probe(answerable, tlp::Probe::front(before));
        if probes == 0 {
            return;
        }
        if let Some(earlier) = earlier {
            // All of it is acknowledged, and nothing came twice for more than a round trip.
            if !earlier.accounted && self.recovery.is_none() {
                self.on_probe_repaired(now);
            }
            self.tail = None;
        }
        self.counters.probes += 1;
        self.ecn.on_loss();
        self.probed_at = Some(self.board.rate().delivered());
        let tail = self.tail.get_or_insert(tlp::Probe {
            end: self.snd_nxt,
            sent: 0,
            pending: 0,
            // Whether a SYN was lost or its answer late, nothing tells: a second one is answered, and not reported.
            accounted: self.state == State::SynSent,
        });
        tail.end = self.snd_nxt;
        tail.sent += probes;
        tail.pending += probes;
        self.retransmit_at = now + self.rtt.rto();
    }

    /// Stores data and notes a FIN; decides when to acknowledge.
    pub(super) fn take_data(
        &mut self,
        now: Time,
        pool: &mut Pool,
        segment: &Segment<'_>,
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
            let outcome = self.receive.store(pool, start, payload);
            stored = Some(outcome);
            if matches!(outcome, Stored::InOrder | Stored::OutOfOrder) {
                let unread = self.receive.readable();
                self.window
                    .on_arrival(now, payload.len(), unread, self.rtt.srtt());
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
        if self.quick_acks > 0 {
            self.quick_acks -= 1;
            self.ack_now = true;
        } else if self.unacked >= self.ack_every(now) * u32::from(self.largest_received) {
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

    // ---- timers ----

    /// When [`Tcb::on_timer`] has something to do.
    pub fn deadline(&self) -> Time {
        self.retransmit_at
            .min(self.reorder_at)
            .min(self.tail_at)
            .min(self.ack_at)
            .min(self.wait_at)
            .min(self.pace_at)
    }

    /// Does what is due. Calls that come early, late or twice do no harm.
    pub fn on_timer(&mut self, now: Time, pool: &mut Pool) {
        if self.ack_at <= now {
            self.ack_at = Time::NEVER;
            self.ack_now = true;
        }
        if self.pace_at <= now {
            // Its turn to send comes now, and says when the next one is.
            self.pace_at = Time::NEVER;
        }
        if self.wait_at <= now {
            self.wait_at = Time::NEVER;
            match self.state {
                State::TimeWait => self.end(pool, CloseReason::Done),
                // The relay closed, and the peer never finished.
                State::FinWait2 => self.end(pool, CloseReason::Timeout),
                _ => {}
            }
        }
        if self.reorder_at <= now {
            let begins = self.recovery.is_none();
            if self.detect_losses(now, true, self.board.in_flight()) > 0 && begins {
                self.reduce_proportionally(0, false);
            }
            self.arm_tail();
        }
        if self.tail_at <= now {
            self.on_tail(now);
        }
        if self.retransmit_at <= now {
            self.on_retransmission_timeout(now, pool);
        }
    }

    fn on_retransmission_timeout(&mut self, now: Time, pool: &mut Pool) {
        let since = *self.unanswered_since.get_or_insert(now);
        if now.since(since) >= self.dead_timeout {
            self.end(pool, CloseReason::Timeout);
            return;
        }
        if self.board.is_empty() {
            // The window is closed and there is data: probe it (RFC 9293 section 3.8.6.1).
            self.retransmit_at = Time::NEVER;
            if self.wants_probe() {
                self.probe = true;
                self.rtt.back_off();
                self.retransmit_at = now + self.rtt.rto();
            }
            return;
        }
        if self.board.in_flight() == 0 && self.board.has_lost() {
            // It waits for the window that siblings share, or for its pace: nothing is out that could be late.
            self.retransmit_at = now + self.rtt.rto();
            return;
        }
        self.counters.timeouts += 1;
        self.timeout_before = self.timeout_at;
        self.timeout_at = now;
        // Not the back-off says so: it is taken back when the peer is heard after a silence, or the path has shrunk.
        let first = self.timed_out.replace(self.snd_una) != Some(self.snd_una);
        let flight = self.board.in_flight();
        if self.board.first().is_some_and(|s| s.sacked) {
            // Selectively acknowledged, but not when its turn came: the peer was short of memory.
            self.board.forget_sacks();
        }
        // Section 6.3 of RFC 8985: the first segment, and those that have had the time to be answered.
        let c = self.circumstances(now);
        let late = self.rack.rtt() + self.rack.reordering_window(self.board.sacked(), &c);
        let mut hearer = Hearer::new(now, &mut self.congestion, &mut self.signals);
        self.board.mark_first_lost(|s, rate| hearer.lost(s, rate));
        self.board
            .mark_lost_until(now - late, |s, rate| hearer.lost(s, rate));
        match &mut self.signals {
            Some(signals) => signals.timed_out = true,
            None => {
                let delivered = self.board.rate().delivered();
                self.congestion.on_timeout(now, flight, first, delivered);
            }
        }
        self.ecn.on_loss();
        if first {
            self.undo.on_reduction(self.snd_una, self.snd_nxt);
        }
        self.recovery = Some(Recovery {
            end: self.snd_nxt,
            prr: None,
            frto: (first && self.sack).then_some(Frto::FirstResent),
        });
        self.tail = None;
        self.tail_at = Time::NEVER;
        self.duplicate_acks = 0;
        self.rtt.back_off();
        self.retransmit_at = now + self.rtt.rto();
    }

    /// There is something to send, nothing is outstanding, and the peer's window does not let it out.
    pub(super) fn wants_probe(&self) -> bool {
        let waiting = self.unsent() > 0 || (self.fin_queued && !self.fin_sent);
        let open = self.state.may_send() && self.state != State::SynReceived;
        waiting && open && self.board.is_empty() && self.may_be_held_by_peer()
    }

    /// Whether the peer's window may be what holds back new data; what siblings share may be so as well.
    fn may_be_held_by_peer(&self) -> bool {
        let fin = u32::from(self.fin_queued);
        let want = self.unsent().min(u32::from(self.mss)) + fin;
        let usable = self.snd_wnd.saturating_sub(self.snd_nxt - self.snd_una);
        usable < want
    }

    /// Asks for a sign of life: an empty segment that has to be answered.
    pub fn probe(&mut self) {
        if self.state.is_synchronized() {
            self.probe = true;
        }
    }

    /// The peer was heard after a silence: what waits for a backed-off timer goes out now.
    pub fn revive(&mut self, now: Time) {
        if self.rtt.backoff() > 0 && self.retransmit_at != Time::NEVER {
            self.rtt.reset_backoff();
            self.retransmit_at = self.retransmit_at.min(now);
        }
    }
}

/// Passes losses on to congestion control, the circuit's own or the siblings'.
struct Hearer<'a> {
    now: Time,
    congestion: &'a mut Congestion,
    signals: &'a mut Option<Box<Signals>>,
}

impl<'a> Hearer<'a> {
    fn new(
        now: Time,
        congestion: &'a mut Congestion,
        signals: &'a mut Option<Box<Signals>>,
    ) -> Hearer<'a> {
        Hearer {
            now,
            congestion,
            signals,
        }
    }

    fn lost(&mut self, segment: &Sent, rate: &RateEstimator) {
        let len = u64::from(segment.len);
        let departure = &segment.departure;
        match self.signals {
            Some(signals) => signals.losses.push((len, *departure)),
            None if departure.is_void() => {}
            None => self.congestion.on_lost(
                self.now,
                &Loss {
                    len,
                    tx_in_flight: departure.in_flight,
                    lost_since_sent: rate.lost().saturating_sub(departure.lost),
                    delivered_at_send: departure.delivered,
                    app_limited: departure.app_limited,
                },
            ),
        }
    }
}
