//! Datagrams to messages, and what it means when the kernel does not take one.
//!
//! Order is kept as it came: what was refused for now is not overtaken. A message is a run of neighbours that the kernel
//! can make of one buffer: the same peer, the same ECN field, the same length, only the last may be shorter.

use libc::c_int;

use super::syscalls::{Calls, Errno, Message, Sending};
use super::{Abilities, Common, Outgoing, SEGMENTS};

/// The most octets in one message: what a UDP datagram carries by IPv4.
const MESSAGE: usize = 65_507;

/// The system call.
pub(super) trait Transmit {
    /// Sends messages, or the first, as `calls` says; how many were sent. An error is the first one's.
    fn send(
        &mut self,
        fd: c_int,
        messages: &[Message],
        datagrams: &[Outgoing<'_>],
        calls: Calls,
    ) -> Result<usize, Errno>;
}

impl Transmit for Sending {
    fn send(
        &mut self,
        fd: c_int,
        messages: &[Message],
        datagrams: &[Outgoing<'_>],
        calls: Calls,
    ) -> Result<usize, Errno> {
        Sending::send(self, fd, messages, datagrams, calls)
    }
}

/// What to do after an error of one message.
enum Verdict {
    /// Try again, with what was changed meanwhile.
    Again,
    /// The socket is full.
    Full,
    /// The message's datagrams are lost.
    Lost,
}

/// How one call of [`Sender::send`] goes on after errors.
#[derive(Default)]
struct Course {
    /// Datagrams before this one go one by one: their message was refused.
    alone_until: usize,
    /// The first message goes by itself, to find out whether it or the call is to blame for this error.
    suspect: Option<Errno>,
    /// The datagram that has had its second try.
    retried: Option<usize>,
}

pub(super) struct Sender<T> {
    calls: T,
    plan: Vec<Message>,
}

impl<T: Transmit> Sender<T> {
    pub(super) fn new(calls: T) -> Sender<T> {
        Sender {
            calls,
            plan: Vec::with_capacity(SEGMENTS),
        }
    }

