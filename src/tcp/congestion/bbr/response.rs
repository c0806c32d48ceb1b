//! Congestion: what loss and CE marks do to the model, and how a false alarm is undone (sections "Updating the Model
//! Upon Packet Loss" and "Updating the Model Upon Detecting a Spurious Loss Recovery").

use super::model::{Sample, saturate, scale};
use super::{Ack, Bbr, INFINITE, Loss, QUEUED_LOSS_THRESH, State};
use crate::time::Time;

/// The most that a lossy round takes, in per cent of what was (BBR.Beta, section "Core Algorithm Design Parameters").
const BETA: u64 = 70;

/// Fixed point for the fraction of octets that are marked.
const ONE: u64 = 1 << 16;
/// Weight of a round in the average of that fraction, as a shift (Linux: ecn_alpha_gain, 1/16).
const ECN_ALPHA_SHIFT: u32 = 4;
/// The share of the flight that is given up if all is marked, as a divisor (Linux: ecn_factor, 1/3).
const ECN_FACTOR_DIVISOR: u64 = 3;
/// The fraction of marked octets from which probing has gone too far (Linux: ecn_thresh, 1/2).
const ECN_THRESH: u64 = ONE / 2;
/// Weight of a round in the average of the loss that is not congestion, as a shift.
const RANDOM_LOSS_SHIFT: u32 = 4;
/// Such rounds in a row that end Startup (Linux: full_ecn_cnt).
const STARTUP_ECN_ROUNDS: u32 = 2;

/// What is safe for now: forgotten with each probe (BBR.bw_shortterm, BBR.inflight_shortterm).
#[derive(Clone, Debug)]
pub(super) struct ShortTerm {
    pub bw: u64,
    pub inflight: u64,
}

impl Default for ShortTerm {
    fn default() -> ShortTerm {
        ShortTerm {
            bw: INFINITE,
            inflight: INFINITE,
        }
    }
}

impl ShortTerm {
    /// ResetShortTermModel().
    pub(super) fn reset(&mut self) {
        *self = ShortTerm::default();
    }
}

/// What a probe found to be too much (BBR.inflight_longterm).
#[derive(Clone, Debug)]
pub(super) struct LongTerm {
    pub inflight: u64,
}

impl Default for LongTerm {
    fn default() -> LongTerm {
        LongTerm { inflight: INFINITE }
    }
}

/// Delivery and loss in the current round, which begins anew with the first loss (section "When not Probing for
/// Bandwidth").
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    /// This acknowledgement ended a round.
    pub round_start: bool,
    /// A packet sent when this much was delivered ends the round (BBR.loss_round_delivered).
    round_delivered: u64,
    /// BBR.is_loss_in_round.
    in_round: bool,
    lost_in_round: u64,
    delivered_before_round: u64,
    pub bw_latest: u64,
    pub inflight_latest: u64,
    /// Acknowledgements of this round that reported loss.
    pub reports: u32,
}

/// The share of octets that the path loses whatever is sent: of rounds without a queue, while not probing.
#[derive(Clone, Debug, Default)]
pub(super) struct RandomLoss {
    /// Moving average, in parts of [`ONE`].
    share: u64,
    lost: u64,
    delivered_before: u64,
}

/// What CE marks say, as in Linux' version 3.
#[derive(Clone, Debug)]
pub(super) struct Ecn {
    /// Moving average of the fraction that is marked, in parts of [`ONE`].
    alpha: u64,
    /// Octets reported as marked in this round trip.
    marked: u64,
    delivered_before_round: u64,
    /// The fraction of the round that this acknowledgement ended.
    round_ratio: Option<u64>,
    /// Any mark in the current loss round.
    in_round: bool,
    startup_rounds: u32,
}

impl Default for Ecn {
    /// A path that marks from the start is congested: the average begins with all.
    fn default() -> Ecn {
        Ecn {
            alpha: ONE,
            marked: 0,
            delivered_before_round: 0,
            round_ratio: None,
            in_round: false,
            startup_rounds: 0,
        }
    }
}

