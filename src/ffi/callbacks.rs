//! The functions of the relay that the library calls, and the datagrams that pass in both directions.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;

use libc::{sockaddr, socklen_t};

use super::address::Address;
use super::size::Versioned;
use super::{ssl_st, utcp_circuit, utcp_connection};
use crate::endpoint::Datagram;
use crate::pool::Pressure;

/// A datagram, in either direction.
///
/// The library keeps no pointer to one that it was given. Those that it hands out are valid during the callback.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct utcp_datagram {
    /// The peer's address: a struct sockaddr_in or sockaddr_in6, and no larger than that.
    ///
    /// An IPv4 address mapped into IPv6, as a dual-stack socket reports it, is the IPv4 address: the library hands
    /// out sockaddr_in for it, which Linux accepts on such a socket.
    pub address: *const sockaddr,
    /// Its length in bytes.
    pub address_len: socklen_t,
    /// UDP payload.
    pub data: *const u8,
    /// Its length in bytes.
    pub len: usize,
    /// ECN field of the IP header (RFC 3168 section 5), 0 to 3: the low two bits of the type of service (IPv4) or traffic
    /// class (IPv6). Handed out: what it should be, 0 or 2, always 0 without UTCP_OPTION_ECN. Handed in: what it was, 0
    /// if it is not known.
    pub ecn: u8,
}

/// What the relay wants to be called for. Any member may be NULL.
///
/// `user` is what was given to utcp_endpoint_new(). Callbacks come only from inside utcp_endpoint_inject(),
/// utcp_endpoint_inject_batch() and utcp_endpoint_process(), on the thread that called. They must return: neither
/// longjmp() nor a C++ exception may leave one.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct utcp_callbacks {
    /// sizeof(utcp_callbacks), set by the relay.
    pub size: usize,
    /// Sends `count` (1 to 64) datagrams, oldest first, and returns how many of them, from the front, it is done
    /// with.
    ///
    /// Fewer than `count` means that the socket is full: the rest is offered again by the next inject or process, so
    /// call process when the socket is writable again. A datagram that the socket refuses for good (EMSGSIZE,
    /// EHOSTUNREACH and the like) counts as sent: it is lost, as datagrams are. Without tx, datagrams wait, up to a
    /// bound, and then the newest are dropped.
    ///
    /// Datagrams may be larger than the path carries: it is found out by sending such ones, and EMSGSIZE needs no
    /// special care. So that what is too large is dropped instead of fragmented, set IP_MTU_DISCOVER to
    /// IP_PMTUDISC_PROBE and IPV6_MTU_DISCOVER to IPV6_PMTUDISC_PROBE on the socket (Linux), or IP_DONTFRAG and
    /// IPV6_DONTFRAG elsewhere. With fragments the library works too, but takes the path for wider than it is.
    ///
    /// The ECN field may differ from one datagram of a batch to the next; datagrams that leave by one system call of
    /// segmentation offload have to have the same.
    ///
    /// utcp_socket_send() does all of this, for programs that do not want to do it themselves.
    pub tx: Option<
        unsafe extern "C" fn(user: *mut c_void, batch: *const utcp_datagram, count: usize) -> usize,
    >,
    /// A peer with a proven address wants to connect. 0 accepts: the handle is the relay's from now on, to be freed
    /// when it is done with it. Any other value refuses: the library frees the handle. NULL accepts.
    pub connection_incoming: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            connection: *mut utcp_connection,
            address: *const sockaddr,
            address_len: socklen_t,
        ) -> c_int,
    >,
    /// The handshake is complete: is this peer acceptable? 0 accepts, any other value ends the connection with
    /// UTCP_CLOSE_VERIFY.
    ///
    /// `ssl` is lent for the callback: get the peer's certificate and export keying material from it, and change
    /// nothing. Not called for connections with a pin, which decides alone. NULL: only those are accepted.
    pub connection_verify: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            connection: *mut utcp_connection,
            ssl: *mut ssl_st,
        ) -> c_int,
    >,
    /// Circuits can be opened, and the control circuit is usable.
    pub connection_ready:
        Option<unsafe extern "C" fn(user: *mut c_void, connection: *mut utcp_connection)>,
    /// The connection has ended, for the reason UTCP_CLOSE_*; its circuits have been reported closed before it, if they
    /// are very many by several calls of process. Free the handle, here or later.
    ///
    /// If connection_incoming is NULL, this may be the first that the relay hears of a connection.
    pub connection_closed: Option<
        unsafe extern "C" fn(user: *mut c_void, connection: *mut utcp_connection, reason: c_int),
    >,
    /// The peer opened a circuit. 0 takes it: the handle is the relay's from now on, to be freed when it is done with
    /// it. Any other value refuses: the circuit is reset and the library frees the handle. NULL refuses all.
    pub circuit_incoming: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            connection: *mut utcp_connection,
            circuit: *mut utcp_circuit,
            number: u32,
        ) -> c_int,
    >,
    /// There is something to read, or the end of the stream.
    ///
    /// Edge-triggered: called when something new has arrived, and not again for what was left unread. So read until
    /// utcp_circuit_read() returns UTCP_ERR_WOULD_BLOCK or UTCP_ERR_END, or come back of your own accord.
    pub circuit_readable:
        Option<unsafe extern "C" fn(user: *mut c_void, circuit: *mut utcp_circuit)>,
    /// There is room to write again.
    ///
    /// Edge-triggered: called once after a write that took less than it was given, when half of the room is free.
    pub circuit_writable:
        Option<unsafe extern "C" fn(user: *mut c_void, circuit: *mut utcp_circuit)>,
    /// The circuit has ended, for the reason UTCP_CLOSE_*. Free the handle, here or later. Not called for the control
    /// circuit, which ends with its connection.
    pub circuit_closed:
        Option<unsafe extern "C" fn(user: *mut c_void, circuit: *mut utcp_circuit, reason: c_int)>,
    /// More, or less, of the memory budget is in use than when this was called last: UTCP_MEMORY_*, at first
    /// UTCP_MEMORY_NORMAL. Called once when use has risen above a mark, and once when it has fallen well below it.
    ///
    /// The library slows peers down by itself. The relay may read faster, close circuits, raise the budget
    /// (utcp_endpoint_set_memory_budget()) or have circuits reset (utcp_endpoint_shed()).
    pub memory_pressure: Option<unsafe extern "C" fn(user: *mut c_void, level: c_int)>,
}

