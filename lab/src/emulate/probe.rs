//! How exact a running emulator is, measured from inside of its hosts.
//!
//! First delays: pings over UDP between some pairs of hosts, beside a load on all of them. Both ends are in this process and
//! read the same clock, so that each direction is measured by itself. Links have their mean delay then, and nothing else:
//! what is measured is the emulator, not what it was asked to do to packets. Threads of the pings are under SCHED_FIFO; the
//! time that they take to wake up counts as error.
//!
//! Then the rate: the fastest limited path gets a paced flow of more than it carries, and what arrives is counted.
//!
//! The running emulator begins anew afterwards ([`Running::restart`]).

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::socket::{setsockopt, sockopt};
use serde::Serialize;

use super::host::Host;
use super::link::{Conditions, Nanos, SECONDS};
use super::realtime;
use super::running::Running;

/// Pairs that are pinged, at most.
const PAIRS: usize = 4;
/// Time between two pings of a pair.
const PING_EVERY: Duration = Duration::from_millis(4);
/// Octets of load in a datagram, and of the IP packet that it becomes.
const PAYLOAD: usize = 1_200;
const PACKET: usize = PAYLOAD + 28;

const PING_PORT: u16 = 47_001;
const LOAD_PORT: u16 = 47_002;

/// How long the rate is measured, and what is left out of it while queues fill.
const RATE_TIME: Duration = Duration::from_millis(1_500);
const RATE_BEGIN: Duration = Duration::from_millis(300);
/// Times the rate that is offered.
const EXCESS: f64 = 1.2;
/// Rates above this are not tried: the paced flow itself would be in the way.
const MOST_RATE: u64 = 500_000_000;
/// What is tried where no path is limited.
const PLAIN_RATE: u64 = 20_000_000;

/// How much, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// All links together.
    pub mbit: f64,
    /// How long delays are measured.
    pub seconds: f64,
}

/// A distribution of times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half are no longer.
    pub p50: f64,
    /// The same of 99 of 100.
    pub p99: f64,
    /// The same of 999 of 1,000.
    pub p999: f64,
    /// The same of all.
    pub max: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Quantiles {
        if histogram.is_empty() {
            return Quantiles::default();
        }
        let at = |share| histogram.value_at_quantile(share) as f64 / 1e6;
        Quantiles {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.3}, p99 {:.3}, p99.9 {:.3}, max {:.3} ms",
            self.p50, self.p99, self.p999, self.max
        )
    }
}

/// One pair that was pinged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pinged {
    /// Names of hosts, and back again.
    pub from: String,
    /// See `from`.
    pub to: String,
    /// Both delays together, as set.
    pub set_ms: f64,
    /// The round-trip time measured.
    pub rtt: Quantiles,
}

/// How exact the emulator was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Some pairs.
    pub pairs: Vec<Pinged>,
    /// How far one-way delays were from what was set.
    pub one_way_error: Quantiles,
    /// How far round-trip times were from what was set.
    pub rtt_error: Quantiles,
    /// What the 99 of 100 round-trip times may be.
    pub rtt_error_limit_ms: f64,
    /// Pings sent, and those that never came back.
    pub pings: u64,
    /// See `pings`.
    pub unanswered: u64,
    /// Load asked for.
    pub load_mbit: f64,
    /// Load that links carried.
    pub carried_load_mbit: f64,
    /// The rate that was set, in Mbit/s.
    pub rate_set_mbit: f64,
    /// The rate that was carried.
    pub rate_carried_mbit: f64,
    /// The share by which the two may differ.
    pub rate_error_limit: f64,
    /// Whether SCHED_FIFO and locked memory were allowed.
    pub realtime: (bool, bool),
}

impl Accuracy {
    /// The share by which the carried rate was not the one set.
    pub fn rate_error(&self) -> f64 {
        (self.rate_carried_mbit / self.rate_set_mbit - 1.0).abs()
    }

