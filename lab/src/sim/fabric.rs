//! The network between nodes: each node's link up and down with a rate and a drop-tail queue, loss and delay between.

use utcp::time::{Micros, SECOND, Time};

use super::layout::Layout;
use crate::link::HEADERS;
use crate::rng::{Rng, mix};

/// How long a full queue takes to drain.
pub const QUEUE: Micros = SECOND / 10;

/// A link of a rate with a queue before it, on a virtual clock.
#[derive(Clone, Copy, Debug)]
struct Pipe {
    /// Octets a second.
    rate: u64,
    /// In nanoseconds: at 100 Mbit/s an octet takes 80.
    busy_until: u64,
}

impl Pipe {
    /// When the packet has left, or that there was no room for it.
    fn pass(&mut self, now: Time, size: usize) -> Option<Time> {
        let start = self.busy_until.max(now.0 * 1_000);
        if start - now.0 * 1_000 > QUEUE * 1_000 {
            return None;
        }
        self.busy_until = start + size as u64 * 1_000_000_000 / self.rate;
        Some(Time(self.busy_until.div_ceil(1_000)))
    }
}

/// See the module.
pub struct Fabric {
    up: Vec<Pipe>,
    down: Vec<Pipe>,
    layout: Layout,
    rng: Rng,
    /// Whether links have rates and losses. Not while everything is set up: then nothing but distance counts, so that
    /// what is measured later does not depend on the sizes of the messages of a handshake, which are random.
    pub real: bool,
    /// Packets that entered.
    pub entered: u64,
    /// Octets of them, with headers.
    pub octets: u64,
    /// Packets that were lost by chance.
    pub lost: u64,
    /// Packets that met a full queue.
    pub dropped: u64,
}

impl Fabric {
    /// Idle, and not yet real.
    pub fn new(layout: &Layout) -> Fabric {
        let pipe = |rate| Pipe {
            rate,
            busy_until: 0,
        };
        let pipes: Vec<Pipe> = layout.nodes.iter().map(|n| pipe(n.rate)).collect();
        Fabric {
            up: pipes.clone(),
            down: pipes,
            layout: layout.clone(),
            rng: Rng::new(mix(layout.seed), 3),
            real: false,
            entered: 0,
            octets: 0,
            lost: 0,
            dropped: 0,
        }
    }

    /// A packet with so much UDP payload leaves a node: when it is at the other's link, if it gets there.
    pub fn leave(&mut self, now: Time, from: usize, to: usize, payload: usize) -> Option<Time> {
        if !self.real {
            return Some(now + self.layout.delay(from, to));
        }
        self.entered += 1;
        self.octets += (payload + HEADERS) as u64;
        let Some(left) = self.up[from].pass(now, payload + HEADERS) else {
            self.dropped += 1;
            return None;
        };
        if self.rng.chance(self.layout.loss / 100.0) {
            self.lost += 1;
            return None;
        }
        Some(left + self.layout.delay(from, to))
    }

    /// It is at the other's link: when that has it, if it gets it.
    pub fn reach(&mut self, now: Time, to: usize, payload: usize) -> Option<Time> {
        if !self.real {
            return Some(now);
        }
        let arrived = self.down[to].pass(now, payload + HEADERS);
        self.dropped += u64::from(arrived.is_none());
        arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_carries_its_rate_and_drops_what_would_wait_longer_than_its_queue() {
        let mut layout = Layout::relays(1, 2, 10.0, 10.0, 0.0);
        layout.nodes[1].position = layout.nodes[0].position;
        let mut fabric = Fabric::new(&layout);
        fabric.real = true;
        // 1,250 octets with headers take 1 ms at 10 Mbit/s.
        let all: Vec<Option<Time>> = (0..200)
            .map(|_| fabric.leave(Time(0), 0, 1, 1_250 - HEADERS))
            .collect();
        assert_eq!(all[0], Some(Time(1_000 + 2_000)));
        assert_eq!(all[99], Some(Time(100_000 + 2_000)));
        assert_eq!(all[150], None);
        assert_eq!(fabric.dropped, 200 - 101);
    }

    #[test]
    fn loss_is_as_set_once_links_are_real() {
        let layout = Layout::relays(1, 2, 1_000.0, 1_000.0, 1.0);
        let mut fabric = Fabric::new(&layout);
        let send = |fabric: &mut Fabric, from: u64| {
            let sent = (0..20_000).map(|n| fabric.leave(Time(from + n * 100), 0, 1, 1_000));
            sent.flatten().count()
        };
        assert_eq!(send(&mut fabric, 0), 20_000);
        fabric.real = true;
        let arrived = send(&mut fabric, 10_000_000);
        assert!((19_720..=19_880).contains(&arrived), "{arrived}");
        assert_eq!(fabric.lost as usize, 20_000 - arrived);
    }
}
