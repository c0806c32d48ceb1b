//! What sessions have in common: `SSL_CTX` of both roles, credentials, the cookie secret.

use std::ffi::{c_int, c_long, c_uchar, c_uint, c_void};
use std::net::SocketAddr;
use std::ptr;
use std::sync::Arc;

use openssl_sys as ffi;

use super::bio::{Method, Port};
use super::cookie::Cookies;
use super::credentials::Credentials;
use super::openssl::{self, Ssl, SslCtx};
use super::record::{ClientHello, Record, hello_verify_request, renumber};
use super::session::Session;
use crate::config::{ClientCertificate, Config};
use crate::endpoint::Role;
use crate::error::Error;
use crate::time::Time;

/// Ephemeral ECDH and AEAD only, AES-128-GCM first; for ECDSA and RSA certificates.
const CIPHERS: &std::ffi::CStr = c"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
    ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
    ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
const GROUPS: &std::ffi::CStr = c"X25519:P-256";

/// Octets of certificates that a peer may send.
const MAX_CERT_LIST: c_long = 16_384;

/// OpenSSL hands handshake records to the BIO through a buffer of 4,096 octets; a larger MTU would have records cut
/// in two.
const MAX_HANDSHAKE_MTU: usize = 4_096;

/// Security bits of levels 0 to 5 (SSL_CTX_set_security_level(3)).
const LEVEL_BITS: [c_int; 6] = [0, 80, 112, 128, 192, 256];

/// Makes sessions.
pub struct Context {
    method: Arc<Method>,
    client: SslCtx,
    server: SslCtx,
    cookies: Cookies,
    client_certificate: ClientCertificate,
    security_level: u32,
    sizes: Sizes,
}

/// How large datagrams may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Those of the handshake.
    pub handshake: usize,
    /// Those of data, which follow the path.
    pub data: usize,
}

/// What became of a datagram from an address without a session.
#[allow(clippy::large_enum_variant)] // moved once for each handshake, never stored
pub enum Listen {
    /// A ClientHello without a cookie. `reply` has the answer.
    Reply,
    /// A ClientHello with a valid cookie: the address is the peer's. The session sends nothing before
    /// [`Session::start`].
    Promoted(Session),
    /// A ClientHello with a cookie that is not this peer's, or too old. As RFC 6347, section 4.2.1 asks, `reply`
    /// has the same answer as to none.
    BadCookie,
    /// Not a ClientHello, or one that cannot be answered with less than it is. `reply` is empty.
    NotClientHello,
}

impl Context {
    /// Takes from `config`: chain, key, `client_certificate`, `security_level`, the sizes of datagrams. The
    /// secret must be random; whoever knows it can make this side keep state for addresses that are not his.
    ///
    /// # Errors
    /// [`Error::Certificate`]: chain or key cannot be read, do not belong together, or are too weak for the security
    /// level. [`Error::Argument`]: a bound of [`Config::check`] is violated. [`Error::Tls`], [`Error::Memory`].
    pub fn new(config: &Config, cookie_secret: [u8; 32]) -> Result<Context, Error> {
        config.check()?;
        ffi::init();
        let credentials = Credentials::parse(&config.chain, &config.key)?;
        let (mode, level) = (config.client_certificate, config.security_level);
        let sizes = Sizes {
            handshake: config.datagram_size,
            data: config.largest(),
        };
        Ok(Context {
            method: Method::new()?,
            client: new_ctx(Role::Client, mode, level, sizes, &credentials)?,
            server: new_ctx(Role::Server, mode, level, sizes, &credentials)?,
            cookies: Cookies::new(cookie_secret),
            client_certificate: mode,
            security_level: level,
            sizes,
        })
    }

    /// Changes the certificate: sessions made from now on use it, those that exist are not touched.
    ///
    /// # Errors
    /// As [`Context::new`]; then the old certificate stays.
    pub fn set_certificate(&mut self, chain: &[u8], key: &[u8]) -> Result<(), Error> {
        let credentials = Credentials::parse(chain, key)?;
        let ctx = |role| {
            new_ctx(
                role,
                self.client_certificate,
                self.security_level,
                self.sizes,
                &credentials,
            )
        };
        let (client, server) = (ctx(Role::Client)?, ctx(Role::Server)?);
        (self.client, self.server) = (client, server);
        Ok(())
    }

