//! The kernel's TCP as the peer of utcp's inner TCP, over an emulated link in real time, in both directions.
//!
//! As root only: it makes network namespaces and TUN devices. Elsewhere each test says that it was skipped; with
//! CI=true in the environment it fails instead. What is asserted is what the two sides see of each other, never how
//! long it takes; limits of time only end what hangs.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods)] // real time, real sockets

mod bulk;
mod close;
mod exchange;
#[path = "../privileges/mod.rs"]
mod privileges;
mod script;
mod window;
mod world;

use privileges::possible;
use world::Direction;

/// Runs a case in both directions, if this machine can.
fn both(case: fn(Direction)) {
    if !possible() {
        return;
    }
    std::thread::scope(|scope| {
        let one = scope.spawn(|| case(Direction::KernelConnects));
        let other = scope.spawn(|| case(Direction::OursConnects));
        let results = [one.join(), other.join()];
        for (direction, result) in ["the kernel connects", "utcp connects"].iter().zip(results) {
            assert!(result.is_ok(), "failed when {direction}");
        }
    });
}
