//! A network in virtual time: endpoints of utcp (or TCP from end to end), relays that forward cells, clients.
//!
//! Every node is an [`Endpoint`] of the library as it is, DTLS included. A *tube* is one end of one of its circuits, a
//! TCP connection to a neighbour: all circuits of Tor that go there share it, or each has its own, and that is the
//! only difference between "multiplexed" and "utcp". A *flow* is one circuit of Tor in one direction at one node: the
//! cells that wait there for the tube that they leave by.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;

use utcp::config::Config;
use utcp::endpoint::{CircuitId, ConnectionId, Endpoint, Event as Told};
use utcp::time::{SECOND, Time};

use super::cell::{Cell, Kind, SIZE};
use super::client::{Action, Client};
use super::fabric::Fabric;
use super::layout::Layout;
use super::tap::Tap;
use super::transport::{Sharing, Transport};
use crate::end::{DATAGRAM, End};
use crate::endpoint::{Mode, identity};
use crate::rng::{Rng, mix};
use crate::tcb::TcbEnd;

/// When connections begin to be established.
pub const SETUP: Time = Time(1_000 * SECOND);
/// When they all are, links become real and clients begin.
pub const START: Time = Time(1_010 * SECOND);

/// Cells of a circuit that may be under way from end to end (Tor's stream window, without its congestion control).
pub const WINDOW: u32 = 500;
/// Every so many cells, the client says that it has taken them.
pub const SENDME: u32 = 50;

/// Cells of a flow beyond which a tube of one circuit is not read, and below which it is again.
const HIGH: usize = 64;
const LOW: usize = 32;

/// Half-life of what counts as having been sent lately, in seconds (Tor's CircuitPriorityHalflifeMsec).
const HALF_LIFE: f64 = 30.0;

/// Octets that a TCP connection holds for sending and receiving.
const BUFFER: usize = 4 << 20;

/// Rounds at one moment without end.
const SPIN: u32 = 1_000_000;

const UP: usize = 0;
const DOWN: usize = 1;

fn address(node: usize) -> SocketAddr {
    let [_, a, b, c] = (node as u32 + 1).to_be_bytes();
    SocketAddr::from(([10, a, b, c], 9_001))
}

fn locate(address: SocketAddr) -> usize {
    let SocketAddr::V4(v4) = address else {
        panic!("{address} is no node's");
    };
    let [_, a, b, c] = v4.ip().octets();
    u32::from_be_bytes([0, a, b, c]) as usize - 1
}

struct Node {
    endpoint: Option<Endpoint>,
    /// The earliest moment at which it is woken.
    wake: Time,
    connections: HashMap<ConnectionId, usize>,
    tubes: HashMap<CircuitId, usize>,
}

struct Tube {
    node: usize,
    peer: usize,
    /// The library's number of the circuit.
    tag: u32,
    /// Whether this side opens it.
    dials: bool,
    id: Option<CircuitId>,
    /// What of a cell was not taken yet.
    rest: Vec<u8>,
    /// What of a cell has arrived.
    partial: Vec<u8>,
    /// Flows with cells for it.
    waiting: Vec<usize>,
    /// Whether it is not read, because a flow is full.
    held: bool,
    pumping: bool,
}

#[derive(Default)]
struct Flow {
    queue: VecDeque<Cell>,
    /// Cells sent, each counted for more the later it was.
    sent: f64,
    tube: usize,
    /// Tube that is not read until this has room again.
    holds: Option<usize>,
}

/// Both TCP ends of a circuit whose relays only forward.
struct Ends {
    ends: [Box<dyn End>; 2],
    wake: [Time; 2],
    rest: [Vec<u8>; 2],
    partial: [Vec<u8>; 2],
}

/// A circuit's way through a relay that only forwards: where it is on its path, and where it goes.
#[derive(Clone, Copy)]
struct Route {
    circuit: usize,
    direction: usize,
    position: usize,
}

