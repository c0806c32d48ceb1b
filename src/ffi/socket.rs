//! Batched reading and writing of the program's UDP socket.

use std::cell::Cell;
use std::ffi::c_int;
use std::mem::offset_of;
use std::net::{Ipv4Addr, SocketAddr};
use std::ptr::NonNull;

use super::bytes::{Out, slice};
use super::callbacks::utcp_datagram;
use super::endpoint::{self, Injection};
use super::error::{UTCP_OK, code};
use super::guard::guard;
use super::handle::tag;
use super::size::{self, Versioned};
use super::{utcp_endpoint, utcp_socket};
use crate::endpoint::ConnectionState;
use crate::error::Error;
use crate::udp::{Abilities, Options, Outgoing, SEGMENTS, Sink, Socket, SocketStats};

/// Several messages for each system call: sendmmsg() and recvmmsg() (Linux).
pub const UTCP_SOCKET_BATCH: u32 = 1;
/// Several datagrams for one peer are handed to the kernel as one message, which it or the network card cuts into
/// datagrams (UDP_SEGMENT; Linux 4.18 and later).
pub const UTCP_SOCKET_SEGMENT: u32 = 2;
/// Datagrams of one peer that arrive together are handed over by the kernel as one message (UDP_GRO; Linux 5.0 and
/// later).
pub const UTCP_SOCKET_COALESCE: u32 = 4;
/// The ECN field of datagrams is set and read (Linux): UTCP_OPTION_ECN may be switched on.
pub const UTCP_SOCKET_ECN: u32 = 8;
/// The socket is bound to all addresses of the machine, and each peer is answered from the one that it speaks to
/// (Linux).
pub const UTCP_SOCKET_LOCAL_ADDRESS: u32 = 16;
/// Datagrams are dropped rather than fragmented, and what the kernel believes of a path's MTU is not looked at, as
/// UTCP_OPTION_PATH_MTU_DISCOVERY would have it (Linux; in part FreeBSD and macOS).
pub const UTCP_SOCKET_DONT_FRAGMENT: u32 = 32;

const _: () = {
    assert!(UTCP_SOCKET_BATCH == Abilities::BATCH.0);
    assert!(UTCP_SOCKET_SEGMENT == Abilities::SEGMENT.0);
    assert!(UTCP_SOCKET_COALESCE == Abilities::COALESCE.0);
    assert!(UTCP_SOCKET_ECN == Abilities::ECN.0);
    assert!(UTCP_SOCKET_LOCAL_ADDRESS == Abilities::LOCAL_ADDRESS.0);
    assert!(UTCP_SOCKET_DONT_FRAGMENT == Abilities::DONT_FRAGMENT.0);
};

/// What a socket has sent and received since its handle was made.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct utcp_socket_stats {
    /// sizeof(utcp_socket_stats), set by the caller before the call.
    pub size: usize,
    /// System calls that sent, or tried to.
    pub send_calls: u64,
    /// Datagrams that the kernel took.
    pub datagrams_sent: u64,
    /// Their UDP payload, bytes.
    pub bytes_sent: u64,
    /// Messages of several datagrams (UTCP_SOCKET_SEGMENT) that the kernel took.
    pub segmented_sent: u64,
    /// Times that the socket was full (EAGAIN).
    pub full: u64,
    /// Datagrams lost: larger than the interface or the path takes (EMSGSIZE). Probes of the path's MTU among them.
    pub lost_too_large: u64,
    /// Datagrams lost: no way to the peer (ENETUNREACH, EHOSTUNREACH and the like).
    pub lost_unreachable: u64,
    /// Datagrams lost: a packet filter or a sandbox does not let them out (EPERM, EACCES).
    pub lost_refused: u64,
    /// Datagrams lost: the kernel had no room for them (ENOBUFS, ENOMEM).
    pub lost_no_buffers: u64,
    /// Datagrams lost: other errors.
    pub lost_other: u64,
    /// System calls that received, or tried to.
    pub receive_calls: u64,
    /// Datagrams received and injected.
    pub datagrams_received: u64,
    /// Their UDP payload, bytes.
    pub bytes_received: u64,
    /// Messages of several datagrams (UTCP_SOCKET_COALESCE) received.
    pub coalesced_received: u64,
    /// Messages dropped: longer than any datagram should be.
    pub truncated: u64,
    /// Messages dropped: from neither an IPv4 nor an IPv6 address.
    pub dropped_address: u64,
    /// Errors of receiving, such as what routers have reported of datagrams sent before.
    pub receive_errors: u64,
}

// SAFETY: repr(C), Copy, the size comes first, all else is integers.
unsafe impl Versioned for utcp_socket_stats {
    const FIRST: usize = offset_of!(utcp_socket_stats, receive_errors) + size_of::<u64>();
    const UNIT: usize = 8;
}

