//! One UDP socket and all peers behind it.
//!
//! ```text
//! demux.rs     datagram -> connection, or a stateless answer; restarts and simultaneous opens
//! circuits.rs  what the relay does with a circuit
//! ending.rs    the end of connections
//! memory.rs    how much the queues hold, and what gives way
//! timers.rs    all deadlines
//! shared.rs    what all connections use together
//! ```

mod circuits;
mod demux;
mod ending;
mod memory;
pub mod shared;
pub mod timers;

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::config::Config;
use crate::connection::circuits::{CONTROL, Circuits};
use crate::connection::{Connection, Phase};
use crate::dtls::{Context, Session};
use crate::error::{CloseReason, Error};
use crate::map::{HashSeed, Map};
use crate::pool::Pressure;
use crate::rng::Rng;
use crate::stats::{ConnectionInfo, EndpointStats};
use crate::time::Time;
use demux::Peer;
pub(crate) use demux::canonical;
use shared::Shared;
use timers::Owner;

/// Datagrams that wait for the socket; while there are as many, circuits wait.
const OUTPUT_BOUND: usize = 512;
/// Handshake datagrams are made until there are this many.
const OUTPUT_LIMIT: usize = 2 * OUTPUT_BOUND;
/// Datagrams that a connection makes before it is the next one's turn.
const TURN: usize = 64;

/// Names a connection of an endpoint; not reused before 2^32 others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Names a circuit of an endpoint; not reused before 2^31 others of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CircuitId(pub u64);

/// This side's part in the DTLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// Sent the ClientHello.
    Client = 1,
    /// Answered it.
    Server = 2,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ConnectionState {
    /// The DTLS handshake, or its verification, is under way.
    Handshaking = 1,
    /// Circuits can be opened.
    Ready = 2,
    /// Ended.
    Closed = 3,
}

/// What the relay has to hear of. Queued; handed out by [`Endpoint::poll_event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer with a proven address wants to connect: answer with [`Endpoint::accept`]. Nothing is sent to the
    /// peer before the answer.
    ConnectionIncoming(ConnectionId, SocketAddr),
    /// The handshake is complete: look at the certificate and answer with [`Endpoint::verified`]. Nothing of the
    /// peer's is looked at before the answer.
    ConnectionVerify(ConnectionId),
    /// Circuits can be opened; the control circuit is open.
    ConnectionReady(ConnectionId),
    /// The connection has ended, and all its circuits before it.
    ConnectionClosed(ConnectionId, CloseReason),
    /// The peer opened a circuit with this number: answer with [`Endpoint::accept_circuit`].
    CircuitIncoming(ConnectionId, CircuitId, u32),
    /// There is something to read, or the end of the stream.
    Readable(CircuitId),
    /// There is room to write again.
    Writable(CircuitId),
    /// The circuit has ended.
    CircuitClosed(CircuitId, CloseReason),
    /// More or less of the memory budget is in use than when this was told last, `Normal` at first.
    MemoryPressure(Pressure),
}

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The peer's address.
    pub peer: SocketAddr,
    /// UDP payload.
    pub data: Vec<u8>,
    /// ECN field, 0 to 3.
    pub ecn: u8,
}

/// Events that a circuit reports: bits of a mask.
pub const EVENT_READABLE: u8 = 1;
/// See [`EVENT_READABLE`].
pub const EVENT_WRITABLE: u8 = 2;

/// All state behind one UDP socket.
pub struct Endpoint {
    shared: Shared,
    dtls: Context,
    connections: Map<u32, Box<Connection>>,
    peers: Map<SocketAddr, Peer>,
    /// Circuits of connections that the relay has let go of: their memory is given back little by little.
    released: VecDeque<Circuits>,
    /// When to go on with that.
    release_at: Time,
    /// Connections that may have something to send, in the order of their turns.
    active: VecDeque<u32>,
    output: VecDeque<Datagram>,
    next_id: u32,
    half_open: usize,
    accepting: bool,
    stats: EndpointStats,
}

impl Endpoint {
    /// An endpoint without peers.
    ///
    /// # Errors
    /// [`Error::Argument`] for a configuration out of bounds, [`Error::Certificate`], [`Error::Tls`].
    pub fn new(config: Config) -> Result<Endpoint, Error> {
        config.check()?;
        let mut rng = Rng::new(config.seed);
        let dtls = Context::new(&config, rng.secret())?;
        let shared = Shared::new(config, rng);
        Ok(Endpoint {
            dtls,
            connections: shared.hash.map(),
            peers: shared.hash.map(),
            shared,
            released: VecDeque::new(),
            release_at: Time::NEVER,
            active: VecDeque::new(),
            output: VecDeque::new(),
            next_id: 1,
            half_open: 0,
            accepting: true,
            stats: EndpointStats::default(),
        })
    }

