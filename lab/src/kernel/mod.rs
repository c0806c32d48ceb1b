//! The kernel's TCP beside and against utcp's inner TCP, in real time.
//!
//! ```text
//! sockets in a namespace <-> TUN device <-> link <-> TUN device <-> sockets in another
//!                                           link <-> Tcb, as TCP/IP packets
//! ```
//!
//! One thread ([`emulator`]) carries the packets of all paths. Namespaces have no names and TUN devices are not
//! persistent: the kernel removes both when the process ends, however it ends.

// This part of the lab measures real time; the library never does.
#![allow(clippy::disallowed_methods)]

pub mod bench;
pub mod emulator;
pub mod host;
pub mod inner;
pub mod link;
pub mod realtime;
pub mod sockets;
mod tun;

pub use tun::Tun;

use std::fs::OpenOptions;

/// Why none of this can run here, if it cannot.
pub fn unavailable() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("this needs root: it makes network namespaces and TUN devices".into());
    }
    if let Err(error) = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
    {
        return Some(format!("no TUN devices here: /dev/net/tun: {error}"));
    }
    // All of it, once: a container may allow one thing and not the other.
    let [address, peer] = host::ADDRESSES;
    host::Host::new(address, peer)
        .err()
        .map(|error| format!("no network namespace with a TUN device can be made: {error}"))
}