fn stats_of(stats: &SocketStats) -> utcp_socket_stats {
    utcp_socket_stats {
        size: 0,
        send_calls: stats.send_calls,
        datagrams_sent: stats.datagrams_sent,
        bytes_sent: stats.bytes_sent,
        segmented_sent: stats.segmented_sent,
        full: stats.full,
        lost_too_large: stats.lost_too_large,
        lost_unreachable: stats.lost_unreachable,
        lost_refused: stats.lost_refused,
        lost_no_buffers: stats.lost_no_buffers,
        lost_other: stats.lost_other,
        receive_calls: stats.receive_calls,
        datagrams_received: stats.datagrams_received,
        bytes_received: stats.bytes_received,
        coalesced_received: stats.coalesced_received,
        truncated: stats.truncated,
        dropped_address: stats.dropped_address,
        receive_errors: stats.receive_errors,
    }
}

/// What a socket's handle points to.
#[repr(C)]
struct Handle {
    tag: Cell<u32>,
    /// utcp_socket_receive is at work.
    receiving: Cell<bool>,
    socket: Socket,
}

/// Looks behind a handle.
///
/// # Safety
/// As the module says; a handle that was freed is not looked for, it may be found by luck.
unsafe fn look<'a>(socket: *const utcp_socket) -> Result<&'a Handle, Error> {
    let handle = NonNull::new(socket.cast_mut().cast::<Handle>()).ok_or(Error::Null)?;
    if !handle.is_aligned() {
        return Err(Error::Handle);
    }
    // SAFETY: aligned, and handles of all kinds begin with their tag.
    let found = unsafe { handle.cast::<Cell<u32>>().as_ref() }.get();
    if found != tag::SOCKET {
        return Err(Error::Handle);
    }
    // SAFETY: the tag says what it is; only shared references are ever made of it.
    Ok(unsafe { handle.as_ref() })
}

/// Makes a handle for reading and writing the UDP socket `fd` in batches. Its use is optional: a program may as well
/// make the system calls itself, with utcp_endpoint_inject_batch() and utcp_callbacks.tx.
///
/// `fd`: of IPv4 or IPv6, bound, not connected; blocking or not makes no difference. It stays the program's, which waits
/// for it in its event loop and closes it, after utcp_socket_free(). Meanwhile only this handle should read from it:
/// with UTCP_SOCKET_COALESCE, what a plain recv() gets may be several datagrams in one. No function here waits.
///
/// Finds out what the system can do, and sets the options of the socket that it takes for that (on Linux UDP_GRO,
/// IP_RECVTOS, IP_PKTINFO if bound to all addresses, IP_MTU_DISCOVER, and their counterparts of IPv6). `without`:
/// UTCP_SOCKET_* added up that are not to be used nevertheless, usually 0. What the system does not have, or does not
/// let be used, is done without; with none of them, sendto() and recvfrom() do. In a sandbox that lets no options be
/// set, make the handle before entering it; one that knows no sendmmsg() and refuses it with an error is coped with.
///
/// UTCP_ERR_SOCKET: `fd` cannot be used. UTCP_ERR_ARGUMENT: `without` has unknown bits. UTCP_ERR_NULL: `socket` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_socket_new(
    fd: c_int,
    without: u32,
    socket: *mut *mut utcp_socket,
) -> c_int {
    let make = || {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(socket) }?;
        let without = Abilities(without);
        if !Abilities::ALL.contains(without) {
            return Err(Error::Argument);
        }
        let options = Options {
            without,
            ..Options::default()
        };
        let handle = Box::new(Handle {
            tag: Cell::new(tag::SOCKET),
            receiving: Cell::new(false),
            socket: Socket::new(fd, options)?,
        });
        out.set(Box::into_raw(handle).cast());
        Ok(())
    };
    code(guard(make).and_then(|result| result))
}

/// Frees the handle; the socket stays open, with the options that were set. NULL is allowed and does nothing. Do not
/// free it twice.
///
/// UTCP_ERR_BUSY: called from inside of utcp_socket_receive() with it. UTCP_ERR_HANDLE: it is of another kind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_socket_free(socket: *mut utcp_socket) -> c_int {
    if socket.is_null() {
        return UTCP_OK;
    }
    let free = || {
        // SAFETY: the caller's promise.
        let handle = unsafe { look(socket) }?;
        if handle.receiving.get() {
            return Err(Error::Busy);
        }
        handle.tag.set(tag::FREE);
        // SAFETY: made by `Box::into_raw` in `utcp_socket_new`; nothing refers to it any more.
        drop(unsafe { Box::from_raw(socket.cast::<Handle>()) });
        Ok(())
    };
    code(guard(free).and_then(|result| result))
}

/// What is in use, UTCP_SOCKET_* added up. An ability that turns out not to work when it is used, such as segmentation
/// on an interface that computes no checksums, is given up for good. 0 if `socket` is not a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_socket_abilities(socket: *const utcp_socket) -> u32 {
    // SAFETY: the caller's promise.
    let get = || unsafe { look(socket) }.map_or(0, |handle| handle.socket.abilities().0);
    guard(get).unwrap_or(0)
}

