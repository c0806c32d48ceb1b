//! Configuration of an endpoint.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use super::bytes::slice;
use super::error::code;
use super::guard::guard;
use super::handle::tag;
use super::utcp_config;
use crate::config::{ClientCertificate, Config};
use crate::error::Error;
use crate::tcp::congestion::Algorithm;

/// Certificate of the side that connects: 0 none (default), 1 requested, 2 required. 1 and 2 also make this side
/// present its own when it connects.
pub const UTCP_OPTION_CLIENT_CERTIFICATE: c_int = 1;
/// OpenSSL's security level, 0 to 5, default 2.
pub const UTCP_OPTION_SECURITY_LEVEL: c_int = 2;
/// Connections at once, 1 to 1048576, default 65536.
pub const UTCP_OPTION_MAX_CONNECTIONS: c_int = 3;
/// Handshakes at once in which this side is the server, 1 to 1048576, default 1024.
pub const UTCP_OPTION_MAX_HALF_OPEN: c_int = 4;
/// Circuits at once on one connection, control included, 1 to 16777216, default 65536.
pub const UTCP_OPTION_MAX_CIRCUITS: c_int = 5;
/// Bytes that a circuit holds for sending, unacknowledged and unsent, 4096 to 1073741824, default 16777216. Of unsent
/// ones it takes in no more than a congestion window, or 16384 if that is larger: what waits, waits with the relay.
pub const UTCP_OPTION_SEND_BUFFER: c_int = 6;
/// Largest receive window of a circuit in bytes, 4096 to 1073741824, default 16777216.
pub const UTCP_OPTION_RECEIVE_BUFFER: c_int = 7;
/// Congestion control of new circuits, UTCP_CONGESTION_*, default UTCP_CONGESTION_CUBIC.
pub const UTCP_OPTION_CONGESTION: c_int = 8;
/// Largest UDP payload sent before the path was probed, or at all if it is not; bytes, 576 to 65507, default 1432.
pub const UTCP_OPTION_DATAGRAM_SIZE: c_int = 9;
/// Time that a handshake may take, microseconds, 100000 to 3600000000, default 20000000.
pub const UTCP_OPTION_HANDSHAKE_TIMEOUT: c_int = 10;
/// Time without any answer to sent data after which a circuit, or with the control circuit the connection, is given
/// up; microseconds, 1000000 to 86400000000, default 180000000.
pub const UTCP_OPTION_DEAD_TIMEOUT: c_int = 11;
/// Bytes of queued data that the endpoint may hold, at least 65536, default 1073741824. It can be changed later:
/// utcp_endpoint_set_memory_budget().
pub const UTCP_OPTION_MEMORY_BUDGET: c_int = 12;
/// Whether explicit congestion notification (RFC 3168) is offered to peers, and used with those that offer it too: 0 or
/// 1, default 0. Routers then mark datagrams instead of dropping them, and senders slow down without loss.
///
/// With 1 the program has to do two things for every datagram. Sent: give the IP header the ECN field that
/// utcp_datagram.ecn says (IP_TOS or IPV6_TCLASS, as an option of the socket or with each sendmsg()). Received: say what
/// it was (IP_RECVTOS, IPV6_RECVTCLASS), with utcp_endpoint_inject_batch(). The second matters more: a program that
/// sets 1 and does not pass the marks on makes its peers' traffic ignore congestion, at the cost of all others on the
/// path. If only the first is missing, nothing is gained. utcp_socket_send() and utcp_socket_receive() do both, if
/// utcp_socket_abilities() has UTCP_SOCKET_ECN.
pub const UTCP_OPTION_ECN: c_int = 13;
/// Whether new circuits share one congestion window with the others of their connection that do: 0 or 1, default 0. With 0
/// each has a window of its own. See utcp_circuit_set_coupled().
pub const UTCP_OPTION_COUPLED: c_int = 14;
/// How many flows the circuits of a connection that share a window claim together, whatever their number: 1 to 64,
/// default 1. Beside other traffic they get about as much as so many TCP connections would. With UTCP_CONGESTION_BBR it
/// is always one.
pub const UTCP_OPTION_COUPLED_FLOWS: c_int = 15;
/// How much of the memory budget one connection may hold, both directions together: percent of what all other
/// connections leave, 1 to 100, default 50. 32 KiB are allowed to each, as long as there are any.
///
/// So a peer whose data is not read, or that acknowledges nothing, takes half of the budget at most, two of them a third
/// each, and however many there are, something is left for one more. Of what a connection may hold, data received takes
/// three quarters at most, and so does data to be sent. As the rest becomes little, its receive windows stop growing,
/// then data that came out of order is thrown away, then data that arrives is dropped, which slows its senders down;
/// writes give UTCP_ERR_WOULD_BLOCK, and circuit_writable comes when there is room.
pub const UTCP_OPTION_CONNECTION_SHARE: c_int = 16;
/// Whether the largest datagram that the path to a peer carries is found by probing (RFC 8899): 0 or 1, default 1. The
/// socket should not let datagrams be fragmented (see utcp_callbacks.tx).
pub const UTCP_OPTION_PATH_MTU_DISCOVERY: c_int = 20;
/// Largest UDP payload that is probed for if it is more than UTCP_OPTION_DATAGRAM_SIZE, bytes, 576 to 16421, default 0
/// for what Ethernet carries, 1472 to IPv4 peers and 1452 to IPv6 peers. For jumbo frames, set it on both sides: it
/// also says how large the segments may be that the peer sends.
pub const UTCP_OPTION_LARGEST_DATAGRAM: c_int = 21;

