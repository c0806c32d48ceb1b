//! TLS over TCP of the kernel's: one connection for all circuits, as vanilla Tor, or one for each, as PCTCP.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::PollFlags;
use openssl::pkey::PKey;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslMethod, SslMode, SslOptions, SslStream, SslVerifyMode,
};
use openssl::x509::X509;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::cells::{CELL, circuit_of};
use super::clock::{self, Micros};
use super::identity::Identity;
use super::transport::{Control, Failure, Side, Transport};

/// Octets that the kernel holds unsent, so that what waits can still be chosen from: what Tor's KIST is for.
const UNSENT: u32 = 16 << 10;

/// Cells in a TLS record, at most.
const RECORD: usize = 8;

/// Octets of a circuit that wait for their turn in the common connection.
const QUEUE: usize = 16 * CELL;

/// Records read from a connection before something else is done.
const READS: usize = 64;

/// TLS 1.2 or 1.3 with the settings that both kinds share.
///
/// # Errors
/// Those of OpenSSL.
pub fn context(side: &Side, identity: &Identity) -> Result<SslContext, Failure> {
    let mut builder = SslContext::builder(SslMethod::tls())?;
    builder.set_mode(SslMode::ENABLE_PARTIAL_WRITE | SslMode::ACCEPT_MOVING_WRITE_BUFFER);
    builder.set_options(SslOptions::NO_COMPRESSION | SslOptions::NO_TICKET);
    builder.set_ciphersuites("TLS_AES_128_GCM_SHA256")?;
    let certificate = X509::from_der(&identity.certificate)?;
    if side.is_client() {
        builder.cert_store_mut().add_cert(certificate)?;
        builder.set_verify(SslVerifyMode::PEER);
    } else {
        builder.set_certificate(&certificate)?;
        builder.set_private_key(PKey::private_key_from_der(&identity.key)?.as_ref())?;
    }
    Ok(builder.build())
}

fn congestion(socket: &Socket, control: Control) -> Result<(), Failure> {
    socket
        .set_tcp_congestion(control.name().as_bytes())
        .map_err(|error| format!("congestion control {}: {error}", control.name()).into())
}

fn listen(control: Control, address: SocketAddr) -> Result<TcpListener, Failure> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    // What is accepted inherits it.
    congestion(&socket, control)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn connect(control: Control, address: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    congestion(&socket, control)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => {
            return Err(error.into());
        }
        _ => Ok(socket.into()),
    }
}

/// A TCP connection with TLS.
struct Connection {
    stream: SslStream<TcpStream>,
    ready: bool,
    /// Handed to OpenSSL as a whole until it has taken it.
    pending: Vec<u8>,
    taken: usize,
    /// What it waits for.
    flags: PollFlags,
}

impl Connection {
    fn new(
        context: &SslContext,
        stream: TcpStream,
        is_client: bool,
    ) -> Result<Connection, Failure> {
        let socket = SockRef::from(&stream);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(UNSENT)?;
        stream.set_nonblocking(true)?;
        let mut ssl = Ssl::new(context)?;
        if is_client {
            ssl.set_connect_state();
        } else {
            ssl.set_accept_state();
        }
        Ok(Connection {
            stream: SslStream::new(ssl, stream)?,
            ready: false,
            pending: Vec::new(),
            taken: 0,
            flags: PollFlags::POLLIN | PollFlags::POLLOUT,
        })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }

