//! What may be done inside callbacks, and what may not.

use std::cell::{Cell, RefCell};
use std::ptr::null_mut;
use std::rc::Rc;

use super::world::*;
use crate::ffi::callbacks::utcp_callbacks;
use crate::ffi::circuit::*;
use crate::ffi::connection::*;
use crate::ffi::endpoint::*;
use crate::ffi::error::*;
use crate::ffi::stats::{utcp_endpoint_get_stats, utcp_endpoint_stats};

#[test]
fn a_connection_comes_about_and_carries_data_both_ways() {
    let (mut world, connection) = World::connected();
    let circuit = open(connection, 7);
    assert_eq!(write(circuit, b"ping"), Ok(4));
    world.run(1_000_000);
    let accepted = world.b.accepted();
    assert_eq!(read(accepted), (b"ping".to_vec(), UTCP_ERR_WOULD_BLOCK));
    assert_eq!(write(accepted, b"pong"), Ok(4));
    world.run(1_000_000);
    assert_eq!(world.a.heard(|h| *h == Heard::Readable(circuit)), 1);
    assert_eq!(read(circuit), (b"pong".to_vec(), UTCP_ERR_WOULD_BLOCK));
    // SAFETY: live handles.
    unsafe {
        assert_eq!(utcp_circuit_number(accepted), 7);
        assert_eq!(utcp_circuit_connection(accepted), world.b.ready());
        assert_eq!(utcp_connection_role(connection), UTCP_ROLE_CLIENT);
        assert_eq!(utcp_connection_role(world.b.ready()), UTCP_ROLE_SERVER);
        assert_eq!(utcp_circuit_finish(circuit), UTCP_OK);
        world.run(1_000_000);
        assert_eq!(read(accepted), (Vec::new(), UTCP_ERR_END));
        assert_eq!(utcp_circuit_finish(accepted), UTCP_OK);
    }
    world.run(1_000_000);
    assert_eq!(
        world
            .a
            .heard(|h| *h == Heard::CircuitClosed(circuit, UTCP_CLOSE_DONE)),
        1
    );
    assert_eq!(
        world
            .b
            .heard(|h| *h == Heard::CircuitClosed(accepted, UTCP_CLOSE_DONE)),
        1
    );
    free_all(&world, connection, &[circuit], &[accepted]);
}

fn free_all(
    world: &World,
    connection: *mut crate::ffi::utcp_connection,
    a: &[*mut crate::ffi::utcp_circuit],
    b: &[*mut crate::ffi::utcp_circuit],
) {
    for circuit in a.iter().chain(b) {
        // SAFETY: live handles.
        assert_eq!(unsafe { utcp_circuit_free(*circuit) }, UTCP_OK);
    }
    for connection in [connection, world.b.ready()] {
        // SAFETY: live handles.
        assert_eq!(unsafe { utcp_connection_free(connection) }, UTCP_OK);
    }
}

