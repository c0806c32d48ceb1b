//! Traffic of clients: downloads, probes and web-like visits, each over a circuit that was chosen.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::network::{CLIENTS, Net};
use super::server::{CELL, Clock, FILLER, HEAD, Request, Server, octet};
use crate::rng::Rng;

/// A stream on which nothing comes for so long has failed.
const STALL: Duration = Duration::from_secs(60);

/// Something that arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When, in seconds of the clock. Of probes: when they were sent.
    pub at: f64,
    /// How much.
    pub octets: u64,
    /// How long it was on its way, in milliseconds. Of probes: there and back. Of data: from the server to here.
    pub delay_ms: f64,
}

/// Connects through a client's SOCKS port to the server, over a circuit, and sends the request.
///
/// # Errors
/// Why the stream was not attached, or what SOCKS says.
pub fn connect(
    net: &Net,
    client: usize,
    circuit: &str,
    server: SocketAddr,
    request: Request,
) -> io::Result<TcpStream> {
    let port = net.socks_port(client);
    let host = net.emulator.host(CLIENTS)?;
    let make = move || TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let stream = host.spawn(make).join().expect("it does not panic")?;
    let source = stream.local_addr()?;
    let pinning = net.client(client);
    pinning.expect(source, circuit);
    let outcome = socks(stream, server, request);
    outcome.map_err(|error| {
        let why = pinning.detached(source).or_else(|| pinning.gone(circuit));
        let why = why.map_or(String::new(), |why| format!(" ({why})"));
        io::Error::new(
            error.kind(),
            format!("a stream of client{}: {error}{why}", client + 1),
        )
    })
}

/// SOCKS 5 CONNECT (RFC 1928) to an IPv4 address.
fn socks(mut stream: TcpStream, server: SocketAddr, request: Request) -> io::Result<TcpStream> {
    let SocketAddr::V4(server) = server else {
        return Err(io::Error::other("the server has an IPv4 address"));
    };
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALL))?;
    stream.write_all(&[5, 1, 0])?;
    let mut method = [0; 2];
    stream.read_exact(&mut method)?;
    if method != [5, 0] {
        return Err(io::Error::other("SOCKS asks for an unknown method"));
    }
    let mut message = vec![5, 1, 0, 1];
    message.extend(server.ip().octets());
    message.extend(server.port().to_be_bytes());
    stream.write_all(&message)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    // The bound address: its length depends on its type; then the port.
    let length = match head[3] {
        1 => 4,
        4 => 16,
        _ => {
            let mut one = [0];
            stream.read_exact(&mut one)?;
            usize::from(one[0])
        }
    };
    stream.read_exact(&mut vec![0; length + 2])?;
    if head[1] != 0 {
        return Err(io::Error::other(format!("SOCKS reply {}", head[1])));
    }
    stream.write_all(&request.encode())?;
    Ok(stream)
}

/// A stream at work; [`Flow::end`] ends it.
pub struct Flow {
    stream: TcpStream,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<Vec<Sample>>>>,
}

/// What a thread does with a stream until it is told to end.
type Work = Box<dyn FnOnce(TcpStream, Arc<AtomicBool>) -> io::Result<Vec<Sample>> + Send>;

impl Flow {
    fn new(stream: TcpStream, works: Vec<Work>) -> io::Result<Flow> {
        let ends = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for work in works {
            let (stream, ends) = (stream.try_clone()?, ends.clone());
            threads.push(thread::spawn(move || {
                let outcome = work(stream, ends.clone());
                // What comes of it after the end is not a failure.
                match outcome {
                    Err(_) if ends.load(Ordering::Relaxed) => Ok(Vec::new()),
                    other => other,
                }
            }));
        }
        Ok(Flow {
            stream,
            ends,
            threads,
        })
    }

    /// Ends it; gives everything that arrived.
    ///
    /// # Errors
    /// If it failed before.
    pub fn end(mut self) -> io::Result<Vec<Sample>> {
        self.stop();
        let mut samples = Vec::new();
        for thread in std::mem::take(&mut self.threads) {
            samples.extend(thread.join().expect("it does not panic")?);
        }
        Ok(samples)
    }

    /// Has the server send a burst.
    ///
    /// # Errors
    /// If the stream has failed.
    pub fn burst(&self) -> io::Result<()> {
        (&self.stream).write_all(&[0; 8])
    }