/// No more than half of the memory budget was in use; or use was higher, and has fallen below three eighths.
pub const UTCP_MEMORY_NORMAL: c_int = 0;
/// More than half of the memory budget was in use, and no less than three eighths since.
pub const UTCP_MEMORY_HIGH: c_int = 1;
/// More than seven eighths of the memory budget were in use, and no less than three quarters since.
pub const UTCP_MEMORY_CRITICAL: c_int = 2;

const _: () = {
    assert!(UTCP_MEMORY_NORMAL == Pressure::Normal as c_int);
    assert!(UTCP_MEMORY_HIGH == Pressure::High as c_int);
    assert!(UTCP_MEMORY_CRITICAL == Pressure::Critical as c_int);
};

// SAFETY: repr(C), Copy, the size comes first, and NULL is `None`; octets that are not NULL are the caller's
// functions.
unsafe impl Versioned for utcp_callbacks {
    const FIRST: usize = offset_of!(utcp_callbacks, circuit_closed) + size_of::<usize>();
    const UNIT: usize = size_of::<usize>();
}

/// Takes `len` bytes of a capture: append them to the file. `data` is valid during the call.
///
/// Called from inside utcp_endpoint_inject(), utcp_endpoint_inject_batch() and utcp_endpoint_process(); what is said
/// of the other callbacks goes for it too.
pub type utcp_capture_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, data: *const u8, len: usize)>;

/// The most datagrams that are offered at once: what the kernel takes in one call of UDP segmentation offload.
pub(super) const BATCH: usize = 64;

/// Room for one batch, kept so that sending does not allocate.
pub(super) struct Batch {
    addresses: Vec<Address>,
    datagrams: Vec<utcp_datagram>,
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            addresses: Vec::with_capacity(BATCH),
            datagrams: Vec::with_capacity(BATCH),
        }
    }

    /// Points to the oldest of these datagrams; returns how many.
    pub(super) fn fill<'a>(&mut self, output: impl Iterator<Item = &'a Datagram> + Clone) -> usize {
        self.addresses.clear();
        self.datagrams.clear();
        let output = output.take(BATCH);
        self.addresses
            .extend(output.clone().map(|datagram| Address::new(datagram.peer)));
        self.datagrams
            .extend(
                output
                    .zip(&self.addresses)
                    .map(|(datagram, address)| utcp_datagram {
                        address: address.as_ptr(),
                        address_len: address.len(),
                        data: datagram.data.as_ptr(),
                        len: datagram.data.len(),
                        ecn: datagram.ecn,
                    }),
            );
        self.datagrams.len()
    }

    pub(super) fn as_ptr(&self) -> *const utcp_datagram {
        self.datagrams.as_ptr()
    }

    /// Forgets the pointers.
    pub(super) fn clear(&mut self) {
        self.datagrams.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_points_to_the_oldest_datagrams() {
        let output: Vec<Datagram> = (0..100u8)
            .map(|n| Datagram {
                peer: format!("192.0.2.{n}:9001").parse().expect("an address"),
                data: vec![n; usize::from(n)],
                ecn: n % 4,
            })
            .collect();
        let mut batch = Batch::new();
        assert_eq!(batch.fill(output.iter()), BATCH);
        for (made, datagram) in batch.datagrams.iter().zip(&output) {
            // SAFETY: made of a valid address and of a vector that is still there.
            let (address, data) = unsafe {
                (
                    super::super::address::read(made.address, made.address_len),
                    std::slice::from_raw_parts(made.data, made.len),
                )
            };
            assert_eq!(address, Ok(datagram.peer));
            assert_eq!((data, made.ecn), (&datagram.data[..], datagram.ecn));
        }
        assert_eq!(batch.fill(output[98..].iter()), 2);
        assert_eq!(batch.fill(output[..0].iter()), 0);
    }
}