#[test]
fn what_would_reenter_is_refused_in_every_callback_and_everything_else_works() {
    let mut world = World::new();
    let calls = Rc::new(Cell::new(0));
    for relay in [&world.a, &world.b] {
        let calls = calls.clone();
        let now = world.now;
        relay.on_callback(move |relay, _| {
            calls.set(calls.get() + 1);
            let endpoint = relay.endpoint.get();
            let from = crate::ffi::address::Address::new("192.0.2.9:1".parse().unwrap());
            let mut stats: utcp_endpoint_stats = unsafe {
                // SAFETY: plain integers.
                std::mem::zeroed()
            };
            stats.size = size_of::<utcp_endpoint_stats>();
            // SAFETY: live handles and valid buffers.
            unsafe {
                let data = [0u8; 4];
                let (address, len) = (from.as_ptr(), from.len());
                assert_eq!(
                    utcp_endpoint_inject(endpoint, now, address, len, data.as_ptr(), 4),
                    UTCP_ERR_BUSY
                );
                assert_eq!(
                    utcp_endpoint_inject_batch(endpoint, now, std::ptr::null(), 0),
                    UTCP_ERR_BUSY
                );
                assert_eq!(utcp_endpoint_process(endpoint, now), UTCP_ERR_BUSY);
                assert_eq!(utcp_endpoint_free(endpoint), UTCP_ERR_BUSY);
                assert_eq!(utcp_endpoint_set_accepting(endpoint, 1), UTCP_OK);
                assert_eq!(utcp_endpoint_get_stats(endpoint, &raw mut stats), UTCP_OK);
                utcp_endpoint_next_deadline(endpoint);
                utcp_endpoint_memory(endpoint);
            }
        });
    }
    let connection = world.connect();
    world.run(1_000_000);
    let circuit = open(connection, 1);
    let data = vec![1u8; 100_000];
    assert!(write(circuit, &data).is_ok_and(|n| n < data.len()));
    world.run(1_000_000);
    let accepted = world.b.accepted();
    read(accepted);
    world.run(1_000_000);
    // SAFETY: live handles.
    unsafe {
        utcp_circuit_abort(circuit);
        world.run(1_000_000);
        utcp_connection_close(connection);
        world.run(1_000_000);
    }
    for (kind, times) in [
        (
            "incoming",
            world.b.heard(|h| matches!(h, Heard::Incoming(_))),
        ),
        ("verify", world.a.heard(|h| matches!(h, Heard::Verify(_)))),
        ("ready", world.a.heard(|h| matches!(h, Heard::Ready(_)))),
        (
            "circuit incoming",
            world.b.heard(|h| matches!(h, Heard::CircuitIncoming(..))),
        ),
        (
            "readable",
            world.b.heard(|h| matches!(h, Heard::Readable(_))),
        ),
        (
            "writable",
            world.a.heard(|h| matches!(h, Heard::Writable(_))),
        ),
        (
            "circuit closed",
            world.b.heard(|h| matches!(h, Heard::CircuitClosed(..))),
        ),
        ("closed", world.b.heard(|h| matches!(h, Heard::Closed(..)))),
    ] {
        assert!(times > 0, "{kind} was never called");
    }
    assert!(calls.get() > 10);
    free_all(&world, connection, &[circuit], &[accepted]);
}

#[test]
fn a_relay_relays_inside_callbacks() {
    // What arrives on a circuit is read, and written back in capitals, without leaving the callback.
    let (mut world, connection) = World::connected();
    world.b.on_callback(|_, heard| {
        if let Heard::Readable(circuit) = heard {
            let (data, end) = read(circuit);
            let answer = data.to_ascii_uppercase();
            if !answer.is_empty() {
                assert_eq!(write(circuit, &answer), Ok(answer.len()));
            }
            if end == UTCP_ERR_END {
                // SAFETY: a live handle.
                assert_eq!(unsafe { utcp_circuit_close(circuit) }, UTCP_OK);
            }
        }
    });
    let circuits: Vec<_> = (1..=20).map(|number| open(connection, number)).collect();
    for circuit in &circuits {
        assert_eq!(write(*circuit, b"hello"), Ok(5));
        // SAFETY: a live handle.
        assert_eq!(unsafe { utcp_circuit_finish(*circuit) }, UTCP_OK);
    }
    world.run(2_000_000);
    for circuit in &circuits {
        assert_eq!(read(*circuit), (b"HELLO".to_vec(), UTCP_ERR_END));
    }
    world.run(1_000_000);
    assert_eq!(
        world
            .a
            .heard(|h| matches!(h, Heard::CircuitClosed(_, UTCP_CLOSE_DONE))),
        20
    );
    assert_eq!(
        world
            .b
            .heard(|h| matches!(h, Heard::CircuitClosed(_, UTCP_CLOSE_DONE))),
        20
    );
}

#[test]
fn circuits_can_be_opened_and_written_inside_callbacks_of_others() {
    let (mut world, connection) = World::connected();
    let opened = Rc::new(RefCell::new(Vec::new()));
    let inside = opened.clone();
    world.b.on_callback(move |_, heard| {
        if let Heard::CircuitIncoming(connection, _, number) = heard {
            let circuit = open(connection, number + 1_000);
            assert_eq!(write(circuit, b"from inside"), Ok(11));
            inside.borrow_mut().push(circuit);
        }
    });
    let mine = open(connection, 5);
    world.run(1_000_000);
    assert_eq!(opened.borrow().len(), 1);
    let theirs = world.a.accepted();
    assert_ne!(theirs, mine);
    // SAFETY: a live handle.
    assert_eq!(unsafe { utcp_circuit_number(theirs) }, 1_005);
    assert_eq!(
        read(theirs),
        (b"from inside".to_vec(), UTCP_ERR_WOULD_BLOCK)
    );
}

