//! Each stage of the data path by itself, in memory.
//!
//! usage: cargo bench --bench stages [-- FILTER]
//!
//! Wall-clock time, which depends on the machine and what else it does: `make bench-quick` counts instructions instead.

use std::net::SocketAddr;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use utcp::config::Config;
use utcp::dtls::{Context, Incoming, Listen, Session, SessionState};
use utcp::pool::{NOBODY, Pool, Use};
use utcp::tcp::segment::{Flags, Options, Segment};
use utcp::tcp::seq::Seq;
use utcp::time::{SECOND, Time};
use utcp::tortp;

const NOW: Time = Time(100 * SECOND);

/// A relay cell, and what a full datagram carries.
const SIZES: [usize; 2] = [514, 1_415];

fn main() {
    divan::main();
}

/// Both sides of a session that is established.
fn sessions() -> [Session; 2] {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let params = CertificateParams::new(vec!["relay.example".to_string()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let config = Config {
        chain: certificate.der().to_vec(),
        key: key.serialize_der(),
        ..Config::default()
    };
    let context = Context::new(&config, [7; 32]).expect("a context");
    let address = SocketAddr::from(([192, 0, 2, 1], 9_001));
    let mut client = Session::connect(&context, NOW).expect("a session");
    let mut server = None::<Session>;
    let (mut reply, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        while let Some(datagram) = client.take_output() {
            let Some(server) = &mut server else {
                match context.listen(NOW, address, &datagram, &mut reply) {
                    Listen::Promoted(mut session) => {
                        session.start(NOW);
                        server = Some(session);
                    }
                    _ => assert_eq!(client.receive(NOW, &reply, &mut plain), Incoming::Nothing),
                }
                continue;
            };
            server.receive(NOW, &datagram, &mut plain);
            while server.more(NOW, &mut plain) != Incoming::Nothing {}
        }
        let Some(server) = &mut server else {
            continue;
        };
        while let Some(datagram) = server.take_output() {
            client.receive(NOW, &datagram, &mut plain);
            while client.more(NOW, &mut plain) != Incoming::Nothing {}
        }
    }
    let server = server.expect("the cookie is good");
    for session in [&client, &server] {
        assert_eq!(session.state(), SessionState::Established);
    }
    [client, server]
}

#[divan::bench(args = SIZES)]
fn dtls_seal(bencher: Bencher<'_, '_>, size: usize) {
    let [mut session, _] = sessions();
    let plain = vec![7; size];
    let mut record = Vec::with_capacity(2 * size);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        record.clear();
        session.seal(black_box(&plain), &mut record).expect("room");
    });
}

#[divan::bench(args = SIZES)]
fn dtls_open(bencher: Bencher<'_, '_>, size: usize) {
    let [mut sender, mut receiver] = sessions();
    let data = vec![7; size];
    let mut plain = Vec::with_capacity(2 * size);
    // Each record once, in order: others are replays.
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| {
            let mut record = Vec::new();
            sender.seal(&data, &mut record).expect("established");
            record
        })
        .bench_local_refs(|record| {
            assert_eq!(receiver.receive(NOW, record, &mut plain), Incoming::Data);
        });
}

fn segment(payload: &[u8]) -> Segment<'_> {
    let mut options = Options::default();
    if payload.is_empty() {
        for n in 0..3 {
            options.sack.push(Seq(n * 5_000), Seq(n * 5_000 + 1_400));
        }
    }
    Segment {
        flags: Flags::ACK,
        seq: Seq(1_000_000),
        ack: Seq(2_000_000),
        window: 1_024,
        options,
        payload,
        ce: false,
    }
}

/// A payload of 0 is an acknowledgement with three SACK blocks.
#[divan::bench(args = [0, 514, 1_415])]
fn tortp_encode(bencher: Bencher<'_, '_>, payload: usize) {
    let data = vec![7; payload];
    let segment = segment(&data);
    let mut out = Vec::with_capacity(2_048);
    bencher.bench_local(|| {
        tortp::begin(&mut out);
        tortp::encode(black_box(7), black_box(&segment), &mut out);
    });
}

#[divan::bench(args = [0, 514, 1_415])]
fn tortp_decode(bencher: Bencher<'_, '_>, payload: usize) {
    let data = vec![7; payload];
    let mut datagram = Vec::new();
    tortp::begin(&mut datagram);
    tortp::encode(7, &segment(&data), &mut datagram);
    bencher.bench_local(|| {
        assert!(tortp::check(black_box(&datagram)).is_ok());
        tortp::segments(black_box(&datagram))
            .map(|(_, segment)| segment.len())
            .sum::<u32>()
    });
}

#[divan::bench]
fn pool_take_and_give(bencher: Bencher<'_, '_>) {
    let mut pool = Pool::new(1 << 20);
    bencher.bench_local(|| {
        let block = pool.take(NOBODY, Use::Send).expect("within the budget");
        pool.give(NOBODY, Use::Send, black_box(block));
    });
}
