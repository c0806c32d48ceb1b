//! The simulator: hosts, the links between them, virtual time, and the watchdog.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt::Write;
use std::net::SocketAddr;

use utcp::config::Config;
use utcp::endpoint::{CircuitId, ConnectionId};
use utcp::time::{Micros, SECOND, Time};

use super::host::{Conn, Host, Shared};
use super::hostile::Hostile;
use super::identity::identity;
use super::link::{Link, Packet};
use super::plan::{Ends, Plan, Progress};
use super::rng::{Rng, mix};
use super::stream::Stream;

/// Nothing achieved for so long, with work left, fails a case unless it sets another bound.
const STALL: Micros = 130 * SECOND;

/// Datagrams kept for those who replay them.
const RECORDED: usize = 512;

/// The address of the host with this index.
pub fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, index as u8 + 1], 9001))
}

/// A datagram's length, and what can be seen of its records (RFC 6347 section 4.1): type and epoch, and of a
/// handshake message in the clear also its type.
fn describe(packet: &Packet) -> String {
    let mut text = format!("datagram of {} to {}:", packet.data.len(), packet.to);
    let mut rest = &packet.data[..];
    while let Some((header, body)) = rest.split_first_chunk::<13>() {
        let length = usize::from(u16::from_be_bytes([header[11], header[12]])).min(body.len());
        let _ = write!(text, " {}/{}", header[0], header[4]);
        if header[0] == 22 && header[4] == 0 && length > 0 {
            let _ = write!(text, "({})", body[0]);
        }
        rest = &body[length..];
    }
    text
}

/// A datagram on its way: when, in which order, and before which stage of its link.
struct Flying {
    at: Time,
    order: u64,
    path: (usize, usize),
    stage: usize,
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

pub struct Net {
    name: String,
    seed: u64,
    pub hosts: Vec<Host>,
    configs: Vec<Config>,
    pub shared: Shared,
    links: BTreeMap<(usize, usize), Link>,
    flying: BinaryHeap<Reverse<Flying>>,
    order: u64,
    pub hostile: Vec<Hostile>,
    pub recorded: Option<VecDeque<Packet>>,
    /// Octets to addresses that are no host's, by address.
    pub strays: BTreeMap<SocketAddr, u64>,
    pub stall: Micros,
    incarnations: u64,
    /// Arrivals belong in the trace.
    watch: bool,
}

/// Says which seed a case failed with, also when the library panics.
impl Drop for Net {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "\ncase {} failed with seed {}; run it alone with:\n    UTCP_SIM_SEED={} cargo test --test sim {}",
                self.name,
                self.seed,
                self.seed,
                std::thread::current().name().unwrap_or(&self.name),
            );
        }
    }
}