    fn stop(&self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Receives stamped cells: one sample for whatever was there at once, with the delay of its last whole cell. What was not
/// sent so, or not in this order, is a failure.
pub fn receive(
    net: &Net,
    client: usize,
    circuit: &str,
    server: &Server,
    request: Request,
    clock: Clock,
) -> io::Result<Flow> {
    let stream = connect(net, client, circuit, server.address, request)?;
    let work = move |mut stream: TcpStream, ends: Arc<AtomicBool>| {
        let mut samples = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut cells = Cells::default();
        loop {
            let count = match stream.read(&mut buffer) {
                Ok(0) if ends.load(Ordering::Relaxed) => return Ok(samples),
                Ok(0) => {
                    return Err(io::Error::new(
                        ErrorKind::UnexpectedEof,
                        "a download ended early",
                    ));
                }
                Ok(count) => count,
                Err(_) if ends.load(Ordering::Relaxed) => return Ok(samples),
                Err(error) => return Err(error),
            };
            let now = clock.now();
            cells.feed(&buffer[..count])?;
            samples.push(Sample {
                at: now as f64 / 1e9,
                octets: count as u64,
                delay_ms: now.saturating_sub(cells.stamp) as f64 / 1e6,
            });
        }
    };
    Flow::new(stream, vec![Box::new(work)])
}

/// What is wrong when data does not arrive as it was sent.
fn damaged(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("damaged data: {what}"))
}

/// Stamped cells, however they are cut.
#[derive(Default)]
struct Cells {
    position: usize,
    head: [u8; HEAD],
    /// The number that the next cell has.
    next: u64,
    /// Of the last cell that began.
    stamp: u64,
}

impl Cells {
    /// Takes what came.
    ///
    /// # Errors
    /// If it is not what was sent.
    fn feed(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let end = if self.position < HEAD { HEAD } else { CELL };
            let (part, rest) = data.split_at((end - self.position).min(data.len()));
            if self.position < HEAD {
                self.head[self.position..][..part.len()].copy_from_slice(part);
            } else if part.iter().any(|octet| *octet != FILLER) {
                return Err(damaged(format!("in cell {}", self.next - 1)));
            }
            self.position = (self.position + part.len()) % CELL;
            if self.position == HEAD && end == HEAD {
                let word = |at: usize| self.head[at..at + 8].try_into().expect("eight octets");
                self.stamp = u64::from_be_bytes(word(0));
                let number = u64::from_be_bytes(word(8));
                if number != self.next {
                    return Err(damaged(format!("cell {number} instead of {}", self.next)));
                }
                self.next += 1;
            }
            data = rest;
        }
        Ok(())
    }
}

/// Sends a small message every so often, whatever becomes of those before, and measures how long its echo takes.
pub fn probe(
    net: &Net,
    client: usize,
    circuit: &str,
    server: &Server,
    every: Duration,
    clock: Clock,
) -> io::Result<Flow> {
    let stream = connect(net, client, circuit, server.address, Request::Echo)?;
    let send = move |mut stream: TcpStream, ends: Arc<AtomicBool>| {
        let mut due = Instant::now();
        while !ends.load(Ordering::Relaxed) {
            stream.write_all(&clock.now().to_be_bytes())?;
            due += every;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(Vec::new())
    };
    let hear = move |mut stream: TcpStream, ends: Arc<AtomicBool>| {
        let mut samples = Vec::new();
        let mut stamp = [0; 8];
        loop {
            match stream.read_exact(&mut stamp) {
                Ok(()) => {}
                Err(_) if ends.load(Ordering::Relaxed) => return Ok(samples),
                Err(error) => return Err(error),
            }
            let sent = u64::from_be_bytes(stamp);
            samples.push(Sample {
                at: sent as f64 / 1e9,
                octets: 8,
                delay_ms: clock.now().saturating_sub(sent) as f64 / 1e6,
            });
        }
    };
    Flow::new(stream, vec![Box::new(send), Box::new(hear)])
}

/// A download of a web-like client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Visit {
    /// When it was asked for, in seconds of the clock.
    pub at: f64,
    /// How much.
    pub octets: u64,
    /// From the request until the first octet, in milliseconds. The request includes that Tor opens a stream.
    pub first_ms: f64,
    /// The same until the last.
    pub last_ms: f64,
}

