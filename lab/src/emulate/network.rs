//! Ports, the links between them, and the packets under way, in virtual time.
//!
//! ```text
//! port -> access up -> link of the pair -> (time passes) -> access down -> port
//! ```
//!
//! The access of a port has a rate and a drop-tail queue in each direction, which all links of the port share.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::net::Ipv4Addr;

use super::link::{Bottleneck, Cause, Conditions, Fate, Link, Marks, Nanos};
use super::record::{Event, Outcome, Recorder};

/// A rate with a queue before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Bits a second.
    pub rate: u64,
    /// Octets that may wait.
    pub queue: usize,
}

#[derive(Default)]
struct Direction {
    limit: Option<Limit>,
    bottleneck: Bottleneck,
}

impl Direction {
    fn pass(&mut self, now: Nanos, size: usize) -> Option<Nanos> {
        match self.limit {
            None => Some(now),
            Some(limit) => self.bottleneck.send(now, size, limit.rate, limit.queue),
        }
    }
}

#[derive(Default)]
struct Access {
    up: Direction,
    down: Direction,
}

/// From which port to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Index of the port.
    pub from: usize,
    /// Index of the port.
    pub to: usize,
}

/// Which link a packet from a port takes.
enum Routes {
    /// Always the same one.
    Fixed(Vec<usize>),
    /// By the destination's address; the links are in order of their ends.
    Addresses(HashMap<Ipv4Addr, usize>),
}

/// A packet between the entrance of its link and its port.
struct UnderWay {
    at: Nanos,
    order: u64,
    entered: Nanos,
    link: usize,
    /// It has passed the access of its destination too.
    is_through: bool,
    marks: Marks,
    packet: Vec<u8>,
}

impl UnderWay {
    fn key(&self) -> (Nanos, u64) {
        (self.at, self.order)
    }
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for UnderWay {}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// A packet that has arrived.
#[derive(Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it was due.
    pub at: Nanos,
    /// Index of the link it came over.
    pub link: usize,
    /// Index of the port it is for.
    pub port: usize,
    /// The packet.
    pub packet: Vec<u8>,
}

/// See the module.
pub struct Network {
    routes: Routes,
    links: Vec<(Ends, Link)>,
    access: Vec<Access>,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    order: u64,
    recorder: Option<Recorder>,
    /// Packets to an address that no port has.
    pub unroutable: u64,
}

impl Network {
    fn new(routes: Routes, ports: usize, links: Vec<(Ends, Link)>) -> Network {
        Network {
            routes,
            links,
            access: (0..ports).map(|_| Access::default()).collect(),
            under_way: BinaryHeap::new(),
            order: 0,
            recorder: None,
            unroutable: 0,
        }
    }