struct Packet {
    from: usize,
    to: usize,
    data: Vec<u8>,
    route: Option<Route>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A packet is at the other's link.
    Reach(usize),
    /// A packet has arrived.
    Deliver(usize),
    Wake(usize),
    WakeEnd(usize, usize),
    Dial(usize, usize),
    /// A client does something.
    Client(usize),
    /// A server has answered with so many cells.
    Answer(usize, u32),
}

/// What the exit has of a circuit.
#[derive(Clone, Copy, Default)]
struct Supply {
    /// Cells that the server has and the circuit has not.
    pending: u64,
    /// Cells that may still be sent.
    window: u32,
    number: u32,
    expected: u32,
}

/// See the module.
pub struct Net {
    now: Time,
    layout: Layout,
    transport: Transport,
    /// Links.
    pub fabric: Fabric,
    nodes: Vec<Node>,
    tubes: Vec<Tube>,
    tube_at: HashMap<(usize, usize, u32), usize>,
    flows: Vec<Flow>,
    ends: Vec<Ends>,
    /// Clients, one for each circuit.
    pub clients: Vec<Client>,
    supplies: Vec<Supply>,
    /// What the entry of each circuit sees of it.
    pub taps: Vec<Tap>,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    order: u64,
    packets: Vec<Option<Packet>>,
    free: Vec<usize>,
    resume: Vec<usize>,
    buffer: Vec<u8>,
    outbox: Vec<Vec<u8>>,
    rng: Rng,
    /// Events that happened.
    pub steps: u64,
}

impl Net {
    /// Establishes everything that the layout needs, and makes links real.
    ///
    /// # Panics
    /// If it is not established in time.
    pub fn new(layout: &Layout, transport: Transport) -> Net {
        let count = layout.circuits.len();
        let mut net = Net {
            now: SETUP,
            fabric: Fabric::new(layout),
            nodes: Vec::new(),
            tubes: Vec::new(),
            tube_at: HashMap::new(),
            flows: Vec::new(),
            ends: Vec::new(),
            clients: layout
                .circuits
                .iter()
                .enumerate()
                .map(|(n, circuit)| Client::new(circuit, layout.seed, n))
                .collect(),
            supplies: vec![
                Supply {
                    window: WINDOW,
                    ..Supply::default()
                };
                count
            ],
            taps: vec![Tap::default(); count],
            events: BinaryHeap::new(),
            order: 0,
            packets: Vec::new(),
            free: Vec::new(),
            resume: Vec::new(),
            buffer: vec![0; 16 * 1_024],
            outbox: Vec::new(),
            rng: Rng::new(mix(layout.seed), 4),
            steps: 0,
            layout: layout.clone(),
            transport,
        };
        match transport.sharing {
            Sharing::EndToEnd => net.set_up_ends(),
            Sharing::All | Sharing::None(_) => net.set_up_endpoints(),
        }
        net.run_until(START);
        for tube in &net.tubes {
            assert!(tube.id.is_some(), "not established in time");
        }
        for ends in &net.ends {
            assert!(ends.ends[0].ready(), "not established in time");
        }
        net.fabric.real = true;
        net.taps.fill(Tap::default());
        for circuit in 0..count {
            net.at(
                START + layout.circuits[circuit].begins,
                Event::Client(circuit),
            );
        }
        net
    }

    fn set_up_ends(&mut self) {
        for circuit in 0..self.layout.circuits.len() {
            let seed = mix(self.layout.seed ^ (circuit as u64) << 32);
            self.ends.push(Ends {
                ends: TcbEnd::pair(self.transport.algorithm, BUFFER, seed),
                wake: [Time::NEVER; 2],
                rest: Default::default(),
                partial: Default::default(),
            });
            let at = SETUP + self.rng.below(3 * SECOND);
            self.at(at, Event::WakeEnd(circuit, 0));
            self.ends[circuit].wake[0] = at;
        }
    }

