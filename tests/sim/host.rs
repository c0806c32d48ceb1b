//! A relay of the simulation: an endpoint, and the event loop and scripts on top of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;

use utcp::config::Config;
use utcp::endpoint::{CircuitId, ConnectionId, ConnectionState, Endpoint, Event};
use utcp::error::CloseReason;
use utcp::pool::Pressure;
use utcp::time::{Micros, SECOND, Time};

use super::flow::Flow;
use super::link::Packet;
use super::plan::Plan;
use super::rng::Rng;

/// How long an accepted circuit may stay without saying what it is for.
const HEADER_TIMEOUT: Micros = 30 * SECOND;

/// Rounds of the event loop at one moment, without anything to show for them, that count as spinning.
const SPIN: u32 = 1_000;

/// The same with events or datagrams in each of them.
const BUSY_SPIN: u32 = 20_000;

/// Events in one go that count as endless.
const EVENTS: u32 = 200_000;

/// What all hosts see and change.
#[derive(Default)]
pub struct Shared {
    pub now: Time,
    pub plans: Vec<Plan>,
    /// Ends of plans that have not ended yet.
    pub unfinished: usize,
    /// When something was last achieved.
    pub progress: Time,
    /// Octets delivered to scripts and compared.
    pub octets: u64,
    pub fault: Option<String>,
    pub outbox: Vec<Packet>,
    pub trace: Option<Vec<(u64, usize, String)>>,
}

impl Shared {
    /// Notes what went wrong; the first counts.
    pub fn fault(&mut self, text: String) {
        if self.fault.is_none() {
            self.fault = Some(text);
        }
    }

    /// An end is not waited for any longer.
    pub fn settle(&mut self, plan: usize, side: usize) {
        let pending = &mut self.plans[plan].pending[side];
        if *pending {
            *pending = false;
            self.unfinished -= 1;
        }
    }

    pub fn note(&mut self, host: usize, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push((self.now.0, host, text()));
        }
    }
}

/// What the relay answers when it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub accept: bool,
    pub verify: bool,
    pub accept_circuits: bool,
}

/// A connection as the relay knows it.
#[derive(Clone, Copy, Debug)]
pub struct Conn {
    pub peer: SocketAddr,
    pub ready: Option<Time>,
    pub closed: Option<(Time, CloseReason)>,
}

pub struct Host {
    pub index: usize,
    pub address: SocketAddr,
    pub endpoint: Endpoint,
    pub policy: Policy,
    pub connections: BTreeMap<ConnectionId, Conn>,
    pub flows: BTreeMap<CircuitId, Flow>,
    pub held: BTreeSet<ConnectionId>,
    /// What it was told of its memory.
    pub pressure: Vec<Pressure>,
    /// Opens that wait for a connection to their peer.
    waiting: Vec<usize>,
    opens: BinaryHeap<Reverse<(Time, usize)>>,
    timers: BTreeSet<(Time, CircuitId)>,
    /// The library's deadlines are seen to at multiples of this only, unless something else happens: timers of event
    /// loops are coarse.
    pub timer_tick: Micros,
    pub rng: Rng,
}

impl Host {
    pub fn new(index: usize, address: SocketAddr, config: Config, rng: Rng) -> Host {
        Host {
            index,
            address,
            endpoint: Endpoint::new(config).expect("the configuration is acceptable"),
            policy: Policy {
                accept: true,
                verify: true,
                accept_circuits: true,
            },
            connections: BTreeMap::new(),
            flows: BTreeMap::new(),
            held: BTreeSet::new(),
            pressure: Vec::new(),
            waiting: Vec::new(),
            opens: BinaryHeap::new(),
            timers: BTreeSet::new(),
            timer_tick: 1,
            rng,
        }
    }

    /// The newest connection to `peer` that is ready.
    pub fn ready(&self, peer: SocketAddr) -> Option<ConnectionId> {
        self.connections
            .iter()
            .rev()
            .find(|(_, c)| c.peer == peer && c.ready.is_some() && c.closed.is_none())
            .map(|(id, _)| *id)
    }

