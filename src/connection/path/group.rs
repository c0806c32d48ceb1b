//! Circuits that share one congestion window (in the spirit of RFC 8699 and of the congestion manager, RFC 3124): together
//! they claim no more than a configured number of flows, whatever their number. Which of them sends is the scheduler's
//! business; how much, is decided here.
//!
//! With loss-based control the group is that many flows: each acknowledgement counts for all of them in equal parts, each
//! congestion event for one. BBR measures the path itself, and is one.

use crate::tcp::Signals;
use crate::tcp::congestion::{Ack, Algorithm, Congestion, INITIAL_WINDOW, Loss};
use crate::tcp::pacing::Pacer;
use crate::tcp::recovery::rate::{Departure, RateEstimator};
use crate::tcp::recovery::rtt::Rtt;
use crate::time::{Micros, Time};

/// The most flows that a group can claim.
pub const MAX_FLOWS: u32 = 64;

/// The common window of coupled circuits.
pub struct Group {
    flows: Vec<Congestion>,
    claimed: u32,
    mss: u64,
    rtt: Rtt,
    rate: RateEstimator,
    pacer: Pacer,
    in_flight: u64,
    last_sent: Time,
    /// What was sent until then counts in the last congestion event (RFC 9002 section 7.3.2).
    reduced_at: Time,
    /// When the window last held something back.
    filled_at: Option<Time>,
    /// A round trip is over when something is delivered that was sent after so much had been.
    round: u64,
    /// Which flow gets the octets that cannot be shared out.
    turn: usize,
    /// Octets of quiet circuits that left although the window was full, in this round trip.
    beyond: u64,
}

impl Group {
    /// A group that claims `flows` flows (1 to [`MAX_FLOWS`]).
    pub fn new(algorithm: Algorithm, flows: u32, mss: u16, srtt: Micros, seed: u32) -> Group {
        let claimed = flows.clamp(1, MAX_FLOWS);
        let rtt = if srtt == 0 {
            Rtt::default()
        } else {
            Rtt::seeded(srtt, srtt / 2)
        };
        let mut group = Group {
            flows: Vec::new(),
            claimed,
            mss: u64::from(mss),
            rtt,
            rate: RateEstimator::default(),
            pacer: Pacer::default(),
            in_flight: 0,
            last_sent: Time(0),
            reduced_at: Time(0),
            filled_at: None,
            round: 0,
            turn: 0,
            beyond: 0,
        };
        group.flows = group.make(algorithm, srtt, seed);
        group
    }

    fn make(&self, algorithm: Algorithm, srtt: Micros, seed: u32) -> Vec<Congestion> {
        let n = match algorithm {
            Algorithm::Bbr => 1,
            _ => self.claimed,
        };
        (0..n)
            .map(|i| Congestion::new(algorithm, self.mss as u16, srtt, seed.wrapping_add(i)))
            .collect()
    }

    /// Changes the algorithm. Between loss-based ones the windows stay.
    pub fn switch(&mut self, algorithm: Algorithm, seed: u32) {
        let srtt = self.rtt.srtt();
        let old = self.algorithm();
        if (old == Algorithm::Bbr) == (algorithm == Algorithm::Bbr) {
            for flow in &mut self.flows {
                flow.switch(algorithm, srtt);
            }
        } else {
            self.flows = self.make(algorithm, srtt, seed);
        }
    }

    /// The algorithm in use.
    pub fn algorithm(&self) -> Algorithm {
        self.flows[0].algorithm()
    }

    /// The segment size of the path has changed.
    pub fn set_mss(&mut self, mss: u16) {
        let untouched = self.rate.delivered() == 0;
        self.mss = u64::from(mss);
        for flow in &mut self.flows {
            flow.set_mss(mss, untouched);
        }
    }

    /// The common congestion window in octets.
    pub fn cwnd(&self) -> u64 {
        self.flows.iter().map(Congestion::cwnd).sum()
    }

