//! Flows over a common bottleneck, and the applications that use them, in virtual time.
//!
//! All flows share one link in each direction. Connections are established over links without loss first; at
//! [`START`] the links of the experiment take their place and the applications begin, so that what is measured depends
//! neither on how a handshake fares nor on the sizes of its messages.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;

use utcp::time::{Micros, SECOND, Time};

use crate::end::{CHUNK, Content, End, Info};
use crate::link::{Counters, Link, Packet};
use crate::rng::mix;

/// When connections begin to be established.
pub const SETUP: Time = Time(1_000 * SECOND);
/// When the experiment begins.
pub const START: Time = Time(1_003 * SECOND);

/// A datagram with less payload carries no full segment.
const DATA: usize = 300;

/// Rounds at one moment without end.
const SPIN: u32 = 100_000;

/// Address of an end.
pub fn address(flow: usize, side: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1 + side as u8], 9_000 + flow as u16))
}

/// Which flow and side an address is of.
fn locate(address: SocketAddr) -> (usize, usize) {
    let SocketAddr::V4(v4) = address else {
        panic!("{address} is no end's");
    };
    let side = usize::from(v4.ip().octets()[3] - 1);
    (usize::from(address.port() - 9_000), side)
}

/// What an application sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// As much as is taken, up to so many octets.
    Bulk(u64),
    /// `count` messages of `size` octets, `every` microseconds.
    Cells {
        /// Octets of each.
        size: usize,
        /// Time between them.
        every: Micros,
        /// How many.
        count: u64,
    },
}

/// Everything that fits in.
pub const ENDLESS: u64 = u64::MAX;

/// One application: a stream from the client to the server of a flow.
pub struct App {
    flow: usize,
    stream: u32,
    load: Load,
    opened: bool,
    blocked: bool,
    /// Octets the application wants sent by now.
    offered: u64,
    /// When each cell was offered.
    cells: Vec<Time>,
    written: u64,
    /// Octets read at the other end, in order and compared.
    pub delivered: u64,
    /// When the application began.
    pub began: Time,
    /// When the last octet of a finite load arrived.
    pub finished: Option<Time>,
    /// Delay of each cell from being offered to being read, in order.
    pub delays: Vec<Micros>,
    last_delivery: Time,
    gap: Micros,
    /// Octets delivered in each [`BUCKET`] since [`START`].
    pub timeline: Vec<u64>,
}

/// Resolution of [`App::timeline`].
pub const BUCKET: Micros = SECOND / 10;

impl App {
    /// The longest time without a delivery, up to `now`.
    pub fn starved(&self, now: Time) -> Micros {
        self.gap.max(now.since(self.last_delivery))
    }

    /// Octets delivered between two moments after the start (rounded to [`BUCKET`]s).
    pub fn delivered_between(&self, from: Micros, to: Micros) -> u64 {
        let bucket = |at: Micros| ((at / BUCKET) as usize).min(self.timeline.len());
        self.timeline[bucket(from)..bucket(to)].iter().sum()
    }
}

struct Flow {
    ends: [Box<dyn End>; 2],
    deadlines: [Time; 2],
    /// The application of each stream, from number 1 on.
    apps: Vec<usize>,
}

struct Flying {
    at: Time,
    order: u64,
    packet: Packet,
}

impl PartialEq for Flying {
    fn eq(&self, other: &Flying) -> bool {
        self.order == other.order
    }
}
impl Eq for Flying {}
impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Flying) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Flying {
    fn cmp(&self, other: &Flying) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A link and what is on it.
struct Wire {
    link: Link,
    /// In order of arrival, as nearly everything is.
    line: VecDeque<Flying>,
    /// What arrives before the end of the line.
    others: BinaryHeap<Reverse<Flying>>,
    order: u64,
}

impl Wire {
    fn new(link: Link) -> Wire {
        Wire {
            link,
            line: VecDeque::new(),
            others: BinaryHeap::new(),
            order: 0,
        }
    }

    /// A packet enters and passes all stages at once: each stage lets go of packets in the order in which they came,
    /// but for the stages that reorder or duplicate, which therefore have to be the last of a link.
    fn enter(&mut self, now: Time, packet: Packet) {
        self.link.enter(&packet);
        self.pass(0, now, packet);
    }

    fn pass(&mut self, stage: usize, now: Time, packet: Packet) {
        if stage == self.link.stages() {
            self.order += 1;
            let flying = Flying {
                at: now,
                order: self.order,
                packet,
            };
            if self.line.back().is_none_or(|last| last.at <= now) {
                self.line.push_back(flying);
            } else {
                self.others.push(Reverse(flying));
            }
            return;
        }
        for (at, packet) in self.link.pass(stage, now, packet).0.into_iter().flatten() {
            self.pass(stage + 1, at, packet);
        }
    }

    fn next(&self) -> Time {
        let line = self.line.front().map_or(Time::NEVER, |f| f.at);
        let other = self.others.peek().map_or(Time::NEVER, |f| f.0.at);
        line.min(other)
    }

    fn take(&mut self) -> Option<Packet> {
        let first = match (self.line.front(), self.others.peek()) {
            (Some(line), Some(other)) => *line <= other.0,
            (Some(_), None) => true,
            _ => false,
        };
        if first {
            self.line.pop_front().map(|f| f.packet)
        } else {
            self.others.pop().map(|f| f.0.packet)
        }
    }
}

/// A packet that a client has sent, in the record of them.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// When.
    pub at: Time,
    /// Octets of UDP payload.
    pub size: usize,
}

