//! One peer's DTLS session.

use std::collections::VecDeque;
use std::ffi::c_int;

use openssl_sys as ffi;

use super::MAX_PLAINTEXT;
use super::bio::Port;
use super::context::{Context, Sizes};
use super::flight::{Flight, Numbers};
use super::openssl::{self, Ssl};
use super::protection::{LastWritten, Protection};
use super::record::{self, ClientHello, Kind, Record};
use crate::endpoint::Role;
use crate::error::Error;
use crate::time::Time;

/// Encrypted records that are kept until the handshake is complete.
const MAX_EARLY_RECORDS: usize = 16;
/// Octets of them.
const MAX_EARLY_OCTETS: usize = 24 * 1_024;
/// Datagrams that wait for [`Session::take_output`]; while there are more, nothing is repeated.
const MAX_OUTPUT: usize = 64;

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Not complete yet, or not started.
    Handshaking,
    /// The peer has proved that it has the key of its certificate, and data can pass.
    Established,
    /// Closed by this side, or by an authenticated close_notify or fatal alert of the peer's.
    Closed,
    /// The handshake failed, or the peer broke the protocol. An alert may be in the output.
    Failed,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The datagram is used up. (The handshake may have gone on.)
    Nothing,
    /// Application data, in `plain`. Ask for [`Session::more`].
    Data,
    /// A record, or all that was left of the datagram, was dropped. Ask for [`Session::more`].
    Dropped(Drop),
}

/// Why a record was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// No DTLS 1.0 or 1.2 record; the rest of the datagram with it.
    NotDtls,
    /// Not authentic, a duplicate, or too old.
    BadRecord,
    /// An alert that anyone could have forged.
    PlaintextAlert,
    /// A handshake record that has come too late to matter, such as a repetition.
    Stale,
    /// A handshake message that a peer of its role does not send, and the rest of the datagram: it is of a handshake
    /// in the other direction.
    PeerHandshake,
    /// Data ahead of the end of the handshake, more than is kept.
    Early,
    /// The session was not started, has ended, or failed.
    NoSession,
}

/// The least that an encrypted Finished takes: header and verify_data of 12 octets each, and the tag. OpenSSL 3.0.20 ends
/// the session over a record that is shorter than its tag, which anyone can send.
const SMALLEST_FINISHED: usize = 12 + 12 + 16;

/// Alerts (RFC 5246, section 7.2).
mod alert {
    pub const WARNING: u8 = 1;
    pub const FATAL: u8 = 2;
    pub const CLOSE_NOTIFY: u8 = 0;
    pub const DECODE_ERROR: u8 = 50;
}

/// A DTLS session with one peer.
pub struct Session {
    ssl: Ssl,
    port: Port,
    role: Role,
    state: SessionState,
    started: bool,
    client_random: [u8; 32],
    sizes: Sizes,

    /// The last flight of this side, while it may have to be repeated.
    flight: Option<Flight>,
    numbers: Numbers,
    /// Numbers that incoming epoch-0 records have for OpenSSL. A promoted ClientHello had 0.
    shown: Numbers,
    deadline: Time,
    /// Handshake and alert datagrams to be sent.
    output: VecDeque<Vec<u8>>,
    /// Records as OpenSSL wrote them; empty between calls, kept for its memory during the handshake.
    written: Vec<u8>,

    /// The last encrypted record of OpenSSL's, which is in our last flight.
    last_written: Option<LastWritten>,
    /// There from when the session is established.
    protection: Option<Protection>,

    /// The records of a datagram behind the one that was reported.
    rest: Vec<u8>,
    rest_at: usize,
    /// Encrypted records that came before the end of the handshake.
    early: VecDeque<Vec<u8>>,
    early_octets: usize,
}

impl Session {
    /// Begins a handshake as the client. The first flight waits in the output.
    ///
    /// # Errors
    /// [`Error::Memory`], [`Error::Tls`].
    pub fn connect(ctx: &Context, now: Time) -> Result<Session, Error> {
        let (ssl, port) = ctx.new_ssl(Role::Client)?;
        let mut session = Session::new(ssl, port, Role::Client, ctx.sizes());
        session.start(now);
        match session.output.front().map(|hello| record::classify(hello)) {
            Some(Kind::ClientHello { random, .. }) => {
                session.client_random = random;
                Ok(session)
            }
            _ => Err(Error::Tls),
        }
    }

