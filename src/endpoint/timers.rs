//! Deadlines of all connections and circuits, in order.
//!
//! An entry may be earlier than what its owner waits for (the owner's deadline has moved on), never later: moving one
//! back and forth with every packet would cost more than an idle look now and then.

use std::collections::BTreeSet;

use crate::time::Time;

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
    queue: BTreeSet<(Time, Owner)>,
}

impl Timers {
    /// `owner`, registered so far for `registered`, waits for `deadline`. Returns what is registered now.
    pub fn update(&mut self, owner: Owner, registered: Time, deadline: Time) -> Time {
        if deadline >= registered {
            return registered;
        }
        self.queue.remove(&(registered, owner));
        self.queue.insert((deadline, owner));
        deadline
    }

    /// `owner` is gone.
    pub fn remove(&mut self, owner: Owner, registered: Time) {
        self.queue.remove(&(registered, owner));
    }

    /// The earliest entry.
    pub fn next(&self) -> Time {
        self.queue.first().map_or(Time::NEVER, |&(at, _)| at)
    }

    /// Takes out an entry that is due; its owner is not registered any more.
    pub fn pop(&mut self, now: Time) -> Option<Owner> {
        if self.next() > now {
            return None;
        }
        self.queue.pop_first().map(|(_, owner)| owner)
    }
}
