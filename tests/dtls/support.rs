//! Certificates made on the spot, two sides without a network between, and a hostile peer that has the keys.
#![allow(unsafe_code)]

use std::net::SocketAddr;
use std::sync::OnceLock;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use openssl::symm::{Cipher, encrypt_aead};
use openssl::x509::{X509, X509NameBuilder};
use utcp::config::{ClientCertificate, Config};
use utcp::dtls::{Context, Incoming, Listen, Session, SessionState};
use utcp::endpoint::Role;
use utcp::time::{MILLISECOND, SECOND, Time};

/// The largest datagram of the default configuration.
pub const DATAGRAM: usize = 1_432;

#[derive(Clone)]
pub struct Identity {
    pub certificate: X509,
    pub key: PKey<Private>,
}

impl Identity {
    fn new(key: PKey<Private>, name: &str) -> Identity {
        let mut names = X509NameBuilder::new().unwrap();
        names.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
        let names = names.build();
        let mut serial = BigNum::new().unwrap();
        serial.rand(120, MsbOption::MAYBE_ZERO, false).unwrap();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder
            .set_serial_number(&serial.to_asn1_integer().unwrap())
            .unwrap();
        builder.set_subject_name(&names).unwrap();
        builder.set_issuer_name(&names).unwrap();
        builder
            .set_not_before(&Asn1Time::days_from_now(0).unwrap())
            .unwrap();
        builder
            .set_not_after(&Asn1Time::days_from_now(2).unwrap())
            .unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Identity {
            certificate: builder.build(),
            key,
        }
    }

    pub fn p256() -> Identity {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        Identity::new(key, "p256.example")
    }

    pub fn rsa(bits: u32) -> Identity {
        Identity::new(
            PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(),
            "rsa.example",
        )
    }

    /// RSA-2048 keys take long; two for all tests.
    pub fn rsa2048(which: usize) -> Identity {
        static KEYS: [OnceLock<Identity>; 2] = [OnceLock::new(), OnceLock::new()];
        KEYS[which].get_or_init(|| Identity::rsa(2_048)).clone()
    }

    pub fn chain_der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    pub fn key_der(&self) -> Vec<u8> {
        self.key.private_key_to_der().unwrap()
    }

    pub fn sha256(&self) -> [u8; 32] {
        let digest = self.certificate.digest(MessageDigest::sha256()).unwrap();
        digest[..].try_into().unwrap()
    }

    pub fn config(&self, mode: ClientCertificate) -> Config {
        Config {
            chain: self.chain_der(),
            key: self.key_der(),
            client_certificate: mode,
            ..Config::default()
        }
    }

    pub fn context(&self, mode: ClientCertificate) -> Context {
        Context::new(&self.config(mode), [42; 32]).expect("a context")
    }
}

pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

/// A client's session and what answers it, with nothing in between that could lose a datagram.
pub struct Pair {
    pub now: Time,
    pub client: Session,
    pub listener: Context,
    pub server: Option<Session>,
}

impl Pair {
    pub fn new(client: &Context, listener: Context) -> Pair {
        let now = Time(100 * SECOND);
        Pair {
            now,
            client: Session::connect(client, now).expect("a session"),
            listener,
            server: None,
        }
    }

    /// A pair that has finished its handshake.
    pub fn established(identity: &Identity) -> Pair {
        let context = || identity.context(ClientCertificate::None);
        let mut pair = Pair::new(&context(), context());
        pair.run();
        assert_eq!(
            pair.states(),
            (SessionState::Established, SessionState::Established)
        );
        pair
    }

    pub fn server(&mut self) -> &mut Session {
        self.server.as_mut().expect("promoted")
    }

    pub fn states(&self) -> (SessionState, SessionState) {
        let server = self
            .server
            .as_ref()
            .map_or(SessionState::Handshaking, Session::state);
        (self.client.state(), server)
    }

    /// Gives the server's side a datagram; what the listener answers is returned.
    pub fn deliver(&mut self, datagram: &[u8]) -> Vec<u8> {
        if let Some(server) = &mut self.server {
            assert_eq!(drain(server, self.now, datagram), Vec::<Vec<u8>>::new());
            return Vec::new();
        }
        let mut reply = Vec::new();
        if let Listen::Promoted(mut session) =
            self.listener
                .listen(self.now, address(1), datagram, &mut reply)
        {
            assert!(session.take_output().is_none(), "nothing before start()");
            session.start(self.now);
            self.server = Some(session);
        }
        reply
    }

    /// Carries datagrams to and fro until none is left. Returns all, oldest first; true: from the client.
    pub fn run(&mut self) -> Vec<(bool, Vec<u8>)> {
        let mut seen = Vec::new();
        loop {
            self.now = self.now + 5 * MILLISECOND;
            if let Some(datagram) = self.client.take_output() {
                let reply = self.deliver(&datagram);
                seen.push((true, datagram));
                if !reply.is_empty() {
                    drain(&mut self.client, self.now, &reply);
                    seen.push((false, reply));
                }
            } else if let Some(datagram) = self.server.as_mut().and_then(Session::take_output) {
                drain(&mut self.client, self.now, &datagram);
                seen.push((false, datagram));
            } else {
                return seen;
            }
        }
    }
}

