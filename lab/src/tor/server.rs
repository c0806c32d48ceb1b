//! What clients connect to through Tor: stamped data as fast as it is taken, or at a pace; echo; objects of a size.
//!
//! A request is 16 octets: what is wanted, and how much of it. Server and clients are in the same process: stamps are of the
//! same clock.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::emulate::host::Host;

/// Where the server listens.
pub const PORT: u16 = 8080;

/// What fits into one relay cell of today's Tor, and of 0.2.0.35.
pub const CELL: usize = 498;
/// A stamped cell begins with its stamp and its number in its stream, from 0, both of eight octets; the rest is this.
pub const FILLER: u8 = 0x55;
/// Octets before the filler.
pub const HEAD: usize = 16;

/// The octet of an object at a position.
pub fn octet(position: u64) -> u8 {
    (position ^ position >> 8 ^ position >> 16) as u8
}

/// What the kernel may keep of what was written: data is stamped when it is written, and waits in Tor, not here.
const BUFFER: usize = 16 * 1024;
/// Cells written at once.
const BATCH: usize = 8;

/// A clock that all stamps are of.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// It begins now.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Nanoseconds since the beginning, never 0.
    pub fn now(self) -> u64 {
        self.0.elapsed().as_nanos() as u64 + 1
    }

    /// Seconds since the beginning.
    pub fn seconds(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Cells, each beginning with the moment when it was written, in nanoseconds; with so many microseconds between two.
    Stamps(u64),
    /// What is sent comes back.
    Echo,
    /// So many octets, then the end.
    Object(u64),
    /// So many octets as stamped cells, whenever eight octets come.
    Bursts(u64),
}

impl Request {
    /// As it is sent.
    pub fn encode(self) -> [u8; 16] {
        let (kind, value) = match self {
            Request::Stamps(pause) => (1u64, pause),
            Request::Echo => (2, 0),
            Request::Object(size) => (3, size),
            Request::Bursts(size) => (4, size),
        };
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&kind.to_be_bytes());
        octets[8..].copy_from_slice(&value.to_be_bytes());
        octets
    }

    fn decode(octets: [u8; 16]) -> io::Result<Request> {
        let value = u64::from_be_bytes(octets[8..].try_into().expect("eight octets"));
        match octets[7] {
            1 => Ok(Request::Stamps(value)),
            2 => Ok(Request::Echo),
            3 => Ok(Request::Object(value)),
            4 => Ok(Request::Bursts(value)),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "nobody asks for that",
            )),
        }
    }
}

