//! The end of a connection with thousands of circuits: what the relay hears and may do while they are visited, some a call.

#[path = "sim/identity.rs"]
#[allow(dead_code)] // the pin is for the simulator
mod identity;

use std::net::SocketAddr;

use identity::identity;
use utcp::config::Config;
use utcp::endpoint::{CircuitId, ConnectionId, ConnectionState, Endpoint, Event};
use utcp::error::{CloseReason, Error};
use utcp::time::{MILLISECOND, SECOND, Time};

const COUNT: u32 = 3_000;
const CELL: usize = 514;
/// Circuits that one call may visit.
const SOME: usize = 512;

fn address(who: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, who as u8], 9_001))
}

/// Three endpoints with nothing between them but 5 ms. The first is looked at.
struct World {
    ends: [Endpoint; 3],
    now: Time,
    ready: Option<ConnectionId>,
}

impl World {
    /// With a connection.
    fn new() -> (World, ConnectionId) {
        let end = |who: usize| {
            Endpoint::new(Config {
                chain: identity(who).chain.clone(),
                key: identity(who).key.clone(),
                memory_budget: 1 << 30,
                ..Config::default()
            })
            .expect("an endpoint")
        };
        let mut world = World {
            ends: [0, 1, 2].map(end),
            now: Time(100 * SECOND),
            ready: None,
        };
        let id = world.connect(1);
        (world, id)
    }

    fn connect(&mut self, whom: usize) -> ConnectionId {
        self.ready = None;
        let id = self.ends[0].connect(self.now, address(whom), None);
        let id = id.expect("a connection");
        for _ in 0..100 {
            self.turn();
        }
        assert_eq!(self.ready, Some(id));
        id
    }

    /// Everything that is to happen now. Events of the first end that tell of an end are returned.
    fn turn(&mut self) -> Vec<Event> {
        self.now = self.now + 5 * MILLISECOND;
        let mut ends = Vec::new();
        for who in 0..3 {
            self.ends[who].process(self.now);
            while let Some(event) = self.ends[who].poll_event() {
                match event {
                    Event::ConnectionIncoming(id, _) => self.ends[who].accept(self.now, id, true),
                    Event::ConnectionVerify(id) => self.ends[who].verified(self.now, id, true),
                    Event::ConnectionReady(id) if who == 0 => self.ready = Some(id),
                    Event::CircuitClosed(..) | Event::ConnectionClosed(..) if who == 0 => {
                        ends.push(event);
                    }
                    _ => {}
                }
            }
            let sent = self.ends[who].output().len();
            for n in 0..sent {
                let datagram = self.ends[who].output()[n].clone();
                let to = (0..3).find(|&to| address(to) == datagram.peer);
                let to = &mut self.ends[to.expect("one of them")];
                to.inject(self.now, address(who), &datagram.data, datagram.ecn);
            }
            self.ends[who].sent(sent);
        }
        ends
    }

    /// So many circuits, each with a cell that waits to be sent.
    fn open(&mut self, connection: ConnectionId, numbers: std::ops::Range<u32>) -> Vec<CircuitId> {
        let mut ids = Vec::new();
        for number in numbers {
            let id = self.ends[0].open_circuit(connection, number);
            let id = id.expect("a circuit");
            assert_eq!(self.ends[0].write(id, &[7; CELL]), Ok(CELL));
            ids.push(id);
        }
        ids
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.ends[0].poll_event()).collect()
    }

    /// Whether there is something left to be done at once.
    fn is_due(&self) -> bool {
        self.ends[0].next_deadline() <= self.now + 1
    }

    /// One call of the first end alone; its events.
    fn call(&mut self) -> Vec<Event> {
        assert!(self.is_due());
        self.now = self.now + 1;
        self.ends[0].process(self.now);
        self.events()
    }
}

