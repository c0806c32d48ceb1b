//! Circuits: a TCP connection each.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::null_mut;

use super::bytes::{Out, slice, slice_mut};
use super::config::algorithm;
use super::error::{UTCP_OK, code};
use super::handle::CircuitSlot;
use super::shared::Shared;
use super::{utcp_circuit, utcp_connection};
use crate::endpoint;
use crate::error::Error;

/// circuit_readable is called.
pub const UTCP_EVENT_READABLE: c_uint = 1;
/// circuit_writable is called.
pub const UTCP_EVENT_WRITABLE: c_uint = 2;

const _: () = assert!(UTCP_EVENT_READABLE == endpoint::EVENT_READABLE as c_uint);
const _: () = assert!(UTCP_EVENT_WRITABLE == endpoint::EVENT_WRITABLE as c_uint);

/// Runs `work` on a circuit's handle.
///
/// # Safety
/// As the module says.
pub(super) unsafe fn with<T>(
    circuit: *const utcp_circuit,
    work: impl FnOnce(&Shared, CircuitSlot) -> Result<T, Error>,
) -> Result<T, Error> {
    // SAFETY: passed on.
    let slot = unsafe { CircuitSlot::from_c(circuit) }?;
    // SAFETY: passed on.
    let shared = unsafe { Shared::of_circuit(slot) };
    shared.run(|| work(shared, slot))
}

/// The control circuit ends with its connection and in no other way.
fn not_control(slot: CircuitSlot) -> Result<CircuitSlot, Error> {
    if slot.is_control() {
        Err(Error::State)
    } else {
        Ok(slot)
    }
}

/// Copies up to `room` bytes that were received, in order, to `buffer`, and their number to `*len` (at least 1,
/// unless `room` is 0).
///
/// UTCP_ERR_WOULD_BLOCK: there is nothing at the moment; circuit_readable comes when there is. UTCP_ERR_END: the peer
/// has finished sending, and everything was read. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL,
/// UTCP_ERR_HANDLE: a pointer is not what it should be. Nothing is written to `*len` with any of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_read(
    circuit: *mut utcp_circuit,
    buffer: *mut u8,
    room: usize,
    len: *mut usize,
) -> c_int {
    let read = |shared: &Shared, slot: CircuitSlot| {
        // SAFETY: the caller's promise.
        let (buffer, out) = unsafe { (slice_mut(buffer, room)?, Out::new(len)?) };
        out.set(shared.core(|core| core.read(slot.id(), buffer))??);
        Ok(())
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(circuit, read) })
}

/// Queues data to be sent, as much of it as there is room for, and puts to `*written` how many bytes that were. They
/// are copied. If that is less than `len`, circuit_writable comes when there is room again.
///
/// UTCP_ERR_WOULD_BLOCK: there is no room at all, or the endpoint is at its memory budget. UTCP_ERR_STATE:
/// utcp_circuit_finish() was called. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a
/// pointer is not what it should be. Nothing is queued, nor written to `*written`, with any of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_write(
    circuit: *mut utcp_circuit,
    data: *const u8,
    len: usize,
    written: *mut usize,
) -> c_int {
    let write = |shared: &Shared, slot: CircuitSlot| {
        // SAFETY: the caller's promise.
        let (data, out) = unsafe { (slice(data, len)?, Out::new(written)?) };
        out.set(shared.core(|core| core.write(slot.id(), data))??);
        Ok(())
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(circuit, write) })
}

/// Bytes that can be read now. 0 if the circuit has ended or is not a live circuit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_readable(circuit: *const utcp_circuit) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        with(circuit, |shared, slot| {
            shared.core(|core| core.readable(slot.id()))
        })
    }
    .unwrap_or(0)
}

/// Bytes that can be written now: what the send buffer, the congestion window (see UTCP_OPTION_SEND_BUFFER) and the
/// memory budget leave. 0 if the circuit has ended or is not a live circuit. Asking does not make
/// circuit_writable come: only a write that was cut short does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_room(circuit: *const utcp_circuit) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        with(circuit, |shared, slot| {
            shared.core(|core| core.room(slot.id()))
        })
    }
    .unwrap_or(0)
}

