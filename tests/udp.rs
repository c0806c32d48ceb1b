//! Batched socket I/O over real sockets on loopback: with all that the system offers, with some of it, and with
//! sendto and recvfrom.
//!
//! Nothing here depends on how long something takes; `PATIENCE` ends what hangs.
#![allow(unsafe_code)] // an option of sockets

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use utcp::error::Error;
use utcp::udp::{Abilities, Options, Outgoing, Sink, Socket};

const PATIENCE: Duration = Duration::from_secs(120);

/// What the sockets are told to do without.
const MODES: [Abilities; 6] = [
    Abilities::NONE,
    Abilities::SEGMENT,
    Abilities::COALESCE,
    Abilities(Abilities::SEGMENT.0 | Abilities::COALESCE.0),
    Abilities::BATCH,
    Abilities::ALL,
];

/// Whether the system calls of Linux are in use.
const LINUX: bool = cfg!(all(target_os = "linux", not(utcp_portable)));

/// A socket and what was received from it.
struct Node {
    udp: UdpSocket,
    socket: Socket,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Received {
    from: SocketAddr,
    data: Vec<u8>,
    ecn: u8,
}

#[derive(Default)]
struct Log {
    received: Vec<Received>,
    ready: bool,
}

impl Sink for Log {
    fn is_ready(&self, _: SocketAddr) -> bool {
        self.ready
    }

    fn datagram(&mut self, from: SocketAddr, data: &[u8], ecn: u8) -> Result<(), Error> {
        let data = data.to_vec();
        self.received.push(Received { from, data, ecn });
        Ok(())
    }
}

impl Node {
    fn new(address: &str, without: Abilities) -> Node {
        Node::with(
            address,
            Options {
                without,
                ..Options::default()
            },
        )
    }

    fn with(address: &str, options: Options) -> Node {
        let udp = UdpSocket::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        udp.set_read_timeout(Some(PATIENCE)).unwrap();
        let socket = Socket::new(udp.as_raw_fd(), options).unwrap();
        Node { udp, socket }
    }

    fn address(&self) -> SocketAddr {
        self.udp.local_addr().unwrap()
    }

    /// Waits until something is there.
    fn wait(&self) {
        self.udp.peek_from(&mut [0; 1]).expect("something arrives");
    }

    /// Receives until there are so many.
    fn receive(&self, count: usize) -> Vec<Received> {
        let mut log = Log::default();
        while log.received.len() < count {
            self.wait();
            let before = log.received.len();
            let received = self.socket.receive(1000, &mut log).unwrap();
            assert_eq!(received, log.received.len() - before);
        }
        log.received
    }

    fn send(&self, list: &[(SocketAddr, Vec<u8>, u8)]) {
        let outgoing = outgoing(list);
        let mut done = 0;
        while done < outgoing.len() {
            let some = &outgoing[done..outgoing.len().min(done + 64)];
            let sent = self.socket.send(some);
            assert_eq!(sent, some.len(), "loopback takes everything");
            done += sent;
        }
    }
}

fn outgoing(list: &[(SocketAddr, Vec<u8>, u8)]) -> Vec<Outgoing<'_>> {
    list.iter()
        .map(|(to, data, ecn)| Outgoing {
            to: *to,
            data,
            ecn: *ecn,
        })
        .collect()
}

/// Data that tells which datagram it is, all over its length.
fn payload(n: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (n * 31 + at * 7) as u8).collect()
}

fn contents(received: &[Received]) -> Vec<(&[u8], u8)> {
    received.iter().map(|r| (&r.data[..], r.ecn)).collect()
}

#[test]
fn a_socket_can_be_handed_to_another_thread() {
    fn is_send<T: Send>(node: T) -> T {
        node
    }
    let (a, b) = (
        is_send(Node::new("127.0.0.1:0", Abilities::NONE)),
        Node::new("127.0.0.1:0", Abilities::NONE),
    );
    let list: Vec<_> = (0..9).map(|n| (b.address(), payload(n, 100), 0)).collect();
    a.send(&list);
    let back = (a.address(), payload(9, 100), 0);
    let received = b.receive(9);
    assert_eq!(received.len(), 9);
    b.send(std::slice::from_ref(&back));
    let there = move || {
        let received = a.receive(1);
        a.send(&list);
        received
    };
    let answer = std::thread::spawn(there).join().unwrap();
    assert_eq!(contents(&answer), [(&back.1[..], 0)]);
    assert_eq!(b.receive(9), received);
}

