//! The path of an experiment: rate, round-trip time, loss, queue.

use utcp::time::{MILLISECOND, Micros};

use crate::contestant::{Contestant, Setup};
use crate::link::Link;
use crate::world::{SETUP, World, address};

/// A path that is the same both ways: random loss, then a drop-tail queue before a link of a rate, then propagation.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Mbit/s.
    pub rate: f64,
    /// Milliseconds, without queues.
    pub rtt: f64,
    /// Percent of packets lost, each way.
    pub loss: f64,
    /// Queue in bandwidth-delay products.
    pub queue: f64,
}

impl Path {
    /// With a queue of one bandwidth-delay product.
    pub fn new(rate: f64, rtt: f64, loss: f64) -> Path {
        Path {
            rate,
            rtt,
            loss,
            queue: 1.0,
        }
    }

    /// Round-trip time in microseconds.
    pub fn rtt(&self) -> Micros {
        (self.rtt * MILLISECOND as f64) as Micros
    }

    /// Octets a second.
    pub fn octets(&self) -> u64 {
        (self.rate * 125_000.0) as u64
    }

    /// Bandwidth-delay product in octets.
    pub fn bdp(&self) -> usize {
        (self.octets() * self.rtt() / 1_000_000) as usize
    }

    /// Octets that wait at most.
    pub fn queue(&self) -> usize {
        (self.bdp() as f64 * self.queue) as usize
    }

    /// Buffers and windows that never limit: twice of what can be under way.
    pub fn window(&self) -> usize {
        (2 * (self.bdp() + self.queue())).clamp(1 << 20, 1 << 30)
    }

    /// Rate and delay, without loss.
    pub fn bottleneck(&self) -> Link {
        Link::new()
            .rate(self.octets(), self.queue())
            .delay(self.rtt() / 2)
    }

    /// One direction.
    pub fn link(&self) -> Link {
        Link::new()
            .loss(self.loss / 100.0)
            .rate(self.octets(), self.queue())
            .delay(self.rtt() / 2)
    }

    /// What flow number `flow` is made with.
    pub fn setup(&self, flow: usize, seed: u64) -> Setup {
        Setup {
            seed: seed ^ (flow as u64) << 32,
            window: self.window(),
            addresses: [address(flow, 0), address(flow, 1)],
            now: SETUP,
        }
    }

    /// A world with a flow of each contestant on this path.
    pub fn world(&self, contestants: &[Contestant], seed: u64) -> World {
        self.world_with(contestants, seed, || [self.link(), self.link()])
    }

    /// The same with other links.
    pub fn world_with(
        &self,
        contestants: &[Contestant],
        seed: u64,
        links: impl FnOnce() -> [Link; 2],
    ) -> World {
        let flows = contestants.iter().enumerate();
        let flows = flows.map(|(flow, contestant)| contestant.pair(&self.setup(flow, seed)));
        World::new(seed, self.rtt(), flows.collect(), links)
    }
}