/// Half-close: the peer reads the end of the stream after what was written. Reading goes on. When both sides have
/// finished and everything was read, circuit_closed comes with UTCP_CLOSE_DONE.
///
/// UTCP_ERR_STATE: it is the control circuit. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE:
/// not a circuit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_finish(circuit: *mut utcp_circuit) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe {
        with(circuit, |shared, slot| {
            shared.core(|core| core.finish(slot.id()))?
        })
    })
}

/// Half-close, and discard what still arrives: this side is done with the circuit, but what was written still reaches
/// the peer. The number may be used again at once. circuit_closed follows at the end, unless the handle is freed
/// before.
///
/// UTCP_ERR_STATE: it is the control circuit. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE:
/// not a circuit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_close(circuit: *mut utcp_circuit) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe {
        with(circuit, |shared, slot| {
            shared.core(|core| core.close(slot.id()))?
        })
    })
}

/// Resets a circuit: both directions end at once, and what was not sent or read is dropped. circuit_closed does not
/// come. The handle stays valid until it is freed.
///
/// UTCP_ERR_STATE: it is the control circuit. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE:
/// not a circuit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_abort(circuit: *mut utcp_circuit) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe {
        with(circuit, |shared, slot| {
            shared.core(|core| core.abort(slot.id()))?
        })
    })
}

/// Frees a circuit's handle. If the circuit has not ended: after utcp_circuit_close() it finishes by itself,
/// otherwise it is reset. No callback comes for it any more. NULL is allowed and does nothing.
///
/// UTCP_ERR_STATE: it is a control circuit, whose handle is freed with its connection's. UTCP_ERR_HANDLE: it was
/// freed already. UTCP_ERR_BUSY: called from inside the log hook; nothing was freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_free(circuit: *mut utcp_circuit) -> c_int {
    if circuit.is_null() {
        return UTCP_OK;
    }
    // SAFETY: the caller's promise.
    let slot = match unsafe { CircuitSlot::from_c(circuit) }.and_then(not_control) {
        Ok(slot) => slot,
        Err(error) => return error.code(),
    };
    let (id, owner) = (slot.id(), slot.slot().shared());
    // SAFETY: the caller's promise.
    let shared = unsafe { Shared::of_circuit(slot) };
    let result = shared.end(|core| core.circuit_forget(id));
    if result != Err(Error::Busy) {
        shared.remove_circuit(id);
        // SAFETY: alive until here, and not used any more.
        unsafe { Shared::release(owner) };
    }
    code(result)
}

/// Which events the circuit reports: UTCP_EVENT_READABLE and UTCP_EVENT_WRITABLE, or'ed; both at first. Unmasked
/// again, an event that is pending comes from the next process, and circuit_readable comes also for what was left
/// unread. A relay whose next hop is slow masks UTCP_EVENT_READABLE and stops reading: the peer's window closes, and
/// no other circuit notices.
///
/// UTCP_ERR_RANGE: unknown bits. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a
/// circuit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_set_events(
    circuit: *mut utcp_circuit,
    mask: c_uint,
) -> c_int {
    let set = |shared: &Shared, slot: CircuitSlot| {
        if mask & !(UTCP_EVENT_READABLE | UTCP_EVENT_WRITABLE) != 0 {
            return Err(Error::Range);
        }
        shared.core(|core| core.set_events(slot.id(), mask as u8))?
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(circuit, set) })
}

/// The relay's number of the circuit, also after it has ended; 0 for the control circuit, and if it is not a live
/// handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_number(circuit: *const utcp_circuit) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { CircuitSlot::from_c(circuit) }.map_or(0, |slot| slot.number())
}

/// The connection that the circuit belongs to, also after either has ended. NULL once the connection's handle was
/// freed, and if `circuit` is not a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_connection(
    circuit: *const utcp_circuit,
) -> *mut utcp_connection {
    let get = |shared: &Shared, slot: CircuitSlot| {
        shared.connection(slot.connection()).ok_or(Error::Closed)
    };
    // SAFETY: the caller's promise.
    unsafe { with(circuit, get) }.map_or(null_mut(), |connection| connection.to_c())
}

