//! The model of the path: rounds, bandwidth, aggregation (section "Updating Network Path Model Parameters"). What
//! concerns the round-trip time is in `probe_rtt`, what concerns congestion in `response`.

use super::{Ack, Bbr, INFINITE};
use crate::time::{Micros, SECOND, Time};

/// Round trips over which aggregation is remembered once the pipe was full (BBR.ExtraAckedFilterLen, section
/// "Estimating BBR.extra_acked").
const EXTRA_ACKED_FILTER_LEN: u64 = 10;

/// The least round-trip time of a round, in per cent of the minimum, above which a queue is standing: the excess is
/// what one round of probing makes.
const STANDING_QUEUE: u64 = 125;

/// `value` times `percent` per cent.
pub(super) fn scale(value: u64, percent: u64) -> u64 {
    saturate(u128::from(value) * u128::from(percent) / 100)
}

/// The octets that `rate` carries in `span`.
pub(super) fn volume(rate: u64, span: Micros) -> u64 {
    saturate(u128::from(rate) * u128::from(span) / u128::from(SECOND))
}

/// Octets per second.
pub(super) fn rate(octets: u64, span: Micros) -> u64 {
    saturate(u128::from(octets) * u128::from(SECOND) / u128::from(span.max(1)))
}

pub(super) fn saturate(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// A delivery-rate sample as the model uses it. All zero if an acknowledgement gave none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// There is one: something was delivered.
    pub present: bool,
    /// RS.delivery_rate; 0 if the interval is too short to be believed.
    pub rate: u64,
    pub delivered: u64,
    pub prior_delivered: u64,
    pub app_limited: bool,
    pub tx_in_flight: u64,
    pub lost: u64,
}

/// Packet-timed round trips (section "BBR.round_count").
#[derive(Clone, Debug)]
pub(super) struct Rounds {
    pub count: u64,
    /// This acknowledgement began a round.
    pub start: bool,
    /// A packet sent when this much was delivered ends the round.
    pub next_delivered: u64,
    /// The least round-trip time of this round, and of the one before.
    least_rtt: [Micros; 2],
    /// Sum and number of the round-trip times of this round.
    rtts: (u128, u64),
    /// By how much the mean of the round before was above its least.
    pub spread: Micros,
}

impl Rounds {
    /// The least round-trip time of this round and the one before.
    pub fn least_rtt(&self) -> Micros {
        let [this, last] = self.least_rtt;
        this.min(last)
    }
}

impl Default for Rounds {
    fn default() -> Rounds {
        Rounds {
            count: 0,
            start: false,
            next_delivered: 0,
            least_rtt: [INFINITE; 2],
            rtts: (0, 0),
            spread: 0,
        }
    }
}

/// Whether the window was used up in this round or the last (C.is_cwnd_limited).
#[derive(Clone, Debug, Default)]
pub(super) struct CwndLimited {
    pub this_round: bool,
    last_round: bool,
}

impl CwndLimited {
    pub(super) fn recently(&self) -> bool {
        self.this_round || self.last_round
    }
}

/// The most bandwidth seen in this ProbeBW cycle and the one before (section "BBR.max_bw Max Filter").
#[derive(Clone, Debug, Default)]
pub(super) struct MaxBw {
    this_cycle: u64,
    last_cycle: u64,
}

impl MaxBw {
    pub(super) fn get(&self) -> u64 {
        self.this_cycle.max(self.last_cycle)
    }

    pub(super) fn update(&mut self, rate: u64) {
        self.this_cycle = self.this_cycle.max(rate);
    }

    /// AdvanceMaxBwFilter(). A cycle without a sample leaves the filter as it is: it has nothing to put in place.
    pub(super) fn advance(&mut self) {
        if self.this_cycle > 0 {
            self.last_cycle = self.this_cycle;
            self.this_cycle = 0;
        }
    }
}

/// A maximum over a sliding window of rounds, kept as the best three candidates of successive parts of the window.
#[derive(Clone, Debug, Default)]
pub(super) struct WindowedMax {
    /// (round, value): values fall, rounds rise.
    best: [(u64, u64); 3],
}

impl WindowedMax {
    pub(super) fn get(&self) -> u64 {
        self.best[0].1
    }

    pub(super) fn update(&mut self, round: u64, value: u64, window: u64) {
        let new = (round, value);
        let age = |(since, _): (u64, u64)| round.saturating_sub(since);
        if value >= self.best[0].1 || age(self.best[2]) > window {
            self.best = [new; 3];
            return;
        }
        if value >= self.best[1].1 {
            self.best[1] = new;
            self.best[2] = new;
        } else if value >= self.best[2].1 {
            self.best[2] = new;
        }
        if age(self.best[0]) > window {
            self.best = [self.best[1], self.best[2], new];
            if age(self.best[0]) > window {
                self.best = [self.best[1], self.best[2], new];
            }
        } else if self.best[1].0 == self.best[0].0 && age(self.best[1]) > window / 4 {
            self.best[1] = new;
            self.best[2] = new;
        } else if self.best[2].0 == self.best[1].0 && age(self.best[2]) > window / 2 {
            self.best[2] = new;
        }
    }
}

