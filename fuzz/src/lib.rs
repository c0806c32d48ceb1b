//! What is fuzzed: each target is a function of the octets that the fuzzer makes up, and panics when something that
//! must always hold does not.
//!
//! | target | octets are | what must hold |
//! |---|---|---|
//! | [`tortp`] | a datagram | decoding, encoding and the translation to TCP/IP are inverses |
//! | [`tcb`] | segments, calls and times for one circuit | streams stay intact, memory bounded, timers come to rest |
//! | [`connection`] | what an authenticated peer sends, calls, times | at worst a circuit resets itself |
//! | [`inject`] | datagrams from anywhere between two relays at work | nothing but a counter changes |
//!
//! `tests/fuzz_corpus.rs` of the library includes this file, so that the corpus is replayed where there is no fuzzer.

pub mod connection;
mod handshake;
pub mod identity;
pub mod inject;
pub mod input;
pub mod tcb;
pub mod tortp;