/// What is restored if nothing was lost after all.
#[derive(Clone, Debug)]
pub(super) struct Undo {
    saved_at: Time,
    /// The state that loss ended.
    pub state: Option<State>,
    bw_shortterm: u64,
    inflight_shortterm: u64,
    inflight_longterm: u64,
    random_loss: u64,
}

impl Bbr {
    /// UpdateLatestDeliverySignals().
    pub(super) fn update_latest_delivery_signals(&mut self, sample: &Sample) {
        let losses = &mut self.losses;
        losses.round_start = false;
        if !sample.present {
            return;
        }
        losses.bw_latest = losses.bw_latest.max(sample.rate);
        losses.inflight_latest = losses.inflight_latest.max(sample.delivered);
        if sample.prior_delivered >= losses.round_delivered {
            losses.round_delivered = self.delivered;
            losses.round_start = true;
        }
    }

    /// AdvanceLatestDeliverySignals().
    pub(super) fn advance_latest_delivery_signals(&mut self, sample: &Sample) {
        if self.losses.round_start {
            self.losses.bw_latest = sample.rate;
            self.losses.inflight_latest = sample.delivered;
        }
    }

    /// ResetCongestionSignals().
    pub(super) fn reset_congestion_signals(&mut self) {
        self.losses.in_round = false;
        self.losses.bw_latest = 0;
        self.losses.inflight_latest = 0;
        self.ecn.in_round = false;
    }

    /// UpdateCongestionSignals().
    pub(super) fn update_congestion_signals(&mut self, ack: &Ack, sample: &Sample) {
        self.update_max_bw(sample);
        self.ecn.in_round |= ack.ce > 0;
        if self.losses.round_start {
            self.adapt_lower_bounds_from_congestion();
            self.losses.in_round = false;
            self.ecn.in_round = false;
        }
    }

    /// AdaptLowerBoundsFromCongestion(), with the answer to CE that Linux gives: it lowers the flight alone.
    fn adapt_lower_bounds_from_congestion(&mut self) {
        if self.state.is_accelerating() {
            return;
        }
        let marked = self.ecn.in_round.then(|| {
            let inflight = u128::from(self.short.inflight.min(self.cwnd));
            let cut = u128::from(self.ecn.alpha / ECN_FACTOR_DIVISOR);
            saturate(inflight * (u128::from(ONE) - cut) / u128::from(ONE))
        });
        if self.losses.in_round && self.is_round_lossy() {
            let bw = self.short.bw.min(self.max_bw.get());
            self.short.bw = scale(bw, BETA).max(self.losses.bw_latest).max(1);
            let inflight = match self.short.inflight {
                INFINITE => self.cwnd,
                inflight => inflight,
            };
            self.short.inflight = scale(inflight, BETA).max(self.losses.inflight_latest);
        }
        if let Some(inflight) = marked {
            self.short.inflight = self.short.inflight.min(inflight);
        }
    }

    /// Whether the round that ends now lost more than is tolerated. With a queue, as in the draft, that is nothing.
    fn is_round_lossy(&self) -> bool {
        if self.is_loss_congestion() {
            return true;
        }
        let lost = self.losses.lost_in_round;
        let delivered = self
            .delivered
            .saturating_sub(self.losses.delivered_before_round);
        self.is_loss_too_high(lost, delivered.saturating_add(lost))
    }

    /// Whether loss is answered as the draft does it: a queue is standing, so it may well have overflowed. The queue
    /// that Down is emptying already does not count: the probe before it has had its answer.
    fn is_loss_congestion(&self) -> bool {
        self.state != State::ProbeBwDown && self.is_queue_standing()
    }

