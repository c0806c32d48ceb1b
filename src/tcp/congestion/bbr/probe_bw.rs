//! ProbeBW: Down, Cruise, Refill, Up (section "ProbeBW").

use super::model::{Sample, scale};
use super::{Ack, Bbr, INFINITE, State};
use crate::time::{Micros, SECOND, Time};

/// The least wall-clock time from one probe for bandwidth to the next, and the random addition to it (T_bbr, section
/// "A Dual-Time-Scale Approach for Coexistence").
const PROBE_WAIT: Micros = 2 * SECOND;
const PROBE_WAIT_SPREAD: Micros = SECOND;
/// The most round trips from one probe to the next, so that Reno and CUBIC flows of the same window fare as well
/// (T_reno_bound, the same section).
const RENO_ROUNDS: u64 = 63;
/// The flight, in per cent of the bandwidth-delay product, at which a probe has asked enough: a fifth of the
/// product then waits at the bottleneck, or, if there is more bandwidth, the samples of this flight are higher by
/// as much.
const PROBED_FLIGHT: u64 = 120;
/// The least duration of a probe, in per cent of the minimum round-trip time: where acknowledgements come in
/// bursts, the flight is high at times whatever the rate.
const PROBED_SPAN: u64 = 75;
/// A probe that delivers more than this, in per cent of the round before it, has found bandwidth that is idle or
/// another's: the next one lasts as long as the draft's. Alone on its path, a flow finds what the pacing margin
/// left.
const FOUND_MORE: u64 = 105;
/// If it raises the estimate to more than this, in per cent, the next one follows at once.
const FOUND_MUCH_MORE: u64 = 110;
/// Doublings of the growth of inflight_longterm at most (section "ProbeBW Algorithm Details").
const MAX_PROBE_UP_ROUNDS: u32 = 30;

/// What the acknowledgements that come in tell of the probe (BBR.ack_phase, section "ProbeBW State").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckPhase {
    Init,
    Refilling,
    ProbeStarting,
    ProbeFeedback,
    ProbeStopping,
}

/// One probe for bandwidth.
#[derive(Clone, Debug)]
struct Probe {
    since: Time,
    /// It lasts as long as the draft's.
    insists: bool,
    /// The estimate before it.
    estimate: u64,
    /// What the round before it delivered at most, in octets per second; no bound if that was the application's doing.
    before: u64,
    /// The same of the probe.
    found: u64,
}

/// The cycle of probing.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    pub ack_phase: AckPhase,
    /// When the cycle began (BBR.cycle_stamp).
    since: Time,
    /// How long it may be (BBR.bw_probe_wait).
    wait: Micros,
    pub rounds_since_probe: u64,
    /// Samples come from a probe that congestion has not yet ended (BBR.is_bw_probe_sample).
    pub probe_samples: bool,
    pub prev_probe_too_high: bool,
    pub prev_probe_precautionary: bool,
    /// BBR.bw_probe_up_rounds.
    up_rounds: u32,
    /// BBR.bw_probe_up_acked.
    up_acked: u64,
    /// BBR.probe_up_acked_per_inc.
    up_acked_per_inc: u64,
    /// The probe under way, until its samples are in.
    probe: Option<Probe>,
    /// The last probe found more.
    pub found_more: bool,
    random: u32,
}

impl Cycle {
    pub(super) fn new(seed: u32) -> Cycle {
        Cycle {
            ack_phase: AckPhase::Init,
            since: Time(0),
            wait: 0,
            rounds_since_probe: 0,
            probe_samples: false,
            prev_probe_too_high: false,
            prev_probe_precautionary: false,
            up_rounds: 0,
            up_acked: 0,
            up_acked_per_inc: INFINITE,
            probe: None,
            found_more: false,
            // Xorshift has no way out of zero.
            random: if seed == 0 { 0x9e37_79b9 } else { seed },
        }
    }

    /// Xorshift (Marsaglia 2003): enough to keep flows from probing in step.
    fn random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    /// PickProbeWait().
    fn pick_wait(&mut self) {
        self.rounds_since_probe = u64::from(self.random() >> 31);
        self.wait = PROBE_WAIT + u64::from(self.random()) % PROBE_WAIT_SPREAD;
    }
}

