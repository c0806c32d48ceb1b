//! `struct sockaddr` to `SocketAddr` and back, IPv4 and IPv6.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::{AF_INET, AF_INET6, sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, socklen_t};

use crate::error::Error;

/// Octets that hold either kind of address.
const ROOM: usize = size_of::<sockaddr_in6>();

const _: () = assert!(size_of::<sockaddr_in>() <= ROOM);
const _: () = assert!(align_of::<sockaddr_in>() <= align_of::<sockaddr_in6>());

/// An address in C's form.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    /// A `sockaddr_in6`, or a `sockaddr_in` followed by zeroes.
    storage: sockaddr_in6,
    len: usize,
}

impl Address {
    pub(crate) fn new(address: SocketAddr) -> Address {
        // SAFETY: a sockaddr_in6 is plain integers: all zeroes is a value of it.
        let mut storage: sockaddr_in6 = unsafe { MaybeUninit::zeroed().assume_init() };
        let len = match address {
            SocketAddr::V4(v4) => {
                // SAFETY: as above.
                let mut inet: sockaddr_in = unsafe { MaybeUninit::zeroed().assume_init() };
                inet.sin_family = family(AF_INET);
                inet.sin_port = v4.port().to_be();
                inet.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                // SAFETY: both are plain integers, and the room and the alignment were checked above.
                unsafe { (&raw mut storage).cast::<sockaddr_in>().write(inet) };
                size_of::<sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                storage.sin6_family = family(AF_INET6);
                storage.sin6_port = v6.port().to_be();
                storage.sin6_addr.s6_addr = v6.ip().octets();
                storage.sin6_scope_id = v6.scope_id();
                size_of::<sockaddr_in6>()
            }
        };
        Address { storage, len }
    }

    pub(crate) fn as_ptr(&self) -> *const sockaddr {
        (&raw const self.storage).cast()
    }

    pub(crate) fn len(&self) -> socklen_t {
        // At most 28.
        self.len as socklen_t
    }
}

fn family(value: c_int) -> sa_family_t {
    // AF_INET and AF_INET6 are below 256 everywhere.
    value as sa_family_t
}