    /// Octets of all coupled circuits in the network.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Octets per second; `None` while the round-trip time is unknown.
    pub fn pacing_rate(&self) -> Option<u64> {
        let srtt = self.rtt.srtt();
        let rates = self.flows.iter().map(|flow| flow.pacing_rate(srtt));
        rates.sum()
    }

    /// Whether pacing and the window let a segment out now.
    pub fn is_open(&self, now: Time) -> bool {
        self.room() > 0 && (self.pacing_rate().is_none() || self.pacer.allows(now))
    }

    /// Whether the window, and not pacing, holds back what there is.
    pub fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Something waits: when pacing lets it out, if the window does.
    pub fn opens_at(&mut self, now: Time) -> Time {
        if self.is_full() {
            self.pacer.on_idle();
            Time::NEVER
        } else {
            self.pacer.wake_at(now)
        }
    }

    /// Octets that may enter the network. A segment goes out whole or not at all; half of one beyond the window is
    /// rounding, as for a circuit of its own.
    pub fn room(&self) -> u64 {
        if self.in_flight == 0 {
            return u64::MAX;
        }
        let window = self.cwnd() + self.mss / 2;
        match window.checked_sub(self.in_flight) {
            Some(room) if room >= self.mss => room,
            _ => 0,
        }
    }

    /// Octets that a circuit with nothing in flight may send, whatever pacing says to the others: a segment. If the window
    /// is full, all of them together an eighth of it in a round trip: to wait until others are acknowledged would take as
    /// long as the path's queue and longer.
    pub fn quiet_room(&self) -> u64 {
        let beyond = (self.cwnd() / 8).max(self.mss).saturating_sub(self.beyond);
        self.room().max(beyond).min(self.mss)
    }

    /// Something waits, and the window has no room for it.
    pub fn on_filled(&mut self, now: Time) {
        self.filled_at = Some(now);
    }

    /// Nothing waits although there is room.
    pub fn on_idle(&mut self) {
        self.rate.set_app_limited(self.in_flight);
        self.pacer.on_idle();
    }

    /// `len` octets are sent now. They are counted in [`Group::in_flight`] by [`Group::changed`].
    pub fn on_sent(&mut self, now: Time, len: u64) -> Departure {
        if self.is_full() {
            self.beyond += len;
        }
        let pause = self.in_flight == 0;
        let app_limited = self.rate.is_app_limited();
        let share = self.share(self.in_flight);
        let delivered = self.rate.delivered();
        for flow in &mut self.flows {
            if pause {
                flow.on_restart(now, self.last_sent);
            }
            flow.on_sent(now, len, share, app_limited, delivered);
        }
        if pause && self.flows[0].restarts_at_once() {
            self.pacer.on_pause((INITIAL_WINDOW - 1) * self.mss);
        }
        if let Some(rate) = self.pacing_rate() {
            let burst = self.flows[0].burst(rate);
            self.pacer.on_sent(now, len, rate, burst);
        }
        self.last_sent = now;
        self.rate.depart(now, len, self.in_flight + len)
    }

    /// A circuit that had `before` octets in flight has `after` now.
    pub fn changed(&mut self, before: u64, after: u64) {
        self.in_flight = (self.in_flight + after).saturating_sub(before);
    }

    fn share(&self, octets: u64) -> u64 {
        octets / self.flows.len() as u64
    }

