//! Writes the seeds of the corpus: sessions that make sense, in the script language of each target, for the fuzzer to
//! start from. The other files of the corpus are what it has found.
//!
//! usage: cargo run --manifest-path fuzz/Cargo.toml --bin seeds

use std::fs;
use std::path::Path;

use utcp::pool::Pool;
use utcp::tcp::congestion::Algorithm;
use utcp::tcp::seq::Seq;
use utcp::tcp::{Settings, Tcb};
use utcp::time::{MILLISECOND, SECOND, Time};
use utcp::tortp;
use utcp_fuzz::{connection, inject, tcb};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

fn main() {
    for (index, datagram) in session().iter().enumerate() {
        save("tortp", &format!("session-{index:02}"), datagram);
    }
    save("tortp", "packet-ipv4", &packet(4));
    save("tortp", "packet-ipv6", &packet(6));
    for (name, script) in tcb_scripts() {
        tcb::run(&script);
        save("tcb", name, &script);
    }
    for (name, script) in connection_scripts() {
        connection::run(&script);
        save("connection", name, &script);
    }
    for (name, script) in inject_scripts() {
        inject::run(&script);
        save("inject", name, &script);
    }
}

fn save(target: &str, name: &str, input: &[u8]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&directory).expect("a directory");
    fs::write(directory.join(name), input).expect("a file");
}

/// Datagrams of two circuits from SYN to FIN, with a loss that brings SACK blocks.
fn session() -> Vec<Vec<u8>> {
    let settings = Settings {
        mss: 200,
        send_buffer: 65_536,
        receive_buffer: 1 << 20,
        congestion: Algorithm::Cubic,
        dead_timeout: 60 * SECOND,
        srtt: 0,
        rttvar: 0,
        ecn: false,
    };
    let mut pool = Pool::new(1 << 20);
    let mut now = Time(SECOND);
    let mut client = Tcb::open(&settings, Seq(u32::MAX - 150), Some(7));
    let mut server: Option<Tcb> = None;
    let mut datagrams = Vec::new();
    client.write(&mut pool, &[7; 700]).expect("room");
    for round in 0..12 {
        now = now + 10 * MILLISECOND;
        if round == 5 {
            client.finish();
        }
        if round == 7
            && let Some(server) = &mut server
        {
            server.close(&mut pool);
        }
        client.on_timer(now, &mut pool);
        let sent = output(&mut client, now, &mut datagrams);
        for (index, datagram) in sent.iter().enumerate() {
            let (_, segment) = tortp::segments(datagram).next().expect("a segment");
            match &mut server {
                None => {
                    let iss = Seq(100);
                    server = Some(Tcb::accept(&settings, iss, now, &mut pool, &segment));
                }
                Some(_) if round == 1 && index == 1 => {}
                Some(server) => {
                    let _ = server.receive(now, &mut pool, &segment);
                }
            }
        }
        now = now + 10 * MILLISECOND;
        if let Some(server) = &mut server {
            server.on_timer(now, &mut pool);
            for datagram in output(server, now, &mut datagrams) {
                let (_, segment) = tortp::segments(&datagram).next().expect("a segment");
                let _ = client.receive(now, &mut pool, &segment);
            }
        }
    }
    datagrams
}

/// What a circuit sends now, each segment in a datagram; those that are not too long are kept.
fn output(tcb: &mut Tcb, now: Time, kept: &mut Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    while let Some(plan) = tcb.plan(now, 1 << 20) {
        let mut payload = Vec::new();
        tcb.payload(&plan, &mut payload);
        let segment = plan.segment(&payload);
        let mut datagram = Vec::new();
        tortp::begin(&mut datagram);
        tortp::encode(2, &segment, &mut datagram);
        tcb.commit(now, &plan);
        sent.push(datagram);
    }
    tcb.settle(now);
    kept.extend(sent.iter().cloned());
    sent
}