    fn set_up_endpoints(&mut self) {
        let (chain, key) = identity();
        for node in 0..self.layout.nodes.len() {
            let mut config = Config {
                chain: chain.clone(),
                key: key.clone(),
                send_buffer: BUFFER,
                receive_buffer: BUFFER,
                congestion: self.transport.algorithm,
                coupled: self.transport.sharing == Sharing::None(Mode::Coupled),
                datagram_size: DATAGRAM,
                path_mtu_discovery: false,
                dead_timeout: 3_600 * SECOND,
                memory_budget: 8 << 30,
                ..Config::default()
            };
            Rng::new(mix(self.layout.seed), 1_000 + node as u64).fill(&mut config.seed);
            self.nodes.push(Node {
                endpoint: Some(Endpoint::new(config).expect("the configuration is acceptable")),
                wake: Time::NEVER,
                connections: HashMap::new(),
                tubes: HashMap::new(),
            });
        }
        let mut dialled: Vec<(usize, usize)> = Vec::new();
        for number in 0..self.layout.circuits.len() {
            let path = self.layout.circuits[number].path;
            let tag = match self.transport.sharing {
                Sharing::All => 1,
                _ => number as u32 + 1,
            };
            self.flows.resize_with((number + 1) * 8, Flow::default);
            for hop in 0..3 {
                let (a, b) = (path[hop], path[hop + 1]);
                let up = self.tube(a, b, tag, true);
                let down = self.tube(b, a, tag, false);
                self.flows[number * 8 + hop * 2 + UP].tube = up;
                self.flows[number * 8 + (hop + 1) * 2 + DOWN].tube = down;
                let pair = (a.min(b), a.max(b));
                if !dialled.contains(&pair) {
                    dialled.push(pair);
                    let at = SETUP + self.rng.below(3 * SECOND);
                    self.at(at, Event::Dial(a, b));
                }
            }
        }
    }

    /// The tube from a node to its peer, made if it is not there: with one for all circuits, the first of them says who
    /// opens it.
    fn tube(&mut self, node: usize, peer: usize, tag: u32, dials: bool) -> usize {
        if let Some(&tube) = self.tube_at.get(&(node, peer, tag)) {
            return tube;
        }
        self.tubes.push(Tube {
            node,
            peer,
            tag,
            dials,
            id: None,
            rest: Vec::new(),
            partial: Vec::new(),
            waiting: Vec::new(),
            held: false,
            pumping: false,
        });
        self.tube_at.insert((node, peer, tag), self.tubes.len() - 1);
        self.tubes.len() - 1
    }

