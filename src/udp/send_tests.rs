//! Sending against a kernel that does as it is told: refusals that no real socket gives on demand.

use std::collections::VecDeque;
use std::net::SocketAddr;

use libc::c_int;

use super::send::{Sender, Transmit};
use super::syscalls::{Calls, Errno, Message};
use super::{Abilities, Common, Local, Outgoing};

/// One system call as it was seen: how, and each message's datagrams by their first octet.
#[derive(Debug, PartialEq, Eq)]
struct Seen(Calls, Vec<Vec<u8>>);

/// What the kernel answers, call by call; then it takes everything.
#[derive(Default)]
struct Kernel {
    answers: VecDeque<Result<usize, Errno>>,
    /// Answers that depend on the message, looked at first.
    refuses: Option<Box<dyn Fn(&Message, Calls) -> Option<Errno>>>,
    seen: Vec<Seen>,
    taken: Vec<u8>,
}

impl Transmit for &mut Kernel {
    fn send(
        &mut self,
        _: c_int,
        messages: &[Message],
        datagrams: &[Outgoing<'_>],
        calls: Calls,
    ) -> Result<usize, Errno> {
        let messages = match calls {
            Calls::Many => messages,
            Calls::One | Calls::Plain => &messages[..1],
        };
        let marks = |message: &Message| -> Vec<u8> {
            let parts = &datagrams[message.first..message.first + message.count];
            parts.iter().map(|datagram| datagram.data[0]).collect()
        };
        self.seen
            .push(Seen(calls, messages.iter().map(marks).collect()));
        if let Some(errno) = self.refuses.as_ref().and_then(|f| f(&messages[0], calls)) {
            return Err(errno);
        }
        let sent = self.answers.pop_front().unwrap_or(Ok(messages.len()))?;
        let sent = sent.min(messages.len());
        self.taken.extend(messages[..sent].iter().flat_map(marks));
        Ok(sent)
    }
}

fn kernel<const N: usize>(answers: [Result<usize, Errno>; N]) -> Kernel {
    Kernel {
        answers: answers.into(),
        ..Kernel::default()
    }
}

const WITHOUT_SEGMENTS: Abilities = Abilities(Abilities::ALL.0 & !Abilities::SEGMENT.0);

fn common(abilities: Abilities) -> Common {
    Common::new(-1, abilities, 0xB8)
}

fn peer(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 9001))
}

/// Datagrams, whose first octets are their numbers: (peer, length, ECN field).
fn datagrams(list: &[(u8, usize, u8)]) -> Vec<(SocketAddr, Vec<u8>, u8)> {
    let make =
        |(n, (to, len, ecn)): (usize, &(u8, usize, u8))| (peer(*to), vec![n as u8; *len], *ecn);
    list.iter().enumerate().map(make).collect()
}

fn outgoing(datagrams: &[(SocketAddr, Vec<u8>, u8)]) -> Vec<Outgoing<'_>> {
    datagrams
        .iter()
        .map(|(to, data, ecn)| Outgoing {
            to: *to,
            data,
            ecn: *ecn,
        })
        .collect()
}

fn send(kernel: &mut Kernel, common: &Common, list: &[(u8, usize, u8)]) -> usize {
    let datagrams = datagrams(list);
    Sender::new(kernel).send(common, &outgoing(&datagrams))
}

/// The messages of the first system call.
fn messages(abilities: Abilities, list: &[(u8, usize, u8)]) -> Vec<Vec<u8>> {
    let mut kernel = Kernel::default();
    assert_eq!(send(&mut kernel, &common(abilities), list), list.len());
    kernel.seen.remove(0).1
}

#[test]
fn neighbours_that_are_alike_become_one_message() {
    let one = [(1, 100, 2); 5];
    assert_eq!(messages(Abilities::ALL, &one), [[0, 1, 2, 3, 4]]);
    let alone: Vec<Vec<u8>> = (0..5).map(|n| vec![n]).collect();
    assert_eq!(messages(WITHOUT_SEGMENTS, &one), alone);
}

#[test]
fn a_shorter_datagram_ends_a_message_and_a_longer_one_begins_one() {
    let list = [(1, 100, 0), (1, 100, 0), (1, 50, 0), (1, 50, 0), (1, 60, 0)];
    assert_eq!(
        messages(Abilities::ALL, &list),
        [vec![0, 1, 2], vec![3], vec![4]]
    );
}

#[test]
fn another_peer_or_ecn_field_begins_a_message_and_nothing_overtakes() {
    let list = [
        (1, 100, 0),
        (2, 100, 0),
        (1, 100, 0),
        (1, 100, 2),
        (1, 80, 0),
    ];
    assert_eq!(
        messages(Abilities::ALL, &list),
        [vec![0], vec![1], vec![2], vec![3], vec![4]]
    );
}

