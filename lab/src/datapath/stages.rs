//! Experiment 2 of the paper: what each stage of the data path takes for one packet, in wall-clock time, beside its
//! Table 3; and the whole path of a relay between two others.

use std::net::SocketAddr;

use hdrhistogram::Histogram;
use utcp::time::Time;

use super::capi::{self, Application, Circuit, Connection, MAX_CIRCUITS, Relay};
use super::clock;
use super::pair::{CELL, Pair};
use super::socket::{self, Batched};
use super::udp;

/// What was measured of one stage.
pub struct Stage {
    /// Its name.
    pub name: &'static str,
    /// Table 3 of the paper: 80th percentile, microseconds.
    pub paper: Option<f64>,
    /// Nanoseconds.
    pub times: Histogram<u64>,
}

impl Stage {
    fn new(name: &'static str, paper: Option<f64>) -> Stage {
        // Up to ten seconds.
        let times = Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("bounds");
        Stage { name, paper, times }
    }

    fn record(&mut self, begin: u64, units: u64) {
        let nanos = (clock::monotonic() - begin) / units;
        self.times.saturating_record(nanos);
    }

    /// Microseconds.
    pub fn quantile(&self, quantile: f64) -> f64 {
        self.times.value_at_quantile(quantile) as f64 / 1e3
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let paper = self.paper.map_or("-".to_string(), |us| format!("{us:.0}"));
        format!(
            "  {:<44}{:>9.2}{:>9.2}{:>9.2}{paper:>9}",
            self.name,
            self.quantile(0.5),
            self.quantile(0.8),
            self.quantile(0.99)
        )
    }
}

/// The head of the table.
pub fn head(circuits: u32) -> String {
    format!(
        "  {:<44}{:>9}{:>9}{:>9}{:>9}",
        format!("microseconds, {circuits} circuits"),
        "p50",
        "p80",
        "p99",
        "paper"
    )
}

/// Cells that arrive together where they are batched: no more than a circuit takes in at once before its congestion
/// window has grown.
pub const BATCH: usize = 24;

/// Packets that come before the measurement.
const WARM: usize = 2_000;

/// A cell at a time over circuits in turn: transmit (write, TCP, encryption, send on a socket), inject (decryption, TCP),
/// timer (a delayed acknowledgement that is due).
pub fn alone(circuits: u32, samples: usize) -> Vec<Stage> {
    let mut inject = Stage::new("inject: decrypt, TCP", Some(100.0));
    let mut transmit = Stage::new("transmit: TCP, encrypt, send", Some(100.0));
    let mut timer = Stage::new("timer: nothing due", Some(85.0));
    let mut due = Stage::new("timer: delayed acknowledgement", Some(85.0));
    let mut pair = Pair::plain();
    let ids = pair.open(1..1 + circuits);
    // All cells arrive, and circuits fall asleep.
    pair.run(100 * utcp::time::SECOND);
    let (sender, receiver) = (Batched::new(), Batched::new());
    let from = SocketAddr::from(([192, 0, 2, 0], 9_001));
    for n in 0..WARM + samples {
        let id = ids[n % ids.len()];
        // Long enough that the pacing of the last cell is over.
        pair.now = pair.now + 100;
        let now = pair.now;
        let begin = clock::monotonic();
        pair.on(0, |end| {
            end.write(id, &[7; CELL]).expect("room");
            end.process(now);
            sender.send_all(
                receiver.address(),
                end.output().iter().map(|datagram| &datagram.data[..]),
            );
        });
        if n >= WARM {
            transmit.record(begin, 1);
        }
        let cell: Vec<Vec<u8>> = pair
            .end(0)
            .output()
            .iter()
            .map(|datagram| datagram.data.clone())
            .collect();
        pair.on(0, |end| end.sent(cell.len()));
        let _ = receiver.receive(64, &mut Ignore);
        for datagram in &cell {
            let begin = clock::monotonic();
            pair.on(1, |end| end.inject(now, from, datagram, 0));
            if n >= WARM {
                inject.record(begin, 1);
            }
        }
        let begin = clock::monotonic();
        pair.on(0, |end| end.process(now));
        if n >= WARM {
            timer.record(begin, 1);
        }
        // The acknowledgement, when it is due.
        if n % 16 == 15 {
            pair.turn();
            let (now, deadline) = (pair.now, pair.end(1).next_deadline());
            if deadline < Time::NEVER && deadline > now {
                pair.now = deadline;
                let begin = clock::monotonic();
                pair.on(1, |end| end.process(deadline));
                if n >= WARM {
                    due.record(begin, 1);
                }
            }
            pair.turn();
            pair.turn();
        }
    }
    vec![inject, transmit, timer, due]
}

struct Ignore;

impl utcp::udp::Sink for Ignore {
    fn is_ready(&self, _: SocketAddr) -> bool {
        true
    }

    fn datagram(&mut self, _: SocketAddr, _: &[u8], _: u8) -> Result<(), utcp::error::Error> {
        Ok(())
    }
}

/// A relay in the middle: what arrives on a circuit of one connection leaves on the other's with the same number.
#[derive(Default)]
struct Middle {
    next: Option<Connection>,
    /// By number, from 1 on.
    out: Vec<Circuit>,
}

impl Application for Middle {
    fn ready(&mut self, connection: Connection) {
        // It has started a connection before it is found by another.
        self.next.get_or_insert(connection);
    }

