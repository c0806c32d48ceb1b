//! Signals that end an experiment, and what is waited for beside them.

// How long a child takes to end is real time.
#![allow(clippy::disallowed_methods)]

use std::io;
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// How long a child may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(10);

/// Signals that would end the process are waited for instead, so that it can clear up.
pub struct Signals(SignalFd);

/// What came.
#[derive(Debug)]
pub enum Came {
    /// It is to end.
    End(Signal),
    /// The child has ended.
    Exit(ExitStatus),
    /// Nothing, for so long.
    Nothing,
}

impl Signals {
    /// To be called before any thread is made: threads take over what is blocked. (So do child processes;
    /// those of [`Running::spawn`](crate::emulate::Running::spawn) unblock it.)
    ///
    /// # Errors
    /// Those of the system.
    pub fn block() -> io::Result<Signals> {
        let mut set = SigSet::empty();
        for signal in [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGCHLD,
        ] {
            set.add(signal);
        }
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Signals(SignalFd::with_flags(&set, flags)?))
    }

    /// Waits until the process is to end, or the child has, or the time is up.
    ///
    /// # Errors
    /// Those of the system.
    pub fn wait(&self, mut child: Option<&mut Child>, most: Option<Duration>) -> io::Result<Came> {
        let begin = Instant::now();
        loop {
            while let Some(signal) = self.0.read_signal()? {
                match Signal::try_from(signal.ssi_signo as i32)? {
                    Signal::SIGCHLD => {}
                    signal => return Ok(Came::End(signal)),
                }
            }
            // After the signals were taken: one that comes later wakes the poll.
            if let Some(child) = &mut child
                && let Some(status) = child.try_wait()?
            {
                return Ok(Came::Exit(status));
            }
            let timeout = match most {
                None => PollTimeout::NONE,
                Some(most) => match most.checked_sub(begin.elapsed()) {
                    None => return Ok(Came::Nothing),
                    Some(left) => PollTimeout::try_from(left + Duration::from_millis(1))
                        .map_err(io::Error::other)?,
                },
            };
            match poll(
                &mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)],
                timeout,
            ) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks a child to end; kills it when it takes too long, or another signal comes.
    ///
    /// # Errors
    /// Those of the system.
    pub fn end(&self, child: &mut Child) -> io::Result<()> {
        // Not the signal that came: a terminal has sent that to the child already, and a shell in the background has its
        // children ignore some.
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
        if !matches!(self.wait(Some(child), Some(GRACE))?, Came::Exit(_)) {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}