    /// Takes in what has happened to a circuit. `prior_in_flight`: octets of all in flight before it.
    pub fn on_signals(&mut self, now: Time, signals: &Signals, prior_in_flight: u64) {
        if signals.acked > 0 {
            self.rate.on_delivered(now, signals.acked);
        }
        if let Some(rtt) = signals.rtt {
            self.rtt.sample(rtt);
        }
        let mut lost = 0;
        // What a probe has repaired was sent two round trips before the probe was, or nearly.
        let repaired_since = now.since(self.reduced_at) > 3 * self.rtt.srtt();
        let mut event = signals.repaired && repaired_since;
        for (len, departure) in &signals.losses {
            self.rate.on_lost(*len);
            lost += len;
            event |= departure.at >= self.reduced_at;
            if let Some(loss) = Loss::new(*len, departure, &self.rate) {
                for flow in &mut self.flows {
                    flow.on_lost(now, &loss);
                }
            }
        }
        if signals.spurious && self.algorithm() == Algorithm::Bbr {
            // A reduction of a window is not taken back: other circuits may have had losses with it.
            self.flows[0].on_spurious();
        }
        if event {
            self.congestion_event(now, prior_in_flight);
        }
        let unheard = now.since(self.rate.delivered_at()) > self.rtt.rto();
        if signals.timed_out && unheard && self.algorithm() != Algorithm::Bbr {
            // Nothing at all comes through: not one circuit's misfortune.
            let share = self.share(self.in_flight);
            for flow in &mut self.flows {
                flow.on_timeout(now, share, false, 0);
            }
        }
        if signals.ce > 0 && self.algorithm() != Algorithm::Bbr && self.reduces(now, signals) {
            let victim = self.largest();
            let share = self.share(prior_in_flight);
            self.flows[victim].on_marked(share);
        }
        if signals.acked > 0 || signals.ce > 0 {
            self.acknowledge(now, signals, lost, prior_in_flight);
        }
    }

    /// Whether marks on what departed so count as a new congestion event.
    fn reduces(&mut self, now: Time, signals: &Signals) -> bool {
        let new = signals.newest.is_some_and(|n| n.at >= self.reduced_at);
        if new {
            self.reduced_at = now;
        }
        new
    }

    fn largest(&self) -> usize {
        let flows = self.flows.iter().enumerate();
        flows
            .max_by_key(|(_, flow)| flow.cwnd())
            .map_or(0, |(i, _)| i)
    }

    /// One of the flows answers.
    fn congestion_event(&mut self, now: Time, prior_in_flight: u64) {
        self.reduced_at = now;
        if self.algorithm() == Algorithm::Bbr {
            // It has heard of each loss.
            return;
        }
        let share = self.share(prior_in_flight);
        let victim = self.largest();
        let flow = &mut self.flows[victim];
        flow.on_congestion(now, share, 0);
        flow.on_recovered(now);
        flow.on_confirmed();
    }

    fn acknowledge(&mut self, now: Time, signals: &Signals, lost: u64, prior_in_flight: u64) {
        let n = self.flows.len();
        let round = signals
            .newest
            .is_some_and(|n| !n.is_void() && n.delivered >= self.round);
        if round {
            self.round = self.rate.delivered();
            self.beyond = 0;
        }
        let min_rtt = self.rtt.min();
        let rate = signals
            .newest
            .and_then(|newest| self.rate.sample(&newest, min_rtt));
        let sent_at = signals.newest.map(|n| n.at);
        let filled = self
            .filled_at
            .is_some_and(|at| sent_at.is_some_and(|sent| sent <= at));
        let ack = Ack {
            now,
            acked: self.share(signals.acked),
            lost: self.share(lost),
            in_flight: self.share(self.in_flight),
            prior_in_flight: self.share(prior_in_flight),
            delivered: self.rate.delivered(),
            rtt: signals.rtt,
            srtt: self.rtt.srtt(),
            min_rtt,
            window_limited: false,
            in_recovery: false,
            round,
            ce: self.share(signals.ce),
            rate,
        };
        self.turn = (self.turn + 1) % n;
        let rest = signals.acked % n as u64;
        for (i, flow) in self.flows.iter_mut().enumerate() {
            let half_used = flow.in_slow_start() && 2 * ack.prior_in_flight >= flow.cwnd();
            flow.on_ack(&Ack {
                acked: ack.acked + if i == self.turn { rest } else { 0 },
                window_limited: filled || half_used,
                ..ack
            });
        }
    }
}
