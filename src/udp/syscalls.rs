//! The system calls behind safe functions. What is passed in is looked at during the call only; the arrays that the
//! kernel reads and writes are kept, so that no call allocates.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::mem::{MaybeUninit, size_of};
use std::net::SocketAddr;

use libc::{sockaddr_in6, socklen_t};

use super::address::{self, Address};
use super::{Incoming, Outgoing};

#[cfg(all(target_os = "linux", not(utcp_portable)))]
mod linux;
#[cfg(not(all(target_os = "linux", not(utcp_portable))))]
mod portable;

#[cfg(all(target_os = "linux", not(utcp_portable)))]
pub(super) use linux::{Receiving, Sending, prepare};
#[cfg(not(all(target_os = "linux", not(utcp_portable))))]
pub(super) use portable::{Receiving, Sending, prepare};

/// What errno was.
pub(super) type Errno = c_int;

/// With what a socket is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    /// sendmmsg and recvmmsg.
    Many,
    /// sendmsg and recvmsg, with control messages.
    One,
    /// sendto and recvfrom.
    Plain,
}

/// Datagrams that leave together: one call of sendmsg, or an element of one of sendmmsg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The first of them.
    pub(super) first: usize,
    /// How many. More than one need segmentation offload: the same peer, the same length but for the last.
    pub(super) count: usize,
    /// The type of service or traffic class; `None`: that of the socket.
    pub(super) class: Option<u8>,
    /// The address to send from; `None`: the kernel chooses.
    pub(super) local: Option<super::Local>,
}

#[cfg(all(target_os = "linux", not(utcp_portable)))]
impl Message {
    /// One datagram, and nothing to be said of it.
    fn is_plain(&self) -> bool {
        self.count == 1 && self.class.is_none() && self.local.is_none()
    }
}

fn errno() -> Errno {
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

fn checked(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| errno())
}

const fn len_of<T>() -> socklen_t {
    size_of::<T>() as socklen_t
}

/// Room for an address, and what a call says of its length.
fn no_address() -> sockaddr_in6 {
    // SAFETY: plain integers.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// The address that the kernel wrote, if it is IPv4 or IPv6.
fn read_address(from: &sockaddr_in6, len: socklen_t) -> Option<SocketAddr> {
    let len = len.min(len_of::<sockaddr_in6>());
    // SAFETY: so many octets are there.
    unsafe { address::read(std::ptr::from_ref(from).cast(), len) }.ok()
}

/// The address that a socket is bound to.
pub(super) fn local_address(fd: c_int) -> Result<Option<SocketAddr>, Errno> {
    let mut name = no_address();
    let mut len = len_of::<sockaddr_in6>();
    // SAFETY: `name` has room for `len` octets; the kernel writes no more.
    let result = unsafe { libc::getsockname(fd, (&raw mut name).cast(), &raw mut len) };
    checked(result as isize)?;
    Ok(read_address(&name, len))
}

/// Sets an option that is an int.
#[cfg_attr(utcp_portable, allow(dead_code))] // not every system has one that is of use
pub(super) fn set_option(fd: c_int, level: c_int, name: c_int, value: c_int) -> Result<(), Errno> {
    // SAFETY: the kernel reads an int.
    let result = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            len_of::<c_int>(),
        )
    };
    checked(result as isize).map(drop)
}

/// Reads an option that is an int.
pub(super) fn get_option(fd: c_int, level: c_int, name: c_int) -> Result<c_int, Errno> {
    let mut value: c_int = 0;
    let mut len = len_of::<c_int>();
    // SAFETY: the kernel writes an int at most.
    let result =
        unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) };
    checked(result as isize)?;
    Ok(value)
}

/// sendto, without waiting.
fn send_to(fd: c_int, datagram: &Outgoing<'_>) -> Result<(), Errno> {
    let to = Address::new(datagram.to);
    // SAFETY: the kernel reads the address and the data, with their lengths.
    let result = unsafe {
        libc::sendto(
            fd,
            datagram.data.as_ptr().cast(),
            datagram.data.len(),
            SEND_FLAGS,
            to.as_ptr(),
            to.len(),
        )
    };
    checked(result).map(drop)
}

/// recvfrom, without waiting. The length, and where it came from.
fn receive_from(fd: c_int, buffer: &mut [u8]) -> Result<(usize, Option<SocketAddr>), Errno> {
    let mut name = no_address();
    let mut name_len = len_of::<sockaddr_in6>();
    // SAFETY: the kernel writes into the buffer and into `name`, no more than their lengths.
    let result = unsafe {
        libc::recvfrom(
            fd,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
            (&raw mut name).cast(),
            &raw mut name_len,
        )
    };
    let len = checked(result)?;
    Ok((len.min(buffer.len()), read_address(&name, name_len)))
}

/// A socket that waits until it is writable would hold up the event loop; a signal is for streams.
const SEND_FLAGS: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// One buffer, read with recvfrom. A datagram that fills it was probably cut.
struct PlainReceiving {
    len: usize,
    from: Option<SocketAddr>,
}

impl PlainReceiving {
    const NOTHING: PlainReceiving = PlainReceiving { len: 0, from: None };

    fn receive(&mut self, fd: c_int, buffer: &mut [u8]) -> Result<usize, Errno> {
        (self.len, self.from) = receive_from(fd, buffer)?;
        Ok(1)
    }

    fn message<'a>(&self, buffer: &'a [u8]) -> Incoming<'a> {
        Incoming {
            from: self.from,
            data: &buffer[..self.len],
            segment: 0,
            ecn: 0,
            local: None,
            truncated: self.len == buffer.len(),
        }
    }
}
