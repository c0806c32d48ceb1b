//! One peer relay: its DTLS session, its circuits, and what is known of the path.

pub mod circuit;
pub mod circuits;
#[cfg(test)]
mod ending_tests;
#[cfg(test)]
mod memory_tests;
pub mod path;
mod resets;
#[cfg(test)]
mod tests;
mod tombstones;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::dtls::{self, Incoming, Session, SessionState};
use crate::endpoint::shared::Shared;
use crate::endpoint::timers::{Owner, Timer};
use crate::endpoint::{ConnectionId, ConnectionState, Datagram, Event, Role};
use crate::error::CloseReason;
use crate::stats::{ConnectionInfo, ConnectionStats};
use crate::tcp::segment::PathProbe;
use crate::time::{Micros, SECOND, Time};
use crate::tortp;
use circuits::{CONTROL, Circuits};
use path::group::Group;
use path::mtu::PathMtu;

/// Unanswered probes after which a peer that says it does not know our session is believed.
const LOST_PROBES: u8 = 3;
/// The least time between those probes.
const PROBE_INTERVAL: Micros = SECOND / 2;

/// The ECN field of datagrams that routers may mark instead of dropping them (RFC 3168 section 5).
const ECT_0: u8 = 2;

/// Path probes of the peer's that wait for their answer at once.
const PATH_ANSWERS_BOUND: usize = 4;

/// The plaintext of a record that fits a datagram of this size.
fn plaintext(datagram: usize) -> usize {
    datagram
        .saturating_sub(dtls::RECORD_OVERHEAD)
        .min(dtls::MAX_PLAINTEXT)
}

/// Where a connection is, in more detail than the relay needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The relay was asked whether it wants this peer.
    Accepting,
    /// DTLS handshake.
    Handshake,
    /// The relay was asked whether it accepts the certificate.
    Verifying,
    /// Circuits.
    Ready,
    /// Ended.
    Closed,
}

/// The peer is said to have lost our session (a plaintext alert, which anyone can forge): it is probed.
#[derive(Clone, Copy, Debug)]
struct Suspicion {
    /// Alerts since it began.
    hints: u8,
    /// Probes sent since it began.
    probes: u8,
    /// When to probe again, or to give up.
    at: Time,
}

/// A connection.
pub struct Connection {
    /// Its name.
    pub id: ConnectionId,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Where it is.
    pub phase: Phase,
    /// The relay knows of it, so it has to hear of its end.
    pub announced: bool,
    /// It is in the endpoint's queue of those with output.
    pub active: bool,
    /// The session; none after the end.
    pub session: Option<Session>,
    /// All its circuits.
    pub circuits: Circuits,
    role: Role,
    pin: Option<[u8; 32]>,
    handshake_until: Time,
    mtu: PathMtu,
    /// Tokens of the peer's path probes that wait for their answer.
    path_answers: VecDeque<u32>,
    suspicion: Option<Suspicion>,
    /// Why it has ended, until that is told.
    ended: Option<CloseReason>,
    timer: Timer,
}

impl Connection {
    /// A connection with a session whose handshake is to be done.
    pub fn new(
        now: Time,
        id: ConnectionId,
        peer: SocketAddr,
        session: Session,
        pin: Option<[u8; 32]>,
        outgoing: bool,
        shared: &Shared,
    ) -> Connection {
        let config = &shared.config;
        let largest = config.largest_to(peer.ip());
        let mtu = PathMtu::new(config.usual(), largest, config.path_mtu_discovery);
        Connection {
            id,
            peer,
            phase: if outgoing {
                Phase::Handshake
            } else {
                Phase::Accepting
            },
            announced: true,
            active: false,
            role: session.role(),
            session: Some(session),
            circuits: Circuits::new(id, plaintext(largest), shared.hash),
            pin,
            handshake_until: now + config.handshake_timeout,
            mtu,
            path_answers: VecDeque::new(),
            suspicion: None,
            ended: None,
            timer: Timer::OFF,
        }
    }

