//! Deadlines of all connections and circuits, in order: a heap in which each owner has one entry at most, and knows which, so
//! that what does not wait any more leaves at once.
//!
//! An entry may be earlier than what its owner waits for (the owner's deadline has moved on), never later: moving one
//! back and forth with every packet would cost more than an idle look now and then. But of who waits for nothing any more
//! it leaves at once: to be woken for nothing costs a circuit of which now and then a cell comes as much as the cell.

use crate::time::Time;

/// Four children to a node: half as many levels as with two, and neighbours in memory.
const CHILDREN: usize = 4;

/// No slot.
const NONE: u32 = u32::MAX;

/// The owner of a slot that is vacant: connections count from 1.
const NOBODY: Owner = Owner::Connection(0);

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A connection: handshake, probes.
    Connection(u32),
    /// A circuit of a connection, by its wire identifier.
    Circuit(u32, u32),
}

/// What an owner knows of its entry. Packed: there are many circuits.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
pub struct Timer {
    at: Time,
    slot: u32,
}

impl Timer {
    /// None.
    pub const OFF: Timer = Timer {
        at: Time::NEVER,
        slot: NONE,
    };
}

#[derive(Clone, Copy)]
struct Entry {
    at: Time,
    slot: u32,
}

/// Where the entry of an owner is.
struct Slot {
    owner: Owner,
    /// Its place in the heap; of a vacant slot, the next vacant one.
    place: u32,
}

/// The timer queue.
pub struct Timers {
    heap: Vec<Entry>,
    slots: Vec<Slot>,
    vacant: u32,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            heap: Vec::new(),
            slots: Vec::new(),
            vacant: NONE,
        }
    }
}

impl Timers {
    /// `owner` waits for `deadline`. Its entry is moved if that is earlier, and leaves if that is never.
    #[inline]
    pub fn update(&mut self, owner: Owner, timer: &mut Timer, deadline: Time) {
        let registered = timer.at;
        if deadline < registered {
            self.set(owner, timer, deadline);
        } else if deadline == Time::NEVER && registered != Time::NEVER {
            self.remove(owner, timer);
        }
    }

    fn set(&mut self, owner: Owner, timer: &mut Timer, at: Time) {
        let place = self.place(owner, *timer).unwrap_or_else(|| {
            timer.slot = self.occupy(owner);
            let slot = timer.slot;
            self.heap.push(Entry { at, slot });
            self.heap.len() - 1
        });
        timer.at = at;
        self.heap[place].at = at;
        self.rise(place);
    }

    /// `owner` is gone, or does not wait any more.
    pub fn remove(&mut self, owner: Owner, timer: &mut Timer) {
        if let Some(place) = self.place(owner, *timer) {
            self.take_out(place);
        }
        *timer = Timer::OFF;
    }

    /// The earliest deadline.
    pub fn next(&self) -> Time {
        self.heap.first().map_or(Time::NEVER, |entry| entry.at)
    }

    /// Takes out an entry that is due. Its owner has to set its timer to [`Timer::OFF`].
    pub fn pop(&mut self, now: Time) -> Option<Owner> {
        (self.next() <= now && !self.heap.is_empty()).then(|| self.take_out(0))
    }

    /// The place of an owner's entry, if it has one.
    fn place(&self, owner: Owner, timer: Timer) -> Option<usize> {
        let slot = self.slots.get(timer.slot as usize)?;
        (slot.owner == owner).then_some(slot.place as usize)
    }

    fn occupy(&mut self, owner: Owner) -> u32 {
        let vacant = self.vacant;
        match self.slots.get_mut(vacant as usize) {
            Some(slot) => {
                slot.owner = owner;
                self.vacant = slot.place;
                vacant
            }
            None => {
                self.slots.push(Slot { owner, place: NONE });
                self.slots.len() as u32 - 1
            }
        }
    }

    fn take_out(&mut self, place: usize) -> Owner {
        let entry = self.heap.swap_remove(place);
        if place < self.heap.len() {
            // The last one, which may belong above or below.
            self.rise(place);
            self.sink(place);
        }
        let slot = &mut self.slots[entry.slot as usize];
        slot.place = std::mem::replace(&mut self.vacant, entry.slot);
        std::mem::replace(&mut slot.owner, NOBODY)
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.slots[entry.slot as usize].place = place as u32;
    }

