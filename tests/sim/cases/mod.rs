//! The cases, by topic.

mod capture;
mod determinism;
mod ecn;
mod hostile;
mod impairment;
mod lifecycle;
mod memory;
mod mtu;
mod peers;
mod random;
mod resources;
mod restart;
mod scripts;
mod siblings;
mod transfer;

use utcp::time::MILLISECOND;

use super::link::Link;

/// 10 Mbit/s, 40 ms round trip, room for a bandwidth-delay product and some more.
fn broadband() -> Link {
    Link::new().rate(1_250_000, 64_000).delay(20 * MILLISECOND)
}

/// 100 Mbit/s, 20 ms round trip.
fn fast() -> Link {
    Link::new()
        .rate(12_500_000, 300_000)
        .delay(10 * MILLISECOND)
}

/// Delay and nothing else: times can be told to the microsecond.
fn pure_delay() -> Link {
    Link::new().delay(50 * MILLISECOND)
}

/// Some of everything.
fn bad() -> Link {
    Link::new()
        .loss(0.02)
        .reorder(0.02, 15 * MILLISECOND)
        .duplicate(0.02, 30 * MILLISECOND)
        .rate(1_250_000, 64_000)
        .delay(20 * MILLISECOND)
        .jitter(3 * MILLISECOND)
}
