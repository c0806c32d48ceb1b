//! BBR, told round after round what was delivered.

use super::super::{Bbr, State};
use crate::tcp::congestion::{Ack, Loss};
use crate::tcp::recovery::rate::RateSample;
use crate::time::{Micros, SECOND, Time};

pub const MSS: u64 = 1_000;
/// Octets per second that the path of [`Script::cruising`] carries: a thousand segments a round trip.
pub const RATE: u64 = 10_000_000;
pub const RTT: Micros = 100_000;
pub const BDP: u64 = RATE * RTT / SECOND;

/// What one acknowledgement tells, for a whole round trip.
#[derive(Clone, Copy)]
pub struct Round {
    pub rate: u64,
    pub rtt: Micros,
    pub in_flight: u64,
    /// In flight when the newest packet was sent.
    pub tx_in_flight: u64,
    pub app_limited: bool,
    /// Octets lost in the round, told with the acknowledgement.
    pub lost: u64,
    pub in_recovery: bool,
    pub ce: u64,
    /// The window was used up.
    pub full: bool,
}

/// A full round trip at the rate of the path.
pub const STEADY: Round = Round {
    rate: RATE,
    rtt: RTT,
    in_flight: BDP,
    tx_in_flight: BDP,
    app_limited: false,
    lost: 0,
    in_recovery: false,
    ce: 0,
    full: false,
};

pub struct Script {
    pub bbr: Bbr,
    pub now: Micros,
    pub delivered: u64,
}

impl Script {
    pub fn new() -> Script {
        Script {
            bbr: Bbr::new(MSS, 10 * MSS, 7, 0),
            now: SECOND,
            delivered: 0,
        }
    }

    pub fn state(&self) -> State {
        self.bbr.state()
    }

    pub fn time(&self) -> Time {
        Time(self.now)
    }

    /// One acknowledgement for a round trip that passes; the state after it.
    pub fn round(&mut self, round: Round) -> State {
        let before = self.delivered;
        let acked = round.rate * round.rtt / SECOND;
        if round.full {
            let in_flight = self.bbr.cwnd() - MSS;
            self.bbr.on_sent(self.time(), MSS, in_flight, false, before);
        }
        self.now += round.rtt;
        self.delivered += acked;
        self.bbr.on_ack(&Ack {
            now: self.time(),
            acked,
            lost: round.lost,
            in_flight: round.in_flight,
            prior_in_flight: round.in_flight + acked,
            delivered: self.delivered,
            rtt: (acked > 0).then_some(round.rtt),
            srtt: round.rtt,
            min_rtt: 0,
            window_limited: round.full,
            in_recovery: round.in_recovery,
            round: false,
            ce: round.ce,
            rate: (acked > 0).then_some(RateSample {
                delivered: acked,
                interval: round.rtt,
                prior_delivered: before,
                app_limited: round.app_limited,
                tx_in_flight: round.tx_in_flight,
                lost: round.lost,
            }),
        });
        self.state()
    }

    /// Packets of one segment are lost one after the other, all sent with `tx_in_flight` in flight.
    pub fn lose(&mut self, segments: u64, tx_in_flight: u64) {
        for lost in 1..=segments {
            self.bbr.on_lost(
                self.time(),
                &Loss {
                    len: MSS,
                    tx_in_flight,
                    lost_since_sent: lost * MSS,
                    delivered_at_send: self.delivered,
                    app_limited: false,
                },
            );
        }
    }

    /// Rounds until `state`, at most `limit`.
    pub fn rounds_until(&mut self, state: State, round: Round, limit: usize) -> usize {
        for count in 0..limit {
            if self.state() == state {
                return count;
            }
            self.round(round);
        }
        panic!("{:?} after {limit} rounds, not {state:?}", self.state());
    }

    /// Startup that has come to the rate of the path, but does not know it yet.
    pub fn at_full_rate() -> Script {
        let mut script = Script::new();
        let mut rate = RATE / 64;
        while rate <= RATE {
            script.round(Round { rate, ..STEADY });
            rate *= 2;
        }
        assert_eq!(script.state(), State::Startup);
        script
    }

    /// Cruising at the rate of the path.
    pub fn cruising() -> Script {
        let mut script = Script::at_full_rate();
        script.rounds_until(State::ProbeBwCruise, STEADY, 6);
        script
    }

    /// Probing for more, at the beginning.
    pub fn probing() -> Script {
        let mut script = Script::cruising();
        script.rounds_until(State::ProbeBwUp, STEADY, 40);
        script
    }
}
