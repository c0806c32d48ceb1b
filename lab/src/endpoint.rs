//! The whole of utcp: an endpoint on each side, DTLS, and a circuit for each stream.

use std::net::SocketAddr;
use std::sync::OnceLock;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use utcp::config::Config;
use utcp::tcp::congestion::Algorithm;
use utcp::time::{SECOND, Time};

use crate::connection::Connection;
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
pub struct EndpointEnd(Connection);

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
            EndpointEnd(Connection::new(config, CHUNK).expect("the configuration is acceptable"))
        });
        let connected = ends[0].0.connect(now, addresses[1], None);
        connected.expect("connect is possible");
        ends.map(|end| Box::new(end) as Box<dyn End>)
    }
}

impl End for EndpointEnd {
    fn inject(&mut self, now: Time, datagram: &[u8], from: SocketAddr) {
        self.0.endpoint.inject(now, from, datagram, 0);
    }

    fn poll(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        for _ in 0..10_000 {
            self.0.process(now);
            if let Some(why) = &self.0.closed {
                panic!("{why}");
            }
            let endpoint = &mut self.0.endpoint;
            let count = endpoint.output().len();
            out.extend(endpoint.output().iter().map(|d| d.data.clone()));
            endpoint.sent(count);
            if count == 0 && endpoint.next_deadline() > now {
                return;
            }
        }
        panic!("the endpoint spins");
    }

    fn deadline(&self) -> Time {
        self.0.endpoint.next_deadline()
    }

    fn ready(&self) -> bool {
        self.0.is_ready()
    }

    fn open(&mut self, _now: Time, stream: u32) {
        self.0.open(stream).expect("a circuit can be opened");
    }

    fn write(&mut self, stream: u32, data: &[u8]) -> usize {
        let id = self.0.circuit(stream).expect("it was opened");
        self.0.write(id, data).unwrap_or(0)
    }

    fn writable(&mut self, out: &mut Vec<u32>) {
        out.append(&mut self.0.writable);
    }

    fn read(&mut self, _now: Time, to: &mut dyn FnMut(u32, &[u8])) {
        self.0.read(to).expect("circuits stay open");
    }

    fn info(&self, stream: u32) -> Info {
        let info = self.0.circuit(stream);
        let Some(info) = info.and_then(|id| self.0.endpoint.circuit_info(id)) else {
            return Info::default();
        };
        info.into()
    }
}