/// NewReno, RFC 5681.
pub const UTCP_CONGESTION_NEWRENO: c_int = 1;
/// CUBIC, RFC 9438.
pub const UTCP_CONGESTION_CUBIC: c_int = 2;
/// BBR version 3, draft-ietf-ccwg-bbr: fills lossy links, where the others cannot, and keeps queues short. Tolerates 5 %
/// of loss before it slows down, which loss-based flows beside it at a shallow buffer pay for (docs/congestion.md).
pub const UTCP_CONGESTION_BBR: c_int = 3;

/// Chains and keys beyond this size cannot be meant.
const LARGEST_CREDENTIAL: usize = 1 << 20;

const SEED: usize = 32;

unsafe extern "C" {
    // Not in openssl-sys.
    fn OPENSSL_cleanse(pointer: *mut c_void, len: usize);
}

/// What a configuration's handle points to.
#[repr(C)]
struct Handle {
    tag: Cell<u32>,
    config: Config,
    seeded: bool,
}

/// Overwrites a private key.
fn cleanse(key: &mut Vec<u8>) {
    // SAFETY: the vector's own octets.
    unsafe { OPENSSL_cleanse(key.as_mut_ptr().cast(), key.len()) };
    key.clear();
}

impl Drop for Handle {
    fn drop(&mut self) {
        cleanse(&mut self.config.key);
    }
}

/// # Safety
/// `config` is NULL, or a configuration that was not freed and that nothing else uses during `'a`.
unsafe fn from_c<'a>(config: *mut utcp_config) -> Result<&'a mut Handle, Error> {
    let handle = NonNull::new(config.cast::<Handle>()).ok_or(Error::Null)?;
    if !handle.is_aligned() {
        return Err(Error::Handle);
    }
    // SAFETY: as the caller promised; the tag is the first member, of other handles too.
    let found = unsafe { handle.cast::<Cell<u32>>().as_ref() }.get();
    if found != tag::CONFIG {
        return Err(Error::Handle);
    }
    // SAFETY: the tag says what it is, and nothing else uses it.
    Ok(unsafe { &mut *handle.as_ptr() })
}

/// A copy for an endpoint to keep, with a seed.
///
/// # Safety
/// As for [`from_c`].
pub(super) unsafe fn for_endpoint(config: *const utcp_config) -> Result<Config, Error> {
    // SAFETY: passed on.
    let handle = unsafe { from_c(config.cast_mut()) }?;
    let mut config = handle.config.clone();
    if !handle.seeded {
        // SAFETY: the buffer has that many octets.
        let made = unsafe { openssl_sys::RAND_bytes(config.seed.as_mut_ptr(), SEED as c_int) };
        if made != 1 {
            return Err(Error::Tls);
        }
    }
    Ok(config)
}

