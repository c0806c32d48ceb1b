//! What the sender is told: pacing rate, send quantum, window (section "Updating Control Parameters").

use super::model::{rate, scale, volume};
use super::probe_rtt::PROBE_RTT_CWND_GAIN;
use super::{Ack, Bbr, INFINITE, State};
use crate::time::{MILLISECOND, Micros};

/// Gains in per cent (section "Summary of Control Behavior in the State Machine").
const STARTUP_PACING_GAIN: u64 = 277;
const DRAIN_PACING_GAIN: u64 = 50;
const DOWN_PACING_GAIN: u64 = 90;
const UP_PACING_GAIN: u64 = 125;
const DEFAULT_CWND_GAIN: u64 = 200;
const UP_CWND_GAIN: u64 = 225;

/// What is paced below the estimate, in per cent (BBR.PacingMarginPercent, section "Pacing State and Parameters").
const PACING_MARGIN: u64 = 1;
/// The round-trip time that the first pacing rate assumes if none is known (section "Pacing Rate").
const NOMINAL_RTT: Micros = MILLISECOND;
/// The time that a burst may stand for, and its bounds (section "Send Quantum").
const QUANTUM_SPAN: Micros = MILLISECOND;
const MAX_QUANTUM: u64 = 64 * 1024;
const MIN_QUANTUM_SEGMENTS: u64 = 2;

impl Bbr {
    /// BBR.pacing_gain of the state.
    pub(super) fn pacing_gain(&self) -> u64 {
        match self.state {
            State::Startup => STARTUP_PACING_GAIN,
            State::Drain => DRAIN_PACING_GAIN,
            State::ProbeBwDown => DOWN_PACING_GAIN,
            State::ProbeBwUp => UP_PACING_GAIN,
            State::ProbeBwCruise => self.cruise_gain(),
            State::ProbeBwRefill | State::ProbeRtt => 100,
        }
    }

    /// BBR.cwnd_gain of the state.
    fn cwnd_gain(&self) -> u64 {
        match self.state {
            State::ProbeBwUp => UP_CWND_GAIN,
            State::ProbeRtt => PROBE_RTT_CWND_GAIN,
            _ => DEFAULT_CWND_GAIN,
        }
    }

    /// InitPacingRate().
    pub(super) fn init_pacing_rate(&mut self, rtt: Micros) {
        let rtt = if rtt > 0 { rtt } else { NOMINAL_RTT };
        self.pace(scale(rate(self.initial_cwnd, rtt), STARTUP_PACING_GAIN));
        self.set_send_quantum();
    }

    /// The rate that a nominal round-trip time gave is replaced by that of the first measured one; else Startup
    /// would keep it until the bandwidth exceeds it, sending bursts.
    pub(super) fn pace_from_first_rtt(&mut self, ack: &Ack) {
        let measured = ack.rtt.filter(|&rtt| rtt > 0).unwrap_or(ack.srtt);
        if !self.rate_from_rtt && measured > 0 {
            self.rate_from_rtt = true;
            let bandwidth = rate(self.cwnd, measured);
            self.pace(scale(bandwidth, STARTUP_PACING_GAIN));
        }
    }

    /// SetPacingRateWithGain(): until the pipe was full, the rate only rises.
    pub(super) fn set_pacing_rate(&mut self, gain: u64) {
        let bw = match self.state {
            State::ProbeBwCruise => self.cruise_bw(),
            _ => self.bw,
        };
        let rate = scale(scale(self.with_losses(bw), gain), 100 - PACING_MARGIN);
        if self.full_bw.reached || rate > self.pacing_rate {
            self.pace(rate);
        }
    }

    fn pace(&mut self, rate: u64) {
        self.pacing_rate = rate.max(self.mss);
    }

    /// SetSendQuantum().
    pub(super) fn set_send_quantum(&mut self) {
        self.send_quantum = volume(self.pacing_rate, QUANTUM_SPAN)
            .min(MAX_QUANTUM)
            .max(MIN_QUANTUM_SEGMENTS.saturating_mul(self.mss));
    }

    /// QuantizationBudget().
    fn quantization_budget(&self, inflight: u64) -> u64 {
        let inflight = inflight.max(self.send_quantum).max(self.min_pipe_cwnd());
        if self.state == State::ProbeBwUp {
            inflight.saturating_add(2 * self.mss)
        } else {
            inflight
        }
    }

    /// Inflight(): the flight for `percent` of the bandwidth-delay product at `bw`.
    pub(super) fn inflight(&self, bw: u64, percent: u64) -> u64 {
        self.quantization_budget(self.bdp_at(bw, percent))
    }

    /// UpdateMaxInflight().
    fn max_inflight(&self) -> u64 {
        let inflight = self
            .bdp(self.cwnd_gain())
            .saturating_add(self.aggregation.extra());
        self.quantization_budget(inflight)
    }

    /// SetCwnd().
    pub(super) fn set_cwnd(&mut self, acked: u64) {
        let target = self.max_inflight();
        let grown = self.cwnd.saturating_add(acked);
        if self.full_bw.reached {
            self.cwnd = grown.min(target);
        } else if self.cwnd < target || self.delivered < self.initial_cwnd {
            self.cwnd = grown;
        }
        self.bound_cwnd();
    }

    /// BoundCwndForProbeRTT() and BoundCwndForModel().
    fn bound_cwnd(&mut self) {
        let mut cap = match self.state {
            State::ProbeRtt => self.inflight_with_headroom().min(self.probe_rtt_cwnd()),
            State::ProbeBwCruise => self.inflight_with_headroom(),
            State::ProbeBwDown | State::ProbeBwRefill | State::ProbeBwUp => self.long.inflight,
            State::Startup | State::Drain => INFINITE,
        };
        cap = cap.min(self.short.inflight);
        self.cwnd = self.cwnd.min(cap).max(self.min_pipe_cwnd());
    }

    /// SaveCwnd().
    pub(super) fn save_cwnd(&mut self) {
        self.prior_cwnd = if self.in_recovery || self.state == State::ProbeRtt {
            self.prior_cwnd.max(self.cwnd)
        } else {
            self.cwnd
        };
    }

    /// RestoreCwnd(), within what the model allows by now.
    pub(super) fn restore_cwnd(&mut self) {
        self.cwnd = self.cwnd.max(self.prior_cwnd);
        if self.full_bw.reached {
            self.cwnd = self.cwnd.min(self.max_inflight());
        }
        self.bound_cwnd();
    }
}
