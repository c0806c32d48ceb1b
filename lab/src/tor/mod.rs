//! The paper's experiments on real Tor binaries, over the link emulator. `lab tor` runs them.

// This part of the lab measures real time; the library never does.
#![allow(clippy::disallowed_methods)]

pub mod circuits;
pub mod control;
pub mod experiments;
pub mod keys;
pub mod network;
pub mod node;
pub mod plan;
pub mod process;
pub mod programs;
pub mod runner;
pub mod server;
pub mod session;
pub mod sockets;
pub mod torrc;
pub mod traffic;
