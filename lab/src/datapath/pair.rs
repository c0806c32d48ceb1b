//! Two endpoints in memory and virtual time, with 5 ms between them: everything but the randomness of the handshake
//! repeats exactly.

use std::net::SocketAddr;

use utcp::config::Config;
use utcp::endpoint::{CircuitId, ConnectionId, Endpoint, Event};
use utcp::error::CloseReason;
use utcp::time::{MILLISECOND, SECOND, Time};

use super::identity;

/// A relay cell with its header.
pub const CELL: usize = 514;

/// One way.
const DELAY: u64 = 5 * MILLISECOND;

/// The window of each circuit: a bulk flow does not grow without end.
const WINDOW: usize = 1 << 20;

/// Measures what an end does: runs the work, which may allocate.
pub type Meter = fn(who: usize, work: &mut dyn FnMut());

fn unmeasured(_: usize, work: &mut dyn FnMut()) {
    work();
}

/// See the module.
pub struct Pair {
    ends: [Endpoint; 2],
    /// The time at both.
    pub now: Time,
    connection: Option<ConnectionId>,
    meter: Meter,
    /// One of so many datagrams of the first end's is lost; 0: none.
    pub lose: u64,
    offered: u64,
    /// Whether the second end reads what arrives.
    pub reading: bool,
    /// What it has still to read.
    unread: Vec<CircuitId>,
    /// What it reads into.
    buffer: Vec<u8>,
    /// Octets that it has read.
    pub read: u64,
    /// Circuits that are open at the second end.
    pub incoming: Vec<CircuitId>,
    /// Circuits that have ended at either end otherwise than in order.
    pub broken: u64,
    /// Circuits that have ended at both.
    pub closed: u64,
    /// Circuits that the second end closes as soon as the first has.
    pub closing: bool,
    /// Circuits with room again.
    pub writable: Vec<CircuitId>,
}

fn address(who: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, who as u8], 9_001))
}

impl Pair {
    /// A connection that is ready; `budget` is the second end's for queued data.
    pub fn new(budget: u64, meter: Meter) -> Pair {
        let (chain, key) = identity();
        let ends = [1 << 32, budget].map(|memory_budget| {
            let config = Config {
                chain: chain.clone(),
                key: key.clone(),
                max_circuits: 1 << 20,
                receive_buffer: WINDOW,
                memory_budget,
                // There is one connection only.
                connection_share: 100,
                ..Config::default()
            };
            Endpoint::new(config).expect("an endpoint")
        });
        let mut pair = Pair {
            ends,
            now: Time(100 * SECOND),
            connection: None,
            meter,
            lose: 0,
            offered: 0,
            reading: true,
            unread: Vec::new(),
            buffer: vec![0; 16 * CELL],
            read: 0,
            incoming: Vec::new(),
            broken: 0,
            closed: 0,
            closing: false,
            writable: Vec::new(),
        };
        let now = pair.now;
        pair.ends[0]
            .connect(now, address(1), None)
            .expect("a connection");
        while pair.connection.is_none() {
            pair.turn();
        }
        pair.run(SECOND);
        pair
    }

    /// With budget to spare, and not measured.
    pub fn plain() -> Pair {
        Pair::new(1 << 32, unmeasured)
    }

    /// One end, measured.
    pub fn on<T>(&mut self, who: usize, mut work: impl FnMut(&mut Endpoint) -> T) -> T {
        let end = &mut self.ends[who];
        let mut result = None;
        (self.meter)(who, &mut || result = Some(work(end)));
        result.expect("the meter runs it")
    }

    /// One end.
    pub fn end(&self, who: usize) -> &Endpoint {
        &self.ends[who]
    }

    /// Everything that is to happen in 5 ms.
    pub fn turn(&mut self) {
        self.now = self.now + DELAY;
        let now = self.now;
        for who in 0..2 {
            loop {
                self.on(who, |end| end.process(now));
                self.events(who);
                self.carry(who);
                if self.ends[who].next_deadline() > now {
                    break;
                }
            }
        }
    }

    /// Takes the datagrams of an end to the other.
    fn carry(&mut self, who: usize) {
        let (now, meter) = (self.now, self.meter);
        let [a, b] = &mut self.ends;
        let (from, to) = if who == 0 { (a, b) } else { (b, a) };
        for datagram in from.output() {
            if who == 0 && self.lose > 0 {
                self.offered += 1;
                if self.offered.is_multiple_of(self.lose) {
                    continue;
                }
            }
            meter(1 - who, &mut || {
                to.inject(now, address(who), &datagram.data, datagram.ecn)
            });
        }
        let sent = from.output().len();
        meter(who, &mut || from.sent(sent));
    }

    fn events(&mut self, who: usize) {
        while let Some(event) = self.on(who, Endpoint::poll_event) {
            let now = self.now;
            match event {
                Event::ConnectionIncoming(id, _) => self.on(who, |end| end.accept(now, id, true)),
                Event::ConnectionVerify(id) => self.on(who, |end| end.verified(now, id, true)),
                Event::ConnectionReady(id) if who == 0 => self.connection = Some(id),
                Event::CircuitIncoming(_, id, _) => {
                    self.on(who, |end| end.accept_circuit(id, true));
                    self.incoming.push(id);
                }
                Event::Readable(id) if self.reading => self.read_all(who, id),
                Event::Readable(id) => self.unread.push(id),
                Event::Writable(id) => self.writable.push(id),
                Event::CircuitClosed(id, reason) => {
                    self.on(who, |end| end.circuit_forget(id));
                    self.broken += u64::from(reason != CloseReason::Done);
                    self.closed += 1;
                }
                _ => {}
            }
        }
    }

    fn read_all(&mut self, who: usize, id: CircuitId) {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.read_into(who, id, &mut buffer);
        self.buffer = buffer;
    }

    fn read_into(&mut self, who: usize, id: CircuitId, buffer: &mut [u8]) {
        loop {
            match self.on(who, |end| end.read(id, buffer)) {
                Ok(n) => self.read += n as u64,
                Err(utcp::error::Error::End) if self.closing => {
                    let _ = self.on(who, |end| end.close(id));
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// The second end reads again.
    pub fn resume(&mut self) {
        self.reading = true;
        for id in std::mem::take(&mut self.unread) {
            self.read_all(1, id);
        }
    }

    /// Lets so many microseconds pass.
    pub fn run(&mut self, span: u64) {
        let end = self.now + span;
        while self.now < end {
            self.turn();
        }
    }

    /// Opens circuits with these numbers, a cell on each, with turns between so that they do not wait for each other.
    pub fn open(&mut self, numbers: std::ops::Range<u32>) -> Vec<CircuitId> {
        let connection = self.connection.expect("connected");
        let mut ids = Vec::with_capacity(numbers.len());
        for number in numbers {
            let opened = self.on(0, |end| {
                let id = end.open_circuit(connection, number)?;
                end.write(id, &[7; CELL])?;
                Ok::<_, utcp::error::Error>(id)
            });
            ids.push(opened.expect("a circuit"));
            if ids.len().is_multiple_of(200) {
                self.turn();
            }
        }
        ids
    }

    /// Writes as much as there is room for; returns how much that was.
    pub fn fill(&mut self, id: CircuitId) -> usize {
        let cells = [7; 16 * CELL];
        let mut written = 0;
        while let Ok(n) = self.on(0, |end| end.write(id, &cells)) {
            written += n;
            if n < cells.len() {
                break;
            }
        }
        written
    }
}