/// Sizes of web-like downloads, and how many of 100 are such.
pub const SIZES: [(u64, u64); 3] = [(50_000, 60), (1_000_000, 30), (5_000_000, 10)];

/// Downloads an object over a circuit, on a stream of its own.
///
/// # Errors
/// If it does not arrive whole, as it was sent.
pub fn visit(
    net: &Net,
    client: usize,
    circuit: &str,
    server: &Server,
    octets: u64,
    clock: Clock,
) -> io::Result<Visit> {
    let at = clock.seconds();
    let mut stream = connect(
        net,
        client,
        circuit,
        server.address,
        Request::Object(octets),
    )?;
    let mut buffer = vec![0; 64 * 1024];
    let mut first_ms = 0.0;
    let mut got = 0;
    while got < octets {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "an object ended early",
            ));
        }
        if got == 0 {
            first_ms = (clock.seconds() - at) * 1e3;
        }
        let mut arrived = buffer[..count].iter().zip(got..);
        if let Some((_, at)) = arrived.find(|(is, at)| **is != octet(*at)) {
            return Err(damaged(format!("octet {at} of an object of {octets}")));
        }
        got += count as u64;
    }
    if got > octets {
        return Err(damaged(format!("{got} octets of an object of {octets}")));
    }
    Ok(Visit {
        at,
        octets,
        first_ms,
        last_ms: (clock.seconds() - at) * 1e3,
    })
}

/// The next size, and the seconds to think before the next visit: exponential, of this mean.
pub fn choose(rng: &mut Rng, think_s: f64) -> (u64, f64) {
    let total: u64 = SIZES.iter().map(|(_, weight)| weight).sum();
    let mut draw = rng.next() % total;
    let mut size = SIZES[0].0;
    for (octets, weight) in SIZES {
        size = octets;
        if draw < weight {
            break;
        }
        draw -= weight;
    }
    let unit = (rng.next() >> 11) as f64 / (1u64 << 53) as f64;
    (size, -think_s * (1.0 - unit).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(count: u64) -> Vec<u8> {
        let mut data = Vec::new();
        for number in 0..count {
            let mut cell = [FILLER; CELL];
            cell[..8].copy_from_slice(&(number + 100).to_be_bytes());
            cell[8..HEAD].copy_from_slice(&number.to_be_bytes());
            data.extend(cell);
        }
        data
    }

    #[test]
    fn stamps_are_found_however_cells_are_cut() {
        let data = stream(50);
        for step in [1, 7, 8, 17, 497, 498, 499, 1448, 100_000] {
            let mut cells = Cells::default();
            let mut last = 0;
            for part in data.chunks(step) {
                cells.feed(part).unwrap();
                assert!(cells.stamp >= last, "{step}");
                last = cells.stamp;
            }
            assert_eq!((cells.stamp, cells.next, cells.position), (149, 50, 0));
        }
    }

    #[test]
    fn what_was_not_sent_so_is_noticed() {
        let good = stream(9);
        let fails = |data: &[u8]| Cells::default().feed(data).is_err();
        assert!(!fails(&good));
        // A flipped bit, wherever it is, except in a stamp.
        for at in [HEAD - 1, HEAD, CELL - 1, 5 * CELL + 8, 6 * CELL + 400] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert!(fails(&bad), "{at}");
        }
        // A cell that is missing, is there twice, or has lost an octet.
        assert!(fails(&[&good[..CELL], &good[2 * CELL..]].concat()));
        assert!(fails(&[&good[..CELL], &good].concat()));
        assert!(fails(&[&good[..30], &good[31..]].concat()));
    }

    #[test]
    fn small_objects_are_the_most_and_thinking_has_its_mean() {
        let mut rng = Rng::new(3, 0);
        let drawn: Vec<(u64, f64)> = (0..20_000).map(|_| choose(&mut rng, 2.0)).collect();
        let small = drawn.iter().filter(|(size, _)| *size == 50_000).count();
        assert!((11_600..12_400).contains(&small), "{small}");
        let mean = drawn.iter().map(|(_, think)| think).sum::<f64>() / 20_000.0;
        assert!((1.9..2.1).contains(&mean), "{mean}");
    }
}