    /// A server's session, whose SSL has seen the ClientHello.
    pub(super) fn promoted(ssl: Ssl, port: Port, sizes: Sizes, hello: &ClientHello<'_>) -> Session {
        let mut session = Session::new(ssl, port, Role::Server, sizes);
        session.client_random = hello.random;
        // The first number is that of the ClientHello (RFC 6347, section 4.2.1): above those of the
        // HelloVerifyRequests, which echoed earlier ones.
        session.numbers = Numbers(hello.sequence);
        session
    }

    fn new(ssl: Ssl, port: Port, role: Role, sizes: Sizes) -> Session {
        Session {
            ssl,
            port,
            role,
            state: SessionState::Handshaking,
            started: false,
            client_random: [0; 32],
            sizes,
            flight: None,
            numbers: Numbers(0),
            shown: Numbers(1),
            deadline: Time::NEVER,
            output: VecDeque::new(),
            written: Vec::new(),
            last_written: None,
            protection: None,
            rest: Vec::new(),
            rest_at: 0,
            early: VecDeque::new(),
            early_octets: 0,
        }
    }

    /// Goes on with the handshake of a promoted session. Does nothing a second time.
    pub fn start(&mut self, now: Time) {
        if !self.started && self.state == SessionState::Handshaking {
            self.started = true;
            self.handshake(now, &[]);
        }
    }

    /// Takes one datagram. The plaintext of the first application record goes to `plain`, which is cleared first.
    /// Unless it returns [`Incoming::Nothing`], ask for [`Session::more`]; what is not asked for before the next
    /// datagram is lost.
    pub fn receive(&mut self, now: Time, datagram: &[u8], plain: &mut Vec<u8>) -> Incoming {
        plain.clear();
        self.rest = Vec::new();
        self.rest_at = 0;
        if let Some(flight) = &mut self.flight {
            flight.came_in(datagram.len());
        }
        let (used, incoming) = self.consume(now, datagram, plain);
        match incoming {
            Incoming::Nothing => self.take_early(plain),
            _ => {
                self.rest
                    .extend_from_slice(datagram.get(used..).unwrap_or(&[]));
                incoming
            }
        }
    }

    /// Whether [`Session::more`] has anything to look at.
    pub fn has_more(&self) -> bool {
        self.rest_at < self.rest.len()
            || (self.state == SessionState::Established && !self.early.is_empty())
    }

    /// Takes the further records of the datagram, and those that were kept until the handshake was complete; to be
    /// called until it returns [`Incoming::Nothing`]. `plain` is cleared first.
    pub fn more(&mut self, now: Time, plain: &mut Vec<u8>) -> Incoming {
        plain.clear();
        if self.rest_at < self.rest.len() {
            let rest = std::mem::take(&mut self.rest);
            let (used, incoming) =
                self.consume(now, rest.get(self.rest_at..).unwrap_or(&[]), plain);
            if incoming != Incoming::Nothing {
                self.rest = rest;
                self.rest_at += used;
                return incoming;
            }
        }
        self.take_early(plain)
    }

    /// Takes records of `data` until there is something to report. Returns how many octets it took.
    fn consume(&mut self, now: Time, data: &[u8], plain: &mut Vec<u8>) -> (usize, Incoming) {
        let mut used = 0;
        while let Some(rest) = data.get(used..).filter(|rest| !rest.is_empty()) {
            let Some(record) = Record::parse(rest) else {
                return (data.len(), Incoming::Dropped(Drop::NotDtls));
            };
            used += record.bytes.len();
            match self.record(now, &record, plain) {
                Incoming::Nothing => {}
                // What follows belongs to the same handshake, and a Certificate does not tell who sent it.
                other @ Incoming::Dropped(Drop::PeerHandshake) => return (data.len(), other),
                other => return (used, other),
            }
        }
        (used, Incoming::Nothing)
    }

