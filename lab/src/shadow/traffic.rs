//! What runs inside Shadow: a server, and clients that use Tor by SOCKS and print what they measure, a JSON line each.
//!
//! A request is eight octets: how many to send, or 0 to send back what comes.

// Inside Shadow the clock is the simulation's.
#![allow(clippy::disallowed_methods)]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::config::Use;
use crate::rng::Rng;
use crate::sim::client::SIZES;

/// Octets of what quiet clients send.
const ECHO: usize = 400;
/// How often they do.
const EVERY: Duration = Duration::from_millis(500);
/// Mean pause of web-like clients, in seconds.
const PAUSE: f64 = 5.0;
/// Octets of a download without end.
const ENDLESS: u64 = 1 << 62;

/// A line of a client's output.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "measured", rename_all = "lowercase")]
pub enum Measured {
    /// A download of a size: seconds until its first octet, and until its last.
    Download {
        /// Octets.
        size: u64,
        /// When it began, in seconds of the simulation's Unix time.
        at: f64,
        /// Seconds.
        first: f64,
        /// Seconds.
        last: f64,
    },
    /// A second of a download without end.
    Bulk {
        /// When it ended.
        at: f64,
        /// Octets that came in it.
        octets: u64,
        /// How long it was.
        seconds: f64,
    },
    /// What was sent came back.
    Echo {
        /// When it was sent.
        at: f64,
        /// Seconds.
        took: f64,
    },
}

fn unix() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn say(measured: &Measured) -> io::Result<()> {
    let mut line = serde_json::to_string(measured)?;
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}

/// Serves for ever.
///
/// # Errors
/// What the system says of the port.
pub fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    for stream in listener.incoming() {
        let stream = stream?;
        // A client that goes away ends its thread, and nothing else.
        thread::spawn(move || answer(stream));
    }
    Ok(())
}

/// Answers what is asked on a connection, one after the other.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let block = [0x55; 16_384];
    loop {
        let mut request = [0; 8];
        stream.read_exact(&mut request)?;
        let mut left = u64::from_be_bytes(request);
        if left == 0 {
            break;
        }
        while left > 0 {
            let size = left.min(block.len() as u64);
            stream.write_all(&block[..size as usize])?;
            left -= size;
        }
    }
    let mut buffer = [0; 4_096];
    loop {
        let got = stream.read(&mut buffer)?;
        if got == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..got])?;
    }
}

/// Connects to `server` through a SOCKS5 proxy (RFC 1928).
///
/// # Errors
/// What the system says, or that the proxy refuses.
pub fn connect(socks: SocketAddrV4, server: SocketAddrV4) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(socks)?;
    stream.set_nodelay(true)?;
    let refused = |what: &str| io::Error::new(io::ErrorKind::ConnectionRefused, what.to_string());
    stream.write_all(&[5, 1, 0])?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen)?;
    if chosen != [5, 0] {
        return Err(refused("the proxy wants to know who asks"));
    }
    let mut request = vec![5, 1, 0, 1];
    request.extend(server.ip().octets());
    request.extend(server.port().to_be_bytes());
    stream.write_all(&request)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    if head[1] != 0 {
        return Err(refused(&format!("the proxy says {}", head[1])));
    }
    let rest = match head[3] {
        1 => 4,
        4 => 16,
        other => return Err(refused(&format!("an address of kind {other}"))),
    };
    let mut bound = vec![0; rest + 2];
    stream.read_exact(&mut bound)?;
    Ok(stream)
}

/// Connects as soon as Tor can.
fn connected(socks: SocketAddrV4, server: SocketAddrV4) -> TcpStream {
    loop {
        match connect(socks, server) {
            Ok(stream) => return stream,
            Err(error) => {
                eprintln!("not yet: {error}");
                thread::sleep(Duration::from_secs(2));
            }
        }
    }
}

