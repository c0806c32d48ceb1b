//! What every system has: one datagram for each call.

use std::ffi::c_int;
use std::net::SocketAddr;

use super::{Calls, Errno, Message, PlainReceiving, send_to};
use crate::udp::{Abilities, Incoming, Outgoing};

/// Asks for what is wanted and there is: no fragments.
pub(in crate::udp) fn prepare(fd: c_int, bound: SocketAddr, wanted: Abilities) -> (Abilities, u8) {
    let _ = (fd, bound);
    #[cfg(any(target_os = "freebsd", target_vendor = "apple"))]
    if wanted.contains(Abilities::DONT_FRAGMENT) {
        let mut done = super::set_option(fd, libc::IPPROTO_IP, libc::IP_DONTFRAG, 1).is_ok();
        if bound.is_ipv6() {
            done =
                super::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1).is_ok() || done;
        }
        if done {
            return (Abilities::DONT_FRAGMENT, 0);
        }
    }
    let _ = wanted;
    (Abilities::NONE, 0)
}

/// Sends with sendto.
pub(in crate::udp) struct Sending;

impl Sending {
    pub(in crate::udp) fn new() -> Sending {
        Sending
    }

    /// Sends the first of the messages, which is one datagram.
    pub(in crate::udp) fn send(
        &mut self,
        fd: c_int,
        messages: &[Message],
        datagrams: &[Outgoing<'_>],
        _: Calls,
    ) -> Result<usize, Errno> {
        send_to(fd, &datagrams[messages[0].first]).map(|()| 1)
    }
}

/// Receives with recvfrom.
pub(in crate::udp) struct Receiving {
    buffer: Vec<u8>,
    plain: PlainReceiving,
}

impl Receiving {
    pub(in crate::udp) fn new(_: usize, room: usize) -> Receiving {
        Receiving {
            buffer: vec![0; room],
            plain: PlainReceiving::NOTHING,
        }
    }

    /// Receives one datagram.
    pub(in crate::udp) fn receive(
        &mut self,
        fd: c_int,
        _: usize,
        _: Calls,
    ) -> Result<usize, Errno> {
        self.plain.receive(fd, &mut self.buffer)
    }

    /// What was received last.
    pub(in crate::udp) fn message(&self, _: usize) -> Incoming<'_> {
        self.plain.message(&self.buffer)
    }
}
