//! Datagrams out: batches, a socket that is full, and the capture.

use std::cell::Cell;
use std::ffi::c_void;
use std::rc::Rc;

use super::world::*;
use crate::ffi::circuit::*;
use crate::ffi::endpoint::*;
use crate::ffi::error::*;

#[test]
fn what_the_socket_does_not_take_is_offered_again_by_the_next_call_and_not_before() {
    let (mut world, connection) = World::connected();
    let circuit = open(connection, 1);
    world.run(1_000_000);
    write(circuit, &[7; 14_000]).unwrap();
    let offers = Rc::new(Cell::new(0));
    let inside = offers.clone();
    world.a.on_callback(move |_, heard| {
        if let Heard::Tx(count) = heard {
            assert!((1..=64).contains(&count));
            inside.set(inside.get() + 1);
        }
    });
    let endpoint = world.a.endpoint.get();
    world.a.room.set(3);
    // SAFETY: live handles.
    unsafe {
        assert_eq!(utcp_endpoint_process(endpoint, world.now), UTCP_OK);
        assert_eq!((offers.get(), world.a.sent.borrow().len()), (1, 3));
        // The rest waits for the socket, not for a timer that fires at once.
        assert!(utcp_endpoint_next_deadline(endpoint) > world.now);
        assert_eq!(utcp_endpoint_process(endpoint, world.now), UTCP_OK);
        assert_eq!((offers.get(), world.a.sent.borrow().len()), (2, 3));
        world.a.room.set(usize::MAX);
        assert_eq!(utcp_endpoint_process(endpoint, world.now), UTCP_OK);
        assert!(world.a.sent.borrow().len() > 3);
    }
    world.run(2_000_000);
    assert_eq!(read(world.b.accepted()).0, vec![7; 14_000]);
}

#[test]
fn datagrams_stay_whole_while_tx_calls_the_library() {
    let (mut world, connection) = World::connected();
    let circuits: Vec<_> = (1..=50).map(|number| open(connection, number)).collect();
    for circuit in &circuits {
        write(*circuit, &[9; 5_000]).unwrap();
    }
    // The connection of the datagrams is closed and half of the circuits go while they are being sent.
    let once = Cell::new(true);
    let doomed = circuits.clone();
    world.a.on_callback(move |relay, heard| {
        if matches!(heard, Heard::Tx(_)) && once.replace(false) {
            // SAFETY: live handles.
            unsafe {
                for circuit in &doomed[..25] {
                    utcp_circuit_free(*circuit);
                }
                let mut shed = 0;
                utcp_endpoint_shed(relay.endpoint.get(), 10_000, &raw mut shed);
                crate::ffi::connection::utcp_connection_close(connection);
            }
        }
    });
    world.run(5_000_000);
    let closed = |h: &Heard| *h == Heard::Closed(connection, UTCP_CLOSE_LOCAL);
    assert_eq!(world.a.heard(closed), 1);
    assert_eq!(
        world
            .b
            .heard(|h| matches!(h, Heard::Closed(_, UTCP_CLOSE_PEER))),
        1
    );
    for relay in [&world.a, &world.b] {
        // Each circuit ends once, before its connection does.
        let heard = relay.heard.borrow();
        let end = heard
            .iter()
            .position(|h| matches!(h, Heard::Closed(..)))
            .unwrap();
        assert!(
            !heard[end..]
                .iter()
                .any(|h| matches!(h, Heard::CircuitClosed(..)))
        );
    }
}

#[test]
fn a_batch_with_a_bad_datagram_is_refused_whole() {
    let world = World::new();
    let good = crate::ffi::address::Address::new(world.b.address);
    let datagram = crate::ffi::callbacks::utcp_datagram {
        address: good.as_ptr(),
        address_len: good.len(),
        data: std::ptr::null(),
        len: 0,
        ecn: 0,
    };
    let bad = [
        (
            crate::ffi::callbacks::utcp_datagram { ecn: 4, ..datagram },
            UTCP_ERR_ARGUMENT,
        ),
        (
            crate::ffi::callbacks::utcp_datagram { len: 1, ..datagram },
            UTCP_ERR_NULL,
        ),
        (
            crate::ffi::callbacks::utcp_datagram {
                address_len: 3,
                ..datagram
            },
            UTCP_ERR_ARGUMENT,
        ),
        (
            crate::ffi::callbacks::utcp_datagram {
                address: std::ptr::null(),
                ..datagram
            },
            UTCP_ERR_NULL,
        ),
    ];
    let endpoint = world.a.endpoint.get();
    let received = || {
        // SAFETY: a live endpoint.
        unsafe {
            let shared = crate::ffi::shared::Shared::from_c(endpoint).unwrap();
            shared.core(|core| core.stats().datagrams_received).unwrap()
        }
    };
    for (bad, error) in bad {
        let batch = [datagram, bad];
        // SAFETY: a live endpoint and valid buffers.
        let result = unsafe { utcp_endpoint_inject_batch(endpoint, world.now, batch.as_ptr(), 2) };
        assert_eq!((result, received()), (error, 0));
    }
    // SAFETY: a live endpoint and valid buffers.
    unsafe {
        let batch = [datagram, datagram];
        assert_eq!(
            utcp_endpoint_inject_batch(endpoint, u64::MAX, batch.as_ptr(), 2),
            UTCP_ERR_ARGUMENT
        );
        assert_eq!(
            utcp_endpoint_inject_batch(endpoint, world.now, std::ptr::null(), 2),
            UTCP_ERR_NULL
        );
        assert_eq!(received(), 0);
        assert_eq!(
            utcp_endpoint_inject_batch(endpoint, world.now, batch.as_ptr(), 2),
            UTCP_OK
        );
        assert_eq!(received(), 2);
        assert_eq!(
            utcp_endpoint_inject_batch(endpoint, world.now, std::ptr::null(), 0),
            UTCP_OK
        );
    }
}

unsafe extern "C" fn append(user: *mut c_void, data: *const u8, len: usize) {
    // SAFETY: the vector that was set below, and the data of the call.
    unsafe {
        let file = &mut *user.cast::<Vec<u8>>();
        file.extend_from_slice(std::slice::from_raw_parts(data, len));
    }
}

#[test]
fn a_capture_starts_with_its_header_each_time() {
    let (mut world, connection) = World::connected();
    let circuit = open(connection, 1);
    let mut files = [Vec::new(), Vec::new()];
    for file in &mut files {
        let endpoint = world.a.endpoint.get();
        let user = std::ptr::from_mut(file).cast();
        // SAFETY: the vector outlives its use.
        unsafe {
            assert_eq!(
                utcp_endpoint_set_capture(endpoint, Some(append), user),
                UTCP_OK
            );
            write(circuit, b"in clear").unwrap();
            world.run(1_000_000);
            assert_eq!(utcp_endpoint_set_capture(endpoint, None, user), UTCP_OK);
        }
        write(circuit, b"unseen").unwrap();
        world.run(1_000_000);
    }
    for file in &files {
        // A pcap file begins with one of these (libpcap: micro- or nanoseconds, in either byte order).
        let magic = u32::from_ne_bytes(file[..4].try_into().unwrap());
        let known = [0xA1B2_C3D4, 0xA1B2_3C4D, 0xD4C3_B2A1, 0x4D3C_B2A1];
        assert!(known.contains(&magic), "{magic:x}");
        let has = |text: &[u8]| file.windows(text.len()).any(|window| window == text);
        assert!(has(b"in clear") && !has(b"unseen"));
    }
}
