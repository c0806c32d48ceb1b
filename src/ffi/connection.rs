//! Connections: one peer relay each.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use libc::{sockaddr, socklen_t};

use super::bytes::Out;
use super::config::algorithm;
use super::error::{UTCP_OK, code};
use super::handle::ConnectionSlot;
use super::shared::Shared;
use super::{address, ssl_st, utcp_circuit, utcp_connection};
use crate::endpoint::Role;
use crate::error::Error;

/// This side sent the ClientHello.
pub const UTCP_ROLE_CLIENT: c_int = 1;
/// This side answered it.
pub const UTCP_ROLE_SERVER: c_int = 2;

const _: () = assert!(UTCP_ROLE_CLIENT == Role::Client as c_int);
const _: () = assert!(UTCP_ROLE_SERVER == Role::Server as c_int);

/// Runs `work` on a connection's handle.
///
/// # Safety
/// As the module says.
pub(super) unsafe fn with<T>(
    connection: *const utcp_connection,
    work: impl FnOnce(&Shared, ConnectionSlot) -> Result<T, Error>,
) -> Result<T, Error> {
    // SAFETY: passed on.
    let slot = unsafe { ConnectionSlot::from_c(connection) }?;
    // SAFETY: passed on.
    let shared = unsafe { Shared::of_connection(slot) };
    shared.run(|| work(shared, slot))
}

/// This side's part in the DTLS handshake, UTCP_ROLE_*, or an error number (which is negative). When both sides
/// connect at the same time, the one that called utcp_endpoint_connect() may become the server.
///
/// UTCP_ERR_CLOSED: the endpoint was freed. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_connection_role(connection: *const utcp_connection) -> c_int {
    // SAFETY: the caller's promise.
    let role = unsafe {
        with(connection, |shared, slot| {
            shared.core(|core| core.connection_role(slot.id()))?
        })
    };
    match role {
        Ok(role) => role as c_int,
        Err(error) => error.code(),
    }
}

/// Ends a connection: the peer is told, its circuits are reported closed with UTCP_CLOSE_CONNECTION, and
/// connection_closed follows with UTCP_CLOSE_LOCAL, all from the next process. If there are very many circuits, it takes
/// several calls of process, each due at once, until all were reported. Meanwhile they have all ended: calls with any of
/// them give UTCP_ERR_CLOSED, and the peer can be connected to again. The handle stays valid until it is freed.
///
/// UTCP_ERR_CLOSED: it has ended already. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_connection_close(connection: *mut utcp_connection) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe {
        with(connection, |shared, slot| {
            shared.core(|core| core.connection_close(slot.id()))?
        })
    })
}

/// Frees a connection's handle, and ends the connection first if it has not ended. No callback comes any more for it
/// or its circuits, which end too. The handle of its control circuit goes with it; those of its other circuits stay
/// valid, as closed, until they are freed. If there are very many, what they hold is given back by the next calls of
/// process. NULL is allowed and does nothing.
///
/// UTCP_ERR_HANDLE: it was freed already. UTCP_ERR_BUSY: called from inside the log hook; nothing was freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_connection_free(connection: *mut utcp_connection) -> c_int {
    if connection.is_null() {
        return UTCP_OK;
    }
    // SAFETY: the caller's promise.
    let slot = match unsafe { ConnectionSlot::from_c(connection) } {
        Ok(slot) => slot,
        Err(error) => return error.code(),
    };
    let (id, owner) = (slot.id(), slot.slot().shared());
    // SAFETY: the caller's promise.
    let shared = unsafe { Shared::of_connection(slot) };
    let result = shared.end(|core| core.connection_forget(id));
    if result != Err(Error::Busy) {
        shared.remove_connection(id);
        // SAFETY: alive until here, and not used any more.
        unsafe { Shared::release(owner) };
    }
    code(result)
}

/// While `hold` is not 0, the connection reports nothing of its circuits but the control circuit: no
/// circuit_incoming, circuit_readable, circuit_writable and circuit_closed. All of it comes once `hold` is 0 again.
/// For a relay that must finish a handshake of its own on the control circuit first: call it in connection_ready.
///
/// UTCP_ERR_CLOSED: the connection has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_connection_hold(
    connection: *mut utcp_connection,
    hold: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe {
        with(connection, |shared, slot| {
            shared.core(|core| core.connection_hold(slot.id(), hold != 0))?
        })
    })
}

