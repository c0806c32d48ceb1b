//! quinn-proto, one stream a flow, in the same virtual time and over the same links.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::congestion::{BbrConfig, ControllerFactory, CubicConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    Event, IdleTimeout, ServerConfig, Side, StreamEvent, StreamId, TransportConfig, VarInt,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SerialNumber};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use utcp::time::{Micros, Time};

use crate::end::{DATAGRAM, End, Info};

/// Congestion control of quinn's that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Its default.
    Cubic,
    /// Version 1; quinn calls it experimental.
    Bbr,
}

const SERVER_NAME: &str = "relay.example";

/// An Ed25519 certificate and key: their sizes never differ, so runs repeat exactly.
fn identity() -> &'static (Vec<u8>, Vec<u8>) {
    static IDENTITY: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let mut params = CertificateParams::new(vec![SERVER_NAME.to_string()]).expect("a name");
        params.serial_number = Some(SerialNumber::from(1));
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.der().to_vec(), key.serialize_der())
    })
}

fn transport(control: Control, window: usize) -> Arc<TransportConfig> {
    let factory: Arc<dyn ControllerFactory + Send + Sync> = match control {
        Control::Cubic => Arc::new(CubicConfig::default()),
        Control::Bbr => Arc::new(BbrConfig::default()),
    };
    let window = VarInt::from_u32(u32::try_from(window).unwrap_or(u32::MAX));
    let mtu = DATAGRAM as u16;
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(factory)
        .send_window(window.into_inner())
        .receive_window(window)
        .stream_receive_window(window)
        .initial_mtu(mtu)
        .min_mtu(mtu)
        .mtu_discovery_config(None)
        .max_idle_timeout(None::<IdleTimeout>)
        .enable_segmentation_offload(false);
    Arc::new(config)
}

/// One end.
pub struct QuinnEnd {
    /// Virtual time zero.
    base: Instant,
    endpoint: Endpoint,
    server: bool,
    connection: Option<(ConnectionHandle, Connection)>,
    connected: bool,
    broken: Option<String>,
    blocked: BTreeSet<u32>,
    writable: Vec<u32>,
    replies: Vec<Vec<u8>>,
    buffer: Vec<u8>,
    deadline: Time,
}

impl QuinnEnd {
    /// Both ends of a flow; buffers hold `window` octets.
    pub fn pair(
        control: Control,
        window: usize,
        seed: u64,
        addresses: [SocketAddr; 2],
        now: Time,
    ) -> [Box<dyn End>; 2] {
        // quinn wants instants; they are all relative to this one, whose value nothing depends on.
        #[allow(clippy::disallowed_methods)]
        let base = Instant::now();
        let (certificate, key) = identity();
        let certificate = CertificateDer::from(certificate.clone());
        let transport = transport(control, window);
        let endpoint = |side: u64, server| {
            let mut config = EndpointConfig::default();
            let mut bytes = [0; 32];
            crate::rng::Rng::new(seed, 90 + side).fill(&mut bytes);
            config.rng_seed(Some(bytes));
            Endpoint::new(Arc::new(config), server, false, None)
        };
        let mut server = ServerConfig::with_single_cert(
            vec![certificate.clone()],
            PrivateKeyDer::try_from(key.clone()).expect("PKCS#8"),
        )
        .expect("a certificate");
        server.transport_config(transport.clone());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let mut client =
            ClientConfig::with_root_certificates(Arc::new(roots)).expect("trust anchors");
        client.transport_config(transport);
        let end = |endpoint, server| QuinnEnd {
            base,
            endpoint,
            server,
            connection: None,
            connected: false,
            broken: None,
            blocked: BTreeSet::new(),
            writable: Vec::new(),
            replies: Vec::new(),
            buffer: Vec::new(),
            deadline: Time::NEVER,
        };
        let mut one = end(endpoint(0, None), false);
        let at = one.instant(now);
        let connection = one
            .endpoint
            .connect(at, client, addresses[1], SERVER_NAME)
            .expect("connect is possible");
        one.connection = Some(connection);
        one.deadline = now;
        let other = end(endpoint(1, Some(Arc::new(server))), true);
        [Box::new(one), Box::new(other)]
    }

    fn instant(&self, now: Time) -> Instant {
        self.base + Duration::from_micros(now.0)
    }

