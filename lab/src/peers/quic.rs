//! QUIC by quinn-proto, over the same batched socket as everything that uses UDP: a stream for each circuit, or datagrams.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::congestion::{BbrConfig, ControllerFactory, CubicConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    Event, MtuDiscoveryConfig, ReadError, SendDatagramError, ServerConfig, Side as Initiator,
    StreamEvent, StreamId, TransportConfig, VarInt, WriteError,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use utcp::time::Time;
use utcp::udp::Outgoing;

use super::clock::{self, Micros, NEVER};
use super::datagrams::{Datagrams, LARGEST};
use super::identity::{Identity, NAME};
use super::segments::Segments;
use super::transport::{Control, Failure, Side, Transport};

/// Octets that the receiver of a stream takes ahead of its reader: more than the bandwidth-delay product with a full queue.
const STREAM_WINDOW: u32 = 4 << 20;

/// The same for all streams: what all of them may need.
const WINDOW: u32 = 256 << 20;

/// Datagrams that leave as one message of the kernel's, at most; quinn's default.
const SEGMENTS: usize = 10;

/// UDP payload before the path was probed: what utcp begins with.
const USUAL: u16 = 1_432;

fn transport(control: Control) -> Arc<TransportConfig> {
    let factory: Arc<dyn ControllerFactory + Send + Sync> = match control {
        Control::Bbr => Arc::new(BbrConfig::default()),
        Control::Cubic | Control::Own => Arc::new(CubicConfig::default()),
    };
    let mut probing = MtuDiscoveryConfig::default();
    probing.upper_bound(LARGEST as u16);
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(factory)
        .send_window(u64::from(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(4_096))
        .initial_mtu(USUAL)
        .mtu_discovery_config(Some(probing))
        .datagram_send_buffer_size(64 << 10)
        .datagram_receive_buffer_size(Some(4 << 20));
    Arc::new(config)
}

/// A connection with its socket.
pub struct Quic {
    socket: Datagrams,
    /// The same moment on both clocks.
    base: (Instant, Micros),
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    connected: bool,
    /// What the socket did not take: the peer, the octets, and how long each datagram is.
    unsent: Option<(SocketAddr, Vec<u8>, usize)>,
    replies: Vec<(SocketAddr, Vec<u8>)>,
}

impl Quic {
    /// One side.
    ///
    /// # Errors
    /// Those of the socket, rustls and quinn.
    pub fn new(control: Control, side: &Side, identity: &Identity) -> Result<Quic, Failure> {
        let certificate = CertificateDer::from(identity.certificate.clone());
        let transport = transport(control);
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(LARGEST as u16)?;
        let config = Arc::new(config);
        let base = (Instant::now(), clock::now());
        let (endpoint, connection) = match side {
            Side::Client(server) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(certificate)?;
                let mut client = ClientConfig::with_root_certificates(Arc::new(roots))?;
                client.transport_config(transport);
                let mut endpoint = Endpoint::new(config, None, true, None);
                let connection = endpoint.connect(base.0, client, *server, NAME)?;
                (endpoint, Some(connection))
            }
            Side::Server(_) => {
                let key = PrivateKeyDer::try_from(identity.key.clone())?;
                let mut server = ServerConfig::with_single_cert(vec![certificate], key)?;
                server.transport_config(transport);
                (
                    Endpoint::new(config, Some(Arc::new(server)), true, None),
                    None,
                )
            }
        };
        Ok(Quic {
            socket: Datagrams::bind(side.local())?,
            base,
            endpoint,
            connection,
            connected: false,
            unsent: None,
            replies: Vec::new(),
        })
    }

    /// Whether the handshake is complete.
    pub fn is_ready(&self) -> bool {
        self.connected
    }

    /// The connection, once there is one.
    pub fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut().map(|(_, connection)| connection)
    }

    fn instant(&self, time: Micros) -> Instant {
        self.base.0 + Duration::from_micros(time.saturating_sub(self.base.1))
    }

    /// The first microsecond that is not before.
    fn micros(&self, instant: Instant) -> Micros {
        let nanos = instant.saturating_duration_since(self.base.0).as_nanos();
        self.base.1 + nanos.div_ceil(1_000) as Micros
    }

    /// Timers, events, and everything that may be sent; `event` hears of what concerns streams and datagrams.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn process(&mut self, event: &mut dyn FnMut(&Event)) -> Result<(), Failure> {
        for (peer, reply) in std::mem::take(&mut self.replies) {
            // The handshake repeats what is lost.
            self.socket.send_one(peer, &reply);
        }
        let at = self.instant(clock::now());
        let Some((handle, connection)) = &mut self.connection else {
            return Ok(());
        };
        if connection.poll_timeout().is_some_and(|due| due <= at) {
            connection.handle_timeout(at);
        }
        while let Some(told) = connection.poll_endpoint_events() {
            if let Some(told) = self.endpoint.handle_event(*handle, told) {
                connection.handle_event(told);
            }
        }
        while let Some(happened) = connection.poll() {
            match happened {
                Event::Connected => self.connected = true,
                Event::ConnectionLost { reason } => return Err(reason.into()),
                other => event(&other),
            }
        }
        self.send(at);
        Ok(())
    }

    fn send(&mut self, at: Instant) {
        let Some((_, connection)) = &mut self.connection else {
            return;
        };
        loop {
            let (peer, buffer, size) = match self.unsent.take() {
                Some(unsent) => unsent,
                None => {
                    let mut buffer = Vec::new();
                    let Some(transmit) = connection.poll_transmit(at, SEGMENTS, &mut buffer) else {
                        return;
                    };
                    buffer.truncate(transmit.size);
                    let size = transmit.segment_size.unwrap_or(transmit.size);
                    (transmit.destination, buffer, size)
                }
            };
            let batch: Vec<_> = buffer
                .chunks(size)
                .map(|data| Outgoing {
                    to: peer,
                    data,
                    ecn: 0,
                })
                .collect();
            let done = self.socket.send(&batch);
            if done < batch.len() {
                let rest = buffer[done * size..].to_vec();
                self.unsent = Some((peer, rest, size));
                return;
            }
        }
    }

    /// Waits, and takes in what has come.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn receive(&mut self, until: Micros) -> Result<(), Failure> {
        let due = match &mut self.connection {
            Some((_, connection)) => connection.poll_timeout(),
            None => None,
        };
        let due = due.map_or(NEVER, |due| self.micros(due));
        self.socket.wait(until.min(due))?;
        let at = self.instant(clock::now());
        let Quic {
            socket,
            endpoint,
            connection,
            replies,
            ..
        } = self;
        let mut failure: Option<Failure> = None;
        socket.receive(&mut |from, data| {
            let mut answer = Vec::new();
            match endpoint.handle(at, from, None, None, BytesMut::from(data), &mut answer) {
                Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                    if let Some((own, connection)) = connection
                        && *own == handle
                    {
                        connection.handle_event(event);
                    }
                }
                Some(DatagramEvent::NewConnection(incoming)) if connection.is_none() => {
                    match endpoint.accept(incoming, at, &mut answer, None) {
                        Ok(accepted) => *connection = Some(accepted),
                        Err(error) => failure = Some(error.cause.into()),
                    }
                }
                Some(DatagramEvent::NewConnection(incoming)) => endpoint.ignore(incoming),
                Some(DatagramEvent::Response(transmit)) => {
                    answer.truncate(transmit.size);
                    replies.push((transmit.destination, answer));
                }
                None => {}
            }
        })?;
        failure.map_or(Ok(()), Err)
    }
}

