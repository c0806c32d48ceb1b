//! Tail loss: how much later a message arrives whose last segments are lost. Each message is alone on a connection of its
//! own, so that no loss before it has left anything behind; it fits the initial window.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use utcp::tcp::congestion::Algorithm;
use utcp::tcp::segment::Flags;

use super::flows::{FROM, Health, PORT, address};
use super::{Contender, Tcp, median};
use crate::emulate::host::{ADDRESSES, Host, MTU};
use crate::emulate::link::{Conditions, Link, MILLIS, Nanos, SECONDS, Watch};
use crate::emulate::realtime;
use crate::kernel::emulator::{App, Clock, End, Path, Paths, own_time};
use crate::kernel::inner::{Inner, Read, algorithm};
use crate::kernel::sockets::{self, Stop};

/// Segments of a message.
const SEGMENTS: usize = 10;
/// Most segments lost of one.
const MOST: usize = 3;
/// Messages with the same number of segments lost.
const ROUNDS: usize = 7;
/// All messages of a path: 0, 1, 2, 3, 0, 1, ... segments lost.
const MESSAGES: usize = ROUNDS * (MOST + 1);

/// The rate is not what is measured here.
const RATE: u64 = 100_000_000;

/// Round-trip times, in milliseconds.
pub const RTTS: [u64; 3] = [20, 50, 100];

/// What was measured with one contender at one round-trip time.
#[derive(Clone, Debug)]
pub struct Tail {
    /// Who.
    pub contender: Contender,
    /// Milliseconds.
    pub rtt: u64,
    /// Milliseconds that a message without loss takes, answer included.
    pub clean: f64,
    /// Milliseconds more with the last one, two and three segments lost.
    pub extra: [f64; MOST],
}

/// Octets that the sender puts into a full segment: the kernel's have timestamps.
fn segment(sender: Tcp) -> usize {
    match sender {
        Tcp::Linux => MTU - 52,
        Tcp::Utcp => MTU - 40,
    }
}

/// Drops the last segments of each message when they are sent first.
fn drop_tails(sender: Tcp) -> Watch {
    let segment = segment(sender);
    let kept = move |lost: usize| (SEGMENTS - lost) * segment;
    let mut connection = None;
    let mut number = 0;
    let mut seen = 0;
    Box::new(move |packet| {
        if packet.flags.has(Flags::SYN) {
            if connection.is_some_and(|seq| seq != packet.seq) {
                number += 1;
                seen = 0;
            }
            connection = Some(packet.seq);
            return false;
        }
        let Some(seq) = connection.filter(|_| !packet.payload.is_empty()) else {
            return false;
        };
        let offset = packet.seq.0.wrapping_sub(seq.0).wrapping_sub(1) as usize;
        let new = offset >= seen;
        seen = seen.max(offset + packet.payload.len());
        new && offset >= kept(number % (MOST + 1))
    })
}

/// What [`sockets::ask`] does, with utcp's TCP.
struct Ask {
    congestion: Algorithm,
    message: usize,
    asked: usize,
    /// When the present connection was there, and what is to be written yet.
    begun: Option<(Nanos, usize)>,
    took: Arc<Mutex<Vec<Duration>>>,
}

impl Ask {
    fn connect(&mut self) -> Inner {
        let number = self.asked as u16;
        self.asked += 1;
        self.begun = None;
        let (from, to) = (address(0, FROM + number), address(1, PORT));
        Inner::connect(self.congestion, MTU, u32::from(number) << 20, from, to)
    }
}

impl App for Ask {
    fn act(&mut self, now: Nanos, tcp: &mut Inner) {
        if !tcp.is_established() {
            return;
        }
        let (begun, unwritten) = self.begun.get_or_insert((now, self.message));
        *unwritten -= tcp.write(&vec![0x5a; *unwritten]);
        if let Read::Data(_) = tcp.read(&mut [0]) {
            let took = Duration::from_nanos(now - *begun);
            self.took.lock().expect("nobody panics with it").push(took);
            if self.asked < MESSAGES {
                // What the receiver still says to the old connection is answered with a reset.
                *tcp = self.connect();
            }
        }
    }
}

enum Asking {
    Linux(thread::JoinHandle<io::Result<Vec<Duration>>>),
    Utcp(Arc<Mutex<Vec<Duration>>>),
}