    /// See [`super::Socket::send`].
    pub(super) fn send(&mut self, common: &Common, datagrams: &[Outgoing<'_>]) -> usize {
        let mut done = 0;
        let mut course = Course::default();
        while done < datagrams.len() {
            self.plan(common, datagrams, done, course.alone_until);
            let mut calls = common.abilities.get().calls();
            if calls == Calls::Many && (self.plan.len() == 1 || course.suspect.is_some()) {
                calls = Calls::One;
            }
            let result = self.calls.send(common.fd, &self.plan, datagrams, calls);
            common.count(|stats| stats.send_calls += 1);
            match result {
                Ok(sent) => {
                    if let Some(errno) = course.suspect.take() {
                        common.drop_ability(Abilities::BATCH, errno);
                    }
                    // At least one, so that this ends.
                    for message in &self.plan[..sent.clamp(1, self.plan.len())] {
                        count_sent(common, message, datagrams);
                        done += message.count;
                    }
                }
                Err(errno) => {
                    let message = self.plan[0];
                    match judge(common, &mut course, &message, datagrams, errno, calls) {
                        Verdict::Again => {}
                        Verdict::Full => {
                            common.count(|stats| stats.full += 1);
                            break;
                        }
                        Verdict::Lost => {
                            count_lost(common, message.count as u64, errno);
                            done += message.count;
                        }
                    }
                }
            }
        }
        done
    }

    /// Makes messages of the datagrams from `first` on, as many as one system call takes.
    fn plan(
        &mut self,
        common: &Common,
        datagrams: &[Outgoing<'_>],
        first: usize,
        alone_until: usize,
    ) {
        self.plan.clear();
        let abilities = common.abilities.get();
        let segment = abilities.contains(Abilities::SEGMENT);
        let locals = common.locals.borrow();
        let end = datagrams.len().min(first + SEGMENTS);
        let mut at = first;
        while at < end {
            let run = &datagrams[at..end];
            let count = if segment && at >= alone_until {
                run_length(run)
            } else {
                1
            };
            let head = &run[0];
            self.plan.push(Message {
                first: at,
                count,
                class: (head.ecn != 0 && abilities.contains(Abilities::ECN))
                    .then_some(common.class | (head.ecn & 3)),
                local: abilities
                    .contains(Abilities::LOCAL_ADDRESS)
                    .then(|| locals.get(head.to))
                    .flatten(),
            });
            at += count;
        }
    }
}

/// How many datagrams, from the first on, fit into one message.
fn run_length(run: &[Outgoing<'_>]) -> usize {
    let head = &run[0];
    let len = head.data.len();
    if len == 0 {
        return 1;
    }
    let most = (MESSAGE / len).clamp(1, SEGMENTS);
    let fits = |next: &Outgoing<'_>| next.ecn == head.ecn && next.to == head.to;
    let equal = run
        .iter()
        .take(most)
        .take_while(|next| next.data.len() == len && fits(next))
        .count();
    match run.get(equal) {
        Some(last) if equal < most && (1..len).contains(&last.data.len()) && fits(last) => {
            equal + 1
        }
        _ => equal,
    }
}

/// What is to be done about an error of the first message.
fn judge(
    common: &Common,
    course: &mut Course,
    message: &Message,
    datagrams: &[Outgoing<'_>],
    errno: Errno,
    calls: Calls,
) -> Verdict {
    // EAGAIN and EWOULDBLOCK may be two numbers.
    #[allow(unreachable_patterns)]
    match errno {
        libc::EINTR => return Verdict::Again,
        libc::EAGAIN | libc::EWOULDBLOCK => return Verdict::Full,
        _ => {}
    }
    // A sandbox refuses the call, or a packet filter the datagram: the call for one message tells.
    if calls == Calls::Many && matches!(errno, libc::EPERM | libc::EACCES | libc::ENOSYS) {
        course.suspect = Some(errno);
        return Verdict::Again;
    }
    course.suspect = None;
    // The address was this machine's, and is not any more, or it does not lead to the peer.
    let unusable = matches!(
        errno,
        libc::EINVAL
            | libc::EADDRNOTAVAIL
            | libc::ENODEV
            | libc::ENXIO
            | libc::ENETUNREACH
            | libc::EHOSTUNREACH
    );
    if message.local.is_some() && unusable {
        common
            .locals
            .borrow_mut()
            .forget(datagrams[message.first].to);
        return Verdict::Again;
    }
    if message.count > 1
        && matches!(
            errno,
            libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::ENOBUFS | libc::ENOMEM
        )
    {
        // An interface without checksum offload answers EIO, other obstacles EINVAL: they are there the next time too.
        // For the others each datagram deserves an answer of its own.
        if matches!(errno, libc::EIO | libc::EINVAL) {
            common.drop_ability(Abilities::SEGMENT, errno);
        }
        course.alone_until = message.first + message.count;
        return Verdict::Again;
    }
    // Only ever said of a datagram that was sent before, to somebody.
    if errno == libc::ECONNREFUSED && course.retried.replace(message.first) != Some(message.first) {
        return Verdict::Again;
    }
    Verdict::Lost
}

fn count_sent(common: &Common, message: &Message, datagrams: &[Outgoing<'_>]) {
    let parts = &datagrams[message.first..message.first + message.count];
    let octets: usize = parts.iter().map(|datagram| datagram.data.len()).sum();
    common.count(|stats| {
        stats.datagrams_sent += message.count as u64;
        stats.bytes_sent += octets as u64;
        stats.segmented_sent += u64::from(message.count > 1);
    });
}

fn count_lost(common: &Common, datagrams: u64, errno: Errno) {
    common.count(|stats| {
        let count = match errno {
            libc::EMSGSIZE => &mut stats.lost_too_large,
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EADDRNOTAVAIL
            | libc::ECONNREFUSED => &mut stats.lost_unreachable,
            libc::EPERM | libc::EACCES => &mut stats.lost_refused,
            libc::ENOBUFS | libc::ENOMEM => &mut stats.lost_no_buffers,
            _ => &mut stats.lost_other,
        };
        *count += datagrams;
    });
}