/// Sends datagrams, as utcp_callbacks.tx is asked to, and returns how many of them, from the front, it is done with.
/// A tx callback may consist of a call of this function, and of waiting for the socket to be writable if the result is
/// less than `count`; utcp_endpoint_process() is to be called then.
///
/// Fewer than `count` means that the socket is full (EAGAIN): nothing is lost then, and nothing overtakes. What cannot
/// be sent for another reason counts as done: it is lost, as datagrams are, and counted in the statistics. ENOBUFS is
/// such a reason, too, since it is the queue of an interface that is full then: being writable says nothing of it, and
/// senders are to slow down. The order is kept. Neighbours that are equal in address, ECN field and length leave as one
/// message; so a batch is best that is not dealt out to peers one by one, as the library's are not.
///
/// May be called from inside a callback. 0 if `socket` is not a live handle, or `batch` is NULL. A datagram with an
/// address, a length or an ECN field that cannot be counts as lost.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_socket_send(
    socket: *mut utcp_socket,
    batch: *const utcp_datagram,
    count: usize,
) -> usize {
    let send = || {
        // SAFETY: the caller's promise.
        let (handle, batch) = unsafe { (look(socket)?, slice(batch, count)?) };
        // SAFETY: the datagrams come straight from the C caller.
        Ok::<usize, Error>(unsafe { send_all(&handle.socket, batch) })
    };
    guard(send).and_then(|result| result).unwrap_or(0)
}

/// # Safety
/// The datagrams are as the C caller promised.
unsafe fn send_all(socket: &Socket, batch: &[utcp_datagram]) -> usize {
    let nothing = Outgoing {
        to: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        data: &[],
        ecn: 0,
    };
    let mut done = 0;
    while done < batch.len() {
        let mut parsed = [nothing; SEGMENTS];
        let mut good = 0;
        let mut bad = false;
        for (place, datagram) in parsed.iter_mut().zip(&batch[done..]) {
            // SAFETY: passed on.
            match unsafe { endpoint::parse(datagram) } {
                Ok((to, data, ecn)) => *place = Outgoing { to, data, ecn },
                Err(_) => {
                    bad = true;
                    break;
                }
            }
            good += 1;
        }
        let sent = socket.send(&parsed[..good]);
        done += sent;
        if sent < good {
            break;
        }
        if bad {
            socket.lost();
            done += 1;
        }
    }
    done
}

/// Receives datagrams and injects them, at the time `now` (microseconds), as utcp_endpoint_inject_batch() does, with
/// their ECN fields; then does what utcp_endpoint_process() does. Nothing is copied on the way.
///
/// Receives until nothing is left, or `max_datagrams` are reached. How many it were goes to `*received`: fewer than
/// `max_datagrams` means that nothing is left for now. It may be a few more (up to 63), since what arrives together is
/// injected together. With a bound of some hundreds a busy socket leaves the event loop its other work; call again in
/// the next turn.
///
/// With UTCP_SOCKET_LOCAL_ADDRESS, takes note of which of this machine's addresses each peer speaks to. What anybody can
/// claim in a peer's name is believed only until the connection is ready; from then on it stays.
///
/// UTCP_ERR_SOCKET: the socket cannot be read (it was closed, for instance). UTCP_ERR_BUSY: called from inside a
/// callback. UTCP_ERR_ARGUMENT: `max_datagrams` is 0, or `now` is UINT64_MAX. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer
/// is not what it should be. UTCP_ERR_INTERNAL: free everything.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_socket_receive(
    socket: *mut utcp_socket,
    endpoint: *mut utcp_endpoint,
    now: u64,
    max_datagrams: usize,
    received: *mut usize,
) -> c_int {
    let receive = |shared: &super::shared::Shared| {
        // SAFETY: the caller's promise.
        let (handle, out) = unsafe { (look(socket)?, Out::new(received)?) };
        if max_datagrams == 0 {
            return Err(Error::Argument);
        }
        let mut injection = Injection::new(shared, now)?;
        handle.receiving.set(true);
        let result = handle.socket.receive(max_datagrams, &mut injection);
        let finished = injection.finish();
        handle.receiving.set(false);
        finished?;
        out.set(result?);
        Ok(())
    };
    // SAFETY: the caller's promise.
    code(unsafe { endpoint::with(endpoint, receive) })
}

impl Sink for Injection<'_> {
    fn is_ready(&self, peer: SocketAddr) -> bool {
        self.core(|core| {
            core.find(peer)
                .is_some_and(|id| core.connection_state(id) == ConnectionState::Ready)
        })
        .unwrap_or(false)
    }

    fn datagram(&mut self, from: SocketAddr, data: &[u8], ecn: u8) -> Result<(), Error> {
        self.inject(from, data, ecn)
    }
}

/// Reads the counters of a socket. Set stats->size to sizeof(utcp_socket_stats) first, as for utcp_circuit_get_info().
/// May be called from inside a callback.
///
/// UTCP_ERR_SIZE: stats->size is not set. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_socket_get_stats(
    socket: *const utcp_socket,
    stats: *mut utcp_socket_stats,
) -> c_int {
    let get = || {
        // SAFETY: the caller's promise.
        let handle = unsafe { look(socket) }?;
        // SAFETY: the caller's promise.
        unsafe { size::write(stats, &stats_of(&handle.socket.stats())) }
    };
    code(guard(get).and_then(|result| result))
}