/// Measures all contenders at all round-trip times, at once. Those that receive with utcp are left out: the receiver is
/// the kernel.
///
/// # Errors
/// If a namespace, device or socket cannot be made, or a message is never answered.
pub fn run(contenders: &[Contender]) -> io::Result<(Vec<Tail>, Health)> {
    let stop = Stop::default();
    let over = Stop::default();
    let (mut hosts, mut paths, mut asking, mut threads) = (vec![], vec![], vec![], vec![]);
    for &contender in contenders {
        for rtt in RTTS {
            let message = SEGMENTS * segment(contender.sender);
            let conditions = Conditions::new(RATE, rtt * MILLIS);
            let mut links = [1, 2].map(|seed| Link::new(conditions.clone(), seed));
            links[0].watch(drop_tails(contender.sender));
            let (receiver, receiver_tun) = Host::new(ADDRESSES[1], ADDRESSES[0])?;
            threads.push(sockets::answer(
                &receiver,
                address(1, PORT),
                &stop,
                message,
            )?);
            hosts.push(receiver);
            let sender = match contender.sender {
                Tcp::Linux => {
                    let (host, tun) = Host::new(ADDRESSES[0], ADDRESSES[1])?;
                    asking.push(Asking::Linux(sockets::ask(
                        &host,
                        address(1, PORT),
                        contender.congestion,
                        MESSAGES,
                        message,
                    )));
                    hosts.push(host);
                    End::Kernel(tun)
                }
                Tcp::Utcp => {
                    let congestion = algorithm(contender.congestion)
                        .ok_or_else(|| io::Error::other("no such congestion control"))?;
                    let took = Arc::<Mutex<Vec<Duration>>>::default();
                    asking.push(Asking::Utcp(took.clone()));
                    let mut ask = Ask {
                        congestion,
                        message,
                        asked: 0,
                        begun: None,
                        took,
                    };
                    End::ours(ask.connect(), ask)
                }
            };
            paths.push(Path {
                ends: [sender, End::Kernel(receiver_tun)],
                links,
            });
        }
    }
    let emulator = {
        let over = over.clone();
        thread::spawn(move || -> io::Result<(Health, Paths)> {
            let fifo = realtime::fifo(realtime::EMULATOR);
            let mut paths = Paths::new(paths);
            let clock = Clock::start();
            let begin = clock.now();
            let lateness = paths.run(&clock, |_| over.stopped())?;
            let health = Health {
                lateness,
                load: own_time()?.as_secs_f64() * SECONDS as f64 / (clock.now() - begin) as f64,
                fifo,
            };
            Ok((health, paths))
        })
    };
    let results: io::Result<Vec<Vec<Duration>>> = asking.into_iter().map(wait).collect();
    over.stop();
    stop.stop();
    let (health, paths) = emulator.join().expect("the emulator does not panic")?;
    for thread in threads {
        let _ = thread.join().expect("it does not panic");
    }
    let results = results?;
    for path in 0..results.len() {
        let dropped = paths.links(path)[0].counters.chosen;
        if dropped != (ROUNDS * (1 + 2 + 3)) as u64 {
            return Err(io::Error::other(format!(
                "{dropped} segments were lost, not as planned"
            )));
        }
    }
    let names = contenders
        .iter()
        .flat_map(|&contender| RTTS.map(|rtt| (contender, rtt)));
    let tails = names
        .zip(results)
        .map(|((contender, rtt), took)| evaluate(contender, rtt, &took))
        .collect();
    Ok((tails, health))
}

fn wait(asking: Asking) -> io::Result<Vec<Duration>> {
    match asking {
        Asking::Linux(thread) => thread.join().expect("it does not panic"),
        Asking::Utcp(took) => {
            // Each message may cost a timeout of a second; more than that is a failure.
            for _ in 0..MESSAGES * 20 {
                let done = took.lock().expect("nobody panics with it");
                if done.len() == MESSAGES {
                    return Ok(done.clone());
                }
                drop(done);
                thread::sleep(Duration::from_millis(100));
            }
            Err(io::Error::other("utcp's messages were not all answered"))
        }
    }
}

fn evaluate(contender: Contender, rtt: u64, took: &[Duration]) -> Tail {
    let of = |lost: usize| {
        let same = took.iter().skip(lost).step_by(MOST + 1);
        let millis: Vec<f64> = same.map(|d| d.as_secs_f64() * 1e3).collect();
        median(&millis).expect("there are several rounds")
    };
    let clean = of(0);
    Tail {
        contender,
        rtt,
        clean,
        extra: [1, 2, 3].map(|lost| of(lost) - clean),
    }
}
