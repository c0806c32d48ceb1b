//! Endpoint inject: two relays with a circuit at work, and datagrams of all kinds from everywhere, the peer's address
//! included. The attacker sees every datagram and answers what is sent to any address, but has no key of the relays and
//! cannot keep their datagrams from arriving.
//!
//! Afterwards the same circuit of the same connection still carries data, everything was counted, and no address that
//! has not shown a cookie got more octets than came from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use utcp::config::Config;
use utcp::dtls::{Context, Session};
use utcp::endpoint::{CircuitId, ConnectionId, ConnectionState, Endpoint, Event};
use utcp::stats::{ConnectionStats, EndpointStats};
use utcp::time::{SECOND, Time};

use super::identity::{PEER, RELAY, STRANGER};
use super::input::{Input, compare, octets};

const SPIN: usize = 2_000;
/// Datagrams of the relays that the attacker remembers.
const REMEMBERED: usize = 64;
const PROOF: u32 = 5_000;
const MAX_HALF_OPEN: usize = 3;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut rig = Rig::new(&mut input);
    while !input.is_empty() {
        rig.step(&mut input);
    }
    rig.prove();
    rig.end();
}

/// A relay and its side of the circuit that has to work.
struct Relay {
    endpoint: Endpoint,
    address: SocketAddr,
    connection: Option<ConnectionId>,
    circuit: Option<CircuitId>,
    wanted: u32,
    written: u32,
    read: u32,
    /// Connections that the attacker has begun.
    others: BTreeSet<ConnectionId>,
    /// Addresses that have shown a cookie.
    proven: BTreeSet<SocketAddr>,
    /// Octets that came from an address, and that went to it.
    traffic: BTreeMap<SocketAddr, (u64, u64)>,
    /// Whether it accepts the attacker's handshakes, and certificates from addresses other than the peer's.
    accepts: bool,
    verifies: bool,
}

struct Rig {
    relays: [Relay; 2],
    now: Time,
    remembered: Vec<Vec<u8>>,
    context: Context,
    /// The attacker's handshakes, by victim and by the address that it writes from.
    sessions: BTreeMap<(usize, SocketAddr), Session>,
}

impl Rig {
    fn new(input: &mut Input<'_>) -> Rig {
        let bits = input.u8();
        let size = input.choose(&[1_432, 576, 1_200]);
        let relay = |index: usize, config: Config| Relay {
            endpoint: Endpoint::new(Config {
                max_half_open: MAX_HALF_OPEN,
                max_connections: 8,
                datagram_size: size,
                ..config
            })
            .expect("the configuration is acceptable"),
            address: SocketAddr::from(([192, 0, 2, 1 + index as u8], 9_001)),
            connection: None,
            circuit: None,
            wanted: 0,
            written: 0,
            read: 0,
            others: BTreeSet::new(),
            proven: BTreeSet::new(),
            traffic: BTreeMap::new(),
            accepts: bits & 1 == 0,
            verifies: bits & 2 == 0,
        };
        let mut rig = Rig {
            relays: [relay(0, RELAY.config()), relay(1, PEER.config())],
            now: Time(100 * SECOND),
            remembered: Vec::new(),
            context: Context::new(&STRANGER.config(), [5; 32]).expect("a context"),
            sessions: BTreeMap::new(),
        };
        let peer = rig.relays[1].address;
        let id = rig.relays[0].endpoint.connect(rig.now, peer, None);
        rig.relays[0].connection = Some(id.expect("a connection"));
        rig.settle();
        let id = rig.relays[0].connection.expect("made");
        let circuit = rig.relays[0].endpoint.open_circuit(id, 1);
        rig.relays[0].circuit = Some(circuit.expect("the connection is ready"));
        for relay in &mut rig.relays {
            relay.wanted = 100;
        }
        rig.settle();
        assert!(rig.relays[1].circuit.is_some(), "the circuit has arrived");
        if bits & 4 != 0 {
            rig.relays[0].endpoint.set_accepting(false);
        }
        rig
    }

    // ---- the script ----