/// See the module.
pub struct World {
    now: Time,
    flows: Vec<Flow>,
    wires: [Wire; 2],
    /// All applications, in the order in which they were added.
    pub apps: Vec<App>,
    timers: BTreeSet<(Time, usize)>,
    content: Content,
    outbox: Vec<Vec<u8>>,
    woken: Vec<u32>,
    /// Packets with data that clients have sent since the start.
    pub sent: Option<Vec<Sent>>,
    data_packets: u64,
    /// Numbers (from 0) of packets with data since the start that get lost.
    pub victims: BTreeSet<u64>,
}

impl World {
    /// Establishes the flows over a link of this round-trip time, then puts the links of the experiment in place.
    ///
    /// # Panics
    /// If they are not established in time.
    pub fn new(
        seed: u64,
        rtt: Micros,
        flows: Vec<[Box<dyn End>; 2]>,
        links: impl FnOnce() -> [Link; 2],
    ) -> World {
        let clean = || Wire::new(Link::new().delay(rtt / 2));
        let flows = flows.into_iter().map(|ends| Flow {
            ends,
            deadlines: [SETUP; 2],
            apps: Vec::new(),
        });
        let mut world = World {
            now: SETUP,
            flows: flows.collect(),
            wires: [clean(), clean()],
            apps: Vec::new(),
            timers: BTreeSet::new(),
            content: Content::default(),
            outbox: Vec::new(),
            woken: Vec::new(),
            sent: None,
            data_packets: 0,
            victims: BTreeSet::new(),
        };
        world.run_until(START);
        for flow in &world.flows {
            assert!(flow.ends[0].ready(), "not established in time");
        }
        let [there, back] = links();
        world.wires = [
            Wire::new(there.seeded(mix(seed + 1_000))),
            Wire::new(back.seeded(mix(seed + 2_000))),
        ];
        world.data_packets = 0;
        world
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Adds an application that begins `after` the start, on a stream of its own; returns its index.
    pub fn add(&mut self, flow: usize, after: Micros, load: Load) -> usize {
        let index = self.apps.len();
        let began = START + after;
        self.flows[flow].apps.push(index);
        self.apps.push(App {
            flow,
            stream: self.flows[flow].apps.len() as u32,
            load,
            opened: false,
            blocked: false,
            offered: 0,
            cells: Vec::new(),
            written: 0,
            delivered: 0,
            began,
            finished: None,
            delays: Vec::new(),
            last_delivery: began,
            gap: 0,
            timeline: Vec::new(),
        });
        self.timers.insert((began, index));
        index
    }

    /// Has an application of bulk data send so many octets more from now on.
    pub fn offer(&mut self, app: usize, octets: u64) {
        let Load::Bulk(total) = &mut self.apps[app].load else {
            panic!("not bulk");
        };
        *total += octets;
        self.apps[app].finished = None;
        self.timers.insert((self.now, app));
    }

    /// What the sender of an application's stream says of itself.
    pub fn info(&self, app: usize) -> Info {
        let app = &self.apps[app];
        self.flows[app.flow].ends[0].info(app.stream)
    }

    /// The same of the receiver.
    pub fn receiver_info(&self, app: usize) -> Info {
        let app = &self.apps[app];
        self.flows[app.flow].ends[1].info(app.stream)
    }

    /// Why a flow has broken, if it has.
    pub fn broken(&self, flow: usize) -> Option<&str> {
        let [one, other] = &self.flows[flow].ends;
        one.broken().or(other.broken())
    }

    /// Counters of the links there and back.
    pub fn counters(&self) -> [Counters; 2] {
        [0, 1].map(|i| self.wires[i].link.counters())
    }

    /// Runs until all finite loads have arrived, or `limit`.
    pub fn run_to_end(&mut self, limit: Time) {
        self.run(limit, |world| {
            world.apps.iter().all(|app| app.finished.is_some())
        });
    }

    /// Runs until this moment.
    pub fn run_until(&mut self, until: Time) {
        self.run(until, |_| false);
    }

    fn run(&mut self, until: Time, done: impl Fn(&World) -> bool) {
        loop {
            let arrival = self.wires[0].next().min(self.wires[1].next());
            let timer = self.timers.first().map_or(Time::NEVER, |t| t.0);
            let due = self.flows.iter().flat_map(|f| f.deadlines).min();
            let next = arrival.min(timer).min(due.unwrap_or(Time::NEVER));
            if next > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(next);
            let finite = self.step();
            if finite && done(self) {
                return;
            }
        }
    }

    /// Does what is due now; returns whether a load may have been finished by it.
    fn step(&mut self) -> bool {
        while let Some(&(at, app)) = self.timers.first()
            && at <= self.now
        {
            self.timers.pop_first();
            self.timer(app);
            let flow = self.apps[app].flow;
            self.serve(flow, 0);
        }
        let mut arrived = false;
        for side in [1, 0] {
            while self.wires[1 - side].next() <= self.now {
                let Some(packet) = self.wires[1 - side].take() else {
                    break;
                };
                let (flow, to) = locate(packet.to);
                self.flows[flow].ends[to].inject(self.now, &packet.data, packet.from);
                self.serve(flow, to);
                arrived |= to == 1;
            }
        }
        for flow in 0..self.flows.len() {
            for side in [0, 1] {
                if self.flows[flow].deadlines[side] <= self.now {
                    self.serve(flow, side);
                }
            }
        }
        arrived
    }

    /// The moment has come for an application to offer something.
    fn timer(&mut self, index: usize) {
        let now = self.now;
        let app = &mut self.apps[index];
        if !app.opened {
            app.opened = true;
            self.flows[app.flow].ends[0].open(now, app.stream);
        }
        match app.load {
            Load::Bulk(total) => app.offered = total,
            Load::Cells { size, every, count } => {
                app.offered += size as u64;
                app.cells.push(now);
                if (app.cells.len() as u64) < count {
                    self.timers.insert((now + every, index));
                }
            }
        }
        self.write(index);
    }

    /// Writes what is offered and taken.
    fn write(&mut self, index: usize) {
        let app = &mut self.apps[index];
        let end = &mut self.flows[app.flow].ends[0];
        while !app.blocked && app.written < app.offered {
            let len = (app.offered - app.written).min(CHUNK as u64) as usize;
            let data = self.content.at(app.written, len);
            let taken = end.write(app.stream, data);
            app.written += taken as u64;
            app.blocked = taken < len;
        }
    }

    /// Lets an end and its applications do all that they can at this moment.
    fn serve(&mut self, flow: usize, side: usize) {
        for _ in 0..SPIN {
            let end = &mut self.flows[flow].ends[side];
            end.poll(self.now, &mut self.outbox);
            let sent = !self.outbox.is_empty();
            self.send(flow, side);
            let read = self.receive(flow, side);
            let mut woken = std::mem::take(&mut self.woken);
            let end = &mut self.flows[flow].ends[side];
            end.writable(&mut woken);
            let written = !woken.is_empty();
            let deadline = end.deadline();
            for stream in woken.drain(..) {
                let app = self.flows[flow].apps[stream as usize - 1];
                self.apps[app].blocked = false;
                self.write(app);
            }
            self.woken = woken;
            if !sent && !read && !written && deadline > self.now {
                self.flows[flow].deadlines[side] = deadline;
                return;
            }
        }
        panic!("side {side} of flow {flow} spins");
    }

    fn send(&mut self, flow: usize, side: usize) {
        let (from, to) = (address(flow, side), address(flow, 1 - side));
        for data in self.outbox.drain(..) {
            if side == 0 && data.len() >= DATA {
                let number = self.data_packets;
                self.data_packets += 1;
                if let Some(sent) = &mut self.sent {
                    sent.push(Sent {
                        at: self.now,
                        size: data.len(),
                    });
                }
                if self.victims.remove(&number) {
                    continue;
                }
            }
            let packet = Packet {
                from,
                to,
                data,
                ecn: 0,
            };
            self.wires[side].enter(self.now, packet);
        }
    }

    /// Reads what has arrived, and takes note; returns whether there was anything.
    fn receive(&mut self, flow: usize, side: usize) -> bool {
        let now = self.now;
        let mut read = false;
        let Flow {
            ends, apps: own, ..
        } = &mut self.flows[flow];
        let (apps, content) = (&mut self.apps, &self.content);
        ends[side].read(now, &mut |stream, mut data| {
            read = true;
            let app = &mut apps[own[stream as usize - 1]];
            let bucket = (now.since(START) / BUCKET) as usize;
            if app.timeline.len() <= bucket {
                app.timeline.resize(bucket + 1, 0);
            }
            app.timeline[bucket] += data.len() as u64;
            while !data.is_empty() {
                let (part, rest) = data.split_at(data.len().min(CHUNK));
                let expected = content.at(app.delivered, part.len());
                assert!(part == expected, "octets from {} differ", app.delivered);
                app.delivered += part.len() as u64;
                data = rest;
            }
            app.gap = app.gap.max(now.since(app.last_delivery));
            app.last_delivery = now;
            let total = match app.load {
                Load::Bulk(total) => total,
                Load::Cells { size, count, .. } => {
                    while (app.delays.len() as u64 + 1) * size as u64 <= app.delivered {
                        app.delays.push(now.since(app.cells[app.delays.len()]));
                    }
                    count * size as u64
                }
            };
            if app.delivered == total {
                app.finished = Some(now);
            }
        });
        read
    }
}
