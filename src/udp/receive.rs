//! Messages to datagrams.

use super::syscalls::{Calls, Errno, Receiving};
use super::{Abilities, Common, Sink};
use crate::error::Error;

/// Errors in a row that do not end a call: each is something that a router reported of a datagram sent before, and is
/// taken off the socket by being told.
const REPORTS: usize = 16;

/// Octets of one call that the processor's cache still holds when they are looked at.
const CACHED: usize = 256 << 10;

pub(super) struct Receiver {
    calls: Receiving,
    messages: usize,
    /// Messages that a call asks for: the fewer, the more arrives in each.
    want: usize,
}

/// What an error of receiving means.
enum Verdict {
    Again,
    Drained,
    Failed,
}

impl Receiver {
    pub(super) fn new(messages: usize, room: usize) -> Receiver {
        Receiver {
            calls: Receiving::new(messages, room),
            messages,
            want: messages,
        }
    }

    /// See [`super::Socket::receive`].
    pub(super) fn receive(
        &mut self,
        common: &Common,
        limit: usize,
        sink: &mut impl Sink,
    ) -> Result<usize, Error> {
        let mut received = 0;
        let mut reports = 0;
        while received < limit {
            let want = self.want.min(limit - received);
            let calls = common.abilities.get().calls();
            let result = self.calls.receive(common.fd, want, calls);
            common.count(|stats| stats.receive_calls += 1);
            match result {
                Ok(messages) => {
                    reports = 0;
                    let mut octets = 0;
                    for n in 0..messages {
                        let (datagrams, len) = self.deliver(common, n, sink)?;
                        received += datagrams;
                        octets += len;
                    }
                    if octets > CACHED {
                        self.want = (want / 2).max(2).min(self.messages);
                    } else if octets < CACHED / 4 {
                        self.want = (2 * self.want).min(self.messages);
                    }
                    // An error may be the reason for having got less: then the next call reports it.
                    if calls == Calls::Many && messages < want {
                        break;
                    }
                }
                Err(errno) => match judge(common, errno, calls, &mut reports) {
                    Verdict::Again => {}
                    Verdict::Drained => break,
                    // What was received already is told first.
                    Verdict::Failed if received > 0 => break,
                    Verdict::Failed => return Err(Error::Socket),
                },
            }
        }
        Ok(received)
    }

    /// Hands on one message; returns how many datagrams it was, and octets.
    fn deliver(
        &self,
        common: &Common,
        n: usize,
        sink: &mut impl Sink,
    ) -> Result<(usize, usize), Error> {
        let message = self.calls.message(n);
        let (Some(from), false) = (message.from, message.truncated) else {
            common.count(|stats| {
                if message.truncated {
                    stats.truncated += 1;
                } else {
                    stats.dropped_address += 1;
                }
            });
            return Ok((0, 0));
        };
        if let Some(local) = message
            .local
            .filter(|_| common.has(Abilities::LOCAL_ADDRESS))
        {
            let mut locals = common.locals.borrow_mut();
            locals.arrived(from, local, |peer| sink.is_ready(peer));
        }
        let ecn = if common.has(Abilities::ECN) {
            message.ecn
        } else {
            0
        };
        let segment = match message.segment {
            0 => message.data.len().max(1),
            segment => segment,
        };
        // A datagram may be empty.
        let count = message.data.len().div_ceil(segment).max(1);
        common.count(|stats| {
            stats.datagrams_received += count as u64;
            stats.bytes_received += message.data.len() as u64;
            stats.coalesced_received += u64::from(count > 1);
        });
        if message.data.is_empty() {
            sink.datagram(from, message.data, ecn)?;
        }
        for data in message.data.chunks(segment) {
            sink.datagram(from, data, ecn)?;
        }
        Ok((count, message.data.len()))
    }
}

fn judge(common: &Common, errno: Errno, calls: Calls, reports: &mut usize) -> Verdict {
    // EAGAIN and EWOULDBLOCK may be two numbers.
    #[allow(unreachable_patterns)]
    match errno {
        libc::EINTR => Verdict::Again,
        libc::EAGAIN | libc::EWOULDBLOCK => Verdict::Drained,
        // A sandbox.
        libc::EPERM | libc::EACCES | libc::ENOSYS if calls == Calls::Many => {
            common.drop_ability(Abilities::BATCH, errno);
            Verdict::Again
        }
        libc::EBADF | libc::ENOTSOCK | libc::EPERM | libc::EACCES | libc::EINVAL => {
            common.count(|stats| stats.receive_errors += 1);
            let error = std::io::Error::from_raw_os_error(errno);
            log::warn!("socket {}: receiving: {error}", common.fd);
            Verdict::Failed
        }
        _ => {
            common.count(|stats| stats.receive_errors += 1);
            *reports += 1;
            if *reports < REPORTS {
                Verdict::Again
            } else {
                Verdict::Drained
            }
        }
    }
}