    fn step(&mut self, input: &mut Input<'_>) {
        let what = input.u8();
        let target = usize::from(what >> 7);
        match what % 16 {
            0 | 1 => {
                let n = usize::from(input.u16()) % 1_500;
                let datagram = input.take(n).to_vec();
                self.attack(input, target, &datagram);
            }
            2 | 3 => {
                let datagram = record(input);
                self.attack(input, target, &datagram);
            }
            4 => {
                let datagram = self.recall(input);
                self.attack(input, target, &datagram);
            }
            5..=7 => {
                let mut datagram = self.recall(input);
                for _ in 0..1 + input.u8() % 4 {
                    damage(input, &mut datagram);
                }
                self.attack(input, target, &datagram);
            }
            8 => {
                let mut datagram = self.recall(input);
                datagram.extend(self.recall(input));
                self.attack(input, target, &datagram);
            }
            9 | 10 => {
                let from = self.address(input, target);
                let mut session = Session::connect(&self.context, self.now).expect("a session");
                let hello = session.take_output().expect("a ClientHello");
                self.sessions.insert((target, from), session);
                self.inject(target, from, &hello);
            }
            11 => self.pass(1 << (input.u8() % 25)),
            12 => {
                let next = self.relays.iter().map(|r| r.endpoint.next_deadline()).min();
                let span = next.unwrap_or(Time::NEVER).since(self.now);
                self.pass(span.min(30 * SECOND));
            }
            13 => {
                for relay in &mut self.relays {
                    relay.wanted += u32::from(input.u8());
                }
            }
            14 => {
                let accepting = input.u8() & 1 == 0;
                self.relays[target].endpoint.set_accepting(accepting);
            }
            _ => {
                for session in self.sessions.values_mut() {
                    session.timer(self.now);
                }
            }
        }
        self.settle();
    }