/// The connection's OpenSSL session, to read the certificates and to export keying material. It is borrowed: do not
/// free or change it, and do not keep it beyond the next inject or process, or close or free of the connection. NULL:
/// there is none (not yet, or not any more), or `connection` is not a live connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_connection_ssl(connection: *const utcp_connection) -> *mut ssl_st {
    // SAFETY: the caller's promise.
    unsafe {
        with(connection, |shared, slot| {
            shared.core(|core| core.connection_ssl(slot.id()))
        })
    }
    .map_or(null_mut(), |ssl| ssl.cast())
}

/// The peer's UDP address. `*len` is the room at `address` in bytes when called (28 are always enough, as
/// sizeof(struct sockaddr_storage) is), and the length of the address after. Known also after the connection has
/// ended.
///
/// UTCP_ERR_ARGUMENT: there is not enough room; nothing is written. UTCP_ERR_CLOSED: the endpoint was freed.
/// UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_connection_address(
    connection: *const utcp_connection,
    address: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    let get = |shared: &Shared, slot: ConnectionSlot| {
        let peer = shared
            .core(|core| core.connection_address(slot.id()))?
            .ok_or(Error::Closed)?;
        // SAFETY: the caller's promise.
        unsafe { address::write(peer, address, len) }
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(connection, get) })
}

/// The control circuit, number 0, which every ready connection has. The handle is borrowed: it is freed with the
/// connection's. NULL: the connection is not ready yet or has ended, or is not a live connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_connection_control(
    connection: *mut utcp_connection,
) -> *mut utcp_circuit {
    // SAFETY: the caller's promise.
    unsafe { with(connection, |shared, slot| shared.control(slot.id())) }
        .map_or(null_mut(), |control| control.to_c())
}

/// Opens a circuit under a number of the relay's, which no open circuit of this connection has. The handle goes to
/// `*circuit`, and is the caller's to free. It can be written to at once: that data travels with the request to open.
/// Whether the peer takes the circuit shows later: circuit_closed comes with UTCP_CLOSE_REFUSED if it does not.
///
/// UTCP_ERR_IN_USE: the number is taken. UTCP_ERR_ARGUMENT: the number is 0. UTCP_ERR_STATE: the connection is not
/// ready. UTCP_ERR_CLOSED: it has ended. UTCP_ERR_LIMIT: too many circuits. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer
/// is not what it should be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_connection_open_circuit(
    connection: *mut utcp_connection,
    number: u32,
    circuit: *mut *mut utcp_circuit,
) -> c_int {
    let open = |shared: &Shared, slot: ConnectionSlot| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(circuit) }?;
        if number == 0 {
            return Err(Error::Argument);
        }
        let id = shared.core(|core| core.open_circuit(slot.id(), number))??;
        out.set(shared.add_circuit(id, slot.id(), number).to_c());
        Ok(())
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(connection, open) })
}

/// Switches the congestion control, UTCP_CONGESTION_*, of the window that circuits of the connection share (see
/// utcp_circuit_set_coupled()), also before there are any. At first it is UTCP_OPTION_CONGESTION. Circuits with a window
/// of their own have utcp_circuit_set_congestion().
///
/// UTCP_ERR_RANGE: unknown value. UTCP_ERR_CLOSED: the connection has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a
/// connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_connection_set_congestion(
    connection: *mut utcp_connection,
    congestion: c_int,
) -> c_int {
    let set = |shared: &Shared, slot: ConnectionSlot| {
        let algorithm = algorithm(u64::try_from(congestion).map_err(|_| Error::Range)?)?;
        shared.core(|core| core.set_connection_congestion(slot.id(), algorithm))?
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(connection, set) })
}

/// Keeps a pointer of the relay's with the handle, until the handle is freed. The library never follows it. Nothing
/// happens if `connection` is not a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_connection_set_user(
    connection: *mut utcp_connection,
    user: *mut c_void,
) {
    // SAFETY: the caller's promise.
    if let Ok(slot) = unsafe { ConnectionSlot::from_c(connection) } {
        slot.slot().set_user(user);
    }
}

/// The pointer that utcp_connection_set_user() has set; NULL if none was, or if `connection` is not a live handle.
/// Works in any state, also after UTCP_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_connection_user(connection: *const utcp_connection) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { ConnectionSlot::from_c(connection) }.map_or(null_mut(), |slot| slot.slot().user())
}
