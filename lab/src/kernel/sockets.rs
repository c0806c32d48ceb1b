//! What uses the kernel's TCP: threads with blocking sockets inside of a namespace.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, setsockopt, sockopt};

use crate::emulate::host::Host;
use crate::emulate::realtime;

/// How long a call blocks at most before the thread looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);

/// Says that it is over.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// It is over.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it is.
    pub fn stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn with_timeouts(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects with this congestion control, which holds for what this side sends.
fn connect(to: SocketAddr, congestion: &str) -> io::Result<TcpStream> {
    let SocketAddr::V4(to) = to else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let socket = nix::sys::socket::socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    setsockopt(&socket.as_fd(), sockopt::TcpCongestion, &congestion.into())?;
    nix::sys::socket::connect(
        std::os::fd::AsRawFd::as_raw_fd(&socket),
        &SockaddrIn::from(to),
    )?;
    with_timeouts(TcpStream::from(socket))
}

fn accept(listener: &TcpListener, stop: &Stop) -> io::Result<TcpStream> {
    setsockopt(
        listener,
        sockopt::ReceiveTimeout,
        &nix::sys::time::TimeVal::new(0, LOOK.as_micros() as i64),
    )?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => return with_timeouts(stream),
            Err(error) if is_timeout(&error) && !stop.stopped() => {}
            Err(error) => return Err(error),
        }
    }
}

/// A thread inside of the namespace that listens before this returns.
fn server(
    host: &Host,
    address: SocketAddr,
    stop: &Stop,
    serve: impl FnOnce(&TcpListener, &Stop) -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let (ready, is_ready) = mpsc::channel();
    let stop = stop.clone();
    let thread = host.spawn(move || {
        realtime::fifo(realtime::SOCKETS);
        let listener = match TcpListener::bind(address) {
            Ok(listener) => listener,
            Err(error) => {
                let _ = ready.send(Err(error));
                return Ok(());
            }
        };
        let _ = ready.send(Ok(()));
        serve(&listener, &stop)
    });
    is_ready.recv().map_err(io::Error::other)??;
    Ok(thread)
}

/// Reads all that one connection brings, and counts it.
///
/// # Errors
/// If the address cannot be bound; the thread gives what failed later.
pub fn count(
    host: &Host,
    address: SocketAddr,
    stop: &Stop,
    received: Arc<AtomicU64>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    server(host, address, stop, move |listener, stop| {
        let mut stream = accept(listener, stop)?;
        let mut buffer = vec![0; 256 * 1024];
        while !stop.stopped() {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    received.fetch_add(n as u64, Ordering::Relaxed);
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}

/// Sends as much as the connection takes, once `go` has been given.
pub fn flood(
    host: &Host,
    to: SocketAddr,
    congestion: &str,
    stop: &Stop,
    go: mpsc::Receiver<()>,
) -> JoinHandle<io::Result<()>> {
    let (congestion, stop) = (congestion.to_string(), stop.clone());
    host.spawn(move || {
        realtime::fifo(realtime::SOCKETS);
        let buffer = vec![0x5a; 256 * 1024];
        if go.recv().is_err() {
            return Ok(());
        }
        let mut stream = connect(to, &congestion)?;
        while !stop.stopped() {
            match stream.write(&buffer) {
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}

/// Takes one connection after the other, and answers a message of `octets` on each with one octet.
///
/// # Errors
/// If the address cannot be bound; the thread gives what failed later.
pub fn answer(
    host: &Host,
    address: SocketAddr,
    stop: &Stop,
    octets: usize,
) -> io::Result<JoinHandle<io::Result<()>>> {
    server(host, address, stop, move |listener, stop| {
        let mut buffer = vec![0; 65_536];
        while !stop.stopped() {
            let mut stream = match accept(listener, stop) {
                Err(error) if is_timeout(&error) => break,
                other => other?,
            };
            let mut missing = octets;
            while missing > 0 && !stop.stopped() {
                match stream.read(&mut buffer[..missing.min(65_536)]) {
                    Ok(0) => break,
                    Ok(n) => missing -= n,
                    Err(error) if is_timeout(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            if missing == 0 {
                stream.write_all(&[1])?;
            }
        }
        Ok(())
    })
}

/// Sends `messages` messages of `octets`, each on a connection of its own, and waits for the answer; gives how long each
/// took, from the moment that the connection was there.
pub fn ask(
    host: &Host,
    to: SocketAddr,
    congestion: &str,
    messages: usize,
    octets: usize,
) -> JoinHandle<io::Result<Vec<Duration>>> {
    let congestion = congestion.to_string();
    host.spawn(move || {
        realtime::fifo(realtime::SOCKETS);
        let buffer = vec![0x5a; octets];
        let mut took = Vec::new();
        for _ in 0..messages {
            let mut stream = connect(to, &congestion)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            let begin = Instant::now();
            stream.write_all(&buffer)?;
            stream.read_exact(&mut [0])?;
            took.push(begin.elapsed());
        }
        Ok(took)
    })
}