    /// An address to write from; the peer's own every other time.
    fn address(&self, input: &mut Input<'_>, target: usize) -> SocketAddr {
        let which = input.u8();
        match which {
            0 => SocketAddr::from(([0, 0, 0, 0], 9_001)),
            1 => SocketAddr::from(([192, 0, 2, 9], 0)),
            2 => SocketAddr::from(([239, 1, 2, 3], 9_001)),
            3 => self.relays[target].address,
            4 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9_001)),
            5..=0x7f => SocketAddr::from(([203, 0, 113, which], 9_001)),
            _ => self.relays[1 - target].address,
        }
    }

    /// A datagram that the relays have sent.
    fn recall(&self, input: &mut Input<'_>) -> Vec<u8> {
        let index = usize::from(input.u8());
        self.remembered[index % self.remembered.len()].clone()
    }

    fn attack(&mut self, input: &mut Input<'_>, target: usize, datagram: &[u8]) {
        let from = self.address(input, target);
        self.inject(target, from, datagram);
    }

    /// Hands a datagram of the attacker's to a relay, and looks at what that changed.
    fn inject(&mut self, target: usize, from: SocketAddr, datagram: &[u8]) {
        self.settle();
        // With only the genuine session at an address, all of an attacker's datagrams are in vain.
        let peer = self.relays[1 - target].address;
        let relay = &mut self.relays[target];
        let alone = from == peer && !relay.has_others(peer);
        let before = relay.counters(!alone);
        let stats = relay.endpoint.stats();
        let memory = relay.endpoint.memory();
        relay.endpoint.inject(self.now, from, datagram, 0);
        relay.traffic.entry(from).or_default().0 += datagram.len() as u64;
        let after = relay.endpoint.stats();
        assert_eq!(after.datagrams_received, stats.datagrams_received + 1);
        assert_eq!(
            after.bytes_received,
            stats.bytes_received + datagram.len() as u64
        );
        assert!(
            relay.counters(!alone) > before,
            "{datagram:?} was not counted"
        );
        // Without a cookie there is nothing but an answer that is no longer.
        if after.handshakes_started == stats.handshakes_started {
            assert_eq!(after.half_open.max(stats.half_open), stats.half_open);
            assert_eq!(after.connections.max(stats.connections), stats.connections);
            if !relay.proven.contains(&from) && from != peer {
                let relay = &self.relays[target];
                assert_eq!(relay.endpoint.memory(), memory);
                let answers = relay.endpoint.output().iter();
                let octets: usize = answers.map(|d| d.data.len()).sum();
                assert!(octets <= datagram.len(), "{octets} octets in answer");
            }
        }
        self.settle();
    }

    fn pass(&mut self, span: u64) {
        let until = self.now + span;
        self.settle();
        loop {
            let next = self.relays.iter().map(|r| r.endpoint.next_deadline()).min();
            let next = next.unwrap_or(Time::NEVER);
            if next >= until {
                break;
            }
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = until;
        self.settle();
    }

    // ---- the network and both event loops ----

    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < SPIN, "it never rests at {:?}", self.now);
            let mut busy = false;
            for index in 0..2 {
                self.relays[index].endpoint.process(self.now);
                let peer = self.relays[1 - index].address;
                busy |= self.relays[index].events(self.now, peer);
                self.relays[index].work();
                busy |= self.deliver(index);
            }
            let due = |r: &Relay| r.endpoint.next_deadline() <= self.now;
            if !busy && !self.relays.iter().any(due) {
                break;
            }
        }
        for relay in &self.relays {
            let stats = relay.endpoint.stats();
            assert!(stats.half_open <= MAX_HALF_OPEN as u64 + 1);
            assert!(stats.connections <= 8);
            for (address, (came, went)) in &relay.traffic {
                assert!(
                    went <= came || relay.proven.contains(address),
                    "{went} octets to {address}, which has sent {came}"
                );
            }
        }
    }

    /// Carries what a relay has sent: to the other relay, to the attacker, or to both.
    fn deliver(&mut self, index: usize) -> bool {
        let endpoint = &mut self.relays[index].endpoint;
        let datagrams: Vec<_> = endpoint.output().iter().cloned().collect();
        endpoint.sent(datagrams.len());
        for datagram in &datagrams {
            if let Some(session) = self.sessions.get_mut(&(index, datagram.peer)) {
                session.receive(self.now, &datagram.data, &mut Vec::new());
            }
            let (from, now) = (self.relays[index].address, self.now);
            if datagram.peer == self.relays[1 - index].address {
                self.relays[1 - index]
                    .endpoint
                    .inject(now, from, &datagram.data, 0);
                if self.remembered.len() < REMEMBERED {
                    self.remembered.push(datagram.data.clone());
                }
            } else {
                let octets = datagram.data.len() as u64;
                self.relays[index]
                    .traffic
                    .entry(datagram.peer)
                    .or_default()
                    .1 += octets;
            }
        }
        // The attacker goes on with its handshakes.
        let mut answers = Vec::new();
        for (&(target, from), session) in &mut self.sessions {
            while let Some(datagram) = session.take_output() {
                answers.push((target, from, datagram));
            }
        }
        for (target, from, datagram) in &answers {
            let relay = &mut self.relays[*target];
            relay.traffic.entry(*from).or_default().0 += datagram.len() as u64;
            relay.endpoint.inject(self.now, *from, datagram, 0);
        }
        !datagrams.is_empty() || !answers.is_empty()
    }

    // ---- the end ----

    /// The circuit still carries data both ways.
    fn prove(&mut self) {
        for relay in &mut self.relays {
            relay.wanted += PROOF;
        }
        for _ in 0..100 {
            self.pass(SECOND / 2);
            if self.relays[0].read == self.relays[1].wanted
                && self.relays[1].read == self.relays[0].wanted
            {
                return;
            }
        }
        panic!("data is missing");
    }

    fn end(self) {
        for mut relay in self.relays {
            let all = relay.connection.into_iter().chain(relay.others);
            for id in all {
                relay.endpoint.connection_forget(id);
            }
            let stats = relay.endpoint.stats();
            assert_eq!(relay.endpoint.memory(), 0, "memory is lost");
            assert_eq!(
                (stats.connections, stats.half_open, stats.circuits),
                (0, 0, 0)
            );
        }
    }
}

impl Relay {
    fn stream(&self) -> u32 {
        u32::from(self.address.port()) + u32::from(self.address.ip().to_string().ends_with('1'))
    }

