//! One connection of an endpoint of the library, with its circuits by number: whatever the peer wants is accepted.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use utcp::config::Config;
use utcp::endpoint::{CircuitId, ConnectionId, Endpoint, Event};
use utcp::error::Error;
use utcp::time::Time;

/// See the module.
pub struct Connection {
    /// Datagrams go in and come out here.
    pub endpoint: Endpoint,
    /// Circuits that can be written to again.
    pub writable: Vec<u32>,
    /// What ended the connection or a circuit, if anything has.
    pub closed: Option<String>,
    id: Option<ConnectionId>,
    ready: bool,
    circuits: BTreeMap<u32, CircuitId>,
    numbers: BTreeMap<CircuitId, u32>,
    readable: VecDeque<CircuitId>,
    buffer: Vec<u8>,
}

impl Connection {
    /// An endpoint that reads at most `chunk` octets at once.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(config: Config, chunk: usize) -> Result<Connection, Error> {
        Ok(Connection {
            endpoint: Endpoint::new(config)?,
            writable: Vec::new(),
            closed: None,
            id: None,
            ready: false,
            circuits: BTreeMap::new(),
            numbers: BTreeMap::new(),
            readable: VecDeque::new(),
            buffer: vec![0; chunk],
        })
    }

    /// Connects; `pin` is the SHA-256 of the peer's certificate.
    ///
    /// # Errors
    /// Those of the library.
    pub fn connect(
        &mut self,
        now: Time,
        peer: SocketAddr,
        pin: Option<[u8; 32]>,
    ) -> Result<(), Error> {
        self.id = Some(self.endpoint.connect(now, peer, pin)?);
        Ok(())
    }

    /// Whether circuits can be opened.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether something has arrived that was not read.
    pub fn is_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Does what is due, and what events ask for.
    pub fn process(&mut self, now: Time) {
        if self.endpoint.next_deadline() <= now {
            self.endpoint.process(now);
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.event(now, event);
        }
    }

    fn event(&mut self, now: Time, event: Event) {
        match event {
            Event::ConnectionIncoming(id, _) => {
                self.id = Some(id);
                self.endpoint.accept(now, id, true);
            }
            // Who connects to somebody in particular has a pin.
            Event::ConnectionVerify(id) => self.endpoint.verified(now, id, true),
            Event::ConnectionReady(_) => self.ready = true,
            Event::CircuitIncoming(_, id, number) => {
                self.add(number, id);
                self.endpoint.accept_circuit(id, true);
            }
            Event::Readable(id) => self.readable.push_back(id),
            Event::Writable(id) => self.writable.extend(self.numbers.get(&id)),
            Event::MemoryPressure(_) => {}
            Event::ConnectionClosed(..) | Event::CircuitClosed(..) => {
                self.closed = Some(format!("{event:?}"));
            }
        }
    }

    fn add(&mut self, number: u32, id: CircuitId) {
        self.circuits.insert(number, id);
        self.numbers.insert(id, number);
    }

    /// The circuit of a number, if there is one.
    pub fn circuit(&self, number: u32) -> Option<CircuitId> {
        self.circuits.get(&number).copied()
    }

    /// Opens a circuit.
    ///
    /// # Errors
    /// Those of the library; [`Error::State`] before there is a connection.
    pub fn open(&mut self, number: u32) -> Result<CircuitId, Error> {
        let connection = self.id.ok_or(Error::State)?;
        let id = self.endpoint.open_circuit(connection, number)?;
        self.add(number, id);
        Ok(id)
    }

    /// Writes what a circuit takes; gives how much that is.
    ///
    /// # Errors
    /// Those of the library, except that it takes nothing now.
    pub fn write(&mut self, id: CircuitId, data: &[u8]) -> Result<usize, Error> {
        match self.endpoint.write(id, data) {
            Err(Error::WouldBlock) => Ok(0),
            other => other,
        }
    }

    /// Hands out everything that has arrived, with the number of its circuit.
    ///
    /// # Errors
    /// Those of the library, except that there is no more.
    pub fn read(&mut self, to: &mut dyn FnMut(u32, &[u8])) -> Result<(), Error> {
        while let Some(id) = self.readable.pop_front() {
            loop {
                match self.endpoint.read(id, &mut self.buffer) {
                    Ok(count) => to(self.numbers[&id], &self.buffer[..count]),
                    Err(Error::WouldBlock) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
