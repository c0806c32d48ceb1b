//! Which connection a datagram belongs to. Before a peer has proven its address with a cookie, nothing is kept and no
//! more octets go out than came in (design: RFC 6347 section 4.2.1).

use std::net::{IpAddr, SocketAddr};

use super::{ConnectionId, Datagram, Endpoint, Event, OUTPUT_LIMIT};
use crate::connection::Phase;
use crate::dtls::{self, Kind, Listen, Session};
use crate::error::CloseReason;
use crate::time::Time;

/// The ECN field of the IP header, and "congestion experienced" in it (RFC 3168 section 5).
const ECN_FIELD: u8 = 3;
const CE: u8 = 3;

/// What is known of a peer's address.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peer {
    current: Option<u32>,
    /// A handshake beside the current session: the peer has restarted, or someone pretends so. It takes the current
    /// one's place only when it is complete and verified.
    pending: Option<u32>,
}

impl Peer {
    pub(super) fn new(key: u32) -> Peer {
        Peer {
            current: Some(key),
            pending: None,
        }
    }

    pub(super) fn current(&self) -> Option<u32> {
        self.current
    }
}

/// IPv4 addresses mapped into IPv6 are the IPv4 address: a dual-stack socket reports them so.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

impl Endpoint {
    /// Takes in one datagram from the socket. `ecn` is the ECN field of its IP header, 0 if unknown.
    pub fn inject(&mut self, now: Time, from: SocketAddr, datagram: &[u8], ecn: u8) {
        self.demultiplex(now, from, datagram, ecn);
    }

    /// The same. Returns whether the peer's connection is ready.
    pub(crate) fn inject_and_look(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
        ecn: u8,
    ) -> bool {
        let key = self
            .demultiplex(now, from, datagram, ecn)
            .or_else(|| self.find(from).map(|id| id.0 as u32));
        key.is_some_and(|key| self.phase(key) == Some(Phase::Ready))
    }

    /// Returns the connection that it was for, if that is the peer's only one.
    fn demultiplex(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
        ecn: u8,
    ) -> Option<u32> {
        if self.arrivals_are_full() {
            self.settle_arrivals();
        }
        let ce = ecn & ECN_FIELD == CE;
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += datagram.len() as u64;
        let from = canonical(from);
        if from.port() == 0 || from.ip().is_unspecified() || from.ip().is_multicast() {
            self.stats.dropped_address += 1;
            return None;
        }
        let kind = dtls::classify(datagram);
        if kind == Kind::NotDtls {
            self.stats.dropped_not_dtls += 1;
            return None;
        }
        let peer = self.peers.get(&from).copied().unwrap_or_default();
        if let Kind::ClientHello { random, has_cookie } = kind {
            self.client_hello(now, from, datagram, peer, random, has_cookie);
            return None;
        }
        match (peer.pending, peer.current) {
            (Some(pending), Some(current)) => {
                let (first, second) = match (kind, self.phase(pending)) {
                    (Kind::ApplicationData, Some(Phase::Accepting | Phase::Handshake)) => {
                        (current, pending)
                    }
                    _ => (pending, current),
                };
                if !self.receive(now, first, datagram, ce) {
                    self.receive(now, second, datagram, ce);
                }
            }
            (None, Some(key)) => {
                self.receive(now, key, datagram, ce);
                return Some(key);
            }
            (Some(key), None) => {
                self.receive(now, key, datagram, ce);
            }
            (None, None) => {
                self.stats.dropped_unknown_peer += 1;
                if kind == Kind::ApplicationData {
                    self.say_session_is_lost(from, datagram);
                }
            }
        }
        None
    }

    fn phase(&self, key: u32) -> Option<Phase> {
        self.connections.get(&key).map(|c| c.phase)
    }

    fn receive(&mut self, now: Time, key: u32, datagram: &[u8], ce: bool) -> bool {
        self.with(ConnectionId(u64::from(key)), |connection, shared| {
            Ok(connection.receive(now, datagram, ce, shared))
        })
        .unwrap_or(false)
    }

    fn session_random(&self, key: Option<u32>) -> Option<[u8; 32]> {
        let session = self.connections.get(&key?)?.session.as_ref()?;
        Some(session.client_random())
    }