/// The number of a congestion control.
pub(super) fn algorithm(number: u64) -> Result<Algorithm, Error> {
    match number {
        n if n == UTCP_CONGESTION_NEWRENO as u64 => Ok(Algorithm::NewReno),
        n if n == UTCP_CONGESTION_CUBIC as u64 => Ok(Algorithm::Cubic),
        n if n == UTCP_CONGESTION_BBR as u64 => Ok(Algorithm::Bbr),
        _ => Err(Error::Range),
    }
}

fn client_certificate(number: u64) -> Result<ClientCertificate, Error> {
    match number {
        0 => Ok(ClientCertificate::None),
        1 => Ok(ClientCertificate::Request),
        2 => Ok(ClientCertificate::Require),
        _ => Err(Error::Range),
    }
}

fn switch(number: u64) -> Result<bool, Error> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::Argument),
    }
}

/// Sets one option, if it is acceptable.
fn set(config: &mut Config, option: c_int, value: u64) -> Result<(), Error> {
    let number = || usize::try_from(value).map_err(|_| Error::Argument);
    // The credentials are large, and do not matter to the check.
    let mut next = Config {
        chain: Vec::new(),
        key: Vec::new(),
        ..*config
    };
    match option {
        UTCP_OPTION_CLIENT_CERTIFICATE => next.client_certificate = client_certificate(value)?,
        UTCP_OPTION_SECURITY_LEVEL => {
            next.security_level = u32::try_from(value).map_err(|_| Error::Argument)?;
        }
        UTCP_OPTION_MAX_CONNECTIONS => next.max_connections = number()?,
        UTCP_OPTION_MAX_HALF_OPEN => next.max_half_open = number()?,
        UTCP_OPTION_MAX_CIRCUITS => next.max_circuits = number()?,
        UTCP_OPTION_SEND_BUFFER => next.send_buffer = number()?,
        UTCP_OPTION_RECEIVE_BUFFER => next.receive_buffer = number()?,
        UTCP_OPTION_CONGESTION => next.congestion = algorithm(value)?,
        UTCP_OPTION_DATAGRAM_SIZE => next.datagram_size = number()?,
        UTCP_OPTION_HANDSHAKE_TIMEOUT => next.handshake_timeout = value,
        UTCP_OPTION_DEAD_TIMEOUT => next.dead_timeout = value,
        UTCP_OPTION_MEMORY_BUDGET => next.memory_budget = value,
        UTCP_OPTION_CONNECTION_SHARE => {
            next.connection_share = u32::try_from(value).map_err(|_| Error::Argument)?;
        }
        UTCP_OPTION_ECN => next.ecn = switch(value)?,
        UTCP_OPTION_COUPLED => next.coupled = switch(value)?,
        UTCP_OPTION_COUPLED_FLOWS => {
            next.coupled_flows = u32::try_from(value).map_err(|_| Error::Argument)?;
        }
        UTCP_OPTION_PATH_MTU_DISCOVERY => next.path_mtu_discovery = switch(value)?,
        UTCP_OPTION_LARGEST_DATAGRAM => next.largest_datagram = number()?,
        _ => return Err(Error::Range),
    }
    next.check()?;
    *config = Config {
        chain: std::mem::take(&mut config.chain),
        key: std::mem::take(&mut config.key),
        ..next
    };
    Ok(())
}

/// A certificate chain and its key as they came from C.
///
/// # Safety
/// Unless NULL, the pointers point to as many octets as their lengths say, unchanged during `'a`.
pub(super) unsafe fn credentials<'a>(
    chain: *const u8,
    chain_len: usize,
    key: *const u8,
    key_len: usize,
) -> Result<(&'a [u8], &'a [u8]), Error> {
    // SAFETY: passed on.
    let (chain, key) = unsafe { (slice(chain, chain_len)?, slice(key, key_len)?) };
    let ok = |octets: &[u8]| (1..=LARGEST_CREDENTIAL).contains(&octets.len());
    if ok(chain) && ok(key) {
        Ok((chain, key))
    } else {
        Err(Error::Argument)
    }
}