/// How much more than the bandwidth allows is acknowledged at once (section "BBR.extra_acked").
#[derive(Clone, Debug, Default)]
pub(super) struct AckAggregation {
    since: Time,
    acked: u64,
    max: WindowedMax,
}

impl AckAggregation {
    /// Measuring begins anew.
    pub(super) fn restart(&mut self, now: Time) {
        self.since = now;
        self.acked = 0;
    }

    pub(super) fn extra(&self) -> u64 {
        self.max.get()
    }
}

impl Bbr {
    /// What this acknowledgement says of the path. While ProbeRTT holds the flight small, samples count as limited by
    /// the application (MarkConnectionAppLimited()).
    pub(super) fn sample(&self, ack: &Ack) -> Sample {
        let Some(sample) = ack.rate.filter(|s| s.interval > 0 && s.delivered > 0) else {
            return Sample::default();
        };
        let believable = ack.min_rtt == INFINITE || sample.interval >= ack.min_rtt;
        Sample {
            present: true,
            rate: if believable {
                rate(sample.delivered, sample.interval)
            } else {
                0
            },
            delivered: sample.delivered,
            prior_delivered: sample.prior_delivered,
            app_limited: sample.app_limited || self.min_rtt.held_small(sample.prior_delivered),
            tx_in_flight: sample.tx_in_flight,
            lost: sample.lost,
        }
    }

    /// UpdateRound().
    pub(super) fn update_round(&mut self, ack: &Ack, sample: &Sample) {
        self.rounds.start = sample.present && sample.prior_delivered >= self.rounds.next_delivered;
        if self.rounds.start {
            self.start_round();
            self.rounds.count += 1;
            self.cycle.rounds_since_probe = self.cycle.rounds_since_probe.saturating_add(1);
            self.cwnd_limited.last_round = self.cwnd_limited.this_round;
            self.cwnd_limited.this_round = false;
            let (sum, count) = std::mem::take(&mut self.rounds.rtts);
            let mean = saturate(sum / u128::from(count.max(1)));
            self.rounds.spread = mean.saturating_sub(self.rounds.least_rtt[0]);
            self.rounds.least_rtt = [INFINITE, self.rounds.least_rtt[0]];
        }
        if let Some(rtt) = ack.rtt {
            self.rounds.rtts.0 += u128::from(rtt);
            self.rounds.rtts.1 += 1;
            self.rounds.least_rtt[0] = self.rounds.least_rtt[0].min(rtt);
        }
    }

    /// Whether no packet of this round and the last got through without waiting for a quarter of the minimum.
    pub(super) fn is_queue_standing(&self) -> bool {
        let least = self.rounds.least_rtt();
        least != INFINITE && least > scale(self.min_rtt.get(), STANDING_QUEUE)
    }

    /// StartRound(): the round ends when something is acknowledged that is sent from now on.
    pub(super) fn start_round(&mut self) {
        self.rounds.next_delivered = self.delivered;
    }

    /// UpdateMaxBw(): samples limited by the application count only if they are higher than all others.
    pub(super) fn update_max_bw(&mut self, sample: &Sample) {
        if sample.rate > 0 && (!sample.app_limited || sample.rate >= self.max_bw.get()) {
            self.max_bw.update(sample.rate);
        }
    }

    /// BoundBWForModel().
    pub(super) fn bound_bw_for_model(&mut self) {
        self.bw = self.max_bw.get().min(self.short.bw);
    }

    /// UpdateACKAggregation().
    pub(super) fn update_ack_aggregation(&mut self, ack: &Ack) {
        let window = if self.full_bw.reached {
            EXTRA_ACKED_FILTER_LEN
        } else {
            1
        };
        let mut expected = volume(self.bw, ack.now.since(self.aggregation.since));
        if self.aggregation.acked <= expected {
            self.aggregation.restart(ack.now);
            expected = 0;
        }
        self.aggregation.acked = self.aggregation.acked.saturating_add(ack.acked);
        let extra = self.aggregation.acked.saturating_sub(expected);
        self.aggregation
            .max
            .update(self.rounds.count, extra.min(self.cwnd), window);
    }

    /// BDPMultiple(): `percent` of the bandwidth-delay product at the current estimate.
    pub(super) fn bdp(&self, percent: u64) -> u64 {
        self.bdp_at(self.bw, percent)
    }

    pub(super) fn bdp_at(&self, bw: u64, percent: u64) -> u64 {
        match self.min_rtt.get() {
            INFINITE => self.initial_cwnd,
            rtt => scale(volume(bw, rtt), percent),
        }
    }

    /// TargetInflight(): the estimated product, unless congestion has cut the window.
    pub(super) fn target_inflight(&self) -> u64 {
        self.bdp(100).min(self.cwnd)
    }
}
