//! A connection and its account in the pool: every block is counted, whatever becomes of the circuit, and what gives way
//! first.

use super::tests::Side;
use crate::config::Config;
use crate::endpoint::{CircuitId, Event};
use crate::error::{CloseReason, Error};
use crate::pool::{BLOCK_SIZE, Use};
use crate::tcp::BEDTIME;
use crate::tcp::segment::{Flags, Options, Segment};
use crate::tcp::seq::Seq;
use crate::tortp;

/// The peer's first octet after the data on its SYN.
const FIRST: u32 = 507;

/// 64 blocks, of which the connection may hold 32, and 24 for each direction.
fn small() -> Side {
    Side::new(Config {
        memory_budget: 64 * BLOCK_SIZE as u64,
        connection_share: 50,
        ..Config::default()
    })
}

impl Side {
    fn segment(&mut self, wire: u32, flags: Flags, ack: Seq, seq: u32, payload: &[u8]) {
        let segment = Segment {
            flags,
            seq: Seq(seq),
            ack,
            window: 1_000,
            options: Options::default(),
            payload,
            ce: false,
        };
        let mut plain = Vec::new();
        tortp::begin(&mut plain);
        tortp::encode(wire, &segment, &mut plain);
        self.circuits
            .receive(self.now, &plain, false, false, &mut self.shared);
    }

    /// An established circuit that the peer has opened, and what was read of it; returns what the peer acknowledges.
    fn established(&mut self, wire: u32) -> Seq {
        self.syn(wire, wire);
        let mut plain = Vec::new();
        assert!(self.circuits.fill(self.now, &mut self.shared, &mut plain));
        let ack = tortp::segments(&plain)
            .find(|(of, _)| *of == wire)
            .map(|(_, answer)| answer.seq + 1)
            .expect("an answer");
        self.segment(wire, Flags::ACK, ack, FIRST, b"");
        self.sent();
        self.read(wire);
        self.events();
        ack
    }

    fn read(&mut self, wire: u32) -> usize {
        let circuit = self.circuits.get_mut(wire).expect("open");
        let mut buffer = [0; 100_000];
        let read = circuit.tcp.wake().read(&mut self.shared.pool, &mut buffer);
        read.unwrap_or(0)
    }

    /// Writes as much as is taken; returns how much.
    fn write(&mut self, wire: u32) -> usize {
        let circuit = self.circuits.get_mut(wire).expect("open");
        let data = [7; 50_000];
        let written = circuit.tcp.wake().write(&mut self.shared.pool, &data);
        self.circuits.touched(wire, &mut self.shared);
        written.unwrap_or(0)
    }

    fn out_of_order(&self, wire: u32) -> u64 {
        let circuit = self.circuits.get(wire).expect("open");
        circuit.tcp.look(|tcb| tcb.info().out_of_order)
    }

    fn memory(&self) -> u64 {
        self.circuits.memory(&self.shared)
    }

    /// Circuits whose writers were told to go on.
    fn writable(&mut self) -> usize {
        let events = self.events();
        let writable = |event: &&Event| matches!(event, Event::Writable(_));
        events.iter().filter(writable).count()
    }
}

#[test]
fn data_out_of_order_makes_room_before_data_in_order_is_refused() {
    let mut side = small();
    let (holed, whole) = (side.established(2), side.established(4));
    for at in 1..=16 {
        side.segment(2, Flags::ACK, holed, FIRST + 1_000 * at, &[7; 1_000]);
    }
    assert_eq!(side.out_of_order(2), 16_000);
    let mut refused = None;
    for at in 0..60 {
        side.segment(4, Flags::ACK, whole, FIRST + 1_000 * at, &[7; 1_000]);
        if side.circuits.stats.dropped_memory > 0 {
            assert_eq!(side.out_of_order(2), 0);
            refused.get_or_insert(at);
        }
    }
    // All that may be held of data received: 24 blocks.
    assert_eq!(refused, Some(49));
    assert_eq!(side.memory(), 24 * BLOCK_SIZE as u64);
    let counters = side.shared.pool.counters();
    assert_eq!(counters.reneged, 16_000);
    // There is none before it is read; then all comes as if nothing had been.
    assert_eq!(side.read(4), 49_000);
    for at in (0..=16).rev() {
        side.segment(2, Flags::ACK, holed, FIRST + 1_000 * at, &[7; 1_000]);
    }
    assert_eq!(side.read(2), 17_000);
    assert_eq!(side.memory(), 0);
}

#[test]
fn data_out_of_order_is_refused_while_data_in_order_is_not() {
    let mut side = small();
    let (holed, whole) = (side.established(2), side.established(4));
    for at in 0..37 {
        side.segment(4, Flags::ACK, whole, FIRST + 1_000 * at, &[7; 1_000]);
    }
    side.segment(2, Flags::ACK, holed, FIRST + 1_000, &[7; 1_000]);
    assert_eq!(side.out_of_order(2), 0);
    assert_eq!(side.shared.pool.counters().out_of_order, 1);
    side.segment(2, Flags::ACK, holed, FIRST, &[7; 1_000]);
    assert_eq!(side.read(2), 1_000);
    assert_eq!(side.shared.pool.counters().in_order, 0);
}

