//! The round-trip time without a queue, and ProbeRTT, which measures it (section "ProbeRTT").

use super::model::Sample;
use super::probe_bw::AckPhase;
use super::{Ack, Bbr, INFINITE, State};
use crate::time::{MILLISECOND, Micros, SECOND, Time};

/// How long a minimum is believed (BBR.MinRTTFilterLen, section "Parameters for Estimating BBR.min_rtt").
const MIN_RTT_FILTER_LEN: Micros = 10 * SECOND;
/// How long without a lower sample until ProbeRTT (BBR.ProbeRTTInterval, section "Parameters for Scheduling
/// ProbeRTT"). All BBR flows use the same, so that they empty the queue together.
const PROBE_RTT_INTERVAL: Micros = 5 * SECOND;
/// A sample within this part of the minimum, while cruising, shows that there is no queue to speak of: the minimum
/// is as good as seen again. The draft wants a lower one, which a sender alone on its path, that keeps no queue,
/// never gets: it would halve its flight every five seconds for nothing.
const NO_QUEUE: Micros = 32;
/// How long the flight is held small (BBR.ProbeRTTDuration, the same section).
const PROBE_RTT_DURATION: Micros = 200 * MILLISECOND;
/// The flight in ProbeRTT in per cent of the bandwidth-delay product (BBR.ProbeRTTCwndGain, the same section).
pub(super) const PROBE_RTT_CWND_GAIN: u64 = 50;

/// The estimate of the minimum, and the schedule of ProbeRTT.
#[derive(Clone, Debug)]
pub(super) struct MinRtt {
    min: Micros,
    since: Time,
    hint: Micros,
    /// The minimum since the last ProbeRTT (BBR.probe_rtt_min_delay) and when it was seen.
    recent: Micros,
    recent_since: Time,
    expired: bool,
    /// When ProbeRTT may end, once the flight is small.
    done_at: Option<Time>,
    round_done: bool,
    /// The flight that ProbeRTT allows, set when it begins.
    flight: u64,
    /// Samples of packets sent while this much was delivered come from ProbeRTT.
    small_from: u64,
    small_to: u64,
}

impl MinRtt {
    pub(super) fn new(hint: Micros) -> MinRtt {
        MinRtt {
            min: if hint > 0 { hint } else { INFINITE },
            since: Time(0),
            hint,
            recent: INFINITE,
            recent_since: Time(0),
            expired: false,
            done_at: None,
            round_done: false,
            flight: 0,
            small_from: 1,
            small_to: 0,
        }
    }

    pub(super) fn begin(&mut self, now: Time) {
        self.since = now;
        self.recent_since = now;
    }

    pub(super) fn get(&self) -> Micros {
        self.min
    }

    pub(super) fn hint(&self) -> Micros {
        self.hint
    }

    /// Whether a packet sent when `delivered` octets had been delivered was sent in ProbeRTT.
    pub(super) fn held_small(&self, delivered: u64) -> bool {
        (self.small_from..=self.small_to).contains(&delivered)
    }
}

impl Bbr {
    /// UpdateMinRTT().
    pub(super) fn update_min_rtt(&mut self, ack: &Ack) {
        let cruises = self.state == State::ProbeBwCruise;
        let rtt = &mut self.min_rtt;
        rtt.expired = ack.now > rtt.recent_since + PROBE_RTT_INTERVAL;
        if let Some(sample) = ack.rtt {
            let sample = sample.max(1);
            if cruises && sample <= rtt.recent.saturating_add(rtt.recent / NO_QUEUE) {
                rtt.recent = rtt.recent.min(sample);
                rtt.recent_since = ack.now;
                rtt.expired = false;
            }
            if sample < rtt.recent || rtt.expired {
                rtt.recent = sample;
                rtt.recent_since = ack.now;
            }
        }
        if rtt.recent < rtt.min || ack.now > rtt.since + MIN_RTT_FILTER_LEN {
            rtt.min = rtt.recent;
            rtt.since = rtt.recent_since;
        }
    }

    /// CheckProbeRTT().
    pub(super) fn check_probe_rtt(&mut self, ack: &Ack, sample: &Sample) {
        if self.state != State::ProbeRtt && self.min_rtt.expired && !self.idle_restart {
            self.save_cwnd();
            self.state = State::ProbeRtt;
            self.min_rtt.done_at = None;
            self.min_rtt.flight = self.probe_rtt_flight();
            self.min_rtt.small_from = self.delivered;
            self.cycle.ack_phase = AckPhase::ProbeStopping;
            self.start_round();
        }
        if self.state == State::ProbeRtt {
            self.handle_probe_rtt(ack);
        }
        if sample.present {
            self.idle_restart = false;
        }
    }

    /// HandleProbeRTT().
    fn handle_probe_rtt(&mut self, ack: &Ack) {
        self.min_rtt.small_to = self.delivered.saturating_add(ack.in_flight);
        if self.min_rtt.done_at.is_none() {
            if ack.in_flight <= self.probe_rtt_cwnd() {
                self.min_rtt.done_at = Some(ack.now + PROBE_RTT_DURATION);
                self.min_rtt.round_done = false;
                self.start_round();
            }
            return;
        }
        if self.rounds.start {
            self.min_rtt.round_done = true;
        }
        if self.min_rtt.round_done {
            self.check_probe_rtt_done(ack.now);
        }
    }

    /// CheckProbeRTTDone() and ExitProbeRTT(). After it comes Cruise: the flight is small already.
    pub(super) fn check_probe_rtt_done(&mut self, now: Time) {
        if self.min_rtt.done_at.is_none_or(|at| now <= at) {
            return;
        }
        self.min_rtt.recent_since = now;
        self.short.reset();
        if self.full_bw.reached {
            self.start_probe_bw_down(now);
            self.start_probe_bw_cruise();
        } else {
            self.state = State::Startup;
        }
        self.restore_cwnd();
    }

    /// ProbeRTTCwnd(), but of the bandwidth that the last round delivered if that is less than half of the estimate.
    /// When the path has become so much slower, the estimate still has the old rate for two cycles, and half a product
    /// of that keeps a queue: ProbeRTT would measure the queue.
    fn probe_rtt_flight(&self) -> u64 {
        let bw = match self.losses.bw_latest {
            latest if latest > 0 && latest < self.bw / 2 => latest,
            _ => self.bw,
        };
        self.bdp_at(bw, PROBE_RTT_CWND_GAIN)
    }

    pub(super) fn probe_rtt_cwnd(&self) -> u64 {
        self.min_rtt.flight.max(self.min_pipe_cwnd())
    }
}
