//! What `openssl-sys` lacks of OpenSSL 3.0 and later, owners for its objects, and its words for an error.

use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void};
use std::ptr::NonNull;

use openssl_sys as ffi;

use crate::error::Error;

/// A socket address; only passed through.
pub(super) enum BioAddr {}

pub(super) type TimerCallback = extern "C" fn(*mut ffi::SSL, c_uint) -> c_uint;
pub(super) type VerifyCallback = extern "C" fn(*mut ffi::X509_STORE_CTX, *mut c_void) -> c_int;

unsafe extern "C" {
    pub(super) fn DTLSv1_listen(ssl: *mut ffi::SSL, peer: *mut BioAddr) -> c_int;
    pub(super) fn DTLS_set_timer_cb(ssl: *mut ffi::SSL, callback: TimerCallback);
    pub(super) fn BIO_ADDR_new() -> *mut BioAddr;
    pub(super) fn BIO_ADDR_free(address: *mut BioAddr);
    pub(super) fn SSL_CTX_set_cert_verify_callback(
        ctx: *mut ffi::SSL_CTX,
        callback: VerifyCallback,
        argument: *mut c_void,
    );
    pub(super) fn X509_STORE_CTX_get0_cert(ctx: *const ffi::X509_STORE_CTX) -> *mut ffi::X509;
    pub(super) fn X509_get0_pubkey(certificate: *const ffi::X509) -> *mut ffi::EVP_PKEY;
    pub(super) fn EVP_CipherFinal_ex(
        ctx: *mut ffi::EVP_CIPHER_CTX,
        out: *mut c_uchar,
        length: *mut c_int,
    ) -> c_int;
    pub(super) fn EVP_CIPHER_CTX_set_params(
        ctx: *mut ffi::EVP_CIPHER_CTX,
        params: *const Param,
    ) -> c_int;
    pub(super) fn EVP_Cipher(
        ctx: *mut ffi::EVP_CIPHER_CTX,
        out: *mut c_uchar,
        data: *const c_uchar,
        length: c_uint,
    ) -> c_int;
    fn SSL_free_buffers(ssl: *mut ffi::SSL) -> c_int;
    fn OPENSSL_cleanse(memory: *mut c_void, length: usize);
    fn HMAC(
        digest: *const ffi::EVP_MD,
        key: *const c_void,
        key_length: c_int,
        data: *const c_uchar,
        length: usize,
        out: *mut c_uchar,
        out_length: *mut c_uint,
    ) -> *mut c_uchar;
}

/// An OSSL_PARAM(3): octets under a name.
#[repr(C)]
pub(super) struct Param {
    key: *const c_char,
    kind: c_uint,
    data: *mut c_void,
    size: usize,
    returned: usize,
}

impl Param {
    /// The end of a list.
    pub const END: Param = Param {
        key: std::ptr::null(),
        kind: 0,
        data: std::ptr::null_mut(),
        size: 0,
        returned: 0,
    };

    /// Octets that OpenSSL copies while it is called with this. It writes to none that it is given so.
    pub fn octets(key: &'static CStr, octets: &[u8]) -> Param {
        const OCTET_STRING: c_uint = 5;
        Param {
            key: key.as_ptr(),
            kind: OCTET_STRING,
            data: octets.as_ptr().cast_mut().cast(),
            size: octets.len(),
            returned: usize::MAX,
        }
    }
}

/// Sets the nonce that AES-GCM counts up with each record; `EVP_CIPHER_CTX_ctrl`.
pub(super) const EVP_CTRL_GCM_SET_IV_FIXED: c_int = 0x12;

/// Control numbers of `SSL_CTX_ctrl` that `openssl-sys` does not name.
pub(super) const SSL_CTRL_SET_MAX_CERT_LIST: c_int = 51;
pub(super) const SSL_CTRL_SET_MAX_SEND_FRAGMENT: c_int = 52;
/// Errors of the chain verification, seen through `SSL_get_verify_result`.
pub(super) const X509_V_ERR_APPLICATION_VERIFICATION: c_int = 50;
pub(super) const X509_V_ERR_EE_KEY_TOO_SMALL: c_int = 66;