/// The server; it ends when this is dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    ends: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts inside of a host.
    ///
    /// # Errors
    /// If the port is taken.
    pub fn start(host: &Host, address: Ipv4Addr, clock: Clock) -> io::Result<Server> {
        let bind = move || TcpListener::bind((address, PORT));
        let listener = host.spawn(bind).join().expect("it does not panic")?;
        listener.set_nonblocking(true)?;
        let ends = Arc::new(AtomicBool::new(false));
        let open = Arc::new(Mutex::new(Vec::new()));
        let address = listener.local_addr()?;
        let (ends_too, open_too) = (ends.clone(), open.clone());
        let accepting = thread::Builder::new()
            .name("server".into())
            .spawn(move || {
                while !ends_too.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((stream, _)) => {
                            if let Ok(other) = stream.try_clone() {
                                open_too.lock().expect("no panic").push(other);
                            }
                            thread::spawn(move || {
                                // Clients go away whenever they have enough.
                                let _ = serve(stream, clock);
                            });
                        }
                        Err(_) => wait_readable(&listener, Duration::from_millis(100)),
                    }
                }
            })?;
        Ok(Server {
            address,
            ends,
            open,
            accepting: Some(accepting),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for stream in self.open.lock().expect("no panic").iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn wait_readable(listener: &TcpListener, most: Duration) {
    let mut descriptors = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let _ = poll(
        &mut descriptors,
        PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX),
    );
}

/// Stamps cells, and numbers them from `next`.
fn stamp(cells: &mut [u8], next: &mut u64, clock: Clock) {
    let now = clock.now().to_be_bytes();
    for cell in cells.chunks_mut(CELL) {
        cell[..8].copy_from_slice(&now);
        cell[8..HEAD].copy_from_slice(&next.to_be_bytes());
        *next += 1;
    }
}

fn serve(mut stream: TcpStream, clock: Clock) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(&stream, sockopt::SndBuf, &BUFFER)?;
    let mut request = [0; 16];
    stream.read_exact(&mut request)?;
    let mut next = 0;
    match Request::decode(request)? {
        Request::Stamps(0) => {
            let mut cells = vec![FILLER; BATCH * CELL];
            loop {
                // The stamp is of the moment when there is room.
                let mut descriptors = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
                poll(&mut descriptors, PollTimeout::NONE)?;
                stamp(&mut cells, &mut next, clock);
                stream.write_all(&cells)?;
            }
        }
        Request::Stamps(pause) => {
            let mut cell = [FILLER; CELL];
            let pause = Duration::from_micros(pause);
            let mut due = Instant::now();
            loop {
                stamp(&mut cell, &mut next, clock);
                stream.write_all(&cell)?;
                due += pause;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        Request::Echo => {
            let mut buffer = [0; 4096];
            loop {
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                stream.write_all(&buffer[..count])?;
            }
        }
        Request::Object(size) => {
            let mut buffer = [0; 16 * 1024];
            let mut at = 0;
            while at < size {
                let now = (size - at).min(buffer.len() as u64);
                let buffer = &mut buffer[..now as usize];
                buffer
                    .iter_mut()
                    .zip(at..)
                    .for_each(|(to, at)| *to = octet(at));
                stream.write_all(buffer)?;
                at += now;
            }
            stream.shutdown(Shutdown::Write)?;
            // Closed by the client, so that nothing is reset.
            let _ = stream.read(&mut request);
            Ok(())
        }
        Request::Bursts(size) => {
            let mut cell = [FILLER; CELL];
            let mut go = [0; 8];
            loop {
                stream.read_exact(&mut go)?;
                for _ in 0..size.div_ceil(CELL as u64) {
                    stamp(&mut cell, &mut next, clock);
                    stream.write_all(&cell)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_they_were() {
        for request in [
            Request::Stamps(5),
            Request::Echo,
            Request::Object(1 << 40),
            Request::Bursts(7),
        ] {
            assert_eq!(Request::decode(request.encode()).unwrap(), request);
        }
        assert!(Request::decode([9; 16]).is_err());
    }

    #[test]
    fn the_server_stamps_echoes_and_sends_objects() {
        let clock = Clock::start();
        let server =
            Server::start(&Host::here().unwrap(), Ipv4Addr::new(127, 79, 3, 1), clock).unwrap();
        let ask = |request: Request| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.write_all(&request.encode()).unwrap();
            stream
        };
        let mut cell = [0; CELL];
        for request in [Request::Stamps(0), Request::Stamps(1000)] {
            let mut stream = ask(request);
            let mut before = 0;
            for number in 0..20u64 {
                stream.read_exact(&mut cell).unwrap();
                assert_eq!(cell[8..HEAD], number.to_be_bytes());
                assert!(cell[HEAD..].iter().all(|octet| *octet == FILLER));
                let stamp = u64::from_be_bytes(cell[..8].try_into().unwrap());
                assert!(stamp >= before && stamp > 0 && stamp <= clock.now());
                before = stamp;
            }
        }
        let mut stream = ask(Request::Echo);
        stream.write_all(b"abc").unwrap();
        stream.read_exact(&mut cell[..3]).unwrap();
        assert_eq!(&cell[..3], b"abc");
        let mut all = Vec::new();
        ask(Request::Object(50_001)).read_to_end(&mut all).unwrap();
        assert!(all.iter().zip(0..).all(|(is, at)| *is == octet(at)));
        assert_eq!(all.len(), 50_001);
        let mut stream = ask(Request::Bursts(2 * CELL as u64));
        stream.write_all(&[0; 8]).unwrap();
        stream.read_exact(&mut [0; 2 * CELL]).unwrap();
    }
}
