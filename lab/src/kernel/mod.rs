//! The kernel's TCP beside and against utcp's inner TCP, in real time.
//!
//! ```text
//! sockets in a namespace <-> TUN device <-> link <-> TUN device <-> sockets in another
//!                                           link <-> Tcb, as TCP/IP packets
//! ```
//!
//! One thread ([`crate::emulate::carrier`]) carries the packets of all paths. Namespaces have no names and TUN devices are not
//! persistent: the kernel removes both when the process ends, however it ends.

// This part of the lab measures real time; the library never does.
#![allow(clippy::disallowed_methods)]

pub mod bench;
pub mod emulator;
pub mod inner;
pub mod sockets;

pub use crate::emulate::unavailable;
