//! An emulated link in real time: one direction of a path.
//!
//! Loss, then a drop-tail queue in octets that is drained at the link's rate, then a fixed delay; some packets may be
//! later than that, or come twice. Everything is computed on a clock of its own, when a packet enters: that the packet
//! is looked at late does not shift those behind it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use utcp::endpoint::Role;
use utcp::tortp::RawSegment;
use utcp::tortp::translate::from_packet;

use crate::rng::{Rng, mix};

/// Nanoseconds since an arbitrary moment.
pub type Nanos = u64;

/// One millisecond.
pub const MILLIS: Nanos = 1_000_000;
/// One second.
pub const SECONDS: Nanos = 1_000_000_000;

/// What a link does to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// Bits a second, IP headers included.
    pub rate: u64,
    /// Octets that may wait, beside the packet that is being sent.
    pub queue: usize,
    /// Propagation delay.
    pub delay: Nanos,
    /// Probability that a packet is lost.
    pub loss: f64,
    /// Probability that a packet is late by `late_by`, and overtaken.
    pub late: f64,
    /// See `late`.
    pub late_by: Nanos,
    /// Probability that a packet comes twice.
    pub duplicate: f64,
}

impl Conditions {
    /// A link of `rate` bits a second, half of the round-trip time `rtt`, and a queue of one bandwidth-delay product.
    pub fn new(rate: u64, rtt: Nanos) -> Conditions {
        Conditions {
            rate,
            queue: (rate as u128 * rtt as u128 / 8 / SECONDS as u128) as usize,
            delay: rtt / 2,
            loss: 0.0,
            late: 0.0,
            late_by: 0,
            duplicate: 0.0,
        }
    }
}

/// What a link has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that entered.
    pub entered: u64,
    /// Lost at random.
    pub lost: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
    /// Dropped by [`Link::watch`].
    pub chosen: u64,
    /// Made late, or twice.
    pub disturbed: u64,
}