    /// Hands out what was kept, once it can be read.
    fn take_early(&mut self, plain: &mut Vec<u8>) -> Incoming {
        while self.state == SessionState::Established
            && let Some(record) = self.early.pop_front()
        {
            let incoming = match Record::parse(&record) {
                Some(record) => self.read(&record, plain),
                None => Incoming::Nothing,
            };
            if incoming != Incoming::Nothing {
                return incoming;
            }
        }
        Incoming::Nothing
    }

    /// Lets pass to OpenSSL what it can use at the moment.
    fn record(&mut self, now: Time, record: &Record<'_>, plain: &mut Vec<u8>) -> Incoming {
        match (self.state, record.epoch, record.content) {
            (SessionState::Closed | SessionState::Failed, ..) => Incoming::Dropped(Drop::NoSession),
            (SessionState::Handshaking, ..) if !self.started => Incoming::Dropped(Drop::NoSession),
            // Dropped also where it is true: a forged one would end the handshake just as well.
            (_, 0, record::ALERT) => Incoming::Dropped(Drop::PlaintextAlert),

            (SessionState::Handshaking, 0, record::HANDSHAKE | record::CHANGE_CIPHER_SPEC) => {
                // To OpenSSL a ClientHello without cookie would mean that the handshake begins anew.
                if self.role == Role::Server && record.message_sequence() == Some(0) {
                    return Incoming::Dropped(Drop::Stale);
                }
                // What OpenSSL cannot parse or does not expect ends the handshake. It need not be the peer's, or it
                // belongs to a handshake in the other direction.
                let sender = match self.role {
                    Role::Client => Role::Server,
                    Role::Server => Role::Client,
                };
                if let Err(reason) = record.check_handshake(sender) {
                    return Incoming::Dropped(reason);
                }
                // Its number is as little proven. OpenSSL would move its replay window to a forged one, and take what
                // the peer sends for too old. Messages have numbers of their own, so repetitions do no harm.
                let mut numbered = record.bytes.to_vec();
                record::renumber(&mut numbered, self.shown.take());
                self.handshake(now, &numbered);
                Incoming::Nothing
            }
            (SessionState::Handshaking, 1, record::HANDSHAKE)
                if record.body.len() < SMALLEST_FINISHED =>
            {
                Incoming::Dropped(Drop::BadRecord)
            }
            (SessionState::Handshaking, 1, record::HANDSHAKE) => {
                self.handshake(now, record.bytes);
                Incoming::Nothing
            }
            // Data before Finished (reordered, or Finished was lost) would move OpenSSL's replay window past the
            // number of Finished, whose repetition has the same number.
            (SessionState::Handshaking, 1, record::APPLICATION_DATA | record::ALERT) => {
                if self.early.len() >= MAX_EARLY_RECORDS
                    || self.early_octets + record.bytes.len() > MAX_EARLY_OCTETS
                {
                    return Incoming::Dropped(Drop::Early);
                }
                self.early_octets += record.bytes.len();
                self.early.push_back(record.bytes.to_vec());
                Incoming::Nothing
            }

            (SessionState::Established, 1, record::APPLICATION_DATA | record::ALERT) => {
                self.read(record, plain)
            }
            // No handshake message is of use to an established session, and OpenSSL sees none: there is no
            // renegotiation. But the peer may repeat its Finished because ours was lost.
            (SessionState::Established, 1, record::HANDSHAKE) => {
                if let Some(flight) = &mut self.flight
                    && self.output.len() < MAX_OUTPUT
                {
                    flight.repeat(&mut self.numbers, self.sizes.handshake, &mut self.output);
                }
                Incoming::Dropped(Drop::Stale)
            }
            (SessionState::Established, 0, record::HANDSHAKE | record::CHANGE_CIPHER_SPEC) => {
                Incoming::Dropped(Drop::Stale)
            }
            _ => Incoming::Dropped(Drop::BadRecord),
        }
    }

