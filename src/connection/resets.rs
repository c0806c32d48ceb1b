//! Resets on their way. One that is lost would leave the peer's end of a circuit open for ever if that end only waits,
//! so a reset is repeated until the peer confirms it with a reset of its own (docs/tortp.md, section 6).

use std::collections::{BTreeMap, BTreeSet};

use crate::tcp::Reset;
use crate::time::{Micros, Time};

/// How often a reset is sent at the most.
const ATTEMPTS: u8 = 8;

/// Resets that wait for confirmation at once; more are sent once only.
const BOUND: usize = 4_096;

struct Unconfirmed {
    reset: Reset,
    /// When it is to be sent (again), and how long to wait after that.
    at: Time,
    wait: Micros,
    left: u8,
}

/// Resets that the peer has not confirmed, by wire identifier.
#[derive(Default)]
pub struct Resets {
    by_id: BTreeMap<u32, Unconfirmed>,
    due: BTreeSet<(Time, u32)>,
}

impl Resets {
    /// A reset to be sent at once, and again after `rto` and with back-off; false if there are too many.
    pub fn insert(&mut self, id: u32, reset: Reset, rto: Micros) -> bool {
        if self.by_id.len() >= BOUND {
            return false;
        }
        self.confirm(id);
        let at = Time(0);
        self.due.insert((at, id));
        let unconfirmed = Unconfirmed {
            reset,
            at,
            wait: rto,
            left: ATTEMPTS,
        };
        self.by_id.insert(id, unconfirmed);
        true
    }

    /// The peer has it, or has none of the circuit.
    pub fn confirm(&mut self, id: u32) {
        if let Some(unconfirmed) = self.by_id.remove(&id) {
            self.due.remove(&(unconfirmed.at, id));
        }
    }

    /// When [`Resets::take`] has something.
    pub fn deadline(&self) -> Time {
        self.due.first().map_or(Time::NEVER, |&(at, _)| at)
    }

    /// A reset that is to be sent now.
    pub fn take(&mut self, now: Time) -> Option<(u32, Reset)> {
        let &(at, id) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        let unconfirmed = self.by_id.get_mut(&id)?;
        let reset = unconfirmed.reset;
        unconfirmed.left -= 1;
        if unconfirmed.left == 0 {
            self.by_id.remove(&id);
        } else {
            unconfirmed.at = now + unconfirmed.wait;
            unconfirmed.wait *= 2;
            self.due.insert((unconfirmed.at, id));
        }
        Some((id, reset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::seq::Seq;

    const RESET: Reset = Reset {
        seq: Seq(1),
        ack: None,
    };

    #[test]
    fn it_is_repeated_with_back_off_and_given_up() {
        let mut resets = Resets::default();
        assert!(resets.insert(2, RESET, 100));
        let mut times = Vec::new();
        while resets.deadline() != Time::NEVER {
            let now = resets.deadline();
            assert_eq!(resets.take(now), Some((2, RESET)));
            times.push(now.0);
        }
        assert_eq!(times, [0, 100, 300, 700, 1_500, 3_100, 6_300, 12_700]);
    }

    #[test]
    fn a_confirmed_one_is_not_repeated() {
        let mut resets = Resets::default();
        resets.insert(2, RESET, 100);
        resets.take(Time(5));
        assert_eq!(resets.take(Time(5)), None);
        resets.confirm(2);
        assert_eq!(resets.deadline(), Time::NEVER);
    }

    #[test]
    fn they_are_bounded() {
        let mut resets = Resets::default();
        let taken = (0..2 * BOUND as u32).filter(|&id| resets.insert(id, RESET, 1));
        assert_eq!(taken.count(), BOUND);
    }
}
