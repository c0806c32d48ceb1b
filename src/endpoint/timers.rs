//! Deadlines of all connections and circuits, in order.
//!
//! An entry may be earlier than what its owner waits for (the owner's deadline has moved on), never later: moving one
//! back and forth with every packet would cost more than an idle look now and then. An owner that moves forward, or
//! goes, leaves its old entry behind, which is dropped when its time comes, or when there are more such than others.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Time;

/// Entries that may be left behind however few others there are.
const STALE: usize = 1_024;

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A connection: handshake, probes.
    Connection(u32),
    /// A circuit of a connection, by its wire identifier.
    Circuit(u32, u32),
}

/// The timer queue.
#[derive(Default)]
pub struct Timers {
    queue: BinaryHeap<Reverse<(Time, Owner)>>,
    /// Entries of owners that were registered for another time since, or are gone.
    stale: usize,
}

impl Timers {
    /// `owner`, registered so far for `registered`, waits for `deadline`. Returns what is registered now.
    pub fn update(&mut self, owner: Owner, registered: Time, deadline: Time) -> Time {
        if deadline >= registered {
            return registered;
        }
        self.stale += usize::from(registered != Time::NEVER);
        self.queue.push(Reverse((deadline, owner)));
        deadline
    }

    /// `owner` is gone, or does not wait any more.
    pub fn remove(&mut self, registered: Time) {
        self.stale += usize::from(registered != Time::NEVER);
    }

    /// The earliest entry.
    pub fn first(&self) -> Option<(Time, Owner)> {
        self.queue.peek().map(|entry| entry.0)
    }

    /// Its time.
    pub fn next(&self) -> Time {
        self.first().map_or(Time::NEVER, |(time, _)| time)
    }

    /// Takes out an entry that is due: its owner, and for when it was registered. The owner has to say whether that is
    /// still so, with [`Timers::was_stale`] if not; if it is, it is not registered any more.
    pub fn pop(&mut self, now: Time) -> Option<(Time, Owner)> {
        if self.next() > now {
            return None;
        }
        self.queue.pop().map(|entry| entry.0)
    }

    /// What was taken out had been left behind.
    pub fn was_stale(&mut self) {
        self.stale = self.stale.saturating_sub(1);
    }

    /// Whether [`Timers::sweep`] is worth its while: more entries were left behind than are in use.
    pub fn is_cluttered(&self) -> bool {
        self.stale > STALE && self.stale > self.queue.len() / 2
    }

    /// Drops the entries for which `is_registered` does not hold.
    pub fn sweep(&mut self, is_registered: impl Fn(Time, Owner) -> bool) {
        self.queue
            .retain(|entry| is_registered(entry.0.0, entry.0.1));
        self.stale = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_in_order_when_they_are_due() {
        let mut timers = Timers::default();
        let (a, b) = (Owner::Connection(1), Owner::Circuit(1, 2));
        assert_eq!(timers.update(a, Time::NEVER, Time(30)), Time(30));
        assert_eq!(timers.update(b, Time::NEVER, Time(20)), Time(20));
        // Later is not worth a change; earlier is, and the old entry stays behind.
        assert_eq!(timers.update(a, Time(30), Time(40)), Time(30));
        assert_eq!(timers.update(a, Time(30), Time(10)), Time(10));
        assert_eq!(timers.next(), Time(10));
        assert_eq!(timers.pop(Time(9)), None);
        let order: Vec<_> = std::iter::from_fn(|| timers.pop(Time(30))).collect();
        assert_eq!(order, [(Time(10), a), (Time(20), b), (Time(30), a)]);
    }

    #[test]
    fn what_is_left_behind_does_not_pile_up() {
        let mut timers = Timers::default();
        let owner = Owner::Circuit(1, 2);
        let mut registered = Time::NEVER;
        let mut most = 0;
        for at in (1..100_000).rev() {
            registered = timers.update(owner, registered, Time(at));
            if timers.is_cluttered() {
                timers.sweep(|time, _| time == registered);
            }
            most = most.max(timers.queue.len());
        }
        assert!(most < 3 * STALE, "{most}");
        assert_eq!(timers.next(), Time(1));
    }
}