/// Opens a circuit with data to send, and sheds it: its end is an event.
fn open_and_shed(relay: &Relay, connection: *mut crate::ffi::utcp_connection, number: u32) {
    assert_eq!(write(open(connection, number), &[0; 1_000]), Ok(1_000));
    let mut shed = 0;
    // SAFETY: a live endpoint.
    let result = unsafe { utcp_endpoint_shed(relay.endpoint.get(), u64::MAX, &raw mut shed) };
    assert_eq!(result, UTCP_OK);
    assert!(shed >= 1_000);
}

#[test]
fn a_callback_that_always_makes_work_leaves_the_call_in_the_end() {
    let (world, connection) = World::connected();
    world.a.on_callback(move |relay, heard| {
        if let Heard::CircuitClosed(circuit, reason) = heard {
            assert_eq!(reason, UTCP_CLOSE_MEMORY);
            // SAFETY: a live handle.
            assert_eq!(unsafe { utcp_circuit_free(circuit) }, UTCP_OK);
            open_and_shed(relay, connection, 1);
        }
    });
    open_and_shed(&world.a, connection, 1);
    let endpoint = world.a.endpoint.get();
    let mut before = 0;
    for _ in 0..2 {
        // SAFETY: a live endpoint.
        unsafe {
            assert_eq!(utcp_endpoint_process(endpoint, world.now), UTCP_OK);
            assert_eq!(
                utcp_endpoint_next_deadline(endpoint),
                0,
                "the rest waits for the next call"
            );
        }
        let ends = world.a.heard(|h| matches!(h, Heard::CircuitClosed(..))) - before;
        assert!((1_000..=100_000).contains(&ends), "{ends}");
        before += ends;
    }
}

#[test]
fn tx_that_writes_is_called_again_in_the_same_call_but_not_for_ever() {
    let (mut world, connection) = World::connected();
    let circuit = open(connection, 1);
    world.run(1_000_000);
    assert_eq!(write(circuit, b"x"), Ok(1));
    let offers = Rc::new(Cell::new(0u32));
    let inside = offers.clone();
    world.a.on_callback(move |_, heard| {
        if let Heard::Tx(_) = heard {
            inside.set(inside.get() + 1);
            let _ = write(circuit, b"y");
        }
    });
    // SAFETY: a live endpoint.
    unsafe {
        assert_eq!(
            utcp_endpoint_process(world.a.endpoint.get(), world.now),
            UTCP_OK
        );
    }
    assert!((2..=64).contains(&offers.get()), "{}", offers.get());
}

#[test]
fn refused_peers_and_circuits_leave_no_handle_behind() {
    let mut world = World::new();
    world.b.verdict.set(1);
    let connection = world.connect();
    world.run(30_000_000);
    assert!(world.b.heard(|h| matches!(h, Heard::Incoming(_))) > 0);
    assert_eq!(
        world
            .b
            .heard(|h| matches!(h, Heard::Verify(_) | Heard::Ready(_) | Heard::Closed(..))),
        0
    );
    for heard in world.b.heard.borrow().iter() {
        if let Heard::Incoming(refused) = heard {
            // SAFETY: the endpoint lives, so its handles can be looked at.
            assert_eq!(unsafe { utcp_connection_free(*refused) }, UTCP_ERR_HANDLE);
        }
    }
    assert_eq!(
        world
            .a
            .heard(|h| *h == Heard::Closed(connection, UTCP_CLOSE_HANDSHAKE)),
        1
    );
    // SAFETY: a live handle.
    assert_eq!(unsafe { utcp_connection_free(connection) }, UTCP_OK);
    world.a.heard.borrow_mut().clear();
    world.b.heard.borrow_mut().clear();

    world.b.verdict.set(0);
    let connection = world.connect();
    world.run(1_000_000);
    world.b.verdict.set(1);
    let circuit = open(connection, 3);
    world.run(1_000_000);
    let refused = world.b.accepted();
    // SAFETY: the endpoint lives, so its handles can be looked at.
    unsafe {
        assert_eq!(utcp_circuit_free(refused), UTCP_ERR_HANDLE);
        assert_eq!(utcp_circuit_user(refused), null_mut());
    }
    let closed = |h: &Heard| *h == Heard::CircuitClosed(circuit, UTCP_CLOSE_REFUSED);
    assert_eq!(world.a.heard(closed), 1, "{:?}", world.a.heard.borrow());
    assert_eq!(world.b.heard(|h| matches!(h, Heard::CircuitClosed(..))), 0);
}

