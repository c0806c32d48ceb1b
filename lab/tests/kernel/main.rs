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
mod script;
mod window;
mod world;

use std::io::Write as _;
use std::sync::OnceLock;

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

/// Says so aloud if the tests cannot run; with CI=true that is a failure.
fn possible() -> bool {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let Some(reason) = REASON.get_or_init(utcp_lab::kernel::unavailable) else {
        return true;
    };
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "CI=true: nothing may be skipped: {reason}"
    );
    let name = std::thread::current().name().unwrap_or("?").to_string();
    // Not eprintln: the test harness keeps that of tests that pass.
    let line = format!("SKIPPED {name}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    false
}
