//! What circuits cost in memory, counted at the allocator.

#[path = "sim/identity.rs"]
#[allow(dead_code)] // the pin is for the simulator
mod identity;

use std::net::SocketAddr;

use identity::identity;
use utcp::config::Config;
use utcp::endpoint::{CircuitId, ConnectionId, Endpoint, Event};
use utcp::time::{MILLISECOND, SECOND, Time};

const CELL: usize = 514;

fn config(who: usize) -> Config {
    Config {
        chain: identity(who).chain.clone(),
        key: identity(who).key.clone(),
        ..Config::default()
    }
}

fn address(who: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, who as u8], 9_001))
}

/// Two endpoints with nothing between them but 5 ms.
struct Pair {
    ends: [Endpoint; 2],
    now: Time,
    connection: Option<ConnectionId>,
    /// Octets that the second end has read.
    read: usize,
    /// Circuits open at the second end.
    open: usize,
}

impl Pair {
    fn new() -> Pair {
        let mut pair = Pair {
            ends: [0, 1].map(|who| Endpoint::new(config(who)).expect("an endpoint")),
            now: Time(100 * SECOND),
            connection: None,
            read: 0,
            open: 0,
        };
        let id = pair.ends[0]
            .connect(pair.now, address(1), None)
            .expect("a connection");
        while pair.connection.is_none() {
            pair.turn();
        }
        assert_eq!(pair.connection, Some(id));
        pair.run(SECOND);
        pair
    }

    /// Everything that is to happen now.
    fn turn(&mut self) {
        self.now = self.now + 5 * MILLISECOND;
        for who in 0..2 {
            self.ends[who].process(self.now);
            self.events(who);
            let [a, b] = &mut self.ends;
            let (from, to) = if who == 0 { (a, b) } else { (b, a) };
            for datagram in from.output() {
                to.inject(self.now, address(who), &datagram.data, datagram.ecn);
            }
            let sent = from.output().len();
            from.sent(sent);
        }
    }

    fn events(&mut self, who: usize) {
        while let Some(event) = self.ends[who].poll_event() {
            match event {
                Event::ConnectionIncoming(id, _) => self.ends[who].accept(self.now, id, true),
                Event::ConnectionVerify(id) => self.ends[who].verified(self.now, id, true),
                Event::ConnectionReady(id) if who == 0 => self.connection = Some(id),
                Event::CircuitIncoming(..) => self.open += 1,
                Event::Readable(id) => self.read(who, id),
                Event::CircuitClosed(id, _) => {
                    self.ends[who].circuit_forget(id);
                    self.open -= usize::from(who == 1);
                }
                _ => {}
            }
        }
    }

    fn read(&mut self, who: usize, id: CircuitId) {
        let mut buffer = [0; 4 * CELL];
        while let Ok(n) = self.ends[who].read(id, &mut buffer) {
            self.read += n;
        }
    }

    fn run(&mut self, span: u64) {
        let end = self.now + span;
        while self.now < end {
            self.turn();
        }
    }

    /// Opens circuits with these numbers and sends a cell on each.
    fn open(&mut self, numbers: std::ops::Range<u32>) -> Vec<CircuitId> {
        let connection = self.connection.expect("connected");
        let mut ids = Vec::new();
        for number in numbers {
            let id = self.ends[0]
                .open_circuit(connection, number)
                .expect("a circuit");
            assert_eq!(self.ends[0].write(id, &[7; CELL]), Ok(CELL));
            ids.push(id);
        }
        ids
    }
}

/// Octets on the heap by now, of what this thread has allocated since `start` was called.
fn growth(act: impl FnOnce()) -> i64 {
    allocation_counter::measure(act).bytes_current
}

#[test]
fn an_idle_circuit_takes_400_octets_at_most() {
    const COUNT: u32 = 4_000;
    let mut pair = Pair::new();
    // What the first ones have made grow stays with the connection.
    pair.open(1..101);
    pair.run(100 * SECOND);
    let grown = growth(|| {
        pair.open(101..101 + COUNT);
        pair.run(5 * SECOND);
        pair.run(100 * SECOND);
    });
    assert_eq!(pair.read, (100 + COUNT as usize) * CELL);
    let each = grown / (2 * i64::from(COUNT));
    println!("{each} octets each");
    assert!(each <= 400, "{each} octets");
}

impl Pair {
    /// Writes as much as there is room for; returns how much that was.
    fn fill(&mut self, id: CircuitId) -> usize {
        let cell = [7; CELL];
        let mut written = 0;
        while let Ok(n) = self.ends[0].write(id, &cell) {
            written += n;
        }
        written
    }
}

#[test]
fn a_stream_of_data_allocates_nothing() {
    let mut pair = Pair::new();
    let id = pair.open(1..2)[0];
    let run = |pair: &mut Pair, turns: u32| {
        for _ in 0..turns {
            pair.fill(id);
            pair.turn();
        }
    };
    run(&mut pair, 2_000);
    let before = (pair.read, pair.ends[0].stats().datagrams_sent);
    let allocations = allocation_counter::measure(|| run(&mut pair, 200)).count_total;
    let datagrams = pair.ends[0].stats().datagrams_sent - before.1;
    println!(
        "{allocations} allocations, {datagrams} datagrams, {} octets",
        pair.read - before.0
    );
    assert!(datagrams > 1_000);
    assert_eq!(allocations, 0);
}

#[test]
fn cells_now_and_then_allocate_nothing() {
    let mut pair = Pair::new();
    let ids = pair.open(1..51);
    let run = |pair: &mut Pair, turns: u32| {
        for turn in 0..turns {
            let id = ids[turn as usize % ids.len()];
            assert_eq!(pair.ends[0].write(id, &[7; CELL]), Ok(CELL));
            for _ in 0..3 {
                pair.turn();
            }
        }
    };
    run(&mut pair, 500);
    let read = pair.read;
    let allocations = allocation_counter::measure(|| run(&mut pair, 500)).count_total;
    println!("{allocations} allocations");
    assert_eq!(pair.read - read, 500 * CELL);
    assert_eq!(allocations, 0);
}