#[test]
fn without_callbacks_peers_are_accepted_unless_they_must_be_verified() {
    let none = utcp_callbacks {
        connection_incoming: None,
        connection_verify: None,
        connection_ready: None,
        connection_closed: None,
        circuit_incoming: None,
        circuit_readable: None,
        circuit_writable: None,
        circuit_closed: None,
        ..callbacks()
    };
    let mut world = World::with(&callbacks(), &none);
    let connection = world.connect();
    world.run(30_000_000);
    assert!(world.b.heard.borrow().is_empty());
    // The side without connection_verify refuses; what the other makes of it depends on who was first.
    assert_eq!(
        world
            .a
            .heard(|h| matches!(h, Heard::Closed(c, _) if *c == connection)),
        1
    );
    // A relay that never saw the handle cannot free it: the library has.
    // SAFETY: a live endpoint, freed once.
    unsafe {
        let shared = crate::ffi::shared::Shared::from_c(world.b.endpoint.get()).unwrap();
        assert!(
            shared
                .connection(crate::endpoint::ConnectionId(1))
                .is_none()
        );
    }
}

#[test]
fn masked_events_wait_until_they_are_unmasked() {
    let (mut world, connection) = World::connected();
    let circuit = open(connection, 1);
    world.run(1_000_000);
    let accepted = world.b.accepted();
    // SAFETY: a live handle.
    unsafe {
        assert_eq!(utcp_circuit_set_events(accepted, 4), UTCP_ERR_RANGE);
        assert_eq!(
            utcp_circuit_set_events(accepted, UTCP_EVENT_WRITABLE),
            UTCP_OK
        );
    }
    let readable = |world: &World| world.b.heard(|h| *h == Heard::Readable(accepted));
    let before = readable(&world);
    assert_eq!(write(circuit, b"later"), Ok(5));
    world.run(1_000_000);
    assert_eq!(readable(&world), before);
    // SAFETY: a live handle.
    unsafe {
        let both = UTCP_EVENT_READABLE | UTCP_EVENT_WRITABLE;
        assert_eq!(utcp_circuit_set_events(accepted, both), UTCP_OK);
        assert_eq!(utcp_endpoint_next_deadline(world.b.endpoint.get()), 0);
    }
    world.run(0);
    assert_eq!(readable(&world), before + 1);
    assert_eq!(read(accepted).0, b"later");
}

#[test]
fn what_was_left_unread_is_told_again_when_it_is_unmasked() {
    let (mut world, connection) = World::connected();
    let circuit = open(connection, 1);
    world.run(1_000_000);
    let accepted = world.b.accepted();
    assert_eq!(write(circuit, b"all of it"), Ok(9));
    world.run(1_000_000);
    let readable = |world: &World| world.b.heard(|h| *h == Heard::Readable(accepted));
    let told = readable(&world);
    assert!(told > 0);
    let mut buffer = [0u8; 3];
    let mut len = 0;
    // SAFETY: a live handle and valid buffers.
    unsafe {
        assert_eq!(
            utcp_circuit_read(accepted, buffer.as_mut_ptr(), 3, &raw mut len),
            UTCP_OK
        );
    }
    let switch = |world: &mut World| {
        for mask in [UTCP_EVENT_WRITABLE, UTCP_EVENT_READABLE] {
            // SAFETY: a live handle.
            assert_eq!(unsafe { utcp_circuit_set_events(accepted, mask) }, UTCP_OK);
            world.run(1_000_000);
        }
    };
    switch(&mut world);
    assert_eq!(readable(&world), told + 1);
    assert_eq!(read(accepted).0, b" of it");
    switch(&mut world);
    assert_eq!(readable(&world), told + 1, "there was nothing to tell");
}
