//! The library's batched socket I/O on a socket of its own, for contestants other than utcp.
#![allow(unsafe_code)]

use std::net::{SocketAddr, UdpSocket};
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::poll::{PollFd, PollFlags};
use utcp::udp::{Options, Outgoing, SEGMENTS, Socket};

/// A socket that may move to another thread before it is used there.
pub struct Batched {
    udp: UdpSocket,
    socket: Socket,
}

// SAFETY: it points to nothing but its own buffers, and the library lets a socket be used by any one thread at a time.
unsafe impl Send for Batched {}

impl Batched {
    /// On loopback.
    pub fn new() -> Batched {
        let udp = super::udp();
        let socket = Socket::new(udp.as_raw_fd(), Options::default()).expect("a UDP socket");
        Batched { udp, socket }
    }

    /// Where it is bound.
    pub fn address(&self) -> SocketAddr {
        self.udp.local_addr().expect("bound")
    }

    /// To wait on.
    pub fn fd(&self) -> RawFd {
        self.udp.as_raw_fd()
    }

    /// Sends datagrams to one peer, however long that takes.
    pub fn send_all<'a>(&self, to: SocketAddr, datagrams: impl Iterator<Item = &'a [u8]>) {
        let nothing = Outgoing {
            to,
            data: &[],
            ecn: 0,
        };
        let mut batch = [nothing; SEGMENTS];
        let mut count = 0;
        for (place, data) in batch.iter_mut().zip(datagrams) {
            place.data = data;
            count += 1;
        }
        let mut done = 0;
        while done < count {
            done += self.send(&batch[done..count]);
        }
    }
}

impl Default for Batched {
    fn default() -> Batched {
        Batched::new()
    }
}

impl Deref for Batched {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.socket
    }
}

/// Waits for these sockets to become readable, or writable where that is wanted, nanoseconds at most.
pub fn wait(sockets: &[(RawFd, bool)], nanos: u32) {
    let mut polled = [const { None }; 2];
    for (place, &(fd, room)) in polled.iter_mut().zip(sockets) {
        let mut flags = PollFlags::POLLIN;
        flags.set(PollFlags::POLLOUT, room);
        // SAFETY: callers own the sockets, and keep them open during the call.
        *place = Some(PollFd::new(unsafe { BorrowedFd::borrow_raw(fd) }, flags));
    }
    let mut polled: Vec<PollFd<'_>> = polled.into_iter().flatten().collect();
    let span = nix::sys::time::TimeSpec::new(0, nanos.into());
    let _ = nix::poll::ppoll(&mut polled, Some(span), None);
}