/// A stream for each circuit.
pub struct Streams {
    quic: Quic,
    is_client: bool,
    /// Streams of circuits; the first cell says which circuit it is.
    ids: BTreeMap<u32, StreamId>,
    circuits: BTreeMap<StreamId, u32>,
    readable: Vec<StreamId>,
    /// A stream can be written to that could not be.
    writable: bool,
}

impl Streams {
    /// One side.
    ///
    /// # Errors
    /// Those of [`Quic::new`].
    pub fn new(control: Control, side: &Side, identity: &Identity) -> Result<Streams, Failure> {
        Ok(Streams {
            quic: Quic::new(control, side, identity)?,
            is_client: side.is_client(),
            ids: BTreeMap::new(),
            circuits: BTreeMap::new(),
            readable: Vec::new(),
            writable: false,
        })
    }

    fn process(&mut self) -> Result<(), Failure> {
        let (readable, writable) = (&mut self.readable, &mut self.writable);
        let mut opened = false;
        self.quic.process(&mut |event| match event {
            Event::Stream(StreamEvent::Readable { id }) => readable.push(*id),
            Event::Stream(StreamEvent::Writable { .. } | StreamEvent::Available { .. }) => {
                *writable = true
            }
            Event::Stream(StreamEvent::Opened { .. }) => opened = true,
            _ => {}
        })?;
        if opened {
            let connection = self.quic.connection().expect("it has told something");
            while let Some(id) = connection.streams().accept(Dir::Bi) {
                self.readable.push(id);
            }
        }
        Ok(())
    }
}

impl Transport for Streams {
    fn is_ready(&self) -> bool {
        self.quic.is_ready()
    }