/// A configuration with all defaults, which needs a certificate at least. NULL only after an internal error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_config_new() -> *mut utcp_config {
    guard(|| {
        let handle = Handle {
            tag: Cell::new(tag::CONFIG),
            config: Config::default(),
            seeded: false,
        };
        Box::into_raw(Box::new(handle)).cast()
    })
    .unwrap_or(std::ptr::null_mut())
}

/// Frees a configuration. Endpoints made from it have copies. NULL is allowed and does nothing.
///
/// UTCP_ERR_HANDLE: not a configuration. Do not rely on it to catch a second free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_config_free(config: *mut utcp_config) -> c_int {
    if config.is_null() {
        return super::error::UTCP_OK;
    }
    let free = || {
        // SAFETY: the caller's promise.
        let handle = unsafe { from_c(config) }?;
        // SAFETY: volatile, so that it is written although the memory is about to go.
        unsafe { (&raw mut handle.tag).write_volatile(Cell::new(tag::FREE)) };
        // SAFETY: made by `Box::into_raw` in `utcp_config_new`; the tag said that it was not freed.
        drop(unsafe { Box::from_raw(config.cast::<Handle>()) });
        Ok(())
    };
    code(guard(free).and_then(|result| result))
}

/// Sets an option, UTCP_OPTION_*, which says the unit and the acceptable values.
///
/// UTCP_ERR_RANGE: unknown option or enumeration value. UTCP_ERR_ARGUMENT: the value is not acceptable; the option
/// keeps the one it had. UTCP_ERR_NULL, UTCP_ERR_HANDLE: `config` is not a configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_config_set(
    config: *mut utcp_config,
    option: c_int,
    value: u64,
) -> c_int {
    // SAFETY: the caller's promise.
    code(
        guard(|| set(&mut unsafe { from_c(config) }?.config, option, value))
            .and_then(|result| result),
    )
}

/// Sets the certificate chain and the key that this side presents. Both are copied.
///
/// `chain`: certificates, leaf first, as concatenated DER or as PEM. `key`: the leaf's private key as DER (PKCS#1,
/// SEC1 or PKCS#8) or PEM, without a passphrase. They are looked at by utcp_endpoint_new() only.
///
/// UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be. UTCP_ERR_ARGUMENT: a length is 0 or beyond 1
/// MiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_config_set_certificate(
    config: *mut utcp_config,
    chain: *const u8,
    chain_len: usize,
    key: *const u8,
    key_len: usize,
) -> c_int {
    let set = || {
        // SAFETY: the caller's promise.
        let handle = unsafe { from_c(config) }?;
        // SAFETY: the caller's promise.
        let (chain, key) = unsafe { credentials(chain, chain_len, key, key_len) }?;
        cleanse(&mut handle.config.key);
        handle.config.chain = chain.to_vec();
        handle.config.key = key.to_vec();
        Ok(())
    };
    code(guard(set).and_then(|result| result))
}

/// Sets the seed of all random choices that the library makes itself (initial sequence numbers, cookies), 32 bytes.
/// DTLS keys do not depend on it. Only tests want this, to repeat a run exactly: without a seed, each endpoint takes
/// one from OpenSSL.
///
/// UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be. UTCP_ERR_ARGUMENT: `len` is not 32.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_config_set_seed(
    config: *mut utcp_config,
    seed: *const u8,
    len: usize,
) -> c_int {
    let set = || {
        // SAFETY: the caller's promise.
        let handle = unsafe { from_c(config) }?;
        // SAFETY: the caller's promise.
        let seed = unsafe { slice(seed, len) }?;
        handle.config.seed = seed.try_into().map_err(|_| Error::Argument)?;
        handle.seeded = true;
        Ok(())
    };
    code(guard(set).and_then(|result| result))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
