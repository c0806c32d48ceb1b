//! One connection's segment input: an authenticated peer that sends what it likes, beside circuits that it serves well.
//!
//! The peer is a bare DTLS session of the crate's, so it can put anything into its records. Whatever it does to a
//! circuit, the others have to go on, memory has to stay within its budget, and all of it has to come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use utcp::config::Config;
use utcp::dtls::{Context, Incoming, Session};
use utcp::endpoint::{CircuitId, ConnectionId, Endpoint, Event, Role};
use utcp::error::{CloseReason, Error};
use utcp::pool::Pool;
use utcp::tcp::congestion::Algorithm;
use utcp::tcp::segment::{Flags, Options, Segment};
use utcp::tcp::seq::Seq;
use utcp::tcp::{Rejected, Settings, Tcb};
use utcp::time::{SECOND, Time};
use utcp::tortp;

use super::handshake::{accepted, connected};
use super::identity::{PEER, RELAY};
use super::input::{Input, compare, octets};

/// Numbers of the two circuits that the peer serves well: opened by the peer, opened by the relay.
const THEIRS: u32 = 4_001;
const OURS: u32 = 4_002;
/// Streams on them, by who sends.
const PEER_SENDS: u32 = 11;
const RELAY_SENDS: u32 = 12;

const CONTROL: u32 = 0;
const MAX_CIRCUITS: usize = 48;
/// Rounds without rest at one moment that count as a loop without end.
const SPIN: usize = 2_000;
/// What is sent each way to see whether a circuit still works.
const PROOF: u32 = 5_000;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut rig = Rig::new(&mut input);
    while !input.is_empty() {
        rig.step(&mut input);
        rig.settle();
    }
    rig.prove();
    rig.end();
}

/// The peer's side of a circuit that is served well.
struct Honest {
    tcb: Tcb,
    wanted: u32,
    written: u32,
    read: u32,
}

/// The relay's side of a circuit.
#[derive(Default)]
struct Seen {
    closed: Option<CloseReason>,
    /// On the circuits that are served well.
    wanted: u32,
    written: u32,
    read: u32,
}

struct Rig {
    endpoint: Endpoint,
    id: ConnectionId,
    address: SocketAddr,
    session: Session,
    now: Time,
    pool: Pool,
    budget: u64,
    /// The circuits that are served well, by wire identifier; control among them.
    honest: BTreeMap<u32, Honest>,
    /// What the endpoint said of each circuit last: its next sequence number, and its acknowledgement.
    heard: BTreeMap<u32, (Seq, Seq)>,
    /// Circuits as the relay knows them, in the order in which it heard of them.
    circuits: BTreeMap<CircuitId, Seen>,
    theirs: Option<CircuitId>,
    ours: Option<CircuitId>,
    /// The script may speak on the control circuit, and so end the connection.
    control_is_prey: bool,
    /// Circuits may suffer from more than segments: the relay sheds, or the budget is small.
    short_of_memory: bool,
    blocked: bool,
    /// Microseconds that the socket has taken nothing.
    blocked_for: u64,
    refuses: bool,
    forgets: bool,
    closed: Option<CloseReason>,
}

fn settings() -> Settings {
    Settings {
        mss: 1_300,
        send_buffer: 65_536,
        receive_buffer: 1 << 20,
        congestion: Algorithm::Cubic,
        dead_timeout: 3_600 * SECOND,
        srtt: 0,
        rttvar: 0,
        ecn: false,
    }
}

