//! BBR version 3 (draft-ietf-ccwg-bbr; section titles in this module are that draft's, in the revision after -06).
//!
//! A pure state machine: time, acknowledgements and losses come in; a window, a pacing rate and a burst size come out.
//! Octets, microseconds and octets per second everywhere.
//!
//! ```text
//! Startup -> Drain -> ProbeBW: Down -> Cruise -> Refill -> Up -> Down ...
//!    any of them -> ProbeRTT -> Cruise (or Startup, if the pipe was never full)
//! ```
//!
//! # Where it differs from the draft
//!
//! - **Loss is tolerated up to [`LOSS_THRESH`] as long as no queue is standing**, plus two standard deviations of a
//!   random count of that mean, so that one unlucky packet of a small window is no congestion; also while cruising,
//!   where the draft slows down after any loss. With a queue (no packet of a round came through in less than 1.25
//!   times the minimum round-trip time) the draft's rules hold: any loss while cruising, 2 % while probing.
//!
//!   The reason: by the draft's rule every lossy round of cruising lowers the rate to what that round delivered. In
//!   the path model of the tests (100 Mbit/s, 50 ms, a minute) and 3 % random loss, an answer to any loss leaves 4 %
//!   of the link, a threshold of 2 % leaves 51 %, one of 3 % 94 %, one of 4 % or more 97 %. At 5 % of loss a
//!   threshold of 4 % leaves 67 %, one of 5 % 93 %.
//!
//!   What it costs others, in the laboratory: a CUBIC flow of ours beside one of these gets, at buffers of 0.2, 0.5,
//!   1 and 2 bandwidth-delay products, 18, 18, 19 and 45 % of 100 Mbit/s at 40 ms (beside one that answers any loss:
//!   25, 33, 38, 47 %), and 12, 28, 39 and 47 % of 20 Mbit/s at 30 ms (41, 43, 46, 52 %); medians of three seeds over
//!   60 s. Buffers too shallow to show a queue pay: there this sender yields only when it loses one octet in twenty
//!   in a round trip. Twenty such flows at a buffer of one product resend 3.4 % between them, against 1.8 %.
//! - **What the path loses without a queue is sent on top** while in ProbeBW, as a moving average of cruising rounds,
//!   at most [`LOSS_THRESH`], and not while a queue is standing. The draft paces a hundredth below the rate that
//!   arrives: where 3 % are lost before the bottleneck, 4 % of it stay idle. With it 97 % instead of 94 % of the link
//!   are used at 100 Mbit/s, 100 ms, 3 %. It takes nothing measurable from a CUBIC flow at the buffers above.
//!   Overflow that no queue announces does not feed on itself: the pacing margin is below what arrives.
//! - **A probe for bandwidth ends when a fifth of a bandwidth-delay product is queued** (after three quarters of the
//!   minimum round-trip time at least), in the manner of version 1. The draft's waits for three round trips without
//!   growth, which fills a queue of one product every two to three seconds: at 10 Mbit/s and 50 ms the 99th
//!   percentile of a cell's delay beside bulk data was 2.8 times that of an idle path, and is 1.4. A flight of that
//!   size is enough to tell, from the samples that come a round trip later. If these raise the estimate by more than
//!   a tenth, the next probe follows at once. If they are more than a twentieth above what the round before the probe
//!   delivered, the next probe lasts as long as the draft's: then there is idle bandwidth, or another flow to share
//!   with. So do probes that begin while a queue is standing. Without that, two flows at a buffer of a fifth of a
//!   product stayed at 2:1.
//! - **Cruising keeps no queue**: see `cruise.rs`.
//! - **ProbeRTT stays away while cruising shows no queue**: a sample within a thirty-second of the minimum counts as
//!   the minimum seen again. The draft wants a lower one, which a sender alone on its path does not get.
//! - Congestion Experienced is answered as Linux' version 3 does it (the draft leaves ECN open), but at any round-trip
//!   time, since a sender that offers ECN has to answer it, and without its quick second probe.
//! - A timeout leaves four segments of window instead of what is in flight and one more: the next acknowledgement
//!   would raise it to four anyway, and they are paced.
//! - The pacing rate is never below a segment a second, so that no absurd sample can stop a circuit for minutes.
//! - ProbeRTT goes by the bandwidth of the last round, if that is less than half of the estimate: after a fall of the
//!   bandwidth to a tenth the draft's half of the old product is a queue, which it takes for the path, and keeps for
//!   a minute.
//! - `offload_budget` is one send quantum, as the draft has it for transports in user space: nothing is offloaded.
//! - Rounds with loss in Startup are told by the number of acknowledgements that reported loss, as in Linux, not by
//!   the number of lost ranges.

mod control;
mod cruise;
mod model;
mod probe_bw;
mod probe_rtt;
mod response;
mod startup;
#[cfg(test)]
mod tests;

use super::{Ack, Loss};
use crate::time::{Micros, Time};

use cruise::Cruise;
use model::{AckAggregation, CwndLimited, MaxBw, Rounds};
use probe_bw::Cycle;
use probe_rtt::MinRtt;
use response::{Ecn, LongTerm, Losses, RandomLoss, ShortTerm, Undo};
use startup::FullBw;

