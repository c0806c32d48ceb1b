//! Certificates and private key, from DER or PEM.

use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr;

use openssl_sys as ffi;

use super::openssl::{self, Bio, PKey, SslCtx, X509};
use crate::error::Error;

/// More certificates than any relay's chain has.
const MAX_CERTIFICATES: usize = 10;
/// Octets of a chain or a key.
const MAX_OCTETS: usize = 65_536;

/// A chain, leaf first, and the leaf's key.
pub(super) struct Credentials {
    chain: Vec<X509>,
    key: PKey,
}

impl Credentials {
    /// # Errors
    /// [`Error::Certificate`] if one cannot be read, or anything is left over.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Credentials, Error> {
        openssl::clear_errors();
        if chain.len() > MAX_OCTETS || key.len() > MAX_OCTETS {
            return Err(Error::Certificate);
        }
        let credentials = certificates(chain)
            .and_then(|chain| Some((chain, private_key(key)?)))
            .map(|(chain, key)| Credentials { chain, key });
        credentials.ok_or_else(|| refused("cannot read the certificate or key"))
    }

    /// # Errors
    /// [`Error::Certificate`] if the key is not the leaf's, or one is too weak for the context's security level.
    pub fn install(&self, ctx: &SslCtx) -> Result<(), Error> {
        openssl::clear_errors();
        let (leaf, others) = self.chain.split_first().ok_or(Error::Certificate)?;
        // SAFETY: all objects are valid; the context takes references of its own.
        let mut ok = unsafe {
            ffi::SSL_CTX_use_certificate(ctx.as_ptr(), leaf.as_ptr()) == 1
                && ffi::SSL_CTX_use_PrivateKey(ctx.as_ptr(), self.key.as_ptr()) == 1
                && ffi::SSL_CTX_check_private_key(ctx.as_ptr()) == 1
        };
        for certificate in others {
            // SAFETY: as above; larg 1 makes `SSL_CTX_add1_chain_cert` of the control.
            ok = ok
                && unsafe {
                    ffi::SSL_CTX_ctrl(
                        ctx.as_ptr(),
                        ffi::SSL_CTRL_CHAIN_CERT,
                        1,
                        certificate.as_ptr().cast(),
                    ) == 1
                };
        }
        if ok {
            Ok(())
        } else {
            Err(refused("cannot use the certificate or key"))
        }
    }
}

fn refused(what: &str) -> Error {
    log::warn!("{what}: {}", openssl::take_errors());
    Error::Certificate
}

fn is_pem(data: &[u8]) -> bool {
    data.windows(10).any(|window| window == b"-----BEGIN")
}

/// A read-only BIO over `data`, which must outlive it.
fn reader(data: &[u8]) -> Option<Bio> {
    let length = c_int::try_from(data.len()).ok()?;
    // SAFETY: the data is valid for its length; the reference returned is ours.
    unsafe { Bio::from_raw(ffi::BIO_new_mem_buf(data.as_ptr().cast(), length)) }
}

/// No passphrases: without this callback OpenSSL would ask on the terminal.
unsafe extern "C" fn no_passphrase(_: *mut c_char, _: c_int, _: c_int, _: *mut c_void) -> c_int {
    -1
}

fn certificates(data: &[u8]) -> Option<Vec<X509>> {
    let mut chain = Vec::new();
    if is_pem(data) {
        let bio = reader(data)?;
        // SAFETY: the BIO is valid; the reference returned is ours.
        while let Some(certificate) = unsafe {
            X509::from_raw(ffi::PEM_read_bio_X509(
                bio.as_ptr(),
                ptr::null_mut(),
                Some(no_passphrase),
                ptr::null_mut(),
            ))
        } {
            chain.push(certificate);
            if chain.len() > MAX_CERTIFICATES {
                return None;
            }
        }
        // The end of the input is an error too; one other than it means a broken certificate.
        const PEM_NO_START_LINE: c_int = 108;
        // SAFETY: has no preconditions.
        let last = unsafe { ffi::ERR_peek_last_error() };
        if ffi::ERR_GET_REASON(last) != PEM_NO_START_LINE {
            return None;
        }
        openssl::clear_errors();
    } else {
        let mut rest = data;
        while !rest.is_empty() {
            let mut at = rest.as_ptr();
            // SAFETY: `at` points to `rest.len()` octets; OpenSSL moves it to the end of the certificate.
            let certificate = unsafe {
                X509::from_raw(ffi::d2i_X509(
                    ptr::null_mut(),
                    &mut at,
                    rest.len() as c_long,
                ))
            }?;
            let used = at as usize - rest.as_ptr() as usize;
            chain.push(certificate);
            rest = rest.get(used..)?;
            if chain.len() > MAX_CERTIFICATES {
                return None;
            }
        }
    }
    (!chain.is_empty()).then_some(chain)
}

fn private_key(data: &[u8]) -> Option<PKey> {
    if is_pem(data) {
        let bio = reader(data)?;
        // SAFETY: the BIO is valid; the reference returned is ours.
        unsafe {
            PKey::from_raw(ffi::PEM_read_bio_PrivateKey(
                bio.as_ptr(),
                ptr::null_mut(),
                Some(no_passphrase),
                ptr::null_mut(),
            ))
        }
    } else {
        let mut at = data.as_ptr();
        // SAFETY: `at` points to `data.len()` octets; the reference returned is ours.
        let key = unsafe {
            PKey::from_raw(ffi::d2i_AutoPrivateKey(
                ptr::null_mut(),
                &mut at,
                data.len() as c_long,
            ))
        }?;
        (at as usize - data.as_ptr() as usize == data.len()).then_some(key)
    }
}