    /// This side's part in the handshake.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What the relay sees.
    pub fn state(&self) -> ConnectionState {
        match self.phase {
            Phase::Accepting | Phase::Handshake | Phase::Verifying => ConnectionState::Handshaking,
            Phase::Ready => ConnectionState::Ready,
            Phase::Closed => ConnectionState::Closed,
        }
    }

    /// Whether it is a handshake in which this side serves a peer that is not known yet.
    pub fn is_half_open(&self) -> bool {
        self.role == Role::Server
            && matches!(
                self.phase,
                Phase::Accepting | Phase::Handshake | Phase::Verifying
            )
    }

    /// State and counters; what it holds of the pool is for the caller to fill in.
    pub fn info(&self) -> ConnectionInfo {
        ConnectionInfo {
            stats: ConnectionStats {
                path_black_holes: self.mtu.black_holes(),
                ..self.circuits.stats
            },
            circuits: if self.phase == Phase::Ready {
                self.circuits.open_count() as u32
            } else {
                0
            },
            datagram_size: self.mtu.plpmtu() as u32,
            coupled_cwnd: self.circuits.group().map_or(0, Group::cwnd),
            coupled_in_flight: self.circuits.group().map_or(0, Group::in_flight),
            coupled_congestion: self
                .circuits
                .group()
                .map_or(0, |group| group.algorithm() as u32),
            srtt: self.circuits.srtt(),
            min_rtt: self.circuits.min_rtt(),
            memory: 0,
        }
    }

    /// The peer's own attempt takes the place of ours (simultaneous open): from now on this side is the server.
    pub fn yield_to(&mut self, now: Time, session: Session) {
        self.role = session.role();
        self.session = Some(session);
        self.phase = Phase::Handshake;
        self.start(now);
    }

    /// Begins to answer as a server.
    pub fn start(&mut self, now: Time) {
        self.phase = Phase::Handshake;
        if let Some(session) = &mut self.session {
            session.start(now);
        }
    }

    /// Takes in a datagram of this session; returns whether it was one. `ce`: it was marked by a congested router.
    pub fn receive(&mut self, now: Time, datagram: &[u8], ce: bool, shared: &mut Shared) -> bool {
        let mut genuine = false;
        let mut first = true;
        while let Some(session) = &mut self.session {
            if !first && !session.has_more() {
                break;
            }
            let (mut plain, stays) = shared.pool.arrivals.begin();
            let incoming = if first {
                session.receive(now, datagram, &mut plain)
            } else {
                session.more(now, &mut plain)
            };
            match incoming {
                Incoming::Data => {
                    genuine = true;
                    self.suspicion = None;
                    if self.phase == Phase::Ready {
                        self.capture(now, &plain, false, shared);
                        self.circuits.receive(now, &plain, stays, ce, shared);
                    } else {
                        self.circuits.stats.dropped_record += 1;
                    }
                }
                Incoming::Nothing => genuine = true,
                Incoming::Dropped(dtls::Drop::PlaintextAlert) => {
                    self.circuits.stats.dropped_plaintext_alert += 1;
                    self.suspect(now, shared);
                }
                Incoming::Dropped(_) => self.circuits.stats.dropped_record += 1,
            }
            shared.pool.arrivals.end(plain);
            first = false;
        }
        self.circuits.stats.datagrams_received += 1;
        self.circuits.stats.bytes_received += datagram.len() as u64;
        self.take_path_probes(now);
        self.advance(now, shared);
        genuine
    }

