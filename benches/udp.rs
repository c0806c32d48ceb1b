//! Datagrams per CPU second through two sockets on loopback, both ends in one thread: one by one, in batches, and with
//! segmentation offload, side by side in each round.
//!
//! usage: cargo bench --bench udp [-- ROUNDS]
//!
//! The unit is CPU time of this thread, that of the kernel on its behalf included. Medians over the rounds; figures of
//! one run compare with each other, and less with those of another day.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use utcp::error::Error;
use utcp::udp::{Abilities, Options, Outgoing, Sink, Socket};

/// Datagrams that the endpoint offers at once.
const BATCH: usize = 64;
/// Octets in one measurement.
const OCTETS: usize = 200 << 20;

struct Mode {
    name: &'static str,
    without: Abilities,
}

const MODES: [Mode; 5] = [
    Mode {
        name: "sendto, recvfrom",
        without: Abilities::ALL,
    },
    Mode {
        name: "sendmsg, recvmsg",
        without: Abilities(7),
    },
    Mode {
        name: "sendmmsg, recvmmsg",
        without: Abilities(6),
    },
    Mode {
        name: "sendmsg, recvmsg; segmentation offload",
        without: Abilities::BATCH,
    },
    Mode {
        name: "sendmmsg, recvmmsg; segmentation offload",
        without: Abilities::NONE,
    },
];

/// Nanoseconds of CPU that this thread has had.
fn cpu() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let first = text.split(' ').next().expect("a field");
    first.parse().expect("a number")
}

struct Count(usize);

impl Sink for Count {
    fn is_ready(&self, _: SocketAddr) -> bool {
        true
    }

    fn datagram(&mut self, _: SocketAddr, data: &[u8], _: u8) -> Result<(), Error> {
        self.0 += usize::from(!data.is_empty());
        Ok(())
    }
}

fn node(mode: &Mode, messages: usize) -> (UdpSocket, Socket) {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let options = Options {
        without: mode.without,
        messages,
        ..Options::default()
    };
    let socket = Socket::new(udp.as_raw_fd(), options).expect("a UDP socket");
    (udp, socket)
}

/// Nanoseconds for each datagram. `run`: neighbours for the same peer.
fn measure(mode: &Mode, len: usize, run: usize, messages: usize) -> f64 {
    let (_a, sender) = node(mode, messages);
    let peers: Vec<_> = (0..BATCH / run).map(|_| node(mode, messages)).collect();
    let data = vec![0x17; len];
    let batch: Vec<Outgoing<'_>> = (0..BATCH)
        .map(|n| Outgoing {
            to: peers[n / run].0.local_addr().expect("bound"),
            data: &data,
            ecn: 0,
        })
        .collect();
    let rounds = (OCTETS / len / BATCH).max(1);
    let mut count = Count(0);
    let begin = cpu();
    for n in 1..=rounds {
        assert_eq!(sender.send(&batch), BATCH);
        while count.0 < n * BATCH {
            for (_, receiver) in &peers {
                receiver.receive(BATCH, &mut count).expect("received");
            }
        }
    }
    (cpu() - begin) as f64 / (rounds * BATCH) as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let rounds = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(5);
    println!(
        "ns of CPU for each datagram, sent and received; datagrams per CPU second; Gbit/s of payload"
    );
    for (len, run) in [(1_432, 64), (1_432, 16), (1_432, 1), (100, 64)] {
        println!("\n{len} octets, {} peers", BATCH / run);
        let mut results = [const { Vec::new() }; MODES.len()];
        for _ in 0..rounds {
            for (mode, results) in MODES.iter().zip(&mut results) {
                results.push(measure(mode, len, run, Options::default().messages));
            }
        }
        for (mode, results) in MODES.iter().zip(&mut results) {
            let ns = median(results);
            println!(
                "  {:42} {ns:7.0} {:10.0} {:6.2}",
                mode.name,
                1e9 / ns,
                len as f64 * 8.0 / ns
            );
        }
    }
    println!("\nmessages read by one call, 1432 octets, 1 peer");
    for messages in [1, 2, 4, 8, 16, 32, 64] {
        let mut results: Vec<f64> = (0..rounds)
            .map(|_| measure(&MODES[4], 1_432, 64, messages))
            .collect();
        println!("  {messages:3} {:7.0}", median(&mut results));
    }
}