#[test]
fn linux_has_all_abilities_and_they_can_be_done_without() {
    let node = Node::new("127.0.0.1:0", Abilities::NONE);
    let wildcard = Node::new("0.0.0.0:0", Abilities::NONE);
    if LINUX {
        assert_eq!(
            node.socket.abilities(),
            Abilities::ALL.without(Abilities::LOCAL_ADDRESS),
            "there is one address only"
        );
        assert_eq!(wildcard.socket.abilities(), Abilities::ALL);
        for without in MODES {
            let wildcard = Node::new("0.0.0.0:0", without);
            assert_eq!(wildcard.socket.abilities(), Abilities::ALL.without(without));
        }
    }
    let none = Node::new("0.0.0.0:0", Abilities::ALL);
    assert_eq!(none.socket.abilities(), Abilities::NONE);
}

#[test]
fn datagrams_of_all_lengths_arrive_once_and_in_order() {
    for sends in MODES {
        for receives in MODES {
            let (a, b) = (
                Node::new("127.0.0.1:0", sends),
                Node::new("127.0.0.1:0", receives),
            );
            // Runs of equal length with a shorter end, lone ones, empty ones, the largest.
            let lengths = [
                1432, 1432, 1432, 700, 1432, 1432, 0, 0, 1, 1, 2, 65_507, 1432, 9,
            ];
            let list: Vec<_> = (0..8 * lengths.len())
                .map(|n| (b.address(), payload(n, lengths[n % lengths.len()]), 0))
                .collect();
            for part in list.chunks(lengths.len()) {
                a.send(part);
                let received = b.receive(part.len());
                let sent: Vec<_> = part.iter().map(|(_, data, _)| (&data[..], 0)).collect();
                assert_eq!(contents(&received), sent, "{sends:?} {receives:?}");
                assert!(received.iter().all(|r| r.from == a.address()));
            }
            let (sent, received) = (a.socket.stats(), b.socket.stats());
            assert_eq!(sent.datagrams_sent, list.len() as u64);
            assert_eq!(received.datagrams_received, list.len() as u64);
            assert_eq!(sent.bytes_sent, received.bytes_received);
        }
    }
}

#[test]
fn what_is_alike_leaves_and_arrives_as_one_message() {
    let (a, b) = (
        Node::new("127.0.0.1:0", Abilities::NONE),
        Node::new("127.0.0.1:0", Abilities::NONE),
    );
    let list: Vec<_> = (0..64)
        .map(|n| (b.address(), payload(n, 1000), 0))
        .collect();
    a.send(&list);
    let received = b.receive(64);
    assert_eq!(received.len(), 64);
    if LINUX {
        let (sent, received) = (a.socket.stats(), b.socket.stats());
        assert_eq!((sent.send_calls, sent.segmented_sent), (1, 1));
        assert_eq!(received.coalesced_received, 1);
        assert!(received.receive_calls <= 2, "{received:?}");
    }
}

#[test]
fn a_batch_for_several_peers_reaches_each_in_order() {
    for without in MODES {
        let sender = Node::new("127.0.0.1:0", without);
        let peers: Vec<Node> = (0..3).map(|_| Node::new("127.0.0.1:0", without)).collect();
        // Runs of one to five datagrams.
        let whose: Vec<usize> = (0..60)
            .map(|n| [0, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 1][n % 12])
            .collect();
        let list: Vec<_> = whose
            .iter()
            .enumerate()
            .map(|(n, peer)| (peers[*peer].address(), payload(n, 800), 0))
            .collect();
        sender.send(&list);
        for (p, peer) in peers.iter().enumerate() {
            let expected: Vec<_> = (0..list.len())
                .filter(|n| whose[*n] == p)
                .map(|n| (&list[n].1[..], 0))
                .collect();
            assert_eq!(
                contents(&peer.receive(expected.len())),
                expected,
                "{without:?}"
            );
        }
    }
}