impl Bbr {
    /// EnterProbeBW() and StartProbeBW_DOWN().
    pub(super) fn start_probe_bw_down(&mut self, now: Time) {
        self.reset_congestion_signals();
        self.cycle.up_acked_per_inc = INFINITE;
        self.cycle.pick_wait();
        self.cycle.since = now;
        self.cycle.ack_phase = AckPhase::ProbeStopping;
        self.start_round();
        self.state = State::ProbeBwDown;
    }

    /// StartProbeBW_CRUISE().
    pub(super) fn start_probe_bw_cruise(&mut self) {
        self.state = State::ProbeBwCruise;
    }

    /// StartProbeBW_REFILL(): the short-term model is forgotten, to look whether its reason is gone.
    pub(super) fn start_probe_bw_refill(&mut self) {
        self.short.reset();
        self.cycle.up_rounds = 0;
        self.cycle.up_acked = 0;
        self.cycle.prev_probe_precautionary = false;
        self.cycle.ack_phase = AckPhase::Refilling;
        self.start_round();
        self.state = State::ProbeBwRefill;
    }

    /// StartProbeBW_UP().
    fn start_probe_bw_up(&mut self, now: Time, sample: &Sample) {
        self.cycle.ack_phase = AckPhase::ProbeStarting;
        self.cycle.probe = Some(Probe {
            since: now,
            insists: self.cycle.found_more || self.is_queue_standing(),
            estimate: self.max_bw.get(),
            before: if sample.app_limited {
                INFINITE
            } else {
                self.losses.bw_latest.max(sample.rate)
            },
            found: 0,
        });
        self.start_round();
        self.full_bw.restart(sample.rate);
        self.state = State::ProbeBwUp;
        self.raise_inflight_longterm_slope();
    }

    /// UpdateProbeBWCyclePhase().
    pub(super) fn update_probe_bw_cycle_phase(&mut self, ack: &Ack, sample: &Sample) {
        if !self.full_bw.reached {
            return;
        }
        if self.adapt_long_term_model(ack, sample) {
            return;
        }
        match self.state {
            State::ProbeBwDown | State::ProbeBwCruise => {
                if self.is_time_to_probe_bw(ack.now) {
                    self.start_probe_bw_refill();
                } else if self.state == State::ProbeBwDown && self.is_time_to_cruise(ack.in_flight)
                {
                    self.start_probe_bw_cruise();
                }
            }
            State::ProbeBwRefill => {
                if self.rounds.start {
                    self.cycle.probe_samples = true;
                    self.start_probe_bw_up(ack.now, sample);
                }
            }
            State::ProbeBwUp => {
                if self.is_time_to_go_down(ack, sample) {
                    self.cycle.prev_probe_too_high = false;
                    self.start_probe_bw_down(ack.now);
                }
            }
            State::Startup | State::Drain | State::ProbeRtt => {}
        }
    }

    /// IsTimeToProbeBW().
    fn is_time_to_probe_bw(&self, now: Time) -> bool {
        now > self.cycle.since + self.cycle.wait || self.is_reno_coexistence_probe_time()
    }

    /// IsRenoCoexistenceProbeTime(): a Reno flow of this window would by now have lost a packet for probing.
    fn is_reno_coexistence_probe_time(&self) -> bool {
        let reno_rounds = self.target_inflight() / self.mss;
        self.cycle.rounds_since_probe >= reno_rounds.min(RENO_ROUNDS)
    }

    /// IsTimeToCruise().
    fn is_time_to_cruise(&self, in_flight: u64) -> bool {
        in_flight <= self.inflight_with_headroom()
            && in_flight <= self.inflight(self.max_bw.get(), 100)
    }

    /// IsTimeToGoDown().
    fn is_time_to_go_down(&mut self, ack: &Ack, sample: &Sample) -> bool {
        if self.cycle.prev_probe_too_high && ack.in_flight >= self.long.inflight {
            self.cycle.prev_probe_precautionary = true;
            return true;
        }
        if self.has_probed_enough(ack) {
            return true;
        }
        if self.cwnd_limited.recently() && self.cwnd >= self.long.inflight {
            // The bound on the flight holds the bandwidth back, so a plateau says nothing.
            self.full_bw.restart(sample.rate);
            return false;
        }
        self.full_bw.now
    }

