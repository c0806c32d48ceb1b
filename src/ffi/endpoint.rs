//! The endpoint: one UDP socket and all peers behind it.

use std::ffi::{c_int, c_void};
use std::net::SocketAddr;

use libc::{sockaddr, socklen_t};

use super::address;
use super::bytes::{Out, slice};
use super::callbacks::{utcp_callbacks, utcp_capture_fn, utcp_datagram};
use super::config::{credentials, for_endpoint};
use super::drive::{Drive, is_pending};
use super::error::{UTCP_OK, code};
use super::guard::guard;
use super::shared::Shared;
use super::{size, utcp_config, utcp_connection, utcp_endpoint};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::time::Time;

/// The largest payload of a UDP datagram, IPv6 jumbograms aside.
const LARGEST_DATAGRAM: usize = 65_535;

const PIN: usize = 32;

/// Runs `work` on an endpoint's handle.
///
/// # Safety
/// As the module says.
pub(super) unsafe fn with<T>(
    endpoint: *const utcp_endpoint,
    work: impl FnOnce(&Shared) -> Result<T, Error>,
) -> Result<T, Error> {
    // SAFETY: passed on.
    let shared = unsafe { Shared::from_c(endpoint) }?;
    shared.run(|| work(shared))
}

/// Makes an endpoint: `config` and `callbacks` are copied and may be freed, `user` is handed to the callbacks.
/// It does nothing until it is called. The handle goes to `*endpoint`, and is freed with utcp_endpoint_free().
///
/// UTCP_ERR_NULL: `config`, `callbacks` or `endpoint` is NULL. UTCP_ERR_SIZE: callbacks->size is not set, or a member
/// that this version of the library does not know is not NULL. UTCP_ERR_CERTIFICATE: no certificate or key is set, or
/// they cannot be used. UTCP_ERR_TLS: OpenSSL failed. UTCP_ERR_HANDLE: `config` is not a configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_new(
    config: *const utcp_config,
    callbacks: *const utcp_callbacks,
    user: *mut c_void,
    endpoint: *mut *mut utcp_endpoint,
) -> c_int {
    let make = || {
        // SAFETY: the caller's promise, for all three.
        let (config, callbacks, out) = unsafe {
            (
                for_endpoint(config)?,
                size::read(callbacks)?,
                Out::new(endpoint)?,
            )
        };
        out.set(Shared::leak(Endpoint::new(config)?, callbacks, user));
        Ok(())
    };
    code(guard(make).and_then(|result| result))
}

/// Frees an endpoint: its connections end at once and no callback comes any more. NULL is allowed and does nothing.
///
/// Handles of connections and circuits stay valid, and calls with them give UTCP_ERR_CLOSED, until they are freed;
/// some memory is kept until then. Peers are not told: to tell them, close the connections, and call process until
/// the datagrams are sent.
///
/// UTCP_ERR_BUSY: called from inside a callback; the endpoint lives on. UTCP_ERR_HANDLE: the endpoint was freed
/// already (found out as long as any handle of it is not freed).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_free(endpoint: *mut utcp_endpoint) -> c_int {
    if endpoint.is_null() {
        return UTCP_OK;
    }
    let free = || {
        // SAFETY: the caller's promise.
        let shared = unsafe { Shared::from_c(endpoint) }?;
        shared.refuse_inside_callback()?;
        let core = shared.take_core()?;
        shared.run_anyway(|| drop(core))
    };
    let result = guard(free).and_then(|result| result);
    if !matches!(result, Err(Error::Busy | Error::Handle)) {
        // SAFETY: the handle was live until now, and nothing refers to it any more.
        unsafe { Shared::release(endpoint.cast_const().cast()) };
    }
    code(result)
}

