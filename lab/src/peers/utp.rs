//! uTP (BEP 29) by librqbit-utp: a connection for each circuit over one UDP socket, with TLS in it.
//!
//! The crate's congestion control is CUBIC; it does not have LEDBAT, which most of uTP's other implementations use.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use librqbit_utp::{SocketOpts, UtpSocketUdp, UtpStream};
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;

use super::cells::{CELL, circuit_of};
use super::clock::{self, MILLI, Micros};
use super::identity::Identity;
use super::tls;
use super::transport::{Failure, Side, Transport};

/// Octets of a connection's send and receive buffer.
const BUFFER: usize = 4 << 20;

/// Octets of TLS records that wait for the connection to take them.
const WAITING: usize = 16 << 10;

/// Connections that may be in their handshake at once: the crate takes no more than 4 to one peer.
const CONNECTING: usize = 4;

/// A connection in its handshake.
type Opening = Pin<Box<dyn Future<Output = librqbit_utp::Result<UtpStream>>>>;

/// Records on their way between OpenSSL and the connection.
#[derive(Debug, Default)]
struct Records {
    come: VecDeque<u8>,
    go: Vec<u8>,
    gone: usize,
}

impl Read for Records {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.come.read(buffer)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Records {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.go.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One connection.
struct Connection {
    stream: UtpStream,
    tls: SslStream<Records>,
    ready: bool,
    /// The first octets of the first cell, until they say which circuit it is.
    begin: Vec<u8>,
}

fn is_wait(error: &openssl::ssl::Error) -> bool {
    matches!(error.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE)
}

impl Connection {
    fn new(
        context: &SslContext,
        stream: UtpStream,
        is_client: bool,
    ) -> Result<Connection, Failure> {
        let mut ssl = Ssl::new(context)?;
        if is_client {
            ssl.set_connect_state();
        } else {
            ssl.set_accept_state();
        }
        Ok(Connection {
            stream,
            tls: SslStream::new(ssl, Records::default())?,
            ready: false,
            begin: Vec::new(),
        })
    }

