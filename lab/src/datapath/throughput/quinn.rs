//! quinn-proto on the same socket calls as utcp, one stream for each circuit. Its own driver (quinn with an executor) costs
//! more; this is its protocol at its best: segmentation offload, AES-128-GCM, no MTU discovery.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    Event, ServerConfig, StreamEvent, StreamId, TransportConfig, VarInt,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite::TLS13_AES_128_GCM_SHA256, default_provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use utcp::error::Error;
use utcp::udp::{SEGMENTS, Sink};

use super::{CHUNK, Half, Progress};
use crate::datapath::socket::Batched;
use crate::datapath::{SERVER_NAME, clock, identity};

/// As utcp's.
const STREAM_WINDOW: u32 = 128 << 10;

const LIMIT: usize = 512;

/// The largest UDP payload.
const DATAGRAM: u16 = 1_472;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
        ..default_provider()
    })
}

fn transport(streams: u32) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .initial_mtu(DATAGRAM)
        .min_mtu(DATAGRAM)
        .mtu_discovery_config(None)
        .max_concurrent_uni_streams(VarInt::from_u32(streams))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(STREAM_WINDOW * streams))
        .send_window(u64::from(STREAM_WINDOW * streams));
    Arc::new(config)
}

pub(super) fn client(streams: u32) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from(identity().0.clone());
    roots.add(certificate).expect("a certificate");
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let quic = QuicClientConfig::try_from(tls).expect("AES-128-GCM");
    let mut config = ClientConfig::new(Arc::new(quic));
    config.transport_config(transport(streams));
    config
}

pub(super) fn server(streams: u32) -> ServerConfig {
    let (chain, key) = identity();
    let tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(chain.clone())],
            PrivateKeyDer::try_from(key.clone()).expect("PKCS#8"),
        )
        .expect("a certificate");
    let quic = QuicServerConfig::try_from(tls).expect("AES-128-GCM");
    let mut config = ServerConfig::with_crypto(Arc::new(quic));
    config.transport_config(transport(streams));
    config
}

struct Core {
    base: Instant,
    now: Instant,
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    /// Answers of the endpoint itself.
    replies: VecDeque<(SocketAddr, Vec<u8>)>,
    buffer: Vec<u8>,
}

impl Core {
    fn new(server: Option<ServerConfig>) -> Core {
        // quinn wants instants; they are all relative to this one, which is taken to be the clock's zero.
        #[allow(clippy::disallowed_methods)]
        let base = Instant::now();
        Core {
            base,
            now: base,
            endpoint: Endpoint::new(
                Arc::new(EndpointConfig::default()),
                server.map(Arc::new),
                true,
                None,
            ),
            connection: None,
            replies: VecDeque::new(),
            buffer: Vec::new(),
        }
    }

    fn instant(&self, now: u64) -> Instant {
        self.base + Duration::from_micros(now)
    }
}

impl Sink for Core {
    fn is_ready(&self, _: SocketAddr) -> bool {
        true
    }

    fn datagram(&mut self, from: SocketAddr, data: &[u8], _: u8) -> Result<(), Error> {
        self.buffer.clear();
        let data = BytesMut::from(data);
        let (endpoint, buffer) = (&mut self.endpoint, &mut self.buffer);
        match endpoint.handle(self.now, from, None, None, data, buffer) {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = endpoint.accept(incoming, self.now, buffer, None);
                self.connection = Some(accepted.unwrap_or_else(|e| panic!("{}", e.cause)));
            }
            Some(DatagramEvent::Response(transmit)) => {
                let reply = self.buffer[..transmit.size].to_vec();
                self.replies.push_back((transmit.destination, reply));
            }
            None => {}
        }
        Ok(())
    }
}

/// What an end does with its streams.
enum Work {
    Send { streams: u32, data: Vec<u8> },
    Receive { progress: Progress },
}

struct Node {
    socket: Batched,
    core: Core,
    work: Work,
    transmit: Vec<u8>,
    deadline: u64,
}