    pub fn connect(&mut self, now: Time, peer: SocketAddr, pin: Option<[u8; 32]>) -> ConnectionId {
        let id = self
            .endpoint
            .connect(now, peer, pin)
            .expect("connect is possible");
        let conn = Conn {
            peer,
            ready: None,
            closed: None,
        };
        self.connections.insert(id, conn);
        id
    }

    pub fn open_at(&mut self, at: Time, plan: usize) {
        self.opens.push(Reverse((at, plan)));
    }

    /// Takes over the opens that have not happened yet from the relay that ran here before.
    pub fn inherit(&mut self, before: Host) {
        self.opens = before.opens;
        self.waiting = before.waiting;
        self.policy = before.policy;
    }

    /// When the script has something to do next.
    pub fn next_timer(&self) -> Time {
        let open = self.opens.peek().map_or(Time::NEVER, |r| r.0.0);
        let timer = self.timers.first().map_or(Time::NEVER, |t| t.0);
        open.min(timer)
    }

    /// When this host has to be served next.
    pub fn next_deadline(&self) -> Time {
        let due = self.endpoint.next_deadline();
        let seen = match due {
            Time::NEVER => due,
            Time(at) => Time(at.next_multiple_of(self.timer_tick)),
        };
        seen.min(self.next_timer())
    }

    pub fn wake_at(&mut self, at: Time, circuit: CircuitId) {
        self.timers.insert((at, circuit));
    }

    /// The event loop, until there is nothing left to do at this moment.
    pub fn serve(&mut self, shared: &mut Shared) {
        let mut idle = 0;
        let mut events = 0;
        for _ in 0..BUSY_SPIN {
            let mut worked = self.fire_timers(shared);
            if self.endpoint.next_deadline() <= shared.now {
                self.endpoint.process(shared.now);
            }
            while let Some(event) = self.endpoint.poll_event() {
                worked = true;
                shared.note(self.index, || format!("{event:?}"));
                self.event(shared, event);
                events += 1;
                if events == EVENTS {
                    shared.fault(format!("host {}: no end of events: {event:?}", self.index));
                    return;
                }
            }
            worked |= self.send(shared);
            if shared.fault.is_some() || (!worked && self.next_deadline() > shared.now) {
                return;
            }
            idle = if worked { 0 } else { idle + 1 };
            if idle > SPIN {
                shared.fault(format!(
                    "host {} spins: next_deadline() stays {:?} though process() was called",
                    self.index,
                    self.endpoint.next_deadline()
                ));
                return;
            }
        }
        shared.fault(format!(
            "host {} spins: events without end at one moment",
            self.index
        ));
    }

    fn send(&mut self, shared: &mut Shared) -> bool {
        let count = self.endpoint.output().len();
        for index in 0..count {
            let datagram = &self.endpoint.output()[index];
            shared.outbox.push(Packet {
                from: self.address,
                to: datagram.peer,
                data: datagram.data.clone(),
                ecn: datagram.ecn,
            });
        }
        self.endpoint.sent(count);
        count > 0
    }

    fn fire_timers(&mut self, shared: &mut Shared) -> bool {
        let mut worked = false;
        while self.opens.peek().is_some_and(|r| r.0.0 <= shared.now) {
            let Reverse((_, plan)) = self.opens.pop().expect("peeked");
            worked = true;
            self.open(shared, plan);
        }
        while self.timers.first().is_some_and(|t| t.0 <= shared.now) {
            let (_, circuit) = self.timers.pop_first().expect("there is a first");
            worked = true;
            let Some(flow) = self.flows.get(&circuit) else {
                continue;
            };
            if flow.unnamed() && shared.now >= flow.opened + HEADER_TIMEOUT && !flow.closing {
                let result = self.endpoint.close(circuit);
                shared.note(self.index, || {
                    format!("header timeout {circuit:?} {result:?}")
                });
                if let Some(flow) = self.flows.get_mut(&circuit) {
                    flow.closing = true;
                }
            }
            self.run(shared, circuit);
        }
        worked
    }