/// Takes in one datagram that came from the socket, at the time `now` (microseconds). Its ECN field counts as not
/// known, see utcp_endpoint_inject_batch(). Then does what utcp_endpoint_process() does.
///
/// Whatever the datagram is, it is not an error: what cannot be used is dropped and counted.
///
/// UTCP_ERR_BUSY: called from inside a callback. UTCP_ERR_ARGUMENT: the address is neither IPv4 nor IPv6 or too
/// short, `len` is beyond 65535, or `now` is UINT64_MAX. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it
/// should be. UTCP_ERR_INTERNAL: free everything.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_inject(
    endpoint: *mut utcp_endpoint,
    now: u64,
    from: *const sockaddr,
    from_len: socklen_t,
    data: *const u8,
    len: usize,
) -> c_int {
    let one = utcp_datagram {
        address: from,
        address_len: from_len,
        data,
        len,
        ecn: 0,
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(endpoint, |shared| inject(shared, now, &[one])) })
}

/// Takes in `count` datagrams that came from the socket, in this order, at the time `now` (microseconds): as
/// utcp_endpoint_inject(), but cheaper than one by one, and with the ECN field of each. The addresses and the data
/// are only looked at during the call.
///
/// Errors are those of utcp_endpoint_inject(); UTCP_ERR_ARGUMENT also if an ECN field is beyond 3. If any datagram of
/// the batch is not acceptable, none is taken in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_inject_batch(
    endpoint: *mut utcp_endpoint,
    now: u64,
    batch: *const utcp_datagram,
    count: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe { with(endpoint, |shared| inject(shared, now, slice(batch, count)?)) })
}

/// # Safety
/// The datagrams are as the C caller promised.
pub(super) unsafe fn parse<'a>(
    datagram: &utcp_datagram,
) -> Result<(SocketAddr, &'a [u8], u8), Error> {
    // SAFETY: passed on.
    let (from, data) = unsafe {
        (
            address::read(datagram.address, datagram.address_len)?,
            slice(datagram.data, datagram.len)?,
        )
    };
    if data.len() > LARGEST_DATAGRAM || datagram.ecn > 3 {
        return Err(Error::Argument);
    }
    Ok((from, data, datagram.ecn))
}

fn inject(shared: &Shared, now: u64, batch: &[utcp_datagram]) -> Result<(), Error> {
    shared.refuse_inside_callback()?;
    for datagram in batch {
        // SAFETY: all datagrams come straight from the C caller.
        unsafe { parse(datagram) }?;
    }
    let mut injection = Injection::new(shared, now)?;
    for datagram in batch {
        // SAFETY: as above. Callbacks between two datagrams must leave the batch alone, as any call's arguments.
        let (from, data, ecn) = unsafe { parse(datagram) }?;
        injection.inject(from, data, ecn)?;
    }
    injection.finish()
}

/// Datagrams on their way in, one after the other.
pub(super) struct Injection<'a> {
    shared: &'a Shared,
    drive: Drive<'a>,
    now: Time,
}

impl<'a> Injection<'a> {
    pub(super) fn new(shared: &'a Shared, now: u64) -> Result<Injection<'a>, Error> {
        shared.refuse_inside_callback()?;
        let now = shared.advance(now)?;
        let drive = Drive::new(shared);
        Ok(Injection { shared, drive, now })
    }

    pub(super) fn inject(&mut self, from: SocketAddr, data: &[u8], ecn: u8) -> Result<(), Error> {
        let now = self.now;
        let (settled, full) = self.core(|core| {
            let settled = core.inject_and_look(now, from, data, ecn);
            (settled, core.arrivals_are_full())
        })?;
        // A peer whose connection is not ready yet may wait for an answer, on which its next datagram depends. The
        // others' events wait, so that much is read at once, but no longer than data can stay where it is.
        if !settled || full {
            self.drive.deliver()?;
        }
        Ok(())
    }

    pub(super) fn core<T>(&self, work: impl FnOnce(&mut Endpoint) -> T) -> Result<T, Error> {
        self.shared.core(work)
    }

    /// Events, what follows from them, and output.
    pub(super) fn finish(self) -> Result<(), Error> {
        self.drive.finish(self.now)
    }
}

/// Does what is due at the time `now` (microseconds), calls back for what has happened, and offers datagrams to tx.
///
/// Call it when the deadline has come, when the socket is writable again after tx did not take all, and after calls
/// from outside of callbacks (writing, connecting, closing), which queue their effects; utcp_endpoint_next_deadline()
/// is 0 then. Early, late and repeated calls are harmless; a time earlier than one handed in before counts as that
/// one.
///
/// UTCP_ERR_BUSY: called from inside a callback. UTCP_ERR_ARGUMENT: `now` is UINT64_MAX. UTCP_ERR_NULL,
/// UTCP_ERR_HANDLE: not an endpoint. UTCP_ERR_INTERNAL: free everything.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_process(endpoint: *mut utcp_endpoint, now: u64) -> c_int {
    let process = |shared: &Shared| {
        shared.refuse_inside_callback()?;
        let now = shared.advance(now)?;
        Drive::new(shared).finish(now)
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(endpoint, process) })
}