fn packet(version: u8) -> Vec<u8> {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use utcp::endpoint::Role;
    let datagram = session().swap_remove(1);
    let segment = tortp::raw::segments(&datagram).next().expect("a segment");
    let address = match version {
        4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let flow = tortp::translate::flow(segment.circuit, address, address, Role::Client);
    let mut packet = Vec::new();
    tortp::translate::to_packet(&segment, &flow, &mut packet).expect("it can be translated");
    packet
}

// ---- scripts; the targets say what each octet means ----

fn tcb_scripts() -> Vec<(&'static str, Vec<u8>)> {
    let header = |kind: u8| {
        vec![
            kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xf0, 0, 0, 1, 0,
        ]
    };
    let written = [6, 0x10, 0];
    // SYN-ACK with MSS 1,300, window scale 7, SACK; no SACK blocks.
    let answer = [0, SYN | ACK, 0x40, 0xff, 0xff, 7, 5, 20, 7, 0];
    let acknowledge = [0, ACK, 0, 4, 0];
    let data = [0, ACK, 0x80, 4, 0, 3, 0xe8];
    let beyond = [0, ACK, 0x85, 2, 4, 0, 3, 0xe8];
    let sack = [0, ACK, 0x40 | 5 << 3, 4, 0, 1, 5, 0x14, 0x0a, 0x28];
    let read = [7, 0x20, 0];
    let deadline = [9];
    let fin = [0, ACK | FIN, 0, 4, 0];
    let finish = [10];
    let orderly = [
        &header(0)[..],
        &written,
        &answer,
        &acknowledge,
        &data,
        &read,
        &finish,
        &acknowledge,
        &fin,
        &read,
        &deadline,
    ]
    .concat();
    let losses = [
        &header(0)[..],
        &answer,
        &written,
        &written,
        &sack,
        &deadline,
        &sack,
        &deadline,
        &acknowledge,
        &beyond,
        &data,
        &read,
        &deadline,
    ]
    .concat();
    let accepted = [
        &header(2)[..],
        &[0, 100, FIN, 0xff, 0xff, 7, 5, 20, 7],
        &read,
        &written,
        &acknowledge,
        &finish,
        &acknowledge,
    ]
    .concat();
    let reset = [&header(0)[..], &answer, &written, &[0, RST, 0, 0, 0]].concat();
    let closed = [
        &header(0)[..],
        &answer,
        &written,
        &data,
        &[11],
        &data,
        &acknowledge,
        &deadline,
        &deadline,
    ]
    .concat();
    // The window closes, probes go out, the peer is silent until it is given up.
    let mut silent = [&header(0)[..], &answer, &[0, ACK, 0, 0, 0], &written].concat();
    silent.extend([9; 30]);
    vec![
        ("orderly", orderly),
        ("losses", losses),
        ("accepted", accepted),
        ("reset", reset),
        ("closed", closed),
        ("silent", silent),
    ]
}

fn connection_scripts() -> Vec<(&'static str, Vec<u8>)> {
    let header = |bits: u8| vec![bits, 0, 0, 0, 0, 0];
    // The peer opens circuit 2 (or 1) as number 9 with data, sends more, finishes.
    let open = |wire: u8| {
        vec![
            1, 0, wire, SYN, 0x23, 0, 0, 3, 232, 7, 5, 20, 7, 9, 0, 100, 0xff, 0xff,
        ]
    };
    let data = |wire: u8| vec![1, 0, wire, ACK, 0x20, 0, 200, 4, 0];
    let fin = |wire: u8| vec![1, 0, wire, ACK | FIN, 0, 4, 0];
    let reset = |wire: u8| vec![1, 0, wire, RST, 0, 0, 0];
    let read = [8, 6, 0, 16, 0];
    let write = [8, 4, 0, 2, 0];
    let close = [8, 9, 0];
    let own = [8, 0, 33];
    let pass = [12, 20];
    let traffic = [15, 0, 200, 100, 50, 0xff];
    let orderly = [
        &header(16)[..],
        &open(2),
        &data(2),
        &read,
        &write,
        &fin(2),
        &close,
        &pass,
        &traffic,
    ]
    .concat();
    let resets = [
        &header(1)[..],
        &open(1),
        &reset(1),
        &open(3),
        &own,
        &reset(3),
        &reset(2),
        &traffic,
    ]
    .concat();
    let mut storm = header(2);
    for wire in 1..24 {
        storm.extend(open(2 * wire));
    }
    storm.extend([14, 12, 24, 14]);
    storm.extend(traffic);
    let control = [&header(4)[..], &data(0), &fin(0), &pass, &reset(0)].concat();
    let garbage = [
        &header(0)[..],
        &[0, 0, 8, 0x10, 0, 1, 2, 3, 4, 5, 6, 0, 0, 3, 0x20, 0, 0],
    ]
    .concat();
    let small = [
        &[0, 2, 1, 1, 0, 1][..],
        &open(2),
        &data(2),
        &write,
        &traffic,
        &pass,
    ]
    .concat();
    vec![
        ("orderly", orderly),
        ("resets", resets),
        ("storm", storm),
        ("control", control),
        ("garbage", garbage),
        ("small", small),
    ]
}

fn inject_scripts() -> Vec<(&'static str, Vec<u8>)> {
    const VICTIM: u8 = 0x80;
    const STRANGER: u8 = 0x20;
    const PEER: u8 = 0xff;
    let garbage = [
        0, 0, 0, 5, 1, 2, 3, 4, 5, PEER, VICTIM, 0, 4, 22, 0xfe, 0xfd, 0, STRANGER,
    ];
    // A fatal alert in the clear.
    let alert = [0, 2, 2, 0, 0, 0, 0, 0, 1, 2, 2, 40, 1, PEER];
    let mut replays = vec![0, 0];
    for index in 0..12 {
        replays.extend([4, index, PEER, VICTIM | 4, index, STRANGER]);
    }
    let mut damaged = vec![0, 0];
    for index in 0..12 {
        damaged.extend([5, index, 0, 0, 12 + index, 2, 1, PEER]);
        damaged.extend([VICTIM | 8, index, index + 1, PEER]);
    }
    let hellos = [
        0,
        0,
        9,
        STRANGER,
        VICTIM | 9,
        STRANGER,
        11,
        20,
        VICTIM | 9,
        PEER,
        9,
        PEER,
        12,
        13,
        200,
        200,
    ];
    let refused = [
        7,
        1,
        9,
        STRANGER,
        VICTIM | 9,
        0x21,
        VICTIM | 9,
        0x22,
        VICTIM | 9,
        PEER,
        14,
        0,
        9,
        PEER,
    ];
    let mut alerts = vec![0, 0];
    for _ in 0..6 {
        alerts.extend(&alert[2..]);
        alerts.extend([11, 19]);
    }
    let addresses: Vec<u8> = (0..6).flat_map(|from| [9, from, 4, 0, from]).collect();
    vec![
        ("garbage", garbage.to_vec()),
        ("alert", alert.to_vec()),
        ("alerts", alerts),
        ("replays", replays),
        ("damaged", damaged),
        ("hellos", hellos.to_vec()),
        ("refused", refused.to_vec()),
        ("addresses", [&[0, 0][..], &addresses].concat()),
    ]
}
