//! The bare ceiling: OpenSSL's DTLS records over the same socket calls as utcp's, without any TCP. What it lacks of TCP
//! is more than headers: nothing is repaired, and the receiver tells how far it is only when the sender waits for it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslStream, SslVersion};
use utcp::error::Error;
use utcp::udp::Sink;

use super::{Half, Progress};
use crate::datapath::socket::Batched;

/// Of a datagram of 1,472 octets, what DTLS with AES-GCM leaves.
const RECORD: usize = 1_472 - 37;

/// Datagrams offered to the socket at once, as the endpoint does.
const BATCH: usize = 64;

/// Datagrams between sender and receiver: no more than the socket's buffer holds.
const WINDOW: u64 = 1_024;

const LIMIT: usize = 512;

/// What OpenSSL reads from and writes to.
#[derive(Default)]
struct Wire {
    /// One datagram, then none.
    incoming: Option<Vec<u8>>,
    spare: Vec<u8>,
    out: Vec<u8>,
    ends: Vec<usize>,
}

impl Wire {
    fn put(&mut self, datagram: &[u8]) {
        let mut buffer = std::mem::take(&mut self.spare);
        buffer.clear();
        buffer.extend_from_slice(datagram);
        self.incoming = Some(buffer);
    }

    fn clear(&mut self) {
        self.out.clear();
        self.ends.clear();
    }

    /// Those that were written.
    fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        self.ends
            .iter()
            .map(move |&end| &self.out[std::mem::replace(&mut from, end)..end])
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(datagram) = self.incoming.take() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let n = datagram.len().min(buffer.len());
        buffer[..n].copy_from_slice(&datagram[..n]);
        self.spare = datagram;
        Ok(n)
    }
}

impl Write for Wire {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(data);
        self.ends.push(self.out.len());
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn context(server: bool) -> SslContext {
    let mut context = SslContext::builder(SslMethod::dtls()).expect("DTLS");
    let version = Some(SslVersion::DTLS1_2);
    context.set_min_proto_version(version).expect("DTLS 1.2");
    context.set_max_proto_version(version).expect("DTLS 1.2");
    context
        .set_cipher_list("ECDHE-ECDSA-AES128-GCM-SHA256")
        .expect("a cipher");
    if server {
        super::tls::use_identity(&mut context);
    }
    context.build()
}

/// Two sessions that have shaken hands, in memory.
fn sessions() -> [SslStream<Wire>; 2] {
    let mut ends = [false, true].map(|server| {
        let mut ssl = Ssl::new(&context(server)).expect("an SSL");
        if server {
            ssl.set_accept_state();
        } else {
            ssl.set_connect_state();
        }
        ssl.set_mtu(1_400).expect("an MTU");
        SslStream::new(ssl, Wire::default()).expect("a stream")
    });
    let mut queues = [VecDeque::<Vec<u8>>::new(), VecDeque::new()];
    let mut done = [false; 2];
    for _ in 0..50 {
        for who in 0..2 {
            loop {
                let stream = &mut ends[who];
                if let Some(datagram) = queues[who].pop_front() {
                    stream.get_mut().put(&datagram);
                }
                match stream.do_handshake() {
                    Ok(()) => done[who] = true,
                    Err(error) if error.code() == ErrorCode::WANT_READ => {}
                    Err(error) => panic!("{error}"),
                }
                let written: Vec<Vec<u8>> =
                    stream.get_ref().datagrams().map(<[u8]>::to_vec).collect();
                stream.get_mut().clear();
                queues[1 - who].extend(written);
                if queues[who].is_empty() {
                    break;
                }
            }
        }
        if done == [true; 2] {
            return ends;
        }
    }
    panic!("no handshake");
}

/// What both ends know.
#[derive(Default)]
struct Meter {
    arrived: AtomicU64,
    /// The sender wants to hear of it.
    waiting: AtomicBool,
}

struct Sender {
    socket: Batched,
    peer: SocketAddr,
    tls: SslStream<Wire>,
    meter: Arc<Meter>,
    sent: u64,
    data: Vec<u8>,
}

/// Takes what nobody is interested in.
struct Ignore;

impl Sink for Ignore {
    fn is_ready(&self, _: SocketAddr) -> bool {
        true
    }

    fn datagram(&mut self, _: SocketAddr, _: &[u8], _: u8) -> Result<(), Error> {
        Ok(())
    }
}

impl Half for Sender {
    fn turn(&mut self, _now: u64) -> bool {
        let room = |sender: &Sender| {
            sender.sent + BATCH as u64 <= sender.meter.arrived.load(Ordering::SeqCst) + WINDOW
        };
        if !room(self) {
            let _ = self.socket.receive(LIMIT, &mut Ignore);
            self.meter.waiting.store(true, Ordering::SeqCst);
            if !room(self) {
                return false;
            }
        }
        self.tls.get_mut().clear();
        for _ in 0..BATCH {
            let n = self.tls.ssl_write(&self.data).expect("a record");
            assert_eq!(n, RECORD);
        }
        self.socket
            .send_all(self.peer, self.tls.get_ref().datagrams());
        self.sent += BATCH as u64;
        true
    }

    fn fd(&self) -> RawFd {
        self.socket.fd()
    }
}

struct Open {
    tls: SslStream<Wire>,
    plain: Vec<u8>,
    records: u64,
    octets: u64,
}

impl Sink for Open {
    fn is_ready(&self, _: SocketAddr) -> bool {
        true
    }

    fn datagram(&mut self, _: SocketAddr, data: &[u8], _: u8) -> Result<(), Error> {
        self.tls.get_mut().put(data);
        let n = self.tls.ssl_read(&mut self.plain);
        self.records += 1;
        self.octets += n.map_err(|_| Error::Tls)? as u64;
        Ok(())
    }
}

struct Receiver {
    socket: Batched,
    peer: SocketAddr,
    open: Open,
    meter: Arc<Meter>,
    progress: Progress,
}

impl Half for Receiver {
    fn turn(&mut self, _now: u64) -> bool {
        let received = self.socket.receive(LIMIT, &mut self.open).expect("records");
        self.meter
            .arrived
            .store(self.open.records, Ordering::SeqCst);
        self.progress.store(self.open.octets, Ordering::Relaxed);
        if received > 0 && self.meter.waiting.swap(false, Ordering::SeqCst) {
            let news: &[u8] = b"arrived";
            self.socket.send_all(self.peer, std::iter::once(news));
        }
        received > 0
    }

    fn fd(&self) -> RawFd {
        self.socket.fd()
    }
}

/// Both ends.
pub fn pair(progress: &Progress) -> [Box<dyn Half>; 2] {
    let [sender, receiver] = sessions();
    let [a, b] = [Batched::new(), Batched::new()];
    let addresses = [a.address(), b.address()];
    let meter = Arc::<Meter>::default();
    let sender = Sender {
        socket: a,
        peer: addresses[1],
        tls: sender,
        meter: meter.clone(),
        sent: 0,
        data: vec![7; RECORD],
    };
    let receiver = Receiver {
        socket: b,
        peer: addresses[0],
        open: Open {
            tls: receiver,
            plain: vec![0; 1 << 14],
            records: 0,
            octets: 0,
        },
        meter,
        progress: progress.clone(),
    };
    [Box::new(sender), Box::new(receiver)]
}