impl Rig {
    fn new(input: &mut Input<'_>) -> Rig {
        let bits = input.u8();
        let budget = input.choose(&[64 << 20, 1 << 20, 64 << 10]);
        let config = Config {
            max_circuits: MAX_CIRCUITS,
            send_buffer: input.choose(&[262_144, 4_096, 65_536]),
            receive_buffer: input.choose(&[4 << 20, 4_096, 65_536]),
            congestion: input.choose(&[Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr]),
            coupled: bits & 32 != 0,
            ecn: bits & 64 != 0,
            datagram_size: input.choose(&[1_432, 576, 1_200]),
            memory_budget: budget,
            ..RELAY.config()
        };
        let now = Time(100 * SECOND);
        let address = SocketAddr::from(([192, 0, 2, 7], 9_001));
        let mut endpoint = Endpoint::new(config).expect("the configuration is acceptable");
        let context = Context::new(&PEER.config(), [5; 32]).expect("a context");
        let (id, session) = match bits & 1 {
            0 => accepted(&mut endpoint, &context, now, address),
            _ => connected(&mut endpoint, &context, now, address),
        };
        if bits & 2 != 0 {
            endpoint.set_capture(true);
        }
        let mut rig = Rig {
            endpoint,
            id,
            address,
            session,
            now,
            pool: Pool::new(16 << 20),
            budget,
            honest: BTreeMap::new(),
            heard: BTreeMap::new(),
            circuits: BTreeMap::new(),
            theirs: None,
            ours: None,
            control_is_prey: bits & 4 != 0,
            short_of_memory: budget < 64 << 20,
            blocked: false,
            blocked_for: 0,
            refuses: bits & 8 != 0,
            forgets: bits & 16 != 0,
            closed: None,
        };
        let wire = match rig.session.role() {
            Role::Client => 0x7fff_fff0,
            Role::Server => 0x7fff_fff1,
        };
        rig.serve(CONTROL, Tcb::open(&settings(), Seq(0xffff_ff00), None));
        rig.serve(wire, Tcb::open(&settings(), Seq(77), Some(THEIRS)));
        let ours = rig.endpoint.open_circuit(id, OURS).expect("it is ready");
        rig.ours = Some(ours);
        rig.circuits.insert(ours, Seen::default());
        rig.settle();
        assert!(rig.theirs.is_some(), "the circuit has arrived");
        rig
    }

    fn serve(&mut self, wire: u32, tcb: Tcb) {
        let honest = Honest {
            tcb,
            wanted: 0,
            written: 0,
            read: 0,
        };
        self.honest.insert(wire, honest);
    }