    /// Follows the session's state.
    fn advance(&mut self, now: Time, shared: &mut Shared) {
        let Some(session) = &mut self.session else {
            return;
        };
        match session.state() {
            SessionState::Handshaking => {}
            SessionState::Established if self.phase == Phase::Handshake => {
                self.phase = Phase::Verifying;
                match self.pin {
                    Some(pin) => {
                        let right = session.peer_certificate_sha256() == Some(pin);
                        self.verified(now, right, shared);
                    }
                    None => shared.events.push_back(Event::ConnectionVerify(self.id)),
                }
            }
            SessionState::Established => {}
            SessionState::Closed => {
                let reason = if self.phase == Phase::Ready {
                    CloseReason::Peer
                } else {
                    CloseReason::Handshake
                };
                self.end(reason, shared);
            }
            SessionState::Failed => self.end(CloseReason::Handshake, shared),
        }
        if self.phase == Phase::Ready {
            if self.circuits.is_heard() {
                self.mtu.begin();
            }
            if self.circuits.take_timed_out() {
                self.mtu.on_timeout(now);
            }
            self.follow_path(now, shared);
        }
        if self.phase == Phase::Ready
            && let Some(reason) = self.circuits.lost()
        {
            let reason = match reason {
                CloseReason::Timeout => CloseReason::Timeout,
                _ => CloseReason::Peer,
            };
            self.close(reason, shared);
        }
    }

    /// The certificate was looked at.
    pub fn verified(&mut self, now: Time, acceptable: bool, shared: &mut Shared) {
        if self.phase != Phase::Verifying {
            return;
        }
        if acceptable {
            log::debug!("{}: ready, {:?}", self.peer, self.role);
            self.phase = Phase::Ready;
            self.handshake_until = Time::NEVER;
            self.follow_path(now, shared);
            shared.events.push_back(Event::ConnectionReady(self.id));
            self.circuits.start(now, self.role, shared);
        } else {
            self.close(CloseReason::Verify, shared);
        }
    }

    /// Tells the peer, and ends. The close_notify is left in the session's output for [`Connection::flush`].
    pub fn close(&mut self, reason: CloseReason, shared: &mut Shared) {
        if let Some(session) = &mut self.session
            && self.phase != Phase::Accepting
        {
            session.close();
        }
        self.end(reason, shared);
    }

    /// Ends without telling the peer, who has a new session already.
    pub fn end_silently(&mut self, reason: CloseReason, shared: &mut Shared) {
        self.end(reason, shared);
    }

    fn end(&mut self, reason: CloseReason, shared: &mut Shared) {
        if self.phase == Phase::Closed {
            return;
        }
        log::debug!("{}: {}", self.peer, reason.text());
        self.phase = Phase::Closed;
        self.suspicion = None;
        self.ended = Some(reason);
        self.remove_timer(shared);
        self.circuits.end(CloseReason::Connection, shared);
        self.tell_end(shared);
    }

    /// Tells of the end, which comes after that of its circuits.
    fn tell_end(&mut self, shared: &mut Shared) {
        if self.circuits.is_over()
            && let Some(reason) = self.ended.take()
            && self.announced
        {
            let event = Event::ConnectionClosed(self.id, reason);
            shared.events.push_back(event);
        }
        self.update_timer(shared);
    }

    /// It has ended, and there are circuits that have not: its deadline has come.
    pub fn go_on_ending(&mut self, now: Time, shared: &mut Shared) {
        self.timer = Timer::OFF;
        self.circuits.do_chores(now, shared);
        self.tell_end(shared);
    }

    // ---- a peer that may have lost the session ----

    /// A plaintext alert came in. Anyone can send one, so it only makes us ask the peer for a sign of life.
    fn suspect(&mut self, now: Time, shared: &mut Shared) {
        if self.phase != Phase::Ready {
            return;
        }
        match &mut self.suspicion {
            Some(suspicion) => suspicion.hints = suspicion.hints.saturating_add(1),
            None => {
                self.suspicion = Some(Suspicion {
                    hints: 1,
                    probes: 0,
                    at: now,
                });
                self.probe(now, shared);
            }
        }
    }

