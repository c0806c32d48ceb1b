//! TLS 1.3 over the kernel's TCP, with OpenSSL: what relays do today, all circuits in one byte stream. The segments are
//! no larger than an Ethernet carries (TCP_MAXSEG), but pass through the loopback device as the up to 64 KiB that
//! segmentation offload makes of them.

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::Ordering;
use std::thread;

use nix::sys::socket::{setsockopt, sockopt};
use openssl::pkey::PKey;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslStream, SslVersion,
};
use openssl::x509::X509;

use super::{CHUNK, Half, Progress};
use crate::datapath::identity;

/// What 1,500 octets leave beside IP and TCP headers with timestamps.
const SEGMENT: u32 = 1_448;

/// Calls before it is the other end's turn.
const TURN: usize = 16;

/// Gives a server its certificate.
pub(super) fn use_identity(context: &mut SslContextBuilder) {
    let (chain, key) = identity();
    let certificate = X509::from_der(chain).expect("a certificate");
    let key = PKey::private_key_from_der(key).expect("a key");
    context.set_certificate(&certificate).expect("acceptable");
    context.set_private_key(&key).expect("acceptable");
}

fn context(server: bool) -> SslContext {
    let mut context = SslContext::builder(SslMethod::tls()).expect("TLS");
    let version = Some(SslVersion::TLS1_3);
    context.set_min_proto_version(version).expect("TLS 1.3");
    context
        .set_ciphersuites("TLS_AES_128_GCM_SHA256")
        .expect("a cipher");
    context.set_mode(SslMode::ENABLE_PARTIAL_WRITE | SslMode::ACCEPT_MOVING_WRITE_BUFFER);
    if server {
        use_identity(&mut context);
    }
    context.build()
}

struct Sender {
    tls: SslStream<TcpStream>,
    data: Vec<u8>,
}

fn is_full(code: ErrorCode) -> bool {
    code == ErrorCode::WANT_READ || code == ErrorCode::WANT_WRITE
}

impl Half for Sender {
    fn turn(&mut self, _now: u64) -> bool {
        for n in 0..TURN {
            match self.tls.ssl_write(&self.data) {
                Ok(_) => {}
                Err(error) if is_full(error.code()) => return n > 0,
                Err(error) => panic!("{error}"),
            }
        }
        true
    }

    fn fd(&self) -> RawFd {
        self.tls.get_ref().as_raw_fd()
    }

    fn wants_room(&self) -> bool {
        true
    }
}

struct Receiver {
    tls: SslStream<TcpStream>,
    buffer: Vec<u8>,
    progress: Progress,
}

impl Half for Receiver {
    fn turn(&mut self, _now: u64) -> bool {
        for n in 0..TURN {
            match self.tls.ssl_read(&mut self.buffer) {
                Ok(octets) => {
                    self.progress.fetch_add(octets as u64, Ordering::Relaxed);
                }
                Err(error) if is_full(error.code()) => return n > 0,
                Err(error) => panic!("{error}"),
            }
        }
        true
    }

    fn fd(&self) -> RawFd {
        self.tls.get_ref().as_raw_fd()
    }
}

/// Both ends.
pub fn pair(progress: &Progress) -> [Box<dyn Half>; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    setsockopt(&listener, sockopt::TcpMaxSeg, &SEGMENT).expect("a size");
    let address = listener.local_addr().expect("bound");
    let shake = |mut tls: SslStream<TcpStream>| {
        tls.do_handshake().expect("a handshake");
        tls.get_ref().set_nonblocking(true).expect("a socket");
        tls.get_ref().set_nodelay(true).expect("a socket");
        tls
    };
    let client = thread::spawn(move || {
        let mut ssl = Ssl::new(&context(false)).expect("an SSL");
        ssl.set_connect_state();
        let stream = TcpStream::connect(address).expect("a listener");
        shake(SslStream::new(ssl, stream).expect("a stream"))
    });
    let (stream, _) = listener.accept().expect("a client");
    let mut ssl = Ssl::new(&context(true)).expect("an SSL");
    ssl.set_accept_state();
    let server = shake(SslStream::new(ssl, stream).expect("a stream"));
    let sender = Sender {
        tls: client.join().expect("no panic"),
        data: vec![7; CHUNK],
    };
    let receiver = Receiver {
        tls: server,
        buffer: vec![0; CHUNK],
        progress: progress.clone(),
    };
    [Box::new(sender), Box::new(receiver)]
}
