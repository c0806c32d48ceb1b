//! What circuits cost in memory, counted at the allocator.

#[path = "sim/identity.rs"]
#[allow(dead_code)] // the pin is for the simulator
mod identity;

use std::net::SocketAddr;

use identity::identity;
use utcp::config::Config;
use utcp::endpoint::{CircuitId, ConnectionId, Endpoint, Event};
use utcp::error::{CloseReason, Error};
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
    /// Those that have ended at either otherwise than in order.
    broken: usize,
    /// Whether the second end reads what arrives.
    reading: bool,
    /// What it has not read.
    unread: Vec<CircuitId>,
    /// It closes what the first has closed.
    closing: bool,
}

impl Pair {
    fn new() -> Pair {
        Pair::with_budget(1 << 30)
    }

    /// The second end may hold so much queued data.
    fn with_budget(memory_budget: u64) -> Pair {
        let receiver = Config {
            memory_budget,
            connection_share: 100,
            ..config(1)
        };
        let mut pair = Pair {
            ends: [config(0), receiver].map(|config| Endpoint::new(config).expect("an endpoint")),
            now: Time(100 * SECOND),
            connection: None,
            read: 0,
            open: 0,
            broken: 0,
            reading: true,
            unread: Vec::new(),
            closing: false,
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
                Event::Readable(id) if self.reading => self.read(who, id),
                Event::Readable(id) => self.unread.push(id),
                Event::CircuitClosed(id, reason) => {
                    self.ends[who].circuit_forget(id);
                    self.broken += usize::from(reason != CloseReason::Done);
                    self.open -= usize::from(who == 1);
                }
                _ => {}
            }
        }
    }

    fn read(&mut self, who: usize, id: CircuitId) {
        let mut buffer = [0; 4 * CELL];
        loop {
            match self.ends[who].read(id, &mut buffer) {
                Ok(n) => self.read += n,
                Err(Error::End) if self.closing => {
                    let _ = self.ends[who].close(id);
                    return;
                }
                Err(_) => return,
            }
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
    run(&mut pair, 2_000);
    let read = pair.read;
    let allocations = allocation_counter::measure(|| run(&mut pair, 5_000)).count_total;
    println!("{allocations} allocations");
    assert_eq!(pair.read - read, 5_000 * CELL);
    assert_eq!(allocations, 0);
}

#[test]
fn circuits_opened_and_closed_again_and_again_leave_nothing_behind() {
    const COUNT: u32 = 2_000;
    let mut pair = Pair::new();
    pair.closing = true;
    let mut round = || {
        for id in pair.open(1..1 + COUNT) {
            assert_eq!(pair.ends[0].close(id), Ok(()));
        }
        // Until nothing of the old ones could still arrive.
        pair.run(130 * SECOND);
        assert_eq!((pair.open, pair.broken), (0, 0));
    };
    // What the first round has made grow, the next ones use again.
    growth(&mut round);
    let grown: Vec<i64> = (0..4).map(|_| growth(&mut round)).collect();
    println!("{grown:?} octets");
    let all: i64 = grown.iter().sum();
    assert!(all < 16_384, "{grown:?}");
}

#[test]
fn a_reader_that_stops_costs_no_more_than_the_budget_and_no_circuit() {
    const BUDGET: u64 = 1 << 20;
    const COUNT: u32 = 500;
    // Four times what the budget is.
    const EACH: usize = 4 * BUDGET as usize / COUNT as usize;
    let mut pair = Pair::with_budget(BUDGET);
    let ids = pair.open(1..1 + COUNT);
    pair.run(2 * SECOND);
    let before = pair.read;
    pair.reading = false;
    for id in &ids {
        assert_eq!(pair.ends[0].write(*id, &[7; EACH]), Ok(EACH));
    }
    let mut most = 0;
    let mut run = |pair: &mut Pair, turns: usize| {
        for _ in 0..turns {
            pair.turn();
            most = most.max(pair.ends[1].memory());
        }
    };
    run(&mut pair, 6_000);
    assert!(pair.ends[1].memory() > BUDGET / 2, "it was put to the test");
    pair.reading = true;
    for id in std::mem::take(&mut pair.unread) {
        pair.read(1, id);
    }
    run(&mut pair, 24_000);
    assert_eq!(pair.read - before, EACH * COUNT as usize);
    assert_eq!((pair.open, pair.broken), (COUNT as usize, 0));
    assert!(most <= BUDGET, "{most} octets");
}