impl Node {
    fn new(core: Core, work: Work) -> Node {
        Node {
            socket: Batched::new(),
            core,
            work,
            transmit: Vec::new(),
            deadline: 0,
        }
    }

    fn events(&mut self) {
        let Some((handle, connection)) = &mut self.core.connection else {
            return;
        };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.core.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while let Some(event) = connection.poll() {
            match (event, &self.work) {
                (Event::Connected, Work::Send { streams, data }) => {
                    for _ in 0..*streams {
                        let id = connection.streams().open(Dir::Uni).expect("allowed");
                        write(connection, id, data);
                    }
                }
                (Event::Stream(StreamEvent::Writable { id }), Work::Send { data, .. }) => {
                    write(connection, id, data);
                }
                (Event::Stream(StreamEvent::Opened { dir }), Work::Receive { progress }) => {
                    while let Some(id) = connection.streams().accept(dir) {
                        read(connection, id, progress);
                    }
                }
                (Event::Stream(StreamEvent::Readable { id }), Work::Receive { progress }) => {
                    read(connection, id, progress);
                }
                (Event::ConnectionLost { reason }, _) => panic!("{reason}"),
                _ => {}
            }
        }
    }

    /// Sends all that may be sent; whether that was anything.
    fn flush(&mut self) -> bool {
        let mut any = false;
        while let Some((to, reply)) = self.core.replies.pop_front() {
            self.socket.send_all(to, std::iter::once(&reply[..]));
        }
        loop {
            self.transmit.clear();
            let Some((_, connection)) = &mut self.core.connection else {
                return any;
            };
            let (now, buffer) = (self.core.now, &mut self.transmit);
            let Some(transmit) = connection.poll_transmit(now, SEGMENTS, buffer) else {
                return any;
            };
            let segment = transmit.segment_size.unwrap_or(transmit.size);
            let datagrams = self.transmit[..transmit.size].chunks(segment);
            self.socket.send_all(transmit.destination, datagrams);
            any = true;
        }
    }
}

fn write(connection: &mut Connection, id: StreamId, data: &[u8]) {
    // It tells of room only after a write that found none at all.
    while connection.send_stream(id).write(data).is_ok() {}
}

fn read(connection: &mut Connection, id: StreamId, progress: &Progress) {
    let mut stream = connection.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else {
        return;
    };
    let mut octets = 0;
    while let Ok(Some(chunk)) = chunks.next(CHUNK) {
        octets += chunk.bytes.len() as u64;
    }
    let _ = chunks.finalize();
    progress.fetch_add(octets, Ordering::Relaxed);
}

impl Half for Node {
    fn turn(&mut self, now: u64) -> bool {
        self.core.now = self.core.instant(now);
        let received = self.socket.receive(LIMIT, &mut self.core).expect("read");
        let at = self.core.now;
        if let Some((_, connection)) = &mut self.core.connection
            && connection.poll_timeout().is_some_and(|due| due <= at)
        {
            connection.handle_timeout(at);
        }
        self.events();
        let sent = self.flush();
        let due = self
            .core
            .connection
            .as_mut()
            .and_then(|(_, c)| c.poll_timeout());
        self.deadline = due.map_or(u64::MAX, |due| {
            (due - self.core.base).as_nanos().div_ceil(1_000) as u64
        });
        received > 0 || sent
    }

    fn fd(&self) -> RawFd {
        self.socket.fd()
    }

    fn deadline(&self) -> u64 {
        self.deadline
    }
}

/// Both ends.
pub fn pair(streams: u32, progress: &Progress) -> [Box<dyn Half>; 2] {
    let work = Work::Receive {
        progress: progress.clone(),
    };
    let receiver = Node::new(Core::new(Some(server(streams))), work);
    let data = vec![7; CHUNK];
    let mut sender = Node::new(Core::new(None), Work::Send { streams, data });
    let now = sender.core.instant(clock::micros());
    let connection = sender
        .core
        .endpoint
        .connect(now, client(streams), receiver.socket.address(), SERVER_NAME)
        .expect("connect is possible");
    sender.core.connection = Some(connection);
    [Box::new(sender), Box::new(receiver)]
}
