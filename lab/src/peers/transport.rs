//! What a rival has to do, and the list of rivals.

use std::error::Error;
use std::net::SocketAddr;

use super::clock::Micros;
use super::identity::Identity;

/// What goes wrong is told, and ends the run.
pub type Failure = Box<dyn Error>;

/// Carries circuits to the process on the other side: octets in order, each circuit by itself. Numbers are from 1; a
/// circuit is there as soon as the client has written to it. Every circuit's data is a row of cells, which a transport may
/// make use of.
pub trait Transport {
    /// Whether circuits can be written to.
    fn is_ready(&self) -> bool;

    /// Queues data on a circuit; returns how much was taken, 0 if there is no room.
    ///
    /// # Errors
    /// If the connection is broken.
    fn write(&mut self, circuit: u32, data: &[u8]) -> Result<usize, Failure>;

    /// Hands over what has come: circuit and octets.
    ///
    /// # Errors
    /// If the connection is broken.
    fn read(&mut self, to: &mut dyn FnMut(u32, &[u8])) -> Result<(), Failure>;

    /// Sends what may be sent; waits until something has come, something can be written that was refused, or `until`; takes
    /// in what has come.
    ///
    /// # Errors
    /// If the connection is broken.
    fn turn(&mut self, until: Micros) -> Result<(), Failure>;
}

/// A side of the link.
#[derive(Clone, Debug)]
pub enum Side {
    /// Connects to this address.
    Client(SocketAddr),
    /// Listens on this one.
    Server(SocketAddr),
}

impl Side {
    /// The server's address.
    pub fn address(&self) -> SocketAddr {
        match self {
            Side::Client(address) | Side::Server(address) => *address,
        }
    }

    /// Where this side binds its UDP socket.
    pub fn local(&self) -> SocketAddr {
        match self {
            Side::Client(server) => {
                let any: std::net::IpAddr = match server {
                    SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
                };
                SocketAddr::new(any, 0)
            }
            Side::Server(address) => *address,
        }
    }

    /// Whether it is the client.
    pub fn is_client(&self) -> bool {
        matches!(self, Side::Client(_))
    }
}

/// Congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Control {
    /// RFC 9438.
    Cubic,
    /// Version 1 in the kernel and in quinn, version 3 in utcp.
    Bbr,
    /// What the transport has, if it has neither.
    Own,
}

impl Control {
    /// As Linux calls it.
    pub fn name(self) -> &'static str {
        match self {
            Control::Cubic => "cubic",
            Control::Bbr => "bbr",
            Control::Own => "own",
        }
    }

    /// utcp's.
    pub fn algorithm(self) -> utcp::tcp::congestion::Algorithm {
        use utcp::tcp::congestion::Algorithm;
        match self {
            Control::Bbr => Algorithm::Bbr,
            Control::Cubic | Control::Own => Algorithm::Cubic,
        }
    }
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// TLS over one TCP connection of the kernel's, all circuits multiplexed: vanilla Tor.
    Tls,
    /// A TCP connection of the kernel's with TLS for each circuit: PCTCP.
    TlsPerCircuit,
    /// QUIC, a stream for each circuit.
    QuicStreams,
    /// QUIC datagrams, in which each circuit has a TCP of its own.
    QuicDatagrams,
    /// SCTP over DTLS, a stream for each circuit.
    Sctp,
    /// TLS over a uTP connection for each circuit.
    Utp,
    /// A TCP for each circuit, in DTLS that knows nothing of it.
    UdpOr,
    /// utcp, each circuit with a window of its own.
    Utcp,
    /// utcp, circuits share one window.
    UtcpCoupled,
}

impl Kind {
    /// As on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Tls => "tls",
            Kind::TlsPerCircuit => "tls-per-circuit",
            Kind::QuicStreams => "quic-streams",
            Kind::QuicDatagrams => "quic-datagrams",
            Kind::Sctp => "sctp",
            Kind::Utp => "utp",
            Kind::UdpOr => "udp-or",
            Kind::Utcp => "utcp",
            Kind::UtcpCoupled => "utcp-coupled",
        }
    }

    /// Congestion controls that it can be had with.
    pub fn controls(self) -> &'static [Control] {
        match self {
            Kind::Sctp => &[Control::Own],
            Kind::Utp => &[Control::Cubic],
            _ => &[Control::Cubic, Control::Bbr],
        }
    }

    /// Whether it is utcp.
    pub fn is_utcp(self) -> bool {
        matches!(self, Kind::Utcp | Kind::UtcpCoupled)
    }
}

/// One side of a rival.
///
/// # Errors
/// If it cannot be had here, or the address cannot be used.
pub fn open(
    kind: Kind,
    control: Control,
    side: &Side,
    identity: &Identity,
) -> Result<Box<dyn Transport>, Failure> {
    Ok(match kind {
        Kind::Tls => Box::new(super::tls::Multiplexed::new(control, side, identity)?),
        Kind::TlsPerCircuit => Box::new(super::tls::PerCircuit::new(control, side, identity)?),
        Kind::QuicStreams => Box::new(super::quic::Streams::new(control, side, identity)?),
        Kind::QuicDatagrams => Box::new(super::quic::Datagram::new(control, side, identity)?),
        Kind::Sctp => Box::new(super::sctp::Sctp::new(side, identity)?),
        Kind::Utp => Box::new(super::utp::Utp::new(side, identity)?),
        Kind::UdpOr => Box::new(super::udp_or::UdpOr::new(control, side, identity)?),
        Kind::Utcp => Box::new(super::ours::Ours::new(control, false, side, identity)?),
        Kind::UtcpCoupled => Box::new(super::ours::Ours::new(control, true, side, identity)?),
    })
}

/// Why a rival cannot be had on this machine, if it cannot.
pub fn unavailable(kind: Kind) -> Option<String> {
    match kind {
        Kind::Sctp => super::sctp::ffi::unavailable(),
        _ => None,
    }
}
