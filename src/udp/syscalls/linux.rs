//! Linux: several messages for each call, control messages, segmentation offload in both directions.

use std::ffi::c_int;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libc::{
    CMSG_LEN, CMSG_SPACE, cmsghdr, in_addr, in_pktinfo, in6_addr, in6_pktinfo, iovec, mmsghdr,
    sockaddr_in6,
};

use super::{
    Address, Calls, Errno, Message, PlainReceiving, SEND_FLAGS, checked, get_option, len_of,
    no_address, read_address, send_to, set_option,
};
use crate::udp::{Abilities, Incoming, Local, Outgoing, SEGMENTS};

/// Asks the kernel for what is wanted; returns what there is, and the type of service of the socket.
pub(in crate::udp) fn prepare(fd: c_int, bound: SocketAddr, wanted: Abilities) -> (Abilities, u8) {
    let on = |level, name, value| set_option(fd, level, name, value).is_ok();
    let v6 = bound.is_ipv6();
    let mut found = Abilities::NONE;
    let mut add = |ability, is_there: &dyn Fn() -> bool| {
        if wanted.contains(ability) && is_there() {
            found = found.with(ability);
        }
    };
    // Found out by the first call.
    add(Abilities::BATCH, &|| true);
    // 0, the default, is a segment size for datagrams that come with none.
    add(Abilities::SEGMENT, &|| {
        on(libc::SOL_UDP, libc::UDP_SEGMENT, 0)
    });
    add(Abilities::COALESCE, &|| on(libc::SOL_UDP, libc::UDP_GRO, 1));
    // A socket of IPv6 carries IPv4 too, unless it is told not to.
    add(Abilities::ECN, &|| {
        let v4 = on(libc::SOL_IP, libc::IP_RECVTOS, 1);
        if v6 {
            on(libc::SOL_IPV6, libc::IPV6_RECVTCLASS, 1)
        } else {
            v4
        }
    });
    add(Abilities::LOCAL_ADDRESS, &|| {
        // Otherwise there is but one.
        bound.ip().to_canonical().is_unspecified() && {
            let v4 = on(libc::SOL_IP, libc::IP_PKTINFO, 1);
            if v6 {
                on(libc::SOL_IPV6, libc::IPV6_RECVPKTINFO, 1)
            } else {
                v4
            }
        }
    });
    add(Abilities::DONT_FRAGMENT, &|| {
        let v4 = on(libc::SOL_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE);
        if v6 {
            on(
                libc::SOL_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_PMTUDISC_PROBE,
            )
        } else {
            v4
        }
    });
    let class = if !found.contains(Abilities::ECN) {
        Ok(0)
    } else if v6 {
        get_option(fd, libc::SOL_IPV6, libc::IPV6_TCLASS)
    } else {
        get_option(fd, libc::SOL_IP, libc::IP_TOS)
    };
    // Eight bits, or -1 where none is set.
    (
        found,
        class.ok().and_then(|c| u8::try_from(c).ok()).unwrap_or(0),
    )
}

/// Octets for the control messages of one message: in both directions more than those that are used here; others that
/// the program has asked for come before them.
const CONTROL: usize = 256;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

const _: () = assert!(align_of::<Control>() >= align_of::<cmsghdr>());

const NO_CONTROL: Control = Control([0; CONTROL]);

const fn space<T>() -> usize {
    // SAFETY: arithmetic only.
    unsafe { CMSG_SPACE(size_of::<T>() as u32) as usize }
}

// All that is ever sent: segment size, class, source address.
const _: () = assert!(space::<u16>() + space::<c_int>() + space::<in6_pktinfo>() <= CONTROL);

impl Control {
    /// Appends a control message at `at`; returns where the next one goes.
    fn put<T: Copy>(&mut self, at: usize, level: c_int, kind: c_int, value: T) -> usize {
        let end = at + space::<T>();
        assert!(end <= CONTROL && align_of::<T>() <= align_of::<cmsghdr>());
        // SAFETY: arithmetic only.
        let (len, head) = unsafe { (CMSG_LEN(size_of::<T>() as u32), CMSG_LEN(0) as usize) };
        let to = &raw mut self.0[at..end];
        // SAFETY: a cmsghdr is plain integers. Header and value are within the space of this message, which was
        // checked to be there; both are aligned, since the array and the space of each message are.
        unsafe {
            let mut header: cmsghdr = MaybeUninit::zeroed().assume_init();
            header.cmsg_len = len as _;
            header.cmsg_level = level;
            header.cmsg_type = kind;
            to.cast::<cmsghdr>().write(header);
            to.cast::<u8>().add(head).cast::<T>().write_unaligned(value);
        }
        end
    }