    /// Lets OpenSSL go on with the handshake, with one record or none.
    fn handshake(&mut self, now: Time, record: &[u8]) {
        let ssl = self.ssl.as_ptr();
        openssl::clear_errors();
        self.port.swap_written(&mut self.written);
        // SAFETY: the SSL is valid.
        let result = self
            .port
            .with_input(record, || unsafe { ffi::SSL_do_handshake(ssl) });
        self.port.swap_written(&mut self.written);
        // SAFETY: the SSL is valid; the error queue is as the call left it.
        let error = unsafe { ffi::SSL_get_error(ssl, result) };
        self.collect(now);
        if result == 1 {
            let protection = self
                .last_written
                .ok_or(Error::Tls)
                .and_then(|last| Protection::new(&self.ssl, self.role, last));
            let Ok(protection) = protection else {
                self.fail("key derivation");
                return;
            };
            self.protection = Some(protection);
            openssl::free_buffers(&self.ssl);
            self.state = SessionState::Established;
            self.deadline = Time::NEVER;
            self.written = Vec::new();
            // The server's flight is the last: the client may ask for it again. The client's was answered.
            if self.role == Role::Client {
                self.flight = None;
            }
        } else if error != ffi::SSL_ERROR_WANT_READ {
            self.fail("handshake");
        }
    }

    /// Takes up what OpenSSL has written: a new flight, alerts.
    fn collect(&mut self, now: Time) {
        let mut flight = Vec::new();
        let mut rest = &self.written[..];
        while let Some(record) = Record::parse(rest) {
            rest = rest.get(record.bytes.len()..).unwrap_or(&[]);
            if record.epoch == 1 {
                self.last_written = Some(LastWritten::of(&record));
            }
            if record.content != record::ALERT {
                flight.extend_from_slice(record.bytes);
                continue;
            }
            let mut alert = record.bytes.to_vec();
            if record.epoch == 0 {
                record::renumber(&mut alert, self.numbers.take());
            }
            self.output.push_back(alert);
        }
        self.written.clear();
        if !flight.is_empty() {
            let mut flight = Flight::new(flight);
            flight.send(&mut self.numbers, self.sizes.handshake, &mut self.output);
            self.deadline = now + flight.timeout();
            self.flight = Some(flight);
        }
    }

    /// Decrypts a record. `plain` is empty.
    fn read(&mut self, record: &Record<'_>, plain: &mut Vec<u8>) -> Incoming {
        let Some(protection) = &mut self.protection else {
            return Incoming::Dropped(Drop::NoSession);
        };
        if !protection.open(record, plain) {
            return Incoming::Dropped(Drop::BadRecord);
        }
        if record.content == record::ALERT {
            self.alerted(plain);
            plain.clear();
            return Incoming::Nothing;
        }
        // Data shows that the peer has the last flight.
        self.flight = None;
        match plain.len() {
            0 => Incoming::Nothing,
            _ => Incoming::Data,
        }
    }

    /// The peer has sent an alert (RFC 5246, section 7.2).
    fn alerted(&mut self, alert: &[u8]) {
        match *alert {
            [alert::WARNING, alert::CLOSE_NOTIFY] | [alert::FATAL, _] => {
                self.end(SessionState::Closed);
            }
            // Nothing else that it could mean has a meaning in an established session.
            [alert::WARNING, _] => {}
            _ => {
                self.alert(alert::FATAL, alert::DECODE_ERROR);
                log::info!("DTLS session failed: a malformed alert");
                self.end(SessionState::Failed);
            }
        }
    }

    /// Puts an alert into the output of an established session.
    fn alert(&mut self, level: u8, description: u8) {
        if let Some(protection) = &mut self.protection {
            let mut record = vec![0; protection.ahead()];
            record.extend([level, description]);
            if protection.seal(record::ALERT, &mut record, 0).is_ok() {
                self.output.push_back(record);
            }
        }
    }

