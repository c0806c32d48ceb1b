//! Certificates for the relays of a simulation, made once per process.

use std::sync::OnceLock;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

/// A certificate that signs itself, and its key.
pub struct Identity {
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
    /// SHA-256 of the certificate.
    pub pin: [u8; 32],
}

/// The identity of the relay with this index.
pub fn identity(index: usize) -> &'static Identity {
    static ALL: OnceLock<Vec<Identity>> = OnceLock::new();
    let all = ALL.get_or_init(|| (0..4).map(generate).collect());
    &all[index % all.len()]
}

fn generate(index: usize) -> Identity {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a P-256 key");
    let params = CertificateParams::new(vec![format!("relay{index}.example")]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate.der());
    Identity {
        chain: certificate.der().to_vec(),
        key: key.serialize_der(),
        pin: digest.as_ref().try_into().expect("32 octets"),
    }
}
