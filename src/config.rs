//! What the relay can set when it makes an endpoint.

use crate::error::Error;
use crate::tcp::congestion::Algorithm;
use crate::time::{Micros, SECOND};

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
    /// The caller marks datagrams as it is told to (ECN-capable), and says which arrive marked.
    pub ecn: bool,
    /// The largest UDP payload that is sent.
    pub datagram_size: usize,
    /// How long a handshake may take.
    pub handshake_timeout: Micros,
    /// How long sent data may stay without any answer before the circuit is given up.
    pub dead_timeout: Micros,
    /// Octets of queued data that the endpoint may hold.
    pub memory_budget: u64,
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
            send_buffer: 256 * 1024,
            receive_buffer: 4 * 1024 * 1024,
            congestion: Algorithm::Cubic,
            ecn: false,
            datagram_size: 1_432,
            handshake_timeout: 20 * SECOND,
            dead_timeout: 180 * SECOND,
            memory_budget: 1 << 30,
        }
    }
}

impl Config {
    /// Checks every bound, so that nothing below has to.
    ///
    /// # Errors
    /// [`Error::Argument`] if a value is outside of what the setters document.
    pub fn check(&self) -> Result<(), Error> {
        let ok = self.security_level <= 5
            && (1..=1 << 20).contains(&self.max_connections)
            && (1..=1 << 20).contains(&self.max_half_open)
            && (1..=1 << 24).contains(&self.max_circuits)
            && (4_096..=1 << 30).contains(&self.send_buffer)
            && (4_096..=1 << 30).contains(&self.receive_buffer)
            && (576..=65_507).contains(&self.datagram_size)
            && (SECOND / 10..=3_600 * SECOND).contains(&self.handshake_timeout)
            && (SECOND..=86_400 * SECOND).contains(&self.dead_timeout)
            && self.memory_budget >= 65_536;
        if ok { Ok(()) } else { Err(Error::Argument) }
    }
}
