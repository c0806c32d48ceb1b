//! Datagram <-> record: DTLS 1.2 (RFC 6347) on the OpenSSL that the relay links too.
//!
//! ```text
//!                     no session yet                                a session
//! datagram --> classify --> Context::listen --> Promoted(Session)   datagram --> Session::receive / more --> plaintext
//!                                 |                                 plaintext -> Session::seal --> datagram
//!                                 v                                 Session::timer, take_output --> handshake datagrams
//!                          HelloVerifyRequest
//! ```
//!
//! - `record`: headers, [`classify`] and HelloVerifyRequest; pure parsing of hostile input.
//! - `cookie`: the stateless proof that a peer owns its address.
//! - `flight`: the datagrams of a handshake flight, their record numbers, and when to send them again.
//! - `bio`: the datagram BIO between OpenSSL and the two.
//! - `context`, `credentials`: `SSL_CTX`, certificates and keys.
//! - `session`: one peer's `SSL`.
//! - `protection`: the records of a session once it is established, which OpenSSL encrypts and does not see otherwise.
//!
//! OpenSSL reads the real clock for its retransmission timer. Here that timer is set so far away that it never
//! fires; flights are kept and repeated by [`Session`] on the caller's clock.
#![allow(unsafe_code)]

mod bio;
mod context;
mod cookie;
mod credentials;
mod flight;
mod openssl;
mod protection;
mod record;
mod session;

pub use context::{Context, Listen};
pub use record::{Kind, classify};
pub use session::{Drop, Incoming, Session, SessionState};

/// Octets that a record adds to its plaintext: header, explicit nonce and tag of AES-GCM. ChaCha20-Poly1305 has no
/// explicit nonce and adds 29.
pub const RECORD_OVERHEAD: usize = 37;

/// The largest plaintext of one record (RFC 5246, section 6.2.1). [`crate::config::Config::datagram_size`] is
/// usually the tighter limit.
pub const MAX_PLAINTEXT: usize = 16_384;

/// A plaintext fatal alert, to be sent in answer to an application record of a session that this side does not
/// have (any more). It is not authenticated: no more than a hint to the peer that a new handshake may be due.
pub fn session_lost_alert() -> [u8; 15] {
    const FATAL: u8 = 2;
    const UNEXPECTED_MESSAGE: u8 = 10;
    [
        record::ALERT,
        0xfe,
        0xfd,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        2,
        FATAL,
        UNEXPECTED_MESSAGE,
    ]
}