    fn client_hello(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
        peer: Peer,
        random: [u8; 32],
        has_cookie: bool,
    ) {
        // The ClientHello of a session that we serve, once more: its flight was lost.
        for key in [peer.pending, peer.current].into_iter().flatten() {
            if self.session_random(Some(key)) == Some(random)
                && self
                    .connections
                    .get(&key)
                    .is_some_and(|c| c.role() == super::Role::Server)
            {
                self.receive(now, key, datagram, false);
                return;
            }
        }
        // Both sides connect at once: the smaller client random keeps the client role.
        let ours = peer
            .current
            .filter(|&key| self.phase(key) == Some(Phase::Handshake))
            .filter(|&key| {
                self.connections
                    .get(&key)
                    .is_some_and(|c| c.role() == super::Role::Client)
            });
        if let Some(key) = ours
            && self.session_random(Some(key)).is_some_and(|r| r <= random)
        {
            if let Some(connection) = self.connections.get_mut(&key) {
                connection.circuits.stats.dropped_peer_handshake += 1;
            }
            return;
        }
        if !self.accepting && ours.is_none() {
            self.stats.dropped_refusing += 1;
            return;
        }
        let known = peer.current.is_some();
        if has_cookie
            && (self.half_open >= self.shared.config.max_half_open
                || (!known && self.peers.len() >= self.shared.config.max_connections))
        {
            self.stats.dropped_limit += 1;
            return;
        }
        let mut reply = Vec::new();
        match self.dtls.listen(now, from, datagram, &mut reply) {
            Listen::Reply => {
                self.stats.cookies_sent += 1;
                self.reply(from, reply);
            }
            Listen::BadCookie => {
                self.stats.dropped_bad_cookie += 1;
                if !reply.is_empty() {
                    self.stats.cookies_sent += 1;
                    self.reply(from, reply);
                }
            }
            Listen::NotClientHello => self.stats.dropped_not_dtls += 1,
            Listen::Promoted(session) => self.promoted(now, from, session, peer, ours),
        }
    }

    fn reply(&mut self, to: SocketAddr, data: Vec<u8>) {
        if self.output.len() < OUTPUT_LIMIT {
            self.output.push_back(Datagram {
                peer: to,
                data,
                ecn: 0,
            });
        } else {
            self.stats.dropped_output_full += 1;
        }
    }

    /// A peer has proven its address.
    fn promoted(
        &mut self,
        now: Time,
        from: SocketAddr,
        session: Session,
        peer: Peer,
        ours: Option<u32>,
    ) {
        self.stats.handshakes_started += 1;
        if let Some(key) = ours {
            let _ = self.with(ConnectionId(u64::from(key)), |connection, _| {
                connection.yield_to(now, session);
                Ok(())
            });
            return;
        }
        // A handshake that has not got far makes way: its peer has begun anew.
        let unfinished = |key: &u32| {
            self.connections
                .get(key)
                .is_some_and(|c| c.phase != Phase::Ready && c.phase != Phase::Closed)
        };
        let stale = peer.pending.or(peer.current.filter(unfinished));
        if let Some(stale) = stale {
            let _ = self.with(ConnectionId(u64::from(stale)), |connection, shared| {
                connection.close(CloseReason::Restarted, shared);
                Ok(())
            });
        }
        let key = self.insert(now, from, session, None, false);
        let entry = self.peers.entry(from).or_default();
        match entry.current {
            Some(_) => entry.pending = Some(key),
            None => entry.current = Some(key),
        }
        self.shared.events.push_back(Event::ConnectionIncoming(
            ConnectionId(u64::from(key)),
            from,
        ));
        self.after(key);
    }

    /// A connection has ended: its address is free.
    pub(super) fn unlist(&mut self, address: SocketAddr, key: u32) {
        let Some(peer) = self.peers.get_mut(&address) else {
            return;
        };
        if peer.pending == Some(key) {
            peer.pending = None;
        }
        if peer.current == Some(key) {
            peer.current = peer.pending.take();
        }
        if peer.current.is_none() {
            self.peers.remove(&address);
        }
    }

    /// If `key` is a handshake beside an older session and has completed, the older one ends.
    pub(super) fn promote_pending(&mut self, key: u32) {
        let Some(connection) = self.connections.get(&key) else {
            return;
        };
        if connection.phase != Phase::Ready {
            return;
        }
        let address = connection.peer;
        let Some(peer) = self.peers.get_mut(&address) else {
            return;
        };
        if peer.pending == Some(key) {
            let old = peer.current.replace(key);
            peer.pending = None;
            if let Some(old) = old {
                let _ = self.with(ConnectionId(u64::from(old)), |connection, shared| {
                    connection.end_silently(CloseReason::Restarted, shared);
                    Ok(())
                });
            }
        }
    }

    /// Data of a session that we do not have: after a restart, the peer should learn of it before its timers do. The
    /// alert is not authenticated, so the peer takes it as a reason to look only. Shorter than what came in.
    fn say_session_is_lost(&mut self, to: SocketAddr, datagram: &[u8]) {
        let alert = dtls::session_lost_alert();
        if datagram.len() > alert.len() && self.accepting {
            self.reply(to, alert.to_vec());
        }
    }
}
