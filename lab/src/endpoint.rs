//! The whole of utcp: an endpoint on each side, DTLS, and a circuit for each stream.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::OnceLock;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use utcp::config::Config;
use utcp::endpoint::{CircuitId, ConnectionId, Endpoint, Event};
use utcp::tcp::congestion::Algorithm;
use utcp::time::{SECOND, Time};

use crate::end::{CHUNK, DATAGRAM, End, Info};

/// How circuits of one connection share a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every circuit has its own window.
    Independent,
    /// All circuits together claim as much as one flow.
    Coupled,
}

/// Applies a mode to the configuration; the only place that knows how.
fn configure(config: &mut Config, mode: Mode) {
    config.coupled = match mode {
        Mode::Independent => false,
        Mode::Coupled => true,
    };
    config.coupled_flows = 1;
    config.datagram_size = DATAGRAM;
    config.path_mtu_discovery = false;
}

/// Certificate and key of every end.
pub fn identity() -> &'static (Vec<u8>, Vec<u8>) {
    static IDENTITY: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let params = CertificateParams::new(vec!["relay.example".to_string()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.der().to_vec(), key.serialize_der())
    })
}

/// One end.
pub struct EndpointEnd {
    endpoint: Endpoint,
    connection: Option<ConnectionId>,
    ready: bool,
    circuits: BTreeMap<u32, CircuitId>,
    numbers: BTreeMap<CircuitId, u32>,
    readable: VecDeque<CircuitId>,
    writable: Vec<u32>,
    buffer: Vec<u8>,
}

impl EndpointEnd {
    /// Both ends; each circuit's buffers hold `window` octets.
    pub fn pair(
        algorithm: Algorithm,
        mode: Mode,
        window: usize,
        seed: u64,
        addresses: [SocketAddr; 2],
        now: Time,
    ) -> [Box<dyn End>; 2] {
        let (chain, key) = identity();
        let mut ends = [0, 1].map(|side| {
            let mut config = Config {
                chain: chain.clone(),
                key: key.clone(),
                send_buffer: window,
                receive_buffer: window,
                congestion: algorithm,
                dead_timeout: 3_600 * SECOND,
                memory_budget: 8 << 30,
                ..Config::default()
            };
            configure(&mut config, mode);
            crate::rng::Rng::new(seed, 70 + side).fill(&mut config.seed);
            EndpointEnd {
                endpoint: Endpoint::new(config).expect("the configuration is acceptable"),
                connection: None,
                ready: false,
                circuits: BTreeMap::new(),
                numbers: BTreeMap::new(),
                readable: VecDeque::new(),
                writable: Vec::new(),
                buffer: vec![0; CHUNK],
            }
        });
        let connection = ends[0].endpoint.connect(now, addresses[1], None);
        ends[0].connection = Some(connection.expect("connect is possible"));
        ends.map(|end| Box::new(end) as Box<dyn End>)
    }

    fn event(&mut self, now: Time, event: Event) {
        match event {
            Event::ConnectionIncoming(id, _) => {
                self.connection = Some(id);
                self.endpoint.accept(now, id, true);
            }
            Event::ConnectionVerify(id) => self.endpoint.verified(now, id, true),
            Event::ConnectionReady(_) => self.ready = true,
            Event::CircuitIncoming(_, id, number) => {
                self.circuits.insert(number, id);
                self.numbers.insert(id, number);
                self.endpoint.accept_circuit(id, true);
            }
            Event::Readable(id) => self.readable.push_back(id),
            Event::Writable(id) => {
                if let Some(&number) = self.numbers.get(&id) {
                    self.writable.push(number);
                }
            }
            Event::MemoryPressure(_) => {}
            Event::ConnectionClosed(..) | Event::CircuitClosed(..) => panic!("{event:?}"),
        }
    }
}

impl End for EndpointEnd {
    fn inject(&mut self, now: Time, datagram: &[u8], from: SocketAddr) {
        self.endpoint.inject(now, from, datagram, 0);
    }

    fn poll(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        for _ in 0..10_000 {
            let due = self.endpoint.next_deadline() <= now;
            if due {
                self.endpoint.process(now);
            }
            while let Some(event) = self.endpoint.poll_event() {
                self.event(now, event);
            }
            let count = self.endpoint.output().len();
            out.extend(self.endpoint.output().iter().map(|d| d.data.clone()));
            self.endpoint.sent(count);
            if count == 0 && self.endpoint.next_deadline() > now {
                return;
            }
        }
        panic!("the endpoint spins");
    }

    fn deadline(&self) -> Time {
        self.endpoint.next_deadline()
    }

    fn ready(&self) -> bool {
        self.ready
    }

    fn open(&mut self, _now: Time, stream: u32) {
        let connection = self.connection.expect("a connection");
        let id = self.endpoint.open_circuit(connection, stream);
        let id = id.expect("a circuit can be opened");
        self.circuits.insert(stream, id);
        self.numbers.insert(id, stream);
    }

    fn write(&mut self, stream: u32, data: &[u8]) -> usize {
        self.endpoint
            .write(self.circuits[&stream], data)
            .unwrap_or(0)
    }

    fn writable(&mut self, out: &mut Vec<u32>) {
        out.append(&mut self.writable);
    }

    fn read(&mut self, _now: Time, to: &mut dyn FnMut(u32, &[u8])) {
        while let Some(id) = self.readable.pop_front() {
            while let Ok(n) = self.endpoint.read(id, &mut self.buffer) {
                to(self.numbers[&id], &self.buffer[..n]);
            }
        }
    }

    fn info(&self, stream: u32) -> Info {
        let info = self.circuits.get(&stream);
        let Some(info) = info.and_then(|id| self.endpoint.circuit_info(*id)) else {
            return Info::default();
        };
        info.into()
    }
}
