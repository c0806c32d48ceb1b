//! Who the server is: a certificate that the client trusts, and its key.

use std::error::Error;
use std::fs;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

/// The name in the certificate.
pub const NAME: &str = "relay.example";

/// DER.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, signed by its own key.
    pub certificate: Vec<u8>,
    /// PKCS#8.
    pub key: Vec<u8>,
}

impl Identity {
    /// A new one, for ECDSA with P-256.
    ///
    /// # Errors
    /// Those of rcgen.
    pub fn new() -> Result<Identity, Box<dyn Error>> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = CertificateParams::new(vec![NAME.to_string()])?.self_signed(&key)?;
        Ok(Identity {
            certificate: certificate.der().to_vec(),
            key: key.serialize_der(),
        })
    }

    /// Into two files of `folder`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        fs::write(folder.join("certificate.der"), &self.certificate)?;
        fs::write(folder.join("key.der"), &self.key)
    }

    /// From there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(folder: &Path) -> std::io::Result<Identity> {
        Ok(Identity {
            certificate: fs::read(folder.join("certificate.der"))?,
            key: fs::read(folder.join("key.der"))?,
        })
    }
}