    /// Whether round-trip times are near enough to what was set: the figure is `rtt_error.p99`.
    pub fn rtt_is_met(&self) -> bool {
        // A ping that is lost is one that is late, and so is load that does not arrive.
        let answered = self.pings > 0 && self.unanswered * 100 <= self.pings;
        answered
            && self.carried_load_mbit >= 0.95 * self.load_mbit
            && self.rtt_error.p99 < self.rtt_error_limit_ms
    }

    /// Whether the rate is.
    pub fn rate_is_met(&self) -> bool {
        self.rate_error() <= self.rate_error_limit
    }

    /// Whether an experiment may begin.
    pub fn is_met(&self) -> bool {
        self.rtt_is_met() && self.rate_is_met()
    }
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "missed" }
}

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pair in &self.pairs {
            writeln!(
                f,
                "{} <-> {}, {:.3} ms set: {}",
                pair.from, pair.to, pair.set_ms, pair.rtt
            )?;
        }
        writeln!(f, "one-way delay error: {}", self.one_way_error)?;
        writeln!(
            f,
            "RTT error, {} pings ({} unanswered) beside {:.1} of {:.1} Mbit/s: {}",
            self.pings, self.unanswered, self.carried_load_mbit, self.load_mbit, self.rtt_error,
        )?;
        for (is, what) in [
            (self.realtime.0, "run under SCHED_FIFO"),
            (self.realtime.1, "lock memory"),
        ] {
            if !is {
                writeln!(
                    f,
                    "the emulator may not {what}: more lateness is to be expected"
                )?;
            }
        }
        let (figure, limit) = (self.rtt_error.p99, self.rtt_error_limit_ms);
        let is_met = verdict(self.rtt_is_met());
        writeln!(
            f,
            "emulated RTT error p99           {figure:8.3} ms  below {limit} ms  {is_met}"
        )?;
        let (carried, set) = (self.rate_carried_mbit, self.rate_set_mbit);
        let (most, is_met) = (self.rate_error_limit * 100.0, verdict(self.rate_is_met()));
        writeln!(
            f,
            "carried rate of {set:.1} Mbit/s {carried:12.3} Mbit/s  within {most} %  {is_met}"
        )
    }
}

/// What one pair of hosts brought.
struct Pings {
    sent: u64,
    rtt: Histogram<u64>,
    rtt_error: Histogram<u64>,
    one_way_error: Histogram<u64>,
}

impl Pings {
    fn new() -> Pings {
        let histogram = || Histogram::new(3).expect("three digits are possible");
        Pings {
            sent: 0,
            rtt: histogram(),
            rtt_error: histogram(),
            one_way_error: histogram(),
        }
    }
}

/// How a thread is told to stop.
#[derive(Clone)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Tells threads to stop, at the latest when it is dropped: after an error, nobody goes on.
struct Stopper(Stop);

impl Stopper {
    fn new() -> (Stopper, Stop) {
        let stop = Stop(Arc::default());
        (Stopper(stop.clone()), stop)
    }