    /// The first microsecond that is not before.
    fn time(&self, instant: Instant) -> Time {
        let nanos = instant.saturating_duration_since(self.base).as_nanos();
        Time(nanos.div_ceil(1_000) as u64)
    }

    fn id(stream: u32) -> StreamId {
        StreamId::new(Side::Client, Dir::Uni, u64::from(stream) - 1)
    }
}

impl End for QuinnEnd {
    fn inject(&mut self, now: Time, datagram: &[u8], from: SocketAddr) {
        let at = self.instant(now);
        self.buffer.clear();
        let event = self.endpoint.handle(
            at,
            from,
            None,
            None,
            BytesMut::from(datagram),
            &mut self.buffer,
        );
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some((own, connection)) = &mut self.connection
                    && *own == handle
                {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                assert!(self.server && self.connection.is_none());
                let accepted = self.endpoint.accept(incoming, at, &mut self.buffer, None);
                self.connection = Some(accepted.unwrap_or_else(|e| panic!("{}", e.cause)));
            }
            Some(DatagramEvent::Response(transmit)) => {
                self.replies.push(self.buffer[..transmit.size].to_vec());
            }
            None => {}
        }
    }

    fn poll(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        out.append(&mut self.replies);
        let at = self.instant(now);
        let Some((handle, connection)) = &mut self.connection else {
            return;
        };
        if connection.poll_timeout().is_some_and(|due| due <= at) {
            connection.handle_timeout(at);
        }
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while let Some(event) = connection.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::ConnectionLost { reason } => self.broken = Some(reason.to_string()),
                Event::Stream(StreamEvent::Writable { id }) => {
                    let stream = id.index() as u32 + 1;
                    if self.blocked.remove(&stream) {
                        self.writable.push(stream);
                    }
                }
                _ => {}
            }
        }
        loop {
            let mut buffer = Vec::with_capacity(DATAGRAM);
            let Some(transmit) = connection.poll_transmit(at, 1, &mut buffer) else {
                break;
            };
            buffer.truncate(transmit.size);
            out.push(buffer);
        }
        let due = connection.poll_timeout();
        self.deadline = due.map_or(Time::NEVER, |due| self.time(due));
    }

    fn deadline(&self) -> Time {
        self.deadline
    }

    fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    fn ready(&self) -> bool {
        self.connected
    }

    fn open(&mut self, _now: Time, stream: u32) {
        let (_, connection) = self.connection.as_mut().expect("connected");
        let id = connection.streams().open(Dir::Uni);
        assert_eq!(id, Some(Self::id(stream)), "streams are opened in order");
    }

    fn write(&mut self, stream: u32, data: &[u8]) -> usize {
        let (_, connection) = self.connection.as_mut().expect("connected");
        let mut taken = 0;
        while taken < data.len() {
            // It tells of room only after a write that found none at all.
            match connection
                .send_stream(Self::id(stream))
                .write(&data[taken..])
            {
                Ok(n) => taken += n,
                Err(_) => {
                    self.blocked.insert(stream);
                    break;
                }
            }
        }
        taken
    }

    fn writable(&mut self, out: &mut Vec<u32>) {
        out.append(&mut self.writable);
    }

    fn read(&mut self, _now: Time, to: &mut dyn FnMut(u32, &[u8])) {
        if !self.server {
            return;
        }
        let Some((_, connection)) = &mut self.connection else {
            return;
        };
        // One stream a flow.
        let stream = 1;
        let mut stream_data = connection.recv_stream(Self::id(stream));
        let Ok(mut chunks) = stream_data.read(true) else {
            return;
        };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            to(stream, &chunk.bytes);
        }
        let _ = chunks.finalize();
    }

    fn info(&self, _stream: u32) -> Info {
        let Some((_, connection)) = &self.connection else {
            return Info::default();
        };
        let path = connection.stats().path;
        let metrics = connection.congestion_state().metrics();
        Info {
            cwnd: path.cwnd,
            ssthresh: metrics.ssthresh.unwrap_or(u64::MAX),
            srtt: path.rtt.as_micros() as Micros,
            sent: path.sent_packets,
            resent: path.lost_packets,
            pacing_rate: metrics.pacing_rate.map_or(0, |bits| bits / 8),
            ..Info::default()
        }
    }
}