    /// Pairs of ports with nothing between one pair and another. Pair `i` has the ports `2 * i` and `2 * i + 1`, and the
    /// links of the same numbers lead out of them.
    pub fn pairs(links: impl IntoIterator<Item = [Link; 2]>) -> Network {
        let links: Vec<(Ends, Link)> = links
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(from, link)| (Ends { from, to: from ^ 1 }, link))
            .collect();
        let ports = links.len();
        Network::new(Routes::Fixed((0..ports).collect()), ports, links)
    }

    /// A link from each port to each other one, found by the address of the destination.
    pub fn mesh(addresses: &[Ipv4Addr], mut link: impl FnMut(Ends) -> Link) -> Network {
        let ports = addresses.len();
        let by_address = addresses.iter().copied().zip(0..).collect();
        let all = (0..ports).flat_map(|from| (0..ports).map(move |to| Ends { from, to }));
        let links = all.map(|ends| (ends, link(ends))).collect();
        Network::new(Routes::Addresses(by_address), ports, links)
    }

    /// Limits what a port sends and receives over all of its links together.
    pub fn set_access(&mut self, port: usize, up: Option<Limit>, down: Option<Limit>) {
        let access = &mut self.access[port];
        access.up.limit = up;
        access.down.limit = down;
    }

    /// Other conditions for a link from the next packet on.
    pub fn set_conditions(&mut self, link: usize, conditions: Conditions) {
        self.links[link].1.set_conditions(conditions);
    }

    /// All links with their ends.
    pub fn links(&self) -> &[(Ends, Link)] {
        &self.links
    }

    /// One link.
    pub fn link(&self, index: usize) -> &Link {
        &self.links[index].1
    }

    /// Index of the link between two ports, if there is one.
    pub fn between(&self, from: usize, to: usize) -> Option<usize> {
        self.links
            .iter()
            .position(|(ends, _)| *ends == Ends { from, to })
    }

    /// As new: nothing is under way, counters are zero, randomness begins anew; conditions and limits stay.
    pub fn restart(&mut self) {
        self.under_way.clear();
        self.unroutable = 0;
        for (_, link) in &mut self.links {
            link.restart();
        }
        for access in &mut self.access {
            access.up.bottleneck = Bottleneck::default();
            access.down.bottleneck = Bottleneck::default();
        }
    }

    /// Tells `recorder` of every packet from now on; gives back the one before.
    pub fn record(&mut self, recorder: Option<Recorder>) -> Option<Recorder> {
        std::mem::replace(&mut self.recorder, recorder)
    }

    /// The recorder, if there is one.
    pub fn recorder(&mut self) -> Option<&mut Recorder> {
        self.recorder.as_mut()
    }

    /// The kernel behind a port did not take a packet that came over this link.
    pub fn refused(&mut self, link: usize) {
        self.links[link].1.counters.refused += 1;
    }

    fn route(&self, port: usize, packet: &[u8]) -> Option<usize> {
        match &self.routes {
            Routes::Fixed(links) => links.get(port).copied(),
            Routes::Addresses(ports) => {
                let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
                let to = ports.get(&Ipv4Addr::from(destination))?;
                Some(port * self.access.len() + to)
            }
        }
    }

    /// A packet comes from a port. Times may not go back.
    pub fn enter(&mut self, now: Nanos, port: usize, mut packet: Vec<u8>) {
        let Some(index) = self.route(port, &packet) else {
            self.unroutable += 1;
            return;
        };
        let (ends, link) = &mut self.links[index];
        let ends = *ends;
        if let Some(recorder) = &mut self.recorder {
            recorder.entered(now, ends, &packet);
        }
        let fate = match self.access[port].up.pass(now, packet.len()) {
            Some(sent) => link.enter(sent, &mut packet),
            None => {
                link.counters.entered += 1;
                link.counters.entered_octets += packet.len() as u64;
                link.counters.access += 1;
                Fate::Dropped(Cause::Access)
            }
        };
        let (at, marks) = match fate {
            Fate::Arrives(at, marks) => (at, marks),
            Fate::Dropped(cause) => {
                let outcome = Outcome::Dropped(cause);
                self.tell(now, now, ends, outcome, Marks::default(), &packet);
                return;
            }
        };
        let is_through = self.access[ends.to].down.limit.is_none();
        let copies = 1 + usize::from(marks.duplicated);
        for packet in std::iter::repeat_n(packet, copies) {
            self.order += 1;
            self.under_way.push(Reverse(UnderWay {
                at,
                order: self.order,
                entered: now,
                link: index,
                is_through,
                marks,
                packet,
            }));
        }
    }

    fn tell(
        &mut self,
        now: Nanos,
        entered: Nanos,
        ends: Ends,
        outcome: Outcome,
        marks: Marks,
        packet: &[u8],
    ) {
        if let Some(recorder) = &mut self.recorder {
            recorder.ended(Event {
                entered,
                ended: now,
                ends,
                outcome,
                marks,
                packet,
            });
        }
    }

    /// When something is to be done next: a packet arrives, or comes to an access.
    pub fn next(&self) -> Option<Nanos> {
        self.under_way.peek().map(|Reverse(first)| first.at)
    }

    /// The next packet that has arrived by `now`.
    pub fn leave(&mut self, now: Nanos) -> Option<Arrival> {
        while self.next()? <= now {
            let Reverse(mut first) = self.under_way.pop()?;
            let (ends, link) = &mut self.links[first.link];
            let ends = *ends;
            if !first.is_through {
                match self.access[ends.to].down.pass(first.at, first.packet.len()) {
                    Some(sent) => {
                        first.at = sent;
                        first.is_through = true;
                        self.under_way.push(Reverse(first));
                    }
                    None => {
                        link.counters.access += 1;
                        let outcome = Outcome::Dropped(Cause::Access);
                        self.tell(
                            first.at,
                            first.entered,
                            ends,
                            outcome,
                            first.marks,
                            &first.packet,
                        );
                    }
                }
                continue;
            }
            link.counters.delivered += 1;
            link.counters.delivered_octets += first.packet.len() as u64;
            self.tell(
                first.at,
                first.entered,
                ends,
                Outcome::Delivered,
                first.marks,
                &first.packet,
            );
            return Some(Arrival {
                at: first.at,
                link: first.link,
                port: ends.to,
                packet: first.packet,
            });
        }
        None
    }
}

#[cfg(test)]
mod tests;