    /// Writes what a message needs; returns the length.
    fn write(&mut self, message: &Message, to: SocketAddr, segment: usize) -> usize {
        let mut at = 0;
        if message.count > 1 {
            // At most 65,507.
            at = self.put(at, libc::SOL_UDP, libc::UDP_SEGMENT, segment as u16);
        }
        if let Some(class) = message.class {
            let class = c_int::from(class);
            at = if to.is_ipv4() {
                self.put(at, libc::SOL_IP, libc::IP_TOS, class)
            } else {
                self.put(at, libc::SOL_IPV6, libc::IPV6_TCLASS, class)
            };
        }
        match message.local.map(|local| (local.ip, local.interface)) {
            Some((IpAddr::V4(ip), _)) if to.is_ipv4() => {
                let info = in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr {
                        s_addr: u32::from_ne_bytes(ip.octets()),
                    },
                    ipi_addr: in_addr { s_addr: 0 },
                };
                at = self.put(at, libc::SOL_IP, libc::IP_PKTINFO, info);
            }
            Some((IpAddr::V6(ip), interface)) if to.is_ipv6() => {
                let info = in6_pktinfo {
                    ipi6_addr: in6_addr {
                        s6_addr: ip.octets(),
                    },
                    ipi6_ifindex: interface as _,
                };
                at = self.put(at, libc::SOL_IPV6, libc::IPV6_PKTINFO, info);
            }
            _ => {}
        }
        at
    }
}

