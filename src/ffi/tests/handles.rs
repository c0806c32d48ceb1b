//! Handles outlive what they stand for, and are known to be dead when they were freed.

use std::cell::Cell;
use std::ptr::null_mut;
use std::rc::Rc;

use libc::sockaddr_in6;

use super::world::*;
use crate::ffi::circuit::*;
use crate::ffi::connection::*;
use crate::ffi::endpoint::*;
use crate::ffi::error::*;
use crate::ffi::stats::*;

/// Every function on a circuit that gives an error number.
///
/// # Safety
/// A handle of an endpoint that is not all freed.
unsafe fn circuit_results(circuit: *mut crate::ffi::utcp_circuit) -> Vec<i32> {
    let mut buffer = [0u8; 4];
    let mut len = 77;
    // SAFETY: plain integers.
    let mut info: utcp_circuit_info = unsafe { std::mem::zeroed() };
    info.size = size_of::<utcp_circuit_info>();
    // SAFETY: valid buffers.
    let results = unsafe {
        vec![
            utcp_circuit_read(circuit, buffer.as_mut_ptr(), 4, &raw mut len),
            utcp_circuit_write(circuit, buffer.as_ptr(), 4, &raw mut len),
            utcp_circuit_finish(circuit),
            utcp_circuit_close(circuit),
            utcp_circuit_abort(circuit),
            utcp_circuit_set_events(circuit, 3),
            utcp_circuit_set_congestion(circuit, 1),
            utcp_circuit_set_rate(circuit, 1),
            utcp_circuit_set_send_buffer(circuit, 8_192),
            utcp_circuit_set_receive_buffer(circuit, 8_192),
            utcp_circuit_set_priority(circuit, 1),
            utcp_circuit_get_info(circuit, &raw mut info),
        ]
    };
    assert_eq!((len, buffer, info.number), (77, [0; 4], 0));
    results
}

/// The same for a connection.
///
/// # Safety
/// A handle of an endpoint that is not all freed.
unsafe fn connection_results(connection: *mut crate::ffi::utcp_connection) -> Vec<i32> {
    let mut circuit = null_mut();
    let mut address = [0u8; size_of::<sockaddr_in6>()];
    let mut len = 28;
    // SAFETY: plain integers.
    let mut stats: utcp_connection_stats = unsafe { std::mem::zeroed() };
    stats.size = size_of::<utcp_connection_stats>();
    // SAFETY: valid buffers.
    let results = unsafe {
        assert!(utcp_connection_ssl(connection).is_null());
        assert!(utcp_connection_control(connection).is_null());
        vec![
            utcp_connection_role(connection),
            utcp_connection_close(connection),
            utcp_connection_hold(connection, 1),
            utcp_connection_address(connection, address.as_mut_ptr().cast(), &raw mut len),
            utcp_connection_open_circuit(connection, 9, &raw mut circuit),
            utcp_connection_get_stats(connection, &raw mut stats),
        ]
    };
    assert_eq!((circuit, len, address), (null_mut(), 28, [0; 28]));
    results
}

fn all(results: &[i32], expected: i32) -> bool {
    results.iter().all(|result| *result == expected)
}

#[test]
fn after_the_endpoint_is_freed_handles_are_closed_and_then_unknown() {
    let (mut world, connection) = World::connected();
    let circuit = open(connection, 7);
    world.run(1_000_000);
    // SAFETY: the handles of `a` keep what they point to alive until the last is freed.
    unsafe {
        let mine = std::ptr::dangling_mut();
        utcp_circuit_set_user(circuit, mine);
        let control = utcp_connection_control(connection);
        let endpoint = world.a.endpoint.get();
        World::free_endpoint(&world.a);
        assert_eq!(utcp_endpoint_free(endpoint), UTCP_ERR_HANDLE);
        assert_eq!(utcp_endpoint_process(endpoint, 1), UTCP_ERR_HANDLE);
        assert_eq!(utcp_endpoint_next_deadline(endpoint), u64::MAX);
        for circuit in [circuit, control] {
            assert!(all(&circuit_results(circuit), UTCP_ERR_CLOSED));
        }
        assert!(all(&connection_results(connection), UTCP_ERR_CLOSED));
        assert_eq!(utcp_circuit_number(circuit), 7);
        assert_eq!(utcp_circuit_user(circuit), mine);
        assert_eq!(utcp_circuit_connection(circuit), connection);

        assert_eq!(utcp_connection_free(connection), UTCP_OK);
        assert_eq!(utcp_connection_free(connection), UTCP_ERR_HANDLE);
        assert!(all(&connection_results(connection), UTCP_ERR_HANDLE));
        assert!(all(&circuit_results(control), UTCP_ERR_HANDLE));
        assert_eq!(utcp_circuit_connection(circuit), null_mut());
        assert!(all(&circuit_results(circuit), UTCP_ERR_CLOSED));
        assert_eq!(utcp_circuit_free(circuit), UTCP_OK);
    }
}

