//! Bulk flows: how much arrives in a given time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use utcp::tcp::congestion::Algorithm;

use super::{Contender, LATE, Point, Tcp};
use crate::emulate::host::{ADDRESSES, Host, MTU};
use crate::emulate::link::{Counters, Link, Nanos, SECONDS};
use crate::emulate::realtime;
use crate::kernel::emulator::{App, Clock, End, Lateness, Path, Paths, own_time};
use crate::kernel::inner::{Inner, Read, algorithm};
use crate::kernel::sockets::{self, Stop};

/// The receiver's port.
pub(super) const PORT: u16 = 9_000;
/// The port of utcp as a sender.
pub(super) const FROM: u16 = 40_000;

/// One flow of a run.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Over which link.
    pub point: Point,
    /// Of the losses.
    pub seed: u64,
    /// Who.
    pub contender: Contender,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Mbit/s that the receiving application read.
    pub goodput: f64,
    /// Towards the receiver, and back.
    pub links: [Counters; 2],
    /// Segments sent again and timeouts, if utcp sends.
    pub repaired: Option<(u64, u64)>,
}

/// How the emulator did in one run.
#[derive(Clone, Debug)]
pub struct Health {
    /// Of the packets delivered.
    pub lateness: Lateness,
    /// Share of a processor that the emulator took.
    pub load: f64,
    /// Whether it ran under SCHED_FIFO.
    pub fifo: bool,
}

impl Health {
    /// Whether the run counts.
    pub fn is_good(&self) -> bool {
        LATE.iter()
            .all(|&(share, most)| self.lateness.quantile(share) <= most)
    }
}

/// Writes as much as is taken.
struct Flood;

impl App for Flood {
    fn act(&mut self, _: Nanos, tcp: &mut Inner) {
        static DATA: [u8; 65_536] = [0x5a; 65_536];
        // As the kernel's sockets: no data on the SYN.
        while tcp.is_established() && tcp.write(&DATA) == DATA.len() {}
    }
}

/// Reads all that there is, and counts it.
struct Count(Arc<AtomicU64>);

impl App for Count {
    fn act(&mut self, _: Nanos, tcp: &mut Inner) {
        let mut buffer = [0; 65_536];
        while let Read::Data(n) = tcp.read(&mut buffer) {
            self.0.fetch_add(n as u64, Ordering::Relaxed);
        }
    }
}

pub(super) fn address(end: usize, port: u16) -> SocketAddr {
    SocketAddr::new(ADDRESSES[end].into(), port)
}

/// What a run needs besides the paths.
struct Actors {
    threads: Vec<JoinHandle<io::Result<()>>>,
    /// Dropped once the run is over.
    _hosts: Vec<Host>,
    go: Vec<mpsc::Sender<()>>,
}

fn ends(
    flow: &Flow,
    received: &Arc<AtomicU64>,
    stop: &Stop,
    actors: &mut Actors,
) -> io::Result<[End; 2]> {
    let contender = &flow.contender;
    // The receiver is there before the sender begins.
    let receiver = match contender.receiver {
        Tcp::Linux => {
            let (host, tun) = Host::new(ADDRESSES[1], ADDRESSES[0])?;
            let thread = sockets::count(&host, address(1, PORT), stop, received.clone())?;
            actors.threads.push(thread);
            actors._hosts.push(host);
            End::Kernel(tun)
        }
        Tcp::Utcp => {
            let iss = flow.seed as u32 ^ 0x8000_0000;
            // It sends nothing: its congestion control does not matter.
            let tcp = Inner::listen(Algorithm::default(), MTU, iss, address(1, PORT));
            End::ours(tcp, Count(received.clone()))
        }
    };
    let sender = match contender.sender {
        Tcp::Linux => {
            let (host, tun) = Host::new(ADDRESSES[0], ADDRESSES[1])?;
            let (go, wait) = mpsc::channel();
            let to = address(1, PORT);
            let thread = sockets::flood(&host, to, contender.congestion, stop, wait);
            actors.threads.push(thread);
            actors._hosts.push(host);
            actors.go.push(go);
            End::Kernel(tun)
        }
        Tcp::Utcp => {
            let (from, to) = (address(0, FROM), address(1, PORT));
            let congestion = algorithm(contender.congestion)
                .ok_or_else(|| io::Error::other("utcp has no such congestion control"))?;
            let tcp = Inner::connect(congestion, MTU, flow.seed as u32, from, to);
            End::ours(tcp, Flood)
        }
    };
    Ok([sender, receiver])
}

/// Runs all flows at once, each over a path of its own.
///
/// # Errors
/// If a namespace, device or socket cannot be made.
pub fn run(flows: &[Flow], seconds: u64) -> io::Result<(Vec<Outcome>, Health)> {
    let stop = Stop::default();
    let mut actors = Actors {
        threads: Vec::new(),
        _hosts: Vec::new(),
        go: Vec::new(),
    };
    let received: Vec<Arc<AtomicU64>> = flows.iter().map(|_| Arc::default()).collect();
    let mut paths = Vec::new();
    for (flow, received) in flows.iter().zip(&received) {
        let link = |way| Link::new(flow.point.conditions(), flow.seed << 1 | way);
        paths.push(Path {
            ends: ends(flow, received, &stop, &mut actors)?,
            links: [link(0), link(1)],
        });
    }
    let (paths, totals, health) = emulate(paths, seconds, actors.go, &received)?;
    stop.stop();
    for thread in actors.threads {
        // A connection that could not even be made leaves a goodput of zero behind.
        if let Err(error) = thread.join().expect("it does not panic") {
            eprintln!("bench-kernel: a socket of the kernel: {error}");
        }
    }
    let outcomes = totals
        .iter()
        .enumerate()
        .map(|(path, &octets)| Outcome {
            goodput: octets as f64 * 8.0 / (seconds as f64 * 1e6),
            links: paths.links(path).map(|link| link.counters),
            repaired: match paths.end(path, 0) {
                End::Kernel(_) => None,
                End::Local(ours) => {
                    let info = ours.info();
                    Some((info.segments_retransmitted, info.timeouts))
                }
            },
        })
        .collect();
    Ok((outcomes, health))
}

/// The emulator in a thread of its own; what every receiver has read when the time is up.
fn emulate(
    paths: Vec<Path>,
    seconds: u64,
    go: Vec<mpsc::Sender<()>>,
    received: &[Arc<AtomicU64>],
) -> io::Result<(Paths, Vec<u64>, Health)> {
    let received = received.to_vec();
    thread::spawn(move || {
        let fifo = realtime::fifo(realtime::EMULATOR);
        let mut paths = Paths::new(paths);
        let clock = Clock::start();
        let end = clock.now() + seconds * SECONDS;
        for go in go {
            let _ = go.send(());
        }
        let lateness = paths.run(&clock, |now| now >= end)?;
        let totals = received.iter().map(|r| r.load(Ordering::Relaxed)).collect();
        let health = Health {
            lateness,
            load: own_time()?.as_secs_f64() / seconds as f64,
            fifo,
        };
        Ok((paths, totals, health))
    })
    .join()
    .expect("the emulator does not panic")
}