    /// The secret of the maps.
    pub(crate) fn hash_seed(&self) -> HashSeed {
        self.shared.hash
    }

    // ---- time ----

    /// Does what is due, and makes datagrams of what may be sent.
    pub fn process(&mut self, now: Time) {
        self.work(now);
        while !self.active.is_empty() && self.transmit(now) {}
    }

    /// Does what is due. [`Endpoint::transmit`] makes the datagrams.
    #[inline]
    pub(crate) fn work(&mut self, now: Time) {
        while let Some(owner) = self.shared.timers.pop(now) {
            let (Owner::Connection(key) | Owner::Circuit(key, _)) = owner;
            let lives = self.with(ConnectionId(u64::from(key)), |connection, shared| {
                match owner {
                    Owner::Connection(_) => connection.on_timer(now, shared),
                    Owner::Circuit(_, wire) => connection.on_circuit_timer(now, wire, shared),
                }
                Ok(())
            });
            if lives.is_err() {
                self.go_on_ending(now, owner);
            }
        }
        if self.release_at <= now {
            self.go_on_releasing(now);
        }
        self.shared.pool.on_time(now);
        self.tend_memory();
    }

    /// When [`Endpoint::process`] has to be called next: `Time(0)` if work is waiting, [`Time::NEVER`] if none.
    ///
    /// Datagrams that the socket does not take are no work: call when it is writable.
    pub fn next_deadline(&self) -> Time {
        if !self.shared.events.is_empty()
            || self.shared.pool.wants_attention()
            || (!self.active.is_empty() && self.output.len() < OUTPUT_BOUND)
        {
            return Time(0);
        }
        self.shared.timers.next().min(self.release_at)
    }

    /// Gives connections with something to send their turns, until there are datagrams for one batch or none has anything.
    /// Returns whether there may be more: better once those are with the socket, while they are in the processor's cache.
    pub(crate) fn transmit(&mut self, now: Time) -> bool {
        let enough = OUTPUT_BOUND.min(self.output.len() + TURN);
        while self.output.len() < enough
            && let Some(key) = self.active.pop_front()
        {
            let Some(connection) = self.connections.get_mut(&key) else {
                continue;
            };
            for _ in 0..TURN {
                let Some(datagram) = connection.fill(now, &mut self.shared) else {
                    break;
                };
                self.output.push_back(datagram);
            }
            connection.update_timer(&mut self.shared);
            connection.active = connection.has_output();
            if connection.active {
                self.active.push_back(key);
            }
        }
        !self.active.is_empty() && self.output.len() < OUTPUT_BOUND
    }

    /// Datagrams waiting for the socket, oldest first.
    pub fn output(&self) -> &VecDeque<Datagram> {
        &self.output
    }

    /// Takes the `n` oldest datagrams off the queue: they were sent.
    pub fn sent(&mut self, n: usize) {
        for datagram in self.output.drain(..n.min(self.output.len())) {
            self.stats.datagrams_sent += 1;
            self.stats.bytes_sent += datagram.data.len() as u64;
            self.shared.buffers.give(datagram.data);
        }
    }