    /// Returns whether there were any.
    fn events(&mut self, now: Time, peer: SocketAddr) -> bool {
        let mut any = false;
        while let Some(event) = self.endpoint.poll_event() {
            any = true;
            match event {
                Event::ConnectionIncoming(id, from) => {
                    self.proven.insert(from);
                    // The first from the peer is the peer's.
                    let genuine = from == peer && self.connection.is_none();
                    if genuine {
                        self.connection = Some(id);
                    } else {
                        self.others.insert(id);
                    }
                    self.endpoint.accept(now, id, genuine || self.accepts);
                }
                Event::ConnectionVerify(id) => {
                    // The relay knows its peer, and nobody else is the peer.
                    let others =
                        self.verifies && self.endpoint.connection_address(id) != Some(peer);
                    let acceptable = self.connection == Some(id) || others;
                    self.endpoint.verified(now, id, acceptable);
                }
                Event::ConnectionReady(_) => {}
                Event::ConnectionClosed(id, reason) => {
                    assert_ne!(self.connection, Some(id), "it has ended: {reason:?}");
                }
                Event::CircuitIncoming(id, circuit, _) => {
                    assert_eq!(self.connection, Some(id));
                    self.circuit = Some(circuit);
                    self.endpoint.accept_circuit(circuit, true);
                }
                Event::CircuitClosed(id, reason) => panic!("{id:?} has ended: {reason:?}"),
                Event::Readable(_) | Event::Writable(_) | Event::MemoryPressure(_) => {}
            }
        }
        any
    }

    fn work(&mut self) {
        let Some(circuit) = self.circuit else {
            return;
        };
        let (ours, theirs) = (self.stream(), 18_003 - self.stream());
        let mut buffer = [0; 2_048];
        while self.endpoint.readable(circuit) > 0 {
            let n = self.endpoint.read(circuit, &mut buffer).expect("readable");
            compare(theirs, self.read, &buffer[..n]);
            self.read += n as u32;
        }
        while self.written < self.wanted && self.endpoint.room(circuit) > 0 {
            let n = (self.wanted - self.written).min(2_048) as usize;
            let data = octets(ours, self.written, n);
            let n = self.endpoint.write(circuit, &data).expect("there is room");
            self.written += n as u32;
        }
    }

    /// Whether the attacker has a connection at this address.
    fn has_others(&self, address: SocketAddr) -> bool {
        self.others.iter().any(|&id| {
            self.endpoint.connection_address(id) == Some(address)
                && self.endpoint.connection_state(id) != ConnectionState::Closed
        })
    }

    /// Everything that counts datagrams in vain, and, if asked for, those that connections took in.
    fn counters(&self, taken: bool) -> u64 {
        let EndpointStats {
            handshakes_started,
            cookies_sent,
            dropped_not_dtls,
            dropped_unknown_peer,
            dropped_bad_cookie,
            dropped_refusing,
            dropped_limit,
            dropped_output_full,
            dropped_address,
            ..
        } = self.endpoint.stats();
        let mut sum = handshakes_started
            + cookies_sent
            + dropped_not_dtls
            + dropped_unknown_peer
            + dropped_bad_cookie
            + dropped_refusing
            + dropped_limit
            + dropped_output_full
            + dropped_address;
        for &id in self.connection.iter().chain(&self.others) {
            let Some(info) = self.endpoint.connection_info(id) else {
                continue;
            };
            let ConnectionStats {
                datagrams_received,
                dropped_peer_handshake,
                dropped_record,
                dropped_plaintext_alert,
                ..
            } = info.stats;
            sum += dropped_peer_handshake + dropped_record + dropped_plaintext_alert;
            if taken {
                sum += datagrams_received;
            }
        }
        sum
    }
}

/// A record with a header that makes sense, and anything in it.
fn record(input: &mut Input<'_>) -> Vec<u8> {
    let content = input.choose(&[22, 20, 21, 23, 24, 22]);
    let version = input.choose(&[[0xfe, 0xfd], [0xfe, 0xff], [3, 3], [0xfe, 0xfc]]);
    let epoch = input.u8() % 3;
    let sequence = input.u32();
    let n = input.u8();
    let body = input.take(usize::from(n));
    let length = match input.u8() {
        0 => input.u16(),
        _ => body.len() as u16,
    };
    let mut record = vec![content];
    record.extend(version);
    record.extend([0, epoch, 0, 0]);
    record.extend(sequence.to_be_bytes());
    record.extend(length.to_be_bytes());
    record.extend(body);
    record
}

fn damage(input: &mut Input<'_>, datagram: &mut Vec<u8>) {
    let at = usize::from(input.u16()) % (datagram.len() + 1);
    match input.u8() % 4 {
        0 => datagram.truncate(at),
        1 => datagram.push(input.u8()),
        _ if at < datagram.len() => datagram[at] ^= input.u8().max(1),
        _ => {}
    }
}
