//! What is simulated: nodes, circuits, and what runs over them. The same for every transport.

use utcp::time::{MILLISECOND, Micros, SECOND};

use super::geography::Position;
use crate::rng::{Rng, mix};

/// A relay or client.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Where it is.
    pub position: Position,
    /// Octets a second that it can send, and receive.
    pub rate: u64,
}

/// Nodes of a circuit: client, entry, middle, exit.
pub type Path = [usize; 4];

/// What the client of a circuit does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// One download without end.
    Bulk,
    /// Downloads of 50 kB, 1 MB and 5 MB (60, 35, 5 %), with a pause between them: exponential, with this mean.
    Web(Micros),
    /// A cell is sent, and answered with one.
    Quiet(Micros),
}

/// A circuit and its client's load.
#[derive(Clone, Copy, Debug)]
pub struct Circuit {
    /// Its nodes.
    pub path: Path,
    /// What runs over it.
    pub load: Load,
    /// When that begins, after the start.
    pub begins: Micros,
    /// From the exit to the server and back, with the server's work.
    pub server: Micros,
}

/// A network and its load.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// All relays first, then clients.
    pub nodes: Vec<Node>,
    /// How many of them are relays.
    pub relays: usize,
    /// All circuits.
    pub circuits: Vec<Circuit>,
    /// Percent of packets lost between any two nodes.
    pub loss: f64,
    /// Of all random choices.
    pub seed: u64,
}

const MBIT: f64 = 125_000.0;

impl Layout {
    /// Relays with rates between `slowest` and `fastest` Mbit/s (log-uniform), no circuits yet.
    pub fn relays(seed: u64, count: usize, slowest: f64, fastest: f64, loss: f64) -> Layout {
        let mut rng = Rng::new(mix(seed), 1);
        let relays = (0..count).map(|_| {
            let part = rng.below(1_000_001) as f64 / 1e6;
            Node {
                position: Position::draw(&mut rng),
                rate: (slowest * (fastest / slowest).powf(part) * MBIT) as u64,
            }
        });
        Layout {
            nodes: relays.collect(),
            relays: count,
            circuits: Vec::new(),
            loss,
            seed,
        }
    }

    /// Adds a client with a link of so many Mbit/s; gives its number.
    pub fn client(&mut self, position: Position, mbit: f64) -> usize {
        self.nodes.push(Node {
            position,
            rate: (mbit * MBIT) as u64,
        });
        self.nodes.len() - 1
    }

    /// Three different relays, each by its rate or all alike.
    pub fn choose(&self, rng: &mut Rng, by_rate: bool) -> [usize; 3] {
        let weight = |n: usize| if by_rate { self.nodes[n].rate } else { 1 };
        let total: u64 = (0..self.relays).map(weight).sum();
        let mut chosen: Vec<usize> = Vec::new();
        while chosen.len() < 3 {
            let mut left = rng.below(total);
            for n in 0..self.relays {
                if left < weight(n) {
                    if !chosen.contains(&n) {
                        chosen.push(n);
                    }
                    break;
                }
                left -= weight(n);
            }
        }
        [chosen[0], chosen[1], chosen[2]]
    }

    /// Adds clients with a circuit each: `shares` of a hundred are bulk and web, the rest quiet. Paths by rate.
    pub fn populate(&mut self, count: usize, bulk: usize, web: usize, pause: Micros) {
        let mut rng = Rng::new(mix(self.seed), 2);
        for n in 0..count {
            let position = Position::draw(&mut rng);
            let client = self.client(position, 50.0);
            let [entry, middle, exit] = self.choose(&mut rng, true);
            let place = n * 100 / count;
            let load = if place < bulk {
                Load::Bulk
            } else if place < bulk + web {
                Load::Web(pause)
            } else {
                Load::Quiet(200 * MILLISECOND)
            };
            let begins = match load {
                Load::Web(pause) => rng.below(pause),
                _ => rng.below(SECOND),
            };
            let server = self.server(&mut rng, exit);
            self.circuits.push(Circuit {
                path: [client, entry, middle, exit],
                load,
                begins,
                server,
            });
        }
    }

    /// A server somewhere: two of three are copies near the exit, within 1 to 10 ms.
    pub fn server(&self, rng: &mut Rng, exit: usize) -> Micros {
        if rng.below(3) < 2 {
            return rng.between(1, 10) * MILLISECOND;
        }
        let position = Position::draw(rng);
        2 * position.delay(self.nodes[exit].position) + rng.between(1, 10) * MILLISECOND
    }

    /// One way between two nodes, without queues.
    pub fn delay(&self, a: usize, b: usize) -> Micros {
        self.nodes[a].position.delay(self.nodes[b].position)
    }

    /// There and back along a circuit, without queues and without the server.
    pub fn base(&self, circuit: &Circuit) -> Micros {
        let hops = circuit.path.windows(2);
        hops.map(|hop| 2 * self.delay(hop[0], hop[1])).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_network_and_another_another() {
        let make = |seed| {
            let mut layout = Layout::relays(seed, 10, 5.0, 50.0, 0.0);
            layout.populate(100, 5, 35, SECOND);
            layout
        };
        let describe = |l: &Layout| format!("{:?} {:?}", l.nodes, l.circuits);
        assert_eq!(describe(&make(1)), describe(&make(1)));
        assert_ne!(describe(&make(1)), describe(&make(2)));
        let layout = make(1);
        let count = |f: fn(&Load) -> bool| layout.circuits.iter().filter(|c| f(&c.load)).count();
        assert_eq!(count(|l| *l == Load::Bulk), 5);
        assert_eq!(count(|l| matches!(l, Load::Web(_))), 35);
        for circuit in &layout.circuits {
            let [_, a, b, c] = circuit.path;
            assert!(a != b && b != c && a != c && a.max(b).max(c) < 10);
        }
    }
}