#[test]
fn a_message_has_64_datagrams_and_65507_octets_at_most() {
    let lengths = |list: &[(u8, usize, u8)]| -> Vec<usize> {
        messages(Abilities::ALL, list)
            .iter()
            .map(Vec::len)
            .collect()
    };
    assert_eq!(lengths(&[(1, 1472, 0); 64]), [44, 20]);
    assert_eq!(lengths(&[(1, 1023, 0); 64]), [64]);
    assert_eq!(lengths(&[(1, 40_000, 0); 3]), [1, 1, 1]);
    let mut odd = vec![(1, 30_000, 0); 2];
    odd.push((1, 5_507, 0));
    assert_eq!(lengths(&odd), [2, 1], "what fits only when short waits");
}

#[test]
fn every_datagram_is_sent_also_when_there_are_more_than_a_call_takes() {
    let mut kernel = Kernel::default();
    let list = [(1, 1400, 0); 200];
    assert_eq!(send(&mut kernel, &common(Abilities::ALL), &list), 200);
    assert_eq!(kernel.taken, (0..200).collect::<Vec<u8>>());
}

#[test]
fn what_a_call_did_not_take_is_offered_by_the_next() {
    let mut kernel = kernel([Ok(2), Ok(1)]);
    let common = common(Abilities::ALL);
    let list = [(1, 9, 0), (2, 9, 0), (2, 9, 0), (3, 9, 0), (4, 9, 0)];
    assert_eq!(send(&mut kernel, &common, &list), 5);
    assert_eq!(kernel.taken, [0, 1, 2, 3, 4]);
    assert_eq!(kernel.seen.len(), 3);
    assert_eq!(common.stats.borrow().datagrams_sent, 5);
    assert_eq!(common.stats.borrow().bytes_sent, 45);
    assert_eq!(common.stats.borrow().segmented_sent, 1);
}

#[test]
fn a_full_socket_ends_it_and_nothing_is_lost_or_reordered() {
    for abilities in [Abilities::ALL, WITHOUT_SEGMENTS, Abilities::NONE] {
        let mut kernel = kernel([Ok(1), Ok(1), Err(libc::EAGAIN), Err(libc::EAGAIN)]);
        let common = common(abilities);
        let list = datagrams(&[(1, 9, 0), (2, 9, 0), (3, 9, 0), (4, 9, 0)]);
        let all = outgoing(&list);
        let mut done = Sender::new(&mut kernel).send(&common, &all);
        assert_eq!(done, 2, "{abilities:?}");
        done += Sender::new(&mut kernel).send(&common, &all[done..]);
        assert_eq!(done, 2);
        done += Sender::new(&mut kernel).send(&common, &all[done..]);
        assert_eq!(done, 4);
        assert_eq!(kernel.taken, [0, 1, 2, 3]);
        assert_eq!(common.stats.borrow().full, 2);
    }
}

#[test]
fn an_interrupted_call_is_repeated() {
    let mut kernel = kernel([Err(libc::EINTR), Err(libc::EINTR)]);
    assert_eq!(send(&mut kernel, &common(Abilities::ALL), &[(1, 9, 0)]), 1);
    assert_eq!(kernel.seen.len(), 3);
}

#[test]
fn an_error_costs_the_datagrams_that_it_concerns_and_is_counted() {
    let mut kernel = kernel([Ok(1), Err(libc::ENETUNREACH), Ok(1), Err(libc::EPERM)]);
    let common = common(Abilities::ALL.without(Abilities::BATCH));
    let list = [
        (1, 9, 0),
        (2, 9, 0),
        (2, 9, 0),
        (3, 9, 0),
        (4, 9, 0),
        (5, 9, 0),
    ];
    assert_eq!(send(&mut kernel, &common, &list), 6);
    assert_eq!(kernel.taken, [0, 3, 5]);
    let stats = *common.stats.borrow();
    assert_eq!((stats.lost_unreachable, stats.lost_refused), (2, 1));
    assert_eq!(stats.datagrams_sent, 3);
}

#[test]
fn segmentation_that_does_not_work_is_given_up_and_nothing_is_lost() {
    for errno in [libc::EIO, libc::EINVAL] {
        let mut kernel = Kernel {
            refuses: Some(Box::new(move |message, _| {
                (message.count > 1).then_some(errno)
            })),
            ..Kernel::default()
        };
        let common = common(Abilities::ALL);
        assert_eq!(
            send(&mut kernel, &common, &[(1, 100, 0); 10]),
            10,
            "{errno}"
        );
        assert_eq!(kernel.taken, (0..10).collect::<Vec<u8>>());
        assert_eq!(common.abilities.get(), WITHOUT_SEGMENTS);
        assert_eq!(kernel.seen.len(), 2, "tried once, then never again");
        assert_eq!(send(&mut kernel, &common, &[(1, 100, 0); 10]), 10);
        assert_eq!(kernel.seen.len(), 3);
    }
}

