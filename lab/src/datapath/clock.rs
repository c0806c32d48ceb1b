//! Clocks: a relay's, and that of the CPU time that a thread has had.

use nix::time::{ClockId, clock_gettime};

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("a clock that Linux has");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// Microseconds of the monotonic clock.
pub fn micros() -> u64 {
    nanos(ClockId::CLOCK_MONOTONIC) / 1_000
}

/// Nanoseconds of the monotonic clock.
pub fn monotonic() -> u64 {
    nanos(ClockId::CLOCK_MONOTONIC)
}

/// Nanoseconds of CPU time that this thread has had, the kernel's work for it included.
pub fn cpu() -> u64 {
    nanos(ClockId::CLOCK_THREAD_CPUTIME_ID)
}