    // ---- the script ----

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0 => {
                let n = usize::from(input.u16()) % 1_400;
                let plain = input.take(n).to_vec();
                self.send_checked(&plain);
            }
            1..=7 => {
                let mut plain = Vec::new();
                tortp::begin(&mut plain);
                for _ in 0..1 + input.u8() % 4 {
                    self.make_segment(input, &mut plain);
                }
                self.send_checked(&plain);
            }
            8..=11 => self.call(input),
            12 => self.pass(1 << (input.u8() % 26)),
            13 => {
                let next = self.endpoint.next_deadline();
                self.pass(next.since(self.now).min(60 * SECOND));
            }
            14 => self.blocked = !self.blocked,
            _ => {
                for honest in self.honest.values_mut() {
                    honest.wanted += u32::from(input.u8());
                }
                for seen in [self.theirs, self.ours].into_iter().flatten() {
                    if let Some(seen) = self.circuits.get_mut(&seen) {
                        seen.wanted += u32::from(input.u8());
                    }
                }
            }
        }
    }

    /// A segment for some circuit, with numbers near those that the endpoint expects.
    fn make_segment(&self, input: &mut Input<'_>, plain: &mut Vec<u8>) {
        let which = input.u8();
        let wire = match which {
            0..=0x3f => u32::from(which),
            0x40..=0x7f => self
                .heard
                .keys()
                .nth(usize::from(which & 0x3f))
                .copied()
                .unwrap_or(2),
            _ => input.u32(),
        };
        let flags = Flags(input.u8());
        let how = input.u8();
        let &(next, expected) = self.heard.get(&wire).unwrap_or(&(Seq(0), Seq(0)));
        let seq = match how & 3 {
            0 => expected,
            1 => expected + u32::from(input.u16()),
            2 => expected - u32::from(input.u16()),
            _ => Seq(input.u32()),
        };
        let ack = match how >> 2 & 3 {
            0 => next,
            1 => next - u32::from(input.u16()),
            2 => next + u32::from(input.u8()),
            _ => Seq(input.u32()),
        };
        let mut options = Options::default();
        if flags.has(Flags::SYN) {
            let bits = input.u8();
            options.mss = (bits & 1 != 0).then(|| input.u16());
            options.window_scale = (bits & 2 != 0).then(|| input.u8());
            options.sack_permitted = bits & 4 != 0;
            options.circuit_number = (bits & 8 == 0).then(|| u32::from(input.u8()));
            options.ce_count = (bits & 16 != 0).then_some(0);
        } else if how & 0x40 != 0 {
            options.ce_count = Some(u32::from(input.u16()));
        }
        if how & 0x10 != 0 {
            for _ in 0..input.u8() % 5 {
                let start = ack + u32::from(input.u16());
                options.sack.push(start, start + u32::from(input.u16()));
            }
        }
        let n = if how & 0x20 != 0 {
            input.u16() % 600
        } else {
            0
        };
        let window = input.u16();
        let payload = vec![how; usize::from(n)];
        let segment = Segment {
            flags,
            seq,
            ack: if flags.has(Flags::ACK) { ack } else { Seq(0) },
            window,
            options,
            payload: &payload,
            ce: false,
        };
        tortp::encode(wire, &segment, plain);
    }

    /// Sends a record, unless it has segments for circuits that are served well.
    fn send_checked(&mut self, plain: &[u8]) {
        let prey = |wire| {
            if wire == CONTROL {
                self.control_is_prey
            } else {
                !self.honest.contains_key(&wire)
            }
        };
        if tortp::check(plain).is_ok() && !tortp::segments(plain).all(|(wire, _)| prey(wire)) {
            return;
        }
        let before = self.counters();
        let sent = self.send(plain);
        let counted = self.counters() > before;
        assert!(counted || !sent || self.closed.is_some(), "not counted");
    }

    /// What has to grow with every record.
    fn counters(&self) -> u64 {
        let Some(info) = self.endpoint.connection_info(self.id) else {
            return 0;
        };
        let stats = info.stats;
        stats.dropped_version + stats.dropped_malformed + stats.segments_received
    }

    /// Sends a record, if it is not too long for one.
    fn send(&mut self, plain: &[u8]) -> bool {
        let mut datagram = Vec::new();
        let sealed = self.session.seal(plain, &mut datagram).is_ok();
        if sealed {
            // The script says it with the last octet; that of the datagram is not the same in each run.
            let ecn = plain.last().map_or(0, |octet| octet & 3);
            self.endpoint.inject(self.now, self.address, &datagram, ecn);
        }
        sealed
    }

    /// The relay does something.
    fn call(&mut self, input: &mut Input<'_>) {
        let what = input.u8() % 16;
        if what == 0 {
            let number = u32::from(input.u8());
            if let Ok(id) = self.endpoint.open_circuit(self.id, number) {
                self.circuits.insert(id, Seen::default());
            }
            return;
        }
        if what == 1 {
            let held = input.u8() & 1 != 0;
            let _ = self.endpoint.connection_hold(self.id, held);
            return;
        }
        if what == 2 {
            self.short_of_memory = true;
            let octets = u64::from(input.u32());
            if octets >> 31 == 0 {
                self.endpoint.shed(octets);
            } else if self.endpoint.set_memory_budget(octets & 0xff_ffff).is_ok() {
                // What is held already stays.
                self.budget = (octets & 0xff_ffff).max(self.endpoint.memory());
            }
            return;
        }
        if what == 3 {
            drop(self.endpoint.take_capture());
            return;
        }
        let index = usize::from(input.u8());
        let others: Vec<CircuitId> = self
            .circuits
            .keys()
            .copied()
            .filter(|&id| Some(id) != self.theirs && Some(id) != self.ours)
            .collect();
        let Some(&id) = others.get(index % others.len().max(1)) else {
            return;
        };
        let endpoint = &mut self.endpoint;
        let result = match what {
            4 | 5 => endpoint
                .write(id, &vec![7; usize::from(input.u16())])
                .map(|_| ()),
            6 | 7 => endpoint
                .read(id, &mut vec![0; usize::from(input.u16())])
                .map(|_| ()),
            8 => endpoint.finish(id),
            9 => endpoint.close(id),
            10 => endpoint.abort(id),
            11 => {
                endpoint.circuit_forget(id);
                self.circuits.remove(&id);
                Ok(())
            }
            12 => endpoint.set_events(id, input.u8()),
            13 => endpoint.set_rate(id, u64::from(input.u16())),
            14 => endpoint.set_priority(id, input.u8()),
            _ => {
                let octets = 1 << (input.u8() % 32);
                endpoint
                    .set_receive_buffer(id, octets)
                    .and(endpoint.set_send_buffer(id, octets))
            }
        };
        if let Err(error) = result {
            let known = [
                Error::WouldBlock,
                Error::End,
                Error::Closed,
                Error::State,
                Error::Argument,
            ];
            assert!(known.contains(&error), "call {what}: {error:?}");
        }
        let _ = self.endpoint.circuit_info(id);
    }

    /// Time passes. A peer that says nothing for long is given up, so it gives a sign of life before.
    fn pass(&mut self, span: u64) {
        let until = self.now + span;
        while self.now < until {
            if let Some(control) = self.honest.get_mut(&CONTROL) {
                control.tcb.probe();
            }
            self.settle();
            // A socket that takes nothing for minutes would end all circuits, and rightly so.
            let step = until.min(self.now + 20 * SECOND);
            self.blocked_for = match self.blocked {
                true => self.blocked_for + step.since(self.now),
                false => 0,
            };
            self.blocked &= self.blocked_for < 60 * SECOND;
            loop {
                let next = self.honest.values().map(|h| h.tcb.deadline()).min();
                let next = self
                    .endpoint
                    .next_deadline()
                    .min(next.unwrap_or(Time::NEVER));
                if next >= step {
                    break;
                }
                self.now = self.now.max(next);
                self.settle();
            }
            self.now = self.now.max(step);
            self.settle();
        }
    }

    // ---- both event loops ----

    /// Until neither side has anything to do at this moment.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(
                round < SPIN,
                "it never rests at {:?}: {:?}, {:?}",
                self.now,
                self.endpoint.next_deadline(),
                self.endpoint.connection_info(self.id)
            );
            self.endpoint.process(self.now);
            let mut busy = self.events();
            self.work();
            if !self.blocked {
                busy |= self.deliver();
            }
            busy |= self.answer();
            if !busy && self.endpoint.next_deadline() > self.now {
                break;
            }
        }
        assert!(self.endpoint.memory() <= self.budget);
        let stats = self.endpoint.stats();
        assert!(stats.circuits <= MAX_CIRCUITS as u64);
        assert_eq!(stats.connections, u64::from(self.closed.is_none()));
    }

    fn events(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = self.endpoint.poll_event() {
            any = true;
            match event {
                Event::CircuitIncoming(_, id, number) => {
                    if number == THEIRS && self.theirs.is_none() {
                        self.theirs = Some(id);
                    } else if self.refuses {
                        self.endpoint.accept_circuit(id, false);
                        continue;
                    }
                    self.endpoint.accept_circuit(id, true);
                    self.circuits.insert(id, Seen::default());
                }
                Event::CircuitClosed(id, reason) => {
                    let seen = self.circuits.get_mut(&id);
                    let seen = seen.expect("an event of a circuit that the relay knows");
                    assert!(seen.closed.is_none(), "closed twice");
                    seen.closed = Some(reason);
                    let served = Some(id) == self.theirs || Some(id) == self.ours;
                    assert!(
                        !served || self.short_of_memory || reason == CloseReason::Connection,
                        "another circuit has ended: {reason:?}"
                    );
                    if self.forgets && !served {
                        self.endpoint.circuit_forget(id);
                        self.circuits.remove(&id);
                    }
                }
                Event::ConnectionClosed(id, reason) => {
                    assert_eq!(id, self.id);
                    assert!(
                        self.control_is_prey || self.short_of_memory,
                        "the connection has ended: {reason:?}"
                    );
                    self.closed = Some(reason);
                }
                Event::Readable(_) | Event::Writable(_) | Event::MemoryPressure(_) => {}
                other => panic!("{other:?}"),
            }
        }
        any
    }

    /// The relay reads and writes on the circuits that are served well.
    fn work(&mut self) {
        for id in [self.theirs, self.ours].into_iter().flatten() {
            let Some(seen) = self.circuits.get_mut(&id) else {
                continue;
            };
            let mut buffer = [0; 2_048];
            while self.endpoint.readable(id) > 0 {
                let n = self.endpoint.read(id, &mut buffer).expect("readable");
                compare(PEER_SENDS, seen.read, &buffer[..n]);
                seen.read += n as u32;
            }
            while seen.written < seen.wanted && self.endpoint.room(id) > 0 {
                let n = (seen.wanted - seen.written).min(2_048) as usize;
                let data = octets(RELAY_SENDS, seen.written, n);
                let Ok(n) = self.endpoint.write(id, &data) else {
                    break;
                };
                seen.written += n as u32;
            }
        }
    }

    /// What the endpoint has sent reaches the peer.
    fn deliver(&mut self) -> bool {
        let datagrams: Vec<_> = self.endpoint.output().iter().cloned().collect();
        self.endpoint.sent(datagrams.len());
        for datagram in &datagrams {
            assert_eq!(datagram.peer, self.address);
            let mut plain = Vec::new();
            let mut incoming = self.session.receive(self.now, &datagram.data, &mut plain);
            while incoming == Incoming::Data {
                assert_eq!(tortp::check(&plain), Ok(()));
                for (wire, segment) in tortp::segments(&plain) {
                    self.receive(wire, &segment);
                }
                incoming = self.session.more(self.now, &mut plain);
            }
        }
        !datagrams.is_empty()
    }

    fn receive(&mut self, wire: u32, segment: &Segment<'_>) {
        let heard = self.heard.entry(wire).or_default();
        if !segment.flags.has(Flags::RST) {
            heard.0 = segment.seq + segment.len();
            if segment.flags.has(Flags::ACK) {
                heard.1 = segment.ack;
            }
        }
        if !self.honest.contains_key(&wire) && segment.options.circuit_number == Some(OURS) {
            let tcb = Tcb::accept(
                &settings(),
                Seq(0x7fff_fff0),
                self.now,
                &mut self.pool,
                segment,
            );
            self.serve(wire, tcb);
            return;
        }
        let Some(honest) = self.honest.get_mut(&wire) else {
            return;
        };
        let result = honest.tcb.receive(self.now, &mut self.pool, segment);
        if let Err(Rejected::Answer(reset)) = result {
            let mut plain = Vec::new();
            tortp::begin(&mut plain);
            tortp::encode(wire, &reset.segment(), &mut plain);
            self.send(&plain);
        }
    }

    /// The peer's own circuits: reading, writing, timers, output.
    fn answer(&mut self) -> bool {
        let mut out = Vec::new();
        for (&wire, honest) in &mut self.honest {
            if honest.tcb.deadline() <= self.now {
                honest.tcb.on_timer(self.now, &mut self.pool);
            }
            let mut buffer = [0; 2_048];
            while let Ok(n) = honest.tcb.read(&mut self.pool, &mut buffer) {
                compare(RELAY_SENDS, honest.read, &buffer[..n]);
                honest.read += n as u32;
            }
            while wire != CONTROL && honest.written < honest.wanted {
                let n = (honest.wanted - honest.written).min(2_048) as usize;
                let data = octets(PEER_SENDS, honest.written, n);
                let Ok(n) = honest.tcb.write(&mut self.pool, &data) else {
                    break;
                };
                honest.written += n as u32;
            }
            while let Some(plan) = honest.tcb.plan(self.now, self.pool.available()) {
                let mut payload = Vec::new();
                honest.tcb.payload(&plan, &mut payload);
                let segment = plan.segment(&payload);
                let mut plain = Vec::new();
                tortp::begin(&mut plain);
                tortp::encode(wire, &segment, &mut plain);
                honest.tcb.commit(self.now, &plan);
                out.push(plain);
            }
            honest.tcb.settle(self.now);
        }
        for plain in &out {
            self.send(plain);
        }
        !out.is_empty()
    }

    // ---- the end ----

    /// The circuits that were served well still carry data both ways.
    fn prove(&mut self) {
        self.blocked = false;
        self.settle();
        if self.closed.is_some() || self.short_of_memory {
            return;
        }
        for id in [self.theirs, self.ours].into_iter().flatten() {
            self.circuits.get_mut(&id).expect("served well").wanted += PROOF;
        }
        for honest in self.honest.values_mut() {
            honest.wanted += PROOF;
        }
        for _ in 0..200 {
            if self.is_proven() || self.closed.is_some() {
                break;
            }
            self.pass(SECOND);
        }
        assert!(self.is_proven() || self.closed.is_some(), "data is missing");
    }

    /// All that was to be sent on the circuits that are served well has arrived.
    fn is_proven(&self) -> bool {
        let (mut relay_wanted, mut relay_read) = (0, 0);
        for id in [self.theirs, self.ours].into_iter().flatten() {
            relay_wanted += self.circuits[&id].wanted;
            relay_read += self.circuits[&id].read;
        }
        let (mut peer_wanted, mut peer_read) = (0, 0);
        for (_, honest) in self.honest.iter().filter(|&(&wire, _)| wire != CONTROL) {
            peer_wanted += honest.wanted;
            peer_read += honest.read;
        }
        relay_read == peer_wanted && peer_read == relay_wanted
    }

    /// Everything comes back.
    fn end(mut self) {
        self.endpoint.connection_forget(self.id);
        assert_eq!(self.endpoint.memory(), 0, "memory is lost");
        let stats = self.endpoint.stats();
        assert_eq!((stats.connections, stats.circuits), (0, 0));
        assert_eq!(self.endpoint.poll_event(), None);
    }
}