    /// Looks at a datagram from an address without a session, and keeps nothing of it unless it proves the address.
    /// What `reply` (cleared first) gets is never longer than what came in.
    ///
    /// OpenSSL sees the datagram only once the cookie is good: before, the whole cost is one HMAC (two to check a
    /// cookie of the previous minute) and no allocation beyond `reply`.
    pub fn listen(
        &self,
        now: Time,
        peer: SocketAddr,
        datagram: &[u8],
        reply: &mut Vec<u8>,
    ) -> Listen {
        reply.clear();
        let Some(record) = Record::parse(datagram) else {
            return Listen::NotClientHello;
        };
        let Some(hello) = ClientHello::parse(&record) else {
            return Listen::NotClientHello;
        };
        if self.cookies.check(now, peer, &hello.random, hello.cookie) {
            return match self.promote(&record, &hello) {
                Ok(session) => Listen::Promoted(session),
                Err(_) => Listen::NotClientHello,
            };
        }
        let Some(cookie) = self.cookies.make(now, peer, &hello.random) else {
            return Listen::NotClientHello;
        };
        hello_verify_request(hello.sequence, &cookie, reply);
        if reply.len() > datagram.len() {
            reply.clear();
            return Listen::NotClientHello;
        }
        match hello.cookie {
            [] => Listen::Reply,
            _ => Listen::BadCookie,
        }
    }

    /// A session that has read the ClientHello, whose cookie is known to be good.
    fn promote(&self, record: &Record<'_>, hello: &ClientHello<'_>) -> Result<Session, Error> {
        let (ssl, mut port) = self.new_ssl(Role::Server)?;
        // SAFETY: the reference returned is ours.
        let address =
            unsafe { openssl::Address::from_raw(openssl::BIO_ADDR_new()) }.ok_or(Error::Memory)?;
        // From here on OpenSSL sees plaintext records under numbers of the session's, of which this is the first.
        let mut numbered = record.bytes.to_vec();
        renumber(&mut numbered, 0);
        openssl::clear_errors();
        // A fresh SSL takes a ClientHello with a cookie from DTLSv1_listen only.
        // SAFETY: SSL and address are valid.
        let promoted = port.with_input(&numbered, || unsafe {
            openssl::DTLSv1_listen(ssl.as_ptr(), address.as_ptr())
        });
        if promoted != 1 {
            openssl::clear_errors();
            return Err(Error::Tls);
        }
        Ok(Session::promoted(ssl, port, self.sizes, hello))
    }

    /// An SSL on a BIO of its own, that does not know the time.
    pub(super) fn new_ssl(&self, role: Role) -> Result<(Ssl, Port), Error> {
        let ctx = match role {
            Role::Client => &self.client,
            Role::Server => &self.server,
        };
        openssl::clear_errors();
        // SAFETY: the context is valid; the reference returned is ours.
        let ssl = unsafe { Ssl::from_raw(ffi::SSL_new(ctx.as_ptr())) }.ok_or(Error::Memory)?;
        let mtu = self.sizes.handshake.min(MAX_HANDSHAKE_MTU);
        let (bio, port) = Port::new(&self.method, mtu)?;
        // SAFETY: SSL and BIO are valid. One reference to the BIO serves both directions, and SSL takes it over.
        unsafe {
            ffi::SSL_set_bio(ssl.as_ptr(), bio.as_ptr(), bio.as_ptr());
            std::mem::forget(bio);
            openssl::DTLS_set_timer_cb(ssl.as_ptr(), never);
            // SSL_OP_NO_QUERY_MTU makes OpenSSL rely on this, and keep it in DTLSv1_listen.
            if ffi::SSL_set_mtu(ssl.as_ptr(), mtu as c_long) != mtu as c_long {
                return Err(Error::Tls);
            }
            match role {
                Role::Client => ffi::SSL_set_connect_state(ssl.as_ptr()),
                Role::Server => ffi::SSL_set_accept_state(ssl.as_ptr()),
            }
        }
        Ok((ssl, port))
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }
}