    /// BBR.LossThresh in thousandths.
    fn loss_thresh(&self) -> u64 {
        if self.is_loss_congestion() {
            self.loss_thresh.min(u64::from(QUEUED_LOSS_THRESH))
        } else {
            self.loss_thresh
        }
    }

    /// The loss among `octets` that is not taken for congestion. Without a queue: the threshold, and two standard
    /// deviations of a Poisson variable with that mean, in segments.
    fn tolerated_loss(&self, octets: u64) -> u64 {
        let mean = u128::from(octets) * u128::from(self.loss_thresh()) / 1000;
        if self.is_loss_congestion() {
            return saturate(mean);
        }
        let deviation = mean.saturating_mul(u128::from(self.mss)).isqrt();
        saturate(mean + 2 * deviation)
    }

    /// IsInflightTooHigh(), as far as loss tells.
    pub(super) fn is_loss_too_high(&self, lost: u64, in_flight: u64) -> bool {
        lost > self.tolerated_loss(in_flight)
    }

    /// Once each round trip: the share that is lost without a queue. Overflow would be taken for chance where a queue
    /// cannot be seen, but the pacing margin lets such loss die out.
    pub(super) fn update_random_loss(&mut self) {
        if !self.rounds.start {
            return;
        }
        let random = &mut self.random_loss;
        let delivered = self.delivered.saturating_sub(random.delivered_before);
        let lost = std::mem::take(&mut random.lost);
        random.delivered_before = self.delivered;
        if self.state != State::ProbeBwCruise || self.is_queue_standing() {
            return;
        }
        let all = u128::from(delivered) + u128::from(lost);
        let share = saturate(u128::from(lost) * u128::from(ONE) / all.max(1));
        let share = share.min(self.loss_thresh * ONE / 1000);
        let average = &mut self.random_loss.share;
        *average = *average - (*average >> RANDOM_LOSS_SHIFT) + (share >> RANDOM_LOSS_SHIFT);
    }

    /// The rate to send at so that `bw` arrives, unless a queue is standing: then the link is busy without it.
    pub(super) fn with_losses(&self, bw: u64) -> u64 {
        if !self.state.is_probe_bw() || self.is_queue_standing() {
            return bw;
        }
        let arrives = ONE - self.random_loss.share.min(ONE / 2);
        saturate(u128::from(bw) * u128::from(ONE) / u128::from(arrives))
    }

    /// HandleLostPacket().
    pub(super) fn handle_lost_packet(&mut self, now: Time, loss: &Loss) {
        self.note_loss(now);
        self.random_loss.lost = self.random_loss.lost.saturating_add(loss.len);
        self.losses.lost_in_round = self.losses.lost_in_round.saturating_add(loss.len);
        if self.cycle.probe_samples
            && self.is_loss_too_high(loss.lost_since_sent, loss.tx_in_flight)
        {
            let app_limited = loss.app_limited || self.min_rtt.held_small(loss.delivered_at_send);
            self.handle_inflight_too_high(now, self.inflight_at_loss(loss), app_limited);
        }
    }

    /// NoteLoss(): the first loss of a round begins the round anew.
    fn note_loss(&mut self, now: Time) {
        if !self.losses.in_round {
            self.losses.in_round = true;
            self.losses.round_delivered = self.delivered;
            self.losses.delivered_before_round = self.delivered;
            self.losses.lost_in_round = 0;
            if !self.in_recovery {
                self.save_state_upon_loss(now);
            }
        }
    }

    /// InflightAtLoss(): the flight, up to some octet of the lost packet, at which too much was lost.
    fn inflight_at_loss(&self, loss: &Loss) -> u64 {
        let before = loss.tx_in_flight.saturating_sub(loss.len);
        let lost_before = loss.lost_since_sent.saturating_sub(loss.len);
        let spare = self.tolerated_loss(before).saturating_sub(lost_before);
        let prefix = u128::from(spare) * 1000 / u128::from(1000 - self.loss_thresh());
        before.saturating_add(saturate(prefix).min(loss.len))
    }

