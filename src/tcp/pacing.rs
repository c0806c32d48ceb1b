//! Pacing: segments leave at a rate, so that no window is thrown into the network at once. Works in nanoseconds: at 1
//! Gbit/s a segment takes 12 microseconds.

use crate::time::{MILLISECOND, Micros, Time};

/// No sooner than this after the last departure is it looked at again: a wake-up for every segment would cost more than
/// the segments. What is due by then goes out together.
const GRANULE: Micros = MILLISECOND / 2;

/// The pacer of a circuit, or of circuits that share a window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pacer {
    /// When the next segment may leave, in nanoseconds.
    next: u64,
    /// Octets that may leave at once beyond the burst, since there was a pause.
    extra: u64,
}

impl Pacer {
    /// Whether a segment may leave now.
    pub fn allows(&self, now: Time) -> bool {
        self.next <= nanoseconds(now)
    }

    /// When to look again, while [`Pacer::allows`] says no.
    pub fn wake_at(&self, now: Time) -> Time {
        Time(self.next.div_ceil(1_000)).max(now + GRANULE)
    }

    /// Nothing was in the network for a while: so many octets may leave at once.
    pub fn on_pause(&mut self, octets: u64) {
        self.extra = octets;
    }

    /// `octets` have left at `rate` octets per second; of what could have left and did not, `burst` octets are made up
    /// for.
    pub fn on_sent(&mut self, now: Time, octets: u64, rate: u64, burst: u64) {
        let rate = rate.max(1);
        let earliest = nanoseconds(now).saturating_sub(span(burst.max(self.extra), rate));
        self.next = self.next.max(earliest).saturating_add(span(octets, rate));
        self.extra = self.extra.saturating_sub(octets);
    }

    /// Forgets what has left: the rate has changed, or was never limited.
    pub fn reset(&mut self) {
        *self = Pacer::default();
    }
}

fn nanoseconds(at: Time) -> u64 {
    at.0.saturating_mul(1_000)
}

/// How long `octets` take at `rate`, in nanoseconds.
fn span(octets: u64, rate: u64) -> u64 {
    let span = u128::from(octets) * 1_000_000_000 / u128::from(rate);
    u64::try_from(span).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets that leave within `span` when asked at every wake-up, a thousand at a time.
    fn run(pacer: &mut Pacer, from: Time, span: Micros, rate: u64, burst: u64) -> u64 {
        let mut now = from;
        let mut sent = 0;
        while now < from + span {
            while pacer.allows(now) {
                pacer.on_sent(now, 1_000, rate, burst);
                sent += 1_000;
            }
            now = pacer.wake_at(now);
        }
        sent
    }

    #[test]
    fn the_rate_is_kept_from_slow_to_fast() {
        for rate in [10_000u64, 1_250_000, 125_000_000, 1_250_000_000] {
            let mut pacer = Pacer::default();
            let burst = (rate / 1_000).max(2_000);
            let sent = run(&mut pacer, Time(1_000_000), 10_000_000, rate, burst);
            let ratio = sent as f64 / (rate * 10) as f64;
            assert!((0.99..1.05).contains(&ratio), "{rate}: {ratio}");
        }
    }

    #[test]
    fn after_a_pause_no_more_than_a_burst_leaves_at_once() {
        let mut pacer = Pacer::default();
        run(&mut pacer, Time(0), 100_000, 1_000_000, 10_000);
        let now = Time(60_000_000);
        let mut sent = 0;
        while pacer.allows(now) {
            pacer.on_sent(now, 1_000, 1_000_000, 10_000);
            sent += 1_000;
        }
        assert_eq!(sent, 11_000, "the burst, and the segment that ends it");
    }

    #[test]
    fn after_nothing_was_in_the_network_an_initial_window_leaves_at_once() {
        let mut pacer = Pacer::default();
        let now = Time(60_000_000);
        pacer.on_pause(9_000);
        let mut sent = 0;
        while pacer.allows(now) {
            pacer.on_sent(now, 1_000, 1_000_000, 2_000);
            sent += 1;
        }
        assert_eq!(sent, 10);
    }

    #[test]
    fn no_rate_or_size_is_too_large() {
        let mut pacer = Pacer::default();
        pacer.on_sent(Time(u64::MAX / 2), u64::MAX, 0, u64::MAX);
        assert!(!pacer.allows(Time(5)));
    }
}