    fn stop(&self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// A socket inside of a host.
fn bind(host: &Host, address: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
    let socket = host
        .spawn(move || UdpSocket::bind((address, port)))
        .join()
        .expect("it does not panic")?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    setsockopt(&socket, sockopt::RcvBuf, &(8 << 20))?;
    Ok(socket)
}

/// One after the other, as they come.
fn each_datagram(
    socket: &UdpSocket,
    stop: &Stop,
    mut work: impl FnMut(&mut [u8], SocketAddr),
) -> io::Result<()> {
    let mut buffer = [0; 2_048];
    while !stop.is_on() {
        match socket.recv_from(&mut buffer) {
            Ok((n, from)) => work(&mut buffer[..n], from),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends datagrams of load at a rate, in bits a second of IP packets, until told to stop.
fn pace(socket: &UdpSocket, to: SocketAddr, rate: f64, stop: &Stop) {
    let payload = [0x5a; PAYLOAD];
    let begin = Instant::now();
    let mut sent = 0u64;
    while !stop.is_on() {
        let due = (begin.elapsed().as_secs_f64() * rate / (8 * PACKET) as f64) as u64;
        // A sender that was held up does not make up for all of it at once.
        sent = sent.max(due.saturating_sub(100));
        while sent < due {
            sent += 1;
            // No room, or nobody there: what arrives is counted.
            let _ = socket.send_to(&payload, to);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn stamp(at: &[u8]) -> Option<Nanos> {
    Some(Nanos::from_le_bytes(at.get(..8)?.try_into().ok()?))
}

/// Three threads: one sends, one answers, one takes the answers. `set` are the delays there and back.
struct Ping {
    client: UdpSocket,
    server: UdpSocket,
    to: SocketAddr,
    set: [Nanos; 2],
    begin: Instant,
}

impl Ping {
    fn run(self, stop: &Stop, sending_stops: &Stop) -> io::Result<JoinHandle<io::Result<Pings>>> {
        let now = move || self.begin.elapsed().as_nanos() as Nanos;
        let Ping {
            client,
            server,
            to,
            set,
            ..
        } = self;
        let answering = {
            let stop = stop.clone();
            thread::spawn(move || {
                realtime::fifo(realtime::SOCKETS);
                each_datagram(&server, &stop, |datagram, from| {
                    if datagram.len() == 16 {
                        datagram[8..].copy_from_slice(&now().to_le_bytes());
                        let _ = server.send_to(datagram, from);
                    }
                })
            })
        };
        let sending = {
            let (client, stop) = (client.try_clone()?, sending_stops.clone());
            thread::spawn(move || {
                let mut sent = 0;
                while !stop.is_on() {
                    let mut datagram = [0; 16];
                    datagram[..8].copy_from_slice(&now().to_le_bytes());
                    sent += u64::from(client.send_to(&datagram, to).is_ok());
                    thread::sleep(PING_EVERY);
                }
                sent
            })
        };
        let stop = stop.clone();
        Ok(thread::spawn(move || {
            realtime::fifo(realtime::SOCKETS);
            let mut pings = Pings::new();
            each_datagram(&client, &stop, |datagram, _| {
                let now = now();
                let (Some(sent), Some(answered)) =
                    (stamp(datagram), datagram.get(8..).and_then(stamp))
                else {
                    return;
                };
                let ways = [answered.saturating_sub(sent), now.saturating_sub(answered)];
                for (way, set) in ways.iter().zip(set) {
                    pings
                        .one_way_error
                        .record(way.abs_diff(set))
                        .expect("it grows");
                }
                let rtt = now.saturating_sub(sent);
                pings.rtt.record(rtt).expect("it grows");
                pings
                    .rtt_error
                    .record(rtt.abs_diff(set[0] + set[1]))
                    .expect("it grows");
            })?;
            pings.sent = sending.join().expect("it does not panic");
            answering.join().expect("it does not panic")?;
            Ok(pings)
        }))
    }
}

impl Running {
    /// Measures how exact delays and the rate are, and begins anew.
    ///
    /// # Errors
    /// If sockets cannot be made, or the emulator has ended.
    pub fn accuracy(&mut self, load: Load) -> io::Result<Accuracy> {
        let measured = self.measure(load);
        // Whatever came of it, the topology is again what it was.
        let all = self.plan().conditions.iter().cloned().enumerate();
        self.set_conditions(all.collect())?;
        self.limit_access(true)?;
        self.restart()?;
        measured
    }

    fn measure(&mut self, load: Load) -> io::Result<Accuracy> {
        let plain = |c: &Conditions| Conditions::plain(c.delay.mean());
        let all = self.plan().conditions.iter().map(plain).enumerate();
        self.set_conditions(all.collect())?;
        self.limit_access(false)?;
        self.restart()?;
        let mut accuracy = self.measure_delays(load)?;
        let all = self
            .plan()
            .conditions
            .iter()
            .map(Conditions::undisturbed)
            .enumerate();
        self.set_conditions(all.collect())?;
        self.limit_access(true)?;
        self.measure_rate(&mut accuracy)?;
        Ok(accuracy)
    }

    fn at(&self, index: usize) -> io::Result<(&Host, Ipv4Addr)> {
        let host = &self.plan().hosts[index];
        Ok((self.host(&host.name)?, host.settings.address))
    }

    fn mean_delay(&self, from: usize, to: usize) -> Nanos {
        self.plan().conditions[from * self.plan().hosts.len() + to]
            .delay
            .mean()
    }

    fn measure_delays(&self, load: Load) -> io::Result<Accuracy> {
        let count = self.plan().hosts.len();
        let ((stopper, stop), (sending_stopper, sending_stops)) = (Stopper::new(), Stopper::new());
        let begin = Instant::now();
        let pairs: Vec<(usize, usize)> = (0..count.min(PAIRS))
            .map(|from| (from, (from + 1) % count))
            .collect();
        let mut pinging = Vec::new();
        for (number, &(from, to)) in pairs.iter().enumerate() {
            let ((client, client_address), (server, server_address)) =
                (self.at(from)?, self.at(to)?);
            let port = PING_PORT + 10 * number as u16;
            let ping = Ping {
                client: bind(client, client_address, 0)?,
                server: bind(server, server_address, port)?,
                to: (server_address, port).into(),
                set: [self.mean_delay(from, to), self.mean_delay(to, from)],
                begin,
            };
            pinging.push(ping.run(&stop, &sending_stops)?);
        }
        let mut loading = Vec::new();
        if load.mbit > 0.0 {
            for &(from, to) in &pairs {
                let ((sender, sender_address), (receiver, receiver_address)) =
                    (self.at(from)?, self.at(to)?);
                let (socket, sink) = (
                    bind(sender, sender_address, 0)?,
                    bind(receiver, receiver_address, LOAD_PORT)?,
                );
                let (stop, to) = (sending_stops.clone(), (receiver_address, LOAD_PORT).into());
                let rate = load.mbit * 1e6 / pairs.len() as f64;
                loading.push(thread::spawn(move || {
                    realtime::fifo(realtime::SOCKETS);
                    pace(&socket, to, rate, &stop);
                    // Nobody reads it; without it each datagram would be answered by the kernel.
                    drop(sink);
                }));
            }
        }
        let octets_before = self.carried_octets()?;
        let counted_since = Instant::now();
        thread::sleep(Duration::from_secs_f64(load.seconds));
        let octets = self.carried_octets()? - octets_before;
        let counted = counted_since.elapsed();
        sending_stopper.stop();
        for thread in loading {
            thread.join().expect("it does not panic");
        }
        // The last answers.
        let longest = pairs
            .iter()
            .map(|&(from, to)| self.mean_delay(from, to) + self.mean_delay(to, from))
            .max();
        thread::sleep(Duration::from_nanos(longest.unwrap_or(0)) + Duration::from_millis(100));
        stopper.stop();
        let mut all = Pings::new();
        let mut pinged = Vec::new();
        for (thread, (from, to)) in pinging.into_iter().zip(pairs) {
            let pings = thread.join().expect("it does not panic")?;
            all.sent += pings.sent;
            all.rtt.add(&pings.rtt).map_err(io::Error::other)?;
            all.rtt_error
                .add(&pings.rtt_error)
                .map_err(io::Error::other)?;
            all.one_way_error
                .add(&pings.one_way_error)
                .map_err(io::Error::other)?;
            let name = |index: usize| self.plan().hosts[index].name.clone();
            pinged.push(Pinged {
                from: name(from),
                to: name(to),
                set_ms: (self.mean_delay(from, to) + self.mean_delay(to, from)) as f64 / 1e6,
                rtt: Quantiles::of(&pings.rtt),
            });
        }
        let limits = &self.plan().limits;
        Ok(Accuracy {
            pairs: pinged,
            one_way_error: Quantiles::of(&all.one_way_error),
            rtt_error: Quantiles::of(&all.rtt_error),
            rtt_error_limit_ms: limits.rtt_error_ms,
            pings: all.sent,
            unanswered: all.sent.saturating_sub(all.rtt.len()),
            load_mbit: load.mbit,
            carried_load_mbit: octets as f64 * 8.0 / counted.as_secs_f64() / 1e6,
            rate_set_mbit: 0.0,
            rate_carried_mbit: 0.0,
            rate_error_limit: limits.rate_error,
            realtime: self.is_realtime(),
        })
    }

    /// Octets that all links have taken in: with long delays nothing has arrived yet.
    fn carried_octets(&self) -> io::Result<u64> {
        let summary = self.counters()?;
        Ok(summary
            .links
            .iter()
            .map(|link| link.counters.entered_octets)
            .sum())
    }

    /// The fastest limited path that can be tried: from, to, bits a second.
    fn fastest(&self) -> Option<(usize, usize, u64)> {
        let plan = self.plan();
        let count = plan.hosts.len();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        let limited = pairs
            .filter(|(from, to)| from != to)
            .filter_map(|(from, to)| {
                let rates = [
                    plan.conditions[from * count + to].rate,
                    plan.hosts[from].up.map(|limit| limit.rate),
                    plan.hosts[to].down.map(|limit| limit.rate),
                ];
                Some((from, to, rates.into_iter().flatten().min()?))
            });
        limited
            .filter(|&(_, _, rate)| rate <= MOST_RATE)
            .max_by_key(|&(_, _, rate)| rate)
    }

    fn measure_rate(&mut self, accuracy: &mut Accuracy) -> io::Result<()> {
        let (from, to, rate) = match self.fastest() {
            Some(fastest) => fastest,
            None => {
                let plain = &self.plan().conditions[1];
                let rtt = 2 * plain.delay.mean().max(SECONDS / 100);
                self.set_conditions(vec![(1, Conditions::new(PLAIN_RATE, rtt))])?;
                (0, 1, PLAIN_RATE)
            }
        };
        let ((sender, sender_address), (receiver, receiver_address)) =
            (self.at(from)?, self.at(to)?);
        let socket = bind(sender, sender_address, 0)?;
        let sink = bind(receiver, receiver_address, LOAD_PORT)?;
        let (stopper, stop) = Stopper::new();
        let sending = {
            let stop = stop.clone();
            thread::spawn(move || {
                realtime::fifo(realtime::SOCKETS);
                pace(
                    &socket,
                    (receiver_address, LOAD_PORT).into(),
                    rate as f64 * EXCESS,
                    &stop,
                );
            })
        };
        let receiving = {
            let stop = stop.clone();
            thread::spawn(move || {
                realtime::fifo(realtime::SOCKETS);
                let mut first = None;
                let mut counted: Option<(Instant, Instant, u64)> = None;
                let result = each_datagram(&sink, &stop, |datagram, _| {
                    let now = Instant::now();
                    if now < *first.get_or_insert(now) + RATE_BEGIN {
                        return;
                    }
                    // What arrives first only begins the time.
                    let (_, last, octets) = counted.get_or_insert((now, now, 0));
                    if *last != now {
                        *last = now;
                        *octets += datagram.len() as u64 + 28;
                    }
                });
                result.map(|()| counted)
            })
        };
        // The time counts from when the first packet arrives.
        thread::sleep(RATE_TIME + Duration::from_nanos(self.mean_delay(from, to)));
        stopper.stop();
        sending.join().expect("it does not panic");
        let counted = receiving.join().expect("it does not panic")?;
        accuracy.rate_set_mbit = rate as f64 / 1e6;
        accuracy.rate_carried_mbit = match counted {
            Some((first, last, octets)) if last > first => {
                octets as f64 * 8.0 / (last - first).as_secs_f64() / 1e6
            }
            _ => 0.0,
        };
        Ok(())
    }
}