    /// Encrypts one record. The datagram is appended to `out`; nothing else is allocated.
    ///
    /// # Errors
    /// [`Error::Argument`]: `plain` is empty or longer than [`MAX_PLAINTEXT`] or the largest configured size.
    /// [`Error::State`]: the handshake is not complete. [`Error::Closed`]: the session has ended. [`Error::Tls`]:
    /// OpenSSL failed; the session has.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let from = out.len();
        out.resize(from + self.ahead(), 0);
        out.extend_from_slice(plain);
        let sealed = self.seal_from(out, from);
        if sealed.is_err() {
            out.truncate(from);
        }
        sealed
    }

    /// Begins a datagram whose plaintext the caller appends, for [`Session::seal_begun`]. Returns where it begins.
    pub fn begin(&self, out: &mut Vec<u8>) -> usize {
        out.clear();
        out.resize(self.ahead(), 0);
        out.len()
    }

    /// Encrypts the one record of a datagram that [`Session::begin`] has begun, where it is.
    ///
    /// # Errors
    /// As [`Session::seal`].
    pub fn seal_begun(&mut self, datagram: &mut Vec<u8>) -> Result<(), Error> {
        self.seal_from(datagram, 0)
    }

    /// Octets of a record before its plaintext.
    fn ahead(&self) -> usize {
        self.protection.as_ref().map_or(0, Protection::ahead)
    }

    fn seal_from(&mut self, record: &mut Vec<u8>, from: usize) -> Result<(), Error> {
        let protection = match (self.state, &mut self.protection) {
            (SessionState::Established, Some(protection)) => protection,
            (SessionState::Closed | SessionState::Failed, _) => return Err(Error::Closed),
            _ => return Err(Error::State),
        };
        let plain = record.len().saturating_sub(from + protection.ahead());
        if plain == 0 || plain > MAX_PLAINTEXT.min(self.sizes.data) {
            return Err(Error::Argument);
        }
        let sealed = protection.seal(record::APPLICATION_DATA, record, from);
        if sealed.is_err() {
            self.fail("session");
        }
        sealed
    }

    /// Whether [`Session::take_output`] has something.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// The next handshake or alert datagram to be sent.
    pub fn take_output(&mut self) -> Option<Vec<u8>> {
        self.output.pop_front()
    }

    /// When [`Session::timer`] has to be called.
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// Repeats the flight if its answer is due. Harmless early, late, and repeatedly. There is no limit to the
    /// number: the caller gives up when it has waited long enough.
    pub fn timer(&mut self, now: Time) {
        if now < self.deadline || self.state != SessionState::Handshaking {
            return;
        }
        if let Some(flight) = &mut self.flight {
            if self.output.len() < MAX_OUTPUT {
                flight.send(&mut self.numbers, self.sizes.handshake, &mut self.output);
            }
            self.deadline = now + flight.timeout();
        }
    }

    /// Where the session is in its life.
    pub fn state(&self) -> SessionState {
        self.state
    }

    /// Ends the session. If it is established, a close_notify is put into the output.
    pub fn close(&mut self) {
        if self.state == SessionState::Established {
            self.alert(alert::WARNING, alert::CLOSE_NOTIFY);
        }
        if self.state != SessionState::Failed {
            self.end(SessionState::Closed);
        }
    }

    /// The session's `SSL`, for questions such as the peer's certificate or exported keying material. It stays
    /// valid as long as the session. It must not be used to read, write, or shut down.
    pub fn ssl(&self) -> *mut ffi::SSL {
        self.ssl.as_ptr()
    }

    /// This side's part.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The random of this session's ClientHello.
    pub fn client_random(&self) -> [u8; 32] {
        self.client_random
    }

    /// SHA-256 of the DER form of the peer's certificate; `None` if it has shown none.
    pub fn peer_certificate_sha256(&self) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        let mut length = 0;
        openssl::clear_errors();
        // SAFETY: the SSL is valid; the reference returned is ours.
        let certificate =
            unsafe { openssl::X509::from_raw(ffi::SSL_get1_peer_certificate(self.ssl.as_ptr())) }?;
        // SAFETY: the certificate is valid; SHA-256 writes 32 octets, as many as there are.
        let done: c_int = unsafe {
            ffi::X509_digest(
                certificate.as_ptr(),
                ffi::EVP_sha256(),
                digest.as_mut_ptr(),
                &mut length,
            )
        };
        (done == 1 && length == 32).then_some(digest)
    }

    /// Ends the session because of an error, with OpenSSL's words in the log.
    fn fail(&mut self, what: &str) {
        log::info!("DTLS {what} failed: {}", openssl::take_errors());
        self.end(SessionState::Failed);
    }

    fn end(&mut self, state: SessionState) {
        self.state = state;
        self.deadline = Time::NEVER;
        self.flight = None;
        self.written = Vec::new();
        self.early = VecDeque::new();
        self.rest = Vec::new();
        self.protection = None;
    }
}