fn no_header() -> mmsghdr {
    // SAFETY: integers and pointers: all zeroes is a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

const NO_VECTOR: iovec = iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

/// What the kernel reads.
pub(in crate::udp) struct Sending {
    headers: Box<[mmsghdr]>,
    addresses: Box<[Address]>,
    vectors: Box<[iovec]>,
    controls: Box<[Control]>,
}

// SAFETY: its pointers are written before each call of the kernel, which is the only one to follow them, and are not
// looked at after it. They point into what `Sending` itself owns, and to what the call is lent.
unsafe impl Send for Sending {}

impl Sending {
    pub(in crate::udp) fn new() -> Sending {
        let nobody = Address::new((Ipv4Addr::UNSPECIFIED, 0).into());
        Sending {
            headers: (0..SEGMENTS).map(|_| no_header()).collect(),
            addresses: vec![nobody; SEGMENTS].into(),
            vectors: vec![NO_VECTOR; SEGMENTS].into(),
            controls: vec![NO_CONTROL; SEGMENTS].into(),
        }
    }

    /// Sends the messages, or the first; returns how many were sent, at least one. An error is the first one's.
    ///
    /// No more than [`SEGMENTS`] datagrams in all messages.
    pub(in crate::udp) fn send(
        &mut self,
        fd: c_int,
        messages: &[Message],
        datagrams: &[Outgoing<'_>],
        calls: Calls,
    ) -> Result<usize, Errno> {
        let lone = &datagrams[messages[0].first];
        let messages = match calls {
            Calls::Plain => return send_to(fd, lone).map(|()| 1),
            // The kernel has no header to fetch then. What forbids this call may allow the other.
            Calls::One if messages[0].is_plain() => match send_to(fd, lone) {
                Err(libc::EPERM | libc::EACCES | libc::ENOSYS) => &messages[..1],
                result => return result.map(|()| 1),
            },
            Calls::One => &messages[..1],
            Calls::Many => messages,
        };
        let mut used = 0;
        for (n, message) in messages.iter().enumerate() {
            let parts = &datagrams[message.first..message.first + message.count];
            let vectors = &mut self.vectors[used..used + parts.len()];
            used += parts.len();
            for (vector, datagram) in vectors.iter_mut().zip(parts) {
                vector.iov_base = datagram.data.as_ptr().cast_mut().cast();
                vector.iov_len = datagram.data.len();
            }
            let control = &mut self.controls[n];
            let control_len = control.write(message, parts[0].to, parts[0].data.len());
            self.addresses[n] = Address::new(parts[0].to);
            let header = &mut self.headers[n].msg_hdr;
            header.msg_name = self.addresses[n].as_ptr().cast_mut().cast();
            header.msg_namelen = self.addresses[n].len();
            header.msg_iov = vectors.as_mut_ptr();
            header.msg_iovlen = vectors.len() as _;
            header.msg_control = if control_len == 0 {
                std::ptr::null_mut()
            } else {
                (&raw mut control.0).cast()
            };
            header.msg_controllen = control_len as _;
        }
        let headers = self.headers.as_mut_ptr();
        // SAFETY: each header points to an address, vectors and control messages in arrays of `self`, which are not
        // moved before the call, and its vectors to data that `datagrams` lends. The kernel only reads them, and
        // writes msg_len of the headers.
        let result = unsafe {
            match calls {
                Calls::Many => {
                    // At most SEGMENTS.
                    let count = messages.len() as u32;
                    libc::sendmmsg(fd, headers, count, SEND_FLAGS as _) as isize
                }
                _ => libc::sendmsg(fd, &raw const (*headers).msg_hdr, SEND_FLAGS),
            }
        };
        let sent = checked(result)?;
        Ok(if calls == Calls::Many { sent } else { 1 })
    }
}

/// What the kernel writes.
pub(in crate::udp) struct Receiving {
    room: usize,
    stride: usize,
    buffer: Vec<u8>,
    headers: Box<[mmsghdr]>,
    names: Box<[sockaddr_in6]>,
    vectors: Box<[iovec]>,
    controls: Box<[Control]>,
    plain: PlainReceiving,
    latest: Calls,
}

// SAFETY: its pointers are written before each call of the kernel, which is the only one to follow them, and point into
// what `Receiving` itself owns.
unsafe impl Send for Receiving {}

impl Receiving {
    /// Room for so many messages, of so many octets each.
    pub(in crate::udp) fn new(messages: usize, room: usize) -> Receiving {
        // Buffers that begin at different places of a page do not all want the same lines of the cache.
        let stride = room.next_multiple_of(64) + 24 * 64;
        Receiving {
            room,
            stride,
            buffer: vec![0; stride * messages],
            headers: (0..messages).map(|_| no_header()).collect(),
            names: vec![no_address(); messages].into(),
            vectors: vec![NO_VECTOR; messages].into(),
            controls: vec![NO_CONTROL; messages].into(),
            plain: PlainReceiving::NOTHING,
            latest: Calls::Plain,
        }
    }

    /// Receives up to `want` messages, at least one; returns how many.
    pub(in crate::udp) fn receive(
        &mut self,
        fd: c_int,
        want: usize,
        calls: Calls,
    ) -> Result<usize, Errno> {
        self.latest = calls;
        let want = match calls {
            Calls::Plain => return self.plain.receive(fd, &mut self.buffer[..self.room]),
            Calls::One => 1,
            Calls::Many => want.min(self.headers.len()),
        };
        let buffers = self.buffer.chunks_exact_mut(self.stride);
        for (n, buffer) in buffers.take(want).enumerate() {
            self.vectors[n].iov_base = buffer.as_mut_ptr().cast();
            self.vectors[n].iov_len = self.room;
            let header = &mut self.headers[n].msg_hdr;
            header.msg_name = (&raw mut self.names[n]).cast();
            header.msg_namelen = len_of::<sockaddr_in6>();
            header.msg_iov = &raw mut self.vectors[n];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.controls[n].0).cast();
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
        let headers = self.headers.as_mut_ptr();
        // SAFETY: each header points to a name, a vector and control messages of its own in arrays of `self`, and the
        // vector to a buffer of its own with `room` octets; nothing is moved or looked at before the call is over.
        let result = unsafe {
            match calls {
                Calls::Many => {
                    let none = std::ptr::null_mut();
                    // At most what `new` was given.
                    libc::recvmmsg(fd, headers, want as u32, libc::MSG_DONTWAIT as _, none) as isize
                }
                _ => libc::recvmsg(fd, &raw mut (*headers).msg_hdr, libc::MSG_DONTWAIT),
            }
        };
        let received = checked(result)?;
        if calls == Calls::Many {
            return Ok(received);
        }
        // At most `room`.
        self.headers[0].msg_len = received as u32;
        Ok(1)
    }

    /// One of the messages that were received last.
    pub(in crate::udp) fn message(&self, n: usize) -> Incoming<'_> {
        let buffer = &self.buffer[n * self.stride..][..self.room];
        if self.latest == Calls::Plain {
            return self.plain.message(buffer);
        }
        let header = &self.headers[n].msg_hdr;
        let len = (self.headers[n].msg_len as usize).min(self.room);
        let mut message = Incoming {
            from: read_address(&self.names[n], header.msg_namelen),
            data: &buffer[..len],
            segment: 0,
            ecn: 0,
            local: None,
            truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        };
        #[allow(clippy::unnecessary_cast)] // a socklen_t in some C libraries
        let control_len = (header.msg_controllen as usize).min(CONTROL);
        read_control(&self.controls[n].0[..control_len], &mut message);
        message
    }
}

/// Reads the control messages that the kernel wrote.
fn read_control(mut control: &[u8], message: &mut Incoming<'_>) {
    const HEAD: usize = {
        // SAFETY: arithmetic only.
        unsafe { CMSG_LEN(0) as usize }
    };
    while let Some((head, _)) = control.split_at_checked(size_of::<cmsghdr>()) {
        // SAFETY: so many octets are there, and any are a value of these integers.
        let head: cmsghdr = unsafe { head.as_ptr().cast::<cmsghdr>().read_unaligned() };
        #[allow(clippy::unnecessary_cast)] // as above
        let len = head.cmsg_len as usize;
        let Some(data) = control.get(HEAD..len) else {
            return; // cut off, or not what the kernel writes
        };
        match (head.cmsg_level, head.cmsg_type) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                message.segment = integer(data).and_then(|n| n.try_into().ok()).unwrap_or(0);
            }
            // An octet where it came by IPv4, an int where by IPv6.
            (libc::SOL_IP, libc::IP_TOS) | (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
                let class = integer(data).or(data.first().map(|octet| c_int::from(*octet)));
                message.ecn = (class.unwrap_or(0) & 3) as u8;
            }
            (libc::SOL_IP, libc::IP_PKTINFO) => {
                const AT: usize = offset_of!(in_pktinfo, ipi_spec_dst);
                if let Some(octets) = data.get(AT..).and_then(<[u8]>::first_chunk::<4>) {
                    message.local = Some(Local {
                        ip: Ipv4Addr::from(*octets).into(),
                        interface: 0,
                    });
                }
            }
            (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                const AT: usize = offset_of!(in6_pktinfo, ipi6_ifindex);
                if let Some(octets) = data.first_chunk::<16>() {
                    let ip = Ipv6Addr::from(*octets);
                    let interface = data.get(AT..).and_then(integer).unwrap_or(0);
                    message.local = Some(Local {
                        ip: IpAddr::V6(ip).to_canonical(),
                        interface: if ip.is_unicast_link_local() {
                            interface.unsigned_abs()
                        } else {
                            0
                        },
                    });
                }
            }
            _ => {}
        }
        let aligned = len.next_multiple_of(align_of::<cmsghdr>());
        control = control.get(aligned..).unwrap_or(&[]);
    }
}