#[test]
fn the_ecn_field_travels_both_ways() {
    for (here, there) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("[::1]:0", "[::1]:0"),
        ("127.0.0.1:0", "[::]:0"),
    ] {
        for without in MODES {
            let (a, b) = (Node::new(here, without), Node::new(there, without));
            let mut to_b = b.address();
            if to_b.ip().is_unspecified() {
                to_b.set_ip(a.address().ip());
            }
            let ecn: Vec<u8> = (0..40).map(|n| [0, 2, 2, 3, 1, 1, 0, 0][n % 8]).collect();
            let list = |to: SocketAddr| -> Vec<_> {
                ecn.iter()
                    .enumerate()
                    .map(|(n, ecn)| (to, payload(n, 500), *ecn))
                    .collect()
            };
            let known = LINUX && without != Abilities::ALL;
            let expected: Vec<u8> = ecn.iter().map(|e| if known { *e } else { 0 }).collect();
            for (from, to, address) in [(&a, &b, to_b), (&b, &a, a.address())] {
                from.send(&list(address));
                let got: Vec<u8> = to.receive(ecn.len()).iter().map(|r| r.ecn).collect();
                assert_eq!(got, expected, "{here} {there} {without:?}");
            }
        }
    }
}

#[test]
fn without_ecn_the_field_is_neither_set_nor_read() {
    let (a, b, c) = (
        Node::new("127.0.0.1:0", Abilities::NONE),
        Node::new("127.0.0.1:0", Abilities::ECN),
        Node::new("127.0.0.1:0", Abilities::NONE),
    );
    a.send(&[(b.address(), payload(1, 10), 3)]);
    assert_eq!(b.receive(1)[0].ecn, 0);
    b.send(&[(c.address(), payload(1, 10), 3)]);
    assert_eq!(c.receive(1)[0].ecn, 0);
}

#[test]
fn a_message_that_is_too_long_is_dropped_and_counted_and_others_are_not() {
    for without in MODES {
        let options = Options {
            without,
            messages: 4,
            room: 1000,
        };
        let (a, b) = (
            Node::new("127.0.0.1:0", without),
            Node::with("127.0.0.1:0", options),
        );
        let lengths = [900, 1001, 5, 3000, 999];
        for (n, len) in lengths.iter().enumerate() {
            // One by one, so that nothing is coalesced with what is too long.
            a.send(&[(b.address(), payload(n, *len), 0)]);
        }
        let received = b.receive(3);
        let got: Vec<usize> = received.iter().map(|r| r.data.len()).collect();
        assert_eq!(got, [900, 5, 999], "{without:?}");
        assert_eq!(b.socket.stats().truncated, 2);
    }
}

#[test]
fn the_bound_on_datagrams_holds_and_the_rest_waits() {
    for without in MODES {
        let (a, b) = (
            Node::new("127.0.0.1:0", without),
            Node::new("127.0.0.1:0", without),
        );
        // Nothing that could be coalesced.
        let list: Vec<_> = (0..60)
            .map(|n| (b.address(), payload(n, 100 + n), 0))
            .collect();
        a.send(&list);
        let mut log = Log::default();
        while log.received.len() < 60 {
            b.wait();
            let before = log.received.len();
            let received = b.socket.receive(7, &mut log).unwrap();
            assert!((1..=7).contains(&received), "{received}");
            assert_eq!(log.received.len(), before + received);
        }
        assert_eq!(b.socket.receive(7, &mut log), Ok(0), "nothing waits");
        let sent: Vec<_> = list.iter().map(|(_, data, _)| (&data[..], 0)).collect();
        assert_eq!(contents(&log.received), sent);
    }
}

#[cfg(all(target_os = "linux", not(utcp_portable)))]
/// A server on all addresses; what it answers comes from where it was spoken to.
fn answers_come_from(server: &str, spoken_to: &str, client: &str) {
    let (server, client) = (
        Node::new(server, Abilities::NONE),
        Node::new(client, Abilities::NONE),
    );
    let to = SocketAddr::new(spoken_to.parse().unwrap(), server.address().port());
    client.send(&[(to, payload(0, 10), 0)]);
    let heard = server.receive(1);
    // As the endpoint hands addresses out.
    let back = SocketAddr::new(heard[0].from.ip().to_canonical(), heard[0].from.port());
    assert_eq!(back, client.address());
    // A run, and one alone.
    server.send(&[
        (back, payload(1, 100), 0),
        (back, payload(2, 100), 0),
        (back, payload(3, 200), 2),
    ]);
    for answer in client.receive(3) {
        assert_eq!(answer.from, to);
    }
}

#[cfg(all(target_os = "linux", not(utcp_portable)))]
#[test]
fn a_peer_is_answered_from_the_address_that_it_spoke_to() {
    answers_come_from("0.0.0.0:0", "127.0.0.2", "127.0.0.1:0");
    answers_come_from("[::]:0", "127.0.0.2", "127.0.0.1:0");
    answers_come_from("[::]:0", "::1", "[::1]:0");
}

