//! Delivery rate samples (draft-ietf-ccwg-bbr section 4.1): how fast the network has delivered lately, measured with
//! what every segment remembers of the moment when it was sent.

use crate::time::{Micros, Time};

/// What a segment remembers of the moment when it was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Departure {
    /// When it was sent.
    pub at: Time,
    /// When the first segment of its flight was sent (P.first_send_time).
    pub first_sent_at: Time,
    /// Octets delivered until then (P.delivered), and when the last of them was (P.delivered_time).
    pub delivered: u64,
    /// See `delivered`.
    pub delivered_at: Time,
    /// Octets found lost until then (P.lost).
    pub lost: u64,
    /// Octets in flight just after it was sent, itself included (P.tx_in_flight).
    pub in_flight: u64,
    /// The application, not the network, was the limit (P.is_app_limited).
    pub app_limited: bool,
}

impl Departure {
    /// From now on it says only when: it was counted by another estimator than the one that will be asked.
    pub fn void(&mut self) {
        self.delivered = u64::MAX;
    }

    /// Whether it says only when.
    pub fn is_void(&self) -> bool {
        self.delivered == u64::MAX
    }
}

/// A sample (RS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateSample {
    /// Octets delivered over the interval.
    pub delivered: u64,
    /// The interval: the longer of the time in which they were sent and the time in which they were acknowledged.
    pub interval: Micros,
    /// Octets delivered on the circuit when the newest of them was sent.
    pub prior_delivered: u64,
    /// The application was the limit when the newest of them was sent.
    pub app_limited: bool,
    /// Octets in flight just after the newest of them was sent.
    pub tx_in_flight: u64,
    /// Octets lost between its sending and now.
    pub lost: u64,
}

impl RateSample {
    /// Octets per second.
    pub fn rate(&self) -> u64 {
        let rate = u128::from(self.delivered) * 1_000_000 / u128::from(self.interval.max(1));
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

/// The circuit's side of it (C).
#[derive(Clone, Copy, Debug, Default)]
pub struct RateEstimator {
    delivered: u64,
    delivered_at: Time,
    first_sent_at: Time,
    lost: u64,
    /// Samples of segments sent before more than this was delivered are limited by the application; 0: none are.
    app_limited: u64,
}

impl RateEstimator {
    /// Octets delivered since the start.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// When the last of them were.
    pub fn delivered_at(&self) -> Time {
        self.delivered_at
    }

    /// Octets found lost since the start.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether what is sent now is limited by the application.
    pub fn is_app_limited(&self) -> bool {
        self.app_limited > 0 && self.app_limited >= self.delivered
    }

    /// A segment is being sent; `in_flight` octets with it.
    pub fn depart(&mut self, now: Time, len: u64, in_flight: u64) -> Departure {
        if in_flight <= len {
            // After idleness the rate is measured from now.
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        Departure {
            at: now,
            first_sent_at: self.first_sent_at,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            lost: self.lost,
            in_flight,
            app_limited: self.is_app_limited(),
        }
    }

    /// Octets were delivered.
    pub fn on_delivered(&mut self, now: Time, octets: u64) {
        self.delivered += octets;
        self.delivered_at = now;
    }

    /// Octets were found lost.
    pub fn on_lost(&mut self, octets: u64) {
        self.lost += octets;
    }

    /// There is nothing to send although the windows have room.
    pub fn set_app_limited(&mut self, in_flight: u64) {
        self.app_limited = (self.delivered + in_flight).max(1);
    }

    /// The sample of an acknowledgement whose most recently sent segment departed so. None if it is too short to
    /// mean anything: acknowledgements cannot truly come faster than the smallest round-trip time.
    pub fn sample(&mut self, newest: &Departure, min_rtt: Micros) -> Option<RateSample> {
        let send_elapsed = newest.at.since(newest.first_sent_at);
        let ack_elapsed = self.delivered_at.since(newest.delivered_at);
        self.first_sent_at = newest.at;
        let interval = send_elapsed.max(ack_elapsed);
        if newest.is_void() || interval == 0 || interval < min_rtt {
            return None;
        }
        Some(RateSample {
            delivered: self.delivered.saturating_sub(newest.delivered),
            interval,
            prior_delivered: newest.delivered,
            app_limited: newest.app_limited,
            tx_in_flight: newest.in_flight,
            lost: self.lost.saturating_sub(newest.lost),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_exactly() {
        let mut rate = RateEstimator::default();
        // 1,000 octets each millisecond, acknowledged 10 ms later.
        let mut sent = Vec::new();
        let mut last = None;
        for ms in 1..100u64 {
            let flight = 1_000 * (sent.len() as u64 + 1).min(10);
            sent.push(rate.depart(Time(ms * 1_000), 1_000, flight));
            if ms > 10 {
                rate.on_delivered(Time(ms * 1_000), 1_000);
                last = rate.sample(&sent[ms as usize - 11], 10_000);
            }
        }
        assert_eq!(last.map(|s| s.rate()), Some(1_000_000));
    }

    #[test]
    fn acknowledgements_that_come_all_at_once_do_not_inflate_it() {
        let mut rate = RateEstimator::default();
        let mut sent = Vec::new();
        for i in 1..=10u64 {
            sent.push(rate.depart(Time(i * 1_000), 1_000, i * 1_000));
        }
        rate.on_delivered(Time(21_000), 10_000);
        let sample = rate.sample(&sent[9], 10_000).expect("a sample");
        // Sent within 9 ms, but acknowledged over 20 ms since the first departed.
        assert_eq!(sample.interval, 20_000);
    }

    #[test]
    fn what_is_sent_while_the_application_is_the_limit_says_so_until_it_is_delivered() {
        let mut rate = RateEstimator::default();
        rate.depart(Time(0), 1_000, 1_000);
        rate.set_app_limited(1_000);
        assert!(rate.depart(Time(1), 1_000, 2_000).app_limited);
        rate.on_delivered(Time(10), 1_000);
        assert!(
            rate.depart(Time(11), 1_000, 1_000).app_limited,
            "it had been idle"
        );
        rate.on_delivered(Time(12), 1_000);
        assert!(!rate.depart(Time(13), 1_000, 1_000).app_limited);
    }
}
