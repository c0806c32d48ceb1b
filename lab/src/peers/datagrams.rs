//! A UDP socket, with the library's batched reading and writing: the same for everything that uses UDP.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use nix::poll::PollFlags;
use nix::sys::socket::{setsockopt, sockopt};
use utcp::error::Error;
use utcp::udp::{Options, Outgoing, Sink, Socket};

use super::clock::{self, Micros};
use super::transport::Failure;

/// Octets of the kernel's buffers: they must not be what limits.
const BUFFER: usize = 4 << 20;

/// Datagrams read before something else is done.
const READ: usize = 256;

/// The largest UDP payload on a path whose MTU is 1,500.
pub const LARGEST: usize = 1_472;

/// See the module.
pub struct Datagrams {
    socket: UdpSocket,
    batches: Socket,
    /// The kernel's buffer was full.
    full: bool,
}

struct To<'a>(&'a mut dyn FnMut(SocketAddr, &[u8]));

impl Sink for To<'_> {
    fn is_ready(&self, _peer: SocketAddr) -> bool {
        true
    }

    fn datagram(&mut self, from: SocketAddr, data: &[u8], _ecn: u8) -> Result<(), Error> {
        (self.0)(from, data);
        Ok(())
    }
}

impl Datagrams {
    /// Binds a socket.
    ///
    /// # Errors
    /// Those of the system.
    pub fn bind(address: SocketAddr) -> Result<Datagrams, Failure> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        // Beyond the limit for everybody only as root.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::SndBuf, &BUFFER)?;
        }
        let batches = Socket::new(socket.as_raw_fd(), Options::default())?;
        Ok(Datagrams {
            socket,
            batches,
            full: false,
        })
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Sends; returns how many, from the front, are done with.
    pub fn send(&mut self, datagrams: &[Outgoing<'_>]) -> usize {
        let done = self.batches.send(datagrams);
        self.full = done < datagrams.len();
        done
    }

    /// Whether the kernel's buffer was full.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Sends one; whether the kernel has taken it.
    pub fn send_one(&mut self, to: SocketAddr, data: &[u8]) -> bool {
        self.send(&[Outgoing { to, data, ecn: 0 }]) == 1
    }

    /// Takes in what has come.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn receive(&mut self, to: &mut dyn FnMut(SocketAddr, &[u8])) -> Result<(), Failure> {
        self.batches.receive(READ, &mut To(to))?;
        Ok(())
    }

    /// Waits until something has come, what was full is not any more, or `until`.
    ///
    /// # Errors
    /// Those of the system.
    pub fn wait(&self, until: Micros) -> io::Result<()> {
        let mut flags = PollFlags::POLLIN;
        flags.set(PollFlags::POLLOUT, self.full);
        clock::wait(&[(self.socket.as_fd(), flags)], until).map(|_| ())
    }
}