/// Gives a session a datagram and returns all plaintexts, whatever else was dropped.
pub fn drain(session: &mut Session, now: Time, datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut plain = Vec::new();
    let mut incoming = session.receive(now, datagram, &mut plain);
    while incoming != Incoming::Nothing {
        if incoming == Incoming::Data {
            all.push(plain.clone());
        }
        incoming = session.more(now, &mut plain);
    }
    all
}

/// What became of each record of a datagram.
pub fn outcomes(session: &mut Session, now: Time, datagram: &[u8]) -> Vec<Incoming> {
    let mut all = Vec::new();
    let mut plain = Vec::new();
    let mut incoming = session.receive(now, datagram, &mut plain);
    while incoming != Incoming::Nothing {
        all.push(incoming);
        incoming = session.more(now, &mut plain);
    }
    all
}

pub fn seal(session: &mut Session, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    session.seal(plain, &mut out).expect("sealed");
    out
}

/// Keying material as a relay would export it, through the borrowed `SSL`.
pub fn export(session: &Session, label: &str, context: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    // SAFETY: the SSL is valid as long as the session, and all pointers for the lengths given.
    let done = unsafe {
        openssl_sys::SSL_export_keying_material(
            session.ssl(),
            out.as_mut_ptr(),
            out.len(),
            label.as_ptr().cast(),
            label.len(),
            context.as_ptr(),
            context.len(),
            1,
        )
    };
    assert_eq!(done, 1, "exported");
    out
}

/// Name of the session's cipher suite and version.
pub fn suite(session: &Session) -> (String, String) {
    // SAFETY: the SSL is valid as long as the session; the strings are static.
    unsafe {
        let cipher = openssl_sys::SSL_get_current_cipher(session.ssl());
        let text = |string| {
            std::ffi::CStr::from_ptr(string)
                .to_string_lossy()
                .into_owned()
        };
        (
            text(openssl_sys::SSL_CIPHER_get_name(cipher)),
            text(openssl_sys::SSL_get_version(session.ssl())),
        )
    }
}

/// Writes any record in a session's name: a peer that has the keys and does not keep to the protocol.
pub struct Forger {
    key: Vec<u8>,
    salt: Vec<u8>,
    sequence: u64,
}

impl Forger {
    /// Takes the write keys of an established AES-128-GCM session (RFC 5246, section 6.3).
    pub fn of(session: &Session) -> Forger {
        let mut master = [0; 48];
        let (mut client, mut server) = ([0; 32], [0; 32]);
        // SAFETY: the SSL is valid as long as the session, and the buffers for their lengths.
        unsafe {
            let state = openssl_sys::SSL_get_session(session.ssl());
            openssl_sys::SSL_SESSION_get_master_key(state, master.as_mut_ptr(), master.len());
            openssl_sys::SSL_get_client_random(session.ssl(), client.as_mut_ptr(), client.len());
            openssl_sys::SSL_get_server_random(session.ssl(), server.as_mut_ptr(), server.len());
        }
        assert_eq!(client, session.client_random());
        let seed = [&b"key expansion"[..], &server, &client].concat();
        let key = PKey::hmac(&master).unwrap();
        let hmac = |data: &[u8]| {
            let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
            signer.sign_oneshot_to_vec(data).unwrap()
        };
        let (mut block, mut a) = (Vec::new(), seed.clone());
        while block.len() < 40 {
            a = hmac(&a);
            block.extend(hmac(&[&a[..], &seed].concat()));
        }
        let own = usize::from(session.role() == Role::Server);
        Forger {
            key: block[16 * own..][..16].to_vec(),
            salt: block[32 + 4 * own..][..4].to_vec(),
            sequence: 1_000,
        }
    }

    pub fn record(&mut self, content: u8, plain: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        let number = [&[0, 1][..], &self.sequence.to_be_bytes()[2..]].concat();
        let length = |n: usize| (n as u16).to_be_bytes();
        let header = [&number[..], &[content, 0xfe, 0xfd], &length(plain.len())].concat();
        let nonce = [&self.salt[..], &number].concat();
        let mut tag = [0; 16];
        let sealed = encrypt_aead(
            Cipher::aes_128_gcm(),
            &self.key,
            Some(&nonce),
            &header,
            plain,
            &mut tag,
        )
        .unwrap();
        let body = [&number[..], &sealed, &tag].concat();
        [
            &[content, 0xfe, 0xfd][..],
            &number,
            &length(body.len()),
            &body,
        ]
        .concat()
    }
}

/// A generator for tests (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn octets(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}