    /// Moves records both ways; whether there were any.
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        let mut moved = false;
        let mut space = [0; 16_384];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer)? {
                Poll::Ready(()) if buffer.filled().is_empty() => {
                    return Err("the peer has closed".into());
                }
                Poll::Ready(()) => self.tls.get_mut().come.extend(buffer.filled()),
                Poll::Pending => break,
            }
            moved = true;
        }
        if !self.ready {
            match self.tls.do_handshake() {
                Ok(()) => self.ready = true,
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let records = self.tls.get_mut();
        while records.gone < records.go.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &records.go[records.gone..])? {
                Poll::Ready(count) => records.gone += count,
                Poll::Pending => break,
            }
            moved = true;
        }
        if records.gone == records.go.len() {
            records.go.clear();
            records.gone = 0;
        }
        Ok(moved)
    }

    fn write(&mut self, data: &[u8]) -> Result<usize, Failure> {
        let records = self.tls.get_ref();
        if !self.ready || records.go.len() - records.gone >= WAITING {
            return Ok(0);
        }
        match self.tls.ssl_write(&data[..data.len().min(8 * CELL)]) {
            Ok(count) => Ok(count),
            Err(error) if is_wait(&error) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self, to: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        let mut buffer = [0; 16_384];
        while self.ready {
            match self.tls.ssl_read(&mut buffer) {
                Ok(count) => to(&buffer[..count]),
                Err(error) if is_wait(&error) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// See the module.
pub struct Utp {
    // Dropped before the runtime that they belong to.
    circuits: Circuits,
    runtime: Runtime,
}

struct Circuits {
    connections: BTreeMap<u32, Connection>,
    /// Of which the first cell has not come yet.
    fresh: Vec<Connection>,
    /// Circuits that are being connected, and that are still to be.
    connecting: Vec<(u32, Opening)>,
    wanted: VecDeque<u32>,
    accepting: Option<Opening>,
    socket: Arc<UtpSocketUdp>,
    context: SslContext,
    server: SocketAddr,
    is_client: bool,
}

impl Utp {
    /// One side.
    ///
    /// # Errors
    /// Those of the socket, the runtime and OpenSSL.
    pub fn new(side: &Side, identity: &Identity) -> Result<Utp, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let size = NonZeroUsize::new(BUFFER);
        let options = SocketOpts {
            vsock_rx_bufsize_bytes: size,
            vsock_tx_bufsize_bytes_max: size,
            disable_nagle: true,
            ..SocketOpts::default()
        };
        let socket = runtime.block_on(UtpSocketUdp::new_udp_with_opts(
            side.local(),
            options,
            Default::default(),
        ))?;
        let circuits = Circuits {
            connections: BTreeMap::new(),
            fresh: Vec::new(),
            connecting: Vec::new(),
            wanted: VecDeque::new(),
            accepting: None,
            socket,
            context: tls::context(side, identity)?,
            server: side.address(),
            is_client: side.is_client(),
        };
        Ok(Utp { circuits, runtime })
    }
}

impl Circuits {
    /// Everything that can be done now; whether anything was.
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        let mut moved = false;
        while self.connecting.len() < CONNECTING
            && let Some(circuit) = self.wanted.pop_front()
        {
            let (socket, server) = (self.socket.clone(), self.server);
            let opening: Opening = Box::pin(async move { socket.connect(server).await });
            self.connecting.push((circuit, opening));
        }
        for (circuit, mut opening) in std::mem::take(&mut self.connecting) {
            match opening.as_mut().poll(cx) {
                Poll::Ready(stream) => {
                    let connection = Connection::new(&self.context, stream?, true)?;
                    self.connections.insert(circuit, connection);
                    moved = true;
                }
                Poll::Pending => self.connecting.push((circuit, opening)),
            }
        }
        while !self.is_client {
            let accepting = self.accepting.get_or_insert_with(|| {
                let socket = self.socket.clone();
                Box::pin(async move { socket.accept().await })
            });
            let Poll::Ready(stream) = accepting.as_mut().poll(cx) else {
                break;
            };
            self.accepting = None;
            self.fresh
                .push(Connection::new(&self.context, stream?, false)?);
            moved = true;
        }
        for connection in self.connections.values_mut().chain(&mut self.fresh) {
            moved |= connection.poll(cx)?;
        }
        Ok(moved)
    }
}

impl Transport for Utp {
    fn is_ready(&self) -> bool {
        // There is a connection as soon as there is a circuit.
        true
    }

    fn write(&mut self, circuit: u32, data: &[u8]) -> Result<usize, Failure> {
        if let Some(connection) = self.circuits.connections.get_mut(&circuit) {
            return connection.write(data);
        }
        if !self.circuits.is_client {
            return Err(format!("no circuit {circuit}").into());
        }
        let is_known = self.circuits.wanted.contains(&circuit)
            || self
                .circuits
                .connecting
                .iter()
                .any(|(other, _)| *other == circuit);
        if !is_known {
            self.circuits.wanted.push_back(circuit);
        }
        Ok(0)
    }

    fn read(&mut self, to: &mut dyn FnMut(u32, &[u8])) -> Result<(), Failure> {
        for mut connection in std::mem::take(&mut self.circuits.fresh) {
            let mut begin = std::mem::take(&mut connection.begin);
            connection.read(&mut |data| begin.extend_from_slice(data))?;
            match circuit_of(&begin) {
                Some(circuit) => {
                    to(circuit, &begin);
                    self.circuits.connections.insert(circuit, connection);
                }
                None => {
                    connection.begin = begin;
                    self.circuits.fresh.push(connection);
                }
            }
        }
        for (&circuit, connection) in &mut self.circuits.connections {
            connection.read(&mut |data| to(circuit, data))?;
        }
        Ok(())
    }

    fn turn(&mut self, until: Micros) -> Result<(), Failure> {
        // The runtime counts in milliseconds: rather early than late.
        let left = until.saturating_sub(clock::now()) / MILLI;
        let Utp { circuits, runtime } = self;
        runtime.block_on(async {
            let work = poll_fn(|cx| match circuits.poll(cx) {
                Ok(false) => Poll::Pending,
                Ok(true) => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(error)),
            });
            tokio::time::timeout(Duration::from_millis(left), work)
                .await
                .unwrap_or(Ok(()))
        })
    }
}
