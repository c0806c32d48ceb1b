//! The TORTP decoder: a datagram as the peer's DTLS session hands it over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use utcp::endpoint::Role;
use utcp::time::Time;
use utcp::tortp::translate::{Untranslatable, circuit_of, flow, from_packet, to_packet};
use utcp::tortp::{self, RawSegment, pcap, raw};

/// The longest segment that certainly fits an IP packet, with its longest header.
const ALWAYS_FITS: usize = 65_535 - 20 - 60;

pub fn run(data: &[u8]) {
    decode(data);
    packet(data);
}

/// As a datagram.
fn decode(datagram: &[u8]) {
    let verdict = tortp::check(datagram);
    let segments: Vec<RawSegment<'_>> = raw::segments(datagram).collect();
    let parsed: Vec<_> = tortp::segments(datagram).collect();
    match verdict {
        Ok(()) => {
            assert!(!segments.is_empty(), "a datagram without segments passed");
            // Encoded again, it is the same but for the reserved half of the first octet.
            let mut again = Vec::new();
            tortp::begin(&mut again);
            for segment in &segments {
                let before = again.len();
                assert!(segment.encode(&mut again));
                assert_eq!(again.len() - before, segment.encoded_len());
            }
            assert_eq!(again[0], datagram[0] & 0xf0);
            assert_eq!(again[1..], datagram[1..]);
        }
        Err(malformed) => {
            assert!(!malformed.name().is_empty() && !malformed.text().is_empty());
            let used: usize = segments.iter().map(RawSegment::encoded_len).sum();
            assert!(used < datagram.len().max(1), "malformed, and yet all of it");
        }
    }
    assert_eq!(segments.len(), parsed.len());
    for (raw, (circuit, segment)) in segments.iter().zip(&parsed) {
        assert_eq!((raw.circuit, raw.payload), (*circuit, segment.payload));
        translate(raw);
        // What was understood survives another passage.
        let mut again = Vec::new();
        tortp::begin(&mut again);
        tortp::encode(*circuit, segment, &mut again);
        assert_eq!(again.len(), 1 + tortp::encoded_len(segment));
        assert_eq!(tortp::check(&again), Ok(()));
        let mut twice = tortp::segments(&again);
        assert_eq!(twice.next(), Some((*circuit, *segment)));
        assert_eq!(twice.next(), None);
    }
    capture(datagram);
}

/// To TCP/IP and back.
fn translate(segment: &RawSegment<'_>) {
    let v4 = |n| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n));
    let v6 = |n| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
    for (local, remote, role) in [(v4(1), v4(2), Role::Client), (v6(1), v6(2), Role::Server)] {
        let flow = flow(segment.circuit, local, remote, role);
        assert_eq!(circuit_of(&flow, role), segment.circuit);
        let mut packet = Vec::new();
        match to_packet(segment, &flow, &mut packet) {
            Ok(()) => assert_eq!(from_packet(&packet, role), Ok((flow, *segment))),
            Err(Untranslatable::TooLong) => assert!(segment.payload.len() > ALWAYS_FITS),
            Err(other) => panic!("{}: {segment:?}", other.name()),
        }
    }
}

/// As a TCP/IP packet.
fn packet(data: &[u8]) {
    for role in [Role::Client, Role::Server] {
        let Ok((flow, segment)) = from_packet(data, role) else {
            continue;
        };
        let mut encoded = Vec::new();
        assert!(segment.encode(&mut encoded));
        assert_eq!(RawSegment::decode(&encoded), Ok((segment, &[][..])));
        let mut packet = Vec::new();
        assert_eq!(to_packet(&segment, &flow, &mut packet), Ok(()));
        assert_eq!(from_packet(&packet, role), Ok((flow, segment)));
    }
}

/// In a capture.
fn capture(datagram: &[u8]) {
    let (from, to) = (
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V4(Ipv4Addr::LOCALHOST),
    );
    let mut file = Vec::new();
    pcap::header(&mut file);
    pcap::datagram(Time(1), datagram, from, to, Role::Client, &mut file);
    // Every record's length leads to the next one, and the last to the end.
    let mut rest = &file[pcap::HEADER_LEN..];
    while !rest.is_empty() {
        let captured = u32::from_le_bytes(rest[8..12].try_into().expect("4 octets")) as usize;
        rest = &rest[pcap::RECORD_HEADER_LEN + captured..];
    }
}