    /// HandleInflightTooHigh(): once each probe, the flight that was too much becomes the bound.
    pub(super) fn handle_inflight_too_high(
        &mut self,
        now: Time,
        in_flight: u64,
        app_limited: bool,
    ) {
        self.cycle.prev_probe_too_high = true;
        self.cycle.probe_samples = false;
        if !app_limited {
            self.long.inflight = scale(self.target_inflight(), BETA).max(in_flight);
        }
        if self.state == State::ProbeBwUp {
            if let Some(undo) = &mut self.undo {
                undo.state = Some(State::ProbeBwUp);
            }
            self.start_probe_bw_down(now);
        }
    }

    /// Once each round trip: the fraction of octets that were marked, and its average.
    pub(super) fn update_ecn(&mut self, ack: &Ack) {
        let ecn = &mut self.ecn;
        ecn.marked = ecn.marked.saturating_add(ack.ce);
        ecn.round_ratio = None;
        if !self.rounds.start {
            return;
        }
        let delivered = self.delivered.saturating_sub(ecn.delivered_before_round);
        if delivered == 0 {
            return;
        }
        let ratio =
            saturate(u128::from(ecn.marked) * u128::from(ONE) / u128::from(delivered)).min(ONE);
        ecn.alpha = ecn.alpha - (ecn.alpha >> ECN_ALPHA_SHIFT) + (ratio >> ECN_ALPHA_SHIFT);
        ecn.alpha = ecn.alpha.min(ONE);
        ecn.round_ratio = Some(ratio);
        ecn.marked = 0;
        ecn.delivered_before_round = self.delivered;
        if self.full_bw.reached {
            return;
        }
        if ratio >= ECN_THRESH {
            self.ecn.startup_rounds += 1;
            if self.ecn.startup_rounds >= STARTUP_ECN_ROUNDS {
                self.leave_startup_congested();
            }
        } else {
            self.ecn.startup_rounds = 0;
        }
    }

    /// IsInflightTooHigh(), as far as CE marks tell.
    pub(super) fn is_ce_too_high(&self) -> bool {
        self.ecn.round_ratio.is_some_and(|ratio| ratio > ECN_THRESH)
    }

    /// SaveStateUponLoss(). A loss and the recovery that it begins are one event.
    pub(super) fn save_state_upon_loss(&mut self, now: Time) {
        self.save_cwnd();
        if self.undo.as_ref().is_some_and(|undo| undo.saved_at == now) {
            return;
        }
        self.undo = Some(Undo {
            saved_at: now,
            state: None,
            bw_shortterm: self.short.bw,
            inflight_shortterm: self.short.inflight,
            inflight_longterm: self.long.inflight,
            random_loss: self.random_loss.share,
        });
    }

    /// HandleSpuriousLossDetection().
    pub(super) fn handle_spurious_loss(&mut self) {
        self.losses.in_round = false;
        self.full_bw.restart(0);
        if let Some(undo) = self.undo.take() {
            self.short.bw = self.short.bw.max(undo.bw_shortterm);
            self.short.inflight = self.short.inflight.max(undo.inflight_shortterm);
            self.long.inflight = self.long.inflight.max(undo.inflight_longterm);
            self.random_loss.lost = 0;
            self.random_loss.share = self.random_loss.share.min(undo.random_loss);
            match undo.state {
                Some(State::Startup) if self.state != State::Startup => {
                    self.full_bw.reached = false;
                    if self.state != State::ProbeRtt {
                        self.state = State::Startup;
                    }
                }
                Some(State::ProbeBwUp)
                    if !matches!(self.state, State::ProbeBwUp | State::ProbeRtt) =>
                {
                    self.start_probe_bw_refill();
                }
                _ => {}
            }
        }
        self.bound_bw_for_model();
        self.set_pacing_rate(self.pacing_gain());
        self.restore_cwnd();
    }
}
