//! One connection between the kernel and utcp, with a link between them.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use utcp::tcp::congestion::Algorithm;
use utcp_lab::emulate::host::{ADDRESSES, Host, MTU};
use utcp_lab::emulate::link::{Conditions, Counters, Link, MILLIS, Watch};
use utcp_lab::kernel::emulator::{Clock, End, Path, Paths};
use utcp_lab::kernel::inner::Inner;

use crate::script::{Report, Script, Stream, Switch};

/// What hangs is ended after this, and fails.
const WATCHDOG: Duration = Duration::from_secs(40);

const PORT: u16 = 9_000;
const FROM: u16 = 40_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    KernelConnects,
    OursConnects,
}

/// A quick link that does nothing to packets.
pub fn clean() -> Conditions {
    Conditions::new(100_000_000, 10 * MILLIS)
}

/// What a case starts with, beside the script.
pub struct Start {
    pub conditions: Conditions,
    pub congestion: Algorithm,
    /// SO_RCVBUF of the kernel's socket.
    pub kernel_buffer: Option<usize>,
    /// The largest receive window of utcp.
    pub our_buffer: Option<usize>,
    /// For what the kernel sends, and for what utcp sends.
    pub watches: [Option<Watch>; 2],
}

impl Start {
    pub fn over(conditions: Conditions) -> Start {
        Start {
            conditions,
            congestion: Algorithm::Cubic,
            kernel_buffer: None,
            our_buffer: None,
            watches: [None, None],
        }
    }
}

pub struct World {
    pub host: Host,
    stream: Option<TcpStream>,
    report: Arc<Mutex<Report>>,
    stop: Switch,
    emulator: Option<JoinHandle<[Counters; 2]>>,
}

fn kernel_address() -> SocketAddr {
    SocketAddr::new(ADDRESSES[0].into(), PORT)
}

fn our_address(port: u16) -> SocketAddr {
    SocketAddr::new(ADDRESSES[1].into(), port)
}

/// Runs the emulator until the switch is turned.
fn carry(path: Path, stop: Switch) -> JoinHandle<[Counters; 2]> {
    thread::spawn(move || {
        let clock = Clock::start();
        let limit = clock.now() + 3 * WATCHDOG.as_nanos() as u64;
        let mut paths = Paths::new([path]);
        paths
            .run(&clock, |now| stop.is_on() || now > limit)
            .expect("the TUN device works");
        paths.links(0).map(|link| link.counters)
    })
}

fn listen(host: &Host, buffer: Option<usize>) -> TcpListener {
    host.spawn(move || {
        let listener = TcpListener::bind(kernel_address()).expect("the address is there");
        if let Some(octets) = buffer {
            setsockopt(&listener, sockopt::RcvBuf, &octets).expect("a buffer size");
        }
        listener
    })
    .join()
    .expect("it does not panic")
}

fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("a socket");
    let begin = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("a socket");
                return stream;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                assert!(begin.elapsed() < WATCHDOG, "nobody connected");
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("accept: {error}"),
        }
    }
}

impl World {
    /// Connects both.
    pub fn new(direction: Direction, script: Script, start: Start) -> World {
        let (host, tun) = Host::new(ADDRESSES[0], ADDRESSES[1]).expect("it was possible before");
        let listener =
            (direction == Direction::OursConnects).then(|| listen(&host, start.kernel_buffer));
        let report = script.report.clone();
        // Sequence numbers pass zero early on.
        let iss = 0xffff_f000;
        let mut tcp = match direction {
            Direction::KernelConnects => {
                Inner::listen(start.congestion, MTU, iss, our_address(PORT))
            }
            Direction::OursConnects => Inner::connect(
                start.congestion,
                MTU,
                iss,
                our_address(FROM),
                kernel_address(),
            ),
        };
        if let Some(octets) = start.our_buffer {
            tcp.set_receive_buffer(octets);
        }
        let mut links = [1, 2].map(|seed| Link::new(start.conditions.clone(), seed));
        for (link, watch) in links.iter_mut().zip(start.watches) {
            if let Some(watch) = watch {
                link.watch(watch);
            }
        }
        let path = Path {
            ends: [End::Kernel(tun), End::ours(tcp, script)],
            links,
        };
        let stop = Switch::default();
        let emulator = carry(path, stop.clone());
        let stream = match listener {
            Some(listener) => accept(&listener),
            None => host
                .spawn(|| connect(PORT))
                .join()
                .expect("it does not panic")
                .expect("utcp answers"),
        };
        if let (Direction::KernelConnects, Some(octets)) = (direction, start.kernel_buffer) {
            setsockopt(&stream, sockopt::RcvBuf, &octets).expect("a buffer size");
        }
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&stream, Some(WATCHDOG)).expect("a time-out");
        }
        World {
            host,
            stream: Some(stream),
            report,
            stop,
            emulator: Some(emulator),
        }
    }

    /// The kernel's socket.
    pub fn stream(&self) -> &TcpStream {
        self.stream.as_ref().expect("still open")
    }

    /// What utcp's end has seen so far.
    pub fn report(&self) -> Report {
        self.report.lock().expect("nobody panics with it").clone()
    }

    /// Waits until utcp's end has seen what is asked for.
    pub fn wait(&self, what: &str, condition: impl Fn(&Report) -> bool) -> Report {
        wait_until(
            || condition(&self.report()).then(|| self.report()),
            || format!("{what}: {:?}", self.report()),
        )
    }

    /// Ends the emulator; what the links did, the kernel's packets first.
    pub fn end(mut self) -> [Counters; 2] {
        self.stop.turn_on();
        let emulator = self.emulator.take().expect("it runs");
        emulator.join().expect("the emulator does not panic")
    }

    /// Writes to the kernel's socket.
    pub fn kernel_sends(&self, octets: u64) -> JoinHandle<()> {
        let stream = self.stream().try_clone().expect("a descriptor is left");
        thread::spawn(move || send(&stream, octets))
    }

    /// Reads and checks what utcp sends.
    pub fn kernel_receives(&self, octets: u64) {
        receive(self.stream(), Stream::FromOurs, octets);
    }

    /// The kernel has read everything that utcp sent.
    pub fn kernel_sees_end(&self) {
        let mut octet = [0];
        let end = self.stream().read(&mut octet);
        assert!(matches!(end, Ok(0)), "the kernel read {end:?}");
    }

    /// The kernel has nothing more to say.
    pub fn kernel_finishes(&self) {
        self.stream().shutdown(Shutdown::Write).expect("connected");
    }

    /// Closes the kernel's socket, whatever is unread; with `at_once` nothing lingers either, which is a reset.
    pub fn kernel_closes(&mut self, at_once: bool) {
        let stream = self.stream.take().expect("still open");
        if at_once {
            let linger = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(&stream, sockopt::Linger, &linger).expect("a socket");
        }
    }

    /// The kernel's socket has come to its end: it is gone, or in TIME-WAIT.
    pub fn kernel_is_done(&self) {
        wait_until(
            || {
                let states = self.host.socket_states();
                states.iter().all(|&state| state == 6).then_some(())
            },
            || format!("the kernel's sockets: {:?}", self.host.socket_states()),
        );
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.turn_on();
    }
}

