//! HyStart++ (RFC 9406): leaves slow start when the round-trip time grows, before the queue overflows.

use crate::time::{MILLISECOND, Micros};

/// MIN_RTT_THRESH and MAX_RTT_THRESH (section 4.3).
const MIN_THRESHOLD: Micros = 4 * MILLISECOND;
const MAX_THRESHOLD: Micros = 16 * MILLISECOND;
/// MIN_RTT_DIVISOR.
const DIVISOR: Micros = 8;
/// N_RTT_SAMPLE: samples of a round before it says anything.
const SAMPLES: u8 = 8;
/// CSS_GROWTH_DIVISOR: how much slower conservative slow start grows.
pub const CONSERVATIVE: u64 = 4;
/// CSS_ROUNDS.
const ROUNDS: u8 = 5;

/// How slow start goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// As ever.
    Full,
    /// A quarter of that: conservative slow start.
    Conservative,
    /// It is over.
    Over,
}

/// State of slow start.
#[derive(Clone, Copy, Debug)]
pub struct HyStart {
    /// Smallest sample of this round and of the last one.
    current: Micros,
    last: Micros,
    samples: u8,
    /// Smallest sample when conservative slow start began, and rounds since.
    conservative: Option<(Micros, u8)>,
}

impl Default for HyStart {
    fn default() -> HyStart {
        HyStart {
            current: Micros::MAX,
            last: Micros::MAX,
            samples: 0,
            conservative: None,
        }
    }
}

impl HyStart {
    /// An acknowledgement during slow start. `round`: it is the first of a round trip.
    pub fn on_ack(&mut self, rtt: Option<Micros>, round: bool) -> Growth {
        if round {
            self.last = self.current;
            self.current = Micros::MAX;
            self.samples = 0;
            if let Some((_, rounds)) = &mut self.conservative {
                *rounds += 1;
                if *rounds >= ROUNDS {
                    return Growth::Over;
                }
            }
        }
        if let Some(rtt) = rtt {
            self.current = self.current.min(rtt);
            self.samples = self.samples.saturating_add(1);
        }
        let enough = self.samples >= SAMPLES && self.last != Micros::MAX;
        match self.conservative {
            Some((baseline, _)) if enough && self.current < baseline => {
                // It was a passing rise.
                self.conservative = None;
            }
            None if enough => {
                let threshold = (self.last / DIVISOR).clamp(MIN_THRESHOLD, MAX_THRESHOLD);
                if self.current >= self.last + threshold {
                    self.conservative = Some((self.current, 0));
                }
            }
            _ => {}
        }
        match self.conservative {
            Some(_) => Growth::Conservative,
            None => Growth::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(hystart: &mut HyStart, rtt: Micros) -> Growth {
        hystart.on_ack(Some(rtt), true);
        let mut growth = Growth::Full;
        for _ in 0..SAMPLES {
            growth = hystart.on_ack(Some(rtt), false);
        }
        growth
    }

    #[test]
    fn a_steady_round_trip_time_leaves_slow_start_alone() {
        let mut hystart = HyStart::default();
        for _ in 0..20 {
            assert_eq!(round(&mut hystart, 50_000), Growth::Full);
        }
    }

    #[test]
    fn a_lasting_rise_ends_slow_start_after_five_conservative_rounds() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 50_000);
        for _ in 0..ROUNDS {
            assert_eq!(round(&mut hystart, 57_000), Growth::Conservative);
        }
        assert_eq!(hystart.on_ack(Some(57_000), true), Growth::Over);
    }

    #[test]
    fn a_passing_rise_does_not() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 50_000);
        assert_eq!(round(&mut hystart, 60_000), Growth::Conservative);
        assert_eq!(round(&mut hystart, 51_000), Growth::Full);
    }

    #[test]
    fn few_samples_say_nothing() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 50_000);
        hystart.on_ack(Some(90_000), true);
        for _ in 0..SAMPLES - 2 {
            assert_eq!(hystart.on_ack(Some(90_000), false), Growth::Full);
        }
    }
}
