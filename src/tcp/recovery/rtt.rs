//! Round-trip time and retransmission timeout (RFC 6298).

use crate::time::{MILLISECOND, Micros, SECOND};

/// The floor of the RTO. Linux's; RFC 6298 (2.4) says 1 s, and RFC 8961 section 4 allows less where it is measured.
pub const MIN_RTO: Micros = 200 * MILLISECOND;
/// The ceiling of the RTO, backed off or not. Lower than the 60 s of RFC 6298 (2.5): see `docs/tcp.md`.
pub const MAX_RTO: Micros = 16 * SECOND;
/// The RTO before any sample (RFC 6298 (2.1)).
pub const INITIAL_RTO: Micros = SECOND;

/// The estimator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rtt {
    srtt: Micros,
    rttvar: Micros,
    min: Micros,
    latest: Micros,
    backoff: u8,
}

impl Rtt {
    /// An estimator that starts from what siblings on the same path have measured (RFC 9040).
    pub fn seeded(srtt: Micros, rttvar: Micros) -> Rtt {
        Rtt {
            srtt,
            // As after a first sample, so that a seed is never trusted more than a measurement would be.
            rttvar: rttvar.max(srtt / 2),
            min: 0,
            latest: 0,
            backoff: 0,
        }
    }

    /// An estimator as it was: what it had measured, all zero if nothing.
    pub fn kept(srtt: Micros, rttvar: Micros, min: Micros) -> Rtt {
        Rtt {
            srtt,
            rttvar,
            min,
            ..Rtt::default()
        }
    }

    /// Takes a sample from a segment that was sent once only (Karn's algorithm, RFC 6298 section 3).
    pub fn sample(&mut self, rtt: Micros) {
        let rtt = rtt.max(1);
        self.latest = rtt;
        if self.min == 0 {
            // The first of our own overrides a sibling's.
            self.srtt = rtt;
            self.rttvar = rtt / 2;
            self.min = rtt;
        } else {
            self.rttvar = (3 * self.rttvar + self.srtt.abs_diff(rtt)) / 4;
            self.srtt = (7 * self.srtt + rtt) / 8;
            self.min = self.min.min(rtt);
        }
        self.backoff = 0;
    }

    /// The timeout fired: wait twice as long next time (RFC 6298 (5.5)).
    pub fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1).min(16);
    }

    /// New data was acknowledged.
    pub fn reset_backoff(&mut self) {
        self.backoff = 0;
    }

    /// How often the timeout has fired in a row.
    pub fn backoff(&self) -> u8 {
        self.backoff
    }

    /// The retransmission timeout, with back-off.
    pub fn rto(&self) -> Micros {
        let base = if self.srtt == 0 {
            INITIAL_RTO
        } else {
            // The 4*RTTVAR term is what the floor applies to, as in Linux: a steady RTT of 300 ms must not time out at
            // 300 ms.
            self.srtt + (4 * self.rttvar).max(MIN_RTO)
        };
        (base << self.backoff.min(16)).min(MAX_RTO)
    }

    /// Smoothed round-trip time, zero before the first sample or seed.
    pub fn srtt(&self) -> Micros {
        self.srtt
    }

    /// Its mean deviation.
    pub fn rttvar(&self) -> Micros {
        self.rttvar
    }

    /// The last sample, zero before the first.
    pub fn latest(&self) -> Micros {
        self.latest
    }

    /// The smallest sample, zero before the first.
    pub fn min(&self) -> Micros {
        self.min
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_formulas_of_rfc_6298() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.rto(), INITIAL_RTO);
        rtt.sample(100_000);
        assert_eq!((rtt.srtt(), rtt.rttvar()), (100_000, 50_000));
        assert_eq!(rtt.rto(), 300_000);
        rtt.sample(200_000);
        assert_eq!((rtt.srtt(), rtt.rttvar()), (112_500, 62_500));
        assert_eq!(rtt.rto(), 362_500);
        rtt.back_off();
        assert_eq!(rtt.rto(), 725_000);
        for _ in 0..40 {
            rtt.back_off();
        }
        assert_eq!(rtt.rto(), MAX_RTO);
        rtt.sample(112_500);
        assert!(rtt.rto() < 400_000);
    }

    #[test]
    fn a_steady_path_keeps_the_floor_above_its_rtt() {
        let mut rtt = Rtt::default();
        for _ in 0..100 {
            rtt.sample(300_000);
        }
        assert_eq!(rtt.rto(), 300_000 + MIN_RTO);
    }
}