#[test]
fn circuits_are_reported_some_a_call_and_all_of_them_before_the_connection() {
    let (mut world, connection) = World::new();
    let mut ids = world.open(connection, 1..COUNT + 1);
    world.ends[0].connection_close(connection).expect("open");
    // What shows at once: the state, and that the peer's address is free.
    let state = world.ends[0].connection_state(connection);
    assert_eq!(state, ConnectionState::Closed);
    assert_eq!(world.ends[0].find(address(1)), None);
    assert_eq!(world.ends[0].stats().circuits, 0);

    let mut told = world.events();
    let mut calls = 0;
    while !told
        .iter()
        .any(|event| matches!(event, Event::ConnectionClosed(..)))
    {
        let some = world.call();
        assert!(some.len() <= 2 * SOME, "{}", some.len());
        told.extend(some);
        calls += 1;
        assert!(calls < 20);
    }
    assert!(calls >= 3, "{calls}");
    let last = told.pop();
    assert_eq!(
        last,
        Some(Event::ConnectionClosed(connection, CloseReason::Local))
    );
    let mut closed: Vec<CircuitId> = told
        .iter()
        .map(|event| match event {
            Event::CircuitClosed(id, CloseReason::Connection) => *id,
            other => panic!("{other:?}"),
        })
        .collect();
    closed.sort_unstable();
    ids.sort_unstable();
    assert_eq!(closed, ids, "each once");
    assert_eq!(world.ends[0].memory(), 0);
    assert!(!world.is_due());
}

#[test]
fn no_call_finds_a_circuit_alive_whose_connection_has_ended() {
    let (mut world, connection) = World::new();
    let ids = world.open(connection, 1..COUNT + 1);
    world.ends[0].connection_close(connection).expect("open");
    let end = &mut world.ends[0];
    let mut late = ids.iter().rev().copied();
    let mut next = || late.next().expect("enough");
    type Call = fn(&mut Endpoint, CircuitId) -> Result<(), Error>;
    let calls: [(&str, Call); 10] = [
        ("write", |end, id| end.write(id, &[7]).map(|_| ())),
        ("read", |end, id| end.read(id, &mut [0]).map(|_| ())),
        ("finish", Endpoint::finish),
        ("close", Endpoint::close),
        ("abort", Endpoint::abort),
        ("set_events", |end, id| end.set_events(id, 0)),
        ("set_rate", |end, id| end.set_rate(id, 1)),
        ("set_priority", |end, id| end.set_priority(id, 1)),
        ("set_coupled", |end, id| end.set_coupled(id, true)),
        ("set_send_buffer", |end, id| end.set_send_buffer(id, 8_192)),
    ];
    let mut touched = Vec::new();
    for (name, call) in calls {
        let id = next();
        // Looking changes nothing, and tells the end already.
        assert_eq!((end.readable(id), end.room(id)), (0, 0), "{name}");
        let info = end.circuit_info(id).expect("not let go of");
        assert_eq!((info.state, info.send_queue), (10, 0), "{name}");
        assert_eq!(call(end, id), Err(Error::Closed), "{name}");
        let again = end.circuit_info(id).expect("not let go of");
        assert_eq!((again.state, again.send_queue), (10, 0), "{name}");
        touched.push(id);
    }
    assert_eq!(end.open_circuit(connection, 9_999), Err(Error::Closed));
    let mut told = world.events();
    while world.is_due() {
        told.extend(world.call());
    }
    // Each was told of once, whoever found it first, and before the connection.
    assert_eq!(told.len(), ids.len() + 1);
    assert!(matches!(
        told.last(),
        Some(Event::ConnectionClosed(id, CloseReason::Local)) if *id == connection
    ));
    for id in touched {
        let closed = Event::CircuitClosed(id, CloseReason::Connection);
        assert_eq!(told.iter().filter(|&&event| event == closed).count(), 1);
    }
}

#[test]
fn a_new_connection_to_the_peer_begins_while_the_old_ones_circuits_are_visited() {
    let (mut world, old) = World::new();
    let ids = world.open(old, 1..COUNT + 1);
    world.ends[0].connection_close(old).expect("open");
    world.ready = None;
    let new = world.ends[0].connect(world.now, address(1), None);
    let new = new.expect("its address is free");
    let mut told = Vec::new();
    for _ in 0..100 {
        told.extend(world.turn());
    }
    assert_eq!(world.ready, Some(new));
    assert_eq!(told.len(), ids.len() + 1);
    let last = Event::ConnectionClosed(old, CloseReason::Local);
    assert_eq!(told.last(), Some(&last));
    assert_eq!(world.ends[0].connection_state(new), ConnectionState::Ready);
}