#[cfg(all(target_os = "linux", not(utcp_portable)))]
#[test]
fn a_ready_peer_is_not_led_elsewhere() {
    let (server, client) = (
        Node::new("0.0.0.0:0", Abilities::NONE),
        Node::new("127.0.0.1:0", Abilities::NONE),
    );
    let port = server.address().port();
    let answer_comes_from = |spoken_to: [u8; 4], ready: bool| -> std::net::IpAddr {
        client.send(&[(SocketAddr::from((spoken_to, port)), payload(0, 10), 0)]);
        server.wait();
        let mut log = Log {
            ready,
            ..Log::default()
        };
        assert_eq!(server.socket.receive(10, &mut log), Ok(1));
        server.send(&[(client.address(), payload(1, 10), 0)]);
        client.receive(1)[0].from.ip()
    };
    assert_eq!(
        answer_comes_from([127, 0, 0, 2], false),
        std::net::IpAddr::from([127, 0, 0, 2])
    );
    assert_eq!(
        answer_comes_from([127, 0, 0, 3], false),
        std::net::IpAddr::from([127, 0, 0, 3])
    );
    assert_eq!(
        answer_comes_from([127, 0, 0, 4], true),
        std::net::IpAddr::from([127, 0, 0, 3])
    );
}

#[test]
fn what_cannot_be_sent_is_lost_and_counted_and_the_rest_arrives() {
    for without in MODES {
        let (a, b) = (
            Node::new("127.0.0.1:0", without),
            Node::new("127.0.0.1:0", without),
        );
        // No IPv6 on this socket; no datagram is so long.
        let nowhere: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
        a.send(&[
            (b.address(), payload(0, 10), 0),
            (nowhere, payload(1, 10), 0),
            (b.address(), payload(2, 10), 0),
            (b.address(), vec![0; 65_508], 0),
            (b.address(), payload(4, 10), 0),
        ]);
        let got: Vec<Vec<u8>> = b.receive(3).into_iter().map(|r| r.data).collect();
        assert_eq!(got, [payload(0, 10), payload(2, 10), payload(4, 10)]);
        let stats = a.socket.stats();
        assert_eq!(stats.datagrams_sent, 3);
        assert_eq!(stats.lost_too_large, 1, "{stats:?}");
        assert_eq!(stats.lost_other + stats.lost_unreachable, 1, "{stats:?}");
    }
}

#[test]
fn only_udp_sockets_are_taken() {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (unix, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let file = std::fs::File::open(env!("CARGO_MANIFEST_DIR")).unwrap();
    for fd in [tcp.as_raw_fd(), unix.as_raw_fd(), file.as_raw_fd(), -1] {
        let result = Socket::new(fd, Options::default());
        assert_eq!(result.err(), Some(Error::Socket));
    }
}

#[test]
fn what_the_sink_refuses_ends_the_receiving() {
    struct Refusing;
    impl Sink for Refusing {
        fn is_ready(&self, _: SocketAddr) -> bool {
            false
        }
        fn datagram(&mut self, _: SocketAddr, _: &[u8], _: u8) -> Result<(), Error> {
            Err(Error::Internal)
        }
    }
    let (a, b) = (
        Node::new("127.0.0.1:0", Abilities::NONE),
        Node::new("127.0.0.1:0", Abilities::NONE),
    );
    a.send(&[(b.address(), payload(0, 10), 0)]);
    b.wait();
    assert_eq!(b.socket.receive(10, &mut Refusing), Err(Error::Internal));
}

#[test]
fn the_socket_can_send_and_be_asked_while_it_receives() {
    struct Echo<'a>(&'a Socket, usize);
    impl Sink for Echo<'_> {
        fn is_ready(&self, _: SocketAddr) -> bool {
            false
        }
        fn datagram(&mut self, from: SocketAddr, data: &[u8], ecn: u8) -> Result<(), Error> {
            let sent = self.0.send(&[Outgoing {
                to: from,
                data,
                ecn,
            }]);
            assert_eq!(sent, 1);
            assert_eq!(self.0.stats().datagrams_sent, self.1 as u64 + 1);
            // Receiving inside of receiving would overwrite what is being looked at.
            let mut log = Log::default();
            assert_eq!(self.0.receive(1, &mut log), Err(Error::Busy));
            self.1 += 1;
            Ok(())
        }
    }
    let (a, b) = (
        Node::new("127.0.0.1:0", Abilities::NONE),
        Node::new("127.0.0.1:0", Abilities::NONE),
    );
    let list: Vec<_> = (0..20).map(|n| (b.address(), payload(n, 50), 2)).collect();
    a.send(&list);
    let mut echo = Echo(&b.socket, 0);
    while echo.1 < 20 {
        b.wait();
        b.socket.receive(100, &mut echo).unwrap();
    }
    let sent: Vec<_> = list.iter().map(|(_, data, _)| &data[..]).collect();
    let back = a.receive(20);
    let back: Vec<_> = back.iter().map(|r| &r.data[..]).collect();
    assert_eq!(back, sent);
}