#[test]
fn every_way_to_end_gives_all_blocks_back_to_the_account() {
    type End = fn(&mut Side);
    let ends: [(&str, End); 6] = [
        ("reset by the peer", |side| {
            side.segment(2, Flags::RST, Seq(0), FIRST + 1_000, b"");
        }),
        ("reset by the relay", |side| {
            side.circuits.abort(2, CloseReason::Local, &mut side.shared);
        }),
        ("shed", |side| side.circuits.shed(2, &mut side.shared)),
        ("forgotten", |side| {
            side.circuits.forget(2, &mut side.shared);
        }),
        ("refused", |side| {
            side.circuits.accept(2, false, &mut side.shared);
        }),
        ("the connection's end", |side| {
            side.circuits.end(CloseReason::Connection, &mut side.shared);
        }),
    ];
    for (how, end) in ends {
        let mut side = small();
        let ack = side.established(2);
        side.segment(2, Flags::ACK, ack, FIRST, &[7; 1_000]);
        side.segment(2, Flags::ACK, ack, FIRST + 5_000, &[7; 1_000]);
        assert!(side.write(2) > 10_000);
        assert!(side.memory() >= 10 * BLOCK_SIZE as u64);
        end(&mut side);
        assert_eq!((side.memory(), side.shared.pool.in_use()), (0, 0), "{how}");
        side.circuits.release(&mut side.shared);
    }
}

#[test]
fn what_a_connection_leaves_unread_goes_when_it_is_forgotten() {
    let mut side = small();
    let ack = side.established(2);
    side.segment(2, Flags::ACK, ack, FIRST, &[7; 5_000]);
    assert_eq!(side.memory(), 3 * BLOCK_SIZE as u64);
    side.circuits.release(&mut side.shared);
    assert_eq!((side.memory(), side.shared.pool.in_use()), (0, 0));
}

#[test]
fn a_circuit_that_has_slept_counts_to_the_same_account() {
    let mut side = small();
    let ack = side.established(2);
    for _ in 0..2 {
        side.now = side.now + 3 * BEDTIME;
        side.circuits.put_to_sleep(side.now);
    }
    assert!(side.circuits.get(2).expect("open").tcp.awake().is_none());
    side.segment(2, Flags::ACK, ack, FIRST, &[7; 3_000]);
    assert_eq!(side.memory(), 2 * BLOCK_SIZE as u64);
    assert!(side.write(2) > 0);
    assert!(side.memory() > 2 * BLOCK_SIZE as u64);
    assert_eq!(side.memory(), side.shared.pool.in_use());
}

/// Three circuits have written all that may be written, and ten more wait.
fn waiting() -> Side {
    let mut side = small();
    for wire in (2..=26).step_by(2) {
        side.established(wire);
    }
    let written: usize = [2, 4, 6].iter().map(|&wire| side.write(wire)).sum();
    assert_eq!(written, 24 * BLOCK_SIZE);
    for wire in (8..=26).step_by(2) {
        let circuit = side.circuits.get_mut(wire).expect("open");
        let written = circuit.tcp.wake().write(&mut side.shared.pool, &[7]);
        assert_eq!(written, Err(Error::WouldBlock));
        side.circuits.report(wire, &mut side.shared);
    }
    assert_eq!(side.writable(), 0);
    assert_eq!(side.shared.pool.counters().writes, 10);
    side
}

#[test]
fn writers_hear_of_room_in_turn_and_no_more_of_them_than_there_are_blocks() {
    let mut side = waiting();
    let pool = &mut side.shared.pool;
    assert_eq!((pool.unchecked(), pool.check_next()), (0, None));
    // It took no more than nobody else had.
    side.circuits.abort(2, CloseReason::Local, &mut side.shared);
    let room = side.circuits.writable_memory(&side.shared.pool) / BLOCK_SIZE;
    assert!((6..10).contains(&room), "{room}");
    assert_eq!(side.shared.pool.check_next(), Some(1));
    side.circuits.memory_is_back(&mut side.shared);
    assert_eq!(side.writable(), room);
    // They write nothing after all: the others are next, and at once.
    assert_eq!(side.shared.pool.unchecked(), 1);
    assert_eq!(side.shared.pool.check_next(), Some(1));
    side.circuits.memory_is_back(&mut side.shared);
    assert_eq!(side.writable(), 10 - room);
    assert_eq!((side.shared.pool.unchecked(), side.writable()), (0, 0));
}

#[test]
fn writers_for_whom_nothing_is_left_wait_on() {
    let mut side = waiting();
    side.circuits.abort(2, CloseReason::Local, &mut side.shared);
    assert_eq!(side.shared.pool.check_next(), Some(1));
    side.circuits.memory_is_back(&mut side.shared);
    let told: Vec<u32> = side
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::Writable(CircuitId(id)) => Some(*id as u32),
            _ => None,
        })
        .collect();
    for wire in told {
        side.write(wire);
    }
    assert_eq!(side.circuits.writable_memory(&side.shared.pool), 0);
    while side.shared.pool.unchecked() > 0 {
        assert_eq!(side.shared.pool.check_next(), None);
    }
    assert_eq!(side.writable(), 0);
}

#[test]
fn windows_are_offered_as_far_as_the_share_goes() {
    let mut side = small();
    let other = side.shared.pool.open(9);
    let held: Vec<_> = (0..20)
        .map_while(|_| side.shared.pool.take(other, Use::Send))
        .collect();
    assert_eq!(held.len(), 20);
    let ack = side.established(2);
    let before = side.circuits.get(2).expect("open");
    let edge = before.tcp.look(|tcb| tcb.info().receive_window);
    // What a SYN promises is not taken back, and nothing is added.
    side.segment(2, Flags::ACK, ack, FIRST, &[7; 10_000]);
    side.read(2);
    side.circuits.touched(2, &mut side.shared);
    side.sent();
    let after = side.circuits.get(2).expect("open");
    let left = after.tcp.look(|tcb| tcb.info().receive_window);
    // But for what scaling rounds up.
    assert!(left < edge - 10_000 + 512, "{left} after {edge}");
}
