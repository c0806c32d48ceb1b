//! Fixed certificates and keys: whoever fuzzes needs no randomness of their own, and nobody else may use them.

use utcp::config::Config;

/// A certificate that signs itself, and its key, in PEM.
#[derive(Clone, Copy)]
pub struct Identity {
    pub certificate: &'static [u8],
    pub key: &'static [u8],
}

pub const RELAY: Identity = Identity {
    certificate: include_bytes!("identity/relay.pem"),
    key: include_bytes!("identity/relay.key.pem"),
};

pub const PEER: Identity = Identity {
    certificate: include_bytes!("identity/peer.pem"),
    key: include_bytes!("identity/peer.key.pem"),
};

pub const STRANGER: Identity = Identity {
    certificate: include_bytes!("identity/stranger.pem"),
    key: include_bytes!("identity/stranger.key.pem"),
};

impl Identity {
    /// A configuration with this identity.
    pub fn config(self) -> Config {
        Config {
            chain: self.certificate.to_vec(),
            key: self.key.to_vec(),
            seed: [self.key[60]; 32],
            ..Config::default()
        }
    }
}
