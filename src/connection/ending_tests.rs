//! The end of a connection with so many circuits that they are not all visited in one call, and walks from which circuits
//! go meanwhile.

use std::collections::BTreeSet;

use super::tests::{Side, crowd};
use crate::config::Config;
use crate::endpoint::{CircuitId, Event};
use crate::error::CloseReason;
use crate::pool::Use;
use crate::tcp::State;
use crate::time::Time;

/// Circuits that are visited in a call.
const SOME: usize = 512;

impl Side {
    fn end(&mut self) {
        self.circuits.end(CloseReason::Connection, &mut self.shared);
    }

    /// Wire identifiers of circuits that were told to have ended.
    fn closed(&mut self) -> Vec<u32> {
        let closed = |event| match event {
            Event::CircuitClosed(CircuitId(id), reason) => {
                assert_eq!(reason, CloseReason::Connection);
                Some(id as u32)
            }
            _ => None,
        };
        self.events().into_iter().filter_map(closed).collect()
    }

    fn call(&mut self) {
        assert!(self.circuits.chores_deadline() <= self.now + 1, "at once");
        self.now = self.now + 1;
        self.circuits.do_chores(self.now, &mut self.shared);
    }

    fn forget(&mut self, wire: u32) {
        self.circuits.forget(wire, &mut self.shared);
    }
}

#[test]
fn an_end_is_told_of_some_circuits_a_call_and_of_each_once() {
    let (mut side, wires) = crowd();
    side.events();
    side.end();
    let mut told = side.closed();
    assert_eq!(told.len(), SOME - 1, "and the control circuit");
    while !side.circuits.is_over() {
        side.call();
        let some = side.closed();
        assert!(some.len() <= SOME, "{}", some.len());
        told.extend(some);
    }
    assert_eq!(told, wires, "in the order in which they began");
    assert_eq!(side.circuits.chores_deadline(), Time::NEVER);
    assert_eq!(side.shared.pool.in_use(), 0);
    assert_eq!(side.shared.timers.next(), Time::NEVER);
}

#[test]
fn a_circuit_that_was_not_visited_is_found_ended() {
    let (mut side, wires) = crowd();
    side.events();
    side.end();
    side.closed();
    let last = wires[wires.len() - 1];
    assert!(side.circuits.is_late(last) && !side.circuits.is_late(wires[0]));
    side.circuits.settle(last, &mut side.shared);
    assert_eq!(side.closed(), [last]);
    let circuit = side.circuits.get(last).expect("not let go of");
    assert_eq!(
        circuit.tcp.awake().map(|tcb| tcb.state()),
        Some(State::Closed)
    );
    side.circuits.settle(last, &mut side.shared);
    while !side.circuits.is_over() {
        side.call();
    }
    let told = side.closed();
    assert!(!told.contains(&last), "once");
    assert_eq!(told.len(), 1_500 - (SOME - 1) - 1);
}

#[test]
fn handles_that_are_freed_in_the_middle_of_an_end_neither_stop_it_nor_are_told() {
    let (mut side, wires) = crowd();
    side.events();
    side.end();
    let mut told = side.closed();
    // Some of those that were visited, those that are next, some later ones, the last.
    let mut freed = BTreeSet::new();
    for range in [0..100, 505..600, 900..1_000, 1_499..1_500] {
        freed.extend(wires[range].iter().copied());
    }
    for &wire in &freed {
        side.forget(wire);
        assert!(side.circuits.get(wire).is_err());
    }
    assert_eq!(side.closed(), []);
    while !side.circuits.is_over() {
        side.call();
        let some = side.closed();
        assert!(some.iter().all(|wire| !freed.contains(wire)));
        // Each as it hears of it.
        for &wire in some.iter().step_by(2) {
            side.forget(wire);
        }
        told.extend(some);
    }
    let left = |wire: &&u32| !freed.contains(wire);
    assert_eq!(told.iter().filter(left).count(), 1_500 - freed.len());
    let distinct: BTreeSet<u32> = told.iter().copied().collect();
    assert_eq!(distinct.len(), told.len(), "each once");
    assert_eq!(side.shared.pool.in_use(), 0);
}

#[test]
fn what_a_forgotten_connection_holds_is_given_back_little_by_little() {
    for ended in [false, true] {
        let (mut side, _) = crowd();
        if ended {
            side.end();
        }
        assert!(side.shared.pool.in_use() > 0, "what came with each SYN");
        let mut held = side.shared.pool.in_use();
        let mut calls = 0;
        while !side.circuits.release(&mut side.shared) {
            let now_held = side.shared.pool.in_use();
            assert!(held - now_held <= SOME as u64 * 2_048, "some a call");
            held = now_held;
            calls += 1;
            assert!(calls < 10);
        }
        assert!((2..=3).contains(&calls), "{calls}");
        assert_eq!(side.shared.pool.in_use(), 0);
        assert_eq!(side.shared.timers.next(), Time::NEVER);
        // Closing its account asserts that nothing is left; the next one takes it over.
        let account = side.shared.pool.open(9);
        assert_eq!(side.shared.pool.held(account), 0);
        assert!(side.shared.pool.take(account, Use::Send).is_some());
    }
}

