//! The thread that carries all packets: out of TUN devices and `Tcb`s, through the links, and in again.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use utcp::time::Time;

use super::host::MTU;
use super::inner::Inner;
use super::link::{Link, MILLIS, Nanos, SECONDS};
use super::tun::Tun;

/// Applications are asked at least so often.
const TICK: Nanos = 10 * MILLIS;

/// What is due within so short a time is done together: waking up costs more than carrying a packet.
const SLACK: Nanos = 50_000;

/// Packets read from one TUN device before the others have their turn.
const READS: usize = 128;

/// Rounds of an application and its `Tcb` before the others have their turn.
const ROUNDS: usize = 8;

/// The clock of all parts.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins at one second: zero often stands for "never".
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// The time.
    pub fn now(&self) -> Nanos {
        SECONDS + self.0.elapsed().as_nanos() as Nanos
    }
}

/// The library counts microseconds.
fn micros(now: Nanos) -> Time {
    Time(now / 1_000)
}

/// What uses the TCP of an end inside this process.
pub trait App: Send {
    /// Reads, writes, ends as it likes. Called after each arrival, after timers, and each 10 ms.
    fn act(&mut self, now: Nanos, tcp: &mut Inner);
}

/// utcp's TCP with what uses it.
pub struct Ours {
    tcp: Inner,
    app: Box<dyn App>,
    deadline: Time,
    touched: bool,
}

impl Ours {
    /// The connection's counters.
    pub fn info(&self) -> utcp::stats::CircuitInfo {
        self.tcp.info()
    }
}

/// One end of a path.
pub enum End {
    /// The kernel, behind a TUN device.
    Kernel(Tun),
    /// utcp.
    Ours(Box<Ours>),
}

impl End {
    /// utcp, used by `app`.
    pub fn ours(tcp: Inner, app: impl App + 'static) -> End {
        End::Ours(Box::new(Ours {
            tcp,
            app: Box::new(app),
            deadline: Time(0),
            touched: true,
        }))
    }
}

/// Two ends, and what lies between them: `links[0]` leads from `ends[0]` to `ends[1]`.
pub struct Path {
    /// See above.
    pub ends: [End; 2],
    /// See above.
    pub links: [Link; 2],
}

/// How late packets were delivered, in steps of 10 us.
#[derive(Clone, Debug)]
pub struct Lateness {
    steps: Vec<u64>,
    count: u64,
    worst: Nanos,
}

impl Default for Lateness {
    fn default() -> Lateness {
        Lateness {
            steps: vec![0; 2_001],
            count: 0,
            worst: 0,
        }
    }
}

impl Lateness {
    const STEP: Nanos = 10_000;

    fn note(&mut self, late: Nanos) {
        let last = self.steps.len() - 1;
        self.steps[((late / Self::STEP) as usize).min(last)] += 1;
        self.count += 1;
        self.worst = self.worst.max(late);
    }

    /// The lateness that this share of all packets does not exceed.
    pub fn quantile(&self, share: f64) -> Nanos {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut sum = 0;
        for (step, count) in self.steps.iter().enumerate() {
            sum += count;
            if sum >= wanted {
                return ((step as Nanos + 1) * Self::STEP).min(self.worst);
            }
        }
        self.worst
    }

    /// The latest.
    pub fn worst(&self) -> Nanos {
        self.worst
    }

