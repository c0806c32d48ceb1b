//! What an entry relay sees pass on a circuit, and what it learns from it of the time to the exit.

use utcp::time::{MILLISECOND, Micros, Time};

/// After so long without anything in either direction, what goes up next is a question, and what comes down first is
/// its answer.
const IDLE: Micros = 300 * MILLISECOND;

/// Times of cells (or, where relays only forward, datagrams) at the entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tap {
    last: Time,
    asked: Option<Time>,
    /// The shortest time from a question to its answer.
    pub shortest: Option<Micros>,
    /// How many there were.
    pub samples: u32,
}

impl Tap {
    /// Something passes, toward the exit or from it.
    pub fn see(&mut self, up: bool, now: Time) {
        let idle = now.since(self.last) >= IDLE;
        self.last = now;
        if up {
            self.asked = idle.then_some(now);
        } else if let Some(asked) = self.asked.take() {
            let took = now.since(asked);
            self.shortest = Some(self.shortest.map_or(took, |s| s.min(took)));
            self.samples += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_a_question_after_silence_counts() {
        let mut tap = Tap::default();
        let ms = |n: u64| Time(n * MILLISECOND + 1_000 * MILLISECOND);
        tap.see(true, ms(0));
        tap.see(false, ms(120));
        assert_eq!(tap.shortest, Some(120 * MILLISECOND));
        // More of the answer, and what goes up meanwhile, say nothing.
        tap.see(true, ms(130));
        tap.see(false, ms(135));
        assert_eq!((tap.shortest, tap.samples), (Some(120 * MILLISECOND), 1));
        tap.see(true, ms(1_000));
        tap.see(false, ms(1_090));
        assert_eq!((tap.shortest, tap.samples), (Some(90 * MILLISECOND), 2));
    }
}