    fn open(&mut self, shared: &mut Shared, index: usize) {
        let plan = &shared.plans[index];
        let Some(connection) = self.ready(super::net::address(plan.acceptor)) else {
            self.waiting.push(index);
            return;
        };
        match self.endpoint.open_circuit(connection, plan.number) {
            Ok(id) => {
                let mut flow = Flow::new(id, connection, plan.number, shared.now);
                flow.assign(shared, index, 0);
                self.flows.insert(id, flow);
                self.run(shared, id);
            }
            Err(error) => {
                let text = format!(
                    "host {}: open_circuit number {} of plan {index}: {error:?}",
                    self.index, plan.number
                );
                shared.fault(text);
            }
        }
    }

    fn event(&mut self, shared: &mut Shared, event: Event) {
        match event {
            Event::ConnectionIncoming(id, peer) => {
                let conn = Conn {
                    peer,
                    ready: None,
                    closed: None,
                };
                if self.policy.accept && self.connections.insert(id, conn).is_some() {
                    shared.fault(format!("host {}: {id:?} incoming twice", self.index));
                }
                self.endpoint.accept(shared.now, id, self.policy.accept);
            }
            Event::ConnectionVerify(id) => {
                if !self.connections.contains_key(&id) {
                    shared.fault(format!("host {}: verify of unknown {id:?}", self.index));
                }
                if self.endpoint.connection_ssl(id).is_null() {
                    shared.fault(format!("host {}: verify of {id:?} without SSL", self.index));
                }
                self.endpoint.verified(shared.now, id, self.policy.verify);
            }
            Event::ConnectionReady(id) => self.connection_ready(shared, id),
            Event::ConnectionClosed(id, reason) => self.connection_closed(shared, id, reason),
            Event::CircuitIncoming(connection, id, number) => {
                let known = self
                    .connections
                    .get(&connection)
                    .is_some_and(|c| c.ready.is_some() && c.closed.is_none());
                if !known || self.held.contains(&connection) || self.flows.contains_key(&id) {
                    shared.fault(format!("host {}: unexpected {event:?}", self.index));
                    return;
                }
                let accept = self.policy.accept_circuits;
                if accept {
                    let flow = Flow::new(id, connection, number, shared.now);
                    self.flows.insert(id, flow);
                    shared.unfinished += 1;
                    self.wake_at(shared.now + HEADER_TIMEOUT, id);
                }
                self.endpoint.accept_circuit(id, accept);
            }
            Event::Readable(id) => {
                if let Some(flow) = self.reporting(shared, id, event) {
                    flow.readable = true;
                    self.run(shared, id);
                }
            }
            Event::Writable(id) => {
                if let Some(flow) = self.reporting(shared, id, event) {
                    flow.blocked = false;
                    self.run(shared, id);
                }
            }
            Event::CircuitClosed(id, reason) => {
                if self.reporting(shared, id, event).is_some() {
                    self.circuit_closed(shared, id, reason);
                }
            }
            Event::MemoryPressure(level) => self.pressure.push(level),
        }
    }

    /// The flow that an event is about, if it may have one.
    fn reporting(&mut self, shared: &mut Shared, id: CircuitId, event: Event) -> Option<&mut Flow> {
        let index = self.index;
        let flow = self.flows.get_mut(&id);
        match flow {
            Some(flow) if flow.control || !self.held.contains(&flow.connection) => Some(flow),
            _ => {
                shared.fault(format!("host {index}: unexpected {event:?}"));
                None
            }
        }
    }

