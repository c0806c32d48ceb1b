//! Timers: the tail loss probe, the retransmission timeout, and what else waits for a time.

use super::acknowledgement::Hearer;
use super::recovery::frto::Frto;
use super::recovery::tlp;
use super::state::State;
use super::tcb::{Recovery, Tcb};
use crate::error::CloseReason;
use crate::pool::Pool;
use crate::time::Time;

impl Tcb {
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

    /// When [`Tcb::on_timer`] has something to do.
    pub fn deadline(&self) -> Time {
        self.deadline_beside_ack().min(self.ack_at)
    }

    /// The same, if somebody else sees to the acknowledgement that is held back.
    pub fn deadline_beside_ack(&self) -> Time {
        self.retransmit_at
            .min(self.reorder_at)
            .min(self.tail_at)
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
            if let Some(recovery) = &mut self.recovery {
                // Nor for new data to show whether anything was lost: none was sent.
                recovery.frto = None;
            }
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
        self.usable_window() < want
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