#[test]
fn a_relay_that_frees_what_it_hears_of_and_what_it_does_not_is_told_no_more_of_it() {
    let (mut world, connection) = World::new();
    let ids = world.open(connection, 1..COUNT + 1);
    world.ends[0].connection_close(connection).expect("open");
    let freed: Vec<CircuitId> = ids.iter().rev().step_by(3).copied().collect();
    for &id in &freed {
        world.ends[0].circuit_forget(id);
        assert!(world.ends[0].circuit_info(id).is_none());
    }
    let mut told = 0;
    let mut ended = false;
    let mut events = world.events();
    loop {
        for event in events {
            assert!(!ended, "nothing after the connection's");
            match event {
                Event::CircuitClosed(id, _) => {
                    assert!(!freed.contains(&id));
                    world.ends[0].circuit_forget(id);
                    told += 1;
                }
                Event::ConnectionClosed(..) => ended = true,
                other => panic!("{other:?}"),
            }
        }
        if !world.is_due() {
            break;
        }
        events = world.call();
    }
    assert!(ended);
    assert_eq!(told, ids.len() - freed.len());
    world.ends[0].connection_forget(connection);
    assert_eq!(world.ends[0].memory(), 0);
    assert!(!world.is_due());
}

#[test]
fn a_connection_that_is_forgotten_gives_its_memory_back_without_a_word() {
    // In the middle of its end, and instead of it.
    for calls in [0, 2] {
        let (mut world, connection) = World::new();
        let ids = world.open(connection, 1..COUNT + 1);
        let full = world.ends[0].memory();
        if calls > 0 {
            world.ends[0].connection_close(connection).expect("open");
        }
        for _ in 0..calls {
            world.call();
        }
        world.ends[0].connection_forget(connection);
        assert!(world.ends[0].connection_info(connection).is_none());
        for &id in &ids {
            assert_eq!(world.ends[0].write(id, &[7]), Err(Error::Closed));
            world.ends[0].circuit_forget(id);
        }
        let mut held = world.ends[0].memory();
        assert!((1..full).contains(&held), "{held}");
        assert_eq!(world.events(), []);
        while world.is_due() {
            assert_eq!(world.call(), []);
            let now_held = world.ends[0].memory();
            let some = (held - now_held) / 2_048;
            assert!(some <= 2 * SOME as u64, "{some}");
            held = now_held;
        }
        assert_eq!(held, 0);
        // All is well with the peer.
        let again = world.connect(1);
        let id = world.open(again, 1..2)[0];
        world.turn();
        assert!(world.ends[0].circuit_info(id).is_some());
    }
}

#[test]
fn what_has_ended_is_shed_before_what_lives() {
    // Ended and not visited; and let go of.
    for forget in [false, true] {
        let (mut world, old) = World::new();
        let new = world.connect(2);
        world.open(old, 1..COUNT + 1);
        // One that lives holds more than any of those.
        let live = world.open(new, 1..2)[0];
        assert_eq!(world.ends[0].write(live, &[7; 10 * CELL]), Ok(10 * CELL));
        let kept = world.ends[0].circuit_info(live).map(|info| info.send_queue);
        world.ends[0].connection_close(old).expect("open");
        world.events();
        if forget {
            world.ends[0].connection_forget(old);
        }
        let held = world.ends[0].memory();
        let shed = world.ends[0].shed(held / 2);
        assert!((held / 2..held).contains(&shed), "{shed} of {held}");
        let info = world.ends[0].circuit_info(live);
        assert_eq!(info.map(|info| info.send_queue), kept);
        // None hears of a lack of memory: they had ended before.
        let mut told = world.events();
        while world.is_due() {
            told.extend(world.call());
        }
        let closed = |event: &&Event| matches!(event, Event::CircuitClosed(..));
        let connection =
            |event: &&Event| matches!(event, Event::CircuitClosed(_, CloseReason::Connection));
        let all = told.iter().filter(closed).count();
        assert_eq!(told.iter().filter(connection).count(), all);
        assert_eq!(
            all,
            if forget {
                0
            } else {
                COUNT as usize - (SOME - 1)
            }
        );
    }
}