    fn write(&mut self, circuit: u32, data: &[u8]) -> Result<usize, Failure> {
        let is_client = self.is_client;
        let connection = self.quic.connection().ok_or("no connection")?;
        let id = match self.ids.get(&circuit) {
            Some(id) => *id,
            None if !is_client => return Err(format!("no circuit {circuit}").into()),
            None => {
                let Some(id) = connection.streams().open(Dir::Bi) else {
                    return Ok(0);
                };
                debug_assert_eq!(id.initiator(), Initiator::Client);
                self.ids.insert(circuit, id);
                self.circuits.insert(id, circuit);
                id
            }
        };
        let mut taken = 0;
        // It tells of room only after a write that found none at all.
        while taken < data.len() {
            match connection.send_stream(id).write(&data[taken..]) {
                Ok(count) => taken += count,
                Err(WriteError::Blocked) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(taken)
    }

    fn read(&mut self, to: &mut dyn FnMut(u32, &[u8])) -> Result<(), Failure> {
        for id in std::mem::take(&mut self.readable) {
            let connection = self.quic.connection().ok_or("no connection")?;
            let mut stream = connection.recv_stream(id);
            let mut chunks = stream.read(true)?;
            loop {
                match chunks.next(usize::MAX) {
                    Ok(Some(chunk)) => {
                        let circuit = match self.circuits.get(&id) {
                            Some(circuit) => *circuit,
                            None => {
                                // Chunks of a stream begin with a whole cell: it was written at once.
                                let circuit = super::cells::circuit_of(&chunk.bytes)
                                    .ok_or("a short first chunk")?;
                                self.circuits.insert(id, circuit);
                                self.ids.insert(circuit, id);
                                circuit
                            }
                        };
                        to(circuit, &chunk.bytes);
                    }
                    Ok(None) => return Err("a stream has ended".into()),
                    Err(ReadError::Blocked) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            // Reading may have made room that the peer has to hear of.
            let _ = chunks.finalize();
        }
        Ok(())
    }

    fn turn(&mut self, until: Micros) -> Result<(), Failure> {
        self.process()?;
        let wanted = std::mem::take(&mut self.writable) || !self.readable.is_empty();
        self.quic.receive(if wanted { 0 } else { until })?;
        self.process()
    }
}

/// QUIC datagrams, which are not repeated: each circuit has a TCP of its own in them, and QUIC's congestion control is
/// above all of those.
pub struct Datagram {
    quic: Quic,
    segments: Option<Segments>,
    control: Control,
    is_client: bool,
    /// Made, and not taken by the connection yet.
    waiting: Option<Bytes>,
}

impl Datagram {
    /// One side.
    ///
    /// # Errors
    /// Those of [`Quic::new`].
    pub fn new(control: Control, side: &Side, identity: &Identity) -> Result<Datagram, Failure> {
        Ok(Datagram {
            quic: Quic::new(control, side, identity)?,
            segments: None,
            control,
            is_client: side.is_client(),
            waiting: None,
        })
    }

    fn process(&mut self) -> Result<(), Failure> {
        self.quic.process(&mut |_| {})?;
        if !self.quic.is_ready() {
            return Ok(());
        }
        let Datagram {
            quic,
            segments,
            control,
            is_client,
            waiting,
        } = self;
        let connection = quic.connection().expect("it is ready");
        // What fits before the path was probed; that it may become more is left aside.
        let Some(largest) = connection.datagrams().max_size() else {
            return Err("the peer takes no datagrams".into());
        };
        let segments = segments.get_or_insert_with(|| Segments::new(*control, largest, *is_client));
        let now = Time(clock::now());
        while let Some(plain) = connection.datagrams().recv() {
            segments.receive(now, &plain);
        }
        segments.timers(now);
        let mut plain = Vec::new();
        loop {
            let datagram = match waiting.take() {
                Some(datagram) => datagram,
                None if segments.next(now, &mut plain) => Bytes::copy_from_slice(&plain),
                None => break,
            };
            match connection.datagrams().send(datagram, false) {
                Ok(()) => {}
                Err(SendDatagramError::Blocked(datagram)) => {
                    *waiting = Some(datagram);
                    break;
                }
                // A black hole of the path's MTU: TCP repeats it, and it does not fit either.
                Err(error) => return Err(error.into()),
            }
        }
        self.quic.process(&mut |_| {})
    }
}

impl Transport for Datagram {
    fn is_ready(&self) -> bool {
        self.segments.is_some()
    }

    fn write(&mut self, circuit: u32, data: &[u8]) -> Result<usize, Failure> {
        self.segments
            .as_mut()
            .ok_or("no connection")?
            .write(circuit, data)
    }

    fn read(&mut self, to: &mut dyn FnMut(u32, &[u8])) -> Result<(), Failure> {
        self.segments
            .as_mut()
            .map_or(Ok(()), |segments| segments.read(to))
    }

    fn turn(&mut self, until: Micros) -> Result<(), Failure> {
        self.process()?;
        let until = match &mut self.segments {
            Some(segments) => {
                let writable = segments.take_writable();
                match (writable, &self.waiting) {
                    (true, _) => 0,
                    // It goes on when QUIC has sent something, which its own timers see to.
                    (false, Some(_)) => until,
                    (false, None) => until.min(segments.deadline().0),
                }
            }
            None => until,
        };
        self.quic.receive(until)?;
        self.process()
    }
}
