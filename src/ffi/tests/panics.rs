//! A bug in the library ends its endpoint, and nothing else.

use std::cell::Cell;
use std::rc::Rc;

use super::world::*;
use crate::ffi::circuit::*;
use crate::ffi::connection::*;
use crate::ffi::endpoint::*;
use crate::ffi::error::*;
use crate::ffi::fault::utcp_test_panic;

#[test]
fn after_a_panic_everything_is_refused_but_freeing() {
    let (mut world, connection) = World::connected();
    let circuit = open(connection, 1);
    world.run(1_000_000);
    let endpoint = world.a.endpoint.get();
    // SAFETY: live handles.
    unsafe {
        utcp_connection_set_user(connection, std::ptr::dangling_mut());
        assert_eq!(utcp_test_panic(endpoint), UTCP_ERR_INTERNAL);
        assert_eq!(
            utcp_endpoint_process(endpoint, world.now),
            UTCP_ERR_INTERNAL
        );
        assert_eq!(utcp_endpoint_set_accepting(endpoint, 1), UTCP_ERR_INTERNAL);
        assert_eq!(utcp_endpoint_next_deadline(endpoint), u64::MAX);
        assert_eq!(utcp_endpoint_memory(endpoint), 0);
        assert_eq!(utcp_connection_role(connection), UTCP_ERR_INTERNAL);
        assert_eq!(utcp_connection_close(connection), UTCP_ERR_INTERNAL);
        assert!(utcp_connection_ssl(connection).is_null());
        assert!(utcp_connection_control(connection).is_null());
        assert_eq!(write(circuit, b"x"), Err(UTCP_ERR_INTERNAL));
        assert_eq!(read(circuit), (Vec::new(), UTCP_ERR_INTERNAL));
        assert_eq!(utcp_circuit_room(circuit), 0);
        assert!(utcp_circuit_connection(circuit).is_null());
        // The relay's own pointers are still to be had, so that it can clean up.
        assert!(!utcp_connection_user(connection).is_null());
        assert_eq!(
            world.inject(&world.a, world.b.address, &[1, 2, 3]),
            UTCP_ERR_INTERNAL
        );

        assert_eq!(utcp_circuit_free(circuit), UTCP_OK);
        assert_eq!(utcp_circuit_free(circuit), UTCP_ERR_HANDLE);
        World::free_endpoint(&world.a);
        assert_eq!(utcp_endpoint_free(endpoint), UTCP_ERR_HANDLE);
        assert_eq!(utcp_connection_close(connection), UTCP_ERR_INTERNAL);
        assert_eq!(utcp_connection_free(connection), UTCP_OK);
    }
    // The other endpoint does not notice.
    world.run(1_000_000);
}

#[test]
fn a_panic_inside_a_callback_ends_the_call_around_it() {
    for which in 0..2 {
        let (world, connection) = World::connected();
        let circuit = open(connection, 1);
        write(circuit, &[1; 10_000]).unwrap();
        let calls = Rc::new(Cell::new(0));
        let inside = calls.clone();
        world.a.on_callback(move |relay, heard| {
            let wanted = match heard {
                Heard::Tx(_) => which == 0,
                _ => which == 1,
            };
            if wanted {
                inside.set(inside.get() + 1);
                // SAFETY: a live endpoint.
                let result = unsafe { utcp_test_panic(relay.endpoint.get()) };
                assert_eq!(result, UTCP_ERR_INTERNAL);
            }
        });
        // SAFETY: live handles.
        unsafe {
            if which == 1 {
                utcp_connection_close(connection);
            }
            let endpoint = world.a.endpoint.get();
            assert_eq!(
                utcp_endpoint_process(endpoint, world.now),
                UTCP_ERR_INTERNAL
            );
            assert_eq!(calls.get(), 1, "no further callbacks after a panic");
            assert_eq!(
                utcp_endpoint_process(endpoint, world.now),
                UTCP_ERR_INTERNAL
            );
        }
    }
}

#[test]
fn the_time_of_one_endpoint_never_goes_back() {
    let (mut world, connection) = World::connected();
    let circuit = open(connection, 1);
    let endpoint = world.a.endpoint.get();
    // SAFETY: live handles.
    unsafe {
        for now in [world.now, 0, 5, world.now - 1] {
            assert_eq!(utcp_endpoint_process(endpoint, now), UTCP_OK);
        }
        assert_eq!(utcp_endpoint_process(endpoint, u64::MAX), UTCP_ERR_ARGUMENT);
    }
    write(circuit, b"still works").unwrap();
    world.run(1_000_000);
    assert_eq!(read(world.b.accepted()).0, b"still works");
}