    fn probe(&mut self, now: Time, shared: &mut Shared) {
        let Some(suspicion) = &mut self.suspicion else {
            return;
        };
        if suspicion.probes >= LOST_PROBES {
            // Every probe brought such an alert, and none an answer.
            if suspicion.hints > LOST_PROBES {
                self.close(CloseReason::Restarted, shared);
            } else {
                self.suspicion = None;
            }
            return;
        }
        suspicion.probes += 1;
        suspicion.at = now + (3 * self.circuits.srtt()).max(PROBE_INTERVAL);
        if let Ok(control) = self.circuits.get_mut(CONTROL) {
            control.tcp.wake().probe();
            self.circuits.touched(CONTROL, shared);
        }
    }

    // ---- the path's MTU ----

    /// Takes the peer's probes, to be answered, and its answers to ours.
    fn take_path_probes(&mut self, now: Time) {
        while let Some(probe) = self.circuits.take_path_probe() {
            let taken = match probe {
                PathProbe::Answer(token) => self.mtu.on_answer(now, token),
                PathProbe::Request(token) if self.path_answers.len() < PATH_ANSWERS_BOUND => {
                    self.path_answers.push_back(token);
                    true
                }
                PathProbe::Request(_) => false,
            };
            self.circuits.stats.dropped_path_probe += u64::from(!taken);
        }
    }

    /// The segments of all circuits have the size that the path carries.
    fn follow_path(&mut self, now: Time, shared: &mut Shared) {
        let limit = plaintext(self.mtu.plpmtu());
        if limit != self.circuits.limit() {
            log::debug!(
                "{}: datagrams of {} octets, {:?}",
                self.peer,
                self.mtu.plpmtu(),
                self.mtu.state()
            );
            self.circuits.set_limit(now, limit, shared);
        }
    }

    /// Appends answers to the peer's path probes, or a probe of ours, to `plain`; returns whether there are any.
    fn fill_path_probes(&mut self, now: Time, shared: &mut Shared, plain: &mut Vec<u8>) -> bool {
        if !self.path_answers.is_empty() {
            tortp::append(plain);
            for token in self.path_answers.drain(..) {
                tortp::encode_path_probe(PathProbe::Answer(token), 0, plain);
            }
            return true;
        }
        let timer = self.circuits.rto();
        let Some(probe) = self.mtu.poll(now, timer, || shared.rng.next_u32()) else {
            return false;
        };
        let padding = plaintext(probe.size).saturating_sub(tortp::EMPTY_PATH_PROBE);
        tortp::append(plain);
        tortp::encode_path_probe(PathProbe::Request(probe.token), padding, plain);
        self.circuits.stats.path_probes_sent += 1;
        self.update_timer(shared);
        true
    }

    // ---- timers ----

    fn deadline(&self) -> Time {
        let session = match (&self.session, self.phase) {
            (Some(session), Phase::Handshake | Phase::Verifying | Phase::Ready) => {
                session.deadline()
            }
            _ => Time::NEVER,
        };
        let suspicion = self.suspicion.map_or(Time::NEVER, |s| s.at);
        match self.phase {
            Phase::Closed => self.circuits.chores_deadline(),
            _ => session
                .min(self.handshake_until)
                .min(suspicion)
                .min(self.mtu.deadline())
                .min(self.circuits.resets_deadline())
                .min(self.circuits.gates_deadline())
                .min(self.circuits.delayed_acks_deadline())
                .min(self.circuits.chores_deadline())
                .min(self.circuits.bedtime()),
        }
    }

    /// Registers what it waits for.
    pub fn update_timer(&mut self, shared: &mut Shared) {
        let (owner, deadline) = (self.owner(), self.deadline());
        shared.timers.update(owner, &mut self.timer, deadline);
    }

    /// It waits for nothing.
    pub fn remove_timer(&mut self, shared: &mut Shared) {
        shared.timers.remove(self.owner(), &mut self.timer);
    }