/// The highest loss rate of a round trip that is not taken for congestion as long as no queue is standing, in
/// thousandths.
pub const LOSS_THRESH: u16 = 50;

/// The same with a queue (BBR.LossThresh, section "Core Algorithm Design Parameters").
pub const QUEUED_LOSS_THRESH: u16 = 20;

/// Segments that the window never falls below (BBR.MinPipeCwnd, section "Core Algorithm Design Parameters").
pub const MIN_PIPE_CWND: u64 = 4;

/// No segment is longer, with whatever offload; keeps the arithmetic from overflowing.
const MAX_MSS: u64 = 1 << 32;

/// No bound.
const INFINITE: u64 = u64::MAX;

/// Where the state machine is (section "State Machine Overview").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Doubling the rate each round trip to find the bandwidth.
    Startup,
    /// Emptying the queue that Startup made.
    Drain,
    /// Slower than the bottleneck, to empty the queue and leave room to others.
    ProbeBwDown,
    /// At the rate of the bottleneck.
    ProbeBwCruise,
    /// One round trip at the full estimated rate, before probing.
    ProbeBwRefill,
    /// Faster than the bottleneck, to find more bandwidth.
    ProbeBwUp,
    /// Half of the flight, to see the round-trip time without a queue of one's own.
    ProbeRtt,
}

impl State {
    fn is_probe_bw(self) -> bool {
        matches!(
            self,
            State::ProbeBwDown | State::ProbeBwCruise | State::ProbeBwRefill | State::ProbeBwUp
        )
    }

    /// IsProbingBW(): whether this state accelerates, so that congestion is answered in the long-term model.
    fn is_accelerating(self) -> bool {
        matches!(
            self,
            State::Startup | State::ProbeBwRefill | State::ProbeBwUp
        )
    }
}

/// BBR of one connection.
#[derive(Clone, Debug)]
pub struct Bbr {
    mss: u64,
    initial_cwnd: u64,
    loss_thresh: u64,
    state: State,
    /// The first event has set the clocks that count from the beginning.
    started: bool,
    /// C.delivered as last heard.
    delivered: u64,
    in_recovery: bool,
    idle_restart: bool,

    cwnd: u64,
    /// The last window that neither recovery nor ProbeRTT had cut (BBR.prior_cwnd).
    prior_cwnd: u64,
    pacing_rate: u64,
    /// The pacing rate rests on a round-trip time that was measured.
    rate_from_rtt: bool,
    send_quantum: u64,

    rounds: Rounds,
    max_bw: MaxBw,
    /// BBR.bw, the lesser of the long- and the short-term estimate.
    bw: u64,
    aggregation: AckAggregation,
    cwnd_limited: CwndLimited,
    full_bw: FullBw,
    drain_start_round: u64,
    cycle: Cycle,
    cruise: Cruise,
    min_rtt: MinRtt,
    short: ShortTerm,
    long: LongTerm,
    losses: Losses,
    random_loss: RandomLoss,
    ecn: Ecn,
    undo: Option<Undo>,
}

impl Bbr {
    /// In Startup, with the window `initial_cwnd`. `seed` spreads the probes of circuits over time; `srtt_hint` is the
    /// round-trip time if one is known, else 0.
    pub fn new(mss: u64, initial_cwnd: u64, seed: u32, srtt_hint: Micros) -> Bbr {
        let mss = mss.clamp(1, MAX_MSS);
        let initial_cwnd = initial_cwnd.max(MIN_PIPE_CWND.saturating_mul(mss));
        let mut bbr = Bbr {
            mss,
            initial_cwnd,
            loss_thresh: u64::from(LOSS_THRESH),
            state: State::Startup,
            started: false,
            delivered: 0,
            in_recovery: false,
            idle_restart: false,
            cwnd: initial_cwnd,
            prior_cwnd: 0,
            pacing_rate: 0,
            rate_from_rtt: srtt_hint > 0,
            send_quantum: 0,
            rounds: Rounds::default(),
            max_bw: MaxBw::default(),
            bw: 0,
            aggregation: AckAggregation::default(),
            cwnd_limited: CwndLimited::default(),
            full_bw: FullBw::default(),
            drain_start_round: 0,
            cycle: Cycle::new(seed),
            cruise: Cruise::default(),
            min_rtt: MinRtt::new(srtt_hint),
            short: ShortTerm::default(),
            long: LongTerm::default(),
            losses: Losses::default(),
            random_loss: RandomLoss::default(),
            ecn: Ecn::default(),
            undo: None,
        };
        bbr.init_pacing_rate(srtt_hint);
        bbr
    }

    /// The same with another threshold for loss without a queue, in thousandths (1 to 500).
    pub fn with_loss_thresh(mut self, thousandths: u16) -> Bbr {
        self.loss_thresh = u64::from(thousandths.clamp(1, 500));
        self
    }

