//! The budget from which new circuits draw their initial windows: each may send one, but five hundred that open at once may
//! not send five hundred of them. Grows with what the connection delivers, as slow
//! start does (RFC 9040 section 9; the initial window is RFC 6928's).

use crate::tcp::congestion::INITIAL_WINDOW;
use crate::time::{MILLISECOND, Micros, SECOND, Time};

/// Initial windows that new circuits together may send in a round trip, whatever the connection delivers.
const FLOOR: u64 = 2;

/// Round trips after a loss in which it does not grow.
const CAUTION: u64 = 8;

/// The round-trip time assumed as long as none is known.
const UNKNOWN_RTT: Micros = 100 * MILLISECOND;

/// The budget.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Octets that may leave now; below zero by what left beyond.
    tokens: i64,
    /// It was used up, and there is not enough for a whole segment yet: what is small should leave in company.
    empty: bool,
    filled_at: Time,
    /// Octets acknowledged on the connection in this round trip and in the last one.
    current: u64,
    last: u64,
    round_at: Time,
    /// Until then it does not grow: something was lost.
    cautious_until: Time,
}

impl Budget {
    /// Full, at the start of a connection.
    pub fn new(now: Time, mss: u64) -> Budget {
        Budget {
            tokens: (INITIAL_WINDOW * mss) as i64,
            filled_at: now,
            ..Budget::default()
        }
    }

    /// Octets were acknowledged, by any circuit.
    pub fn on_acked(&mut self, now: Time, octets: u64, srtt: Micros) {
        let round = rtt(srtt);
        if now.since(self.round_at) >= round {
            let stale = now.since(self.round_at) >= 2 * round;
            self.last = if stale { 0 } else { self.current };
            self.current = 0;
            self.round_at = now;
        }
        self.current = self.current.saturating_add(octets);
    }

    /// A circuit has lost something: new ones get no more than what the path delivers, for a while.
    pub fn on_lost(&mut self, now: Time, srtt: Micros) {
        self.cautious_until = now + CAUTION * rtt(srtt);
    }

    /// Octets per second.
    fn rate(&self, mss: u64, srtt: Micros) -> u64 {
        let delivered = self.current.max(self.last);
        let grown = if self.filled_at < self.cautious_until {
            delivered
        } else {
            2 * delivered
        };
        let window = grown.max(FLOOR * INITIAL_WINDOW * mss);
        let rate = u128::from(window) * u128::from(SECOND) / u128::from(rtt(srtt));
        u64::try_from(rate).unwrap_or(u64::MAX).max(1)
    }

    /// Lets time pass; returns whether new circuits may send now.
    pub fn is_open(&mut self, now: Time, mss: u64, srtt: Micros) -> bool {
        let span = now.since(self.filled_at);
        let more = u128::from(self.rate(mss, srtt)) * u128::from(span) / u128::from(SECOND);
        if more > 0 {
            let more = i64::try_from(more).unwrap_or(i64::MAX);
            let full = (INITIAL_WINDOW * mss) as i64;
            self.tokens = self.tokens.saturating_add(more).min(full);
            self.filled_at = now;
        }
        self.empty &= self.tokens < mss as i64;
        !self.empty
    }

    /// When new circuits may send, if they may not now.
    pub fn opens_at(&self, now: Time, mss: u64, srtt: Micros) -> Time {
        let missing = u128::from((mss as i64 - self.tokens).max(0).unsigned_abs());
        let span = (missing * u128::from(SECOND)).div_ceil(u128::from(self.rate(mss, srtt)));
        now + u64::try_from(span).unwrap_or(u64::MAX).max(MILLISECOND / 2)
    }

    /// A new circuit has sent something.
    pub fn on_sent(&mut self, octets: u64) {
        self.tokens = self
            .tokens
            .saturating_sub(i64::try_from(octets).unwrap_or(i64::MAX));
        self.empty = self.tokens <= 0;
    }
}

fn rtt(srtt: Micros) -> Micros {
    if srtt == 0 {
        UNKNOWN_RTT
    } else {
        srtt.max(MILLISECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u64 = 1_000;
    const RTT: Micros = 50_000;

    /// Octets that leave within `span`, a segment at a time.
    fn drain(budget: &mut Budget, from: Time, span: Micros) -> u64 {
        let mut now = from;
        let mut sent = 0;
        while now < from + span {
            while budget.is_open(now, MSS, RTT) {
                budget.on_sent(MSS);
                sent += MSS;
            }
            now = budget.opens_at(now, MSS, RTT);
        }
        sent
    }

    #[test]
    fn a_burst_is_an_initial_window_and_a_round_trip_brings_two_more() {
        let mut budget = Budget::new(Time(SECOND), MSS);
        assert!(budget.is_open(Time(SECOND), MSS, RTT));
        let sent = drain(&mut budget, Time(SECOND), RTT);
        assert!((29_000..=32_000).contains(&sent), "{sent}");
    }

    #[test]
    fn what_is_delivered_lets_twice_as_much_out_in_the_next_round_trip() {
        let mut budget = Budget::new(Time(SECOND), MSS);
        drain(&mut budget, Time(SECOND), RTT);
        budget.on_acked(Time(SECOND) + RTT, 100_000, RTT);
        let sent = drain(&mut budget, Time(SECOND) + RTT, RTT);
        assert!((190_000..=212_000).contains(&sent), "{sent}");
    }

    #[test]
    fn after_a_loss_it_does_not_grow() {
        let mut budget = Budget::new(Time(SECOND), MSS);
        drain(&mut budget, Time(SECOND), RTT);
        budget.on_acked(Time(SECOND) + RTT, 100_000, RTT);
        budget.on_lost(Time(SECOND) + RTT, RTT);
        let sent = drain(&mut budget, Time(SECOND) + RTT, RTT);
        assert!((90_000..=112_000).contains(&sent), "{sent}");
    }

    #[test]
    fn silence_takes_it_back() {
        let mut budget = Budget::new(Time(SECOND), MSS);
        budget.on_acked(Time(2 * SECOND), 1 << 30, RTT);
        budget.on_acked(Time(9 * SECOND), 10, RTT);
        drain(&mut budget, Time(9 * SECOND), 1_000);
        let sent = drain(&mut budget, Time(9 * SECOND) + 1_000, RTT);
        assert!(sent <= 22_000, "{sent}");
    }
}