    /// Goes on with the handshake, or with what waits to be written.
    fn go(&mut self) -> Result<(), Failure> {
        self.flags = PollFlags::POLLIN;
        if !self.ready {
            match self.stream.do_handshake() {
                Ok(()) => self.ready = true,
                Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(()),
                Err(error) if error.code() == ErrorCode::WANT_WRITE => {
                    self.flags |= PollFlags::POLLOUT;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        while self.taken < self.pending.len() {
            match self.stream.ssl_write(&self.pending[self.taken..]) {
                Ok(count) => self.taken += count,
                Err(error)
                    if matches!(error.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE) =>
                {
                    self.flags |= PollFlags::POLLOUT;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.pending.clear();
        self.taken = 0;
        Ok(())
    }

    /// Whether something can be written.
    fn has_room(&self) -> bool {
        self.ready && self.pending.is_empty()
    }

    fn read(&mut self, to: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        if !self.ready {
            return Ok(());
        }
        let mut buffer = [0; 16_384];
        for _ in 0..READS {
            match self.stream.ssl_read(&mut buffer) {
                Ok(count) => to(&buffer[..count]),
                Err(error) => match error.code() {
                    ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => break,
                    ErrorCode::ZERO_RETURN => return Err("the peer has closed".into()),
                    _ => return Err(error.into()),
                },
            }
        }
        Ok(())
    }
}

fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// All circuits in one connection; their cells take turns.
pub struct Multiplexed {
    context: SslContext,
    listener: Option<TcpListener>,
    connection: Option<Connection>,
    queues: BTreeMap<u32, VecDeque<u8>>,
    /// Circuits with a whole cell, in the order of their turns.
    turns: VecDeque<u32>,
    /// Circuits that were refused.
    refused: BTreeSet<u32>,
    part: Vec<u8>,
}

impl Multiplexed {
    /// One side.
    ///
    /// # Errors
    /// Those of sockets and OpenSSL.
    pub fn new(control: Control, side: &Side, identity: &Identity) -> Result<Multiplexed, Failure> {
        let context = context(side, identity)?;
        let (listener, connection) = match side {
            Side::Client(address) => {
                let stream = connect(control, *address)?;
                (None, Some(Connection::new(&context, stream, true)?))
            }
            Side::Server(address) => (Some(listen(control, *address)?), None),
        };
        Ok(Multiplexed {
            context,
            listener,
            connection,
            queues: BTreeMap::new(),
            turns: VecDeque::new(),
            refused: BTreeSet::new(),
            part: Vec::new(),
        })
    }

    /// Records of cells, as long as the kernel takes them; whether the kernel has enough.
    fn send(&mut self) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        connection.go()?;
        while connection.has_room() && !self.turns.is_empty() {
            for _ in 0..RECORD {
                let Some(circuit) = self.turns.pop_front() else {
                    break;
                };
                let Some(queue) = self.queues.get_mut(&circuit) else {
                    continue;
                };
                connection.pending.extend(queue.drain(..CELL));
                if queue.len() >= CELL {
                    self.turns.push_back(circuit);
                }
            }
            connection.go()?;
        }
        Ok(())
    }
}

impl Transport for Multiplexed {
    fn is_ready(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.ready)
    }

    fn write(&mut self, circuit: u32, data: &[u8]) -> Result<usize, Failure> {
        let queue = self.queues.entry(circuit).or_default();
        let had = queue.len();
        let taken = data.len().min(QUEUE - had);
        queue.extend(&data[..taken]);
        if had < CELL && queue.len() >= CELL {
            self.turns.push_back(circuit);
        }
        if taken < data.len() {
            self.refused.insert(circuit);
        }
        Ok(taken)
    }

    fn read(&mut self, to: &mut dyn FnMut(u32, &[u8])) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let part = &mut self.part;
        connection.read(&mut |data| part.extend_from_slice(data))?;
        let whole = part.len() / CELL * CELL;
        for cell in part[..whole].chunks(CELL) {
            to(circuit_of(cell).expect("it is a whole cell"), cell);
        }
        part.drain(..whole);
        Ok(())
    }

    fn turn(&mut self, until: Micros) -> Result<(), Failure> {
        self.send()?;
        let has_room = |circuit: &u32| self.queues[circuit].len() < QUEUE / 2;
        let until = if self.refused.iter().any(has_room) {
            self.refused.clear();
            0
        } else {
            until
        };
        if let Some(connection) = &self.connection {
            clock::wait(&[(connection.fd(), connection.flags)], until)?;
        } else if let Some(listener) = &self.listener {
            clock::wait(&[(listener.as_fd(), PollFlags::POLLIN)], until)?;
            if let Some(stream) = accept(listener)? {
                self.connection = Some(Connection::new(&self.context, stream, false)?);
            }
        }
        self.send()
    }
}

/// A connection for each circuit.
pub struct PerCircuit {
    control: Control,
    context: SslContext,
    server: SocketAddr,
    listener: Option<TcpListener>,
    /// By circuit.
    connections: BTreeMap<u32, Connection>,
    /// Of which the first cell has not come yet.
    fresh: Vec<(Connection, Vec<u8>)>,
}

impl PerCircuit {
    /// One side.
    ///
    /// # Errors
    /// Those of sockets and OpenSSL.
    pub fn new(control: Control, side: &Side, identity: &Identity) -> Result<PerCircuit, Failure> {
        let listener = match side {
            Side::Client(_) => None,
            Side::Server(address) => Some(listen(control, *address)?),
        };
        Ok(PerCircuit {
            control,
            context: context(side, identity)?,
            server: side.address(),
            listener,
            connections: BTreeMap::new(),
            fresh: Vec::new(),
        })
    }

    /// Opens a circuit ahead of its first cell.
    fn open(&mut self, circuit: u32) -> Result<(), Failure> {
        let stream = connect(self.control, self.server)?;
        let connection = Connection::new(&self.context, stream, true)?;
        self.connections.insert(circuit, connection);
        Ok(())
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Connection> {
        let fresh = self.fresh.iter_mut().map(|(connection, _)| connection);
        self.connections.values_mut().chain(fresh)
    }
}

impl Transport for PerCircuit {
    fn is_ready(&self) -> bool {
        // There is a connection as soon as there is a circuit.
        self.connections.values().all(|connection| connection.ready)
    }

    fn write(&mut self, circuit: u32, data: &[u8]) -> Result<usize, Failure> {
        if !self.connections.contains_key(&circuit) {
            if self.listener.is_some() {
                return Err(format!("no circuit {circuit}").into());
            }
            self.open(circuit)?;
        }
        let connection = self
            .connections
            .get_mut(&circuit)
            .expect("it was just made");
        if !connection.has_room() {
            return Ok(0);
        }
        let taken = data.len().min(RECORD * CELL);
        connection.pending.extend_from_slice(&data[..taken]);
        connection.go()?;
        Ok(taken)
    }

    fn read(&mut self, to: &mut dyn FnMut(u32, &[u8])) -> Result<(), Failure> {
        let mut named = Vec::new();
        for (index, (connection, begin)) in self.fresh.iter_mut().enumerate() {
            connection.read(&mut |data| begin.extend_from_slice(data))?;
            if let Some(circuit) = circuit_of(begin) {
                named.push((index, circuit));
            }
        }
        for (index, circuit) in named.into_iter().rev() {
            let (connection, begin) = self.fresh.remove(index);
            to(circuit, &begin);
            self.connections.insert(circuit, connection);
        }
        for (&circuit, connection) in &mut self.connections {
            connection.read(&mut |data| to(circuit, data))?;
        }
        Ok(())
    }

    fn turn(&mut self, until: Micros) -> Result<(), Failure> {
        let connections = self
            .connections
            .values()
            .chain(self.fresh.iter().map(|(connection, _)| connection));
        let mut wanted: Vec<_> = connections
            .map(|connection| (connection.fd(), connection.flags))
            .collect();
        let listener = self
            .listener
            .as_ref()
            .map(|listener| (listener.as_fd(), PollFlags::POLLIN));
        wanted.extend(listener);
        clock::wait(&wanted, until)?;
        while let Some(stream) = self.listener.as_ref().map(accept).transpose()?.flatten() {
            let connection = Connection::new(&self.context, stream, false)?;
            self.fresh.push((connection, Vec::new()));
        }
        self.all().try_for_each(Connection::go)
    }
}