/// Sees each TCP segment that enters; says whether to drop it.
pub type Watch = Box<dyn FnMut(&RawSegment<'_>) -> bool + Send>;

/// When it leaves, in which order, and the packet.
type Waiting = Reverse<(Nanos, u64, Vec<u8>)>;

/// See the module.
pub struct Link {
    conditions: Conditions,
    losses: Rng,
    disturbances: Rng,
    watch: Option<Watch>,
    busy_until: Nanos,
    /// When each packet in the queue starts to be sent, and its size.
    queue: VecDeque<(Nanos, usize)>,
    queued: usize,
    under_way: BinaryHeap<Waiting>,
    /// What it has done.
    pub counters: Counters,
}

impl Link {
    /// An empty link. With the same `seed`, the same packets by number are lost.
    pub fn new(conditions: Conditions, seed: u64) -> Link {
        Link {
            conditions,
            losses: Rng::new(mix(seed), 0),
            disturbances: Rng::new(mix(seed), 1),
            watch: None,
            busy_until: 0,
            queue: VecDeque::new(),
            queued: 0,
            under_way: BinaryHeap::new(),
            counters: Counters::default(),
        }
    }

    /// Shows each segment to `watch` before anything else happens to it.
    pub fn watch(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// A packet enters.
    pub fn enter(&mut self, now: Nanos, packet: Vec<u8>) {
        self.counters.entered += 1;
        let number = self.counters.entered;
        if let Some(watch) = &mut self.watch
            && let Ok((_, segment)) = from_packet(&packet, Role::Client)
            && watch(&segment)
        {
            self.counters.chosen += 1;
            return;
        }
        if self.losses.chance(self.conditions.loss) {
            self.counters.lost += 1;
            return;
        }
        let Some(sent) = self.send(now, packet.len()) else {
            self.counters.overflowed += 1;
            return;
        };
        let mut arrives = sent + self.conditions.delay;
        if self.disturbances.chance(self.conditions.late) {
            self.counters.disturbed += 1;
            arrives += self.conditions.late_by;
        }
        if self.disturbances.chance(self.conditions.duplicate) {
            self.counters.disturbed += 1;
            let copy = packet.clone();
            self.under_way.push(Reverse((arrives, number, copy)));
        }
        self.under_way.push(Reverse((arrives, number, packet)));
    }

    /// When a packet of this size has been sent, or that there is no room for it.
    fn send(&mut self, now: Nanos, size: usize) -> Option<Nanos> {
        while let Some(&(start, size)) = self.queue.front() {
            if start > now {
                break;
            }
            self.queue.pop_front();
            self.queued -= size;
        }
        let start = self.busy_until.max(now);
        if start > now {
            if self.queued + size > self.conditions.queue {
                return None;
            }
            self.queued += size;
            self.queue.push_back((start, size));
        }
        self.busy_until = start + size as u64 * 8 * SECONDS / self.conditions.rate;
        Some(self.busy_until)
    }

    /// When the next packet leaves.
    pub fn next(&self) -> Option<Nanos> {
        self.under_way.peek().map(|Reverse((at, _, _))| *at)
    }

    /// The next packet that has left by `now`, and when it did.
    pub fn leave(&mut self, now: Nanos) -> Option<(Nanos, Vec<u8>)> {
        if self.next()? > now {
            return None;
        }
        let Reverse((at, _, packet)) = self.under_way.pop()?;
        Some((at, packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(link: &mut Link) -> Vec<(Nanos, u8)> {
        let leaves = |link: &mut Link| link.leave(Nanos::MAX);
        std::iter::from_fn(|| leaves(link))
            .map(|(at, packet)| (at, packet[0]))
            .collect()
    }

    #[test]
    fn packets_leave_at_the_rate_of_the_link_after_its_delay() {
        // 1,000 octets take a millisecond.
        let mut link = Link::new(Conditions::new(8_000_000, 20 * MILLIS), 1);
        for number in 0..3 {
            link.enter(0, vec![number; 1_000]);
        }
        assert_eq!(link.leave(11 * MILLIS - 1), None);
        assert_eq!(
            drain(&mut link),
            [(11 * MILLIS, 0), (12 * MILLIS, 1), (13 * MILLIS, 2)]
        );
    }

    #[test]
    fn the_queue_holds_one_bandwidth_delay_product() {
        let mut link = Link::new(Conditions::new(8_000_000, 20 * MILLIS), 1);
        for number in 0..30 {
            link.enter(0, vec![number; 1_000]);
        }
        // One is being sent, 20 wait.
        assert_eq!(drain(&mut link).len(), 21);
        assert_eq!(link.counters.overflowed, 9);
    }

    #[test]
    fn the_same_packets_are_lost_with_the_same_seed_and_as_many_as_asked_for() {
        let kept = |seed| {
            let mut conditions = Conditions::new(8_000_000_000, 20 * MILLIS);
            conditions.loss = 0.1;
            let mut link = Link::new(conditions, seed);
            for number in 0..10_000u32 {
                link.enter(u64::from(number) * MILLIS, vec![number as u8; 100]);
            }
            drain(&mut link)
        };
        assert_eq!(kept(1), kept(1));
        assert_ne!(kept(1), kept(2));
        assert!((8_800..9_200).contains(&kept(1).len()));
    }

    #[test]
    fn late_packets_are_overtaken_and_copies_come_besides() {
        let mut conditions = Conditions::new(8_000_000_000, 20 * MILLIS);
        conditions.late = 0.5;
        conditions.late_by = 5 * MILLIS;
        conditions.duplicate = 0.5;
        let mut link = Link::new(conditions, 1);
        for number in 0..100 {
            link.enter(u64::from(number) * MILLIS, vec![number; 100]);
        }
        let out = drain(&mut link);
        assert!(out.len() > 120 && out.len() < 180);
        assert!(out.iter().zip(&out[1..]).any(|(a, b)| a.1 > b.1));
    }
}