    fn at(&mut self, at: Time, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    /// Runs until this moment.
    pub fn run_until(&mut self, until: Time) {
        while let Some(&Reverse((at, _, event))) = self.events.peek() {
            if at > until {
                break;
            }
            self.events.pop();
            self.now = self.now.max(at);
            self.steps += 1;
            self.happen(event);
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Reach(index) => {
                let packet = self.packets[index].as_ref().expect("it is under way");
                match self.fabric.reach(self.now, packet.to, packet.data.len()) {
                    Some(at) => self.at(at, Event::Deliver(index)),
                    None => self.forget(index),
                }
            }
            Event::Deliver(index) => {
                let packet = self.packets[index].take().expect("it is under way");
                self.free.push(index);
                self.deliver(packet);
            }
            Event::Wake(node) => {
                if self.nodes[node].wake <= self.now {
                    self.nodes[node].wake = Time::NEVER;
                    self.serve(node);
                }
            }
            Event::WakeEnd(circuit, side) => {
                if self.ends[circuit].wake[side] <= self.now {
                    self.ends[circuit].wake[side] = Time::NEVER;
                    self.serve_end(circuit, side);
                }
            }
            Event::Dial(node, peer) => {
                let endpoint = self.nodes[node].endpoint.as_mut().expect("it has one");
                let connection = endpoint.connect(self.now, address(peer), None);
                let connection = connection.expect("connect is possible");
                self.nodes[node].connections.insert(connection, peer);
                self.serve(node);
            }
            Event::Client(circuit) => {
                let action = self.clients[circuit].wake(self.now);
                self.act(circuit, action);
                self.serve_circuit(circuit, 0);
            }
            Event::Answer(circuit, cells) => {
                self.supplies[circuit].pending += u64::from(cells);
                self.supply(circuit);
                self.serve_circuit(circuit, 3);
            }
        }
    }

    fn forget(&mut self, index: usize) {
        self.packets[index] = None;
        self.free.push(index);
    }

    // ---- packets ----

    fn send(&mut self, packet: Packet) {
        let left = self
            .fabric
            .leave(self.now, packet.from, packet.to, packet.data.len());
        let Some(at) = left else { return };
        let index = match self.free.pop() {
            Some(index) => {
                self.packets[index] = Some(packet);
                index
            }
            None => {
                self.packets.push(Some(packet));
                self.packets.len() - 1
            }
        };
        self.at(at, Event::Reach(index));
    }

    fn deliver(&mut self, packet: Packet) {
        if let Some(route) = packet.route {
            let last = if route.direction == UP { 3 } else { 0 };
            if route.position == 1 {
                self.taps[route.circuit].see(route.direction == UP, self.now);
            }
            if route.position == last {
                let side = usize::from(last == 3);
                let from = address(packet.from);
                self.ends[route.circuit].ends[side].inject(self.now, &packet.data, from);
                self.serve_end(route.circuit, side);
            } else {
                self.forward(route, packet.data);
            }
            return;
        }
        let node = packet.to;
        let endpoint = self.nodes[node].endpoint.as_mut().expect("it has one");
        endpoint.inject(self.now, address(packet.from), &packet.data, 0);
        if self.transport.sharing == Sharing::All
            && let Some(&tube) = self.tube_at.get(&(node, packet.from, 1))
        {
            // The congestion window may have room again.
            self.pump(tube);
        }
        self.serve(node);
    }

    /// Sends a datagram on its way to the next node of its circuit.
    fn forward(&mut self, route: Route, data: Vec<u8>) {
        let path = self.layout.circuits[route.circuit].path;
        let position = if route.direction == UP {
            route.position + 1
        } else {
            route.position - 1
        };
        self.send(Packet {
            from: path[route.position],
            to: path[position],
            data,
            route: Some(Route { position, ..route }),
        });
    }

    // ---- nodes with endpoints ----

    /// Lets the node at a position of a circuit do what it can, whatever carries the circuit.
    fn serve_circuit(&mut self, circuit: usize, position: usize) {
        if self.transport.sharing == Sharing::EndToEnd {
            self.serve_end(circuit, usize::from(position == 3));
        } else {
            self.serve(self.layout.circuits[circuit].path[position]);
        }
    }

    /// Lets a node do all that it can at this moment.
    fn serve(&mut self, node: usize) {
        for _ in 0..SPIN {
            let endpoint = self.nodes[node].endpoint.as_mut().expect("it has one");
            if endpoint.next_deadline() <= self.now {
                endpoint.process(self.now);
            }
            while let Some(told) = self.endpoint(node).poll_event() {
                self.told(node, told);
            }
            while let Some(tube) = self.resume.pop() {
                self.tubes[tube].held = false;
                self.read(tube);
            }
            let endpoint = self.endpoint(node);
            let count = endpoint.output().len();
            let datagrams: Vec<(usize, Vec<u8>)> = endpoint
                .output()
                .iter()
                .map(|d| (locate(d.peer), d.data.clone()))
                .collect();
            endpoint.sent(count);
            let deadline = endpoint.next_deadline();
            for (to, data) in datagrams {
                self.send(Packet {
                    from: node,
                    to,
                    data,
                    route: None,
                });
            }
            if count == 0 && deadline > self.now {
                if deadline < self.nodes[node].wake {
                    self.nodes[node].wake = deadline;
                    self.at(deadline, Event::Wake(node));
                }
                return;
            }
        }
        panic!("node {node} spins");
    }

    fn endpoint(&mut self, node: usize) -> &mut Endpoint {
        self.nodes[node].endpoint.as_mut().expect("it has one")
    }

    fn told(&mut self, node: usize, told: Told) {
        let now = self.now;
        match told {
            Told::ConnectionIncoming(id, from) => {
                self.nodes[node].connections.insert(id, locate(from));
                self.endpoint(node).accept(now, id, true);
            }
            Told::ConnectionVerify(id) => self.endpoint(node).verified(now, id, true),
            Told::ConnectionReady(id) => {
                let peer = self.nodes[node].connections[&id];
                for tube in 0..self.tubes.len() {
                    let wanted = &self.tubes[tube];
                    if wanted.dials && wanted.node == node && wanted.peer == peer {
                        let tag = wanted.tag;
                        let circuit = self.endpoint(node).open_circuit(id, tag);
                        self.connect(tube, circuit.expect("a circuit can be opened"));
                    }
                }
            }
            Told::CircuitIncoming(connection, id, number) => {
                let peer = self.nodes[node].connections[&connection];
                let tube = self.tube_at[&(node, peer, number)];
                self.connect(tube, id);
                self.endpoint(node).accept_circuit(id, true);
            }
            Told::Readable(id) => {
                // The control circuit carries nothing here.
                if let Some(&tube) = self.nodes[node].tubes.get(&id) {
                    self.read(tube);
                }
            }
            Told::Writable(id) => {
                if let Some(&tube) = self.nodes[node].tubes.get(&id) {
                    self.pump(tube);
                }
            }
            // The budget is the default, and much more than all tubes hold.
            Told::MemoryPressure(_) => {}
            Told::ConnectionClosed(..) | Told::CircuitClosed(..) => panic!("{told:?}"),
        }
    }

    fn connect(&mut self, tube: usize, id: CircuitId) {
        self.tubes[tube].id = Some(id);
        self.nodes[self.tubes[tube].node].tubes.insert(id, tube);
    }

    /// Reads all that a tube has, as long as there is room for it.
    fn read(&mut self, tube: usize) {
        let (node, peer) = (self.tubes[tube].node, self.tubes[tube].peer);
        let id = self.tubes[tube].id.expect("it is open");
        while !self.tubes[tube].held {
            let mut buffer = std::mem::take(&mut self.buffer);
            let got = self.endpoint(node).read(id, &mut buffer).unwrap_or(0);
            let mut partial = std::mem::take(&mut self.tubes[tube].partial);
            partial.extend_from_slice(&buffer[..got]);
            self.buffer = buffer;
            let cells = partial.len() / SIZE;
            for octets in partial.chunks_exact(SIZE) {
                self.arrive(node, peer, tube, Cell::decode(octets));
            }
            partial.drain(..cells * SIZE);
            self.tubes[tube].partial = partial;
            if got == 0 {
                return;
            }
        }
    }

    /// A cell has come to a node from a peer.
    fn arrive(&mut self, node: usize, peer: usize, tube: usize, cell: Cell) {
        let circuit = cell.circuit as usize;
        let path = self.layout.circuits[circuit].path;
        let position = path
            .iter()
            .position(|n| *n == node)
            .expect("it is on the path");
        let up = position > 0 && path[position - 1] == peer;
        if position == 1 {
            self.taps[circuit].see(up, self.now);
        }
        match (position, up) {
            (3, true) => self.at_exit(circuit, cell),
            (0, false) => self.at_client(circuit, cell),
            _ => {
                let direction = if up { UP } else { DOWN };
                let flow = circuit * 8 + position * 2 + direction;
                self.queue(flow, cell);
                if self.transport.sharing != Sharing::All && self.flows[flow].queue.len() > HIGH {
                    self.flows[flow].holds = Some(tube);
                    self.tubes[tube].held = true;
                }
            }
        }
    }

    fn queue(&mut self, flow: usize, cell: Cell) {
        let tube = self.flows[flow].tube;
        self.flows[flow].queue.push_back(cell);
        if self.flows[flow].queue.len() == 1 {
            self.tubes[tube].waiting.push(flow);
        }
        self.pump(tube);
    }

    /// Writes cells as long as the tube takes them.
    fn pump(&mut self, tube: usize) {
        let Some(id) = self.tubes[tube].id else {
            return;
        };
        if self.tubes[tube].pumping
            || self.tubes[tube].waiting.is_empty() && self.tubes[tube].rest.is_empty()
        {
            return;
        }
        self.tubes[tube].pumping = true;
        let node = self.tubes[tube].node;
        let mut rest = std::mem::take(&mut self.tubes[tube].rest);
        let mut room = usize::MAX;
        if self.transport.sharing == Sharing::All {
            let info = self.endpoint(node).circuit_info(id).unwrap_or_default();
            room = (2 * info.cwnd).saturating_sub(info.send_queue) as usize;
        }
        // A half-life more weighs twice as much.
        let weight = (self.now.since(START) as f64 / 1e6 / HALF_LIFE).exp2();
        loop {
            if !rest.is_empty() {
                let taken = self.endpoint(node).write(id, &rest).unwrap_or(0);
                rest.drain(..taken);
                if !rest.is_empty() {
                    break;
                }
            }
            if room < SIZE {
                break;
            }
            let waiting = self.tubes[tube].waiting.iter().enumerate();
            let next =
                waiting.min_by(|a, b| self.flows[*a.1].sent.total_cmp(&self.flows[*b.1].sent));
            let Some((place, &flow)) = next else { break };
            let state = &mut self.flows[flow];
            let cell = state.queue.pop_front().expect("it has a cell");
            state.sent += weight;
            if state.queue.is_empty() {
                self.tubes[tube].waiting.swap_remove(place);
            }
            if state.queue.len() < LOW
                && let Some(held) = state.holds.take()
            {
                self.resume.push(held);
            }
            room -= SIZE;
            rest.extend_from_slice(&cell.encode());
        }
        self.tubes[tube].rest = rest;
        self.tubes[tube].pumping = false;
    }

    // ---- circuits whose TCP goes from end to end ----

    fn serve_end(&mut self, circuit: usize, side: usize) {
        for _ in 0..SPIN {
            let end = &mut self.ends[circuit].ends[side];
            let mut outbox = std::mem::take(&mut self.outbox);
            end.poll(self.now, &mut outbox);
            let sent = !outbox.is_empty();
            let (direction, position) = if side == 0 { (UP, 0) } else { (DOWN, 3) };
            for data in outbox.drain(..) {
                let route = Route {
                    circuit,
                    direction,
                    position,
                };
                self.forward(route, data);
            }
            self.outbox = outbox;
            let read = self.read_end(circuit, side);
            let end = &mut self.ends[circuit].ends[side];
            let mut woken = Vec::new();
            end.writable(&mut woken);
            let deadline = end.deadline();
            if !woken.is_empty() {
                self.write_end(circuit, side, None);
                if side == 1 {
                    self.supply(circuit);
                }
            }
            if !sent && !read && woken.is_empty() && deadline > self.now {
                if deadline < self.ends[circuit].wake[side] {
                    self.ends[circuit].wake[side] = deadline;
                    self.at(deadline, Event::WakeEnd(circuit, side));
                }
                return;
            }
        }
        panic!("circuit {circuit} spins");
    }

    fn read_end(&mut self, circuit: usize, side: usize) -> bool {
        let ends = &mut self.ends[circuit];
        let mut partial = std::mem::take(&mut ends.partial[side]);
        let before = partial.len();
        ends.ends[side].read(self.now, &mut |_, data| partial.extend_from_slice(data));
        let read = partial.len() > before;
        let cells = partial.len() / SIZE;
        for octets in partial.chunks_exact(SIZE) {
            let cell = Cell::decode(octets);
            if side == 1 {
                self.at_exit(circuit, cell);
            } else {
                self.at_client(circuit, cell);
            }
        }
        partial.drain(..cells * SIZE);
        self.ends[circuit].partial[side] = partial;
        read
    }

    /// Writes what is left of earlier cells, and a cell; gives whether all of it was taken.
    fn write_end(&mut self, circuit: usize, side: usize, cell: Option<Cell>) -> bool {
        let ends = &mut self.ends[circuit];
        if let Some(cell) = cell {
            ends.rest[side].extend_from_slice(&cell.encode());
        }
        while !ends.rest[side].is_empty() {
            let taken = ends.ends[side].write(1, &ends.rest[side]);
            if taken == 0 {
                return false;
            }
            ends.rest[side].drain(..taken);
        }
        true
    }

    // ---- what runs over circuits ----

    /// A client wants something.
    fn act(&mut self, circuit: usize, action: Action) {
        if let Some(kind) = action.send {
            self.send_up(circuit, kind);
        }
        if let Some(at) = action.again {
            self.at(at, Event::Client(circuit));
        }
    }

    fn send_up(&mut self, circuit: usize, kind: Kind) {
        let number = self.clients[circuit].number();
        let cell = Cell {
            circuit: circuit as u32,
            number,
            kind,
        };
        if self.transport.sharing == Sharing::EndToEnd {
            self.write_end(circuit, 0, Some(cell));
        } else {
            self.queue(circuit * 8 + UP, cell);
        }
    }

    fn at_client(&mut self, circuit: usize, cell: Cell) {
        assert_eq!(cell.circuit as usize, circuit, "a cell of another circuit");
        let taken = self.clients[circuit].take(self.now, cell.number);
        if self.transport.has_circuit_window()
            && self.clients[circuit].received.is_multiple_of(SENDME)
        {
            self.send_up(circuit, Kind::Sendme);
        }
        self.act(circuit, taken);
    }

    fn at_exit(&mut self, circuit: usize, cell: Cell) {
        let supply = &mut self.supplies[circuit];
        assert_eq!(cell.number, supply.expected, "cells are in order");
        supply.expected += 1;
        match cell.kind {
            Kind::Request(cells) => {
                let at = self.now + self.layout.circuits[circuit].server;
                self.at(at, Event::Answer(circuit, cells));
            }
            Kind::Sendme => {
                supply.window += SENDME;
                self.supply(circuit);
            }
            Kind::Data => panic!("a cell went the wrong way"),
        }
    }

    /// The exit sends what it has, as far as it may.
    fn supply(&mut self, circuit: usize) {
        let windowed = self.transport.has_circuit_window();
        loop {
            let supply = &mut self.supplies[circuit];
            if supply.pending == 0 || windowed && supply.window == 0 {
                return;
            }
            if !windowed && !self.ends[circuit].rest[1].is_empty() {
                return;
            }
            supply.pending -= 1;
            supply.window -= u32::from(windowed);
            supply.number += 1;
            let cell = Cell {
                circuit: circuit as u32,
                number: supply.number - 1,
                kind: Kind::Data,
            };
            if windowed {
                self.queue(circuit * 8 + 3 * 2 + DOWN, cell);
            } else {
                self.write_end(circuit, 1, Some(cell));
            }
        }
    }

    /// Cells that the exit of a circuit has sent.
    pub fn sent_by_exit(&self, circuit: usize) -> u32 {
        self.supplies[circuit].number
    }
}
