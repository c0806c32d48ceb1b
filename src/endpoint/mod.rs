//! One UDP socket and all peers behind it.
//!
//! The API skeleton: bodies follow.
#![allow(unused_variables)]

use std::net::SocketAddr;

use crate::config::Config;
use crate::error::{CloseReason, Error};
use crate::stats::{CircuitInfo, ConnectionInfo, EndpointStats};
use crate::tcp::congestion::Algorithm;
use crate::time::Time;

/// Names a connection of an endpoint; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Names a circuit of an endpoint; never reused.
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
pub const EVENT_READABLE: u32 = 1;
/// See [`EVENT_READABLE`].
pub const EVENT_WRITABLE: u32 = 2;

/// All state behind one UDP socket.
pub struct Endpoint {}

impl Endpoint {
    /// An endpoint that does nothing yet.
    pub fn new(config: Config) -> Result<Endpoint, Error> {
        todo!()
    }
    /// Takes in one datagram from the socket. `ecn` is the ECN field of its IP header, 0 if unknown.
    /// `data` may be scribbled on.
    pub fn inject(&mut self, now: Time, from: SocketAddr, data: &[u8], ecn: u8) {
        todo!()
    }
    /// Does what is due, and makes datagrams of what may be sent.
    pub fn process(&mut self, now: Time) {
        todo!()
    }
    /// When [`Endpoint::process`] has to be called next: `Time(0)` if work is waiting, [`Time::NEVER`] if none.
    pub fn next_deadline(&self) -> Time {
        todo!()
    }
    /// The next thing the relay has to hear of.
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }
    /// Datagrams waiting for the socket, oldest first.
    pub fn output(&self) -> &std::collections::VecDeque<Datagram> {
        todo!()
    }
    /// Takes the `n` oldest datagrams off the queue: they were sent.
    pub fn sent(&mut self, n: usize) {
        todo!()
    }
    /// Starts a connection.
    pub fn connect(
        &mut self,
        now: Time,
        peer: SocketAddr,
        pin: Option<[u8; 32]>,
    ) -> Result<ConnectionId, Error> {
        todo!()
    }
    /// The connection to this address, if there is one that has not ended.
    pub fn find(&self, peer: SocketAddr) -> Option<ConnectionId> {
        todo!()
    }
    /// Answers [`Event::ConnectionIncoming`]; refused, the connection is forgotten without another event.
    pub fn accept(&mut self, now: Time, id: ConnectionId, accept: bool) {
        todo!()
    }
    /// Answers [`Event::ConnectionVerify`]; refused, `ConnectionClosed(Verify)` follows.
    pub fn verified(&mut self, now: Time, id: ConnectionId, acceptable: bool) {
        todo!()
    }
    /// Answers [`Event::CircuitIncoming`]; refused, the circuit is reset and forgotten without another event.
    pub fn accept_circuit(&mut self, id: CircuitId, accept: bool) {
        todo!()
    }
    /// New connections use this certificate and key from now on.
    pub fn set_certificate(&mut self, chain: &[u8], key: &[u8]) -> Result<(), Error> {
        todo!()
    }
    /// Whether new peers may connect.
    pub fn set_accepting(&mut self, accepting: bool) {
        todo!()
    }
    /// Octets of queued data held.
    pub fn memory(&self) -> u64 {
        todo!()
    }
    /// Frees at least `bytes` of queued data if there are as many; returns what was freed.
    pub fn shed(&mut self, bytes: u64) -> u64 {
        todo!()
    }
    /// Counters.
    pub fn stats(&self) -> EndpointStats {
        todo!()
    }
    /// Starts or stops the capture of the inner TCP/IP packets.
    pub fn set_capture(&mut self, on: bool) {
        todo!()
    }
    /// Octets of the pcap file since the last call.
    pub fn take_capture(&mut self) -> Vec<u8> {
        todo!()
    }

    // ---- connections; Err(Closed) when the connection has ended or was forgotten ----

    /// This side's part in the handshake.
    pub fn connection_role(&self, id: ConnectionId) -> Result<Role, Error> {
        todo!()
    }
    /// Where the connection is in its life; `Closed` also when it was forgotten.
    pub fn connection_state(&self, id: ConnectionId) -> ConnectionState {
        todo!()
    }
    /// Ends a connection: circuits end with reason `Connection`, the peer is told, `ConnectionClosed(Local)` follows.
    pub fn connection_close(&mut self, id: ConnectionId) -> Result<(), Error> {
        todo!()
    }
    /// Ends it if it has not ended, and forgets it: no more events of it or its circuits' connection.
    pub fn connection_forget(&mut self, id: ConnectionId) {
        todo!()
    }
    /// While held, only the control circuit reports anything.
    pub fn connection_hold(&mut self, id: ConnectionId, hold: bool) -> Result<(), Error> {
        todo!()
    }
    /// The session's `SSL`, null if there is none (any more).
    pub fn connection_ssl(&self, id: ConnectionId) -> *mut openssl_sys::SSL {
        todo!()
    }
    /// The peer's address; known as long as the connection was not forgotten.
    pub fn connection_address(&self, id: ConnectionId) -> Option<SocketAddr> {
        todo!()
    }
    /// The control circuit, once the connection is ready.
    pub fn connection_control(&self, id: ConnectionId) -> Result<CircuitId, Error> {
        todo!()
    }
    /// State and counters; last values after the end.
    pub fn connection_info(&self, id: ConnectionId) -> Option<ConnectionInfo> {
        todo!()
    }
    /// Opens a circuit under the relay's number (not 0).
    pub fn open_circuit(&mut self, id: ConnectionId, number: u32) -> Result<CircuitId, Error> {
        todo!()
    }

    // ---- circuits; Err(Closed) when the circuit has ended or was forgotten ----

    /// Copies what was received in order; `Err(WouldBlock)`, `Err(End)`.
    pub fn read(&mut self, id: CircuitId, buffer: &mut [u8]) -> Result<usize, Error> {
        todo!()
    }
    /// Queues data to be sent; may take less than all; `Err(WouldBlock)` when there is no room at all.
    pub fn write(&mut self, id: CircuitId, data: &[u8]) -> Result<usize, Error> {
        todo!()
    }
    /// Octets that can be read now; 0 when ended.
    pub fn readable(&self, id: CircuitId) -> usize {
        todo!()
    }
    /// Octets that can be written now; 0 when ended.
    pub fn room(&self, id: CircuitId) -> usize {
        todo!()
    }
    /// Half-close.
    pub fn finish(&mut self, id: CircuitId) -> Result<(), Error> {
        todo!()
    }
    /// Half-close, and discard what still arrives. `CircuitClosed` follows.
    pub fn close(&mut self, id: CircuitId) -> Result<(), Error> {
        todo!()
    }
    /// Reset at once; no event.
    pub fn abort(&mut self, id: CircuitId) -> Result<(), Error> {
        todo!()
    }
    /// No more events of this circuit. Resets it, unless `close` was called: then it finishes by itself.
    pub fn circuit_forget(&mut self, id: CircuitId) {
        todo!()
    }
    /// Which events are reported: [`EVENT_READABLE`], [`EVENT_WRITABLE`].
    pub fn set_events(&mut self, id: CircuitId, mask: u32) -> Result<(), Error> {
        todo!()
    }
    /// TCP from the inside; last values after the end, as long as it was not forgotten.
    pub fn circuit_info(&self, id: CircuitId) -> Option<CircuitInfo> {
        todo!()
    }
    /// Switches congestion control.
    pub fn set_congestion(&mut self, id: CircuitId, algorithm: Algorithm) -> Result<(), Error> {
        todo!()
    }
    /// Caps the sending rate, octets per second; 0 removes the cap.
    pub fn set_rate(&mut self, id: CircuitId, rate: u64) -> Result<(), Error> {
        todo!()
    }
    /// Octets held for sending.
    pub fn set_send_buffer(&mut self, id: CircuitId, octets: usize) -> Result<(), Error> {
        todo!()
    }
    /// The largest receive window.
    pub fn set_receive_buffer(&mut self, id: CircuitId, octets: usize) -> Result<(), Error> {
        todo!()
    }
    /// Weight in the round robin, 1 to 255.
    pub fn set_priority(&mut self, id: CircuitId, weight: u8) -> Result<(), Error> {
        todo!()
    }
}