#[test]
fn freed_handles_are_recognized_while_the_endpoint_lives() {
    let (mut world, connection) = World::connected();
    let circuit = open(connection, 7);
    world.run(1_000_000);
    // SAFETY: the endpoint lives.
    unsafe {
        assert_eq!(utcp_circuit_free(circuit), UTCP_OK);
        assert_eq!(utcp_circuit_free(circuit), UTCP_ERR_HANDLE);
        assert!(all(&circuit_results(circuit), UTCP_ERR_HANDLE));
        assert_eq!(utcp_circuit_readable(circuit), 0);
        assert_eq!(utcp_circuit_room(circuit), 0);
        utcp_circuit_set_user(circuit, std::ptr::dangling_mut());
        assert_eq!(utcp_circuit_user(circuit), null_mut());
        // A handle of one kind is none of another.
        assert!(all(&circuit_results(connection.cast()), UTCP_ERR_HANDLE));
        assert_eq!(utcp_endpoint_process(connection.cast(), 1), UTCP_ERR_HANDLE);
        assert_eq!(
            utcp_connection_close(world.a.endpoint.get().cast()),
            UTCP_ERR_HANDLE
        );
    }
    world.run(1_000_000);
    let accepted = world.b.accepted();
    assert_eq!(
        world
            .b
            .heard(|h| *h == Heard::CircuitClosed(accepted, UTCP_CLOSE_RESET)),
        1
    );
    assert_eq!(world.a.heard(|h| matches!(h, Heard::CircuitClosed(..))), 0);
}

#[test]
fn the_control_circuit_is_lent_and_cannot_be_ended() {
    let (mut world, connection) = World::connected();
    // SAFETY: live handles.
    unsafe {
        let control = utcp_connection_control(connection);
        assert_eq!(utcp_connection_control(connection), control);
        assert_eq!(utcp_circuit_free(control), UTCP_ERR_STATE);
        assert_eq!(utcp_circuit_finish(control), UTCP_ERR_STATE);
        assert_eq!(utcp_circuit_close(control), UTCP_ERR_STATE);
        assert_eq!(utcp_circuit_abort(control), UTCP_ERR_STATE);
        assert_eq!(utcp_circuit_number(control), 0);
        assert_eq!(write(control, b"cell"), Ok(4));
        world.run(1_000_000);
        let theirs = utcp_connection_control(world.b.ready());
        assert_eq!(world.b.heard(|h| *h == Heard::Readable(theirs)), 1);
        assert_eq!(read(theirs), (b"cell".to_vec(), UTCP_ERR_WOULD_BLOCK));
        assert_eq!(utcp_connection_free(connection), UTCP_OK);
        assert_eq!(utcp_circuit_number(control), 0);
        assert_eq!(write(control, b"x"), Err(UTCP_ERR_HANDLE));
    }
    world.run(1_000_000);
    assert_eq!(
        world
            .b
            .heard(|h| matches!(h, Heard::Closed(_, UTCP_CLOSE_PEER))),
        1
    );
    assert_eq!(world.b.heard(|h| matches!(h, Heard::CircuitClosed(..))), 0);
}

