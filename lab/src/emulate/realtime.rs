//! What a thread needs to be on time: a real-time priority, and memory that stays.

use std::process::{Command, Stdio};

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::unistd::gettid;

/// The emulator's priority.
pub const EMULATOR: u8 = 50;
/// The priority of the threads with the kernel's sockets.
pub const SOCKETS: u8 = 20;

/// Puts the calling thread under SCHED_FIFO; returns whether that was allowed.
pub fn fifo(priority: u8) -> bool {
    // util-linux is on every Debian system.
    Command::new("chrt")
        .args(["--fifo", "--pid", &priority.to_string()])
        .arg(gettid().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Keeps the memory of the process where it is; returns whether that was allowed.
pub fn lock_memory() -> bool {
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE).is_ok()
}