/// When utcp_endpoint_process() has to be called next: an absolute time in microseconds, on the clock of the `now`
/// that was handed in. 0: at once. UINT64_MAX: there is no deadline (also if `endpoint` is not a live endpoint).
///
/// Set the timer anew after every inject and process, and after other calls from outside of callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_next_deadline(endpoint: *const utcp_endpoint) -> u64 {
    let deadline = |shared: &Shared| {
        shared.core(|core| {
            if is_pending(shared, core) {
                Time(0)
            } else {
                core.next_deadline()
            }
        })
    };
    // SAFETY: the caller's promise.
    unsafe { with(endpoint, deadline) }.unwrap_or(Time::NEVER).0
}

/// Starts a connection to the peer's UDP address, at the time `now` (microseconds). The handle goes to `*connection`,
/// and is the caller's to free. connection_ready or connection_closed follows; to send the first datagram, call
/// process.
///
/// `pin`: the SHA-256 of the peer's leaf certificate (DER), 32 bytes, or NULL. With a pin, the peer is who has that
/// certificate, and connection_verify is not called.
///
/// UTCP_ERR_IN_USE: there is a connection with this address already (perhaps the peer was faster): see
/// utcp_endpoint_find(). UTCP_ERR_LIMIT: too many connections. UTCP_ERR_ARGUMENT: the address is not one of a peer
/// (its port is 0, it is multicast or unspecified, not IPv4 or IPv6), or `now` is UINT64_MAX. UTCP_ERR_TLS: OpenSSL
/// failed. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_connect(
    endpoint: *mut utcp_endpoint,
    now: u64,
    peer: *const sockaddr,
    peer_len: socklen_t,
    pin: *const u8,
    connection: *mut *mut utcp_connection,
) -> c_int {
    let connect = |shared: &Shared| {
        // SAFETY: the caller's promise.
        let (peer, out) = unsafe { (address::read(peer, peer_len)?, Out::new(connection)?) };
        // SAFETY: the caller's promise.
        let pin: &[u8] = unsafe { slice(pin, if pin.is_null() { 0 } else { PIN }) }?;
        let now = shared.advance(now)?;
        let id = shared.core(|core| core.connect(now, peer, pin.try_into().ok()))??;
        let slot = shared.add_connection(id);
        slot.set_known();
        out.set(slot.to_c());
        Ok(())
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(endpoint, connect) })
}

/// Finds the connection with a peer's UDP address, whoever started it, as long as it has not ended. The handle in
/// `*connection` is the one that is known already; it needs no free of its own.
///
/// UTCP_ERR_CLOSED: there is none. UTCP_ERR_ARGUMENT: not an IPv4 or IPv6 address. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a
/// pointer is not what it should be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_find(
    endpoint: *mut utcp_endpoint,
    peer: *const sockaddr,
    peer_len: socklen_t,
    connection: *mut *mut utcp_connection,
) -> c_int {
    let find = |shared: &Shared| {
        // SAFETY: the caller's promise.
        let (peer, out) = unsafe { (address::read(peer, peer_len)?, Out::new(connection)?) };
        let id = shared.core(|core| core.find(peer))?.ok_or(Error::Closed)?;
        // Without a handle if the relay is still to be asked whether to accept it.
        let slot = shared.connection(id).ok_or(Error::Closed)?;
        slot.set_known();
        out.set(slot.to_c());
        Ok(())
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(endpoint, find) })
}

