//! The link emulator: hosts that are network namespaces, and the links between them, in real time.
//!
//! ```text
//! processes in a namespace <-> TUN device <-> network <-> TUN device <-> processes in another
//!
//! topology    the file: hosts, links, limits; checked
//! running     a topology at work: namespaces, children in them, counters, a verdict at the end
//! probe       how exact it is: delays by pings of its own, the rate by a paced flow
//! carrier     the thread that carries packets between ports
//! network     ports, access limits, links and packets under way, in virtual time
//! link        what one direction between two hosts does to packets
//! delay       distributions of delay
//! record      what happened to every packet, as a table and as captures
//! summary     counters of all links as a table and as JSON lines
//! host        a namespace with a TUN device
//! claim       names of namespaces, and removal of those that dead runs left
//! realtime    priority and locked memory
//! ```
//!
//! Hosts at work are in the same process as what measures them, and on the same clock. A run in which packets left late is
//! said to be overloaded, and must not count.

// This part of the lab measures real time; the library never does.
#![allow(clippy::disallowed_methods)]

pub mod carrier;
pub mod claim;
pub mod delay;
pub mod host;
pub mod link;
pub mod network;
pub mod probe;
pub mod realtime;
pub mod record;
pub mod running;
pub mod summary;
pub mod topology;
mod tun;

pub use probe::{Accuracy, Load};
pub use running::{Emulator, Running, Verdict};
pub use summary::Summary;
pub use topology::{Invalid, LinkSettings, Topology};
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