#[test]
fn every_handle_can_be_freed_inside_its_own_callback() {
    // Each relay frees what the callback of the chosen kind is about, and the two go on.
    type Kind = fn(&Heard) -> bool;
    let kinds: [Kind; 8] = [
        |h| matches!(h, Heard::Incoming(_)),
        |h| matches!(h, Heard::Verify(_)),
        |h| matches!(h, Heard::Ready(_)),
        |h| matches!(h, Heard::Closed(..)),
        |h| matches!(h, Heard::CircuitIncoming(..)),
        |h| matches!(h, Heard::Readable(_)),
        |h| matches!(h, Heard::Writable(_)),
        |h| matches!(h, Heard::CircuitClosed(..)),
    ];
    for (index, kind) in kinds.into_iter().enumerate() {
        let mut world = World::new();
        let freed = Rc::new(Cell::new(0));
        for relay in [&world.a, &world.b] {
            let freed = freed.clone();
            relay.on_callback(move |_, heard| {
                if !kind(&heard) {
                    return;
                }
                // SAFETY: the handle of the callback.
                let result = unsafe {
                    match heard {
                        Heard::Incoming(c)
                        | Heard::Verify(c)
                        | Heard::Ready(c)
                        | Heard::Closed(c, _) => utcp_connection_free(c),
                        Heard::CircuitIncoming(_, c, _)
                        | Heard::Readable(c)
                        | Heard::Writable(c)
                        | Heard::CircuitClosed(c, _)
                            if utcp_circuit_number(c) != 0 =>
                        {
                            utcp_circuit_free(c)
                        }
                        _ => return,
                    }
                };
                assert_eq!(result, UTCP_OK);
                freed.set(freed.get() + 1);
            });
        }
        let connection = world.connect();
        world.run(1_000_000);
        let mut circuit = null_mut();
        // SAFETY: the endpoints live, so their handles can be looked at.
        unsafe {
            if utcp_connection_open_circuit(connection, 1, &raw mut circuit) == UTCP_OK {
                write(circuit, &[0; 100_000]).unwrap();
                world.run(1_000_000);
                utcp_circuit_abort(circuit);
                world.run(1_000_000);
                let again = open(connection, 2);
                utcp_circuit_close(again);
                world.run(1_000_000);
            }
            utcp_connection_close(connection);
        }
        world.run(30_000_000);
        assert!(freed.get() > 0, "kind {index} never came");
    }
}

#[test]
fn freeing_null_does_nothing_and_other_calls_say_so() {
    // SAFETY: NULL is allowed everywhere.
    unsafe {
        assert_eq!(utcp_circuit_free(null_mut()), UTCP_OK);
        assert_eq!(utcp_connection_free(null_mut()), UTCP_OK);
        assert_eq!(utcp_endpoint_free(null_mut()), UTCP_OK);
        assert!(all(&circuit_results(null_mut()), UTCP_ERR_NULL));
        assert!(all(&connection_results(null_mut()), UTCP_ERR_NULL));
        assert_eq!(utcp_endpoint_process(null_mut(), 0), UTCP_ERR_NULL);
        assert_eq!(utcp_endpoint_next_deadline(null_mut()), u64::MAX);
        assert_eq!(utcp_endpoint_memory(null_mut()), 0);
    }
}

#[test]
fn connections_are_found_by_address_under_the_same_handle() {
    let (world, connection) = World::connected();
    let to = crate::ffi::address::Address::new(world.b.address);
    let mapped = crate::ffi::address::Address::new("[::ffff:192.0.2.2]:9001".parse().unwrap());
    let other = crate::ffi::address::Address::new("192.0.2.3:9001".parse().unwrap());
    let endpoint = world.a.endpoint.get();
    let mut found = null_mut();
    // SAFETY: live handles and valid buffers.
    unsafe {
        let find = utcp_endpoint_find;
        assert_eq!(
            find(endpoint, other.as_ptr(), other.len(), &raw mut found),
            UTCP_ERR_CLOSED
        );
        assert_eq!(found, null_mut());
        for address in [to, mapped] {
            found = null_mut();
            assert_eq!(
                find(endpoint, address.as_ptr(), address.len(), &raw mut found),
                UTCP_OK
            );
            assert_eq!(found, connection);
        }
        let mut second = null_mut();
        let (address, len) = (to.as_ptr(), to.len());
        let pin = std::ptr::null();
        assert_eq!(
            utcp_endpoint_connect(endpoint, world.now, address, len, pin, &raw mut second),
            UTCP_ERR_IN_USE
        );
        assert_eq!(second, null_mut());
    }
}