/// An object of OpenSSL's that is freed with its owner.
macro_rules! owner {
    ($name:ident, $type:ty, $free:path) => {
        #[doc = concat!("Owns one reference to a `", stringify!($type), "`.")]
        pub(super) struct $name(NonNull<$type>);

        impl $name {
            /// Takes over one reference; `None` if it is null.
            ///
            /// # Safety
            /// `pointer` is null or a reference that nothing else will free.
            pub unsafe fn from_raw(pointer: *mut $type) -> Option<$name> {
                NonNull::new(pointer).map($name)
            }

            pub fn as_ptr(&self) -> *mut $type {
                self.0.as_ptr()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the reference is ours, and this is the only place that gives it back.
                unsafe { $free(self.0.as_ptr()) }
            }
        }

        // SAFETY: OpenSSL ties none of these objects to a thread; it only forbids simultaneous use of one, which
        // `&mut` and the absence of `Sync` rule out. Reference counts between objects are atomic.
        unsafe impl Send for $name {}
    };
}

owner!(Ssl, ffi::SSL, ffi::SSL_free);
owner!(SslCtx, ffi::SSL_CTX, ffi::SSL_CTX_free);
owner!(X509, ffi::X509, ffi::X509_free);
owner!(PKey, ffi::EVP_PKEY, ffi::EVP_PKEY_free);
owner!(Bio, ffi::BIO, ffi::BIO_free_all);
owner!(Address, BioAddr, BIO_ADDR_free);
owner!(CipherCtx, ffi::EVP_CIPHER_CTX, ffi::EVP_CIPHER_CTX_free);

/// HMAC-SHA256 (RFC 2104); `None` only if OpenSSL fails, as when SHA-256 is disabled.
pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> Option<[u8; 32]> {
    let mut mac = [0; LONGEST_DIGEST];
    // SAFETY: returns a static table.
    let sha256 = unsafe { ffi::EVP_sha256() };
    hmac(sha256, key, message, &mut mac)?.try_into().ok()
}

/// HMAC (RFC 2104), at the beginning of `mac`; `None` only if OpenSSL fails.
fn hmac<'a>(
    digest: *const ffi::EVP_MD,
    key: &[u8],
    message: &[u8],
    mac: &'a mut [u8; LONGEST_DIGEST],
) -> Option<&'a [u8]> {
    let mut length = 0;
    let key_length = c_int::try_from(key.len()).ok()?;
    // SAFETY: the pointers are valid for the lengths given, the digest is one of OpenSSL's, and none is longer than
    // `mac`.
    let done = unsafe {
        HMAC(
            digest,
            key.as_ptr().cast(),
            key_length,
            message.as_ptr(),
            message.len(),
            mac.as_mut_ptr(),
            &mut length,
        )
    };
    mac.get(..length as usize).filter(|_| !done.is_null())
}

/// EVP_MAX_MD_SIZE.
const LONGEST_DIGEST: usize = 64;

/// Keys of an established session (RFC 5246, section 6.3), as many octets as `block` has.
///
/// # Errors
/// [`Error::Tls`] if OpenSSL fails.
pub(super) fn key_block(ssl: &Ssl, block: &mut [u8]) -> Result<(), Error> {
    const RANDOM: usize = 32;
    let mut master = [0; 48];
    let label = b"key expansion";
    let mut seed = [0; 13 + 2 * RANDOM];
    seed[..13].copy_from_slice(label);
    let (server, client) = seed[13..].split_at_mut(RANDOM);
    // SAFETY: the SSL is valid, the session is null or its own, and the buffers are valid for the lengths given. The
    // cipher is null or static, and its digest static.
    let digest = unsafe {
        let session = ffi::SSL_get_session(ssl.as_ptr());
        let cipher = ffi::SSL_get_current_cipher(ssl.as_ptr());
        if session.is_null()
            || cipher.is_null()
            || ffi::SSL_SESSION_get_master_key(session, master.as_mut_ptr(), master.len())
                != master.len()
            || ffi::SSL_get_server_random(ssl.as_ptr(), server.as_mut_ptr(), RANDOM) != RANDOM
            || ffi::SSL_get_client_random(ssl.as_ptr(), client.as_mut_ptr(), RANDOM) != RANDOM
        {
            return Err(Error::Tls);
        }
        ffi::SSL_CIPHER_get_handshake_digest(cipher)
    };
    if digest.is_null() {
        return Err(Error::Tls);
    }
    let done = expand(digest, &master, &seed, block);
    cleanse(&mut master);
    done.ok_or(Error::Tls)
}

