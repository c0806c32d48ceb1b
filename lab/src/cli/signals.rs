//! Signals that end an experiment, and what is waited for beside them.

use std::io;
use std::process::{Child, ExitStatus};

use nix::sys::signal::{SigSet, Signal};

/// Signals that would end the process are waited for instead, so that it can clear up.
pub struct Signals(SigSet);

/// What came.
#[derive(Debug)]
pub enum Came {
    /// It is to end.
    End(Signal),
    /// The child has ended.
    Exit(ExitStatus),
}

impl Signals {
    /// To be called before any thread is made: threads take over what is blocked. Child processes do not.
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
        Ok(Signals(set))
    }

    /// Waits until the process is to end, or the child has.
    ///
    /// # Errors
    /// Those of the system.
    pub fn wait(&self, mut child: Option<&mut Child>) -> io::Result<Came> {
        loop {
            // Looked at first: several ends of children are one signal.
            if let Some(child) = &mut child
                && let Some(status) = child.try_wait()?
            {
                return Ok(Came::Exit(status));
            }
            match self.0.wait()? {
                Signal::SIGCHLD => {}
                signal => return Ok(Came::End(signal)),
            }
        }
    }
}