/// Takes a new certificate chain and key, in the forms of utcp_config_set_certificate(), for the handshakes that
/// start from now on. Connections that exist go on as they are. Both are copied.
///
/// UTCP_ERR_CERTIFICATE: they cannot be used; the old ones stay. UTCP_ERR_ARGUMENT: a length is 0 or beyond 1 MiB.
/// UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_set_certificate(
    endpoint: *mut utcp_endpoint,
    chain: *const u8,
    chain_len: usize,
    key: *const u8,
    key_len: usize,
) -> c_int {
    let set = |shared: &Shared| {
        // SAFETY: the caller's promise.
        let (chain, key) = unsafe { credentials(chain, chain_len, key, key_len) }?;
        shared.core(|core| core.set_certificate(chain, key))?
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(endpoint, set) })
}

/// Whether new peers may connect to this endpoint; at first they may. With 0 their datagrams are dropped and counted,
/// while connections that exist, and those that this side starts, go on.
///
/// UTCP_ERR_NULL, UTCP_ERR_HANDLE: not an endpoint.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_set_accepting(
    endpoint: *mut utcp_endpoint,
    accepting: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe {
        with(endpoint, |shared| {
            shared.core(|core| core.set_accepting(accepting != 0))
        })
    })
}

/// Bytes held in the queues of all circuits, both directions, in whole blocks. 0 if `endpoint` is not a live endpoint.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_memory(endpoint: *const utcp_endpoint) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { with(endpoint, |shared| shared.core(|core| core.memory())) }.unwrap_or(0)
}

/// Changes the memory budget, UTCP_OPTION_MEMORY_BUDGET, in bytes; what connections may hold of it follows.
///
/// Less than what is held already takes nothing away by itself: nothing more is taken in until less is held, and data
/// that arrives is treated as when memory runs short (UTCP_OPTION_CONNECTION_SHARE). To free some at once, call
/// utcp_endpoint_shed(). More lets writers go on that wait for memory; they hear of it from the next process.
///
/// UTCP_ERR_ARGUMENT: `bytes` is below 65536; the budget stays as it was. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not an
/// endpoint.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_set_memory_budget(
    endpoint: *mut utcp_endpoint,
    bytes: u64,
) -> c_int {
    let set = |shared: &Shared| shared.core(|core| core.set_memory_budget(bytes))?;
    // SAFETY: the caller's promise.
    code(unsafe { with(endpoint, set) })
}

/// Frees at least `bytes` of what utcp_endpoint_memory() counts, or all there is: first data that arrived out of
/// order, which peers send again; then the circuits that hold most are reset, and circuit_closed comes for them, with
/// UTCP_CLOSE_MEMORY, from the next process. What was freed, in bytes, goes to `*shed`, which may be NULL.
///
/// UTCP_ERR_NULL, UTCP_ERR_HANDLE: not an endpoint.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_shed(
    endpoint: *mut utcp_endpoint,
    bytes: u64,
    shed: *mut u64,
) -> c_int {
    let work = |shared: &Shared| {
        let freed = shared.core(|core| core.shed(bytes))?;
        if !shed.is_null() {
            // SAFETY: the caller's promise.
            unsafe { Out::new(shed) }?.set(freed);
        }
        Ok(())
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(endpoint, work) })
}

/// Captures the inner TCP segments of all circuits, as TCP/IP packets in pcap format: `capture` gets the bytes of a
/// file, from its header on, with `user`. They are not encrypted: the file shows what circuits carry. NULL stops;
/// what was not handed out yet is dropped then.
///
/// UTCP_ERR_NULL, UTCP_ERR_HANDLE: not an endpoint.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_set_capture(
    endpoint: *mut utcp_endpoint,
    capture: utcp_capture_fn,
    user: *mut c_void,
) -> c_int {
    let set = |shared: &Shared| {
        shared.core(|core| core.set_capture(capture.is_some()))?;
        shared.capture.set((capture, user));
        Ok(())
    };
    // SAFETY: the caller's promise.
    code(unsafe { with(endpoint, set) })
}