    /// The next thing the relay has to hear of.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(pressure) = self.shared.pool.take_notice() {
            return Some(Event::MemoryPressure(pressure));
        }
        while let Some(event) = self.shared.events.pop_front() {
            if self.still_due(event) {
                return Some(event);
            }
        }
        None
    }

    /// Whether an event is to be told now that its turn has come.
    fn still_due(&mut self, event: Event) -> bool {
        match event {
            Event::Readable(id) => self.deliver_event(id, EVENT_READABLE),
            Event::Writable(id) => self.deliver_event(id, EVENT_WRITABLE),
            Event::CircuitClosed(id, _) | Event::CircuitIncoming(_, id, _) => {
                self.circuit(id).is_ok()
            }
            Event::ConnectionVerify(id) => self
                .connections
                .get(&(id.0 as u32))
                .is_some_and(|c| c.phase == Phase::Verifying),
            Event::ConnectionIncoming(id, _)
            | Event::ConnectionReady(id)
            | Event::ConnectionClosed(id, _) => self.connections.contains_key(&(id.0 as u32)),
            // Never in the queue: the pool knows what is to be told.
            Event::MemoryPressure(_) => true,
        }
    }

    // ---- connections ----

    /// Starts a connection.
    ///
    /// # Errors
    /// [`Error::InUse`] if there is one to this address, [`Error::Limit`], [`Error::Argument`] for an address that
    /// cannot be sent to, [`Error::Tls`].
    pub fn connect(
        &mut self,
        now: Time,
        peer: SocketAddr,
        pin: Option<[u8; 32]>,
    ) -> Result<ConnectionId, Error> {
        let peer = demux::canonical(peer);
        if peer.port() == 0 || peer.ip().is_unspecified() || peer.ip().is_multicast() {
            return Err(Error::Argument);
        }
        if self.peers.contains_key(&peer) {
            return Err(Error::InUse);
        }
        if self.peers.len() >= self.shared.config.max_connections {
            return Err(Error::Limit);
        }
        let session = Session::connect(&self.dtls, now)?;
        let key = self.insert(now, peer, session, pin, true);
        self.peers.insert(peer, Peer::new(key));
        self.stats.handshakes_started += 1;
        self.after(key);
        Ok(ConnectionId(u64::from(key)))
    }

    fn insert(
        &mut self,
        now: Time,
        peer: SocketAddr,
        session: Session,
        pin: Option<[u8; 32]>,
        outgoing: bool,
    ) -> u32 {
        while self.connections.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1).max(1);
        }
        let key = self.next_id;
        self.next_id = self.next_id.wrapping_add(1).max(1);
        let id = ConnectionId(u64::from(key));
        let connection = Connection::new(now, id, peer, session, pin, outgoing, &self.shared);
        self.half_open += usize::from(connection.is_half_open());
        self.connections.insert(key, Box::new(connection));
        key
    }

    /// After anything has changed a connection: output, timer, peer table, counts.
    fn after(&mut self, key: u32) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        while let Some(datagram) = connection.flush() {
            if self.output.len() < OUTPUT_LIMIT {
                self.output.push_back(datagram);
            } else {
                self.stats.dropped_output_full += 1;
            }
        }
        if connection.phase == Phase::Closed {
            connection.bury_session();
            let peer = connection.peer;
            self.unlist(peer, key);
        } else {
            connection.update_timer(&mut self.shared);
            if connection.has_output() && !connection.active {
                connection.active = true;
                self.active.push_back(key);
            }
        }
    }

    /// Runs `change` on a connection that has not ended, then takes note of what it changed.
    fn with<T>(
        &mut self,
        id: ConnectionId,
        change: impl FnOnce(&mut Connection, &mut Shared) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let key = id.0 as u32;
        let connection = self.connections.get_mut(&key).ok_or(Error::Closed)?;
        if connection.phase == Phase::Closed {
            return Err(Error::Closed);
        }
        let (was_half_open, was_ready) =
            (connection.is_half_open(), connection.phase == Phase::Ready);
        let result = change(connection, &mut self.shared);
        let (is_half_open, is_ready) =
            (connection.is_half_open(), connection.phase == Phase::Ready);
        let ended = connection.phase == Phase::Closed;
        self.half_open = self.half_open + usize::from(is_half_open) - usize::from(was_half_open);
        let completed = !was_ready && is_ready;
        if completed {
            self.stats.handshakes_completed += 1;
        } else if !was_ready && ended {
            self.stats.handshakes_failed += 1;
        }
        if is_ready && !connection.has_words() {
            // The usual case.
            connection.update_timer(&mut self.shared);
            if connection.has_output() && !connection.active {
                connection.active = true;
                self.active.push_back(key);
            }
        } else {
            self.after(key);
        }
        if completed {
            self.promote_pending(key);
        }
        result
    }

    /// The connection to this address, if there is one that has not ended.
    pub fn find(&self, peer: SocketAddr) -> Option<ConnectionId> {
        self.peers
            .get(&demux::canonical(peer))
            .and_then(Peer::current)
            .map(|key| ConnectionId(u64::from(key)))
    }

    /// Answers [`Event::ConnectionIncoming`]; refused, the connection is forgotten without another event.
    pub fn accept(&mut self, now: Time, id: ConnectionId, accept: bool) {
        let _ = self.with(id, |connection, shared| {
            if connection.phase == Phase::Accepting {
                if accept {
                    connection.start(now);
                } else {
                    connection.announced = false;
                    connection.close(CloseReason::Refused, shared);
                }
            }
            Ok(())
        });
        if !accept {
            self.connection_forget(id);
        }
    }

    /// Answers [`Event::ConnectionVerify`]; refused, `ConnectionClosed(Verify)` follows.
    pub fn verified(&mut self, now: Time, id: ConnectionId, acceptable: bool) {
        let _ = self.with(id, |connection, shared| {
            connection.verified(now, acceptable, shared);
            Ok(())
        });
    }

    /// This side's part in the handshake.
    ///
    /// # Errors
    /// [`Error::Closed`] when the connection was forgotten.
    pub fn connection_role(&self, id: ConnectionId) -> Result<Role, Error> {
        self.connections
            .get(&(id.0 as u32))
            .map(|c| c.role())
            .ok_or(Error::Closed)
    }

    /// Where the connection is in its life; `Closed` also when it was forgotten.
    pub fn connection_state(&self, id: ConnectionId) -> ConnectionState {
        self.connections
            .get(&(id.0 as u32))
            .map_or(ConnectionState::Closed, |c| c.state())
    }

    /// While held, only the control circuit reports anything.
    ///
    /// # Errors
    /// [`Error::Closed`] when it has ended.
    pub fn connection_hold(&mut self, id: ConnectionId, hold: bool) -> Result<(), Error> {
        self.with(id, |connection, shared| {
            connection.circuits.hold(hold, shared);
            Ok(())
        })
    }

    /// The session's `SSL`, null if there is none (any more).
    pub fn connection_ssl(&self, id: ConnectionId) -> *mut openssl_sys::SSL {
        self.connections
            .get(&(id.0 as u32))
            .and_then(|c| c.session.as_ref())
            .map_or(std::ptr::null_mut(), Session::ssl)
    }

    /// The peer's address; known as long as the connection was not forgotten.
    pub fn connection_address(&self, id: ConnectionId) -> Option<SocketAddr> {
        self.connections.get(&(id.0 as u32)).map(|c| c.peer)
    }

    /// The control circuit, once the connection is ready.
    ///
    /// # Errors
    /// [`Error::State`] before, [`Error::Closed`] after.
    pub fn connection_control(&self, id: ConnectionId) -> Result<CircuitId, Error> {
        let connection = self.connections.get(&(id.0 as u32)).ok_or(Error::Closed)?;
        match connection.phase {
            Phase::Ready => Ok(connection.circuits.circuit_id(CONTROL)),
            Phase::Closed => Err(Error::Closed),
            _ => Err(Error::State),
        }
    }

    /// State and counters; last values after the end.
    pub fn connection_info(&self, id: ConnectionId) -> Option<ConnectionInfo> {
        let connection = self.connections.get(&(id.0 as u32))?;
        Some(ConnectionInfo {
            memory: connection.circuits.memory(&self.shared),
            ..connection.info()
        })
    }

    // ---- the whole ----

    /// New connections use this certificate and key from now on.
    ///
    /// # Errors
    /// [`Error::Certificate`]; the old ones stay in use.
    pub fn set_certificate(&mut self, chain: &[u8], key: &[u8]) -> Result<(), Error> {
        self.dtls.set_certificate(chain, key)
    }

    /// Whether new peers may connect.
    pub fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting;
    }

    /// Counters.
    pub fn stats(&self) -> EndpointStats {
        let counters = self.shared.pool.counters();
        EndpointStats {
            connections: self.peers.len() as u64,
            half_open: self.half_open as u64,
            circuits: self
                .connections
                .values()
                .map(|c| u64::from(c.info().circuits))
                .sum(),
            memory: self.memory(),
            memory_budget: self.shared.config.memory_budget,
            memory_peak: self.shared.pool.peak(),
            writes_refused: counters.writes,
            windows_held: counters.windows,
            bytes_reneged: counters.reneged,
            dropped_out_of_order: counters.out_of_order,
            dropped_in_order: counters.in_order,
            output_queue: self.output.len() as u64,
            ..self.stats
        }
    }

    /// Starts or stops the capture of the inner TCP/IP packets.
    pub fn set_capture(&mut self, on: bool) {
        self.shared.capture = on.then(|| {
            let mut file = Vec::new();
            crate::tortp::pcap::header(&mut file);
            file
        });
    }

    /// Octets of the pcap file since the last call.
    pub fn take_capture(&mut self) -> Vec<u8> {
        self.shared
            .capture
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }
}