#[cfg(target_os = "linux")]
/// Runs a test of this file again where loopback is a slow link, so that sockets fill up: in a network namespace of its
/// own. Returns whether this is the second run.
fn on_a_slow_link(name: &str) -> bool {
    const INSIDE: &str = "UTCP_TEST_SLOW_LINK";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let script = "ip link set lo up && tc qdisc add dev lo root tbf rate 20mbit burst 4k limit 8m \
                  && exec \"$0\" --exact \"$1\" --nocapture";
    let output = std::process::Command::new("unshare")
        .args(["--net", "--map-root-user", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(INSIDE, "1")
        .output()
        .expect("unshare, of util-linux");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    false
}

#[cfg(target_os = "linux")]
/// Makes the buffer of a socket's sending side smaller than that of the other's receiving side.
fn shrink_send_buffer(udp: &UdpSocket) {
    let octets: libc::c_int = 16 << 10;
    let len = size_of_val(&octets) as libc::socklen_t;
    let fd = udp.as_raw_fd();
    // SAFETY: the kernel reads an int.
    let result = unsafe {
        let value = (&raw const octets).cast();
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, value, len)
    };
    assert_eq!(result, 0);
}

#[cfg(target_os = "linux")]
/// Messages that loopback has lost in this namespace: its backlog is shared with the whole machine.
fn lost_on_the_way() -> u64 {
    let text = std::fs::read_to_string("/proc/net/dev").unwrap();
    let lo = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"))
        .expect("loopback");
    let dropped = lo.split_whitespace().nth(3).expect("its fourth column");
    dropped.parse().unwrap()
}

#[cfg(target_os = "linux")]
/// Whether it was found out: not if the network has lost something.
fn a_full_socket_goes_on(without: Abilities) -> bool {
    // On their way, or not read yet: more than the sending socket has room for, so that it fills up, and less than the
    // receiving one has (some 100 datagrams), however long this thread is kept waiting.
    const WINDOW: usize = 48;
    let (a, b) = (
        Node::new("127.0.0.1:0", without),
        Node::new("127.0.0.1:0", without),
    );
    shrink_send_buffer(&a.udp);
    b.udp.set_read_timeout(Some(PATIENCE / 60)).unwrap();
    let lost_before = lost_on_the_way();
    let list: Vec<_> = (0..600)
        .map(|n| (b.address(), payload(n, [1000, 1000, 1000, 400][n % 4]), 0))
        .collect();
    let all = outgoing(&list);
    let mut done = 0;
    let mut log = Log::default();
    let mut silences = 0;
    while log.received.len() < all.len() {
        let end = all.len().min(log.received.len() + WINDOW);
        let sent = a.socket.send(&all[done..end]);
        done += sent;
        // What is on its way frees the socket, and the window, by arriving.
        if sent == 0 && b.udp.peek_from(&mut [0; 1]).is_err() {
            if lost_on_the_way() > lost_before {
                return false;
            }
            silences += 1;
            assert!(
                silences < 60,
                "{without:?}: {} of {done} arrive",
                log.received.len()
            );
        }
        b.socket.receive(1000, &mut log).unwrap();
    }
    let sent: Vec<_> = list.iter().map(|(_, data, _)| (&data[..], 0)).collect();
    assert!(contents(&log.received) == sent, "{without:?}");
    let stats = a.socket.stats();
    assert!(stats.full > 0, "never full: {stats:?}");
    assert_eq!(stats.datagrams_sent, all.len() as u64);
    true
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_socket_loses_nothing_and_goes_on_in_order() {
    if !on_a_slow_link("a_full_socket_loses_nothing_and_goes_on_in_order") {
        return;
    }
    for without in MODES {
        let found_out = (0..20).any(|_| a_full_socket_goes_on(without));
        assert!(
            found_out,
            "{without:?}: the network loses something each time"
        );
    }
}
