//! Handshakes with other implementations over UDP on loopback: OpenSSL's and GnuTLS's command-line tools, as clients
//! and as servers. The clock of the library is advanced by the socket's timeouts; nothing is asserted about time.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use utcp::config::ClientCertificate;
use utcp::dtls::{Incoming, Listen, Session, SessionState};
use utcp::time::{MILLISECOND, SECOND, Time};

use crate::support::{Identity, suite};

/// One turn of the loop.
const TURN: u64 = 10;
/// Far more than any handshake takes; only keeps a broken one from hanging.
const MAX_TURNS: usize = 6_000;

const CHANGE_CIPHER_SPEC: u8 = 20;

/// A program that is ended with the test, and what it prints.
struct Program {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl Program {
    fn start(name: &'static str, package: &str, arguments: &[&str]) -> Program {
        let child = Command::new(name)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("{name} is missing: install the Debian package {package}")
            }
            Err(error) => panic!("{name} does not start: {error}"),
        };
        let (sender, lines) = channel();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(output);
                let mut line = Vec::new();
                while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                    let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                    line.clear();
                }
            });
        }
        Program {
            name,
            child,
            lines,
            seen: String::new(),
        }
    }

    fn has_printed(&mut self, text: &str) -> bool {
        self.seen.extend(self.lines.try_iter());
        self.seen.contains(text)
    }

    fn expect(&mut self, text: &str) {
        while !self.has_printed(text) {
            match self.lines.recv_timeout(Duration::from_secs(30)) {
                Ok(line) => self.seen += &line,
                Err(_) => panic!("{} did not print {text:?} but:\n{}", self.name, self.seen),
            }
        }
    }

    fn type_line(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("open");
        writeln!(stdin, "{text}").expect("typed");
        stdin.flush().expect("typed");
    }

    fn end_of_input(&mut self) {
        self.child.stdin = None;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One peer and the socket to it.
struct Peer {
    socket: UdpSocket,
    now: Time,
    received: Vec<u8>,
    /// Final flights still to be lost.
    lose: usize,
}

impl Peer {
    fn new() -> Peer {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(TURN)))
            .expect("a timeout");
        Peer {
            socket,
            now: Time(100 * SECOND),
            received: Vec::new(),
            lose: 0,
        }
    }

    fn port(&self) -> u16 {
        self.socket.local_addr().expect("bound").port()
    }

    /// The next datagram, unless none comes for a turn.
    fn turn(&mut self) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = vec![0; 65_536];
        match self.socket.recv_from(&mut buffer) {
            Ok((n, from)) => {
                buffer.truncate(n);
                Some((buffer, from))
            }
            // Nothing came, or the peer does not listen yet.
            Err(_) => {
                self.now = self.now + TURN * MILLISECOND;
                None
            }
        }
    }

    fn accept(&mut self, identity: &Identity, mode: ClientCertificate) -> (Session, SocketAddr) {
        let listener = identity.context(mode);
        let mut reply = Vec::new();
        for _ in 0..MAX_TURNS {
            let Some((datagram, from)) = self.turn() else {
                continue;
            };
            match listener.listen(self.now, from, &datagram, &mut reply) {
                Listen::Promoted(mut session) => {
                    session.start(self.now);
                    return (session, from);
                }
                _ if !reply.is_empty() => drop(self.socket.send_to(&reply, from)),
                _ => {}
            }
        }
        panic!("no client came");
    }

    /// Runs the session until the condition holds.
    fn run(
        &mut self,
        session: &mut Session,
        to: SocketAddr,
        until: impl Fn(&Session, &[u8]) -> bool,
    ) {
        let mut plain = Vec::new();
        for _ in 0..MAX_TURNS {
            while let Some(datagram) = session.take_output() {
                if datagram[0] == CHANGE_CIPHER_SPEC && self.lose > 0 {
                    self.lose -= 1;
                    continue;
                }
                let _ = self.socket.send_to(&datagram, to);
            }
            if until(session, &self.received) {
                return;
            }
            assert_ne!(session.state(), SessionState::Failed, "see the log");
            if let Some((datagram, from)) = self.turn() {
                assert_eq!(from, to);
                let mut incoming = session.receive(self.now, &datagram, &mut plain);
                while incoming != Incoming::Nothing {
                    if incoming == Incoming::Data {
                        self.received.extend_from_slice(&plain);
                    }
                    incoming = session.more(self.now, &mut plain);
                }
            }
            session.timer(self.now);
        }
        panic!(
            "{:?}, received {:?}",
            session.state(),
            String::from_utf8_lossy(&self.received)
        );
    }

    fn run_to_established(&mut self, session: &mut Session, to: SocketAddr) {
        self.run(session, to, |session, _| {
            session.state() == SessionState::Established
        });
        let (cipher, version) = suite(session);
        assert_eq!(version, "DTLSv1.2");
        assert!(
            cipher.starts_with("ECDHE-") && (cipher.contains("GCM") || cipher.contains("POLY1305")),
            "{cipher}"
        );
    }

    fn run_to_data(&mut self, session: &mut Session, to: SocketAddr, data: &[u8]) {
        self.run(session, to, |_, received| {
            received.windows(data.len()).any(|window| window == data)
        });
    }

    fn send(&mut self, session: &mut Session, to: SocketAddr, data: &[u8]) {
        let mut out = Vec::new();
        session.seal(data, &mut out).expect("sealed");
        self.socket.send_to(&out, to).expect("sent");
    }
}