#[test]
fn shedding_a_circuit_that_has_ended_with_its_connection_is_no_reset() {
    let (mut side, wires) = crowd();
    side.events();
    side.end();
    side.closed();
    let last = wires[wires.len() - 1];
    let held = side.shared.pool.in_use();
    side.circuits.shed(last, &mut side.shared);
    assert!(side.shared.pool.in_use() < held);
    assert_eq!(side.closed(), [last]);
    assert_eq!(side.circuits.resets_deadline(), Time::NEVER);
}

#[test]
fn circuits_that_end_while_they_wait_for_a_gate_keep_nobody_waiting() {
    // One common window, which the first that write fill.
    let mut side = Side::new(Config {
        coupled: true,
        ..Config::default()
    });
    let count = 200;
    let wires: Vec<u32> = (1..=count).map(|n| 2 * n).collect();
    for &wire in &wires {
        side.syn(wire, wire);
        let circuit = side.circuits.get_mut(wire).expect("open");
        let written = circuit.tcp.wake().write(&mut side.shared.pool, &[7; 900]);
        assert_eq!(written, Ok(900));
        side.circuits.touched(wire, &mut side.shared);
    }
    side.sent();
    let waits = |side: &Side, wire: u32| {
        let circuit = side.circuits.get(wire);
        circuit.is_ok_and(|c| c.waiting.is_some())
    };
    let waiting: Vec<u32> = wires
        .iter()
        .copied()
        .filter(|&wire| waits(&side, wire))
        .collect();
    assert!(waiting.len() > 100, "{}", waiting.len());
    // Who goes and comes again and again takes no more than a place.
    for _ in 0..1_000 {
        for coupled in [false, true] {
            let done = side
                .circuits
                .set_coupled(waiting[0], coupled, &mut side.shared);
            assert_eq!(done, Ok(()));
        }
        side.sent();
        assert!(side.circuits.places() <= 2 * 200 + 64 + 1);
    }
    assert!(waits(&side, waiting[0]));
    // All but the last of those that wait go.
    let (last, gone) = waiting.split_last().expect("some");
    for &wire in gone {
        side.forget(wire);
    }
    assert!(waits(&side, *last));
    // Those that have filled the window go too, so that there is room.
    for &wire in wires.iter().filter(|wire| !waiting.contains(wire)) {
        side.forget(wire);
    }
    side.now = side.now + crate::time::SECOND;
    side.circuits.on_gates(side.now);
    let sent: Vec<u32> = side.sent().into_iter().map(|(wire, _)| wire).collect();
    assert!(sent.contains(last), "{sent:?}");
    assert!(!waits(&side, *last));
    // Nobody waits any more, so nothing is left to be sent and nothing to wait for.
    assert!(!side.circuits.has_output());
    assert_eq!(side.circuits.gates_deadline(), Time::NEVER);
}

#[test]
fn circuits_that_begin_and_go_while_others_are_visited_leave_none_out() {
    let (mut side, wires) = crowd();
    side.events();
    side.circuits.set_limit(side.now, 900, &mut side.shared);
    // The one that is next goes, and so do all around it, before each call.
    let mut number = 10_000;
    let mut gone: BTreeSet<u32> = BTreeSet::new();
    while side.circuits.chores_deadline() < Time::NEVER {
        let from = gone.len() + 480;
        for &wire in wires.iter().skip(from).take(80) {
            side.forget(wire);
            gone.insert(wire);
        }
        for _ in 0..20 {
            number += 1;
            side.circuits
                .open(number, &mut side.shared)
                .expect("opened");
        }
        side.call();
    }
    assert!(gone.len() >= 160);
    for wire in wires.iter().filter(|wire| !gone.contains(wire)) {
        let circuit = side.circuits.get(*wire).expect("open");
        let mss = circuit.tcp.look(|tcb| tcb.info().mss);
        assert_eq!(mss, 900 - 19, "{wire}");
    }
}

#[test]
fn whichever_circuit_goes_all_others_are_visited() {
    // The first, one between, the last, and the last two.
    for gone in [&[2][..], &[4], &[8], &[8, 6], &[2, 4, 6, 8]] {
        let mut side = Side::new(Config::default());
        for wire in [2, 4, 6, 8] {
            side.syn(wire, wire);
        }
        for &wire in gone {
            side.forget(wire);
        }
        for wire in [10, 12] {
            side.syn(wire, wire);
        }
        side.events();
        side.end();
        let left = [2, 4, 6, 8, 10, 12].into_iter();
        let left: Vec<u32> = left.filter(|wire| !gone.contains(wire)).collect();
        assert_eq!(side.closed(), left, "{gone:?}");
    }
}
