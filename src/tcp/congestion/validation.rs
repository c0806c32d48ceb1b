//! Congestion window validation (RFC 7661): how much of the window was lately in use. A window that is not used is kept
//! for a while, does not grow, and counts at a congestion event only as far as it was in use.

use crate::time::{Micros, SECOND, Time};

/// How long an unused window is kept (NVP, section 4.4.1).
const PERIOD: Micros = 300 * SECOND;

/// The measurement of pipeACK (section 4.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Validation {
    /// Octets acknowledged in this round trip.
    round: u64,
    /// The most acknowledged in a round trip, in this sampling period and in the one before.
    current: u64,
    last: u64,
    period_ends: Time,
    /// Since when the window has not been validated.
    unused_since: Option<Time>,
}

impl Validation {
    /// Octets in use: the most acknowledged in one round trip of the last one or two sampling periods.
    pub fn pipe_ack(&self) -> u64 {
        self.current.max(self.last).max(self.round)
    }

    /// An acknowledgement; `round` if it is the first of a round trip.
    pub fn on_ack(&mut self, now: Time, acked: u64, srtt: Micros, round: bool, cwnd: u64) {
        if round {
            self.round = 0;
        }
        self.round += acked;
        self.current = self.current.max(self.round);
        if now >= self.period_ends {
            self.last = self.current;
            self.current = self.round;
            self.period_ends = now + (3 * srtt).max(SECOND);
        }
        if 2 * self.pipe_ack() >= cwnd {
            self.unused_since = None;
        } else {
            self.unused_since.get_or_insert(now);
        }
    }

    /// Nothing is in flight and something is about to be sent: whether the window has been kept unused for too long.
    pub fn has_expired(&mut self, now: Time, last_sent: Time) -> bool {
        let since = *self.unused_since.get_or_insert(last_sent);
        let expired = now.since(since) >= PERIOD;
        if expired {
            self.unused_since = Some(now);
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipe_ack_is_the_most_of_a_round_trip_and_is_forgotten_in_time() {
        let mut validation = Validation::default();
        let mut now = Time(SECOND);
        for round in 0..10u64 {
            for i in 0..10 {
                validation.on_ack(now, 1_000, 100_000, i == 0, 10_000);
                now = now + 10_000;
            }
            assert_eq!(validation.pipe_ack(), 10_000, "round {round}");
        }
        for _ in 0..40 {
            validation.on_ack(now, 500, 100_000, true, 10_000);
            now = now + 100_000;
        }
        assert_eq!(validation.pipe_ack(), 500);
    }

    #[test]
    fn an_unused_window_expires_after_five_minutes() {
        let mut validation = Validation::default();
        validation.on_ack(Time(0), 1_000, 100_000, true, 100_000);
        assert!(!validation.has_expired(Time(299 * SECOND), Time(0)));
        assert!(validation.has_expired(Time(300 * SECOND), Time(0)));
        assert!(!validation.has_expired(Time(301 * SECOND), Time(0)));
    }
}
