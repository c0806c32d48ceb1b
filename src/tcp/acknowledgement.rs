//! Acknowledgements in: what was delivered, what was lost, and what recovery and congestion control make of it.

use super::congestion::{Ack, Congestion, Loss};
use super::recovery::dsack;
use super::recovery::frto;
use super::recovery::prr::Prr;
use super::recovery::rack::Circumstances;
use super::recovery::rate::RateEstimator;
use super::recovery::scoreboard::{Delivery, Sent};
use super::segment::Segment;
use super::seq::Seq;
use super::signals::Signals;
use super::state::State;
use super::tcb::{Recovery, Tcb};
use crate::error::CloseReason;
use crate::pool::Pool;
use crate::time::Time;

/// Duplicate acknowledgements that mean loss, for peers without SACK (RFC 5681 section 3.2).
const DUP_THRESH: u8 = 3;

impl Tcb {
    /// Fast retransmit for peers without SACK (RFC 5681 section 3.2, RFC 6582). `plain`: the segment carries nothing but
    /// its acknowledgement.
    pub(super) fn note_duplicate(&mut self, now: Time, segment: &Segment<'_>, plain: bool) {
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
    pub(super) fn acknowledge(&mut self, now: Time, pool: &mut Pool, segment: &Segment<'_>) {
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
            let fast = self.recovery.is_some_and(|r| r.prr.is_some());
            if fast {
                self.rack.on_recovered();
            }
            // After a timeout slow start goes on, but BBR takes up the window that it had.
            if (fast || !self.congestion.uses_prr()) && self.signals.is_none() {
                self.congestion.on_recovered(now);
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
    pub(super) fn on_probe_repaired(&mut self, now: Time) {
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
    pub(super) fn detect_losses(&mut self, now: Time, resent: bool, flight: u64) -> u64 {
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

    pub(super) fn circumstances(&self, now: Time) -> Circumstances {
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
    pub(super) fn enter_recovery(&mut self, now: Time, lost: u64, flight: u64) {
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
    pub(super) fn reduce_proportionally(&mut self, delivered: u64, safe: bool) {
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
}

/// Passes losses on to congestion control, the circuit's own or the siblings'.
pub(super) struct Hearer<'a> {
    now: Time,
    congestion: &'a mut Congestion,
    signals: &'a mut Option<Box<Signals>>,
}

impl<'a> Hearer<'a> {
    pub(super) fn new(
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

    pub(super) fn lost(&mut self, segment: &Sent, rate: &RateEstimator) {
        let len = u64::from(segment.len);
        if let Some(signals) = self.signals {
            signals.losses.push((len, segment.departure));
        } else if let Some(loss) = Loss::new(len, &segment.departure, rate) {
            self.congestion.on_lost(self.now, &loss);
        }
    }
}