    /// The segment size is known, or has changed. The initial window follows as long as nothing was sent.
    pub fn set_mss(&mut self, mss: u64) {
        let mss = mss.clamp(1, MAX_MSS);
        if !self.started {
            let segments = self.initial_cwnd / self.mss;
            self.initial_cwnd = segments.max(MIN_PIPE_CWND).saturating_mul(mss);
            self.cwnd = self.initial_cwnd;
        }
        self.mss = mss;
        if !self.started {
            self.init_pacing_rate(self.min_rtt.hint());
        }
        self.cwnd = self.cwnd.max(self.min_pipe_cwnd());
        self.set_send_quantum();
    }

    /// `len` octets are sent (section "Per-Transmit Steps"); `delivered` is C.delivered.
    pub fn on_sent(
        &mut self,
        now: Time,
        len: u64,
        in_flight_before: u64,
        app_limited: bool,
        delivered: u64,
    ) {
        self.begin(now);
        self.delivered = self.delivered.max(delivered);
        if in_flight_before == 0 && app_limited {
            self.restart_from_idle(now);
        }
        let in_flight = in_flight_before.saturating_add(len);
        if in_flight.saturating_add(self.mss) > self.cwnd {
            self.cwnd_limited.this_round = true;
        }
    }

    /// HandleRestartFromIdle(): at the old rate, without a burst (section "Restarting From Idle").
    fn restart_from_idle(&mut self, now: Time) {
        self.idle_restart = true;
        self.aggregation.restart(now);
        if self.state.is_probe_bw() {
            self.set_pacing_rate(100);
        } else if self.state == State::ProbeRtt {
            self.check_probe_rtt_done(now);
        }
    }

    /// An acknowledgement arrived (section "Per-ACK Steps"). Losses that it revealed come before it, by
    /// [`Bbr::on_lost`].
    pub fn on_ack(&mut self, ack: &Ack) {
        self.begin(ack.now);
        self.delivered = self.delivered.max(ack.delivered);
        self.in_recovery = ack.in_recovery;
        self.pace_from_first_rtt(ack);

        let sample = self.sample(ack);
        self.update_round(ack, &sample);
        self.update_ecn(ack);
        self.update_random_loss();
        self.update_latest_delivery_signals(&sample);
        self.update_congestion_signals(ack, &sample);
        self.update_ack_aggregation(ack);
        self.check_full_bw_reached(&sample);
        self.check_startup_done(ack, &sample);
        self.check_drain_done(ack);
        self.update_probe_bw_cycle_phase(ack, &sample);
        self.update_min_rtt(ack);
        self.check_probe_rtt(ack, &sample);
        self.advance_latest_delivery_signals(&sample);
        self.bound_bw_for_model();
        self.update_cruise(ack);

        self.set_pacing_rate(self.pacing_gain());
        self.set_send_quantum();
        self.set_cwnd(ack.acked);
    }

    /// A packet was found lost (section "Per-Loss Steps").
    pub fn on_lost(&mut self, now: Time, loss: &Loss) {
        self.begin(now);
        self.handle_lost_packet(now, loss);
    }

    /// Fast recovery begins.
    pub fn on_recovery(&mut self, now: Time, _in_flight: u64, delivered: u64) {
        self.begin(now);
        self.delivered = self.delivered.max(delivered);
        self.save_state_upon_loss(now);
        self.in_recovery = true;
    }

    /// Recovery is over, because all was repaired.
    pub fn on_recovered(&mut self, now: Time) {
        self.begin(now);
        self.in_recovery = false;
        self.restore_cwnd();
    }

    /// The retransmission timer fired.
    pub fn on_timeout(&mut self, now: Time, in_flight: u64) {
        self.begin(now);
        self.save_state_upon_loss(now);
        self.in_recovery = true;
        self.cwnd = in_flight
            .saturating_add(self.mss)
            .min(self.cwnd)
            .max(self.min_pipe_cwnd());
    }

    /// Nothing was lost in the recovery or timeout that began last. It may be over already.
    pub fn on_spurious(&mut self) {
        self.in_recovery = false;
        self.handle_spurious_loss();
    }

    /// The congestion window in octets.
    pub fn cwnd(&self) -> u64 {
        self.cwnd
    }

    /// Octets per second at which to send. Never 0.
    pub fn pacing_rate(&self) -> u64 {
        self.pacing_rate
    }

    /// Octets that may leave back to back.
    pub fn send_quantum(&self) -> u64 {
        self.send_quantum
    }

    /// The estimated bandwidth in octets per second, 0 before the first sample.
    pub fn bandwidth(&self) -> u64 {
        self.bw
    }

    /// The estimated round-trip time without a queue, `u64::MAX` before the first sample.
    pub fn min_rtt(&self) -> Micros {
        self.min_rtt.get()
    }

    /// Where the state machine is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the bandwidth is still being looked for by doubling.
    pub fn in_slow_start(&self) -> bool {
        self.state == State::Startup
    }

    fn begin(&mut self, now: Time) {
        if !self.started {
            self.started = true;
            self.min_rtt.begin(now);
            self.aggregation.restart(now);
        }
    }

    fn min_pipe_cwnd(&self) -> u64 {
        MIN_PIPE_CWND.saturating_mul(self.mss)
    }
}
