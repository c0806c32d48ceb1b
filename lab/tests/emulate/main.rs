//! The link emulator at work: three hosts, the kernel's UDP and TCP over them, and what is left behind.
//!
//! As root only, except for the files that are refused. What is asserted is what arrives and what is counted, never how
//! long it takes; limits of time only end what hangs.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods)] // real time, real sockets

mod command;
#[path = "../privileges/mod.rs"]
mod privileges;
mod traffic;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use privileges::possible;
use utcp_lab::emulate::{Emulator, Running, Topology};

/// What hangs is ended after this, and fails.
const WATCHDOG: Duration = Duration::from_secs(40);

const HOSTS: &str = "[[hosts]]\nname = 'a'\n[[hosts]]\nname = 'b'\n[[hosts]]\nname = 'c'\n";

/// Three hosts, and what else the topology says.
fn start(more: &str) -> Running {
    let topology = Topology::from_toml(&format!("{HOSTS}{more}")).expect("it is TOML");
    let emulator = Emulator::new(&topology).expect("it makes sense");
    emulator.start().expect("it was possible before")
}

/// Polls for a condition, up to the watchdog.
fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(result) = condition() {
            return result;
        }
        assert!(begin.elapsed() < WATCHDOG, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether there is a namespace of this name.
fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}