/// Runs a case for `count` seeds: those of UTCP_SIM_SEED (one) or UTCP_SIM_RUNS (how many) if set.
pub fn seeds(name: &str, count: u64, mut case: impl FnMut(&str, u64)) {
    let number = |variable: &str| {
        std::env::var(variable)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    if let Some(seed) = number("UTCP_SIM_SEED") {
        return case(name, seed);
    }
    let base = name
        .bytes()
        .fold(0, |hash, octet| mix(hash ^ u64::from(octet)));
    let runs = number("UTCP_SIM_RUNS");
    let count = runs.unwrap_or(count);
    for index in 0..count {
        // Short enough to be typed.
        case(name, mix(base + index) & 0xffff_ffff);
        if runs.is_some() && (index + 1) % 500 == 0 {
            eprintln!("case {name}: {} of {count} seeds", index + 1);
        }
    }
}

impl Net {
    pub fn new(name: &str, seed: u64) -> Net {
        let start = Time(1_000 * SECOND);
        let watch = std::env::var_os("UTCP_SIM_TRACE").is_some();
        let trace = watch.then(Vec::new);
        Net {
            name: name.to_string(),
            seed,
            hosts: Vec::new(),
            configs: Vec::new(),
            shared: Shared {
                now: start,
                progress: start,
                trace,
                ..Shared::default()
            },
            links: BTreeMap::new(),
            flying: BinaryHeap::new(),
            order: 0,
            hostile: Vec::new(),
            recorded: None,
            strays: BTreeMap::new(),
            stall: STALL,
            incarnations: 0,
            watch,
        }
    }

    /// Two hosts, 0 and 1, with the same link in each direction.
    pub fn pair(name: &str, seed: u64, link: impl Fn() -> Link) -> Net {
        let mut net = Net::new(name, seed);
        net.add_host(net.config(0));
        net.add_host(net.config(1));
        net.link(0, 1, link());
        net.link(1, 0, link());
        net
    }

    pub fn now(&self) -> Time {
        self.shared.now
    }

    /// What a host is configured with unless the case says otherwise.
    pub fn config(&self, index: usize) -> Config {
        let identity = identity(index);
        Config {
            chain: identity.chain.clone(),
            key: identity.key.clone(),
            ..Config::default()
        }
    }

    pub fn add_host(&mut self, mut config: Config) -> usize {
        let index = self.hosts.len();
        let rng = self.dress(&mut config, index);
        self.configs.push(config.clone());
        self.hosts
            .push(Host::new(index, address(index), config, rng));
        index
    }

    /// Starts a host anew with another configuration, before it has done anything.
    pub fn reconfigure(&mut self, index: usize, mut config: Config) {
        let rng = self.dress(&mut config, index);
        self.configs[index] = config.clone();
        self.hosts[index] = Host::new(index, address(index), config, rng);
    }

    /// Holds or releases the circuits of a connection.
    pub fn hold(&mut self, index: usize, peer: usize, hold: bool) {
        let id = self.ready(index, peer).expect("a ready connection");
        let host = &mut self.hosts[index];
        assert_eq!(host.endpoint.connection_hold(id, hold), Ok(()));
        if hold {
            host.held.insert(id);
        } else {
            host.held.remove(&id);
        }
        self.serve(index);
    }

    /// Seeds the library and the scripts of a host that is about to start.
    fn dress(&mut self, config: &mut Config, index: usize) -> Rng {
        self.incarnations += 1;
        let stream = 1_000 + index as u64 * 1_000 + self.incarnations;
        Rng::new(self.seed, stream).fill(&mut config.seed);
        Rng::new(self.seed, stream + 500_000)
    }

    /// Sets or replaces the link from one host to another; what is on its way passes the new one's later stages.
    pub fn link(&mut self, from: usize, to: usize, link: Link) {
        let seed = mix(self.seed ^ mix(from as u64 * 256 + to as u64));
        self.links.insert((from, to), link.seeded(seed));
    }

    pub fn links(&mut self, link: impl Fn() -> Link) {
        self.link(0, 1, link());
        self.link(1, 0, link());
    }

    pub fn counters(&self, from: usize, to: usize) -> super::link::Counters {
        self.links[&(from, to)].counters()
    }

    // ---- what a case does ----

    pub fn connect(&mut self, from: usize, to: usize) -> ConnectionId {
        let id = self.hosts[from].connect(self.shared.now, address(to), None);
        self.serve(from);
        id
    }

    pub fn ready(&self, host: usize, peer: usize) -> Option<ConnectionId> {
        self.hosts[host].ready(address(peer))
    }

    /// Connects 0 to 1, and waits until both are ready.
    pub fn establish(&mut self) {
        self.connect(0, 1);
        self.run_until("both sides are ready", 60 * SECOND, |net| {
            net.ready(0, 1).is_some() && net.ready(1, 0).is_some()
        });
    }

    /// What became of a connection.
    pub fn connection(&self, host: usize, id: ConnectionId) -> Option<Conn> {
        self.hosts[host].connections.get(&id).copied()
    }

    fn plan(&mut self, opener: usize, acceptor: usize, number: u32, ends: Ends) -> usize {
        let index = self.shared.plans.len();
        let key = mix(self.seed ^ mix(index as u64));
        let header = index as u64 | (key << 32);
        self.shared.plans.push(Plan {
            opener,
            acceptor,
            number,
            ends,
            streams: [
                Stream::new(mix(key), Some(header)),
                Stream::new(mix(key + 1), None),
            ],
            next: None,
            doomed: false,
            pending: [true; 2],
            progress: [Progress::default(); 2],
        });
        self.shared.unfinished += 2;
        index
    }

    /// Has `opener` open a circuit `after` from now, or when there is a connection.
    pub fn open(
        &mut self,
        opener: usize,
        acceptor: usize,
        number: u32,
        after: Micros,
        ends: Ends,
    ) -> usize {
        let plan = self.plan(opener, acceptor, number, ends);
        let at = self.shared.now + after;
        self.hosts[opener].open_at(at, plan);
        if after == 0 {
            self.serve(opener);
        }
        plan
    }

    /// Has a circuit opened under the same number as soon as `before` has ended at its opening end.
    pub fn reopen(&mut self, before: usize, ends: Ends) -> usize {
        let previous = &self.shared.plans[before];
        let (opener, acceptor, number) = (previous.opener, previous.acceptor, previous.number);
        let plan = self.plan(opener, acceptor, number, ends);
        self.shared.plans[before].next = Some(plan);
        plan
    }

    /// Uses the control circuit; steps that end a stream do not apply to it.
    pub fn control(&mut self, one: usize, other: usize, mut ends: Ends) -> usize {
        use super::plan::Step;
        for end in &mut ends {
            end.steps
                .retain(|s| matches!(s, Step::Send(_) | Step::Receive(_) | Step::Pause(_)));
        }
        let plan = self.plan(one, other, 0, ends);
        for (host, peer) in [(one, other), (other, one)] {
            self.hosts[host].start_control(&mut self.shared, address(peer));
            self.serve(host);
        }
        plan
    }

    /// Replaces a host by one that knows nothing of what was.
    pub fn restart(&mut self, index: usize) {
        for plan in 0..self.shared.plans.len() {
            let entry = &mut self.shared.plans[plan];
            let side = [entry.opener, entry.acceptor]
                .iter()
                .position(|h| *h == index);
            let begun = entry.progress.iter().any(|p| p.started.is_some());
            if let (Some(side), true) = (side, begun) {
                entry.doomed = true;
                self.shared.settle(plan, side);
                if self.shared.plans[plan].progress[1 - side].started.is_none() {
                    self.shared.settle(plan, 1 - side);
                }
            }
        }
        // What was to follow under the number of a circuit that is lost follows now.
        let follows: Vec<usize> = self.hosts[index]
            .flows
            .values()
            .filter(|f| f.side == 0)
            .filter_map(|f| self.shared.plans[f.plan?].next)
            .collect();
        let unnamed = self.hosts[index]
            .flows
            .values()
            .filter(|f| f.unnamed())
            .count();
        self.shared.unfinished -= unnamed;
        let mut config = self.configs[index].clone();
        let rng = self.dress(&mut config, index);
        let mut host = Host::new(index, address(index), config, rng);
        std::mem::swap(&mut host, &mut self.hosts[index]);
        self.hosts[index].inherit(host);
        for plan in follows {
            self.hosts[index].open_at(self.shared.now, plan);
        }
    }

    /// Any end of the circuits begun so far is as good as another: their connection is about to be cut.
    pub fn doom(&mut self) {
        for plan in &mut self.shared.plans {
            plan.doomed |= plan.progress.iter().any(|p| p.started.is_some());
        }
    }

    /// Lets a host do what is due, after the case has called its endpoint.
    pub fn serve(&mut self, index: usize) {
        self.hosts[index].serve(&mut self.shared);
        self.dispatch();
        self.check_fault();
    }

    // ---- time ----

    fn dispatch(&mut self) {
        for packet in std::mem::take(&mut self.shared.outbox) {
            let now = self.shared.now;
            self.shared
                .note(usize::from(packet.from == address(1)), || {
                    format!("datagram of {}", packet.data.len())
                });
            if packet.data.is_empty() {
                self.shared.fault("an empty datagram is sent".to_string());
            }
            self.send(now, packet);
        }
    }

    fn index_of(&self, address: SocketAddr) -> Option<usize> {
        self.hosts.iter().position(|h| h.address == address)
    }

    /// A datagram enters the link between its addresses.
    fn send(&mut self, now: Time, packet: Packet) {
        let (from, to) = match (self.index_of(packet.from), self.index_of(packet.to)) {
            (Some(from), Some(to)) => (from, to),
            _ => {
                *self.strays.entry(packet.to).or_default() += packet.data.len() as u64;
                return;
            }
        };
        if let Some(recorded) = &mut self.recorded {
            if recorded.len() == RECORDED {
                recorded.pop_front();
            }
            recorded.push_back(packet.clone());
        }
        let Some(link) = self.links.get_mut(&(from, to)) else {
            return;
        };
        link.enter(&packet);
        self.fly(now, (from, to), 0, packet);
    }

    fn fly(&mut self, at: Time, path: (usize, usize), stage: usize, packet: Packet) {
        self.order += 1;
        self.flying.push(Reverse(Flying {
            at,
            order: self.order,
            path,
            stage,
            packet,
        }));
    }

    /// Puts a datagram before a host at once, whatever address it claims to come from.
    pub fn inject(&mut self, from: SocketAddr, to: usize, data: &[u8]) {
        let now = self.shared.now;
        self.hosts[to].endpoint.inject(now, from, data, 0);
        self.serve(to);
    }

    /// When something happens next.
    fn next(&self) -> Time {
        let mut next = self.flying.peek().map_or(Time::NEVER, |f| f.0.at);
        for host in &self.hosts {
            next = next.min(host.next_deadline());
        }
        for hostile in &self.hostile {
            next = next.min(hostile.next);
        }
        next.max(self.shared.now)
    }

    fn step(&mut self) {
        let now = self.next();
        self.shared.now = now;
        let mut touched = vec![false; self.hosts.len()];
        while self.flying.peek().is_some_and(|f| f.0.at <= now) {
            let Reverse(flying) = self.flying.pop().expect("peeked");
            let link = self.links.get_mut(&flying.path);
            match link {
                Some(link) if flying.stage < link.stages() => {
                    let passed = link.pass(flying.stage, now, flying.packet);
                    for (at, packet) in passed.0.into_iter().flatten() {
                        self.fly(at, flying.path, flying.stage + 1, packet);
                    }
                }
                _ => {
                    let to = flying.path.1;
                    let packet = flying.packet;
                    if self.watch {
                        let text = format!("arrives: {}", describe(&packet));
                        self.shared.note(to, || text);
                    }
                    self.hosts[to]
                        .endpoint
                        .inject(now, packet.from, &packet.data, packet.ecn);
                    touched[to] = true;
                }
            }
        }
        for index in 0..self.hostile.len() {
            if self.hostile[index].next <= now {
                let (from, to, data) = self.hostile[index].act(now, self.recorded.as_ref());
                self.hosts[to].endpoint.inject(now, from, &data, 0);
                touched[to] = true;
            }
        }
        for (index, touched) in touched.into_iter().enumerate() {
            if touched || self.hosts[index].next_deadline() <= now {
                self.hosts[index].serve(&mut self.shared);
                self.dispatch();
            }
        }
        self.check_fault();
    }

    /// Runs until the condition holds, and no longer than `bound`.
    pub fn run_until(&mut self, what: &str, bound: Micros, condition: impl Fn(&Net) -> bool) {
        let deadline = self.shared.now + bound;
        self.shared.progress = self.shared.now;
        while !condition(self) {
            let next = self.next();
            if next == Time::NEVER {
                self.fail(&format!(
                    "deadlock: nothing will happen any more, and not yet: {what}"
                ));
            }
            if next > deadline {
                self.fail(&format!("not within {} s: {what}", bound / SECOND));
            }
            if next.since(self.shared.progress) > self.stall {
                self.fail(&format!(
                    "no progress for {} s, and not yet: {what}",
                    self.stall / SECOND
                ));
            }
            self.step();
        }
    }

    /// Runs until every end of every circuit has ended as it should, and no longer than `bound`.
    pub fn complete(&mut self, bound: Micros) {
        self.run_until("all circuits are done", bound, |net| {
            net.shared.unfinished == 0
        });
    }

    /// Lets this much time pass.
    pub fn pass(&mut self, span: Micros) {
        let end = self.shared.now + span;
        while self.next() <= end {
            self.step();
        }
        self.shared.now = end;
    }

    /// Lets old segments and closing circuits settle, then asserts that nothing but the connections is left.
    pub fn assert_clean(&mut self) {
        self.pass(300 * SECOND);
        for index in 0..self.hosts.len() {
            let stats = self.hosts[index].endpoint.stats();
            let memory = self.hosts[index].endpoint.memory();
            let open = self.hosts[index]
                .connections
                .values()
                .filter(|c| c.closed.is_none() && c.ready.is_some())
                .count() as u64;
            if memory != 0 || stats.circuits != open || stats.connections != open {
                self.fail(&format!(
                    "host {index} still holds {memory} octets, {} circuits and {} connections where {open} are open",
                    stats.circuits, stats.connections
                ));
            }
        }
    }

    // ---- failure ----

    fn check_fault(&mut self) {
        if let Some(fault) = self.shared.fault.take() {
            self.fail(&fault);
        }
    }

    /// Fails the case with all that is known.
    pub fn fail(&self, text: &str) -> ! {
        panic!("{text}\n{}", self.dump());
    }

    fn dump(&self) -> String {
        let mut out = String::new();
        let shared = &self.shared;
        let _ = writeln!(
            out,
            "at {} s, {} octets compared, {} ends unfinished, {} datagrams under way",
            shared.now.0 as f64 / SECOND as f64,
            shared.octets,
            shared.unfinished,
            self.flying.len()
        );
        for host in &self.hosts {
            let _ = writeln!(out, "host {}: {:?}", host.index, host.endpoint.stats());
            let _ = writeln!(out, "  deadline {:?}", host.next_deadline());
            for (id, conn) in &host.connections {
                let _ = writeln!(out, "  {id:?} {conn:?}");
                let _ = writeln!(out, "    {:?}", host.endpoint.connection_info(*id));
            }
            let waiting = |id: &CircuitId| {
                let plan = host.flows[id].plan;
                plan.is_none_or(|p| shared.plans[p].pending[host.flows[id].side])
            };
            for id in host.flows.keys().filter(|id| waiting(id)).take(6) {
                let flow = &host.flows[id];
                let _ = writeln!(out, "  {flow:?}");
                if let Some(plan) = flow.plan {
                    let steps = &shared.plans[plan].ends[flow.side].steps;
                    let _ = writeln!(out, "    at {:?}", steps.get(flow.at_step()));
                }
                let _ = writeln!(out, "    {:?}", host.endpoint.circuit_info(*id));
            }
        }
        let unstarted = shared
            .plans
            .iter()
            .enumerate()
            .filter(|(_, p)| p.pending.contains(&true) && p.progress[1].started.is_none());
        for (index, plan) in unstarted.take(8) {
            let _ = writeln!(
                out,
                "plan {index} number {} not begun by its acceptor: {:?}",
                plan.number, plan.progress
            );
        }
        for (path, link) in &self.links {
            let _ = writeln!(out, "link {path:?}: {:?}", link.counters());
        }
        if let Some(trace) = &shared.trace {
            let skip = if self.watch {
                0
            } else {
                trace.len().saturating_sub(60)
            };
            for (time, host, text) in trace.iter().skip(skip) {
                let _ = writeln!(out, "{:.6} {host} {text}", *time as f64 / SECOND as f64);
            }
        }
        out
    }
}
