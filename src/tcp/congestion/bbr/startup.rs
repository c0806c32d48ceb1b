//! Startup and Drain, and the estimator of a full pipe (sections "Startup" and "Drain").

use super::model::{Sample, scale};
use super::{Ack, Bbr, State};

/// Growth, in per cent, below which a round trip did not find more bandwidth (section "Exiting Acceleration Based on
/// Bandwidth Plateau").
const FULL_BW_GROWTH: u64 = 125;
/// Rounds without growth after which the pipe is full (the same section).
const FULL_BW_COUNT: u32 = 3;
/// Reports of loss in a round, at least, to leave Startup for loss (BBRStartupFullLossCnt, section "Exiting Startup
/// Based on Packet Loss").
const STARTUP_FULL_LOSS_COUNT: u32 = 6;
/// Rounds after which Drain ends in any case (section "Drain").
const MAX_DRAIN_ROUNDS: u64 = 3;

/// Whether sending faster still finds more bandwidth.
#[derive(Clone, Debug, Default)]
pub(super) struct FullBw {
    /// Once, at least, since the connection began (BBR.full_bw_reached).
    pub reached: bool,
    /// Since looking began (BBR.full_bw_now).
    pub now: bool,
    /// The bandwidth that must be exceeded (BBR.full_bw).
    pub baseline: u64,
    count: u32,
}

impl FullBw {
    /// ResetFullBW(), with a baseline.
    pub(super) fn restart(&mut self, baseline: u64) {
        self.baseline = baseline;
        self.count = 0;
        self.now = false;
    }
}

impl Bbr {
    /// CheckFullBWReached().
    pub(super) fn check_full_bw_reached(&mut self, sample: &Sample) {
        if self.full_bw.now || !self.rounds.start || sample.app_limited {
            return;
        }
        if sample.rate >= scale(self.full_bw.baseline, FULL_BW_GROWTH) {
            self.full_bw.restart(sample.rate);
            return;
        }
        self.full_bw.count += 1;
        if self.full_bw.count >= FULL_BW_COUNT {
            self.full_bw.now = true;
            self.full_bw.reached = true;
        }
    }

    /// CheckStartupDone().
    pub(super) fn check_startup_done(&mut self, ack: &Ack, sample: &Sample) {
        self.check_startup_high_loss(ack, sample);
        if self.state == State::Startup && self.full_bw.reached {
            self.state = State::Drain;
            self.drain_start_round = self.rounds.count;
            self.reset_congestion_signals();
        }
    }

    /// CheckStartupHighLoss(), once each round of recovery.
    fn check_startup_high_loss(&mut self, ack: &Ack, sample: &Sample) {
        if self.full_bw.reached {
            return;
        }
        if ack.lost > 0 {
            self.losses.reports = self.losses.reports.saturating_add(1);
        }
        if !self.losses.round_start {
            return;
        }
        if ack.in_recovery
            && self.losses.reports >= STARTUP_FULL_LOSS_COUNT
            && self.is_loss_too_high(sample.lost, sample.tx_in_flight)
        {
            if let Some(undo) = &mut self.undo {
                undo.state = Some(State::Startup);
            }
            self.leave_startup_congested();
        }
        self.losses.reports = 0;
    }

    /// Startup ends because the path is overfull: what was delivered is what it holds.
    pub(super) fn leave_startup_congested(&mut self) {
        self.full_bw.reached = true;
        self.long.inflight = self
            .bdp_at(self.max_bw.get(), 100)
            .max(self.losses.inflight_latest);
    }

    /// CheckDrainDone().
    pub(super) fn check_drain_done(&mut self, ack: &Ack) {
        if self.state == State::Drain
            && (ack.in_flight <= self.inflight(self.bw, 100)
                || self.rounds.count > self.drain_start_round + MAX_DRAIN_ROUNDS)
        {
            self.start_probe_bw_down(ack.now);
        }
    }
}
