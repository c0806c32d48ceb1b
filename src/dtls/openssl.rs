//! What `openssl-sys` lacks of OpenSSL 3.0 and later, owners for its objects, and its words for an error.

use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void};
use std::ptr::NonNull;

use openssl_sys as ffi;

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

/// HMAC-SHA256 (RFC 2104); `None` only if OpenSSL fails, as when SHA-256 is disabled.
pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> Option<[u8; 32]> {
    let mut mac = [0; 32];
    let mut length = 0;
    let key_length = c_int::try_from(key.len()).ok()?;
    // SAFETY: the pointers are valid for the lengths given; SHA-256 writes 32 octets, as many as `mac` has.
    let done = unsafe {
        HMAC(
            ffi::EVP_sha256(),
            key.as_ptr().cast(),
            key_length,
            message.as_ptr(),
            message.len(),
            mac.as_mut_ptr(),
            &mut length,
        )
    };
    (!done.is_null() && length == 32).then_some(mac)
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

/// Octets that the cipher of an established session adds to a plaintext: explicit nonce and tag of AES-GCM, or the tag of
/// ChaCha20-Poly1305.
pub(super) fn aead_overhead(ssl: &Ssl) -> usize {
    // SAFETY: the SSL is valid; the cipher is null or static, and so is its name.
    let name = unsafe {
        let cipher = ffi::SSL_get_current_cipher(ssl.as_ptr());
        text(ffi::SSL_CIPHER_get_name(cipher))
    };
    match name {
        Some(name) if name.contains("CHACHA20") => 16,
        _ => 8 + 16,
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
