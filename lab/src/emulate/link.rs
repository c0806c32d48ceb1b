//! The model of a link: one direction between two hosts.
//!
//! ```text
//! chosen drops -> random loss -> bursty loss -> drop-tail queue, CE marks -> rate -> delay -> later, twice, damaged
//! ```
//!
//! Everything is computed in virtual time when a packet enters: that the packet is looked at late does not shift those
//! behind it. Each kind of disturbance has a stream of randomness of its own, and takes one draw for every packet that
//! enters: with the same seed the same packets by number are hit, whatever else the link does.

use std::collections::VecDeque;

use hdrhistogram::Histogram;
use serde::Serialize;
use utcp::endpoint::Role;
use utcp::tortp::RawSegment;
use utcp::tortp::translate::from_packet;

use super::delay::Delay;
use crate::rng::{Rng, mix};

/// Nanoseconds since an arbitrary moment.
pub type Nanos = u64;

/// One millisecond.
pub const MILLIS: Nanos = 1_000_000;
/// One second.
pub const SECONDS: Nanos = 1_000_000_000;

/// Bursty loss by the model of Gilbert and Elliott: two states, a step before each packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// Probability to go from the good state to the bad one.
    pub enter: f64,
    /// Probability to go back.
    pub leave: f64,
    /// Probability of loss in the bad state.
    pub loss: f64,
    /// Probability of loss in the good state.
    pub loss_good: f64,
}

impl Burst {
    /// The share of packets that are lost in the long run.
    pub fn mean_loss(&self) -> f64 {
        let bad = self.enter / (self.enter + self.leave);
        bad * self.loss + (1.0 - bad) * self.loss_good
    }
}

/// What a link does to packets.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    /// Bits a second, IP headers included; `None` is no limit.
    pub rate: Option<u64>,
    /// Octets that may wait, beside the packet that is being sent.
    pub queue: usize,
    /// A packet of an ECN-capable transport that finds so many octets waiting is marked (RFC 3168).
    pub mark: Option<usize>,
    /// Propagation delay.
    pub delay: Delay,
    /// Whether a packet with a short delay waits for those before it.
    pub keep_order: bool,
    /// Probability that a packet is lost.
    pub loss: f64,
    /// Loss in bursts, besides.
    pub burst: Option<Burst>,
    /// Probability that a packet is late by `reorder_by`, and overtaken.
    pub reorder: f64,
    /// See `reorder`.
    pub reorder_by: Nanos,
    /// Probability that a packet comes twice.
    pub duplicate: f64,
    /// Probability that one bit of a packet is flipped; checksums stay as they were.
    pub corrupt: f64,
}

impl Conditions {
    /// A link of `rate` bits a second, half of the round-trip time `rtt`, and a queue of one bandwidth-delay product.
    pub fn new(rate: u64, rtt: Nanos) -> Conditions {
        Conditions {
            rate: Some(rate),
            queue: bandwidth_delay(rate, rtt),
            ..Conditions::plain(rtt / 2)
        }
    }

    /// Only a delay.
    pub fn plain(delay: Nanos) -> Conditions {
        Conditions {
            rate: None,
            queue: 0,
            mark: None,
            delay: Delay::Constant(delay),
            keep_order: true,
            loss: 0.0,
            burst: None,
            reorder: 0.0,
            reorder_by: 0,
            duplicate: 0.0,
            corrupt: 0.0,
        }
    }

    /// The same rate, queue and mean delay, with nothing left to chance.
    pub fn undisturbed(&self) -> Conditions {
        Conditions {
            rate: self.rate,
            queue: self.queue,
            ..Conditions::plain(self.delay.mean())
        }
    }
}

/// Octets that a rate of bits a second brings forth in this time.
pub fn bandwidth_delay(rate: u64, time: Nanos) -> usize {
    (u128::from(rate) * u128::from(time) / 8 / u128::from(SECONDS)) as usize
}