/// Certificate and key as PEM files.
fn files(name: &str, identity: &Identity) -> (String, String) {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let write = |suffix: &str, data: Vec<u8>| {
        let path = directory.join(format!("{name}.{suffix}.pem"));
        std::fs::write(&path, data).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    (
        write("certificate", identity.certificate.to_pem().unwrap()),
        write("key", identity.key.private_key_to_pem_pkcs8().unwrap()),
    )
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    Peer::new().port()
}

#[test]
fn openssl_s_client_connects() {
    for (identity, mode) in [
        (Identity::p256(), ClientCertificate::None),
        (Identity::rsa2048(0), ClientCertificate::Require),
    ] {
        let mut peer = Peer::new();
        let to = format!("127.0.0.1:{}", peer.port());
        let theirs = Identity::p256();
        let (certificate, key) = files(&format!("s_client-{mode:?}"), &theirs);
        let mut arguments = vec!["s_client", "-dtls1_2", "-connect", &to];
        if mode == ClientCertificate::Require {
            arguments.extend(["-cert", &certificate, "-key", &key]);
        }
        let mut program = Program::start("openssl", "openssl", &arguments);
        let (mut session, from) = peer.accept(&identity, mode);
        peer.run_to_established(&mut session, from);
        let shown = (mode == ClientCertificate::Require).then(|| theirs.sha256());
        assert_eq!(session.peer_certificate_sha256(), shown);
        program.expect("Protocol  : DTLSv1.2");
        program.type_line("from s_client");
        peer.run_to_data(&mut session, from, b"from s_client");
        peer.send(&mut session, from, b"from utcp\n");
        program.expect("from utcp");
        program.end_of_input();
        peer.run(&mut session, from, |session, _| {
            session.state() == SessionState::Closed
        });
    }
}

#[test]
fn openssl_s_client_connects_with_each_suite() {
    for (identity, suites) in [
        (
            Identity::p256(),
            [
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "ECDHE-ECDSA-AES256-GCM-SHA384",
                "ECDHE-ECDSA-CHACHA20-POLY1305",
            ],
        ),
        (
            Identity::rsa2048(0),
            [
                "ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-RSA-AES256-GCM-SHA384",
                "ECDHE-RSA-CHACHA20-POLY1305",
            ],
        ),
    ] {
        for name in suites {
            let mut peer = Peer::new();
            let to = format!("127.0.0.1:{}", peer.port());
            let arguments = ["s_client", "-dtls1_2", "-connect", &to, "-cipher", name];
            let mut program = Program::start("openssl", "openssl", &arguments);
            let (mut session, from) = peer.accept(&identity, ClientCertificate::None);
            peer.run_to_established(&mut session, from);
            assert_eq!(suite(&session).0, name);
            program.type_line("from s_client");
            peer.run_to_data(&mut session, from, b"from s_client");
            // Several, for nonces that are counted up.
            for line in 0..3 {
                let line = format!("line {line} from utcp\n");
                peer.send(&mut session, from, line.as_bytes());
                program.expect(line.trim_end());
            }
            session.close();
            let alert = session.take_output().expect("a close_notify");
            peer.socket.send_to(&alert, from).expect("sent");
            program.expect("closed");
        }
    }
}

#[test]
fn gnutls_cli_connects() {
    for identity in [Identity::p256(), Identity::rsa2048(1)] {
        let mut peer = Peer::new();
        let port = peer.port().to_string();
        let mut program = Program::start(
            "gnutls-cli",
            "gnutls-bin",
            &[
                "--udp",
                "--insecure",
                "--no-ca-verification",
                "--port",
                &port,
                "127.0.0.1",
            ],
        );
        let (mut session, from) = peer.accept(&identity, ClientCertificate::None);
        peer.run_to_established(&mut session, from);
        program.expect("Handshake was completed");
        program.expect("DTLS1.2");
        program.type_line("from gnutls-cli");
        peer.run_to_data(&mut session, from, b"from gnutls-cli");
        peer.send(&mut session, from, b"from utcp\n");
        program.expect("from utcp");
    }
}

/// Other implementations encrypt a repeated Finished anew, under a fresh number.
#[test]
fn clients_that_miss_the_final_flight_get_it_again() {
    for (name, package) in [("openssl", "openssl"), ("gnutls-cli", "gnutls-bin")] {
        let mut peer = Peer::new();
        peer.lose = 1;
        let port = peer.port().to_string();
        let to = format!("127.0.0.1:{port}");
        let arguments: &[&str] = match name {
            "openssl" => &["s_client", "-dtls1_2", "-connect", &to],
            _ => &[
                "--udp",
                "--insecure",
                "--no-ca-verification",
                "--port",
                &port,
                "127.0.0.1",
            ],
        };
        let mut program = Program::start(name, package, arguments);
        let (mut session, from) = peer.accept(&Identity::p256(), ClientCertificate::None);
        peer.run_to_established(&mut session, from);
        assert_eq!(peer.lose, 0, "lost");
        program.type_line("after all");
        peer.run_to_data(&mut session, from, b"after all");
        program.expect(if name == "openssl" {
            "DTLSv1.2"
        } else {
            "Handshake was completed"
        });
    }
}

#[test]
fn openssl_s_server_accepts() {
    for mode in [ClientCertificate::None, ClientCertificate::Require] {
        let theirs = Identity::p256();
        let (certificate, key) = files(&format!("s_server-{mode:?}"), &theirs);
        let port = free_port();
        let accept = format!("127.0.0.1:{port}");
        let mut arguments = vec!["s_server", "-dtls1_2", "-listen", "-accept", &accept];
        arguments.extend(["-cert", &certificate, "-key", &key]);
        if mode == ClientCertificate::Require {
            arguments.extend(["-Verify", "1", "-verify_return_error", "-partial_chain"]);
        }
        let ours = Identity::rsa2048(0);
        let (trusted, _) = files("s_server-trusted", &ours);
        if mode == ClientCertificate::Require {
            arguments.extend(["-CAfile", &trusted]);
        }
        let mut program = Program::start("openssl", "openssl", &arguments);
        program.expect("ACCEPT");
        let mut peer = Peer::new();
        let mut session = Session::connect(&ours.context(mode), peer.now).expect("a session");
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        peer.run_to_established(&mut session, to);
        assert_eq!(session.peer_certificate_sha256(), Some(theirs.sha256()));
        peer.send(&mut session, to, b"from utcp\n");
        program.expect("from utcp");
        program.type_line("from s_server");
        peer.run_to_data(&mut session, to, b"from s_server");
        session.close();
        peer.run(&mut session, to, |session, _| {
            session.state() == SessionState::Closed
        });
        program.expect("DONE");
    }
}

#[test]
fn gnutls_serv_accepts() {
    let theirs = Identity::p256();
    let (certificate, key) = files("gnutls-serv", &theirs);
    let number = free_port();
    let port = number.to_string();
    let mut program = Program::start(
        "gnutls-serv",
        "gnutls-bin",
        &[
            "--udp",
            "--echo",
            "--port",
            &port,
            "--x509certfile",
            &certificate,
            "--x509keyfile",
            &key,
        ],
    );
    program.expect("listening");
    let mut peer = Peer::new();
    let context = Identity::p256().context(ClientCertificate::None);
    let mut session = Session::connect(&context, peer.now).expect("a session");
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
    peer.run_to_established(&mut session, to);
    assert_eq!(session.peer_certificate_sha256(), Some(theirs.sha256()));
    peer.send(&mut session, to, b"echo this\n");
    peer.run_to_data(&mut session, to, b"echo this");
}