/// Uses Tor until the simulation ends; begins again on a new connection when one breaks.
pub fn run(using: Use, socks: SocketAddrV4, server: SocketAddrV4, seed: u64) -> ! {
    let mut rng = Rng::new(seed, 0);
    loop {
        let stream = connected(socks, server);
        let ended = match using {
            Use::Bulk => bulk(stream),
            Use::Web => web(stream, &mut rng),
            Use::Quiet => quiet(stream),
        };
        if let Err(error) = ended {
            eprintln!("broken: {error}");
        }
    }
}

fn bulk(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&ENDLESS.to_be_bytes())?;
    let mut buffer = [0; 65_536];
    let (mut began, mut octets) = (Instant::now(), 0);
    loop {
        let got = stream.read(&mut buffer)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        octets += got as u64;
        let seconds = began.elapsed().as_secs_f64();
        if seconds >= 1.0 {
            let at = unix();
            say(&Measured::Bulk {
                at,
                octets,
                seconds,
            })?;
            (began, octets) = (Instant::now(), 0);
        }
    }
}

fn web(mut stream: TcpStream, rng: &mut Rng) -> io::Result<()> {
    let mut buffer = [0; 65_536];
    loop {
        let size = match rng.below(100) {
            0..60 => SIZES[0],
            60..95 => SIZES[1],
            _ => SIZES[2],
        };
        let (at, began) = (unix(), Instant::now());
        stream.write_all(&size.to_be_bytes())?;
        let mut first = None;
        let mut left = size;
        while left > 0 {
            let most = left.min(buffer.len() as u64) as usize;
            let got = stream.read(&mut buffer[..most])?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            first.get_or_insert(began.elapsed().as_secs_f64());
            left -= got as u64;
        }
        say(&Measured::Download {
            size,
            at,
            first: first.unwrap_or_default(),
            last: began.elapsed().as_secs_f64(),
        })?;
        let part = (rng.below(1 << 53) + 1) as f64 / (1u64 << 53) as f64;
        thread::sleep(Duration::from_secs_f64(-part.ln() * PAUSE));
    }
}

fn quiet(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&0u64.to_be_bytes())?;
    let mut buffer = [0x33; ECHO];
    loop {
        let (at, began) = (unix(), Instant::now());
        stream.write_all(&buffer)?;
        stream.read_exact(&mut buffer)?;
        let took = began.elapsed();
        let seconds = took.as_secs_f64();
        say(&Measured::Echo { at, took: seconds })?;
        thread::sleep(EVERY.saturating_sub(took));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn local(listener: &TcpListener) -> SocketAddrV4 {
        match listener.local_addr().unwrap() {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => unreachable!("bound to IPv4"),
        }
    }

    #[test]
    fn the_server_sends_what_is_asked_for_and_then_echoes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(local(&listener)).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let server = thread::spawn(move || answer(stream));
        for size in [1u64, 100_000] {
            client.write_all(&size.to_be_bytes()).unwrap();
            let mut got = vec![0; size as usize];
            client.read_exact(&mut got).unwrap();
        }
        client.write_all(&0u64.to_be_bytes()).unwrap();
        client.write_all(b"hello").unwrap();
        let mut got = [0; 5];
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
        drop(client);
        server.join().unwrap().unwrap();
    }

    #[test]
    fn a_proxy_that_refuses_is_an_error_and_one_that_does_not_gives_a_stream() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socks = local(&listener);
        let proxy = thread::spawn(move || {
            for reply in [1u8, 0] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut hello = [0; 3];
                stream.read_exact(&mut hello).unwrap();
                assert_eq!(hello, [5, 1, 0]);
                stream.write_all(&[5, 0]).unwrap();
                let mut request = [0; 10];
                stream.read_exact(&mut request).unwrap();
                assert_eq!(request, [5, 1, 0, 1, 100, 64, 0, 9, 0x1f, 0x90]);
                stream
                    .write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
                    .unwrap();
                if reply == 0 {
                    stream.write_all(b"x").unwrap();
                }
            }
        });
        let server = SocketAddrV4::new(Ipv4Addr::new(100, 64, 0, 9), 8_080);
        assert!(connect(socks, server).is_err());
        let mut stream = connect(socks, server).unwrap();
        let mut got = [0; 1];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"x");
        proxy.join().unwrap();
    }
}
