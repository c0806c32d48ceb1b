//! Batched reading and writing of the caller's UDP socket. Beside the endpoint, which does no I/O: a caller may use this,
//! or make the system calls itself.
//!
//! ```text
//! send.rs      datagrams -> messages, each for one peer; what errors mean
//! receive.rs   messages -> datagrams
//! local.rs     from which of this machine's addresses each peer is answered
//! syscalls.rs  what the kernel sees: syscalls/linux.rs, or syscalls/portable.rs
//! address.rs   struct sockaddr
//! ```
//!
//! On Linux, datagrams for one peer leave as one message that the kernel, or the network card, cuts into segments
//! (UDP_SEGMENT), and those that arrive together come out as one (UDP_GRO); several messages share a system call. A
//! datagram that leaves so costs a fraction of one that leaves alone.

pub(crate) mod address;
mod local;
mod receive;
mod send;
#[cfg(test)]
mod send_tests;
mod syscalls;

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::net::SocketAddr;

use crate::error::Error;
pub use local::Local;
use local::Locals;
use receive::Receiver;
use send::Sender;
use syscalls::{Calls, Sending};

/// The most datagrams that the kernel takes as one message, and that one system call sends here.
pub const SEGMENTS: usize = 64;

/// Octets of the largest buffer that a message is read into: more than any UDP datagram has.
const ROOM: usize = 1 << 16;

/// Messages that are read by one system call. With coalescing each may be 64 datagrams, and the kernel has touched all of
/// them before the first is looked at.
const MESSAGES: usize = 16;

/// What a socket can do: a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Abilities(pub u32);

impl Abilities {
    /// Nothing: sendto and recvfrom.
    pub const NONE: Abilities = Abilities(0);
    /// Several messages for each system call: sendmmsg, recvmmsg.
    pub const BATCH: Abilities = Abilities(1);
    /// Several datagrams for one peer as one message: UDP_SEGMENT.
    pub const SEGMENT: Abilities = Abilities(2);
    /// Several datagrams of one peer as one message: UDP_GRO.
    pub const COALESCE: Abilities = Abilities(4);
    /// The ECN field is set and read.
    pub const ECN: Abilities = Abilities(8);
    /// Peers are answered from the address that they spoke to.
    pub const LOCAL_ADDRESS: Abilities = Abilities(16);
    /// Datagrams are never fragmented.
    pub const DONT_FRAGMENT: Abilities = Abilities(32);
    /// All of them.
    pub const ALL: Abilities = Abilities(63);

    /// Whether all of `other` are among them.
    pub fn contains(self, other: Abilities) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Abilities) -> Abilities {
        Abilities(self.0 | other.0)
    }

    /// All but those of `other`.
    #[must_use]
    pub fn without(self, other: Abilities) -> Abilities {
        Abilities(self.0 & !other.0)
    }

    fn calls(self) -> Calls {
        // What needs control messages.
        let messages = Abilities::SEGMENT
            .with(Abilities::COALESCE)
            .with(Abilities::ECN)
            .with(Abilities::LOCAL_ADDRESS);
        if self.contains(Abilities::BATCH) {
            Calls::Many
        } else if self.0 & messages.0 != 0 {
            Calls::One
        } else {
            Calls::Plain
        }
    }
}

/// A datagram to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The peer's address.
    pub to: SocketAddr,
    /// UDP payload.
    pub data: &'a [u8],
    /// ECN field, 0 to 3.
    pub ecn: u8,
}

/// What one message brought: a datagram, or several of the same peer.
#[derive(Clone, Copy, Debug)]
struct Incoming<'a> {
    /// `None`: neither IPv4 nor IPv6.
    from: Option<SocketAddr>,
    data: &'a [u8],
    /// All datagrams but the last are so long; 0: there is only one.
    segment: usize,
    ecn: u8,
    /// The address of this machine that it was sent to, if it is known.
    local: Option<Local>,
    truncated: bool,
}

/// Where received datagrams go.
pub trait Sink {
    /// Whether there is a connection with this peer whose handshake is complete: until then, where it is answered from
    /// follows its latest datagram, from then on it stays.
    fn is_ready(&self, peer: SocketAddr) -> bool;

    /// Takes a datagram. The socket may be used from here to send.
    ///
    /// # Errors
    /// Whatever makes it pointless to receive more.
    fn datagram(&mut self, from: SocketAddr, data: &[u8], ecn: u8) -> Result<(), Error>;
}

/// What a socket has sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketStats {
    /// System calls that sent, or tried to.
    pub send_calls: u64,
    /// Datagrams that the kernel took.
    pub datagrams_sent: u64,
    /// Their UDP payload, octets.
    pub bytes_sent: u64,
    /// Messages of more than one datagram that it took.
    pub segmented_sent: u64,
    /// Times that the socket was full.
    pub full: u64,
    /// Datagrams lost: larger than the interface or the path takes (EMSGSIZE).
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
    /// Datagrams received and handed on.
    pub datagrams_received: u64,
    /// Their UDP payload, octets.
    pub bytes_received: u64,
    /// Messages of more than one datagram received.
    pub coalesced_received: u64,
    /// Messages dropped: longer than the buffer.
    pub truncated: u64,
    /// Messages dropped: from neither an IPv4 nor an IPv6 address.
    pub dropped_address: u64,
    /// Errors of receiving, such as what routers reported of datagrams sent before.
    pub receive_errors: u64,
}