    fn readable(&mut self, circuit: Circuit) {
        let mut cell = [0; CELL];
        loop {
            let n = capi::read(circuit, &mut cell);
            if n == 0 {
                return;
            }
            let number = capi::number(circuit) as usize;
            if let Some(out) = self.out.get(number - 1) {
                assert_eq!(capi::write(*out, &cell[..n]), n, "room for a cell");
            }
        }
    }
}

/// The first relay, or the last.
#[derive(Default)]
struct Edge {
    connection: Option<Connection>,
    circuits: Vec<Circuit>,
    read: u64,
}

impl Application for Edge {
    fn ready(&mut self, connection: Connection) {
        self.connection.get_or_insert(connection);
    }

    fn readable(&mut self, circuit: Circuit) {
        let mut buffer = [0; 16 * CELL];
        loop {
            let n = capi::read(circuit, &mut buffer);
            if n == 0 {
                return;
            }
            self.read += n as u64;
        }
    }
}

/// Three relays on real sockets, in one thread, through the C API.
struct Chain {
    first: Relay<Edge>,
    middle: Relay<Middle>,
    last: Relay<Edge>,
    /// Octets that were sent.
    sent: u64,
}

/// Reads and sends until the relay has nothing to do; whether it had.
fn work<A: Application>(relay: &mut Relay<A>) -> bool {
    let now = clock::micros();
    let received = relay.receive(now, 512);
    if received == 0 && relay.deadline() <= now {
        relay.process(now);
        return true;
    }
    received > 0
}

impl Chain {
    fn new(circuits: u32) -> Chain {
        let options = [(MAX_CIRCUITS, 1 << 20)];
        let mut chain = Chain {
            first: Relay::new(udp(), &options, Edge::default()),
            middle: Relay::new(udp(), &options, Middle::default()),
            last: Relay::new(udp(), &options, Edge::default()),
            sent: 0,
        };
        let now = clock::micros();
        chain.middle.connect(now, chain.last.address());
        chain.middle.process(now);
        while chain.middle.app().next.is_none() {
            chain.round();
        }
        chain.first.connect(clock::micros(), chain.middle.address());
        chain.first.process(clock::micros());
        while chain.first.app().connection.is_none() {
            chain.round();
        }
        let next = chain.middle.app().next.expect("ready");
        let connection = chain.first.app().connection.expect("ready");
        for number in 1..=circuits {
            let out = capi::open(next, number);
            chain.middle.app().out.push(out);
            let circuit = capi::open(connection, number);
            chain.first.app().circuits.push(circuit);
            chain.write(circuit);
            if number.is_multiple_of(64) {
                chain.arrive();
            }
        }
        chain.arrive();
        chain
    }

    /// Each relay does what it has to do; whether that was anything.
    fn round(&mut self) -> bool {
        let busy = [
            work(&mut self.first),
            work(&mut self.middle),
            work(&mut self.last),
        ];
        if busy == [false; 3] {
            let now = clock::micros();
            let due = self.first.deadline();
            let due = due.min(self.middle.deadline()).min(self.last.deadline());
            let span = due.saturating_sub(now).min(5_000);
            socket::wait(&[(self.middle.fd(), false)], span as u32 * 1_000);
        }
        busy != [false; 3]
    }

    fn write(&mut self, circuit: Circuit) {
        assert_eq!(capi::write(circuit, &[7; CELL]), CELL, "room for a cell");
        self.sent += CELL as u64;
    }

    /// Until all has arrived.
    fn arrive(&mut self) {
        self.first.process(clock::micros());
        while self.last.app().read < self.sent {
            self.round();
        }
    }
}

/// The whole path through a relay, for a cell: read it from the socket, demultiplex, decrypt, TCP, read the stream, write to
/// the next, TCP, encrypt, send; `batch` cells on as many circuits arrive together. The acknowledgements that come back for
/// them are a stage of their own.
pub fn whole(circuits: u32, batch: usize, samples: usize) -> Vec<Stage> {
    let (path, back) = match batch {
        1 => (
            "whole path, a cell alone",
            "its acknowledgements and timers",
        ),
        _ => (
            "whole path, cells batched: each",
            "their acknowledgements: each",
        ),
    };
    let mut path = Stage::new(path, Some(250.0));
    let mut back = Stage::new(back, None);
    let mut chain = Chain::new(circuits);
    let handles = chain.first.app().circuits.clone();
    let mut handles = handles.iter().cycle();
    for n in 0..WARM / batch + samples {
        let counts = n >= WARM / batch;
        for _ in 0..batch {
            chain.write(*handles.next().expect("a cycle"));
        }
        // Pacing may hold some back: then there is more than one turn.
        chain.first.process(clock::micros());
        let (mut forward, mut other) = (0, 0);
        while chain.last.app().read < chain.sent {
            let now = clock::micros();
            let before = chain.last.app().read;
            let begin = clock::monotonic();
            chain.middle.receive(now, 512);
            forward += clock::monotonic() - begin;
            while work(&mut chain.last) {}
            if chain.last.app().read == before {
                // Only what came too early, or is to be sent later.
                work(&mut chain.first);
                let begin = clock::monotonic();
                work(&mut chain.middle);
                forward += clock::monotonic() - begin;
            }
        }
        // The last relay's acknowledgements are there.
        let begin = clock::monotonic();
        while work(&mut chain.middle) {}
        other += clock::monotonic() - begin;
        while work(&mut chain.first) {}
        if counts {
            path.times.saturating_record(forward / batch as u64);
            back.times.saturating_record(other / batch as u64);
        }
    }
    vec![path, back]
}
