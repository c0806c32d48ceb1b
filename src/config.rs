//! What the relay can set when it makes an endpoint.

use std::net::{IpAddr, Ipv4Addr};

use crate::connection::path::group::MAX_FLOWS;
use crate::dtls::{MAX_PLAINTEXT, RECORD_OVERHEAD};
use crate::error::Error;
use crate::tcp::congestion::Algorithm;
use crate::time::{Micros, SECOND};

/// UDP payload of the largest packet on an Ethernet: 1500 octets without IP and UDP header.
const ETHERNET_IPV4: usize = 1_472;
/// See [`ETHERNET_IPV4`].
const ETHERNET_IPV6: usize = 1_452;

/// No datagram with one record is larger.
const LARGEST_DATAGRAM: usize = MAX_PLAINTEXT + RECORD_OVERHEAD;

/// The smallest budget for queued data, octets.
pub const SMALLEST_BUDGET: u64 = 65_536;

/// Whether the connecting side shows a certificate too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum ClientCertificate {
    /// It does not, and the accepting side does not ask.
    #[default]
    None = 0,
    /// The accepting side asks, and takes none for an answer.
    Request = 1,
    /// Without one there is no connection.
    Require = 2,
}

/// Configuration of an endpoint. All sizes are octets, all spans microseconds.
#[derive(Clone)]
pub struct Config {
    /// Certificates, leaf first: concatenated DER, or PEM.
    pub chain: Vec<u8>,
    /// The leaf's private key: DER (PKCS#1, SEC1 or PKCS#8) or PEM.
    pub key: Vec<u8>,
    /// Seed of every random choice that the library itself makes.
    pub seed: [u8; 32],
    /// Whether the connecting side shows a certificate too.
    pub client_certificate: ClientCertificate,
    /// OpenSSL's security level, 0 to 5.
    pub security_level: u32,
    /// Connections held at once.
    pub max_connections: usize,
    /// Handshakes in progress at once in which this side is the server.
    pub max_half_open: usize,
    /// Circuits on one connection at once, control included.
    pub max_circuits: usize,
    /// Octets a circuit holds for sending (unacknowledged and unsent).
    pub send_buffer: usize,
    /// The largest receive window of a circuit.
    pub receive_buffer: usize,
    /// Congestion control of new circuits.
    pub congestion: Algorithm,
    /// Whether new circuits share one congestion window with their siblings.
    pub coupled: bool,
    /// How many flows those that do claim together.
    pub coupled_flows: u32,
    /// The caller marks datagrams as it is told to (ECN-capable), and says which arrive marked.
    pub ecn: bool,
    /// The largest UDP payload that is sent, unless probing finds another that fits.
    pub datagram_size: usize,
    /// Whether the path's MTU is found by probing.
    pub path_mtu_discovery: bool,
    /// The largest UDP payload that is probed for, if it is above `datagram_size`; zero for what Ethernet carries.
    pub largest_datagram: usize,
    /// How long a handshake may take.
    pub handshake_timeout: Micros,
    /// How long sent data may stay without any answer before the circuit is given up.
    pub dead_timeout: Micros,
    /// Octets of queued data that the endpoint may hold.
    pub memory_budget: u64,
    /// How much of that one connection may hold: percent of what the others leave.
    pub connection_share: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            chain: Vec::new(),
            key: Vec::new(),
            seed: [0; 32],
            client_certificate: ClientCertificate::None,
            security_level: 2,
            max_connections: 65_536,
            max_half_open: 1_024,
            max_circuits: 65_536,
            send_buffer: 16 << 20,
            receive_buffer: 16 << 20,
            congestion: Algorithm::Cubic,
            coupled: false,
            coupled_flows: 1,
            ecn: false,
            datagram_size: 1_432,
            path_mtu_discovery: true,
            largest_datagram: 0,
            handshake_timeout: 20 * SECOND,
            dead_timeout: 180 * SECOND,
            memory_budget: 1 << 30,
            connection_share: 50,
        }
    }
}

impl Config {
    /// The largest UDP payload that is sent before the path was probed.
    pub fn usual(&self) -> usize {
        self.datagram_size.min(LARGEST_DATAGRAM)
    }

    /// The largest UDP payload that may ever be sent to a peer of this address family.
    pub fn largest_to(&self, peer: IpAddr) -> usize {
        let largest = match (self.largest_datagram, peer) {
            _ if !self.path_mtu_discovery => 0,
            (0, IpAddr::V4(_)) => ETHERNET_IPV4,
            (0, IpAddr::V6(_)) => ETHERNET_IPV6,
            (largest, _) => largest,
        };
        largest.max(self.usual())
    }

    /// The same for any peer.
    pub fn largest(&self) -> usize {
        self.largest_to(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// Checks every bound, so that nothing below has to.
    ///
    /// # Errors
    /// [`Error::Argument`] if a value is outside of what the setters document.
    pub fn check(&self) -> Result<(), Error> {
        let ok = self.security_level <= 5
            && (1..=MAX_FLOWS).contains(&self.coupled_flows)
            && (1..=1 << 20).contains(&self.max_connections)
            && (1..=1 << 20).contains(&self.max_half_open)
            && (1..=1 << 24).contains(&self.max_circuits)
            && (4_096..=1 << 30).contains(&self.send_buffer)
            && (4_096..=1 << 30).contains(&self.receive_buffer)
            && (576..=65_507).contains(&self.datagram_size)
            && (self.largest_datagram == 0
                || (576..=LARGEST_DATAGRAM).contains(&self.largest_datagram))
            && (SECOND / 10..=3_600 * SECOND).contains(&self.handshake_timeout)
            && (SECOND..=86_400 * SECOND).contains(&self.dead_timeout)
            && self.memory_budget >= SMALLEST_BUDGET
            && (1..=100).contains(&self.connection_share);
        if ok { Ok(()) } else { Err(Error::Argument) }
    }
}