    /// Whether this probe has put as much into the path as tells whether there is more bandwidth: the answer comes in
    /// the round after it.
    fn has_probed_enough(&self, ack: &Ack) -> bool {
        let span = scale(self.min_rtt.get(), PROBED_SPAN);
        let probe = self.cycle.probe.as_ref();
        probe.is_some_and(|probe| !probe.insists && ack.now > probe.since + span)
            && ack.in_flight >= self.bdp_at(self.max_bw.get(), PROBED_FLIGHT)
    }

    /// The samples of the probe are in. True if it found so much that the next one should follow at once.
    fn judge_probe(&mut self) -> bool {
        let Some(probe) = self.cycle.probe.take() else {
            return false;
        };
        self.cycle.found_more = probe.found > scale(probe.before, FOUND_MORE);
        self.max_bw.get() > scale(probe.estimate, FOUND_MUCH_MORE)
    }

    /// RaiseInflightLongtermSlope(): twice as fast each round.
    fn raise_inflight_longterm_slope(&mut self) {
        let growth = 1u64 << self.cycle.up_rounds;
        self.cycle.up_rounds = (self.cycle.up_rounds + 1).min(MAX_PROBE_UP_ROUNDS);
        self.cycle.up_acked_per_inc = (self.cwnd / growth).max(self.mss);
    }

    /// ProbeInflightLongtermUpward().
    fn probe_inflight_longterm_upward(&mut self, acked: u64) {
        if !self.cwnd_limited.recently() || self.cwnd < self.long.inflight {
            return;
        }
        self.cycle.up_acked = self.cycle.up_acked.saturating_add(acked);
        let steps = self.cycle.up_acked / self.cycle.up_acked_per_inc.max(1);
        self.cycle.up_acked -= steps * self.cycle.up_acked_per_inc;
        self.long.inflight = self
            .long
            .inflight
            .saturating_add(steps.saturating_mul(self.mss));
        if self.rounds.start {
            self.raise_inflight_longterm_slope();
        }
    }

    /// AdaptLongTermModel(). True if it began to probe again.
    fn adapt_long_term_model(&mut self, ack: &Ack, sample: &Sample) -> bool {
        if self.cycle.ack_phase == AckPhase::ProbeStarting && self.rounds.start {
            self.cycle.ack_phase = AckPhase::ProbeFeedback;
        }
        if let Some(probe) = &mut self.cycle.probe {
            probe.found = probe.found.max(sample.rate);
        }
        if self.cycle.ack_phase == AckPhase::ProbeStopping && self.rounds.start {
            self.cycle.probe_samples = false;
            self.cycle.ack_phase = AckPhase::Init;
            let found_much_more = self.judge_probe();
            if self.state.is_probe_bw() {
                if !sample.app_limited {
                    self.max_bw.advance();
                }
                let goes_on = self.cycle.prev_probe_precautionary || found_much_more;
                if goes_on && !self.cycle.prev_probe_too_high {
                    self.start_probe_bw_refill();
                    return true;
                }
            }
        }
        if self.is_ce_too_high() {
            if self.cycle.probe_samples {
                self.handle_inflight_too_high(ack.now, sample.tx_in_flight, sample.app_limited);
            }
        } else if !self.is_loss_too_high(sample.lost, sample.tx_in_flight)
            && self.long.inflight != INFINITE
        {
            self.long.inflight = self.long.inflight.max(sample.tx_in_flight);
            if self.state == State::ProbeBwUp {
                self.probe_inflight_longterm_upward(ack.acked);
            }
        }
        false
    }

    /// InflightWithHeadroom(): room left to others below the flight that was too much.
    pub(super) fn inflight_with_headroom(&self) -> u64 {
        /// BBR.Headroom in per cent (section "Core Algorithm Design Parameters").
        const HEADROOM: u64 = 15;
        if self.long.inflight == INFINITE {
            return INFINITE;
        }
        let headroom = scale(self.long.inflight, HEADROOM).max(self.mss);
        self.long
            .inflight
            .saturating_sub(headroom)
            .max(self.min_pipe_cwnd())
    }
}