/// P_hash of RFC 5246, section 5: fills `out`.
fn expand(digest: *const ffi::EVP_MD, secret: &[u8], seed: &[u8], out: &mut [u8]) -> Option<()> {
    let (mut a, mut mac) = ([0; LONGEST_DIGEST], [0; LONGEST_DIGEST]);
    let mut message = seed.to_vec();
    let mut filled = 0;
    while filled < out.len() {
        // A(1) is of the seed alone, A(i) of A(i-1) alone.
        let a = hmac(digest, secret, &message, &mut a)?;
        message.clear();
        message.extend_from_slice(a);
        message.extend_from_slice(seed);
        let part = hmac(digest, secret, &message, &mut mac)?;
        let n = part.len().min(out.len() - filled);
        out[filled..filled + n].copy_from_slice(&part[..n]);
        filled += n;
        message.truncate(a.len());
    }
    cleanse(&mut mac);
    Some(())
}

/// Overwrites what was secret.
pub(super) fn cleanse(secret: &mut [u8]) {
    // SAFETY: the pointer is valid for the length.
    unsafe { OPENSSL_cleanse(secret.as_mut_ptr().cast(), secret.len()) }
}

/// Gives the buffers back that a session needs for its handshake only.
pub(super) fn free_buffers(ssl: &Ssl) {
    // SAFETY: the SSL is valid. It refuses if there is something in them.
    unsafe { SSL_free_buffers(ssl.as_ptr()) };
}

/// Forgets errors that others have left on this thread: OpenSSL judges some calls by the queue.
pub(super) fn clear_errors() {
    // Mostly there are none, and to look is much cheaper than to clear.
    // SAFETY: they have no preconditions.
    unsafe {
        if ffi::ERR_peek_last_error() != 0 {
            ffi::ERR_clear_error();
        }
    }
}

/// OpenSSL's name of the cipher suite in use.
pub(super) fn cipher_name(ssl: &Ssl) -> Option<String> {
    // SAFETY: the SSL is valid; the cipher is null or static, and so is its name.
    unsafe {
        let cipher = ffi::SSL_get_current_cipher(ssl.as_ptr());
        text(ffi::SSL_CIPHER_get_name(cipher))
    }
}

/// Empties the error queue into one line.
pub(super) fn take_errors() -> String {
    let mut words = Vec::new();
    loop {
        // SAFETY: has no preconditions.
        let code = unsafe { ffi::ERR_get_error() };
        if code == 0 {
            break;
        }
        // The queue holds 16 at most; the first few say what happened.
        if words.len() < 3 {
            // SAFETY: any code may be asked for; the answer is null or a static string.
            let reason = unsafe { text(ffi::ERR_reason_error_string(code)) };
            words.push(reason.unwrap_or_else(|| format!("error {code:x}")));
        }
    }
    if words.is_empty() {
        words.push("no reason given".to_owned());
    }
    words.join("; ")
}

/// # Safety
/// `string` is null or a C string that stays while this runs.
unsafe fn text(string: *const c_char) -> Option<String> {
    if string.is_null() {
        return None;
    }
    // SAFETY: not null, and a C string by contract.
    Some(
        unsafe { CStr::from_ptr(string) }
            .to_string_lossy()
            .into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors for TLS 1.2 that were posted to the working group's list: SHA-256.
    #[test]
    fn secrets_expand_as_others_expand_them() {
        let secret = [
            0x9b, 0xbe, 0x43, 0x6b, 0xa9, 0x40, 0xf0, 0x17, 0xb1, 0x76, 0x52, 0x84, 0x9a, 0x71,
            0xdb, 0x35,
        ];
        let seed = [
            0xa0, 0xba, 0x9f, 0x93, 0x6c, 0xda, 0x31, 0x18, 0x27, 0xa6, 0xf7, 0x96, 0xff, 0xd5,
            0x19, 0x8c,
        ];
        let mut out = [0; 100];
        // SAFETY: returns a static table.
        let sha256 = unsafe { ffi::EVP_sha256() };
        expand(
            sha256,
            &secret,
            &[&b"test label"[..], &seed].concat(),
            &mut out,
        )
        .expect("expanded");
        assert_eq!(
            (out[..8].to_vec(), out[92..].to_vec()),
            (
                vec![0xe3, 0xf2, 0x29, 0xba, 0x72, 0x7b, 0xe1, 0x7b],
                vec![0x10, 0xff, 0xf7, 0x01, 0x87, 0x34, 0x7b, 0x66]
            ),
        );
    }
}
