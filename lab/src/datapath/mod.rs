//! What the data path costs: Experiment 2 of the paper, throughput per CPU second beside others, memory.
//!
//! ```text
//! clock        the relay's clock, and CPU time
//! capi         a relay on the C API
//! socket       the same socket I/O for others
//! throughput/  utcp, DTLS alone, quinn and TLS over the kernel's TCP, side by side over loopback
//! stages       Experiment 2: each stage for one packet
//! report       targets, and facts about the machine
//! pair         two endpoints in memory
//! workload     fixed work for them
//! callgrind    its instructions
//! ```

pub mod callgrind;
pub mod capi;
pub mod clock;
pub mod pair;
pub mod report;
pub mod socket;
pub mod stages;
pub mod throughput;
pub mod workload;

use std::net::UdpSocket;
use std::sync::OnceLock;

use nix::sys::socket::{setsockopt, sockopt};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

/// Name in the certificate.
pub const SERVER_NAME: &str = "relay.example";

/// Octets of the receive buffer of each UDP socket, as far as the system allows.
const SOCKET_BUFFER: usize = 4 << 20;

/// A certificate that signs itself, and its key: DER.
pub fn identity() -> &'static (Vec<u8>, Vec<u8>) {
    static IDENTITY: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let params = CertificateParams::new(vec![SERVER_NAME.to_string()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.der().to_vec(), key.serialize_der())
    })
}

/// A UDP socket on loopback.
pub fn udp() -> UdpSocket {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    setsockopt(&udp, sockopt::RcvBuf, &SOCKET_BUFFER).expect("a size");
    udp
}

/// The value in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