fn integer(data: &[u8]) -> Option<c_int> {
    data.first_chunk()
        .map(|octets| c_int::from_ne_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming() -> Incoming<'static> {
        Incoming {
            from: None,
            data: &[],
            segment: 0,
            ecn: 0,
            local: None,
            truncated: false,
        }
    }

    fn message(count: usize, local: Local) -> Message {
        Message {
            first: 0,
            count,
            class: Some(0xB8 | 2),
            local: Some(local),
        }
    }

    #[test]
    fn control_messages_read_as_they_were_written() {
        for (to, ip) in [
            ("192.0.2.1:1", "192.0.2.9"),
            ("[2001:db8::1]:1", "2001:db8::9"),
        ] {
            let local = Local {
                ip: ip.parse().unwrap(),
                interface: 0,
            };
            let mut control = NO_CONTROL;
            let len = control.write(&message(2, local), to.parse().unwrap(), 1432);
            let mut read = incoming();
            read_control(&control.0[..len], &mut read);
            assert_eq!((read.ecn, read.local), (2, Some(local)), "{to}");
        }
    }

    #[test]
    fn a_source_of_the_other_family_is_left_out() {
        let local = Local {
            ip: "2001:db8::9".parse().unwrap(),
            interface: 0,
        };
        let mut control = NO_CONTROL;
        let len = control.write(&message(1, local), "192.0.2.1:1".parse().unwrap(), 9);
        assert_eq!(len, space::<c_int>());
    }

    #[test]
    fn the_segment_size_is_found_behind_what_is_not_known() {
        let mut control = NO_CONTROL;
        let at = control.put(0, libc::SOL_SOCKET, libc::SCM_TIMESTAMP, [1u64, 2]);
        let at = control.put(at, libc::SOL_UDP, libc::UDP_GRO, 1200 as c_int);
        let at = control.put(at, libc::SOL_IP, libc::IP_TOS, 3u8);
        let mut read = incoming();
        read_control(&control.0[..at], &mut read);
        assert_eq!((read.segment, read.ecn), (1200, 3));
    }

    #[test]
    fn control_messages_that_are_cut_end_the_reading() {
        let mut control = NO_CONTROL;
        let first = control.put(0, libc::SOL_IP, libc::IP_TOS, 1 as c_int);
        let all = control.put(first, libc::SOL_UDP, libc::UDP_GRO, 1200 as c_int);
        for len in 0..all {
            let mut read = incoming();
            read_control(&control.0[..len], &mut read);
            assert_eq!(
                read.segment,
                if len >= first + 20 { 1200 } else { 0 },
                "{len}"
            );
        }
        // A length of nothing would go round for ever.
        let mut read = incoming();
        read_control(&[0; 64], &mut read);
        assert_eq!((read.segment, read.ecn), (0, 0));
    }
}