/// utcp connects to a port of the kernel's where nobody listens.
pub fn refused_by_kernel() -> Report {
    let (_host, tun) = Host::new(ADDRESSES[0], ADDRESSES[1]).expect("it was possible before");
    let tcp = Inner::connect(
        Algorithm::Cubic,
        MTU,
        1,
        our_address(FROM),
        kernel_address(),
    );
    let script = Script::sends(1);
    let report = script.report.clone();
    let stop = Switch::default();
    let emulator = carry(
        Path {
            ends: [End::Kernel(tun), End::ours(tcp, script)],
            links: [1, 2].map(|seed| Link::new(clean(), seed)),
        },
        stop.clone(),
    );
    let now = || report.lock().expect("nobody panics with it").clone();
    let report = wait_until(
        || Some(now()).filter(|report| report.reason.is_some()),
        || format!("an end: {:?}", now()),
    );
    stop.turn_on();
    emulator.join().expect("the emulator does not panic");
    report
}

/// The kernel connects to a port of utcp's where nobody listens.
pub fn refused_by_ours() -> io::Result<TcpStream> {
    let (host, tun) = Host::new(ADDRESSES[0], ADDRESSES[1]).expect("it was possible before");
    let tcp = Inner::listen(Algorithm::Cubic, MTU, 1, our_address(PORT));
    let stop = Switch::default();
    let emulator = carry(
        Path {
            ends: [End::Kernel(tun), End::ours(tcp, Script::default())],
            links: [1, 2].map(|seed| Link::new(clean(), seed)),
        },
        stop.clone(),
    );
    let result = host.spawn(|| connect(PORT + 1)).join();
    stop.turn_on();
    emulator.join().expect("the emulator does not panic");
    result.expect("it does not panic")
}

/// Polls for a condition, up to the watchdog.
pub fn wait_until<T>(mut condition: impl FnMut() -> Option<T>, say: impl Fn() -> String) -> T {
    let begin = Instant::now();
    loop {
        if let Some(result) = condition() {
            return result;
        }
        assert!(begin.elapsed() < WATCHDOG, "waited in vain for {}", say());
        thread::sleep(Duration::from_millis(1));
    }
}

/// Connects from inside of the namespace to utcp's side.
pub fn connect(port: u16) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&our_address(port), WATCHDOG)
}

/// Writes `Stream::FromKernel`.
pub fn send(mut stream: &TcpStream, octets: u64) {
    let mut buffer = vec![0; 65_536];
    let mut sent = 0;
    while sent < octets {
        let n = (octets - sent).min(buffer.len() as u64) as usize;
        Stream::FromKernel.fill(sent, &mut buffer[..n]);
        stream.write_all(&buffer[..n]).expect("utcp takes it");
        sent += n as u64;
    }
}

/// Reads exactly so much, and checks it.
pub fn receive(mut stream: &TcpStream, what: Stream, octets: u64) {
    let mut buffer = vec![0; 65_536];
    let mut received = 0;
    while received < octets {
        let most = (octets - received).min(buffer.len() as u64) as usize;
        let n = match stream.read(&mut buffer[..most]) {
            Ok(0) => panic!("ended after {received} of {octets} octets"),
            Ok(n) => n,
            Err(error) => panic!("after {received} of {octets} octets: {error}"),
        };
        assert!(
            what.matches(received, &buffer[..n]),
            "wrong data within {received}..{}",
            received + n as u64
        );
        received += n as u64;
    }
}