#[test]
fn an_endpoint_that_goes_in_the_middle_takes_everything_with_it() {
    let (mut world, connection) = World::new();
    world.open(connection, 1..COUNT + 1);
    world.ends[0].connection_close(connection).expect("open");
    world.call();
    let (mut other, second) = World::new();
    other.open(second, 1..COUNT + 1);
    other.ends[0].connection_forget(second);
    other.call();
    assert!(world.is_due() && other.is_due());
    drop((world, other));
}

#[test]
fn the_peer_hears_of_the_end_as_soon_as_ever() {
    let (mut world, connection) = World::new();
    world.open(connection, 1..COUNT + 1);
    world.turn();
    world.ends[0].connection_close(connection).expect("open");
    // The first call has the last words in its output, however many circuits are left.
    world.turn();
    world.turn();
    assert_eq!(world.ends[1].find(address(0)), None);
}

#[test]
fn what_a_forgotten_connection_has_not_read_does_not_stand_in_the_way_of_others() {
    const BULK: usize = 200_000;
    let (mut world, first) = World::new();
    world.connect(2);
    let open = |world: &mut World, who: usize, count: u32| -> Vec<CircuitId> {
        let back = world.ends[who].find(address(0)).expect("connected");
        let open = |number| world.ends[who].open_circuit(back, number);
        (1..=count)
            .map(open)
            .map(|id| id.expect("a circuit"))
            .collect()
    };
    let read_all = |world: &mut World| {
        let mut octets = 0;
        let mut buffer = vec![0; 2 * BULK];
        for event in world.events() {
            if let Event::Readable(id) = event {
                let n = world.ends[0].read(id, &mut buffer).unwrap_or(0);
                assert!(buffer[..n].iter().all(|&octet| octet == 2));
                octets += n;
            }
        }
        octets
    };
    // Another's circuit, and what is still to be written to it.
    let bulk = open(&mut world, 2, 1)[0];
    let mut left = 3 * BULK;
    // What end 2 has to say now goes to the first end, which does nothing about it by itself.
    let carry = |world: &mut World, left: &mut usize| {
        world.now = world.now + MILLISECOND;
        *left -= world.ends[2].write(bulk, &vec![2; *left]).unwrap_or(0);
        world.ends[2].process(world.now);
        let sent: Vec<_> = world.ends[2].output().iter().cloned().collect();
        for datagram in &sent {
            world.ends[0].inject(world.now, address(2), &datagram.data, datagram.ecn);
        }
        world.ends[2].sent(sent.len());
        sent.len()
    };
    // Its window grows.
    let mut read = 0;
    for _ in 0..1_000 {
        carry(&mut world, &mut left);
        read += read_all(&mut world);
        world.ends[0].process(world.now);
        let sent: Vec<_> = world.ends[0].output().iter().cloned().collect();
        for datagram in sent.iter().filter(|d| d.peer == address(2)) {
            world.ends[2].inject(world.now, address(0), &datagram.data, datagram.ecn);
        }
        world.ends[0].sent(sent.len());
    }
    assert_eq!(read, 3 * BULK);
    // Cells that nobody reads: the latest are still where they were decrypted.
    for id in open(&mut world, 1, 2_000) {
        assert_eq!(world.ends[1].write(id, &[1; CELL]), Ok(CELL));
    }
    for _ in 0..100 {
        world.turn();
    }
    assert!(world.ends[0].memory() >= 2_000 * CELL as u64);
    // More circuits than are freed at once, and before the others are, more arrives than can stay anywhere.
    world.ends[0].connection_forget(first);
    left = BULK;
    let came: usize = (0..40).map(|_| carry(&mut world, &mut left)).sum();
    assert!(came > 64, "{came}");
    assert!(read_all(&mut world) > 64_000);
    while world.ends[0].memory() > 0 {
        world.call();
    }
}