#[test]
fn too_large_or_too_much_at_once_is_tried_one_by_one_and_segmentation_stays() {
    let mut kernel = Kernel {
        refuses: Some(Box::new(move |message, _| {
            (message.count > 1).then_some(libc::ENOBUFS)
        })),
        ..Kernel::default()
    };
    let common = common(Abilities::ALL);
    assert_eq!(send(&mut kernel, &common, &[(1, 100, 0); 10]), 10);
    assert_eq!(kernel.taken, (0..10).collect::<Vec<u8>>());
    assert!(common.has(Abilities::SEGMENT));

    let mut kernel = Kernel {
        refuses: Some(Box::new(move |message, _| {
            (message.first < 2).then_some(libc::EMSGSIZE)
        })),
        ..Kernel::default()
    };
    assert_eq!(send(&mut kernel, &common, &[(1, 100, 0); 4]), 4);
    assert_eq!(kernel.taken, [2, 3]);
    assert_eq!(common.stats.borrow().lost_too_large, 2);
}

#[test]
fn a_full_interface_loses_the_datagram_and_goes_on() {
    let mut kernel = kernel([Err(libc::ENOBUFS)]);
    let common = common(Abilities::ALL);
    assert_eq!(send(&mut kernel, &common, &[(1, 9, 0), (2, 9, 0)]), 2);
    assert_eq!(kernel.taken, [1]);
    assert_eq!(common.stats.borrow().lost_no_buffers, 1);
}

#[test]
fn a_sandbox_that_knows_no_sendmmsg_is_coped_with() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let mut kernel = Kernel {
            refuses: Some(Box::new(move |_, calls| {
                (calls == Calls::Many).then_some(errno)
            })),
            ..Kernel::default()
        };
        let common = common(Abilities::ALL);
        let list = [(1, 9, 0), (2, 9, 0), (2, 9, 0), (3, 9, 0)];
        assert_eq!(send(&mut kernel, &common, &list), 4, "{errno}");
        assert_eq!(kernel.taken, [0, 1, 2, 3]);
        assert_eq!(
            common.abilities.get(),
            Abilities::ALL.without(Abilities::BATCH)
        );
        assert_eq!(common.stats.borrow().lost_refused, 0);
    }
}

#[test]
fn a_packet_filter_is_not_taken_for_a_sandbox() {
    let mut kernel = Kernel {
        refuses: Some(Box::new(move |message, _| {
            (message.first == 1).then_some(libc::EPERM)
        })),
        ..Kernel::default()
    };
    let common = common(Abilities::ALL);
    let list = [(1, 9, 0), (2, 9, 0), (3, 9, 0), (4, 9, 0)];
    // The kernel stops ahead of the one that is refused.
    kernel.answers.push_back(Ok(1));
    assert_eq!(send(&mut kernel, &common, &list), 4);
    assert_eq!(kernel.taken, [0, 2, 3]);
    assert!(common.has(Abilities::BATCH));
    assert_eq!(common.stats.borrow().lost_refused, 1);
}

#[test]
fn an_address_that_is_gone_is_forgotten_and_the_datagram_sent_without() {
    let mut kernel = Kernel {
        refuses: Some(Box::new(move |message, _| {
            message.local.map(|_| libc::EINVAL)
        })),
        ..Kernel::default()
    };
    let common = common(Abilities::ALL);
    let local = Local {
        ip: [192, 0, 2, 99].into(),
        interface: 0,
    };
    common
        .locals
        .borrow_mut()
        .arrived(peer(1), local, |_| false);
    assert_eq!(send(&mut kernel, &common, &[(1, 100, 0); 3]), 3);
    assert_eq!(kernel.taken, [0, 1, 2]);
    assert!(common.has(Abilities::SEGMENT), "it was not to blame");
    assert_eq!(common.locals.borrow().get(peer(1)), None);
}

#[test]
fn a_report_on_another_datagram_costs_nothing_but_a_permanent_one_is_no_circle() {
    let common = common(Abilities::ALL);
    let mut once = kernel([Err(libc::ECONNREFUSED)]);
    assert_eq!(send(&mut once, &common, &[(1, 9, 0), (2, 9, 0)]), 2);
    assert_eq!(once.taken, [0, 1]);
    let mut always = Kernel {
        refuses: Some(Box::new(move |_, _| Some(libc::ECONNREFUSED))),
        ..Kernel::default()
    };
    assert_eq!(send(&mut always, &common, &[(1, 9, 0), (2, 9, 0)]), 2);
    assert_eq!(common.stats.borrow().lost_unreachable, 2);
}

#[test]
fn the_sockets_own_type_of_service_is_kept_beside_the_ecn_field() {
    struct Classes(Vec<Option<u8>>);
    impl Transmit for &mut Classes {
        fn send(
            &mut self,
            _: c_int,
            messages: &[Message],
            _: &[Outgoing<'_>],
            _: Calls,
        ) -> Result<usize, Errno> {
            self.0.extend(messages.iter().map(|message| message.class));
            Ok(messages.len())
        }
    }
    let list = datagrams(&[(1, 9, 0), (1, 9, 2)]);
    for (abilities, expected) in [
        (Abilities::ALL, [None, Some(0xB8 | 2)]),
        (Abilities::ALL.without(Abilities::ECN), [None, None]),
    ] {
        let mut classes = Classes(Vec::new());
        Sender::new(&mut classes).send(&common(abilities), &outgoing(&list));
        classes.0.resize(2, None);
        assert_eq!(classes.0, expected);
    }
}
