//! The thread that carries all packets: out of TUN devices and ends inside the process, through the network, and in again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use super::link::{MILLIS, Nanos, SECONDS};
use super::network::Network;
use super::tun::Tun;

/// Whoever waits for the time is asked at least so often.
pub const TICK: Nanos = 10 * MILLIS;

/// What is due within so short a time is done together: waking up costs more than carrying a packet.
const SLACK: Nanos = 50_000;

/// Packets read from one TUN device before the others have their turn.
const READS: usize = 128;

/// Rounds of an end inside the process before the others have their turn.
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

/// An end inside this process.
pub trait Local: Send {
    /// A packet arrives.
    fn arrive(&mut self, now: Nanos, packet: &[u8]);

    /// Does what is to be done, and appends the packets to be sent. Called when it is due, and each 10 ms.
    fn round(&mut self, now: Nanos, out: &mut Vec<Vec<u8>>);

    /// When the next round is due: a time that has passed if at once.
    fn due(&self) -> Nanos;
}

/// For networks without ends inside the process.
pub enum Nobody {}

impl Local for Nobody {
    fn arrive(&mut self, _: Nanos, _: &[u8]) {
        match *self {}
    }

    fn round(&mut self, _: Nanos, _: &mut Vec<Vec<u8>>) {
        match *self {}
    }

    fn due(&self) -> Nanos {
        match *self {}
    }
}

/// What is at a port of the network.
pub enum End<L> {
    /// The kernel, behind a TUN device.
    Kernel(Tun),
    /// Something in this process.
    Local(L),
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

/// What a carrying thread works on.
pub struct Carrier<L> {
    /// One at each port.
    pub ends: Vec<End<L>>,
    /// What lies between them.
    pub network: Network,
    /// Of what was delivered to kernels and other ends.
    pub lateness: Lateness,
}

impl<L: Local> Carrier<L> {
    /// Nothing was carried yet.
    pub fn new(ends: Vec<End<L>>, network: Network) -> Carrier<L> {
        Carrier {
            ends,
            network,
            lateness: Lateness::default(),
        }
    }

    /// Carries packets until `over` says so; it is asked every 10 ms at least, and when `wake` can be read.
    ///
    /// # Errors
    /// If a TUN device cannot be read or waited for.
    pub fn run(
        &mut self,
        clock: &Clock,
        wake: Option<BorrowedFd<'_>>,
        mut over: impl FnMut(Nanos, &mut Self) -> bool,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 65_536];
        let mut out = Vec::new();
        let mut readiness = Readiness::new(&self.ends, wake)?;
        let mut ticked = clock.now();
        loop {
            let now = clock.now();
            if over(now, self) {
                return Ok(());
            }
            let tick = now >= ticked + TICK;
            if tick {
                ticked = now;
            }
            readiness.look()?;
            for &port in &readiness.ready {
                if let Some(End::Kernel(tun)) = self.ends.get(port) {
                    read(clock, tun, port, &mut self.network, &mut buffer)?;
                }
            }
            self.deliver(clock, now);
            let mut wake = ticked + TICK;
            for (port, end) in self.ends.iter_mut().enumerate() {
                if let End::Local(local) = end {
                    if tick || local.due() <= now {
                        work(clock, local, port, &mut self.network, &mut out);
                    }
                    wake = wake.min(local.due());
                }
            }
            if let Some(next) = self.network.next() {
                wake = wake.min(next);
            }
            let now = clock.now();
            if wake > now {
                readiness.wait(wake + SLACK - now)?;
            }
        }
    }

    /// Packets that have arrived by `now` go to their ends.
    fn deliver(&mut self, clock: &Clock, now: Nanos) {
        while let Some(arrival) = self.network.leave(now) {
            self.lateness.note(clock.now().saturating_sub(arrival.at));
            match &mut self.ends[arrival.port] {
                // The kernel refuses what it cannot use; TCP repeats what was lost.
                End::Kernel(tun) => {
                    if tun.send(&arrival.packet).is_err() {
                        self.network.refused(arrival.link);
                    }
                }
                End::Local(local) => local.arrive(now, &arrival.packet),
            }
        }
    }
}

/// Which TUN devices have something to read.
struct Readiness {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    /// Indices of ports; another number is that of `wake`.
    ready: Vec<usize>,
}

impl Readiness {
    fn new<L>(ends: &[End<L>], wake: Option<BorrowedFd<'_>>) -> io::Result<Readiness> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for (port, end) in ends.iter().enumerate() {
            if let End::Kernel(tun) = end {
                epoll.add(tun, EpollEvent::new(EpollFlags::EPOLLIN, port as u64))?;
            }
        }
        if let Some(wake) = wake {
            // Whoever reads it does so in `over`: each event is told once.
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
            epoll.add(wake, EpollEvent::new(flags, ends.len() as u64))?;
        }
        Ok(Readiness {
            epoll,
            events: vec![EpollEvent::empty(); ends.len() + 1],
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
        let ready = self.events[..count]
            .iter()
            .map(|event| event.data() as usize);
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

/// The kernel's packets enter the network.
fn read(
    clock: &Clock,
    tun: &Tun,
    port: usize,
    network: &mut Network,
    buffer: &mut [u8],
) -> io::Result<()> {
    for _ in 0..READS {
        let Some(n) = tun.receive(buffer)? else {
            break;
        };
        // Whatever is not IPv4 is the kernel talking about itself.
        if n > 0 && buffer[0] >> 4 == 4 {
            network.enter(clock.now(), port, buffer[..n].to_vec());
        }
    }
    Ok(())
}

/// An end inside the process, until it has nothing more to do at the moment.
fn work<L: Local>(
    clock: &Clock,
    local: &mut L,
    port: usize,
    network: &mut Network,
    out: &mut Vec<Vec<u8>>,
) {
    for _ in 0..ROUNDS {
        let now = clock.now();
        local.round(now, out);
        for packet in out.drain(..) {
            network.enter(now, port, packet);
        }
        if local.due() > now {
            return;
        }
    }
}

/// Processor time of the calling thread.
///
/// # Errors
/// Those of the system.
pub fn own_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
