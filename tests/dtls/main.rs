//! The DTLS layer, by topic. Time is virtual; only `interop` uses sockets.

mod cookie;
mod data;
mod handshake;
mod hostile;
mod interop;
mod loss;
mod support;