/// What a link has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Packets that entered.
    pub entered: u64,
    /// Their octets, IP headers included.
    pub entered_octets: u64,
    /// Packets that arrived at the other end, second copies included.
    pub delivered: u64,
    /// Their octets.
    pub delivered_octets: u64,
    /// Lost at random, alone or in a burst.
    pub lost: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
    /// Lost because a queue of the access of either host was full.
    pub access: u64,
    /// Dropped by [`Link::watch`].
    pub chosen: u64,
    /// Made late, and overtaken.
    pub reordered: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Damaged.
    pub corrupted: u64,
    /// Marked with Congestion Experienced.
    pub marked: u64,
    /// Arrived, but the receiving kernel did not take them: damaged beyond being an IP packet, or no memory.
    pub refused: u64,
}

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// At random.
    Lost,
    /// The link's queue was full.
    Overflowed,
    /// The queue of a host's access was full.
    Access,
    /// [`Link::watch`] said so.
    Chosen,
}

/// What else happened to a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// It is late.
    pub reordered: bool,
    /// It is one of two.
    pub duplicated: bool,
    /// A bit is flipped.
    pub corrupted: bool,
    /// It carries Congestion Experienced.
    pub marked: bool,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives then, twice if it is duplicated.
    Arrives(Nanos, Marks),
    /// It does not.
    Dropped(Cause),
}

/// A drop-tail queue before something of a rate.
#[derive(Debug)]
pub struct Bottleneck {
    busy_until: Nanos,
    /// When each packet in the queue starts to be sent, and its size.
    queue: VecDeque<(Nanos, usize)>,
    queued: usize,
    lengths: Histogram<u64>,
}

impl Default for Bottleneck {
    fn default() -> Bottleneck {
        Bottleneck {
            busy_until: 0,
            queue: VecDeque::new(),
            queued: 0,
            lengths: Histogram::new(2).expect("two digits are possible"),
        }
    }
}

impl Bottleneck {
    /// Octets that wait at this time.
    fn waiting(&mut self, now: Nanos) -> usize {
        while let Some(&(start, size)) = self.queue.front() {
            if start > now {
                break;
            }
            self.queue.pop_front();
            self.queued -= size;
        }
        self.queued
    }

    /// When a packet of this size has been sent, or that there is no room for it. Times may not go back.
    pub fn send(&mut self, now: Nanos, size: usize, rate: u64, most: usize) -> Option<Nanos> {
        let waiting = self.waiting(now);
        self.lengths.record(waiting as u64).expect("it grows");
        let start = self.busy_until.max(now);
        if start > now {
            if waiting + size > most {
                return None;
            }
            self.queued += size;
            self.queue.push_back((start, size));
        }
        self.busy_until =
            start + (size as u128 * 8 * u128::from(SECONDS) / u128::from(rate)) as Nanos;
        Some(self.busy_until)
    }

    /// The octets that waited when each packet came: that share of all found no more.
    pub fn quantile(&self, share: f64) -> u64 {
        if self.lengths.is_empty() {
            return 0;
        }
        self.lengths.value_at_quantile(share)
    }
}

