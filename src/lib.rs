//! TCP over DTLS for Tor relays: a TCP connection for each circuit, one UDP socket for all peers.
//!
//! ```text
//! socket -> inject -> dtls (open) -> tortp (decode) -> tcp (receive) -> circuit -> relay
//! relay -> circuit -> tcp (send) -> tortp (encode) -> dtls (seal) -> tx -> socket
//! ```
//!
//! The library does no I/O and reads no clock: the caller's event loop hands in datagrams and the time, and gets
//! datagrams, events and the next deadline back.

pub mod config;
mod connection;
pub mod dtls;
pub mod endpoint;
pub mod error;
mod ffi;
mod log;
pub mod pool;
mod rng;
pub mod stats;
pub mod tcp;
pub mod time;
pub mod tortp;
pub mod udp;