    /// Packets delivered.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// Carries packets until `over` says so; it is asked every 10 ms at least.
///
/// # Errors
/// If a TUN device cannot be read or waited for.
pub fn run(
    clock: &Clock,
    paths: &mut [Path],
    mut over: impl FnMut(Nanos) -> bool,
) -> io::Result<Lateness> {
    let mut lateness = Lateness::default();
    let mut buffer = vec![0; 65_536];
    let mut readiness = Readiness::new(paths)?;
    let mut ticked = clock.now();
    loop {
        let now = clock.now();
        if over(now) {
            return Ok(lateness);
        }
        let tick = now >= ticked + TICK;
        if tick {
            ticked = now;
        }
        readiness.look()?;
        for &(path, end) in &readiness.ready {
            let path = &mut paths[path];
            if let End::Kernel(tun) = &path.ends[end] {
                read(clock, tun, &mut path.links[end], &mut buffer)?;
            }
        }
        let mut wake = ticked + TICK;
        for path in paths.iter_mut() {
            deliver(clock, now, path, &mut lateness);
            for index in 0..2 {
                if let End::Ours(ours) = &mut path.ends[index] {
                    if tick || ours.touched || ours.deadline <= micros(now) {
                        work(clock, ours, &mut path.links[index]);
                    }
                    wake = wake.min(ours.deadline.0.saturating_mul(1_000));
                }
                if let Some(next) = path.links[index].next() {
                    wake = wake.min(next);
                }
            }
        }
        let now = clock.now();
        if wake > now {
            readiness.wait(wake + SLACK - now)?;
        }
    }
}

/// Which TUN devices have something to read.
struct Readiness {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    /// Index of the path, and of its end.
    ready: Vec<(usize, usize)>,
}

impl Readiness {
    fn new(paths: &[Path]) -> io::Result<Readiness> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for (number, path) in paths.iter().enumerate() {
            for (index, end) in path.ends.iter().enumerate() {
                if let End::Kernel(tun) = end {
                    let data = (number * 2 + index) as u64;
                    epoll.add(tun, EpollEvent::new(EpollFlags::EPOLLIN, data))?;
                }
            }
        }
        Ok(Readiness {
            epoll,
            events: vec![EpollEvent::empty(); 2 * paths.len()],
            ready: Vec::new(),
        })
    }

    fn look(&mut self) -> io::Result<()> {
        self.ready.clear();
        let count = match self.epoll.wait(&mut self.events, EpollTimeout::ZERO) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let ready = self.events[..count].iter().map(|event| {
            let data = event.data() as usize;
            (data / 2, data % 2)
        });
        self.ready.extend(ready);
        Ok(())
    }

    /// Sleeps so long, or until the kernel has something to send. Epoll alone counts in milliseconds.
    fn wait(&self, sleep: Nanos) -> io::Result<()> {
        let mut fds = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
        let sleep = TimeSpec::new((sleep / SECONDS) as i64, (sleep % SECONDS) as i64);
        match ppoll(&mut fds, Some(sleep), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The kernel's packets enter the link.
fn read(clock: &Clock, tun: &Tun, link: &mut Link, buffer: &mut [u8]) -> io::Result<()> {
    for _ in 0..READS {
        let Some(n) = tun.receive(buffer)? else {
            break;
        };
        // Whatever is not IPv4 is the kernel talking about itself.
        if n > 0 && buffer[0] >> 4 == 4 {
            link.enter(clock.now(), buffer[..n].to_vec());
        }
    }
    Ok(())
}

/// Packets that have arrived by `now` go to the other end.
fn deliver(clock: &Clock, now: Nanos, path: &mut Path, lateness: &mut Lateness) {
    for (index, link) in path.links.iter_mut().enumerate() {
        let end = &mut path.ends[1 - index];
        while let Some((at, packet)) = link.leave(now) {
            lateness.note(clock.now() - at);
            match end {
                // The kernel refuses what it cannot use; TCP repeats what was lost.
                End::Kernel(tun) => drop(tun.send(&packet)),
                End::Ours(ours) => {
                    ours.tcp.inject(micros(now), &packet);
                    ours.touched = true;
                }
            }
        }
    }
}

/// The application, and then what TCP has to send.
fn work(clock: &Clock, ours: &mut Ours, link: &mut Link) {
    let mut out = Vec::new();
    for _ in 0..ROUNDS {
        let now = clock.now();
        ours.app.act(now, &mut ours.tcp);
        ours.tcp.poll(micros(now), &mut out);
        ours.deadline = ours.tcp.deadline(micros(now));
        // Where something was sent there may be room to write again.
        ours.touched = !out.is_empty();
        for packet in out.drain(..) {
            debug_assert!(packet.len() <= MTU);
            link.enter(now, packet);
        }
        if !ours.touched && ours.deadline > micros(now) {
            return;
        }
    }
    // The others have their turn first.
    ours.deadline = Time(0);
}