    fn owner(&self) -> Owner {
        Owner::Connection(self.id.0 as u32)
    }

    /// Its registered deadline has come.
    pub fn on_timer(&mut self, now: Time, shared: &mut Shared) {
        self.timer = Timer::OFF;
        if self.handshake_until <= now && self.phase != Phase::Closed {
            self.close(CloseReason::Handshake, shared);
        }
        self.circuits.repeat_resets(now);
        self.circuits.on_gates(now);
        self.circuits.on_delayed_acks(now);
        self.circuits.put_to_sleep(now);
        if self.circuits.chores_deadline() <= now {
            self.circuits.do_chores(now, shared);
        }
        self.mtu.on_timer(now);
        if self.suspicion.is_some_and(|s| s.at <= now) {
            self.probe(now, shared);
        }
        if let Some(session) = &mut self.session
            && session.deadline() <= now
        {
            session.timer(now);
        }
        self.advance(now, shared);
        self.update_timer(shared);
    }

    /// The registered deadline of one of its circuits has come.
    pub fn on_circuit_timer(&mut self, now: Time, wire: u32, shared: &mut Shared) {
        self.circuits.on_timer(now, wire, shared);
        self.advance(now, shared);
    }

    // ---- output ----

    /// Whether [`Connection::fill`] or [`Connection::flush`] may have something.
    pub fn has_output(&self) -> bool {
        self.phase == Phase::Ready
            && (self.circuits.has_output() || self.mtu.has_probe() || !self.path_answers.is_empty())
    }

    /// Whether [`Connection::flush`] has something.
    pub fn has_words(&self) -> bool {
        self.session.as_ref().is_some_and(Session::has_output)
    }

    /// A datagram of the handshake, or the last alert.
    pub fn flush(&mut self) -> Option<Datagram> {
        let data = self.session.as_mut()?.take_output()?;
        Some(self.datagram(data))
    }

    fn datagram(&mut self, data: Vec<u8>) -> Datagram {
        self.circuits.stats.datagrams_sent += 1;
        self.circuits.stats.bytes_sent += data.len() as u64;
        Datagram {
            peer: self.peer,
            data,
            ecn: 0,
        }
    }

    /// A datagram of circuits' segments, if there is anything to send.
    pub fn fill(&mut self, now: Time, shared: &mut Shared) -> Option<Datagram> {
        if self.phase != Phase::Ready {
            return None;
        }
        // Encrypted where it is made.
        let mut data = shared.buffers.take(self.mtu.plpmtu());
        let from = self.session.as_mut()?.begin(&mut data);
        let mut filled = self.fill_path_probes(now, shared, &mut data);
        let mut ect = false;
        if !filled {
            filled = self.circuits.fill(now, shared, &mut data);
            if filled {
                ect = self.circuits.ect();
                self.mtu.on_traffic(now);
                self.capture(now, &data[from..], true, shared);
            }
        }
        if !filled || self.session.as_mut()?.seal_begun(&mut data).is_err() {
            shared.buffers.give(data);
            return None;
        }
        Some(Datagram {
            ecn: if ect { ECT_0 } else { 0 },
            ..self.datagram(data)
        })
    }

    /// Drops the session once its last words are out.
    pub fn bury_session(&mut self) {
        if self.phase == Phase::Closed {
            self.session = None;
        }
    }

    fn capture(&self, now: Time, plain: &[u8], sent: bool, shared: &mut Shared) {
        let Some(out) = shared.capture() else {
            return;
        };
        // The socket is not bound to one address of ours: the unspecified one stands for it.
        let local = match self.peer.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let remote = self.peer.ip();
        let (from, to, role) = if sent {
            (local, remote, self.role)
        } else {
            let peer = match self.role {
                Role::Client => Role::Server,
                Role::Server => Role::Client,
            };
            (remote, local, peer)
        };
        tortp::pcap::datagram(now, plain, from, to, role, out);
    }
}