/// How a socket is to be used.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What is not to be used although the kernel may have it.
    pub without: Abilities,
    /// Messages read by one system call, at least 1.
    pub messages: usize,
    /// Octets of the buffer for one message, at least 1. Longer messages are dropped.
    pub room: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            without: Abilities::NONE,
            messages: MESSAGES,
            room: ROOM,
        }
    }
}

/// What sending and receiving share.
struct Common {
    fd: c_int,
    abilities: Cell<Abilities>,
    /// Type of service or traffic class of the socket, without the ECN field.
    class: u8,
    /// These two are borrowed only where nothing calls out.
    locals: RefCell<Locals>,
    stats: RefCell<SocketStats>,
}

impl Common {
    fn new(fd: c_int, abilities: Abilities, class: u8) -> Common {
        Common {
            fd,
            abilities: Cell::new(abilities),
            class: class & !3,
            locals: RefCell::new(Locals::new()),
            stats: RefCell::new(SocketStats::default()),
        }
    }

    fn count(&self, change: impl FnOnce(&mut SocketStats)) {
        change(&mut self.stats.borrow_mut());
    }

    fn has(&self, ability: Abilities) -> bool {
        self.abilities.get().contains(ability)
    }

    /// It does not work after all.
    fn drop_ability(&self, ability: Abilities, errno: c_int) {
        let left = self.abilities.get().without(ability);
        if left != self.abilities.replace(left) {
            let error = std::io::Error::from_raw_os_error(errno);
            log::info!("socket {}: ability {} dropped: {error}", self.fd, ability.0);
        }
    }
}

/// A UDP socket of the caller's, who keeps owning it.
pub struct Socket {
    common: Common,
    sender: RefCell<Sender<Sending>>,
    receiver: RefCell<Receiver>,
}

impl Socket {
    /// Asks the kernel what it can do for the socket, which should be bound, and sets the options that it takes.
    ///
    /// # Errors
    /// [`Error::Socket`]: not a UDP socket of IPv4 or IPv6. [`Error::Argument`]: `options`.
    pub fn new(fd: c_int, options: Options) -> Result<Socket, Error> {
        if options.messages == 0 || options.room == 0 || options.room > ROOM {
            return Err(Error::Argument);
        }
        let refuse = |errno| {
            log::warn!("socket {fd}: {}", std::io::Error::from_raw_os_error(errno));
            Error::Socket
        };
        let bound = syscalls::local_address(fd).map_err(refuse)?;
        let bound = bound.ok_or_else(|| refuse(libc::EAFNOSUPPORT))?;
        // A sandbox may not let this be asked.
        if syscalls::get_option(fd, libc::SOL_SOCKET, libc::SO_TYPE)
            .is_ok_and(|kind| kind != libc::SOCK_DGRAM)
        {
            return Err(refuse(libc::EPROTOTYPE));
        }
        let wanted = Abilities::ALL.without(options.without);
        let (abilities, class) = syscalls::prepare(fd, bound, wanted);
        let messages = match abilities.calls() {
            Calls::Many => options.messages,
            Calls::One | Calls::Plain => 1,
        };
        Ok(Socket {
            common: Common::new(fd, abilities, class),
            sender: RefCell::new(Sender::new(Sending::new())),
            receiver: RefCell::new(Receiver::new(messages, options.room)),
        })
    }

    /// Sends datagrams in this order; returns how many of them, from the front, it is done with. Fewer than all: the
    /// socket is full. What cannot be sent for another reason is lost, and counted.
    pub fn send(&self, datagrams: &[Outgoing<'_>]) -> usize {
        // Borrowed only by a call of this function, out of which nothing leads back.
        self.sender
            .try_borrow_mut()
            .map_or(0, |mut sender| sender.send(&self.common, datagrams))
    }

    /// Receives about `limit` datagrams at most and hands them to `sink`; returns how many. Fewer than `limit`: there
    /// are no more. The last message may bring more than the limit.
    ///
    /// # Errors
    /// [`Error::Socket`]: it cannot be read. [`Error::Busy`] from inside of itself. What `sink` gives.
    pub fn receive(&self, limit: usize, sink: &mut impl Sink) -> Result<usize, Error> {
        let mut receiver = self.receiver.try_borrow_mut().map_err(|_| Error::Busy)?;
        receiver.receive(&self.common, limit, sink)
    }

    /// What is in use. An ability that turns out not to work is not used any more.
    pub fn abilities(&self) -> Abilities {
        self.common.abilities.get()
    }

    /// Counts a datagram that the caller got wrong.
    pub(crate) fn lost(&self) {
        self.common.count(|stats| stats.lost_other += 1);
    }

    /// What was sent and received.
    pub fn stats(&self) -> SocketStats {
        *self.common.stats.borrow()
    }
}