fn new_ctx(
    role: Role,
    mode: ClientCertificate,
    level: u32,
    sizes: Sizes,
    credentials: &Credentials,
) -> Result<SslCtx, Error> {
    openssl::clear_errors();
    // SAFETY: the methods are static; the reference returned is ours.
    let ctx = unsafe {
        SslCtx::from_raw(ffi::SSL_CTX_new(match role {
            Role::Client => ffi::DTLS_client_method(),
            Role::Server => ffi::DTLS_server_method(),
        }))
    }
    .ok_or(Error::Memory)?;
    let raw = ctx.as_ptr();
    let verify = match (role, mode) {
        (Role::Client, _) | (Role::Server, ClientCertificate::Request) => ffi::SSL_VERIFY_PEER,
        (Role::Server, ClientCertificate::Require) => {
            ffi::SSL_VERIFY_PEER | ffi::SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        }
        (Role::Server, ClientCertificate::None) => ffi::SSL_VERIFY_NONE,
    };
    let fragment = sizes.data.clamp(512, super::MAX_PLAINTEXT);
    // SAFETY: the context is valid, strings are C strings, and the callbacks have the types that OpenSSL wants.
    // The verification callback's argument is a number in the place of a pointer and never followed.
    let ok = unsafe {
        // Whatever the system's openssl.cnf says was set by SSL_CTX_new, and is overridden here.
        ffi::SSL_CTX_set_security_level(raw, level as c_int);
        ffi::SSL_CTX_set_options(
            raw,
            ffi::SSL_OP_NO_QUERY_MTU
                | ffi::SSL_OP_NO_COMPRESSION
                | ffi::SSL_OP_NO_RENEGOTIATION
                | ffi::SSL_OP_NO_TICKET
                | ffi::SSL_OP_CIPHER_SERVER_PREFERENCE,
        );
        ffi::SSL_CTX_set_session_cache_mode(raw, ffi::SSL_SESS_CACHE_OFF);
        ffi::SSL_CTX_set_verify(raw, verify, None);
        openssl::SSL_CTX_set_cert_verify_callback(
            raw,
            check_strength,
            level as usize as *mut c_void,
        );
        if role == Role::Server {
            ffi::SSL_CTX_set_cookie_generate_cb(raw, Some(no_cookie));
            ffi::SSL_CTX_set_cookie_verify_cb(raw, Some(cookie_was_checked));
        }
        ffi::SSL_CTX_ctrl(
            raw,
            openssl::SSL_CTRL_SET_MAX_CERT_LIST,
            MAX_CERT_LIST,
            ptr::null_mut(),
        );
        // OpenSSL sizes the write buffer of each session after this.
        ffi::SSL_CTX_ctrl(
            raw,
            openssl::SSL_CTRL_SET_MAX_SEND_FRAGMENT,
            fragment as c_long,
            ptr::null_mut(),
        ) == 1
            && ffi::SSL_CTX_set_min_proto_version(raw, ffi::DTLS1_2_VERSION) == 1
            && ffi::SSL_CTX_set_max_proto_version(raw, ffi::DTLS1_2_VERSION) == 1
            && ffi::SSL_CTX_set_cipher_list(raw, CIPHERS.as_ptr()) == 1
            && ffi::SSL_CTX_set1_groups_list(raw, GROUPS.as_ptr()) == 1
    };
    if !ok {
        log::error!("cannot set up DTLS 1.2: {}", openssl::take_errors());
        return Err(Error::Tls);
    }
    if role == Role::Server || mode != ClientCertificate::None {
        credentials.install(&ctx)?;
    }
    Ok(ctx)
}

/// OpenSSL's retransmission timer, microseconds: more than an hour, as good as never. Ours is in `session`.
extern "C" fn never(_: *mut ffi::SSL, _: c_uint) -> c_uint {
    u32::MAX
}

/// `Context::listen` answers ClientHellos without a cookie itself.
extern "C" fn no_cookie(_: *mut ffi::SSL, _: *mut c_uchar, _: *mut c_uint) -> c_int {
    0
}

/// An SSL of the server's role exists only for a ClientHello whose cookie `Context::listen` has checked.
extern "C" fn cookie_was_checked(_: *mut ffi::SSL, _: *const c_uchar, _: c_uint) -> c_int {
    1
}

/// Stands in for OpenSSL's chain verification: any chain will do, as the relay decides who the peer is, but the
/// leaf's key must have the strength of the security level.
extern "C" fn check_strength(store: *mut ffi::X509_STORE_CTX, level: *mut c_void) -> c_int {
    let required = LEVEL_BITS
        .get(level as usize)
        .copied()
        .unwrap_or(c_int::MAX);
    // SAFETY: OpenSSL calls this with a valid store context. Null is tested for; a security strength can be asked of
    // any key.
    unsafe {
        let leaf = openssl::X509_STORE_CTX_get0_cert(store);
        let key = match leaf.is_null() {
            true => ptr::null_mut(),
            false => openssl::X509_get0_pubkey(leaf),
        };
        let strong = !key.is_null() && ffi::EVP_PKEY_security_bits(key) >= required;
        // Nobody who asks for the result of the verification shall read that there was one.
        ffi::X509_STORE_CTX_set_error(
            store,
            match strong {
                true => openssl::X509_V_ERR_APPLICATION_VERIFICATION,
                false => openssl::X509_V_ERR_EE_KEY_TOO_SMALL,
            },
        );
        c_int::from(strong)
    }
}
