//! A DTLS session over a UDP socket: the library's, for rivals that need one.

use std::net::SocketAddr;

use utcp::config::Config;
use utcp::dtls::{Context, Incoming, Listen, RECORD_OVERHEAD, Session, SessionState};
use utcp::time::Time;
use utcp::udp::{Outgoing, SEGMENTS};

use super::clock::{self, Micros};
use super::datagrams::{Datagrams, LARGEST};
use super::identity::Identity;
use super::transport::{Failure, Side};

/// Octets of plaintext in a datagram.
pub const PLAIN: usize = LARGEST - RECORD_OVERHEAD;

/// Datagrams that wait for the socket, at most.
const WAITING: usize = 4 * SEGMENTS;

/// See the module.
pub struct Dtls {
    socket: Datagrams,
    context: Context,
    session: Option<Session>,
    peer: Option<SocketAddr>,
    /// Sealed, and not taken by the socket yet.
    waiting: Vec<Vec<u8>>,
    plain: Vec<u8>,
    pin: [u8; 32],
    is_client: bool,
}

fn time() -> Time {
    Time(clock::now())
}

impl Dtls {
    /// One side.
    ///
    /// # Errors
    /// Those of the socket and of the library.
    pub fn new(side: &Side, identity: &Identity) -> Result<Dtls, Failure> {
        let mut secret = [0; 32];
        openssl::rand::rand_bytes(&mut secret)?;
        let config = Config {
            chain: identity.certificate.clone(),
            key: identity.key.clone(),
            datagram_size: LARGEST,
            ..Config::default()
        };
        let context = Context::new(&config, secret)?;
        let (session, peer) = match side {
            Side::Client(server) => (Some(Session::connect(&context, time())?), Some(*server)),
            Side::Server(_) => (None, None),
        };
        Ok(Dtls {
            socket: Datagrams::bind(side.local())?,
            context,
            session,
            peer,
            waiting: Vec::new(),
            plain: Vec::new(),
            pin: openssl::sha::sha256(&identity.certificate),
            is_client: side.is_client(),
        })
    }

    /// Whether the handshake is complete.
    pub fn is_ready(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.state() == SessionState::Established)
    }

    /// Whether a datagram more can be taken.
    pub fn has_room(&self) -> bool {
        self.is_ready() && self.waiting.len() < WAITING
    }

    /// Whether it waits for the socket.
    pub fn is_blocked(&self) -> bool {
        self.socket.is_full()
    }

    /// Seals a datagram; [`Dtls::flush`] sends it.
    ///
    /// # Errors
    /// If the session has ended.
    pub fn send(&mut self, plain: &[u8]) -> Result<(), Failure> {
        let session = self.session.as_mut().ok_or("no session")?;
        let mut sealed = Vec::with_capacity(plain.len() + RECORD_OVERHEAD);
        session.seal(plain, &mut sealed)?;
        self.waiting.push(sealed);
        Ok(())
    }

    /// Timers of the handshake, and everything that waits.
    pub fn flush(&mut self) {
        let (Some(session), Some(peer)) = (&mut self.session, self.peer) else {
            return;
        };
        let now = time();
        if session.deadline() <= now {
            session.timer(now);
        }
        while let Some(datagram) = session.take_output() {
            self.waiting.push(datagram);
        }
        if self.waiting.is_empty() {
            return;
        }
        let batch: Vec<_> = self
            .waiting
            .iter()
            .map(|data| Outgoing {
                to: peer,
                data,
                ecn: 0,
            })
            .collect();
        let done = self.socket.send(&batch);
        self.waiting.drain(..done);
    }

    /// Waits, and takes in what has come: the plaintext of each record.
    ///
    /// # Errors
    /// Those of the socket, and the end of the session.
    pub fn receive(
        &mut self,
        until: Micros,
        to: &mut dyn FnMut(Time, &[u8]),
    ) -> Result<(), Failure> {
        let handshake = match &self.session {
            Some(session) => session.deadline().0,
            None => Time::NEVER.0,
        };
        self.socket.wait(until.min(handshake))?;
        let now = time();
        let Dtls {
            socket,
            context,
            session,
            peer,
            plain,
            ..
        } = self;
        let mut replies = Vec::new();
        socket.receive(&mut |from, data| {
            if peer.is_some_and(|peer| peer != from) {
                return;
            }
            if let Some(session) = session {
                let mut came = session.receive(now, data, plain);
                while came != Incoming::Nothing {
                    if came == Incoming::Data {
                        to(now, plain);
                    }
                    came = session.more(now, plain);
                }
                return;
            }
            let mut reply = Vec::new();
            match context.listen(now, from, data, &mut reply) {
                Listen::Promoted(mut promoted) => {
                    promoted.start(now);
                    *session = Some(promoted);
                    *peer = Some(from);
                }
                Listen::Reply | Listen::BadCookie => replies.push((from, reply)),
                Listen::NotClientHello => {}
            }
        })?;
        for (peer, reply) in replies {
            // The client repeats itself.
            self.socket.send_one(peer, &reply);
        }
        match &self.session {
            Some(session)
                if matches!(session.state(), SessionState::Closed | SessionState::Failed) =>
            {
                Err("the DTLS session has ended".into())
            }
            Some(session)
                if self.is_client
                    && self.is_ready()
                    && session.peer_certificate_sha256() != Some(self.pin) =>
            {
                Err("the server is another".into())
            }
            _ => Ok(()),
        }
    }
}
