//! The clock that both processes of a link share.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// Microseconds.
pub type Micros = u64;

/// One millisecond.
pub const MILLI: Micros = 1_000;
/// One second.
pub const SECOND: Micros = 1_000_000;
/// No moment.
pub const NEVER: Micros = u64::MAX;

/// The monotonic clock, the same in all processes of the machine.
pub fn now() -> Micros {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    time.tv_sec() as u64 * SECOND + time.tv_nsec() as u64 / 1_000
}

/// Waits until one of these is ready, or `until`; says which of them are.
///
/// # Errors
/// Those of the system.
pub fn wait(wanted: &[(BorrowedFd<'_>, PollFlags)], until: Micros) -> io::Result<Vec<PollFlags>> {
    let mut fds: Vec<PollFd> = wanted
        .iter()
        .map(|(fd, flags)| PollFd::new(*fd, *flags))
        .collect();
    // Nobody waits longer than that without a look around.
    let left = until.saturating_sub(now()).min(SECOND);
    let span = TimeSpec::new((left / SECOND) as i64, (left % SECOND * 1_000) as i64);
    match ppoll(&mut fds, Some(span), None) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fds
        .iter()
        .map(|fd| fd.revents().unwrap_or(PollFlags::empty()))
        .collect())
}
