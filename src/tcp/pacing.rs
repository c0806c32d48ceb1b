//! Pacing: segments leave at a rate, so that no window is thrown into the network at once. Works in nanoseconds: at 1
//! Gbit/s a segment takes 12 microseconds.

use crate::time::{MILLISECOND, Micros, Time};

/// No sooner than this after the last departure is it looked at again: a wake-up for every segment would cost more than
/// the segments. What is due by then goes out together.
const GRANULE: Micros = MILLISECOND / 2;

/// What was due while the caller had not woken up yet is made up for, this much of it: timers of event loops are coarse,
/// and other work comes first. Were it forgotten, a late wake-up would lower the rate; and BBR, which measures what it
/// sends, would take the lower rate for that of the path, and never send faster again.
const LATE: Micros = 10 * MILLISECOND;

/// The pacer of a circuit, or of circuits that share a window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pacer {
    /// When the next segment may leave, in nanoseconds.
    next: u64,
    /// Octets that may leave at once beyond the burst, since there was a pause.
    extra: u64,
    /// Something waits, and nothing but the pacer holds it back.
    waited_for: bool,
}

impl Pacer {
    /// Whether a segment may leave now.
    pub fn allows(&self, now: Time) -> bool {
        self.next <= nanoseconds(now)
    }

    /// Something waits for it: when to look again, while [`Pacer::allows`] says no.
    pub fn wake_at(&mut self, now: Time) -> Time {
        self.waited_for = true;
        Time(self.next.div_ceil(1_000)).max(now + GRANULE)
    }

    /// Nothing waits for it: there is nothing to be sent, or something else holds it back.
    pub fn on_idle(&mut self) {
        self.waited_for = false;
    }

    /// Nothing was in the network for a while: so many octets may leave at once.
    pub fn on_pause(&mut self, octets: u64) {
        self.extra = octets;
    }

    /// `octets` have left at `rate` octets per second. Of what could have left before and did not, `burst` octets are made
    /// up for, and what was waiting but for `LATE`.
    pub fn on_sent(&mut self, now: Time, octets: u64, rate: u64, burst: u64) {
        let rate = rate.max(1);
        let late = if self.waited_for { LATE * 1_000 } else { 0 };
        let earliest = nanoseconds(now).saturating_sub(span(burst.max(self.extra), rate).max(late));
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

    /// Octets that leave within `span` when asked at every wake-up, so much too late, a thousand at a time.
    fn run(
        pacer: &mut Pacer,
        from: Time,
        span: Micros,
        rate: u64,
        burst: u64,
        late: Micros,
    ) -> u64 {
        let mut now = from;
        let mut sent = 0;
        while now < from + span {
            while pacer.allows(now) {
                pacer.on_sent(now, 1_000, rate, burst);
                sent += 1_000;
            }
            now = pacer.wake_at(now) + late;
        }
        sent
    }

    #[test]
    fn the_rate_is_kept_from_slow_to_fast() {
        for rate in [10_000u64, 1_250_000, 125_000_000, 1_250_000_000] {
            let mut pacer = Pacer::default();
            let burst = (rate / 1_000).max(2_000);
            for late in [0, 3_000, 9_000] {
                let sent = run(&mut pacer, Time(1_000_000), 10_000_000, rate, burst, late);
                let ratio = sent as f64 / (rate * 10) as f64;
                assert!((0.99..1.05).contains(&ratio), "{rate}, {late}: {ratio}");
                pacer.reset();
            }
        }
    }

    #[test]
    fn whoever_wakes_up_much_too_late_makes_up_for_a_part_of_it() {
        let mut pacer = Pacer::default();
        run(&mut pacer, Time(0), 100_000, 1_000_000, 2_000, 0);
        let sent = run(&mut pacer, Time(60_000_000), 1, 1_000_000, 2_000, 0);
        assert_eq!(sent, 11_000, "10 ms, and the segment that ends them");
    }

    #[test]
    fn after_a_pause_no_more_than_a_burst_leaves_at_once() {
        let mut pacer = Pacer::default();
        run(&mut pacer, Time(0), 100_000, 1_000_000, 2_000, 0);
        pacer.on_idle();
        let now = Time(60_000_000);
        let mut sent = 0;
        while pacer.allows(now) {
            pacer.on_sent(now, 1_000, 1_000_000, 2_000);
            sent += 1_000;
        }
        assert_eq!(sent, 3_000, "the burst, and the segment that ends it");
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