/// Switches congestion control, UTCP_CONGESTION_*. For a circuit that shares a window it is what it uses once it has its
/// own again: see utcp_connection_set_congestion().
///
/// UTCP_ERR_RANGE: unknown value. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a
/// circuit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_set_congestion(
    circuit: *mut utcp_circuit,
    congestion: c_int,
) -> c_int {
    let set = |shared: &Shared, slot: CircuitSlot| {
        let algorithm = algorithm(u64::try_from(congestion).map_err(|_| Error::Range)?)?;
        shared.core(|core| core.set_congestion(slot.id(), algorithm))?
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(circuit, set) })
}

/// Whether the circuit shares one congestion window with the others of its connection that do (not 0), or has its own (0);
/// at first as UTCP_OPTION_COUPLED says. Takes effect at once, also while data is on its way.
///
/// With windows of their own, a hundred circuits take from a path what a hundred TCP connections would. Those that share
/// one take together what UTCP_OPTION_COUPLED_FLOWS says, each in proportion to its weight
/// (utcp_circuit_set_priority()), and queue up in the library and not in the network: the quiet ones stay quick. What is
/// lost on one of them slows all of them down.
///
/// UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a circuit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_set_coupled(
    circuit: *mut utcp_circuit,
    coupled: c_int,
) -> c_int {
    let set = |shared: &Shared, slot: CircuitSlot| {
        shared.core(|core| core.set_coupled(slot.id(), coupled != 0))?
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(circuit, set) })
}

/// Caps the rate at which the circuit sends, in bytes per second of payload; 0 removes the cap.
///
/// UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a circuit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_set_rate(
    circuit: *mut utcp_circuit,
    bytes_per_second: u64,
) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe {
        with(circuit, |shared, slot| {
            shared.core(|core| core.set_rate(slot.id(), bytes_per_second))?
        })
    })
}

/// Sets how many bytes the circuit holds for sending, 4096 to 1073741824. What is held already stays.
///
/// UTCP_ERR_ARGUMENT: outside of these bounds. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL,
/// UTCP_ERR_HANDLE: not a circuit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_set_send_buffer(
    circuit: *mut utcp_circuit,
    bytes: usize,
) -> c_int {
    let set = |shared: &Shared, slot: CircuitSlot| {
        shared.core(|core| core.set_send_buffer(slot.id(), bytes))?
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(circuit, set) })
}

/// Sets the largest receive window in bytes, 4096 to 1073741824. What was promised to the peer is not taken back, and
/// no window can exceed the largest that could be told when the circuit was opened (its window scale).
///
/// UTCP_ERR_ARGUMENT: outside of these bounds. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL,
/// UTCP_ERR_HANDLE: not a circuit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_set_receive_buffer(
    circuit: *mut utcp_circuit,
    bytes: usize,
) -> c_int {
    let set = |shared: &Shared, slot: CircuitSlot| {
        shared.core(|core| core.set_receive_buffer(slot.id(), bytes))?
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(circuit, set) })
}

/// Sets the circuit's weight, 1 to 255, at first 16: its share of the connection, against the other circuits' that
/// have something to send.
///
/// UTCP_ERR_ARGUMENT: 0 or beyond 255. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a
/// circuit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_set_priority(
    circuit: *mut utcp_circuit,
    weight: c_uint,
) -> c_int {
    let set = |shared: &Shared, slot: CircuitSlot| {
        let weight = u8::try_from(weight).map_err(|_| Error::Argument)?;
        shared.core(|core| core.set_priority(slot.id(), weight))?
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(circuit, set) })
}

/// Keeps a pointer of the relay's with the handle, until the handle is freed. The library never follows it. Nothing
/// happens if `circuit` is not a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_set_user(circuit: *mut utcp_circuit, user: *mut c_void) {
    // SAFETY: the caller's promise.
    if let Ok(slot) = unsafe { CircuitSlot::from_c(circuit) } {
        slot.slot().set_user(user);
    }
}

/// The pointer that utcp_circuit_set_user() has set; NULL if none was, or if `circuit` is not a live handle. Works in
/// any state, also after UTCP_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_user(circuit: *const utcp_circuit) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { CircuitSlot::from_c(circuit) }.map_or(null_mut(), |slot| slot.slot().user())
}