/// Reads the caller's address.
///
/// The flow label, which differs between packets of one peer, is dropped; the scope is kept for link-local addresses
/// only, where it tells peers apart.
///
/// # Safety
/// Unless NULL, `address` points to `len` readable octets.
pub(crate) unsafe fn read(address: *const sockaddr, len: socklen_t) -> Result<SocketAddr, Error> {
    if address.is_null() {
        return Err(Error::Null);
    }
    let len = len as usize;
    if len < offset_of!(sockaddr, sa_family) + size_of::<sa_family_t>() {
        return Err(Error::Argument);
    }
    let mut octets = [0u8; ROOM];
    let known = len.min(ROOM);
    // SAFETY: `known` octets can be read as the caller promised, and `octets` has room for them.
    unsafe { std::ptr::copy_nonoverlapping(address.cast::<u8>(), octets.as_mut_ptr(), known) };
    // SAFETY: all fields are integers, any octets are a value; unaligned is what is asked for.
    let head: sockaddr = unsafe {
        const { assert!(size_of::<sockaddr>() <= ROOM) };
        octets.as_ptr().cast::<sockaddr>().read_unaligned()
    };
    match c_int::from(head.sa_family) {
        AF_INET if len >= size_of::<sockaddr_in>() => {
            // SAFETY: as above; `octets` is larger than a sockaddr_in.
            let inet: sockaddr_in =
                unsafe { octets.as_ptr().cast::<sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(inet.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddrV4::new(ip, u16::from_be(inet.sin_port)).into())
        }
        AF_INET6 if len >= size_of::<sockaddr_in6>() => {
            // SAFETY: as above; `octets` is as large as a sockaddr_in6.
            let inet: sockaddr_in6 =
                unsafe { octets.as_ptr().cast::<sockaddr_in6>().read_unaligned() };
            let ip = Ipv6Addr::from(inet.sin6_addr.s6_addr);
            let scope = if ip.is_unicast_link_local() {
                inet.sin6_scope_id
            } else {
                0
            };
            Ok(SocketAddrV6::new(ip, u16::from_be(inet.sin6_port), 0, scope).into())
        }
        _ => Err(Error::Argument),
    }
}

/// Writes an address to the caller's buffer of `*len` octets, and its length to `*len`.
///
/// # Safety
/// Unless NULL, `len` can be read and written, and `address` has `*len` writable octets.
pub(crate) unsafe fn write(
    from: SocketAddr,
    address: *mut sockaddr,
    len: *mut socklen_t,
) -> Result<(), Error> {
    if address.is_null() || len.is_null() {
        return Err(Error::Null);
    }
    let from = Address::new(from);
    // SAFETY: not NULL, hence readable.
    let room = unsafe { len.read_unaligned() };
    if room < from.len() {
        return Err(Error::Argument);
    }
    // SAFETY: the buffer has room for that many octets, and the storage holds at least as many; both are the
    // caller's to write.
    unsafe {
        std::ptr::copy_nonoverlapping(from.as_ptr().cast::<u8>(), address.cast::<u8>(), from.len);
        len.write_unaligned(from.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(address: SocketAddr) -> Result<SocketAddr, Error> {
        let c = Address::new(address);
        // SAFETY: a valid address and its length.
        unsafe { read(c.as_ptr(), c.len()) }
    }

    #[test]
    fn both_families_survive_the_way_there_and_back() {
        for text in [
            "192.0.2.1:9001",
            "[2001:db8::1]:443",
            "[::ffff:192.0.2.1]:1",
            "0.0.0.0:0",
        ] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(back(address), Ok(address), "{text}");
        }
    }

    #[test]
    fn octets_are_in_network_order() {
        let c = Address::new("192.0.2.1:258".parse().expect("an address"));
        // SAFETY: the storage is 28 octets.
        let octets = unsafe { std::slice::from_raw_parts(c.as_ptr().cast::<u8>(), 8) };
        assert_eq!(&octets[2..], [1, 2, 192, 0, 2, 1]);
    }

    #[test]
    fn the_flow_label_is_dropped_and_the_scope_kept_where_it_matters() {
        let mut c = Address::new("[2001:db8::1]:443".parse().expect("an address"));
        c.storage.sin6_flowinfo = 99;
        c.storage.sin6_scope_id = 3;
        // SAFETY: a valid address and its length.
        let plain = unsafe { read(c.as_ptr(), c.len()) };
        assert_eq!(plain, Ok("[2001:db8::1]:443".parse().unwrap()));
        let local = SocketAddrV6::new("fe80::1".parse().unwrap(), 443, 0, 3).into();
        assert_eq!(back(local), Ok(local));
    }

    #[test]
    fn short_or_foreign_addresses_are_refused() {
        let c = Address::new("192.0.2.1:9001".parse().expect("an address"));
        for len in 0..c.len() {
            // SAFETY: shorter than what is there.
            let result = unsafe { read(c.as_ptr(), len) };
            assert_eq!(result, Err(Error::Argument), "{len}");
        }
        let c = Address::new("[::1]:9001".parse().expect("an address"));
        // SAFETY: shorter than what is there.
        assert_eq!(unsafe { read(c.as_ptr(), 16) }, Err(Error::Argument));
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { read(std::ptr::null(), 16) }, Err(Error::Null));
        let mut c = c;
        c.storage.sin6_family = family(libc::AF_UNIX);
        // SAFETY: a valid length.
        assert_eq!(unsafe { read(c.as_ptr(), c.len()) }, Err(Error::Argument));
    }

    #[test]
    fn an_unaligned_address_is_read() {
        let c = Address::new("[2001:db8::1]:443".parse().expect("an address"));
        let mut buffer = [0u8; ROOM + 1];
        // SAFETY: ROOM octets from there to here.
        unsafe { std::ptr::copy_nonoverlapping(c.as_ptr().cast(), buffer[1..].as_mut_ptr(), ROOM) };
        // SAFETY: ROOM octets are left behind the first.
        let read = unsafe { read(buffer[1..].as_ptr().cast(), ROOM as socklen_t) };
        assert_eq!(read, Ok("[2001:db8::1]:443".parse().unwrap()));
    }

    #[test]
    fn nothing_is_written_where_there_is_no_room() {
        let address = "192.0.2.1:9001".parse().expect("an address");
        let mut buffer = [0xAAu8; ROOM];
        let mut len = 15;
        // SAFETY: the buffer is larger than `len`.
        let result = unsafe { write(address, buffer.as_mut_ptr().cast(), &raw mut len) };
        assert_eq!((result, len), (Err(Error::Argument), 15));
        assert_eq!(buffer, [0xAA; ROOM]);
        len = ROOM as socklen_t;
        // SAFETY: the buffer has `len` octets.
        let result = unsafe { write(address, buffer.as_mut_ptr().cast(), &raw mut len) };
        assert_eq!((result, len), (Ok(()), 16));
        assert_eq!(buffer[16..], [0xAA; ROOM - 16]);
    }
}