    fn connection_ready(&mut self, shared: &mut Shared, id: ConnectionId) {
        let Some(conn) = self.connections.get_mut(&id) else {
            shared.fault(format!("host {}: unknown {id:?} is ready", self.index));
            return;
        };
        if conn.ready.is_some() || conn.closed.is_some() {
            shared.fault(format!("host {}: {id:?} ready again", self.index));
        }
        conn.ready = Some(shared.now);
        shared.progress = shared.now;
        let peer = conn.peer;
        if self.endpoint.connection_state(id) != ConnectionState::Ready {
            shared.fault(format!("host {}: {id:?} is ready but not", self.index));
        }
        match self.endpoint.connection_control(id) {
            Ok(circuit) => {
                let mut flow = Flow::new(circuit, id, 0, shared.now);
                flow.control = true;
                self.flows.insert(circuit, flow);
            }
            Err(error) => shared.fault(format!(
                "host {}: no control circuit: {error:?}",
                self.index
            )),
        }
        self.start_control(shared, peer);
        for plan in std::mem::take(&mut self.waiting) {
            self.open(shared, plan);
        }
    }

    /// Gives the control circuit its script, if there is one that nobody has begun.
    pub fn start_control(&mut self, shared: &mut Shared, peer: SocketAddr) {
        let Some(connection) = self.ready(peer) else {
            return;
        };
        let found = shared.plans.iter().enumerate().find_map(|(index, plan)| {
            let side = [plan.opener, plan.acceptor]
                .iter()
                .position(|h| *h == self.index)?;
            let other = [plan.acceptor, plan.opener][side];
            (plan.number == 0
                && !plan.doomed
                && super::net::address(other) == peer
                && plan.progress[side].started.is_none())
            .then_some((index, side))
        });
        let flow = self
            .flows
            .values_mut()
            .find(|f| f.control && f.connection == connection && f.plan.is_none());
        if let (Some((index, side)), Some(flow)) = (found, flow) {
            flow.assign(shared, index, side);
            let id = flow.id;
            self.run(shared, id);
        }
    }

    fn connection_closed(&mut self, shared: &mut Shared, id: ConnectionId, reason: CloseReason) {
        let control = self
            .flows
            .values()
            .find(|f| f.connection == id && f.control)
            .map(|f| f.id);
        if let Some(circuit) = control {
            // The control circuit may end without an event of its own: it dies with the connection.
            self.circuit_closed(shared, circuit, CloseReason::Connection);
        }
        if let Some(flow) = self.flows.values().find(|f| f.connection == id) {
            let text = format!(
                "host {}: {id:?} closed ({reason:?}) before its circuit {:?}",
                self.index, flow.id
            );
            shared.fault(text);
        }
        match self.connections.get_mut(&id) {
            Some(conn) if conn.closed.is_none() => conn.closed = Some((shared.now, reason)),
            _ => shared.fault(format!("host {}: unexpected end of {id:?}", self.index)),
        }
        if self.endpoint.connection_state(id) != ConnectionState::Closed {
            shared.fault(format!("host {}: {id:?} is closed but not", self.index));
        }
        shared.progress = shared.now;
        self.held.remove(&id);
        self.endpoint.connection_forget(id);
    }

    fn run(&mut self, shared: &mut Shared, id: CircuitId) {
        let Some(mut flow) = self.flows.remove(&id) else {
            return;
        };
        if flow.run(self, shared) {
            self.flows.insert(id, flow);
        } else if let Some(plan) = flow.plan {
            self.follow(shared, plan, flow.side);
        }
    }

    fn circuit_closed(&mut self, shared: &mut Shared, id: CircuitId, reason: CloseReason) {
        let Some(mut flow) = self.flows.remove(&id) else {
            return;
        };
        match self.endpoint.circuit_info(id) {
            Some(info) if info.unsent <= info.send_queue => {}
            info => shared.fault(format!("{id:?} has ended with {info:?}")),
        }
        flow.closed(self, shared, reason);
        self.endpoint.circuit_forget(id);
        if let Some(plan) = flow.plan {
            self.follow(shared, plan, flow.side);
        }
    }

    /// Opens what is to follow a circuit under its number.
    fn follow(&mut self, shared: &mut Shared, plan: usize, side: usize) {
        if side == 0
            && let Some(next) = shared.plans[plan].next
        {
            self.open_at(shared.now, next);
        }
    }
}
