//! utcp: the library's endpoint over a UDP socket.

use std::collections::{BTreeMap, BTreeSet};

use utcp::config::Config;
use utcp::endpoint::{CircuitId, ConnectionId, Endpoint, Event};
use utcp::error::Error;
use utcp::time::Time;
use utcp::udp::{Outgoing, SEGMENTS};

use super::clock::{self, Micros};
use super::datagrams::Datagrams;
use super::identity::Identity;
use super::transport::{Control, Failure, Side, Transport};

/// Octets of send and receive buffer of a circuit: more than the bandwidth-delay product with a full queue.
const BUFFER: usize = 4 << 20;

/// See the module.
pub struct Ours {
    socket: Datagrams,
    endpoint: Endpoint,
    is_client: bool,
    connection: Option<ConnectionId>,
    ready: bool,
    circuits: BTreeMap<u32, CircuitId>,
    numbers: BTreeMap<CircuitId, u32>,
    readable: BTreeSet<CircuitId>,
    /// A circuit can be written to that could not be.
    writable: bool,
    broken: Option<String>,
    buffer: Vec<u8>,
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
            endpoint: Endpoint::new(config)?,
            is_client: side.is_client(),
            connection: None,
            ready: false,
            circuits: BTreeMap::new(),
            numbers: BTreeMap::new(),
            readable: BTreeSet::new(),
            writable: false,
            broken: None,
            buffer: vec![0; 65_536],
        };
        if let Side::Client(server) = side {
            let pin = openssl::sha::sha256(&identity.certificate);
            ours.connection = Some(ours.endpoint.connect(time(), *server, Some(pin))?);
        }
        Ok(ours)
    }

    fn event(&mut self, now: Time, event: Event) {
        match event {
            Event::ConnectionIncoming(id, _) => {
                self.connection = Some(id);
                self.endpoint.accept(now, id, true);
            }
            // A client has the pin.
            Event::ConnectionVerify(id) => self.endpoint.verified(now, id, true),
            Event::ConnectionReady(_) => self.ready = true,
            Event::CircuitIncoming(_, id, number) => {
                self.circuits.insert(number, id);
                self.numbers.insert(id, number);
                self.endpoint.accept_circuit(id, true);
            }
            Event::Readable(id) => {
                self.readable.insert(id);
            }
            Event::Writable(_) => self.writable = true,
            Event::MemoryPressure(_) => {}
            Event::ConnectionClosed(..) | Event::CircuitClosed(..) => {
                self.broken = Some(format!("{event:?}"));
            }
        }
    }

    /// Does what is due, and sends what the socket takes.
    fn process(&mut self) {
        loop {
            let now = time();
            if self.endpoint.next_deadline() <= now {
                self.endpoint.process(now);
            }
            while let Some(event) = self.endpoint.poll_event() {
                self.event(now, event);
            }
            let waiting = self.endpoint.output();
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
            self.endpoint.sent(done);
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
        self.ready
    }

    fn write(&mut self, circuit: u32, data: &[u8]) -> Result<usize, Failure> {
        let id = match self.circuits.get(&circuit) {
            Some(id) => *id,
            None if !self.is_client => return Err(format!("no circuit {circuit}").into()),
            None => {
                let connection = self.connection.ok_or("no connection")?;
                let id = self.endpoint.open_circuit(connection, circuit)?;
                self.circuits.insert(circuit, id);
                self.numbers.insert(id, circuit);
                id
            }
        };
        match self.endpoint.write(id, data) {
            Ok(taken) => Ok(taken),
            Err(Error::WouldBlock) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self, to: &mut dyn FnMut(u32, &[u8])) -> Result<(), Failure> {
        while let Some(id) = self.readable.pop_first() {
            loop {
                match self.endpoint.read(id, &mut self.buffer) {
                    Ok(count) => to(self.numbers[&id], &self.buffer[..count]),
                    Err(Error::WouldBlock) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn turn(&mut self, until: Micros) -> Result<(), Failure> {
        self.process();
        let due = if self.socket.is_full() {
            Time::NEVER
        } else {
            self.endpoint.next_deadline()
        };
        let wanted = self.writable || !self.readable.is_empty();
        self.writable = false;
        self.socket
            .wait(if wanted { 0 } else { until.min(due.0) })?;
        let now = time();
        let endpoint = &mut self.endpoint;
        self.socket
            .receive(&mut |from, data| endpoint.inject(now, from, data, 0))?;
        self.process();
        match self.broken.take() {
            Some(reason) => Err(reason.into()),
            None => Ok(()),
        }
    }
}