/// Sees each TCP segment that enters; says whether to drop it.
pub type Watch = Box<dyn FnMut(&RawSegment<'_>) -> bool + Send>;

/// Randomness, one stream for each disturbance.
struct Streams {
    loss: Rng,
    burst: Rng,
    delay: Rng,
    reorder: Rng,
    duplicate: Rng,
    corrupt: Rng,
}

impl Streams {
    fn new(seed: u64) -> Streams {
        let stream = |number| Rng::new(mix(seed), number);
        Streams {
            loss: stream(0),
            burst: stream(1),
            delay: stream(2),
            reorder: stream(3),
            duplicate: stream(4),
            corrupt: stream(5),
        }
    }
}

/// See the module.
pub struct Link {
    conditions: Conditions,
    seed: u64,
    streams: Streams,
    watch: Option<Watch>,
    is_bad: bool,
    bottleneck: Bottleneck,
    /// When the last packet that keeps its place arrives.
    last_arrival: Nanos,
    /// What it has done.
    pub counters: Counters,
}

impl Link {
    /// An empty link.
    pub fn new(conditions: Conditions, seed: u64) -> Link {
        Link {
            conditions,
            seed,
            streams: Streams::new(seed),
            watch: None,
            is_bad: false,
            bottleneck: Bottleneck::default(),
            last_arrival: 0,
            counters: Counters::default(),
        }
    }

    /// Shows each segment to `watch` before anything else happens to it.
    pub fn watch(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// What it does to packets.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Other conditions from the next packet on; what has entered leaves as it would have.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// As new, with the same seed and conditions.
    pub fn restart(&mut self) {
        let fresh = Link::new(self.conditions.clone(), self.seed);
        let watch = self.watch.take();
        *self = Link { watch, ..fresh };
    }

    /// The queue, for its length over time.
    pub fn bottleneck(&self) -> &Bottleneck {
        &self.bottleneck
    }

    /// A packet enters at this time, not before the one before it. It may be changed: marked, damaged.
    pub fn enter(&mut self, now: Nanos, packet: &mut [u8]) -> Fate {
        self.counters.entered += 1;
        self.counters.entered_octets += packet.len() as u64;
        let (conditions, streams) = (&self.conditions, &mut self.streams);
        // All draws first: none depends on what the others bring.
        let lost = chance(&mut streams.loss, conditions.loss);
        let lost_in_burst = conditions.burst.is_some_and(|burst| {
            let step = if self.is_bad {
                burst.leave
            } else {
                burst.enter
            };
            self.is_bad ^= streams.burst.chance(step);
            let loss = if self.is_bad {
                burst.loss
            } else {
                burst.loss_good
            };
            streams.burst.chance(loss)
        });
        let delay = conditions.delay.draw(&mut streams.delay);
        let reordered = chance(&mut streams.reorder, conditions.reorder);
        let duplicated = chance(&mut streams.duplicate, conditions.duplicate);
        let damage = (conditions.corrupt > 0.0).then(|| {
            let hit = streams.corrupt.chance(conditions.corrupt);
            (hit, streams.corrupt.next())
        });
        if let Some(watch) = &mut self.watch
            && let Ok((_, segment)) = from_packet(packet, Role::Client)
            && watch(&segment)
        {
            self.counters.chosen += 1;
            return Fate::Dropped(Cause::Chosen);
        }
        if lost || lost_in_burst {
            self.counters.lost += 1;
            return Fate::Dropped(Cause::Lost);
        }
        let waiting = self.bottleneck.waiting(now);
        let sent = match conditions.rate {
            None => now,
            Some(rate) => match self
                .bottleneck
                .send(now, packet.len(), rate, conditions.queue)
            {
                Some(sent) => sent,
                None => {
                    self.counters.overflowed += 1;
                    return Fate::Dropped(Cause::Overflowed);
                }
            },
        };
        let mut marks = Marks {
            reordered,
            duplicated,
            ..Marks::default()
        };
        if conditions.mark.is_some_and(|most| waiting >= most) {
            marks.marked = mark(packet);
        }
        let mut arrives = sent + delay;
        if reordered {
            arrives += conditions.reorder_by;
        } else if conditions.keep_order {
            arrives = arrives.max(self.last_arrival);
            self.last_arrival = arrives;
        }
        if let Some((true, place)) = damage
            && !packet.is_empty()
        {
            let bit = (place % (packet.len() as u64 * 8)) as usize;
            packet[bit / 8] ^= 1 << (bit % 8);
            marks.corrupted = true;
        }
        self.counters.reordered += u64::from(marks.reordered);
        self.counters.duplicated += u64::from(marks.duplicated);
        self.counters.corrupted += u64::from(marks.corrupted);
        self.counters.marked += u64::from(marks.marked);
        Fate::Arrives(arrives, marks)
    }
}

/// What never happens takes no draw.
fn chance(rng: &mut Rng, probability: f64) -> bool {
    probability > 0.0 && rng.chance(probability)
}

/// Sets Congestion Experienced in a packet whose transport is ECN-capable, and mends the checksum of the IPv4 header
/// (RFC 1624). Says whether it did.
fn mark(packet: &mut [u8]) -> bool {
    const CE: u8 = 3;
    if packet.len() < 20 || packet[0] >> 4 != 4 || !matches!(packet[1] & CE, 1 | 2) {
        return false;
    }
    let before = u16::from_be_bytes([packet[0], packet[1]]);
    packet[1] |= CE;
    let after = u16::from_be_bytes([packet[0], packet[1]]);
    let checksum = u16::from_be_bytes([packet[10], packet[11]]);
    let mut sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    true
}

#[cfg(test)]
mod tests;