    fn rise(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.heap[parent].at <= entry.at {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let first = CHILDREN * place + 1;
            let children = first..(first + CHILDREN).min(self.heap.len());
            let Some(least) = children.min_by_key(|&child| self.heap[child].at) else {
                break;
            };
            if self.heap[least].at >= entry.at {
                break;
            }
            self.put(place, self.heap[least]);
            place = least;
        }
        self.put(place, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn entries_come_out_in_order_when_they_are_due() {
        let mut timers = Timers::default();
        let (a, b) = (Owner::Connection(1), Owner::Circuit(1, 2));
        let (mut of_a, mut of_b) = (Timer::OFF, Timer::OFF);
        timers.update(a, &mut of_a, Time(30));
        timers.update(b, &mut of_b, Time(20));
        // Later is not worth a change; earlier is.
        timers.update(a, &mut of_a, Time(40));
        assert_eq!(timers.next(), Time(20));
        timers.update(a, &mut of_a, Time(10));
        assert_eq!(timers.next(), Time(10));
        assert_eq!(timers.pop(Time(9)), None);
        let order: Vec<_> = std::iter::from_fn(|| timers.pop(Time(30))).collect();
        assert_eq!(order, [a, b], "each once");
        assert_eq!(timers.next(), Time::NEVER);
        assert_eq!(timers.pop(Time::NEVER), None);
    }

    #[test]
    fn who_waits_for_nothing_any_more_is_not_woken() {
        let mut timers = Timers::default();
        let (a, b) = (Owner::Connection(1), Owner::Circuit(1, 2));
        let (mut of_a, mut of_b) = (Timer::OFF, Timer::OFF);
        timers.update(a, &mut of_a, Time(30));
        timers.update(b, &mut of_b, Time(20));
        timers.update(b, &mut of_b, Time::NEVER);
        assert_eq!(timers.next(), Time(30));
        timers.update(b, &mut of_b, Time(40));
        let order: Vec<_> = std::iter::from_fn(|| timers.pop(Time(50))).collect();
        assert_eq!(order, [a, b]);
    }

    #[test]
    fn nothing_is_left_behind_by_who_moves_or_goes() {
        let mut timers = Timers::default();
        let owner = |n| Owner::Circuit(1, n);
        let mut all = [Timer::OFF; 100];
        for at in (1..10_000).rev() {
            let n = at % 100;
            timers.update(owner(n as u32), &mut all[n as usize], Time(at));
        }
        assert_eq!((timers.heap.len(), timers.slots.len()), (100, 100));
        for round in 0..100 {
            for (n, timer) in all.iter_mut().enumerate() {
                timers.remove(owner(n as u32), timer);
                assert_eq!(timers.heap.len(), 99);
                timers.update(owner(n as u32), timer, Time(round));
            }
        }
        assert_eq!((timers.heap.len(), timers.slots.len()), (100, 100));
    }

    #[test]
    fn a_timer_that_came_up_takes_nothing_from_who_has_its_slot_now() {
        let mut timers = Timers::default();
        let (a, b) = (Owner::Circuit(1, 2), Owner::Circuit(1, 4));
        let (mut of_a, mut of_b) = (Timer::OFF, Timer::OFF);
        timers.update(a, &mut of_a, Time(1));
        assert_eq!(timers.pop(Time(1)), Some(a));
        timers.update(b, &mut of_b, Time(2));
        timers.remove(a, &mut of_a);
        timers.remove(a, &mut of_a);
        assert_eq!(timers.next(), Time(2));
        timers.update(a, &mut of_a, Time(1));
        assert_eq!(timers.pop(Time(2)), Some(a));
        assert_eq!(timers.pop(Time(2)), Some(b));
    }

    /// Against a list that is searched.
    #[test]
    fn whatever_is_done_to_it_the_earliest_comes_first() {
        const OWNERS: usize = 300;
        let mut rng = Rng::new([7; 32]);
        let mut timers = Timers::default();
        let mut known = [Timer::OFF; OWNERS];
        let mut right = [Time::NEVER; OWNERS];
        let mut draw = |bound: u32| rng.next_u32() % bound;
        for _ in 0..100_000 {
            let n = draw(OWNERS as u32) as usize;
            let owner = Owner::Circuit(1, n as u32);
            match draw(8) {
                0 => {
                    timers.remove(owner, &mut known[n]);
                    right[n] = Time::NEVER;
                }
                1 | 2 => {
                    let first = right.iter().min().copied().unwrap_or(Time::NEVER);
                    match timers.pop(Time(u64::MAX - 1)) {
                        Some(Owner::Circuit(_, n)) => {
                            assert_eq!(right[n as usize], first);
                            right[n as usize] = Time::NEVER;
                            known[n as usize] = Timer::OFF;
                        }
                        _ => assert_eq!(first, Time::NEVER),
                    }
                }
                _ => {
                    let at = Time(u64::from(draw(1_000)));
                    timers.update(owner, &mut known[n], at);
                    right[n] = right[n].min(at);
                }
            }
            let first = right.iter().min().copied();
            assert_eq!(Some(timers.next()), first);
            let registered = right.iter().filter(|&&at| at < Time::NEVER).count();
            assert_eq!(timers.heap.len(), registered);
        }
        assert!(timers.slots.len() <= OWNERS);
    }
}
