//! utcp: the library's endpoint over a UDP socket.

use utcp::config::Config;
use utcp::time::Time;
use utcp::udp::{Outgoing, SEGMENTS};

use super::clock::{self, Micros};
use super::datagrams::Datagrams;
use super::identity::Identity;
use super::transport::{Control, Failure, Side, Transport};
use crate::connection::Connection;

/// Octets of send and receive buffer of a circuit: more than the bandwidth-delay product with a full queue.
const BUFFER: usize = 4 << 20;

/// See the module.
pub struct Ours {
    socket: Datagrams,
    connection: Connection,
    is_client: bool,
}

impl Ours {
    /// One side. `coupled`: circuits share one window.
    ///
    /// # Errors
    /// Those of the library and of the socket.
    pub fn new(
        control: Control,
        coupled: bool,
        side: &Side,
        identity: &Identity,
    ) -> Result<Ours, Failure> {
        let mut seed = [0; 32];
        openssl::rand::rand_bytes(&mut seed)?;
        let config = Config {
            chain: identity.certificate.clone(),
            key: identity.key.clone(),
            seed,
            send_buffer: BUFFER,
            receive_buffer: BUFFER,
            congestion: control.algorithm(),
            coupled,
            ..Config::default()
        };
        let mut ours = Ours {
            socket: Datagrams::bind(side.local())?,
            connection: Connection::new(config, 65_536)?,
            is_client: side.is_client(),
        };
        if let Side::Client(server) = side {
            let pin = openssl::sha::sha256(&identity.certificate);
            ours.connection.connect(time(), *server, Some(pin))?;
        }
        Ok(ours)
    }

    /// Does what is due, and sends what the socket takes.
    fn process(&mut self) {
        loop {
            self.connection.process(time());
            let waiting = self.connection.endpoint.output();
            if waiting.is_empty() {
                return;
            }
            let batch: Vec<Outgoing<'_>> = waiting
                .iter()
                .take(4 * SEGMENTS)
                .map(|datagram| Outgoing {
                    to: datagram.peer,
                    data: &datagram.data,
                    ecn: datagram.ecn,
                })
                .collect();
            let done = self.socket.send(&batch);
            self.connection.endpoint.sent(done);
            if self.socket.is_full() {
                return;
            }
        }
    }
}

/// The library's clock.
fn time() -> Time {
    Time(clock::now())
}

impl Transport for Ours {
    fn is_ready(&self) -> bool {
        self.connection.is_ready()
    }

    fn write(&mut self, circuit: u32, data: &[u8]) -> Result<usize, Failure> {
        let id = match self.connection.circuit(circuit) {
            Some(id) => id,
            None if !self.is_client => return Err(format!("no circuit {circuit}").into()),
            None => self.connection.open(circuit)?,
        };
        Ok(self.connection.write(id, data)?)
    }

    fn read(&mut self, to: &mut dyn FnMut(u32, &[u8])) -> Result<(), Failure> {
        Ok(self.connection.read(to)?)
    }

    fn turn(&mut self, until: Micros) -> Result<(), Failure> {
        self.process();
        let due = if self.socket.is_full() {
            Time::NEVER
        } else {
            self.connection.endpoint.next_deadline()
        };
        let wanted = !self.connection.writable.is_empty() || self.connection.is_readable();
        self.connection.writable.clear();
        self.socket
            .wait(if wanted { 0 } else { until.min(due.0) })?;
        let now = time();
        let endpoint = &mut self.connection.endpoint;
        self.socket
            .receive(&mut |from, data| endpoint.inject(now, from, data, 0))?;
        self.process();
        match self.connection.closed.take() {
            Some(reason) => Err(reason.into()),
            None => Ok(()),
        }
    }
}
